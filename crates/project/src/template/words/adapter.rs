//! dbt's `adapter` and `exceptions`.

use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Value, from_args};
use minijinja::{Error, State};

use super::Inner;
use super::call::MacroRef;

/// What templates may ask of the database's own side.
#[derive(Debug)]
pub(super) struct Adapter(pub(super) Arc<Inner>);

impl Object for Adapter {
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
                Ok(self.columns(&relation.to_string()))
            }
            _ => Err(self.0.refuse(
                format!("adapter.{method}() is not available"),
                "Templates know dispatch, quote and get_columns_in_relation.".to_owned(),
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
    fn columns(&self, relation: &str) -> Value {
        let columns = self.0.columns.get(relation).into_iter().flatten();
        let columns = columns.map(|(name, data_type)| {
            Value::from_pairs([
                ("name", Value::from(name.as_str())),
                ("column", Value::from(name.as_str())),
                ("quoted", Value::from(format!("\"{}\"", name.replace('"', "\"\"")))),
                ("dtype", Value::from(data_type.as_str())),
                ("data_type", Value::from(data_type.as_str())),
            ])
        });
        columns.collect()
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
