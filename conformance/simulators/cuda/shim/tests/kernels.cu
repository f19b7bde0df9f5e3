// Kernels that do what is allowed, and kernels that do what is not: each fault is one that a check must name.
#include <emulation.h>
#include <tensor_memory.h>

struct Values {
  int of[64];
};

extern "C" __global__ void reverse(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  values[i] = from[i];
  __syncthreads();
  to[i] = values[63 - i];
}
MXHAL_KERNEL(reverse)

extern "C" __global__ void sum(const int* from, int* to) {
  int value = from[blockIdx.x * 32 + threadIdx.x];
  for (int bits = 16; bits != 0; bits /= 2) value += __shfl_xor_sync(0xffffffffu, value, bits);
  if (threadIdx.x == 0) atomicAdd(to, value);
}
MXHAL_KERNEL(sum)

extern "C" __global__ void no_barrier(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  values[i] = 0;
  __syncthreads();
  values[i] = from[i];
  to[i] = values[i ^ 32];
}
MXHAL_KERNEL(no_barrier)

extern "C" __global__ void no_warp_barrier(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  values[i] = from[i];
  __syncthreads();
  int value = values[i ^ 1];
  values[i] = value;
  to[i] = value;
}
MXHAL_KERNEL(no_warp_barrier)

extern "C" __global__ void unwritten(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  if (i != 5) values[i] = from[i];
  __syncthreads();
  to[i] = values[i];
}
MXHAL_KERNEL(unwritten)

extern "C" __global__ void past_shared(const int* from, int* to) {
  MXHAL_SHARED(Values, shared);
  int* values = shared.of;
  int i = threadIdx.x;
  values[i + 1] = from[i];
  to[i] = i;
}
MXHAL_KERNEL(past_shared)

extern "C" __global__ void past_buffer(const int* from, int* to) { to[threadIdx.x + 1] = from[threadIdx.x]; }
MXHAL_KERNEL(past_buffer)

extern "C" __global__ void divergent(const int* from, int* to) {
  int i = threadIdx.x;
  if (i < 40) {
    __syncthreads();
  } else {
    __shfl_xor_sync(0xffffffffu, i, 1);
  }
  to[i] = from[i];
}
MXHAL_KERNEL(divergent)

struct alignas(16) Chunks {
  int values[64][4];
};

extern "C" __global__ void copied(const int* from, int* to) {
  MXHAL_SHARED(Chunks, chunks);
  int i = threadIdx.x;
  emulation::copy_asynchronously(chunks.values[i], from + i / 4 * 4, 12, 4);
  emulation::commit_copies();
  emulation::wait_for_copies(0);
  to[i] = chunks.values[i][2] + chunks.values[i][3];
}
MXHAL_KERNEL(copied)

extern "C" __global__ void not_waited(const int* from, int* to) {
  MXHAL_SHARED(Chunks, chunks);
  int i = threadIdx.x;
  emulation::copy_asynchronously(chunks.values[i], from + i / 4 * 4, 16, 0);
  emulation::commit_copies();
  emulation::wait_for_copies(1);
  to[i] = chunks.values[i][2];
}
MXHAL_KERNEL(not_waited)

extern "C" __global__ void misaligned(const int* from, int* to) {
  MXHAL_SHARED(Chunks, chunks);
  emulation::copy_asynchronously(chunks.values[threadIdx.x], from + 1, 16, 0);
  to[threadIdx.x] = 0;
}
MXHAL_KERNEL(misaligned)

// Barriers in shared memory, and operations of units that work on their own. A kernel of faults does one at a time.

struct Handed {
  uint64_t barrier;
  int values[32];
};

/// The first warp writes and the second reads: 32 arrivals and a wait are what it takes.
inline void hand_over(const int* from, int* to, unsigned arrivals, bool waits) {
  MXHAL_SHARED(Handed, shared);
  int i = threadIdx.x;
  if (i == 0) emulation::barrier_init(&shared.barrier, arrivals);
  __syncthreads();
  if (i < 32) {
    shared.values[i] = from[i];
    to[i] = from[i];
    emulation::barrier_arrive(&shared.barrier);
  } else {
    if (waits) emulation::barrier_wait(&shared.barrier, 0);
    to[i] = shared.values[63 - i];
  }
}

extern "C" __global__ void handed_over(const int* from, int* to) { hand_over(from, to, 32, true); }
MXHAL_KERNEL(handed_over)
extern "C" __global__ void not_handed_over(const int* from, int* to) { hand_over(from, to, 32, false); }
MXHAL_KERNEL(not_handed_over)
extern "C" __global__ void never_arrived(const int* from, int* to) { hand_over(from, to, 33, true); }
MXHAL_KERNEL(never_arrived)

/// What a thread does around an operation that reads 4 bytes of shared memory and writes 32 columns of tensor memory.
struct Steps {
  bool fences = true;
  bool publishes = true;
  bool waits = true;
  bool fences_tensor = true;
  bool frees = true;
  unsigned columns = 32;
  bool writes_too_early = false;
};

struct Given {
  const int* from;
  uint32_t column;
};

