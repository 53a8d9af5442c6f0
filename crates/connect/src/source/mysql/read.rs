//! Reading a relation page by page in one snapshot, each page a query of its own behind the last key.
//!
//! The position is the pair (cursor, key) of the last row, however many rows share a cursor value. A
//! relation without key is one query whose rows are streamed; its position counts rows.

use std::sync::Arc;

use flywheel_base::{Error, Result};
use futures::StreamExt as _;
use mysql_async::prelude::{Query as _, Queryable as _, WithParams as _};
use mysql_async::{BinaryProtocol, ResultSetStream, Row, Value as SqlValue};
use serde_json::Value;

use super::connection::{Connection, Server};
use super::parallel::{PARALLEL_MAX, Parallel};
use super::range::{Range, is_missing, select};
use super::relation::{Order, Relation, SourceColumn};
use super::value::{back, push, shown, size, to_json};
use super::{MySqlStream, ZeroDates};
use crate::column::Misfit;
use crate::connections::Admitted;
use crate::keyset::Keyset;
use crate::missing::Missing;
use crate::page::{Page, PageBuilder, Position, TableSchema, raw, without_line};
use crate::source::{ReadMode, ReadRequest, settings};

/// What begins the snapshot that a read sees.
pub(super) const SNAPSHOT: [&str; 2] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
];

/// The rows of a relation without key.
type Rows = ResultSetStream<'static, 'static, 'static, Row, BinaryProtocol>;

/// One query's rows and the connection they come by.
struct Streamed {
    rows: Rows,
    _admitted: Admitted,
}

/// Where rows come from.
enum Feed {
    /// A connection that asks for each page.
    Pages(Connection),
    /// Several connections.
    Parallel(Box<Parallel>),
    /// One query whose rows are streamed.
    Stream(Box<Streamed>),
    /// Nothing more.
    Ended,
}

/// What reading a relation takes.
pub(super) struct Plan {
    pub(super) server: Server,
    pub(super) relation: Relation,
    pub(super) order: Vec<Order>,
    pub(super) schema: TableSchema,
    pub(super) zero: ZeroDates,
    pub(super) page_rows: usize,
    pub(super) page_bytes: usize,
    /// Whether rows without a value in the cursor may be read by more than one read.
    pub(super) comes_again: bool,
}

/// A read of one table or query.
pub(super) struct MySqlRead {
    server: Server,
    stream: MySqlStream,
    request: ReadRequest,
    zero_dates: ZeroDates,
    open: Option<Open>,
}

struct Open {
    plan: Arc<Plan>,
    feed: Feed,
    page: PageBuilder,
    /// A page that the connections of a parallel read made.
    made: Option<Page>,
    stored: Keyset<Value>,
    /// The first cursor value of a read that looks back.
    from: Option<Value>,
    cursor: bool,
    /// How far the read is in the rows without a value in the cursor that it begins with, if it is.
    missing: Option<Vec<Value>>,
}

impl MySqlRead {
    /// Prepares a read; does no I/O.
    pub(super) fn new(
        server: &Server,
        zero_dates: ZeroDates,
        request: &ReadRequest,
    ) -> Result<Self> {
        let stream: MySqlStream = settings("stream", request.stream.clone())?;
        let zero_dates = stream.zero_dates.unwrap_or(zero_dates);
        let (server, request) = (server.clone(), request.clone());
        Ok(Self { server, stream, request, zero_dates, open: None })
    }

