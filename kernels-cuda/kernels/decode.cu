// Products of one to eight rows with MXFP4 weights: bound by memory, so that what counts is that weights are read
// once, 16 bytes at a time, and that many loads are under way.
//
// A lane takes whole blocks of 32: 16 bytes of codes and their scale, of four columns at a time, for which it reads the
// activations once. Float32 throughout; lanes are summed in an order that depends on nothing but K.
#include "decoder.cuh"
#include "device.cuh"
#include "groups.cuh"
#include "parameters.h"

constexpr uint32_t decode_columns = 4;

/// 2^exponent for -126 to 127.
__device__ __forceinline__ float power_of_two(int exponent) { return __uint_as_float(uint32_t(127 + exponent) << 23); }

/// value * 2^(a + b - 254), the bytes being E8M0 scales: in two steps that go the same way.
__device__ __forceinline__ float scale_by_bytes(float value, uint32_t a, uint32_t b) {
  if (a == e8m0_nan || b == e8m0_nan) return __uint_as_float(0x7fc00000);
  int exponent = int(a + b) - 254;
  // Between -254 and 254: two halves are always powers that float32 has.
  int half = exponent / 2;
  return value * power_of_two(half) * power_of_two(exponent - half);
}

/// Eight activations of a block as floats, in the order of the nibbles of word `word` of the weights: K of a nibble is
/// as the weights' layout has it, see README.md.
template <uint32_t format>
__device__ __forceinline__ void load_activations(const uint8_t* block, uint32_t word, float (&values)[8]) {
  if (format == FORMAT_BF16) {
    uint2 low = load_vector<uint2>(block + 8 * word);
    uint2 high = load_vector<uint2>(block + 32 + 8 * word);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      values[2 * i] = bf16_to_f32((i < 2 ? low.x : low.y) >> (i % 2 * 16) & 0xffff);
      values[2 * i + 1] = bf16_to_f32((i < 2 ? high.x : high.y) >> (i % 2 * 16) & 0xffff);
    }
  } else if (format == FORMAT_MXFP4) {
    uint32_t codes = load_vector<uint32_t>(block + 4 * word);
#pragma unroll
    for (int i = 0; i < 8; i++) values[i] = e2m1_to_f32(codes >> (4 * i) & 15);
  } else {
    uint32_t low = load_vector<uint32_t>(block + 4 * word);
    uint32_t high = load_vector<uint32_t>(block + 16 + 4 * word);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      values[2 * i] = code_to_f32(format, low >> (8 * i) & 255);
      values[2 * i + 1] = code_to_f32(format, high >> (8 * i) & 255);
    }
  }
}

