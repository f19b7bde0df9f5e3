//! Between core's values and the structs of the header, in both directions.
//!
//! The rules of the header that hold for every struct are carried out here, once: a struct is read up to the smaller
//! of both sides' sizes (R1), an unknown kind, format or enum value is refused with the value (R8), and a text that
//! does not fit is cut between characters.

mod answer;
mod op;
mod tensor;

pub use answer::{
    device_info_from_c, device_info_to_c, plan_info_from_c, plan_info_to_c, support_from_c, support_to_c,
    weights_desc_from_c, weights_desc_to_c,
};
pub use op::{RawOp, op_from_c};
pub use tensor::{host_tensor_from_c, host_tensor_to_c, tensor_from_c, tensor_to_c};

use std::ffi::c_char;
use std::fmt;
use std::mem::offset_of;
use std::time::Duration;

use mxhal_core::{Error, Format, Result, Status};

use crate::sys::{
    MXHAL_OK, mxhal_answer, mxhal_device_info, mxhal_error, mxhal_host, mxhal_plan_info, mxhal_plugin,
    mxhal_tensor, mxhal_weights_desc, mxhal_weights_info,
};

/// A struct of the header that begins with `struct_size` and holds numbers, texts and addresses only, so that any bytes
/// are a value of it.
///
/// # Safety
///
/// The type is `repr(C)`, its first field is `struct_size: u32`, every bit pattern is valid, and `TEXTS` lists the
/// offset and length of each of its `char` arrays.
pub unsafe trait Growing: Copy {
    /// What it is called in the header.
    const NAME: &'static str;

    /// Offset and bytes of its texts.
    const TEXTS: &'static [(usize, usize)];
}

macro_rules! growing {
    ($($name:ident { $($text:ident: $bytes:literal),* })*) => {
        // SAFETY: bindgen made these types from the header, where each begins with struct_size; numbers, char arrays,
        // addresses and optional function pointers are valid for all bytes that a C compiler can put there.
        $(unsafe impl Growing for $name {
            const NAME: &'static str = stringify!($name);
            const TEXTS: &'static [(usize, usize)] = &[$((offset_of!($name, $text), $bytes)),*];
        })*
    };
}

growing! {
    mxhal_error { message: 496 }
    mxhal_tensor {}
    mxhal_answer { text: 240 }
    mxhal_plan_info { kernel: 64 }
    mxhal_device_info { name: 96, architecture: 32, driver: 64 }
    mxhal_weights_desc {}
    mxhal_weights_info {}
    mxhal_host {}
    mxhal_plugin {}
}

/// A struct of zeroes that knows its size: what a caller hands out to be filled.
pub fn empty<T: Growing>() -> T {
    // SAFETY: `Growing` promises that any bytes are a value, and that the size is the first field.
    unsafe {
        let mut value: T = std::mem::zeroed();
        (&raw mut value).cast::<u32>().write(size_of::<T>() as u32);
        value
    }
}

/// Reads a struct that the other side owns.
///
/// # Errors
///
/// [`Status::InvalidArgument`] for null, and for a struct that is smaller than the header's first version of it.
///
/// # Safety
///
/// `from` is null, or points to at least as many readable bytes as its first four say, and at least four.
pub unsafe fn read<T: Growing>(what: &str, from: *const T) -> Result<T> {
    // SAFETY: the caller promises that the first four bytes can be read where it is not null.
    let Some(size) = (unsafe { struct_size(from) }) else { return Err(null(what)) };
    // There is one version of each struct so far, and this is its size.
    if size < size_of::<T>() {
        return Err(Error::invalid(format!(
            "struct_size of {what} is {size}, and {} has at least {} bytes; set it to sizeof({})",
            T::NAME,
            size_of::<T>(),
            T::NAME
        )));
    }
    // SAFETY: as many bytes can be read, and any bytes are a value.
    Ok(unsafe { from.read_unaligned() })
}

