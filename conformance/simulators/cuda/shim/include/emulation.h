// CUDA C++ for a compiler that knows no CUDA: what a kernel needs to run on the CPU.
//
// A kernel's source includes this instead of nvcc's built-in declarations. Each GPU thread is a fiber; a fiber runs
// until it waits for others (a barrier, a warp operation), so threads of a block never run at the same time, and
// whatever order the barriers leave open is chosen by the launch's seed. See README.md for what is checked.
//
// This file declares the dialect; runtime.h below it is what the dialect is made of.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "runtime.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __cluster_dims__(...)

/// Shared memory of a fixed size: one object for the whole block, poisoned and not constructed.
#define MXHAL_SHARED(type, name) type& name = *emulation::static_shared<type>(__FILE__, __LINE__)

/// Exports `emulated_NAME`, through which a launch comes in, `parameters_NAME`, the bytes of each parameter, and
/// `cluster_NAME`, the blocks of a cluster.
#define MXHAL_KERNEL(name) MXHAL_CLUSTER_KERNEL(name, 1)

/// Of a kernel that is compiled with __cluster_dims__(blocks, 1, 1).
#define MXHAL_CLUSTER_KERNEL(name, blocks)                                                                    \
  extern "C" __attribute__((visibility("default"))) int emulated_##name(                                      \
      void* const* arguments, const emulation::Launch* launch, char* message, size_t message_bytes) {         \
    return emulation::run(#name, [] { emulation::call(&name); }, blocks, arguments, launch, message,           \
                          message_bytes);                                                                     \
  }                                                                                                           \
  extern "C" __attribute__((visibility("default"))) size_t parameters_##name(unsigned* bytes, size_t room) {   \
    return emulation::parameter_bytes(&name, bytes, room);                                                    \
  }                                                                                                           \
  extern "C" __attribute__((visibility("default"))) unsigned cluster_##name() { return blocks; }

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

#define threadIdx (emulation::thread_index())
#define blockIdx (emulation::block_index())
#define blockDim (emulation::block_shape())
#define gridDim (emulation::grid_shape())

namespace emulation {

MXHAL_UNCHECKED inline dim3 block_shape() {
  const unsigned* block = state.launch->block;
  return {block[0], block[1], block[2]};
}
MXHAL_UNCHECKED inline dim3 grid_shape() {
  const unsigned* grid = state.launch->grid;
  return {grid[0], grid[1], grid[2]};
}
MXHAL_UNCHECKED inline dim3 block_index() { return {state.block_index[0], state.block_index[1], state.block_index[2]}; }
MXHAL_UNCHECKED inline dim3 thread_index() {
  return {state.thread_index[0], state.thread_index[1], state.thread_index[2]};
}

/// Turns the array of argument addresses into a call, as cuLaunchKernel does.
template <class... Parameters, size_t... place>
inline void call(void (*kernel)(Parameters...), std::index_sequence<place...>) {
  std::tuple<std::remove_cv_t<Parameters>...> values;
  (copy_argument(place, &std::get<place>(values), sizeof(Parameters)), ...);
  kernel(std::get<place>(values)...);
}
template <class... Parameters>
inline void call(void (*kernel)(Parameters...)) {
  call(kernel, std::index_sequence_for<Parameters...>());
}

/// The bytes of each parameter, as far as there is room; gives how many there are.
template <class... Parameters>
MXHAL_UNCHECKED inline size_t parameter_bytes(void (*)(Parameters...), unsigned* bytes, size_t room) {
  const unsigned sizes[] = {unsigned(sizeof(Parameters))..., 0};
  for (size_t i = 0; i < sizeof...(Parameters) && i < room; i++) bytes[i] = sizes[i];
  return sizeof...(Parameters);
}

/// What every lane gives is seen by `answer`, which the last lane runs for all: it fills each lane's result.
template <class Result, class Given, class Answer>
MXHAL_UNCHECKED inline Result warp_collective(const char* name, unsigned mask, const Given& given, Answer answer) {
  static_assert(sizeof(Given) <= Warp::lane_bytes && sizeof(Result) <= Warp::lane_bytes);
  Warp& warp = this_warp();
  unsigned lane = state.thread % 32;
  memcpy(warp.given[lane], &given, sizeof given);
  if (arrive_at_warp(warp, name, mask)) {
    Given all[32];
    Result results[32];
    for (unsigned i = 0; i < 32; i++) memcpy(&all[i], warp.given[i], sizeof(Given));
    answer(all, results);
    for (unsigned i = 0; i < 32; i++) memcpy(warp.result[i], &results[i], sizeof(Result));
    release_warp(warp);
  }
  Result result;
  memcpy(&result, warp.result[lane], sizeof result);
  return result;
}

}  // namespace emulation

inline void __syncthreads() { emulation::wait_at_barrier(); }

inline void __syncwarp(unsigned mask = 0xffffffffu) {
  emulation::warp_collective<char>("__syncwarp", mask, char(0), [](const char*, char* results) {
    for (int i = 0; i < 32; i++) results[i] = 0;
  });
}

namespace emulation {

/// What a lane gives to a shuffle: its value, and whose it wants.
template <class T>
struct Shuffled {
  T value;
  unsigned from;
};

template <class T>
inline T shuffle(const char* name, unsigned mask, T value, unsigned from) {
  return warp_collective<T>(name, mask, Shuffled<T>{value, from}, [](const Shuffled<T>* all, T* results) {
    for (int i = 0; i < 32; i++) results[i] = all[all[i].from % 32].value;
  });
}

MXHAL_UNCHECKED inline unsigned lane() { return state.thread % 32; }

}  // namespace emulation

template <class T>
inline T __shfl_sync(unsigned mask, T value, unsigned source) {
  return emulation::shuffle("__shfl_sync", mask, value, source);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, unsigned bits) {
  return emulation::shuffle("__shfl_xor_sync", mask, value, emulation::lane() ^ bits);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  unsigned lane = emulation::lane();
  return emulation::shuffle("__shfl_up_sync", mask, value, lane >= by ? lane - by : lane);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return emulation::warp_collective<unsigned>("__ballot_sync", mask, predicate, [](const int* all, unsigned* results) {
    unsigned ballot = 0;
    for (int i = 0; i < 32; i++) ballot |= unsigned(all[i] != 0) << i;
    for (int i = 0; i < 32; i++) results[i] = ballot;
  });
}

// Fibers do not run at the same time, so a plain read and write is atomic; the checks are told that it is one.
template <class T>
MXHAL_UNCHECKED inline T atomicAdd(T* address, T value) {
  emulation::check_atomic(address, sizeof(T));
  T old = *address;
  *address = old + value;
  return old;
}
template <class T>
MXHAL_UNCHECKED inline T atomicMax(T* address, T value) {
  emulation::check_atomic(address, sizeof(T));
  T old = *address;
  *address = old < value ? value : old;
  return old;
}

inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
/// Four of the eight bytes of `low` and `high`, by the numbers in the selector's nibbles. Bit 3 of a number, which would
/// repeat a sign, is not emulated.
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  uint64_t bytes = uint64_t(high) << 32 | low;
  unsigned picked = 0;
  for (int i = 0; i < 4; i++) picked |= unsigned(bytes >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
  return picked;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(unsigned(bits)); }

template <class T>
inline T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
inline T max(T a, T b) {
  return a < b ? b : a;
}
