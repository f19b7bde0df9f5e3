/*
 * Stands between a backend and the simulated CANN, and commits one fault with the backend's own calls: MXHAL_MISUSE names
 * it. What is called here is the simulator's function of the same name, with what the fault changes; functions that no
 * fault is about are found in the simulator, which this library needs.
 *
 * The faults, and the rules that they break, are tabulated in README.md.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int aclError;
typedef void *handle;

enum { INT32 = 3, BF16 = 27, E8M0 = 37, FP4_E2M1 = 40, FP4_E1M2 = 41 };
enum { ND = 2, FRACTAL_NZ = 29, MAX_RANK = 8 };

static bool fault(const char *name) {
    const char *wanted = getenv("MXHAL_MISUSE");
    return wanted != NULL && strcmp(wanted, name) == 0;
}

/* The simulator's function of this name. It lies beside this library, which has loaded it. */
static void *next(const char *name) {
    static handle simulator;
    if (simulator == NULL) {
        Dl_info own;
        if (dladdr((void *)(uintptr_t)fault, &own) == 0) abort();
        const char *end = strrchr(own.dli_fname, '/');
        int folder = end == NULL ? 0 : (int)(end - own.dli_fname) + 1;
        char path[4096];
        snprintf(path, sizeof path, "%.*slibmxhal_simulated_cann.so", folder, own.dli_fname);
        simulator = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    }
    void *function = simulator == NULL ? NULL : dlsym(simulator, name);
    if (function == NULL) {
        fprintf(stderr, "the simulator has no %s\n", name);
        abort();
    }
    return function;
}

#define NEXT(name) ((__typeof__(&name))next(#name))
#define EXPORT __attribute__((visibility("default")))

/* Functions of which no fault changes the arguments; they are called by those that do more than they should. */
typedef aclError one_handle(handle);
#define ALSO(name) ((one_handle *)next(#name))

/* ---- the runtime ---- */

EXPORT aclError aclInit(const char *config) {
    if (fault("init-forgotten")) return 0;
    if (fault("init-twice")) NEXT(aclInit)(config);
    return NEXT(aclInit)(config);
}

EXPORT aclError aclrtSetDevice(int32_t device) {
    return NEXT(aclrtSetDevice)(fault("device-that-is-not-there") ? device + 7 : device);
}

EXPORT aclError aclrtResetDevice(int32_t device) {
    aclError code = NEXT(aclrtResetDevice)(device);
    return fault("device-reset-twice") ? NEXT(aclrtResetDevice)(device) : code;
}

EXPORT aclError aclrtSetCurrentContext(handle context) {
    if (fault("context-forgotten")) return 0;
    if (fault("context-of-another")) {
        aclError (*create)(handle *, int32_t) = next("aclrtCreateContext");
        aclError code = create(&context, 0);
        if (code != 0) return code;
    }
    return NEXT(aclrtSetCurrentContext)(context);
}

EXPORT aclError aclrtDestroyStream(handle stream) {
    if (fault("stream-leaked")) return 0;
    if (fault("stream-destroyed-twice")) NEXT(aclrtDestroyStream)(stream);
    return NEXT(aclrtDestroyStream)(stream);
}

EXPORT aclError aclrtSynchronizeStream(handle stream) {
    return fault("synchronise-forgotten") ? 0 : NEXT(aclrtSynchronizeStream)(stream);
}

EXPORT aclError aclrtRecordEvent(handle event, handle stream) {
    return fault("event-not-recorded") ? 0 : NEXT(aclrtRecordEvent)(event, stream);
}

EXPORT aclError aclrtDestroyEvent(handle event) {
    if (fault("event-leaked")) return 0;
    return NEXT(aclrtDestroyEvent)(event);
}

/* ---- memory ---- */

EXPORT aclError aclrtMalloc(handle *address, size_t size, int32_t policy) {
    return NEXT(aclrtMalloc)(address, size, fault("policy-unknown") ? 99 : policy);
}

EXPORT aclError aclrtFree(handle address) {
    if (fault("memory-leaked")) return 0;
    if (fault("memory-freed-twice")) NEXT(aclrtFree)(address);
    return NEXT(aclrtFree)(address);
}

