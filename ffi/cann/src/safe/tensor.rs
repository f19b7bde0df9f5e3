//! What operators take: tensors, lists of tensors, arrays of numbers.

use core::ffi::c_void;
use core::fmt;
use std::sync::Arc;

use super::{Context, DeviceBuffer, Runtime, report};
use crate::error::{Error, Result};
use crate::sys;

macro_rules! data_types {
    ($($(#[$doc:meta])* $name:ident = $number:ident, $bits:literal;)+) => {
        /// The type of an element.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DataType {
            $($(#[$doc])* $name,)+
        }

        impl DataType {
            /// CANN's number.
            pub const fn number(self) -> sys::aclDataType {
                match self { $(Self::$name => sys::$number,)+ }
            }

            /// Bits of an element. `aclDataTypeSize` is not asked: it does not know FP4.
            pub const fn bits(self) -> usize {
                match self { $(Self::$name => $bits,)+ }
            }
        }
    };
}

data_types! {
    /// IEEE 754 binary32.
    Float = ACL_FLOAT, 32;
    /// IEEE 754 binary16.
    Float16 = ACL_FLOAT16, 16;
    /// bfloat16.
    Bf16 = ACL_BF16, 16;
    /// 8-bit signed integers.
    Int8 = ACL_INT8, 8;
    /// Bytes.
    Uint8 = ACL_UINT8, 8;
    /// 32-bit signed integers.
    Int32 = ACL_INT32, 32;
    /// 64-bit signed integers.
    Int64 = ACL_INT64, 64;
    /// Truth values of a byte.
    Bool = ACL_BOOL, 8;
    /// E5M2.
    Float8E5m2 = ACL_FLOAT8_E5M2, 8;
    /// E4M3, finite.
    Float8E4m3fn = ACL_FLOAT8_E4M3FN, 8;
    /// E8M0: the scales of MX.
    Float8E8m0 = ACL_FLOAT8_E8M0, 8;
    /// E2M1, two a byte, the even index in the low nibble.
    Float4E2m1 = ACL_FLOAT4_E2M1, 4;
    /// E1M2, two a byte.
    Float4E1m2 = ACL_FLOAT4_E1M2, 4;
}

/// The layout of a storage, by CANN's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format(pub sys::aclFormat);

impl Format {
    /// Dims in their order.
    pub const ND: Self = Self(sys::ACL_FORMAT_ND);
    /// Tiles, as the cube units take the right side of a matmul.
    pub const FRACTAL_NZ: Self = Self(sys::ACL_FORMAT_FRACTAL_NZ);

    /// Whether it is [`FRACTAL_NZ`](Self::FRACTAL_NZ) or one of its variants.
    pub const fn is_nz(self) -> bool {
        self.0 == sys::ACL_FORMAT_FRACTAL_NZ
            || (self.0 >= sys::ACL_FORMAT_FRACTAL_NZ_C0_16 && self.0 <= sys::ACL_FORMAT_FRACTAL_NZ_C0_8)
    }
}

/// Dims, strides, offset, storage, element type and layout of a tensor.
///
/// All are counted in elements, FP4 ones too: an MXFP4 matrix of `M` rows has the dims `[M, K]` and `M·K/2` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    dims: Vec<i64>,
    strides: Vec<i64>,
    offset: i64,
    storage: Vec<i64>,
    data_type: DataType,
    format: Format,
}

impl TensorSpec {
    /// A tensor whose elements lie one after another in row-major order.
    pub fn contiguous(data_type: DataType, dims: &[i64]) -> Self {
        Self {
            dims: dims.to_vec(),
            strides: row_major(dims),
            offset: 0,
            storage: dims.to_vec(),
            data_type,
            format: Format::ND,
        }
    }

    /// The view with two axes exchanged, of the same storage.
    ///
    /// It is how grouped matmul is told that weights lie transposed: `[g, N, K]` becomes the view `[g, K, N]` with
    /// strides `[N·K, 1, K]`.
    ///
    /// # Errors
    ///
    /// There is no such axis.
    pub fn transposed(mut self, one: usize, other: usize) -> Result<Self> {
        let rank = self.dims.len();
        if one >= rank || other >= rank {
            return Err(Error::InvalidArgument(format!(
                "axes {one} and {other} of a tensor of rank {rank} cannot be exchanged; it has axes below {rank}"
            )));
        }
        self.dims.swap(one, other);
        self.strides.swap(one, other);
        Ok(self)
    }

    /// The same view of a storage of other dims in another layout, such as FRACTAL_NZ.
    pub fn with_storage(mut self, format: Format, storage: &[i64]) -> Self {
        self.format = format;
        self.storage = storage.to_vec();
        self
    }

    /// The same view from this element on.
    pub fn with_offset(mut self, offset: i64) -> Self {
        self.offset = offset;
        self
    }

    /// The dims of the view.
    pub fn dims(&self) -> &[i64] {
        &self.dims
    }

    /// The strides of the view.
    pub fn strides(&self) -> &[i64] {
        &self.strides
    }

    /// The dims of the storage.
    pub fn storage(&self) -> &[i64] {
        &self.storage
    }

    /// The type of an element.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The layout of the storage.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The bytes of the storage.
    ///
    /// # Errors
    ///
    /// A dim is negative, or they are more than can be counted, or FP4 elements do not fill the last byte.
    pub fn bytes(&self) -> Result<usize> {
        let refuse = |why: &str| {
            Err(Error::InvalidArgument(format!("a storage of {:?} elements {why}", self.storage)))
        };
        let mut bits = self.data_type.bits();
        for dim in &self.storage {
            let Ok(dim) = usize::try_from(*dim) else { return refuse("has a negative dim") };
            let Some(product) = bits.checked_mul(dim) else { return refuse("is too large to be counted") };
            bits = product;
        }
        if !bits.is_multiple_of(8) {
            return refuse("does not fill whole bytes with FP4; make its count even");
        }
        Ok(bits / 8)
    }

    /// Checks that the last element of an ND view lies within the storage.
    fn check(&self) -> Result<()> {
        if self.dims.iter().any(|dim| *dim < 0) || self.offset < 0 {
            let Self { dims, offset, .. } = self;
            return Err(Error::InvalidArgument(format!(
                "a view of dims {dims:?} from {offset} on is negative"
            )));
        }
        if self.format != Format::ND || self.dims.contains(&0) {
            return Ok(());
        }
        let steps = self
            .dims
            .iter()
            .zip(&self.strides)
            .map(|(dim, stride)| i128::from(dim - 1) * i128::from(*stride));
        let last = i128::from(self.offset) + steps.sum::<i128>();
        let elements: i128 = self.bytes()? as i128 * 8 / self.data_type.bits() as i128;
        if last >= elements {
            let Self { dims, strides, offset, .. } = self;
            return Err(Error::InvalidArgument(format!(
                "a view of dims {dims:?}, strides {strides:?} from {offset} on ends at element {last}, but its storage \
                 has {elements}"
            )));
        }
        Ok(())
    }
}

/// A tensor as operators take it: a [`TensorSpec`] over memory of the device. Clones are the same tensor.
#[derive(Clone)]
pub struct TensorView(Arc<Tensor>);

struct Tensor {
    runtime: Runtime,
    handle: *mut sys::aclTensor,
    spec: TensorSpec,
    pointer: *mut c_void,
    /// Where it is ours; else whoever made the view answers for it.
    _memory: Option<DeviceBuffer>,
    /// A list has taken it over, and destroys it.
    in_list: bool,
}

// SAFETY: a description that is not changed after it was made; new memory is given to executors, not to it.
unsafe impl Send for Tensor {}
// SAFETY: as above.
unsafe impl Sync for Tensor {}

impl TensorView {
    /// A view of the buffer from this byte on.
    ///
    /// # Errors
    ///
    /// The storage is not within the buffer, the view is not within the storage, or the address is not aligned to 32.
    pub fn new(spec: TensorSpec, buffer: &DeviceBuffer, offset: usize) -> Result<Self> {
        let pointer = buffer.range(offset, spec.bytes()?)?;
        Self::create(buffer.context().runtime(), spec, pointer, Some(buffer.clone()))
    }

    /// A view of memory that somebody else owns.
    ///
    /// # Errors
    ///
    /// The view is not within the storage, or the address is not aligned to 32.
    ///
    /// # Safety
    ///
    /// The storage's bytes are memory of the device, and alive whenever an executor made with the tensor runs.
    pub unsafe fn from_raw(context: &Context, spec: TensorSpec, pointer: *mut c_void) -> Result<Self> {
        Self::create(context.runtime(), spec, pointer, None)
    }

    fn create(
        runtime: &Runtime,
        spec: TensorSpec,
        pointer: *mut c_void,
        memory: Option<DeviceBuffer>,
    ) -> Result<Self> {
        spec.check()?;
        if !pointer.addr().is_multiple_of(32) {
            return Err(Error::InvalidArgument(format!(
                "a tensor at {pointer:p}: CANN wants its memory aligned to 32"
            )));
        }
        // SAFETY: the memory is held on to, or the caller of `from_raw` answers for it.
        let handle = unsafe {
            runtime.library().acl_create_tensor(
                &spec.dims,
                spec.data_type.number(),
                &spec.strides,
                spec.offset,
                spec.format.0,
                &spec.storage,
                pointer,
            )
        }?;
        let (runtime, in_list) = (runtime.clone(), false);
        Ok(Self(Arc::new(Tensor { runtime, handle, spec, pointer, _memory: memory, in_list })))
    }

    /// What was asked for.
    pub fn spec(&self) -> &TensorSpec {
        &self.0.spec
    }

    /// Where its storage was when it was made.
    pub fn pointer(&self) -> *mut c_void {
        self.0.pointer
    }

    /// CANN's handle.
    pub fn handle(&self) -> *mut sys::aclTensor {
        self.0.handle
    }
}

impl fmt::Debug for TensorView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TensorView").field(&self.0.spec).finish()
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        if !self.in_list {
            // SAFETY: made by `create`, in no list, destroyed once.
            report(unsafe { self.runtime.library().acl_destroy_tensor(self.handle) });
        }
    }
}

