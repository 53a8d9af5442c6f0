//! How the server does, as its statistics tell any user.

use flywheel_base::Result;

use crate::health::{Health, SLOW_S, Slot};
use crate::postgres::{Server, field};

/// Where the log ends; a standby tells how far it has come.
const END: &str = "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                   ELSE pg_catalog.pg_current_wal_lsn() END";

/// Asks for it. Statements of other users are counted only for members of `pg_monitor`.
pub(super) async fn health(server: &Server) -> Result<Health> {
    let session = server.connect().await?;
    let under_way = "FROM pg_catalog.pg_stat_activity WHERE state = 'active' \
                     AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()";
    let sql = format!(
        "SELECT pg_catalog.current_setting('server_version')::text, \
         (SELECT sum(numbackends) FROM pg_catalog.pg_stat_database)::bigint, \
         pg_catalog.current_setting('max_connections')::bigint, \
         pg_catalog.pg_database_size(pg_catalog.current_database())::bigint, \
         (SELECT count(*) {under_way})::bigint, \
         (SELECT count(*) {under_way} AND query_start <= pg_catalog.clock_timestamp() - interval '{SLOW_S} seconds')::bigint, \
         ({END})::text"
    );
    let row = session.row(&sql, &[]).await?;
    let slots = format!(
        "SELECT slot_name::text, active, pg_catalog.pg_wal_lsn_diff(place.at, restart_lsn)::bigint, \
         pg_catalog.pg_wal_lsn_diff(place.at, coalesce(confirmed_flush_lsn, restart_lsn))::bigint \
         FROM pg_catalog.pg_replication_slots, (SELECT {END} AS at) AS place \
         ORDER BY 3 DESC NULLS LAST, 1"
    );
    let mut health = Health {
        version: field(&row, 0)?,
        connections: count(field(&row, 1)?),
        connections_max: count(field(&row, 2)?),
        size_bytes: count(field(&row, 3)?),
        active_queries: count(field(&row, 4)?),
        slow_queries: count(field(&row, 5)?),
        log_position: field(&row, 6)?,
        ..Health::default()
    };
    for row in session.rows(&slots, &[]).await? {
        health.slots.push(Slot {
            name: field(&row, 0)?,
            active: field(&row, 1)?,
            kept_bytes: count(field(&row, 2)?),
            behind_bytes: count(field(&row, 3)?),
        });
    }
    Ok(health)
}

/// A slot that was read just now can be ahead of what was asked before.
fn count(value: Option<i64>) -> Option<u64> {
    value.map(|value| u64::try_from(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use flywheel_base::ErrorKind;
    use serde_json::json;

    use crate::postgres::testing::Database;
    use crate::source::contract::now;
    use crate::source::{SourceContext, SourceEntry};

    #[tokio::test]
    async fn a_server_tells_what_a_slot_keeps_of_its_log() {
        let database = Database::new("CREATE TABLE t (n int PRIMARY KEY);");
        let ctx =
            SourceContext { base_dir: ".".into(), now: now(), connections: Default::default() };
        let source =
            |connection| SourceEntry::named("postgres").unwrap().build(connection, &ctx).unwrap();
        let slot = format!("kept_{}", database.name.replace('-', "_"));
        database.run(&format!("SELECT pg_create_physical_replication_slot('{slot}', true);"));
        database.run("INSERT INTO t SELECT generate_series(1, 20000);");
        let health = source(database.connection()).health().await.unwrap().unwrap();
        database.run(&format!("SELECT pg_drop_replication_slot('{slot}');"));
        let kept = health.slots.iter().find(|one| one.name == slot).unwrap();
        assert!(!kept.active);
        assert!(kept.kept_bytes.unwrap() > 100_000, "{kept:?}");
        assert!(kept.behind_bytes.unwrap() > 100_000, "{kept:?}");
        assert!(health.connections.unwrap() >= 1 && health.connections_max.unwrap() > 1);
        assert!(health.size_bytes.unwrap() > 100_000 && health.version.is_some());
        let mut away = database.connection();
        away["port"] = json!(1);
        let error = source(away).health().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }
}
