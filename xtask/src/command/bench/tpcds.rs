//! The 99 queries of TPC-DS.

use super::tpc::{self, Suite};
use crate::Result;
use crate::context::Context;
use crate::tally::Tally;

/// A gigabyte of tables.
pub(super) fn run(context: &Context) -> Result<Tally> {
    at_scale(context, 1)
}

/// So many gigabytes of tables.
pub(super) fn at_scale(context: &Context, scale: u32) -> Result<Tally> {
    let suite = Suite {
        name: "tpcds",
        queries: 99,
        answers_min: 98,
        cpu_ratio_max: 2.0,
        memory: "1GiB",
        peak_max_mib: 1_280.0,
        // DuckDB's generator knows no parts.
        parts: 1,
    };
    tpc::run(context, &suite, scale)
}
