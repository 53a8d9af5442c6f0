//! Running checks: shared queries first, a query of its own for what fails.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{Error, Result};
use flywheel_project::{Threshold, Verdict};
use flywheel_warehouse::{Lake, Session, Write, WriteMode};
use futures::future::OptionFuture;

use super::statement::{self, Counted, Statement, Target};
use super::{Check, CheckKind, quoted_table};
use crate::names;
use crate::report::{Failure, Sample, TestOutcome, TestScope, TestStatus};

/// How many failing rows a report shows.
const SAMPLE_ROWS: usize = 5;

/// How many characters of a value a report shows.
const SAMPLE_VALUE_CHARS: usize = 120;

/// What is tested.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// The table, `schema.name`.
    pub(crate) table: &'a str,
    /// Its columns.
    pub(crate) schema: &'a Schema,
    /// The table of new rows, if the others passed before.
    pub(crate) batch: Option<&'a str>,
    /// The columns by which a merge keeps rows unique.
    pub(crate) merge_key: &'a [String],
    /// The tables that have every value they had when the old rows passed.
    pub(crate) kept: &'a Kept,
}

/// Tables that lost no value since, each with the column of which that is known; with none, it is of all of them.
pub(crate) type Kept = BTreeMap<String, Option<String>>;

/// Runs `checks`, in their order; a check that cannot be run is an outcome, too. Failing rows are kept in
/// tables of `lake` where a check says so.
pub(crate) async fn run(
    lake: &Lake,
    session: &Session,
    subject: Subject<'_>,
    checks: &[&Check],
) -> Vec<TestOutcome> {
    let table = quoted_table(subject.table);
    let batch = subject.batch.map(quoted_table);
    let target = Target {
        table: &table,
        batch: batch.as_deref(),
        schema: subject.schema,
        merge_key: subject.merge_key,
        kept: subject.kept,
    };
    let mut statements = Vec::with_capacity(checks.len());
    for check in checks {
        statements.push(statement::statement(check, &target));
    }
    let counts = count_all(session, &statements).await;
    let mut outcomes = Vec::with_capacity(checks.len());
    for ((check, statement), count) in checks.iter().zip(statements).zip(counts) {
        let failing = statement.as_ref().ok().and_then(Option::as_ref).map(|s| s.failing.clone());
        let mut outcome = judge(session, check, statement, count).await;
        if let (Some(table), Some(failing), None) = (&check.failures.table, failing, &outcome.error)
        {
            match keep(lake, session, table, &failing).await {
                Ok(()) => outcome.stored = Some(table.clone()),
                Err(error) => {
                    let error = error.context(format!("keeping the failing rows in {table}"));
                    outcome = broken(outcome, check, error);
                }
            }
        }
        outcomes.push(outcome);
    }
    outcomes
}

/// Writes the failing rows, none if there is none, to their table.
async fn keep(lake: &Lake, session: &Session, table: &str, failing: &str) -> Result<()> {
    let rows = session.query(failing).await?.stream().await?;
    let write = Write::new(WriteMode::Replace, rows, "test").add_columns();
    Box::pin(lake.write(&names::plain_location(table)?, write)).await?;
    Ok(())
}

type Prepared = Result<Option<Statement>>;

/// How many rows fail each statement; `None` where nothing was counted.
async fn count_all(session: &Session, statements: &[Prepared]) -> Vec<Option<Result<u64>>> {
    let mut counts: Vec<Option<Result<u64>>> = statements.iter().map(|_| None).collect();
    let ready = |(i, prepared): (usize, &'_ Prepared)| match prepared {
        Ok(Some(statement)) => Some((i, statement.clone())),
        _ => None,
    };
    let ready: Vec<(usize, Statement)> = statements.iter().enumerate().filter_map(ready).collect();
    let (by_row, whole): (Vec<_>, Vec<_>) =
        ready.into_iter().partition(|(_, statement)| statement.row_condition.is_some());
    let conditions: Vec<&str> =
        by_row.iter().filter_map(|(_, s)| s.row_condition.as_deref()).collect();
    let from = by_row.first().map(|(_, first)| first.from.as_str());
    let queries: Vec<Counted<'_>> = whole.iter().map(|(_, s)| s.counted()).collect();
    let (of_rows, of_whole) = futures::join!(
        OptionFuture::from(from.map(|from| scan(session, from, &conditions))),
        OptionFuture::from((!queries.is_empty()).then(|| count(session, &queries))),
    );
    for (statements, shared) in [(&by_row, of_rows), (&whole, of_whole)] {
        if let Some(shared) = shared {
            put(session, &mut counts, statements, shared).await;
        }
    }
    counts
}

/// Notes the counts of a shared query; if it failed, each statement counts alone.
async fn put(
    session: &Session,
    counts: &mut [Option<Result<u64>>],
    statements: &[(usize, Statement)],
    shared: Result<Vec<u64>>,
) {
    for (position, (i, statement)) in statements.iter().enumerate() {
        let counted = match &shared {
            Ok(shared) => Ok(shared.get(position).copied().unwrap_or_default()),
            // Alone, so that a mistake is put to the test that makes it.
            Err(_) => count(session, &[statement.counted()])
                .await
                .map(|counted| counted.first().copied().unwrap_or_default()),
        };
        if let Some(slot) = counts.get_mut(*i) {
            *slot = Some(counted);
        }
    }
}

