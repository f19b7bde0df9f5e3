// Vector instructions, in the two forms that AscendC has: on the first n elements, and on repeats of 256 bytes with strides
// between them.
//
// What hardware's results are where a NaN is compared is not documented: Max, Min and their kin give some number then,
// here one that is far from right, so that no kernel relies on it.
#pragma once

#include <cmath>
#include <type_traits>

#include "tensor.h"

namespace AscendC {

enum class RoundMode { CAST_NONE, CAST_RINT, CAST_FLOOR, CAST_CEIL, CAST_ROUND, CAST_TRUNC };
enum class CMPMODE { LT, GT, EQ, LE, GE, NE };
enum class SELMODE { VSEL_CMPMASK_SPR, VSEL_TENSOR_SCALAR_MODE, VSEL_TENSOR_TENSOR_MODE };
enum class ReduceOrder { ORDER_VALUE_INDEX, ORDER_INDEX_VALUE, ORDER_ONLY_VALUE, ORDER_ONLY_INDEX };

/// Strides in blocks of 32 bytes: of the blocks within a repeat, and of repeats.
struct BinaryRepeatParams {
  uint8_t dstBlkStride, src0BlkStride, src1BlkStride, dstRepStride, src0RepStride, src1RepStride;
  BinaryRepeatParams(uint8_t dst_block, uint8_t src0_block, uint8_t src1_block, uint8_t dst, uint8_t src0, uint8_t src1)
      : dstBlkStride(dst_block), src0BlkStride(src0_block), src1BlkStride(src1_block), dstRepStride(dst), src0RepStride(src0),
        src1RepStride(src1) {}
};

struct BrcbRepeatParams {
  uint16_t dstBlkStride;
  uint16_t dstRepStride;
};

struct GatherMaskParams {
  uint8_t src0BlockStride;
  uint16_t repeatTimes;
  uint16_t src0RepeatStride;
  uint8_t src1RepeatStride;
};

namespace detail {

inline shim::Machine& Issue(const char* instruction) {
  shim::Machine& machine = shim::Machine::Current();
  machine.Begin(shim::VECTOR, instruction);
  return machine;
}

template <class... T>
void CheckAligned(const T&... tensors) {
  shim::Machine::Current().Require((tensors.IsAligned() && ...), "a tensor is not aligned to 32 bytes");
}

template <class T>
constexpr uint32_t per_block = shim::block_bytes / sizeof(T);
template <class T>
constexpr uint32_t per_repeat = 256 / sizeof(T);

inline void CheckRepeats(int64_t repeats) {
  shim::Machine::Current().Require(repeats >= 0 && repeats <= 255, "repeats are 0 to 255");
}

template <class T>
void CheckMask(uint64_t mask) {
  shim::Machine::Current().Require(mask >= 1 && mask <= per_repeat<T>, "the mask is 1 to a repeat's elements");
}

template <class T, class Body>
void Elementwise(const char* instruction, const LocalTensor<T>& dst, const LocalTensor<T>& a, const LocalTensor<T>& b,
                 int32_t count, Body body) {
  Issue(instruction);
  CheckAligned(dst, a, b);
  const T* left = a.Read(0, size_t(count));
  const T* right = b.Read(0, size_t(count));
  T* out = dst.Write(0, size_t(count));
  for (int32_t i = 0; i < count; i++) out[i] = body(left[i], right[i]);
}

template <class T, class Body>
void Elementwise(const char* instruction, const LocalTensor<T>& dst, const LocalTensor<T>& a, int32_t count, Body body) {
  Issue(instruction);
  CheckAligned(dst, a);
  const T* in = a.Read(0, size_t(count));
  T* out = dst.Write(0, size_t(count));
  for (int32_t i = 0; i < count; i++) out[i] = body(in[i]);
}

/// The first `mask` elements of each repeat.
template <class T, class Body>
void Strided(const char* instruction, const LocalTensor<T>& dst, const LocalTensor<T>& a, const LocalTensor<T>& b,
             uint64_t mask, uint8_t repeats, const BinaryRepeatParams& strides, Body body) {
  Issue(instruction);
  CheckAligned(dst, a, b);
  CheckMask<T>(mask);
  constexpr uint32_t lanes = per_block<T>;
  for (uint32_t repeat = 0; repeat < repeats; repeat++) {
    for (uint32_t first = 0; first < mask; first += lanes) {
      uint32_t block = first / lanes, count = uint32_t(mask - first < lanes ? mask - first : lanes);
      auto at = [&](uint32_t rep, uint32_t blk) { return size_t(repeat * rep + block * blk) * lanes; };
      const T* left = a.Read(at(strides.src0RepStride, strides.src0BlkStride), count);
      const T* right = b.Read(at(strides.src1RepStride, strides.src1BlkStride), count);
      T* out = dst.Write(at(strides.dstRepStride, strides.dstBlkStride), count);
      for (uint32_t i = 0; i < count; i++) out[i] = body(left[i], right[i]);
    }
  }
}

/// The greater or lesser; of a NaN something that is neither.
template <class T, class Less>
T Pick(T a, T b, Less first) {
  if constexpr (std::is_floating_point_v<T>) {
    if (a != a || b != b) return T(-12345678.9);
  }
  return first(a, b) ? a : b;
}
template <class T>
T Greater(T a, T b) {
  return Pick(a, b, [](T x, T y) { return x > y; });
}
template <class T>
T Lesser(T a, T b) {
  return Pick(a, b, [](T x, T y) { return x < y; });
}

/// Integers wrap.
template <class T>
T Sum(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return T(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
  } else {
    return a + b;
  }
}

inline float Rounded(float value, RoundMode mode) {
  switch (mode) {
    case RoundMode::CAST_RINT:
      return std::nearbyintf(value);
    case RoundMode::CAST_FLOOR:
      return std::floor(value);
    case RoundMode::CAST_CEIL:
      return std::ceil(value);
    case RoundMode::CAST_ROUND:
      return std::round(value);
    default:
      return std::trunc(value);
  }
}

/// To an integer, within its range; of a NaN 0.
template <class T>
T Integer(float value, RoundMode mode) {
  if (value != value) return 0;
  double rounded = Rounded(value, mode);
  double least = double(std::numeric_limits<T>::min()), most = double(std::numeric_limits<T>::max());
  return T(rounded < least ? least : rounded > most ? most : rounded);
}

/// The conversions that kernels may use, and how each may round. Others do not compile.
template <class To, class From>
struct Conversion;
#define MXHAL_CONVERSION(To, From, rounds, expression)         \
  template <>                                                  \
  struct Conversion<To, From> {                                \
    static constexpr bool is_rounded = rounds;                 \
    static To Of(From value, [[maybe_unused]] RoundMode mode) { return expression; } \
  };
MXHAL_CONVERSION(float, half, false, float(value))
MXHAL_CONVERSION(float, bfloat16_t, false, float(value))
MXHAL_CONVERSION(float, int32_t, true, float(value))
MXHAL_CONVERSION(half, uint8_t, false, half(float(value)))
MXHAL_CONVERSION(float, float, true, Rounded(value, mode))
MXHAL_CONVERSION(half, float, true, half(value))
MXHAL_CONVERSION(bfloat16_t, float, true, bfloat16_t(value))
MXHAL_CONVERSION(int32_t, float, true, Integer<int32_t>(value, mode))
MXHAL_CONVERSION(int32_t, half, true, Integer<int32_t>(float(value), mode))
MXHAL_CONVERSION(uint8_t, half, true, Integer<uint8_t>(float(value), mode))
#undef MXHAL_CONVERSION

}  // namespace detail

#define MXHAL_BINARY(Name, types, expression)                                                                      \
  template <class T>                                                                                               \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, int32_t count) {    \
    static_assert(types);                                                                                          \
    detail::Elementwise(#Name, dst, src0, src1, count, [](T a, T b) { return expression; });                       \
  }                                                                                                                \
  template <class T>                                                                                               \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, uint64_t mask,      \
            uint8_t repeatTime, const BinaryRepeatParams& repeatParams) {                                          \
    static_assert(types);                                                                                          \
    detail::Strided(#Name, dst, src0, src1, mask, repeatTime, repeatParams, [](T a, T b) { return expression; });  \
  }
#define MXHAL_FLOAT std::is_same_v<T, float>
#define MXHAL_NUMBER (std::is_same_v<T, float> || std::is_same_v<T, int32_t>)
MXHAL_BINARY(Add, MXHAL_NUMBER, detail::Sum(a, b))
MXHAL_BINARY(Sub, MXHAL_NUMBER, a - b)
MXHAL_BINARY(Mul, MXHAL_FLOAT, a * b)
MXHAL_BINARY(Div, MXHAL_FLOAT, a / b)
MXHAL_BINARY(Max, MXHAL_NUMBER, detail::Greater(a, b))
MXHAL_BINARY(Min, MXHAL_NUMBER, detail::Lesser(a, b))
#undef MXHAL_BINARY

#define MXHAL_WITH_SCALAR(Name, types, expression)                                                  \
  template <class T>                                                                                \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, int32_t count) { \
    static_assert(types);                                                                           \
    detail::Elementwise(#Name, dst, src, count, [b = scalarValue](T a) { return expression; });     \
  }
MXHAL_WITH_SCALAR(Adds, MXHAL_NUMBER, detail::Sum(a, b))
MXHAL_WITH_SCALAR(Muls, MXHAL_NUMBER, a* b)
MXHAL_WITH_SCALAR(Maxs, MXHAL_NUMBER, detail::Greater(a, b))
MXHAL_WITH_SCALAR(Mins, MXHAL_NUMBER, detail::Lesser(a, b))
// To the right a sign is carried along, and for unsigned numbers zeros come in.
MXHAL_WITH_SCALAR(ShiftLeft, (std::is_same_v<T, int32_t> || std::is_same_v<T, uint32_t>), T(std::make_unsigned_t<T>(a) << b))
MXHAL_WITH_SCALAR(ShiftRight, (std::is_same_v<T, int32_t> || std::is_same_v<T, uint32_t>), T(a >> b))
#undef MXHAL_WITH_SCALAR

#define MXHAL_UNARY(Name, expression)                                                \
  template <class T>                                                                 \
  void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t count) {   \
    static_assert(MXHAL_FLOAT);                                                      \
    detail::Elementwise(#Name, dst, src, count, [](T a) { return expression; });     \
  }
MXHAL_UNARY(Abs, std::fabs(a))
MXHAL_UNARY(Sqrt, std::sqrt(a))
#undef MXHAL_UNARY
#undef MXHAL_FLOAT
#undef MXHAL_NUMBER

template <class To, class From>
void Cast(const LocalTensor<To>& dst, const LocalTensor<From>& src, const RoundMode& roundMode, uint32_t count) {
  using Conversion = detail::Conversion<To, From>;
  shim::Machine& machine = detail::Issue("Cast");
  detail::CheckAligned(dst, src);
  machine.Require(roundMode == RoundMode::CAST_NONE ? !Conversion::is_rounded || std::is_same_v<From, int32_t>
                                                    : Conversion::is_rounded,
                  "this rounding mode is not one of this conversion");
  machine.Require(dst.at() != src.at() || sizeof(To) == sizeof(From), "types of different sizes in one place");
  const From* in = src.Read(0, count);
  To* out = dst.Write(0, count);
  for (uint32_t i = 0; i < count; i++) out[i] = Conversion::Of(in[i], roundMode);
}

template <class T>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, int32_t count) {
  detail::Issue("Duplicate");
  detail::CheckAligned(dst);
  T* out = dst.Write(0, size_t(count));
  for (int32_t i = 0; i < count; i++) out[i] = scalarValue;
}

