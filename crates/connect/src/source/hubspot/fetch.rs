//! One request for records of an object: by list, or by search behind the last id.

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{HubSpotStream, flat, object_path};
use crate::http::{Call, Client, JsonPath};
use crate::records::{Cursor, Fetch, Fetched};

/// Records in one answer.
pub(super) const PAGE: usize = 100;

/// A search leaves out what was modified so short a time before its start: the index needs a moment.
const SETTLE_US: i64 = 60_000_000;

/// Bytes of property names that fit into a URL.
const NAMES_BYTES_MAX: usize = 6_000;

/// Asks for the records of one object.
pub(super) struct HubSpotFetch<'a> {
    client: &'a Client,
    stream: HubSpotStream,
    path: String,
    search: bool,
}

#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    total: Option<usize>,
}

impl<'a> HubSpotFetch<'a> {
    /// Prepares a read; sends nothing.
    pub(super) fn new(client: &'a Client, stream: HubSpotStream, search: bool) -> Result<Self> {
        let path = object_path(&stream.object)?;
        let bytes: usize = stream.properties.iter().map(|name| name.len() + 3).sum();
        if !search && bytes > NAMES_BYTES_MAX {
            let count = stream.properties.len();
            return Err(Error::invalid(format!("the {count} properties of {} do not fit into a URL", stream.object))
                .hint("Name the ones you need in `properties`, or read incrementally, which asks in a body."));
        }
        Ok(Self { client, stream, path, search })
    }

    async fn list(&self, at: Option<&Value>) -> Result<Fetched> {
        let mut call = Call::get(&self.path)
            .param("limit", PAGE.to_string())
            .param("archived", self.stream.archived.to_string())
            .param("properties", self.stream.properties.join(","));
        if let Some(after) = at.and_then(|at| at.get("after")?.as_str()) {
            call = call.param("after", after);
        }
        let answer = self.client.send(&call).await?;
        let text = answer.json()?;
        let after = JsonPath::parse("paging.next.after")?.plain(text).map_err(broken)?;
        Ok(Fetched {
            records: parse(text)?.results.into_iter().map(|record| flat(record.get())).collect(),
            next: after.map(|after| json!({ "after": after })),
            notice: None,
        })
    }

    /// The records behind the last id that were modified since and until the read began.
    async fn search(&self, since: Option<&Cursor>, at: Option<&Value>) -> Result<Fetched> {
        let field = |name: &str| at.and_then(|at| at.get(name));
        let until = field("until").and_then(Value::as_i64);
        let until =
            until.unwrap_or_else(|| (self.client.now().micros() - SETTLE_US).div_euclid(1_000));
        let behind = field("behind").and_then(Value::as_str).unwrap_or("0");
        // Only this object kept the old name.
        let modified = match self.stream.object.as_str() {
            "contacts" => "lastmodifieddate",
            _ => "hs_lastmodifieddate",
        };
        let mut filters = vec![
            json!({ "propertyName": modified, "operator": "LTE", "value": until.to_string() }),
            json!({ "propertyName": "hs_object_id", "operator": "GT", "value": behind }),
        ];
        if let Some(since_us) = since.and_then(Cursor::micros) {
            let since = since_us.div_euclid(1_000).to_string();
            filters.push(json!({ "propertyName": modified, "operator": "GTE", "value": since }));
        }
        let body = json!({
            "filterGroups": [{ "filters": filters }],
            "sorts": [{ "propertyName": "hs_object_id", "direction": "ASCENDING" }],
            "properties": self.stream.properties,
            "limit": PAGE,
        });
        let call = Call::json(Method::POST, &format!("{}/search", self.path), body.to_string());
        let answer = self.client.send(&call).await?;
        let results = parse(answer.json()?)?;
        let found = results.results.len();
        let last = match results.results.last() {
            Some(last) => JsonPath::parse("id")?.plain(last.get()).map_err(broken)?,
            None => None,
        };
        let more = results.total.map_or(found == PAGE, |total| total > found);
        let next = last.filter(|_| more && found > 0);
        Ok(Fetched {
            records: results.results.into_iter().map(|record| flat(record.get())).collect(),
            next: next.map(|last| json!({ "behind": last, "until": until })),
            notice: None,
        })
    }
}

fn parse(text: &str) -> Result<Results<'_>> {
    serde_json::from_str(text).map_err(broken)
}

fn broken(error: serde_json::Error) -> Error {
    Error::invalid("the answer is not a list of records as HubSpot writes it").caused_by(error)
}

#[async_trait]
impl Fetch for HubSpotFetch<'_> {
    async fn fetch(&self, since: Option<&Cursor>, at: Option<&Value>) -> Result<Fetched> {
        if self.search { self.search(since, at).await } else { self.list(at).await }
    }
}
