// What four warps fill a stage with where the tensor core has no scales: MXFP4 weights, widened to BF16 with theirs
// (widening.cuh, exactly). Each thread has a row of weights, whose codes it copies some stages ahead to a place that is its
// own. Activations are copied by one of them. See tensor_product.cuh.
#pragma once

#include "tensor_product.cuh"
#include "widening.cuh"

/// 32 weights of a row, in halves, to their four places of 16 bytes.
template <bool large>
__device__ __forceinline__ void widen_block(const uint4& codes, uint32_t scale, uint8_t* w, uint32_t row, uint32_t first_chunk) {
  uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
  uint32_t pairs[16];
#pragma unroll
  for (uint32_t word = 0; word < 4; word++) {
    uint32_t four[4];
    place_weights<true>(words[word], four);
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) pairs[pair_of<true>(word, i)] = four[i];
  }
  apply_scale<large>(block_scale(FORMAT_MXFP4, scale), pairs);
#pragma unroll
  for (uint32_t c = 0; c < 4; c++) {
    uint4 eight = {pairs[4 * c], pairs[4 * c + 1], pairs[4 * c + 2], pairs[4 * c + 3]};
    store_vector(w + swizzled<tensor_row_bytes>(row, first_chunk + c), eight);
  }
}

/// The fillers' part: stages in turn, each when it was emptied.
template <uint32_t rows, uint32_t blocks>
__device__ __forceinline__ void fill_stages(const TensorWork<Kind::BF16, blocks>& work, TensorShared<Kind::BF16, rows, blocks>& shared) {
  using Shared = TensorShared<Kind::BF16, rows, blocks>;
  constexpr uint32_t count = Shared::stage_count, ahead = Shared::ahead;
  constexpr uint32_t depth = TensorScheme<Kind::BF16>::depth;
  const ProductParameters& p = work.p;
  uint32_t column = work.first_column + threadIdx.x;
  uint64_t row = uint64_t(work.tile.group) * p.n + column;
  const uint8_t* codes = p.w + row * p.w_stride;
  const uint8_t* scale_bytes = p.w_scales + row * p.w_scales_stride;
  bool is_there = column < p.n;

  // Of what is not there no byte is read, wherever the address is.
  auto fetch = [&](uint32_t i) {
#pragma unroll
    for (uint32_t block = 0; block < 2; block++) {
      uint32_t at = i * depth + 32 * block;
      copy_async_16(&shared.codes[i % ahead][block][threadIdx.x], codes + at / 2, is_there && at < p.k ? 16 : 0);
    }
    // An empty group where there is nothing to fetch keeps the count of groups under way.
    copy_async_commit();
  };
  // Four scales, of two stages. Prepared weights have rows of a multiple of four.
  auto load_scales = [&](uint32_t i) {
    return is_there && i * depth < p.k ? load_vector<uint32_t>(scale_bytes + i * depth / 32) : 0;
  };
  for (uint32_t i = 0; i + 1 < ahead; i++) fetch(i);
  uint32_t scales = 0, next_scales = load_scales(0);
  for (uint32_t i = 0; i < work.depths(); i++) {
    fetch(i + ahead - 1);
    if (i % 2 == 0) {
      scales = next_scales;
      next_scales = load_scales(i + 2);
    }
    auto& stage = shared.stages[i % count];
    // The first round finds every stage empty.
    if (i >= count) wait_at(&shared.emptied[i % count], (i / count - 1) % 2);
    if (threadIdx.x == 0) copy_operands(work, i, stage, &shared.filled[i % count]);
    copy_async_wait<ahead - 1>();
#pragma unroll
    for (uint32_t block = 0; block < 2; block++) {
      uint32_t scale = scales >> (16 * (i % 2) + 8 * block) & 255;
      uint4 own = shared.codes[i % ahead][block][threadIdx.x];
      if (is_large_scale(FORMAT_MXFP4, scale)) {
        widen_block<true>(own, scale, stage.w, threadIdx.x, 4 * block);
      } else {
        widen_block<false>(own, scale, stage.w, threadIdx.x, 4 * block);
      }
    }
    fence_for_asynchronous_reads();
    arrive_at(&shared.filled[i % count]);
  }
  // Nothing is under way at the end.
  copy_async_wait<0>();
}
