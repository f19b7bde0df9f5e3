//! Tensors, lists, arrays and executors.

use core::ffi::{c_char, c_void};

use super::calls;
use crate::error::{Error, Result};
use crate::library::Library;
use crate::sys;

calls! { meta_table;
    /// Initialises the operators; optional.
    unsafe aclnn_init(config_path: *const c_char) = aclnnInit(config_path);
    /// Ends the operators; optional.
    unsafe aclnn_finalize() = aclnnFinalize();

    /// Destroys a tensor; its memory stays.
    unsafe acl_destroy_tensor(tensor: *const sys::aclTensor) = aclDestroyTensor(tensor);
    /// Destroys an array.
    unsafe acl_destroy_int_array(array: *const sys::aclIntArray) = aclDestroyIntArray(array);
    /// Destroys a list and its tensors.
    unsafe acl_destroy_tensor_list(list: *const sys::aclTensorList) = aclDestroyTensorList(list);
    /// How many tensors a list has.
    unsafe acl_get_tensor_list_size(list: *const sys::aclTensorList) = aclGetTensorListSize(list, &mut size)
        -> size: u64;
    /// How many numbers an array has.
    unsafe acl_get_int_array_size(array: *const sys::aclIntArray) = aclGetIntArraySize(array, &mut size) -> size: u64;
    /// The offset of a view in elements.
    unsafe acl_get_view_offset(tensor: *const sys::aclTensor) = aclGetViewOffset(tensor, &mut offset) -> offset: i64;
    /// The layout of a tensor's storage.
    unsafe acl_get_format(tensor: *const sys::aclTensor) = aclGetFormat(tensor, &mut format) -> format: sys::aclFormat;
    /// The type of a tensor's elements.
    unsafe acl_get_data_type(tensor: *const sys::aclTensor) = aclGetDataType(tensor, &mut data_type)
        -> data_type: sys::aclDataType;
    /// The memory of a tensor.
    unsafe acl_get_raw_tensor_addr(tensor: *const sys::aclTensor) = aclGetRawTensorAddr(tensor, &mut address)
        -> address: *mut c_void;
    /// New memory for a tensor outside of an executor.
    unsafe acl_set_raw_tensor_addr(tensor: *mut sys::aclTensor, address: *mut c_void)
        = aclSetRawTensorAddr(tensor, address);

    /// The executor may run again; the caller destroys it.
    unsafe acl_set_acl_op_executor_repeatable(executor: *mut sys::aclOpExecutor)
        = aclSetAclOpExecutorRepeatable(executor);
    /// Destroys a repeatable executor.
    unsafe acl_destroy_acl_op_executor(executor: *mut sys::aclOpExecutor) = aclDestroyAclOpExecutor(executor);
    /// New memory for an input tensor of a repeatable executor.
    unsafe acl_set_input_tensor_addr(
        executor: *mut sys::aclOpExecutor,
        index: usize,
        tensor: *mut sys::aclTensor,
        address: *mut c_void
    ) = aclSetInputTensorAddr(executor, index, tensor, address);
    /// New memory for an output tensor of a repeatable executor.
    unsafe acl_set_output_tensor_addr(
        executor: *mut sys::aclOpExecutor,
        index: usize,
        tensor: *mut sys::aclTensor,
        address: *mut c_void
    ) = aclSetOutputTensorAddr(executor, index, tensor, address);
    /// New memory for a tensor of a repeatable executor, by its place among all.
    unsafe acl_set_tensor_addr(
        executor: *mut sys::aclOpExecutor,
        index: usize,
        tensor: *mut sys::aclTensor,
        address: *mut c_void
    ) = aclSetTensorAddr(executor, index, tensor, address);
    /// New memory for a tensor of an input list of a repeatable executor.
    unsafe acl_set_dynamic_input_tensor_addr(
        executor: *mut sys::aclOpExecutor,
        index: usize,
        relative_index: usize,
        list: *mut sys::aclTensorList,
        address: *mut c_void
    ) = aclSetDynamicInputTensorAddr(executor, index, relative_index, list, address);
    /// New memory for a tensor of an output list of a repeatable executor.
    unsafe acl_set_dynamic_output_tensor_addr(
        executor: *mut sys::aclOpExecutor,
        index: usize,
        relative_index: usize,
        list: *mut sys::aclTensorList,
        address: *mut c_void
    ) = aclSetDynamicOutputTensorAddr(executor, index, relative_index, list, address);
    /// New memory for a tensor of a list of a repeatable executor, by its place among all.
    unsafe acl_set_dynamic_tensor_addr(
        executor: *mut sys::aclOpExecutor,
        index: usize,
        relative_index: usize,
        list: *mut sys::aclTensorList,
        address: *mut c_void
    ) = aclSetDynamicTensorAddr(executor, index, relative_index, list, address);
}

impl Library {
    /// A view of device memory; dims, strides and offset count elements, FP4 ones too.
    ///
    /// # Errors
    ///
    /// There is not one stride for each dim, or `aclCreateTensor` answers null.
    ///
    /// # Safety
    ///
    /// The memory is alive whenever an executor made with the tensor runs. The slices are copied.
    #[expect(clippy::too_many_arguments, reason = "they are those of the C function")]
    pub unsafe fn acl_create_tensor(
        &self,
        dims: &[i64],
        data_type: sys::aclDataType,
        strides: &[i64],
        offset: i64,
        format: sys::aclFormat,
        storage: &[i64],
        data: *mut c_void,
    ) -> Result<*mut sys::aclTensor> {
        if dims.len() != strides.len() {
            let (dims, strides) = (dims.len(), strides.len());
            return Err(Error::InvalidArgument(format!(
                "a tensor of {dims} dims has {strides} strides; give one for each"
            )));
        }
        let function = self.meta_table().aclCreateTensor.ok_or_else(|| self.missing("aclCreateTensor"))?;
        // SAFETY: the slices live through the call, and are as long as it says.
        let tensor = unsafe {
            function(
                dims.as_ptr(),
                dims.len() as u64,
                data_type,
                strides.as_ptr(),
                offset,
                format,
                storage.as_ptr(),
                storage.len() as u64,
                data,
            )
        };
        self.non_null("aclCreateTensor", tensor)
    }

    /// A list, which owns its tensors from then on.
    ///
    /// # Errors
    ///
    /// `aclCreateTensorList` answers null; the tensors are still the caller's.
    ///
    /// # Safety
    ///
    /// The tensors are alive, are in no other list, and are not destroyed but with the list.
    pub unsafe fn acl_create_tensor_list(
        &self,
        tensors: &[*const sys::aclTensor],
    ) -> Result<*mut sys::aclTensorList> {
        let function =
            self.meta_table().aclCreateTensorList.ok_or_else(|| self.missing("aclCreateTensorList"))?;
        // SAFETY: the slice lives through the call; its tensors are as the caller promises.
        let list = unsafe { function(tensors.as_ptr(), tensors.len() as u64) };
        self.non_null("aclCreateTensorList", list)
    }

    /// An array of numbers, which are copied.
    ///
    /// # Errors
    ///
    /// `aclCreateIntArray` answers null.
    pub fn acl_create_int_array(&self, numbers: &[i64]) -> Result<*mut sys::aclIntArray> {
        let function =
            self.meta_table().aclCreateIntArray.ok_or_else(|| self.missing("aclCreateIntArray"))?;
        // SAFETY: the slice lives through the call.
        let array = unsafe { function(numbers.as_ptr(), numbers.len() as u64) };
        self.non_null("aclCreateIntArray", array)
    }
}
