//! Links: records that two systems hold, kept alike in both directions.
//!
//! ```text
//!  read left ──┐                ┌─► questions for people
//!              ├─► pair ─► step ┼─► writes left and right ─► acknowledged, audited
//!  read right ─┘   (merge with  └─► deletions, if within the limits or approved
//!                   what both last agreed on)
//! ```
//! What holds after a crash: the plan of every record is durable before its writes leave, and the next
//! run reads both records and finds out which part took place. A run that reads a record it cannot
//! decode, or that would change more than the limits allow, writes nothing at all.

mod carry;
mod expression;
mod pair;
mod references;
mod revert;
mod rules;
mod side;
mod work;
mod write;

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, suggest};
use flywheel_project::resource::link::Link;
use flywheel_reconcile::order::{Relation, order};
use flywheel_reconcile::record::Pair;
use flywheel_state::TaskOutcome;
use serde::Serialize;
use serde_json::{Value, json};

use self::work::Work;
use crate::Workspace;
use crate::recorder::{Observer, Recorder};

pub(crate) use expression::arrays;
pub use revert::{Reverted, revert};
pub(crate) use rules::{SAME_ID, match_rules};
pub(crate) use side::{json_values, moments, objects, texts};

/// The kind of runs, and what their tasks are called.
pub const KIND: &str = "link";
/// The kind of runs that only say what would be done, and what their tasks are called.
pub const PLAN: &str = "link plan";

/// What a run is allowed to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Whether only to say what would be done.
    pub plan_only: bool,
    /// The token of the plan that may pass the limits.
    pub approval: Option<&'a str>,
}

/// What a run of one link did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkReport {
    /// The link.
    pub link: String,
    /// Whether it was only planned.
    pub planned: bool,
    /// Records read on each side.
    pub records: Pair<u64>,
    /// Links known before this run.
    pub linked: u64,
    /// Records recognised as the same by this run.
    pub matched: u64,
    /// Records created on each side.
    pub created: Pair<u64>,
    /// Records changed on each side.
    pub updated: Pair<u64>,
    /// Written values by field, on each side.
    pub fields: BTreeMap<String, Pair<u64>>,
    /// Records deleted on each side because their counterpart was.
    pub deleted: Pair<u64>,
    /// Records marked as archived on each side because their counterpart was deleted.
    pub archived: Pair<u64>,
    /// Links cut because one side was deleted.
    pub cut: u64,
    /// Open questions: fields changed on both sides, records that may be the same, deletions of
    /// records that were changed since.
    pub questions: BTreeMap<String, u64>,
    /// Records that a side would not take; they are tried again by the next run.
    pub refused: u64,
    /// What a person should know.
    pub notices: Vec<String>,
    /// The limits that are passed, in words.
    pub beyond: Vec<String>,
    /// What approves exactly this plan, if it passes the limits.
    pub approval: Option<String>,
}

/// Keeps the links `names` alike, all if none is named; those that others refer to come first.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown link, [`flywheel_base::ErrorKind::Blocked`]
/// if a plan passes its limits or a record cannot be read, else those of the two systems. The other
/// links are tried all the same.
pub async fn run(
    workspace: &Workspace,
    names: &[String],
    options: Options<'_>,
    observer: &dyn Observer,
) -> Result<Vec<LinkReport>> {
    // A name that is unknown begins no run.
    ordered(workspace, names)?;
    let kind = if options.plan_only { PLAN } else { KIND };
    let recorder = Recorder::start(workspace, observer, kind, None, workspace.now())?;
    let result = Box::pin(within(workspace, &recorder, names, options)).await;
    recorder.finish(result.as_ref().err())?;
    result
}

/// As [`run`], as a part of a run that has begun.
pub(crate) async fn within(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    names: &[String],
    options: Options<'_>,
) -> Result<Vec<LinkReport>> {
    let names = ordered(workspace, names)?;
    let kind = if options.plan_only { PLAN } else { KIND };
    let mut reports = Vec::new();
    let mut failed = None;
    for name in &names {
        let timer = recorder.started(kind, name);
        let result = one(workspace, recorder.run_id(), name, options).await;
        match recorder.settled(timer, result, |report| ("succeeded".to_owned(), outcome(report))) {
            Ok(report) => {
                for notice in &report.notices {
                    recorder.notice(format!("link {name}: {notice}"));
                }
                reports.push(report);
            }
            Err(error) => failed = failed.or(Some(error.context(format!("link \"{name}\"")))),
        }
    }
    failed.map_or(Ok(reports), Err)
}

/// Which records a side would not take, if there are any; the next run tries them again.
#[must_use]
pub fn refused(reports: &[LinkReport]) -> Option<String> {
    let of = reports.iter().filter(|report| report.refused > 0);
    let texts: Vec<String> =
        of.map(|report| format!("{} of link \"{}\"", report.refused, report.link)).collect();
    (!texts.is_empty()).then(|| format!("records that a side would not take: {}", texts.join(", ")))
}

