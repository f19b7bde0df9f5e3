//! Tensors as rows of bytes: the one place where addresses become slices.
//!
//! A tensor of a run is an address and a layout. That the memory behind it is valid, and that what is written overlaps
//! nothing else of the run, is the contract's demand on the caller of [`Plan::run`](mxhal_core::Plan::run); every
//! `unsafe` block here that makes a slice rests on it, and on the size that [`Tensor`] checked on construction. Slices
//! are made row by row, so that gaps between rows belong to nobody and may hold another tensor.
//!
//! Elements are read and written as bytes of this machine's order.

use std::marker::PhantomData;
use std::ops::Range;
use std::slice;

use mxhal_core::format::{bf16, f16, tile};
use mxhal_core::{Error, Format, Quantization, Result, Tensor};

use crate::kernel::RowKernels;

/// Where the parts of a row are.
#[derive(Clone, Copy)]
struct Geometry {
    format: Format,
    rows: usize,
    columns: usize,
    /// Bytes of a row's elements, and from one row to the next.
    row_bytes: usize,
    stride: usize,
    /// Scales of a row, and how many rows share them.
    row_scales: usize,
    scale_rows: usize,
    /// Bytes from one row's factor to the next one's: 0 where all rows have the same, or there is none.
    factor_stride: usize,
}

impl Geometry {
    fn contiguous(format: Format, rows: usize, columns: usize) -> Self {
        let row_bytes = format.row_bytes(columns);
        Self {
            format,
            rows,
            columns,
            row_bytes,
            stride: row_bytes,
            row_scales: format.row_scales(columns),
            scale_rows: format.blocks().map_or(1, |blocks| blocks.rows),
            factor_stride: if format == Format::Nvfp4 { 4 } else { 0 },
        }
    }

    fn of(name: &str, tensor: &Tensor) -> Result<Self> {
        let layout = tensor.layout();
        let format = layout.format();
        let element = (format.bits() / 8).max(1) as u64;
        for (what, span, multiple) in [("data", tensor.data(), element), ("factors", tensor.factors(), 4)] {
            if !span.address.is_multiple_of(multiple) {
                return Err(Error::invalid(format!(
                    "the {what} of tensor `{name}` are at {:#x}, which is no multiple of {multiple} bytes, the size \
                     of an element",
                    span.address
                )));
            }
        }
        let contiguous = Self::contiguous(format, layout.rows(), layout.columns());
        Ok(Self {
            stride: format.row_bytes(layout.row_stride()),
            factor_stride: if tensor.has_factor_per_row() { contiguous.factor_stride } else { 0 },
            ..contiguous
        })
    }

    fn scale_bytes(&self) -> usize {
        self.rows.div_ceil(self.scale_rows) * self.row_scales
    }

    #[track_caller]
    fn expect(&self, data: usize, scales: usize, factors: usize) {
        let factor_bytes = self.rows * self.factor_stride;
        assert!(
            (data, scales, factors) == (self.rows * self.row_bytes, self.scale_bytes(), factor_bytes),
            "{data}, {scales} and {factors} bytes for {} rows of {} columns of {}",
            self.rows,
            self.columns,
            self.format
        );
    }
}

/// A tensor that is read.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    geometry: Geometry,
    data: *const u8,
    scales: *const u8,
    factors: *const u8,
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: it only reads, as a `&[u8]` would.
unsafe impl Send for Input<'_> {}
// SAFETY: as above.
unsafe impl Sync for Input<'_> {}

impl<'a> Input<'a> {
    /// The rows of a tensor of a run.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for an address that is not aligned to the size
    /// of an element.
    pub(crate) fn new(name: &str, tensor: &'a Tensor) -> Result<Self> {
        Ok(Self {
            geometry: Geometry::of(name, tensor)?,
            data: tensor.data().address as *const u8,
            scales: tensor.scales().address as *const u8,
            factors: tensor.factors().address as *const u8,
            memory: PhantomData,
        })
    }

