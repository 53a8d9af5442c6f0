//! The query engine of a lake: one memory pool, one spill folder, and a template of what a session knows.

use std::fmt;
use std::iter;
use std::num::NonZeroUsize;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use flywheel_base::{Error, Result};
use object_store::ObjectStore;

use crate::failure::from_engine;
use crate::function;
use crate::served::Lent;
use crate::session::asked_groups::OnlyAskedGroups;
use crate::session::clocks;
use crate::session::constants::{ConstantsRight, MOVES_CONDITIONS};
use crate::session::decimals::{self, DecimalsAsWritten};
use crate::session::division::Division;
use crate::session::filled::{FINDS_CONSTANTS, ToldAboveJoins};
use crate::session::join_order::FewestRows;
use crate::session::latest::FirstIsAggregate;
use crate::session::marks::{JOINS_CONDITIONS, MarkedRows, UnknownStaysUnknown};
use crate::session::mode;
use crate::session::moment_texts::{self, MomentsAsTexts};
use crate::session::moments;
use crate::session::multisets::EqualRowsCounted;
use crate::session::namesakes::{HANDS_DOWN, WhereNamesTell};
use crate::session::overflow::{self, WholeNumbersFit};
use crate::session::sorted::{SETS_SORTS, SortedAsAsked};
use crate::spill::SpillFiles;

/// The catalog all names live in.
pub(crate) const CATALOG: &str = "flywheel";
/// The catalog of the one table an edit changes, beside [`CATALOG`]: there the same table has no
/// columns that say where a row lies.
pub(crate) const EDITED: &str = "edited";
/// The schema of names without one.
pub(crate) const DEFAULT_SCHEMA: &str = "public";
/// Files smaller than this are not split between partitions.
const SPLIT_BYTES_MIN: usize = 4 << 20;

/// The rule that moves conditions of a planned query once more. It takes the first of columns of one name for all of
/// them, so that a condition on one side of a join whose sides were swapped lands on the other side: rows got lost.
/// Conditions were moved by the logical plan already, and tables are handed theirs; those that arise while a query
/// runs are moved by another rule, [`HANDS_DOWN`], where names tell columns apart.
const CONDITIONS_TWICE: &str = "FilterPushdown";

/// How many spill files are merged at once; a sort that merges more takes the memory of its neighbour.
const MERGE_FAN_IN: usize = 16;
/// The part of the memory limit that queries hold without counting it: batches on their way between operators, and
/// tables of groups while they double.
const UNCOUNTED_SHARE: usize = 16;
/// How many of the largest consumers an error about memory names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);
/// The part of the memory limit that a sort reserves for merging what it spilled.
const SORT_RESERVE_SHARE: usize = 32;
/// The least a sort reserves, in bytes.
const SORT_RESERVE_MIN: usize = 64 << 10;
/// The most a sort reserves, in bytes.
const SORT_RESERVE_MAX: usize = 10 << 20;

/// What every session of a lake shares.
pub(crate) struct Engine {
    template: SessionState,
    /// Whom `predict` asks.
    learners: Lent,
    memory_bytes: u64,
    spill_dir: PathBuf,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("memory_bytes", &self.memory_bytes).finish_non_exhaustive()
    }
}

/// The engine's rules, without one that is wrong, one only where it is right, and ours: what must not be believed is hidden once all
/// constants are known, and what is still not sorted is sorted once all sorts are set.
fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let rules = PhysicalOptimizer::new().rules.into_iter();
    let rules = rules.filter(|rule| rule.name() != CONDITIONS_TWICE).flat_map(|rule| {
        let then: Option<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = match rule.name() {
            FINDS_CONSTANTS => Some(Arc::new(ToldAboveJoins)),
            SETS_SORTS => Some(Arc::new(SortedAsAsked)),
            _ => None,
        };
        let rule = match rule.name() == HANDS_DOWN {
            true => Arc::new(WhereNamesTell(rule)) as Arc<dyn PhysicalOptimizerRule + Send + Sync>,
            false => rule,
        };
        iter::once(rule).chain(then)
    });
    rules.collect()
}

/// The engine's rules that make a plan complete, after ours, and one of ours that needs to know all types.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let ours: [Arc<dyn AnalyzerRule + Send + Sync>; 4] = [
        Arc::new(EqualRowsCounted),
        Arc::new(DecimalsAsWritten),
        Arc::new(UnknownStaysUnknown),
        Arc::new(FirstIsAggregate),
    ];
    let last: Arc<dyn AnalyzerRule + Send + Sync> = Arc::new(MomentsAsTexts);
    ours.into_iter().chain(Analyzer::new().rules).chain(iter::once(last)).collect()
}

