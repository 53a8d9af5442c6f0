//! The writer of every destination that sends rows by requests: what to send, in which requests,
//! what became of each row.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, Result, digest, task};
use serde_json::{Map, Value};

use super::log::{Keep, Ledger, Mark};
use super::rows::objects;
use crate::destination::{Checkpoint, Refused, WriteMode, Writer, Written};

/// How often a row is sent again that the target could not take just then.
const ROW_TRIES_MAX: u32 = 5;

/// The first wait before that; it doubles each time.
const ROW_WAIT_FIRST: Duration = Duration::from_secs(1);

/// So many single rows refused for one reason, and none ever taken, end the write: it is not the rows.
const HOPELESS_ROWS: usize = 25;

/// What is done to a row in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// It is put there.
    Put,
    /// It is removed.
    Delete,
}

/// A row on its way out.
#[derive(Clone, Debug)]
pub(crate) struct OutRow {
    /// Its values by column.
    pub(crate) values: Map<String, Value>,
    /// Its place in the batch it came with.
    place: usize,
    mark: Mark,
    op: Op,
}

impl OutRow {
    /// A row that is put there alone, of which no account is kept.
    pub(crate) fn alone(values: Map<String, Value>) -> Self {
        Self { values, place: 0, mark: Mark { key: 0, fingerprint: 0 }, op: Op::Put }
    }
}

/// What is wrong with a row, in the target's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The column, if the target tells.
    pub(crate) column: Option<String>,
    /// For counting, kebab-case.
    pub(crate) code: String,
    /// For a person, without the row's values.
    pub(crate) reason: String,
}

/// What became of one row of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The target has it.
    Done,
    /// The target will not take it.
    Refused(Problem),
    /// The target could not take it just then.
    Busy(Problem),
    /// It had no effect because of others in the request.
    Unsent,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// What became of each row, in order.
    Each(Vec<Fate>),
    /// It was refused, and nothing says because of which row.
    Whole(Problem),
    /// It was too large.
    TooLarge,
}

/// A way to send rows.
#[async_trait]
pub(crate) trait Sender: Send + Sync {
    /// How many rows one request carries.
    fn rows_max(&self, op: Op) -> usize;

    /// What of a row decides whether the target has it already: the text that would be sent.
    fn content(&self, op: Op, row: &Map<String, Value>) -> Result<String>;

    /// Sends rows, all with the same `op` and different keys, under an idempotency key.
    ///
    /// An error is one of the system; whether the rows had an effect is then not known.
    async fn send(&mut self, op: Op, rows: &[&OutRow], key: &str) -> Result<Sent>;

    /// Waits before rows are sent again.
    async fn wait(&self, wait: Duration);
}

/// What a write is about.
#[derive(Clone, Debug)]
pub(crate) struct WriteRules {
    /// How rows meet what is there: append, merge or mirror.
    pub(crate) mode: WriteMode,
    /// The columns that identify a row.
    pub(crate) key: Vec<String>,
    /// The boolean column that marks deleted rows; it is not sent.
    pub(crate) deleted: Option<String>,
    /// Text columns that hold JSON.
    pub(crate) json: BTreeSet<String>,
    /// Whether rows that the target has are sent all the same.
    pub(crate) send_unchanged: bool,
}

/// Writes rows by requests and keeps account of them in a ledger.
pub(crate) struct LedgerWriter<S> {
    sender: S,
    rules: WriteRules,
    ledger: Arc<Mutex<Ledger>>,
    /// Rows handed over since the last commit.
    ordinal: u64,
    written: Written,
    /// A request with more rows was too large.
    rows_max: usize,
    taken: bool,
    hopeless: usize,
}

/// Rows that go out in one request.
struct Group {
    op: Op,
    rows: Vec<OutRow>,
    tries: u32,
}

impl<S: Sender> LedgerWriter<S> {
    /// Starts to write.
    pub(crate) fn new(sender: S, rules: WriteRules, ledger: Ledger) -> Self {
        Self {
            sender,
            rules,
            ledger: Arc::new(Mutex::new(ledger)),
            ordinal: 0,
            written: Written::default(),
            rows_max: usize::MAX,
            taken: false,
            hopeless: 0,
        }
    }

