//! The words a template may use.

mod adapter;
mod call;
mod database;
mod list;
mod method;
mod moment;
mod pattern;
mod relation;
mod span;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flywheel_base::{Error, ErrorKind, Result, Timestamp, suggest};
use minijinja::value::{Rest, Serde, Value, ValueKind};
use minijinja::{Environment, Output, State};
use serde_json::{Map, Value as Json};

use self::adapter::{Adapter, Api, Builtins, Exceptions};
use self::call::{Config, MacroRef, Package, Ref, Silent, Var};
use self::database::{RunQuery, Statement, load_result};
use self::moment::Moment;
use self::pattern::Patterns;
use self::relation::Relation;
use self::zone::Zones;
use super::question::Told;
use super::{Columns, Macros, Overrides, Question, Raised, Reference, blocks};

/// Every word, for hints.
pub(super) const WORDS: &[&str] =
    &["ref", "source", "var", "config", "is_incremental", "this", "execute"];

/// The release of dbt whose projects are read.
const DBT_VERSION: &str = "1.11.16";

/// dbt's identifier of a run; always the same, so that what mentions it is not built again each time.
const INVOCATION_ID: &str = "00000000-0000-0000-0000-000000000000";

/// What a table is called that was not looked up yet: then the template is rendered again.
const UNRESOLVED: &str = "_";

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
    /// What is asked whose answer is not known, with the word that asks it: the rendering stopped there.
    pub(super) open: Option<(String, Question)>,
    /// What statements gave, by name.
    results: BTreeMap<String, Value>,
    raised: Option<Raised>,
    /// What `return()` was given, until the macro it stands in has ended.
    returned: Option<Value>,
    /// The macros of this rendering, by package and name.
    macros: BTreeMap<(String, String), Value>,
}

/// What one rendering is made with.
pub(super) struct Setup<'a> {
    pub(super) vars: &'a BTreeMap<String, Json>,
    pub(super) incremental: bool,
    pub(super) this: &'a str,
    pub(super) answers: BTreeMap<Reference, Answer>,
    /// What the database was asked, and what it said.
    pub(super) told: BTreeMap<Question, Told>,
    pub(super) columns: &'a Columns,
    /// Whether what is read can be asked for its columns: not while references are looked for.
    pub(super) execute: bool,
    /// Whether somebody answers what `columns` does not say.
    pub(super) answered: bool,
    pub(super) overrides: &'a Overrides,
    /// When the run began; none where nothing of a run is known.
    pub(super) moment: Option<Timestamp>,
    /// What became of a build, for statements after it.
    pub(super) results: Option<&'a Json>,
    pub(super) macros: &'a Arc<Macros>,
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
    told: BTreeMap<Question, Told>,
    columns: Columns,
    execute: bool,
    answered: bool,
    overrides: Overrides,
    moment: Option<Timestamp>,
    results: Option<Json>,
    macros: Arc<Macros>,
    seen: Mutex<Seen>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Words").field("this", &self.this).finish_non_exhaustive()
    }
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
            Some(Answer::Name(name)) => Ok(self.relation(name)),
            Some(Answer::Refused(raised)) => Err(self.raise(raised.clone())),
            None => Ok(self.relation(UNRESOLVED)),
        };
        self.seen().references.insert(reference);
        answer
    }

    /// A table's name in SQL; in a dbt project with the attributes that dbt's has.
    fn relation(&self, name: &str) -> Value {
        let Some(dbt) = &self.macros.dbt else { return Value::from(name) };
        let database = dbt.target.get("database").and_then(Json::as_str);
        Value::from_object(Relation::new(name, database.unwrap_or_default()))
    }

    /// `ref('model')`, and in a dbt project also `ref('package', 'model')`.
    fn reference(&self, arguments: &[Value]) -> Result<Value, minijinja::Error> {
        let names = positional(arguments);
        let version = arguments.iter().find(|value| value.is_kwargs()).and_then(|named| {
            let find = |key: &str| named.get_attr(key).ok().filter(|v| !v.is_undefined());
            find("version").or_else(|| find("v")).filter(|v| !v.is_none())
        });
        let version = version.map(|version| version.to_string());
        let named = |name: &String| {
            // Models of dbt's are found by their files' names in lower case.
            let folded = match self.macros.dbt.is_some() {
                true => name.to_ascii_lowercase(),
                false => name.clone(),
            };
            let found = self.macros.version_of(&folded, version.as_deref());
            Reference::Ref(found.unwrap_or(&folded).to_owned())
        };
        match names.as_slice() {
            [name] => self.resolve(named(name)),
            [_, name] if self.macros.dbt.is_some() => self.resolve(named(name)),
            _ => Err(self.refuse(
                format!("ref() takes one name, found {}", names.len()),
                "Write ref('model').".to_owned(),
            )),
        }
    }

    fn source(&self, arguments: &[Value]) -> Result<Value, minijinja::Error> {
        let names = positional(arguments);
        match names.as_slice() {
            [source, table] => self.resolve(Reference::Source(source.clone(), table.clone())),
            _ => Err(self.refuse(
                format!("source() takes a schema and a table, found {} names", names.len()),
                "Write source('raw', 'orders').".to_owned(),
            )),
        }
    }

    /// What a unit test puts in the place of a macro.
    fn overridden(&self, package: &str, name: &str) -> Option<Value> {
        let macros = &self.overrides.macros;
        let full = || macros.get(&format!("{package}.{name}"));
        macros.get(name).or_else(full).map(|given| Value::from(Serde(given)))
    }

    /// The text of a `{% docs %}` block.
    fn doc(&self, arguments: &[Value]) -> Result<Value, minijinja::Error> {
        let names = positional(arguments);
        let name = names.last().map_or("", String::as_str);
        match self.macros.docs.get(name) {
            Some(text) => Ok(Value::from(text.as_str())),
            None => Err(self.refuse(
                format!("no docs block is named \"{name}\""),
                suggest::hint(name, self.macros.docs.keys().map(String::as_str)),
            )),
        }
    }

    /// Variables whose names dbt lets everybody set; a secret has no place in SQL.
    fn env_var(&self, name: &str, default: Option<Value>) -> Result<Value, minijinja::Error> {
        if let Some(value) = self.overrides.env.get(name) {
            return Ok(Value::from(value.as_str()));
        }
        let allowed = name.starts_with("DBT_") && !name.starts_with("DBT_ENV_SECRET");
        if self.macros.dbt.is_none() || (!allowed && default.is_none()) {
            let (message, hint) = match self.macros.dbt {
                None => (
                    "SQL does not read the environment".to_owned(),
                    "Declare the value under vars in flywheel.yaml and write var('name')."
                        .to_owned(),
                ),
                Some(_) => (
                    format!("the environment variable \"{name}\" is not for templates"),
                    "Only names that start with DBT_, and not with DBT_ENV_SECRET, are read; \
                     or give a default: env_var('name', 'default')."
                        .to_owned(),
                ),
            };
            return Err(self.refuse(message, hint));
        }
        let found = if allowed { flywheel_base::env::optional(name) } else { None };
        match (found, default) {
            (Some(found), _) => Ok(Value::from(found)),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.refuse(
                format!("the environment variable \"{name}\" is not set"),
                format!("Set it before the command, or write env_var('{name}', 'default')."),
            )),
        }
    }
}

