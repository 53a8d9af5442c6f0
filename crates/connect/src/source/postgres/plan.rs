//! The order of a read, where it goes on, and the ranges it is cut into.

use flywheel_base::{Error, Result, quantity};

use super::relation::{Relation, SourceColumn};
use super::{CHUNK_ROWS, PostgresStream};
use crate::column::ColumnType;
use crate::keyset::Keyset;
use crate::missing::Missing;
use crate::postgres::{Session, field, quoted, typed};
use crate::source::{ReadMode, ReadRequest};

/// Ranges of a read at most.
const CHUNKS_MAX: u64 = 10_000;

/// How well rows have to lie in the order of the key for reading them range by range. Below, every
/// range would visit most blocks of the table, so that the server better sorts it once.
const CORRELATION_MIN: f32 = 0.5;

/// Tables of at most this many bytes stay in the server's memory, whatever the order.
const SMALL_BYTES: u64 = 128 << 20;

/// What a row takes if nobody counted the rows of a table.
const ROW_BYTES: u64 = 100;

/// The size of a block on disk that servers are built with.
const BLOCK_BYTES: u64 = 8192;

/// The first version that finds rows by a range of places.
const PLACE_RANGES_SINCE: i32 = 140_000;

/// The types that have a value behind all others, such as infinity: a position there would hide whatever
/// comes later.
const ENDLESS_TYPES: [&str; 6] =
    ["date", "timestamp", "timestamptz", "float4", "float8", "numeric"];

/// Those values, as texts of ours and of the server.
const ENDLESS: [&str; 4] = ["infinity", "Infinity", "inf", "NaN"];

/// Whether the text of a cursor is a value behind all others.
pub(super) fn is_endless(text: &str) -> bool {
    ENDLESS.contains(&text)
}

/// Where a read stands, with the values of its order as text.
pub(super) type Stored = Keyset<Option<String>>;

/// How a relation is read.
#[derive(Debug)]
pub(super) struct Plan {
    /// What is read.
    pub(super) relation: Relation,
    /// The places of the columns that order the read.
    pub(super) order: Vec<usize>,
    /// For each of them the field of a row that has its text.
    pub(super) order_fields: Vec<usize>,
    /// The place of the cursor, if there is one and its type has a value behind all others.
    pub(super) endless: Option<usize>,
    /// Fields of a row.
    pub(super) width: usize,
    /// The statements, one for each range, in order.
    pub(super) chunks: Vec<String>,
    /// Where the read began.
    pub(super) stored: Stored,
    /// What becomes of rows without a value in the cursor, if there are some behind a first read.
    pub(super) missing: Option<Missing>,
    /// Whether rows without a value in the cursor may be read by more than one read.
    pub(super) comes_again: bool,
}

