//! From words to metrics, dimensions, periods and conditions.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, ErrorKind, Result, suggest};
use flywheel_project::Project;
use flywheel_project::metric::{
    DayAttribute, End, Expression, MetricRef, Path, Semantics, TIME, TIME_WORDS, dimension_called,
};
use flywheel_project::resource::semantic::{
    Certification, Dimension, Grain, Label, Measure, Offset, QuantileMethod, Semantic,
};

use super::query::MetricQuery;
use super::time::{Calendar, Range};

/// How many metrics one question may ask for.
const METRICS_MAX: usize = 100;

/// By how many dimensions one question may group.
const BY_MAX: usize = 30;

/// A question whose names are known.
pub(super) struct Question<'a> {
    pub(super) metrics: Vec<MetricRef<'a>>,
    /// What is grouped by, in the order of the question.
    pub(super) by: Vec<By>,
    /// The grain of the measures' own time.
    pub(super) grain: Option<Grain>,
    pub(super) filter: Option<Expression>,
    pub(super) having: Option<Expression>,
    pub(super) range: Range,
    pub(super) compare: Option<Offset>,
    pub(super) fill: bool,
    pub(super) order: Vec<String>,
    pub(super) limit: Option<u64>,
    pub(super) calendar: Calendar,
    pub(super) notes: Vec<String>,
}

/// Something that is grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The time that each measure is counted by.
    Time,
    /// A dimension or entity.
    Dimension(Group),
}

/// A dimension that is grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its name as it is written, in parts.
    pub(super) parts: Vec<String>,
    /// The grain of a time.
    pub(super) grain: Option<Grain>,
    /// The column of the answer.
    pub(super) column: String,
    /// What people call its values.
    pub(super) labels: BTreeMap<String, Label>,
}

/// Looks every word of a question up.
pub(super) fn resolve<'a>(
    project: &Project,
    semantics: &Semantics<'a>,
    query: &MetricQuery,
) -> Result<Question<'a>> {
    if query.metrics.is_empty() {
        let known: Vec<&str> = semantics.metrics().map(|metric| metric.name).collect();
        return Err(Error::invalid("no metric is asked for").hint(suggest::hint("", known)));
    }
    if query.metrics.len() > METRICS_MAX || query.by.len() > BY_MAX {
        return Err(Error::invalid(format!(
            "a question may ask for {METRICS_MAX} metrics by {BY_MAX} dimensions"
        ))
        .hint("Divide it into several questions."));
    }
    let mut notes = Vec::new();
    let mut metrics: Vec<MetricRef<'a>> = Vec::new();
    let mut views: Vec<(MetricRef<'a>, &'a Semantic)> = Vec::new();
    for word in &query.metrics {
        let metric = semantics.metric(word.trim())?;
        if metrics.iter().any(|known| known.name == metric.name) {
            continue;
        }
        if metric.metric.certification == Certification::Deprecated {
            notes.push(format!("metric \"{}\" is deprecated", metric.name));
        }
        let mut approximate = false;
        for measured in semantics.measured(metric)? {
            views.push((metric, measured.view));
            approximate |= measure_of(measured)
                .is_ok_and(|(_, one)| one.method == Some(QuantileMethod::Approximate));
        }
        if approximate {
            notes.push(format!("metric \"{}\" is approximate, by a t-digest", metric.name));
        }
        metrics.push(metric);
    }
    let (mut by, mut grain) = (Vec::new(), None);
    for word in &query.by {
        let (name, asked) = split_grain(word)?;
        match own_time(semantics, &views, name, asked)? {
            Some(asked) => {
                if grain.replace(asked).is_some() {
                    return Err(
                        Error::invalid("time is grouped by twice").hint("Choose one grain.")
                    );
                }
                by.push(By::Time);
            }
            None => by.push(By::Dimension(group(semantics, &views, name, asked)?)),
        }
    }
    let columns: Vec<&str> = by.iter().map(By::column).collect();
    let distinct: BTreeSet<&str> = columns.iter().copied().collect();
    if distinct.len() < columns.len() {
        return Err(Error::invalid("a dimension is grouped by twice").hint("Remove one of them."));
    }
    let filter = query.filter.as_deref().map(parse).transpose()?;
    for name in filter.iter().flat_map(Expression::names) {
        if TIME_WORDS.contains(&name.text().as_str()) {
            return Err(Error::invalid(
                "a filter cannot look at the time that measures are counted by",
            )
            .hint("Use --from and --to, or --during."));
        }
        conformed(semantics, &views, &name.parts).map_err(|error| {
            match error.kind() == ErrorKind::NotFound && semantics.metric(&name.text()).is_ok() {
                true => Error::invalid(format!(
                    "\"{}\" is a metric, and a condition on rows looks at dimensions",
                    name.text()
                ))
                .hint("Write --having, which looks at the columns of the answer."),
                false => error,
            }
        })?;
    }
    let range = match (&query.during, &query.from, &query.to) {
        (Some(period), None, None) => Range::during(period)?,
        (Some(_), _, _) => {
            return Err(Error::invalid("a period and its ends are given")
                .hint("Use --during, or --from and --to."));
        }
        (None, from, to) => Range::between(from.as_deref(), to.as_deref())?,
    };
    if range.from.is_some() || range.to.is_some() || grain.is_some() {
        for (metric, _) in &views {
            for measured in semantics.measured(*metric)? {
                time_of(measured)?;
            }
        }
    }
    let compare = match &query.compare {
        None => None,
        Some(text) => Some(Offset::parse(text).ok_or_else(|| {
            Error::invalid(format!("\"{text}\" is nothing to compare with"))
                .hint("Write previous, year, or a span such as 4 weeks.")
        })?),
    };
    if query.fill && grain.is_none() {
        return Err(Error::invalid("periods are filled, but nothing is grouped by time")
            .hint("Group by time, as in --by time:month, or leave --fill out."));
    }
    let fiscal_months = i64::from(project.file.calendar.fiscal_year_starts) - 1;
    Ok(Question {
        metrics,
        by,
        grain,
        filter,
        having: query.having.as_deref().map(parse).transpose()?,
        range,
        compare,
        fill: query.fill,
        order: query.order.clone(),
        limit: query.limit,
        calendar: Calendar { fiscal_months },
        notes,
    })
}

