//! SQL templates: dbt's Jinja words in a sandbox without files, network or environment.
//!
//! Templates are rendered, never executed: they can call `ref`, `source`, `var`, `config`,
//! `is_incremental` and read `this`. What a template refers to is found by rendering it with both
//! answers of `is_incremental()` and writing down what is asked for, as dbt does.

pub(crate) mod blocks;
mod fault;
mod macros;
mod question;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use flywheel_base::{Error, Result, Timestamp};
use serde_json::{Map, Value as Json};

pub(crate) use fault::Fault;
pub use macros::Macros;
pub(crate) use macros::{DbtGlobals, Versions};
use question::Told;
pub use question::{Ask, Asking, Cell, QUESTIONS_MAX, Question, Rows};
use words::{Answer, Setup, Words};

use crate::metric::table::{MetricReads, asked_learners};

/// How many template instructions one rendering may take.
const FUEL: u64 = 1_000_000;

/// The longest SQL text a template may produce.
const OUTPUT_MAX: usize = 4 << 20;

/// How often a template is rendered again because resolved names led it to ask for further ones.
const ROUNDS_MAX: usize = 8;

/// When the run began of a template that is looked at and not run: always the same, so that a query that tells the
/// moment of its run is not another query each time.
const PLANNED: Timestamp = Timestamp::from_micros(0);

/// Something a template reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// `ref('model')`: a model or a learner.
    Ref(String),
    /// `source('schema', 'table')`: a landed table.
    Source(String, String),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ref(name) => write!(f, "ref('{name}')"),
            Self::Source(source, table) => write!(f, "source('{source}', '{table}')"),
        }
    }
}

/// The columns of tables that a template may ask for: by SQL name, each with its type.
pub type Columns = BTreeMap<String, Vec<(String, String)>>;

/// What a unit test puts in the place of macros and of environment variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// What macros give, by `name` or `package.name`.
    pub(crate) macros: BTreeMap<String, Json>,
    /// Environment variables.
    pub(crate) env: BTreeMap<String, String>,
}

/// What a template is rendered with.
pub struct RenderContext<'a> {
    /// The project's variables, for `var('name')`.
    pub vars: &'a BTreeMap<String, Json>,
    /// The answer of `is_incremental()`.
    pub incremental: bool,
    /// The text of `this`: the table that is being built.
    pub this: String,
    /// The SQL name of what `ref('name')` means.
    pub resolve_ref: &'a dyn Fn(&str) -> Result<String>,
    /// The SQL name of what `source('schema', 'table')` means.
    pub resolve_source: &'a dyn Fn(&str, &str) -> Result<String>,
}

/// Renders a template.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] with line and column if the template is wrong or takes too
/// long; the kind and hint of a resolver's own error.
pub fn render_sql(template: &str, context: &RenderContext<'_>) -> Result<String> {
    render(template, context, &Arc::default()).map_err(|fault| fault.into_error("the SQL template"))
}

/// The schema of what learners write.
pub(crate) const LEARNER_SCHEMA: &str = "learn";

/// What a template refers to, sorted, whatever `is_incremental()` answers.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] with line and column if the template is wrong.
pub fn references(template: &str, vars: &BTreeMap<String, Json>) -> Result<Vec<Reference>> {
    let scan = scan(template, vars, &Arc::default())
        .map_err(|fault| fault.into_error("the SQL template"))?;
    Ok(scan.references.into_iter().collect())
}

/// What rendering a template with recorders found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    /// What the template refers to.
    pub(crate) references: BTreeSet<Reference>,
    /// The arguments of `config(…)`.
    pub(crate) config: Map<String, Json>,
    /// Whether the template asks `is_incremental()`.
    pub(crate) incremental: bool,
    /// The semantic views that it reads as tables.
    pub(crate) metrics: MetricReads,
}

/// Finds what a template refers to and how it is configured.
pub(crate) fn scan(
    template: &str,
    vars: &BTreeMap<String, Json>,
    macros: &Arc<Macros>,
) -> Result<Scan, Box<Fault>> {
    let mut scan = Scan::default();
    // dbt's own templates ask the database only while they are executed.
    let mut execute = macros.dbt.is_none();
    let mut ways = vec![true, false];
    while let Some(incremental) = ways.pop() {
        let words = Words::new(Setup {
            vars,
            incremental,
            this: "this",
            answers: BTreeMap::new(),
            told: BTreeMap::new(),
            columns: &Columns::new(),
            execute,
            answered: false,
            overrides: &Overrides::default(),
            moment: Some(PLANNED),
            results: None,
            macros,
        });
        let outcome = run(template, &words, macros);
        if words.seen().open.is_some() && execute {
            // Nobody answers now: the template is looked at as dbt parses it.
            scan.references.extend(words.seen().references);
            execute = false;
            ways.push(incremental);
            continue;
        }
        let sql = outcome?;
        scan.metrics.extend(MetricReads::of(&sql));
        // Who asks a learner reads its table: it is built after it, and never before.
        let asked = asked_learners(&sql).into_iter();
        scan.references
            .extend(asked.map(|learner| Reference::Source(LEARNER_SCHEMA.to_owned(), learner)));
        let seen = words.seen();
        scan.references.extend(seen.references);
        scan.config.extend(seen.config);
        scan.incremental |= seen.asked_incremental;
        if !scan.incremental {
            break;
        }
    }
    Ok(scan)
}

/// Whether a file of macros can be read.
pub(crate) fn parse(text: &str) -> Result<(), Box<Fault>> {
    // As it is, if the engine knows all of its words: places are then those of the file.
    let special =
        |tag: &blocks::Tag<'_>| ["test", "data_test", "materialization"].contains(&tag.word);
    let text = match blocks::tags(text).iter().any(special) {
        true => macros::readable(text),
        false => text.to_owned(),
    };
    let macros = Macros::default();
    let environment = minijinja::Environment::new();
    match environment.template_from_named_str("sql", &text) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Box::new(Fault::from_jinja(&text, &macros.assemble(&text), &error, None)))
        }
    }
}