/// Several tensors, which the list owns; clones are the same list.
#[derive(Clone)]
pub struct TensorList(Arc<List>);

struct List {
    runtime: Runtime,
    handle: *mut sys::aclTensorList,
    /// Destroyed with the list, by CANN.
    tensors: Vec<Tensor>,
}

// SAFETY: as for `Tensor`.
unsafe impl Send for List {}
// SAFETY: as for `Tensor`.
unsafe impl Sync for List {}

impl TensorList {
    /// A list of these tensors, which it takes over: CANN destroys them with the list.
    ///
    /// # Errors
    ///
    /// A tensor has clones or is used by an executor, and so cannot be taken over; `aclCreateTensorList` fails.
    pub fn new(context: &Context, tensors: Vec<TensorView>) -> Result<Self> {
        let count = tensors.len();
        let mut owned = Vec::with_capacity(count);
        for (index, TensorView(tensor)) in tensors.into_iter().enumerate() {
            owned.push(Arc::into_inner(tensor).ok_or_else(|| {
                Error::InvalidArgument(format!(
                    "tensor {index} of {count} is used elsewhere, but a list takes its tensors over; make a view for it alone"
                ))
            })?);
        }
        let handles: Vec<*const sys::aclTensor> =
            owned.iter().map(|tensor| tensor.handle.cast_const()).collect();
        // SAFETY: the tensors are alive, and ours alone.
        let handle = unsafe { context.library().acl_create_tensor_list(&handles) }?;
        for tensor in &mut owned {
            tensor.in_list = true;
        }
        Ok(Self(Arc::new(List { runtime: context.runtime().clone(), handle, tensors: owned })))
    }

