//! The one gate for numbers that come from outside.

use flywheel_base::{Error, Result};

/// Refuses the first value that is not a number or infinite, naming where it stands.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming `what` and the position, from 0.
pub(crate) fn all_finite(what: &str, values: &[f64]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(position) => Err(not_finite(what, position, values[position])),
    }
}

/// The error for a value that is not finite.
pub(crate) fn not_finite(what: &str, position: usize, value: f64) -> Error {
    Error::invalid(format!("{what} is {value} at position {position}"))
        .hint("Filter or fill missing and infinite values before this step.")
}

/// Refuses a level or probability outside the open interval (0, 1).
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] naming `what`.
pub(crate) fn open_unit(what: &str, value: f64) -> Result<()> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} is {value}"))
        .hint("Give a number strictly between 0 and 1, for example 0.95."))
}
