// e^x as a number and a power of two, so that what is far below one keeps its precision: of additions and multiplications
// alone, because how precise the hardware's own exponential is, is not documented.
#pragma once

#include "vector.h"

namespace mxhal {

/// What e^x is worked out for lies above this; below, e^x times any product of two floats is less than 2^-126.
constexpr float least_exponent = -280.0f;

/// 2^e for whole numbers between -126 and 127.
__aicore__ inline void PowerOfTwo(const Local<float>& to, const Local<float>& e, uint32_t count) {
  Local<int32_t> bits = to.ReinterpretCast<int32_t>();
  v::Cast(bits, e, RoundMode::CAST_RINT, count);
  v::Adds(bits, bits, int32_t(127), count);
  v::ShiftLeft(bits, bits, int32_t(23), count);
}

/// e^(x + rest) = mantissa · 2^exponent with a relative error below 2^-22, for x between `least_exponent` and 0, which is
/// used up, and a rest below 2^-10. The mantissa is between 0.7 and 1.42, the exponent a whole number.
__aicore__ inline void Exponential(const Local<float>& mantissa, const Local<float>& exponent, const Local<float>& x,
                                   const Local<float>* rest, uint32_t count) {
  v::Muls(exponent, x, 1.44269504f, count);
  Rint(exponent, exponent, count);
  // ln 2 in two parts, of which the first has 15 bits: its products here are exact, and so is the difference.
  v::Muls(mantissa, exponent, 0.693145751953125f, count);
  v::Sub(x, x, mantissa, count);
  v::Muls(mantissa, exponent, 1.42860682e-6f, count);
  v::Sub(x, x, mantissa, count);
  if (rest != nullptr) v::Add(x, x, *rest, count);
  // e^x for |x| <= 0.35, by its series.
  constexpr float factors[] = {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f};
  v::Muls(mantissa, x, 1.0f / 5040.0f, count);
  v::Adds(mantissa, mantissa, factors[0], count);
  for (int term = 1; term < 7; term++) {
    v::Mul(mantissa, mantissa, x, count);
    v::Adds(mantissa, mantissa, factors[term], count);
  }
}

/// A power of two that is too small for a float, as four factors: 2^exponent = quarter³ · rest. The exponent is used up.
__aicore__ inline void Quarters(const Local<float>& quarter, const Local<float>& rest, const Local<float>& exponent,
                                uint32_t count) {
  v::Muls(rest, exponent, 0.25f, count);
  v::Cast(rest, rest, RoundMode::CAST_FLOOR, count);
  PowerOfTwo(quarter, rest, count);
  v::Muls(rest, rest, 3.0f, count);
  v::Sub(exponent, exponent, rest, count);
  PowerOfTwo(rest, exponent, count);
}

/// value · quarter³ · rest. A product that leaves the value normal is exact; after one that does not, hardly anything is
/// left to lose.
__aicore__ inline void ScaleDown(const Local<float>& value, const Local<float>& quarter, const Local<float>& rest,
                                 uint32_t count) {
  for (int time = 0; time < 3; time++) v::Mul(value, value, quarter, count);
  v::Mul(value, value, rest, count);
}

}  // namespace mxhal
