//! The `crm` action: a record of a CRM per delivery, through a connection that takes records by a key.
//!
//! ```text
//! delivery ─► fields ─► record ─┐                       ┌─► taken     delivered
//! delivery ─► fields ─► record ─┼─► one request ─► each ┼─► refused   the dead letters, with the API's words
//! delivery ─► fields ─► record ─┘                       └─► busy      later
//! ```
//! A record is found by the field `key`. Where `fields` does not fill it, it holds the delivery's own key, so that a record
//! written again after a crash is the same one; without `key` each delivery makes a record, and must be sent once only. A
//! request is sent one time: waits are the outbox's. After a request without a clear answer the rest of the batch is held
//! back, and counts as not tried.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flywheel_base::{Error, ErrorKind, Result, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Action, ActionConfig, ActionContext, Delivery, NamedConnection, Outcome};
use crate::destination::rest::{Attempt, NOT_CONFIRMED, Template, without_values};
use crate::destination::{DestinationContext, DestinationEntry};
use crate::http::Unanswered;
use crate::ledger::{Fate, OutRow, Problem, Sent};
use crate::upsert::{UpsertRequest, Upserts};

/// Why a row has no effect of which nothing is said.
const LEFT_OUT: &str = "the system leaves the record out without a reason";

/// How long what a spent quota holds back waits before it is tried again.
const QUOTA_WAIT: Duration = Duration::from_secs(3_600);

/// So many records refused one by one, and none taken, hold back the rest of a batch: it is not the records.
const HOPELESS: usize = 25;

/// How long a system is left alone that gives no clear answer and does not ask to wait.
const HOLD: Duration = Duration::from_secs(60);

/// Writes records into a CRM: a task or note for each delivery, or fields of a contact.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrmAction {
    /// The connection that is written to, of type `salesforce`, `hubspot` or `rest`.
    pub connection: String,
    /// What is written into, with the settings that the `target` of a sync has for this connection: `{object: Task}`.
    pub target: Map<String, Value>,
    /// The field by which a record is found, with unique values: an external id such as `Flywheel_Key__c`, or `email`. If
    /// `fields` does not fill it, it gets the delivery's own key, so that each delivery makes one record however often it is
    /// sent. Without `key` each sending makes a record, which takes `guarantee: at-most-once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The fields of a record and what is in them: any JSON, in whose texts `{name}` stands for a member of the payload. A
    /// text that is one place becomes the value itself, and null takes a field's value away; a field whose only place the
    /// payload lacks is left as it is.
    pub fields: Map<String, Value>,
    /// Records of other objects that each record is tied to, for HubSpot: the object, and the id of its record as `{name}` of
    /// the payload, such as `{contacts: "{contact_id}"}`. Where the payload has no id, nothing is tied.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub associate: BTreeMap<String, String>,
}

impl CrmAction {
    /// What fills the fields.
    fn record(&self) -> Result<Record> {
        if self.fields.is_empty() {
            return Err(Error::invalid("the records have no fields")
                .hint("Write what is in them: `fields: {Subject: \"Call about {offer}\"}`."));
        }
        let key = self.key.as_deref().map(str::trim);
        if key.is_some_and(str::is_empty) {
            return Err(Error::invalid("`key` names no field")
                .hint("Name a field with unique values, or leave `key` out."));
        }
        let key = key.map(|key| (key.to_owned(), !self.fields.contains_key(key)));
        let mut ties = Vec::new();
        for id in self.associate.values() {
            ties.push(Template::parse(&json!(id))?);
        }
        Ok(Record { template: Template::parse(&Value::Object(self.fields.clone()))?, key, ties })
    }

    /// Every field that is written.
    fn named(&self) -> Vec<String> {
        let own = self.key.iter().filter(|key| !self.fields.contains_key(key.trim()));
        self.fields.keys().cloned().chain(own.map(|key| key.trim().to_owned())).collect()
    }
}

