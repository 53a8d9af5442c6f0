//! What templates ask the database while a node is built: `run_query`, `statement`, tables that are there, their columns.
//!
//! ```text
//! template ─→ render ─→ a question that nobody answered yet ─→ one query that reads ─→ render again ─→ … ─→ SQL
//! ```
//!
//! A question sees what the node itself would see: the shelf at that moment, as the owner of the project, and never more than
//! the tables that the node declares. It only reads, and its rows, its size and its time have limits. An answer is kept as
//! long as the node is built, so that all of its renderings are told the same; it is a part of the text that comes out, and
//! so of what the node is known by.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use chrono::{NaiveDate, NaiveDateTime};
use flywheel_base::{Error, QuotaExceeded, Result, Timestamp};
use flywheel_project::{Asking, Cell, Columns, Question, Rows, RunContext};
use flywheel_warehouse::{Allowance, Session, TableName, texts};
use futures::StreamExt;
use serde_json::Value as Json;

use super::job::{sql_type, undeclared};
use crate::World;
use crate::names;
use crate::shelf::{Item, Shelf};
use crate::testing::quoted_table;

/// How many rows an answer may have.
const ROWS_MAX: usize = 10_000;

/// How many bytes the texts of an answer may have.
const BYTES_MAX: usize = 4 << 20;

/// How long one question may take.
const TIME_MAX: Duration = Duration::from_secs(300);

/// From here on a number has digits that a float does not keep.
const EXACT_DIGITS: usize = 15;

/// Answers that are known, by question, and the tables that they were read from.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Why there is no answer is said as often as it is asked.
    answers: BTreeMap<Question, Result<Arc<Rows>>>,
    /// Every table and view that was read for them, `schema.name`.
    pub(super) tables: BTreeSet<String>,
}

impl Told {
    /// Renders with the answers that are known; else the first question that has none.
    pub(super) fn attempt(
        &self,
        facts: Facts<'_>,
        render: &impl Fn(&RunContext<'_>) -> Result<String>,
    ) -> Result<Result<String>, Question> {
        let open = RefCell::new(None);
        let ask = |question: &Question| self.answer(question, &open);
        let Facts { columns, moment, results } = facts;
        let sql = render(&RunContext { columns, moment, results, asking: Asking::By(&ask) });
        match open.take() {
            None => Ok(sql),
            Some(question) => Err(question),
        }
    }

    /// The answer, or nothing; what is not answered yet is noted in `open`.
    fn answer(
        &self,
        question: &Question,
        open: &RefCell<Option<Question>>,
    ) -> Result<Option<Arc<Rows>>> {
        match self.answers.get(question) {
            Some(Ok(rows)) => Ok(Some(Arc::clone(rows))),
            Some(Err(error)) => Err(error.again()),
            None => {
                open.borrow_mut().get_or_insert_with(|| question.clone());
                Ok(None)
            }
        }
    }
}

/// What a rendering is told besides answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) columns: &'a Columns,
    pub(super) moment: Option<Timestamp>,
    pub(super) results: Option<&'a Json>,
}

impl Default for Facts<'_> {
    fn default() -> Self {
        Self { columns: const { &Columns::new() }, moment: None, results: None }
    }
}

/// Who answers the questions of one node.
pub(super) struct Desk<'a> {
    world: World<'a>,
    shelf: &'a Shelf,
    session: Session,
    /// What the node declares; everything may be asked if absent.
    reads: Option<&'a BTreeSet<String>>,
    /// The node's own table.
    own: Option<(&'a str, Option<Item>)>,
}

impl<'a> Desk<'a> {
    /// Answers what a model asks that declares `reads`; its own name means `this`, which is absent while a whole table is
    /// built.
    pub(super) fn of_model(
        world: World<'a>,
        shelf: &'a Shelf,
        reads: &'a BTreeSet<String>,
        own: &'a str,
        this: Option<Item>,
    ) -> Result<Self> {
        Self::new(world, shelf, Some(reads), Some((own, this)))
    }

    /// Answers what a test asks that declares `reads`.
    pub(super) fn of_test(
        world: World<'a>,
        shelf: &'a Shelf,
        reads: &'a BTreeSet<String>,
    ) -> Result<Self> {
        Self::new(world, shelf, Some(reads), None)
    }

