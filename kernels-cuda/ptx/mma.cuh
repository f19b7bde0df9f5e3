// Matrix instructions of a warp: D = A * B + D, A of 16 rows, B of 8 columns.
//
// With g = lane / 4 and q = lane % 4, register i of A holds row g (i even) or g + 8 (i odd), and of K the four bytes at
// 4q in the first half (i < 2) or the second; register i of B column g and the four bytes at 4q of half i. That is what
// ldmatrix gives of K-major rows. d[0], d[1] are row g, columns 2q and 2q + 1; d[2], d[3] row g + 8.
// PTX ISA 9.7.14.5 (fragments), 9.7.14.3 (scales).
#pragma once

#include "formats.cuh"

#ifdef MXHAL_EMULATED
#include "bf16_sum.h"
#include "block_scaled_model.h"

namespace model {

struct MmaGiven {
  uint32_t a[4];
  uint32_t b[2];
  uint32_t a_scales, b_scales;
  float d[4];
};
struct MmaResult {
  float d[4];
};

/// The fragments of a warp put together: bytes of the rows of A and of the columns of B, and D.
struct Matrices {
  uint8_t a[16][32];
  uint8_t b[8][32];
  float d[16][8];

  MXHAL_UNCHECKED explicit Matrices(const MmaGiven* all) {
    for (int lane = 0; lane < 32; lane++) {
      int g = lane / 4, q = lane % 4;
      for (int i = 0; i < 4; i++) memcpy(&a[g + i % 2 * 8][i / 2 * 16 + 4 * q], &all[lane].a[i], 4);
      for (int i = 0; i < 2; i++) memcpy(&b[g][i * 16 + 4 * q], &all[lane].b[i], 4);
      for (int i = 0; i < 4; i++) d[g + i / 2 * 8][2 * q + i % 2] = all[lane].d[i];
    }
  }

  MXHAL_UNCHECKED void store(MmaResult* results) const {
    for (int lane = 0; lane < 32; lane++) {
      for (int i = 0; i < 4; i++) results[lane].d[i] = d[lane / 4 + i / 2 * 8][2 * (lane % 4) + i % 2];
    }
  }
};

MXHAL_UNCHECKED inline void mma_bf16(const MmaGiven* all, MmaResult* results) {
  Matrices of(all);
  Bf16Row columns[8];
  for (int n = 0; n < 8; n++) columns[n] = bf16_row(of.b[n]);
  for (int m = 0; m < 16; m++) {
    Bf16Row row = bf16_row(of.a[m]);
    for (int n = 0; n < 8; n++) of.d[m][n] = add_bf16(of.d[m][n], row, columns[n]);
  }
  of.store(results);
}

/// Byte `byte` of the scales that the lanes hold for the 16 rows of A, or for the 8 columns of B.
inline int scale_of_row(const MmaGiven* all, int row, int thread, int byte) {
  return int(all[row % 8 * 4 + 2 * thread + row / 8].a_scales >> (8 * byte) & 255);
}
inline int scale_of_column(const MmaGiven* all, int column, int thread, int byte) {
  return int(all[column * 4 + thread].b_scales >> (8 * byte) & 255);
}

/// kind::mxf4, scale_vec::2X: K = 64, a scale for each 32, in bytes `byte` and `byte` + 1 of the scales; or
/// kind::mxf4nvf4, scale_vec::4X: a UE4M3 scale for each 16, in all four bytes.
template <int byte, bool is_nvfp4>
MXHAL_UNCHECKED inline void mma_mxf4(const MmaGiven* all, MmaResult* results) {
  Matrices of(all);
  int8_t a[16][64], b[8][64];
  for (int k = 0; k < 64; k++) {
    for (int m = 0; m < 16; m++) a[m][k] = int8_t(e2m1_doubled(of.a[m][k / 2] >> (4 * (k % 2))));
    for (int n = 0; n < 8; n++) b[n][k] = int8_t(e2m1_doubled(of.b[n][k / 2] >> (4 * (k % 2))));
  }
  for (int m = 0; m < 16; m++) {
    for (int n = 0; n < 8; n++) {
      Scale a_scales[4], b_scales[4];
      for (int group = 0; group < 4; group++) {
        int at = is_nvfp4 ? group : byte + group / 2;
        a_scales[group] = scale_of(scale_of_row(all, m, 0, at), is_nvfp4);
        b_scales[group] = scale_of(scale_of_column(all, n, 0, at), is_nvfp4);
      }
      of.d[m][n] = add_mxf4(of.d[m][n], a[m], b[n], a_scales, b_scales);
    }
  }
  of.store(results);
}

/// kind::mxf8f6f4, scale_vec::1X, A of E4M3 and B of E2M1: K = 32, one scale, in byte `byte`.
template <int byte>
MXHAL_UNCHECKED inline void mma_mxf8f4(const MmaGiven* all, MmaResult* results) {
  Matrices of(all);
  for (int n = 0; n < 8; n++) {
    for (int k = 0; k < 32; k++) {
      if (of.b[n][k] & 0xc3) emulation::fault("mma mxf8f6f4: %#x is no E2M1 in bits 5 to 2", of.b[n][k]);
    }
  }
  for (int m = 0; m < 16; m++) {
    WideRow row = wide_row(of.a[m]);
    for (int n = 0; n < 8; n++) {
      int8_t b[32];
      for (int k = 0; k < 32; k++) b[k] = int8_t(e2m1_doubled(of.b[n][k] >> 2));
      Scale a_scale = scale_of(scale_of_row(all, m, 0, byte), false);
      Scale b_scale = scale_of(scale_of_column(all, n, 0, byte), false);
      of.d[m][n] = add_mxf8f4(of.d[m][n], row, b, a_scale, b_scale);
    }
  }
  of.store(results);
}

template <void (*answer)(const MmaGiven*, MmaResult*)>
inline void mma(const char* name, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, uint32_t a_scales,
                uint32_t b_scales) {
  MmaGiven given = {{a[0], a[1], a[2], a[3]}, {b0, b1}, a_scales, b_scales, {d[0], d[1], d[2], d[3]}};
  MmaResult result = emulation::warp_collective<MmaResult>(name, whole_warp, given, answer);
  for (int i = 0; i < 4; i++) d[i] = result.d[i];
}

}  // namespace model
#endif

