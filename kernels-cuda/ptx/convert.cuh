// Conversions between formats, two at a time.
#pragma once

#include "formats.cuh"

/// Two floats to BF16, the first in the low half.
__device__ __forceinline__ uint32_t bf16x2_from_f32(float low, float high) {
#ifdef MXHAL_EMULATED
  return bf16_from_f32(low) | bf16_from_f32(high) << 16;
#else
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

/// Two floats to F16, the first in the low half.
__device__ __forceinline__ uint32_t f16x2_from_f32(float low, float high) {
#ifdef MXHAL_EMULATED
  return f16_from_f32(low) | f16_from_f32(high) << 16;
#else
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

/// The low half of a pair of F16.
__device__ __forceinline__ float f16_low_to_f32(uint32_t pair) {
#ifdef MXHAL_EMULATED
  return f16_to_f32(pair & 0xffff);
#else
  float value;
  asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low; }" : "=f"(value) : "r"(pair));
  return value;
#endif
}

/// The high half of a pair of F16.
__device__ __forceinline__ float f16_high_to_f32(uint32_t pair) {
#ifdef MXHAL_EMULATED
  return f16_to_f32(pair >> 16);
#else
  float value;
  asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, high; }" : "=f"(value) : "r"(pair));
  return value;
#endif
}

/// Two finite floats to E4M3, the first in the low byte; saturating.
__device__ __forceinline__ uint32_t e4m3x2_from_f32(float low, float high) {
#ifdef MXHAL_EMULATED
  return e4m3_from_f32(low) | e4m3_from_f32(high) << 8;
#else
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

/// Two E4M3 (the low 16 bits) to F16, exactly; the first in the low half.
__device__ __forceinline__ uint32_t e4m3x2_to_f16x2(uint32_t pair) {
#ifdef MXHAL_EMULATED
  return f16_from_f32(e4m3_to_f32(pair & 0xff)) | f16_from_f32(e4m3_to_f32(pair >> 8 & 0xff)) << 16;
#else
  uint32_t wide;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(wide) : "h"(uint16_t(pair)));
  return wide;
#endif
}

/// Two finite floats to E2M1, the first in the low nibble; saturating. Hopper, which has no such instruction, takes
/// the way of the model.
__device__ __forceinline__ uint32_t e2m1x2_from_f32(float low, float high) {
#if MXHAL_FAMILY >= 1000
  uint32_t pair;
  asm("{ .reg .b8 byte; cvt.rn.satfinite.e2m1x2.f32 byte, %1, %2; cvt.u32.u8 %0, byte; }"
      : "=r"(pair)
      : "f"(high), "f"(low));
  return pair;
#else
  return e2m1_from_f32(low) | e2m1_from_f32(high) << 4;
#endif
}
