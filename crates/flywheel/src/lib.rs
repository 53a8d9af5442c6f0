//! The `flywheel` command: parse, call the runtime, print.

mod app;
mod command;
mod output;
mod progress;
pub mod report;
mod selection;

pub use app::main;
