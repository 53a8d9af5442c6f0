//! One request of rows, and what its answer says about each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use reqwest::Method;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::template::{PathTemplate, Template};
use crate::http::{Answer, Call, Client, JsonPath, Unanswered, without};
use crate::ledger::{Fate, Op, OutRow, Problem, Sender, Sent};

/// The code of a row of which an answer does not say whether it was taken.
pub(crate) const NOT_CONFIRMED: &str = "not-confirmed";

/// The code of a row that is refused without one.
const REFUSED: &str = "refused";

/// What is said of a row that is refused without a word.
const NO_REASON: &str = "no reason given";

/// A request that carries rows, ready for use.
#[derive(Clone, Debug)]
pub(crate) struct RowRequest {
    pub(crate) method: Method,
    pub(crate) path: PathTemplate,
    /// How many rows one request carries.
    pub(crate) rows_max: usize,
    /// Where the rows are in the body; without steps the rows are the body.
    pub(crate) rows: JsonPath,
    /// What one row becomes.
    pub(crate) row: Template,
    /// What else is in the body.
    pub(crate) body: Option<Value>,
    /// Whether there is no body at all.
    pub(crate) bare: bool,
}

/// How an answer tells what became of rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// Where the list of entries is; nothing if an answer tells nothing of rows.
    pub(crate) list: Option<JsonPath>,
    /// Where an entry names its row's place, if it does.
    pub(crate) index: Option<JsonPath>,
    /// Where an entry names its row's id, if it does.
    pub(crate) id: Option<JsonPath>,
    /// The column of that id.
    pub(crate) id_column: String,
    /// Where an entry says that it is no error.
    pub(crate) success: Option<JsonPath>,
    pub(crate) message: Option<JsonPath>,
    pub(crate) code: Option<JsonPath>,
    pub(crate) column: Option<JsonPath>,
    /// The codes of rows that can be taken later.
    pub(crate) busy: BTreeSet<String>,
    /// Where an answer lists the rows it took, named as errors are; a row in neither list is sent
    /// again.
    pub(crate) taken: Option<JsonPath>,
    /// Where an entry of that list names its row's place.
    pub(crate) taken_index: Option<JsonPath>,
    /// Where an entry of that list has the record's id.
    pub(crate) taken_id: Option<JsonPath>,
}

/// What came of a request that was sent one time.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// What became of the rows.
    pub(crate) sent: Sent,
    /// The ids that the system gives to the rows it took, by place, as far as it says them.
    pub(crate) ids: BTreeMap<usize, String>,
}

/// Sends rows to an API as a target declares it.
pub(crate) struct RestSender {
    pub(crate) client: Arc<Client>,
    pub(crate) put: RowRequest,
    pub(crate) delete: Option<RowRequest>,
    pub(crate) reading: Reading,
    pub(crate) idempotency_header: Option<String>,
    /// Whether a request that was perhaps received can be sent again.
    pub(crate) repeatable: bool,
}

impl RestSender {
    fn request(&self, op: Op) -> Result<&RowRequest> {
        match op {
            Op::Put => Ok(&self.put),
            Op::Delete => self.delete.as_ref().ok_or_else(|| {
                Error::invalid(
                    "rows are marked as deleted, but the target says nothing of deleting",
                )
                .hint("Set the target's `delete`, or write with `merge`.")
            }),
        }
    }

    /// Sends rows that are put there, one time: whoever keeps them comes back by himself. The rows have different keys.
    pub(crate) async fn attempt(&self, rows: &[&OutRow], key: &str) -> Result<Attempt, Unanswered> {
        let call = match self.call(&self.put, rows, key) {
            Ok(call) => call,
            Err(problem) => {
                return Ok(Attempt { sent: Sent::Whole(problem), ids: BTreeMap::new() });
            }
        };
        let answer = self.client.attempt(&call).await?;
        let taken = answer.status.is_success();
        let sent = match self.judge(&self.put, rows, &answer, Op::Put) {
            Ok(sent) => sent,
            // A refusal of the whole did nothing; an answer that cannot be read may have done all.
            Err(error) => return Err(Unanswered { error, perhaps_done: taken, wait: None }),
        };
        let ids = self.ids(&answer, rows);
        let sent = match sent {
            // Some of it was done: smaller requests would do that once more.
            Sent::Whole(problem) if taken && rows.len() > 1 && !self.repeatable => {
                let reason = problem.reason;
                let doubt = Problem { column: None, code: NOT_CONFIRMED.to_owned(), reason };
                let fate = |place: usize| match ids.contains_key(&place) {
                    true => Fate::Done,
                    false => Fate::Busy(doubt.clone()),
                };
                Sent::Each((0..rows.len()).map(fate).collect())
            }
            sent => sent,
        };
        Ok(Attempt { sent, ids })
    }

