//! The constant data by which a plugin says who it is, before any of its code runs.

use std::ffi::c_char;

use crate::layout;
use crate::sys::{self, mxhal_plugin_identity};

/// The name under which a plugin exports its identity.
pub const IDENTITY_SYMBOL: &str = "mxhal_identity";

/// The name under which a plugin exports the function that opens it.
pub const OPEN_SYMBOL: &str = "mxhal_plugin_open";

/// The first eight bytes of every identity: `MXHAL_IDENTITY_MAGIC`.
pub const MAGIC: u64 = 0x314c_4148_5f58_4d00;

/// The size of an identity of version 1.0; none is smaller.
const LEAST_SIZE: usize = size_of::<mxhal_plugin_identity>();

/// What an identity says, in Rust's types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The major version of the ABI that it was built for.
    pub abi_major: u32,
    /// It runs on hosts of at least this minor version.
    pub abi_minor_least: u32,
    /// The minor version of the header that it was built with.
    pub abi_minor_built: u32,
    /// [`layout::HASH`] of that header.
    pub layout_hash: u64,
    /// `MXHAL_SANITIZER_*`.
    pub sanitizer: u32,
    /// `MXHAL_PLUGIN_*`.
    pub flags: u32,
    /// As in `config.toml`.
    pub name: String,
    /// Who made it.
    pub vendor: String,
    /// Its own version.
    pub version: String,
}

/// Why bytes are no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There are fewer bytes than the smallest identity has.
    #[error("it has {0} bytes, and an identity has at least {LEAST_SIZE}")]
    Short(usize),
    /// It begins with something else.
    #[error("it begins with {0:#018x} and not with the magic {MAGIC:#018x}")]
    Magic(u64),
    /// Its `struct_size` is less than the smallest there is, or more than there are bytes.
    #[error(
        "its struct_size is {said}; it is at least {LEAST_SIZE} and at most the {bytes} bytes of the symbol"
    )]
    Size {
        /// What it says.
        said: u32,
        /// How many bytes there are.
        bytes: usize,
    },
    /// A text does not end, or is not UTF-8.
    #[error("its {field} is not UTF-8 that ends in a zero byte")]
    Text {
        /// Which.
        field: &'static str,
    },
    /// The name is not one that `config.toml` can use.
    #[error("its name is {0:?}; a name is lower-case letters, digits, `-` and `_`, and at least one of them")]
    Name(String),
}

impl Identity {
    /// Reads the bytes of the symbol [`IDENTITY_SYMBOL`], in this machine's byte order.
    ///
    /// # Errors
    ///
    /// Every [`IdentityError`]. Versions, hash and sanitizer are read and not judged: that is the loader's.
    pub fn parse(bytes: &[u8]) -> Result<Self, IdentityError> {
        use std::mem::offset_of;

        if bytes.len() < LEAST_SIZE {
            return Err(IdentityError::Short(bytes.len()));
        }
        let number = |offset: usize| u32::from_ne_bytes(array(bytes, offset));
        let wide = |offset: usize| u64::from_ne_bytes(array(bytes, offset));
        let magic = wide(offset_of!(mxhal_plugin_identity, magic));
        if magic != MAGIC {
            return Err(IdentityError::Magic(magic));
        }
        let said = number(offset_of!(mxhal_plugin_identity, struct_size));
        if (said as usize) < LEAST_SIZE || said as usize > bytes.len() {
            return Err(IdentityError::Size { said, bytes: bytes.len() });
        }
        let identity = Self {
            abi_major: number(offset_of!(mxhal_plugin_identity, abi_major)),
            abi_minor_least: number(offset_of!(mxhal_plugin_identity, abi_minor_least)),
            abi_minor_built: number(offset_of!(mxhal_plugin_identity, abi_minor_built)),
            layout_hash: wide(offset_of!(mxhal_plugin_identity, layout_hash)),
            sanitizer: number(offset_of!(mxhal_plugin_identity, sanitizer)),
            flags: number(offset_of!(mxhal_plugin_identity, flags)),
            name: text(bytes, offset_of!(mxhal_plugin_identity, name), 32, "name")?,
            vendor: text(bytes, offset_of!(mxhal_plugin_identity, vendor), 64, "vendor")?,
            version: text(bytes, offset_of!(mxhal_plugin_identity, version), 32, "version")?,
        };
        if !is_name(identity.name.as_bytes()) {
            return Err(IdentityError::Name(identity.name));
        }
        Ok(identity)
    }

