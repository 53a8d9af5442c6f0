//! The one door to the process environment.

use crate::{Error, Result};

/// The variable's value, or `None` if it is unset or empty.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place where the environment enters")]
pub fn optional(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The variable's value.
///
/// # Errors
/// [`crate::ErrorKind::NotFound`] if it is unset or empty.
pub fn required(name: &str) -> Result<String> {
    optional(name).ok_or_else(|| {
        Error::not_found(format!("environment variable \"{name}\" is not set"))
            .hint(format!("Set it before the command: {name}=… flywheel …"))
    })
}