async fn one(
    workspace: &Workspace,
    run_id: &str,
    name: &str,
    options: Options<'_>,
) -> Result<LinkReport> {
    let link = declared(workspace, name)?;
    let mut work = Box::pin(Work::read(workspace, run_id, name, link)).await?;
    work.pair()?;
    let plan = work.plan(options.approval)?;
    let ready = match plan.refusal.is_some() && !options.plan_only {
        true => Ok(()),
        false => Box::pin(work.ready(&plan)).await,
    };
    if options.plan_only {
        if let Err(error) = ready {
            let hint = error.hint_text().map_or_else(String::new, |hint| format!(". {hint}"));
            work.report.notices.push(format!("a run would stop: {error}{hint}"));
        }
        return Ok(work.report);
    }
    ready?;
    Box::pin(work.carry_out(plan)).await
}

fn outcome(report: &LinkReport) -> TaskOutcome {
    let both = |pair: &Pair<u64>| pair.left + pair.right;
    TaskOutcome {
        rows_in: Some(both(&report.records)),
        rows_out: Some(both(&report.created) + both(&report.updated) + both(&report.deleted)),
        rows_rejected: Some(report.refused),
        error: None,
        detail: json!({
            "planned": report.planned, "linked": report.linked, "matched": report.matched,
            "created": report.created, "updated": report.updated, "deleted": report.deleted,
            "archived": report.archived, "cut": report.cut, "questions": report.questions,
            "beyond": report.beyond, "approval": report.approval,
        }),
    }
}

/// The declared link.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
pub(crate) fn declared<'a>(workspace: &'a Workspace, name: &str) -> Result<&'a Link> {
    let links = &workspace.project.links;
    links.get(name).map(|link| &link.value).ok_or_else(|| {
        let hint = match links.is_empty() {
            true => "The project has no links: declare one in links/NAME.yaml.".to_owned(),
            false => suggest::hint(name, links.keys().map(String::as_str)),
        };
        Error::not_found(format!("no link \"{name}\"")).hint(hint)
    })
}

/// The links to run, those that others refer to first.
fn ordered(workspace: &Workspace, names: &[String]) -> Result<Vec<String>> {
    for name in names {
        declared(workspace, name)?;
    }
    let all: Vec<String> = workspace.project.links.keys().cloned().collect();
    let relations: Vec<Relation> = workspace
        .project
        .links
        .values()
        .flat_map(|link| link.fields.iter().map(move |field| (link, field)))
        .filter_map(|(link, field)| {
            Some(Relation {
                child: link.link.clone(),
                field: field.name.clone(),
                parent: field.refers_to.clone()?,
                required: false,
            })
        })
        .collect();
    let mut ordered = order(&all, &relations)?.creates;
    ordered.retain(|name| names.is_empty() || names.contains(name));
    Ok(ordered)
}

/// Answers a question of a link; the next run does what it says. A conflict is answered with `left`,
/// `right`, `base` or, as JSON, the value both sides get; a match with `same` or `different`; a
/// deletion with `delete` or `keep`.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if the link has no such question,
/// [`flywheel_base::ErrorKind::Invalid`] if the answer does not fit it.
pub fn answer(workspace: &Workspace, name: &str, id: &str, text: &str) -> Result<()> {
    declared(workspace, name)?;
    let questions = workspace.store.link_questions(Some(name))?;
    let Some(question) = questions.iter().find(|question| question.id == id) else {
        let open = questions.iter().filter(|question| question.open);
        return Err(Error::not_found(format!("link \"{name}\" has no question \"{id}\""))
            .hint(suggest::hint(id, open.map(|question| question.id.as_str()))));
    };
    let one_of = |known: &[&str]| match known.contains(&text) {
        true => Ok(Value::from(text)),
        false => {
            Err(Error::invalid(format!("question \"{id}\" cannot be answered with \"{text}\""))
                .hint(format!("Say {}.", known.join(" or "))))
        }
    };
    let answer = match question.kind.as_str() {
        "match" => one_of(&["same", "different"])?,
        "delete" => one_of(&["delete", "keep"])?,
        _ => match text {
            "left" | "right" | "base" => question.detail.get(text).cloned().unwrap_or_default(),
            "same" | "different" | "delete" | "keep" => {
                return Err(Error::invalid(format!(
                    "question \"{id}\" is about a value and cannot be answered with \"{text}\""
                ))
                .hint(format!(
                    "Say left, right, base or the value; if the value is this word, write '\"{text}\"'."
                )));
            }
            // What is no JSON is the text itself: nobody quotes a name.
            other => serde_json::from_str(other).unwrap_or_else(|_| Value::from(other)),
        },
    };
    workspace.store.answer_link(name, id, &answer, workspace.now())?;
    Ok(())
}
