//! Acting: emptying the outbox.

use std::collections::BTreeMap;

use flywheel_base::Result;
use flywheel_decision::act::{Acted, act_until};
use flywheel_state::TaskOutcome;
use serde_json::json;

use crate::{Workspace, recorder::Recorder};

/// Delivers what is due.
///
/// # Errors
/// Those of [`act_until`].
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
) -> Result<Acted> {
    let timer = recorder.started("act", "outbox");
    let result = deliver(workspace, turn, &|| false).await;
    let acted = recorder.settled(timer, result, |acted| {
        let waiting: usize = acted.waiting.values().sum();
        let quiet: usize = acted.quiet.values().sum();
        let withheld: usize = acted.withheld.values().sum();
        let why = warnings(acted);
        let status = if why.is_empty() { "succeeded" } else { "warned" };
        let outcome = TaskOutcome {
            rows_out: Some(acted.delivered as u64),
            rows_rejected: Some(acted.dead as u64),
            error: (!why.is_empty()).then(|| why.join("\n")),
            detail: json!({
                "retried": acted.retried, "waiting": waiting, "dead": acted.dead, "quiet": quiet,
                "withheld": withheld,
            }),
            ..TaskOutcome::default()
        };
        (status.to_owned(), outcome)
    })?;
    for why in warnings(&acted) {
        recorder.notice(why);
    }
    Ok(acted)
}

/// Delivers what is due once nobody else of this process does, until it is time to stop.
///
/// # Errors
/// Those of [`act_until`].
pub(crate) async fn deliver(
    workspace: &Workspace,
    turn: i64,
    stops: &(dyn Fn() -> bool + Sync),
) -> Result<Acted> {
    let _held = workspace.delivering.lock().await;
    // What another one has delivered meanwhile is read as delivered.
    let context = workspace.context(turn, workspace.leaves_at()).await?;
    Box::pin(act_until(&context, stops)).await
}

/// Why not everything that was due has left or will leave by itself, each a sentence. What receivers answered is not
/// told: it may hold what people may not see.
pub(crate) fn warnings(acted: &Acted) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(reason) = &acted.halted {
        all.push(format!(
            "ALL POLICIES ARE STOPPED: {reason}; nothing is decided and nothing leaves until `flywheel policy resume --all`"
        ));
    }
    if !acted.given_up.is_empty() {
        all.push(format!(
            "deliveries are given up, because their receiver refused them or was not reached by the last attempt: {}; \
             `system.outbox` says why: mend that and run `flywheel policy retry` with the policy's name, or give them up for \
             good: `flywheel policy discard` with a --reason",
            listed("policy", &acted.given_up)
        ));
    }
    if acted.expired > 0 {
        all.push(format!(
            "{} deliveries are not sent, because nobody approved them in time; `flywheel approvals list --all` shows them",
            acted.expired
        ));
    }
    if acted.uncertain > 0 {
        all.push(format!(
            "{} deliveries of at-most-once actions were cut off while they left and are given up, because nobody knows \
             whether they arrived; ask the receiver, and run `flywheel policy retry` if they did not",
            acted.uncertain
        ));
    }
    if !acted.waiting.is_empty() {
        all.push(format!(
            "deliveries wait, because their action is not declared any more: {}; put the action back, and they leave, or give \
             them up: `flywheel policy discard` with the policy's name and a --reason",
            listed("action", &acted.waiting)
        ));
    }
    if !acted.gone.is_empty() {
        all.push(format!(
            "deliveries are given up, because their policy is not declared any more: {}; put the policy back and run \
             `flywheel policy retry` with its name, and they leave",
            listed("policy", &acted.gone)
        ));
    }
    all.extend(acted.not_set_up.iter().cloned());
    all.extend(acted.not_looked_up.iter().map(|why| {
        format!("deliveries wait, because it cannot be looked up whether they may leave: {why}")
    }));
    all
}

/// How many there are of what: `2 of action "mail", 1 of action "sms"`.
fn listed(kind: &str, counts: &BTreeMap<String, usize>) -> String {
    let each = counts.iter().map(|(name, count)| format!("{count} of {kind} \"{name}\""));
    each.collect::<Vec<_>>().join(", ")
}
