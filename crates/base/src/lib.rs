//! The ground floor: errors, time, randomness, identity, limits and tasks.
//!
//! Everything here is free of Arrow and of the network, so that every other crate may depend on it
//! and its tests build in a second. Time, randomness and the environment enter the program only
//! through this crate ([`Clock`], [`Rng`], [`mod@env`]), which is what makes a replay possible.

pub mod calendar;
pub mod digest;
pub mod entropy;
pub mod env;
pub mod holiday;
pub mod quantity;
pub mod statement;
pub mod suggest;
pub mod task;

mod clock;
mod error;
mod gather;
mod quota;
mod rng;
mod secret;

pub use clock::{Clock, FixedClock, SystemClock, Timestamp};
pub use error::{Error, ErrorKind, Result};
pub use gather::{Gather, GatherLimits};
pub use quota::{QuotaExceeded, QuotaKind};
pub use rng::Rng;
pub use secret::Secret;
