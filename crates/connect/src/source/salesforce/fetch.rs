//! One request of a query: its first answer, or the next by its locator; or a job that has all of them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use flywheel_base::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::bulk::{Created, JobAt};
use super::{MODSTAMP, Org, SalesforceStream, checked_name, error_code, failure, stripped};
use crate::column::ColumnType;
use crate::http::{Answer, Call, JsonPath};
use crate::records::{Cursor, Fetch, Fetched};

/// A read leaves out what changed so short a time before its start: a transaction that is still open
/// has its time already.
const SETTLE_US: i64 = 60_000_000;

/// The longest query that fits into a URL.
const QUERY_BYTES_MAX: usize = 12_000;

/// The longest query there is.
const JOB_QUERY_BYTES_MAX: usize = 100_000;

/// By which way records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In answers of the REST API, in order.
    Rest,
    /// By a query job.
    Job,
    /// By a query job if there are more than so many, or the REST API cannot answer.
    JobAbove(u64),
}

/// Asks for the records of one object.
pub(super) struct SalesforceFetch<'a> {
    org: &'a Org,
    stream: SalesforceStream,
    incremental: bool,
    way: Way,
    /// The types of fields.
    kinds: BTreeMap<String, ColumnType>,
}

/// Where the next answer is found.
#[derive(Debug, Default, Serialize, Deserialize)]
struct At {
    /// The locator, as the server wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The last record before it, for when the locator is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    behind: Option<Behind>,
    /// The results of a job, if they come that way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<JobAt>,
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
    total_size: Option<u64>,
    next_records_url: Option<String>,
}

impl<'a> SalesforceFetch<'a> {
    /// Prepares a read; sends nothing.
    pub(super) fn new(
        org: &'a Org,
        stream: SalesforceStream,
        incremental: bool,
        way: Way,
        kinds: BTreeMap<String, ColumnType>,
    ) -> Result<Self> {
        checked_name("an object", &stream.object)?;
        for field in &stream.fields {
            checked_name("a field", field)?;
        }
        Ok(Self { org, stream, incremental, way, kinds })
    }

    /// The query behind a record; in order unless a job reads it, which is cut into parts by the org.
    fn query(
        &self,
        since: Option<&Cursor>,
        behind: Option<&Behind>,
        until_us: i64,
        ordered: bool,
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
        let order = match (ordered, self.incremental) {
            (false, _) => String::new(),
            (true, true) => format!(" ORDER BY {MODSTAMP}, Id"),
            (true, false) => " ORDER BY Id".to_owned(),
        };
        let query = format!("SELECT {fields} FROM {}{condition}{order}", stream.object);
        let longest = if ordered { QUERY_BYTES_MAX } else { JOB_QUERY_BYTES_MAX };
        if query.len() > longest && !(ordered && self.may_take_job()) {
            let count = stream.fields.len();
            return Err(Error::invalid(format!(
                "a query for {count} fields of {} is too long",
                stream.object
            ))
            .hint("Name the ones you need in `fields`."));
        }
        Ok(query)
    }

    fn may_take_job(&self) -> bool {
        matches!(self.way, Way::JobAbove(_))
    }

    /// Has a job read everything; the inner error says why the org has no jobs for the object.
    async fn start_job(
        &self,
        since: Option<&Cursor>,
        until_us: i64,
        why: Option<String>,
    ) -> Result<Result<Fetched>> {
        let query = self.query(since, None, until_us, false)?;
        let job = match self.org.run_query(&query, self.stream.deleted).await? {
            Created::Job(job) => job,
            Created::Refused(error) => return Ok(Err(error)),
        };
        // An answer of its own, so that every record has a place within the job.
        let next = At { job: Some(job), until_us, ..At::default() };
        let notice = why
            .map(|why| ("by-bulk-job", format!("read by a query job of the Bulk API 2.0: {why}")));
        Ok(Ok(Fetched { records: Vec::new(), next: Some(stored(&next)?), notice }))
    }

