//! The command line of mxhal; `mxhal --help` says what it does.

mod bench;
mod cli;
mod random;

fn main() -> std::process::ExitCode {
    cli::main()
}
