// Blocks of a cluster: barriers of all of them, and arrivals at another's barriers. PTX ISA 9.7.13.4, 9.7.13.15, 5.1.7.
//
// A block may end only when no other arrives at its barriers and no operation uses its memory: after a cluster_sync.
#pragma once

#include "mbarrier.cuh"

/// The rank of this block in its cluster.
__device__ __forceinline__ uint32_t cluster_rank() {
#ifdef MXHAL_EMULATED
  return emulation::cluster_rank();
#else
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#endif
}

/// Waits for all threads of all blocks. What they did before, and the barriers that they published, are seen after it.
__device__ __forceinline__ void cluster_sync() {
#ifdef MXHAL_EMULATED
  emulation::wait_at_cluster_barrier();
#else
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
#endif
}

/// One arrival at the barrier that lies there in the block of that rank, which may be this one. What this thread did
/// before is seen by whoever waits for the phase with wait_in_cluster.
__device__ __forceinline__ void arrive_at_rank(Mbarrier* barrier, uint32_t rank) {
#ifdef MXHAL_EMULATED
  emulation::barrier_arrive_at(barrier, rank);
#else
  uint32_t address = uint32_t(__cvta_generic_to_shared(barrier));
  asm volatile(
      "{ .reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote]; }" ::"r"(address),
      "r"(rank)
      : "memory");
#endif
}

/// As wait_at, for a barrier of this block at which threads of others arrive. wait_at sees what was done in this block
/// and no more, which is all that kernels without clusters ask for.
__device__ __forceinline__ void wait_in_cluster(Mbarrier* barrier, uint32_t parity) {
#ifdef MXHAL_EMULATED
  emulation::barrier_wait(barrier, parity, true);
#else
  uint32_t address = uint32_t(__cvta_generic_to_shared(barrier));
  asm volatile(
      "{ .reg .pred ended;\n"
      "again: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra again; }" ::"r"(address),
      "r"(parity)
      : "memory");
#endif
}
