/* A backend for mxhal in C11: @NAME@.
 *
 * It is complete in all but its operators: it dequantizes MXFP4 to F32, and says of everything else that it cannot, and
 * why. Its device is the host's memory and the caller's thread. Rules R1 to R9 are those at the head of mxhal.h.
 *
 *   1  what the file says about itself          5  operators: what is supported, plans, runs
 *   2  errors and handles                       6  weights
 *   3  devices                                  7  the table
 *   4  memory, streams, events, copies
 *
 * README.md says in which order to go on.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, sysconf */
#define MXHAL_BUILDING_PLUGIN
#include "mxhal.h"

#include <inttypes.h>
#include <math.h> /* the macros INFINITY and NAN only; libm is not linked */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- 1. What the file says about itself -------------------------------------------------------------------------- */

#if defined(__has_feature) /* Clang tells by __has_feature what GCC tells by macros */
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

/* The host reads this from the file before it runs any of our code, so it is constant and holds no pointer. */
const mxhal_plugin_identity mxhal_identity = {
    .magic = MXHAL_IDENTITY_MAGIC,
    .struct_size = sizeof(mxhal_plugin_identity),
    .abi_major = MXHAL_ABI_MAJOR,
    .abi_minor_least = 0, /* nothing newer than 1.0 is used */
    .abi_minor_built = MXHAL_ABI_MINOR,
    .layout_hash = MXHAL_LAYOUT_HASH,
    .sanitizer = BUILT_WITH,
    .flags = MXHAL_PLUGIN_MAY_UNLOAD, /* no thread, no atexit: nothing is left behind. A driver may leave some: then 0 */
    .name = "@NAME@",
    .vendor = "@NAME@",
    .version = "0.1.0",
};

/* ---- 2. Errors and handles --------------------------------------------------------------------------------------- */

/* Whether the other side's struct, whose size it states first, is large enough to have this field (R1). */
#define HAS(pointer, type, field) \
  ((pointer)->struct_size >= offsetof(type, field) + sizeof((pointer)->field))

/* Copies text, cut to fit, never within a UTF-8 character. */
static void copy_text(char *to, size_t room, const char *text) {
  size_t length = strlen(text);
  if (length >= room) {
    length = room - 1;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) length--;
  }
  memcpy(to, text, length);
  to[length] = '\0';
}

/* Fills the caller's error, as far as it is large (it may be null), and returns the status for the caller to return. */
static int32_t fail_with_code(mxhal_error *error, mxhal_status status, int64_t code, const char *format,
                              va_list values) {
  if (error == NULL) return status;
  if (HAS(error, mxhal_error, status)) error->status = status;
  if (HAS(error, mxhal_error, vendor_code)) error->vendor_code = code;
  if (error->struct_size > offsetof(mxhal_error, message)) {
    size_t room = error->struct_size - offsetof(mxhal_error, message);
    char text[1024];
    vsnprintf(text, sizeof text, format, values);
    copy_text(error->message, room < sizeof error->message ? room : sizeof error->message, text);
  }
  return status;
}

#if defined(__GNUC__)
#define PRINTS(text, values) __attribute__((format(printf, text, values)))
#else
#define PRINTS(text, values)
#endif

/* A message says what was seen, what was expected and what to do. */
PRINTS(3, 4) static int32_t fail(mxhal_error *error, mxhal_status status, const char *format, ...) {
  va_list values;
  va_start(values, format);
  fail_with_code(error, status, 0, format, values);
  va_end(values);
  return status;
}

/* The same for plan_create, which gives the reason of op_supports as the vendor's code. */
PRINTS(3, 4) static int32_t refuse(mxhal_error *error, uint32_t reason, const char *format, ...) {
  va_list values;
  va_start(values, format);
  fail_with_code(error, MXHAL_UNSUPPORTED, reason, format, values);
  va_end(values);
  return MXHAL_UNSUPPORTED;
}

/* Hands a struct to the caller, no further than the caller's is large; the caller's struct_size stays (R1). */
static void give(void *to, const void *from, uint32_t size) {
  uint32_t theirs;
  memcpy(&theirs, to, sizeof theirs);
  uint32_t common = theirs < size ? theirs : size;
  if (common > sizeof theirs) {
    memcpy((char *)to + sizeof theirs, (const char *)from + sizeof theirs, common - sizeof theirs);
  }
}

