//! dbt's `adapter`, `api` and `exceptions`.

use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Value, from_args};
use minijinja::{Error, State};
use serde_json::Value as Json;

use super::call::MacroRef;
use super::{Inner, UNRESOLVED};
use crate::template::question::{Cell, Question};

/// What templates may ask of the database's own side.
#[derive(Debug)]
pub(super) struct Adapter(pub(super) Arc<Inner>);

impl Object for Adapter {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        parts_of_api(&self.0, key.as_str()?)
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "type" => {
                let target = self.0.macros.dbt.as_ref().and_then(|dbt| dbt.target.get("type"));
                Ok(Value::from(target.and_then(Json::as_str).unwrap_or("duckdb")))
            }
            // The second argument says of what it is a name, which changes nothing here.
            "quote_as_configured" => {
                let (name, _): (String, Option<String>) = from_args(args)?;
                Ok(Value::from(format!("\"{}\"", name.replace('"', "\"\""))))
            }
            "dispatch" => {
                let (named, args) = named(args)?;
                let (name, package): (String, Option<String>) = from_args(args)?;
                let package = match (package, named) {
                    (Some(package), _) => Some(package),
                    (None, Some(named)) => named.get("macro_namespace")?,
                    (None, None) => None,
                };
                self.dispatch(&name, package.as_deref())
            }
            "quote" => {
                let (name,): (String,) = from_args(args)?;
                Ok(Value::from(format!("\"{}\"", name.replace('"', "\"\""))))
            }
            "get_columns_in_relation" => {
                let (relation,): (Value,) = from_args(args)?;
                self.columns(&relation.to_string())
            }
            "get_relation" => {
                let name = name_of(args)?;
                self.0.existing("adapter.get_relation()", &name)
            }
            "find_relations" => {
                let (schema, name, exclude): (String, String, Option<String>) = from_args(args)?;
                self.0.fitting(schema, name, exclude.unwrap_or_default())
            }
            _ => Err(self.0.refuse(
                format!("adapter.{method}() is not available"),
                "Templates know dispatch, quote, get_relation and get_columns_in_relation."
                    .to_owned(),
            )),
        }
    }
}

impl Adapter {
    /// The macro for our SQL, the project's own before the package's.
    fn dispatch(&self, name: &str, package: Option<&str>) -> Result<Value, Error> {
        let macros = &self.0.macros;
        let mut packages = vec!["", package.unwrap_or("")];
        packages.extend(macros.packages());
        for package in packages {
            for dialect in macros.dialects() {
                let name = format!("{dialect}{name}");
                if macros.has(package, &name) {
                    let (words, package) = (Arc::clone(&self.0), package.to_owned());
                    return Ok(Value::from_object(MacroRef { words, package, name }));
                }
            }
        }
        Err(self.0.refuse(
            format!("no macro is named default__{name}"),
            format!("Write {{% macro default__{name}(…) %}} in macros/."),
        ))
    }

    /// The columns of a table that has been built; none while references are looked for.
    fn columns(&self, relation: &str) -> Result<Value, Error> {
        let known = self.0.columns.get(relation);
        if known.is_none() && self.0.answered && relation != UNRESOLVED {
            let question = Question::Table(relation.to_owned());
            let found = self.0.ask("adapter.get_columns_in_relation()", question)?;
            let columns = found.rows.iter().filter_map(|row| match row.as_slice() {
                [Cell::Text(name), Cell::Text(data_type), _] => Some(column(name, data_type)),
                _ => None,
            });
            return Ok(columns.collect());
        }
        let columns = known.into_iter().flatten();
        Ok(columns.map(|(name, data_type)| column(name, data_type)).collect())
    }
}

/// A column as templates see it.
fn column(name: &str, data_type: &str) -> Value {
    Value::from_object(Column { name: name.to_owned(), data_type: data_type.to_owned() })
}

/// A column of a table: its names, its type, and what kind of type that is.
#[derive(Debug)]
struct Column {
    name: String,
    data_type: String,
}

impl Column {
    /// Whether the type begins with one of these words.
    fn is_one_of(&self, words: &[&str]) -> bool {
        let kind = self.data_type.to_lowercase();
        words.iter().any(|word| kind.starts_with(word))
    }
}

impl Object for Column {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "name" | "column" => Value::from(self.name.as_str()),
            "quoted" => Value::from(format!("\"{}\"", self.name.replace('"', "\"\""))),
            "dtype" | "data_type" => Value::from(self.data_type.as_str()),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["name", "column", "quoted", "dtype", "data_type"])
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, Error> {
        let texts = ["varchar", "char", "text", "string", "utf8"];
        let floats = ["double", "float", "real"];
        let decimals = ["decimal", "numeric"];
        let wholes = ["bigint", "int", "smallint", "tinyint", "hugeint", "uint"];
        let found = match method {
            "is_string" => self.is_one_of(&texts),
            "is_float" => self.is_one_of(&floats),
            "is_numeric" => self.is_one_of(&decimals),
            "is_integer" => self.is_one_of(&wholes),
            "is_number" => self.is_one_of(&[floats.as_slice(), &decimals, &wholes].concat()),
            _ => return Err(Error::from(minijinja::ErrorKind::UnknownMethod)),
        };
        // An interval is no whole number.
        Ok(Value::from(found && !self.is_one_of(&["interval"])))
    }
}