    /// Rows that lie in slices without gaps; for NVFP4 with a factor each.
    pub(crate) fn of(
        format: Format,
        [rows, columns]: [usize; 2],
        data: &'a [u8],
        scales: &'a [u8],
        factors: &'a [u8],
    ) -> Self {
        let geometry = Geometry::contiguous(format, rows, columns);
        geometry.expect(data.len(), scales.len(), factors.len());
        Self {
            geometry,
            data: data.as_ptr(),
            scales: scales.as_ptr(),
            factors: factors.as_ptr(),
            memory: PhantomData,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.geometry.format
    }

    pub(crate) fn rows(&self) -> usize {
        self.geometry.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.geometry.columns
    }

    /// Whether it has factors of which each belongs to one row.
    pub(crate) fn has_factor_per_row(&self) -> bool {
        self.geometry.factor_stride > 0
    }

    /// One row.
    #[track_caller]
    pub(crate) fn row(&self, row: usize) -> Row<'a> {
        let Geometry { format, rows, row_bytes, stride, row_scales, scale_rows, factor_stride, .. } =
            self.geometry;
        assert!(row < rows, "row {row} of {rows}");
        // SAFETY: the row lies within the tensor, whose memory the caller of the run vouches for; scales and factors
        // are only touched where the format has them.
        unsafe {
            Row {
                format,
                data: bytes_at(self.data, row * stride, row_bytes),
                scales: bytes_at(self.scales, row / scale_rows * row_scales, row_scales),
                factor: match format {
                    Format::Nvfp4 => self.factors.add(row * factor_stride).cast::<f32>().read_unaligned(),
                    _ => 1.0,
                },
            }
        }
    }
}

/// `bytes` bytes, `offset` from `start`; `start` may be anything, null included, where that is none.
///
/// # Safety
///
/// They are valid as long as the slice lives, and are not written meanwhile.
unsafe fn bytes_at<'a>(start: *const u8, offset: usize, bytes: usize) -> &'a [u8] {
    match bytes {
        0 => &[],
        // SAFETY: as the caller says.
        _ => unsafe { slice::from_raw_parts(start.add(offset), bytes) },
    }
}

/// As [`bytes_at`].
///
/// # Safety
///
/// They are valid as long as the slice lives, and nobody else reads or writes them meanwhile.
unsafe fn bytes_at_mut<'a>(start: *mut u8, offset: usize, bytes: usize) -> &'a mut [u8] {
    match bytes {
        0 => &mut [],
        // SAFETY: as the caller says.
        _ => unsafe { slice::from_raw_parts_mut(start.add(offset), bytes) },
    }
}

/// A row that is read.
pub(crate) struct Row<'a> {
    format: Format,
    data: &'a [u8],
    scales: &'a [u8],
    factor: f32,
}

impl<'a> Row<'a> {
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Its elements, as they lie there.
    pub(crate) fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Its scales.
    pub(crate) fn scales(&self) -> &'a [u8] {
        self.scales
    }

    /// What its values are multiplied with: of NVFP4, 1 elsewhere.
    pub(crate) fn factor(&self) -> f32 {
        self.factor
    }

    /// Its values; `out` has as many places.
    pub(crate) fn decode(&self, kernels: &RowKernels, out: &mut [f32]) {
        match self.format {
            Format::F32 => decode(self.data, out, f32::from_ne_bytes),
            Format::F16 => decode(self.data, out, |bytes| f16::to_f32(u16::from_ne_bytes(bytes))),
            Format::Fp8Tile128 => tile::dequantize_row(self.data, self.scales, out),
            _ => (kernels.decode)(self.format, self.data, self.scales, self.factor, out),
        }
    }

    /// Its values: where they lie if they are float32, else decoded to `scratch`, which has as many places.
    pub(crate) fn values<'s>(&'s self, kernels: &RowKernels, scratch: &'s mut [f32]) -> &'s [f32] {
        if self.format == Format::F32 {
            // SAFETY: every pattern of bits is a value.
            let (before, values, after) = unsafe { self.data.align_to::<f32>() };
            if before.is_empty() && after.is_empty() {
                return values;
            }
        }
        self.decode(kernels, scratch);
        scratch
    }

    /// The elements of an I32 row.
    pub(crate) fn integers(&self) -> impl Iterator<Item = i32> + use<'a> {
        self.data.as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes))
    }

    /// One element of an I32 row.
    pub(crate) fn integer(&self, column: usize) -> i32 {
        i32::from_ne_bytes(self.data.as_chunks().0[column])
    }

    /// One element of an F32 row.
    pub(crate) fn float(&self, column: usize) -> f32 {
        f32::from_ne_bytes(self.data.as_chunks().0[column])
    }
}

fn decode<const N: usize>(data: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (bytes, out) in data.as_chunks().0.iter().zip(out) {
        *out = value(*bytes);
    }
}

/// A tensor that is written.
pub(crate) struct Output<'a> {
    geometry: Geometry,
    data: *mut u8,
    scales: *mut u8,
    factors: *mut u8,
    memory: PhantomData<&'a mut [u8]>,
}

