/* mxhal_c.c: a backend for mxhal in one file of C11, to learn from and to start from.
 *
 * It needs the header mxhal.h and a C library, nothing else. Its device is the host's memory and one thread of the
 * caller's. It quantizes to MXFP4, dequantizes MXFP4 and multiplies BF16 activations by MXFP4 weights (W4A16), with
 * loops that are meant to be read; whatever else it is asked for, it says that it cannot, and why. Rules R1 to R9 are
 * those at the head of the header, whose order this file follows:
 *
 *   1  what the file says about itself          5  memory, streams, events, copies
 *   2  errors and handles                       6  operators: what is supported, plans, runs
 *   3  numbers: exact rounding, with integers   7  weights
 *   4  devices                                  8  the table
 *
 * A port to a real device replaces 4, 5 and the three loops of 6. The rest is the contract, and stays.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, sysconf */
#define MXHAL_BUILDING_PLUGIN
#include "mxhal.h"

#include <inttypes.h>
#include <math.h> /* macros only: INFINITY, NAN, isfinite, signbit; libm is not linked */
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
    .flags = MXHAL_PLUGIN_MAY_UNLOAD, /* no thread, no atexit: nothing is left behind */
    .name = "c-example",
    .vendor = "mxhal examples",
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
  WEIGHTS,
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

/* ---- 3. Numbers -------------------------------------------------------------------------------------------------- */

/* "Rounded once, to nearest even" admits one answer, so nothing is left to a math library, to a rounding mode or to a
 * flag that flushes subnormals. Everything is computed in double, which holds each value of the formats exactly, and
 * each product of two of them; what is wider than its destination is rounded by integers. */
typedef struct binary {
  int exponent_bits, fraction_bits;
} binary;

static const binary F32 = {8, 23}, BF16 = {8, 7}, F16 = {5, 10};
enum { BLOCK = 32, E8M0_BIAS = 127, E8M0_MAX = 254, E8M0_NAN = 255 };

static uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* 2^exponent, for exponents of normal doubles: -1022 to 1023. */
static double power_of_two(int exponent) {
  uint64_t bits = (uint64_t)(exponent + 1023) << 52;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The value of the bits of a narrower format: exact. */
static double widen(uint32_t bits, binary format) {
  int bias = (1 << (format.exponent_bits - 1)) - 1;
  uint32_t fraction = bits & ((1u << format.fraction_bits) - 1);
  int exponent = (int)(bits >> format.fraction_bits) & ((1 << format.exponent_bits) - 1);
  bool negative = (bits >> (format.exponent_bits + format.fraction_bits)) & 1;
  double magnitude;
  if (exponent == (1 << format.exponent_bits) - 1) {
    magnitude = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) { /* zero and subnormals have no implicit bit */
    magnitude = fraction * power_of_two(1 - bias - format.fraction_bits);
  } else {
    magnitude = (fraction | 1u << format.fraction_bits) * power_of_two(exponent - bias - format.fraction_bits);
  }
  return negative ? -magnitude : magnitude;
}

/* The bits of a double in a narrower format, rounded once: to nearest, ties to even; too large is infinite. */
static uint32_t narrow(double value, binary format) {
  uint64_t bits = bits_of(value);
  int bias = (1 << (format.exponent_bits - 1)) - 1;
  uint32_t sign = (uint32_t)(bits >> 63) << (format.exponent_bits + format.fraction_bits);
  uint32_t infinity = ((1u << format.exponent_bits) - 1) << format.fraction_bits;
  if (value != value) return sign | infinity | 1u << (format.fraction_bits - 1); /* a quiet NaN */
  if (!isfinite(value)) return sign | infinity;

  int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
  if (exponent == -1023) return sign; /* zero; subnormal doubles are far below every narrower format */
  if (exponent > bias) return sign | infinity;
  uint64_t significand = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1) << 52;
  /* Below the least normal number each power of two costs one more bit. */
  int least = 1 - bias;
  int shift = 52 - format.fraction_bits + (exponent < least ? least - exponent : 0);
  if (shift > 54) return sign; /* less than half of the least subnormal */
  uint64_t kept = significand >> shift;
  uint64_t rest = significand & ((UINT64_C(1) << shift) - 1), half = UINT64_C(1) << (shift - 1);
  if (rest > half || (rest == half && (kept & 1) != 0)) kept++;
  /* The implicit bit of `kept` adds one to the exponent field, and so does a carry out of the fraction: both land where
   * they belong, up to infinity. */
  uint32_t field = exponent < least ? 0 : (uint32_t)(exponent + bias - 1);
  return sign | ((field << format.fraction_bits) + (uint32_t)kept);
}

