//! Filling the tables of functions by name.
//!
//! A table has one member per function and nothing else; that the lists below are complete is checked when this is
//! compiled.

use libloading::os::unix::Library;

use crate::sys;

macro_rules! table {
    ($(#[$doc:meta])* $fill:ident: $table:ty, $($name:ident)+) => {
        $(#[$doc])*
        pub(super) fn $fill(library: &Library) -> $table {
            let mut table = <$table>::default();
            $(
                // SAFETY: a symbol of this name is a function of CANN with this signature; see the header.
                if let Ok(function) = unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) } {
                    table.$name = Some(*function);
                }
            )+
            table
        }

        const _: () = assert!(
            size_of::<$table>() == [$(stringify!($name)),+].len() * size_of::<usize>(),
            "a function of the header is not in the list"
        );
    };
}

table! {
    /// The functions of AscendCL that this library has.
    runtime: sys::mxhal_acl_runtime,
    aclInit aclFinalize aclFinalizeReference aclrtGetVersion aclsysGetVersionStr aclsysGetVersionNum
    aclGetRecentErrMsg aclrtGetLastError aclrtPeekAtLastError aclrtGetDeviceCount aclrtSetDevice
    aclrtResetDevice aclrtResetDeviceForce aclrtGetDevice aclrtGetDeviceInfo aclGetDeviceCapability
    aclrtGetSocName aclrtGetRunMode aclrtSynchronizeDevice aclrtSynchronizeDeviceWithTimeout
    aclrtQueryDeviceStatus aclrtCreateContext aclrtDestroyContext aclrtSetCurrentContext
    aclrtGetCurrentContext aclrtCreateStream aclrtCreateStreamWithConfig aclrtDestroyStream
    aclrtDestroyStreamForce aclrtSynchronizeStream aclrtSynchronizeStreamWithTimeout
    aclrtStreamQuery aclrtStreamWaitEvent aclrtLaunchHostFunc aclrtLaunchCallback
    aclrtSubscribeReport aclrtProcessReport aclrtCreateEvent aclrtCreateEventWithFlag
    aclrtCreateEventExWithFlag aclrtDestroyEvent aclrtRecordEvent aclrtResetEvent
    aclrtQueryEventStatus aclrtQueryEventWaitStatus aclrtSynchronizeEvent
    aclrtSynchronizeEventWithTimeout aclrtEventElapsedTime aclrtMalloc aclrtMallocAlign32
    aclrtMallocCached aclrtMallocWithCfg aclrtFree aclrtMallocHost aclrtFreeHost aclrtMemset
    aclrtMemsetAsync aclrtMemcpy aclrtMemcpyAsync aclrtMemcpy2d aclrtMemcpy2dAsync aclrtGetMemInfo
    aclrtPointerGetAttributes aclDataTypeSize aclFloat16ToFloat aclFloatToFloat16
    aclrtBinaryLoadFromFile aclrtBinaryLoadFromData aclrtBinaryUnLoad aclrtBinaryGetFunction
    aclrtBinaryGetFunctionByEntry aclrtCreateBinary aclrtDestroyBinary aclrtBinaryLoad
    aclrtGetFunctionAddr aclrtGetFunctionName aclrtKernelArgsInit aclrtKernelArgsInitByUserMem
    aclrtKernelArgsGetHandleMemSize aclrtKernelArgsGetMemSize aclrtKernelArgsAppend
    aclrtKernelArgsAppendPlaceHolder aclrtKernelArgsGetPlaceHolderBuffer aclrtKernelArgsParaUpdate
    aclrtKernelArgsFinalize aclrtLaunchKernel aclrtLaunchKernelV2 aclrtLaunchKernelWithConfig
    aclrtLaunchKernelWithHostArgs
}

table! {
    /// The functions about tensors and executors that this library has.
    meta: sys::mxhal_acl_meta,
    aclCreateTensor aclCreateScalar aclCreateIntArray aclCreateFloatArray aclCreateBoolArray
    aclCreateTensorList aclCreateScalarList aclDestroyTensor aclDestroyScalar aclDestroyIntArray
    aclDestroyFloatArray aclDestroyBoolArray aclDestroyTensorList aclDestroyScalarList
    aclGetViewShape aclGetStorageShape aclGetViewStrides aclGetViewOffset aclGetFormat
    aclGetDataType aclGetIntArraySize aclGetFloatArraySize aclGetBoolArraySize aclGetTensorListSize
    aclGetScalarListSize aclInitTensor aclSetAclOpExecutorRepeatable aclDestroyAclOpExecutor
    aclSetInputTensorAddr aclSetOutputTensorAddr aclSetTensorAddr aclSetDynamicInputTensorAddr
    aclSetDynamicOutputTensorAddr aclSetDynamicTensorAddr aclSetRawTensorAddr aclGetRawTensorAddr
    aclnnInit aclnnFinalize
}
