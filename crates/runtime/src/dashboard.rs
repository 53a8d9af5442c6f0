//! What the tiles of a dashboard ask, narrowed by what a reader chose; and dashboards kept as files.
//!
//! ```text
//! question ─► answer ─┬─► the page
//!                     ├─► book: a workbook
//!                     └─► message ─► send: people whom a schedule sends it to
//! ```

mod answer;
mod book;
mod message;
mod names;
mod send;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chrono::{Datelike, Days, Months, NaiveDate};
use flywheel_base::{Error, ErrorKind, Result, Timestamp, calendar, digest};
use flywheel_project::Project;
use flywheel_project::dashboard;
use flywheel_project::metric::{End, MetricRef, Semantics, value_called};
use flywheel_project::resource::dashboard::{Comparison, Dashboard, Show, TIME_FILTER, Tile};
use flywheel_project::resource::semantic::{Grain, Label, MetricKind};
use flywheel_project::yaml::comments;
use flywheel_transform::{MetricQuery, compile_metrics};
use serde::Serialize;
use serde_json::Value as Json;

use crate::Workspace;
use crate::metrics::{self, Described};

pub use answer::{Answer, TILE_ROWS_MAX, answer};
pub use book::{Answered, book};
pub use names::Names;
pub(crate) use send::{Errand, SEND, is_unsure, send};

/// The folder of dashboards, below the project's.
const FOLDER: &str = "dashboards";
/// Bars, slices and lines that are shown unless the tile says otherwise.
const BARS: u64 = 10;
/// Lines of a split.
const LINES: u64 = 6;
/// Rows of a table unless the tile says otherwise.
const ROWS: u64 = 100;
/// Rows of anything: periods times lines, the rest of a pie, values to choose from.
const ROWS_MAX: u64 = 10_000;
/// Values of a dimension to choose from.
const VALUES_MAX: u64 = 200;
/// Values that may be chosen of one dimension.
const CHOSEN_MAX: usize = 200;

/// What a reader chose.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The first day that counts; that of the dashboard if absent.
    pub from: Option<String>,
    /// The first day that no longer counts; tomorrow if absent.
    pub to: Option<String>,
    /// Whether all time counts.
    pub whole: bool,
    /// What figures are compared with; what the dashboard says if absent.
    pub compare: Option<Comparison>,
    /// The values that count, by dimension; all if none.
    pub only: BTreeMap<String, Vec<Json>>,
    /// The time zone whose day it is; that of the dashboard's figures if absent.
    pub zone: Option<String>,
}

/// The moment up to which a dashboard shows figures, as those read it to whom its days belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The day that it is.
    pub day: NaiveDate,
    /// The moment: in UTC, or on the clocks of a zone with the difference to it.
    pub shown: String,
    /// The same for the name of a file, to the second.
    pub stamp: String,
}

impl AsOf {
    /// A moment on the clocks that a reader chose, else on those by which the metrics of the dashboard count days: of the
    /// first time of a tile's metrics that has a `timezone`; UTC without any.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an unknown time zone, which a checked project rules out.
    pub fn new(
        project: &Project,
        board: &Dashboard,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<Self> {
        const STAMP: &str = "%Y-%m-%dT%H%M%S";
        let utc = now.datetime();
        let Some(name) = asked.zone.clone().or_else(|| zone(project, board)) else {
            let (day, stamp) = (utc.date_naive(), utc.format(STAMP).to_string());
            return Ok(Self { day, shown: now.to_string(), stamp });
        };
        let zone = calendar::time_zone(&name)?;
        Ok(Self {
            day: calendar::wall_date(now, zone),
            shown: calendar::on_the_wall(now, zone),
            stamp: utc.with_timezone(&zone).format(STAMP).to_string(),
        })
    }
}

/// The time zone by which the metrics of a dashboard count days, if one of them says any.
fn zone(project: &Project, board: &Dashboard) -> Option<String> {
    let semantics = project.semantics();
    let words = board.tiles.iter().flat_map(|tile| &tile.metrics);
    words.filter_map(|word| semantics.metric(word).ok()).find_map(|metric| {
        let measured = semantics.measured(metric).ok()?;
        measured.iter().find_map(|one| {
            let measure = one.metric.measure.as_ref().and_then(|name| one.view.measures.get(name));
            let time = measure.and_then(|measure| measure.time.as_ref());
            let time = time.or(one.view.time.as_ref())?;
            one.view.dimensions.get(time)?.timezone.clone()
        })
    })
}

/// The time that is shown: days, the last not counted any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first day.
    pub from: NaiveDate,
    /// The day after the last.
    pub to: NaiveDate,
}

