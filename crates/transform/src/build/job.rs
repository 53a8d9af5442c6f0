//! One model: whether it needs to be built, and building it.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampMicrosecondType};
use flywheel_base::{Error, Result, Timestamp, digest};
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::{Columns, Model, Project, RunContext};
use flywheel_warehouse::{Location, Query, Session, TableName};

use super::ask::{Desk, Facts, Told};
use super::materialize::{self, Batch};
use super::past::Past;
use super::{contract, hook, seed, snapshot};
use crate::intervals::{Batches, Interval, Intervals};
use crate::shelf::{Item, Shelf};
use crate::testing::{quoted, quoted_table};
use crate::{World, catalog, inputs, lineage, names};

/// How many characters of a fingerprint name a table's folder.
const FINGERPRINT_CHARS: usize = 12;

/// A model that is ready to be tested.
#[derive(Debug)]
pub(super) struct Candidate {
    /// What its name will mean.
    pub(super) item: Item,
    /// Identifies its query and how it is stored.
    pub(super) fingerprint: String,
    /// Its query with all names resolved; empty for a seed.
    pub(super) sql: String,
    /// See [`inputs::Inputs::source`].
    pub(super) source: String,
    /// See [`inputs::Inputs::data`].
    pub(super) data: String,
    /// See [`inputs::Inputs::timed`].
    pub(super) timed: bool,
    /// Whether anything was written or the view is another one.
    pub(super) built: bool,
    /// The rows that were written.
    pub(super) rows: Option<u64>,
    /// The new rows, if those are all that changed.
    pub(super) batch: Option<Batch>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
    /// Which times are built, if it is built in batches of time.
    pub(super) intervals: Option<Intervals>,
}

/// What building one model needs to know.
pub(super) struct Job<'a> {
    pub(super) world: World<'a>,
    pub(super) model: &'a Model,
    /// What it reads, by name.
    pub(super) reads: &'a BTreeSet<String>,
    /// What names mean.
    pub(super) shelf: &'a Shelf,
    /// A session in which they mean that.
    pub(super) session: &'a Session,
    pub(super) past: Past<'a>,
    pub(super) full_refresh: bool,
    /// The interval to build again.
    pub(super) interval: Option<Interval>,
    /// Called when there is something to do.
    pub(super) started: &'a (dyn Fn(&str) + Sync),
    /// What its template was told by the database so far.
    pub(super) told: Mutex<Told>,
    /// What it reads only to be told something: the query itself names it nowhere.
    pub(super) asked: Mutex<BTreeSet<String>>,
}

/// The model's query and what identifies it.
pub(super) struct Compiled {
    /// As this run asks it.
    pub(super) sql: String,
    /// As it says at any moment.
    declared: String,
    pub(super) fingerprint: String,
    source: String,
    timed: bool,
}

/// What was made of a model.
pub(super) struct Made {
    pub(super) item: Item,
    pub(super) rows: Option<u64>,
    pub(super) batch: Option<Batch>,
}

