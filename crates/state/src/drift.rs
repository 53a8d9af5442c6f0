//! Measures of learners that got worse, and what was done about each.

use flywheel_base::{Result, Timestamp};

use crate::Store;
use crate::engine::{self, OptionalExtension, Row, params};

/// A worsening of a learner's measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// The learner.
    pub learner: String,
    /// The measure, as in `system.evaluations`.
    pub measure: String,
    /// When it was found, by the logical clock.
    pub at: Timestamp,
    /// The test that found it.
    pub detector: String,
    /// From which measurement on it is worse.
    pub since: Timestamp,
    /// The moment of the newest measurement; the same worsening is known by it.
    pub until: Timestamp,
    /// The mean of the measurements before.
    pub before: f64,
    /// The mean of those that are worse.
    pub after: f64,
    /// How many measurements are worse.
    pub values: i64,
    /// The artifact that was served when it was found.
    pub artifact: String,
    /// What was done: `told`, `retrain` or `last-good`.
    pub answer: String,
    /// Why that was done, as a sentence; what a person reads.
    pub reason: String,
}

const COLUMNS: &str = "learner, measure, at, detector, since, until, mean_before, mean_after, readings, artifact, answer, reason";

impl Store {
    /// Records a worsening; false if it is known.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_drift(&self, drift: &Drift) -> Result<bool> {
        self.write("record a drift", |db| {
            let added = db.execute(
                &format!(
                    "INSERT OR IGNORE INTO drift ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
                ),
                params![
                    drift.learner,
                    drift.measure,
                    drift.at.micros(),
                    drift.detector,
                    drift.since.micros(),
                    drift.until.micros(),
                    drift.before,
                    drift.after,
                    drift.values,
                    drift.artifact,
                    drift.answer,
                    drift.reason
                ],
            )?;
            Ok(added > 0)
        })
    }

    /// Whether the worsening of this measure up to this measurement is known.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn knows_drift(&self, learner: &str, measure: &str, until: Timestamp) -> Result<bool> {
        self.read("look up a drift", |db| {
            db.prepare_cached(
                "SELECT 1 FROM drift WHERE learner = ? AND measure = ? AND until = ?",
            )?
            .exists(params![learner, measure, until.micros()])
        })
    }

    /// The newest worsening of `learner`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn newest_drift(&self, learner: &str) -> Result<Option<Drift>> {
        self.read("look up a drift", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM drift WHERE learner = ? ORDER BY at DESC, measure LIMIT 1"
            ))?
            .query_row([learner], row_of)
            .optional()
        })
    }

    /// When the newest worsening of `learner` was found that asks for a fit.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn retrain_asked(&self, learner: &str) -> Result<Option<Timestamp>> {
        self.read("look up a drift", |db| {
            let at: Option<i64> = db
                .prepare_cached(
                    "SELECT max(at) FROM drift WHERE learner = ? AND answer = 'retrain'",
                )?
                .query_row([learner], |row| row.get(0))?;
            Ok(at.map(Timestamp::from_micros))
        })
    }

    /// All worsenings, oldest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn drifts(&self) -> Result<Vec<Drift>> {
        self.read("list drifts", |db| {
            db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM drift ORDER BY at, learner, measure"
            ))?
            .query_map([], row_of)?
            .collect()
        })
    }
}

fn row_of(row: &Row<'_>) -> engine::Result<Drift> {
    Ok(Drift {
        learner: row.get(0)?,
        measure: row.get(1)?,
        at: Timestamp::from_micros(row.get(2)?),
        detector: row.get(3)?,
        since: Timestamp::from_micros(row.get(4)?),
        until: Timestamp::from_micros(row.get(5)?),
        before: row.get(6)?,
        after: row.get(7)?,
        values: row.get(8)?,
        artifact: row.get(9)?,
        answer: row.get(10)?,
        reason: row.get(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(at: i64, answer: &str) -> Drift {
        Drift {
            learner: "demand".into(),
            measure: "wape".into(),
            at: Timestamp::from_micros(at),
            detector: "page-hinkley".into(),
            since: Timestamp::from_micros(at - 3),
            until: Timestamp::from_micros(at),
            before: 0.2,
            after: 0.4,
            values: 4,
            artifact: "a".into(),
            answer: answer.into(),
            reason: "its file says so".into(),
        }
    }

    #[test]
    fn a_worsening_is_recorded_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        assert!(store.record_drift(&drift(10, "retrain")).unwrap());
        assert!(!store.record_drift(&drift(10, "told")).unwrap());
        assert!(store.record_drift(&drift(20, "told")).unwrap());
        assert_eq!(store.drifts().unwrap(), [drift(10, "retrain"), drift(20, "told")]);
        assert_eq!(store.newest_drift("demand").unwrap(), Some(drift(20, "told")));
        assert_eq!(store.newest_drift("other").unwrap(), None);
        assert_eq!(store.retrain_asked("demand").unwrap(), Some(Timestamp::from_micros(10)));
        assert_eq!(store.retrain_asked("other").unwrap(), None);
        assert!(store.knows_drift("demand", "wape", Timestamp::from_micros(10)).unwrap());
        assert!(!store.knows_drift("demand", "wape", Timestamp::from_micros(11)).unwrap());
    }

    crate::testing::also_on_postgres!(a_worsening_is_recorded_once,);
}