impl ActionConfig for CrmAction {
    const ABOUT: &'static str = "writes records into a CRM: tasks, notes, fields of contacts";
    const WRITES: bool = true;

    fn build(self, ctx: &ActionContext) -> Result<Box<dyn Action>> {
        let record = self.record()?;
        let Some(connection) = &ctx.connection else {
            return Err(Error::not_found(format!("no connection \"{}\"", self.connection))
                .hint("Declare it in `connections`, or correct the name."));
        };
        let NamedConnection { name, connector, settings } = connection;
        let of = |error: Error| error.context(format!("connection \"{name}\""));
        let entry = DestinationEntry::named(connector).map_err(of)?;
        let destination =
            DestinationContext { base_dir: ctx.base_dir.clone(), connection: name.clone() };
        let built = entry.build(settings.clone(), &destination).map_err(of)?;
        let request = UpsertRequest {
            target: Value::Object(self.target.clone()),
            key: record.key.as_ref().map(|(key, _)| key.clone()),
            fields: self.named(),
            ties: self.associate.keys().cloned().collect(),
            once: ctx.once,
        };
        let way = built.upserts(&request).map_err(of)?;
        let object = ["object", "path"].into_iter().find_map(|key| self.target.get(key)?.as_str());
        let receipt = match object {
            Some(object) => format!("{name} {object}"),
            None => name.clone(),
        };
        Ok(Box::new(Records { way, record, receipt, hold: Mutex::new(None) }))
    }

    fn written(&self, delivery: &Delivery) -> Result<Value> {
        let record = self.record()?.of(delivery);
        let values = record.map_err(|reason| {
            Error::invalid(format!("the record cannot be written: {reason}"))
                .hint("Check `fields` of the action against the policy's payload.")
        })?;
        let mut written =
            json!({ "connection": self.connection, "target": self.target, "record": values });
        let ids = self.record()?.ids_of(delivery);
        let ties: Map<String, Value> = self
            .associate
            .keys()
            .zip(ids)
            .filter_map(|(object, id)| Some((object.clone(), Value::String(id?))))
            .collect();
        if let (Some(written), false) = (written.as_object_mut(), ties.is_empty()) {
            written.insert("associate".to_owned(), Value::Object(ties));
        }
        Ok(written)
    }
}

/// What makes a record of a payload.
struct Record {
    template: Template,
    /// The field by which a record is found, and whether it holds the delivery's own key.
    key: Option<(String, bool)>,
    /// The ids of the records that it is tied to, by object.
    ties: Vec<Template>,
}

impl Record {
    /// The record of a delivery, or why there is none.
    fn of(&self, delivery: &Delivery) -> Result<Map<String, Value>, String> {
        let none = Map::new();
        let payload = delivery.payload.as_object().unwrap_or(&none);
        let Value::Object(mut values) = self.template.fill(payload, 0) else {
            return Err("its fields are no object".to_owned());
        };
        let Some((key, own)) = &self.key else { return Ok(values) };
        if *own {
            values.insert(key.clone(), json!(delivery.key));
        }
        let found = match values.get(key) {
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(Value::Number(_)) => true,
            _ => false,
        };
        if found {
            return Ok(values);
        }
        Err(format!("the field \"{key}\", by which a record is found, has no value"))
    }

