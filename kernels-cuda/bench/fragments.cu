// Whether a device agrees with the models of ptx/, for the instructions that Hopper has: fragment maps, descriptors, and
// the exact widening of every code under every scale. Prints a line each; ends with status 1 where they differ.
//
//   nvcc -gencode arch=compute_90a,code=sm_90a -I ../kernels -I ../ptx fragments.cu -o fragments
#include <cmath>
#include <cstring>
#include <vector>

#include "fragments.cuh"
#include "int4.cuh"
#include "ldmatrix.cuh"
#include "mma.cuh"
#include "program.h"
#include "wgmma.cuh"
#include "widening.cuh"

/// D = A * B of one warp, A and D by row, B by column; K = 16 of BF16, by way of shared memory.
__global__ void multiply_bf16(const uint16_t* a, const uint16_t* b, float* d) {
  __shared__ __align__(16) uint16_t shared[24][16];
  uint32_t lane = threadIdx.x;
  for (uint32_t i = lane; i < 24 * 16; i += 32) shared[i / 16][i % 16] = i < 256 ? a[i] : b[i - 256];
  __syncwarp();
  uint32_t as[4], bs[4];
  load_matrices(as, &shared[lane % 16][lane / 16 * 8]);
  load_matrices(bs, &shared[16 + lane % 8][lane / 8 % 2 * 8]);
  float sums[4] = {};
  mma_bf16(sums, as, bs[0], bs[1]);
  for (uint32_t i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

/// The same for K = 64 of four bits: rows of 32 bytes.
__global__ void multiply_int4(const uint32_t* a, const uint32_t* b, int32_t* d) {
  uint32_t g = threadIdx.x / 4, q = threadIdx.x % 4;
  uint32_t as[4] = {a[g * 8 + q], a[(g + 8) * 8 + q], a[g * 8 + q + 4], a[(g + 8) * 8 + q + 4]};
  int32_t sums[4] = {};
  mma_int4(sums, as, b[g * 8 + q], b[g * 8 + q + 4]);
  for (uint32_t i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + q * 2 + i % 2] = sums[i];
}

/// 64 rows of A by `columns` of B, K = 64, by a warpgroup: four instructions through one descriptor that moves along.
template <uint32_t columns>
__global__ void multiply_wgmma(const uint16_t* a, const uint16_t* b, float* d) {
  __shared__ __align__(1024) uint8_t shared[columns * 128];
  uint32_t thread = threadIdx.x, g = thread % 32 / 4, q = thread % 4, row = thread / 32 * 16 + g;
  for (uint32_t i = thread; i < columns * 8; i += 128) {
    store_vector(shared + swizzled<128>(i / 8, i % 8), load_vector<uint4>(b + i * 8));
  }
  fence_for_asynchronous_reads();
  __syncthreads();
  float sums[columns / 2] = {};
  wgmma_hold(sums);
  uint32_t as[4][4];
  for (uint32_t step = 0; step < 4; step++) {
    for (uint32_t i = 0; i < 4; i++) {
      as[step][i] = load_vector<uint32_t>(a + (row + i % 2 * 8) * 64 + step * 16 + i / 2 * 8 + q * 2);
    }
  }
  wgmma_fence();
#pragma unroll
  for (uint32_t step = 0; step < 4; step++) wgmma_bf16(sums, as[step], wgmma_descriptor(shared + step * 32));
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_hold(sums);
  for (uint32_t i = 0; i < columns / 2; i++) {
    d[(row + i / 2 % 2 * 8) * columns + i / 4 * 8 + q * 2 + i % 2] = sums[i];
  }
}

/// Every code under every scale: 256 codes a scale, of which E2M1 uses the lower 16.
__global__ void widen_all(uint32_t format, uint16_t* values) {
  uint32_t scale = blockIdx.x, code = threadIdx.x;
  uint32_t four = code * (format == FORMAT_MXFP4 ? 0x11111111 : 0x01010101);
  values[scale * 256 + code] = uint16_t(widen_eight(format, uint2{four, four}, scale).x);
}

/// Small integers as BF16.
std::vector<uint16_t> integers(Random& random, size_t count) {
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) {
    float number = float(int(random.next() % 17) - 8);
    uint32_t bits;
    memcpy(&bits, &number, 4);
    value = uint16_t(bits >> 16);
  }
  return values;
}
float value_of(uint16_t bf16) {
  uint32_t bits = uint32_t(bf16) << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

/// How many elements are not the sum that they should be.
size_t compare(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b, const std::vector<float>& d, size_t rows,
               size_t columns, size_t depth) {
  size_t differ = 0;
  for (size_t i = 0; i < rows * columns; i++) {
    float sum = 0;
    for (size_t k = 0; k < depth; k++) sum += value_of(a[i / columns * depth + k]) * value_of(b[i % columns * depth + k]);
    differ += sum != d[i];
  }
  return differ;
}

template <uint32_t columns>
void check_wgmma(Random& random, const char* name) {
  auto a = integers(random, 64 * 64), b = integers(random, columns * 64);
  float* d = on_device(std::vector<float>(64 * columns, NAN));
  multiply_wgmma<columns><<<1, 128>>>(on_device(a), on_device(b), d);
  report(name, compare(a, b, back(d, 64 * columns), 64, columns, 64), 64 * columns);
}

void check_widening(uint32_t format, const char* name, uint32_t codes) {
  auto values = on_device(std::vector<uint16_t>(256 * 256));
  widen_all<<<256, 256>>>(format, values);
  auto got = back(values, 256 * 256);
  size_t differ = 0;
  for (uint32_t scale = 0; scale < 256; scale++) {
    for (uint32_t code = 0; code < codes; code++) {
      double value = 0;
      bool is_nan = scale == 255;
      if (format == FORMAT_MXINT8) {
        value = int8_t(code) / 64.0;
      } else if (format == FORMAT_MXFP4) {
        int exponent = code >> 1 & 3, fraction = code & 1;
        value = exponent == 0 ? fraction * 0.5 : std::ldexp(2 + fraction, exponent - 2);
        if (code & 8) value = -value;
      } else {
        int exponent = code >> 3 & 15, fraction = code & 7;
        is_nan |= (code & 0x7f) == 0x7f;
        value = exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
        if (code & 0x80) value = -value;
      }
      value = std::ldexp(value, int(scale) - 127);
      float is = value_of(got[scale * 256 + code]);
      bool is_lost = value != 0 && std::fabs(value) < 0x1p-126 && std::fabs(is - value) <= 0x1p-134;
      bool same = is_nan ? is != is : std::fabs(value) >= 0x1p128 ? std::isinf(is) && (is < 0) == (value < 0) : is == float(value);
      differ += !same && !is_lost;
    }
  }
  report(name, differ, 256 * codes);
}

int main() {
  Random random = {1};
  {
    auto a = integers(random, 16 * 16), b = integers(random, 8 * 16);
    float* d = on_device(std::vector<float>(128, NAN));
    multiply_bf16<<<1, 32>>>(on_device(a), on_device(b), d);
    report("ldmatrix, mma m16n8k16 bf16", compare(a, b, back(d, 128), 16, 8, 16), 128);
  }
  {
    std::vector<uint32_t> a(16 * 8), b(8 * 8);
    for (uint32_t& word : a) word = uint32_t(random.next());
    for (uint32_t& word : b) word = uint32_t(random.next());
    int32_t* d = on_device(std::vector<int32_t>(128, -1));
    multiply_int4<<<1, 32>>>(on_device(a), on_device(b), d);
    auto got = back(d, 128);
    auto code = [](const std::vector<uint32_t>& rows, int row, int k) {
      return int32_t(rows[row * 8 + k / 8] << (28 - k % 8 * 4)) >> 28;
    };
    size_t differ = 0;
    for (int i = 0; i < 128; i++) {
      int32_t sum = 0;
      for (int k = 0; k < 64; k++) sum += code(a, i / 8, k) * code(b, i % 8, k);
      differ += sum != got[i];
    }
    report("mma m16n8k64 of four bits", differ, 128);
  }
  check_wgmma<32>(random, "wgmma m64n32k16 bf16");
  check_wgmma<128>(random, "wgmma m64n128k16 bf16");
  check_widening(FORMAT_MXFP4, "E2M1 to BF16", 16);
  check_widening(FORMAT_MXFP8, "E4M3 to BF16", 256);
  check_widening(FORMAT_MXINT8, "int8 to BF16", 256);
  return wrong;
}
