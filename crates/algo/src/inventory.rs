//! Stock decisions from forecasts: when to order, and how much.

pub mod abc;
pub mod calibrate;
pub mod demand;
pub mod pool;
pub mod reorder;

#[cfg(test)]
mod tests;
