// Grouped products on the tensor cores of sm_100, which read both operands from shared memory and add in tensor memory:
// W4A8 (kind::mxf8f6f4), W4A4 (kind::mxf4) and NVFP4 (kind::mxf4nvf4).
//
// The weights are the instruction's rows and the activations its columns: 128 output columns by as many rows as a tile
// has, to the next 16, so that small groups cost no more than they hold, and neighbouring lanes store neighbouring
// outputs. Four warps fill stages of 128 bytes of K a row by asynchronous copies, swizzled as the descriptors say; one
// thread copies scales to tensor memory and begins the products; then the four warps store. Each stage has columns of
// tensor memory for its scales: nothing is written there that a product may still read.
#include "device.cuh"
#include "fragments.cuh"
#include "memory.cuh"
#include "tcgen05.cuh"

/// What the kinds differ in. A step is one instruction, 32 bytes of K; a stage is four.
template <Kind kind>
struct TensorScheme;

/// MXFP8 activations, with a scale per 32 or per 128.
template <>
struct TensorScheme<Kind::MXF8F6F4> {
  static constexpr uint32_t depth = 128;
  static constexpr uint32_t scale_block = 32;
  static constexpr uint32_t instruction = instruction_descriptor(mxf8f6f4_e2m1, mxf8f6f4_e4m3, scales_ue8m0);
};

template <>
struct TensorScheme<Kind::MXF4> {
  static constexpr uint32_t depth = 256;
  static constexpr uint32_t scale_block = 32;
  static constexpr uint32_t instruction = instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue8m0);
};

template <>
struct TensorScheme<Kind::NVFP4> {
  static constexpr uint32_t depth = 256;
  static constexpr uint32_t scale_block = 16;
  static constexpr uint32_t instruction = instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue4m3);
};

constexpr uint32_t tensor_fillers = 128;
constexpr uint32_t tensor_threads = 160;
/// As many output columns as an instruction has rows.
constexpr uint32_t tensor_tile_columns = tensor_rows;
/// Bytes of K in a stage: a row of the 128-byte swizzle.
constexpr uint32_t tensor_row_bytes = 128;
constexpr uint32_t tensor_steps = 4;

/// Stages that two blocks of a multiprocessor have room for.
constexpr uint32_t tensor_stages(uint32_t rows) { return rows == 128 ? 3 : 4; }

/// Scales of a stage, four of each of 128 rows, as they lie in tensor memory: those of row r at word r % 32 * 4 + r / 32.
struct ScaleTile {
  uint32_t words[128];
};

/// Columns of tensor memory for a tile of scales.
constexpr uint32_t scale_tile_columns = 4;

template <Kind kind, uint32_t rows>
struct alignas(1024) TensorStage {
  /// Four scales a row and tile.
  static constexpr uint32_t scale_tiles = TensorScheme<kind>::depth / TensorScheme<kind>::scale_block / 4;
  uint8_t w[tensor_tile_columns * tensor_row_bytes];
  uint8_t a[rows * tensor_row_bytes];
  ScaleTile w_scales[scale_tiles];
  ScaleTile a_scales[scale_tiles];
};

template <Kind kind, uint32_t rows>
struct TensorShared {
  using Stage = TensorStage<kind, rows>;
  static constexpr uint32_t stage_count = tensor_stages(rows);
  /// Sums, then for each stage the scales of weights and activations.
  static constexpr uint32_t stage_columns = 2 * Stage::scale_tiles * scale_tile_columns;
  static constexpr uint32_t columns_used = rows + stage_count * stage_columns;
  static constexpr uint32_t columns = columns_used <= 64 ? 64 : columns_used <= 128 ? 128 : 256;
  static_assert(columns_used <= 256, "two blocks share the 512 columns of a multiprocessor");

  Stage stages[stage_count];
  Mbarrier filled[stage_count];
  Mbarrier emptied[stage_count];
  Mbarrier done;
  /// Of the columns.
  uint32_t address;
};

/// What a product has to do, for its fillers and for who multiplies.
template <Kind kind>
struct TensorWork {
  using Scheme = TensorScheme<kind>;
  const ProductParameters& p;
  Tile tile;
  uint32_t first_column;
  /// Rows of activations that are multiplied: those of the tile, and rows of zeros to the next 16.
  uint32_t rows;
  /// Whether four scales of the activations are a word that can be copied. A word has a byte for each 128 of K where
  /// scales are per 128: of the four, an instruction is told which.
  bool copies_scales;

