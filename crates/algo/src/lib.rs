//! Numbers in, numbers out: every algorithm of the product, one file each.
//!
//! Nothing here does I/O, knows Arrow or is async. Time and randomness come in as arguments.

pub mod advice;
pub mod bandit;
pub mod canary;
pub mod forecast;
pub mod hours;
pub mod inventory;
pub mod lifetime;
pub mod lookalike;
pub mod offpolicy;
pub mod online;
pub mod onnx;
pub mod recommend;
mod regression;
pub mod score;
pub mod search;
pub mod segment;
pub mod sketch;
pub mod stats;
pub mod uplift;
mod wide;
