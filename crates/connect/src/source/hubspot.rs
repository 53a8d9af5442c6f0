//! The `hubspot` source: CRM objects of a HubSpot account.
//!
//! A full read goes through the list of an object. An incremental read searches for what was
//! modified since, in the order of record ids and up to a fixed moment: a search gives no more than
//! 10,000 results, so each request starts behind the last id; and a record that changes while the
//! read is under way is found by the next one. Properties become columns beside `id`, `createdAt`,
//! `updatedAt` and `archived`. Deleted records are only in a full read with `archived: true`.

mod fetch;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result, Secret};
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt};
use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::fetch::{HubSpotFetch, PAGE};
use super::{ReadMode, ReadRequest, Source, SourceConfig, SourceContext, StreamInfo, settings};
use crate::column::{ColumnType, DeclaredColumn};
use crate::http::{
    Auth, Call, Client, HttpSettings, Limits, Pace, Quota, needed_secret, real_pace,
};
use crate::page::{Column, Page, TableSchema};
use crate::records::{RecordStream, records};

/// The API, unless the connection says otherwise.
const BASE_URL: &str = "https://api.hubapi.com";

/// The version in the paths of the API.
pub(crate) const VERSION: &str = "2026-03";

/// Requests in ten seconds unless the connection says otherwise: a little less than the 100 of the
/// smallest plan.
const REQUESTS_PER_10_SECONDS: u32 = 90;

/// Searches in a second; the API allows 5 for the whole account.
const SEARCHES_PER_SECOND: f64 = 4.0;

/// The share of the day's requests that is left to others unless the connection says otherwise.
const RESERVE: f64 = 0.1;

/// The objects that `discover` looks at.
const OBJECTS: [&str; 4] = ["contacts", "companies", "deals", "tickets"];

/// A HubSpot account.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HubSpot {
    /// The access token of a private app, `${env:HUBSPOT_TOKEN}`.
    #[serde(deserialize_with = "needed_secret")]
    #[schemars(with = "String")]
    pub token: Secret,
    /// The API if it is not HubSpot's own, for a proxy or a test.
    #[serde(default)]
    pub base_url: Option<String>,
    /// How many requests are sent at most; 90 in ten seconds if not given.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// How many searches are sent in a second, 4 if not given; the API allows 5 for the account.
    #[serde(default)]
    pub searches_per_second: Option<f64>,
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
pub struct HubSpotStream {
    /// The object: `contacts`, `companies`, `deals`, `tickets`, or a custom object's id.
    pub object: String,
    /// The properties to read, all of the object if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
    /// Whether the deleted records are read instead, in full only.
    #[serde(default)]
    pub archived: bool,
}

impl SourceConfig for HubSpot {
    type Stream = HubSpotStream;

    const ABOUT: &'static str = "CRM objects of a HubSpot account";

    fn build(self, _: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.open(&real_pace())?))
    }
}

impl HubSpot {
    /// The account with its time.
    pub(crate) fn open(self, pace: &Arc<dyn Pace>) -> Result<HubSpotAccount> {
        let rate = self.searches_per_second.unwrap_or(SEARCHES_PER_SECOND);
        let search = Limits { requests_per_second: Some(rate), ..Limits::default() };
        Ok(HubSpotAccount {
            search: self.clone().client(pace, Some(search))?,
            client: self.client(pace, None)?,
        })
    }

    /// A client of this account.
    pub(crate) fn client(self, pace: &Arc<dyn Pace>, limits: Option<Limits>) -> Result<Client> {
        let reserve = self.daily_reserve.unwrap_or(RESERVE);
        if !(0.0..1.0).contains(&reserve) {
            return Err(Error::invalid(format!("`daily_reserve: {reserve}` is no share"))
                .hint("Write a number from 0 to below 1, for example 0.3."));
        }
        let usual = || Limits {
            requests_per_10_seconds: Some(REQUESTS_PER_10_SECONDS),
            ..Limits::default()
        };
        let settings = HttpSettings {
            base_url: self.base_url.unwrap_or_else(|| BASE_URL.to_owned()),
            auth: Some(Auth::Bearer { token: self.token }),
            limits: limits.or(self.limits).unwrap_or_else(usual),
            retries: self.retries,
            allow_private: self.allow_private,
            quota: Some(Quota { reserve, read: daily_quota }),
            ..HttpSettings::default()
        };
        Client::new(settings, Arc::clone(pace))
    }
}

/// What HubSpot says of the day's requests: (left, limit).
fn daily_quota(headers: &HeaderMap) -> Option<(u64, u64)> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    Some((number("x-hubspot-ratelimit-daily-remaining")?, number("x-hubspot-ratelimit-daily")?))
}

