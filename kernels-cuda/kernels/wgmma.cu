// Grouped products with MXFP4 weights on Hopper's tensor cores (wgmma, BF16): W4A16, and every other scheme by exact
// widening of its activations.
//
// The product is computed transposed, so that weights are the operand that comes from registers: they are unpacked
// there, scale and all, and never go back to shared memory. A block of two warpgroups makes a tile of the output, K = 128
// at a time. Packed weights, and activations of BF16, come by asynchronous copies two stages ahead; activations of other
// formats are widened on their way to shared memory. While the tensor cores multiply one block of 32, the next is
// unpacked.
//
// FP8 on these tensor cores would be twice as fast, but it adds with 13 bits (ptx/truncated_sum.h): not the product that
// is asked for. Scales are exact in BF16, see widening.cuh.
#include "device.cuh"
#include "fragments.cuh"
#include "memory.cuh"
#include "wgmma.cuh"
#include "widening.cuh"

constexpr uint32_t hopper_threads = 256;
constexpr uint32_t hopper_depth = 128;
/// One is multiplied, one may still be read by what was issued last, two are on their way.
constexpr uint32_t hopper_stages = 4;

/// A tile: so many rows of activations, and of weights 64 for each of `tiles` in both warpgroups.
template <uint32_t rows_, uint32_t tiles_>
struct HopperTile {
  static constexpr uint32_t rows = rows_;
  static constexpr uint32_t tiles = tiles_;
  static constexpr uint32_t columns = 128 * tiles;
  /// Blocks of 32 activations that a thread widens for each stage.
  static constexpr uint32_t blocks = (rows * 4 + hopper_threads - 1) / hopper_threads;
};

/// What of K = 128 is in shared memory at a time.
template <class Shape>
struct alignas(1024) HopperStage {
  /// Two halves of K, each rows of 64 BF16 as wgmma_descriptor wants them.
  uint8_t a[2][Shape::rows * 128];
  uint8_t w[Shape::columns * 64];
  uint32_t w_scales[Shape::columns];
};

/// Begins the copies of a stage's weights.
template <class Shape>
__device__ __forceinline__ void fetch_weights(const ProductParameters& p, uint32_t group, uint32_t first_column, uint32_t depth,
                                              HopperStage<Shape>& stage) {
  uint64_t first = uint64_t(group) * p.n + first_column;
#pragma unroll
  for (uint32_t i = 0; i < Shape::columns * 4; i += hopper_threads) {
    uint32_t column = (i + threadIdx.x) / 4, chunk = threadIdx.x % 4;
    bool inside = first_column + column < p.n && depth + chunk * 32 < p.k;
    const uint8_t* from = p.w + (first + column) * p.w_stride + depth / 2 + chunk * 16;
    copy_async_16(stage.w + swizzled<64>(column, chunk), inside ? from : p.w, inside ? 16 : 0);
  }
  uint32_t column = threadIdx.x;
  if (column < Shape::columns) {
    // Prepared weights have rows of scales of a multiple of four.
    bool inside = first_column + column < p.n;
    const uint8_t* from = p.w_scales + (first + column) * p.w_scales_stride + depth / 32;
    copy_async_4(&stage.w_scales[column], inside ? from : p.w_scales, inside ? 4 : 0);
  }
}

/// Begins the copies of a stage's activations, which are BF16.
template <class Shape>
__device__ __forceinline__ void fetch_bf16(const ProductParameters& p, const Tile& tile, uint32_t depth, HopperStage<Shape>& stage) {
#pragma unroll
  for (uint32_t i = 0; i < Shape::rows * 16; i += hopper_threads) {
    uint32_t row = (i + threadIdx.x) / 16, chunk = threadIdx.x % 16;
    bool inside = row < tile.rows && depth + chunk * 8 < p.k;
    const uint8_t* from = p.a + (tile.row + row) * p.a_stride + depth * 2 + chunk * 16;
    copy_async_16(stage.a[chunk / 8] + swizzled<128>(row, chunk % 8), inside ? from : p.a, inside ? 16 : 0);
  }
}