impl By {
    /// The column of the answer.
    pub(super) fn column(&self) -> &str {
        match self {
            Self::Time => TIME,
            Self::Dimension(group) => &group.column,
        }
    }
}

/// The measure that a metric is made of.
pub(super) fn measure_of<'a>(metric: MetricRef<'a>) -> Result<(&'a str, &'a Measure)> {
    let name = metric.metric.measure.as_deref();
    name.and_then(|name| metric.view.measures.get_key_value(name))
        .map(|(name, measure)| (name.as_str(), measure))
        .ok_or_else(|| Error::internal(format!("metric \"{}\" is made of no measure", metric.name)))
}

/// The time dimension a metric of one measure is counted by.
pub(super) fn time_of(metric: MetricRef<'_>) -> Result<(&str, &Dimension)> {
    let (_, measure) = measure_of(metric)?;
    let name = measure.time.as_ref().or(metric.view.time.as_ref()).ok_or_else(|| {
        Error::invalid(format!("metric \"{}\" is counted by no time", metric.name)).hint(format!(
            "Declare `time: <dimension>` in semantic \"{}\", or ask without a period.",
            metric.view.semantic
        ))
    })?;
    metric
        .view
        .dimensions
        .get_key_value(name)
        .map(|(name, found)| (name.as_str(), found))
        .ok_or_else(|| {
            Error::internal(format!(
                "semantic \"{}\" has no dimension \"{name}\"",
                metric.view.semantic
            ))
        })
}

fn parse(text: &str) -> Result<Expression> {
    Expression::parse(text).map_err(|mistake| mistake.into_error(text))
}

/// What dbt calls the time that measures are counted by.
const METRIC_TIME: &str = "metric_time";

/// `time:month` in two; dbt writes it `metric_time__month`.
fn split_grain(word: &str) -> Result<(&str, Option<Grain>)> {
    let Some((name, grain)) = word.rsplit_once([':', '：']) else {
        let word = word.trim();
        return Ok(match word.strip_prefix(METRIC_TIME) {
            Some("") => (TIME, None),
            Some(rest) => match rest.strip_prefix("__").and_then(Grain::parse) {
                Some(grain) => (TIME, Some(grain)),
                None => (word, None),
            },
            None => (word, None),
        });
    };
    let found = Grain::parse(grain.trim()).ok_or_else(|| {
        let known = Grain::ALL.map(Grain::word);
        Error::invalid(format!("\"{grain}\" is no grain")).hint(suggest::hint(grain, known))
    })?;
    Ok((name.trim(), Some(found)))
}

