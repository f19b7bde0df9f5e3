//! The suite `abi`: whether a plugin keeps the rules of the header, asked through its table of functions.
//!
//! | module | asks about |
//! | --- | --- |
//! | `identity` | who it is, in the file and in memory; the table |
//! | `nulls` | null handles, places and errors |
//! | `values` | numbers and sizes that are unknown, too small or larger |
//! | `sense` | operators that make no sense |
//! | `device` | opening, closing, order of destruction, threads |
//! | `queue` | memory, copies, streams and events |
//! | `plan` | what a run refuses |
//! | `weights` | what weights are made from and give back |
//! | `footprint` | memory that is kept from call to call, or asked for in a run |
//! | `host` | hosts of other versions: shorter tables, longer ones full of poison; opened again after a shutdown |
//!
//! Questions that need an operator take the first of a list of small ones that the plugin supports. What the header
//! leaves undefined (wild pointers, handles that were destroyed, addresses of nothing) is not asked.

mod answer;
mod bytes;
mod device;
mod footprint;
mod host;
mod identity;
mod nulls;
mod plan;
mod queue;
mod raw;
mod sense;
mod session;
mod tables;
mod values;
mod weights;

use std::time::Duration;

use super::SuiteKind;
use crate::case::{Body, Case};
use crate::outcome::{Measures, Outcome};
use crate::profile::Profile;
use crate::subject::Subject;
use answer::Finding;

/// A question about the ABI.
#[derive(Clone, Debug)]
pub struct AbiCase(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// Asked in the worker.
    Asked(fn(&Subject) -> Finding),
    /// The same while the plugin is shut down, with the device that is to be opened.
    AskedClosed(host::AskClosed),
    /// Answered by the parent of the workers.
    OfTheProcess(ProcessQuestion),
}

/// A question about a worker as a whole, which its parent answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ProcessQuestion {
    /// Whether the plugin loads, and its device opens, in time and each time.
    Load,
    /// Whether nothing is written to stdout and stderr.
    Silence,
    /// Whether it lets go of everything and the process exits, in time.
    Shutdown,
}

impl ProcessQuestion {
    pub(crate) const ALL: [Self; 3] = [Self::Load, Self::Silence, Self::Shutdown];

    /// Which of them a case is, if it is one.
    pub(crate) const fn of(case: &Case) -> Option<Self> {
        match &case.body {
            Body::Abi(AbiCase(Kind::OfTheProcess(question))) => Some(*question),
            _ => None,
        }
    }

    pub(crate) fn case(self, seed: u64) -> Case {
        let name = match self {
            Self::Load => "load",
            Self::Silence => "silence",
            Self::Shutdown => "shutdown",
        };
        case(name, seed, 60, Kind::OfTheProcess(self))
    }
}

impl AbiCase {
    /// Asks it.
    pub fn run(&self, subject: &mut Subject, _seed: u64) -> Outcome {
        let found = match &self.0 {
            Kind::Asked(ask) => ask(subject),
            Kind::AskedClosed(ask) => {
                let index = subject.device_index();
                match subject.while_closed(|opening| ask(opening, index)) {
                    Ok(found) => found,
                    Err(error) => Err(Box::new(error.into())),
                }
            }
            Kind::OfTheProcess(_) => {
                return Outcome::Skipped {
                    text: "the runner answers it, for a worker as a whole".to_owned(),
                };
            }
        };
        match found {
            Ok(()) => Outcome::Pass(Measures::default()),
            Err(outcome) => *outcome,
        }
    }
}

/// The suite's cases.
pub fn cases(seed: u64) -> Vec<Case> {
    let tables = [
        identity::QUESTIONS,
        nulls::QUESTIONS,
        values::QUESTIONS,
        sense::QUESTIONS,
        queue::QUESTIONS,
        plan::QUESTIONS,
        weights::QUESTIONS,
        footprint::QUESTIONS,
    ];
    let quick = tables.into_iter().flatten().map(|question| (question, 60));
    // A context of a real device takes a fraction of a second to make, a hundred times.
    let slow = device::QUESTIONS.iter().map(|question| (question, 600));
    let asked = quick.chain(slow).map(|((name, ask), seconds)| case(name, seed, seconds, Kind::Asked(*ask)));
    let closed = host::QUESTIONS.iter().map(|(name, ask)| case(name, seed, 120, Kind::AskedClosed(*ask)));
    ProcessQuestion::ALL.into_iter().map(|question| question.case(seed)).chain(asked).chain(closed).collect()
}

/// A table of questions: the rest of the case's name, and how it is asked.
type Questions = &'static [(&'static str, fn(&Subject) -> Finding)];

fn case(name: &str, seed: u64, seconds: u64, kind: Kind) -> Case {
    Case {
        suite: SuiteKind::Abi,
        name: format!("{}/{name}", SuiteKind::Abi),
        profile: Profile::Core,
        seed,
        time_limit: Duration::from_secs(seconds),
        body: Body::Abi(AbiCase(kind)),
    }
}
