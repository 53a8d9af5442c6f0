//! Where a work stands, and how many rows it reads again after a kill.
//!
//! A whole read is measured at its server, which counts the rows that it fetched for it. What still lies between server and
//! reader when the reader is killed was not read. What the target has committed by then is not read again:
//!
//! ```text
//! fetched by the killed run ─ on the way to it ─ committed by it = read again
//! ```
//! All other works read what is new since their last commit; all of it counts, whether it had been read before or not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flywheel_testkit::wait_for;
use serde_json::Value;

use super::{CHUNK, CHUNK_COPIED, CHUNK_MOVED, Kind, WORKERS, Work};
use crate::Result;

/// The bytes of a row on its way, rather too many than too few.
const ROW_BYTES: u64 = 110;

/// Where the next whole read goes on, and how much was fetched for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Place {
    /// Rows that the server has fetched from the table.
    fetched: u64,
    /// Rows before the place at which the next read goes on.
    passed: u64,
    /// How often a read came to its end.
    ends: u64,
}

impl Place {
    /// The rows that a run from here to `after` read, and that the next one reads again.
    pub(in super::super) fn read_again(&self, after: &Self, unread: u64) -> u64 {
        // What had ended is not gone on with: the next read is another one.
        if after.ends > self.ends {
            return 0;
        }
        let read = after.fetched.saturating_sub(self.fetched).saturating_sub(unread);
        read.saturating_sub(after.passed.saturating_sub(self.passed))
    }
}

/// Makes every read of a database go by an index, which counts each row that it fetches once.
pub(super) fn counted(database: &str) -> String {
    format!(
        "alter database {database} set enable_seqscan = off;
         alter database {database} set enable_bitmapscan = off;
         alter database {database} set enable_indexonlyscan = off"
    )
}

impl Work<'_> {
    /// One chunk for each worker: what may be read again after a kill.
    pub(in super::super) fn chunks_rows(&self) -> u64 {
        match self.kind {
            Kind::Copy => CHUNK_COPIED * WORKERS,
            Kind::Move => CHUNK_MOVED * WORKERS,
            Kind::Changes | Kind::Merge | Kind::Reverse => CHUNK,
        }
    }

    /// Where a whole read stands, once nobody reads any more; none for other works.
    pub(in super::super) fn place(&self) -> Result<Option<Place>> {
        if !self.kind.reads_whole() {
            return Ok(None);
        }
        // A server tells what it fetched for a connection when that has ended.
        let others = "select count(*) from pg_stat_activity where datname = current_database()
             and pid <> pg_backend_pid() and backend_type = 'client backend'";
        if !wait_for(|| self.server.psql(&self.source, others) == "0") {
            return Err("a connection to the source outlives the process that opened it".into());
        }
        let fetched = "select coalesce(idx_tup_fetch, 0) + coalesce(seq_tup_read, 0)
             from pg_stat_user_tables where relname = 'orders'";
        let fetched = self.server.psql(&self.source, fetched).parse()?;
        let (passed, ends) = match self.kind {
            Kind::Move => self.staged()?,
            // The lake shows a copy in one commit, and keeps on the way to it how far the read has come.
            _ => (self.parked()?, self.shop.versions("raw.orders") as u64),
        };
        Ok(Some(Place { fetched, passed, ends }))
    }

    /// The rows of a copy that the lake holds before it shows them.
    fn parked(&self) -> Result<u64> {
        let table = self.shop.path(".flywheel/lake/raw/orders");
        let shown = newest(&table.join("_delta_log"))?.map(|(at, _)| at);
        // A run that was killed behind its commit left what the next one takes away: nothing goes on behind that.
        match newest(&table)? {
            Some((at, path)) if shown.is_none_or(|shown| at > shown) => {
                let load: Value = serde_json::from_slice(&fs::read(path)?)?;
                Ok(load.get("rows").and_then(Value::as_u64).unwrap_or_default())
            }
            _ => Ok(0),
        }
    }

    /// The rows of a replacement that its target holds already, and the number of the last one that is seen.
    fn staged(&self) -> Result<(u64, u64)> {
        let state = "select concat_ws('|',
             coalesce(max((position->'read'->>'rows')::bigint) filter (where staged), 0),
             coalesce(max(sequence) filter (where not staged), 0)) from _flywheel_sync_state";
        let answer = self.server.psql(&self.target, state);
        let (passed, ends) =
            answer.split_once('|').ok_or_else(|| format!("\"{answer}\" is no state"))?;
        Ok((passed.parse()?, ends.parse()?))
    }

    /// Rows that are on their way from the server and have not been read.
    pub(in super::super) fn unread_rows(&self) -> u64 {
        let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        waiting_bytes(&table, self.server.port()) / ROW_BYTES
    }

    /// The rows that the last run read, of works whose reads begin behind their last commit; none of others.
    pub(in super::super) fn resumed_rows(&self) -> Result<Option<u64>> {
        if self.kind.reads_whole() {
            return Ok(None);
        }
        let read = "select coalesce(sum(rows_in), 0) from system.tasks where kind = 'sync'
             and run_id = (select run_id from system.runs where kind = 'sync' order by started_at desc limit 1)";
        Ok(Some(self.shop.value(read)?.parse()?))
    }
}

/// The newest JSON file of a folder, none if there is neither.
fn newest(folder: &Path) -> Result<Option<(SystemTime, PathBuf)>> {
    let Ok(files) = fs::read_dir(folder) else { return Ok(None) };
    let mut newest = None;
    for file in files {
        let file = file?;
        if file.path().extension().is_some_and(|kind| kind == "json") {
            newest = newest.max(Some((file.metadata()?.modified()?, file.path())));
        }
    }
    Ok(newest)
}

/// The bytes that wait in the connections of a server's port, at either end, by the kernel's table.
fn waiting_bytes(table: &str, port: u16) -> u64 {
    let port_of = |address: &str| {
        address.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok())
    };
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
    let bytes = table.lines().map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote) = (fields.next().and_then(port_of), fields.next().and_then(port_of));
        let queues = fields.nth(1).and_then(|queues| queues.split_once(':'));
        match queues {
            // The server has not sent it yet.
            Some((sends, _)) if local == Some(port) => number(sends),
            // It has arrived, and waits to be read.
            Some((_, received)) if remote == Some(port) => number(received),
            _ => 0,
        }
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_and_not_committed_is_read_again() {
        let place = |fetched, passed, ends| Place { fetched, passed, ends };
        let before = place(1_000, 100, 3);
        assert_eq!(before.read_again(&place(1_500, 100, 3), 0), 500);
        assert_eq!(before.read_again(&place(1_500, 400, 3), 50), 150);
        assert_eq!(before.read_again(&place(1_500, 0, 4), 0), 0, "it had ended");
        assert_eq!(before.read_again(&place(1_000, 100, 3), 9), 0, "it had not begun");
    }

    #[test]
    fn bytes_that_wait_at_either_end_of_a_servers_connections_are_counted() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
               0: 0100007F:1F90 00000000:0000 0A 00000000:00000005 00:00000000 00000000     0\n\
               1: 0100007F:1F90 0100007F:C350 01 00000100:00000007 00:00000000 00000000     0\n\
               2: 0100007F:C350 0100007F:1F90 01 00000009:00000020 00:00000000 00000000     0\n\
               3: 0100007F:C351 0100007F:1F91 01 00000009:00000020 00:00000000 00000000     0\n";
        assert_eq!(waiting_bytes(table, 0x1f90), 0x100 + 0x20);
        assert_eq!(waiting_bytes("", 0x1f90), 0);
    }
}
