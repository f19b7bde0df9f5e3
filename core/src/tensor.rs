//! Tensors: layouts whose sizes were checked once, and views of memory with such a layout.

use core::fmt;

use crate::error::{Error, Result};
use crate::format::Format;

/// The most dimensions that a tensor has.
pub const MAX_RANK: usize = 4;

/// Format, shape and strides of a tensor, checked on construction: no size overflows, columns fit the format's
/// blocks, the innermost stride is 1.
///
/// The last dimension is K, the one along which scales are shared; everything before it is rows. Shapes and strides
/// count elements, also where two share a byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    format: Format,
    rank: usize,
    shape: [usize; MAX_RANK],
    strides: [usize; MAX_RANK],
}

impl Layout {
    /// A row-major layout without gaps.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) for a rank of 0 or above [`MAX_RANK`], for columns
    /// that the format's blocks do not divide, and for sizes beyond what an `isize` counts.
    ///
    /// ```
    /// use mxhal_core::{Format, Layout};
    /// let w1 = Layout::contiguous(Format::Mxfp4, &[2048, 4096])?;
    /// assert_eq!(w1.data_bytes(), 2048 * 2048);
    /// assert_eq!(w1.scales_bytes(), 2048 * 128);
    /// # Ok::<_, mxhal_core::Error>(())
    /// ```
    pub fn contiguous(format: Format, shape: &[usize]) -> Result<Self> {
        let mut strides = [1_usize; MAX_RANK];
        if (1..=MAX_RANK).contains(&shape.len()) {
            for dimension in (0..shape.len() - 1).rev() {
                strides[dimension] = strides[dimension + 1].saturating_mul(shape[dimension + 1]);
            }
        }
        Self::strided(format, shape, &strides[..shape.len().min(MAX_RANK)])
    }

    /// A layout with strides, in elements. Block-scaled formats have no gaps; plain ones may have any outer stride
    /// that keeps rows apart, and an innermost stride of 1.
    ///
    /// # Errors
    ///
    /// As [`Self::contiguous`], and for strides that break the rule above.
    pub fn strided(format: Format, shape: &[usize], strides: &[usize]) -> Result<Self> {
        let rank = shape.len();
        if !(1..=MAX_RANK).contains(&rank) || strides.len() != rank {
            return Err(Error::invalid(format!(
                "a tensor has 1 to {MAX_RANK} dimensions and as many strides, not shape {shape:?} with strides {strides:?}"
            )));
        }
        let columns = shape[rank - 1];
        let multiple = format.column_multiple();
        if !columns.is_multiple_of(multiple) {
            return Err(Error::invalid(format!(
                "{format} wants columns in multiples of {multiple}, and shape {shape:?} has {columns}"
            )));
        }
        let mut dense = 1_usize;
        let mut span = 1_usize;
        for dimension in (0..rank).rev() {
            let (extent, stride) = (shape[dimension], strides[dimension]);
            // A dimension that holds at most one index never steps, so its stride does not matter.
            let allowed = match dimension {
                _ if shape.contains(&0) => true,
                innermost if innermost == rank - 1 => stride == 1,
                _ if extent == 1 => true,
                _ if format.is_block_scaled() => stride == dense,
                _ => stride >= span,
            };
            if !allowed {
                return Err(Error::invalid(format!(
                    "stride {stride} of dimension {dimension} is not allowed for {format} with shape {shape:?}: \
                     the innermost stride is 1, outer ones keep rows apart, and block-scaled formats have no gaps"
                )));
            }
            let reach = extent.saturating_sub(1).checked_mul(stride).and_then(|r| span.checked_add(r));
            let (Some(next_dense), Some(next_span)) = (dense.checked_mul(extent.max(1)), reach) else {
                return Err(too_large(format, shape));
            };
            (dense, span) = (next_dense, next_span);
        }
        // Eight bytes an element is the widest format.
        if span.max(dense) > isize::MAX as usize / 8 {
            return Err(too_large(format, shape));
        }
        let mut layout = Self { format, rank, shape: [1; MAX_RANK], strides: [1; MAX_RANK] };
        layout.shape[..rank].copy_from_slice(shape);
        layout.strides[..rank].copy_from_slice(strides);
        Ok(layout)
    }