/* E2M1: the sign in bit 3; two values share a byte, the one of even index in the low nibble. */
static const double E2M1[16] = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0};

static uint8_t e2m1_at(const uint8_t *row, int64_t column) {
  return (uint8_t)(column % 2 == 0 ? row[column / 2] & 15 : row[column / 2] >> 4);
}

/* The nearest code. A tie goes to the even one, hence < and <= by turns; beyond 6 it saturates; zeros keep a sign. */
static uint8_t e2m1_nearest(double value) {
  double magnitude = signbit(value) ? -value : value;
  uint8_t code;
  if (magnitude <= 0.25) {
    code = 0;
  } else if (magnitude < 0.75) {
    code = 1;
  } else if (magnitude <= 1.25) {
    code = 2;
  } else if (magnitude < 1.75) {
    code = 3;
  } else if (magnitude <= 2.5) {
    code = 4;
  } else if (magnitude < 3.5) {
    code = 5;
  } else if (magnitude <= 5.0) {
    code = 6;
  } else {
    code = 7;
  }
  return (uint8_t)(signbit(value) ? code | 8 : code);
}

/* The value of an E8M0 scale. A double has room for all of them. */
static double e8m0(uint8_t byte) { return byte == E8M0_NAN ? (double)NAN : power_of_two(byte - E8M0_BIAS); }

/* The value of an MXFP4 element: one that is too large for float32 is infinite. */
static double mxfp4_value(uint8_t code, double scale) {
  const double overflow = power_of_two(128);
  double value = E2M1[code] * scale;
  if (value >= overflow) return INFINITY;
  return value <= -overflow ? -(double)INFINITY : value;
}

/* The scale byte of a block whose largest magnitude is amax. With amax = 1.f * 2^e, the largest power of two among the
 * elements being 4 = 2^2, the OCP rule is e - 2. That saturates where amax is above 1.5 * 2^e, which `ceil` answers
 * with the next scale; `even` rounds amax to E2M1's one bit of mantissa first, which carries from 1.75 on. */
static uint8_t scale_byte(double amax, uint32_t rule) {
  if (!isfinite(amax)) return E8M0_NAN;
  if (amax == 0.0) return 0;
  uint64_t bits = bits_of(amax); /* never subnormal: float32 does not go that low */
  int exponent = (int)(bits >> 52) - 1023;
  uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1), half = UINT64_C(1) << 51;
  int byte = exponent - 2 + E8M0_BIAS;
  if (rule == MXHAL_SCALE_CEIL && fraction > half) byte++;
  if (rule == MXHAL_SCALE_EVEN && fraction >= half + half / 2) byte++;
  return (uint8_t)(byte < 0 ? 0 : byte > E8M0_MAX ? E8M0_MAX : byte);
}

/* Elements of the plain formats in memory. memcpy, because nobody promised that an engine's array has this type. */
static double load(const uint8_t *row, int64_t column, uint32_t format) {
  if (format == MXHAL_F32) {
    uint32_t bits;
    memcpy(&bits, row + column * 4, sizeof bits);
    return widen(bits, F32);
  }
  uint16_t bits;
  memcpy(&bits, row + column * 2, sizeof bits);
  return widen(bits, format == MXHAL_BF16 ? BF16 : F16);
}

static void store(uint8_t *row, int64_t column, uint32_t format, double value) {
  if (format == MXHAL_F32) {
    uint32_t bits = narrow(value, F32);
    memcpy(row + column * 4, &bits, sizeof bits);
    return;
  }
  uint16_t bits = (uint16_t)narrow(value, format == MXHAL_BF16 ? BF16 : F16);
  memcpy(row + column * 2, &bits, sizeof bits);
}

/* ---- 4. Devices -------------------------------------------------------------------------------------------------- */

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

/* Children may be destroyed after their device (R3), so those that still need it, allocations and weights, share in its
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

/* ---- 5. Memory, streams, events, copies -------------------------------------------------------------------------- */

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

/* ---- 6. Operators ------------------------------------------------------------------------------------------------ */

/* One function judges an operator, for op_supports and for plan_create, so that they cannot disagree:
 *
 *   MXHAL_OK                the operator makes sense; the answer says whether it is offered
 *   MXHAL_INVALID_ARGUMENT  it makes none: k is not a multiple of the block, say
 *   MXHAL_UNSUPPORTED       it holds a number that version 1.0 does not know (R8)
 */
static int32_t judge_quantize(const mxhal_op_quantize *op, mxhal_answer *answer, mxhal_error *error);
static int32_t judge_dequantize(const mxhal_op_dequantize *op, mxhal_answer *answer, mxhal_error *error);
static int32_t judge_matmul(const mxhal_op_matmul *op, mxhal_answer *answer, mxhal_error *error);
static int32_t no(mxhal_answer *answer, mxhal_reason reason, const char *format, ...) PRINTS(3, 4);

