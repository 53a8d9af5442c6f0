//! Probabilities and numbers learned from all labelled examples at once: who will leave, what an order will be worth.
//!
//! [`trees`] are boosted decision trees, which find thresholds and interactions by themselves; [`logistic`] is one weight
//! for each column. [`encode`] turns columns of numbers and texts into rows for both, and [`quality`] says on rows that a
//! model has not seen what it is worth. Where examples come one after the other and the model has to follow, see
//! [`crate::online`].

pub mod encode;
pub mod logistic;
pub mod quality;
pub mod trees;

#[cfg(test)]
mod tests;