    /// The format of its elements.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Its extents in elements, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape[..self.rank]
    }

    /// Its strides in elements, outermost first.
    pub fn strides(&self) -> &[usize] {
        &self.strides[..self.rank]
    }

    /// The extent of the last dimension.
    pub const fn columns(&self) -> usize {
        self.shape[self.rank - 1]
    }

    /// The product of all extents but the last; 1 for a vector.
    pub fn rows(&self) -> usize {
        self.shape[..self.rank - 1].iter().product()
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.rows() * self.columns()
    }

    /// Elements from one row to the next, for tensors of rank 2; the columns for a vector.
    pub const fn row_stride(&self) -> usize {
        if self.rank < 2 { self.columns() } else { self.strides[self.rank - 2] }
    }

    /// Whether rows follow each other without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut dense = 1;
        for dimension in (0..self.rank).rev() {
            if self.shape[dimension] > 1 && self.strides[dimension] != dense {
                return false;
            }
            dense *= self.shape[dimension];
        }
        true
    }

    /// Bytes from the first element to the end of the last.
    pub fn data_bytes(&self) -> usize {
        if self.elements() == 0 {
            return 0;
        }
        let last: usize =
            self.shape().iter().zip(self.strides()).map(|(extent, stride)| (extent - 1) * stride).sum();
        ((last + 1) * self.format.bits()).div_ceil(8)
    }

    /// Bytes of the scales: one a block, row-major; 0 for formats without.
    pub fn scales_bytes(&self) -> usize {
        match self.format.blocks() {
            None => 0,
            // Tiles are counted in each matrix of the last two dimensions on its own.
            Some(blocks) if blocks.rows > 1 => {
                let matrix_rows = if self.rank < 2 { 1 } else { self.shape[self.rank - 2] };
                let matrices = self.rows().checked_div(matrix_rows).unwrap_or(0);
                matrices * matrix_rows.div_ceil(blocks.rows) * self.format.row_scales(self.columns())
            }
            Some(_) => self.rows() * self.format.row_scales(self.columns()),
        }
    }

    /// Bytes of the float32 factors when each row has its own; 0 for formats without.
    pub fn factors_bytes(&self) -> usize {
        if self.format == Format::Nvfp4 { self.rows() * 4 } else { 0 }
    }
}

fn too_large(format: Format, shape: &[usize]) -> Error {
    Error::invalid(format!("{format} {shape:?} is larger than this machine's address space"))
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.format, self.shape())?;
        if !self.is_contiguous() {
            write!(f, " strides {:?}", self.strides())?;
        }
        Ok(())
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A range of memory: an address, of a device or of the host, and a number of bytes. It owns nothing; whether the
/// address may be used is the business of whoever made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte; 0 is null.
    pub address: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Span {
    /// No memory.
    pub const NONE: Self = Self { address: 0, bytes: 0 };

    /// The bytes of a slice of host memory. The slice must live as long as the span is used.
    pub fn of(bytes: &[u8]) -> Self {
        Self { address: bytes.as_ptr() as u64, bytes: bytes.len() as u64 }
    }

    /// The same for memory that will be written.
    pub fn of_mut(bytes: &mut [u8]) -> Self {
        Self { address: bytes.as_mut_ptr() as u64, bytes: bytes.len() as u64 }
    }

    /// The part that begins `offset` bytes in; `None` where it would not fit.
    pub fn part(self, offset: u64, bytes: u64) -> Option<Self> {
        let end = offset.checked_add(bytes)?;
        (end <= self.bytes).then(|| Self { address: self.address + offset, bytes })
    }
}

