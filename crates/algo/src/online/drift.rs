//! Drift: has the mean of a stream changed?
//!
//! [`adwin`] needs no idea of what a change looks like and says how far back the present reaches; [`page_hinkley`]
//! is cheaper still and follows a slow climb, but wants a threshold. [`watch`] puts both ideas to work where there is one
//! value a turn: it tells whether a learner's measure gets worse.

pub mod adwin;
pub mod page_hinkley;
pub mod watch;

#[cfg(test)]
mod tests;
