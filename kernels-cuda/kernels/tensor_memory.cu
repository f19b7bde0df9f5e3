// Grouped products in the tensor memory of one block of sm_100, for few rows.
#include "tensor_product.cuh"
#include "tensor_scales.cuh"
#include "tensor_widening.cuh"

#define TENSOR(name, kind)                                                                            \
  extern "C" __global__ void __launch_bounds__(tensor_threads, tensor_neighbours(32))                 \
      name(const __grid_constant__ TensorProductParameters p) {                                       \
    TENSOR_PRODUCT(kind, 32, 1);                                                                      \
  }                                                                                                   \
  MXHAL_KERNEL(name)

TENSOR(product_tensor_w4a4_32, Kind::MXF4)
TENSOR(product_tensor_w4a8_32, Kind::MXF8F6F4)
TENSOR(product_tensor_w4a16_32, Kind::BF16)
TENSOR(product_tensor_nvfp4_32, Kind::NVFP4)