/// Where the mask has a bit.
template <class T>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask[], uint8_t repeatTime, uint16_t dstBlockStride,
               uint8_t dstRepeatStride) {
  static_assert(sizeof(T) == 4, "a repeat of 64 elements has one word of mask");
  detail::Issue("Duplicate");
  detail::CheckAligned(dst);
  constexpr uint32_t lanes = detail::per_block<T>;
  for (uint32_t repeat = 0; repeat < repeatTime; repeat++) {
    for (uint32_t lane = 0; lane < 64; lane++) {
      if ((mask[0] >> lane & 1) == 0) continue;
      *dst.Write(size_t(repeat * dstRepeatStride + lane / lanes * dstBlockStride) * lanes + lane % lanes, 1) = scalarValue;
    }
  }
}

/// A bit for each element, eight a byte.
template <class T>
void CompareScalar(const LocalTensor<uint8_t>& dst, const LocalTensor<T>& src, T scalarValue, CMPMODE mode, uint32_t count) {
  static_assert(std::is_same_v<T, float>);
  shim::Machine& machine = detail::Issue("CompareScalar");
  detail::CheckAligned(dst, src);
  machine.Require(count * sizeof(T) % 256 == 0, "what is compared fills repeats of 256 bytes");
  const T* in = src.Read(0, count);
  uint8_t* out = dst.Write(0, count / 8);
  for (uint32_t byte = 0; byte < count / 8; byte++) {
    out[byte] = 0;
    for (uint32_t bit = 0; bit < 8; bit++) {
      T a = in[8 * byte + bit], b = scalarValue;
      bool holds = mode == CMPMODE::LT   ? a < b
                   : mode == CMPMODE::GT ? a > b
                   : mode == CMPMODE::EQ ? a == b
                   : mode == CMPMODE::LE ? a <= b
                   : mode == CMPMODE::GE ? a >= b
                                         : a != b;
      out[byte] = uint8_t(out[byte] | holds << bit);
    }
  }
}

