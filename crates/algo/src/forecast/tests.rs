//! Claims about forecasts that a planner relies on.

use flywheel_base::{ErrorKind, Rng};

use super::seeds::{SALES, seeds};
use super::*;

#[test]
fn the_seed_numbers_come_out() {
    for row in seeds() {
        assert!(row.passed, "{row:?}");
    }
}