/// One thread's activations of a stage, as they are in memory: blocks of 32 with their scales.
template <class Shape>
struct HopperCodes {
  uint4 codes[Shape::blocks][2];
  uint32_t scales[Shape::blocks];
};

template <class Shape>
__device__ __forceinline__ void load_codes(const ProductParameters& p, const Tile& tile, uint32_t depth, HopperCodes<Shape>& to) {
#pragma unroll
  for (uint32_t i = 0; i < Shape::blocks; i++) {
    uint32_t at = threadIdx.x + i * hopper_threads;
    uint32_t row = at / 4, block = depth / 32 + at % 4;
    to.codes[i][0] = to.codes[i][1] = uint4{0, 0, 0, 0};
    to.scales[i] = 127;
    if (row >= tile.rows || block >= p.k / 32) continue;
    const uint8_t* data = p.a + (tile.row + row) * p.a_stride + block * 4 * bits_of(p.a_format);
    to.codes[i][0] = load_vector<uint4>(data);
    if (p.a_format != FORMAT_MXFP4) to.codes[i][1] = load_vector<uint4>(data + 16);
    to.scales[i] = p.a_scales[(tile.row + row) * p.a_scales_stride + block * 32 / block_of(p.a_format)];
  }
}

/// Widens them to their places.
template <class Shape>
__device__ __forceinline__ void put_codes(uint32_t format, const HopperCodes<Shape>& codes, HopperStage<Shape>& stage) {
#pragma unroll
  for (uint32_t i = 0; i < Shape::blocks; i++) {
    uint32_t at = threadIdx.x + i * hopper_threads;
    uint32_t row = at / 4, block = at % 4;
    if (row >= Shape::rows) continue;
    uint4 low = codes.codes[i][0], high = codes.codes[i][1];
    uint32_t words[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (uint32_t c = 0; c < 4; c++) {
      uint2 eight = {words[2 * c], words[2 * c + 1]};
      if (format == FORMAT_MXFP4) eight.x = words[c];
      store_vector(stage.a[block / 2] + swizzled<128>(row, block % 2 * 4 + c), widen_eight(format, eight, codes.scales[i]));
    }
  }
}

/// The nibbles of one weight row that this lane has of a block of 32, where place_e2m1 wants them: of 16 columns each,
/// 2q and 2q + 1, and eight more. Pairs come out by half of the block and then by those eight, or the other way round.
template <bool halves>
__device__ __forceinline__ uint32_t block_nibbles(const uint8_t* codes) {
  uint32_t q = threadIdx.x % 4;
  if (halves) {
    uint32_t first = load_vector<uint16_t>(codes + 2 * q), second = load_vector<uint16_t>(codes + 8 + 2 * q);
    return __byte_perm(first, second, 0x5140);
  }
  uint4 all = load_vector<uint4>(codes);
  uint32_t selector = q | (q + 4) << 4;
  return from_neighbours(__byte_perm(__byte_perm(all.x, all.y, selector), __byte_perm(all.z, all.w, selector), 0x5410));
}

/// This lane's weights of block `block` of a stage as operands of both its steps of K = 16; `row` is its first.
template <bool halves, bool large, class Shape>
__device__ __forceinline__ void unpack_block(const HopperStage<Shape>& stage, uint32_t block, uint32_t row,
                                             const uint32_t (&scales)[Shape::tiles][2],
                                             uint32_t (&operands)[Shape::tiles][2][4]) {
#pragma unroll
  for (uint32_t tile = 0; tile < Shape::tiles; tile++) {
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
      uint32_t pairs[4];
      place_e2m1(block_nibbles<halves>(stage.w + swizzled<64>(row + 64 * tile + 8 * half, block)), pairs);
      apply_scale<large>(block_scale(FORMAT_MXFP4, scales[tile][half] >> (8 * block) & 255), pairs);
#pragma unroll
      for (uint32_t step = 0; step < 2; step++) {
        operands[tile][step][half] = pairs[halves ? step : 2 * step];
        operands[tile][step][2 + half] = pairs[halves ? step + 2 : 2 * step + 1];
      }
    }
  }
}

