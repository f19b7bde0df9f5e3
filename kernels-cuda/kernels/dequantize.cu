// Rows of blocks to rows of floats: each element times its scale, rounded once.
#include "decoder.cuh"
#include "device.cuh"
#include "parameters.h"

__device__ __forceinline__ float dequantize_one(const DequantizeParameters& p, uint64_t row, uint32_t column,
                                                uint32_t code) {
  uint32_t block = block_of(p.format);
  uint32_t row_scales = (p.columns + block - 1) / block;
  uint64_t row_of_scales = p.format == FORMAT_FP8_TILE128 ? row / 128 : row;
  float value = code_to_f32(p.format, code);
  value *= scale_to_f32(p.format, p.scales[row_of_scales * row_scales + column / block]);
  // The product with an E4M3 scale is exact, so that this rounds the value a second time only where it must.
  if (p.format == FORMAT_NVFP4) value *= p.factors[p.factor_per_row ? row : 0];
  return value;
}

/// Eight elements a thread, of rows of a multiple of eight columns.
extern "C" __global__ void __launch_bounds__(256) dequantize(const __grid_constant__ DequantizeParameters p) {
  uint64_t index = (uint64_t(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  if (index >= uint64_t(p.rows) * p.columns) return;
  uint64_t row = index / p.columns;
  uint32_t column = uint32_t(index % p.columns);
  float values[8];
  if (bits_of(p.format) == 4) {
    uint32_t codes = load_vector<uint32_t>(p.data + index / 2);
#pragma unroll
    for (int i = 0; i < 8; i++) values[i] = dequantize_one(p, row, column, codes >> (4 * i) & 15);
  } else {
    uint2 codes = load_vector<uint2>(p.data + index);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      values[i] = dequantize_one(p, row, column, (i < 4 ? codes.x : codes.y) >> (8 * (i % 4)) & 255);
    }
  }
  store_eight(p.y, index, p.output, values);
}
MXHAL_KERNEL(dequantize)

/// One element a thread: FP8 tiles of any width.
extern "C" __global__ void __launch_bounds__(256) dequantize_elements(const __grid_constant__ DequantizeParameters p) {
  uint64_t index = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= uint64_t(p.rows) * p.columns) return;
  float value = dequantize_one(p, index / p.columns, uint32_t(index % p.columns), p.data[index]);
  store_element(p.y, index, p.output, value);
}
MXHAL_KERNEL(dequantize_elements)
