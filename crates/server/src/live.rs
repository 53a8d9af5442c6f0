//! What happens, told to open pages as it does: server-sent events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Response, header};
use bytes::Bytes;
use flywheel_runtime::access::said::Said;
use futures::stream;
use serde_json::Value;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::app::App;
use crate::auth::{self, Caller};
use crate::gate::Permission;

/// How often a quiet connection says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is looked up whether a listener may still listen.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// The event's name: `work`, `task`, `log` or `changed`.
    pub(crate) event: &'static str,
    /// What happened.
    pub(crate) data: Arc<Value>,
}

impl Live {
    pub(crate) fn new(event: &'static str, data: Value) -> Self {
        Self { event, data: Arc::new(data) }
    }

    /// What is told of it, as JSON.
    fn told(&self, said: Said) -> String {
        said.event(&self.data).to_string()
    }
}

/// A page that listens.
struct Listener {
    app: Arc<App>,
    headers: HeaderMap,
    caller: Caller,
    receiver: Receiver<Live>,
    /// What it is told first.
    first: Option<Bytes>,
    looked_at: Instant,
}

/// The answer that goes on until somebody leaves or may not listen any more.
pub(crate) fn answer(app: &Arc<App>, caller: Caller, headers: HeaderMap) -> Response<Body> {
    let listener = Listener {
        app: Arc::clone(app),
        headers,
        caller,
        receiver: app.live.subscribe(),
        first: Some(Bytes::from_static(b"retry: 2000\n: live\n\n")),
        looked_at: Instant::now(),
    };
    let events = stream::unfold(listener, |mut listener| async move {
        if let Some(first) = listener.first.take() {
            return Some((std::io::Result::Ok(first), listener));
        }
        let received = tokio::select! {
            () = listener.app.stop.cancelled() => return None,
            received = tokio::time::timeout(HEARTBEAT, listener.receiver.recv()) => received,
        };
        if listener.looked_at.elapsed() >= LOOK_AGAIN {
            // Whoever logs out, is disabled or takes a token back is believed at once elsewhere.
            let (app, headers, before) = (&listener.app, &listener.headers, &listener.caller);
            let caller = auth::still(app, headers, before, Permission::View).await?;
            listener.caller = caller;
            listener.looked_at = Instant::now();
        }
        let text = match received {
            Err(_) => ": still here\n\n".to_owned(),
            // What happens is told by names of all kinds; that something changed is told by none.
            Ok(Ok(live))
                if live.event != "changed"
                    && listener.caller.is_closed_to(&listener.app.workspace().project) =>
            {
                ": something else\n\n".to_owned()
            }
            Ok(Ok(live)) => {
                let said = listener.caller.said(&listener.app.workspace().project);
                format!("event: {}\ndata: {}\n\n", live.event, live.told(said))
            }
            // Who has missed something asks for everything again.
            Ok(Err(RecvError::Lagged(_))) => {
                "event: changed\ndata: {\"what\":[\"status\",\"runs\",\"turns\",\"assets\",\"policies\",\"schedules\"]}\n\n".to_owned()
            }
            Ok(Err(RecvError::Closed)) => return None,
        };
        Some((Ok(Bytes::from(text)), listener))
    });
    let mut response = Response::new(Body::from_stream(events));
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
