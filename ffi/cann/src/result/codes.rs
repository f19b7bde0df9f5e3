//! The error numbers of CANN: their names, what they mean, and what can be done.
//!
//! The runtime's are those of the ACL headers (1.17.0) in the torch-npu 2.14.0 package, with which `verify.sh`
//! compares them; the operators' are those of hicann/opbase.

use crate::sys;

/// The name of a number in CANN's headers, and its meaning; `unknown` for one that is not in the table.
pub fn describe(code: i32) -> (&'static str, &'static str) {
    match TABLE.iter().find(|entry| entry.0 as i64 == i64::from(code)) {
        Some(entry) => (entry.1, entry.2),
        None => ("unknown", "an error number that this crate does not know; see the CANN documentation"),
    }
}

/// Every number that has a name here, with its meaning.
pub fn all() -> impl Iterator<Item = (i32, &'static str, &'static str)> {
    TABLE.iter().map(|entry| (entry.0 as i32, entry.1, entry.2))
}

macro_rules! codes {
    ($($name:ident: $meaning:literal,)+) => {
        const TABLE: &[(u32, &str, &str)] = &[$((sys::$name, stringify!($name), $meaning),)+];
    };
}

codes! {
    ACL_SUCCESS: "success",

    ACL_ERROR_INVALID_PARAM: "an argument is not valid",
    ACL_ERROR_UNINITIALIZE: "AscendCL is not initialised; call aclInit first",
    ACL_ERROR_REPEAT_INITIALIZE: "AscendCL is initialised already, which is harmless",
    ACL_ERROR_INVALID_FILE: "a file is not valid",
    ACL_ERROR_UNSUPPORTED_DATA_TYPE: "the data type is not supported",
    ACL_ERROR_FORMAT_NOT_MATCH: "the layout of a tensor is not the one that is wanted",
    ACL_ERROR_KERNEL_NOT_FOUND: "there is no such kernel; is the operator package for this SoC installed?",
    ACL_ERROR_REPEAT_FINALIZE: "AscendCL was ended already",
    ACL_ERROR_COMPILING_STUB_MODE: "the library is a stub to link against; take the one of lib64, not of devlib",
    ACL_ERROR_BAD_ALLOC: "the host has not enough memory",
    ACL_ERROR_API_NOT_SUPPORT: "the function is not supported here",
    ACL_ERROR_INVALID_DEVICE: "there is no such device",
    ACL_ERROR_FEATURE_UNSUPPORTED: "the feature is not supported by this device or this driver",
    ACL_ERROR_STORAGE_OVER_LIMIT: "a limit of storage is passed",
    ACL_ERROR_INTERNAL_ERROR: "an internal error of AscendCL",
    ACL_ERROR_FAILURE: "an unspecified failure of AscendCL",
    ACL_ERROR_GE_FAILURE: "a failure of the graph engine",
    ACL_ERROR_RT_FAILURE: "a failure of the runtime",
    ACL_ERROR_DRV_FAILURE: "a failure of the driver; do the versions of driver, firmware and CANN belong together?",

    ACL_ERROR_RT_PARAM_INVALID: "an argument is not valid",
    ACL_ERROR_RT_INVALID_DEVICEID: "there is no device of this number; is it visible, and not taken by another container?",
    ACL_ERROR_RT_CONTEXT_NULL: "the calling thread has no current context; set one",
    ACL_ERROR_RT_STREAM_CONTEXT: "the stream does not belong to the current context",
    ACL_ERROR_RT_ADDR_UNALIGNED: "an address is not aligned as it must be",
    ACL_ERROR_RT_FILE_OPEN: "a file cannot be opened",
    ACL_ERROR_RT_INVALID_MEMORY_TYPE: "memory of the wrong kind, such as host memory where device memory is wanted",
    ACL_ERROR_RT_INVALID_HANDLE: "a handle is not valid; was it destroyed?",
    ACL_ERROR_RT_INVALID_MALLOC_TYPE: "the allocation policy is not valid here",
    ACL_ERROR_RT_WAIT_TIMEOUT: "the time given for waiting was not enough; the work goes on",
    ACL_ERROR_RT_FEATURE_NOT_SUPPORT: "the feature is not supported by this device or this driver",
    ACL_ERROR_RT_MEMORY_ALLOCATION: "the device has not enough memory; free some, or take a smaller batch",
    ACL_ERROR_RT_MEMORY_FREE: "memory could not be freed; was it freed before?",
    ACL_ERROR_RT_NO_DEVICE: "there is no device; is the driver loaded, and does npu-smi show it?",
    ACL_ERROR_RT_RESOURCE_ALLOC_FAIL: "a resource of the device is exhausted",
    ACL_ERROR_RT_NO_STREAM_RESOURCE: "the device has no more streams; destroy some",
    ACL_ERROR_RT_DEVICE_OOM: "the device is out of memory; free some, or take a smaller batch",
    ACL_ERROR_RT_INTERNAL_ERROR: "an internal error of the runtime",
    ACL_ERROR_RT_SOC_VERSION: "the SoC is not the one that this was made for",
    ACL_ERROR_RT_LOST_HEARTBEAT: "the device does not answer any more; reset it",
    ACL_ERROR_RT_AICORE_TIMEOUT: "a kernel took too long on the AI core; open the device anew",
    ACL_ERROR_RT_AICORE_EXCEPTION: "a kernel failed on the AI core; open the device anew, and see the logs of CANN",
    ACL_ERROR_RT_AICPU_EXCEPTION: "a kernel failed on the AI CPU; open the device anew, and see the logs of CANN",
    ACL_ERROR_RT_KERNEL_LOOKUP: "the binary has no kernel of this name",
    ACL_ERROR_RT_VECTOR_CORE_TIMEOUT: "a kernel took too long on a vector core; open the device anew",
    ACL_ERROR_RT_VECTOR_CORE_EXCEPTION: "a kernel failed on a vector core; open the device anew, and see the logs of CANN",
    ACL_ERROR_RT_STREAM_SYNC_TIMEOUT: "the time given for the stream was not enough; the work goes on",
    ACL_ERROR_RT_DEVICE_MEM_ERROR: "the memory of the device failed",
    ACL_ERROR_RT_HBM_MULTI_BIT_ECC_ERROR: "the memory of the device has an error that cannot be corrected; replace the card",
    ACL_ERROR_RT_DRV_INTERNAL_ERROR: "an internal error of the driver",

    ACLNN_ERR_PARAM_NULLPTR: "a pointer is null that must not be",
    ACLNN_ERR_PARAM_INVALID: "an argument breaks a rule of the operator",
    ACLNN_ERR_RUNTIME_ERROR: "the operator does not support this SoC, or the runtime failed below it",
    ACLNN_ERR_INNER: "an internal error of the operator",
    ACLNN_ERR_INNER_INFERSHAPE_ERROR: "the operator could not infer its shapes",
    ACLNN_ERR_INNER_TILING_ERROR: "the operator could not cut its work into tiles",
    ACLNN_ERR_INNER_FIND_KERNEL_ERROR: "there is no kernel; is the operator package for this SoC installed?",
    ACLNN_ERR_INNER_CREATE_EXECUTOR: "the operator could not make its executor",
    ACLNN_ERR_INNER_NOT_TRANS_EXECUTOR: "the executor was not handed over",
    ACLNN_ERR_INNER_NULLPTR: "an internal pointer of the operator is null",
    ACLNN_ERR_INNER_OPP_PATH_NOT_FOUND: "the operator package was not found; set ASCEND_OPP_PATH (set_env.sh does)",
    ACLNN_ERR_INNER_OPP_KERNEL_PKG_NOT_FOUND: "the kernels of this SoC are not installed; install CANN's operator package for it",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_stands_once_and_is_found() {
        let mut numbers: Vec<i32> = all().map(|entry| entry.0).collect();
        for number in &numbers {
            assert_ne!(describe(*number).0, "unknown", "{number}");
        }
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
        assert_eq!(count, 62);
    }

    #[test]
    fn numbers_without_a_name_are_called_unknown() {
        for number in [-1, 1, 100_004, i32::MIN, i32::MAX] {
            assert_eq!(describe(number).0, "unknown", "{number}");
        }
    }
}