/// Columns of a tile to the output, by way of shared memory: threads with neighbouring columns store together.
template <class Shape>
__device__ __forceinline__ void store_tile(const ProductParameters& p, const Tile& tile, uint32_t first_column, uint32_t own_column,
                                           float* buffer, const float (&d)[Shape::tiles][Shape::rows / 2]) {
  // Four more, so that the lanes of a warp write to different banks.
  constexpr uint32_t stride = Shape::columns + 4;
#pragma unroll
  for (uint32_t i = 0; i < Shape::tiles * Shape::rows / 2; i++) {
    uint32_t part = i / (Shape::rows / 2), j = i % (Shape::rows / 2);
    uint32_t row = j / 4 * 8 + threadIdx.x % 4 * 2 + j % 2;
    buffer[row * stride + own_column + 64 * part + j / 2 % 2 * 8] = d[part][j];
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < tile.rows * (Shape::columns / 8); i += hopper_threads) {
    uint32_t row = i / (Shape::columns / 8), within = i % (Shape::columns / 8) * 8;
    uint32_t column = first_column + within;
    if (column >= p.n) continue;
    float values[8];
    load_eight(buffer, row * stride + within, FORMAT_F32, values);
    if (p.n % 8 != 0) {
      for (uint32_t j = 0; j < min(8u, p.n - column); j++) store_sum(p, tile.group, tile.row + row, column + j, values[j]);
      continue;
    }
    if (p.bias != nullptr) {
      float bias[8];
      load_eight(p.bias, uint64_t(tile.group) * p.n + column, FORMAT_F32, bias);
#pragma unroll
      for (int j = 0; j < 8; j++) values[j] += bias[j];
    }
    store_eight(p.y, (tile.row + row) * uint64_t(p.n) + column, p.output, values);
  }
}