    async fn start(&mut self) -> Result<Open> {
        let server = &self.server;
        let mut connection = server.connect().await?;
        let declared = &self.request.columns;
        let relation = Relation::of(&mut connection, server, &self.stream, declared).await?;
        let (order, cursor) = self.order(&relation)?;
        let names: Vec<String> = order.iter().map(|order| order.sql.clone()).collect();
        let stored = Keyset::<Value>::of(&self.request, "mysql")?;
        let mut stored = stored.ordered(names, &relation.name)?;
        let missing = match cursor {
            true => {
                Self::without_cursor(&self.request, &mut connection, &relation, &order, &mut stored)
                    .await?
            }
            false => None,
        };
        let comes_again = cursor && !self.request.write_appends;
        let from = self.look_back(&stored, &order)?;
        let columns = relation.columns.iter().map(|column| column.column.clone()).collect();
        let schema = TableSchema::new(columns, false);
        let page_rows = self.request.page_rows.max(1);
        let page_bytes = self.request.page_bytes;
        let mut page = PageBuilder::new("mysql", &schema, page_rows).limited(page_bytes);
        if let Some(missing) = &missing {
            page.notice(missing.code, &relation.name, missing.message.clone());
        }
        let missing = missing.filter(|missing| missing.again).map(|_| Vec::new());
        let (server, zero) = (server.clone(), self.zero_dates);
        let plan =
            Plan { server, relation, order, schema, zero, page_rows, page_bytes, comes_again };
        let (plan, feed) = (Arc::new(plan), Feed::Ended);
        let mut open = Open { plan, feed, page, made: None, stored, from, cursor, missing };
        open.feed = open.begin(connection, self.connections()?).await?;
        Ok(open)
    }

