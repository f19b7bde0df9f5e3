//! 32-bit integers to 64 bits and back, on the device.
//!
//! The core counts the rows of experts in I32, and CANN's grouped matmul takes them as INT64. `aclnnCast` would do;
//! its signature is not among the facts that the declarations are written from. So the words are moved by the one
//! operator that moves rows to places given on the device: `aclnnMoeInitRoutingV3` with words as rows of one FLOAT
//! (which it copies as they are) and the places as expert ids. For numbers that are not negative, a 64-bit number is the
//! 32-bit one before a word of zeros.

use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::MoeInitRouting;
use mxhal_core::Result;

use crate::constants::Constant;
use crate::session::Session;

/// INT64 numbers in scratch, of so many I32 ones, none negative.
pub(crate) fn widen(session: &mut Session<'_>, from: u64, count: usize) -> Result<u64> {
    let bytes = 4 * count as u64;
    let words = session.scratch(8 * count)?;
    session.copy(words, from, bytes)?;
    session.clear(words + bytes, bytes)?;
    move_words(session, words, Constant::Interleave(count), count)
}

/// I32 numbers of so many INT64 ones, each below 2^31.
pub(crate) fn narrow(session: &mut Session<'_>, from: u64, to: u64, count: usize) -> Result<()> {
    let words = move_words(session, from, Constant::Deinterleave(count), count)?;
    session.copy(to, words, 4 * count as u64)
}

/// Twice so many words in scratch, at the places that the constant says.
fn move_words(session: &mut Session<'_>, from: u64, places: Constant, count: usize) -> Result<u64> {
    let words = 2 * count;
    let to = session.scratch(4 * words)?;
    let (rows, counts) = (session.scratch(4 * words)?, session.scratch(8 * words)?);
    let x = session.tensor(DataType::Float, &[words, 1], from)?;
    let expert = session.tensor(DataType::Int32, &[words, 1], session.constant(places)?)?;
    let expanded = session.tensor(DataType::Float, &[words, 1], to)?;
    let row = session.tensor(DataType::Int32, &[words], rows)?;
    let counts = session.tensor(DataType::Int64, &[words], counts)?;
    let routing = MoeInitRouting::new(&x, &expert, words as i64, &expanded, &row, &counts);
    session.run(routing.prepare(session.context()))?;
    Ok(to)
}
