//! What programs say of decisions: outcomes and exposures that they hand in, each with the id of a decision.
//!
//! ```text
//! POST /v1/outcomes  ─► topic outcomes  ─► land ─► system.reported_outcomes ─► outcome::join ─► system.outcomes
//! POST /v1/exposures ─► topic exposures ─► land ─► system.exposures
//! ```
//! Every message becomes one row, also one that does not count: its status says why. The rows are committed with the
//! offset after the last of them, so a turn that is cut off reads on where it had come to. What arrived after the turn's
//! moment waits for the next turn.
//!
//! A [`Topic`] has to be opened before the session that looks decisions up: then every decision that was answered before
//! a message was handed in is seen, and one that is not found is none of ours.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result, Timestamp, digest, suggest, task};
use flywheel_connect::destination::journal::Journal;
use flywheel_connect::{JournalMessage, journal_between, journal_offsets};
use flywheel_warehouse::Checkpoint;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::outcome::{Through, final_before};
use crate::table::{ReportedRow, SystemTable};

/// Who moves the checkpoints.
const APP: &str = "reported";
/// So many messages become rows in one commit.
const MESSAGES_AT_ONCE: i64 = 10_000;
/// What is read of an outcome.
const OF_OUTCOME: [&str; 6] = ["decision_id", "event_id", "unit_id", "policy", "at", "value"];
/// The shortest of their names that is known again when it is misspelt.
const MISSPELT_MIN: usize = 4;
/// The longest text that is looked for among the ids of decisions.
const ID_BYTES_MAX: usize = 64;

/// It counts.
pub(crate) const TAKEN: &str = "taken";
/// The same was said before.
const REPEATED: &str = "repeated";
/// There is no such decision.
const UNKNOWN: &str = "unknown-decision";
/// The decision is about another unit.
const OTHER_UNIT: &str = "other-unit";
/// The decision is one of another policy.
const OTHER_POLICY: &str = "other-policy";
/// The policy does not say what counts.
const NO_OUTCOME: &str = "no-outcome";
/// Nothing can count for the decision any more.
const TOO_LATE: &str = "too-late";
/// It says nothing that can be used.
const UNREADABLE: &str = "unreadable";

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What came of a decision.
    Outcome,
    /// That somebody saw what was decided.
    Exposure,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Outcome, Self::Exposure];

    /// The topic of such messages.
    #[must_use]
    pub fn topic(self) -> &'static str {
        match self {
            Self::Outcome => "outcomes",
            Self::Exposure => "exposures",
        }
    }

    /// The table of such messages, within `system`.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Outcome => "reported_outcomes",
            Self::Exposure => "exposures",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Outcome => "an outcome",
            Self::Exposure => "an exposure",
        }
    }
}

/// What one message says.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    decision: String,
    unit: Option<String>,
    policy: Option<String>,
    event: Option<String>,
    item: Option<String>,
    at: Option<Timestamp>,
    value: Option<f64>,
}

impl Said {
    /// Reads a message; what it says beside that is left alone.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(kind: Kind, message: &Value) -> std::result::Result<Self, String> {
        let Value::Object(fields) = message else {
            return Err(format!("{} is a JSON object", kind.words()));
        };
        let decision = match fields.get("decision_id") {
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            _ => return Err(format!("{} needs the text `decision_id`", kind.words())),
        };
        let at =
            match text(fields, "at")? {
                Some(text) => Some(Timestamp::parse(&text).map_err(|_| {
                    "`at` has to be a moment such as 2024-05-01T12:30:00Z".to_owned()
                })?),
                None => None,
            };
        let value = match fields.get("value") {
            None | Some(Value::Null) => None,
            Some(value) => {
                Some(value.as_f64().ok_or_else(|| "`value` has to be a number".to_owned())?)
            }
        };
        Ok(Self {
            decision,
            unit: text(fields, "unit_id")?,
            policy: text(fields, "policy")?,
            event: text(fields, "event_id")?,
            item: text(fields, "item")?,
            at,
            value,
        })
    }

    /// The first field of an outcome that nothing reads and that is one letter off another one, which is not there, and that
    /// one: `valu` and `value`. Whatever else a message says is its sender's own.
    #[must_use]
    pub fn misspelt(kind: Kind, message: &Value) -> Option<(&str, &'static str)> {
        let fields = message.as_object().filter(|_| kind == Kind::Outcome)?;
        let letters = |name: &str| name.to_lowercase().replace(['_', '-'], "");
        let mut others =
            fields.keys().map(String::as_str).filter(|field| !OF_OUTCOME.contains(field));
        others.find_map(|field| {
            let said = letters(field);
            let meant = OF_OUTCOME.into_iter().find(|name| {
                name.len() >= MISSPELT_MIN
                    && !fields.contains_key(*name)
                    && suggest::distance(&said, &letters(name)) <= 1
            })?;
            Some((field, meant))
        })
    }
}

