//! CANN's types, constants and tables of functions, as bindgen reads them from `include/mxhal_cann.h`.
//!
//! Generated. To change it, change the header and run `MXHAL_BLESS=1 cargo test -p mxhal-cann --test bindings`.
//! Enums are integer constants, because their values come from strangers. A member of a table that is `None` is a
//! function that the installed CANN does not have.

#![allow(missing_docs, reason = "a group of constants is documented once")]
#![allow(non_camel_case_types, non_snake_case, reason = "the names are CANN's")]
#![allow(unreachable_pub, reason = "bindgen writes `pub` everywhere")]
#![allow(clippy::use_self, clippy::pub_underscore_fields, reason = "bindgen's output")]
#![allow(clippy::type_complexity, reason = "a C prototype is as long as it is")]
#![allow(clippy::unnecessary_operation, clippy::identity_op, reason = "bindgen's assertions about layouts")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "bindgen zeroes plain numbers")]

pub const ACL_STREAM_FAST_LAUNCH: u32 = 1;
pub const ACL_STREAM_FAST_SYNC: u32 = 2;
pub const ACL_STREAM_PERSISTENT: u32 = 4;
pub const ACL_STREAM_HUGE: u32 = 8;
pub const ACL_STREAM_CPU_SCHEDULE: u32 = 16;
pub const ACL_STREAM_DEVICE_USE_ONLY: u32 = 32;
pub const ACL_EVENT_SYNC: u32 = 1;
pub const ACL_EVENT_CAPTURE_STREAM_PROGRESS: u32 = 2;
pub const ACL_EVENT_TIME_LINE: u32 = 8;
pub const ACL_EVENT_DEVICE_USE_ONLY: u32 = 16;
pub const ACL_EVENT_EXTERNAL: u32 = 32;
pub const ACL_EVENT_IPC: u32 = 64;
pub const ACL_RT_BINARY_MAGIC_ELF_AICORE: u32 = 1129660997;
pub const ACL_RT_BINARY_MAGIC_ELF_VECTOR_CORE: u32 = 1094799942;
pub const ACL_RT_BINARY_MAGIC_ELF_CUBE_CORE: u32 = 1095320387;
pub const ACL_SUCCESS: u32 = 0;
pub const ACL_ERROR_INVALID_PARAM: u32 = 100000;
pub const ACL_ERROR_UNINITIALIZE: u32 = 100001;
pub const ACL_ERROR_REPEAT_INITIALIZE: u32 = 100002;
pub const ACL_ERROR_INVALID_FILE: u32 = 100003;
pub const ACL_ERROR_UNSUPPORTED_DATA_TYPE: u32 = 100026;
pub const ACL_ERROR_FORMAT_NOT_MATCH: u32 = 100027;
pub const ACL_ERROR_KERNEL_NOT_FOUND: u32 = 100029;
pub const ACL_ERROR_REPEAT_FINALIZE: u32 = 100037;
pub const ACL_ERROR_COMPILING_STUB_MODE: u32 = 100039;
pub const ACL_ERROR_BAD_ALLOC: u32 = 200000;
pub const ACL_ERROR_API_NOT_SUPPORT: u32 = 200001;
pub const ACL_ERROR_INVALID_DEVICE: u32 = 200002;
pub const ACL_ERROR_FEATURE_UNSUPPORTED: u32 = 200006;
pub const ACL_ERROR_STORAGE_OVER_LIMIT: u32 = 300000;
pub const ACL_ERROR_INTERNAL_ERROR: u32 = 500000;
pub const ACL_ERROR_FAILURE: u32 = 500001;
pub const ACL_ERROR_GE_FAILURE: u32 = 500002;
pub const ACL_ERROR_RT_FAILURE: u32 = 500003;
pub const ACL_ERROR_DRV_FAILURE: u32 = 500004;
pub const ACL_ERROR_RT_PARAM_INVALID: u32 = 107000;
pub const ACL_ERROR_RT_INVALID_DEVICEID: u32 = 107001;
pub const ACL_ERROR_RT_CONTEXT_NULL: u32 = 107002;
pub const ACL_ERROR_RT_STREAM_CONTEXT: u32 = 107003;
pub const ACL_ERROR_RT_ADDR_UNALIGNED: u32 = 107008;
pub const ACL_ERROR_RT_FILE_OPEN: u32 = 107009;
pub const ACL_ERROR_RT_INVALID_MEMORY_TYPE: u32 = 107016;
pub const ACL_ERROR_RT_INVALID_HANDLE: u32 = 107017;
pub const ACL_ERROR_RT_INVALID_MALLOC_TYPE: u32 = 107018;
pub const ACL_ERROR_RT_WAIT_TIMEOUT: u32 = 107019;
pub const ACL_ERROR_RT_FEATURE_NOT_SUPPORT: u32 = 207000;
pub const ACL_ERROR_RT_MEMORY_ALLOCATION: u32 = 207001;
pub const ACL_ERROR_RT_MEMORY_FREE: u32 = 207002;
pub const ACL_ERROR_RT_NO_DEVICE: u32 = 207004;
pub const ACL_ERROR_RT_RESOURCE_ALLOC_FAIL: u32 = 207005;
pub const ACL_ERROR_RT_NO_STREAM_RESOURCE: u32 = 207008;
pub const ACL_ERROR_RT_DEVICE_OOM: u32 = 207018;
pub const ACL_ERROR_RT_INTERNAL_ERROR: u32 = 507000;
pub const ACL_ERROR_RT_SOC_VERSION: u32 = 507008;
pub const ACL_ERROR_RT_LOST_HEARTBEAT: u32 = 507010;
pub const ACL_ERROR_RT_AICORE_TIMEOUT: u32 = 507014;
pub const ACL_ERROR_RT_AICORE_EXCEPTION: u32 = 507015;
pub const ACL_ERROR_RT_AICPU_EXCEPTION: u32 = 507018;
pub const ACL_ERROR_RT_KERNEL_LOOKUP: u32 = 507027;
pub const ACL_ERROR_RT_VECTOR_CORE_TIMEOUT: u32 = 507034;
pub const ACL_ERROR_RT_VECTOR_CORE_EXCEPTION: u32 = 507035;
pub const ACL_ERROR_RT_STREAM_SYNC_TIMEOUT: u32 = 507046;
pub const ACL_ERROR_RT_DEVICE_MEM_ERROR: u32 = 507053;
pub const ACL_ERROR_RT_HBM_MULTI_BIT_ECC_ERROR: u32 = 507054;
pub const ACL_ERROR_RT_DRV_INTERNAL_ERROR: u32 = 507899;
pub const ACLNN_ERR_PARAM_NULLPTR: u32 = 161001;
pub const ACLNN_ERR_PARAM_INVALID: u32 = 161002;
pub const ACLNN_ERR_RUNTIME_ERROR: u32 = 361001;
pub const ACLNN_ERR_INNER: u32 = 561000;
pub const ACLNN_ERR_INNER_INFERSHAPE_ERROR: u32 = 561001;
pub const ACLNN_ERR_INNER_TILING_ERROR: u32 = 561002;
pub const ACLNN_ERR_INNER_FIND_KERNEL_ERROR: u32 = 561003;
pub const ACLNN_ERR_INNER_CREATE_EXECUTOR: u32 = 561101;
pub const ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR: u32 = 561102;
pub const ACLNN_ERR_INNER_NULLPTR: u32 = 561103;
pub const ACLNN_ERR_INNER_OPP_PATH_NOT_FOUND: u32 = 561107;
pub const ACLNN_ERR_INNER_OPP_KERNEL_PKG_NOT_FOUND: u32 = 561112;
#[doc = " What a runtime function answers: 0, or one of the ACL_ERROR_ numbers. (TN)"]
pub type aclError = ::std::os::raw::c_int;
#[doc = " What an aclnn or meta function answers: 0, or one of the ACLNN_ERR_ numbers. (OB)"]
pub type aclnnStatus = i32;
#[doc = " The bits of a binary16. (TN)"]
pub type aclFloat16 = u16;
pub type aclrtContext = *mut ::std::os::raw::c_void;
pub type aclrtStream = *mut ::std::os::raw::c_void;
pub type aclrtEvent = *mut ::std::os::raw::c_void;
pub type aclrtBinary = *mut ::std::os::raw::c_void;
pub type aclrtBinHandle = *mut ::std::os::raw::c_void;
pub type aclrtFuncHandle = *mut ::std::os::raw::c_void;
pub type aclrtArgsHandle = *mut ::std::os::raw::c_void;
pub type aclrtParamHandle = *mut ::std::os::raw::c_void;
#[doc = " Called on the host by aclrtLaunchCallback. (TN)"]
pub type aclrtCallback = ::std::option::Option<unsafe extern "C" fn(userData: *mut ::std::os::raw::c_void)>;
#[doc = " Called on the host by aclrtLaunchHostFunc. (TN)"]
pub type aclrtHostFunc = ::std::option::Option<unsafe extern "C" fn(args: *mut ::std::os::raw::c_void)>;
#[repr(C)]
#[derive(Debug)]
pub struct aclTensor {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct aclScalar {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct aclIntArray {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct aclFloatArray {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct aclBoolArray {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct aclTensorList {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct aclScalarList {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct aclOpExecutor {
    _unused: [u8; 0],
}
#[doc = " Attributes of an allocation; this project passes none. (TN)"]
#[repr(C)]
#[derive(Debug)]
pub struct aclrtMallocConfig {
    _unused: [u8; 0],
}
pub const ACL_DT_UNDEFINED: aclDataType = -1;
pub const ACL_FLOAT: aclDataType = 0;
pub const ACL_FLOAT16: aclDataType = 1;
pub const ACL_INT8: aclDataType = 2;
pub const ACL_INT32: aclDataType = 3;
pub const ACL_UINT8: aclDataType = 4;
pub const ACL_INT16: aclDataType = 6;
pub const ACL_UINT16: aclDataType = 7;
pub const ACL_UINT32: aclDataType = 8;
pub const ACL_INT64: aclDataType = 9;
pub const ACL_UINT64: aclDataType = 10;
pub const ACL_DOUBLE: aclDataType = 11;
pub const ACL_BOOL: aclDataType = 12;
pub const ACL_STRING: aclDataType = 13;
pub const ACL_COMPLEX64: aclDataType = 16;
pub const ACL_COMPLEX128: aclDataType = 17;
pub const ACL_BF16: aclDataType = 27;
pub const ACL_INT4: aclDataType = 29;
pub const ACL_UINT1: aclDataType = 30;
pub const ACL_COMPLEX32: aclDataType = 33;
pub const ACL_HIFLOAT8: aclDataType = 34;
pub const ACL_FLOAT8_E5M2: aclDataType = 35;
pub const ACL_FLOAT8_E4M3FN: aclDataType = 36;
pub const ACL_FLOAT8_E8M0: aclDataType = 37;
pub const ACL_FLOAT6_E3M2: aclDataType = 38;
pub const ACL_FLOAT6_E2M3: aclDataType = 39;
pub const ACL_FLOAT4_E2M1: aclDataType = 40;
pub const ACL_FLOAT4_E1M2: aclDataType = 41;
#[doc = " The type of an element. (TN)"]
pub type aclDataType = i32;
pub const ACL_FORMAT_UNDEFINED: aclFormat = -1;
pub const ACL_FORMAT_NCHW: aclFormat = 0;
pub const ACL_FORMAT_NHWC: aclFormat = 1;
pub const ACL_FORMAT_ND: aclFormat = 2;
pub const ACL_FORMAT_NC1HWC0: aclFormat = 3;
pub const ACL_FORMAT_FRACTAL_Z: aclFormat = 4;
pub const ACL_FORMAT_NC1HWC0_C04: aclFormat = 12;
pub const ACL_FORMAT_HWCN: aclFormat = 16;
pub const ACL_FORMAT_NDHWC: aclFormat = 27;
pub const ACL_FORMAT_FRACTAL_NZ: aclFormat = 29;
pub const ACL_FORMAT_NCDHW: aclFormat = 30;
pub const ACL_FORMAT_NDC1HWC0: aclFormat = 32;
pub const ACL_FRACTAL_Z_3D: aclFormat = 33;
pub const ACL_FORMAT_NC: aclFormat = 35;
pub const ACL_FORMAT_NCL: aclFormat = 47;
pub const ACL_FORMAT_FRACTAL_NZ_C0_16: aclFormat = 50;
pub const ACL_FORMAT_FRACTAL_NZ_C0_32: aclFormat = 51;
pub const ACL_FORMAT_FRACTAL_NZ_C0_2: aclFormat = 52;
pub const ACL_FORMAT_FRACTAL_NZ_C0_4: aclFormat = 53;
pub const ACL_FORMAT_FRACTAL_NZ_C0_8: aclFormat = 54;
#[doc = " The layout of a storage. (TN)"]
pub type aclFormat = i32;
pub const ACL_MEM_MALLOC_HUGE_FIRST: aclrtMemMallocPolicy = 0;
pub const ACL_MEM_MALLOC_HUGE_ONLY: aclrtMemMallocPolicy = 1;
pub const ACL_MEM_MALLOC_NORMAL_ONLY: aclrtMemMallocPolicy = 2;
pub const ACL_MEM_MALLOC_HUGE_FIRST_P2P: aclrtMemMallocPolicy = 3;
pub const ACL_MEM_MALLOC_HUGE_ONLY_P2P: aclrtMemMallocPolicy = 4;
pub const ACL_MEM_MALLOC_NORMAL_ONLY_P2P: aclrtMemMallocPolicy = 5;
pub const ACL_MEM_MALLOC_HUGE1G_ONLY: aclrtMemMallocPolicy = 6;
pub const ACL_MEM_MALLOC_HUGE1G_ONLY_P2P: aclrtMemMallocPolicy = 7;
pub const ACL_MEM_TYPE_LOW_BAND_WIDTH: aclrtMemMallocPolicy = 256;
pub const ACL_MEM_TYPE_HIGH_BAND_WIDTH: aclrtMemMallocPolicy = 4096;
pub const ACL_MEM_ACCESS_USER_SPACE_READONLY: aclrtMemMallocPolicy = 1048576;
#[doc = " Where and in which pages memory is allocated. (TN)"]
pub type aclrtMemMallocPolicy = u32;
pub const ACL_MEMCPY_HOST_TO_HOST: aclrtMemcpyKind = 0;
pub const ACL_MEMCPY_HOST_TO_DEVICE: aclrtMemcpyKind = 1;
pub const ACL_MEMCPY_DEVICE_TO_HOST: aclrtMemcpyKind = 2;
pub const ACL_MEMCPY_DEVICE_TO_DEVICE: aclrtMemcpyKind = 3;
pub const ACL_MEMCPY_DEFAULT: aclrtMemcpyKind = 4;
pub const ACL_MEMCPY_HOST_TO_BUF_TO_DEVICE: aclrtMemcpyKind = 5;
pub const ACL_MEMCPY_INNER_DEVICE_TO_DEVICE: aclrtMemcpyKind = 6;
pub const ACL_MEMCPY_INTER_DEVICE_TO_DEVICE: aclrtMemcpyKind = 7;
#[doc = " From where to where; the runtime infers it from the pointers. (TN)"]
pub type aclrtMemcpyKind = u32;
pub const ACL_DEVICE: aclrtRunMode = 0;
pub const ACL_HOST: aclrtRunMode = 1;
#[doc = " Where this process runs. (TN)"]
pub type aclrtRunMode = u32;
pub const ACL_EVENT_RECORDED_STATUS_NOT_READY: aclrtEventRecordedStatus = 0;
pub const ACL_EVENT_RECORDED_STATUS_COMPLETE: aclrtEventRecordedStatus = 1;
#[doc = " What aclrtQueryEventStatus answers. (TN)"]
pub type aclrtEventRecordedStatus = u32;
pub const ACL_EVENT_WAIT_STATUS_COMPLETE: aclrtEventWaitStatus = 0;
pub const ACL_EVENT_WAIT_STATUS_NOT_READY: aclrtEventWaitStatus = 1;
pub const ACL_EVENT_WAIT_STATUS_RESERVED: aclrtEventWaitStatus = 65535;
#[doc = " What aclrtQueryEventWaitStatus answers. (TN)"]
pub type aclrtEventWaitStatus = u32;
pub const ACL_STREAM_STATUS_COMPLETE: aclrtStreamStatus = 0;
pub const ACL_STREAM_STATUS_NOT_READY: aclrtStreamStatus = 1;
#[doc = " What aclrtStreamQuery answers. (TN)"]
pub type aclrtStreamStatus = u32;
pub const ACL_RT_THREAD_LEVEL: aclrtLastErrLevel = 0;
#[doc = " Whose last error is meant. (TN)"]
pub type aclrtLastErrLevel = u32;
pub const ACL_CALLBACK_NO_BLOCK: aclrtCallbackBlockType = 0;
pub const ACL_CALLBACK_BLOCK: aclrtCallbackBlockType = 1;
#[doc = " Whether the stream waits for a callback. (TN)"]
pub type aclrtCallbackBlockType = u32;
pub const ACL_RT_DEVICE_STATUS_NORMAL: aclrtDeviceStatus = 0;
pub const ACL_RT_DEVICE_STATUS_ABNORMAL: aclrtDeviceStatus = 1;
#[doc = " Whether a device is in order. (TN)"]
pub type aclrtDeviceStatus = u32;
pub const ACL_DDR_MEM: aclrtMemAttr = 0;
pub const ACL_HBM_MEM: aclrtMemAttr = 1;
pub const ACL_DDR_MEM_HUGE: aclrtMemAttr = 2;
pub const ACL_DDR_MEM_NORMAL: aclrtMemAttr = 3;
pub const ACL_HBM_MEM_HUGE: aclrtMemAttr = 4;
pub const ACL_HBM_MEM_NORMAL: aclrtMemAttr = 5;
pub const ACL_MEM_NORMAL: aclrtMemAttr = 12;
pub const ACL_MEM_HUGE: aclrtMemAttr = 13;
#[doc = " A kind of memory, for aclrtGetMemInfo. (TN)"]
pub type aclrtMemAttr = u32;
pub const ACL_DEV_ATTR_AICPU_CORE_NUM: aclrtDevAttr = 1;
pub const ACL_DEV_ATTR_AICORE_CORE_NUM: aclrtDevAttr = 101;
pub const ACL_DEV_ATTR_CUBE_CORE_NUM: aclrtDevAttr = 102;
pub const ACL_DEV_ATTR_VECTOR_CORE_NUM: aclrtDevAttr = 201;
pub const ACL_DEV_ATTR_WARP_SIZE: aclrtDevAttr = 202;
pub const ACL_DEV_ATTR_MAX_THREAD_PER_VECTOR_CORE: aclrtDevAttr = 203;
pub const ACL_DEV_ATTR_UBUF_PER_VECTOR_CORE: aclrtDevAttr = 204;
pub const ACL_DEV_ATTR_TOTAL_GLOBAL_MEM_SIZE: aclrtDevAttr = 301;
pub const ACL_DEV_ATTR_L2_CACHE_SIZE: aclrtDevAttr = 302;
pub const ACL_DEV_ATTR_PHY_CHIP_ID: aclrtDevAttr = 402;
pub const ACL_DEV_ATTR_IS_VIRTUAL: aclrtDevAttr = 501;
pub const ACL_DEV_ATTR_NPU_ARCH: aclrtDevAttr = 601;
#[doc = " An attribute of a device, for aclrtGetDeviceInfo. (TN)"]
pub type aclrtDevAttr = u32;
pub const ACL_DEVICE_INFO_AI_CORE_NUM: aclDeviceInfo = 0;
pub const ACL_DEVICE_INFO_VECTOR_CORE_NUM: aclDeviceInfo = 1;
pub const ACL_DEVICE_INFO_L2_SIZE: aclDeviceInfo = 2;
#[doc = " A number about a device, for aclGetDeviceCapability. (TN)"]
pub type aclDeviceInfo = u32;
pub const ACL_MEM_LOCATION_TYPE_HOST: aclrtMemLocationType = 0;
pub const ACL_MEM_LOCATION_TYPE_DEVICE: aclrtMemLocationType = 1;
#[doc = " Which memory a pointer points into. (TN)"]
pub type aclrtMemLocationType = u32;
pub const ACL_RT_BINARY_LOAD_OPT_LAZY_LOAD: aclrtBinaryLoadOptionType = 1;
pub const ACL_RT_BINARY_LOAD_OPT_LAZY_MAGIC: aclrtBinaryLoadOptionType = 2;
pub const ACL_RT_BINARY_LOAD_OPT_MAGIC: aclrtBinaryLoadOptionType = 2;
pub const ACL_RT_BINARY_LOAD_OPT_CPU_KERNEL_MODE: aclrtBinaryLoadOptionType = 3;
#[doc = " An option of loading a kernel binary. (TN)"]
pub type aclrtBinaryLoadOptionType = u32;
pub const ACL_RT_LAUNCH_KERNEL_ATTR_SCHEM_MODE: aclrtLaunchKernelAttrId = 1;
pub const ACL_RT_LAUNCH_KERNEL_ATTR_DYN_UBUF_SIZE: aclrtLaunchKernelAttrId = 2;
pub const ACL_RT_LAUNCH_KERNEL_ATTR_ENGINE_TYPE: aclrtLaunchKernelAttrId = 3;
pub const ACL_RT_LAUNCH_KERNEL_ATTR_BLOCKDIM_OFFSET: aclrtLaunchKernelAttrId = 4;
pub const ACL_RT_LAUNCH_KERNEL_ATTR_BLOCK_TASK_PREFETCH: aclrtLaunchKernelAttrId = 5;
pub const ACL_RT_LAUNCH_KERNEL_ATTR_DATA_DUMP: aclrtLaunchKernelAttrId = 6;
pub const ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT: aclrtLaunchKernelAttrId = 7;
pub const ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT_US: aclrtLaunchKernelAttrId = 8;
#[doc = " An attribute of a launch. (TN)"]
pub type aclrtLaunchKernelAttrId = u32;
pub const ACL_RT_ENGINE_TYPE_AIC: aclrtEngineType = 0;
pub const ACL_RT_ENGINE_TYPE_AIV: aclrtEngineType = 1;
#[doc = " Which cores a kernel runs on. (TN)"]
pub type aclrtEngineType = u32;
#[doc = " Where a pointer points into. (TN)"]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct aclrtMemLocation {
    pub id: u32,
    pub type_: aclrtMemLocationType,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtMemLocation"][::std::mem::size_of::<aclrtMemLocation>() - 8usize];
    ["Alignment of aclrtMemLocation"][::std::mem::align_of::<aclrtMemLocation>() - 4usize];
    ["Offset of field: aclrtMemLocation::id"][::std::mem::offset_of!(aclrtMemLocation, id) - 0usize];
    ["Offset of field: aclrtMemLocation::type_"][::std::mem::offset_of!(aclrtMemLocation, type_) - 4usize];
};
impl Default for aclrtMemLocation {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[doc = " What aclrtPointerGetAttributes answers. (TN)"]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct aclrtPtrAttributes {
    pub location: aclrtMemLocation,
    pub pageSize: u32,
    pub rsv: [u32; 4usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtPtrAttributes"][::std::mem::size_of::<aclrtPtrAttributes>() - 28usize];
    ["Alignment of aclrtPtrAttributes"][::std::mem::align_of::<aclrtPtrAttributes>() - 4usize];
    ["Offset of field: aclrtPtrAttributes::location"]
        [::std::mem::offset_of!(aclrtPtrAttributes, location) - 0usize];
    ["Offset of field: aclrtPtrAttributes::pageSize"]
        [::std::mem::offset_of!(aclrtPtrAttributes, pageSize) - 8usize];
    ["Offset of field: aclrtPtrAttributes::rsv"][::std::mem::offset_of!(aclrtPtrAttributes, rsv) - 12usize];
};
impl Default for aclrtPtrAttributes {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[doc = " The value of an option of loading; which member holds is the option's type. (TN)"]
#[repr(C)]
#[derive(Copy, Clone)]
pub union aclrtBinaryLoadOptionValue {
    pub isLazyLoad: u32,
    pub magic: u32,
    pub cpuKernelMode: i32,
    pub rsv: [u32; 4usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtBinaryLoadOptionValue"][::std::mem::size_of::<aclrtBinaryLoadOptionValue>() - 16usize];
    ["Alignment of aclrtBinaryLoadOptionValue"]
        [::std::mem::align_of::<aclrtBinaryLoadOptionValue>() - 4usize];
    ["Offset of field: aclrtBinaryLoadOptionValue::isLazyLoad"]
        [::std::mem::offset_of!(aclrtBinaryLoadOptionValue, isLazyLoad) - 0usize];
    ["Offset of field: aclrtBinaryLoadOptionValue::magic"]
        [::std::mem::offset_of!(aclrtBinaryLoadOptionValue, magic) - 0usize];
    ["Offset of field: aclrtBinaryLoadOptionValue::cpuKernelMode"]
        [::std::mem::offset_of!(aclrtBinaryLoadOptionValue, cpuKernelMode) - 0usize];
    ["Offset of field: aclrtBinaryLoadOptionValue::rsv"]
        [::std::mem::offset_of!(aclrtBinaryLoadOptionValue, rsv) - 0usize];
};
impl Default for aclrtBinaryLoadOptionValue {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[doc = " An option of loading a kernel binary. (TN)"]
#[repr(C)]
#[derive(Copy, Clone)]
pub struct aclrtBinaryLoadOption {
    pub type_: aclrtBinaryLoadOptionType,
    pub value: aclrtBinaryLoadOptionValue,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtBinaryLoadOption"][::std::mem::size_of::<aclrtBinaryLoadOption>() - 20usize];
    ["Alignment of aclrtBinaryLoadOption"][::std::mem::align_of::<aclrtBinaryLoadOption>() - 4usize];
    ["Offset of field: aclrtBinaryLoadOption::type_"]
        [::std::mem::offset_of!(aclrtBinaryLoadOption, type_) - 0usize];
    ["Offset of field: aclrtBinaryLoadOption::value"]
        [::std::mem::offset_of!(aclrtBinaryLoadOption, value) - 4usize];
};
impl Default for aclrtBinaryLoadOption {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[doc = " The options of loading a kernel binary. (TN)"]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct aclrtBinaryLoadOptions {
    pub options: *mut aclrtBinaryLoadOption,
    pub numOpt: usize,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtBinaryLoadOptions"][::std::mem::size_of::<aclrtBinaryLoadOptions>() - 16usize];
    ["Alignment of aclrtBinaryLoadOptions"][::std::mem::align_of::<aclrtBinaryLoadOptions>() - 8usize];
    ["Offset of field: aclrtBinaryLoadOptions::options"]
        [::std::mem::offset_of!(aclrtBinaryLoadOptions, options) - 0usize];
    ["Offset of field: aclrtBinaryLoadOptions::numOpt"]
        [::std::mem::offset_of!(aclrtBinaryLoadOptions, numOpt) - 8usize];
};
impl Default for aclrtBinaryLoadOptions {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[doc = " A time-out in microseconds, in two halves. (TN)"]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct aclrtTimeoutUs {
    pub timeoutLow: u32,
    pub timeoutHigh: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtTimeoutUs"][::std::mem::size_of::<aclrtTimeoutUs>() - 8usize];
    ["Alignment of aclrtTimeoutUs"][::std::mem::align_of::<aclrtTimeoutUs>() - 4usize];
    ["Offset of field: aclrtTimeoutUs::timeoutLow"]
        [::std::mem::offset_of!(aclrtTimeoutUs, timeoutLow) - 0usize];
    ["Offset of field: aclrtTimeoutUs::timeoutHigh"]
        [::std::mem::offset_of!(aclrtTimeoutUs, timeoutHigh) - 4usize];
};
#[doc = " The value of an attribute of a launch; which member holds is the attribute's id. (TN)"]
#[repr(C)]
#[derive(Copy, Clone)]
pub union aclrtLaunchKernelAttrValue {
    pub schemMode: u8,
    pub dynUBufSize: u32,
    pub localMemorySize: u32,
    pub engineType: aclrtEngineType,
    pub blockDimOffset: u32,
    pub isBlockTaskPrefetch: u8,
    pub isDataDump: u8,
    pub timeout: u16,
    pub timeoutUs: aclrtTimeoutUs,
    pub rsv: [u32; 4usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtLaunchKernelAttrValue"][::std::mem::size_of::<aclrtLaunchKernelAttrValue>() - 16usize];
    ["Alignment of aclrtLaunchKernelAttrValue"]
        [::std::mem::align_of::<aclrtLaunchKernelAttrValue>() - 4usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::schemMode"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, schemMode) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::dynUBufSize"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, dynUBufSize) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::localMemorySize"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, localMemorySize) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::engineType"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, engineType) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::blockDimOffset"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, blockDimOffset) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::isBlockTaskPrefetch"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, isBlockTaskPrefetch) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::isDataDump"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, isDataDump) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::timeout"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, timeout) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::timeoutUs"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, timeoutUs) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttrValue::rsv"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttrValue, rsv) - 0usize];
};
impl Default for aclrtLaunchKernelAttrValue {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[doc = " An attribute of a launch. (TN)"]
#[repr(C)]
#[derive(Copy, Clone)]
pub struct aclrtLaunchKernelAttr {
    pub id: aclrtLaunchKernelAttrId,
    pub value: aclrtLaunchKernelAttrValue,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtLaunchKernelAttr"][::std::mem::size_of::<aclrtLaunchKernelAttr>() - 20usize];
    ["Alignment of aclrtLaunchKernelAttr"][::std::mem::align_of::<aclrtLaunchKernelAttr>() - 4usize];
    ["Offset of field: aclrtLaunchKernelAttr::id"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttr, id) - 0usize];
    ["Offset of field: aclrtLaunchKernelAttr::value"]
        [::std::mem::offset_of!(aclrtLaunchKernelAttr, value) - 4usize];
};
impl Default for aclrtLaunchKernelAttr {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[doc = " The attributes of a launch. (TN)"]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct aclrtLaunchKernelCfg {
    pub attrs: *mut aclrtLaunchKernelAttr,
    pub numAttrs: usize,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtLaunchKernelCfg"][::std::mem::size_of::<aclrtLaunchKernelCfg>() - 16usize];
    ["Alignment of aclrtLaunchKernelCfg"][::std::mem::align_of::<aclrtLaunchKernelCfg>() - 8usize];
    ["Offset of field: aclrtLaunchKernelCfg::attrs"]
        [::std::mem::offset_of!(aclrtLaunchKernelCfg, attrs) - 0usize];
    ["Offset of field: aclrtLaunchKernelCfg::numAttrs"]
        [::std::mem::offset_of!(aclrtLaunchKernelCfg, numAttrs) - 8usize];
};
impl Default for aclrtLaunchKernelCfg {
    fn default() -> Self {
        let mut s = ::std::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::std::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[doc = " Where in the arguments an address belongs, and where in them the block lies that it points to; bytes. (TN)"]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct aclrtPlaceHolderInfo {
    pub addrOffset: u32,
    pub dataOffset: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of aclrtPlaceHolderInfo"][::std::mem::size_of::<aclrtPlaceHolderInfo>() - 8usize];
    ["Alignment of aclrtPlaceHolderInfo"][::std::mem::align_of::<aclrtPlaceHolderInfo>() - 4usize];
    ["Offset of field: aclrtPlaceHolderInfo::addrOffset"]
        [::std::mem::offset_of!(aclrtPlaceHolderInfo, addrOffset) - 0usize];
    ["Offset of field: aclrtPlaceHolderInfo::dataOffset"]
        [::std::mem::offset_of!(aclrtPlaceHolderInfo, dataOffset) - 4usize];
};
#[doc = " AscendCL, of libacl_rt.so or libascendcl.so."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct mxhal_acl_runtime {
    #[doc = " Starts AscendCL for the process. A null path takes the defaults; a second call answers\n  ACL_ERROR_REPEAT_INITIALIZE, which is harmless. (TN, RT)"]
    pub aclInit:
        ::std::option::Option<unsafe extern "C" fn(configPath: *const ::std::os::raw::c_char) -> aclError>,
    #[doc = " Ends AscendCL for the whole process, whoever else uses it. (TN, RT)"]
    pub aclFinalize: ::std::option::Option<unsafe extern "C" fn() -> aclError>,
    #[doc = " Takes one aclInit back and says how many are left. (TN, RT)"]
    pub aclFinalizeReference: ::std::option::Option<unsafe extern "C" fn(refCount: *mut u64) -> aclError>,
    #[doc = " The version of the runtime's interface. (TN, RT)"]
    pub aclrtGetVersion: ::std::option::Option<
        unsafe extern "C" fn(
            majorVersion: *mut i32,
            minorVersion: *mut i32,
            patchVersion: *mut i32,
        ) -> aclError,
    >,
    #[doc = " The version of an installed package as text. (TN, RT)"]
    pub aclsysGetVersionStr: ::std::option::Option<
        unsafe extern "C" fn(
            pkgName: *mut ::std::os::raw::c_char,
            versionStr: *mut ::std::os::raw::c_char,
        ) -> aclError,
    >,
    #[doc = " The version of an installed package as a number. (TN, RT)"]
    pub aclsysGetVersionNum: ::std::option::Option<
        unsafe extern "C" fn(pkgName: *mut ::std::os::raw::c_char, versionNum: *mut i32) -> aclError,
    >,
    #[doc = " The newest error message of this thread, which this call clears; null when there is none. Valid until\n  the next call. (TN, RT)"]
    pub aclGetRecentErrMsg: ::std::option::Option<unsafe extern "C" fn() -> *const ::std::os::raw::c_char>,
    #[doc = " The last error of this level, which this call clears. (TN, RT)"]
    pub aclrtGetLastError: ::std::option::Option<unsafe extern "C" fn(level: aclrtLastErrLevel) -> aclError>,
    #[doc = " The last error of this level, which stays. (TN, RT)"]
    pub aclrtPeekAtLastError:
        ::std::option::Option<unsafe extern "C" fn(level: aclrtLastErrLevel) -> aclError>,
    #[doc = " How many devices there are. (TN, RT)"]
    pub aclrtGetDeviceCount: ::std::option::Option<unsafe extern "C" fn(count: *mut u32) -> aclError>,
    #[doc = " Binds the calling thread to the device and its default context. Counted: as many resets undo it. (TN,\n  RT)"]
    pub aclrtSetDevice: ::std::option::Option<unsafe extern "C" fn(deviceId: i32) -> aclError>,
    #[doc = " Takes one aclrtSetDevice back; the last one frees what the default context holds. (TN, RT)"]
    pub aclrtResetDevice: ::std::option::Option<unsafe extern "C" fn(deviceId: i32) -> aclError>,
    #[doc = " Resets the device whatever the count is. (TN, RT)"]
    pub aclrtResetDeviceForce: ::std::option::Option<unsafe extern "C" fn(deviceId: i32) -> aclError>,
    #[doc = " The device of the calling thread. (TN, RT)"]
    pub aclrtGetDevice: ::std::option::Option<unsafe extern "C" fn(deviceId: *mut i32) -> aclError>,
    #[doc = " One attribute of a device. (TN, RT)"]
    pub aclrtGetDeviceInfo: ::std::option::Option<
        unsafe extern "C" fn(deviceId: u32, attr: aclrtDevAttr, value: *mut i64) -> aclError,
    >,
    #[doc = " One number about a device, by the older enumeration. (TN, RT)"]
    pub aclGetDeviceCapability: ::std::option::Option<
        unsafe extern "C" fn(deviceId: u32, deviceInfo: aclDeviceInfo, value: *mut i64) -> aclError,
    >,
    #[doc = " The name of the SoC, such as Ascend950PR_9599, of device 0 always; null on failure. (TN, RT)"]
    pub aclrtGetSocName: ::std::option::Option<unsafe extern "C" fn() -> *const ::std::os::raw::c_char>,
    #[doc = " Whether this process runs on the host or on the device. (TN, RT)"]
    pub aclrtGetRunMode: ::std::option::Option<unsafe extern "C" fn(runMode: *mut aclrtRunMode) -> aclError>,
    #[doc = " Waits for everything on the device of the current context. (TN, RT)"]
    pub aclrtSynchronizeDevice: ::std::option::Option<unsafe extern "C" fn() -> aclError>,
    #[doc = " The same, for at most so many milliseconds. (TN, RT)"]
    pub aclrtSynchronizeDeviceWithTimeout:
        ::std::option::Option<unsafe extern "C" fn(timeout: i32) -> aclError>,
    #[doc = " Whether the device is in order. (TN, RT)"]
    pub aclrtQueryDeviceStatus: ::std::option::Option<
        unsafe extern "C" fn(deviceId: i32, deviceStatus: *mut aclrtDeviceStatus) -> aclError,
    >,
    #[doc = " A context on the device, which becomes current on the calling thread. (TN, RT)"]
    pub aclrtCreateContext:
        ::std::option::Option<unsafe extern "C" fn(context: *mut aclrtContext, deviceId: i32) -> aclError>,
    #[doc = " Destroys a context that aclrtCreateContext made. (TN, RT)"]
    pub aclrtDestroyContext: ::std::option::Option<unsafe extern "C" fn(context: aclrtContext) -> aclError>,
    #[doc = " Makes the context current on the calling thread. (TN, RT)"]
    pub aclrtSetCurrentContext:
        ::std::option::Option<unsafe extern "C" fn(context: aclrtContext) -> aclError>,
    #[doc = " The context that is current on the calling thread. (TN, RT)"]
    pub aclrtGetCurrentContext:
        ::std::option::Option<unsafe extern "C" fn(context: *mut aclrtContext) -> aclError>,
    #[doc = " A stream in the current context. (TN, RT)"]
    pub aclrtCreateStream: ::std::option::Option<unsafe extern "C" fn(stream: *mut aclrtStream) -> aclError>,
    #[doc = " The same, with ACL_STREAM_ flags. (TN, RT)"]
    pub aclrtCreateStreamWithConfig: ::std::option::Option<
        unsafe extern "C" fn(stream: *mut aclrtStream, priority: u32, flag: u32) -> aclError,
    >,
    #[doc = " Destroys a stream once its work is done. (TN, RT)"]
    pub aclrtDestroyStream: ::std::option::Option<unsafe extern "C" fn(stream: aclrtStream) -> aclError>,
    #[doc = " Destroys a stream and drops its work. (TN, RT)"]
    pub aclrtDestroyStreamForce: ::std::option::Option<unsafe extern "C" fn(stream: aclrtStream) -> aclError>,
    #[doc = " Waits for all work of the stream. (TN, RT)"]
    pub aclrtSynchronizeStream: ::std::option::Option<unsafe extern "C" fn(stream: aclrtStream) -> aclError>,
    #[doc = " The same, for at most so many milliseconds. (TN, RT)"]
    pub aclrtSynchronizeStreamWithTimeout:
        ::std::option::Option<unsafe extern "C" fn(stream: aclrtStream, timeout: i32) -> aclError>,
    #[doc = " Whether the stream has done all its work. (TN, RT)"]
    pub aclrtStreamQuery: ::std::option::Option<
        unsafe extern "C" fn(stream: aclrtStream, status: *mut aclrtStreamStatus) -> aclError,
    >,
    #[doc = " Work enqueued later on the stream waits for the event. (TN, RT)"]
    pub aclrtStreamWaitEvent:
        ::std::option::Option<unsafe extern "C" fn(stream: aclrtStream, event: aclrtEvent) -> aclError>,
    #[doc = " Calls a function on the host in the order of the stream. (TN, RT)"]
    pub aclrtLaunchHostFunc: ::std::option::Option<
        unsafe extern "C" fn(
            stream: aclrtStream,
            fn_: aclrtHostFunc,
            args: *mut ::std::os::raw::c_void,
        ) -> aclError,
    >,
    #[doc = " The older form, which needs a thread that processes reports. (TN, RT)"]
    pub aclrtLaunchCallback: ::std::option::Option<
        unsafe extern "C" fn(
            fn_: aclrtCallback,
            userData: *mut ::std::os::raw::c_void,
            blockType: aclrtCallbackBlockType,
            stream: aclrtStream,
        ) -> aclError,
    >,
    #[doc = " Names the thread that runs the callbacks of a stream. (TN, RT)"]
    pub aclrtSubscribeReport:
        ::std::option::Option<unsafe extern "C" fn(threadId: u64, stream: aclrtStream) -> aclError>,
    #[doc = " Runs pending callbacks on the calling thread; milliseconds. (TN, RT)"]
    pub aclrtProcessReport: ::std::option::Option<unsafe extern "C" fn(timeout: i32) -> aclError>,
    #[doc = " An event. (TN, RT)"]
    pub aclrtCreateEvent: ::std::option::Option<unsafe extern "C" fn(event: *mut aclrtEvent) -> aclError>,
    #[doc = " An event with ACL_EVENT_ flags. (TN, RT)"]
    pub aclrtCreateEventWithFlag:
        ::std::option::Option<unsafe extern "C" fn(event: *mut aclrtEvent, flag: u32) -> aclError>,
    #[doc = " The extended kind of event. (TN, RT)"]
    pub aclrtCreateEventExWithFlag:
        ::std::option::Option<unsafe extern "C" fn(event: *mut aclrtEvent, flag: u32) -> aclError>,
    #[doc = " Destroys an event. (TN, RT)"]
    pub aclrtDestroyEvent: ::std::option::Option<unsafe extern "C" fn(event: aclrtEvent) -> aclError>,
    #[doc = " Records the event after the work enqueued so far. (TN, RT)"]
    pub aclrtRecordEvent:
        ::std::option::Option<unsafe extern "C" fn(event: aclrtEvent, stream: aclrtStream) -> aclError>,
    #[doc = " Makes the event as if it had not been recorded, in the order of the stream. (TN, RT)"]
    pub aclrtResetEvent:
        ::std::option::Option<unsafe extern "C" fn(event: aclrtEvent, stream: aclrtStream) -> aclError>,
    #[doc = " Whether what was recorded has been reached. (TN, RT)"]
    pub aclrtQueryEventStatus: ::std::option::Option<
        unsafe extern "C" fn(event: aclrtEvent, status: *mut aclrtEventRecordedStatus) -> aclError,
    >,
    #[doc = " Whether the streams that wait for the event have got it. (TN, RT)"]
    pub aclrtQueryEventWaitStatus: ::std::option::Option<
        unsafe extern "C" fn(event: aclrtEvent, status: *mut aclrtEventWaitStatus) -> aclError,
    >,
    #[doc = " Waits for the event. (TN, RT)"]
    pub aclrtSynchronizeEvent: ::std::option::Option<unsafe extern "C" fn(event: aclrtEvent) -> aclError>,
    #[doc = " The same, for at most so many milliseconds. (TN, RT)"]
    pub aclrtSynchronizeEventWithTimeout:
        ::std::option::Option<unsafe extern "C" fn(event: aclrtEvent, timeout: i32) -> aclError>,
    #[doc = " Milliseconds between two events that were made with ACL_EVENT_TIME_LINE. (TN, RT)"]
    pub aclrtEventElapsedTime: ::std::option::Option<
        unsafe extern "C" fn(ms: *mut f32, startEvent: aclrtEvent, endEvent: aclrtEvent) -> aclError,
    >,
    #[doc = " Device memory; its first byte is aligned to 64. (TN, RT)"]
    pub aclrtMalloc: ::std::option::Option<
        unsafe extern "C" fn(
            devPtr: *mut *mut ::std::os::raw::c_void,
            size: usize,
            policy: aclrtMemMallocPolicy,
        ) -> aclError,
    >,
    #[doc = " The variant for an alignment of 32. (TN, RT)"]
    pub aclrtMallocAlign32: ::std::option::Option<
        unsafe extern "C" fn(
            devPtr: *mut *mut ::std::os::raw::c_void,
            size: usize,
            policy: aclrtMemMallocPolicy,
        ) -> aclError,
    >,
    #[doc = " Device memory that the caches of the device may hold. (TN, RT)"]
    pub aclrtMallocCached: ::std::option::Option<
        unsafe extern "C" fn(
            devPtr: *mut *mut ::std::os::raw::c_void,
            size: usize,
            policy: aclrtMemMallocPolicy,
        ) -> aclError,
    >,
    #[doc = " The same with attributes; a null configuration is allowed. (TN, RT)"]
    pub aclrtMallocWithCfg: ::std::option::Option<
        unsafe extern "C" fn(
            devPtr: *mut *mut ::std::os::raw::c_void,
            size: usize,
            policy: aclrtMemMallocPolicy,
            cfg: *mut aclrtMallocConfig,
        ) -> aclError,
    >,
    #[doc = " Frees device memory. (TN, RT)"]
    pub aclrtFree:
        ::std::option::Option<unsafe extern "C" fn(devPtr: *mut ::std::os::raw::c_void) -> aclError>,
    #[doc = " Page-locked host memory. (TN, RT)"]
    pub aclrtMallocHost: ::std::option::Option<
        unsafe extern "C" fn(hostPtr: *mut *mut ::std::os::raw::c_void, size: usize) -> aclError,
    >,
    #[doc = " Frees page-locked host memory. (TN, RT)"]
    pub aclrtFreeHost:
        ::std::option::Option<unsafe extern "C" fn(hostPtr: *mut ::std::os::raw::c_void) -> aclError>,
    #[doc = " Fills device memory with a byte, and waits. (TN, RT)"]
    pub aclrtMemset: ::std::option::Option<
        unsafe extern "C" fn(
            devPtr: *mut ::std::os::raw::c_void,
            maxCount: usize,
            value: i32,
            count: usize,
        ) -> aclError,
    >,
    #[doc = " The same, in the order of the stream. (TN, RT)"]
    pub aclrtMemsetAsync: ::std::option::Option<
        unsafe extern "C" fn(
            devPtr: *mut ::std::os::raw::c_void,
            maxCount: usize,
            value: i32,
            count: usize,
            stream: aclrtStream,
        ) -> aclError,
    >,
    #[doc = " Copies bytes, and waits. The runtime infers the direction from the pointers. (TN, RT)"]
    pub aclrtMemcpy: ::std::option::Option<
        unsafe extern "C" fn(
            dst: *mut ::std::os::raw::c_void,
            destMax: usize,
            src: *const ::std::os::raw::c_void,
            count: usize,
            kind: aclrtMemcpyKind,
        ) -> aclError,
    >,
    #[doc = " The same, in the order of the stream. (TN, RT)"]
    pub aclrtMemcpyAsync: ::std::option::Option<
        unsafe extern "C" fn(
            dst: *mut ::std::os::raw::c_void,
            destMax: usize,
            src: *const ::std::os::raw::c_void,
            count: usize,
            kind: aclrtMemcpyKind,
            stream: aclrtStream,
        ) -> aclError,
    >,
    #[doc = " Copies rows that lie a pitch apart, and waits. (TN, RT)"]
    pub aclrtMemcpy2d: ::std::option::Option<
        unsafe extern "C" fn(
            dst: *mut ::std::os::raw::c_void,
            dpitch: usize,
            src: *const ::std::os::raw::c_void,
            spitch: usize,
            width: usize,
            height: usize,
            kind: aclrtMemcpyKind,
        ) -> aclError,
    >,
    #[doc = " The same, in the order of the stream. (TN, RT)"]
    pub aclrtMemcpy2dAsync: ::std::option::Option<
        unsafe extern "C" fn(
            dst: *mut ::std::os::raw::c_void,
            dpitch: usize,
            src: *const ::std::os::raw::c_void,
            spitch: usize,
            width: usize,
            height: usize,
            kind: aclrtMemcpyKind,
            stream: aclrtStream,
        ) -> aclError,
    >,
    #[doc = " Free and total bytes of a kind of memory. (TN, RT)"]
    pub aclrtGetMemInfo: ::std::option::Option<
        unsafe extern "C" fn(attr: aclrtMemAttr, free: *mut usize, total: *mut usize) -> aclError,
    >,
    #[doc = " Where a pointer points to. (TN, RT)"]
    pub aclrtPointerGetAttributes: ::std::option::Option<
        unsafe extern "C" fn(
            ptr: *const ::std::os::raw::c_void,
            attributes: *mut aclrtPtrAttributes,
        ) -> aclError,
    >,
    #[doc = " Bytes of one element. Wrong for FP4 and FP6, for which it answers 8: never use it for their sizes.\n  (TN, RT)"]
    pub aclDataTypeSize: ::std::option::Option<unsafe extern "C" fn(dataType: aclDataType) -> usize>,
    #[doc = " binary16 to binary32. (TN, RT)"]
    pub aclFloat16ToFloat: ::std::option::Option<unsafe extern "C" fn(value: aclFloat16) -> f32>,
    #[doc = " binary32 to binary16. (TN, RT)"]
    pub aclFloatToFloat16: ::std::option::Option<unsafe extern "C" fn(value: f32) -> aclFloat16>,
    #[doc = " Loads a kernel binary; null options are allowed. (TN, RT)"]
    pub aclrtBinaryLoadFromFile: ::std::option::Option<
        unsafe extern "C" fn(
            binPath: *const ::std::os::raw::c_char,
            options: *mut aclrtBinaryLoadOptions,
            binHandle: *mut aclrtBinHandle,
        ) -> aclError,
    >,
    #[doc = " The same from memory. (TN, RT)"]
    pub aclrtBinaryLoadFromData: ::std::option::Option<
        unsafe extern "C" fn(
            data: *const ::std::os::raw::c_void,
            length: usize,
            options: *const aclrtBinaryLoadOptions,
            binHandle: *mut aclrtBinHandle,
        ) -> aclError,
    >,
    #[doc = " Unloads a kernel binary. (TN, RT)"]
    pub aclrtBinaryUnLoad: ::std::option::Option<unsafe extern "C" fn(binHandle: aclrtBinHandle) -> aclError>,
    #[doc = " A kernel by its name. (TN, RT)"]
    pub aclrtBinaryGetFunction: ::std::option::Option<
        unsafe extern "C" fn(
            binHandle: aclrtBinHandle,
            kernelName: *const ::std::os::raw::c_char,
            funcHandle: *mut aclrtFuncHandle,
        ) -> aclError,
    >,
    #[doc = " A kernel by its entry number. (TN, RT)"]
    pub aclrtBinaryGetFunctionByEntry: ::std::option::Option<
        unsafe extern "C" fn(
            binHandle: aclrtBinHandle,
            funcEntry: u64,
            funcHandle: *mut aclrtFuncHandle,
        ) -> aclError,
    >,
    #[doc = " Describes a binary in memory for aclrtBinaryLoad. (TN, RT)"]
    pub aclrtCreateBinary: ::std::option::Option<
        unsafe extern "C" fn(data: *const ::std::os::raw::c_void, dataLen: usize) -> aclrtBinary,
    >,
    #[doc = " Destroys such a description. (TN, RT)"]
    pub aclrtDestroyBinary: ::std::option::Option<unsafe extern "C" fn(binary: aclrtBinary) -> aclError>,
    #[doc = " Loads a described binary. (TN, RT)"]
    pub aclrtBinaryLoad: ::std::option::Option<
        unsafe extern "C" fn(binary: aclrtBinary, binHandle: *mut aclrtBinHandle) -> aclError,
    >,
    #[doc = " The device addresses of a kernel's cube and vector parts. (TN, RT)"]
    pub aclrtGetFunctionAddr: ::std::option::Option<
        unsafe extern "C" fn(
            funcHandle: aclrtFuncHandle,
            aicAddr: *mut *mut ::std::os::raw::c_void,
            aivAddr: *mut *mut ::std::os::raw::c_void,
        ) -> aclError,
    >,
    #[doc = " The name of a kernel. (TN, RT)"]
    pub aclrtGetFunctionName: ::std::option::Option<
        unsafe extern "C" fn(
            funcHandle: aclrtFuncHandle,
            maxLen: u32,
            name: *mut ::std::os::raw::c_char,
        ) -> aclError,
    >,
    #[doc = " Begins a list of kernel arguments. (TN, RT)"]
    pub aclrtKernelArgsInit: ::std::option::Option<
        unsafe extern "C" fn(funcHandle: aclrtFuncHandle, argsHandle: *mut aclrtArgsHandle) -> aclError,
    >,
    #[doc = " The same in memory of the caller. (TN, RT)"]
    pub aclrtKernelArgsInitByUserMem: ::std::option::Option<
        unsafe extern "C" fn(
            funcHandle: aclrtFuncHandle,
            argsHandle: aclrtArgsHandle,
            userHostMem: *mut ::std::os::raw::c_void,
            actualArgsSize: usize,
        ) -> aclError,
    >,
    #[doc = " Bytes of the handle in memory of the caller. (TN, RT)"]
    pub aclrtKernelArgsGetHandleMemSize: ::std::option::Option<
        unsafe extern "C" fn(funcHandle: aclrtFuncHandle, memSize: *mut usize) -> aclError,
    >,
    #[doc = " Bytes that arguments of this size take in all. (TN, RT)"]
    pub aclrtKernelArgsGetMemSize: ::std::option::Option<
        unsafe extern "C" fn(
            funcHandle: aclrtFuncHandle,
            userArgsSize: usize,
            actualArgsSize: *mut usize,
        ) -> aclError,
    >,
    #[doc = " Appends one argument by value, copied from the host, in the kernel's order. (TN, RT)"]
    pub aclrtKernelArgsAppend: ::std::option::Option<
        unsafe extern "C" fn(
            argsHandle: aclrtArgsHandle,
            param: *mut ::std::os::raw::c_void,
            paramSize: usize,
            paramHandle: *mut aclrtParamHandle,
        ) -> aclError,
    >,
    #[doc = " Appends the address of a small host block that travels along. (TN, RT)"]
    pub aclrtKernelArgsAppendPlaceHolder: ::std::option::Option<
        unsafe extern "C" fn(argsHandle: aclrtArgsHandle, paramHandle: *mut aclrtParamHandle) -> aclError,
    >,
    #[doc = " Where that block is to be written. (TN, RT)"]
    pub aclrtKernelArgsGetPlaceHolderBuffer: ::std::option::Option<
        unsafe extern "C" fn(
            argsHandle: aclrtArgsHandle,
            paramHandle: aclrtParamHandle,
            dataSize: usize,
            bufferAddr: *mut *mut ::std::os::raw::c_void,
        ) -> aclError,
    >,
    #[doc = " Writes one argument anew. (TN, RT)"]
    pub aclrtKernelArgsParaUpdate: ::std::option::Option<
        unsafe extern "C" fn(
            argsHandle: aclrtArgsHandle,
            paramHandle: aclrtParamHandle,
            param: *mut ::std::os::raw::c_void,
            paramSize: usize,
        ) -> aclError,
    >,
    #[doc = " Ends the list; before the launch. (TN, RT)"]
    pub aclrtKernelArgsFinalize:
        ::std::option::Option<unsafe extern "C" fn(argsHandle: aclrtArgsHandle) -> aclError>,
    #[doc = " Launches a kernel on so many cores; the arguments lie in device memory. (TN, RT)"]
    pub aclrtLaunchKernel: ::std::option::Option<
        unsafe extern "C" fn(
            funcHandle: aclrtFuncHandle,
            numBlocks: u32,
            argsData: *const ::std::os::raw::c_void,
            argsSize: usize,
            stream: aclrtStream,
        ) -> aclError,
    >,
    #[doc = " The same with attributes. (TN, RT)"]
    pub aclrtLaunchKernelV2: ::std::option::Option<
        unsafe extern "C" fn(
            funcHandle: aclrtFuncHandle,
            numBlocks: u32,
            argsData: *const ::std::os::raw::c_void,
            argsSize: usize,
            cfg: *mut aclrtLaunchKernelCfg,
            stream: aclrtStream,
        ) -> aclError,
    >,
    #[doc = " Launches with a list of arguments; the last parameter is null. (TN, RT)"]
    pub aclrtLaunchKernelWithConfig: ::std::option::Option<
        unsafe extern "C" fn(
            funcHandle: aclrtFuncHandle,
            numBlocks: u32,
            stream: aclrtStream,
            cfg: *mut aclrtLaunchKernelCfg,
            argsHandle: aclrtArgsHandle,
            reserve: *mut ::std::os::raw::c_void,
        ) -> aclError,
    >,
    #[doc = " Launches with arguments that lie one after another in host memory. (TN, RT)"]
    pub aclrtLaunchKernelWithHostArgs: ::std::option::Option<
        unsafe extern "C" fn(
            funcHandle: aclrtFuncHandle,
            numBlocks: u32,
            stream: aclrtStream,
            cfg: *mut aclrtLaunchKernelCfg,
            hostArgs: *mut ::std::os::raw::c_void,
            argsSize: usize,
            placeHolderArray: *mut aclrtPlaceHolderInfo,
            placeHolderNum: usize,
        ) -> aclError,
    >,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mxhal_acl_runtime"][::std::mem::size_of::<mxhal_acl_runtime>() - 712usize];
    ["Alignment of mxhal_acl_runtime"][::std::mem::align_of::<mxhal_acl_runtime>() - 8usize];
    ["Offset of field: mxhal_acl_runtime::aclInit"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclInit) - 0usize];
    ["Offset of field: mxhal_acl_runtime::aclFinalize"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclFinalize) - 8usize];
    ["Offset of field: mxhal_acl_runtime::aclFinalizeReference"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclFinalizeReference) - 16usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetVersion"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetVersion) - 24usize];
    ["Offset of field: mxhal_acl_runtime::aclsysGetVersionStr"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclsysGetVersionStr) - 32usize];
    ["Offset of field: mxhal_acl_runtime::aclsysGetVersionNum"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclsysGetVersionNum) - 40usize];
    ["Offset of field: mxhal_acl_runtime::aclGetRecentErrMsg"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclGetRecentErrMsg) - 48usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetLastError"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetLastError) - 56usize];
    ["Offset of field: mxhal_acl_runtime::aclrtPeekAtLastError"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtPeekAtLastError) - 64usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetDeviceCount"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetDeviceCount) - 72usize];
    ["Offset of field: mxhal_acl_runtime::aclrtSetDevice"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtSetDevice) - 80usize];
    ["Offset of field: mxhal_acl_runtime::aclrtResetDevice"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtResetDevice) - 88usize];
    ["Offset of field: mxhal_acl_runtime::aclrtResetDeviceForce"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtResetDeviceForce) - 96usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetDevice"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetDevice) - 104usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetDeviceInfo"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetDeviceInfo) - 112usize];
    ["Offset of field: mxhal_acl_runtime::aclGetDeviceCapability"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclGetDeviceCapability) - 120usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetSocName"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetSocName) - 128usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetRunMode"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetRunMode) - 136usize];
    ["Offset of field: mxhal_acl_runtime::aclrtSynchronizeDevice"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtSynchronizeDevice) - 144usize];
    ["Offset of field: mxhal_acl_runtime::aclrtSynchronizeDeviceWithTimeout"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtSynchronizeDeviceWithTimeout) - 152usize];
    ["Offset of field: mxhal_acl_runtime::aclrtQueryDeviceStatus"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtQueryDeviceStatus) - 160usize];
    ["Offset of field: mxhal_acl_runtime::aclrtCreateContext"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtCreateContext) - 168usize];
    ["Offset of field: mxhal_acl_runtime::aclrtDestroyContext"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtDestroyContext) - 176usize];
    ["Offset of field: mxhal_acl_runtime::aclrtSetCurrentContext"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtSetCurrentContext) - 184usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetCurrentContext"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetCurrentContext) - 192usize];
    ["Offset of field: mxhal_acl_runtime::aclrtCreateStream"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtCreateStream) - 200usize];
    ["Offset of field: mxhal_acl_runtime::aclrtCreateStreamWithConfig"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtCreateStreamWithConfig) - 208usize];
    ["Offset of field: mxhal_acl_runtime::aclrtDestroyStream"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtDestroyStream) - 216usize];
    ["Offset of field: mxhal_acl_runtime::aclrtDestroyStreamForce"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtDestroyStreamForce) - 224usize];
    ["Offset of field: mxhal_acl_runtime::aclrtSynchronizeStream"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtSynchronizeStream) - 232usize];
    ["Offset of field: mxhal_acl_runtime::aclrtSynchronizeStreamWithTimeout"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtSynchronizeStreamWithTimeout) - 240usize];
    ["Offset of field: mxhal_acl_runtime::aclrtStreamQuery"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtStreamQuery) - 248usize];
    ["Offset of field: mxhal_acl_runtime::aclrtStreamWaitEvent"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtStreamWaitEvent) - 256usize];
    ["Offset of field: mxhal_acl_runtime::aclrtLaunchHostFunc"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtLaunchHostFunc) - 264usize];
    ["Offset of field: mxhal_acl_runtime::aclrtLaunchCallback"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtLaunchCallback) - 272usize];
    ["Offset of field: mxhal_acl_runtime::aclrtSubscribeReport"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtSubscribeReport) - 280usize];
    ["Offset of field: mxhal_acl_runtime::aclrtProcessReport"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtProcessReport) - 288usize];
    ["Offset of field: mxhal_acl_runtime::aclrtCreateEvent"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtCreateEvent) - 296usize];
    ["Offset of field: mxhal_acl_runtime::aclrtCreateEventWithFlag"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtCreateEventWithFlag) - 304usize];
    ["Offset of field: mxhal_acl_runtime::aclrtCreateEventExWithFlag"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtCreateEventExWithFlag) - 312usize];
    ["Offset of field: mxhal_acl_runtime::aclrtDestroyEvent"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtDestroyEvent) - 320usize];
    ["Offset of field: mxhal_acl_runtime::aclrtRecordEvent"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtRecordEvent) - 328usize];
    ["Offset of field: mxhal_acl_runtime::aclrtResetEvent"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtResetEvent) - 336usize];
    ["Offset of field: mxhal_acl_runtime::aclrtQueryEventStatus"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtQueryEventStatus) - 344usize];
    ["Offset of field: mxhal_acl_runtime::aclrtQueryEventWaitStatus"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtQueryEventWaitStatus) - 352usize];
    ["Offset of field: mxhal_acl_runtime::aclrtSynchronizeEvent"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtSynchronizeEvent) - 360usize];
    ["Offset of field: mxhal_acl_runtime::aclrtSynchronizeEventWithTimeout"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtSynchronizeEventWithTimeout) - 368usize];
    ["Offset of field: mxhal_acl_runtime::aclrtEventElapsedTime"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtEventElapsedTime) - 376usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMalloc"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMalloc) - 384usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMallocAlign32"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMallocAlign32) - 392usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMallocCached"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMallocCached) - 400usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMallocWithCfg"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMallocWithCfg) - 408usize];
    ["Offset of field: mxhal_acl_runtime::aclrtFree"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtFree) - 416usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMallocHost"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMallocHost) - 424usize];
    ["Offset of field: mxhal_acl_runtime::aclrtFreeHost"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtFreeHost) - 432usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMemset"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMemset) - 440usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMemsetAsync"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMemsetAsync) - 448usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMemcpy"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMemcpy) - 456usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMemcpyAsync"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMemcpyAsync) - 464usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMemcpy2d"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMemcpy2d) - 472usize];
    ["Offset of field: mxhal_acl_runtime::aclrtMemcpy2dAsync"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtMemcpy2dAsync) - 480usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetMemInfo"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetMemInfo) - 488usize];
    ["Offset of field: mxhal_acl_runtime::aclrtPointerGetAttributes"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtPointerGetAttributes) - 496usize];
    ["Offset of field: mxhal_acl_runtime::aclDataTypeSize"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclDataTypeSize) - 504usize];
    ["Offset of field: mxhal_acl_runtime::aclFloat16ToFloat"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclFloat16ToFloat) - 512usize];
    ["Offset of field: mxhal_acl_runtime::aclFloatToFloat16"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclFloatToFloat16) - 520usize];
    ["Offset of field: mxhal_acl_runtime::aclrtBinaryLoadFromFile"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtBinaryLoadFromFile) - 528usize];
    ["Offset of field: mxhal_acl_runtime::aclrtBinaryLoadFromData"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtBinaryLoadFromData) - 536usize];
    ["Offset of field: mxhal_acl_runtime::aclrtBinaryUnLoad"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtBinaryUnLoad) - 544usize];
    ["Offset of field: mxhal_acl_runtime::aclrtBinaryGetFunction"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtBinaryGetFunction) - 552usize];
    ["Offset of field: mxhal_acl_runtime::aclrtBinaryGetFunctionByEntry"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtBinaryGetFunctionByEntry) - 560usize];
    ["Offset of field: mxhal_acl_runtime::aclrtCreateBinary"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtCreateBinary) - 568usize];
    ["Offset of field: mxhal_acl_runtime::aclrtDestroyBinary"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtDestroyBinary) - 576usize];
    ["Offset of field: mxhal_acl_runtime::aclrtBinaryLoad"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtBinaryLoad) - 584usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetFunctionAddr"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetFunctionAddr) - 592usize];
    ["Offset of field: mxhal_acl_runtime::aclrtGetFunctionName"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtGetFunctionName) - 600usize];
    ["Offset of field: mxhal_acl_runtime::aclrtKernelArgsInit"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtKernelArgsInit) - 608usize];
    ["Offset of field: mxhal_acl_runtime::aclrtKernelArgsInitByUserMem"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtKernelArgsInitByUserMem) - 616usize];
    ["Offset of field: mxhal_acl_runtime::aclrtKernelArgsGetHandleMemSize"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtKernelArgsGetHandleMemSize) - 624usize];
    ["Offset of field: mxhal_acl_runtime::aclrtKernelArgsGetMemSize"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtKernelArgsGetMemSize) - 632usize];
    ["Offset of field: mxhal_acl_runtime::aclrtKernelArgsAppend"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtKernelArgsAppend) - 640usize];
    ["Offset of field: mxhal_acl_runtime::aclrtKernelArgsAppendPlaceHolder"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtKernelArgsAppendPlaceHolder) - 648usize];
    ["Offset of field: mxhal_acl_runtime::aclrtKernelArgsGetPlaceHolderBuffer"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtKernelArgsGetPlaceHolderBuffer) - 656usize];
    ["Offset of field: mxhal_acl_runtime::aclrtKernelArgsParaUpdate"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtKernelArgsParaUpdate) - 664usize];
    ["Offset of field: mxhal_acl_runtime::aclrtKernelArgsFinalize"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtKernelArgsFinalize) - 672usize];
    ["Offset of field: mxhal_acl_runtime::aclrtLaunchKernel"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtLaunchKernel) - 680usize];
    ["Offset of field: mxhal_acl_runtime::aclrtLaunchKernelV2"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtLaunchKernelV2) - 688usize];
    ["Offset of field: mxhal_acl_runtime::aclrtLaunchKernelWithConfig"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtLaunchKernelWithConfig) - 696usize];
    ["Offset of field: mxhal_acl_runtime::aclrtLaunchKernelWithHostArgs"]
        [::std::mem::offset_of!(mxhal_acl_runtime, aclrtLaunchKernelWithHostArgs) - 704usize];
};
#[doc = " Tensors, lists and executors, of libnnopbase.so."]
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct mxhal_acl_meta {
    #[doc = " A view of device memory: dims, strides and offset count elements, FP4 ones too. Null strides mean\n  contiguous. The data is aligned to 32 bytes. (OB)"]
    pub aclCreateTensor: ::std::option::Option<
        unsafe extern "C" fn(
            viewDims: *const i64,
            viewDimsNum: u64,
            dataType: aclDataType,
            stride: *const i64,
            offset: i64,
            format: aclFormat,
            storageDims: *const i64,
            storageDimsNum: u64,
            tensorData: *mut ::std::os::raw::c_void,
        ) -> *mut aclTensor,
    >,
    #[doc = " A scalar, whose value is copied. (OB)"]
    pub aclCreateScalar: ::std::option::Option<
        unsafe extern "C" fn(value: *mut ::std::os::raw::c_void, dataType: aclDataType) -> *mut aclScalar,
    >,
    #[doc = " An array, whose values are copied. (OB)"]
    pub aclCreateIntArray:
        ::std::option::Option<unsafe extern "C" fn(value: *const i64, size: u64) -> *mut aclIntArray>,
    #[doc = " An array, whose values are copied. (OB)"]
    pub aclCreateFloatArray:
        ::std::option::Option<unsafe extern "C" fn(value: *const f32, size: u64) -> *mut aclFloatArray>,
    #[doc = " An array, whose values are copied. (OB)"]
    pub aclCreateBoolArray:
        ::std::option::Option<unsafe extern "C" fn(value: *const bool, size: u64) -> *mut aclBoolArray>,
    #[doc = " A list, which owns its tensors from then on. (OB)"]
    pub aclCreateTensorList: ::std::option::Option<
        unsafe extern "C" fn(value: *const *const aclTensor, size: u64) -> *mut aclTensorList,
    >,
    #[doc = " A list, which owns its scalars from then on. (OB)"]
    pub aclCreateScalarList: ::std::option::Option<
        unsafe extern "C" fn(value: *const *const aclScalar, size: u64) -> *mut aclScalarList,
    >,
    #[doc = " Destroys a tensor; the memory stays. (OB)"]
    pub aclDestroyTensor:
        ::std::option::Option<unsafe extern "C" fn(tensor: *const aclTensor) -> aclnnStatus>,
    #[doc = " Destroys a scalar. (OB)"]
    pub aclDestroyScalar:
        ::std::option::Option<unsafe extern "C" fn(scalar: *const aclScalar) -> aclnnStatus>,
    #[doc = " Destroys an array. (OB)"]
    pub aclDestroyIntArray:
        ::std::option::Option<unsafe extern "C" fn(array: *const aclIntArray) -> aclnnStatus>,
    #[doc = " Destroys an array. (OB)"]
    pub aclDestroyFloatArray:
        ::std::option::Option<unsafe extern "C" fn(array: *const aclFloatArray) -> aclnnStatus>,
    #[doc = " Destroys an array. (OB)"]
    pub aclDestroyBoolArray:
        ::std::option::Option<unsafe extern "C" fn(array: *const aclBoolArray) -> aclnnStatus>,
    #[doc = " Destroys a list and its tensors. (OB)"]
    pub aclDestroyTensorList:
        ::std::option::Option<unsafe extern "C" fn(list: *const aclTensorList) -> aclnnStatus>,
    #[doc = " Destroys a list and its scalars. (OB)"]
    pub aclDestroyScalarList:
        ::std::option::Option<unsafe extern "C" fn(list: *const aclScalarList) -> aclnnStatus>,
    #[doc = " The dims of the view, in an array that CANN allocates. (OB)"]
    pub aclGetViewShape: ::std::option::Option<
        unsafe extern "C" fn(
            tensor: *const aclTensor,
            viewDims: *mut *mut i64,
            viewDimsNum: *mut u64,
        ) -> aclnnStatus,
    >,
    #[doc = " The dims of the storage, as above. (OB)"]
    pub aclGetStorageShape: ::std::option::Option<
        unsafe extern "C" fn(
            tensor: *const aclTensor,
            storageDims: *mut *mut i64,
            storageDimsNum: *mut u64,
        ) -> aclnnStatus,
    >,
    #[doc = " The strides of the view in elements, as above. (OB)"]
    pub aclGetViewStrides: ::std::option::Option<
        unsafe extern "C" fn(
            tensor: *const aclTensor,
            stridesValue: *mut *mut i64,
            stridesNum: *mut u64,
        ) -> aclnnStatus,
    >,
    #[doc = " The offset of the view in elements. (OB)"]
    pub aclGetViewOffset: ::std::option::Option<
        unsafe extern "C" fn(tensor: *const aclTensor, offset: *mut i64) -> aclnnStatus,
    >,
    #[doc = " The layout of the storage. (OB)"]
    pub aclGetFormat: ::std::option::Option<
        unsafe extern "C" fn(tensor: *const aclTensor, format: *mut aclFormat) -> aclnnStatus,
    >,
    #[doc = " The type of the elements. (OB)"]
    pub aclGetDataType: ::std::option::Option<
        unsafe extern "C" fn(tensor: *const aclTensor, dataType: *mut aclDataType) -> aclnnStatus,
    >,
    #[doc = " How many it holds. (OB)"]
    pub aclGetIntArraySize:
        ::std::option::Option<unsafe extern "C" fn(array: *const aclIntArray, size: *mut u64) -> aclnnStatus>,
    #[doc = " How many it holds. (OB)"]
    pub aclGetFloatArraySize: ::std::option::Option<
        unsafe extern "C" fn(array: *const aclFloatArray, size: *mut u64) -> aclnnStatus,
    >,
    #[doc = " How many it holds. (OB)"]
    pub aclGetBoolArraySize: ::std::option::Option<
        unsafe extern "C" fn(array: *const aclBoolArray, size: *mut u64) -> aclnnStatus,
    >,
    #[doc = " How many it holds. (OB)"]
    pub aclGetTensorListSize: ::std::option::Option<
        unsafe extern "C" fn(list: *const aclTensorList, size: *mut u64) -> aclnnStatus,
    >,
    #[doc = " How many it holds. (OB)"]
    pub aclGetScalarListSize: ::std::option::Option<
        unsafe extern "C" fn(list: *const aclScalarList, size: *mut u64) -> aclnnStatus,
    >,
    #[doc = " Describes a tensor anew, as aclCreateTensor does. (OB)"]
    pub aclInitTensor: ::std::option::Option<
        unsafe extern "C" fn(
            tensor: *mut aclTensor,
            viewDims: *const i64,
            viewDimsNum: u64,
            dataType: aclDataType,
            stride: *const i64,
            offset: i64,
            format: aclFormat,
            storageDims: *const i64,
            storageDimsNum: u64,
            tensorDataAddr: *mut ::std::os::raw::c_void,
        ) -> aclnnStatus,
    >,
    #[doc = " The executor may run again; the caller destroys it. (OB)"]
    pub aclSetAclOpExecutorRepeatable:
        ::std::option::Option<unsafe extern "C" fn(executor: *mut aclOpExecutor) -> aclnnStatus>,
    #[doc = " Destroys a repeatable executor. (OB)"]
    pub aclDestroyAclOpExecutor:
        ::std::option::Option<unsafe extern "C" fn(executor: *mut aclOpExecutor) -> aclnnStatus>,
    #[doc = " New memory for an input tensor. (OB)"]
    pub aclSetInputTensorAddr: ::std::option::Option<
        unsafe extern "C" fn(
            executor: *mut aclOpExecutor,
            index: usize,
            tensor: *mut aclTensor,
            addr: *mut ::std::os::raw::c_void,
        ) -> aclnnStatus,
    >,
    #[doc = " New memory for an output tensor. (OB)"]
    pub aclSetOutputTensorAddr: ::std::option::Option<
        unsafe extern "C" fn(
            executor: *mut aclOpExecutor,
            index: usize,
            tensor: *mut aclTensor,
            addr: *mut ::std::os::raw::c_void,
        ) -> aclnnStatus,
    >,
    #[doc = " New memory for a tensor, by its place among all. (OB)"]
    pub aclSetTensorAddr: ::std::option::Option<
        unsafe extern "C" fn(
            executor: *mut aclOpExecutor,
            index: usize,
            tensor: *mut aclTensor,
            addr: *mut ::std::os::raw::c_void,
        ) -> aclnnStatus,
    >,
    #[doc = " New memory for a tensor of an input list. (OB)"]
    pub aclSetDynamicInputTensorAddr: ::std::option::Option<
        unsafe extern "C" fn(
            executor: *mut aclOpExecutor,
            irIndex: usize,
            relativeIndex: usize,
            tensors: *mut aclTensorList,
            addr: *mut ::std::os::raw::c_void,
        ) -> aclnnStatus,
    >,
    #[doc = " New memory for a tensor of an output list. (OB)"]
    pub aclSetDynamicOutputTensorAddr: ::std::option::Option<
        unsafe extern "C" fn(
            executor: *mut aclOpExecutor,
            irIndex: usize,
            relativeIndex: usize,
            tensors: *mut aclTensorList,
            addr: *mut ::std::os::raw::c_void,
        ) -> aclnnStatus,
    >,
    #[doc = " New memory for a tensor of a list, by its place among all. (OB)"]
    pub aclSetDynamicTensorAddr: ::std::option::Option<
        unsafe extern "C" fn(
            executor: *mut aclOpExecutor,
            irIndex: usize,
            relativeIndex: usize,
            tensors: *mut aclTensorList,
            addr: *mut ::std::os::raw::c_void,
        ) -> aclnnStatus,
    >,
    #[doc = " New memory for a tensor outside of an executor. (OB)"]
    pub aclSetRawTensorAddr: ::std::option::Option<
        unsafe extern "C" fn(tensor: *mut aclTensor, addr: *mut ::std::os::raw::c_void) -> aclnnStatus,
    >,
    #[doc = " The memory of a tensor. (OB)"]
    pub aclGetRawTensorAddr: ::std::option::Option<
        unsafe extern "C" fn(tensor: *const aclTensor, addr: *mut *mut ::std::os::raw::c_void) -> aclnnStatus,
    >,
    #[doc = " Optional, once per process. (OB)"]
    pub aclnnInit:
        ::std::option::Option<unsafe extern "C" fn(configPath: *const ::std::os::raw::c_char) -> aclnnStatus>,
    #[doc = " Optional, once per process. (OB)"]
    pub aclnnFinalize: ::std::option::Option<unsafe extern "C" fn() -> aclnnStatus>,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mxhal_acl_meta"][::std::mem::size_of::<mxhal_acl_meta>() - 304usize];
    ["Alignment of mxhal_acl_meta"][::std::mem::align_of::<mxhal_acl_meta>() - 8usize];
    ["Offset of field: mxhal_acl_meta::aclCreateTensor"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclCreateTensor) - 0usize];
    ["Offset of field: mxhal_acl_meta::aclCreateScalar"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclCreateScalar) - 8usize];
    ["Offset of field: mxhal_acl_meta::aclCreateIntArray"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclCreateIntArray) - 16usize];
    ["Offset of field: mxhal_acl_meta::aclCreateFloatArray"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclCreateFloatArray) - 24usize];
    ["Offset of field: mxhal_acl_meta::aclCreateBoolArray"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclCreateBoolArray) - 32usize];
    ["Offset of field: mxhal_acl_meta::aclCreateTensorList"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclCreateTensorList) - 40usize];
    ["Offset of field: mxhal_acl_meta::aclCreateScalarList"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclCreateScalarList) - 48usize];
    ["Offset of field: mxhal_acl_meta::aclDestroyTensor"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclDestroyTensor) - 56usize];
    ["Offset of field: mxhal_acl_meta::aclDestroyScalar"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclDestroyScalar) - 64usize];
    ["Offset of field: mxhal_acl_meta::aclDestroyIntArray"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclDestroyIntArray) - 72usize];
    ["Offset of field: mxhal_acl_meta::aclDestroyFloatArray"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclDestroyFloatArray) - 80usize];
    ["Offset of field: mxhal_acl_meta::aclDestroyBoolArray"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclDestroyBoolArray) - 88usize];
    ["Offset of field: mxhal_acl_meta::aclDestroyTensorList"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclDestroyTensorList) - 96usize];
    ["Offset of field: mxhal_acl_meta::aclDestroyScalarList"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclDestroyScalarList) - 104usize];
    ["Offset of field: mxhal_acl_meta::aclGetViewShape"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetViewShape) - 112usize];
    ["Offset of field: mxhal_acl_meta::aclGetStorageShape"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetStorageShape) - 120usize];
    ["Offset of field: mxhal_acl_meta::aclGetViewStrides"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetViewStrides) - 128usize];
    ["Offset of field: mxhal_acl_meta::aclGetViewOffset"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetViewOffset) - 136usize];
    ["Offset of field: mxhal_acl_meta::aclGetFormat"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetFormat) - 144usize];
    ["Offset of field: mxhal_acl_meta::aclGetDataType"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetDataType) - 152usize];
    ["Offset of field: mxhal_acl_meta::aclGetIntArraySize"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetIntArraySize) - 160usize];
    ["Offset of field: mxhal_acl_meta::aclGetFloatArraySize"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetFloatArraySize) - 168usize];
    ["Offset of field: mxhal_acl_meta::aclGetBoolArraySize"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetBoolArraySize) - 176usize];
    ["Offset of field: mxhal_acl_meta::aclGetTensorListSize"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetTensorListSize) - 184usize];
    ["Offset of field: mxhal_acl_meta::aclGetScalarListSize"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetScalarListSize) - 192usize];
    ["Offset of field: mxhal_acl_meta::aclInitTensor"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclInitTensor) - 200usize];
    ["Offset of field: mxhal_acl_meta::aclSetAclOpExecutorRepeatable"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclSetAclOpExecutorRepeatable) - 208usize];
    ["Offset of field: mxhal_acl_meta::aclDestroyAclOpExecutor"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclDestroyAclOpExecutor) - 216usize];
    ["Offset of field: mxhal_acl_meta::aclSetInputTensorAddr"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclSetInputTensorAddr) - 224usize];
    ["Offset of field: mxhal_acl_meta::aclSetOutputTensorAddr"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclSetOutputTensorAddr) - 232usize];
    ["Offset of field: mxhal_acl_meta::aclSetTensorAddr"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclSetTensorAddr) - 240usize];
    ["Offset of field: mxhal_acl_meta::aclSetDynamicInputTensorAddr"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclSetDynamicInputTensorAddr) - 248usize];
    ["Offset of field: mxhal_acl_meta::aclSetDynamicOutputTensorAddr"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclSetDynamicOutputTensorAddr) - 256usize];
    ["Offset of field: mxhal_acl_meta::aclSetDynamicTensorAddr"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclSetDynamicTensorAddr) - 264usize];
    ["Offset of field: mxhal_acl_meta::aclSetRawTensorAddr"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclSetRawTensorAddr) - 272usize];
    ["Offset of field: mxhal_acl_meta::aclGetRawTensorAddr"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclGetRawTensorAddr) - 280usize];
    ["Offset of field: mxhal_acl_meta::aclnnInit"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclnnInit) - 288usize];
    ["Offset of field: mxhal_acl_meta::aclnnFinalize"]
        [::std::mem::offset_of!(mxhal_acl_meta, aclnnFinalize) - 296usize];
};
#[doc = " The operators, of libcust_opapi.so, libopapi_*.so or libopapi.so.\n\n  Each is two functions: the first takes the tensors and attributes, checks them and answers with the bytes of\n  workspace wanted and an executor; the second enqueues the executor on a stream, once unless it was made\n  repeatable."]
#[repr(C)]
#[derive(Default, Copy, Clone)]
pub struct mxhal_aclnn_operators {
    #[doc = " MX quantisation; the scales come as pairs, one more axis of 2. (NN, D)"]
    pub aclnnDynamicMxQuantGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            axis: i64,
            roundModeOptional: *mut ::std::os::raw::c_char,
            dstType: i64,
            blocksize: i64,
            scaleAlg: i64,
            yOut: *const aclTensor,
            mxscaleOut: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnDynamicMxQuant: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same with scaleAlg 2 and its maximum. (NN, D)"]
    pub aclnnDynamicMxQuantV2GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            axis: i64,
            roundModeOptional: *mut ::std::os::raw::c_char,
            dstType: i64,
            blocksize: i64,
            scaleAlg: i64,
            dstTypeMax: f64,
            yOut: *const aclTensor,
            mxscaleOut: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnDynamicMxQuantV2: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same with a lower bound of the maximum. (NN, D)"]
    pub aclnnDynamicMxQuantV3GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            axis: i64,
            roundModeOptional: *mut ::std::os::raw::c_char,
            dstType: i64,
            blocksize: i64,
            scaleAlg: i64,
            dstTypeMax: f64,
            maxLowBound: f64,
            yOut: *const aclTensor,
            mxscaleOut: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnDynamicMxQuantV3: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " MX dequantisation. (NN, H)"]
    pub aclnnAntiMxQuantGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            mxscale: *const aclTensor,
            axis: i64,
            dstType: i64,
            y: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnAntiMxQuant: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " Quantised matmul; groupSize packs the block of each axis. (NN, H)"]
    pub aclnnQuantMatmulV5GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x1: *const aclTensor,
            x2: *const aclTensor,
            x1Scale: *const aclTensor,
            x2Scale: *const aclTensor,
            yScale: *const aclTensor,
            x1Offset: *const aclTensor,
            x2Offset: *const aclTensor,
            yOffset: *const aclTensor,
            bias: *const aclTensor,
            transposeX1: bool,
            transposeX2: bool,
            groupSize: i64,
            out: *mut aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnQuantMatmulV5: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same for an x2 in FRACTAL_NZ. (NN, H)"]
    pub aclnnQuantMatmulWeightNzGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x1: *const aclTensor,
            x2: *const aclTensor,
            x1Scale: *const aclTensor,
            x2Scale: *const aclTensor,
            yScale: *const aclTensor,
            x1Offset: *const aclTensor,
            x2Offset: *const aclTensor,
            yOffset: *const aclTensor,
            bias: *const aclTensor,
            transposeX1: bool,
            transposeX2: bool,
            groupSize: i64,
            out: *mut aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnQuantMatmulWeightNz: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " Matmul with a quantised weight and a floating-point x. (NN, H)"]
    pub aclnnWeightQuantBatchMatmulV2GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            weight: *const aclTensor,
            antiquantScale: *const aclTensor,
            antiquantOffsetOptional: *const aclTensor,
            quantScaleOptional: *const aclTensor,
            quantOffsetOptional: *const aclTensor,
            biasOptional: *const aclTensor,
            antiquantGroupSize: ::std::os::raw::c_int,
            y: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnWeightQuantBatchMatmulV2: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same with a choice of precision. (NN, H)"]
    pub aclnnWeightQuantBatchMatmulV3GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            weight: *const aclTensor,
            antiquantScale: *const aclTensor,
            antiquantOffsetOptional: *const aclTensor,
            quantScaleOptional: *const aclTensor,
            quantOffsetOptional: *const aclTensor,
            biasOptional: *const aclTensor,
            antiquantGroupSize: ::std::os::raw::c_int,
            innerPrecise: ::std::os::raw::c_int,
            y: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnWeightQuantBatchMatmulV3: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " One matmul per expert. (TR, H)"]
    pub aclnnGroupedMatmulV4GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensorList,
            weight: *const aclTensorList,
            biasOptional: *const aclTensorList,
            scaleOptional: *const aclTensorList,
            offsetOptional: *const aclTensorList,
            antiquantScaleOptional: *const aclTensorList,
            antiquantOffsetOptional: *const aclTensorList,
            perTokenScaleOptional: *const aclTensorList,
            groupListOptional: *const aclTensor,
            activationInputOptional: *const aclTensorList,
            activationQuantScaleOptional: *const aclTensorList,
            activationQuantOffsetOptional: *const aclTensorList,
            splitItem: i64,
            groupType: i64,
            groupListType: i64,
            actType: i64,
            out: *mut aclTensorList,
            activationFeatureOutOptional: *mut aclTensorList,
            dynQuantScaleOutOptional: *mut aclTensorList,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnGroupedMatmulV4: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same with tuning, which the 950 does not take. (TR, H)"]
    pub aclnnGroupedMatmulV5GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensorList,
            weight: *const aclTensorList,
            biasOptional: *const aclTensorList,
            scaleOptional: *const aclTensorList,
            offsetOptional: *const aclTensorList,
            antiquantScaleOptional: *const aclTensorList,
            antiquantOffsetOptional: *const aclTensorList,
            perTokenScaleOptional: *const aclTensorList,
            groupListOptional: *const aclTensor,
            activationInputOptional: *const aclTensorList,
            activationQuantScaleOptional: *const aclTensorList,
            activationQuantOffsetOptional: *const aclTensorList,
            splitItem: i64,
            groupType: i64,
            groupListType: i64,
            actType: i64,
            tuningConfigOptional: *mut aclIntArray,
            out: *mut aclTensorList,
            activationFeatureOutOptional: *mut aclTensorList,
            dynQuantScaleOutOptional: *mut aclTensorList,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnGroupedMatmulV5: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same for weights in FRACTAL_NZ. (TR, H)"]
    pub aclnnGroupedMatmulWeightNzGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensorList,
            weight: *const aclTensorList,
            biasOptional: *const aclTensorList,
            scaleOptional: *const aclTensorList,
            offsetOptional: *const aclTensorList,
            antiquantScaleOptional: *const aclTensorList,
            antiquantOffsetOptional: *const aclTensorList,
            perTokenScaleOptional: *const aclTensorList,
            groupListOptional: *const aclTensor,
            activationInputOptional: *const aclTensorList,
            activationQuantScaleOptional: *const aclTensorList,
            activationQuantOffsetOptional: *const aclTensorList,
            splitItem: i64,
            groupType: i64,
            groupListType: i64,
            actType: i64,
            tuningConfigOptional: *mut aclIntArray,
            quantGroupSize: i64,
            out: *mut aclTensorList,
            activationFeatureOutOptional: *mut aclTensorList,
            dynQuantScaleOutOptional: *mut aclTensorList,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnGroupedMatmulWeightNz: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " Grouped matmul, SwiGLU and MX quantisation in one. (TR, H)"]
    pub aclnnGroupedMatmulSwigluQuantV2GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            weight: *const aclTensorList,
            weightScale: *const aclTensorList,
            weightAssistMatrix: *const aclTensorList,
            bias: *const aclTensor,
            xScale: *const aclTensor,
            smoothScale: *const aclTensor,
            groupList: *const aclTensor,
            dequantMode: i64,
            dequantDtype: i64,
            quantMode: i64,
            groupListType: i64,
            tuningConfigOptional: *const aclIntArray,
            output: *mut aclTensor,
            outputScale: *mut aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnGroupedMatmulSwigluQuantV2: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same for weights in FRACTAL_NZ. (TR, H)"]
    pub aclnnGroupedMatmulSwigluQuantWeightNzV2GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            weight: *const aclTensorList,
            weightScale: *const aclTensorList,
            weightAssistMatrix: *const aclTensorList,
            bias: *const aclTensor,
            xScale: *const aclTensor,
            smoothScale: *const aclTensor,
            groupList: *const aclTensor,
            dequantMode: i64,
            dequantDtype: i64,
            quantMode: i64,
            groupListType: i64,
            tuningConfigOptional: *const aclIntArray,
            output: *mut aclTensor,
            outputScale: *mut aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnGroupedMatmulSwigluQuantWeightNzV2: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " SwiGLU with an optional clamp, then MX quantisation. (NN, D)"]
    pub aclnnSwigluMxQuantGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            groupIndexOptional: *const aclTensor,
            activateDim: i64,
            activateLeft: bool,
            swigluMode: i64,
            clampLimit: f64,
            gluAlpha: f64,
            gluBias: f64,
            groupMode: i64,
            axis: i64,
            dstType: i64,
            roundModeOptional: *mut ::std::os::raw::c_char,
            scaleAlg: i64,
            maxDtypeValue: f64,
            yOut: *const aclTensor,
            mxscaleOut: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnSwigluMxQuant: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " SwiGLU in floating point. (NN, D)"]
    pub aclnnSwiGluGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            dim: i64,
            out: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnSwiGlu: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " Gate by softmax, sigmoid or sqrt-softplus, with a bias for the choice. (TR, H)"]
    pub aclnnMoeGatingTopKGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            biasOptional: *const aclTensor,
            k: i64,
            kGroup: i64,
            groupCount: i64,
            groupSelectMode: i64,
            renorm: i64,
            normType: i64,
            outFlag: bool,
            routedScalingFactor: f64,
            eps: f64,
            yOut: *const aclTensor,
            expertIdxOut: *const aclTensor,
            outOut: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnMoeGatingTopK: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same with a table from token ids to experts. (TR, H)"]
    pub aclnnMoeGatingTopKV2GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            biasOptional: *const aclTensor,
            inputIdsOptional: *const aclTensor,
            tid2eidOptional: *const aclTensor,
            k: i64,
            kGroup: i64,
            groupCount: i64,
            groupSelectMode: i64,
            renorm: i64,
            normType: i64,
            outFlag: bool,
            routedScalingFactor: f64,
            eps: f64,
            yOut: *const aclTensor,
            expertIdxOut: *const aclTensor,
            outOut: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnMoeGatingTopKV2: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " Softmax, then top-k. (TR, D)"]
    pub aclnnMoeGatingTopKSoftmaxGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            finishedOptional: *const aclTensor,
            k: i64,
            yOut: *const aclTensor,
            expertIdxOut: *const aclTensor,
            rowIdxOut: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnMoeGatingTopKSoftmax: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same with renormalisation. (TR, D)"]
    pub aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            finishedOptional: *const aclTensor,
            k: i64,
            renorm: i64,
            outputSoftmaxResultFlag: bool,
            yOut: *const aclTensor,
            expertIdxOut: *const aclTensor,
            softmaxResultOutOptional: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnMoeGatingTopKSoftmaxV2: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " Rows sorted by expert; counts are INT32. (TR, H)"]
    pub aclnnMoeInitRoutingV2GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            expertIdx: *const aclTensor,
            activeNum: i64,
            expertCapacity: i64,
            expertNum: i64,
            dropPadMode: i64,
            expertTokensCountOrCumsumFlag: i64,
            expertTokensBeforeCapacityFlag: bool,
            expandedXOut: *const aclTensor,
            expandedRowIdxOut: *const aclTensor,
            expertTokensCountOrCumsumOutOptional: *const aclTensor,
            expertTokensBeforeCapacityOutOptional: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnMoeInitRoutingV2: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The same, optionally quantising; counts are INT64, as grouped matmul wants them. (TR, H)"]
    pub aclnnMoeInitRoutingV3GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            x: *const aclTensor,
            expertIdx: *const aclTensor,
            scaleOptional: *const aclTensor,
            offsetOptional: *const aclTensor,
            activeNum: i64,
            expertCapacity: i64,
            expertNum: i64,
            dropPadMode: i64,
            expertTokensNumType: i64,
            expertTokensNumFlag: bool,
            quantMode: i64,
            activeExpertRangeOptional: *const aclIntArray,
            rowIdxType: i64,
            expandedXOut: *const aclTensor,
            expandedRowIdxOut: *const aclTensor,
            expertTokensCountOrCumsumOut: *const aclTensor,
            expandedScaleOut: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnMoeInitRoutingV3: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The weighted sum of the experts' rows, per token. (TR, H)"]
    pub aclnnMoeFinalizeRoutingV2GetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            expandedX: *const aclTensor,
            expandedRowIdx: *const aclTensor,
            x1Optional: *const aclTensor,
            x2Optional: *const aclTensor,
            biasOptional: *const aclTensor,
            scalesOptional: *const aclTensor,
            expertIdxOptional: *const aclTensor,
            dropPadMode: i64,
            out: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnMoeFinalizeRoutingV2: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " Rows sorted by expert. (TR, H)"]
    pub aclnnMoeTokenPermuteGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            tokens: *const aclTensor,
            indices: *const aclTensor,
            numOutTokens: i64,
            paddedMode: bool,
            permuteTokensOut: *const aclTensor,
            sortedIndicesOut: *const aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnMoeTokenPermute: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " Its inverse, weighted. (TR, H)"]
    pub aclnnMoeTokenUnpermuteGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            permutedTokens: *const aclTensor,
            sortedIndices: *const aclTensor,
            probsOptional: *const aclTensor,
            paddedMode: bool,
            restoreShapeOptional: *const aclIntArray,
            out: *mut aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnMoeTokenUnpermute: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " Copies a tensor into another layout. (OP, H)"]
    pub aclnnNpuFormatCastGetWorkspaceSize: ::std::option::Option<
        unsafe extern "C" fn(
            srcTensor: *const aclTensor,
            dstTensor: *mut aclTensor,
            workspaceSize: *mut u64,
            executor: *mut *mut aclOpExecutor,
        ) -> aclnnStatus,
    >,
    pub aclnnNpuFormatCast: ::std::option::Option<
        unsafe extern "C" fn(
            workspace: *mut ::std::os::raw::c_void,
            workspaceSize: u64,
            executor: *mut aclOpExecutor,
            stream: aclrtStream,
        ) -> aclnnStatus,
    >,
    #[doc = " The storage dims and the exact layout that such a copy needs; not a two-phase call. (OP, H)"]
    pub aclnnNpuFormatCastCalculateSizeAndFormat: ::std::option::Option<
        unsafe extern "C" fn(
            srcTensor: *const aclTensor,
            dstFormat: ::std::os::raw::c_int,
            additionalDtype: ::std::os::raw::c_int,
            dstShape: *mut *mut i64,
            dstShapeSize: *mut u64,
            actualFormat: *mut ::std::os::raw::c_int,
        ) -> aclnnStatus,
    >,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of mxhal_aclnn_operators"][::std::mem::size_of::<mxhal_aclnn_operators>() - 408usize];
    ["Alignment of mxhal_aclnn_operators"][::std::mem::align_of::<mxhal_aclnn_operators>() - 8usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnDynamicMxQuantGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnDynamicMxQuantGetWorkspaceSize) - 0usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnDynamicMxQuant"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnDynamicMxQuant) - 8usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnDynamicMxQuantV2GetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnDynamicMxQuantV2GetWorkspaceSize) - 16usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnDynamicMxQuantV2"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnDynamicMxQuantV2) - 24usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnDynamicMxQuantV3GetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnDynamicMxQuantV3GetWorkspaceSize) - 32usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnDynamicMxQuantV3"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnDynamicMxQuantV3) - 40usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnAntiMxQuantGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnAntiMxQuantGetWorkspaceSize) - 48usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnAntiMxQuant"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnAntiMxQuant) - 56usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnQuantMatmulV5GetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnQuantMatmulV5GetWorkspaceSize) - 64usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnQuantMatmulV5"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnQuantMatmulV5) - 72usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnQuantMatmulWeightNzGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnQuantMatmulWeightNzGetWorkspaceSize) - 80usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnQuantMatmulWeightNz"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnQuantMatmulWeightNz) - 88usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnWeightQuantBatchMatmulV2GetWorkspaceSize"][::std::mem::offset_of!(
        mxhal_aclnn_operators,
        aclnnWeightQuantBatchMatmulV2GetWorkspaceSize
    ) - 96usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnWeightQuantBatchMatmulV2"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnWeightQuantBatchMatmulV2) - 104usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnWeightQuantBatchMatmulV3GetWorkspaceSize"][::std::mem::offset_of!(
        mxhal_aclnn_operators,
        aclnnWeightQuantBatchMatmulV3GetWorkspaceSize
    ) - 112usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnWeightQuantBatchMatmulV3"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnWeightQuantBatchMatmulV3) - 120usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulV4GetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnGroupedMatmulV4GetWorkspaceSize) - 128usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulV4"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnGroupedMatmulV4) - 136usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulV5GetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnGroupedMatmulV5GetWorkspaceSize) - 144usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulV5"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnGroupedMatmulV5) - 152usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulWeightNzGetWorkspaceSize"][::std::mem::offset_of!(
        mxhal_aclnn_operators,
        aclnnGroupedMatmulWeightNzGetWorkspaceSize
    ) - 160usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulWeightNz"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnGroupedMatmulWeightNz) - 168usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulSwigluQuantV2GetWorkspaceSize"][::std::mem::offset_of!(
        mxhal_aclnn_operators,
        aclnnGroupedMatmulSwigluQuantV2GetWorkspaceSize
    ) - 176usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulSwigluQuantV2"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnGroupedMatmulSwigluQuantV2) - 184usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulSwigluQuantWeightNzV2GetWorkspaceSize"][::std::mem::offset_of!(
        mxhal_aclnn_operators,
        aclnnGroupedMatmulSwigluQuantWeightNzV2GetWorkspaceSize
    )
        - 192usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnGroupedMatmulSwigluQuantWeightNzV2"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnGroupedMatmulSwigluQuantWeightNzV2) - 200usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnSwigluMxQuantGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnSwigluMxQuantGetWorkspaceSize) - 208usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnSwigluMxQuant"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnSwigluMxQuant) - 216usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnSwiGluGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnSwiGluGetWorkspaceSize) - 224usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnSwiGlu"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnSwiGlu) - 232usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeGatingTopKGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeGatingTopKGetWorkspaceSize) - 240usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeGatingTopK"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeGatingTopK) - 248usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeGatingTopKV2GetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeGatingTopKV2GetWorkspaceSize) - 256usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeGatingTopKV2"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeGatingTopKV2) - 264usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeGatingTopKSoftmaxGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeGatingTopKSoftmaxGetWorkspaceSize) - 272usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeGatingTopKSoftmax"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeGatingTopKSoftmax) - 280usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize"][::std::mem::offset_of!(
        mxhal_aclnn_operators,
        aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize
    ) - 288usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeGatingTopKSoftmaxV2"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeGatingTopKSoftmaxV2) - 296usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeInitRoutingV2GetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeInitRoutingV2GetWorkspaceSize) - 304usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeInitRoutingV2"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeInitRoutingV2) - 312usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeInitRoutingV3GetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeInitRoutingV3GetWorkspaceSize) - 320usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeInitRoutingV3"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeInitRoutingV3) - 328usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeFinalizeRoutingV2GetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeFinalizeRoutingV2GetWorkspaceSize) - 336usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeFinalizeRoutingV2"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeFinalizeRoutingV2) - 344usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeTokenPermuteGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeTokenPermuteGetWorkspaceSize) - 352usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeTokenPermute"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeTokenPermute) - 360usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeTokenUnpermuteGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeTokenUnpermuteGetWorkspaceSize) - 368usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnMoeTokenUnpermute"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnMoeTokenUnpermute) - 376usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnNpuFormatCastGetWorkspaceSize"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnNpuFormatCastGetWorkspaceSize) - 384usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnNpuFormatCast"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnNpuFormatCast) - 392usize];
    ["Offset of field: mxhal_aclnn_operators::aclnnNpuFormatCastCalculateSizeAndFormat"]
        [::std::mem::offset_of!(mxhal_aclnn_operators, aclnnNpuFormatCastCalculateSizeAndFormat) - 400usize];
};
