//! Many records at once: query jobs of the Bulk API 2.0.
//!
//! ```text
//! create ─► poll ─┬─► JobComplete ─► results, by locator ─► deleted once they are stored
//!                 └─► Failed, Aborted ─► the reason
//! ```
//! The org keeps results for seven days, as they were when the job ran; so a read that was cut off goes
//! on at its locator and neither misses a record nor has one twice. They come in no order.

use std::collections::BTreeMap;
use std::time::Duration;

use flywheel_base::{Error, ErrorKind, Result};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Org, error_code, failure};
use crate::column::ColumnType;
use crate::http::{Answer, Call, JsonPath};
use crate::source::csv::CsvRows;

/// Records in one answer of results; fewer where they would not fit into an answer.
pub(super) const ANSWER_ROWS: u64 = 20_000;

/// The first wait between two looks at a job; it doubles.
const POLL_FIRST: Duration = Duration::from_secs(2);

/// The longest wait between two looks.
const POLL_MAX: Duration = Duration::from_secs(60);

/// Looks at a job before it is given up: about a day.
const POLLS_MAX: u32 = 1_500;

/// What the org says of an object, or of itself, that has no query jobs.
const NO_JOBS: [&str; 3] = ["INVALIDENTITY", "FEATURENOTENABLED", "API_DISABLED_FOR_ORG"];

/// What the org says when it takes no more query jobs.
const OVER_QUOTA: [&str; 3] = ["EXCEEDED_QUOTA", "LIMIT_EXCEEDED", "EXCEEDED_MAX_JOBS"];

/// How a job ended.
pub(crate) struct Ended {
    /// Whether it failed as a whole.
    pub(crate) failed: bool,
    /// What the org says about it.
    pub(crate) message: String,
}

/// Where the next results of a job are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JobAt {
    /// The job.
    pub(super) id: String,
    /// Behind which records; nothing at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    locator: Option<String>,
    /// How many records an answer has.
    rows: u64,
}

/// Results of a job.
pub(super) struct Results {
    /// The records, as the REST API writes them.
    pub(super) records: Vec<String>,
    /// Where the next ones are found; nothing at the end.
    pub(super) next: Option<JobAt>,
}

/// What became of the wish for a job.
pub(super) enum Created {
    /// It runs.
    Job(JobAt),
    /// There are no jobs for this object, and why.
    Refused(Error),
}

impl Org {
    /// Waits until a job is at its end; `job` is its path.
    pub(crate) async fn wait_for(&self, job: &str) -> Result<Ended> {
        let mut wait = POLL_FIRST;
        for _ in 0..POLLS_MAX {
            let answer = self.send(&Call::get(job)).await?;
            let text = answer.json()?;
            let plain = |path: &str| -> Result<String> {
                Ok(JsonPath::parse(path)?.plain(text).ok().flatten().unwrap_or_default())
            };
            let state = plain("state")?;
            if matches!(state.as_str(), "JobComplete" | "Failed" | "Aborted") {
                let failed = state != "JobComplete";
                return Ok(Ended { failed, message: answer.clean(plain("errorMessage")?) });
            }
            self.client.sleep(wait).await;
            wait = wait.saturating_mul(2).min(POLL_MAX);
        }
        Err(Error::unavailable("a job of the Bulk API does not end")
            .hint("Look at it in the org under Bulk Data Load Jobs, then run this again."))
    }

    /// Puts an end to a job that nobody needs any more, and says so where that fails.
    pub(crate) async fn abort(&self, job: &str) {
        let aborted = json!({ "state": "Aborted" }).to_string();
        if let Err(error) = self.send(&Call::json(Method::PATCH, job, aborted)).await {
            tracing::warn!(job, error = %error, "a job was left open");
        }
    }

    /// The id of a job that was just made.
    pub(crate) fn job_id(answer: &Answer) -> Result<String> {
        let id = JsonPath::parse("id")?.plain(answer.json()?).ok().flatten();
        id.filter(|id| is_id(id))
            .ok_or_else(|| Error::invalid("the answer to a new job has no id of a job"))
    }

    fn query_jobs(&self) -> String {
        format!("{}/jobs/query", self.data)
    }

    /// The path of a query job.
    fn query_job(&self, id: &str) -> Result<String> {
        if !is_id(id) {
            return Err(Error::corrupt("the stored position has no id of a job"));
        }
        Ok(format!("{}/{id}", self.query_jobs()))
    }

