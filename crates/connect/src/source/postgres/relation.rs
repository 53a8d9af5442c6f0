//! What is read: a table, view or query, its columns, and the key that orders it.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, statement, suggest};

use super::PostgresStream;
use super::kind::{Reading, Wire};
use crate::column::{ColumnType, DeclaredColumn};
use crate::files::column_names;
use crate::page::Column;
use crate::postgres::{
    PgType, STAGING_SUFFIX, STATE_TABLE, Session, field, literal, quoted, types,
};

/// The best key of a table: the primary key, else the first unique index without missing values.
const KEY: &str = "
    SELECT k.names FROM (
        SELECT i.indisprimary, i.indexrelid,
               array_agg(a.attname::text ORDER BY u.ord) AS names, bool_and(a.attnotnull) AS full
        FROM pg_catalog.pg_index i
        CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS u(num, ord)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.num
        WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid
          AND i.indpred IS NULL AND i.indexprs IS NULL AND u.ord <= i.indnkeyatts
        GROUP BY i.indisprimary, i.indexrelid) k
    WHERE k.full ORDER BY k.indisprimary DESC, k.indexrelid LIMIT 1";

/// Whether a column is numbered by the server.
const GROWING: &str = "
    SELECT a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false)
    FROM pg_catalog.pg_attribute a
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1 AND a.attname = $2";

/// One column of what is read.
#[derive(Clone, Debug)]
pub(super) struct SourceColumn {
    /// Its name in SQL.
    pub(super) name: String,
    /// How it is read.
    pub(super) reading: Reading,
    /// Its type in SQL, for values written out.
    pub(super) sql_type: String,
    /// Its type in the catalog.
    pub(super) pg: PgType,
    /// The column it becomes.
    pub(super) column: Column,
    /// What it would become if it were not declared.
    pub(super) natural: ColumnType,
    /// Whether the table promises that it has a value.
    pub(super) not_null: bool,
    /// Its number in the table, which stays whatever it is called; none in a query.
    pub(super) number: Option<i16>,
}

/// What the catalog knows of a table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Its number.
    pub(super) oid: u32,
    /// Its schema.
    pub(super) schema: String,
    /// Its name.
    pub(super) name: String,
    /// `r` for a table, `p` partitioned, `v` view, `m` materialized view, `f` foreign.
    pub(super) form: String,
    /// About how many rows it has, if it was ever counted.
    pub(super) rows: Option<u64>,
    /// How many bytes it has.
    pub(super) bytes: u64,
    /// How many blocks of its file the last count saw.
    pub(super) blocks: u64,
}

/// A table, view or query, ready to be read.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    /// Its name in messages.
    pub(super) name: String,
    /// Its name as the origin of rows.
    pub(super) origin: String,
    /// What stands behind FROM.
    pub(super) from: String,
    /// The name of its rows there.
    rows_name: String,
    /// Its columns.
    pub(super) columns: Vec<SourceColumn>,
    /// The places of the columns that identify a row; none if there is no key.
    pub(super) key: Vec<usize>,
    /// Whether the key is one whole number that the server counts up.
    pub(super) growing_key: bool,
    /// The table, unless a query is read.
    pub(super) table: Option<Table>,
}

/// A column before its type is known.
struct RawColumn {
    name: String,
    type_oid: u32,
    modifier: i32,
    not_null: bool,
    number: Option<i16>,
}

impl Relation {
    /// Finds out about the table or query of a stream.
    pub(super) async fn of(
        session: &Session,
        stream: &PostgresStream,
        declared: &[DeclaredColumn],
    ) -> Result<Self> {
        let mut relation = match (&stream.table, &stream.query) {
            (Some(table), None) => Self::table(session, table, declared).await?,
            (None, Some(query)) => Self::query(session, query, declared).await?,
            _ => {
                return Err(Error::invalid("a postgres stream reads either a table or a query")
                    .hint("Set `table`, or `query`, not both."));
            }
        };
        // A column that is declared and not there is not a table that is not there.
        let wrong = |error: Error| {
            let hint = error.hint_text().unwrap_or_default().to_owned();
            Error::invalid(error.message().to_owned()).hint(hint)
        };
        for column in declared {
            if let Err(error) = relation.place(&column.name)
                && !column.may_be_gone()
            {
                return Err(wrong(error));
            }
        }
        if !stream.primary_key.is_empty() {
            let key = stream.primary_key.iter().map(|name| relation.place(name));
            relation.key = key.collect::<Result<Vec<usize>>>().map_err(wrong)?;
            relation.growing_key = false;
        }
        Ok(relation)
    }

