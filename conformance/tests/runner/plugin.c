/* The example plugin with a fault, chosen by the option "fault": what a runner must survive. */

#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define mxhal_plugin_open example_open
#include "../../../examples/c-plugin/mxhal_c.c"
#undef mxhal_plugin_open

static char fault[32];
static char marker[512];
static mxhal_plugin example;

static int is_fault(const char *name) { return strcmp(fault, name) == 0; }

static void hang(void) {
  /* Whoever wants to know which process it is has named a file. */
  FILE *file = marker[0] ? fopen(marker, "w") : NULL;
  if (file != NULL) {
    fprintf(file, "%ld\n", (long)getpid());
    fclose(file);
  }
  for (;;) pause();
}

/* In throws.cpp. */
void throw_across(void);

static void crash(void) {
  /* As a store through null, which compilers know better than to make. The host's runtime may have a handler. */
  signal(SIGSEGV, SIG_DFL);
  raise(SIGSEGV);
}

/* ---- what takes the process down, or tries to -------------------------------------------------------------------- */

static int32_t faulty_elapsed(mxhal_event *from, mxhal_event *to, double *seconds, mxhal_error *error) {
  if (is_fault("segv") || is_fault("loads-once")) crash();
  if (is_fault("exit")) exit(7);
  if (is_fault("hang")) hang();
  if (is_fault("throw")) throw_across();
  if (is_fault("abort")) {
    fprintf(stderr, "assertion failed: the plugin's last words\n");
    abort();
  }
  if (is_fault("lost")) return fail(error, MXHAL_DEVICE_LOST, "the device fell off the bus");
  if (is_fault("leave-a-child")) {
    if (fork() == 0) hang();
    _exit(3);
  }
  return example.event_elapsed(from, to, seconds, error);
}

static int32_t faulty_count(void *self, uint32_t *count, mxhal_error *error) {
  if (!is_fault("no-device")) return example.device_count(self, count, error);
  if (count == NULL) return fail(error, MXHAL_INVALID_ARGUMENT, "count is null");
  *count = 0;
  return MXHAL_OK;
}

static int32_t faulty_shutdown(void *self, mxhal_error *error) {
  if (is_fault("crash-in-shutdown")) crash();
  if (is_fault("hang-in-shutdown")) hang();
  return example.shutdown(self, error);
}

static int32_t faulty_host_alloc(mxhal_device *device, uint64_t bytes, void **address, mxhal_error *error) {
  /* Buffered, as stdout is a pipe: it is seen when the process exits. */
  if (is_fault("print")) printf("allocating %llu bytes\n", (unsigned long long)bytes);
  return example.memory_host_alloc(device, bytes, address, error);
}

/* ---- broken rules, each of which a case of the suites `abi` and `support` must see --------------------------------- */

static int32_t faulty_device_open(void *self, uint32_t index, mxhal_device **device, mxhal_error *error) {
  return example.device_open(self, is_fault("index-ignored") ? 0 : index, device, error);
}

static int32_t faulty_info(mxhal_device *device, mxhal_device_info *info, mxhal_error *error) {
  mxhal_device_info whole = {.struct_size = sizeof whole};
  if (is_fault("result-overrun") && device != NULL && info != NULL) {
    int32_t status = example.device_info(device, &whole, error);
    whole.struct_size = info->struct_size;
    *info = whole;
    return status;
  }
  int32_t status = example.device_info(device, info, error);
  if (status != MXHAL_OK && error != NULL) {
    if (is_fault("error-overrun")) strcpy(error->message, "a message where there is no room for one");
    if (is_fault("error-empty") && error->struct_size >= sizeof *error) error->message[0] = 0;
    if (is_fault("error-endless") && error->struct_size >= sizeof *error) memset(error->message, 'x', 496);
    if (is_fault("error-of-another-status")) error->status = MXHAL_INTERNAL;
  }
  return status;
}

