//! An operator as the bytes that cross, so that a question can change them.

#![allow(unsafe_code, reason = "reads a C struct as bytes")]

use std::mem::offset_of;

use mxhal_core::{Op, OpKind};
use mxhal_ffi::convert::RawOp;
use mxhal_ffi::sys;

use super::answer::{Finding, wrong};

/// What follows an operator of a newer host: any bytes.
const TRAILING: u64 = 0xdead_beef_5a5a_a5a5;

/// The bytes of an operator's struct, aligned as the struct is.
#[derive(Clone, Debug)]
pub(super) struct OpBytes {
    words: Vec<u64>,
}

impl OpBytes {
    pub(super) fn new(op: &Op) -> Finding<Self> {
        let raw = RawOp::new(op).map_err(|error| wrong(format!("{op:?} has no struct: {error}")))?;
        // SAFETY: the operator's struct begins with its head.
        let size = unsafe { (*raw.as_ptr()).struct_size } as usize;
        let mut words = vec![0_u64; size.div_ceil(8)];
        // SAFETY: the struct has `size` bytes, all of them initialised: every operator consists of 32- and 64-bit
        // numbers without gaps. The words have room for them.
        unsafe { std::ptr::copy_nonoverlapping(raw.as_ptr().cast::<u8>(), words.as_mut_ptr().cast(), size) };
        Ok(Self { words })
    }

    /// A head that says this, with room for an operator of any kind behind it.
    pub(super) fn head(struct_size: u32, kind: u32) -> Self {
        let mut bytes = Self { words: vec![0; size_of::<sys::mxhal_op_moe_ffn>().div_ceil(8)] };
        bytes.set(offset_of!(sys::mxhal_op, struct_size), struct_size);
        bytes.set(offset_of!(sys::mxhal_op, kind), kind);
        bytes
    }

    pub(super) fn pointer(&self) -> *const sys::mxhal_op {
        self.words.as_ptr().cast()
    }

    pub(super) fn struct_size(&self) -> u32 {
        self.number(offset_of!(sys::mxhal_op, struct_size))
    }

    /// The same with another size: the memory stays as it is, and is at least as large.
    pub(super) fn with_size(mut self, struct_size: u32) -> Self {
        assert!(struct_size as usize <= self.words.len() * 8, "no more is said than there is");
        self.set(offset_of!(sys::mxhal_op, struct_size), struct_size);
        self
    }

    /// The same as a newer host would pass it: longer, with members that this version does not know.
    pub(super) fn with_trailing(mut self, words: usize) -> Self {
        let longer = self.struct_size() + 8 * words as u32;
        self.words.extend(std::iter::repeat_n(TRAILING, words));
        self.with_size(longer)
    }

    /// The same with another number in this place.
    pub(super) fn with(mut self, offset: usize, number: u32) -> Self {
        self.set(offset, number);
        self
    }

    pub(super) fn number(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.half(offset))
    }

    fn half(&self, offset: usize) -> [u8; 4] {
        let word = self.words[offset / 8].to_ne_bytes();
        let start = offset % 8;
        [word[start], word[start + 1], word[start + 2], word[start + 3]]
    }

    fn set(&mut self, offset: usize, number: u32) {
        let mut word = self.words[offset / 8].to_ne_bytes();
        word[offset % 8..][..4].copy_from_slice(&number.to_ne_bytes());
        self.words[offset / 8] = u64::from_ne_bytes(word);
    }
}

/// A member that holds a format or an enum value: its name and its place in the struct.
pub(super) type Member = (&'static str, usize);

/// The members of these names in a struct of the header.
macro_rules! members {
    ($type:ident: $($name:literal $($field:ident).+),*) => {
        vec![$(($name, offset_of!(sys::$type, $($field).+))),*]
    };
}

/// Those members of an operator. What the header says is ignored, or is a switch, is not among them.
pub(super) fn enumerations(kind: OpKind) -> Vec<Member> {
    match kind {
        OpKind::Quantize => members!(mxhal_op_quantize:
            "input_format" input_format, "to.format" to.format, "to.scale_rule" to.scale_rule),
        OpKind::Dequantize => members!(mxhal_op_dequantize:
            "from_format" from_format, "output_format" output_format),
        OpKind::Matmul => members!(mxhal_op_matmul:
            "input_format" input_format, "weight_format" weight_format, "output_format" output_format,
            "activation.format" activation.format),
        OpKind::GroupedMatmul => members!(mxhal_op_grouped_matmul:
            "input_format" each.input_format, "weight_format" each.weight_format,
            "output_format" each.output_format, "activation.format" each.activation.format),
        OpKind::SwiGlu => members!(mxhal_op_swiglu:
            "form.variant" form.variant, "input_format" input_format, "to.format" to.format),
        OpKind::Route => members!(mxhal_op_route: "score" score),
        OpKind::Permute => members!(mxhal_op_permute: "format" format),
        OpKind::Combine => members!(mxhal_op_combine:
            "input_format" input_format, "output_format" output_format),
        OpKind::MoeFfn => members!(mxhal_op_moe_ffn:
            "weight_format" weight_format, "activation.format" activation.format, "form.variant" form.variant,
            "weight_position" weight_position, "output_format" output_format),
        _ => Vec::new(),
    }
}

/// The members of an operator that are 0 or 1. That of a shared expert counts where there is one.
pub(super) fn switches(kind: OpKind) -> Vec<Member> {
    match kind {
        OpKind::Matmul => members!(mxhal_op_matmul: "has_bias" has_bias),
        OpKind::GroupedMatmul => members!(mxhal_op_grouped_matmul: "has_bias" each.has_bias),
        OpKind::SwiGlu => members!(mxhal_op_swiglu:
            "form.interleaved" form.interleaved, "has_row_weights" has_row_weights),
        OpKind::Route => members!(mxhal_op_route:
            "has_bias" has_bias, "ids_given" ids_given, "renormalize" renormalize),
        OpKind::Permute => members!(mxhal_op_permute: "has_weights" has_weights),
        OpKind::Combine => members!(mxhal_op_combine: "weighted" weighted),
        OpKind::MoeFfn => members!(mxhal_op_moe_ffn:
            "form.interleaved" form.interleaved, "has_bias" has_bias),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::Format;
    use mxhal_core::op::Dequantize;

    #[test]
    fn a_member_is_found_and_changed_in_its_place() {
        let op = Op::from(Dequantize { rows: 3, k: 64, from: Format::Mxfp4, output: Format::Bf16 });
        let bytes = OpBytes::new(&op).unwrap();
        assert_eq!(bytes.struct_size() as usize, size_of::<sys::mxhal_op_dequantize>());
        let places = enumerations(OpKind::Dequantize);
        assert_eq!(bytes.number(places[0].1), Format::Mxfp4 as u32);
        assert_eq!(bytes.number(places[1].1), Format::Bf16 as u32);
        let changed = bytes.with(places[1].1, 99).with_trailing(2);
        assert_eq!((changed.number(places[0].1), changed.number(places[1].1)), (Format::Mxfp4 as u32, 99));
        assert_eq!(changed.struct_size() as usize, size_of::<sys::mxhal_op_dequantize>() + 16);
    }
}
