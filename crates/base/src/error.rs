//! The one error type that travels between crates.
//!
//! A kind exists only where the *caller does something else* with it: retry, stop, ask for another
//! input. The message names the object and says what is wrong, the hint says how to mend it.

use std::error::Error as StdError;
use std::fmt;

/// The result of everything that can fail across a crate border.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input is wrong; the same call fails again until the input is changed.
    Invalid,
    /// The named object does not exist.
    NotFound,
    /// The caller may not do this, or the operating system refuses it.
    Denied,
    /// Somebody else changed the same thing; reading again and retrying can succeed.
    Conflict,
    /// An outside system does not answer; retrying with backoff can succeed.
    Unavailable,
    /// A limit is reached (memory, disk, rows, quota); raise it or wait.
    Exhausted,
    /// Stored data is not as it was written; stop and look.
    Corrupt,
    /// A contract, test or guardrail forbids to go on; the input is well-formed.
    Blocked,
    /// A broken invariant of ours; please report it.
    Internal,
}

impl ErrorKind {
    /// Whether the same call may succeed without a change of input.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(self, Self::Conflict | Self::Unavailable)
    }

    /// The exit code of a command that ends with this kind (DESIGN §4).
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid | Self::NotFound | Self::Denied => 2,
            Self::Blocked => 3,
            Self::Conflict
            | Self::Unavailable
            | Self::Exhausted
            | Self::Corrupt
            | Self::Internal => 1,
        }
    }

    /// The kind's name in logs and in `system.*` tables, kebab-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Exhausted => "exhausted",
            Self::Corrupt => "corrupt",
            Self::Blocked => "blocked",
            Self::Internal => "internal",
        }
    }
}

/// An error with what a person needs to mend it.
pub struct Error(Box<Parts>);

struct Parts {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of `kind`; the message is lower case, without full stop, and names the object.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, message: message.into(), hint: None, source: None }))
    }

    /// Makes an [`ErrorKind::Invalid`] error.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Makes an [`ErrorKind::NotFound`] error.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Makes an [`ErrorKind::Corrupt`] error.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Makes an [`ErrorKind::Exhausted`] error.
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Exhausted, message)
    }

    /// Makes an [`ErrorKind::Unavailable`] error.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// Makes an [`ErrorKind::Blocked`] error.
    pub fn blocked(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Blocked, message)
    }

    /// Makes an [`ErrorKind::Internal`] error.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Turns an I/O error on `path` into an error of the fitting kind that names the path.
    pub fn io(action: &str, path: &std::path::Path, error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge | Io::OutOfMemory => {
                ErrorKind::Exhausted
            }
            Io::InvalidData | Io::UnexpectedEof => ErrorKind::Corrupt,
            Io::TimedOut | Io::ConnectionRefused | Io::ConnectionReset => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        let hint = match kind {
            ErrorKind::Denied => {
                Some("Check the owner and the mode of the file and of its folder.")
            }
            ErrorKind::Exhausted => {
                Some("Free space on that file system; nothing half-written was published.")
            }
            _ => None,
        };
        let made = Self::new(kind, format!("cannot {action} {}", path.display())).caused_by(error);
        match hint {
            Some(hint) => made.hint(hint),
            None => made,
        }
    }

    /// Adds the sentence that says how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the cause; it is printed after the message, never inside it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts what was being done before the message, keeping kind, hint and cause.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// The same error once more, for somebody else who waited for the same thing; causes become lines of text.
    #[must_use]
    pub fn again(&self) -> Self {
        let mut again = Self::new(self.0.kind, self.0.message.clone());
        again.0.hint.clone_from(&self.0.hint);
        let report = self.report();
        let causes = report.split_once("\n  caused by: ").map(|(_, causes)| causes);
        let causes = causes.and_then(|causes| causes.split("\nhint: ").next());
        match causes {
            Some(causes) => again.caused_by(causes.to_owned()),
            None => again,
        }
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without hint and causes.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// How to mend it, if known.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The message, each cause on its way down, and the hint, as a person reads them.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = format!("error: {}", self.0.message);
        let mut cause = StdError::source(self);
        while let Some(inner) = cause {
            let line = inner.to_string();
            if !text.contains(&line) {
                text.push_str("\n  caused by: ");
                text.push_str(&line);
            }
            cause = inner.source();
        }
        if let Some(hint) = &self.0.hint {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.0.kind, self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_object_cause_and_fix_once_each() {
        let error = Error::invalid("model \"a\" reads unknown table \"b\"")
            .caused_by(std::io::Error::other("low level"))
            .hint("Did you mean \"c\"?")
            .context("build");
        assert_eq!(
            error.report(),
            "error: build: model \"a\" reads unknown table \"b\"\n  caused by: low level\nhint: Did you mean \"c\"?"
        );
    }

    #[test]
    fn an_error_told_again_reads_the_same() {
        let error = Error::exhausted("cannot write \"a\"")
            .caused_by(std::io::Error::other("no room"))
            .hint("Free space.");
        assert_eq!(error.again().report(), error.report());
        assert_eq!(error.again().again().kind(), ErrorKind::Exhausted);
        let plain = Error::invalid("a");
        assert_eq!(plain.again().report(), plain.report());
    }

    #[test]
    fn a_full_disk_is_exhausted_and_a_missing_right_is_denied() {
        let path = std::path::Path::new("x");
        let full = Error::io("write", path, std::io::ErrorKind::StorageFull.into());
        assert_eq!(full.kind(), ErrorKind::Exhausted);
        let denied = Error::io("write", path, std::io::ErrorKind::PermissionDenied.into());
        assert_eq!((denied.kind(), denied.kind().exit_code()), (ErrorKind::Denied, 2));
    }
}
