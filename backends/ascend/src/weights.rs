//! Weights in the layouts that CANN's products take, and back.
//!
//! | weights | activations | elements | scales |
//! | --- | --- | --- | --- |
//! | MXFP4 | MXFP4 | E2M1 `[groups, n, k]`, the canonical bytes | `[groups, n, ceil(k/64), 2]` |
//! | MXFP4 | MXFP8, MXFP8-G128 | the same numbers in E4M3 (or as above with option `w4a8 = "native"`) | the same |
//! | MXFP8, MXFP8-G128, FP8 tiles | MXFP8, MXFP8-G128 | E4M3 `[groups, n, k]`, the canonical bytes | the same, each scale for every 32 that it is for |
//! | MXFP4, MXFP8, MXFP8-G128, FP8 tiles, BF16 | BF16 | the canonical bytes | the canonical bytes |
//! | MXFP4 | BF16, with option `w4a16 = "native"` | E2M1 `[k, n]`, transposed | `[k/32, n]`, transposed |
//!
//! Scales in pairs are the canonical bytes where k/32 is even; else each row has a byte of 0 at its end, beside which
//! there are no elements. Nothing is rounded, and an export gives the bytes that came in.
//!
//! With option `weights = "nz"` the elements of the first three are stored in FRACTAL_NZ; see `fractal`. Scales are not.

use std::any::Any;
use std::sync::Arc;

use mxhal_cann::safe::op::Storage;
use mxhal_cann::safe::{DataType, DeviceBuffer, TensorSpec};
use mxhal_core::{
    Error, Format, HostBuffer, HostTensor, Layout, Reason, Refusal, Result, Span, Weights, WeightsDesc,
};

use crate::device::Shared;
use crate::error::from_cann;
use crate::fractal::{Dims, rows_of, tiles_of};
use crate::options::{Options, W4a8, W4a16, WeightLayout};
use crate::session::spec;
use crate::support::refuse;

/// How a matrix lies on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// E2M1, rows of k.
    Fp4Rows,
    /// E4M3, rows of k.
    Fp8Rows,
    /// E2M1, rows of n.
    Fp4Columns,
    /// As they came, for a kernel of ours.
    Canonical,
}

impl Stored {
    /// How weights lie for activations; a refusal where no product takes them.
    pub(crate) fn of(
        format: Format,
        activation: Format,
        (groups, n): (usize, usize),
        options: &Options,
    ) -> Result<Self, Refusal> {
        match (format, activation) {
            (Format::Mxfp4, Format::Mxfp4) => Ok(Self::Fp4Rows),
            (Format::Mxfp4, Format::Mxfp8 | Format::Mxfp8G128) => Ok(match options.w4a8 {
                W4a8::Expand => Self::Fp8Rows,
                W4a8::Native => Self::Fp4Rows,
            }),
            (Format::Mxfp8 | Format::Mxfp8G128 | Format::Fp8Tile128, Format::Mxfp8 | Format::Mxfp8G128) => {
                Ok(Self::Fp8Rows)
            }
            (
                Format::Mxfp4 | Format::Mxfp8 | Format::Mxfp8G128 | Format::Fp8Tile128 | Format::Bf16,
                Format::Bf16,
            ) if options.w4a16 == W4a16::Kernel => Ok(Self::Canonical),
            (Format::Mxfp4, Format::Bf16) if groups > 1 => refuse(
                Reason::Format,
                format!(
                    "CANN has no product of bf16 activations and {groups} groups of mxfp4 weights on the 950"
                ),
            ),
            (Format::Mxfp4, Format::Bf16) if n % 2 == 1 => refuse(
                Reason::Shape,
                format!(
                    "n is {n}: for bf16 activations CANN takes E2M1 weights in rows of n, and an odd number of them does not fill bytes"
                ),
            ),
            (Format::Mxfp4, Format::Bf16) => Ok(Self::Fp4Columns),
            _ => refuse(
                Reason::Format,
                format!(
                    "CANN has no product of {activation} activations and {format} weights on the 950; there are mxfp4 by \
                     mxfp4, mxfp8 by mxfp4 and mxfp8, and bf16 by mxfp4"
                ),
            ),
        }
    }

