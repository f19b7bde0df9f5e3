//! A worker: the process in which a plugin runs.
//!
//! Any executable can be one; it needs no argument of its own and calls [`main`]:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     // A backend that is linked in would be given here; this worker loads files only.
//!     mxhal_conformance::worker::main(None)
//! }
//! ```
//!
//! The parent is found at standard input, which is a socket. Standard output and error are left to the plugin, and what
//! it writes there is held against it (rule R9 of the header). The worker dies with its parent, writes no core file,
//! and is killed with its whole process group when a case takes too long.

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mxhal_core::Backend;
use mxhal_ffi::loader::{self, LoadError};
use mxhal_ffi::{HostOptions, Plugin, sys};
use rustix::process::{
    Resource, Rlimit, Signal, getpid, kill_process, set_parent_process_death_signal, setrlimit,
};

use crate::case::Case;
use crate::outcome::Outcome;
use crate::report::DeviceReport;
use crate::runner::protocol::{Load, Order, Ready, Reply};
use crate::subject::Subject;
use crate::suite::SuiteKind;

/// How a backend that is linked into the program is loaded: `|options| mxhal_ffi::embedded::<Cpu>(options)`.
pub type Embedded<'a> = &'a dyn Fn(&HostOptions) -> Result<Plugin, LoadError>;

