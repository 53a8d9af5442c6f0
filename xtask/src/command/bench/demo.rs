//! The demo: time, memory, and the same results twice.

use crate::Result;
use crate::command::demo_check;
use crate::context::Context;
use crate::tally::Tally;

/// Runs the demo twice with one seed.
pub(super) fn run(context: &Context) -> Result<Tally> {
    demo_check::demo(context)
}
