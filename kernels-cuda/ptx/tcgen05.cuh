// Tensor memory and the tensor core of sm_100, which works on its own. PTX ISA 9.7.16.
//
// One thread begins operations; they happen in the order of `copy_scales` before `mma`, and `mma` before `mma`. What
// they read must not be written, and what they write not be read, before a barrier that commit_tensor_operations
// named has been waited for.
//
// `blocks` is 1, or 2 for the pair of a cluster, cta_group::2: the same for all instructions of a kernel. In a pair a warp
// of each block allocates, gives up the permit and frees, and one thread of the first begins the rest; each block stays
// until nothing uses its memory (9.7.16.5).
#pragma once

#include "descriptors.cuh"
#include "mbarrier.cuh"

#ifdef MXHAL_EMULATED
#include "tcgen05_model.h"
#endif

/// The kinds of instruction, with what they multiply: 32 bytes of either side along K.
enum class Kind {
  /// 32 of E2M1 (the first operand, each 16 of them in 8 bytes and 8 bytes of nothing after) by 32 of E4M3; an E8M0
  /// scale.
  MXF8F6F4,
  /// 64 of E2M1; an E8M0 scale for each 32.
  MXF4,
  /// 64 of E2M1; a UE4M3 scale for each 16.
  NVFP4,
  /// 16 of BF16, without scales.
  BF16,
};

/// The number that a descriptor holds of an address in shared memory.
__device__ __forceinline__ uint32_t shared_address(const void* address) {
#ifdef MXHAL_EMULATED
  return emulation::shared_offset(address);
#else
  return uint32_t(__cvta_generic_to_shared(address));
#endif
}

/// By a whole warp: so many columns, a power of two from 32 on, of all lanes; their address goes to shared memory. Waits
/// where other blocks have them. The same warp frees them. Of a pair both get the same address.
template <uint32_t columns, uint32_t blocks = 1>
__device__ __forceinline__ void allocate_tensor_columns(uint32_t* address) {
#ifdef MXHAL_EMULATED
  __syncwarp();
  emulation::tensor_check_group(blocks, true, "tcgen05.alloc");
  if (threadIdx.x % 32 == 0) *address = emulation::tensor_allocate(columns);
  __syncwarp();
#elif MXHAL_FAMILY == 1000
  asm volatile("tcgen05.alloc.cta_group::%2.sync.aligned.shared::cta.b32 [%0], %1;" ::"r"(shared_address(address)), "n"(columns),
               "n"(blocks)
               : "memory");
#else
  __trap();
#endif
}

/// By a whole warp: it will allocate no more.
template <uint32_t blocks = 1>
__device__ __forceinline__ void relinquish_tensor_columns() {
#ifdef MXHAL_EMULATED
  __syncwarp();
  emulation::tensor_check_group(blocks, true, "tcgen05.relinquish_alloc_permit");
  emulation::tensor_relinquish();
#elif MXHAL_FAMILY == 1000
  asm volatile("tcgen05.relinquish_alloc_permit.cta_group::%0.sync.aligned;" ::"n"(blocks));
#endif
}

/// By the whole warp that allocated them. In a pair after a barrier of the cluster, after which neither block uses them;
/// then either block may end.
template <uint32_t columns, uint32_t blocks = 1>
__device__ __forceinline__ void free_tensor_columns(uint32_t address) {
#ifdef MXHAL_EMULATED
  __syncwarp();
  emulation::tensor_check_group(blocks, true, "tcgen05.dealloc");
  if (threadIdx.x % 32 == 0) emulation::tensor_free(address, columns);
#elif MXHAL_FAMILY == 1000
  asm volatile("tcgen05.dealloc.cta_group::%2.sync.aligned.b32 %0, %1;" ::"r"(address), "n"(columns), "n"(blocks));
#endif
}

/// Before a thread tells others, other than by a commit, of what it did in tensor memory.
__device__ __forceinline__ void fence_tensor_before() {
#if !defined(MXHAL_EMULATED) && MXHAL_FAMILY == 1000
  asm volatile("tcgen05.fence::before_thread_sync;" ::: "memory");
#endif
}

/// After a thread waited for others, before what it does in tensor memory.
__device__ __forceinline__ void fence_tensor_after() {
#ifdef MXHAL_EMULATED
  emulation::tensor_fence();
#elif MXHAL_FAMILY == 1000
  asm volatile("tcgen05.fence::after_thread_sync;" ::: "memory");
#endif
}

/// Begins a copy of 512 bytes, 16 for each of 32 rows: row i goes to four columns of lanes i, 32 + i, 64 + i and 96 + i.
/// In a pair from the shared memory of each block to its own tensor memory, both at the same places.
template <uint32_t blocks = 1>
__device__ __forceinline__ void copy_scales(uint32_t columns, uint64_t scales) {
#ifdef MXHAL_EMULATED
  model::copy_scales(columns, scales, blocks);
#elif MXHAL_FAMILY == 1000
  asm volatile("tcgen05.cp.cta_group::%2.32x128b.warpx4 [%0], %1;" ::"r"(columns), "l"(scales), "n"(blocks) : "memory");
#endif
}

