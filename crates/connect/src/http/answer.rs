//! What a server answered, and what it means for a person.

use std::time::Duration;

use chrono::DateTime;
use flywheel_base::{Error, ErrorKind, Result, Secret, Timestamp};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};

use super::path::JsonPath;
use super::without::without;

/// The longest wait a server can ask for.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How much of what a server says is repeated.
const SAID_CHARS_MAX: usize = 300;

/// Bytes of an answer that are searched for what the server says.
const SAID_BYTES_MAX: usize = 64 << 10;

/// Where servers put their message, most telling first.
const MESSAGE_PATHS: [&str; 12] = [
    "error.message",
    "error_description",
    "message",
    "0.message",
    "errors.0.message",
    "errors.0.detail",
    "detail",
    "error.detail",
    "title",
    "errors.0",
    "error",
    "description",
];

/// An answer of a server, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// What was asked, `GET https://host/path`.
    pub(super) asked: String,
    /// What must not be repeated.
    pub(super) secrets: Vec<Secret>,
}

impl Answer {
    /// The answer if it is a success.
    ///
    /// # Errors
    /// What the status means, with what the server says.
    pub(crate) fn accepted(self) -> Result<Self> {
        if self.status.is_success() { Ok(self) } else { Err(self.error()) }
    }

    /// The body as JSON text.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is a web page or nothing at all, [`ErrorKind::Corrupt`] if it is
    /// not JSON in UTF-8.
    pub(crate) fn json(&self) -> Result<&str> {
        let asked = &self.asked;
        if self.is_web_page() {
            return Err(web_page(asked));
        }
        let text = std::str::from_utf8(&self.body).map_err(|error| {
            Error::corrupt(format!("the answer of {asked} is not in UTF-8")).caused_by(error)
        })?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(Error::invalid(format!("the answer of {asked} is empty"))
                .hint("Check the path and the method; the API gives no rows here."));
        }
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            let place = format!("line {} column {}", error.line(), error.column());
            return Err(Error::corrupt(format!("the answer of {asked} is not JSON at {place}"))
                .hint("Only JSON is read; if the API can answer in other forms, ask for JSON with a header or parameter."));
        }
        Ok(text)
    }

    /// Whether the body is HTML.
    pub(crate) fn is_web_page(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.to_ascii_lowercase().contains("json")) {
            return false;
        }
        let head: Vec<u8> = self
            .body
            .iter()
            .skip_while(|byte| byte.is_ascii_whitespace() || !byte.is_ascii())
            .take(15)
            .map(u8::to_ascii_lowercase)
            .collect();
        head.starts_with(b"<!doctype html")
            || head.starts_with(b"<html")
            || (kind.is_some_and(|kind| kind.starts_with("text/html")) && head.starts_with(b"<"))
    }

    /// What the server says in its own words, without secrets, cut off.
    pub(crate) fn said(&self) -> Option<String> {
        if self.is_web_page() {
            return None;
        }
        let head = self.body.get(..SAID_BYTES_MAX).unwrap_or(&self.body);
        let text = String::from_utf8_lossy(head);
        let found = MESSAGE_PATHS.iter().find_map(|path| {
            let path = JsonPath::parse(path).ok()?;
            path.plain(&text).ok().flatten().filter(|said| !said.trim().is_empty())
        });
        let said = match found {
            Some(said) => said,
            None => text.into_owned(),
        };
        let clean = self.clean(said);
        (!clean.is_empty()).then_some(clean)
    }

    /// A piece of the answer as it may be repeated: without secrets and control characters, cut off.
    pub(crate) fn clean(&self, said: String) -> String {
        let said = without(said, self.secrets.iter().map(Secret::expose));
        let clean: String = said
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(SAID_CHARS_MAX)
            .collect();
        clean.trim().to_owned()
    }

    /// The error this answer is.
    pub(crate) fn error(&self) -> Error {
        let (asked, status) = (&self.asked, self.status);
        if self.is_web_page() && !status.is_server_error() && status.as_u16() < 400 {
            return web_page(asked);
        }
        let (kind, what, hint) = meaning(status);
        let mut message = format!("{asked} {what} ({})", status.as_u16());
        if self.is_web_page() {
            message.push_str(", with a web page");
        } else if let Some(said) = self.said() {
            message.push_str(": ");
            message.push_str(&said);
        }
        Error::new(kind, message).hint(hint)
    }
}

/// What a status is for the caller: the kind, the words, and what to do.
fn meaning(status: StatusCode) -> (ErrorKind, &'static str, &'static str) {
    match status.as_u16() {
        300..=399 => (
            ErrorKind::Invalid,
            "is redirected",
            "Set `base_url` to where the server sends it; only reads are redirected, and only on the same host.",
        ),
        400 | 422 => (
            ErrorKind::Invalid,
            "is refused as wrong",
            "Check the path, the parameters and the body against the API's reference.",
        ),
        401 => (
            ErrorKind::Denied,
            "does not accept the credentials",
            "Check the connection's `auth`: a token may have expired or been withdrawn.",
        ),
        403 => (
            ErrorKind::Denied,
            "is not allowed",
            "Give the credentials of the connection's `auth` the missing right or scope.",
        ),
        404 | 410 => (
            ErrorKind::NotFound,
            "does not exist",
            "Check `base_url` and `path`; some APIs also say so if a right is missing.",
        ),
        405 => (ErrorKind::Invalid, "does not take this method", "Set `method`."),
        406 | 415 => (
            ErrorKind::Invalid,
            "does not speak JSON",
            "Set the headers `accept` and `content-type` as the API's reference says.",
        ),
        409 => (
            ErrorKind::Conflict,
            "meets another change",
            "It can be tried again; if it stays, another program writes the same records.",
        ),
        413 => (
            ErrorKind::Exhausted,
            "is too large for the server",
            "Send fewer rows at once: lower `batch`.",
        ),
        429 => (
            ErrorKind::Unavailable,
            "is refused because of too many requests",
            "Lower the connection's `limits`, or try again later.",
        ),
        408 | 425 | 500..=599 => (
            ErrorKind::Unavailable,
            "failed in the server",
            "It can be tried again; if it stays, the server's own log says why.",
        ),
        _ => (ErrorKind::Invalid, "is refused", "See the API's reference for this status."),
    }
}

fn web_page(asked: &str) -> Error {
    Error::invalid(format!("{asked} answered with a web page instead of JSON")).hint(
        "Check `base_url` and `path`: a login page, a proxy or the API's documentation answers so.",
    )
}

/// How long a server asks to wait: seconds, or a date measured against the answer's own, or against
/// `now` if that has none.
pub(crate) fn asked_wait(headers: &HeaderMap, now: Option<Timestamp>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(WAIT_MAX));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let from = match date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) {
        Some(date) => date,
        None => now?.datetime().fixed_offset(),
    };
    (until - from).to_std().ok().map(|wait| wait.min(WAIT_MAX))
}
