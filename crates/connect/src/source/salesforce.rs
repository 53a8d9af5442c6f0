//! The `salesforce` source: objects of a Salesforce org by SOQL.
//!
//! A full read goes in the order of `Id`, an incremental one in that of `SystemModstamp` and `Id`,
//! up to a fixed moment. The answers of a query are fetched by its locator; a locator that the
//! server forgot (it keeps one for two days) costs one new query behind the last record. With
//! `deleted: true` records in the recycle bin come, too, with `IsDeleted`. Many records come by a query
//! job of the Bulk API 2.0 instead. The log of changes are the org's change events.

mod bulk;
mod changes;
mod events;
mod fetch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result};
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt};
use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use self::bulk::Ended;
use self::events::Opened;
use self::fetch::{SalesforceFetch, Way, job_of};
use super::{
    ChangesPage, ChangesRequest, ReadMode, ReadRequest, Source, SourceConfig, SourceContext,
    StreamInfo, settings,
};
use crate::column::{ColumnType, DeclaredColumn};
use crate::http::{
    Answer, Auth, Call, Client, HttpSettings, JsonPath, Limits, Pace, Quota, real_pace,
};
use crate::page::{Column, Page, TableSchema};
use crate::records::{RecordStream, records};

/// The version of the API unless the connection says otherwise.
const VERSION: &str = "62.0";

/// The share of the day's requests that is left to others unless the connection says otherwise.
const RESERVE: f64 = 0.1;

/// The field an incremental read follows.
pub(crate) const MODSTAMP: &str = "SystemModstamp";

/// Records in one answer of a query, as the API gives them unless it is asked otherwise.
const ANSWER_ROWS: u64 = 2_000;

/// Above so many records a query job reads them unless the stream says otherwise: from there on it takes
/// fewer requests than the REST API.
const BULK_ABOVE: u64 = 50_000;

/// The objects that `discover` looks at.
const OBJECTS: [&str; 4] = ["Account", "Contact", "Lead", "Opportunity"];

/// A Salesforce org.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Salesforce {
    /// The org's own address, `https://acme.my.salesforce.com`.
    pub instance_url: String,
    /// How the connection shows who it is: `oauth2` with the org's
    /// `https://acme.my.salesforce.com/services/oauth2/token`, or `bearer`.
    pub auth: Auth,
    /// The version of the API, `62.0` if not given.
    #[serde(default)]
    pub version: Option<String>,
    /// How many requests are sent at most.
    #[serde(default)]
    pub limits: Limits,
    /// The share of the day's requests that is left to others, 0 to 1; 0.1 if not given. The read or
    /// write stops there and goes on the next day.
    #[serde(default)]
    pub daily_reserve: Option<f64>,
    /// How often a request is tried again, 5 times if not given.
    #[serde(default)]
    pub retries: Option<u32>,
    /// Whether the server may have an address of the own network.
    #[serde(default)]
    pub allow_private: bool,
}

/// What one stream reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SalesforceStream {
    /// The object's API name: `Contact`, `Invoice__c`.
    pub object: String,
    /// The fields to read, also of parents (`Account.Name`); all that can be queried if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// A condition in SOQL: `LeadSource = 'Web'`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether records in the recycle bin are read, too.
    #[serde(default)]
    pub deleted: bool,
    /// Whether a query job of the Bulk API 2.0 reads the records.
    #[serde(default)]
    pub bulk: BulkRead,
    /// Above so many records `bulk: auto` has a job read them, 50,000 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk_above: Option<u64>,
}

/// Whether a query job of the Bulk API 2.0 reads records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BulkRead {
    /// If there are more records than `bulk_above`, or the REST API takes too long. Not with fields of
    /// parents, nor for an incremental read that appends: what both APIs write differs in little things,
    /// by which such a read knows what it had.
    #[default]
    Auto,
    /// Always, which takes a few seconds more for a few records.
    Always,
    /// Never.
    Never,
}

impl SourceConfig for Salesforce {
    type Stream = SalesforceStream;

    const ABOUT: &'static str = "objects of a Salesforce org";
    const CDC: bool = true;

    fn build(self, _: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.open(real_pace())?))
    }
}

impl Salesforce {
    /// The org with its time.
    pub(crate) fn open(self, pace: Arc<dyn Pace>) -> Result<Org> {
        let version = self.version.unwrap_or_else(|| VERSION.to_owned());
        if !version.chars().all(|c| c.is_ascii_digit() || c == '.') || version.is_empty() {
            return Err(Error::invalid(format!("\"{version}\" is not a version of the API"))
                .hint("Write a number such as 62.0."));
        }
        let reserve = self.daily_reserve.unwrap_or(RESERVE);
        if !(0.0..1.0).contains(&reserve) {
            return Err(Error::invalid(format!("`daily_reserve: {reserve}` is no share"))
                .hint("Write a number from 0 to below 1, for example 0.3."));
        }
        let settings = HttpSettings {
            base_url: self.instance_url,
            auth: Some(self.auth),
            limits: self.limits,
            retries: self.retries,
            allow_private: self.allow_private,
            quota: Some(Quota { reserve, read: daily_quota }),
            ..HttpSettings::default()
        };
        let client = Arc::new(Client::new(settings, pace)?);
        Ok(Org {
            client,
            data: format!("/services/data/v{version}"),
            events: format!("/cometd/{version}"),
            job_rows: bulk::ANSWER_ROWS,
            finished: Arc::default(),
        })
    }
}