    /// The ids of the rows that an answer says it took, by place.
    fn ids(&self, answer: &Answer, rows: &[&OutRow]) -> BTreeMap<usize, String> {
        let mut ids = BTreeMap::new();
        let Reading { taken: Some(list), taken_id: Some(of), taken_index, .. } = &self.reading
        else {
            return ids;
        };
        let found = answer.json().ok().and_then(|text| list.find(text).ok().flatten());
        let items: Vec<&RawValue> =
            found.and_then(|found| serde_json::from_str(found).ok()).unwrap_or_default();
        for item in items {
            let Ok(Some(id)) = of.plain(item.get()) else { continue };
            let places = many(taken_index.as_ref(), item.get());
            let places = places.iter().filter_map(|name| name.parse::<usize>().ok());
            for place in places.filter(|place| *place < rows.len()) {
                ids.insert(place, id.clone());
            }
        }
        ids
    }

    fn call(&self, request: &RowRequest, rows: &[&OutRow], key: &str) -> Result<Call, Problem> {
        let mut values: Vec<Value> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| request.row.fill(&row.values, index))
            .collect();
        let empty = Map::new();
        let first = rows.first().map_or(&empty, |row| &row.values);
        let path = request.path.fill(first).map_err(|(column, misfit)| Problem {
            column: Some(column),
            code: misfit.code.to_owned(),
            reason: misfit.reason,
        })?;
        let mut call = Call::new(request.method.clone(), &path);
        if !request.bare {
            let single = request.rows_max == 1 && request.rows.steps().is_empty();
            let content = match (single, values.pop()) {
                (true, Some(value)) => value,
                (false, Some(value)) => {
                    values.push(value);
                    Value::Array(values)
                }
                (_, None) => Value::Null,
            };
            let mut body = request.body.clone().unwrap_or(Value::Null);
            place(&mut body, request.rows.steps(), content);
            call =
                call.header("content-type", "application/json").body(body.to_string().into_bytes());
        }
        if let Some(header) = &self.idempotency_header {
            call = call.header(header, key);
        }
        Ok(if self.repeatable { call } else { call.once() })
    }

    fn judge(
        &self,
        request: &RowRequest,
        rows: &[&OutRow],
        answer: &Answer,
        op: Op,
    ) -> Result<Sent> {
        let status = answer.status.as_u16();
        let own_path = !request.path.columns().is_empty() && rows.len() == 1;
        match status {
            204 => Ok(Sent::Each(vec![Fate::Done; rows.len()])),
            200..=299 => self.read_taken(rows, answer),
            404 | 410 if own_path && op == Op::Delete => Ok(Sent::Each(vec![Fate::Done])),
            413 => Ok(Sent::TooLarge),
            400 | 409 | 422 => self.read_refused(rows, answer),
            404 | 410 if own_path => self.read_refused(rows, answer),
            _ => Err(answer.error()),
        }
    }

    /// A request that was taken, perhaps without some of its rows.
    fn read_taken(&self, rows: &[&OutRow], answer: &Answer) -> Result<Sent> {
        let Some(list) = &self.reading.list else {
            if answer.is_web_page() {
                return answer.json().map(|_| Sent::Each(Vec::new()));
            }
            return Ok(Sent::Each(vec![Fate::Done; rows.len()]));
        };
        if answer.body.is_empty() && self.reading.taken.is_none() {
            return Ok(Sent::Each(vec![Fate::Done; rows.len()]));
        }
        let text = answer.json()?;
        let Entries { named, stray, any } = self.entries(list, text, rows, answer)?;
        if let Some(problem) = stray {
            return Ok(Sent::Whole(problem));
        }
        if self.is_positional() && any != rows.len() && any > 0 {
            let (any, count) = (any, rows.len());
            return Err(Error::invalid(format!("the answer lists {any} rows for {count} that were sent"))
                .hint("Set the target's `errors.index` or `errors.id`: its errors are not one for each row."));
        }
        let confirmed = self.confirmed(text, rows)?;
        let fate = |place: usize| match (named.get(&place), &confirmed) {
            (Some(fate), _) => fate.clone(),
            (None, Some(confirmed)) if !confirmed.contains(&place) => Fate::Busy(Problem {
                column: None,
                code: NOT_CONFIRMED.to_owned(),
                reason: "the answer names the row neither as taken nor as refused".to_owned(),
            }),
            (None, _) => Fate::Done,
        };
        Ok(Sent::Each((0..rows.len()).map(fate).collect()))
    }

    /// A request that was refused as a whole, perhaps because of rows it names.
    fn read_refused(&self, rows: &[&OutRow], answer: &Answer) -> Result<Sent> {
        let status = answer.status.as_u16();
        if let (Some(list), Ok(text)) = (&self.reading.list, answer.json()) {
            let entries = self.entries(list, text, rows, answer)?;
            let named = entries.named;
            let failed = named.values().any(|fate| *fate != Fate::Done);
            // A list by places that is not one entry for each row is about the whole request.
            let of_rows = !self.is_positional() || entries.any == rows.len();
            if failed && of_rows && rows.len() > 1 && entries.stray.is_none() {
                let fate = |place| match named.get(&place) {
                    Some(Fate::Done) | None => Fate::Unsent,
                    Some(fate) => fate.clone(),
                };
                return Ok(Sent::Each((0..rows.len()).map(fate).collect()));
            }
            if let (Some(fate), 1) = (named.into_values().next(), rows.len())
                && fate != Fate::Done
                && of_rows
                && !is_silent(&fate)
            {
                return Ok(Sent::Each(vec![fate]));
            }
        }
        let said = answer.said().unwrap_or_else(|| NO_REASON.to_owned());
        let code = match status {
            409 => "conflict",
            404 | 410 => "not-found",
            _ => REFUSED,
        };
        let reason = format!("{} ({status})", without_values(said, rows));
        Ok(Sent::Whole(Problem { column: None, code: code.to_owned(), reason }))
    }

    /// Whether entries name no rows and are one for each.
    fn is_positional(&self) -> bool {
        self.reading.index.is_none() && self.reading.id.is_none()
    }

    fn entries(
        &self,
        list: &JsonPath,
        text: &str,
        rows: &[&OutRow],
        answer: &Answer,
    ) -> Result<Entries> {
        let reading = &self.reading;
        let broken = |error| Error::corrupt("the answer about rows is not JSON").caused_by(error);
        let mut entries = Entries::default();
        let Some(found) = list.find(text).map_err(broken)? else { return Ok(entries) };
        if !found.starts_with('[') {
            return Ok(entries);
        }
        let items: Vec<&RawValue> = serde_json::from_str(found).map_err(broken)?;
        entries.any = items.len();
        for (at, item) in items.iter().enumerate() {
            let plain = |path: &Option<JsonPath>| match path {
                Some(path) => path.plain(item.get()).ok().flatten(),
                None => None,
            };
            if plain(&reading.success).is_some_and(|success| success == "true") {
                continue;
            }
            let code = plain(&reading.code);
            let said = plain(&reading.message).map(|said| answer.clean(said));
            let places = self.places(item.get(), at, rows);
            if reading.success.is_none() && said.is_none() && code.is_none() && places.is_empty() {
                continue;
            }
            let busy = code.as_ref().is_some_and(|code| reading.busy.contains(code));
            let problem = Problem {
                column: plain(&reading.column),
                code: code.map_or_else(|| REFUSED.to_owned(), |code| kebab(&code)),
                reason: without_values(said.unwrap_or_else(|| NO_REASON.to_owned()), rows),
            };
            if places.is_empty() {
                entries.stray.get_or_insert(problem);
                continue;
            }
            for place in places {
                let fate =
                    if busy { Fate::Busy(problem.clone()) } else { Fate::Refused(problem.clone()) };
                entries.named.insert(place, fate);
            }
        }
        Ok(entries)
    }

    /// The rows an entry is about.
    fn places(&self, entry: &str, at: usize, rows: &[&OutRow]) -> Vec<usize> {
        let reading = &self.reading;
        let exists = |place: &usize| *place < rows.len();
        if self.is_positional() {
            return Some(at).filter(exists).into_iter().collect();
        }
        let mut places = Vec::new();
        for name in many(reading.index.as_ref(), entry) {
            places.extend(name.parse::<usize>().ok().filter(exists));
        }
        for id in many(reading.id.as_ref(), entry) {
            let same = |row: &OutRow| match row.values.get(&reading.id_column) {
                Some(Value::String(text)) => *text == id,
                Some(value) => {
                    let text = value.to_string();
                    text == id
                }
                None => false,
            };
            places.extend(rows.iter().position(|row| same(row)));
        }
        places
    }

    /// The rows the answer says it took, if it says so.
    fn confirmed(&self, text: &str, rows: &[&OutRow]) -> Result<Option<BTreeSet<usize>>> {
        let Some(list) = &self.reading.taken else { return Ok(None) };
        let broken = |error| Error::corrupt("the answer about rows is not JSON").caused_by(error);
        let found = list.find(text).map_err(broken)?.filter(|found| found.starts_with('['));
        let items: Vec<&RawValue> = serde_json::from_str(found.unwrap_or("[]")).map_err(broken)?;
        let mut places = BTreeSet::new();
        let mut unnamed = 0;
        for item in &items {
            let names = many(self.reading.taken_index.as_ref(), item.get());
            let found: Vec<usize> = names
                .iter()
                .filter_map(|name| name.parse().ok())
                .filter(|at| *at < rows.len())
                .collect();
            unnamed += usize::from(found.is_empty());
            places.extend(found);
        }
        // A server that does not name them, but took as many as were sent, took them all.
        if unnamed == items.len() && items.len() == rows.len() {
            return Ok(None);
        }
        Ok(Some(places))
    }
}

