//! The `singer` source: streams of any program that speaks the Singer protocol, a tap.
//!
//! The tap is asked for its catalog, the one stream is selected in it, and the tap is run; see
//! `crate::feed` for what its messages become and what holds after a crash.

mod catalog;
mod message;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::catalog::{Catalog, Choice};
use self::message::parse;
use super::{ReadMode, ReadRequest, Source, SourceConfig, SourceContext, StreamInfo, settings};
use crate::feed::{FeedStream, Message, Protocol, feed};
use crate::page::Page;
use crate::process::{Mask, PrivateFiles, Program, ProgramSettings, Running};

/// A program that speaks the Singer protocol: a tap, which is read, or a target, which is written.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Singer {
    /// The program and its arguments: `[tap-github]`, `[target-postgres]` or `[python3, taps/orders.py]`.
    /// It runs in the project's folder; no shell is involved.
    pub command: Vec<String>,
    /// The program's own configuration. It is handed over in a file that only it can read; take
    /// secret values from references.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// More variables of the program's environment. Of ours it sees the usual ones only: PATH, HOME, the
    /// language, the time zone, proxies and certificates.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether the tap knows `--discover`. One that does not is run without a catalog.
    #[serde(default = "yes")]
    pub discover: bool,
    /// A file with the tap's catalog, instead of asking the tap each time; a target has none.
    #[serde(default)]
    pub catalog: Option<PathBuf>,
    /// How long the program may be silent before it is stopped, `5m` if not given.
    #[serde(default)]
    pub timeout: Option<String>,
    /// How much memory the program and its children may have in use before they are stopped, `2GiB` if
    /// not given. Watched on Linux only.
    #[serde(default)]
    pub memory: Option<String>,
    /// The longest line, `16MiB` if not given; a longer one is set aside.
    #[serde(default)]
    pub line_bytes_max: Option<String>,
}

/// One stream of a tap.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SingerStream {
    /// The stream's id in the tap's catalog.
    pub stream: String,
    /// The properties to read; all if not given. Keys and the cursor are always read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Vec<String>>,
    /// How an incremental read finds what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
}

/// How an incremental read finds what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Replication {
    /// By a property that grows with every change.
    Incremental,
    /// By the log of the tap's database.
    LogBased,
}

fn yes() -> bool {
    true
}

impl SourceConfig for Singer {
    type Stream = SingerStream;

    const ABOUT: &'static str = "streams of a program that speaks the Singer protocol";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        let (program, config) = self.program(&ctx.base_dir)?;
        let catalog = self.catalog.map(|path| ctx.base_dir.join(path));
        Ok(Box::new(Tap { program, config, discover: self.discover, catalog }))
    }
}

impl Singer {
    /// The program and the text of its configuration.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a setting is impossible.
    pub(crate) fn program(&self, base_dir: &Path) -> Result<(Program, String)> {
        let config = Value::Object(self.config.clone());
        let program = ProgramSettings {
            command: &self.command,
            config: &config,
            env: &self.env,
            timeout: self.timeout.as_deref(),
            memory: self.memory.as_deref(),
            line_bytes_max: self.line_bytes_max.as_deref(),
        }
        .program(base_dir)?;
        Ok((program, config.to_string()))
    }
}

/// A tap that can be run.
struct Tap {
    program: Program,
    config: String,
    discover: bool,
    catalog: Option<PathBuf>,
}

impl Tap {
    fn files(&self) -> Result<(PrivateFiles, Vec<OsString>)> {
        let files = PrivateFiles::new()?;
        let arguments = vec!["--config".into(), files.write("config.json", &self.config)?];
        Ok((files, arguments))
    }

    /// The tap's catalog, if it has one.
    async fn catalog(&self) -> Result<Option<Catalog>> {
        if let Some(path) = &self.catalog {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::io("read the catalog", path, error))?;
            return Catalog::parse(&text).map(Some);
        }
        if !self.discover {
            return Ok(None);
        }
        let (files, mut arguments) = self.files()?;
        arguments.push("--discover".into());
        let asked = self.program.ask(arguments, files).await;
        asked.and_then(|text| Catalog::parse(&text)).map(Some).map_err(|error| {
            let error = error.context("discover");
            match error.hint_text() {
                Some(_) => error,
                None => error.hint(
                    "If the program does not know --discover, set `discover: false`, or `catalog` to a file.",
                ),
            }
        })
    }

    async fn pages<'a>(&'a self, request: &'a ReadRequest) -> Result<BoxStream<'a, Result<Page>>> {
        let stream: SingerStream = settings("stream", request.stream.clone())?;
        let way = match (&request.mode, stream.replication) {
            (ReadMode::Full, _) => "FULL_TABLE",
            (_, Some(Replication::LogBased)) => "LOG_BASED",
            _ => "INCREMENTAL",
        };
        if let ReadMode::Incremental { lag: Some(_), .. } = &request.mode {
            return Err(Error::invalid("a tap cannot look back before its last state")
                .hint("Leave out `lag`; many taps have a setting of their own for it."));
        }
        let cursor = match &request.mode {
            ReadMode::Incremental { cursor, .. } => cursor.clone(),
            ReadMode::Full => None,
        };
        let choice = match self.catalog().await? {
            Some(catalog) => catalog.choose(&stream, way, cursor.as_ref())?,
            None => Choice::without_catalog(&stream, cursor),
        };
        let about = FeedStream {
            source: "singer",
            label: stream.stream,
            way,
            cursor: choice.cursor,
            select: choice.select,
        };
        feed(
            about,
            request,
            Box::new(TapRead { tap: self, catalog: choice.catalog, names: choice.names }),
        )
    }
}

/// One read of a tap.
struct TapRead<'a> {
    tap: &'a Tap,
    catalog: Option<String>,
    names: BTreeSet<String>,
}

#[async_trait]
impl Protocol for TapRead<'_> {
    async fn start(&self, state: Option<&str>) -> Result<Running> {
        let (files, mut arguments) = self.tap.files()?;
        if let Some(catalog) = &self.catalog {
            arguments.extend(["--catalog".into(), files.write("catalog.json", catalog)?]);
        }
        if let Some(state) = state {
            arguments.extend(["--state".into(), files.write("state.json", state)?]);
        }
        self.tap.program.start(arguments, files)
    }

    fn message<'a>(&self, line: &'a str) -> Message<'a> {
        parse(line, &self.names)
    }

    fn mask(&self) -> &Mask {
        self.tap.program.mask()
    }
}

#[async_trait]
impl Source for Tap {
    async fn check(&self) -> Result<()> {
        if self.discover || self.catalog.is_some() {
            return self.catalog().await.map(drop);
        }
        let (files, arguments) = self.files()?;
        let (mut running, mut line) = (self.program.start(arguments, files)?, Vec::new());
        match running.line(&mut line).await? {
            None => running.finish().await,
            Some(_) => match parse(&String::from_utf8_lossy(&line), &BTreeSet::new()) {
                Message::Garbage(_) => Err(Error::invalid(format!(
                    "the first line of {} is no Singer message",
                    self.program.name()
                ))),
                _ => Ok(()),
            },
        }
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        match self.catalog().await? {
            Some(catalog) => catalog.streams(),
            None => Err(Error::invalid(format!(
                "{} cannot be asked for its streams, because `discover` is false",
                self.program.name()
            ))
            .hint("Write the stream's id into the sync: options: {stream: …}.")),
        }
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        let opened = async move {
            match self.pages(request).await {
                Ok(pages) => pages,
                Err(error) => stream::once(async move { Err(error) }).boxed(),
            }
        };
        stream::once(opened).flatten().boxed()
    }
}
