//! CANN's errors as core's.

use mxhal_core::{Error, Status};

/// An error of CANN's, with its number as the vendor's code.
pub(crate) fn from_cann(error: mxhal_cann::Error) -> Error {
    let status = match &error {
        mxhal_cann::Error::Load(_)
        | mxhal_cann::Error::MissingFunction { .. }
        | mxhal_cann::Error::MissingOperator { .. } => Status::Unavailable,
        mxhal_cann::Error::InvalidArgument(_) => Status::InvalidArgument,
        mxhal_cann::Error::Acl(error) => status(error.code),
        _ => Status::Internal,
    };
    let advice = match status {
        Status::DeviceLost => "; nothing on the device works until it is opened anew",
        _ => "",
    };
    Error::new(status, format!("{error}{advice}")).with_vendor_code(error.code().unwrap_or(0).into())
}

/// What a number of CANN's means to the caller of core's traits. The numbers are those of `mxhal_cann::result::codes`.
fn status(code: i32) -> Status {
    match code {
        // Addresses and handles are the caller's; shapes and types were checked before.
        100_000 | 107_000..=107_003 | 107_008 | 107_016..=107_018 | 161_002 => Status::InvalidArgument,
        100_026 | 100_029 | 200_001 | 200_006 | 207_000 | 361_001 | 561_003 => Status::Unsupported,
        200_000 | 207_001 | 207_005 | 207_008 | 207_018 | 300_000 => Status::OutOfMemory,
        107_019 | 507_046 => Status::Timeout,
        // Kernels that failed or did not end, and memory that broke.
        507_010 | 507_014 | 507_015 | 507_018 | 507_034 | 507_035 | 507_053 | 507_054 => Status::DeviceLost,
        // A stub of CANN, no device, no driver or one that does not match.
        100_039 | 200_002 | 207_004 | 500_004 | 507_008 | 507_899 => Status::Unavailable,
        _ => Status::Internal,
    }
}

#[cfg(test)]
mod tests {
    use mxhal_cann::AclError;

    use super::*;

    #[test]
    fn errors_carry_the_number_the_name_and_what_cann_said() {
        let error = AclError::new("aclrtSynchronizeStream", 507_015, Some("lane 3 read past the end".into()));
        let error = from_cann(error.into());
        assert_eq!((error.status(), error.vendor_code()), (Status::DeviceLost, 507_015));
        assert!(error.message().contains("aclrtSynchronizeStream"), "{error}");
        assert!(error.message().contains("lane 3 read past the end"), "{error}");
        assert!(error.message().contains("opened anew"), "{error}");
    }

    #[test]
    fn each_kind_of_failure_has_its_status() {
        for (code, wanted) in [
            (207_001, Status::OutOfMemory),
            (507_046, Status::Timeout),
            (507_014, Status::DeviceLost),
            (161_002, Status::InvalidArgument),
            (361_001, Status::Unsupported),
            (207_004, Status::Unavailable),
            (561_002, Status::Internal),
            (500_000, Status::Internal),
        ] {
            assert_eq!(status(code), wanted, "{code}");
        }
    }
}
