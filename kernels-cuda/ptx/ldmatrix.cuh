// Matrices of 8 rows of 16 bytes from shared memory to the registers of a warp.
#pragma once

#include "device.cuh"

/// Four matrices. Lane i gives the address of row i % 8 of matrix i / 8 and gets, of matrix j in `to[j]`, the four
/// bytes at 4 * (i % 4) of row i / 4. PTX ISA 9.7.14.5.15.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
#ifdef MXHAL_EMULATED
  struct Loaded {
    uint32_t words[4];
  };
  emulation::check_aligned(row, 16, "ldmatrix");
  emulation::check_read(row, 16);
  auto load = [](const unsigned char* const* rows, Loaded* loaded) MXHAL_UNCHECKED {
    for (int lane = 0; lane < 32; lane++) {
      for (int j = 0; j < 4; j++) memcpy(&loaded[lane].words[j], rows[8 * j + lane / 4] + 4 * (lane % 4), 4);
    }
  };
  auto loaded = emulation::warp_collective<Loaded>("ldmatrix", whole_warp, static_cast<const unsigned char*>(row), load);
  for (int j = 0; j < 4; j++) to[j] = loaded.words[j];
#else
  uint32_t address = uint32_t(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
#endif
}
