//! E8M0 scales as pairs: which shape they have, and which element a scale belongs to.

use crate::element::Element;
use crate::executor::Operand;
use crate::refusal::Answer;
use crate::rules;
use crate::view::View;

/// Elements that share a scale.
pub(crate) const BLOCK: usize = 32;

/// The shape of the scales of `shape` in blocks along `axis`: pairs of blocks there, and 2 at the end.
pub(crate) fn shape_of(shape: &[usize], axis: usize, block: usize) -> Vec<usize> {
    let mut scales = shape.to_vec();
    scales[axis] = shape[axis].div_ceil(block).div_ceil(2);
    scales.push(2);
    scales
}

/// Checks type and shape of scales as pairs.
pub(crate) fn check(scale: &Operand, shape: &[usize]) -> Answer {
    scale.element_in(&[Element::E8m0])?;
    scale.is_nd()?;
    scale.shape_by(rules::SCALE_PAIRS, shape)
}

/// The coordinates of the scale of block number `block` of the line at `at` (whose coordinate along `axis` is ignored).
pub(crate) fn place(at: &[usize], axis: usize, block: usize) -> Vec<usize> {
    let mut place = at.to_vec();
    place[axis] = block / 2;
    place.push(block % 2);
    place
}

/// The scales of a line of `blocks` blocks.
pub(crate) fn line(scales: &View, at: &[usize], axis: usize, blocks: usize) -> Vec<f64> {
    (0..blocks).map(|block| Element::E8m0.decode(scales.bits_at(&place(at, axis, block)))).collect()
}
