// e^x as a number and a power of two, so that what is far below one keeps its precision.
#pragma once

#include "device.cuh"

/// mantissa * 2^exponent, the mantissa between 0.7 and 1.42.
struct Exponential {
  float mantissa;
  int exponent;
};

/// e^(x + rest) with a relative error below 2^-22; `rest` is below 2^-10 and x between -400 and 0.
///
/// Additions and multiplications are fused where the source says so and nowhere else: every device gives these bits.
__device__ __forceinline__ Exponential exponential(float x, float rest) {
  float steps = rintf(x * 1.44269504f);
  // ln 2 in two parts, of which the first has 16 bits: its products here are exact.
  float r = fmaf(steps, -0.693145751953125f, x);
  r = fmaf(steps, -1.42860682e-6f, r) + rest;
  // e^r for |r| <= 0.35, by its series.
  float sum = fmaf(r, 1.0f / 5040.0f, 1.0f / 720.0f);
  sum = fmaf(r, sum, 1.0f / 120.0f);
  sum = fmaf(r, sum, 1.0f / 24.0f);
  sum = fmaf(r, sum, 1.0f / 6.0f);
  sum = fmaf(r, sum, 0.5f);
  sum = fmaf(r, sum, 1.0f);
  return {fmaf(r, sum, 1.0f), int(steps)};
}

/// value * 2^exponent; the exponent is between -600 and 0.
__device__ __forceinline__ float scale_down(float value, int exponent) {
  // A step that leaves the value normal is exact; after one that does not, hardly anything is left to lose.
  for (int i = 0; i < 5; i++) {
    int step = max(exponent, -126);
    value *= __uint_as_float(uint32_t(127 + step) << 23);
    exponent -= step;
  }
  return value;
}
