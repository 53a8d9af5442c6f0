//! Dashboards on their way to people, as a schedule says.
//!
//! What holds after a crash: a delivery that arrived is durable before the next one leaves, as a task of the run, and an
//! attempt that follows leaves it out. One whose end was not noted is sent again with the same key, so that who knows keys
//! gets it once. Where the action promises at-most-once, that a delivery is under way is durable before it leaves: one of
//! which nobody knows whether it arrived is not sent again for its moment, and a person is told.

use std::collections::BTreeSet;
use std::error::Error as _;

use flywheel_base::{Error, ErrorKind, Result, Timestamp, digest};
use flywheel_connect::action::{Attachment, Delivery, Outcome, Report};
use flywheel_project::resource::action::Guarantee;
use flywheel_project::resource::dashboard::Dashboard;
use flywheel_project::resource::schedule::{Attach, Sending};
use flywheel_state::{Task, TaskOutcome};
use serde_json::{Value as Json, json};

use super::message::message;
use super::{Answer, Answered, AsOf, Asked, Names, TILE_ROWS_MAX, answer, as_of, book, unknown};
use crate::access::{Reader, Reading};
use crate::recorder::Recorder;
use crate::{Workspace, rows, schedule};

/// What deliveries are called in `system.tasks`.
pub(crate) const SEND: &str = "send";

/// What says in the detail of a delivery that left that nobody knows whether it arrived.
const UNSURE: &str = "unsure";

/// The media type of a workbook.
const WORKBOOK: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// Types of actions that carry a workbook.
const CARRY_BOOKS: [&str; 2] = ["email", "file"];

/// What a schedule, or one of its tasks, sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand<'a> {
    /// The schedule.
    pub(crate) schedule: &'a str,
    /// The task of it, if it has tasks.
    pub(crate) task: Option<&'a str>,
    /// The moment that it is due for.
    pub(crate) moment: Timestamp,
    /// The time zone in which the schedule says when it is due, if it says any.
    pub(crate) zone: Option<&'a str>,
    /// The dashboards.
    pub(crate) boards: &'a [String],
    /// To whom they go, and how.
    pub(crate) sending: &'a Sending,
    /// The names of the deliveries that arrived before.
    pub(crate) sent: &'a BTreeSet<String>,
    /// The names of those that left before and may have arrived, though nobody knows.
    pub(crate) unsure: &'a BTreeSet<String>,
}

impl Errand<'_> {
    /// What the delivery of a dashboard by an action is called.
    fn named(&self, board: &str, action: &str) -> String {
        match self.task {
            Some(task) => format!("{task}: {board} to {action}"),
            None => format!("{board} to {action}"),
        }
    }

    /// What the delivery of a dashboard belongs to: the sender, for two that read rows as different roles send different
    /// files, and the moment.
    fn group(&self, board: &str, stamp: &str) -> String {
        let mut sender = format!("{board}.{}", self.schedule);
        if let Some(task) = self.task {
            sender.push('.');
            sender.push_str(task);
        }
        format!("{sender}/{stamp}")
    }

    /// The key under which it is done once.
    fn key(&self, board: &str, action: &str) -> String {
        let moment = self.moment.micros().to_le_bytes();
        let task = self.task.unwrap_or_default();
        let parts = [
            self.schedule.as_bytes(),
            task.as_bytes(),
            &moment,
            board.as_bytes(),
            action.as_bytes(),
        ];
        format!("send-{}", digest::short(&parts))
    }

    /// The error of a delivery that left once, of which nobody knows whether it arrived.
    fn in_doubt(&self, board: &str, action: &str, why: &str) -> Error {
        Error::invalid(format!(
            "dashboard \"{board}\" left once by action \"{action}\", which is at-most-once, and whether it arrived is not known: {why}"
        ))
        .hint(format!(
            "It is not sent again for this moment. Ask whoever gets it; if it did not arrive, `flywheel schedule run {}` sends the dashboards anew.",
            self.schedule
        ))
    }
}

/// Whether a delivery left of which nobody knows whether it arrived: it was cut off, or nothing clear was answered. Only
/// those of actions that promise at-most-once are noted so.
pub(crate) fn is_unsure(task: &Task) -> bool {
    let cut_off = matches!(task.status.as_str(), "running" | "interrupted");
    cut_off || task.outcome.detail.get(UNSURE).and_then(Json::as_bool) == Some(true)
}

/// Whether what leaves by the action must never be sent a second time.
fn is_once(workspace: &Workspace, action: &str) -> bool {
    let declared = workspace.project.actions.get(action);
    declared.is_some_and(|action| action.guarantee == Guarantee::AtMostOnce)
}