    /// The next results of a job.
    async fn job_results(&self, job: &JobAt, until_us: i64) -> Result<Fetched> {
        let results = self.org.results(job, &self.stream.fields, &self.kinds).await?;
        let next = results.next.map(|job| At { job: Some(job), until_us, ..At::default() });
        if next.is_none() {
            self.org.finished(&self.stream.object, &job.id);
        }
        let next = next.as_ref().map(stored).transpose()?;
        Ok(Fetched { records: results.records, next, notice: None })
    }

    /// The first answer of a query, unless a job has to read it.
    async fn first(&self, since: Option<&Cursor>, until_us: i64) -> Result<First> {
        let query = self.query(since, None, until_us, true)?;
        let by_job = |why: &str| Ok(First::Job(why.to_owned()));
        if query.len() > QUERY_BYTES_MAX {
            return by_job("the query is too long for the REST API");
        }
        let answer = self.org.client.exchange(&self.asking(query)).await?;
        if answer.status.is_success() {
            return Ok(First::Answer(answer));
        }
        let slow = error_code(&answer).is_some_and(|code| code == "QUERY_TIMEOUT");
        if slow && self.may_take_job() {
            return by_job("the REST API takes too long to answer");
        }
        Err(failure(&answer))
    }

    fn asking(&self, query: String) -> Call {
        let verb = if self.stream.deleted { "queryAll" } else { "query" };
        Call::get(&format!("{}/{verb}", self.org.data)).param("q", query)
    }
}

/// The first answer, or why a job has to read.
enum First {
    Answer(Answer),
    Job(String),
}

fn stored(at: &At) -> Result<Value> {
    serde_json::to_value(at)
        .map_err(|error| Error::internal("a position cannot be written").caused_by(error))
}

/// The id of the job whose results a position stands in, of a read that is not at its end.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if it is no position of this source.
pub(super) fn job_of(position: &Value) -> Result<Option<String>> {
    let Some(at) = position.get("at").filter(|at| !at.is_null()) else { return Ok(None) };
    Ok(parsed(at)?.job.map(|job| job.id))
}

fn parsed(at: &Value) -> Result<At> {
    serde_json::from_value(at.clone()).map_err(|error| {
        Error::corrupt("the stored position is not one of a salesforce source").caused_by(error)
    })
}

#[async_trait]
impl Fetch for SalesforceFetch<'_> {
    async fn fetch(&self, since: Option<&Cursor>, at: Option<&Value>) -> Result<Fetched> {
        let begins = at.is_none();
        let at = match at {
            Some(at) => parsed(at)?,
            None => At { until_us: self.org.client.now().micros() - SETTLE_US, ..At::default() },
        };
        if let Some(job) = &at.job {
            return self.job_results(job, at.until_us).await;
        }
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
            None if begins && self.way == Way::Job => {
                return self.start_job(since, at.until_us, None).await?;
            }
            None if begins => match self.first(since, at.until_us).await? {
                First::Answer(answer) => answer,
                First::Job(why) => {
                    return self.start_job(since, at.until_us, Some(why)).await?;
                }
            },
            None => {
                let query = self.query(since, at.behind.as_ref(), at.until_us, true)?;
                self.org.send(&self.asking(query)).await?
            }
        };
        let answered: Answered<'_> = serde_json::from_str(answer.json()?).map_err(|error| {
            Error::invalid("the answer is not a list of records as Salesforce writes it")
                .caused_by(error)
        })?;
        if let (true, Way::JobAbove(above), Some(total)) = (begins, self.way, answered.total_size)
            && total > above
        {
            let why = format!("{total} records are more than {above}");
            match self.start_job(since, at.until_us, Some(why)).await? {
                Ok(started) => return Ok(started),
                Err(error) => {
                    let object = &self.stream.object;
                    tracing::info!(object, error = %error, "the org has no query jobs for it");
                }
            }
        }
        let behind = match answered.records.last() {
            Some(last) => Some(behind(last.get())?),
            None => at.behind,
        };
        let next = match answered.next_records_url.filter(|_| !answered.done) {
            Some(url) => {
                let url = Some(self.org.client.named("", &url)?);
                let next = At { url, behind, until_us: at.until_us, job: None };
                Some(stored(&next)?)
            }
            None => None,
        };
        let records = answered.records.into_iter().map(|record| stripped(record.get())).collect();
        Ok(Fetched { records, next, notice: None })
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
