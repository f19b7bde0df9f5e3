// Codes to BF16, exactly and two at a time: placed in a BF16's bits, and multiplied by a power of two that brings both
// the format's bias and the block's scale.
//
// E2M1 and E4M3 have at most four significant bits and int8 has eight, as BF16 has: only below 2^-133 is anything
// lost, and beyond float32 the result is infinite, as it should be. A pair costs four or five instructions.
#pragma once

#include "bf16x2.cuh"
#include "formats.cuh"

/// What a block's placed codes are multiplied by: pairs of BF16. `rest` is 1 but for the largest scales, whose power is
/// more than a BF16 holds.
struct BlockScale {
  uint32_t factor;
  uint32_t rest;
};

/// By how much placed codes are too small, as a power of two.
__host__ __device__ constexpr int placed_shift(uint32_t format) {
  return format == FORMAT_MXFP4 ? 126 : format == FORMAT_MXINT8 ? -6 : 120;
}

/// From a scale byte of E8M0.
__device__ __forceinline__ BlockScale block_scale(uint32_t format, uint32_t byte) {
  int exponent = int(byte) - 127 + placed_shift(format);
  // Below 2^-126 a BF16 is subnormal, as are the scales of the smallest MXINT8 blocks.
  uint32_t power = uint32_t(min(exponent, 127) + 127);
  uint32_t bits = exponent >= -126 ? power << 7 : 1u << (exponent + 133);
  if (byte == e8m0_nan) bits = 0x7fc0;
  return {bits * 0x10001, (uint32_t(max(exponent, 127)) << 7) * 0x10001};
}

/// Whether `rest` is not 1.
__device__ __forceinline__ bool is_large_scale(uint32_t format, uint32_t byte) {
  return int(byte) - 127 + placed_shift(format) > 127;
}

/// Brings placed pairs to their values; with `large` false `rest` is 1.
template <bool large, int count>
__device__ __forceinline__ void apply_scale(BlockScale scale, uint32_t (&pairs)[count]) {
#pragma unroll
  for (int i = 0; i < count; i++) {
    pairs[i] = bf16x2_multiply(pairs[i], scale.factor);
    if (large) pairs[i] = bf16x2_multiply(pairs[i], scale.rest);
  }
}

/// Eight codes of E2M1, of which pair i is nibble i of either half of the word.
__device__ __forceinline__ void place_e2m1(uint32_t nibbles, uint32_t (&pairs)[4]) {
  pairs[0] = (nibbles << 12 & 0x80008000) | (nibbles << 6 & 0x01c001c0);
  pairs[1] = (nibbles << 8 & 0x80008000) | (nibbles << 2 & 0x01c001c0);
  pairs[2] = (nibbles << 4 & 0x80008000) | (nibbles >> 2 & 0x01c001c0);
  pairs[3] = (nibbles & 0x80008000) | (nibbles >> 6 & 0x01c001c0);
}

/// Four bytes whose nibbles are neighbours (pair i is byte i), with the nibbles where place_e2m1 wants them.
__device__ __forceinline__ uint32_t from_neighbours(uint32_t bytes) {
  uint32_t low = bytes & 0x0f0f0f0f, high = bytes >> 4 & 0x0f0f0f0f;
  return __byte_perm(low | low >> 4, high | high >> 4, 0x6420);
}

/// Word `word` of a block of 32 weights. With `halves` (see README.md) its pairs are numbers 2w, 8 + 2w, 2w + 1 and
/// 9 + 2w of the block's sixteen, otherwise 4w to 4w + 3: pair_of says so.
template <bool halves>
__device__ __forceinline__ void place_weights(uint32_t word, uint32_t (&pairs)[4]) {
  place_e2m1(halves ? __byte_perm(word, 0, 0x3120) : from_neighbours(word), pairs);
}

template <bool halves>
__host__ __device__ constexpr uint32_t pair_of(uint32_t word, uint32_t i) {
  return halves ? 2 * word + i / 2 + i % 2 * 8 : 4 * word + i;
}

/// Four codes of E4M3 in order; a NaN stays one.
__device__ __forceinline__ void place_e4m3(uint32_t codes, uint32_t (&pairs)[2]) {
  uint32_t low = __byte_perm(codes, 0, 0x1404), high = __byte_perm(codes, 0, 0x3424);
  pairs[0] = (low & 0x80008000) | (low >> 4 & 0x07f007f0);
  pairs[1] = (high & 0x80008000) | (high >> 4 & 0x07f007f0);
  if ((((codes & 0x7f7f7f7f) + 0x01010101) & 0x80808080) == 0) return;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if ((codes >> (8 * i) & 0x7f) == e4m3_nan) pairs[i / 2] |= 0x7fc0u << (i % 2 * 16);
  }
}

/// Four codes of int8 in order, at 64 times their value: 128 plus the lower seven bits, less 128 or 256.
__device__ __forceinline__ void place_int8(uint32_t codes, uint32_t (&pairs)[2]) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    uint32_t bytes = __byte_perm(codes, 0, i == 0 ? 0x4140 : 0x4342);
    pairs[i] = bf16x2_subtract((bytes & 0x007f007f) | 0x43004300, (bytes & 0x00800080) | 0x43004300);
  }
}

/// Eight activations in order from one or two words of codes, and their scale.
__device__ __forceinline__ uint4 widen_eight(uint32_t format, uint2 codes, uint32_t scale_byte) {
  uint32_t pairs[4];
  if (format == FORMAT_MXFP4) {
    place_e2m1(from_neighbours(codes.x), pairs);
  } else {
    uint32_t low[2], high[2];
    if (format == FORMAT_MXINT8) {
      place_int8(codes.x, low);
      place_int8(codes.y, high);
    } else {
      place_e4m3(codes.x, low);
      place_e4m3(codes.y, high);
    }
    pairs[0] = low[0], pairs[1] = low[1], pairs[2] = high[0], pairs[3] = high[1];
  }
  apply_scale<true>(block_scale(format, scale_byte), pairs);
  return {pairs[0], pairs[1], pairs[2], pairs[3]};
}