/// Positional arguments as texts; named ones (`version=1`) choose nothing here.
fn positional(arguments: &[Value]) -> Vec<String> {
    let plain = arguments.iter().filter(|value| !value.is_kwargs());
    plain.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
}

impl Words {
    pub(super) fn new(setup: Setup<'_>) -> Self {
        let inner = Inner {
            vars: setup.vars.clone(),
            incremental: setup.incremental,
            this: setup.this.to_owned(),
            answers: setup.answers,
            told: setup.told,
            columns: setup.columns.clone(),
            execute: setup.execute,
            answered: setup.answered,
            overrides: setup.overrides.clone(),
            moment: setup.moment,
            results: setup.results.cloned(),
            macros: Arc::clone(setup.macros),
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

    /// Makes the words known that `source` may use.
    pub(super) fn install(&self, environment: &mut Environment<'_>, source: &str) {
        environment.add_global("ref", Value::from_object(Ref(Arc::clone(&self.inner))));
        let words = Arc::clone(&self.inner);
        environment.add_function("source", move |names: Rest<Value>| words.source(&names));
        let words = Arc::clone(&self.inner);
        environment.add_function("is_incremental", move || {
            words.seen().asked_incremental = true;
            words.incremental
        });
        let words = Arc::clone(&self.inner);
        environment.add_function("doc", move |names: Rest<Value>| words.doc(&names));
        let words = Arc::clone(&self.inner);
        environment.add_function("env_var", move |name: String, default: Option<Value>| {
            words.env_var(&name, default)
        });
        environment.add_global("var", Value::from_object(Var(Arc::clone(&self.inner))));
        environment.add_global("config", Value::from_object(Config(Arc::clone(&self.inner))));
        environment.add_global("this", self.inner.relation(&self.inner.this));
        environment.add_global("execute", self.inner.execute);
        self.install_macros(environment, source);
        self.install_helpers(environment);
        if let Some(dbt) = &self.inner.macros.dbt {
            environment.add_global("target", Value::from(Serde(&dbt.target)));
            environment.add_global("project_name", dbt.project.as_str());
            let own = Package { words: Arc::clone(&self.inner), package: String::new() };
            environment.add_global(dbt.project.clone(), Value::from_object(own));
            for (name, key) in [("schema", "schema"), ("database", "database")] {
                let found = dbt.target.get(key).and_then(Json::as_str).unwrap_or_default();
                environment.add_global(name, found);
            }
            environment.add_global("dbt_version", DBT_VERSION);
            environment.add_global("invocation_id", INVOCATION_ID);
            let flags = [
                ("FULL_REFRESH", Value::from(false)),
                ("STORE_FAILURES", Value::from(false)),
                ("WHICH", Value::from("build")),
            ];
            environment.add_global("flags", Value::from_pairs(flags));
            if let Some(moment) = self.inner.moment {
                let moment = Value::from_object(Moment::of_run(moment));
                environment.add_global("run_started_at", moment);
            }
            let patterns = Value::from_object(Patterns);
            let zones = Value::from_object(Zones(Arc::clone(&self.inner)));
            let datetime = moment::module(&self.inner);
            let modules = [("datetime", datetime), ("pytz", zones), ("re", patterns)];
            environment.add_global("modules", Value::from_pairs(modules));
            let words = Arc::clone(&self.inner);
            environment.add_global("builtins", Value::from_object(Builtins(words)));
        }
        environment.set_formatter(write_value);
    }

    fn install_macros(&self, environment: &mut Environment<'_>, source: &str) {
        let macros = &self.inner.macros;
        let words = Arc::clone(&self.inner);
        environment.add_function(
            "__register",
            move |package: String, name: String, value: Value| {
                words.seen().macros.insert((package, name), value);
                ""
            },
        );
        let packages = macros.packages();
        for word in blocks::words(source) {
            let words = Arc::clone(&self.inner);
            if packages.contains(word) {
                let package = Package { words, package: word.to_owned() };
                environment.add_global(word.to_owned(), Value::from_object(package));
            } else if let Some(package) = macros.package_of(word)
                && !WORDS.contains(&word)
            {
                let (package, name) = (package.to_owned(), word.to_owned());
                let found = MacroRef { words, package, name };
                environment.add_global(word.to_owned(), Value::from_object(found));
            }
        }
    }

    fn install_helpers(&self, environment: &mut Environment<'_>) {
        let words = Arc::clone(&self.inner);
        environment.add_function("return", move |value: Value| -> Result<Value, _> {
            words.seen().returned = Some(value);
            Err(minijinja::Error::new(
                minijinja::ErrorKind::InvalidOperation,
                "return() stands outside of a macro",
            ))
        });
        environment.add_global("run_query", Value::from_object(RunQuery(Arc::clone(&self.inner))));
        environment.add_global("statement", Value::from_object(Statement(Arc::clone(&self.inner))));
        let words = Arc::clone(&self.inner);
        environment.add_function("load_result", move |name: String| load_result(&words, &name));
        let words = Arc::clone(&self.inner);
        environment.add_function("load_relation", move |relation: Value| {
            words.existing("load_relation()", &relation.to_string())
        });
        for word in ["log", "print"] {
            environment.add_global(word, Value::from_object(Silent));
        }
        environment.add_function("__grows", list::growing);
        for (filter, backwards) in [("__later", false), ("__earlier", true)] {
            environment.add_filter(filter, move |value: Value, by: Value| {
                span::moved(&value, &by, backwards)
            });
        }
        environment.add_function("zip", list::zip);
        environment.add_function("set", list::set);
        environment.add_function("tojson", method::to_json);
        environment.add_function("fromjson", method::from_json);
        environment.add_global("adapter", Value::from_object(Adapter(Arc::clone(&self.inner))));
        environment.add_global("api", Value::from_object(Api(Arc::clone(&self.inner))));
        if let Some(results) = &self.inner.results {
            environment.add_global("results", Value::from(Serde(results)));
            let schemas = built_schemas(results);
            let target = self.inner.macros.dbt.as_ref().and_then(|dbt| dbt.target.get("database"));
            let database = target.and_then(Json::as_str).unwrap_or_default();
            let pairs: Vec<Json> =
                schemas.iter().map(|schema| Json::from(vec![database, schema.as_str()])).collect();
            let schemas: Vec<String> = schemas.into_iter().collect();
            environment.add_global("schemas", Value::from(Serde(&Json::from(schemas))));
            environment.add_global("database_schemas", Value::from(Serde(&Json::from(pairs))));
        }
        environment
            .add_global("exceptions", Value::from_object(Exceptions(Arc::clone(&self.inner))));
        for filter in ["as_text", "as_native"] {
            environment.add_filter(filter, |value: Value| value);
        }
        environment.add_filter("as_bool", method::as_bool);
        environment.add_filter("as_number", method::as_number);
        environment.set_unknown_method_callback(method::call);
    }
}

/// The schemas in which a build made something, each once: dbt's `schemas`.
fn built_schemas(results: &Json) -> BTreeSet<String> {
    let all = results.as_array().into_iter().flatten();
    let made = all.filter(|of| of.get("status").and_then(Json::as_str) == Some("success"));
    let schemas = made.filter_map(|of| of.get("node")?.get("schema")?.as_str());
    schemas.map(str::to_owned).collect()
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
