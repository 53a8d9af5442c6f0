//! Figures and verdicts of one quality file.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use flywheel_algo::stats::monitor::{self, Expected, Past, Side};
use flywheel_base::{Error, Result, Timestamp};
use flywheel_project::Project;
use flywheel_project::quality::{
    Compiled, Dialect, Figure, Place, Rule, check_names, compile, scan,
};
use flywheel_project::resource::properties::Severity;
use flywheel_project::resource::quality::{
    Direction, Every, Metric, Monitor, MonitorMethod, Quality, QualityCheck, Unit,
};
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use serde_json::{Map, Value};

use super::engine::{Cell, Engine, cell, rows_of};
use super::{HIDDEN, QualityResult, Verdict, dataset, result_id, severity_word};
use crate::Workspace;

/// How many characters of a value a sample shows.
const VALUE_CHARS_MAX: usize = 120;

/// How many earlier figures a monitor looks at unless it says otherwise.
const WINDOW: usize = 56;

/// How many it takes unless it says otherwise, without and with a season.
const HISTORY: (usize, usize) = (14, 28);

/// How far back earlier figures are looked for, in days.
const HISTORY_DAYS_MAX: i64 = 400;

/// What was found of a check.
#[derive(Clone, Debug, Default)]
struct Found {
    value: Option<f64>,
    rows: Option<f64>,
    failing: Option<f64>,
    sql: String,
}

/// Finds every figure and judges it.
pub(super) async fn results(
    workspace: &Workspace,
    run_id: &str,
    quality: &Quality,
    engine: &Engine,
) -> Result<Vec<QualityResult>> {
    let project = &workspace.project;
    let names = check_names(quality);
    let other = |to: &str| other_table(project, engine.dialect, to);
    let codes = |name: &str| project.codes(name);
    let place = Place {
        dialect: engine.dialect,
        table: &engine.table,
        now: Some(workspace.now().micros()),
        other: &other,
        hidden: &[],
        codes: &codes,
    };
    let mut compiled: Vec<Result<Compiled>> = Vec::with_capacity(quality.checks.len());
    for check in &quality.checks {
        compiled.push(rendered(project, check, &place).and_then(|check| compile(&check, &place)));
    }
    let found = find(engine, &quality.checks, &compiled, workspace.now()).await;
    let past = earlier(workspace, quality, &names).await?;
    let hidden = hidden(project, quality);
    let now = workspace.now();
    let mut results = Vec::with_capacity(names.len());
    for (at, check) in quality.checks.iter().enumerate() {
        let name = names.get(at).cloned().unwrap_or_default();
        let mut result = blank(workspace, run_id, quality, check, &name);
        result.engine = engine.dialect.word().to_owned();
        result.at = now;
        match found.get(at) {
            Some(Ok(found)) => {
                result.sql = Some(found.sql.clone());
                result.value = found.value;
                result.rows = found.rows.map(|rows| rows as i64);
                result.failing = found.failing.map(|rows| rows as i64);
                let past = past.get(&name).map_or(&[][..], Vec::as_slice);
                verdict(&mut result, check, past)?;
            }
            Some(Err(error)) => broken(&mut result, error),
            None => broken(&mut result, &Error::internal("a check was not looked at")),
        }
        if engine.unread > 0 && result.verdict != Verdict::Broken {
            let unread = format!("{} rows could not be read and are not counted", engine.unread);
            result.reason = Some(match result.reason.take() {
                Some(reason) => format!("{reason}; {unread}"),
                None => unread,
            });
        }
        let failing = matches!(result.verdict, Verdict::Failed | Verdict::Warned)
            && result.failing.is_some_and(|rows| rows > 0);
        let query = compiled.get(at).and_then(|one| one.as_ref().ok()?.sample.clone());
        if let Some(query) = query.filter(|_| failing) {
            match engine.ask(&query).await.and_then(|rows| sample(&rows, &hidden)) {
                Ok(sample) => result.sample = Some(sample),
                Err(error) => {
                    tracing::debug!(check = %result.check, error = %error, "no sample of failing rows");
                }
            }
        }
        results.push(result);
    }
    Ok(results)
}

/// The verdicts about a table that cannot be reached.
pub(super) fn unreached(
    workspace: &Workspace,
    run_id: &str,
    quality: &Quality,
    error: &Error,
) -> Vec<QualityResult> {
    let one = |(check, name): (&QualityCheck, String)| {
        let mut result = blank(workspace, run_id, quality, check, &name);
        broken(&mut result, error);
        result
    };
    quality.checks.iter().zip(check_names(quality)).map(one).collect()
}

