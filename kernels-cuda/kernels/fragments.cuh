// What products on tensor cores share: where fragments lie in shared memory, and how results leave.
#pragma once

#include "elements.cuh"
#include "groups.cuh"
#include "parameters.h"

/// The place of 16-byte chunk `chunk` of row `row` in rows of 64 or 128 bytes: chunks of neighbouring rows are
/// exchanged, so that eight rows that a matrix load reads lie in different banks.
template <uint32_t row_bytes>
__device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t chunk) {
  static_assert(row_bytes == 64 || row_bytes == 128, "other widths need another exchange");
  uint32_t exchange = row_bytes == 64 ? row / 2 % 4 : row % 8;
  return row * row_bytes + (chunk ^ exchange) * 16;
}

/// A sum to what is stored: NVFP4's factors, the bias, one rounding.
__device__ __forceinline__ void store_sum(const ProductParameters& p, uint32_t group, uint32_t row, uint32_t column,
                                          float sum) {
  uint64_t output_column = uint64_t(group) * p.n + column;
  if (p.a_factors != nullptr) sum *= p.a_factors[p.a_factor_per_row ? row : 0];
  if (p.w_factors != nullptr) sum *= p.w_factors[p.w_factor_per_row ? output_column : 0];
  if (p.bias != nullptr) sum += p.bias[output_column];
  store_element(p.y, uint64_t(row) * p.n + column, p.output, sum);
}

/// The 16 x 8 results of one instruction, whose first row and column these are within the tile and of the output.
__device__ __forceinline__ void store_fragment(const ProductParameters& p, const Tile& tile, uint32_t row, uint32_t column,
                                               const float (&d)[4]) {
  uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t i = 0; i < 4; i++) {
    uint32_t r = row + lane / 4 + i / 2 * 8;
    uint32_t c = column + lane % 4 * 2 + i % 2;
    if (r < tile.rows && c < p.n) store_sum(p, tile.group, tile.row + r, c, d[i]);
  }
}
