//! In which rows and values models would differ from what readers of production see.
//!
//! New queries are asked as they are, over what production has and over each other; nothing is stored.
//! Rows are matched by the model's key and counted in one query, whose memory is limited and spills, so a
//! table may be larger than memory. What is already built in an environment is read, not computed.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use flywheel_base::{Error, Result};
use flywheel_project::graph::Known;
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::{Columns, Model};
use flywheel_state::{PRODUCTION, Publication};
use flywheel_warehouse::{Catalog, Session, TableName};
use serde::Serialize;

use super::changes::{Change, Changes, Impact};
use super::demand::reason;
use super::materialize::{has_bad_key, whole_query};
use super::plan::Plan;
use super::progress::item_of;
use super::{BuildOptions, contract, job, seed};
use crate::testing::{self, CheckKind, quoted, quoted_table, texts};
use crate::{World, catalog, names, order};

/// The schema under which a query finds what a model would be; no model can have it.
const AFTER_SCHEMA: &str = "_after";

/// How many columns of a model are compared.
const COLUMNS_MAX: usize = 300;

/// How many rows of a kind are shown at most.
pub const SAMPLES_MAX: usize = 50;

/// How far floating-point numbers may differ, beside the larger one: sums of them depend on the order.
const FLOAT_SHARE: &str = "1e-9";

/// How many of their digits count where whole rows are compared.
const FLOAT_DIGITS: u32 = 9;

/// In what a model would differ.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ModelDiff {
    /// The model, `schema.name`.
    pub name: String,
    /// The columns by which rows are matched; without, whole rows are compared and none is changed.
    pub key: Vec<String>,
    /// How many rows production has; none if it has no such model.
    pub rows_before: Option<u64>,
    /// How many there would be; none if the model goes.
    pub rows_after: Option<u64>,
    /// Rows that come.
    pub added: u64,
    /// Rows that go.
    pub removed: u64,
    /// Rows of which a value changes.
    pub changed: u64,
    /// Columns of which values change, in their order.
    pub columns: Vec<ColumnDiff>,
    /// Columns that come, in their order.
    pub columns_added: Vec<String>,
    /// Columns that go, in their order.
    pub columns_removed: Vec<String>,
    /// Some of the rows, by kind and key.
    pub samples: Vec<RowSample>,
    /// What should be known about the comparison, or why there is none.
    pub note: Option<String>,
}

/// In how many rows a column changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnDiff {
    /// The column.
    pub column: String,
    /// In how many rows its value is another one.
    pub changed: u64,
}

/// What happens to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowChange {
    /// It comes.
    Added,
    /// It goes.
    Removed,
    /// Some of its values change.
    Changed,
}

impl RowChange {
    /// The word for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowSample {
    /// How.
    pub change: RowChange,
    /// The values of the key.
    pub key: Vec<String>,
    /// Its values; of a row that changes, those that do.
    pub values: Vec<ValueSample>,
}

/// A value of a row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueSample {
    /// The column.
    pub column: String,
    /// What production has.
    pub before: Option<String>,
    /// What there would be.
    pub after: Option<String>,
}

/// Compares what a plan changes, and what an environment has otherwise already, with production.
///
/// # Errors
/// Those of store and lake. A model that cannot be compared says so in its note.
pub async fn diff(
    world: World<'_>,
    changes: &Changes,
    options: BuildOptions<'_>,
    samples: usize,
) -> Result<Vec<ModelDiff>> {
    Box::pin(diff_where(world, changes, options, samples, |_| true)).await
}

