// Router logits to expert ids and weights: one warp for a token, in float64.
//
// Float64 costs little here (a score for each expert and token) and keeps the choice clear of rounding. A NaN ranks
// above every number, and a lower id above a higher one with the same score. Given ids that are no expert's get
// weight 0 and count for nothing.
#include "device.cuh"
#include "parameters.h"

/// The numbers of mxhal_score.
enum Score : uint32_t {
  SCORE_SOFTMAX = 1,
  SCORE_SIGMOID = 2,
  SCORE_SQRT_SOFTPLUS = 3,
  SCORE_SOFTMAX_OF_CHOSEN = 4,
};

__device__ __forceinline__ double warp_sum(double value) {
  for (uint32_t bit = 16; bit != 0; bit /= 2) value += __shfl_xor_sync(whole_warp, value, bit);
  return value;
}

__device__ __forceinline__ double warp_max(double value) {
  for (uint32_t bit = 16; bit != 0; bit /= 2) value = fmax(value, __shfl_xor_sync(whole_warp, value, bit));
  return value;
}

/// Whether the first of two candidates is the better one.
__device__ __forceinline__ bool is_better(double key, uint32_t id, double other_key, uint32_t other_id) {
  bool is_nan = key != key, other_is_nan = other_key != other_key;
  if (is_nan != other_is_nan) return is_nan;
  if (!is_nan && key != other_key) return key > other_key;
  return id < other_id;
}

/// Scores of all experts, in shared memory.
__device__ __forceinline__ void score_experts(const RouteParameters& p, const float* logits, double* scores) {
  uint32_t lane = threadIdx.x;
  double largest = 0.0, sum = 1.0;
  if (p.score == SCORE_SOFTMAX) {
    largest = -INFINITY;
    for (uint32_t id = lane; id < p.experts; id += 32) largest = fmax(largest, double(logits[id]));
    largest = warp_max(largest);
    sum = 0.0;
    for (uint32_t id = lane; id < p.experts; id += 32) sum += exp(double(logits[id]) - largest);
    sum = warp_sum(sum);
  }
  for (uint32_t id = lane; id < p.experts; id += 32) {
    double logit = double(logits[id]);
    switch (p.score) {
      case SCORE_SOFTMAX:
        scores[id] = exp(logit - largest) / sum;
        break;
      case SCORE_SIGMOID:
        scores[id] = 1.0 / (1.0 + exp(-logit));
        break;
      case SCORE_SQRT_SOFTPLUS:
        // As PyTorch's softplus, which is the identity above 20.
        scores[id] = sqrt(logit > 20.0 ? logit : log1p(exp(logit)));
        break;
      default:
        scores[id] = logit;
    }
  }
  __syncwarp();
}

/// The scores and ids of the best experts, in order. A candidate that was taken is marked in `taken`.
__device__ __forceinline__ void take_best(const RouteParameters& p, const double* scores, uint32_t* taken,
                                          double* chosen, int32_t* ids) {
  uint32_t lane = threadIdx.x;
  for (uint32_t id = lane; id < p.experts; id += 32) taken[id] = 0;
  for (uint32_t slot = 0; slot < p.top_k; slot++) {
    double best_key = 0.0;
    uint32_t best = UINT32_MAX;
    for (uint32_t id = lane; id < p.experts; id += 32) {
      if (taken[id]) continue;
      double key = scores[id] + (p.bias == nullptr ? 0.0 : double(p.bias[id]));
      if (best == UINT32_MAX || is_better(key, id, best_key, best)) best_key = key, best = id;
    }
    for (uint32_t bit = 16; bit != 0; bit /= 2) {
      double key = __shfl_xor_sync(whole_warp, best_key, bit);
      uint32_t id = __shfl_xor_sync(whole_warp, best, bit);
      if (id != UINT32_MAX && (best == UINT32_MAX || is_better(key, id, best_key, best))) best_key = key, best = id;
    }
    // There are at least as many experts as slots, so that somebody was found; each lane looks after its own.
    if (best % 32 == lane) taken[best] = 1;
    if (lane == 0) {
      chosen[slot] = scores[best];
      ids[slot] = int32_t(best);
    }
  }
}

/// One block of one warp for a token. Dynamic shared memory: route_shared_bytes in src/launch.rs.
extern "C" __global__ void __launch_bounds__(32) route(const __grid_constant__ RouteParameters p) {
  uint64_t token = blockIdx.x;
  uint32_t lane = threadIdx.x;
  double* scores = dynamic_shared<double>();
  double* chosen = scores + p.experts;
  uint32_t* taken = reinterpret_cast<uint32_t*>(chosen + p.top_k);
  int32_t* ids = p.ids + token * p.top_k;
  float* weights = p.weights + token * p.top_k;
  const float* logits = p.logits + token * p.experts;

  score_experts(p, logits, scores);
  if (p.ids_given == nullptr) {
    take_best(p, scores, taken, chosen, ids);
    __syncwarp();
  } else {
    for (uint32_t slot = lane; slot < p.top_k; slot += 32) {
      int32_t id = p.ids_given[token * p.top_k + slot];
      bool is_expert = id >= 0 && uint32_t(id) < p.experts;
      double nobody = p.score == SCORE_SOFTMAX_OF_CHOSEN ? -INFINITY : 0.0;
      chosen[slot] = is_expert ? scores[id] : nobody;
      ids[slot] = id;
    }
    __syncwarp();
  }
  if (p.score == SCORE_SOFTMAX_OF_CHOSEN) {
    double largest = -INFINITY, sum = 0.0;
    for (uint32_t slot = lane; slot < p.top_k; slot += 32) largest = fmax(largest, chosen[slot]);
    largest = warp_max(largest);
    for (uint32_t slot = lane; slot < p.top_k; slot += 32) {
      chosen[slot] = exp(chosen[slot] - largest);
      sum += chosen[slot];
    }
    sum = warp_sum(sum);
    for (uint32_t slot = lane; slot < p.top_k; slot += 32) chosen[slot] /= sum;
  }
  double sum = 0.0;
  for (uint32_t slot = lane; slot < p.top_k; slot += 32) sum += chosen[slot];
  sum = p.renormalize ? warp_sum(sum) : 1.0;
  for (uint32_t slot = lane; slot < p.top_k; slot += 32) {
    bool is_nobody = p.ids_given != nullptr && (ids[slot] < 0 || uint32_t(ids[slot]) >= p.experts);
    weights[slot] = is_nobody ? 0.0f : float(chosen[slot] / sum * double(p.scale));
  }
}
MXHAL_KERNEL(route)
