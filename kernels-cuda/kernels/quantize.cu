// Rows of floats to rows of blocks. The rules are those of mxhal-core's format/row.rs, bit for bit.
#include "device.cuh"
#include "parameters.h"
#include "quantizer.cuh"

/// One thread for eight values. A row takes whole blocks of lanes, so that none is shared by two rows.
extern "C" __global__ void __launch_bounds__(256) quantize(const __grid_constant__ QuantizeParameters p) {
  uint32_t block = block_of(p.format);
  uint32_t row_lanes = (p.columns + block - 1) / block * (block / 8);
  uint64_t lane = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  uint64_t row = lane / row_lanes;
  uint32_t column = uint32_t(lane % row_lanes) * 8;
  bool inside = row < p.rows && column < p.columns;
  float values[8] = {};
  if (inside) load_eight(p.x, row * p.columns + column, p.input, values);
  QuantizedRow to = {p.data + row * p.data_stride, p.scales + row * p.scales_stride, 1.0f};
  if (p.format == FORMAT_NVFP4 && inside) to.factor = p.factors[row];
  quantize_eight(to, column, inside, p.format, p.rule, p.amax_floor, values);
}
MXHAL_KERNEL(quantize)

/// NVFP4's factor of each row, from its finite values; one block of threads for a row. Before `quantize`.
extern "C" __global__ void __launch_bounds__(256) nvfp4_factors(const __grid_constant__ QuantizeParameters p) {
  struct Shared {
    uint32_t amax[8];
  };
  MXHAL_SHARED(Shared, shared);
  uint64_t row = blockIdx.x;
  uint32_t amax = 0;
  for (uint32_t column = threadIdx.x * 8; column < p.columns; column += blockDim.x * 8) {
    float values[8];
    load_eight(p.x, row * p.columns + column, p.input, values);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      uint32_t magnitude = __float_as_uint(values[i]) & 0x7fffffff;
      if (magnitude < 0x7f800000) amax = max(amax, magnitude);
    }
  }
  for (uint32_t bit = 16; bit != 0; bit /= 2) amax = max(amax, __shfl_xor_sync(whole_warp, amax, bit));
  if (threadIdx.x % 32 == 0) shared.amax[threadIdx.x / 32] = amax;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (uint32_t warp = 1; warp < blockDim.x / 32; warp++) amax = max(amax, shared.amax[warp]);
  p.factors[row] = fmaxf(__uint_as_float(amax) / (e2m1_max * e4m3_max), 0x1p-126f);
}
MXHAL_KERNEL(nvfp4_factors)
