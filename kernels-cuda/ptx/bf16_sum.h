// Sums of sixteen products of BF16, as a matrix instruction makes them.
#pragma once

#include <cstring>

#include "truncated_sum.h"

namespace model {

/// The value that a sum of this and anything finite has: itself for what is not finite, else 0.
MXHAL_UNCHECKED_INLINE float what_spoils(float value) { return value - value == 0.0f ? 0.0f : value; }

/// Sixteen BF16 along K, with what is wanted of them often.
struct Bf16Row {
  float values[16];
  Term terms[16];
  bool finite;
};

/// From memory, two bytes each.
MXHAL_UNCHECKED_INLINE Bf16Row bf16_row(const uint8_t* bytes) {
  Bf16Row row;
  row.finite = true;
  for (int k = 0; k < 16; k++) {
    uint32_t bits = uint32_t(bytes[2 * k]) << 16 | uint32_t(bytes[2 * k + 1]) << 24;
    memcpy(&row.values[k], &bits, 4);
    Term term = term_of(row.values[k]);
    // Of the 24 bits the lower 16 are zero.
    row.terms[k] = {term.significand / 65536, term.exponent + 16};
    row.finite &= row.values[k] - row.values[k] == 0.0f;
  }
  return row;
}

/// d + a * b, in one sum.
MXHAL_UNCHECKED_INLINE float add_bf16(float d, const Bf16Row& a, const Bf16Row& b) {
  float spoilt = what_spoils(d);
  if (!a.finite || !b.finite) {
    for (int k = 0; k < 16; k++) {
      float product = a.values[k] * b.values[k];
      if (what_spoils(a.values[k]) != 0.0f || what_spoils(b.values[k]) != 0.0f) spoilt += product;
    }
  }
  if (spoilt != 0.0f) return spoilt;
  Term terms[17];
  for (int k = 0; k < 16; k++) {
    terms[k] = {a.terms[k].significand * b.terms[k].significand, a.terms[k].exponent + b.terms[k].exponent};
  }
  terms[16] = term_of(d);
  return truncated_sum(terms, 25);
}

}  // namespace model