/// A result that says only what it is about.
pub(super) fn blank(
    workspace: &Workspace,
    run_id: &str,
    quality: &Quality,
    check: &QualityCheck,
    name: &str,
) -> QualityResult {
    let now = workspace.now();
    let connection = quality.connection.as_ref();
    let connector = connection.and_then(|name| workspace.project.connections.get(name));
    let dialect = connector.and_then(|connection| Dialect::of(&connection.connector));
    QualityResult {
        result_id: result_id(run_id, &quality.quality, name, now),
        run_id: run_id.to_owned(),
        quality: quality.quality.clone(),
        check: name.to_owned(),
        dataset: dataset(&workspace.project, quality),
        engine: dialect.unwrap_or(Dialect::Lake).word().to_owned(),
        column: check.column.clone(),
        metric: check.metric.map_or("query", Metric::word).to_owned(),
        dimension: check.dimension.map(|dimension| dimension.word().to_owned()),
        severity: severity_word(Project::severity_of(check)).to_owned(),
        unit: check.unit.word().to_owned(),
        value: None,
        rows: None,
        failing: None,
        threshold: Rule::of(check).ok().flatten().map(|rule| rule.to_string()),
        low: None,
        high: None,
        history: None,
        verdict: Verdict::Passed,
        reason: None,
        sample: None,
        sql: None,
        at: now,
    }
}

/// What is promised, in short.
pub(super) fn promised(check: &QualityCheck) -> Result<String> {
    let unit = if check.unit == Unit::Percent { " %" } else { "" };
    let metric = check.metric.map_or("query", Metric::word);
    let rule = Rule::of(check)?.map(|rule| format!(" {rule}{unit}"));
    let watched = check.monitor.map(|monitor| {
        format!(
            " as usual ({}, {} % false alarms)",
            monitor.method.word(),
            100.0 * monitor.false_alarms.value()
        )
    });
    Ok(format!("{metric}{}{}", rule.unwrap_or_default(), watched.unwrap_or_default()))
}

fn broken(result: &mut QualityResult, error: &Error) {
    result.verdict = Verdict::Broken;
    result.reason = Some(error.report());
}

/// The check with the templates of its query replaced, for the lake.
fn rendered(project: &Project, check: &QualityCheck, place: &Place<'_>) -> Result<QualityCheck> {
    let Some(query) = check.query.as_ref().filter(|_| place.dialect == Dialect::Lake) else {
        return Ok(check.clone());
    };
    let context = flywheel_project::RenderContext {
        vars: &project.file.vars,
        incremental: false,
        this: String::new(),
        resolve_ref: &|name| project.ref_relation(name),
        resolve_source: &|source, table| Ok(project.source_relation(source, table)),
    };
    Ok(QualityCheck { query: Some(project.render_sql(query, &context)?), ..check.clone() })
}

/// What another table is called in SQL.
fn other_table(project: &Project, dialect: Dialect, to: &str) -> Result<String> {
    if dialect != Dialect::Lake {
        return Ok(dialect.table(to));
    }
    let bare = to.trim().trim_start_matches("{{").trim_end_matches("}}").trim();
    let relation = |reference: &flywheel_project::Reference| match reference {
        flywheel_project::Reference::Ref(name) => project.ref_relation(name),
        flywheel_project::Reference::Source(source, table) => {
            Ok(project.source_relation(source, table))
        }
    };
    let references = project.references(&format!("{{{{ {bare} }}}}"))?;
    match references.as_slice() {
        [one] => relation(one).map(|name| dialect.table(&name)),
        _ => Err(Error::invalid(format!("\"{to}\" is not one table"))
            .hint("Write ref('model') or source('raw', 'table').")),
    }
}

/// What a query was answered.
enum Asked {
    /// What was found of the check at this place.
    Alone(usize, Result<Found>),
    /// The figures of a scan that several checks share.
    Shared(Result<Vec<RecordBatch>>),
}

