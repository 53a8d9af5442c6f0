//! The `flywheel` command: parse, call the runtime, print.

mod app;
mod command;
mod dbt_words;
mod memory;
mod output;
mod progress;
pub mod report;
mod selection;

pub use app::main;
pub use memory::keep_small;
