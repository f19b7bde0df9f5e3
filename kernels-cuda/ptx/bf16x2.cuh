// Arithmetic on pairs of BF16: each result is rounded to nearest even, and subnormals count.
#pragma once

#include "formats.cuh"

__device__ __forceinline__ uint32_t bf16x2_multiply(uint32_t a, uint32_t b) {
#ifdef MXHAL_EMULATED
  // In float32 the product of two BF16 is exact, but for what ends below 2^-149.
  uint32_t low = bf16_from_f32(bf16_to_f32(a & 0xffff) * bf16_to_f32(b & 0xffff));
  return low | bf16_from_f32(bf16_to_f32(a >> 16) * bf16_to_f32(b >> 16)) << 16;
#else
  uint32_t product;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
#endif
}

__device__ __forceinline__ uint32_t bf16x2_subtract(uint32_t a, uint32_t b) {
#ifdef MXHAL_EMULATED
  uint32_t low = bf16_from_f32(bf16_to_f32(a & 0xffff) - bf16_to_f32(b & 0xffff));
  return low | bf16_from_f32(bf16_to_f32(a >> 16) - bf16_to_f32(b >> 16)) << 16;
#else
  uint32_t difference;
  asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(difference) : "r"(a), "r"(b));
  return difference;
#endif
}