static int32_t judge(const mxhal_op *op, mxhal_answer *answer, mxhal_error *error) {
  static const char *const names[] = {
      [MXHAL_OP_QUANTIZE] = "quantize",    [MXHAL_OP_DEQUANTIZE] = "dequantize",
      [MXHAL_OP_MATMUL] = "matmul",        [MXHAL_OP_GROUPED_MATMUL] = "grouped-matmul",
      [MXHAL_OP_SWIGLU] = "swiglu",        [MXHAL_OP_ROUTE] = "route",
      [MXHAL_OP_PERMUTE] = "permute",      [MXHAL_OP_COMBINE] = "combine",
      [MXHAL_OP_MOE_FFN] = "moe-ffn",
  };
  static const size_t sizes[] = {
      [MXHAL_OP_QUANTIZE] = sizeof(mxhal_op_quantize),
      [MXHAL_OP_DEQUANTIZE] = sizeof(mxhal_op_dequantize),
      [MXHAL_OP_MATMUL] = sizeof(mxhal_op_matmul),
  };
  if (!HAS(op, mxhal_op, kind)) return too_short(error, "operator", op->struct_size, sizeof *op);
  if (op->kind == 0 || op->kind >= sizeof names / sizeof names[0]) {
    return fail(error, MXHAL_UNSUPPORTED, "operator kind %" PRIu32 " is not known to version 1.0", op->kind);
  }
  if (op->kind >= sizeof sizes / sizeof sizes[0]) {
    return no(answer, MXHAL_REASON_OPERATOR, "%s is not offered; this example has quantize, dequantize and matmul",
              names[op->kind]);
  }
  /* A host of a later version may have a longer operator. What it added is not ours to read. */
  if (op->struct_size < sizes[op->kind]) return too_short(error, names[op->kind], op->struct_size, sizes[op->kind]);

  /* The same bits from run to run, in any batch and with any number of threads: each output element is computed by one
   * loop over k, which knows nothing of the others. Not capturable: there is no graph. */
  answer->yes = 1;
  answer->reason = MXHAL_REASON_NONE;
  answer->flags = MXHAL_RUN_TO_RUN | MXHAL_BATCH_INVARIANT | MXHAL_THREAD_INVARIANT;
  switch (op->kind) {
    case MXHAL_OP_QUANTIZE: return judge_quantize((const mxhal_op_quantize *)(const void *)op, answer, error);
    case MXHAL_OP_DEQUANTIZE: return judge_dequantize((const mxhal_op_dequantize *)(const void *)op, answer, error);
    default: return judge_matmul((const mxhal_op_matmul *)(const void *)op, answer, error);
  }
}

static int32_t no(mxhal_answer *answer, mxhal_reason reason, const char *format, ...) {
  char text[1024];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  *answer = (mxhal_answer){.reason = reason};
  copy_text(answer->text, sizeof answer->text, text);
  return MXHAL_OK;
}

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

static bool is_plain_float(uint32_t format) {
  return format == MXHAL_F32 || format == MXHAL_BF16 || format == MXHAL_F16;
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

static int32_t judge_quantize(const mxhal_op_quantize *op, mxhal_answer *answer, mxhal_error *error) {
  const char *input = format_name(op->input_format), *to = format_name(op->to.format);
  if (input == NULL) return unknown_format(error, "input_format", op->input_format);
  if (to == NULL) return unknown_format(error, "to.format", op->to.format);
  if (op->to.scale_rule < MXHAL_SCALE_CEIL || op->to.scale_rule > MXHAL_SCALE_NEAREST) {
    return fail(error, MXHAL_UNSUPPORTED, "to.scale_rule is %" PRIu32 ", which is no rule of version 1.0",
                op->to.scale_rule);
  }
  if (!is_plain_float(op->input_format)) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "input_format is %s; it is f32, bf16 or f16", input);
  }
  if (op->to.format != MXHAL_MXFP4) {
    return no(answer, MXHAL_REASON_FORMAT, "quantize to %s is not offered; this example has mxfp4", to);
  }
  if (op->to.scale_rule == MXHAL_SCALE_NEAREST) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "scale rule nearest is nvfp4's; mxfp4 has ceil, floor and even");
  }
  if (!isfinite(op->to.amax_floor) || op->to.amax_floor < 0) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "to.amax_floor is %g; it is a finite number, 0 or more",
                (double)op->to.amax_floor);
  }
  int32_t status = judge_extent("rows", op->rows, 1, error);
  return status != MXHAL_OK ? status : judge_extent("k", op->k, BLOCK, error);
}

