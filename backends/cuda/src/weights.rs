//! Weights in the layout that the products take, and back.
//!
//! | part | canonical | prepared |
//! | --- | --- | --- |
//! | MXFP4 codes, for MXFP4 activations | `[groups, n, k/2]` | the same |
//! | MXFP4 codes, for MXFP8 activations on `sm_100` | `[groups, n, k/2]` | rows padded with 0 to a multiple of 64 bytes: see [`code_row_multiple`] |
//! | MXFP4 codes, for all others | `[groups, n, k/2]` | the same, each 16 bytes of a block in halves: see [`NibbleOrder`] |
//! | codes and numbers of other formats | `[groups, n, k]` | the same |
//! | scales | a row for each row of codes, or for each 128 (FP8 tiles) | rows padded with 0 to a multiple of 4 bytes |
//! | factors of NVFP4 | one, or one a row | one a row |
//!
//! Nothing is rounded, and an export gives the bytes that came in.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use mxhal_core::{Error, Format, HostBuffer, HostTensor, Layout, Result, Weights, WeightsDesc};
use mxhal_kernels_cuda::{NibbleOrder, Target, code_row_multiple};

use crate::device::Shared;
use crate::memory::Held;

/// Where weights lie, and how; while measuring, at address 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands {
    pub(crate) data: u64,
    pub(crate) scales: u64,
    pub(crate) factors: u64,
    pub(crate) matrix: Matrix,
}

impl Operands {
    /// Weights that a run will bring.
    pub(crate) fn unknown(target: Target, desc: &WeightsDesc) -> Self {
        Self { data: 0, scales: 0, factors: 0, matrix: Matrix::of(target, desc) }
    }
}

/// Prepared weights.
pub(crate) struct CudaWeights {
    shared: Arc<Shared>,
    desc: WeightsDesc,
    matrix: Matrix,
    data: Held,
    scales: Option<Held>,
    factors: Option<Held>,
}

impl CudaWeights {
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
        check(desc)?;
        let layouts: Vec<Layout> = parts.iter().map(|part| *part.layout()).collect();
        let parts_of_one = desc.check_parts(&layouts)?;
        let matrix = Matrix::of(shared.offer.target, desc);
        let hold = |bytes: usize| Held::new(&shared.memory, (desc.groups * bytes) as u64);
        let hold_some = |bytes: usize| (bytes > 0).then(|| hold(bytes)).transpose();
        let weights = Self {
            shared: Arc::clone(shared),
            desc: *desc,
            matrix,
            data: hold(matrix.data_bytes())?,
            scales: hold_some(matrix.scales_bytes())?,
            factors: hold_some(matrix.factors_bytes())?,
        };
        for (group, stack) in parts.chunks(parts_of_one).enumerate() {
            let (data, scales) = (stacked(stack, HostTensor::data), stacked(stack, HostTensor::scales));
            let factors: Vec<u8> = stack.iter().flat_map(factor_a_row).collect();
            weights.write(Some(&weights.data), group, &matrix.data_in(&data))?;
            weights.write(weights.scales.as_ref(), group, &matrix.scales_in(&scales))?;
            weights.write(weights.factors.as_ref(), group, &factors)?;
        }
        Ok(weights)
    }

    /// The weights behind a handle, if they are of this device.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) where not.
    pub(crate) fn operands(weights: &dyn Weights, shared: &Arc<Shared>) -> Result<Operands> {
        let any: &dyn Any = weights;
        let Some(found) = any.downcast_ref::<Self>() else {
            return Err(Error::invalid("the weights are not of the CUDA backend, and the plan is"));
        };
        if !Arc::ptr_eq(&found.shared, shared) {
            return Err(Error::invalid("the weights are of another device than the plan"));
        }
        let address = |held: &Option<Held>| held.as_ref().map_or(0, |held| held.span().address);
        Ok(Operands {
            data: found.data.span().address,
            scales: address(&found.scales),
            factors: address(&found.factors),
            matrix: found.matrix,
        })
    }

    fn write(&self, to: Option<&Held>, group: usize, bytes: &[u8]) -> Result<()> {
        match to {
            Some(to) => self.shared.memory.write(to.span().address + (group * bytes.len()) as u64, bytes),
            None => Ok(()),
        }
    }

    fn read(&self, held: Option<&Held>) -> Result<Vec<u8>> {
        let Some(held) = held else { return Ok(Vec::new()) };
        let mut bytes = vec![0; held.span().bytes as usize];
        self.shared.memory.read(&mut bytes, held.span().address)?;
        Ok(bytes)
    }
}

