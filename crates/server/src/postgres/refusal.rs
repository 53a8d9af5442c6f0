//! What a client is refused with, by PostgreSQL's codes.

use axum::http::StatusCode;
use flywheel_base::Error;

use crate::problem::Problem;

/// Why something is not done.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// Whether the connection ends with it.
    pub(super) fatal: bool,
    /// The code (SQLSTATE).
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { fatal: false, code, message: message.into(), hint: None }
    }

    /// One that ends the connection.
    pub(super) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(code, message) }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, at the end of a connection.
    pub(super) fn and_leave(self) -> Self {
        Self { fatal: true, ..self }
    }

    /// A statement that changes something.
    pub(super) fn read_only() -> Self {
        Self::new("25006", "this statement changes something, and connections here only read")
            .hint("Send it to /v1/sql/write, which takes the permission \"write\".")
    }

    /// A statement that would bring rows in.
    pub(super) fn no_copy_in() -> Self {
        Self::new("25006", "COPY … FROM would write rows, and connections here only read")
            .hint("Bring rows in by a sync, or send them to /v1/events.")
    }

    /// A statement that somebody stopped.
    pub(super) fn cancelled() -> Self {
        Self::new("57014", "canceling statement due to user request")
    }

    /// A statement that took too long.
    pub(super) fn too_long(time_ms: u128) -> Self {
        Self::new("57014", format!("canceling statement due to statement timeout ({time_ms} ms)"))
            .hint("Ask for less, or give it more time: SET statement_timeout = '5min'.")
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let detail = problem.detail.as_str();
        let code = match problem.code {
            "unauthenticated" => "28000",
            "denied" => "42501",
            "not-found" => "42P01",
            "invalid" => invalid(detail),
            "conflict" => "40001",
            "timeout" | "cancelled" => "57014",
            "rate-limited" => "53400",
            "exhausted" if problem.status == StatusCode::INSUFFICIENT_STORAGE => "53100",
            "exhausted" => "53200",
            "unavailable" => "57P03",
            "blocked" => "55000",
            "corrupt" => "XX001",
            _ => "XX000",
        };
        Self { fatal: false, code, message: problem.detail, hint: problem.hint }
    }
}

/// What is wrong with a statement, as far as programs act on it.
fn invalid(detail: &str) -> &'static str {
    let detail = detail.to_lowercase();
    for (words, code) in [
        ("cannot be parsed", "42601"),
        ("division by zero", "22012"),
        ("cannot be computed", "22000"),
        ("no value of its type", "22P02"),
        ("ambiguous", "42702"),
        ("invalid function", "42883"),
        ("column", "42703"),
    ] {
        if detail.contains(words) {
            return code;
        }
    }
    "42000"
}
