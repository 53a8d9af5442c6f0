//! Customers in groups: by likeness (k-means), by value (RFM) and by where they stand (lifecycle).

pub mod kmeans;
pub mod lifecycle;
pub mod rfm;
pub mod seeds;

#[cfg(test)]
mod tests;
