//! The seams to outside systems: sources that rows are read from, destinations that rows are written
//! into, actions that decisions leave by, calls of other systems that are signed, who people are by an identity provider,
//! and where traces and metrics go.
//!
//! A source hands over [`Page`]s: rows, the rows set aside, and the [`Position`] that is true once
//! both are committed. A destination commits rows and position in one act. An action takes deliveries
//! and says of each what became of it. Nothing here knows the warehouse, the project files or the
//! schedule.

pub mod action;
pub mod destination;
pub mod health;
pub mod identity;
pub mod kafka;
pub mod mapping;
pub mod signed;
pub mod source;
pub mod telemetry;

mod absent;
mod blocking;
#[cfg(test)]
mod certified;
mod column;
mod connections;
mod driver;
mod feed;
mod files;
mod fit;
mod handover;
mod http;
mod journal;
mod keyset;
mod ledger;
mod marks;
mod missing;
mod objects;
mod output;
mod page;
mod postgres;
mod process;
mod queue;
mod records;
mod stop;
mod throttle;
mod upsert;
mod workbook;

pub use absent::{ABSENT, Absent};
pub use action::{
    ACTIONS, Action, ActionConfig, ActionContext, ActionEntry, Attachment, Delivery,
    NamedConnection, Outcome, Report,
};
pub use column::{ColumnType, DECIMAL_DIGITS_MAX, DeclaredColumn, KnownTypes};
pub use connections::Connections;
pub use destination::{
    DESTINATIONS, Destination, DestinationConfig, DestinationContext, DestinationEntry,
};
pub use files::{NewColumns, mended};
pub use http::{Auth, Limits, is_private_place};
pub use journal::committed_bytes as journal_committed_bytes;
pub use journal::erase::{Erasing, erase as erase_journal};
pub use journal::events::{Appended, JournalEvents};
pub use journal::newest::{
    JournalMessage, between as journal_between, newest as journal_newest,
    offsets as journal_offsets,
};
pub use journal::topics::JournalTopics;
pub use mapping::{
    Evaluate, Keep, KeptValue, MappedColumn, Mapping, MappingConfig, ROW_MASKED, TypedMask,
    check_clean, check_mask, judge,
};
pub use objects::{Credentials, FilePlace};
pub use output::replace_file;
pub use page::{
    DELETED_COLUMN, FILE_COLUMN, LINE_COLUMN, Notice, Origin, Page, Position, RAW_BYTES_MAX,
    Rejected,
};
pub use postgres::{PostgresDriver, PostgresServer};
pub use source::{
    ChangesPage, ChangesRequest, PAGE_BYTES_DEFAULT, PAGE_ROWS_DEFAULT, ReadMode, ReadRequest,
    SOURCES, Source, SourceConfig, SourceContext, SourceEntry, StreamInfo,
};
pub use throttle::{Rates, Throttle};
pub use upsert::{UpsertRequest, Upserts};
pub use workbook::{CellKind, Sheet, workbook};