    /// Works on the ledger away from the async threads: it waits for the disk.
    async fn ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ledger) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let ledger = Arc::clone(&self.ledger);
        task::compute(move || work(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
    }

    /// The rows of a batch that have to be sent, and those that cannot be.
    fn plan(&mut self, batch: &RecordBatch) -> Result<(Vec<OutRow>, Vec<Refused>)> {
        let deleted = self.deleted(batch)?;
        let ledger = Arc::clone(&self.ledger);
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = ledger.committed().map_or(0, |checkpoint| checkpoint.sequence);
        let mut latest: BTreeMap<u128, u64> = BTreeMap::new();
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        for (place, object) in objects(batch, &self.rules.json)?.into_iter().enumerate() {
            let ordinal = self.ordinal;
            self.ordinal += 1;
            let mut values = match object {
                Ok(values) => values,
                Err((column, misfit)) => {
                    let (code, reason) = (misfit.code.to_owned(), misfit.reason);
                    refused.push(Refused { row: place, column: Some(column), code, reason });
                    continue;
                }
            };
            if let Some(column) = &self.rules.deleted {
                values.shift_remove(column);
            }
            let op = if deleted.get(place) == Some(&true) { Op::Delete } else { Op::Put };
            let missing =
                self.rules.key.iter().find(|name| values.get(*name).is_none_or(Value::is_null));
            if let Some(column) = missing {
                let reason = format!("no value in the key column \"{column}\"");
                let (column, code) = (Some(column.clone()), "key-missing".to_owned());
                refused.push(Refused { row: place, column, code, reason });
                continue;
            }
            let content = self.sender.content(op, &values)?;
            let fingerprint = digest::hash64(&[&[op as u8], content.as_bytes()]);
            let key = match self.rules.mode {
                WriteMode::Append => key_digest(&[
                    &sequence.to_le_bytes(),
                    &ordinal.to_le_bytes(),
                    &fingerprint.to_le_bytes(),
                ]),
                _ => {
                    let parts: Vec<String> = self
                        .rules
                        .key
                        .iter()
                        .map(|name| values.get(name).map(Value::to_string).unwrap_or_default())
                        .collect();
                    key_digest(&parts.iter().map(String::as_bytes).collect::<Vec<_>>())
                }
            };
            let known = latest.get(&key).copied().or_else(|| ledger.current(key));
            let resend = self.rules.send_unchanged && self.rules.mode != WriteMode::Append;
            if op == Op::Put && known == Some(fingerprint) && !resend {
                continue;
            }
            latest.insert(key, fingerprint);
            rows.push(OutRow { values, place, mark: Mark { key, fingerprint }, op });
        }
        Ok((rows, refused))
    }

    /// Which rows are marked as deleted.
    fn deleted(&self, batch: &RecordBatch) -> Result<Vec<bool>> {
        let Some(name) = &self.rules.deleted else { return Ok(Vec::new()) };
        let Some(column) = batch.column_by_name(name) else { return Ok(Vec::new()) };
        if column.data_type() != &DataType::Boolean {
            return Err(Error::invalid(format!(
                "the column \"{name}\" that marks deleted rows is not boolean"
            ))
            .hint("Make it true for deleted rows and false for others."));
        }
        let values = column.as_boolean();
        Ok((0..values.len()).map(|at| values.is_valid(at) && values.value(at)).collect())
    }

    /// Cuts rows into requests, in order: one kind of change, each key once, not too many, and rows
    /// of a request without answer together as they were.
    fn groups(&self, rows: Vec<OutRow>) -> VecDeque<Group> {
        let doubts = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).doubts();
        let mut groups: VecDeque<Group> = VecDeque::new();
        let mut keys: BTreeSet<u128> = BTreeSet::new();
        let mut last_doubt = None;
        for row in rows {
            let doubt = doubts.get(&row.mark).copied();
            let rows_max = self.sender.rows_max(row.op).min(self.rows_max).max(1);
            let fits = groups.back().is_some_and(|group| {
                group.op == row.op
                    && group.rows.len() < rows_max
                    && !keys.contains(&row.mark.key)
                    && doubt == last_doubt
            });
            if !fits {
                groups.push_back(Group { op: row.op, rows: Vec::new(), tries: 0 });
                keys.clear();
            }
            keys.insert(row.mark.key);
            last_doubt = doubt;
            if let Some(group) = groups.back_mut() {
                group.rows.push(row);
            }
        }
        groups
    }

    fn keep(&self, op: Op) -> Keep {
        match (self.rules.mode, op) {
            (WriteMode::Append, _) => Keep::UntilCheckpoint,
            (_, Op::Delete) => Keep::Removed,
            (_, Op::Put) if self.rules.send_unchanged => Keep::Nothing,
            (_, Op::Put) => Keep::Current,
        }
    }

    /// Sends one request; gives the requests that follow from its answer.
    async fn send(&mut self, group: Group, refused: &mut Vec<Refused>) -> Result<Vec<Group>> {
        let (keep, marks) = (self.keep(group.op), group.rows.iter().map(|row| row.mark).collect());
        let (request, key) = self
            .ledger(move |ledger| {
                let request = ledger.send(keep, marks)?;
                Ok((request, ledger.idempotency_key(request)))
            })
            .await?;
        let rows: Vec<&OutRow> = group.rows.iter().collect();
        let sent = self.sender.send(group.op, &rows, &key).await?;
        let (count, too_large) = (group.rows.len(), sent == Sent::TooLarge);
        let fates = match sent {
            // Nothing moved: smaller requests tell more.
            Sent::Each(fates) if count > 1 && fates.iter().all(|fate| *fate == Fate::Unsent) => {
                return self.halved(group, request).await;
            }
            Sent::Each(fates) if fates.len() == count => fates,
            Sent::Each(_) => return Err(Error::internal("a request has more fates than rows")),
            Sent::Whole(problem) if count == 1 => vec![Fate::Refused(problem)],
            Sent::TooLarge if count == 1 => vec![Fate::Refused(Problem {
                column: None,
                code: "row-too-large".to_owned(),
                reason: "the row alone is larger than the target takes".to_owned(),
            })],
            Sent::Whole(_) | Sent::TooLarge => {
                if too_large {
                    self.rows_max = count.div_ceil(2);
                }
                return self.halved(group, request).await;
            }
        };
        let not_done: Vec<usize> = fates
            .iter()
            .enumerate()
            .filter(|(_, fate)| **fate != Fate::Done)
            .map(|(at, _)| at)
            .collect();
        self.ledger(move |ledger| ledger.answered(request, not_done)).await?;
        self.settle(group, fates, refused).await
    }

    /// Cuts a request that had no effect in two.
    async fn halved(&self, mut first: Group, request: u64) -> Result<Vec<Group>> {
        let count = first.rows.len();
        self.ledger(move |ledger| ledger.answered(request, (0..count).collect())).await?;
        let second = first.rows.split_off(count.div_ceil(2));
        let second = Group { op: first.op, rows: second, tries: first.tries };
        Ok(vec![first, second])
    }

    /// Counts what became of rows; those that can still be taken go out again.
    async fn settle(
        &mut self,
        group: Group,
        fates: Vec<Fate>,
        refused: &mut Vec<Refused>,
    ) -> Result<Vec<Group>> {
        let (op, tries, count) = (group.op, group.tries, group.rows.len());
        let (mut busy, mut unsent) = (Vec::new(), Vec::new());
        let mut last = None;
        for (row, fate) in group.rows.into_iter().zip(fates) {
            match fate {
                Fate::Done => {
                    self.taken = true;
                    match op {
                        Op::Put => self.written.rows_written += 1,
                        Op::Delete => self.written.rows_deleted += 1,
                    }
                }
                Fate::Busy(_) if tries < ROW_TRIES_MAX => busy.push(row),
                Fate::Unsent if tries < ROW_TRIES_MAX => unsent.push(row),
                Fate::Unsent => refused.push(Refused {
                    row: row.place,
                    column: None,
                    code: "unprocessed".to_owned(),
                    reason: "the target leaves the row out without a reason".to_owned(),
                }),
                Fate::Refused(problem) | Fate::Busy(problem) => {
                    self.hopeless += 1;
                    last = Some(problem.reason.clone());
                    let Problem { column, code, reason } = problem;
                    refused.push(Refused { row: row.place, column, code, reason });
                }
            }
        }
        if let Some(reason) = last
            && !self.taken
            && self.hopeless >= HOPELESS_ROWS
        {
            return Err(Error::invalid(format!("the target refuses every row so far: {reason}"))
                .hint("It is not single rows: check the target's path, body and columns against the API's reference."));
        }
        let mut next = Vec::new();
        if !unsent.is_empty() {
            // One that moved nothing is a try; a row that is left out for ever ends as refused.
            let tries = if count == unsent.len() { tries + 1 } else { tries };
            next.push(Group { op, rows: unsent, tries });
        }
        if !busy.is_empty() {
            self.sender.wait(ROW_WAIT_FIRST.saturating_mul(1 << tries.min(10))).await;
            next.push(Group { op, rows: busy, tries: tries + 1 });
        }
        Ok(next)
    }
}

