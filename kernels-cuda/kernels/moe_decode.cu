// A layer of experts for one to eight tokens, in two kernels: each expert's weights are read once, and of what lies
// between only SwiGLU's output goes through memory.
//
// | kernel | a block of threads does |
// | --- | --- |
// | moe_gate_up | for the tokens of one expert sixteen columns of gate and of up, SwiGLU, the routing weight |
// | moe_down | sixteen columns of every token: of each expert down, then the sum in order of slot |
//
// Activations are quantized as they come to shared memory, every block for itself: the first kernel's are the tokens, the
// second's SwiGLU's output in BF16. All roundings, and the order of all sums, are those of quantize, decode, swiglu and
// combine one after the other: the bits are the same.
#include "device.cuh"
#include "experts.cuh"
#include "few_rows.cuh"
#include "parameters.h"
#include "quantizer.cuh"
#include "swiglu.cuh"

constexpr uint32_t moe_most_slots = 128;

__device__ __forceinline__ int32_t slot_expert(const MoeParameters& p, uint32_t slot) {
  return local_expert(p.ids[slot], p.expert_map, p.mapped, p.experts);
}

/// How many slots of one expert are multiplied together.
__device__ __forceinline__ uint32_t most_together(const MoeParameters& p) { return min(few_rows, p.tokens); }

/// Eight values of a row of BF16, quantized and widened again. Neighbouring lanes come with neighbouring columns.
__device__ __forceinline__ uint4 quantized_eight(const MoeParameters& p, const uint8_t* row, uint32_t column, uint32_t columns) {
  bool inside = column < columns;
  uint4 pairs = {0, 0, 0, 0};
  if (inside) pairs = load_vector<uint4>(row + column * 2);
  if (p.format == FORMAT_BF16) return pairs;
  uint32_t words[4] = {pairs.x, pairs.y, pairs.z, pairs.w};
  float values[8];
#pragma unroll
  for (int i = 0; i < 8; i++) values[i] = bf16_to_f32(words[i / 2] >> (i % 2 * 16) & 0xffff);
  CodedEight coded = code_eight(p.format, p.rule, p.amax_floor, 1.0f, values);
  return widen_eight(p.format, uint2{coded.words[0], coded.words[1]}, coded.scale);
}

/// To BF16 and back.
__device__ __forceinline__ float rounded(float value) { return bf16_to_f32(bf16x2_from_f32(value, 0.0f) & 0xffff); }

struct GateUpShared {
  alignas(16) FewSums sums[2][few_warps];
  uint32_t slots[few_rows];
};

