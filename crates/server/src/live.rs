//! What happens, told to open pages as it does: server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, header};
use bytes::Bytes;
use futures::stream;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use crate::app::App;

/// How often a quiet connection says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

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
}

/// The answer that goes on until somebody leaves.
pub(crate) fn answer(app: &App) -> Response<Body> {
    let (receiver, stop) = (app.live.subscribe(), app.stop.clone());
    let first = Bytes::from_static(b"retry: 2000\n: live\n\n");
    let events = stream::unfold(
        (Some(first), receiver, stop),
        |(first, mut receiver, stop)| async move {
            if let Some(first) = first {
                return Some((std::io::Result::Ok(first), (None, receiver, stop)));
            }
            let text = tokio::select! {
                () = stop.cancelled() => return None,
                received = tokio::time::timeout(HEARTBEAT, receiver.recv()) => match received {
                    Err(_) => ": still here\n\n".to_owned(),
                    Ok(Ok(live)) => format!("event: {}\ndata: {}\n\n", live.event, live.data),
                    // Who has missed something asks for everything again.
                    Ok(Err(RecvError::Lagged(_))) => {
                        "event: changed\ndata: {\"what\":[\"status\",\"runs\",\"turns\",\"assets\",\"policies\",\"schedules\"]}\n\n".to_owned()
                    }
                    Ok(Err(RecvError::Closed)) => return None,
                },
            };
            Some((Ok(Bytes::from(text)), (None, receiver, stop)))
        },
    );
    let mut response = Response::new(Body::from_stream(events));
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
