// Shared memory, and the checks on every access.
//
// Kernels are compiled with -fsanitize=thread, which puts a call before each load and store; the functions that it
// calls are here instead of in the sanitizer's library. An access to shared memory is compared with what is known of
// each byte: whether the block wrote it, and who touched it last without a barrier in between. An access to device
// memory must lie in a range that was announced. What lies on a fiber's stack or in the library is not looked at.

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "block.h"

namespace emulation {

namespace {

/// What is known of one byte of shared memory. Epochs are of barriers, and of the thread's warp.
struct Byte {
  uint32_t written_in_block;
  uint32_t write_epoch;
  uint32_t write_warp_epoch;
  uint32_t read_epoch;
  uint32_t read_warp_epoch;
  /// Times by the clocks of writer and reader, and how often the writer had let operations see its writes.
  uint32_t write_time;
  uint32_t read_time;
  uint32_t write_fence;
  /// The last operation that reads it.
  uint32_t operation;
  /// Where a copy of a tile wrote it: the place in clocks of its barrier, and the phase that says so; 0 where a thread did.
  uint32_t tile_entry;
  uint32_t tile_phase;
  uint16_t writer;
  uint16_t reader;
  bool read_by_lanes;
  bool read_by_warps;
  bool in_flight;
};

constexpr size_t page = 4096;
/// Before and after a block's shared memory: accesses here are out of bounds, and land nowhere.
constexpr size_t guard = 1 << 20;
/// From one block's to the next: more than what a descriptor can lead to, so that an address says whose it is.
constexpr size_t spacing = 16 << 20;
constexpr size_t reserved_bytes = guard + Block::most_members * spacing;
constexpr size_t arena_bytes = (Block::most_shared_bytes + 64 * 1024 + page - 1) / page * page;

struct Static {
  const char* file;
  int line;
  size_t offset;
};

struct Range {
  uintptr_t begin, end;
  bool operator<(const Range& other) const { return begin < other.begin; }
};

struct Memory {
  unsigned char* reserved = nullptr;
  /// By rank.
  std::vector<Byte> bytes[Block::most_members];
  std::vector<Static> statics;
  /// Shared memory in use, as much in each block: dynamic first, then static.
  size_t used = 0;
  std::vector<Range> device;
  Range last = {0, 0};

