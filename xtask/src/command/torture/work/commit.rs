//! What a commit leaves while it runs: by it a commit is seen, and told where in it a kill fell.
//!
//! The lake commits in steps, each of which is on the disk before the next one begins. A file is written under a name with `#`
//! behind it first. To park the rows of a load is a commit of its own: its data files are done once the load's note names them.
//!
//! ```text
//! part-….parquet#1 ► part-….parquet ► _delta_log/N.json#1 ► N.json beside N.json#1 ► N.json ► the run's end is recorded
//!      writing            written            unnamed                 named             behind
//! ```
//! A database commits in one transaction, and tells afterwards whether it was undone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use flywheel_testkit::wait_for;
use serde_json::Value;

use super::{Kind, Work, files_below};
use crate::Result;

/// The folder of a lake table's log, inside the table's folder.
const LOG: &str = "_delta_log";

/// How often a database looks for a transaction each time it is asked; to ask takes longer than to look.
const LOOKS: u32 = 100;

/// What a commit is seen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Sight {
    /// The first that it leaves: a data file, or a transaction that writes.
    First,
    /// The last that it leaves: an entry of the log, or a transaction that writes.
    Last,
}

/// A commit that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Seen {
    /// By its files.
    Files,
    /// By its transaction, which has this number.
    Transaction(String),
}

/// Where a kill fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Hit {
    /// A data file, or the note of parked ones, is not complete.
    Writing,
    /// Data files are complete, and nothing names them.
    Written,
    /// The log's entry does not have its name.
    Unnamed,
    /// The entry has just got its name.
    Named,
    /// The entry is there; the end of the run that made it is not recorded.
    Behind,
    /// A transaction was open, and is undone.
    Transaction,
    /// No commit was under way.
    Outside,
}

impl Hit {
    pub(in super::super) const ALL: [Self; 7] = [
        Self::Writing,
        Self::Written,
        Self::Unnamed,
        Self::Named,
        Self::Behind,
        Self::Transaction,
        Self::Outside,
    ];

    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Writing => "a data file not complete",
            Self::Written => "data files without an entry",
            Self::Unnamed => "an entry without its name",
            Self::Named => "an entry that just got its name",
            Self::Behind => "an entry without what follows it",
            Self::Transaction => "an open transaction, undone",
            Self::Outside => "outside of a commit",
        }
    }

    /// Whether it fell inside a commit.
    pub(in super::super) fn inside(self) -> bool {
        self != Self::Outside
    }
}

impl Work<'_> {
    /// Whether the work that is killed writes into a database and not into the lake.
    fn fills_database(&self) -> bool {
        matches!(self.kind, Kind::Move | Kind::Reverse)
    }

    /// The files of the lake table, to tell later which are new.
    pub(in super::super) fn mark(&self) -> BTreeSet<PathBuf> {
        files_below(&self.shop.path(".flywheel/lake/raw/orders"))
    }

    /// The commit that is under way, if one is to be seen; looks at a database for a while.
    pub(in super::super) fn look(&self, sight: Sight, mark: &BTreeSet<PathBuf>) -> Option<Seen> {
        if self.fills_database() {
            return self.transaction(LOOKS);
        }
        let files = match sight {
            Sight::First => self.mark(),
            Sight::Last => files_below(&self.shop.path(".flywheel/lake/raw/orders").join(LOG)),
        };
        files.difference(mark).next().map(|_| Seen::Files)
    }

    /// The commit that is under way at this moment, where that cannot be told afterwards.
    pub(in super::super) fn glance(&self) -> Option<Seen> {
        if self.fills_database() { self.transaction(1) } else { None }
    }

    /// Where a kill fell, once the killed process has ended.
    pub(in super::super) fn hit(
        &self,
        mark: &BTreeSet<PathBuf>,
        seen: Option<&Seen>,
    ) -> Result<Hit> {
        if !self.fills_database() {
            let files = self.mark();
            return hit(mark, &files, &parked(&files)?, || self.ended());
        }
        let Some(Seen::Transaction(number)) = seen else { return Ok(Hit::Outside) };
        // The server goes on with a statement whose sender is gone, and undoes it then.
        let status = format!("select pg_xact_status('{number}')");
        let mut said = String::new();
        let known = wait_for(|| {
            said = self.server.psql(&self.target, &status);
            said != "in progress"
        });
        if !known {
            return Err("a transaction outlives the process that began it".into());
        }
        Ok(if said == "aborted" { Hit::Transaction } else { Hit::Outside })
    }

    /// Whether the end of the last run is recorded.
    fn ended(&self) -> Result<bool> {
        let last = "select case when ended_at is null then 'open' else 'ended' end as said
             from system.runs where kind = 'sync' order by started_at desc limit 1";
        Ok(self.shop.value(last)? == "ended")
    }

    /// The open transaction that has written into the target, looked for so many times within the server.
    fn transaction(&self, looks: u32) -> Option<Seen> {
        let tables = match self.kind {
            Kind::Reverse => "relname = 'orders'",
            _ => "relnamespace = 'public'::regnamespace",
        };
        // Only who has written has a number; the smallest one is not that of a savepoint.
        let look = format!(
            "do $$ declare seen text; begin
               for look in 1..{looks} loop
                 select min(own.transactionid::text::bigint)::text into seen
                   from pg_locks own join pg_locks held on held.pid = own.pid join pg_class on pg_class.oid = held.relation
                   where own.locktype = 'transactionid' and own.mode = 'ExclusiveLock' and own.granted
                     and held.mode = 'RowExclusiveLock' and {tables}
                     and held.database = (select oid from pg_database where datname = current_database());
                 exit when seen is not null;
                 perform pg_sleep(0.001);
               end loop;
               perform set_config('torture.seen', coalesce(seen, ''), false);
             end $$;
             select current_setting('torture.seen')"
        );
        let number = self.server.psql(&self.target, &look);
        (!number.is_empty()).then_some(Seen::Transaction(number))
    }
}