/// Where the mask has a bit the first, elsewhere the second.
template <class T>
void Select(const LocalTensor<T>& dst, const LocalTensor<uint8_t>& selMask, const LocalTensor<T>& src0,
            const LocalTensor<T>& src1, SELMODE selMode, uint32_t count) {
  static_assert(std::is_same_v<T, float>);
  shim::Machine& machine = detail::Issue("Select");
  detail::CheckAligned(dst, selMask, src0, src1);
  machine.Require(selMode == SELMODE::VSEL_TENSOR_TENSOR_MODE, "two tensors are selected from in VSEL_TENSOR_TENSOR_MODE");
  const uint8_t* mask = selMask.Read(0, (count + 7) / 8);
  const T *yes = src0.Read(0, count), *no = src1.Read(0, count);
  T* out = dst.Write(0, count);
  for (uint32_t i = 0; i < count; i++) out[i] = mask[i / 8] >> i % 8 & 1 ? yes[i] : no[i];
}

template <class T>
void Select(const LocalTensor<T>& dst, const LocalTensor<uint8_t>& selMask, const LocalTensor<T>& src0, T src1,
            SELMODE selMode, uint32_t count) {
  static_assert(std::is_same_v<T, float>);
  shim::Machine& machine = detail::Issue("Select");
  detail::CheckAligned(dst, selMask, src0);
  machine.Require(selMode == SELMODE::VSEL_TENSOR_SCALAR_MODE, "a number is selected in VSEL_TENSOR_SCALAR_MODE");
  const uint8_t* mask = selMask.Read(0, (count + 7) / 8);
  const T* yes = src0.Read(0, count);
  T* out = dst.Write(0, count);
  for (uint32_t i = 0; i < count; i++) out[i] = mask[i / 8] >> i % 8 & 1 ? yes[i] : src1;
}

