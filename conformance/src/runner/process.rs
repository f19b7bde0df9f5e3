//! A worker as its parent sees it: a child process that answers, dies or hangs.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::protocol::{Order, Reply};

/// How long a wait for an answer goes on before the child is looked at: one that died may have left its socket open
/// in a process of its own.
const GLANCE: Duration = Duration::from_millis(100);

/// What is kept of what a worker writes to stdout and stderr.
const OUTPUT_KEPT: usize = 16 << 10;

/// The program that is run as a worker: any that calls [`worker::main`](crate::worker::main).
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables that it has beside those of this process: where a simulator is, say.
    pub environment: Vec<(OsString, OsString)>,
}

impl WorkerCommand {
    /// This executable with the argument `conform-worker`, as the `mxhal` binary has it.
    ///
    /// # Errors
    ///
    /// Those of [`std::env::current_exe`].
    pub fn current() -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: vec!["conform-worker".into()],
            environment: Vec::new(),
        })
    }
}

/// A worker process. Dropped, it is killed with its whole process group.
pub(super) struct Worker {
    child: Child,
    socket: UnixStream,
    received: Vec<u8>,
    output: Arc<Mutex<Output>>,
    reaped: bool,
}

/// Why no answer came.
#[derive(Debug)]
pub(super) enum Gone {
    /// The process ended, or said something that is no answer; how, in words.
    Died(String),
    /// It was killed after the time it had.
    Hung,
}

/// What a worker wrote.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    open: usize,
}

impl Worker {
    pub(super) fn spawn(command: &WorkerCommand) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .envs(command.environment.iter().map(|(name, value)| (name, value)))
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let output = Arc::new(Mutex::new(Output { bytes: Vec::new(), open: 2 }));
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        for pipe in pipes.into_iter().flatten() {
            let output = Arc::clone(&output);
            thread::spawn(move || collect(pipe, &output));
        }
        Ok(Self { child, socket, received: Vec::new(), output, reaped: false })
    }

    /// Sends an order and waits for its answer, at most until `limit` has passed.
    pub(super) fn ask(&mut self, order: &Order, limit: Duration) -> Result<Reply, Gone> {
        let mut line = serde_json::to_vec(order)
            .map_err(|error| Gone::Died(format!("an order could not be written down: {error}")))?;
        line.push(b'\n');
        // A worker that died cannot be written to; how it died is found while waiting for its answer.
        let _ = self.socket.write_all(&line);
        let answer = self.receive(Instant::now() + limit)?;
        serde_json::from_slice(&answer).map_err(|error| {
            self.kill();
            let text = String::from_utf8_lossy(&answer);
            Gone::Died(format!(
                "the worker answered `{}`: {error}",
                text.chars().take(200).collect::<String>()
            ))
        })
    }

    /// Waits for the process to end by itself.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<(), Gone> {
        let deadline = Instant::now() + limit;
        match self.exited(deadline) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Gone::Died(describe(status))),
            None => {
                self.kill();
                Err(Gone::Hung)
            }
        }
    }

    /// What it wrote to stdout and stderr so far, as text; all of it once the process has ended.
    pub(super) fn output(&self) -> String {
        // Its end of the pipes closes with it; a process of its own may keep them, and is not waited for.
        let deadline = Instant::now() + GLANCE;
        loop {
            let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            if output.open == 0 || !self.reaped || Instant::now() >= deadline {
                return String::from_utf8_lossy(&output.bytes).into_owned();
            }
            drop(output);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next line, without its end.
    fn receive(&mut self, deadline: Instant) -> Result<Vec<u8>, Gone> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let rest = self.received.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.received, rest);
                line.pop();
                return Ok(line);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.kill();
                return Err(Gone::Hung);
            }
            let wait = left.min(GLANCE).max(Duration::from_millis(1));
            let read = self.socket.set_read_timeout(Some(wait)).and_then(|()| self.socket.read(&mut chunk));
            match read {
                Ok(0) => return Err(self.died()),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if self.exited(Instant::now()).is_some() && self.socket_is_drained() {
                        return Err(self.died());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(self.died()),
            }
        }
    }

    /// Whether nothing is left to read: what a process wrote before it ended is still an answer.
    fn socket_is_drained(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.socket.read(&mut chunk) {
            Ok(count) if count > 0 => {
                self.received.extend_from_slice(&chunk[..count]);
                false
            }
            _ => true,
        }
    }

    /// How it ended, after its socket closed.
    fn died(&mut self) -> Gone {
        match self.exited(Instant::now() + Duration::from_secs(5)) {
            Some(status) => Gone::Died(describe(status)),
            None => {
                self.kill();
                Gone::Died("the worker closed its socket and went on".to_owned())
            }
        }
    }

    /// How it ended, if it did until the deadline. What it started and left behind ends with it.
    fn exited(&mut self, deadline: Instant) -> Option<ExitStatus> {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while !self.reaped && matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), peek), Ok(None)) {
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.kill();
        // It was waited for, and the standard library kept its status.
        self.child.try_wait().ok().flatten()
    }

    fn kill(&mut self) {
        if self.reaped {
            return;
        }
        // Not yet waited for, so the process id, which is that of the group, is still its own.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        self.reaped = true;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(mut pipe: Box<dyn Read + Send>, output: &Mutex<Output>) {
    let mut chunk = [0; 4096];
    loop {
        let read = pipe.read(&mut chunk);
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(count) if count > 0 => {
                let room = OUTPUT_KEPT.saturating_sub(output.bytes.len());
                output.bytes.extend_from_slice(&chunk[..count.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => {
                output.open -= 1;
                return;
            }
        }
    }
}

/// The end of a process in words.
fn describe(status: ExitStatus) -> String {
    if let Some(number) = status.signal() {
        let known = [
            (Signal::ABORT, "SIGABRT"),
            (Signal::BUS, "SIGBUS"),
            (Signal::FPE, "SIGFPE"),
            (Signal::ILL, "SIGILL"),
            (Signal::KILL, "SIGKILL"),
            (Signal::PIPE, "SIGPIPE"),
            (Signal::SEGV, "SIGSEGV"),
            (Signal::SYS, "SIGSYS"),
            (Signal::TERM, "SIGTERM"),
            (Signal::TRAP, "SIGTRAP"),
        ];
        return match known.iter().find(|(signal, _)| signal.as_raw() == number) {
            Some((Signal::KILL, name)) => format!("{name} (signal {number}); was there enough memory?"),
            Some((_, name)) => format!("{name} (signal {number})"),
            None => format!("signal {number}"),
        };
    }
    match status.code() {
        Some(code) => format!("exit({code}) was called"),
        None => format!("it ended: {status}"),
    }
}