/// K = 16 of BF16, on every target.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef MXHAL_EMULATED
  model::mma<model::mma_bf16>("mma bf16", d, a, b0, b1, 0, 0);
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/// K = 64 of E2M1, with a scale for each 32 of a row or column: bytes `byte` and `byte` + 1 (`byte` 0 or 2) of
/// `a_scales` in lane 4g for row g and 4g + 1 for row g + 8, and of `b_scales` in lane 4g for column g. On sm_120f.
template <int byte>
__device__ __forceinline__ void mma_mxf4(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                         uint32_t a_scales, uint32_t b_scales) {
  static_assert(byte == 0 || byte == 2, "a pair of scales begins at an even byte");
#ifdef MXHAL_EMULATED
  model::mma<model::mma_mxf4<byte, false>>("mma mxf4", d, a, b0, b1, a_scales, b_scales);
#elif MXHAL_FAMILY == 1200
  asm("mma.sync.aligned.m16n8k64.row.col.kind::mxf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, {%10}, {%12, 0}, {%11}, {%12, 0};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(a_scales), "r"(b_scales), "n"(byte));
#else
  __trap();
#endif
}

/// K = 64 of E2M1, with a UE4M3 scale for each 16 of a row or column: the four bytes of the same lanes. On sm_120f.
__device__ __forceinline__ void mma_nvfp4(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                          uint32_t a_scales, uint32_t b_scales) {
#ifdef MXHAL_EMULATED
  model::mma<model::mma_mxf4<0, true>>("mma mxf4nvf4", d, a, b0, b1, a_scales, b_scales);
#elif MXHAL_FAMILY == 1200
  asm("mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, {%10}, {0, 0}, {%11}, {0, 0};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(a_scales), "r"(b_scales));
#else
  __trap();
#endif
}

/// K = 32 of E4M3 by E2M1, the latter in bits 5 to 2 of its byte; one scale a row or column, in byte `byte` (0 to 3) of
/// the same lanes. On sm_120f.
template <int byte>
__device__ __forceinline__ void mma_mxf8f4(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                           uint32_t a_scales, uint32_t b_scales) {
  static_assert(byte >= 0 && byte < 4, "a register holds four scales");
#ifdef MXHAL_EMULATED
  model::mma<model::mma_mxf8f4<byte>>("mma mxf8f6f4", d, a, b0, b1, a_scales, b_scales);
#elif MXHAL_FAMILY == 1200
  asm("mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X.f32.e4m3.e2m1.f32.ue8m0 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, {%10}, {%12, 0}, {%11}, {%12, 0};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(a_scales), "r"(b_scales), "n"(byte));
#else
  __trap();
#endif
}