impl Span {
    /// Its first and its last day.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} – {}", self.from, self.to.pred_opt().unwrap_or(self.to))
    }
}

/// What a tile asks.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    /// One statement that answers it.
    pub sql: String,
    /// How the answer is shown.
    pub show: Show,
    /// What should be known about the answer.
    pub notes: Vec<String>,
    /// What was chosen and does not narrow this tile: `time`, or dimensions.
    pub unfiltered: Vec<String>,
    /// The time that is shown; none for all of it.
    pub span: Option<Span>,
    /// How finely time is divided, for lines.
    pub grain: Option<&'static str>,
    /// What figures are compared with, as the statement has it.
    pub compare: Option<String>,
    /// What people call values of the answer, by column and by the value that the rows hold.
    pub labels: BTreeMap<String, BTreeMap<String, Label>>,
    /// Whether the rows only say which lines there are: ask again with their first column as the values of
    /// `split`.
    #[serde(skip)]
    pub ranks: bool,
}

/// The values that the lines of a tile stand for, once they are known.
pub type Lines<'a> = Option<&'a [Json]>;

/// The moment up to which dashboards show figures. In a simulated project days go by with the turns, so it is that of
/// the last turn.
///
/// # Errors
/// Those of the metadata.
pub fn as_of(workspace: &Workspace) -> Result<Timestamp> {
    let turn = match workspace.project.file.simulated {
        true => workspace.store.last_turn()?,
        false => None,
    };
    Ok(turn.map_or_else(|| workspace.now(), |turn| turn.logical_at))
}

/// The time that a dashboard shows: days up to `today`, as far as its rows have come.
///
/// # Errors
/// [`ErrorKind::Invalid`] if a day is none, or the time ends before it begins.
pub fn span(board: &Dashboard, asked: &Asked, today: NaiveDate) -> Result<Option<Span>> {
    let Some(filter) = &board.filters.time else { return Ok(None) };
    if asked.whole {
        return Ok(None);
    }
    let to = match &asked.to {
        Some(text) => day(text)?,
        None => today.checked_add_days(Days::new(1)).unwrap_or_default(),
    };
    let from = match &asked.from {
        Some(text) => day(text)?,
        None => to.checked_sub_days(Days::new(filter.days.into())).unwrap_or_default(),
    };
    if from >= to {
        return Err(Error::invalid(format!("the time ends on {to}, before it begins on {from}"))
            .hint("Let from be a day before to."));
    }
    Ok(Some(Span { from, to }))
}

fn day(text: &str) -> Result<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| {
        Error::invalid(format!("\"{text}\" is no day")).hint("Write it as 2025-03-31.")
    })
}

/// What a tile asks; nothing for a text.
///
/// # Errors
/// [`ErrorKind::Invalid`] if the tile or what was chosen makes no sense, [`ErrorKind::NotFound`] if a name is unknown.
pub fn question(
    project: &Project,
    board: &Dashboard,
    tile: &Tile,
    asked: &Asked,
    now: Timestamp,
    lines: Lines<'_>,
) -> Result<Option<Question>> {
    let Some(show) = tile.shown() else { return Ok(None) };
    known(board, asked)?;
    let span = span(board, asked, AsOf::new(project, board, asked, now)?.day)?;
    match &tile.sql {
        Some(sql) => of_sql(project, (board, tile), sql, show, asked, span).map(Some),
        None => of_metrics(project, board, tile, show, asked, span, lines).map(Some),
    }
}

