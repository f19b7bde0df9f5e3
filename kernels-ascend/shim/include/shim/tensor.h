// Tensors of device memory and of UB.
#pragma once

#include "machine.h"

namespace AscendC {

/// Elements in device memory.
template <class T>
class GlobalTensor {
 public:
  void SetGlobalBuffer(T* start, uint64_t elements) {
    start_ = start;
    elements_ = elements;
  }
  void SetGlobalBuffer(T* start) { SetGlobalBuffer(start, UINT64_MAX / sizeof(T)); }

  GlobalTensor operator[](uint64_t offset) const {
    GlobalTensor rest = *this;
    shim::Machine::Current().Require(offset <= elements_, "a tensor begins beyond its global buffer");
    rest.start_ += offset;
    rest.elements_ -= offset;
    return rest;
  }

  /// By the scalar unit.
  T GetValue(uint64_t index) const {
    shim::Machine& machine = shim::Machine::Current();
    machine.Begin(shim::SCALAR, "GlobalTensor::GetValue");
    return *Bytes(index * sizeof(T), sizeof(T));
  }

  /// Checked: where so many bytes from an offset on lie.
  T* Bytes(uint64_t offset, uint64_t bytes) const {
    shim::Machine& machine = shim::Machine::Current();
    machine.Require((offset + bytes + sizeof(T) - 1) / sizeof(T) <= elements_, "beyond the global buffer");
    uint8_t* at = reinterpret_cast<uint8_t*>(start_) + offset;
    machine.CheckMemory(at, bytes);
    return reinterpret_cast<T*>(at);
  }

 private:
  T* start_ = nullptr;
  uint64_t elements_ = 0;
};

/// Elements in UB.
template <class T>
class LocalTensor {
 public:
  LocalTensor() = default;
  LocalTensor(size_t at, size_t bytes) : at_(at), bytes_(bytes) {}

  LocalTensor operator[](uint32_t offset) const {
    shim::Machine::Current().Require(offset * sizeof(T) <= bytes_, "a tensor begins beyond its buffer");
    return {at_ + offset * sizeof(T), bytes_ - offset * sizeof(T)};
  }

  template <class U>
  LocalTensor<U> ReinterpretCast() const {
    return {at_, bytes_};
  }

  uint32_t GetSize() const { return uint32_t(bytes_ / sizeof(T)); }

  /// By the scalar unit.
  T GetValue(uint32_t index) const {
    shim::Machine::Current().Begin(shim::SCALAR, "LocalTensor::GetValue");
    return *Read(index, 1);
  }
  void SetValue(uint32_t index, T value) const {
    shim::Machine::Current().Begin(shim::SCALAR, "LocalTensor::SetValue");
    *Write(index, 1) = value;
  }

  // What instructions use: elements that the current one reads or writes.
  const T* Read(size_t first, size_t count) const {
    shim::Machine::Current().Read(Inside(first, count), count * sizeof(T));
    return Address(first);
  }
  T* Write(size_t first, size_t count) const {
    shim::Machine::Current().Write(Inside(first, count), count * sizeof(T));
    return Address(first);
  }
  bool IsAligned(size_t bytes = shim::block_bytes) const { return at_ % bytes == 0; }
  size_t at() const { return at_; }
  size_t bytes() const { return bytes_; }

 private:
  size_t Inside(size_t first, size_t count) const {
    if ((first + count) * sizeof(T) > bytes_) {
      shim::Machine::Current().Fail("element " + std::to_string(first + count - 1) + " of a tensor of " +
                                    std::to_string(GetSize()));
    }
    return at_ + first * sizeof(T);
  }
  T* Address(size_t first) const { return reinterpret_cast<T*>(shim::Machine::Current().Ub(at_)) + first; }

  size_t at_ = 0, bytes_ = 0;
};

inline uint32_t GetBlockIdx() { return shim::Machine::Current().block(); }
inline uint32_t GetBlockNum() { return shim::Machine::Current().blocks(); }

}  // namespace AscendC