/// Whether nothing says why: what the answer says as a whole tells more.
fn is_silent(fate: &Fate) -> bool {
    matches!(fate, Fate::Refused(problem) if problem.code == REFUSED && problem.reason == NO_REASON)
}

/// What an answer says of rows.
#[derive(Default)]
struct Entries {
    /// By place.
    named: BTreeMap<usize, Fate>,
    /// An error that names no row.
    stray: Option<Problem>,
    /// How many entries there are.
    any: usize,
}

/// The plain values at a path: one, or those of a list.
fn many(path: Option<&JsonPath>, entry: &str) -> Vec<String> {
    let Some(path) = path else { return Vec::new() };
    if let Ok(Some(one)) = path.plain(entry) {
        return vec![one];
    }
    let Ok(Some(list)) = path.find(entry) else { return Vec::new() };
    let items: Vec<&RawValue> = serde_json::from_str(list).unwrap_or_default();
    let whole = JsonPath::default();
    items.iter().filter_map(|item| whole.plain(item.get()).ok().flatten()).collect()
}

/// Puts rows into a body; objects on the way are made.
fn place(body: &mut Value, steps: &[String], content: Value) {
    let mut here = body;
    for step in steps {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        let Value::Object(members) = here else { return };
        here = members.entry(step.clone()).or_insert(Value::Null);
    }
    *here = content;
}

