// Elements of block-scaled tensors as floats.
#pragma once

#include "elements.cuh"

/// An element's value before its scale; `bits` is its code.
__device__ __forceinline__ float code_to_f32(uint32_t format, uint32_t bits) {
  switch (format) {
    case FORMAT_MXFP4:
    case FORMAT_NVFP4:
      return e2m1_to_f32(bits);
    case FORMAT_MXINT8:
      return int8_to_f32(bits);
    default:
      return e4m3_to_f32(bits);
  }
}

/// A scale's value; that of NVFP4 is a number of E4M3.
__device__ __forceinline__ float scale_to_f32(uint32_t format, uint32_t byte) {
  return format == FORMAT_NVFP4 ? e4m3_to_f32(byte) : e8m0_to_f32(byte);
}
