//! What a split would do, without writing anything into any system.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use flywheel_base::{Error, Result};
use flywheel_project::resource::split::{Place, SplitTable, SplitWrite};
use flywheel_reconcile::record::{Pair, Side};
use flywheel_reconcile::split::{Counted, Crossing, Lead, Placed, Placement, place};
use serde::Serialize;

use super::Splitting;
use super::rows::RowKeys;
use super::scan::{Scanned, is_there, read_keys};
use crate::Workspace;
use crate::migrate::same;

/// Rows in the way whose keys are told.
const KEYS_TOLD: usize = 5;
/// What the scan keeps of a row, in bytes: the digest of its key, and its parts.
const ROW_BYTES: u64 = 19;
/// What the scan keeps of a reference of a row, in bytes.
const REFERENCE_BYTES: u64 = 16;

/// What a split would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SplitPlan {
    /// The split.
    pub split: String,
    /// The parts' names.
    pub parts: Vec<String>,
    /// Its tables, in the order in which they are written.
    pub tables: Vec<PlannedTable>,
    /// References that lead out of a part, or nowhere.
    pub references: Vec<PlannedReference>,
    /// What has to be mended before it can run.
    pub problems: Vec<String>,
    /// What a person should know.
    pub notices: Vec<String>,
    /// About how many bytes of memory the keys and references take.
    pub memory_bytes: u64,
}

/// What would happen to one table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlannedTable {
    /// The table.
    pub table: String,
    /// How its rows are placed, in words.
    pub placed: String,
    /// Its rows.
    pub rows: u64,
    /// Rows that are in both parts.
    pub copied: u64,
    /// What each part gets.
    pub parts: Vec<PlannedPart>,
    /// How many seconds reading all its rows took.
    pub read_s: f64,
}

/// What a part gets of one table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlannedPart {
    /// The part.
    pub part: String,
    /// Its rows.
    pub rows: u64,
    /// About how many rows are in the target now; none if it does not exist or does not tell.
    pub rows_there: Option<u64>,
    /// What happens to the target, in words.
    pub change: String,
}

/// What would happen to references of one column.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PlannedReference {
    /// The reference, `table.column`.
    pub reference: String,
    /// The table it refers to.
    pub to: String,
    /// The part whose rows refer to rows that only the other part has; none for rows that refer to what
    /// does not exist.
    pub part: Option<String>,
    /// How many rows do so.
    pub rows: u64,
    /// What happens to them, in words.
    pub what: String,
}

/// Reads the system and says what taking it apart would do.
///
/// # Errors
/// Those of the scan: mistakes of the file at their place, and those of the system.
pub async fn plan(workspace: &Workspace, name: &str) -> Result<SplitPlan> {
    let splitting = Splitting::named(workspace, name)?;
    let scanned = splitting.scan().await?;
    let placed = place(&scanned.scan)?;
    let mut plan = SplitPlan {
        split: name.to_owned(),
        parts: Side::BOTH.map(|side| splitting.part(side).to_owned()).to_vec(),
        references: splitting.crossing(&placed),
        problems: splitting.problems(&placed).await?,
        notices: splitting.notices(&placed),
        ..SplitPlan::default()
    };
    let mut listed = Pair::default();
    for side in Side::BOTH {
        *listed.of_mut(side) = splitting.listed(side).await?;
    }
    for at in splitting.write_order()? {
        let (Some(table), Some(counted)) = (splitting.tables().get(at), placed.counted().get(at))
        else {
            continue;
        };
        let mut parts = Vec::new();
        for side in Side::BOTH {
            let request = splitting.part_request(table, side)?;
            let known = listed.of(side).iter();
            let known = known.clone().find(|info| same(&info.stream, &request.stream));
            let there = is_there(listed.of(side), &request);
            let rows_there = known.and_then(|info| info.rows);
            parts.push(PlannedPart {
                part: splitting.part(side).to_owned(),
                rows: *counted.parts.of(side),
                rows_there,
                change: change(splitting.declared.write, there, rows_there),
            });
        }
        let width = table.references.len() as u64;
        plan.memory_bytes += counted.rows * (ROW_BYTES + REFERENCE_BYTES * width);
        plan.tables.push(PlannedTable {
            table: table.table.clone(),
            placed: words(table),
            rows: counted.rows,
            copied: counted.copied,
            parts,
            read_s: seconds(&scanned, at),
        });
    }
    Ok(plan)
}