/// A view of device memory with a layout: what a plan reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    layout: Layout,
    data: Span,
    scales: Span,
    factors: Span,
}

impl Tensor {
    /// A view of a plain format, or of a block-scaled one whose scales follow by [`Self::with_scales`].
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) when `data` holds fewer bytes than the layout
    /// wants, or is null though it wants some.
    pub fn new(layout: Layout, data: Span) -> Result<Self> {
        holds("data", data, layout.data_bytes(), &layout)?;
        Ok(Self { layout, data, scales: Span::NONE, factors: Span::NONE })
    }

    /// The same view with its scales.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_scales(mut self, scales: Span) -> Result<Self> {
        holds("scales", scales, self.layout.scales_bytes(), &self.layout)?;
        self.scales = scales;
        Ok(self)
    }

    /// The same view with the float32 factors of NVFP4: 4 bytes for the whole tensor, or 4 a row.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_factors(mut self, factors: Span) -> Result<Self> {
        holds("factors", factors, self.layout.factors_bytes().min(4), &self.layout)?;
        self.factors = factors;
        Ok(self)
    }

    /// Format, shape and strides.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where the elements are.
    pub const fn data(&self) -> Span {
        self.data
    }

    /// Where the scales are; null for plain formats.
    pub const fn scales(&self) -> Span {
        self.scales
    }

    /// Where the float32 factors are; null but for NVFP4.
    pub const fn factors(&self) -> Span {
        self.factors
    }

    /// Whether every row has a factor of its own, and not the tensor one.
    pub fn has_factor_per_row(&self) -> bool {
        self.factors.bytes >= self.layout.factors_bytes() as u64
    }

    /// Whether scales and factors are there as far as the format has them.
    pub fn is_complete(&self) -> bool {
        self.scales.bytes >= self.layout.scales_bytes() as u64
            && self.factors.bytes >= self.layout.factors_bytes().min(4) as u64
    }
}

fn holds(what: &str, span: Span, wanted: usize, layout: &Layout) -> Result<()> {
    if span.bytes < wanted as u64 {
        return Err(Error::invalid(format!(
            "the {what} of {layout} take {wanted} bytes, and {} were given",
            span.bytes
        )));
    }
    if span.address == 0 && wanted > 0 {
        return Err(Error::invalid(format!("the {what} of {layout} are at address 0")));
    }
    Ok(())
}

/// A tensor in host memory, contiguous, in canonical layout: how weights enter a backend.
#[derive(Clone, Copy, Debug)]
pub struct HostTensor<'a> {
    layout: Layout,
    data: &'a [u8],
    scales: &'a [u8],
    factors: &'a [u8],
}

impl<'a> HostTensor<'a> {
    /// A tensor over bytes of exactly the layout's sizes. `factors` are little-endian float32: none, one for the
    /// tensor, or one a row.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) when a size differs, or the layout has gaps.
    pub fn new(layout: Layout, data: &'a [u8], scales: &'a [u8], factors: &'a [u8]) -> Result<Self> {
        if !layout.is_contiguous() {
            return Err(Error::invalid(format!("{layout} has gaps; host tensors are contiguous")));
        }
        let per_row = layout.factors_bytes();
        let wanted_factors = if per_row > 0 && factors.len() == 4 { 4 } else { per_row };
        for (what, got, wanted) in [
            ("data", data.len(), layout.data_bytes()),
            ("scales", scales.len(), layout.scales_bytes()),
            ("factors", factors.len(), wanted_factors),
        ] {
            if got != wanted {
                return Err(Error::invalid(format!("the {what} of {layout} take {wanted} bytes, not {got}")));
            }
        }
        Ok(Self { layout, data, scales, factors })
    }

    /// Format and shape.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The elements.
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The scales; empty for plain formats.
    pub const fn scales(&self) -> &'a [u8] {
        self.scales
    }

    /// The float32 factors; empty but for NVFP4.
    pub const fn factors(&self) -> &'a [u8] {
        self.factors
    }
}

