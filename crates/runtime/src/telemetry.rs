//! Runs as traces: a span for the run and one for each of its tasks, told once the run has ended.
//!
//! Nothing is done where no collector is named. Texts of errors stay in the run's log: they can quote rows.

use std::time::{Duration, SystemTime};

use flywheel_base::Timestamp;
use flywheel_state::{Run, Task};
use opentelemetry::trace::{Span as _, SpanBuilder, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, global};

/// Tells the collector, if there is one, of a run that has ended.
pub(crate) fn trace(run: &Run, tasks: &[Task]) {
    let tracer = global::tracer("flywheel");
    let mut about = vec![
        KeyValue::new("flywheel.run.id", run.run_id.clone()),
        KeyValue::new("flywheel.run.kind", run.kind.clone()),
        KeyValue::new("flywheel.run.status", run.status.clone()),
        KeyValue::new("flywheel.run.logical_at", run.logical_at.to_string()),
    ];
    about.extend(run.turn.map(|turn| KeyValue::new("flywheel.turn", turn)));
    let span = SpanBuilder::from_name(run.kind.clone())
        .with_start_time(moment(run.started_at))
        .with_attributes(about);
    // Whatever span is current belongs to a request or another run that goes on.
    let span = tracer.build_with_context(span, &Context::new());
    let within = Context::new().with_span(span);
    let span = within.span();
    if !span.is_recording() {
        return;
    }
    for task in tasks {
        let rows = [
            ("flywheel.rows_in", task.outcome.rows_in),
            ("flywheel.rows_out", task.outcome.rows_out),
            ("flywheel.rows_rejected", task.outcome.rows_rejected),
        ];
        let mut about = vec![
            KeyValue::new("flywheel.task.kind", task.kind.clone()),
            KeyValue::new("flywheel.task.name", task.name.clone()),
            KeyValue::new("flywheel.task.status", task.status.clone()),
        ];
        let known = rows.into_iter().filter_map(|(name, rows)| Some((name, rows?)));
        about.extend(known.map(|(name, rows)| KeyValue::new(name, rows.cast_signed())));
        let child = SpanBuilder::from_name(format!("{} {}", task.kind, task.name))
            .with_start_time(moment(task.started_at))
            .with_attributes(about);
        let mut child = tracer.build_with_context(child, &within);
        child.set_status(said(&task.status));
        let took = Duration::from_secs_f64(task.duration_ms.unwrap_or_default().max(0.0) / 1_000.0);
        child.end_with_timestamp(moment(task.started_at) + took);
    }
    span.set_status(said(&run.status));
    span.end_with_timestamp(moment(run.ended_at.unwrap_or(run.started_at)));
}

fn said(status: &str) -> Status {
    match status {
        "failed" => Status::error("failed; its log says why"),
        _ => Status::Unset,
    }
}

fn moment(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(at.micros().max(0).unsigned_abs())
}
