// Rows in order of expert back to tokens: weighted, and summed in float32 in order of slot, the addend last.
#include "device.cuh"
#include "elements.cuh"
#include "parameters.h"

/// Eight columns a thread, for rows of a multiple of eight columns.
extern "C" __global__ void __launch_bounds__(256) combine(const __grid_constant__ CombineParameters p) {
  uint64_t index = (uint64_t(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  if (index >= uint64_t(p.tokens) * p.columns) return;
  uint64_t token = index / p.columns;
  uint32_t column = uint32_t(index % p.columns);
  float sums[8] = {};
  for (uint32_t slot = 0; slot < p.top_k; slot++) {
    int32_t row = p.positions[token * p.top_k + slot];
    if (row < 0) continue;
    float weight = p.weights == nullptr ? 1.0f : p.weights[token * p.top_k + slot];
    float values[8];
    load_eight(p.rows, uint64_t(uint32_t(row)) * p.columns + column, p.input, values);
    // A multiplication and an addition, each rounded: the build fuses none.
#pragma unroll
    for (int i = 0; i < 8; i++) sums[i] += weight * values[i];
  }
  if (p.addend != nullptr) {
    float values[8];
    load_eight(p.addend, index, p.addend_format, values);
#pragma unroll
    for (int i = 0; i < 8; i++) sums[i] += values[i];
  }
  store_eight(p.y, index, p.output, sums);
}
MXHAL_KERNEL(combine)

/// One column a thread: rows of any width.
extern "C" __global__ void __launch_bounds__(256) combine_elements(const __grid_constant__ CombineParameters p) {
  uint64_t index = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= uint64_t(p.tokens) * p.columns) return;
  uint64_t token = index / p.columns;
  uint32_t column = uint32_t(index % p.columns);
  float sum = 0.0f;
  for (uint32_t slot = 0; slot < p.top_k; slot++) {
    int32_t row = p.positions[token * p.top_k + slot];
    if (row < 0) continue;
    float weight = p.weights == nullptr ? 1.0f : p.weights[token * p.top_k + slot];
    sum += weight * load_element(p.rows, uint64_t(uint32_t(row)) * p.columns + column, p.input);
  }
  if (p.addend != nullptr) sum += load_element(p.addend, index, p.addend_format);
  store_element(p.y, index, p.output, sum);
}
MXHAL_KERNEL(combine_elements)