namespace detail {

/// One number of each repeat's first `mask` elements.
template <class T, class Body>
void ReduceRepeats(const char* instruction, const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t mask,
                   int32_t repeats, int32_t dst_stride, int32_t block_stride, int32_t repeat_stride, Body body) {
  static_assert(std::is_same_v<T, float>);
  Issue(instruction);
  CheckAligned(dst, src);
  CheckMask<T>(uint64_t(mask));
  CheckRepeats(repeats);
  constexpr int32_t lanes = int32_t(per_block<T>);
  for (int32_t repeat = 0; repeat < repeats; repeat++) {
    T lane[per_repeat<T>];
    for (int32_t first = 0; first < mask; first += lanes) {
      int32_t count = mask - first < lanes ? mask - first : lanes;
      const T* in = src.Read(size_t(repeat * repeat_stride + first / lanes * block_stride) * lanes, size_t(count));
      for (int32_t i = 0; i < count; i++) lane[first + i] = in[i];
    }
    // Pairs first, as hardware adds: a tree.
    for (int32_t width = mask; width > 1; width = (width + 1) / 2) {
      for (int32_t i = 0; i < width / 2; i++) lane[i] = body(lane[2 * i], lane[2 * i + 1]);
      if (width % 2 == 1) lane[width / 2] = lane[width - 1];
    }
    *dst.Write(size_t(repeat * dst_stride), 1) = lane[0];
  }
}

}  // namespace detail

