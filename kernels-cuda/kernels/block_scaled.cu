// Grouped products on the block-scaled tensor cores of sm_120: W4A4 (kind::mxf4), NVFP4 (kind::mxf4nvf4) and W4A8
// (kind::mxf8f6f4).
//
// A block of eight warps makes a tile of the output, 128 deep at a time: both operands and their scales come to shared
// memory by asynchronous copies, a few tiles ahead, and stay packed until they are in registers. Blocks of K beyond the
// end are zero codes, under whatever scale.
#include "device.cuh"
#include "fragments.cuh"
#include "ldmatrix.cuh"
#include "memory.cuh"
#include "mma.cuh"

constexpr uint32_t scaled_columns = 128;
constexpr uint32_t scaled_depth = 128;
constexpr uint32_t scaled_threads = 256;

/// MXFP4 activations, packed like the weights.
struct W4A4 {
  static constexpr uint32_t a_bytes = 64;
  static constexpr uint32_t steps = 2;
  static constexpr uint32_t stages = 4;
  static constexpr uint32_t scale_block = 32;
};

/// NVFP4 on both sides: as W4A4, with a scale for each 16.
struct Nvfp4 {
  static constexpr uint32_t a_bytes = 64;
  static constexpr uint32_t steps = 2;
  static constexpr uint32_t stages = 4;
  static constexpr uint32_t scale_block = 16;
};

/// MXFP8 activations, with a scale per 32 or per 128; weights in halves, see README.md.
struct W4A8 {
  static constexpr uint32_t a_bytes = 128;
  static constexpr uint32_t steps = 4;
  static constexpr uint32_t stages = 3;
  static constexpr uint32_t scale_block = 32;
};

/// What of K = 128 is in shared memory at a time.
template <class Scheme, uint32_t rows>
struct alignas(128) ScaledStage {
  /// Words of four scales that a row has.
  static constexpr uint32_t words = scaled_depth / Scheme::scale_block / 4;
  uint8_t a[rows * Scheme::a_bytes];
  uint8_t w[scaled_columns * 64];
  uint32_t a_scales[words][rows];
  uint32_t w_scales[words][scaled_columns];
};

/// Begins the copies of one stage. Every thread copies; nobody waits.
template <class Scheme, uint32_t rows>
__device__ __forceinline__ void fetch_stage(const ProductParameters& p, const Tile& tile, uint32_t first_column, uint32_t depth,
                                            ScaledStage<Scheme, rows>& stage) {
  constexpr uint32_t a_chunks = Scheme::a_bytes / 16;
  uint32_t chunk_depth = scaled_depth / a_chunks;
  for (uint32_t i = threadIdx.x; i < rows * a_chunks; i += scaled_threads) {
    uint32_t row = i / a_chunks, chunk = i % a_chunks;
    bool inside = row < tile.rows && depth + chunk * chunk_depth < p.k;
    const uint8_t* from = p.a + (tile.row + row) * p.a_stride + depth * Scheme::a_bytes / scaled_depth + chunk * 16;
    copy_async_16(stage.a + swizzled<Scheme::a_bytes>(row, chunk), inside ? from : p.a, inside ? 16 : 0);
  }
  uint64_t first = uint64_t(tile.group) * p.n + first_column;
  for (uint32_t i = threadIdx.x; i < scaled_columns * 4; i += scaled_threads) {
    uint32_t column = i / 4, chunk = i % 4;
    bool inside = first_column + column < p.n && depth + chunk * 32 < p.k;
    const uint8_t* from = p.w + (first + column) * p.w_stride + depth / 2 + chunk * 16;
    copy_async_16(stage.w + swizzled<64>(column, chunk), inside ? from : p.w, inside ? 16 : 0);
  }
  constexpr uint32_t block = Scheme::scale_block, words = ScaledStage<Scheme, rows>::words;
  for (uint32_t i = threadIdx.x; i < scaled_columns * words; i += scaled_threads) {
    // Prepared weights have rows of scales of a multiple of four.
    uint32_t column = i % scaled_columns, word = i / scaled_columns, at = depth + word * 4 * block;
    bool inside = first_column + column < p.n && at < p.k;
    const uint8_t* from = p.w_scales + (first + column) * p.w_scales_stride + at / block;
    copy_async_4(&stage.w_scales[word][column], inside ? from : p.w_scales, inside ? 4 : 0);
  }
  copy_async_commit();
  // The activations' rows of scales may have any length, and are read byte by byte.
  for (uint32_t i = threadIdx.x; i < rows * words; i += scaled_threads) {
    uint32_t row = i % rows, word = i / rows, at = depth + word * 4 * block;
    uint32_t scales = 0;
    if (row < tile.rows) {
      const uint8_t* from = p.a_scales + (tile.row + row) * p.a_scales_stride;
      if (p.a_format == FORMAT_MXFP8_G128) {
        scales = from[depth / 128] * 0x01010101u;
      } else {
#pragma unroll
        for (uint32_t byte = 0; byte < 4; byte++) {
          if (at + block * byte < p.k) scales |= uint32_t(from[at / block + byte]) << (8 * byte);
        }
      }
    }
    stage.a_scales[word][row] = scales;
  }
}

