// Sums of sixteen products of BF16, as a matrix instruction makes them.
#pragma once

#include <cstring>

#include "truncated_sum.h"

namespace model {

/// The value that a sum of this and anything finite has: itself for what is not finite, else 0.
MXHAL_UNCHECKED_INLINE float what_spoils(float value) { return value - value == 0.0f ? 0.0f : value; }

/// Sixteen BF16 along K.
struct Bf16Row {
  double values[16];
  bool is_finite;
};

/// From memory, two bytes each.
MXHAL_UNCHECKED_INLINE Bf16Row bf16_row(const uint8_t* bytes) {
  Bf16Row row;
  row.is_finite = true;
  for (int k = 0; k < 16; k++) {
    uint32_t bits = uint32_t(bytes[2 * k]) << 16 | uint32_t(bytes[2 * k + 1]) << 24;
    float value;
    memcpy(&value, &bits, 4);
    row.values[k] = value;
    row.is_finite &= value - value == 0.0f;
  }
  return row;
}

/// d + a * b, in one sum.
MXHAL_UNCHECKED_INLINE float add_bf16(float d, const Bf16Row& a, const Bf16Row& b) {
  float spoilt = what_spoils(d);
  if (!a.is_finite || !b.is_finite) {
    for (int k = 0; k < 16; k++) {
      double product = a.values[k] * b.values[k];
      if (product - product != 0.0) spoilt += float(product);
    }
  }
  if (spoilt != 0.0f) return spoilt;
  double terms[17];
  for (int k = 0; k < 16; k++) terms[k] = a.values[k] * b.values[k];
  terms[16] = d;
  return truncated_sum<25>(terms);
}

}  // namespace model
