//! Weights as they lie in memory: MXFP4, NVFP4 and FP8 tiles in panels, see [`panel`]; of other formats (and of those two
//! where K is not a multiple of 32) the canonical bytes, stacked to `[groups, n, k]`.

use std::any::Any;
use std::iter;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use mxhal_core::op::{GroupedMatmul, Matmul};
use mxhal_core::{
    Error, Format, HostBuffer, HostTensor, Layout, Op, Quantization, Reason, Refusal, Result, Status,
    Weights, WeightsDesc,
};

use crate::device::Shared;
use crate::memory::{ALIGNMENT, Allocation};
use crate::panel::{self, BLOCK, COLUMNS, Column, Kind};
use crate::pool::Scratch;
use crate::view::Input;

/// Prepared weights.
pub(crate) struct CpuWeights {
    shared: Arc<Shared>,
    desc: WeightsDesc,
    layout: Layout,
    memory: Allocation,
    stored: Stored,
}

/// What the memory holds.
enum Stored {
    /// Panels, group by group; for each whether kernels may take it, see [`panel::is_ordinary`]; and NVFP4's factors, one
    /// a column.
    Panels { kind: Kind, ordinary: Vec<bool>, factors: Vec<f32> },
    /// Elements, scales and float32 factors (in this machine's order, one a row), each part aligned.
    Rows,
}

impl CpuWeights {
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
        check_desc(desc)?;
        let layout = desc.layout()?;
        let layouts: Vec<Layout> = parts.iter().map(|part| *part.layout()).collect();
        let parts_of_group = desc.check_parts(&layouts)?;
        let (memory, stored) = match Kind::of(desc.format, desc.k) {
            Some(kind) => stack_panels(shared, desc, kind, parts, parts_of_group)?,
            None => (stack_rows(&layout, parts)?, Stored::Rows),
        };
        Ok(Self { shared: Arc::clone(shared), desc: *desc, layout, memory, stored })
    }

    /// The weights behind a handle, if they are of this backend and as a plan wants them.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`] where not.
    pub(crate) fn check<'a>(
        weights: &'a dyn Weights,
        shared: &Arc<Shared>,
        wanted: &WeightsDesc,
    ) -> Result<&'a Self> {
        let any: &dyn Any = weights;
        let Some(found) = any.downcast_ref::<Self>() else {
            return Err(Error::invalid("the weights are not of the CPU backend, and the plan is"));
        };
        if !Arc::ptr_eq(&found.shared, shared) {
            return Err(Error::invalid("the weights are of another CPU backend than the plan"));
        }
        if found.desc != *wanted {
            return Err(Error::invalid(format!(
                "the weights were prepared as {}, and the plan wants {}",
                words(&found.desc),
                words(wanted)
            )));
        }
        Ok(found)
    }

    /// Decodes some columns of the output: `out` has a row of `stride` values for each, of which the first K are written.
    pub(crate) fn decode(&self, group: usize, columns: Range<usize>, stride: usize, out: &mut [f32]) {
        let k = self.desc.k;
        let matrix = self.matrix(group);
        for (column, out) in columns.zip(out.chunks_mut(stride)) {
            match &matrix {
                Matrix::Panels(panels) => {
                    let (panel, factor) = (panels.panel(column / COLUMNS), panels.factor(column));
                    panel::decode(panels.kind, panel, column % COLUMNS, factor, &mut out[..k]);
                }
                Matrix::Rows(rows) => rows.row(column).decode(&self.shared.kernels.rows, &mut out[..k]),
            }
        }
    }

    /// The matrix of one group, `[n, k]`.
    pub(crate) fn matrix(&self, group: usize) -> Matrix<'_> {
        let WeightsDesc { format, groups, n, k, .. } = self.desc;
        assert!(group < groups, "group {group} of {groups}");
        if let Stored::Panels { kind, ordinary, factors } = &self.stored {
            let (each, count) = (kind.bytes(k / BLOCK), panel::count(n));
            return Matrix::Panels(Panels {
                kind: *kind,
                bytes: &self.memory.bytes()[group * count * each..][..count * each],
                each,
                ordinary: &ordinary[group * count..][..count],
                factors: if factors.is_empty() { &[] } else { &factors[group * n..][..n] },
            });
        }
        let part = |whole: &'_ [u8]| group * (whole.len() / groups)..(group + 1) * (whole.len() / groups);
        let [data, scales, factors] = self.parts();
        Matrix::Rows(Input::of(
            format,
            [n, k],
            &data[part(data)],
            &scales[part(scales)],
            &factors[part(factors)],
        ))
    }

    /// All elements, all scales, all factors of canonical rows.
    fn parts(&self) -> [&[u8]; 3] {
        let [data, scales, factors] = offsets(&self.layout);
        let bytes = self.memory.bytes();
        [
            &bytes[data..][..self.layout.data_bytes()],
            &bytes[scales..][..self.layout.scales_bytes()],
            &bytes[factors..][..self.layout.factors_bytes()],
        ]
    }
}

