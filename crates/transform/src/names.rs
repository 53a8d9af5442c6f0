//! What `ref()` and `source()` mean in SQL, and where those tables lie.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flywheel_base::{Error, Result, Timestamp, statement};
use flywheel_project::metric::table::place;
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::{
    Asking, Columns, CustomTest, Model, NodeId, NodeKind, Project, Question, RenderContext, Rows,
    RunContext, SingularTest, SourceFile,
};
use flywheel_warehouse::{Location, TableName};

use crate::metric::{self, Block};

/// The longest SQL that ephemeral models may grow to, each written into what reads it.
const EPHEMERAL_BYTES_MAX: usize = 4 << 20;

/// The name in SQL, `schema.name`, of a node that is a table.
pub(crate) fn relation(project: &Project, node: &NodeId) -> String {
    match node.kind {
        NodeKind::Model | NodeKind::Learner => {
            project.ref_relation(&node.name).unwrap_or_else(|_| node.name.clone())
        }
        _ => node.name.clone(),
    }
}

/// The model that SQL calls `relation`.
pub(crate) fn model<'a>(project: &'a Project, relation: &str) -> Option<&'a Model> {
    let (schema, name) = relation.split_once('.')?;
    let plain = project.models.get(name).filter(|model| model.relation() == relation);
    plain.or_else(|| {
        let mut models = project.models.values();
        models.find(|model| model.schema == schema && model.table() == name)
    })
}

/// Whether a model is a part of what reads it and no table of its own.
pub(crate) fn is_ephemeral(model: &Model) -> bool {
    model.config.materialized == Materialized::Ephemeral
}

/// What `ref('name')` means: a model or what a learner writes.
fn resolve_ref(project: &Project, name: &str) -> Result<String> {
    if project.models.get(name).is_some_and(|model| !model.config.enabled) {
        return Err(Error::invalid(format!("model \"{name}\" is disabled"))
            .hint("Set enabled to true in its config, or remove the ref()."));
    }
    project.ref_relation(name)
}

/// Everything that a model reads, `schema.name`: by `ref()`, by `source()` and by way of semantic views.
pub(crate) fn read_by_model(project: &Project, model: &Model) -> Result<BTreeSet<String>> {
    let mut all = read_by(project, &model.refs, &model.sources)?;
    all.extend(model.metric_tables.iter().map(|table| relation(project, table)));
    Ok(all)
}

/// Everything that is read by these `ref()`s and `source()`s, `schema.name`.
pub(crate) fn read_by(
    project: &Project,
    refs: &BTreeSet<String>,
    sources: &BTreeSet<(String, String)>,
) -> Result<BTreeSet<String>> {
    let mut all: BTreeSet<String> =
        sources.iter().map(|(source, table)| project.source_relation(source, table)).collect();
    for name in refs {
        all.insert(resolve_ref(project, name)?);
    }
    Ok(all)
}

/// The model's SQL; `incremental` is the answer of `is_incremental()`.
pub(crate) fn render_model(project: &Project, model: &Model, incremental: bool) -> Result<String> {
    render_model_with(project, model, incremental, &Columns::new())
}

/// The model's SQL, for a template that asks for the columns of what it reads.
pub(crate) fn render_model_with(
    project: &Project,
    model: &Model,
    incremental: bool,
    columns: &Columns,
) -> Result<String> {
    render_model_over(project, model, incremental, columns, &BTreeMap::new())
}

/// The model's SQL as a run that began at `moment` asks it; the others tell templates always the same moment.
pub(crate) fn render_model_at(
    project: &Project,
    model: &Model,
    incremental: bool,
    columns: &Columns,
    moment: Timestamp,
) -> Result<String> {
    let run = RunContext { columns, moment: Some(moment), ..RunContext::default() };
    render_model_in(project, model, incremental, &run)
}

/// The model's SQL with all that a run knows: the moment it began, and who answers what templates ask the database.
pub(crate) fn render_model_in(
    project: &Project,
    model: &Model,
    incremental: bool,
    run: &RunContext<'_>,
) -> Result<String> {
    let (this, instead) = (model.relation(), BTreeMap::new());
    let sql = with_run(project, &this, incremental, &instead, run, |context| {
        model.render_given(context, run)
    })?;
    answered(project, model, &instead, sql)
}

/// Whether the model's SQL, or that of an ephemeral model in it, may tell the moment of the run.
pub(crate) fn asks_for_moment(project: &Project, model: &Model) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![model];
    while let Some(model) = open.pop() {
        if model.asks_for_moment() {
            return true;
        }
        let read = model.refs.iter().filter_map(|name| project.models.get(name));
        open.extend(read.filter(|read| is_ephemeral(read) && seen.insert(read.name.as_str())));
    }
    false
}

