//! Reading a relation page by page in one snapshot, each page a query of its own behind the last key.
//!
//! The position is the pair (cursor, key) of the last row, however many rows share a cursor value. A
//! relation without key is one query whose rows are streamed; its position counts rows.

use flywheel_base::{Error, Result};
use futures::StreamExt as _;
use mysql_async::prelude::{Query as _, Queryable as _, WithParams as _};
use mysql_async::{BinaryProtocol, ResultSetStream, Row, Value as SqlValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connection::{Connection, Server};
use super::relation::{Order, Relation, SourceColumn};
use super::value::{back, from_json, placeholder, push, shown, size, to_json};
use super::{MySqlStream, ZeroDates};
use crate::column::Misfit;
use crate::page::{Page, PageBuilder, Position, TableSchema, raw};
use crate::source::{ReadMode, ReadRequest, settings};

/// What begins the snapshot that a read sees.
const SNAPSHOT: [&str; 2] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
];

/// Where a read of a relation stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Stored {
    /// The expressions that order the read.
    order: Vec<String>,
    /// Their values in the last row; empty before the first.
    after: Vec<Value>,
    /// Rows read in all since the position was new.
    rows: u64,
    /// Whether the read came to its end.
    complete: bool,
}

/// The rows of a relation without key.
type Rows = ResultSetStream<'static, 'static, 'static, Row, BinaryProtocol>;

/// Where rows come from.
enum Feed {
    /// A connection that asks for each page.
    Pages(Connection),
    /// One query whose rows are streamed.
    Stream(Box<Rows>),
    /// Nothing more.
    Ended,
}

/// A read of one table or query.
pub(super) struct MySqlRead<'a> {
    server: &'a Server,
    stream: MySqlStream,
    request: &'a ReadRequest,
    zero_dates: ZeroDates,
    open: Option<Open>,
}

struct Open {
    feed: Feed,
    relation: Relation,
    order: Vec<Order>,
    schema: TableSchema,
    page: PageBuilder,
    stored: Stored,
    /// The first cursor value of a read that looks back.
    from: Option<Value>,
    cursor: bool,
}

impl<'a> MySqlRead<'a> {
    /// Prepares a read; does no I/O.
    pub(super) fn new(
        server: &'a Server,
        zero_dates: ZeroDates,
        request: &'a ReadRequest,
    ) -> Result<Self> {
        let stream: MySqlStream = settings("stream", request.stream.clone())?;
        let zero_dates = stream.zero_dates.unwrap_or(zero_dates);
        Ok(Self { server, stream, request, zero_dates, open: None })
    }

    async fn start(&mut self) -> Result<Open> {
        let server = self.server;
        let mut connection = server.connect().await?;
        let declared = &self.request.columns;
        let relation = Relation::of(&mut connection, server, &self.stream, declared).await?;
        let mut stored = match &self.request.from {
            None => Stored::default(),
            Some(position) => serde_json::from_value(position.0.clone()).map_err(|error| {
                Error::corrupt("the stored position is not one of a mysql source").caused_by(error)
            })?,
        };
        if self.request.mode == ReadMode::Full && stored.complete {
            stored = Stored::default();
        }
        let (order, cursor) = self.order(&relation)?;
        let names: Vec<String> = order.iter().map(|order| order.sql.clone()).collect();
        let follows = (stored.after.is_empty() || stored.after.len() == names.len())
            && (stored.order == names || (stored.order.is_empty() && stored.rows == 0));
        if !follows {
            return Err(Error::invalid(format!(
                "the stored position of {} follows other columns",
                relation.name
            ))
            .hint("The cursor or the key was changed: reset the stream's position."));
        }
        stored.order = names;
        let from = self.look_back(&stored, &order)?;
        for statement in SNAPSHOT {
            connection.run(statement).await?;
        }
        let columns = relation.columns.iter().map(|column| column.column.clone()).collect();
        let schema = TableSchema::new(columns, false);
        let mut page = PageBuilder::new("mysql", &schema, self.request.page_rows);
        let feed = if order.is_empty() {
            if stored.rows > 0 {
                page.notice(
                    "resumed-without-key",
                    &relation.name,
                    "the read goes on after as many rows as it had read; without a key the server \
                     does not promise their order: set `primary_key`",
                );
            }
            Feed::Stream(Box::new(streamed(server, connection, &relation, stored.rows).await?))
        } else {
            Feed::Pages(connection)
        };
        Ok(Open { feed, relation, order, schema, page, stored, from, cursor })
    }

