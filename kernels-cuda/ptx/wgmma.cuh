// Matrix instructions of a warpgroup (four warps, the first of which has a number that is a multiple of four), on
// sm_90a: D = A * B + D, with 64 rows of A in registers and B in shared memory. They run by themselves: until a group of
// them was waited for, their registers are neither read nor written, and B is left alone.
//
// Warp w of the group has rows 16w to 16w + 15. With g = lane / 4 and q = lane % 4, register i of A (K = 16 of BF16)
// holds row g (i even) or g + 8 (i odd), columns 2q and 2q + 1 (i < 2) or 8 more; d[4j], d[4j + 1] are row g, columns
// 8j + 2q and the next; d[4j + 2], d[4j + 3] the same of row g + 8. PTX ISA 9.7.15.5.
#pragma once

#include "device.cuh"
#include "mbarrier.cuh"

#ifdef MXHAL_EMULATED
#include "wgmma_model.h"
#endif

/// The descriptor of B, K-major, of which rows are 128 bytes: 64 BF16, their 16-byte chunks c in row r at c ^ r % 8, in
/// groups of eight rows that begin at a multiple of 1024. `from` is where the K to be multiplied begins in the first row.
/// PTX ISA 9.7.15.5.1: address, distance of the groups, and 128-byte swizzle, all but the last divided by 16.
__device__ __forceinline__ uint64_t wgmma_descriptor(const void* from) {
#ifdef MXHAL_EMULATED
  uint64_t address = emulation::shared_offset(from);
#else
  uint64_t address = uint64_t(__cvta_generic_to_shared(from));
#endif
  return (address & 0x3ffff) >> 4 | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

/// Before the first instruction of a group: what was written to registers is there.
__device__ __forceinline__ void wgmma_fence() {
#ifdef MXHAL_EMULATED
  model::wgmma_fence();
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

/// Closes a group.
__device__ __forceinline__ void wgmma_commit() {
#ifdef MXHAL_EMULATED
  model::wgmma_commit();
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

/// Waits until at most `pending` groups of this warp are under way.
template <int pending>
__device__ __forceinline__ void wgmma_wait() {
#ifdef MXHAL_EMULATED
  model::wgmma_wait(pending);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
#endif
}

/// Keeps the compiler from moving what reads or writes these registers across.
template <int count>
__device__ __forceinline__ void wgmma_hold(float (&d)[count]) {
#ifndef MXHAL_EMULATED
#pragma unroll
  for (int i = 0; i < count; i++) asm volatile("" : "+f"(d[i])::"memory");
#else
  (void)d;
#endif
}

#define MXHAL_EIGHT(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])

/// 32 columns. `b` is from wgmma_descriptor.
__device__ __forceinline__ void wgmma_bf16(float (&d)[16], const uint32_t (&a)[4], uint64_t b) {
#ifdef MXHAL_EMULATED
  model::wgmma_bf16<32>(d, a, b);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "
      "%14, %15}, {%16, %17, %18, %19}, %20, 1, 1, 1, 0;"
      : MXHAL_EIGHT(d, 0), MXHAL_EIGHT(d, 8)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#else
  __trap();
#endif
}

/// 128 columns.
__device__ __forceinline__ void wgmma_bf16(float (&d)[64], const uint32_t (&a)[4], uint64_t b) {
#ifdef MXHAL_EMULATED
  model::wgmma_bf16<128>(d, a, b);
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "
      "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, "
      "%37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, "
      "%60, %61, %62, %63}, {%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
      : MXHAL_EIGHT(d, 0), MXHAL_EIGHT(d, 8), MXHAL_EIGHT(d, 16), MXHAL_EIGHT(d, 24), MXHAL_EIGHT(d, 32),
        MXHAL_EIGHT(d, 40), MXHAL_EIGHT(d, 48), MXHAL_EIGHT(d, 56)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
#else
  __trap();
#endif
}

#undef MXHAL_EIGHT
