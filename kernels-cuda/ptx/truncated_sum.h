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

#include "runtime.h"

namespace model {

/// Of exponents of normal doubles.
MXHAL_UNCHECKED_INLINE double power_of_two(int exponent) {
  uint64_t bits = uint64_t(exponent + 1023) << 52;
  double value;
  __builtin_memcpy(&value, &bits, 8);
  return value;
}

/// Of a normal double above 0.
MXHAL_UNCHECKED_INLINE int exponent_of(double value) {
  uint64_t bits;
  __builtin_memcpy(&bits, &value, 8);
  return int(bits >> 52) - 1023;
}

/// integer * 2^exponent toward zero.
MXHAL_UNCHECKED_INLINE float truncate_to_f32(int64_t integer, int exponent) {
  if (integer == 0) return 0.0f;
  bool is_negative = integer < 0;
  uint64_t magnitude = uint64_t(is_negative ? -integer : integer);
  int top = 63 - __builtin_clzll(magnitude) + exponent;
  if (top > 127) return is_negative ? -INFINITY : INFINITY;
  int unit = top < -126 ? -149 : top - 23;
  int shift = unit - exponent;
  uint64_t kept = shift <= 0 ? magnitude << -shift : shift > 63 ? 0 : magnitude >> shift;
  float value = float(double(kept) * power_of_two(unit));
  return is_negative ? -value : value;
}

/// The sum of the terms, cut `bits` below the largest. Terms are exact: a float32, or a product with a scale, whose
/// exponents leave room in those of a double for being made integers here.
template <int bits, int count>
MXHAL_UNCHECKED_INLINE float truncated_sum(const double (&terms)[count]) {
  static_assert(bits <= 35 && count <= 1 << 10, "an aligned term has one more bit, and their sum fits into 64");
  double largest = 0.0;
  for (double term : terms) {
    double magnitude = std::fabs(term);
    largest = magnitude > largest ? magnitude : largest;
  }
  if (largest == 0.0) return 0.0f;
  int unit = exponent_of(largest) - bits;
  double aligning = power_of_two(-unit);
  int64_t sum = 0;
  // A conversion to an integer is toward zero.
  for (double term : terms) sum += int64_t(term * aligning);
  return truncate_to_f32(sum, unit);
}

}  // namespace model