/* Every handle begins with a tag. It costs four bytes, and turns a stream that is passed as an event, or a handle that
 * was destroyed and not yet reused, into an error with a name instead of a crash. */
typedef enum tag {
  DEAD = 0,
  BACKEND = 0x6d780001,
  DEVICE,
  STREAM,
  EVENT,
  PLAN,
  ALLOCATION,
} tag;

static bool is(const void *handle, tag wanted) {
  uint32_t found = DEAD;
  if (handle != NULL) memcpy(&found, handle, sizeof found);
  return found == (uint32_t)wanted;
}

static int32_t not_a(mxhal_error *error, const char *what, const void *handle) {
  if (handle == NULL) return fail(error, MXHAL_INVALID_ARGUMENT, "the %s is null", what);
  return fail(error, MXHAL_INVALID_ARGUMENT, "%p is not a %s of this backend, or was destroyed", handle, what);
}

static int32_t is_null(mxhal_error *error, const char *what) {
  return fail(error, MXHAL_INVALID_ARGUMENT, "%s is null; it should point to where the answer goes", what);
}

/* A struct of the caller's that is smaller than version 1.0 has it lacks what we must know. */
static int32_t too_short(mxhal_error *error, const char *what, uint32_t got, size_t wanted) {
  return fail(error, MXHAL_INVALID_ARGUMENT, "struct_size of the %s is %" PRIu32 ", and version 1.0 has %zu bytes",
              what, got, wanted);
}

/* ---- 3. Devices -------------------------------------------------------------------------------------------------- */

/* What `self` points to. One per load; the host calls mxhal_plugin_open once. */
static struct backend {
  uint32_t tag;
  void *log_context;
  void (*log)(void *context, int32_t level, const char *target, const char *message);
} backend = {BACKEND, NULL, NULL};

/* Messages go to the host, never to stdout or stderr (R9). */
static void say(mxhal_log_level level, const char *message) {
  if (backend.log != NULL) backend.log(backend.log_context, level, mxhal_identity.name, message);
}

/* Children may be destroyed after their device (R3), so those that still need it, the allocations, share in its
 * ownership: the last one to go frees it. A backend whose device owns a context of its driver does the same. */
struct mxhal_device {
  uint32_t tag;
  _Atomic uint32_t owners;
  _Atomic uint64_t used_bytes;
  uint64_t total_bytes;
};

enum { ALIGNMENT = 64 }; /* a cache line */

static void device_share(mxhal_device *device) { atomic_fetch_add(&device->owners, 1); }

static void device_leave(mxhal_device *device) {
  if (atomic_fetch_sub(&device->owners, 1) == 1) free(device);
}

static int32_t shut_down(void *self, mxhal_error *error) {
  if (!is(self, BACKEND)) return not_a(error, "backend", self);
  backend.log = NULL; /* valid until we return, and not longer */
  return MXHAL_OK;
}

static int32_t device_count(void *self, uint32_t *count, mxhal_error *error) {
  if (!is(self, BACKEND)) return not_a(error, "backend", self);
  if (count == NULL) return is_null(error, "count");
  *count = 1;
  return MXHAL_OK;
}

static int32_t device_open(void *self, uint32_t index, mxhal_device **device, mxhal_error *error) {
  if (!is(self, BACKEND)) return not_a(error, "backend", self);
  if (device == NULL) return is_null(error, "device");
  if (index != 0) return fail(error, MXHAL_INVALID_ARGUMENT, "there is no device %" PRIu32 ", only 0", index);
  long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) {
    return fail(error, MXHAL_UNAVAILABLE, "sysconf tells no size of memory (_SC_PHYS_PAGES, _SC_PAGESIZE)");
  }
  mxhal_device *opened = malloc(sizeof *opened);
  if (opened == NULL) return fail(error, MXHAL_OUT_OF_MEMORY, "no %zu bytes for a device", sizeof *opened);
  opened->tag = DEVICE;
  atomic_init(&opened->owners, 1);
  atomic_init(&opened->used_bytes, 0);
  opened->total_bytes = (uint64_t)pages * (uint64_t)page_bytes;
  *device = opened;
  return MXHAL_OK;
}

