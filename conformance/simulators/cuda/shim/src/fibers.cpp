// Fibers, barriers and warps: the threads of one block at a time, on one thread of the CPU.
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
  bool started = false;
  bool at_barrier = false;
};

/// The threads that can go on. Never more than a block has.
struct Queue {
  static constexpr unsigned room = 1024;
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
  unsigned live = 0;
  unsigned at_barrier = 0;
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
    if (scheduler.live == 0 || !carry_out_operation(scheduler.random >> 4)) _longjmp(scheduler.home, 1);
  }
  enter(pop());
}

void open_barrier() {
  Scheduler& s = scheduler;
  s.at_barrier = 0;
  block.epoch++;
  join_clocks(0, block.threads);
  for (unsigned thread = 0; thread < s.fibers.size(); thread++) {
    if (s.fibers[thread]->at_barrier) {
      s.fibers[thread]->at_barrier = false;
      push(thread);
    }
  }
}

/// Every fiber sleeps and none can wake another.
void describe_deadlock() {
  Scheduler& s = scheduler;
  std::string waits;
  for (unsigned w = 0; w < s.warps.size(); w++) {
    if (s.warps[w].arrived == 0) continue;
    waits += std::string("; warp ") + std::to_string(w) + ": lanes " + std::to_string(__builtin_popcount(s.warps[w].arrived)) +
             " of 32 at " + s.warps[w].collective;
  }
  char text[512];
  waits += describe_sleepers();
  snprintf(text, sizeof text, "%s: block (%u, %u, %u): divergent barrier: %u of %u threads at __syncthreads, %u have ended%s",
           s.kernel, state.block_index[0], state.block_index[1], state.block_index[2], s.at_barrier, block.threads,
           block.threads - s.live, waits.c_str());
  s.fault = text;
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

/// Runs one block to its end; false after a fault.
__attribute__((noinline)) bool run_block() {
  Scheduler& s = scheduler;
  s.live = block.threads;
  s.at_barrier = 0;
  s.ready.count = 0;
  for (Warp& warp : s.warps) {
    warp.arrived = 0;
    warp.under_way = 0;
    warp.epoch++;
  }
  for (unsigned thread = 0; thread < block.threads; thread++) {
    s.fibers[thread]->at_barrier = false;
    push(thread);
  }
  s.running = true;
  if (_setjmp(s.home) == 0) go_on();
  s.running = false;
  if (s.fault.empty() && s.live != 0) describe_deadlock();
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

void leave_block() {
  Scheduler& s = scheduler;
  if (!block.copies[state.thread].empty()) {
    fault("the thread ended with asynchronous copies that it never waited for");
  }
  if (this_warp().under_way != 0) {
    fault("the thread ended with %u instructions of its warp under way, which it never waited for", this_warp().under_way);
  }
  s.live--;
  // As on the hardware, a barrier waits for the threads that are still there.
  if (s.live != 0 && s.at_barrier == s.live) open_barrier();
  sleep();
}

void copy_argument(size_t place, void* to, size_t bytes) { memcpy(to, scheduler.arguments[place], bytes); }

void wait_at_barrier() {
  Scheduler& s = scheduler;
  if (this_warp().arrived != 0) {
    fault("divergent barrier: __syncthreads while lanes of the warp wait at %s", this_warp().collective);
  }
  s.fibers[state.thread]->at_barrier = true;
  block.waits[state.thread]++;
  if (++s.at_barrier == s.live) open_barrier();
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
           state.block_index[2], state.thread);
  s.fault = std::string(place) + text;
  _longjmp(s.home, 1);
}

int run(const char* kernel, Entry entry, void* const* arguments, const Launch* launch, char* message, size_t message_bytes) {
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
  prepare_fibers(threads);
  for (unsigned thread = 0; thread < threads; thread++) {
    unsigned* index = s.fibers[thread]->index;
    index[0] = thread % launch->block[0];
    index[1] = thread / launch->block[0] % launch->block[1];
    index[2] = thread / launch->block[0] / launch->block[1];
  }
  s.warps.resize(threads / 32);
  begin_launch(threads);
  for (unsigned z = 0; z < launch->grid[2]; z++) {
    for (unsigned y = 0; y < launch->grid[1]; y++) {
      for (unsigned x = 0; x < launch->grid[0]; x++) {
        state.block_index[0] = x;
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
