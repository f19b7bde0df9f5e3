// What grouped products on the tensor cores of sm_100 are made of, which read both operands from shared memory and add in
// tensor memory, by one block or by a pair of two: W4A8 (kind::mxf8f6f4), W4A4 (kind::mxf4), NVFP4 (kind::mxf4nvf4) and, with
// weights that are widened, W4A16 (kind::f16).
//
// The weights are the instruction's rows and the activations its columns: 128 output columns a block by as many rows as
// a tile has, to the next 16 (of a pair 32), so that small groups cost no more than they hold, and neighbouring lanes
// store neighbouring outputs. A stage has 128 bytes of K a row. Its operands are tiles that the unit for tensors copies,
// swizzled as the descriptors say. Four warps add what cannot be copied so: scales (tensor_scales.cuh), or weights
// (tensor_widening.cuh). One thread copies scales to tensor memory and begins the products; then the four warps store. Each
// stage has columns of tensor memory for its scales: nothing is written there that a product may still read.
//
// A pair multiplies 256 rows of weights, 128 of each block, by rows of activations of which each block has half; its
// first block begins the operations of both. Scales of activations are in the tensor memory of both.
#pragma once

#include "cluster.cuh"
#include "device.cuh"
#include "fragments.cuh"
#include "memory.cuh"
#include "tcgen05.cuh"
#include "tensor_map.cuh"

/// What the kinds differ in. A step is one instruction, 32 bytes of K; a stage is four. A copy of a stage's weights brings
/// `w_bytes` of each row; tiles of scales are along K, four scales a row and tile.
template <Kind kind>
struct TensorScheme;

/// MXFP8 activations, with a scale per 32 or per 128.
template <>
struct TensorScheme<Kind::MXF8F6F4> {
  static constexpr uint32_t depth = 128;
  static constexpr uint32_t scale_block = 32;
  static constexpr uint32_t scale_tiles = 1;
  static constexpr uint32_t w_bytes = 64;
  template <uint32_t blocks>
  static constexpr uint32_t instruction = instruction_descriptor(mxf8f6f4_e2m1, mxf8f6f4_e4m3, scales_ue8m0, blocks);
};

template <>
struct TensorScheme<Kind::MXF4> {
  static constexpr uint32_t depth = 256;
  static constexpr uint32_t scale_block = 32;
  static constexpr uint32_t scale_tiles = 2;
  static constexpr uint32_t w_bytes = 128;
  template <uint32_t blocks>
  static constexpr uint32_t instruction = instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue8m0, blocks);
};

template <>
struct TensorScheme<Kind::NVFP4> {
  static constexpr uint32_t depth = 256;
  static constexpr uint32_t scale_block = 16;
  static constexpr uint32_t scale_tiles = 4;
  static constexpr uint32_t w_bytes = 128;
  template <uint32_t blocks>
  static constexpr uint32_t instruction = instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue4m3, blocks);
};

/// BF16 activations. MXFP4 weights are widened with their scales, and not copied.
template <>
struct TensorScheme<Kind::BF16> {
  static constexpr uint32_t depth = 64;
  static constexpr uint32_t scale_block = 32;
  static constexpr uint32_t scale_tiles = 0;
  static constexpr uint32_t w_bytes = 0;
  template <uint32_t blocks>
  static constexpr uint32_t instruction = instruction_descriptor_bf16(blocks);
};

constexpr uint32_t tensor_fillers = 128;
constexpr uint32_t tensor_threads = 160;
/// As many output columns as a block has rows of an instruction.
constexpr uint32_t tensor_tile_columns = tensor_rows;
/// Bytes of K in a stage: a row of the 128-byte swizzle.
constexpr uint32_t tensor_row_bytes = 128;
constexpr uint32_t tensor_steps = 4;
/// Elements of a row of either map that a stage has: bytes, or codes that become padded.
constexpr uint32_t tensor_row_elements = 128;
/// Rows of activations in one copy; of weights one copy has all.
constexpr uint32_t tensor_copy_rows = 32;

/// Blocks that share a multiprocessor, and the stages that each has room for.
__host__ __device__ constexpr uint32_t tensor_neighbours(uint32_t rows) { return rows == 256 ? 1 : 2; }
constexpr uint32_t tensor_stages(uint32_t rows) { return rows == 256 ? 5 : 4; }

