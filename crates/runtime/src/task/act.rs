//! Acting: emptying the outbox.

use std::collections::BTreeMap;

use flywheel_base::Result;
use flywheel_decision::act::{Acted, act};
use flywheel_state::TaskOutcome;
use serde_json::json;

use crate::{Workspace, recorder::Recorder};

/// Delivers what is due.
///
/// # Errors
/// Those of [`act`].
pub(crate) async fn run(
    workspace: &Workspace,
    recorder: &Recorder<'_>,
    turn: i64,
) -> Result<Acted> {
    let context = workspace.context(turn, workspace.now()).await?;
    let timer = recorder.started("act", "outbox");
    let result = act(&context).await;
    let acted = recorder.settled(timer, result, |acted| {
        let waiting: usize = acted.waiting.values().sum();
        let fine = acted.dead == 0 && waiting == 0 && acted.not_set_up.is_empty();
        let status = if fine { "succeeded" } else { "warned" };
        let outcome = TaskOutcome {
            rows_out: Some(acted.delivered as u64),
            rows_rejected: Some(acted.dead as u64),
            error: (!acted.not_set_up.is_empty()).then(|| acted.not_set_up.join("\n")),
            detail: json!({"retried": acted.retried, "waiting": waiting}),
            ..TaskOutcome::default()
        };
        (status.to_owned(), outcome)
    })?;
    if !acted.waiting.is_empty() {
        recorder.notice(format!(
            "deliveries wait, because their action is not declared any more: {}; put the action back, and they leave",
            listed("action", &acted.waiting)
        ));
    }
    if !acted.gone.is_empty() {
        recorder.notice(format!(
            "deliveries are given up, because their policy is not declared any more: {}; put the policy back and run \
             `flywheel policy retry` with its name, and they leave",
            listed("policy", &acted.gone)
        ));
    }
    for why in &acted.not_set_up {
        recorder.notice(why.clone());
    }
    Ok(acted)
}

/// How many there are of what: `2 of action "mail", 1 of action "sms"`.
fn listed(kind: &str, counts: &BTreeMap<String, usize>) -> String {
    let each = counts.iter().map(|(name, count)| format!("{count} of {kind} \"{name}\""));
    each.collect::<Vec<_>>().join(", ")
}
