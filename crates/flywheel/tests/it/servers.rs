//! Real servers, started once for all tests that need them; each test has a database of its own.

use std::sync::OnceLock;

use flywheel_testkit::{Kafka, MariaDb, Postgres};

/// PostgreSQL, with room for the logs that tests follow.
pub(crate) fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER
        .get_or_init(|| Postgres::start_with(&["max_replication_slots=60", "max_connections=120"]))
}

/// MariaDB.
pub(crate) fn maria() -> &'static MariaDb {
    static SERVER: OnceLock<MariaDb> = OnceLock::new();
    SERVER.get_or_init(MariaDb::start)
}

/// Apache Kafka; each test has topics of its own.
pub(crate) fn kafka() -> &'static Kafka {
    static SERVER: OnceLock<Kafka> = OnceLock::new();
    SERVER.get_or_init(Kafka::start)
}