    /// Answers what statements around a build ask, which name what they like; a model's own name means `this`.
    pub(super) fn of_statements(
        world: World<'a>,
        shelf: &'a Shelf,
        own: Option<(&'a str, Option<Item>)>,
    ) -> Result<Self> {
        Self::new(world, shelf, None, own)
    }

    fn new(
        world: World<'a>,
        shelf: &'a Shelf,
        reads: Option<&'a BTreeSet<String>>,
        own: Option<(&'a str, Option<Item>)>,
    ) -> Result<Self> {
        let mut catalog = shelf.catalog()?;
        if let Some((name, item)) = &own {
            let name = TableName::parse(name)?;
            match item {
                Some(item) => item.put(&name, &mut catalog),
                None => {
                    catalog.forget(&name);
                }
            }
        }
        catalog.within(Arc::new(Allowance {
            whose: "templates".to_owned(),
            memory_bytes: None,
            time: Some(TIME_MAX),
            rows: None,
            places: None,
            told: Arc::new(|_| {}),
        }));
        let session = world.lake.session(catalog)?;
        Ok(Self { world, shelf, session, reads, own })
    }

    /// Renders as often as something new is asked, and finds the answers in between.
    ///
    /// # Errors
    /// Those of rendering. An answer that cannot be had is an error of the template, at the place that asks.
    pub(super) async fn render(
        &self,
        told: &mut Told,
        facts: Facts<'_>,
        render: impl Fn(&RunContext<'_>) -> Result<String> + Send,
    ) -> Result<String> {
        loop {
            let question = match told.attempt(facts, &render) {
                Ok(sql) => return sql,
                Err(question) => question,
            };
            let answer = self.answer(&question).await.map(|(rows, tables)| {
                told.tables.extend(tables);
                Arc::new(rows)
            });
            told.answers.insert(question, answer);
        }
    }

    /// The rows that answer a question, and the tables they were read from.
    async fn answer(&self, question: &Question) -> Result<(Rows, BTreeSet<String>)> {
        match question {
            Question::Query(sql) => self.rows(sql).await,
            Question::Table(name) => self.table(name).await,
            Question::Tables { schema, name, exclude } => {
                self.tables(schema, name, exclude).map(|rows| (rows, BTreeSet::new()))
            }
        }
    }

    async fn rows(&self, sql: &str) -> Result<(Rows, BTreeSet<String>)> {
        let query = self.session.query(sql).await?;
        let tables: BTreeSet<String> = query.tables().iter().map(ToString::to_string).collect();
        self.require(&tables)?;
        let schema = query.schema();
        let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut found = Rows { columns, rows: Vec::new() };
        let mut bytes = 0;
        let mut batches = query.stream().await.map_err(too_long)?;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(too_long)?;
            if found.rows.len() + batch.num_rows() > ROWS_MAX {
                return Err(too_much(&format!("more than {ROWS_MAX} rows")));
            }
            texts(&batch, |row| {
                bytes += row.iter().flatten().map(String::len).sum::<usize>();
                found.rows.push(cells(&schema, row));
            })?;
            if bytes > BYTES_MAX {
                return Err(too_much(&format!("more than {} MiB", BYTES_MAX >> 20)));
            }
        }
        Ok((found, tables))
    }

    /// The columns of a table, if it is there.
    async fn table(&self, name: &str) -> Result<(Rows, BTreeSet<String>)> {
        let columns = ["name", "type", "kind"].map(str::to_owned).to_vec();
        let mut found = Rows { columns, rows: Vec::new() };
        let item = match &self.own {
            Some((own, item)) if *own == name => item.as_ref(),
            _ => self.shelf.item(name),
        };
        self.require(&BTreeSet::from([name.to_owned()]))?;
        let Some(item) = item else { return Ok((found, BTreeSet::new())) };
        let kind = match item {
            Item::Table { .. } => "table",
            Item::View { .. } => "view",
        };
        let query = self.session.query(&format!("SELECT * FROM {}", quoted_table(name))).await?;
        for field in query.schema().fields() {
            let texts = [field.name().clone(), sql_type(field.data_type()), kind.to_owned()];
            found.rows.push(texts.map(Cell::Text).to_vec());
        }
        Ok((found, BTreeSet::from([name.to_owned()])))
    }

    /// The tables whose names fit patterns. Each has to be declared: what comes up by its name alone has no place in the
    /// order of the build.
    fn tables(&self, schema: &str, name: &str, exclude: &str) -> Result<Rows> {
        let own = self.own.as_ref().map(|(own, _)| *own);
        let mut rows = Vec::new();
        for relation in self.shelf.names().filter(|relation| Some(*relation) != own) {
            let Some((in_schema, named)) = relation.split_once('.') else { continue };
            let left_out = !exclude.is_empty() && is_like(named, exclude);
            if left_out || !is_like(in_schema, schema) || !is_like(named, name) {
                continue;
            }
            self.require(&BTreeSet::from([relation.to_owned()]))?;
            rows.push([in_schema, named].map(|text| Cell::Text(text.to_owned())).to_vec());
        }
        Ok(Rows { columns: ["schema", "name"].map(str::to_owned).to_vec(), rows })
    }

    /// Refuses tables that the node does not declare.
    fn require(&self, tables: &BTreeSet<String>) -> Result<()> {
        let Some(reads) = self.reads else { return Ok(()) };
        let behind = self.shelf.behind(reads.iter().map(String::as_str));
        let own = self.own.as_ref().map(|(own, _)| *own);
        let other = tables
            .iter()
            .find(|table| !behind.contains(table.as_str()) && own != Some(table.as_str()));
        let Some(other) = other else { return Ok(()) };
        let known = names::model(self.world.project, other);
        let declared = match (known, other.split_once('.')) {
            (Some(model), _) => format!("{{{{ ref('{}') }}}}", model.name),
            (None, Some((schema, table))) => format!("{{{{ source('{schema}', '{table}') }}}}"),
            (None, None) => return Err(undeclared(self.world.project, other, "")),
        };
        Err(Error::invalid(format!("it asks for table \"{other}\" without declaring it")).hint(
            format!(
                "Write `-- depends_on: {declared}` at the top of the file: what is asked only while the query is executed is not seen before."
            ),
        ))
    }
}

fn too_much(what: &str) -> Error {
    Error::exhausted(format!("what a template asks gives {what}"))
        .hint("Let SQL aggregate or limit it; a template writes a query and holds no data.")
}

/// Says it in the words of templates if a question took too long.
fn too_long(error: Error) -> Error {
    match QuotaExceeded::of(&error) {
        None => error,
        Some(_) => {
            let limit = TIME_MAX.as_secs();
            Error::exhausted(format!("what a template asks takes longer than {limit} s"))
                .hint("Let it ask a smaller table, such as a model that holds the answer.")
        }
    }
}

/// A row as templates see it.
fn cells(schema: &SchemaRef, row: Vec<Option<String>>) -> Vec<Cell> {
    let fields = schema.fields().iter();
    fields.zip(row).map(|(field, text)| cell(field.data_type(), text)).collect()
}

fn cell(data_type: &DataType, text: Option<String>) -> Cell {
    let Some(text) = text else { return Cell::Null };
    let parsed = match data_type {
        DataType::Null => Some(Cell::Null),
        DataType::Boolean => text.parse().ok().map(Cell::Bool),
        kind if kind.is_integer() => text.parse().ok().map(Cell::Int),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            text.parse().ok().map(Cell::Float)
        }
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => {
            let exact = text.chars().filter(char::is_ascii_digit).count() <= EXACT_DIGITS;
            let whole = !text.contains('.');
            match (whole, exact) {
                (true, _) => text.parse().ok().map(Cell::Int),
                (false, true) => text.parse().ok().map(Cell::Float),
                (false, false) => None,
            }
        }
        DataType::Date32 | DataType::Date64 => {
            let day = text.get(..10).unwrap_or(&text);
            NaiveDate::parse_from_str(day, "%Y-%m-%d").ok().map(Cell::Day)
        }
        DataType::Timestamp(..) => {
            let moment = text.trim_end_matches('Z');
            NaiveDateTime::parse_from_str(moment, "%Y-%m-%dT%H:%M:%S%.f").ok().map(Cell::Moment)
        }
        _ => None,
    };
    parsed.unwrap_or(Cell::Text(text))
}

/// Whether a name fits a pattern of SQL's `LIKE`, whatever its case.
fn is_like(name: &str, pattern: &str) -> bool {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    // Which beginnings of the name fit what was seen of the pattern.
    let mut fits = vec![false; name.len() + 1];
    fits.iter_mut().take(1).for_each(|first| *first = true);
    for sign in pattern {
        let before = fits.clone();
        let mut any = false;
        for (at, fit) in fits.iter_mut().enumerate() {
            any |= before.get(at).copied().unwrap_or_default();
            let previous = at.checked_sub(1);
            let one = previous.and_then(|at| before.get(at).copied()).unwrap_or_default();
            let same = previous.and_then(|at| name.get(at)) == Some(&sign);
            *fit = match sign {
                '%' => any,
                '_' => one,
                _ => one && same,
            };
        }
    }
    fits.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns_whatever_their_case() {
        let check = |name: &str, pattern: &str, expected: bool| {
            assert_eq!(is_like(name, pattern), expected, "{name} like {pattern}");
        };
        check("events_2024", "events%", true);
        check("Events_2024", "EVENTS_%", true);
        check("events", "events_%", false);
        check("old_events", "%events", true);
        check("old_events", "events%", false);
        check("abc", "a_c", true);
        check("", "%", true);
        check("a", "", false);
    }

    #[test]
    fn values_keep_what_templates_can_hold_of_them() {
        let check = |data_type: DataType, text: &str, expected: Cell| {
            assert_eq!(cell(&data_type, Some(text.to_owned())), expected, "{text}");
        };
        check(DataType::Int64, "7", Cell::Int(7));
        check(DataType::UInt64, "18446744073709551615", Cell::Text("18446744073709551615".into()));
        check(DataType::Decimal128(10, 2), "1.50", Cell::Float(1.5));
        let long = "12345678901234567890.25";
        check(DataType::Decimal128(38, 2), long, Cell::Text(long.into()));
        let day = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
        check(DataType::Date32, "2024-02-29", Cell::Day(day));
        let moment = day.and_hms_opt(13, 0, 0).unwrap();
        let micros = arrow::datatypes::TimeUnit::Microsecond;
        check(DataType::Timestamp(micros, None), "2024-02-29T13:00:00", Cell::Moment(moment));
        assert_eq!(cell(&DataType::Utf8, None), Cell::Null);
    }
}