/// One instruction on packed codes: MXFP4 has the scales of both steps of a stage in one word.
template <class Scheme>
__device__ __forceinline__ void multiply_packed(uint32_t step, float (&d)[4], const uint32_t (&a)[4], uint32_t w0, uint32_t w1,
                                                uint32_t a_scales, uint32_t w_scales) {
  if constexpr (Scheme::scale_block == 16) {
    mma_nvfp4(d, a, w0, w1, a_scales, w_scales);
  } else if (step == 0) {
    mma_mxf4<0>(d, a, w0, w1, a_scales, w_scales);
  } else {
    mma_mxf4<2>(d, a, w0, w1, a_scales, w_scales);
  }
}

/// Multiplies one stage of packed codes: 16 * row_tiles rows by 8 * column_tiles columns.
template <uint32_t row_tiles, uint32_t column_tiles, class Scheme, uint32_t rows>
__device__ __forceinline__ void multiply_stage(const ScaledStage<Scheme, rows>& stage, uint32_t row, uint32_t column,
                                               float (&d)[row_tiles][column_tiles][4]) {
  uint32_t lane = threadIdx.x % 32;
  uint32_t a_scales[row_tiles], w_scales[column_tiles];
#pragma unroll
  for (uint32_t step = 0; step < Scheme::steps; step++) {
    if (step < ScaledStage<Scheme, rows>::words) {
#pragma unroll
      for (uint32_t i = 0; i < row_tiles; i++) a_scales[i] = stage.a_scales[step][row + 16 * i + lane / 4 + lane % 2 * 8];
#pragma unroll
      for (uint32_t j = 0; j < column_tiles; j++) w_scales[j] = stage.w_scales[step][column + 8 * j + lane / 4];
    }
    uint32_t a[row_tiles][4];
#pragma unroll
    for (uint32_t i = 0; i < row_tiles; i++) {
      load_matrices(a[i], stage.a + swizzled<64>(row + 16 * i + lane % 16, 2 * step + lane / 16));
    }
#pragma unroll
    for (uint32_t j = 0; j < column_tiles; j += 2) {
      uint32_t w[4];
      load_matrices(w, stage.w + swizzled<64>(column + 8 * j + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
#pragma unroll
      for (uint32_t i = 0; i < row_tiles; i++) {
        multiply_packed<Scheme>(step, d[i][j], a[i], w[0], w[1], a_scales[i], w_scales[j]);
        multiply_packed<Scheme>(step, d[i][j + 1], a[i], w[2], w[3], a_scales[i], w_scales[j + 1]);
      }
    }
  }
}

/// One block of 32 along K, whose scales are byte `step`.
template <int step, uint32_t row_tiles, uint32_t column_tiles, uint32_t rows>
__device__ __forceinline__ void multiply_block(const ScaledStage<W4A8, rows>& stage, uint32_t row, const uint32_t (&a_scales)[row_tiles],
                                               const uint32_t (&w_scales)[column_tiles],
                                               const uint32_t (&w)[column_tiles][4],
                                               float (&d)[row_tiles][column_tiles][4]) {
  uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t i = 0; i < row_tiles; i++) {
    uint32_t a[4];
    load_matrices(a, stage.a + swizzled<128>(row + 16 * i + lane % 16, 2 * step + lane / 16));
#pragma unroll
    for (uint32_t j = 0; j < column_tiles; j++) {
      // The low nibbles are the first half of the block and the high ones the second; to bits 5 to 2 of each byte.
      uint32_t low = w[j][step] << 2 & 0x3c3c3c3c;
      uint32_t high = w[j][step] >> 2 & 0x3c3c3c3c;
      mma_mxf8f4<step>(d[i][j], a, low, high, a_scales[i], w_scales[j]);
    }
  }
}

template <uint32_t row_tiles, uint32_t column_tiles, uint32_t rows>
__device__ __forceinline__ void multiply_stage(const ScaledStage<W4A8, rows>& stage, uint32_t row, uint32_t column,
                                               float (&d)[row_tiles][column_tiles][4]) {
  uint32_t lane = threadIdx.x % 32;
  uint32_t a_scales[row_tiles], w_scales[column_tiles];
  // Of a column, register i holds the lane's four bytes of block i.
  uint32_t w[column_tiles][4];
#pragma unroll
  for (uint32_t i = 0; i < row_tiles; i++) a_scales[i] = stage.a_scales[0][row + 16 * i + lane / 4 + lane % 2 * 8];
#pragma unroll
  for (uint32_t j = 0; j < column_tiles; j++) {
    w_scales[j] = stage.w_scales[0][column + 8 * j + lane / 4];
    load_matrices(w[j], stage.w + swizzled<64>(column + 8 * j + lane % 8, lane / 8));
  }
  multiply_block<0>(stage, row, a_scales, w_scales, w, d);
  multiply_block<1>(stage, row, a_scales, w_scales, w, d);
  multiply_block<2>(stage, row, a_scales, w_scales, w, d);
  multiply_block<3>(stage, row, a_scales, w_scales, w, d);
}

/// A tile of `rows` x 128, by `warp_rows` rows of warps.
template <class Scheme, uint32_t rows, uint32_t warp_rows>
__device__ __forceinline__ void block_scaled(const ProductParameters& p) {
  constexpr uint32_t warp_columns = scaled_threads / 32 / warp_rows;
  constexpr uint32_t row_tiles = rows / warp_rows / 16;
  constexpr uint32_t column_tiles = scaled_columns / warp_columns / 8;
  using Stage = ScaledStage<Scheme, rows>;
  Stage* stages = dynamic_shared<Stage>();
  uint32_t warp = threadIdx.x / 32;
  Tile tile = find_tile(p.counts, p.groups, p.m, blockIdx.y, rows);
  if (tile.rows == 0) return;
  uint32_t first_column = blockIdx.x * scaled_columns;
  uint32_t row = warp / warp_columns * 16 * row_tiles;
  uint32_t column = warp % warp_columns * 8 * column_tiles;

  uint32_t depths = (p.k + scaled_depth - 1) / scaled_depth;
  for (uint32_t ahead = 0; ahead + 1 < Scheme::stages; ahead++) {
    // An empty group where there is nothing to fetch keeps the count of groups under way.
    if (ahead < depths) {
      fetch_stage<Scheme, rows>(p, tile, first_column, ahead * scaled_depth, stages[ahead]);
    } else {
      copy_async_commit();
    }
  }
  float d[row_tiles][column_tiles][4] = {};
  for (uint32_t i = 0; i < depths; i++) {
    copy_async_wait<Scheme::stages - 2>();
    // What this thread waited for is now everybody's, and the stage that is filled next was read by all.
    __syncthreads();
    uint32_t ahead = i + Scheme::stages - 1;
    if (ahead < depths) {
      fetch_stage<Scheme, rows>(p, tile, first_column, ahead * scaled_depth, stages[ahead % Scheme::stages]);
    } else {
      copy_async_commit();
    }
    multiply_stage<row_tiles, column_tiles>(stages[i % Scheme::stages], row, column, d);
  }
#pragma unroll
  for (uint32_t i = 0; i < row_tiles; i++) {
#pragma unroll
    for (uint32_t j = 0; j < column_tiles; j++) {
      store_fragment(p, tile, row + 16 * i, first_column + column + 8 * j, d[i][j]);
    }
  }
}

// On other targets these kernels are there and trap: which kernel a device may run is in src/kernel.rs.
#if defined(MXHAL_EMULATED) || MXHAL_FAMILY == 1200
#define BLOCK_SCALED(scheme, rows, warp_rows) block_scaled<scheme, rows, warp_rows>(p)
#else
#define BLOCK_SCALED(scheme, rows, warp_rows) __trap()
#endif

extern "C" __global__ void __launch_bounds__(scaled_threads) product_nvfp4_128(const __grid_constant__ ProductParameters p) {
  BLOCK_SCALED(Nvfp4, 128, 2);
}
MXHAL_KERNEL(product_nvfp4_128)

extern "C" __global__ void __launch_bounds__(scaled_threads) product_nvfp4_32(const __grid_constant__ ProductParameters p) {
  BLOCK_SCALED(Nvfp4, 32, 1);
}
MXHAL_KERNEL(product_nvfp4_32)

extern "C" __global__ void __launch_bounds__(scaled_threads) product_w4a4_128(const __grid_constant__ ProductParameters p) {
  BLOCK_SCALED(W4A4, 128, 2);
}
MXHAL_KERNEL(product_w4a4_128)

extern "C" __global__ void __launch_bounds__(scaled_threads) product_w4a4_32(const __grid_constant__ ProductParameters p) {
  BLOCK_SCALED(W4A4, 32, 1);
}
MXHAL_KERNEL(product_w4a4_32)

extern "C" __global__ void __launch_bounds__(scaled_threads) product_w4a8_128(const __grid_constant__ ProductParameters p) {
  BLOCK_SCALED(W4A8, 128, 2);
}
MXHAL_KERNEL(product_w4a8_128)

extern "C" __global__ void __launch_bounds__(scaled_threads) product_w4a8_32(const __grid_constant__ ProductParameters p) {
  BLOCK_SCALED(W4A8, 32, 1);
}
MXHAL_KERNEL(product_w4a8_32)
