/*
 * The part of the CANN C API that an MX backend needs, as the mxhal project declares it.
 *
 * Written from a list of names, parameter orders, types and values: CANN's headers are not needed, and no text of
 * theirs is here. All functions are members of three tables, because they are looked up at run time; a null member
 * is a function that the installed CANN does not have. Where a fact comes from stands in brackets:
 *
 *   TN  the ACL headers (1.17.0) in the torch-npu 2.14.0 Python package; verify.sh compares this file with them
 *   RT  the repository hicann/runtime 9.1.0
 *   OB  the repository hicann/opbase
 *   NN  the repository hicann/ops-nn
 *   TR  the repository mirror-cann/ops-transformer
 *   OP  the repository Ascend/op-plugin
 *   H   a hand-written header there
 *   D   documentation and callers only, because CANN generates the header when it is built
 */
#ifndef MXHAL_CANN_H
#define MXHAL_CANN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types ---------------------------------------------------------------------------------------------- */

/** What a runtime function answers: 0, or one of the ACL_ERROR_ numbers. (TN) */
typedef int aclError;
/** What an aclnn or meta function answers: 0, or one of the ACLNN_ERR_ numbers. (OB) */
typedef int32_t aclnnStatus;
/** The bits of a binary16. (TN) */
typedef uint16_t aclFloat16;

typedef void *aclrtContext;
typedef void *aclrtStream;
typedef void *aclrtEvent;
typedef void *aclrtBinary;
typedef void *aclrtBinHandle;
typedef void *aclrtFuncHandle;
typedef void *aclrtArgsHandle;
typedef void *aclrtParamHandle;

/** Called on the host by aclrtLaunchCallback. (TN) */
typedef void (*aclrtCallback)(void *userData);
/** Called on the host by aclrtLaunchHostFunc. (TN) */
typedef void (*aclrtHostFunc)(void *args);

typedef struct aclTensor aclTensor;
typedef struct aclScalar aclScalar;
typedef struct aclIntArray aclIntArray;
typedef struct aclFloatArray aclFloatArray;
typedef struct aclBoolArray aclBoolArray;
typedef struct aclTensorList aclTensorList;
typedef struct aclScalarList aclScalarList;
typedef struct aclOpExecutor aclOpExecutor;
/** Attributes of an allocation; this project passes none. (TN) */
typedef struct aclrtMallocConfig aclrtMallocConfig;

/* ---- Enumerations; all four bytes ----------------------------------------------------------------------- */

/** The type of an element. (TN) */
typedef enum aclDataType {
    ACL_DT_UNDEFINED = -1,
    ACL_FLOAT = 0,
    ACL_FLOAT16 = 1,
    ACL_INT8 = 2,
    ACL_INT32 = 3,
    ACL_UINT8 = 4,
    ACL_INT16 = 6,
    ACL_UINT16 = 7,
    ACL_UINT32 = 8,
    ACL_INT64 = 9,
    ACL_UINT64 = 10,
    ACL_DOUBLE = 11,
    ACL_BOOL = 12,
    ACL_STRING = 13,
    ACL_COMPLEX64 = 16,
    ACL_COMPLEX128 = 17,
    ACL_BF16 = 27,
    ACL_INT4 = 29,
    ACL_UINT1 = 30,
    ACL_COMPLEX32 = 33,
    ACL_HIFLOAT8 = 34,
    ACL_FLOAT8_E5M2 = 35,
    ACL_FLOAT8_E4M3FN = 36,
    ACL_FLOAT8_E8M0 = 37,
    ACL_FLOAT6_E3M2 = 38,
    ACL_FLOAT6_E2M3 = 39,
    ACL_FLOAT4_E2M1 = 40,
    ACL_FLOAT4_E1M2 = 41,
} aclDataType;

/** The layout of a storage. (TN) */
typedef enum aclFormat {
    ACL_FORMAT_UNDEFINED = -1,
    ACL_FORMAT_NCHW = 0,
    ACL_FORMAT_NHWC = 1,
    ACL_FORMAT_ND = 2,
    ACL_FORMAT_NC1HWC0 = 3,
    ACL_FORMAT_FRACTAL_Z = 4,
    ACL_FORMAT_NC1HWC0_C04 = 12,
    ACL_FORMAT_HWCN = 16,
    ACL_FORMAT_NDHWC = 27,
    ACL_FORMAT_FRACTAL_NZ = 29,
    ACL_FORMAT_NCDHW = 30,
    ACL_FORMAT_NDC1HWC0 = 32,
    ACL_FRACTAL_Z_3D = 33,
    ACL_FORMAT_NC = 35,
    ACL_FORMAT_NCL = 47,
    ACL_FORMAT_FRACTAL_NZ_C0_16 = 50,
    ACL_FORMAT_FRACTAL_NZ_C0_32 = 51,
    ACL_FORMAT_FRACTAL_NZ_C0_2 = 52,
    ACL_FORMAT_FRACTAL_NZ_C0_4 = 53,
    ACL_FORMAT_FRACTAL_NZ_C0_8 = 54,
} aclFormat;

/** Where and in which pages memory is allocated. (TN) */
typedef enum aclrtMemMallocPolicy {
    ACL_MEM_MALLOC_HUGE_FIRST = 0,
    ACL_MEM_MALLOC_HUGE_ONLY = 1,
    ACL_MEM_MALLOC_NORMAL_ONLY = 2,
    ACL_MEM_MALLOC_HUGE_FIRST_P2P = 3,
    ACL_MEM_MALLOC_HUGE_ONLY_P2P = 4,
    ACL_MEM_MALLOC_NORMAL_ONLY_P2P = 5,
    ACL_MEM_MALLOC_HUGE1G_ONLY = 6,
    ACL_MEM_MALLOC_HUGE1G_ONLY_P2P = 7,
    ACL_MEM_TYPE_LOW_BAND_WIDTH = 0x0100,
    ACL_MEM_TYPE_HIGH_BAND_WIDTH = 0x1000,
    ACL_MEM_ACCESS_USER_SPACE_READONLY = 0x100000,
} aclrtMemMallocPolicy;

/** From where to where; the runtime infers it from the pointers. (TN) */
typedef enum aclrtMemcpyKind {
    ACL_MEMCPY_HOST_TO_HOST = 0,
    ACL_MEMCPY_HOST_TO_DEVICE = 1,
    ACL_MEMCPY_DEVICE_TO_HOST = 2,
    ACL_MEMCPY_DEVICE_TO_DEVICE = 3,
    ACL_MEMCPY_DEFAULT = 4,
    ACL_MEMCPY_HOST_TO_BUF_TO_DEVICE = 5,
    ACL_MEMCPY_INNER_DEVICE_TO_DEVICE = 6,
    ACL_MEMCPY_INTER_DEVICE_TO_DEVICE = 7,
} aclrtMemcpyKind;

/** Where this process runs. (TN) */
typedef enum aclrtRunMode {
    ACL_DEVICE = 0,
    ACL_HOST = 1,
} aclrtRunMode;

/** What aclrtQueryEventStatus answers. (TN) */
typedef enum aclrtEventRecordedStatus {
    ACL_EVENT_RECORDED_STATUS_NOT_READY = 0,
    ACL_EVENT_RECORDED_STATUS_COMPLETE = 1,
} aclrtEventRecordedStatus;

/** What aclrtQueryEventWaitStatus answers. (TN) */
typedef enum aclrtEventWaitStatus {
    ACL_EVENT_WAIT_STATUS_COMPLETE = 0,
    ACL_EVENT_WAIT_STATUS_NOT_READY = 1,
    ACL_EVENT_WAIT_STATUS_RESERVED = 0xFFFF,
} aclrtEventWaitStatus;

