// Grouped products in the tensor memory of one block of sm_100, two blocks a multiprocessor: one multiplies while the
// other begins or stores. See tensor_product.cuh.
#include "tensor_product.cuh"
#include "tensor_scales.cuh"
#include "tensor_widening.cuh"

/// A tile of `rows` x 128.
template <Kind kind, uint32_t rows>
__device__ __forceinline__ void tensor_product(const TensorProductParameters& given) {
  using Shared = TensorShared<kind, rows, 1>;
  static_assert(sizeof(Shared) <= 113 << 10, "two blocks share the 228 KiB of a multiprocessor, 1 KiB of each taken");
  Shared& shared = *dynamic_shared<Shared>();
  const ProductParameters& p = given.product;
  bool is_filler = threadIdx.x < tensor_fillers;
  Tile tile = find_tile(p.counts, p.groups, p.m, blockIdx.y, rows);
  if (tile.rows == 0) return;

  if (!is_filler) {
    allocate_tensor_columns<Shared::columns>(&shared.address);
    relinquish_tensor_columns();
  }
  if (threadIdx.x == 0) prepare_stages(given, shared);
  fence_tensor_before();
  __syncthreads();
  fence_tensor_after();
  uint32_t sums = shared.address;

  TensorWork<kind, 1> work(given, tile, 0);
  if (is_filler) {
    fill_stages(work, shared);
    wait_at(&shared.done, 0);
    fence_tensor_after();
    store_sums(p, tile, work.first_column, sums);
    fence_tensor_before();
  } else {
    if (elect_one()) multiply_stages(work, shared, sums);
    // Barriers of the block want whole warps.
    __syncwarp();
  }
  __syncthreads();
  if (!is_filler) {
    fence_tensor_after();
    free_tensor_columns<Shared::columns>(sums);
  }
}

// On other targets these kernels are there and trap: which kernel a device may run is in src/kernel.rs.
#if defined(MXHAL_EMULATED) || MXHAL_FAMILY == 1000
#define TENSOR_PRODUCT(kind, rows) tensor_product<kind, rows>(p)
#else
#define TENSOR_PRODUCT(kind, rows) __trap()
#endif

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a4_128(const __grid_constant__ TensorProductParameters p) {
  TENSOR_PRODUCT(Kind::MXF4, 128);
}
MXHAL_KERNEL(product_tensor_w4a4_128)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a4_32(const __grid_constant__ TensorProductParameters p) {
  TENSOR_PRODUCT(Kind::MXF4, 32);
}
MXHAL_KERNEL(product_tensor_w4a4_32)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a8_128(const __grid_constant__ TensorProductParameters p) {
  TENSOR_PRODUCT(Kind::MXF8F6F4, 128);
}
MXHAL_KERNEL(product_tensor_w4a8_128)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a8_32(const __grid_constant__ TensorProductParameters p) {
  TENSOR_PRODUCT(Kind::MXF8F6F4, 32);
}
MXHAL_KERNEL(product_tensor_w4a8_32)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_nvfp4_128(const __grid_constant__ TensorProductParameters p) {
  TENSOR_PRODUCT(Kind::NVFP4, 128);
}
MXHAL_KERNEL(product_tensor_nvfp4_128)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_nvfp4_32(const __grid_constant__ TensorProductParameters p) {
  TENSOR_PRODUCT(Kind::NVFP4, 32);
}
MXHAL_KERNEL(product_tensor_nvfp4_32)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a16_128(const __grid_constant__ TensorProductParameters p) {
  TENSOR_PRODUCT(Kind::BF16, 128);
}
MXHAL_KERNEL(product_tensor_w4a16_128)

extern "C" __global__ void __launch_bounds__(tensor_threads, 2) product_tensor_w4a16_32(const __grid_constant__ TensorProductParameters p) {
  TENSOR_PRODUCT(Kind::BF16, 32);
}
MXHAL_KERNEL(product_tensor_w4a16_32)