MXHAL_UNCHECKED inline void fill_columns(const void* given) {
  const Given& what = *static_cast<const Given*>(given);
  for (uint32_t lane = 0; lane < emulation::tensor_lanes; lane++) {
    for (int i = 0; i < 32; i++) emulation::tensor_lane(lane, 0)[what.column + i] = uint32_t(*what.from) + lane;
  }
}

MXHAL_UNCHECKED inline int first_cell(uint32_t column) { return int(emulation::tensor_lane(0, 0)[column]); }

inline void operate(const int* from, int* to, Steps steps) {
  MXHAL_SHARED(Handed, shared);
  int i = threadIdx.x;
  if (i == 0) {
    emulation::barrier_init(&shared.barrier, 1);
    if (steps.publishes) emulation::barrier_publish();
    uint32_t columns = emulation::tensor_allocate(32);
    shared.values[0] = from[0];
    if (steps.fences) emulation::fence_asynchronous_proxy();
    uint32_t operation = emulation::next_operation();
    emulation::check_operation_reads(&shared.values[0], 4, operation, "operation");
    emulation::tensor_check_write(columns, steps.columns, operation, false, "operation", 0);
    Given given = {&shared.values[0], columns};
    emulation::begin_operation(fill_columns, &given, sizeof given);
    if (steps.writes_too_early) shared.values[0] = 0;
    emulation::commit_operations(&shared.barrier);
    if (steps.waits) emulation::barrier_wait(&shared.barrier, 0);
    if (steps.fences_tensor) emulation::tensor_fence();
    emulation::tensor_check_fenced("tensor load");
    emulation::tensor_check_load(columns, 32);
    to[0] = first_cell(columns);
    if (steps.frees) emulation::tensor_free(columns, 32);
  } else {
    to[i] = from[i];
  }
}

#define OPERATES(name, step)                                          \
  extern "C" __global__ void name(const int* from, int* to) {         \
    Steps steps;                                                      \
    step;                                                             \
    operate(from, to, steps);                                         \
  }                                                                   \
  MXHAL_KERNEL(name)

OPERATES(operated, )
OPERATES(operated_unseen, steps.fences = false)
OPERATES(operated_unpublished, steps.publishes = false)
OPERATES(operated_not_waited, steps.waits = false)
OPERATES(operated_not_fenced, steps.fences_tensor = false)
OPERATES(operated_not_freed, steps.frees = false)
OPERATES(operated_past_columns, steps.columns = 33)
OPERATES(operated_overwritten, steps.writes_too_early = true)

// Copies of tiles. Of 64 threads the first begins one of 4 rows of 128 bytes, and all give what came.

struct alignas(64) MapBytes {
  uint64_t words[16];
};

struct alignas(1024) Tile {
  int words[128];
  uint64_t barrier;
};

struct TileSteps {
  unsigned expects = 512;
  bool publishes = true;
  bool waits = true;
  int x = 0;
  bool is_padded = false;
  int written_before = 0;
  bool fences = true;
  bool copies_again = false;
};

inline void copy_one_tile(const MapBytes& map, int y, int* to, TileSteps steps) {
  MXHAL_SHARED(Tile, shared);
  int i = threadIdx.x;
  if (i == 0) {
    emulation::barrier_init(&shared.barrier, 1);
    if (steps.publishes) emulation::barrier_publish();
    for (int word = 0; word < steps.written_before; word++) shared.words[word] = word;
    if (steps.fences) emulation::fence_asynchronous_proxy();
    emulation::barrier_expect(&shared.barrier, steps.expects);
    emulation::copy_tile(shared.words, &map, steps.x, y, &shared.barrier);
    if (steps.copies_again) emulation::copy_tile(shared.words, &map, steps.x, y, &shared.barrier);
    emulation::barrier_arrive(&shared.barrier);
  }
  __syncthreads();
  if (steps.waits) {
    emulation::barrier_wait(&shared.barrier, 0);
    if (steps.is_padded) {
      to[i] = shared.words[i / 2 * 4 + i % 2];
    } else {
      to[i] = shared.words[i];
      to[64 + i] = shared.words[64 + i];
    }
  }
}

#define COPIES_TILE(name, step)                                                     \
  extern "C" __global__ void name(const MapBytes map, int y, int* to) {             \
    TileSteps steps;                                                                \
    step;                                                                           \
    copy_one_tile(map, y, to, steps);                                               \
  }                                                                                 \
  MXHAL_KERNEL(name)

COPIES_TILE(tile, )
COPIES_TILE(tile_along, steps.x = 16)
COPIES_TILE(tile_padded, steps.expects = 256; steps.is_padded = true)
COPIES_TILE(tile_gaps, steps.expects = 256)
COPIES_TILE(tile_after_writing, steps.written_before = 5)
COPIES_TILE(tile_not_expected, steps.expects = 0)
COPIES_TILE(tile_expected_more, steps.expects = 528)
COPIES_TILE(tile_unpublished, steps.publishes = false)
COPIES_TILE(tile_left, steps.waits = false)
COPIES_TILE(tile_over_unfenced_writes, steps.written_before = 5; steps.fences = false)
COPIES_TILE(tile_over_a_copy, steps.copies_again = true)