    /// What orders the read, and whether the first of it is a cursor.
    fn order(&self, relation: &Relation) -> Result<(Vec<Order>, bool)> {
        let key = || -> Result<Vec<Order>> {
            relation.key.iter().map(|place| relation.order(*place)).collect()
        };
        let ReadMode::Incremental { cursor, .. } = &self.request.mode else {
            return Ok((key()?, false));
        };
        if relation.key.is_empty() {
            return Err(Error::invalid(format!(
                "{} has no key to read it by steps",
                relation.name
            ))
            .hint("Set the stream's `primary_key`, or read it with mode full."));
        }
        let Some(cursor) = cursor else {
            if relation.growing_key {
                return Ok((key()?, false));
            }
            let names: Vec<&str> =
                relation.columns.iter().map(|c| c.column.name.as_str()).collect();
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
        let mut order = vec![relation.order(cursor)?];
        for place in relation.key.iter().filter(|place| **place != cursor) {
            order.push(relation.order(*place)?);
        }
        Ok((order, true))
    }

    /// Where a read begins that looks back before the last cursor value.
    fn look_back(&self, stored: &Stored, order: &[Order]) -> Result<Option<Value>> {
        let ReadMode::Incremental { lag: Some(lag), .. } = &self.request.mode else {
            return Ok(None);
        };
        if self.request.write_appends {
            return Err(Error::invalid("a read that looks back cannot be appended")
                .hint("Rows would be there twice: write with `merge`, or leave out `lag`."));
        }
        match (stored.after.first(), order.first()) {
            (Some(last), Some(order)) if stored.complete => back(last, order.wire, lag).map(Some),
            _ => Ok(None),
        }
    }

    /// The next page, or none after the last.
    pub(super) async fn next_page(&mut self) -> Result<Option<Page>> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.start().await?,
        };
        if matches!(open.feed, Feed::Ended) {
            return Ok(None);
        }
        let was_complete = open.stored.complete;
        let rows_before = open.stored.rows;
        let more = open.fill(self.server, self.zero_dates, self.request.page_rows.max(1)).await?;
        open.stored.complete = !more;
        if !more && let Feed::Pages(connection) = std::mem::replace(&mut open.feed, Feed::Ended) {
            connection.close().await;
        }
        if open.stored.rows == rows_before && was_complete {
            return Ok(None);
        }
        let position = serde_json::to_value(&open.stored)
            .map(Position)
            .map_err(|error| Error::internal("a position cannot be written").caused_by(error))?;
        let page = open.page.finish(&open.schema, position)?;
        self.open = Some(open);
        Ok(Some(page))
    }
}

/// The query of a relation's columns and of the expressions that order it.
fn select(relation: &Relation, order: &[Order]) -> String {
    let columns = relation.columns.iter().map(|column| column.sql.as_str());
    let list: Vec<&str> = columns.chain(order.iter().map(|order| order.sql.as_str())).collect();
    format!("SELECT {} FROM {}", list.join(", "), relation.from)
}

/// Starts the one query that reads a relation without key.
async fn streamed(
    server: &Server,
    connection: Connection,
    relation: &Relation,
    skip: u64,
) -> Result<Rows> {
    let mut sql = select(relation, &[]);
    if let Some(condition) = &relation.condition {
        sql.push_str(&format!(" WHERE ({condition})"));
    }
    if skip > 0 {
        sql.push_str(&format!(" LIMIT {} OFFSET {skip}", u64::MAX));
    }
    let conn = connection.into_conn()?;
    Connection::answered(server, sql.with(()).stream::<Row, _>(conn)).await
}

