/* A plugin without devices, and with one fault for each macro that is defined. */
#define MXHAL_BUILDING_PLUGIN
#include <mxhal.h>

#include <stdio.h>
#include <string.h>

#ifndef MAGIC
#define MAGIC MXHAL_IDENTITY_MAGIC
#endif
#ifndef MAJOR
#define MAJOR MXHAL_ABI_MAJOR
#endif
#ifndef MINOR_LEAST
#define MINOR_LEAST MXHAL_ABI_MINOR
#endif
#ifndef MINOR_BUILT
#define MINOR_BUILT MXHAL_ABI_MINOR
#endif
#ifndef LAYOUT
#define LAYOUT MXHAL_LAYOUT_HASH
#endif
#ifndef SANITIZER
#define SANITIZER MXHAL_SANITIZER_NONE
#endif
#ifndef FLAGS
#define FLAGS 0
#endif
#ifndef NAME
#define NAME "tiny"
#endif

#ifdef MARK
/* Leaves a trace where any code of this library ran. */
__attribute__((constructor)) static void mark(void) {
  FILE *file = fopen(MARK, "w");
  if (file != NULL) fclose(file);
}
#endif

#ifdef NEEDS
extern int NEEDS(void);
int uses_another_library(void) { return NEEDS(); }
#endif

#ifndef NO_IDENTITY
const mxhal_plugin_identity mxhal_identity = {
    .magic = MAGIC,
    .struct_size = sizeof(mxhal_plugin_identity),
    .abi_major = MAJOR,
    .abi_minor_least = MINOR_LEAST,
    .abi_minor_built = MINOR_BUILT,
    .layout_hash = LAYOUT,
    .sanitizer = SANITIZER,
    .flags = FLAGS,
    .name = NAME,
    .vendor = "the tests of mxhal-ffi",
    .version = "1.2.3",
};
#endif

static mxhal_host host_table;

static int32_t fail(mxhal_error *error, int32_t status, const char *message) {
  if (error != NULL && error->struct_size >= sizeof(mxhal_error)) {
    error->status = status;
    error->vendor_code = 0;
    snprintf(error->message, sizeof(error->message), "%s", message);
  }
  return status;
}

static void say(int32_t level, const char *message) {
  if (host_table.log != NULL) host_table.log(host_table.context, level, "tiny", message);
}

static int32_t tiny_shutdown(void *self, mxhal_error *error) {
  (void)self, (void)error;
  say(MXHAL_LOG_INFO, "shut down");
  return MXHAL_OK;
}

static int32_t tiny_device_count(void *self, uint32_t *count, mxhal_error *error) {
  (void)self, (void)error;
#ifdef UNKNOWN_STATUS
  return fail(error, 77, "something new");
#else
  *count = 1;
  return MXHAL_OK;
#endif
}

static int32_t tiny_device_open(void *self, uint32_t index, mxhal_device **device, mxhal_error *error) {
  (void)self, (void)index, (void)device, (void)error;
#ifdef NULL_HANDLE
  return MXHAL_OK;
#else
  return fail(error, MXHAL_UNAVAILABLE, "no driver was found; tried libtiny.so.1, libtiny.so");
#endif
}

/* What no test calls, because no device opens: it has the right type and refuses. */
#define REFUSES(name, ...) \
  static int32_t tiny_##name(__VA_ARGS__, mxhal_error *error) { return fail(error, MXHAL_UNSUPPORTED, #name); }