/// As [`diff`], of the models that are `wanted` by name; what they read is looked at as far as it takes to ask them.
///
/// # Errors
/// As [`diff`].
pub async fn diff_where(
    world: World<'_>,
    changes: &Changes,
    options: BuildOptions<'_>,
    samples: usize,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<ModelDiff>> {
    let nothing = Known::new();
    let known = options.known.unwrap_or(&nothing);
    let plan = Plan::new(world.project, options.select, options.exclude, known, None)?;
    let map = |all: Vec<Publication>| -> BTreeMap<String, Publication> {
        all.into_iter().map(|seen| (seen.name.clone(), seen)).collect()
    };
    let production = map(world.store.publications_of(PRODUCTION)?);
    let own = map(world.store.publications()?);
    let all = production.values().cloned().collect();
    let mut catalog = catalog::catalog_of(world, all).await?;
    catalog.allow_unfitted();
    let mut diffs = Diffs {
        world,
        plan: &plan,
        changes,
        production: &production,
        own: &own,
        catalog,
        after: BTreeMap::new(),
        notes: BTreeMap::new(),
    };
    let names = diffs.differing();
    let order = order::arrange(&names, &plan.reads, &order::Edges::new())?;
    let order: Vec<String> = order.into_iter().flatten().collect();
    for name in &order {
        if let Err(error) = diffs.define(name).await {
            diffs.notes.insert(name.clone(), reason(&error));
        }
    }
    let session = world.lake.session(diffs.catalog.clone())?;
    let keys = Keys::new(world)?;
    let mut found = Vec::new();
    for name in order.into_iter().filter(|name| wanted(name)) {
        let base = ModelDiff { name: name.clone(), ..ModelDiff::default() };
        if let Some(note) = diffs.notes.remove(&name) {
            found.push(ModelDiff { note: Some(note), ..base });
            continue;
        }
        let Some(after) = diffs.after.get(&name) else { continue };
        let before = production.contains_key(&name).then(|| quoted_table(&name));
        let sides = Sides { session: &session, before, after: quoted_table(after), samples };
        let done = Box::pin(sides.compare(keys.of(&plan, &name), base.clone())).await;
        let told = |error: Error| ModelDiff { note: Some(reason(&error)), ..base };
        found.push(done.unwrap_or_else(told));
    }
    let gone = changes.models.iter().filter(|model| model.change == Change::Removed);
    // What an environment gives up and production never had is no difference to production.
    let gone = gone.filter(|model| production.contains_key(&model.name));
    for model in gone.filter(|model| wanted(&model.name)) {
        let base = ModelDiff { name: model.name.clone(), ..ModelDiff::default() };
        found.push(match count(&session, &quoted_table(&model.name)).await {
            Ok(rows) => ModelDiff { rows_before: Some(rows), removed: rows, ..base },
            Err(error) => ModelDiff { note: Some(reason(&error)), ..base },
        });
    }
    Ok(found)
}

/// What models would be, as far as it is known.
struct Diffs<'a> {
    world: World<'a>,
    plan: &'a Plan<'a>,
    changes: &'a Changes,
    production: &'a BTreeMap<String, Publication>,
    own: &'a BTreeMap<String, Publication>,
    /// What production has, and what would be.
    catalog: Catalog,
    /// What a model that would differ is called in the catalog.
    after: BTreeMap<String, String>,
    /// Why models are not compared.
    notes: BTreeMap<String, String>,
}

