// A backend for mxhal in C++20: @NAME@.
//
// It is complete in all but its operators: it dequantizes MXFP4 to F32, and says of everything else that it cannot, and
// why. Its device is the host's memory and the caller's thread. Rules R1 to R9 are those at the head of mxhal.h.
//
//   1  what the file says about itself          5  operators: what is supported, plans, runs
//   2  errors, handles and sizes                6  weights
//   3  devices and memory                       7  the table
//   4  streams, events, copies
//
// README.md says in which order to go on.

#define MXHAL_BUILDING_PLUGIN
#include "mxhal.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <locale>
#include <memory>
#include <new>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

// ---- 1. What the file says about itself ------------------------------------------------------------------------------

#if defined(__has_feature)  // Clang tells by __has_feature what GCC tells by macros
#if __has_feature(address_sanitizer)
#define BUILT_WITH MXHAL_SANITIZER_ADDRESS
#elif __has_feature(thread_sanitizer)
#define BUILT_WITH MXHAL_SANITIZER_THREAD
#elif __has_feature(memory_sanitizer)
#define BUILT_WITH MXHAL_SANITIZER_MEMORY
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define BUILT_WITH MXHAL_SANITIZER_ADDRESS
#elif defined(__SANITIZE_THREAD__)
#define BUILT_WITH MXHAL_SANITIZER_THREAD
#endif
#if !defined(BUILT_WITH)
#define BUILT_WITH MXHAL_SANITIZER_NONE
#endif

// The host reads this from the file before it runs any of our code, so it is constant and holds no pointer. The header
// declares it, with C linkage.
const mxhal_plugin_identity mxhal_identity = {
    .magic = MXHAL_IDENTITY_MAGIC,
    .struct_size = sizeof(mxhal_plugin_identity),
    .abi_major = MXHAL_ABI_MAJOR,
    .abi_minor_least = 0,  // nothing newer than 1.0 is used
    .abi_minor_built = MXHAL_ABI_MINOR,
    .layout_hash = MXHAL_LAYOUT_HASH,
    .sanitizer = BUILT_WITH,
    .flags = 0,  // the C++ runtime and drivers leave things behind, so the library stays mapped
    .name = "@NAME@",
    .vendor = "@NAME@",
    .version = "0.1.0",
};

// ---- 2. Errors, handles and sizes ------------------------------------------------------------------------------------