    /// The ids of the records that a delivery's one is tied to, by object; none where the payload has none.
    fn ids_of(&self, delivery: &Delivery) -> Vec<Option<String>> {
        let none = Map::new();
        let payload = delivery.payload.as_object().unwrap_or(&none);
        let id = |template: &Template| match template.fill(payload, 0) {
            Value::String(text) => Some(text.trim().to_owned()).filter(|id| !id.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        self.ties.iter().map(id).collect()
    }

    /// What identifies a record, in the form in which systems compare it.
    fn id(&self, values: &Map<String, Value>) -> Option<String> {
        let (key, _) = self.key.as_ref()?;
        Some(match values.get(key)? {
            Value::String(text) => text.trim().to_lowercase(),
            other => other.to_string(),
        })
    }
}

struct Records {
    way: Upserts,
    record: Record,
    /// Where a record went, for the audit.
    receipt: String,
    /// What holds back everything else.
    hold: Mutex<Option<Hold>>,
}

/// Why nothing is sent for a while.
struct Hold {
    until: Instant,
    /// Whether the system asked for it.
    asked: bool,
    reason: String,
}

/// A record on its way, with its place in the batch.
struct Row {
    place: usize,
    row: OutRow,
}

#[async_trait]
impl Action for Records {
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut rows = Vec::with_capacity(batch.len());
        for (place, delivery) in batch.iter().enumerate() {
            match self.record.of(delivery) {
                Ok(values) => rows.push(Row { place, row: OutRow::alone(values) }),
                Err(reason) => set(&mut outcomes, place, Outcome::Rejected { reason }),
            }
        }
        let mut requests = self.requests(rows);
        let (mut alone, mut taken) = (0, false);
        while let Some(request) = requests.pop_front() {
            if let Some((after, reason)) = self.held() {
                for Row { place, .. } in request {
                    let reason = reason.clone();
                    set(&mut outcomes, place, Outcome::Waits { reason, after, tried: false });
                }
                continue;
            }
            let keys: Vec<&str> = request
                .iter()
                .filter_map(|row| batch.get(row.place).map(|one| one.key.as_str()))
                .collect();
            let key = request_key(&keys);
            let sent = {
                let rows: Vec<&OutRow> = request.iter().map(|row| &row.row).collect();
                self.way.send(&rows, &key).await
            };
            match sent {
                Ok(Attempt { sent, ids }) => {
                    alone += usize::from(request.len() == 1 && matches!(sent, Sent::Whole(_)));
                    let (ended, again) = divided(request, sent);
                    taken |= ended.iter().any(|one| one.fate == Fate::Done);
                    if let (Some(Fate::Refused(problem)), true) =
                        (ended.first().map(|one| &one.fate), alone >= HOPELESS && !taken)
                    {
                        self.hold(None, words(problem));
                    }
                    let written = self.settle(ended, &ids, &mut outcomes);
                    self.tie(batch, &written, &mut outcomes).await;
                    again.into_iter().rev().for_each(|request| requests.push_front(request));
                }
                Err(unanswered) => {
                    let outcome = self.unanswered(&unanswered, &request);
                    for Row { place, .. } in request {
                        set(&mut outcomes, place, outcome.clone());
                    }
                }
            }
        }
        let silent = || Outcome::Retry { reason: "nothing is known of it".to_owned(), after: None };
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(silent)).collect()
    }

    fn under_way(&self) -> usize {
        self.way.rows_max()
    }
}

impl Records {
    /// Cuts rows into requests, in order: not too many, and each record once.
    fn requests(&self, rows: Vec<Row>) -> VecDeque<Vec<Row>> {
        let rows_max = self.way.rows_max();
        let mut requests: VecDeque<Vec<Row>> = VecDeque::new();
        let mut ids = BTreeSet::new();
        for row in rows {
            let id = self.record.id(&row.row.values);
            let again = id.as_ref().is_some_and(|id| ids.contains(id));
            match requests.back_mut().filter(|request| request.len() < rows_max && !again) {
                Some(request) => request.push(row),
                None => {
                    ids.clear();
                    requests.push_back(vec![row]);
                }
            }
            ids.extend(id);
        }
        requests
    }

