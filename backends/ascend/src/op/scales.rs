//! Scales per 128 as scales per 32, in pairs: each four times.
//!
//! CANN's products take blocks of 32 only, and no operator of it repeats bytes. So scales become numbers, rows of
//! numbers are repeated, and the numbers become scales again:
//!
//! 1. `aclnnAntiMxQuant` of ones with these scales: 32 times 2^(b-127), in BF16;
//! 2. `aclnnMoeInitRoutingV3` with one expert, whom each row meets four times: sorted stably, it repeats rows in place;
//! 3. `aclnnDynamicMxQuant` to E1M2 by OCP's rule, whose exponent is 0: the scale of 2^(b-127) is b, and of NaN it is 255.
//!
//! The elements of the last are not used.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::{AntiMxQuant, DynamicMxQuant, MoeInitRouting};
use mxhal_core::{Refusal, Result};

use crate::constants::Constant;
use crate::session::Session;
use crate::support::Offer;

/// Blocks of 32 in one of 128.
const TIMES: usize = 4;
const BLOCK: usize = 32;

/// Whether the operators for it are there.
pub(super) fn check(offer: &Offer) -> Result<(), Refusal> {
    offer.needs(Operator::AntiMxQuant, &[1])?;
    offer.needs(Operator::MoeInitRouting, &[3])?;
    offer.needs(Operator::DynamicMxQuant, &[1, 2, 3])
}

/// `[rows, ceil(k / 64), 2]` in scratch, of `[rows, each]` for 128 columns each, at most one more than there are columns
/// for.
pub(super) fn per_32(
    session: &mut Session<'_>,
    (scales, each): (u64, usize),
    rows: usize,
    k: usize,
    most_rows: usize,
) -> Result<u64> {
    let repeated = repeat(session, scales, rows * each, most_rows * each)?;
    let (has, wants) = (TIMES * each, 2 * k.div_ceil(2 * BLOCK));
    if has == wants {
        return Ok(repeated);
    }
    let paired = session.scratch(rows * wants)?;
    session.copy_rows((paired, wants as u64), (repeated, has as u64), rows, wants as u64)?;
    Ok(paired)
}

/// So many scales, each four times; `most` is how many there may be in other runs.
fn repeat(session: &mut Session<'_>, scales: u64, count: usize, most: usize) -> Result<u64> {
    // A last pair may want a byte more.
    let padded = session.scratch(count + 1)?;
    session.clear(padded, count as u64 + 1)?;
    session.copy(padded, scales, count as u64)?;
    let (columns, pairs) = (count * BLOCK, count.div_ceil(2));
    let powers = session.scratch(2 * columns)?;
    let ones = session.constant(Constant::Fp8Ones(most * BLOCK))?;
    let ones = session.tensor(DataType::Float8E4m3fn, &[1, columns], ones)?;
    let scales = session.tensor(DataType::Float8E8m0, &[1, pairs, 2], padded)?;
    let row = session.tensor(DataType::Bf16, &[1, columns], powers)?;
    session.run(AntiMxQuant::new(&ones, &scales, &row).prepare(session.context()))?;

    let (slots, repeated) = (TIMES * count, session.scratch(2 * TIMES * columns)?);
    let (places, total) = (session.scratch(4 * slots)?, session.scratch(8)?);
    let expert = session.constant(Constant::Zeros(TIMES * most))?;
    let x = session.tensor(DataType::Bf16, &[count, BLOCK], powers)?;
    let expert = session.tensor(DataType::Int32, &[count, TIMES], expert)?;
    let expanded = session.tensor(DataType::Bf16, &[slots, BLOCK], repeated)?;
    let places = session.tensor(DataType::Int32, &[slots], places)?;
    let total = session.tensor(DataType::Int64, &[1], total)?;
    let routing = MoeInitRouting::new(&x, &expert, 1, &expanded, &places, &total);
    session.run(routing.prepare(session.context()))?;

    let (codes, bytes) = (session.scratch(TIMES * columns / 2)?, session.scratch(slots)?);
    let x = session.tensor(DataType::Bf16, &[1, TIMES * columns], repeated)?;
    let y = session.tensor(DataType::Float4E1m2, &[1, TIMES * columns], codes)?;
    let scales = session.tensor(DataType::Float8E8m0, &[1, slots / 2, 2], bytes)?;
    session.run(DynamicMxQuant::new(&x, &y, &scales).prepare(session.context()))?;
    Ok(bytes)
}
