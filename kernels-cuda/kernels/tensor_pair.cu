// Grouped products in the tensor memory of pairs of blocks of sm_100: a tile is 256 columns by 128 rows or 256, of which either
// block reads half of both operands. Of those of 128 rows two share a multiprocessor: one multiplies while the other begins
// or stores.
#include "tensor_product.cuh"
#include "tensor_scales.cuh"
#include "tensor_widening.cuh"

#define TENSOR_PAIR(name, kind, rows)                                                                  \
  extern "C" __global__ void __launch_bounds__(tensor_threads, tensor_neighbours(rows))                \
      __cluster_dims__(2, 1, 1) name(const __grid_constant__ TensorProductParameters p) {              \
    TENSOR_PRODUCT(kind, rows, 2);                                                                     \
  }                                                                                                    \
  MXHAL_CLUSTER_KERNEL(name, 2)

TENSOR_PAIR(product_tensor_w4a4_128, Kind::MXF4, 128)
TENSOR_PAIR(product_tensor_w4a4_256, Kind::MXF4, 256)
TENSOR_PAIR(product_tensor_w4a8_128, Kind::MXF8F6F4, 128)
TENSOR_PAIR(product_tensor_w4a8_256, Kind::MXF8F6F4, 256)
TENSOR_PAIR(product_tensor_w4a16_128, Kind::BF16, 128)
TENSOR_PAIR(product_tensor_w4a16_256, Kind::BF16, 256)
TENSOR_PAIR(product_tensor_nvfp4_128, Kind::NVFP4, 128)
TENSOR_PAIR(product_tensor_nvfp4_256, Kind::NVFP4, 256)
