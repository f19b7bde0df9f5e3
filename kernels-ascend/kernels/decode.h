// Elements and scales as floats, exactly: by shifts, comparisons and products of normal numbers.
#pragma once

#include "vector.h"

namespace mxhal {

/// Room for decoding so many elements at a time.
class Decoder {
 public:
  __aicore__ inline void Init(AscendC::TPipe& pipe, uint32_t most) {
    most_ = most;
    pipe.InitBuffer(raw_, 2, most);
    pipe.InitBuffer(halves_, most * sizeof(half));
    pipe.InitBuffer(words_, 4 * most * sizeof(int32_t));
    pipe.InitBuffer(mask_, RoundUp(most / 8, block_bytes));
  }

  /// `count` pairs of E2M1 codes: those of even index to `even`, the others to `odd`.
  __aicore__ inline void E2m1(const Local<float>& even, const Local<float>& odd, const Global<uint8_t>& from, uint32_t count) {
    Read(from, count);
    Local<int32_t> low = Word(0), high = Word(1);
    // `even` is not filled yet.
    Local<int32_t> spare = even.ReinterpretCast<int32_t>();
    v::ShiftRight(high, low, int32_t(4), count);
    v::ShiftLeft(spare, high, int32_t(4), count);
    v::Sub(low, low, spare, count);
    E2m1Codes(odd, high, count);
    E2m1Codes(even, low, count);
  }

  /// `count` E4M3 codes; the tensor has room for a multiple of 64.
  __aicore__ inline void E4m3(const Local<float>& to, const Global<uint8_t>& from, uint32_t count) {
    Read(from, count);
    Local<int32_t> code = Word(0), sign = Word(1), spare = Word(2);
    v::ShiftRight(sign, code, int32_t(7), count);
    v::ShiftLeft(spare, sign, int32_t(7), count);
    v::Sub(code, code, spare, count);
    // Read as if every code were normal; below 2^-6 that is 2^-7 and half of the fraction that is meant.
    v::Adds(code, code, int32_t(120 << 3), count);
    v::ShiftLeft(code, code, int32_t(20), count);
    Local<float> value = code.ReinterpretCast<float>(), twice = spare.ReinterpretCast<float>();
    v::Muls(twice, value, 2.0f, count);
    v::Adds(twice, twice, -0.015625f, count);
    v::Min(value, value, twice, count);
    // What would be 480 is no number.
    uint32_t padded = RoundUp(count, repeat_floats);
    Fill(to, 0.0f, padded);
    Move(to, value, count);
    Local<uint8_t> is_number = mask_.Get<uint8_t>();
    v::CompareScalar(is_number, to, 480.0f, AscendC::CMPMODE::NE, padded);
    v::Select(to, is_number, to, FloatOf(0x7fc00000), AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, count);
    ApplySigns(to, to, sign, count);
  }

  /// `count` E8M0 bytes: byte 0 is 2^-127, and 255 is a NaN.
  __aicore__ inline void E8m0(const Local<float>& to, const Global<uint8_t>& from, uint32_t count) {
    Read(from, count);
    Local<int32_t> byte = Word(0), bits = to.ReinterpretCast<int32_t>();
    v::ShiftLeft(bits, byte, int32_t(23), count);
    v::Maxs(bits, bits, int32_t(1 << 22), count);
    // Only 255 carries into the ninth bit; it is infinity so far, and wants a fraction.
    v::Adds(byte, byte, int32_t(1), count);
    v::ShiftRight(byte, byte, int32_t(8), count);
    v::ShiftLeft(byte, byte, int32_t(22), count);
    v::Add(bits, bits, byte, count);
  }

 private:
  __aicore__ inline Local<int32_t> Word(uint32_t index) { return words_.Get<int32_t>()[index * most_]; }

  /// Bytes to integers, in the first word.
  __aicore__ inline void Read(const Global<uint8_t>& from, uint32_t count) {
    Local<uint8_t> raw = raw_.AllocTensor<uint8_t>();
    CopyIn(raw, from, RowsIn(1, count, 0));
    raw_.EnQue(raw);
    raw = raw_.DeQue<uint8_t>();
    v::Cast(halves_.Get<half>(), raw, RoundMode::CAST_NONE, count);
    raw_.FreeTensor(raw);
    v::Cast(Word(0), halves_.Get<half>(), RoundMode::CAST_RINT, count);
  }

  /// Codes of four bits, which are used up. A magnitude's code c stands for the greatest of c / 2, c - 2 and 2c - 8.
  __aicore__ inline void E2m1Codes(const Local<float>& to, const Local<int32_t>& code, uint32_t count) {
    Local<int32_t> sign = Word(2), spare = Word(3);
    Local<float> number = spare.ReinterpretCast<float>(), other = code.ReinterpretCast<float>();
    v::ShiftRight(sign, code, int32_t(3), count);
    v::ShiftLeft(spare, sign, int32_t(3), count);
    v::Sub(code, code, spare, count);
    v::Cast(number, code, RoundMode::CAST_NONE, count);
    v::Muls(to, number, 0.5f, count);
    v::Adds(other, number, -2.0f, count);
    v::Max(to, to, other, count);
    v::Muls(other, number, 2.0f, count);
    v::Adds(other, other, -8.0f, count);
    v::Max(to, to, other, count);
    ApplySigns(to, to, sign, count);
  }

  /// Times 1 or -1, so that zeros have signs too. The signs, 0 or 1, are used up.
  __aicore__ inline void ApplySigns(const Local<float>& to, const Local<float>& from, const Local<int32_t>& sign,
                                    uint32_t count) {
    Local<float> factor = sign.ReinterpretCast<float>();
    v::Cast(factor, sign, RoundMode::CAST_NONE, count);
    v::Muls(factor, factor, -2.0f, count);
    v::Adds(factor, factor, 1.0f, count);
    v::Mul(to, from, factor, count);
  }

  uint32_t most_ = 0;
  AscendC::TQue<TPosition::VECIN, 2> raw_;
  AscendC::TBuf<TPosition::VECCALC> halves_, words_, mask_;
};

/// Multiplies blocks by their scales, each of which fills 32 bytes of `spread`: of 16, 32 or 128 columns.
__aicore__ inline void MultiplyBlocks(const Local<float>& values, const Local<float>& spread, uint32_t block, uint32_t blocks) {
  if (block == 128) {
    AscendC::BinaryRepeatParams halves(1, 1, 0, 16, 16, 1);
    v::Mul(values, values, spread, 64, blocks, halves);
    v::Mul(values[64], values[64], spread, 64, blocks, halves);
  } else {
    uint8_t stride = uint8_t(block / block_floats);
    v::Mul(values, values, spread, block, blocks, AscendC::BinaryRepeatParams(1, 1, 0, stride, stride, 1));
  }
}

}  // namespace mxhal
