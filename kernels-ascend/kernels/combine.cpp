// Rows in order of expert back to tokens: weighted, and summed in float32 in order of slot, the addend last.
#include "vector.h"

namespace mxhal {

/// Columns that are summed at a time.
constexpr uint32_t combine_columns = 4096;

}  // namespace mxhal

/// `weights` and `addend` may be null. Each core takes tiles of columns of tokens in turn.
extern "C" __global__ __aicore__ void mxhal_combine(GM_ADDR rows, GM_ADDR positions, GM_ADDR weights, GM_ADDR addend,
                                                    GM_ADDR y, uint64_t tokens, uint64_t columns, uint64_t top_k,
                                                    uint64_t input, uint64_t addend_format, uint64_t output) {
  using namespace mxhal;
  AscendC::TPipe pipe;
  FloatReader reader;
  FloatWriter writer;
  AscendC::TBuf<TPosition::VECCALC> sum_buffer, row_buffer;
  reader.Init(pipe, combine_columns);
  writer.Init(pipe, combine_columns);
  pipe.InitBuffer(sum_buffer, combine_columns * sizeof(float));
  pipe.InitBuffer(row_buffer, combine_columns * sizeof(float));
  Local<float> sum = sum_buffer.Get<float>(), row = row_buffer.Get<float>();
  Global<int32_t> position_of = ValuesAt<int32_t>(positions);
  Global<float> weight_of = ValuesAt<float>(weights);

  uint64_t tiles = (columns + combine_columns - 1) / combine_columns;
  for (uint64_t item = AscendC::GetBlockIdx(); item < tokens * tiles; item += AscendC::GetBlockNum()) {
    uint64_t token = item / tiles, first = item % tiles * combine_columns;
    uint32_t count = Least(columns - first, combine_columns);
    Fill(sum, 0.0f, count);
    for (uint64_t slot = token * top_k; slot < (token + 1) * top_k; slot++) {
      int32_t position = position_of.GetValue(slot);
      if (position < 0) continue;
      reader.Read(row, rows, input, uint64_t(position) * columns + first, count);
      // Two instructions, two roundings.
      if (weights != nullptr) v::Muls(row, row, weight_of.GetValue(slot), count);
      v::Add(sum, sum, row, count);
    }
    if (addend != nullptr) {
      reader.Read(row, addend, addend_format, token * columns + first, count);
      v::Add(sum, sum, row, count);
    }
    writer.Write(y, output, token * columns + first, sum, count);
  }
}
MXHAL_HOST_ENTRY(mxhal_combine)