static int32_t device_close(mxhal_device *device, mxhal_error *error) {
  if (device == NULL) return MXHAL_OK;
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  device->tag = DEAD;
  device_leave(device);
  return MXHAL_OK;
}

static int32_t device_info(mxhal_device *device, mxhal_device_info *info, mxhal_error *error) {
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  if (info == NULL) return is_null(error, "info");
  mxhal_device_info ours = {
      .units = 1,
      .memory_bytes = device->total_bytes,
      .alignment = ALIGNMENT,
      .name = "host memory and the calling thread",
      .architecture = "c11",
      .driver = "none",
  };
  give(info, &ours, sizeof ours);
  return MXHAL_OK;
}

/* ---- 4. Memory, streams, events, copies -------------------------------------------------------------------------- */

/* Lies before each allocation, and takes a whole cache line to keep the alignment of what follows. */
typedef struct allocation {
  uint32_t tag;
  mxhal_device *device;
  uint64_t bytes;
} allocation;

_Static_assert(sizeof(allocation) <= ALIGNMENT, "an allocation's head takes one unit of alignment");

/* The amount is counted before it is asked for: a system that overcommits would promise memory that it has not got, and
 * kill the process when it is touched. Zero bytes take a line like one byte. */
static int32_t allocate(mxhal_device *device, uint64_t bytes, void **address, mxhal_error *error) {
  uint64_t used = atomic_load(&device->used_bytes);
  do {
    if (bytes > device->total_bytes - used) {
      return fail(error, MXHAL_OUT_OF_MEMORY,
                  "%" PRIu64 " bytes were asked for, and %" PRIu64 " of %" PRIu64 " are free", bytes,
                  device->total_bytes - used, device->total_bytes);
    }
  } while (!atomic_compare_exchange_weak(&device->used_bytes, &used, used + bytes));

  size_t lines = (size_t)(bytes / ALIGNMENT + 2); /* the head, and the rest of a last line */
  allocation *head = aligned_alloc(ALIGNMENT, lines * ALIGNMENT);
  if (head == NULL) {
    atomic_fetch_sub(&device->used_bytes, bytes);
    return fail(error, MXHAL_OUT_OF_MEMORY, "the C library has no %" PRIu64 " bytes left", bytes);
  }
  *head = (allocation){ALLOCATION, device, bytes};
  device_share(device);
  *address = (char *)head + ALIGNMENT;
  return MXHAL_OK;
}

static int32_t release(void *address, mxhal_error *error) {
  if (address == NULL) return MXHAL_OK;
  allocation *head = (allocation *)(void *)((char *)address - ALIGNMENT);
  if ((uintptr_t)address % ALIGNMENT != 0 || !is(head, ALLOCATION)) return not_a(error, "allocation", address);
  mxhal_device *device = head->device;
  atomic_fetch_sub(&device->used_bytes, head->bytes);
  head->tag = DEAD;
  free(head);
  device_leave(device);
  return MXHAL_OK;
}

static int32_t memory_alloc(mxhal_device *device, uint64_t bytes, void **address, mxhal_error *error) {
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  if (address == NULL) return is_null(error, "address");
  return allocate(device, bytes, address, error);
}

static int32_t memory_free(mxhal_device *device, void *address, mxhal_error *error) {
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  return release(address, error);
}

static int32_t memory_info(mxhal_device *device, uint64_t *free_bytes, uint64_t *total_bytes, mxhal_error *error) {
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  if (free_bytes == NULL) return is_null(error, "free_bytes");
  if (total_bytes == NULL) return is_null(error, "total_bytes");
  *free_bytes = device->total_bytes - atomic_load(&device->used_bytes);
  *total_bytes = device->total_bytes;
  return MXHAL_OK;
}

/* Work is done before the call that enqueues it returns, which R6 allows. So a stream has no state, waiting for one
 * takes no time, and nothing is left to fail later. A real queue keeps its first failure, and reports it when it is
 * synchronised. */
struct mxhal_stream {
  uint32_t tag;
};