/** What aclrtStreamQuery answers. (TN) */
typedef enum aclrtStreamStatus {
    ACL_STREAM_STATUS_COMPLETE = 0,
    ACL_STREAM_STATUS_NOT_READY = 1,
} aclrtStreamStatus;

/** Whose last error is meant. (TN) */
typedef enum aclrtLastErrLevel {
    ACL_RT_THREAD_LEVEL = 0,
} aclrtLastErrLevel;

/** Whether the stream waits for a callback. (TN) */
typedef enum aclrtCallbackBlockType {
    ACL_CALLBACK_NO_BLOCK = 0,
    ACL_CALLBACK_BLOCK = 1,
} aclrtCallbackBlockType;

/** Whether a device is in order. (TN) */
typedef enum aclrtDeviceStatus {
    ACL_RT_DEVICE_STATUS_NORMAL = 0,
    ACL_RT_DEVICE_STATUS_ABNORMAL = 1,
} aclrtDeviceStatus;

/** A kind of memory, for aclrtGetMemInfo. (TN) */
typedef enum aclrtMemAttr {
    ACL_DDR_MEM = 0,
    ACL_HBM_MEM = 1,
    ACL_DDR_MEM_HUGE = 2,
    ACL_DDR_MEM_NORMAL = 3,
    ACL_HBM_MEM_HUGE = 4,
    ACL_HBM_MEM_NORMAL = 5,
    ACL_MEM_NORMAL = 12,
    ACL_MEM_HUGE = 13,
} aclrtMemAttr;

/** An attribute of a device, for aclrtGetDeviceInfo. (TN) */
typedef enum aclrtDevAttr {
    ACL_DEV_ATTR_AICPU_CORE_NUM = 1,
    ACL_DEV_ATTR_AICORE_CORE_NUM = 101,
    ACL_DEV_ATTR_CUBE_CORE_NUM = 102,
    ACL_DEV_ATTR_VECTOR_CORE_NUM = 201,
    ACL_DEV_ATTR_WARP_SIZE = 202,
    ACL_DEV_ATTR_MAX_THREAD_PER_VECTOR_CORE = 203,
    ACL_DEV_ATTR_UBUF_PER_VECTOR_CORE = 204,
    ACL_DEV_ATTR_TOTAL_GLOBAL_MEM_SIZE = 301,
    ACL_DEV_ATTR_L2_CACHE_SIZE = 302,
    ACL_DEV_ATTR_PHY_CHIP_ID = 402,
    ACL_DEV_ATTR_IS_VIRTUAL = 501,
    ACL_DEV_ATTR_NPU_ARCH = 601,
} aclrtDevAttr;

/** A number about a device, for aclGetDeviceCapability. (TN) */
typedef enum aclDeviceInfo {
    ACL_DEVICE_INFO_AI_CORE_NUM = 0,
    ACL_DEVICE_INFO_VECTOR_CORE_NUM = 1,
    ACL_DEVICE_INFO_L2_SIZE = 2,
} aclDeviceInfo;

/** Which memory a pointer points into. (TN) */
typedef enum aclrtMemLocationType {
    ACL_MEM_LOCATION_TYPE_HOST = 0,
    ACL_MEM_LOCATION_TYPE_DEVICE = 1,
} aclrtMemLocationType;

/** An option of loading a kernel binary. (TN) */
typedef enum aclrtBinaryLoadOptionType {
    ACL_RT_BINARY_LOAD_OPT_LAZY_LOAD = 1,
    ACL_RT_BINARY_LOAD_OPT_LAZY_MAGIC = 2,
    ACL_RT_BINARY_LOAD_OPT_MAGIC = 2,
    ACL_RT_BINARY_LOAD_OPT_CPU_KERNEL_MODE = 3,
} aclrtBinaryLoadOptionType;

/** An attribute of a launch. (TN) */
typedef enum aclrtLaunchKernelAttrId {
    ACL_RT_LAUNCH_KERNEL_ATTR_SCHEM_MODE = 1,
    ACL_RT_LAUNCH_KERNEL_ATTR_DYN_UBUF_SIZE = 2,
    ACL_RT_LAUNCH_KERNEL_ATTR_ENGINE_TYPE = 3,
    ACL_RT_LAUNCH_KERNEL_ATTR_BLOCKDIM_OFFSET = 4,
    ACL_RT_LAUNCH_KERNEL_ATTR_BLOCK_TASK_PREFETCH = 5,
    ACL_RT_LAUNCH_KERNEL_ATTR_DATA_DUMP = 6,
    ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT = 7,
    ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT_US = 8,
} aclrtLaunchKernelAttrId;

/** Which cores a kernel runs on. (TN) */
typedef enum aclrtEngineType {
    ACL_RT_ENGINE_TYPE_AIC = 0,
    ACL_RT_ENGINE_TYPE_AIV = 1,
} aclrtEngineType;

/* ---- Flags and magic numbers ---------------------------------------------------------------------------- */

/* How a stream is made, for aclrtCreateStreamWithConfig. (TN) */
#define ACL_STREAM_FAST_LAUNCH 0x01u
#define ACL_STREAM_FAST_SYNC 0x02u
#define ACL_STREAM_PERSISTENT 0x04u
#define ACL_STREAM_HUGE 0x08u
#define ACL_STREAM_CPU_SCHEDULE 0x10u
#define ACL_STREAM_DEVICE_USE_ONLY 0x20u

/* How an event is made, for aclrtCreateEventWithFlag. (TN) */
#define ACL_EVENT_SYNC 0x01u
#define ACL_EVENT_CAPTURE_STREAM_PROGRESS 0x02u
#define ACL_EVENT_TIME_LINE 0x08u
#define ACL_EVENT_DEVICE_USE_ONLY 0x10u
#define ACL_EVENT_EXTERNAL 0x20u
#define ACL_EVENT_IPC 0x40u

/* The kind of a kernel binary, for ACL_RT_BINARY_LOAD_OPT_MAGIC. (TN) */
#define ACL_RT_BINARY_MAGIC_ELF_AICORE 0x43554245u
#define ACL_RT_BINARY_MAGIC_ELF_VECTOR_CORE 0x41415246u
#define ACL_RT_BINARY_MAGIC_ELF_CUBE_CORE 0x41494343u

/* ---- Error numbers -------------------------------------------------------------------------------------- */

#define ACL_SUCCESS 0

/* The front of AscendCL. (TN) */
#define ACL_ERROR_INVALID_PARAM 100000
#define ACL_ERROR_UNINITIALIZE 100001
#define ACL_ERROR_REPEAT_INITIALIZE 100002
#define ACL_ERROR_INVALID_FILE 100003
#define ACL_ERROR_UNSUPPORTED_DATA_TYPE 100026
#define ACL_ERROR_FORMAT_NOT_MATCH 100027
#define ACL_ERROR_KERNEL_NOT_FOUND 100029
#define ACL_ERROR_REPEAT_FINALIZE 100037
#define ACL_ERROR_COMPILING_STUB_MODE 100039
#define ACL_ERROR_BAD_ALLOC 200000
#define ACL_ERROR_API_NOT_SUPPORT 200001
#define ACL_ERROR_INVALID_DEVICE 200002
#define ACL_ERROR_FEATURE_UNSUPPORTED 200006
#define ACL_ERROR_STORAGE_OVER_LIMIT 300000
#define ACL_ERROR_INTERNAL_ERROR 500000
#define ACL_ERROR_FAILURE 500001
#define ACL_ERROR_GE_FAILURE 500002
#define ACL_ERROR_RT_FAILURE 500003
#define ACL_ERROR_DRV_FAILURE 500004

