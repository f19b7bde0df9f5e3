//! Handles: values that are never an address and never used twice, so that every misuse is recognised.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a handle stands for.
pub(crate) struct Registry<T> {
    /// What it is called in messages.
    kind: &'static str,
    tag: usize,
    next: AtomicUsize,
    live: Mutex<BTreeMap<usize, Arc<T>>>,
}

/// Not an address on any machine of 64 bits: the upper half is neither all zeros nor all ones.
const NO_ADDRESS: usize = 0x0CDA_0000_0000_0000;

impl<T> Registry<T> {
    /// `tag` differs for each kind.
    pub(crate) const fn new(kind: &'static str, tag: usize) -> Self {
        Self { kind, tag, next: AtomicUsize::new(1), live: Mutex::new(BTreeMap::new()) }
    }

    pub(crate) fn insert(&self, object: T) -> *mut c_void {
        self.insert_with(|_| object)
    }

    /// Makes an object that knows its own handle.
    pub(crate) fn insert_with(&self, make: impl FnOnce(usize) -> T) -> *mut c_void {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let handle = NO_ADDRESS | self.tag << 40 | number << 4;
        self.lock().insert(handle, Arc::new(make(handle)));
        handle as *mut c_void
    }

    /// The object, or what is wrong with the handle.
    pub(crate) fn get(&self, handle: *const c_void) -> Result<Arc<T>, String> {
        self.lock().get(&(handle as usize)).cloned().ok_or_else(|| self.complaint(handle))
    }

    pub(crate) fn remove(&self, handle: *const c_void) -> Result<Arc<T>, String> {
        self.lock().remove(&(handle as usize)).ok_or_else(|| self.complaint(handle))
    }

    /// Those that live, in the order in which they were made.
    pub(crate) fn all(&self) -> Vec<(usize, Arc<T>)> {
        self.lock().iter().map(|(handle, object)| (*handle, Arc::clone(object))).collect()
    }

    fn complaint(&self, handle: *const c_void) -> String {
        let (value, kind) = (handle as usize, self.kind);
        if value == 0 {
            return format!("null instead of {kind}");
        }
        let ours = value & !0xFF_FFFF_FFFF == NO_ADDRESS | self.tag << 40;
        match ours && (value & 0xFF_FFFF_FFFF) >> 4 < self.next.load(Ordering::Relaxed) {
            true => format!("{kind} {value:#x} is destroyed already"),
            false => format!("{value:#x} is not {kind}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<T>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
