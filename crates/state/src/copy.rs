//! Copies of the database for backups: as it is at one moment, also while another process writes.

use std::fs::File;
use std::path::Path;

use flywheel_base::{Error, Result};

use crate::engine::{self, Connection};
use crate::{audit, schema, sql_error};

/// Writes the database `from` as it is at one moment into `to`, which must not exist, durably.
///
/// The copy is one file without free pages, so that what was deleted is not in it. Writers go on meanwhile. Its
/// layout stays what it is: a copy made before an upgrade can be read by the program before the upgrade. The head of
/// the audit log is put beside it, as it was for these rows.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if `from` is damaged, [`flywheel_base::ErrorKind::Exhausted`] if the disk is full,
/// [`flywheel_base::ErrorKind::Unavailable`] if a writer does not let go of it.
pub fn copy_database(from: &Path, to: &Path) -> Result<()> {
    // A head is written after its row: read first, it says nothing that the copy does not hold.
    let head = audit::head_of(from)?;
    let failed = |error| sql_error("copy the database", from, error);
    let connection = Connection::existing(from).map_err(failed)?;
    let target = to.to_str().ok_or_else(|| {
        Error::invalid(format!("the path {} is no text", to.display()))
            .hint("Choose a folder whose name is UTF-8.")
    })?;
    engine::make(to);
    connection.execute("VACUUM INTO ?1", [target]).map_err(failed)?;
    drop(connection);
    let synced = File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::io("write", to, error))?;
    check_database(to)?;
    let copy = Connection::existing(to).map_err(|error| sql_error("read the copy", to, error))?;
    audit::put_head(&copy, to, head)
}

/// Reads every page of a database and finds out whether it is whole and of a layout this program knows.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if it is damaged, [`flywheel_base::ErrorKind::Invalid`] if a newer program wrote it.
pub fn check_database(path: &Path) -> Result<()> {
    let failed = |error| sql_error("check the database", path, error);
    let connection = Connection::existing(path).map_err(failed)?;
    let said: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if said != "ok" {
        return Err(Error::corrupt(format!("metadata: {} is damaged: {said}", path.display()))
            .hint("Restore the file from an earlier backup; rows of the lake are not affected."));
    }
    let version = connection.layout().map_err(failed)?;
    if version > schema::known_version() {
        return Err(Error::invalid(format!(
            "metadata: {} was written by a newer Flywheel",
            path.display()
        ))
        .hint("Use that newer version."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flywheel_base::{ErrorKind, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::Store;

    fn audited(store: &Store, number: i64) {
        store.audit(Timestamp::from_micros(number), "ada", "turn", "-", &json!({})).unwrap();
    }

    #[test]
    fn a_copy_holds_one_moment_while_others_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta.db");
        let store = Store::open(&path).unwrap();
        audited(&store, 1);
        let writer = std::thread::spawn(move || {
            for number in 2..60 {
                audited(&store, number);
            }
        });
        for attempt in 0..5 {
            let copied = folder.path().join(format!("{attempt}"));
            std::fs::create_dir(&copied).unwrap();
            copy_database(&path, &copied.join("meta.db")).unwrap();
            let copy = Store::open(&copied.join("meta.db")).unwrap();
            assert!(copy.verify_audit().unwrap().is_ok(), "{:?}", copy.verify_audit());
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_log_that_was_cut_stays_cut_in_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta.db");
        let store = Store::open(&path).unwrap();
        (1..5).for_each(|number| audited(&store, number));
        let beside = rusqlite::Connection::open(&path).unwrap();
        beside.execute("DELETE FROM audit WHERE number > 2", []).unwrap();
        let copied = folder.path().join("b");
        std::fs::create_dir(&copied).unwrap();
        copy_database(&path, &copied.join("meta.db")).unwrap();
        let copy = Store::open(&copied.join("meta.db")).unwrap();
        assert_eq!(copy.verify_audit().unwrap().unwrap_err().number, 3);
    }

    #[test]
    fn damage_is_no_backup() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta.db");
        std::fs::write(&path, [7; 9000]).unwrap();
        let error = copy_database(&path, &folder.path().join("copy.db")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let error = copy_database(&folder.path().join("none.db"), &folder.path().join("c"));
        assert!(error.is_err());
        assert!(!folder.path().join("none.db").exists(), "nothing is made where nothing was");
    }
}