static int32_t faulty_alloc(mxhal_device *device, uint64_t bytes, void **address, mxhal_error *error) {
  if (is_fault("error-on-success") && device != NULL && error != NULL) error->status = 0;
  int32_t status = example.memory_alloc(device, is_fault("misaligned") ? bytes + 8 : bytes, address, error);
  if (is_fault("misaligned") && status == MXHAL_OK) *address = (char *)*address + 8;
  return status;
}

static int32_t faulty_free(mxhal_device *device, void *address, mxhal_error *error) {
  if (is_fault("misaligned") && address != NULL) address = (char *)address - 8;
  return example.memory_free(device, address, error);
}

static int32_t faulty_record(mxhal_event *event, mxhal_stream *stream, mxhal_error *error) {
  if (is_fault("null-accepted") && (event == NULL || stream == NULL)) return MXHAL_OK;
  return example.event_record(event, stream, error);
}

static int32_t faulty_destroy(mxhal_plan *plan, mxhal_error *error) {
  if (is_fault("null-not-destroyed") && plan == NULL) return fail(error, MXHAL_INVALID_ARGUMENT, "plan is null");
  return example.plan_destroy(plan, error);
}

static int32_t faulty_copy(mxhal_stream *stream, void *to, const void *from, uint64_t bytes, mxhal_error *error) {
  if (is_fault("copy-in-words")) bytes &= ~UINT64_C(3);
  return example.copy_on_device(stream, to, from, bytes, error);
}

static int32_t faulty_fill(mxhal_stream *stream, void *to, uint8_t value, uint64_t bytes, mxhal_error *error) {
  if (is_fault("zero-bytes-refused") && bytes == 0) return fail(error, MXHAL_INVALID_ARGUMENT, "nothing to fill");
  return example.fill(stream, to, is_fault("fill-signed") ? value & 0x7f : value, bytes, error);
}

static uint32_t size_of_op(const mxhal_op *op) {
  switch (op->kind) {
    case MXHAL_OP_QUANTIZE: return sizeof(mxhal_op_quantize);
    case MXHAL_OP_DEQUANTIZE: return sizeof(mxhal_op_dequantize);
    case MXHAL_OP_MATMUL: return sizeof(mxhal_op_matmul);
    default: return op->struct_size;
  }
}

static int32_t faulty_supports(mxhal_device *device, const mxhal_op *op, mxhal_answer *answer, mxhal_error *error) {
  static unsigned asked;
  if (is_fault("size-must-be-equal") && device && op && op->struct_size > size_of_op(op)) {
    return fail(error, MXHAL_INVALID_ARGUMENT, "struct_size is %u", op->struct_size);
  }
  int32_t status = example.op_supports(device, op, answer, error);
  if (status != MXHAL_OK) return status;
  if (is_fault("always-yes")) answer->yes = 1;
  if (is_fault("no-without-words")) answer->text[0] = 0;
  if (is_fault("changes-its-mind")) answer->flags = asked++ % 2 ? MXHAL_RUN_TO_RUN : 0;
  if (is_fault("no-and-a-plan") && op->kind == MXHAL_OP_QUANTIZE) {
    answer->yes = 0;
    answer->reason = MXHAL_REASON_OTHER;
    strcpy(answer->text, "not today");
  }
  return status;
}

static int32_t faulty_create(mxhal_device *device, const mxhal_op *op, mxhal_plan **plan, mxhal_error *error) {
  int32_t status = example.plan_create(device, op, plan, error);
  if (status == MXHAL_UNSUPPORTED && error != NULL && error->struct_size >= sizeof *error) {
    if (is_fault("unknown-value-unnamed")) strcpy(error->message, "what is this?");
    if (is_fault("other-words")) strcpy(error->message, "no");
    if (is_fault("other-reason")) error->vendor_code = 0;
  }
  if (status == MXHAL_UNSUPPORTED && is_fault("other-status")) return fail(error, MXHAL_INTERNAL, "no such kernel");
  return status;
}