impl Plan {
    /// Plans a read; the session is in the transaction whose snapshot is read.
    pub(super) async fn new(
        session: &Session,
        stream: &PostgresStream,
        request: &ReadRequest,
        relation: Relation,
    ) -> Result<Self> {
        let (order, cursor) = order(&relation, request)?;
        let name = |column: &SourceColumn| relation.sql_name(&column.name);
        let names: Vec<String> =
            order.iter().filter_map(|at| relation.columns.get(*at)).map(name).collect();
        let stored = Stored::of(request, "postgres")?.ordered(names.clone(), &relation.name)?;
        if names.is_empty() && stored.rows > 0 && !stored.complete {
            return Err(Error::invalid(format!(
                "{} has no key, so that a read which broke off cannot be continued",
                relation.name
            ))
            .hint("Set the stream's `primary_key`, or read all again with `flywheel sync NAME --restart`."));
        }
        let first = order.first().copied().filter(|_| cursor);
        let endless = first.filter(|at| {
            let column = relation.columns.get(*at);
            column.is_some_and(|column| {
                column.pg.built_in && ENDLESS_TYPES.contains(&column.pg.name.as_str())
            })
        });
        let last = stored.after.first().and_then(Option::as_deref);
        if endless.is_some() && last.is_some_and(is_endless) {
            return Err(Error::invalid(format!(
                "the stored position of {} is behind all values that can come",
                relation.name
            ))
            .hint("A row whose cursor is infinity or NaN moved it there in an earlier version: read the stream from its start with `flywheel sync NAME --restart`."));
        }
        let mut plan = Self {
            relation,
            order,
            order_fields: Vec::new(),
            endless,
            width: 0,
            chunks: Vec::new(),
            stored,
            missing: None,
            comes_again: false,
        };
        plan.refuse_missing_keys(session, stream, cursor).await?;
        if cursor {
            plan.missing = plan.without_cursor(session, stream, request).await?;
            plan.comes_again = !request.write_appends;
        }
        let list = plan.select_list();
        let (condition, nulls_first) = plan.behind(request, cursor)?;
        let ranges = if request.mode == ReadMode::Full {
            plan.ranges(session, stream).await?
        } else {
            Vec::new()
        };
        let ranges = if ranges.is_empty() { vec![String::new()] } else { ranges };
        let given = stream.condition.as_ref().map(|given| format!("({given}\n)"));
        if let (true, Some(first)) = (plan.begins_without_cursor(), plan.first()) {
            let given = given.as_ref().map_or_else(String::new, |given| format!("{given} AND "));
            let name = plan.relation.sql_name(&first.name);
            let keys = plan.stored.order.get(1..).unwrap_or_default().join(", ");
            let sql = format!(
                "SELECT {list} FROM {} WHERE {given}{name} IS NULL ORDER BY {keys}",
                plan.relation.from
            );
            plan.chunks.push(format!("COPY ({sql}) TO STDOUT (FORMAT BINARY)"));
        }
        for range in ranges {
            let parts = [given.clone().unwrap_or_default(), condition.clone(), range];
            let parts: Vec<&str> =
                parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            let mut sql = format!("SELECT {list} FROM {}", plan.relation.from);
            if !parts.is_empty() {
                sql.push_str(&format!(" WHERE {}", parts.join(" AND ")));
            }
            if !plan.stored.order.is_empty() {
                let mut order = plan.stored.order.clone();
                if let (true, Some(first)) = (nulls_first, order.first_mut()) {
                    first.push_str(" NULLS FIRST");
                }
                sql.push_str(&format!(" ORDER BY {}", order.join(", ")));
            }
            plan.chunks.push(format!("COPY ({sql}) TO STDOUT (FORMAT BINARY)"));
        }
        Ok(plan)
    }

    /// The expressions that are read; the order's texts stand behind the columns if need be.
    fn select_list(&mut self) -> String {
        let columns = &self.relation.columns;
        let mut list: Vec<String> =
            columns.iter().map(|column| column.reading.expression.clone()).collect();
        for at in &self.order {
            match columns.get(*at) {
                Some(column) if !column.tells_its_text() => {
                    self.order_fields.push(list.len());
                    list.push(format!("{}::text", self.relation.sql_name(&column.name)));
                }
                _ => self.order_fields.push(*at),
            }
        }
        self.width = list.len();
        list.join(", ")
    }

