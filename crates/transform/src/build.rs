//! Building and testing what is selected.

mod ask;
mod changes;
mod contract;
mod demand;
mod diff;
mod hook;
mod named;
mod past;
mod progress;
mod results;
mod seed;
mod trial;

pub(crate) mod job;
pub(crate) mod materialize;
pub(crate) mod plan;
pub(crate) mod snapshot;

pub use changes::{Change, Changes, Impact, ModelChange, Touched, changes};
pub use diff::{
    ColumnDiff, ModelDiff, RowChange, RowSample, SAMPLES_MAX, ValueSample, diff, diff_where,
};

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::Result;
use flywheel_project::graph::Known;

use self::plan::Plan;
use self::progress::Progress;
use crate::World;
use crate::intervals::{self, Interval};
use crate::report::{BuildReport, Event, Failure, TestOutcome};

/// What to build, and how.
#[derive(Clone, Copy)]
pub struct BuildOptions<'a> {
    /// dbt's selectors: `name`, `+name`, `name+`, `@name`, `tag:daily`; everything if empty.
    pub select: &'a [String],
    /// Selectors of what is left out.
    pub exclude: &'a [String],
    /// What selectors mean that look at more than the project: `state:modified`.
    pub known: Option<&'a Known>,
    /// Builds incremental tables anew, and tests everything in full.
    pub full_refresh: bool,
    /// Runs tests, and publishes only what passes; without tests everything that is built is published.
    pub run_tests: bool,
    /// Tests that are not run, by name: whoever builds finds out what they ask in another way.
    pub without: &'a BTreeSet<String>,
    /// Lets models that are not selected and were never built here mean what production has: dbt's
    /// `--defer`. By their names in SQL here, their names in production where those differ.
    pub defer: Option<&'a BTreeMap<String, String>>,
    /// Builds the rows of this interval again, and only them, in incremental models that say by
    /// `event_time` when a row happened.
    pub interval: Option<Interval>,
    /// Called when something happens, in the order in which it does.
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

impl Default for BuildOptions<'_> {
    fn default() -> Self {
        Self {
            select: &[],
            exclude: &[],
            known: None,
            full_refresh: false,
            run_tests: true,
            without: const { &BTreeSet::new() },
            defer: None,
            interval: None,
            on_event: &|_| {},
        }
    }
}

impl std::fmt::Debug for BuildOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildOptions")
            .field("select", &self.select)
            .field("exclude", &self.exclude)
            .field("full_refresh", &self.full_refresh)
            .field("run_tests", &self.run_tests)
            .field("without", &self.without)
            .field("defer", &self.defer.is_some())
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// Builds the selected models whose query or inputs changed since they last passed, tests them, and
/// moves readers to all that passed in one step. A failed model is part of the report, not an error.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a selector names nothing; the store's and the lake's own
/// errors, after which the next build continues where this one stopped.
pub async fn build(world: World<'_>, options: BuildOptions<'_>) -> Result<BuildReport> {
    let nothing = Known::new();
    let known = options.known.unwrap_or(&nothing);
    let tests_at = options.run_tests.then_some(world.now);
    let mut plan = Plan::new(world.project, options.select, options.exclude, known, tests_at)?;
    plan.leave_out(options.without);
    intervals::require_times(&plan, &options)?;
    (options.on_event)(Event::Planned { models: plan.selected.len() });
    let mut progress = Progress::new(world, &plan, options).await?;
    Box::pin(progress.run_statements("on-run-start")).await?;
    Box::pin(progress.try_ready()).await?;
    for wave in &plan.waves {
        Box::pin(progress.build_wave(wave)).await?;
        Box::pin(progress.try_ready()).await?;
    }
    Box::pin(progress.guard_readers()).await?;
    // What was built is published all the same: a statement that fails at the end is told, not lost.
    if let Err(error) = Box::pin(progress.run_statements("on-run-end")).await {
        progress.error = Some(Failure::from(&error));
    }
    progress.publish()
}

/// Runs the tests of what is selected against what readers see, in full. Tests may be selected by their own names and
/// kinds.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a selector names nothing; the lake's and the store's own.
pub async fn test(
    world: World<'_>,
    select: &[String],
    exclude: &[String],
    known: &Known,
) -> Result<Vec<TestOutcome>> {
    let plan = Plan::of_tests(world.project, select, exclude, known, world.now)?;
    let options = BuildOptions { full_refresh: true, ..BuildOptions::default() };
    let progress = Progress::new(world, &plan, options).await?;
    progress.try_published().await
}
