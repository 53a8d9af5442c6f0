//! What `log` promises.