/* The runtime below it. (TN) */
#define ACL_ERROR_RT_PARAM_INVALID 107000
#define ACL_ERROR_RT_INVALID_DEVICEID 107001
#define ACL_ERROR_RT_CONTEXT_NULL 107002
#define ACL_ERROR_RT_STREAM_CONTEXT 107003
#define ACL_ERROR_RT_ADDR_UNALIGNED 107008
#define ACL_ERROR_RT_FILE_OPEN 107009
#define ACL_ERROR_RT_INVALID_MEMORY_TYPE 107016
#define ACL_ERROR_RT_INVALID_HANDLE 107017
#define ACL_ERROR_RT_INVALID_MALLOC_TYPE 107018
#define ACL_ERROR_RT_WAIT_TIMEOUT 107019
#define ACL_ERROR_RT_FEATURE_NOT_SUPPORT 207000
#define ACL_ERROR_RT_MEMORY_ALLOCATION 207001
#define ACL_ERROR_RT_MEMORY_FREE 207002
#define ACL_ERROR_RT_NO_DEVICE 207004
#define ACL_ERROR_RT_RESOURCE_ALLOC_FAIL 207005
#define ACL_ERROR_RT_NO_STREAM_RESOURCE 207008
#define ACL_ERROR_RT_DEVICE_OOM 207018
#define ACL_ERROR_RT_INTERNAL_ERROR 507000
#define ACL_ERROR_RT_SOC_VERSION 507008
#define ACL_ERROR_RT_LOST_HEARTBEAT 507010
#define ACL_ERROR_RT_AICORE_TIMEOUT 507014
#define ACL_ERROR_RT_AICORE_EXCEPTION 507015
#define ACL_ERROR_RT_AICPU_EXCEPTION 507018
#define ACL_ERROR_RT_KERNEL_LOOKUP 507027
#define ACL_ERROR_RT_VECTOR_CORE_TIMEOUT 507034
#define ACL_ERROR_RT_VECTOR_CORE_EXCEPTION 507035
#define ACL_ERROR_RT_STREAM_SYNC_TIMEOUT 507046
#define ACL_ERROR_RT_DEVICE_MEM_ERROR 507053
#define ACL_ERROR_RT_HBM_MULTI_BIT_ECC_ERROR 507054
#define ACL_ERROR_RT_DRV_INTERNAL_ERROR 507899

/* The aclnn operators. (OB) */
#define ACLNN_ERR_PARAM_NULLPTR 161001
#define ACLNN_ERR_PARAM_INVALID 161002
#define ACLNN_ERR_RUNTIME_ERROR 361001
#define ACLNN_ERR_INNER 561000
#define ACLNN_ERR_INNER_INFERSHAPE_ERROR 561001
#define ACLNN_ERR_INNER_TILING_ERROR 561002
#define ACLNN_ERR_INNER_FIND_KERNEL_ERROR 561003
#define ACLNN_ERR_INNER_CREATE_EXECUTOR 561101
#define ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR 561102
#define ACLNN_ERR_INNER_NULLPTR 561103
#define ACLNN_ERR_INNER_OPP_PATH_NOT_FOUND 561107
#define ACLNN_ERR_INNER_OPP_KERNEL_PKG_NOT_FOUND 561112

/* ---- Structures ----------------------------------------------------------------------------------------- */

/** Where a pointer points into. (TN) */
typedef struct aclrtMemLocation {
    uint32_t id;
    aclrtMemLocationType type;
} aclrtMemLocation;

/** What aclrtPointerGetAttributes answers. (TN) */
typedef struct aclrtPtrAttributes {
    aclrtMemLocation location;
    uint32_t pageSize;
    uint32_t rsv[4];
} aclrtPtrAttributes;

/** The value of an option of loading; which member holds is the option's type. (TN) */
typedef union aclrtBinaryLoadOptionValue {
    uint32_t isLazyLoad;
    uint32_t magic;
    int32_t cpuKernelMode;
    uint32_t rsv[4];
} aclrtBinaryLoadOptionValue;

/** An option of loading a kernel binary. (TN) */
typedef struct aclrtBinaryLoadOption {
    aclrtBinaryLoadOptionType type;
    aclrtBinaryLoadOptionValue value;
} aclrtBinaryLoadOption;

/** The options of loading a kernel binary. (TN) */
typedef struct aclrtBinaryLoadOptions {
    aclrtBinaryLoadOption *options;
    size_t numOpt;
} aclrtBinaryLoadOptions;

/** A time-out in microseconds, in two halves. (TN) */
typedef struct aclrtTimeoutUs {
    uint32_t timeoutLow;
    uint32_t timeoutHigh;
} aclrtTimeoutUs;

/** The value of an attribute of a launch; which member holds is the attribute's id. (TN) */
typedef union aclrtLaunchKernelAttrValue {
    uint8_t schemMode;
    uint32_t dynUBufSize;
    uint32_t localMemorySize;
    aclrtEngineType engineType;
    uint32_t blockDimOffset;
    uint8_t isBlockTaskPrefetch;
    uint8_t isDataDump;
    uint16_t timeout;
    aclrtTimeoutUs timeoutUs;
    uint32_t rsv[4];
} aclrtLaunchKernelAttrValue;

/** An attribute of a launch. (TN) */
typedef struct aclrtLaunchKernelAttr {
    aclrtLaunchKernelAttrId id;
    aclrtLaunchKernelAttrValue value;
} aclrtLaunchKernelAttr;

/** The attributes of a launch. (TN) */
typedef struct aclrtLaunchKernelCfg {
    aclrtLaunchKernelAttr *attrs;
    size_t numAttrs;
} aclrtLaunchKernelCfg;

/** Where in the arguments an address belongs, and where in them the block lies that it points to; bytes. (TN) */
typedef struct aclrtPlaceHolderInfo {
    uint32_t addrOffset;
    uint32_t dataOffset;
} aclrtPlaceHolderInfo;

#ifndef __cplusplus
_Static_assert(sizeof(void *) == 8, "CANN runs on 64-bit machines only");
_Static_assert(sizeof(aclDataType) == 4 && sizeof(aclrtMemMallocPolicy) == 4, "enums have four bytes");
_Static_assert(sizeof(aclrtPtrAttributes) == 28 && _Alignof(aclrtPtrAttributes) == 4, "layout");
_Static_assert(sizeof(aclrtBinaryLoadOptionValue) == 16 && _Alignof(aclrtBinaryLoadOptionValue) == 4, "layout");
_Static_assert(sizeof(aclrtBinaryLoadOption) == 20 && offsetof(aclrtBinaryLoadOption, value) == 4, "layout");
_Static_assert(sizeof(aclrtBinaryLoadOptions) == 16 && offsetof(aclrtBinaryLoadOptions, numOpt) == 8, "layout");
_Static_assert(sizeof(aclrtLaunchKernelAttrValue) == 16 && _Alignof(aclrtLaunchKernelAttrValue) == 4, "layout");
_Static_assert(sizeof(aclrtLaunchKernelAttr) == 20 && offsetof(aclrtLaunchKernelAttr, value) == 4, "layout");
_Static_assert(sizeof(aclrtLaunchKernelCfg) == 16 && offsetof(aclrtLaunchKernelCfg, numAttrs) == 8, "layout");
_Static_assert(sizeof(aclrtPlaceHolderInfo) == 8 && offsetof(aclrtPlaceHolderInfo, dataOffset) == 4, "layout");
#endif

/* ---- Functions ------------------------------------------------------------------------------------------ */

