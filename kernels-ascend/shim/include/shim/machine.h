// A vector core: its unified buffer (UB), its pipes, and what has been ordered after what.
//
// Instructions are carried out at once, in the order of the program. What hardware might do otherwise is a fault instead:
// each pipe counts its instructions, each 32 bytes of UB remember who wrote and read them last, and an access is ordered
// only if a flag, a queue or a barrier says so.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "types.h"

namespace shim {

/// UB of one vector core of dav-3510, as far as kernels may use it.
constexpr size_t ub_bytes = 253952;
constexpr size_t block_bytes = 32;

/// What a kernel did that hardware forbids or leaves undefined.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum Pipe : uint8_t { SCALAR, VECTOR, COPY_IN, COPY_OUT };
constexpr int pipes = 4;

/// For each pipe the last of its instructions that something comes after.
struct Order {
  uint32_t after[pipes] = {};
  void Join(const Order& other);
};

/// Device memory that a launch may touch.
struct Memory {
  uint8_t* start;
  uint64_t bytes;
};

class Machine {
 public:
  /// The one that runs on this thread.
  static Machine& Current();

  /// Makes UB as it is when a block starts: nothing is written, nothing is reserved.
  void Start(uint32_t block, uint32_t blocks, const Memory* memory, size_t memory_count);
  /// Faults for what a block leaves behind.
  void Finish();

  /// The next instruction of a pipe, by its name in messages.
  void Begin(Pipe pipe, const char* instruction);
  /// It reads or writes so many bytes of UB.
  void Read(size_t at, size_t bytes) { Touch(at, bytes, false); }
  void Write(size_t at, size_t bytes) { Touch(at, bytes, true); }
  /// It reads or writes device memory.
  void CheckMemory(const uint8_t* at, uint64_t bytes) const;

  /// What an instruction of this pipe that is issued now comes after, itself included.
  Order Reached(Pipe pipe) const;
  void Await(Pipe pipe, const Order& order) { known_[pipe].Join(order); }
  void SetFlag(Pipe from, Pipe to, int id);
  void WaitFlag(Pipe from, Pipe to, int id);
  void Barrier(Pipe pipe);
  void BarrierOfAll();

  /// Reserves UB; the number of its first byte.
  size_t Reserve(size_t bytes);
  /// Forgets what was written there.
  void Forget(size_t at, size_t bytes);
  /// A queue's tensors that are not freed yet.
  int held = 0;

  uint8_t* Ub(size_t at) { return ub_.data() + at; }
  uint32_t block() const { return block_; }
  uint32_t blocks() const { return blocks_; }

  [[noreturn]] void Fail(const std::string& what) const;
  void Require(bool holds, const char* what) const {
    if (!holds) Fail(what);
  }

 private:
  struct Cell {
    uint32_t written;
    Pipe writer;
    uint32_t read[pipes];
  };

  void Touch(size_t at, size_t bytes, bool writes);
  [[noreturn]] void FailOrder(size_t cell, Pipe before, const char* how) const;

  std::vector<uint8_t> ub_ = std::vector<uint8_t>(ub_bytes);
  std::vector<uint8_t> initialised_ = std::vector<uint8_t>(ub_bytes);
  std::vector<Cell> cells_ = std::vector<Cell>(ub_bytes / block_bytes);
  Order known_[pipes];
  uint32_t time_[pipes];
  struct Flag {
    bool set;
    Order order;
  } flags_[pipes][pipes][8];
  size_t reserved_;
  const Memory* memory_;
  size_t memory_count_;
  uint32_t block_, blocks_;
  Pipe pipe_;
  const char* instruction_;
};

}  // namespace shim
