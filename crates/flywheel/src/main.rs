//! The binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    flywheel::keep_small();
    flywheel::main()
}