    /// Makes a job of a query and waits for its results.
    ///
    /// # Errors
    /// Why the job failed; [`ErrorKind::Exhausted`] if the org takes no more of them today.
    pub(super) async fn run_query(&self, query: &str, deleted: bool) -> Result<Created> {
        let operation = if deleted { "queryAll" } else { "query" };
        let job = json!({ "operation": operation, "query": query, "contentType": "CSV",
                          "columnDelimiter": "COMMA", "lineEnding": "LF" });
        let call = Call::json(Method::POST, &self.query_jobs(), job.to_string());
        let answer = self.client.exchange(&call).await?;
        if !answer.status.is_success() {
            let code = error_code(&answer).unwrap_or_default();
            if NO_JOBS.contains(&code.as_str()) {
                return Ok(Created::Refused(answer.error()));
            }
            if OVER_QUOTA.contains(&code.as_str()) {
                return Err(Error::exhausted(format!(
                    "the org takes no more query jobs today: {}",
                    answer.said().unwrap_or(code)
                ))
                .hint("Run it again tomorrow, or read with `bulk: never`."));
            }
            return Err(failure(&answer));
        }
        let id = Self::job_id(&answer)?;
        let path = self.query_job(&id)?;
        let ended = match self.wait_for(&path).await {
            Ok(ended) => ended,
            Err(error) => {
                // It would go on and count against the org's limits.
                self.abort(&path).await;
                return Err(error);
            }
        };
        if ended.failed {
            let message = match ended.message.as_str() {
                "" => "somebody put an end to it, and it gives no reason",
                said => said,
            };
            return Err(Error::invalid(format!("the query job {id} failed: {message}")).hint(
                "Check `fields` and `filter`; `bulk: never` reads by the REST API instead.",
            ));
        }
        Ok(Created::Job(JobAt { id, locator: None, rows: self.job_rows }))
    }

    /// The next results of a job.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the org does not keep them any more, [`ErrorKind::Corrupt`] if the
    /// answer has not the records that it says.
    pub(super) async fn results(
        &self,
        at: &JobAt,
        fields: &[String],
        kinds: &BTreeMap<String, ColumnType>,
    ) -> Result<Results> {
        let path = format!("{}/results", self.query_job(&at.id)?);
        let mut rows = at.rows.max(1);
        let answer = loop {
            let mut call =
                Call::get(&path).header("accept", "text/csv").param("maxRecords", rows.to_string());
            if let Some(locator) = &at.locator {
                call = call.param("locator", locator);
            }
            match self.client.exchange(&call).await {
                // Records too long for an answer of so many. Where requests are used up none is sent.
                Err(error) if error.kind() == ErrorKind::Exhausted && rows > 1 => rows /= 2,
                answer => break answer?,
            }
        };
        if answer.status.as_u16() == 404 {
            return Err(failure(&answer).context(format!(
                "the results of query job {} are gone, which the org keeps for seven days",
                at.id
            )));
        }
        if !answer.status.is_success() {
            return Err(failure(&answer));
        }
        if answer.is_web_page() {
            return Err(answer.error());
        }
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let records = parsed(&answer.body, at.locator.is_none(), fields, kinds)?;
        let told =
            header("sforce-numberofrecords").and_then(|text| text.trim().parse::<usize>().ok());
        if told.is_some_and(|told| told != records.len()) {
            return Err(Error::corrupt(format!(
                "the results of query job {} have {} records where the org tells of {}",
                at.id,
                records.len(),
                told.unwrap_or_default()
            ))
            .hint("Run it again; a proxy on the way may cut answers off."));
        }
        let locator = header("sforce-locator").map(str::trim);
        let locator = locator.filter(|locator| !locator.is_empty() && *locator != "null");
        let next = locator.map(|locator| JobAt {
            id: at.id.clone(),
            locator: Some(locator.to_owned()),
            rows,
        });
        if next.is_some() && records.is_empty() {
            return Err(Error::corrupt(format!(
                "query job {} gives no records and says that more follow",
                at.id
            )));
        }
        Ok(Results { records, next })
    }

    /// Whether the org still has the results of a job.
    pub(super) async fn has_job(&self, id: &str) -> Result<bool> {
        let answer = self.client.exchange(&Call::get(&self.query_job(id)?)).await?;
        match answer.status.as_u16() {
            404 => Ok(false),
            _ if answer.status.is_success() => {
                let state = JsonPath::parse("state")?.plain(answer.json()?).ok().flatten();
                Ok(state.as_deref() == Some("JobComplete"))
            }
            _ => Err(failure(&answer)),
        }
    }

