//! The settings of one topic, under the names that Kafka gives them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flywheel_base::{Error, Result, suggest};
use serde::{Deserialize, Serialize};

use super::{Folder, check_segment_bytes};

/// The file in the topic's folder that the settings are in.
pub(super) const FILE: &str = "topic.json";

/// The largest message of a topic that does not say otherwise, as with Kafka.
const MESSAGE_BYTES: usize = 1_048_588;

/// The largest message that a topic can allow.
const MESSAGE_BYTES_MAX: usize = 1_000_000_000;

/// The settings a topic can have.
const NAMES: [&str; 5] =
    ["cleanup.policy", "max.message.bytes", "retention.bytes", "retention.ms", "segment.bytes"];

/// The settings of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicConfig {
    pub(crate) segment_bytes: u64,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) message_bytes_max: usize,
    /// Whether every message has a key and none may be lost.
    pub(crate) compact: bool,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    config: BTreeMap<String, String>,
}

impl TopicConfig {
    /// Reads settings; the connection's hold where there are none.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if one is unknown or impossible.
    pub(super) fn of(folder: &Folder, config: &BTreeMap<String, String>) -> Result<Self> {
        if let Some(unknown) = config.keys().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(Error::invalid(format!("a journal's topic has no setting \"{unknown}\""))
                .hint(format!("{} It has {}.", suggest::hint(unknown, NAMES), NAMES.join(", "))));
        }
        let number = |name: &str| -> Result<Option<i64>> {
            let Some(text) = config.get(name) else { return Ok(None) };
            let found = text.trim().parse::<i64>().ok().filter(|number| *number >= -1);
            found.map(Some).ok_or_else(|| {
                Error::invalid(format!("the setting \"{name}\" is no whole number"))
                    .hint("Set a number; -1 is without limit.")
            })
        };
        let compact = match config.get("cleanup.policy").map(String::as_str) {
            None | Some("delete") => false,
            Some("compact") => true,
            Some(other) => {
                return Err(Error::invalid(format!(
                    "\"{other}\" is no cleanup.policy of a journal"
                ))
                .hint("Set delete or compact."));
            }
        };
        let limit = |name: &str, default: Option<i64>| -> Result<Option<i64>> {
            let found = number(name)?;
            if compact && found.is_some_and(|found| found >= 0) {
                return Err(Error::invalid(format!("a compacted topic cannot have \"{name}\""))
                    .hint(
                        "It keeps the last message of every key for ever: leave the setting out.",
                    ));
            }
            // What the connection says is not meant for topics that may lose nothing.
            Ok(found.or_else(|| default.filter(|_| !compact)).filter(|found| *found >= 0))
        };
        let bytes = folder.retention_bytes.and_then(|bytes| i64::try_from(bytes).ok());
        let segment_bytes = number("segment.bytes")?.and_then(|bytes| u64::try_from(bytes).ok());
        let segment_bytes = segment_bytes.unwrap_or(folder.segment_bytes);
        check_segment_bytes(segment_bytes)?;
        let largest = number("max.message.bytes")?.and_then(|bytes| usize::try_from(bytes).ok());
        let largest = largest.unwrap_or(MESSAGE_BYTES);
        if largest > MESSAGE_BYTES_MAX {
            return Err(Error::invalid(format!("messages of {largest} bytes are not possible"))
                .hint(format!("Set max.message.bytes to {MESSAGE_BYTES_MAX} at most.")));
        }
        Ok(Self {
            segment_bytes,
            retention_ms: limit("retention.ms", folder.retention_ms)?,
            retention_bytes: limit("retention.bytes", bytes)?
                .and_then(|bytes| u64::try_from(bytes).ok()),
            message_bytes_max: largest,
            compact,
        })
    }

    /// Reads the settings of the topic in the folder `topic`; nothing if it has none yet.
    pub(super) fn read(folder: &Folder, topic: &Path) -> Result<Option<Self>> {
        let Some(config) = Self::own(topic)? else { return Ok(None) };
        Self::of(folder, &config).map(Some).map_err(|error| error.context(what(&topic.join(FILE))))
    }

    /// The settings that were made for the topic in the folder `topic`, as they were given.
    pub(super) fn own(topic: &Path) -> Result<Option<BTreeMap<String, String>>> {
        let path = topic.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let kept: Kept = serde_json::from_slice(&text).map_err(|error| {
            Error::corrupt(format!("{} are not as they were written", what(&path)))
                .caused_by(error)
                .hint(
                    "Write {\"config\":{}} into the file for a topic without settings of its own.",
                )
        })?;
        Ok(Some(kept.config))
    }

    /// Every setting as it holds, in the words of Kafka.
    pub(super) fn values(&self) -> BTreeMap<&'static str, String> {
        let or_none = |number: Option<String>| number.unwrap_or_else(|| "-1".to_owned());
        let policy = if self.compact { "compact" } else { "delete" };
        BTreeMap::from([
            ("cleanup.policy", policy.to_owned()),
            ("max.message.bytes", self.message_bytes_max.to_string()),
            ("retention.bytes", or_none(self.retention_bytes.map(|bytes| bytes.to_string()))),
            ("retention.ms", or_none(self.retention_ms.map(|millis| millis.to_string()))),
            ("segment.bytes", self.segment_bytes.to_string()),
        ])
    }

    /// The text of the file.
    pub(super) fn text(config: &BTreeMap<String, String>) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec(&Kept { config: config.clone() })
            .map_err(|error| Error::internal("settings cannot be written").caused_by(error))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// What the file is called in messages.
fn what(path: &Path) -> String {
    format!("the topic's settings in {}", path.display())
}