namespace {

// What goes wrong is thrown, and becomes the caller's error where the call came in: no exception crosses (R2).
struct Failure {
  mxhal_status status;
  int64_t vendor_code;
  std::string message;
};

template <typename... Parts>
std::string text(const Parts &...parts) {
  std::ostringstream out;
  out.imbue(std::locale::classic());  // the process may have another, with separators in its numbers
  (out << ... << parts);
  return out.str();
}

// A message says what was seen, what was expected and what to do.
template <typename... Parts>
[[noreturn]] void fail(mxhal_status status, const Parts &...parts) {
  throw Failure{status, 0, text(parts...)};
}

template <typename... Parts>
void require(bool holds, const Parts &...parts) {
  if (!holds) fail(MXHAL_INVALID_ARGUMENT, parts...);
}

// Whether the other side's struct, whose size it states first, is large enough to have this field (R1).
#define HAS(pointer, type, field) ((pointer)->struct_size >= offsetof(type, field) + sizeof((pointer)->field))

// Copies text, cut to fit, never within a UTF-8 character.
void copy_text(char *to, size_t room, std::string_view from) noexcept {
  size_t length = from.size();
  if (length >= room) {
    length = room - 1;
    while (length > 0 && (static_cast<unsigned char>(from[length]) & 0xc0) == 0x80) length--;
  }
  std::memcpy(to, from.data(), length);
  to[length] = '\0';
}

// Fills the caller's error, as far as it is large (it may be null).
int32_t report(mxhal_error *error, mxhal_status status, int64_t code, std::string_view message) noexcept {
  if (error == nullptr) return status;
  if (HAS(error, mxhal_error, status)) error->status = status;
  if (HAS(error, mxhal_error, vendor_code)) error->vendor_code = code;
  if (error->struct_size > offsetof(mxhal_error, message)) {
    const size_t room = error->struct_size - offsetof(mxhal_error, message);
    copy_text(error->message, std::min(room, sizeof error->message), message);
  }
  return status;
}

// Every function of the table is one of these.
template <typename Body>
int32_t guarded(mxhal_error *error, Body body) noexcept {
  try {
    body();
    return MXHAL_OK;
  } catch (const Failure &failure) {
    return report(error, failure.status, failure.vendor_code, failure.message);
  } catch (const std::bad_alloc &) {
    return report(error, MXHAL_OUT_OF_MEMORY, 0, "the host has no memory left for a handle");
  } catch (const std::exception &exception) {
    return report(error, MXHAL_INTERNAL, 0, exception.what());
  } catch (...) {
    return report(error, MXHAL_INTERNAL, 0, "an exception that is no std::exception was thrown");
  }
}

// Hands a struct to the caller, no further than the caller's is large; the caller's struct_size stays (R1).
template <typename Struct>
void give(Struct *to, const Struct &from) noexcept {
  const size_t common = std::min<size_t>(to->struct_size, sizeof from);
  if (common <= sizeof to->struct_size) return;
  const size_t head = sizeof to->struct_size;
  std::memcpy(reinterpret_cast<char *>(to) + head, reinterpret_cast<const char *>(&from) + head, common - head);
}

// Every handle begins with a tag. It costs four bytes, and turns a stream that is passed as an event, or a handle that
// was destroyed and not yet reused, into an error with a name instead of a crash.
enum class Tag : uint32_t { dead, backend = 0x6d780001, device, stream, event, plan, allocation };

bool is(const void *handle, Tag wanted) noexcept {
  Tag found = Tag::dead;
  if (handle != nullptr) std::memcpy(&found, handle, sizeof found);
  return found == wanted;
}

void require_handle(const void *handle, Tag wanted, std::string_view what) {
  require(handle != nullptr, "the ", what, " is null");
  require(is(handle, wanted), handle, " is not a ", what, " of this backend, or was destroyed");
}

void require_out(const void *out, std::string_view what) {
  require(out != nullptr, what, " is null; it should point to where the answer goes");
}

void require_size(std::string_view what, uint32_t got, size_t wanted) {
  require(got >= wanted, "struct_size of the ", what, " is ", got, ", and version 1.0 has ", wanted, " bytes");
}

// Deletes a handle; null is no error (R3).
template <typename Handle>
void destroy(Handle *handle, Tag tag, std::string_view what) {
  if (handle == nullptr) return;
  require_handle(handle, tag, what);
  // Volatile, since a store just before the end of an object's life may be left out otherwise.
  *const_cast<volatile Tag *>(&handle->tag) = Tag::dead;
  delete handle;
}

struct Backend {
  Tag tag = Tag::backend;
  void *log_context = nullptr;
  void (*log)(void *context, int32_t level, const char *target, const char *message) = nullptr;
};

Backend backend;  // what `self` points to: one a load

// Messages go to the host, never to stdout or stderr (R9).
void say(mxhal_log_level level, const char *message) {
  if (backend.log != nullptr) backend.log(backend.log_context, level, mxhal_identity.name, message);
}

// ---- 3. Devices and memory -------------------------------------------------------------------------------------------

constexpr uint64_t alignment = 64;  // a cache line

// Memory of a device. An allocation may outlive its device (R3), so both own this.
struct Pool {
  std::atomic<uint64_t> used{0};
  uint64_t total = 0;
};

// Lies before each allocation, and takes a whole cache line to keep the alignment of what follows.
struct alignas(alignment) Allocation {
  Tag tag = Tag::allocation;
  uint64_t bytes = 0;
  std::shared_ptr<Pool> pool;
};
static_assert(sizeof(Allocation) == alignment, "an allocation's head takes one unit of alignment");

}  // namespace

// The header names the handles' types; they are defined here, and hidden by the linker's list of exports.
struct mxhal_device {
  Tag tag = Tag::device;
  std::shared_ptr<Pool> pool = std::make_shared<Pool>();
};

struct mxhal_stream {
  Tag tag = Tag::stream;
};

struct mxhal_event {
  Tag tag = Tag::event;
  std::atomic<int64_t> nanoseconds{std::numeric_limits<int64_t>::min()};  // the least: never recorded
};

