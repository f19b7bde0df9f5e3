//! Tensors in host memory, as the suite makes and reads them: core's [`HostBuffer`], in the oracle's numbers.

use mxhal_core::{Format, HostBuffer, Layout};

use crate::oracle::format::Float;
use crate::oracle::{Encoded, Matrix, decode};

/// The contiguous layout of a tensor of an operator that validates.
pub(crate) fn layout(format: Format, shape: &[usize]) -> Layout {
    Layout::contiguous(format, shape).expect("the shapes of an operator that validates have a layout")
}

/// A tensor of plain floats, each rounded to the format.
pub(crate) fn floats(format: Format, shape: &[usize], values: impl IntoIterator<Item = f64>) -> HostBuffer {
    let float = Float::of(format).expect("only plain formats are asked for");
    let mut buffer = HostBuffer::zeroed(layout(format, shape));
    let size = format.bits() / 8;
    for (bytes, value) in buffer.data.chunks_exact_mut(size).zip(values) {
        bytes.copy_from_slice(&float.bits(float.round(value)).to_le_bytes()[..size]);
    }
    buffer
}

/// A tensor of I32.
pub(crate) fn integers(shape: &[usize], values: &[i32]) -> HostBuffer {
    let mut buffer = HostBuffer::zeroed(layout(Format::I32, shape));
    for (bytes, value) in buffer.data.chunks_exact_mut(4).zip(values) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
    buffer
}

/// The values of a tensor of I32.
pub(crate) fn read_integers(buffer: &HostBuffer) -> Vec<i32> {
    let value = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().expect("chunks have 4 bytes"));
    buffer.data.chunks_exact(4).map(value).collect()
}

/// The factors of a tensor.
pub(crate) fn read_factors(buffer: &HostBuffer) -> Vec<f32> {
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks have 4 bytes"));
    buffer.factors.chunks_exact(4).map(value).collect()
}

/// All values of a tensor of real numbers, its last dimension as columns.
pub(crate) fn read(buffer: &HostBuffer) -> Matrix {
    let (rows, columns) = (buffer.layout.rows(), buffer.layout.columns());
    let rows: Vec<usize> = (0..rows).collect();
    let mut matrix = read_rows(buffer, 0, &rows);
    matrix.columns = columns;
    matrix
}

/// Rows of one matrix of a tensor of `[rows, columns]` or `[matrices, rows, columns]`.
pub(crate) fn read_rows(buffer: &HostBuffer, matrix: usize, rows: &[usize]) -> Matrix {
    let layout = &buffer.layout;
    let (format, columns) = (layout.format(), layout.columns());
    let in_matrix = match layout.shape() {
        [] | [_] => 1,
        [.., rows, _] => *rows,
    };
    let (bytes, scales) = (format.row_bytes(columns), format.row_scales(columns));
    let tile = format.blocks().map_or(1, |blocks| blocks.rows);
    let factors = read_factors(buffer);
    let mut values = Vec::with_capacity(rows.len() * columns);
    for &row in rows {
        let whole = matrix * in_matrix + row;
        let scale_row = matrix * in_matrix.div_ceil(tile) + row / tile;
        let factor = factors.get(if factors.len() == 1 { 0 } else { whole });
        let encoded = Encoded {
            format,
            rows: 1,
            columns,
            data: &buffer.data[whole * bytes..][..bytes],
            scales: &buffer.scales[scale_row * scales..][..scales],
            factors: factor.map_or(&[], std::slice::from_ref),
        };
        values.extend(decode(&encoded).expect("the slices were cut to the format's sizes").values);
    }
    Matrix { rows: rows.len(), columns, values }
}

/// Bytes of the part of a tensor that belongs to one index of its first dimension: elements, scales, factors.
pub(crate) fn bytes_of_first(buffer: &HostBuffer) -> [usize; 3] {
    let first = buffer.layout.shape()[0].max(1);
    [buffer.data.len() / first, buffer.scales.len() / first, buffer.factors.len() / first]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_their_own_scales_also_from_tiles_and_from_later_matrices() {
        let mut tiles = HostBuffer::zeroed(layout(Format::Fp8Tile128, &[2, 130, 129]));
        tiles.data.fill(0x38);
        // Two rows and two columns of tiles in each matrix.
        tiles.scales = vec![127, 128, 129, 130, 131, 132, 133, 134];
        let last = read_rows(&tiles, 1, &[0, 129]);
        assert_eq!((last.row(0)[0], last.row(0)[128]), (16.0, 32.0));
        assert_eq!((last.row(1)[0], last.row(1)[128]), (64.0, 128.0));

        let mut factors = HostBuffer::zeroed(layout(Format::Nvfp4, &[2, 16]));
        factors.data.fill(0x22);
        factors.scales.fill(0x38);
        factors.factors = [1.0f32, 4.0].iter().flat_map(|factor| factor.to_le_bytes()).collect();
        assert_eq!(read(&factors).values[15..17], [1.0, 4.0]);
        factors.factors.truncate(4);
        assert_eq!(read(&factors).values[15..17], [1.0, 1.0]);
    }

    #[test]
    fn floats_and_integers_lead_back() {
        let values = [1.0, -0.5, 65504.0, f64::INFINITY];
        for format in [Format::F32, Format::F16] {
            assert_eq!(read(&floats(format, &[2, 2], values)).values, values);
        }
        assert_eq!(read(&floats(Format::Bf16, &[1], [1.00390625])).values, [1.0]);
        assert_eq!(read_integers(&integers(&[3], &[-1, 0, 7])), [-1, 0, 7]);
    }
}
