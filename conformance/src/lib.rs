//! The mxhal conformance suite: whether a backend computes what it must, judged from outside, through the C ABI.
//!
//! It judges any plugin, ours or a stranger's, by the same questions. What is right is said by an oracle of its own,
//! which shares no arithmetic with any backend; what must be near is held to a bound that is computed with the value.
//! A plugin that crashes, hangs or takes its process down costs the case that it was asked, and no other.
//!
//! | module | holds |
//! | --- | --- |
//! | [`oracle`] | the right answer, and how far from it one may be |
//! | [`suite`] | the lists of questions: `abi`, `memory`, `exact`, `bounded`, `shapes`, `special`, `sequence`, `determinism`, `support`, `checkpoint` |
//! | [`case`](mod@case) | one question, as data |
//! | [`opcase`], [`mod@checkpoint`] | operators on generated data, golden checkpoints end to end |
//! | [`check`] | the suite in a vendor's own tests, a function for each suite |
//! | [`subject`] | a plugin with a device opened |
//! | [`outcome`] | what came of a question |
//! | [`profile`] | must-pass lists: Core, and what a backend may claim beyond it |
//! | [`filter`] | what a filter that matches nothing was probably meant to match |
//! | [`runner`] | parent and workers: scheduling, time limits, crashes |
//! | [`replay`] | a failure made small, and asked again from one file |
//! | [`worker`] | the process in which a plugin runs |
//! | [`waiver`] | failures that are known, with an owner and an end |
//! | [`certificate`] | what a run found, to be handed on, checked and compared |
//! | [`report`] | the model of what came of a run; JSON, JUnit, HTML, text, verdicts |
//!
//! # Judging a plugin
//!
//! `mxhal conform --plugin libmxhal_mychip.so` is [`runner::run`] with a terminal around it. A vendor's own test
//! can call the same function. It needs an executable that serves as the worker: any `main` that calls
//! [`worker::main`] will do, an example or a test without harness among them.
//!
//! # States and verdicts
//!
//! | state | means | fails a run |
//! | --- | --- | --- |
//! | pass | as it should be | |
//! | fail | not as it should be: a wrong number, a broken rule | yes |
//! | not supported | the backend says that it cannot, with a reason | only within a profile that is claimed |
//! | crash | the worker died: a signal, a call of `exit`, a panic | yes |
//! | timeout | the worker was killed after its time | yes |
//! | device lost | the device failed; the next case gets a new worker | yes |
//! | unexpected pass | it passed although a waiver says that it does not | yes |
//! | waived | it failed, and that is known | |
//! | skipped | it does not apply here | |
//!
//! A backend is held to what it says that it can do. It may refuse any operator, with a reason; [`suite::support`]
//! asks whether it means it. Each [`profile`] is reported as met, not met, or not judged where only a part of it was
//! asked. Where a profile is claimed, only its cases and those of Core are asked, and a refusal among them fails the run.
//! A filter that matches nothing is an error, and a run in which nothing was executed has not passed.
//!
//! Exit codes: 0 all that was required passed, 1 something did not, 2 the caller must change something, 3 the plugin
//! could not be loaded, 4 there is no device.
//!
//! # Seeing a failure again
//!
//! All random data are drawn from the run's seed and the case's name. Each failure carries the command that asks that
//! one case again, with the same data, on any machine.

#![deny(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "a failure is what many functions are called to find, and is moved once"
)]

pub mod case;
pub mod certificate;
pub mod check;
pub mod checkpoint;
pub mod filter;
pub mod opcase;
pub mod oracle;
pub mod outcome;
pub mod profile;
pub mod replay;
pub mod report;
pub mod runner;
pub mod subject;
pub mod suite;
pub mod waiver;
pub mod worker;
