// Tokens to rows in order of expert, stable in (token, slot). Two kernels, one after the other: places, then rows, once for
// each part of a row.
#include "vector.h"

namespace mxhal {

/// Experts that are counted, slots that a core looks after, and ids that it reads at a time.
constexpr uint32_t most_experts = 16384;
constexpr uint32_t window_slots = 8192;
constexpr uint32_t chunk_slots = 4096;
/// Bytes of a row that are moved at a time.
constexpr uint32_t row_bytes = 65536;

/// Expert ids, read in order by the scalar unit.
class Ids {
 public:
  __aicore__ inline Ids(AscendC::TPipe& pipe, GM_ADDR ids, GM_ADDR expert_map, uint64_t slots, uint64_t experts,
                        uint64_t mapped)
      : ids_(ids), slots_(slots), experts_(experts), mapped_(mapped), map_(ValuesAt<int32_t>(expert_map)),
        is_mapped_(expert_map != nullptr) {
    pipe.InitBuffer(chunk_, chunk_slots * sizeof(int32_t));
  }

  /// The local expert of the next slot, from 0 on in each round; -1 for one that is not here, and for an id that is none.
  __aicore__ inline int32_t Next(uint64_t slot) {
    uint32_t place = uint32_t(slot % chunk_slots);
    if (place == 0) {
      uint32_t count = Least(slots_ - slot, chunk_slots);
      Order<HardEvent::S_MTE2>();
      CopyIn(chunk_.Get<uint8_t>(), BytesAt(ids_, slot * sizeof(int32_t)), RowsIn(1, count * sizeof(int32_t), 0));
      Order<HardEvent::MTE2_S>();
    }
    int32_t id = chunk_.Get<int32_t>().GetValue(place);
    if (is_mapped_) {
      if (id < 0 || uint64_t(id) >= mapped_) return -1;
      id = map_.GetValue(uint64_t(id));
    }
    return id < 0 || uint64_t(id) >= experts_ ? -1 : id;
  }

 private:
  GM_ADDR ids_;
  uint64_t slots_, experts_, mapped_;
  Global<int32_t> map_;
  bool is_mapped_;
  AscendC::TBuf<TPosition::VECCALC> chunk_;
};

/// Integers out of a buffer that the scalar unit and the vector unit wrote.
__aicore__ inline void CopyIntegersOut(GM_ADDR to, uint64_t first, const Local<int32_t>& from, uint32_t count) {
  AscendC::DataCopyPad(BytesAt(to, first * sizeof(int32_t)), from.ReinterpretCast<uint8_t>(),
                       RowsOut(1, count * sizeof(int32_t), 0));
}

}  // namespace mxhal

/// Where each slot's row goes, and where each row comes from. Every core counts all slots for itself and writes windows of
/// positions and sources in turn, the first core the counts too: no core waits for another.
extern "C" __global__ __aicore__ void mxhal_permute_places(GM_ADDR ids, GM_ADDR expert_map, GM_ADDR positions,
                                                           GM_ADDR source, GM_ADDR counts, uint64_t slots,
                                                           uint64_t experts, uint64_t mapped) {
  using namespace mxhal;
  AscendC::TPipe pipe;
  Ids experts_of(pipe, ids, expert_map, slots, experts, mapped);
  AscendC::TBuf<TPosition::VECCALC> next_buffer, position_buffer, source_buffer;
  pipe.InitBuffer(next_buffer, most_experts * sizeof(int32_t));
  pipe.InitBuffer(position_buffer, window_slots * sizeof(int32_t));
  pipe.InitBuffer(source_buffer, window_slots * sizeof(int32_t));
  Local<int32_t> next = next_buffer.Get<int32_t>();
  Local<int32_t> position = position_buffer.Get<int32_t>(), from = source_buffer.Get<int32_t>();

  for (uint64_t window = AscendC::GetBlockIdx(); window * window_slots < slots; window += AscendC::GetBlockNum()) {
    uint64_t first = window * window_slots, last = first + Least(slots - first, window_slots);
    Fill(next, int32_t(0), uint32_t(experts));
    Fill(position, int32_t(-1), window_slots);
    Fill(from, int32_t(-1), window_slots);
    Order<HardEvent::V_S>();
    for (uint64_t slot = 0; slot < slots; slot++) {
      int32_t expert = experts_of.Next(slot);
      if (expert >= 0) next.SetValue(uint32_t(expert), next.GetValue(uint32_t(expert)) + 1);
    }
    if (window == 0) {
      Order<HardEvent::S_MTE3>();
      CopyIntegersOut(counts, 0, next, uint32_t(experts));
      Order<HardEvent::MTE3_S>();
    }
    // From counts to the first row of each expert.
    int32_t row = 0;
    for (uint32_t expert = 0; expert < experts; expert++) {
      int32_t count = next.GetValue(expert);
      next.SetValue(expert, row);
      row += count;
    }
    for (uint64_t slot = 0; slot < slots; slot++) {
      int32_t expert = experts_of.Next(slot);
      if (expert < 0) continue;
      int32_t place = next.GetValue(uint32_t(expert));
      next.SetValue(uint32_t(expert), place + 1);
      if (slot >= first && slot < last) position.SetValue(uint32_t(slot - first), place);
      if (uint64_t(place) >= first && uint64_t(place) < last) from.SetValue(uint32_t(place - first), int32_t(slot));
    }
    Order<HardEvent::S_MTE3>();
    CopyIntegersOut(positions, first, position, uint32_t(last - first));
    CopyIntegersOut(source, first, from, uint32_t(last - first));
    AscendC::PipeBarrier<PIPE_ALL>();
  }
}
MXHAL_HOST_ENTRY(mxhal_permute_places)

/// `bytes` of each row: row `source / slots_of_row` of `from`. Rows past the last stay as they were.
extern "C" __global__ __aicore__ void mxhal_permute_rows(GM_ADDR from, GM_ADDR to, GM_ADDR source, uint64_t slots,
                                                         uint64_t slots_of_row, uint64_t bytes) {
  using namespace mxhal;
  AscendC::TPipe pipe;
  AscendC::TQueBind<TPosition::VECIN, TPosition::VECOUT, 2> queue;
  pipe.InitBuffer(queue, 2, row_bytes);
  Global<int32_t> source_of = ValuesAt<int32_t>(source);
  for (uint64_t row = AscendC::GetBlockIdx(); row < slots; row += AscendC::GetBlockNum()) {
    int32_t slot = source_of.GetValue(row);
    if (slot < 0) break;
    uint64_t token = uint64_t(slot) / slots_of_row;
    for (uint64_t first = 0; first < bytes; first += row_bytes) {
      uint32_t count = Least(bytes - first, row_bytes);
      Local<uint8_t> part = queue.AllocTensor<uint8_t>();
      CopyIn(part, BytesAt(from, token * bytes + first), RowsIn(1, count, 0));
      queue.EnQue(part);
      part = queue.DeQue<uint8_t>();
      AscendC::DataCopyPad(BytesAt(to, row * bytes + first), part, RowsOut(1, count, 0));
      queue.FreeTensor(part);
    }
  }
}
MXHAL_HOST_ENTRY(mxhal_permute_rows)
