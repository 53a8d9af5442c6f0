//! What an OpenTelemetry collector hears of commands and of the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::house::{House, binary, text};
use crate::served::{Process, ask};

/// A collector on a free port: what it is sent, by path.
struct Collector {
    address: String,
    heard: Receiver<(String, String, Vec<u8>)>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (tell, heard) = channel();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = request(&mut stream) {
                        if tell.send(request).is_err() {
                            return;
                        }
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        if stream.get_mut().write_all(answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, heard }
    }

    /// Everything that was sent to a path until something fits, within a minute.
    fn until(&self, path: &str, mut fits: impl FnMut(&str, &[u8]) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (at, head, body) = self.heard.recv_timeout(left).unwrap();
            if at == path && fits(&head, &body) {
                return;
            }
        }
    }

    /// The spans of one request to the collector, once there are any of which `fits` is true.
    fn spans(&self, fits: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut spans = Vec::new();
        self.until("/v1/traces", |_, body| {
            let sent = ExportTraceServiceRequest::decode(body).unwrap();
            let groups = sent.resource_spans.into_iter().flat_map(|group| group.scope_spans);
            spans.extend(groups.flat_map(|group| group.spans));
            fits(&spans)
        });
        spans
    }
}

/// Path, head and body of the next request; none once the sender has gone.
fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head.split(' ').nth(1)?.to_owned(), head, body))
}

fn said<'a>(about: &'a [KeyValue], key: &str) -> Option<&'a any_value::Value> {
    about.iter().find(|one| one.key == key)?.value.as_ref()?.value.as_ref()
}

fn word(about: &[KeyValue], key: &str) -> String {
    match said(about, key) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// A project with a sync, two models and a test that fails.
fn shop() -> House {
    let house = House::new();
    house
        .write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
        .write(
            "syncs/orders.yaml",
            "sync: orders\nconnection: files\nstreams:\n  - {stream: orders, options: {path: orders.csv}, to: raw.orders, read: full, write: replace}\n",
        )
        .write("data/orders.csv", "id,amount\n1,5\n2,7\n3,secret-of-a-row\n")
        .write("models/sums.sql", "select count(*) as n from {{ source('raw', 'orders') }}\n")
        .write("tests/few.sql", "select * from {{ ref('sums') }} where n > 2\n");
    house
}

#[test]
fn a_run_is_a_trace_with_a_span_for_each_task() {
    let (house, collector) = (shop(), Collector::start());
    let run = |command: &str| {
        let mut run = binary();
        run.arg("-C").arg(house.dir()).arg(command);
        run.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.address);
        run.env("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=key-of-the-collector");
        run.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
        run.output().unwrap()
    };
    let synced = run("sync");
    assert!(synced.status.success(), "{}", text(&synced.stderr));
    let mut service = String::new();
    let mut spans = Vec::new();
    collector.until("/v1/traces", |head, body| {
        assert!(head.contains("key-of-the-collector"), "{head}");
        let sent = ExportTraceServiceRequest::decode(body).unwrap();
        let resource = sent.resource_spans[0].resource.as_ref().unwrap();
        service = word(&resource.attributes, "service.name");
        assert_eq!(word(&resource.attributes, "deployment.environment.name"), "test");
        spans = sent.resource_spans[0].scope_spans[0].spans.clone();
        true
    });
    assert_eq!(service, "flywheel");
    let root = spans.iter().find(|span| span.parent_span_id.is_empty()).unwrap();
    assert_eq!(root.name, "sync");
    let known = house.cell("select run_id from system.runs where kind = 'sync'");
    assert_eq!(word(&root.attributes, "flywheel.run.id"), known);
    let task = spans.iter().find(|span| !span.parent_span_id.is_empty()).unwrap();
    assert_eq!((&task.trace_id, &task.parent_span_id), (&root.trace_id, &root.span_id));
    assert_eq!(word(&task.attributes, "flywheel.rows_out"), "3");
    assert!(root.start_time_unix_nano <= task.start_time_unix_nano);
    assert!(task.end_time_unix_nano <= root.end_time_unix_nano + 1_000_000);
    assert!(!format!("{spans:?}").contains("secret-of-a-row"));
    // A test that fails is a task that failed.
    let built = run("build");
    assert_eq!(built.status.code(), Some(1), "{}", text(&built.stderr));
    let spans = collector.spans(|spans| spans.iter().any(|span| span.name == "build"));
    let failed =
        spans.iter().find(|span| word(&span.attributes, "flywheel.task.status") == "failed");
    assert_eq!(failed.and_then(|span| span.status.as_ref()).map(|status| status.code), Some(2));
}

#[test]
fn a_collector_that_is_away_or_not_understood_stops_nothing() {
    let house = shop();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, value, words) in [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{nobody}"),
            "were not sent to the collector",
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned(), "http/protobuf"),
    ] {
        let mut run = binary();
        run.arg("-C").arg(house.dir()).arg("sync");
        run.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{nobody}")).env(name, value);
        let run = run.output().unwrap();
        let told = text(&run.stderr);
        assert!(run.status.success(), "{told}");
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(house.cell("select count(*) from raw.orders"), "3");
}

#[test]
fn requests_are_told_by_route_within_the_trace_of_who_asks() {
    let (house, collector) = (shop(), Collector::start());
    let dir = house.dir();
    let served = Process::start_as(&dir, |command| {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.address);
        command.env("OTEL_BSP_SCHEDULE_DELAY", "50").env("OTEL_METRIC_EXPORT_INTERVAL", "200");
    });
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let path = "/v1/runs/none-of-these/log?token=not-for-others";
    let (status, _, _) = ask(&served.address, &header, "GET", path, "").unwrap();
    assert_eq!(status, 401);
    let spans = collector.spans(|spans| !spans.is_empty());
    let span = &spans[0];
    assert_eq!(span.name, "GET /v1/runs/{run}/log");
    assert_eq!(word(&span.attributes, "http.response.status_code"), "401");
    let hex: String = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, trace);
    assert!(!format!("{spans:?}").contains("not-for-others"));
    let mut names = std::collections::BTreeSet::new();
    collector.until("/v1/metrics", |_, body| {
        let sent = ExportMetricsServiceRequest::decode(body).unwrap();
        let groups = sent.resource_metrics.into_iter().flat_map(|group| group.scope_metrics);
        names.extend(groups.flat_map(|group| group.metrics).map(|metric| metric.name));
        names.contains("http.server.request.duration")
    });
    for name in ["flywheel.events", "flywheel.outbox", "flywheel.alerts", "flywheel.working"] {
        assert!(names.contains(name), "{name} of {names:?}");
    }
}
