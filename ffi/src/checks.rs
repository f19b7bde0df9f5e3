//! What both sides of the ABI check of a run, beyond core's [`Op::check`](mxhal_core::Op::check).

use mxhal_core::{Error, Result, Span, WeightsDesc};

/// As many prepared weights as the operator takes, each of the description that it wants in that place.
pub(crate) fn check_weights<'a>(
    wanted: &[WeightsDesc],
    given: impl ExactSizeIterator<Item = &'a WeightsDesc>,
) -> Result<()> {
    if wanted.len() != given.len() {
        return Err(Error::invalid(format!(
            "{} prepared weights were passed, and it takes {}",
            given.len(),
            wanted.len()
        )));
    }
    for (place, (wanted, given)) in wanted.iter().zip(given).enumerate() {
        if wanted != given {
            return Err(Error::invalid(format!(
                "weights {place} were prepared as {}, and it takes {}",
                in_words(given),
                in_words(wanted)
            )));
        }
    }
    Ok(())
}

/// A workspace that is large enough, and not null where some is wanted.
pub(crate) fn check_workspace(wanted: u64, workspace: Span) -> Result<()> {
    if workspace.bytes < wanted {
        return Err(Error::invalid(format!(
            "the workspace has {} bytes, and the plan wants {wanted}",
            workspace.bytes
        )));
    }
    if workspace.address == 0 && wanted > 0 {
        return Err(Error::invalid(format!(
            "the workspace is at address 0, and the plan wants {wanted} bytes"
        )));
    }
    Ok(())
}

fn in_words(desc: &WeightsDesc) -> String {
    let WeightsDesc { format, groups, n, k, activation } = desc;
    format!("{format}[{groups}, {n}, {k}] for {activation} activations")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::Format;

    #[test]
    fn what_does_not_fit_is_named() {
        let wanted = WeightsDesc { format: Format::Mxfp4, groups: 1, n: 64, k: 32, activation: Format::Bf16 };
        let given = WeightsDesc { n: 128, ..wanted };
        assert_eq!(check_weights(&[wanted], [&wanted].into_iter()), Ok(()));
        assert_eq!(
            check_weights(&[wanted], [&given].into_iter()).unwrap_err().message(),
            "weights 0 were prepared as mxfp4[1, 128, 32] for bf16 activations, \
             and it takes mxfp4[1, 64, 32] for bf16 activations"
        );
        assert!(check_weights(&[wanted], [].into_iter()).unwrap_err().message().contains("takes 1"));

        let span = |address, bytes| Span { address, bytes };
        assert_eq!(check_workspace(0, Span::NONE), Ok(()));
        assert_eq!(check_workspace(64, span(4096, 64)), Ok(()));
        assert!(check_workspace(64, span(4096, 63)).unwrap_err().message().contains("63 bytes"));
        assert!(check_workspace(64, span(0, 64)).unwrap_err().message().contains("address 0"));
    }
}