/// The model's SQL with tables `metrics.*` left as they are, and the questions that it asks them; none if it
/// asks none.
pub(crate) fn render_model_apart(
    project: &Project,
    model: &Model,
    incremental: bool,
    columns: &Columns,
) -> Result<Option<(String, Vec<Block>)>> {
    let sql = with_context(project, &model.relation(), incremental, |context| {
        model.render_with(context, columns)
    })?;
    metric::metric_blocks(project, &sql).map_err(|error| at_metrics(model, error))
}

/// The model's SQL with other names for some of what it reads, by their names in SQL. An ephemeral model
/// that has one is read by it, and not written into the query.
pub(crate) fn render_model_over(
    project: &Project,
    model: &Model,
    incremental: bool,
    columns: &Columns,
    instead: &BTreeMap<String, String>,
) -> Result<String> {
    let sql = with_names(project, &model.relation(), incremental, instead, |context| {
        model.render_with(context, columns)
    })?;
    answered(project, model, instead, sql)
}

/// The model's SQL with the answers of questions in the place of `metrics.*` tables.
pub(crate) fn answered(
    project: &Project,
    model: &Model,
    instead: &BTreeMap<String, String>,
    sql: String,
) -> Result<String> {
    let expanded = metric::expand_over(project, instead, &sql);
    Ok(expanded.map_err(|error| at_metrics(model, error))?.unwrap_or(sql))
}

/// An error about a question, with the place at which the model asks it.
fn at_metrics(model: &Model, error: Error) -> Error {
    let file = SourceFile::new(&model.path, &model.sql_template);
    let views = &model.metrics.views;
    let named = views.iter().find(|view| error.message().contains(&format!("metrics.{view}")));
    let place = named.or_else(|| views.first()).and_then(|view| place(&file.text, view));
    match place.map(|(at, length)| file.span(at, length)) {
        Some(span) => error.context(format!("{}:{}:{}", model.path, span.line, span.column)),
        None => error.context(&model.path),
    }
}

/// A hook of a model.
pub(crate) fn render_hook(
    project: &Project,
    model: &Model,
    hook: &str,
    run: &RunContext<'_>,
) -> Result<String> {
    with_run(project, &model.relation(), false, &BTreeMap::new(), run, |context| {
        model.render_hook(hook, context, run)
    })
}

/// A statement of `on-run-start` or `on-run-end`.
pub(crate) fn render_statement(
    project: &Project,
    sql: &str,
    run: &RunContext<'_>,
) -> Result<String> {
    with_run(project, "", false, &BTreeMap::new(), run, |context| {
        project.render_hook(sql, context, run)
    })
}

/// An SQL text of a learner or policy, with answers in the place of metrics.
pub(crate) fn render_text(project: &Project, sql: &str) -> Result<String> {
    let run = RunContext { asking: Asking::Closed, ..RunContext::default() };
    let sql = with_run(project, "", false, &BTreeMap::new(), &run, |context| {
        project.render_sql(sql, context)
    })?;
    Ok(metric::expand_metrics(project, &sql)?.unwrap_or(sql))
}

/// The SQL of a singular test.
pub(crate) fn render_test(project: &Project, test: &SingularTest) -> Result<String> {
    with_context(project, "", false, |context| test.render(context))
}

/// The SQL of a singular test in a run; the other tells templates always the same moment, and answers nothing.
pub(crate) fn render_test_in(
    project: &Project,
    test: &SingularTest,
    run: &RunContext<'_>,
) -> Result<String> {
    with_run(project, "", false, &BTreeMap::new(), run, |context| test.render_given(context, run))
}

/// What `render` gives in a run that began at `moment` if nobody answers what its template asks the database, and whether it
/// asks anything that `counts`.
pub(crate) fn render_unasked(
    moment: Timestamp,
    counts: fn(&Question) -> bool,
    render: impl Fn(&RunContext<'_>) -> Result<String>,
) -> Result<(String, bool)> {
    let asked = Cell::new(false);
    let ask = |question: &Question| -> Result<Option<Arc<Rows>>> {
        if counts(question) {
            asked.set(true);
            return Ok(None);
        }
        Ok(Some(Arc::default()))
    };
    let run = RunContext { moment: Some(moment), ..RunContext::default() };
    let sql = render(&RunContext { asking: Asking::By(&ask), ..run });
    match asked.get() {
        false => Ok((sql?, false)),
        true => Ok((render(&run)?, true)),
    }
}

/// Whether the model's template asks the database for rows or names of tables, or that of an ephemeral model in it does. The
/// columns of what it reads are known without.
pub(crate) fn asks_database(project: &Project, model: &Model) -> bool {
    let counts = |question: &Question| !matches!(question, Question::Table(_));
    let render = |run: &RunContext<'_>| render_model_in(project, model, false, run);
    // What is wrong with a template is found by whoever renders it next.
    render_unasked(Timestamp::from_micros(0), counts, render).is_ok_and(|(_, asks)| asks)
}

/// The SQL of a test that is a macro.
pub(crate) fn render_custom(project: &Project, test: &CustomTest) -> Result<String> {
    with_context(project, "", false, |context| test.render(context))
}

/// The SQL of a test that is a macro in a run; the other tells templates always the same moment, and answers nothing.
pub(crate) fn render_custom_in(
    project: &Project,
    test: &CustomTest,
    run: &RunContext<'_>,
) -> Result<String> {
    with_run(project, "", false, &BTreeMap::new(), run, |context| test.render_given(context, run))
}

fn with_context(
    project: &Project,
    this: &str,
    incremental: bool,
    render: impl FnOnce(&RenderContext<'_>) -> Result<String>,
) -> Result<String> {
    with_names(project, this, incremental, &BTreeMap::new(), render)
}

/// As [`with_context`], with other names for some tables.
fn with_names(
    project: &Project,
    this: &str,
    incremental: bool,
    instead: &BTreeMap<String, String>,
    render: impl FnOnce(&RenderContext<'_>) -> Result<String>,
) -> Result<String> {
    with_run(project, this, incremental, instead, &RunContext::default(), render)
}

/// As [`with_names`], with all that a run knows.
fn with_run(
    project: &Project,
    this: &str,
    incremental: bool,
    instead: &BTreeMap<String, String>,
    run: &RunContext<'_>,
    render: impl FnOnce(&RenderContext<'_>) -> Result<String>,
) -> Result<String> {
    // The columns that are known are those of what the reader names.
    let run = RunContext { moment: run.moment, asking: run.asking, ..RunContext::default() };
    let inlined = Inlined { project, instead, run, done: RefCell::default() };
    render(&RenderContext {
        vars: &project.file.vars,
        incremental,
        this: this.to_owned(),
        resolve_ref: &|name| inlined.resolve(name),
        resolve_source: &|source, table| Ok(project.source_relation(source, table)),
    })
}

/// Ephemeral models, each rendered once for a query.
struct Inlined<'a> {
    project: &'a Project,
    instead: &'a BTreeMap<String, String>,
    run: RunContext<'a>,
    done: RefCell<BTreeMap<String, String>>,
}

impl Inlined<'_> {
    /// The SQL name of `ref('name')`, or the whole query of an ephemeral model.
    fn resolve(&self, name: &str) -> Result<String> {
        let project = self.project;
        let relation = resolve_ref(project, name)?;
        if let Some(other) = self.instead.get(&relation) {
            return Ok(other.clone());
        }
        let Some(model) = project.models.get(name).filter(|model| is_ephemeral(model)) else {
            return Ok(relation);
        };
        if let Some(done) = self.done.borrow().get(name) {
            return Ok(done.clone());
        }
        let context = RenderContext {
            vars: &project.file.vars,
            incremental: false,
            this: relation,
            resolve_ref: &|name| self.resolve(name),
            resolve_source: &|source, table| Ok(project.source_relation(source, table)),
        };
        let sql = model.render_given(&context, &self.run)?;
        if sql.len() > EPHEMERAL_BYTES_MAX {
            return Err(Error::invalid(format!("the ephemeral model \"{name}\" grows too large"))
                .hint("Store it as a view or a table."));
        }
        let inlined = format!("(\n{}\n)", statement::bare(&sql));
        self.done.borrow_mut().insert(name.to_owned(), inlined.clone());
        Ok(inlined)
    }
}

/// Where the landed or platform table `schema.name` lies: `schema/name`.
pub(crate) fn plain_location(relation: &str) -> Result<Location> {
    let name = TableName::parse(relation)?;
    Location::new(format!("{}/{}", name.schema, name.name))
}

/// The name of the table at `schema/name`; none for the variants of models, which lie deeper.
pub(crate) fn plain_name(location: &Location) -> Option<TableName> {
    let (schema, name) = location.as_str().split_once('/')?;
    (!name.contains('/')).then(|| TableName::new(schema, name))
}
