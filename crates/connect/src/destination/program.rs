//! The `program` destination: rows for a program that speaks our own protocol, Arrow streams and lines of
//! JSON, which is specified in `docs/guides/connect-programs.md`.
//!
//! ```text
//! program < request, Arrow stream …, {"commit": 7}, Arrow stream …      program > {"stored": 7}
//! ```
//! The program runs as long as the write; see `crate::handover` for what holds after a crash.

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Destination, DestinationConfig, DestinationContext, Guarantee, Progress, Refused, WriteMode,
    WriteRequest, Writer, Written,
};
use crate::handover::{
    Heard, MODES, Mark, Receiver, check_request, merge_key, open_handover, stream_name,
};
use crate::ledger::handed_over;
use crate::process::Running;
use crate::queue::Keys;
use crate::source::program::{ArrowProgram, Asked, Words, said};
use crate::source::settings;

/// What the program is told of the rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramTarget {
    /// The name of the stream; that of the sync's stream if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The program's own options for this target.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

impl DestinationConfig for ArrowProgram {
    type Target = ProgramTarget;

    const ABOUT: &'static str = "rows for a program of yours, by Arrow streams and lines of JSON";
    const MODES: &'static [WriteMode] = MODES;
    const GUARANTEE: Guarantee = Guarantee::AtLeastOnce;

    fn build(self, ctx: &DestinationContext) -> Result<Box<dyn Destination>> {
        Ok(Box::new(Writing { asked: self.asked(&ctx.base_dir)?, ctx: ctx.clone() }))
    }
}

/// A program that rows can be handed to.
struct Writing {
    asked: Asked,
    ctx: DestinationContext,
}

#[async_trait]
impl Destination for Writing {
    async fn check(&self) -> Result<()> {
        self.asked.check().await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        handed_over(&self.ctx, request).await
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        check_request("program", MODES, request)?;
        let target: ProgramTarget = settings("target", request.target.clone())?;
        let key = merge_key(request);
        let receiver = Rows {
            request: json!({
                "stream": target.stream.as_deref().unwrap_or_else(|| stream_name(&request.app)),
                "options": target.options, "write": request.mode.to_string(), "key": key,
            }),
            key,
            asked: self.asked.clone(),
        };
        open_handover(&self.ctx, request, Arc::new(receiver)).await
    }
}

/// Rows on their way to a program.
struct Rows {
    asked: Asked,
    request: Value,
    /// The columns by which the program shall find a row; none if it shall only add.
    key: Vec<String>,
}

impl Rows {
    /// The rows without a value in a column of the key.
    fn without_key(&self, batch: &RecordBatch) -> Result<Vec<Refused>> {
        let keys = Keys::of(batch, &self.key)?;
        let refused = |row: usize| {
            keys.missing(row).map(|column| Refused {
                row,
                column: Some(column.to_owned()),
                code: "no-key".to_owned(),
                reason: "no value in a column of the key".to_owned(),
            })
        };
        Ok((0..batch.num_rows()).filter_map(refused).collect())
    }
}

impl Receiver for Rows {
    fn name(&self) -> &str {
        self.asked.program.name()
    }

    fn stays(&self) -> bool {
        true
    }

    fn start(&self, _: &SchemaRef, input: &mut Vec<u8>) -> Result<Running> {
        let (running, mut request) = self.asked.start("write", self.request.clone())?;
        input.append(&mut request);
        Ok(running)
    }

    fn rows(&self, batch: &RecordBatch, input: &mut Vec<u8>) -> Result<(Vec<Refused>, Written)> {
        let failed = |error| Error::internal("rows cannot be sent as Arrow").caused_by(error);
        let refused = self.without_key(batch)?;
        let mut rows = batch.clone();
        if !refused.is_empty() {
            let mut keep = vec![true; batch.num_rows()];
            for row in &refused {
                if let Some(keep) = keep.get_mut(row.row) {
                    *keep = false;
                }
            }
            rows = filter_record_batch(batch, &BooleanArray::from(keep)).map_err(failed)?;
        }
        let written = Written { rows_written: rows.num_rows() as u64, ..Written::default() };
        if rows.num_rows() > 0 {
            // A stream of its own, so that columns may change from one batch to the next.
            let mut stream = StreamWriter::try_new(input, &rows.schema()).map_err(failed)?;
            stream.write(&rows).and_then(|()| stream.finish()).map_err(failed)?;
        }
        Ok((refused, written))
    }

    fn ask(&self, mark: &Mark, input: &mut Vec<u8>) -> Result<()> {
        input.extend_from_slice(json!({ "commit": mark.sequence() }).to_string().as_bytes());
        input.push(b'\n');
        Ok(())
    }

    fn answer(&self, mark: &Mark) -> Value {
        json!(mark.sequence())
    }

    fn hear(&self, line: &str) -> Heard {
        match said(line, &self.asked.program) {
            Ok(Words::Stored(commit)) => Heard::Mark(commit),
            Ok(Words::Failed(error)) => Heard::Failed(error),
            Ok(_) => Heard::Nothing,
            Err(_) => Heard::Foreign,
        }
    }
}