/// Scales of a stage, four of each of 128 rows, as they lie in tensor memory: those of row r at word r % 32 * 4 + r / 32.
struct ScaleTile {
  uint32_t words[128];
};

/// Columns of tensor memory for a tile of scales.
constexpr uint32_t scale_tile_columns = 4;

/// Begins the copy of a tile of scales to these columns: of a pair that of either block to its own.
template <uint32_t blocks>
__device__ __forceinline__ void copy_scale_tile(uint32_t columns, const ScaleTile& tile) {
  // Groups of 8 rows of 16 bytes, one after the other.
  copy_scales<blocks>(columns, matrix_descriptor(shared_address(&tile), 128, SWIZZLE_NONE));
}

/// The scales of a stage: those of activations in tiles along the rows too.
template <uint32_t tiles, uint32_t row_tiles>
struct StageScales {
  ScaleTile w_scales[tiles];
  ScaleTile a_scales[tiles][row_tiles];
};
template <uint32_t row_tiles>
struct StageScales<0, row_tiles> {};

/// Tiles of 128 along so many rows of activations.
constexpr uint32_t scale_row_tiles(uint32_t rows) { return (rows + 127) / 128; }

template <Kind kind, uint32_t rows, uint32_t blocks>
struct TensorStage : StageScales<TensorScheme<kind>::scale_tiles, scale_row_tiles(rows)> {
  static constexpr uint32_t scale_tiles = TensorScheme<kind>::scale_tiles;
  static constexpr uint32_t row_tiles = scale_row_tiles(rows);
  alignas(1024) uint8_t w[tensor_tile_columns * tensor_row_bytes];
  alignas(1024) uint8_t a[rows / blocks * tensor_row_bytes];
};

/// Codes of weights that are widened: of each filler's row two blocks of 32, for as many stages as there is room for;
/// more where weights are most of what is read.
template <Kind kind, uint32_t rows>
struct StageCodes {};
template <uint32_t rows>
struct StageCodes<Kind::BF16, rows> {
  static constexpr uint32_t ahead = rows == 32 ? 8 : 4;
  uint4 codes[ahead][2][tensor_fillers];
};

template <Kind kind, uint32_t rows, uint32_t blocks>
struct TensorShared : StageCodes<kind, rows> {
  using Stage = TensorStage<kind, rows, blocks>;
  static constexpr uint32_t stage_count = tensor_stages(rows);
  /// Of tensor memory: sums, then for each stage the scales of weights and of activations.
  static constexpr uint32_t w_scale_columns = Stage::scale_tiles * scale_tile_columns;
  static constexpr uint32_t a_scale_columns = w_scale_columns * Stage::row_tiles;
  static constexpr uint32_t stage_columns = w_scale_columns + a_scale_columns;
  static constexpr uint32_t columns_used = rows + stage_count * stage_columns;
  static constexpr uint32_t columns = columns_used <= 64 ? 64 : columns_used <= 128 ? 128 : columns_used <= 256 ? 256 : 512;
  static_assert(columns_used <= 512 / tensor_neighbours(rows), "a multiprocessor has 512 columns");

  Stage stages[stage_count];
  Mbarrier filled[stage_count];
  /// Of a pair's first block: that the second has filled the stage.
  Mbarrier peer_filled[stage_count];
  Mbarrier emptied[stage_count];
  Mbarrier done;
  /// Of the columns.
  uint32_t address;
};

/// What a block has to do, for its fillers and for who multiplies.
template <Kind kind, uint32_t blocks>
struct TensorWork {
  using Scheme = TensorScheme<kind>;
  const TensorProductParameters& given;
  const ProductParameters& p;
  Tile tile;
  /// Of this block's columns; in a pair there may be none from it on.
  uint32_t first_column;
  /// Rows of activations that are multiplied: those of the tile, and what comes after them to the next 16 (of a pair
  /// 32). Nobody stores those.
  uint32_t rows;
  /// In its pair.
  uint32_t rank;
  /// Whether four scales of the activations are a word that can be copied. A word has a byte for each 128 of K where
  /// scales are per 128: of the four, an instruction is told which.
  bool copies_scales;