/// What Salesforce says of the day's requests: (left, limit).
fn daily_quota(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = headers.get("sforce-limit-info")?.to_str().ok()?;
    let usage = text.split([',', ';']).find_map(|part| part.trim().strip_prefix("api-usage="))?;
    let (used, limit) = usage.split_once('/')?;
    let limit: u64 = limit.trim().parse().ok()?;
    Some((limit.saturating_sub(used.trim().parse().ok()?), limit))
}

/// Proves that a text is the name of an object or field.
pub(crate) fn checked_name<'a>(what: &str, name: &'a str) -> Result<&'a str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Error::invalid(format!("\"{name}\" is not the name of {what}"))
            .hint("Write its API name, such as Contact, Email or Score__c."));
    }
    Ok(name)
}

/// The code of a refusal.
pub(crate) fn error_code(answer: &Answer) -> Option<String> {
    let text = answer.json().ok()?;
    JsonPath::parse("0.errorCode").ok()?.plain(text).ok().flatten()
}

/// The error a refusal is.
pub(crate) fn failure(answer: &Answer) -> Error {
    if error_code(answer).as_deref() == Some("REQUEST_LIMIT_EXCEEDED") {
        return Error::exhausted("the org's requests of the last 24 hours are used up")
            .hint("It goes on where it stopped once requests are free again; `daily_reserve` keeps some for others.");
    }
    answer.error()
}

/// An org that can be asked.
#[derive(Clone)]
pub(crate) struct Org {
    pub(crate) client: Arc<Client>,
    /// Where the paths of the API begin.
    pub(crate) data: String,
    /// Where change events are to be had.
    events: String,
    /// Records in one answer of a query job's results.
    job_rows: u64,
    /// Query jobs of which everything was read, by object; they are deleted once that is stored.
    finished: Arc<Mutex<Vec<(String, String)>>>,
}

/// What is known of a stream before it is read.
struct Prepared {
    /// Its settings, with every field that is read.
    stream: SalesforceStream,
    /// The request, with the types of all of them.
    request: ReadRequest,
    /// The types of the object's fields.
    kinds: BTreeMap<String, ColumnType>,
}

/// A field of an object.
#[derive(Clone, Debug, Deserialize)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Field {
    /// The column's type; nothing for fields that only group others or hold files.
    fn column(&self) -> Option<DeclaredColumn> {
        let kind = match self.kind.as_str() {
            "address" | "location" | "base64" | "complexvalue" => return None,
            "boolean" => ColumnType::Bool,
            "int" => ColumnType::Int64,
            "long" => ColumnType::Int64,
            "double" | "currency" | "percent" => ColumnType::Float64,
            "date" => ColumnType::Date,
            "datetime" => ColumnType::Timestamp,
            _ => ColumnType::Text,
        };
        Some(DeclaredColumn::new(&self.name, kind))
    }
}

impl Org {
    /// Sends a request that must succeed.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer> {
        let answer = self.client.exchange(call).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(failure(&answer)) }
    }

    async fn fields(&self, object: &str) -> Result<Vec<DeclaredColumn>> {
        #[derive(Deserialize)]
        struct Described {
            fields: Vec<Field>,
        }
        checked_name("an object", object)?;
        let path = format!("{}/sobjects/{object}/describe", self.data);
        let answer = self.send(&Call::get(&path)).await?;
        let described: Described = serde_json::from_str(answer.json()?).map_err(|error| {
            Error::invalid(format!("the description of {object} is not as Salesforce writes it"))
                .caused_by(error)
        })?;
        Ok(described.fields.iter().filter_map(Field::column).collect())
    }

    /// Everything that a read of a stream needs to know of the object.
    async fn prepared(&self, request: &ReadRequest) -> Result<Prepared> {
        let mut stream: SalesforceStream = settings("stream", request.stream.clone())?;
        let described = self.fields(&stream.object).await?;
        if stream.fields.is_empty() {
            stream.fields = described.iter().map(|column| column.name.clone()).collect();
        }
        let needed = ["Id", MODSTAMP].into_iter().chain(stream.deleted.then_some("IsDeleted"));
        for name in needed {
            if !stream.fields.iter().any(|field| field == name) {
                stream.fields.push(name.to_owned());
            }
        }
        let kinds = described.iter().map(|column| (column.name.clone(), column.kind)).collect();
        let mut request = request.clone();
        let declared: Vec<String> =
            request.columns.iter().map(|column| column.name.clone()).collect();
        let typed = described.into_iter().filter(|column| {
            stream.fields.contains(&column.name) && !declared.contains(&column.name)
        });
        request.columns.extend(typed);
        Ok(Prepared { stream, request, kinds })
    }

    async fn pages<'a>(&'a self, request: &ReadRequest) -> Result<BoxStream<'a, Result<Page>>> {
        let incremental = match &request.mode {
            ReadMode::Full => false,
            ReadMode::Incremental { cursor, .. }
                if cursor.as_deref().is_none_or(|c| c == MODSTAMP) =>
            {
                true
            }
            ReadMode::Incremental { .. } => {
                let stream: SalesforceStream = settings("stream", request.stream.clone())?;
                return Err(Error::invalid(format!(
                    "{} is read in the order of {MODSTAMP} only",
                    stream.object
                ))
                .hint("Leave out `cursor`: every change of a record moves its SystemModstamp."));
            }
        };
        let Prepared { stream, request, kinds } = self.prepared(request).await?;
        let way = way(&stream, &request, incremental);
        let about = RecordStream {
            source: "salesforce",
            label: stream.object.clone(),
            cursor: Some(MODSTAMP.to_owned()),
        };
        let fetch = SalesforceFetch::new(self, stream, incremental, way, kinds)?;
        Ok(records(about, &request, Box::new(fetch)))
    }

    /// Takes note of a query job of which everything was read.
    fn finished(&self, object: &str, job: &str) {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished.push((object.to_owned(), job.to_owned()));
    }
}

