//! `aclTensor` and the lists and arrays: what `acl_meta` offers.
//!
//! The arrays that `aclGetViewShape` and its kin give are allocated with `malloc` and become the caller's; who frees
//! them on a real installation is not documented.

use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::element::Element;
use crate::memory;
use crate::refusal::{Answer, Refusal, acl, answer_pointer, code, give};
use crate::registry::Registry;
use crate::rules;

/// `aclFormat`: any number of dimensions, row-major.
pub(crate) const ND: i32 = 2;
/// `aclFormat`: tiles of 16 rows by 32 bytes, columns of tiles first.
pub(crate) const FRACTAL_NZ: i32 = 29;
/// The largest rank: a scale tensor has one dimension more than its seven.
const MAX_RANK: u64 = 8;

/// A view of storage in device memory.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) element: Element,
    pub(crate) format: i32,
    pub(crate) shape: Vec<usize>,
    /// In elements.
    pub(crate) strides: Vec<usize>,
    /// In elements.
    pub(crate) offset: usize,
    pub(crate) storage: Vec<usize>,
    address: AtomicUsize,
    /// The list that destroys it, or 0.
    list: AtomicUsize,
}

pub(crate) struct TensorList {
    pub(crate) tensors: Vec<usize>,
}

pub(crate) static TENSORS: Registry<Tensor> = Registry::new("a tensor", 4);
pub(crate) static LISTS: Registry<TensorList> = Registry::new("a tensor list", 5);
static INT_ARRAYS: Registry<Vec<i64>> = Registry::new("an int array", 6);
static FLOAT_ARRAYS: Registry<Vec<f32>> = Registry::new("a float array", 10);
static BOOL_ARRAYS: Registry<Vec<bool>> = Registry::new("a bool array", 11);
static SCALARS: Registry<(u64, i32)> = Registry::new("a scalar", 12);
/// Tensors that went with their list, to say so.
static GONE_WITH_LIST: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.element, self.shape)
    }
}

impl Tensor {
    pub(crate) fn address(&self) -> usize {
        self.address.load(Ordering::Relaxed)
    }

    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of the whole storage.
    pub(crate) fn storage_bytes(&self) -> usize {
        (self.storage.iter().product::<usize>() * self.element.bits()).div_ceil(8)
    }

    /// The strides of a row-major tensor of the shape.
    pub(crate) fn contiguous_strides(shape: &[usize]) -> Vec<usize> {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        strides
    }

    /// Whether the elements of the view lie in row-major order without gaps. Dimensions of 1 have any stride.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.has_strides(&Self::contiguous_strides(&self.shape))
    }

    /// Whether the strides are these, where they matter.
    pub(crate) fn has_strides(&self, strides: &[usize]) -> bool {
        self.elements() == 0
            || self
                .shape
                .iter()
                .zip(&self.strides)
                .zip(strides)
                .all(|((dim, is), want)| *dim == 1 || is == want)
    }

    /// What is wrong with the data's address, if anything.
    pub(crate) fn check_address(address: usize) -> Answer {
        if !address.is_multiple_of(32) {
            return Err(Refusal::invalid(rules::ALIGNMENT, format!("tensorData {address:#x}")));
        }
        if address != 0 && !memory::is_device_address(address) {
            return Err(Refusal::invalid(
                rules::DEVICE_MEMORY,
                format!("tensorData {address:#x} is an address of the host"),
            ));
        }
        Ok(())
    }
}

/// The arguments of `aclCreateTensor`, as they come.
struct Description {
    shape: (*const i64, u64),
    element: i32,
    strides: *const i64,
    offset: i64,
    format: i32,
    storage: (*const i64, u64),
    data: *mut c_void,
}

impl Description {
    fn tensor(&self) -> Answer<Tensor> {
        let refuse = |what: String| Refusal::invalid(rules::TENSOR_SHAPE, what);
        let dims = |pointer: *const i64, count: u64, name: &str| {
            array(pointer, count, name)?
                .iter()
                .map(|dim| {
                    usize::try_from(*dim).map_err(|_| refuse(format!("{name} has {dim}, expected 0 or more")))
                })
                .collect::<Answer<Vec<usize>>>()
        };
        if self.shape.1 > MAX_RANK || self.storage.1 > MAX_RANK {
            return Err(refuse(format!(
                "{} and {} dimensions, expected at most {MAX_RANK}",
                self.shape.1, self.storage.1
            )));
        }
        let element = Element::from_number(self.element).ok_or_else(|| {
            Refusal::invalid(rules::DTYPE, format!("dataType {} is not simulated", self.element))
        })?;
        if !matches!(self.format, ND | FRACTAL_NZ | 0 | 1 | 50 | 51) {
            return Err(Refusal::invalid(rules::FORMAT, format!("format {} is not simulated", self.format)));
        }
        let shape = dims(self.shape.0, self.shape.1, "viewDims")?;
        let strides = match self.strides.is_null() {
            true => Tensor::contiguous_strides(&shape),
            false => dims(self.strides, self.shape.1, "stride")?,
        };
        let storage = match self.storage.0.is_null() {
            true => shape.clone(),
            false => dims(self.storage.0, self.storage.1, "storageDims")?,
        };
        let offset = usize::try_from(self.offset).map_err(|_| refuse(format!("offset {}", self.offset)))?;
        let reach: usize =
            shape.iter().zip(&strides).map(|(dim, stride)| dim.saturating_sub(1) * stride).sum();
        let stored: usize = storage.iter().product();
        let empty = shape.contains(&0);
        if self.format == ND && !empty && offset + reach >= stored {
            return Err(refuse(format!(
                "viewDims {shape:?} with stride {strides:?} and offset {offset} reaches element {}, storageDims {storage:?} have {stored}",
                offset + reach
            )));
        }
        let address = self.data as usize;
        Tensor::check_address(address)?;
        let (address, list) = (AtomicUsize::new(address), AtomicUsize::new(0));
        Ok(Tensor { element, format: self.format, shape, strides, offset, storage, address, list })
    }
}

