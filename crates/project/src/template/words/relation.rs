//! What `ref()`, `source()` and `this` are: a text for SQL, with dbt's attributes.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Value};
use minijinja::{Error, ErrorKind, State};

/// A table as templates see it.
#[derive(Debug)]
pub(super) struct Relation {
    sql: String,
    database: String,
}

impl Relation {
    pub(super) fn new(sql: &str, database: &str) -> Self {
        Self { sql: sql.to_owned(), database: database.to_owned() }
    }

    fn part(&self, first: bool) -> &str {
        match self.sql.split_once('.') {
            Some((schema, _)) if first => schema,
            Some((_, name)) => name,
            None if first => "",
            None => &self.sql,
        }
    }
}

impl Object for Relation {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "database" => Value::from(self.database.as_str()),
            "schema" => Value::from(self.part(true)),
            "identifier" | "name" | "table" | "alias" => Value::from(self.part(false)),
            "type" => Value::from("table"),
            "is_table" => Value::from(true),
            "is_view" | "is_cte" => Value::from(false),
            _ => return None,
        })
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "render" => Ok(Value::from(self.sql.as_str())),
            "include" | "quote" => Ok(Value::from_dyn_object(Arc::clone(self))),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql)
    }
}