/// The text of a field; none if it is empty or not there.
fn text(fields: &Map<String, Value>, key: &str) -> std::result::Result<Option<String>, String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("`{key}` has to be a text")),
    }
}

/// A topic, as far as it was on disk when it was opened.
#[derive(Clone, Debug)]
pub struct Topic {
    kind: Kind,
    journal: Journal,
    dir: PathBuf,
    held: Range<i64>,
}

impl Topic {
    /// Opens the topic in a journal whose path begins in `dir`; none if nobody has handed in anything.
    ///
    /// # Errors
    /// Those of the journal.
    pub fn open(kind: Kind, journal: &Journal, dir: &Path) -> Result<Option<Self>> {
        let held = journal_offsets(journal, dir, kind.topic())?;
        let (journal, dir) = (journal.clone(), dir.to_owned());
        Ok(held.map(|held| Self { kind, journal, dir, held }))
    }

    /// What its messages say.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn read(&self, offsets: Range<i64>) -> Result<Vec<JournalMessage>> {
        journal_between(&self.journal, &self.dir, self.kind.topic(), offsets)
    }
}

/// What came of reading a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landed {
    /// How many messages have each status.
    pub statuses: BTreeMap<String, usize>,
    /// Messages that retention removed before a turn had read them.
    pub missing: i64,
    /// Whether the topic ends before what was read of it: it was removed and made anew, and was read from its start.
    pub anew: bool,
}

impl Landed {
    /// What people have to know of it, one sentence each.
    #[must_use]
    pub fn notices(&self, kind: Kind) -> Vec<String> {
        let (topic, table) = (kind.topic(), kind.table());
        let mut said = Vec::new();
        for (status, count) in &self.statuses {
            if status != TAKEN && status != REPEATED {
                said.push(format!(
                    "{count} of the {topic} handed in do not count ({status}); see system.{table}{}",
                    match status.as_str() {
                        NO_OUTCOME => ", and add outcome: with a window to the policy's file",
                        UNKNOWN => ", and send the decision_id that /v1/decide or the action gave",
                        _ => "",
                    }
                ));
            }
        }
        if self.missing > 0 {
            said.push(format!(
                "{} messages of the topic {topic} were removed before a turn had read them; keep them longer by the journal's retention_age or retention_bytes",
                self.missing
            ));
        }
        if self.anew {
            said.push(format!(
                "the topic {topic} ends before what was read of it, so it was read from its start: its files were removed or come from an older backup"
            ));
        }
        said
    }
}

/// A decision, as far as messages about it need it.
struct Known {
    policy: String,
    unit: String,
    at: i64,
}

/// What messages of one topic are judged by.
struct Judge<'a> {
    kind: Kind,
    /// Of each policy with an outcome, the moment before which nothing counts any more.
    horizons: &'a BTreeMap<String, i64>,
    turn: i64,
    now: Timestamp,
}

