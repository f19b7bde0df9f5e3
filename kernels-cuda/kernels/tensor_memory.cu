// Grouped products in the tensor memory of one block of sm_100. Two blocks share a multiprocessor: one multiplies while the
// other begins or stores.
#include "tensor_product.cuh"
#include "tensor_scales.cuh"
#include "tensor_widening.cuh"

#define TENSOR(name, kind, rows)                                                                                                \
  extern "C" __global__ void __launch_bounds__(tensor_threads, 2) name(const __grid_constant__ TensorProductParameters p) { \
    TENSOR_PRODUCT(kind, rows, 1);                                                                                              \
  }                                                                                                                             \
  MXHAL_KERNEL(name)

TENSOR(product_tensor_w4a4_128, Kind::MXF4, 128)
TENSOR(product_tensor_w4a4_32, Kind::MXF4, 32)
TENSOR(product_tensor_w4a8_128, Kind::MXF8F6F4, 128)
TENSOR(product_tensor_w4a8_32, Kind::MXF8F6F4, 32)
TENSOR(product_tensor_w4a16_128, Kind::BF16, 128)
TENSOR(product_tensor_w4a16_32, Kind::BF16, 32)
TENSOR(product_tensor_nvfp4_128, Kind::NVFP4, 128)
TENSOR(product_tensor_nvfp4_32, Kind::NVFP4, 32)