  __device__ __forceinline__ uint32_t depths() const { return (p.k + Scheme::depth - 1) / Scheme::depth; }
  /// Columns of K for which a word of the activations' scales is.
  __device__ __forceinline__ uint32_t a_word_depth() const {
    return 4 * (p.a_format == FORMAT_MXFP8_G128 && copies_scales ? 128 : Scheme::scale_block);
  }
};

/// One filler: the 16 bytes of a row that it copies, of every 16th row, and the row whose scales it copies.
template <Kind kind, uint32_t rows>
struct Filler {
  using Scheme = TensorScheme<kind>;
  using Stage = TensorStage<kind, rows>;
  static constexpr uint32_t chunks = tensor_row_bytes / 16;
  /// Rows from one copy of a filler to its next: a multiple of 8, so that all lie in the same place of the swizzle.
  static constexpr uint32_t stride = tensor_fillers / chunks;
  static constexpr uint32_t chunk_depth = Scheme::depth / chunks;

  const TensorWork<kind>& work;
  /// From the beginning of K on.
  const uint8_t* w;
  const uint8_t* a;
  const uint8_t* w_scales;
  const uint8_t* a_scales;
  /// Rows that there are, from this filler's first on.
  uint32_t w_rows, a_rows;
  uint32_t depth, place, scale_place;
  /// Scales of the activations that cannot be copied: those of the stage that is filled next, on their way meanwhile.
  uint32_t ahead[Stage::scale_tiles];

  __device__ __forceinline__ explicit Filler(const TensorWork<kind>& given) : work(given) {
    const ProductParameters& p = work.p;
    uint32_t row = threadIdx.x / chunks, chunk = threadIdx.x % chunks;
    uint64_t first = uint64_t(work.tile.group) * p.n + work.first_column;
    depth = chunk * chunk_depth;
    place = swizzled<tensor_row_bytes>(row, chunk);
    w = p.w + (first + row) * p.w_stride + depth / 2;
    a = p.a + (uint64_t(work.tile.row) + row) * p.a_stride + depth * tensor_row_bytes / Scheme::depth;
    w_rows = left(p.n - work.first_column, row);
    a_rows = left(work.tile.rows, row);
    // A tile of scales has a row for each filler.
    w_scales = p.w_scales + (first + threadIdx.x) * p.w_scales_stride;
    a_scales = p.a_scales + (uint64_t(work.tile.row) + threadIdx.x) * p.a_scales_stride;
    scale_place = threadIdx.x % 32 * 4 + threadIdx.x / 32;
    look_ahead(0);
  }

  static __device__ __forceinline__ uint32_t left(uint32_t count, uint32_t from) { return count > from ? count - from : 0; }

  /// Begins the copies of the stage that has K from `begin` on, and stores what scales cannot be copied. Nobody waits.
  /// Of what is not there no byte is read, wherever the address is.
  __device__ __forceinline__ void fill(uint32_t begin, Stage& stage) {
    const ProductParameters& p = work.p;
    bool inside = begin + depth < p.k;
    uint32_t w_left = inside ? w_rows : 0, a_left = inside ? a_rows : 0;
    const uint8_t* from = w + begin / 2;
#pragma unroll
    for (uint32_t row = 0; row < tensor_tile_columns; row += stride, from += stride * p.w_stride) {
      uint8_t* to = stage.w + place + row * tensor_row_bytes;
      if constexpr (kind == Kind::MXF8F6F4) {
        copy_async_8(to, from, row < w_left ? 8 : 0);
      } else {
        copy_async_16(to, from, row < w_left ? 16 : 0);
      }
    }
    from = a + begin * tensor_row_bytes / Scheme::depth;
#pragma unroll
    for (uint32_t row = 0; row < rows; row += stride, from += stride * p.a_stride) {
      if (row >= work.rows) break;
      copy_async_16(stage.a + place + row * tensor_row_bytes, from, row < a_left ? 16 : 0);
    }
#pragma unroll
    for (uint32_t i = 0; i < Stage::scale_tiles; i++) {
      uint32_t at = begin + i * 4 * Scheme::scale_block;
      // Prepared weights have rows of scales of a multiple of four.
      bool is_there = threadIdx.x < p.n - work.first_column && at < p.k;
      copy_async_4(&stage.w_scales[i].words[scale_place], w_scales + at / Scheme::scale_block, is_there ? 4 : 0);
      uint32_t* to = &stage.a_scales[i].words[scale_place];
      if (work.copies_scales) {
        is_there = threadIdx.x < work.tile.rows && at < p.k;
        copy_async_4(to, a_scales + at / work.a_word_depth() * 4, is_there ? 4 : 0);
      } else {
        *to = ahead[i];
      }
    }
    look_ahead(begin + Scheme::depth);
  }

