// Clusters of two blocks: what they may do, and what a check must name. Each block has 32 threads.
#include <emulation.h>
#include <tensor_memory.h>

struct Shared {
  uint64_t barrier;
  int values[32];
};

struct Steps {
  bool publishes = true;
  bool syncs_first = true;
  bool waits = true;
  bool waits_in_cluster = true;
};

/// Each block has a barrier that the other's threads arrive at; then each thread takes what its neighbour in the other
/// block wrote.
inline void exchange(const int* from, int* to, Steps steps) {
  MXHAL_SHARED(Shared, shared);
  uint32_t other = 1 - emulation::cluster_rank();
  int i = blockIdx.x * 32 + threadIdx.x;
  if (threadIdx.x == 0) {
    emulation::barrier_init(&shared.barrier, 32);
    if (steps.publishes) emulation::barrier_publish();
  }
  if (steps.syncs_first) {
    emulation::wait_at_cluster_barrier();
  } else {
    __syncthreads();
  }
  to[i] = from[i];
  emulation::barrier_arrive_at(&shared.barrier, other);
  if (steps.waits || other == 1) emulation::barrier_wait(&shared.barrier, 0, steps.waits_in_cluster);
  if (!steps.waits) return;
  int value = to[i ^ 32];
  emulation::wait_at_cluster_barrier();
  to[i] = value;
}

#define EXCHANGES(name, step)                                 \
  extern "C" __global__ void name(const int* from, int* to) { \
    Steps steps;                                              \
    step;                                                     \
    exchange(from, to, steps);                                \
  }                                                           \
  MXHAL_CLUSTER_KERNEL(name, 2)

EXCHANGES(exchanged, )
EXCHANGES(arrived_unpublished, steps.publishes = false)
EXCHANGES(arrived_before_sync, steps.syncs_first = false)
EXCHANGES(waited_in_block, steps.waits_in_cluster = false)
EXCHANGES(ended_unaware, steps.waits = false)

extern "C" __global__ void __cluster_dims__(2, 1, 1) ranks(const int* from, int* to) {
  uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  to[i] = from[i] + 100 * int(emulation::cluster_rank()) + 1000 * int(blockIdx.x);
}
MXHAL_CLUSTER_KERNEL(ranks, 2)

extern "C" __global__ void ended_before_sync(const int* from, int* to) {
  to[threadIdx.x] = from[threadIdx.x];
  if (emulation::cluster_rank() == 0) emulation::wait_at_cluster_barrier();
}
MXHAL_CLUSTER_KERNEL(ended_before_sync, 2)

extern "C" __global__ void stuck(const int* from, int* to) {
  if (emulation::cluster_rank() == 0) {
    emulation::wait_at_cluster_barrier();
  } else {
    if (threadIdx.x != 0) __syncthreads();
    if (threadIdx.x == 0) emulation::wait_at_cluster_barrier();
  }
  to[threadIdx.x] = from[threadIdx.x];
}
MXHAL_CLUSTER_KERNEL(stuck, 2)

extern "C" __global__ void read_from_other(const int* from, int* to) {
  MXHAL_SHARED(Shared, shared);
  shared.values[threadIdx.x] = from[threadIdx.x];
  emulation::wait_at_cluster_barrier();
  uint32_t at = emulation::shared_offset(&shared.values[threadIdx.x]);
  to[threadIdx.x] = *reinterpret_cast<const int*>(emulation::shared_at(at, 1 - emulation::cluster_rank()));
}
MXHAL_CLUSTER_KERNEL(read_from_other, 2)

extern "C" __global__ void arrived_at_a_third(const int* from, int* to) {
  MXHAL_SHARED(Shared, shared);
  to[threadIdx.x] = from[threadIdx.x];
  emulation::barrier_arrive_at(&shared.barrier, 2);
}
MXHAL_CLUSTER_KERNEL(arrived_at_a_third, 2)

// Operations of the pair: the first block begins one that adds a number of each block's shared memory to tensor memory of
// both, 32 columns.

struct Given {
  uint32_t values;
  uint32_t column;
};

MXHAL_UNCHECKED inline void add_both(const void* given) {
  const Given& what = *static_cast<const Given*>(given);
  int sum = 0;
  for (uint32_t rank = 0; rank < 2; rank++) sum += *reinterpret_cast<const int*>(emulation::shared_at(what.values, rank));
  for (uint32_t rank = 0; rank < 2; rank++) {
    for (uint32_t lane = 0; lane < emulation::tensor_lanes; lane++) emulation::tensor_lane(lane, rank)[what.column] = uint32_t(sum) + rank;
  }
}

MXHAL_UNCHECKED inline int cell(uint32_t column) {
  return int(emulation::tensor_lane(threadIdx.x, emulation::cluster_rank())[column]);
}

struct PairSteps {
  bool fences = true;
  bool hands_over = true;
  bool first_begins = true;
  bool tells_both = true;
  bool both_wait = true;
  bool syncs_last = true;
  bool both_allocate = true;
  uint32_t columns_of_second = 32;
  bool both_free = true;
  bool is_of_one_group = true;
  bool both_relinquish = true;
  bool uses_tensors = true;
};

