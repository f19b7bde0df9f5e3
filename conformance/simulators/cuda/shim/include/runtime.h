// What emulation.h is made of: fibers, barriers, warps and the checks on memory. Implemented in src/.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef MXHAL_CHECKED
/// For what belongs to the emulation and not to the kernel: its accesses are not looked at.
#define MXHAL_UNCHECKED __attribute__((no_sanitize("thread"), noinline))
/// The same for small functions that such code calls.
#define MXHAL_UNCHECKED_INLINE __attribute__((no_sanitize("thread"))) inline
#else
#define MXHAL_UNCHECKED
#define MXHAL_UNCHECKED_INLINE inline
#endif

namespace emulation {

/// Shape of a launch, as the loader of the library passes it. Mirrored in lib.rs.
struct Launch {
  unsigned grid[3];
  unsigned block[3];
  /// Bytes of dynamic shared memory.
  unsigned shared_bytes;
  unsigned reserved;
  /// 0 runs the threads in order; another number chooses among the orders that barriers leave open.
  uint64_t seed;
};

using Entry = void (*)();

/// 32 threads, and what they pass to each other in a collective operation.
struct Warp {
  static constexpr unsigned lane_bytes = 128;
  alignas(16) unsigned char given[32][lane_bytes];
  alignas(16) unsigned char result[32][lane_bytes];
  const char* collective;
  unsigned arrived;
  /// Counts the collectives: memory accesses on both sides of one are ordered.
  uint32_t epoch;
  /// Instructions of this warp that it has not waited for yet: while there are any, its threads may not end.
  unsigned under_way;
};

/// Where the fiber that runs now stands.
struct State {
  const Launch* launch;
  unsigned block_index[3];
  /// Of its block in the cluster; 0 without one.
  unsigned rank;
  /// In order of x, then y, then z; and along each. Threads of a cluster's second block follow those of its first.
  unsigned thread;
  unsigned thread_index[3];
  Warp* warp;
};

// Not thread_local, whose initialisation would be asked for at each use.
extern __thread State state;

/// Runs every block, so many along x at a time as a cluster has: 1 or 2. 0, or 1 with the fault's description in
/// `message`.
int run(const char* kernel, Entry entry, unsigned cluster, void* const* arguments, const Launch* launch,
        char* message, size_t message_bytes);

/// Ends the launch with a description of what is wrong, beginning with kernel, block and thread.
[[noreturn]] void fault(const char* format, ...) __attribute__((format(printf, 1, 2)));

/// Copies an argument of the launch to the fiber that calls the kernel.
void copy_argument(size_t place, void* to, size_t bytes);

void wait_at_barrier();

/// The rank of this thread's block in its cluster.
MXHAL_UNCHECKED_INLINE uint32_t cluster_rank() { return state.rank; }
/// Waits for all threads of all blocks of the cluster.
void wait_at_cluster_barrier();

Warp& this_warp();
/// So many bytes for the model of an instruction, this warp's alone: zeros at first, and kept from launch to launch.
void* memory_of_warp(size_t bytes);
/// True for the last lane, which must answer and then release; the others return when it has.
bool arrive_at_warp(Warp& warp, const char* name, unsigned mask);
void release_warp(Warp& warp);

/// The block's dynamic shared memory, aligned to 1024 bytes.
unsigned char* dynamic_shared();
void* static_shared_bytes(const char* file, int line, size_t bytes, size_t alignment);
template <class T>
inline T* static_shared(const char* file, int line) {
  return static_cast<T*>(static_shared_bytes(file, line, sizeof(T), alignof(T)));
}

/// The accesses that the compiler cannot show: of a wrapped instruction, and of an atomic operation.
void check_read(const void* address, size_t bytes);
void check_write(void* address, size_t bytes);
void check_atomic(void* address, size_t bytes);
/// For a vector access: the hardware wants `address` to be a multiple of `alignment`.
void check_aligned(const void* address, size_t alignment, const char* what);

/// Where an address lies in the block's shared memory: what descriptors hold. And back, in the memory of the block
/// of that rank; an operation, which happens whoever runs, was given it when it began.
uint32_t shared_offset(const void* address);
unsigned char* shared_at(uint32_t offset, uint32_t rank);

/// mbarriers: objects of 8 bytes in shared memory, whose phase ends with the last of `count` arrivals.
void barrier_init(void* barrier, unsigned count);
/// Says that the barriers which this thread made may be arrived at by asynchronous operations.
void barrier_publish();
void barrier_arrive(void* barrier);
/// At the barrier that lies there in the memory of the block of that rank.
void barrier_arrive_at(void* barrier, uint32_t rank);
/// Bytes that the phase waits for besides its arrivals.
void barrier_expect(void* barrier, unsigned bytes);
/// Sleeps until the phase of this parity has ended. `in_cluster`: sees what threads of other blocks did as well.
void barrier_wait(void* barrier, unsigned parity, bool in_cluster = false);

/// Lets asynchronous operations see what this thread wrote to shared memory.
void fence_asynchronous_proxy();

/// An operation of a unit that works on its own, as a tensor core does: it happens after those begun before it, but
/// at no certain time. Only a commit tells a thread that it has happened. `act` gets a copy of the `bytes` at `given`.
/// It uses memory of this thread's block, or of so many, from the first of the cluster on.
void begin_operation(void (*act)(const void*), const void* given, size_t bytes, uint32_t blocks = 1);
/// The number that the next operation gets, in order of beginning.
uint32_t next_operation();
/// Whether this thread knows, by way of barriers, that an operation has happened.
bool knows_of(uint32_t operation);
/// Arrives at the barrier when every operation begun until now has happened.
void commit_operations(void* barrier);
/// The same, at the barriers that lie there in the memory of the blocks whose ranks' bits are set.
void commit_operations_to(void* barrier, uint32_t ranks);
/// That operation `operation`, not begun yet, will read shared memory: it must be written, seen and left alone.
void check_operation_reads(const void* address, size_t bytes, uint32_t operation, const char* what);

/// Begins a copy of the tile at these elements of the tensor that the map of 128 bytes describes, innermost first. It
/// happens at any time, and the barrier then counts its bytes: the one that lies there in the memory of the block of that
/// rank. What lies outside of the tensor is 0.
void copy_tile(void* shared, const void* map, int32_t x, int32_t y, void* barrier, uint32_t rank = cluster_rank());

/// An asynchronous copy to shared memory. Until its group is waited for, reading the destination is a fault; `zeros`
/// bytes after the copied ones are set to zero.
void copy_asynchronously(void* shared, const void* global, unsigned bytes, unsigned zeros);
void commit_copies();
/// Completes all groups of this thread but the newest `pending`.
void wait_for_copies(unsigned pending);

}  // namespace emulation
