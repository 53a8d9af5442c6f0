//! Plans models over empty tables and traces their columns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use flywheel_base::{Error, Result};
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::{Columns, Model, Project, Seed};
use flywheel_warehouse::{Catalog, Parameters, Session, TableName};

use super::trace::{self, Influences, Traced};
use super::{ColumnLineage, ColumnOrigins, Influenced, Origin, expression};
use crate::build::job::sql_type;
use crate::build::snapshot;
use crate::testing::{quoted, quoted_table};
use crate::{World, names, order};

/// Plans models, each after what it reads.
pub(crate) struct Planner<'a> {
    pub(super) world: World<'a>,
    /// What each model reads, by name.
    pub(crate) reads: order::Edges,
    /// The columns of every table and model that is known.
    pub(crate) schemas: BTreeMap<String, SchemaRef>,
    /// Where the columns of each planned model come from, and those of `metrics.*` tables that models read.
    pub(super) models: BTreeMap<String, ColumnLineage>,
    /// Where the columns of models that read metrics come from, told by the tables behind the metrics.
    through: BTreeMap<String, ColumnLineage>,
    /// What could not be found out.
    pub(super) notes: Vec<String>,
    /// Ephemeral models, each by its own name: they are planned like others, so that columns are traced
    /// through them.
    ephemeral: BTreeMap<String, String>,
}

/// The columns of a query and where they come from.
pub(super) struct Answer {
    pub(super) schema: SchemaRef,
    pub(super) traced: Traced,
    expressions: Vec<Option<String>>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(world: World<'a>) -> Result<Self> {
        let mut reads = order::Edges::new();
        let mut ephemeral = BTreeMap::new();
        for model in world.project.models.values().filter(|model| model.config.enabled) {
            let read = names::read_by_model(world.project, model)?;
            reads.insert(model.relation(), read);
            if names::is_ephemeral(model) {
                ephemeral.insert(model.relation(), model.relation());
            }
        }
        Ok(Self {
            world,
            reads,
            schemas: BTreeMap::new(),
            models: BTreeMap::new(),
            through: BTreeMap::new(),
            notes: Vec::new(),
            ephemeral,
        })
    }

    /// Whether `name` is a model that is a part of what reads it.
    pub(crate) fn is_ephemeral(&self, name: &str) -> bool {
        self.ephemeral.contains_key(name)
    }

    /// Plans a model and everything it reads.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if a table has not landed;
    /// [`flywheel_base::ErrorKind::Invalid`] if a model's SQL cannot be planned.
    pub(super) async fn plan(&mut self, model: &str) -> Result<()> {
        let above: BTreeSet<String> =
            order::ancestors(model, &self.reads).into_iter().map(str::to_owned).collect();
        let (models, tables): (BTreeSet<String>, BTreeSet<String>) = above
            .into_iter()
            .chain([model.to_owned()])
            .partition(|name| self.reads.contains_key(name));
        self.land(tables).await?;
        for wave in order::arrange(&models, &self.reads, &order::Edges::new())? {
            for name in wave {
                self.plan_one(&name).await?;
            }
        }
        Ok(())
    }

    /// Looks up the columns of landed tables.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if a table has not landed, else those of the lake.
    pub(crate) async fn land(&mut self, tables: impl IntoIterator<Item = String>) -> Result<()> {
        for table in tables {
            let location = names::plain_location(&table)?;
            let head = self.world.lake.head(&location).await?.ok_or_else(|| {
                Error::not_found(format!(
                    "table \"{table}\" does not exist yet, so its columns are unknown"
                ))
                .hint("Run `flywheel sync` first.")
            })?;
            self.schemas.insert(table, head.schema);
        }
        Ok(())
    }

    /// A session over what the model `name` reads, empty.
    ///
    /// # Errors
    /// Those of the lake.
    pub(crate) fn session(&self, name: &str) -> Result<Session> {
        self.world.lake.session(self.catalog(self.reads.get(name).into_iter().flatten())?)
    }

    /// Plans every model. What cannot be planned is noted, and so is everything that reads it.
    ///
    /// # Errors
    /// Those of the lake.
    pub(super) async fn plan_all(&mut self) -> Result<()> {
        for location in self.world.lake.locations().await? {
            let Some(name) = names::plain_name(&location) else { continue };
            if let Some(head) = self.world.lake.head(&location).await? {
                self.schemas.insert(name.to_string(), head.schema);
            }
        }
        let project = self.world.project;
        for name in project.sources.keys() {
            if !self.schemas.contains_key(name)
                && let Some(schema) = declared(project, name)
            {
                self.schemas.insert(name.clone(), schema);
            }
        }
        let models: BTreeSet<String> = self.reads.keys().cloned().collect();
        for wave in order::arrange(&models, &self.reads, &order::Edges::new())? {
            for name in wave {
                let reads = self.reads.get(&name).into_iter().flatten();
                let unknown: Vec<&str> = reads
                    .filter(|read| !self.schemas.contains_key(*read))
                    .map(String::as_str)
                    .collect();
                if !unknown.is_empty() {
                    let unknown = unknown.join(", ");
                    self.notes.push(format!(
                        "the columns of {name} are not traced: nothing is known of the columns of {unknown}"
                    ));
                } else if let Err(error) = self.plan_one(&name).await {
                    self.notes
                        .push(format!("the columns of {name} are not traced: {}", error.report()));
                }
            }
        }
        Ok(())
    }

