//! The digest of a case's outputs: equal where two backends gave the same bits.

use mxhal_core::{Format, HostBuffer, Op, OpKind};
use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal, over the outputs in the order of the operator's arguments: their elements, scales and
/// factors, with one NaN for all, and in sums one zero for both.
pub(crate) fn of(op: &Op, outputs: &[Option<HostBuffer>]) -> String {
    let is_sum = matches!(op.kind(), OpKind::Matmul | OpKind::GroupedMatmul | OpKind::Combine);
    let mut hash = Sha256::new();
    for output in outputs.iter().flatten() {
        // Rows that are left as they were hold the poison, which is the same everywhere.
        hash.update(canonical(output, is_sum));
        hash.update(&output.scales);
        hash.update(&output.factors);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn canonical(output: &HostBuffer, is_sum: bool) -> Vec<u8> {
    // Bits of an infinity; whatever lies above it without the sign is NaN.
    let (size, infinity, sign) = match output.layout.format() {
        Format::F32 => (4, 0x7f80_0000u32, 0x8000_0000u32),
        Format::Bf16 => (2, 0x7f80, 0x8000),
        Format::F16 => (2, 0x7c00, 0x8000),
        _ => return output.data.clone(),
    };
    let mut data = output.data.clone();
    for bytes in data.chunks_exact_mut(size) {
        let mut bits = [0; 4];
        bits[..size].copy_from_slice(bytes);
        let magnitude = u32::from_le_bytes(bits) & !sign;
        if magnitude > infinity {
            bytes.copy_from_slice(&(infinity | infinity >> 1).to_le_bytes()[..size]);
        } else if magnitude == 0 && is_sum {
            bytes.fill(0);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use mxhal_core::Quantization;
    use mxhal_core::op::{Dequantize, Matmul};

    use super::*;
    use crate::opcase::tensor::floats;

    #[test]
    fn zeros_of_sums_and_nan_are_one_and_everything_else_counts() {
        let product = Op::from(Matmul::mxfp4(1, 2, 32, Quantization::none()));
        let plain = Op::from(Dequantize { rows: 1, k: 32, from: Format::Mxfp4, output: Format::F32 });
        for format in [Format::F32, Format::Bf16, Format::F16] {
            let digest = |op: &Op, values: [f64; 2]| of(op, &[None, Some(floats(format, &[1, 2], values))]);
            assert_eq!(digest(&product, [0.0, f64::NAN]), digest(&product, [-0.0, -f64::NAN]));
            assert_ne!(digest(&plain, [0.0, 1.0]), digest(&plain, [-0.0, 1.0]));
            assert_ne!(digest(&product, [0.0, 1.0]), digest(&product, [0.0, -1.0]));
            assert_ne!(digest(&product, [0.0, f64::INFINITY]), digest(&product, [0.0, f64::NAN]));
        }
    }
}