/// The block of the first slot of an expert does all of them, up to most_together; that of the next one the rest.
template <bool halves>
__device__ __forceinline__ void moe_gate_up_block(const MoeParameters& p, GateUpShared& shared) {
  uint8_t* buffers = dynamic_shared<uint8_t>();
  uint32_t lane = threadIdx.x % 32, slots = p.tokens * p.top_k, together = most_together(p);
  int32_t expert = slot_expert(p, blockIdx.y);
  if (expert < 0) return;
  uint32_t same[moe_most_slots / 32], before = 0, all = 0;
#pragma unroll
  for (uint32_t i = 0; i < moe_most_slots / 32; i++) {
    uint32_t slot = i * 32 + lane;
    same[i] = __ballot_sync(whole_warp, slot < slots && slot_expert(p, slot) == expert);
    all += __popc(same[i]);
    if (blockIdx.y >= (i + 1) * 32) {
      before += __popc(same[i]);
    } else if (blockIdx.y > i * 32) {
      before += __popc(same[i] & ((1u << blockIdx.y % 32) - 1));
    }
  }
  if (before % together != 0) return;
  uint32_t rows = max(min(together, all - before), 1u);

  uint32_t first_column = blockIdx.x * few_columns;
  uint64_t first = uint64_t(uint32_t(expert) * 2) * p.inner;
  auto weight_row = [&p, first_column](uint32_t up, uint32_t i) {
    return p.interleaved ? 2 * (first_column + i) + up : up * p.inner + first_column + i;
  };
  FewWeights<2> w(p.gate_up + first * p.gate_up_stride, p.gate_up_stride, p.gate_up_scales + first * p.gate_up_scales_stride,
                  p.gate_up_scales_stride, weight_row);
  FewCodes<2> codes;
  few_fetch(w, p.hidden, 0, codes);
  if (threadIdx.x < 32) {
    uint32_t seen = 0;
#pragma unroll
    for (uint32_t i = 0; i < moe_most_slots / 32; i++) {
      uint32_t place = seen + __popc(same[i] & ((1u << lane) - 1)) - before;
      if ((same[i] >> lane & 1) != 0 && place < rows) shared.slots[place] = i * 32 + lane;
      seen += __popc(same[i]);
    }
  }
  __syncthreads();

  auto activations = [&](uint32_t row, uint32_t column) {
    uint32_t token = shared.slots[row] / p.top_k;
    return quantized_eight(p, p.x + uint64_t(token) * p.hidden * 2, column, p.hidden);
  };
  uint32_t chunk_bytes = together * few_depth * 2;
  uint32_t spans = (p.hidden + few_span - 1) / few_span;
  uint32_t chunks = (p.hidden + few_depth - 1) / few_depth;
  few_stage<1>(buffers, rows, 0, activations);
  float d[2][4] = {};
  for (uint32_t chunk = 0; chunk < chunks; chunk++) {
    FewCodes<2> next = codes;
    if (chunk + 1 < chunks) few_fetch(w, p.hidden, chunk + 1, next);
    // This chunk is there for all, and what lay where the next one goes was read by all.
    __syncthreads();
    few_multiply<halves>(buffers + chunk % 2 * chunk_bytes, rows, spans - chunk * few_spans * few_warps, codes, d);
    if (chunk + 1 < chunks) few_stage<1>(buffers + (chunk + 1) % 2 * chunk_bytes, rows, chunk + 1, activations);
    codes = next;
  }
  few_put(shared.sums[0][threadIdx.x / 32], d[0]);
  few_put(shared.sums[1][threadIdx.x / 32], d[1]);
  __syncthreads();
  uint32_t column = threadIdx.x % few_columns, row = threadIdx.x / few_columns;
  if (row >= rows) return;
  float gate = few_sum(shared.sums[0], column, row);
  float up = few_sum(shared.sums[1], column, row);
  if (p.gate_up_bias != nullptr) {
    const float* bias = p.gate_up_bias + uint64_t(uint32_t(slot_expert(p, blockIdx.y)) * 2) * p.inner;
    gate += bias[weight_row(0, column)];
    up += bias[weight_row(1, column)];
  }
  uint32_t slot = shared.slots[row];
  float value = swiglu_value({p.variant, p.limit, p.alpha}, rounded(gate), rounded(up));
  if (p.weight_before) value *= p.weights[slot];
  store_element(p.activated, uint64_t(slot) * p.inner + first_column + column, FORMAT_BF16, value);
}

extern "C" __global__ void __launch_bounds__(few_threads, 2) moe_gate_up(const __grid_constant__ MoeParameters p) {
  MXHAL_SHARED(GateUpShared, shared);
  if (p.w_halves) {
    moe_gate_up_block<true>(p, shared);
  } else {
    moe_gate_up_block<false>(p, shared);
  }
}
MXHAL_KERNEL(moe_gate_up)

/// Slots of one expert that are multiplied together.
struct MoeGroup {
  int32_t expert;
  uint32_t rows;
  uint8_t slots[few_rows];
};

struct DownShared {
  alignas(16) FewSums sums[2][few_warps];
  /// What down gives, by slot.
  float results[moe_most_slots][few_columns];
  int32_t experts[moe_most_slots];
  uint32_t first_of_group[moe_most_slots / 32];
  MoeGroup groups[moe_most_slots];
};

/// Puts slots of the same expert together, in order of the first of them; gives how many groups there are.
__device__ __forceinline__ uint32_t find_groups(const MoeParameters& p, DownShared& shared) {
  uint32_t slots = p.tokens * p.top_k, together = most_together(p), slot = threadIdx.x;
  int32_t expert = -1;
  if (slot < slots) shared.experts[slot] = expert = slot_expert(p, slot);
  __syncthreads();
  uint32_t before = 0;
  if (expert >= 0) {
    for (uint32_t other = 0; other < slot; other++) before += shared.experts[other] == expert;
  }
  bool is_first = expert >= 0 && before % together == 0;
  uint32_t ballot = __ballot_sync(whole_warp, is_first);
  if (slot < moe_most_slots && slot % 32 == 0) shared.first_of_group[slot / 32] = ballot;
  __syncthreads();
  uint32_t count = 0, place = 0;
#pragma unroll
  for (uint32_t i = 0; i < moe_most_slots / 32; i++) {
    if (i == slot / 32) place = count + __popc(shared.first_of_group[i] & ((1u << slot % 32) - 1));
    count += __popc(shared.first_of_group[i]);
  }
  if (is_first) {
    MoeGroup& group = shared.groups[place];
    uint32_t rows = 0;
    for (uint32_t other = slot; other < slots && rows < together; other++) {
      if (shared.experts[other] == expert) group.slots[rows++] = uint8_t(other);
    }
    group.expert = expert;
    group.rows = rows;
  }
  __syncthreads();
  return count;
}

