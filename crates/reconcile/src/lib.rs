//! Two systems that hold the same records: keeping them alike, finding what belongs together, taking
//! them apart, and proving that they are equal.
//!
//! Everything here is pure: inputs in, what shall be done out. A driver elsewhere reads, writes and
//! stores, and hands the answers back. The same inputs give the same result to the last byte.

pub mod bisect;
pub mod checksum;
pub mod deletes;
pub mod document;
pub mod echo;
pub mod matching;
pub mod order;
pub mod planner;
pub mod record;
pub mod split;
pub mod sums;
pub mod three_way;