fn seconds(scanned: &Scanned<'_>, at: usize) -> f64 {
    scanned.tables.get(at).map_or(0.0, |table| table.seconds)
}

fn change(write: SplitWrite, there: bool, rows: Option<u64>) -> String {
    match (write, there, rows) {
        (_, false, _) => "is made".to_owned(),
        (_, true, Some(0)) => "is filled".to_owned(),
        (SplitWrite::Merge, true, _) => "rows are merged".to_owned(),
        (SplitWrite::Replace, true, Some(rows)) => format!("about {rows} rows are replaced"),
        (SplitWrite::Replace, true, None) => "all its rows are replaced".to_owned(),
    }
}

/// How the rows of a table are placed.
fn words(table: &SplitTable) -> String {
    match &table.place {
        Place::Divided { condition, to } => format!("{to} where {}", condition.trim()),
        Place::With { reference, otherwise } => match otherwise {
            Some(part) => format!("with {reference}, else {part}"),
            None => format!("with {reference}"),
        },
        Place::WhereNeeded { otherwise } => format!("where needed, else {otherwise}"),
        Place::Both => "both".to_owned(),
        Place::Only { part } => format!("only {part}"),
    }
}

/// What stands in the way: rows of a table, by what is wrong with them.
#[derive(Clone, Copy)]
enum Wrong {
    /// A reference of a row of this part leads out and may not be emptied.
    Crosses(usize, Side),
    /// A row goes with another one and has none.
    Homeless,
}