impl Weights for CudaWeights {
    fn desc(&self) -> &WeightsDesc {
        &self.desc
    }

    fn bytes(&self) -> u64 {
        let held = [Some(&self.data), self.scales.as_ref(), self.factors.as_ref()];
        held.into_iter().flatten().map(|held| held.span().bytes).sum()
    }

    fn export(&self) -> Result<HostBuffer> {
        let data = self.matrix.data_out(&self.read(Some(&self.data))?);
        let scales = self.matrix.scales_out(&self.read(self.scales.as_ref())?);
        Ok(HostBuffer {
            layout: self.desc.layout()?,
            data,
            scales,
            factors: self.read(self.factors.as_ref())?,
        })
    }
}

/// One matrix of a group, canonical and as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    pub(crate) format: Format,
    order: NibbleOrder,
    /// What the bytes of a row of codes are a multiple of.
    row_multiple: usize,
    n: usize,
    k: usize,
}

impl Matrix {
    pub(crate) fn of(target: Target, desc: &WeightsDesc) -> Self {
        let WeightsDesc { format, n, k, activation, .. } = *desc;
        let activation = activation as u32;
        let (order, row_multiple) = match format {
            Format::Mxfp4 => (
                NibbleOrder::for_activation(target, activation),
                code_row_multiple(target, activation) as usize,
            ),
            _ => (NibbleOrder::InOrder, 1),
        };
        Self { format, order, row_multiple, n, k }
    }

    /// Whether MXFP4 codes are in halves.
    pub(crate) fn is_in_halves(&self) -> bool {
        self.order == NibbleOrder::Halves
    }

    /// Bytes from row to row of the codes.
    pub(crate) fn row_bytes(&self) -> usize {
        self.format.row_bytes(self.k).next_multiple_of(self.row_multiple)
    }

    /// Bytes from row to row of the scales.
    pub(crate) fn row_scales(&self) -> usize {
        self.format.row_scales(self.k).next_multiple_of(4)
    }

    /// Bytes of all codes.
    pub(crate) fn data_bytes(&self) -> usize {
        self.n * self.row_bytes()
    }

    fn scales_bytes(&self) -> usize {
        self.n.div_ceil(self.format.blocks().map_or(1, |blocks| blocks.rows)) * self.row_scales()
    }

    fn factors_bytes(&self) -> usize {
        if self.format == Format::Nvfp4 { 4 * self.n } else { 0 }
    }

    fn data_in<'a>(&self, canonical: &'a [u8]) -> Cow<'a, [u8]> {
        let codes = self.reordered(canonical, |block| self.order.from_order(block));
        padded(codes, self.format.row_bytes(self.k), self.row_bytes())
    }

    /// The inverse, of any number of matrices.
    fn data_out(&self, stored: &[u8]) -> Vec<u8> {
        let codes = without_padding(stored, self.format.row_bytes(self.k), self.row_bytes());
        self.reordered(&codes, |block| self.order.to_order(block)).into_owned()
    }

    fn reordered<'a>(&self, bytes: &'a [u8], block: impl Fn([u8; 16]) -> [u8; 16]) -> Cow<'a, [u8]> {
        match self.order {
            NibbleOrder::InOrder => Cow::Borrowed(bytes),
            // A row is a multiple of 32 codes: whole blocks.
            NibbleOrder::Halves => {
                Cow::Owned(bytes.as_chunks::<16>().0.iter().flat_map(|b| block(*b)).collect())
            }
        }
    }

    fn scales_in<'a>(&self, canonical: &'a [u8]) -> Cow<'a, [u8]> {
        padded(Cow::Borrowed(canonical), self.format.row_scales(self.k), self.row_scales())
    }

    /// The inverse, of any number of matrices.
    fn scales_out(&self, stored: &[u8]) -> Vec<u8> {
        without_padding(stored, self.format.row_scales(self.k), self.row_scales()).into_owned()
    }
}