static int32_t judge_dequantize(const mxhal_op_dequantize *op, mxhal_answer *answer, mxhal_error *error) {
  const char *from = format_name(op->from_format), *output = format_name(op->output_format);
  if (from == NULL) return unknown_format(error, "from_format", op->from_format);
  if (output == NULL) return unknown_format(error, "output_format", op->output_format);
  if (!is_plain_float(op->output_format)) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "output_format is %s; it is f32, bf16 or f16", output);
  }
  if (op->from_format != MXHAL_MXFP4) {
    return no(answer, MXHAL_REASON_FORMAT, "dequantize from %s is not offered; this example has mxfp4", from);
  }
  int32_t status = judge_extent("rows", op->rows, 1, error);
  return status != MXHAL_OK ? status : judge_extent("k", op->k, BLOCK, error);
}

static int32_t judge_matmul(const mxhal_op_matmul *op, mxhal_answer *answer, mxhal_error *error) {
  const char *input = format_name(op->input_format), *weight = format_name(op->weight_format);
  const char *output = format_name(op->output_format), *activation = format_name(op->activation.format);
  if (input == NULL) return unknown_format(error, "input_format", op->input_format);
  if (weight == NULL) return unknown_format(error, "weight_format", op->weight_format);
  if (output == NULL) return unknown_format(error, "output_format", op->output_format);
  if (activation == NULL) return unknown_format(error, "activation.format", op->activation.format);
  if (op->input_format != MXHAL_BF16 && op->input_format != op->activation.format) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "input_format is %s; it is bf16, or %s as the activation", input,
                activation);
  }
  if (!is_plain_float(op->output_format)) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "output_format is %s; it is f32, bf16 or f16", output);
  }
  if (op->has_bias > 1) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "has_bias is %" PRIu32 "; it is 0 or 1", op->has_bias);
  }
  if (op->weight_format != MXHAL_MXFP4) {
    return no(answer, MXHAL_REASON_FORMAT, "weights in %s are not offered; this example has mxfp4", weight);
  }
  /* W4A8 gives other numbers than W4A16: it is another operator, and not approximated by this one. */
  if (op->activation.format != MXHAL_BF16) {
    return no(answer, MXHAL_REASON_FORMAT, "activations in %s are not offered; this example has bf16", activation);
  }
  int32_t status = judge_extent("m", op->m, 1, error);
  if (status == MXHAL_OK) status = judge_extent("n", op->n, 1, error);
  return status != MXHAL_OK ? status : judge_extent("k", op->k, BLOCK, error);
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

/* A plan is the operator, copied: loops like these have nothing to choose or to compile. It does not change (R7). */
struct mxhal_plan {
  uint32_t tag;
  union {
    mxhal_op any;
    mxhal_op_quantize quantize;
    mxhal_op_dequantize dequantize;
    mxhal_op_matmul matmul;
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

/* A run allocates nothing; what it needs is asked for here. Matmul widens one row of activations to double. */
static uint64_t workspace_of(const mxhal_plan *plan) {
  return plan->op.any.kind == MXHAL_OP_MATMUL ? (uint64_t)plan->op.matmul.k * sizeof(double) : 0;
}

static int32_t plan_info(const mxhal_plan *plan, mxhal_plan_info *info, mxhal_error *error) {
  if (!is(plan, PLAN)) return not_a(error, "plan", plan);
  if (info == NULL) return is_null(error, "info");
  mxhal_plan_info ours = {.workspace_bytes = workspace_of(plan), .kernel = "loop"};
  give(info, &ours, sizeof ours);
  return MXHAL_OK;
}

/* What a run was given. */
typedef struct arguments {
  const mxhal_tensor *const *tensors;
  uint32_t tensor_count;
  const mxhal_weights *const *weights;
  uint32_t weights_count;
  void *workspace;
} arguments;

static int32_t run_quantize(const mxhal_op_quantize *op, const arguments *given, mxhal_error *error);
static int32_t run_dequantize(const mxhal_op_dequantize *op, const arguments *given, mxhal_error *error);
static int32_t run_matmul(const mxhal_op_matmul *op, const arguments *given, mxhal_error *error);

static int32_t plan_run(const mxhal_plan *plan, mxhal_stream *stream, const mxhal_tensor *const *tensors,
                        uint32_t tensor_count, const mxhal_weights *const *weights, uint32_t weights_count,
                        void *workspace, uint64_t workspace_bytes, mxhal_error *error) {
  if (!is(plan, PLAN)) return not_a(error, "plan", plan);
  if (!is(stream, STREAM)) return not_a(error, "stream", stream);
  uint64_t wanted = workspace_of(plan);
  if (workspace_bytes < wanted || (wanted > 0 && workspace == NULL)) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "the workspace has %" PRIu64 " bytes at %p; plan_info asks for %" PRIu64,
                workspace_bytes, workspace, wanted);
  }
  if ((uintptr_t)workspace % sizeof(double) != 0 && wanted > 0) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "the workspace is at %p, not at a multiple of %d", workspace, ALIGNMENT);
  }
  const arguments given = {tensors, tensor_count, weights, weights_count, workspace};
  switch (plan->op.any.kind) {
    case MXHAL_OP_QUANTIZE: return run_quantize(&plan->op.quantize, &given, error);
    case MXHAL_OP_DEQUANTIZE: return run_dequantize(&plan->op.dequantize, &given, error);
    default: return run_matmul(&plan->op.matmul, &given, error);
  }
}