impl Splitting<'_> {
    /// What has to be mended before anything is written, with the keys of the first rows.
    pub(super) async fn problems(&self, placed: &Placed<'_>) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        for (at, (rule, counted)) in self.rules.tables().iter().zip(placed.counted()).enumerate() {
            if counted.homeless > 0 {
                let keys = self.keys_of(placed, at, Wrong::Homeless).await?;
                problems.push(format!(
                    "{} rows of \"{}\" go with a row that does not exist, with the keys {keys}; say where they \
                     belong: place: {{with: {{reference: …, otherwise: {}}}}}",
                    counted.homeless,
                    rule.name,
                    self.part(Side::Left)
                ));
            }
            for (number, (reference, crossing)) in
                rule.references.iter().zip(&counted.crossing).enumerate()
            {
                for side in Side::BOTH {
                    let rows = *crossing.of(side);
                    if rows == 0 || reference.crossing == Crossing::Clear {
                        continue;
                    }
                    let keys = self.keys_of(placed, at, Wrong::Crosses(number, side)).await?;
                    let to = self.rules.tables().get(reference.parent);
                    let fix = match reference.required {
                        true => "place the table with this reference, or share the other one",
                        false => {
                            "let it be emptied (crossing: clear), place the table with it, or share the other one"
                        }
                    };
                    problems.push(format!(
                        "{}.{}: {rows} rows of part \"{}\" refer to rows of \"{}\" that only \"{}\" has, with \
                         the keys {keys}; {fix}",
                        rule.name,
                        reference.field,
                        self.part(side),
                        to.map_or("", |to| to.name.as_str()),
                        self.part(side.other()),
                    ));
                }
            }
        }
        Ok(problems)
    }

    /// Refuses to go on while something stands in the way.
    pub(super) async fn require_whole(&self, placed: &Placed<'_>) -> Result<()> {
        let problems = self.problems(placed).await?;
        if problems.is_empty() {
            return Ok(());
        }
        let name = self.name();
        let text = problems.join("\n  ");
        Err(Error::blocked(format!("split \"{name}\" leaves something open:\n  {text}")).hint(
            format!(
                "Nothing was written. Change {}, then `flywheel split plan {name}`.",
                self.declared.file
            ),
        ))
    }

    /// The keys of the first rows of a table with which something is wrong.
    async fn keys_of(&self, placed: &Placed<'_>, at: usize, wrong: Wrong) -> Result<String> {
        let source = self.source()?;
        let Some(table) = self.tables().get(at) else { return Ok(String::new()) };
        let spec = self.spec(at)?;
        let request = self.request(table)?;
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        let take = &mut |keys: &RowKeys, batch: &RecordBatch| {
            for row in 0..batch.num_rows() {
                if found.len() < KEYS_TOLD && is_wrong(placed, at, keys, row, wrong) {
                    let key = spec.shown(batch, row)?;
                    if seen.insert(key.clone()) {
                        found.push(key);
                    }
                }
            }
            Ok(())
        };
        Box::pin(read_keys(source.read(&request), spec, take)).await?;
        Ok(found.join(" · "))
    }

    /// References that lead out of a part or nowhere, counted.
    pub(super) fn crossing(&self, placed: &Placed<'_>) -> Vec<PlannedReference> {
        let mut all = Vec::new();
        for (rule, counted) in self.rules.tables().iter().zip(placed.counted()) {
            for (number, reference) in rule.references.iter().enumerate() {
                let parent = self.rules.tables().get(reference.parent);
                let planned = PlannedReference {
                    reference: format!("{}.{}", rule.name, reference.field),
                    to: parent.map_or_else(String::new, |parent| parent.name.clone()),
                    ..PlannedReference::default()
                };
                for side in Side::BOTH {
                    let rows =
                        counted.crossing.get(number).map_or(0, |crossing| *crossing.of(side));
                    let what = match reference.crossing {
                        Crossing::Clear => "is emptied",
                        Crossing::Refuse => "is refused",
                    };
                    if rows > 0 {
                        all.push(PlannedReference {
                            part: Some(self.part(side).to_owned()),
                            rows,
                            what: what.to_owned(),
                            ..planned.clone()
                        });
                    }
                }
                let rows = counted.dangling.get(number).copied().unwrap_or_default();
                if rows > 0 {
                    let what = "leads nowhere and stays as it is".to_owned();
                    all.push(PlannedReference { rows, what, ..planned });
                }
            }
        }
        all
    }

    /// What a person should know of where rows go.
    fn notices(&self, placed: &Placed<'_>) -> Vec<String> {
        let mut notices = Vec::new();
        let of = |at: usize| placed.counted().get(at).cloned().unwrap_or_default();
        for (at, rule) in self.rules.tables().iter().enumerate() {
            let Counted { ownerless, rows, parts, .. } = of(at);
            if let Placement::With { otherwise: Some(side), .. } = rule.placement
                && ownerless > 0
            {
                notices.push(format!(
                    "{ownerless} rows of \"{}\" go with no row and therefore to \"{}\"",
                    rule.name,
                    self.part(side)
                ));
            }
            for side in Side::BOTH {
                if rule.placement == Placement::Divided && rows > 0 && *parts.of(side) == 0 {
                    notices.push(format!(
                        "the condition gives part \"{}\" no row of \"{}\"",
                        self.part(side),
                        rule.name
                    ));
                }
            }
        }
        notices
    }
}

fn is_wrong(placed: &Placed<'_>, at: usize, keys: &RowKeys, row: usize, wrong: Wrong) -> bool {
    let key = keys.keys.get(row).copied().flatten();
    let Some(home) = key.and_then(|key| placed.home(at, key)) else { return false };
    match wrong {
        Wrong::Homeless => !home.left && !home.right,
        Wrong::Crosses(reference, side) => {
            let value = keys.references_of(row).nth(reference).flatten();
            *home.of(side)
                && value
                    .is_some_and(|value| placed.lead(at, reference, value, side) == Lead::Elsewhere)
        }
    }
}
