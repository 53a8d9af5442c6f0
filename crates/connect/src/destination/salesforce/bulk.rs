//! Many rows at once: jobs of the Bulk API 2.0.
//!
//! ```text
//! create ─► upload CSV ─► close ─► poll ─┬─► JobComplete ─┐
//!                                        └─► Failed ──────┴─► failed, unprocessed, successful rows
//! ```
//! Each row of the job must be in one of the three lists; one that is in none is sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{BUSY, COMPOSITE_ROWS};
use crate::destination::rest::{RestSender, kebab, without_values};
use crate::http::Call;
use crate::ledger::{Fate, Op, OutRow, Problem, Sender, Sent};
use crate::source::csv::{CsvRows, quoted};
use crate::source::salesforce::{Ended, Org};

/// Rows of one job; the org cuts them into batches of 10,000.
const JOB_ROWS_MAX: usize = 100_000;

/// Bytes of one job. The org takes 150 MB after it encoded them, which makes them longer by half.
const JOB_BYTES_MAX: usize = 100 << 20;

/// What stands for "no value" in a job's CSV.
const NULL: &str = "#N/A";

/// Sends rows by composite requests or by jobs, whatever their number asks for.
pub(super) struct SalesforceSender {
    pub(super) org: Org,
    pub(super) composite: RestSender,
    pub(super) object: String,
    pub(super) external_id: String,
    pub(super) bulk_above: usize,
}

impl SalesforceSender {
    /// Sends rows in composite requests, one after the other.
    async fn composite(&mut self, op: Op, rows: &[&OutRow], key: &str) -> Result<Sent> {
        if rows.len() <= self.composite.rows_max(op) {
            return self.composite.send(op, rows, key).await;
        }
        let mut fates = Vec::with_capacity(rows.len());
        for part in rows.chunks(COMPOSITE_ROWS) {
            match self.composite.send(op, part, key).await? {
                Sent::Each(more) => fates.extend(more),
                // Sent again in a request of its own, it is halved there.
                Sent::Whole(_) | Sent::TooLarge => {
                    fates.extend(std::iter::repeat_n(Fate::Unsent, part.len()));
                }
            }
        }
        Ok(Sent::Each(fates))
    }

    async fn bulk(&self, rows: &[&OutRow]) -> Result<Sent> {
        let text = csv(rows);
        if text.len() > JOB_BYTES_MAX {
            return Ok(Sent::TooLarge);
        }
        let jobs = format!("{}/jobs/ingest", self.org.data);
        let operation = if self.external_id == "Id" { "update" } else { "upsert" };
        let mut job = json!({ "object": self.object, "operation": operation,
                              "contentType": "CSV", "lineEnding": "LF" });
        if operation == "upsert" {
            job["externalIdFieldName"] = json!(self.external_id);
        }
        let answer = self.org.send(&Call::json(Method::POST, &jobs, job.to_string())).await?;
        let id = Org::job_id(&answer)?;
        let job = format!("{jobs}/{id}");
        let uploaded = self.upload(&job, text).await;
        if let Err(error) = uploaded {
            // An open job would count against the org's limits for a week.
            self.org.abort(&job).await;
            return Err(error);
        }
        let ended = self.org.wait_for(&job).await?;
        self.results(&job, rows, &ended).await
    }

    async fn upload(&self, job: &str, text: String) -> Result<()> {
        let call = Call::new(Method::PUT, &format!("{job}/batches"))
            .header("content-type", "text/csv")
            .body(text.into_bytes());
        self.org.send(&call).await?;
        let closed = json!({ "state": "UploadComplete" }).to_string();
        self.org.send(&Call::json(Method::PATCH, job, closed)).await.map(drop)
    }