/// The statement that lists the values of a dimension of the filters, those with the largest figures first.
///
/// # Errors
/// [`ErrorKind::NotFound`] if the dashboard has no such filter or no metric that knows it.
pub fn values(project: &Project, board: &Dashboard, dimension: &str) -> Result<String> {
    if !board.filters.dimensions.iter().any(|known| known == dimension) {
        return Err(no_filter(board, dimension));
    }
    let semantics = project.semantics();
    let mut metrics = board.tiles.iter().flat_map(|tile| &tile.metrics);
    let metric = metrics.find_map(|word| {
        let metric = semantics.metric(word).ok()?;
        reached(&semantics, metric, dimension).then_some(metric)
    });
    let metric = metric.or_else(|| {
        // Only a query is narrowed by it: any metric that has it knows its values.
        semantics.metrics().find(|metric| reached(&semantics, *metric, dimension))
    });
    let Some(metric) = metric else {
        return Err(Error::not_found(format!("no metric knows the values of \"{dimension}\""))
            .hint("Declare it as a dimension of a semantic view in metrics/."));
    };
    let query = MetricQuery {
        metrics: vec![metric.name.to_owned()],
        by: vec![dimension.to_owned()],
        order: vec![format!("-{}", metric.name)],
        limit: Some(VALUES_MAX),
        ..MetricQuery::default()
    };
    Ok(compile_metrics(project, &query)?.sql)
}

/// What is said about the metrics of a dashboard, each once.
///
/// # Errors
/// [`ErrorKind::NotFound`] if one is unknown.
pub fn described<'a>(project: &'a Project, board: &Dashboard) -> Result<Vec<Described<'a>>> {
    let semantics = project.semantics();
    let mut found: Vec<Described<'a>> = Vec::new();
    for word in board.tiles.iter().flat_map(|tile| &tile.metrics) {
        let metric = semantics.metric(word)?;
        if found.iter().all(|one| one.metric != metric.name) {
            found.push(metrics::described(project, &semantics, metric)?);
        }
    }
    Ok(found)
}

/// Refuses filters that the dashboard does not have: what looks narrowed has to be.
fn known(board: &Dashboard, asked: &Asked) -> Result<()> {
    for (dimension, values) in &asked.only {
        if !board.filters.dimensions.contains(dimension) {
            return Err(no_filter(board, dimension));
        }
        if values.len() > CHOSEN_MAX {
            return Err(Error::invalid(format!(
                "{} values of \"{dimension}\" are chosen; {CHOSEN_MAX} can be",
                values.len()
            ))
            .hint("Choose fewer."));
        }
    }
    Ok(())
}

fn no_filter(board: &Dashboard, dimension: &str) -> Error {
    let known = board.filters.dimensions.iter().map(String::as_str);
    Error::not_found(format!("dashboard \"{}\" has no filter \"{dimension}\"", board.dashboard))
        .hint(flywheel_base::suggest::hint(dimension, known))
}

fn reached(semantics: &Semantics<'_>, metric: MetricRef<'_>, dimension: &str) -> bool {
    let parts: Vec<String> = dimension.split('.').map(str::to_owned).collect();
    semantics
        .measured(metric)
        .is_ok_and(|measured| measured.iter().all(|one| semantics.path(one.view, &parts).is_ok()))
}

/// Whether every row that a metric counts has a time.
fn timed(semantics: &Semantics<'_>, metric: MetricRef<'_>) -> bool {
    semantics.measured(metric).is_ok_and(|measured| {
        measured.iter().all(|one| {
            let measure = one.metric.measure.as_ref().and_then(|name| one.view.measures.get(name));
            one.view.time.is_some() || measure.is_some_and(|measure| measure.time.is_some())
        })
    })
}

/// Whether a figure of the metric belongs to one period.
fn windowed(metric: MetricRef<'_>) -> bool {
    metric
        .metric
        .kind()
        .is_ok_and(|kind| matches!(kind.name(), "rolling" | "to_date" | "compare" | "cumulative"))
}

/// What is meant by values that were chosen of a dimension by what people call them, as a condition on a metric knows it.
fn meant(project: &Project, board: &Dashboard, dimension: &str, values: &[Json]) -> Vec<Json> {
    let semantics = project.semantics();
    let parts: Vec<String> = dimension.split('.').map(str::to_owned).collect();
    let own = board.tiles.iter().flat_map(|tile| &tile.metrics);
    let own = own.filter_map(|word| semantics.metric(word).ok()).map(|metric| metric.view);
    let declared = own.chain(semantics.views()).find_map(|view| {
        match semantics.path(view, &parts).ok()?.end {
            End::Dimension(_, dimension) => Some(dimension),
            End::Entity(..) => None,
        }
    });
    let Some(declared) = declared else { return values.to_vec() };
    let meant = values.iter().map(|value| {
        let found = value.as_str().and_then(|text| value_called(declared, text));
        found.map_or_else(|| value.clone(), |text| Json::String(text.to_owned()))
    });
    meant.collect()
}

