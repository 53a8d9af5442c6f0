//! How the server does, as it tells the connection's user.

use std::collections::BTreeMap;

use flywheel_base::Result;
use mysql_async::Row;

use super::connection::{Connection, Server};
use crate::health::{Health, SLOW_S};

/// Seconds of a day: older servers keep their log for a number of days.
const DAY_S: f64 = 86_400.0;

/// Asks for it. Statements of other users are counted only for who has the privilege `PROCESS`.
pub(super) async fn health(server: &Server) -> Result<Health> {
    let mut connection = server.connect().await?;
    let version: Option<(String,)> = connection.first("SELECT VERSION()", ()).await?;
    let told = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'max_connections', 'gtid_binlog_pos', \
                'gtid_executed', 'binlog_expire_logs_seconds', 'expire_logs_days')";
    let settings: Vec<(String, Option<String>)> = connection.all(told, ()).await?;
    let settings: BTreeMap<String, String> =
        settings.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let open = "SHOW GLOBAL STATUS LIKE 'Threads_connected'";
    let open: Option<(String, String)> = connection.first(open, ()).await?;
    let sql = "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS UNSIGNED) \
               FROM information_schema.tables WHERE table_schema = DATABASE()";
    let size: Option<(u64,)> = connection.first(sql, ()).await?;
    let sql = format!(
        "SELECT CAST(COUNT(*) AS UNSIGNED), CAST(COALESCE(SUM(time >= {SLOW_S}), 0) AS UNSIGNED) \
         FROM information_schema.processlist WHERE command = 'Query' AND id <> CONNECTION_ID()"
    );
    let queries: Option<(u64, u64)> = connection.first(&sql, ()).await?;
    let logs = settings.get("log_bin").is_some_and(|value| value == "ON" || value == "1");
    let log_bytes = if logs { log_bytes(&mut connection).await? } else { None };
    connection.close().await;
    let place = ["gtid_binlog_pos", "gtid_executed"].into_iter();
    let mut place = place.filter_map(|name| settings.get(name)).filter(|text| !text.is_empty());
    Ok(Health {
        version: version.map(|(version,)| version),
        connections: open.and_then(|(_, value)| value.parse().ok()),
        connections_max: settings.get("max_connections").and_then(|value| value.parse().ok()),
        size_bytes: size.map(|(bytes,)| bytes),
        slots: Vec::new(),
        log_position: place.next().filter(|_| logs).cloned(),
        log_bytes,
        log_kept_s: kept_s(&settings).filter(|_| logs),
        active_queries: queries.map(|(active, _)| active),
        slow_queries: queries.map(|(_, slow)| slow),
    })
}

/// How large the kept files of the log are together; none for who may not ask.
async fn log_bytes(connection: &mut Connection) -> Result<Option<u64>> {
    match connection.all::<Row>("SHOW BINARY LOGS", ()).await {
        // A server may tell more of each file than name and size.
        Ok(files) => {
            let sizes = files.iter().filter_map(|file| file.get_opt::<u64, usize>(1)?.ok());
            Ok(Some(sizes.sum()))
        }
        Err(error) if connection.is_usable() => {
            tracing::debug!(source = "mysql", %error, "the size of the log is not told");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// How long the log is kept; none if for ever.
fn kept_s(settings: &BTreeMap<String, String>) -> Option<u64> {
    let number = |name: &str| settings.get(name).and_then(|value| value.parse::<f64>().ok());
    let seconds = number("binlog_expire_logs_seconds").filter(|seconds| *seconds > 0.0);
    let seconds = seconds.or_else(|| number("expire_logs_days").map(|days| days * DAY_S))?;
    // Whole seconds, as the text of a number that an `as` would cut off silently.
    format!("{seconds:.0}").parse::<u64>().ok().filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_log_is_kept_is_read_from_seconds_or_days() {
        let settings = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            kept_s(&pairs.collect())
        };
        let seconds = "binlog_expire_logs_seconds";
        assert_eq!(settings(&[(seconds, "2592000"), ("expire_logs_days", "0")]), Some(2_592_000));
        assert_eq!(settings(&[(seconds, "0"), ("expire_logs_days", "1.5")]), Some(129_600));
        assert_eq!(settings(&[(seconds, "0"), ("expire_logs_days", "0.000000")]), None);
        assert_eq!(settings(&[]), None);
    }
}
