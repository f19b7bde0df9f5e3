// The gated activation between an expert's matrices, in every form, weighted by row.
#include "exponential.h"

namespace mxhal {

/// Output columns at a time.
constexpr uint32_t swiglu_columns = 2048;

struct SwiGluForm {
  bool is_gpt_oss;
  /// 0 for no clamp.
  float limit;
  /// gpt-oss's alone; `alpha_high` is its upper 12 bits, `alpha_low` the others.
  float alpha, alpha_high, alpha_low;
};

class SwiGlu {
 public:
  __aicore__ inline SwiGlu(const SwiGluForm& form) : form_(form) {
    reader_.Init(pipe_, 2 * swiglu_columns);
    writer_.Init(pipe_, swiglu_columns);
    pipe_.InitBuffer(pairs_, 2 * swiglu_columns * sizeof(float));
    pipe_.InitBuffer(numbers_, rows * swiglu_columns * sizeof(float));
    pipe_.InitBuffer(negative_, swiglu_columns / 8);
    pipe_.InitBuffer(mask_, swiglu_columns / 8);
  }

  /// Gates and ups of `count` columns, whose first ones are these elements of `x`; `up_first` is not looked at where they
  /// alternate.
  __aicore__ inline void Read(GM_ADDR x, uint64_t input, bool interleaved, uint64_t gate_first, uint64_t up_first,
                              uint32_t count) {
    padded_ = RoundUp(count, repeat_floats);
    if (!interleaved) {
      Fill(Row(GATE), 0.0f, padded_);
      Fill(Row(UP), 0.0f, padded_);
      reader_.Read(Row(GATE), x, input, gate_first, count);
      reader_.Read(Row(UP), x, input, up_first, count);
      return;
    }
    Local<float> pairs = pairs_.Get<float>();
    Fill(pairs, 0.0f, 2 * padded_);
    reader_.Read(pairs, x, input, gate_first, 2 * count);
    uint64_t taken = 0;
    AscendC::GatherMaskParams repeats{1, uint16_t(2 * padded_ / repeat_floats), 8, 0};
    AscendC::GatherMask(Row(GATE), pairs, uint8_t(1), false, uint32_t(0), repeats, taken);
    AscendC::GatherMask(Row(UP), pairs, uint8_t(2), false, uint32_t(0), repeats, taken);
    AscendC::PipeBarrier<PIPE_V>();
  }

  /// factor · g · sigmoid(alpha · g), where gate is g.
  ///
  /// With e = e^-|alpha g|, sigmoid is 1 / (1 + e) or e / (1 + e); e is kept as a mantissa and a power of two, of which
  /// half is multiplied in before anything can overflow.
  __aicore__ inline void Compute() {
    uint32_t n = padded_;
    if (form_.limit != 0.0f) Clamp();
    Local<float> gate = Row(GATE), up = Row(UP), x = Row(X), rest = Row(REST);
    Local<float> mantissa = Row(MANTISSA), exponent = Row(EXPONENT), share = Row(SHARE), quarter = Row(QUARTER);
    Local<uint8_t> negative = negative_.Get<uint8_t>();
    if (form_.is_gpt_oss) {
      v::Muls(x, gate, form_.alpha, n);
      v::Adds(up, up, 1.0f, n);
    } else {
      Move(x, gate, n);
    }
    v::CompareScalar(negative, x, 0.0f, AscendC::CMPMODE::LT, n);
    if (form_.is_gpt_oss) FindRest();
    v::Abs(x, x, n);
    v::Muls(x, x, -1.0f, n);
    v::Maxs(x, x, least_exponent, n);
    Exponential(mantissa, exponent, x, form_.is_gpt_oss ? &rest : nullptr, n);
    // share = g / (1 + e).
    Move(share, mantissa, n);
    Move(x, exponent, n);
    Quarters(quarter, rest, x, n);
    ScaleDown(share, quarter, rest, n);
    v::Adds(share, share, 1.0f, n);
    v::Div(share, gate, share, n);
    // e once more where x is negative, else 1.
    v::Select(mantissa, negative, mantissa, 1.0f, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, n);
    v::Select(exponent, negative, exponent, 0.0f, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, n);
    Quarters(quarter, rest, exponent, n);
    v::Mul(up, up, quarter, n);
    v::Mul(up, up, quarter, n);
    v::Mul(up, up, share, n);
    v::Mul(up, up, mantissa, n);
    v::Mul(up, up, quarter, n);
    v::Mul(up, up, rest, n);
  }

  __aicore__ inline void Write(GM_ADDR y, uint64_t output, uint64_t offset, uint32_t count, float weight) {
    v::Muls(Row(UP), Row(UP), weight, count);
    writer_.Write(y, output, offset, Row(UP), count);
  }