    /// How many tensors it has.
    pub fn len(&self) -> usize {
        self.0.tensors.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.tensors.is_empty()
    }

    /// Where the storage of each tensor was when it was made.
    pub fn pointers(&self) -> impl Iterator<Item = *mut c_void> {
        self.0.tensors.iter().map(|tensor| tensor.pointer)
    }

    /// What was asked for of the tensor at this place.
    pub fn spec(&self, index: usize) -> Option<&TensorSpec> {
        self.0.tensors.get(index).map(|tensor| &tensor.spec)
    }

    /// CANN's handle.
    pub fn handle(&self) -> *mut sys::aclTensorList {
        self.0.handle
    }
}

impl fmt::Debug for TensorList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.tensors.iter().map(|tensor| &tensor.spec)).finish()
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once, and its tensors with it.
        report(unsafe { self.runtime.library().acl_destroy_tensor_list(self.handle) });
    }
}

/// An array of numbers of the host; clones are the same array.
#[derive(Clone)]
pub struct IntArray(Arc<Ints>);

struct Ints {
    runtime: Runtime,
    handle: *mut sys::aclIntArray,
    numbers: Vec<i64>,
}

// SAFETY: as for `Tensor`.
unsafe impl Send for Ints {}
// SAFETY: as for `Tensor`.
unsafe impl Sync for Ints {}

