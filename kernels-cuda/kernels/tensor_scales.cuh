// What four warps fill a stage with where the tensor core has scales: those of weights and activations, scattered to the tiles
// that tensor memory wants. Operands are copied by one of their threads. See tensor_product.cuh.
#pragma once

#include "tensor_product.cuh"

/// One filler of scales: those of a row of weights, and of activations those of every 128th row.
template <Kind kind, uint32_t rows, uint32_t blocks>
struct Filler {
  using Scheme = TensorScheme<kind>;
  using Stage = TensorStage<kind, rows, blocks>;

  const TensorWork<kind, blocks>& work;
  /// From the beginning of K on.
  const uint8_t* w_scales;
  const uint8_t* a_scales;
  bool has_column;
  uint32_t place;
  /// Scales of the activations that cannot be copied: those of the stage that is filled next, on their way meanwhile.
  uint32_t ahead[Stage::scale_tiles][Stage::row_tiles];

  __device__ __forceinline__ explicit Filler(const TensorWork<kind, blocks>& given) : work(given) {
    const ProductParameters& p = work.p;
    // A tile of scales has a row for each filler.
    uint32_t column = work.first_column + threadIdx.x;
    has_column = column < p.n;
    w_scales = p.w_scales + (uint64_t(work.tile.group) * p.n + column) * p.w_scales_stride;
    a_scales = p.a_scales + (uint64_t(work.tile.row) + threadIdx.x) * p.a_scales_stride;
    place = threadIdx.x % 32 * 4 + threadIdx.x / 32;
    look_ahead(0);
  }

  /// Begins the copies of the scales that are from `begin` on, and stores those that cannot be copied. Nobody waits. Of
  /// what is not there no byte is read, wherever the address is.
  __device__ __forceinline__ void fill(uint32_t begin, Stage& stage) {
    const ProductParameters& p = work.p;
#pragma unroll
    for (uint32_t i = 0; i < Stage::scale_tiles; i++) {
      uint32_t at = begin + i * 4 * Scheme::scale_block;
      // Prepared weights have rows of scales of a multiple of four.
      copy_async_4(&stage.w_scales[i].words[place], w_scales + at / Scheme::scale_block, has_column && at < p.k ? 4 : 0);
#pragma unroll
      for (uint32_t j = 0; j < Stage::row_tiles; j++) {
        uint32_t* to = &stage.a_scales[i][j].words[place];
        if (work.copies_scales) {
          copy_async_4(to, a_scales_of(j) + at / work.a_word_depth() * 4, has_row(j) && at < p.k ? 4 : 0);
        } else {
          *to = ahead[i][j];
        }
      }
    }
    look_ahead(begin + Scheme::depth);
  }

  __device__ __forceinline__ bool has_row(uint32_t tile) const { return tile * 128 + threadIdx.x < work.tile.rows; }
  __device__ __forceinline__ const uint8_t* a_scales_of(uint32_t tile) const { return a_scales + tile * 128 * work.p.a_scales_stride; }

  __device__ __forceinline__ void look_ahead(uint32_t begin) {
    if (work.copies_scales) return;
#pragma unroll
    for (uint32_t i = 0; i < Stage::scale_tiles; i++) {
      uint32_t at = begin + i * 4 * Scheme::scale_block;
#pragma unroll
      for (uint32_t j = 0; j < Stage::row_tiles; j++) {
        ahead[i][j] = has_row(j) && at < work.p.k ? load_scales(a_scales_of(j), at) : 0;
      }
    }
  }

  /// Four scales of a row of activations, byte by byte, from the block on that begins at `at`.
  __device__ __forceinline__ uint32_t load_scales(const uint8_t* row, uint32_t at) const {
    if (work.p.a_format == FORMAT_MXFP8_G128) return row[at / 128] * 0x01010101u;
    uint32_t scales = 0;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
      if (at + i * Scheme::scale_block < work.p.k) scales |= uint32_t(row[at / Scheme::scale_block + i]) << (8 * i);
    }
    return scales;
  }
};

/// The fillers' part: stages in turn, each when it was emptied, and told of when its copies are there.
template <Kind kind, uint32_t rows, uint32_t blocks>
__device__ __forceinline__ void fill_stages(const TensorWork<kind, blocks>& work, TensorShared<kind, rows, blocks>& shared) {
  Filler<kind, rows, blocks> filler(work);
  uint32_t depths = work.depths();
  constexpr uint32_t count = TensorShared<kind, rows, blocks>::stage_count;
  // Stages whose copies are under way while the next is begun.
  constexpr uint32_t lag = count - 1;
  for (uint32_t i = 0; i < depths + lag; i++) {
    if (i < depths) {
      // The first round finds every stage empty.
      if (i >= count) wait_at(&shared.emptied[i % count], (i / count - 1) % 2);
      if (threadIdx.x == 0) copy_operands(work, i, shared.stages[i % count], &shared.filled[i % count]);
      filler.fill(i * TensorScheme<kind>::depth, shared.stages[i % count]);
    }
    // An empty group where there is nothing to fill keeps the count of groups under way.
    copy_async_commit();
    if (i >= lag) {
      copy_async_wait<lag>();
      fence_for_asynchronous_reads();
      arrive_at(&shared.filled[(i - lag) % count]);
    }
  }
}