/// Rows of `own` bytes as rows of `stored` bytes, with zeros behind each.
fn padded(rows: Cow<'_, [u8]>, own: usize, stored: usize) -> Cow<'_, [u8]> {
    if own == stored {
        return rows;
    }
    let mut bytes = Vec::with_capacity(rows.len() / own * stored);
    for row in rows.chunks(own) {
        bytes.extend_from_slice(row);
        bytes.resize(bytes.len().next_multiple_of(stored), 0);
    }
    Cow::Owned(bytes)
}

/// The inverse.
fn without_padding(rows: &[u8], own: usize, stored: usize) -> Cow<'_, [u8]> {
    if own == stored {
        return Cow::Borrowed(rows);
    }
    Cow::Owned(rows.chunks(stored).flat_map(|row| &row[..own]).copied().collect())
}

/// What [`Device::prepare_weights`](mxhal_core::Device::prepare_weights) is told of weights.
fn check(desc: &WeightsDesc) -> Result<()> {
    let WeightsDesc { format, groups, n, k, activation } = *desc;
    if groups == 0 || n == 0 || k == 0 {
        return Err(Error::invalid(format!("weights {desc}: groups, n and k are at least 1")));
    }
    if !(format.is_block_scaled() || format == Format::Bf16) {
        return Err(Error::unsupported(format!(
            "weights {desc}: products take bf16 and formats with scales, not {format}"
        )));
    }
    if !(activation.is_row_quantized() || activation == Format::Bf16) {
        return Err(Error::unsupported(format!(
            "weights {desc}: activations are bf16 or of a format with scales by row, not {activation}"
        )));
    }
    // Counts what all groups take, so that nothing overflows later.
    desc.layout().map(drop)
}

/// The bytes of all parts, one after the other.
fn stacked<'a>(parts: &[HostTensor<'a>], of: impl Fn(&HostTensor<'a>) -> &'a [u8]) -> Cow<'a, [u8]> {
    match parts {
        [one] => Cow::Borrowed(of(one)),
        several => Cow::Owned(several.iter().map(of).collect::<Vec<_>>().concat()),
    }
}