fn of_sql(
    project: &Project,
    (board, tile): (&Dashboard, &Tile),
    sql: &str,
    show: Show,
    asked: &Asked,
    span: Option<Span>,
) -> Result<Question> {
    let mut conditions = Vec::new();
    let mut unfiltered = Vec::new();
    match (&span, tile.filters.get(TIME_FILTER)) {
        (Some(span), Some(expression)) => conditions.push(format!(
            "({expression}) >= cast('{}' as timestamp) and ({expression}) < cast('{}' as timestamp)",
            span.from, span.to
        )),
        (Some(_), None) => unfiltered.push(TIME_FILTER.to_owned()),
        _ => {}
    }
    for (dimension, values) in asked.only.iter().filter(|(_, values)| !values.is_empty()) {
        match tile.filters.get(dimension) {
            Some(expression) => {
                let meant = meant(project, board, dimension, values);
                let truth = |value: &Json| matches!(value.as_str(), Some("true" | "false"));
                conditions.push(match meant != *values && meant.iter().any(truth) {
                    // Whether a query has texts or truth values is not known here: as texts they are alike.
                    true => {
                        let texts = meant.iter().map(|value| match value {
                            Json::Bool(value) => Json::String(value.to_string()),
                            value => value.clone(),
                        });
                        let texts: Vec<Json> = texts.collect();
                        condition(&format!("cast({expression} as varchar)"), &texts)?
                    }
                    false => condition(&format!("({expression})"), &meant)?,
                });
            }
            None => unfiltered.push(dimension.clone()),
        }
    }
    let condition = match conditions.is_empty() {
        true => "true".to_owned(),
        false => format!("({})", conditions.join(" and ")),
    };
    let sql = project.tile_sql(sql, &condition)?;
    if flywheel_warehouse::is_edit(&sql) {
        return Err(Error::invalid(format!(
            "the statement of tile \"{}\" changes rows, and tiles only read",
            tile.tile
        ))
        .hint("Write a SELECT."));
    }
    let sql = flywheel_transform::expand_metrics(project, &sql)?.unwrap_or(sql);
    let span = span.filter(|_| tile.filters.contains_key(TIME_FILTER));
    Ok(Question {
        sql,
        show,
        notes: Vec::new(),
        unfiltered,
        span,
        grain: None,
        compare: None,
        labels: BTreeMap::new(),
        ranks: false,
    })
}