/// `count` values of the caller's.
pub(crate) fn array<'a, T>(pointer: *const T, count: u64, argument: &str) -> Answer<&'a [T]> {
    let count = usize::try_from(count).expect("64 bits");
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, format!("{argument} is null")));
    }
    if memory::is_device_address(pointer as usize) {
        return Err(Refusal::invalid(rules::HOST_MEMORY, format!("{argument} is a device address")));
    }
    // SAFETY: so many values are what the C declaration asks of the caller, for the time of the call.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// An int array's values.
pub(crate) fn int_array(handle: *const c_void, argument: &str) -> Answer<Arc<Vec<i64>>> {
    INT_ARRAYS.get(handle).map_err(|what| handle_refusal(argument, &what))
}

/// The tensor of a handle.
pub(crate) fn tensor_of(handle: *const c_void, argument: &str) -> Answer<Arc<Tensor>> {
    if handle.is_null() {
        return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, format!("{argument} is null")));
    }
    TENSORS
        .get(handle)
        .map_err(|what| gone_with_list(handle).unwrap_or_else(|| handle_refusal(argument, &what)))
}

fn handle_refusal(argument: &str, what: &str) -> Refusal {
    Refusal::invalid(rules::HANDLE, format!("{argument} is {what}"))
}

fn gone_with_list(handle: *const c_void) -> Option<Refusal> {
    let gone = GONE_WITH_LIST.lock().expect("nothing panics with it held").contains(&(handle as usize));
    gone.then(|| {
        Refusal::invalid(
            rules::OWNED_BY_LIST,
            format!("tensor {handle:p} was destroyed by aclDestroyTensorList"),
        )
    })
}

/// A copy that the caller may `free`.
fn handed_out(values: &[usize]) -> *mut i64 {
    let values: Box<[i64]> = values.iter().map(|value| i64::try_from(*value).expect("came as one")).collect();
    // The global allocator of this library is malloc.
    Box::into_raw(values).cast()
}

fn destroyed<T>(registry: &Registry<T>, handle: *const c_void, argument: &str) -> Answer {
    registry.remove(handle).map(drop).map_err(|what| handle_refusal(argument, &what))
}

#[unsafe(no_mangle)]
extern "C" fn aclCreateTensor(
    shape: *const i64,
    rank: u64,
    element: i32,
    strides: *const i64,
    offset: i64,
    format: i32,
    storage: *const i64,
    storage_rank: u64,
    data: *mut c_void,
) -> *mut c_void {
    answer_pointer("aclCreateTensor", || {
        let (shape, storage) = ((shape, rank), (storage, storage_rank));
        Ok(TENSORS.insert(Description { shape, element, strides, offset, format, storage, data }.tensor()?))
    })
}

#[unsafe(no_mangle)]
extern "C" fn aclCreateTensorList(tensors: *const *const c_void, count: u64) -> *mut c_void {
    answer_pointer("aclCreateTensorList", || {
        let handles = array(tensors, count, "value")?;
        let tensors = handles.iter().map(|handle| tensor_of(*handle, "value")).collect::<Answer<Vec<_>>>()?;
        Ok(LISTS.insert_with(|list| {
            for tensor in &tensors {
                tensor.list.store(list, Ordering::Relaxed);
            }
            TensorList { tensors: handles.iter().map(|handle| *handle as usize).collect() }
        }))
    })
}

#[unsafe(no_mangle)]
extern "C" fn aclCreateIntArray(values: *const i64, count: u64) -> *mut c_void {
    answer_pointer("aclCreateIntArray", || Ok(INT_ARRAYS.insert(array(values, count, "value")?.to_vec())))
}