    /// Where the columns of a planned model come from.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if it was not planned.
    pub(crate) fn columns(&self, model: &str) -> Result<&ColumnLineage> {
        self.models
            .get(model)
            .ok_or_else(|| Error::internal(format!("model \"{model}\" was not planned")))
    }

    /// As [`Planner::columns`], with the columns of tables in the place of the metrics made of them.
    ///
    /// # Errors
    /// As [`Planner::columns`].
    pub(crate) fn columns_of_tables(&self, model: &str) -> Result<&ColumnLineage> {
        self.through.get(model).map_or_else(|| self.columns(model), Ok)
    }

    /// A catalog of the empty tables that are named, as far as their columns are known. A query that is to
    /// run has ephemeral models written into it, so what those read is there as well.
    pub(super) fn catalog<'n>(
        &'n self,
        names: impl IntoIterator<Item = &'n String>,
    ) -> Result<Catalog> {
        let mut catalog = Catalog::new();
        catalog.allow_unfitted();
        let mut open: Vec<&String> = names.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            if let Some(schema) = self.schemas.get(name) {
                catalog.memory(&TableName::parse(name)?, SchemaRef::clone(schema), Vec::new());
            }
            if self.is_ephemeral(name) {
                open.extend(self.reads.get(name).into_iter().flatten());
            }
        }
        Ok(catalog)
    }

    /// Traces a query over the tables of a catalog.
    ///
    /// # Errors
    /// Those of planning it; [`flywheel_base::ErrorKind::Exhausted`] if it is nested too deeply.
    pub(super) async fn trace(&self, sql: &str, catalog: Catalog) -> Result<Answer> {
        self.trace_with(sql, &Parameters::new(), catalog).await
    }

    /// As [`Planner::trace`], with values where the query says `$name`.
    pub(super) async fn trace_with(
        &self,
        sql: &str,
        values: &Parameters,
        catalog: Catalog,
    ) -> Result<Answer> {
        let query = self.world.lake.session(catalog)?.query_with(sql, values).await?;
        let schema = query.schema();
        let shown = |index| expression::of(query.plan(), index);
        let expressions = (0..schema.fields().len()).map(shown).collect();
        Ok(Answer { traced: trace::trace(query.plan())?, schema, expressions })
    }

    /// Plans a model whose inputs are known.
    pub(crate) async fn plan_one(&mut self, name: &str) -> Result<()> {
        let Some(model) = names::model(self.world.project, name) else { return Ok(()) };
        let context =
            |error: Error| error.context(format!("model \"{}\" ({})", model.name, model.path));
        let (schema, lineage) = self.plan_model(name, model).await.map_err(context)?;
        let named = self.name_metrics(name, model, &schema).await.map_err(context)?;
        self.schemas.insert(name.to_owned(), schema);
        match named {
            Some(named) => {
                self.models.insert(name.to_owned(), named);
                self.through.insert(name.to_owned(), lineage);
            }
            None => {
                self.models.insert(name.to_owned(), lineage);
            }
        }
        Ok(())
    }

    async fn plan_model(
        &mut self,
        name: &str,
        model: &Model,
    ) -> Result<(SchemaRef, ColumnLineage)> {
        if let Some(seed) = &model.seed {
            let schema = self.seed(seed).await?;
            return Ok((SchemaRef::clone(&schema), without_origins(name, &schema)));
        }
        let columns = self.known_columns(name, model);
        let project = self.world.project;
        let render = |incremental| {
            names::render_model_over(project, model, incremental, &columns, &self.ephemeral)
        };
        // What asks the database is traced as it was told when it was built last.
        let built = match names::asks_database(project, model) {
            true => self.world.store.build(name)?.and_then(|build| build.sql),
            false => None,
        };
        let again = match (model.config.materialized, &built) {
            (Materialized::Incremental, None) => Some(render(true)?),
            _ => None,
        };
        let told = built.is_some();
        let sql = match built {
            Some(sql) => sql,
            None => render(false)?,
        };
        let catalog = self.catalog(self.reads.get(name).into_iter().flatten())?;
        let answer = self.trace(&sql, catalog.clone()).await?;
        let traced = self.trace_model(name, model, (answer, &sql), again.as_deref(), catalog);
        let (schema, mut lineage) = traced.await?;
        if told {
            // Values of rows stand in such expressions, and whoever sees columns may not see rows.
            lineage.columns.iter_mut().for_each(|column| column.expression = None);
        }
        Ok((schema, lineage))
    }

    /// The lineage of a model's query, and of the query that builds it the next time.
    async fn trace_model(
        &mut self,
        name: &str,
        model: &Model,
        (first, sql): (Answer, &str),
        again: Option<&str>,
        mut catalog: Catalog,
    ) -> Result<(SchemaRef, ColumnLineage)> {
        let this = TableName::parse(name)?;
        let (first, next) = match &model.snapshot {
            Some(declared) => {
                let names: Vec<String> =
                    first.schema.fields().iter().map(|field| field.name().clone()).collect();
                let [once, again] = snapshot::queries(declared, &names, sql, &quoted_table(name));
                (self.trace(&once, catalog.clone()).await?, Some(again))
            }
            None => (first, again.filter(|again| *again != sql).map(str::to_owned)),
        };
        let schema = SchemaRef::clone(&first.schema);
        let mut lineage = first.lineage(name);
        if let Some(sql) = next {
            catalog.memory(&this, SchemaRef::clone(&schema), Vec::new());
            match self.trace(&sql, catalog).await {
                Ok(next) => lineage.absorb(next.lineage(name)),
                Err(error) => self.notes.push(format!(
                    "{name} is traced as it is built the first time: {}",
                    error.report()
                )),
            }
        }
        Ok((schema, lineage))
    }

    /// The lineage of a model that reads metrics, with the metrics in it; none if it reads none.
    async fn name_metrics(
        &mut self,
        name: &str,
        model: &Model,
        built: &SchemaRef,
    ) -> Result<Option<ColumnLineage>> {
        if model.seed.is_some() {
            return Ok(None);
        }
        let project = self.world.project;
        let columns = self.known_columns(name, model);
        let Some((sql, mut blocks)) = names::render_model_apart(project, model, false, &columns)?
        else {
            return Ok(None);
        };
        let again = match model.config.materialized {
            Materialized::Incremental => {
                let again = names::render_model_apart(project, model, true, &columns)?;
                again.map(|(sql, more)| {
                    blocks.extend(more);
                    sql
                })
            }
            _ => None,
        };
        let mut catalog = self.catalog(self.reads.get(name).into_iter().flatten())?;
        let mut views: BTreeMap<String, Vec<Arc<Field>>> = BTreeMap::new();
        for block in blocks {
            let answer = self.trace(&block.sql, catalog.clone()).await?;
            let fields = views.entry(block.table.clone()).or_default();
            for field in answer.schema.fields() {
                if fields.iter().all(|known| known.name() != field.name()) {
                    fields.push(Arc::clone(field));
                }
            }
            let lineage = answer.lineage(&block.table);
            match self.models.get_mut(&block.table) {
                Some(known) => known.widen(lineage),
                None => {
                    self.models.insert(block.table, lineage);
                }
            }
        }
        for (table, fields) in views {
            catalog.memory(&TableName::parse(&table)?, Arc::new(Schema::new(fields)), Vec::new());
        }
        let this = TableName::parse(name)?;
        if again.is_some() {
            catalog.memory(&this, SchemaRef::clone(built), Vec::new());
        }
        let answer = self.trace(&sql, catalog.clone()).await?;
        let (_, lineage) =
            self.trace_model(name, model, (answer, &sql), again.as_deref(), catalog).await?;
        Ok(Some(lineage))
    }

    /// The columns of what a model reads, if its template asks for them.
    fn known_columns(&self, name: &str, model: &Model) -> Columns {
        let mut columns = Columns::new();
        if !model.asks_for_columns() {
            return columns;
        }
        for read in self.reads.get(name).into_iter().flatten() {
            if let Some(schema) = self.schemas.get(read) {
                let fields = schema.fields().iter();
                let fields =
                    fields.map(|field| (field.name().clone(), sql_type(field.data_type())));
                columns.insert(read.clone(), fields.collect());
            }
        }
        columns
    }

    async fn seed(&self, seed: &Seed) -> Result<SchemaRef> {
        let rows = seed.read()?;
        let casts: Vec<String> = rows
            .columns
            .iter()
            .zip(&rows.types)
            .map(|(name, sql_type)| format!("CAST(NULL AS {sql_type}) AS {}", quoted(name)))
            .collect();
        let sql = format!("SELECT {}", casts.join(", "));
        Ok(self.world.lake.session(Catalog::new())?.query(&sql).await?.schema())
    }
}

