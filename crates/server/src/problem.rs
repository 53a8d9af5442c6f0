//! Errors as programs read them: `application/problem+json` with code and hint.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use flywheel_base::{Error, ErrorKind, QuotaExceeded, QuotaKind};
use serde::Serialize;
use serde_json::Value;

/// What a request fails with.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) hint: Option<String>,
    pub(crate) retry_after_s: Option<u64>,
    /// The permission that can be asked for.
    pub(crate) ask: Option<&'static str>,
    /// What is wrong with each part of what was handed in.
    pub(crate) rejected: Box<[Value]>,
}

/// What an `application/problem+json` answer holds.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct ProblemBody<'a> {
    /// Always `about:blank`: the code says which problem it is.
    #[serde(rename = "type")]
    kind: &'a str,
    /// The status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// The problem's code.
    code: &'a str,
    /// What is wrong with what.
    detail: &'a str,
    /// How to mend it.
    hint: Option<&'a str>,
    /// The permission that is missing and that can be asked for: `POST /v1/access-requests`.
    ask: Option<&'a str>,
    /// What is wrong with each event if several were handed in, or each mistake of a file with its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<&'a [Value]>,
    /// The request, as in the server's log.
    request_id: &'a str,
}

pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            hint: None,
            retry_after_s: None,
            ask: None,
            rejected: Box::default(),
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// Whether somebody or the time ended what was under way.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.code, "timeout" | "cancelled")
    }

    /// The body, for the request `id`.
    pub(crate) fn body(&self, id: &str) -> Vec<u8> {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
            hint: self.hint.as_deref(),
            ask: self.ask,
            rejected: (!self.rejected.is_empty()).then_some(&*self.rejected),
            request_id: id,
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let quota = QuotaExceeded::of(&error).map(|exceeded| exceeded.kind);
        let full_disk = error.message().trim_start_matches("metadata: ").starts_with("cannot ");
        let (status, code) = match error.kind() {
            ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            ErrorKind::Denied => (StatusCode::FORBIDDEN, "denied"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ErrorKind::Exhausted if full_disk => (StatusCode::INSUFFICIENT_STORAGE, "exhausted"),
            ErrorKind::Exhausted => (StatusCode::SERVICE_UNAVAILABLE, "exhausted"),
            ErrorKind::Blocked => (StatusCode::CONFLICT, "blocked"),
            ErrorKind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "corrupt"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let (status, code) = quota.map_or((status, code), of_quota);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %error.report(), "a request failed");
        }
        // The causes belong to the message as people read it; the hint has a place of its own.
        let report = error.report();
        let report = report.strip_prefix("error: ").unwrap_or(&report);
        let detail = report.split("\nhint: ").next().unwrap_or(report);
        Self {
            status,
            code,
            detail: detail.to_owned(),
            hint: error.hint_text().map(str::to_owned),
            retry_after_s: matches!(code, "unavailable" | "rate-limited").then_some(1),
            ask: None,
            rejected: Box::default(),
        }
    }
}

/// How a quota is told: what asks for too much is to be asked otherwise, what comes too often later.
fn of_quota(kind: QuotaKind) -> (StatusCode, &'static str) {
    match kind {
        QuotaKind::Queries | QuotaKind::Requests => (StatusCode::TOO_MANY_REQUESTS, "rate-limited"),
        QuotaKind::Time => (StatusCode::UNPROCESSABLE_ENTITY, "timeout"),
        QuotaKind::Memory | QuotaKind::Rows => (StatusCode::UNPROCESSABLE_ENTITY, "exhausted"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // The body names the request, whose id is known where the answer leaves.
        response.extensions_mut().insert(self);
        response
    }
}
