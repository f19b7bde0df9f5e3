//! The threads that compute, and how work is divided among them.

use std::sync::atomic::{AtomicUsize, Ordering};

use mxhal_core::{Error, Result, Status};

use crate::view::{Output, RowMut};
use crate::workers::Workers;
use crate::workspace::{Plain, Workspace, room};

/// Elements that a task should have at least: fewer cost more to hand out than to compute.
const TASK_ELEMENTS: usize = 1 << 14;

/// The backend's own threads.
pub(crate) struct Pool {
    threads: usize,
    /// Besides the caller's thread; none if that is the only one.
    workers: Option<Workers>,
}

impl Pool {
    /// Starts so many threads.
    ///
    /// # Errors
    ///
    /// [`Status::Unavailable`] when the operating system refuses.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        if threads == 1 {
            return Ok(Self { threads, workers: None });
        }
        let workers = Workers::start(threads - 1).map_err(|error| {
            Error::new(Status::Unavailable, format!("{threads} threads could not be started: {error}"))
        })?;
        Ok(Self { threads, workers: Some(workers) })
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Does tasks 0 to `tasks`, each once and in any order, and waits for them. `work` is given the scratch of the
    /// thread that it runs on, and the task.
    ///
    /// Each thread begins with a share of tasks that follow each other, so that it reads what lies in sequence in memory,
    /// and then helps the others with theirs.
    pub(crate) fn run<T: Plain>(
        &self,
        tasks: usize,
        scratch: &mut Scratch<'_, T>,
        work: impl Fn(&mut [T], usize) + Sync,
    ) {
        let Some(workers) = self.workers.as_ref().filter(|_| tasks > 1) else {
            return (0..tasks).for_each(|task| work(&mut scratch.memory[..scratch.each], task));
        };
        let shares = Shares::of(tasks, self.threads);
        let parts = Parts { start: scratch.memory.as_mut_ptr(), each: scratch.each };
        assert!(scratch.memory.len() >= self.threads * parts.each, "scratch for each of the threads");
        workers.run(&|index| {
            // SAFETY: there are as many parts as threads, and each thread runs this closure once, with its own index.
            let scratch = unsafe { parts.part(index) };
            shares.each_from(index, |task| work(scratch, task));
        });
    }

    /// Does the first `rows` rows of some outputs; `work` is given the scratch of its thread, a row's number and that
    /// row of each output. A row takes about as long as `elements` copied elements would.
    pub(crate) fn rows<T: Plain, const N: usize>(
        &self,
        rows: usize,
        elements: usize,
        outputs: [&mut Output<'_>; N],
        scratch: &mut Scratch<'_, T>,
        work: impl Fn(&mut [T], usize, [RowMut<'_>; N]) + Sync,
    ) {
        let rows_of_task = (TASK_ELEMENTS / elements.max(1)).max(1);
        // Of one output by itself, no row is written twice: tasks have different rows, and a task has each once.
        let outputs = outputs.map(|output| &*output);
        self.run(rows.div_ceil(rows_of_task), scratch, |scratch, task| {
            let first = task * rows_of_task;
            for row in first..rows.min(first + rows_of_task) {
                // SAFETY: see above.
                let parts = outputs.map(|output| unsafe { output.row_of_many(row) });
                work(scratch, row, parts);
            }
        });
    }
}

/// Tasks that follow each other, divided into as many shares as threads.
struct Shares {
    tasks: usize,
    count: usize,
    /// How many of its tasks are taken, or more.
    taken: [Taken; MOST_SHARES],
}

/// More threads than this have shares in common.
const MOST_SHARES: usize = 64;

/// In a cache line of its own.
#[repr(align(64))]
struct Taken(AtomicUsize);

impl Shares {
    fn of(tasks: usize, threads: usize) -> Self {
        let taken = [const { Taken(AtomicUsize::new(0)) }; MOST_SHARES];
        Self { tasks, count: threads.min(tasks).min(MOST_SHARES), taken }
    }

    /// Takes what is left: first of the thread's own share, then of the others'.
    fn each_from(&self, thread: usize, mut work: impl FnMut(usize)) {
        for share in (0..self.count).map(|turn| (thread + turn) % self.count) {
            let tasks = self.first(share)..self.first(share + 1);
            loop {
                let taken = self.taken[share].0.fetch_add(1, Ordering::Relaxed);
                if taken >= tasks.len() {
                    break;
                }
                work(tasks.start + taken);
            }
        }
    }

    /// The first task of a share: they differ by one task at most.
    fn first(&self, share: usize) -> usize {
        self.tasks / self.count * share + (self.tasks % self.count).min(share)
    }
}

/// Memory of which each thread has a part of its own.
pub(crate) struct Scratch<'a, T> {
    memory: &'a mut [T],
    each: usize,
}

impl Scratch<'static, u8> {
    /// For work that needs none.
    pub(crate) fn none() -> Self {
        Self { memory: &mut [], each: 0 }
    }
}