// SAFETY: it is as good as the `&mut [u8]` that its marker names.
unsafe impl Send for Output<'_> {}
// SAFETY: what takes `&self` reads the geometry alone, or is unsafe and asks for parts that nobody else has.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// As [`Input::new`].
    pub(crate) fn new(name: &str, tensor: &'a Tensor) -> Result<Self> {
        Ok(Self {
            geometry: Geometry::of(name, tensor)?,
            data: tensor.data().address as *mut u8,
            scales: tensor.scales().address as *mut u8,
            factors: tensor.factors().address as *mut u8,
            memory: PhantomData,
        })
    }

    /// As [`Input::of`].
    pub(crate) fn of(
        format: Format,
        [rows, columns]: [usize; 2],
        data: &'a mut [u8],
        scales: &'a mut [u8],
        factors: &'a mut [u8],
    ) -> Self {
        let geometry = Geometry::contiguous(format, rows, columns);
        geometry.expect(data.len(), scales.len(), factors.len());
        Self {
            geometry,
            data: data.as_mut_ptr(),
            scales: scales.as_mut_ptr(),
            factors: factors.as_mut_ptr(),
            memory: PhantomData,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.geometry.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.geometry.columns
    }

    /// Whether it has factors of which each belongs to one row.
    pub(crate) fn has_factor_per_row(&self) -> bool {
        self.geometry.factor_stride > 0
    }

    /// One row.
    #[track_caller]
    pub(crate) fn row(&mut self, row: usize) -> RowMut<'_> {
        // SAFETY: `self` is borrowed alone, so no other row is.
        unsafe { self.row_of_many(row) }
    }

    /// One row, while others are written too.
    ///
    /// # Safety
    ///
    /// No two of the rows that live at the same time are the same, and none is covered by [`Self::cells`].
    #[track_caller]
    pub(crate) unsafe fn row_of_many(&self, row: usize) -> RowMut<'_> {
        let Geometry { format, rows, row_bytes, stride, row_scales, scale_rows, factor_stride, .. } =
            self.geometry;
        assert!(row < rows, "row {row} of {rows}");
        assert!(scale_rows == 1, "{format} is never written");
        // SAFETY: the row lies within the tensor, whose memory the caller of the run vouches for; nobody else has it.
        // A factor that all rows share is given to the first one only.
        unsafe {
            RowMut {
                format,
                data: bytes_at_mut(self.data, row * stride, row_bytes),
                scales: bytes_at_mut(self.scales, row * row_scales, row_scales),
                factor: match format {
                    Format::Nvfp4 if factor_stride > 0 || row == 0 => {
                        bytes_at_mut(self.factors, row * factor_stride, 4)
                    }
                    _ => &mut [],
                },
            }
        }
    }

    /// Where a column of a row lies, and the bytes from there to the next row's; not to be written through.
    pub(crate) fn place(&self, row: usize, column: usize) -> (*const u8, usize) {
        let Geometry { format, stride, .. } = self.geometry;
        (self.data.wrapping_add(row * stride + format.row_bytes(column)), stride)
    }

    /// Some columns of a row of a plain format.
    ///
    /// # Safety
    ///
    /// No two of those that live at the same time overlap, and none lies in a row from [`Self::row_of_many`].
    #[track_caller]
    pub(crate) unsafe fn cells(&self, row: usize, columns: Range<usize>) -> RowMut<'_> {
        let Geometry { format, rows, columns: all, stride, .. } = self.geometry;
        assert!(row < rows && columns.end <= all, "row {row} of {rows}, columns {columns:?} of {all}");
        assert!(format.is_plain_float(), "{format} has scales");
        let element = format.bits() / 8;
        // SAFETY: the columns lie within the tensor, whose memory the caller of the run vouches for; nobody else has
        // them.
        let data = unsafe {
            bytes_at_mut(self.data, row * stride + columns.start * element, columns.len() * element)
        };
        RowMut { format, data, scales: &mut [], factor: &mut [] }
    }
}

/// A row that is written.
pub(crate) struct RowMut<'a> {
    format: Format,
    data: &'a mut [u8],
    scales: &'a mut [u8],
    factor: &'a mut [u8],
}

