//! Databases are asked how they do as time passes, so that nobody who looks has to wait for them.

use std::sync::Arc;
use std::time::Duration;

use flywheel_runtime::databases;

use crate::app::App;

/// How often they are asked.
const EVERY: Duration = Duration::from_secs(300);
/// How long after the start for the first time.
const FIRST: Duration = Duration::from_secs(20);

/// Asks them until the server is stopped.
pub(crate) async fn watch(app: &Arc<App>) {
    let mut next = FIRST;
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(next) => {}
        }
        next = EVERY;
        let asked = app.with(|workspace| async move { databases::check(&workspace).await });
        // What does not answer holds up no stop.
        let asked = tokio::select! {
            () = app.stop.cancelled() => return,
            asked = asked => asked,
        };
        match asked {
            Ok(found) => {
                for one in found.iter().filter(|one| one.reachable == Some(false)) {
                    let kind = one.error.as_ref().map(|error| error.kind.as_str());
                    tracing::warn!(database = %one.name, own = one.own, kind, "a database does not answer");
                }
            }
            Err(error) => {
                tracing::warn!(error = %error.report(), "databases are not asked how they do");
            }
        }
    }
}
