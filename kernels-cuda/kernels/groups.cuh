// Which rows a tile of a grouped product has.
#pragma once

#include "device.cuh"

/// Rows of one group; none where the launch had more tiles than the counts fill.
struct Tile {
  uint32_t group;
  uint32_t row;
  uint32_t rows;
};

/// Tile `index` of those into which every group's rows are cut; `counts` is null for a product of one group.
///
/// Each warp finds it for itself, the groups 32 at a time. A launch has at most min(m, groups + m / tile_rows) tiles.
__device__ __forceinline__ Tile find_tile(const int32_t* counts, uint32_t groups, uint32_t m, uint32_t index,
                                          uint32_t tile_rows) {
  if (counts == nullptr) {
    uint32_t row = index * tile_rows;
    return {0, row, row < m ? min(tile_rows, m - row) : 0};
  }
  uint32_t lane = threadIdx.x % 32;
  uint32_t tiles_before = 0, rows_before = 0;
  for (uint32_t first = 0; first < groups; first += 32) {
    uint32_t count = first + lane < groups ? uint32_t(max(counts[first + lane], 0)) : 0;
    uint32_t tiles = (count + tile_rows - 1) / tile_rows;
    uint32_t tiles_to = tiles, rows_to = count;
    for (uint32_t by = 1; by < 32; by *= 2) {
      uint32_t more_tiles = __shfl_up_sync(whole_warp, tiles_to, by);
      uint32_t more_rows = __shfl_up_sync(whole_warp, rows_to, by);
      if (lane >= by) tiles_to += more_tiles, rows_to += more_rows;
    }
    uint32_t ballot = __ballot_sync(whole_warp, tiles_before + tiles_to > index);
    if (ballot != 0) {
      uint32_t found = uint32_t(__ffs(int(ballot)) - 1);
      uint32_t within = (index - tiles_before - __shfl_sync(whole_warp, tiles_to - tiles, found)) * tile_rows;
      uint32_t row = rows_before + __shfl_sync(whole_warp, rows_to - count, found) + within;
      uint32_t rows = min(tile_rows, __shfl_sync(whole_warp, count, found) - within);
      // Counts that sum to more than m are the caller's fault: no row beyond is touched.
      return {first + found, row, row < m ? min(rows, m - row) : 0};
    }
    tiles_before += __shfl_sync(whole_warp, tiles_to, 31);
    rows_before += __shfl_sync(whole_warp, rows_to, 31);
  }
  return {0, 0, 0};
}
