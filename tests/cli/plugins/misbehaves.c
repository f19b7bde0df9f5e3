/* The tiny plugin of mxhal-ffi's tests, which does something in its mxhal_plugin_open that no plugin may. */
#define mxhal_plugin_open tiny_open
#include "tiny.c"
#undef mxhal_plugin_open

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef IN_SHUTDOWN
static int32_t bad_shutdown(void *self, mxhal_error *error) {
  (void)self, (void)error;
  IN_SHUTDOWN;
  return MXHAL_OK;
}
#endif

#ifdef IN_DEVICE_COUNT
static int32_t bad_device_count(void *self, uint32_t *count, mxhal_error *error) {
  (void)self, (void)error;
  *count = 0;
  IN_DEVICE_COUNT;
  return MXHAL_OK;
}
#endif

__attribute__((visibility("default"))) int32_t mxhal_plugin_open(const mxhal_host *host, mxhal_plugin *plugin,
                                                                 mxhal_error *error) {
#ifdef IN_OPEN
  IN_OPEN;
#endif
  int32_t status = tiny_open(host, plugin, error);
#ifdef IN_SHUTDOWN
  plugin->shutdown = bad_shutdown;
#endif
#ifdef IN_DEVICE_COUNT
  plugin->device_count = bad_device_count;
#endif
  return status;
}
