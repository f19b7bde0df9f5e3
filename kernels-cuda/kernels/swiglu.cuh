// The gated activation of one pair of values.
#pragma once

#include "exponential.cuh"

enum SwiGluVariant : uint32_t { SWIGLU_SILU = 1, SWIGLU_GPT_OSS = 2 };

/// factor * g * sigmoid(alpha * g), with a relative error below 2^-20.
__device__ __forceinline__ float gated(float factor, float g, float alpha) {
  float x = alpha * g;
  // In e^x an error of x counts as many times as x is large: what the product lost is brought back.
  float lost = fmaf(alpha, g, -x);
  bool is_negative = x < 0.0f;
  // Here e^-|x| is nothing, whatever it is multiplied by; but an infinite g times nothing is a NaN.
  bool is_far = !(fabsf(x) < 300.0f);
  if (is_far) return factor * (is_negative ? g * 0.0f : g);
  Exponential e = exponential(-fabsf(x), is_negative ? lost : -lost);
  float share = g / (1.0f + scale_down(e.mantissa, e.exponent));
  if (!is_negative) return factor * share;
  // sigmoid(x) = e^x / (1 + e^x). Its power of two comes in two parts, lest factor * g overflows before.
  int half = e.exponent / 2;
  return scale_down(scale_down(factor, half) * (share * e.mantissa), e.exponent - half);
}

/// The function with its constants; a limit of 0 is none.
struct SwiGluForm {
  uint32_t variant;
  float limit;
  float alpha;
};

__device__ __forceinline__ float swiglu_value(const SwiGluForm& form, float gate, float up) {
  // Comparisons that a NaN fails leave it as it is.
  if (form.limit != 0.0f) {
    if (gate > form.limit) gate = form.limit;
    if (up > form.limit) up = form.limit;
    if (up < -form.limit) up = -form.limit;
  }
  return form.variant == SWIGLU_GPT_OSS ? gated(up + 1.0f, gate, form.alpha) : gated(up, gate, 1.0f);
}