  __device__ __forceinline__ TensorWork(const TensorProductParameters& given, const Tile& tile, uint32_t rank)
      : given(given),
        p(given.product),
        tile(tile),
        first_column(blockIdx.x * tensor_tile_columns),
        rows((tile.rows + 16 * blocks - 1) / (16 * blocks) * (16 * blocks)),
        rank(rank),
        // Of a step that ends beyond K the last scales may be anything in memory, and a NaN times zero is one.
        copies_scales(p.a_scales_stride % 4 == 0 && p.k % 64 == 0) {}

  __device__ __forceinline__ uint32_t depths() const { return (p.k + Scheme::depth - 1) / Scheme::depth; }
  /// Columns of K for which a word of the activations' scales is.
  __device__ __forceinline__ uint32_t a_word_depth() const {
    return 4 * (p.a_format == FORMAT_MXFP8_G128 && copies_scales ? 128 : Scheme::scale_block);
  }
};

/// Begins the copies of the operands of stage `i`, which `barrier` counts. Of one thread.
///
/// What lies beyond a group's rows are another's, and zeros beyond all.
template <Kind kind, uint32_t rows, uint32_t blocks>
__device__ __forceinline__ void copy_operands(const TensorWork<kind, blocks>& work, uint32_t i, TensorStage<kind, rows, blocks>& stage,
                                              Mbarrier* barrier) {
  uint32_t own_rows = work.rows / blocks;
  constexpr uint32_t w_bytes = tensor_tile_columns * TensorScheme<kind>::w_bytes;
  uint32_t copies = (own_rows + tensor_copy_rows - 1) / tensor_copy_rows;
  expect_bytes(barrier, w_bytes + copies * tensor_copy_rows * tensor_row_bytes);
  uint32_t x = i * tensor_row_elements;
  if constexpr (w_bytes != 0) copy_tile(stage.w, &work.given.w, x, work.tile.group * work.p.n + work.first_column, barrier);
  uint32_t first_row = work.tile.row + work.rank * own_rows;
  for (uint32_t copy = 0; copy < copies; copy++) {
    uint32_t row = copy * tensor_copy_rows;
    copy_tile(stage.a + row * tensor_row_bytes, &work.given.a, x, first_row + row, barrier);
  }
}

/// One thread's part in the second block of a pair: to tell the first of each stage that is filled.
template <Kind kind, uint32_t rows>
__device__ __forceinline__ void pass_stages(const TensorWork<kind, 2>& work, TensorShared<kind, rows, 2>& shared) {
  constexpr uint32_t count = TensorShared<kind, rows, 2>::stage_count;
  for (uint32_t i = 0; i < work.depths(); i++) {
    wait_at(&shared.filled[i % count], i / count % 2);
    arrive_at_rank(&shared.peer_filled[i % count], 0);
  }
}

/// An arrival at the barrier, of a pair at that of either block, when all products begun have happened.
template <uint32_t blocks>
__device__ __forceinline__ void tell_of_products(Mbarrier* barrier) {
  if constexpr (blocks == 2) {
    commit_pair_operations(barrier, 3);
  } else {
    commit_tensor_operations(barrier);
  }
}