impl Job<'_> {
    /// Builds the model, or finds that nothing changed.
    pub(super) async fn run(&self) -> Result<Candidate> {
        let model = self.model;
        let context =
            |error: Error| error.context(format!("model \"{}\" ({})", model.name, model.path));
        self.run_inner().await.map_err(context)
    }

    async fn run_inner(&self) -> Result<Candidate> {
        self.require_inputs()?;
        let compiled = self.compile().await?;
        let mut data = self.data(&compiled.source, compiled.timed);
        if self.restated().is_some() {
            // What lies outside of the interval may not be built: the next build looks again.
            data = inputs::of([data.as_str(), "interval"]);
        }
        let mut notes = Vec::new();
        let (made, built) = match self.unchanged(&compiled, &data).await? {
            Some(item) => (Made { item, rows: None, batch: None }, false),
            None => {
                let own = self.shelf.item(&self.model.relation()).cloned();
                notes.extend(self.hooks("pre-hook", own).await?);
                let made = self.make(&compiled).await?;
                contract::require(self, &made.item).await?;
                notes.extend(self.hooks("post-hook", Some(made.item.clone())).await?);
                (made, true)
            }
        };
        let intervals = self.ledger(&compiled, &made.item, built).await?;
        let Compiled { declared, fingerprint, source, timed, .. } = compiled;
        let Made { item, rows, batch } = made;
        Ok(Candidate {
            item,
            fingerprint,
            sql: declared,
            source,
            data,
            timed,
            built,
            rows,
            batch,
            notes,
            intervals,
        })
    }

    /// The interval that is built again of this model, if it is one that can be.
    pub(super) fn restated(&self) -> Option<Interval> {
        let config = &self.model.config;
        let by_time =
            config.materialized == Materialized::Incremental && config.event_time.is_some();
        self.interval.filter(|_| by_time)
    }

    /// Which times were built of the variant before; none if it is not built in batches.
    pub(super) fn built_before(&self, batches: &Batches, fingerprint: &str) -> Intervals {
        let Some(build) = self.past.build.filter(|build| build.fingerprint == fingerprint) else {
            return Intervals::default();
        };
        let known = build.intervals.as_deref().and_then(Intervals::parse);
        known.unwrap_or_else(|| batches.assumed(build.built_at))
    }

    /// Whether it cannot be told which times of the table are built: nothing was over when its first rows
    /// came, and no `begin` says where to start. Then all of it is built.
    pub(super) fn has_no_start(&self, fingerprint: &str) -> Result<bool> {
        let Some(batches) = Batches::of(self.model)? else { return Ok(false) };
        let unknown = batches.begin.is_none() && self.restated().is_none();
        Ok(unknown && self.built_before(&batches, fingerprint).is_empty())
    }

    /// Whether the model's `begin` is earlier now than what was built: there may be old rows to be read.
    pub(super) fn begins_earlier(&self) -> Result<bool> {
        let (Some(batches), Some(build)) = (Batches::of(self.model)?, self.past.build) else {
            return Ok(false);
        };
        let first = self.built_before(&batches, &build.fingerprint).first();
        Ok(batches.begin.zip(first).is_some_and(|(begin, first)| begin < first))
    }

    /// Which times are built now.
    async fn ledger(
        &self,
        compiled: &Compiled,
        item: &Item,
        built: bool,
    ) -> Result<Option<Intervals>> {
        let Some(batches) = Batches::of(self.model)? else { return Ok(None) };
        let (now, print) = (self.world.now, &compiled.fingerprint);
        let mut known = self.built_before(&batches, print);
        if !built {
            return Ok(Some(known));
        }
        if let Some(interval) = self.restated() {
            known.add(batches.outward(interval), now);
            return Ok(Some(known));
        }
        let location = self.location(print)?;
        let until = batches.until(now);
        let first = self.past.good_version(print, location.as_str()).is_none();
        if self.full_refresh || first || self.has_no_start(print)? {
            let mut all = Intervals::default();
            let from = match batches.begin {
                Some(begin) => Some(begin),
                None => self.first_time(item).await?.map(|first| batches.start(first)),
            };
            if let Some(from) = from {
                all.add(Interval { from, to: until }, now);
            }
            return Ok(Some(all));
        }
        let window = batches.window(&known, now);
        for gap in window.gaps {
            known.add(gap, now);
        }
        known.add(Interval { from: window.since, to: until }, now);
        Ok(Some(known))
    }

    /// When the first row of a table happened.
    async fn first_time(&self, item: &Item) -> Result<Option<Timestamp>> {
        let Some(event_time) = &self.model.config.event_time else { return Ok(None) };
        let session = self.session_with(item.clone())?;
        let table = quoted_table(&self.model.relation());
        let sql = format!("SELECT min({}) AS first FROM {table}", quoted(event_time));
        let rows = session.query(&sql).await?.collect().await?;
        let column = rows.iter().find(|batch| batch.num_rows() > 0).map(|batch| batch.column(0));
        let Some(column) = column else { return Ok(None) };
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let moments = arrow::compute::cast(column, &micros);
        let wrong = || {
            Error::invalid(format!("its event_time \"{event_time}\" is neither date nor time"))
                .hint("Name a column of dates or times, or cast it in the query.")
        };
        let moments = moments.map_err(|error| wrong().caused_by(error))?;
        let moments = moments.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)?;
        let first = match (column.is_valid(0), moments.is_valid(0)) {
            (false, _) => None,
            (true, true) => Some(moments.value(0)),
            (true, false) => return Err(wrong()),
        };
        Ok(first.map(Timestamp::from_micros))
    }

    /// A digest of the versions of everything the model reads, and of the time if that counts.
    pub(super) fn data(&self, source: &str, timed: bool) -> String {
        // Of what is only asked the answer counts, which is in the query's text.
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = self.reads.iter().filter(|name| !asked.contains(*name));
        let mut versions = self.shelf.versions(read.map(String::as_str));
        if timed {
            versions.insert(format!("at {}", self.world.now.micros()));
        }
        // Such a view is the same query at any moment, and its readers follow what it tells.
        for (model, sql) in self.telling() {
            versions.insert(format!("told {} {}", model.relation(), inputs::of([sql])));
        }
        // A snapshot is one table for ever, whatever its query becomes; a changed query is new data.
        if self.model.snapshot.is_some() {
            versions.insert(format!("query {source}"));
        }
        inputs::of(&versions)
    }

    /// Runs the model's statements before or after it is built, to which its own name means `this`; returns what a person
    /// should know.
    async fn hooks(&self, word: &str, this: Option<Item>) -> Result<Vec<String>> {
        let (model, project) = (self.model, self.world.project);
        let config = &model.config;
        let hooks = if word == "pre-hook" { &config.pre_hooks } else { &config.post_hooks };
        let mut notes = Vec::new();
        if hooks.is_empty() {
            return Ok(notes);
        }
        let name = model.relation();
        let own = Some((name.as_str(), this));
        let stage = hook::Stage { world: self.world, shelf: self.shelf, own, results: None };
        for text in hooks {
            let render = |run: &RunContext<'_>| names::render_hook(project, model, text, run);
            notes.extend(Box::pin(stage.run(word, render)).await?);
        }
        Ok(notes)
    }

    /// As [`Job::render`], with the moment of this run in the place of the one that is always the same. `this` is what the
    /// model's own name means to what its template asks.
    pub(super) async fn render_now(
        &self,
        incremental: bool,
        columns: &Columns,
        this: Option<Item>,
    ) -> Result<String> {
        let facts = Facts { columns, moment: Some(self.world.now), ..Facts::default() };
        contract::wrapped(self.model, self.rendered(incremental, facts, this).await?)
    }

    /// The model's query, in the columns and types of its contract if it has one.
    pub(super) async fn render(&self, incremental: bool, columns: &Columns) -> Result<String> {
        let facts = Facts { columns, ..Facts::default() };
        contract::wrapped(self.model, self.rendered(incremental, facts, None).await?)
    }

    /// As [`Job::render`], where nothing of what the model reads can be asked.
    pub(super) fn render_unasked(&self) -> Result<String> {
        let sql = names::render_model(self.world.project, self.model, false)?;
        contract::wrapped(self.model, sql)
    }

    /// The model's query with what its template asks the database.
    async fn rendered(
        &self,
        incremental: bool,
        facts: Facts<'_>,
        this: Option<Item>,
    ) -> Result<String> {
        let (project, model) = (self.world.project, self.model);
        let render =
            |run: &RunContext<'_>| names::render_model_in(project, model, incremental, run);
        // With a table of its own the model may be told something else.
        let apart = this.is_some();
        let mut told = if apart { Told::default() } else { mem::take(&mut *self.told()) };
        let sql = match told.attempt(facts, &render) {
            Ok(sql) => sql,
            Err(_) => {
                let own = model.relation();
                let desk = Desk::of_model(self.world, self.shelf, self.reads, &own, this)?;
                // Boxed, as few models ask and all of them would be larger.
                Box::pin(desk.render(&mut told, facts, render)).await
            }
        };
        if !apart {
            *self.told() = told;
        }
        sql
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes which of the tables that the template asked its query does not name. They are named in a comment behind it:
    /// what they said is a part of the query, and rules about them have to find it.
    fn note_asked(&self, sql: String) -> String {
        let asked = self.told().tables.clone();
        if asked.is_empty() {
            return sql;
        }
        let text = hook::statements(&sql).join(" ").to_lowercase();
        let unnamed = |relation: &&String| {
            let name = relation.rsplit('.').next().unwrap_or(relation);
            !text.contains(&name.to_lowercase())
        };
        let only: BTreeSet<String> = asked.iter().filter(unnamed).cloned().collect();
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = only;
        let names: Vec<String> =
            asked.iter().map(|name| name.replace(char::is_control, " ")).collect();
        format!("{}\n-- asked: {}", sql.trim_end(), names.join(", "))
    }

    async fn make(&self, compiled: &Compiled) -> Result<Made> {
        (self.started)(&self.model.relation());
        match self.model.config.materialized {
            Materialized::View | Materialized::Ephemeral => {
                let (sql, fingerprint) = (compiled.sql.clone(), compiled.fingerprint.clone());
                let item = Item::View { sql, fingerprint, reads: self.reads.clone() };
                Ok(Made { item, rows: None, batch: None })
            }
            Materialized::Table => materialize::table(self, compiled).await,
            Materialized::Incremental => materialize::incremental(self, compiled).await,
            Materialized::Seed => seed::build(self, compiled).await,
            Materialized::Snapshot => snapshot::build(self, compiled).await,
        }
    }

    /// Everything the model reads has to be there.
    fn require_inputs(&self) -> Result<()> {
        let Some(name) = self.reads.iter().find(|name| self.shelf.item(name).is_none()) else {
            return Ok(());
        };
        let project = self.world.project;
        let read = names::model(project, name);
        if let Some(model) = read.filter(|model| !model.config.enabled) {
            return Err(Error::invalid(format!(
                "it reads \"{name}\", which {} makes; that is switched off, and was never built",
                model.path
            ))
            .hint(format!(
                "Build it once with what switches it on: `flywheel build --select {} --vars '{{a variable: true}}'`.",
                model.name
            )));
        }
        if read.is_some() {
            return Err(Error::invalid(format!(
                "it reads model \"{name}\", which has not been built"
            ))
            .hint(format!("Run `flywheel build --select +{}`.", self.model.name)));
        }
        let landed_by = project.sources.get(name).and_then(|source| source.landed_by.as_ref());
        let hint = match landed_by {
            Some(landing) => format!("Run `flywheel sync {}` first.", landing.sync),
            None if name.starts_with("learn.") => "Run `flywheel learn` first.".to_owned(),
            None => "Declare a sync that lands it, or correct the source().".to_owned(),
        };
        Err(Error::not_found(format!("it reads table \"{name}\", which does not exist yet"))
            .hint(hint))
    }

    /// Renders the query and finds its fingerprint; it is planned only if something about it changed.
    pub(super) async fn compile(&self) -> Result<Compiled> {
        let project = self.world.project;
        if let Some(declared) = &self.model.seed {
            let rows = declared.read()?;
            let fingerprint = digest::hex(&[b"seed", rows.digest.as_bytes()]);
            let source = inputs::of([&fingerprint]);
            let (sql, declared) = (String::new(), String::new());
            return Ok(Compiled { sql, declared, fingerprint, source, timed: false });
        }
        let (declared, source) = self.declared().await?;
        // A query that tells the moment of its run is run as it says, and known by what it says at any moment.
        let asks = names::asks_for_moment(project, self.model);
        let run = match asks {
            true => Some(self.render_now(false, &self.columns().await?, None).await?),
            false => None,
        };
        let config = storage(self.model);
        if let (Some(build), Some(inputs)) = (self.past.build, self.past.inputs())
            && inputs.source == source
        {
            let fingerprint = build.fingerprint.clone();
            let (sql, timed) = (run.unwrap_or_else(|| declared.clone()), inputs.timed || asks);
            return Ok(Compiled { sql, declared, fingerprint, source, timed });
        }
        if self.model.config.contract {
            let columns = self.columns().await?;
            let facts = Facts { columns: &columns, ..Facts::default() };
            let bare = self.rendered(false, facts, None).await?;
            contract::check(self.session, self.model, &bare).await?;
        }
        let timeless = self.timeless()?;
        let query = timeless.as_ref().unwrap_or(self.session).query(&declared).await?;
        self.require_declared(&query, false)?;
        // The plan has its views expanded and says nothing of types, so the columns are added.
        let parts = [query.fingerprint(), shape(&query.schema()), config];
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        let timed = asks || lineage::depends_on_time(query.plan());
        let fingerprint = match self.model.snapshot {
            Some(_) => digest::hex(&[b"snapshot", self.model.relation().as_bytes()]),
            None => digest::hex(&parts),
        };
        let sql = run.unwrap_or_else(|| declared.clone());
        Ok(Compiled { sql, declared, fingerprint, source, timed })
    }

    /// Whether the model is a view whose text would tell another moment than what was built last.
    pub(super) async fn tells_another_moment(&self) -> Result<bool> {
        let told = self.past.build.and_then(|build| build.view_sql.as_ref());
        let shown = self.model.config.materialized == Materialized::View;
        let Some(told) = told.filter(|_| shown) else { return Ok(false) };
        if !names::asks_for_moment(self.world.project, self.model) {
            return Ok(false);
        }
        Ok(self.render_now(false, &self.columns().await?, None).await? != *told)
    }

    /// The views behind what the model reads that tell the moment of their run, each with its query.
    fn telling(&self) -> Vec<(&Model, &str)> {
        let project = self.world.project;
        let behind = self.shelf.behind(self.reads.iter().map(String::as_str)).into_iter();
        let telling = behind.filter_map(|name| {
            let Some(Item::View { sql, .. }) = self.shelf.item(name) else { return None };
            let model = names::model(project, name)?;
            names::asks_for_moment(project, model).then_some((model, sql.as_str()))
        });
        telling.collect()
    }

    /// A session in which the views that are read tell always the same moment, so that a query over them is the same one
    /// tomorrow; none if no view tells any.
    fn timeless(&self) -> Result<Option<Session>> {
        let telling = self.telling();
        if telling.is_empty() {
            return Ok(None);
        }
        let (project, now, columns) = (self.world.project, self.world.now, Columns::new());
        let mut shelf = self.shelf.clone();
        for (model, told) in telling {
            // What its file says by now is meant only if this run made it.
            let made = names::render_model_at(project, model, false, &columns, now)
                .and_then(|sql| contract::wrapped(model, sql));
            if !made.is_ok_and(|made| made == told) {
                continue;
            }
            let same = contract::wrapped(model, names::render_model(project, model, false)?)?;
            if let Some(Item::View { sql, .. }) = shelf.item_mut(&model.relation()) {
                *sql = same;
            }
        }
        self.world.lake.session(shelf.catalog()?).map(Some)
    }

    /// The query with its names resolved, and a digest of it, of how the model is stored and of the
    /// columns it reads: as long as that is the same, the fingerprint is. Nothing is planned.
    pub(super) async fn declared(&self) -> Result<(String, String)> {
        if let Some(declared) = &self.model.seed {
            let rows = declared.read()?;
            let fingerprint = digest::hex(&[b"seed", rows.digest.as_bytes()]);
            return Ok((String::new(), inputs::of([&fingerprint])));
        }
        let sql = self.note_asked(self.render(false, &self.columns().await?).await?);
        let mut known = vec![sql.clone(), storage(self.model)];
        known.extend(self.shapes().await?);
        let source = inputs::of(&known);
        Ok((sql, source))
    }

    /// The columns of what the model reads, if its template asks for them.
    pub(super) async fn columns(&self) -> Result<Columns> {
        let mut columns = Columns::new();
        if !self.model.asks_for_columns() {
            return Ok(columns);
        }
        for name in self.reads {
            let query =
                self.session.query(&format!("SELECT * FROM {}", quoted_table(name))).await?;
            let schema = query.schema();
            let fields = schema.fields().iter();
            let fields = fields.map(|field| (field.name().clone(), sql_type(field.data_type())));
            columns.insert(name.clone(), fields.collect());
        }
        Ok(columns)
    }

    /// The columns of everything the model reads, views opened.
    async fn shapes(&self) -> Result<Vec<String>> {
        let names = || self.reads.iter().map(String::as_str);
        let mut shapes = self.shelf.views(names());
        for (name, location, version) in self.shelf.tables(names()) {
            let state = self.world.lake.state_at(location, version).await;
            let state = state.map_err(|error| error.context(format!("\"{name}\"")))?;
            shapes.push(format!("{name} {}", shape(&state.schema)));
        }
        Ok(shapes)
    }

    /// Whether the table that readers see is no longer in the lake, which was emptied or restored from an
    /// older backup.
    pub(super) async fn is_lost(&self) -> Result<bool> {
        let seen = self.past.publication.and_then(|seen| seen.location.as_ref().zip(seen.version));
        let Some((location, version)) = seen else { return Ok(false) };
        let head = self.world.lake.head(&Location::new(location.as_str())?).await?;
        Ok(head.is_none_or(|head| head.version < version))
    }

    /// The last passed build, if neither the model nor what it reads changed since.
    async fn unchanged(&self, compiled: &Compiled, data: &str) -> Result<Option<Item>> {
        let view =
            matches!(self.model.config.materialized, Materialized::View | Materialized::Ephemeral);
        let Some((build, inputs)) = self.past.build.zip(self.past.inputs()) else {
            return Ok(None);
        };
        if build.fingerprint != compiled.fingerprint {
            return Ok(None);
        }
        if view {
            // With another moment in its text it is another view. What is a part of its readers is theirs to build.
            let told = build.view_sql.as_ref().filter(|told| **told != compiled.sql);
            let told = told.filter(|_| names::asks_for_moment(self.world.project, self.model));
            if told.is_some() && !names::is_ephemeral(self.model) {
                return Ok(None);
            }
            let same = build.view_sql.as_ref().filter(|_| told.is_none());
            let sql = same.unwrap_or(&compiled.sql).clone();
            let fingerprint = compiled.fingerprint.clone();
            return Ok(Some(Item::View { sql, fingerprint, reads: self.reads.clone() }));
        }
        let more = inputs.data != data || self.begins_earlier()?;
        if more || self.full_refresh || self.restated().is_some() {
            return Ok(None);
        }
        let (Some(location), Some(version)) = (&build.location, build.version) else {
            return Ok(None);
        };
        let location = Location::new(location.as_str())?;
        // A lake that was emptied or restored from an older backup no longer has the version.
        let Some(head) = self.world.lake.head(&location).await? else { return Ok(None) };
        if head.version < version {
            return Ok(None);
        }
        // Readers move along with compactions, whose old files are removed some day.
        let same = catalog::same_rows(self.world.lake, &location, version, head.version).await?;
        let version = if same { head.version } else { version };
        Ok(Some(Item::Table { location, version }))
    }

    /// Every table of the query has to be declared, or its order and its rebuilds cannot be known.
    pub(super) fn require_declared(&self, query: &Query, this: bool) -> Result<()> {
        let own = self.model.relation();
        let behind = self.shelf.behind(self.reads.iter().map(String::as_str));
        for table in query.tables() {
            let name = table.to_string();
            if behind.contains(name.as_str()) || (this && name == own) {
                continue;
            }
            return Err(undeclared(self.world.project, &name, &own));
        }
        Ok(())
    }

    /// Where the variant of the model with this fingerprint lies.
    pub(super) fn location(&self, fingerprint: &str) -> Result<Location> {
        let variant = fingerprint.get(..FINGERPRINT_CHARS).unwrap_or(fingerprint);
        Location::new(format!("{}/{}/{variant}", self.model.schema, self.model.name))
    }

    /// A session in which the model's own name means `this`.
    pub(super) fn session_with(&self, item: Item) -> Result<Session> {
        let mut shelf = self.shelf.clone();
        shelf.put(&self.model.relation(), Some(item));
        self.world.lake.session(shelf.catalog()?)
    }

    /// The model's own name.
    pub(super) fn own_name(&self) -> TableName {
        TableName::new(self.model.schema.as_str(), self.model.table())
    }
}

