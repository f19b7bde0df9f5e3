//! The plugin's own code, run in a process of its own: what it does to that process is a finding.
//!
//! The child announces each step before it takes it, as a line of JSON through a socket that is its standard input. What
//! it said last is what it was doing when it died.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mxhal::core::Backend;
use mxhal_ffi::host::{LogLevel, LogSink};
use mxhal_ffi::loader::{self, Policy, WritablePolicy};
use mxhal_ffi::{HostOptions, Plugin};
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::finding::{Layer, Severity, Subject};

/// What the child is to load.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The plugin's file; `None` for the embedded backend.
    pub(super) library: Option<PathBuf>,
    pub(super) options: Vec<(String, String)>,
    pub(super) sha256: Option<[u8; 32]>,
    /// Whether a file that others may change is loaded all the same.
    pub(super) writable: bool,
}

/// What the child is about to do, or has seen.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// It loads the library, whose constructors run, and calls `mxhal_plugin_open`.
    Loading,
    /// That was refused.
    Refused {
        why: String,
    },
    Opened {
        minor_used: u32,
    },
    Counting,
    Count(Result<u32, String>),
    /// It opens a device and asks what it is.
    Opening {
        device: u32,
    },
    Device {
        device: u32,
        info: Result<Info, String>,
    },
    /// The plugin told the log something.
    Said {
        /// Whether it is a warning, or graver.
        warns: bool,
        words: String,
    },
    ShuttingDown,
    Done,
}

#[derive(Debug, Serialize, Deserialize)]
struct Info {
    name: String,
    architecture: String,
    driver: String,
    memory_bytes: u64,
    units: u32,
    alignment: u64,
}

/// The child: reads its order from standard input, and answers there.
pub(super) fn worker() -> ExitCode {
    // Whoever ends the parent ends this too.
    let bound = set_parent_process_death_signal(Some(Signal::KILL));
    let result = bound.map_err(io::Error::from).and_then(|()| serve());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mxhal doctor-worker is started by mxhal doctor: {error}");
            ExitCode::from(super::super::failure::USAGE)
        }
    }
}

fn serve() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut line = String::new();
    BufReader::new(socket.try_clone()?).read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    let socket = Arc::new(Mutex::new(socket));
    let say = |step: Step| tell(&socket, &step);
    say(Step::Loading)?;
    let options = HostOptions { options: order.options, log: Some(log(&socket)) };
    let plugin = match &order.library {
        None => mxhal_ffi::embedded::<mxhal_cpu::Cpu>(&options),
        Some(library) => {
            let writable = if order.writable { WritablePolicy::Warn } else { WritablePolicy::Deny };
            loader::load(library, &Policy { writable, sha256: order.sha256 }, &options)
        }
    };
    let plugin = match plugin {
        Ok(plugin) => plugin,
        Err(error) => return say(Step::Refused { why: error.to_string() }),
    };
    say(Step::Opened { minor_used: plugin.abi().minor_used })?;
    devices(&plugin, &say)?;
    say(Step::ShuttingDown)?;
    drop(plugin);
    say(Step::Done)
}

/// Sends a step as a line. Threads of the plugin's may be sending too.
fn tell(socket: &Mutex<UnixStream>, step: &Step) -> io::Result<()> {
    let mut line = serde_json::to_vec(step)?;
    line.push(b'\n');
    socket.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
}

/// Where the plugin's messages go: as steps, those that a developer wants to know among them.
fn log(socket: &Arc<Mutex<UnixStream>>) -> LogSink {
    let (socket, said) = (Arc::clone(socket), AtomicUsize::new(0));
    Arc::new(move |level, target, message| {
        if level > LogLevel::Debug || said.fetch_add(1, Ordering::Relaxed) >= MOST_SAID {
            return;
        }
        let words = if target.is_empty() { message.to_owned() } else { format!("{target}: {message}") };
        // A parent that does not listen any more needs to know nothing.
        let _ = tell(&socket, &Step::Said { warns: level <= LogLevel::Warn, words });
    })
}

