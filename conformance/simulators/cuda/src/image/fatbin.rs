//! Fatbins: a header, and one entry after the other, each for an architecture.
//!
//! The format is not documented; what is read here was seen in the files that nvcc 13.0 writes. Header: magic, version
//! (16 bits), its own bytes (16), bytes of all entries (64). Entry: kind (16; 1 PTX, 2 ELF), version (16), its own header's
//! bytes (32), bytes of its content (64), …, architecture (32, at 28), …, flags (64, at 40).

use super::{index, invalid, no_binary, number};
use crate::product::Product;
use crate::refusal::Answer;

pub(crate) const MAGIC: [u8; 4] = 0xba55_ed50_u32.to_le_bytes();

const HEADER: usize = 16;
const ELF: u64 = 2;
/// The content is compressed, in one way or the other.
const COMPRESSED: u64 = 0x2000 | 0x8000;
/// For this architecture alone (`sm_90a`), or for it and the newer ones of its family (`sm_120f`).
const SPECIFIC: u64 = 0x10_0000;
const FAMILY: u64 = 0x20_0000;

/// All bytes of a fatbin.
///
/// # Safety
///
/// `image` leads to a whole fatbin.
pub(super) unsafe fn bytes<'a>(image: *const u8) -> &'a [u8] {
    // SAFETY: the header is there, and says how much follows it.
    unsafe {
        let header = std::slice::from_raw_parts(image, HEADER);
        let own = usize::from(u16::from_le_bytes([header[6], header[7]]));
        let entries = u64::from_le_bytes(std::array::from_fn(|i| header[8 + i]));
        std::slice::from_raw_parts(image, own + usize::try_from(entries).unwrap_or(0))
    }
}

/// The ELF file for the device.
pub(super) fn choose<'a>(bytes: &'a [u8], product: &Product) -> Answer<&'a [u8]> {
    let mut present = Vec::new();
    let mut best: Option<(u64, &[u8])> = None;
    let mut at = index::<2>(bytes, 6)?;
    while at < bytes.len() {
        let (kind, own, len) =
            (number::<2>(bytes, at)?, index::<4>(bytes, at + 4)?, index::<8>(bytes, at + 8)?);
        let (architecture, flags) = (number::<4>(bytes, at + 28)?, number::<8>(bytes, at + 40)?);
        let content = at.checked_add(own).and_then(|begin| bytes.get(begin..begin.checked_add(len)?));
        let content = content.ok_or_else(|| invalid(format!("the entry at {at} goes beyond its end")))?;
        at += own + len;
        if kind != ELF {
            continue;
        }
        present.push(name(architecture, flags));
        let older = best.is_none_or(|(other, _)| other < architecture);
        if older && runs(architecture, flags, product) {
            if flags & COMPRESSED != 0 {
                let what =
                    format!("its code for sm_{architecture} is compressed; build it with --no-compress");
                return Err(invalid(what));
            }
            best = Some((architecture, content));
        }
    }
    best.map(|(_, content)| content).ok_or_else(|| no_binary(&present, product))
}

/// Whether code with these flags runs on the device.
fn runs(architecture: u64, flags: u64, product: &Product) -> bool {
    let (major, minor) = (architecture / 10, architecture % 10);
    if major != u64::from(product.major) {
        return false;
    }
    let is_exact = flags & SPECIFIC != 0 && flags & FAMILY == 0;
    if is_exact { minor == u64::from(product.minor) } else { minor <= u64::from(product.minor) }
}

fn name(architecture: u64, flags: u64) -> String {
    let suffix = match (flags & SPECIFIC != 0, flags & FAMILY != 0) {
        (_, true) => "f",
        (true, false) => "a",
        (false, false) => "",
    };
    format!("sm_{architecture}{suffix}")
}
