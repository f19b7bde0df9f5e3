// Products of one to eight rows with MXFP4 weights: dense, and grouped in tiles of eight rows.
#include "device.cuh"
#include "few_rows.cuh"
#include "fragments.cuh"

struct DecodeShared {
  alignas(16) FewSums sums[few_warps];
};

/// Sixteen columns of a tile's rows by one block of threads, for weights in either order. MXFP8 per 128 is told from
/// that per 32 as it runs.
template <uint32_t format, bool halves>
__device__ __forceinline__ void decode(const ProductParameters& p, DecodeShared& shared) {
  uint8_t* buffers = dynamic_shared<uint8_t>();
  Tile tile = find_tile(p.counts, p.groups, p.m, blockIdx.y, few_rows);
  if (tile.rows == 0) return;
  uint32_t first_column = blockIdx.x * few_columns;
  uint64_t first = uint64_t(tile.group) * p.n;
  FewWeights<1> w(p.w + first * p.w_stride, p.w_stride, p.w_scales + first * p.w_scales_stride, p.w_scales_stride,
                  [&](uint32_t, uint32_t i) { return min(first_column + i, p.n - 1); });
  auto activations = [&](uint32_t row, uint32_t column) {
    uint64_t at = tile.row + row;
    uint32_t stored = format == FORMAT_MXFP8 ? p.a_format : format;
    return few_stored(stored, p.a + at * p.a_stride, p.a_scales + at * p.a_scales_stride, column, p.k);
  };

  uint32_t chunk_bytes = tile.rows * few_depth * 2;
  uint32_t spans = (p.k + few_span - 1) / few_span;
  uint32_t chunks = (p.k + few_depth - 1) / few_depth;
  FewCodes<1> codes;
  few_fetch(w, p.k, 0, codes);
  few_stage<2>(buffers, tile.rows, 0, activations);
  float d[1][4] = {};
  for (uint32_t chunk = 0; chunk < chunks; chunk++) {
    FewCodes<1> next = codes;
    if (chunk + 1 < chunks) few_fetch(w, p.k, chunk + 1, next);
    // This chunk is there for all, and what lay where the next one goes was read by all.
    __syncthreads();
    few_multiply<halves>(buffers + chunk % 2 * chunk_bytes, tile.rows, spans - chunk * few_spans * few_warps, codes, d);
    if (chunk + 1 < chunks) few_stage<2>(buffers + (chunk + 1) % 2 * chunk_bytes, tile.rows, chunk + 1, activations);
    codes = next;
  }
  few_put(shared.sums[threadIdx.x / 32], d[0]);
  __syncthreads();
  // Neighbouring threads have neighbouring columns.
  uint32_t column = threadIdx.x % few_columns, row = threadIdx.x / few_columns;
  if (row >= tile.rows || first_column + column >= p.n) return;
  store_sum(p, tile.group, tile.row + row, first_column + column, few_sum(shared.sums, column, row));
}

#define DECODE(name, format)                                                                                  \
  extern "C" __global__ void __launch_bounds__(few_threads, few_blocks) name(const __grid_constant__ ProductParameters p) { \
    MXHAL_SHARED(DecodeShared, shared);                                                                       \
    if (p.w_halves) {                                                                                         \
      decode<format, true>(p, shared);                                                                        \
    } else {                                                                                                  \
      decode<format, false>(p, shared);                                                                       \
    }                                                                                                         \
  }                                                                                                           \
  MXHAL_KERNEL(name)

DECODE(decode_bf16, FORMAT_BF16)
DECODE(decode_mxfp8, FORMAT_MXFP8)
DECODE(decode_mxint8, FORMAT_MXINT8)
DECODE(decode_mxfp4, FORMAT_MXFP4)