/// `dstRepStride` counts elements.
template <class T>
void WholeReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t mask, int32_t repeatTime,
                    int32_t dstRepStride, int32_t srcBlkStride, int32_t srcRepStride) {
  detail::ReduceRepeats("WholeReduceSum", dst, src, mask, repeatTime, dstRepStride, srcBlkStride, srcRepStride,
                        [](T a, T b) { return a + b; });
}

template <class T>
void WholeReduceMax(const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t mask, int32_t repeatTime,
                    int32_t dstRepStride, int32_t srcBlkStride, int32_t srcRepStride, ReduceOrder order) {
  shim::Machine::Current().Require(order == ReduceOrder::ORDER_ONLY_VALUE, "of a reduction only the value is modelled");
  detail::ReduceRepeats("WholeReduceMax", dst, src, mask, repeatTime, dstRepStride, srcBlkStride, srcRepStride,
                        [](T a, T b) { return detail::Greater(a, b); });
}

/// Neighbours; `dstRepStride` counts the 128 bytes that a repeat becomes.
template <class T>
void PairReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, int32_t repeatTime, int32_t mask,
                   int32_t dstRepStride, int32_t srcBlkStride, int32_t srcRepStride) {
  static_assert(std::is_same_v<T, float>);
  shim::Machine& machine = detail::Issue("PairReduceSum");
  detail::CheckAligned(dst, src);
  detail::CheckRepeats(repeatTime);
  machine.Require(mask == 64 && srcBlkStride == 1, "of whole repeats without gaps alone");
  for (int32_t repeat = 0; repeat < repeatTime; repeat++) {
    const T* in = src.Read(size_t(repeat * srcRepStride) * 8, 64);
    T* out = dst.Write(size_t(repeat * dstRepStride) * 32, 32);
    for (int32_t i = 0; i < 32; i++) out[i] = in[2 * i] + in[2 * i + 1];
  }
}

/// Each of eight elements a repeat fills a block of 32 bytes.
template <class T>
void Brcb(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint8_t repeatTime, const BrcbRepeatParams& repeatParams) {
  static_assert(sizeof(T) == 4);
  detail::Issue("Brcb");
  detail::CheckAligned(dst, src);
  for (uint32_t repeat = 0; repeat < repeatTime; repeat++) {
    const T* in = src.Read(8 * repeat, 8);
    for (uint32_t element = 0; element < 8; element++) {
      T* out = dst.Write(size_t(repeat * repeatParams.dstRepStride + element * repeatParams.dstBlkStride) * 8, 8);
      for (uint32_t i = 0; i < 8; i++) out[i] = in[element];
    }
  }
}

/// Elements of whole repeats, without gaps: pattern 1 takes those of even index, pattern 2 the others.
template <class T>
void GatherMask(const LocalTensor<T>& dst, const LocalTensor<T>& src0, uint8_t src1Pattern, bool reduceMode, uint32_t mask,
                const GatherMaskParams& params, uint64_t& rsvdCnt) {
  static_assert(std::is_same_v<T, float>);
  shim::Machine& machine = detail::Issue("GatherMask");
  detail::CheckAligned(dst, src0);
  machine.Require((src1Pattern == 1 || src1Pattern == 2) && !reduceMode && mask == 0, "patterns 1 and 2 of whole repeats alone");
  machine.Require(params.src0BlockStride == 1 && params.repeatTimes <= 255, "blocks without gaps, and at most 255 repeats");
  for (uint32_t repeat = 0; repeat < params.repeatTimes; repeat++) {
    const T* in = src0.Read(size_t(repeat) * params.src0RepeatStride * 8, 64);
    T* out = dst.Write(32 * repeat, 32);
    for (uint32_t i = 0; i < 32; i++) out[i] = in[2 * i + src1Pattern - 1];
  }
  rsvdCnt = uint64_t(params.repeatTimes) * 32;
}

}  // namespace AscendC
