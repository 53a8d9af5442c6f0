//! Compression around a file of text.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flywheel_base::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::store::Sink;

/// The zstd level: about the speed of gzip's fastest, and smaller than its best.
const ZSTD_LEVEL: i32 = 3;

/// How files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With gzip; names end in `.gz`.
    Gzip,
    /// With zstd; names end in `.zst`.
    Zstd,
}

impl Compression {
    /// What is added to a file's name.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// A file behind its compression.
pub(crate) enum Packed {
    /// As it is.
    Plain(Box<Sink>),
    /// In gzip.
    Gzip(Box<GzEncoder<Sink>>),
    /// In zstd.
    Zstd(Box<zstd::stream::write::Encoder<'static, Sink>>),
}

impl Packed {
    /// Puts compression over a file.
    pub(crate) fn new(sink: Sink, compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(Box::new(sink)),
            Compression::Gzip => {
                Self::Gzip(Box::new(GzEncoder::new(sink, flate2::Compression::default())))
            }
            Compression::Zstd => {
                let path = sink.path().to_owned();
                let encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)
                    .map_err(|error| Sink::fail(&path, error))?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    /// Adds bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let outcome = match self {
            Self::Plain(sink) => sink.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        };
        outcome.map_err(|error| self.fail(error))
    }

    fn fail(&self, error: io::Error) -> flywheel_base::Error {
        let sink = match self {
            Self::Plain(sink) => sink,
            Self::Gzip(encoder) => encoder.get_ref(),
            Self::Zstd(encoder) => encoder.get_ref(),
        };
        Sink::fail(sink.path(), error)
    }

    /// Ends the compression.
    pub(crate) fn finish(self) -> Result<Sink> {
        match self {
            Self::Plain(sink) => Ok(*sink),
            Self::Gzip(encoder) => {
                let path = encoder.get_ref().path().to_owned();
                encoder.finish().map_err(|error| Sink::fail(&path, error))
            }
            Self::Zstd(encoder) => {
                let path = encoder.get_ref().path().to_owned();
                encoder.finish().map_err(|error| Sink::fail(&path, error))
            }
        }
    }
}
