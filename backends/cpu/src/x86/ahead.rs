//! A panel that is read once, from memory, and what is fetched ahead of it.

use std::arch::x86_64::*;

use crate::panel::Kind;

/// How many bytes ahead weights are fetched. The processor's own prefetching is enough for one row; more of them fill
/// its window with the work on a block or two.
const AHEAD: usize = 8192;

/// A panel for few rows.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub(super) start: *const u8,
    pub(super) blocks: usize,
    /// Its bytes.
    pub(super) bytes: usize,
    /// The panel after it.
    pub(super) next: *const u8,
}

impl Panel {
    /// Fetches what lies ahead of a quarter of a block, and with the first of a group ahead of its scales.
    ///
    /// Each line is fetched once: what is ahead of codes may be scales, and the other way round.
    #[inline(always)]
    pub(super) fn fetch_ahead(&self, kind: Kind, block: usize, quarter: usize) {
        let [group, _, codes] = kind.places(block);
        let ahead = match group + AHEAD < self.bytes {
            true => self.start.wrapping_add(group + AHEAD),
            false => self.next.wrapping_add(group + AHEAD - self.bytes),
        };
        if quarter == 0 && block.is_multiple_of(kind.group()) {
            fetch(ahead, kind.scales_bytes());
        }
        let bytes = kind.block_bytes() / 4;
        fetch(ahead.wrapping_add(codes + bytes * quarter), bytes);
    }
}

/// Fetches so many bytes, whole lines, from anywhere.
#[inline(always)]
fn fetch(start: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: every processor of x86-64 has it, and it does nothing where there is no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line).cast()) };
    }
}