/// The data files that parked loads name.
fn parked(files: &BTreeSet<PathBuf>) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in files {
        let name = name(path);
        if name.starts_with("_load-") && name.ends_with(".json") {
            names.extend(data_files(&serde_json::from_slice(&fs::read(path)?)?));
        }
    }
    Ok(names)
}

/// The data files that a parked load names.
fn data_files(load: &Value) -> Vec<String> {
    let files = load.get("files").and_then(Value::as_array).into_iter().flatten();
    files.filter_map(|file| file.get("path")?.as_str().map(str::to_owned)).collect()
}

/// Where a kill fell, by the files of the lake table before the process began and after it was killed.
fn hit(
    before: &BTreeSet<PathBuf>,
    after: &BTreeSet<PathBuf>,
    parked: &BTreeSet<String>,
    ended: impl FnOnce() -> Result<bool>,
) -> Result<Hit> {
    let mut found = Hit::Outside;
    let mut entry = false;
    for path in after.difference(before) {
        let name = name(path);
        let in_log = path.parent().is_some_and(|folder| folder.ends_with(LOG));
        match (in_log, name.split_once('#')) {
            (true, Some((whole, _))) if whole.ends_with(".json") => {
                let named = after.contains(&path.with_file_name(whole));
                return Ok(if named { Hit::Named } else { Hit::Unnamed });
            }
            (true, None) => entry |= name.ends_with(".json"),
            (false, Some(_)) => found = found.min(Hit::Writing),
            (false, None) if name.ends_with(".parquet") && !parked.contains(&name) => {
                found = found.min(Hit::Written);
            }
            _ => {}
        }
    }
    if entry {
        return Ok(if ended()? { Hit::Outside } else { Hit::Behind });
    }
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DATA: &str = "part-00000000000000000002-00000-a.snappy.parquet";

    /// What a kill leaves in a table that had one version and rests of earlier kills.
    fn left(new: &[&str], parked: &[&str], ended: bool) -> Hit {
        let files = |names: &[&str]| -> BTreeSet<PathBuf> {
            names.iter().map(|name| Path::new("/lake/raw/orders").join(name)).collect()
        };
        let before = files(&["part-0.parquet", "_delta_log/0.json", "_delta_log/1.json#1"]);
        let after = before.union(&files(new)).cloned().collect();
        let parked = parked.iter().map(|name| (*name).to_owned()).collect();
        hit(&before, &after, &parked, || Ok(ended)).unwrap()
    }

    #[test]
    fn what_is_left_tells_where_a_kill_fell() {
        let temporary = format!("{DATA}#1");
        assert_eq!(left(&[], &[], true), Hit::Outside, "what was there before tells nothing");
        assert_eq!(left(&[&temporary], &[], false), Hit::Writing);
        assert_eq!(left(&[DATA, "_load-a.json#1"], &[], false), Hit::Writing);
        assert_eq!(left(&[DATA], &[], false), Hit::Written);
        assert_eq!(left(&[DATA, "_delta_log/1.json#2"], &[], false), Hit::Unnamed);
        let named = [DATA, "_delta_log/1.json", "_delta_log/1.json#2"];
        assert_eq!(left(&named, &[], false), Hit::Named);
        assert_eq!(left(&[DATA, "_delta_log/1.json"], &[], false), Hit::Behind);
        assert_eq!(left(&[DATA, "_delta_log/1.json"], &[], true), Hit::Outside, "all was done");
    }

    #[test]
    fn a_kill_between_two_parked_parts_is_outside() {
        assert_eq!(left(&[DATA, "_load-a.json"], &[DATA], false), Hit::Outside);
        let load = json!({ "rows": 7, "files": [{ "path": DATA, "size": 1 }] });
        assert_eq!(data_files(&load), [DATA]);
        assert!(data_files(&json!({})).is_empty());
    }

    #[test]
    fn every_place_is_counted_once_and_one_is_outside() {
        assert!(Hit::ALL.is_sorted_by(|one, next| one < next));
        assert_eq!(Hit::ALL.iter().filter(|hit| !hit.inside()).count(), 1);
    }
}