static int32_t stream_create(mxhal_device *device, mxhal_stream **stream, mxhal_error *error) {
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  if (stream == NULL) return is_null(error, "stream");
  mxhal_stream *made = malloc(sizeof *made);
  if (made == NULL) return fail(error, MXHAL_OUT_OF_MEMORY, "no %zu bytes for a stream", sizeof *made);
  made->tag = STREAM;
  *stream = made;
  return MXHAL_OK;
}

static int32_t stream_destroy(mxhal_stream *stream, mxhal_error *error) {
  if (stream == NULL) return MXHAL_OK;
  if (!is(stream, STREAM)) return not_a(error, "stream", stream);
  stream->tag = DEAD;
  free(stream);
  return MXHAL_OK;
}

static int32_t stream_synchronize(mxhal_stream *stream, uint64_t timeout_ns, mxhal_error *error) {
  (void)timeout_ns;
  if (!is(stream, STREAM)) return not_a(error, "stream", stream);
  return MXHAL_OK;
}

/* The time at which the mark was passed. An event may be recorded by one thread and asked by another (R7). */
struct mxhal_event {
  uint32_t tag;
  _Atomic int64_t nanoseconds; /* NEVER until it is recorded */
};

#define NEVER INT64_MIN

static int32_t event_create(mxhal_device *device, mxhal_event **event, mxhal_error *error) {
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  if (event == NULL) return is_null(error, "event");
  mxhal_event *made = malloc(sizeof *made);
  if (made == NULL) return fail(error, MXHAL_OUT_OF_MEMORY, "no %zu bytes for an event", sizeof *made);
  made->tag = EVENT;
  atomic_init(&made->nanoseconds, NEVER);
  *event = made;
  return MXHAL_OK;
}

static int32_t event_destroy(mxhal_event *event, mxhal_error *error) {
  if (event == NULL) return MXHAL_OK;
  if (!is(event, EVENT)) return not_a(error, "event", event);
  event->tag = DEAD;
  free(event);
  return MXHAL_OK;
}

static int32_t event_record(mxhal_event *event, mxhal_stream *stream, mxhal_error *error) {
  if (!is(event, EVENT)) return not_a(error, "event", event);
  if (!is(stream, STREAM)) return not_a(error, "stream", stream);
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return fail(error, MXHAL_INTERNAL, "CLOCK_MONOTONIC cannot be read");
  atomic_store(&event->nanoseconds, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
  return MXHAL_OK;
}

static int32_t event_wait(mxhal_event *event, mxhal_stream *stream, mxhal_error *error) {
  if (!is(event, EVENT)) return not_a(error, "event", event);
  if (!is(stream, STREAM)) return not_a(error, "stream", stream);
  return MXHAL_OK; /* whatever was recorded is passed */
}

static int32_t event_synchronize(mxhal_event *event, uint64_t timeout_ns, mxhal_error *error) {
  (void)timeout_ns;
  if (!is(event, EVENT)) return not_a(error, "event", event);
  return MXHAL_OK;
}

static int32_t event_elapsed(mxhal_event *from, mxhal_event *to, double *seconds, mxhal_error *error) {
  if (!is(from, EVENT)) return not_a(error, "event", from);
  if (!is(to, EVENT)) return not_a(error, "event", to);
  if (seconds == NULL) return is_null(error, "seconds");
  int64_t begin = atomic_load(&from->nanoseconds), end = atomic_load(&to->nanoseconds);
  if (begin == NEVER || end == NEVER) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "the %s event was never recorded; record both, then ask",
                begin == NEVER ? "first" : "second");
  }
  *seconds = (double)(end - begin) * 1e-9;
  return MXHAL_OK;
}

/* Device memory is host memory, so that all copies are one. */
static int32_t copy(mxhal_stream *stream, void *to, const void *from, uint64_t bytes, mxhal_error *error) {
  if (!is(stream, STREAM)) return not_a(error, "stream", stream);
  if (bytes == 0) return MXHAL_OK;
  if (to == NULL || from == NULL) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "%" PRIu64 " bytes cannot be copied %s address null", bytes,
                to == NULL ? "to" : "from");
  }
  memmove(to, from, (size_t)bytes);
  return MXHAL_OK;
}