/** AscendCL, of libacl_rt.so or libascendcl.so. */
typedef struct mxhal_acl_runtime {
    /* Process, versions and errors */
    /** Starts AscendCL for the process. A null path takes the defaults; a second call answers
     *  ACL_ERROR_REPEAT_INITIALIZE, which is harmless. (TN, RT) */
    aclError (*aclInit)(const char *configPath);
    /** Ends AscendCL for the whole process, whoever else uses it. (TN, RT) */
    aclError (*aclFinalize)(void);
    /** Takes one aclInit back and says how many are left. (TN, RT) */
    aclError (*aclFinalizeReference)(uint64_t *refCount);
    /** The version of the runtime's interface. (TN, RT) */
    aclError (*aclrtGetVersion)(int32_t *majorVersion, int32_t *minorVersion, int32_t *patchVersion);
    /** The version of an installed package as text. (TN, RT) */
    aclError (*aclsysGetVersionStr)(char *pkgName, char *versionStr);
    /** The version of an installed package as a number. (TN, RT) */
    aclError (*aclsysGetVersionNum)(char *pkgName, int32_t *versionNum);
    /** The newest error message of this thread, which this call clears; null when there is none. Valid until
     *  the next call. (TN, RT) */
    const char *(*aclGetRecentErrMsg)(void);
    /** The last error of this level, which this call clears. (TN, RT) */
    aclError (*aclrtGetLastError)(aclrtLastErrLevel level);
    /** The last error of this level, which stays. (TN, RT) */
    aclError (*aclrtPeekAtLastError)(aclrtLastErrLevel level);

    /* Devices */
    /** How many devices there are. (TN, RT) */
    aclError (*aclrtGetDeviceCount)(uint32_t *count);
    /** Binds the calling thread to the device and its default context. Counted: as many resets undo it. (TN,
     *  RT) */
    aclError (*aclrtSetDevice)(int32_t deviceId);
    /** Takes one aclrtSetDevice back; the last one frees what the default context holds. (TN, RT) */
    aclError (*aclrtResetDevice)(int32_t deviceId);
    /** Resets the device whatever the count is. (TN, RT) */
    aclError (*aclrtResetDeviceForce)(int32_t deviceId);
    /** The device of the calling thread. (TN, RT) */
    aclError (*aclrtGetDevice)(int32_t *deviceId);
    /** One attribute of a device. (TN, RT) */
    aclError (*aclrtGetDeviceInfo)(uint32_t deviceId, aclrtDevAttr attr, int64_t *value);
    /** One number about a device, by the older enumeration. (TN, RT) */
    aclError (*aclGetDeviceCapability)(uint32_t deviceId, aclDeviceInfo deviceInfo, int64_t *value);
    /** The name of the SoC, such as Ascend950PR_9599, of device 0 always; null on failure. (TN, RT) */
    const char *(*aclrtGetSocName)(void);
    /** Whether this process runs on the host or on the device. (TN, RT) */
    aclError (*aclrtGetRunMode)(aclrtRunMode *runMode);
    /** Waits for everything on the device of the current context. (TN, RT) */
    aclError (*aclrtSynchronizeDevice)(void);
    /** The same, for at most so many milliseconds. (TN, RT) */
    aclError (*aclrtSynchronizeDeviceWithTimeout)(int32_t timeout);
    /** Whether the device is in order. (TN, RT) */
    aclError (*aclrtQueryDeviceStatus)(int32_t deviceId, aclrtDeviceStatus *deviceStatus);

    /* Contexts */
    /** A context on the device, which becomes current on the calling thread. (TN, RT) */
    aclError (*aclrtCreateContext)(aclrtContext *context, int32_t deviceId);
    /** Destroys a context that aclrtCreateContext made. (TN, RT) */
    aclError (*aclrtDestroyContext)(aclrtContext context);
    /** Makes the context current on the calling thread. (TN, RT) */
    aclError (*aclrtSetCurrentContext)(aclrtContext context);
    /** The context that is current on the calling thread. (TN, RT) */
    aclError (*aclrtGetCurrentContext)(aclrtContext *context);

    /* Streams */
    /** A stream in the current context. (TN, RT) */
    aclError (*aclrtCreateStream)(aclrtStream *stream);
    /** The same, with ACL_STREAM_ flags. (TN, RT) */
    aclError (*aclrtCreateStreamWithConfig)(aclrtStream *stream, uint32_t priority, uint32_t flag);
    /** Destroys a stream once its work is done. (TN, RT) */
    aclError (*aclrtDestroyStream)(aclrtStream stream);
    /** Destroys a stream and drops its work. (TN, RT) */
    aclError (*aclrtDestroyStreamForce)(aclrtStream stream);
    /** Waits for all work of the stream. (TN, RT) */
    aclError (*aclrtSynchronizeStream)(aclrtStream stream);
    /** The same, for at most so many milliseconds. (TN, RT) */
    aclError (*aclrtSynchronizeStreamWithTimeout)(aclrtStream stream, int32_t timeout);
    /** Whether the stream has done all its work. (TN, RT) */
    aclError (*aclrtStreamQuery)(aclrtStream stream, aclrtStreamStatus *status);
    /** Work enqueued later on the stream waits for the event. (TN, RT) */
    aclError (*aclrtStreamWaitEvent)(aclrtStream stream, aclrtEvent event);
    /** Calls a function on the host in the order of the stream. (TN, RT) */
    aclError (*aclrtLaunchHostFunc)(aclrtStream stream, aclrtHostFunc fn, void *args);
    /** The older form, which needs a thread that processes reports. (TN, RT) */
    aclError (*aclrtLaunchCallback)(
        aclrtCallback fn, void *userData, aclrtCallbackBlockType blockType, aclrtStream stream);
    /** Names the thread that runs the callbacks of a stream. (TN, RT) */
    aclError (*aclrtSubscribeReport)(uint64_t threadId, aclrtStream stream);
    /** Runs pending callbacks on the calling thread; milliseconds. (TN, RT) */
    aclError (*aclrtProcessReport)(int32_t timeout);

    /* Events */
    /** An event. (TN, RT) */
    aclError (*aclrtCreateEvent)(aclrtEvent *event);
    /** An event with ACL_EVENT_ flags. (TN, RT) */
    aclError (*aclrtCreateEventWithFlag)(aclrtEvent *event, uint32_t flag);
    /** The extended kind of event. (TN, RT) */
    aclError (*aclrtCreateEventExWithFlag)(aclrtEvent *event, uint32_t flag);
    /** Destroys an event. (TN, RT) */
    aclError (*aclrtDestroyEvent)(aclrtEvent event);
    /** Records the event after the work enqueued so far. (TN, RT) */
    aclError (*aclrtRecordEvent)(aclrtEvent event, aclrtStream stream);
    /** Makes the event as if it had not been recorded, in the order of the stream. (TN, RT) */
    aclError (*aclrtResetEvent)(aclrtEvent event, aclrtStream stream);
    /** Whether what was recorded has been reached. (TN, RT) */
    aclError (*aclrtQueryEventStatus)(aclrtEvent event, aclrtEventRecordedStatus *status);
    /** Whether the streams that wait for the event have got it. (TN, RT) */
    aclError (*aclrtQueryEventWaitStatus)(aclrtEvent event, aclrtEventWaitStatus *status);
    /** Waits for the event. (TN, RT) */
    aclError (*aclrtSynchronizeEvent)(aclrtEvent event);
    /** The same, for at most so many milliseconds. (TN, RT) */
    aclError (*aclrtSynchronizeEventWithTimeout)(aclrtEvent event, int32_t timeout);
    /** Milliseconds between two events that were made with ACL_EVENT_TIME_LINE. (TN, RT) */
    aclError (*aclrtEventElapsedTime)(float *ms, aclrtEvent startEvent, aclrtEvent endEvent);

    /* Memory */
    /** Device memory; its first byte is aligned to 64. (TN, RT) */
    aclError (*aclrtMalloc)(void **devPtr, size_t size, aclrtMemMallocPolicy policy);
    /** The variant for an alignment of 32. (TN, RT) */
    aclError (*aclrtMallocAlign32)(void **devPtr, size_t size, aclrtMemMallocPolicy policy);
    /** Device memory that the caches of the device may hold. (TN, RT) */
    aclError (*aclrtMallocCached)(void **devPtr, size_t size, aclrtMemMallocPolicy policy);
    /** The same with attributes; a null configuration is allowed. (TN, RT) */
    aclError (*aclrtMallocWithCfg)(
        void **devPtr, size_t size, aclrtMemMallocPolicy policy, aclrtMallocConfig *cfg);
    /** Frees device memory. (TN, RT) */
    aclError (*aclrtFree)(void *devPtr);
    /** Page-locked host memory. (TN, RT) */
    aclError (*aclrtMallocHost)(void **hostPtr, size_t size);
    /** Frees page-locked host memory. (TN, RT) */
    aclError (*aclrtFreeHost)(void *hostPtr);
    /** Fills device memory with a byte, and waits. (TN, RT) */
    aclError (*aclrtMemset)(void *devPtr, size_t maxCount, int32_t value, size_t count);
    /** The same, in the order of the stream. (TN, RT) */
    aclError (*aclrtMemsetAsync)(
        void *devPtr, size_t maxCount, int32_t value, size_t count, aclrtStream stream);
    /** Copies bytes, and waits. The runtime infers the direction from the pointers. (TN, RT) */
    aclError (*aclrtMemcpy)(void *dst, size_t destMax, const void *src, size_t count, aclrtMemcpyKind kind);
    /** The same, in the order of the stream. (TN, RT) */
    aclError (*aclrtMemcpyAsync)(
        void *dst, size_t destMax, const void *src, size_t count, aclrtMemcpyKind kind, aclrtStream stream);
    /** Copies rows that lie a pitch apart, and waits. (TN, RT) */
    aclError (*aclrtMemcpy2d)(
        void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t height,
        aclrtMemcpyKind kind);
    /** The same, in the order of the stream. (TN, RT) */
    aclError (*aclrtMemcpy2dAsync)(
        void *dst, size_t dpitch, const void *src, size_t spitch, size_t width, size_t height,
        aclrtMemcpyKind kind, aclrtStream stream);
    /** Free and total bytes of a kind of memory. (TN, RT) */
    aclError (*aclrtGetMemInfo)(aclrtMemAttr attr, size_t *free, size_t *total);
    /** Where a pointer points to. (TN, RT) */
    aclError (*aclrtPointerGetAttributes)(const void *ptr, aclrtPtrAttributes *attributes);
    /** Bytes of one element. Wrong for FP4 and FP6, for which it answers 8: never use it for their sizes.
     *  (TN, RT) */
    size_t (*aclDataTypeSize)(aclDataType dataType);
    /** binary16 to binary32. (TN, RT) */
    float (*aclFloat16ToFloat)(aclFloat16 value);
    /** binary32 to binary16. (TN, RT) */
    aclFloat16 (*aclFloatToFloat16)(float value);

    /* Kernels of one's own */
    /** Loads a kernel binary; null options are allowed. (TN, RT) */
    aclError (*aclrtBinaryLoadFromFile)(
        const char *binPath, aclrtBinaryLoadOptions *options, aclrtBinHandle *binHandle);
    /** The same from memory. (TN, RT) */
    aclError (*aclrtBinaryLoadFromData)(
        const void *data, size_t length, const aclrtBinaryLoadOptions *options, aclrtBinHandle *binHandle);
    /** Unloads a kernel binary. (TN, RT) */
    aclError (*aclrtBinaryUnLoad)(aclrtBinHandle binHandle);
    /** A kernel by its name. (TN, RT) */
    aclError (*aclrtBinaryGetFunction)(
        aclrtBinHandle binHandle, const char *kernelName, aclrtFuncHandle *funcHandle);
    /** A kernel by its entry number. (TN, RT) */
    aclError (*aclrtBinaryGetFunctionByEntry)(
        aclrtBinHandle binHandle, uint64_t funcEntry, aclrtFuncHandle *funcHandle);
    /** Describes a binary in memory for aclrtBinaryLoad. (TN, RT) */
    aclrtBinary (*aclrtCreateBinary)(const void *data, size_t dataLen);
    /** Destroys such a description. (TN, RT) */
    aclError (*aclrtDestroyBinary)(aclrtBinary binary);
    /** Loads a described binary. (TN, RT) */
    aclError (*aclrtBinaryLoad)(aclrtBinary binary, aclrtBinHandle *binHandle);
    /** The device addresses of a kernel's cube and vector parts. (TN, RT) */
    aclError (*aclrtGetFunctionAddr)(aclrtFuncHandle funcHandle, void **aicAddr, void **aivAddr);
    /** The name of a kernel. (TN, RT) */
    aclError (*aclrtGetFunctionName)(aclrtFuncHandle funcHandle, uint32_t maxLen, char *name);
    /** Begins a list of kernel arguments. (TN, RT) */
    aclError (*aclrtKernelArgsInit)(aclrtFuncHandle funcHandle, aclrtArgsHandle *argsHandle);
    /** The same in memory of the caller. (TN, RT) */
    aclError (*aclrtKernelArgsInitByUserMem)(
        aclrtFuncHandle funcHandle, aclrtArgsHandle argsHandle, void *userHostMem, size_t actualArgsSize);
    /** Bytes of the handle in memory of the caller. (TN, RT) */
    aclError (*aclrtKernelArgsGetHandleMemSize)(aclrtFuncHandle funcHandle, size_t *memSize);
    /** Bytes that arguments of this size take in all. (TN, RT) */
    aclError (*aclrtKernelArgsGetMemSize)(
        aclrtFuncHandle funcHandle, size_t userArgsSize, size_t *actualArgsSize);
    /** Appends one argument by value, copied from the host, in the kernel's order. (TN, RT) */
    aclError (*aclrtKernelArgsAppend)(
        aclrtArgsHandle argsHandle, void *param, size_t paramSize, aclrtParamHandle *paramHandle);
    /** Appends the address of a small host block that travels along. (TN, RT) */
    aclError (*aclrtKernelArgsAppendPlaceHolder)(aclrtArgsHandle argsHandle, aclrtParamHandle *paramHandle);
    /** Where that block is to be written. (TN, RT) */
    aclError (*aclrtKernelArgsGetPlaceHolderBuffer)(
        aclrtArgsHandle argsHandle, aclrtParamHandle paramHandle, size_t dataSize, void **bufferAddr);
    /** Writes one argument anew. (TN, RT) */
    aclError (*aclrtKernelArgsParaUpdate)(
        aclrtArgsHandle argsHandle, aclrtParamHandle paramHandle, void *param, size_t paramSize);
    /** Ends the list; before the launch. (TN, RT) */
    aclError (*aclrtKernelArgsFinalize)(aclrtArgsHandle argsHandle);
    /** Launches a kernel on so many cores; the arguments lie in device memory. (TN, RT) */
    aclError (*aclrtLaunchKernel)(
        aclrtFuncHandle funcHandle, uint32_t numBlocks, const void *argsData, size_t argsSize,
        aclrtStream stream);
    /** The same with attributes. (TN, RT) */
    aclError (*aclrtLaunchKernelV2)(
        aclrtFuncHandle funcHandle, uint32_t numBlocks, const void *argsData, size_t argsSize,
        aclrtLaunchKernelCfg *cfg, aclrtStream stream);
    /** Launches with a list of arguments; the last parameter is null. (TN, RT) */
    aclError (*aclrtLaunchKernelWithConfig)(
        aclrtFuncHandle funcHandle, uint32_t numBlocks, aclrtStream stream, aclrtLaunchKernelCfg *cfg,
        aclrtArgsHandle argsHandle, void *reserve);
    /** Launches with arguments that lie one after another in host memory. (TN, RT) */
    aclError (*aclrtLaunchKernelWithHostArgs)(
        aclrtFuncHandle funcHandle, uint32_t numBlocks, aclrtStream stream, aclrtLaunchKernelCfg *cfg,
        void *hostArgs, size_t argsSize, aclrtPlaceHolderInfo *placeHolderArray, size_t placeHolderNum);
} mxhal_acl_runtime;

