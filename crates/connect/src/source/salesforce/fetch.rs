//! One request of a query: its first answer, or the next by its locator.

use async_trait::async_trait;
use flywheel_base::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{MODSTAMP, Org, SalesforceStream, checked_name, error_code, failure, stripped};
use crate::http::{Call, JsonPath};
use crate::records::{Cursor, Fetch, Fetched};

/// A read leaves out what changed so short a time before its start: a transaction that is still open
/// has its time already.
const SETTLE_US: i64 = 60_000_000;

/// The longest query that fits into a URL.
const QUERY_BYTES_MAX: usize = 12_000;

/// Asks for the records of one object.
pub(super) struct SalesforceFetch<'a> {
    org: &'a Org,
    stream: SalesforceStream,
    incremental: bool,
}

/// Where the next answer is found.
#[derive(Debug, Default, Serialize, Deserialize)]
struct At {
    /// The locator, as the server wrote it.
    url: Option<String>,
    /// The last record before it, for when the locator is lost.
    behind: Option<Behind>,
    /// Up to which moment the read goes.
    until_us: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Behind {
    modstamp: String,
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
    #[serde(default)]
    done: bool,
    next_records_url: Option<String>,
}

impl<'a> SalesforceFetch<'a> {
    /// Prepares a read; sends nothing.
    pub(super) fn new(org: &'a Org, stream: SalesforceStream, incremental: bool) -> Result<Self> {
        checked_name("an object", &stream.object)?;
        for field in &stream.fields {
            checked_name("a field", field)?;
        }
        Ok(Self { org, stream, incremental })
    }

    /// The query behind a record.
    fn query(
        &self,
        since: Option<&Cursor>,
        behind: Option<&Behind>,
        until_us: i64,
    ) -> Result<String> {
        let stream = &self.stream;
        let mut conditions: Vec<String> = stream.filter.iter().map(|f| format!("({f})")).collect();
        if self.incremental {
            let until = literal(until_us);
            conditions.push(format!("{MODSTAMP} <= {until}"));
            if let Some(since) = since {
                conditions.push(format!("{MODSTAMP} >= {}", moment(since)?));
            }
        }
        if let Some(Behind { modstamp, id }) = behind {
            let id = checked_id(id)?;
            conditions.push(if self.incremental {
                let last = moment(&Cursor(modstamp.clone()))?;
                format!("({MODSTAMP} > {last} OR ({MODSTAMP} = {last} AND Id > '{id}'))")
            } else {
                format!("Id > '{id}'")
            });
        }
        let fields = stream.fields.join(", ");
        let condition = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let order = if self.incremental { format!("{MODSTAMP}, Id") } else { "Id".to_owned() };
        let query = format!("SELECT {fields} FROM {}{condition} ORDER BY {order}", stream.object);
        if query.len() > QUERY_BYTES_MAX {
            let count = stream.fields.len();
            return Err(Error::invalid(format!(
                "a query for {count} fields of {} is too long",
                stream.object
            ))
            .hint("Name the ones you need in `fields`."));
        }
        Ok(query)
    }
}

#[async_trait]
impl Fetch for SalesforceFetch<'_> {
    async fn fetch(&self, since: Option<&Cursor>, at: Option<&Value>) -> Result<Fetched> {
        let at = match at {
            Some(at) => serde_json::from_value(at.clone()).map_err(|error| {
                Error::corrupt("the stored position is not one of a salesforce source")
                    .caused_by(error)
            })?,
            None => At { until_us: self.org.client.now().micros() - SETTLE_US, ..At::default() },
        };
        let mut located = None;
        if let Some(url) = &at.url {
            let answer = self.org.client.exchange(&Call::get(url)).await?;
            let lost = answer.status.as_u16() == 404
                || error_code(&answer).is_some_and(|code| code.contains("QUERY_LOCATOR"));
            if !answer.status.is_success() && !lost {
                return Err(failure(&answer));
            }
            located = Some(answer).filter(|answer| answer.status.is_success());
        }
        let answer = match located {
            Some(answer) => answer,
            None => {
                let query = self.query(since, at.behind.as_ref(), at.until_us)?;
                let verb = if self.stream.deleted { "queryAll" } else { "query" };
                let call = Call::get(&format!("{}/{verb}", self.org.data)).param("q", query);
                self.org.send(&call).await?
            }
        };
        let answered: Answered<'_> = serde_json::from_str(answer.json()?).map_err(|error| {
            Error::invalid("the answer is not a list of records as Salesforce writes it")
                .caused_by(error)
        })?;
        let behind = match answered.records.last() {
            Some(last) => Some(behind(last.get())?),
            None => at.behind,
        };
        let next = match answered.next_records_url.filter(|_| !answered.done) {
            Some(url) => {
                let url = Some(self.org.client.named("", &url)?);
                let next = At { url, behind, until_us: at.until_us };
                Some(serde_json::to_value(next).map_err(|error| {
                    Error::internal("a position cannot be written").caused_by(error)
                })?)
            }
            None => None,
        };
        let records = answered.records.into_iter().map(|record| stripped(record.get())).collect();
        Ok(Fetched { records, next })
    }
}

fn behind(record: &str) -> Result<Behind> {
    let plain = |name: &str| -> Result<String> {
        let found = JsonPath::parse(name)?.plain(record).ok().flatten();
        found.ok_or_else(|| {
            Error::invalid(format!("a record has no {name}, so the read cannot go on behind it"))
                .hint("Take the object out of the sync: it cannot be read by steps.")
        })
    };
    Ok(Behind { modstamp: plain(MODSTAMP)?, id: plain("Id")? })
}

fn checked_id(id: &str) -> Result<&str> {
    if !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(id);
    }
    Err(Error::corrupt("the stored position has no id of a record"))
}

fn moment(cursor: &Cursor) -> Result<String> {
    cursor.micros().map(literal).ok_or_else(|| {
        Error::corrupt(format!("the stored position has no moment of {MODSTAMP}"))
            .hint("Read it from its start with `flywheel sync NAME --restart`.")
    })
}

/// A moment as SOQL writes it.
fn literal(us: i64) -> String {
    Timestamp::from_micros(us).datetime().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
