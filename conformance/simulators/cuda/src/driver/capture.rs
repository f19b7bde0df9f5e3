//! Stream capture, and the graphs that come of it.
//!
//! A graph keeps which work must follow which. A launch does its work in an order drawn anew among those that this leaves
//! open, so that a dependency that was forgotten shows.

use core::ffi::{c_char, c_int, c_void};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};

use super::context::{current, expect_current};
use super::stream::{STREAMS, Stream, Work, execute, stream_of};
use crate::refusal::{Answer, Refusal, code, cu, give};
use crate::registry::Registry;
use crate::settings::settings;

pub(crate) static GRAPHS: Registry<Graph> = Registry::new("a graph", 6);
pub(crate) static EXECUTABLES: Registry<Executable> = Registry::new("an executable graph", 7);

/// `CU_STREAM_CAPTURE_MODE_GLOBAL`, `…_THREAD_LOCAL` and `…_RELAXED`.
const GLOBAL: c_int = 0;
const THREAD_LOCAL: c_int = 1;
const RELAXED: c_int = 2;

#[derive(Clone)]
struct Node {
    name: &'static str,
    work: Work,
    /// Numbers of the nodes that come before it.
    after: Vec<usize>,
}

/// What was captured.
pub(crate) struct Graph {
    context: usize,
    nodes: Vec<Node>,
}

/// A graph that can be launched.
pub(crate) struct Executable {
    context: usize,
    nodes: Arc<Vec<Node>>,
    /// Launches of one graph come one after the other.
    running: Arc<Mutex<()>>,
}

/// A capture under way.
struct Capture {
    origin: usize,
    mode: c_int,
    thread: ThreadId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    /// Handles of the streams that take part.
    streams: Vec<usize>,
    /// Somebody did what is not allowed.
    is_invalid: bool,
    is_over: bool,
}

/// A stream's part in a capture: its next work comes after these nodes.
pub(crate) struct Participant {
    capture: Arc<Capture>,
    frontier: Vec<usize>,
}

/// A place in a capture, which an event keeps.
#[derive(Clone)]
pub(crate) struct Mark {
    capture: Arc<Capture>,
    frontier: Vec<usize>,
}

static CAPTURES: Mutex<Vec<Weak<Capture>>> = Mutex::new(Vec::new());

fn captures() -> Vec<Arc<Capture>> {
    let mut captures = CAPTURES.lock().unwrap_or_else(PoisonError::into_inner);
    captures.retain(|capture| capture.strong_count() > 0);
    captures.iter().filter_map(Weak::upgrade).collect()
}

/// That no capture forbids a call which is not of a stream.
pub(crate) fn expect_none(function: &str) -> Answer {
    for capture in captures() {
        let mut state = capture.lock();
        let applies = match capture.mode {
            GLOBAL => true,
            THREAD_LOCAL => capture.thread == thread::current().id(),
            _ => false,
        };
        if applies && !state.is_over {
            state.is_invalid = true;
            let what = format!("{function} while a stream captures, and its mode forbids that");
            return Err(Refusal::new(code::STREAM_CAPTURE_UNSUPPORTED, what));
        }
    }
    Ok(())
}

impl Capture {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Participant {
    /// Adds work after what the stream had.
    pub(crate) fn append(&mut self, name: &'static str, work: Work) -> Answer {
        let mut state = self.capture.lock();
        if state.is_invalid {
            let what = "the capture is invalid since an earlier call";
            return Err(Refusal::new(code::STREAM_CAPTURE_INVALIDATED, what));
        }
        let number = state.nodes.len();
        state.nodes.push(Node { name, work, after: mem::replace(&mut self.frontier, vec![number]) });
        Ok(())
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { capture: Arc::clone(&self.capture), frontier: self.frontier.clone() }
    }

    /// Refuses what a stream that captures does not do.
    pub(crate) fn forbid(&mut self, function: &str) -> Refusal {
        self.capture.lock().is_invalid = true;
        Refusal::new(code::STREAM_CAPTURE_UNSUPPORTED, format!("{function} of a stream that captures"))
    }

