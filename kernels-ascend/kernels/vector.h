// What the kernels have in common: ordered vector instructions, flags, formats, rows in and out of UB.
//
// bisheng has not seen these kernels. They keep to interfaces that the public AscendC reference lists for the Ascend 950
// (NpuArch 3510) and that kernels-ascend/shim models; README.md says how they are compiled and what is unproven.
#pragma once

#include "kernel_operator.h"

#ifndef MXHAL_HOST_ENTRY
#define MXHAL_HOST_ENTRY(kernel)
#endif

namespace mxhal {

template <class T>
using Local = AscendC::LocalTensor<T>;
template <class T>
using Global = AscendC::GlobalTensor<T>;
using AscendC::HardEvent;
using AscendC::RoundMode;
using AscendC::TPosition;

/// The numbers of mxhal_format.
enum Format : uint64_t { FORMAT_F32 = 1, FORMAT_BF16 = 2, FORMAT_F16 = 3 };

constexpr uint32_t block_bytes = 32;
/// Floats of 32 bytes, and of the 256 that an instruction takes at a time.
constexpr uint32_t block_floats = 8;
constexpr uint32_t repeat_floats = 64;

__aicore__ inline uint32_t Least(uint64_t a, uint64_t b) { return uint32_t(a < b ? a : b); }
__aicore__ constexpr uint32_t RoundUp(uint32_t value, uint32_t multiple) { return (value + multiple - 1) / multiple * multiple; }
__aicore__ inline uint32_t FormatBytes(uint64_t format) { return format == FORMAT_F32 ? 4 : 2; }

/// The float whose bits a parameter carries.
__aicore__ inline float FloatOf(uint64_t bits) {
  union {
    uint32_t word;
    float number;
  } both;
  both.word = uint32_t(bits);
  return both.number;
}

/// What one pipe issues from here on comes after what the other issued up to here.
template <HardEvent event>
__aicore__ inline void Order() {
  auto id = AscendC::GetTPipePtr()->FetchEventID(event);
  AscendC::SetFlag<event>(id);
  AscendC::WaitFlag<event>(id);
}

/// Vector instructions, each with a barrier behind it: whether the 950 orders those that depend on one another by itself
/// is not documented for all of them. They are called by their full name, or else those of AscendC would be found.
namespace v {

#define MXHAL_ORDERED(Name)                                         \
  template <class... Arguments>                                     \
  __aicore__ inline void Name(const Arguments&... arguments) {      \
    AscendC::Name(arguments...);                                    \
    AscendC::PipeBarrier<PIPE_V>();                                 \
  }
MXHAL_ORDERED(Add)
MXHAL_ORDERED(Sub)
MXHAL_ORDERED(Mul)
MXHAL_ORDERED(Div)
MXHAL_ORDERED(Max)
MXHAL_ORDERED(Min)
MXHAL_ORDERED(Abs)
MXHAL_ORDERED(Sqrt)
MXHAL_ORDERED(Cast)
MXHAL_ORDERED(CompareScalar)
MXHAL_ORDERED(Select)
MXHAL_ORDERED(WholeReduceMax)
MXHAL_ORDERED(WholeReduceSum)
MXHAL_ORDERED(PairReduceSum)
MXHAL_ORDERED(Brcb)
#undef MXHAL_ORDERED

#define MXHAL_ORDERED_WITH_SCALAR(Name)                                                             \
  template <class T>                                                                                \
  __aicore__ inline void Name(const Local<T>& to, const Local<T>& from, T scalar, uint32_t count) { \
    AscendC::Name(to, from, scalar, int32_t(count));                                                \
    AscendC::PipeBarrier<PIPE_V>();                                                                 \
  }
MXHAL_ORDERED_WITH_SCALAR(Adds)
MXHAL_ORDERED_WITH_SCALAR(Muls)
MXHAL_ORDERED_WITH_SCALAR(Maxs)
MXHAL_ORDERED_WITH_SCALAR(Mins)
MXHAL_ORDERED_WITH_SCALAR(ShiftLeft)
MXHAL_ORDERED_WITH_SCALAR(ShiftRight)
#undef MXHAL_ORDERED_WITH_SCALAR

}  // namespace v

template <class T>
__aicore__ inline void Fill(const Local<T>& to, T value, uint32_t count) {
  AscendC::Duplicate(to, value, int32_t(count));
  AscendC::PipeBarrier<PIPE_V>();
}

/// To whole numbers, ties to even.
__aicore__ inline void Rint(const Local<float>& to, const Local<float>& from, uint32_t count) {
  v::Cast(to, from, RoundMode::CAST_RINT, count);
}

/// The same bits.
__aicore__ inline void Move(const Local<float>& to, const Local<float>& from, uint32_t count) {
  v::Adds(to.ReinterpretCast<int32_t>(), from.ReinterpretCast<int32_t>(), int32_t(0), count);
}

/// Where the mask has a bit the number, elsewhere what was there. `filled` is room for as many.
__aicore__ inline void Replace(const Local<float>& to, const Local<uint8_t>& mask, float number, const Local<float>& filled,
                               uint32_t count) {
  Fill(filled, number, count);
  v::Select(to, mask, filled, to, AscendC::SELMODE::VSEL_TENSOR_TENSOR_MODE, count);
}

/// Of rows in device memory and in UB: `gap` bytes lie between those of device memory.
__aicore__ inline AscendC::DataCopyExtParams RowsIn(uint32_t rows, uint32_t bytes, uint64_t gap) {
  AscendC::DataCopyExtParams params{};
  params.blockCount = uint16_t(rows);
  params.blockLen = bytes;
  params.srcStride = decltype(params.srcStride)(gap);
  return params;
}
__aicore__ inline AscendC::DataCopyExtParams RowsOut(uint32_t rows, uint32_t bytes, uint64_t gap) {
  AscendC::DataCopyExtParams params{};
  params.blockCount = uint16_t(rows);
  params.blockLen = bytes;
  params.dstStride = decltype(params.dstStride)(gap);
  return params;
}

/// Bytes of device memory.
__aicore__ inline Global<uint8_t> BytesAt(GM_ADDR address, uint64_t offset) {
  Global<uint8_t> tensor;
  tensor.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(address) + offset);
  return tensor;
}

