//! Operators: a tagged struct each.

use mxhal_core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Route, Score, SharedExpert,
    SwiGlu, SwiGluForm, SwiGluVariant, WeightPosition,
};
use mxhal_core::{Error, Format, Op, OpKind, Quantization, Result, ScaleRule};

use super::{extent_from_c, extent_to_c, format_from_c, null, struct_size};
use crate::sys::{
    mxhal_op, mxhal_op_combine, mxhal_op_dequantize, mxhal_op_grouped_matmul, mxhal_op_matmul,
    mxhal_op_moe_ffn, mxhal_op_permute, mxhal_op_quantize, mxhal_op_route, mxhal_op_swiglu,
    mxhal_quantization, mxhal_swiglu_form,
};

/// An operator as a struct of the header.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each is documented at the variant of Op with its name")]
pub enum RawOp {
    Quantize(mxhal_op_quantize),
    Dequantize(mxhal_op_dequantize),
    Matmul(mxhal_op_matmul),
    GroupedMatmul(mxhal_op_grouped_matmul),
    SwiGlu(mxhal_op_swiglu),
    Route(mxhal_op_route),
    Permute(mxhal_op_permute),
    Combine(mxhal_op_combine),
    MoeFfn(mxhal_op_moe_ffn),
}

impl RawOp {
    /// The struct of an operator.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for an extent that a 64-bit integer does not
    /// hold; none for an operator that validates.
    pub fn new(op: &Op) -> Result<Self> {
        Ok(match op {
            Op::Quantize(op) => Self::Quantize(quantize_to_c(op)?),
            Op::Dequantize(op) => Self::Dequantize(dequantize_to_c(op)?),
            Op::Matmul(op) => Self::Matmul(matmul_to_c::<mxhal_op_matmul>(OpKind::Matmul, op)?),
            Op::GroupedMatmul(op) => Self::GroupedMatmul(mxhal_op_grouped_matmul {
                each: matmul_to_c::<mxhal_op_grouped_matmul>(OpKind::GroupedMatmul, &op.each)?,
                groups: extent_to_c("groups", op.groups)?,
            }),
            Op::SwiGlu(op) => Self::SwiGlu(swiglu_to_c(op)?),
            Op::Route(op) => Self::Route(route_to_c(op)?),
            Op::Permute(op) => Self::Permute(permute_to_c(op)?),
            Op::Combine(op) => Self::Combine(combine_to_c(op)?),
            Op::MoeFfn(op) => Self::MoeFfn(moe_ffn_to_c(op)?),
            other => return Err(Error::unsupported(format!("{} has no struct in mxhal.h", other.kind()))),
        })
    }

    /// The head, which is where the whole begins; valid as long as `self` is neither moved nor dropped.
    pub const fn as_ptr(&self) -> *const mxhal_op {
        match self {
            Self::Quantize(op) => std::ptr::from_ref(op).cast(),
            Self::Dequantize(op) => std::ptr::from_ref(op).cast(),
            Self::Matmul(op) => std::ptr::from_ref(op).cast(),
            Self::GroupedMatmul(op) => std::ptr::from_ref(op).cast(),
            Self::SwiGlu(op) => std::ptr::from_ref(op).cast(),
            Self::Route(op) => std::ptr::from_ref(op).cast(),
            Self::Permute(op) => std::ptr::from_ref(op).cast(),
            Self::Combine(op) => std::ptr::from_ref(op).cast(),
            Self::MoeFfn(op) => std::ptr::from_ref(op).cast(),
        }
    }
}

/// Reads an operator. What comes back is well-formed; whether it is valid is asked with [`Op::validate`].
///
/// # Errors
///
/// [`Status::Unsupported`](mxhal_core::Status::Unsupported) for an unknown kind, format or enum value, and
/// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for null, a struct that is too short for its kind,
/// a negative extent, or a switch that is neither 0 nor 1.
///
/// # Safety
///
/// `from` is null, or points to at least eight readable bytes and to as many as its `struct_size` says.
pub unsafe fn op_from_c(from: *const mxhal_op) -> Result<Op> {
    // SAFETY: eight bytes can be read where it is not null.
    let Some(size) = (unsafe { struct_size(from) }) else { return Err(null("op")) };
    if size < size_of::<mxhal_op>() {
        return Err(Error::invalid(format!(
            "struct_size of an operator is {size}; it is that of the whole operator"
        )));
    }
    // SAFETY: the caller promises them, and size counts them.
    let number = unsafe { from.read_unaligned() }.kind;
    let Some(kind) = OpKind::from_number(number) else {
        return Err(Error::unsupported(format!("operator kind {number} is not known here")));
    };
    // SAFETY: `whole` reads no more than `size` bytes, which the caller promises.
    unsafe {
        match kind {
            OpKind::Quantize => quantize_from_c(&whole(kind, from, size)?).map(Op::from),
            OpKind::Dequantize => dequantize_from_c(&whole(kind, from, size)?).map(Op::from),
            OpKind::Matmul => matmul_from_c(&whole(kind, from, size)?).map(Op::from),
            OpKind::GroupedMatmul => grouped_matmul_from_c(&whole(kind, from, size)?).map(Op::from),
            OpKind::SwiGlu => swiglu_from_c(&whole(kind, from, size)?).map(Op::from),
            OpKind::Route => route_from_c(&whole(kind, from, size)?).map(Op::from),
            OpKind::Permute => permute_from_c(&whole(kind, from, size)?).map(Op::from),
            OpKind::Combine => combine_from_c(&whole(kind, from, size)?).map(Op::from),
            OpKind::MoeFfn => moe_ffn_from_c(&whole(kind, from, size)?).map(Op::from),
            other => Err(Error::unsupported(format!("{other} has no struct in mxhal.h"))),
        }
    }
    .map_err(|error| error.within(kind))
}

