//! What was sent to an API that keeps no state for us: the memory of destinations behind the web.
//!
//! ```text
//!                    ┌────────────► failed     the target refused the row; it is sent again next time
//! planned ─► sent ───┤
//!  memory     file   └────────────► acked      its fingerprint becomes the current one
//! ```
//! A row's fingerprint becomes current only when the target has taken the row, so a refused row is
//! never mistaken for one that is there already. A checkpoint is a line of the same file.
//!
//! What a crash leaves: rows that were `sent` and not answered may or may not be in the target. The
//! next write is handed the same rows again and sends them again, under the same idempotency key if
//! they make up the same request; with a key or such a header the effect is the same. Rows that were
//! acked are not sent again. The file ends at the last whole line.

mod log;
mod rows;
mod write;

pub(crate) use log::{Ledger, handed_over, open_ledger};
#[cfg(test)]
use log::{ledger_path, progress};
pub(crate) use rows::check_types;
pub(crate) use write::{Fate, LedgerWriter, Op, OutRow, Problem, Sender, Sent, WriteRules};

#[cfg(test)]
mod tests;
