//! The proof of a split, against what really stands in both parts.
//!
//! Three things are told apart: the rows, by their counts and sums of digests, value by value; where
//! each row is, by walking from it to its owner in the source as it is now; and that no reference
//! leads out of its part. None of them uses what the run noted.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result};
use flywheel_connect::source::StreamInfo;
use flywheel_connect::{ColumnType, Page};
use flywheel_project::resource::split::{SplitTable, SplitWrite};
use flywheel_reconcile::record::{Pair, Side};
use flywheel_reconcile::split::{BreachKind, Digest, Others, Placed, Proof, place, prove};
use flywheel_state::{SplitPhase, TaskOutcome};
use serde::Serialize;
use serde_json::json;

use super::Splitting;
use super::part::PartOf;
use super::scan::{Scanned, is_there, names};
use crate::Workspace;
use crate::migrate::{Asked, Reading, Verified, compare, same};
use crate::recorder::{Observer, Recorder};
use crate::run::start;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SplitVerified {
    /// The split.
    pub split: String,
    /// Whether both parts are as declared, to the last value.
    pub holds: bool,
    /// The parts' names.
    pub parts: Vec<String>,
    /// Rows of the system that was taken apart.
    pub rows_in: u64,
    /// Rows found in each part, in the order of `parts`, without `rows_before`.
    pub rows: Vec<u64>,
    /// Rows of each part that the source does not have and that stay, as the split merges.
    pub rows_before: Vec<u64>,
    /// Rows of shared tables that are in both parts.
    pub rows_copied: u64,
    /// References in the parts that were followed to a row of the same part.
    pub references: u64,
    /// References that were emptied because they led into the other part.
    pub cleared: u64,
    /// References that led to rows that were nowhere to begin with.
    pub dangling: u64,
    /// Rows that belong to the other part.
    pub leaked: u64,
    /// Rows that are where they must not be, or not where they must, of every kind.
    pub wrong: u64,
    /// The first of them.
    pub wrong_rows: Vec<WrongRow>,
    /// What stands in each table of each part.
    pub tables: Vec<VerifiedTable>,
}

/// A row that is where it must not be, or not where it must.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrongRow {
    /// The part that has it; none if neither has.
    pub part: Option<String>,
    /// The table.
    pub table: String,
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub kind: BreachKind,
}

/// How one table of one part compares with what belongs there.
#[derive(Clone, Debug, Serialize)]
pub struct VerifiedTable {
    /// The part.
    pub part: String,
    /// The comparison; its source is what the part shall have.
    #[serde(flatten)]
    pub verified: Verified,
}

/// Proves what stands in both parts, without the columns of `skip`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Blocked`] if the rules leave a row without a place; those of the scan and of
/// the systems. That a part is wrong is no error: it is in the result.
pub async fn verify(
    workspace: &Workspace,
    name: &str,
    skip: &[String],
    observer: &dyn Observer,
) -> Result<SplitVerified> {
    let splitting = Splitting::named(workspace, name)?;
    let recorder = start(workspace, observer, "split")?;
    let result = Box::pin(all(&splitting, skip, &recorder)).await;
    recorder.finish(result.as_ref().err())?;
    result
}

async fn all(
    splitting: &Splitting<'_>,
    skip: &[String],
    recorder: &Recorder<'_>,
) -> Result<SplitVerified> {
    let timer = recorder.started("prove", splitting.name());
    let proving = Box::pin(proved(splitting)).await;
    let Proved { scanned, listed, proof } = recorder.settled(timer, proving, |proved| {
        let status = if proved.proof.holds() { "succeeded" } else { "warned" };
        let outcome = TaskOutcome {
            rows_in: Some(proved.proof.rows_in),
            detail: json!({ "wrong": proved.proof.breaches, "references": proved.proof.references }),
            ..TaskOutcome::default()
        };
        (status.to_owned(), outcome)
    })?;
    let placed = place(&scanned.scan)?;
    let mut tables = Vec::new();
    for at in splitting.write_order()? {
        let Some(table) = splitting.tables().get(at) else { continue };
        for side in Side::BOTH {
            let part = splitting.part(side);
            let timer = recorder
                .started("verify", &format!("{}.{} → {part}", splitting.name(), table.table));
            let compared = values(splitting, &placed, at, table, side, listed.of(side), skip);
            let compared = Box::pin(compared).await;
            let verified = recorder.settled(timer, compared, |one| {
                let status = if one.is_equal() { "succeeded" } else { "warned" };
                let outcome = TaskOutcome {
                    rows_in: Some(one.rows_source),
                    rows_out: Some(one.rows_target),
                    detail: json!({
                        "missing": one.difference.missing, "extra": one.difference.extra,
                        "changed": one.difference.changed,
                    }),
                    ..TaskOutcome::default()
                };
                (status.to_owned(), outcome)
            })?;
            tables.push(VerifiedTable { part: part.to_owned(), verified });
        }
    }
    let wrong_rows = wrong(splitting, &proof, &listed).await?;
    let verified = SplitVerified {
        split: splitting.name().to_owned(),
        holds: proof.holds() && tables.iter().all(|one| one.verified.is_equal()),
        parts: Side::BOTH.map(|side| splitting.part(side).to_owned()).to_vec(),
        rows_in: proof.rows_in,
        rows: vec![proof.rows.left, proof.rows.right],
        rows_before: vec![proof.others.left, proof.others.right],
        rows_copied: proof.rows_copied,
        references: proof.references,
        cleared: proof.cleared,
        dangling: proof.dangling,
        leaked: proof.of_kind(BreachKind::Leaked),
        wrong: proof.breaches,
        wrong_rows,
        tables,
    };
    let phase = if verified.holds { SplitPhase::Verified } else { SplitPhase::Differs };
    let detail = serde_json::to_value(&verified)
        .map_err(|error| Error::internal("a proof is no JSON").caused_by(error))?;
    splitting.record(phase, detail)?;
    Ok(verified)
}

