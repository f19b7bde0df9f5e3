// Fibers, barriers and warps: the threads of one block at a time, or of one cluster, on one thread of the CPU.
//
// A switch between fibers is _setjmp and _longjmp, which unlike swapcontext make no system call; ucontext only gives
// a fiber its stack. Fibers are kept from block to block and from launch to launch.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block.h"

namespace emulation {

__thread State state;
thread_local Block block;

namespace {

struct Fiber {
  jmp_buf context;
  ucontext_t start;
  /// Along x, y and z.
  unsigned index[3];
  unsigned rank = 0;
  bool started = false;
  bool at_barrier = false;
  bool at_cluster_barrier = false;
};

/// The threads that can go on. Never more than a cluster has.
struct Queue {
  static constexpr unsigned room = 1024 * Block::most_members;
  unsigned threads[room];
  unsigned first = 0;
  unsigned count = 0;
  unsigned& at(unsigned place) { return threads[(first + place) % room]; }
};

/// The fibers of this thread of the CPU, and the block that they run.
struct Scheduler {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<unsigned char*> stacks;
  Queue ready;
  std::vector<Warp> warps;
  std::vector<std::vector<uint64_t>> warp_memory;
  jmp_buf home;
  Entry entry = nullptr;
  void* const* arguments = nullptr;
  const char* kernel = "";
  /// The index along x of the first block that runs.
  unsigned first_block = 0;
  uint64_t random = 0;
  std::string fault;
  bool running = false;

