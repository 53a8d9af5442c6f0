//! An open project: its declarations, its lake, its metadata, and the right to change it.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use flywheel_base::{Clock, Error, ErrorKind, FixedClock, Result, SystemClock, Timestamp, suggest};
use flywheel_connect::source::{SourceContext, SourceEntry};
use flywheel_connect::{Connections, Rates, Source, Throttle};
use flywheel_decision::artifact::Artifacts;
use flywheel_decision::serving::Newest;
use flywheel_decision::table::TABLES;
use flywheel_decision::{Context, learner};
use flywheel_project::resource::sync::Sync as DeclaredSync;
use flywheel_project::{Choices, Diagnostics, Draft, NodeId, Project};
use flywheel_state::{ProjectLock, SchedulePlans, Store};
use flywheel_transform::World;
use flywheel_warehouse::{Catalog, Lake, LakeOptions, Session, TableName};
use serde_json::Value;

use crate::access::Reading;
use crate::openlineage::foreign;
use crate::quota::Quotas;
use crate::task::share::{self, Share};
use crate::{connectors, metadata, quality, quarantine, schedule, system};

/// Whether a project is opened to be read or to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Queries and status; any number at a time.
    Read,
    /// Everything else; one process at a time.
    Write,
}

/// What `flywheel sql --at` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// A version of the one table the query reads.
    Version(i64),
    /// A version of a named table.
    TableVersion(TableName, i64),
    /// Every table as it was at a moment of the logical clock.
    Moment(Timestamp),
}

/// An open project.
pub struct Workspace {
    /// What the user declared.
    pub project: Project,
    /// The lake.
    pub lake: Lake,
    /// The metadata.
    pub store: Store,
    /// The logical clock: the machine's, or a replay's.
    pub clock: Arc<dyn Clock>,
    /// The machine's clock, for durations and start times.
    pub machine: Arc<dyn Clock>,
    /// The clock of the workspace that this one is a moment of; else its own. It says when deliveries leave.
    leaving: Arc<dyn Clock>,
    /// The limits of syncs, by their names, each shared by all that reads for its sync.
    throttles: Mutex<BTreeMap<String, Arc<Throttle>>>,
    /// The connections of syncs that may have only so many, shared as above.
    connections: Mutex<BTreeMap<String, Connections>>,
    choices: Choices,
    lock: Option<Arc<ProjectLock>>,
    plans: OnceLock<SchedulePlans>,
    /// What readers hold of their quotas, and who wanted more; shared as the lake is.
    pub quotas: Arc<Quotas>,
    /// Held by whoever empties the outbox: within a process one does at a time, else one would take for cut off what
    /// another one is sending.
    pub(crate) delivering: Arc<tokio::sync::Mutex<()>>,
}

impl Workspace {
    /// Opens the project in `dir`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] with every mistake in its files,
    /// [`flywheel_base::ErrorKind::Conflict`] if another process changes it, else those of lake and metadata.
    pub async fn open(dir: &Path, access: Access, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_with(dir, access, clock, &Choices::default()).await
    }

    /// As [`Workspace::open`], with what a command line says about variables and target.
    ///
    /// # Errors
    /// As [`Workspace::open`].
    pub async fn open_with(
        dir: &Path,
        access: Access,
        clock: Arc<dyn Clock>,
        choices: &Choices,
    ) -> Result<Self> {
        let project = Project::load_with(dir, &connectors::schemas(), choices)?;
        let ours = dir.join(".flywheel");
        let lock =
            (access == Access::Write).then(|| metadata::lock(dir, &project.file)).transpose()?;
        let lock = lock.map(Arc::new);
        let store = metadata::open(dir, &project.file)?;
        let store = match &lock {
            Some(lock) => store.under(lock),
            None => store,
        };
        let options = LakeOptions {
            memory_bytes: project.file.memory.bytes,
            spill_dir: ours.join("spill"),
            partitions: std::thread::available_parallelism()
                .map_or(2, usize::from)
                .min(PARTITIONS_MAX),
            clock: Arc::clone(&clock),
            exact_division: project.dbt.as_ref().is_some_and(|dbt| dbt.exact_division),
        };
        let lake = Lake::open(&dir.join(&project.file.lake), options).await?;
        lake.lend(Arc::new(Newest::new(store.reader()?, Artifacts::new(&ours.join("artifacts")))));
        let workspace = Self {
            project,
            lake,
            store,
            leaving: Arc::clone(&clock),
            clock,
            machine: Arc::new(SystemClock),
            throttles: Mutex::default(),
            choices: choices.clone(),
            lock,
            connections: Mutex::default(),
            plans: OnceLock::new(),
            quotas: Arc::default(),
            delivering: Arc::default(),
        };
        if access == Access::Write {
            // Whoever wrote before is gone: what still says that it runs was cut off.
            workspace.store.interrupt_runs()?;
            workspace.prepare().await?;
        }
        Ok(workspace)
    }