/// The grain, if the word means the time that measures are counted by.
fn own_time<'a>(
    semantics: &Semantics<'a>,
    views: &[(MetricRef<'a>, &'a Semantic)],
    name: &str,
    asked: Option<Grain>,
) -> Result<Option<Grain>> {
    if TIME_WORDS.contains(&name) {
        return asked.map(Some).ok_or_else(|| {
            Error::invalid("time is grouped by without a grain").hint("Write --by time:month.")
        });
    }
    let dimension = |view: &'a Semantic| dimension_called(view, name);
    if views.iter().all(|(_, view)| dimension(view).is_none()) {
        // A grain alone, `month`, is that of time.
        return Ok(Grain::parse(name).filter(|_| asked.is_none()));
    }
    let mut finest = Grain::Day;
    for (metric, _) in views {
        for measured in semantics.measured(*metric)? {
            match (dimension(measured.view), time_of(measured)) {
                (Some((found, declared)), Ok((time, _))) if found == time => {
                    finest = finest.max(declared.grain.unwrap_or(Grain::Day));
                }
                _ => return Ok(None),
            }
        }
    }
    Ok(Some(asked.unwrap_or(finest)))
}

/// A dimension that every table can be grouped by.
fn group<'a>(
    semantics: &Semantics<'a>,
    views: &[(MetricRef<'a>, &'a Semantic)],
    name: &str,
    asked: Option<Grain>,
) -> Result<Group> {
    let parts: Vec<String> = name.split('.').map(|part| part.trim().to_owned()).collect();
    let path = conformed(semantics, views, &parts)?;
    let grain = match path.end {
        End::Dimension(_, dimension) if path.is_time() => {
            let finest = dimension.grain.unwrap_or(Grain::Day);
            let grain = asked.unwrap_or(finest);
            if dimension.grain.is_some() && grain < finest {
                return Err(Error::invalid(format!(
                    "dimension \"{name}\" is known by {finest} only"
                ))
                .hint(format!("Write {name}:{finest}, or a longer period.")));
            }
            Some(grain)
        }
        _ if asked.is_some() => {
            return Err(Error::invalid(format!(
                "dimension \"{name}\" is no time and has no grain"
            ))
            .hint(format!("Write {name} alone, or declare it with `type: time`.")));
        }
        _ => None,
    };
    if let End::Entity(entity, declared) = path.end
        && declared.columns(entity).len() > 1
    {
        return Err(Error::invalid(format!(
            "entity \"{entity}\" has several columns and cannot be grouped by"
        ))
        .hint("Declare its columns as dimensions and group by those."));
    }
    // The entities that are written, and the name of what they lead to.
    let names = 1 + usize::from(path.day.is_some());
    let written = parts.len().saturating_sub(names).min(path.hops.len());
    let hops = path.hops.iter().skip(path.hops.len() - written).map(|hop| hop.entity);
    let day = path.day.map(DayAttribute::word);
    let mut column = hops.chain([path.end.name()]).chain(day).collect::<Vec<_>>().join("_");
    if let Some(grain) = asked {
        column = format!("{column}_{}", grain.word().replace('-', "_"));
    }
    // Parts of a day have values of their own, which the dimension does not name.
    let labels = match path.end {
        End::Dimension(_, dimension) if path.day.is_none() => dimension
            .value_labels()
            .map(|(value, label)| (value.to_owned(), label.clone()))
            .collect(),
        _ => BTreeMap::new(),
    };
    Ok(Group { parts, grain, column, labels })
}

/// The way to a dimension, the same column for every table.
fn conformed<'a>(
    semantics: &Semantics<'a>,
    views: &[(MetricRef<'a>, &'a Semantic)],
    parts: &[String],
) -> Result<Path<'a>> {
    let mut first: Option<(Path<'a>, MetricRef<'a>)> = None;
    for (metric, view) in views {
        let path = semantics
            .path(view, parts)
            .map_err(|error| error.context(format!("metric \"{}\"", metric.name)))?;
        let Some((known, before)) = &first else {
            first = Some((path, *metric));
            continue;
        };
        // Keys of one entity and dimensions of one name that both tables have themselves are the same.
        let own = known.hops.is_empty()
            && path.hops.is_empty()
            && known.end.name() == path.end.name()
            && known.day == path.day;
        if !own && !known.same_end(&path) && !keys_alike(known, &path) {
            return Err(Error::invalid(format!(
                "\"{}\" is \"{}\" of \"{}\" for metric \"{}\" and \"{}\" of \"{}\" for metric \"{}\"",
                parts.join("."),
                known.name(),
                known.view.semantic,
                before.name,
                path.name(),
                path.view.semantic,
                metric.name
            ))
            .hint("Name a dimension of a table that both reach, with its entity, as in customer.region."));
        }
    }
    first.map(|(path, _)| path).ok_or_else(|| Error::internal("a question without a measure"))
}

/// Whether both ways end at a key of the same entity.
fn keys_alike(a: &Path<'_>, b: &Path<'_>) -> bool {
    let target = |path: &Path<'_>| match path.end {
        End::Entity(name, entity) => Some(entity.to.clone().unwrap_or_else(|| name.to_owned())),
        End::Dimension(..) => None,
    };
    target(a).is_some() && target(a) == target(b)
}