/// The engine's rules that make a plan cheaper, one of them over conditions that it understands, and ours: constants that do not fit
/// are refused before any is computed, what is asked for rows is joined where the engine would not, joins are put in order once
/// conditions are where their tables are, groups are left out at the end, and other numbers that do not fit are refused after that.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let first: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(WholeNumbersFit::Constants);
    let ours: [Arc<dyn OptimizerRule + Send + Sync>; 2] =
        [Arc::new(OnlyAskedGroups), Arc::new(WholeNumbersFit::All)];
    let rules = Optimizer::new().rules.into_iter();
    let rules = rules.flat_map(|rule| {
        let (moves, joins) = (rule.name() == MOVES_CONDITIONS, rule.name() == JOINS_CONDITIONS);
        match (moves, joins) {
            (true, _) => vec![
                Arc::new(ConstantsRight(rule)) as Arc<dyn OptimizerRule + Send + Sync>,
                Arc::new(FewestRows),
            ],
            (_, true) => vec![Arc::new(MarkedRows) as Arc<dyn OptimizerRule + Send + Sync>, rule],
            _ => vec![rule],
        }
    });
    iter::once(first).chain(rules).chain(ours).collect()
}

impl Engine {
    /// An engine that reads from `store` and may use so much memory.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        memory_bytes: u64,
        spill_dir: &FilePath,
        partitions: usize,
        exact_division: bool,
    ) -> Result<Self> {
        std::fs::create_dir_all(spill_dir)
            .map_err(|error| Error::io("create the spill folder", spill_dir, error))?;
        let limit = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill_dir.to_owned()]));
        let files = SpillFiles::new(disk).map_err(from_engine)?;
        let disk = DiskManagerBuilder::default().with_temp_file_factory(Arc::new(files));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(
                FairSpillPool::new(limit - limit / UNCOUNTED_SHARE),
                CONSUMERS_NAMED,
            )))
            .with_disk_manager_builder(disk.with_max_spill_merge_fan_in(MERGE_FAN_IN))
            .build_arc()
            .map_err(from_engine)?;
        runtime.register_object_store(ObjectStoreUrl::local_filesystem().as_ref(), store);
        let template = SessionStateBuilder::new()
            .with_config(config(partitions.max(1), limit))
            .with_runtime_env(runtime)
            .with_default_features()
            .with_analyzer_rules(analyzer_rules())
            .with_optimizer_rules(optimizer_rules())
            .with_physical_optimizer_rules(rules())
            .build();
        let learners = Lent::default();
        let template = moments::as_promised(template).map_err(from_engine)?;
        let template = clocks::with_at_time_zone(template).map_err(from_engine)?;
        let template = overflow::with_sums(template).map_err(from_engine)?;
        let template = mode::with_mode(template).map_err(from_engine)?;
        let mut template = function::register(template, &learners).map_err(from_engine)?;
        let division = Arc::new(Division { exact: exact_division });
        template.register_expr_planner(division).map_err(from_engine)?;
        Ok(Self { template, learners, memory_bytes, spill_dir: spill_dir.to_owned() })
    }

    /// The state a session begins with.
    pub(crate) fn template(&self) -> &SessionState {
        &self.template
    }

    /// The learners that SQL can ask.
    pub(crate) fn learners(&self) -> &Lent {
        &self.learners
    }

    /// An SQL expression over columns, ready to be evaluated.
    pub(crate) fn expression(
        &self,
        sql: &str,
        columns: &SchemaRef,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let schema = DFSchema::try_from(SchemaRef::clone(columns)).map_err(from_engine)?;
        let sql = clocks::alone(sql)?;
        let parsed = self.template.create_logical_expr(&sql, &schema).map_err(from_engine)?;
        // Some functions, `coalesce` among them, only exist until they are simplified away.
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(Arc::clone(self.template.config_options()))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let parsed = decimals::as_written(parsed, &schema).map_err(from_engine)?.data;
        let coerced = simplifier.coerce(parsed, &schema).map_err(from_engine)?;
        let coerced = moment_texts::as_texts(coerced, &schema).map_err(from_engine)?.data;
        let simple = simplifier.simplify(coerced).map_err(from_engine)?;
        self.template.create_physical_expr(simple, &schema).map_err(from_engine)
    }

    /// The pool all queries and merges share.
    pub(crate) fn memory(&self) -> &Arc<dyn MemoryPool> {
        &self.template.runtime_env().memory_pool
    }

    /// The pool's limit.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Where rows wait that do not fit into memory.
    pub(crate) fn spill_dir(&self) -> &FilePath {
        &self.spill_dir
    }
}

/// What each sort sets aside where all of them have so much memory.
pub(crate) fn sort_reserve(memory_bytes: usize, partitions: usize) -> usize {
    let share = memory_bytes / SORT_RESERVE_SHARE / partitions;
    share.clamp(SORT_RESERVE_MIN, SORT_RESERVE_MAX)
}

fn config(partitions: usize, memory_bytes: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_repartition_file_min_size(SPLIT_BYTES_MIN);
    let options = config.options_mut();
    // Every sort sets this aside before it begins, so it must be small against the limit.
    options.execution.sort_spill_reservation_bytes = sort_reserve(memory_bytes, partitions);
    options.execution.time_zone = Some("UTC".to_owned());
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    config
}
