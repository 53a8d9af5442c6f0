//! The `airbyte` destination: rows for any program that speaks the Airbyte protocol.
//!
//! ```text
//! program write < RECORD …, STATE, stream complete      program > the STATE, once its rows are stored
//! ```
//! Each commit is a run of the program; see `crate::handover` for what holds after a crash.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Destination, DestinationConfig, DestinationContext, Guarantee, Progress, Refused, WriteMode,
    WriteRequest, Writer, Written,
};
use crate::handover::{
    Heard, MODES, Mark, Receiver, Words, check_request, merge_key, open_handover, properties,
    stream_name,
};
use crate::ledger::handed_over;
use crate::output::check_json_columns;
use crate::process::Running;
use crate::queue::Encoder;
use crate::source::airbyte::message::failed;
use crate::source::airbyte::{Airbyte, Connector};
use crate::source::{Source as _, settings};

/// What the program is told of the rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AirbyteTarget {
    /// The name of the stream, of which most programs make a table's; the name of the sync's stream if
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The namespace, of which most programs make a schema's or a database's name; the program's
    /// default if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The columns of text that hold JSON and are handed over as such, not as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json_columns: Vec<String>,
}

impl DestinationConfig for Airbyte {
    type Target = AirbyteTarget;

    const ABOUT: &'static str = "rows for a program that speaks the Airbyte protocol";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::AtLeastOnce;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        let connector = Arc::new(self.connector(&ctx.base_dir)?);
        Ok(Box::new(Writing { connector, ctx: ctx.clone() }))
    }
}

/// A program that rows can be handed to.
struct Writing {
    connector: Arc<Connector>,
    ctx: DestinationContext,
}

#[async_trait]
impl Destination for Writing {
    async fn check(&self) -> Result<()> {
        self.connector.check().await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        handed_over(&self.ctx, request).await
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        check_request("airbyte", MODES, request)?;
        let target: AirbyteTarget = settings("target", request.target.clone())?;
        check_json_columns(&target.json_columns, &request.schema)?;
        let receiver = Rows {
            encoder: Encoder::of_rows(request, &target.json_columns),
            stream: target.stream.unwrap_or_else(|| stream_name(&request.app).to_owned()),
            namespace: target.namespace,
            key: merge_key(request),
            json_columns: target.json_columns,
            now_ms: request.now.micros().div_euclid(1_000),
            connector: Arc::clone(&self.connector),
        };
        open_handover(&self.ctx, request, Arc::new(receiver)).await
    }
}

/// Rows on their way to a program.
struct Rows {
    connector: Arc<Connector>,
    encoder: Encoder,
    stream: String,
    namespace: Option<String>,
    /// The columns by which the program shall find a row; none if it shall only add.
    key: Vec<String>,
    json_columns: Vec<String>,
    now_ms: i64,
}

impl Rows {
    /// How the stream is named in messages about it.
    fn descriptor(&self) -> Value {
        let mut named = json!({ "name": self.stream });
        if let Some(namespace) = &self.namespace {
            named["namespace"] = json!(namespace);
        }
        named
    }

    /// The catalog that says how the rows shall be written.
    fn catalog(&self, columns: &SchemaRef) -> Value {
        let properties = properties(columns, &self.key, &self.json_columns, Words::Airbyte);
        let key: Vec<[&String; 1]> = self.key.iter().map(|column| [column]).collect();
        let mut stream = self.descriptor();
        stream["json_schema"] = json!({ "type": "object", "properties": properties });
        stream["supported_sync_modes"] = json!(["full_refresh", "incremental"]);
        stream["source_defined_primary_key"] = json!(key);
        let mode = if self.key.is_empty() { "append" } else { "append_dedup" };
        // Nothing of an earlier generation is to be removed, as newer programs want to be told.
        json!({ "streams": [{
            "stream": stream, "sync_mode": "incremental", "destination_sync_mode": mode,
            "primary_key": key, "cursor_field": [],
            "generation_id": 0, "minimum_generation_id": 0, "sync_id": 0,
        }] })
    }
}

impl Receiver for Rows {
    fn name(&self) -> &str {
        self.connector.program.name()
    }

    fn start(&self, columns: &SchemaRef, _: &mut Vec<u8>) -> Result<Running> {
        let (files, mut arguments) = self.connector.files("write")?;
        let catalog = files.write("catalog.json", &self.catalog(columns).to_string())?;
        arguments.extend(["--catalog".into(), catalog]);
        self.connector.program.start_fed(arguments, files)
    }

    fn rows(&self, batch: &RecordBatch, input: &mut Vec<u8>) -> Result<(Vec<Refused>, Written)> {
        let mut head = format!(
            "{{\"type\":\"RECORD\",\"record\":{{\"stream\":{},",
            Value::from(self.stream.as_str())
        );
        if let Some(namespace) = &self.namespace {
            head.push_str(&format!("\"namespace\":{},", Value::from(namespace.as_str())));
        }
        head.push_str(&format!("\"emitted_at\":{},\"data\":", self.now_ms));
        self.encoder.encode(batch, |_, row| {
            input.extend_from_slice(head.as_bytes());
            input.extend_from_slice(row.unwrap_or(b"{}"));
            input.extend_from_slice(b"}}\n");
            Ok(())
        })
    }

    fn ask(&self, mark: &Mark, input: &mut Vec<u8>) -> Result<()> {
        let descriptor = self.descriptor();
        let state = json!({ "type": "STATE", "state": { "type": "STREAM", "stream": {
            "stream_descriptor": descriptor, "stream_state": mark.value(),
        } } });
        let complete = json!({ "type": "TRACE", "trace": {
            "type": "STREAM_STATUS", "emitted_at": self.now_ms,
            "stream_status": { "stream_descriptor": descriptor, "status": "COMPLETE" },
        } });
        for message in [state, complete] {
            input.extend_from_slice(message.to_string().as_bytes());
            input.push(b'\n');
        }
        Ok(())
    }

    fn hear(&self, line: &str) -> Heard {
        let Ok(said) = serde_json::from_str::<Value>(line) else { return Heard::Foreign };
        match said.get("type").and_then(Value::as_str) {
            Some("STATE") => match said.pointer("/state/stream/stream_state") {
                Some(state) => Heard::Mark(state.clone()),
                None => Heard::Nothing,
            },
            Some("TRACE") => match failed(&said, self.connector.program.mask()) {
                Some(error) => Heard::Failed(error),
                None => Heard::Nothing,
            },
            Some(_) => Heard::Nothing,
            None => Heard::Foreign,
        }
    }
}
