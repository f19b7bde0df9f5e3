// The dialect that kernels are written in: nvcc's own, or that of the emulation on the CPU.
//
// Besides CUDA C++ a kernel uses two words: MXHAL_SHARED(Type, name) for shared memory of a fixed size, and
// dynamic_shared<T>() for what the launch gives; and MXHAL_KERNEL(name) follows each kernel, or where that has
// __cluster_dims__(blocks, 1, 1), MXHAL_CLUSTER_KERNEL(name, blocks).
#pragma once

#ifdef __CUDACC__

#include <cstdint>

#define MXHAL_SHARED(type, name) __shared__ type name
#define MXHAL_KERNEL(name)
#define MXHAL_CLUSTER_KERNEL(name, blocks)

/// The family that is compiled for, where its instructions may be used: 1000 for sm_100f, 1200 for sm_120f.
#ifdef __CUDA_ARCH_FAMILY_SPECIFIC__
#define MXHAL_FAMILY __CUDA_ARCH_FAMILY_SPECIFIC__
#else
#define MXHAL_FAMILY 0
#endif

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char dynamic_shared_bytes[];
  return reinterpret_cast<T*>(dynamic_shared_bytes);
}

#else

#include <emulation.h>

/// Emulated, every instruction is there: its model is.
#define MXHAL_EMULATED 1
#define MXHAL_FAMILY 0

template <class T>
inline T* dynamic_shared() {
  return reinterpret_cast<T*>(emulation::dynamic_shared());
}

#endif

constexpr unsigned whole_warp = 0xffffffffu;