/// What a template is rendered with besides names.
#[derive(Clone, Copy, Debug)]
pub struct RunContext<'a> {
    /// The columns of tables, for macros that ask for them.
    pub columns: &'a Columns,
    /// When the run began; always the same moment if absent, so that a query that tells it is known again.
    pub moment: Option<Timestamp>,
    /// Who answers what it asks the database.
    pub asking: Asking<'a>,
    /// What became of a build, for statements after it: dbt's `results`.
    pub results: Option<&'a Json>,
}

impl Default for RunContext<'_> {
    /// No columns, no moment of a run, and nobody who answers now.
    fn default() -> Self {
        Self {
            columns: const { &Columns::new() },
            moment: None,
            asking: Asking::Away,
            results: None,
        }
    }
}

/// Renders a template that may call `macros`, and knows nothing of a run.
pub(crate) fn render(
    template: &str,
    context: &RenderContext<'_>,
    macros: &Arc<Macros>,
) -> Result<String, Box<Fault>> {
    let given = RunContext { asking: Asking::Closed, ..RunContext::default() };
    render_all(template, context, &given, &Overrides::default(), macros)
}

/// Renders a template of a run.
pub(crate) fn render_given(
    template: &str,
    context: &RenderContext<'_>,
    given: &RunContext<'_>,
    macros: &Arc<Macros>,
) -> Result<String, Box<Fault>> {
    let given = RunContext { moment: given.moment.or(Some(PLANNED)), ..*given };
    render_all(template, context, &given, &Overrides::default(), macros)
}

/// Renders a template for a unit test.
pub(crate) fn render_overridden(
    template: &str,
    context: &RenderContext<'_>,
    overrides: &Overrides,
    macros: &Arc<Macros>,
) -> Result<String, Box<Fault>> {
    let given =
        RunContext { moment: Some(PLANNED), asking: Asking::Closed, ..RunContext::default() };
    render_all(template, context, &given, overrides, macros)
}

fn render_all(
    template: &str,
    context: &RenderContext<'_>,
    given: &RunContext<'_>,
    overrides: &Overrides,
    macros: &Arc<Macros>,
) -> Result<String, Box<Fault>> {
    let mut answers: BTreeMap<Reference, Answer> = BTreeMap::new();
    let mut told: BTreeMap<Question, Told> = BTreeMap::new();
    let (mut execute, mut namings) = (true, 0);
    // Names may come up before and behind each answer.
    for _ in 0..ROUNDS_MAX + 2 * QUESTIONS_MAX {
        let words = Words::new(Setup {
            vars: context.vars,
            incremental: context.incremental,
            this: &context.this,
            answers: answers.clone(),
            told: told.clone(),
            columns: given.columns,
            execute,
            answered: matches!(given.asking, Asking::By(_)),
            overrides,
            moment: given.moment,
            results: given.results,
            macros,
        });
        let outcome = run(template, &words, macros);
        let seen = words.seen();
        let open = seen.references.into_iter().filter(|r| !answers.contains_key(r));
        let open: Vec<Reference> = open.collect();
        let named = open.is_empty();
        for reference in open {
            let resolved = match &reference {
                Reference::Ref(name) => (context.resolve_ref)(name),
                Reference::Source(source, table) => (context.resolve_source)(source, table),
            };
            answers.insert(reference, Answer::from(resolved));
        }
        if !named {
            // What was asked may have named a table that was not known yet: the rest of the template was not seen.
            if seen.open.is_none() {
                namings += 1;
            }
            if namings >= ROUNDS_MAX {
                break;
            }
            continue;
        }
        let Some((word, question)) = seen.open else { return outcome };
        if told.len() >= QUESTIONS_MAX {
            let message =
                format!("the template asks the database more than {QUESTIONS_MAX} questions");
            return Err(Box::new(Fault::new(&message)));
        }
        let answer = match given.asking {
            Asking::Closed => Told::closed(&word),
            Asking::Away => {
                execute = false;
                continue;
            }
            Asking::By(ask) => match ask(&question).transpose() {
                Some(answer) => Told::from(answer),
                None => return outcome,
            },
        };
        told.insert(question, answer);
    }
    Err(Box::new(Fault::new("the template asks for other tables each time it is rendered")))
}

/// Renders once with the given words.
fn run(template: &str, words: &Words, macros: &Macros) -> Result<String, Box<Fault>> {
    let assembled = macros.assemble(template);
    let mut environment = minijinja::Environment::new();
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    words.install(&mut environment, &assembled.source);
    let mut output = Bounded(Vec::new());
    let outcome = environment
        .template_from_named_str("sql", &assembled.source)
        .and_then(|parsed| parsed.render_captured_to((), &mut output).map(|_| ()));
    match outcome {
        Ok(()) => String::from_utf8(output.0)
            .map(|text| assembled.after(text))
            .map_err(|_| Box::new(Fault::new("the template produces text that is not UTF-8"))),
        Err(error) => {
            Err(Box::new(Fault::from_jinja(template, &assembled, &error, words.raised())))
        }
    }
}

/// Output that refuses to grow without end.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_MAX {
            return Err(std::io::Error::other("the template produces more than 4 MiB of SQL"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An error of one of our words, kept beside the engine's own because that knows only a text.
#[derive(Clone, Debug)]
pub(crate) struct Raised {
    pub(crate) kind: flywheel_base::ErrorKind,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.message().to_owned(),
            hint: error.hint_text().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests;
