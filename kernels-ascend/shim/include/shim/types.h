// Keywords, and the element types that C++ has no word for.
#pragma once

#include <cstdint>
#include <cstring>

#define __aicore__
#define __global__
#define __gm__
#define __ubuf__

using GM_ADDR = uint8_t*;

namespace shim {

template <class To, class From>
inline To Bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

/// To nearest, ties to even; a NaN becomes quiet.
inline uint16_t Bfloat16Of(float value) {
  uint32_t bits = Bits<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// To nearest, ties to even; beyond the largest number infinite.
inline uint16_t HalfOf(float value) {
  uint32_t bits = Bits<uint32_t>(value);
  uint32_t sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);
  // Below 2^-14 the addition rounds to 2^-24, the unit of the subnormals.
  if (magnitude < 0x38800000) return uint16_t(sign | (Bits<uint32_t>(Bits<float>(magnitude) + 0.5f) - 0x3f000000));
  return uint16_t(sign | (((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112 << 10)));
}

inline float OfHalf(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000) << 16;
  uint32_t magnitude = bits & 0x7fff;
  if (magnitude >= 0x7c00) return Bits<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  // Placed in a float's bits the exponent is 112 too small; the product is exact, of subnormals too.
  return Bits<float>(sign | Bits<uint32_t>(Bits<float>(magnitude << 13) * 0x1p112f));
}

}  // namespace shim

/// IEEE 754 binary16.
struct half {
  uint16_t bits;
  half() = default;
  explicit half(float value) : bits(shim::HalfOf(value)) {}
  explicit operator float() const { return shim::OfHalf(bits); }
};

/// bfloat16.
struct bfloat16_t {
  uint16_t bits;
  bfloat16_t() = default;
  explicit bfloat16_t(float value) : bits(shim::Bfloat16Of(value)) {}
  explicit operator float() const { return shim::Bits<float>(uint32_t(bits) << 16); }
};
