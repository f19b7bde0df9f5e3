// One step of a block-scaled product, of one row and one column: the model that mma and tcgen05.mma share.
#pragma once

#include <limits>

#include "truncated_sum.h"

namespace model {

MXHAL_UNCHECKED_INLINE bool is_finite(float value) { return value - value == 0.0f; }

/// Twice the value of an E2M1 code.
MXHAL_UNCHECKED_INLINE int e2m1_doubled(int code) {
  constexpr int doubled[8] = {0, 1, 2, 3, 4, 6, 8, 12};
  return code & 8 ? -doubled[code & 7] : doubled[code & 7];
}

/// Of an E4M3 code that is no NaN.
MXHAL_UNCHECKED_INLINE double e4m3_value(int code) {
  int exponent = code >> 3 & 15, fraction = code & 7;
  double magnitude = exponent == 0 ? fraction * power_of_two(-9) : (fraction | 8) * power_of_two(exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

struct Scale {
  double value;
  bool is_nan;
};

/// Of a byte of E8M0, or of UE4M3, which has no sign.
MXHAL_UNCHECKED_INLINE Scale scale_of(int byte, bool is_ue4m3) {
  if (!is_ue4m3) return {power_of_two(byte - 127), byte == 255};
  return {e4m3_value(byte & 0x7f), (byte & 0x7f) == 0x7f};
}

/// d and 64 products of doubled E2M1, with a scale on either side for each 16.
MXHAL_UNCHECKED_INLINE float add_mxf4(float d, const int8_t* a, const int8_t* b, const Scale* a_scales, const Scale* b_scales) {
  bool is_nan = d != d;
  double terms[5];
  for (int group = 0; group < 4; group++) {
    const Scale &a_scale = a_scales[group], &b_scale = b_scales[group];
    int sum = 0;
    for (int k = 16 * group; k < 16 * group + 16; k++) sum += a[k] * b[k];
    is_nan |= a_scale.is_nan || b_scale.is_nan;
    terms[group] = sum / 4.0 * (a_scale.value * b_scale.value);
  }
  if (is_nan) return std::numeric_limits<float>::quiet_NaN();
  if (!is_finite(d)) return d;
  terms[4] = d;
  return truncated_sum<35>(terms);
}

/// 32 E4M3, decoded.
struct WideRow {
  double values[32];
  bool has_nan;
};

MXHAL_UNCHECKED_INLINE WideRow wide_row(const uint8_t* codes) {
  WideRow row;
  row.has_nan = false;
  for (int k = 0; k < 32; k++) {
    row.has_nan |= (codes[k] & 0x7f) == 0x7f;
    row.values[k] = e4m3_value(codes[k]);
  }
  return row;
}

/// d and 32 products of E4M3 and doubled E2M1, with one scale on either side.
MXHAL_UNCHECKED_INLINE float add_mxf8f4(float d, const WideRow& wide, const int8_t* narrow, Scale wide_scale, Scale narrow_scale) {
  if (wide.has_nan || wide_scale.is_nan || narrow_scale.is_nan || d != d) return std::numeric_limits<float>::quiet_NaN();
  if (!is_finite(d)) return d;
  double scale = wide_scale.value * narrow_scale.value / 2.0;
  double terms[33];
  for (int k = 0; k < 32; k++) terms[k] = wide.values[k] * narrow[k] * scale;
  terms[32] = d;
  return truncated_sum<25>(terms);
}

}  // namespace model
