// Grouped products in the tensor memory of pairs of blocks of sm_100, for many rows: a tile is 256 columns by 256 rows,
// of which either block reads half of both operands. See tensor_product.cuh.
#include "tensor_product.cuh"
#include "tensor_scales.cuh"
#include "tensor_widening.cuh"

constexpr uint32_t pair_rows = 256;

/// A tile of 256 x 256.
template <Kind kind>
__device__ __forceinline__ void pair_product(const TensorProductParameters& given) {
  using Shared = TensorShared<kind, pair_rows, 2>;
  static_assert(sizeof(Shared) <= 227 << 10, "a multiprocessor is one block's");
  Shared& shared = *dynamic_shared<Shared>();
  const ProductParameters& p = given.product;
  bool is_filler = threadIdx.x < tensor_fillers;
  Tile tile = find_tile(p.counts, p.groups, p.m, blockIdx.y, pair_rows);
  // Both blocks of a pair have the same.
  if (tile.rows == 0) return;

  if (!is_filler) {
    allocate_tensor_columns<Shared::columns, 2>(&shared.address);
    relinquish_tensor_columns<2>();
  }
  if (threadIdx.x == 0) prepare_stages(given, shared);
  fence_tensor_before();
  // Operations of the first block arrive at barriers of both, and use the tensor memory of both.
  cluster_sync();
  fence_tensor_after();
  uint32_t sums = shared.address;

  TensorWork<kind, 2> work(given, tile, cluster_rank());
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
      } else {
        pass_stages(work, shared);
      }
    }
    __syncwarp();
  }
  // A block stays until the other uses neither its shared nor its tensor memory.
  cluster_sync();
  if (!is_filler) {
    fence_tensor_after();
    free_tensor_columns<Shared::columns, 2>(sums);
  }
}

// As in tensor_memory.cu.
#if defined(MXHAL_EMULATED) || MXHAL_FAMILY == 1000
#define PAIR_PRODUCT(kind) pair_product<kind>(p)
#else
#define PAIR_PRODUCT(kind) __trap()
#endif

extern "C" __global__ void __launch_bounds__(tensor_threads, 1) __cluster_dims__(2, 1, 1)
    product_tensor_w4a4_256(const __grid_constant__ TensorProductParameters p) {
  PAIR_PRODUCT(Kind::MXF4);
}
MXHAL_CLUSTER_KERNEL(product_tensor_w4a4_256, 2)

extern "C" __global__ void __launch_bounds__(tensor_threads, 1) __cluster_dims__(2, 1, 1)
    product_tensor_w4a8_256(const __grid_constant__ TensorProductParameters p) {
  PAIR_PRODUCT(Kind::MXF8F6F4);
}
MXHAL_CLUSTER_KERNEL(product_tensor_w4a8_256, 2)

extern "C" __global__ void __launch_bounds__(tensor_threads, 1) __cluster_dims__(2, 1, 1)
    product_tensor_nvfp4_256(const __grid_constant__ TensorProductParameters p) {
  PAIR_PRODUCT(Kind::NVFP4);
}
MXHAL_CLUSTER_KERNEL(product_tensor_nvfp4_256, 2)

extern "C" __global__ void __launch_bounds__(tensor_threads, 1) __cluster_dims__(2, 1, 1)
    product_tensor_w4a16_256(const __grid_constant__ TensorProductParameters p) {
  PAIR_PRODUCT(Kind::BF16);
}
MXHAL_CLUSTER_KERNEL(product_tensor_w4a16_256, 2)
