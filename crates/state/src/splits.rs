//! How far splits are.

use std::fmt;

use flywheel_base::{Result, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::engine::{self, OptionalExtension, Row, params};

/// A split: a system that is taken apart into two.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitState {
    /// The split.
    pub split: String,
    /// How far it is.
    pub phase: SplitPhase,
    /// Since when.
    pub changed_at: Timestamp,
    /// What the phase found.
    pub detail: Value,
}

/// How far a split is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SplitPhase {
    /// Rows are being written; a run that ended early leaves this.
    Loading,
    /// Every table of both parts was written.
    Loaded,
    /// Both parts were proved to be as declared.
    Verified,
    /// A part was found to be other than declared.
    Differs,
}

impl SplitPhase {
    const ALL: [Self; 4] = [Self::Loading, Self::Loaded, Self::Verified, Self::Differs];

    /// Its name, kebab-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Loaded => "loaded",
            Self::Verified => "verified",
            Self::Differs => "differs",
        }
    }
}

impl fmt::Display for SplitPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Store {
    /// The split `split`, if it has begun.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn split(&self, split: &str) -> Result<Option<SplitState>> {
        self.read("look up a split", |db| {
            db.prepare_cached(
                "SELECT split, phase, changed_at, detail FROM splits WHERE split = ?",
            )?
            .query_row([split], state)
            .optional()
        })
    }

    /// All splits that have begun, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn splits(&self) -> Result<Vec<SplitState>> {
        self.read("list splits", |db| {
            db.prepare_cached("SELECT split, phase, changed_at, detail FROM splits ORDER BY 1")?
                .query_map([], state)?
                .collect()
        })
    }

    /// Notes how far a split is.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_split(&self, of: &SplitState) -> Result<()> {
        self.write("record a split", |db| {
            db.execute(
                "INSERT OR REPLACE INTO splits (split, phase, changed_at, detail) VALUES (?,?,?,?)",
                params![of.split, of.phase.name(), of.changed_at.micros(), of.detail.to_string()],
            )
            .map(|_| ())
        })
    }
}

fn state(row: &Row<'_>) -> engine::Result<SplitState> {
    let name: String = row.get(1)?;
    let phase =
        SplitPhase::ALL.into_iter().find(|phase| phase.name() == name).ok_or_else(|| {
            let unknown = format!("unknown phase \"{name}\"");
            engine::Error::unreadable(1, unknown)
        })?;
    let detail: String = row.get(3)?;
    Ok(SplitState {
        split: row.get(0)?,
        phase,
        changed_at: Timestamp::from_micros(row.get(2)?),
        detail: serde_json::from_str(&detail).unwrap_or_default(),
    })
}
