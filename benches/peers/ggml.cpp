// Products and layers of experts with MXFP4 weights by ggml's CPU backend, on its fast path: weights in its repacked layout.
//
//   ggml dense|moe THREADS SECONDS wall|thread ROWS...
//
// Prints a line of JSON for each number of rows: {"work": "dense", "rows": 8, "seconds": 0.0011}, the median of what was
// measured in so many seconds; by the clock on the wall, or by the time that the only thread had a processor. Dense is 4096x4096, weights by turns from more than 256 MB; a layer is hidden 4096, inner 2048,
// 32 experts, 6 for a token, drawn anew for each run.

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

namespace {

constexpr int64_t kHidden = 4096, kInner = 2048, kExperts = 32, kTopK = 6, kDense = 4096;
constexpr size_t kCycledBytes = size_t{256} << 20;

std::mt19937 random_bits(1);

clockid_t measuring_clock = CLOCK_MONOTONIC;

double seconds_of(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

double now() { return seconds_of(measuring_clock); }

[[noreturn]] void fail(const std::string& what) {
  fprintf(stderr, "ggml: %s\n", what.c_str());
  exit(1);
}

// The buffer type whose layout the fast kernels read.
ggml_backend_buffer_type_t repacked() {
  auto device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  auto find = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
      ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
  for (auto type = find ? find(device) : nullptr; type && *type; ++type) {
    if (std::string(ggml_backend_buft_name(*type)).find("REPACK") != std::string::npos) return *type;
  }
  fail("this build has no repacked layout");
}

ggml_context* context(size_t tensors) {
  ggml_init_params parameters{
      ggml_tensor_overhead() * tensors + ggml_graph_overhead_custom(tensors, false), nullptr, true};
  auto made = ggml_init(parameters);
  if (!made) fail("no memory for a context");
  return made;
}

void fill(ggml_tensor* tensor) {
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(ggml_nelements(tensor));
  for (auto& value : values) value = normal(random_bits);
  ggml_backend_tensor_set(tensor, values.data(), 0, values.size() * sizeof(float));
}

// Some random rows, over and over.
void fill_weights(ggml_tensor* weights) {
  const int64_t k = weights->ne[0], rows = weights->ne[1] * weights->ne[2], some = std::min<int64_t>(rows, 256);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> values(k * some);
  for (auto& value : values) value = normal(random_bits);
  const size_t row = ggml_row_size(weights->type, k);
  std::vector<uint8_t> packed(row * some), all(row * rows);
  ggml_quantize_chunk(weights->type, values.data(), packed.data(), 0, some, k, nullptr);
  for (int64_t r = 0; r < rows; ++r) memcpy(&all[r * row], &packed[r * 37 % some * row], row);
  ggml_backend_tensor_set(weights, all.data(), 0, all.size());
}

// The median of what `run` gives: seconds of a run.
template <class Run>
double median(double seconds, Run run) {
  run();
  std::vector<double> samples;
  const double start = seconds_of(CLOCK_MONOTONIC);
  while (samples.size() < 3 || seconds_of(CLOCK_MONOTONIC) - start < seconds) samples.push_back(run());
  std::nth_element(samples.begin(), samples.begin() + samples.size() / 2, samples.end());
  return samples[samples.size() / 2];
}

void report(const char* work, int64_t rows, double seconds) {
  printf("{\"work\": \"%s\", \"rows\": %lld, \"seconds\": %.9g}\n", work, static_cast<long long>(rows), seconds);
  fflush(stdout);
}

void dense(ggml_backend_t backend, double seconds, const std::vector<int64_t>& all_rows) {
  const size_t count = kCycledBytes / (ggml_row_size(GGML_TYPE_MXFP4, kDense) * kDense) + 1;
  auto held = context(count + 4);
  std::vector<ggml_tensor*> weights;
  for (size_t i = 0; i < count; ++i) weights.push_back(ggml_new_tensor_2d(held, GGML_TYPE_MXFP4, kDense, kDense));
  if (!ggml_backend_alloc_ctx_tensors_from_buft(held, repacked())) fail("no memory for weights");
  for (auto each : weights) fill_weights(each);
  for (int64_t rows : all_rows) {
    // One graph for each matrix, so that a sample is one product.
    std::vector<ggml_cgraph*> graphs;
    auto run_context = context(4 * count + 64 * count);
    auto x = ggml_new_tensor_2d(run_context, GGML_TYPE_F32, kDense, rows);
    for (auto each : weights) {
      graphs.push_back(ggml_new_graph_custom(run_context, 8, false));
      ggml_build_forward_expand(graphs.back(), ggml_mul_mat(run_context, each, x));
    }
    auto buffer = ggml_backend_alloc_ctx_tensors_from_buft(run_context, ggml_backend_cpu_buffer_type());
    if (!buffer) fail("no memory for tensors");
    fill(x);
    size_t turn = 0;
    report("dense", rows, median(seconds, [&] {
             const double start = now();
             ggml_backend_graph_compute(backend, graphs[turn++ % count]);
             return now() - start;
           }));
    ggml_backend_buffer_free(buffer);
    ggml_free(run_context);
  }
}

void moe(ggml_backend_t backend, double seconds, const std::vector<int64_t>& all_tokens) {
  auto held = context(8);
  auto gate = ggml_new_tensor_3d(held, GGML_TYPE_MXFP4, kHidden, kInner, kExperts);
  auto up = ggml_new_tensor_3d(held, GGML_TYPE_MXFP4, kHidden, kInner, kExperts);
  auto down = ggml_new_tensor_3d(held, GGML_TYPE_MXFP4, kInner, kHidden, kExperts);
  if (!ggml_backend_alloc_ctx_tensors_from_buft(held, repacked())) fail("no memory for weights");
  for (auto each : {gate, up, down}) fill_weights(each);
  for (int64_t tokens : all_tokens) {
    auto c = context(256);
    auto x = ggml_new_tensor_3d(c, GGML_TYPE_F32, kHidden, 1, tokens);
    auto ids = ggml_new_tensor_2d(c, GGML_TYPE_I32, kTopK, tokens);
    auto weights = ggml_new_tensor_3d(c, GGML_TYPE_F32, 1, kTopK, tokens);
    auto graph = ggml_new_graph_custom(c, 128, false);
    auto gates = ggml_mul_mat_id(c, gate, x, ids), ups = ggml_mul_mat_id(c, up, x, ids);
    auto rows = ggml_mul_mat_id(c, down, ggml_swiglu_split(c, gates, ups), ids);
    rows = ggml_mul(c, rows, weights);
    ggml_tensor* sum = nullptr;
    for (int64_t slot = 0; slot < kTopK; ++slot) {
      auto view = ggml_view_2d(c, rows, kHidden, tokens, rows->nb[2], slot * rows->nb[1]);
      sum = sum ? ggml_add(c, sum, view) : view;
    }
    ggml_build_forward_expand(graph, sum);
    auto buffer = ggml_backend_alloc_ctx_tensors_from_buft(c, ggml_backend_cpu_buffer_type());
    if (!buffer) fail("no memory for tensors");
    fill(x);
    fill(weights);
    std::vector<int32_t> experts(kExperts), chosen(kTopK * tokens);
    std::iota(experts.begin(), experts.end(), 0);
    report("moe", tokens, median(seconds, [&] {
             for (int64_t token = 0; token < tokens; ++token) {
               std::shuffle(experts.begin(), experts.end(), random_bits);
               std::copy_n(experts.begin(), kTopK, &chosen[token * kTopK]);
             }
             ggml_backend_tensor_set(ids, chosen.data(), 0, chosen.size() * sizeof(int32_t));
             const double start = now();
             ggml_backend_graph_compute(backend, graph);
             return now() - start;
           }));
    ggml_backend_buffer_free(buffer);
    ggml_free(c);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 6) fail("usage: ggml dense|moe THREADS SECONDS wall|thread ROWS...");
  const std::string work = arguments[1];
  const int threads = atoi(arguments[2]);
  const double seconds = atof(arguments[3]);
  if (std::string(arguments[4]) == "thread") {
    if (threads != 1) fail("`thread` is for one thread");
    measuring_clock = CLOCK_THREAD_CPUTIME_ID;
  }
  std::vector<int64_t> rows;
  for (int i = 5; i < count; ++i) rows.push_back(atoll(arguments[i]));
  if (threads < 1 || seconds <= 0 || *std::min_element(rows.begin(), rows.end()) < 1) fail("numbers are positive");
  auto backend = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr);
  if (!backend) fail("no CPU backend");
  ggml_backend_cpu_set_n_threads(backend, threads);
  if (work == "dense") {
    dense(backend, seconds, rows);
  } else if (work == "moe") {
    moe(backend, seconds, rows);
  } else {
    fail("`" + work + "` is neither dense nor moe");
  }
}