fn of_metrics(
    project: &Project,
    board: &Dashboard,
    tile: &Tile,
    show: Show,
    asked: &Asked,
    span: Option<Span>,
    lines: Lines<'_>,
) -> Result<Question> {
    let semantics = project.semantics();
    let found = tile.metrics.iter().map(|word| semantics.metric(word));
    let found = found.collect::<Result<Vec<MetricRef<'_>>>>()?;
    let names: Vec<String> = found.iter().map(|metric| metric.name.to_owned()).collect();
    let first = names.first().cloned().unwrap_or_default();
    let has_time = found.iter().all(|metric| timed(&semantics, *metric));
    let mut unfiltered = Vec::new();
    if span.is_some() && !has_time {
        unfiltered.push(TIME_FILTER.to_owned());
    }
    let mut filter: Vec<String> =
        tile.conditions.iter().map(|condition| format!("({condition})")).collect();
    for (dimension, values) in asked.only.iter().filter(|(_, values)| !values.is_empty()) {
        match found.iter().all(|metric| reached(&semantics, *metric, dimension)) {
            true => filter.push(condition(dimension, values)?),
            false => unfiltered.push(dimension.clone()),
        }
    }
    let mut span = span.filter(|_| has_time);
    // A figure over a window belongs to a period, so it is shown over time.
    let course =
        show == Show::Line || (show == Show::Number && found.iter().copied().any(windowed));
    if course && !has_time {
        return Err(Error::invalid(format!(
            "tile \"{}\" shows time, and its metric has none of its own",
            tile.tile
        ))
        .hint("Declare `time:` in the semantic view, or choose `show: number`."));
    }
    let grain =
        course.then(|| tile.grain.unwrap_or_else(|| span.as_ref().map_or(Grain::Month, fitting)));
    if let (Some(grain), Some(span)) = (grain, &mut span) {
        *span = whole_periods(span, grain);
    }
    let wanted = tile
        .compare
        .or(asked.compare)
        .or_else(|| board.filters.time.as_ref().map(|time| time.compare));
    let by_time = tile.by.iter().any(|word| is_time(&semantics, &found, word));
    let compare = span.as_ref().filter(|_| !by_time && tile.by.len() <= 1 && show != Show::Pie);
    let compare = compare.filter(|_| !(course && (!tile.by.is_empty() || found.len() > 1)));
    let compare = compare.and_then(|span| against(wanted.unwrap_or(Comparison::None), span, grain));
    let mut query = MetricQuery {
        metrics: names,
        from: span.as_ref().map(|span| span.from.to_string()),
        to: span.as_ref().map(|span| span.to.to_string()),
        compare: compare.clone(),
        ..MetricQuery::default()
    };
    let mut ranks = false;
    match (show, tile.by.first()) {
        (Show::Line, Some(split)) => match lines {
            None => {
                ranks = true;
                query.metrics = vec![first.clone()];
                query.by = vec![split.clone()];
                query.order = vec![format!("-{first}")];
                query.limit = Some(tile.limit.map_or(LINES, u64::from).min(LINES * 2));
            }
            Some(values) => {
                filter.push(condition(split, values)?);
                query.by = vec![over(grain), split.clone()];
                query.limit = Some(ROWS_MAX);
            }
        },
        _ if course => {
            query.by = vec![over(grain)];
            query.order = vec!["time".to_owned()];
            query.fill = span.is_some() && found.iter().all(is_measure);
            query.limit = Some(ROWS_MAX);
        }
        (Show::Number, _) => query.limit = Some(1),
        (_, None) => query.limit = Some(tile.limit.map_or(ROWS, u64::from)),
        (_, Some(_)) => {
            query.by.clone_from(&tile.by);
            if !by_time {
                query.order = vec![format!("-{first}")];
            }
            query.limit = Some(match (show, tile.limit) {
                // The rest of a pie is a slice of its own.
                (Show::Pie, _) => ROWS_MAX,
                (_, Some(limit)) => limit.into(),
                (Show::Bar, None) => BARS,
                _ => ROWS,
            });
        }
    }
    query.filter = (!filter.is_empty()).then(|| filter.join(" and "));
    let compiled = compile_metrics(project, &query)?;
    let labels = compiled.labels();
    Ok(Question {
        sql: compiled.sql,
        show,
        notes: compiled.notes,
        unfiltered,
        span,
        grain: grain.map(Grain::word),
        compare,
        labels,
        ranks,
    })
}

/// The course of a number over the time that is shown, for the small line below it; none where there is none.
///
/// # Errors
/// As [`question`].
pub fn course(
    project: &Project,
    board: &Dashboard,
    tile: &Tile,
    asked: &Asked,
    now: Timestamp,
) -> Result<Option<String>> {
    let semantics = project.semantics();
    let metrics = tile.metrics.iter().map(|word| semantics.metric(word));
    let metrics = metrics.collect::<Result<Vec<_>>>()?;
    let plain = tile.shown() == Some(Show::Number) && !metrics.is_empty();
    let timed = metrics.iter().all(|metric| timed(&semantics, *metric) && !windowed(*metric));
    if !plain || !timed || board.filters.time.is_none() {
        return Ok(None);
    }
    let line = Tile { show: Some(Show::Line), compare: Some(Comparison::None), ..tile.clone() };
    let asked = question(project, board, &line, asked, now, None)?;
    Ok(asked.map(|question| question.sql))
}

fn over(grain: Option<Grain>) -> String {
    format!("time:{}", grain.unwrap_or(Grain::Day).word())
}

fn is_measure(metric: &MetricRef<'_>) -> bool {
    matches!(metric.metric.kind(), Ok(MetricKind::Measure(_)))
}

fn is_time(semantics: &Semantics<'_>, metrics: &[MetricRef<'_>], word: &str) -> bool {
    if word.contains(':')
        || flywheel_project::metric::TIME_WORDS.contains(&word)
        || Grain::parse(word).is_some()
    {
        return true;
    }
    let parts: Vec<String> = word.split('.').map(str::to_owned).collect();
    metrics
        .iter()
        .any(|metric| semantics.path(metric.view, &parts).is_ok_and(|path| path.is_time()))
}

