// What the programs of this folder share: an error of CUDA's ends them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <cuda_runtime.h>

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
  exit(1);
}
#define CHECK(call) check(call, #call)

/// splitmix64
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
};

/// What a program that compares ends with.
inline int wrong = 0;

/// A line for what was compared.
inline void report(const char* what, size_t differ, size_t of) {
  printf("%-28s %zu of %zu differ\n", what, differ, of);
  wrong |= differ != 0;
}

/// A copy of the values on the device, or room for as many.
template <class T>
T* on_device(const std::vector<T>& values) {
  T* copy;
  CHECK(cudaMalloc(&copy, values.size() * sizeof(T)));
  CHECK(cudaMemcpy(copy, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  return copy;
}
template <class T>
std::vector<T> back(const T* from, size_t count) {
  std::vector<T> values(count);
  CHECK(cudaGetLastError());
  CHECK(cudaMemcpy(values.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost));
  return values;
}
