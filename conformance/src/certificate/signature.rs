//! Keys and detached signatures: Ed25519 (RFC 8032), each in a file of one line.
//!
//! | file | holds |
//! | --- | --- |
//! | `KEY` | `mxhal-secret-key ed25519`, and the secret in hexadecimal; readable by its owner alone |
//! | `KEY.pub` | `mxhal-public-key ed25519`, and the public key |
//! | `CERTIFICATE.sig` | `mxhal-signature ed25519`, the public key, and the signature of the certificate's bytes |
//!
//! What is signed is [`SCHEMA`] and a line's end before the bytes of the file, so that a signature is of nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::{CertificateError, SCHEMA};
use crate::report::file::write_whole;
use crate::runner::hexadecimal;

const SECRET: &str = "mxhal-secret-key ed25519";
const PUBLIC: &str = "mxhal-public-key ed25519";
const SIGNATURE: &str = "mxhal-signature ed25519";

/// A key that signs.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes a new one and writes it to `path`, and its public half to `path` with `.pub`; neither may be there. Gives
    /// the latter's path.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Write`], and [`CertificateError::Read`] where the system gives no random bytes.
    pub fn create(path: &Path) -> Result<PathBuf, CertificateError> {
        let mut secret = [0; 32];
        let random = Path::new("/dev/urandom");
        File::open(random)
            .and_then(|mut file| file.read_exact(&mut secret))
            .map_err(|source| CertificateError::Read { path: random.to_owned(), source })?;
        let key = SigningKey::from_bytes(&secret);
        let public = beside(path, ".pub");
        write_new(path, 0o600, &format!("{SECRET} {}\n", hexadecimal(&secret)))?;
        write_new(&public, 0o644, &format!("{PUBLIC} {}\n", hexadecimal(key.verifying_key().as_bytes())))?;
        Ok(public)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Read`], and [`CertificateError::Key`] for a file that holds none or that others may read.
    pub fn read(path: &Path) -> Result<Self, CertificateError> {
        let refused = |problem: String| CertificateError::Key { path: path.to_owned(), problem };
        let read_error = |source| CertificateError::Read { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(read_error)?.mode();
        if mode & 0o077 != 0 {
            return Err(refused(format!(
                "others may read this key (mode {:o}); chmod 600 it",
                mode & 0o7777
            )));
        }
        let text = fs::read_to_string(path).map_err(read_error)?;
        let [secret] = numbers(&text, SECRET).ok_or_else(|| refused(format!("it holds no `{SECRET}`")))?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// Signs a certificate's file; the signature lies beside it, in the file that is given back.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Read`] and [`CertificateError::Write`].
    pub fn sign(&self, certificate: &Path) -> Result<PathBuf, CertificateError> {
        let signature = self.0.sign(&message(certificate)?).to_bytes();
        let public = self.0.verifying_key();
        let text = format!("{SIGNATURE} {} {}\n", hexadecimal(public.as_bytes()), hexadecimal(&signature));
        let path = beside(certificate, ".sig");
        write_whole(&path, |file| file.write_all(text.as_bytes()))
            .map_err(|source| CertificateError::Write { path: path.clone(), source })?;
        Ok(path)
    }
}

/// A key that signatures are held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Read`] and [`CertificateError::Key`].
    pub fn read(path: &Path) -> Result<Self, CertificateError> {
        let text = fs::read_to_string(path)
            .map_err(|source| CertificateError::Read { path: path.to_owned(), source })?;
        let key = numbers(&text, PUBLIC).and_then(|[key]| VerifyingKey::from_bytes(&key).ok());
        let problem = format!("it holds no `{PUBLIC}`");
        key.map(Self).ok_or_else(|| CertificateError::Key { path: path.to_owned(), problem })
    }

    /// In hexadecimal.
    pub fn name(&self) -> String {
        hexadecimal(self.0.as_bytes())
    }
}

/// Who signed a certificate's file; `None` where no signature lies beside it.
///
/// # Errors
///
/// [`CertificateError::Read`], and [`CertificateError::Signature`] for one that is none, or of other bytes.
pub fn signer(certificate: &Path) -> Result<Option<PublicKey>, CertificateError> {
    let path = beside(certificate, ".sig");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => String::new(),
        Err(source) => return Err(CertificateError::Read { path, source }),
    };
    let refused =
        |problem: &str| CertificateError::Signature { path: path.clone(), problem: problem.to_owned() };
    let none = || refused("it holds no signature, or was changed");
    let [key, first, last] = numbers(&text, SIGNATURE).ok_or_else(none)?;
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&first);
    bytes[32..].copy_from_slice(&last);
    let key = VerifyingKey::from_bytes(&key).map_err(|_| none())?;
    key.verify_strict(&message(certificate)?, &Signature::from_bytes(&bytes)).map_err(|_| {
        refused(
            "the signature is not of this certificate: one of the two was changed, or signed by another key",
        )
    })?;
    Ok(Some(PublicKey(key)))
}

fn message(certificate: &Path) -> Result<Vec<u8>, CertificateError> {
    let bytes = fs::read(certificate)
        .map_err(|source| CertificateError::Read { path: certificate.to_owned(), source })?;
    Ok([format!("{SCHEMA}\n").as_bytes(), &bytes].concat())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), CertificateError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .map_err(|source| CertificateError::Write { path: path.to_owned(), source })
}

/// The 32-byte numbers of a line that begins with `head`, the last two of which may be written as one. A line that says
/// the same in another way is none.
fn numbers<const N: usize>(text: &str, head: &str) -> Option<[[u8; 32]; N]> {
    let digits: String = text.strip_prefix(head)?.strip_suffix('\n')?.split(' ').collect();
    if digits.len() != N * 64 || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut numbers = [[0; 32]; N];
    for (byte, pair) in numbers.as_flattened_mut().iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).expect("they are digits");
        *byte = u8::from_str_radix(pair, 16).expect("they are hexadecimal");
    }
    let words: Vec<String> = match N {
        1 => vec![hexadecimal(&numbers[0])],
        _ => vec![hexadecimal(&numbers[0]), hexadecimal(numbers[1..].as_flattened())],
    };
    (format!("{head} {}\n", words.join(" ")) == text).then_some(numbers)
}
