// The product that is always right: both operands are widened to BF16, scales and all, and multiplied as such.
//
// Every element times its power of two is a BF16 (E4M3 has four significant bits, int8 eight, E2M1 by an E4M3 scale
// six), but for what lies below 2^-133, so that any format goes with any other on any target. NVFP4's factors come
// last.
#include "decoder.cuh"
#include "device.cuh"
#include "fragments.cuh"
#include "ldmatrix.cuh"
#include "mma.cuh"

constexpr uint32_t wide_rows = 64;
constexpr uint32_t wide_columns = 64;
constexpr uint32_t wide_depth = 64;

/// One row of an operand.
struct WideRow {
  const uint8_t* data;
  const uint8_t* scales;
  uint32_t format;
  /// Whether the low nibbles of a block are its first half, and not the even elements.
  bool halves;
  /// Whether 16 bytes may be read at once.
  bool aligned;
};

/// The value of one element with its scale.
__device__ __forceinline__ float wide_element(const WideRow& row, uint32_t k) {
  if (row.format == FORMAT_BF16) return bf16_to_f32(reinterpret_cast<const uint16_t*>(row.data)[k]);
  uint32_t code;
  if (bits_of(row.format) == 4) {
    uint32_t within = k % 32;
    uint32_t nibble = row.halves ? within % 16 * 2 + within / 16 : within;
    code = row.data[k / 32 * 16 + nibble / 2] >> (4 * (nibble % 2)) & 15;
  } else {
    code = row.data[k];
  }
  return code_to_f32(row.format, code) * scale_to_f32(row.format, row.scales[k / block_of(row.format)]);
}

/// 32 elements from `column` on as 16 pairs of BF16; beyond `k` zeros.
__device__ __forceinline__ void widen(const WideRow& row, uint32_t column, uint32_t k, uint32_t (&pairs)[16]) {
  if (column + 32 <= k && row.aligned && row.format == FORMAT_BF16) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      uint4 four = load_vector<uint4>(row.data + column * 2 + i * 16);
      pairs[4 * i] = four.x, pairs[4 * i + 1] = four.y, pairs[4 * i + 2] = four.z, pairs[4 * i + 3] = four.w;
    }
    return;
  }
  if (column + 32 <= k && row.aligned && row.format == FORMAT_MXFP4) {
    uint4 codes = load_vector<uint4>(row.data + column / 2);
    uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
    float scale = e8m0_to_f32(row.scales[column / 32]);
#pragma unroll
    for (int i = 0; i < 16; i++) {
      // Elements 2i and 2i + 1: nibbles of two bytes, or of one.
      uint32_t in_halves = words[i % 8 / 2] >> (16 * (i % 2) + 4 * (i / 8));
      uint32_t in_order = words[i / 4] >> (8 * (i % 4));
      float low = e2m1_to_f32((row.halves ? in_halves : in_order) & 15) * scale;
      float high = e2m1_to_f32((row.halves ? in_halves >> 8 : in_order >> 4) & 15) * scale;
      pairs[i] = bf16x2_from_f32(low, high);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 16; i++) {
    float low = column + 2 * i < k ? wide_element(row, column + 2 * i) : 0.0f;
    float high = column + 2 * i + 1 < k ? wide_element(row, column + 2 * i + 1) : 0.0f;
    pairs[i] = bf16x2_from_f32(low, high);
  }
}

struct WideShared {
  // 16 bytes more than the depth, so that eight rows lie in different banks.
  alignas(16) uint16_t a[wide_rows][wide_depth + 8];
  alignas(16) uint16_t w[wide_columns][wide_depth + 8];
};

/// 64 x 64 of the output by four warps, each 32 x 32.
extern "C" __global__ void __launch_bounds__(128) product_wide(const __grid_constant__ ProductParameters p) {
  MXHAL_SHARED(WideShared, shared);
  uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Tile tile = find_tile(p.counts, p.groups, p.m, blockIdx.y, wide_rows);
  if (tile.rows == 0) return;
  uint32_t first_column = blockIdx.x * wide_columns;

  // Each thread widens 32 elements of one row of either operand. Rows that are not there repeat the last one: what
  // they give is not stored.
  uint32_t own_row = threadIdx.x / 2, own_part = threadIdx.x % 2 * 32;
  uint64_t a_row = tile.row + min(own_row, tile.rows - 1);
  uint64_t column = min(first_column + own_row, p.n - 1);
  uint64_t w_row = uint64_t(tile.group) * p.n + column;
  uint64_t tile_row = uint64_t(tile.group) * ((p.n + 127) / 128) + column / 128;
  uint64_t w_scales_row = p.w_format == FORMAT_FP8_TILE128 ? tile_row : w_row;
  WideRow a = {p.a + a_row * p.a_stride, p.a_scales + a_row * p.a_scales_stride, p.a_format, false, p.a_stride % 16 == 0};
  WideRow w = {p.w + w_row * p.w_stride, p.w_scales + w_scales_row * p.w_scales_stride, p.w_format,
               p.w_format == FORMAT_MXFP4 && p.w_halves != 0, p.w_stride % 16 == 0};

  uint32_t warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
  float d[2][4][4] = {};
  for (uint32_t k = 0; k < p.k; k += wide_depth) {
    uint32_t pairs[16];
    widen(a, k + own_part, p.k, pairs);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      store_vector(&shared.a[own_row][own_part + 8 * i], uint4{pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]});
    }
    widen(w, k + own_part, p.k, pairs);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      store_vector(&shared.w[own_row][own_part + 8 * i], uint4{pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]});
    }
    __syncthreads();
#pragma unroll
    for (uint32_t step = 0; step < wide_depth; step += 16) {
      uint32_t as[2][4], ws[2][4];
#pragma unroll
      for (uint32_t i = 0; i < 2; i++) {
        // Of A: both halves of the rows, then of K. Of W two columns' tiles: both halves of K, then of the columns.
        load_matrices(as[i], &shared.a[warp_row + 16 * i + lane % 16][step + lane / 16 * 8]);
        load_matrices(ws[i], &shared.w[warp_column + 16 * i + lane / 16 * 8 + lane % 8][step + lane / 8 % 2 * 8]);
      }
#pragma unroll
      for (uint32_t i = 0; i < 2; i++) {
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) mma_bf16(d[i][j], as[i], ws[j / 2][j % 2 * 2], ws[j / 2][j % 2 * 2 + 1]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (uint32_t i = 0; i < 2; i++) {
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
      store_fragment(p, tile, warp_row + 16 * i, first_column + warp_column + 8 * j, d[i][j]);
    }
  }
}
MXHAL_KERNEL(product_wide)
