// Buffers in UB, the queues between pipes, flags and barriers.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "tensor.h"

namespace AscendC {

enum class TPosition : uint8_t { GM, VECIN, VECCALC, VECOUT };
using QuePosition = TPosition;

/// From which pipe to which; the names are AscendC's.
enum class HardEvent : uint8_t { MTE2_V, V_MTE2, MTE3_V, V_MTE3, MTE2_S, V_S, S_V, S_MTE3, S_MTE2, MTE3_S, MTE2_MTE3, MTE3_MTE2 };

enum pipe_t { PIPE_S, PIPE_V, PIPE_MTE2, PIPE_MTE3, PIPE_ALL };

using TEventID = int8_t;

class TPipe;

namespace detail {

struct Ends {
  shim::Pipe from, to;
};

constexpr Ends EndsOf(HardEvent event) {
  using namespace shim;
  constexpr Ends ends[] = {{COPY_IN, VECTOR}, {VECTOR, COPY_IN},  {COPY_OUT, VECTOR}, {VECTOR, COPY_OUT},
                           {COPY_IN, SCALAR}, {VECTOR, SCALAR},   {SCALAR, VECTOR},   {SCALAR, COPY_OUT},
                           {SCALAR, COPY_IN}, {COPY_OUT, SCALAR}, {COPY_IN, COPY_OUT}, {COPY_OUT, COPY_IN}};
  return ends[int(event)];
}

inline TPipe*& CurrentPipe() {
  static thread_local TPipe* pipe = nullptr;
  return pipe;
}

/// One buffer of a queue, and where it is on its way.
struct Buffer {
  enum State { FREE, ALLOCATED, QUEUED, TAKEN } state = FREE;
  size_t at = 0, bytes = 0;
  /// What whoever uses it next comes after.
  shim::Order order;
};

}  // namespace detail

/// A queue of buffers from the pipe that fills them to the pipe that empties them.
template <TPosition source, TPosition target, int32_t depth>
class TQueBind {
 public:
  template <class T>
  LocalTensor<T> AllocTensor() {
    shim::Machine& machine = shim::Machine::Current();
    machine.Begin(shim::SCALAR, "AllocTensor");
    for (detail::Buffer& buffer : buffers_) {
      if (buffer.state != detail::Buffer::FREE) continue;
      buffer.state = detail::Buffer::ALLOCATED;
      machine.Await(filling, buffer.order);
      machine.Forget(buffer.at, buffer.bytes);
      machine.held++;
      return {buffer.at, buffer.bytes};
    }
    machine.Fail("all buffers of the queue are in use, and hardware would wait for ever");
  }

  template <class T>
  bool EnQue(const LocalTensor<T>& tensor) {
    shim::Machine& machine = shim::Machine::Current();
    machine.Begin(shim::SCALAR, "EnQue");
    machine.Require(int32_t(queued_.size()) < depth, "the queue is full");
    size_t index = Move(tensor.at(), detail::Buffer::ALLOCATED, detail::Buffer::QUEUED);
    buffers_[index].order = machine.Reached(filling);
    queued_.push_back(index);
    return true;
  }

  template <class T>
  LocalTensor<T> DeQue() {
    shim::Machine& machine = shim::Machine::Current();
    machine.Begin(shim::SCALAR, "DeQue");
    machine.Require(!queued_.empty(), "the queue is empty");
    detail::Buffer& buffer = buffers_[queued_.front()];
    queued_.pop_front();
    buffer.state = detail::Buffer::TAKEN;
    machine.Await(emptying, buffer.order);
    return {buffer.at, buffer.bytes};
  }

  template <class T>
  void FreeTensor(LocalTensor<T>& tensor) {
    shim::Machine& machine = shim::Machine::Current();
    machine.Begin(shim::SCALAR, "FreeTensor");
    size_t index = Move(tensor.at(), detail::Buffer::TAKEN, detail::Buffer::FREE);
    buffers_[index].order = machine.Reached(emptying);
    machine.held--;
  }

