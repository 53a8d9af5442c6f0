//! The alerts' driver: conditions are looked at as time passes and after each piece of work.
//!
//! What is told of what is found is durable before it leaves; it leaves by [`crate::schedule::tell`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flywheel_base::Timestamp;
use flywheel_runtime::alert;
use serde_json::json;

use crate::app::App;
use crate::live::Live;

/// How often the time is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Looks at the conditions of alerts until the server is stopped.
pub(crate) async fn look(app: &Arc<App>) {
    let mut due: BTreeMap<String, Timestamp> = BTreeMap::new();
    loop {
        let now = app.machine_now();
        let alerts: BTreeMap<String, i64> = {
            let workspace = app.workspace();
            let alerts = workspace.project.alerts.iter();
            alerts.map(|(name, one)| (name.clone(), one.value.when.every.micros)).collect()
        };
        if due.len() != alerts.len() || !due.keys().all(|name| alerts.contains_key(name)) {
            due.retain(|name, _| alerts.contains_key(name));
            if let Err(error) = app.blocking(|app| alert::forget_gone(&app.workspace())).await {
                tracing::warn!(error = %error.report(), "what alerts found is not forgotten");
            }
        }
        for (name, every_us) in alerts {
            // A look that is further away than that was planned by a clock that has gone back since.
            let waits = due.get(&name).is_some_and(|at| {
                *at > now && at.micros().saturating_sub(now.micros()) <= every_us
            });
            if waits {
                continue;
            }
            due.insert(name.clone(), now.plus_micros(every_us));
            let asked = name.clone();
            let looking = app.with(move |workspace| async move {
                let one = alert::named(&workspace.project, &asked)?;
                alert::look(&workspace, one).await
            });
            // What does not answer holds up no stop.
            let made = tokio::select! {
                () = app.stop.cancelled() => return,
                made = looking => made,
            };
            match made {
                Ok(0) => {}
                Ok(count) => {
                    tracing::warn!(alert = %name, count, "alerts were made");
                    app.tell(Live::new("changed", json!({"what": ["alerts"]})));
                }
                Err(error) => {
                    tracing::warn!(alert = %name, error = %error.report(), "an alert is not looked at");
                }
            }
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            // Work was done: what is told of may be there, or over.
            () = app.alerts.notified() => due.values_mut().for_each(|at| *at = now),
            () = tokio::time::sleep(TICK) => {}
        }
    }
}
