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

/// One arrival, which brings what `clock` knows.
void arrive(Mbarrier& barrier, const Clock& clock) {
  join(barrier.arriving, clock);
  if (--barrier.pending != 0) return;
  barrier.pending = barrier.count;
  barrier.phases++;
  join(barrier.arrived, barrier.arriving);
  for (unsigned thread : barrier.sleepers) wake(thread);
  barrier.sleepers.clear();
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
  block.mbarriers[shared_offset(address)] = {count, count, 0, state.thread, block.epoch, false, nothing, nothing, {}};
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

bool carry_out_operation() {
  if (block.operations.empty()) return false;
  Operation operation = std::move(block.operations.front());
  block.operations.pop_front();
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
  }
  return text;
}

std::string describe_leftovers() {
  if (!block.operations.empty()) return std::to_string(block.operations.size()) + " asynchronous operations that nobody waited for";
  if (unsigned columns = allocated_tensor_columns()) return std::to_string(columns) + " columns of tensor memory not freed";
  return {};
}

}  // namespace emulation