    async fn table(session: &Session, name: &str, declared: &[DeclaredColumn]) -> Result<Self> {
        let table = find_table(session, name).await?;
        let sql = "SELECT attname::text, atttypid, atttypmod, attnotnull, attnum \
                   FROM pg_catalog.pg_attribute \
                   WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let mut raw = Vec::new();
        for row in session.rows(sql, &[&table.oid]).await? {
            raw.push(RawColumn {
                name: field(&row, 0)?,
                type_oid: field(&row, 1)?,
                modifier: field(&row, 2)?,
                not_null: field(&row, 3)?,
                number: Some(field(&row, 4)?),
            });
        }
        let names: Vec<String> = raw.iter().map(|column| column.name.clone()).collect();
        let mut relation = Self {
            name: format!("table \"{}.{}\"", table.schema, table.name),
            origin: format!("{}.{}", table.schema, table.name),
            from: format!("{}.{}", quoted(&table.schema), quoted(&table.name)),
            rows_name: quoted(&table.name),
            columns: land(session, raw, &names, declared).await?,
            key: Vec::new(),
            growing_key: false,
            table: None,
        };
        if let Some(row) = session.rows(KEY, &[&table.oid]).await?.first() {
            let names: Vec<String> = field(row, 0)?;
            relation.key = names.iter().map(|name| relation.place(name)).collect::<Result<_>>()?;
        }
        if let [only] = relation.key.as_slice()
            && let Some(column) = relation.columns.get(*only)
            && matches!(column.natural, ColumnType::Int32 | ColumnType::Int64)
        {
            let row = session.row(GROWING, &[&table.oid, &column.name]).await?;
            relation.growing_key = field(&row, 0)?;
        }
        relation.table = Some(table);
        Ok(relation)
    }

    async fn query(session: &Session, query: &str, declared: &[DeclaredColumn]) -> Result<Self> {
        let query = statement::bare(query);
        // The line break ends a comment at the end of the query.
        let sql = format!("SELECT * FROM ({query}\n) AS q");
        let statement = session.prepare(&sql).await?.map_err(|error| {
            crate::postgres::fail(session.server(), error)
                .context("the query of the stream")
                .hint("The query has to be one SELECT; try it in psql.")
        })?;
        let mut names = Vec::new();
        let mut raw = Vec::new();
        for (at, column) in statement.columns().iter().enumerate() {
            names.push(column.name().to_owned());
            raw.push(RawColumn {
                // Two columns of a query can have the same name.
                name: format!("c{}", at + 1),
                type_oid: column.type_().oid(),
                modifier: column.type_modifier(),
                not_null: false,
                number: None,
            });
        }
        let aliases: Vec<String> = raw.iter().map(|column| quoted(&column.name)).collect();
        Ok(Self {
            name: "the query".to_owned(),
            origin: "query".to_owned(),
            from: format!("({query}\n) AS q({})", aliases.join(", ")),
            rows_name: "q".to_owned(),
            columns: land(session, raw, &names, declared).await?,
            key: Vec::new(),
            growing_key: false,
            table: None,
        })
    }

    /// Where a column stands.
    pub(super) fn place(&self, name: &str) -> Result<usize> {
        let names = || self.columns.iter().map(|column| column.column.name.as_str());
        names().position(|known| known == name).ok_or_else(|| {
            Error::not_found(format!("{} has no column \"{name}\"", self.name))
                .hint(suggest::hint(name, names().collect::<Vec<_>>()))
        })
    }

    /// The numbers of the columns by their names.
    pub(super) fn numbers(&self) -> BTreeMap<String, i16> {
        let number = |c: &SourceColumn| Some((c.column.name.clone(), c.number?));
        self.columns.iter().filter_map(number).collect()
    }

    /// A column in SQL. The bare name would mean what stands in the SELECT list under that name,
    /// which can be the text of the column.
    pub(super) fn sql_name(&self, column: &str) -> String {
        format!("{}.{}", self.rows_name, quoted(column))
    }