/// The path of an object.
pub(crate) fn object_path(object: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if object.is_empty() || !object.chars().all(fits) {
        return Err(Error::invalid(format!("\"{object}\" is not the name of an object")).hint(
            "Write contacts, companies, deals, tickets, or a custom object's id such as 2-3465404.",
        ));
    }
    Ok(format!("/crm/objects/{VERSION}/{object}"))
}

/// An account that can be asked.
pub(crate) struct HubSpotAccount {
    client: Client,
    /// Searches have a limit of their own.
    search: Client,
}

/// A property of an object.
#[derive(Clone, Debug, Deserialize)]
struct Property {
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
}

impl HubSpotAccount {
    async fn properties(&self, object: &str) -> Result<Vec<Property>> {
        #[derive(Deserialize)]
        struct Listed {
            results: Vec<Property>,
        }
        object_path(object)?;
        let answer =
            self.client.send(&Call::get(&format!("/crm/properties/{VERSION}/{object}"))).await?;
        let listed: Listed = serde_json::from_str(answer.json()?).map_err(|error| {
            Error::invalid(format!("the properties of {object} are not as HubSpot lists them"))
                .caused_by(error)
        })?;
        Ok(listed.results)
    }

    async fn pages<'a>(&'a self, request: &'a ReadRequest) -> Result<BoxStream<'a, Result<Page>>> {
        let mut stream: HubSpotStream = settings("stream", request.stream.clone())?;
        let incremental = matches!(request.mode, ReadMode::Incremental { .. });
        if incremental && stream.archived {
            return Err(Error::invalid("deleted records have no order to read them by steps")
                .hint("Read `archived: true` with mode full."));
        }
        if let ReadMode::Incremental { cursor: Some(cursor), .. } = &request.mode
            && cursor != "updatedAt"
        {
            return Err(Error::invalid(format!("HubSpot cannot be asked by \"{cursor}\""))
                .hint("Leave out `cursor`: an incremental read follows `updatedAt`."));
        }
        if stream.properties.is_empty() {
            let properties = self.properties(&stream.object).await?;
            stream.properties = properties.into_iter().map(|property| property.name).collect();
        }
        let about = RecordStream {
            source: "hubspot",
            label: stream.object.clone(),
            cursor: Some("updatedAt".to_owned()),
        };
        let client = if incremental { &self.search } else { &self.client };
        let fetch = HubSpotFetch::new(client, stream, incremental)?;
        Ok(records(about, request, Box::new(fetch)))
    }
}

/// The columns every object has beside its properties.
fn fixed_columns() -> Vec<DeclaredColumn> {
    [
        ("id", ColumnType::Text),
        ("createdAt", ColumnType::Timestamp),
        ("updatedAt", ColumnType::Timestamp),
        ("archived", ColumnType::Bool),
    ]
    .map(|(name, kind)| DeclaredColumn::new(name, kind))
    .into()
}

fn column_type(property: &Property) -> ColumnType {
    match property.kind.as_str() {
        "number" => ColumnType::Float64,
        "bool" => ColumnType::Bool,
        "date" => ColumnType::Date,
        "datetime" => ColumnType::Timestamp,
        _ => ColumnType::Text,
    }
}

#[async_trait]
impl Source for HubSpotAccount {
    async fn check(&self) -> Result<()> {
        self.properties("contacts").await.map(drop)
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let mut streams = Vec::new();
        for object in OBJECTS {
            let properties = match self.properties(object).await {
                Ok(properties) => properties,
                // An account need not have every object, nor a token the right to each.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut columns = fixed_columns();
            columns.extend(properties.iter().map(|p| DeclaredColumn::new(&p.name, column_type(p))));
            let schema = TableSchema::new(columns.iter().map(Column::declared).collect(), false);
            streams.push(StreamInfo {
                name: object.to_owned(),
                stream: json!({ "object": object }),
                schema: Arc::clone(schema.arrow()),
                columns,
                primary_key: vec!["id".to_owned()],
                cursors: vec!["updatedAt".to_owned()],
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

    fn rows_per_request(&self, _: &Value) -> Option<u64> {
        Some(PAGE as u64)
    }
}

/// A record as a flat object: its own members, then its properties.
pub(crate) fn flat(record: &str) -> String {
    use crate::source::jsonl::object::members;
    let Ok(own) = members(record) else { return record.to_owned() };
    let mut names: Vec<&str> = Vec::new();
    let mut text = String::with_capacity(record.len());
    let mut put = |name: &str, value: &str| {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&Value::from(name).to_string());
        text.push(':');
        text.push_str(value);
    };
    for (name, value) in own.iter().filter(|(name, _)| name != "properties") {
        names.push(name);
        put(name, value.get());
    }
    let properties = own.iter().find(|(name, _)| name == "properties");
    for (name, value) in properties.and_then(|(_, all)| members(all.get()).ok()).unwrap_or_default()
    {
        if !names.contains(&&*name) {
            put(&name, value.get());
        }
    }
    if text.is_empty() { "{}".to_owned() } else { text + "}" }
}
