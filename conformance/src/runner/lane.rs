//! A lane: one worker after another, fed from the queue that all lanes share.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::process::{Gone, Worker};
use super::protocol::{Load, Order, Ready, Reply};
use super::{RunError, RunOptions};
use crate::case::Case;
use crate::outcome::{Failure, Outcome};
use crate::replay::Trial;
use crate::report::{CaseReport, State};
use crate::suite::abi::ProcessQuestion;

/// Loading a plugin, opening its device and making a stream.
const LOAD_LIMIT: Duration = Duration::from_secs(60);
/// Letting go of everything, and the exit of the process.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);
/// What no time factor exceeds, so that a deadline can always be told.
const LONGEST_LIMIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Workers that do not come up in a row before a lane gives up.
const STARTS: usize = 3;

/// What a lane has to say.
pub(crate) enum Note {
    Started(String),
    Done(Box<CaseReport>),
    /// What went wrong with a worker as a whole.
    Answer(ProcessQuestion, State),
    /// Worth saying, and nobody's failure.
    Remark(String),
}

/// A worker, or none yet, and what it takes to start one.
pub(crate) struct Lane<'a> {
    options: &'a RunOptions,
    load: &'a Load,
    worker: Option<Worker>,
    /// Cases that this worker was asked, in words for what it wrote.
    last_case: Option<String>,
}

impl<'a> Lane<'a> {
    pub(crate) const fn new(options: &'a RunOptions, load: &'a Load) -> Self {
        Self { options, load, worker: None, last_case: None }
    }

    /// A lane whose worker is up. The inner error is what `abi/load` found: a crash or a timeout.
    pub(crate) fn start(
        options: &'a RunOptions,
        load: &'a Load,
    ) -> Result<Result<(Self, Ready), State>, RunError> {
        let mut lane = Self::new(options, load);
        match lane.start_worker()? {
            Up::Ready(ready) => Ok(Ok((lane, ready))),
            Up::Refused(Reply::NoDevice { error }) => Err(RunError::NoDevice(error)),
            Up::Refused(Reply::NotLoaded { error }) => Err(RunError::NotLoaded(error)),
            Up::Refused(other) => Ok(Err(State::Fail(unexpected(&other)))),
            Up::Gone(state) => Ok(Err(state)),
        }
    }

    /// Asks cases until the queue is empty, then shuts the worker down.
    pub(super) fn run(mut self, queue: &Mutex<VecDeque<Case>>, notes: &Sender<Note>) {
        // Whoever listens does so until every lane is done.
        let tell = |note| notes.send(note).expect("the listener outlives the lanes");
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        while let Some(case) = next() {
            if self.worker.is_none()
                && let Err(state) = self.restart()
            {
                let text = format!("the plugin could not be loaded again: {}", state.message());
                tell(Note::Answer(ProcessQuestion::Load, state));
                let skipped = State::Skipped { text };
                for case in std::iter::once(case).chain(std::iter::from_fn(next)) {
                    tell(Note::Done(Box::new(CaseReport::new(&case, 0.0, skipped.clone(), String::new))));
                }
                return;
            }
            tell(Note::Started(case.name.clone()));
            let (state, seconds) = self.ask(&case, &tell);
            let report = CaseReport::new(&case, seconds, state, || self.options.reproduce(&case.name));
            tell(Note::Done(Box::new(report)));
        }
        self.finish(&tell);
    }

    /// Asks a trial, of a worker that is started if there is none.
    pub(crate) fn try_trial(&mut self, trial: &Trial, limit: Duration) -> (State, f64) {
        if self.worker.is_none()
            && let Err(state) = self.restart()
        {
            return (state, 0.0);
        }
        let order = Order::Try { trial: Box::new(trial.into()) };
        self.give(&order, "a trial", self.scaled(limit), &|_| {})
    }

    fn ask(&mut self, case: &Case, tell: &impl Fn(Note)) -> (State, f64) {
        let order = Order::Run { name: case.name.clone() };
        self.give(&order, &case.name, self.scaled(case.time_limit), tell)
    }

    fn give(&mut self, order: &Order, name: &str, limit: Duration, tell: &impl Fn(Note)) -> (State, f64) {
        let start = Instant::now();
        let worker = self.worker.as_mut().expect("a worker was started before");
        let before = worker.output().len();
        let answer = worker.ask(order, limit);
        let elapsed = start.elapsed().as_secs_f64();
        let state = match answer {
            Ok(Reply::Done { outcome, seconds, .. }) => {
                let lost = matches!(outcome, Outcome::DeviceLost { .. });
                if lost {
                    self.retire(tell);
                } else {
                    self.last_case = Some(name.to_owned());
                    self.listen(tell);
                }
                return (outcome.into(), seconds);
            }
            Ok(Reply::Panicked { text, .. }) => {
                self.worker = None;
                State::Crash { how: format!("the worker panicked: {text}"), output: String::new() }
            }
            Ok(other) => {
                self.worker = None;
                State::Fail(unexpected(&other))
            }
            Err(Gone::Hung) => {
                self.worker = None;
                State::Timeout { limit: limit.as_secs_f64() }
            }
            Err(Gone::Died(how)) => {
                let output = worker.output().get(before..).unwrap_or_default().to_owned();
                self.worker = None;
                State::Crash { how, output }
            }
        };
        (state, elapsed)
    }

