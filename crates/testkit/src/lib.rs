//! Real servers for tests: started in a temporary folder on a free port of the loopback interface,
//! gone when the value is dropped or the test process dies.
//!
//! One server serves a whole test binary (`static SERVER: OnceLock<Postgres>`); each test makes a
//! database of its own in it. A server that cannot be started panics with what to install.
#![expect(clippy::panic, reason = "test code: a test without its server has to fail loudly")]

mod identity;
mod kafka;
mod leaks;
mod mariadb;
mod postgres;
mod process;

pub use identity::{Bend, CLIENT_ID, CLIENT_SECRET, IdentityProvider};
pub use kafka::Kafka;
pub use leaks::shows;
pub use mariadb::MariaDb;
pub use postgres::{Certificate, Postgres};
pub use process::{Program, Watched, free_port, wait_for};
