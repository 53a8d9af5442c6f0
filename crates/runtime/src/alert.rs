//! Alerts of the project's files: their conditions are looked at, and what is found is told once, by the actions that alerts
//! of schedules leave by.
//!
//! What is told of what is found is decided by [`flywheel_state::watch_step`] and is durable before anything leaves; it
//! leaves by [`crate::schedule::tell`].

mod condition;

use std::time::Duration;

use flywheel_base::{Error, Result, suggest};
use flywheel_project::Project;
use flywheel_project::resource::alert::Alert;
use flywheel_state::{Found, ITSELF, Looked, WatchPlan};
use serde::Serialize;

use crate::Workspace;

/// How long one look at a condition may take: alerts are looked at one after the other, and none may keep the others waiting
/// for ever.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// What an alert found that goes on.
#[derive(Clone, Debug, Serialize)]
pub struct Open {
    /// What it is about.
    pub subject: String,
    /// What is wrong.
    pub text: String,
    /// Since when.
    pub since: String,
    /// When it was last told; none if it was not.
    pub told_at: Option<String>,
    /// How often it was told.
    pub times: u32,
}

/// How many alerts that did not arrive are listed.
const UNDELIVERED_MAX: u32 = 50;

/// An alert that was tried and did not arrive.
#[derive(Clone, Debug, Serialize)]
pub struct Undelivered {
    /// The alert whose file says what is told; none of a schedule.
    pub alert: Option<String>,
    /// The schedule; none of an alert's file.
    pub schedule: Option<String>,
    /// The action it should leave by.
    pub action: String,
    /// `pending`, or `dead` if it was given up.
    pub status: &'static str,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it did not arrive.
    pub error: Option<String>,
    /// When it is tried next; none if it was given up.
    pub next_at: Option<String>,
    /// When it was tried for the last time, if it was given up.
    pub ended_at: Option<String>,
}

/// The newest alerts that were tried and did not arrive, and that no later one by the same action makes up for.
///
/// # Errors
/// Those of the metadata.
pub fn undelivered(workspace: &Workspace) -> Result<Vec<Undelivered>> {
    let found = workspace.store.undelivered_alerts(UNDELIVERED_MAX)?;
    let shown = found.into_iter().map(|one| Undelivered {
        next_at: one.ended_at.is_none().then(|| one.due_at.to_string()),
        ended_at: one.ended_at.map(|at| at.to_string()),
        alert: one.alert,
        schedule: Some(one.schedule).filter(|schedule| !schedule.is_empty()),
        action: one.action,
        status: one.status.name(),
        attempts: one.attempts,
        error: one.error,
    });
    Ok(shown.collect())
}

/// An alert and what it found.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// Its name.
    pub alert: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it tells of, in a line.
    pub when: String,
    /// The actions by which it leaves.
    pub send: Vec<String>,
    /// Whether its file keeps it from telling anything.
    pub paused: bool,
    /// The file that declares it.
    pub file: String,
    /// What it found that goes on.
    pub open: Vec<Open>,
    /// What it told and did not arrive.
    pub undelivered: Vec<Undelivered>,
}

/// All alerts of the project, by name, with what they found.
///
/// # Errors
/// Those of the metadata.
pub fn standing(workspace: &Workspace) -> Result<Vec<Standing>> {
    let states = workspace.store.watched()?;
    let lost = undelivered(workspace)?;
    let alerts = workspace.project.alerts.iter().map(|(name, located)| {
        let alert = &located.value;
        let open = states.iter().filter(|state| state.alert == *name && state.ended_at.is_none());
        Standing {
            alert: name.clone(),
            description: alert.description.clone(),
            when: alert.when.shown(),
            send: alert.send.clone(),
            paused: alert.paused,
            file: located.file.clone(),
            open: open
                .map(|state| Open {
                    subject: state.subject.clone(),
                    text: state.text.clone(),
                    since: state.since.to_string(),
                    told_at: state.told_at.filter(|_| state.times > 0).map(|at| at.to_string()),
                    times: state.times,
                })
                .collect(),
            undelivered: lost
                .iter()
                .filter(|one| one.alert.as_deref() == Some(name.as_str()))
                .cloned()
                .collect(),
        }
    });
    Ok(alerts.collect())
}

/// The alert of that name.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
pub fn named<'a>(project: &'a Project, name: &str) -> Result<&'a Alert> {
    let known = &project.alerts;
    known.get(name).map(|located| &located.value).ok_or_else(|| {
        let hint = if known.is_empty() {
            "The project has no alerts: declare one in alerts/*.yaml.".to_owned()
        } else {
            suggest::hint(name, known.keys().map(String::as_str))
        };
        Error::not_found(format!("no alert \"{name}\"")).hint(hint)
    })
}

/// What an alert would find now; nothing is told.
///
/// # Errors
/// Those of what it looks at.
pub async fn check(workspace: &Workspace, alert: &Alert) -> Result<Vec<Found>> {
    Ok(Box::pin(condition::look(workspace, alert)).await?.found)
}

/// Looks at an alert's condition, and makes alerts of what is to be told. Returns how many.
///
/// # Errors
/// Those of the metadata; a condition that cannot be looked at is told of, too.
pub async fn look(workspace: &Workspace, alert: &Alert) -> Result<usize> {
    if alert.paused {
        return Ok(0);
    }
    let looking = Box::pin(condition::look(workspace, alert));
    let looked = match tokio::time::timeout(LOOK_MAX, looking).await {
        Ok(Ok(looked)) => looked,
        Err(_) => {
            tracing::warn!(alert = %alert.alert, "what an alert tells of takes too long to be looked at");
            let why = format!("it took longer than {} seconds", LOOK_MAX.as_secs());
            Looked { found: vec![unseen(&why)], complete: false }
        }
        Ok(Err(error)) => {
            tracing::warn!(alert = %alert.alert, error = %error.report(), "what an alert tells of cannot be looked at");
            Looked { found: vec![unseen(error.message())], complete: false }
        }
    };
    workspace.store.watch(&plan(alert), looked, workspace.machine.now())
}

/// That a condition, or a part of it, cannot be looked at.
fn unseen(why: &str) -> Found {
    Found {
        subject: ITSELF.to_owned(),
        text: format!("What it tells of cannot be looked at: {why}"),
        passing: false,
    }
}

/// Looks at every alert, and forgets what those found that are not there any more. Returns how many alerts were made.
///
/// # Errors
/// Those of the metadata.
pub async fn look_at_all(workspace: &Workspace) -> Result<usize> {
    forget_gone(workspace)?;
    let mut made = 0;
    for located in workspace.project.alerts.values() {
        made += look(workspace, &located.value).await?;
    }
    Ok(made)
}

/// Forgets what alerts found whose files are gone.
///
/// # Errors
/// Those of the metadata.
pub fn forget_gone(workspace: &Workspace) -> Result<()> {
    let mut gone: Vec<String> =
        workspace.store.watched()?.into_iter().map(|one| one.alert).collect();
    gone.dedup();
    gone.retain(|name| !workspace.project.alerts.contains_key(name));
    for name in gone {
        workspace.store.forget_watched(&name)?;
    }
    Ok(())
}

fn plan(alert: &Alert) -> WatchPlan {
    WatchPlan {
        name: alert.alert.clone(),
        about: alert.description.clone(),
        actions: alert.send.clone(),
        repeat_us: alert.repeat.map(|repeat| repeat.micros),
        mute_us: alert.mute.map(|mute| mute.micros),
        recovered: alert.recovered,
    }
}

#[cfg(test)]
mod tests;