/// The factors of a part's rows; none but for NVFP4.
fn factor_a_row(part: &HostTensor<'_>) -> Vec<u8> {
    match part.factors() {
        one if one.len() == 4 => one.repeat(part.layout().rows()),
        each => each.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(format: Format, activation: Format, n: usize, k: usize) -> Matrix {
        matrix_on(Target::Hopper, format, activation, n, k)
    }

    fn matrix_on(target: Target, format: Format, activation: Format, n: usize, k: usize) -> Matrix {
        Matrix::of(target, &WeightsDesc { format, groups: 1, n, k, activation })
    }

    /// Bytes without a pattern.
    fn noise(count: usize) -> Vec<u8> {
        (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect()
    }

    #[test]
    fn what_is_stored_gives_the_canonical_bytes_again() {
        for format in Format::ALL.into_iter().filter(|format| format.is_block_scaled()).chain([Format::Bf16])
        {
            for activation in [Format::Bf16, Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128] {
                for (target, n, k) in Target::ALL
                    .into_iter()
                    .flat_map(|target| [(2, 32), (6, 96), (130, 384)].map(|(n, k)| (target, n, k)))
                {
                    let matrix = matrix_on(target, format, activation, n, k);
                    let layout = Layout::contiguous(format, &[n, k]).unwrap();
                    let (data, scales) = (noise(layout.data_bytes()), noise(layout.scales_bytes()));
                    let stored = (matrix.data_in(&data), matrix.scales_in(&scales));
                    assert_eq!(stored.0.len(), matrix.data_bytes(), "{format} {n} {k}");
                    assert_eq!(stored.1.len(), matrix.scales_bytes(), "{format} {n} {k}");
                    assert_eq!(matrix.data_out(&stored.0), data, "{format} {n} {k}");
                    assert_eq!(matrix.scales_out(&stored.1), scales, "{format} {n} {k}");
                }
            }
        }
    }

    #[test]
    fn mxfp4_is_in_halves_but_for_mxfp4_activations() {
        let block = noise(16);
        assert_eq!(*matrix(Format::Mxfp4, Format::Mxfp4, 1, 32).data_in(&block), block);
        let halves = matrix(Format::Mxfp4, Format::Bf16, 1, 32);
        assert!(halves.is_in_halves());
        // Elements 2 and 18: the low nibbles of bytes 1 and 9.
        assert_eq!(halves.data_in(&block)[2], block[1] & 15 | block[9] << 4);
        assert!(!matrix(Format::Nvfp4, Format::Bf16, 1, 32).is_in_halves());
        let on = |target| matrix_on(target, Format::Mxfp4, Format::Mxfp8, 1, 32);
        assert!(on(Target::Blackwell120).is_in_halves());
        assert!(!on(Target::Blackwell100).is_in_halves());
    }

    #[test]
    fn rows_of_codes_are_padded_where_tensor_maps_spread_them() {
        let codes = noise(2 * 48);
        let for_activation = |activation| matrix_on(Target::Blackwell100, Format::Mxfp4, activation, 2, 96);
        for activation in [Format::Mxfp8, Format::Mxfp8G128] {
            let expected = [&codes[..48], &[0; 16], &codes[48..], &[0; 16]].concat();
            assert_eq!(*for_activation(activation).data_in(&codes), expected);
            assert_eq!(for_activation(activation).row_bytes(), 64);
        }
        for activation in [Format::Mxfp4, Format::Bf16, Format::Mxint8] {
            assert_eq!(for_activation(activation).row_bytes(), 48);
        }
        assert_eq!(matrix_on(Target::Blackwell120, Format::Mxfp4, Format::Mxfp8, 2, 96).row_bytes(), 48);
        assert_eq!(matrix_on(Target::Blackwell100, Format::Mxfp8, Format::Mxfp8, 2, 96).row_bytes(), 96);
        let whole = matrix_on(Target::Blackwell100, Format::Mxfp4, Format::Mxfp8, 3, 256);
        assert_eq!(*whole.data_in(&noise(3 * 128)), noise(3 * 128));
    }

    #[test]
    fn rows_of_scales_are_padded_with_what_is_no_nan() {
        let scales = matrix(Format::Mxfp4, Format::Bf16, 2, 96);
        assert_eq!(*scales.scales_in(&[1, 2, 3, 4, 5, 6]), [1, 2, 3, 0, 4, 5, 6, 0]);
        let whole = matrix(Format::Mxfp4, Format::Bf16, 1, 128);
        assert_eq!(*whole.scales_in(&[1, 2, 3, 4]), [1, 2, 3, 4]);
        let tiles = matrix(Format::Fp8Tile128, Format::Mxfp8, 129, 160);
        assert_eq!(*tiles.scales_in(&[1, 2, 3, 4]), [1, 2, 0, 0, 3, 4, 0, 0]);
    }

    #[test]
    fn one_factor_is_every_row_s() {
        let layout = Layout::contiguous(Format::Nvfp4, &[3, 16]).unwrap();
        let (data, scales) = (vec![0; 24], vec![0; 3]);
        let one = HostTensor::new(layout, &data, &scales, &[1, 2, 3, 4]).unwrap();
        assert_eq!(factor_a_row(&one), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
        let each = noise(12);
        assert_eq!(factor_a_row(&HostTensor::new(layout, &data, &scales, &each).unwrap()), each);
    }

    #[test]
    fn weights_that_no_product_takes_are_refused() {
        let desc = WeightsDesc { format: Format::Mxfp4, groups: 1, n: 2, k: 32, activation: Format::Bf16 };
        assert_eq!(check(&desc), Ok(()));
        for (wrong, word) in [
            (WeightsDesc { groups: 0, ..desc }, "at least 1"),
            (WeightsDesc { format: Format::F32, ..desc }, "f32"),
            (WeightsDesc { activation: Format::Fp8Tile128, ..desc }, "fp8-tile128"),
            (WeightsDesc { k: 33, ..desc }, "33"),
        ] {
            let error = check(&wrong).unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
    }
}
