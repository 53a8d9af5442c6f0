//! From scores to effects: learners, decisions, actions, outcomes, lift.
//!
//! ```text
//! audience ─► choose ─► system.decisions ─► outbox ─► action ─► system.actions
//!                                │
//!             events ─► outcome ─┴─► system.outcomes ─► lift ─► system.lift
//! ```
//! Invariants: a decision is a committed row before anything leaves; its id, draw and propensity
//! follow from policy, moment and unit alone, so a turn that is cut off and run again decides the
//! same; units of the holdout are decided for like all others and get nothing; every row of every
//! table here is written once, whatever is killed when.

pub mod act;
pub mod artifact;
pub mod attribution;
pub mod canary;
pub mod challenge;
pub mod champion;
pub mod conclude;
pub mod decide;
pub mod drift;
pub mod evaluate;
pub mod experiment;
pub mod feedback;
pub mod learner;
pub mod lift;
pub mod outcome;
pub mod pin;
pub mod preview;
pub mod reported;
pub mod serving;
pub mod table;
pub mod verify;
pub mod withheld;

mod approval;
mod choose;
mod constraint;
mod context;
mod frame;
mod limit;
mod log;

pub use context::Context;
