//! Words that are called: macros, packages of macros, `var` and `config`.

use std::collections::BTreeSet;
use std::sync::Arc;

use flywheel_base::suggest;
use minijinja::value::{Kwargs, Object, ObjectRepr, Serde, Value, from_args};
use minijinja::{Error, ErrorKind, State};

use super::Inner;

/// A macro, looked up when it is called.
#[derive(Debug)]
pub(super) struct MacroRef {
    pub(super) words: Arc<Inner>,
    pub(super) package: String,
    pub(super) name: String,
}

impl Object for MacroRef {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        if let Some(given) = self.words.overridden(&self.package, &self.name) {
            return Ok(given);
        }
        let key = (self.package.clone(), self.name.clone());
        let found = self.words.seen().macros.get(&key).cloned();
        let Some(found) = found else {
            let message = format!("the macro \"{}\" cannot be called here", self.name);
            return Err(self.words.refuse(message, "Call it by its whole name.".to_owned()));
        };
        let outcome = found.call(state, args);
        // `return(x)` ends the macro with an error, so that x need not be a text.
        match self.words.seen().returned.take() {
            Some(returned) => Ok(returned),
            None => outcome,
        }
    }
}

/// A package: `dbt_utils.star(…)`.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) words: Arc<Inner>,
    pub(super) package: String,
}

impl Object for Package {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        self.words.macros.has(&self.package, name).then(|| {
            let (words, package) = (Arc::clone(&self.words), self.package.clone());
            Value::from_object(MacroRef { words, package, name: name.to_owned() })
        })
    }

    fn call_method(
        self: &Arc<Self>,
        state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if let Some(found) = self.get_value(&Value::from(method)) {
            return found.call(state, args);
        }
        let known = self.words.macros.names(&self.package).filter(|name| !name.contains("__"));
        let known: Vec<&str> = known.collect();
        let hint = suggest::hint(method, known.iter().copied());
        let message = format!("package \"{}\" has no macro \"{method}\"", self.package);
        Err(self.words.refuse(message, hint))
    }
}

/// `ref('model')` and `ref('model', v=2)`; a function of the engine's takes no named arguments.
#[derive(Debug)]
pub(super) struct Ref(pub(super) Arc<Inner>);

impl Object for Ref {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        self.0.reference(args)
    }
}

/// `log('text', info=true)`: says nothing and gives nothing.
#[derive(Debug)]
pub(super) struct Silent;

impl Object for Silent {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        Ok(Value::from(""))
    }
}

/// `var('name')` and `var.has_var('name')`.
#[derive(Debug)]
pub(super) struct Var(pub(super) Arc<Inner>);

impl Object for Var {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (name, default): (String, Option<Value>) = match args {
            [name, named] if named.is_kwargs() => {
                let named = Kwargs::try_from(named.clone())?;
                (name.to_string(), named.get("default")?)
            }
            args => from_args(args)?,
        };
        match (self.0.vars.get(&name), default) {
            (Some(value), _) => Ok(Value::from(Serde(value))),
            (None, Some(default)) => Ok(default),
            (None, None) => {
                let near = suggest::hint(&name, self.0.vars.keys().map(String::as_str));
                let file = match self.0.macros.dbt {
                    Some(_) => "dbt_project.yml",
                    None => "flywheel.yaml",
                };
                let hint = format!(
                    "{near} Declare it under vars in {file}, or write var('{name}', default)."
                );
                Err(self.0.refuse(format!("no variable named \"{name}\" is declared"), hint))
            }
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if method != "has_var" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let (name,): (String,) = from_args(args)?;
        Ok(self.0.vars.contains_key(&name).into())
    }
}

/// `config(…)`, `config.get('x')` and `config.require('x')`.
#[derive(Debug)]
pub(super) struct Config(pub(super) Arc<Inner>);

impl Object for Config {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let arguments: Kwargs = match args {
            // dbt also takes one map.
            [map] if !map.is_kwargs() => {
                let pairs = map.try_iter()?.map(|key| {
                    let value = map.get_item(&key).unwrap_or_default();
                    (key.to_string(), value)
                });
                pairs.collect()
            }
            args => from_args::<(Kwargs,)>(args)?.0,
        };
        for name in arguments.args().collect::<BTreeSet<_>>() {
            let value: Value = arguments.get(name)?;
            let value = serde_json::to_value(&value).map_err(|error| {
                self.0.refuse(
                    format!("the setting \"{name}\" cannot be read: {error}"),
                    "Give a text, a number, true, false or a list of these.".to_owned(),
                )
            })?;
            self.0.seen().config.insert(name.to_owned(), value);
        }
        Ok(Value::from(""))
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let (name, default): (String, Option<Value>) = match args {
            [name, named] if named.is_kwargs() => {
                (name.to_string(), Kwargs::try_from(named.clone())?.get("default")?)
            }
            args => from_args(args)?,
        };
        let found = self.0.seen().config.get(&name).map(|value| Value::from(Serde(value)));
        match (method, found, default) {
            ("get" | "require", Some(found), _) => Ok(found),
            ("get", None, default) => Ok(default.unwrap_or_else(|| Value::from(()))),
            ("require", None, _) => Err(self.0.refuse(
                format!("config() does not say \"{name}\""),
                format!("Write config({name}=…) in the file, or set it for its folder."),
            )),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
