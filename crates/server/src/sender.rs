//! The sender: what is due leaves soon after it was decided, beside the turns.
//!
//! ```text
//! decision, retry, resume ──wakes──▶ is something due that can leave? ──▶ one pass ──▶ sleep until the next is due
//! ```
//! A pass and what a turn delivers never go on at once ([`outbox::send`]), and the outbox's fence shuts another process out.
//! What waits for a person, such as a paused policy, wakes nobody; it is looked for every [`LOOK`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use flywheel_base::{Error, Result};
use flywheel_decision::act::Acted;
use flywheel_project::resource::project_file::Deliver;
use flywheel_runtime::outbox;
use serde_json::json;

use crate::STOP_TIME;
use crate::app::App;
use crate::live::Live;

/// How often it is looked for what nobody told of, such as a halt that a command line has lifted.
const LOOK: Duration = Duration::from_secs(15);
/// How long decisions are waited for that leave in the same pass.
const GATHER: Duration = Duration::from_millis(500);

/// Delivers what is due until the server is stopped; what is under way then ends.
pub(crate) async fn keep(app: &Arc<App>) {
    let mut warned = None;
    loop {
        let began = Instant::now();
        let wait = match step(app, &mut warned).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(error = %error.report(), "deliveries are tried again later");
                LOOK
            }
        };
        // What makes a pass slow, such as a large file, makes it slow for few deliveries as well.
        let gather = GATHER.max(began.elapsed());
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = app.sender.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(gather) => {}
        }
    }
}

/// Delivers what is due now, and says how long to wait.
async fn step(app: &Arc<App>, warned: &mut Option<String>) -> Result<Duration> {
    let due = app.blocking(|app| {
        let workspace = app.workspace();
        match workspace.project.file.deliver {
            Deliver::InTurns => Ok(None),
            Deliver::AtOnce => outbox::is_due(&workspace).map(Some),
        }
    });
    match due.await? {
        None => return Ok(LOOK),
        Some(false) => {}
        Some(true) => {
            let acted = pass(app).await?;
            let why = outbox::held_back(&acted);
            if let Some(why) = why.as_ref().filter(|why| warned.as_ref() != Some(*why)) {
                tracing::warn!("{why}");
            }
            *warned = why;
            if acted != Acted::default() {
                app.tell(Live::new("changed", json!({"what": ["status", "policies"]})));
            }
        }
    }
    let wait = app.blocking(|app| {
        let workspace = app.workspace();
        let next = outbox::next_due(&workspace)?;
        Ok(next.map(|next| next.micros() - workspace.now().micros()))
    });
    let wait = wait.await?.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs()));
    Ok(wait.map_or(LOOK, |wait| wait.min(LOOK)))
}

/// One pass. When the server is stopped, what has left is waited for, and nothing more leaves.
async fn pass(app: &Arc<App>) -> Result<Acted> {
    let stop = app.stop.clone();
    let sent = app.with(move |workspace| async move {
        outbox::send(&workspace, &|| stop.is_cancelled()).await
    });
    let too_long = async {
        app.stop.cancelled().await;
        tokio::time::sleep(STOP_TIME).await;
    };
    tokio::select! {
        sent = sent => sent,
        () = too_long => Err(Error::unavailable("deliveries under way are left")),
    }
}
