// FP8 tiles of 128×128, which no operator of CANN's takes, to plain numbers.
#include "decode.h"

namespace mxhal {

/// Columns at a time: whole tiles.
constexpr uint32_t dequantize_columns = 4096;
constexpr uint32_t tile = 128;

}  // namespace mxhal

/// Each core takes tiles of columns of rows in turn.
extern "C" __global__ __aicore__ void mxhal_dequantize_tiles(GM_ADDR x, GM_ADDR scales, GM_ADDR y, uint64_t rows,
                                                             uint64_t k, uint64_t output) {
  using namespace mxhal;
  AscendC::TPipe pipe;
  Decoder decoder;
  FloatWriter writer;
  AscendC::TBuf<TPosition::VECCALC> value_buffer, scale_buffer, spread_buffer;
  constexpr uint32_t most_scales = RoundUp(dequantize_columns / tile, block_floats);
  decoder.Init(pipe, dequantize_columns);
  writer.Init(pipe, dequantize_columns);
  pipe.InitBuffer(value_buffer, dequantize_columns * sizeof(float));
  pipe.InitBuffer(scale_buffer, most_scales * sizeof(float));
  pipe.InitBuffer(spread_buffer, most_scales * block_bytes);
  Local<float> values = value_buffer.Get<float>(), scale = scale_buffer.Get<float>(), spread = spread_buffer.Get<float>();

  uint64_t parts = (k + dequantize_columns - 1) / dequantize_columns, scales_of_row = (k + tile - 1) / tile;
  for (uint64_t item = AscendC::GetBlockIdx(); item < rows * parts; item += AscendC::GetBlockNum()) {
    uint64_t row = item / parts, first = item % parts * dequantize_columns;
    uint32_t count = Least(k - first, dequantize_columns), blocks = (count + tile - 1) / tile;
    // What follows the last column takes part in the products, and is thrown away.
    Fill(values, 0.0f, blocks * tile);
    Fill(scale, 0.0f, most_scales);
    decoder.E4m3(values, BytesAt(x, row * k + first), count);
    decoder.E8m0(scale, BytesAt(scales, row / tile * scales_of_row + first / tile), blocks);
    v::Brcb(spread, scale, most_scales / block_floats, AscendC::BrcbRepeatParams{1, 8});
    MultiplyBlocks(values, spread, tile, blocks);
    writer.Write(y, output, row * k + first, values, count);
  }
}
MXHAL_HOST_ENTRY(mxhal_dequantize_tiles)