/** Tensors, lists and executors, of libnnopbase.so. */
typedef struct mxhal_acl_meta {
    /* Making and destroying */
    /** A view of device memory: dims, strides and offset count elements, FP4 ones too. Null strides mean
     *  contiguous. The data is aligned to 32 bytes. (OB) */
    aclTensor *(*aclCreateTensor)(
        const int64_t *viewDims, uint64_t viewDimsNum, aclDataType dataType, const int64_t *stride,
        int64_t offset, aclFormat format, const int64_t *storageDims, uint64_t storageDimsNum,
        void *tensorData);
    /** A scalar, whose value is copied. (OB) */
    aclScalar *(*aclCreateScalar)(void *value, aclDataType dataType);
    /** An array, whose values are copied. (OB) */
    aclIntArray *(*aclCreateIntArray)(const int64_t *value, uint64_t size);
    /** An array, whose values are copied. (OB) */
    aclFloatArray *(*aclCreateFloatArray)(const float *value, uint64_t size);
    /** An array, whose values are copied. (OB) */
    aclBoolArray *(*aclCreateBoolArray)(const bool *value, uint64_t size);
    /** A list, which owns its tensors from then on. (OB) */
    aclTensorList *(*aclCreateTensorList)(const aclTensor *const *value, uint64_t size);
    /** A list, which owns its scalars from then on. (OB) */
    aclScalarList *(*aclCreateScalarList)(const aclScalar *const *value, uint64_t size);
    /** Destroys a tensor; the memory stays. (OB) */
    aclnnStatus (*aclDestroyTensor)(const aclTensor *tensor);
    /** Destroys a scalar. (OB) */
    aclnnStatus (*aclDestroyScalar)(const aclScalar *scalar);
    /** Destroys an array. (OB) */
    aclnnStatus (*aclDestroyIntArray)(const aclIntArray *array);
    /** Destroys an array. (OB) */
    aclnnStatus (*aclDestroyFloatArray)(const aclFloatArray *array);
    /** Destroys an array. (OB) */
    aclnnStatus (*aclDestroyBoolArray)(const aclBoolArray *array);
    /** Destroys a list and its tensors. (OB) */
    aclnnStatus (*aclDestroyTensorList)(const aclTensorList *list);
    /** Destroys a list and its scalars. (OB) */
    aclnnStatus (*aclDestroyScalarList)(const aclScalarList *list);

    /* What they hold */
    /** The dims of the view, in an array that CANN allocates. (OB) */
    aclnnStatus (*aclGetViewShape)(const aclTensor *tensor, int64_t **viewDims, uint64_t *viewDimsNum);
    /** The dims of the storage, as above. (OB) */
    aclnnStatus (*aclGetStorageShape)(
        const aclTensor *tensor, int64_t **storageDims, uint64_t *storageDimsNum);
    /** The strides of the view in elements, as above. (OB) */
    aclnnStatus (*aclGetViewStrides)(const aclTensor *tensor, int64_t **stridesValue, uint64_t *stridesNum);
    /** The offset of the view in elements. (OB) */
    aclnnStatus (*aclGetViewOffset)(const aclTensor *tensor, int64_t *offset);
    /** The layout of the storage. (OB) */
    aclnnStatus (*aclGetFormat)(const aclTensor *tensor, aclFormat *format);
    /** The type of the elements. (OB) */
    aclnnStatus (*aclGetDataType)(const aclTensor *tensor, aclDataType *dataType);
    /** How many it holds. (OB) */
    aclnnStatus (*aclGetIntArraySize)(const aclIntArray *array, uint64_t *size);
    /** How many it holds. (OB) */
    aclnnStatus (*aclGetFloatArraySize)(const aclFloatArray *array, uint64_t *size);
    /** How many it holds. (OB) */
    aclnnStatus (*aclGetBoolArraySize)(const aclBoolArray *array, uint64_t *size);
    /** How many it holds. (OB) */
    aclnnStatus (*aclGetTensorListSize)(const aclTensorList *list, uint64_t *size);
    /** How many it holds. (OB) */
    aclnnStatus (*aclGetScalarListSize)(const aclScalarList *list, uint64_t *size);
    /** Describes a tensor anew, as aclCreateTensor does. (OB) */
    aclnnStatus (*aclInitTensor)(
        aclTensor *tensor, const int64_t *viewDims, uint64_t viewDimsNum, aclDataType dataType,
        const int64_t *stride, int64_t offset, aclFormat format, const int64_t *storageDims,
        uint64_t storageDimsNum, void *tensorDataAddr);

    /* Executors that run more than once */
    /** The executor may run again; the caller destroys it. (OB) */
    aclnnStatus (*aclSetAclOpExecutorRepeatable)(aclOpExecutor *executor);
    /** Destroys a repeatable executor. (OB) */
    aclnnStatus (*aclDestroyAclOpExecutor)(aclOpExecutor *executor);
    /** New memory for an input tensor. (OB) */
    aclnnStatus (*aclSetInputTensorAddr)(
        aclOpExecutor *executor, size_t index, aclTensor *tensor, void *addr);
    /** New memory for an output tensor. (OB) */
    aclnnStatus (*aclSetOutputTensorAddr)(
        aclOpExecutor *executor, size_t index, aclTensor *tensor, void *addr);
    /** New memory for a tensor, by its place among all. (OB) */
    aclnnStatus (*aclSetTensorAddr)(aclOpExecutor *executor, size_t index, aclTensor *tensor, void *addr);
    /** New memory for a tensor of an input list. (OB) */
    aclnnStatus (*aclSetDynamicInputTensorAddr)(
        aclOpExecutor *executor, size_t irIndex, size_t relativeIndex, aclTensorList *tensors, void *addr);
    /** New memory for a tensor of an output list. (OB) */
    aclnnStatus (*aclSetDynamicOutputTensorAddr)(
        aclOpExecutor *executor, size_t irIndex, size_t relativeIndex, aclTensorList *tensors, void *addr);
    /** New memory for a tensor of a list, by its place among all. (OB) */
    aclnnStatus (*aclSetDynamicTensorAddr)(
        aclOpExecutor *executor, size_t irIndex, size_t relativeIndex, aclTensorList *tensors, void *addr);
    /** New memory for a tensor outside of an executor. (OB) */
    aclnnStatus (*aclSetRawTensorAddr)(aclTensor *tensor, void *addr);
    /** The memory of a tensor. (OB) */
    aclnnStatus (*aclGetRawTensorAddr)(const aclTensor *tensor, void **addr);

    /* The operators' own initialisation */
    /** Optional, once per process. (OB) */
    aclnnStatus (*aclnnInit)(const char *configPath);
    /** Optional, once per process. (OB) */
    aclnnStatus (*aclnnFinalize)(void);
} mxhal_acl_meta;