/// Writes a struct that the other side owns, as far as that side's struct goes; `struct_size` stays as it is.
///
/// # Errors
///
/// [`Status::InvalidArgument`] for null, and for a `struct_size` that does not even hold itself.
///
/// # Safety
///
/// `to` is null, or points to at least as many writable bytes as its first four say, and at least four.
pub unsafe fn write<T: Growing>(what: &str, to: *mut T, value: &T) -> Result<()> {
    // SAFETY: the caller promises that the first four bytes can be read where it is not null.
    let Some(size) = (unsafe { struct_size(to) }) else { return Err(null(what)) };
    let head = size_of::<u32>();
    if size < head {
        return Err(Error::invalid(format!(
            "struct_size of {what} is {size}; set it to sizeof({})",
            T::NAME
        )));
    }
    let bytes = size.min(size_of::<T>());
    let from = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: `bytes` is at most what the other side has and at most what the value has; the two do not overlap,
    // because one is the caller's and the other a reference of ours.
    unsafe {
        let to = to.cast::<u8>();
        std::ptr::copy_nonoverlapping(from.add(head), to.add(head), bytes - head);
        // A text that the other side's end cuts ends there.
        for &(offset, length) in T::TEXTS {
            if (offset + 1..offset + length).contains(&bytes) {
                let text = std::slice::from_raw_parts(from.add(offset), bytes - offset);
                let end = text_end(text, bytes - offset - 1);
                to.add(offset + end).write(0);
            }
        }
    }
    Ok(())
}

/// Size of the struct at an address, as it says itself; `None` for null.
///
/// # Safety
///
/// `at` is null, or four bytes can be read there.
unsafe fn struct_size<T>(at: *const T) -> Option<usize> {
    if at.is_null() {
        return None;
    }
    // SAFETY: not null, so the caller promises four bytes.
    Some(unsafe { at.cast::<u32>().read_unaligned() } as usize)
}

/// The error for an argument that is null and may not be.
pub fn null(what: &str) -> Error {
    Error::invalid(format!("{what} is null"))
}

/// What a function returns, and what it leaves in the caller's error, which may be null.
///
/// # Safety
///
/// As [`write()`], for `error`.
pub unsafe fn give(result: Result<()>, error: *mut mxhal_error) -> i32 {
    let Err(failure) = result else { return MXHAL_OK as i32 };
    // SAFETY: the same promise.
    // An error that is null or too short is not wanted; the status is returned all the same.
    let _ = unsafe { write("error", error, &error_to_c(&failure)) };
    failure.status() as i32
}

/// An error as the header has it; a message that is too long is cut.
pub fn error_to_c(error: &Error) -> mxhal_error {
    let mut value: mxhal_error = empty();
    value.status = error.status() as i32;
    value.vendor_code = error.vendor_code();
    set_text(&mut value.message, error.message());
    value
}

/// What a function of a plugin returned. `error` is what it was handed, and `function` its name in the header.
///
/// # Errors
///
/// The plugin's own, in its words; [`Status::Internal`] with the number for a status that the header does not have.
pub fn taken(function: &str, status: i32, error: &mxhal_error) -> Result<()> {
    if status == MXHAL_OK as i32 {
        return Ok(());
    }
    let said = text(&error.message);
    let Some(known) = Status::from_number(status) else {
        return Err(Error::internal(format!(
            "{function} returned the status {status}, which mxhal.h does not have{}{said}",
            if said.is_empty() { "" } else { ", and said: " }
        ))
        .with_vendor_code(error.vendor_code));
    };
    let message = if said.is_empty() { format!("{function} failed without a message") } else { said };
    Err(Error::new(known, message).with_vendor_code(error.vendor_code))
}