inline void add_in_pair(const int* from, int* to, PairSteps steps) {
  MXHAL_SHARED(Shared, shared);
  uint32_t rank = emulation::cluster_rank(), i = threadIdx.x, column = 0;
  bool allocates = steps.uses_tensors && (rank == 0 || steps.both_allocate);
  if (i == 0) {
    emulation::barrier_init(&shared.barrier, 1);
    emulation::barrier_publish();
    if (allocates) {
      emulation::tensor_check_group(2, true, "allocation");
      column = emulation::tensor_allocate(rank == 1 ? steps.columns_of_second : 32);
      if (rank == 0 || steps.both_relinquish) emulation::tensor_relinquish();
    }
  }
  if (!steps.hands_over) emulation::wait_at_cluster_barrier();
  if (i == 0) {
    shared.values[0] = from[rank];
    if (steps.fences) emulation::fence_asynchronous_proxy();
  }
  if (steps.hands_over) emulation::wait_at_cluster_barrier();
  if (!steps.hands_over && rank == 0 && i == 0) {
    // The other block has time to write.
    for (int turn = 0; turn < 3; turn++) emulation::barrier_arrive(&shared.barrier);
  }
  __syncthreads();
  column = __shfl_sync(0xffffffffu, column, 0);
  if (rank == (steps.first_begins ? 0 : 1) && i == 0) {
    emulation::tensor_check_group(steps.is_of_one_group ? 2 : 1, false, "operation");
    uint32_t operation = emulation::next_operation();
    Given given = {emulation::shared_offset(&shared.values[0]), column};
    for (uint32_t owner = 0; owner < 2; owner++) {
      emulation::check_operation_reads(emulation::shared_at(given.values, owner), 4, operation, "operation");
      if (steps.uses_tensors) emulation::tensor_check_write(column, 32, operation, false, "operation", owner);
    }
    if (steps.uses_tensors) {
      emulation::begin_operation(add_both, &given, sizeof given, 2);
    } else {
      emulation::begin_operation([](const void*) {}, &given, sizeof given, 2);
    }
    emulation::commit_operations_to(&shared.barrier, steps.tells_both ? 3 : 1);
  }
  if (rank == 0 || steps.both_wait) emulation::barrier_wait(&shared.barrier, 0);
  if (!steps.uses_tensors) return;
  emulation::tensor_fence();
  if (allocates) emulation::tensor_check_load(column, 32);
  to[rank * 32 + i] = cell(column);
  if (steps.syncs_last) {
    emulation::wait_at_cluster_barrier();
  } else {
    __syncthreads();
  }
  if (i == 0 && (rank == 0 || steps.both_free)) emulation::tensor_free(column, 32);
}

#define ADDS(name, step)                                      \
  extern "C" __global__ void name(const int* from, int* to) { \
    PairSteps steps;                                          \
    step;                                                     \
    add_in_pair(from, to, steps);                             \
  }                                                           \
  MXHAL_CLUSTER_KERNEL(name, 2)

ADDS(added, )
ADDS(added_unseen, steps.fences = false)
ADDS(added_not_handed_over, steps.hands_over = false)
ADDS(added_by_second, steps.first_begins = false)
ADDS(added_untold, steps.tells_both = false)
ADDS(added_not_waited, steps.both_wait = false)
ADDS(freed_while_loaded, steps.syncs_last = false)
ADDS(allocated_by_one, steps.both_allocate = false)
ADDS(allocated_unequally, steps.columns_of_second = 64)
ADDS(freed_by_one, steps.both_free = false)
ADDS(mixed_groups, steps.is_of_one_group = false)
ADDS(relinquished_by_one, steps.both_relinquish = false)
ADDS(ended_under_way, (steps.uses_tensors = false, steps.both_wait = false))
ADDS(ended_after_operation, steps.uses_tensors = false)

extern "C" __global__ void group_without_pair(const int* from, int* to) {
  to[threadIdx.x] = from[threadIdx.x];
  emulation::tensor_check_group(2, true, "allocation");
}
MXHAL_KERNEL(group_without_pair)

// The second block begins a copy of a tile that counts at the first's barrier, and hears of it from there.

struct alignas(64) MapBytes {
  uint64_t words[16];
};

struct alignas(1024) Tile {
  int words[128];
  uint64_t barrier;
};

inline void copy_for_both(const MapBytes& map, int* to, bool first_waits) {
  MXHAL_SHARED(Tile, shared);
  uint32_t rank = emulation::cluster_rank();
  if (threadIdx.x == 0) {
    emulation::barrier_init(&shared.barrier, 1);
    emulation::barrier_publish();
  }
  emulation::wait_at_cluster_barrier();
  if (threadIdx.x == 0) {
    if (rank == 0) {
      emulation::barrier_expect(&shared.barrier, 512);
      emulation::barrier_arrive(&shared.barrier);
      if (first_waits) emulation::barrier_wait(&shared.barrier, 0);
      emulation::barrier_arrive_at(&shared.barrier, 1);
    } else {
      emulation::copy_tile(shared.words, &map, 0, 0, &shared.barrier, 0);
    }
  }
  if (rank == 1) {
    emulation::barrier_wait(&shared.barrier, 0, true);
    for (int i = 0; i < 128; i += 32) to[i + threadIdx.x] = shared.words[i + threadIdx.x];
  }
  emulation::wait_at_cluster_barrier();
}

extern "C" __global__ void tile_for_both(const MapBytes map, int* to) { copy_for_both(map, to, true); }
MXHAL_CLUSTER_KERNEL(tile_for_both, 2)
extern "C" __global__ void tile_nobody_awaits(const MapBytes map, int* to) { copy_for_both(map, to, false); }
MXHAL_CLUSTER_KERNEL(tile_nobody_awaits, 2)