/// Finds the figures: those that can share a scan do, and each alone where that fails, so that a mistake
/// is put to the check that makes it.
async fn find(
    engine: &Engine,
    checks: &[QualityCheck],
    compiled: &[Result<Compiled>],
    now: Timestamp,
) -> Vec<Result<Found>> {
    let mut found: Vec<Result<Found>> =
        checks.iter().map(|_| Err(Error::internal("a figure was not looked for"))).collect();
    let mut scans: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut alone = Vec::new();
    for (at, one) in compiled.iter().enumerate() {
        match one {
            Ok(Compiled { figure: Figure::Rows(_) | Figure::Expression(_), from, .. }) => {
                scans.entry(from).or_default().push(at);
            }
            one => alone.push((at, one)),
        }
    }
    let figure = |at: &usize| compiled.get(*at).and_then(|one| Some(&one.as_ref().ok()?.figure));
    let mut together = Vec::new();
    for (from, places) in scans {
        let figures: Vec<&Figure> = places.iter().filter_map(figure).collect();
        together.push((from, places, figures));
    }
    let mut asked: Vec<BoxFuture<'_, Asked>> = Vec::new();
    for (at, one) in alone {
        asked.push(Box::pin(async move {
            let result = match one {
                Err(error) => Err(copy(error)),
                Ok(Compiled { figure: Figure::Pair(query), .. }) => pair(engine, query).await,
                Ok(Compiled { figure: Figure::Value(query), .. }) => value(engine, query).await,
                Ok(_) => Err(Error::internal("a figure was not looked for")),
            };
            Asked::Alone(at, result)
        }));
    }
    for (from, _, figures) in &together {
        let sql = scan(from, figures);
        asked.push(Box::pin(async move { Asked::Shared(engine.ask(&sql).await) }));
    }
    let mut answers = stream::iter(asked).buffered(engine.at_once());
    let mut shared = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Asked::Shared(answer) => shared.push(answer),
            Asked::Alone(at, result) => {
                if let Some(slot) = found.get_mut(at) {
                    *slot = result;
                }
            }
        }
    }
    drop(answers);
    for ((from, places, figures), shared) in together.into_iter().zip(shared) {
        for (place, (at, figure)) in places.iter().zip(&figures).enumerate() {
            // Whoever looks at a verdict wants the query of this figure alone.
            let alone = scan(from, &[figure]);
            let one = match &shared {
                Ok(batches) => taken(batches, place, figure, alone),
                Err(error) if places.len() == 1 => Err(copy(error)),
                Err(_) => match engine.ask(&alone).await {
                    Ok(batches) => taken(&batches, 0, figure, alone),
                    Err(error) => Err(error),
                },
            };
            if let Some(slot) = found.get_mut(*at) {
                *slot = one.and_then(|found| finished(found, checks.get(*at), now));
            }
        }
    }
    for (at, slot) in found.iter_mut().enumerate() {
        let percent = checks.get(at).is_some_and(|check| check.unit == Unit::Percent);
        if let (Ok(found), true) = (&mut *slot, percent)
            && let (Some(failing), Some(rows)) = (found.failing, found.rows)
        {
            // Of no rows none breaks a promise.
            found.value = Some(if rows == 0.0 { 0.0 } else { 100.0 * failing / rows });
        }
    }
    found
}

/// Errors are not to be cloned; a verdict needs its words only.
fn copy(error: &Error) -> Error {
    let copied = Error::new(error.kind(), error.message().to_owned());
    match error.hint_text() {
        Some(hint) => copied.hint(hint.to_owned()),
        None => copied,
    }
}

/// What a scan found of the figure at a place.
fn taken(batches: &[RecordBatch], place: usize, figure: &Figure, sql: String) -> Result<Found> {
    let rows = number(&cell(batches, 0)?)?;
    let counts = matches!(figure, Figure::Rows(_));
    let (value, moment) = match cell(batches, place + 1)? {
        Cell::None => (None, None),
        Cell::Moment(moment) => (None, Some(moment)),
        Cell::Text(text) => match moment_of(&text) {
            Some(moment) => (None, Some(moment)),
            None => {
                return Err(Error::invalid("the figure is a text, and neither number nor moment")
                    .hint("Check a column of numbers, or of moments for freshness."));
            }
        },
        Cell::Number(number) => (Some(number), None),
    };
    let value = moment.map(|moment| moment.micros() as f64).or(value);
    Ok(Found { value, rows, failing: value.filter(|_| counts), sql })
}

/// A moment as SQLite and others write it.
fn moment_of(text: &str) -> Option<Timestamp> {
    let text = text.trim_end_matches("+00").trim_end_matches(" UTC");
    Timestamp::parse(text).or_else(|_| Timestamp::parse(&text.replacen(' ', "T", 1))).ok()
}

