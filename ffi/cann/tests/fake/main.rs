//! The crate against installations of CANN with nothing behind them, which `cc` makes when the tests run.

mod arguments;
mod header;
mod installation;
mod library;
mod safe;
mod signatures;
