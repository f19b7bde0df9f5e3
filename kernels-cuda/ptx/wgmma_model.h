// The model of a warpgroup's matrix instructions. Each warp is modelled by itself, as its rows are its own.
//
// An instruction takes place when its group is waited for. Until then its accumulators hold a NaN, so that who reads
// them too early gets one, and must still hold it when it takes place; registers and shared memory that it reads must
// be as they were when it was issued. Every group begins with a fence: stricter than the hardware, which wants one
// only where registers were touched in between.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "bf16_sum.h"
#include "emulation.h"

namespace model {

/// The accumulators of a warp, while an instruction is under way that adds to them.
struct Accumulators {
  float* lanes[32];
  int registers;
  unsigned under_way;
  /// By lane.
  std::vector<float> values;
};

struct WgmmaGiven {
  float* d;
  const uint32_t* a;
  uint64_t b;
};

/// One instruction of a warp.
struct Wgmma {
  std::shared_ptr<Accumulators> to;
  WgmmaGiven given[32];
  uint32_t a[32][4];
  /// Rows of 16 BF16, and where in shared memory each half of each row lies.
  std::vector<uint8_t> b;
  std::vector<uint32_t> b_at;
  unsigned group;
};

struct WgmmaQueue {
  std::deque<Wgmma> under_way;
  unsigned committed = 0;
  bool fenced = false;
};

inline thread_local std::vector<WgmmaQueue> wgmma_queues;

constexpr uint32_t wgmma_poison = 0x7fe5a5a5;

MXHAL_UNCHECKED inline WgmmaQueue& wgmma_queue() {
  unsigned warp = emulation::state.thread / 32;
  if (wgmma_queues.size() <= warp) wgmma_queues.resize(warp + 1);
  WgmmaQueue& queue = wgmma_queues[warp];
  // Of a block that ended with a fault something may be left.
  if (emulation::this_warp().under_way == 0) queue.under_way.clear();
  return queue;
}

/// Something that a whole warp does once.
template <class Action>
MXHAL_UNCHECKED inline void by_warp(const char* name, Action action) {
  emulation::warp_collective<char>(name, whole_warp, char(0), [&action](const char*, char* results) MXHAL_UNCHECKED {
    action();
    memset(results, 0, 32);
  });
}

MXHAL_UNCHECKED inline void wgmma_fence() {
  by_warp("wgmma.fence", []() MXHAL_UNCHECKED { wgmma_queue().fenced = true; });
}

MXHAL_UNCHECKED inline void wgmma_commit() {
  by_warp("wgmma.commit_group", []() MXHAL_UNCHECKED {
    wgmma_queue().committed++;
    wgmma_queue().fenced = false;
  });
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

template <int columns>
MXHAL_UNCHECKED inline void issue_wgmma(const WgmmaGiven* all) {
  WgmmaQueue& queue = wgmma_queue();
  if (!queue.fenced) emulation::fault("wgmma without wgmma.fence at the beginning of its group");
  Wgmma op;
  memcpy(op.given, all, sizeof op.given);
  op.group = queue.committed;
  for (int lane = 0; lane < 32; lane++) {
    if (all[lane].b != all[0].b) emulation::fault("wgmma: lane %d has another descriptor than lane 0", lane);
    memcpy(op.a[lane], all[lane].a, 16);
  }
  op.b.resize(columns * 32);
  for (uint32_t i = 0; i < columns * 2; i++) {
    op.b_at.push_back(wgmma_address(all[0].b, i / 2, i % 2));
    const unsigned char* from = emulation::shared_at(op.b_at[i]);
    emulation::check_operation_reads(from, 16, 0, "wgmma");
    memcpy(&op.b[i * 16], from, 16);
  }
  for (const Wgmma& before : queue.under_way) {
    if (before.to->under_way != 0 && before.to->lanes[0] == all[0].d) op.to = before.to;
  }
  if (op.to == nullptr) {
    op.to = std::make_shared<Accumulators>();
    op.to->registers = columns / 2;
    op.to->under_way = 0;
    for (int lane = 0; lane < 32; lane++) {
      float* d = op.to->lanes[lane] = all[lane].d;
      op.to->values.insert(op.to->values.end(), d, d + columns / 2);
      for (int i = 0; i < columns / 2; i++) memcpy(&d[i], &wgmma_poison, 4);
    }
  }
  op.to->under_way++;
  emulation::this_warp().under_way++;
  queue.under_way.push_back(std::move(op));
}

MXHAL_UNCHECKED inline void carry_out(const Wgmma& op) {
  Accumulators& to = *op.to;
  for (int lane = 0; lane < 32; lane++) {
    if (memcmp(op.a[lane], op.given[lane].a, 16) != 0) {
      emulation::fault("wgmma: lane %d overwrote registers of A before the group was waited for", lane);
    }
    for (int i = 0; i < to.registers; i++) {
      if (memcmp(&to.lanes[lane][i], &wgmma_poison, 4) != 0) {
        emulation::fault("wgmma: lane %d wrote accumulator %d before the group was waited for", lane, i);
      }
    }
  }
  int columns = to.registers * 2;
  std::vector<Bf16Row> b;
  for (int i = 0; i < columns * 2; i++) {
    const unsigned char* from = emulation::shared_at(op.b_at[i]);
    emulation::check_read(from, 16);
    if (memcmp(from, &op.b[i * 16], 16) != 0) {
      emulation::fault("wgmma: offset %u of shared memory was overwritten before the group was waited for", op.b_at[i]);
    }
    if (i % 2 == 0) b.emplace_back(&op.b[i * 16]);
  }
  for (int m = 0; m < 16; m++) {
    uint8_t bytes[32];
    for (int q = 0; q < 4; q++) {
      for (int half = 0; half < 2; half++) memcpy(bytes + 16 * half + 4 * q, &op.a[m % 8 * 4 + q][m / 8 + 2 * half], 4);
    }
    Bf16Row a(bytes);
    for (int n = 0; n < columns; n++) {
      float& d = to.values[(m % 8 * 4 + n % 8 / 2) * to.registers + n / 8 * 4 + m / 8 * 2 + n % 2];
      d = add_bf16(d, a, b[n]);
    }
  }
  if (--to.under_way != 0) return;
  for (int lane = 0; lane < 32; lane++) memcpy(to.lanes[lane], &to.values[lane * to.registers], 4 * to.registers);
}

MXHAL_UNCHECKED inline void wgmma_wait(unsigned pending) {
  by_warp("wgmma.wait_group", [pending]() MXHAL_UNCHECKED {
    WgmmaQueue& queue = wgmma_queue();
    while (!queue.under_way.empty() && queue.under_way.front().group + pending < queue.committed) {
      carry_out(queue.under_way.front());
      queue.under_way.pop_front();
      emulation::this_warp().under_way--;
    }
  });
}

template <int columns>
MXHAL_UNCHECKED inline void wgmma_bf16(float* d, const uint32_t* a, uint64_t b) {
  WgmmaGiven given = {d, a, b};
  emulation::warp_collective<char>("wgmma", whole_warp, given, [](const WgmmaGiven* all, char* results) MXHAL_UNCHECKED {
    issue_wgmma<columns>(all);
    memset(results, 0, 32);
  });
}

}  // namespace model