    /// Says what the worker wrote so far, if it wrote anything: nothing should be there.
    fn listen(&self, tell: &impl Fn(Note)) {
        let Some(output) = self.worker.as_ref().map(Worker::output).filter(|output| !output.is_empty())
        else {
            return;
        };
        let when = self.last_case.as_ref().map_or("as it was loaded".to_owned(), |name| {
            format!("by the end of `{name}` (a buffered write may be older)")
        });
        let failure = Failure {
            got: Some(format!("{:?}", output.chars().take(300).collect::<String>())),
            expected: Some("nothing; messages go to mxhal_host.log".to_owned()),
            ..Failure::new(format!(
                "the plugin writes to stdout or stderr, which is its host's (R9); seen {when}"
            ))
        };
        tell(Note::Answer(ProcessQuestion::Silence, State::Fail(failure)));
    }

    /// Lets a worker whose device is lost go, without holding it to an orderly shutdown.
    fn retire(&mut self, tell: &impl Fn(Note)) {
        self.listen(tell);
        self.worker = None;
    }

    fn finish(&mut self, tell: &impl Fn(Note)) {
        let limit = self.scaled(SHUTDOWN_LIMIT);
        let Some(worker) = self.worker.as_mut() else { return };
        let before = worker.output().len();
        let gone = match worker.ask(&Order::Finish, limit) {
            Ok(Reply::Finished { left_behind, may_unload }) => {
                if !left_behind.is_empty() {
                    tell(threads_left(&left_behind, may_unload));
                }
                worker.wait(limit).err()
            }
            Ok(other) => Some(Gone::Died(unexpected(&other).message)),
            Err(gone) => Some(gone),
        };
        let state = match gone {
            None => return self.listen(tell),
            Some(Gone::Hung) => State::Timeout { limit: limit.as_secs_f64() },
            Some(Gone::Died(how)) => {
                State::Crash { how, output: worker.output().get(before..).unwrap_or_default().to_owned() }
            }
        };
        tell(Note::Answer(ProcessQuestion::Shutdown, state));
    }

    fn restart(&mut self) -> Result<(), State> {
        let mut last = State::Fail(Failure::new("no worker was started"));
        for _ in 0..STARTS {
            last = match self.start_worker() {
                Ok(Up::Ready(_)) => return Ok(()),
                Ok(Up::Gone(state)) => state,
                Ok(Up::Refused(Reply::NotLoaded { error } | Reply::NoDevice { error })) => {
                    State::Fail(Failure::new(format!("it was loaded before, and now: {error}")))
                }
                Ok(Up::Refused(other)) => State::Fail(unexpected(&other)),
                Err(error) => State::Fail(Failure::new(error.to_string())),
            };
        }
        Err(last)
    }

    fn start_worker(&mut self) -> Result<Up, RunError> {
        let limit = self.scaled(LOAD_LIMIT);
        let command = &self.options.worker;
        let mut worker = Worker::spawn(command).map_err(|source| RunError::Io {
            what: format!("the worker {} could not be started", command.program.display()),
            source,
        })?;
        self.last_case = None;
        let up = match worker.ask(&Order::Load(self.load.clone()), limit) {
            Ok(Reply::Ready(ready)) => Up::Ready(*ready),
            Ok(other) => Up::Refused(other),
            Err(Gone::Hung) => Up::Gone(State::Timeout { limit: limit.as_secs_f64() }),
            Err(Gone::Died(how)) => Up::Gone(State::Crash { how, output: worker.output() }),
        };
        if let Up::Ready(_) = up {
            self.worker = Some(worker);
        }
        Ok(up)
    }

    fn scaled(&self, limit: Duration) -> Duration {
        let scaled = limit.as_secs_f64() * self.options.time_factor;
        Duration::try_from_secs_f64(scaled).map_or(LONGEST_LIMIT, |scaled| scaled.min(LONGEST_LIMIT))
    }
}

/// How a worker came up.
enum Up {
    Ready(Ready),
    Refused(Reply),
    Gone(State),
}

/// Threads that run on after shutdown: fatal where the library may be unmapped under them, untidy elsewhere.
fn threads_left(names: &[String], may_unload: bool) -> Note {
    let (count, threads) = (names.len(), if names.len() == 1 { "thread runs" } else { "threads run" });
    let text = format!(
        "{count} {threads} on a second after the plugin was shut down: {}",
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    );
    if may_unload {
        let failure = Failure::new(format!("{text}, and it says that it may be unmapped"));
        Note::Answer(ProcessQuestion::Shutdown, State::Fail(failure))
    } else {
        Note::Remark(text)
    }
}

fn unexpected(reply: &Reply) -> Failure {
    Failure::new(format!("the worker gave an answer out of turn: {reply:?}"))
}