/// What the proof was made of.
struct Proved<'a> {
    scanned: Scanned<'a>,
    listed: Pair<Vec<StreamInfo>>,
    proof: Proof,
}

/// Scans the system and both parts, and follows every row.
async fn proved<'a>(splitting: &'a Splitting<'_>) -> Result<Proved<'a>> {
    let scanned = splitting.scan().await?;
    let placed = place(&scanned.scan)?;
    splitting.require_whole(&placed).await?;
    drop(placed);
    let listed = Pair {
        left: splitting.listed(Side::Left).await?,
        right: splitting.listed(Side::Right).await?,
    };
    let parts = Pair {
        left: splitting.scan_part(Side::Left, &listed.left).await?,
        right: splitting.scan_part(Side::Right, &listed.right).await?,
    };
    let others = match splitting.declared.write {
        SplitWrite::Merge => Others::Stay,
        SplitWrite::Replace => Others::Strange,
    };
    let proof = prove(&scanned.scan, &parts, others);
    Ok(Proved { scanned, listed, proof })
}

/// Compares the values of a table of a part with those that belong there.
async fn values(
    splitting: &Splitting<'_>,
    placed: &Placed<'_>,
    at: usize,
    table: &SplitTable,
    side: Side,
    listed: &[StreamInfo],
    skip: &[String],
) -> Result<Verified> {
    let spec = splitting.spec(at)?;
    let choose = move |mut page: Page| {
        if page.batch.num_columns() > 0 {
            let part = PartOf { placed, spec, table: at, side };
            page.batch = part.choose(&page.batch, &spec.keys(&page.batch)?)?.rows;
        }
        Ok(page)
    };
    let wanted = Reading {
        side: "source",
        source: splitting.source()?,
        request: splitting.request(table)?,
        through: Some(Box::new(choose)),
    };
    let request = splitting.part_request(table, side)?;
    let known = listed.iter().find(|info| same(&info.stream, &request.stream));
    let columns = known.map(|info| info.columns.as_slice()).unwrap_or_default();
    let json = columns.iter().filter(|column| column.kind == ColumnType::Json);
    let documents: Vec<String> = json.map(|column| column.name.clone()).collect();
    let asked = Asked {
        name: &table.table,
        key: &table.key,
        skip,
        documents: &documents,
        extra_allowed: splitting.declared.write == SplitWrite::Merge,
    };
    // A table that does not exist has no rows: it is compared with itself, emptied.
    let found = match is_there(listed, &request) {
        true => Reading {
            side: "target",
            source: splitting.workspace.source(&splitting.parts.of(side).connection)?.1,
            request,
            through: None,
        },
        false => Reading {
            side: "target",
            source: splitting.source()?,
            request: splitting.request(table)?,
            through: Some(Box::new(|mut page| {
                page.batch = page.batch.slice(0, 0);
                Ok(page)
            })),
        },
    };
    let part = splitting.part(side);
    let about =
        |error: Error| error.context(format!("table \"{}\" of part \"{part}\"", table.table));
    compare(&wanted, &found, &asked).await.map_err(about)
}

/// The wrong rows, by their keys.
async fn wrong(
    splitting: &Splitting<'_>,
    proof: &Proof,
    listed: &Pair<Vec<StreamInfo>>,
) -> Result<Vec<WrongRow>> {
    let mut wanted: BTreeMap<(usize, Option<Side>), BTreeSet<Digest>> = BTreeMap::new();
    for breach in &proof.told {
        wanted.entry((breach.table, breach.part)).or_default().insert(breach.key);
    }
    let mut shown = BTreeMap::new();
    for ((at, part), keys) in wanted {
        let Some(table) = splitting.tables().get(at) else { continue };
        let (source, request) = match part {
            Some(side) => {
                let connection = &splitting.parts.of(side).connection;
                let request = splitting.part_request(table, side)?;
                if !is_there(listed.of(side), &request) {
                    continue;
                }
                (splitting.workspace.source(connection)?.1, request)
            }
            None => (splitting.source()?, splitting.request(table)?),
        };
        let found = Box::pin(names(source.as_ref(), &request, splitting.spec(at)?, &keys)).await?;
        shown.extend(found.into_iter().map(|(key, text)| ((at, part, key), text)));
    }
    let rows = proof.told.iter().map(|breach| WrongRow {
        part: breach.part.map(|side| splitting.part(side).to_owned()),
        table: splitting.tables().get(breach.table).map_or_else(String::new, |t| t.table.clone()),
        key: shown.get(&(breach.table, breach.part, breach.key)).cloned().unwrap_or_default(),
        kind: breach.kind,
    });
    Ok(rows.collect())
}
