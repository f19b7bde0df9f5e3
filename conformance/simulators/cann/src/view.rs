//! A tensor's elements, while work is executed.

use std::sync::{Arc, OnceLock};

use crate::element::{Element, Rounding};
use crate::memory::Span;
use crate::tensor::{FRACTAL_NZ, Tensor};

/// Rows of a FRACTAL_NZ tile.
pub(crate) const TILE_ROWS: usize = 16;

/// A tensor with the memory that it lies in.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) tensor: Arc<Tensor>,
    /// The storage.
    span: Span,
    /// Whether the storage has the last two dimensions the other way round.
    transposed: bool,
}

/// Columns of a FRACTAL_NZ tile: 32 bytes of them.
pub(crate) fn tile_columns(element: Element) -> usize {
    32 * 8 / element.bits()
}

/// Whether the last two dimensions of a view are swapped against its storage.
pub(crate) fn is_transposed(tensor: &Tensor) -> bool {
    let rank = tensor.shape.len();
    if rank < 2 || tensor.is_contiguous() {
        return false;
    }
    tensor.has_strides(&transposed_strides(&tensor.shape))
}

/// The strides of a view whose last two dimensions are swapped.
pub(crate) fn transposed_strides(shape: &[usize]) -> Vec<usize> {
    let rank = shape.len();
    let mut swapped = shape.to_vec();
    swapped.swap(rank - 1, rank - 2);
    let mut strides = Tensor::contiguous_strides(&swapped);
    strides.swap(rank - 1, rank - 2);
    strides
}

/// The storage shape of a FRACTAL_NZ tensor of the matrices `shape`.
pub(crate) fn nz_storage(shape: &[usize], element: Element) -> Vec<usize> {
    let (batch, matrix) = shape.split_at(shape.len() - 2);
    let columns = tile_columns(element);
    let tiles = [matrix[1].div_ceil(columns), matrix[0].div_ceil(TILE_ROWS), TILE_ROWS, columns];
    batch.iter().copied().chain(tiles).collect()
}

