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

void begin_clocks() {
  block.has_clocks = true;
  block.clocks.resize(block.threads);
  for (unsigned thread = 0; thread < block.threads; thread++) {
    block.clocks[thread].assign(block.threads + 1, 0);
    block.clocks[thread][thread] = 1;
    block.clocks[thread][block.threads] = block.operations_begun;
  }
}

Mbarrier& barrier_at(const void* address, const char* what) {
  auto found = block.mbarriers.find(shared_offset(address));
  if (found == block.mbarriers.end()) fault("%s at offset %u of shared memory, where there is no mbarrier", what, shared_offset(address));
  Mbarrier& barrier = found->second;
  if (barrier.maker != state.thread && barrier.epoch == block.epoch) {
    fault("%s at an mbarrier that thread %u made, and no __syncthreads in between", what, barrier.maker);
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

void begin(Operation operation) {
  block.operations.push_back(std::move(operation));
  block.operations_begun++;
}

}  // namespace

void barrier_init(void* address, unsigned count) {
  check_aligned(address, 8, "mbarrier");
  check_write(address, 8);
  if (count == 0) fault("mbarrier of no arrivals");
  if (!block.has_clocks) begin_clocks();
  Clock nothing(block.threads + 1, 0);
  unsigned entry = block.threads + 1 + unsigned(block.mbarriers.size());
  block.mbarriers[shared_offset(address)] = {count, count, 0, entry, 0, state.thread, block.epoch, false, nothing, nothing, {}};
}

void barrier_publish() {
  for (auto& [offset, barrier] : block.mbarriers) barrier.published |= barrier.maker == state.thread;
}

void barrier_arrive(void* address) {
  Mbarrier& barrier = barrier_at(address, "arrival");
  Clock& clock = block.clocks[state.thread];
  arrive(barrier, clock);
  clock[state.thread]++;
}

void barrier_wait(void* address, unsigned parity) {
  if (parity > 1) fault("an mbarrier's parity is 0 or 1, not %u", parity);
  Mbarrier& barrier = barrier_at(address, "wait");
  while (barrier.phases % 2 == parity) {
    barrier.sleepers.push_back(state.thread);
    sleep();
  }
  join(block.clocks[state.thread], barrier.arrived);
  block.waits[state.thread]++;
}

void barrier_expect(void* address, unsigned bytes) {
  Mbarrier& barrier = barrier_at(address, "expectation");
  change_bytes(barrier, bytes);
  end_phase(barrier);
}

void begin_tile_copy(void* address, std::function<uint32_t(unsigned, uint32_t)> act) {
  Mbarrier& barrier = barrier_at(address, "copy of a tile");
  if (!barrier.published) fault("copy of a tile to an mbarrier that was never published to asynchronous operations");
  // Elements of a map stay where they are.
  block.tile_copies.push_back([&barrier, act = std::move(act)] {
    change_bytes(barrier, -int64_t(act(barrier.entry, barrier.phases + 1)));
    end_phase(barrier);
  });
}

void fence_asynchronous_proxy() { block.fences[state.thread]++; }

void begin_operation(void (*act)(const void*), const void* given, size_t bytes) {
  const unsigned char* from = static_cast<const unsigned char*>(given);
  // operator new aligns it for any type.
  std::vector<unsigned char> copy(from, from + bytes);
  begin([act, copy] { act(copy.data()); });
}

uint32_t next_operation() { return block.operations_begun + 1; }

bool knows_of(uint32_t operation) { return operation == 0 || block.knows(state.thread, block.threads, operation); }

void commit_operations(void* address) {
  Mbarrier& barrier = barrier_at(address, "commit");
  if (!barrier.published) fault("commit to an mbarrier that was never published to asynchronous operations");
  Clock clock(block.threads + 1, 0);
  clock[block.threads] = block.operations_begun + 1;
  // Elements of a map stay where they are.
  begin([&barrier, clock] { arrive(barrier, clock); });
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

std::string describe_sleepers() {
  std::string text;
  for (const auto& [offset, barrier] : block.mbarriers) {
    if (barrier.sleepers.empty()) continue;
    text += "; " + std::to_string(barrier.sleepers.size()) + " threads, thread " + std::to_string(barrier.sleepers[0]) +
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
  if (unsigned columns = allocated_tensor_columns()) return std::to_string(columns) + " columns of tensor memory not freed";
  return {};
}

}  // namespace emulation
