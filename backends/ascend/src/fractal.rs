//! Weights in FRACTAL_NZ: the tiles in which the cube units read the right side of a product.
//!
//! A matrix `[rows, columns]` is stored as `[ceil(columns / c), ceil(rows / r), r, c]`: columns of tiles, and in each tile
//! its rows. CANN says what r and c are for a type (16, and 32 bytes of columns, in the simulation), makes the tiles of rows,
//! and fills the last ones up with zeros. It is not documented to make rows of tiles, so an export does that here, by the
//! dims that CANN gave.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mxhal_cann::safe::op::{FormatCast, Storage, storage_for};
use mxhal_cann::safe::{Context, DataType, DeviceBuffer, Format, Stream, TensorSpec, TensorView};
use mxhal_core::{Error, Result};

use crate::error::from_cann;
use crate::session::spec;

/// Groups of matrices of rows and columns.
pub(crate) type Dims = [usize; 3];

/// The storages that CANN was asked for, each once: the dims that it answers with are nobody's to free.
#[derive(Default)]
pub(crate) struct Storages(Mutex<HashMap<(DataType, Dims), Storage>>);

impl Storages {
    /// What CANN stores matrices in.
    ///
    /// # Errors
    ///
    /// What CANN answers, and dims that are not those of tiles.
    pub(crate) fn of(&self, context: &Context, data_type: DataType, dims: Dims) -> Result<Storage> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(storage) = known.get(&(data_type, dims)) {
            return Ok(storage.clone());
        }
        let spec = spec(data_type, &dims)?;
        // SAFETY: there is no memory, and nothing runs: only the shape is asked for.
        let rows = unsafe { TensorView::from_raw(context, spec, std::ptr::null_mut()) };
        let storage = rows.and_then(|rows| storage_for(context, &rows, Format::FRACTAL_NZ, data_type));
        let storage = storage.map_err(from_cann)?;
        Tiles::of(data_type, dims, &storage.dims)?;
        known.insert((data_type, dims), storage.clone());
        Ok(storage)
    }
}

/// Makes tiles of rows, and waits for them.
///
/// # Errors
///
/// What CANN answers, want of memory among it.
pub(crate) fn tiles_of(rows: &DeviceBuffer, spec: TensorSpec, storage: &Storage) -> Result<DeviceBuffer> {
    let cast = || {
        let context = rows.context();
        let tiled = spec.clone().with_storage(storage.format, &storage.dims);
        let tiles = DeviceBuffer::new(context, tiled.bytes()?)?;
        let source = TensorView::new(spec, rows, 0)?;
        let destination = TensorView::new(tiled, &tiles, 0)?;
        let cast = FormatCast { source: &source, destination: &destination };
        cast.prepare(context)?.run_and_wait(&Stream::new(context)?)?;
        Ok(tiles)
    };
    cast().map_err(|error| from_cann(error).within("weights are brought to FRACTAL_NZ"))
}

/// The rows of which tiles were made.
///
/// # Errors
///
/// [`Status::Internal`](mxhal_core::Status::Internal) for dims that are not those of tiles.
pub(crate) fn rows_of(tiles: &[u8], data_type: DataType, dims: Dims, storage: &Storage) -> Result<Vec<u8>> {
    Ok(Tiles::of(data_type, dims, &storage.dims)?.rows(tiles))
}

/// Tiles of a group, counted in rows and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiles {
    rows: usize,
    row_bytes: usize,
    across: usize,
    down: usize,
    tile_rows: usize,
    tile_row_bytes: usize,
}

impl Tiles {
    fn of(data_type: DataType, dims: Dims, storage: &[i64]) -> Result<Self> {
        let [groups, rows, columns] = dims;
        let refused = || {
            Error::internal(format!(
                "CANN stores {data_type:?} {dims:?} in FRACTAL_NZ as {storage:?}, and not as groups, tiles across, tiles down, \
                 rows and columns of a tile; set option `weights` to `nd`"
            ))
        };
        let sizes: Option<Vec<usize>> = storage.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let sizes = sizes.and_then(|sizes| <[usize; 5]>::try_from(sizes).ok());
        let Some([stored, across, down, tile_rows, tile_columns]) = sizes else {
            return Err(refused());
        };
        let covers = |tiles, each, all: usize| each > 0 && all.div_ceil(each) == tiles;
        let [row_bits, tile_bits] = [columns, tile_columns].map(|columns| columns * data_type.bits());
        let whole_bytes = row_bits % 8 == 0 && tile_bits % 8 == 0;
        if stored != groups
            || !covers(across, tile_columns, columns)
            || !covers(down, tile_rows, rows)
            || !whole_bytes
        {
            return Err(refused());
        }
        Ok(Self { rows, row_bytes: row_bits / 8, across, down, tile_rows, tile_row_bytes: tile_bits / 8 })
    }

    fn rows(&self, tiles: &[u8]) -> Vec<u8> {
        let Self { rows, row_bytes, across, down, tile_rows, tile_row_bytes } = *self;
        let group_bytes = across * down * tile_rows * tile_row_bytes;
        let mut all = Vec::with_capacity(tiles.len());
        for group in tiles.chunks_exact(group_bytes) {
            for row in 0..rows {
                let start = all.len();
                for column in 0..across {
                    let tile = column * down + row / tile_rows;
                    let from = (tile * tile_rows + row % tile_rows) * tile_row_bytes;
                    all.extend_from_slice(&group[from..from + tile_row_bytes]);
                }
                // What fills the last tile up.
                all.truncate(start + row_bytes);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_gathered_from_tiles_and_what_fills_them_up_is_left() {
        // Two groups of [3, 3], in tiles of [2, 2].
        let tiles = Tiles::of(DataType::Float8E4m3fn, [2, 3, 3], &[2, 2, 2, 2, 2]).unwrap();
        let group = [1, 2, 4, 5, 7, 8, 0, 0, 3, 0, 6, 0, 9, 0, 0, 0];
        let stored: Vec<u8> = group.into_iter().chain(group.map(|byte| byte + 10)).collect();
        let wanted: Vec<u8> = (1..10).chain(11..20).collect();
        assert_eq!(tiles.rows(&stored), wanted);
    }

    #[test]
    fn nibbles_are_gathered_by_bytes() {
        // [2, 6] in tiles of [2, 4].
        let tiles = Tiles::of(DataType::Float4E2m1, [1, 2, 6], &[1, 2, 1, 2, 4]).unwrap();
        assert_eq!(
            tiles.rows(&[0x21, 0x43, 0x87, 0xa9, 0x65, 0, 0xcb, 0]),
            [0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb]
        );
    }

    #[test]
    fn a_storage_that_is_not_of_tiles_is_refused_with_what_to_do() {
        for storage in
            [&[1, 2, 1, 2][..], &[1, 2, 1, 2, 3], &[1, 1, 1, 2, 4], &[2, 2, 1, 2, 4], &[1, -1, 1, 2, 4]]
        {
            let error = Tiles::of(DataType::Float4E2m1, [1, 2, 6], storage).unwrap_err();
            assert!(error.message().contains("`nd`"), "{error}");
        }
    }
}
