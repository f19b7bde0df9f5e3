// Models of the tensor core of sm_100: descriptors taken apart, shared memory read through them, sums in tensor memory.
//
// An instruction is of one block, or of the pair of a cluster, which its first block begins.
#pragma once

#include <tensor_memory.h>

#include "bf16_sum.h"
#include "block_scaled_model.h"

namespace model {

/// A matrix descriptor, taken apart. Faults on what no kernel here uses.
struct Matrix {
  uint32_t address;
  uint32_t group_bytes;
  bool is_swizzled;
  const char* what;

  MXHAL_UNCHECKED Matrix(uint64_t descriptor, const char* user) : what(user) {
    address = uint32_t(descriptor & 0x3fff) << 4;
    group_bytes = uint32_t(descriptor >> 32 & 0x3fff) << 4;
    uint32_t swizzle = uint32_t(descriptor >> 61);
    is_swizzled = swizzle == SWIZZLE_128B;
    if ((descriptor >> 46 & 3) != 1) emulation::fault("%s: a matrix descriptor of version %u and not 1", what, uint32_t(descriptor >> 46 & 3));
    if (!is_swizzled && swizzle != SWIZZLE_NONE) emulation::fault("%s: swizzle %u is not emulated", what, swizzle);
    if ((descriptor >> 49 & 15) != 0) emulation::fault("%s: a base offset or another mode than 0 is not emulated", what);
  }

  /// Where 16-byte chunk `chunk` of a row lies, in the shared memory of the block of that rank.
  MXHAL_UNCHECKED const uint8_t* chunk(uint32_t row, uint32_t chunk, uint32_t rank) const {
    uint32_t at = address + row / 8 * group_bytes + row % 8 * (is_swizzled ? 128 : 16) + chunk * 16;
    // The pattern is one of addresses, and repeats every 1024 bytes.
    if (is_swizzled) at ^= (at >> 7 & 7) << 4;
    return emulation::shared_at(at, rank);
  }
};

/// The ranks of the blocks whose memory an instruction uses: of the pair, or this thread's own.
struct Ranks {
  uint32_t first, end;

  MXHAL_UNCHECKED explicit Ranks(uint32_t blocks) : first(blocks == 2 ? 0 : emulation::cluster_rank()), end(first + blocks) {}
};

struct ScaleCopy {
  uint32_t columns;
  uint64_t scales;
  Ranks ranks;
};

MXHAL_UNCHECKED inline void carry_out_copy(const void* given) {
  const ScaleCopy& copy = *static_cast<const ScaleCopy*>(given);
  Matrix matrix(copy.scales, "tcgen05.cp");
  for (uint32_t rank = copy.ranks.first; rank < copy.ranks.end; rank++) {
    for (uint32_t lane = 0; lane < emulation::tensor_lanes; lane++) {
      memcpy(emulation::tensor_lane(lane, rank) + (copy.columns & 0xffff), matrix.chunk(lane % 32, 0, rank), 16);
    }
  }
}

MXHAL_UNCHECKED inline void copy_scales(uint32_t columns, uint64_t scales, uint32_t blocks) {
  emulation::tensor_check_group(blocks, false, "tcgen05.cp");
  emulation::tensor_check_fenced("tcgen05.cp");
  uint32_t operation = emulation::next_operation();
  Matrix matrix(scales, "tcgen05.cp");
  Ranks ranks(blocks);
  for (uint32_t rank = ranks.first; rank < ranks.end; rank++) {
    for (uint32_t row = 0; row < 32; row++) {
      emulation::check_operation_reads(matrix.chunk(row, 0, rank), 16, operation, "tcgen05.cp");
    }
    emulation::tensor_check_write(columns, 4, operation, false, "tcgen05.cp", rank);
  }
  ScaleCopy copy = {columns, scales, ranks};
  emulation::begin_operation(carry_out_copy, &copy, sizeof copy, blocks);
}

struct Mma {
  uint64_t a, b;
  uint32_t d, instruction, a_scales, b_scales;
  bool add;
  Ranks ranks;

