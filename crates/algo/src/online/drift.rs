//! Drift: has the mean of a stream changed?
//!
//! [`adwin`] needs no idea of what a change looks like and says how far back the present reaches; [`page_hinkley`]
//! is cheaper still and follows a slow climb, but wants a threshold.

pub mod adwin;
pub mod page_hinkley;

#[cfg(test)]
mod tests;
