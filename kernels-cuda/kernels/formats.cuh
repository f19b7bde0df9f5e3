// Number formats, one element at a time and bit by bit: the same results in every build and on every device.
//
// What the hardware has an instruction for is in ptx/convert.cuh, with these functions as its models.
#pragma once

#include "device.cuh"

/// The numbers of mxhal_format.
enum Format : uint32_t {
  FORMAT_F32 = 1,
  FORMAT_BF16 = 2,
  FORMAT_F16 = 3,
  FORMAT_MXFP4 = 16,
  FORMAT_MXFP8 = 17,
  FORMAT_MXFP8_G128 = 18,
  FORMAT_MXINT8 = 19,
  FORMAT_NVFP4 = 20,
  FORMAT_FP8_TILE128 = 21,
};

/// Bits of an element.
__host__ __device__ constexpr uint32_t bits_of(uint32_t format) {
  switch (format) {
    case FORMAT_F32:
      return 32;
    case FORMAT_BF16:
    case FORMAT_F16:
      return 16;
    case FORMAT_MXFP4:
    case FORMAT_NVFP4:
      return 4;
    default:
      return 8;
  }
}

/// Columns that share a scale; 0 for formats without.
__host__ __device__ constexpr uint32_t block_of(uint32_t format) {
  switch (format) {
    case FORMAT_MXFP4:
    case FORMAT_MXFP8:
    case FORMAT_MXINT8:
      return 32;
    case FORMAT_MXFP8_G128:
    case FORMAT_FP8_TILE128:
      return 128;
    case FORMAT_NVFP4:
      return 16;
    default:
      return 0;
  }
}

constexpr float e2m1_max = 6.0f;
constexpr float e4m3_max = 448.0f;
constexpr uint32_t e8m0_nan = 255;
constexpr uint32_t e4m3_nan = 0x7f;

// BF16

__device__ __forceinline__ float bf16_to_f32(uint32_t bits) { return __uint_as_float(bits << 16); }

/// To nearest, ties to even; a NaN becomes quiet.
__device__ __forceinline__ uint32_t bf16_from_f32(float value) {
  uint32_t bits = __float_as_uint(value);
  if (value != value) return bits >> 16 | 0x40;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// F16

__device__ __forceinline__ float f16_to_f32(uint32_t bits) {
  uint32_t sign = (bits & 0x8000) << 16;
  uint32_t magnitude = bits & 0x7fff;
  if (magnitude >= 0x7c00) return __uint_as_float(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  // Placed in a float's bits the exponent is 112 too small; the product is exact, of subnormals too.
  return __uint_as_float(sign | __float_as_uint(__uint_as_float(magnitude << 13) * 0x1p112f));
}

/// To nearest, ties to even; beyond the largest number infinite.
__device__ __forceinline__ uint32_t f16_from_f32(float value) {
  uint32_t bits = __float_as_uint(value);
  uint32_t sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | (magnitude >> 13 & 0x3ff);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // Below 2^-14 the addition rounds to the unit of the subnormals, 2^-24, and what it adds to the bits is the code.
  if (magnitude < 0x38800000) return sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000);
  return sign | (((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112 << 10));
}

// E2M1

/// Its value as the bits of a float: each code's fraction and exponent, from a table of halves.
__device__ __forceinline__ float e2m1_to_f32(uint32_t code) {
  // Placed in a float's bits the exponent is 126 too small; the product is exact.
  uint32_t bits = (code & 8) << 28 | (code & 7) << 22;
  return __uint_as_float(bits) * 0x1p126f;
}

/// To nearest, ties to even; saturates. The sign of a zero stays. A NaN gives 6.
__device__ __forceinline__ uint32_t e2m1_from_f32(float value) {
  if (value != value) return 7;
  float magnitude = fabsf(value);
  uint32_t code = (magnitude > 0.25f) + (magnitude >= 0.75f) + (magnitude > 1.25f) + (magnitude >= 1.75f) +
                  (magnitude > 2.5f) + (magnitude >= 3.5f) + (magnitude > 5.0f);
  return code | (__float_as_uint(value) >> 28 & 8);
}

// E4M3

__device__ __forceinline__ float e4m3_to_f32(uint32_t code) {
  uint32_t magnitude = code & 0x7f;
  uint32_t sign = (code & 0x80) << 24;
  if (magnitude == e4m3_nan) return __uint_as_float(sign | 0x7fc00000);
  return __uint_as_float(sign | __float_as_uint(__uint_as_float(magnitude << 20) * 0x1p120f));
}

/// To nearest, ties to even; saturates. The sign of a zero stays, and a NaN is one.
__device__ __forceinline__ uint32_t e4m3_from_f32(float value) {
  uint32_t bits = __float_as_uint(value);
  uint32_t sign = bits >> 24 & 0x80;
  float magnitude = fabsf(value);
  if (value != value) return sign | e4m3_nan;
  if (magnitude >= e4m3_max) return sign | 0x7e;
  // Below 2^-6 the addition rounds to the unit of the subnormals, 2^-9.
  if (magnitude < 0x1p-6f) return sign | (__float_as_uint(magnitude + 16384.0f) - __float_as_uint(16384.0f));
  bits &= 0x7fffffff;
  return sign | (((bits + 0x7ffff + (bits >> 20 & 1)) >> 20) - (120 << 3));
}

// Int8 / 64

__device__ __forceinline__ float int8_to_f32(uint32_t code) { return float(int8_t(code)) * 0.015625f; }

/// To nearest, ties to even; between -127 and 127. The value is no NaN.
__device__ __forceinline__ uint32_t int8_from_f32(float value) {
  float clamped = fminf(fmaxf(value * 64.0f, -127.0f), 127.0f);
  // At 1.5 * 2^23 the last place is 1: the addition rounds, and leaves the integer in the low bits.
  return __float_as_uint(clamped + 12582912.0f) & 0xff;
}

// E8M0

/// Exact, and for byte 0 a subnormal, 2^-127.
__device__ __forceinline__ float e8m0_to_f32(uint32_t byte) {
  if (byte == 0) return __uint_as_float(1u << 22);
  if (byte == e8m0_nan) return __uint_as_float(0x7fc00000);
  return __uint_as_float(byte << 23);
}

/// One over the scale, exactly.
__device__ __forceinline__ float e8m0_reciprocal(uint32_t byte) { return e8m0_to_f32(byte == e8m0_nan ? byte : 254 - byte); }
