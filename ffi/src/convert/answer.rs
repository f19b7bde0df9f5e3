//! What a backend says of itself: answers, plans, devices, weights.

use mxhal_core::{DeviceInfo, Error, PlanInfo, Properties, Reason, Result, Support, WeightsDesc};

use super::{empty, extent_from_c, extent_to_c, format_from_c, set_text, text};
use crate::sys::{
    MXHAL_BATCH_INVARIANT, MXHAL_CAPTURABLE, MXHAL_REASON_NONE, MXHAL_RUN_TO_RUN, MXHAL_SLOT_ORDER,
    MXHAL_THREAD_INVARIANT, mxhal_answer, mxhal_device_info, mxhal_plan_info, mxhal_weights_desc,
};

/// An answer as the header has it.
pub fn support_to_c(support: &Support) -> mxhal_answer {
    let mut to: mxhal_answer = empty();
    match support {
        Support::Yes(properties) => {
            to.yes = 1;
            to.reason = MXHAL_REASON_NONE;
            to.flags = flags(properties);
        }
        Support::No(refusal) => {
            to.reason = refusal.reason as u32;
            set_text(&mut to.text, &refusal.text);
        }
    }
    to
}

/// The same, back.
///
/// # Errors
///
/// [`Status::Internal`](mxhal_core::Status::Internal) where it is neither yes nor no.
pub fn support_from_c(from: &mxhal_answer) -> Result<Support> {
    match from.yes {
        0 => Ok(Support::no(Reason::from_number(from.reason), text(&from.text))),
        1 => Ok(Support::Yes(properties(from.flags))),
        other => Err(Error::internal(format!("op_supports answered yes = {other}; it is 0 or 1"))),
    }
}

fn flags(properties: &Properties) -> u32 {
    let Properties { capturable, run_to_run, batch_invariant, thread_invariant, slot_order } = *properties;
    let flag = |holds: bool, flag: u32| if holds { flag } else { 0 };
    flag(capturable, MXHAL_CAPTURABLE)
        | flag(run_to_run, MXHAL_RUN_TO_RUN)
        | flag(batch_invariant, MXHAL_BATCH_INVARIANT)
        | flag(thread_invariant, MXHAL_THREAD_INVARIANT)
        | flag(slot_order, MXHAL_SLOT_ORDER)
}

/// A flag that is not known here promises nothing that is relied on here.
const fn properties(flags: u32) -> Properties {
    Properties {
        capturable: flags & MXHAL_CAPTURABLE != 0,
        run_to_run: flags & MXHAL_RUN_TO_RUN != 0,
        batch_invariant: flags & MXHAL_BATCH_INVARIANT != 0,
        thread_invariant: flags & MXHAL_THREAD_INVARIANT != 0,
        slot_order: flags & MXHAL_SLOT_ORDER != 0,
    }
}

/// What a plan wants, as the header has it.
pub fn plan_info_to_c(info: &PlanInfo) -> mxhal_plan_info {
    let mut to: mxhal_plan_info = empty();
    to.workspace_bytes = info.workspace_bytes;
    set_text(&mut to.kernel, &info.kernel);
    to
}

/// The same, back.
pub fn plan_info_from_c(from: &mxhal_plan_info) -> PlanInfo {
    PlanInfo { workspace_bytes: from.workspace_bytes, kernel: text(&from.kernel) }
}

/// What a device is, as the header has it.
pub fn device_info_to_c(info: &DeviceInfo) -> mxhal_device_info {
    let mut to: mxhal_device_info = empty();
    to.units = info.units;
    to.memory_bytes = info.memory_bytes;
    to.alignment = info.alignment;
    set_text(&mut to.name, &info.name);
    set_text(&mut to.architecture, &info.architecture);
    set_text(&mut to.driver, &info.driver);
    to
}

/// The same, back.
///
/// # Errors
///
/// [`Status::Internal`](mxhal_core::Status::Internal) for an alignment that is no power of two, or above 4096.
pub fn device_info_from_c(from: &mxhal_device_info) -> Result<DeviceInfo> {
    if !from.alignment.is_power_of_two() || from.alignment > 4096 {
        return Err(Error::internal(format!(
            "device_info says an alignment of {}; it is a power of two, at most 4096",
            from.alignment
        )));
    }
    Ok(DeviceInfo {
        name: text(&from.name),
        architecture: text(&from.architecture),
        driver: text(&from.driver),
        memory_bytes: from.memory_bytes,
        alignment: from.alignment,
        units: from.units,
    })
}

/// A description of weights as the header has it.
///
/// # Errors
///
/// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for an extent that a 64-bit integer does not hold.
pub fn weights_desc_to_c(desc: &WeightsDesc) -> Result<mxhal_weights_desc> {
    let mut to: mxhal_weights_desc = empty();
    to.format = desc.format as u32;
    to.activation_format = desc.activation as u32;
    to.groups = extent_to_c("groups", desc.groups)?;
    to.n = extent_to_c("n", desc.n)?;
    to.k = extent_to_c("k", desc.k)?;
    Ok(to)
}

/// The same, back.
///
/// # Errors
///
/// [`Status::Unsupported`](mxhal_core::Status::Unsupported) for an unknown format,
/// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for a negative extent.
pub fn weights_desc_from_c(from: &mxhal_weights_desc) -> Result<WeightsDesc> {
    Ok(WeightsDesc {
        format: format_from_c("format", from.format)?,
        groups: extent_from_c("groups", from.groups)?,
        n: extent_from_c("n", from.n)?,
        k: extent_from_c("k", from.k)?,
        activation: format_from_c("activation_format", from.activation_format)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::Format;

    #[test]
    fn answers_lead_back() {
        for flags in 0..32 {
            let yes = Support::Yes(properties(flags));
            assert_eq!(support_to_c(&yes).flags, flags);
            assert_eq!(support_from_c(&support_to_c(&yes)), Ok(yes));
        }
        for reason in 1..=7 {
            let no = Support::no(Reason::from_number(reason), "k is 40; this needs multiples of 64");
            assert_eq!(support_from_c(&support_to_c(&no)), Ok(no));
        }
        let neither = mxhal_answer { yes: 2, ..support_to_c(&Support::no(Reason::Other, "")) };
        assert!(support_from_c(&neither).unwrap_err().message().contains("yes = 2"));
    }

    #[test]
    fn descriptions_lead_back() {
        let plan = PlanInfo { workspace_bytes: 1 << 40, kernel: "avx512".to_owned() };
        assert_eq!(plan_info_from_c(&plan_info_to_c(&plan)), plan);
        let device = DeviceInfo {
            name: "A chip".to_owned(),
            architecture: "sm_120".to_owned(),
            driver: "1.2".to_owned(),
            memory_bytes: 1 << 35,
            alignment: 256,
            units: 188,
        };
        assert_eq!(device_info_from_c(&device_info_to_c(&device)), Ok(device.clone()));
        for alignment in [0, 3, 8192] {
            let info = device_info_to_c(&DeviceInfo { alignment, ..device.clone() });
            assert!(device_info_from_c(&info).unwrap_err().message().contains("power of two"));
        }
        let weights =
            WeightsDesc { format: Format::Mxfp4, groups: 8, n: 64, k: 96, activation: Format::Mxfp8G128 };
        assert_eq!(weights_desc_from_c(&weights_desc_to_c(&weights).unwrap()), Ok(weights));
        let negative = mxhal_weights_desc { n: -1, ..weights_desc_to_c(&weights).unwrap() };
        assert_eq!(weights_desc_from_c(&negative).unwrap_err().message(), "n is -1; it is 0 or more");
    }
}