/* Rows of a tensor that was checked. */
typedef struct rows {
  uint8_t *data, *scales;
  int64_t count;
  int64_t row_bytes, row_scales; /* from one row to the next */
} rows;

static uint8_t *row_of(const rows *tensor, int64_t row) { return tensor->data + row * tensor->row_bytes; }

static uint8_t *scales_of(const rows *tensor, int64_t row) { return tensor->scales + row * tensor->row_scales; }

/* A tensor as an operator's table has it: [most or fewer rows, columns] in this format. Nothing is believed that
 * decides where memory is read or written. */
static int32_t take_rows(const arguments *given, uint32_t index, const char *name, uint32_t format, int64_t most,
                         int64_t columns, rows *taken, mxhal_error *error) {
  const mxhal_tensor *tensor = given->tensors[index];
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
  *taken = (rows){.data = tensor->data, .scales = tensor->scales, .count = count};
  if (count == 0) return MXHAL_OK; /* no memory is touched, whatever the addresses are */

  int64_t stride = count == 1 ? columns : tensor->stride[0]; /* a single row never steps */
  bool blocks = format == MXHAL_MXFP4;
  if ((columns > 1 && tensor->stride[1] != 1) || stride < columns || (blocks && stride != columns)) {
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "tensor %s has strides [%" PRId64 ", %" PRId64 "]; the second is 1, and the first %s %" PRId64, name,
                tensor->stride[0], tensor->stride[1], blocks ? "is" : "at least", columns);
  }
  /* In elements, and by division, so that no stride overflows. */
  uint64_t holds = blocks                  ? tensor->data_bytes / (BLOCK / 2) * BLOCK
                   : format == MXHAL_F32 ? tensor->data_bytes / 4
                                         : tensor->data_bytes / 2;
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
  taken->row_bytes = blocks ? columns / 2 : format == MXHAL_F32 ? stride * 4 : stride * 2;
  taken->row_scales = blocks ? columns / BLOCK : 0;
  return MXHAL_OK;
}

static int32_t expect_counts(const arguments *given, uint32_t tensors, uint32_t weights, mxhal_error *error) {
  if (given->tensor_count != tensors || given->tensors == NULL) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "%" PRIu32 " tensors were passed at %p; expected %" PRIu32,
                given->tensor_count, (const void *)given->tensors, tensors);
  }
  if (given->weights_count != weights || (weights > 0 && given->weights == NULL)) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "%" PRIu32 " weights were passed at %p; expected %" PRIu32,
                given->weights_count, (const void *)given->weights, weights);
  }
  return MXHAL_OK;
}

static int32_t expect_same_rows(const rows *input, const rows *output, mxhal_error *error) {
  if (input->count == output->count) return MXHAL_OK;
  return fail(error, MXHAL_INVALID_ARGUMENT, "the input has %" PRId64 " rows and the output %" PRId64, input->count,
              output->count);
}

static void quantize_block(const uint8_t *x, int64_t column, const mxhal_op_quantize *op, uint8_t *codes,
                           uint8_t *scale) {
  double values[BLOCK], amax = op->to.amax_floor;
  for (int i = 0; i < BLOCK; i++) {
    values[i] = load(x, column + i, op->input_format);
    double magnitude = signbit(values[i]) ? -values[i] : values[i];
    /* Written so that a NaN, which compares false, is kept, and once kept stays. */
    if (!(magnitude <= amax) && amax == amax) amax = magnitude;
  }
  *scale = scale_byte(amax, op->to.scale_rule);
  if (*scale == E8M0_NAN) {
    memset(codes, 0, BLOCK / 2);
    return;
  }
  double reciprocal = power_of_two(E8M0_BIAS - *scale);
  for (int i = 0; i < BLOCK; i += 2) {
    codes[i / 2] =
        (uint8_t)(e2m1_nearest(values[i] * reciprocal) | e2m1_nearest(values[i + 1] * reciprocal) << 4);
  }
}

