// Descriptors: what a tensor core of sm_100 is told of its operands in shared memory, and of the instruction.
//
// Sources: PTX ISA 9.7.16.4 (matrix and instruction descriptor), 9.7.16.5 (layouts), 9.7.16.2.1 (shapes); the same in CUTLASS's
// mma_sm100_desc.hpp. The constants in what NVIDIA's tileiras 13.5 compiles of the same products for sm_100 (cuTile's
// mma_scaled, 128 x 128) are those below.
#pragma once

#include "device.cuh"

/// How rows lie in shared memory, by the numbers of a descriptor's bits 61 to 63.
enum Swizzle : uint32_t {
  /// 8 rows of 16 bytes after each other.
  SWIZZLE_NONE = 0,
  /// Rows of 128 bytes, in groups of 8 that begin at a multiple of 1024: in row r, 16-byte chunk c lies at c ^ r % 8.
  SWIZZLE_128B = 2,
};

/// Of a K-major operand at `address` of shared memory, a multiple of 16. `group_bytes` is from 8 rows to the next 8.
__host__ __device__ constexpr uint64_t matrix_descriptor(uint32_t address, uint32_t group_bytes, Swizzle swizzle) {
  // The step along K within a row, at bit 16, is not looked at here; 16 bytes is what it is taken to be.
  uint64_t low = (address >> 4 & 0x3fff) | 1 << 16;
  uint64_t high = (group_bytes >> 4 & 0x3fff) | 1 << 14 | swizzle << 29;
  return low | high << 32;
}

/// The number of an element type, in the instruction descriptors of kind::mxf8f6f4 and of kind::mxf4 and mxf4nvf4.
constexpr uint32_t mxf8f6f4_e4m3 = 0;
constexpr uint32_t mxf8f6f4_e2m1 = 5;
constexpr uint32_t mxf4_e2m1 = 1;

/// The number of a scale type.
constexpr uint32_t scales_ue4m3 = 0;
constexpr uint32_t scales_ue8m0 = 1;

/// Rows of the first operand that a block has, of every instruction here.
constexpr uint32_t tensor_rows = 128;

/// Of a block-scaled instruction on the 128 rows of a block, or the 256 of a pair, both operands K-major; its columns and
/// scales are to be added.
__host__ __device__ constexpr uint32_t instruction_descriptor(uint32_t a_type, uint32_t b_type, uint32_t scale_type, uint32_t blocks = 1) {
  return a_type << 7 | b_type << 10 | scale_type << 23 | blocks * tensor_rows / 16 << 24;
}

/// The same of an instruction without scales, BF16 by BF16 into float32; its columns are to be added. The format of sums is
/// at 4, those of the operands at 7 and 10 (CUTLASS's InstrDescriptor).
__host__ __device__ constexpr uint32_t instruction_descriptor_bf16(uint32_t blocks = 1) {
  return 1 << 4 | 1 << 7 | 1 << 10 | blocks * tensor_rows / 16 << 24;
}

/// A multiple of 16 up to 256, of a block and of a pair.
__host__ __device__ constexpr uint32_t instruction_columns(uint32_t columns) { return columns / 8 << 17; }

/// Of the four bytes of scales that a row has in a column of tensor memory, the first that is used.
__host__ __device__ constexpr uint32_t instruction_scales(uint32_t a_byte, uint32_t b_byte) { return a_byte << 29 | b_byte << 4; }

// Their bits, by examples.
static_assert(matrix_descriptor(0x400, 1024, SWIZZLE_128B) == 0x4000404000010040, "start 0x40, stride 0x40, version 1, 128 bytes");
static_assert(matrix_descriptor(0x3fff0, 128, SWIZZLE_NONE) == 0x400800013fff, "the last address, stride 8, no swizzle");
static_assert(instruction_descriptor(mxf8f6f4_e2m1, mxf8f6f4_e4m3, scales_ue8m0) == 0x08800280, "M / 16 at 24, UE8M0 at 23, types at 7");
static_assert(instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue4m3) == 0x08000480, "types at 7 and 10, UE4M3 is 0");
static_assert((instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue8m0) | instruction_columns(128)) == 0x08a00480, "as tileiras has it");
static_assert(instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue8m0, 2) == 0x10800480, "a pair has 256 rows");
static_assert(instruction_descriptor_bf16() == 0x08000490, "float32 at 4, BF16 at 7 and 10, M / 16 at 24");
static_assert(instruction_columns(256) == 0x00400000 && instruction_columns(16) == 0x00040000, "N / 8 at 17");
static_assert(instruction_scales(3, 2) == 0x60000020, "a_byte at 29, b_byte at 4");