impl Open {
    /// The query of the next page and its arguments.
    fn query(&self, limit: usize) -> Result<(String, Vec<SqlValue>)> {
        let mut arguments = Vec::new();
        let conditions: Vec<String> = [
            self.relation.condition.as_ref().map(|condition| format!("({condition})")),
            self.condition(&mut arguments)?.map(|condition| format!("({condition})")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut sql = select(&self.relation, &self.order);
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        let order: Vec<&str> = self.order.iter().map(|order| order.sql.as_str()).collect();
        sql.push_str(&format!(" ORDER BY {} LIMIT {limit}", order.join(", ")));
        Ok((sql, arguments))
    }

    /// The condition of the rows behind the position, if there is one.
    fn condition(&self, arguments: &mut Vec<SqlValue>) -> Result<Option<String>> {
        if let (Some(from), Some(cursor)) = (&self.from, self.order.first()) {
            if from.is_null() {
                return Ok(None);
            }
            arguments.push(from_json(from)?);
            return Ok(Some(format!("{} >= {}", cursor.sql, placeholder(cursor.wire))));
        }
        if self.stored.after.is_empty() {
            return Ok(None);
        }
        let null_cursor = self.cursor && self.stored.after.first().is_some_and(Value::is_null);
        if !null_cursor {
            return self.behind(0, arguments).map(Some);
        }
        let cursor = self.order.first().map(|order| order.sql.as_str()).unwrap_or_default();
        if self.order.len() == 1 {
            return Ok(Some(format!("{cursor} IS NOT NULL")));
        }
        // Rows without a cursor value come first.
        let keys = self.behind(1, arguments)?;
        Ok(Some(format!("({cursor} IS NULL AND {keys}) OR {cursor} IS NOT NULL")))
    }

    /// `(a, b) > (x, y)` in the form that an index on `(a, b)` serves.
    fn behind(&self, place: usize, arguments: &mut Vec<SqlValue>) -> Result<String> {
        let (Some(order), Some(after)) = (self.order.get(place), self.stored.after.get(place))
        else {
            return Err(Error::corrupt("the stored position has too few values"));
        };
        let (sql, mark) = (&order.sql, placeholder(order.wire));
        arguments.push(from_json(after)?);
        if place + 1 == self.order.len() {
            return Ok(format!("{sql} > {mark}"));
        }
        arguments.push(from_json(after)?);
        let rest = self.behind(place + 1, arguments)?;
        Ok(format!("{sql} >= {mark} AND ({sql} > {mark} OR ({rest}))"))
    }

    /// Reads the rows of one page; says whether more may follow.
    async fn fill(&mut self, server: &Server, zero: ZeroDates, limit: usize) -> Result<bool> {
        if let Feed::Stream(_) = self.feed {
            return self.fill_from_stream(server, zero).await;
        }
        let (sql, arguments) = self.query(limit)?;
        let Self { feed, relation, schema, page, stored, .. } = self;
        let Feed::Pages(connection) = feed else { return Ok(false) };
        let conn = connection.conn()?;
        let mut rows = Connection::answered(server, conn.exec_iter(sql, arguments)).await?;
        let (mut count, mut last) = (0, None);
        while !page.is_full()
            && let Some(row) = Connection::answered(server, rows.next()).await?
        {
            count += 1;
            let values = row.unwrap();
            take(relation, schema, page, &values, stored.rows + count as u64, zero)?;
            last = Some(values);
        }
        let full = page.is_full();
        if full {
            Connection::answered(server, rows.drop_result()).await?;
        }
        stored.rows += count as u64;
        if let Some(values) = last {
            let after = values.iter().skip(self.relation.columns.len()).zip(&self.order);
            self.stored.after =
                after.map(|(value, order)| to_json(value, order.wire)).collect::<Result<_>>()?;
            self.from = None;
        }
        Ok(count == limit || full)
    }

    async fn fill_from_stream(&mut self, server: &Server, zero: ZeroDates) -> Result<bool> {
        let Self { feed, relation, schema, page, stored, .. } = self;
        let Feed::Stream(rows) = feed else { return Ok(false) };
        while !page.is_full() {
            let next = async { rows.next().await.transpose() };
            let Some(row) = Connection::answered(server, next).await? else {
                self.feed = Feed::Ended;
                return Ok(false);
            };
            stored.rows += 1;
            take(relation, schema, page, &row.unwrap(), stored.rows, zero)?;
        }
        Ok(true)
    }
}

/// Puts a row into the page, or sets it aside.
fn take(
    relation: &Relation,
    schema: &TableSchema,
    page: &mut PageBuilder,
    values: &[SqlValue],
    line: u64,
    zero: ZeroDates,
) -> Result<()> {
    let mut bytes = 0;
    for (place, (value, column)) in values.iter().zip(&relation.columns).enumerate() {
        bytes += size(value);
        let Err(misfit) = push_one(page, place, column, value, zero) else { continue };
        page.rollback();
        let known = schema.columns().get(place);
        let declared = known.is_some_and(|column| column.declared);
        let clear = matches!(misfit.code, "invalid-utf8" | "zero-date" | "invalid-date");
        let misfit = if declared || clear {
            misfit
        } else {
            let hint = "the type is the column's in the database; declare it as text";
            Misfit::new(misfit.code, format!("{} ({hint})", misfit.reason))
        };
        let name = known.map(|column| column.name.as_str());
        page.reject(&relation.name, Some(line), name, misfit, row_text(relation, values));
        return Ok(());
    }
    page.commit(&relation.name, line, bytes)
}

fn push_one(
    page: &mut PageBuilder,
    place: usize,
    column: &SourceColumn,
    value: &SqlValue,
    zero: ZeroDates,
) -> Result<(), Misfit> {
    let Some(builder) = page.columns.get_mut(place) else {
        return Err(Misfit::new("type-mismatch", "a value without a column"));
    };
    if column.column.not_null && *value == SqlValue::NULL {
        return Err(Misfit::new("null-value", "no value in a column declared `not_null`"));
    }
    let zero = if column.column.not_null { ZeroDates::Reject } else { zero };
    push(value, column.wire, zero, builder)
}

fn row_text(relation: &Relation, values: &[SqlValue]) -> String {
    let mut object = serde_json::Map::new();
    for (value, column) in values.iter().zip(&relation.columns) {
        object.insert(column.column.name.clone(), shown(value, column.wire));
    }
    raw(&Value::Object(object).to_string())
}