/// More messages than a person reads.
const MOST_SAID: usize = 200;

fn devices(plugin: &Plugin, say: &impl Fn(Step) -> io::Result<()>) -> io::Result<()> {
    say(Step::Counting)?;
    let count = plugin.device_count();
    let devices = count.as_ref().map_or(0, |count| *count);
    say(Step::Count(count.map_err(|error| error.to_string())))?;
    for device in 0..devices {
        say(Step::Opening { device })?;
        let info = plugin.open_device(device).and_then(|device| device.info());
        let info = info.map_err(|error| error.to_string()).map(|info| Info {
            name: info.name,
            architecture: info.architecture,
            driver: info.driver,
            memory_bytes: info.memory_bytes,
            units: info.units,
            alignment: info.alignment,
        });
        say(Step::Device { device, info })?;
    }
    Ok(())
}

/// Loads and opens a backend in a child, and adds what came of it.
///
/// # Errors
///
/// The child could not be started.
pub(super) fn run(subject: &mut Subject, order: &Order, limit: Duration) -> io::Result<()> {
    let (mut socket, theirs) = UnixStream::pair()?;
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let child = Command::new(std::env::current_exe()?)
        .arg("doctor-worker")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::from(stdout.try_clone()?))
        .stderr(Stdio::from(stderr.try_clone()?))
        .process_group(0)
        .spawn()?;
    let mut child = Running { child, ended: None };
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    // If it died already, how is found below.
    let _ = socket.write_all(&line);

    let mut story = Story { doing: "started", ended: false };
    let answered = follow(&socket, &mut child, Instant::now() + limit, &mut |step| story.take(subject, step));
    let end = if answered { child.wait(Instant::now() + limit.min(GRACE)) } else { End::TimeOut };
    story.end(subject, &end, limit);
    drop(child);
    written(subject, &mut stdout, &mut stderr);
    Ok(())
}

/// How long a wait for a step goes on before the child is looked at: a process of its own may keep its socket open.
const GLANCE: Duration = Duration::from_millis(100);

/// How long a child may take to exit once it has closed its socket.
const GRACE: Duration = Duration::from_secs(10);

enum End {
    Exited(ExitStatus),
    TimeOut,
}

/// A child, killed with its whole process group when it is dropped.
struct Running {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Running {
    fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_some()
    }

    fn wait(&mut self, deadline: Instant) -> End {
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.ended.map_or(End::TimeOut, End::Exited)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        // It was not waited for, so that the number is still its own.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Takes the child's steps until it closes its socket or ends; false if the time is over first.
fn follow(
    mut socket: &UnixStream,
    child: &mut Running,
    deadline: Instant,
    take: &mut impl FnMut(Step),
) -> bool {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        // Before the read: whatever it said is there once it has ended.
        let ended = child.has_ended();
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.set_read_timeout(Some(left.min(GLANCE))).is_err() {
            return false;
        }
        match socket.read(&mut chunk) {
            Ok(0) => return true,
            Ok(count) => received.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                if ended {
                    return true;
                }
            }
            // A child that dies with its order unread resets the connection.
            Err(_) => return true,
        }
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let rest = received.split_off(end + 1);
            let line = std::mem::replace(&mut received, rest);
            // What is no step was written by the plugin, into a file that is not its own.
            if let Ok(step) = serde_json::from_slice(&line) {
                take(step);
            }
        }
    }
}

/// What the child has told so far.
struct Story {
    doing: &'static str,
    /// Whether it said its last word.
    ended: bool,
}