  ~Memory() {
    if (reserved != nullptr) munmap(reserved, reserved_bytes);
  }
  unsigned char* arena(unsigned rank) const { return reserved + guard + rank * spacing; }
};

thread_local Memory memory;

std::mutex announced_lock;
std::vector<Range> announced;

void create_arena(unsigned rank) {
  if (memory.reserved == nullptr) {
    void* reserved = mmap(nullptr, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) abort();
    memory.reserved = static_cast<unsigned char*>(reserved);
  }
  if (mprotect(memory.arena(rank), arena_bytes, PROT_READ | PROT_WRITE) != 0) abort();
  memory.bytes[rank].resize(arena_bytes);
}

/// Whose shared memory an address is in, or beside.
unsigned rank_of(const void* address) {
  size_t from_first = size_t(static_cast<const unsigned char*>(address) - memory.reserved);
  return from_first < spacing ? 0 : unsigned((from_first - guard) / spacing);
}

/// The offset in the shared memory of the block of a rank; a fault in the guards or past what the block has.
size_t offset_in(unsigned rank, const void* address, size_t bytes, const char* access) {
  ptrdiff_t offset = static_cast<const unsigned char*>(address) - memory.arena(rank);
  if (offset < 0 || size_t(offset) + bytes > memory.used) {
    fault("out of bounds: %s of %zu bytes at offset %td of %zu bytes of shared memory", access, bytes, offset, memory.used);
  }
  return size_t(offset);
}

/// That in the block of the thread that runs.
size_t offset_of(const void* address, size_t bytes, const char* access) {
  if (block.count != 1 && rank_of(address) != state.rank) {
    fault("%s of %zu bytes of the other block's shared memory, which is not emulated: threads only arrive there", access, bytes);
  }
  return offset_in(state.rank, address, bytes, access);
}

bool is_shared(const void* address) {
  uintptr_t at = reinterpret_cast<uintptr_t>(address);
  uintptr_t begin = reinterpret_cast<uintptr_t>(memory.reserved);
  return at - begin < reserved_bytes;
}

void race(const char* kind, size_t offset, unsigned other) {
  fault("race: %s at offset %zu of shared memory, with %s and no barrier in between", kind, offset, name_of(other).text);
}

/// Whether an access of `thread` in these epochs and at this time, and one of the present fiber, are unordered.
bool unordered(unsigned thread, uint32_t epoch, uint32_t lane_epoch, uint32_t time) {
  if (thread == state.thread) return false;
  // Those of the other block are never the same, and say nothing.
  if (epoch != block.own().epoch && !block.is_peer(thread)) return false;
  if (block.knows(state.thread, thread, time)) return false;
  return thread / 32 != state.thread / 32 || lane_epoch == warp_epoch();
}

/// Whether a copy of a tile wrote the byte, and this thread has not learnt of it.
bool awaits_tile(const Byte& byte) {
  return byte.tile_entry != 0 && !block.knows(state.thread, byte.tile_entry, byte.tile_phase);
}

void read_shared(const void* address, size_t bytes) {
  size_t offset = offset_of(address, bytes, "read");
  uint32_t epoch = block.own().epoch, lane_epoch = warp_epoch();
  for (size_t i = offset; i < offset + bytes; i++) {
    Byte& byte = memory.bytes[state.rank][i];
    if (byte.in_flight && byte.written_in_block == block.serial) {
      fault("read at offset %zu of shared memory, whose asynchronous copy was not waited for", i);
    }
    if (byte.written_in_block != block.serial) fault("read at offset %zu of shared memory, which nobody wrote", i);
    if (awaits_tile(byte)) fault("read at offset %zu of shared memory, whose copy of a tile was not waited for", i);
    // Who knows of a copy of a tile has no need to know who began it.
    if (byte.tile_entry == 0 && unordered(byte.writer, byte.write_epoch, byte.write_warp_epoch, byte.write_time)) race("read after write", i, byte.writer);
    if (byte.read_epoch != epoch) {
      byte.read_by_lanes = byte.read_by_warps = false;
    } else if (byte.reader != state.thread) {
      byte.read_by_warps |= byte.reader / 32 != state.thread / 32;
      byte.read_by_lanes = byte.read_warp_epoch == lane_epoch;
    }
    byte.read_epoch = epoch;
    byte.read_warp_epoch = lane_epoch;
    byte.read_time = block.time_of(state.thread);
    byte.reader = uint16_t(state.thread);
  }
}

/// Says that this thread writes the byte at `i`: a fault where others may still use it.
Byte& written(size_t i, const char* what) {
  Byte& byte = memory.bytes[state.rank][i];
  uint32_t epoch = block.own().epoch, lane_epoch = warp_epoch();
  if (byte.written_in_block == block.serial) {
    if (awaits_tile(byte)) fault("%s at offset %zu of shared memory, whose copy of a tile was not waited for", what, i);
    if (byte.tile_entry == 0 && unordered(byte.writer, byte.write_epoch, byte.write_warp_epoch, byte.write_time)) race("write after write", i, byte.writer);
    if (byte.operation != 0 && !knows_of(byte.operation)) {
      fault("%s at offset %zu of shared memory, which an asynchronous operation may still read: nobody waited for it", what, i);
    }
    // Of several readers the last speaks for all where a barrier in shared memory came after it.
    bool read_since = byte.read_epoch == epoch && !block.knows(state.thread, byte.reader, byte.read_time);
    bool others_read = read_since && (byte.read_by_warps || (byte.read_by_lanes && byte.read_warp_epoch == lane_epoch));
    if (others_read || (read_since && unordered(byte.reader, byte.read_epoch, byte.read_warp_epoch, byte.read_time))) {
      race("write after read", i, byte.reader);
    }
  }
  byte.written_in_block = block.serial;
  byte.write_epoch = epoch;
  byte.write_warp_epoch = lane_epoch;
  byte.write_time = block.time_of(state.thread);
  byte.write_fence = block.fences[state.thread];
  byte.operation = 0;
  byte.tile_entry = 0;
  byte.writer = uint16_t(state.thread);
  byte.in_flight = false;
  return byte;
}

void write_shared(const void* address, size_t bytes, bool in_flight) {
  if (!checked) return;
  size_t offset = offset_of(address, bytes, "write");
  for (size_t i = offset; i < offset + bytes; i++) written(i, "write").in_flight = in_flight;
}

/// The pages of this library, whose tables kernels may read.
Range own_image() {
  Range image = {UINTPTR_MAX, 0};
  dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void* found) {
        uintptr_t here = reinterpret_cast<uintptr_t>(&announced);
        Range range = {UINTPTR_MAX, 0};
        for (int i = 0; i < object->dlpi_phnum; i++) {
          const auto& header = object->dlpi_phdr[i];
          if (header.p_type != PT_LOAD) continue;
          range.begin = std::min<uintptr_t>(range.begin, object->dlpi_addr + header.p_vaddr);
          range.end = std::max<uintptr_t>(range.end, object->dlpi_addr + header.p_vaddr + header.p_memsz);
        }
        if (here < range.begin || here >= range.end) return 0;
        *static_cast<Range*>(found) = range;
        return 1;
      },
      &image);
  return image;
}

