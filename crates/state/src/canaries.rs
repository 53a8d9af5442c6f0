//! Challengers on trial: each move of each canary, for the record and to know where it stands.

use flywheel_base::{Result, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::engine::{self, Row, params};
use crate::runs::json;

/// What happened to a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A challenger began to decide for a first share of units.
    Started,
    /// Its share was raised.
    Raised,
    /// It decides for everybody from then on; a promotion says so too.
    Promoted,
    /// The challenger decides for nobody any more.
    RolledBack,
}

impl Move {
    const ALL: [Self; 4] = [Self::Started, Self::Raised, Self::Promoted, Self::RolledBack];

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Raised => "raised",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
        }
    }

    /// Whether the canary goes on after it.
    #[must_use]
    pub fn runs(self) -> bool {
        matches!(self, Self::Started | Self::Raised)
    }
}

/// One move of one canary.
#[derive(Clone, Debug, PartialEq)]
pub struct CanaryMove {
    /// The policy.
    pub policy: String,
    /// The move's number among those of the policy, from 1.
    pub number: i64,
    /// When, by the logical clock.
    pub at: Timestamp,
    /// The canary: the number of the move that started it; for a start it is given with the number.
    pub canary: i64,
    /// What happened.
    pub kind: Move,
    /// The learner that the policy's file named then; with another one there the canary is over.
    pub declared: String,
    /// The challenger's learner.
    pub learner: String,
    /// The artifact it is held at; none if it goes on learning.
    pub artifact: Option<String>,
    /// The share of units it decides for from then on; 0 at the end.
    pub share: f64,
    /// Why, for the record.
    pub reason: String,
    /// What the move rests on, as JSON.
    pub evidence: Value,
}

impl Store {
    /// Records a move, and gives it its number.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_canary(&self, made: &CanaryMove) -> Result<i64> {
        self.write("record a canary", |db| {
            let number: i64 = db.query_row(
                "SELECT coalesce(max(number), 0) + 1 FROM canaries WHERE policy = ?",
                [&made.policy],
                |row| row.get(0),
            )?;
            let canary = if made.kind == Move::Started { number } else { made.canary };
            db.execute(
                "INSERT INTO canaries (policy, number, at, canary, move, declared, learner, artifact, share, reason, evidence) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                params![
                    made.policy,
                    number,
                    made.at.micros(),
                    canary,
                    made.kind.name(),
                    made.declared,
                    made.learner,
                    made.artifact,
                    made.share,
                    made.reason,
                    made.evidence.to_string()
                ],
            )?;
            Ok(number)
        })
    }

    /// All moves of canaries of `policy`, oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn canaries_of(&self, policy: &str) -> Result<Vec<CanaryMove>> {
        self.canaries_where("WHERE policy = ? ORDER BY number", &[policy])
    }

    /// All moves of all policies, oldest first within each.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn canaries(&self) -> Result<Vec<CanaryMove>> {
        self.canaries_where("ORDER BY policy, number", &[])
    }

    fn canaries_where(&self, clause: &str, bound: &[&str]) -> Result<Vec<CanaryMove>> {
        self.read("list canaries", |db| {
            db.prepare_cached(&format!(
                "SELECT policy, number, at, canary, move, declared, learner, artifact, share, reason, evidence FROM canaries {clause}"
            ))?
            .query_map(bound, canary)?
            .collect()
        })
    }
}

fn canary(row: &Row<'_>) -> engine::Result<CanaryMove> {
    let name: String = row.get(4)?;
    let kind = Move::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
        let unknown = format!("unknown move \"{name}\"");
        engine::Error::unreadable(4, unknown)
    })?;
    Ok(CanaryMove {
        policy: row.get(0)?,
        number: row.get(1)?,
        at: Timestamp::from_micros(row.get(2)?),
        canary: row.get(3)?,
        kind,
        declared: row.get(5)?,
        learner: row.get(6)?,
        artifact: row.get(7)?,
        share: row.get(8)?,
        reason: row.get(9)?,
        evidence: json(row, 10)?,
    })
}