    /// Notes what became of rows; gives those that are there and have to be tied, with their ids.
    fn settle(
        &self,
        ended: Vec<Ended>,
        ids: &BTreeMap<usize, String>,
        outcomes: &mut [Option<Outcome>],
    ) -> Vec<(usize, String)> {
        let mut written = Vec::new();
        for Ended { at, row, fate } in ended {
            let outcome = match fate {
                Fate::Done if self.way.ties().is_empty() => {
                    Outcome::Delivered { receipt: self.receipt.clone() }
                }
                Fate::Done => match ids.get(&at) {
                    Some(id) => {
                        written.push((row.place, id.clone()));
                        continue;
                    }
                    None => Outcome::Retry {
                        reason: "the answer does not say which record it is".to_owned(),
                        after: None,
                    },
                },
                Fate::Refused(problem) => Outcome::Rejected { reason: words(&problem) },
                Fate::Busy(problem) if problem.code == NOT_CONFIRMED => {
                    Outcome::Retry { reason: words(&problem), after: None }
                }
                Fate::Busy(problem) => Outcome::Unreached { reason: words(&problem) },
                Fate::Unsent => Outcome::Unreached { reason: LEFT_OUT.to_owned() },
            };
            set(outcomes, row.place, outcome);
        }
        written
    }

    /// Ties records that are there, by their places and ids; what is tied is delivered. What is in doubt is written again,
    /// which changes nothing, and tied then.
    async fn tie(
        &self,
        batch: &[Delivery],
        written: &[(usize, String)],
        outcomes: &mut [Option<Outcome>],
    ) {
        for (number, tie) in self.way.ties().iter().enumerate() {
            let mut rows = Vec::new();
            for (place, id) in written {
                let ended = outcomes.get(*place).is_some_and(Option::is_some);
                let Some(delivery) = batch.get(*place).filter(|_| !ended) else { continue };
                let Some(Some(to)) = self.record.ids_of(delivery).into_iter().nth(number) else {
                    continue;
                };
                let mut values = Map::new();
                values.insert("from".to_owned(), json!(id));
                values.insert("to".to_owned(), json!(to));
                rows.push(Row { place: *place, row: OutRow::alone(values) });
            }
            let mut requests = VecDeque::from([rows]);
            while let Some(request) = requests.pop_front().filter(|request| !request.is_empty()) {
                let untied = |why: &str| format!("it is there, not tied to {}: {why}", tie.object);
                if let Some((after, why)) = self.held() {
                    let outcome = Outcome::Retry { reason: untied(&why), after: Some(after) };
                    request.iter().for_each(|row| set(outcomes, row.place, outcome.clone()));
                    continue;
                }
                let sent = {
                    let rows: Vec<&OutRow> = request.iter().map(|row| &row.row).collect();
                    tie.send(&rows, "").await
                };
                let (ended, again) = match sent {
                    Ok(sent) => divided(request, sent),
                    Err(unanswered) => {
                        // The record is there all the same.
                        let _: Outcome = self.unanswered(&unanswered, &request);
                        let reason = untied(&said(&unanswered.error, &request));
                        let outcome = Outcome::Retry { reason, after: unanswered.wait };
                        request.iter().for_each(|row| set(outcomes, row.place, outcome.clone()));
                        continue;
                    }
                };
                for Ended { row, fate, .. } in ended {
                    let outcome = match fate {
                        Fate::Done => continue,
                        Fate::Refused(problem) => {
                            Outcome::Rejected { reason: untied(&words(&problem)) }
                        }
                        Fate::Busy(problem) => {
                            Outcome::Retry { reason: untied(&words(&problem)), after: None }
                        }
                        Fate::Unsent => Outcome::Retry { reason: untied(LEFT_OUT), after: None },
                    };
                    set(outcomes, row.place, outcome);
                }
                again.into_iter().rev().for_each(|request| requests.push_front(request));
            }
        }
        for (place, _) in written {
            if outcomes.get(*place).is_some_and(Option::is_none) {
                set(outcomes, *place, Outcome::Delivered { receipt: self.receipt.clone() });
            }
        }
    }

