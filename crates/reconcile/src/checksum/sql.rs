//! The queries of a comparison in the words of each database.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Kind;
use crate::bisect::{KeySpace, Query, Range};

/// The function that a connection to SQLite has to be given: the [`super::hash32`] of a text, as an
/// integer; SQLite has no MD5 of its own.
pub const SQLITE_HASH_FUNCTION: &str = "flywheel_hash32";

/// A database's SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MariaDB and MySQL; the session's `time_zone` has to be `+00:00`.
    Mariadb,
    /// SQLite, with [`SQLITE_HASH_FUNCTION`]; timestamps are kept as ISO text in UTC.
    Sqlite,
    /// DataFusion: the lake.
    Datafusion,
}

/// A table to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableText {
    /// The parts of its name: catalog, schema, table.
    pub table: Vec<String>,
    /// The columns that identify a row.
    pub key: Vec<(String, Kind)>,
    /// The columns that are compared, the key's among them or not.
    pub columns: Vec<(String, Kind)>,
    /// A condition that both sides use, in this database's words.
    pub filter: Option<String>,
}

impl TableText {
    /// How the key is divided: by its value if it is one whole number, else by its digest.
    #[must_use]
    pub fn key_space(&self) -> KeySpace {
        match self.key.as_slice() {
            [(_, Kind::Integer)] => KeySpace::Integer,
            _ => KeySpace::Hashed,
        }
    }

    /// The statement that answers `query`.
    ///
    /// # Shape
    /// - [`Query::Bounds`]: `row_count, null_keys, key_min, key_max`, one row.
    /// - [`Query::Buckets`]: `bucket, row_count, hash_sum, key_min, key_max`, by bucket.
    /// - [`Query::Rows`]: `key_text, hash`, by key.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the table has no name, no key or no columns.
    pub fn sql(&self, dialect: Dialect, query: &Query) -> Result<String> {
        let name = self.check()?;
        let from: Vec<String> = self.table.iter().map(|part| dialect.name(part)).collect();
        let from = from.join(".");
        let position = self.position(dialect);
        let filter = |more: Option<&Range>| {
            let mut conditions = Vec::new();
            if let Some(filter) = &self.filter {
                conditions.push(format!("({filter})"));
            }
            if let Some(Range { low, high }) = more {
                conditions.push(format!("{position} >= {low} and {position} <= {high}"));
            }
            if conditions.is_empty() {
                return String::new();
            }
            format!(" where {}", conditions.join(" and "))
        };
        let hash = dialect.hash32(&dialect.row(&self.columns));
        Ok(match query {
            Query::Bounds => format!(
                "select count(*) as row_count, count(*) - count(k) as null_keys, \
                 min(k) as key_min, max(k) as key_max from (select {} as k from {from}{}) as r",
                self.bounds_key(dialect),
                filter(None)
            ),
            Query::Buckets { ranges } => {
                let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
                    return Err(Error::internal(format!("a query of no ranges of table {name}")));
                };
                let whole = Range { low: first.low, high: last.high };
                let mut bucket = String::from("case");
                for (index, range) in ranges.iter().enumerate().take(ranges.len() - 1) {
                    bucket.push_str(&format!(" when k <= {} then {index}", range.high));
                }
                if ranges.len() == 1 {
                    bucket.push_str(" when true then 0");
                }
                bucket.push_str(&format!(" else {} end", ranges.len() - 1));
                format!(
                    "select bucket, count(*) as row_count, sum(h) as hash_sum, min(k) as key_min, \
                     max(k) as key_max from (select {bucket} as bucket, k, h from \
                     (select {position} as k, {hash} as h from {from}{}) as r) as b \
                     group by bucket order by bucket",
                    filter(Some(&whole))
                )
            }
            Query::Rows { range } => format!(
                "select {} as key_text, {hash} as hash from {from}{} order by key_text",
                dialect.row(&self.key),
                filter(Some(range))
            ),
        })
    }

    /// The whole number by which rows are divided into ranges.
    fn position(&self, dialect: Dialect) -> String {
        match (self.key_space(), self.key.as_slice()) {
            (KeySpace::Integer, [(column, _)]) => dialect.name(column),
            _ => dialect.hash32(&dialect.row(&self.key)),
        }
    }

    /// The position, null where a part of the key is null.
    fn bounds_key(&self, dialect: Dialect) -> String {
        let position = self.position(dialect);
        if self.key_space() == KeySpace::Integer {
            return position;
        }
        let present: Vec<String> = self
            .key
            .iter()
            .map(|(column, _)| format!("{} is not null", dialect.name(column)))
            .collect();
        format!("case when {} then {position} end", present.join(" and "))
    }

    fn check(&self) -> Result<String> {
        let name = self.table.join(".");
        let problem = if self.table.is_empty() || self.table.iter().any(String::is_empty) {
            "has no name"
        } else if self.key.is_empty() {
            "has no key"
        } else if self.columns.is_empty() {
            "has no columns to compare"
        } else {
            return Ok(name);
        };
        Err(Error::invalid(format!("the table \"{name}\" {problem}"))
            .hint("Name the table, the columns that identify a row, and those to compare."))
    }
}

