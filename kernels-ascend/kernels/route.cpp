// Router logits to expert ids and weights, for the forms that CANN's gating lacks: weights of sigmoid and sqrt-softplus that
// are not divided by their sum, and softmax over the chosen.
//
// Scores are worked out by the vector unit, a token at a time; the scalar unit chooses among them. A NaN ranks above every
// number, and a lower id above a higher one with the same score. Given ids that are no expert's get weight 0 and count for
// nothing.
#include "exponential.h"

namespace mxhal {

constexpr uint32_t route_experts = 4096;

/// The numbers of mxhal_score.
enum Score : uint64_t { SCORE_SIGMOID = 2, SCORE_SQRT_SOFTPLUS = 3, SCORE_SOFTMAX_OF_CHOSEN = 4 };

struct RouteShape {
  uint32_t experts, top_k;
  uint64_t score;
  bool renormalize;
  float scale;
};

/// A candidate, as the scalar unit sees it.
struct Candidate {
  float key;
  int32_t id;

  __aicore__ inline bool IsBefore(const Candidate& other) const {
    bool is_nan = key != key, other_is_nan = other.key != other.key;
    if (is_nan != other_is_nan) return is_nan;
    if (!is_nan && key != other.key) return key > other.key;
    return id < other.id;
  }
};

class Router {
 public:
  __aicore__ inline Router(const RouteShape& shape, GM_ADDR bias) : shape_(shape), has_bias_(bias != nullptr) {
    reader_.Init(pipe_, route_experts);
    pipe_.InitBuffer(numbers_, rows * route_experts * sizeof(float));
    pipe_.InitBuffer(mask_, route_experts / 8);
    pipe_.InitBuffer(ids_, route_experts * sizeof(int32_t));
    if (has_bias_) reader_.Read(Row(BIAS), bias, FORMAT_F32, 0, shape_.experts);
  }

  __aicore__ inline void Token(GM_ADDR logits, GM_ADDR given, GM_ADDR ids, GM_ADDR weights, uint64_t token) {
    uint32_t padded = RoundUp(shape_.experts, repeat_floats);
    Local<float> logit = Row(LOGIT);
    Fill(logit, 0.0f, padded);
    reader_.Read(logit, logits, FORMAT_F32, token * shape_.experts, shape_.experts);
    ScoreExperts(padded);
    if (has_bias_) {
      v::Add(Row(KEY), Row(SCORE), Row(BIAS), shape_.experts);
    } else {
      Move(Row(KEY), Row(SCORE), shape_.experts);
    }
    uint32_t chosen = RoundUp(shape_.top_k, block_floats);
    Fill(Row(CHOSEN), 0.0f, chosen);
    Order<HardEvent::V_S>();
    bool is_given = given != nullptr;
    if (is_given) {
      TakeGiven(given, token);
    } else {
      TakeBest();
    }
    Weigh();
    Order<HardEvent::V_S>();
    if (is_given) {
      for (uint32_t slot = 0; slot < shape_.top_k; slot++) {
        if (!IsExpert(ids_.Get<int32_t>().GetValue(slot))) Row(CHOSEN).SetValue(slot, 0.0f);
      }
    }
    Order<HardEvent::S_MTE3>();
    Order<HardEvent::V_MTE3>();
    CopyOut(ids, ids_.Get<uint8_t>(), token);
    CopyOut(weights, Row(CHOSEN).ReinterpretCast<uint8_t>(), token);
    AscendC::PipeBarrier<PIPE_ALL>();
  }

 private:
  enum { LOGIT, SCORE, KEY, BIAS, CHOSEN, FIRST, SECOND, THIRD, rows };

  __aicore__ inline Local<float> Row(uint32_t row) { return numbers_.Get<float>()[row * route_experts]; }
  __aicore__ inline bool IsExpert(int32_t id) const { return id >= 0 && uint32_t(id) < shape_.experts; }