static int32_t fill(mxhal_stream *stream, void *to, uint8_t value, uint64_t bytes, mxhal_error *error) {
  if (!is(stream, STREAM)) return not_a(error, "stream", stream);
  if (bytes == 0) return MXHAL_OK;
  if (to == NULL) return fail(error, MXHAL_INVALID_ARGUMENT, "%" PRIu64 " bytes cannot be filled at null", bytes);
  memset(to, value, (size_t)bytes);
  return MXHAL_OK;
}

/* ---- 5. Operators ------------------------------------------------------------------------------------------------ */

enum { BLOCK = 32, E8M0_BIAS = 127, E8M0_NAN = 255 };

/* Null for a number that is no format's. */
static const char *format_name(uint32_t format) {
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
    default: return NULL;
  }
}

static int32_t unknown_format(mxhal_error *error, const char *field, uint32_t format) {
  return fail(error, MXHAL_UNSUPPORTED, "%s is %" PRIu32 ", which is no format of version 1.0", field, format);
}

static int32_t no(mxhal_answer *answer, mxhal_reason reason, const char *text, const char *subject) {
  *answer = (mxhal_answer){.reason = reason};
  char sentence[sizeof answer->text];
  snprintf(sentence, sizeof sentence, text, subject);
  copy_text(answer->text, sizeof answer->text, sentence);
  return MXHAL_OK;
}

/* An extent of a shape: at least 1, and at most what 32 bits hold, so that no product of two of them overflows. */
static int32_t judge_extent(const char *name, int64_t extent, int64_t multiple, mxhal_error *error) {
  if (extent < 1 || extent > INT32_MAX) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "%s is %" PRId64 "; it is from 1 to %" PRId32, name, extent, INT32_MAX);
  }
  if (extent % multiple != 0) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "%s is %" PRId64 "; mxfp4 wants a multiple of %" PRId64, name, extent,
                multiple);
  }
  return MXHAL_OK;
}

static int32_t judge_dequantize(const mxhal_op_dequantize *op, mxhal_answer *answer, mxhal_error *error) {
  const char *from = format_name(op->from_format), *output = format_name(op->output_format);
  if (from == NULL) return unknown_format(error, "from_format", op->from_format);
  if (output == NULL) return unknown_format(error, "output_format", op->output_format);
  if (op->output_format != MXHAL_F32 && op->output_format != MXHAL_BF16 && op->output_format != MXHAL_F16) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "output_format is %s; it is f32, bf16 or f16", output);
  }
  if (op->from_format != MXHAL_MXFP4) {
    return no(answer, MXHAL_REASON_FORMAT, "dequantize from %s is not written yet; mxfp4 is", from);
  }
  if (op->output_format != MXHAL_F32) {
    return no(answer, MXHAL_REASON_FORMAT, "dequantize to %s is not written yet; f32 is", output);
  }
  int32_t status = judge_extent("rows", op->rows, 1, error);
  return status != MXHAL_OK ? status : judge_extent("k", op->k, BLOCK, error);
}

/* One function judges an operator, for op_supports and for plan_create, so that they cannot disagree:
 *
 *   MXHAL_OK                the operator makes sense; the answer says whether it is offered
 *   MXHAL_INVALID_ARGUMENT  it makes none: k is not a multiple of the block, say
 *   MXHAL_UNSUPPORTED       it holds a number that this version does not know (R8)
 */
static int32_t judge(const mxhal_op *op, mxhal_answer *answer, mxhal_error *error) {
  static const char *const names[] = {
      [MXHAL_OP_QUANTIZE] = "quantize",    [MXHAL_OP_DEQUANTIZE] = "dequantize",
      [MXHAL_OP_MATMUL] = "matmul",        [MXHAL_OP_GROUPED_MATMUL] = "grouped-matmul",
      [MXHAL_OP_SWIGLU] = "swiglu",        [MXHAL_OP_ROUTE] = "route",
      [MXHAL_OP_PERMUTE] = "permute",      [MXHAL_OP_COMBINE] = "combine",
      [MXHAL_OP_MOE_FFN] = "moe-ffn",
  };
  if (!HAS(op, mxhal_op, kind)) return too_short(error, "operator", op->struct_size, sizeof *op);
  if (op->kind == 0 || op->kind >= sizeof names / sizeof names[0]) {
    return fail(error, MXHAL_UNSUPPORTED, "operator kind %" PRIu32 " is not known to version 1.0", op->kind);
  }
  switch (op->kind) {
    case MXHAL_OP_DEQUANTIZE:
      /* A host of a later version may have a longer operator. What it added is not ours to read. */
      if (op->struct_size < sizeof(mxhal_op_dequantize)) {
        return too_short(error, names[op->kind], op->struct_size, sizeof(mxhal_op_dequantize));
      }
      /* Promises that the suite tests. Each element is computed by itself, so all of these hold. */
      answer->yes = 1;
      answer->flags = MXHAL_RUN_TO_RUN | MXHAL_BATCH_INVARIANT | MXHAL_THREAD_INVARIANT;
      return judge_dequantize((const mxhal_op_dequantize *)(const void *)op, answer, error);
    default: return no(answer, MXHAL_REASON_OPERATOR, "%s is not written yet", names[op->kind]);
  }
}