/// The whole struct of an operator whose head was read.
///
/// # Safety
///
/// `size` bytes can be read at `from`, and any bytes are a value of `T`.
unsafe fn whole<T: Copy>(kind: OpKind, from: *const mxhal_op, size: usize) -> Result<T> {
    if size < size_of::<T>() {
        return Err(Error::invalid(format!(
            "struct_size is {size}, and the struct of {kind} has at least {} bytes",
            size_of::<T>()
        )));
    }
    // SAFETY: there are at least as many bytes as T has.
    Ok(unsafe { from.cast::<T>().read_unaligned() })
}

const fn head<T>(kind: OpKind) -> mxhal_op {
    mxhal_op { struct_size: size_of::<T>() as u32, kind: kind as u32 }
}

fn switch(what: &str, value: u32) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::invalid(format!("{what} is {other}; it is 0 or 1"))),
    }
}

fn unknown(what: &str, value: u32) -> Error {
    Error::unsupported(format!("{what} is {value}, which is not known here"))
}

/// An extent of which 0 says that there is none.
fn optional_to_c(what: &str, extent: Option<usize>) -> Result<i64> {
    match extent {
        Some(0) => Err(Error::invalid(format!("{what} is 0; it is at least 1 where it is given"))),
        other => extent_to_c(what, other.unwrap_or(0)),
    }
}

fn optional_from_c(what: &str, extent: i64) -> Result<Option<usize>> {
    Ok(Some(extent_from_c(what, extent)?).filter(|extent| *extent > 0))
}

const fn quantization_to_c(from: &Quantization) -> mxhal_quantization {
    mxhal_quantization {
        format: from.format as u32,
        scale_rule: from.rule as u32,
        amax_floor: from.amax_floor,
        reserved: 0,
    }
}

fn quantization_from_c(what: &str, from: &mxhal_quantization) -> Result<Quantization> {
    let format = format_from_c(&format!("{what}.format"), from.format)?;
    let plain = Quantization::new(format);
    let rule = match ScaleRule::from_number(from.scale_rule) {
        // Ignored where nothing is quantized.
        None | Some(ScaleRule::Nearest) if plain.is_none() => plain.rule,
        None => return Err(unknown(&format!("{what}.scale_rule"), from.scale_rule)),
        Some(rule) => rule,
    };
    Ok(plain.with_rule(rule).with_amax_floor(from.amax_floor))
}

fn quantize_to_c(op: &Quantize) -> Result<mxhal_op_quantize> {
    Ok(mxhal_op_quantize {
        op: head::<mxhal_op_quantize>(OpKind::Quantize),
        rows: extent_to_c("rows", op.rows)?,
        k: extent_to_c("k", op.k)?,
        input_format: op.input as u32,
        reserved: 0,
        to: quantization_to_c(&op.to),
    })
}

fn quantize_from_c(op: &mxhal_op_quantize) -> Result<Quantize> {
    Ok(Quantize {
        rows: extent_from_c("rows", op.rows)?,
        k: extent_from_c("k", op.k)?,
        input: format_from_c("input_format", op.input_format)?,
        to: quantization_from_c("to", &op.to)?,
    })
}

fn dequantize_to_c(op: &Dequantize) -> Result<mxhal_op_dequantize> {
    Ok(mxhal_op_dequantize {
        op: head::<mxhal_op_dequantize>(OpKind::Dequantize),
        rows: extent_to_c("rows", op.rows)?,
        k: extent_to_c("k", op.k)?,
        from_format: op.from as u32,
        output_format: op.output as u32,
    })
}