#define DEVICE mxhal_device *device
#define STREAM mxhal_stream *stream
#define EVENT mxhal_event *event
#define COPY mxhal_stream *stream, void *to, const void *from, uint64_t bytes
REFUSES(device_close, DEVICE)
REFUSES(device_info, DEVICE, mxhal_device_info *info)
REFUSES(memory_alloc, DEVICE, uint64_t bytes, void **address)
REFUSES(memory_free, DEVICE, void *address)
REFUSES(memory_info, DEVICE, uint64_t *free_bytes, uint64_t *total_bytes)
REFUSES(memory_host_alloc, DEVICE, uint64_t bytes, void **address)
REFUSES(memory_host_free, DEVICE, void *address)
REFUSES(stream_create, DEVICE, mxhal_stream **stream)
REFUSES(stream_destroy, STREAM)
REFUSES(stream_synchronize, STREAM, uint64_t timeout_ns)
REFUSES(event_create, DEVICE, mxhal_event **event)
REFUSES(event_destroy, EVENT)
REFUSES(event_record, EVENT, STREAM)
REFUSES(event_wait, EVENT, STREAM)
REFUSES(event_synchronize, EVENT, uint64_t timeout_ns)
REFUSES(event_elapsed, EVENT, mxhal_event *to, double *seconds)
REFUSES(copy_to_device, COPY)
REFUSES(copy_to_host, COPY)
REFUSES(copy_on_device, COPY)
REFUSES(fill, STREAM, void *to, uint8_t value, uint64_t bytes)
REFUSES(op_supports, DEVICE, const mxhal_op *op, mxhal_answer *answer)
REFUSES(plan_create, DEVICE, const mxhal_op *op, mxhal_plan **plan)
REFUSES(plan_info, const mxhal_plan *plan, mxhal_plan_info *info)
REFUSES(plan_run, const mxhal_plan *plan, STREAM, const mxhal_tensor *const *tensors, uint32_t tensor_count,
        const mxhal_weights *const *weights, uint32_t weights_count, void *workspace, uint64_t workspace_bytes)
REFUSES(plan_destroy, mxhal_plan *plan)
REFUSES(weights_prepare, DEVICE, const mxhal_weights_desc *desc, const mxhal_tensor *const *parts, uint32_t part_count,
        mxhal_weights **weights)
REFUSES(weights_export, const mxhal_weights *weights, const mxhal_tensor *to)
REFUSES(weights_info, const mxhal_weights *weights, mxhal_weights_info *info)
REFUSES(weights_destroy, mxhal_weights *weights)

#ifndef NO_OPEN
int32_t mxhal_plugin_open(const mxhal_host *host, mxhal_plugin *plugin, mxhal_error *error) {
  host_table = *host;
#ifdef FAILS
  return fail(error, MXHAL_UNAVAILABLE, "libtiny-driver.so is not installed");
#endif
  for (size_t i = 0; host->option_keys != NULL && host->option_keys[i] != NULL; i++) {
    char text[128];
    snprintf(text, sizeof(text), "%s=%s", host->option_keys[i], host->option_values[i]);
    say(MXHAL_LOG_DEBUG, text);
  }
  uint32_t size = plugin->struct_size < sizeof(mxhal_plugin) ? plugin->struct_size : sizeof(mxhal_plugin);
#ifdef SHORT_TABLE
  size = offsetof(mxhal_plugin, weights_prepare);
#endif
  mxhal_plugin table = {
      .struct_size = size,
      .abi_minor = MXHAL_ABI_MINOR,
      .shutdown = tiny_shutdown,
      .device_count = tiny_device_count,
      .device_open = tiny_device_open,
      .device_close = tiny_device_close,
      .device_info = tiny_device_info,
      .memory_alloc = tiny_memory_alloc,
      .memory_free = tiny_memory_free,
      .memory_info = tiny_memory_info,
      .memory_host_alloc = tiny_memory_host_alloc,
      .memory_host_free = tiny_memory_host_free,
      .stream_create = tiny_stream_create,
      .stream_destroy = tiny_stream_destroy,
      .stream_synchronize = tiny_stream_synchronize,
      .event_create = tiny_event_create,
      .event_destroy = tiny_event_destroy,
      .event_record = tiny_event_record,
      .event_wait = tiny_event_wait,
      .event_synchronize = tiny_event_synchronize,
      .event_elapsed = tiny_event_elapsed,
      .copy_to_device = tiny_copy_to_device,
      .copy_to_host = tiny_copy_to_host,
      .copy_on_device = tiny_copy_on_device,
#ifndef NULL_FUNCTION
      .fill = tiny_fill,
#endif
      .op_supports = tiny_op_supports,
      .plan_create = tiny_plan_create,
      .plan_info = tiny_plan_info,
      .plan_run = tiny_plan_run,
      .plan_destroy = tiny_plan_destroy,
      .weights_prepare = tiny_weights_prepare,
      .weights_export = tiny_weights_export,
      .weights_info = tiny_weights_info,
      .weights_destroy = tiny_weights_destroy,
  };
  memcpy(plugin, &table, size);
  say(MXHAL_LOG_INFO, "open");
  return MXHAL_OK;
}
#endif