    /// Declared keys can have missing values, whose rows no comparison would find.
    async fn refuse_missing_keys(
        &self,
        session: &Session,
        stream: &PostgresStream,
        cursor: bool,
    ) -> Result<()> {
        let keys = self.order.iter().skip(usize::from(cursor));
        let nullable: Vec<&SourceColumn> = keys
            .filter_map(|at| self.relation.columns.get(*at))
            .filter(|column| !column.not_null)
            .collect();
        if nullable.is_empty() {
            return Ok(());
        }
        let missing: Vec<String> = nullable
            .iter()
            .map(|column| format!("{} IS NULL", self.relation.sql_name(&column.name)))
            .collect();
        let given = stream.condition.as_deref().unwrap_or("true");
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {} WHERE ({given}\n) AND ({}))",
            self.relation.from,
            missing.join(" OR ")
        );
        if field(&session.row(&sql, &[]).await?, 0)? {
            let names: Vec<&str> =
                nullable.iter().map(|column| column.column.name.as_str()).collect();
            return Err(Error::invalid(format!(
                "the key of {} has rows without a value",
                self.relation.name
            ))
            .hint(format!(
                "Choose a `primary_key` that is never missing; it has {}.",
                names.join(", ")
            )));
        }
        Ok(())
    }

    /// What becomes of the rows without a value in the cursor; a key that is the cursor has one in each row.
    async fn without_cursor(
        &mut self,
        session: &Session,
        stream: &PostgresStream,
        request: &ReadRequest,
    ) -> Result<Option<Missing>> {
        let Some(first) = self.first().filter(|first| !first.not_null) else { return Ok(None) };
        if self.order.len() < 2 {
            return Ok(None);
        }
        let given = stream.condition.as_deref().unwrap_or("true");
        let sql = format!(
            "SELECT count(*) FROM {} WHERE ({given}\n) AND {} IS NULL",
            self.relation.from,
            self.relation.sql_name(&first.name)
        );
        let cursor = first.column.name.clone();
        let count: i64 = field(&session.row(&sql, &[]).await?, 0)?;
        let count = u64::try_from(count).unwrap_or_default();
        Ok(self.stored.meet(count, &cursor, request.write_appends))
    }

    /// Whether the read begins with the rows without a value in the cursor, which earlier reads had.
    fn begins_without_cursor(&self) -> bool {
        self.missing.as_ref().is_some_and(|missing| missing.again)
    }

    /// The condition for what is behind the position, and whether missing cursors come first.
    fn behind(&self, request: &ReadRequest, cursor: bool) -> Result<(String, bool)> {
        let nullable = cursor && self.first().is_some_and(|column| !column.not_null);
        let Some(first) = self.first() else { return Ok((String::new(), false)) };
        if let Some(from) = self.look_back(request)? {
            return Ok((format!("{} >= {from}", self.relation.sql_name(&first.name)), false));
        }
        let after = &self.stored.after;
        let Some(last) = after.first() else { return Ok((String::new(), nullable)) };
        let tuple = |from: usize| -> Result<String> {
            let names = self.stored.order.get(from..).unwrap_or_default().join(", ");
            let mut values = Vec::new();
            for (at, value) in self.order.iter().zip(after).skip(from) {
                let (Some(column), Some(value)) = (self.relation.columns.get(*at), value) else {
                    return Err(Error::corrupt("the stored position has no value for its key"));
                };
                values.push(typed(value, &column.sql_type));
            }
            Ok(format!("({names}) > ({})", values.join(", ")))
        };
        let name = self.relation.sql_name(&first.name);
        let unique = self.order.len() == 1;
        Ok(match last {
            None if unique || self.begins_without_cursor() => {
                (format!("{name} IS NOT NULL"), false)
            }
            None => (format!("({name} IS NULL AND {} OR {name} IS NOT NULL)", tuple(1)?), true),
            Some(_) if unique || !cursor => (tuple(0)?, false),
            // The first part is what an index of the cursor alone can be used for.
            Some(last) => {
                let value = typed(last, &first.sql_type);
                (format!("{name} >= {value} AND {}", tuple(0)?), false)
            }
        })
    }

    /// The column that orders the read first.
    fn first(&self) -> Option<&SourceColumn> {
        self.order.first().and_then(|at| self.relation.columns.get(*at))
    }

    /// Where a read begins that looks back before the last cursor value, as SQL.
    fn look_back(&self, request: &ReadRequest) -> Result<Option<String>> {
        let ReadMode::Incremental { lag: Some(lag), .. } = &request.mode else { return Ok(None) };
        if request.write_appends {
            return Err(Error::invalid("a read that looks back cannot be appended")
                .hint("Rows would be there twice: write with `merge`, or leave out `lag`."));
        }
        let (Some(Some(last)), true) = (self.stored.after.first(), self.stored.complete) else {
            return Ok(None);
        };
        let Some(column) = self.first() else { return Ok(None) };
        let value = typed(last, &column.sql_type);
        let wrong = || {
            Error::invalid(format!("the lag \"{lag}\" does not fit the cursor"))
                .hint("Write a duration such as 2h for dates and times, a number for numbers.")
        };
        Ok(Some(match column.natural {
            ColumnType::Date | ColumnType::Timestamp => {
                let micros = quantity::duration_us(lag).map_err(|_| wrong())?;
                format!("({value} - interval '{micros} microseconds')")
            }
            ColumnType::Int32 | ColumnType::Int64 | ColumnType::Decimal { .. } => {
                let steps = match lag.trim().parse::<i64>() {
                    Ok(steps) => steps,
                    // A number is written as a duration by whoever knows only durations.
                    Err(_) => quantity::duration_us(lag).map_err(|_| wrong())? / 1_000_000,
                };
                format!("({value}::numeric - {steps})")
            }
            ColumnType::Float64 => {
                let steps = lag.trim().parse::<f64>().map_err(|_| wrong())?;
                format!("({value} - {steps:?}::float8)")
            }
            _ => return Err(wrong()),
        }))
    }

    /// The ranges of a full read; none if it is better read at once.
    async fn ranges(&self, session: &Session, stream: &PostgresStream) -> Result<Vec<String>> {
        let Some(table) = &self.relation.table else { return Ok(Vec::new()) };
        let chunk_rows = stream.chunk_rows.unwrap_or(CHUNK_ROWS).max(1);
        let rows = table.rows.unwrap_or(table.bytes / ROW_BYTES);
        let count = rows.div_ceil(chunk_rows).clamp(1, CHUNKS_MAX);
        if count < 2 || matches!(table.form.as_str(), "v" | "f") {
            return Ok(Vec::new());
        }
        if self.order.is_empty() {
            return self.place_ranges(session, count).await;
        }
        self.key_ranges(session, count).await
    }

    /// Ranges of blocks on disk.
    async fn place_ranges(&self, session: &Session, count: u64) -> Result<Vec<String>> {
        let Some(table) = &self.relation.table else { return Ok(Vec::new()) };
        let sql = "SELECT current_setting('server_version_num')::int4, \
                   pg_catalog.pg_relation_size($1::oid)";
        let row = session.row(sql, &[&table.oid]).await?;
        let (version, bytes): (i32, i64) = (field(&row, 0)?, field(&row, 1)?);
        let blocks = (u64::try_from(bytes).unwrap_or(0) / BLOCK_BYTES).max(table.blocks);
        if version < PLACE_RANGES_SINCE || blocks < 2 {
            return Ok(Vec::new());
        }
        let bounds: Vec<String> = (1..count.min(blocks))
            .map(|at| {
                format!(
                    "'({},0)'::tid",
                    u128::from(blocks) * u128::from(at) / u128::from(count.min(blocks))
                )
            })
            .collect();
        Ok(between(&self.relation.place_name(), &bounds, ">=", "<"))
    }

    /// Ranges of the first column of the key, about equal in rows.
    async fn key_ranges(&self, session: &Session, count: u64) -> Result<Vec<String>> {
        let (Some(table), Some(column)) = (&self.relation.table, self.first()) else {
            return Ok(Vec::new());
        };
        let sql = "SELECT correlation, histogram_bounds::text::text[] FROM pg_catalog.pg_stats \
                   WHERE schemaname = $1 AND tablename = $2 AND attname = $3 \
                   ORDER BY inherited DESC LIMIT 1";
        let found = session.rows(sql, &[&table.schema, &table.name, &column.name]).await?;
        let (correlation, histogram) = match found.first() {
            None => (None, None),
            Some(row) => (field::<Option<f32>>(row, 0)?, field::<Option<Vec<String>>>(row, 1)?),
        };
        if correlation.is_some_and(|value| value.abs() < CORRELATION_MIN)
            && table.bytes > SMALL_BYTES
        {
            return Ok(Vec::new());
        }
        let whole = matches!(column.natural, ColumnType::Int32 | ColumnType::Int64);
        let histogram = match histogram {
            Some(histogram) => histogram,
            None if whole => self.ends(session, column).await?,
            None => return Ok(Vec::new()),
        };
        let bounds = if whole { spread(&histogram, count) } else { picked(&histogram, count) };
        let collation = self.collation(session, table.oid, column).await?;
        // The server decides which bounds lie behind the position, and in which order.
        let after = match self.stored.after.first() {
            Some(Some(last)) => {
                format!("WHERE b{collation} > {}", typed(last, &column.sql_type))
            }
            _ => String::new(),
        };
        let sql = format!(
            "SELECT x.b::text FROM (SELECT DISTINCT b FROM unnest($1::text[]::{}[]) AS u(b) {after}) x \
             ORDER BY x.b{collation}",
            column.sql_type
        );
        let rows = session.rows(&sql, &[&bounds]).await?;
        let bounds: Vec<String> = rows
            .iter()
            .map(|row| Ok(typed(&field::<String>(row, 0)?, &column.sql_type)))
            .collect::<Result<_>>()?;
        Ok(between(&self.relation.sql_name(&column.name), &bounds, ">", "<="))
    }

    /// The order of texts in a column, as SQL behind an expression.
    async fn collation(
        &self,
        session: &Session,
        table: u32,
        column: &SourceColumn,
    ) -> Result<String> {
        let sql = "SELECT n.nspname::text, l.collname::text \
                   FROM pg_catalog.pg_attribute a \
                   JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation \
                   JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace \
                   WHERE a.attrelid = $1 AND a.attname = $2";
        Ok(match session.rows(sql, &[&table, &column.name]).await?.first() {
            None => String::new(),
            Some(row) => {
                let (schema, name): (String, String) = (field(row, 0)?, field(row, 1)?);
                format!(" COLLATE {}.{}", quoted(&schema), quoted(&name))
            }
        })
    }

    /// The smallest and the largest value of a column of whole numbers.
    async fn ends(&self, session: &Session, column: &SourceColumn) -> Result<Vec<String>> {
        let name = self.relation.sql_name(&column.name);
        let sql =
            format!("SELECT min({name})::text, max({name})::text FROM {}", self.relation.from);
        let row = session.row(&sql, &[]).await?;
        let ends = [field::<Option<String>>(&row, 0)?, field::<Option<String>>(&row, 1)?];
        Ok(ends.into_iter().flatten().collect())
    }
}