struct mxhal_plan {
  Tag tag = Tag::plan;
  mxhal_op_dequantize dequantize;  // the next operators make a std::variant of it
};

namespace {

int32_t shut_down(void *self, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(self, Tag::backend, "backend");
    backend.log = nullptr;  // valid until we return, and not longer
  });
}

int32_t device_count(void *self, uint32_t *count, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(self, Tag::backend, "backend");
    require_out(count, "count");
    *count = 1;
  });
}

int32_t device_open(void *self, uint32_t index, mxhal_device **device, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(self, Tag::backend, "backend");
    require_out(device, "device");
    require(index == 0, "there is no device ", index, ", only 0");
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page_bytes <= 0) {
      fail(MXHAL_UNAVAILABLE, "sysconf tells no size of memory (_SC_PHYS_PAGES, _SC_PAGESIZE)");
    }
    auto opened = std::make_unique<mxhal_device>();
    opened->pool->total = static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes);
    *device = opened.release();
  });
}

int32_t device_close(mxhal_device *device, mxhal_error *error) {
  return guarded(error, [&] { destroy(device, Tag::device, "device"); });
}

int32_t device_info(mxhal_device *device, mxhal_device_info *info, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(device, Tag::device, "device");
    require_out(info, "info");
    give(info, mxhal_device_info{
                   .struct_size = sizeof(mxhal_device_info),
                   .units = 1,
                   .memory_bytes = device->pool->total,
                   .alignment = alignment,
                   .name = "host memory and the calling thread",
                   .architecture = "c++20",
                   .driver = "none",
               });
  });
}

int32_t memory_alloc(mxhal_device *device, uint64_t bytes, void **address, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(device, Tag::device, "device");
    require_out(address, "address");
    // Counted before it is asked for: a system that overcommits would promise memory that it has not got, and kill the
    // process when it is touched.
    Pool &pool = *device->pool;
    uint64_t used = pool.used.load();
    do {
      if (bytes > pool.total - used) {
        fail(MXHAL_OUT_OF_MEMORY, bytes, " bytes were asked for, and ", pool.total - used, " of ", pool.total,
             " are free");
      }
    } while (!pool.used.compare_exchange_weak(used, used + bytes));
    const size_t lines = static_cast<size_t>(bytes / alignment + 2);  // the head, and the rest of a last line
    void *memory = std::aligned_alloc(alignment, lines * alignment);
    if (memory == nullptr) {
      pool.used -= bytes;
      fail(MXHAL_OUT_OF_MEMORY, "the C library has no ", bytes, " bytes left");
    }
    auto *head = new (memory) Allocation{.bytes = bytes, .pool = device->pool};
    *address = head + 1;
  });
}

int32_t memory_free(mxhal_device *device, void *address, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(device, Tag::device, "device");
    if (address == nullptr) return;
    require(reinterpret_cast<uintptr_t>(address) % alignment == 0, address, " was not allocated here");
    auto *head = static_cast<Allocation *>(address) - 1;
    require_handle(head, Tag::allocation, "allocation");
    head->pool->used -= head->bytes;
    *const_cast<volatile Tag *>(&head->tag) = Tag::dead;
    head->~Allocation();
    std::free(head);
  });
}

int32_t memory_info(mxhal_device *device, uint64_t *free_bytes, uint64_t *total_bytes, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(device, Tag::device, "device");
    require_out(free_bytes, "free_bytes");
    require_out(total_bytes, "total_bytes");
    *free_bytes = device->pool->total - device->pool->used.load();
    *total_bytes = device->pool->total;
  });
}

// ---- 4. Streams, events, copies --------------------------------------------------------------------------------------

// Work is done before the call that enqueues it returns, which R6 allows. So a stream has no state, and nothing is left to
// fail later. A real queue keeps its first failure, and reports it, once, when it is synchronised.

int32_t stream_create(mxhal_device *device, mxhal_stream **stream, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(device, Tag::device, "device");
    require_out(stream, "stream");
    *stream = new mxhal_stream;
  });
}

int32_t stream_destroy(mxhal_stream *stream, mxhal_error *error) {
  return guarded(error, [&] { destroy(stream, Tag::stream, "stream"); });
}

