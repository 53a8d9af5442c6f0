//! The `program` source: streams of a program that speaks our own protocol, lines of JSON and Arrow's IPC
//! format, which is specified in `docs/guides/connect-programs.md`.
//!
//! The request is the first line of the program's input, so that nothing secret is on a command line
//! or in a file. What holds after a crash: a page has a position only where the program has said
//! one, and a read starts from the last position that was committed.

mod read;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::read::{ProgramRead, streams};

pub(crate) use self::read::{Words, said};

use super::{ReadMode, ReadRequest, Source, SourceConfig, SourceContext, StreamInfo, settings};
use crate::page::Page;
use crate::process::{PrivateFiles, Program, ProgramSettings, Running};

/// The version of the protocol.
pub(crate) const PROTOCOL: u64 = 1;

/// A program that speaks Flywheel's own protocol, lines of JSON and Arrow streams: it is read, written,
/// or both.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArrowProgram {
    /// The program and its arguments: `[python3, programs/orders.py]`. It runs in the project's folder;
    /// no shell is involved.
    pub command: Vec<String>,
    /// The program's own configuration, a part of each request; take secret values from references.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// More variables of the program's environment. Of ours it sees the usual ones only: PATH, HOME,
    /// the language, the time zone, proxies and certificates.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How long the program may be silent before it is stopped, `5m` if not given.
    #[serde(default)]
    pub timeout: Option<String>,
    /// How much memory the program and its children may have in use before they are stopped, `2GiB` if
    /// not given. Watched on Linux only.
    #[serde(default)]
    pub memory: Option<String>,
    /// The longest line of JSON, `16MiB` if not given.
    #[serde(default)]
    pub line_bytes_max: Option<String>,
}

/// One stream of the program.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramStream {
    /// The stream's name, as the program lists it.
    pub stream: String,
    /// The program's own options for this stream.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

impl SourceConfig for ArrowProgram {
    type Stream = ProgramStream;

    const ABOUT: &'static str = "streams of a program of yours, by Arrow streams and lines of JSON";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.asked(&ctx.base_dir)?))
    }
}

impl ArrowProgram {
    /// The program with its configuration.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a setting is impossible.
    pub(crate) fn asked(self, base_dir: &Path) -> Result<Asked> {
        let config = Value::Object(self.config);
        let program = ProgramSettings {
            command: &self.command,
            config: &config,
            env: &self.env,
            timeout: self.timeout.as_deref(),
            memory: self.memory.as_deref(),
            line_bytes_max: self.line_bytes_max.as_deref(),
        }
        .program(base_dir)?;
        Ok(Asked { program, config })
    }
}

/// A program that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) program: Program,
    config: Value,
}

impl Asked {
    /// Starts the program; the request is the first line of its input.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub(crate) fn start(&self, verb: &str, mut request: Value) -> Result<(Running, Vec<u8>)> {
        request["flywheel"] = json!(PROTOCOL);
        request["verb"] = json!(verb);
        request["config"] = self.config.clone();
        let mut line = request.to_string().into_bytes();
        line.push(b'\n');
        Ok((self.program.start_fed(Vec::new(), PrivateFiles::new()?)?, line))
    }

    /// Proves that the program can reach what it reads or writes.
    ///
    /// # Errors
    /// What the program says, with its own hint.
    pub(crate) async fn check(&self) -> Result<()> {
        let (mut running, request) = self.start("check", json!({}))?;
        let mut greeted = false;
        let mut hear = |line: &[u8], _| {
            match said(&String::from_utf8_lossy(line), &self.program)? {
                Words::Hello => greeted = true,
                Words::Failed(error) => return Err(error),
                _ => {}
            }
            Ok(())
        };
        running.feed(&request, &mut hear).await?;
        running.close(&mut hear).await?;
        if greeted { Ok(()) } else { Err(not_spoken(&self.program)) }
    }
}

/// The error of a program that does not begin with a greeting.
pub(crate) fn not_spoken(program: &Program) -> Error {
    Error::invalid(format!("{} does not begin with {{\"flywheel\": {PROTOCOL}}}", program.name()))
        .hint("The first line of the output says which version of the protocol it is; what people shall read belongs on stderr.")
}

#[async_trait]
impl Source for Asked {
    async fn check(&self) -> Result<()> {
        Self::check(self).await
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        streams(self).await.map_err(|error| error.context("describe"))
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        let opened = async move {
            let stream: ProgramStream = settings("stream", request.stream.clone())?;
            if let ReadMode::Incremental { lag: Some(_), .. } = &request.mode {
                return Err(Error::invalid(
                    "the program cannot look back before its last position",
                )
                .hint("Leave out `lag`, and give the program an option for it."));
            }
            ProgramRead::new(self, stream, request)
        };
        stream::once(opened)
            .map(|read| match read {
                Ok(read) => stream::try_unfold(read, |mut read| async move {
                    Ok(Box::pin(read.next_page()).await?.map(|page| (page, read)))
                })
                .boxed(),
                Err(error) => stream::once(async move { Err(error) }).boxed(),
            })
            .flatten()
            .boxed()
    }
}