fn dequantize_from_c(op: &mxhal_op_dequantize) -> Result<Dequantize> {
    Ok(Dequantize {
        rows: extent_from_c("rows", op.rows)?,
        k: extent_from_c("k", op.k)?,
        from: format_from_c("from_format", op.from_format)?,
        output: format_from_c("output_format", op.output_format)?,
    })
}

/// `T` is the struct whose head this is: a grouped product begins with that of each group.
fn matmul_to_c<T>(kind: OpKind, op: &Matmul) -> Result<mxhal_op_matmul> {
    Ok(mxhal_op_matmul {
        op: head::<T>(kind),
        m: extent_to_c("m", op.m)?,
        n: extent_to_c("n", op.n)?,
        k: extent_to_c("k", op.k)?,
        input_format: op.input as u32,
        weight_format: op.weight as u32,
        output_format: op.output as u32,
        has_bias: op.bias.into(),
        activation: quantization_to_c(&op.activation),
    })
}

fn matmul_from_c(op: &mxhal_op_matmul) -> Result<Matmul> {
    Ok(Matmul {
        m: extent_from_c("m", op.m)?,
        n: extent_from_c("n", op.n)?,
        k: extent_from_c("k", op.k)?,
        input: format_from_c("input_format", op.input_format)?,
        weight: format_from_c("weight_format", op.weight_format)?,
        output: format_from_c("output_format", op.output_format)?,
        bias: switch("has_bias", op.has_bias)?,
        activation: quantization_from_c("activation", &op.activation)?,
    })
}

fn grouped_matmul_from_c(op: &mxhal_op_grouped_matmul) -> Result<GroupedMatmul> {
    Ok(GroupedMatmul { each: matmul_from_c(&op.each)?, groups: extent_from_c("groups", op.groups)? })
}

fn form_to_c(form: &SwiGluForm) -> mxhal_swiglu_form {
    mxhal_swiglu_form {
        variant: form.variant as u32,
        interleaved: form.interleaved.into(),
        limit: form.limit,
        alpha: form.alpha,
    }
}

fn form_from_c(form: &mxhal_swiglu_form) -> Result<SwiGluForm> {
    Ok(SwiGluForm {
        variant: SwiGluVariant::from_number(form.variant)
            .ok_or_else(|| unknown("form.variant", form.variant))?,
        limit: form.limit,
        alpha: form.alpha,
        interleaved: switch("form.interleaved", form.interleaved)?,
    })
}

fn swiglu_to_c(op: &SwiGlu) -> Result<mxhal_op_swiglu> {
    Ok(mxhal_op_swiglu {
        op: head::<mxhal_op_swiglu>(OpKind::SwiGlu),
        rows: extent_to_c("rows", op.rows)?,
        n: extent_to_c("n", op.n)?,
        form: form_to_c(&op.form),
        input_format: op.input as u32,
        has_row_weights: op.row_weights.into(),
        to: quantization_to_c(&op.to),
    })
}

fn swiglu_from_c(op: &mxhal_op_swiglu) -> Result<SwiGlu> {
    Ok(SwiGlu {
        rows: extent_from_c("rows", op.rows)?,
        n: extent_from_c("n", op.n)?,
        form: form_from_c(&op.form)?,
        input: format_from_c("input_format", op.input_format)?,
        row_weights: switch("has_row_weights", op.has_row_weights)?,
        to: quantization_from_c("to", &op.to)?,
    })
}

fn route_to_c(op: &Route) -> Result<mxhal_op_route> {
    Ok(mxhal_op_route {
        op: head::<mxhal_op_route>(OpKind::Route),
        tokens: extent_to_c("tokens", op.tokens)?,
        experts: extent_to_c("experts", op.experts)?,
        top_k: extent_to_c("top_k", op.top_k)?,
        score: op.score as u32,
        has_bias: op.bias.into(),
        ids_given: op.ids_given.into(),
        renormalize: op.renormalize.into(),
        scale: op.scale,
        reserved: 0,
    })
}

fn route_from_c(op: &mxhal_op_route) -> Result<Route> {
    Ok(Route {
        tokens: extent_from_c("tokens", op.tokens)?,
        experts: extent_from_c("experts", op.experts)?,
        top_k: extent_from_c("top_k", op.top_k)?,
        score: Score::from_number(op.score).ok_or_else(|| unknown("score", op.score))?,
        bias: switch("has_bias", op.has_bias)?,
        ids_given: switch("ids_given", op.ids_given)?,
        renormalize: switch("renormalize", op.renormalize)?,
        scale: op.scale,
    })
}

fn permute_to_c(op: &Permute) -> Result<mxhal_op_permute> {
    Ok(mxhal_op_permute {
        op: head::<mxhal_op_permute>(OpKind::Permute),
        tokens: extent_to_c("tokens", op.tokens)?,
        columns: extent_to_c("columns", op.columns)?,
        experts: extent_to_c("experts", op.experts)?,
        top_k: extent_to_c("top_k", op.top_k)?,
        mapped: optional_to_c("mapped", op.mapped)?,
        format: op.format as u32,
        has_weights: op.weights.into(),
    })
}