impl Weights for CpuWeights {
    fn desc(&self) -> &WeightsDesc {
        &self.desc
    }

    fn bytes(&self) -> u64 {
        let beside = match &self.stored {
            Stored::Panels { ordinary, factors, .. } => ordinary.len() + size_of_val(&factors[..]),
            Stored::Rows => 0,
        };
        (self.memory.bytes().len() + beside) as u64
    }

    fn export(&self) -> Result<HostBuffer> {
        if let Stored::Panels { factors, .. } = &self.stored {
            return self.export_panels(factors);
        }
        let [data, scales, factors] = self.parts();
        let mut little_endian = copied(factors)?;
        for factor in little_endian.as_chunks_mut().0 {
            *factor = f32::from_ne_bytes(*factor).to_le_bytes();
        }
        Ok(HostBuffer {
            layout: self.layout,
            data: copied(data)?,
            scales: copied(scales)?,
            factors: little_endian,
        })
    }
}

impl CpuWeights {
    fn export_panels(&self, factors: &[f32]) -> Result<HostBuffer> {
        let WeightsDesc { format, n, k, .. } = self.desc;
        let mut data = zeroed(self.layout.data_bytes())?;
        let mut scales = zeroed(self.layout.scales_bytes())?;
        let (row_bytes, row_scales) = (format.row_bytes(k), format.row_scales(k));
        let scale_rows = scale_rows(format);
        let group_scales = n.div_ceil(scale_rows) * row_scales;
        for (group, data) in data.chunks_mut(n * row_bytes).enumerate() {
            let scales = &mut scales[group * group_scales..][..group_scales];
            let Matrix::Panels(panels) = self.matrix(group) else { continue };
            for (column, codes) in data.chunks_mut(row_bytes).enumerate() {
                let scales = &mut scales[column / scale_rows * row_scales..][..row_scales];
                panel::unpack(panels.kind, panels.panel(column / COLUMNS), column % COLUMNS, codes, scales);
            }
        }
        let mut little_endian = zeroed(self.layout.factors_bytes())?;
        for (bytes, factor) in little_endian.as_chunks_mut().0.iter_mut().zip(factors) {
            *bytes = factor.to_le_bytes();
        }
        Ok(HostBuffer { layout: self.layout, data, scales, factors: little_endian })
    }
}

/// The matrix of one group.
pub(crate) enum Matrix<'a> {
    /// Of 4 or 8 bits a weight.
    Panels(Panels<'a>),
    /// Another format.
    Rows(Input<'a>),
}

/// The panels of a matrix.
pub(crate) struct Panels<'a> {
    /// What they hold.
    pub(crate) kind: Kind,
    bytes: &'a [u8],
    each: usize,
    ordinary: &'a [bool],
    factors: &'a [f32],
}

impl<'a> Panels<'a> {
    /// One panel.
    pub(crate) fn panel(&self, index: usize) -> &'a [u8] {
        &self.bytes[index * self.each..][..self.each]
    }

    /// Some panels that follow each other.
    pub(crate) fn range(&self, panels: Range<usize>) -> &'a [u8] {
        &self.bytes[panels.start * self.each..panels.end * self.each]
    }

    /// What the values of a column are multiplied with.
    pub(crate) fn factor(&self, column: usize) -> f32 {
        self.factors.get(column).copied().unwrap_or(1.0)
    }

    /// Whether kernels may take it, see [`panel::is_ordinary`].
    pub(crate) fn is_ordinary(&self, index: usize) -> bool {
        self.ordinary[index]
    }
}