  __device__ __forceinline__ void look_ahead(uint32_t begin) {
    if (work.copies_scales) return;
#pragma unroll
    for (uint32_t i = 0; i < Stage::scale_tiles; i++) {
      uint32_t at = begin + i * 4 * Scheme::scale_block;
      ahead[i] = threadIdx.x < work.tile.rows && at < work.p.k ? load_scales(at) : 0;
    }
  }

  /// Four scales of a row of activations, byte by byte, from the block on that begins at `at`.
  __device__ __forceinline__ uint32_t load_scales(uint32_t at) const {
    if (work.p.a_format == FORMAT_MXFP8_G128) return a_scales[at / 128] * 0x01010101u;
    uint32_t scales = 0;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
      if (at + i * Scheme::scale_block < work.p.k) scales |= uint32_t(a_scales[at / Scheme::scale_block + i]) << (8 * i);
    }
    return scales;
  }
};

/// The fillers' part: stages in turn, each when it was emptied, and told of when its copies are there.
template <Kind kind, uint32_t rows>
__device__ __forceinline__ void fill_stages(const TensorWork<kind>& work, TensorShared<kind, rows>& shared) {
  Filler<kind, rows> filler(work);
  uint32_t depths = work.depths();
  constexpr uint32_t count = TensorShared<kind, rows>::stage_count;
  // Stages whose copies are under way while the next is begun.
  constexpr uint32_t lag = count - 1;
  for (uint32_t i = 0; i < depths + lag; i++) {
    if (i < depths) {
      // The first round finds every stage empty.
      if (i >= count) wait_at(&shared.emptied[i % count], (i / count - 1) % 2);
      filler.fill(i * TensorScheme<kind>::depth, shared.stages[i % count]);
    }
    // An empty group where there is nothing to fill keeps the count of groups under way.
    copy_async_commit();
    if (i >= lag) {
      copy_async_wait<lag>();
      fence_for_asynchronous_reads();
      arrive_at(&shared.filled[(i - lag) % count]);
    }
  }
}

