//! Which artifact of a learner is served, where that is not the newest one.
//!
//! ```text
//! newest ──pin──► pinned ──unpin──► released ──next fit──► newest
//! ```
//! A pinned learner is not fitted. A released one is served as before and is due at once, so that what was taken back does
//! not come back in between.

use flywheel_base::{Result, Timestamp};

use crate::artifacts::{newest_of, one_of};
use crate::engine::{self, Connection, OptionalExtension, Row, params};
use crate::{Artifact, Store};

/// The artifact that a learner is held at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The learner.
    pub learner: String,
    /// The logical moment of the fit that is served.
    pub fitted_at: Timestamp,
    /// Whether it holds until somebody lets go; if not, only until the next fit.
    pub held: bool,
    /// When it was pinned or let go.
    pub at: Timestamp,
    /// Why, for the record.
    pub reason: String,
}

impl Store {
    /// Holds a learner at one of its fits, or lets it go with the next one.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_pin(&self, pin: &Pin) -> Result<()> {
        self.write("record a pin", |db| {
            db.execute(
                "INSERT OR REPLACE INTO pins (learner, fitted_at, held, at, reason) VALUES (?,?,?,?,?)",
                params![
                    pin.learner,
                    pin.fitted_at.micros(),
                    pin.held,
                    pin.at.micros(),
                    pin.reason
                ],
            )
            .map(|_| ())
        })
    }

    /// What `learner` is held at, if it is.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn pin(&self, learner: &str) -> Result<Option<Pin>> {
        self.read("look up a pin", |db| {
            db.prepare_cached(
                "SELECT learner, fitted_at, held, at, reason FROM pins WHERE learner = ?",
            )?
            .query_row([learner], row_of)
            .optional()
        })
    }

    /// What every learner is held at that is, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn pins(&self) -> Result<Vec<Pin>> {
        self.read("list pins", |db| {
            db.prepare_cached(
                "SELECT learner, fitted_at, held, at, reason FROM pins ORDER BY learner",
            )?
            .query_map([], row_of)?
            .collect()
        })
    }

    /// The artifact of `learner` that is served: the one it is held at, else the newest one.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn served_artifact(&self, learner: &str) -> Result<Option<Artifact>> {
        self.read("look up an artifact", |db| served_of(db, learner))
    }
}

/// The artifact of `learner` that is served.
pub(crate) fn served_of(db: &Connection, learner: &str) -> engine::Result<Option<Artifact>> {
    let pinned: Option<i64> = db
        .prepare_cached("SELECT fitted_at FROM pins WHERE learner = ?")?
        .query_row([learner], |row| row.get(0))
        .optional()?;
    if let Some(fitted_at) = pinned
        && let Some(artifact) = one_of(db, learner, fitted_at)?
    {
        return Ok(Some(artifact));
    }
    newest_of(db, learner)
}

fn row_of(row: &Row<'_>) -> engine::Result<Pin> {
    Ok(Pin {
        learner: row.get(0)?,
        fitted_at: Timestamp::from_micros(row.get(1)?),
        held: row.get(2)?,
        at: Timestamp::from_micros(row.get(3)?),
        reason: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fit(store: &Store, at: i64) {
        let artifact = Artifact {
            digest: format!("d{at}"),
            learner: "demand".into(),
            turn: Some(at),
            kind: "forecast".into(),
            fitted_at: Timestamp::from_micros(at),
            detail: json!({}),
        };
        store.record_artifact(&artifact).unwrap();
    }

    #[test]
    fn a_pin_holds_through_fits_and_a_released_one_until_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        let reader = store.reader().unwrap();
        let check = |expected: &str| {
            let served = store.served_artifact("demand").unwrap().unwrap();
            let read = reader.served_artifact("demand").unwrap().unwrap();
            assert_eq!((served.digest.as_str(), read.digest.as_str()), (expected, expected));
        };
        assert_eq!(store.served_artifact("demand").unwrap(), None);
        fit(&store, 1);
        fit(&store, 2);
        check("d2");
        let pin = Pin {
            learner: "demand".into(),
            fitted_at: Timestamp::from_micros(1),
            held: true,
            at: Timestamp::from_micros(9),
            reason: "the newest one is bad".into(),
        };
        store.record_pin(&pin).unwrap();
        assert_eq!(store.pin("demand").unwrap(), Some(pin.clone()));
        assert_eq!(store.pins().unwrap(), std::slice::from_ref(&pin));
        check("d1");
        fit(&store, 3);
        check("d1");
        store.record_pin(&Pin { held: false, ..pin }).unwrap();
        check("d1");
        fit(&store, 4);
        check("d4");
        assert_eq!(store.pin("demand").unwrap(), None);
    }

    crate::testing::also_on_postgres!(a_pin_holds_through_fits_and_a_released_one_until_the_next,);
}