/// Begins D = A * B, or + D where `add`: A of 128 rows, which are D's lanes, B of as many rows as D has columns. The
/// scales of row r are the bytes of lane r % 32, column r / 32 from `a_scales` or `b_scales` on.
///
/// In a pair A has 256 rows: the first block has 128 in its shared memory, and their scales, and what they make of D, in
/// its tensor memory, and the second block the others. Each has half of the rows of B, the first those that come first,
/// and the scales of all of them. Every address is the same in both blocks.
template <Kind kind, uint32_t blocks = 1>
__device__ __forceinline__ void mma_block_scaled(uint32_t d, uint64_t a, uint64_t b, uint32_t instruction, uint32_t a_scales,
                                                 uint32_t b_scales, bool add) {
#ifdef MXHAL_EMULATED
  model::begin_mma<int(kind)>(d, a, b, instruction, a_scales, b_scales, add, blocks);
#elif MXHAL_FAMILY == 1000
  if constexpr (kind == Kind::MXF8F6F4) {
    asm volatile(
        "{ .reg .pred add; setp.ne.u32 add, %6, 0;\n"
        "tcgen05.mma.cta_group::%7.kind::mxf8f6f4.block_scale.block32 [%0], %1, %2, %3, [%4], [%5], add; }" ::"r"(d),
        "l"(a), "l"(b), "r"(instruction), "r"(a_scales), "r"(b_scales), "r"(uint32_t(add)), "n"(blocks)
        : "memory");
  } else if constexpr (kind == Kind::MXF4) {
    asm volatile(
        "{ .reg .pred add; setp.ne.u32 add, %6, 0;\n"
        "tcgen05.mma.cta_group::%7.kind::mxf4.block_scale.block32 [%0], %1, %2, %3, [%4], [%5], add; }" ::"r"(d),
        "l"(a), "l"(b), "r"(instruction), "r"(a_scales), "r"(b_scales), "r"(uint32_t(add)), "n"(blocks)
        : "memory");
  } else {
    asm volatile(
        "{ .reg .pred add; setp.ne.u32 add, %6, 0;\n"
        "tcgen05.mma.cta_group::%7.kind::mxf4nvf4.block_scale.block16 [%0], %1, %2, %3, [%4], [%5], add; }" ::"r"(d),
        "l"(a), "l"(b), "r"(instruction), "r"(a_scales), "r"(b_scales), "r"(uint32_t(add)), "n"(blocks)
        : "memory");
  }
#endif
}

/// As mma_block_scaled for kind BF16.
template <uint32_t blocks = 1>
__device__ __forceinline__ void mma_tensor_bf16(uint32_t d, uint64_t a, uint64_t b, uint32_t instruction, bool add) {
#ifdef MXHAL_EMULATED
  model::begin_mma_bf16(d, a, b, instruction, add, blocks);
#elif MXHAL_FAMILY == 1000
  asm volatile(
      "{ .reg .pred add; setp.ne.u32 add, %4, 0;\n"
      "tcgen05.mma.cta_group::%5.kind::f16 [%0], %1, %2, %3, add; }" ::"r"(d),
      "l"(a), "l"(b), "r"(instruction), "r"(uint32_t(add)), "n"(blocks)
      : "memory");
#endif
}

/// An arrival at the barrier when all that this thread began has happened.
__device__ __forceinline__ void commit_tensor_operations(Mbarrier* barrier) {
#ifdef MXHAL_EMULATED
  emulation::tensor_check_group(1, false, "tcgen05.commit");
  emulation::commit_operations(barrier);
#elif MXHAL_FAMILY == 1000
  asm volatile("tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
#endif
}

/// The same in a pair: at the barriers that lie there in the blocks whose ranks' bits are set in `ranks`, which is 3 for
/// both.
__device__ __forceinline__ void commit_pair_operations(Mbarrier* barrier, uint32_t ranks) {
#ifdef MXHAL_EMULATED
  emulation::tensor_check_group(2, false, "tcgen05.commit");
  emulation::commit_operations_to(barrier, ranks);
#elif MXHAL_FAMILY == 1000
  asm volatile("tcgen05.commit.cta_group::2.mbarrier::arrive::one.shared::cluster.multicast::cluster.b64 [%0], %1;" ::"r"(
                   shared_address(barrier)),
               "h"(uint16_t(ranks))
               : "memory");
#endif
}

/// By a whole warp, 16 columns of the lanes that are its own: 32 * (warp % 4), which `address` names, and on. Lane i gets
/// those of the i-th. Waits for them, since a register may not be touched before.
__device__ __forceinline__ void load_tensor_columns(uint32_t (&to)[16], uint32_t address) {
#ifdef MXHAL_EMULATED
  model::load_columns(to, address);
#elif MXHAL_FAMILY == 1000
  asm volatile(
      "tcgen05.ld.sync.aligned.32x32b.x16.b32 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, [%16];\n"
      "tcgen05.wait::ld.sync.aligned;"
      : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]), "=r"(to[4]), "=r"(to[5]), "=r"(to[6]), "=r"(to[7]),
        "=r"(to[8]), "=r"(to[9]), "=r"(to[10]), "=r"(to[11]), "=r"(to[12]), "=r"(to[13]), "=r"(to[14]), "=r"(to[15])
      : "r"(address)
      : "memory");
#endif
}
