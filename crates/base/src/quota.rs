//! What somebody may take of the machine, and that they wanted more.

use std::error::Error as StdError;
use std::fmt;

use crate::Error;

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaKind {
    /// Bytes that one query holds.
    Memory,
    /// Milliseconds that one query works.
    Time,
    /// Rows that one query answers with.
    Rows,
    /// Queries at once.
    Queries,
    /// Requests within a minute.
    Requests,
}

impl QuotaKind {
    /// The word in files and in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Time => "time",
            Self::Rows => "rows",
            Self::Queries => "queries",
            Self::Requests => "requests_per_minute",
        }
    }
}

/// Somebody wanted more than a quota gives them. It is the cause of the [`Error`] that is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// What they wanted more of.
    pub kind: QuotaKind,
    /// What they may take, in the unit of its kind.
    pub most: u64,
    /// Whose quota it is.
    pub whose: String,
}

impl QuotaExceeded {
    /// What an error was made of, if it was made of a quota.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        StdError::source(error)?.downcast_ref()
    }

    fn hint(&self) -> &'static str {
        match self.kind {
            QuotaKind::Memory => {
                "Read fewer columns, or filter and aggregate first; an owner sets `quotas` in flywheel.yaml."
            }
            QuotaKind::Time => "Ask for less at once; an owner sets `quotas` in flywheel.yaml.",
            QuotaKind::Rows => {
                "Ask for fewer rows with LIMIT, or aggregate; an owner sets `quotas` in flywheel.yaml."
            }
            QuotaKind::Queries => {
                "Wait until one of them ends, or cancel it; an owner sets `quotas` in flywheel.yaml."
            }
            QuotaKind::Requests => {
                "Wait as long as Retry-After says, and ask less often; an owner sets `quotas` in flywheel.yaml."
            }
        }
    }
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { most, whose, .. } = self;
        match self.kind {
            QuotaKind::Memory => {
                let size = size(*most);
                write!(f, "the query needs more than {size} of memory, the quota of {whose}")
            }
            QuotaKind::Time => {
                write!(f, "the query takes longer than {most} ms, the quota of {whose}")
            }
            QuotaKind::Rows => {
                write!(f, "the answer has more than {most} rows, the quota of {whose}")
            }
            QuotaKind::Queries => {
                write!(f, "more than {most} queries at once, the quota of {whose}")
            }
            QuotaKind::Requests => {
                write!(f, "more than {most} requests within a minute, the quota of {whose}")
            }
        }
    }
}

impl StdError for QuotaExceeded {}

impl From<QuotaExceeded> for Error {
    fn from(exceeded: QuotaExceeded) -> Self {
        Self::exhausted(exceeded.to_string()).hint(exceeded.hint()).caused_by(exceeded)
    }
}

/// Bytes in the largest unit that has a whole number of them.
fn size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_quota_says_which_how_much_whose_and_what_to_do() {
        let exceeded =
            QuotaExceeded { kind: QuotaKind::Memory, most: 64 << 20, whose: "anna".to_owned() };
        let error = Error::from(exceeded.clone()).context("query");
        assert_eq!(QuotaExceeded::of(&error), Some(&exceeded));
        assert_eq!(
            error.report(),
            "error: query: the query needs more than 64 MiB of memory, the quota of anna\nhint: Read fewer \
             columns, or filter and aggregate first; an owner sets `quotas` in flywheel.yaml."
        );
        assert_eq!(QuotaExceeded::of(&Error::exhausted("no room")), None);
        assert_eq!(size(1_000_001), "1000001 bytes");
    }
}
