// Rows of plain numbers to blocks of E2M1 or E4M3 elements and E8M0 scales, by any of the scale rules.
//
// The byte follows from the exponent of the block's greatest magnitude, plus one where its fraction reaches what the rule
// says: one addition to its bits. A block that holds a NaN or an infinity gets byte 255; its elements are whatever they are.
#include "decode.h"

namespace mxhal {

/// Columns at a time: whole blocks of 128.
constexpr uint32_t quantize_columns = 4096;
/// Blocks of 32 in them: as many scales there are at most.
constexpr uint32_t quantize_blocks = quantize_columns / 32;

/// What a quantization is: see kernels-ascend/src/quantize.rs.
struct QuantizeRule {
  bool is_e2m1;
  /// Columns of a block: 32 or 128.
  uint32_t block;
  /// The exponent of the greatest power of two that an element holds.
  int32_t emax;
  /// Added to the bits of a magnitude: carries into the exponent where the fraction is large enough for the rule.
  int32_t carry;
  float amax_floor;
};

class Quantizer {
 public:
  __aicore__ inline Quantizer(const QuantizeRule& rule) : rule_(rule) {
    reader_.Init(pipe_, quantize_columns);
    pipe_.InitBuffer(codes_queue_, 2, quantize_columns);
    pipe_.InitBuffer(scales_queue_, 2, quantize_blocks);
    pipe_.InitBuffer(values_, quantize_columns * sizeof(float));
    pipe_.InitBuffer(magnitudes_, quantize_columns * sizeof(float));
    pipe_.InitBuffer(first_, quantize_columns * sizeof(float));
    pipe_.InitBuffer(second_, quantize_columns * sizeof(float));
    pipe_.InitBuffer(halves_, quantize_columns * sizeof(half));
    pipe_.InitBuffer(amax_, quantize_blocks * sizeof(float));
    pipe_.InitBuffer(lost_, quantize_blocks * sizeof(float));
    pipe_.InitBuffer(spread_, quantize_blocks * block_bytes);
    pipe_.InitBuffer(mask_, quantize_blocks / 8 < block_bytes ? block_bytes : quantize_blocks / 8);
    pipe_.InitBuffer(places_, repeat_floats * sizeof(float));
    // 1, 16, 1, 16, …: what two codes of a byte count.
    Local<float> places = places_.Get<float>();
    Fill(places, 1.0f, repeat_floats);
    uint64_t odd[1] = {0xaaaaaaaaaaaaaaaa};
    AscendC::Duplicate(places, 16.0f, odd, 1, 1, 8);
    AscendC::PipeBarrier<PIPE_V>();
  }

  /// `count` columns of a row from an element on: codes to `y`, and `scale_count` scale bytes, of which those without columns
  /// belong to zeros.
  __aicore__ inline void Tile(GM_ADDR x, uint64_t input, uint64_t offset, uint32_t count, const Global<uint8_t>& y,
                              const Global<uint8_t>& scales, uint32_t scale_count) {
    Local<float> values = values_.Get<float>();
    uint32_t columns = RoundUp(RoundUp(count, rule_.block), repeat_floats);
    uint32_t blocks = RoundUp(columns, rule_.block) / rule_.block;
    columns = blocks * rule_.block;
    Fill(values, 0.0f, columns);
    reader_.Read(values, x, input, offset, count);
    ChooseScales(values, columns, blocks);
    Apply(values, blocks);
    WriteScales(scales, scale_count);
    columns = RoundUp(columns, repeat_floats);
    rule_.is_e2m1 ? EncodeE2m1(columns) : EncodeE4m3(columns);
    WriteCodes(y, rule_.is_e2m1 ? count / 2 : count);
  }