fn key_digest(parts: &[&[u8]]) -> u128 {
    let high = u128::from(digest::hash64(parts));
    let mut salted = vec![b"low".as_slice()];
    salted.extend(parts);
    (high << 64) | u128::from(digest::hash64(&salted))
}

#[async_trait]
impl<S: Sender> Writer for LedgerWriter<S> {
    async fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let (rows, mut refused) = self.plan(batch)?;
        let mut groups = self.groups(rows);
        while let Some(group) = groups.pop_front() {
            let next = self.send(group, &mut refused).await?;
            for group in next.into_iter().rev() {
                groups.push_front(group);
            }
        }
        refused.sort_by_key(|refused| refused.row);
        Ok(refused)
    }

    async fn commit(&mut self, checkpoint: &Checkpoint) -> Result<Written> {
        let checkpoint = checkpoint.clone();
        let skipped = self
            .ledger(move |ledger| {
                let last = ledger.committed().map(|last| last.sequence);
                if last.is_some_and(|last| last >= checkpoint.sequence) {
                    return Ok(true);
                }
                ledger.commit(&checkpoint).map(|()| false)
            })
            .await?;
        if skipped {
            return Ok(Written { skipped, ..Written::default() });
        }
        self.ordinal = 0;
        Ok(std::mem::take(&mut self.written))
    }

    async fn finish(self: Box<Self>) -> Result<Written> {
        Ok(self.written)
    }
}