int32_t stream_synchronize(mxhal_stream *stream, uint64_t, mxhal_error *error) {
  return guarded(error, [&] { require_handle(stream, Tag::stream, "stream"); });
}

int32_t event_create(mxhal_device *device, mxhal_event **event, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(device, Tag::device, "device");
    require_out(event, "event");
    *event = new mxhal_event;
  });
}

int32_t event_destroy(mxhal_event *event, mxhal_error *error) {
  return guarded(error, [&] { destroy(event, Tag::event, "event"); });
}

int32_t event_record(mxhal_event *event, mxhal_stream *stream, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(event, Tag::event, "event");
    require_handle(stream, Tag::stream, "stream");
    using namespace std::chrono;
    event->nanoseconds = duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
  });
}

int32_t event_wait(mxhal_event *event, mxhal_stream *stream, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(event, Tag::event, "event");
    require_handle(stream, Tag::stream, "stream");  // whatever was recorded is passed
  });
}

int32_t event_synchronize(mxhal_event *event, uint64_t, mxhal_error *error) {
  return guarded(error, [&] { require_handle(event, Tag::event, "event"); });
}

int32_t event_elapsed(mxhal_event *from, mxhal_event *to, double *seconds, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(from, Tag::event, "event");
    require_handle(to, Tag::event, "event");
    require_out(seconds, "seconds");
    constexpr int64_t never = std::numeric_limits<int64_t>::min();
    const int64_t begin = from->nanoseconds, end = to->nanoseconds;
    require(begin != never && end != never, "the ", begin == never ? "first" : "second",
            " event was never recorded; record both, then ask");
    *seconds = static_cast<double>(end - begin) * 1e-9;
  });
}

// Device memory is host memory, so that all copies are one.
int32_t copy(mxhal_stream *stream, void *to, const void *from, uint64_t bytes, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(stream, Tag::stream, "stream");
    if (bytes == 0) return;
    require(to != nullptr && from != nullptr, bytes, " bytes cannot be copied ", to == nullptr ? "to" : "from",
            " address null");
    std::memmove(to, from, static_cast<size_t>(bytes));
  });
}

int32_t fill(mxhal_stream *stream, void *to, uint8_t value, uint64_t bytes, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(stream, Tag::stream, "stream");
    if (bytes == 0) return;
    require(to != nullptr, bytes, " bytes cannot be filled at null");
    std::memset(to, value, static_cast<size_t>(bytes));
  });
}

// ---- 5. Operators ----------------------------------------------------------------------------------------------------

constexpr int64_t block = 32;

// The name of a format; a number that is none is not guessed at (R8).
std::string_view format_name(std::string_view field, uint32_t format) {
  switch (format) {
    case MXHAL_F32: return "f32";
    case MXHAL_BF16: return "bf16";
    case MXHAL_F16: return "f16";
    case MXHAL_I32: return "i32";
    case MXHAL_I64: return "i64";
    case MXHAL_U8: return "u8";
    case MXHAL_MXFP4: return "mxfp4";
    case MXHAL_MXFP8: return "mxfp8";
    case MXHAL_MXFP8_G128: return "mxfp8-g128";
    case MXHAL_MXINT8: return "mxint8";
    case MXHAL_NVFP4: return "nvfp4";
    case MXHAL_FP8_TILE128: return "fp8-tile128";
    default: fail(MXHAL_UNSUPPORTED, field, " is ", format, ", which is no format of version 1.0");
  }
}

// Why an operator is not offered. It is an answer, not an error.
struct No {
  mxhal_reason reason;
  std::string text;
};

// An extent of a shape: at least 1, and at most what 32 bits hold, so that no product of two of them overflows.
void require_extent(std::string_view name, int64_t extent, int64_t multiple) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  require(extent >= 1 && extent <= most, name, " is ", extent, "; it is from 1 to ", most);
  require(extent % multiple == 0, name, " is ", extent, "; mxfp4 wants a multiple of ", multiple);
}

