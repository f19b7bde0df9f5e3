// Tensor memory: allocation, poison, and which operation may touch what.

#include "tensor_memory.h"

#include <string.h>

#include <algorithm>
#include <memory>

#include "block.h"

namespace emulation {

namespace {

struct Column {
  bool allocated;
  bool written;
  uint32_t writer;
  uint32_t reader;
};

struct TensorMemory {
  uint32_t cells[tensor_lanes][tensor_columns];
  Column columns[tensor_columns];
  unsigned allocating_warp;
  bool relinquished;
  /// Columns of each allocation, in order.
  std::vector<uint32_t> allocations;
  /// When each thread last loaded.
  Clock loads;

  unsigned allocated() const {
    return unsigned(std::count_if(columns, columns + tensor_columns, [](const Column& c) { return c.allocated; }));
  }
};

/// By rank.
thread_local std::unique_ptr<TensorMemory> all_tensors[Block::most_members];
/// The `cta_group` of the kernel's instructions; 0 before the first.
thread_local uint32_t group = 0;

/// The columns of an access; a fault where they are not all allocated.
Column* columns_of(uint32_t address, uint32_t columns, uint32_t rank, const char* what) {
  uint32_t first = address & 0xffff;
  auto& tensors = all_tensors[rank];
  const char* where = rank == state.rank ? "" : " of the other block";
  if (!tensors || first + columns > tensor_columns) {
    fault("%s at columns %u to %u of tensor memory%s, of which there are %u", what, first, first + columns - 1, where, tensors ? tensor_columns : 0);
  }
  for (uint32_t column = first; column < first + columns; column++) {
    if (!tensors->columns[column].allocated) fault("%s at column %u of tensor memory%s, which is not allocated", what, column, where);
  }
  return tensors->columns + first;
}

/// That nobody uses these columns any more.
void check_unused(const TensorMemory& tensors, uint32_t first, uint32_t columns) {
  for (uint32_t i = first; i < first + columns; i++) {
    const Column& column = tensors.columns[i];
    if (!knows_of(std::max(column.writer, column.reader))) fault("tensor memory is freed while operations on it may be under way");
  }
  for (unsigned thread = 0; thread < tensors.loads.size(); thread++) {
    uint32_t time = tensors.loads[thread];
    if (time == never || thread == state.thread || block.knows(state.thread, thread, time)) continue;
    fault("tensor memory is freed while %s may still load from it: nothing waits for that", name_of(thread).text);
  }
}

}  // namespace

void begin_tensor_memory() {
  for (auto& tensors : all_tensors) tensors.reset();
  group = 0;
}

std::string describe_tensor_leftovers() {
  const auto &first = all_tensors[0], &second = all_tensors[1];
  for (const auto& tensors : all_tensors) {
    if (!tensors || tensors->allocated() == 0) continue;
    std::string where = block.count == 1 ? "" : &tensors == &first ? ", in the first of the pair" : ", in the second of the pair";
    return std::to_string(tensors->allocated()) + " columns of tensor memory not freed" + where;
  }
  if (group != 2) return {};
  if ((first ? first->allocations.size() : 0) != (second ? second->allocations.size() : 0)) return "tensor memory that only one of the pair allocated";
  if (first && second && first->relinquished != second->relinquished) return "the permit to allocate tensor memory given up by only one of the pair";
  return {};
}

void tensor_check_group(uint32_t blocks, bool allocates, const char* what) {
  if (blocks > block.count) fault("%s of cta_group::%u: the cluster has %u blocks", what, blocks, block.count);
  if (group != 0 && group != blocks) fault("%s of cta_group::%u, after instructions of cta_group::%u: all of a kernel are of the same", what, blocks, group);
  group = blocks;
  if (blocks == 2 && !allocates && state.rank != 0) fault("%s of cta_group::2 is begun by the second block of the pair: here the first does it", what);
}

uint32_t tensor_allocate(uint32_t columns) {
  auto& tensors = all_tensors[state.rank];
  if (columns < 32 || columns > tensor_columns || (columns & (columns - 1)) != 0) {
    fault("%u columns of tensor memory wanted: a power of two from 32 to %u can be had", columns, tensor_columns);
  }
  if (!tensors) {
    tensors = std::make_unique<TensorMemory>();
    memset(tensors->columns, 0, sizeof tensors->columns);
    tensors->relinquished = false;
    tensors->loads.assign(block.all_threads(), never);
  }
  if (tensors->relinquished) fault("tensor memory allocated after the permit was given up");
  // From the end, so that the first address is not 0, and one which was not added is noticed.
  uint32_t first = tensor_columns - tensors->allocated();
  if (first < columns) fault("%u columns of tensor memory wanted, and %u are left: this waits for ever", columns, first);
  first -= columns;
  const auto& peer = all_tensors[1 - state.rank];
  size_t number = tensors->allocations.size();
  tensors->allocations.push_back(columns);
  if (group == 2 && peer && number < peer->allocations.size() && peer->allocations[number] != columns) {
    fault("%u columns of tensor memory wanted for the pair, and by the other block %u", columns, peer->allocations[number]);
  }
  tensors->allocating_warp = state.thread % block.threads / 32;
  for (uint32_t column = first; column < first + columns; column++) {
    tensors->columns[column] = {true, false, 0, 0};
    // A NaN, in case that nobody checks.
    for (auto& lane : tensors->cells) lane[column] = 0xffffffff;
  }
  return first;
}

void tensor_free(uint32_t address, uint32_t columns) {
  Column* first = columns_of(address, columns, state.rank, "freeing");
  unsigned warp = state.thread % block.threads / 32, allocating_warp = all_tensors[state.rank]->allocating_warp;
  if (warp != allocating_warp) fault("tensor memory is freed by warp %u and was allocated by warp %u", warp, allocating_warp);
  // A pair's is freed when both blocks say so: who does, knows of what either did with it.
  for (uint32_t rank = 0; rank < block.count; rank++) {
    if (all_tensors[rank] && (group == 2 || rank == state.rank)) check_unused(*all_tensors[rank], address & 0xffff, columns);
  }
  for (Column* column = first; column < first + columns; column++) column->allocated = false;
}

void tensor_relinquish() {
  if (all_tensors[state.rank]) all_tensors[state.rank]->relinquished = true;
}

uint32_t* tensor_lane(uint32_t lane, uint32_t rank) { return all_tensors[rank]->cells[lane]; }

void tensor_check_write(uint32_t address, uint32_t columns, uint32_t operation, bool in_order, const char* what, uint32_t rank) {
  Column* first = columns_of(address, columns, rank, what);
  for (Column* column = first; column < first + columns; column++) {
    uint32_t under_way = std::max(column->writer, column->reader);
    if (!in_order && !knows_of(under_way)) {
      fault("%s writes column %td of tensor memory, which an operation before it may still use: nobody waited for it", what, column - all_tensors[rank]->columns);
    }
    column->written = true;
    column->writer = operation;
  }
}

void tensor_check_read(uint32_t address, uint32_t columns, uint32_t operation, const char* what, uint32_t rank) {
  Column* first = columns_of(address, columns, rank, what);
  for (Column* column = first; column < first + columns; column++) {
    if (!column->written) {
      fault("%s reads column %td of tensor memory%s, which nobody wrote", what, column - all_tensors[rank]->columns,
            rank == state.rank ? "" : " of the other block");
    }
    column->reader = operation;
  }
}

void tensor_check_load(uint32_t address, uint32_t columns) {
  uint32_t lane = state.thread % block.threads / 32 % 4 * 32;
  if (address >> 16 != lane) fault("tensor load at lane %u: this warp has lanes %u to %u", address >> 16, lane, lane + 31);
  Column* first = columns_of(address, columns, state.rank, "tensor load");
  TensorMemory& tensors = *all_tensors[state.rank];
  tensors.loads[state.thread] = block.time_of(state.thread);
  for (Column* column = first; column < first + columns; column++) {
    if (!column->written) fault("tensor load of column %td of tensor memory, which nobody wrote", column - tensors.columns);
    if (!knows_of(column->writer)) fault("tensor load of column %td of tensor memory, whose operation was not waited for", column - tensors.columns);
  }
}

void tensor_fence() { block.waits_fenced[state.thread] = block.waits[state.thread]; }

void tensor_check_fenced(const char* what) {
  if (block.waits_fenced[state.thread] != block.waits[state.thread]) {
    fault("%s after a wait for others, and no tcgen05.fence::after_thread_sync in between", what);
  }
}

}  // namespace emulation