template <class T>
__aicore__ inline Global<T> ValuesAt(GM_ADDR address) {
  Global<T> tensor;
  tensor.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(address));
  return tensor;
}

__aicore__ inline void CopyIn(const Local<uint8_t>& to, const Global<uint8_t>& from, const AscendC::DataCopyExtParams& rows) {
  AscendC::DataCopyPadExtParams<uint8_t> unpadded{};
  AscendC::DataCopyPad(to, from, rows, unpadded);
}

/// Plain numbers out of device memory, as floats.
class FloatReader {
 public:
  /// For so many numbers at a time.
  __aicore__ inline void Init(AscendC::TPipe& pipe, uint32_t most) { pipe.InitBuffer(queue_, 2, most * sizeof(float)); }

  /// `count` numbers at an offset of so many elements.
  __aicore__ inline void Read(const Local<float>& to, GM_ADDR from, uint64_t format, uint64_t offset, uint32_t count) {
    ReadRows(to, from, format, offset, 1, count, 0);
  }

  /// Rows of `columns`, with `gap` elements between them. In UB they lie without gaps; several have whole blocks of 32 bytes.
  __aicore__ inline void ReadRows(const Local<float>& to, GM_ADDR from, uint64_t format, uint64_t offset, uint32_t rows,
                                  uint32_t columns, uint64_t gap) {
    uint32_t bytes = FormatBytes(format), count = rows * columns;
    Local<uint8_t> raw = queue_.AllocTensor<uint8_t>();
    CopyIn(raw, BytesAt(from, offset * bytes), RowsIn(rows, columns * bytes, gap * bytes));
    queue_.EnQue(raw);
    raw = queue_.DeQue<uint8_t>();
    if (format == FORMAT_F32) {
      Move(to, raw.ReinterpretCast<float>(), count);
    } else if (format == FORMAT_BF16) {
      v::Cast(to, raw.ReinterpretCast<bfloat16_t>(), RoundMode::CAST_NONE, count);
    } else {
      v::Cast(to, raw.ReinterpretCast<half>(), RoundMode::CAST_NONE, count);
    }
    queue_.FreeTensor(raw);
  }

 private:
  AscendC::TQue<TPosition::VECIN, 2> queue_;
};

/// Floats into device memory, rounded to a plain format.
class FloatWriter {
 public:
  __aicore__ inline void Init(AscendC::TPipe& pipe, uint32_t most) { pipe.InitBuffer(queue_, 2, most * sizeof(float)); }

  __aicore__ inline void Write(GM_ADDR to, uint64_t format, uint64_t offset, const Local<float>& from, uint32_t count) {
    Local<uint8_t> raw = queue_.AllocTensor<uint8_t>();
    if (format == FORMAT_F32) {
      Move(raw.ReinterpretCast<float>(), from, count);
    } else if (format == FORMAT_BF16) {
      v::Cast(raw.ReinterpretCast<bfloat16_t>(), from, RoundMode::CAST_RINT, count);
    } else {
      v::Cast(raw.ReinterpretCast<half>(), from, RoundMode::CAST_RINT, count);
    }
    queue_.EnQue(raw);
    raw = queue_.DeQue<uint8_t>();
    uint32_t bytes = FormatBytes(format);
    AscendC::DataCopyPad(BytesAt(to, offset * bytes), raw, RowsOut(1, count * bytes, 0));
    queue_.FreeTensor(raw);
  }

 private:
  AscendC::TQue<TPosition::VECOUT, 2> queue_;
};

}  // namespace mxhal
