//! Bringing events from their queues to those who are told.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flywheel_base::{Clock, Error, Result};
use flywheel_connect::{Action, Delivery, Outcome, replace_file};
use flywheel_decision::act::built;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::declared;
use super::queue::Queue;
use crate::Workspace;

/// The longest wait between two attempts, in microseconds.
const WAIT_US_MAX: i64 = 3_600_000_000;

/// How many events that nobody will ever take are kept to be looked at.
const REJECTED: &str = "rejected";

/// Events of one process leave one after the other.
static SENDING: Mutex<()> = Mutex::const_new(());

/// Who is told, and what waits for them.
pub(super) struct Sender {
    /// Where everything of ours lies.
    pub(super) folder: PathBuf,
    /// Events that still lack columns and SQL.
    pub(super) plain: Queue,
    targets: Vec<Target>,
    machine: Arc<dyn Clock>,
}

struct Target {
    queue: Queue,
    way: Way,
}

enum Way {
    Action(Box<dyn Action>),
    File(PathBuf),
}

/// When a receiver that failed is tried again.
#[derive(Default, Serialize, Deserialize)]
struct Retry {
    failures: u32,
    not_before_us: i64,
}

/// Why a target is left for now.
struct Later {
    reason: String,
    after: Option<Duration>,
}

impl Sender {
    /// Builds the ways that are declared; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the action or a secret of it is wrong.
    pub(super) fn new(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.ours().join("openlineage");
        let mut targets = Vec::new();
        let declared = declared(workspace);
        if let Some(name) = declared.and_then(|declared| declared.action.as_ref()) {
            let project = &workspace.project;
            let action = project
                .actions
                .get(name)
                .ok_or_else(|| Error::not_found(format!("no action \"{name}\"")))?;
            let built = built(project, workspace.dir(), action)
                .map_err(|error| error.context(format!("action \"{name}\" ({})", action.file)))?;
            targets
                .push(Target { queue: Queue::new(folder.join("action")), way: Way::Action(built) });
        }
        if let Some(file) = declared.and_then(|declared| declared.file.as_ref()) {
            let path = workspace.dir().join(file);
            targets.push(Target { queue: Queue::new(folder.join("file")), way: Way::File(path) });
        }
        let plain = Queue::new(folder.join("plain"));
        Ok(Self { folder, plain, targets, machine: Arc::clone(&workspace.machine) })
    }

    /// Queues events for everyone who is told.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn queue(&self, name: &str, events: &[Value]) -> Result<()> {
        self.targets.iter().try_for_each(|target| target.queue.put(name, events))
    }

    /// Sends what waits, for at most this long; what is not taken stays.
    pub(super) async fn send(&self, time: Duration) {
        let deadline = Instant::now() + time;
        let Ok(_guard) = timeout_at(deadline, SENDING.lock()).await else { return };
        for target in &self.targets {
            // A delivery that is cut off is repeated: its receiver knows it by run and phase.
            if let Ok(Err(error)) = timeout_at(deadline, self.send_to(target)).await {
                tracing::warn!(error = %error.report(), "events of OpenLineage are not sent");
            }
        }
    }

    async fn send_to(&self, target: &Target) -> Result<()> {
        let path = target.queue.folder().join("retry.json");
        let retry: Retry = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let now = self.machine.now().micros();
        let names = target.queue.names()?;
        if names.is_empty() || now < retry.not_before_us {
            return Ok(());
        }
        for name in names {
            let events = target.queue.read(&name)?;
            if let Err(later) = self.deliver(target, &name, events).await? {
                let doubled = 1_000_000_i64.saturating_mul(1 << retry.failures.min(12));
                let asked =
                    later.after.map(|after| i64::try_from(after.as_micros()).unwrap_or(i64::MAX));
                let wait = asked.unwrap_or(0).max(doubled).min(WAIT_US_MAX);
                let retry = Retry {
                    failures: retry.failures.saturating_add(1),
                    not_before_us: now.saturating_add(wait),
                };
                tracing::warn!(reason = %later.reason, wait_s = wait / 1_000_000, "events of OpenLineage wait");
                return keep(&path, &retry);
            }
            target.queue.remove(&name)?;
        }
        if retry.failures > 0 { keep(&path, &Retry::default()) } else { Ok(()) }
    }

    /// Delivers the events of a file, or says why they have to wait.
    async fn deliver(
        &self,
        target: &Target,
        name: &str,
        events: Vec<Value>,
    ) -> Result<std::result::Result<(), Later>> {
        let action = match &target.way {
            Way::File(path) => {
                return Ok(append(path, &events)
                    .map_err(|error| Later { reason: error.report(), after: None }));
            }
            Way::Action(action) => action,
        };
        for event in events {
            let delivery = Delivery {
                key: key(&event),
                payload: event.clone(),
                group: "openlineage/0".to_owned(),
            };
            let outcome = action.deliver(std::slice::from_ref(&delivery)).await.into_iter().next();
            match outcome {
                Some(Outcome::Delivered { .. }) => {}
                Some(Outcome::Rejected { reason }) => {
                    tracing::warn!(%reason, key = %delivery.key, "an event of OpenLineage is refused and set aside");
                    let refused = Queue::new(target.queue.folder().join(REJECTED));
                    refused.put(name, &[event])?;
                }
                Some(Outcome::Unreached { reason }) => {
                    return Ok(Err(Later { reason, after: None }));
                }
                Some(Outcome::Waits { reason, after, .. }) => {
                    return Ok(Err(Later { reason, after: Some(after) }));
                }
                Some(Outcome::Retry { reason, after }) => return Ok(Err(Later { reason, after })),
                None => {
                    let reason = "the action said nothing".to_owned();
                    return Ok(Err(Later { reason, after: None }));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// What a receiver knows an event by: the run and what it has come to.
fn key(event: &Value) -> String {
    let run = event.pointer("/run/runId").and_then(Value::as_str).unwrap_or_default();
    let phase = event.get("eventType").and_then(Value::as_str).unwrap_or_default();
    format!("{run}-{}", phase.to_lowercase())
}

fn keep(path: &Path, retry: &Retry) -> Result<()> {
    let text = serde_json::to_vec(retry)
        .map_err(|error| Error::internal("a wait is no JSON").caused_by(error))?;
    replace_file(path, &text)
}

/// Adds events to a file, a line each; a line that a crash has torn stays a line of its own.
fn append(path: &Path, events: &[Value]) -> Result<()> {
    let fail = |error| Error::io("write", path, error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::io("make the folder", folder, error))?;
    }
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).open(path).map_err(fail)?;
    let mut text = String::new();
    if file.metadata().map_err(fail)?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1)).map_err(fail)?;
        file.read_exact(&mut last).map_err(fail)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    for event in events {
        text.push_str(&event.to_string());
        text.push('\n');
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)
}