/// The product of `rows` rows and decode_columns columns by one warp.
template <uint32_t format, int rows>
__device__ __forceinline__ void decode(const ProductParameters& p) {
  uint32_t lane = threadIdx.x % 32;
  Tile tile = find_tile(p.counts, p.groups, p.m, blockIdx.y, rows);
  uint32_t column = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * decode_columns;
  if (tile.rows == 0 || column >= p.n) return;
  const uint8_t* a = p.a + tile.row * p.a_stride;
  const uint8_t* a_scales = format == FORMAT_BF16 ? nullptr : p.a_scales + tile.row * p.a_scales_stride;
  uint64_t first = uint64_t(tile.group) * p.n;
  uint32_t block_bytes = 4 * bits_of(format);
  bool is_wide = p.a_format == FORMAT_MXFP8_G128;

  float sums[rows][decode_columns] = {};
  for (uint32_t block = lane; block < p.k / 32; block += 32) {
    uint4 codes[decode_columns];
    uint32_t scales[decode_columns];
#pragma unroll
    for (uint32_t c = 0; c < decode_columns; c++) {
      uint64_t row = first + min(column + c, p.n - 1);
      codes[c] = load_streaming(p.w + row * p.w_stride + block * 16);
      scales[c] = p.w_scales[row * p.w_scales_stride + block];
    }
    // BF16 activations have no scale of their own, and the weights' is part of what brings a code to its value:
    // 2^(byte - 1) as far as float32 has it, the rest later.
    float unit[decode_columns], rest[decode_columns];
#pragma unroll
    for (uint32_t c = 0; c < decode_columns; c++) {
      bool is_nan = scales[c] == e8m0_nan;
      unit[c] = format != FORMAT_BF16 ? 0x1p126f : is_nan ? __uint_as_float(0x7fc00000) : power_of_two(min(int(scales[c]) - 1, 127));
      rest[c] = power_of_two(max(int(scales[c]) - 128, 0));
    }
    float partial[rows][decode_columns] = {};
    // Eight rows of activations fill the registers by themselves.
#pragma unroll(rows == 8 ? 1 : 4)
    for (uint32_t word = 0; word < 4; word++) {
      float values[rows][8];
#pragma unroll
      for (int r = 0; r < rows; r++) {
        uint64_t row = min(uint32_t(r), tile.rows - 1);
        load_activations<format>(a + row * p.a_stride + uint64_t(block) * block_bytes, word, values[r]);
      }
#pragma unroll
      for (uint32_t c = 0; c < decode_columns; c++) {
        // The words move up, so that a loop that is not unrolled finds its own in the same register.
        uint32_t bits = codes[c].x;
        codes[c] = uint4{codes[c].y, codes[c].z, codes[c].w, 0};
#pragma unroll
        for (int i = 0; i < 8; i++) {
          // Placed in a float's bits the exponent is 126 too small.
          uint32_t placed = (bits << (28 - 4 * i) & 0x80000000) | (bits >> (4 * i) & 7) << 22;
          float weight = __uint_as_float(placed) * unit[c];
#pragma unroll
          for (int r = 0; r < rows; r++) partial[r][c] = fmaf(values[r][i], weight, partial[r][c]);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < rows; r++) {
      uint32_t a_scale = 127;
      if (format != FORMAT_BF16) {
        uint64_t row = min(uint32_t(r), tile.rows - 1);
        a_scale = a_scales[row * p.a_scales_stride + (is_wide ? block / 4 : block)];
      }
#pragma unroll
      for (uint32_t c = 0; c < decode_columns; c++) {
        sums[r][c] += format == FORMAT_BF16 ? partial[r][c] * rest[c] : scale_by_bytes(partial[r][c], a_scale, scales[c]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < rows; r++) {
#pragma unroll
    for (uint32_t c = 0; c < decode_columns; c++) {
      float sum = sums[r][c];
      for (uint32_t bit = 16; bit != 0; bit /= 2) sum += __shfl_xor_sync(whole_warp, sum, bit);
      // One lane for each column: the others have the same sum.
      if (lane != c || uint32_t(r) >= tile.rows || column + c >= p.n) continue;
      if (p.bias != nullptr) sum += p.bias[first + column + c];
      store_element(p.y, uint64_t(tile.row + r) * p.n + column + c, p.output, sum);
    }
  }
}

// Blocks of a multiprocessor for which there are registers: enough loads under way, and none in local memory.
constexpr int decode_blocks(int rows) { return rows == 8 ? 2 : rows == 4 ? 3 : 4; }

#define DECODE(name, format, rows)                                                                                \
  extern "C" __global__ void __launch_bounds__(128, decode_blocks(rows))                                          \
      name##_##rows(const __grid_constant__ ProductParameters p) {                                                \
    decode<format, rows>(p);                                                                                      \
  }                                                                                                               \
  MXHAL_KERNEL(name##_##rows)
#define DECODE_OF_ROWS(name, format) \
  DECODE(name, format, 1)            \
  DECODE(name, format, 2)            \
  DECODE(name, format, 4)            \
  DECODE(name, format, 8)

DECODE_OF_ROWS(decode_bf16, FORMAT_BF16)
DECODE_OF_ROWS(decode_mxfp8, FORMAT_MXFP8)
DECODE_OF_ROWS(decode_mxint8, FORMAT_MXINT8)
DECODE_OF_ROWS(decode_mxfp4, FORMAT_MXFP4)
