//! Quotas at the door: how often a user may ask, and that the audit log has who wanted more.

use std::sync::Arc;
use std::time::Duration;

use flywheel_base::{Error, QuotaExceeded, QuotaKind};
use flywheel_project::resource::project_file::Quota;
use flywheel_runtime::quota::{self, Hit};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Problem, Result};
use crate::rate::{Left, Taken};

/// What the audit log says was done.
pub(crate) const EXCEEDED: &str = "quota.exceeded";
/// How long a statement waits for the others of its user at most.
const PLACE_WAIT: Duration = Duration::from_secs(30);

/// Counts a request of a user; says what is left of the minute, if requests are limited for them. Links and keys have limits
/// of their own, since whoever made them does not ask.
pub(crate) fn count(app: &App, caller: &Caller) -> Result<Option<Left>, Box<(Problem, Left)>> {
    if caller.link.is_some() || caller.key.is_some() || caller.page_key.is_some() {
        return Ok(None);
    }
    let workspace = app.workspace();
    let quotas = &workspace.project.file.quotas;
    let quota = quotas.of(Some(caller.user.as_str()), Some(caller.role.word()));
    let Some(most) = quota.requests_per_minute else { return Ok(None) };
    let most = most.get();
    let (taken, left) = app.rates.count(&format!("user {}", caller.user), 1, most);
    if taken == Taken::Allowed {
        return Ok(Some(left));
    }
    let exceeded = QuotaExceeded { kind: QuotaKind::Requests, most, whose: caller.user.clone() };
    // One row tells of all of a minute.
    if taken == Taken::FirstRefused {
        workspace.quotas.hit(Hit { who: caller.who(), exceeded: exceeded.clone() });
    }
    let mut problem = Problem::from(Error::from(exceeded));
    problem.retry_after_s = Some(left.reset_s);
    Err(Box::new((problem, left)))
}

/// Waits for a place among the statements of the caller, for at most `time`.
pub(crate) async fn enter(
    app: &App,
    caller: &Caller,
    time: Duration,
) -> Result<Option<OwnedSemaphorePermit>> {
    let workspace = app.workspace();
    let reading = caller.reading(&workspace.project);
    Ok(reading.enter(&workspace, time.min(PLACE_WAIT)).await?)
}

/// Refuses a statement if `held` others of the caller hold all their places and end only when their client reads them: who would
/// wait for these waits for themselves.
pub(crate) fn check_held(app: &App, caller: &Caller, held: usize) -> Result<(), Error> {
    let workspace = app.workspace();
    let quotas = &workspace.project.file.quotas;
    let quota = quotas.of(Some(caller.user.as_str()), Some(caller.role.word()));
    let full = |most: u32| usize::try_from(most).is_ok_and(|most| held >= most);
    let Some(most) = quota.queries.filter(|most| full(most.get())) else { return Ok(()) };
    let (most, whose) = (u64::from(most.get()), caller.user.clone());
    let exceeded = QuotaExceeded { kind: QuotaKind::Queries, most, whose };
    workspace.quotas.hit(Hit { who: caller.who(), exceeded: exceeded.clone() });
    Err(exceeded.into())
}

/// Writes into the audit log who wanted more than their quota.
pub(crate) async fn note(app: &Arc<App>) -> Result<(), Error> {
    let hits = app.workspace().quotas.hits();
    for Hit { who, exceeded } in hits {
        let word = exceeded.kind.word();
        let more = json!({
            "most": exceeded.most, "whose": exceeded.whose, "said": exceeded.to_string(),
        });
        let detail = json!({"more": more});
        app.audit(who, EXCEEDED.to_owned(), word.to_owned(), detail).await?;
    }
    Ok(())
}

/// Notes what is exceeded at doors that have no requests, until the server stops.
pub(crate) async fn keep(app: &Arc<App>) {
    let quotas = Arc::clone(&app.workspace().quotas);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => break,
            () = quotas.wait() => {}
        }
        if let Err(error) = note(app).await {
            tracing::error!(error = %error.report(), "who exceeded a quota is not noted");
        }
    }
    if let Err(error) = note(app).await {
        tracing::error!(error = %error.report(), "who exceeded a quota is not noted");
    }
}

/// A quota as the API shows it.
pub(crate) fn shown(quota: Quota) -> Value {
    json!({
        "memory_bytes": quota.memory.map(|memory| memory.bytes),
        "time_ms": quota::time(quota).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        "rows": quota.rows, "queries": quota.queries, "requests_per_minute": quota.requests_per_minute,
    })
}
