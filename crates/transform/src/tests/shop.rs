//! A small shop: a project folder, a lake, a store, and short ways to use them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{FixedClock, Timestamp};
use flywheel_project::{Connectors, Project};
use flywheel_state::Store;
use flywheel_warehouse::{
    Catalog, Commit, Lake, LakeOptions, Location, TableName, Write, WriteMode,
};
use tempfile::TempDir;

use crate::{BuildOptions, BuildReport, Event, World, build, catalog};

/// The orders of the shop, declared for `source('raw', 'orders')`.
pub(super) const SOURCES: &str = "
version: 2
sources:
  - name: raw
    tables:
      - name: orders
      - name: customers
";

pub(super) struct Shop {
    pub(super) dir: TempDir,
    pub(super) clock: Arc<FixedClock>,
    pub(super) lake: Lake,
    pub(super) store: Store,
    pub(super) project: Project,
}

impl Shop {
    /// A shop with these files; `models/sources.yml` is always there.
    pub(super) async fn new(files: &[(&str, &str)]) -> Self {
        let mut all = vec![("flywheel.yaml", "name: shop\n"), ("models/sources.yml", SOURCES)];
        all.extend(files);
        Self::with(&all).await
    }

    /// A shop in dbt's layout with these files; `models/sources.yml` is always there.
    pub(super) async fn of_dbt(files: &[(&str, &str)]) -> Self {
        let mut all = vec![("models/sources.yml", SOURCES)];
        all.extend(files);
        Self::with(&all).await
    }

    async fn with(files: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        for (path, text) in files {
            write(dir.path(), path, text);
        }
        let clock = Arc::new(FixedClock::new(Timestamp::parse("2024-05-01").unwrap()));
        let options = LakeOptions {
            memory_bytes: 256 << 20,
            spill_dir: dir.path().join("spill"),
            partitions: 2,
            clock: Arc::clone(&clock) as _,
            exact_division: files.iter().any(|(path, _)| *path == "dbt_project.yml"),
        };
        let lake = Lake::open(&dir.path().join("lake"), options).await.unwrap();
        let store = Store::open(&dir.path().join("meta.db")).unwrap();
        let project = load(dir.path());
        Self { dir, clock, lake, store, project }
    }

    /// Changes a file and reads the project again.
    pub(super) fn edit(&mut self, path: &str, text: &str) {
        write(self.dir.path(), path, text);
        self.project = load(self.dir.path());
    }

    pub(super) fn remove(&mut self, path: &str) {
        std::fs::remove_file(self.dir.path().join(path)).unwrap();
        self.project = load(self.dir.path());
    }

    pub(super) fn world(&self) -> World<'_> {
        let now = flywheel_base::Clock::now(self.clock.as_ref());
        World { project: &self.project, lake: &self.lake, store: &self.store, now }
    }

    /// Appends `VALUES` to a landed table with these columns.
    pub(super) async fn land(&self, table: &str, columns: &str, values: &str) -> Commit {
        let query = format!("SELECT * FROM (VALUES {values}) AS t({columns})");
        self.write(table, WriteMode::Append, &query).await
    }

    /// Writes a query without tables to a landed table.
    pub(super) async fn write(&self, table: &str, mode: WriteMode, query: &str) -> Commit {
        let session = self.lake.session(Catalog::new()).unwrap();
        let rows = session.query(query).await.unwrap().stream().await.unwrap();
        let location = Location::new(table.replace('.', "/")).unwrap();
        Box::pin(self.lake.write(&location, Write::new(mode, rows, "land"))).await.unwrap()
    }

    pub(super) async fn build(&self) -> BuildReport {
        self.build_with(BuildOptions::default()).await
    }

    pub(super) async fn build_with(&self, options: BuildOptions<'_>) -> BuildReport {
        build(self.world(), options).await.unwrap()
    }

    pub(super) async fn build_selected(&self, select: &str) -> BuildReport {
        let select = [select.to_owned()];
        self.build_with(BuildOptions { select: &select, ..BuildOptions::default() }).await
    }

    /// The names of the models that a build really built.
    pub(super) async fn built(&self) -> Vec<String> {
        let seen = Mutex::new(Vec::new());
        let on_event = |event: Event| {
            if let Event::Started { model } = event {
                seen.lock().unwrap().push(model);
            }
        };
        self.build_with(BuildOptions { on_event: &on_event, ..BuildOptions::default() }).await;
        let mut names = seen.into_inner().unwrap();
        names.sort();
        names
    }

    /// What readers get, a text per row.
    pub(super) async fn read(&self, sql: &str) -> Vec<String> {
        let catalog = catalog(self.world()).await.unwrap();
        self.read_in(catalog, sql).await
    }

    /// What readers get, a list of texts per row.
    pub(super) async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.rows_in(catalog(self.world()).await.unwrap(), sql).await
    }

    pub(super) async fn read_in(&self, catalog: Catalog, sql: &str) -> Vec<String> {
        self.rows_in(catalog, sql).await.iter().map(|row| row.join(" ")).collect()
    }

    async fn rows_in(&self, catalog: Catalog, sql: &str) -> Vec<Vec<String>> {
        let session = self.lake.session(catalog).unwrap();
        let batches = session.query(sql).await.unwrap().collect().await.unwrap();
        let mut rows = Vec::new();
        for batch in &batches {
            let options = FormatOptions::default();
            let columns: Vec<ArrayFormatter<'_>> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
            }
        }
        rows
    }

    /// The newest version of a model's published table, whoever wrote it.
    pub(super) async fn head_of(&self, model: &str) -> i64 {
        let location = self.location_of(model);
        self.lake.head(&location).await.unwrap().unwrap().version
    }

    pub(super) fn location_of(&self, model: &str) -> Location {
        let seen = self.store.publications().unwrap();
        let seen = seen.into_iter().find(|seen| seen.name == model).unwrap();
        Location::new(seen.location.unwrap()).unwrap()
    }

    pub(super) fn table(&self, name: &str) -> TableName {
        TableName::parse(name).unwrap()
    }
}

fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn load(dir: &Path) -> Project {
    match Project::load(dir, &Connectors::default()) {
        Ok(project) => project,
        Err(mistakes) => panic!("{}", mistakes.render()),
    }
}

/// The error text of a model in a report.
pub(super) fn error_of(report: &BuildReport, model: &str) -> String {
    report.model(model).unwrap().error.as_ref().unwrap().report.clone()
}