/// A group's sums, finished: one element a thread.
__device__ __forceinline__ void finish_group(const MoeParameters& p, DownShared& shared, uint32_t number) {
  const MoeGroup& group = shared.groups[number];
  uint32_t column = threadIdx.x % few_columns, row = threadIdx.x / few_columns;
  if (row >= group.rows) return;
  float sum = few_sum(shared.sums[number % 2], column, row);
  if (p.down_bias != nullptr) sum += p.down_bias[uint64_t(uint32_t(group.expert)) * p.hidden + blockIdx.x * few_columns + column];
  shared.results[group.slots[row]][column] = rounded(sum);
}

template <bool halves>
__device__ __forceinline__ void moe_down_block(const MoeParameters& p, DownShared& shared) {
  uint8_t* buffers = dynamic_shared<uint8_t>();
  uint32_t first_column = blockIdx.x * few_columns;
  uint32_t chunk_bytes = most_together(p) * few_depth * 2;
  uint32_t spans = (p.inner + few_span - 1) / few_span;
  uint32_t chunks = (p.inner + few_depth - 1) / few_depth;
  // A step is a chunk of a group.
  uint32_t steps = find_groups(p, shared) * chunks;
  auto fetch = [&](uint32_t step, FewCodes<1>& to) {
    uint64_t first = uint64_t(uint32_t(shared.groups[step / chunks].expert)) * p.hidden;
    FewWeights<1> w(p.down + first * p.down_stride, p.down_stride, p.down_scales + first * p.down_scales_stride,
                    p.down_scales_stride, [&](uint32_t, uint32_t i) { return first_column + i; });
    few_fetch(w, p.inner, step % chunks, to);
  };
  auto stage = [&](uint32_t step) {
    const MoeGroup& group = shared.groups[step / chunks];
    few_stage<1>(buffers + step % 2 * chunk_bytes, group.rows, step % chunks, [&](uint32_t row, uint32_t column) {
      return quantized_eight(p, p.activated + uint64_t(group.slots[row]) * p.inner * 2, column, p.inner);
    });
  };

  FewCodes<1> codes;
  if (steps != 0) {
    fetch(0, codes);
    stage(0);
  }
  float d[1][4] = {};
  for (uint32_t step = 0; step < steps; step++) {
    uint32_t group = step / chunks, chunk = step % chunks;
    FewCodes<1> next = codes;
    if (step + 1 < steps) fetch(step + 1, next);
    // This chunk is there for all, as are the sums of the group before; what lay where the next go was read by all.
    __syncthreads();
    if (chunk == 0 && group != 0) finish_group(p, shared, group - 1);
    few_multiply<halves>(buffers + step % 2 * chunk_bytes, shared.groups[group].rows, spans - chunk * few_spans * few_warps, codes, d);
    if (chunk + 1 == chunks) {
      few_put(shared.sums[group % 2][threadIdx.x / 32], d[0]);
#pragma unroll
      for (float& sum : d[0]) sum = 0.0f;
    }
    if (step + 1 < steps) stage(step + 1);
    codes = next;
  }
  __syncthreads();
  if (steps != 0) finish_group(p, shared, steps / chunks - 1);
  __syncthreads();
  uint32_t column = threadIdx.x % few_columns, token = threadIdx.x / few_columns;
  if (token >= p.tokens) return;
  float sum = 0.0f;
  for (uint32_t slot = token * p.top_k; slot < (token + 1) * p.top_k; slot++) {
    if (shared.experts[slot] < 0) continue;
    // A multiplication and an addition, each rounded: the build fuses none.
    sum += (p.weight_before ? 1.0f : p.weights[slot]) * shared.results[slot][column];
  }
  uint64_t at = uint64_t(token) * p.hidden + first_column + column;
  if (p.addend != nullptr) sum += load_element(p.addend, at, p.addend_format);
  store_element(p.y, at, p.output, sum);
}

extern "C" __global__ void __launch_bounds__(few_threads, 2) moe_down(const __grid_constant__ MoeParameters p) {
  MXHAL_SHARED(DownShared, shared);
  if (p.w_halves) {
    moe_down_block<true>(p, shared);
  } else {
    moe_down_block<false>(p, shared);
  }
}
MXHAL_KERNEL(moe_down)