pub(super) fn undeclared(project: &Project, name: &str, own: &str) -> Error {
    let error = Error::invalid(format!("it reads table \"{name}\" without declaring it"));
    if name == own {
        return error.hint("Write {{ this }}, inside {% if is_incremental() %}.");
    }
    match (names::model(project, name), name.split_once('.')) {
        (Some(model), _) => error.hint(format!("Write {{{{ ref('{}') }}}} instead.", model.name)),
        (None, Some((schema, table))) => {
            error.hint(format!("Write {{{{ source('{schema}', '{table}') }}}} instead."))
        }
        (None, None) => error.hint("Use ref() for models and source() for landed tables."),
    }
}

/// How the model is stored, as far as its table depends on it.
fn storage(model: &Model) -> String {
    let config = &model.config;
    match config.materialized {
        Materialized::View => "view".to_owned(),
        Materialized::Ephemeral => "ephemeral".to_owned(),
        Materialized::Table => "table".to_owned(),
        Materialized::Seed => "seed".to_owned(),
        Materialized::Snapshot => format!("snapshot {:?}", model.snapshot),
        Materialized::Incremental => {
            format!("incremental {:?} {:?}", config.incremental_strategy, config.unique_key)
        }
    }
}

/// A type as SQL writes it; what has no name there is text.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 | DataType::Float64 => "double".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(_, _) => "timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        _ => "varchar".to_owned(),
    }
}

/// The columns of a table as a text.
fn shape(schema: &Schema) -> String {
    let column = |field: &arrow::datatypes::FieldRef| {
        format!("{:?} {} {}", field.name(), field.data_type(), field.is_nullable())
    };
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}
