// Kernels with one fault each, and one without: what the shim must say of them. Each gets 64 floats and room for as many.
#include "kernel_operator.h"

namespace {

using namespace AscendC;

/// 64 floats on their way in and out.
struct Tile {
  TPipe pipe;
  TQue<TPosition::VECIN, 1> in;
  TQue<TPosition::VECOUT, 1> out;
  TBuf<TPosition::VECCALC> buffer;
  GlobalTensor<float> from, to;

  Tile(GM_ADDR x, GM_ADDR y) {
    pipe.InitBuffer(in, 1, 256);
    pipe.InitBuffer(out, 1, 256);
    pipe.InitBuffer(buffer, 256);
    from.SetGlobalBuffer(reinterpret_cast<float*>(x));
    to.SetGlobalBuffer(reinterpret_cast<float*>(y));
  }

  LocalTensor<float> Read(uint32_t bytes = 256) {
    LocalTensor<float> tensor = in.AllocTensor<float>();
    DataCopyPad(tensor, from, DataCopyExtParams{1, bytes, 0, 0, 0}, DataCopyPadExtParams<float>{});
    in.EnQue(tensor);
    return in.DeQue<float>();
  }

  void Write(LocalTensor<float>& tensor, uint32_t bytes = 256) {
    out.EnQue(tensor);
    tensor = out.DeQue<float>();
    DataCopyPad(to, tensor, DataCopyExtParams{1, bytes, 0, 0, 0});
    out.FreeTensor(tensor);
  }

  /// Twice each number.
  void Double(uint32_t read = 256, uint32_t written = 256) {
    LocalTensor<float> x = Read(read), y = out.AllocTensor<float>();
    Muls(y, x, 2.0f, 64);
    in.FreeTensor(x);
    Write(y, written);
  }
};

}  // namespace

#define KERNEL(name, ...)                               \
  extern "C" void name(GM_ADDR input, GM_ADDR output) { \
    Tile tile(input, output);                           \
    __VA_ARGS__                                         \
  }                                                     \
  MXHAL_HOST_ENTRY(name)

KERNEL(sound, tile.Double();)
KERNEL(past_memory, tile.Double(256, 256); LocalTensor<float> x = tile.Read(260); tile.in.FreeTensor(x);)
KERNEL(unwritten, tile.Double(128);)
KERNEL(no_barrier, {
  LocalTensor<float> x = tile.Read(), half = tile.buffer.Get<float>(), y = tile.out.AllocTensor<float>();
  Muls(half, x, 0.5f, 64);
  Muls(y, half, 4.0f, 64);
  tile.in.FreeTensor(x);
  tile.Write(y);
})
KERNEL(no_queue, {
  LocalTensor<float> x = tile.in.AllocTensor<float>(), y = tile.out.AllocTensor<float>();
  DataCopyPad(x, tile.from, DataCopyExtParams{1, 256, 0, 0, 0}, DataCopyPadExtParams<float>{});
  Muls(y, x, 2.0f, 64);
})
KERNEL(early_scalar, {
  LocalTensor<float> x = tile.Read();
  float first = x.GetValue(0);
  Muls(x, x, first, 64);
  tile.in.FreeTensor(x);
})
KERNEL(not_freed, tile.Read();)
KERNEL(freed_twice, LocalTensor<float> x = tile.Read(); tile.in.FreeTensor(x); tile.in.FreeTensor(x);)
KERNEL(taken_twice, tile.in.AllocTensor<float>(); tile.in.AllocTensor<float>();)
KERNEL(empty_queue, tile.in.DeQue<float>();)
KERNEL(past_ub, TBuf<TPosition::VECCALC> buffer; tile.pipe.InitBuffer(buffer, 256 * 1024);)
KERNEL(past_tensor, LocalTensor<float> x = tile.Read(); Muls(x, x, 2.0f, 65); tile.in.FreeTensor(x);)
KERNEL(misaligned, LocalTensor<float> x = tile.Read(); Muls(x[4], x[4], 2.0f, 32); tile.in.FreeTensor(x);)
KERNEL(partial_compare, {
  LocalTensor<float> x = tile.Read();
  CompareScalar(tile.buffer.Get<uint8_t>(), x, 0.0f, CMPMODE::EQ, 32);
  tile.in.FreeTensor(x);
})
KERNEL(never_waited, SetFlag<HardEvent::V_S>(0);)
KERNEL(waits_for_ever, WaitFlag<HardEvent::V_S>(0);)
