// Copies between device memory and UB, of rows of any number of bytes.
#pragma once

#include "tensor.h"

namespace AscendC {

/// Rows, and what lies between them: bytes in device memory, blocks of 32 bytes in UB.
struct DataCopyExtParams {
  uint16_t blockCount;
  uint32_t blockLen;
  int64_t srcStride;
  int64_t dstStride;
  uint32_t rsv;
};

/// What fills a row's last block; without padding it is whatever it was.
template <class T>
struct DataCopyPadExtParams {
  bool isPad;
  uint8_t leftPadding;
  uint8_t rightPadding;
  T paddingValue;
};

namespace detail {

inline uint64_t InBlocks(uint64_t bytes) { return (bytes + shim::block_bytes - 1) / shim::block_bytes * shim::block_bytes; }

inline void CheckRows(shim::Machine& machine, const DataCopyExtParams& rows, bool aligned) {
  machine.Require(aligned, "the tensor in UB is not aligned to 32 bytes");
  machine.Require(rows.blockCount >= 1 && rows.blockCount <= 4095, "blockCount is 1 to 4095");
  machine.Require(rows.blockLen >= 1 && rows.blockLen <= 2097151, "blockLen is 1 to 2097151 bytes");
  machine.Require(rows.srcStride >= 0 && rows.dstStride >= 0, "strides are not negative");
}

}  // namespace detail

/// In: each row begins a block of UB.
template <class T>
void DataCopyPad(const LocalTensor<T>& to, const GlobalTensor<T>& from, const DataCopyExtParams& rows,
                 const DataCopyPadExtParams<T>& pad) {
  shim::Machine& machine = shim::Machine::Current();
  machine.Begin(shim::COPY_IN, "DataCopyPad into UB");
  detail::CheckRows(machine, rows, to.IsAligned());
  uint64_t filled = rows.blockLen + uint64_t(pad.isPad ? pad.leftPadding + pad.rightPadding : 0) * sizeof(T);
  machine.Require(!pad.isPad || (pad.leftPadding == 0 && filled <= detail::InBlocks(rows.blockLen)),
                  "only a row's last block is padded, behind the row");
  LocalTensor<uint8_t> bytes = to.template ReinterpretCast<uint8_t>();
  for (uint64_t row = 0; row < rows.blockCount; row++) {
    const T* source = from.Bytes(row * (rows.blockLen + uint64_t(rows.srcStride)), rows.blockLen);
    uint64_t at = row * (detail::InBlocks(rows.blockLen) + uint64_t(rows.dstStride) * shim::block_bytes);
    uint8_t* target = bytes.Write(at, filled);
    std::memcpy(target, source, rows.blockLen);
    for (uint64_t place = rows.blockLen; place < filled; place += sizeof(T)) {
      std::memcpy(target + place, &pad.paddingValue, sizeof(T));
    }
  }
}

/// Out: exactly the bytes of each row.
template <class T>
void DataCopyPad(const GlobalTensor<T>& to, const LocalTensor<T>& from, const DataCopyExtParams& rows) {
  shim::Machine& machine = shim::Machine::Current();
  machine.Begin(shim::COPY_OUT, "DataCopyPad out of UB");
  detail::CheckRows(machine, rows, from.IsAligned());
  LocalTensor<uint8_t> bytes = from.template ReinterpretCast<uint8_t>();
  for (uint64_t row = 0; row < rows.blockCount; row++) {
    uint64_t at = row * (detail::InBlocks(rows.blockLen) + uint64_t(rows.srcStride) * shim::block_bytes);
    const uint8_t* source = bytes.Read(at, rows.blockLen);
    std::memcpy(to.Bytes(row * (rows.blockLen + uint64_t(rows.dstStride)), rows.blockLen), source, rows.blockLen);
  }
}

}  // namespace AscendC
