// Kernels that do what is allowed, and kernels that do what is not: each fault is one that a check must name.
#include <emulation.h>

struct Values {
  int of[64];
};

extern "C" __global__ void reverse(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  values[i] = from[i];
  __syncthreads();
  to[i] = values[63 - i];
}
MXHAL_KERNEL(reverse)

extern "C" __global__ void sum(const int* from, int* to) {
  int value = from[blockIdx.x * 32 + threadIdx.x];
  for (int bits = 16; bits != 0; bits /= 2) value += __shfl_xor_sync(0xffffffffu, value, bits);
  if (threadIdx.x == 0) atomicAdd(to, value);
}
MXHAL_KERNEL(sum)

extern "C" __global__ void no_barrier(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  values[i] = 0;
  __syncthreads();
  values[i] = from[i];
  to[i] = values[i ^ 32];
}
MXHAL_KERNEL(no_barrier)

extern "C" __global__ void no_warp_barrier(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  values[i] = from[i];
  __syncthreads();
  int value = values[i ^ 1];
  values[i] = value;
  to[i] = value;
}
MXHAL_KERNEL(no_warp_barrier)

extern "C" __global__ void unwritten(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  if (i != 5) values[i] = from[i];
  __syncthreads();
  to[i] = values[i];
}
MXHAL_KERNEL(unwritten)

extern "C" __global__ void past_shared(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  values[i + 1] = from[i];
  to[i] = i;
}
MXHAL_KERNEL(past_shared)

extern "C" __global__ void past_buffer(const int* from, int* to) { to[threadIdx.x + 1] = from[threadIdx.x]; }
MXHAL_KERNEL(past_buffer)

extern "C" __global__ void divergent(const int* from, int* to) {
  int i = threadIdx.x;
  if (i < 40) {
    __syncthreads();
  } else {
    __shfl_xor_sync(0xffffffffu, i, 1);
  }
  to[i] = from[i];
}
MXHAL_KERNEL(divergent)

struct alignas(16) Chunks {
  int values[64][4];
};

extern "C" __global__ void copied(const int* from, int* to) {
  MXHAL_SHARED(Chunks, chunks);
  int i = threadIdx.x;
  emulation::copy_asynchronously(chunks.values[i], from + i / 4 * 4, 12, 4);
  emulation::commit_copies();
  emulation::wait_for_copies(0);
  to[i] = chunks.values[i][2] + chunks.values[i][3];
}
MXHAL_KERNEL(copied)

extern "C" __global__ void not_waited(const int* from, int* to) {
  MXHAL_SHARED(Chunks, chunks);
  int i = threadIdx.x;
  emulation::copy_asynchronously(chunks.values[i], from + i / 4 * 4, 16, 0);
  emulation::commit_copies();
  emulation::wait_for_copies(1);
  to[i] = chunks.values[i][2];
}
MXHAL_KERNEL(not_waited)

extern "C" __global__ void misaligned(const int* from, int* to) {
  MXHAL_SHARED(Chunks, chunks);
  emulation::copy_asynchronously(chunks.values[threadIdx.x], from + 1, 16, 0);
  to[threadIdx.x] = 0;
}
MXHAL_KERNEL(misaligned)