std::optional<No> judge_dequantize(const mxhal_op_dequantize &op) {
  const std::string_view from = format_name("from_format", op.from_format);
  const std::string_view output = format_name("output_format", op.output_format);
  require(output == "f32" || output == "bf16" || output == "f16", "output_format is ", output,
          "; it is f32, bf16 or f16");
  if (op.from_format != MXHAL_MXFP4) {
    return No{MXHAL_REASON_FORMAT, text("dequantize from ", from, " is not written yet; mxfp4 is")};
  }
  if (op.output_format != MXHAL_F32) {
    return No{MXHAL_REASON_FORMAT, text("dequantize to ", output, " is not written yet; f32 is")};
  }
  require_extent("rows", op.rows, 1);
  require_extent("k", op.k, block);
  return std::nullopt;
}

// One function judges an operator, for op_supports and for plan_create, so that they cannot disagree. Nothing: it is
// offered. It throws where the operator makes no sense, or holds a number that this version does not know.
std::optional<No> judge(const mxhal_op *op) {
  constexpr std::array<std::string_view, 10> names = {
      "", "quantize", "dequantize", "matmul", "grouped-matmul", "swiglu", "route", "permute", "combine", "moe-ffn"};
  require(op != nullptr, "op is null");
  require_size("operator", op->struct_size, sizeof *op);
  if (op->kind == 0 || op->kind >= names.size()) {
    fail(MXHAL_UNSUPPORTED, "operator kind ", op->kind, " is not known to version 1.0");
  }
  switch (op->kind) {
    case MXHAL_OP_DEQUANTIZE:
      // A host of a later version may have a longer operator. What it added is not ours to read.
      require_size(names[op->kind], op->struct_size, sizeof(mxhal_op_dequantize));
      return judge_dequantize(*reinterpret_cast<const mxhal_op_dequantize *>(op));
    default: return No{MXHAL_REASON_OPERATOR, text(names[op->kind], " is not written yet")};
  }
}

int32_t op_supports(mxhal_device *device, const mxhal_op *op, mxhal_answer *answer, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(device, Tag::device, "device");
    require_out(answer, "answer");
    mxhal_answer ours = {};
    if (const std::optional<No> no = judge(op)) {
      ours.reason = no->reason;
      copy_text(ours.text, sizeof ours.text, no->text);
    } else {
      // Promises that the suite tests. Each element is computed by itself, so all of these hold.
      ours.yes = 1;
      ours.flags = MXHAL_RUN_TO_RUN | MXHAL_BATCH_INVARIANT | MXHAL_THREAD_INVARIANT;
    }
    give(answer, ours);
  });
}

// A plan is the operator, copied; yours will hold the kernel that was chosen for it. It does not change (R7).
int32_t plan_create(mxhal_device *device, const mxhal_op *op, mxhal_plan **plan, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(device, Tag::device, "device");
    require_out(plan, "plan");
    // A refusal has the words and, as its code, the reason of op_supports.
    if (const std::optional<No> no = judge(op)) throw Failure{MXHAL_UNSUPPORTED, no->reason, no->text};
    *plan = new mxhal_plan{.dequantize = *reinterpret_cast<const mxhal_op_dequantize *>(op)};
  });
}

int32_t plan_info(const mxhal_plan *plan, mxhal_plan_info *info, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(plan, Tag::plan, "plan");
    require_out(info, "info");
    mxhal_plan_info ours = {};
    ours.workspace_bytes = 0;  // a run allocates nothing: what it needs is asked for here
    copy_text(ours.kernel, sizeof ours.kernel, "loop");
    give(info, ours);
  });
}

int32_t plan_destroy(mxhal_plan *plan, mxhal_error *error) {
  return guarded(error, [&] { destroy(plan, Tag::plan, "plan"); });
}