 private:
  /// Bytes as integers to `amax_`, one over each scale as a float to `second_`; in `mask_` which blocks are finite.
  __aicore__ inline void ChooseScales(const Local<float>& values, uint32_t columns, uint32_t blocks) {
    Local<float> magnitudes = magnitudes_.Get<float>(), zeros = first_.Get<float>();
    Local<float> amax = amax_.Get<float>(), lost = lost_.Get<float>();
    // A number times zero is zero, and what is none is a NaN.
    v::Muls(zeros, values, 0.0f, columns);
    v::Abs(magnitudes, values, columns);
    Fill(amax, 0.0f, quantize_blocks);
    Fill(lost, 0.0f, quantize_blocks);
    if (rule_.block == 128) {
      // Halves of blocks onto each other, so that a block is one repeat.
      AscendC::BinaryRepeatParams halves(1, 1, 1, 8, 16, 16);
      Local<float> folded = second_.Get<float>();
      v::Add(folded, zeros, zeros[64], 64, blocks, halves);
      v::WholeReduceSum(lost, folded, 64, blocks, 1, 1, 8);
      v::Max(folded, magnitudes, magnitudes[64], 64, blocks, halves);
      v::WholeReduceMax(amax, folded, 64, blocks, 1, 1, 8, AscendC::ReduceOrder::ORDER_ONLY_VALUE);
    } else {
      v::WholeReduceSum(lost, zeros, 32, blocks, 1, 1, 4);
      v::WholeReduceMax(amax, magnitudes, 32, blocks, 1, 1, 4, AscendC::ReduceOrder::ORDER_ONLY_VALUE);
    }
    v::CompareScalar(mask_.Get<uint8_t>(), lost, 0.0f, AscendC::CMPMODE::EQ, quantize_blocks);
    v::Maxs(amax, amax, rule_.amax_floor, quantize_blocks);
    // A magnitude of zero, and a subnormal one, come out below byte 0 by any rule.
    Local<int32_t> bytes = amax.ReinterpretCast<int32_t>();
    v::Adds(bytes, bytes, rule_.carry, quantize_blocks);
    v::ShiftRight(bytes, bytes, int32_t(23), quantize_blocks);
    v::Adds(bytes, bytes, -rule_.emax, quantize_blocks);
    v::Maxs(bytes, bytes, int32_t(0), quantize_blocks);
    v::Mins(bytes, bytes, int32_t(254), quantize_blocks);
    // No finite magnitude comes near byte 254, so that one over the scale is a normal number.
    Local<int32_t> inverse = second_.Get<int32_t>();
    v::Muls(inverse, bytes, int32_t(-1), quantize_blocks);
    v::Adds(inverse, inverse, int32_t(254), quantize_blocks);
    v::ShiftLeft(inverse, inverse, int32_t(23), quantize_blocks);
  }

  /// Divides each block by its scale.
  __aicore__ inline void Apply(const Local<float>& values, uint32_t blocks) {
    Local<float> spread = spread_.Get<float>();
    v::Brcb(spread, second_.Get<float>(), quantize_blocks / 8, AscendC::BrcbRepeatParams{1, 8});
    MultiplyBlocks(values, spread, rule_.block, blocks);
  }

  __aicore__ inline void WriteScales(const Global<uint8_t>& to, uint32_t count) {
    Local<float> numbers = lost_.Get<float>();
    Local<half> halves = halves_.Get<half>();
    v::Cast(numbers, amax_.Get<int32_t>(), RoundMode::CAST_NONE, quantize_blocks);
    v::Select(numbers, mask_.Get<uint8_t>(), numbers, 255.0f, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, quantize_blocks);
    v::Cast(halves, numbers, RoundMode::CAST_RINT, quantize_blocks);
    Local<uint8_t> bytes = scales_queue_.AllocTensor<uint8_t>();
    v::Cast(bytes, halves, RoundMode::CAST_RINT, quantize_blocks);
    scales_queue_.EnQue(bytes);
    bytes = scales_queue_.DeQue<uint8_t>();
    AscendC::DataCopyPad(to, bytes, RowsOut(1, count, 0));
    scales_queue_.FreeTensor(bytes);
  }

  /// 1 where there is a sign, as a float, to `to`.
  __aicore__ inline void Signs(const Local<float>& to, uint32_t columns) {
    Local<uint32_t> bits = to.ReinterpretCast<uint32_t>();
    v::ShiftRight(bits, values_.Get<uint32_t>(), uint32_t(31), columns);
    v::Cast(to, to.ReinterpretCast<int32_t>(), RoundMode::CAST_NONE, columns);
  }

  /// Bytes, two codes in each, as floats at the front of `values_`.
  ///
  /// The code of a magnitude m is the least of rint(2m), rint(m) + 2, rint(m / 2) + 4 and 7: each is right where its step is
  /// the format's and too large elsewhere, and ties go to even codes because they go to even numbers.
  __aicore__ inline void EncodeE2m1(uint32_t columns) {
    Local<float> values = values_.Get<float>(), m = magnitudes_.Get<float>();
    Local<float> code = first_.Get<float>(), other = second_.Get<float>();
    v::Abs(m, values, columns);
    Signs(values, columns);
    v::Muls(code, m, 2.0f, columns);
    Rint(code, code, columns);
    Rint(other, m, columns);
    v::Adds(other, other, 2.0f, columns);
    v::Min(code, code, other, columns);
    v::Muls(other, m, 0.5f, columns);
    Rint(other, other, columns);
    v::Adds(other, other, 4.0f, columns);
    v::Min(code, code, other, columns);
    v::Mins(code, code, 7.0f, columns);
    v::Muls(values, values, 8.0f, columns);
    v::Add(code, code, values, columns);
    uint32_t repeats = columns / repeat_floats;
    v::Mul(code, code, places_.Get<float>(), repeat_floats, repeats, AscendC::BinaryRepeatParams(1, 1, 1, 8, 8, 0));
    v::PairReduceSum(values, code, repeats, repeat_floats, 1, 1, 8);
  }

