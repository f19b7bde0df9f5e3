//! What `cuModuleLoadData` is given: a fatbin, or the ELF file of one architecture.

mod elf;
mod fatbin;

pub(crate) use elf::Function;

use crate::product::Product;
use crate::refusal::{Answer, Refusal, code};

/// What an image holds for the device.
#[derive(Debug)]
pub(crate) enum Image {
    /// Compiled kernels.
    Compiled(Vec<Function>),
    /// Nothing: it stands for what nvcc would have made, and every kernel that is emulated is there.
    StandIn,
}

/// Reads an image.
///
/// # Errors
///
/// `NO_BINARY_FOR_GPU` with the architectures that are there; `INVALID_IMAGE`.
///
/// # Safety
///
/// `image` leads to as many bytes as its own header says.
pub(crate) unsafe fn read(image: *const u8, product: &Product) -> Answer<Image> {
    // SAFETY: every image has four bytes.
    let magic: [u8; 4] = unsafe { image.cast::<[u8; 4]>().read_unaligned() };
    if magic == fatbin::MAGIC {
        // SAFETY: a fatbin, as the caller promises.
        let bytes = unsafe { fatbin::bytes(image) };
        return elf::functions(fatbin::choose(bytes, product)?).map(Image::Compiled);
    }
    if magic == *b"\x7fELF" {
        // SAFETY: an ELF file, as the caller promises.
        let bytes = unsafe { elf::bytes(image) }?;
        let architecture = elf::architecture(bytes)?;
        if architecture != product.major * 10 + product.minor {
            return Err(no_binary(&[format!("sm_{architecture}")], product));
        }
        return if elf::is_stand_in(bytes) {
            Ok(Image::StandIn)
        } else {
            elf::functions(bytes).map(Image::Compiled)
        };
    }
    Err(invalid(format!("it begins with {magic:02x?}, expected a fatbin or an ELF file")))
}

fn invalid(what: String) -> Refusal {
    Refusal::new(code::INVALID_IMAGE, format!("image: {what}"))
}

fn no_binary(present: &[String], product: &Product) -> Refusal {
    let what = format!("image: it has code for {}, not for {}", present.join(", "), product.architecture);
    Refusal::new(code::NO_BINARY_FOR_GPU, what)
}

/// A little-endian number at an offset.
fn number<const BYTES: usize>(bytes: &[u8], offset: usize) -> Answer<u64> {
    let end = offset.checked_add(BYTES).filter(|end| *end <= bytes.len());
    let end =
        end.ok_or_else(|| invalid(format!("it ends at {} bytes, before offset {offset}", bytes.len())))?;
    Ok(bytes[offset..end].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// As [`number`], as an index.
fn index<const BYTES: usize>(bytes: &[u8], offset: usize) -> Answer<usize> {
    let value = number::<BYTES>(bytes, offset)?;
    usize::try_from(value).map_err(|_| invalid(format!("{value} at offset {offset} is no size")))
}
