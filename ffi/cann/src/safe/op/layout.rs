//! Copies into another layout.

use core::{ptr, slice};

use super::super::executor::Argument;
use super::super::{Context, DataType, Executor, Format, TensorView};
use super::prepare;
use crate::error::{Error, Result};

/// The storage that a copy into another layout needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Storage {
    /// Its dims in elements.
    pub dims: Vec<i64>,
    /// The exact layout, which may be a variant of the one asked for.
    pub format: Format,
}

/// What storage a copy of `source` into this layout needs; `data_type` is that of what it will be multiplied with, or its
/// own.
///
/// # Errors
///
/// The function is not there, or CANN refuses the arguments.
pub fn storage_for(
    context: &Context,
    source: &TensorView,
    format: Format,
    data_type: DataType,
) -> Result<Storage> {
    const FUNCTION: &str = "aclnnNpuFormatCastCalculateSizeAndFormat";
    let library = context.library();
    let function = library
        .operator_table()
        .aclnnNpuFormatCastCalculateSizeAndFormat
        .ok_or_else(|| library.missing_operator("aclnnNpuFormatCast"))?;
    let (mut dims, mut rank, mut actual) = (ptr::null_mut(), 0, 0);
    let _current = context.enter()?;
    // SAFETY: the tensor is alive; the rest is written to.
    let code =
        unsafe { function(source.handle(), format.0, data_type.number(), &mut dims, &mut rank, &mut actual) };
    library.check(FUNCTION, code)?;
    let rank = usize::try_from(rank).unwrap_or(usize::MAX);
    if dims.is_null() || rank > 16 {
        return Err(Error::Null { function: FUNCTION, recent_message: library.acl_get_recent_err_msg() });
    }
    // SAFETY: so many dims were written. They are left where they are: CANN made them with an allocator of its own,
    // and weights are laid out once.
    let dims = unsafe { slice::from_raw_parts(dims, rank) }.to_vec();
    Ok(Storage { dims, format: Format(actual) })
}

/// A copy of a tensor into another layout, such as of a weight into FRACTAL_NZ.
#[derive(Clone, Debug)]
pub struct FormatCast<'a> {
    /// What is copied.
    pub source: &'a TensorView,
    /// Where to, with the storage that [`storage_for`] gives.
    pub destination: &'a TensorView,
}

impl FormatCast<'_> {
    /// The operator, ready to run.
    ///
    /// # Errors
    ///
    /// It is not there, or CANN refuses the arguments.
    pub fn prepare(&self, context: &Context) -> Result<Executor> {
        prepare!(
            context, aclnnNpuFormatCastGetWorkspaceSize then aclnnNpuFormatCast,
            self.source, self.destination,
        )
    }
}