impl Diffs<'_> {
    /// Models that would be others than in production.
    fn differing(&self) -> BTreeSet<String> {
        let changed = self.changes.models.iter().filter(|model| {
            let query = model.change != Change::Removed && model.impact != Impact::Nothing;
            model.selected && query && self.plan.models.contains_key(&model.name)
        });
        let mut names: BTreeSet<String> = changed.map(|model| model.name.clone()).collect();
        let other = self.own.values().filter(|seen| {
            let there = self.production.get(&seen.name);
            there.is_none_or(|there| {
                (&there.location, there.version, &there.view_sql)
                    != (&seen.location, seen.version, &seen.view_sql)
            })
        });
        let other = other.filter(|seen| self.plan.models.contains_key(&seen.name));
        names.extend(other.map(|seen| seen.name.clone()));
        names
    }

    /// Puts what a model would be into the catalog.
    async fn define(&mut self, name: &str) -> Result<()> {
        let Some(model) = self.plan.models.get(name).copied() else { return Ok(()) };
        let change = self.changes.models.iter().find(|change| change.name == name);
        let change = change.filter(|change| change.selected);
        if let Some(error) = change.and_then(|change| change.error.as_ref()) {
            self.notes.insert(name.to_owned(), format!("it cannot be built: {error}"));
            return Ok(());
        }
        let after = TableName::new(AFTER_SCHEMA, name.replace('.', "__"));
        let built = change.is_none().then(|| self.own.get(name)).flatten();
        if let Some(seen) = built.filter(|seen| seen.location.is_some()) {
            if let Some(item) = item_of(seen, BTreeSet::new())? {
                item.put(&after, &mut self.catalog);
            }
        } else {
            let moved = change.is_some_and(|change| change.change == Change::NewData);
            let note = match model.config.materialized {
                Materialized::Ephemeral => return Ok(()),
                Materialized::Snapshot => Some("a snapshot keeps its history"),
                Materialized::Incremental if moved => {
                    Some("its query is the same; what its increment brings is not computed")
                }
                _ if names::asks_database(self.world.project, model) => {
                    Some("its template asks the database, which only a build does")
                }
                _ => None,
            };
            if let Some(note) = note {
                self.notes.insert(name.to_owned(), format!("not compared: {note}"));
                return Ok(());
            }
            if let Some(declared) = &model.seed {
                let (schema, rows) = seed::values(self.world.lake, declared).await?;
                self.catalog.memory(&after, schema, rows);
            } else {
                let sql = whole_query(model, &self.render(model).await?)?;
                self.catalog.view(&after, sql);
            }
        }
        self.after.insert(name.to_owned(), after.to_string());
        Ok(())
    }

    /// The model's query over what would be.
    async fn render(&self, model: &Model) -> Result<String> {
        let mut columns = Columns::new();
        if model.asks_for_columns() {
            let session = self.world.lake.session(self.catalog.clone())?;
            for read in self.plan.reads.get(&model.relation()).into_iter().flatten() {
                let name = self.after.get(read).unwrap_or(read);
                let schema = schema_of(&session, &quoted_table(name)).await?;
                let fields = schema.fields().iter();
                let fields =
                    fields.map(|field| (field.name().clone(), job::sql_type(field.data_type())));
                columns.insert(name.clone(), fields.collect());
            }
        }
        let sql =
            names::render_model_over(self.world.project, model, false, &columns, &self.after)?;
        contract::wrapped(model, sql)
    }
}

/// By which columns rows of models are known.
struct Keys {
    unique: BTreeMap<String, Vec<String>>,
}

impl Keys {
    /// Keys that tests of uniqueness and semantic views tell.
    fn new(world: World<'_>) -> Result<Self> {
        let project = world.project;
        let mut unique = BTreeMap::new();
        for (view, table) in &project.semantic_tables {
            let Some(view) = project.semantics.get(view) else { continue };
            let keys = view.entities.iter().filter(|(_, entity)| entity.kind.is_single());
            for (name, entity) in keys {
                let columns = entity.columns(name);
                unique.entry(names::relation(project, table)).or_insert(columns);
            }
        }
        for check in testing::checks(project, world.now)? {
            if let (Some(subject), CheckKind::Unique { column }, None) =
                (check.subject, check.kind, check.condition)
            {
                unique.entry(subject).or_insert_with(|| vec![column]);
            }
        }
        Ok(Self { unique })
    }

    /// The key of a model; empty if none is known.
    fn of(&self, plan: &Plan<'_>, name: &str) -> Vec<String> {
        let own = plan.models.get(name).map(|model| &model.config.unique_key);
        let own = own.filter(|key| !key.is_empty());
        own.or_else(|| self.unique.get(name)).cloned().unwrap_or_default()
    }
}

/// A model as it is and as it would be.
struct Sides<'a> {
    session: &'a Session,
    /// What production has, quoted.
    before: Option<String>,
    after: String,
    samples: usize,
}

