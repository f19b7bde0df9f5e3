// The model of a warpgroup's matrix instructions. Each warp is modelled by itself, as its rows are its own.
//
// An instruction takes place when its group is waited for. Until then its accumulators hold a NaN, so that who reads
// them too early gets one, and must still hold it when it takes place; registers and shared memory that it reads must
// be as they were when it was issued. Every group begins with a fence: stricter than the hardware, which wants one
// only where registers were touched in between.
#pragma once

#include "bf16_sum.h"
#include "emulation.h"

namespace model {

constexpr int wgmma_most_columns = 128;
constexpr unsigned wgmma_most_under_way = 16;

/// The accumulators of a warp, while instructions are under way that add to them.
struct Accumulators {
  float* lanes[32];
  unsigned under_way;
  float values[32][wgmma_most_columns / 2];
};

struct WgmmaGiven {
  float* d;
  const uint32_t* a;
  uint64_t b;
};

/// One instruction of a warp.
struct Wgmma {
  Accumulators* to;
  WgmmaGiven given[32];
  int columns;
  unsigned group;
  uint32_t a[32][4];
  /// Rows of 16 BF16, and where in shared memory each half of each row lies.
  uint8_t b[wgmma_most_columns][2][16];
  uint32_t b_at[wgmma_most_columns][2];
};

/// What one warp has under way, in order. Plain memory, as what belongs to the emulation is not to be looked at.
struct WgmmaQueue {
  Wgmma ops[wgmma_most_under_way];
  Accumulators accumulators[wgmma_most_under_way];
  unsigned first;
  unsigned committed;
  bool fenced;

  MXHAL_UNCHECKED Wgmma& at(unsigned place) { return ops[(first + place) % wgmma_most_under_way]; }
};

constexpr uint32_t wgmma_poison = 0x7fe5a5a5;

MXHAL_UNCHECKED inline WgmmaQueue& wgmma_queue() {
  return *static_cast<WgmmaQueue*>(emulation::memory_of_warp(sizeof(WgmmaQueue)));
}

/// Where 16-byte half `half` of row `row` lies, as a descriptor has it.
MXHAL_UNCHECKED inline uint32_t wgmma_address(uint64_t descriptor, uint32_t row, uint32_t half) {
  uint32_t start = uint32_t(descriptor & 0x3fff) << 4, groups = uint32_t(descriptor >> 32 & 0x3fff) << 4;
  if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) {
    emulation::fault("wgmma: descriptor %#llx: only 128-byte swizzle with base offset 0 is modelled", (unsigned long long)descriptor);
  }
  // Bits 4 to 6 of the address are exchanged by bits 7 to 9.
  uint32_t address = start + row / 8 * groups + row % 8 * 128 + half * 16;
  return address ^ (address >> 3 & 0x70);
}

MXHAL_UNCHECKED inline Accumulators* accumulators_of(WgmmaQueue& queue, const WgmmaGiven* all, int columns) {
  unsigned under_way = emulation::this_warp().under_way;
  for (unsigned i = 0; i < under_way; i++) {
    if (queue.at(i).to->lanes[0] == all[0].d) return queue.at(i).to;
  }
  Accumulators* to = queue.accumulators;
  // Of a block that ended with a fault some may still be marked: those that nothing under way adds to are free.
  for (bool taken = true; taken; to += taken) {
    taken = false;
    for (unsigned i = 0; i < under_way; i++) taken |= queue.at(i).to == to;
  }
  to->under_way = 0;
  for (int lane = 0; lane < 32; lane++) {
    to->lanes[lane] = all[lane].d;
    memcpy(to->values[lane], all[lane].d, 2 * columns);
    for (int i = 0; i < columns / 2; i++) memcpy(&all[lane].d[i], &wgmma_poison, 4);
  }
  return to;
}

MXHAL_UNCHECKED inline void issue_wgmma(const WgmmaGiven* all, int columns) {
  WgmmaQueue& queue = wgmma_queue();
  unsigned& under_way = emulation::this_warp().under_way;
  if (!queue.fenced) emulation::fault("wgmma without wgmma.fence at the beginning of its group");
  if (under_way == wgmma_most_under_way) emulation::fault("wgmma: %u under way, more than the model holds", under_way);
  Wgmma& op = queue.at(under_way);
  memcpy(op.given, all, sizeof op.given);
  op.columns = columns;
  op.group = queue.committed;
  for (int lane = 0; lane < 32; lane++) {
    if (all[lane].b != all[0].b) emulation::fault("wgmma: lane %d has another descriptor than lane 0", lane);
    memcpy(op.a[lane], all[lane].a, 16);
  }
  for (int row = 0; row < columns; row++) {
    for (int half = 0; half < 2; half++) {
      op.b_at[row][half] = wgmma_address(all[0].b, row, half);
      const unsigned char* from = emulation::shared_at(op.b_at[row][half], emulation::cluster_rank());
      emulation::check_operation_reads(from, 16, 0, "wgmma");
      memcpy(op.b[row][half], from, 16);
    }
  }
  op.to = accumulators_of(queue, all, columns);
  op.to->under_way++;
  under_way++;
}

