#include "shim/machine.h"

#include <algorithm>
#include <cstdio>

namespace shim {
namespace {

const char* const names[pipes] = {"S", "V", "MTE2", "MTE3"};

}  // namespace

void Order::Join(const Order& other) {
  for (int pipe = 0; pipe < pipes; pipe++) after[pipe] = std::max(after[pipe], other.after[pipe]);
}

Machine& Machine::Current() {
  static thread_local Machine machine;
  return machine;
}

void Machine::Start(uint32_t block, uint32_t blocks, const Memory* memory, size_t memory_count) {
  std::fill(initialised_.begin(), initialised_.end(), 0);
  std::fill(cells_.begin(), cells_.end(), Cell{});
  for (Order& order : known_) order = Order{};
  std::fill(time_, time_ + pipes, 0);
  for (auto& from : flags_)
    for (auto& to : from)
      for (Flag& flag : to) flag = Flag{};
  held = 0;
  reserved_ = 0;
  memory_ = memory;
  memory_count_ = memory_count;
  block_ = block;
  blocks_ = blocks;
  Begin(SCALAR, "start");
}

void Machine::Finish() {
  instruction_ = "end";
  if (held != 0) Fail(std::to_string(held) + " tensors of queues were not freed");
  for (int from = 0; from < pipes; from++)
    for (int to = 0; to < pipes; to++)
      for (const Flag& flag : flags_[from][to])
        if (flag.set) Fail(std::string("a flag ") + names[from] + "_" + names[to] + " was set, and nobody waited for it");
}

void Machine::Begin(Pipe pipe, const char* instruction) {
  pipe_ = pipe;
  instruction_ = instruction;
  time_[pipe]++;
  // All pipes but the vector's are taken to do their instructions one after the other.
  if (pipe != VECTOR) known_[pipe].after[pipe] = time_[pipe];
}

void Machine::Touch(size_t at, size_t bytes, bool writes) {
  if (bytes == 0) return;
  if (at + bytes > reserved_) Fail("beyond the reserved UB");
  if (const void* first = writes ? nullptr : std::memchr(initialised_.data() + at, 0, bytes)) {
    size_t byte = size_t(static_cast<const uint8_t*>(first) - initialised_.data());
    Fail("reads byte " + std::to_string(byte) + " of UB, which nobody wrote");
  }
  const uint32_t* known = known_[pipe_].after;
  uint32_t now = time_[pipe_];
  for (size_t index = at / block_bytes; index <= (at + bytes - 1) / block_bytes; index++) {
    Cell& cell = cells_[index];
    bool mine = cell.writer == pipe_ && cell.written == now;
    if (!mine && cell.written > known[cell.writer]) FailOrder(index, cell.writer, "was written by");
    if (!writes) {
      cell.read[pipe_] = now;
      continue;
    }
    for (int pipe = 0; pipe < pipes; pipe++) {
      // Whoever issues an instruction has the values that it read before.
      if (pipe == SCALAR || (pipe == pipe_ && cell.read[pipe] == now)) continue;
      if (cell.read[pipe] > known[pipe]) FailOrder(index, Pipe(pipe), "was read by");
    }
    cell.written = now;
    cell.writer = pipe_;
  }
  if (writes) std::memset(initialised_.data() + at, 1, bytes);
}

void Machine::CheckMemory(const uint8_t* at, uint64_t bytes) const {
  for (size_t index = 0; index < memory_count_; index++) {
    const Memory& memory = memory_[index];
    if (at >= memory.start && at + bytes <= memory.start + memory.bytes) return;
  }
  Fail(std::to_string(bytes) + " bytes are not within the memory of the launch's arguments");
}

Order Machine::Reached(Pipe pipe) const {
  Order order = known_[pipe];
  order.after[pipe] = time_[pipe];
  return order;
}

void Machine::SetFlag(Pipe from, Pipe to, int id) {
  instruction_ = "SetFlag";
  Require(id >= 0 && id < 8, "an event is one of 8");
  Flag& flag = flags_[from][to][id];
  Require(!flag.set, "the flag is set already");
  flag = {true, Reached(from)};
}

void Machine::WaitFlag(Pipe from, Pipe to, int id) {
  instruction_ = "WaitFlag";
  Require(id >= 0 && id < 8, "an event is one of 8");
  Flag& flag = flags_[from][to][id];
  Require(flag.set, "nobody set the flag, and hardware would wait for ever");
  flag.set = false;
  Await(to, flag.order);
}

void Machine::Barrier(Pipe pipe) { known_[pipe].after[pipe] = time_[pipe]; }

void Machine::BarrierOfAll() {
  Order all;
  for (int pipe = 0; pipe < pipes; pipe++) all.after[pipe] = time_[pipe];
  for (Order& order : known_) order.Join(all);
}

size_t Machine::Reserve(size_t bytes) {
  instruction_ = "InitBuffer";
  size_t at = reserved_;
  size_t rounded = (bytes + block_bytes - 1) / block_bytes * block_bytes;
  Require(bytes > 0, "a buffer of no bytes");
  if (at + rounded > ub_bytes) {
    Fail(std::to_string(at + rounded) + " bytes of UB are wanted, and there are " + std::to_string(ub_bytes));
  }
  reserved_ = at + rounded;
  return at;
}

void Machine::Forget(size_t at, size_t bytes) { std::fill_n(initialised_.begin() + long(at), bytes, 0); }

void Machine::Fail(const std::string& what) const {
  throw Fault("block " + std::to_string(block_) + ": " + instruction_ + ": " + what);
}

void Machine::FailOrder(size_t cell, Pipe before, const char* how) const {
  Fail("byte " + std::to_string(cell * block_bytes) + " of UB " + how + " " + names[before] + ", and nothing orders " +
       names[pipe_] + " after it");
}

}  // namespace shim