    /// Whether elements lie in FRACTAL_NZ.
    pub(crate) fn is_tiled(self, options: &Options) -> bool {
        matches!(self, Self::Fp4Rows | Self::Fp8Rows) && options.weights == WeightLayout::Nz
    }

    /// The elements that CANN's products take.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Fp4Rows | Self::Fp4Columns => DataType::Float4E2m1,
            Self::Fp8Rows => DataType::Float8E4m3fn,
            Self::Canonical => DataType::Uint8,
        }
    }
}

/// Where weights lie; while measuring, at address 0.
#[derive(Clone, Debug)]
pub(crate) struct Operands {
    pub(crate) stored: Stored,
    pub(crate) data: u64,
    pub(crate) scales: u64,
    /// Bytes of elements and of scales.
    bytes: [u64; 2],
    /// `[groups, rows, columns]` of the elements.
    dims: Dims,
    /// That of FRACTAL_NZ, where they are in it.
    tiles: Option<Storage>,
}

impl Operands {
    /// Weights that a run will bring.
    ///
    /// # Errors
    ///
    /// A refusal, and what CANN answers.
    pub(crate) fn unknown(desc: &WeightsDesc, shared: &Shared) -> Result<Self> {
        let matrix = Matrix::of(desc, &shared.offer.options).map_err(|refusal| refusal.to_error())?;
        let dims = matrix.dims(desc.groups);
        let tiles = match matrix.stored.is_tiled(&shared.offer.options) {
            true => Some(shared.storages.of(&shared.context, matrix.stored.data_type(), dims)?),
            false => None,
        };
        Ok(Self { stored: matrix.stored, data: 0, scales: 0, bytes: [0; 2], dims, tiles })
    }

    /// What they take of the device's memory.
    pub(crate) fn spans(&self) -> [Span; 2] {
        [(self.data, self.bytes[0]), (self.scales, self.bytes[1])]
            .map(|(address, bytes)| Span { address, bytes })
    }

    /// The elements as a tensor of these dims, all of them.
    pub(crate) fn spec(&self, dims: &[usize]) -> Result<TensorSpec> {
        let spec = spec(self.stored.data_type(), dims)?;
        Ok(match &self.tiles {
            // A single matrix has a storage without groups.
            Some(tiles) => spec.with_storage(tiles.format, &tiles.dims[3 - dims.len()..]),
            None => spec,
        })
    }
}

/// Prepared weights.
pub(crate) struct AscendWeights {
    shared: Arc<Shared>,
    desc: WeightsDesc,
    matrix: Matrix,
    operands: Operands,
    data: DeviceBuffer,
    scales: DeviceBuffer,
}

