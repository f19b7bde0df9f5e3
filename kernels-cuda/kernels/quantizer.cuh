// One block of values to a scale and codes, eight values in each of its lanes.
//
// A block of 16, 32 or 128 columns lies in 2, 4 or 16 neighbouring lanes; all lanes of the warp take part, and those
// past the end of a row bring zeros, which change no scale.
#pragma once

#include "elements.cuh"

/// The numbers of mxhal_scale_rule.
enum ScaleRule : uint32_t { RULE_CEIL = 1, RULE_FLOOR = 2, RULE_EVEN = 3, RULE_NEAREST = 4 };

/// The largest magnitude of a block as the bits of a float, which order as the magnitudes do, NaNs above infinity.
__device__ __forceinline__ uint32_t amax_of_block(const float (&values)[8], uint32_t lanes) {
  uint32_t amax = 0;
#pragma unroll
  for (int i = 0; i < 8; i++) amax = max(amax, __float_as_uint(values[i]) & 0x7fffffff);
  for (uint32_t bit = 1; bit < lanes; bit *= 2) amax = max(amax, __shfl_xor_sync(whole_warp, amax, bit));
  return amax;
}

/// The E8M0 byte of a block, without logarithm or division: amax is 1.f * 2^e, and the byte follows from e, plus one
/// where f reaches what the rule says.
__device__ __forceinline__ uint32_t scale_byte(uint32_t format, uint32_t rule, uint32_t amax_bits, float amax_floor) {
  int emax = 2;
  uint32_t largest_fraction = 0x400000;
  uint32_t mantissa_bits = 1;
  if (format == FORMAT_MXINT8) {
    emax = 0;
    largest_fraction = 0x7e0000;
    mantissa_bits = 6;
  } else if (format != FORMAT_MXFP4) {
    emax = 8;
    largest_fraction = 0x600000;
    mantissa_bits = 3;
  }
  uint32_t threshold = 1u << 23;
  if (rule == RULE_CEIL) threshold = largest_fraction + 1;
  if (rule == RULE_EVEN) threshold = (1u << 23) - (1u << (22 - mantissa_bits));
  if (amax_bits >= 0x7f800000) return e8m0_nan;
  float amax = fmaxf(__uint_as_float(amax_bits), amax_floor);
  if (amax == 0.0f) return 0;
  int shift = 127;
  if (amax < 0x1p-126f) {
    amax *= 0x1p24f;
    shift += 24;
  }
  uint32_t bits = __float_as_uint(amax);
  int exponent = int(bits >> 23) - shift;
  int byte = 127 + exponent - emax + ((bits & 0x7fffff) >= threshold ? 1 : 0);
  return uint32_t(min(max(byte, 0), 254));
}

/// Eight values of a block, quantized.
struct CodedEight {
  /// Codes in order: four bits each in the first word, or eight in both.
  uint32_t words[2];
  uint32_t scale;
};

/// Quantizes eight values in each lane; `factor` is NVFP4's, of the row.
__device__ __forceinline__ CodedEight code_eight(uint32_t format, uint32_t rule, float amax_floor, float factor,
                                                 const float (&values)[8]) {
  uint32_t amax = amax_of_block(values, block_of(format) / 8);
  CodedEight coded = {{0, 0}, 0};
  float scaled[8];
  bool lost = amax >= 0x7f800000;
  if (format == FORMAT_NVFP4) {
    float wanted = fminf(fmaxf(__uint_as_float(amax) / e2m1_max / factor, 0x1p-9f), e4m3_max);
    coded.scale = lost ? e4m3_nan : amax == 0 ? 0 : e4m3_from_f32(wanted);
    float divisor = amax == 0 ? 1.0f : e4m3_to_f32(coded.scale) * factor;
#pragma unroll
    for (int i = 0; i < 8; i++) scaled[i] = lost ? 0.0f : values[i] / divisor;
  } else {
    coded.scale = scale_byte(format, rule, amax, amax_floor);
    float reciprocal = e8m0_reciprocal(coded.scale);
#pragma unroll
    for (int i = 0; i < 8; i++) scaled[i] = lost ? 0.0f : values[i] * reciprocal;
  }
  if (bits_of(format) == 4) {
#pragma unroll
    for (int i = 0; i < 4; i++) coded.words[0] |= e2m1x2_from_f32(scaled[2 * i], scaled[2 * i + 1]) << (8 * i);
    return coded;
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    uint32_t pair = format == FORMAT_MXINT8 ? int8_from_f32(scaled[2 * i]) | int8_from_f32(scaled[2 * i + 1]) << 8
                                            : e4m3x2_from_f32(scaled[2 * i], scaled[2 * i + 1]);
    coded.words[i / 2] |= pair << (16 * (i % 2));
  }
  return coded;
}

/// Where the blocks of a row go.
struct QuantizedRow {
  uint8_t* data;
  uint8_t* scales;
  /// NVFP4's factor of the row, already chosen.
  float factor;
};

/// Quantizes the eight values at `column`, a multiple of 8; lanes with `inside` false only take part.
__device__ __forceinline__ void quantize_eight(const QuantizedRow& row, uint32_t column, bool inside, uint32_t format,
                                               uint32_t rule, float amax_floor, const float (&values)[8]) {
  CodedEight coded = code_eight(format, rule, amax_floor, row.factor, values);
  if (!inside) return;
  uint32_t lanes = block_of(format) / 8;
  if (threadIdx.x % lanes == 0) row.scales[column / block_of(format)] = uint8_t(coded.scale);
  if (bits_of(format) == 4) {
    store_vector(row.data + column / 2, coded.words[0]);
  } else {
    store_vector(row.data + column, uint2{coded.words[0], coded.words[1]});
  }
}
