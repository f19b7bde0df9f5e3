// The block that runs now: its shared memory, and what fibers.cpp and memory.cpp know of each other.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
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

/// What a thread, or a barrier, knows of: of each thread the times until which, of the operations of the unit that works
/// on its own the number, and of each mbarrier, as they are made, the phases that have ended.
using Clock = std::vector<uint32_t>;

inline void join(Clock& into, const Clock& other) {
  if (into.size() < other.size()) into.resize(other.size());
  for (size_t i = 0; i < other.size(); i++) {
    if (into[i] < other[i]) into[i] = other[i];
  }
}

/// What is under way.
using Operation = std::function<void()>;

struct Mbarrier {
  unsigned count;
  unsigned pending;
  /// Bytes that this phase still waits for; below 0 where they came before they were expected.
  int64_t bytes;
  /// Its place in clocks.
  unsigned entry;
  /// Phases that have ended.
  uint32_t phases;
  unsigned maker;
  uint32_t epoch;
  bool published;
  /// What arrived in this phase, and in those that have ended.
  Clock arriving, arrived;
  std::vector<unsigned> sleepers;
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

  /// By offset in shared memory. Clocks are kept from the first one on: before it, and in kernels without, epochs
  /// say all.
  std::map<size_t, Mbarrier> mbarriers;
  bool has_clocks = false;
  /// By thread.
  std::vector<Clock> clocks;
  /// How often each thread let asynchronous operations see what it wrote; counts over all blocks.
  std::vector<uint32_t> fences;
  /// How often each thread waited for others, and how often it had when it last fenced tensor operations.
  std::vector<uint32_t> waits, waits_fenced;
  /// Operations begun and not happened, the first of them by number.
  std::deque<Operation> operations;
  /// Copies of tiles begun and not happened: in any order.
  std::deque<Operation> tile_copies;
  /// Counts over all blocks.
  uint32_t operations_begun = 0;

  /// The time of a thread, which what it writes bears.
  uint32_t time_of(unsigned thread) const { return has_clocks ? clocks[thread][thread] : 1; }
  /// Whether `thread` has learnt by barriers of what another did at this time.
  bool knows(unsigned thread, unsigned other, uint32_t time) const {
    return has_clocks && other < clocks[thread].size() && clocks[thread][other] >= time;
  }
};

extern thread_local Block block;

/// Whether kernels were compiled with the calls that memory.cpp answers.
#ifdef MXHAL_CHECKED
constexpr bool checked = true;
#else
constexpr bool checked = false;
#endif

uint32_t warp_epoch();
void begin_tensor_memory();
/// Columns that are still allocated.
unsigned allocated_tensor_columns();
/// Makes a thread that sleeps ready, and lets this one sleep.
void wake(unsigned thread);
void sleep();
/// Joins the clocks of all threads, or of those of a warp.
void join_clocks(unsigned first, unsigned count);
/// Carries out the oldest operation or a copy of a tile, if there is one; `random` chooses, 0 the oldest.
bool carry_out_operation(uint64_t random);
/// A copy of a tile, which arrives with its bytes: `act` is given the barrier's place in clocks and the phase that tells of
/// the copy, and gives the bytes that count.
void begin_tile_copy(void* barrier, std::function<uint32_t(unsigned, uint32_t)> act);
/// Shared memory that a copy of a tile begins to write: nobody may use it. Then that it is written, which is known to
/// whoever knows that this phase of the barrier at this place of clocks has ended.
void begin_tile_write(void* address, size_t bytes);
void end_tile_write(void* address, size_t bytes, unsigned entry, uint32_t phase);
/// What a copy of a tile reads of device memory.
void check_tile_read(const void* address, size_t bytes);
/// Who sleeps at which mbarrier, for the description of a deadlock.
std::string describe_sleepers();
/// What must not be left behind by a block; empty if nothing is.
std::string describe_leftovers();
void begin_launch(unsigned threads);
void begin_block();
void leave_block();
/// Whether a fiber of this thread of the CPU runs a kernel.
bool is_running();

}  // namespace emulation