/// `REQUIRED_FIELD_MISSING` as `required-field-missing`.
pub(crate) fn kebab(code: &str) -> String {
    let mapped = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let kebab: String = code.chars().map(mapped).take(60).collect();
    let kebab = kebab.trim_matches('-').to_owned();
    if kebab.is_empty() { REFUSED.to_owned() } else { kebab }
}

/// What a server says, without values of the rows it was sent.
pub(crate) fn without_values(said: String, rows: &[&OutRow]) -> String {
    let mut texts = Vec::new();
    for row in rows {
        row.values.values().for_each(|value| collect(value, &mut texts));
    }
    without(said, texts.iter().map(String::as_str))
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => members.values().for_each(|member| collect(member, texts)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[async_trait]
impl Sender for RestSender {
    fn rows_max(&self, op: Op) -> usize {
        match op {
            Op::Put => self.put.rows_max,
            Op::Delete => self.delete.as_ref().map_or(1, |delete| delete.rows_max),
        }
    }

    fn content(&self, op: Op, row: &Map<String, Value>) -> Result<String> {
        let request = self.request(op)?;
        let path = request.path.fill(row).unwrap_or_default();
        Ok(format!("{path} {}", request.row.fill(row, 0)))
    }

    async fn send(&mut self, op: Op, rows: &[&OutRow], key: &str) -> Result<Sent> {
        let request = self.request(op)?;
        let call = match self.call(request, rows, key) {
            Ok(call) => call,
            Err(problem) => return Ok(Sent::Whole(problem)),
        };
        let answer = self.client.exchange(&call).await?;
        self.judge(request, rows, &answer, op)
    }

    async fn wait(&self, wait: Duration) {
        self.client.sleep(wait).await;
    }
}
