// What the device can do: a copy of 2 GiB, and cuBLAS's BF16 product of 4096 rows and of 8192 cubed. One JSON object.
//
//   nvcc -O3 ceilings.cu -lcublas -o ceilings
//
// Where there is no cuBLAS, the copy alone: with -DWITHOUT_CUBLAS instead of -lcublas.
#ifndef WITHOUT_CUBLAS
#include <cuda_bf16.h>
#include <cublas_v2.h>
#endif

#include <algorithm>
#include <vector>

#include "program.h"

/// Sixteen bytes a thread at a time, four under way.
__global__ void __launch_bounds__(256) copy(const uint4* from, uint4* to, size_t count) {
  size_t at = size_t(blockIdx.x) * 1024 + threadIdx.x;
  uint4 values[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (at + i * 256 < count) values[i] = from[at + i * 256];
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (at + i * 256 < count) to[at + i * 256] = values[i];
  }
}

/// The median of many runs, in seconds.
template <class Run>
double median(Run run) {
  cudaEvent_t before, after;
  CHECK(cudaEventCreate(&before));
  CHECK(cudaEventCreate(&after));
  std::vector<float> times(25);
  for (int i = -3; i < int(times.size()); i++) {
    CHECK(cudaEventRecord(before));
    run();
    CHECK(cudaEventRecord(after));
    CHECK(cudaEventSynchronize(after));
    if (i >= 0) CHECK(cudaEventElapsedTime(&times[i], before, after));
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2] / 1e3;
}

/// Bytes read and written in a second.
double copy_rate() {
  size_t bytes = size_t(1) << 31, count = bytes / 16;
  uint4 *from, *to;
  CHECK(cudaMalloc(&from, bytes));
  CHECK(cudaMalloc(&to, bytes));
  CHECK(cudaMemset(from, 0x5a, bytes));
  double seconds = median([&] { copy<<<unsigned((count + 1023) / 1024), 256>>>(from, to, count); });
  CHECK(cudaGetLastError());
  CHECK(cudaFree(from));
  CHECK(cudaFree(to));
  return 2.0 * double(bytes) / seconds;
}

#ifndef WITHOUT_CUBLAS
/// Random numbers between -1 and 1: zeros would be multiplied faster.
__global__ void fill(__nv_bfloat16* values, size_t count) {
  size_t at = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  uint32_t hash = uint32_t(at) * 2654435761u;
  hash = (hash ^ hash >> 15) * 2246822519u;
  if (at < count) values[at] = __float2bfloat16(float(hash >> 8) / 8388608.0f - 1.0f);
}

void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fprintf(stderr, "%s: %s\n", what, cublasGetStatusString(status));
  exit(1);
}

/// Operations in a second.
double product_rate(cublasHandle_t handle, int m, int n, int k) {
  __nv_bfloat16 *a, *b, *c;
  CHECK(cudaMalloc(&a, size_t(m) * k * 2));
  CHECK(cudaMalloc(&b, size_t(n) * k * 2));
  CHECK(cudaMalloc(&c, size_t(m) * n * 2));
  fill<<<unsigned((size_t(m) * k + 255) / 256), 256>>>(a, size_t(m) * k);
  fill<<<unsigned((size_t(n) * k + 255) / 256), 256>>>(b, size_t(n) * k);
  float one = 1, zero = 0;
  double seconds = median([&] {
    check(cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, b, CUDA_R_16BF, k, a, CUDA_R_16BF, k, &zero, c, CUDA_R_16BF, n,
                       CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
          "cublasGemmEx");
  });
  CHECK(cudaFree(a));
  CHECK(cudaFree(b));
  CHECK(cudaFree(c));
  return 2.0 * m * n * k / seconds;
}
#endif

int main() {
  cudaDeviceProp device;
  CHECK(cudaGetDeviceProperties(&device, 0));
  double copied = copy_rate();
#ifndef WITHOUT_CUBLAS
  cublasHandle_t handle;
  check(cublasCreate(&handle), "cublasCreate");
  double of_4096 = product_rate(handle, 4096, 4096, 4096), large = product_rate(handle, 8192, 8192, 8192);
#endif
  printf("{\"device\": \"%s\", \"multiprocessors\": %d, ", device.name, device.multiProcessorCount);
#ifndef WITHOUT_CUBLAS
  printf("\"bf16_4096_flops\": %.4g, \"bf16_8192_flops\": %.4g, ", of_4096, large);
#endif
  printf("\"copy_bytes_per_second\": %.4g}\n", copied);
  return 0;
}