  MXHAL_UNCHECKED uint32_t columns() const { return (instruction >> 17 & 63) * 8; }
};

/// The scale bytes of a row: those of a column of tensor memory from byte `byte` on.
MXHAL_UNCHECKED inline Scale tensor_scale(uint32_t columns, uint32_t row, uint32_t byte, bool is_ue4m3, uint32_t rank) {
  // Each warp's lanes hold the same; the row's own are read, so that a copy to a quarter of the lanes is noticed.
  uint32_t word = emulation::tensor_lane(row % 128 / 32 * 32 + row % 32, rank)[(columns & 0xffff) + row / 32];
  return scale_of(int(word >> (8 * byte) & 255), is_ue4m3);
}

/// A row of doubled E2M1, one for each 4 bits, or for kind::mxf8f6f4 those of the first half of each 16 bytes.
MXHAL_UNCHECKED inline void narrow_row(const Matrix& matrix, uint32_t row, uint32_t rank, bool is_padded, int8_t* values) {
  for (uint32_t chunk = 0; chunk < 2; chunk++) {
    const uint8_t* bytes = matrix.chunk(row, chunk, rank);
    uint32_t count = is_padded ? 16 : 32;
    for (uint32_t k = 0; k < count; k++) values[chunk * count + k] = int8_t(e2m1_doubled(bytes[k / 2] >> (4 * (k % 2))));
  }
}

/// The rows of the first operand that the block of that rank has, which are the lanes of its tensor memory, by all of the
/// second. Of those each block of a pair has its share; their scales are whole in each.
template <int kind>
MXHAL_UNCHECKED inline void multiply(const Mma& mma, uint32_t rank) {
  constexpr bool is_mxf8f6f4 = kind == 0, is_nvfp4 = kind == 2;
  Matrix a(mma.a, "tcgen05.mma"), b(mma.b, "tcgen05.mma");
  uint32_t columns = mma.columns(), share = columns / (mma.ranks.end - mma.ranks.first);
  uint32_t a_byte = mma.instruction >> 29 & 3, b_byte = mma.instruction >> 4 & 3;
  static thread_local int8_t narrow[256][64];
  static thread_local WideRow wide[256];
  static thread_local Scale scales[256][4];
  for (uint32_t n = 0; n < columns; n++) {
    uint32_t owner = mma.ranks.first + n / share;
    if (is_mxf8f6f4) {
      uint8_t codes[32];
      memcpy(codes, b.chunk(n % share, 0, owner), 16);
      memcpy(codes + 16, b.chunk(n % share, 1, owner), 16);
      wide[n] = wide_row(codes);
      scales[n][0] = tensor_scale(mma.b_scales, n, b_byte, false, rank);
    } else {
      narrow_row(b, n % share, owner, false, narrow[n]);
      for (uint32_t group = 0; group < 4; group++) {
        scales[n][group] = tensor_scale(mma.b_scales, n, is_nvfp4 ? group : b_byte + group / 2, is_nvfp4, rank);
      }
    }
  }
  for (uint32_t m = 0; m < emulation::tensor_lanes; m++) {
    int8_t values[64];
    narrow_row(a, m, rank, is_mxf8f6f4, values);
    Scale own[4];
    for (uint32_t group = 0; group < 4; group++) {
      uint32_t byte = is_mxf8f6f4 ? a_byte : is_nvfp4 ? group : a_byte + group / 2;
      own[group] = tensor_scale(mma.a_scales, m, byte, is_nvfp4, rank);
    }
    uint32_t* lane = emulation::tensor_lane(m, rank) + (mma.d & 0xffff);
    for (uint32_t n = 0; n < columns; n++) {
      float sum = 0.0f;
      if (mma.add) memcpy(&sum, &lane[n], 4);
      sum = is_mxf8f6f4 ? add_mxf8f4(sum, wide[n], values, scales[n][0], own[0]) : add_mxf4(sum, values, narrow[n], own, scales[n]);
      memcpy(&lane[n], &sum, 4);
    }
  }
}

template <int kind>
MXHAL_UNCHECKED inline void carry_out_mma(const void* given) {
  const Mma& mma = *static_cast<const Mma*>(given);
  for (uint32_t rank = mma.ranks.first; rank < mma.ranks.end; rank++) multiply<kind>(mma, rank);
}

/// What an instruction descriptor must say for this kind, whatever its columns and scale bytes are.
template <int kind>
constexpr uint32_t fixed_instruction(uint32_t blocks) {
  return kind == 0   ? instruction_descriptor(mxf8f6f4_e2m1, mxf8f6f4_e4m3, scales_ue8m0, blocks)
         : kind == 1 ? instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue8m0, blocks)
                     : instruction_descriptor(mxf4_e2m1, mxf4_e2m1, scales_ue4m3, blocks);
}

/// Both operands in shared memory, of which the first has so many bytes of each 16, and the sums.
MXHAL_UNCHECKED inline void check_operands(const Mma& mma, uint32_t a_bytes, uint32_t operation) {
  Matrix a(mma.a, "tcgen05.mma"), b(mma.b, "tcgen05.mma");
  uint32_t columns = mma.columns(), share = columns / (mma.ranks.end - mma.ranks.first);
  if (columns == 0 || columns > 256 || columns % 16 != 0) emulation::fault("tcgen05.mma: %u columns; 16 to 256 by 16 are possible", columns);
  for (uint32_t rank = mma.ranks.first; rank < mma.ranks.end; rank++) {
    for (uint32_t chunk = 0; chunk < 2; chunk++) {
      for (uint32_t row = 0; row < tensor_rows; row++) emulation::check_operation_reads(a.chunk(row, chunk, rank), a_bytes, operation, "tcgen05.mma");
      for (uint32_t row = 0; row < share; row++) emulation::check_operation_reads(b.chunk(row, chunk, rank), 16, operation, "tcgen05.mma");
    }
    if (mma.add) emulation::tensor_check_read(mma.d, columns, operation, "tcgen05.mma", rank);
    emulation::tensor_check_write(mma.d, columns, operation, mma.add, "tcgen05.mma", rank);
  }
}

