// Products of up to eight rows with MXFP4 weights, by one block of threads for a few columns: what decode.cu and
// moe_decode.cu share.
//
// Bound by memory, so what counts is that weights are read once, 16 bytes at a time, that many loads are under way, and
// that few instructions are spent on each weight. Hence the matrix unit, although most of its columns may be idle: a
// warp multiplies 16 weight rows ("columns" of the output) by eight activation rows, and 32 weights cost some
// 25 instructions of a warp where float32 multiplications of each would take 200.
//
// Eight warps share the columns and split K: a lane takes whole blocks of 32, of two weight rows. The K of a lane's
// registers is whatever the block holds, in the same order on both sides. Activations come to shared memory as BF16, a
// chunk of K at a time, two chunks in turn; while one is multiplied, the weights of the next are on their way.
#pragma once

#include "device.cuh"
#include "memory.cuh"
#include "mma.cuh"
#include "widening.cuh"

constexpr uint32_t few_rows = 8;
constexpr uint32_t few_threads = 256;
constexpr uint32_t few_warps = few_threads / 32;
/// Blocks of a multiprocessor for which there are registers. On Blackwell three would spill a few.
constexpr int few_blocks = MXHAL_FAMILY >= 1000 ? 2 : 3;
/// Columns of one tile.
constexpr uint32_t few_columns = 16;
/// K of a chunk: eight neighbours for each thread.
constexpr uint32_t few_depth = 8 * few_threads;
/// K that a warp takes at a time: one block for each lane of a row.
constexpr uint32_t few_span = 128;
/// Spans that a warp has of a chunk.
constexpr uint32_t few_spans = few_depth / few_span / few_warps;

/// Bytes of shared memory for the chunks of so many rows.
__host__ __device__ constexpr uint32_t few_shared_bytes(uint32_t rows) { return 2 * rows * few_depth * 2; }

/// The weight rows of a lane: of each tile rows i and i + 8, with i a quarter of its number. A group's weights are less
/// than 4 GiB.
template <uint32_t tiles>
struct FewWeights {
  /// Of the group: the same for all threads.
  const uint8_t* codes;
  const uint8_t* scales;
  uint32_t code_offsets[tiles][2];
  uint32_t scale_offsets[tiles][2];

  /// `row(tile, i)` is the number of a row of the group, which is MXFP4 as prepared.
  template <class Row>
  __device__ __forceinline__ FewWeights(const uint8_t* codes_, uint64_t stride, const uint8_t* scales_, uint64_t scales_stride, Row row)
      : codes(codes_), scales(scales_) {
#pragma unroll
    for (uint32_t tile = 0; tile < tiles; tile++) {
#pragma unroll
      for (uint32_t half = 0; half < 2; half++) {
        uint32_t at = row(tile, threadIdx.x % 32 / 4 + 8 * half);
        code_offsets[tile][half] = at * uint32_t(stride);
        scale_offsets[tile][half] = at * uint32_t(scales_stride);
      }
    }
  }
};

/// One lane's weights of a chunk, as they are in memory.
template <uint32_t tiles>
struct FewCodes {
  uint4 codes[few_spans][tiles][2];
  uint32_t scales[few_spans][tiles][2];
};

/// The block of 32 that this lane has in a span of a chunk.
__device__ __forceinline__ uint32_t few_block(uint32_t chunk, uint32_t span) {
  return chunk * (few_depth / 32) + (span * few_warps + threadIdx.x / 32) * 4 + threadIdx.x % 4;
}

/// Begins to read a chunk of `k` columns.
template <uint32_t tiles>
__device__ __forceinline__ void few_fetch(const FewWeights<tiles>& w, uint32_t k, uint32_t chunk, FewCodes<tiles>& to) {
#pragma unroll
  for (uint32_t span = 0; span < few_spans; span++) {
    uint32_t block = few_block(chunk, span);
    bool inside = block < k / 32;
#pragma unroll
    for (uint32_t tile = 0; tile < tiles; tile++) {
#pragma unroll
      for (uint32_t half = 0; half < 2; half++) {
        to.codes[span][tile][half] = uint4{0, 0, 0, 0};
        to.scales[span][tile][half] = 127;
        if (!inside) continue;
        to.codes[span][tile][half] = load_streaming(w.codes + (w.code_offsets[tile][half] + block * 16));
        to.scales[span][tile][half] = w.scales[w.scale_offsets[tile][half] + block];
      }
    }
  }
}

/// Where 16 bytes of a row lie in a chunk. Lanes of neighbouring rows and blocks read in different banks.
__device__ __forceinline__ uint32_t few_place(uint32_t row, uint32_t eight) {
  return row * (2 * few_depth) + (eight ^ ((eight / 4 ^ row) & 3)) * 16;
}

