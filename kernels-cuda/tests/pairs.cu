// A product of 256 rows by a pair of blocks: one stage of shared memory, filled by plain stores. For tests/pairs.rs.
#include "cluster.cuh"
#include "tcgen05.cuh"

/// Columns of tensor memory for the scales of 128 rows, and bytes of K in a row.
constexpr uint32_t tile_columns = 4;
constexpr uint32_t row_bytes = 128;
constexpr uint32_t steps = 4;
constexpr uint32_t most_columns = 256;

template <Kind kind>
struct Scheme;
template <>
struct Scheme<Kind::MXF8F6F4> {
  static constexpr uint32_t step_scales = 1;
  static constexpr uint32_t instruction = instruction_descriptor(mxf8f6f4_e2m1, mxf8f6f4_e4m3, scales_ue8m0, 2);
};
template <>
struct Scheme<Kind::MXF4> {
  static constexpr uint32_t step_scales = 2;
  static constexpr uint32_t instruction = instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue8m0, 2);
};
template <>
struct Scheme<Kind::NVFP4> {
  static constexpr uint32_t step_scales = 4;
  static constexpr uint32_t instruction = instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue4m3, 2);
};

/// The scales of a row are words of four, those of row r of each 128 at word r % 32 * 4 + r / 32.
template <Kind kind>
struct alignas(1024) PairShared {
  static constexpr uint32_t words = Scheme<kind>::step_scales * steps / 4;
  uint4 a[tensor_rows * row_bytes / 16];
  uint4 b[most_columns / 2 * row_bytes / 16];
  uint32_t a_scales[words][128];
  uint32_t b_scales[words][2][128];
  Mbarrier filled;
  Mbarrier done;
  uint32_t address;
};

__device__ __forceinline__ void store_row(uint4* to, const uint4* from, uint32_t row) {
  for (uint32_t chunk = 0; chunk < row_bytes / 16; chunk++) to[row * 8 + (chunk ^ row % 8)] = from[chunk];
}

/// Of 128 threads. `a` has 256 rows, the first half of them the first block's, and `b` and `d` have `columns`; a row of
/// scales is that of its words.
template <Kind kind>
__device__ __forceinline__ void multiply_pair(const uint4* a, const uint4* b, const uint32_t* a_scales, const uint32_t* b_scales, float* d,
                                              uint32_t columns) {
  using Shared = PairShared<kind>;
  Shared& shared = *dynamic_shared<Shared>();
  uint32_t rank = cluster_rank(), thread = threadIdx.x, share = columns / 2;
  if (thread < 32) {
    allocate_tensor_columns<512, 2>(&shared.address);
    relinquish_tensor_columns<2>();
  }
  if (thread == 0) {
    init_barrier(&shared.filled, 256);
    init_barrier(&shared.done, 1);
    publish_barriers();
  }
  fence_tensor_before();
  cluster_sync();
  fence_tensor_after();
  uint32_t sums = shared.address, a_columns = sums + most_columns, b_columns = a_columns + Shared::words * tile_columns;

  store_row(shared.a, a + (rank * tensor_rows + thread) * 8, thread);
  if (thread < share) store_row(shared.b, b + (rank * share + thread) * 8, thread);
  uint32_t place = thread % 32 * 4 + thread / 32;
  for (uint32_t word = 0; word < Shared::words; word++) {
    shared.a_scales[word][place] = a_scales[(rank * tensor_rows + thread) * Shared::words + word];
    for (uint32_t half = 0; half < 2; half++) {
      uint32_t row = half * 128 + thread;
      shared.b_scales[word][half][place] = row < columns ? b_scales[row * Shared::words + word] : 0;
    }
  }
  fence_for_asynchronous_reads();
  arrive_at_rank(&shared.filled, 0);

  if (rank == 0 && thread == 0) {
    wait_in_cluster(&shared.filled, 0);
    fence_tensor_after();
    for (uint32_t word = 0; word < Shared::words; word++) {
      copy_scales<2>(a_columns + word * tile_columns, matrix_descriptor(shared_address(shared.a_scales[word]), 128, SWIZZLE_NONE));
      for (uint32_t half = 0; half < 2; half++) {
        copy_scales<2>(b_columns + (word * 2 + half) * tile_columns,
                       matrix_descriptor(shared_address(shared.b_scales[word][half]), 128, SWIZZLE_NONE));
      }
    }
    uint64_t as = matrix_descriptor(shared_address(shared.a), 8 * row_bytes, SWIZZLE_128B);
    uint64_t bs = matrix_descriptor(shared_address(shared.b), 8 * row_bytes, SWIZZLE_128B);
    for (uint32_t step = 0; step < steps; step++) {
      uint32_t first = step * Scheme<kind>::step_scales, word = first / 4;
      uint32_t instruction = Scheme<kind>::instruction | instruction_columns(columns) | instruction_scales(first % 4, first % 4);
      mma_block_scaled<kind, 2>(sums, as + 2 * step, bs + 2 * step, instruction, a_columns + word * tile_columns,
                                b_columns + word * 2 * tile_columns, step != 0);
    }
    commit_pair_operations(&shared.done, 3);
  }
  wait_at(&shared.done, 0);
  fence_tensor_after();
  for (uint32_t column = 0; column < columns; column += 16) {
    uint32_t bits[16];
    load_tensor_columns(bits, sums + column + (thread / 32 * 32 << 16));
    for (uint32_t i = 0; i < 16; i++) d[(rank * tensor_rows + thread) * columns + column + i] = __uint_as_float(bits[i]);
  }
  fence_tensor_before();
  cluster_sync();
  fence_tensor_after();
  if (thread < 32) free_tensor_columns<512, 2>(sums);
}

#define PAIR(name, kind)                                                                                              \
  extern "C" __global__ void __cluster_dims__(2, 1, 1) name(const uint4* a, const uint4* b, const uint32_t* a_scales, \
                                                            const uint32_t* b_scales, float* d, uint32_t columns) {   \
    multiply_pair<kind>(a, b, a_scales, b_scales, d, columns);                                                        \
  }                                                                                                                   \
  MXHAL_CLUSTER_KERNEL(name, 2)

PAIR(pair_mxf8f6f4, Kind::MXF8F6F4)
PAIR(pair_mxf4, Kind::MXF4)
PAIR(pair_nvfp4, Kind::NVFP4)
