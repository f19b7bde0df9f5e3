//! Streams: a queue and a thread each, which waits a random moment before each piece of work.
//!
//! The stream that null stands for (the legacy one) begins a piece of work when all blocking streams have done what they
//! had before it, and they begin theirs when it has.

use core::ffi::{c_int, c_void};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::capture::Participant;
use super::context::{CONTEXTS, Context, current, expect_current};
use super::pool;
use crate::demand;
use crate::refusal::{Answer, Refusal, code, cu, give, note};
use crate::registry::Registry;
use crate::settings::settings;

pub(crate) static STREAMS: Registry<Stream> = Registry::new("a stream", 2);

/// What a stream does when its turn comes; a graph does it again.
pub(crate) type Work = Arc<dyn Fn() -> Answer + Send + Sync>;

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;
/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`.
const LEGACY: usize = 1;
const PER_THREAD: usize = 2;

/// A stream of a context.
pub(crate) struct Stream {
    pub(crate) handle: usize,
    pub(crate) context: usize,
    flags: u32,
    is_legacy: bool,
    shared: Arc<Shared>,
    /// While work is captured instead of done.
    pub(crate) capture: Mutex<Option<Participant>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Piece>,
    /// Pieces that were ever asked for, and those that are over.
    asked: u64,
    done: u64,
    stopping: bool,
}

struct Piece {
    name: &'static str,
    work: Work,
    /// Done also when the context is lost: nobody waits for ever.
    always: bool,
    after: Vec<(Arc<Shared>, u64)>,
}

impl Stream {
    /// Appends work, or puts it into the graph that is captured; `name` is that of the function that asked for it.
    pub(crate) fn enqueue(
        &self,
        name: &'static str,
        work: impl Fn() -> Answer + Send + Sync + 'static,
    ) -> Answer {
        let work: Work = Arc::new(work);
        if let Some(participant) = self.capture().as_mut() {
            return participant.append(name, work);
        }
        self.push(name, work, false)
    }

    /// As [`enqueue`](Self::enqueue), never captured, and done even if the context is lost before.
    pub(crate) fn enqueue_always(
        &self,
        name: &'static str,
        work: impl Fn() -> Answer + Send + Sync + 'static,
    ) -> Answer {
        self.push(name, Arc::new(work), true)
    }

    fn push(&self, name: &'static str, work: Work, always: bool) -> Answer {
        let after = self.earlier_work();
        let mut state = self.shared.lock();
        state.asked += 1;
        state.queue.push_back(Piece { name, work, always, after });
        self.shared.changed.notify_all();
        Ok(())
    }

    /// What the legacy stream waits for, or what waits for it.
    fn earlier_work(&self) -> Vec<(Arc<Shared>, u64)> {
        if !self.is_legacy && self.flags & NON_BLOCKING != 0 {
            return Vec::new();
        }
        let others = STREAMS.all().into_iter().map(|(_, other)| other);
        let others = others.filter(|other| other.context == self.context && other.handle != self.handle);
        others
            .filter(|other| if self.is_legacy { other.flags & NON_BLOCKING == 0 } else { other.is_legacy })
            .map(|other| (Arc::clone(&other.shared), other.shared.lock().asked))
            .collect()
    }

    /// Waits until all that was asked for is over.
    pub(crate) fn synchronise(&self) {
        let asked = self.shared.lock().asked;
        self.shared.wait_for(asked);
    }

    pub(crate) fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.done == state.asked
    }

    pub(crate) fn capture(&self) -> MutexGuard<'_, Option<Participant>> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread, after its work.
    pub(crate) fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        self.synchronise();
    }

    fn expect_no_capture(&self, function: &str) -> Answer {
        match self.capture().as_mut() {
            None => Ok(()),
            Some(participant) => Err(participant.forbid(function)),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, done: u64) {
        let waiting = self.changed.wait_while(self.lock(), |state| state.done < done);
        drop(waiting);
    }

    fn work(&self, context: &Context, delay: u64, mut random: u64) {
        loop {
            let mut state = self.lock();
            let piece = loop {
                match state.queue.pop_front() {
                    Some(piece) => break piece,
                    None if state.stopping => return,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            for (other, done) in &piece.after {
                other.wait_for(*done);
            }
            // xorshift64.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if delay != 0 {
                thread::sleep(Duration::from_micros(random % (delay + 1)));
            }
            if piece.always || !context.is_lost() {
                let outcome = if piece.always { (piece.work)() } else { execute(piece.name, &piece.work) };
                if let Err(fault) = outcome {
                    note(piece.name, &fault);
                    context.lose(fault);
                }
            }
            drop(piece);
            self.lock().done += 1;
            self.changed.notify_all();
        }
    }
}

/// One piece of work, with the failures and stalls that are asked for.
pub(crate) fn execute(name: &str, work: &Work) -> Answer {
    if let Some((_, milliseconds)) = demand::value_of("stall") {
        thread::sleep(Duration::from_millis(milliseconds));
    }
    demand::failure_of("kernel")?;
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work())).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        Err(Refusal::new(code::LAUNCH_FAILED, format!("{name}: {what}")))
    })
}

/// The stream of a handle, or the context's legacy stream for null, if it may be used on this thread.
pub(crate) fn stream_of(handle: *mut c_void) -> Answer<Arc<Stream>> {
    let context = current()?;
    let handle = match handle as usize {
        0 | LEGACY => legacy(&context)?,
        PER_THREAD => {
            let what = "streams of a thread's own are not simulated";
            return Err(Refusal::new(code::NOT_SUPPORTED, what));
        }
        handle => handle,
    };
    let stream = find(handle as *mut c_void)?;
    expect_current(stream.context, "stream")?;
    Ok(stream)
}

fn legacy(context: &Context) -> Answer<usize> {
    let mut default = context.default_stream.lock().unwrap_or_else(PoisonError::into_inner);
    if *default == 0 {
        *default = create(context.handle, 0, true)?;
    }
    Ok(*default)
}

fn find(handle: *mut c_void) -> Answer<Arc<Stream>> {
    STREAMS.get(handle).map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("stream is {what}")))
}

fn create(context: usize, flags: u32, is_legacy: bool) -> Answer<usize> {
    let settings = settings()?;
    let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
    let handle = STREAMS.insert_with(|handle| Stream {
        handle,
        context,
        flags,
        is_legacy,
        shared: Arc::clone(&shared),
        capture: Mutex::default(),
    }) as usize;
    let context = CONTEXTS.get(context as *const c_void).expect("the caller found it");
    // Streams of one process differ from each other, and are the same in the next run.
    let seed = settings.seed.wrapping_add((handle as u64) << 7).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let delay = settings.delay;
    thread::Builder::new()
        .name("simulated stream".to_owned())
        .spawn(move || shared.work(&context, delay, seed))
        .map_err(|error| Refusal::new(code::OUT_OF_MEMORY, format!("a stream's thread: {error}")))?;
    Ok(handle)
}

/// The streams of a context.
pub(crate) fn streams_of(context: &Context) -> Vec<Arc<Stream>> {
    let all = STREAMS.all().into_iter().map(|(_, stream)| stream);
    all.filter(|stream| stream.context == context.handle).collect()
}

/// Waits for all work of a context.
pub(crate) fn synchronise_all(context: &Context) {
    for stream in streams_of(context) {
        stream.synchronise();
    }
    pool::settle();
}

/// That no stream of the context captures.
pub(crate) fn expect_no_capture(context: &Context, function: &str) -> Answer {
    streams_of(context).iter().try_for_each(|stream| stream.expect_no_capture(function))
}

cu! {
    fn cuStreamCreate(stream: *mut *mut c_void, flags: u32) {
        let context = current()?;
        if flags > NON_BLOCKING {
            return Err(Refusal::invalid(format!("Flags is {flags}, expected 0 or 1")));
        }
        give(stream, "phStream", create(context.handle, flags, false)? as *mut c_void)
    }

    fn cuStreamCreateWithPriority(stream: *mut *mut c_void, flags: u32, _priority: c_int) {
        let context = current()?;
        if flags > NON_BLOCKING {
            return Err(Refusal::invalid(format!("flags is {flags}, expected 0 or 1")));
        }
        give(stream, "phStream", create(context.handle, flags, false)? as *mut c_void)
    }

    /// Returns at once; the stream is gone when its work is done. Here it is waited for, which nobody can tell.
    fn cuStreamDestroy_v2(stream: *mut c_void) {
        let found = find(stream)?;
        expect_current(found.context, "stream")?;
        if found.is_legacy {
            return Err(Refusal::new(code::INVALID_HANDLE, "the legacy stream is not destroyed"));
        }
        drop(found.capture().take());
        let _ = STREAMS.remove(stream);
        found.stop();
        Ok(())
    }

    fn cuStreamSynchronize(stream: *mut c_void) {
        let stream = stream_of(stream)?;
        stream.expect_no_capture("cuStreamSynchronize")?;
        stream.synchronise();
        pool::settle();
        expect_current(stream.context, "stream").map(|_| ())
    }

    fn cuStreamQuery(stream: *mut c_void) {
        let stream = stream_of(stream)?;
        stream.expect_no_capture("cuStreamQuery")?;
        match stream.is_idle() {
            true => expect_current(stream.context, "stream").map(|_| ()),
            false => Err(Refusal::new(code::NOT_READY, "work is under way")),
        }
    }

    /// The context that it was made in.
    fn cuStreamGetCtx(stream: *mut c_void, context: *mut *mut c_void) {
        give(context, "pctx", stream_of(stream)?.context as *mut c_void)
    }

    fn cuStreamGetFlags(stream: *mut c_void, flags: *mut u32) {
        give(flags, "flags", stream_of(stream)?.flags)
    }

    /// The function is called on the stream's thread.
    fn cuLaunchHostFunc(stream: *mut c_void, function: Option<unsafe extern "C" fn(*mut c_void)>, data: *mut c_void) {
        let stream = stream_of(stream)?;
        let function = function.ok_or_else(|| Refusal::invalid("fn is null"))?;
        let data = data as usize;
        stream.enqueue("cuLaunchHostFunc", move || {
            // SAFETY: the caller's own function with the caller's own argument, as asked.
            unsafe { function(data as *mut c_void) };
            Ok(())
        })
    }
}