    /// Reads an identity in memory, which may be of a later version and longer.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn of_data(data: &mxhal_plugin_identity) -> Result<Self, IdentityError> {
        let known = mxhal_plugin_identity { struct_size: data.struct_size.min(LEAST_SIZE as u32), ..*data };
        Self::parse(bytes_of(&known))
    }

    /// Whether the library may be unmapped after its shutdown.
    pub const fn may_unload(&self) -> bool {
        self.flags & sys::MXHAL_PLUGIN_MAY_UNLOAD != 0
    }
}

/// An identity for this version of the ABI, as a constant. What does not fit stops the compiler.
///
/// The sanitizer is said to be none: that a Rust crate is built with one cannot be known in stable Rust.
pub const fn of(name: &str, vendor: &str, version: &str, may_unload: bool) -> mxhal_plugin_identity {
    assert!(is_name(name.as_bytes()), "a backend's name is lower-case letters, digits, '-' and '_'");
    mxhal_plugin_identity {
        magic: MAGIC,
        struct_size: LEAST_SIZE as u32,
        abi_major: sys::MXHAL_ABI_MAJOR,
        abi_minor_least: sys::MXHAL_ABI_MINOR,
        abi_minor_built: sys::MXHAL_ABI_MINOR,
        layout_hash: layout::HASH,
        sanitizer: sys::MXHAL_SANITIZER_NONE,
        flags: if may_unload { sys::MXHAL_PLUGIN_MAY_UNLOAD } else { 0 },
        name: chars(name),
        vendor: chars(vendor),
        version: chars(version),
    }
}

/// The bytes of an identity, as they lie in memory.
fn bytes_of(identity: &mxhal_plugin_identity) -> &[u8] {
    // SAFETY: the struct is plain data without padding (its fields' sizes sum up to its own, asserted below), so all
    // of its bytes are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(identity).cast(), LEAST_SIZE) }
}

const _: () = assert!(LEAST_SIZE == 8 + 4 * 4 + 8 + 2 * 4 + 32 + 64 + 32);

/// Whether it is lower-case letters, digits, `-` and `_`, and at least one of them.
const fn is_name(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !matches!(name[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') {
            return false;
        }
        at += 1;
    }
    !name.is_empty()
}

const fn chars<const N: usize>(text: &str) -> [c_char; N] {
    let text = text.as_bytes();
    assert!(text.len() < N, "a backend's name and version have at most 31 bytes, its vendor 63");
    let mut chars = [0; N];
    let mut at = 0;
    while at < text.len() {
        assert!(text[at] != 0, "a backend's name, vendor and version have no zero bytes");
        chars[at] = text[at] as c_char;
        at += 1;
    }
    chars
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    *bytes[offset..].first_chunk().expect("the caller has checked that a whole identity is there")
}

fn text(bytes: &[u8], offset: usize, size: usize, field: &'static str) -> Result<String, IdentityError> {
    let bytes = &bytes[offset..offset + size];
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(IdentityError::Text { field })?;
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| IdentityError::Text { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: mxhal_plugin_identity = of("my_chip-2", "Zażółć", "1.2", true);

    #[test]
    fn what_is_written_can_be_read() {
        let identity = Identity::parse(bytes_of(&EXAMPLE)).unwrap();
        assert_eq!((&*identity.name, &*identity.vendor, &*identity.version), ("my_chip-2", "Zażółć", "1.2"));
        assert_eq!(identity.layout_hash, layout::HASH);
        assert!(identity.may_unload());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = bytes_of(&EXAMPLE);
        let changed = |at: usize, to: &[u8]| {
            let mut bytes = good.to_vec();
            bytes[at..at + to.len()].copy_from_slice(to);
            Identity::parse(&bytes).unwrap_err()
        };
        assert_eq!(Identity::parse(&good[..100]), Err(IdentityError::Short(100)));
        assert_eq!(changed(0, &[0; 8]), IdentityError::Magic(0));
        assert_eq!(changed(8, &8_u32.to_ne_bytes()), IdentityError::Size { said: 8, bytes: LEAST_SIZE });
        assert_eq!(changed(8, &999_u32.to_ne_bytes()), IdentityError::Size { said: 999, bytes: LEAST_SIZE });
        assert_eq!(changed(40, b"Cpu\0"), IdentityError::Name("Cpu".to_owned()));
        assert_eq!(changed(40, b"\0"), IdentityError::Name(String::new()));
        assert_eq!(changed(40, &[b'a'; 32]), IdentityError::Text { field: "name" });
        assert_eq!(changed(72, &[0xff]), IdentityError::Text { field: "vendor" });
    }
}
