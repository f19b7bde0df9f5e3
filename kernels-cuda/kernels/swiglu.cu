// The gated activation between an expert's matrices, weighted by row, and quantized at once where that is asked for.
#include "device.cuh"
#include "parameters.h"
#include "quantizer.cuh"
#include "swiglu.cuh"

__device__ __forceinline__ float swiglu_one(const SwiGluParameters& p, float gate, float up, float weight) {
  float value = swiglu_value({p.variant, p.limit, p.alpha}, gate, up);
  return p.row_weights == nullptr ? value : value * weight;
}

/// How many rows there are: what the host knows, or what the permutation counted.
__device__ __forceinline__ uint32_t swiglu_rows(const SwiGluParameters& p) {
  return p.rows_on_device == nullptr ? p.rows : min(p.rows, *p.rows_on_device);
}

/// Eight values a thread, for rows of a multiple of eight columns; to a plain format or to a quantized one.
extern "C" __global__ void __launch_bounds__(256) swiglu(const __grid_constant__ SwiGluParameters p) {
  uint32_t block = block_of(p.format);
  uint32_t lanes = block == 0 ? 1 : block / 8;
  uint32_t row_lanes = (p.columns / 8 + lanes - 1) / lanes * lanes;
  uint64_t lane = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  uint64_t row = lane / row_lanes;
  uint32_t column = uint32_t(lane % row_lanes) * 8;
  bool inside = row < swiglu_rows(p) && column < p.columns;
  float values[8] = {};
  if (inside) {
    uint64_t first = row * 2 * p.columns;
    float low[8], high[8];
    load_eight(p.x, first + (p.interleaved ? 2 * column : column), p.input, low);
    load_eight(p.x, first + (p.interleaved ? 2 * column + 8 : p.columns + column), p.input, high);
    float weight = p.row_weights == nullptr ? 1.0f : p.row_weights[row];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      float gate = low[i], up = high[i];
      if (p.interleaved) {
        gate = i < 4 ? low[2 * i % 8] : high[2 * i % 8];
        up = i < 4 ? low[2 * i % 8 + 1] : high[2 * i % 8 + 1];
      }
      values[i] = swiglu_one(p, gate, up, weight);
    }
  }
  if (block == 0) {
    if (inside) store_eight(p.y, row * p.columns + column, p.format, values);
    return;
  }
  // As DeepSeek's inference code: to BF16 first.
#pragma unroll
  for (int i = 0; i < 8; i++) values[i] = bf16_to_f32(bf16x2_from_f32(values[i], 0.0f) & 0xffff);
  QuantizedRow to = {static_cast<uint8_t*>(p.y) + row * p.data_stride, p.scales + row * p.scales_stride, 1.0f};
  quantize_eight(to, column, inside, p.format, p.rule, p.amax_floor, values);
}
MXHAL_KERNEL(swiglu)

/// One value a thread, to a plain format: rows of any width.
extern "C" __global__ void __launch_bounds__(256) swiglu_elements(const __grid_constant__ SwiGluParameters p) {
  uint64_t index = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  uint64_t row = index / p.columns;
  uint32_t column = uint32_t(index % p.columns);
  if (row >= swiglu_rows(p)) return;
  uint64_t first = row * 2 * p.columns;
  float gate = load_element(p.x, first + (p.interleaved ? 2 * column : column), p.input);
  float up = load_element(p.x, first + (p.interleaved ? 2 * column + 1 : p.columns + column), p.input);
  float weight = p.row_weights == nullptr ? 1.0f : p.row_weights[row];
  store_element(p.y, index, p.format, swiglu_one(p, gate, up, weight));
}
MXHAL_KERNEL(swiglu_elements)
