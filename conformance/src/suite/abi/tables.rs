//! The two tables that cross when a plugin is opened, in memory of other lengths than this version's.

#![allow(unsafe_code, reason = "lays out C structs byte by byte")]

use std::ffi::c_void;
use std::ptr;

use mxhal_ffi::{HostTable, convert, sys};
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

use super::answer::{Finding, POISON, wrong};

/// A host's table as a host of another version has it.
pub(super) struct HostMemory {
    /// What the bytes point to.
    _table: HostTable,
    start: *mut c_void,
    mapped: usize,
    offset: usize,
}

impl HostMemory {
    /// `bytes` of it. Behind those that are known lies poison, and behind the last the end of the memory: who reads there
    /// ends the process.
    pub(super) fn new(table: HostTable, bytes: usize, abi_minor: u32) -> Finding<Self> {
        let page = rustix::param::page_size();
        assert!(bytes <= page && bytes.is_multiple_of(8), "a table is short, and its end aligned");
        let mapped = 2 * page;
        let io = |error: rustix::io::Errno| wrong(format!("no memory for the host's table: {error}"));
        // SAFETY: memory of nobody's, at an address that the kernel chooses; the second page of it is made inaccessible.
        let start = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            let start = mm::mmap_anonymous(ptr::null_mut(), mapped, access, MapFlags::PRIVATE).map_err(io)?;
            mm::mprotect(start.byte_add(page), page, MprotectFlags::empty()).map_err(io)?;
            start
        };
        let offset = page - bytes;
        let raw = sys::mxhal_host { struct_size: bytes as u32, abi_minor, ..*table.raw() };
        // SAFETY: the first page is writable, and the known part and the poison end within it.
        unsafe {
            let at = start.cast::<u8>().add(offset);
            at.write_bytes(POISON, bytes);
            let known = bytes.min(size_of::<sys::mxhal_host>());
            ptr::copy_nonoverlapping((&raw const raw).cast::<u8>(), at, known);
        }
        Ok(Self { _table: table, start, mapped, offset })
    }

    pub(super) fn pointer(&self) -> *const sys::mxhal_host {
        // SAFETY: within the first page.
        unsafe { self.start.byte_add(self.offset) }.cast_const().cast()
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and used by nobody after its owner.
        let _ = unsafe { mm::munmap(self.start, self.mapped) };
    }
}

/// Memory for the plugin's table, of which every byte is poison but the first four, which say how much of it there is;
/// as much poison lies behind.
pub(super) struct TableMemory {
    words: Vec<u64>,
    given: usize,
}

impl TableMemory {
    const WORD: u64 = u64::from_ne_bytes([POISON; 8]);

    pub(super) fn new(bytes: usize) -> Self {
        assert!(bytes.is_multiple_of(8) && bytes >= 8, "a table consists of words");
        let mut memory = Self { words: vec![Self::WORD; bytes / 4], given: bytes };
        // SAFETY: a word holds the four bytes.
        unsafe { memory.words.as_mut_ptr().cast::<u32>().write(bytes as u32) };
        memory
    }

    pub(super) fn pointer(&mut self) -> *mut sys::mxhal_plugin {
        self.words.as_mut_ptr().cast()
    }

    /// The first byte that was left as it was of those before `end`, in whole members.
    pub(super) fn unwritten(&self, end: usize) -> Option<usize> {
        self.words[..end / 8].iter().position(|word| *word == Self::WORD).map(|word| 8 * word)
    }

    /// The first byte from `start` on, in whole words, that was written.
    pub(super) fn written(&self, start: usize) -> Option<usize> {
        let place = |word| 8 * (start.div_ceil(8) + word);
        self.words[start.div_ceil(8)..].iter().position(|word| *word != Self::WORD).map(place)
    }

    /// How much of it there is.
    pub(super) const fn given(&self) -> usize {
        self.given
    }

    /// What the plugin says that it filled.
    pub(super) fn said(&self) -> usize {
        // SAFETY: a word holds the four bytes.
        unsafe { self.words.as_ptr().cast::<u32>().read() as usize }
    }

    /// The table as far as the plugin says that it goes; functions beyond do not exist.
    pub(super) fn table(&self) -> sys::mxhal_plugin {
        let known = self.said().min(self.given).min(size_of::<sys::mxhal_plugin>()) / 8 * 8;
        let mut table: sys::mxhal_plugin = convert::empty();
        // SAFETY: at most as much as both have; numbers and optional function pointers, of which the plugin says that it
        // wrote them, and of which those that it did not were found before.
        unsafe { ptr::copy_nonoverlapping(self.words.as_ptr().cast::<u8>(), (&raw mut table).cast(), known) };
        table
    }
}
