//! The queries of pages: the rows behind one key, up to another, in the order of the key.

use flywheel_base::{Error, Result};
use mysql_async::Value as SqlValue;
use serde_json::Value;

use super::relation::{Order, Relation};
use super::value::{from_json, placeholder};

/// A part of a relation in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Range {
    /// Whether the first of the order is a cursor, which may be missing.
    pub(super) cursor: bool,
    /// Whether only rows without a cursor are of the part.
    pub(super) missing: bool,
    /// The first cursor value, if the read looks back.
    pub(super) from: Option<Value>,
    /// The values of the row before the part; empty at the start.
    pub(super) after: Vec<Value>,
    /// The values of the last row of the part; empty if it has no end.
    pub(super) up_to: Vec<Value>,
}

/// The condition of rows without a value in the cursor. Of a date that is `NOT NULL`, `IS NULL` finds those that are 0000-00-00.
pub(super) fn is_missing(cursor: &str) -> String {
    format!("{cursor} <=> NULL")
}

/// The query of a relation's columns and of the expressions that order it.
pub(super) fn select(relation: &Relation, order: &[Order]) -> String {
    let columns = relation.columns.iter().map(|column| column.sql.as_str());
    let list: Vec<&str> = columns.chain(order.iter().map(|order| order.sql.as_str())).collect();
    format!("SELECT {} FROM {}", list.join(", "), relation.from)
}

impl Range {
    /// The query of the rows of this part and its arguments.
    pub(super) fn rows(
        &self,
        relation: &Relation,
        order: &[Order],
        limit: Option<usize>,
    ) -> Result<(String, Vec<SqlValue>)> {
        let (mut sql, arguments) = self.within(select(relation, order), relation, order)?;
        if let Some(limit) = limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        Ok((sql, arguments))
    }

    /// The query of the key of the row that is the `count`th of this part.
    pub(super) fn bound(
        &self,
        relation: &Relation,
        order: &[Order],
        count: usize,
    ) -> Result<(String, Vec<SqlValue>)> {
        let list: Vec<&str> = order.iter().map(|order| order.sql.as_str()).collect();
        let select = format!("SELECT {} FROM {}", list.join(", "), relation.from);
        let (mut sql, arguments) = self.within(select, relation, order)?;
        sql.push_str(&format!(" LIMIT 1 OFFSET {}", count.saturating_sub(1)));
        Ok((sql, arguments))
    }

    fn within(
        &self,
        mut sql: String,
        relation: &Relation,
        order: &[Order],
    ) -> Result<(String, Vec<SqlValue>)> {
        let mut arguments = Vec::new();
        let mut conditions = Vec::new();
        if let Some(condition) = &relation.condition {
            conditions.push(format!("({condition})"));
        }
        if let Some(condition) = self.start(order, &mut arguments)? {
            conditions.push(format!("({condition})"));
        }
        if !self.up_to.is_empty() {
            let condition = beside(order, &self.up_to, 0, ["<=", "<"], "<=", &mut arguments)?;
            conditions.push(format!("({condition})"));
        }
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        let list: Vec<&str> = order.iter().map(|order| order.sql.as_str()).collect();
        sql.push_str(&format!(" ORDER BY {}", list.join(", ")));
        Ok((sql, arguments))
    }

    /// The condition of the rows behind the start, if there is one.
    fn start(&self, order: &[Order], arguments: &mut Vec<SqlValue>) -> Result<Option<String>> {
        let cursor = order.first().map(|order| order.sql.as_str()).unwrap_or_default();
        if self.missing {
            let missing = is_missing(cursor);
            if self.after.is_empty() {
                return Ok(Some(missing));
            }
            let keys = beside(order, &self.after, 1, [">=", ">"], ">", arguments)?;
            return Ok(Some(format!("{missing} AND {keys}")));
        }
        if let (Some(from), Some(cursor)) = (&self.from, order.first()) {
            if from.is_null() {
                return Ok(None);
            }
            arguments.push(from_json(from)?);
            return Ok(Some(format!("{} >= {}", cursor.sql, placeholder(cursor.wire))));
        }
        if self.after.is_empty() {
            return Ok(None);
        }
        let behind = [">=", ">"];
        if !(self.cursor && self.after.first().is_some_and(Value::is_null)) {
            return beside(order, &self.after, 0, behind, ">", arguments).map(Some);
        }
        // Rows without a cursor value come first.
        if order.len() == 1 {
            return Ok(Some(format!("{cursor} IS NOT NULL")));
        }
        let keys = beside(order, &self.after, 1, behind, ">", arguments)?;
        Ok(Some(format!("({cursor} IS NULL AND {keys}) OR {cursor} IS NOT NULL")))
    }
}

/// `(a, b) > (x, y)` in the form that an index on `(a, b)` serves: `a >= x AND (a > x OR b > y)`.
fn beside(
    order: &[Order],
    values: &[Value],
    place: usize,
    [loose, strict]: [&str; 2],
    last: &str,
    arguments: &mut Vec<SqlValue>,
) -> Result<String> {
    let (Some(part), Some(value)) = (order.get(place), values.get(place)) else {
        return Err(Error::corrupt("the stored position has too few values"));
    };
    let (sql, mark) = (&part.sql, placeholder(part.wire));
    arguments.push(from_json(value)?);
    if place + 1 == order.len() {
        return Ok(format!("{sql} {last} {mark}"));
    }
    arguments.push(from_json(value)?);
    let rest = beside(order, values, place + 1, [loose, strict], last, arguments)?;
    Ok(format!("{sql} {loose} {mark} AND ({sql} {strict} {mark} OR ({rest}))"))
}