/// The places of the columns that order the read, and whether the first is a cursor.
fn order(relation: &Relation, request: &ReadRequest) -> Result<(Vec<usize>, bool)> {
    let ReadMode::Incremental { cursor, .. } = &request.mode else {
        return Ok((relation.key.clone(), false));
    };
    if relation.key.is_empty() {
        return Err(Error::invalid(format!("{} has no key to read it by steps", relation.name))
            .hint("Set the stream's `primary_key`, or read it with mode full."));
    }
    let Some(cursor) = cursor else {
        if relation.growing_key {
            return Ok((relation.key.clone(), false));
        }
        let names: Vec<&str> = relation.columns.iter().map(|c| c.column.name.as_str()).collect();
        return Err(Error::invalid(format!(
            "an incremental read of {} needs a cursor",
            relation.name
        ))
        .hint(format!(
            "Set `cursor` to a column that grows with every change, one of: {}.",
            names.join(", ")
        )));
    };
    let cursor = relation.place(cursor)?;
    let mut order = vec![cursor];
    order.extend(relation.key.iter().copied().filter(|key| *key != cursor));
    Ok((order, true))
}

/// The ranges that `bounds` cut.
fn between(name: &str, bounds: &[String], from: &str, to: &str) -> Vec<String> {
    let mut ranges = Vec::with_capacity(bounds.len() + 1);
    let mut last: Option<&String> = None;
    for bound in bounds {
        let lower = last.map(|last| format!("{name} {from} {last} AND ")).unwrap_or_default();
        ranges.push(format!("{lower}{name} {to} {bound}"));
        last = Some(bound);
    }
    if let Some(last) = last {
        ranges.push(format!("{name} {from} {last}"));
    }
    ranges
}

