//! A table pinned to a version, lowered to a plain Parquet scan.
//!
//! Partition values, statistics and the choice of files come from the log, so that the physical plan
//! names nothing but files: any DataFusion executor can run it.

mod merged;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, DFSchema, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::parquet::arrow::RowNumber;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectMeta;

use self::merged::MergedExec;
use crate::snapshot::{DataFile, Snapshot};

/// Tables up to this size are read by one partition.
const ONE_PARTITION_BYTES_MAX: u64 = 4 << 20;

/// The column of an edited table that says in which file of its snapshot a row lies. A column of the
/// table itself cannot have this name: Delta allows no spaces.
pub(crate) const FILE: &str = "flywheel file";
/// The column of an edited table that says at which place of its file a row lies.
pub(crate) const ROW: &str = "flywheel row";

/// Whether a column is made for an edit and not the user's.
pub(crate) fn is_hidden(column: &str) -> bool {
    column == FILE || column == ROW
}

/// A table at one version, as queries see it.
#[derive(Debug)]
pub(crate) struct LakeTable {
    snapshot: Arc<Snapshot>,
    /// The table's columns: those of the files, then those of the partitions.
    schema: SchemaRef,
    layout: TableSchema,
}

impl LakeTable {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        let partitions = &snapshot.metadata.partition_columns;
        let is_partition = |field: &FieldRef| partitions.contains(field.name());
        let (parts, files): (Vec<FieldRef>, Vec<FieldRef>) =
            snapshot.schema.fields().iter().map(Arc::clone).partition(is_partition);
        let layout = TableSchema::builder(Arc::new(Schema::new(files)))
            .with_table_partition_cols(parts)
            .build();
        let schema = SchemaRef::clone(layout.table_schema());
        Self { snapshot, schema, layout }
    }

    /// The same table with the texts of its files as views; none if it has no texts, is edited, or has changes that wait.
    pub(crate) fn with_viewed_texts(&self) -> Option<Self> {
        if self.snapshot.waiting.is_some() {
            return None;
        }
        let files = self.layout.file_schema().fields();
        let is_text = |field: &FieldRef| *field.data_type() == DataType::Utf8;
        if !self.layout.virtual_columns().is_empty() || !files.iter().any(is_text) {
            return None;
        }
        let files = files.iter().map(|field| match is_text(field) {
            true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
            false => Arc::clone(field),
        });
        let layout = TableSchema::builder(Arc::new(Schema::new(files.collect::<Vec<FieldRef>>())))
            .with_table_partition_cols(self.layout.table_partition_cols().to_vec())
            .build();
        let schema = SchemaRef::clone(layout.table_schema());
        Some(Self { snapshot: Arc::clone(&self.snapshot), schema, layout })
    }

    /// The same table with the columns [`FILE`] and [`ROW`], which say where each row lies. It must not
    /// be partitioned.
    pub(crate) fn located(snapshot: Arc<Snapshot>) -> Self {
        let file = Arc::new(Field::new(FILE, DataType::Int64, false));
        let row = Field::new(ROW, DataType::Int64, false).with_extension_type(RowNumber);
        let layout = TableSchema::builder(SchemaRef::clone(&snapshot.schema))
            .with_table_partition_cols(vec![file])
            .with_virtual_columns(vec![Arc::new(row)])
            .build();
        let schema = SchemaRef::clone(layout.table_schema());
        Self { snapshot, schema, layout }
    }

    /// How many rows the table has; none if the log does not say.
    pub(crate) fn rows(&self) -> Option<usize> {
        self.snapshot.rows().and_then(|rows| usize::try_from(rows).ok())
    }

    /// How many different values there can be between the least and the greatest of a column; none unless it has whole numbers or
    /// days, and every file says its bounds.
    pub(crate) fn span(&self, column: &str) -> Option<u64> {
        // What changes say is not among the bounds.
        if self.snapshot.waiting.is_some() {
            return None;
        }
        let schema = &self.snapshot.schema;
        let index = schema.index_of(column).ok()?;
        let mut ends: Option<(i64, i64)> = None;
        for file in &self.snapshot.files {
            let stats = file.stats(schema);
            let bounds = stats.columns.get(index)?;
            let (min, max) = (whole(bounds.min.as_ref()?)?, whole(bounds.max.as_ref()?)?);
            ends = Some(ends.map_or((min, max), |(least, most)| (least.min(min), most.max(max))));
        }
        let (least, most) = ends?;
        u64::try_from(most.checked_sub(least)?).ok()?.checked_add(1)
    }

    /// The files that can hold a row for which `predicate` is true.
    fn pruned(&self, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Vec<Arc<DataFile>> {
        let files = &self.snapshot.files;
        let Some(predicate) = predicate else { return files.clone() };
        let facts = Facts { table: self, files };
        let keep = PruningPredicateBuilder::new()
            .with_file_schema(SchemaRef::clone(&self.schema))
            .try_build(Arc::clone(predicate))
            .and_then(|pruning| pruning.prune(&facts));
        match keep {
            Ok(keep) => {
                let chosen = files.iter().zip(keep).filter(|(_, keep)| *keep);
                chosen.map(|(file, _)| Arc::clone(file)).collect()
            }
            // A predicate that cannot be used for pruning reads all files, which is never wrong.
            Err(_) => files.clone(),
        }
    }

    fn partition_values(&self, file: &DataFile) -> Result<Vec<ScalarValue>> {
        let fields = self.layout.table_partition_cols().iter();
        let value = |field: &FieldRef| match field.name() == FILE {
            true => Ok(ScalarValue::Int64(self.place(file))),
            false => partition_value(file, field),
        };
        fields.map(value).collect()
    }

    /// The place of a file among those of the snapshot, which are sorted by path.
    fn place(&self, file: &DataFile) -> Option<i64> {
        let files = &self.snapshot.files;
        let found = files.binary_search_by(|other| other.path.cmp(&file.path)).ok()?;
        i64::try_from(found).ok()
    }

    fn file_statistics(&self, file: &DataFile) -> Statistics {
        let stats = file.stats(&self.snapshot.schema);
        let columns = self.layout.file_schema().fields().iter().map(|field| {
            let index = self.snapshot.schema.index_of(field.name()).ok();
            let Some(bounds) = index.and_then(|index| stats.columns.get(index)) else {
                return ColumnStatistics::new_unknown();
            };
            let value = |bound: &Option<ScalarValue>| match bound {
                Some(value) if bounds.exact => Precision::Exact(read_as(value, field)),
                Some(value) => Precision::Inexact(read_as(value, field)),
                None => Precision::Absent,
            };
            ColumnStatistics {
                null_count: bounds
                    .nulls
                    .map_or(Precision::Absent, |n| Precision::Exact(n as usize)),
                min_value: value(&bounds.min),
                max_value: value(&bounds.max),
                ..ColumnStatistics::new_unknown()
            }
        });
        Statistics {
            num_rows: stats.rows.map_or(Precision::Absent, |rows| Precision::Exact(rows as usize)),
            total_byte_size: Precision::Absent,
            column_statistics: columns.collect(),
        }
    }

    fn scan_file(&self, file: &Arc<DataFile>) -> Result<PartitionedFile> {
        let millis = file.add.modification_time;
        let meta = ObjectMeta {
            location: file.path.clone(),
            last_modified: chrono::DateTime::from_timestamp_millis(millis).unwrap_or_default(),
            size: file.add.size.unsigned_abs(),
            e_tag: None,
            version: None,
        };
        let made = PartitionedFile::new_from_meta(meta)
            .with_partition_values(self.partition_values(file)?);
        let mut made = made.with_statistics(Arc::new(self.file_statistics(file)));
        if let Some(statistics) = &mut made.statistics {
            // Statistics are asked for by place, so columns that are not in the file need theirs, too.
            let made = self.layout.virtual_columns().iter();
            let unknown = made.map(|_| ColumnStatistics::new_unknown());
            Arc::make_mut(statistics).column_statistics.extend(unknown);
        }
        Ok(made)
    }
}