/// Makes rows of what a topic holds and no turn has read.
///
/// # Errors
/// Those of the journal and the lake.
/// # Cost
/// Nothing without new messages. Else the columns of `system.decisions` that say which decision is of whom are read once
/// for each 10,000 of them.
pub async fn land(ctx: &Context<'_>, topic: &Topic) -> Result<Landed> {
    let table = SystemTable::named(topic.kind.table())?;
    let head = ctx.lake.head(&table.location()?).await?;
    let is_empty = head.as_ref().is_none_or(|head| head.files == 0);
    let last = head.and_then(|head| head.checkpoints.get(APP).cloned());
    let mut sequence = last.as_ref().map_or(0, |last| last.sequence);
    let mut next = match &last {
        Some(last) => offset_of(table, last)?,
        None => topic.held.start,
    };
    let mut landed = Landed::default();
    if next > topic.held.end {
        landed.anew = true;
        next = topic.held.start;
    }
    landed.missing = (topic.held.start - next).max(0);
    next = next.max(topic.held.start);
    if next >= topic.held.end {
        return Ok(landed);
    }
    let horizons = horizons(ctx).await?;
    let judge = Judge { kind: topic.kind, horizons: &horizons, turn: ctx.turn, now: ctx.now };
    let mut counted: HashSet<String> = HashSet::new();
    while next < topic.held.end {
        let to = next.saturating_add(MESSAGES_AT_ONCE).min(topic.held.end);
        let (from, whole) = (next, topic.clone());
        let messages = task::compute(move || whole.read(from..to)).await?;
        let read = messages.len();
        let due = messages.into_iter().take_while(|message| message.at <= ctx.now);
        let due: Vec<Message> = due.map(|message| Message::of(topic.kind, message)).collect();
        if let Some(end) = due.last() {
            let position = json!({ "offset": end.offset.saturating_add(1) });
            let ids = list(due.iter().filter_map(Message::decision));
            let known = known(ctx, &ids).await?;
            if !is_empty && !known.is_empty() {
                counted.extend(taken(ctx, table, &ids).await?);
            }
            let rows: Vec<ReportedRow> =
                due.iter().map(|message| judge.row(message, &known, &mut counted)).collect();
            for row in &rows {
                *landed.statuses.entry(row.status.clone()).or_default() += 1;
            }
            sequence += 1;
            let checkpoint = Checkpoint { sequence, position };
            table.append(ctx.lake, &rows, Some((APP.to_owned(), checkpoint))).await?;
        }
        if due.len() < read {
            break;
        }
        next = to;
    }
    Ok(landed)
}

fn offset_of(table: &SystemTable, last: &Checkpoint) -> Result<i64> {
    last.position.get("offset").and_then(Value::as_i64).ok_or_else(|| {
        Error::corrupt(format!("system.{}: its checkpoint has no offset", table.name))
    })
}

/// The moment before which nothing counts any more, of each policy that says what counts.
async fn horizons(ctx: &Context<'_>) -> Result<BTreeMap<String, i64>> {
    let through = Through::load(ctx).await?;
    let policies = ctx.project.policies.iter().filter_map(|(name, policy)| {
        let outcome = policy.outcome.as_ref()?;
        let joined = through.joined(name, ctx.now);
        Some((name.clone(), final_before(joined, outcome).micros()))
    });
    Ok(policies.collect())
}

