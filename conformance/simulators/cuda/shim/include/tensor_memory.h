// Tensor memory: 128 lanes of 512 columns of 32 bits, which only tensor operations write and only tensor loads read.
//
// An address is a lane in the upper 16 bits and a column in the lower. What is known is known of columns: who has
// allocated them, the last operation that writes and that reads them. Each block of a pair has its own. Source: PTX ISA,
// tcgen05.
#pragma once

#include <cstdint>

namespace emulation {

constexpr uint32_t tensor_lanes = 128;
constexpr uint32_t tensor_columns = 512;

/// That an instruction is of `cta_group::1` or `2`: all of a kernel are of the same, and what does not allocate or free
/// in a pair is begun by its first block.
void tensor_check_group(uint32_t blocks, bool allocates, const char* what);

/// Of one warp: `columns` is a power of two from 32 on. Columns hold a pattern until they are written. In a pair a warp
/// of each block allocates, and a warp of each frees.
uint32_t tensor_allocate(uint32_t columns);
void tensor_free(uint32_t address, uint32_t columns);
/// Nothing is allocated after it.
void tensor_relinquish();

/// One lane's columns in the block of that rank, to compute with.
uint32_t* tensor_lane(uint32_t lane, uint32_t rank);

/// For an operation that is about to begin. It waits for no one but operations of its kind: what another has under way
/// in these columns must be known to have happened, but for `in_order`, which the hardware keeps in order.
void tensor_check_write(uint32_t address, uint32_t columns, uint32_t operation, bool in_order, const char* what, uint32_t rank);
void tensor_check_read(uint32_t address, uint32_t columns, uint32_t operation, const char* what, uint32_t rank);
/// For a load by this thread's warp, which has a quarter of the lanes.
void tensor_check_load(uint32_t address, uint32_t columns);

/// That this thread's tensor operations come after what it waited for.
void tensor_fence();
/// Faults where the thread waited for others and did not fence.
void tensor_check_fenced(const char* what);

}  // namespace emulation