EXPORT aclError aclrtMemcpyAsync(handle to, size_t room, const void *from, size_t count, int32_t kind, handle stream) {
    enum { HOST_TO_DEVICE = 1, DEVICE_TO_DEVICE = 3 };
    if (kind == DEVICE_TO_DEVICE) {
        if (fault("copy-kind-wrong")) kind = HOST_TO_DEVICE;
    } else if (kind == HOST_TO_DEVICE) {
        if (fault("copy-past-the-end")) room = count = count + (1 << 20);
        if (fault("copy-larger-than-its-room")) room = count - 1;
        if (fault("copy-of-freed-memory")) NEXT(aclrtFree)(to);
        if (fault("copy-to-the-host")) to = malloc(count);
    }
    return NEXT(aclrtMemcpyAsync)(to, room, from, count, kind, stream);
}

/* ---- tensors ---- */

/* What aclCreateTensor is called with. A null stride stands for a contiguous tensor, null storage for the shape. */
struct tensor {
    int64_t shape[MAX_RANK];
    uint64_t rank;
    int32_t type;
    const int64_t *strides;
    int32_t format;
    const int64_t *storage;
    uint64_t storage_rank;
    handle data;
};

static bool is_fp4(const struct tensor *tensor) { return tensor->type == FP4_E2M1 || tensor->type == FP4_E1M2; }

/* The shape was changed, and the rest goes with it. */
static void is_contiguous(struct tensor *tensor) {
    tensor->strides = NULL;
    tensor->storage = NULL;
    tensor->storage_rank = 0;
}

static void change(struct tensor *tensor) {
    int64_t *last = tensor->rank == 0 ? NULL : &tensor->shape[tensor->rank - 1];
    if (fault("scales-not-in-pairs") && tensor->type == E8M0 && tensor->rank >= 2) {
        last[-1] *= *last;
        tensor->rank -= 1;
        is_contiguous(tensor);
    }
    if (fault("bytes-for-elements") && is_fp4(tensor) && tensor->rank == 2) {
        *last /= 2;
        is_contiguous(tensor);
    }
    if (fault("odd-columns") && (is_fp4(tensor) || tensor->type == BF16) && tensor->rank == 2) {
        *last -= 1;
        is_contiguous(tensor);
    }
    if (fault("strides-forgotten") && is_fp4(tensor) && tensor->rank == 3) is_contiguous(tensor);
    if (fault("type-exchanged") && tensor->type == FP4_E2M1) tensor->type = FP4_E1M2;
    if (fault("storage-forgotten") && tensor->rank == 2) {
        static const int64_t small[1] = {1};
        tensor->storage = small;
        tensor->storage_rank = 1;
    }
    if (fault("format-of-weights") && is_fp4(tensor)) tensor->format = FRACTAL_NZ;
    if (tensor->data == NULL) return;
    if (fault("address-misaligned")) tensor->data = (char *)tensor->data + 16;
    if (fault("address-of-the-host")) tensor->data = aligned_alloc(64, 4096);
    if (fault("tensor-larger-than-its-memory") && tensor->rank == 2) {
        tensor->shape[0] += 1 << 16;
        is_contiguous(tensor);
    }
}

EXPORT handle aclCreateTensor(const int64_t *shape, uint64_t rank, int32_t type, const int64_t *strides, int64_t offset,
                              int32_t format, const int64_t *storage, uint64_t storage_rank, handle data) {
    struct tensor tensor = {{0}, rank, type, strides, format, storage, storage_rank, data};
    if (rank <= MAX_RANK) {
        memcpy(tensor.shape, shape, rank * sizeof *shape);
        change(&tensor);
        shape = tensor.shape;
    }
    return NEXT(aclCreateTensor)(shape, tensor.rank, tensor.type, tensor.strides, offset, tensor.format, tensor.storage,
                                 tensor.storage_rank, tensor.data);
}

/* A tensor of the list that was made last. */
static handle listed;

EXPORT handle aclCreateTensorList(const handle *tensors, uint64_t count) {
    if (count > 0) listed = tensors[0];
    handle twice[2] = {tensors[0], tensors[0]};
    if (fault("list-of-two")) return NEXT(aclCreateTensorList)(twice, 2);
    return NEXT(aclCreateTensorList)(tensors, count);
}

EXPORT aclError aclDestroyTensorList(handle list) {
    if (fault("tensor-destroyed-before-its-list")) ALSO(aclDestroyTensor)(listed);
    aclError code = NEXT(aclDestroyTensorList)(list);
    return fault("tensor-destroyed-after-its-list") ? ALSO(aclDestroyTensor)(listed) : code;
}

/* ---- executors ---- */

EXPORT aclError aclSetAclOpExecutorRepeatable(handle executor) {
    return fault("not-made-repeatable") ? 0 : NEXT(aclSetAclOpExecutorRepeatable)(executor);
}

