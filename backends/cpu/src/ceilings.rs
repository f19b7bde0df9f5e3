//! What this machine can do at most, for benchmarks to set kernels beside: bytes of memory and operations of the
//! instructions that products are made of, by as many threads as the backend's.
//!
//! A ceiling is a piece of work without dependences, done as the kernels do theirs: on the same kind of threads, in the
//! same kind of memory. Who measures takes the time of [`Ceilings::run`], which says how much was done.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use mxhal_core::Result;

use crate::isa::Isa;
use crate::kernel::Peak;
use crate::memory::Allocation;
use crate::parse_threads;
use crate::pool::{Pool, Scratch};

/// Memory that is read: more than caches hold. Half of it is copied.
const BYTES: usize = 256 << 20;

/// Bytes of a run, by turns from all of the memory, and what a thread takes of them at once. So a run is as short as one
/// of a kernel, and both are as often interrupted.
const RUN: usize = 16 << 20;
const PIECE: usize = 1 << 20;

/// What a kernel cannot be faster than.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ceiling {
    /// Reading memory: bytes.
    Read,
    /// Copying memory by `memcpy`: bytes read and bytes written.
    Copy,
    /// The instruction that products of integers are made of: operations, two for a product that is added.
    Integers,
    /// The instruction that products of floats are made of: operations, likewise.
    Floats,
}

/// Ceilings of so many threads and an instruction set.
///
/// ```
/// use mxhal_cpu::ceilings::{Ceiling, Ceilings};
///
/// let mut ceilings = Ceilings::new("1", "portable")?;
/// let start = std::time::Instant::now();
/// let operations = ceilings.run(Ceiling::Floats);
/// println!("{}: {:.1} GFLOP/s", ceilings.name(Ceiling::Floats), operations / start.elapsed().as_secs_f64() / 1e9);
/// # Ok::<_, mxhal_core::Error>(())
/// ```
pub struct Ceilings {
    pool: Pool,
    peak: Peak,
    from: Allocation,
    to: Allocation,
    /// Where the next run begins.
    next: usize,
}

impl Ceilings {
    /// Starts the threads and touches the memory: 384 MiB. The arguments are values of the backend's options `threads` and
    /// `isa`.
    ///
    /// # Errors
    ///
    /// Those of [`Cpu::new`](crate::Cpu::new), and [`Status::OutOfMemory`](mxhal_core::Status::OutOfMemory).
    pub fn new(threads: &str, isa: &str) -> Result<Self> {
        let kernels = Isa::choose(Some(isa))?;
        let (mut from, mut to) = (Allocation::new(BYTES as u64)?, Allocation::new(BYTES as u64 / 2)?);
        from.bytes_mut().fill(1);
        to.bytes_mut().fill(2);
        Ok(Self { pool: Pool::new(parse_threads(threads)?)?, peak: kernels.peak, from, to, next: 0 })
    }

    /// Does a piece of work of about half a millisecond, and gives its amount in the unit of the ceiling.
    pub fn run(&mut self, ceiling: Ceiling) -> f64 {
        match ceiling {
            Ceiling::Read => self.read(),
            Ceiling::Copy => self.copy(),
            Ceiling::Integers => self.multiply(self.peak.integers),
            Ceiling::Floats => self.multiply(self.peak.floats),
        }
    }

    /// What it is called: `read`, `copy`, or the instruction.
    pub fn name(&self, ceiling: Ceiling) -> &'static str {
        match ceiling {
            Ceiling::Read => "read",
            Ceiling::Copy => "copy",
            Ceiling::Integers => self.peak.integers_name,
            Ceiling::Floats => self.peak.floats_name,
        }
    }

    fn read(&mut self) -> f64 {
        let bytes = &self.from.bytes()[self.next..][..RUN];
        self.next = (self.next + RUN) % BYTES;
        self.pool.run(RUN / PIECE, &mut Scratch::none(), |_, piece| {
            black_box((self.peak.read)(&bytes[piece * PIECE..][..PIECE]));
        });
        RUN as f64
    }

    fn copy(&mut self) -> f64 {
        let first = self.next / 2;
        self.next = (self.next + RUN) % BYTES;
        let from = &self.from.bytes()[first..][..RUN / 2];
        let to = &mut self.to.bytes_mut()[first..][..RUN / 2];
        // Each task has one of them; the lock is how safe Rust hands it out.
        let pieces: Vec<_> = to.chunks_mut(PIECE).map(Mutex::new).collect();
        self.pool.run(pieces.len(), &mut Scratch::none(), |_, piece| {
            let mut to = pieces[piece].lock().unwrap_or_else(PoisonError::into_inner);
            to.copy_from_slice(&from[piece * PIECE..][..PIECE]);
        });
        RUN as f64
    }

    fn multiply(&self, multiply: fn() -> u64) -> f64 {
        // A task for each thread; one that finds none left is late by as long as another took for two.
        let threads = self.pool.threads();
        let done: Vec<Mutex<u64>> = (0..threads).map(|_| Mutex::new(0)).collect();
        self.pool.run(threads, &mut Scratch::none(), |_, task| {
            *done[task].lock().unwrap_or_else(PoisonError::into_inner) = multiply();
        });
        done.into_iter().map(|done| done.into_inner().unwrap_or_else(PoisonError::into_inner) as f64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn every_ceiling_of_every_instruction_set_is_work_that_takes_time() {
        for isa in Isa::available() {
            let mut ceilings = Ceilings::new("2", isa.name()).unwrap();
            for ceiling in [Ceiling::Read, Ceiling::Copy, Ceiling::Integers, Ceiling::Floats] {
                let start = Instant::now();
                let rate = ceilings.run(ceiling) / start.elapsed().as_secs_f64();
                // From the slowest of machines to a hundred times the fastest: the unit is right, and nothing was left out.
                assert!((1e8..1e14).contains(&rate), "{}: {rate}", ceilings.name(ceiling));
            }
            for _ in 0..BYTES / RUN {
                ceilings.run(Ceiling::Copy);
            }
            assert!(ceilings.to.bytes() == &ceilings.from.bytes()[..BYTES / 2]);
        }
        assert!(Ceilings::new("0", "portable").is_err());
        assert!(Ceilings::new("1", "avx1024").is_err());
    }
}