    /// The same project with a logical clock that stands at `moment`, for work beside other work.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn at(&self, moment: Timestamp) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::new(moment));
        Ok(Self {
            project: self.project.clone(),
            lake: self.lake.by(Arc::clone(&clock)),
            store: self.store.another()?.in_environment(self.store.environment())?,
            clock,
            machine: Arc::clone(&self.machine),
            leaving: Arc::clone(&self.leaving),
            throttles: Mutex::default(),
            choices: self.choices.clone(),
            lock: self.lock.clone(),
            connections: Mutex::default(),
            plans: OnceLock::new(),
            quotas: Arc::clone(&self.quotas),
            delivering: Arc::clone(&self.delivering),
        })
    }

    /// What the scheduler follows, read once.
    pub(crate) fn schedule_plans(&self) -> Result<&SchedulePlans> {
        if let Some(plans) = self.plans.get() {
            return Ok(plans);
        }
        let plans = schedule::plans(&self.project)?;
        Ok(self.plans.get_or_init(|| plans))
    }

    /// The same project, as the environment `name` sees and builds its models.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such environment.
    pub fn in_environment(mut self, name: &str) -> Result<Self> {
        self.store = self.store.in_environment(name)?;
        Ok(self)
    }

    /// The same workspace with the declarations as the files have them now; the lake, the clock and the right
    /// to change it are kept.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] with every mistake in the files, or if the lake is to lie elsewhere,
    /// which only a new start can do; else those of lake and metadata.
    pub async fn reloaded(&self) -> Result<Self> {
        let project = Project::load_with(self.dir(), &connectors::schemas(), &self.choices)?;
        if project.file.lake != self.project.file.lake {
            return Err(Error::invalid("flywheel.yaml names another lake than before")
                .hint("Start flywheel again for it."));
        }
        if project.file.metadata != self.project.file.metadata {
            return Err(Error::invalid(
                "flywheel.yaml names another place for the metadata than before",
            )
            .hint("Start flywheel again for it."));
        }
        let workspace = Self {
            store: self.store.another()?.in_environment(self.store.environment())?,
            project,
            lake: self.lake.clone(),
            clock: Arc::clone(&self.clock),
            machine: Arc::clone(&self.machine),
            leaving: Arc::clone(&self.leaving),
            throttles: Mutex::default(),
            choices: self.choices.clone(),
            lock: self.lock.clone(),
            connections: Mutex::default(),
            plans: OnceLock::new(),
            quotas: Arc::clone(&self.quotas),
            delivering: Arc::clone(&self.delivering),
        };
        if workspace.lock.is_some() {
            workspace.prepare().await?;
        }
        Ok(workspace)
    }

    /// The same workspace with the declarations as the files have them now, and a policy or query that is no file yet. It is
    /// there to be asked: nothing is prepared for it.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] with every mistake of the draft, or with those of the files if it has none;
    /// else those of the metadata.
    pub(crate) fn drafted(&self, draft: &Draft) -> Result<Self> {
        let project = self.read_with(draft).map_err(|mistakes| {
            let own = mistakes.of_file(&draft.path);
            match own.has_errors() {
                true => mistaken(draft, &own),
                false => Error::from(mistakes)
                    .context(format!("the project cannot be read with this {}", draft.kind.word())),
            }
        })?;
        Ok(Self {
            store: self.store.another()?.in_environment(self.store.environment())?,
            project,
            lake: self.lake.clone(),
            clock: Arc::clone(&self.clock),
            machine: Arc::clone(&self.machine),
            leaving: Arc::clone(&self.leaving),
            throttles: Mutex::default(),
            choices: self.choices.clone(),
            lock: self.lock.clone(),
            connections: Mutex::default(),
            plans: OnceLock::new(),
            quotas: Arc::clone(&self.quotas),
            delivering: Arc::clone(&self.delivering),
        })
    }

    /// As [`Workspace::drafted`], on behalf of whoever hands the draft in: what they do not see is told of as what is not there,
    /// so that a draft which names it finds out nothing.
    ///
    /// # Errors
    /// As [`Workspace::drafted`]; of other files nothing is told to those from whom something is hidden.
    pub(crate) fn drafted_for(&self, draft: &Draft, reading: &Reading) -> Result<Self> {
        let Some(granted) = reading.granted(&self.project) else { return self.drafted(draft) };
        let hides = |id: &NodeId| !granted.shows_node(id);
        let connectors = connectors::schemas();
        let own = Project::mistakes_of_draft(self.dir(), &connectors, &self.choices, draft, &hides);
        if own.has_errors() {
            return Err(mistaken(draft, &own));
        }
        self.drafted(draft).map_err(|error| match error.kind() {
            ErrorKind::Invalid => {
                let kind = draft.kind.word();
                Error::invalid(format!("the project cannot be read with this {kind}"))
                    .hint("Ask whoever keeps the project's files; nothing was written.")
            }
            _ => error,
        })
    }

    /// The project as its files have it now, with a draft.
    ///
    /// # Errors
    /// Every mistake of the draft and of the files.
    pub(crate) fn read_with(&self, draft: &Draft) -> Result<Project, Diagnostics> {
        Project::load_with_draft(self.dir(), &connectors::schemas(), &self.choices, draft)
    }

    /// Lets commands that cannot change the project meanwhile know at which address this process serves it.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if the workspace was opened to be read, else those of the file system.
    pub fn serves_at(&self, address: &str) -> Result<()> {
        match &self.lock {
            Some(lock) => lock.serves_at(address),
            None => Err(Error::internal("a workspace that only reads serves nobody")),
        }
    }

    /// Makes our own tables, empty, so that queries over them work from the first moment.
    async fn prepare(&self) -> Result<()> {
        let ours = [&quarantine::TABLE, &quality::TABLE, &foreign::TABLE];
        for table in TABLES.iter().chain(ours) {
            table.ensure(&self.lake).await?;
        }
        for (name, resource) in &self.project.learners {
            learner::ensure_tables(&self.lake, name, resource).await?;
        }
        Ok(())
    }

    /// The project's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.project.dir
    }

    /// The folder of what is ours.
    #[must_use]
    pub fn ours(&self) -> PathBuf {
        self.project.dir.join(".flywheel")
    }

    /// The logical moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The moment at which what is due leaves. A turn that is completed or made up for hours later works for its own moment,
    /// and its deliveries leave now: whether it is quiet then is asked of now.
    pub(crate) fn leaves_at(&self) -> Timestamp {
        self.now().max(self.leaving.now())
    }

    /// Builds the source of the connection `name`; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such connection or it cannot be read,
    /// [`flywheel_base::ErrorKind::Invalid`] if a setting or a secret of it is wrong.
    pub fn source(&self, name: &str) -> Result<(&'static SourceEntry, Box<dyn Source>)> {
        self.source_with(name, Connections::default())
    }

    /// The source of a sync, which has no more connections open than the sync may have.
    ///
    /// # Errors
    /// As [`Workspace::source`]; [`flywheel_base::ErrorKind::Invalid`] if they are limited and not counted.
    pub(crate) fn source_of(
        &self,
        sync: &DeclaredSync,
    ) -> Result<(&'static SourceEntry, Box<dyn Source>)> {
        let connections = match sync.limits.source_connections {
            None => Connections::default(),
            Some(most) => {
                let mut known = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
                let made = || Connections::at_most(most);
                known.entry(sync.sync.clone()).or_insert_with(made).clone()
            }
        };
        let (entry, source) = self.source_with(&sync.connection, connections)?;
        share::check_cap(sync, entry)?;
        Ok((entry, source))
    }

    fn source_with(
        &self,
        name: &str,
        allowed: Connections,
    ) -> Result<(&'static SourceEntry, Box<dyn Source>)> {
        let connections = &self.project.connections;
        let connection = connections.get(name).ok_or_else(|| {
            let error = Error::not_found(format!("no connection \"{name}\""));
            if connections.is_empty() {
                return error.hint(format!(
                    "Write connections/{name}.yaml with `connection`, `type` and `options` first; `flywheel \
                     connectors` lists the types."
                ));
            }
            error.hint(suggest::hint(name, connections.keys().map(String::as_str)))
        })?;
        let entry = SourceEntry::named(&connection.connector)?;
        let options = self.project.resolve_secrets(&connection.options)?;
        let context = SourceContext {
            base_dir: self.dir().to_owned(),
            now: self.now(),
            connections: allowed,
        };
        Ok((entry, entry.build(Value::Object(options), &context)?))
    }

    /// The source with the limits of the sync that reads it.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a limit lets nothing through.
    pub(crate) fn limited(
        &self,
        sync: &DeclaredSync,
        source: Box<dyn Source>,
    ) -> Result<Box<dyn Source>> {
        let limits = sync.limits;
        let page_bytes_max = Share::of(sync)?.page_bytes_max;
        let rated = limits.rows_per_second.is_some() || limits.bytes_per_second.is_some();
        if !rated && page_bytes_max.is_none() {
            return Ok(source);
        }
        let bytes_per_second = limits.bytes_per_second.map(|size| NonZeroU64::new(size.bytes));
        if bytes_per_second == Some(None) {
            return Err(Error::invalid(format!(
                "the limit `bytes_per_second` of the sync \"{}\" lets nothing through",
                sync.sync
            ))
            .hint("Write a size above 0, such as 20MiB, or leave it out."));
        }
        let rates = Rates {
            rows_per_second: limits.rows_per_second,
            bytes_per_second: bytes_per_second.flatten(),
            page_bytes_max,
        };
        let mut throttles = self.throttles.lock().unwrap_or_else(PoisonError::into_inner);
        let throttle =
            throttles.entry(sync.sync.clone()).or_insert_with(|| Arc::new(Throttle::new(rates)));
        Ok(Arc::clone(throttle).over(source))
    }

    /// What building models works with.
    pub(crate) fn world(&self) -> World<'_> {
        World { project: &self.project, lake: &self.lake, store: &self.store, now: self.now() }
    }

    /// What names mean to readers now: landed and system tables at their heads, models as published. Of the tables that are
    /// made of the metadata there are the columns alone; a session [for a query](Workspace::session_for) has their rows.
    ///
    /// # Errors
    /// Those of lake and metadata.
    pub async fn catalog(&self) -> Result<Catalog> {
        let mut catalog = flywheel_transform::catalog(self.world()).await?;
        system::add_columns(&mut catalog)?;
        Ok(catalog)
    }

    /// As [`Workspace::catalog`], with every row: of all that ever ran, so that it costs the more the longer a project is used.
    ///
    /// # Errors
    /// As [`Workspace::catalog`].
    pub(crate) async fn whole_catalog(&self) -> Result<Catalog> {
        let mut catalog = flywheel_transform::catalog(self.world()).await?;
        system::add(self, &mut catalog, None).await?;
        Ok(catalog)
    }

    /// As [`Workspace::catalog`], as far as `reading` may see it.
    ///
    /// # Errors
    /// Those of lake and metadata, and of secrets that masks need.
    pub async fn seen(&self, reading: &Reading) -> Result<Catalog> {
        let mut catalog = self.catalog().await?;
        reading.limit(self, &mut catalog)?;
        Ok(catalog)
    }

    /// A session over what readers see now, for the query `sql`: the tables that are made of the metadata have rows only if its
    /// text has their names, or that of a view.
    ///
    /// # Errors
    /// Those of lake and metadata.
    pub async fn session_for(&self, sql: &str, reading: &Reading) -> Result<Session> {
        self.session_beside(sql, reading, |_| Ok(())).await
    }

    /// As [`Workspace::session_for`], for a query of ours about things that were granted: it finds our own tables, which are
    /// closed to those who ask what they like.
    ///
    /// # Errors
    /// As [`Workspace::session_for`].
    pub async fn session_for_us(&self, sql: &str, reading: &Reading) -> Result<Session> {
        let mut catalog = flywheel_transform::catalog(self.world()).await?;
        system::add(self, &mut catalog, Some(sql)).await?;
        reading.limit_for_us(self, &mut catalog)?;
        self.lake.session(catalog)
    }

    /// As [`Workspace::session_for`], with more names, which `add` gives and which no rule is about.
    pub(crate) async fn session_beside(
        &self,
        sql: &str,
        reading: &Reading,
        add: impl FnOnce(&mut Catalog) -> Result<()>,
    ) -> Result<Session> {
        let mut catalog = flywheel_transform::catalog(self.world()).await?;
        let texts: Vec<&str> = catalog.views().chain([sql]).collect();
        let texts = texts.join("\n");
        system::add(self, &mut catalog, Some(&texts)).await?;
        reading.limit(self, &mut catalog)?;
        add(&mut catalog)?;
        self.lake.session(catalog)
    }

    /// The statement with questions in the place of `metrics.*` tables.
    ///
    /// # Errors
    /// Those of [`flywheel_transform::expand_metrics`].
    pub fn expanded(&self, sql: &str) -> Result<String> {
        let expanded = flywheel_transform::expand_metrics(&self.project, sql)?;
        Ok(expanded.unwrap_or_else(|| sql.to_owned()))
    }

    /// As [`Workspace::expanded`], with what `reading` sees of metrics.
    ///
    /// # Errors
    /// As [`Workspace::expanded`]; a metric that is hidden is told of as one that is not there.
    pub fn expanded_for(&self, sql: &str, reading: &Reading) -> Result<String> {
        let Some(granted) = reading.granted(&self.project) else { return self.expanded(sql) };
        // Most queries name none, and are spared what it takes to leave some out.
        if !sql.to_lowercase().contains("metrics") {
            return Ok(sql.to_owned());
        }
        let expanded = flywheel_transform::expand_metrics(&granted.measured(), sql)?;
        Ok(expanded.unwrap_or_else(|| sql.to_owned()))
    }

    /// A session over what readers see now, as far as `reading` may see it, for queries that are not known yet: it costs the
    /// more the longer a project is used. For those that are there is [`Workspace::session_for`].
    ///
    /// # Errors
    /// As [`Workspace::seen`].
    pub async fn session(&self, reading: &Reading) -> Result<Session> {
        let mut catalog = self.whole_catalog().await?;
        reading.limit(self, &mut catalog)?;
        self.lake.session(catalog)
    }

    /// What names mean, without what the platform tells of itself.
    ///
    /// # Errors
    /// Those of lake and metadata.
    pub(crate) async fn plain_catalog(&self) -> Result<Catalog> {
        flywheel_transform::catalog(self.world()).await
    }

    /// A session, as far as `reading` may see, in which tables whose readers are held back are as they landed,
    /// so that they can be mended.
    ///
    /// # Errors
    /// Those of lake and metadata.
    pub(crate) async fn newest_session(&self, sql: &str, reading: &Reading) -> Result<Session> {
        let mut catalog = flywheel_transform::catalog(self.world()).await?;
        let texts: Vec<&str> = catalog.views().chain([sql]).collect();
        let texts = texts.join("\n");
        system::add(self, &mut catalog, Some(&texts)).await?;
        for hold in self.store.holds()? {
            let table = TableName::parse(&hold.name)?;
            catalog.table(&table, crate::task::sync::location_of(&table)?, None);
        }
        reading.limit(self, &mut catalog)?;
        self.lake.session(catalog)
    }

    /// A session over tables as they were, for the query `sql`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a bare version is asked for and the query does not read
    /// exactly one table, else those of lake and metadata.
    pub async fn session_at(&self, at: &At, sql: &str, reading: &Reading) -> Result<Session> {
        let at = match at {
            At::Moment(moment) => flywheel_transform::At::Time(*moment),
            At::TableVersion(table, version) => {
                let granted = reading.granted(&self.project);
                if granted.is_some_and(|granted| !granted.shows_table(&table.to_string())) {
                    return Err(Error::not_found(format!("unknown table \"{table}\"")));
                }
                flywheel_transform::At::Version { table: table.clone(), version: *version }
            }
            At::Version(version) => {
                // What is not granted is told of as what is not there.
                let closed = reading.granted(&self.project).is_some();
                let session = match closed {
                    true => self.session_for(sql, reading).await?,
                    false => self.lake_session().await?,
                };
                let tables = session.query(sql).await?.tables();
                let mut tables = tables.into_iter();
                let (Some(table), None) = (tables.next(), tables.next()) else {
                    return Err(Error::invalid(format!(
                        "version {version} of which table? the query reads not exactly one"
                    ))
                    .hint(
                        "Name the table: --at raw.orders@3, or give a moment: --at 2024-05-01.",
                    ));
                };
                flywheel_transform::At::Version { table, version: *version }
            }
        };
        let mut catalog = flywheel_transform::catalog_at(self.world(), &at).await?;
        reading.limit(self, &mut catalog)?;
        self.lake.session(catalog)
    }

    /// What a person should know about the lake, such as a torn commit that was set aside.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let text = |notice: flywheel_warehouse::Notice| {
            format!("warning: table {}: {}; {}", notice.table, notice.what, notice.meaning)
        };
        self.lake.notices().into_iter().map(text).collect()
    }

    /// A session for the steps of the loop: tables of the lake only, because listing every run of
    /// the past before each step would make a turn's cost grow with history.
    ///
    /// # Errors
    /// Those of lake and metadata.
    pub(crate) async fn lake_session(&self) -> Result<Session> {
        self.lake.session(flywheel_transform::catalog(self.world()).await?)
    }

    /// As [`Workspace::context`], within what `reading` may take: to try what a turn would do.
    ///
    /// # Errors
    /// Those of lake and metadata.
    pub(crate) async fn context_for(
        &self,
        turn: i64,
        now: Timestamp,
        reading: &Reading,
    ) -> Result<Context<'_>> {
        let mut context = self.context(turn, now).await?;
        if let Some(allowance) = reading.allowance(self) {
            let mut catalog = self.plain_catalog().await?;
            catalog.within(Arc::new(allowance.of_steps()));
            context.session = self.lake.session(catalog)?;
        }
        Ok(context)
    }

    /// What the steps of the loop work with, at `now` in `turn`.
    ///
    /// # Errors
    /// Those of lake and metadata.
    pub(crate) async fn context(&self, turn: i64, now: Timestamp) -> Result<Context<'_>> {
        Ok(Context {
            project: &self.project,
            lake: &self.lake,
            store: &self.store,
            session: self.lake_session().await?,
            artifacts: Artifacts::new(&self.ours().join("artifacts")),
            now,
            turn,
        })
    }

    /// Finds the project that holds `start`, looking upwards.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if neither the folder nor one above it has a `flywheel.yaml`.
    pub fn find(start: &Path) -> Result<PathBuf> {
        Project::find(start)
    }
}

/// More partitions than this cost more in small tables than they bring.
const PARTITIONS_MAX: usize = 8;

/// The error of a draft with mistakes of its own.
fn mistaken(draft: &Draft, own: &Diagnostics) -> Error {
    let kind = draft.kind.word();
    Error::invalid(format!("the {kind} has {}\n\n{own}\n", own.summary()))
        .hint("Mend the text; nothing was written.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_due_in_work_for_a_moment_of_the_past_leaves_now() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("flywheel.yaml"), "name: shop\n").unwrap();
        let [evening, night, morning] =
            ["2024-05-01 18:00", "2024-05-01 23:00", "2024-05-02 08:00"]
                .map(|text| Timestamp::parse(text).unwrap());
        let clock = Arc::new(FixedClock::new(night));
        let workspace = Workspace::open(folder.path(), Access::Write, clock).await.unwrap();
        assert_eq!((workspace.now(), workspace.leaves_at()), (night, night));
        let late = workspace.at(evening).unwrap();
        assert_eq!((late.now(), late.leaves_at()), (evening, night));
        assert_eq!(workspace.at(morning).unwrap().leaves_at(), morning);
    }
}
