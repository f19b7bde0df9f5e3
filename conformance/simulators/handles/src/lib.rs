//! Handles: values that are never an address and never used twice, so that every misuse is recognised.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Objects of one kind, each with a handle of its own.
///
/// `SPACE` is 16 bits that differ for each driver: the upper ones of its handles. They are neither all zeros nor all ones,
/// so a handle is not an address on any machine of 64 bits.
#[derive(Debug)]
pub struct Registry<T, const SPACE: usize> {
    /// What it is called in messages.
    kind: &'static str,
    tag: usize,
    next: AtomicUsize,
    live: Mutex<BTreeMap<usize, Arc<T>>>,
}

/// Where a handle's space begins.
const SPACE_SHIFT: u32 = 48;

impl<T, const SPACE: usize> Registry<T, SPACE> {
    /// Nothing yet. In messages an object is called `kind`, as in "a stream"; `tag`, below 256, differs for each kind.
    pub const fn new(kind: &'static str, tag: usize) -> Self {
        Self { kind, tag, next: AtomicUsize::new(1), live: Mutex::new(BTreeMap::new()) }
    }

    /// Gives an object a handle.
    pub fn insert(&self, object: T) -> *mut c_void {
        self.insert_with(|_| object)
    }

    /// Makes an object that knows its own handle.
    pub fn insert_with(&self, make: impl FnOnce(usize) -> T) -> *mut c_void {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let handle = self.first() | number << 4;
        self.lock().insert(handle, Arc::new(make(handle)));
        handle as *mut c_void
    }

    /// The object of a handle.
    ///
    /// # Errors
    ///
    /// What is wrong with the handle, in words: null, of another kind, or destroyed.
    pub fn get(&self, handle: *const c_void) -> Result<Arc<T>, String> {
        self.lock().get(&(handle as usize)).cloned().ok_or_else(|| self.complaint(handle))
    }

    /// Takes the object of a handle, which stands for nothing from now on.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn remove(&self, handle: *const c_void) -> Result<Arc<T>, String> {
        self.lock().remove(&(handle as usize)).ok_or_else(|| self.complaint(handle))
    }

    /// Those that live, in the order in which they were made.
    pub fn all(&self) -> Vec<(usize, Arc<T>)> {
        self.lock().iter().map(|(handle, object)| (*handle, Arc::clone(object))).collect()
    }

    /// What all handles of this kind have in common.
    const fn first(&self) -> usize {
        SPACE << SPACE_SHIFT | self.tag << 40
    }

    fn complaint(&self, handle: *const c_void) -> String {
        let (value, kind) = (handle as usize, self.kind);
        if value == 0 {
            return format!("null instead of {kind}");
        }
        let ours = value & !0xFF_FFFF_FFFF == self.first();
        match ours && (value & 0xFF_FFFF_FFFF) >> 4 < self.next.load(Ordering::Relaxed) {
            true => format!("{kind} {value:#x} is destroyed already"),
            false => format!("{value:#x} is not {kind}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<T>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_misuse_of_a_handle_is_recognised() {
        let streams: Registry<&str, 0x0CDA> = Registry::new("a stream", 2);
        let events: Registry<&str, 0x0CDA> = Registry::new("an event", 3);
        let elsewhere: Registry<&str, 0x0ACE> = Registry::new("a stream", 2);
        let one = streams.insert("one");
        let other = streams.insert_with(|handle| if handle == one as usize { "twice" } else { "other" });
        assert_eq!((*streams.get(one).unwrap(), *streams.get(other).unwrap()), ("one", "other"));
        assert_eq!(streams.all().len(), 2);
        assert_eq!(*streams.remove(one).unwrap(), "one");
        for refused in [streams.get(one), streams.remove(one)] {
            assert!(refused.unwrap_err().ends_with("is destroyed already"));
        }
        for foreign in [events.insert("event"), elsewhere.insert("stream"), 0x7fff_1234_5670 as *mut c_void] {
            assert!(streams.get(foreign).unwrap_err().ends_with("is not a stream"));
        }
        assert_eq!(streams.get(std::ptr::null()).unwrap_err(), "null instead of a stream");
        let next = streams.insert("next");
        assert!(next != one && streams.all().len() == 2);
    }
}
