//! What a terminal shows besides results: colour, progress and logs.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::{ArgAction, Args, ColorChoice};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::level_filters::LevelFilter;

/// How to talk.
#[derive(Args, Debug)]
pub(super) struct Terminal {
    /// Say more on standard error: -v what is chosen, -vv what is done, -vvv everything
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = "Output")]
    verbose: u8,

    /// Colours; `auto` means on a terminal, unless the environment variable NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true, help_heading = "Output")]
    color: ColorChoice,
}

impl Terminal {
    /// Sends logs to standard error, from now on.
    pub(super) fn start_logging(&self) {
        let level = match self.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        tracing_subscriber::fmt()
            .with_writer(io::stderr)
            .with_ansi(self.colours(&io::stderr()))
            .with_max_level(level)
            .with_target(self.verbose > 0)
            .without_time()
            .init();
    }

    /// Whether to write colours there.
    pub(super) fn colours(&self, stream: &impl IsTerminal) -> bool {
        let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => stream.is_terminal() && !unwanted(),
        }
    }

    /// A bar on standard error for so many steps, in bytes if `bytes`; nothing where that is no terminal.
    pub(super) fn bar(&self, steps: u64, bytes: bool) -> ProgressBar {
        let count = if bytes { "{bytes}/{total_bytes} {bytes_per_sec}" } else { "{pos}/{len}" };
        let colour = if self.colours(&io::stderr()) { ".green" } else { "" };
        let template = format!("{{bar:30{colour}}} {count} {{wide_msg}}");
        let style = ProgressStyle::with_template(&template).expect("the template is one");
        ProgressBar::with_draw_target(Some(steps), draw_target()).with_style(style)
    }

    /// A turning line on standard error for work of unknown length; nothing where that is no terminal.
    pub(super) fn spinner(&self, message: String) -> ProgressBar {
        let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is one");
        let spinner =
            ProgressBar::with_draw_target(None, draw_target()).with_style(style).with_message(message);
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    }
}

fn draw_target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}
