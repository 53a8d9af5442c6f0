//! Developer commands: `cargo xtask NAME`.
//!
//! A new command is one file in `command/` and one line in [`command::COMMANDS`]. Everything here
//! uses the standard library and `serde_json` alone, so that it builds in seconds.
#![expect(clippy::print_stdout, reason = "the commands talk to a person at a terminal")]

mod binary;
mod client;
mod command;
mod context;
mod figures;
mod marked;
mod process;
mod python;
mod servers;
mod shop;
mod tally;

use std::process::ExitCode;

/// What goes wrong here is told to a developer, so a boxed error with its text is enough.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command::run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error}");
            ExitCode::from(2)
        }
    }
}
