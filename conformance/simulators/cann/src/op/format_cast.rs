//! `aclnnNpuFormatCast` and the shape that it wants.
//!
//! # Chosen
//!
//! The storage shape for FP4 is not documented: tiles of 16 rows by 32 bytes, (.., ceil(columns/64), ceil(rows/16), 16, 64),
//! and the actual format is FRACTAL_NZ itself. The padding is 0. The shape that is given is allocated with `malloc`.

use crate::element::Element;
use crate::executor::{Handle, Job, Plan, operators, parameter};
use crate::refusal::{Answer, acl, give};
use crate::rules;
use crate::tensor::{FRACTAL_NZ, tensor_of};
use crate::view::{coordinates, nz_storage};

operators! {
    aclnnNpuFormatCast aclnnNpuFormatCastGetWorkspaceSize MX (
        from: Handle, to: Handle,
    ) => |plan| cast(plan, from, to);
}

acl! {
    fn aclnnNpuFormatCastCalculateSizeAndFormat(
        from: Handle, to_format: i32, additional: i32, dims: *mut *mut i64, count: *mut u64, format: *mut i32,
    ) {
        let from = tensor_of(from, "srcTensor")?;
        parameter(to_format == FRACTAL_NZ, || format!("dstFormat {to_format}, expected FRACTAL_NZ ({FRACTAL_NZ})"))?;
        parameter(additional == -1 || Element::from_number(additional).is_some(), || format!("additionalDtype {additional}"))?;
        parameter((2..=6).contains(&from.shape.len()), || format!("srcTensor has {} dimensions, expected 2 to 6", from.shape.len()))?;
        let storage: Box<[i64]> = nz_storage(&from.shape, from.element).into_iter().map(|dim| dim as i64).collect();
        give(count, "dstShapeSize", storage.len() as u64)?;
        give(format, "actualFormat", FRACTAL_NZ)?;
        give(dims, "dstShape", Box::into_raw(storage).cast())
    }
}

fn cast(plan: &mut Plan, from: Handle, to: Handle) -> Answer<Job> {
    let (from, to) = (plan.input("srcTensor", from)?, plan.output("dstTensor", to)?);
    to.element_in(&[from.element()])?;
    from.is_plain()?;
    from.rank_in(2..=6)?;
    if to.tensor.format != FRACTAL_NZ {
        return Err(
            to.refuse(rules::FORMAT, format!("has format {}, expected {FRACTAL_NZ}", to.tensor.format))
        );
    }
    to.shape_is(from.shape())?;
    if from.element().is_fp4() && from.shape().last().is_some_and(|columns| columns % 2 == 1) {
        return Err(from.refuse(rules::EVEN, "has an odd last dimension"));
    }
    super::dense::check_nz(&to)?;
    Ok(Box::new(move |views| {
        let Some(source) = views.get(&from) else { return Ok(()) };
        let target = views.of(&to);
        target.clear();
        let rows = &source.shape()[..source.shape().len() - 1];
        for mut at in coordinates(rows) {
            at.push(0);
            target.put_row_of(source, &at);
        }
        Ok(())
    }))
}