/// A grain that draws a time in some dozens of points.
fn fitting(span: &Span) -> Grain {
    match (span.to - span.from).num_days() {
        ..=120 => Grain::Day,
        121..=800 => Grain::Week,
        801..=2_928 => Grain::Month,
        2_929..=9_150 => Grain::Quarter,
        _ => Grain::Year,
    }
}

/// The span widened to whole periods, so that the first and last are not cut.
fn whole_periods(span: &Span, grain: Grain) -> Span {
    let last = span.to.pred_opt().unwrap_or(span.to);
    Span { from: floor(span.from, grain), to: after(floor(last, grain), grain) }
}

/// The first day of the period of a day.
fn floor(day: NaiveDate, grain: Grain) -> NaiveDate {
    let month = |month: u32| NaiveDate::from_ymd_opt(day.year(), month, 1).unwrap_or(day);
    match grain {
        Grain::Week => {
            let back = u64::from(day.weekday().num_days_from_monday());
            day.checked_sub_days(Days::new(back)).unwrap_or(day)
        }
        Grain::Month => month(day.month()),
        Grain::Quarter => month((day.month() - 1) / 3 * 3 + 1),
        Grain::Year => month(1),
        // Periods of a fiscal year are the project's; they are not widened.
        _ => day,
    }
}

/// The day after the period that begins on `day`.
fn after(day: NaiveDate, grain: Grain) -> NaiveDate {
    let months = |count| day.checked_add_months(Months::new(count));
    let next = match grain {
        Grain::Week => day.checked_add_days(Days::new(7)),
        Grain::Month => months(1),
        Grain::Quarter => months(3),
        Grain::Year => months(12),
        _ => day.succ_opt(),
    };
    next.unwrap_or(day)
}

/// With what a span is compared, in the words of a question: as long before, in whole periods, or a year.
fn against(compare: Comparison, span: &Span, grain: Option<Grain>) -> Option<String> {
    let days = (span.to - span.from).num_days();
    let months = || {
        i64::from(span.to.year() - span.from.year()) * 12 + i64::from(span.to.month())
            - i64::from(span.from.month())
    };
    match (compare, grain) {
        (Comparison::None, _) => None,
        (Comparison::Year, _) => Some("year".to_owned()),
        (Comparison::Previous, Some(Grain::Week)) => Some(format!("{} weeks", days / 7)),
        (Comparison::Previous, Some(Grain::Month | Grain::Quarter)) => {
            Some(format!("{} months", months()))
        }
        (Comparison::Previous, Some(Grain::Year)) => Some(format!("{} years", months() / 12)),
        (Comparison::Previous, Some(Grain::FiscalQuarter | Grain::FiscalYear)) => {
            Some("previous".to_owned())
        }
        (Comparison::Previous, _) => Some(format!("{days} days")),
    }
}

/// Values of a column or dimension as a condition that nothing can break out of.
fn condition(of: &str, values: &[Json]) -> Result<String> {
    let mut some = Vec::new();
    for value in values.iter().filter(|value| !value.is_null()) {
        some.push(match value {
            Json::String(text) => format!("'{}'", text.replace('\'', "''")),
            Json::Number(_) | Json::Bool(_) => value.to_string(),
            _ => {
                return Err(Error::invalid(format!("a value of {of} is a list or an object"))
                    .hint("Values are texts, numbers, true, false and null."));
            }
        });
    }
    let null = some.len() < values.len();
    let listed = format!("{of} in ({})", some.join(", "));
    Ok(match (some.is_empty(), null) {
        (true, true) => format!("{of} is null"),
        (true, false) => "true".to_owned(),
        (false, true) => format!("({listed} or {of} is null)"),
        (false, false) => listed,
    })
}

/// A dashboard's file as it is now.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its path below the project's folder.
    pub file: String,
    /// Which text it is.
    pub version: String,
    /// How many lines of it have a comment that a page which writes the file does not keep.
    pub comments: usize,
}

/// The file of the dashboard `name`.
///
/// # Errors
/// Those of the file system; [`ErrorKind::NotFound`] if there is no such dashboard.
pub fn kept(workspace: &Workspace, name: &str) -> Result<Kept> {
    let board = workspace.project.dashboards.get(name).ok_or_else(|| unknown(workspace, name))?;
    let path = workspace.dir().join(&board.file);
    let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
    let written = comments::carried(&text, &dashboard::write(&board.value));
    let lost = comments::count(&text).saturating_sub(comments::count(&written));
    Ok(Kept { file: board.file.clone(), version: version(&text), comments: lost })
}