    /// What became of each row.
    async fn results(&self, job: &str, rows: &[&OutRow], ended: &Ended) -> Result<Sent> {
        let failed = self.listed(&format!("{job}/failedResults"), "sf__Error").await?;
        let done = self.listed(&format!("{job}/successfulResults"), "sf__Id").await?;
        let unprocessed: BTreeSet<String> =
            self.listed(&format!("{job}/unprocessedrecords"), "").await?.into_keys().collect();
        if ended.failed && failed.is_empty() && done.is_empty() {
            return Ok(Sent::Whole(Problem {
                column: None,
                code: "job-failed".to_owned(),
                reason: without_values(ended.message.clone(), rows),
            }));
        }
        let fate = |row: &&OutRow| {
            let id = row.values.get(&self.external_id).map(cell).unwrap_or_default();
            if let Some(error) = failed.get(&id) {
                return refusal(error, rows);
            }
            if done.contains_key(&id) {
                return Fate::Done;
            }
            if unprocessed.contains(&id) {
                return Fate::Unsent;
            }
            Fate::Busy(Problem {
                column: None,
                code: "not-confirmed".to_owned(),
                reason: "the job lists the row neither as taken nor as refused".to_owned(),
            })
        };
        Ok(Sent::Each(rows.iter().map(fate).collect()))
    }

    /// The rows of a list of results: a column of it by external id.
    async fn listed(&self, path: &str, column: &str) -> Result<BTreeMap<String, String>> {
        let call = Call::get(path).header("accept", "text/csv");
        let answer = self.org.send(&call).await?;
        let mut lines = CsvRows::new(&answer.body);
        let Some(header) = lines.next() else { return Ok(BTreeMap::new()) };
        let place = |name: &str| header.iter().position(|field| field.eq_ignore_ascii_case(name));
        let Some(id) = place(&self.external_id) else {
            if answer.body.iter().all(u8::is_ascii_whitespace) {
                return Ok(BTreeMap::new());
            }
            return Err(Error::corrupt(format!(
                "a list of results has no column {}",
                self.external_id
            )));
        };
        let value = place(column);
        let rows = lines.filter_map(|row| {
            let text = value.and_then(|value| row.get(value)).cloned().unwrap_or_default();
            Some((row.get(id)?.clone(), text))
        });
        Ok(rows.collect())
    }
}

/// `REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --`
fn refusal(error: &str, rows: &[&OutRow]) -> Fate {
    let (code, rest) = error.split_once(':').unwrap_or(("", error));
    let (message, fields) = rest.rsplit_once(':').unwrap_or((rest, ""));
    let column = fields.trim().trim_end_matches("--").trim();
    let column = column.split(',').next().map(str::trim).filter(|column| !column.is_empty());
    let problem = Problem {
        column: column.map(str::to_owned),
        code: kebab(code),
        reason: without_values(message.trim().to_owned(), rows),
    };
    if BUSY.contains(&code) { Fate::Busy(problem) } else { Fate::Refused(problem) }
}

/// The rows as CSV, all with the same columns.
fn csv(rows: &[&OutRow]) -> String {
    let mut columns: Vec<&String> = Vec::new();
    for row in rows {
        // The columns of one batch are the same; a request never has rows of two.
        if columns.is_empty() {
            columns = row.values.keys().collect();
        }
    }
    let mut text = columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
    text.push('\n');
    for row in rows {
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            let value = row.values.get(*column).unwrap_or(&Value::Null);
            text.push_str(&quoted(&cell(value)));
        }
        text.push('\n');
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => NULL.to_owned(),
        // An empty cell would leave the field alone.
        Value::String(text) if text.is_empty() => NULL.to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[async_trait]
impl Sender for SalesforceSender {
    fn rows_max(&self, op: Op) -> usize {
        match op {
            Op::Put => JOB_ROWS_MAX,
            Op::Delete => self.composite.rows_max(op),
        }
    }

    fn content(&self, op: Op, row: &Map<String, Value>) -> Result<String> {
        self.composite.content(op, row)
    }

    async fn send(&mut self, op: Op, rows: &[&OutRow], key: &str) -> Result<Sent> {
        if op == Op::Put && rows.len() > self.bulk_above {
            return self.bulk(rows).await;
        }
        self.composite(op, rows, key).await
    }

    async fn wait(&self, wait: Duration) {
        self.composite.wait(wait).await;
    }
}