  __aicore__ inline void ScoreExperts(uint32_t n) {
    Local<float> logit = Row(LOGIT), score = Row(SCORE), e = Row(KEY), other = Row(FIRST);
    Local<uint8_t> mask = mask_.Get<uint8_t>();
    if (shape_.score == SCORE_SOFTMAX_OF_CHOSEN) {
      Move(score, logit, n);
      return;
    }
    // e^-|z|.
    v::Abs(other, logit, n);
    v::Muls(other, other, -1.0f, n);
    Power(e, other, n);
    if (shape_.score == SCORE_SIGMOID) {
      // e / (1 + e) below zero, 1 / (1 + e) above; what is no number is neither, and stays none.
      v::CompareScalar(mask, logit, 0.0f, AscendC::CMPMODE::LT, n);
      v::Select(score, mask, e, FloatOf(0x7fc00000), AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, n);
      v::CompareScalar(mask, logit, 0.0f, AscendC::CMPMODE::GE, n);
      Replace(score, mask, 1.0f, other, n);
      v::Adds(e, e, 1.0f, n);
      v::Div(score, score, e, n);
      return;
    }
    // softplus(z) = max(z, 0) + log1p(e^-|z|).
    Log1p(score, e, n);
    v::Abs(other, logit, n);
    v::Add(other, other, logit, n);
    v::Muls(other, other, 0.5f, n);
    v::Add(score, score, other, n);
    v::Sqrt(score, score, n);
    // Far below, its root is e^(z / 2), which is a number still where e^z is none.
    v::Muls(other, logit, 0.5f, n);
    v::Mins(other, other, 0.0f, n);
    Power(e, other, n);
    v::CompareScalar(mask, logit, -30.0f, AscendC::CMPMODE::LT, n);
    v::Select(score, mask, e, score, AscendC::SELMODE::VSEL_TENSOR_TENSOR_MODE, n);
  }

  /// e^x for x that are not positive, and are used up.
  __aicore__ inline void Power(const Local<float>& to, const Local<float>& x, uint32_t n) {
    Local<float> quarter = Row(SECOND), exponent = Row(THIRD);
    v::Maxs(x, x, least_exponent, n);
    Exponential(to, exponent, x, nullptr, n);
    Quarters(quarter, x, exponent, n);
    ScaleDown(to, quarter, x, n);
  }

  /// log(1 + u) for u between 0 and 1: twice the area tangent of s = u / (u + 2), by its series in s².
  __aicore__ inline void Log1p(const Local<float>& to, const Local<float>& u, uint32_t n) {
    Local<float> square = Row(SECOND), s = Row(THIRD);
    v::Adds(s, u, 2.0f, n);
    v::Div(s, u, s, n);
    v::Mul(square, s, s, n);
    constexpr float factors[] = {1.0f / 15.0f, 1.0f / 13.0f, 1.0f / 11.0f, 1.0f / 9.0f,
                                 1.0f / 7.0f,  1.0f / 5.0f,  1.0f / 3.0f,  1.0f};
    v::Muls(to, square, 1.0f / 17.0f, n);
    v::Adds(to, to, factors[0], n);
    for (int term = 1; term < 8; term++) {
      v::Mul(to, to, square, n);
      v::Adds(to, to, factors[term], n);
    }
    v::Mul(to, to, s, n);
    v::Muls(to, to, 2.0f, n);
  }

  /// By the scalar unit: each slot's is the first, in order, of those behind the slot's before.
  __aicore__ inline void TakeBest() {
    Local<float> key = Row(KEY);
    Candidate last = {0.0f, -1};
    for (uint32_t slot = 0; slot < shape_.top_k; slot++) {
      Candidate best = {0.0f, -1};
      for (uint32_t id = 0; id < shape_.experts; id++) {
        Candidate candidate = {key.GetValue(id), int32_t(id)};
        if (slot > 0 && !last.IsBefore(candidate)) continue;
        if (best.id < 0 || candidate.IsBefore(best)) best = candidate;
      }
      // There are at least as many experts as slots, so that somebody was found.
      Take(slot, best.id);
      last = best;
    }
  }

  __aicore__ inline void TakeGiven(GM_ADDR given, uint64_t token) {
    Global<int32_t> id_of = ValuesAt<int32_t>(given);
    for (uint32_t slot = 0; slot < shape_.top_k; slot++) Take(slot, id_of.GetValue(token * shape_.top_k + slot));
  }