impl RowMut<'_> {
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// What was written so far.
    pub(crate) fn written(&self) -> Row<'_> {
        let factor = self.factor.as_chunks().0.first().map_or(1.0, |bytes| f32::from_ne_bytes(*bytes));
        Row { format: self.format, data: self.data, scales: self.scales, factor }
    }

    /// Its elements, to be written as they lie there.
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        self.data
    }

    /// Writes the values of another row, of any format; the scratch has a place for each.
    pub(crate) fn convert(&mut self, kernels: &RowKernels, row: &Row<'_>, scratch: &mut [f32]) {
        if self.format == Format::F32 {
            // SAFETY: every pattern of bits is a value.
            let (before, values, after) = unsafe { self.data.align_to_mut::<f32>() };
            if before.is_empty() && after.is_empty() {
                return row.decode(kernels, values);
            }
        }
        row.decode(kernels, scratch);
        self.round(kernels, scratch);
    }

    /// Rounds values to the row's format, which is `to`'s.
    pub(crate) fn store(&mut self, kernels: &RowKernels, values: &[f32], to: &Quantization) {
        if self.format.is_plain_float() {
            return self.round(kernels, values);
        }
        let factor = (kernels.quantize)(to, values, self.data, self.scales);
        self.set_factor(factor);
    }

    /// Rounds values to the row's format, a plain one.
    pub(crate) fn round(&mut self, kernels: &RowKernels, values: &[f32]) {
        match self.format {
            Format::F32 => encode(values, self.data, f32::to_ne_bytes),
            Format::Bf16 => (kernels.round_bf16)(values, self.data),
            _ => encode(values, self.data, |value| f16::from_f32(value).to_ne_bytes()),
        }
    }

    /// The same for float64, rounded once.
    pub(crate) fn round_wide(&mut self, values: &[f64]) {
        match self.format {
            Format::F32 => encode(values, self.data, |value| (value as f32).to_ne_bytes()),
            Format::Bf16 => encode(values, self.data, |value| bf16::from_f64(value).to_ne_bytes()),
            _ => encode(values, self.data, |value| f16::from_f64(value).to_ne_bytes()),
        }
    }

    /// Copies a row of the same format and as many columns.
    pub(crate) fn copy(&mut self, row: &Row<'_>) {
        self.data.copy_from_slice(row.data);
        self.scales.copy_from_slice(row.scales);
        self.set_factor(row.factor);
    }

    /// The same, past the caches; see [`RowKernels::settle`].
    pub(crate) fn copy_past_caches(&mut self, kernels: &RowKernels, row: &Row<'_>) {
        (kernels.copy_past_caches)(row.data, self.data);
        self.scales.copy_from_slice(row.scales);
        self.set_factor(row.factor);
    }

    /// Writes an I32 row.
    pub(crate) fn store_integers(&mut self, values: &[i32]) {
        encode(values, self.data, i32::to_ne_bytes);
    }

    /// Writes one element of an I32 row.
    pub(crate) fn set_integer(&mut self, column: usize, value: i32) {
        self.data.as_chunks_mut().0[column] = value.to_ne_bytes();
    }

    /// Writes one element of an F32 row.
    pub(crate) fn set_float(&mut self, column: usize, value: f32) {
        self.data.as_chunks_mut().0[column] = value.to_ne_bytes();
    }

    fn set_factor(&mut self, factor: f32) {
        if !self.factor.is_empty() {
            self.factor.copy_from_slice(&factor.to_ne_bytes());
        }
    }
}

fn encode<T: Copy, const N: usize>(values: &[T], data: &mut [u8], bytes: impl Fn(T) -> [u8; N]) {
    for (value, out) in values.iter().zip(data.as_chunks_mut().0) {
        *out = bytes(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::{Layout, Span};

    #[test]
    fn rows_are_found_by_their_stride() {
        let numbers: Vec<f32> = (0..11).map(|i| i as f32).collect();
        let layout = Layout::strided(Format::F32, &[3, 3], &[4, 1]).unwrap();
        let span = Span { address: numbers.as_ptr() as u64, bytes: 44 };
        let tensor = Tensor::new(layout, span).unwrap();
        let mut out = [0.0; 3];
        Input::new("x", &tensor).unwrap().row(2).decode(&RowKernels::PORTABLE, &mut out);
        assert_eq!(out, [8.0, 9.0, 10.0]);
    }

    #[test]
    fn addresses_between_elements_are_refused() {
        let bytes = [0u8; 64];
        let at = Span::of(&bytes).address.next_multiple_of(4) + 2;
        let tensor =
            Tensor::new(Layout::contiguous(Format::F32, &[4]).unwrap(), Span { address: at, bytes: 16 })
                .unwrap();
        let error = Input::new("bias", &tensor).err().unwrap();
        assert!(error.message().contains("`bias`") && error.message().contains("multiple of 4"), "{error}");
    }
}