void access_device(const void* address, size_t bytes, const char* access) {
  uintptr_t at = reinterpret_cast<uintptr_t>(address);
  if (at - reinterpret_cast<uintptr_t>(block.stack) < Block::stack_bytes) return;
  if (at >= memory.last.begin && at + bytes <= memory.last.end) return;
  auto after = std::upper_bound(memory.device.begin(), memory.device.end(), Range{at, at});
  if (after != memory.device.begin()) {
    Range range = *--after;
    if (at >= range.begin && at + bytes <= range.end) {
      memory.last = range;
      return;
    }
    fault("out of bounds: %s of %zu bytes of device memory at %p, %zu bytes after the beginning of a buffer of %zu", access,
          bytes, address, size_t(at - range.begin), size_t(range.end - range.begin));
  }
  fault("out of bounds: %s of %zu bytes at %p, where there is no device memory", access, bytes, address);
}

void on_read(const void* address, size_t bytes) {
  if (is_shared(address)) {
    read_shared(address, bytes);
  } else {
    access_device(address, bytes, "read");
  }
}

void on_write(void* address, size_t bytes) {
  if (is_shared(address)) {
    write_shared(address, bytes, false);
  } else {
    access_device(address, bytes, "write");
  }
}

}  // namespace

void begin_launch(unsigned threads, unsigned blocks) {
  for (unsigned rank = 0; rank < blocks; rank++) {
    if (memory.bytes[rank].empty()) create_arena(rank);
  }
  block.threads = threads;
  block.count = blocks;
  block.copies.assign(blocks * threads, {});
  block.committed.assign(blocks * threads, 0);
  if (block.fences.size() < blocks * threads) block.fences.resize(blocks * threads);
  memory.last = {0, 0};
  {
    std::lock_guard<std::mutex> guard_announced(announced_lock);
    memory.device = announced;
  }
  memory.device.push_back(own_image());
  std::sort(memory.device.begin(), memory.device.end());
}

void begin_block() {
  block.serial++;
  block.operations.clear();
  block.tile_copies.clear();
  block.has_clocks = false;
  if (block.count != 1) begin_clocks();
  block.waits.assign(block.all_threads(), 0);
  block.waits_fenced.assign(block.all_threads(), 0);
  begin_tensor_memory();
  memory.statics.clear();
  memory.used = (state.launch->shared_bytes + 127) / 128 * 128;
  for (unsigned rank = 0; rank < block.count; rank++) {
    Member& member = block.members[rank];
    member.epoch = ++block.last_epoch;
    member.mbarriers.clear();
    member.tile_copies = 0;
    member.touched.assign(block.count == 1 ? 0 : block.all_threads() + 1, 0);
    // A pattern that is NaN as a float, in case that nobody checks.
    memset(memory.arena(rank), 0xff, memory.used);
  }
}