impl Sides<'_> {
    async fn compare(&self, key: Vec<String>, mut diff: ModelDiff) -> Result<ModelDiff> {
        let new = schema_of(self.session, &self.after).await?;
        let Some(before) = &self.before else {
            let rows = count(self.session, &self.after).await?;
            (diff.rows_after, diff.added) = (Some(rows), rows);
            diff.columns_added = columns(&new, |_| true);
            return Ok(diff);
        };
        let old = schema_of(self.session, before).await?;
        diff.columns_added = columns(&new, |name| old.field_with_name(name).is_err());
        diff.columns_removed = columns(&old, |name| new.field_with_name(name).is_err());
        let there =
            |name: &String| old.field_with_name(name).is_ok() && new.field_with_name(name).is_ok();
        let mut key = key;
        let why = match key.iter().find(|name| !there(name)) {
            Some(name) => Some(format!("not both have the column {name}")),
            None => self.bad_key(before, &key).await?,
        };
        if let Some(why) = why {
            diff.note = Some(format!("whole rows are compared: {why}"));
            key.clear();
        }
        let mut compared = Vec::new();
        let mut left_out = Vec::new();
        for field in old.fields() {
            let Ok(other) = new.field_with_name(field.name()) else { continue };
            if key.contains(field.name()) {
                continue;
            }
            let nested = field.data_type().is_nested() || other.data_type().is_nested();
            match nested || compared.len() >= COLUMNS_MAX {
                true => left_out.push(field.name().clone()),
                false => compared.push(Pair {
                    name: field.name().clone(),
                    old: field.data_type().clone(),
                    new: other.data_type().clone(),
                }),
            }
        }
        if !left_out.is_empty() {
            let text = format!("not compared: {}", left_out.join(", "));
            diff.note = Some(match diff.note {
                Some(note) => format!("{note}; {text}"),
                None => text,
            });
        }
        diff.key = key;
        match diff.key.is_empty() {
            true => self.whole_rows(before, &compared, diff).await,
            false => self.by_key(before, &compared, diff).await,
        }
    }

    /// Why rows cannot be matched by a key; none if they can, or if there is no key.
    async fn bad_key(&self, before: &str, key: &[String]) -> Result<Option<String>> {
        let keys: Vec<String> = key.iter().map(|one| quoted(one)).collect();
        for side in [before, &self.after] {
            if !key.is_empty() && has_bad_key(self.session, side, &keys).await? {
                let key = key.join(", ");
                return Ok(Some(format!("several rows have the same {key}, or none")));
            }
        }
        Ok(None)
    }

    /// Both sides beside each other, rows matched by the key.
    fn joined(&self, before: &str, key: &[String], compared: &[Pair]) -> String {
        let side = |table: &str| {
            let keys =
                key.iter().enumerate().map(|(at, name)| format!("{} AS k{at}", quoted(name)));
            let columns = compared.iter().enumerate();
            let columns = columns.map(|(at, pair)| format!("{} AS c{at}", quoted(&pair.name)));
            let select: Vec<String> = keys.chain(columns).collect();
            format!("(SELECT {}, TRUE AS here FROM {table})", select.join(", "))
        };
        let on: Vec<String> = (0..key.len()).map(|at| format!("b.k{at} = a.k{at}")).collect();
        format!(
            "{} AS b FULL JOIN {} AS a ON {}",
            side(before),
            side(&self.after),
            on.join(" AND ")
        )
    }

    async fn by_key(
        &self,
        before: &str,
        compared: &[Pair],
        mut diff: ModelDiff,
    ) -> Result<ModelDiff> {
        let joined = self.joined(before, &diff.key, compared);
        let differs: Vec<String> =
            compared.iter().enumerate().map(|(at, pair)| pair.differs(at)).collect();
        let any = if differs.is_empty() { "FALSE".to_owned() } else { differs.join(" OR ") };
        let changed = format!("b.here AND a.here AND ({any})");
        let conditions = ["b.here", "a.here", "b.here IS NULL", "a.here IS NULL", &changed];
        let conditions = conditions.into_iter().map(str::to_owned);
        let of_columns = differs.iter().map(|one| format!("b.here AND a.here AND {one}"));
        let select: Vec<String> = conditions
            .chain(of_columns)
            .enumerate()
            .map(|(at, condition)| format!("count(*) FILTER (WHERE {condition}) AS n{at}"))
            .collect();
        let sql = format!("SELECT {} FROM {joined}", select.join(", "));
        let counts = counts(self.session, &sql).await?;
        let [old, new, added, removed, rows, of_columns @ ..] = counts.as_slice() else {
            return Err(Error::internal("a count of rows gives no counts"));
        };
        (diff.rows_before, diff.rows_after) = (Some(*old), Some(*new));
        (diff.added, diff.removed, diff.changed) = (*added, *removed, *rows);
        let of_columns = compared.iter().zip(of_columns).filter(|(_, changed)| **changed > 0);
        diff.columns = of_columns
            .map(|(pair, changed)| ColumnDiff { column: pair.name.clone(), changed: *changed })
            .collect();
        let kinds = [
            (RowChange::Added, diff.added, "b.here IS NULL".to_owned(), "a"),
            (RowChange::Removed, diff.removed, "a.here IS NULL".to_owned(), "b"),
            (RowChange::Changed, diff.changed, changed, "a"),
        ];
        for (change, rows, condition, side) in kinds {
            if rows == 0 || self.samples == 0 {
                continue;
            }
            let mut select = Vec::new();
            for at in 0..diff.key.len() {
                select.push(format!("{side}.k{at} AS k{at}"));
            }
            for (at, one) in differs.iter().enumerate() {
                select.push(format!("{one} AS d{at}, b.c{at} AS b{at}, a.c{at} AS a{at}"));
            }
            let keys: Vec<String> = (0..diff.key.len()).map(|at| format!("k{at}")).collect();
            let sql = format!(
                "SELECT {} FROM {joined} WHERE {condition} ORDER BY {} LIMIT {}",
                select.join(", "),
                keys.join(", "),
                self.samples
            );
            for batch in self.session.query(&sql).await?.collect().await? {
                diff.samples.extend(samples(&batch, change, diff.key.len(), compared)?);
            }
        }
        Ok(diff)
    }

    /// Without a key: how many more or fewer of each row there are.
    async fn whole_rows(
        &self,
        before: &str,
        compared: &[Pair],
        mut diff: ModelDiff,
    ) -> Result<ModelDiff> {
        let old = count(self.session, before).await?;
        let new = count(self.session, &self.after).await?;
        (diff.rows_before, diff.rows_after) = (Some(old), Some(new));
        if compared.is_empty() {
            // Nothing tells rows apart but how many there are.
            (diff.added, diff.removed) = (new.saturating_sub(old), old.saturating_sub(new));
            return Ok(diff);
        }
        let names: Vec<String> = (0..compared.len()).map(|at| format!("c{at}")).collect();
        let columns = names.join(", ");
        let values = compared.iter().map(Pair::as_group).zip(&names);
        let values: Vec<String> =
            values.map(|(value, name)| format!("{value} AS {name}")).collect();
        let values = values.join(", ");
        let rows = format!(
            "(SELECT {columns}, sum(side) AS more FROM (SELECT {values}, 1 AS side FROM {} \
             UNION ALL SELECT {values}, -1 AS side FROM {before}) GROUP BY {columns})",
            self.after
        );
        let sum = |side: &str| format!("CAST(coalesce(sum(greatest({side}, 0)), 0) AS BIGINT)");
        let sql = format!("SELECT {} AS n0, {} AS n1 FROM {rows}", sum("more"), sum("-more"));
        let sums = counts(self.session, &sql).await?;
        let [added, removed] = sums.as_slice() else {
            return Err(Error::internal("a count of rows gives no counts"));
        };
        (diff.added, diff.removed) = (*added, *removed);
        let kinds = [
            (RowChange::Added, diff.added, "more > 0"),
            (RowChange::Removed, diff.removed, "more < 0"),
        ];
        for (change, rows_of_kind, condition) in kinds {
            if rows_of_kind == 0 || self.samples == 0 {
                continue;
            }
            let sql = format!(
                "SELECT {columns} FROM {rows} WHERE {condition} ORDER BY {columns} LIMIT {}",
                self.samples
            );
            for batch in self.session.query(&sql).await?.collect().await? {
                for row in shown(&batch)? {
                    let value = |(pair, value): (&Pair, Option<String>)| match change {
                        RowChange::Removed => {
                            ValueSample { column: pair.name.clone(), before: value, after: None }
                        }
                        _ => ValueSample { column: pair.name.clone(), before: None, after: value },
                    };
                    let values = compared.iter().zip(row).map(value).collect();
                    diff.samples.push(RowSample { change, key: Vec::new(), values });
                }
            }
        }
        Ok(diff)
    }
}

