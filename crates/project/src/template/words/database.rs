//! What templates ask the database: `run_query`, `statement` and `load_result`, tables that are there, and what the answers
//! look like in a template: as dbt's are, a table of rows and columns.

use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Value, from_args};
use minijinja::{Error, ErrorKind, State};

use super::Inner;
use super::moment::Moment;
use crate::template::question::{Cell, Question, Rows, Told};

/// How many texts of one rendering may be kept by `statement`.
const STATEMENTS_MAX: usize = 1_000;

impl Inner {
    /// The answer to a question; the rendering stops here if it is not known yet.
    pub(super) fn ask(&self, word: &str, question: Question) -> Result<Arc<Rows>, Error> {
        if !self.execute {
            return Ok(Arc::default());
        }
        match self.told.get(&question) {
            Some(Told::Rows(rows)) => Ok(Arc::clone(rows)),
            Some(Told::Refused(raised)) => Err(self.raise(raised.clone())),
            None => {
                self.seen().open = Some((word.to_owned(), question));
                let message = format!("{word} waits for an answer");
                Err(Error::new(ErrorKind::InvalidOperation, message))
            }
        }
    }

    /// The rows of a query.
    fn query(&self, word: &str, sql: &str) -> Result<Value, Error> {
        let sql = sql.trim().trim_end_matches(';').trim_end();
        if sql.is_empty() && self.execute {
            return Err(self.refuse(
                format!("{word} is given no query"),
                "Write run_query('select …').".to_owned(),
            ));
        }
        let answer = self.ask(word, Question::Query(sql.to_owned()))?;
        Ok(Table::of(&answer))
    }

    /// The table of this name, if it is there.
    pub(super) fn existing(&self, word: &str, name: &str) -> Result<Value, Error> {
        let found = self.ask(word, Question::Table(name.to_owned()))?;
        Ok(match found.rows.is_empty() {
            true => Value::from(()),
            false => self.relation(name),
        })
    }

    /// The tables whose schema and name fit patterns.
    pub(super) fn fitting(
        &self,
        schema: String,
        name: String,
        exclude: String,
    ) -> Result<Value, Error> {
        let question = Question::Tables { schema, name, exclude };
        let found = self.ask("a look for tables", question)?;
        let names = found.rows.iter().filter_map(|row| match row.as_slice() {
            [Cell::Text(schema), Cell::Text(name)] => Some(format!("{schema}.{name}")),
            _ => None,
        });
        Ok(names.map(|name| self.relation(&name)).collect())
    }
}

/// `run_query('select …')`.
#[derive(Debug)]
pub(super) struct RunQuery(pub(super) Arc<Inner>);

impl Object for RunQuery {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let sql = match args {
            [named] if named.is_kwargs() => Kwargs::try_from(named.clone())?.get("sql")?,
            args => from_args::<(String,)>(args)?.0,
        };
        self.0.query("run_query()", &sql)
    }
}

/// `{% call statement('name', fetch_result=True) %}select …{% endcall %}`.
#[derive(Debug)]
pub(super) struct Statement(pub(super) Arc<Inner>);

impl Object for Statement {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let lacks = || {
            self.0.refuse(
                "statement() has no query".to_owned(),
                "Write {% call statement('name', fetch_result=True) %}select …{% endcall %}."
                    .to_owned(),
            )
        };
        let Some((named, plain)) = args.split_last().filter(|(last, _)| last.is_kwargs()) else {
            return Err(lacks());
        };
        let named = Kwargs::try_from(named.clone())?;
        let name: Option<String> = match plain.first() {
            Some(name) => Some(name.to_string()),
            None => named.get("name")?,
        };
        let Some(caller) = named.get::<Option<Value>>("caller")? else { return Err(lacks()) };
        let sql = caller.call(state, &[])?.to_string();
        let table = self.0.query("statement()", &sql)?;
        let name = name.unwrap_or_else(|| "main".to_owned());
        let mut seen = self.0.seen();
        if seen.results.len() < STATEMENTS_MAX {
            seen.results.insert(name, table);
        }
        Ok(Value::from(""))
    }
}

/// `load_result('name')`: what a statement gave; nothing if there was none.
pub(super) fn load_result(words: &Inner, name: &str) -> Value {
    let known = words.seen().results.get(name).cloned();
    let table = match known {
        Some(table) => table,
        None if words.execute => return Value::from(()),
        None => Table::of(&Rows::default()),
    };
    let data = table.get_attr("rows").unwrap_or_default();
    let pairs = [
        ("table", table),
        ("data", data),
        ("response", Value::from("OK")),
        ("status", Value::from("OK")),
    ];
    Value::from_pairs(pairs)
}

