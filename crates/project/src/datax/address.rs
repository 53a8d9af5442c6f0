//! JDBC addresses, and where a connection to a database comes from.

use flywheel_base::Result;
use serde_json::json;

use super::job::At;
use super::{Connection, plain_name};

/// Reads `jdbcUrl`, `username` and `password` of a plugin; one side of the job for one server.
pub(super) fn database(parameter: &At<'_>, url: &At<'_>, kind: &'static str) -> Result<Connection> {
    let text = url.text()?;
    let scheme = if kind == "mysql" { "mysql" } else { "postgresql" };
    let known = |rest: &str| {
        let schemes: &[&str] =
            if kind == "mysql" { &["mysql://", "mariadb://"] } else { &["postgresql://"] };
        schemes.iter().find_map(|scheme| rest.strip_prefix(scheme)).map(str::to_owned)
    };
    let Some(rest) = text.trim().strip_prefix("jdbc:").and_then(known) else {
        let hint = format!("Write jdbc:{scheme}://host:port/database.");
        return Err(url.wrong("is no address of this kind of server", &hint));
    };
    let (place, more) = rest.split_once('?').unwrap_or((&rest, ""));
    if !more.is_empty() {
        url.note(
            "what stands after the ? was not carried over; see `tls` and the time-outs of the \
             connection",
        );
    }
    let (server, database) = place.split_once('/').unwrap_or((place, ""));
    if server.contains(',') || server.contains('@') || server.is_empty() {
        return Err(url.wrong(
            "does not name one server",
            "Write one host and port; user and password have their own keys.",
        ));
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !server.ends_with(']') => {
            let port: u16 = port.parse().map_err(|_| {
                url.wrong("has a port that is no number", "Write jdbc:…//host:port/database.")
            })?;
            (host, Some(port))
        }
        _ => (server, None),
    };
    if database.is_empty() {
        return Err(url.wrong("names no database", "Write jdbc:…//host:port/database."));
    }
    let mut options = vec![("host", json!(host))];
    options.extend(port.map(|port| ("port", json!(port))));
    options.push(("database", json!(database)));
    if let Some(user) = parameter.key("username") {
        options.push(("user", json!(user.text()?)));
    }
    let password = match parameter.key("password") {
        Some(password) => !password.text()?.is_empty(),
        None => false,
    };
    if password && let Some(at) = parameter.key("password") {
        at.note("is a reference in the connection: set the variable before the first run");
    }
    let name = plain_name(&format!("{kind}_{database}"));
    Ok(Connection { kind, name, options, password })
}