/// The text in a `char` array: up to its first zero byte, or its end; bytes that are not UTF-8 are replaced.
pub fn text(from: &[c_char]) -> String {
    let bytes: Vec<u8> = from.iter().map(|c| c.cast_unsigned_byte()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Puts a text and a zero byte into a `char` array, cut between characters where it is too long. A zero byte within
/// ends it.
pub fn set_text(to: &mut [c_char], text: &str) {
    let room = to.len().saturating_sub(1);
    let text = text.split('\0').next().unwrap_or_default().as_bytes();
    let end = text_end(text, room);
    to.fill(0);
    for (to, byte) in to.iter_mut().zip(&text[..end]) {
        *to = *byte as c_char;
    }
}

/// The most bytes, at most `room`, after which UTF-8 may be cut.
fn text_end(text: &[u8], room: usize) -> usize {
    if text.len() <= room {
        return text.len();
    }
    (0..=room).rev().find(|end| text[*end] & 0xc0 != 0x80).unwrap_or(0)
}

/// `char` is signed on some platforms and not on others.
trait Byte {
    fn cast_unsigned_byte(self) -> u8;
}

impl Byte for i8 {
    fn cast_unsigned_byte(self) -> u8 {
        self.cast_unsigned()
    }
}

impl Byte for u8 {
    fn cast_unsigned_byte(self) -> u8 {
        self
    }
}

/// A timeout in nanoseconds; `UINT64_MAX` is for ever, and what is longer than fits is almost that.
pub fn timeout_to_c(timeout: Option<Duration>) -> u64 {
    timeout.map_or(u64::MAX, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX - 1))
}

/// The same, back.
pub const fn timeout_from_c(nanoseconds: u64) -> Option<Duration> {
    match nanoseconds {
        u64::MAX => None,
        finite => Some(Duration::from_nanos(finite)),
    }
}

/// An address as a pointer that is only handed on.
pub fn pointer<T>(address: u64) -> *mut T {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

/// A pointer as an address.
pub fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

fn format_from_c(what: &str, number: u32) -> Result<Format> {
    Format::from_number(number).ok_or_else(|| {
        Error::unsupported(format!("{what} is {number}, which is no format that is known here"))
    })
}

/// `what` is only written out where the extent is wrong: runs allocate nothing.
fn extent_from_c(what: impl fmt::Display, extent: i64) -> Result<usize> {
    usize::try_from(extent).map_err(|_| Error::invalid(format!("{what} is {extent}; it is 0 or more")))
}

fn extent_to_c(what: &str, extent: usize) -> Result<i64> {
    i64::try_from(extent)
        .map_err(|_| Error::invalid(format!("{what} is {extent}; it is at most {}", i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        let mut room = [1; 6];
        for (given, kept) in
            [("Zürich", "Züri"), ("abcdef", "abcde"), ("abcdé", "abcd"), ("a\0b", "a"), ("", "")]
        {
            set_text(&mut room, given);
            assert_eq!(text(&room), kept);
        }
        assert_eq!(
            text(&[b'a' as c_char; 3]),
            "aaa",
            "a text without an end is read to the end of its array"
        );
        assert_eq!(text(&[-1_i8 as c_char, 0]), "\u{fffd}");
    }

    #[test]
    fn an_error_goes_as_far_as_the_other_side_has_room() {
        let failure = Error::unsupported("größer").with_vendor_code(-7);
        // Sizes end where fields do, or within the text.
        for size in [0, 4, 8].into_iter().chain(16..=size_of::<mxhal_error>()) {
            let mut error: mxhal_error = empty();
            error.struct_size = size as u32;
            error.message.fill(b'#' as c_char);
            // SAFETY: there are as many bytes, and more.
            let status = unsafe { give(Err(failure.clone()), &raw mut error) };
            assert_eq!(status, Status::Unsupported as i32);
            assert_eq!(error.struct_size, size as u32);
            assert_eq!(error.status, if size >= 8 { status } else { 0 });
            assert_eq!(error.vendor_code, if size >= 16 { -7 } else { 0 });
            let untouched = b'#' as c_char;
            assert!(error.message[size.saturating_sub(16)..].iter().all(|c| *c == untouched), "{size}");
            if size > 16 {
                let said = text(&error.message[..size - 16]);
                assert!("größer".starts_with(&said), "{size}: {said}");
                assert!(said.len() + 3 > (size - 17).min(8), "{size}: {said}");
            }
        }
    }

    #[test]
    fn what_a_plugin_returns_is_never_guessed_at() {
        let mut error: mxhal_error = empty();
        assert_eq!(taken("fill", 0, &error), Ok(()));
        assert_eq!(taken("fill", 6, &error).unwrap_err().status(), Status::DeviceLost);
        assert_eq!(taken("fill", 6, &error).unwrap_err().message(), "fill failed without a message");
        set_text(&mut error.message, "on fire");
        error.vendor_code = 3;
        let unknown = taken("fill", 77, &error).unwrap_err();
        assert_eq!((unknown.status(), unknown.vendor_code()), (Status::Internal, 3));
        assert_eq!(
            unknown.message(),
            "fill returned the status 77, which mxhal.h does not have, and said: on fire"
        );
    }

    #[test]
    fn timeouts_lead_back() {
        for timeout in [None, Some(Duration::ZERO), Some(Duration::from_nanos(u64::MAX - 1))] {
            assert_eq!(timeout_from_c(timeout_to_c(timeout)), timeout);
        }
        assert_eq!(timeout_to_c(Some(Duration::MAX)), u64::MAX - 1);
    }
}