/// A whole number, or the number of a day.
fn whole(value: &ScalarValue) -> Option<i64> {
    let counts = value.data_type().is_integer() || value.data_type() == DataType::Date32;
    match counts.then(|| value.cast_to(&DataType::Int64)) {
        Some(Ok(ScalarValue::Int64(number))) => number,
        _ => None,
    }
}

/// What the log says of a column, as that column is read.
fn read_as(value: &ScalarValue, field: &Field) -> ScalarValue {
    match (value, field.data_type()) {
        (ScalarValue::Utf8(text), DataType::Utf8View) => ScalarValue::Utf8View(text.clone()),
        _ => value.clone(),
    }
}

/// Deals files to partitions; a small table is read by one, in file order and without the cost of more.
fn grouped(files: Vec<PartitionedFile>, partitions: usize) -> Vec<FileGroup> {
    let bytes: u64 = files.iter().map(PartitionedFile::effective_size).sum();
    let group = FileGroup::new(files);
    match bytes <= ONE_PARTITION_BYTES_MAX {
        true => vec![group],
        false => group.split_files(partitions),
    }
}

fn partition_value(file: &DataFile, field: &FieldRef) -> Result<ScalarValue> {
    match file.add.partition_values.get(field.name()) {
        Some(Some(text)) if !text.is_empty() => {
            ScalarValue::try_from_string(text.clone(), field.data_type())
        }
        _ => ScalarValue::try_from(field.data_type()),
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match filter.column_refs().iter().any(|c| is_hidden(&c.name))
        {
            true => TableProviderFilterPushDown::Unsupported,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let runtime = state.runtime_env();
        let store = runtime.object_store(ObjectStoreUrl::local_filesystem())?;
        let newest = self.snapshot.newest(&store, &runtime.memory_pool).await.map_err(external)?;
        let Some(newest) = newest else {
            return self.scan_files(state, projection, filters, limit);
        };
        let all = || (0..self.schema.fields().len()).collect();
        let mut columns = projection.map_or_else(all, Vec::clone);
        let schema = Arc::new(self.schema.project(&columns)?);
        for name in newest.key() {
            let place = self.schema.index_of(name)?;
            if !columns.contains(&place) {
                columns.push(place);
            }
        }
        // Which rows hold is known only above the files, so that no limit goes below.
        let files = self.scan_files(state, Some(&columns), filters, None)?;
        Ok(Arc::new(MergedExec::new(schema, files, newest, store)))
    }
}

impl LakeTable {
    /// Reads the data files, without the changes that wait beside them.
    fn scan_files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = match conjunction(filters.to_vec()) {
            Some(filter) => {
                let columns = DFSchema::try_from(SchemaRef::clone(&self.schema))?;
                Some(state.create_physical_expr(filter, &columns)?)
            }
            None => None,
        };
        let files = self.pruned(predicate.as_ref());
        let mut chosen = Vec::with_capacity(files.len());
        let mut rows = Some(0);
        for file in &files {
            chosen.push(self.scan_file(file)?);
            let known = file.rows(&self.snapshot.schema);
            rows = rows.zip(known).map(|(sum, known): (u64, u64)| sum + known);
            let enough = limit.is_some_and(|limit| rows.is_some_and(|rows| rows >= limit as u64));
            if enough && filters.is_empty() {
                break;
            }
        }
        if chosen.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => SchemaRef::clone(&self.schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let statistics = total(&chosen, &self.schema);
        // Data files never change, so that a footer once read serves every later query.
        let runtime = state.runtime_env();
        let footers = CachedParquetFileReaderFactory::new(
            runtime.object_store(ObjectStoreUrl::local_filesystem())?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let mut source = ParquetSource::new(self.layout.clone())
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_parquet_file_reader_factory(Arc::new(footers));
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let groups = grouped(chosen, state.config().target_partitions());
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

/// The statistics of all files together.
fn total(files: &[PartitionedFile], schema: &SchemaRef) -> Statistics {
    let all: Vec<&Statistics> =
        files.iter().filter_map(|file| file.statistics.as_deref()).collect();
    if all.len() != files.len() {
        return Statistics::new_unknown(schema);
    }
    Statistics::try_merge_iter(all, schema).unwrap_or_else(|_| Statistics::new_unknown(schema))
}

/// What the log says of every file, in the form pruning asks for it.
struct Facts<'a> {
    table: &'a LakeTable,
    files: &'a [Arc<DataFile>],
}

impl Facts<'_> {
    fn bounds(&self, column: &Column, largest: bool) -> Option<ArrayRef> {
        let field = self.table.schema.field_with_name(column.name()).ok()?;
        let partition = self.partition(column);
        let index = self.table.snapshot.schema.index_of(column.name()).ok()?;
        let values = self.files.iter().map(|file| {
            if let Some(field) = partition {
                return partition_value(file, field).ok();
            }
            let bounds = file.stats(&self.table.snapshot.schema).columns.get(index)?;
            let bound = if largest { &bounds.max } else { &bounds.min };
            bound.as_ref().map(|bound| read_as(bound, field))
        });
        let none = ScalarValue::try_from(field.data_type()).ok()?;
        ScalarValue::iter_to_array(values.map(|value| value.unwrap_or_else(|| none.clone()))).ok()
    }

    fn partition(&self, column: &Column) -> Option<&FieldRef> {
        let mut fields = self.table.layout.table_partition_cols().iter();
        fields.find(|field| field.name() == column.name() && field.name() != FILE)
    }
}

impl PruningStatistics for Facts<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, false)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, true)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        if self.partition(column).is_some() {
            return None;
        }
        let index = self.table.snapshot.schema.index_of(column.name()).ok()?;
        let counts = self
            .files
            .iter()
            .map(|file| file.stats(&self.table.snapshot.schema).columns.get(index)?.nulls);
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.files.iter().map(|file| file.rows(&self.table.snapshot.schema));
        Some(Arc::new(rows.collect::<UInt64Array>()))
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let field = self.partition(column)?;
        let found = self.files.iter().map(|file| {
            let value = partition_value(file, field).ok()?;
            Some(values.contains(&value))
        });
        Some(found.collect())
    }
}

/// A scan through `deltalake`, for tables with deletion vectors or column mapping.
pub(crate) async fn foreign(
    root: &std::path::Path,
    snapshot: &Snapshot,
) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let path = root.join(snapshot.location.as_str());
    let url = url::Url::from_directory_path(&path).map_err(|()| {
        DataFusionError::Plan(format!("table \"{}\" has no file URL", snapshot.location))
    })?;
    let version = snapshot.version.unsigned_abs();
    let table = deltalake::DeltaTableBuilder::from_url(url)
        .map_err(external)?
        .with_version(version)
        .load()
        .await
        .map_err(external)?;
    table.table_provider().await.map_err(external)
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
