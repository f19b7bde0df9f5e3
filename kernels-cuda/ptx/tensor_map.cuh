// Copies of tiles by the unit for tensors, which works on its own. PTX ISA 9.7.9.25 (tensor copies), 9.7.9.27 (maps).
#pragma once

#include "mbarrier.cuh"
#include "parameters.h"

/// Has the map read before it is wanted. It is one of the kernel's parameters.
__device__ __forceinline__ void prefetch_tensor_map(const TensorMap* map) {
#ifdef MXHAL_EMULATED
  emulation::check_aligned(map, 64, "tensor map");
#else
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
}

/// Bytes that the present phase of the barrier waits for besides its arrivals.
__device__ __forceinline__ void expect_bytes(Mbarrier* barrier, uint32_t bytes) {
#ifdef MXHAL_EMULATED
  emulation::barrier_expect(barrier, bytes);
#else
  uint32_t address = uint32_t(__cvta_generic_to_shared(barrier));
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(bytes) : "memory");
#endif
}

/// Begins a copy of the tile that has element `x` of row `y` first, to a multiple of 128 bytes of shared memory. The barrier
/// counts the bytes: of a padded type those of the codes, not the gaps. What the tensor does not have is 0, and counts.
__device__ __forceinline__ void copy_tile(void* shared, const TensorMap* map, uint32_t x, uint32_t y, Mbarrier* barrier) {
#ifdef MXHAL_EMULATED
  emulation::copy_tile(shared, map, int32_t(x), int32_t(y), barrier);
#else
  uint32_t to = uint32_t(__cvta_generic_to_shared(shared)), address = uint32_t(__cvta_generic_to_shared(barrier));
  asm volatile("cp.async.bulk.tensor.2d.shared::cta.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
               "l"(map), "r"(x), "r"(y), "r"(address)
               : "memory");
#endif
}
