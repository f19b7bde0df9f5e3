// The matrix instruction for four-bit integers that Hopper still has: its fragments lie as those of mma_mxf4 do, so that
// their map can be checked where there is no Blackwell. For bench/fragments.cu alone; there is no model of it.
#pragma once

#include "device.cuh"

#ifndef MXHAL_EMULATED
/// K = 64 of signed four-bit integers.
__device__ __forceinline__ void mma_int4(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif
