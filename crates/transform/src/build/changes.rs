//! What a build would change, told before anything is built.
//!
//! A model is changed by its own file, by the columns or rows of what it reads, or by a model above
//! it. Which columns change is decided on plans over empty tables: a column is unchanged only if the
//! optimised plans of the old and the new query, each asked for that column alone, are the same. So
//! what is told unchanged is; a query that was written otherwise can be told changed though it is not.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use flywheel_base::{Error, Result, digest, statement};
use flywheel_project::graph::Known;
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::{Model, NodeId, NodeKind};
use flywheel_warehouse::{Query, Session, TableName};
use serde::{Deserialize, Serialize};

use super::BuildOptions;
use super::demand::{self, reason};
use super::plan::Plan;
use super::progress::Progress;
use crate::lineage::{Planner, TableColumn};
use crate::testing::{quoted, quoted_table};
use crate::{World, names, order};

/// Of how many columns it is told which of them change; beyond, all count as changed.
const COLUMNS_COMPARED_MAX: usize = 300;

/// What a build would change.
#[derive(Clone, Debug, Serialize)]
pub struct Changes {
    /// The environment it is for.
    pub environment: String,
    /// Identifies everything the plan rests on: the declarations, what is published and the versions
    /// of what is read.
    pub digest: String,
    /// Models that are changed or read something that is, in the order in which they are built.
    pub models: Vec<ModelChange>,
    /// Metrics, learners, policies and the like that read them, by kind and name.
    pub dependents: Vec<Touched>,
    /// How many of the selected models need nothing.
    pub unchanged: usize,
    /// A digest for each part of what the plan rests on, by name.
    pub parts: BTreeMap<String, String>,
}

impl Changes {
    /// What the changes would break, one text for each model and each thing that reads models. A model that
    /// is not built now and has a table of its own keeps it, and breaks nothing.
    #[must_use]
    pub fn breaks(&self) -> Vec<String> {
        let models = self
            .models
            .iter()
            .filter_map(|model| Some(format!("model {}: {}", model.name, model.error.as_ref()?)));
        let others = self
            .dependents
            .iter()
            .filter_map(|touched| Some(format!("{}: {}", touched.node, touched.breaks.as_ref()?)));
        models.chain(others).collect()
    }
}

/// Why a model changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It was never built here.
    Added,
    /// It is no longer declared.
    Removed,
    /// Its query, the file of a seed, or the way it is stored, is another one.
    Modified,
    /// A model or table above it changes its columns.
    Indirect,
    /// There are new rows to read, or its query depends on the time.
    NewData,
}

impl Change {
    /// The word for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Modified => "modified",
            Self::Indirect => "indirect",
            Self::NewData => "new-data",
        }
    }
}

/// What a change means to those who read the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// Columns go, or rows or values of columns that were there may become others.
    Breaking,
    /// There are only more columns, or more rows of the same query.
    NonBreaking,
    /// Rows and values are what they were.
    Nothing,
}

impl Impact {
    /// The word for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Breaking => "breaking",
            Self::NonBreaking => "non-breaking",
            Self::Nothing => "nothing",
        }
    }
}

/// What changes about one model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelChange {
    /// The model, `schema.name`.
    pub name: String,
    /// Its file, relative to the project folder.
    pub file: Option<String>,
    /// Why it changes.
    pub change: Change,
    /// What that means to its readers.
    pub impact: Impact,
    /// Whether this build builds it; one that is not selected keeps what it has.
    pub selected: bool,
    /// Columns that come, in their order.
    pub columns_added: Vec<String>,
    /// Columns that go, in their order.
    pub columns_removed: Vec<String>,
    /// Columns whose values may become others, in their order.
    pub columns_changed: Vec<String>,
    /// Whether there may be other rows.
    pub rows_changed: bool,
    /// What it changes through: models and tables it reads, with the columns that matter.
    pub through: Vec<String>,
    /// Why it could not be built.
    pub error: Option<String>,
    /// The query it was built with; none if it was never built here, or has no query. Not part of the plan as JSON.
    #[serde(skip)]
    pub sql_before: Option<String>,
    /// The query it would be built with; none of one that goes.
    #[serde(skip)]
    pub sql_after: Option<String>,
}

/// Something that reads a changed model and is no model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// What it is.
    pub node: NodeId,
    /// The file that declares it, relative to the project folder.
    pub file: Option<String>,
    /// The changed models it reads, itself or through what it depends on, by name.
    pub reads: BTreeSet<String>,
    /// The columns that change and that it reads itself, `schema.name.column`.
    pub columns: Vec<String>,
    /// Why it would break.
    pub breaks: Option<String>,
}

/// How a model differs for those who read it.
#[derive(Clone, Debug, Default)]
struct Effect {
    rows: bool,
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
    through: BTreeSet<String>,
    error: Option<String>,
}

impl Effect {
    fn breaks(&self) -> bool {
        self.rows || !self.removed.is_empty() || !self.changed.is_empty() || self.error.is_some()
    }

    fn is_felt(&self) -> bool {
        self.breaks() || !self.added.is_empty()
    }

    fn touches(&self, column: &str) -> bool {
        self.rows || self.removed.iter().chain(&self.changed).any(|other| other == column)
    }
}

/// What is known of a model before the columns are looked at.
struct Looked {
    change: Option<Change>,
    /// The query it was built with.
    before: Option<String>,
    /// The query it would be built with.
    sql: String,
}

/// What a build of what is selected would change, and what reads it. Nothing is written.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a selector names nothing or a template cannot be rendered;
/// the store's and the lake's own. A model that cannot be built is part of the answer.
pub async fn changes(world: World<'_>, options: BuildOptions<'_>) -> Result<Changes> {
    let nothing = Known::new();
    let known = options.known.unwrap_or(&nothing);
    let plan = Plan::new(world.project, options.select, options.exclude, known, None)?;
    let progress = Progress::new(world, &plan, options).await?;
    let mut parts = BTreeMap::new();
    let looked = look(&plan, &progress, &mut parts).await?;
    let removed = progress.undeclared();
    for name in &removed {
        // A table that becomes ephemeral goes for its readers, and is still a part of what reads it.
        let part = parts.entry(name.clone()).or_default();
        part.push_str(if part.is_empty() { "removed" } else { " removed" });
    }
    let lines: Vec<String> = parts.iter().map(|(name, part)| format!("{name} {part}")).collect();
    let lines = lines.join("\n");
    let environment = world.store.environment().to_owned();
    let digest = digest::short(&[environment.as_bytes(), lines.as_bytes()]);

    let Effects { effects, shown, sessions } =
        Box::pin(effects(world, &plan, &progress, &looked)).await?;
    let mut models = Vec::new();
    for (name, effect) in effects.iter().chain(&shown) {
        if removed.contains(name) {
            continue;
        }
        let change = looked.get(name).and_then(|looked| looked.change);
        let change = match (change, effect.is_felt() || !effect.through.is_empty()) {
            (Some(Change::NewData), true) => Change::Indirect,
            (Some(change), _) => change,
            (None, true) => Change::Indirect,
            (None, false) => continue,
        };
        let selected = plan.selected.contains(name);
        models.push(model_change(&plan, name, change, effect, selected));
    }
    let sequence = in_order(&plan)?;
    models.extend(built_again(&plan, &sequence, &models));
    let place: BTreeMap<String, usize> =
        sequence.into_iter().enumerate().map(|(place, name)| (name, place)).collect();
    models.sort_by_key(|model| place.get(&model.name).copied());
    for name in removed {
        let effect = Effect { rows: true, ..Effect::default() };
        let sql_before = world.store.build(&name)?.and_then(|build| build.sql);
        let gone = model_change(&plan, &name, Change::Removed, &effect, true);
        models.push(ModelChange { sql_before, ..gone });
    }
    for model in models.iter_mut().filter(|model| model.change != Change::Removed) {
        if let Some(looked) = looked.get(&model.name) {
            model.sql_before.clone_from(&looked.before);
            model.sql_after = Some(looked.sql.clone());
        }
    }
    let dependents = match sessions {
        None => Vec::new(),
        Some((before, after)) => {
            let texts = BTreeMap::new();
            let (plan, effects, before) = (&plan, &effects, &before);
            Dependents { world, plan, effects, before, after, texts }.find().await?
        }
    };
    let touched = models.iter().filter(|model| model.selected && model.change != Change::Removed);
    let unchanged = plan.selected.len().saturating_sub(touched.count());
    Ok(Changes { environment, digest, models, dependents, unchanged, parts })
}

/// Every model, as they are built: each after all that it reads.
fn in_order(plan: &Plan<'_>) -> Result<Vec<String>> {
    let all = plan.models.keys().cloned().collect();
    let waves = order::arrange(&all, &plan.reads, &order::Edges::new())?;
    Ok(waves.into_iter().flatten().collect())
}

/// Whether a model is shown by its query and has no table of its own.
fn is_shown(model: &Model) -> bool {
    matches!(model.config.materialized, Materialized::View | Materialized::Ephemeral)
}

/// Models that stay what they are and are built all the same, because what they read is built again.
fn built_again(plan: &Plan<'_>, sequence: &[String], models: &[ModelChange]) -> Vec<ModelChange> {
    let known: BTreeSet<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let mut moving: BTreeSet<&str> =
        models.iter().filter(|model| model.selected).map(|model| model.name.as_str()).collect();
    let mut again = Vec::new();
    for name in sequence {
        let reads = plan.reads.get(name).into_iter().flatten();
        let through: BTreeSet<String> =
            reads.filter(|read| moving.contains(read.as_str())).cloned().collect();
        if through.is_empty() || known.contains(name.as_str()) {
            continue;
        }
        moving.insert(name);
        let stored = plan.models.get(name).is_some_and(|model| !is_shown(model));
        if stored && plan.selected.contains(name) {
            let effect = Effect { through, ..Effect::default() };
            again.push(model_change(plan, name, Change::Indirect, &effect, true));
        }
    }
    again
}

/// Compares each selected model with its last build.
async fn look(
    plan: &Plan<'_>,
    progress: &Progress<'_>,
    parts: &mut BTreeMap<String, String>,
) -> Result<BTreeMap<String, Looked>> {
    let session = progress.session()?;
    let mut looked = BTreeMap::new();
    // Models that give new rows, and views that show them.
    let mut moving: BTreeSet<&str> = BTreeSet::new();
    // Models whose tables the lake lost: they are built anew, and what reads them after them.
    let mut lost: BTreeSet<&str> = BTreeSet::new();
    for name in plan.waves.iter().flatten() {
        let job = progress.job(&session, name, &|_| {})?;
        let reads = job.reads.iter().map(String::as_str);
        let unknown = progress.shelf.behind(reads).iter().any(|read| lost.contains(read));
        let declared = match unknown {
            true => job.render_unasked().map(|sql| (sql, String::new())),
            false => job.declared().await,
        };
        let (sql, source) = declared.map_err(|error| {
            error.context(format!("model \"{}\" ({})", job.model.name, job.model.path))
        })?;
        let is_lost = job.is_lost().await?;
        if is_lost {
            lost.insert(name);
        }
        let past = progress.past(name);
        let inputs = past.inputs();
        let data = job.data(&source, false);
        let earlier = job.begins_earlier()?;
        let view = is_shown(job.model);
        let told = !unknown && job.tells_another_moment().await?;
        let before = past.build.and_then(|build| build.sql.clone());
        let shown = past.publication.is_some() || names::is_ephemeral(job.model);
        let other = match (&inputs, past.build) {
            (Some(inputs), Some(build)) if inputs.source != source => {
                // Another comment or layout is the same plan. One that does not fit yet what readers see is another.
                let same =
                    job.compile().await.is_ok_and(|now| now.fingerprint == build.fingerprint);
                (!same).then_some(build)
            }
            _ => None,
        };
        let change = match (&inputs, other) {
            (None, _) => Some(Change::Added),
            _ if !shown || is_lost => Some(Change::Added),
            // A seed has no query to compare: its file has other rows.
            (_, Some(_)) if job.model.seed.is_some() => Some(Change::Modified),
            // The same query stored alike: the columns of what it reads are others.
            (_, Some(build))
                if before.as_ref() == Some(&sql) && view == build.location.is_none() =>
            {
                Some(Change::Indirect)
            }
            (_, Some(_)) => Some(Change::Modified),
            (Some(inputs), _) if !view && inputs.timed => Some(Change::NewData),
            _ if told => Some(Change::NewData),
            (Some(inputs), _) if !view && (inputs.data != data || earlier) => Some(Change::NewData),
            _ => None,
        };
        let moved = job.reads.iter().any(|read| moving.contains(read.as_str()));
        let change = match change {
            None if moved && !view => Some(Change::NewData),
            change => change,
        };
        if change == Some(Change::NewData) || (view && moved) {
            moving.insert(name);
        }
        let publication = past.publication.map(|seen| (&seen.fingerprint, seen.version));
        parts.insert(
            name.clone(),
            digest::short(&[format!("{source} {data} {earlier} {publication:?}").as_bytes()]),
        );
        looked.insert(name.clone(), Looked { change, before, sql });
    }
    Ok(looked)
}

/// What the changes mean.
#[derive(Default)]
struct Effects {
    /// To each model that this build changes, or whose readers see another query, by name.
    effects: BTreeMap<String, Effect>,
    /// To tables that this build leaves as they are: what building them would mean, by name.
    shown: BTreeMap<String, Effect>,
    /// Sessions over what readers see and, without rows, over what they would see, if there is a
    /// difference.
    sessions: Option<(Session, Session)>,
}

/// What the changes mean to each model, those below included.
async fn effects(
    world: World<'_>,
    plan: &Plan<'_>,
    progress: &Progress<'_>,
    looked: &BTreeMap<String, Looked>,
) -> Result<Effects> {
    let mut effects = BTreeMap::new();
    let mut felt: BTreeSet<&str> = BTreeSet::new();
    for (name, looked) in looked {
        match looked.change {
            Some(Change::NewData) => _ = effects.insert(name.clone(), Effect::default()),
            Some(_) => _ = felt.insert(name),
            None => {}
        }
    }
    if felt.is_empty() {
        return Ok(Effects { effects, ..Effects::default() });
    }
    let sequence = in_order(plan)?;
    let reads = |name: &str| plan.reads.get(name).into_iter().flatten().map(String::as_str);
    for name in &sequence {
        if reads(name).any(|read| felt.contains(read)) {
            felt.insert(name);
        }
    }
    let mut needed = felt.clone();
    for name in sequence.iter().rev().map(String::as_str) {
        if needed.contains(name) {
            needed.extend(reads(name));
        }
    }
    let tables = needed.iter().filter(|name| !plan.reads.contains_key(**name));
    let tables: Vec<String> = tables.map(|name| (*name).to_owned()).collect();
    let mut tracer = Tracer {
        planner: Planner::new(world)?,
        readers: readers(world).await?,
        meant: progress.session()?,
        effects,
        unbuilt: BTreeSet::new(),
    };
    for table in tables {
        // A table that has not landed is told by each model that reads it.
        if let Err(error) = tracer.planner.land([table.clone()]).await {
            let effect = Effect { error: Some(error.message().to_owned()), ..Effect::default() };
            tracer.effects.insert(table, effect);
        }
    }
    let mut shown = BTreeMap::new();
    for name in sequence.iter().filter(|name| needed.contains(name.as_str())) {
        let other = !plan.selected.contains(name) && !tracer.planner.is_ephemeral(name);
        if other && !felt.contains(name.as_str()) {
            tracer.keep(name).await;
            continue;
        }
        // A view that is not built now is read over the new tables all the same.
        let stays = other && plan.models.get(name).is_some_and(|model| !is_shown(model));
        let looked = looked.get(name);
        let effect = tracer.effect(name, looked).await?;
        let told = effect.is_felt()
            || looked.is_some_and(|looked| looked.change.is_some())
            || !effect.through.is_empty();
        match (told, stays) {
            (true, true) => {
                // It is not built: nothing about it fails, and it is not what it would be.
                let rows = effect.rows || effect.error.is_some();
                shown.insert(name.clone(), Effect { rows, error: None, ..effect });
            }
            (true, false) => _ = tracer.effects.insert(name.clone(), effect),
            (false, _) => {}
        }
        if stays {
            tracer.keep(name).await;
        }
    }
    tracer.effects.retain(|name, _| plan.models.contains_key(name));
    let mut would = crate::catalog(world).await?;
    for (name, schema) in &tracer.planner.schemas {
        if plan.models.contains_key(name) {
            would.memory(&TableName::parse(name)?, SchemaRef::clone(schema), Vec::new());
        }
    }
    let after = world.lake.session(would)?;
    Ok(Effects { effects: tracer.effects, shown, sessions: Some((tracer.readers, after)) })
}

/// A session over what readers see.
async fn readers(world: World<'_>) -> Result<Session> {
    let mut catalog = crate::catalog(world).await?;
    catalog.allow_unfitted();
    world.lake.session(catalog)
}

/// Follows changes from model to model.
struct Tracer<'a> {
    /// What was planned so far: models that are built as their files say now, others as they are.
    planner: Planner<'a>,
    /// What readers see.
    readers: Session,
    /// What names mean to models that are built now: what readers see, and what is deferred.
    meant: Session,
    /// What is known so far.
    effects: BTreeMap<String, Effect>,
    /// Models that are not built now and never were.
    unbuilt: BTreeSet<String>,
}

impl Tracer<'_> {
    /// Lets a model that is not built now be what it is.
    async fn keep(&mut self, name: &str) {
        let query = self.meant.query(&format!("SELECT * FROM {}", quoted_table(name))).await;
        match query {
            Ok(query) => _ = self.planner.schemas.insert(name.to_owned(), query.schema()),
            Err(_) => _ = self.unbuilt.insert(name.to_owned()),
        }
    }

    /// Why a model cannot be built, if that is because of something it reads, and what that is.
    fn hindered(&self, reads: &BTreeSet<String>) -> Option<Effect> {
        reads.iter().find_map(|parent| {
            let above = self.effects.get(parent).and_then(|effect| effect.error.as_ref());
            let error = match above {
                _ if self.unbuilt.contains(parent) => {
                    format!("it reads \"{parent}\", which has not been built")
                }
                Some(_) if self.planner.reads.contains_key(parent) => {
                    format!("it reads \"{parent}\", which cannot be built")
                }
                Some(error) => error.clone(),
                None => return None,
            };
            let through = BTreeSet::from([parent.clone()]);
            Some(Effect { error: Some(error), through, ..Effect::default() })
        })
    }

    async fn effect(&mut self, name: &str, looked: Option<&Looked>) -> Result<Effect> {
        let reads = self.planner.reads.get(name).cloned().unwrap_or_default();
        if let Some(hindered) = self.hindered(&reads) {
            return Ok(hindered);
        }
        let through: BTreeSet<String> = reads
            .iter()
            .filter(|parent| self.effects.get(*parent).is_some_and(Effect::is_felt))
            .cloned()
            .collect();
        if let Err(error) = self.planner.plan_one(name).await {
            return Ok(Effect { error: Some(reason(&error)), through, ..Effect::default() });
        }
        let mut effect = Effect::default();
        let new = self.planner.schemas.get(name).cloned();
        let new: Vec<String> = new
            .iter()
            .flat_map(|schema| schema.fields())
            .map(|field| field.name().clone())
            .collect();
        let old = match self.planner.is_ephemeral(name) {
            true => self.inlined_columns(name, looked, &new).await,
            false => self.old_columns(name).await,
        };
        let Some(old) = old else { return Ok(Effect { added: new, ..effect }) };
        effect.added = new.iter().filter(|column| !old.contains(column)).cloned().collect();
        effect.removed = old.iter().filter(|column| !new.contains(column)).cloned().collect();
        let kept: Vec<&String> = old.iter().filter(|column| new.contains(column)).collect();
        if let Some(looked) = looked.filter(|looked| looked.change == Some(Change::Modified)) {
            self.compare(name, looked, &kept, &mut effect).await?;
        }
        if !through.is_empty() {
            self.trace(name, &kept, &mut effect)?;
            if effect.through.is_empty() {
                effect.through = through;
            }
        }
        Ok(effect)
    }

    /// The columns readers see; none if they see no such table.
    async fn old_columns(&self, name: &str) -> Option<Vec<String>> {
        let query =
            self.readers.query(&format!("SELECT * FROM {}", quoted_table(name))).await.ok()?;
        Some(columns_of(&query))
    }

    /// The columns that an ephemeral model had when it was last a part of something; none if it never was.
    /// One that is not looked at, or whose old query can no longer be planned, has those it has now.
    async fn inlined_columns(
        &self,
        name: &str,
        looked: Option<&Looked>,
        now: &[String],
    ) -> Option<Vec<String>> {
        let before = match looked {
            Some(Looked { change: Some(Change::Added), .. }) => return None,
            looked => looked.and_then(|looked| looked.before.as_ref()),
        };
        let old = match (before, self.planner.session(name)) {
            (Some(sql), Ok(session)) => session.query(sql).await.ok(),
            _ => None,
        };
        Some(old.map_or_else(|| now.to_vec(), |query| columns_of(&query)))
    }

    /// Which of the columns `kept`, and whether the rows, are not what the old query gives.
    async fn compare(
        &self,
        name: &str,
        looked: &Looked,
        kept: &[&String],
        effect: &mut Effect,
    ) -> Result<()> {
        let all = |effect: &mut Effect| {
            effect.rows = true;
            effect.changed = kept.iter().map(|column| (*column).clone()).collect();
        };
        let Some(before) = looked.before.as_ref().filter(|sql| !sql.is_empty()) else {
            all(effect);
            return Ok(());
        };
        let session = self.planner.session(name)?;
        let same = async |columns: &str| {
            let mut prints = Vec::with_capacity(2);
            for sql in [before, &looked.sql] {
                let sql = statement::bare(sql);
                let query = session.query(&format!("SELECT {columns} FROM (\n{sql}\n)")).await?;
                prints.push(query.normal_fingerprint()?);
            }
            Ok::<bool, Error>(prints.first() == prints.last())
        };
        // A query that no longer fits what it read has nothing to be compared with.
        if kept.len() > COLUMNS_COMPARED_MAX || !same("1").await.unwrap_or(false) {
            all(effect);
            return Ok(());
        }
        for column in kept {
            if !same(&quoted(column)).await.unwrap_or(false) {
                effect.changed.push((*column).clone());
            }
        }
        Ok(())
    }

    /// Adds what changes because models above do.
    fn trace(&self, name: &str, kept: &[&String], effect: &mut Effect) -> Result<()> {
        let lineage = self.planner.columns_of_tables(name)?;
        let felt = |table: &str, column: &str| {
            self.effects.get(table).is_some_and(|effect| effect.touches(column))
        };
        let reads = self.planner.reads.get(name).into_iter().flatten();
        for parent in reads.filter(|parent| self.effects.get(*parent).is_some_and(|e| e.rows)) {
            effect.rows = true;
            effect.through.insert(format!("{parent} (rows)"));
        }
        for influence in &lineage.influences {
            let by = &influence.by;
            if felt(&by.table, &by.column) {
                effect.rows = true;
                effect.through.insert(format!("{}.{}", by.table, by.column));
            }
        }
        for column in lineage.columns.iter().filter(|column| kept.contains(&&column.column)) {
            for origin in &column.origins {
                if felt(&origin.from.table, &origin.from.column) {
                    effect.through.insert(format!("{}.{}", origin.from.table, origin.from.column));
                    if !effect.changed.contains(&column.column) {
                        effect.changed.push(column.column.clone());
                    }
                }
            }
        }
        Ok(())
    }
}

/// The names of a query's columns, in their order.
fn columns_of(query: &Query) -> Vec<String> {
    query.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn model_change(
    plan: &Plan<'_>,
    name: &str,
    change: Change,
    effect: &Effect,
    selected: bool,
) -> ModelChange {
    let impact = match change {
        Change::NewData | Change::Added => Impact::NonBreaking,
        Change::Removed => Impact::Breaking,
        _ if effect.breaks() => Impact::Breaking,
        _ if !effect.added.is_empty() => Impact::NonBreaking,
        _ => Impact::Nothing,
    };
    let impact = if effect.error.is_some() { Impact::Breaking } else { impact };
    ModelChange {
        name: name.to_owned(),
        file: plan.models.get(name).map(|model| model.path.clone()),
        change,
        impact,
        selected,
        columns_added: effect.added.clone(),
        columns_removed: effect.removed.clone(),
        columns_changed: effect.changed.clone(),
        rows_changed: effect.rows,
        through: effect.through.iter().cloned().collect(),
        error: effect.error.clone(),
        sql_before: None,
        sql_after: None,
    }
}

/// What reads changed models and is no model, if it reads what changes of them.
struct Dependents<'a> {
    world: World<'a>,
    plan: &'a Plan<'a>,
    effects: &'a BTreeMap<String, Effect>,
    /// What readers see.
    before: &'a Session,
    /// What they would see, without rows.
    after: Session,
    texts: BTreeMap<String, String>,
}

impl Dependents<'_> {
    async fn find(mut self) -> Result<Vec<Touched>> {
        let mut found: BTreeMap<NodeId, Touched> = BTreeMap::new();
        let project = self.world.project;
        for (name, effect) in self.effects.iter().filter(|(_, effect)| effect.breaks()) {
            let Some(model) = self.plan.models.get(name) else { continue };
            let broken = effect.error.as_ref().map(|_| format!("model {name} cannot be built"));
            let mut open = vec![(NodeId::new(NodeKind::Model, model.name.clone()), broken)];
            let mut seen = BTreeSet::new();
            while let Some((at, broken)) = open.pop() {
                for next in project.graph.downstream(&at) {
                    // Models below have an effect of their own.
                    let own = matches!(next.kind, NodeKind::Model | NodeKind::Source);
                    if own || seen.contains(next) {
                        continue;
                    }
                    // Each metric has a query of its own; what is below other things is reached through them.
                    let passes = matches!(next.kind, NodeKind::Semantic | NodeKind::Metric);
                    let touched = match found.get(next) {
                        Some(touched) => Some(touched.clone()),
                        None => self.touched(&at, next, broken.is_some()).await?,
                    };
                    let Some(mut touched) = touched else {
                        if passes && seen.insert(next.clone()) {
                            open.push((next.clone(), broken.clone()));
                        }
                        continue;
                    };
                    seen.insert(next.clone());
                    touched.reads.insert(name.clone());
                    // An action works as before; it is the policy that has nothing to send.
                    if touched.breaks.is_none() && next.kind != NodeKind::Action {
                        touched.breaks.clone_from(&broken);
                    }
                    let below = touched.breaks.as_ref().filter(|_| !passes);
                    let below = below.map(|_| format!("{next} breaks"));
                    found.insert(next.clone(), touched);
                    open.push((next.clone(), broken.clone().or(below)));
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// What a change of `at` is to `next`; nothing if it reads none of what changes.
    async fn touched(
        &mut self,
        at: &NodeId,
        next: &NodeId,
        broken: bool,
    ) -> Result<Option<Touched>> {
        let project = self.world.project;
        let judged = demand::judge(project, next, self.before, &self.after).await;
        let through_queries = match at.kind {
            NodeKind::Model | NodeKind::Semantic => true,
            NodeKind::Metric => next.kind == NodeKind::Metric,
            _ => false,
        };
        let reads = judged.columns.as_ref().is_none_or(|columns| self.feels(next, columns));
        if judged.broken.is_none() && !broken && through_queries && !reads {
            return Ok(None);
        }
        let file = project.graph.info(next).and_then(|info| info.file.clone());
        let breaks = match (judged.broken, &file) {
            (Some(broken), Some(file)) => match self.line(file)? {
                Some(line) => Some(format!("{file}:{line}: {broken}")),
                None => Some(format!("{file}: {broken}")),
            },
            (broken, _) => broken,
        };
        let columns = judged.columns.unwrap_or_default().into_iter();
        let columns = columns.filter(|column| self.is_changed(column));
        let columns = columns.map(|column| format!("{}.{}", column.table, column.column));
        let columns = columns.collect();
        Ok(Some(Touched { node: next.clone(), file, reads: BTreeSet::new(), columns, breaks }))
    }

    fn is_changed(&self, column: &TableColumn) -> bool {
        let effect = self.effects.get(&column.table);
        effect.is_some_and(|effect| effect.touches(&column.column))
    }

    /// Whether what a resource reads changes. One that counts rows reads no column of them.
    fn feels(&self, node: &NodeId, columns: &BTreeSet<TableColumn>) -> bool {
        let project = self.world.project;
        let above = project.graph.ancestors(node).into_iter();
        let mut above = above.map(|id| names::relation(project, &id));
        let rows = above.any(|name| self.effects.get(&name).is_some_and(|effect| effect.rows));
        rows || columns.iter().any(|column| self.is_changed(column))
    }

    /// The first line of a file that names a column which goes.
    fn line(&mut self, file: &str) -> Result<Option<usize>> {
        if !self.texts.contains_key(file) {
            let path = self.world.project.dir.join(file);
            let text =
                std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
            self.texts.insert(file.to_owned(), text);
        }
        let text = self.texts.get(file).map_or("", String::as_str);
        let removed = self.effects.values().flat_map(|effect| &effect.removed);
        Ok(removed.filter_map(|column| line_naming(text, column)).min())
    }
}

/// The first line of a resource that names a column as a word; comments name nothing.
fn line_naming(text: &str, column: &str) -> Option<usize> {
    let within = |c: char| c.is_alphanumeric() || c == '_';
    let named = |line: &str| {
        let line = line.split(" #").next().unwrap_or_default();
        let mut words = line.split(|c: char| !within(c));
        !line.trim_start().starts_with('#') && words.any(|word| word.eq_ignore_ascii_case(column))
    };
    text.lines().position(named).map(|index| index + 1)
}
