//! Merges: tables of several systems made one, so that every merge can be taken apart again.
//!
//! ```text
//!  read the sources ─► rows that cannot be taken are set aside
//!        │
//!        └─► match (what people said first) ─► groups ─► one record of each ─► history ─► children, merged table,
//!                     │                                                            crosswalk, review
//!                     └─► likely pairs: a person says same or different
//! ```
//! Invariants: the sources are only read, and what is made follows from them and from what people said alone, so the
//! same inputs give the same tables and a further run writes nothing. Every row that is read is a record of its own, a
//! part of one, or set aside. A merge that is undone is kept as what a person said, before any table changes.
//!
//! What holds after a crash: each table is swapped in one commit that tells what it holds; what is done is in the history
//! before it is done; the crosswalk comes after the tables it speaks of, and what a run was to keep of earlier keys is read
//! from it. The next run writes only what does not stand yet.

mod find;
mod keep;
mod read;
mod report;
mod stand;
mod tables;
mod truth;
mod undo;

use flywheel_base::{Error, Result, suggest};
use flywheel_project::resource::merge::Merge;
use flywheel_reconcile::order::{Relation, order};
use flywheel_state::TaskOutcome;
use serde_json::json;

pub use self::report::{
    Aside, ChildRows, Example, MergeReport, RuleCount, SourceRows, TableWritten, Truth,
};
pub use self::undo::{Undo, answer, undo};
use crate::Workspace;
use crate::recorder::{Observer, Recorder};

/// The kind of runs, and what their tasks are called.
pub const KIND: &str = "merge";
/// The kind of runs that only say what would be done, and what their tasks are called.
pub const PLAN: &str = "merge plan";

/// What a run is allowed to do, and for whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Whether only to say what would be done.
    pub plan_only: bool,
    /// Whether tables are replaced that this merge did not write.
    pub overwrite: bool,
    /// A table with the columns `source`, `source_key` and `entity`, by which is told how well records were matched.
    pub truth: Option<&'a str>,
    /// Who asks for it, for the record.
    pub who: &'a str,
}

/// Makes one of several systems, or says what would be done.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown merge or a table that is not there,
/// [`flywheel_base::ErrorKind::Invalid`] if a column is not there or the sources keep it in types that do not fit
/// together, [`flywheel_base::ErrorKind::Blocked`] if a table holds rows that this merge did not write, or another merge
/// whose keys are followed has not run; else those of the lake. Tables that were written before the error stand.
pub async fn run(
    workspace: &Workspace,
    name: &str,
    options: Options<'_>,
    observer: &dyn Observer,
) -> Result<MergeReport> {
    // A name that is unknown begins no run.
    declared(workspace, name)?;
    let kind = if options.plan_only { PLAN } else { KIND };
    let recorder = crate::run::start(workspace, observer, kind)?;
    let result = Box::pin(within(workspace, &recorder, name, options, 0)).await;
    recorder.finish(result.as_ref().err())?;
    result
}

/// Who a merge is run for that a schedule runs.
pub const BY_ITSELF: &str = "a schedule";

/// As [`run`], of several; of all if none is named. Those whose keys others follow come first, and the others are tried
/// although one failed.
///
/// # Errors
/// As [`run`]: the first error, after all were tried.
pub async fn run_all(
    workspace: &Workspace,
    names: &[String],
    options: Options<'_>,
    observer: &dyn Observer,
) -> Result<Vec<MergeReport>> {
    // A name that is unknown begins no run.
    ordered(workspace, names)?;
    let recorder = crate::run::start(workspace, observer, KIND)?;
    let result = Box::pin(each(workspace, &recorder, names, options)).await;
    recorder.finish(result.as_ref().err())?;
    result
}

/// As [`run_all`], as a part of a run that has begun.
pub(crate) async fn each(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    names: &[String],
    options: Options<'_>,
) -> Result<Vec<MergeReport>> {
    let (mut reports, mut failed) = (Vec::new(), None);
    for name in ordered(workspace, names)? {
        match Box::pin(within(workspace, recorder, &name, options, 0)).await {
            Ok(report) => reports.push(report),
            Err(error) => failed = failed.or(Some(error.context(format!("merge \"{name}\"")))),
        }
    }
    failed.map_or(Ok(reports), Err)
}