    /// The place of a row on disk, in SQL.
    pub(super) fn place_name(&self) -> String {
        format!("{}.ctid", self.rows_name)
    }

    /// The names of the columns of the key.
    pub(super) fn key_names(&self) -> Vec<String> {
        let columns = self.key.iter().filter_map(|at| self.columns.get(*at));
        columns.map(|column| column.column.name.clone()).collect()
    }
}

impl SourceColumn {
    /// Whether its text, as a position keeps it, can be taken from the value that is read anyway.
    pub(super) fn tells_its_text(&self) -> bool {
        matches!(
            self.reading.wire,
            Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid | Wire::Uuid | Wire::Text
        )
    }
}

/// The columns with the types they land in.
async fn land(
    session: &Session,
    raw: Vec<RawColumn>,
    names: &[String],
    declared: &[DeclaredColumn],
) -> Result<Vec<SourceColumn>> {
    let oids: Vec<u32> = raw.iter().map(|column| column.type_oid).collect();
    let modifiers: Vec<i32> = raw.iter().map(|column| column.modifier).collect();
    let types = types(session, &oids, &modifiers).await?;
    let mut columns = Vec::with_capacity(raw.len());
    for ((raw, landed), (of, sql_type)) in raw.into_iter().zip(column_names(names)).zip(types) {
        let natural = of.natural(&raw.name);
        let kind = natural.kind;
        let wanted = declared.iter().find(|column| column.name == landed);
        let (reading, column) = match wanted {
            Some(wanted) if wanted.kind != kind => {
                (of.declared(&raw.name, wanted.kind), Column::declared(wanted))
            }
            Some(wanted) => (natural, Column::declared(wanted)),
            None => (natural, Column::inferred(landed, kind)),
        };
        columns.push(SourceColumn {
            name: raw.name,
            reading,
            sql_type,
            pg: of,
            column,
            natural: kind,
            not_null: raw.not_null,
            number: raw.number,
        });
    }
    Ok(columns)
}

/// What tables there are to read, for SQL.
pub(super) fn readable() -> String {
    let staging = literal(&format!("%{}", STAGING_SUFFIX.replace('_', "\\_")));
    format!(
        "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' \
         AND n.nspname <> 'information_schema' AND c.relname <> {} AND c.relname NOT LIKE {staging}",
        literal(STATE_TABLE)
    )
}

async fn find_table(session: &Session, name: &str) -> Result<Table> {
    let sql = "
        SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.reltuples::float8,
               pg_catalog.pg_total_relation_size(c.oid), greatest(c.relpages, 0)
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND (n.nspname || '.' || c.relname = $1
               OR c.relname = $1 AND pg_catalog.pg_table_is_visible(c.oid))
        ORDER BY n.nspname || '.' || c.relname = $1 DESC LIMIT 1";
    let found = session.rows(sql, &[&name]).await?;
    let Some(row) = found.first() else {
        return Err(no_table(session, name).await?);
    };
    let rows: f64 = field(row, 4)?;
    let bytes: i64 = field(row, 5)?;
    let blocks: i32 = field(row, 6)?;
    Ok(Table {
        oid: field(row, 0)?,
        schema: field(row, 1)?,
        name: field(row, 2)?,
        form: field(row, 3)?,
        rows: (rows >= 0.0).then_some(rows as u64),
        bytes: u64::try_from(bytes).unwrap_or(0),
        blocks: u64::try_from(blocks).unwrap_or(0),
    })
}

async fn no_table(session: &Session, name: &str) -> Result<Error> {
    let sql = format!(
        "SELECT CASE WHEN $1::text LIKE '%.%' OR NOT pg_catalog.pg_table_is_visible(c.oid) \
                THEN n.nspname || '.' || c.relname ELSE c.relname::text END \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} ORDER BY 1",
        readable()
    );
    let rows = session.rows(&sql, &[&name]).await?;
    let names: Vec<String> = rows.iter().map(|row| field(row, 0)).collect::<Result<_>>()?;
    let server = session.server().name();
    Ok(Error::not_found(format!("there is no table \"{name}\" in the {server}"))
        .hint(suggest::hint(name, names.iter().map(String::as_str))))
}