static int32_t run_quantize(const mxhal_op_quantize *op, const arguments *given, mxhal_error *error) {
  rows x, y;
  int32_t status = expect_counts(given, 2, 0, error);
  if (status == MXHAL_OK) status = take_rows(given, 0, "x", op->input_format, op->rows, op->k, &x, error);
  if (status == MXHAL_OK) status = take_rows(given, 1, "y", MXHAL_MXFP4, op->rows, op->k, &y, error);
  if (status == MXHAL_OK) status = expect_same_rows(&x, &y, error);
  if (status != MXHAL_OK) return status;

  for (int64_t row = 0; row < x.count; row++) {
    for (int64_t block = 0; block < op->k / BLOCK; block++) {
      quantize_block(row_of(&x, row), block * BLOCK, op, row_of(&y, row) + block * (BLOCK / 2),
                     scales_of(&y, row) + block);
    }
  }
  return MXHAL_OK;
}

static int32_t run_dequantize(const mxhal_op_dequantize *op, const arguments *given, mxhal_error *error) {
  rows x, y;
  int32_t status = expect_counts(given, 2, 0, error);
  if (status == MXHAL_OK) status = take_rows(given, 0, "x", MXHAL_MXFP4, op->rows, op->k, &x, error);
  if (status == MXHAL_OK) status = take_rows(given, 1, "y", op->output_format, op->rows, op->k, &y, error);
  if (status == MXHAL_OK) status = expect_same_rows(&x, &y, error);
  if (status != MXHAL_OK) return status;

  for (int64_t row = 0; row < x.count; row++) {
    for (int64_t column = 0; column < op->k; column++) {
      double scale = e8m0(scales_of(&x, row)[column / BLOCK]);
      store(row_of(&y, row), column, op->output_format, mxfp4_value(e2m1_at(row_of(&x, row), column), scale));
    }
  }
  return MXHAL_OK;
}

/* Weights stay in canonical layout here; a backend with a layout of its own changes it in weights_prepare. */
struct mxhal_weights {
  uint32_t tag;
  mxhal_weights_desc desc;
  uint64_t bytes;
  uint8_t *codes;  /* [n, k / 2], an allocation that shares in the device */
  uint8_t *scales; /* [n, k / 32], within the same */
};

static int32_t take_weights(const mxhal_op_matmul *op, const mxhal_weights *weights, mxhal_error *error) {
  if (!is(weights, WEIGHTS)) return not_a(error, "weights", weights);
  if (weights->desc.n != op->n || weights->desc.k != op->k) { /* formats and groups: there is one of each */
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "the weights are [%" PRId64 ", %" PRId64 "], and the plan is for [%" PRId64 ", %" PRId64 "]",
                weights->desc.n, weights->desc.k, op->n, op->k);
  }
  return MXHAL_OK;
}

static int32_t take_bias(const mxhal_op_matmul *op, const mxhal_tensor *bias, mxhal_error *error) {
  if (!op->has_bias) {
    return bias == NULL ? MXHAL_OK : fail(error, MXHAL_INVALID_ARGUMENT, "a bias was passed, and has_bias is 0");
  }
  if (bias == NULL) return fail(error, MXHAL_INVALID_ARGUMENT, "tensor bias is missing, and has_bias is set");
  if (!HAS(bias, mxhal_tensor, factors_bytes)) return too_short(error, "bias", bias->struct_size, sizeof *bias);
  if (bias->format != MXHAL_F32 || bias->rank != 1 || bias->shape[0] != op->n || (op->n > 1 && bias->stride[0] != 1) ||
      bias->data == NULL || bias->data_bytes < (uint64_t)op->n * 4) {
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "tensor bias has format %" PRIu32 ", rank %" PRIu32 ", shape [%" PRId64 "] and %" PRIu64
                " bytes at %p; expected f32 and [%" PRId64 "]",
                bias->format, bias->rank, bias->shape[0], bias->data_bytes, bias->data, op->n);
  }
  return MXHAL_OK;
}

/* The products are exact in double, and so are their sums as long as their sizes lie within some 2^30; the rounding
 * that counts is that of `store`. */
static double dot(const double *a, const uint8_t *codes, const uint8_t *scales, int64_t k) {
  double sum = 0;
  for (int64_t column = 0; column < k; column++) {
    sum += a[column] * mxfp4_value(e2m1_at(codes, column), e8m0(scales[column / BLOCK]));
  }
  return sum;
}