impl IntArray {
    /// An array of these numbers.
    ///
    /// # Errors
    ///
    /// `aclCreateIntArray` fails.
    pub fn new(context: &Context, numbers: &[i64]) -> Result<Self> {
        let handle = context.library().acl_create_int_array(numbers)?;
        Ok(Self(Arc::new(Ints { runtime: context.runtime().clone(), handle, numbers: numbers.to_vec() })))
    }

    /// CANN's handle.
    pub fn handle(&self) -> *mut sys::aclIntArray {
        self.0.handle
    }
}

impl fmt::Debug for IntArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IntArray").field(&self.0.numbers).finish()
    }
}

impl Drop for Ints {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        report(unsafe { self.runtime.library().acl_destroy_int_array(self.handle) });
    }
}

fn row_major(dims: &[i64]) -> Vec<i64> {
    let mut strides = vec![1_i64; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(dims[axis]);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_weights_and_scales_have_the_strides_that_grouped_matmul_reads() {
        let (g, n, k) = (3, 8, 128);
        let weight = TensorSpec::contiguous(DataType::Float4E2m1, &[g, n, k]).transposed(1, 2).unwrap();
        assert_eq!(weight.dims(), [g, k, n]);
        assert_eq!(weight.strides(), [n * k, 1, k]);
        assert_eq!(weight.storage(), [g, n, k]);
        let scale =
            TensorSpec::contiguous(DataType::Float8E8m0, &[g, n, k / 64, 2]).transposed(1, 2).unwrap();
        assert_eq!(scale.dims(), [g, k / 64, n, 2]);
        assert_eq!(scale.strides(), [n * (k / 64) * 2, 2, (k / 64) * 2, 1]);
    }

    #[test]
    fn fp4_counts_elements_and_takes_half_as_many_bytes() {
        assert_eq!(TensorSpec::contiguous(DataType::Float4E2m1, &[4, 64]).bytes().unwrap(), 128);
        let odd = TensorSpec::contiguous(DataType::Float4E2m1, &[3, 5]).bytes().unwrap_err().to_string();
        assert!(odd.contains("[3, 5]") && odd.contains("even"), "{odd}");
    }

    #[test]
    fn views_beyond_their_storage_are_refused() {
        let spec = TensorSpec::contiguous(DataType::Float, &[4, 4]);
        spec.check().unwrap();
        let error = spec.clone().with_offset(1).check().unwrap_err().to_string();
        assert!(error.contains("element 16") && error.contains("has 16"), "{error}");
        assert!(spec.with_storage(Format::ND, &[i64::MAX, i64::MAX]).check().is_err());
        assert!(TensorSpec::contiguous(DataType::Float, &[-1]).check().is_err());
    }

    #[test]
    fn axes_that_are_not_there_cannot_be_exchanged() {
        let error =
            TensorSpec::contiguous(DataType::Float, &[4, 4]).transposed(1, 2).unwrap_err().to_string();
        assert!(error.contains("rank 2"), "{error}");
    }

    #[test]
    fn the_variants_of_nz_are_nz() {
        assert!(Format::FRACTAL_NZ.is_nz() && Format(sys::ACL_FORMAT_FRACTAL_NZ_C0_32).is_nz());
        assert!(!Format::ND.is_nz() && !Format(sys::ACL_FORMAT_NCL).is_nz());
    }
}
