//! Dequantize: MXFP4 to F32.

use std::{ptr, slice};

use mxhal_core::{Error, Format, Plan, PlanInfo, Result, Span, Stream, Tensor, Weights};

/// Columns that share a scale.
const BLOCK: usize = 32;

/// A plan is what was chosen for an operator, once: a kernel, a workspace. This one had nothing to choose.
pub(crate) struct DequantizePlan {
    info: PlanInfo,
}

impl DequantizePlan {
    pub(crate) fn new() -> Self {
        // A run allocates nothing: what it needs is asked for here.
        Self { info: PlanInfo { workspace_bytes: 0, kernel: "loop".to_owned() } }
    }
}

impl Plan for DequantizePlan {
    fn info(&self) -> &PlanInfo {
        &self.info
    }

    fn run(
        &self,
        _stream: &dyn Stream,
        tensors: &[Option<Tensor>],
        _weights: &[&dyn Weights],
        _workspace: Span,
    ) -> Result<()> {
        // The exported shim has had core check formats, shapes and sizes against the operator.
        let [Some(x), Some(y)] = tensors else {
            return Err(Error::invalid(format!("{} tensors were passed; expected x and y", tensors.len())));
        };
        if x.layout().rows() == 0 {
            return Ok(());
        }
        let rows = x.layout().rows();
        let columns = x.layout().columns();
        // SAFETY: the caller of the run says that the tensors' memory is valid, and core that it is this large.
        let codes = unsafe { bytes(x.data(), rows * columns / 2) };
        // SAFETY: as above; a tensor of this format has a scale for each block.
        let scales = unsafe { bytes(x.scales(), rows * columns / BLOCK) };
        let step = Format::F32.row_bytes(y.layout().row_stride());
        for row in 0..rows {
            // Rows of y may lie apart, and the gaps are not ours: addresses, not one slice.
            let out = y.data().address + (row * step) as u64;
            for column in 0..columns {
                let element = row * columns + column; // blocks have no gaps, so elements can be counted
                let code = codes[element / 2] >> (element % 2 * 4) & 15;
                let value = mxfp4_value(code, scales[element / BLOCK]);
                // SAFETY: within the row; nobody promised that an engine's array is aligned to its elements.
                unsafe { ptr::write_unaligned((out as *mut f32).add(column), value) };
            }
        }
        Ok(())
    }
}

/// The bytes of a part of a tensor.
///
/// # Safety
///
/// They may be read for as long as the slice lives.
unsafe fn bytes<'a>(span: Span, count: usize) -> &'a [u8] {
    // SAFETY: the same promise.
    unsafe { slice::from_raw_parts(span.address as *const u8, count) }
}

/// E2M1 times 2^(byte - 127), in double, which holds every such value exactly; float32 holds it too, unless it is too
/// large, and then it is infinite. The sign of zero is kept.
fn mxfp4_value(code: u8, scale: u8) -> f32 {
    const MAGNITUDES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    if scale == 255 {
        return f32::NAN;
    }
    // A double's exponent, without a fraction.
    let power = f64::from_bits((u64::from(scale) + 1023 - 127) << 52);
    let magnitude = (MAGNITUDES[usize::from(code & 7)] * power) as f32;
    if code & 8 == 0 { magnitude } else { -magnitude }
}
