// The block that runs now, or the two of a cluster: what fibers.cpp, memory.cpp and the others know of each other.
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

/// A time at which nothing happened.
constexpr uint32_t never = 0;

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
  /// The maker's time.
  uint32_t published;
  /// Whether a thread of the other block has ever arrived.
  bool has_remote_arrivals;
  /// What arrived in this phase, and in those that have ended.
  Clock arriving, arrived;
  std::vector<unsigned> sleepers;
};

/// One block of those that run together, by its rank in the cluster.
struct Member {
  /// Number of its last barrier, drawn from one count over all blocks: accesses with different numbers are ordered
  /// within it, and no two members have the same.
  uint32_t epoch = 0;
  /// Threads that have not ended, and of them those that wait at a barrier of the block or the cluster.
  unsigned live = 0;
  unsigned at_barrier = 0;
  unsigned at_cluster_barrier = 0;
  /// By offset in its shared memory.
  std::map<size_t, Mbarrier> mbarriers;
  /// Copies of tiles under way that write its memory, or count at a barrier in it.
  unsigned tile_copies = 0;
  /// When others last used its memory: each thread of the other block, and operations. Empty in a block alone.
  Clock touched;
};

struct Block {
  /// What the largest GPU gives a block.
  static constexpr size_t stack_bytes = 128 * 1024;
  static constexpr unsigned most_shared_bytes = 227 * 1024;

  static constexpr unsigned most_members = 2;

  /// Of each member. Those of the first come first where things are by thread.
  unsigned threads = 0;
  /// 1, or the blocks of the cluster.
  unsigned count = 1;
  Member members[most_members];
  /// The last number that an epoch got.
  uint32_t last_epoch = 0;
  /// Counts blocks: memory written in another one is uninitialised in this.
  uint32_t serial = 0;
  /// The stack of the fiber that runs.
  const unsigned char* stack = nullptr;
  /// By thread.
  std::vector<std::deque<Copy>> copies;
  std::vector<unsigned> committed;

  /// Clocks are kept from the first mbarrier on: before it, and in kernels without, epochs say all. In a cluster they
  /// are kept from the beginning.
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

  unsigned all_threads() const { return threads * count; }
  /// Threads that have not ended.
  unsigned live() const { return members[0].live + members[1].live; }
  /// That of the thread that runs.
  Member& own() { return members[state.rank]; }
  unsigned rank_of(unsigned thread) const { return thread / threads; }
  bool is_peer(unsigned thread) const { return count != 1 && rank_of(thread) != state.rank; }

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
/// What of tensor memory must not be left behind; empty if nothing is.
std::string describe_tensor_leftovers();
/// Makes a thread that sleeps ready, and lets this one sleep.
void wake(unsigned thread);
void sleep();
/// Joins the clocks of all threads, of those of a block, or of those of a warp.
void join_clocks(unsigned first, unsigned count);
void begin_clocks();
/// Faults where another block, or an operation, may still use the memory of a block whose threads have all ended.
void check_untouched(unsigned rank);
/// Carries out the oldest operation or a copy of a tile, if there is one; `random` chooses, 0 the oldest.
bool carry_out_operation(uint64_t random);
/// A copy of a tile, which arrives with its bytes: `act` is given the barrier's place in clocks and the phase that tells of
/// the copy, and gives the bytes that count.
void begin_tile_copy(void* barrier, uint32_t rank, std::function<uint32_t(unsigned, uint32_t)> act);
/// Shared memory that a copy of a tile begins to write: nobody may use it. Then that it is written, which is known to
/// whoever knows that this phase of the barrier at this place of clocks has ended.
void begin_tile_write(void* address, size_t bytes);
void end_tile_write(void* address, size_t bytes, unsigned entry, uint32_t phase);
/// What a copy of a tile reads of device memory.
void check_tile_read(const void* address, size_t bytes);
/// Who sleeps at which mbarrier of a block, for the description of a deadlock.
std::string describe_sleepers(unsigned rank);
/// What must not be left behind by a block; empty if nothing is.
std::string describe_leftovers();
/// A thread as a message names it: by its number in its block. No string, since a fault is left by a jump.
struct Name {
  char text[64];
};
Name name_of(unsigned thread);
void begin_launch(unsigned threads, unsigned blocks);
void begin_block();
void leave_block();
/// Whether a fiber of this thread of the CPU runs a kernel.
bool is_running();

}  // namespace emulation