static int32_t faulty_run(const mxhal_plan *plan, mxhal_stream *stream, const mxhal_tensor *const *tensors,
                          uint32_t tensor_count, const mxhal_weights *const *weights, uint32_t weights_count,
                          void *workspace, uint64_t workspace_bytes, mxhal_error *error) {
  mxhal_tensor trusted[8];
  const mxhal_tensor *passed[8] = {NULL};
  if (is_fault("yes-and-no-run")) return fail(error, MXHAL_INTERNAL, "the kernel was not found");
  if (!is_fault("bytes-not-checked") || tensors == NULL || tensor_count > 8) {
    return example.plan_run(plan, stream, tensors, tensor_count, weights, weights_count, workspace, workspace_bytes,
                            error);
  }
  for (uint32_t i = 0; i < tensor_count; i++) {
    if (tensors[i] == NULL) continue;
    trusted[i] = *tensors[i];
    trusted[i].data_bytes = UINT32_MAX;
    passed[i] = &trusted[i];
  }
  return example.plan_run(plan, stream, passed, tensor_count, weights, weights_count, workspace, workspace_bytes, error);
}

static const void *faulty_extension(void *self, const char *name) {
  (void)self;
  (void)name;
  return is_fault("every-extension") ? fault : NULL;
}

/* ---- the plugin --------------------------------------------------------------------------------------------------- */

MXHAL_EXPORT int32_t mxhal_plugin_open(const mxhal_host *host, mxhal_plugin *plugin, mxhal_error *error);

int32_t mxhal_plugin_open(const mxhal_host *host, mxhal_plugin *plugin, mxhal_error *error) {
  mxhal_host plain = {.struct_size = host->struct_size < sizeof plain ? host->struct_size : sizeof plain};
  memcpy((char *)&plain + 4, (const char *)host + 4, plain.struct_size - 4);
  for (size_t i = 0; plain.option_values != NULL && plain.option_keys[i] != NULL; i++) {
    if (strcmp(plain.option_keys[i], "fault") == 0) snprintf(fault, sizeof fault, "%s", plain.option_values[i]);
    if (strcmp(plain.option_keys[i], "marker") == 0) snprintf(marker, sizeof marker, "%s", plain.option_values[i]);
  }
  /* The example knows neither option. */
  plain.option_keys = plain.option_values = NULL;
  if (is_fault("crash-in-open")) crash();
  if (is_fault("hang-in-open")) hang();
  if (is_fault("refuse-to-open")) return fail(error, MXHAL_UNAVAILABLE, "tried libchip.so.2 and libchip.so.1");
  if (is_fault("loads-once")) {
    if (access(marker, F_OK) == 0) return fail(error, MXHAL_UNAVAILABLE, "once is enough");
    FILE *file = fopen(marker, "w");
    if (file != NULL) fclose(file);
  }
  int32_t status = example_open(&plain, plugin, error);
  if (status != MXHAL_OK || plugin->struct_size < sizeof *plugin) return status;
  example = *plugin;
  plugin->event_elapsed = faulty_elapsed;
  plugin->device_count = faulty_count;
  plugin->shutdown = faulty_shutdown;
  plugin->memory_host_alloc = faulty_host_alloc;
  plugin->device_open = faulty_device_open;
  plugin->device_info = faulty_info;
  plugin->memory_alloc = faulty_alloc;
  plugin->memory_free = faulty_free;
  plugin->event_record = faulty_record;
  plugin->plan_destroy = faulty_destroy;
  plugin->copy_on_device = faulty_copy;
  plugin->fill = faulty_fill;
  plugin->op_supports = faulty_supports;
  plugin->plan_create = faulty_create;
  plugin->plan_run = faulty_run;
  plugin->extension = faulty_extension;
  return MXHAL_OK;
}
