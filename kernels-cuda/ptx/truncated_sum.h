// How a tensor core adds, as far as it is known: the model under those of the matrix instructions.
//
// All products and the accumulator are aligned to the largest exponent among them, each is cut off (toward zero) a
// number of bits below it, and their exact sum is rounded toward zero to float32. The numbers of bits are measured
// ones, from microsoft/MMA-Sim and arXiv 2511.10909: 25 for products of BF16 and of kind::mxf8f6f4 on Hopper and
// Blackwell, 35 for kind::mxf4, whose products are first summed exactly in groups of 16. That a sum too large for
// float32 is infinite is an assumption.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "runtime.h"

namespace model {

/// significand * 2^exponent.
struct Term {
  int64_t significand;
  int exponent;
};

MXHAL_UNCHECKED_INLINE int exponent_of(const Term& term) {
  uint64_t magnitude = uint64_t(term.significand < 0 ? -term.significand : term.significand);
  return 63 - __builtin_clzll(magnitude) + term.exponent;
}

/// A finite float32, or one whose bits are those of a BF16.
MXHAL_UNCHECKED_INLINE Term term_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  int64_t significand = bits & 0x7fffff;
  int exponent = int(bits >> 23 & 255);
  if (exponent != 0) {
    significand |= 0x800000;
  } else {
    exponent = 1;
  }
  return {bits >> 31 ? -significand : significand, exponent - 150};
}

/// magnitude * 2^exponent toward zero.
MXHAL_UNCHECKED_INLINE float truncate_to_f32(bool is_negative, uint64_t magnitude, int exponent) {
  if (magnitude == 0) return 0.0f;
  int top = 63 - __builtin_clzll(magnitude) + exponent;
  if (top > 127) return is_negative ? -INFINITY : INFINITY;
  int unit = top < -126 ? -149 : top - 23;
  int shift = unit - exponent;
  uint64_t kept = shift <= 0 ? magnitude << -shift : shift > 63 ? 0 : magnitude >> shift;
  float value = std::ldexp(float(kept), unit);
  return is_negative ? -value : value;
}

/// The sum of the terms, none of which exceeds 2^48, cut `bits` below the largest.
template <int count>
MXHAL_UNCHECKED_INLINE float truncated_sum(const Term (&terms)[count], int bits) {
  int largest = std::numeric_limits<int>::min();
  for (const Term& term : terms) {
    if (term.significand != 0 && exponent_of(term) > largest) largest = exponent_of(term);
  }
  if (largest == std::numeric_limits<int>::min()) return 0.0f;
  int unit = largest - bits;
  int64_t sum = 0;
  for (const Term& term : terms) {
    if (term.significand == 0) continue;
    int shift = term.exponent - unit;
    uint64_t magnitude = uint64_t(term.significand < 0 ? -term.significand : term.significand);
    uint64_t aligned = shift >= 0 ? magnitude << shift : shift < -63 ? 0 : magnitude >> -shift;
    sum += term.significand < 0 ? -int64_t(aligned) : int64_t(aligned);
  }
  return truncate_to_f32(sum < 0, uint64_t(sum < 0 ? -sum : sum), unit);
}

}  // namespace model