impl Story {
    fn take(&mut self, subject: &mut Subject, step: Step) {
        match step {
            Step::Loading => self.doing = "loaded and opened (its constructors, mxhal_plugin_open)",
            Step::Refused { why } => {
                self.ended = true;
                subject.error(
                    Layer::Run,
                    format!("it cannot be opened: {why}"),
                    "do what the message asks for",
                );
            }
            Step::Opened { minor_used } => {
                let major = mxhal_ffi::sys::MXHAL_ABI_MAJOR;
                subject.ok(
                    Layer::Run,
                    format!("loaded and opened; version {major}.{minor_used} of the ABI is used"),
                );
            }
            Step::Counting => self.doing = "asked for its devices (device_count)",
            Step::Count(Ok(0)) => {
                subject.error(
                    Layer::Devices,
                    "it has no device",
                    "see the drivers, and whether the device is plugged in",
                );
            }
            Step::Count(Ok(count)) => {
                subject.ok(
                    Layer::Devices,
                    if count == 1 { "1 device".to_owned() } else { format!("{count} devices") },
                );
            }
            Step::Count(Err(why)) => {
                subject.error(Layer::Devices, format!("device_count fails: {why}"), DRIVER);
            }
            Step::Opening { .. } => {
                self.doing = "asked to open a device and describe it (device_open, device_info)";
            }
            Step::Device { device, info: Ok(info) } => {
                let Info { name, architecture, driver, memory_bytes, units, alignment } = info;
                let gibibytes = memory_bytes as f64 / f64::from(1 << 30);
                subject.ok(
                    Layer::Devices,
                    format!(
                        "device {device}: {name}, {architecture}, driver {driver}, {gibibytes:.1} GiB, {units} units, \
                         {alignment}-byte alignment"
                    ),
                );
            }
            Step::Device { device, info: Err(why) } => {
                subject.error(Layer::Devices, format!("device {device} cannot be used: {why}"), DRIVER);
            }
            Step::Said { warns, words } => {
                let severity = if warns { Severity::Warning } else { Severity::Ok };
                subject.add(Layer::Log, severity, words, None);
            }
            Step::ShuttingDown => self.doing = "shut down",
            Step::Done => {
                self.ended = true;
                self.doing = "unloaded, after its shutdown";
            }
        }
    }

    fn end(&self, subject: &mut Subject, end: &End, limit: Duration) {
        let doing = self.doing;
        match end {
            End::Exited(status) if status.success() && self.ended => {}
            End::Exited(status) => subject.error(
                Layer::Run,
                format!("the process {} while it was {doing}", describe(*status)),
                "a plugin answers with a status and never ends the process: run it under a debugger, or build it with \
                 a sanitizer",
            ),
            End::TimeOut => subject.error(
                Layer::Run,
                format!("it did not come back within {} seconds while it was {doing}; it was ended", limit.as_secs_f64()),
                "see what it waits for; where it is only slow, give it more --time-limit",
            ),
        }
    }
}

const DRIVER: &str =
    "do what the message asks for; most often the vendor's driver is absent or another version";

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by {}", signal_name(signal)),
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(number: i32) -> String {
    let names = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::ILL, "SIGILL"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::SYS, "SIGSYS"),
        (Signal::TERM, "SIGTERM"),
        (Signal::TRAP, "SIGTRAP"),
    ];
    let name = names.iter().find(|(signal, _)| signal.as_raw() == number);
    name.map_or_else(|| format!("signal {number}"), |(_, name)| format!("signal {number} ({name})"))
}

/// Standard output belongs to the host: what was written there would stand in the middle of its results.
fn written(subject: &mut Subject, stdout: &mut File, stderr: &mut File) {
    for (file, stream) in [(stdout, "output"), (stderr, "error")] {
        let text = beginning(file);
        if text.trim().is_empty() {
            continue;
        }
        let seen = format!("it writes to standard {stream}: {}", text.trim());
        if stream == "output" {
            let advice = "log through the host's callback: standard output is the host's";
            subject.add(Layer::Run, Severity::Warning, seen, Some(advice));
        } else {
            subject.add(Layer::Run, Severity::Note, seen, None);
        }
    }
}

/// As much as a person reads.
fn beginning(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read back is not worth a failure: the findings stand without it.
    let _ = file.rewind().and_then(|()| file.take(2000).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