impl Dialect {
    /// A quoted identifier.
    #[must_use]
    pub fn name(self, name: &str) -> String {
        match self {
            Self::Mariadb => format!("`{}`", name.replace('`', "``")),
            _ => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A quoted text.
    #[must_use]
    pub fn text(self, text: &str) -> String {
        let text = text.replace('\'', "''");
        match self {
            Self::Mariadb => format!("'{}'", text.replace('\\', "\\\\")),
            _ => format!("'{text}'"),
        }
    }

    fn as_text(self, expression: &str) -> String {
        match self {
            Self::Postgres => format!("({expression})::text"),
            Self::Mariadb => format!("cast({expression} as char)"),
            Self::Sqlite => format!("cast({expression} as text)"),
            Self::Datafusion => format!("cast({expression} as varchar)"),
        }
    }

    /// The canonical text of some columns of a row.
    fn row(self, columns: &[(String, Kind)]) -> String {
        let null = self.text(super::NULL_TEXT);
        let cells: Vec<String> = columns
            .iter()
            .map(|(column, kind)| {
                format!("coalesce({}, {null})", self.cell(&self.name(column), *kind))
            })
            .collect();
        match (self, cells.as_slice()) {
            (_, [one]) => one.clone(),
            (Self::Sqlite, _) => cells.join(" || '|' || "),
            _ => format!("concat_ws('|', {})", cells.join(", ")),
        }
    }

    fn cell(self, column: &str, kind: Kind) -> String {
        match (kind, self) {
            // Digits that fill up a column, and the bytes of a BIT, are no part of the number.
            (Kind::Integer, Self::Mariadb) => self.as_text(&format!("cast({column} as signed)")),
            (Kind::Integer, _) => self.as_text(column),
            (Kind::Numeric { scale }, _) => self.numeric(column, scale),
            (Kind::Float { digits }, _) => self.numeric(column, digits),
            (Kind::Timestamp, _) => self.timestamp(column),
            // Of an infinite date to_char makes null, which is another value.
            (Kind::Date, Self::Postgres) => {
                self.finite(column, &format!("to_char({column}, 'YYYY-MM-DD')"))
            }
            // A date such as 0000-00-00 is none.
            (Kind::Date, Self::Mariadb) => format!(
                "case when month({column}) > 0 and day({column}) > 0 then \
                 date_format({column}, '%Y-%m-%d') end"
            ),
            (Kind::Date, Self::Sqlite) => format!("date({column})"),
            (Kind::Date, Self::Datafusion) => format!("cast(cast({column} as date) as varchar)"),
            (Kind::Bool, _) => {
                format!("case when {column} then 't' when not {column} then 'f' end")
            }
            (Kind::Nested, Self::Postgres) => {
                self.escaped(&self.as_text(&format!("pg_catalog.to_json({column})")))
            }
            // A cast takes the blanks from the end of a char(n), and adds a mask to an inet.
            (Kind::Text, Self::Postgres) => self.escaped(&format!(
                "case when {column} is not null and pg_catalog.pg_typeof({column}) in \
                 ('pg_catalog.bpchar'::regtype, 'pg_catalog.inet'::regtype) \
                 then pg_catalog.concat({column}) else {} end",
                self.as_text(column)
            )),
            (Kind::Text | Kind::Nested, _) => self.escaped(&self.as_text(column)),
            (Kind::Bytes, Self::Postgres | Self::Datafusion) => format!("encode({column}, 'hex')"),
            // As a text, a BIT has all of its bytes.
            (Kind::Bytes, Self::Mariadb) => format!("lower(hex(concat({column})))"),
            // hex(null) is an empty text in SQLite
            (Kind::Bytes, Self::Sqlite) => {
                format!("case when {column} is not null then lower(hex({column})) end")
            }
        }
    }

    /// A text in which no separator stands.
    fn escaped(self, text: &str) -> String {
        format!(
            "replace(replace({text}, {}, {}), '|', {})",
            self.text("\\"),
            self.text("\\\\"),
            self.text("\\|")
        )
    }

    fn numeric(self, column: &str, scale: u8) -> String {
        match self {
            Self::Postgres => format!("round(({column})::numeric, {scale})::text"),
            Self::Mariadb => format!("cast(cast({column} as decimal(65,{scale})) as char)"),
            // adding 0.0 turns -0.0 into 0.0
            Self::Sqlite => format!(
                "case when {column} is not null then \
                 printf('%.{scale}f', round({column}, {scale}) + 0.0) end"
            ),
            Self::Datafusion => format!("cast(cast({column} as decimal(38,{scale})) as varchar)"),
        }
    }

    /// The text `finite` of a date or moment of PostgreSQL, and `infinity` or `-infinity` of one that
    /// has none, so that it is a value like others, which no other database has.
    fn finite(self, column: &str, finite: &str) -> String {
        format!(
            "case when pg_catalog.isfinite({column}) then {finite} else {} end",
            self.as_text(column)
        )
    }

    fn timestamp(self, column: &str) -> String {
        match self {
            // A number of fixed digits holds no infinity.
            Self::Postgres => {
                self.finite(column, &format!("(extract(epoch from {column})::numeric(20,6))::text"))
            }
            Self::Mariadb => format!(
                "cast(cast(timestampdiff(microsecond, '1970-01-01 00:00:00', {column}) * 0.000001 \
                 as decimal(20,6)) as char)"
            ),
            Self::Sqlite => {
                let fraction = format!(
                    "case when instr({column}, '.') > 0 then cast(substr(rtrim(substr({column}, \
                     instr({column}, '.') + 1), 'Zz') || '000000', 1, 6) as integer) else 0 end"
                );
                let micros = format!(
                    "(cast(strftime('%s', substr({column}, 1, 19)) as integer) * 1000000 + {fraction})"
                );
                format!(
                    "case when {column} is not null then printf('%s%d.%06d', \
                     case when {micros} < 0 then '-' else '' end, abs({micros}) / 1000000, \
                     abs({micros}) % 1000000) end"
                )
            }
            Self::Datafusion => {
                let micros =
                    format!("cast(arrow_cast({column}, 'Timestamp(Microsecond, None)') as bigint)");
                let size = format!("case when {micros} < 0 then -{micros} else {micros} end");
                format!(
                    "case when {column} is not null then concat(case when {micros} < 0 then '-' \
                     else '' end, cast(({size}) / 1000000 as varchar), '.', \
                     lpad(cast(({size}) % 1000000 as varchar), 6, '0')) end"
                )
            }
        }
    }

    /// The first 32 bits of the MD5 digest of a text, as a whole number.
    fn hash32(self, text: &str) -> String {
        match self {
            Self::Postgres => format!("('x' || substr(md5({text}), 1, 8))::bit(32)::bigint"),
            Self::Mariadb => format!(
                "cast(conv(substr(md5(convert({text} using utf8mb4)), 1, 8), 16, 10) as unsigned)"
            ),
            Self::Sqlite => format!("{SQLITE_HASH_FUNCTION}({text})"),
            // no function reads hex digits as a number; md5 is computed once, as a common expression
            Self::Datafusion => {
                let digits: Vec<String> = (1..=8_u32)
                    .map(|at| {
                        let weight = 16_u64.pow(8 - at);
                        format!(
                            "(cast(strpos('0123456789abcdef', substr(md5({text}), {at}, 1)) as bigint) \
                             - 1) * {weight}"
                        )
                    })
                    .collect();
                format!("({})", digits.join(" + "))
            }
        }
    }
}
