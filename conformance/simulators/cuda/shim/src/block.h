// The block that runs now: its shared memory, and what fibers.cpp and memory.cpp know of each other.
#pragma once

#include <deque>
#include <vector>

#include "runtime.h"

namespace emulation {

/// A copy to shared memory that is under way.
struct Copy {
  unsigned char* shared;
  const unsigned char* global;
  unsigned bytes;
  unsigned zeros;
  /// How many groups its thread had committed before it.
  unsigned group;
};

struct Block {
  /// What the largest GPU gives a block.
  static constexpr size_t stack_bytes = 128 * 1024;
  static constexpr unsigned most_shared_bytes = 227 * 1024;

  unsigned threads = 0;
  /// Counts barriers, over all blocks: accesses with different numbers are ordered.
  uint32_t epoch = 0;
  /// Counts blocks: memory written in another one is uninitialised in this.
  uint32_t serial = 0;
  /// The stack of the fiber that runs.
  const unsigned char* stack = nullptr;
  /// By thread.
  std::vector<std::deque<Copy>> copies;
  std::vector<unsigned> committed;
};

extern thread_local Block block;

/// Whether kernels were compiled with the calls that memory.cpp answers.
#ifdef MXHAL_CHECKED
constexpr bool checked = true;
#else
constexpr bool checked = false;
#endif

uint32_t warp_epoch();
void begin_launch(unsigned threads);
void begin_block();
void leave_block();

}  // namespace emulation
