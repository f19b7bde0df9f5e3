// Barriers in shared memory, and the operations of a unit that works on its own.
//
// What is ordered by such barriers is known from clocks: each thread has a time, which moves on when it arrives, and
// knows until which time of every other it has seen what that did. An arrival gives to the barrier what the thread
// knows, and whoever waits takes it. Operations are numbered; that they have happened is known in the same way, by
// the arrival that a commit makes.

#include <stdio.h>

#include <algorithm>
#include <utility>

#include "block.h"

namespace emulation {

namespace {

Mbarrier& barrier_at(const void* address, uint32_t rank, const char* what) {
  if (rank >= block.count) fault("%s at an mbarrier of the block of rank %u: the cluster has %u blocks", what, rank, block.count);
  Member& member = block.members[rank];
  auto found = member.mbarriers.find(shared_offset(address));
  const char* where = rank == state.rank ? "" : " of the other block";
  if (found == member.mbarriers.end()) fault("%s at offset %u of shared memory%s, where there is no mbarrier", what, shared_offset(address), where);
  Mbarrier& barrier = found->second;
  if (rank != state.rank) {
    if (member.live == 0) fault("%s at an mbarrier of the other block, which has ended", what);
    bool is_known = barrier.published != never && block.knows(state.thread, barrier.maker, barrier.published);
    if (!is_known) fault("%s at an mbarrier that %s made, and no barrier of the cluster after it was published", what, name_of(barrier.maker).text);
  } else if (barrier.maker != state.thread && barrier.epoch == member.epoch) {
    fault("%s at an mbarrier that %s made, and no __syncthreads in between", what, name_of(barrier.maker).text);
  }
  return barrier;
}

/// Ends the phase if all arrivals and all bytes are there.
void end_phase(Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.pending = barrier.count;
  barrier.phases++;
  join(barrier.arrived, barrier.arriving);
  if (barrier.arrived.size() <= barrier.entry) barrier.arrived.resize(barrier.entry + 1);
  barrier.arrived[barrier.entry] = barrier.phases;
  for (unsigned thread : barrier.sleepers) wake(thread);
  barrier.sleepers.clear();
}

/// One arrival, which brings what `clock` knows.
void arrive(Mbarrier& barrier, const Clock& clock) {
  if (barrier.pending == 0) fault("an arrival more than the %u of the mbarrier's phase", barrier.count);
  join(barrier.arriving, clock);
  barrier.pending--;
  end_phase(barrier);
}

/// More bytes to wait for, or fewer.
void change_bytes(Mbarrier& barrier, int64_t by) {
  constexpr int64_t most = (1 << 20) - 1;
  barrier.bytes += by;
  if (barrier.bytes > most || barrier.bytes < -most) fault("an mbarrier counts %lld bytes: it can count %lld", (long long)barrier.bytes, (long long)most);
}

/// Begins what uses the memory of the blocks whose ranks' bits are set.
void begin(Operation operation, uint32_t ranks) {
  block.operations.push_back(std::move(operation));
  block.operations_begun++;
  if (block.count == 1) return;
  for (unsigned rank = 0; rank < block.count; rank++) {
    if ((ranks >> rank & 1) == 0) continue;
    if (block.members[rank].live == 0) fault("an operation on memory of the other block, which has ended");
    block.members[rank].touched[block.all_threads()] = block.operations_begun;
  }
}

}  // namespace

void begin_clocks() {
  unsigned threads = block.all_threads();
  block.has_clocks = true;
  block.clocks.resize(threads);
  for (unsigned thread = 0; thread < threads; thread++) {
    block.clocks[thread].assign(threads + 1, 0);
    block.clocks[thread][thread] = 1;
    block.clocks[thread][threads] = block.operations_begun;
  }
}

void barrier_init(void* address, unsigned count) {
  check_aligned(address, 8, "mbarrier");
  check_write(address, 8);
  if (count == 0) fault("mbarrier of no arrivals");
  if (!block.has_clocks) begin_clocks();
  Clock nothing(block.all_threads() + 1, 0);
  Member& own = block.own();
  size_t made = 0;
  for (unsigned rank = 0; rank < block.count; rank++) made += block.members[rank].mbarriers.size();
  unsigned entry = block.all_threads() + 1 + unsigned(made);
  own.mbarriers[shared_offset(address)] = {count, count, 0, entry, 0, state.thread, own.epoch, never, false, nothing, nothing, {}};
}

void barrier_publish() {
  for (auto& [offset, barrier] : block.own().mbarriers) {
    if (barrier.maker == state.thread && barrier.published == never) barrier.published = block.time_of(state.thread);
  }
}

void barrier_arrive(void* address) { barrier_arrive_at(address, state.rank); }

void barrier_arrive_at(void* address, uint32_t rank) {
  Mbarrier& barrier = barrier_at(address, rank, "arrival");
  Clock& clock = block.clocks[state.thread];
  if (rank != state.rank) {
    barrier.has_remote_arrivals = true;
    block.members[rank].touched[state.thread] = clock[state.thread];
  }
  arrive(barrier, clock);
  clock[state.thread]++;
}

void barrier_wait(void* address, unsigned parity, bool in_cluster) {
  if (parity > 1) fault("an mbarrier's parity is 0 or 1, not %u", parity);
  Mbarrier& barrier = barrier_at(address, state.rank, "wait");
  while (barrier.phases % 2 == parity) {
    barrier.sleepers.push_back(state.thread);
    sleep();
  }
  if (barrier.has_remote_arrivals && !in_cluster) {
    fault("wait at an mbarrier that the other block arrives at, without the scope of the cluster");
  }
  join(block.clocks[state.thread], barrier.arrived);
  block.waits[state.thread]++;
}

void barrier_expect(void* address, unsigned bytes) {
  Mbarrier& barrier = barrier_at(address, state.rank, "expectation");
  change_bytes(barrier, bytes);
  end_phase(barrier);
}

void begin_tile_copy(void* address, uint32_t rank, std::function<uint32_t(unsigned, uint32_t)> act) {
  Mbarrier& barrier = barrier_at(address, rank, "copy of a tile");
  if (barrier.published == never) fault("copy of a tile to an mbarrier that was never published to asynchronous operations");
  Member *writes = &block.own(), *counts = &block.members[rank];
  writes->tile_copies++;
  counts->tile_copies++;
  // Elements of a map stay where they are.
  block.tile_copies.push_back([&barrier, writes, counts, act = std::move(act)] {
    writes->tile_copies--;
    counts->tile_copies--;
    change_bytes(barrier, -int64_t(act(barrier.entry, barrier.phases + 1)));
    end_phase(barrier);
  });
}

void fence_asynchronous_proxy() { block.fences[state.thread]++; }

void begin_operation(void (*act)(const void*), const void* given, size_t bytes, uint32_t blocks) {
  const unsigned char* from = static_cast<const unsigned char*>(given);
  // operator new aligns it for any type.
  std::vector<unsigned char> copy(from, from + bytes);
  begin([act, copy] { act(copy.data()); }, blocks == 1 ? 1u << state.rank : (1u << blocks) - 1);
}

uint32_t next_operation() { return block.operations_begun + 1; }

bool knows_of(uint32_t operation) { return operation == 0 || block.knows(state.thread, block.all_threads(), operation); }

void commit_operations(void* address) { commit_operations_to(address, 1u << state.rank); }

void commit_operations_to(void* address, uint32_t ranks) {
  if (ranks == 0) fault("commit to the mbarriers of no block");
  Mbarrier* barriers[Block::most_members] = {};
  for (uint32_t rank = 0; ranks >> rank != 0; rank++) {
    if ((ranks >> rank & 1) == 0) continue;
    // Elements of a map stay where they are.
    Mbarrier& barrier = barrier_at(address, rank, "commit");
    if (barrier.published == never) fault("commit to an mbarrier that was never published to asynchronous operations");
    barriers[rank] = &barrier;
  }
  // Of operations, and of copies of tiles that came before them: not of what threads did.
  Clock clock = block.clocks[state.thread];
  std::fill_n(clock.begin(), block.all_threads(), 0);
  clock[block.all_threads()] = block.operations_begun + 1;
  auto arrive_at_all = [first = barriers[0], second = barriers[1], clock] {
    if (first != nullptr) arrive(*first, clock);
    if (second != nullptr) arrive(*second, clock);
  };
  begin(arrive_at_all, ranks);
}

void join_clocks(unsigned first, unsigned count) {
  if (!block.has_clocks) return;
  Clock together = block.clocks[first];
  for (unsigned thread = first + 1; thread < first + count; thread++) join(together, block.clocks[thread]);
  for (unsigned thread = first; thread < first + count; thread++) {
    block.clocks[thread] = together;
    block.clocks[thread][thread]++;
  }
}

bool carry_out_operation(uint64_t random) {
  bool is_copy = block.operations.empty() || random % 2 != 0;
  auto& among = is_copy && !block.tile_copies.empty() ? block.tile_copies : block.operations;
  if (among.empty()) return false;
  // Copies keep no order, operations do.
  size_t place = &among == &block.tile_copies ? random / 2 % among.size() : 0;
  Operation operation = std::move(among[place]);
  among.erase(among.begin() + ptrdiff_t(place));
  operation();
  return true;
}

void check_untouched(unsigned rank) {
  if (block.count == 1) return;
  const Clock& touched = block.members[rank].touched;
  for (unsigned i = 0; i < touched.size(); i++) {
    bool is_known = false;
    for (unsigned thread = rank * block.threads; thread < (rank + 1) * block.threads; thread++) is_known |= block.knows(thread, i, touched[i]);
    if (is_known) continue;
    if (i == block.all_threads()) fault("a block of a cluster ended while operations that use its memory may be under way: nobody waited for them");
    fault("a block of a cluster ended, and %s arrived at an mbarrier of it: nothing waits for that", name_of(i).text);
  }
  if (block.members[rank].tile_copies != 0) fault("a block of a cluster ended while copies of tiles that use its memory are under way");
  for (unsigned other = 0; other < block.count; other++) {
    if (block.members[other].at_cluster_barrier != 0) fault("a block of a cluster ended while the other waits at a barrier of the cluster");
  }
}

std::string describe_sleepers(unsigned rank) {
  std::string text;
  for (const auto& [offset, barrier] : block.members[rank].mbarriers) {
    if (barrier.sleepers.empty()) continue;
    text += "; " + std::to_string(barrier.sleepers.size()) + " threads, thread " + std::to_string(barrier.sleepers[0] % block.threads) +
            " the first, wait at the mbarrier at offset " + std::to_string(offset) + ", phase " +
            std::to_string(barrier.phases) + ", for " + std::to_string(barrier.pending) + " of " +
            std::to_string(barrier.count) + " arrivals";
    if (barrier.bytes != 0) text += " and " + std::to_string(barrier.bytes) + " bytes";
  }
  return text;
}

std::string describe_leftovers() {
  if (!block.operations.empty()) return std::to_string(block.operations.size()) + " asynchronous operations that nobody waited for";
  if (!block.tile_copies.empty()) return std::to_string(block.tile_copies.size()) + " copies of tiles that nobody waited for";
  return describe_tensor_leftovers();
}

}  // namespace emulation