/// Turns the newest moment into an age.
fn finished(found: Found, check: Option<&QualityCheck>, now: Timestamp) -> Result<Found> {
    if check.and_then(|check| check.metric) != Some(Metric::Freshness) {
        return Ok(found);
    }
    let Some(newest) = found.value else { return Ok(found) };
    // Numbers are seconds, milliseconds or anything else; what they mean cannot be told.
    if newest.abs() < FIRST_MICROS {
        return Err(Error::invalid("the column holds numbers, and freshness needs moments")
            .hint("Write a `query` that gives the age in seconds, with what the numbers mean."));
    }
    Ok(Found { value: Some((now.micros() as f64 - newest) / 1e6), ..found })
}

/// Moments after 1971 are above this in microseconds; numbers of seconds or milliseconds are below.
const FIRST_MICROS: f64 = 3.0e13;

async fn pair(engine: &Engine, sql: &str) -> Result<Found> {
    let batches = engine.ask(sql).await?;
    let failing = number(&cell(&batches, 0)?)?;
    let rows = number(&cell(&batches, 1)?)?;
    Ok(Found { value: failing, rows, failing, sql: sql.to_owned() })
}

async fn value(engine: &Engine, sql: &str) -> Result<Found> {
    let batches = engine.ask(sql).await?;
    let value = number(&cell(&batches, 0)?)?;
    Ok(Found { value, rows: None, failing: None, sql: sql.to_owned() })
}

fn number(cell: &Cell) -> Result<Option<f64>> {
    match cell {
        Cell::None => Ok(None),
        Cell::Number(number) => Ok(Some(*number)),
        Cell::Moment(_) => Err(Error::invalid("the figure is a moment and no number")
            .hint("Use the metric `freshness`, or compute an age in SQL.")),
        Cell::Text(_) => Err(Error::invalid("the figure is a text and no number")
            .hint("Let the query give a number or a boolean.")),
    }
}

/// Judges a figure by its rule and by its past.
fn verdict(
    result: &mut QualityResult,
    check: &QualityCheck,
    past: &[(Timestamp, f64)],
) -> Result<()> {
    let bad = match Project::severity_of(check) {
        Severity::Error => Verdict::Failed,
        Severity::Warn => Verdict::Warned,
    };
    let Some(value) = result.value else {
        result.verdict = bad;
        result.reason = Some("there is no figure: no row, or nothing but NULL".to_owned());
        return Ok(());
    };
    if !value.is_finite() {
        result.verdict = bad;
        result.value = None;
        result.reason = Some("the figure is infinite or no number".to_owned());
        return Ok(());
    }
    if let Some(rule) = Rule::of(check)?
        && !rule.holds(value)
    {
        result.verdict = bad;
        let unit = if check.unit == Unit::Percent { " %" } else { "" };
        result.reason = Some(format!("{value}{unit}, must be {rule}{unit}"));
    }
    let Some(watch) = &check.monitor else { return Ok(()) };
    let known = known(past, watch, result.at);
    result.history = i64::try_from(known.len()).ok();
    let usual = if watch.method == MonitorMethod::Seasonal { HISTORY.1 } else { HISTORY.0 };
    let need = watch.history.map_or(usual, |history| history as usize);
    let side = match watch.direction {
        Direction::Both => Side::Both,
        Direction::Up => Side::Up,
        Direction::Down => Side::Down,
    };
    let expected = match known.len() < need {
        true => Expected::TooLittle { have: known.len(), need },
        false => {
            let season = season(watch, result.at);
            monitor::expect(&known, season, watch.false_alarms.value(), side)?
        }
    };
    match expected {
        Expected::TooLittle { have, need } => {
            if result.verdict == Verdict::Passed {
                result.verdict = Verdict::Learning;
                result.reason =
                    Some(format!("not enough history: {have} of {need} earlier figures"));
            }
        }
        Expected::Between(interval) => {
            let finite = |end: f64| end.is_finite().then_some(end);
            (result.low, result.high) = (finite(interval.low), finite(interval.high));
            if !interval.contains(value) {
                result.verdict = bad;
                let why = format!(
                    "{value} is unusual: {} to {} was expected from {} earlier figures",
                    end(interval.low),
                    end(interval.high),
                    known.len()
                );
                result.reason = Some(match result.reason.take() {
                    Some(reason) => format!("{reason}; {why}"),
                    None => why,
                });
            }
        }
    }
    Ok(())
}

fn end(value: f64) -> String {
    if value.is_finite() { format!("{value:.2}") } else { "any".to_owned() }
}

