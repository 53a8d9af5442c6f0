//! Fitted learners: which artifact, from what, how good.

use flywheel_base::{Result, Timestamp};
use serde_json::Value;

use crate::Store;
use crate::engine::{self, Connection, Params, params};
use crate::runs::json;

/// One fit of a learner. The bytes lie in `.flywheel/artifacts/<digest>`.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// The content address of its bytes.
    pub digest: String,
    /// The learner.
    pub learner: String,
    /// The turn that fitted it.
    pub turn: Option<i64>,
    /// `recommend`, `segment`, `forecast`, `score`, `value` or `bandit`.
    pub kind: String,
    /// The logical moment of the fit.
    pub fitted_at: Timestamp,
    /// Inputs (table versions, rows), options and evaluation.
    pub detail: Value,
}

impl Store {
    /// Records a fit; the same learner and moment again replaces it. A pin that was let go ends with it.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_artifact(&self, artifact: &Artifact) -> Result<()> {
        self.write("record an artifact", |db| {
            db.execute(
                "INSERT OR REPLACE INTO artifacts (digest, learner, turn, kind, fitted_at, detail) VALUES (?,?,?,?,?,?)",
                params![
                    artifact.digest,
                    artifact.learner,
                    artifact.turn,
                    artifact.kind,
                    artifact.fitted_at.micros(),
                    artifact.detail.to_string()
                ],
            )?;
            db.execute("DELETE FROM pins WHERE learner = ? AND held = 0", [&artifact.learner])
                .map(|_| ())
        })
    }

    /// The newest artifact of `learner`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn newest_artifact(&self, learner: &str) -> Result<Option<Artifact>> {
        self.read("look up an artifact", |db| newest_of(db, learner))
    }

    /// Artifacts of `learner` whose digest begins with `start`, oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn artifacts_of(&self, learner: &str, start: &str) -> Result<Vec<Artifact>> {
        let clause = "WHERE learner = ? AND substr(digest, 1, length(?)) = ? ORDER BY fitted_at";
        self.artifacts_where(clause, &[learner, start, start])
    }

    /// All artifacts, oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn artifacts(&self) -> Result<Vec<Artifact>> {
        self.artifacts_where("ORDER BY fitted_at, learner", &[])
    }

    fn artifacts_where(&self, clause: &str, bound: &[&str]) -> Result<Vec<Artifact>> {
        self.read("list artifacts", |db| list(db, clause, bound))
    }
}

/// The newest artifact of `learner`.
pub(crate) fn newest_of(db: &Connection, learner: &str) -> engine::Result<Option<Artifact>> {
    Ok(list(db, "WHERE learner = ? ORDER BY fitted_at DESC LIMIT 1", [learner])?.pop())
}

/// The artifact of the fit of `learner` at that moment.
pub(crate) fn one_of(
    db: &Connection,
    learner: &str,
    fitted_at: i64,
) -> engine::Result<Option<Artifact>> {
    let clause = "WHERE learner = ? AND fitted_at = ?";
    Ok(list(db, clause, params![learner, fitted_at])?.pop())
}

fn list(db: &Connection, clause: &str, bound: impl Params) -> engine::Result<Vec<Artifact>> {
    db.prepare_cached(&format!(
        "SELECT digest, learner, turn, kind, fitted_at, detail FROM artifacts {clause}"
    ))?
    .query_map(bound, |row| {
        Ok(Artifact {
            digest: row.get(0)?,
            learner: row.get(1)?,
            turn: row.get(2)?,
            kind: row.get(3)?,
            fitted_at: Timestamp::from_micros(row.get(4)?),
            detail: json(row, 5)?,
        })
    })?
    .collect()
}
