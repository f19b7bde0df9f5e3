// BF16 rows by weights of any format, single and in groups: what the operators of CANN offer for one MXFP4 matrix to BF16
// alone.
//
// Weights are decoded row by row, multiplied and summed in float32 by the vector units. That suits few rows, whose time is
// the weights' way to the core; for many rows the cube units would be faster by far, and are not used here.
#include "decode.h"

namespace mxhal {

/// Columns that are decoded at a time, rows of the input that share what was decoded, and rows of weights whose sums are
/// finished together.
constexpr uint32_t product_columns = 2048;
constexpr uint32_t product_rows = 8;
constexpr uint32_t product_outputs = 32;

enum Element : uint64_t { ELEMENT_BF16 = 0, ELEMENT_E2M1 = 1, ELEMENT_E4M3 = 2 };

struct ProductShape {
  uint64_t n, k;
  uint64_t element, scale_rows, scale_columns;
};

class Product {
 public:
  __aicore__ inline Product(const ProductShape& shape) : shape_(shape) {
    reader_.Init(pipe_, product_columns);
    writer_.Init(pipe_, product_outputs);
    decoder_.Init(pipe_, product_columns);
    pipe_.InitBuffer(inputs_, product_rows * product_columns * sizeof(float));
    pipe_.InitBuffer(weights_, product_columns * sizeof(float));
    pipe_.InitBuffer(products_, product_columns * sizeof(float));
    pipe_.InitBuffer(lanes_, product_rows * product_outputs * repeat_floats * sizeof(float));
    pipe_.InitBuffer(sums_, product_rows * product_outputs * sizeof(float));
    pipe_.InitBuffer(parts_, product_outputs * sizeof(float));
    pipe_.InitBuffer(bias_, product_outputs * sizeof(float));
    pipe_.InitBuffer(scales_, most_scales * sizeof(float));
    pipe_.InitBuffer(spread_, most_scales * block_bytes);
  }

  /// `rows` rows of `a` from one on by `outputs` rows of the group's weights, to `y`.
  __aicore__ inline void Tile(GM_ADDR a, GM_ADDR w, GM_ADDR scales, GM_ADDR bias, GM_ADDR y, uint64_t output, uint64_t group,
                              uint64_t first_row, uint32_t rows, uint64_t first_output, uint32_t outputs) {
    Local<float> sums = sums_.Get<float>(), lanes = lanes_.Get<float>(), parts = parts_.Get<float>();
    Fill(sums, 0.0f, product_rows * product_outputs);
    for (uint64_t first = 0; first < shape_.k; first += product_columns) {
      uint32_t columns = Least(shape_.k - first, product_columns);
      // Two halves of whole repeats.
      padded_ = RoundUp(columns, 2 * repeat_floats);
      for (uint32_t row = 0; row < rows; row++) ReadInput(a, (first_row + row) * shape_.k + first, columns, row);
      for (uint32_t index = 0; index < outputs; index++) {
        ReadWeights(w, scales, group, first_output + index, first, columns);
        for (uint32_t row = 0; row < rows; row++) {
          MultiplyInto(lanes[(row * product_outputs + index) * repeat_floats], inputs_.Get<float>()[row * product_columns]);
        }
      }
      for (uint32_t row = 0; row < rows; row++) {
        v::WholeReduceSum(parts, lanes[row * product_outputs * repeat_floats], repeat_floats, outputs, 1, 1, 8);
        Local<float> sum = sums[row * product_outputs];
        v::Add(sum, sum, parts, outputs);
      }
    }
    if (bias != nullptr) reader_.Read(bias_.Get<float>(), bias, FORMAT_F32, group * shape_.n + first_output, outputs);
    for (uint32_t row = 0; row < rows; row++) {
      Local<float> sum = sums[row * product_outputs];
      if (bias != nullptr) v::Add(sum, sum, bias_.Get<float>(), outputs);
      writer_.Write(y, output, (first_row + row) * shape_.n + first_output, sum, outputs);
    }
  }

 private:
  static constexpr uint32_t most_scales = product_columns / 32;

  /// Part of a row of the input, zeros behind it. Beside E2M1 weights the columns of even index come first, as the codes in
  /// low nibbles do: nobody has to put them in order, for a sum has none.
  __aicore__ inline void ReadInput(GM_ADDR a, uint64_t offset, uint32_t columns, uint32_t row) {
    Local<float> input = inputs_.Get<float>()[row * product_columns];
    if (shape_.element != ELEMENT_E2M1) {
      Fill(input, 0.0f, padded_);
      reader_.Read(input, a, FORMAT_BF16, offset, columns);
      return;
    }
    Local<float> pairs = products_.Get<float>();
    Fill(pairs, 0.0f, padded_);
    reader_.Read(pairs, a, FORMAT_BF16, offset, columns);
    uint64_t taken = 0;
    AscendC::GatherMaskParams repeats{1, uint16_t(padded_ / repeat_floats), 8, 0};
    AscendC::GatherMask(input, pairs, uint8_t(1), false, uint32_t(0), repeats, taken);
    AscendC::GatherMask(input[padded_ / 2], pairs, uint8_t(2), false, uint32_t(0), repeats, taken);
    AscendC::PipeBarrier<PIPE_V>();
  }