    /// Refuses to depend on what is not captured.
    pub(crate) fn isolate(&mut self, function: &str) -> Refusal {
        self.capture.lock().is_invalid = true;
        let what = format!("{function}: the event was recorded outside of the capture");
        Refusal::new(code::STREAM_CAPTURE_ISOLATION, what)
    }
}

impl Mark {
    /// Lets a stream's next work come after this place; it takes part from now on.
    pub(crate) fn join(self, stream: &Stream) -> Answer {
        let mut participant = stream.capture();
        if let Some(participant) = participant.as_mut() {
            if !Arc::ptr_eq(&participant.capture, &self.capture) {
                let what = "the event was recorded in another capture";
                return Err(Refusal::new(code::STREAM_CAPTURE_MERGE, what));
            }
            participant.frontier.extend(self.frontier);
            participant.frontier.sort_unstable();
            participant.frontier.dedup();
            return Ok(());
        }
        let mut state = self.capture.lock();
        if state.is_over {
            let what = "the event was last recorded in a capture that has ended";
            return Err(Refusal::new(code::CAPTURED_EVENT, what));
        }
        state.streams.push(stream.handle);
        drop(state);
        *participant = Some(Participant { capture: self.capture, frontier: self.frontier });
        Ok(())
    }
}

fn begin(stream: &Stream, mode: c_int) -> Answer {
    if !(GLOBAL..=RELAXED).contains(&mode) {
        return Err(Refusal::invalid(format!("mode is {mode}, expected 0 to 2")));
    }
    let mut participant = stream.capture();
    if participant.is_some() {
        return Err(Refusal::new(code::STREAM_CAPTURE_UNSUPPORTED, "the stream captures already"));
    }
    let state = State { streams: vec![stream.handle], ..State::default() };
    let thread = thread::current().id();
    let capture = Arc::new(Capture { origin: stream.handle, mode, thread, state: Mutex::new(state) });
    CAPTURES.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&capture));
    *participant = Some(Participant { capture, frontier: Vec::new() });
    Ok(())
}

/// Ends a capture on all its streams; the graph, if it is whole.
fn end(stream: &Stream) -> Answer<Graph> {
    let capture = stream.capture().as_ref().map(|participant| Arc::clone(&participant.capture));
    let capture = capture
        .filter(|capture| capture.origin == stream.handle)
        .ok_or_else(|| Refusal::new(code::STREAM_CAPTURE_UNMATCHED, "the stream did not begin a capture"))?;
    let (nodes, streams, is_invalid) = {
        let mut state = capture.lock();
        state.is_over = true;
        (mem::take(&mut state.nodes), mem::take(&mut state.streams), state.is_invalid)
    };
    let mut joined = Vec::new();
    let mut others = Vec::new();
    for handle in streams {
        let Ok(member) = STREAMS.get(handle as *const c_void) else { continue };
        let Some(participant) = member.capture().take() else { continue };
        if handle == stream.handle {
            joined = participant.frontier;
        } else {
            others.extend(participant.frontier);
        }
    }
    if is_invalid {
        let what = "something happened during the capture that is not allowed";
        return Err(Refusal::new(code::STREAM_CAPTURE_INVALIDATED, what));
    }
    let mut before = vec![false; nodes.len()];
    while let Some(node) = joined.pop() {
        if !mem::replace(&mut before[node], true) {
            joined.extend(&nodes[node].after);
        }
    }
    if let Some(loose) = others.into_iter().find(|node| !before[*node]) {
        let what = format!("{} of another stream was not joined by an event", nodes[loose].name);
        return Err(Refusal::new(code::STREAM_CAPTURE_UNJOINED, what));
    }
    Ok(Graph { context: stream.context, nodes })
}

/// Does the work of a graph, in an order that `random` chooses.
fn launch(nodes: &[Node], mut random: u64) -> Answer {
    let mut waiting: Vec<usize> = (0..nodes.len()).collect();
    let mut is_done = vec![false; nodes.len()];
    while !waiting.is_empty() {
        let ready: Vec<usize> = (0..waiting.len())
            .filter(|place| nodes[waiting[*place]].after.iter().all(|before| is_done[*before]))
            .collect();
        // xorshift64.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Nodes come after earlier ones only, so that one is always ready.
        let node = waiting.remove(ready[random as usize % ready.len()]);
        execute(nodes[node].name, &nodes[node].work)?;
        is_done[node] = true;
    }
    Ok(())
}

fn graph_of(handle: *mut c_void) -> Answer<Arc<Graph>> {
    let graph = GRAPHS.get(handle);
    graph.map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("hGraph is {what}")))
}