/// The merges to run, those whose keys others follow first.
fn ordered(workspace: &Workspace, names: &[String]) -> Result<Vec<String>> {
    for name in names {
        declared(workspace, name)?;
    }
    let merges = &workspace.project.merges;
    let all: Vec<String> = merges.keys().cloned().collect();
    let mut relations = Vec::new();
    for (name, merge) in merges {
        relations.extend(merge.others().map(|other| Relation {
            child: name.clone(),
            field: other.to_owned(),
            parent: other.to_owned(),
            required: false,
        }));
    }
    let mut ordered = order(&all, &relations)?.creates;
    ordered.retain(|name| names.is_empty() || names.contains(name));
    Ok(ordered)
}

/// The table of pairs that people decide, as it is written in SQL.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown merge.
pub fn review_table(workspace: &Workspace, name: &str) -> Result<String> {
    read::quoted(&declared(workspace, name)?.review())
}

/// Whether there is a table of pairs that people decide: there is once the merge has run.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown merge; those of the lake.
pub async fn is_reviewed(workspace: &Workspace, name: &str) -> Result<bool> {
    let at = tables::location(&declared(workspace, name)?.review())?;
    Ok(workspace.lake.head(&at).await?.is_some())
}

/// As [`run`], as a part of a run that has begun; `undone` groups were taken apart before.
async fn within(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    name: &str,
    options: Options<'_>,
    undone: u64,
) -> Result<MergeReport> {
    let kind = if options.plan_only { PLAN } else { KIND };
    let timer = recorder.started(kind, name);
    let result = Box::pin(one(workspace, recorder.run_id(), name, options)).await;
    let result = result.map(|report| MergeReport { undone, ..report });
    let report =
        recorder.settled(timer, result, |report| ("succeeded".to_owned(), outcome(report)))?;
    for notice in &report.notices {
        recorder.notice(format!("merge {name}: {notice}"));
    }
    Ok(report)
}

async fn one(
    workspace: &Workspace,
    run_id: &str,
    name: &str,
    options: Options<'_>,
) -> Result<MergeReport> {
    let merging = Merging { workspace, run_id, name, declared: declared(workspace, name)? };
    let lake = merging.lake().await?;
    let before = merging.stands(&lake).await?;
    let sources = merging.read(&lake).await?;
    let found = merging.find(&sources, &before)?;
    let mut report = merging.report(&sources, &found, options);
    if let Some(table) = options.truth {
        report.truth = Some(merging.judge(&lake, table, &found).await?);
    }
    let made = merging.make(&lake, &sources, &found).await?;
    report.children.clone_from(&made.children);
    report.balance()?;
    if !options.plan_only {
        report.tables = Box::pin(merging.write(made, &sources, &found, &before, options)).await?;
    }
    Ok(report)
}

/// A merge and what its steps share.
struct Merging<'a> {
    workspace: &'a Workspace,
    run_id: &'a str,
    name: &'a str,
    declared: &'a Merge,
}

/// The declared merge.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
fn declared<'a>(workspace: &'a Workspace, name: &str) -> Result<&'a Merge> {
    let merges = &workspace.project.merges;
    merges.get(name).map(|merge| &merge.value).ok_or_else(|| {
        let hint = match merges.is_empty() {
            true => "The project has no merges: declare one in merges/NAME.yaml.".to_owned(),
            false => suggest::hint(name, merges.keys().map(String::as_str)),
        };
        Error::not_found(format!("no merge \"{name}\"")).hint(hint)
    })
}

/// What is kept of a run: numbers and names of the declaration, and nothing of any row.
fn outcome(report: &MergeReport) -> TaskOutcome {
    TaskOutcome {
        rows_in: Some(report.rows_in),
        rows_out: Some(report.records),
        rows_rejected: Some(report.aside),
        error: None,
        detail: json!({
            "planned": report.planned, "balance": report.balance, "merged": report.merged,
            "groups": report.groups, "largest": report.largest, "questions": report.questions,
            "answered": report.answered, "undone": report.undone, "rules": report.rules,
            "conflicts": report.conflicts, "sources": report.sources, "children": report.children,
            "tables": report.tables, "truth": report.truth,
        }),
    }
}