fn permute_from_c(op: &mxhal_op_permute) -> Result<Permute> {
    Ok(Permute {
        tokens: extent_from_c("tokens", op.tokens)?,
        columns: extent_from_c("columns", op.columns)?,
        experts: extent_from_c("experts", op.experts)?,
        top_k: extent_from_c("top_k", op.top_k)?,
        format: format_from_c("format", op.format)?,
        weights: switch("has_weights", op.has_weights)?,
        mapped: optional_from_c("mapped", op.mapped)?,
    })
}

fn combine_to_c(op: &Combine) -> Result<mxhal_op_combine> {
    Ok(mxhal_op_combine {
        op: head::<mxhal_op_combine>(OpKind::Combine),
        tokens: extent_to_c("tokens", op.tokens)?,
        columns: extent_to_c("columns", op.columns)?,
        top_k: extent_to_c("top_k", op.top_k)?,
        input_format: op.input as u32,
        output_format: op.output as u32,
        weighted: op.weighted.into(),
        addend_format: op.addend.map_or(0, |format| format as u32),
    })
}

fn combine_from_c(op: &mxhal_op_combine) -> Result<Combine> {
    Ok(Combine {
        tokens: extent_from_c("tokens", op.tokens)?,
        columns: extent_from_c("columns", op.columns)?,
        top_k: extent_from_c("top_k", op.top_k)?,
        input: format_from_c("input_format", op.input_format)?,
        output: format_from_c("output_format", op.output_format)?,
        weighted: switch("weighted", op.weighted)?,
        addend: optional_format("addend_format", op.addend_format)?,
    })
}

fn optional_format(what: &str, number: u32) -> Result<Option<Format>> {
    if number == 0 { Ok(None) } else { format_from_c(what, number).map(Some) }
}

fn moe_ffn_to_c(op: &MoeFfn) -> Result<mxhal_op_moe_ffn> {
    Ok(mxhal_op_moe_ffn {
        op: head::<mxhal_op_moe_ffn>(OpKind::MoeFfn),
        tokens: extent_to_c("tokens", op.tokens)?,
        hidden: extent_to_c("hidden", op.hidden)?,
        inner: extent_to_c("inner", op.inner)?,
        experts: extent_to_c("experts", op.experts)?,
        top_k: extent_to_c("top_k", op.top_k)?,
        mapped: optional_to_c("mapped", op.mapped)?,
        shared_inner: optional_to_c("shared.inner", op.shared.map(|shared| shared.inner))?,
        weight_format: op.weight as u32,
        shared_weight_format: op.shared.map_or(0, |shared| shared.weight as u32),
        activation: quantization_to_c(&op.activation),
        form: form_to_c(&op.form),
        weight_position: op.weight_position as u32,
        has_bias: op.bias.into(),
        output_format: op.output as u32,
        shared_clamped: op.shared.is_some_and(|shared| shared.clamped).into(),
    })
}

fn moe_ffn_from_c(op: &mxhal_op_moe_ffn) -> Result<MoeFfn> {
    let clamped = switch("shared_clamped", op.shared_clamped)?;
    let shared = match (
        optional_from_c("shared_inner", op.shared_inner)?,
        optional_format("shared_weight_format", op.shared_weight_format)?,
    ) {
        (Some(inner), Some(weight)) => Some(SharedExpert { inner, weight, clamped }),
        (None, None) => None,
        (Some(inner), None) => {
            return Err(Error::invalid(format!("shared_inner is {inner}, and shared_weight_format is 0")));
        }
        (None, Some(format)) => {
            return Err(Error::invalid(format!("shared_weight_format is {format}, and shared_inner is 0")));
        }
    };
    Ok(MoeFfn {
        tokens: extent_from_c("tokens", op.tokens)?,
        hidden: extent_from_c("hidden", op.hidden)?,
        inner: extent_from_c("inner", op.inner)?,
        experts: extent_from_c("experts", op.experts)?,
        top_k: extent_from_c("top_k", op.top_k)?,
        weight: format_from_c("weight_format", op.weight_format)?,
        activation: quantization_from_c("activation", &op.activation)?,
        form: form_from_c(&op.form)?,
        weight_position: WeightPosition::from_number(op.weight_position)
            .ok_or_else(|| unknown("weight_position", op.weight_position))?,
        bias: switch("has_bias", op.has_bias)?,
        output: format_from_c("output_format", op.output_format)?,
        mapped: optional_from_c("mapped", op.mapped)?,
        shared,
    })
}
