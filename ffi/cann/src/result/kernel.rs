//! Kernels of one's own: loading their binaries, passing their arguments, launching them.

use core::ffi::{c_char, c_void};
use core::ptr;

use super::calls;
use crate::error::Result;
use crate::library::Library;
use crate::sys;

calls! { runtime_table;
    /// Loads a kernel binary; null options are allowed.
    unsafe aclrt_binary_load_from_file(path: *const c_char, options: *mut sys::aclrtBinaryLoadOptions)
        = aclrtBinaryLoadFromFile(path, options, &mut binary) -> binary: sys::aclrtBinHandle;
    /// The same from memory.
    unsafe aclrt_binary_load_from_data(
        data: *const c_void,
        bytes: usize,
        options: *const sys::aclrtBinaryLoadOptions
    ) = aclrtBinaryLoadFromData(data, bytes, options, &mut binary) -> binary: sys::aclrtBinHandle;
    /// Unloads a kernel binary.
    unsafe aclrt_binary_un_load(binary: sys::aclrtBinHandle) = aclrtBinaryUnLoad(binary);
    /// A kernel by its name.
    unsafe aclrt_binary_get_function(binary: sys::aclrtBinHandle, name: *const c_char)
        = aclrtBinaryGetFunction(binary, name, &mut function) -> function: sys::aclrtFuncHandle;
    /// A kernel by its entry number.
    unsafe aclrt_binary_get_function_by_entry(binary: sys::aclrtBinHandle, entry: u64)
        = aclrtBinaryGetFunctionByEntry(binary, entry, &mut function) -> function: sys::aclrtFuncHandle;
    /// Destroys the description of a binary in memory.
    unsafe aclrt_destroy_binary(binary: sys::aclrtBinary) = aclrtDestroyBinary(binary);
    /// Loads a described binary.
    unsafe aclrt_binary_load(binary: sys::aclrtBinary) = aclrtBinaryLoad(binary, &mut handle)
        -> handle: sys::aclrtBinHandle;
    /// The device addresses of a kernel's cube and vector parts.
    unsafe aclrt_get_function_addr(function: sys::aclrtFuncHandle) = aclrtGetFunctionAddr(function, &mut cube, &mut vector)
        -> cube: *mut c_void, vector: *mut c_void;
    /// Writes the name of a kernel.
    unsafe aclrt_get_function_name(function: sys::aclrtFuncHandle, capacity: u32, name: *mut c_char)
        = aclrtGetFunctionName(function, capacity, name);

    /// Begins a list of kernel arguments.
    unsafe aclrt_kernel_args_init(function: sys::aclrtFuncHandle) = aclrtKernelArgsInit(function, &mut arguments)
        -> arguments: sys::aclrtArgsHandle;
    /// The same in memory of the caller.
    unsafe aclrt_kernel_args_init_by_user_mem(
        function: sys::aclrtFuncHandle,
        arguments: sys::aclrtArgsHandle,
        memory: *mut c_void,
        bytes: usize
    ) = aclrtKernelArgsInitByUserMem(function, arguments, memory, bytes);
    /// Bytes of the handle in memory of the caller.
    unsafe aclrt_kernel_args_get_handle_mem_size(function: sys::aclrtFuncHandle)
        = aclrtKernelArgsGetHandleMemSize(function, &mut bytes) -> bytes: usize;
    /// Bytes that arguments of this size take in all.
    unsafe aclrt_kernel_args_get_mem_size(function: sys::aclrtFuncHandle, arguments_bytes: usize)
        = aclrtKernelArgsGetMemSize(function, arguments_bytes, &mut bytes) -> bytes: usize;
    /// Appends one argument by value, copied from the host.
    unsafe aclrt_kernel_args_append(arguments: sys::aclrtArgsHandle, value: *mut c_void, bytes: usize)
        = aclrtKernelArgsAppend(arguments, value, bytes, &mut parameter) -> parameter: sys::aclrtParamHandle;
    /// Appends the address of a small host block that travels along.
    unsafe aclrt_kernel_args_append_place_holder(arguments: sys::aclrtArgsHandle)
        = aclrtKernelArgsAppendPlaceHolder(arguments, &mut parameter) -> parameter: sys::aclrtParamHandle;
    /// Where that block is to be written.
    unsafe aclrt_kernel_args_get_place_holder_buffer(
        arguments: sys::aclrtArgsHandle,
        parameter: sys::aclrtParamHandle,
        bytes: usize
    ) = aclrtKernelArgsGetPlaceHolderBuffer(arguments, parameter, bytes, &mut buffer) -> buffer: *mut c_void;
    /// Writes one argument anew.
    unsafe aclrt_kernel_args_para_update(
        arguments: sys::aclrtArgsHandle,
        parameter: sys::aclrtParamHandle,
        value: *mut c_void,
        bytes: usize
    ) = aclrtKernelArgsParaUpdate(arguments, parameter, value, bytes);
    /// Ends a list of arguments.
    unsafe aclrt_kernel_args_finalize(arguments: sys::aclrtArgsHandle) = aclrtKernelArgsFinalize(arguments);

    /// Launches a kernel on so many cores; the arguments lie in device memory.
    unsafe aclrt_launch_kernel(
        function: sys::aclrtFuncHandle,
        blocks: u32,
        arguments: *const c_void,
        bytes: usize,
        stream: sys::aclrtStream
    ) = aclrtLaunchKernel(function, blocks, arguments, bytes, stream);
    /// The same with attributes.
    unsafe aclrt_launch_kernel_v2(
        function: sys::aclrtFuncHandle,
        blocks: u32,
        arguments: *const c_void,
        bytes: usize,
        configuration: *mut sys::aclrtLaunchKernelCfg,
        stream: sys::aclrtStream
    ) = aclrtLaunchKernelV2(function, blocks, arguments, bytes, configuration, stream);
    /// Launches with a list of arguments; a null configuration is allowed.
    unsafe aclrt_launch_kernel_with_config(
        function: sys::aclrtFuncHandle,
        blocks: u32,
        stream: sys::aclrtStream,
        configuration: *mut sys::aclrtLaunchKernelCfg,
        arguments: sys::aclrtArgsHandle
    ) = aclrtLaunchKernelWithConfig(function, blocks, stream, configuration, arguments, ptr::null_mut());
    /// Launches with arguments that lie one after another in host memory; a null configuration is allowed.
    unsafe aclrt_launch_kernel_with_host_args(
        function: sys::aclrtFuncHandle,
        blocks: u32,
        stream: sys::aclrtStream,
        configuration: *mut sys::aclrtLaunchKernelCfg,
        arguments: *mut c_void,
        bytes: usize,
        place_holders: *mut sys::aclrtPlaceHolderInfo,
        place_holder_count: usize
    ) = aclrtLaunchKernelWithHostArgs(
        function, blocks, stream, configuration, arguments, bytes, place_holders, place_holder_count
    );
}

impl Library {
    /// Describes a binary in memory for [`aclrt_binary_load`](Self::aclrt_binary_load).
    ///
    /// # Errors
    ///
    /// `aclrtCreateBinary` answers null.
    ///
    /// # Safety
    ///
    /// The bytes stay where they are until the description is destroyed.
    pub unsafe fn aclrt_create_binary(&self, data: *const c_void, bytes: usize) -> Result<sys::aclrtBinary> {
        let function =
            self.runtime_table().aclrtCreateBinary.ok_or_else(|| self.missing("aclrtCreateBinary"))?;
        // SAFETY: as the caller promises.
        let binary = unsafe { function(data, bytes) };
        self.non_null("aclrtCreateBinary", binary)
    }
}
