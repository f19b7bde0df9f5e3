// Whether a device copies tiles and tells the other block of a cluster as the emulation does
// (conformance/simulators/cuda/shim): what feeds the products in tensor memory, most of which Hopper has too. Prints a line
// for each question; ends with status 1 where an answer differs or there is none.
//
//   nvcc -gencode arch=compute_90a,code=sm_90a -I ../kernels -I ../ptx tiles.cu -o tiles
#include <cudaTypedefs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "cluster.cuh"
#include "program.h"
#include "tensor_map.cuh"

constexpr uint32_t tile_rows = 32;
/// Of shared memory.
constexpr uint32_t row_bytes = 128;
constexpr uint32_t tile_bytes = tile_rows * row_bytes;
constexpr uint32_t threads = 128;

/// Copies that one barrier counts.
struct Copies {
  TensorMap maps[2];
  uint32_t x[2];
  uint32_t y[2];
  uint32_t count;
  /// What they count together.
  uint32_t bytes;
};

__global__ void copy_tiles(const __grid_constant__ Copies copies, uint8_t* to) {
  __shared__ __align__(1024) uint8_t tiles[2 * tile_bytes];
  __shared__ Mbarrier filled;
  uint32_t thread = threadIdx.x;
  if (thread == 0) {
    for (uint32_t i = 0; i < copies.count; i++) prefetch_tensor_map(&copies.maps[i]);
    init_barrier(&filled, 1);
    publish_barriers();
  }
  // What a copy leaves out is seen.
  for (uint32_t i = thread; i < 2 * tile_bytes; i += threads) tiles[i] = 0xee;
  fence_for_asynchronous_reads();
  __syncthreads();
  if (thread == 0) {
    expect_bytes(&filled, copies.bytes);
    for (uint32_t i = 0; i < copies.count; i++) {
      copy_tile(tiles + i * tile_bytes, &copies.maps[i], copies.x[i], copies.y[i], &filled);
    }
    arrive_at(&filled);
  }
  wait_at(&filled, 0);
  for (uint32_t i = thread; i < 2 * tile_bytes; i += threads) to[i] = tiles[i];
  // All know of the first phase before the second may end.
  __syncthreads();
  // Had the copies counted more than was expected, it would be the next phase's, and that one, of nothing, would not end.
  if (thread == 0) {
    __nanosleep(1000000);
    arrive_at(&filled);
  }
  wait_at(&filled, 1);
}

constexpr uint32_t rounds = 64;
constexpr uint32_t pairs = 128;
constexpr uint32_t tile_words = tile_bytes / 4;

__device__ uint32_t word_of(uint32_t round, uint32_t rank, uint32_t thread) { return (round * 2 + rank) * threads + thread; }

/// In each round both blocks of a pair fill their shared memory, a word by each thread and a tile by a copy, and look at
/// what the other has when its threads have arrived: how many words are not what they should be.
__global__ void __cluster_dims__(2, 1, 1)
    look_at_each_other(const __grid_constant__ TensorMap map, const uint32_t* matrix, uint32_t* differ) {
  __shared__ __align__(1024) uint32_t tile[tile_words];
  __shared__ uint32_t words[threads];
  __shared__ Mbarrier filled, told;
  uint32_t thread = threadIdx.x, rank = cluster_rank(), other = 1 - rank;
  if (thread == 0) {
    init_barrier(&filled, 1);
    init_barrier(&told, threads);
    publish_barriers();
  }
  cluster_sync();
  auto other_words = static_cast<const uint32_t*>(__cluster_map_shared_rank(words, other));
  auto other_tile = static_cast<const uint32_t*>(__cluster_map_shared_rank(tile, other));
  uint32_t sum = 0;
  for (uint32_t round = 0; round < rounds; round++) {
    words[thread] = word_of(round, rank, thread);
    if (thread == 0) {
      expect_bytes(&filled, tile_bytes);
      copy_tile(tile, &map, 0, (round * 2 + rank) * tile_rows, &filled);
      arrive_at(&filled);
      // That the copy has happened is passed on, as the second block of a product's pair does it.
      wait_at(&filled, round % 2);
    }
    arrive_at_rank(&told, other);
    wait_in_cluster(&told, round % 2);
    sum += other_words[thread] != word_of(round, other, thread);
    for (uint32_t i = thread; i < tile_words; i += threads) {
      // Bits 2 to 4 of a word's number are its chunk, bits 5 to 7 its row's.
      sum += other_tile[i ^ (i >> 5 & 7) << 2] != matrix[(round * 2 + other) * tile_words + i];
    }
    cluster_sync();
  }
  atomicAdd(differ, sum);
}

/// Rows of 128 bytes, here and on the device. None is 0, so that what lies outside of a map is told from what does not.
struct Matrix {
  std::vector<uint8_t> bytes;
  uint8_t* device;

  Matrix(Random& random, uint32_t rows) : bytes(rows * row_bytes) {
    for (uint8_t& byte : bytes) byte = uint8_t(1 + random.next() % 255);
    device = on_device(bytes);
  }
};

/// What a map has of a matrix: the first columns, which are elements, of the first rows.
struct Part {
  CUtensorMapDataType type;
  uint32_t columns;
  uint32_t rows;
};

/// The bytes end within a tile.
constexpr Part some_bytes = {CU_TENSOR_MAP_DATA_TYPE_UINT8, 112, 70};
constexpr Part all_codes = {CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN16B, 256, 70};
/// Others follow, which are no map's.
constexpr uint32_t matrix_rows = 70 + tile_rows;