impl<'a, T: Plain> Scratch<'a, T> {
    /// What [`Self::take`] takes of a workspace.
    pub(crate) fn room(pool: &Pool, each: usize) -> u64 {
        room::<T>(pool.threads.saturating_mul(each))
    }

    /// Room for `each` on every thread.
    pub(crate) fn take(pool: &Pool, workspace: &mut Workspace<'a>, each: usize) -> Result<Self> {
        Ok(Self { memory: workspace.take(pool.threads.saturating_mul(each))?, each })
    }
}

/// The parts of a scratch, handed out by thread.
struct Parts<T> {
    start: *mut T,
    each: usize,
}

// SAFETY: the parts do not overlap, and `part` demands that nobody has one twice.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    /// # Safety
    ///
    /// The scratch has more than `index` parts, and nobody else has this one.
    #[allow(clippy::mut_from_ref, reason = "that is what the safety section is about")]
    unsafe fn part(&self, index: usize) -> &mut [T] {
        // SAFETY: the scratch outlives the work, and has this part.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(index * self.each), self.each) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxhal_core::{Format, Span};

    #[test]
    fn every_task_is_done_once_with_scratch_of_its_own() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            let bytes = Scratch::<i32>::room(&pool, 16);
            let mut memory = vec![0u8; bytes as usize + 64];
            let address = Span::of_mut(&mut memory).address.next_multiple_of(64);
            let span = Span { address, bytes };
            let mut workspace = Workspace::new(&span, bytes).unwrap();
            let mut scratch = Scratch::<i32>::take(&pool, &mut workspace, 16).unwrap();
            let done: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
            pool.run(done.len(), &mut scratch, |scratch, task| {
                scratch.fill(task as i32);
                std::thread::yield_now();
                assert!(scratch.iter().all(|value| *value == task as i32));
                done[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn shares_are_all_the_tasks_in_sequence() {
        for (tasks, threads) in [(1, 2), (5, 2), (64, 2), (7, 9), (1000, 3), (130, 200)] {
            let shares = Shares::of(tasks, threads);
            let sizes: Vec<_> =
                (0..shares.count).map(|share| shares.first(share + 1) - shares.first(share)).collect();
            assert_eq!((shares.first(0), shares.first(shares.count)), (0, tasks));
            assert!(
                sizes.iter().all(|size| *size == tasks / shares.count || *size == tasks / shares.count + 1)
            );
            let mut order = Vec::new();
            shares.each_from(threads - 1, |task| order.push(task));
            shares.each_from(0, |task| panic!("task {task} was left"));
            assert_eq!(order[0], shares.first((threads - 1) % shares.count));
            order.sort_unstable();
            assert!(order.into_iter().eq(0..tasks));
        }
    }

    #[test]
    fn every_row_is_given_once() {
        let pool = Pool::new(3).unwrap();
        for rows in [0, 1, 7, 100] {
            let mut data = vec![0u8; rows * 8];
            let mut output = Output::of(Format::I32, [rows, 2], &mut data, &mut [], &mut []);
            pool.rows(rows, 9000, [&mut output], &mut Scratch::none(), |_, row, [mut out]| {
                out.store_integers(&[row as i32, -1]);
            });
            for (row, bytes) in data.chunks(8).enumerate() {
                assert_eq!(bytes[..4], (row as i32).to_ne_bytes());
            }
        }
    }
}
