// The parameters of every kernel: one struct each, passed by value. Mirrored in src/parameters.rs, where each field's
// meaning is written; both sides assert the sizes.
#pragma once

#include <stdint.h>

struct QuantizeParameters {
  const void* x;
  uint8_t* data;
  uint8_t* scales;
  float* factors;
  uint64_t data_stride;
  uint64_t scales_stride;
  uint32_t rows;
  uint32_t columns;
  uint32_t input;
  uint32_t format;
  uint32_t rule;
  float amax_floor;
};

struct DequantizeParameters {
  const uint8_t* data;
  const uint8_t* scales;
  const float* factors;
  void* y;
  uint32_t rows;
  uint32_t columns;
  uint32_t format;
  uint32_t output;
  uint32_t factor_per_row;
  uint32_t reserved;
};

struct SwiGluParameters {
  const void* x;
  const float* row_weights;
  void* y;
  uint8_t* scales;
  const uint32_t* rows_on_device;
  uint64_t data_stride;
  uint64_t scales_stride;
  uint32_t rows;
  uint32_t columns;
  uint32_t input;
  uint32_t format;
  uint32_t rule;
  float amax_floor;
  uint32_t variant;
  uint32_t interleaved;
  float limit;
  float alpha;
};

struct RouteParameters {
  const float* logits;
  const float* bias;
  const int32_t* ids_given;
  int32_t* ids;
  float* weights;
  uint32_t tokens;
  uint32_t experts;
  uint32_t top_k;
  uint32_t score;
  uint32_t renormalize;
  float scale;
};

struct PermuteParameters {
  const int32_t* ids;
  const int32_t* expert_map;
  int32_t* counts;
  int32_t* source;
  int32_t* positions;
  uint32_t slots;
  uint32_t experts;
  uint32_t mapped;
  uint32_t reserved;
};

struct PermuteRowsParameters {
  const int32_t* source;
  const uint8_t* from[3];
  uint8_t* to[3];
  const float* weights;
  float* row_weights;
  uint64_t bytes[3];
  uint32_t rows;
  uint32_t top_k;
};

struct CombineParameters {
  const void* rows;
  const int32_t* positions;
  const float* weights;
  const void* addend;
  void* y;
  uint32_t tokens;
  uint32_t columns;
  uint32_t top_k;
  uint32_t input;
  uint32_t addend_format;
  uint32_t output;
};

/// Of every product: decode, wide and block-scaled.
struct ProductParameters {
  const uint8_t* a;
  const uint8_t* a_scales;
  const float* a_factors;
  const uint8_t* w;
  const uint8_t* w_scales;
  const float* w_factors;
  const float* bias;
  const int32_t* counts;
  void* y;
  uint64_t a_stride;
  uint64_t a_scales_stride;
  uint64_t w_stride;
  uint64_t w_scales_stride;
  uint32_t m;
  uint32_t n;
  uint32_t k;
  uint32_t groups;
  uint32_t a_format;
  uint32_t w_format;
  uint32_t output;
  uint32_t a_factor_per_row;
  uint32_t w_halves;
  uint32_t w_factor_per_row;
};

/// What the copies of the Tensor Memory Accelerator find a matrix by: a CUtensorMap, which the driver writes.
struct alignas(128) TensorMap {
  uint64_t words[16];
};

/// Of the products in tensor memory.
struct TensorProductParameters {
  TensorMap w;
  TensorMap a;
  ProductParameters product;
};

/// Of both kernels of a layer of experts for few tokens.
struct MoeParameters {
  const uint8_t* x;
  const int32_t* ids;
  const float* weights;
  const int32_t* expert_map;
  const uint8_t* gate_up;
  const uint8_t* gate_up_scales;
  const float* gate_up_bias;
  const uint8_t* down;
  const uint8_t* down_scales;
  const float* down_bias;
  const void* addend;
  uint8_t* activated;
  void* y;
  uint64_t gate_up_stride;
  uint64_t gate_up_scales_stride;
  uint64_t down_stride;
  uint64_t down_scales_stride;
  uint32_t tokens;
  uint32_t hidden;
  uint32_t inner;
  uint32_t experts;
  uint32_t mapped;
  uint32_t top_k;
  uint32_t format;
  uint32_t rule;
  float amax_floor;
  uint32_t variant;
  uint32_t interleaved;
  float limit;
  float alpha;
  uint32_t weight_before;
  uint32_t w_halves;
  uint32_t addend_format;
  uint32_t output;
  uint32_t reserved;
};

#define MXHAL_SIZE(type, bytes) static_assert(sizeof(type) == bytes, "src/parameters.rs says otherwise")
MXHAL_SIZE(QuantizeParameters, 72);
MXHAL_SIZE(DequantizeParameters, 56);
MXHAL_SIZE(SwiGluParameters, 96);
MXHAL_SIZE(RouteParameters, 64);
MXHAL_SIZE(PermuteParameters, 56);
MXHAL_SIZE(PermuteRowsParameters, 104);
MXHAL_SIZE(CombineParameters, 64);
MXHAL_SIZE(ProductParameters, 144);
MXHAL_SIZE(TensorProductParameters, 512);
MXHAL_SIZE(MoeParameters, 208);