MXHAL_UNCHECKED inline void carry_out(const Wgmma& op) {
  Accumulators& to = *op.to;
  for (int lane = 0; lane < 32; lane++) {
    if (memcmp(op.a[lane], op.given[lane].a, 16) != 0) {
      emulation::fault("wgmma: lane %d overwrote registers of A before the group was waited for", lane);
    }
    for (int i = 0; i < op.columns / 2; i++) {
      if (memcmp(&to.lanes[lane][i], &wgmma_poison, 4) != 0) {
        emulation::fault("wgmma: lane %d wrote accumulator %d before the group was waited for", lane, i);
      }
    }
  }
  Bf16Row b[wgmma_most_columns];
  for (int row = 0; row < op.columns; row++) {
    for (int half = 0; half < 2; half++) {
      const unsigned char* from = emulation::shared_at(op.b_at[row][half], emulation::cluster_rank());
      emulation::check_read(from, 16);
      if (memcmp(from, op.b[row][half], 16) != 0) {
        emulation::fault("wgmma: offset %u of shared memory was overwritten before the group was waited for", op.b_at[row][half]);
      }
    }
    b[row] = bf16_row(op.b[row][0]);
  }
  for (int m = 0; m < 16; m++) {
    uint8_t bytes[32];
    for (int q = 0; q < 4; q++) {
      for (int half = 0; half < 2; half++) memcpy(bytes + 16 * half + 4 * q, &op.a[m % 8 * 4 + q][m / 8 + 2 * half], 4);
    }
    Bf16Row a = bf16_row(bytes);
    for (int n = 0; n < op.columns; n++) {
      float& d = to.values[m % 8 * 4 + n % 8 / 2][n / 8 * 4 + m / 8 * 2 + n % 2];
      d = add_bf16(d, a, b[n]);
    }
  }
  if (--to.under_way != 0) return;
  for (int lane = 0; lane < 32; lane++) memcpy(to.lanes[lane], to.values[lane], 2 * op.columns);
}

// What the last lane of a warp does for all. Named functions, because a lambda would be looked at.

MXHAL_UNCHECKED inline void answer_fence(const char*, char* results) {
  wgmma_queue().fenced = true;
  memset(results, 0, 32);
}

MXHAL_UNCHECKED inline void answer_commit(const char*, char* results) {
  wgmma_queue().committed++;
  wgmma_queue().fenced = false;
  memset(results, 0, 32);
}

MXHAL_UNCHECKED inline void answer_wait(const unsigned* pending, char* results) {
  WgmmaQueue& queue = wgmma_queue();
  unsigned& under_way = emulation::this_warp().under_way;
  while (under_way != 0 && queue.at(0).group + *pending < queue.committed) {
    carry_out(queue.at(0));
    queue.first = (queue.first + 1) % wgmma_most_under_way;
    under_way--;
  }
  memset(results, 0, 32);
}

template <int columns>
MXHAL_UNCHECKED inline void answer_wgmma(const WgmmaGiven* all, char* results) {
  issue_wgmma(all, columns);
  memset(results, 0, 32);
}

MXHAL_UNCHECKED inline void wgmma_fence() {
  emulation::warp_collective<char>("wgmma.fence", whole_warp, char(0), answer_fence);
}

MXHAL_UNCHECKED inline void wgmma_commit() {
  emulation::warp_collective<char>("wgmma.commit_group", whole_warp, char(0), answer_commit);
}

MXHAL_UNCHECKED inline void wgmma_wait(unsigned pending) {
  emulation::warp_collective<char>("wgmma.wait_group", whole_warp, pending, answer_wait);
}

template <int columns>
MXHAL_UNCHECKED inline void wgmma_bf16(float* d, const uint32_t* a, uint64_t b) {
  emulation::warp_collective<char>("wgmma", whole_warp, WgmmaGiven{d, a, b}, answer_wgmma<columns>);
}

}  // namespace model
