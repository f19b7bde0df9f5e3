// Copies of tiles by the unit for tensors (cp.async.bulk.tensor), as tensor maps describe them.
//
// A map is what the emulated cuTensorMapEncodeTiled writes (src/tensor_map.rs), which has checked it. A tile is copied row
// by row, in pieces of 16 bytes of shared memory, the unit of the swizzle. Sources: PTX ISA 5.5 (tensors: boxes, what lies
// outside, swizzles, sub-byte types with padding) and 9.7.9.25.

#include <string.h>

#include <algorithm>

#include "block.h"

namespace emulation {

namespace {

/// The bytes of a map. Mirrored in tensor_map.rs.
struct Map {
  uint32_t magic;
  uint8_t type;
  uint8_t rank;
  uint8_t swizzle;
  uint8_t zero;
  uint64_t address;
  uint64_t extents[5];
  uint64_t strides[4];
  uint16_t box[5];
};

constexpr uint32_t map_magic = 0x50414d54;
/// Numbers of CUtensorMapDataType and CUtensorMapSwizzle.
constexpr uint8_t bytes_type = 0;
constexpr uint8_t padded_e2m1_type = 14;
constexpr uint8_t swizzle_128 = 3;
/// Codes in 16 bytes of shared memory, of which they take 8.
constexpr unsigned padded_codes = 16;

/// 16 bytes of shared memory and what comes there.
struct Piece {
  unsigned char* shared;
  const unsigned char* global;
  /// Copied, and then zeros.
  unsigned bytes, zeros;
};

struct Tile {
  std::vector<Piece> pieces;
  /// What the barrier counts: of padded types the codes and not the gaps, outside of the tensor or not. DeepGEMM
  /// (sm100_fp8_fp4_gemm_1d1d.cuh) expects as many.
  uint32_t counted = 0;
};

Map read_map(const void* address) {
  check_aligned(address, 64, "tensor map");
  Map map;
  memcpy(&map, address, sizeof map);
  if (map.magic != map_magic) fault("copy of a tile by what is no tensor map");
  if (map.rank != 2) fault("copy of a tile of 2 dimensions by a tensor map of %u", map.rank);
  if (map.type != bytes_type && map.type != padded_e2m1_type) fault("copies of elements of type %u are not emulated", map.type);
  if (map.swizzle != 0 && map.swizzle != swizzle_128) fault("copies with swizzle %u are not emulated", map.swizzle);
  return map;
}

Tile cut(const Map& map, unsigned char* shared, int32_t x, int32_t y) {
  bool is_padded = map.type == padded_e2m1_type;
  unsigned piece_bytes = is_padded ? padded_codes / 2 : 16;
  // Along a row everything is in bytes of device memory.
  unsigned per_byte = is_padded ? 2 : 1;
  if (is_padded && x % 128 != 0) fault("copy of a tile at code %d of a row: padded codes are copied from multiples of 128 on", x);
  int64_t first = x / int64_t(per_byte), row_end = int64_t(map.extents[0] / per_byte);
  unsigned row_pieces = map.box[0] / per_byte / piece_bytes;
  uint32_t base = shared_offset(shared);
  Tile tile;
  for (unsigned row = 0; row < map.box[1]; row++) {
    bool is_inside = y + int64_t(row) >= 0 && uint64_t(y + int64_t(row)) < map.extents[1];
    for (unsigned i = 0; i < row_pieces; i++) {
      uint32_t at = base + (row * row_pieces + i) * 16;
      // The pattern is one of addresses, and repeats every 1024 bytes.
      if (map.swizzle == swizzle_128) at ^= (at >> 7 & 7) << 4;
      int64_t from = first + int64_t(i) * piece_bytes;
      if (from < 0 && is_inside) fault("copy of a tile from before the beginning of a row is not emulated");
      unsigned bytes = is_inside ? unsigned(std::clamp<int64_t>(row_end - from, 0, piece_bytes)) : 0;
      uint64_t global = map.address + uint64_t(y + int64_t(row)) * map.strides[0] + uint64_t(from);
      tile.pieces.push_back({shared_at(at, state.rank), reinterpret_cast<const unsigned char*>(global), bytes, piece_bytes - bytes});
      tile.counted += piece_bytes;
    }
  }
  return tile;
}

}  // namespace

void copy_tile(void* shared, const void* map_address, int32_t x, int32_t y, void* barrier, uint32_t rank) {
  Map map = read_map(map_address);
  check_aligned(shared, 128, "copy of a tile to shared memory");
  Tile tile = cut(map, static_cast<unsigned char*>(shared), x, y);
  for (const Piece& piece : tile.pieces) {
    if (piece.bytes != 0) check_tile_read(piece.global, piece.bytes);
    begin_tile_write(piece.shared, piece.bytes + piece.zeros);
    memset(piece.shared, 0xff, piece.bytes + piece.zeros);
  }
  begin_tile_copy(barrier, rank, [tile = std::move(tile)](unsigned entry, uint32_t phase) {
    for (const Piece& piece : tile.pieces) {
      memcpy(piece.shared, piece.global, piece.bytes);
      memset(piece.shared + piece.bytes, 0, piece.zeros);
      end_tile_write(piece.shared, piece.bytes + piece.zeros, entry, phase);
    }
    return tile.counted;
  });
}

}  // namespace emulation
