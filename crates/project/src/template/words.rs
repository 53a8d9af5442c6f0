//! The words a template may use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flywheel_base::{Error, ErrorKind, Result, suggest};
use minijinja::value::{Kwargs, Rest, Serde, Value, ValueKind};
use minijinja::{Environment, Output, State};
use serde_json::{Map, Value as Json};

use super::{Raised, Reference};

/// Every word, for hints.
pub(super) const WORDS: &[&str] =
    &["ref", "source", "var", "config", "is_incremental", "this", "execute"];

/// What a reference resolved to.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Its SQL name.
    Name(String),
    /// Why there is none.
    Refused(Raised),
}

impl From<Result<String>> for Answer {
    fn from(resolved: Result<String>) -> Self {
        match resolved {
            Ok(name) => Self::Name(name),
            Err(error) => Self::Refused(error.into()),
        }
    }
}

/// What one rendering asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) references: BTreeSet<Reference>,
    pub(super) config: Map<String, Json>,
    pub(super) asked_incremental: bool,
    raised: Option<Raised>,
}

/// The words of one rendering.
pub(super) struct Words {
    inner: Arc<Inner>,
}

struct Inner {
    vars: BTreeMap<String, Json>,
    incremental: bool,
    this: String,
    answers: BTreeMap<Reference, Answer>,
    seen: Mutex<Seen>,
}

impl Inner {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps our error and gives the engine one to stop with.
    fn raise(&self, raised: Raised) -> minijinja::Error {
        let made =
            minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, raised.message.clone());
        self.seen().raised = Some(raised);
        made
    }

    fn refuse(&self, message: String, hint: String) -> minijinja::Error {
        self.raise(Raised { kind: ErrorKind::Invalid, message, hint: Some(hint) })
    }

    fn resolve(&self, reference: Reference) -> Result<Value, minijinja::Error> {
        let answer = match self.answers.get(&reference) {
            Some(Answer::Name(name)) => Ok(Value::from(name.as_str())),
            Some(Answer::Refused(raised)) => Err(self.raise(raised.clone())),
            None => Ok(Value::from("_")),
        };
        self.seen().references.insert(reference);
        answer
    }

    fn var(&self, name: &str, default: Option<Value>) -> Result<Value, minijinja::Error> {
        match (self.vars.get(name), default) {
            (Some(value), _) => Ok(Value::from(Serde(value))),
            (None, Some(default)) => Ok(default),
            (None, None) => {
                let near = suggest::hint(name, self.vars.keys().map(String::as_str));
                let hint = format!(
                    "{near} Declare it under vars in flywheel.yaml, or write var('{name}', default)."
                );
                Err(self.refuse(format!("no variable named \"{name}\" is declared"), hint))
            }
        }
    }

    fn config(&self, arguments: &Kwargs) -> Result<Value, minijinja::Error> {
        for name in arguments.args().collect::<BTreeSet<_>>() {
            let value: Value = arguments.get(name)?;
            let value = serde_json::to_value(&value).map_err(|error| {
                self.refuse(
                    format!("the setting \"{name}\" cannot be read: {error}"),
                    "Give a text, a number, true, false or a list of these.".to_owned(),
                )
            })?;
            self.seen().config.insert(name.to_owned(), value);
        }
        Ok(Value::from(""))
    }
}

impl Words {
    pub(super) fn new(
        vars: &BTreeMap<String, Json>,
        incremental: bool,
        this: &str,
        answers: BTreeMap<Reference, Answer>,
    ) -> Self {
        let inner = Inner {
            vars: vars.clone(),
            incremental,
            this: this.to_owned(),
            answers,
            seen: Mutex::new(Seen::default()),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn seen(&self) -> Seen {
        self.inner.seen().clone()
    }

    pub(super) fn raised(&self) -> Option<Raised> {
        self.inner.seen().raised.clone()
    }

    pub(super) fn install(&self, environment: &mut Environment<'_>) {
        let words = Arc::clone(&self.inner);
        environment.add_function("ref", move |names: Rest<String>| match names.as_slice() {
            [name] => words.resolve(Reference::Ref(name.clone())),
            _ => Err(words.refuse(
                format!("ref() takes one name, found {}", names.len()),
                "Write ref('model').".to_owned(),
            )),
        });
        let words = Arc::clone(&self.inner);
        environment.add_function("source", move |names: Rest<String>| match names.as_slice() {
            [source, table] => words.resolve(Reference::Source(source.clone(), table.clone())),
            _ => Err(words.refuse(
                format!("source() takes a schema and a table, found {} names", names.len()),
                "Write source('raw', 'orders').".to_owned(),
            )),
        });
        let words = Arc::clone(&self.inner);
        environment.add_function("var", move |name: String, default: Option<Value>| {
            words.var(&name, default)
        });
        let words = Arc::clone(&self.inner);
        environment.add_function("config", move |arguments: Kwargs| words.config(&arguments));
        let words = Arc::clone(&self.inner);
        environment.add_function("is_incremental", move || {
            words.seen().asked_incremental = true;
            words.incremental
        });
        let words = Arc::clone(&self.inner);
        environment.add_function("env_var", move |_: Rest<Value>| -> Result<Value, _> {
            Err(words.refuse(
                "SQL does not read the environment".to_owned(),
                "Declare the value under vars in flywheel.yaml and write var('name').".to_owned(),
            ))
        });
        environment.add_global("this", Value::from(self.inner.this.as_str()));
        environment.add_global("execute", true);
        environment.set_formatter(write_value);
    }
}

/// Writes a value as SQL reads it: nothing is `null`, not the empty text or Python's `None`.
fn write_value(
    output: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    let written = match value.kind() {
        ValueKind::None => Some("null"),
        ValueKind::Bool => Some(if value.is_true() { "true" } else { "false" }),
        _ => None,
    };
    if let Some(written) = written {
        return output
            .write_str(written)
            .map_err(|_| minijinja::Error::from(minijinja::ErrorKind::WriteFailure));
    }
    minijinja::escape_formatter(output, state, value)
}

impl From<Raised> for Error {
    fn from(raised: Raised) -> Self {
        let error = Self::new(raised.kind, raised.message);
        match raised.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