  ~Scheduler() {
    for (unsigned char* stack : stacks) munmap(stack, Block::stack_bytes);
  }
};

thread_local Scheduler scheduler;

void push(unsigned thread) {
  Queue& ready = scheduler.ready;
  ready.at(ready.count++) = thread;
}

/// The thread to run next, removed from those that are ready.
unsigned pop() {
  Queue& ready = scheduler.ready;
  uint64_t& random = scheduler.random;
  if (random != 0) {
    // xorshift64
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    std::swap(ready.at(0), ready.at(unsigned((random >> 32) * ready.count >> 32)));
  }
  unsigned thread = ready.at(0);
  ready.first = (ready.first + 1) % Queue::room;
  ready.count--;
  return thread;
}

void fiber_main() {
  for (;;) {
    scheduler.entry();
    leave_block();
  }
}

[[noreturn]] void enter(unsigned thread) {
  Fiber& fiber = *scheduler.fibers[thread];
  state.thread = thread;
  state.rank = fiber.rank;
  state.block_index[0] = scheduler.first_block + fiber.rank;
  state.warp = &scheduler.warps[thread / 32];
  memcpy(state.thread_index, fiber.index, sizeof fiber.index);
  block.stack = scheduler.stacks[thread];
  if (fiber.started) _longjmp(fiber.context, 1);
  fiber.started = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = scheduler.stacks[thread];
  fiber.start.uc_stack.ss_size = Block::stack_bytes;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, fiber_main, 0);
  setcontext(&fiber.start);
  abort();
}

[[noreturn]] void go_on() {
  // Operations happen as late as can be, when nobody else can go on, or now and then as the seed has it.
  if (scheduler.random % 16 == 5) carry_out_operation(scheduler.random >> 4);
  while (scheduler.ready.count == 0) {
    if (block.live() == 0 || !carry_out_operation(scheduler.random >> 4)) _longjmp(scheduler.home, 1);
  }
  enter(pop());
}

/// Wakes those of a block that wait there.
void open_barrier(unsigned rank, bool Fiber::*at) {
  unsigned first = rank * block.threads;
  block.members[rank].epoch = ++block.last_epoch;
  for (unsigned thread = first; thread < first + block.threads; thread++) {
    Fiber& fiber = *scheduler.fibers[thread];
    if (!(fiber.*at)) continue;
    fiber.*at = false;
    push(thread);
  }
}

/// As on the hardware, a barrier waits for the threads that are still there.
void open_barrier_if_complete() {
  Member& own = block.own();
  if (own.at_barrier == 0 || own.at_barrier != own.live) return;
  own.at_barrier = 0;
  join_clocks(state.rank * block.threads, block.threads);
  open_barrier(state.rank, &Fiber::at_barrier);
}

void open_cluster_barrier_if_complete() {
  unsigned arrived = 0;
  for (unsigned rank = 0; rank < block.count; rank++) {
    if (block.members[rank].at_cluster_barrier != block.members[rank].live) return;
    arrived += block.members[rank].at_cluster_barrier;
  }
  if (arrived == 0) return;
  join_clocks(0, block.all_threads());
  for (unsigned rank = 0; rank < block.count; rank++) {
    block.members[rank].at_cluster_barrier = 0;
    open_barrier(rank, &Fiber::at_cluster_barrier);
  }
}

/// Of a fiber that is about to wait for others than those of its warp.
void check_warp(const char* what) {
  if (this_warp().arrived != 0) {
    fault("divergent barrier: %s while lanes of the warp wait at %s", what, this_warp().collective);
  }
}

Name name_of_block(unsigned rank) {
  Name name;
  snprintf(name.text, sizeof name.text, "block (%u, %u, %u)", scheduler.first_block + rank, state.block_index[1], state.block_index[2]);
  return name;
}

/// Every fiber sleeps and none can wake another.
void describe_deadlock() {
  Scheduler& s = scheduler;
  s.fault = s.kernel;
  for (unsigned rank = 0; rank < block.count; rank++) {
    const Member& member = block.members[rank];
    s.fault += std::string(rank == 0 ? ": " : "; ") + name_of_block(rank).text + ": divergent barrier: " + std::to_string(member.at_barrier) +
               " of " + std::to_string(block.threads) + " threads at __syncthreads, ";
    if (block.count != 1) s.fault += std::to_string(member.at_cluster_barrier) + " at that of the cluster, ";
    s.fault += std::to_string(block.threads - member.live) + " have ended";
    unsigned warps = block.threads / 32;
    for (unsigned w = 0; w < warps; w++) {
      const Warp& warp = s.warps[rank * warps + w];
      if (warp.arrived == 0) continue;
      s.fault += "; warp " + std::to_string(w) + ": lanes " + std::to_string(__builtin_popcount(warp.arrived)) + " of 32 at " +
                 warp.collective;
    }
    s.fault += describe_sleepers(rank);
  }
}

void prepare_fibers(unsigned threads) {
  Scheduler& s = scheduler;
  while (s.stacks.size() < threads) {
    void* stack = mmap(nullptr, Block::stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) {
      perror("emulation: a fiber's stack");
      abort();
    }
    s.stacks.push_back(static_cast<unsigned char*>(stack));
    s.fibers.push_back(std::make_unique<Fiber>());
  }
}

/// Runs one block, or those of a cluster, to the end; false after a fault.
__attribute__((noinline)) bool run_block() {
  Scheduler& s = scheduler;
  for (unsigned rank = 0; rank < Block::most_members; rank++) {
    Member& member = block.members[rank];
    member.live = rank < block.count ? block.threads : 0;
    member.at_barrier = member.at_cluster_barrier = 0;
  }
  s.ready.count = 0;
  for (Warp& warp : s.warps) {
    warp.arrived = 0;
    warp.under_way = 0;
    warp.epoch++;
  }
  for (unsigned thread = 0; thread < block.all_threads(); thread++) {
    s.fibers[thread]->at_barrier = s.fibers[thread]->at_cluster_barrier = false;
    push(thread);
  }
  s.running = true;
  if (_setjmp(s.home) == 0) go_on();
  s.running = false;
  if (s.fault.empty() && block.live() != 0) describe_deadlock();
  if (s.fault.empty()) {
    std::string left = describe_leftovers();
    if (!left.empty()) s.fault = std::string(s.kernel) + ": the block ended with " + left;
  }
  return s.fault.empty();
}

}  // namespace

void wake(unsigned thread) { push(thread); }

__attribute__((noinline)) void sleep() {
  if (_setjmp(scheduler.fibers[state.thread]->context) == 0) go_on();
}

bool is_running() { return scheduler.running; }

Name name_of(unsigned thread) {
  Name name;
  bool is_peer = block.is_peer(thread);
  snprintf(name.text, sizeof name.text, "thread %u%s%s", thread % block.threads, is_peer ? " of " : "",
           is_peer ? name_of_block(block.rank_of(thread)).text : "");
  return name;
}

void leave_block() {
  if (!block.copies[state.thread].empty()) {
    fault("the thread ended with asynchronous copies that it never waited for");
  }
  if (this_warp().under_way != 0) {
    fault("the thread ended with %u instructions of its warp under way, which it never waited for", this_warp().under_way);
  }
  if (--block.own().live == 0) check_untouched(state.rank);
  open_barrier_if_complete();
  open_cluster_barrier_if_complete();
  sleep();
}

void copy_argument(size_t place, void* to, size_t bytes) { memcpy(to, scheduler.arguments[place], bytes); }

void wait_at_barrier() {
  check_warp("__syncthreads");
  scheduler.fibers[state.thread]->at_barrier = true;
  block.waits[state.thread]++;
  block.own().at_barrier++;
  open_barrier_if_complete();
  sleep();
}