impl AscendWeights {
    /// Stacks parts; see [`WeightsDesc::check_parts`].
    ///
    /// # Errors
    ///
    /// Those of [`Device::prepare_weights`](mxhal_core::Device::prepare_weights).
    pub(crate) fn prepare(
        shared: &Arc<Shared>,
        desc: &WeightsDesc,
        parts: &[HostTensor<'_>],
    ) -> Result<Self> {
        let matrix = Matrix::of(desc, &shared.offer.options).map_err(|refusal| refusal.to_error())?;
        // Counts what all groups take, so that nothing below overflows.
        desc.layout()?;
        let layouts: Vec<Layout> = parts.iter().map(|part| *part.layout()).collect();
        let parts_of_one = desc.check_parts(&layouts)?;
        // BF16 weights have no scales, and a buffer has at least a byte.
        let buffer = |bytes: usize| {
            DeviceBuffer::new(&shared.context, (desc.groups * bytes).max(1)).map_err(from_cann)
        };
        let (data, scales) = (buffer(matrix.data_bytes())?, buffer(matrix.scales_bytes())?);
        for (group, stack) in parts.chunks(parts_of_one).enumerate() {
            let elements: Vec<u8> = stack.iter().flat_map(|part| part.data()).copied().collect();
            let bytes: Vec<u8> = stack.iter().flat_map(|part| part.scales()).copied().collect();
            let write = |to: &DeviceBuffer, bytes: &[u8]| match bytes.len() {
                0 => Ok(()),
                each => to.write(group * each, bytes).map_err(from_cann),
            };
            write(&data, &matrix.elements_in(&elements))?;
            write(&scales, &matrix.scales_in(&bytes))?;
        }
        let unknown = Operands::unknown(desc, shared)?;
        let data = match &unknown.tiles {
            Some(tiles) => tiles_of(&data, spec(matrix.stored.data_type(), &unknown.dims)?, tiles)?,
            None => data,
        };
        let address = |buffer: &DeviceBuffer| buffer.pointer().expose_provenance() as u64;
        let bytes = [data.bytes() as u64, scales.bytes() as u64];
        let operands = Operands { data: address(&data), scales: address(&scales), bytes, ..unknown };
        Ok(Self { shared: Arc::clone(shared), desc: *desc, matrix, operands, data, scales })
    }

    /// The weights behind a handle, if they are of this device.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) where not.
    pub(crate) fn operands(weights: &dyn Weights, shared: &Arc<Shared>) -> Result<Operands> {
        let any: &dyn Any = weights;
        let Some(found) = any.downcast_ref::<Self>() else {
            return Err(Error::invalid("the weights are not of the Ascend backend, and the plan is"));
        };
        if !Arc::ptr_eq(&found.shared, shared) {
            return Err(Error::invalid("the weights are of another device than the plan"));
        }
        Ok(found.operands.clone())
    }
}

impl Weights for AscendWeights {
    fn desc(&self) -> &WeightsDesc {
        &self.desc
    }

    fn bytes(&self) -> u64 {
        (self.data.bytes() + self.scales.bytes()) as u64
    }

    fn export(&self) -> Result<HostBuffer> {
        let (data, scales) =
            (self.data.to_host().map_err(from_cann)?, self.scales.to_host().map_err(from_cann)?);
        let data = match &self.operands.tiles {
            Some(tiles) => rows_of(&data, self.matrix.stored.data_type(), self.operands.dims, tiles)?,
            None => data,
        };
        let mut exported =
            HostBuffer { data: Vec::new(), scales: Vec::new(), ..HostBuffer::zeroed(self.desc.layout()?) };
        for group in data.chunks(self.matrix.data_bytes()) {
            exported.data.extend(self.matrix.elements_out(group));
        }
        let scales_bytes = self.matrix.scales_bytes();
        for group in scales.chunks(scales_bytes.max(1)).filter(|_| scales_bytes > 0) {
            exported.scales.extend(self.matrix.scales_out(group));
        }
        Ok(exported)
    }
}

/// One matrix, canonical and as it is stored.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    stored: Stored,
    format: Format,
    n: usize,
    k: usize,
}

impl Matrix {
    fn of(desc: &WeightsDesc, options: &Options) -> Result<Self, Refusal> {
        let WeightsDesc { format, n, k, groups, activation } = *desc;
        let stored = Stored::of(format, activation, (groups, n), options)?;
        let multiple = match stored {
            Stored::Canonical => format.column_multiple(),
            _ => 32,
        };
        if k % multiple != 0 || k == 0 || n == 0 {
            let text = format!(
                "weights of {n} rows and {k} columns: k is a multiple of {multiple}, and both are positive"
            );
            return refuse(Reason::Shape, text);
        }
        Ok(Self { stored, format, n, k })
    }

    /// `[groups, rows, columns]` as they are stored.
    fn dims(&self, groups: usize) -> Dims {
        match self.stored {
            Stored::Fp4Columns => [groups, self.k, self.n],
            Stored::Fp4Rows | Stored::Fp8Rows | Stored::Canonical => [groups, self.n, self.k],
        }
    }

    fn data_bytes(&self) -> usize {
        match self.stored {
            Stored::Fp4Rows | Stored::Fp4Columns => self.n * self.k / 2,
            Stored::Fp8Rows => self.n * self.k,
            Stored::Canonical => self.n * self.format.row_bytes(self.k),
        }
    }

