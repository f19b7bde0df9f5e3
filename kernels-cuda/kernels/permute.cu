// Tokens to rows in order of expert, stable in (token, slot). Three kernels, one after the other: count, place, rows.
//
// A warp looks after one expert and reads all ids, 32 at a time: their order gives the order of its rows, and no
// atomic operation can disturb it.
#include "device.cuh"
#include "experts.cuh"
#include "memory.cuh"
#include "parameters.h"

__device__ __forceinline__ int32_t expert_of(const PermuteParameters& p, uint32_t slot) {
  return local_expert(p.ids[slot], p.expert_map, p.mapped, p.experts);
}

/// Counts the rows of each expert, and says of every slot and row that nothing is there yet.
extern "C" __global__ void __launch_bounds__(256) permute_count(const __grid_constant__ PermuteParameters p) {
  uint32_t lane = threadIdx.x % 32;
  uint32_t warps = blockDim.x / 32;
  for (uint32_t slot = blockIdx.x * blockDim.x + threadIdx.x; slot < p.slots; slot += gridDim.x * blockDim.x) {
    p.positions[slot] = -1;
    p.source[slot] = -1;
  }
  uint32_t expert = blockIdx.x * warps + threadIdx.x / 32;
  if (expert >= p.experts) return;
  int32_t count = 0;
  for (uint32_t first = 0; first < p.slots; first += 32) {
    uint32_t slot = first + lane;
    bool mine = slot < p.slots && expert_of(p, slot) == int32_t(expert);
    count += __popc(__ballot_sync(whole_warp, mine));
  }
  if (lane == 0) p.counts[expert] = count;
}
MXHAL_KERNEL(permute_count)

/// Says where each slot's row goes, and where each row comes from.
extern "C" __global__ void __launch_bounds__(256) permute_place(const __grid_constant__ PermuteParameters p) {
  uint32_t lane = threadIdx.x % 32;
  uint32_t expert = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (expert >= p.experts) return;
  int32_t row = 0;
  for (uint32_t before = lane; before < expert; before += 32) row += p.counts[before];
  for (uint32_t bit = 16; bit != 0; bit /= 2) row += __shfl_xor_sync(whole_warp, row, bit);
  for (uint32_t first = 0; first < p.slots; first += 32) {
    uint32_t slot = first + lane;
    bool mine = slot < p.slots && expert_of(p, slot) == int32_t(expert);
    uint32_t ballot = __ballot_sync(whole_warp, mine);
    if (mine) {
      int32_t at = row + __popc(ballot & ((1u << lane) - 1));
      p.positions[slot] = at;
      p.source[at] = int32_t(slot);
    }
    row += __popc(ballot);
  }
}
MXHAL_KERNEL(permute_place)

/// `bytes` from one row to another, in units that both begin and end on.
template <class Unit>
__device__ __forceinline__ void copy_units(uint8_t* to, const uint8_t* from, uint64_t bytes) {
  for (uint64_t at = threadIdx.x * sizeof(Unit); at < bytes; at += blockDim.x * sizeof(Unit)) {
    store_vector(to + at, load_vector<Unit>(from + at));
  }
}

/// Copies data, scales and factors of each row, and its weight; one block of threads for a row.
extern "C" __global__ void __launch_bounds__(128) permute_rows(const __grid_constant__ PermuteRowsParameters p) {
  uint64_t row = blockIdx.x;
  int32_t slot = p.source[row];
  if (slot < 0) return;
  uint64_t token = uint32_t(slot) / p.top_k;
#pragma unroll
  for (int part = 0; part < 3; part++) {
    uint64_t bytes = p.bytes[part];
    if (bytes == 0) continue;
    uint8_t* to = p.to[part] + row * bytes;
    const uint8_t* from = p.from[part] + token * bytes;
    if (bytes % 16 == 0) {
      copy_units<uint4>(to, from, bytes);
    } else if (bytes % 4 == 0) {
      copy_units<uint32_t>(to, from, bytes);
    } else {
      copy_units<uint8_t>(to, from, bytes);
    }
  }
  if (p.row_weights != nullptr && threadIdx.x == 0) p.row_weights[row] = p.weights[slot];
}
MXHAL_KERNEL(permute_rows)