static int32_t run_matmul(const mxhal_op_matmul *op, const arguments *given, mxhal_error *error) {
  rows a, y;
  int32_t status = expect_counts(given, 3, 1, error);
  if (status == MXHAL_OK) status = take_rows(given, 0, "a", MXHAL_BF16, op->m, op->k, &a, error);
  if (status == MXHAL_OK) status = take_bias(op, given->tensors[1], error);
  if (status == MXHAL_OK) status = take_rows(given, 2, "y", op->output_format, op->m, op->n, &y, error);
  if (status == MXHAL_OK) status = expect_same_rows(&a, &y, error);
  if (status == MXHAL_OK) status = take_weights(op, given->weights[0], error);
  if (status != MXHAL_OK) return status;

  const mxhal_weights *w = given->weights[0];
  const uint8_t *bias = op->has_bias ? given->tensors[1]->data : NULL;
  double *widened = given->workspace;
  for (int64_t row = 0; row < a.count; row++) {
    for (int64_t column = 0; column < op->k; column++) {
      widened[column] = load(row_of(&a, row), column, MXHAL_BF16);
    }
    for (int64_t n = 0; n < op->n; n++) {
      double sum = dot(widened, w->codes + n * (op->k / 2), w->scales + n * (op->k / BLOCK), op->k);
      if (bias != NULL) sum += load(bias, n, MXHAL_F32);
      store(row_of(&y, row), n, op->output_format, sum);
    }
  }
  return MXHAL_OK;
}

/* ---- 7. Weights -------------------------------------------------------------------------------------------------- */

/* A part or an export: a contiguous host tensor in MXFP4 of so many dimensions, the last of which is k. */
static int32_t check_host_tensor(const mxhal_tensor *tensor, uint32_t index, uint32_t rank, int64_t k, int64_t *count,
                                 mxhal_error *error) {
  if (tensor == NULL) return fail(error, MXHAL_INVALID_ARGUMENT, "host tensor %" PRIu32 " is null", index);
  if (!HAS(tensor, mxhal_tensor, factors_bytes)) {
    return too_short(error, "host tensor", tensor->struct_size, sizeof *tensor);
  }
  if (tensor->format != MXHAL_MXFP4 || tensor->rank != rank || tensor->shape[rank - 1] != k) {
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "host tensor %" PRIu32 " has format %" PRIu32 " and rank %" PRIu32
                "; expected mxfp4, rank %" PRIu32 " and %" PRId64 " columns",
                index, tensor->format, tensor->rank, rank, k);
  }
  int64_t dense = 1, all = 1;
  for (uint32_t d = rank; d-- > 0;) {
    int64_t extent = tensor->shape[d];
    if (extent < 0 || extent > INT32_MAX || (extent > 1 && tensor->stride[d] != dense)) {
      return fail(error, MXHAL_INVALID_ARGUMENT,
                  "host tensor %" PRIu32 " has extent %" PRId64 " and stride %" PRId64 " in dimension %" PRIu32
                  "; host tensors have no gaps: the stride is %" PRId64,
                  index, extent, tensor->stride[d], d, dense);
    }
    if (extent > 1 && all > INT64_MAX / extent) {
      return fail(error, MXHAL_INVALID_ARGUMENT, "host tensor %" PRIu32 " is larger than memory can be", index);
    }
    dense *= extent > 1 ? extent : 1;
    all *= extent;
  }
  *count = all / k;
  uint64_t codes = (uint64_t)(all / 2), scales = (uint64_t)(all / BLOCK);
  if (tensor->data_bytes < codes || tensor->scales_bytes < scales ||
      (all > 0 && (tensor->data == NULL || tensor->scales == NULL))) {
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "host tensor %" PRIu32 " has %" PRIu64 " bytes of data at %p and %" PRIu64
                " scales at %p; expected %" PRIu64 " and %" PRIu64,
                index, tensor->data_bytes, tensor->data, tensor->scales_bytes, tensor->scales, codes, scales);
  }
  return MXHAL_OK;
}

static int32_t check_desc(const mxhal_weights_desc *desc, mxhal_error *error) {
  const char *format = format_name(desc->format), *activation = format_name(desc->activation_format);
  if (format == NULL) return unknown_format(error, "format", desc->format);
  if (activation == NULL) return unknown_format(error, "activation_format", desc->activation_format);
  if (desc->format != MXHAL_MXFP4 || desc->activation_format != MXHAL_BF16) {
    return refuse(error, MXHAL_REASON_FORMAT,
                  "weights in %s for activations in %s are taken by no operator here; matmul has mxfp4 and bf16",
                  format, activation);
  }
  int32_t status = judge_extent("groups", desc->groups, 1, error);
  if (status == MXHAL_OK) status = judge_extent("n", desc->n, 1, error);
  if (status == MXHAL_OK) status = judge_extent("k", desc->k, BLOCK, error);
  if (status == MXHAL_OK && desc->groups != 1) {
    return refuse(error, MXHAL_REASON_OPERATOR,
                  "weights of %" PRId64 " groups are taken by no operator here: grouped-matmul is not offered",
                  desc->groups);
  }
  return status;
}