impl Answer {
    fn lineage(self, model: &str) -> ColumnLineage {
        let Self { schema, traced, expressions } = self;
        let mut all = traced.rows.clone();
        let columns = schema.fields().iter().zip(traced.columns).zip(expressions);
        let columns = columns
            .map(|((field, flow), expression)| {
                all.extend(flow.own.iter().cloned());
                let origins = flow.direct.into_iter();
                ColumnOrigins {
                    column: field.name().clone(),
                    expression,
                    origins: origins.map(|(from, transform)| Origin { from, transform }).collect(),
                    conditions: influenced(flow.own),
                }
            })
            .collect();
        let rows = influenced(traced.rows);
        ColumnLineage { model: model.to_owned(), columns, influences: influenced(all), rows }
    }
}

impl ColumnLineage {
    /// Adds what another query says of more columns of the same table.
    fn widen(&mut self, more: Self) {
        for column in &more.columns {
            if self.columns.iter().all(|known| known.column != column.column) {
                self.columns.push(column.clone());
            }
        }
        self.absorb(more);
    }

    /// Adds what another query of the same model says; what it reads of the model itself came from elsewhere.
    fn absorb(&mut self, more: Self) {
        let own = self.model.clone();
        for column in more.columns {
            let Some(known) = self.columns.iter_mut().find(|known| known.column == column.column)
            else {
                continue;
            };
            for origin in column.origins.into_iter().filter(|origin| origin.from.table != own) {
                match known.origins.iter_mut().find(|one| one.from == origin.from) {
                    Some(one) => one.transform = one.transform.max(origin.transform),
                    None => known.origins.push(origin),
                }
            }
            known.origins.sort_by(|a, b| a.from.cmp(&b.from));
            add(&mut known.conditions, column.conditions, &own);
        }
        add(&mut self.rows, more.rows, &own);
        add(&mut self.influences, more.influences, &own);
    }
}

