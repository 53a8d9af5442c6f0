//! JSON records of web APIs as pages: what all sources of records share.
//!
//! ```text
//! fetch ─► sample of the first answers ─► columns ─► rows, rejected rows ─► pages
//! ```
//! Types are settled once, from the first thousand records, and kept in the position. A field that
//! was only ever `null` becomes a column when it first has a value, or text at the end. Nested
//! objects and lists land as `json` text; a column declared by its path, `address.city`, opens them.

mod cursor;
mod read;
mod table;

pub(crate) use cursor::{Cursor, Rank};
pub(crate) use read::{Fetch, Fetched, RecordStream, records};
pub(crate) use table::RecordTable;