    /// Deletes a job whose records are stored, and says so where that fails.
    pub(super) async fn delete_job(&self, id: &str) -> Result<()> {
        let answer = self.client.exchange(&Call::new(Method::DELETE, &self.query_job(id)?)).await?;
        match answer.status.as_u16() {
            404 => Ok(()),
            _ if answer.status.is_success() => Ok(()),
            _ => Err(failure(&answer)),
        }
    }
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The records of CSV as JSON. An empty field is one without value: Salesforce knows no empty text.
fn parsed(
    text: &[u8],
    first: bool,
    fields: &[String],
    kinds: &BTreeMap<String, ColumnType>,
) -> Result<Vec<String>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    if std::str::from_utf8(text).is_err() {
        return Err(Error::corrupt("the results of a query job are not in UTF-8"));
    }
    let mut rows = CsvRows::new(text).peekable();
    // The answers behind a locator have a header or none; its columns are those of the query.
    let alike = |row: &Vec<String>| {
        row.len() == fields.len()
            && row.iter().zip(fields).all(|(cell, field)| cell.eq_ignore_ascii_case(field))
    };
    let names = match rows.next_if(|row| alike(row)) {
        Some(names) => names,
        None if first => {
            return Err(Error::corrupt(
                "the results of a query job do not begin with the fields that were asked for",
            )
            .hint("Name fields of the object in `fields`, or read with `bulk: never`."));
        }
        None => fields.to_vec(),
    };
    let columns: Vec<(&str, Option<ColumnType>)> = names
        .iter()
        .zip(fields)
        .map(|(name, field)| (name.as_str(), kinds.get(name).or_else(|| kinds.get(field)).copied()))
        .collect();
    let mut records = Vec::new();
    for (at, row) in rows.enumerate() {
        if row.len() == 1 && columns.len() > 1 && row.iter().all(String::is_empty) {
            continue;
        }
        if row.len() != columns.len() {
            return Err(Error::corrupt(format!(
                "record {} of the results of a query job has {} fields instead of {}",
                at + 1,
                row.len(),
                columns.len()
            ))
            .hint("Run it again; a proxy on the way may cut answers off."));
        }
        let cells: Vec<(&str, String)> = columns
            .iter()
            .zip(&row)
            .map(|((name, kind), cell)| (*name, value(*kind, cell)))
            .collect();
        let cells: Vec<(&str, &str)> =
            cells.iter().map(|(name, value)| (*name, value.as_str())).collect();
        records.push(object(&cells));
    }
    Ok(records)
}

/// A field as the REST API writes it.
fn value(kind: Option<ColumnType>, cell: &str) -> String {
    if cell.is_empty() {
        return "null".to_owned();
    }
    let plain = match kind {
        Some(ColumnType::Bool) => matches!(cell, "true" | "false"),
        Some(ColumnType::Int64 | ColumnType::Int32 | ColumnType::Float64) => {
            serde_json::from_str::<serde_json::Number>(cell).is_ok()
        }
        _ => false,
    };
    if plain {
        return cell.to_owned();
    }
    // One moment has one form, whichever API it comes by.
    let moment = (kind == Some(ColumnType::Timestamp)).then(|| cell.strip_suffix('Z')).flatten();
    Value::from(moment.map_or_else(|| cell.to_owned(), |local| format!("{local}+0000"))).to_string()
}

/// The JSON object of fields; those of a parent, `Account.Name`, are in an object of their own, which is
/// null if none has a value.
fn object(cells: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    let mut parents: Vec<&str> = Vec::new();
    let mut put = |name: &str, value: &str| {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&Value::from(name).to_string());
        text.push(':');
        text.push_str(value);
    };
    for (path, value) in cells {
        let Some((parent, _)) = path.split_once('.') else {
            put(path, value);
            continue;
        };
        if parents.contains(&parent) {
            continue;
        }
        parents.push(parent);
        let of_parent = |(path, value): &(&str, &str)| {
            let (head, rest) = path.split_once('.')?;
            (head == parent).then(|| (rest.to_owned(), (*value).to_owned()))
        };
        let own: Vec<(String, String)> = cells.iter().filter_map(of_parent).collect();
        if own.iter().all(|(_, value)| value == "null") {
            put(parent, "null");
            continue;
        }
        let own: Vec<(&str, &str)> =
            own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        put(parent, &object(&own));
    }
    text + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str, first: bool) -> Result<Vec<String>> {
        let fields = ["Id", "Name", "Score__c", "IsDeleted", "CreatedDate", "Account.Name"]
            .map(str::to_owned);
        let kinds = [
            ("Score__c", ColumnType::Float64),
            ("IsDeleted", ColumnType::Bool),
            ("CreatedDate", ColumnType::Timestamp),
        ];
        let kinds = kinds.map(|(name, kind)| (name.to_owned(), kind)).into();
        parsed(text.as_bytes(), first, &fields, &kinds)
    }

    #[test]
    fn csv_becomes_what_the_rest_api_writes() {
        let header =
            "\"Id\",\"Name\",\"Score__c\",\"IsDeleted\",\"CreatedDate\",\"Account.Name\"\n";
        let text = format!(
            "{header}\"1\",\"a \"\"b\"\",\nc\",\"1.50\",\"true\",\"2024-05-01T10:00:00.000Z\",\"Acme\"\n\"2\",\"\",\"\",\"false\",\"\",\"\"\n"
        );
        let expected = [
            r#"{"Id":"1","Name":"a \"b\",\nc","Score__c":1.50,"IsDeleted":true,"CreatedDate":"2024-05-01T10:00:00.000+0000","Account":{"Name":"Acme"}}"#,
            r#"{"Id":"2","Name":null,"Score__c":null,"IsDeleted":false,"CreatedDate":null,"Account":null}"#,
        ];
        assert_eq!(records(&text, true).unwrap(), expected);
        let rest = text.strip_prefix(header).unwrap();
        assert_eq!(records(rest, false).unwrap(), expected, "a later answer needs no header");
        assert!(records(rest, true).is_err(), "the first one does");
        assert!(records("", true).unwrap().is_empty());
        assert!(records(header, true).unwrap().is_empty());
        assert!(records(&format!("{header}1,2\n"), true).is_err(), "a record that is cut off");
    }
}
