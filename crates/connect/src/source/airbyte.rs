//! The `airbyte` source: streams of any program that speaks the Airbyte protocol.
//!
//! The program is asked for its catalog, the one stream is configured, and the program reads it; see
//! `crate::feed` for what its messages become and what holds after a crash. Images of containers are
//! not started here: a client that is stopped would leave its container running.

mod configure;
pub(crate) mod message;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::configure::{Choice, choose, info};
use self::message::{Answer, answers, parse};
use super::{ReadMode, ReadRequest, Source, SourceConfig, SourceContext, StreamInfo, settings};
use crate::feed::{FeedStream, Message, Protocol, TypedField, feed};
use crate::page::Page;
use crate::process::{Mask, PrivateFiles, Program, ProgramSettings, Running};

/// A program that speaks the Airbyte protocol: a source, which is read, or a destination, which is
/// written.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Airbyte {
    /// The program and its arguments: `[source-faker]` or `[destination-duckdb]`. It runs in the
    /// project's folder; no shell is involved.
    pub command: Vec<String>,
    /// The program's own configuration. It is handed over in a file that only the program can read;
    /// take secret values from references.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// More variables of the program's environment. Of ours it sees the usual ones only: PATH, HOME,
    /// the language, the time zone, proxies and certificates.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How long the program may be silent before it is stopped, `5m` if not given.
    #[serde(default)]
    pub timeout: Option<String>,
    /// How much memory the program and its children may have in use before they are stopped, `2GiB`
    /// if not given. Watched on Linux only.
    #[serde(default)]
    pub memory: Option<String>,
    /// The longest line, `16MiB` if not given; a longer one is set aside.
    #[serde(default)]
    pub line_bytes_max: Option<String>,
}

/// One stream of the program.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AirbyteStream {
    /// The stream's name in the program's catalog.
    pub stream: String,
    /// Its namespace, if streams of several have the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The fields to take; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Vec<String>>,
}

impl SourceConfig for Airbyte {
    type Stream = AirbyteStream;

    const ABOUT: &'static str = "streams of a program that speaks the Airbyte protocol";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(self.connector(&ctx.base_dir)?))
    }
}

impl Airbyte {
    /// The program with its configuration.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a setting is impossible.
    pub(crate) fn connector(self, base_dir: &Path) -> Result<Connector> {
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
        Ok(Connector { program, config: config.to_string() })
    }
}

/// A program that can be run.
pub(crate) struct Connector {
    pub(crate) program: Program,
    config: String,
}

impl Connector {
    /// Its configuration as a file, and the arguments that name what it shall do.
    pub(crate) fn files(&self, verb: &str) -> Result<(PrivateFiles, Vec<OsString>)> {
        let files = PrivateFiles::new()?;
        let config = files.write("config.json", &self.config)?;
        Ok((files, vec![verb.into(), "--config".into(), config]))
    }

    /// Asks, and turns what the program says of an error into ours.
    async fn ask(&self, verb: &str) -> Result<Answer> {
        let (files, arguments) = self.files(verb)?;
        let mask = self.program.mask();
        let mut running = self.program.start(arguments, files)?;
        let (mut answer, mut line) = (Answer::default(), Vec::new());
        let outcome = loop {
            match running.line(&mut line).await {
                Ok(Some(_)) => answers(&String::from_utf8_lossy(&line), mask, &mut answer),
                Ok(None) => break running.finish().await,
                Err(error) => break Err(error),
            }
        };
        // What the program says of itself is clearer than its exit code.
        match answer.error.take() {
            Some(error) => Err(error.context(verb)),
            None => outcome.map(|()| answer).map_err(|error| error.context(verb)),
        }
    }

    async fn catalog(&self) -> Result<Vec<Value>> {
        let answer = self.ask("discover").await?;
        answer.streams.ok_or_else(|| {
            Error::invalid(format!("{} answered discover without a catalog", self.program.name()))
        })
    }

    async fn pages<'a>(&'a self, request: &'a ReadRequest) -> Result<BoxStream<'a, Result<Page>>> {
        let stream: AirbyteStream = settings("stream", request.stream.clone())?;
        let (way, cursor) = match &request.mode {
            ReadMode::Full => ("full_refresh", None),
            ReadMode::Incremental { lag: Some(_), .. } => {
                return Err(Error::invalid("the program cannot look back before its last state")
                    .hint("Leave out `lag`; many programs have a setting of their own for it."));
            }
            ReadMode::Incremental { cursor, .. } => ("incremental", cursor.clone()),
        };
        let Choice { catalog, fields, cursor } =
            choose(&self.catalog().await?, &stream, way, cursor)?;
        let about = FeedStream {
            source: "airbyte",
            label: stream.stream.clone(),
            way,
            select: stream
                .select
                .clone()
                .map(|names| names.into_iter().chain(cursor.clone()).collect()),
            cursor,
        };
        feed(about, request, Box::new(ConnectorRead { connector: self, stream, catalog, fields }))
    }
}

/// One read.
struct ConnectorRead<'a> {
    connector: &'a Connector,
    stream: AirbyteStream,
    catalog: String,
    fields: Vec<TypedField>,
}

#[async_trait]
impl Protocol for ConnectorRead<'_> {
    async fn start(&self, state: Option<&str>) -> Result<Running> {
        let (files, mut arguments) = self.connector.files("read")?;
        arguments.extend(["--catalog".into(), files.write("catalog.json", &self.catalog)?]);
        if let Some(state) = state {
            arguments.extend(["--state".into(), files.write("state.json", &handed_back(state))?]);
        }
        self.connector.program.start(arguments, files)
    }

    fn fields(&self) -> &[TypedField] {
        &self.fields
    }

    fn message<'a>(&self, line: &'a str) -> Message<'a> {
        parse(line, &self.stream, self.connector.program.mask())
    }

    fn mask(&self) -> &Mask {
        self.connector.program.mask()
    }
}

/// A state as the program wants it back: a list of messages, or, in the first form, its data alone.
fn handed_back(state: &str) -> String {
    message::legacy(state).unwrap_or_else(|| format!("[{state}]"))
}

#[async_trait]
impl Source for Connector {
    async fn check(&self) -> Result<()> {
        let answer = self.ask("check").await?;
        match answer.connected {
            Some(true) => Ok(()),
            Some(false) => Err(Error::invalid(format!(
                "{} does not connect: {}",
                self.program.name(),
                answer.reason
            ))),
            None => Err(Error::invalid(format!(
                "{} answered check without a status",
                self.program.name()
            ))
            .hint("Does the program speak the Airbyte protocol?")),
        }
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        self.catalog().await?.iter().map(info).collect()
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
