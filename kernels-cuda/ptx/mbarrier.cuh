// Barriers in shared memory, for threads and for units that work on their own. PTX ISA 9.7.13.15.
#pragma once

#include "device.cuh"

/// A phase of it ends with the last of a number of arrivals, and the next begins.
struct Mbarrier {
  uint64_t state;
};

/// Makes it; other threads may use it after publish_barriers and __syncthreads.
__device__ __forceinline__ void init_barrier(Mbarrier* barrier, uint32_t arrivals) {
#ifdef MXHAL_EMULATED
  emulation::barrier_init(barrier, arrivals);
#else
  uint32_t address = uint32_t(__cvta_generic_to_shared(barrier));
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address), "r"(arrivals) : "memory");
#endif
}

/// Lets asynchronous operations arrive at the barriers that this thread made.
__device__ __forceinline__ void publish_barriers() {
#ifdef MXHAL_EMULATED
  emulation::barrier_publish();
#else
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

/// One arrival. What this thread did before it is seen by whoever waits for the phase.
__device__ __forceinline__ void arrive_at(Mbarrier* barrier) {
#ifdef MXHAL_EMULATED
  emulation::barrier_arrive(barrier);
#else
  uint32_t address = uint32_t(__cvta_generic_to_shared(barrier));
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address) : "memory");
#endif
}

/// Waits until the phase of this parity has ended; the first is 0.
__device__ __forceinline__ void wait_at(Mbarrier* barrier, uint32_t parity) {
#ifdef MXHAL_EMULATED
  emulation::barrier_wait(barrier, parity);
#else
  uint32_t address = uint32_t(__cvta_generic_to_shared(barrier));
  asm volatile(
      "{ .reg .pred ended;\n"
      "again: mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra again; }" ::"r"(address), "r"(parity)
      : "memory");
#endif
}

/// Lets units that work on their own see what this thread wrote to shared memory, by copies that it waited for too.
__device__ __forceinline__ void fence_for_asynchronous_reads() {
#ifdef MXHAL_EMULATED
  emulation::fence_asynchronous_proxy();
#else
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/// True for one lane of a whole warp.
__device__ __forceinline__ bool elect_one() {
#ifdef MXHAL_EMULATED
  __syncwarp();
  return threadIdx.x % 32 == 0;
#else
  uint32_t elected;
  asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(elected));
  return elected != 0;
#endif
}
