//! Traces and metrics of this program for an OpenTelemetry collector, by OTLP over HTTP.
//!
//! Everything is said in the variables that every program of the field reads, such as `OTEL_EXPORTER_OTLP_ENDPOINT`; where
//! none of them names a collector, nothing is gathered. What is told goes through the library's own global provider,
//! so that whoever tells needs its API alone.
//! Invariant: a collector that is away, slow or wrong fails no command and holds up its end for a few seconds at most.
//!
//! Source: the OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter Configuration".

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::{Error, Result, env};
use opentelemetry::{KeyValue, global};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::redirect;
use tokio::runtime::Handle;

/// How long the end of a command waits for what is not sent yet.
const END_TIME: Duration = Duration::from_secs(3);
/// How long a collector may take for a request unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read of a collector's answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What is told under this name if `OTEL_SERVICE_NAME` gives no other.
const SERVICE: &str = "flywheel";

/// What is told, and on which variables that depends.
#[derive(Clone, Copy)]
struct Signal {
    endpoint: &'static str,
    protocol: &'static str,
    exporter: &'static str,
}

const TRACES: Signal = Signal {
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    exporter: "OTEL_TRACES_EXPORTER",
};
const METRICS: Signal = Signal {
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    exporter: "OTEL_METRICS_EXPORTER",
};

/// Traces and metrics that are being gathered and sent; nothing if nobody asked for them.
#[derive(Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    /// Why the newest request was not taken.
    refused: Refused,
}

/// Why the newest request to the collector was not taken; none if it was.
type Refused = Arc<Mutex<Option<String>>>;

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("traces", &self.traces.is_some())
            .field("metrics", &self.metrics.is_some())
            .finish()
    }
}

impl Telemetry {
    /// Starts to send what this process tells, if the environment names a collector; requests are made on `runtime`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a variable cannot be obeyed; nothing is sent then.
    pub fn start(version: &str, runtime: &Handle) -> Result<Self> {
        let read = |name: &str| env::optional(name);
        let (traces, metrics) = (wanted(TRACES, &read)?, wanted(METRICS, &read)?);
        if !traces && !metrics {
            return Ok(Self::default());
        }
        let refused = Refused::default();
        let client = Outbound {
            client: client(&read)?,
            runtime: runtime.clone(),
            refused: Arc::clone(&refused),
        };
        // Name and attributes that the environment gives win, as everywhere in the field.
        let mut resource = Resource::builder()
            .with_attribute(KeyValue::new("service.version", version.to_owned()));
        if read("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        let resource = resource.build();
        let mut started = Self { refused, ..Self::default() };
        if traces {
            let exporter = SpanExporter::builder().with_http().with_http_client(client.clone());
            let exporter = exporter.build().map_err(|error| unusable("traces", &error))?;
            let provider = SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .with_resource(resource.clone())
                .build();
            global::set_text_map_propagator(TraceContextPropagator::new());
            global::set_tracer_provider(provider.clone());
            started.traces = Some(provider);
        }
        if metrics {
            let exporter = MetricExporter::builder().with_http().with_http_client(client);
            let exporter = exporter.build().map_err(|error| unusable("metrics", &error))?;
            let provider = SdkMeterProvider::builder()
                .with_periodic_exporter(exporter)
                .with_resource(resource)
                .build();
            global::set_meter_provider(provider.clone());
            started.metrics = Some(provider);
        }
        Ok(started)
    }

    /// Whether anything is gathered.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.traces.is_some() || self.metrics.is_some()
    }

    /// Sends what is not sent yet, for a few seconds at most; says what was not sent. The runtime must still be there, and
    /// the caller must be none of its threads.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Unavailable`] if the collector did not take all of it.
    pub fn end(self) -> Result<()> {
        let away = |what: &str, error: &dyn fmt::Display| {
            Error::unavailable(format!("the last {what} were not sent to the collector: {error}"))
                .hint("Is it reachable at OTEL_EXPORTER_OTLP_ENDPOINT? What the command did is done all the same.")
        };
        let traces = self.traces.map(|provider| provider.shutdown_with_timeout(END_TIME));
        let metrics = self.metrics.map(|provider| provider.shutdown_with_timeout(END_TIME));
        if let Some(Err(error)) = traces {
            return Err(away("traces", &error));
        }
        if let Some(Err(error)) = metrics {
            return Err(away("metrics", &error));
        }
        // The library ends well whether anybody listened or not.
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.map_or(Ok(()), |reason| Err(away("traces and metrics", &reason)))
    }
}

