//! Handles that a plugin gives out: boxes that know what they are.
//!
//! A handle comes back from a stranger, so each use asks whether it is one: not null, of the right kind, and made by
//! this library and not by another that has the same code. What was destroyed is marked before its memory is freed,
//! which often tells a handle that is used afterwards; it cannot tell always.

use mxhal_core::{Error, Result};

/// What a handle may hold.
pub(super) trait Kind: Sized {
    /// The opaque type of the header.
    type Raw;

    /// As messages call it.
    const NAME: &'static str;

    /// Eight letters, unlike those of any other kind.
    const TAG: [u8; 8];
}

#[repr(C)]
struct Tagged<T> {
    tag: [u8; 8],
    image: usize,
    value: T,
}

const DESTROYED: [u8; 8] = *b"mxhal/--";

/// Its address tells this library from another that was built of the same code.
static IMAGE: u8 = 0;

fn image() -> usize {
    (&raw const IMAGE).addr()
}

/// A new handle.
pub(super) fn create<T: Kind>(value: T) -> *mut T::Raw {
    Box::into_raw(Box::new(Tagged { tag: T::TAG, image: image(), value })).cast()
}

/// What a handle holds.
///
/// # Errors
///
/// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for null and for what is no handle of this kind.
///
/// # Safety
///
/// `handle` is null, or 16 bytes can be read there; if it came from [`create`], it was not destroyed, nor is it during
/// `'a`.
pub(super) unsafe fn get<'a, T: Kind>(handle: *const T::Raw) -> Result<&'a T> {
    // SAFETY: the same promise.
    let tagged = unsafe { check::<T>(handle) }?;
    // SAFETY: it carries the tag and the image, so `create` made it.
    Ok(unsafe { &(*tagged).value })
}

/// Takes back what a handle holds; `None` for null.
///
/// # Errors
///
/// As [`get`], but for null.
///
/// # Safety
///
/// As [`get`]; and nobody uses the handle afterwards.
pub(super) unsafe fn take<T: Kind>(handle: *mut T::Raw) -> Result<Option<T>> {
    if handle.is_null() {
        return Ok(None);
    }
    // SAFETY: the same promise.
    let tagged = unsafe { check::<T>(handle) }?.cast_mut();
    // SAFETY: `create` made it as a box, which is taken back once: the mark below and the caller see to that.
    let tagged = unsafe {
        (&raw mut (*tagged).tag).write_volatile(DESTROYED);
        Box::from_raw(tagged)
    };
    Ok(Some(tagged.value))
}

/// # Safety
///
/// As [`get`].
unsafe fn check<T: Kind>(handle: *const T::Raw) -> Result<*const Tagged<T>> {
    let name = T::NAME;
    if handle.is_null() {
        return Err(Error::invalid(format!("the {name} is null")));
    }
    let tagged = handle.cast::<Tagged<T>>();
    if !tagged.is_aligned() {
        return Err(Error::invalid(format!("the {name} at {handle:p} is no handle of this backend")));
    }
    // SAFETY: it is aligned, and the caller promises 16 bytes.
    let (tag, made_by) = unsafe { ((&raw const (*tagged).tag).read(), (&raw const (*tagged).image).read()) };
    match tag {
        tag if tag == T::TAG && made_by == image() => Ok(tagged),
        tag if tag == T::TAG => {
            Err(Error::invalid(format!("the {name} at {handle:p} was made by another backend")))
        }
        DESTROYED => Err(Error::invalid(format!("the {name} at {handle:p} was destroyed before"))),
        _ => Err(Error::invalid(format!("what was passed as {name} at {handle:p} is something else"))),
    }
}