    fn scales_bytes(&self) -> usize {
        match self.stored {
            Stored::Fp4Columns => self.n * self.k / 32,
            Stored::Fp4Rows | Stored::Fp8Rows => self.n * self.pairs() * 2,
            Stored::Canonical => self.canonical_scales(),
        }
    }

    fn pairs(&self) -> usize {
        self.k.div_ceil(64)
    }

    /// Elements as they are stored, of canonical ones.
    fn elements_in(&self, canonical: &[u8]) -> Vec<u8> {
        match (self.stored, self.format) {
            (Stored::Fp8Rows, Format::Mxfp4) => {
                canonical.iter().flat_map(|pair| [pair & 15, pair >> 4]).map(e4m3_of).collect()
            }
            (Stored::Fp4Columns, _) => transposed_nibbles(canonical, self.n, self.k),
            _ => canonical.to_vec(),
        }
    }

    /// The inverse.
    fn elements_out(&self, stored: &[u8]) -> Vec<u8> {
        match (self.stored, self.format) {
            (Stored::Fp8Rows, Format::Mxfp4) => stored
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[low, high]| e2m1_of(*low) | e2m1_of(*high) << 4)
                .collect(),
            (Stored::Fp4Columns, _) => transposed_nibbles(stored, self.k, self.n),
            _ => stored.to_vec(),
        }
    }

    /// Scales as they are stored, of canonical ones.
    fn scales_in(&self, canonical: &[u8]) -> Vec<u8> {
        if self.stored == Stored::Canonical {
            return canonical.to_vec();
        }
        let mut stored = vec![0; self.scales_bytes()];
        for (row, block) in self.blocks() {
            stored[self.place(row, block)] = canonical[self.canonical_place(row, block)];
        }
        stored
    }

    /// The inverse.
    fn scales_out(&self, stored: &[u8]) -> Vec<u8> {
        if self.stored == Stored::Canonical {
            return stored.to_vec();
        }
        let mut canonical = vec![0; self.canonical_scales()];
        for (row, block) in self.blocks() {
            canonical[self.canonical_place(row, block)] = stored[self.place(row, block)];
        }
        canonical
    }

    /// How many scales the canonical layout has.
    fn canonical_scales(&self) -> usize {
        let rows = self.format.blocks().map_or(1, |blocks| blocks.rows);
        self.n.div_ceil(rows) * self.format.row_scales(self.k)
    }

    /// Every row and block of 32.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let blocks = self.k / 32;
        (0..self.n).flat_map(move |row| (0..blocks).map(move |block| (row, block)))
    }

    /// Where the scale of a block is stored.
    fn place(&self, row: usize, block: usize) -> usize {
        match self.stored {
            Stored::Fp4Columns => block * self.n + row,
            Stored::Fp4Rows | Stored::Fp8Rows | Stored::Canonical => row * 2 * self.pairs() + block,
        }
    }

    /// Where it is among the canonical ones, which may be for more rows and columns.
    fn canonical_place(&self, row: usize, block: usize) -> usize {
        let (rows, columns) = self.format.blocks().map_or((1, 32), |blocks| (blocks.rows, blocks.columns));
        row / rows * self.format.row_scales(self.k) + block * 32 / columns
    }
}

/// The codes of E4M3 for those of E2M1, without the sign: 0, ½, 1, 1½, 2, 3, 4, 6.
const E4M3: [u8; 8] = [0x00, 0x30, 0x38, 0x3c, 0x40, 0x44, 0x48, 0x4c];

/// The same number, and the same zero.
fn e4m3_of(e2m1: u8) -> u8 {
    (e2m1 & 8) << 4 | E4M3[usize::from(e2m1 & 7)]
}

/// The inverse for what [`e4m3_of`] gives.
fn e2m1_of(e4m3: u8) -> u8 {
    let code = E4M3.iter().position(|code| *code == e4m3 & 0x7f).unwrap_or(0);
    e4m3 >> 4 & 8 | code as u8
}

