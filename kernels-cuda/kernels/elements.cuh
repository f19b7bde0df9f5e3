// Runs of eight elements, in whatever plain format a tensor has.
#pragma once

#include "convert.cuh"
#include "formats.cuh"
#include "memory.cuh"

/// One element as a float.
__device__ __forceinline__ float load_element(const void* tensor, uint64_t index, uint32_t format) {
  switch (format) {
    case FORMAT_F32:
      return static_cast<const float*>(tensor)[index];
    case FORMAT_BF16:
      return bf16_to_f32(static_cast<const uint16_t*>(tensor)[index]);
    default:
      return f16_low_to_f32(static_cast<const uint16_t*>(tensor)[index]);
  }
}

/// One float, rounded to the format.
__device__ __forceinline__ void store_element(void* tensor, uint64_t index, uint32_t format, float value) {
  switch (format) {
    case FORMAT_F32:
      static_cast<float*>(tensor)[index] = value;
      break;
    case FORMAT_BF16:
      static_cast<uint16_t*>(tensor)[index] = uint16_t(bf16x2_from_f32(value, value));
      break;
    default:
      static_cast<uint16_t*>(tensor)[index] = uint16_t(f16x2_from_f32(value, value));
  }
}

/// Eight neighbours; `index` is a multiple of 8 and the tensor one of 16 bytes.
__device__ __forceinline__ void load_eight(const void* tensor, uint64_t index, uint32_t format, float (&values)[8]) {
  if (format == FORMAT_F32) {
    const float* from = static_cast<const float*>(tensor) + index;
    float4 low = load_vector<float4>(from);
    float4 high = load_vector<float4>(from + 4);
    values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
    values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
    return;
  }
  uint4 pairs = load_vector<uint4>(static_cast<const uint16_t*>(tensor) + index);
  uint32_t words[4] = {pairs.x, pairs.y, pairs.z, pairs.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (format == FORMAT_BF16) {
      values[2 * i] = bf16_to_f32(words[i] & 0xffff);
      values[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000);
    } else {
      values[2 * i] = f16_low_to_f32(words[i]);
      values[2 * i + 1] = f16_high_to_f32(words[i]);
    }
  }
}

/// Eight neighbours, rounded; aligned as for load_eight.
__device__ __forceinline__ void store_eight(void* tensor, uint64_t index, uint32_t format, const float (&values)[8]) {
  if (format == FORMAT_F32) {
    float* to = static_cast<float*>(tensor) + index;
    store_vector(to, float4{values[0], values[1], values[2], values[3]});
    store_vector(to + 4, float4{values[4], values[5], values[6], values[7]});
    return;
  }
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    words[i] = format == FORMAT_BF16 ? bf16x2_from_f32(values[2 * i], values[2 * i + 1])
                                     : f16x2_from_f32(values[2 * i], values[2 * i + 1]);
  }
  store_vector(static_cast<uint16_t*>(tensor) + index, uint4{words[0], words[1], words[2], words[3]});
}