/// Sends each dashboard by each action that has not carried it yet; how many left.
///
/// # Errors
/// What kept dashboards from some of their receivers, after all others were tried: [`ErrorKind::Unavailable`] if trying
/// again may help, [`ErrorKind::Blocked`] if all got them, but for tiles that could not be answered. A delivery that may be
/// sent once alone, and may have arrived, is told as an error by each attempt.
pub(crate) async fn send(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    errand: &Errand<'_>,
) -> Result<Json> {
    let (mut count, mut errors) = (0, Vec::new());
    for name in errand.boards {
        let actions = errand.sending.actions.iter();
        let left: Vec<&str> = actions
            .map(String::as_str)
            .filter(|action| !errand.sent.contains(&errand.named(name, action)))
            .collect();
        if left.len() < errand.sending.actions.len() {
            let before = errand.sending.actions.len() - left.len();
            recorder.notice(format!("dashboard \"{name}\" was sent by {before} actions before"));
        }
        let (doubted, left): (Vec<&str>, Vec<&str>) = left.into_iter().partition(|action| {
            is_once(workspace, action) && errand.unsure.contains(&errand.named(name, action))
        });
        let why = "an earlier attempt was cut off, or got no clear answer";
        errors.extend(doubted.iter().map(|action| errand.in_doubt(name, action, why)));
        if left.is_empty() {
            continue;
        }
        let prepared = Box::pin(prepared(workspace, errand, name, &left)).await;
        let (report, failed) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for error in &failed {
            recorder.notice(error.report());
        }
        errors.extend(failed);
        for action in left {
            match Box::pin(one(workspace, recorder, errand, (name.as_str(), action), &report)).await
            {
                Ok(()) => count += 1,
                Err(error) => errors.push(error),
            }
            recorder.keep()?;
        }
    }
    joined(errors).map_or_else(|| Ok(json!({"sent": count})), Err)
}

/// All errors as one: what may be mended by trying again decides how it is gone on, then what a person must mend.
fn joined(errors: Vec<Error>) -> Option<Error> {
    let of = |kind: ErrorKind| errors.iter().any(|error| error.kind() == kind);
    let kind = match errors.iter().find(|error| error.kind() != ErrorKind::Blocked) {
        Some(_) if of(ErrorKind::Unavailable) => ErrorKind::Unavailable,
        Some(first) => first.kind(),
        None => ErrorKind::Blocked,
    };
    let mut errors = errors.into_iter();
    let first = errors.next()?;
    let rest: Vec<Error> = errors.collect();
    if rest.is_empty() {
        return Some(first);
    }
    let said = |error: &Error| match error.hint_text() {
        Some(hint) => format!("{} ({hint})", error.message()),
        None => error.message().to_owned(),
    };
    let said: Vec<String> = std::iter::once(&first).chain(&rest).map(said).collect();
    Some(Error::new(kind, said.join("; ")))
}

/// What is sent of a dashboard, and an error for each tile that could not be answered.
async fn prepared(
    workspace: &Workspace,
    errand: &Errand<'_>,
    name: &str,
    actions: &[&str],
) -> Result<(Report, Vec<Error>)> {
    let project = &workspace.project;
    let board = project.dashboards.get(name).ok_or_else(|| unknown(workspace, name))?;
    let board: &Dashboard = &board.value;
    let Sending { attach, language, role, .. } = errand.sending;
    // As for a link: rows are read as the role sees them. Without a role no rule and no grant is there that could hide any.
    let reading = &match role {
        Some(role) => Reading::As(Reader::new(project, None, Some(role.word()), &[])),
        None => Reading::Owner,
    };
    let measured = reading.granted(project).map(|granted| Box::new(granted.measured()));
    let measured = measured.as_deref().unwrap_or(project);
    let now = as_of(workspace)?;
    // A run that comes late shows the days that it would have shown in time, the begun one as far as rows have come.
    let now = if project.file.simulated { now } else { now.min(errand.moment) };
    let chosen = Asked { zone: errand.zone.map(str::to_owned), ..Asked::default() };
    let (mut tiles, mut failed) = (Vec::new(), Vec::new());
    for tile in board.tiles.iter().filter(|tile| tile.shown().is_some()) {
        let run = |sql: String| async move {
            let session = workspace.session_for(&sql, reading).await?;
            rows::query(&session, &sql, TILE_ROWS_MAX).await
        };
        let asked: Result<Answer> =
            Box::pin(answer(measured, (board, tile), &chosen, now, run)).await;
        match asked {
            Ok(answer) => tiles.push((tile, Some(answer))),
            Err(error) => {
                failed.push(error.context(format!("dashboard \"{name}\", tile \"{}\"", tile.tile)));
                tiles.push((tile, None));
            }
        }
    }
    if tiles.iter().all(|(_, answer)| answer.is_none()) {
        let none = || {
            Error::invalid(format!("dashboard \"{name}\" has no tile that shows figures"))
                .hint("Add one of `metrics` or `sql`, or send another dashboard.")
        };
        return Err(failed.into_iter().next().unwrap_or_else(none));
    }
    let failed: Vec<Error> = failed.iter().map(left_out).collect();
    let names = Names::new(project, board, *language)?;
    let answered = Answered {
        board,
        names,
        chosen: &chosen,
        as_of: AsOf::new(project, board, &chosen, now)?,
        simulated: project.file.simulated,
        tiles,
    };
    let carries = |action: &&str| {
        let declared = project.actions.get(*action);
        declared.is_some_and(|action| CARRY_BOOKS.contains(&action.connector.as_str()))
    };
    let attached = *attach == Attach::Workbook && actions.iter().any(carries);
    let address =
        project.file.sign_in.as_ref().map(|sign_in| sign_in.address.trim_end_matches('/'));
    let link = address.map(|address| format!("{address}/dashboards/{name}"));
    let said = message(&answered, link.as_deref());
    let payload = json!({
        "title": said.title, "text": said.text, "dashboard": name, "schedule": errand.schedule,
        "moment": errand.moment.to_string(), "as_of": now.to_string(), "link": link,
        "simulated": project.file.simulated, "project": project.file.name, "tiles": said.tiles,
    });
    let stamp = AsOf::new(project, board, &chosen, errand.moment)?.stamp;
    let attachment = match attached {
        true => Some(Attachment {
            name: format!("{}.xlsx", said.title),
            kind: WORKBOOK,
            bytes: book(answered).await?,
        }),
        false => None,
    };
    let delivery = Delivery { key: String::new(), payload, group: errand.group(name, &stamp) };
    Ok((Report { delivery, brief: said.brief, html: said.html, attachment }, failed))
}

