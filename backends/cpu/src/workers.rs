//! Threads that do one piece of work together with the thread that asks for it, and then wait for the next.
//!
//! A layer for one token is a handful of steps of a few microseconds each, so handing one out must cost less than one,
//! and must not allocate. Threads that wait watch a counter for some time before they sleep.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::{io, num::NonZero};

/// How often the counter is looked at before sleeping: some tens of microseconds.
const LOOKS: usize = 2000;

/// What a thread does, given its number.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// Threads 1 to so many; 0 is the one that asks.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    /// Held by the one thread that may hand out work.
    turn: Mutex<()>,
}

struct Shared {
    /// Pieces of work handed out so far.
    handed_out: AtomicUsize,
    /// Threads that have not finished the last one.
    busy: AtomicUsize,
    /// The last one; none for the end.
    work: UnsafeCell<Option<*const Work<'static>>>,
    has_panicked: AtomicBool,
    looks: usize,
    sleep: Mutex<()>,
    handed_out_changed: Condvar,
    busy_changed: Condvar,
}

// SAFETY: the cell is written only while no thread is busy, before the counter that has them look at it changes.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in it is to something that is `Sync`.
unsafe impl Send for Shared {}

impl Workers {
    /// Starts so many threads.
    ///
    /// # Errors
    ///
    /// What the operating system says; those that were started are stopped.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        // Where there are not enough processors for all, looking takes one from those that work.
        let enough = thread::available_parallelism().map_or(1, NonZero::get) > count;
        let shared = Arc::new(Shared {
            handed_out: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            has_panicked: AtomicBool::new(false),
            looks: if enough { LOOKS } else { 0 },
            sleep: Mutex::new(()),
            handed_out_changed: Condvar::new(),
            busy_changed: Condvar::new(),
        });
        let mut workers = Self { shared, handles: Vec::with_capacity(count), turn: Mutex::new(()) };
        for index in 1..=count {
            let shared = Arc::clone(&workers.shared);
            let thread = thread::Builder::new().name(format!("mxhal-cpu-{index}"));
            workers.handles.push(thread.spawn(move || shared.serve(index))?);
        }
        Ok(workers)
    }

    /// Has each thread, and this one, do `work` once, and waits for all. One caller at a time is served.
    ///
    /// # Panics
    ///
    /// If any of them does, after all have finished.
    pub(crate) fn run(&self, work: &Work<'_>) {
        let turn = lock(&self.turn);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes, and nobody uses it after `wait`, which comes before this function ends.
        let erased = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        shared.hand_out(Some(erased), self.handles.len());
        let own = panic::catch_unwind(AssertUnwindSafe(|| work(0)));
        shared.wait();
        let has_panicked = shared.has_panicked.swap(false, Ordering::Relaxed);
        drop(turn);
        if let Err(payload) = own {
            panic::resume_unwind(payload);
        }
        assert!(!has_panicked, "a thread of the CPU backend panicked; its message is on standard error");
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.hand_out(None, 0);
        for handle in self.handles.drain(..) {
            // It catches what it runs.
            let _: Result<(), Box<dyn Any + Send>> = handle.join();
        }
    }
}

impl Shared {
    fn hand_out(&self, work: Option<*const Work<'static>>, threads: usize) {
        // SAFETY: no thread is busy, so none looks at it.
        unsafe { *self.work.get() = work };
        self.busy.store(threads, Ordering::Relaxed);
        self.handed_out.fetch_add(1, Ordering::Release);
        // Whoever has found the counter unchanged holds the lock until it sleeps.
        drop(lock(&self.sleep));
        self.handed_out_changed.notify_all();
    }

    /// Until no thread is busy.
    fn wait(&self) {
        self.until(&self.busy_changed, || self.busy.load(Ordering::Acquire) == 0);
    }

    /// What a thread does all its life.
    fn serve(&self, index: usize) {
        for done in 0.. {
            self.until(&self.handed_out_changed, || self.handed_out.load(Ordering::Acquire) != done);
            // SAFETY: it was written before the counter changed, and is not again before this thread is done with it.
            let Some(work) = (unsafe { *self.work.get() }) else { return };
            // SAFETY: whoever handed it out waits for this thread before it lets go of it.
            let work = unsafe { &*work };
            if panic::catch_unwind(AssertUnwindSafe(|| work(index))).is_err() {
                self.has_panicked.store(true, Ordering::Relaxed);
            }
            if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
                drop(lock(&self.sleep));
                self.busy_changed.notify_all();
            }
        }
    }

    fn until(&self, changed: &Condvar, is_so: impl Fn() -> bool) {
        for _ in 0..self.looks {
            if is_so() {
                return;
            }
            hint::spin_loop();
        }
        let mut sleep = lock(&self.sleep);
        while !is_so() {
            sleep = changed.wait(sleep).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What the locks protect is nothing that a panic leaves half done.
fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_works_once_for_each_of_many_callers() {
        for count in [1, 3, 9] {
            let workers = Workers::start(count).unwrap();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for turn in 0..300 {
                            let seen: Vec<AtomicUsize> = (0..=count).map(|_| AtomicUsize::new(0)).collect();
                            workers.run(&|index| {
                                if turn % 100 == index {
                                    thread::yield_now();
                                }
                                seen[index].fetch_add(1, Ordering::Relaxed);
                            });
                            assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 1));
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_threads_go_on() {
        let workers = Workers::start(2).unwrap();
        for guilty in 0..3 {
            let run = || workers.run(&|index| assert!(index != guilty, "as it should"));
            assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
            let count = AtomicUsize::new(0);
            workers.run(&|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 3);
        }
    }
}
