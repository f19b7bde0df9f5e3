/* A runtime with a log, and nothing behind it: device memory is memory of the host, and work is done at once.
 *
 * One library with all of it stands under each of CANN's names. What must be so is checked: a call that needs a
 * context on a thread without one fails, an executor that runs twice fails.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mxhal_cann.h"

static char log_text[1 << 16];
static _Thread_local char message[256];
static _Thread_local const char *pending;
static _Thread_local void *current;
static int initialised;
static int default_context;

void fake_log(const char *format, ...)
{
    size_t used = strlen(log_text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(log_text + used, sizeof log_text - used, format, arguments);
    va_end(arguments);
}

const char *fake_text(void) { return log_text; }
void fake_clear(void) { log_text[0] = 0; }

static int fail(int code, const char *text)
{
    snprintf(message, sizeof message, "%s", text);
    pending = message;
    return code;
}

#define NEED_CONTEXT \
    if (current == NULL) return fail(107002, "fake: no current context")

const char *aclGetRecentErrMsg(void)
{
    const char *text = pending;
    pending = NULL;
    return text;
}

aclError aclInit(const char *path)
{
    (void)path;
    if (initialised) return fail(100002, "fake: again");
    initialised = 1;
    fake_log("init\n");
    return 0;
}

aclError aclrtGetDeviceCount(uint32_t *count) { *count = 1; return 0; }
const char *aclrtGetSocName(void) { return "Ascend950PR_9599"; }

aclError aclrtSetDevice(int32_t device)
{
    if (device != 0) return fail(107001, "fake: there is device 0 only");
    current = &default_context;
    fake_log("set device\n");
    return 0;
}

aclError aclrtResetDevice(int32_t device) { (void)device; fake_log("reset device\n"); return 0; }
aclError aclrtSetCurrentContext(aclrtContext context) { current = context; fake_log("set context\n"); return 0; }

aclError aclrtGetCurrentContext(aclrtContext *context)
{
    NEED_CONTEXT;
    *context = current;
    return 0;
}

aclError aclrtCreateStream(aclrtStream *stream) { NEED_CONTEXT; *stream = malloc(1); fake_log("stream\n"); return 0; }
aclError aclrtDestroyStream(aclrtStream stream) { NEED_CONTEXT; free(stream); fake_log("~stream\n"); return 0; }
aclError aclrtSynchronizeStream(aclrtStream stream) { NEED_CONTEXT; (void)stream; fake_log("synchronize\n"); return 0; }
aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) { (void)stream; (void)event; return 0; }
aclError aclrtCreateEvent(aclrtEvent *event) { NEED_CONTEXT; *event = malloc(1); fake_log("event\n"); return 0; }
aclError aclrtDestroyEvent(aclrtEvent event) { NEED_CONTEXT; free(event); fake_log("~event\n"); return 0; }
aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) { (void)event; (void)stream; return 0; }
aclError aclrtSynchronizeEvent(aclrtEvent event) { (void)event; return 0; }

#ifndef WITHOUT_MALLOC
aclError aclrtMalloc(void **pointer, size_t size, aclrtMemMallocPolicy policy)
{
    (void)policy;
    NEED_CONTEXT;
    if (size > (size_t)1 << 30) return fail(207001, "fake: at most a GiB");
    *pointer = aligned_alloc(64, (size + 63) / 64 * 64);
    fake_log("malloc %zu\n", size);
    return 0;
}
#endif

aclError aclrtFree(void *pointer) { NEED_CONTEXT; free(pointer); fake_log("free\n"); return 0; }
aclError aclrtMallocHost(void **pointer, size_t size) { NEED_CONTEXT; *pointer = malloc(size); return 0; }
aclError aclrtFreeHost(void *pointer) { NEED_CONTEXT; free(pointer); return 0; }

aclError aclrtMemcpy(void *to, size_t capacity, const void *from, size_t count, aclrtMemcpyKind kind)
{
    (void)kind;
    NEED_CONTEXT;
    if (count > capacity) return fail(107000, "fake: no room");
    memcpy(to, from, count);
    return 0;
}

aclError aclrtMemcpyAsync(
    void *to, size_t capacity, const void *from, size_t count, aclrtMemcpyKind kind, aclrtStream stream)
{
    (void)stream;
    return aclrtMemcpy(to, capacity, from, count, kind);
}

/* A tensor is known by its first dim in the log. */
struct aclTensor { int64_t name; };
struct aclTensorList { uint64_t size; aclTensor *first; };
struct aclIntArray { int64_t name; };
struct aclOpExecutor { int repeatable; int runs; };