template <class Shape, bool is_bf16, bool halves>
__device__ __forceinline__ void wgmma_product(const ProductParameters& p) {
  using Stage = HopperStage<Shape>;
  Stage* stages = dynamic_shared<Stage>();
  Tile tile = find_tile(p.counts, p.groups, p.m, blockIdx.y, Shape::rows);
  if (tile.rows == 0) return;
  uint32_t first_column = blockIdx.x * Shape::columns;
  uint32_t warp = threadIdx.x / 32;
  uint32_t own_column = warp / 4 * 64 * Shape::tiles + warp % 4 * 16 + threadIdx.x % 32 / 4;

  uint32_t depths = (p.k + hopper_depth - 1) / hopper_depth;
  HopperCodes<Shape> codes;
  auto fetch = [&](uint32_t i) {
    if (i < depths) {
      fetch_weights(p, tile.group, first_column, i * hopper_depth, stages[i % hopper_stages]);
      if (is_bf16) fetch_bf16(p, tile, i * hopper_depth, stages[i % hopper_stages]);
    }
    // An empty group where there is nothing to fetch keeps the count of groups under way.
    copy_async_commit();
  };
  fetch(0);
  fetch(1);
  if (!is_bf16) {
    load_codes(p, tile, 0, codes);
    put_codes(p.a_format, codes, stages[0]);
    if (depths > 1) load_codes(p, tile, hopper_depth, codes);
  }

  float d[Shape::tiles][Shape::rows / 2] = {};
#pragma unroll
  for (uint32_t j = 0; j < Shape::tiles; j++) wgmma_hold(d[j]);
  // Of two blocks: one is multiplied while the other is unpacked.
  uint32_t operands[2][Shape::tiles][2][4];
  for (uint32_t i = 0; i < depths; i++) {
    Stage& stage = stages[i % hopper_stages];
    copy_async_wait<1>();
    fence_for_asynchronous_reads();
    // What each thread waited for or wrote is now everybody's, and everybody has done with the stage before the last.
    __syncthreads();
    fetch(i + 2);
    uint32_t scales[Shape::tiles][2], large = 0;
#pragma unroll
    for (uint32_t j = 0; j < Shape::tiles * 2; j++) {
      uint32_t four = stage.w_scales[own_column + j / 2 * 64 + j % 2 * 8];
      scales[j / 2][j % 2] = four;
      // Whether any of the bytes is above 128: see is_large_scale.
      large |= ((four & 0x7f7f7f7f) + 0x7f7f7f7f) & four & 0x80808080;
    }
    bool any_large = __ballot_sync(whole_warp, large != 0) != 0;
#pragma unroll
    for (uint32_t block = 0; block < 4; block++) {
      auto& own = operands[block % 2];
      if (any_large) {
        unpack_block<halves, true>(stage, block, own_column, scales, own);
      } else {
        unpack_block<halves, false>(stage, block, own_column, scales, own);
      }
      wgmma_fence();
#pragma unroll
      for (uint32_t step = 0; step < 2; step++) {
        uint64_t b = wgmma_descriptor(stage.a[block / 2] + (block % 2 * 2 + step) * 32);
#pragma unroll
        for (uint32_t j = 0; j < Shape::tiles; j++) wgmma_bf16(d[j], own[j][step], b);
      }
      wgmma_commit();
      // The group before has read what is unpacked next.
      wgmma_wait<1>();
      if (!is_bf16 && block == 0) {
        if (i + 1 < depths) put_codes(p.a_format, codes, stages[(i + 1) % hopper_stages]);
        if (i + 2 < depths) load_codes(p, tile, (i + 2) * hopper_depth, codes);
      }
    }
  }
  wgmma_wait<0>();
#pragma unroll
  for (uint32_t j = 0; j < Shape::tiles; j++) wgmma_hold(d[j]);
  // Stages are not read any more.
  __syncthreads();
  store_tile<Shape>(p, tile, first_column, own_column, dynamic_shared<float>(), d);
}

static_assert(HopperTile<128, 2>::rows * (HopperTile<128, 2>::columns + 4) * 4 <= hopper_stages * sizeof(HopperStage<HopperTile<128, 2>>),
              "a tile of the output fits where the stages were");
static_assert(HopperTile<32, 1>::rows * (HopperTile<32, 1>::columns + 4) * 4 <= hopper_stages * sizeof(HopperStage<HopperTile<32, 1>>),
              "a tile of the output fits where the stages were");

// On other targets these kernels are there and trap: which kernel a device may run is in src/kernel.rs.
#if defined(MXHAL_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define WGMMA_PRODUCT(rows, tiles, is_bf16, halves) wgmma_product<HopperTile<rows, tiles>, is_bf16, halves>(p)
#else
#define WGMMA_PRODUCT(rows, tiles, is_bf16, halves) __trap()
#endif

#define WGMMA(name, rows, tiles, blocks, is_bf16, halves)                                                              \
  extern "C" __global__ void __launch_bounds__(hopper_threads, blocks) name(const __grid_constant__ ProductParameters p) { \
    WGMMA_PRODUCT(rows, tiles, is_bf16, halves);                                                                       \
  }                                                                                                                    \
  MXHAL_KERNEL(name)

WGMMA(product_wgmma_bf16_128, 128, 2, 1, true, true)
WGMMA(product_wgmma_bf16_32, 32, 1, 2, true, true)
WGMMA(product_wgmma_mx_128, 128, 2, 1, false, true)
WGMMA(product_wgmma_mx_32, 32, 1, 2, false, true)
WGMMA(product_wgmma_mxfp4_128, 128, 2, 1, false, false)
WGMMA(product_wgmma_mxfp4_32, 32, 1, 2, false, false)
