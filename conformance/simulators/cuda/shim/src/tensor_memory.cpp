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
};

thread_local std::unique_ptr<TensorMemory> tensors;

/// The columns of an access; a fault where they are not all allocated.
Column* columns_of(uint32_t address, uint32_t columns, const char* what) {
  uint32_t first = address & 0xffff;
  if (!tensors || first + columns > tensor_columns) {
    fault("%s at columns %u to %u of tensor memory, of which there are %u", what, first, first + columns - 1, tensors ? tensor_columns : 0);
  }
  for (uint32_t column = first; column < first + columns; column++) {
    if (!tensors->columns[column].allocated) fault("%s at column %u of tensor memory, which is not allocated", what, column);
  }
  return tensors->columns + first;
}

}  // namespace

void begin_tensor_memory() { tensors.reset(); }

unsigned allocated_tensor_columns() {
  if (!tensors) return 0;
  return unsigned(std::count_if(tensors->columns, tensors->columns + tensor_columns, [](const Column& c) { return c.allocated; }));
}

uint32_t tensor_allocate(uint32_t columns) {
  if (columns < 32 || columns > tensor_columns || (columns & (columns - 1)) != 0) {
    fault("%u columns of tensor memory wanted: a power of two from 32 to %u can be had", columns, tensor_columns);
  }
  if (!tensors) {
    tensors = std::make_unique<TensorMemory>();
    memset(tensors->columns, 0, sizeof tensors->columns);
    tensors->relinquished = false;
  }
  if (tensors->relinquished) fault("tensor memory allocated after the permit was given up");
  // From the end, so that the first address is not 0, and one which was not added is noticed.
  uint32_t first = tensor_columns - allocated_tensor_columns();
  if (first < columns) fault("%u columns of tensor memory wanted, and %u are left: this waits for ever", columns, first);
  first -= columns;
  tensors->allocating_warp = state.thread / 32;
  for (uint32_t column = first; column < first + columns; column++) {
    tensors->columns[column] = {true, false, 0, 0};
    // A NaN, in case that nobody checks.
    for (auto& lane : tensors->cells) lane[column] = 0xffffffff;
  }
  return first;
}

void tensor_free(uint32_t address, uint32_t columns) {
  Column* first = columns_of(address, columns, "freeing");
  if (state.thread / 32 != tensors->allocating_warp) fault("tensor memory is freed by warp %u and was allocated by warp %u", state.thread / 32, tensors->allocating_warp);
  for (Column* column = first; column < first + columns; column++) {
    if (!knows_of(std::max(column->writer, column->reader))) fault("tensor memory is freed while operations on it may be under way");
    column->allocated = false;
  }
}

void tensor_relinquish() {
  if (tensors) tensors->relinquished = true;
}

uint32_t* tensor_lane(uint32_t lane) { return tensors->cells[lane]; }

void tensor_check_write(uint32_t address, uint32_t columns, uint32_t operation, bool in_order, const char* what) {
  Column* first = columns_of(address, columns, what);
  for (Column* column = first; column < first + columns; column++) {
    uint32_t under_way = std::max(column->writer, column->reader);
    if (!in_order && !knows_of(under_way)) {
      fault("%s writes column %td of tensor memory, which an operation before it may still use: nobody waited for it", what, column - tensors->columns);
    }
    column->written = true;
    column->writer = operation;
  }
}

void tensor_check_read(uint32_t address, uint32_t columns, uint32_t operation, const char* what) {
  Column* first = columns_of(address, columns, what);
  for (Column* column = first; column < first + columns; column++) {
    if (!column->written) fault("%s reads column %td of tensor memory, which nobody wrote", what, column - tensors->columns);
    column->reader = operation;
  }
}

void tensor_check_load(uint32_t address, uint32_t columns) {
  if (address >> 16 != state.thread / 32 % 4 * 32) {
    fault("tensor load at lane %u: this warp has lanes %u to %u", address >> 16, state.thread / 32 % 4 * 32, state.thread / 32 % 4 * 32 + 31);
  }
  Column* first = columns_of(address, columns, "tensor load");
  for (Column* column = first; column < first + columns; column++) {
    if (!column->written) fault("tensor load of column %td of tensor memory, which nobody wrote", column - tensors->columns);
    if (!knows_of(column->writer)) fault("tensor load of column %td of tensor memory, whose operation was not waited for", column - tensors->columns);
  }
}

void tensor_fence() { block.waits_fenced[state.thread] = block.waits[state.thread]; }

void tensor_check_fenced(const char* what) {
  if (block.waits_fenced[state.thread] != block.waits[state.thread]) {
    fault("%s after a wait for others, and no tcgen05.fence::after_thread_sync in between", what);
  }
}

}  // namespace emulation