static int32_t weights_prepare(mxhal_device *device, const mxhal_weights_desc *desc, const mxhal_tensor *const *parts,
                               uint32_t part_count, mxhal_weights **weights, mxhal_error *error) {
  if (!is(device, DEVICE)) return not_a(error, "device", device);
  if (desc == NULL) return is_null(error, "desc");
  if (weights == NULL) return is_null(error, "weights");
  if (!HAS(desc, mxhal_weights_desc, k)) return too_short(error, "description", desc->struct_size, sizeof *desc);
  int32_t status = check_desc(desc, error);
  if (status != MXHAL_OK) return status;

  /* There is one group, so all parts are of one stack: their rows follow each other (gate over up). */
  if (parts == NULL || part_count == 0) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "no parts were given; they are matrices [n_i, k] in host memory");
  }
  int64_t n = 0;
  for (uint32_t i = 0; i < part_count; i++) {
    int64_t count = 0;
    status = check_host_tensor(parts[i], i, 2, desc->k, &count, error);
    if (status != MXHAL_OK) return status;
    n += count; /* 2^32 parts of 2^31 rows do not overflow 64 bits */
  }
  if (n != desc->n) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "the parts stack to %" PRId64 " rows, and n is %" PRId64, n, desc->n);
  }

  uint64_t codes = (uint64_t)n * (uint64_t)desc->k / 2, scales = (uint64_t)n * (uint64_t)desc->k / BLOCK;
  mxhal_weights *made = malloc(sizeof *made);
  if (made == NULL) return fail(error, MXHAL_OUT_OF_MEMORY, "no %zu bytes for weights", sizeof *made);
  void *memory;
  status = allocate(device, codes + scales, &memory, error);
  if (status != MXHAL_OK) {
    free(made);
    return status;
  }
  *made = (mxhal_weights){WEIGHTS, *desc, codes + scales + sizeof *made, memory, (uint8_t *)memory + codes};
  made->desc.struct_size = sizeof made->desc;
  uint8_t *next_codes = made->codes, *next_scales = made->scales;
  for (uint32_t i = 0; i < part_count; i++) {
    size_t blocks = (size_t)(parts[i]->shape[0] * (desc->k / BLOCK));
    if (blocks == 0) continue;
    memcpy(next_codes, parts[i]->data, blocks * (BLOCK / 2));
    memcpy(next_scales, parts[i]->scales, blocks);
    next_codes += blocks * (BLOCK / 2);
    next_scales += blocks;
  }
  *weights = made;
  return MXHAL_OK;
}

static int32_t weights_export(const mxhal_weights *weights, const mxhal_tensor *to, mxhal_error *error) {
  if (!is(weights, WEIGHTS)) return not_a(error, "weights", weights);
  int64_t n = 0;
  int32_t status = check_host_tensor(to, 0, 3, weights->desc.k, &n, error);
  if (status != MXHAL_OK) return status;
  if (to->shape[0] != weights->desc.groups || n != weights->desc.n) {
    return fail(error, MXHAL_INVALID_ARGUMENT,
                "`to` is [%" PRId64 ", %" PRId64 ", k], and the weights are [%" PRId64 ", %" PRId64 ", k]",
                to->shape[0], to->shape[1], weights->desc.groups, weights->desc.n);
  }
  size_t blocks = (size_t)(n * (weights->desc.k / BLOCK));
  memcpy(to->data, weights->codes, blocks * (BLOCK / 2));
  memcpy(to->scales, weights->scales, blocks);
  return MXHAL_OK;
}

static int32_t weights_info(const mxhal_weights *weights, mxhal_weights_info *info, mxhal_error *error) {
  if (!is(weights, WEIGHTS)) return not_a(error, "weights", weights);
  if (info == NULL) return is_null(error, "info");
  mxhal_weights_info ours = {.bytes = weights->bytes, .desc = weights->desc};
  give(info, &ours, sizeof ours);
  return MXHAL_OK;
}

static int32_t weights_destroy(mxhal_weights *weights, mxhal_error *error) {
  if (weights == NULL) return MXHAL_OK;
  if (!is(weights, WEIGHTS)) return not_a(error, "weights", weights);
  int32_t status = release(weights->codes, error);
  weights->tag = DEAD;
  free(weights);
  return status;
}

/* ---- 8. The table ------------------------------------------------------------------------------------------------ */

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
  say(MXHAL_LOG_DEBUG, "opened; this backend is meant to be read, and not to be fast");
  return MXHAL_OK;
}