  __aicore__ inline void Take(uint32_t slot, int32_t id) {
    ids_.Get<int32_t>().SetValue(slot, id);
    // Nobody counts for nothing: by a score of 0, or by a logit far below every other.
    float nobody = shape_.score == SCORE_SOFTMAX_OF_CHOSEN ? FloatOf(0xff800000) : 0.0f;
    Row(CHOSEN).SetValue(slot, IsExpert(id) ? Row(SCORE).GetValue(uint32_t(id)) : nobody);
  }

  /// From the scores of the chosen to their weights.
  __aicore__ inline void Weigh() {
    Local<float> chosen = Row(CHOSEN);
    uint32_t n = shape_.top_k;
    if (shape_.score == SCORE_SOFTMAX_OF_CHOSEN) {
      float largest = FloatOf(0xff800000);
      for (uint32_t slot = 0; slot < n; slot++) {
        float logit = chosen.GetValue(slot);
        if (!(logit <= largest)) largest = logit;
      }
      Order<HardEvent::S_V>();
      if (largest != FloatOf(0xff800000)) ExponentialsBelow(chosen, largest, n);
      Order<HardEvent::V_S>();
    }
    if (shape_.score == SCORE_SOFTMAX_OF_CHOSEN || shape_.renormalize) {
      float sum = 0.0f;
      for (uint32_t slot = 0; slot < n; slot++) sum += chosen.GetValue(slot);
      Order<HardEvent::S_V>();
      Fill(Row(FIRST), sum, n);
      v::Div(chosen, chosen, Row(FIRST), n);
    } else {
      Order<HardEvent::S_V>();
    }
    v::Muls(chosen, chosen, shape_.scale, n);
  }

  /// e^(x - largest), with what the difference lost when it was rounded.
  __aicore__ inline void ExponentialsBelow(const Local<float>& x, float largest, uint32_t n) {
    Local<float> difference = Row(FIRST), rest = Row(KEY), part = Row(LOGIT);
    uint32_t padded = RoundUp(n, repeat_floats);
    Fill(difference, 0.0f, padded);
    v::Adds(difference, x, -largest, n);
    v::Sub(part, difference, x, n);
    v::Sub(rest, difference, part, n);
    v::Sub(rest, x, rest, n);
    v::Muls(part, part, -1.0f, n);
    v::Adds(part, part, -largest, n);
    v::Add(rest, rest, part, n);
    // Of what is far below, or infinite, nothing is corrected.
    Local<uint8_t> mask = mask_.Get<uint8_t>();
    v::CompareScalar(mask, difference, least_exponent, AscendC::CMPMODE::GT, padded);
    v::Select(rest, mask, rest, 0.0f, AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE, n);
    v::Maxs(difference, difference, least_exponent, n);
    Local<float> quarter = Row(SECOND), exponent = Row(THIRD);
    Exponential(x, exponent, difference, &rest, n);
    Quarters(quarter, difference, exponent, n);
    ScaleDown(x, quarter, difference, n);
  }

  __aicore__ inline void CopyOut(GM_ADDR to, const Local<uint8_t>& from, uint64_t token) {
    uint32_t bytes = shape_.top_k * 4;
    AscendC::DataCopyPad(BytesAt(to, token * bytes), from, RowsOut(1, bytes, 0));
  }

  RouteShape shape_;
  bool has_bias_;
  AscendC::TPipe pipe_;
  FloatReader reader_;
  AscendC::TBuf<TPosition::VECCALC> numbers_, mask_, ids_;
};

}  // namespace mxhal

/// `bias` and `given` may be null. Each core takes tokens in turn.
extern "C" __global__ __aicore__ void mxhal_route(GM_ADDR logits, GM_ADDR bias, GM_ADDR given, GM_ADDR ids, GM_ADDR weights,
                                                  uint64_t tokens, uint64_t experts, uint64_t top_k, uint64_t score,
                                                  uint64_t renormalize, uint64_t scale) {
  using namespace mxhal;
  Router router(RouteShape{uint32_t(experts), uint32_t(top_k), score, renormalize != 0, FloatOf(scale)}, bias);
  for (uint64_t token = AscendC::GetBlockIdx(); token < tokens; token += AscendC::GetBlockNum()) {
    router.Token(logits, given, ids, weights, token);
  }
}
MXHAL_HOST_ENTRY(mxhal_route)