/// Serves the parent until it has no more orders.
///
/// `embedded` is asked for the backend when the run's target is the embedded one.
pub fn main(embedded: Option<Embedded<'_>>) -> ExitCode {
    let mut connection = match Connection::open() {
        Ok(connection) => connection,
        Err(error) => {
            eprintln!(
                "a worker is started by `mxhal conform`, with a socket as its standard input; this one is not: {error}"
            );
            return ExitCode::from(2);
        }
    };
    match serve(&mut connection, embedded) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody is left to tell.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(connection: &mut Connection, embedded: Option<Embedded<'_>>) -> io::Result<()> {
    let Some(Order::Load(load)) = connection.order() else { return Err(io::ErrorKind::InvalidData.into()) };
    let threads_before = threads();
    let mut subject = match open(&load, embedded) {
        Ok((subject, ready)) => {
            connection.reply(&Reply::Ready(Box::new(ready)))?;
            subject
        }
        Err(reply) => return connection.reply(&reply),
    };
    let may_unload = subject.plugin().identity_data().flags & sys::MXHAL_PLUGIN_MAY_UNLOAD != 0;
    let panics = PanicMessage::catch();
    let mut cases = Cases { seed: load.seed, of_suite: HashMap::new() };
    while let Some(order) = connection.order() {
        match order {
            Order::Run { name } => {
                let reply = run(&mut subject, cases.find(&name), name, &panics);
                connection.reply(&reply)?;
            }
            Order::Try { trial } => {
                let name = "trial".to_owned();
                let reply = match trial.into_trial() {
                    Ok(trial) => ask(name, &panics, || trial.run(&subject)),
                    Err(text) => Reply::Panicked { name, text },
                };
                connection.reply(&reply)?;
            }
            Order::Finish => {
                drop(subject);
                let left_behind = left_behind(&threads_before);
                return connection.reply(&Reply::Finished { left_behind, may_unload });
            }
            Order::Load(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

fn run(subject: &mut Subject, case: Option<&Case>, name: String, panics: &PanicMessage) -> Reply {
    let Some(case) = case else {
        let text = "the worker has no such case: it is of another version than its parent".to_owned();
        return Reply::Panicked { name, text };
    };
    ask(name, panics, || case.run(subject))
}

fn ask(name: String, panics: &PanicMessage, question: impl FnOnce() -> Outcome) -> Reply {
    let start = Instant::now();
    match panic::catch_unwind(AssertUnwindSafe(question)) {
        Ok(outcome) => Reply::Done { name, outcome, seconds: start.elapsed().as_secs_f64() },
        Err(_) => Reply::Panicked { name, text: panics.take() },
    }
}

fn open(load: &Load, embedded: Option<Embedded<'_>>) -> Result<(Subject, Ready), Reply> {
    let mut options = HostOptions::default();
    options.options.clone_from(&load.options);
    let plugin = match (&load.file, embedded) {
        (Some(file), _) => loader::load(&file.path, &file.policy(), &options),
        (None, Some(embedded)) => embedded(&options),
        (None, None) => {
            let error = "no backend is linked into this worker; give the file of a plugin".to_owned();
            return Err(Reply::NotLoaded { error });
        }
    };
    let plugin = plugin.map_err(|error| Reply::NotLoaded { error: with_causes(&error) })?;
    let no_device = |error: &dyn Error| Reply::NoDevice { error: with_causes(error) };
    let count = plugin.device_count().map_err(|error| no_device(&error))?;
    if load.device >= count {
        let error = match count {
            0 => "the plugin has no devices on this machine".to_owned(),
            _ => format!("device {} was asked for, and the plugin's are 0 to {}", load.device, count - 1),
        };
        return Err(Reply::NoDevice { error });
    }
    let subject = Subject::new(plugin, load.device).map_err(|error| no_device(&error))?.alone();
    let info = subject.device().info().map_err(|error| no_device(&error))?;
    let identity = subject.plugin().identity();
    let ready = Ready {
        name: identity.name.clone(),
        vendor: identity.vendor.clone(),
        version: identity.version.clone(),
        abi: subject.plugin().abi().into(),
        device: DeviceReport::new(load.device, info),
    };
    Ok((subject, ready))
}

/// The worker's cases, made when a suite is first asked for.
struct Cases {
    seed: u64,
    of_suite: HashMap<SuiteKind, HashMap<String, Case>>,
}

impl Cases {
    fn find(&mut self, name: &str) -> Option<&Case> {
        let suite = SuiteKind::ALL
            .into_iter()
            .find(|suite| name.strip_prefix(suite.name()).is_some_and(|rest| rest.starts_with('/')))?;
        let list = self.of_suite.entry(suite).or_insert_with(|| {
            suite.cases(self.seed).into_iter().map(|case| (case.name.clone(), case)).collect()
        });
        list.get(name)
    }
}

/// The way to the parent.
struct Connection {
    socket: UnixStream,
    orders: Receiver<Order>,
}

impl Connection {
    /// Takes the socket from standard input, which becomes empty, and ties this process to its parent.
    fn open() -> io::Result<Self> {
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        socket.peer_addr()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        let lines = BufReader::new(socket.try_clone()?).lines();
        let (sender, orders) = mpsc::channel();
        thread::Builder::new().name("mxhal-orders".to_owned()).spawn(move || {
            let orders = lines.map_while(Result::ok).map_while(|line| serde_json::from_str(&line).ok());
            for order in orders {
                if sender.send(order).is_err() {
                    return;
                }
            }
            // The parent is gone, and a case may hang: leave without running anybody's exit handlers.
            let _ = kill_process(getpid(), Signal::KILL);
        })?;
        Ok(Self { socket, orders })
    }

    fn order(&mut self) -> Option<Order> {
        self.orders.recv().ok()
    }

    fn reply(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        self.socket.write_all(&line)
    }
}

/// The message of the last panic: it goes to the parent, not to standard error, which is the plugin's.
struct PanicMessage(Arc<Mutex<String>>);

impl PanicMessage {
    fn catch() -> Self {
        let last = Arc::new(Mutex::new(String::new()));
        let slot = Arc::clone(&last);
        panic::set_hook(Box::new(move |panic| {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
        }));
        Self(last)
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Threads of this process and their names; none where there is no `/proc`.
fn threads() -> HashMap<OsString, String> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks
        .map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            (task.file_name(), name.trim_end().to_owned())
        })
        .collect()
}

/// Names of the threads that there were not before, once those that were told to end have ended, which may take a moment.
fn left_behind(before: &HashMap<OsString, String>) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let mut now = threads();
        now.retain(|thread, _| !before.contains_key(thread));
        if now.is_empty() || Instant::now() >= deadline {
            let mut names: Vec<String> = now.into_values().collect();
            names.sort_unstable();
            return names;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
