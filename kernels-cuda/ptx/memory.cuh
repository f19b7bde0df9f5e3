// Loads, stores and asynchronous copies of vectors.
#pragma once

#include "device.cuh"

/// 16 bytes that are read once: past the first cache, through the read-only path.
__device__ __forceinline__ uint4 load_streaming(const void* address) {
#ifdef MXHAL_EMULATED
  emulation::check_aligned(address, 16, "streaming load");
  return *static_cast<const uint4*>(address);
#else
  uint4 value;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
      : "l"(address));
  return value;
#endif
}

/// A vector load as the compiler makes it; the emulation checks that the address is a multiple of its size.
template <class Vector>
__device__ __forceinline__ Vector load_vector(const void* address) {
#ifdef MXHAL_EMULATED
  emulation::check_aligned(address, sizeof(Vector), "vector load");
#endif
  return *static_cast<const Vector*>(address);
}

template <class Vector>
__device__ __forceinline__ void store_vector(void* address, Vector value) {
#ifdef MXHAL_EMULATED
  emulation::check_aligned(address, sizeof(Vector), "vector store");
#endif
  *static_cast<Vector*>(address) = value;
}

/// Begins a copy of 16 bytes from device to shared memory, both aligned; of `bytes` of them, and zeros for the rest.
/// With 0 bytes `global` is not read, and may be any address.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, uint32_t bytes) {
#ifdef MXHAL_EMULATED
  emulation::copy_asynchronously(shared, global, bytes, 16 - bytes);
#else
  uint32_t to = uint32_t(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
#endif
}

/// As copy_async_16, for 8 bytes.
__device__ __forceinline__ void copy_async_8(void* shared, const void* global, uint32_t bytes) {
#ifdef MXHAL_EMULATED
  emulation::copy_asynchronously(shared, global, bytes, 8 - bytes);
#else
  uint32_t to = uint32_t(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
#endif
}

/// As copy_async_16, for 4 bytes.
__device__ __forceinline__ void copy_async_4(void* shared, const void* global, uint32_t bytes) {
#ifdef MXHAL_EMULATED
  emulation::copy_asynchronously(shared, global, bytes, 4 - bytes);
#else
  uint32_t to = uint32_t(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
#endif
}

/// Closes the group of this thread's copies that began since the last one.
__device__ __forceinline__ void copy_async_commit() {
#ifdef MXHAL_EMULATED
  emulation::commit_copies();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most `pending` of this thread's groups are under way.
template <int pending>
__device__ __forceinline__ void copy_async_wait() {
#ifdef MXHAL_EMULATED
  emulation::wait_for_copies(pending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
#endif
}