unsigned char* dynamic_shared() { return memory.arena(state.rank); }

uint32_t shared_offset(const void* address) {
  if (!is_shared(address) || rank_of(address) != state.rank) fault("%p is not in this block's shared memory", address);
  return uint32_t(static_cast<const unsigned char*>(address) - memory.arena(state.rank));
}

unsigned char* shared_at(uint32_t offset, uint32_t rank) { return memory.arena(rank) + offset; }

void check_operation_reads(const void* address, size_t bytes, uint32_t operation, const char* what) {
  if (!checked) return;
  unsigned rank = rank_of(address);
  size_t offset = offset_in(rank, address, bytes, what);
  for (size_t i = offset; i < offset + bytes; i++) {
    Byte& byte = memory.bytes[rank][i];
    if (byte.written_in_block != block.serial) fault("%s reads offset %zu of shared memory, which nobody wrote", what, i);
    if (byte.in_flight) fault("%s reads offset %zu of shared memory, whose asynchronous copy was not waited for", what, i);
    if (awaits_tile(byte)) fault("%s reads offset %zu of shared memory, whose copy of a tile was not waited for", what, i);
    byte.operation = operation;
    // Copies of tiles are seen by operations as they are.
    if (byte.tile_entry != 0) continue;
    if (byte.write_fence == block.fences[byte.writer]) {
      fault("%s reads offset %zu of shared memory, which %s wrote without a fence of the asynchronous proxy after it", what, i, name_of(byte.writer).text);
    }
    if (unordered(byte.writer, byte.write_epoch, byte.write_warp_epoch, byte.write_time)) {
      fault("race: %s reads offset %zu of shared memory, which %s wrote, and nothing waits for it", what, i, name_of(byte.writer).text);
    }
  }
}

void begin_tile_write(void* address, size_t bytes) {
  if (!checked) return;
  size_t offset = offset_of(address, bytes, "copy of a tile");
  for (size_t i = offset; i < offset + bytes; i++) {
    const Byte& before = memory.bytes[state.rank][i];
    if (before.written_in_block == block.serial && before.tile_entry == 0 && before.write_fence == block.fences[before.writer]) {
      fault("copy of a tile to offset %zu of shared memory, which %s wrote without a fence of the asynchronous proxy after it", i, name_of(before.writer).text);
    }
    Byte& byte = written(i, "copy of a tile");
    // No barrier is there, so that nobody knows of it until it has happened.
    byte.tile_entry = UINT32_MAX;
  }
}

void end_tile_write(void* address, size_t bytes, unsigned entry, uint32_t phase) {
  if (!checked) return;
  // Whoever runs meanwhile.
  unsigned rank = rank_of(address);
  size_t offset = offset_in(rank, address, bytes, "copy of a tile");
  for (size_t i = offset; i < offset + bytes; i++) {
    memory.bytes[rank][i].tile_entry = entry;
    memory.bytes[rank][i].tile_phase = phase;
  }
}

void check_tile_read(const void* address, size_t bytes) {
  if (checked) access_device(address, bytes, "copy of a tile");
}

void* static_shared_bytes(const char* file, int line, size_t bytes, size_t alignment) {
  for (const Static& known : memory.statics) {
    if (known.line == line && strcmp(known.file, file) == 0) return memory.arena(state.rank) + known.offset;
  }
  size_t offset = (memory.used + alignment - 1) / alignment * alignment;
  if (offset + bytes > arena_bytes) fault("%zu bytes of shared memory: more than a block has", offset + bytes);
  memory.statics.push_back({file, line, offset});
  memory.used = offset + bytes;
  for (unsigned rank = 0; rank < block.count; rank++) memset(memory.arena(rank) + offset, 0xff, bytes);
  return memory.arena(state.rank) + offset;
}

