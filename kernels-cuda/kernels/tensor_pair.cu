// Grouped products in the tensor memory of pairs of blocks of sm_100, for many rows: a tile is 256 columns by 256 rows, of
// which either block reads half of both operands.
#include "tensor_product.cuh"
#include "tensor_scales.cuh"
#include "tensor_widening.cuh"

#define TENSOR_PAIR(name, kind)                                              \
  extern "C" __global__ void __launch_bounds__(tensor_threads, 1)            \
      __cluster_dims__(2, 1, 1) name(const __grid_constant__ TensorProductParameters p) { \
    TENSOR_PRODUCT(kind, 256, 2);                                            \
  }                                                                          \
  MXHAL_CLUSTER_KERNEL(name, 2)

TENSOR_PAIR(product_tensor_w4a4_256, Kind::MXF4)
TENSOR_PAIR(product_tensor_w4a8_256, Kind::MXF8F6F4)
TENSOR_PAIR(product_tensor_w4a16_256, Kind::BF16)
TENSOR_PAIR(product_tensor_nvfp4_256, Kind::NVFP4)