aclTensor *aclCreateTensor(const int64_t *dims, uint64_t count, aclDataType type, const int64_t *strides,
    int64_t offset, aclFormat format, const int64_t *storage, uint64_t storage_count, void *data)
{
    (void)type; (void)strides; (void)offset; (void)format; (void)storage; (void)storage_count; (void)data;
    aclTensor *tensor = malloc(sizeof *tensor);
    tensor->name = count ? dims[0] : 0;
    return tensor;
}

aclnnStatus aclDestroyTensor(const aclTensor *tensor)
{
    fake_log("~tensor %d\n", (int)tensor->name);
    free((void *)tensor);
    return 0;
}

aclTensorList *aclCreateTensorList(const aclTensor *const *tensors, uint64_t size)
{
    aclTensorList *list = malloc(sizeof *list);
    list->size = size;
    list->first = (aclTensor *)tensors[0];
    return list;
}

aclnnStatus aclDestroyTensorList(const aclTensorList *list)
{
    fake_log("~list %d\n", (int)list->first->name);
    free((void *)list);
    return 0;
}

aclIntArray *aclCreateIntArray(const int64_t *numbers, uint64_t size)
{
    aclIntArray *array = malloc(sizeof *array);
    array->name = size ? numbers[0] : 0;
    return array;
}

aclnnStatus aclDestroyIntArray(const aclIntArray *array) { free((void *)array); fake_log("~ints\n"); return 0; }

aclnnStatus aclSetAclOpExecutorRepeatable(aclOpExecutor *executor)
{
    executor->repeatable = 1;
    fake_log("repeatable\n");
    return 0;
}

aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor *executor)
{
    if (!executor->repeatable) return fail(561000, "fake: not repeatable");
    free(executor);
    fake_log("~executor\n");
    return 0;
}

aclnnStatus aclSetInputTensorAddr(aclOpExecutor *executor, size_t index, aclTensor *tensor, void *address)
{
    (void)executor; (void)address;
    fake_log("input %d of %d\n", (int)index, (int)tensor->name);
    return 0;
}

/* ---- What the operators, which are generated from the header, are made of. ---- */

void fake_tensor(const char *name, const aclTensor *tensor)
{
    if (tensor == NULL) fake_log(" %s=null", name);
    else fake_log(" %s=%d", name, (int)tensor->name);
}

void fake_list(const char *name, const aclTensorList *list)
{
    if (list == NULL) fake_log(" %s=null", name);
    else fake_log(" %s=list:%d", name, (int)list->first->name);
}

void fake_ints(const char *name, const aclIntArray *array)
{
    if (array == NULL) fake_log(" %s=null", name);
    else fake_log(" %s=ints:%d", name, (int)array->name);
}

aclnnStatus fake_prepared(uint64_t *workspace, aclOpExecutor **executor)
{
    NEED_CONTEXT;
    fake_log("\n");
    *workspace = 100;
    *executor = calloc(1, sizeof **executor);
    return 0;
}

aclnnStatus fake_run(const char *name, void *workspace, uint64_t size, aclOpExecutor *executor, aclrtStream stream)
{
    NEED_CONTEXT;
    (void)stream;
    if (workspace == NULL || size < 100) return fail(161002, "fake: workspace");
    if (executor->runs++ && !executor->repeatable) return fail(561102, "fake: run twice");
    fake_log("run %s\n", name);
    if (!executor->repeatable) free(executor);
    return 0;
}

aclnnStatus aclnnNpuFormatCastCalculateSizeAndFormat(const aclTensor *source, int format, int additional,
    int64_t **dims, uint64_t *count, int *actual)
{
    static int64_t shape[] = {2, 3, 16, 64};
    (void)source; (void)additional;
    *dims = shape;
    *count = 4;
    *actual = format;
    return 0;
}