 private:
  enum { GATE, UP, X, REST, MANTISSA, EXPONENT, SHARE, QUARTER, rows };

  __aicore__ inline Local<float> Row(uint32_t row) { return numbers_.Get<float>()[row * swiglu_columns]; }

  /// gate at most the limit, up within it on both sides. A comparison that a NaN fails leaves it as it is.
  __aicore__ inline void Clamp() {
    Local<uint8_t> beyond = mask_.Get<uint8_t>();
    v::CompareScalar(beyond, Row(GATE), form_.limit, AscendC::CMPMODE::GT, padded_);
    Replace(Row(GATE), beyond, form_.limit, Row(X), padded_);
    v::CompareScalar(beyond, Row(UP), form_.limit, AscendC::CMPMODE::GT, padded_);
    Replace(Row(UP), beyond, form_.limit, Row(X), padded_);
    v::CompareScalar(beyond, Row(UP), -form_.limit, AscendC::CMPMODE::LT, padded_);
    Replace(Row(UP), beyond, -form_.limit, Row(X), padded_);
  }

  /// What was lost when alpha · g was rounded, and is to be added to -|x|: in e^x an error of x counts as many times as x is
  /// large. By Dekker's product, of halves of both numbers.
  __aicore__ inline void FindRest() {
    uint32_t n = padded_;
    Local<float> gate = Row(GATE), x = Row(X), rest = Row(REST), high = Row(SHARE), low = Row(QUARTER), part = Row(MANTISSA);
    Local<int32_t> bits = high.ReinterpretCast<int32_t>();
    v::ShiftRight(bits, gate.ReinterpretCast<int32_t>(), int32_t(12), n);
    v::ShiftLeft(bits, bits, int32_t(12), n);
    v::Sub(low, gate, high, n);
    v::Muls(rest, high, form_.alpha_high, n);
    v::Sub(rest, rest, x, n);
    v::Muls(part, low, form_.alpha_high, n);
    v::Add(rest, rest, part, n);
    v::Muls(part, high, form_.alpha_low, n);
    v::Add(rest, rest, part, n);
    v::Muls(part, low, form_.alpha_low, n);
    v::Add(rest, rest, part, n);
    // x + rest is exact; -|x| goes with rest where x is negative, and with -rest elsewhere.
    v::Muls(part, rest, -1.0f, n);
    v::Select(rest, negative_.Get<uint8_t>(), rest, part, AscendC::SELMODE::VSEL_TENSOR_TENSOR_MODE, n);
    // Far out there is nothing to correct, and what overflowed left no number.
    Local<uint8_t> near = mask_.Get<uint8_t>();
    v::Abs(part, x, n);
    v::CompareScalar(near, part, -least_exponent, AscendC::CMPMODE::LT, n);
    v::Select(rest, near, rest, 0.0f, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, n);
  }

  SwiGluForm form_;
  uint32_t padded_ = 0;
  AscendC::TPipe pipe_;
  FloatReader reader_;
  FloatWriter writer_;
  AscendC::TBuf<TPosition::VECCALC> pairs_, numbers_, negative_, mask_;
};

}  // namespace mxhal

/// `row_weights` may be null. Each core takes tiles of columns of rows in turn.
extern "C" __global__ __aicore__ void mxhal_swiglu(GM_ADDR x, GM_ADDR row_weights, GM_ADDR y, uint64_t rows, uint64_t n,
                                                   uint64_t input, uint64_t output, uint64_t is_gpt_oss, uint64_t limit,
                                                   uint64_t alpha, uint64_t interleaved) {
  using namespace mxhal;
  float whole = FloatOf(alpha), high = FloatOf(alpha & 0xfffff000);
  SwiGlu swiglu(SwiGluForm{is_gpt_oss != 0, FloatOf(limit), whole, high, whole - high});
  Global<float> weight_of = ValuesAt<float>(row_weights);
  uint64_t tiles = (n + swiglu_columns - 1) / swiglu_columns;
  for (uint64_t item = AscendC::GetBlockIdx(); item < rows * tiles; item += AscendC::GetBlockNum()) {
    uint64_t row = item / tiles, first = item % tiles * swiglu_columns;
    uint32_t count = Least(n - first, swiglu_columns);
    uint64_t gate = row * 2 * n + (interleaved != 0 ? 2 * first : first);
    swiglu.Read(x, input, interleaved != 0, gate, gate + n, count);
    swiglu.Compute();
    swiglu.Write(y, output, row * n + first, count, row_weights == nullptr ? 1.0f : weight_of.GetValue(row));
  }
}
MXHAL_HOST_ENTRY(mxhal_swiglu)
