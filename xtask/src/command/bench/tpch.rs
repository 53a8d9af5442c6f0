//! The 22 queries of TPC-H.

use super::tpc::{self, Suite};
use crate::Result;
use crate::context::Context;
use crate::tally::Tally;

/// From this scale on queries may take longer beside DuckDB: what does not fit into memory is written and read again, and
/// query 18 is asked a second time with its joins by sorting.
const LARGE_SCALE: u32 = 10;

/// A gigabyte of tables.
pub(super) fn run(context: &Context) -> Result<Tally> {
    at_scale(context, 1)
}

/// So many gigabytes of tables.
pub(super) fn at_scale(context: &Context, scale: u32) -> Result<Tally> {
    let large = scale >= LARGE_SCALE;
    let suite = Suite {
        name: "tpch",
        queries: 22,
        answers_min: 22,
        cpu_ratio_max: if large { 3.0 } else { 1.5 },
        // What the operators may have; the whole program stays within 2 GiB at the large scale, as in a container of so much.
        memory: if large { "1536MiB" } else { "2GiB" },
        peak_max_mib: 2_048.0,
        parts: scale,
    };
    tpc::run(context, &suite, scale)
}