EXPORT aclError aclDestroyAclOpExecutor(handle executor) {
    return fault("executor-leaked") ? 0 : NEXT(aclDestroyAclOpExecutor)(executor);
}

/* ---- operators ---- */

static handle quantized;

EXPORT aclError aclnnDynamicMxQuantV3GetWorkspaceSize(handle x, int64_t axis, char *round_mode, int64_t type, int64_t block,
                                                      int64_t algorithm, double type_max, double low_bound, handle y,
                                                      handle scales, uint64_t *workspace, handle *executor) {
    if (fault("round-mode-unknown")) round_mode = "ceil";
    if (fault("block-of-48")) block = 48;
    if (fault("scale-algorithm-unknown")) algorithm = 9;
    if (fault("output-forgotten")) y = NULL;
    quantized = y;
    return NEXT(aclnnDynamicMxQuantV3GetWorkspaceSize)(x, axis, round_mode, type, block, algorithm, type_max, low_bound, y,
                                                       scales, workspace, executor);
}

EXPORT aclError aclnnDynamicMxQuantV3(handle workspace, uint64_t size, handle executor, handle stream) {
    if (fault("tensor-destroyed-early")) ALSO(aclDestroyTensor)(quantized);
    if (fault("executor-of-another")) {
        aclError (*other)(handle, uint64_t, handle, handle) = next("aclnnAntiMxQuant");
        return other(workspace, size, executor, stream);
    }
    if (fault("executor-twice")) NEXT(aclnnDynamicMxQuantV3)(workspace, size, executor, stream);
    return NEXT(aclnnDynamicMxQuantV3)(workspace, size, executor, stream);
}

EXPORT aclError aclnnQuantMatmulV5GetWorkspaceSize(handle x1, handle x2, handle x1_scale, handle x2_scale, handle y_scale,
                                                   handle x1_offset, handle x2_offset, handle y_offset, handle bias,
                                                   bool transpose_x1, bool transpose_x2, int64_t group_size, handle out,
                                                   uint64_t *workspace, handle *executor) {
    if (fault("group-size-of-k-only")) group_size = 32;
    if (fault("transposition-forgotten")) transpose_x2 = false;
    if (fault("unused-argument-given")) y_scale = x1_scale;
    if (fault("scales-for-bias")) bias = x1_scale;
    return NEXT(aclnnQuantMatmulV5GetWorkspaceSize)(x1, x2, x1_scale, x2_scale, y_scale, x1_offset, x2_offset, y_offset, bias,
                                                    transpose_x1, transpose_x2, group_size, out, workspace, executor);
}

EXPORT aclError aclnnQuantMatmulV5(handle workspace, uint64_t size, handle executor, handle stream) {
    if (fault("workspace-too-small")) size -= 1;
    if (fault("workspace-of-the-host")) workspace = aligned_alloc(512, size);
    if (fault("workspace-forgotten")) workspace = NULL;
    return NEXT(aclnnQuantMatmulV5)(workspace, size, executor, stream);
}

EXPORT aclError aclnnGroupedMatmulV5GetWorkspaceSize(handle x, handle weight, handle bias, handle scale, handle offset,
                                                     handle antiquant_scale, handle antiquant_offset, handle token_scale,
                                                     handle groups, handle activation, handle activation_scale,
                                                     handle activation_offset, int64_t split_item, int64_t group_type,
                                                     int64_t list_type, int64_t act_type, handle tuning, handle out,
                                                     handle feature, handle quant_scale, uint64_t *workspace,
                                                     handle *executor) {
    if (fault("group-list-of-i32")) {
        int64_t *shape = NULL;
        uint64_t rank = 0;
        aclError (*shape_of)(handle, int64_t **, uint64_t *) = next("aclGetViewShape");
        if (shape_of(groups, &shape, &rank) == 0) {
            groups = NEXT(aclCreateTensor)(shape, rank, INT32, NULL, 0, ND, NULL, 0, NULL);
            free(shape);
        }
    }
    if (fault("counts-for-sums")) list_type = 0;
    if (fault("activation-asked-for")) act_type = 1;
    if (fault("several-outputs-asked-for")) split_item = 0;
    return NEXT(aclnnGroupedMatmulV5GetWorkspaceSize)(x, weight, bias, scale, offset, antiquant_scale, antiquant_offset,
                                                      token_scale, groups, activation, activation_scale, activation_offset,
                                                      split_item, group_type, list_type, act_type, tuning, out, feature,
                                                      quant_scale, workspace, executor);
}
