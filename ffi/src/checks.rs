//! What both sides of the ABI check of a run, beyond core's [`Signature`](mxhal_core::op::Signature).

use mxhal_core::{Error, Result, Span};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let span = |address, bytes| Span { address, bytes };
        assert_eq!(check_workspace(0, Span::NONE), Ok(()));
        assert_eq!(check_workspace(64, span(4096, 64)), Ok(()));
        assert!(check_workspace(64, span(4096, 63)).unwrap_err().message().contains("63 bytes"));
        assert!(check_workspace(64, span(0, 64)).unwrap_err().message().contains("address 0"));
    }
}