    /// How many connections read.
    fn connections(&self) -> Result<usize> {
        match (self.stream.parallel.unwrap_or(1), &self.request.mode) {
            (0, _) => Err(Error::invalid("a read by no connection is impossible")
                .hint(format!("Set `parallel` to a number from 1 to {PARALLEL_MAX}."))),
            (count, ReadMode::Full) => {
                // One more finds where pages begin.
                let most = self.request.parallel.map_or(PARALLEL_MAX, |most| most.get() - 1);
                Ok(count.min(PARALLEL_MAX).min(most.max(1)))
            }
            _ => Ok(1),
        }
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

    /// What becomes of the rows without a value in the cursor; a key that is the cursor has one in each row.
    async fn without_cursor(
        request: &ReadRequest,
        connection: &mut Connection,
        relation: &Relation,
        order: &[Order],
        stored: &mut Keyset<Value>,
    ) -> Result<Option<Missing>> {
        let ReadMode::Incremental { cursor: Some(cursor), .. } = &request.mode else {
            return Ok(None);
        };
        let (Some(first), true) = (order.first(), order.len() > 1) else { return Ok(None) };
        let given = relation.condition.as_ref();
        let given = given.map_or_else(String::new, |given| format!("({given}) AND "));
        let (from, missing) = (&relation.from, is_missing(&first.sql));
        let sql = format!("SELECT count(*) FROM {from} WHERE {given}{missing}");
        let counted: Option<(i64,)> = connection.first(&sql, ()).await?;
        let count = counted.map_or(0, |(count,)| u64::try_from(count).unwrap_or_default());
        Ok(stored.meet(count, cursor, request.write_appends))
    }

    /// Where a read begins that looks back before the last cursor value.
    fn look_back(&self, stored: &Keyset<Value>, order: &[Order]) -> Result<Option<Value>> {
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

    /// The columns of the pages, once there was one.
    pub(super) fn columns(&self) -> &[crate::page::Column] {
        self.open.as_ref().map(|open| open.plan.schema.columns()).unwrap_or_default()
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
        let comes_back = open.comes_back();
        let more = open.fill().await?;
        // If it breaks off among rows that move nothing, the next read begins as this one did.
        open.stored.complete = !more || (comes_back && was_complete);
        if !more && let Feed::Pages(connection) = std::mem::replace(&mut open.feed, Feed::Ended) {
            connection.close().await;
        }
        if !more && open.stored.rows == rows_before && was_complete && open.page.is_empty() {
            return Ok(None);
        }
        let position = open.stored.position()?;
        let page = open.finish(position)?;
        self.open = Some(open);
        Ok(Some(page))
    }
}

/// Starts the one query that reads a relation without key.
async fn streamed(plan: &Plan, connection: Connection, skip: u64) -> Result<Streamed> {
    let mut sql = select(&plan.relation, &[]);
    if let Some(condition) = &plan.relation.condition {
        sql.push_str(&format!(" WHERE ({condition})"));
    }
    if skip > 0 {
        sql.push_str(&format!(" LIMIT {} OFFSET {skip}", u64::MAX));
    }
    let (conn, admitted) = connection.into_conn()?;
    let rows = Connection::answered(&plan.server, sql.with(()).stream::<Row, _>(conn)).await?;
    Ok(Streamed { rows, _admitted: admitted })
}

/// What a query of rows gave.
pub(super) struct Fetched {
    /// How many rows.
    pub(super) count: usize,
    /// Whether the page was full before the rows ended.
    pub(super) full: bool,
    /// The last row's values of the order.
    pub(super) after: Option<Vec<Value>>,
}

/// Reads rows into a page until it is full; `before` is the number of the row before the first.
pub(super) async fn fetch(
    plan: &Plan,
    connection: &mut Connection,
    (sql, arguments): (String, Vec<SqlValue>),
    page: &mut PageBuilder,
    before: u64,
) -> Result<Fetched> {
    let conn = connection.conn()?;
    let mut rows = Connection::answered(&plan.server, conn.exec_iter(sql, arguments)).await?;
    let (mut count, mut last) = (0, None);
    while !page.is_full()
        && let Some(row) = Connection::answered(&plan.server, rows.next()).await?
    {
        count += 1;
        let values = row.unwrap();
        take(plan, page, &values, before + count as u64)?;
        last = Some(values);
    }
    let full = page.is_full();
    if full {
        Connection::answered(&plan.server, rows.drop_result()).await?;
    }
    let Some(values) = last else { return Ok(Fetched { count, full, after: None }) };
    let after = values.iter().skip(plan.relation.columns.len()).zip(&plan.order);
    let after = after.map(|(value, order)| to_json(value, order.wire)).collect::<Result<_>>()?;
    Ok(Fetched { count, full, after: Some(after) })
}

impl Open {
    /// Begins the snapshot and what feeds the read.
    async fn begin(&mut self, mut connection: Connection, connections: usize) -> Result<Feed> {
        let name = &self.plan.relation.name;
        if connections > 1 && !self.plan.order.is_empty() {
            let (plan, after) = (Arc::clone(&self.plan), self.stored.after.clone());
            let parallel = Parallel::start(plan, connection, connections, after).await?;
            if !parallel.one_moment {
                self.page.notice(
                    "snapshots-differ",
                    name,
                    "the connections of the read have snapshots of their own, and the server does \
                     not tell whether they show one moment: a row that changed while the read began \
                     may be from before or after; set `parallel: 1` for one snapshot",
                );
            }
            return Ok(Feed::Parallel(Box::new(parallel)));
        }
        for statement in SNAPSHOT {
            connection.run(statement).await?;
        }
        if !self.plan.order.is_empty() {
            return Ok(Feed::Pages(connection));
        }
        if self.stored.rows > 0 {
            self.page.notice(
                "resumed-without-key",
                name,
                "the read goes on after as many rows as it had read; without a key the server \
                 does not promise their order: set `primary_key`",
            );
        }
        Ok(Feed::Stream(Box::new(streamed(&self.plan, connection, self.stored.rows).await?)))
    }

    /// Whether the next page is of rows without a value in the cursor that come again and move nothing.
    fn comes_back(&self) -> bool {
        self.missing.is_some() && !self.stored.after.first().is_some_and(Value::is_null)
    }

    /// Reads the rows of one page; says whether more may follow.
    async fn fill(&mut self) -> Result<bool> {
        let Self { feed, plan, page, stored, .. } = self;
        match feed {
            Feed::Ended => Ok(false),
            Feed::Parallel(_) => self.fill_from_parallel().await,
            Feed::Stream(open) => {
                while !page.is_full() {
                    let next = async { open.rows.next().await.transpose() };
                    let Some(row) = Connection::answered(&plan.server, next).await? else {
                        return Ok(false);
                    };
                    stored.rows += 1;
                    take(plan, page, &row.unwrap(), stored.rows)?;
                }
                Ok(true)
            }
            Feed::Pages(connection) => {
                if let Some(after) = self.missing.take() {
                    let part = Range { missing: true, after, ..Range::default() };
                    let query = part.rows(&plan.relation, &plan.order, Some(plan.page_rows))?;
                    let fetched = fetch(plan, connection, query, page, stored.rows).await?;
                    stored.rows += fetched.count as u64;
                    let more = fetched.count == plan.page_rows || fetched.full;
                    if let Some(after) = fetched.after {
                        // They move nothing unless there was no value yet.
                        if stored.after.first().is_some_and(Value::is_null) {
                            stored.after.clone_from(&after);
                        }
                        self.missing = more.then_some(after);
                    }
                    // What is behind the position follows.
                    return Ok(true);
                }
                let (cursor, after) = (self.cursor, stored.after.clone());
                let from = self.from.clone();
                let part = Range { cursor, from, after, ..Range::default() };
                let query = part.rows(&plan.relation, &plan.order, Some(plan.page_rows))?;
                let fetched = fetch(plan, connection, query, page, stored.rows).await?;
                stored.rows += fetched.count as u64;
                if let Some(after) = fetched.after {
                    stored.after = after;
                    self.from = None;
                }
                Ok(fetched.count == plan.page_rows || fetched.full)
            }
        }
    }

    /// Takes the next page that the connections of a parallel read made.
    async fn fill_from_parallel(&mut self) -> Result<bool> {
        let Feed::Parallel(parallel) = &mut self.feed else { return Ok(false) };
        while let Some(mut piece) = parallel.next().await? {
            let more = !parallel.is_done();
            if piece.rows == 0 && more {
                continue;
            }
            for run in &mut piece.page.origin {
                run.line += self.stored.rows;
            }
            for line in piece.page.rejected.iter_mut().filter_map(|row| row.line.as_mut()) {
                *line += self.stored.rows;
            }
            self.stored.rows += piece.rows;
            if piece.rows > 0 {
                self.stored.after = piece.after;
            }
            self.made = Some(piece.page);
            return Ok(more);
        }
        Ok(false)
    }

    /// Hands over the page that was filled.
    fn finish(&mut self, position: Position) -> Result<Page> {
        let page = self.page.finish(&self.plan.schema, position)?;
        let Some(mut made) = self.made.take() else { return Ok(page) };
        made.notices.extend(page.notices);
        made.position = page.position;
        Ok(made)
    }
}

/// Puts a row into the page, or sets it aside.
fn take(plan: &Plan, page: &mut PageBuilder, values: &[SqlValue], line: u64) -> Result<()> {
    let Plan { relation, schema, zero, .. } = plan;
    let mut bytes = 0;
    for (place, (value, column)) in values.iter().zip(&relation.columns).enumerate() {
        bytes += size(value);
        let Err(misfit) = push_one(page, place, column, value, *zero) else { continue };
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
        let text = row_text(relation, values);
        // The number that a row has in one of several reads that meet it says nothing.
        match plan.comes_again && values.get(relation.columns.len()) == Some(&SqlValue::NULL) {
            true => {
                let file = without_line(&relation.name, &text);
                page.reject(&file, None, name, misfit, raw(&text));
            }
            false => page.reject(&relation.name, Some(line), name, misfit, raw(&text)),
        }
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
        return Err(Misfit::new("null-value", "no value in a column that is required"));
    }
    let zero = if column.column.not_null { ZeroDates::Reject } else { zero };
    push(value, column.wire, zero, builder)
}

fn row_text(relation: &Relation, values: &[SqlValue]) -> String {
    let mut object = serde_json::Map::new();
    for (value, column) in values.iter().zip(&relation.columns) {
        object.insert(column.column.name.clone(), shown(value, column.wire));
    }
    Value::Object(object).to_string()
}
