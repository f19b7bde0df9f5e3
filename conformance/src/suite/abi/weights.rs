//! What prepared weights are made from, say of themselves and give back.

use mxhal_core::Status::InvalidArgument;
use mxhal_core::op::Matmul;
use mxhal_core::{Format, HostBuffer, Quantization};
use mxhal_ffi::convert;
use mxhal_ffi::sys::{self, mxhal_tensor};

use super::Questions;
use super::answer::{Answer, Finding, ensure, wrong};
use super::raw::{Address, Weights};
use super::session::{Planned, Session, parts_to_c, zero_parts, zero_parts_of};
use crate::outcome::Outcome;
use crate::subject::Subject;

pub(super) const QUESTIONS: Questions = &[
    ("weights/info", info),
    ("weights/parts", parts),
    ("weights/descriptions", descriptions),
    ("weights/tile-parts", tile_parts),
    ("weights/export", export),
];

fn info(subject: &Subject) -> Finding {
    let planned = Planned::with_weights(subject)?;
    for (weights, desc) in planned.weights.iter().zip(planned.op.weights()) {
        let mut info: sys::mxhal_weights_info = convert::empty();
        info.desc = convert::empty();
        planned.raw.weights_info(*weights, Some(&mut info)).ok_and_silent()?;
        let said = convert::weights_desc_from_c(&info.desc)
            .map_err(|error| wrong(format!("weights_info gave a description that is none: {error}")))?;
        ensure(said == desc, || format!("weights_info says {said:?} of weights prepared as {desc:?}"))?;
        ensure(info.bytes > 0, || "weights_info says that the weights hold no bytes".to_owned())?;
    }
    Ok(())
}

fn parts(subject: &Subject) -> Finding {
    let planned = Planned::with_weights(subject)?;
    let desc = planned.op.weights()[0];
    let buffers = zero_parts(&desc)?;
    let parts = parts_to_c(&buffers)?;
    let c_desc = convert::weights_desc_to_c(&desc).map_err(Outcome::from)?;
    let refused = |desc: &sys::mxhal_weights_desc, parts: &[mxhal_tensor], why: &str| {
        prepare(&planned, desc, parts)?.refused(InvalidArgument, why).map(drop)
    };
    refused(&c_desc, &[], "no parts")?;
    let changed = |change: fn(&mut mxhal_tensor)| {
        let mut parts = parts.clone();
        parts.iter_mut().for_each(change);
        parts
    };
    // What is left out stays in memory, in case the fault is not noticed.
    refused(&c_desc, &changed(|part| part.shape[0] -= 1), "a row too few")?;
    refused(&c_desc, &changed(|part| part.data_bytes -= 1), "a byte of data too few")?;
    refused(&c_desc, &changed(|part| part.scales_bytes -= 1), "a scale too few")?;
    refused(&c_desc, &changed(|part| part.scales = Address::NULL.pointer()), "scales at address null")?;
    refused(&c_desc, &changed(|part| part.format = sys::MXHAL_U8), "parts of another format")?;
    refused(&c_desc, &changed(|part| part.rank = 1), "parts of rank 1")?;
    refused(&c_desc, &changed(|part| (part.shape[1], part.stride[0]) = (64, 64)), "half of the columns")?;
    let gaps = changed(|part| {
        part.shape[0] -= 1;
        part.stride[0] *= 2;
    });
    refused(&c_desc, &gaps, "parts with gaps between their rows")?;
    let twice = [&parts[..], &parts[..]].concat();
    refused(&c_desc, &twice, "twice as many parts as stack to n rows")?;
    let short = sys::mxhal_weights_desc { struct_size: 8, ..c_desc };
    refused(&short, &parts, "a description that is too short")
}

/// Descriptions of no sense.
fn descriptions(subject: &Subject) -> Finding {
    let planned = Planned::with_weights(subject)?;
    let desc = planned.op.weights()[0];
    let buffers = zero_parts(&desc)?;
    let parts = parts_to_c(&buffers)?;
    let right = convert::weights_desc_to_c(&desc).map_err(Outcome::from)?;
    let wrong = [
        (sys::mxhal_weights_desc { groups: 0, ..right }, "no groups"),
        (sys::mxhal_weights_desc { groups: -1, ..right }, "-1 groups"),
        (sys::mxhal_weights_desc { n: 0, ..right }, "no rows"),
        (sys::mxhal_weights_desc { n: i64::MIN, ..right }, "fewer rows than none"),
        (sys::mxhal_weights_desc { k: 0, ..right }, "no columns"),
        (sys::mxhal_weights_desc { k: right.k - 16, ..right }, "columns that are no whole blocks"),
    ];
    for (desc, why) in wrong {
        let why = format!("a description of {why}");
        prepare(&planned, &desc, &parts)?.refused(InvalidArgument, &why)?;
    }
    prepare(&planned, &right, &parts)?.ok()
}

/// A tile has 128 rows: a part that another follows ends where a tile does.
fn tile_parts(subject: &Subject) -> Finding {
    let products = [Quantization::none(), Quantization::deepseek(), Quantization::new(Format::Mxfp8)]
        .map(|scheme| Matmul { weight: Format::Fp8Tile128, ..Matmul::mxfp4(4, 192, 128, scheme) });
    let mut planned = None;
    for op in products {
        planned = planned.or(Planned::of(Session::open(subject)?, op.into())?);
    }
    let Some(planned) = planned else {
        let text = "no product is supported whose weights are tiles".to_owned();
        return Err(Box::new(Outcome::Skipped { text }));
    };
    let desc = planned.op.weights()[0];
    let c_desc = convert::weights_desc_to_c(&desc).map_err(Outcome::from)?;
    let stacked = |rows: &[usize]| {
        let buffers = zero_parts_of(&desc, rows)?;
        prepare(&planned, &c_desc, &parts_to_c(&buffers)?)
    };
    stacked(&[128, 64])?.ok()?;
    for rows in [&[64, 128][..], &[96, 96], &[128, 32, 32]] {
        let why = format!("parts of {rows:?} rows, which end in the middle of a tile,");
        stacked(rows)?.refused(InvalidArgument, &why)?;
    }
    planned.run()
}

/// Prepares weights, and lets go of what should not have been made.
fn prepare(planned: &Planned<'_>, desc: &sys::mxhal_weights_desc, parts: &[mxhal_tensor]) -> Finding<Answer> {
    let parts: Vec<&mxhal_tensor> = parts.iter().collect();
    let mut weights = Weights::NULL;
    let answer = planned.raw.weights_prepare(planned.device, Some(desc), &parts, Some(&mut weights));
    if answer.status == 0 {
        planned.raw.weights_destroy(weights).ok()?;
    }
    Ok(answer)
}

fn export(subject: &Subject) -> Finding {
    let planned = Planned::with_weights(subject)?;
    let desc = planned.op.weights()[0];
    let layout = desc.layout().map_err(Outcome::from)?;
    let mut buffer = HostBuffer::zeroed(layout);
    buffer.data.fill(0xee);
    buffer.scales.fill(0xee);
    let to = parts_to_c(std::slice::from_ref(&buffer))?[0];
    let raw = planned.raw;
    raw.weights_export(planned.weights[0], None).refused(InvalidArgument, "a null tensor")?;
    let short = mxhal_tensor { data_bytes: to.data_bytes - 1, ..to };
    raw.weights_export(planned.weights[0], Some(&short))
        .refused(InvalidArgument, "a byte of data too few")?;
    let mut other = to;
    other.shape[1] -= 1;
    raw.weights_export(planned.weights[0], Some(&other)).refused(InvalidArgument, "a row too few")?;
    Ok(())
}