static int32_t op_supports(mxhal_device *device, const mxhal_op *op, mxhal_answer *answer, mxhal_error *error) {
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  if (op == NULL) return is_null(error, "op");
  if (answer == NULL) return is_null(error, "answer");
  mxhal_answer ours = {0};
  int32_t status = judge(op, &ours, error);
  if (status == MXHAL_OK) give(answer, &ours, sizeof ours);
  return status;
}

/* A plan is the operator, copied; yours will hold the kernel that was chosen for it. It does not change (R7). */
struct mxhal_plan {
  uint32_t tag;
  union {
    mxhal_op any;
    mxhal_op_dequantize dequantize; /* the next operators go here */
  } op;
};

static int32_t plan_create(mxhal_device *device, const mxhal_op *op, mxhal_plan **plan, mxhal_error *error) {
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  if (op == NULL) return is_null(error, "op");
  if (plan == NULL) return is_null(error, "plan");
  mxhal_answer answer = {0};
  int32_t status = judge(op, &answer, error);
  if (status != MXHAL_OK) return status;
  if (!answer.yes) return refuse(error, answer.reason, "%s", answer.text);

  mxhal_plan *made = calloc(1, sizeof *made);
  if (made == NULL) return fail(error, MXHAL_OUT_OF_MEMORY, "no %zu bytes for a plan", sizeof *made);
  made->tag = PLAN;
  memcpy(&made->op, op, op->struct_size < sizeof made->op ? op->struct_size : sizeof made->op);
  *plan = made;
  return MXHAL_OK;
}

static int32_t plan_destroy(mxhal_plan *plan, mxhal_error *error) {
  if (plan == NULL) return MXHAL_OK;
  if (!is(plan, PLAN)) return not_a(error, "plan", plan);
  plan->tag = DEAD;
  free(plan);
  return MXHAL_OK;
}

static int32_t plan_info(const mxhal_plan *plan, mxhal_plan_info *info, mxhal_error *error) {
  if (!is(plan, PLAN)) return not_a(error, "plan", plan);
  if (info == NULL) return is_null(error, "info");
  mxhal_plan_info ours = {.workspace_bytes = 0, .kernel = "loop"}; /* a run allocates nothing: what it needs is said here */
  give(info, &ours, sizeof ours);
  return MXHAL_OK;
}

/* A tensor as an operator's table has it: [most or fewer rows, columns] in this format. Nothing is believed that decides
 * where memory is read or written. */