/// A value of an answer as templates see it.
fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::from(()),
        Cell::Bool(is) => Value::from(*is),
        Cell::Int(number) => Value::from(*number),
        Cell::Float(number) => Value::from(*number),
        Cell::Text(text) => Value::from(text.as_str()),
        Cell::Day(day) => Value::from_object(Moment::day(*day)),
        Cell::Moment(at) => Value::from_object(Moment::plain(*at)),
    }
}

/// An answer: a list of its rows, with `columns`, `rows` and `column_names`.
#[derive(Debug)]
struct Table {
    rows: Value,
    columns: Value,
    names: Vec<String>,
    count: usize,
}

impl Table {
    fn of(answer: &Rows) -> Value {
        // Only what was not asked has no columns.
        let blank = answer.columns.is_empty();
        let rows: Vec<Vec<Value>> =
            answer.rows.iter().map(|row| row.iter().map(value).collect()).collect();
        let columns = answer.columns.iter().enumerate().map(|(at, name)| {
            let values = rows.iter().filter_map(|row| row.get(at).cloned()).collect();
            Series::object(Vec::new(), values, Some(name.clone()))
        });
        let columns: Vec<Value> = columns.collect();
        let names = answer.columns.clone();
        let count = rows.len();
        let rows = rows.into_iter().map(|row| Series::object(names.clone(), row, None)).collect();
        Value::from_object(Self {
            rows: if blank { Series::blank() } else { Series::object(Vec::new(), rows, None) },
            columns: if blank {
                Series::blank()
            } else {
                Series::object(names.clone(), columns, None)
            },
            names,
            count,
        })
    }
}

impl Object for Table {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some("rows") => Some(self.rows.clone()),
            Some("columns") => Some(self.columns.clone()),
            Some("column_names") => Some(self.names.iter().map(String::as_str).collect()),
            Some(_) => None,
            None => self.rows.get_item(key).ok().filter(|found| !found.is_undefined()),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.count)
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "print_table" | "print_csv" | "print_json" => Ok(Value::from("")),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// Values in their order, some of which have names: a row, a column, all rows or all columns.
#[derive(Debug)]
struct Series {
    /// The names of the values, in their order; none of a column.
    names: Vec<String>,
    values: Vec<Value>,
    /// What a column is called.
    name: Option<String>,
    /// Of what was not asked: there is always something in it, which is the same.
    blank: bool,
}

impl Series {
    fn object(names: Vec<String>, values: Vec<Value>, name: Option<String>) -> Value {
        Value::from_object(Self { names, values, name, blank: false })
    }

    fn blank() -> Value {
        let (names, values) = (Vec::new(), Vec::new());
        Value::from_object(Self { names, values, name: None, blank: true })
    }

    /// The value of a name, whatever its case if no other has it.
    fn named(&self, name: &str) -> Option<Value> {
        let exact = self.names.iter().position(|known| known == name);
        let at = exact
            .or_else(|| self.names.iter().position(|known| known.eq_ignore_ascii_case(name)))?;
        self.values.get(at).cloned()
    }

    fn pairs(&self) -> impl Iterator<Item = (Value, Value)> + '_ {
        let names = self.names.iter().map(|name| Value::from(name.as_str()));
        names.zip(self.values.iter().cloned())
    }
}

impl Object for Series {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if self.blank {
            return Some(Self::blank());
        }
        match (key.as_str(), &self.name) {
            (Some("name"), Some(name)) => Some(Value::from(name.as_str())),
            (Some(name), _) => self.named(name),
            (None, _) => {
                let at = key.as_i64()?;
                let count = i64::try_from(self.values.len()).ok()?;
                let at = if at < 0 { at + count } else { at };
                self.values.get(usize::try_from(at).ok()?).cloned()
            }
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.values.len())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if self.blank {
            return Ok(Self::blank());
        }
        Ok(match method {
            "values" => self.values.iter().cloned().collect(),
            "keys" => self.names.iter().map(String::as_str).collect(),
            "items" => self.pairs().map(|(name, value)| Value::from(vec![name, value])).collect(),
            "dict" => Value::from_pairs(self.pairs()),
            "get" => {
                let (name, default): (String, Option<Value>) = from_args(args)?;
                self.named(&name).or(default).unwrap_or_else(|| Value::from(()))
            }
            "values_without_nulls" => {
                self.values.iter().filter(|value| !value.is_none()).cloned().collect()
            }
            "values_distinct" => {
                let mut found: Vec<Value> = Vec::new();
                for value in &self.values {
                    if !found.contains(value) {
                        found.push(value.clone());
                    }
                }
                found.into_iter().collect()
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        })
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.blank {
            return Ok(());
        }
        f.write_str("[")?;
        for (at, value) in self.values.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{value:?}")?;
        }
        f.write_str("]")
    }
}