/// One thread's part: for each stage that is filled its scales to tensor memory, and its products.
template <Kind kind, uint32_t rows, uint32_t blocks>
__device__ __forceinline__ void multiply_stages(const TensorWork<kind, blocks>& work, TensorShared<kind, rows, blocks>& shared, uint32_t sums) {
  using Shared = TensorShared<kind, rows, blocks>;
  using Scheme = TensorScheme<kind>;
  constexpr uint32_t count = Shared::stage_count;
  constexpr uint32_t step_depth = Scheme::depth / tensor_steps;
  constexpr uint32_t step_scales = step_depth / Scheme::scale_block;
  uint32_t instruction = Scheme::template instruction<blocks> | instruction_columns(work.rows);
  for (uint32_t i = 0; i < work.depths(); i++) {
    wait_at(&shared.filled[i % count], i / count % 2);
    if constexpr (blocks == 2) wait_in_cluster(&shared.peer_filled[i % count], i / count % 2);
    fence_tensor_after();
    auto& stage = shared.stages[i % count];
    uint32_t w_scales = sums + rows + i % count * Shared::stage_columns;
    uint32_t a_scales = w_scales + Shared::w_scale_columns;
    if constexpr (kind != Kind::BF16) {
#pragma unroll
      for (uint32_t tile = 0; tile < Shared::Stage::scale_tiles; tile++) {
        copy_scale_tile<blocks>(w_scales + tile * scale_tile_columns, stage.w_scales[tile]);
#pragma unroll
        for (uint32_t row_tile = 0; row_tile < Shared::Stage::row_tiles; row_tile++) {
          copy_scale_tile<blocks>(a_scales + (tile * Shared::Stage::row_tiles + row_tile) * scale_tile_columns, stage.a_scales[tile][row_tile]);
        }
      }
    }
    uint64_t w = matrix_descriptor(shared_address(stage.w), 8 * tensor_row_bytes, SWIZZLE_128B);
    uint64_t a = matrix_descriptor(shared_address(stage.a), 8 * tensor_row_bytes, SWIZZLE_128B);
    uint32_t depth = i * Scheme::depth;
    // Which of a word's scales are those of a step: a scale per 128 is that of the whole stage.
    bool has_one_scale = work.a_word_depth() == 512;
#pragma unroll
    for (uint32_t step = 0; step < tensor_steps; step++) {
      if (depth + step * step_depth >= work.p.k) break;
      // 32 bytes on along K are 2 in a descriptor's address.
      uint64_t w_step = w + 2 * step, a_step = a + 2 * step;
      if constexpr (kind == Kind::BF16) {
        mma_tensor_bf16<blocks>(sums, w_step, a_step, instruction, i + step != 0);
        continue;
      }
      uint32_t tile = step * step_scales / 4 * scale_tile_columns;
      uint32_t byte = step * step_scales % 4;
      uint32_t scales = instruction_scales(byte, has_one_scale ? depth / 128 % 4 : byte);
      mma_block_scaled<kind, blocks>(sums, w_step, a_step, instruction | scales, w_scales + tile, a_scales + tile * Shared::Stage::row_tiles,
                                     i + step != 0);
    }
    tell_of_products<blocks>(&shared.emptied[i % count]);
  }
  tell_of_products<blocks>(&shared.done);
}

template <uint32_t format>
__device__ __forceinline__ void store_rows(void* y, uint64_t first, uint32_t stride, uint32_t rows, const float (&sums)[16]) {
#pragma unroll
  for (uint32_t i = 0; i < 16; i++) {
    if (i < rows) store_element(y, first + uint64_t(i) * stride, format, sums[i]);
  }
}

/// As store_sum, of up to 16 rows of one column.
__device__ __forceinline__ void store_column(const ProductParameters& p, uint32_t group, uint32_t row, uint32_t rows, uint32_t column,
                                             const uint32_t (&bits)[16]) {
  uint64_t output_column = uint64_t(group) * p.n + column;
  float sums[16];
#pragma unroll
  for (uint32_t i = 0; i < 16; i++) sums[i] = __uint_as_float(bits[i]);
  if (p.a_factors != nullptr) {
#pragma unroll
    for (uint32_t i = 0; i < 16; i++) sums[i] *= p.a_factors[p.a_factor_per_row ? row + min(i, rows - 1) : 0];
  }
  if (p.w_factors != nullptr) {
    float factor = p.w_factors[p.w_factor_per_row ? output_column : 0];
#pragma unroll
    for (uint32_t i = 0; i < 16; i++) sums[i] *= factor;
  }
  if (p.bias != nullptr) {
    float bias = p.bias[output_column];
#pragma unroll
    for (uint32_t i = 0; i < 16; i++) sums[i] += bias;
  }
  uint64_t first = uint64_t(row) * p.n + column;
  if (p.output == FORMAT_F32) {
    store_rows<FORMAT_F32>(p.y, first, p.n, rows, sums);
  } else if (p.output == FORMAT_BF16) {
    store_rows<FORMAT_BF16>(p.y, first, p.n, rows, sums);
  } else {
    store_rows<FORMAT_F16>(p.y, first, p.n, rows, sums);
  }
}