static int32_t check_rows(const mxhal_tensor *tensor, const char *name, uint32_t format, int64_t most, int64_t columns,
                          mxhal_error *error) {
  if (tensor == NULL) return fail(error, MXHAL_INVALID_ARGUMENT, "tensor %s is missing", name);
  if (!HAS(tensor, mxhal_tensor, factors_bytes)) return too_short(error, name, tensor->struct_size, sizeof *tensor);
  if (tensor->format != format || tensor->rank != 2 || tensor->shape[1] != columns || tensor->shape[0] < 0 ||
      tensor->shape[0] > most) {
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "tensor %s has format %" PRIu32 ", rank %" PRIu32 " and shape [%" PRId64 ", %" PRId64
                "]; expected %s and [0 to %" PRId64 ", %" PRId64 "]",
                name, tensor->format, tensor->rank, tensor->shape[0], tensor->rank == 2 ? tensor->shape[1] : 0,
                format_name(format), most, columns);
  }
  int64_t count = tensor->shape[0];
  if (count == 0) return MXHAL_OK; /* no memory is touched, whatever the addresses are */

  int64_t stride = count == 1 ? columns : tensor->stride[0]; /* a single row never steps */
  bool blocks = format == MXHAL_MXFP4;
  if ((columns > 1 && tensor->stride[1] != 1) || stride < columns || (blocks && stride != columns)) {
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "tensor %s has strides [%" PRId64 ", %" PRId64 "]; the second is 1, and the first %s %" PRId64, name,
                tensor->stride[0], tensor->stride[1], blocks ? "is" : "at least", columns);
  }
  /* In elements, and by division, so that no stride overflows. */
  uint64_t holds = blocks ? tensor->data_bytes / (BLOCK / 2) * BLOCK : tensor->data_bytes / 4;
  bool fits = holds >= (uint64_t)columns && (holds - (uint64_t)columns) / (uint64_t)stride >= (uint64_t)count - 1;
  if (tensor->data == NULL || !fits) {
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "the data of tensor %s are %" PRIu64 " bytes at %p, too few for its shape and strides", name,
                tensor->data_bytes, tensor->data);
  }
  if (blocks && (tensor->scales == NULL || tensor->scales_bytes < (uint64_t)(count * (columns / BLOCK)))) {
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "the scales of tensor %s are %" PRIu64 " bytes at %p; expected one for each %d columns: %" PRId64, name,
                tensor->scales_bytes, tensor->scales, BLOCK, count * (columns / BLOCK));
  }
  return MXHAL_OK;
}

/* E2M1 times 2^(byte - 127), in double, which holds every such value exactly; float32 holds it too, unless it is too
 * large, and then it is infinite. The sign of zero is kept. */
static float mxfp4_value(uint8_t code, uint8_t scale) {
  static const double magnitudes[8] = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0};
  if (scale == E8M0_NAN) return NAN;
  uint64_t bits = (uint64_t)(scale - E8M0_BIAS + 1023) << 52; /* a double's exponent, without a fraction */
  double power;
  memcpy(&power, &bits, sizeof power);
  double magnitude = magnitudes[code & 7] * power;
  float rounded = magnitude >= 0x1p128 ? INFINITY : (float)magnitude;
  return (code & 8) != 0 ? -rounded : rounded;
}

static int32_t run_dequantize(const mxhal_op_dequantize *op, const mxhal_tensor *const *tensors, uint32_t tensor_count,
                              uint32_t weights_count, mxhal_error *error) {
  if (tensors == NULL || tensor_count != 2 || weights_count != 0) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "%" PRIu32 " tensors and %" PRIu32 " weights were passed; expected 2 and 0",
                tensor_count, weights_count);
  }
  const mxhal_tensor *x = tensors[0], *y = tensors[1];
  int32_t status = check_rows(x, "x", MXHAL_MXFP4, op->rows, op->k, error);
  if (status == MXHAL_OK) status = check_rows(y, "y", MXHAL_F32, op->rows, op->k, error);
  if (status != MXHAL_OK) return status;
  if (x->shape[0] != y->shape[0]) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "x has %" PRId64 " rows and y %" PRId64, x->shape[0], y->shape[0]);
  }

  const uint8_t *codes = x->data, *scales = x->scales;
  for (int64_t row = 0; row < x->shape[0]; row++) {
    uint8_t *out = (uint8_t *)y->data + row * y->stride[0] * 4;
    for (int64_t column = 0; column < op->k; column++) {
      int64_t element = row * op->k + column; /* blocks have no gaps, so elements can be counted */
      uint8_t code = (uint8_t)(element % 2 == 0 ? codes[element / 2] & 15 : codes[element / 2] >> 4);
      float value = mxfp4_value(code, scales[element / BLOCK]);
      memcpy(out + column * 4, &value, sizeof value);
    }
  }
  return MXHAL_OK;
}