/// The rest of a map is as src/tensor_map.rs has it for products.
TensorMap encode(const Matrix& matrix, const Part& part) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess) {
    fprintf(stderr, "the driver has no cuTensorMapEncodeTiled: %d\n", int(found));
    exit(1);
  }
  uint64_t extents[2] = {part.columns, part.rows}, stride = row_bytes;
  uint32_t tile[2] = {128, tile_rows}, steps[2] = {1, 1};
  CUtensorMap encoded;
  CUresult status = PFN_cuTensorMapEncodeTiled_v12000(function)(
      &encoded, part.type, 2, matrix.device, extents, &stride, tile, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    fprintf(stderr, "cuTensorMapEncodeTiled refuses type %d: CUresult %d\n", int(part.type), int(status));
    exit(1);
  }
  TensorMap map;
  static_assert(sizeof map == sizeof encoded, "128 bytes");
  memcpy(&map, &encoded, sizeof map);
  return map;
}

struct Answer {
  size_t differ;
  size_t of;

  void operator+=(Answer more) {
    differ += more.differ;
    of += more.of;
  }
};

/// A tile beside what it should be, from element `x` of row `y` on. Chunk c of row r lies at c ^ r % 8. Of 16 bytes codes
/// take the first 8.
Answer compare(const uint8_t* tile, const Matrix& matrix, const Part& part, int x, int y) {
  bool is_padded = part.type == CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN16B;
  int per_byte = is_padded ? 2 : 1, chunk_bytes = 16 / per_byte, end = int(part.columns) / per_byte;
  Answer answer = {};
  for (int row = 0; row < int(tile_rows); row++) {
    for (int i = 0; i < 8 * chunk_bytes; i++) {
      int column = x / per_byte + i;
      bool is_inside = y + row >= 0 && y + row < int(part.rows) && column < end;
      uint8_t byte = is_inside ? matrix.bytes[(y + row) * int(row_bytes) + column] : 0;
      answer += {tile[row * int(row_bytes) + (i / chunk_bytes ^ row % 8) * 16 + i % chunk_bytes] != byte, 1};
    }
  }
  return answer;
}

/// What a tile's copy counts: of padded codes not the gaps, as DeepGEMM (sm100_fp8_fp4_gemm_1d1d.cuh) expects.
uint32_t counted(const Part& part) { return part.type == CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN16B ? tile_bytes / 2 : tile_bytes; }

Answer ask_tile(const Part& part, std::vector<int> columns) {
  Random random = {1};
  Matrix matrix(random, matrix_rows);
  uint8_t* to = on_device(std::vector<uint8_t>(2 * tile_bytes));
  Answer answer = {};
  for (int x : columns) {
    // With a row before the first, wholly inside, with the last row and what is after it, and wholly outside.
    for (int y : {-1, 21, 69, 80}) {
      Copies copies = {{encode(matrix, part)}, {uint32_t(x)}, {uint32_t(y)}, 1, counted(part)};
      copy_tiles<<<1, threads>>>(copies, to);
      answer += compare(back(to, tile_bytes).data(), matrix, part, x, y);
    }
  }
  return answer;
}

/// A tile of one part and a tile of another, counted by one barrier.
Answer ask_two(const Part& first, const Part& second) {
  Random random = {2};
  Matrix one(random, matrix_rows), two(random, matrix_rows);
  uint8_t* to = on_device(std::vector<uint8_t>(2 * tile_bytes));
  Copies copies = {{encode(one, first), encode(two, second)}, {0, 0}, {3, 50}, 2, counted(first) + counted(second)};
  copy_tiles<<<1, threads>>>(copies, to);
  auto tiles = back(to, 2 * tile_bytes);
  Answer answer = compare(tiles.data(), one, first, 0, 3);
  answer += compare(tiles.data() + tile_bytes, two, second, 0, 50);
  return answer;
}

Answer ask_pairs() {
  Random random = {3};
  constexpr uint32_t rows = rounds * 2 * tile_rows;
  Matrix matrix(random, rows);
  TensorMap map = encode(matrix, {CU_TENSOR_MAP_DATA_TYPE_UINT8, row_bytes, rows});
  uint32_t* differ = on_device(std::vector<uint32_t>(1));
  look_at_each_other<<<2 * pairs, threads>>>(map, reinterpret_cast<const uint32_t*>(matrix.device), differ);
  return {back(differ, 1)[0], size_t(2 * pairs) * rounds * (threads + tile_words)};
}

/// In a process of its own and for ten seconds: a barrier that waits for ever, or a fault, ends that question alone. Asked
/// of devices from this compute capability on.
template <class Question>
void ask(const char* what, int least, Question question) {
  constexpr int differs = 2;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    alarm(10);
    int major;
    CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    if (major >= least) {
      Answer answer = question();
      report(what, answer.differ, answer.of);
    } else {
      printf("%-28s not of this device\n", what);
    }
    exit(wrong ? differs : 0);
  }
  int status = 1 << 8;
  if (child > 0) waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    printf("%-28s no answer in ten seconds: a barrier that counts otherwise waits for ever\n", what);
  } else if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != differs) {
    printf("%-28s not answered, for an error\n", what);
  }
  wrong |= status != 0;
}

int main() {
  ask("tile of bytes", 9, [] { return ask_tile(some_bytes, {0, 16}); });
  ask("two tiles, one barrier", 9, [] { return ask_two(some_bytes, some_bytes); });
  ask("pairs of blocks", 9, ask_pairs);
  ask("tile of padded codes", 10, [] { return ask_tile(all_codes, {0, 128}); });
  ask("codes and bytes, one barrier", 10, [] { return ask_two(all_codes, some_bytes); });
  return wrong;
}
