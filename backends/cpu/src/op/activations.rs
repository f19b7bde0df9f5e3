//! Activations made ready to be multiplied: quantized if they came in BF16 and are not multiplied so, and packed where
//! there are kernels for that.

use mxhal_core::{Format, Quantization, Result};

use crate::device::Shared;
use crate::kernel::PanelKernels;
use crate::packed::Numbers;
use crate::panel::{Kind, are_ordinary_bf16, is_ordinary_factor};
use crate::pool::Scratch;
use crate::view::{Input, Output, Row, RowMut};
use crate::workspace::{RowMemory, Workspace, room};

/// What comes, as what it is multiplied, and with what.
#[derive(Clone, Copy)]
pub(super) struct Scheme {
    pub(super) input: Format,
    pub(super) activation: Quantization,
    pub(super) weight: Format,
}

impl Scheme {
    /// Whether the input is quantized before it is multiplied.
    fn quantizes(&self) -> bool {
        self.input != self.activation.format
    }

    /// How rows are packed, if they are.
    fn packing(&self, shared: &Shared, k: usize) -> Option<Packing> {
        shared.kernels.panels?;
        let beside = Kind::of(self.weight, k)?;
        Some(Packing { numbers: Numbers::of(self.activation.format, beside)?, beside })
    }

    /// What [`Self::take`] takes of a workspace.
    pub(super) fn room(&self, shared: &Shared, [rows, k]: [usize; 2]) -> u64 {
        let quantized = if self.quantizes() { RowMemory::room(self.activation.format, [rows, k]) } else { 0 };
        quantized.saturating_add(PackedRows::room(self.packing(shared, k), [rows, k]))
    }

    /// Memory for so many rows.
    pub(super) fn take<'a>(
        &self,
        shared: &Shared,
        workspace: &mut Workspace<'a>,
        [rows, k]: [usize; 2],
    ) -> Result<Memory<'a>> {
        let quantized = match self.quantizes() {
            true => Some(RowMemory::take(workspace, self.activation.format, [rows, k])?),
            false => None,
        };
        let packed = PackedRows::take(workspace, self.packing(shared, k), [rows, k])?;
        Ok(Memory { scheme: *self, rows, quantized, packed })
    }
}

/// As what rows are packed, and for what weights.
#[derive(Clone, Copy)]
struct Packing {
    numbers: Numbers,
    beside: Kind,
}

/// Memory for activations of a [`Scheme`].
pub(super) struct Memory<'a> {
    scheme: Scheme,
    rows: usize,
    quantized: Option<RowMemory<'a>>,
    packed: Option<PackedRows<'a>>,
}

impl Memory<'_> {
    /// Packs rows, as many as there is memory for, and before that quantizes those that are not in the scheme's format;
    /// the scratch has room for one row's values.
    pub(super) fn fill<'m>(
        &'m mut self,
        shared: &Shared,
        input: Input<'m>,
        scratch: &mut Scratch<'_, f32>,
    ) -> Activations<'m> {
        let (rows, k, to) = (self.rows, input.columns(), self.scheme.activation);
        if self.quantized.is_some() {
            return self.make(shared, 8 * k, scratch, |values, row, y| {
                input.row(row).decode(&shared.kernels.rows, &mut values[..k]);
                y.store(&shared.kernels.rows, &values[..k], &to);
            });
        }
        if let Some((packed, kernels)) = self.packed.as_mut().zip(shared.kernels.panels.as_ref()) {
            let packing = packed.packing;
            let [mut records, mut flags] = packed.outputs();
            shared.pool.rows(
                rows,
                k,
                [&mut records, &mut flags],
                scratch,
                |_, row, [mut records, mut flag]| {
                    pack(packing, kernels, &input.row(row), &mut records, &mut flag);
                },
            );
        }
        Activations { rows: input, packed: self.packed.as_ref() }
    }

    /// Has `make` write each row in the scheme's format, and packs it. A row takes about as long as `elements` copied
    /// elements would.
    pub(super) fn make<'m>(
        &'m mut self,
        shared: &Shared,
        elements: usize,
        scratch: &mut Scratch<'_, f32>,
        make: impl Fn(&mut [f32], usize, &mut RowMut<'_>) + Sync,
    ) -> Activations<'m> {
        let rows = self.rows;
        let made =
            self.quantized.as_mut().expect("rows are made where they do not come in the scheme's format");
        if let Some((packed, kernels)) = self.packed.as_mut().zip(shared.kernels.panels.as_ref()) {
            let packing = packed.packing;
            let [mut records, mut flags] = packed.outputs();
            let outputs = [&mut made.output(), &mut records, &mut flags];
            shared.pool.rows(
                rows,
                elements,
                outputs,
                scratch,
                |values, row, [mut y, mut records, mut flag]| {
                    make(values, row, &mut y);
                    pack(packing, kernels, &y.written(), &mut records, &mut flag);
                },
            );
        } else {
            shared.pool.rows(rows, elements, [&mut made.output()], scratch, |values, row, [mut y]| {
                make(values, row, &mut y);
            });
        }
        Activations { rows: made.input(), packed: self.packed.as_ref() }
    }
}

fn pack(
    packing: Packing,
    kernels: &PanelKernels,
    row: &Row<'_>,
    records: &mut RowMut<'_>,
    flag: &mut RowMut<'_>,
) {
    let Packing { numbers, beside } = packing;
    let ordinary = (kernels.pack)(numbers, row.format(), row.data(), row.scales(), records.data_mut())
        && is_ordinary_factor(row.factor())
        && (beside != Kind::Bf16 || row.format() != Format::Bf16 || are_ordinary_bf16(row.data()));
    flag.data_mut()[0] = ordinary.into();
}

/// Activations as they are multiplied.
pub(super) struct Activations<'a> {
    /// The rows, in their format.
    pub(super) rows: Input<'a>,
    /// The same, as kernels read them.
    pub(super) packed: Option<&'a PackedRows<'a>>,
}

/// Rows as kernels read them; see [`packed`](crate::packed).
pub(super) struct PackedRows<'a> {
    packing: Packing,
    stride: usize,
    records: &'a mut [u8],
    /// For each row 1 if kernels may take it, else 0.
    ordinary: &'a mut [u8],
}

impl<'a> PackedRows<'a> {
    fn room(packing: Option<Packing>, [rows, k]: [usize; 2]) -> u64 {
        let Some(Packing { numbers, .. }) = packing else { return 0 };
        room::<u8>(rows.saturating_mul(numbers.stride(k))).saturating_add(room::<u8>(rows))
    }

    fn take(
        workspace: &mut Workspace<'a>,
        packing: Option<Packing>,
        [rows, k]: [usize; 2],
    ) -> Result<Option<Self>> {
        let Some(packing) = packing else { return Ok(None) };
        let stride = packing.numbers.stride(k);
        let (records, ordinary) = (workspace.take(rows.saturating_mul(stride))?, workspace.take(rows)?);
        Ok(Some(Self { packing, stride, records, ordinary }))
    }

    fn outputs(&mut self) -> [Output<'_>; 2] {
        let rows = self.ordinary.len();
        let bytes = |columns, data| Output::of(Format::U8, [rows, columns], data, &mut [], &mut []);
        [bytes(self.stride, &mut *self.records), bytes(1, &mut *self.ordinary)]
    }

    pub(super) fn numbers(&self) -> Numbers {
        self.packing.numbers
    }

    /// Bytes from one row to the next.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.records
    }

    /// Whether kernels may take a row.
    pub(super) fn is_ordinary(&self, row: usize) -> bool {
        self.ordinary[row] == 1
    }
}
