//! The `singer` destination: rows for any program that speaks the Singer protocol, a target.
//!
//! ```text
//! target < SCHEMA, RECORD …, STATE      target > the value of STATE, once the rows before it are stored
//! ```
//! Targets give the state back at the end of their input at the latest, many of them only then, so
//! that each commit is a run of the target; see `crate::handover` for what holds after a crash.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Destination, DestinationConfig, DestinationContext, Guarantee, Progress, Refused, WriteMode,
    WriteRequest, Writer, Written,
};
use crate::handover::{
    Decimals, Heard, MODES, Mark, Receiver, Words, check_request, merge_key, open_handover,
    properties, stream_name,
};
use crate::ledger::handed_over;
use crate::output::check_json_columns;
use crate::process::{PrivateFiles, Program, Running};
use crate::queue::Encoder;
use crate::source::settings;
use crate::source::singer::Singer;

/// What a target is told of the rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SingerTarget {
    /// The name of the stream, of which most targets make a table's or a file's; the name of the
    /// sync's stream if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The columns of text that hold JSON and are handed over as such, not as text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json_columns: Vec<String>,
    /// How exact numbers are announced.
    #[serde(default)]
    pub decimals: Decimals,
}

impl DestinationConfig for Singer {
    type Target = SingerTarget;

    const ABOUT: &'static str = "rows for a program that speaks the Singer protocol";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::AtLeastOnce;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        if self.catalog.is_some() {
            return Err(Error::invalid("a target has no catalog")
                .hint("Leave `catalog` out: it is for taps, which are read."));
        }
        let (program, config) = self.program(&ctx.base_dir)?;
        Ok(Box::new(Target { program, config, ctx: ctx.clone() }))
    }
}

/// A target that can be run.
#[derive(Clone, Debug)]
struct Target {
    program: Program,
    config: String,
    ctx: DestinationContext,
}

impl Target {
    fn start(&self) -> Result<Running> {
        let files = PrivateFiles::new()?;
        let arguments = vec!["--config".into(), files.write("config.json", &self.config)?];
        self.program.start_fed(arguments, files)
    }
}

#[async_trait]
impl Destination for Target {
    async fn check(&self) -> Result<()> {
        // A target has no other way to be asked than to be given nothing.
        self.start()?.close(&mut |_, _| Ok(())).await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        handed_over(&self.ctx, request).await
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        check_request("singer", MODES, request)?;
        let target: SingerTarget = settings("target", request.target.clone())?;
        check_json_columns(&target.json_columns, &request.schema)?;
        let stream = target.stream.as_deref().unwrap_or_else(|| stream_name(&request.app));
        let receiver = Rows {
            encoder: Encoder::of_rows(request, &target.json_columns),
            stream: stream.to_owned(),
            key: merge_key(request),
            words: Words::Singer(target.decimals),
            json_columns: target.json_columns,
            target: self.clone(),
        };
        open_handover(&self.ctx, request, Arc::new(receiver)).await
    }
}

/// Rows on their way to a target.
struct Rows {
    target: Target,
    encoder: Encoder,
    stream: String,
    /// The columns by which the target shall find a row; none if it shall only add.
    key: Vec<String>,
    json_columns: Vec<String>,
    words: Words,
}

impl Rows {
    /// A mark where targets expect to find what a state says of a stream.
    fn state(&self, mark: &Value) -> Value {
        json!({ "bookmarks": { &self.stream: mark } })
    }
}

impl Receiver for Rows {
    fn name(&self) -> &str {
        self.target.program.name()
    }

    fn start(&self, columns: &SchemaRef, input: &mut Vec<u8>) -> Result<Running> {
        let properties = properties(columns, &self.key, &self.json_columns, self.words);
        let schema = json!({
            "type": "SCHEMA", "stream": self.stream, "key_properties": self.key,
            "schema": { "type": "object", "properties": properties },
        });
        input.extend_from_slice(schema.to_string().as_bytes());
        input.push(b'\n');
        self.target.start()
    }

    fn rows(&self, batch: &RecordBatch, input: &mut Vec<u8>) -> Result<(Vec<Refused>, Written)> {
        let stream = Value::from(self.stream.as_str());
        let head = format!("{{\"type\":\"RECORD\",\"stream\":{stream},\"record\":");
        self.encoder.encode(batch, |_, row| {
            input.extend_from_slice(head.as_bytes());
            input.extend_from_slice(row.unwrap_or(b"{}"));
            input.extend_from_slice(b"}\n");
            Ok(())
        })
    }

    fn ask(&self, mark: &Mark, input: &mut Vec<u8>) -> Result<()> {
        let state = json!({ "type": "STATE", "value": self.state(&mark.value()) });
        input.extend_from_slice(state.to_string().as_bytes());
        input.push(b'\n');
        Ok(())
    }

    fn hear(&self, line: &str) -> Heard {
        let Ok(said) = serde_json::from_str::<Value>(line) else { return Heard::Foreign };
        // Targets give the value back, and a few the message that held it.
        let state = said.get("value").filter(|_| said.get("type") == Some(&json!("STATE")));
        let state = state.unwrap_or(&said);
        match state.get("bookmarks").and_then(|marks| marks.get(&self.stream)) {
            Some(mark) => Heard::Mark(mark.clone()),
            None if state.is_object() => Heard::Nothing,
            None => Heard::Foreign,
        }
    }
}
