//! What went wrong on a server, as an error that says what to do.

use flywheel_base::{Error, ErrorKind};
use tokio_postgres::error::SqlState;

use super::Server;

/// Turns an error of the driver into one of ours.
pub(crate) fn fail(server: &Server, error: tokio_postgres::Error) -> Error {
    let Some(state) = error.code().cloned() else { return transport(server, error) };
    let text = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
    refusal(server, &state, &text).caused_by(error)
}

/// The error for what the server answered.
pub(crate) fn refusal(server: &Server, state: &SqlState, text: &str) -> Error {
    let name = &server.name;
    let user = &server.user;
    match state {
        s if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
            .contains(s) =>
        {
            Error::new(ErrorKind::Denied, format!("{name} refuses the user \"{user}\""))
                .hint("Check `user` and `password`, and the server's pg_hba.conf.")
        }
        s if *s == SqlState::INVALID_CATALOG_NAME => {
            Error::not_found(format!("{name} does not exist"))
                .hint("Check the connection's `database`; `psql -l` lists them.")
        }
        s if *s == SqlState::INSUFFICIENT_PRIVILEGE => {
            Error::new(ErrorKind::Denied, format!("the user \"{user}\" may not do this: {text}"))
                .hint(format!("Let the owner GRANT the right to \"{user}\"."))
        }
        s if *s == SqlState::READ_ONLY_SQL_TRANSACTION => {
            Error::new(ErrorKind::Denied, format!("{name} is read-only"))
                .hint("Connect to the primary server.")
        }
        s if *s == SqlState::QUERY_CANCELED && text.contains("statement timeout") => {
            Error::exhausted(format!("{name} stopped a statement that took too long"))
                .hint("Raise `statement_timeout` of the connection or of the role.")
        }
        s if [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
        ]
        .contains(s) =>
        {
            Error::new(ErrorKind::Conflict, format!("another transaction is in the way: {text}"))
                .hint("It is tried again; see pg_locks if it stays so.")
        }
        s if *s == SqlState::TOO_MANY_CONNECTIONS => {
            Error::unavailable(format!("{name} has no free connection"))
                .hint("Raise max_connections, or lower the stream's `parallel`.")
        }
        s if *s == SqlState::DISK_FULL => Error::exhausted(format!("the disk of {name} is full"))
            .hint("Free space there; nothing half-written is visible."),
        s if [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN].contains(s) => {
            Error::not_found(format!("{name}: {text}"))
        }
        s => match s.code().get(..2) {
            Some("08" | "57") => Error::unavailable(format!("{name} ended the connection: {text}"))
                .hint("It is tried again; see the server's log."),
            Some("53" | "54") => Error::exhausted(format!("{name} has reached a limit: {text}")),
            Some("XX") => Error::corrupt(format!("{name} reports damage: {text}"))
                .hint("See the server's log before anything else."),
            _ => Error::invalid(format!("{name} refuses a statement: {text}")),
        },
    }
}

/// An error of the network, of TLS or of the protocol.
fn transport(server: &Server, error: tokio_postgres::Error) -> Error {
    let name = &server.name;
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let text = error.to_string();
    let made = if cause.contains("does not support TLS") {
        Error::invalid(format!("{name} does not offer TLS"))
            .hint("Turn on `ssl` in the server's postgresql.conf, or set `tls: disable`.")
    } else if text.contains("TLS") {
        Error::new(ErrorKind::Denied, format!("{name} is not who it should be, or TLS fails"))
            .hint("Set `ca_file` to the authority of its certificate, and `host` to a name in it.")
    } else if text.contains("authentication") || text.contains("invalid configuration") {
        Error::new(ErrorKind::Denied, format!("{name} wants other credentials: {cause}"))
            .hint("Set `password` by reference: ${env:PG_PASSWORD}.")
    } else if text.contains("connecting") {
        Error::unavailable(format!("{name} cannot be reached"))
            .hint("Check `host` and `port`, and whether the server runs.")
    } else {
        Error::unavailable(format!("the connection to {name} broke off"))
            .hint("It is tried again from the last commit.")
    };
    made.caused_by(error)
}

/// Whether an error is the fault of a row and not of the system: data exceptions and violated
/// constraints.
pub(crate) fn is_data_error(error: &tokio_postgres::Error) -> bool {
    let class = error.code().and_then(|state| state.code().get(..2));
    // 21: ON CONFLICT cannot affect a row twice; 44: a view's check option; P0: a trigger's RAISE.
    matches!(class, Some("22" | "23" | "44" | "P0"))
        || error.code().is_some_and(|state| {
            // A row wider than a page or an index entry is the row's fault, too.
            state.code() == "54000"
        })
}