static int32_t plan_run(const mxhal_plan *plan, mxhal_stream *stream, const mxhal_tensor *const *tensors,
                        uint32_t tensor_count, const mxhal_weights *const *weights, uint32_t weights_count,
                        void *workspace, uint64_t workspace_bytes, mxhal_error *error) {
  (void)weights;
  (void)workspace; /* no plan asks for one */
  (void)workspace_bytes;
  if (!is(plan, PLAN)) return not_a(error, "plan", plan);
  if (!is(stream, STREAM)) return not_a(error, "stream", stream);
  return run_dequantize(&plan->op.dequantize, tensors, tensor_count, weights_count, error);
}

/* ---- 6. Weights -------------------------------------------------------------------------------------------------- */

/* Weights serve matmul, grouped matmul and moe-ffn. None of them is written yet, so no weights are prepared, and every
 * handle but null is a stranger's. */
static int32_t weights_prepare(mxhal_device *device, const mxhal_weights_desc *desc, const mxhal_tensor *const *parts,
                               uint32_t part_count, mxhal_weights **weights, mxhal_error *error) {
  (void)parts;
  (void)part_count;
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  if (desc == NULL) return is_null(error, "desc");
  if (weights == NULL) return is_null(error, "weights");
  if (!HAS(desc, mxhal_weights_desc, k)) return too_short(error, "description", desc->struct_size, sizeof *desc);
  const char *format = format_name(desc->format);
  if (format == NULL) return unknown_format(error, "format", desc->format);
  if (format_name(desc->activation_format) == NULL) {
    return unknown_format(error, "activation_format", desc->activation_format);
  }
  return refuse(error, MXHAL_REASON_OPERATOR, "weights in %s have no use yet: no product is written", format);
}

static int32_t weights_export(const mxhal_weights *weights, const mxhal_tensor *to, mxhal_error *error) {
  (void)to;
  return not_a(error, "weights", weights);
}

static int32_t weights_info(const mxhal_weights *weights, mxhal_weights_info *info, mxhal_error *error) {
  (void)info;
  return not_a(error, "weights", weights);
}

static int32_t weights_destroy(mxhal_weights *weights, mxhal_error *error) {
  return weights == NULL ? MXHAL_OK : not_a(error, "weights", weights);
}

/* ---- 7. The table ------------------------------------------------------------------------------------------------ */

/* Null: there is no extension here, nor, below, a native stream that could be wrapped. */
static const void *extension(void *self, const char *name) {
  (void)self;
  (void)name;
  return NULL;
}

static const mxhal_plugin table = {
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
    .memory_host_alloc = memory_alloc, /* device memory is host memory */
    .memory_host_free = memory_free,
    .stream_create = stream_create,
    .stream_wrap = NULL,
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

/* An option that is passed over in silence is one whose user wonders for a day why nothing changes. */
static int32_t check_options(const mxhal_host *host, mxhal_error *error) {
  if (!HAS(host, mxhal_host, option_values) || host->option_keys == NULL) return MXHAL_OK;
  const char *key = host->option_keys[0];
  if (key == NULL) return MXHAL_OK;
  return fail(error, MXHAL_INVALID_ARGUMENT,
              "unknown option `%s`: this backend has none; remove it from [backend.options]", key);
}

int32_t mxhal_plugin_open(const mxhal_host *host, mxhal_plugin *plugin, mxhal_error *error) {
  if (host == NULL) return fail(error, MXHAL_INVALID_ARGUMENT, "the host's table is null");
  if (plugin == NULL) return is_null(error, "plugin");
  /* The host has compared versions by the identity; here only the sizes are left. A table that ends before its first
   * function is none. */
  if (!HAS(plugin, mxhal_plugin, shutdown)) {
    return too_short(error, "plugin's table", plugin->struct_size, sizeof table);
  }
  int32_t status = check_options(host, error);
  if (status != MXHAL_OK) return status;

  if (HAS(host, mxhal_host, log)) {
    backend.log_context = host->context;
    backend.log = host->log;
  }
  /* Ours, up to the smaller size of both, which is also what struct_size says afterwards. */
  uint32_t theirs = plugin->struct_size;
  give(plugin, &table, sizeof table);
  plugin->struct_size = theirs < sizeof table ? theirs : (uint32_t)sizeof table;
  say(MXHAL_LOG_DEBUG, "opened");
  return MXHAL_OK;
}