/// Ids as a list in SQL; those that cannot be ids of decisions are left out.
fn list<'m>(ids: impl Iterator<Item = &'m str>) -> String {
    let plain = |id: &&str| {
        (1..=ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let ids: BTreeSet<&str> = ids.filter(plain).collect();
    ids.into_iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ")
}

/// The decisions among a list of ids.
async fn known(ctx: &Context<'_>, ids: &str) -> Result<HashMap<String, Known>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "select decision_id, policy, unit_id, decided_at from system.decisions where decision_id in ({ids})"
    );
    let frame = ctx.frame_of_sql("decisions that programs name", &sql).await?;
    let names = frame.ids("decision_id")?.into_iter().zip(frame.ids("policy")?);
    let rows = names.zip(frame.ids("unit_id")?).zip(frame.moments("decided_at")?);
    Ok(rows.map(|(((id, policy), unit), at)| (id, Known { policy, unit, at })).collect())
}

/// What has been taken already of the decisions in a list.
async fn taken(ctx: &Context<'_>, table: &SystemTable, ids: &str) -> Result<Vec<String>> {
    let sql = format!(
        "select report_id from system.{} where status = '{TAKEN}' and decision_id in ({ids})",
        table.name
    );
    ctx.frame_of_sql("what programs said before", &sql).await?.ids("report_id")
}

/// A message and what it says, or why that cannot be told.
struct Message {
    offset: i64,
    arrived: Timestamp,
    said: std::result::Result<Said, String>,
}

impl Message {
    fn of(kind: Kind, message: JournalMessage) -> Self {
        let said = message.text.ok_or_else(|| "it is empty".to_owned()).and_then(|text| {
            let value: Value =
                serde_json::from_str(&text).map_err(|error| format!("it is no JSON: {error}"))?;
            let mut said = Said::read(kind, &value)?;
            if said.event.is_none() {
                // The very same said again is the same event.
                said.event = Some(digest::short(&[b"said", value.to_string().as_bytes()]));
            }
            Ok(said)
        });
        Self { offset: message.offset, arrived: message.at, said }
    }

    fn decision(&self) -> Option<&str> {
        self.said.as_ref().ok().map(|said| said.decision.as_str())
    }
}

impl Judge<'_> {
    /// The row of a message; what is taken is added to `counted`.
    fn row(
        &self,
        message: &Message,
        known: &HashMap<String, Known>,
        counted: &mut HashSet<String>,
    ) -> ReportedRow {
        let row = ReportedRow {
            offset: message.offset,
            arrived_at: message.arrived,
            turn: self.turn,
            recorded_at: self.now,
            ..ReportedRow::default()
        };
        let said = match &message.said {
            Ok(said) => said,
            Err(reason) => {
                let (status, reason) = (UNREADABLE.to_owned(), Some(reason.clone()));
                return ReportedRow { status, reason, ..row };
            }
        };
        // Nothing has happened after it was told.
        let at = said.at.map_or(message.arrived, |at| at.min(message.arrived));
        let of = known.get(&said.decision);
        let id = of.map(|_| self.id(said));
        let (status, reason) = match self.against(said, at, of) {
            Some(refused) => refused,
            None if id.clone().is_some_and(|id| !counted.insert(id)) => {
                (REPEATED, "the same was told of this decision before")
            }
            None => (TAKEN, ""),
        };
        ReportedRow {
            report_id: id,
            decision_id: Some(said.decision.clone()),
            policy: of.map(|of| of.policy.clone()),
            unit_id: of.map(|of| of.unit.clone()).or_else(|| said.unit.clone()),
            event_id: said.event.clone(),
            item: said.item.clone(),
            at: Some(at),
            value: said.value,
            status: status.to_owned(),
            reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
            ..row
        }
    }

    /// What tells a message from others about the same decision.
    fn id(&self, said: &Said) -> String {
        let part = match self.kind {
            Kind::Outcome => &said.event,
            Kind::Exposure => &said.item,
        };
        let part = part.as_deref().unwrap_or_default().as_bytes();
        let word = self.kind.topic().as_bytes();
        digest::short(&[word, said.decision.as_bytes(), part])
    }

    /// Why a message does not count, if so.
    fn against(
        &self,
        said: &Said,
        at: Timestamp,
        of: Option<&Known>,
    ) -> Option<(&'static str, &'static str)> {
        let Some(of) = of else {
            return Some((UNKNOWN, "no decision of this project has this id"));
        };
        if said.unit.as_ref().is_some_and(|unit| *unit != of.unit) {
            return Some((OTHER_UNIT, "the decision is about another unit than it names"));
        }
        if said.policy.as_ref().is_some_and(|policy| *policy != of.policy) {
            return Some((OTHER_POLICY, "the decision is one of another policy than it names"));
        }
        if self.kind == Kind::Exposure {
            return None;
        }
        match self.horizons.get(&of.policy) {
            None => Some((
                NO_OUTCOME,
                "the policy has no outcome: with a window in which it would count",
            )),
            Some(horizon) if of.at < *horizon || at.micros() <= *horizon => Some((
                TOO_LATE,
                "the decision or the outcome was older than two windows of the policy",
            )),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 10_000;

    #[test]
    fn a_field_that_is_another_one_misspelt_is_known_again() {
        let misspelt = |kind: Kind, said: Value| {
            Said::misspelt(kind, &said).map(|(field, meant)| format!("{field} for {meant}"))
        };
        let outcome = |said: Value| misspelt(Kind::Outcome, said);
        let found = outcome(json!({"decision_id": "d1", "valu": 9}));
        assert_eq!(found.as_deref(), Some("valu for value"));
        let found = outcome(json!({"decision_id": "d1", "eventId": "e"}));
        assert_eq!(found.as_deref(), Some("eventId for event_id"));
        assert_eq!(outcome(json!({"decision_id": "d1", "value": 9, "values": [4, 5]})), None);
        let own = json!({"decision_id": "d1", "event": "order", "agent_id": "a", "user_id": "u", "cat": 1, "id": 7});
        assert_eq!(outcome(own), None);
        assert_eq!(misspelt(Kind::Exposure, json!({"decision_id": "d1", "items": ["a"]})), None);
    }

    fn message(kind: Kind, offset: i64, text: &Value) -> Message {
        let at = Timestamp::from_micros(9_000);
        let text = Some(text.to_string());
        Message::of(kind, JournalMessage { topic: kind.topic().to_owned(), offset, at, text })
    }

    /// The rows of messages about the decisions `d1` and `d2` of policies with and without an outcome.
    fn rows(kind: Kind, said: &[Value]) -> Vec<ReportedRow> {
        let of = |policy: &str, at| Known { policy: policy.into(), unit: "u1".into(), at };
        let known = HashMap::from([
            ("d1".to_owned(), of("offer", 8_000)),
            ("d2".to_owned(), of("bare", 8_000)),
            ("old".to_owned(), of("offer", 4_999)),
        ]);
        let horizons = BTreeMap::from([("offer".to_owned(), 5_000)]);
        let now = Timestamp::from_micros(NOW);
        let judge = Judge { kind, horizons: &horizons, turn: 3, now };
        let mut counted = HashSet::new();
        let messages = (0..).zip(said).map(|(offset, one)| message(kind, offset, one));
        messages.map(|one| judge.row(&one, &known, &mut counted)).collect()
    }

    fn statuses(kind: Kind, said: &[Value]) -> Vec<String> {
        rows(kind, said).into_iter().map(|row| row.status).collect()
    }

    #[test]
    fn an_outcome_is_taken_once_and_every_other_message_says_why_not() {
        let bought = json!({"decision_id": "d1", "event_id": "o-1", "value": -2.5});
        let said = [
            bought.clone(),
            bought,
            json!({"decision_id": "d1", "event_id": "o-2", "unit_id": "u1", "policy": "offer"}),
            json!({"decision_id": "gone"}),
            json!({"decision_id": "d1", "unit_id": "u2"}),
            json!({"decision_id": "d1", "policy": "bare"}),
            json!({"decision_id": "d2"}),
            json!({"decision_id": "old"}),
            json!({"decision_id": "d1", "at": "1970-01-01T00:00:00Z"}),
            json!({"decision_id": "d1", "value": "much"}),
            json!({"decision_id": 7}),
            json!([1]),
        ];
        let expected = [
            TAKEN,
            REPEATED,
            TAKEN,
            UNKNOWN,
            OTHER_UNIT,
            OTHER_POLICY,
            NO_OUTCOME,
            TOO_LATE,
            TOO_LATE,
            UNREADABLE,
            UNREADABLE,
            UNREADABLE,
        ];
        assert_eq!(statuses(Kind::Outcome, &said), expected);
        let rows = rows(Kind::Outcome, &said);
        assert_eq!((rows[0].value, rows[0].at), (Some(-2.5), Some(Timestamp::from_micros(9_000))));
        assert_eq!(rows[0].unit_id.as_deref(), Some("u1"));
        assert!(rows.iter().all(|row| (row.status == TAKEN) == row.reason.is_none()), "{rows:?}");
        let places: Vec<i64> = rows.iter().map(|row| row.offset).collect();
        assert_eq!(places, (0..12).collect::<Vec<_>>(), "none is lost");
    }

    #[test]
    fn without_an_event_id_the_very_same_counts_once_and_nothing_happens_after_it_was_told() {
        let said = [
            json!({"decision_id": "d1", "value": 1}),
            json!({"decision_id": "d1", "value": 1}),
            json!({"decision_id": "d1", "value": 2, "at": "2999-01-01T00:00:00Z"}),
        ];
        assert_eq!(statuses(Kind::Outcome, &said), [TAKEN, REPEATED, TAKEN]);
        let last = rows(Kind::Outcome, &said).pop();
        assert_eq!(last.and_then(|row| row.at), Some(Timestamp::from_micros(9_000)));
    }

    #[test]
    fn an_exposure_counts_once_for_decision_and_item_also_without_an_outcome() {
        let said = [
            json!({"decision_id": "d2", "item": "p-1"}),
            json!({"decision_id": "d2", "item": "p-1", "at": "1970-01-01"}),
            json!({"decision_id": "d2", "item": "p-2"}),
            json!({"decision_id": "d2"}),
            json!({"decision_id": "gone"}),
        ];
        assert_eq!(statuses(Kind::Exposure, &said), [TAKEN, REPEATED, TAKEN, TAKEN, UNKNOWN]);
    }

    #[test]
    fn what_cannot_be_an_id_is_never_part_of_a_query() {
        assert_eq!(list(["b2", "a1", "x' or 1=1", "", "a1"].into_iter()), "'a1', 'b2'");
        assert_eq!(list(["é"].into_iter()), "");
    }

    #[test]
    fn people_are_told_of_what_does_not_count() {
        let statuses = BTreeMap::from([(TAKEN.to_owned(), 3), (UNKNOWN.to_owned(), 2)]);
        let landed = Landed { statuses, missing: 0, anew: false };
        let said = landed.notices(Kind::Outcome);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("2 of the outcomes handed in do not count"), "{said:?}");
        assert!(said[0].contains("system.reported_outcomes"), "{said:?}");
    }
}
