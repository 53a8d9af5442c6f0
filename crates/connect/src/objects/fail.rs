//! What a store says when it refuses, in words that name the setting to mend.

use std::error::Error as StdError;

use flywheel_base::{Error, ErrorKind, Secret};

use super::access::FilePlace;
use super::address::Address;

/// Characters of a store's answer that are repeated at most.
const SAID_CHARS_MAX: usize = 300;

/// What replaces a secret.
const HIDDEN: &str = "…";

/// The shortest text that counts as a secret; shorter ones would hide ordinary words.
const SECRET_BYTES_MIN: usize = 4;

/// What is needed to explain a failure.
pub(super) struct Failing {
    endpoint: Option<String>,
    region: String,
    secrets: Vec<Secret>,
}

/// What was found out about a failure.
struct Said {
    /// The HTTP status, if there was an answer.
    status: Option<u16>,
    /// The store's code of the failure, such as `NoSuchBucket`.
    code: Option<String>,
    /// What it said, without secrets.
    text: String,
}

impl Failing {
    pub(super) fn new(address: &Address, place: &FilePlace) -> Self {
        let region = place.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = place.endpoint.clone();
        let endpoint =
            endpoint.or_else(|| Some(address.base.clone()).filter(|b| b.contains("http")));
        Self { endpoint, region, secrets: place.secrets() }
    }

    /// Turns a failure into an error of ours; `doing` is what was tried, as in "read the object".
    pub(super) fn explain(&self, doing: &str, url: &str, error: &object_store::Error) -> Error {
        let said = self.said(error);
        let make = |kind, what: String| Error::new(kind, what).caused_by(said.text.clone());
        let cannot = format!("cannot {doing} {url}");
        let code = said.code.as_deref().unwrap_or_default();
        match code {
            "NoSuchBucket" | "ContainerNotFound" => {
                return make(ErrorKind::NotFound, format!("{cannot}: there is no such bucket"))
                    .hint(
                        "Check the bucket's name after the scheme, and `endpoint` and `account`.",
                    );
            }
            "InvalidAccessKeyId" => {
                return make(ErrorKind::Denied, format!("{cannot}: the store knows no such key"))
                    .hint("Check `access_key`, and that `endpoint` is the store it is for.");
            }
            "SignatureDoesNotMatch" | "AuthenticationFailed" => {
                return make(ErrorKind::Denied, format!("{cannot}: the secret key is wrong")).hint(
                    "Check `secret_key`: it does not belong to this `access_key` or account.",
                );
            }
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
                return make(
                    ErrorKind::Denied,
                    format!("{cannot}: the keys are not valid any more"),
                )
                .hint("Get new ones and set `access_key`, `secret_key` and `session_token`.");
            }
            "RequestTimeTooSkewed" => {
                return make(ErrorKind::Denied, format!("{cannot}: this machine's clock is wrong"))
                    .hint("Set the clock of this machine; requests are signed with the time.");
            }
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "IllegalLocationConstraintException" => {
                return make(ErrorKind::Invalid, self.other_region(&cannot))
                    .hint(self.region_hint());
            }
            _ => {}
        }
        if error.to_string().contains("incorrectly configured region") {
            return make(ErrorKind::Invalid, self.other_region(&cannot)).hint(self.region_hint());
        }
        match said.status {
            Some(404) => make(ErrorKind::NotFound, format!("{cannot}: it does not exist"))
                .hint("Check the path and the bucket; names are case-sensitive."),
            Some(401 | 403) => make(ErrorKind::Denied, format!("{cannot}: the store refuses it"))
                .hint(
                    "The key may not do this: allow it to list the bucket and to read (and, for a \
                     destination, write and delete) its objects. Some stores refuse so what does not \
                     exist.",
                ),
            Some(409 | 412) => {
                make(ErrorKind::Conflict, format!("{cannot}: somebody else changed it meanwhile"))
                    .hint("Run it again.")
            }
            Some(501) => make(ErrorKind::Invalid, format!("{cannot}: the store cannot do this"))
                .hint("The store has to support conditional writes (`If-Match`)."),
            Some(status) if status >= 500 || status == 429 || status == 408 => {
                make(ErrorKind::Unavailable, format!("{cannot}: the store is busy or broken"))
                    .hint("Run it again later; it was tried several times.")
            }
            Some(_) => make(ErrorKind::Invalid, format!("{cannot}: the store answers with an error"))
                .hint("Check `endpoint`, `region` and the path."),
            None => self.without_answer(&cannot, &said, error),
        }
    }

    fn without_answer(&self, cannot: &str, said: &Said, error: &object_store::Error) -> Error {
        let make = |kind, what: String| Error::new(kind, what).caused_by(said.text.clone());
        let place = self.endpoint.as_ref().map_or(String::new(), |url| format!(" at {url}"));
        match error {
            object_store::Error::NotFound { .. } => {
                make(ErrorKind::NotFound, format!("{cannot}: it does not exist"))
                    .hint("Check the path and the bucket; names are case-sensitive.")
            }
            object_store::Error::Precondition { .. }
            | object_store::Error::AlreadyExists { .. } => {
                make(ErrorKind::Conflict, format!("{cannot}: somebody else changed it meanwhile"))
                    .hint("Run it again.")
            }
            object_store::Error::NotSupported { .. }
            | object_store::Error::NotImplemented { .. } => {
                make(ErrorKind::Invalid, format!("{cannot}: this kind of store cannot do it"))
            }
            _ if said.text.contains("Received non-partial response") => {
                make(ErrorKind::Invalid, format!("{cannot}: the server sends no parts of files"))
                    .hint("Copy the file to a server or store that answers range requests.")
            }
            _ => {
                make(ErrorKind::Unavailable, format!("{cannot}: the store{place} does not answer"))
                    .hint("Check `endpoint` (and `region`), the network, and that the store runs.")
            }
        }
    }

    fn other_region(&self, cannot: &str) -> String {
        format!("{cannot}: the bucket is not in the region {}", self.region)
    }

    fn region_hint(&self) -> String {
        format!("Set `region` to the bucket's own region instead of {}.", self.region)
    }

    /// Finds out what a store said.
    fn said(&self, error: &object_store::Error) -> Said {
        let mut chain = vec![error.to_string()];
        let mut cause = StdError::source(error);
        while let Some(inner) = cause {
            chain.push(inner.to_string());
            cause = inner.source();
        }
        let whole = chain.join("\n");
        let status = ["status code: ", "status: "].iter().find_map(|before| {
            let rest = whole.split(before).nth(1)?;
            rest.get(..3)?.parse().ok()
        });
        // The answer to the removal of several objects has no status for each.
        let status = status.or_else(|| whole.contains("AccessDenied").then_some(403));
        let code = between(&whole, "<Code>", "</Code>");
        let message = between(&whole, "<Message>", "</Message>");
        let last = chain.last().map(String::as_str).unwrap_or_default();
        let text = match (&code, message, status) {
            (Some(code), Some(message), _) => format!("{code}: {message}"),
            (Some(code), None, _) => code.clone(),
            (None, _, Some(status)) => format!("the store answered {status}"),
            (None, ..) => last.to_owned(),
        };
        let mut text: String = text.chars().take(SAID_CHARS_MAX).collect();
        for secret in &self.secrets {
            if secret.expose().len() >= SECRET_BYTES_MIN {
                text = text.replace(secret.expose(), HIDDEN);
            }
        }
        Said { status, code, text }
    }
}

fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let rest = text.split_once(start)?.1;
    Some(rest.split_once(end)?.0.to_owned())
}
