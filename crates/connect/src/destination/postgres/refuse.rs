//! Rows that the server refuses: which column, and why, without the row's values.

use flywheel_base::Result;
use tokio_postgres::error::DbError;

use super::target::Target;
use crate::destination::Refused;
use crate::postgres::{Session, field};

/// What an error of the server says about a row.
pub(super) async fn refused(
    session: &Session,
    target: Option<&Target>,
    row: usize,
    error: &tokio_postgres::Error,
) -> Result<Refused> {
    let Some(error) = error.as_db_error() else {
        let (code, reason) = ("refused".to_owned(), error.to_string());
        return Ok(Refused { row, column: None, code, reason });
    };
    let (code, what) = words(error.code().code());
    let mut column = error.column().map(str::to_owned);
    let mut reason = format!("{what} (SQLSTATE {})", error.code().code());
    if let Some(constraint) = error.constraint() {
        reason = format!("{what}: \"{constraint}\" (SQLSTATE {})", error.code().code());
        if let (None, Some(target)) = (&column, target) {
            column = constrained(session, target, constraint).await?;
        }
    }
    Ok(Refused { row, column, code: code.to_owned(), reason })
}

/// A kebab-case code and a sentence for an SQLSTATE.
fn words(state: &str) -> (&'static str, &'static str) {
    match state {
        "22001" => ("too-long", "the text is longer than the column"),
        "22003" | "22008" | "22015" => ("out-of-range", "the column cannot hold this value"),
        "22P02" | "22007" | "22018" | "22030" | "22032" | "22023" => {
            ("type-mismatch", "not a value of the column's type")
        }
        "22021" | "22P05" => ("invalid-text", "a text that the database cannot store"),
        "23502" => ("null-value", "no value in a column that needs one"),
        "23505" => ("unique-violation", "a row with the same key is there already"),
        "23503" => ("foreign-key-violation", "the row it refers to is not there"),
        "23514" | "44000" => ("check-violation", "a check of the table fails"),
        "23P01" => ("exclusion-violation", "it overlaps a row that is there"),
        "54000" => ("too-long", "the row or a key of it is too large"),
        state if state.starts_with("P0") => ("raised", "a trigger of the table refuses it"),
        _ => ("refused", "the database refuses it"),
    }
}

/// The column of a constraint or unique index, if it has only one.
async fn constrained(session: &Session, target: &Target, name: &str) -> Result<Option<String>> {
    let sql = "
        SELECT array_agg(a.attname::text) FROM (
            SELECT unnest(conkey) AS num FROM pg_catalog.pg_constraint
            WHERE conrelid = $1 AND conname = $2
            UNION
            SELECT unnest(i.indkey::int2[]) FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid = $1 AND c.relname = $2) AS k
        JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attnum = k.num";
    let row = session.row(sql, &[&target.oid, &name]).await?;
    let names: Option<Vec<String>> = field(&row, 0)?;
    Ok(match names.as_deref() {
        Some([only]) => Some(only.clone()),
        _ => None,
    })
}

/// The column that the server names in the context of a failed `COPY`: `… column note`.
pub(super) fn copied_column(error: &DbError) -> Option<String> {
    let context = error.where_()?;
    let (_, rest) = context.split_once(", column ")?;
    let end = rest.find([':', '\n']).unwrap_or(rest.len());
    rest.get(..end).map(str::to_owned)
}