fn add(all: &mut Vec<Influenced>, more: Vec<Influenced>, own: &str) {
    all.extend(more.into_iter().filter(|one| one.by.table != own));
    all.sort();
    all.dedup();
}

fn influenced(influences: Influences) -> Vec<Influenced> {
    influences.into_iter().map(|(by, how)| Influenced { by, how }).collect()
}

/// The columns of a seed: they come from its file.
fn without_origins(name: &str, schema: &Schema) -> ColumnLineage {
    let column = |field: &Arc<Field>| ColumnOrigins {
        column: field.name().clone(),
        expression: None,
        origins: Vec::new(),
        conditions: Vec::new(),
    };
    ColumnLineage {
        model: name.to_owned(),
        columns: schema.fields().iter().map(column).collect(),
        influences: Vec::new(),
        rows: Vec::new(),
    }
}

/// The columns that files declare of a table that has not landed yet.
fn declared(project: &Project, table: &str) -> Option<SchemaRef> {
    let source = project.sources.get(table)?;
    let mut columns: Vec<(&str, Option<&str>)> = Vec::new();
    if let Some(landing) = &source.landed_by
        && let Some(sync) = project.syncs.get(&landing.sync)
        && let Some(stream) = sync.streams.iter().find(|stream| stream.stream == landing.stream)
    {
        let own = stream.columns.iter();
        columns.extend(own.map(|one| (one.name.as_str(), one.column_type.as_deref())));
    }
    for column in &source.columns {
        if columns.iter().all(|(name, _)| *name != column.name) {
            columns.push((column.name.as_str(), column.data_type.as_deref()));
        }
    }
    if columns.is_empty() {
        return None;
    }
    let field = |(name, kind): (&str, Option<&str>)| Field::new(name, arrow_type(kind), true);
    Some(Arc::new(Schema::new(columns.into_iter().map(field).collect::<Vec<_>>())))
}

/// The type of a declared column, near enough to plan with.
fn arrow_type(declared: Option<&str>) -> DataType {
    let declared = declared.unwrap_or("text").to_lowercase();
    match declared.split('(').next().unwrap_or_default().trim() {
        "int64" | "bigint" | "integer" | "int" | "int8" | "long" => DataType::Int64,
        "int32" | "smallint" | "tinyint" | "int4" | "int2" => DataType::Int32,
        "float64" | "double" | "double precision" | "real" | "float" | "float8" => {
            DataType::Float64
        }
        "decimal" | "numeric" | "number" => DataType::Decimal128(38, 10),
        "bool" | "boolean" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" | "datetime" | "timestamptz" => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        "binary" | "bytea" | "blob" => DataType::Binary,
        _ => DataType::Utf8,
    }
}