fn unusable(what: &str, error: &dyn fmt::Display) -> Error {
    Error::invalid(format!("{what} cannot be sent to a collector: {error}"))
        .hint("Give an address such as OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318.")
}

/// Whether a signal is to be sent, by the environment.
fn wanted(signal: Signal, read: &impl Fn(&str) -> Option<String>) -> Result<bool> {
    let is_off = read("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let named = read(signal.endpoint).or_else(|| read("OTEL_EXPORTER_OTLP_ENDPOINT"));
    if is_off || named.is_none() {
        return Ok(false);
    }
    match read(signal.exporter).as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(false),
        Some(other) => {
            return Err(Error::invalid(format!(
                "{}={other}: only otlp and none are known",
                signal.exporter
            )));
        }
    }
    let protocol = read(signal.protocol).or_else(|| read("OTEL_EXPORTER_OTLP_PROTOCOL"));
    match protocol.as_deref() {
        None | Some("http/protobuf") => Ok(true),
        Some(other) => Err(Error::invalid(format!("collectors are not spoken to by {other}"))
            .hint("Use OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf; collectors listen for it at port 4318.")),
    }
}

/// The client for collectors: who set the variable vouches for the address, so it may be a private one.
fn client(read: &impl Fn(&str) -> Option<String>) -> Result<reqwest::Client> {
    let timeout = match read("OTEL_EXPORTER_OTLP_TIMEOUT") {
        None => TIMEOUT,
        Some(text) => Duration::from_millis(text.parse().map_err(|_| {
            Error::invalid(format!(
                "OTEL_EXPORTER_OTLP_TIMEOUT={text} is no number of milliseconds"
            ))
        })?),
    };
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| Error::internal("the HTTP client cannot be made").caused_by(error))
}

/// Sends on the program's runtime, whatever thread asks: the library's own have none.
#[derive(Clone, Debug)]
struct Outbound {
    client: reqwest::Client,
    runtime: Handle,
    refused: Refused,
}

#[async_trait]
impl HttpClient for Outbound {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let request = reqwest::Request::try_from(request)?;
        let sent = self.runtime.spawn(async move {
            let mut answer = client.execute(request).await?;
            let mut body = Vec::new();
            while let Some(part) = answer.chunk().await? {
                if body.len() + part.len() > ANSWER_BYTES_MAX {
                    return Err(HttpError::from("the collector's answer is too long"));
                }
                body.extend_from_slice(&part);
            }
            let mut response = Response::new(Bytes::from(body));
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            Ok(response)
        });
        let answer: Result<Response<Bytes>, HttpError> = match sent.await {
            Ok(answer) => answer,
            Err(error) => Err(error.into()),
        };
        let reason = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(signal: Signal, variables: &[(&str, &str)]) -> Result<bool> {
        wanted(signal, &|name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_sent_unless_a_collector_is_named() {
        let at = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert!(!asked(TRACES, &[]).unwrap());
        assert!(asked(TRACES, &[at]).unwrap());
        assert!(asked(METRICS, &[at]).unwrap());
        assert!(!asked(METRICS, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:1")]).unwrap());
        assert!(!asked(TRACES, &[at, ("OTEL_SDK_DISABLED", "true")]).unwrap());
        assert!(!asked(TRACES, &[at, ("OTEL_TRACES_EXPORTER", "none")]).unwrap());
        assert!(asked(METRICS, &[at, ("OTEL_TRACES_EXPORTER", "none")]).unwrap());
    }

    #[test]
    fn what_is_not_spoken_is_refused_with_what_is() {
        let at = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
        let refused = asked(TRACES, &[at, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(refused.report().contains("http/protobuf"), "{}", refused.report());
        let refused = asked(TRACES, &[at, ("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert!(refused.report().contains("zipkin"), "{}", refused.report());
        // What one signal says does not hold for the other.
        assert!(asked(TRACES, &[at, ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc")]).unwrap());
    }
}
