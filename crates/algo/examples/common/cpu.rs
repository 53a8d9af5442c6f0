//! What the examples that measure share.

use flywheel_base::{Error, Result};

/// Ticks of the processor's clock in a second, as Linux reports them.
pub(crate) const TICKS: f64 = 100.0;

/// Processor time of this process in seconds, all threads.
///
/// # Errors
/// Those of reading `/proc/self/stat`.
pub(crate) fn cpu_s() -> Result<f64> {
    let failed = |error| Error::internal("cannot read /proc/self/stat").caused_by(error);
    let text = std::fs::read_to_string("/proc/self/stat").map_err(failed)?;
    // The name of the program, which may hold spaces, ends with the last bracket; user and system time
    // are the 12th and 13th word behind it.
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS)
}