/// A column that both sides have.
struct Pair {
    name: String,
    old: DataType,
    new: DataType,
}

/// How the values of two columns are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// As they are.
    Exactly,
    /// As floating-point numbers, by their first digits.
    Nearly,
    /// By their texts, as the types have nothing else in common.
    AsText,
}

impl Pair {
    fn compared(&self) -> Compared {
        let moment = |of: &DataType| {
            matches!(of, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
        };
        let numbers = self.old.is_numeric() && self.new.is_numeric();
        if numbers && (self.old.is_floating() || self.new.is_floating()) {
            return Compared::Nearly;
        }
        match numbers || self.old == self.new || (moment(&self.old) && moment(&self.new)) {
            true => Compared::Exactly,
            false => Compared::AsText,
        }
    }

    /// The condition that the column number `at` of both sides is not the same.
    fn differs(&self, at: usize) -> String {
        let (b, a) = (format!("b.c{at}"), format!("a.c{at}"));
        match self.compared() {
            Compared::Exactly => format!("({b} IS DISTINCT FROM {a})"),
            Compared::AsText => {
                format!("(CAST({b} AS VARCHAR) IS DISTINCT FROM CAST({a} AS VARCHAR))")
            }
            Compared::Nearly => {
                let [b, a] = [b, a].map(|side| format!("CAST({side} AS DOUBLE)"));
                // What is infinite or no number is near nothing but itself.
                format!(
                    "NOT coalesce(({b} IS NULL AND {a} IS NULL) OR {b} = {a} \
                     OR (abs({b} - {a}) <= {FLOAT_SHARE} * greatest(abs({b}), abs({a})) \
                     AND abs({b} - {a}) < CAST('Infinity' AS DOUBLE)), FALSE)"
                )
            }
        }
    }

    /// The value by which whole rows are the same, for either side.
    fn as_group(&self) -> String {
        let name = quoted(&self.name);
        match self.compared() {
            Compared::Exactly => name,
            Compared::AsText => format!("CAST({name} AS VARCHAR)"),
            Compared::Nearly => {
                // One zero and not two; numbers at either end of what a double holds stay as they are.
                let value = format!("(CAST({name} AS DOUBLE) + 0.0)");
                let size = format!("abs({value})");
                format!(
                    "CASE WHEN {size} > 1e-290 AND {size} < 1e290 THEN round({value}, \
                     CAST({FLOAT_DIGITS} - 1 - floor(log10({size})) AS INT)) ELSE {value} END"
                )
            }
        }
    }
}

/// The columns of a schema that fulfil a condition.
fn columns(schema: &Schema, keep: impl Fn(&str) -> bool) -> Vec<String> {
    let names = schema.fields().iter().map(|field| field.name());
    names.filter(|name| keep(name)).cloned().collect()
}

async fn schema_of(session: &Session, table: &str) -> Result<SchemaRef> {
    Ok(session.query(&format!("SELECT * FROM {table}")).await?.schema())
}

async fn count(session: &Session, table: &str) -> Result<u64> {
    let counts = counts(session, &format!("SELECT count(*) FROM {table}")).await?;
    Ok(counts.first().copied().unwrap_or(0))
}

/// The one row of counts that a query gives.
async fn counts(session: &Session, sql: &str) -> Result<Vec<u64>> {
    let batches = session.query(sql).await?.collect().await?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return Ok(Vec::new());
    };
    let count = |column: &arrow::array::ArrayRef| {
        let values = column.as_primitive_opt::<Int64Type>();
        let value = values.filter(|values| values.is_valid(0)).map(|values| values.value(0));
        u64::try_from(value.unwrap_or(0)).unwrap_or(0)
    };
    Ok(batch.columns().iter().map(count).collect())
}

/// The rows of a batch as text; a missing value is none.
fn shown(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>> {
    let rows = texts(batch)?.into_iter().enumerate();
    let row = |(row, values): (usize, Vec<String>)| {
        let values = values.into_iter().zip(batch.columns());
        values.map(|(text, column)| column.is_valid(row).then_some(text)).collect()
    };
    Ok(rows.map(row).collect())
}

/// Rows of a query that gives keys and then, for each column, whether it differs and both values.
fn samples(
    batch: &RecordBatch,
    change: RowChange,
    keys: usize,
    compared: &[Pair],
) -> Result<Vec<RowSample>> {
    let mut found = Vec::new();
    for row in shown(batch)? {
        let mut row = row.into_iter();
        let key = row.by_ref().take(keys).map(Option::unwrap_or_default).collect();
        let mut values = Vec::new();
        for pair in compared {
            let differs = row.next().flatten().is_some_and(|text| text == "true");
            let (before, after) = (row.next().flatten(), row.next().flatten());
            if change != RowChange::Changed || differs {
                values.push(ValueSample { column: pair.name.clone(), before, after });
            }
        }
        found.push(RowSample { change, key, values });
    }
    Ok(found)
}