fn season(watch: &Monitor, at: Timestamp) -> u8 {
    match watch.method {
        MonitorMethod::Robust => 0,
        MonitorMethod::Seasonal => u8::try_from(at.day().rem_euclid(7)).unwrap_or_default(),
    }
}

/// The earlier figures that count, newest last.
fn known(past: &[(Timestamp, f64)], watch: &Monitor, now: Timestamp) -> Vec<Past> {
    let mut figures: Vec<(Timestamp, f64)> = match watch.every {
        Every::Run => past.iter().copied().filter(|(at, _)| *at < now).collect(),
        Every::Day => {
            let days: BTreeMap<i64, (Timestamp, f64)> = past
                .iter()
                .filter(|(at, _)| at.day() < now.day())
                .map(|(at, value)| (at.day(), (*at, *value)))
                .collect();
            days.into_values().collect()
        }
    };
    let window = watch.window.map_or(WINDOW, |window| window as usize);
    let surplus = figures.len().saturating_sub(window);
    figures.drain(..surplus);
    figures.into_iter().map(|(at, value)| Past { value, season: season(watch, at) }).collect()
}

/// The earlier figures of every check that watches them, oldest first.
async fn earlier(
    workspace: &Workspace,
    quality: &Quality,
    names: &[String],
) -> Result<BTreeMap<String, Vec<(Timestamp, f64)>>> {
    let mut past: BTreeMap<String, Vec<(Timestamp, f64)>> = BTreeMap::new();
    let watched = quality.checks.iter().zip(names).filter(|(check, _)| check.monitor.is_some());
    let watched: Vec<String> = watched.map(|(_, name)| Dialect::Lake.literal(name)).collect();
    if watched.is_empty() {
        return Ok(past);
    }
    let since = workspace.now().micros().saturating_sub(HISTORY_DAYS_MAX * 86_400_000_000);
    let sql = format!(
        "SELECT \"check\", CAST(value AS double), CAST(arrow_cast(at, 'Timestamp(Microsecond, None)') AS bigint) AS t \
         FROM system.quality_results WHERE quality = {} AND \"check\" IN ({}) AND value IS NOT NULL \
         AND verdict <> 'broken' AND CAST(arrow_cast(at, 'Timestamp(Microsecond, None)') AS bigint) >= {since} \
         ORDER BY t, result_id",
        Dialect::Lake.literal(&quality.quality),
        watched.join(", ")
    );
    let batches = workspace.lake_session().await?.query(&sql).await?.collect().await?;
    for row in rows_of(&batches)? {
        let text = |at: usize| row.get(at).cloned().flatten();
        let (Some(check), Some(value), Some(at)) = (text(0), text(1), text(2)) else { continue };
        if let (Ok(value), Ok(at)) = (value.parse(), at.parse()) {
            past.entry(check).or_default().push((Timestamp::from_micros(at), value));
        }
    }
    Ok(past)
}

/// Columns that samples do not show: those that are named, and those a sync of the same table masks.
fn hidden(project: &Project, quality: &Quality) -> Vec<String> {
    let mut hidden = quality.hidden.clone();
    let Some(connection) = &quality.connection else { return hidden };
    for sync in project.syncs.values().filter(|sync| sync.connection == *connection) {
        for stream in &sync.streams {
            let same = ["table", "path", "sheet"].iter().any(|key| {
                stream.options.get(*key).is_some_and(|text| quality.stream.get(*key) == Some(text))
            });
            let masked = stream.columns.iter().filter(|column| same && column.mask.is_some());
            hidden.extend(masked.map(|column| column.source_name().to_owned()));
        }
    }
    hidden
}

/// Failing rows as JSON, hidden values left out.
fn sample(batches: &[RecordBatch], hidden: &[String]) -> Result<String> {
    let Some(first) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return Ok("[]".to_owned());
    };
    let schema = first.schema();
    let hides = |name: &str| hidden.iter().any(|hidden| hidden.eq_ignore_ascii_case(name));
    let object = |row: Vec<Option<String>>| {
        let cell = |(field, cell): (&arrow::datatypes::FieldRef, Option<String>)| {
            let value = match cell {
                _ if hides(field.name()) => Value::from(HIDDEN),
                None => Value::Null,
                Some(text) => text.chars().take(VALUE_CHARS_MAX).collect::<String>().into(),
            };
            (field.name().clone(), value)
        };
        Value::Object(schema.fields().iter().zip(row).map(cell).collect::<Map<_, _>>())
    };
    Ok(Value::Array(rows_of(batches)?.into_iter().map(object).collect()).to_string())
}