/// The error of a dashboard that is not there.
#[must_use]
pub fn unknown(workspace: &Workspace, name: &str) -> Error {
    let known = workspace.project.dashboards.keys().map(String::as_str);
    Error::not_found(format!("no dashboard \"{name}\""))
        .hint(flywheel_base::suggest::hint(name, known))
}

fn version(text: &str) -> String {
    digest::short(&[text.as_bytes()])
}

/// A dashboard that was written, and what was there before, so that it can be put back.
#[derive(Debug)]
pub struct Saved {
    /// Its path below the project's folder.
    pub file: String,
    path: std::path::PathBuf,
    before: Option<String>,
}

impl Saved {
    /// Puts back what was there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn undo(&self) -> Result<()> {
        match &self.before {
            Some(text) => flywheel_connect::replace_file(&self.path, text.as_bytes()),
            None => fs::remove_file(&self.path).map_err(|e| Error::io("remove", &self.path, e)),
        }
    }
}

/// Checks a dashboard and every question of its tiles against `seen`, the project as whoever saves it sees it, and writes its
/// file: a new one without `version`, else the one that had this version when it was read.
///
/// # Errors
/// [`ErrorKind::Invalid`] with every mistake; [`ErrorKind::Conflict`] if a new name is taken or the file is another one by
/// now; those of the file system.
pub fn save(
    workspace: &Workspace,
    seen: &Project,
    board: &Dashboard,
    read: Option<&str>,
) -> Result<Saved> {
    let project = &workspace.project;
    let name = &board.dashboard;
    let (file, before) = match (project.dashboards.get(name), read) {
        (Some(located), Some(read)) => {
            let path = workspace.dir().join(&located.file);
            let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
            if version(&text) != read {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{} was changed since it was read", located.file),
                )
                .hint("Load the page anew and make the change again; nothing was written."));
            }
            (located.file.clone(), Some(text))
        }
        (None, Some(_)) => return Err(unknown(workspace, name)),
        (Some(located), None) => {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("there is a dashboard \"{name}\" already, in {}", located.file),
            )
            .hint("Choose another name; nothing was written."));
        }
        (None, None) => (format!("{FOLDER}/{name}.yaml"), None),
    };
    let text = comments::carried(before.as_deref().unwrap_or_default(), &dashboard::write(board));
    let checked = seen.dashboard_of(&file, &text).map_err(|mistakes| {
        Error::invalid(format!("the dashboard has {}\n\n{mistakes}\n", mistakes.summary()))
            .hint("Nothing was written.")
    })?;
    ask_all(seen, &checked, workspace.now())?;
    let path = workspace.dir().join(&file);
    write(&path, &text, before.is_none())?;
    Ok(Saved { file, path, before })
}

/// Asks what every tile asks, without an answer: the texts of conditions are only understood when they are asked.
pub(crate) fn ask_all(project: &Project, board: &Dashboard, now: Timestamp) -> Result<()> {
    for tile in &board.tiles {
        question(project, board, tile, &Asked::default(), now, Some(&[]))
            .map_err(|error| error.context(format!("tile \"{}\"", tile.tile)))?;
    }
    Ok(())
}

/// Writes a file of the project whole or not at all; a `fresh` one is not written over another.
pub(crate) fn write(path: &Path, text: &str, fresh: bool) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::io("make the folder", folder, e))?;
    }
    if fresh && path.exists() {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("{} is there already", path.display()),
        )
        .hint("It declares something else. Choose another name; nothing was written."));
    }
    flywheel_connect::replace_file(path, text.as_bytes())
}

/// Removes the file of a dashboard that has this version.
///
/// # Errors
/// As [`save`].
pub fn remove(workspace: &Workspace, name: &str, read: &str) -> Result<Saved> {
    let kept = kept(workspace, name)?;
    if kept.version != read {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("{} was changed since it was read", kept.file),
        )
        .hint("Load the page anew; nothing was removed."));
    }
    let path = workspace.dir().join(&kept.file);
    let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
    fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
    Ok(Saved { file: kept.file, path, before: Some(text) })
}

#[cfg(test)]
mod tests;
