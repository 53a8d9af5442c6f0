//! Taking merges apart, and what people say about pairs.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, Timestamp, digest, suggest};
use flywheel_reconcile::matching::Key;
use flywheel_warehouse::TableName;

use super::find::pair_id;
use super::read::own_key;
use super::stand::{DIFFERENT, HISTORY, HistoryRow, REVIEW, ReviewRow, SAME};
use super::{KIND, MergeReport, Merging, Options, declared, within};
use crate::Workspace;
use crate::recorder::Observer;

/// What a person says who takes back what was said.
const ASK: &str = "ask";

/// What is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo<'a> {
    /// Every merged record.
    All,
    /// The merged record with this key; or, if it is that of one of the rows, as `source:key`, this row is taken out of
    /// its record.
    Record(&'a str),
}

/// Takes merged records apart: their rows are records of their own again, as they are in their sources, and what refers to
/// them is led back. They are not merged again, until somebody says that they are the same, or are to be asked about.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is no such record, else those of [`super::run`]. What was said is kept
/// all the same, so that the next run takes them apart.
pub async fn undo(
    workspace: &Workspace,
    name: &str,
    what: Undo<'_>,
    options: Options<'_>,
    observer: &dyn Observer,
) -> Result<MergeReport> {
    let merging = Merging { workspace, run_id: "", name, declared: declared(workspace, name)? };
    let groups = merging.stands(&merging.lake().await?).await?.groups();
    let apart: BTreeSet<(Key, Key)> = match what {
        Undo::All => groups.values().flat_map(pairs).collect(),
        Undo::Record(key) => {
            one(&groups, key).map_err(|error| error.context(format!("merge \"{name}\"")))?
        }
    };
    let undone = match what {
        Undo::All => groups.len() as u64,
        Undo::Record(_) => 1,
    };
    let options = Options { plan_only: false, ..options };
    let recorder = crate::run::start(workspace, observer, KIND)?;
    let said = Box::pin(merging.say(&apart, Some(DIFFERENT), options.who)).await;
    let result = match said {
        Ok(()) => Box::pin(within(workspace, &recorder, name, options, undone)).await,
        Err(error) => Err(error),
    };
    recorder.finish(result.as_ref().err())?;
    result
}

/// Says of a pair `same` or `different`, or `ask` to take back what was said; the next run does what it says.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if the merge has no such pair, [`flywheel_base::ErrorKind::Invalid`] if the answer
/// is none.
pub async fn answer(
    workspace: &Workspace,
    name: &str,
    id: &str,
    text: &str,
    who: &str,
) -> Result<()> {
    let merging = Merging { workspace, run_id: "", name, declared: declared(workspace, name)? };
    let said = match text {
        SAME | DIFFERENT => Some(text),
        ASK => None,
        _ => {
            return Err(Error::invalid(format!("a pair cannot be answered with \"{text}\""))
                .hint("Say same or different; or ask, to take back what was said."));
        }
    };
    let rows = merging.reviewed().await?;
    let Some(row) = rows.iter().find(|row| row.pair_id == id) else {
        let known = rows.iter().filter(|row| row.open).map(|row| row.pair_id.as_str());
        return Err(Error::not_found(format!("merge \"{name}\" has no pair \"{id}\""))
            .hint(suggest::hint(id, known)));
    };
    let pairs = BTreeSet::from([row.pair()]);
    Box::pin(merging.say(&pairs, said, who)).await
}

/// Every pair of a group.
fn pairs(members: &BTreeSet<Key>) -> BTreeSet<(Key, Key)> {
    let of = |(at, a): (usize, &Key)| -> Vec<(Key, Key)> {
        members.iter().skip(at + 1).map(|b| (a.clone(), b.clone())).collect()
    };
    members.iter().enumerate().flat_map(of).collect()
}

/// The pairs that are no longer the same if one record is taken apart.
fn one(groups: &BTreeMap<String, BTreeSet<Key>>, key: &str) -> Result<BTreeSet<(Key, Key)>> {
    if let Some(members) = groups.get(key) {
        return Ok(pairs(members));
    }
    let is = |of: &&Key| own_key(&of.system, &of.id) == key;
    for members in groups.values() {
        if let Some(row) = members.iter().find(is) {
            let others = members.iter().filter(|other| *other != row);
            return Ok(others.map(|other| (row.clone(), other.clone())).collect());
        }
    }
    let known: Vec<String> = groups
        .iter()
        .flat_map(|(key, members)| {
            let rows = members.iter().map(|of| own_key(&of.system, &of.id));
            rows.chain([key.clone()]).collect::<Vec<_>>()
        })
        .collect();
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    Err(Error::not_found(format!("\"{key}\" is no merged record and no part of one"))
        .hint(suggest::hint(key, known)))
}

impl Merging<'_> {
    /// Keeps what a person says about pairs: in the history first, so that nothing counts that is not told there.
    async fn say(
        &self,
        pairs: &BTreeSet<(Key, Key)>,
        answer: Option<&str>,
        who: &str,
    ) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let now = self.workspace.now();
        let review = TableName::parse(&self.declared.review())?;
        let _alone = self.workspace.lake.alone(&[&review]).await;
        let mut rows: BTreeMap<String, ReviewRow> =
            self.reviewed().await?.into_iter().map(|row| (row.pair_id.clone(), row)).collect();
        self.keep_origins(who).await?;
        let mut events = Vec::new();
        for (a, b) in pairs {
            let (a, b) = if a <= b { (a, b) } else { (b, a) };
            let id = pair_id(a, b);
            let row = rows.entry(id.clone()).or_insert_with(|| taken_apart(&id, a, b, now));
            events.push(said(row, answer, who, now));
            row.answer = answer.map(str::to_owned);
            row.answered_by = answer.map(|_| who.to_owned());
            row.answered_at = answer.map(|_| now);
            row.open = answer.is_none();
        }
        self.append(&self.declared.history(), &HISTORY, &events).await?;
        let rows: Vec<ReviewRow> = rows.into_values().collect();
        self.swap(&self.declared.review(), REVIEW.batch(&rows)?).await?;
        Ok(())
    }
}

/// A pair that nobody was asked about.
fn taken_apart(id: &str, a: &Key, b: &Key, now: Timestamp) -> ReviewRow {
    ReviewRow {
        pair_id: id.to_owned(),
        a_source: a.system.clone(),
        a_key: a.id.clone(),
        b_source: b.system.clone(),
        b_key: b.id.clone(),
        score: 1.0,
        why: "taken apart".to_owned(),
        a: None,
        b: None,
        asked_at: now,
        answer: None,
        answered_by: None,
        answered_at: None,
        open: false,
    }
}

/// What the history tells of an answer.
fn said(row: &ReviewRow, answer: Option<&str>, who: &str, at: Timestamp) -> HistoryRow {
    let answer = answer.unwrap_or(ASK);
    let moment = at.micros().to_le_bytes();
    HistoryRow {
        event_id: digest::short(&[row.pair_id.as_bytes(), answer.as_bytes(), &moment]),
        at,
        run_id: String::new(),
        who: who.to_owned(),
        action: answer.to_owned(),
        merged_key: None,
        records: format!(
            "{}, {}",
            own_key(&row.a_source, &row.a_key),
            own_key(&row.b_source, &row.b_key)
        ),
        before: row.answer.clone(),
        after: Some(answer.to_owned()),
        why: None,
        on_version: None,
    }
}