/// `count` − 1 whole numbers between the buckets of a histogram, each bucket of equal weight.
fn spread(histogram: &[String], count: u64) -> Vec<String> {
    let numbers: Option<Vec<i128>> = histogram.iter().map(|text| text.parse().ok()).collect();
    let (Some(numbers), Some(buckets)) = (numbers, histogram.len().checked_sub(1)) else {
        return Vec::new();
    };
    let (count, buckets) = (u128::from(count), buckets as u128);
    let bound = |at: u128| {
        let place = at * buckets;
        let bucket = usize::try_from(place / count).ok()?;
        let (low, high) = (*numbers.get(bucket)?, *numbers.get(bucket + 1)?);
        let part = i128::try_from(place % count).ok()?;
        Some((low + (high - low) * part / i128::try_from(count).ok()?).to_string())
    };
    (1..count).filter_map(bound).collect()
}

/// At most `count` − 1 bounds of a histogram, evenly.
fn picked(histogram: &[String], count: u64) -> Vec<String> {
    let buckets = histogram.len().saturating_sub(1) as u64;
    let count = count.min(buckets);
    (1..count)
        .filter_map(|at| usize::try_from(at * buckets / count).ok())
        .filter_map(|at| histogram.get(at).cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(numbers: &[i64]) -> Vec<String> {
        numbers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whole_numbers_are_spread_between_the_bounds_of_a_histogram() {
        assert_eq!(spread(&texts(&[0, 100]), 4), ["25", "50", "75"]);
        assert_eq!(spread(&texts(&[0, 10, 1_000]), 4), ["5", "10", "505"]);
        assert_eq!(spread(&texts(&[i64::MIN, i64::MAX]), 2), ["-1"]);
        assert!(spread(&texts(&[7]), 4).is_empty());
        assert!(spread(&[], 4).is_empty());
    }

    #[test]
    fn other_bounds_are_picked_evenly() {
        assert_eq!(picked(&texts(&[0, 1, 2, 3, 4]), 2), ["2"]);
        assert_eq!(picked(&texts(&[0, 1, 2]), 10), ["1"]);
        assert!(picked(&[], 10).is_empty());
    }

    #[test]
    fn ranges_leave_no_gap_and_do_not_overlap() {
        assert_eq!(
            between("k", &texts(&[1, 5]), ">", "<="),
            ["k <= 1", "k > 1 AND k <= 5", "k > 5"]
        );
        assert!(between("k", &[], ">", "<=").is_empty());
    }
}