  /// Bytes as floats in `values_`.
  ///
  /// Below 2^-6 a code counts steps of 2^-9; from there on it is the bits of the magnitude, rounded to three of fraction.
  __aicore__ inline void EncodeE4m3(uint32_t columns) {
    constexpr float least_normal = 0.015625f;
    Local<float> values = values_.Get<float>(), m = magnitudes_.Get<float>(), steps = first_.Get<float>();
    Local<int32_t> bits = m.ReinterpretCast<int32_t>(), odd = second_.Get<int32_t>(), whole = first_.Get<int32_t>();
    v::Abs(m, values, columns);
    Signs(values, columns);
    v::Muls(values, values, 128.0f, columns);
    v::Mins(m, m, 448.0f, columns);
    v::Mins(steps, m, least_normal, columns);
    v::Muls(steps, steps, 512.0f, columns);
    Rint(steps, steps, columns);
    v::Add(values, values, steps, columns);
    v::Maxs(m, m, least_normal, columns);
    v::ShiftRight(odd, bits, int32_t(20), columns);
    v::ShiftRight(whole, odd, int32_t(1), columns);
    v::ShiftLeft(whole, whole, int32_t(1), columns);
    v::Sub(odd, odd, whole, columns);
    v::Add(bits, bits, odd, columns);
    v::Adds(bits, bits, int32_t(0x7ffff), columns);
    v::ShiftRight(bits, bits, int32_t(20), columns);
    // 2^-6 is code 8 by both counts.
    v::Adds(bits, bits, int32_t(-(120 << 3) - 8), columns);
    v::Cast(steps, bits, RoundMode::CAST_NONE, columns);
    v::Add(values, values, steps, columns);
  }

  __aicore__ inline void WriteCodes(const Global<uint8_t>& to, uint32_t count) {
    Local<half> halves = halves_.Get<half>();
    v::Cast(halves, values_.Get<float>(), RoundMode::CAST_RINT, count);
    Local<uint8_t> bytes = codes_queue_.AllocTensor<uint8_t>();
    v::Cast(bytes, halves, RoundMode::CAST_RINT, count);
    codes_queue_.EnQue(bytes);
    bytes = codes_queue_.DeQue<uint8_t>();
    AscendC::DataCopyPad(to, bytes, RowsOut(1, count, 0));
    codes_queue_.FreeTensor(bytes);
  }

  QuantizeRule rule_;
  AscendC::TPipe pipe_;
  FloatReader reader_;
  AscendC::TQue<TPosition::VECOUT, 2> codes_queue_, scales_queue_;
  AscendC::TBuf<TPosition::VECCALC> values_, magnitudes_, first_, second_, halves_, amax_, lost_, spread_, mask_, places_;
};

}  // namespace mxhal

/// `k` is a multiple of 32. Each row has `scale_stride` scale bytes, as many as it has blocks or one more for padding.
/// Each core takes tiles of columns of rows in turn.
extern "C" __global__ __aicore__ void mxhal_quantize(GM_ADDR x, GM_ADDR y, GM_ADDR scales, uint64_t rows, uint64_t k,
                                                     uint64_t input, uint64_t is_e2m1, uint64_t block, uint64_t emax,
                                                     uint64_t carry, uint64_t amax_floor, uint64_t scale_stride) {
  using namespace mxhal;
  QuantizeRule rule = {is_e2m1 != 0, uint32_t(block), int32_t(emax), int32_t(carry), FloatOf(amax_floor)};
  Quantizer quantizer(rule);
  uint64_t tiles = (k + quantize_columns - 1) / quantize_columns;
  for (uint64_t item = AscendC::GetBlockIdx(); item < rows * tiles; item += AscendC::GetBlockNum()) {
    uint64_t row = item / tiles, tile = item % tiles;
    uint64_t first = tile * quantize_columns, first_scale = first / block;
    uint32_t count = Least(k - first, quantize_columns);
    uint64_t scale_count = tile + 1 == tiles ? scale_stride - first_scale : quantize_columns / block;
    uint64_t code = row * k + first;
    quantizer.Tile(x, input, code, count, BytesAt(y, is_e2m1 != 0 ? code / 2 : code),
                   BytesAt(scales, row * scale_stride + first_scale), uint32_t(scale_count));
  }
}
MXHAL_HOST_ENTRY(mxhal_quantize)