template <int kind>
MXHAL_UNCHECKED inline void begin_mma(uint32_t d, uint64_t a, uint64_t b, uint32_t instruction, uint32_t a_scales, uint32_t b_scales, bool add,
                                      uint32_t blocks) {
  emulation::tensor_check_group(blocks, false, "tcgen05.mma");
  emulation::tensor_check_fenced("tcgen05.mma");
  Ranks ranks(blocks);
  Mma mma = {a, b, d, instruction, a_scales, b_scales, add, ranks};
  uint32_t columns = mma.columns();
  uint32_t a_byte = instruction >> 29 & 3, b_byte = instruction >> 4 & 3;
  if ((instruction & 0x9f81ffcf) != fixed_instruction<kind>(blocks)) {
    emulation::fault("tcgen05.mma: instruction descriptor %#x is not one of %u K-major rows of this kind", instruction, blocks * tensor_rows);
  }
  bool selects_well = kind == 0 || (kind == 1 ? a_byte % 2 == 0 && b_byte % 2 == 0 : a_byte == 0 && b_byte == 0);
  if (!selects_well) emulation::fault("tcgen05.mma: scale bytes %u and %u cannot be the first of this kind", a_byte, b_byte);

  uint32_t operation = emulation::next_operation();
  for (uint32_t rank = ranks.first; rank < ranks.end; rank++) {
    emulation::tensor_check_read(a_scales, 4, operation, "tcgen05.mma", rank);
    emulation::tensor_check_read(b_scales, (columns + 31) / 32, operation, "tcgen05.mma", rank);
  }
  check_operands(mma, kind == 0 ? 8 : 16, operation);
  emulation::begin_operation(carry_out_mma<kind>, &mma, sizeof mma, blocks);
}

/// A row of sixteen BF16.
MXHAL_UNCHECKED inline Bf16Row bf16_row_of(const Matrix& matrix, uint32_t row, uint32_t rank) {
  uint8_t bytes[32];
  for (uint32_t chunk = 0; chunk < 2; chunk++) memcpy(bytes + 16 * chunk, matrix.chunk(row, chunk, rank), 16);
  return bf16_row(bytes);
}

MXHAL_UNCHECKED inline void multiply_bf16(const Mma& mma, uint32_t rank) {
  Matrix a(mma.a, "tcgen05.mma"), b(mma.b, "tcgen05.mma");
  static thread_local Bf16Row rows[256];
  uint32_t columns = mma.columns(), share = columns / (mma.ranks.end - mma.ranks.first);
  for (uint32_t n = 0; n < columns; n++) rows[n] = bf16_row_of(b, n % share, mma.ranks.first + n / share);
  for (uint32_t m = 0; m < emulation::tensor_lanes; m++) {
    Bf16Row own = bf16_row_of(a, m, rank);
    uint32_t* lane = emulation::tensor_lane(m, rank) + (mma.d & 0xffff);
    for (uint32_t n = 0; n < columns; n++) {
      float sum = 0.0f;
      if (mma.add) memcpy(&sum, &lane[n], 4);
      sum = add_bf16(sum, own, rows[n]);
      memcpy(&lane[n], &sum, 4);
    }
  }
}

MXHAL_UNCHECKED inline void carry_out_mma_bf16(const void* given) {
  const Mma& mma = *static_cast<const Mma*>(given);
  for (uint32_t rank = mma.ranks.first; rank < mma.ranks.end; rank++) multiply_bf16(mma, rank);
}

MXHAL_UNCHECKED inline void begin_mma_bf16(uint32_t d, uint64_t a, uint64_t b, uint32_t instruction, bool add, uint32_t blocks) {
  emulation::tensor_check_group(blocks, false, "tcgen05.mma");
  emulation::tensor_check_fenced("tcgen05.mma");
  Mma mma = {a, b, d, instruction, 0, 0, add, Ranks(blocks)};
  if ((instruction & ~(63u << 17)) != instruction_descriptor_bf16(blocks)) {
    emulation::fault("tcgen05.mma: instruction descriptor %#x is not one of %u K-major rows of this kind", instruction, blocks * tensor_rows);
  }
  uint32_t operation = emulation::next_operation();
  check_operands(mma, 16, operation);
  emulation::begin_operation(carry_out_mma_bf16, &mma, sizeof mma, blocks);
}

MXHAL_UNCHECKED inline void load_columns(uint32_t (&to)[16], uint32_t address) {
  emulation::warp_collective<char>("tcgen05.ld", whole_warp, char(0), [](const char*, char* results) MXHAL_UNCHECKED {
    for (int i = 0; i < 32; i++) results[i] = 0;
  });
  emulation::tensor_check_fenced("tcgen05.ld");
  emulation::tensor_check_load(address, 16);
  memcpy(to, emulation::tensor_lane((address >> 16) + emulation::lane(), emulation::cluster_rank()) + (address & 0xffff), 64);
}

}  // namespace model
