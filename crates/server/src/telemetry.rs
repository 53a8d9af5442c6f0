//! Requests as spans and as numbers, for an OpenTelemetry collector; only where one is named.
//!
//! A request is told by its route and never by its address, which can hold what gives access, such as a link's token.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::http::{HeaderMap, Method, StatusCode};
use opentelemetry::KeyValue;
use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::metrics::Histogram;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, Tracer as _};

use crate::app::App;

/// The name under which everything is told.
const NAME: &str = "flywheel";
/// What the specification advises for the durations of requests, in seconds.
const BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// What tells of requests.
pub(crate) struct Telemetry {
    tracer: BoxedTracer,
    durations: Histogram<f64>,
}

/// A request under way.
pub(crate) struct Told {
    span: BoxedSpan,
    about: Vec<KeyValue>,
}

impl Telemetry {
    /// Takes the providers that the process was given.
    pub(crate) fn new() -> Self {
        let durations = global::meter(NAME)
            .f64_histogram("http.server.request.duration")
            .with_unit("s")
            .with_description("How long requests took.")
            .with_boundaries(BOUNDS.to_vec())
            .build();
        Self { tracer: global::tracer(NAME), durations }
    }

    /// Begins to tell of a request, as a part of the trace that its sender names.
    pub(crate) fn begin(
        &self,
        method: &Method,
        route: Option<&MatchedPath>,
        headers: &HeaderMap,
    ) -> Told {
        let mut about = vec![KeyValue::new("http.request.method", known(method))];
        let name = match route {
            Some(route) => {
                about.push(KeyValue::new("http.route", route.as_str().to_owned()));
                format!("{} {}", known(method), route.as_str())
            }
            None => known(method).to_owned(),
        };
        let sender = global::get_text_map_propagator(|known| known.extract(&Headers(headers)));
        let span =
            SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(about.clone());
        Told { span: self.tracer.build_with_context(span, &sender), about }
    }

    /// Tells how the request was answered.
    pub(crate) fn end(&self, told: Told, status: StatusCode, took: Duration) {
        let Told { mut span, mut about } = told;
        let code = KeyValue::new("http.response.status_code", i64::from(status.as_u16()));
        span.set_attribute(code.clone());
        about.push(code);
        if status.is_server_error() {
            span.set_status(Status::error(""));
            about.push(KeyValue::new("error.type", status.as_str().to_owned()));
        }
        span.end();
        self.durations.record(took.as_secs_f64(), &about);
    }
}

/// Whatever a stranger sends as a method becomes one word, so that the numbers stay few.
fn known(method: &Method) -> &'static str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    const NAMES: [&str; 9] =
        ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    let at = KNOWN.iter().position(|known| known == method);
    at.and_then(|at| NAMES.get(at)).copied().unwrap_or("_OTHER")
}

/// A request's headers, where a sender's trace is named.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// Tells the server's counts whenever they are collected, as long as it is there.
pub(crate) fn counts(app: &Arc<App>) {
    let meter = global::meter(NAME);
    let reading = |app: &Arc<App>, of: fn(&App) -> &AtomicU64| {
        let app: Weak<App> = Arc::downgrade(app);
        move || app.upgrade().map(|app| of(&app).load(Ordering::Relaxed))
    };
    let accepted = reading(app, |app| &app.stats.events);
    let rejected = reading(app, |app| &app.stats.events_rejected);
    meter
        .u64_observable_counter("flywheel.events")
        .with_unit("{event}")
        .with_description("Events by what became of them.")
        .with_callback(move |seen| {
            for (result, count) in [("accepted", accepted()), ("rejected", rejected())] {
                if let Some(count) = count {
                    seen.observe(count, &[KeyValue::new("result", result)]);
                }
            }
        })
        .build();
    let connections = reading(app, |app| &app.stats.connections);
    meter
        .u64_observable_gauge("flywheel.http.connections")
        .with_unit("{connection}")
        .with_description("Open connections.")
        .with_callback(move |seen| {
            if let Some(count) = connections() {
                seen.observe(count, &[]);
            }
        })
        .build();
    let clients = reading(app, |app| &app.stats.postgres_connections);
    meter
        .u64_observable_gauge("flywheel.postgres.connections")
        .with_unit("{connection}")
        .with_description("Open connections of clients of PostgreSQL.")
        .with_callback(move |seen| {
            if let Some(count) = clients() {
                seen.observe(count, &[]);
            }
        })
        .build();
    let (outbox, working) = (Arc::downgrade(app), Arc::downgrade(app));
    meter
        .u64_observable_gauge("flywheel.outbox")
        .with_unit("{delivery}")
        .with_description("Deliveries by where they stand.")
        .with_callback(move |seen| {
            let Some(app) = outbox.upgrade() else { return };
            // Metadata that cannot be read is told by what needs them.
            let Ok((pending, delivered, dead)) = app.workspace().store.outbox_counts() else {
                return;
            };
            for (status, count) in [("pending", pending), ("delivered", delivered), ("dead", dead)]
            {
                seen.observe(count, &[KeyValue::new("status", status)]);
            }
        })
        .build();
    let alerts = Arc::downgrade(app);
    meter
        .u64_observable_gauge("flywheel.alerts")
        .with_unit("{alert}")
        .with_description("Alerts by where they stand.")
        .with_callback(move |seen| {
            let Some(app) = alerts.upgrade() else { return };
            let Ok((pending, delivered, dead)) = app.workspace().store.alert_counts() else {
                return;
            };
            for (status, count) in [("pending", pending), ("delivered", delivered), ("dead", dead)]
            {
                seen.observe(count, &[KeyValue::new("status", status)]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("flywheel.working")
        .with_unit("{task}")
        .with_description("How many things change the project now.")
        .with_callback(move |seen| {
            let Some(app) = working.upgrade() else { return };
            seen.observe(app.queue.running().len() as u64, &[]);
        })
        .build();
}