impl View {
    pub(crate) fn new(tensor: Arc<Tensor>, span: Span) -> Self {
        let transposed = is_transposed(&tensor);
        Self { tensor, span, transposed }
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    /// Where in the storage the element at these coordinates lies, in elements.
    fn index(&self, at: &[usize]) -> usize {
        if self.tensor.format == FRACTAL_NZ {
            return self.nz_index(at);
        }
        self.tensor.offset
            + at.iter().zip(&self.tensor.strides).map(|(at, stride)| at * stride).sum::<usize>()
    }

    /// Tiles of columns first, then tiles of rows, then rows and columns of the tile.
    fn nz_index(&self, at: &[usize]) -> usize {
        let rank = at.len();
        let shape = &self.tensor.shape;
        let (mut row, mut column) = (at[rank - 2], at[rank - 1]);
        let (mut stored_rows, mut stored_columns) = (shape[rank - 2], shape[rank - 1]);
        if self.transposed {
            (row, column) = (column, row);
            (stored_rows, stored_columns) = (stored_columns, stored_rows);
        }
        let columns = tile_columns(self.tensor.element);
        let row_tiles = stored_rows.div_ceil(TILE_ROWS);
        let matrix = row_tiles * TILE_ROWS * stored_columns.div_ceil(columns) * columns;
        let batch = at[..rank - 2].iter().zip(shape).fold(0, |batch, (at, dim)| batch * dim + at);
        let tile = column / columns * row_tiles + row / TILE_ROWS;
        batch * matrix + tile * TILE_ROWS * columns + row % TILE_ROWS * columns + column % columns
    }

    /// Copies a row of a contiguous tensor to where it belongs in tiles; the coordinates are those of its first element.
    pub(crate) fn put_row_of(&self, rows: &Self, at: &[usize]) {
        let element = self.tensor.element;
        let [columns, tile] =
            [self.shape()[at.len() - 1], tile_columns(element)].map(|columns| columns * element.bits() / 8);
        let from = &rows.span.bytes()[rows.index(at) * element.bits() / 8..][..columns];
        let mut at = at.to_vec();
        for part in from.chunks(tile) {
            self.span.copy_in(self.nz_index(&at) * element.bits() / 8, part);
            *at.last_mut().expect("a matrix has two dimensions") += tile_columns(element);
        }
    }

    fn bits(&self, index: usize) -> u64 {
        let bytes = self.span.bytes();
        match self.tensor.element.bits() {
            // The even index in the low half.
            4 => u64::from(bytes[index / 2] >> (4 * (index % 2)) & 0xF),
            8 => u64::from(bytes[index]),
            width => {
                let mut word = [0; 8];
                let width = width / 8;
                word[..width].copy_from_slice(&bytes[index * width..][..width]);
                u64::from_le_bytes(word)
            }
        }
    }

    /// `len` values along an axis from these coordinates on.
    pub(crate) fn line(&self, at: &[usize], axis: usize, len: usize) -> Vec<f32> {
        let element = self.tensor.element;
        let value = |index| match element {
            Element::Bf16 => f32::from_bits((self.bits(index) as u32) << 16),
            Element::F32 => f32::from_bits(self.bits(index) as u32),
            _ if element.bits() <= 8 => table(element)[self.bits(index) as usize],
            _ => element.decode(self.bits(index)) as f32,
        };
        if self.tensor.format == FRACTAL_NZ {
            let mut at = at.to_vec();
            let first = at[axis];
            return (0..len)
                .map(|i| {
                    at[axis] = first + i;
                    value(self.nz_index(&at))
                })
                .collect();
        }
        let (first, step) = (self.index(at), self.tensor.strides[axis]);
        (0..len).map(|i| value(first + i * step)).collect()
    }

    /// A row along the last axis.
    pub(crate) fn row(&self, at: &[usize]) -> Vec<f32> {
        let axis = self.shape().len() - 1;
        let mut start = at.to_vec();
        start.push(0);
        self.line(&start, axis, self.shape()[axis])
    }

    pub(crate) fn get(&self, at: &[usize]) -> f32 {
        self.tensor.element.decode(self.bits(self.index(at))) as f32
    }

    pub(crate) fn integer(&self, at: &[usize]) -> i64 {
        self.tensor.element.integer(self.bits(self.index(at)))
    }

    /// All integers, row-major.
    pub(crate) fn integers(&self) -> Vec<i64> {
        coordinates(self.shape()).map(|at| self.integer(&at)).collect()
    }

    /// Rounds to nearest even.
    pub(crate) fn put(&self, at: &[usize], value: f32) {
        let element = self.tensor.element;
        self.put_bits(at, element.encode(f64::from(value), Rounding::Rint));
    }

    pub(crate) fn put_integer(&self, at: &[usize], value: i64) {
        self.put_bits(at, value as u64);
    }

    /// Sets the whole storage to zero bits.
    pub(crate) fn clear(&self) {
        self.span.fill(0);
    }

    pub(crate) fn bits_at(&self, at: &[usize]) -> u64 {
        self.bits(self.index(at))
    }

    pub(crate) fn put_bits(&self, at: &[usize], bits: u64) {
        let index = self.index(at);
        match self.tensor.element.bits() {
            4 => {
                let shift = 4 * (index % 2);
                let byte = self.span.bytes()[index / 2] & !(0xF << shift) | (bits as u8 & 0xF) << shift;
                self.span.copy_in(index / 2, &[byte]);
            }
            width => self.span.copy_in(index * width / 8, &bits.to_le_bytes()[..width / 8]),
        }
    }
}

/// All coordinates of a shape, row-major.
pub(crate) fn coordinates(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product::<usize>()).map(move |mut index| {
        let mut at = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            at[axis] = index % shape[axis];
            index /= shape[axis];
        }
        at
    })
}

/// The values of all bits of a type of up to 8.
fn table(element: Element) -> &'static [f32] {
    static TABLES: [OnceLock<Vec<f32>>; 42] = [const { OnceLock::new() }; 42];
    TABLES[element as usize]
        .get_or_init(|| (0..1_u64 << element.bits()).map(|bits| element.decode(bits) as f32).collect())
}