/// A tensor in host memory that owns its bytes: what [`Weights::export`](crate::Weights::export) gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostBuffer {
    /// Format and shape; contiguous.
    pub layout: Layout,
    /// The elements.
    pub data: Vec<u8>,
    /// The scales; empty for plain formats.
    pub scales: Vec<u8>,
    /// The float32 factors, one a row; empty but for NVFP4.
    pub factors: Vec<u8>,
}

impl HostBuffer {
    /// Zeroed memory of this layout.
    pub fn zeroed(layout: Layout) -> Self {
        Self {
            layout,
            data: vec![0; layout.data_bytes()],
            scales: vec![0; layout.scales_bytes()],
            factors: vec![0; layout.factors_bytes()],
        }
    }

    /// A view of it.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](crate::Status::InvalidArgument) when its fields were changed to sizes that do not
    /// fit.
    pub fn view(&self) -> Result<HostTensor<'_>> {
        HostTensor::new(self.layout, &self.data, &self.scales, &self.factors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn sizes_count_elements_also_where_two_share_a_byte() {
        let layout = Layout::contiguous(Format::Mxfp4, &[3, 5, 96]).unwrap();
        assert_eq!((layout.rows(), layout.columns(), layout.elements()), (15, 96, 1440));
        assert_eq!((layout.data_bytes(), layout.scales_bytes()), (720, 45));
        assert!(layout.is_contiguous());
    }

    #[test]
    fn tiles_are_counted_in_each_matrix() {
        let layout = Layout::contiguous(Format::Fp8Tile128, &[2, 130, 300]).unwrap();
        assert_eq!(layout.scales_bytes(), 2 * 2 * 3);
        assert_eq!(Layout::contiguous(Format::Fp8Tile128, &[130, 300]).unwrap().scales_bytes(), 6);
    }

    #[test]
    fn rows_may_lie_apart_where_there_are_no_scales() {
        let rows = Layout::strided(Format::Bf16, &[4, 10], &[16, 1]).unwrap();
        assert_eq!(rows.data_bytes(), (3 * 16 + 10) * 2);
        assert!(!rows.is_contiguous());
        assert!(Layout::strided(Format::Bf16, &[4, 10], &[8, 1]).is_err());
        assert!(Layout::strided(Format::Bf16, &[4, 10], &[20, 2]).is_err());
        assert!(Layout::strided(Format::Mxfp4, &[4, 32], &[64, 1]).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = Layout::contiguous(Format::Mxfp4, &[4, 33]).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.message().contains("multiples of 32"), "{error}");
        assert!(Layout::contiguous(Format::F32, &[]).is_err());
        assert!(Layout::contiguous(Format::F32, &[1; 5]).is_err());
        assert!(Layout::contiguous(Format::F32, &[usize::MAX, 2]).is_err());
        assert!(Layout::contiguous(Format::F32, &[0, usize::MAX]).is_err());
    }

    #[test]
    fn empty_tensors_are_tensors() {
        let layout = Layout::contiguous(Format::F32, &[0, 64]).unwrap();
        assert_eq!((layout.data_bytes(), layout.rows()), (0, 0));
        assert!(Tensor::new(layout, Span::NONE).is_ok());
    }

    #[test]
    fn a_view_holds_at_least_its_layout() {
        let layout = Layout::contiguous(Format::Mxfp8, &[2, 64]).unwrap();
        assert!(Tensor::new(layout, Span { address: 64, bytes: 127 }).is_err());
        let view = Tensor::new(layout, Span { address: 64, bytes: 128 }).unwrap();
        assert!(!view.is_complete());
        assert!(view.with_scales(Span { address: 0, bytes: 4 }).is_err());
        assert!(view.with_scales(Span { address: 4096, bytes: 4 }).unwrap().is_complete());
    }
}