/** The operators, of libcust_opapi.so, libopapi_*.so or libopapi.so.
 *
 *  Each is two functions: the first takes the tensors and attributes, checks them and answers with the bytes of
 *  workspace wanted and an executor; the second enqueues the executor on a stream, once unless it was made
 *  repeatable.
 */
typedef struct mxhal_aclnn_operators {
    /* Quantise and dequantise */
    /** MX quantisation; the scales come as pairs, one more axis of 2. (NN, D) */
    aclnnStatus (*aclnnDynamicMxQuantGetWorkspaceSize)(
        const aclTensor *x, int64_t axis, char *roundModeOptional, int64_t dstType, int64_t blocksize,
        int64_t scaleAlg, const aclTensor *yOut, const aclTensor *mxscaleOut, uint64_t *workspaceSize,
        aclOpExecutor **executor);
    aclnnStatus (*aclnnDynamicMxQuant)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same with scaleAlg 2 and its maximum. (NN, D) */
    aclnnStatus (*aclnnDynamicMxQuantV2GetWorkspaceSize)(
        const aclTensor *x, int64_t axis, char *roundModeOptional, int64_t dstType, int64_t blocksize,
        int64_t scaleAlg, double dstTypeMax, const aclTensor *yOut, const aclTensor *mxscaleOut,
        uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnDynamicMxQuantV2)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same with a lower bound of the maximum. (NN, D) */
    aclnnStatus (*aclnnDynamicMxQuantV3GetWorkspaceSize)(
        const aclTensor *x, int64_t axis, char *roundModeOptional, int64_t dstType, int64_t blocksize,
        int64_t scaleAlg, double dstTypeMax, double maxLowBound, const aclTensor *yOut,
        const aclTensor *mxscaleOut, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnDynamicMxQuantV3)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** MX dequantisation. (NN, H) */
    aclnnStatus (*aclnnAntiMxQuantGetWorkspaceSize)(
        const aclTensor *x, const aclTensor *mxscale, int64_t axis, int64_t dstType, const aclTensor *y,
        uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnAntiMxQuant)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);

    /* Matmul */
    /** Quantised matmul; groupSize packs the block of each axis. (NN, H) */
    aclnnStatus (*aclnnQuantMatmulV5GetWorkspaceSize)(
        const aclTensor *x1, const aclTensor *x2, const aclTensor *x1Scale, const aclTensor *x2Scale,
        const aclTensor *yScale, const aclTensor *x1Offset, const aclTensor *x2Offset,
        const aclTensor *yOffset, const aclTensor *bias, bool transposeX1, bool transposeX2,
        int64_t groupSize, aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnQuantMatmulV5)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same for an x2 in FRACTAL_NZ. (NN, H) */
    aclnnStatus (*aclnnQuantMatmulWeightNzGetWorkspaceSize)(
        const aclTensor *x1, const aclTensor *x2, const aclTensor *x1Scale, const aclTensor *x2Scale,
        const aclTensor *yScale, const aclTensor *x1Offset, const aclTensor *x2Offset,
        const aclTensor *yOffset, const aclTensor *bias, bool transposeX1, bool transposeX2,
        int64_t groupSize, aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnQuantMatmulWeightNz)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** Matmul with a quantised weight and a floating-point x. (NN, H) */
    aclnnStatus (*aclnnWeightQuantBatchMatmulV2GetWorkspaceSize)(
        const aclTensor *x, const aclTensor *weight, const aclTensor *antiquantScale,
        const aclTensor *antiquantOffsetOptional, const aclTensor *quantScaleOptional,
        const aclTensor *quantOffsetOptional, const aclTensor *biasOptional, int antiquantGroupSize,
        const aclTensor *y, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnWeightQuantBatchMatmulV2)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same with a choice of precision. (NN, H) */
    aclnnStatus (*aclnnWeightQuantBatchMatmulV3GetWorkspaceSize)(
        const aclTensor *x, const aclTensor *weight, const aclTensor *antiquantScale,
        const aclTensor *antiquantOffsetOptional, const aclTensor *quantScaleOptional,
        const aclTensor *quantOffsetOptional, const aclTensor *biasOptional, int antiquantGroupSize,
        int innerPrecise, const aclTensor *y, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnWeightQuantBatchMatmulV3)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);

    /* Grouped matmul; transposition is read from the strides */
    /** One matmul per expert. (TR, H) */
    aclnnStatus (*aclnnGroupedMatmulV4GetWorkspaceSize)(
        const aclTensorList *x, const aclTensorList *weight, const aclTensorList *biasOptional,
        const aclTensorList *scaleOptional, const aclTensorList *offsetOptional,
        const aclTensorList *antiquantScaleOptional, const aclTensorList *antiquantOffsetOptional,
        const aclTensorList *perTokenScaleOptional, const aclTensor *groupListOptional,
        const aclTensorList *activationInputOptional, const aclTensorList *activationQuantScaleOptional,
        const aclTensorList *activationQuantOffsetOptional, int64_t splitItem, int64_t groupType,
        int64_t groupListType, int64_t actType, aclTensorList *out,
        aclTensorList *activationFeatureOutOptional, aclTensorList *dynQuantScaleOutOptional,
        uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnGroupedMatmulV4)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same with tuning, which the 950 does not take. (TR, H) */
    aclnnStatus (*aclnnGroupedMatmulV5GetWorkspaceSize)(
        const aclTensorList *x, const aclTensorList *weight, const aclTensorList *biasOptional,
        const aclTensorList *scaleOptional, const aclTensorList *offsetOptional,
        const aclTensorList *antiquantScaleOptional, const aclTensorList *antiquantOffsetOptional,
        const aclTensorList *perTokenScaleOptional, const aclTensor *groupListOptional,
        const aclTensorList *activationInputOptional, const aclTensorList *activationQuantScaleOptional,
        const aclTensorList *activationQuantOffsetOptional, int64_t splitItem, int64_t groupType,
        int64_t groupListType, int64_t actType, aclIntArray *tuningConfigOptional, aclTensorList *out,
        aclTensorList *activationFeatureOutOptional, aclTensorList *dynQuantScaleOutOptional,
        uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnGroupedMatmulV5)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same for weights in FRACTAL_NZ. (TR, H) */
    aclnnStatus (*aclnnGroupedMatmulWeightNzGetWorkspaceSize)(
        const aclTensorList *x, const aclTensorList *weight, const aclTensorList *biasOptional,
        const aclTensorList *scaleOptional, const aclTensorList *offsetOptional,
        const aclTensorList *antiquantScaleOptional, const aclTensorList *antiquantOffsetOptional,
        const aclTensorList *perTokenScaleOptional, const aclTensor *groupListOptional,
        const aclTensorList *activationInputOptional, const aclTensorList *activationQuantScaleOptional,
        const aclTensorList *activationQuantOffsetOptional, int64_t splitItem, int64_t groupType,
        int64_t groupListType, int64_t actType, aclIntArray *tuningConfigOptional, int64_t quantGroupSize,
        aclTensorList *out, aclTensorList *activationFeatureOutOptional,
        aclTensorList *dynQuantScaleOutOptional, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnGroupedMatmulWeightNz)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** Grouped matmul, SwiGLU and MX quantisation in one. (TR, H) */
    aclnnStatus (*aclnnGroupedMatmulSwigluQuantV2GetWorkspaceSize)(
        const aclTensor *x, const aclTensorList *weight, const aclTensorList *weightScale,
        const aclTensorList *weightAssistMatrix, const aclTensor *bias, const aclTensor *xScale,
        const aclTensor *smoothScale, const aclTensor *groupList, int64_t dequantMode, int64_t dequantDtype,
        int64_t quantMode, int64_t groupListType, const aclIntArray *tuningConfigOptional, aclTensor *output,
        aclTensor *outputScale, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnGroupedMatmulSwigluQuantV2)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same for weights in FRACTAL_NZ. (TR, H) */
    aclnnStatus (*aclnnGroupedMatmulSwigluQuantWeightNzV2GetWorkspaceSize)(
        const aclTensor *x, const aclTensorList *weight, const aclTensorList *weightScale,
        const aclTensorList *weightAssistMatrix, const aclTensor *bias, const aclTensor *xScale,
        const aclTensor *smoothScale, const aclTensor *groupList, int64_t dequantMode, int64_t dequantDtype,
        int64_t quantMode, int64_t groupListType, const aclIntArray *tuningConfigOptional, aclTensor *output,
        aclTensor *outputScale, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnGroupedMatmulSwigluQuantWeightNzV2)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);

    /* SwiGLU */
    /** SwiGLU with an optional clamp, then MX quantisation. (NN, D) */
    aclnnStatus (*aclnnSwigluMxQuantGetWorkspaceSize)(
        const aclTensor *x, const aclTensor *groupIndexOptional, int64_t activateDim, bool activateLeft,
        int64_t swigluMode, double clampLimit, double gluAlpha, double gluBias, int64_t groupMode,
        int64_t axis, int64_t dstType, char *roundModeOptional, int64_t scaleAlg, double maxDtypeValue,
        const aclTensor *yOut, const aclTensor *mxscaleOut, uint64_t *workspaceSize,
        aclOpExecutor **executor);
    aclnnStatus (*aclnnSwigluMxQuant)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** SwiGLU in floating point. (NN, D) */
    aclnnStatus (*aclnnSwiGluGetWorkspaceSize)(
        const aclTensor *x, int64_t dim, const aclTensor *out, uint64_t *workspaceSize,
        aclOpExecutor **executor);
    aclnnStatus (*aclnnSwiGlu)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);

    /* Routing */
    /** Gate by softmax, sigmoid or sqrt-softplus, with a bias for the choice. (TR, H) */
    aclnnStatus (*aclnnMoeGatingTopKGetWorkspaceSize)(
        const aclTensor *x, const aclTensor *biasOptional, int64_t k, int64_t kGroup, int64_t groupCount,
        int64_t groupSelectMode, int64_t renorm, int64_t normType, bool outFlag, double routedScalingFactor,
        double eps, const aclTensor *yOut, const aclTensor *expertIdxOut, const aclTensor *outOut,
        uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnMoeGatingTopK)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same with a table from token ids to experts. (TR, H) */
    aclnnStatus (*aclnnMoeGatingTopKV2GetWorkspaceSize)(
        const aclTensor *x, const aclTensor *biasOptional, const aclTensor *inputIdsOptional,
        const aclTensor *tid2eidOptional, int64_t k, int64_t kGroup, int64_t groupCount,
        int64_t groupSelectMode, int64_t renorm, int64_t normType, bool outFlag, double routedScalingFactor,
        double eps, const aclTensor *yOut, const aclTensor *expertIdxOut, const aclTensor *outOut,
        uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnMoeGatingTopKV2)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** Softmax, then top-k. (TR, D) */
    aclnnStatus (*aclnnMoeGatingTopKSoftmaxGetWorkspaceSize)(
        const aclTensor *x, const aclTensor *finishedOptional, int64_t k, const aclTensor *yOut,
        const aclTensor *expertIdxOut, const aclTensor *rowIdxOut, uint64_t *workspaceSize,
        aclOpExecutor **executor);
    aclnnStatus (*aclnnMoeGatingTopKSoftmax)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same with renormalisation. (TR, D) */
    aclnnStatus (*aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize)(
        const aclTensor *x, const aclTensor *finishedOptional, int64_t k, int64_t renorm,
        bool outputSoftmaxResultFlag, const aclTensor *yOut, const aclTensor *expertIdxOut,
        const aclTensor *softmaxResultOutOptional, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnMoeGatingTopKSoftmaxV2)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** Rows sorted by expert; counts are INT32. (TR, H) */
    aclnnStatus (*aclnnMoeInitRoutingV2GetWorkspaceSize)(
        const aclTensor *x, const aclTensor *expertIdx, int64_t activeNum, int64_t expertCapacity,
        int64_t expertNum, int64_t dropPadMode, int64_t expertTokensCountOrCumsumFlag,
        bool expertTokensBeforeCapacityFlag, const aclTensor *expandedXOut,
        const aclTensor *expandedRowIdxOut, const aclTensor *expertTokensCountOrCumsumOutOptional,
        const aclTensor *expertTokensBeforeCapacityOutOptional, uint64_t *workspaceSize,
        aclOpExecutor **executor);
    aclnnStatus (*aclnnMoeInitRoutingV2)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The same, optionally quantising; counts are INT64, as grouped matmul wants them. (TR, H) */
    aclnnStatus (*aclnnMoeInitRoutingV3GetWorkspaceSize)(
        const aclTensor *x, const aclTensor *expertIdx, const aclTensor *scaleOptional,
        const aclTensor *offsetOptional, int64_t activeNum, int64_t expertCapacity, int64_t expertNum,
        int64_t dropPadMode, int64_t expertTokensNumType, bool expertTokensNumFlag, int64_t quantMode,
        const aclIntArray *activeExpertRangeOptional, int64_t rowIdxType, const aclTensor *expandedXOut,
        const aclTensor *expandedRowIdxOut, const aclTensor *expertTokensCountOrCumsumOut,
        const aclTensor *expandedScaleOut, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnMoeInitRoutingV3)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The weighted sum of the experts' rows, per token. (TR, H) */
    aclnnStatus (*aclnnMoeFinalizeRoutingV2GetWorkspaceSize)(
        const aclTensor *expandedX, const aclTensor *expandedRowIdx, const aclTensor *x1Optional,
        const aclTensor *x2Optional, const aclTensor *biasOptional, const aclTensor *scalesOptional,
        const aclTensor *expertIdxOptional, int64_t dropPadMode, const aclTensor *out,
        uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnMoeFinalizeRoutingV2)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** Rows sorted by expert. (TR, H) */
    aclnnStatus (*aclnnMoeTokenPermuteGetWorkspaceSize)(
        const aclTensor *tokens, const aclTensor *indices, int64_t numOutTokens, bool paddedMode,
        const aclTensor *permuteTokensOut, const aclTensor *sortedIndicesOut, uint64_t *workspaceSize,
        aclOpExecutor **executor);
    aclnnStatus (*aclnnMoeTokenPermute)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** Its inverse, weighted. (TR, H) */
    aclnnStatus (*aclnnMoeTokenUnpermuteGetWorkspaceSize)(
        const aclTensor *permutedTokens, const aclTensor *sortedIndices, const aclTensor *probsOptional,
        bool paddedMode, const aclIntArray *restoreShapeOptional, aclTensor *out, uint64_t *workspaceSize,
        aclOpExecutor **executor);
    aclnnStatus (*aclnnMoeTokenUnpermute)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);

    /* Layouts */
    /** Copies a tensor into another layout. (OP, H) */
    aclnnStatus (*aclnnNpuFormatCastGetWorkspaceSize)(
        const aclTensor *srcTensor, aclTensor *dstTensor, uint64_t *workspaceSize, aclOpExecutor **executor);
    aclnnStatus (*aclnnNpuFormatCast)(
        void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream);
    /** The storage dims and the exact layout that such a copy needs; not a two-phase call. (OP, H) */
    aclnnStatus (*aclnnNpuFormatCastCalculateSizeAndFormat)(
        const aclTensor *srcTensor, int dstFormat, int additionalDtype, int64_t **dstShape,
        uint64_t *dstShapeSize, int *actualFormat);
} mxhal_aclnn_operators;

#ifdef __cplusplus
}
#endif

#endif