 private:
  friend class TPipe;
  static constexpr shim::Pipe filling = source == TPosition::VECIN ? shim::COPY_IN : shim::VECTOR;
  static constexpr shim::Pipe emptying = target == TPosition::VECOUT ? shim::COPY_OUT : shim::VECTOR;

  size_t Move(size_t at, detail::Buffer::State from, detail::Buffer::State to) {
    shim::Machine& machine = shim::Machine::Current();
    for (size_t index = 0; index < buffers_.size(); index++) {
      if (buffers_[index].at != at) continue;
      machine.Require(buffers_[index].state == from, "the tensor is not at this point of its way through the queue");
      buffers_[index].state = to;
      return index;
    }
    machine.Fail("the tensor is not of this queue");
  }

  std::vector<detail::Buffer> buffers_;
  std::deque<size_t> queued_;
};

/// From copies to vector instructions (VECIN), or from those to copies (VECOUT).
template <TPosition position, int32_t depth>
using TQue = TQueBind<position == TPosition::VECIN ? TPosition::VECIN : TPosition::VECCALC,
                      position == TPosition::VECOUT ? TPosition::VECOUT : TPosition::VECCALC, depth>;

/// A buffer that no queue looks after.
template <TPosition position = TPosition::VECCALC>
class TBuf {
 public:
  template <class T>
  LocalTensor<T> Get() const {
    return {at_, bytes_};
  }

 private:
  friend class TPipe;
  size_t at_ = 0, bytes_ = 0;
};

class TPipe {
 public:
  TPipe() {
    shim::Machine::Current().Require(detail::CurrentPipe() == nullptr, "a kernel has one TPipe");
    detail::CurrentPipe() = this;
  }
  ~TPipe() { detail::CurrentPipe() = nullptr; }
  TPipe(const TPipe&) = delete;

  template <TPosition source, TPosition target, int32_t depth>
  bool InitBuffer(TQueBind<source, target, depth>& queue, uint8_t count, uint32_t bytes) {
    shim::Machine& machine = shim::Machine::Current();
    machine.Require(queue.buffers_.empty(), "the queue has its buffers already");
    for (uint8_t index = 0; index < count; index++) {
      detail::Buffer buffer;
      buffer.at = machine.Reserve(bytes);
      buffer.bytes = (bytes + shim::block_bytes - 1) / shim::block_bytes * shim::block_bytes;
      queue.buffers_.push_back(buffer);
    }
    return true;
  }

  template <TPosition position>
  bool InitBuffer(TBuf<position>& buffer, uint32_t bytes) {
    buffer.at_ = shim::Machine::Current().Reserve(bytes);
    buffer.bytes_ = (bytes + shim::block_bytes - 1) / shim::block_bytes * shim::block_bytes;
    return true;
  }

  /// An event that nobody uses at the moment.
  TEventID FetchEventID(HardEvent) { return 0; }
};

inline TPipe* GetTPipePtr() { return detail::CurrentPipe(); }

template <HardEvent event>
void SetFlag(TEventID id) {
  constexpr detail::Ends ends = detail::EndsOf(event);
  shim::Machine::Current().SetFlag(ends.from, ends.to, id);
}

template <HardEvent event>
void WaitFlag(TEventID id) {
  constexpr detail::Ends ends = detail::EndsOf(event);
  shim::Machine::Current().WaitFlag(ends.from, ends.to, id);
}

template <pipe_t pipe>
void PipeBarrier() {
  if (pipe == PIPE_ALL) return shim::Machine::Current().BarrierOfAll();
  shim::Machine::Current().Barrier(shim::Pipe(pipe));
}

}  // namespace AscendC

using AscendC::PIPE_ALL;
using AscendC::PIPE_MTE2;
using AscendC::PIPE_MTE3;
using AscendC::PIPE_S;
using AscendC::PIPE_V;