// A tensor as an operator's table has it: [most or fewer rows, columns] in this format. Nothing is believed that decides
// where memory is read or written.
const mxhal_tensor &rows_of(const mxhal_tensor *tensor, std::string_view name, uint32_t format, int64_t most,
                            int64_t columns) {
  require(tensor != nullptr, "tensor ", name, " is missing");
  require_size(name, tensor->struct_size, offsetof(mxhal_tensor, factors_bytes) + sizeof tensor->factors_bytes);
  require(tensor->format == format && tensor->rank == 2 && tensor->shape[1] == columns && tensor->shape[0] >= 0 &&
              tensor->shape[0] <= most,
          "tensor ", name, " has format ", tensor->format, ", rank ", tensor->rank, " and shape [", tensor->shape[0],
          ", ", tensor->shape[1], "]; expected ", format_name(name, format), " and [0 to ", most, ", ", columns, "]");
  const int64_t count = tensor->shape[0];
  if (count == 0) return *tensor;  // no memory is touched, whatever the addresses are

  const bool blocks = format == MXHAL_MXFP4;
  const int64_t stride = count == 1 ? columns : tensor->stride[0];  // a single row never steps
  require((columns == 1 || tensor->stride[1] == 1) && (blocks ? stride == columns : stride >= columns), "tensor ", name,
          " has strides [", tensor->stride[0], ", ", tensor->stride[1], "]; the second is 1, and the first ",
          blocks ? "is " : "at least ", columns);
  // In elements, and by division, so that no stride overflows.
  const uint64_t holds = blocks ? tensor->data_bytes / (block / 2) * block : tensor->data_bytes / 4;
  const auto wide = static_cast<uint64_t>(columns), steps = static_cast<uint64_t>(count) - 1;
  require(tensor->data != nullptr && holds >= wide && (holds - wide) / static_cast<uint64_t>(stride) >= steps,
          "the data of tensor ", name, " are ", tensor->data_bytes, " bytes at ", tensor->data,
          ", too few for its shape and strides");
  const int64_t scales = count * (columns / block);
  require(!blocks || (tensor->scales != nullptr && tensor->scales_bytes >= static_cast<uint64_t>(scales)),
          "the scales of tensor ", name, " are ", tensor->scales_bytes, " bytes at ", tensor->scales,
          "; expected one for each ", block, " columns: ", scales);
  return *tensor;
}

// E2M1 times 2^(byte - 127), in double, which holds every such value exactly; float32 holds it too, unless it is too
// large, and then it is infinite. The sign of zero is kept.
float mxfp4_value(unsigned code, unsigned scale) {
  constexpr std::array<double, 8> magnitudes = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0};
  if (scale == 255) return std::numeric_limits<float>::quiet_NaN();
  const double magnitude = std::ldexp(magnitudes[code & 7], static_cast<int>(scale) - 127);
  const float rounded =
      magnitude >= 0x1p128 ? std::numeric_limits<float>::infinity() : static_cast<float>(magnitude);
  return (code & 8) != 0 ? -rounded : rounded;
}

void run_dequantize(const mxhal_op_dequantize &op, const mxhal_tensor *const *tensors, uint32_t tensor_count,
                    uint32_t weights_count) {
  require(tensors != nullptr && tensor_count == 2 && weights_count == 0, tensor_count, " tensors and ", weights_count,
          " weights were passed; expected 2 and 0");
  const mxhal_tensor &x = rows_of(tensors[0], "x", MXHAL_MXFP4, op.rows, op.k);
  const mxhal_tensor &y = rows_of(tensors[1], "y", MXHAL_F32, op.rows, op.k);
  require(x.shape[0] == y.shape[0], "x has ", x.shape[0], " rows and y ", y.shape[0]);

  const auto *codes = static_cast<const uint8_t *>(x.data), *scales = static_cast<const uint8_t *>(x.scales);
  for (int64_t row = 0; row < x.shape[0]; row++) {
    auto *out = static_cast<char *>(y.data) + row * y.stride[0] * 4;
    for (int64_t column = 0; column < op.k; column++) {
      const int64_t element = row * op.k + column;  // blocks have no gaps, so elements can be counted
      const unsigned code = element % 2 == 0 ? codes[element / 2] & 15u : codes[element / 2] >> 4;
      const float value = mxfp4_value(code, scales[element / block]);
      std::memcpy(out + column * 4, &value, sizeof value);
    }
  }
}

int32_t plan_run(const mxhal_plan *plan, mxhal_stream *stream, const mxhal_tensor *const *tensors,
                 uint32_t tensor_count, const mxhal_weights *const *, uint32_t weights_count, void *, uint64_t,
                 mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(plan, Tag::plan, "plan");
    require_handle(stream, Tag::stream, "stream");
    run_dequantize(plan->dequantize, tensors, tensor_count, weights_count);
  });
}

// ---- 6. Weights ------------------------------------------------------------------------------------------------------