/// A matrix of nibbles `[rows, columns]` as `[columns, rows]`; the elements of each row fill bytes in both.
fn transposed_nibbles(matrix: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let mut transposed = vec![0; matrix.len()];
    for row in 0..rows {
        for column in 0..columns {
            let from = row * columns + column;
            let nibble = matrix[from / 2] >> (4 * (from % 2)) & 15;
            let to = column * rows + row;
            transposed[to / 2] |= nibble << (4 * (to % 2));
        }
    }
    transposed
}

#[cfg(test)]
mod tests {
    use mxhal_core::format::{e2m1, e4m3};

    use super::*;

    /// As CANN's products take it.
    fn matrix(format: Format, activation: Format, n: usize, k: usize) -> Matrix {
        let desc = WeightsDesc { format, groups: 1, n, k, activation };
        Matrix::of(&desc, &Options { w4a16: W4a16::Native, ..Options::default() }).unwrap()
    }

    /// Bytes without a pattern.
    fn noise(count: usize) -> Vec<u8> {
        (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect()
    }

    #[test]
    fn every_number_of_e2m1_is_the_same_in_e4m3() {
        for code in 0..16 {
            assert_eq!(e4m3::decode(e4m3_of(code)).to_bits(), e2m1::decode(code).to_bits(), "{code}");
            assert_eq!(e2m1_of(e4m3_of(code)), code);
        }
    }

    #[test]
    fn what_is_stored_gives_the_canonical_bytes_again() {
        for (format, activation) in [
            (Format::Mxfp4, Format::Mxfp4),
            (Format::Mxfp4, Format::Mxfp8),
            (Format::Mxfp4, Format::Bf16),
            (Format::Mxfp8, Format::Mxfp8),
            (Format::Mxfp8G128, Format::Mxfp8),
            (Format::Fp8Tile128, Format::Mxfp8),
        ] {
            for (n, k) in [(2, 32), (6, 96), (130, 288)] {
                let matrix = matrix(format, activation, n, k);
                let layout = Layout::contiguous(format, &[n, k]).unwrap();
                let (data, scales) = (noise(layout.data_bytes()), noise(layout.scales_bytes()));
                let stored = (matrix.elements_in(&data), matrix.scales_in(&scales));
                assert_eq!(stored.0.len(), matrix.data_bytes());
                assert_eq!(stored.1.len(), matrix.scales_bytes());
                assert_eq!(matrix.elements_out(&stored.0), data, "{format} {n} {k}");
                assert_eq!(matrix.scales_out(&stored.1), scales, "{format} {n} {k}");
            }
        }
    }

    #[test]
    fn scales_are_paired_with_a_zero_where_one_is_left_over() {
        let odd = matrix(Format::Mxfp4, Format::Mxfp4, 2, 96);
        assert_eq!(odd.scales_in(&[1, 2, 3, 4, 5, 6]), [1, 2, 3, 0, 4, 5, 6, 0]);
        let even = matrix(Format::Mxfp4, Format::Mxfp4, 2, 64);
        assert_eq!(even.scales_in(&[1, 2, 3, 4]), [1, 2, 3, 4]);
        let columns = matrix(Format::Mxfp4, Format::Bf16, 2, 96);
        assert_eq!(columns.scales_in(&[1, 2, 3, 4, 5, 6]), [1, 4, 2, 5, 3, 6]);
        let tiles = matrix(Format::Fp8Tile128, Format::Mxfp8, 129, 160);
        let spread = tiles.scales_in(&[1, 2, 3, 4]);
        assert_eq!(spread[..6], [1, 1, 1, 1, 2, 0]);
        assert_eq!(spread[128 * 6..], [3, 3, 3, 3, 4, 0]);
    }

    #[test]
    fn nibbles_are_transposed_one_by_one() {
        // [[1, 2], [3, 4]] becomes [[1, 3], [2, 4]].
        assert_eq!(transposed_nibbles(&[0x21, 0x43], 2, 2), [0x31, 0x42]);
    }
}