/// By which way the records of a stream come.
fn way(stream: &SalesforceStream, request: &ReadRequest, incremental: bool) -> Way {
    match stream.bulk {
        BulkRead::Never => Way::Rest,
        BulkRead::Always => Way::Job,
        BulkRead::Auto => {
            let parents = stream.fields.iter().any(|field| field.contains('.'));
            match parents || (incremental && request.write_appends) {
                true => Way::Rest,
                false => Way::JobAbove(stream.bulk_above.unwrap_or(BULK_ABOVE)),
            }
        }
    }
}

#[async_trait]
impl Source for Org {
    async fn check(&self) -> Result<()> {
        self.send(&Call::get(&format!("{}/limits", self.data))).await?.json().map(drop)
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let mut streams = Vec::new();
        for object in OBJECTS {
            let columns = match self.fields(object).await {
                Ok(columns) => columns,
                // An org need not have every object, nor a user the right to each.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let schema = TableSchema::new(columns.iter().map(Column::declared).collect(), false);
            streams.push(StreamInfo {
                name: object.to_owned(),
                stream: json!({ "object": object }),
                schema: Arc::clone(schema.arrow()),
                columns,
                primary_key: vec!["Id".to_owned()],
                cursors: vec![MODSTAMP.to_owned()],
                rows: None,
                bytes: None,
                unread: None,
            });
        }
        Ok(streams)
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        self.pages(request).try_flatten_stream().boxed()
    }

    fn changes<'a>(&'a self, request: &'a ChangesRequest) -> BoxStream<'a, Result<ChangesPage>> {
        changes::changes(self, request)
    }

    async fn check_log(&self) -> Result<()> {
        match Opened::start(self, &[]).await? {
            Opened::Session(session) => {
                session.close().await;
                Ok(())
            }
            Opened::TooOld(channel) => {
                Err(Error::internal(format!("{channel} was not subscribed to, and is refused")))
            }
        }
    }

    fn rows_per_request(&self, stream: &Value) -> Option<u64> {
        let stream: Option<SalesforceStream> = settings("stream", stream.clone()).ok();
        match stream.map(|stream| stream.bulk) {
            Some(BulkRead::Always) => Some(bulk::ANSWER_ROWS),
            _ => Some(ANSWER_ROWS),
        }
    }

    /// The results of a job are kept as they were; in answers of the REST API records come and go.
    async fn is_as_read(&self, request: &ReadRequest) -> Result<bool> {
        let Some(position) = &request.from else { return Ok(true) };
        match job_of(&position.0)? {
            Some(job) => self.has_job(&job).await,
            None => Ok(position.0.get("drained").and_then(Value::as_bool) == Some(true)),
        }
    }

    fn hears_of_reads(&self) -> bool {
        true
    }

    /// Deletes the query jobs whose records are stored; the org would keep them for seven days.
    async fn acknowledge(&self, request: &ChangesRequest) -> Result<()> {
        for read in &request.streams {
            let whole = read.from.as_ref().and_then(|from| from.0.get("complete")?.as_bool());
            if whole != Some(true) {
                continue;
            }
            let stream: SalesforceStream = settings("stream", read.stream.clone())?;
            let jobs: Vec<String> = {
                let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
                let of = finished.extract_if(.., |(object, _)| *object == stream.object);
                of.map(|(_, job)| job).collect()
            };
            for job in jobs {
                self.delete_job(&job).await?;
            }
        }
        Ok(())
    }
}

/// A record without what only describes it.
pub(crate) fn stripped(record: &str) -> String {
    let Ok(members) = crate::source::jsonl::object::members(record) else {
        return record.to_owned();
    };
    let mut text = String::with_capacity(record.len());
    for (name, value) in members.iter().filter(|(name, _)| name != "attributes") {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&Value::from(&**name).to_string());
        text.push(':');
        text.push_str(value.get());
    }
    if text.is_empty() { "{}".to_owned() } else { text + "}" }
}
