//! The `rest` source: records of any web API that answers in JSON, as the stream declares it.
//!
//! A stream says where the records are in an answer and how the next answer is found. Each answer
//! is a place from which a read goes on. A record that is no object or does not fit is set aside
//! with its page and index, and the others go on.

pub mod paging;

mod fetch;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result, Secret};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::fetch::RestFetch;
use self::paging::Paging;
use super::{ReadRequest, Source, SourceConfig, SourceContext, StreamInfo, settings};
use crate::http::{Auth, Call, Client, HttpSettings, Limits, Pace, real_pace, secrets};
use crate::page::{Column, Page};
use crate::records::{Fetch, RecordStream, RecordTable, records};

/// A web API that answers in JSON.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rest {
    /// Where every path starts, `https://api.example.com/v1`.
    pub base_url: String,
    /// How the connection shows who it is.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Headers of every request; take secret values from references.
    #[serde(default, deserialize_with = "secrets")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// How many requests are sent at most. Keep a part of the API's own limit for others.
    #[serde(default)]
    pub limits: Limits,
    /// How often a request is tried again after an error that may pass (408, 425, 429, 5xx, no
    /// answer), 5 times if not given. `Retry-After` is obeyed.
    #[serde(default)]
    pub retries: Option<u32>,
    /// How long an answer is waited for, `60s` if not given.
    #[serde(default)]
    pub timeout: Option<String>,
    /// The largest answer, `64MiB` if not given.
    #[serde(default)]
    pub answer_bytes_max: Option<String>,
    /// Whether the server may have an address of the own network.
    #[serde(default)]
    pub allow_private: bool,
    /// A path that answers 200 if the credentials work; the first of `streams` if not given.
    #[serde(default)]
    pub check_path: Option<String>,
    /// The streams that `discover` looks at, by name.
    #[serde(default)]
    pub streams: BTreeMap<String, RestStream>,
}

/// What one stream reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestStream {
    /// The path below `base_url`, `/contacts`.
    pub path: String,
    /// The method, `GET` if not given.
    #[serde(default)]
    pub method: ReadMethod,
    /// Parameters of the URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Plain>,
    /// The JSON body of a POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Where the list of records is in an answer: `data.items` or `/data/items`; the answer itself
    /// if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<String>,
    /// Whether an answer holds one record, not a list.
    #[serde(default)]
    pub single: bool,
    /// Where an answer with status 200 says that it is an error; then the read stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How the next answer is found; without it there is one.
    #[serde(default)]
    pub paging: Paging,
    /// The fields that identify a record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
    /// How an incremental read asks for what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental: Option<Incremental>,
}

/// How an incremental read asks for what is new. Whatever the server sends, records before the last
/// cursor value and those read before are left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// The field that grows with every change, `updated_at`; the sync's `cursor` wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Parameters with the last value as `{cursor}`: `{updated_since: "{cursor}"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Where the value goes in the body of a POST, as a path: `filter.updated_after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_path: Option<String>,
    /// How the API wants the value; as it wrote it if not given.
    #[serde(default)]
    pub format: CursorFormat,
    /// The value the first read asks from; everything is read if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
}

/// How a cursor value is written in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CursorFormat {
    /// As the API wrote it.
    #[default]
    AsRead,
    /// `2024-05-01T12:00:00Z`.
    Iso,
    /// `2024-05-01`.
    Date,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
}

/// The method of a request that reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReadMethod {
    /// GET.
    #[default]
    Get,
    /// POST, with `body`.
    Post,
}

/// A text, number or truth value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Plain {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

impl SourceConfig for Rest {
    type Stream = RestStream;

    const ABOUT: &'static str = "records of a web API that answers in JSON";

    fn build(self, _: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.open(real_pace())?))
    }
}

impl Rest {
    /// The API with its time.
    pub(crate) fn open(self, pace: Arc<dyn Pace>) -> Result<RestApi> {
        for (name, stream) in &self.streams {
            RestFetch::check(stream)
                .map_err(|error| error.context(format!("stream \"{name}\"")))?;
        }
        let (check_path, streams) = (self.check_path.clone(), self.streams.clone());
        Ok(RestApi { client: self.client(pace)?, check_path, streams })
    }

    /// The client of this connection.
    pub(crate) fn client(self, pace: Arc<dyn Pace>) -> Result<Client> {
        let settings = HttpSettings {
            base_url: self.base_url,
            auth: self.auth,
            headers: self.headers,
            limits: self.limits,
            retries: self.retries,
            timeout: self.timeout,
            answer_bytes_max: self.answer_bytes_max,
            allow_private: self.allow_private,
            quota: None,
        };
        Client::new(settings, pace)
    }
}

/// An API that can be asked.
pub(crate) struct RestApi {
    client: Client,
    check_path: Option<String>,
    streams: BTreeMap<String, RestStream>,
}

impl RestApi {
    fn pages<'a>(&'a self, request: &'a ReadRequest) -> Result<BoxStream<'a, Result<Page>>> {
        let stream: RestStream = settings("stream", request.stream.clone())?;
        let about = RecordStream {
            source: "rest",
            label: stream.path.clone(),
            cursor: stream.incremental.as_ref().and_then(|incremental| incremental.cursor.clone()),
        };
        let fetch = RestFetch::new(&self.client, stream)?;
        Ok(records(about, request, Box::new(fetch)))
    }

    async fn describe(&self, name: &str, stream: &RestStream) -> Result<StreamInfo> {
        let fetched = RestFetch::new(&self.client, stream.clone())?.fetch(None, None).await?;
        let mut table = RecordTable::new("rest", &[], &[], 1);
        let columns = table.unknown(fetched.records.iter().map(String::as_str));
        table.widen(columns);
        let empty = table.never_filled();
        table.widen(empty);
        let incremental = stream.incremental.as_ref();
        Ok(StreamInfo {
            name: name.to_owned(),
            stream: serde_json::to_value(stream)
                .map_err(|error| Error::internal("a stream cannot be written").caused_by(error))?,
            schema: Arc::clone(table.schema().arrow()),
            columns: table.schema().columns().iter().filter_map(Column::declarable).collect(),
            primary_key: stream.primary_key.clone(),
            cursors: incremental
                .and_then(|incremental| incremental.cursor.clone())
                .into_iter()
                .collect(),
            rows: None,
            bytes: None,
            unread: None,
        })
    }
}

#[async_trait]
impl Source for RestApi {
    async fn check(&self) -> Result<()> {
        if let Some(path) = &self.check_path {
            return self.client.send(&Call::get(path)).await.map(drop);
        }
        if let Some(stream) = self.streams.values().next() {
            return RestFetch::new(&self.client, stream.clone())?.fetch(None, None).await.map(drop);
        }
        // Without a path to ask, an answer of any kind shows that the server is there.
        let answer = self.client.exchange(&Call::get("")).await?;
        match answer.error() {
            error if error.kind() == ErrorKind::Denied && !answer.status.is_success() => Err(error),
            _ => Ok(()),
        }
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let found = stream::iter(&self.streams).then(|(name, stream)| async move {
            let described = self.describe(name, stream).await;
            described.map_err(|error| error.context(format!("stream \"{name}\"")))
        });
        found.try_collect().await
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        match self.pages(request) {
            Ok(pages) => pages,
            Err(error) => stream::once(async move { Err(error) }).boxed(),
        }
    }

    fn rows_per_request(&self, stream: &Value) -> Option<u64> {
        settings::<RestStream>("stream", stream.clone()).ok()?.paging.size()
    }
}

#[cfg(test)]
mod tests;
