//! The SQL of the engines in which checks run.

use flywheel_base::{Error, Result, Timestamp, statement};

/// The engine that computes a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The lake's own engine; also for files and web APIs, whose rows are staged there.
    Lake,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// That of tables behind a connector; none if it has no SQL, so that its rows have to be staged.
    #[must_use]
    pub fn of(connector: &str) -> Option<Self> {
        match connector {
            "postgres" => Some(Self::Postgres),
            "mysql" => Some(Self::Mysql),
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Lake => "lake",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    /// A query without the sign of its end and what only comments after it say.
    #[must_use]
    pub fn bare(self, query: &str) -> &str {
        match self {
            Self::Mysql => statement::bare_mysql(query),
            _ => statement::bare(query),
        }
    }

    /// A quoted name.
    #[must_use]
    pub fn quoted(self, name: &str) -> String {
        match self {
            // SQLite takes an unknown name in double quotes for a text, and would find nothing wrong.
            Self::Mysql | Self::Sqlite => format!("`{}`", name.replace('`', "``")),
            _ => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A quoted table, `schema.name` or `name`.
    #[must_use]
    pub fn table(self, name: &str) -> String {
        match self {
            // SQLite has attached databases, not schemas; a point may be a part of the name.
            Self::Sqlite => self.quoted(name),
            _ => name.split('.').map(|part| self.quoted(part)).collect::<Vec<_>>().join("."),
        }
    }

    /// A text.
    #[must_use]
    pub fn literal(self, text: &str) -> String {
        let text = text.replace('\'', "''");
        match self {
            Self::Mysql => format!("'{}'", text.replace('\\', "\\\\")),
            _ => format!("'{text}'"),
        }
    }

    pub(super) fn boolean(self, value: bool) -> &'static str {
        match (self, value) {
            (Self::Sqlite | Self::Mysql, true) => "1",
            (Self::Sqlite | Self::Mysql, false) => "0",
            (_, true) => "TRUE",
            (_, false) => "FALSE",
        }
    }

    /// The column as text, compared letter by letter.
    pub(super) fn text(self, column: &str) -> String {
        match self {
            Self::Lake => format!("CAST({column} AS varchar)"),
            Self::Postgres | Self::Sqlite => format!("CAST({column} AS text)"),
            // MySQL compares text without regard to capitals unless it is told otherwise.
            Self::Mysql => {
                format!("CAST({column} AS char CHARACTER SET utf8mb4) COLLATE utf8mb4_bin")
            }
        }
    }

    /// How many characters a text has.
    pub(super) fn length(self, text: &str) -> String {
        match self {
            Self::Sqlite => format!("length({text})"),
            _ => format!("char_length({text})"),
        }
    }

    /// That a text does not match a regular expression.
    pub(super) fn unlike(self, text: &str, pattern: &str) -> Result<String> {
        let pattern = self.literal(pattern);
        match self {
            Self::Lake => Ok(format!("NOT regexp_like({text}, {pattern})")),
            Self::Postgres => Ok(format!("{text} !~ {pattern}")),
            Self::Mysql => Ok(format!("{text} NOT REGEXP {pattern}")),
            Self::Sqlite => Err(Error::invalid("SQLite has no regular expressions for `pattern`")
                .hint("List the values or lengths that are valid, or check the landed table.")),
        }
    }

    /// The mean; SQLite and DataFusion give a float, the others an exact number, all of them of whole
    /// numbers, too.
    pub(super) fn average(self, column: &str) -> String {
        match self {
            Self::Lake => format!("avg(CAST({column} AS double))"),
            _ => format!("avg({column})"),
        }
    }

    /// That `column` lies more than `delay_s` seconds after `earlier`.
    pub(super) fn later(self, column: &str, earlier: &str, delay_s: i64) -> String {
        match self {
            Self::Lake => format!(
                "CAST({column} AS timestamp) > CAST({earlier} AS timestamp) + INTERVAL '{delay_s} seconds'"
            ),
            Self::Postgres => format!("{column} > {earlier} + INTERVAL '{delay_s} seconds'"),
            Self::Mysql => format!("{column} > {earlier} + INTERVAL {delay_s} SECOND"),
            Self::Sqlite => {
                format!("strftime('%s', {column}) - strftime('%s', {earlier}) > {delay_s}")
            }
        }
    }

    /// That `column` lies before a moment, in seconds since 1970.
    pub(super) fn before(self, column: &str, moment_s: i64) -> String {
        let moment = Timestamp::from_micros(moment_s.saturating_mul(1_000_000)).datetime();
        let moment = moment.format("%Y-%m-%d %H:%M:%S");
        match self {
            Self::Lake => format!("CAST({column} AS timestamp) < TIMESTAMP '{moment}'"),
            Self::Postgres => {
                format!("CAST({column} AS timestamptz) < TIMESTAMPTZ '{moment}+00'")
            }
            Self::Mysql => format!("{column} < TIMESTAMP '{moment}'"),
            Self::Sqlite => format!("strftime('%s', {column}) + 0 < {moment_s}"),
        }
    }
}