fn instantiate(executable: *mut *mut c_void, graph: *mut c_void) -> Answer {
    current()?;
    let graph = graph_of(graph)?;
    let (context, nodes) = (graph.context, Arc::new(graph.nodes.clone()));
    let made = Executable { context, nodes, running: Arc::default() };
    give(executable, "phGraphExec", EXECUTABLES.insert(made))
}

cu! {
    fn cuStreamBeginCapture_v2(stream: *mut c_void, mode: c_int) {
        if matches!(stream as usize, 0 | 1) {
            let what = "the legacy stream cannot be captured";
            return Err(Refusal::new(code::STREAM_CAPTURE_UNSUPPORTED, what));
        }
        begin(&*stream_of(stream)?, mode)
    }

    fn cuStreamEndCapture(stream: *mut c_void, graph: *mut *mut c_void) {
        let stream = stream_of(stream)?;
        give(graph, "phGraph", std::ptr::null_mut())?;
        give(graph, "phGraph", GRAPHS.insert(end(&stream)?))
    }

    /// 0 none, 1 active, 2 invalidated.
    fn cuStreamIsCapturing(stream: *mut c_void, status: *mut c_int) {
        let stream = stream_of(stream)?;
        let value = match stream.capture().as_ref() {
            None => 0,
            Some(participant) if participant.capture.lock().is_invalid => 2,
            Some(_) => 1,
        };
        give(status, "captureStatus", value)
    }

    fn cuGraphInstantiateWithFlags(executable: *mut *mut c_void, graph: *mut c_void, flags: u64) {
        if flags != 0 {
            return Err(Refusal::new(code::NOT_SUPPORTED, format!("flags is {flags}, only 0 is simulated")));
        }
        instantiate(executable, graph)
    }

    fn cuGraphInstantiate_v2(executable: *mut *mut c_void, graph: *mut c_void, node: *mut *mut c_void, _log: *mut c_char, _bytes: usize) {
        if !node.is_null() {
            give(node, "phErrorNode", std::ptr::null_mut())?;
        }
        instantiate(executable, graph)
    }

    /// Gives the number of nodes; what they are is not simulated.
    fn cuGraphGetNodes(graph: *mut c_void, nodes: *mut *mut c_void, count: *mut usize) {
        let graph = graph_of(graph)?;
        if !nodes.is_null() {
            return Err(Refusal::new(code::NOT_SUPPORTED, "nodes are not simulated, only their number"));
        }
        give(count, "numNodes", graph.nodes.len())
    }

    fn cuGraphUpload(executable: *mut c_void, stream: *mut c_void) {
        stream_of(stream)?;
        let found = EXECUTABLES.get(executable).map(|_| ());
        found.map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("hGraphExec is {what}")))
    }

    fn cuGraphLaunch(executable: *mut c_void, stream: *mut c_void) {
        let stream = stream_of(stream)?;
        let executable = EXECUTABLES
            .get(executable)
            .map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("hGraphExec is {what}")))?;
        expect_current(executable.context, "hGraphExec")?;
        static LAUNCHES: AtomicU64 = AtomicU64::new(1);
        let number = LAUNCHES.fetch_add(1, Ordering::Relaxed).wrapping_add(settings()?.seed);
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        stream.enqueue("cuGraphLaunch", move || {
            let _one = executable.running.lock().unwrap_or_else(PoisonError::into_inner);
            launch(&executable.nodes, random)
        })
    }

    fn cuGraphDestroy(graph: *mut c_void) {
        let removed = GRAPHS.remove(graph).map(|_| ());
        removed.map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("hGraph is {what}")))
    }

    /// A launch that is under way ends as it would.
    fn cuGraphExecDestroy(executable: *mut c_void) {
        let removed = EXECUTABLES.remove(executable).map(|_| ());
        removed.map_err(|what| Refusal::new(code::INVALID_HANDLE, format!("hGraphExec is {what}")))
    }
}

/// Takes down the graphs of a context; gives a description of each.
pub(crate) fn take_all(context: usize) -> Vec<String> {
    let mut left = Vec::new();
    for (handle, _) in GRAPHS.all().into_iter().filter(|(_, graph)| graph.context == context) {
        let _ = GRAPHS.remove(handle as *const c_void);
        left.push(format!("graph {handle:#x}"));
    }
    for (handle, _) in EXECUTABLES.all().into_iter().filter(|(_, graph)| graph.context == context) {
        let _ = EXECUTABLES.remove(handle as *const c_void);
        left.push(format!("executable graph {handle:#x}"));
    }
    left
}