/// The error of a tile that was left out: trying again would find everything sent, so it is for a person.
fn left_out(error: &Error) -> Error {
    let hint = "Mend the tile. What was sent without it is not sent again for this moment.";
    let hint = error.hint_text().map_or_else(|| hint.to_owned(), |first| format!("{first} {hint}"));
    let left_out = Error::blocked(error.message()).hint(hint);
    let causes = std::iter::successors(error.source(), |cause| (**cause).source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    if causes.is_empty() { left_out } else { left_out.caused_by(causes.join(": ")) }
}

/// Sends a dashboard by one action, and notes what became of it.
async fn one(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    errand: &Errand<'_>,
    (board, name): (&str, &str),
    report: &Report,
) -> Result<()> {
    let mut timer = recorder.started(SEND, &errand.named(board, name));
    let mut report = report.clone();
    report.delivery.key = errand.key(board, name);
    let once = is_once(workspace, name);
    let ready = schedule::action(workspace, name)
        .map_err(|error| error.context(format!("dashboard \"{board}\", action \"{name}\"")));
    // Before it leaves, so that a process that is killed meanwhile leaves no doubt that it may have.
    let ready = match ready {
        Ok(action) if once => recorder.mark(&mut timer).map(|()| action),
        ready => ready,
    };
    let result = match ready {
        Ok(action) => match action.report(&report).await {
            Outcome::Retry { reason, .. } if once => {
                let error = errand.in_doubt(board, name, &reason);
                let detail = json!({UNSURE: true, "key": report.delivery.key});
                let said = Some(error.report());
                let outcome = TaskOutcome { error: said, detail, ..TaskOutcome::default() };
                recorder.ended(timer, "failed", outcome);
                return Err(error);
            }
            outcome => settled(outcome, board, name),
        },
        Err(error) => Err(error),
    };
    let done = |receipt: &String| {
        let detail = json!({"receipt": receipt, "key": report.delivery.key});
        ("succeeded".to_owned(), TaskOutcome { detail, ..TaskOutcome::default() })
    };
    recorder.settled(timer, result, done).map(|_| ())
}

fn settled(outcome: Outcome, board: &str, action: &str) -> Result<String> {
    match outcome {
        Outcome::Delivered { receipt } => Ok(receipt),
        Outcome::Unreached { reason }
        | Outcome::Waits { reason, .. }
        | Outcome::Retry { reason, .. } => Err(Error::unavailable(format!(
            "dashboard \"{board}\" did not leave by action \"{action}\": {reason}"
        ))
        .hint("The next attempt sends it to those who have not got it.")),
        Outcome::Rejected { reason } => Err(Error::invalid(format!(
            "dashboard \"{board}\" was refused by action \"{action}\": {reason}"
        ))
        .hint(
            "Mend what it says; `flywheel schedule rerun` then sends it to those who have not got it.",
        )),
    }
}

#[cfg(test)]
mod tests;