void check_aligned(const void* address, size_t alignment, const char* what) {
  if (reinterpret_cast<uintptr_t>(address) % alignment != 0) {
    fault("misaligned address: %s at %p, which is no multiple of %zu", what, address, alignment);
  }
}

void copy_asynchronously(void* shared, const void* global, unsigned bytes, unsigned zeros) {
  check_aligned(shared, bytes + zeros, "asynchronous copy to shared memory");
  if (!is_shared(shared)) fault("asynchronous copy to %p, which is not shared memory", shared);
  if (bytes != 0) {
    check_aligned(global, bytes + zeros, "asynchronous copy from device memory");
    access_device(global, bytes, "asynchronous copy");
  }
  write_shared(shared, bytes + zeros, true);
  memset(shared, 0xff, bytes + zeros);
  block.copies[state.thread].push_back({static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global),
                                        bytes, zeros, block.committed[state.thread]});
}

void commit_copies() { block.committed[state.thread]++; }

void wait_for_copies(unsigned pending) {
  auto& copies = block.copies[state.thread];
  unsigned committed = block.committed[state.thread];
  while (!copies.empty() && copies.front().group + pending < committed) {
    Copy copy = copies.front();
    copies.pop_front();
    write_shared(copy.shared, copy.bytes + copy.zeros, false);
    if (copy.bytes != 0) memcpy(copy.shared, copy.global, copy.bytes);
    memset(copy.shared + copy.bytes, 0, copy.zeros);
  }
}

void check_read(const void* address, size_t bytes) {
  if (checked) on_read(address, bytes);
}

void check_write(void* address, size_t bytes) {
  if (checked) on_write(address, bytes);
}

void check_atomic(void* address, size_t bytes) {
  if (!checked) return;
  if (!is_shared(address)) return access_device(address, bytes, "atomic operation");
  size_t offset = offset_of(address, bytes, "atomic operation");
  for (size_t i = offset; i < offset + bytes; i++) {
    if (memory.bytes[state.rank][i].written_in_block != block.serial) {
      fault("atomic operation at offset %zu of shared memory, which nobody wrote", i);
    }
  }
}

}  // namespace emulation

/// Device memory that kernels may touch from the next launch on.
extern "C" __attribute__((visibility("default"))) void emulation_announce(const void* begin, size_t bytes) {
  uintptr_t at = reinterpret_cast<uintptr_t>(begin);
  std::lock_guard<std::mutex> guard(emulation::announced_lock);
  emulation::announced.push_back({at, at + bytes});
}

extern "C" __attribute__((visibility("default"))) void emulation_withdraw(const void* begin) {
  uintptr_t at = reinterpret_cast<uintptr_t>(begin);
  std::lock_guard<std::mutex> guard(emulation::announced_lock);
  auto& ranges = emulation::announced;
  auto found = std::find_if(ranges.begin(), ranges.end(), [at](const auto& range) { return range.begin == at; });
  if (found != ranges.end()) ranges.erase(found);
}

// The names that -fsanitize=thread calls.
extern "C" {
#define ACCESS(bytes)                                                                       \
  void __tsan_read##bytes(void* address) { emulation::on_read(address, bytes); }            \
  void __tsan_write##bytes(void* address) { emulation::on_write(address, bytes); }          \
  void __tsan_volatile_read##bytes(void* address) { emulation::on_read(address, bytes); }   \
  void __tsan_volatile_write##bytes(void* address) { emulation::on_write(address, bytes); } \
  void __tsan_unaligned_read##bytes(void* address) { emulation::on_read(address, bytes); }  \
  void __tsan_unaligned_write##bytes(void* address) { emulation::on_write(address, bytes); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
#undef ACCESS
void __tsan_read_range(void* address, unsigned long bytes) { emulation::on_read(address, bytes); }
void __tsan_write_range(void* address, unsigned long bytes) { emulation::on_write(address, bytes); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