    /// What it means that a request has no clear answer; what else is in the batch is held back.
    fn unanswered(&self, unanswered: &Unanswered, request: &[Row]) -> Outcome {
        let reason = said(&unanswered.error, request);
        let done = unanswered.perhaps_done;
        let spent = !done && unanswered.error.kind() == ErrorKind::Exhausted;
        let after = if spent { Some(QUOTA_WAIT) } else { unanswered.wait };
        self.hold(after, reason.clone());
        match after {
            after if done => Outcome::Retry { reason, after },
            Some(after) => Outcome::Waits { reason, after, tried: !spent },
            None => Outcome::Unreached { reason },
        }
    }

    /// Holds back everything else, for as long as the system asks for, if it does.
    fn hold(&self, asked: Option<Duration>, reason: String) {
        let until = Instant::now() + asked.unwrap_or(HOLD);
        let hold = Hold { until, asked: asked.is_some(), reason };
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold);
    }

    /// How long what is not sent has to wait at least, and why; none if it may be sent.
    fn held(&self) -> Option<(Duration, String)> {
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        let hold = hold.as_ref()?;
        let left = hold.until.checked_duration_since(Instant::now())?;
        let after = if hold.asked { left } else { Duration::ZERO };
        Some((after, format!("not sent yet: {}", hold.reason)))
    }
}

/// A row whose request ended, with its place in that.
struct Ended {
    at: usize,
    row: Row,
    fate: Fate,
}

/// What became of the rows of a request, and the requests that follow from it: halves of one that was refused as a whole,
/// and rows that had no effect because of others.
fn divided(mut request: Vec<Row>, sent: Sent) -> (Vec<Ended>, Vec<Vec<Row>>) {
    let count = request.len();
    let fates = match sent {
        // Nothing moved: smaller requests tell more.
        Sent::Each(fates) if count > 1 && fates.iter().all(|fate| *fate == Fate::Unsent) => {
            let second = request.split_off(count.div_ceil(2));
            return (Vec::new(), vec![request, second]);
        }
        Sent::Each(fates) => fates,
        Sent::Whole(problem) if count == 1 => vec![Fate::Refused(problem)],
        Sent::TooLarge if count == 1 => vec![Fate::Refused(Problem {
            column: None,
            code: "row-too-large".to_owned(),
            reason: "the record alone is larger than the system takes".to_owned(),
        })],
        Sent::Whole(_) | Sent::TooLarge => {
            let second = request.split_off(count.div_ceil(2));
            return (Vec::new(), vec![request, second]);
        }
    };
    let (mut ended, mut unsent) = (Vec::with_capacity(count), Vec::new());
    // A row without a fate keeps none: what became of it is not known.
    for (at, (row, fate)) in request.into_iter().zip(fates).enumerate() {
        match fate {
            Fate::Unsent if count > 1 => unsent.push(row),
            fate => ended.push(Ended { at, row, fate }),
        }
    }
    let again = if unsent.is_empty() { Vec::new() } else { vec![unsent] };
    (ended, again)
}

/// The idempotency key of a request: that of its delivery, or a digest of those of all.
fn request_key(keys: &[&str]) -> String {
    match keys {
        [one] => (*one).to_owned(),
        many => digest::hex(&many.iter().map(|key| key.as_bytes()).collect::<Vec<_>>()),
    }
}

/// An error about a request, without values of its records: its reason is told of others, too.
fn said(error: &Error, request: &[Row]) -> String {
    let rows: Vec<&OutRow> = request.iter().map(|row| &row.row).collect();
    without_values(error.message().to_owned(), &rows)
}

/// A problem in the system's words.
fn words(problem: &Problem) -> String {
    match problem.column.as_deref().filter(|column| !column.is_empty()) {
        Some(column) => format!("{} ({}, field \"{column}\")", problem.reason, problem.code),
        None => format!("{} ({})", problem.reason, problem.code),
    }
}

fn set(outcomes: &mut [Option<Outcome>], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}