void wait_at_cluster_barrier() {
  check_warp("a barrier of the cluster");
  scheduler.fibers[state.thread]->at_cluster_barrier = true;
  block.waits[state.thread]++;
  block.own().at_cluster_barrier++;
  for (unsigned rank = 0; rank < block.count; rank++) {
    if (block.members[rank].live == 0) fault("a barrier of the cluster, of which %s has ended", name_of_block(rank).text);
  }
  open_cluster_barrier_if_complete();
  sleep();
}

Warp& this_warp() { return *state.warp; }

void* memory_of_warp(size_t bytes) {
  auto& all = scheduler.warp_memory;
  unsigned warp = state.thread / 32;
  if (all.size() <= warp) all.resize(warp + 1);
  if (all[warp].size() * 8 < bytes) all[warp].resize((bytes + 7) / 8);
  return all[warp].data();
}

bool arrive_at_warp(Warp& warp, const char* name, unsigned mask) {
  if (mask != 0xffffffffu) fault("%s with mask %#x: only whole warps are emulated", name, mask);
  if (warp.arrived == 0) {
    warp.collective = name;
  } else if (warp.collective != name && strcmp(warp.collective, name) != 0) {
    fault("divergent warp: this lane is at %s and others at %s", name, warp.collective);
  }
  warp.arrived |= 1u << state.thread % 32;
  if (warp.arrived == 0xffffffffu) return true;
  sleep();
  return false;
}

void release_warp(Warp& warp) {
  warp.arrived = 0;
  warp.epoch++;
  unsigned first = state.thread & ~31u;
  join_clocks(first, 32);
  for (unsigned thread = first; thread < first + 32; thread++) {
    if (thread != state.thread) push(thread);
  }
}

uint32_t warp_epoch() { return this_warp().epoch; }

void fault(const char* format, ...) {
  Scheduler& s = scheduler;
  char text[512];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  char place[160];
  snprintf(place, sizeof place, "%s: block (%u, %u, %u), thread %u: ", s.kernel, state.block_index[0], state.block_index[1],
           state.block_index[2], state.thread % block.threads);
  s.fault = std::string(place) + text;
  _longjmp(s.home, 1);
}

int run(const char* kernel, Entry entry, unsigned cluster, void* const* arguments, const Launch* launch, char* message,
        size_t message_bytes) {
  Scheduler& s = scheduler;
  s.kernel = kernel;
  s.entry = entry;
  s.arguments = arguments;
  s.random = launch->seed;
  s.fault.clear();
  state.launch = launch;
  unsigned threads = launch->block[0] * launch->block[1] * launch->block[2];
  bool fits = threads != 0 && threads <= 1024 && threads % 32 == 0 && launch->shared_bytes <= Block::most_shared_bytes;
  if (!fits) {
    snprintf(message, message_bytes, "%s: %u threads and %u bytes of shared memory: a block has 32 to 1024 threads in whole warps, and at most %u bytes",
             kernel, threads, launch->shared_bytes, Block::most_shared_bytes);
    return 1;
  }
  if (cluster == 0 || cluster > Block::most_members || launch->grid[0] % cluster != 0) {
    snprintf(message, message_bytes, "%s: a grid of %u blocks along x, and %u in a cluster: they divide the grid, and at most %u are emulated",
             kernel, launch->grid[0], cluster, Block::most_members);
    return 1;
  }
  prepare_fibers(cluster * threads);
  for (unsigned i = 0; i < cluster * threads; i++) {
    Fiber& fiber = *s.fibers[i];
    unsigned thread = i % threads;
    fiber.rank = i / threads;
    fiber.index[0] = thread % launch->block[0];
    fiber.index[1] = thread / launch->block[0] % launch->block[1];
    fiber.index[2] = thread / launch->block[0] / launch->block[1];
  }
  s.warps.resize(cluster * threads / 32);
  begin_launch(threads, cluster);
  for (unsigned z = 0; z < launch->grid[2]; z++) {
    for (unsigned y = 0; y < launch->grid[1]; y++) {
      for (unsigned x = 0; x < launch->grid[0]; x += cluster) {
        s.first_block = x;
        state.block_index[1] = y;
        state.block_index[2] = z;
        begin_block();
        if (run_block()) continue;
        snprintf(message, message_bytes, "%s", s.fault.c_str());
        // The fibers stopped anywhere: they begin anew.
        for (auto& fiber : s.fibers) fiber->started = false;
        return 1;
      }
    }
  }
  return 0;
}

}  // namespace emulation