#[unsafe(no_mangle)]
extern "C" fn aclCreateFloatArray(values: *const f32, count: u64) -> *mut c_void {
    answer_pointer("aclCreateFloatArray", || Ok(FLOAT_ARRAYS.insert(array(values, count, "value")?.to_vec())))
}

#[unsafe(no_mangle)]
extern "C" fn aclCreateBoolArray(values: *const bool, count: u64) -> *mut c_void {
    answer_pointer("aclCreateBoolArray", || Ok(BOOL_ARRAYS.insert(array(values, count, "value")?.to_vec())))
}

#[unsafe(no_mangle)]
extern "C" fn aclCreateScalar(value: *mut c_void, element: i32) -> *mut c_void {
    answer_pointer("aclCreateScalar", || {
        let bytes = Element::from_number(element).map_or(8, |element| element.bits().div_ceil(8));
        let mut bits = [0; 8];
        bits[..bytes].copy_from_slice(array(value.cast_const().cast::<u8>(), bytes as u64, "value")?);
        Ok(SCALARS.insert((u64::from_le_bytes(bits), element)))
    })
}

acl! {
    fn aclDestroyTensor(tensor: *const c_void) {
        if tensor_of(tensor, "tensor")?.list.load(Ordering::Relaxed) != 0 {
            return Err(Refusal::invalid(rules::IN_LIST, format!("tensor {tensor:p} belongs to a list; destroy the list")));
        }
        destroyed(&TENSORS, tensor, "tensor")
    }

    fn aclDestroyTensorList(list: *const c_void) {
        let object = LISTS.remove(list).map_err(|what| handle_refusal("array", &what))?;
        let mut gone = GONE_WITH_LIST.lock().expect("nothing panics with it held");
        for tensor in &object.tensors {
            if TENSORS.remove(*tensor as *const c_void).is_ok() {
                gone.push(*tensor);
            }
        }
        // A long run destroys many; old ones are merely called destroyed.
        let surplus = gone.len().saturating_sub(4096);
        gone.drain(..surplus);
        Ok(())
    }

    fn aclDestroyIntArray(array: *const c_void) {
        destroyed(&INT_ARRAYS, array, "array")
    }

    fn aclDestroyFloatArray(array: *const c_void) {
        destroyed(&FLOAT_ARRAYS, array, "array")
    }

    fn aclDestroyBoolArray(array: *const c_void) {
        destroyed(&BOOL_ARRAYS, array, "array")
    }

    fn aclDestroyScalar(scalar: *const c_void) {
        destroyed(&SCALARS, scalar, "scalar")
    }

    fn aclGetViewShape(tensor: *const c_void, dims: *mut *mut i64, count: *mut u64) {
        let tensor = tensor_of(tensor, "tensor")?;
        give(count, "viewDimsNum", tensor.shape.len() as u64)?;
        give(dims, "viewDims", handed_out(&tensor.shape))
    }

    fn aclGetStorageShape(tensor: *const c_void, dims: *mut *mut i64, count: *mut u64) {
        let tensor = tensor_of(tensor, "tensor")?;
        give(count, "storageDimsNum", tensor.storage.len() as u64)?;
        give(dims, "storageDims", handed_out(&tensor.storage))
    }

    fn aclGetViewStrides(tensor: *const c_void, strides: *mut *mut i64, count: *mut u64) {
        let tensor = tensor_of(tensor, "tensor")?;
        give(count, "stridesNum", tensor.strides.len() as u64)?;
        give(strides, "stridesValue", handed_out(&tensor.strides))
    }

    fn aclGetViewOffset(tensor: *const c_void, offset: *mut i64) {
        give(offset, "offset", i64::try_from(tensor_of(tensor, "tensor")?.offset).expect("came as one"))
    }

    fn aclGetFormat(tensor: *const c_void, format: *mut i32) {
        give(format, "format", tensor_of(tensor, "tensor")?.format)
    }

    fn aclGetDataType(tensor: *const c_void, element: *mut i32) {
        give(element, "dataType", tensor_of(tensor, "tensor")?.element as i32)
    }

    fn aclGetTensorListSize(list: *const c_void, size: *mut u64) {
        let list = LISTS.get(list).map_err(|what| handle_refusal("tensorList", &what))?;
        give(size, "size", list.tensors.len() as u64)
    }

    fn aclGetIntArraySize(array: *const c_void, size: *mut u64) {
        give(size, "size", int_array(array, "array")?.len() as u64)
    }

    fn aclSetRawTensorAddr(tensor: *mut c_void, address: *mut c_void) {
        let tensor = tensor_of(tensor, "tensor")?;
        Tensor::check_address(address as usize)?;
        tensor.address.store(address as usize, Ordering::Relaxed);
        Ok(())
    }

    fn aclGetRawTensorAddr(tensor: *const c_void, address: *mut *mut c_void) {
        give(address, "addr", tensor_of(tensor, "tensor")?.address() as *mut c_void)
    }
}
