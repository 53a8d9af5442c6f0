//! How far migrations are.

use std::fmt;

use flywheel_base::{Result, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::engine::{self, OptionalExtension, Row, params};

/// A migration: a sync that moves tables to another system for good.
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    /// The sync.
    pub sync: String,
    /// How far it is.
    pub phase: Phase,
    /// Since when.
    pub changed_at: Timestamp,
    /// What the phase found.
    pub detail: Value,
}

/// How far a migration is, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The rows are in the target, and changes follow.
    Loaded,
    /// Both sides were found equal.
    Verified,
    /// The target is the system people work with; changes flow back.
    CutOver,
    /// The source is the system people work with again.
    RolledBack,
    /// There is no way back any more, and nothing flows.
    Finished,
}

impl Phase {
    const ALL: [Self; 5] =
        [Self::Loaded, Self::Verified, Self::CutOver, Self::RolledBack, Self::Finished];

    /// Its name, kebab-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Verified => "verified",
            Self::CutOver => "cut-over",
            Self::RolledBack => "rolled-back",
            Self::Finished => "finished",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Store {
    /// The migration by the sync `sync`, if it has begun.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn migration(&self, sync: &str) -> Result<Option<Migration>> {
        self.read("look up a migration", |db| {
            db.prepare_cached(
                "SELECT sync, phase, changed_at, detail FROM migrations WHERE sync = ?",
            )?
            .query_row([sync], migration)
            .optional()
        })
    }

    /// All migrations, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn migrations(&self) -> Result<Vec<Migration>> {
        self.read("list migrations", |db| {
            db.prepare_cached("SELECT sync, phase, changed_at, detail FROM migrations ORDER BY 1")?
                .query_map([], migration)?
                .collect()
        })
    }

    /// Notes how far a migration is.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_migration(&self, of: &Migration) -> Result<()> {
        self.write("record a migration", |db| {
            db.execute(
                "INSERT OR REPLACE INTO migrations (sync, phase, changed_at, detail) VALUES (?,?,?,?)",
                params![of.sync, of.phase.name(), of.changed_at.micros(), of.detail.to_string()],
            )
            .map(|_| ())
        })
    }
}

fn migration(row: &Row<'_>) -> engine::Result<Migration> {
    let name: String = row.get(1)?;
    let phase = Phase::ALL.into_iter().find(|phase| phase.name() == name).ok_or_else(|| {
        let unknown = format!("unknown phase \"{name}\"");
        engine::Error::unreadable(1, unknown)
    })?;
    let detail: String = row.get(3)?;
    Ok(Migration {
        sync: row.get(0)?,
        phase,
        changed_at: Timestamp::from_micros(row.get(2)?),
        detail: serde_json::from_str(&detail).unwrap_or_default(),
    })
}