/// Canonical bytes, part after part.
fn stack_rows(layout: &Layout, parts: &[HostTensor<'_>]) -> Result<Allocation> {
    let [data, scales, factors] = offsets(layout);
    let mut memory = Allocation::new((factors + layout.factors_bytes()) as u64)?;
    let bytes = memory.bytes_mut();
    let (mut data, mut scales, mut factors) = (data, scales, factors);
    for part in parts {
        append(bytes, &mut data, part.data());
        append(bytes, &mut scales, part.scales());
    }
    for factor in row_factors(parts) {
        append(bytes, &mut factors, &factor.to_ne_bytes());
    }
    Ok(memory)
}

/// The factor of each row, in parts that have one for all of theirs too.
fn row_factors<'a>(parts: &'a [HostTensor<'_>]) -> impl Iterator<Item = f32> + 'a {
    parts.iter().flat_map(|part| {
        let rows_of_one = if part.factors().len() == 4 { part.layout().rows() } else { 1 };
        let factors = part.factors().as_chunks().0.iter().copied().map(f32::from_le_bytes);
        factors.flat_map(move |factor| iter::repeat_n(factor, rows_of_one))
    })
}

/// Panels, made by all threads.
fn stack_panels(
    shared: &Shared,
    desc: &WeightsDesc,
    kind: Kind,
    parts: &[HostTensor<'_>],
    parts_of_group: usize,
) -> Result<(Allocation, Stored)> {
    let WeightsDesc { format, groups, n, k, .. } = *desc;
    let (blocks, count) = (k / BLOCK, panel::count(n));
    let each = kind.bytes(blocks);
    let mut memory = Allocation::new(groups.saturating_mul(count).saturating_mul(each) as u64)?;
    let factors: Vec<f32> = row_factors(parts).collect();
    let mut ordinary = vec![false; groups * count];
    // Each task has one of them; the lock is how safe Rust hands it out.
    let places: Vec<Mutex<(&mut [u8], &mut bool)>> = memory
        .bytes_mut()
        .chunks_exact_mut(each)
        .zip(&mut ordinary)
        .map(|(panel, ordinary)| Mutex::new((panel, ordinary)))
        .collect();
    shared.pool.run(groups * count, &mut Scratch::none(), |_, task| {
        let stack = &parts[task / count * parts_of_group..][..parts_of_group];
        let first = task % count * COLUMNS;
        let mut columns = [Column { codes: &[], scales: &[] }; COLUMNS];
        let taken = n.min(first + COLUMNS) - first;
        for (row, column) in (first..).zip(&mut columns[..taken]) {
            *column = stacked_row(stack, row, format, k);
        }
        let mut place = places[task].lock().unwrap_or_else(PoisonError::into_inner);
        let (panel, ordinary) = &mut *place;
        (shared.kernels.pack_panel)(kind, &columns[..taken], panel);
        let factors = factors.get(task / count * n + first..).unwrap_or_default();
        **ordinary = panel::is_ordinary(kind, panel, blocks)
            && factors.iter().take(taken).all(|factor| panel::is_ordinary_factor(*factor));
    });
    drop(places);
    Ok((memory, Stored::Panels { kind, ordinary, factors }))
}

/// A row of matrices that are stacked; there is one.
fn stacked_row<'a>(stack: &[HostTensor<'a>], row: usize, format: Format, k: usize) -> Column<'a> {
    let (row_bytes, row_scales) = (format.row_bytes(k), format.row_scales(k));
    let mut row = row;
    for part in stack {
        if row < part.layout().rows() {
            return Column {
                codes: &part.data()[row * row_bytes..][..row_bytes],
                scales: &part.scales()[row / scale_rows(format) * row_scales..][..row_scales],
            };
        }
        row -= part.layout().rows();
    }
    unreachable!("`WeightsDesc::check_parts` has counted the rows")
}

/// Rows that have their scales in common.
fn scale_rows(format: Format) -> usize {
    format.blocks().map_or(1, |blocks| blocks.rows)
}

/// Refuses what no operator takes: asks the one that takes the most.
fn check_desc(desc: &WeightsDesc) -> Result<()> {
    let WeightsDesc { format, groups, n, k, activation } = *desc;
    let taker = Op::from(GroupedMatmul {
        each: Matmul {
            m: 1,
            n,
            k,
            input: Format::Bf16,
            weight: format,
            output: Format::F32,
            bias: false,
            activation: Quantization::new(activation),
        },
        groups,
    });
    taker.validate().map_err(|error| {
        let text = format!("no operator takes weights of {}: {}", words(desc), error.message());
        Refusal { reason: Reason::Format, text }.to_error()
    })
}

fn words(desc: &WeightsDesc) -> String {
    let WeightsDesc { format, groups, n, k, activation } = desc;
    format!("{format}[{groups}, {n}, {k}] for activations in {activation}")
}

/// Where elements, scales and factors begin.
fn offsets(layout: &Layout) -> [usize; 3] {
    let aligned = |bytes: usize| bytes.next_multiple_of(ALIGNMENT as usize);
    let scales = aligned(layout.data_bytes());
    [0, scales, scales + aligned(layout.scales_bytes())]
}

fn append(bytes: &mut [u8], at: &mut usize, part: &[u8]) {
    bytes[*at..][..part.len()].copy_from_slice(part);
    *at += part.len();
}

fn copied(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = zeroed(bytes.len())?;
    copy.copy_from_slice(bytes);
    Ok(copy)
}

fn zeroed(bytes: usize) -> Result<Vec<u8>> {
    let mut zeroed = Vec::new();
    zeroed.try_reserve_exact(bytes).map_err(|_| {
        Error::new(Status::OutOfMemory, format!("an export wants {bytes} bytes of host memory"))
    })?;
    zeroed.resize(bytes, 0);
    Ok(zeroed)
}