// Weights serve matmul, grouped matmul and moe-ffn. None of them is written yet, so no weights are prepared, and every
// handle but null is a stranger's.
[[noreturn]] void not_weights(const void *handle) {
  if (handle == nullptr) fail(MXHAL_INVALID_ARGUMENT, "the weights are null");
  fail(MXHAL_INVALID_ARGUMENT, handle, " are not weights of this backend");
}

int32_t weights_prepare(mxhal_device *device, const mxhal_weights_desc *desc, const mxhal_tensor *const *, uint32_t,
                        mxhal_weights **weights, mxhal_error *error) {
  return guarded(error, [&] {
    require_handle(device, Tag::device, "device");
    require(desc != nullptr, "desc is null");
    require_out(weights, "weights");
    require_size("description", desc->struct_size, offsetof(mxhal_weights_desc, k) + sizeof desc->k);
    const std::string_view format = format_name("format", desc->format);
    format_name("activation_format", desc->activation_format);
    throw Failure{MXHAL_UNSUPPORTED, MXHAL_REASON_OPERATOR,
                  text("weights in ", format, " have no use yet: no product is written")};
  });
}

int32_t weights_export(const mxhal_weights *weights, const mxhal_tensor *, mxhal_error *error) {
  return guarded(error, [&] { not_weights(weights); });
}

int32_t weights_info(const mxhal_weights *weights, mxhal_weights_info *, mxhal_error *error) {
  return guarded(error, [&] { not_weights(weights); });
}

int32_t weights_destroy(mxhal_weights *weights, mxhal_error *error) {
  return guarded(error, [&] {
    if (weights != nullptr) not_weights(weights);
  });
}

// ---- 7. The table ----------------------------------------------------------------------------------------------------

const void *extension(void *, const char *) { return nullptr; }

const mxhal_plugin table = {
    .struct_size = sizeof(mxhal_plugin),
    .abi_minor = MXHAL_ABI_MINOR,
    .self = &backend,
    .shutdown = shut_down,
    .device_count = device_count,
    .device_open = device_open,
    .device_close = device_close,
    .device_info = device_info,
    .memory_alloc = memory_alloc,
    .memory_free = memory_free,
    .memory_info = memory_info,
    .memory_host_alloc = memory_alloc,  // device memory is host memory
    .memory_host_free = memory_free,
    .stream_create = stream_create,
    .stream_wrap = nullptr,  // there is no native stream that could be wrapped
    .stream_destroy = stream_destroy,
    .stream_synchronize = stream_synchronize,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_record = event_record,
    .event_wait = event_wait,
    .event_synchronize = event_synchronize,
    .event_elapsed = event_elapsed,
    .copy_to_device = copy,
    .copy_to_host = copy,
    .copy_on_device = copy,
    .fill = fill,
    .op_supports = op_supports,
    .plan_create = plan_create,
    .plan_info = plan_info,
    .plan_run = plan_run,
    .plan_destroy = plan_destroy,
    .weights_prepare = weights_prepare,
    .weights_export = weights_export,
    .weights_info = weights_info,
    .weights_destroy = weights_destroy,
    .extension = extension,
};

}  // namespace

int32_t mxhal_plugin_open(const mxhal_host *host, mxhal_plugin *plugin, mxhal_error *error) {
  return guarded(error, [&] {
    require(host != nullptr, "the host's table is null");
    require_out(plugin, "plugin");
    // The host has compared versions by the identity; here only the sizes are left.
    require_size("plugin's table", plugin->struct_size, offsetof(mxhal_plugin, shutdown) + sizeof plugin->shutdown);
    // An option that is passed over in silence is one whose user wonders for a day why nothing changes.
    if (HAS(host, mxhal_host, option_values) && host->option_keys != nullptr) {
      const char *key = host->option_keys[0];
      require(key == nullptr, "unknown option `", key == nullptr ? "" : key,
              "`: this backend has none; remove it from [backend.options]");
    }
    if (HAS(host, mxhal_host, log)) {
      backend.log_context = host->context;
      backend.log = host->log;
    }
    // Ours, up to the smaller size of both, which is also what struct_size says afterwards.
    const auto common = static_cast<uint32_t>(std::min<size_t>(plugin->struct_size, sizeof table));
    give(plugin, table);
    plugin->struct_size = common;
    say(MXHAL_LOG_DEBUG, "opened");
  });
}