async fn scan(session: &Session, from: &str, conditions: &[&str]) -> Result<Vec<u64>> {
    let batches = session.collect_apart(&statement::scan(from, conditions)).await?;
    let mut counts = vec![0; conditions.len()];
    for batch in &batches {
        for (slot, column) in counts.iter_mut().zip(batch.columns()) {
            *slot += sum(column);
        }
    }
    Ok(counts)
}

/// How many rows each query returns.
async fn count(session: &Session, queries: &[Counted<'_>]) -> Result<Vec<u64>> {
    let batches = session.collect_apart(&statement::counts(queries)).await?;
    let mut counts = vec![0; queries.len()];
    for batch in &batches {
        let position = batch.column(0).as_primitive::<Int64Type>();
        let failures = batch.column(1).as_primitive::<Int64Type>();
        for (position, failures) in position.values().iter().zip(failures.values()) {
            if let Some(slot) = usize::try_from(*position).ok().and_then(|p| counts.get_mut(p)) {
                *slot = failures.unsigned_abs();
            }
        }
    }
    Ok(counts)
}

fn sum(column: &dyn Array) -> u64 {
    let counts = column.as_primitive_opt::<Int64Type>();
    counts.map_or(0, |counts| counts.values().iter().map(|count| count.unsigned_abs()).sum())
}

/// Turns a count into an outcome; a failing check is asked for its count in dbt's sense and a sample.
async fn judge(
    session: &Session,
    check: &Check,
    statement: Prepared,
    count: Option<Result<u64>>,
) -> TestOutcome {
    let scope = match &statement {
        Ok(Some(statement)) => statement.scope,
        Ok(None) => TestScope::NewRows,
        Err(_) => TestScope::Table,
    };
    let mut outcome = TestOutcome { scope, ..untried(check) };
    let statement = match statement {
        Ok(Some(statement)) => statement,
        Ok(None) => return outcome,
        Err(error) => return broken(outcome, check, error),
    };
    outcome.sql.clone_from(&statement.sample);
    let rows = match count {
        Some(Ok(rows)) => rows,
        Some(Err(error)) => return broken(outcome, check, error),
        None => 0,
    };
    outcome.failures = rows;
    if rows > 0
        && matches!(check.kind, CheckKind::AcceptedValues { .. })
        && let Ok(values) = self::count(session, &[statement.counted()]).await
    {
        outcome.failures = values.first().copied().unwrap_or(rows);
    }
    // A limit on rows is none on what is computed from them.
    let limit = check.threshold.limit.filter(|_| check.failures.calc.is_none());
    let threshold = Threshold { limit, ..check.threshold.clone() };
    outcome.status = match threshold.verdict(check.severity, outcome.failures) {
        Verdict::Pass => TestStatus::Passed,
        Verdict::Warn => TestStatus::Warned,
        Verdict::Fail => TestStatus::Failed,
    };
    if rows == 0 {
        return outcome;
    }
    match sample(session, &statement.sample).await {
        Ok(sample) => outcome.sample = sample,
        Err(error) => {
            tracing::debug!(test = %check.name, error = %error, "no sample of failing rows");
        }
    }
    outcome
}

/// An outcome to be filled in.
fn untried(check: &Check) -> TestOutcome {
    TestOutcome {
        name: check.name.clone(),
        subject: check.subject.clone(),
        severity: check.severity,
        status: TestStatus::Passed,
        failures: 0,
        sample: Sample::default(),
        sql: String::new(),
        scope: TestScope::Table,
        stored: None,
        error: None,
    }
}

/// The outcome of a test that could not be run.
pub(crate) fn not_run(check: &Check, error: Error) -> TestOutcome {
    broken(untried(check), check, error)
}

/// A test that cannot be run fails whatever its severity: nobody knows what it would have found.
fn broken(mut outcome: TestOutcome, check: &Check, error: Error) -> TestOutcome {
    outcome.status = TestStatus::Failed;
    let error = match error.message().contains(&check.name) {
        true => error,
        false => error.context(format!("test \"{}\"", check.name)),
    };
    outcome.error = Some(Failure::from(&error));
    outcome
}

async fn sample(session: &Session, query: &str) -> Result<Sample> {
    let limited = format!("{query}\nLIMIT {SAMPLE_ROWS}");
    let query = session.query(&limited).await?;
    let columns = query.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut rows = Vec::new();
    for batch in query.collect().await? {
        rows.extend(texts(&batch)?);
    }
    Ok(Sample { columns, rows })
}

/// The rows of a batch as text.
pub(crate) fn texts(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let options = FormatOptions::default();
    let failed = |error| Error::internal("cannot show a failing row").caused_by(error);
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).map_err(failed))
        .collect::<Result<Vec<_>>>()?;
    let text = |row: usize, column: &ArrayFormatter<'_>| {
        let text = column.value(row).to_string();
        text.chars().take(SAMPLE_VALUE_CHARS).collect::<String>()
    };
    let row = |row: usize| columns.iter().map(|column| text(row, column)).collect();
    Ok((0..batch.num_rows()).map(row).collect())
}