/// One thread's part: for each stage that is filled its scales to tensor memory, and its products.
template <Kind kind, uint32_t rows>
__device__ __forceinline__ void multiply_stages(const TensorWork<kind>& work, TensorShared<kind, rows>& shared, uint32_t sums) {
  using Shared = TensorShared<kind, rows>;
  using Scheme = TensorScheme<kind>;
  constexpr uint32_t count = Shared::stage_count;
  constexpr uint32_t step_depth = Scheme::depth / tensor_steps;
  constexpr uint32_t step_scales = step_depth / Scheme::scale_block;
  uint32_t instruction = Scheme::instruction | instruction_columns(work.rows);
  for (uint32_t i = 0; i < work.depths(); i++) {
    wait_at(&shared.filled[i % count], i / count % 2);
    fence_tensor_after();
    auto& stage = shared.stages[i % count];
    uint32_t w_scales = sums + rows + i % count * Shared::stage_columns;
    uint32_t a_scales = w_scales + Shared::stage_columns / 2;
#pragma unroll
    for (uint32_t tile = 0; tile < Shared::Stage::scale_tiles; tile++) {
      // Groups of 8 rows of 16 bytes, one after the other.
      copy_scales(w_scales + tile * scale_tile_columns, matrix_descriptor(shared_address(&stage.w_scales[tile]), 128, SWIZZLE_NONE));
      copy_scales(a_scales + tile * scale_tile_columns, matrix_descriptor(shared_address(&stage.a_scales[tile]), 128, SWIZZLE_NONE));
    }
    uint64_t w = matrix_descriptor(shared_address(stage.w), 8 * tensor_row_bytes, SWIZZLE_128B);
    uint64_t a = matrix_descriptor(shared_address(stage.a), 8 * tensor_row_bytes, SWIZZLE_128B);
    uint32_t depth = i * Scheme::depth;
    // Which of a word's scales are those of a step: a scale per 128 is that of the whole stage.
    bool has_one_scale = work.a_word_depth() == 512;
#pragma unroll
    for (uint32_t step = 0; step < tensor_steps; step++) {
      if (depth + step * step_depth >= work.p.k) break;
      uint32_t tile = step * step_scales / 4 * scale_tile_columns;
      uint32_t byte = step * step_scales % 4;
      uint32_t scales = instruction_scales(byte, has_one_scale ? depth / 128 % 4 : byte);
      // 32 bytes on along K are 2 in a descriptor's address.
      mma_block_scaled<kind>(sums, w + 2 * step, a + 2 * step, instruction | scales, w_scales + tile, a_scales + tile, i + step != 0);
    }
    commit_tensor_operations(&shared.emptied[i % count]);
  }
  commit_tensor_operations(&shared.done);
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

/// A tile of `rows` x 128.
template <Kind kind, uint32_t rows>
__device__ __forceinline__ void tensor_product(const ProductParameters& p) {
  using Shared = TensorShared<kind, rows>;
  static_assert(sizeof(Shared) <= 113 << 10, "two blocks share the 228 KiB of a multiprocessor, 1 KiB of each taken");
  Shared& shared = *dynamic_shared<Shared>();
  uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  Tile tile = find_tile(p.counts, p.groups, p.m, blockIdx.y, rows);
  if (tile.rows == 0) return;
  uint32_t first_column = blockIdx.x * tensor_tile_columns;

  if (warp == tensor_fillers / 32) {
    allocate_tensor_columns<Shared::columns>(&shared.address);
    relinquish_tensor_columns();
  }
  if (threadIdx.x == 0) {
    for (uint32_t stage = 0; stage < Shared::stage_count; stage++) {
      init_barrier(&shared.filled[stage], tensor_fillers);
      init_barrier(&shared.emptied[stage], 1);
    }
    init_barrier(&shared.done, 1);
    publish_barriers();
  }
  fence_tensor_before();
  __syncthreads();
  fence_tensor_after();
  uint32_t sums = shared.address;

  // Of a step that ends beyond K the last scales may be anything in memory, and a NaN times zero is one.
  bool copies_scales = p.a_scales_stride % 4 == 0 && p.k % 64 == 0;
  TensorWork<kind> work = {p, tile, first_column, (tile.rows + 15) / 16 * 16, copies_scales};
  if (warp == tensor_fillers / 32) {
    if (elect_one()) multiply_stages<kind, rows>(work, shared, sums);
    // Barriers of the block want whole warps.
    __syncwarp();
  } else {
    fill_stages<kind, rows>(work, shared);
    wait_at(&shared.done, 0);
    fence_tensor_after();
    uint32_t column = first_column + warp * 32 + lane;
    for (uint32_t row = 0; row < work.rows; row += 16) {
      uint32_t bits[16];
      load_tensor_columns(bits, sums + row + (warp * 32 << 16));
      if (column < p.n) store_column(p, tile.group, tile.row + row, min(tile.rows - row, 16u), column, bits);
    }
    fence_tensor_before();
  }
  __syncthreads();
  if (warp == tensor_fillers / 32) {
    fence_tensor_after();
    free_tensor_columns<Shared::columns>(sums);
  }
}

// On other targets these kernels are there and trap: which kernel a device may run is in src/kernel.rs.
#if defined(MXHAL_EMULATED) || MXHAL_FAMILY == 1000
#define TENSOR_PRODUCT(kind, rows) tensor_product<kind, rows>(given.product)
#else
#define TENSOR_PRODUCT(kind, rows) __trap()
#endif

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a4_128(const __grid_constant__ TensorProductParameters given) {
  TENSOR_PRODUCT(Kind::MXF4, 128);
}
MXHAL_KERNEL(product_tensor_w4a4_128)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a4_32(const __grid_constant__ TensorProductParameters given) {
  TENSOR_PRODUCT(Kind::MXF4, 32);
}
MXHAL_KERNEL(product_tensor_w4a4_32)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a8_128(const __grid_constant__ TensorProductParameters given) {
  TENSOR_PRODUCT(Kind::MXF8F6F4, 128);
}
MXHAL_KERNEL(product_tensor_w4a8_128)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a8_32(const __grid_constant__ TensorProductParameters given) {
  TENSOR_PRODUCT(Kind::MXF8F6F4, 32);
}
MXHAL_KERNEL(product_tensor_w4a8_32)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_nvfp4_128(const __grid_constant__ TensorProductParameters given) {
  TENSOR_PRODUCT(Kind::NVFP4, 128);
}
MXHAL_KERNEL(product_tensor_nvfp4_128)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_nvfp4_32(const __grid_constant__ TensorProductParameters given) {
  TENSOR_PRODUCT(Kind::NVFP4, 32);
}
MXHAL_KERNEL(product_tensor_nvfp4_32)
