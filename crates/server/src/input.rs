//! What requests bring: JSON bodies, questions in the address, places in the path; every mistake is a problem
//! that names it.

use std::time::Duration;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

use crate::problem::{Problem, Result};

/// The largest JSON body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

/// A JSON body.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let bytes = read(request.into_body(), BODY_BYTES_MAX).await?;
        // A request that needs no settings may leave the body out.
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Problem::invalid(format!("the body does not fit: {error}"))
                .hint(format!("Look at {place}; /v1/openapi.json says what the body may hold."))
        })
    }
}

/// Reads a whole body of at most `most` bytes.
pub(crate) async fn read(body: Body, most: usize) -> Result<Bytes> {
    let timed = tokio::time::timeout(BODY_TIME, to_bytes(body, most)).await;
    let read = timed.map_err(|_| {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body takes longer than a minute")
    })?;
    read.map_err(|error| {
        let error: axum::BoxError = error.into_inner();
        if error.is::<http_body_util::LengthLimitError>() {
            let detail = format!("the body is larger than {most} bytes");
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
                .hint("Send it in parts.");
        }
        Problem::invalid("the body broke off")
    })
}

/// What the address asks for after its `?`.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Query::try_from_uri(&parts.uri).map(|Query(asked)| Self(asked)).map_err(|error| {
            Problem::invalid(format!("what the address asks for does not fit: {error}"))
                .hint("/v1/openapi.json says what may stand after the ?.")
        })
    }
}

/// The places of the path, in order.
pub(crate) struct Place(Vec<String>);

impl Place {
    /// The place number `index`, from 0.
    pub(crate) fn at(&self, index: usize) -> &str {
        self.0.get(index).map(String::as_str).unwrap_or_default()
    }

    /// The first place, for others to keep.
    pub(crate) fn name(self) -> String {
        self.0.into_iter().next().unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let places = RawPathParams::from_request_parts(parts, state).await;
        let places = places.map_err(|_| Problem::invalid("the address is not UTF-8"))?;
        Ok(Self(places.iter().map(|(_, value)| value.to_owned()).collect()))
    }
}

/// The schema of a type, in one piece: within a larger document nothing can be referred to by the place it would have
/// in one of its own.
pub(crate) fn schema_of<T: JsonSchema>() -> Schema {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("$schema");
    schema
}

/// What a handler takes of a request, for the reference of the API. The types of its arguments say it, so that the
/// reference cannot forget what the handler reads.
pub trait Takes {
    /// The schema of what it reads after the `?` of the address.
    fn question() -> Option<Schema> {
        None
    }

    /// Whether it reads a body as it comes.
    fn whole_body() -> bool {
        false
    }
}

impl<T> Takes for State<T> {}
impl<T> Takes for Extension<T> {}
impl<T> Takes for Option<Extension<T>> {}
impl<T> Takes for Input<T> {}
impl Takes for Place {}
impl Takes for HeaderMap {}
impl Takes for Body {
    fn whole_body() -> bool {
        true
    }
}
impl<T: JsonSchema> Takes for Asked<T> {
    fn question() -> Option<Schema> {
        Some(schema_of::<T>())
    }
}

impl Takes for ((),) {}
impl<M, A: Takes> Takes for (M, A) {
    fn question() -> Option<Schema> {
        A::question()
    }

    fn whole_body() -> bool {
        A::whole_body()
    }
}
impl<M, A: Takes, B: Takes> Takes for (M, A, B) {
    fn question() -> Option<Schema> {
        A::question().or_else(B::question)
    }

    fn whole_body() -> bool {
        A::whole_body() || B::whole_body()
    }
}
impl<M, A: Takes, B: Takes, C: Takes> Takes for (M, A, B, C) {
    fn question() -> Option<Schema> {
        A::question().or_else(B::question).or_else(C::question)
    }

    fn whole_body() -> bool {
        A::whole_body() || B::whole_body() || C::whole_body()
    }
}
impl<M, A: Takes, B: Takes, C: Takes, D: Takes> Takes for (M, A, B, C, D) {
    fn question() -> Option<Schema> {
        A::question().or_else(B::question).or_else(C::question).or_else(D::question)
    }

    fn whole_body() -> bool {
        A::whole_body() || B::whole_body() || C::whole_body() || D::whole_body()
    }
}
impl<M, A: Takes, B: Takes, C: Takes, D: Takes, E: Takes> Takes for (M, A, B, C, D, E) {
    fn question() -> Option<Schema> {
        A::question()
            .or_else(B::question)
            .or_else(C::question)
            .or_else(D::question)
            .or_else(E::question)
    }

    fn whole_body() -> bool {
        A::whole_body() || B::whole_body() || C::whole_body() || D::whole_body() || E::whole_body()
    }
}

/// Which piece of a list is wanted.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
pub(crate) struct Pieces {
    /// Items of the answer at most; 100 if absent, 1,000 at most.
    pub(crate) limit: Option<u32>,
    /// `next` of the piece before; the list begins anew if absent.
    pub(crate) cursor: Option<String>,
}

/// How many rows of a list are wanted.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
pub(crate) struct Limit {
    /// Rows of the answer at most; 100 if absent, 1,000 at most.
    limit: Option<u32>,
}

/// Rows of a list unless something else is asked for.
const LIST_DEFAULT: u32 = 100;
/// Rows of a list at most.
const LIST_MAX: u32 = 1_000;

impl Limit {
    pub(crate) fn count(&self) -> u32 {
        counted(self.limit)
    }
}

/// A list of which one more item than `count` was looked for: those that are shown, and after which of them the next piece
/// goes on, if there is more.
pub(crate) fn cut<T>(
    mut items: Vec<T>,
    count: u32,
    key: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let count = count as usize;
    let more = items.len() > count;
    items.truncate(count);
    let next = items.last().filter(|_| more).map(key);
    (items, next)
}

/// The rows of a list: as asked for, within limits.
pub(crate) fn counted(limit: Option<u32>) -> u32 {
    limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX)
}
