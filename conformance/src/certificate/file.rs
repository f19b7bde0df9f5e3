//! A certificate as a file: canonical JSON with the SHA-256 of all else in it, and a line's end.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::canonical::canonical;
use super::{Certificate, CertificateError, SCHEMA};
use crate::report::file::write_whole;
use crate::runner::hexadecimal;

const HASH: &str = "sha256";

/// Writes a certificate, whole or not at all.
///
/// # Errors
///
/// [`CertificateError::Write`].
pub fn write(certificate: &Certificate, path: &Path) -> Result<(), CertificateError> {
    let mut value =
        serde_json::to_value(certificate).expect("names are strings, and no number is infinite or NaN");
    value[HASH] = hash(&value).into();
    let text = format!("{}\n", canonical(&value));
    write_whole(path, |file| file.write_all(text.as_bytes()))
        .map_err(|source| CertificateError::Write { path: path.to_owned(), source })
}

/// Reads a certificate and sees to it that every byte is as it was written.
///
/// # Errors
///
/// [`CertificateError::Read`], [`CertificateError::NoCertificate`], and [`CertificateError::Changed`].
pub fn read(path: &Path) -> Result<Certificate, CertificateError> {
    let text = fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source })?;
    let refused = |problem: String| CertificateError::NoCertificate { path: path.to_owned(), problem };
    let mut value: Value = serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
    if value["schema"] != SCHEMA {
        return Err(refused(format!("its schema is {}", value["schema"])));
    }
    if text != format!("{}\n", canonical(&value)).as_bytes() {
        return Err(refused("it is not in canonical form, in which every byte counts".to_owned()));
    }
    let said = value.as_object_mut().and_then(|members| members.remove(HASH));
    let said = said.and_then(|said| said.as_str().map(str::to_owned)).unwrap_or_default();
    let found = hash(&value);
    if said != found {
        return Err(CertificateError::Changed { path: path.to_owned(), said, found });
    }
    serde_json::from_value(value).map_err(|error| refused(error.to_string()))
}

/// SHA-256 of a value without its hash.
fn hash(value: &Value) -> String {
    hexadecimal(&Sha256::digest(canonical(value).as_bytes()))
}