/// Makes the barriers of all stages. Of one thread.
template <Kind kind, uint32_t rows, uint32_t blocks>
__device__ __forceinline__ void prepare_stages(const TensorProductParameters& given, TensorShared<kind, rows, blocks>& shared) {
  if (TensorScheme<kind>::w_bytes != 0) prefetch_tensor_map(&given.w);
  prefetch_tensor_map(&given.a);
  for (uint32_t stage = 0; stage < TensorShared<kind, rows, blocks>::stage_count; stage++) {
    init_barrier(&shared.filled[stage], tensor_fillers);
    init_barrier(&shared.emptied[stage], 1);
    if (blocks == 2) init_barrier(&shared.peer_filled[stage], 1);
  }
  init_barrier(&shared.done, 1);
  publish_barriers();
}

/// Stores the sums of a tile: each filler those of its column, whose lane of tensor memory is its own.
__device__ __forceinline__ void store_sums(const ProductParameters& p, const Tile& tile, uint32_t first_column, uint32_t sums) {
  uint32_t column = first_column + threadIdx.x;
  for (uint32_t row = 0; row < tile.rows; row += 16) {
    uint32_t bits[16];
    load_tensor_columns(bits, sums + row + (threadIdx.x / 32 * 32 << 16));
    if (column < p.n) store_column(p, tile.group, tile.row + row, min(tile.rows - row, 16u), column, bits);
  }
}

/// Waits for all threads of the block, or of the pair.
template <uint32_t blocks>
__device__ __forceinline__ void wait_for_all() {
  if constexpr (blocks == 2) {
    cluster_sync();
  } else {
    __syncthreads();
  }
}

/// A tile of `rows` x 128 by a block, or x 256 by a pair.
template <Kind kind, uint32_t rows, uint32_t blocks>
__device__ __forceinline__ void tensor_product(const TensorProductParameters& given) {
  using Shared = TensorShared<kind, rows, blocks>;
  static_assert(sizeof(Shared) <= (228 / tensor_neighbours(rows) - 1) << 10, "a multiprocessor has 228 KiB, of which each block loses 1");
  Shared& shared = *dynamic_shared<Shared>();
  const ProductParameters& p = given.product;
  bool is_filler = threadIdx.x < tensor_fillers;
  // Both blocks of a pair have the same.
  Tile tile = find_tile(p.counts, p.groups, p.m, blockIdx.y, rows);
  if (tile.rows == 0) return;

  if (!is_filler) {
    allocate_tensor_columns<Shared::columns, blocks>(&shared.address);
    relinquish_tensor_columns<blocks>();
  }
  if (threadIdx.x == 0) prepare_stages(given, shared);
  fence_tensor_before();
  // Operations of a pair's first block arrive at barriers of both, and use the tensor memory of both.
  wait_for_all<blocks>();
  fence_tensor_after();
  uint32_t sums = shared.address;

  TensorWork<kind, blocks> work(given, tile, blocks == 2 ? cluster_rank() : 0);
  if (is_filler) {
    fill_stages(work, shared);
    wait_at(&shared.done, 0);
    fence_tensor_after();
    store_sums(p, tile, work.first_column, sums);
    fence_tensor_before();
  } else {
    if (elect_one()) {
      if (work.rank == 0) {
        multiply_stages(work, shared, sums);
      } else if constexpr (blocks == 2) {
        pass_stages(work, shared);
      }
    }
    // Barriers want whole warps.
    __syncwarp();
  }
  // A block of a pair stays until the other uses neither its shared nor its tensor memory.
  wait_for_all<blocks>();
  if (!is_filler) {
    fence_tensor_after();
    free_tensor_columns<Shared::columns, blocks>(sums);
  }
}

// On other targets these kernels are there and trap: which kernel a device may run is in src/kernel.rs.
#if defined(MXHAL_EMULATED) || MXHAL_FAMILY == 1000
#define TENSOR_PRODUCT(kind, rows, blocks) tensor_product<kind, rows, blocks>(p)
#else
#define TENSOR_PRODUCT(kind, rows, blocks) __trap()
#endif