  /// Part of a row of weights as floats, zeros behind it.
  __aicore__ inline void ReadWeights(GM_ADDR w, GM_ADDR scales, uint64_t group, uint64_t row, uint64_t first,
                                     uint32_t columns) {
    Local<float> weights = weights_.Get<float>(), odd = weights[padded_ / 2];
    uint64_t offset = (group * shape_.n + row) * shape_.k + first;
    Fill(weights, 0.0f, padded_);
    if (shape_.element == ELEMENT_BF16) {
      reader_.Read(weights, w, FORMAT_BF16, offset, columns);
      return;
    }
    if (shape_.element == ELEMENT_E2M1) {
      decoder_.E2m1(weights, odd, BytesAt(w, offset / 2), columns / 2);
    } else {
      decoder_.E4m3(weights, BytesAt(w, offset), columns);
    }
    uint32_t block = uint32_t(shape_.scale_columns), blocks = (columns + block - 1) / block;
    uint64_t scales_of_row = (shape_.k + block - 1) / block;
    uint64_t scale_rows = (shape_.n + shape_.scale_rows - 1) / shape_.scale_rows;
    uint64_t scale = (group * scale_rows + row / shape_.scale_rows) * scales_of_row + first / block;
    Local<float> factors = scales_.Get<float>(), spread = spread_.Get<float>();
    Fill(factors, 0.0f, most_scales);
    decoder_.E8m0(factors, BytesAt(scales, scale), blocks);
    v::Brcb(spread, factors, most_scales / block_floats, AscendC::BrcbRepeatParams{1, 8});
    if (shape_.element == ELEMENT_E2M1) {
      MultiplyBlocks(weights, spread, block / 2, blocks);
      MultiplyBlocks(odd, spread, block / 2, blocks);
    } else {
      MultiplyBlocks(weights, spread, block, blocks);
    }
  }

  /// Products with the weights, summed to 64 lanes.
  __aicore__ inline void MultiplyInto(const Local<float>& lanes, const Local<float>& input) {
    Local<float> products = products_.Get<float>();
    v::Mul(products, input, weights_.Get<float>(), padded_);
    uint32_t width = padded_;
    while (width > 2 * repeat_floats) {
      uint32_t half = RoundUp(width / 2, repeat_floats);
      v::Add(products, products, products[half], width - half);
      width = half;
    }
    v::Add(lanes, products, products[repeat_floats], repeat_floats);
  }

  ProductShape shape_;
  uint32_t padded_ = 0;
  AscendC::TPipe pipe_;
  FloatReader reader_;
  FloatWriter writer_;
  Decoder decoder_;
  AscendC::TBuf<TPosition::VECCALC> inputs_, weights_, products_, lanes_, sums_, parts_, bias_, scales_, spread_;
};

}  // namespace mxhal

/// `a` is BF16 `[m, k]`, `w` `[groups, n, k]`. `scales`, `bias` and `counts` may be null; without counts all rows are of the
/// one group. Each core takes tiles of weights in turn, and all rows of their group.
extern "C" __global__ __aicore__ void mxhal_product(GM_ADDR a, GM_ADDR w, GM_ADDR scales, GM_ADDR bias, GM_ADDR counts,
                                                    GM_ADDR y, uint64_t m, uint64_t n, uint64_t k, uint64_t groups,
                                                    uint64_t element, uint64_t scale_rows, uint64_t scale_columns,
                                                    uint64_t output) {
  using namespace mxhal;
  Product product(ProductShape{n, k, element, scale_rows, scale_columns});
  Global<int32_t> count_of = ValuesAt<int32_t>(counts);
  uint64_t tiles = (n + product_outputs - 1) / product_outputs;
  uint64_t group = 0, first_row = 0;
  for (uint64_t item = AscendC::GetBlockIdx(); item < groups * tiles; item += AscendC::GetBlockNum()) {
    // Tiles come in order of group, so that rows are counted once.
    for (; group < item / tiles; group++) first_row += uint64_t(count_of.GetValue(group));
    uint64_t last_row = counts == nullptr ? m : first_row + uint64_t(count_of.GetValue(group));
    uint64_t first_output = item % tiles * product_outputs;
    for (uint64_t row = first_row; row < last_row; row += product_rows) {
      product.Tile(a, w, scales, bias, y, output, group, row, Least(last_row - row, product_rows), first_output,
                   Least(n - first_output, product_outputs));
    }
  }
}
MXHAL_HOST_ENTRY(mxhal_product)
