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
  for (;;) pause();
}

static void crash(void) {
  /* As a store through null, which compilers know better than to make. The host's runtime may have a handler. */
  signal(SIGSEGV, SIG_DFL);
  raise(SIGSEGV);
}

static int32_t faulty_elapsed(mxhal_event *from, mxhal_event *to, double *seconds, mxhal_error *error) {
  if (is_fault("segv") || is_fault("loads-once")) crash();
  if (is_fault("exit")) exit(7);
  if (is_fault("hang")) hang();
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

MXHAL_EXPORT int32_t mxhal_plugin_open(const mxhal_host *host, mxhal_plugin *plugin, mxhal_error *error);

int32_t mxhal_plugin_open(const mxhal_host *host, mxhal_plugin *plugin, mxhal_error *error) {
  mxhal_host plain = *host;
  for (size_t i = 0; host->option_keys != NULL && host->option_keys[i] != NULL; i++) {
    if (strcmp(host->option_keys[i], "fault") == 0) snprintf(fault, sizeof fault, "%s", host->option_values[i]);
    if (strcmp(host->option_keys[i], "marker") == 0) snprintf(marker, sizeof marker, "%s", host->option_values[i]);
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
  if (status != MXHAL_OK) return status;
  example = *plugin;
  plugin->event_elapsed = faulty_elapsed;
  plugin->device_count = faulty_count;
  plugin->shutdown = faulty_shutdown;
  plugin->memory_host_alloc = faulty_host_alloc;
  return MXHAL_OK;
}