/// The name in SQL of the table that `database`, `schema` and `identifier` mean, in this order or by name.
fn name_of(args: &[Value]) -> Result<String, Error> {
    let (named, plain) = named(args)?;
    let part = |at: usize, key: &str| -> Result<Option<String>, Error> {
        let given = match plain.get(at) {
            Some(value) => Some(value.clone()),
            None => {
                named.as_ref().map(|named| named.get::<Option<Value>>(key)).transpose()?.flatten()
            }
        };
        let given = given.filter(|value| !value.is_none() && !value.is_undefined());
        Ok(given.map(|value| value.to_string()).filter(|text| !text.is_empty()))
    };
    let (schema, name) = (part(1, "schema")?, part(2, "identifier")?);
    match (schema, name) {
        (Some(schema), Some(name)) => Ok(format!("{schema}.{name}")),
        (None, Some(name)) => Ok(name),
        (_, None) => Err(Error::new(
            minijinja::ErrorKind::MissingArgument,
            "a relation has a schema and an identifier",
        )),
    }
}

/// `api.Relation.create(schema='…', identifier='…')`.
#[derive(Debug)]
pub(super) struct Api(pub(super) Arc<Inner>);

impl Object for Api {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        parts_of_api(&self.0, key.as_str()?)
    }
}

/// `Relation` and `Column` of `api`, which `adapter` has too.
fn parts_of_api(words: &Arc<Inner>, part: &str) -> Option<Value> {
    match part {
        "Relation" => Some(Value::from_object(Relations(Arc::clone(words)))),
        "Column" => Some(Value::from_object(Columns(Arc::clone(words)))),
        _ => None,
    }
}

/// `api.Column`.
#[derive(Debug)]
struct Columns(Arc<Inner>);

impl Object for Columns {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            // Our SQL knows the types' usual names.
            "translate_type" => {
                let (kind,): (String,) = from_args(args)?;
                Ok(Value::from(kind))
            }
            "string_type" => Ok(Value::from("varchar")),
            "numeric_type" => {
                let (kind, precision, scale): (String, Option<u8>, Option<u8>) = from_args(args)?;
                Ok(Value::from(match (precision, scale) {
                    (Some(precision), Some(scale)) => format!("{kind}({precision},{scale})"),
                    _ => kind,
                }))
            }
            _ => Err(self.0.refuse(
                format!("api.Column.{method}() is not available"),
                "Templates know api.Column.translate_type, string_type and numeric_type."
                    .to_owned(),
            )),
        }
    }
}

/// `api.Relation`.
#[derive(Debug)]
struct Relations(Arc<Inner>);

impl Object for Relations {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "create" => Ok(self.0.relation(&name_of(args)?)),
            _ => Err(self.0.refuse(
                format!("api.Relation.{method}() is not available"),
                "Templates know api.Relation.create.".to_owned(),
            )),
        }
    }
}

/// Splits named arguments from the others.
fn named(args: &[Value]) -> Result<(Option<Kwargs>, &[Value]), Error> {
    match args.split_last() {
        Some((last, rest)) if last.is_kwargs() => Ok((Some(Kwargs::try_from(last.clone())?), rest)),
        _ => Ok((None, args)),
    }
}

/// `builtins.ref(…)`, for a project's own `ref`.
#[derive(Debug)]
pub(super) struct Builtins(pub(super) Arc<Inner>);

impl Object for Builtins {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "ref" => self.0.reference(args),
            "source" => self.0.source(args),
            _ => Err(self.0.refuse(
                format!("builtins.{method}() is not available"),
                "Templates know builtins.ref and builtins.source.".to_owned(),
            )),
        }
    }
}

/// `exceptions.raise_compiler_error(…)`.
#[derive(Debug)]
pub(super) struct Exceptions(pub(super) Arc<Inner>);

impl Object for Exceptions {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "warn" => Ok(Value::from("")),
            "raise_compiler_error" | "raise_not_implemented" | "raise_parsing_error" => {
                let message = args.first().map(ToString::to_string).unwrap_or_default();
                let hint = "The project's own macro says so.".to_owned();
                Err(self.0.refuse(message, hint))
            }
            _ => Err(self.0.refuse(
                format!("exceptions.{method}() is not available"),
                "Templates know exceptions.raise_compiler_error and exceptions.warn.".to_owned(),
            )),
        }
    }
}
