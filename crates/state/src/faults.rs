//! Mistakes of ours that stopped a request or a piece of work: who asked is told the id under which they are kept.

use flywheel_base::{Result, Timestamp};

use crate::Store;
use crate::engine::params;

/// How many are kept.
const KEPT_MAX: u32 = 10_000;

/// A request or a piece of work that a mistake of ours stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The id that the answer and the log name.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// `request` or `work`.
    pub kind: String,
    /// What was asked for: the method and the route, or the kind of work.
    pub name: String,
    /// Where in the program, and what it said there.
    pub error: String,
}

impl Store {
    /// Keeps a fault; the oldest ones are dropped.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn record_fault(&self, fault: &Fault) -> Result<()> {
        self.write("record a fault", |db| {
            db.execute(
                "INSERT OR IGNORE INTO faults (id, at, kind, name, error) VALUES (?,?,?,?,?)",
                params![fault.id, fault.at.micros(), fault.kind, fault.name, fault.error],
            )?;
            db.execute(
                "DELETE FROM faults WHERE number <= (SELECT max(number) FROM faults) - ?",
                [KEPT_MAX],
            )
            .map(|_| ())
        })
    }

    /// Every fault that is kept, newest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn faults(&self) -> Result<Vec<Fault>> {
        self.read("list faults", |db| {
            db.prepare_cached("SELECT id, at, kind, name, error FROM faults ORDER BY number DESC")?
                .query_map([], |row| {
                    Ok(Fault {
                        id: row.get(0)?,
                        at: Timestamp::from_micros(row.get(1)?),
                        kind: row.get(2)?,
                        name: row.get(3)?,
                        error: row.get(4)?,
                    })
                })?
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_kept_once_and_found_by_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let fault = |id: &str, at: i64| Fault {
            id: id.to_owned(),
            at: Timestamp::from_micros(at),
            kind: "request".to_owned(),
            name: "GET /v1/runs".to_owned(),
            error: "src/a.rs:1: a mistake".to_owned(),
        };
        for one in [fault("a", 1), fault("b", 2), fault("a", 3)] {
            store.record_fault(&one).unwrap();
        }
        assert_eq!(store.faults().unwrap(), [fault("b", 2), fault("a", 1)]);
    }

    crate::testing::also_on_postgres!(a_fault_is_kept_once_and_found_by_its_id,);
}
