//! The one door to the process environment.

use crate::{Error, Result};

/// The variable's value, empty or not.
#[expect(clippy::disallowed_methods, reason = "the one place where the environment enters")]
fn value(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The variable's value, or `None` if it is unset or empty.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    value(name).filter(|value| !value.is_empty())
}

/// The variable's value.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] if it is unset or empty.
pub fn required(name: &str) -> Result<String> {
    let state = match value(name) {
        Some(value) if !value.is_empty() => return Ok(value),
        Some(_) => "is empty",
        None => "is not set",
    };
    Err(Error::not_found(format!("environment variable \"{name}\" {state}"))
        .hint(format!("Set it before the command: {name}=… flywheel …")))
}