/// Brings a chunk of `rows` rows to shared memory. `load(row, column)` gives eight BF16 from `column` on, zeros beyond
/// the end; all threads call it together, with neighbouring columns. Of `ahead` rows loads are under way together.
template <int ahead, class Load>
__device__ __forceinline__ void few_stage(uint8_t* buffer, uint32_t rows, uint32_t chunk, Load load) {
  uint32_t column = chunk * few_depth + threadIdx.x * 8;
#pragma unroll(ahead)
  for (uint32_t row = 0; row < rows; row++) store_vector(buffer + few_place(row, threadIdx.x), load(row, column));
}

/// Adds the products of one block of 16 weight rows by the activations `x`. Scales beyond a BF16's powers of two take
/// a second multiplication: `large` says that there may be any.
template <bool halves, bool large>
__device__ __forceinline__ void few_multiply_block(const uint4 (&codes)[2], const uint32_t (&scale_bytes)[2],
                                                   const uint32_t (&x)[16], float (&d)[4]) {
  BlockScale scales[2];
  uint32_t words[2][4];
#pragma unroll
  for (uint32_t half = 0; half < 2; half++) {
    scales[half] = block_scale(FORMAT_MXFP4, scale_bytes[half]);
    words[half][0] = codes[half].x, words[half][1] = codes[half].y;
    words[half][2] = codes[half].z, words[half][3] = codes[half].w;
  }
#pragma unroll
  for (uint32_t word = 0; word < 4; word++) {
    uint32_t low[4], high[4];
    place_weights<halves>(words[0][word], low);
    place_weights<halves>(words[1][word], high);
    apply_scale<large>(scales[0], low);
    apply_scale<large>(scales[1], high);
#pragma unroll
    for (uint32_t i = 0; i < 4; i += 2) {
      uint32_t a[4] = {low[i], high[i], low[i + 1], high[i + 1]};
      mma_bf16(d, a, x[pair_of<halves>(word, i)], x[pair_of<halves>(word, i + 1)]);
    }
  }
}

/// Adds the products of a chunk, of which `spans` are there.
template <bool halves, uint32_t tiles>
__device__ __forceinline__ void few_multiply(const uint8_t* buffer, uint32_t rows, uint32_t spans, const FewCodes<tiles>& w,
                                             float (&d)[tiles][4]) {
  uint32_t row = threadIdx.x % 32 / 4;
#pragma unroll
  for (uint32_t span = 0; span < few_spans; span++) {
    // Nothing is left of K for this warp.
    if (span * few_warps + threadIdx.x / 32 >= spans) break;
    uint32_t x[16] = {};
    if (row < rows) {
      // The places of few_place, whose exchange is the same for all blocks of a lane.
      const uint8_t* from = buffer + row * (2 * few_depth) + few_block(0, span) * 64;
#pragma unroll
      for (uint32_t i = 0; i < 4; i++) {
        uint4 eight = load_vector<uint4>(from + (i ^ ((threadIdx.x ^ row) & 3)) * 16);
        x[4 * i] = eight.x, x[4 * i + 1] = eight.y, x[4 * i + 2] = eight.z, x[4 * i + 3] = eight.w;
      }
    }
#pragma unroll
    for (uint32_t tile = 0; tile < tiles; tile++) {
      const uint32_t(&scales)[2] = w.scales[span][tile];
      bool is_large = is_large_scale(FORMAT_MXFP4, scales[0]) || is_large_scale(FORMAT_MXFP4, scales[1]);
      if (__ballot_sync(whole_warp, is_large) == 0) {
        few_multiply_block<halves, false>(w.codes[span][tile], scales, x, d[tile]);
      } else {
        few_multiply_block<halves, true>(w.codes[span][tile], scales, x, d[tile]);
      }
    }
  }
}

/// The sums of one warp, `[column][row]`.
using FewSums = float[few_columns][few_rows];

/// Puts down what this warp has summed.
__device__ __forceinline__ void few_put(FewSums& sums, const float (&d)[4]) {
  uint32_t column = threadIdx.x % 32 / 4, row = threadIdx.x % 4 * 2;
  store_vector(&sums[column][row], float2{d[0], d[1]});
  store_vector(&sums[column + 8][row], float2{d[2], d[3]});
}

/// The sum of one element over the warps, in their order.
__device__ __forceinline__ float few_sum(const FewSums* sums, uint32_t column, uint32_t row) {
  float sum = sums[0][column][row];
#pragma unroll
  for (uint32_t warp = 1; warp < few_warps; warp++) sum += sums[warp][column][row];
  return sum;
}

/// Eight activations of a stored row, as BF16.
__device__ __forceinline__ uint4 few_stored(uint32_t format, const uint8_t* data, const uint8_t* scales, uint32_t column,
                                            uint32_t k) {
  if (column >= k) return {0, 0, 0, 0};
  if (format == FORMAT_BF16) return load_vector<uint4>(data + column * 2);
  uint2 codes = {0, 0};
  if (format == FORMAT_MXFP4) {
    codes.x = load_vector<uint32_t>(data + column / 2);
  } else {
    codes = load_vector<uint2>(data + column);
  }
  return widen_eight(format, codes, scales[column / block_of(format)]);
}
