//! What metrics, dimensions and entities are called, and how one table reaches the dimensions of another.
//!
//! A way from a table to a dimension follows entities, and every step finds at most one row: a foreign
//! key to the table whose primary or unique key it is. A way that needs a step to many rows would
//! count rows several times, so it is refused with the entity that multiplies them.

mod day;
pub mod expression;
mod path;
pub mod table;

use std::collections::BTreeMap;

use flywheel_base::{Error, Result, suggest};

use crate::resource::semantic::{Dimension, Entity, Metric, MetricKind, Semantic};

pub use day::DayAttribute;
pub use expression::Expression;
pub use path::{End, Hop, Path};

/// The name of the time that a measure is counted by.
pub const TIME: &str = "time";

/// Words that mean [`TIME`].
pub const TIME_WORDS: &[&str] = &[TIME, "时间"];

/// The semantic views of a project, with every name looked up.
#[derive(Clone, Debug, Default)]
pub struct Semantics<'a> {
    views: BTreeMap<&'a str, &'a Semantic>,
    metrics: BTreeMap<&'a str, MetricRef<'a>>,
}

/// A metric and where it is declared.
#[derive(Clone, Copy, Debug)]
pub struct MetricRef<'a> {
    /// Its name.
    pub name: &'a str,
    /// The semantic view that declares it.
    pub view: &'a Semantic,
    /// What is declared.
    pub metric: &'a Metric,
}

impl MetricRef<'_> {
    /// Who answers for it.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.metric.owner.as_deref().or(self.view.owner.as_deref())
    }

    /// Everything it is called.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        let words = std::iter::once(self.name).chain(self.metric.label.texts());
        words.chain(self.metric.synonyms.iter().map(String::as_str)).collect()
    }
}

impl<'a> Semantics<'a> {
    /// Takes the semantic views; of metrics with one name the first counts.
    pub fn new(views: impl IntoIterator<Item = &'a Semantic>) -> Self {
        let mut all = Self::default();
        for view in views {
            all.views.insert(&view.semantic, view);
            for (name, metric) in &view.metrics {
                all.metrics.entry(name).or_insert(MetricRef { name, view, metric });
            }
        }
        all
    }

    /// Every metric, by name.
    pub fn metrics(&self) -> impl Iterator<Item = MetricRef<'a>> {
        self.metrics.values().copied()
    }

    /// Every semantic view, by name.
    pub fn views(&self) -> impl Iterator<Item = &'a Semantic> {
        self.views.values().copied()
    }

    /// The metric that has exactly this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<MetricRef<'a>> {
        self.metrics.get(name).copied()
    }

    /// The metrics made of a measure that a metric is computed from, itself if it is one; those it only
    /// looks for after others, as a conversion does, are not among them.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if metrics are made of each other in a circle;
    /// [`flywheel_base::ErrorKind::NotFound`] if one is unknown.
    pub fn measured(&self, metric: MetricRef<'a>) -> Result<Vec<MetricRef<'a>>> {
        let mut found = Vec::new();
        self.measured_from(metric, &mut Vec::new(), &mut found)?;
        Ok(found)
    }

    fn measured_from(
        &self,
        metric: MetricRef<'a>,
        open: &mut Vec<&'a str>,
        found: &mut Vec<MetricRef<'a>>,
    ) -> Result<()> {
        if open.contains(&metric.name) || open.len() > DEPTH_MAX {
            let circle = open.iter().copied().chain([metric.name]).collect::<Vec<_>>().join(" → ");
            return Err(Error::invalid(format!(
                "metrics are made of each other in a circle: {circle}"
            ))
            .hint("Let one of them be made of a measure instead."));
        }
        open.push(metric.name);
        match metric.metric.kind()? {
            MetricKind::Measure(_) => found.push(metric),
            MetricKind::Conversion(conversion) => {
                self.measured_from(self.input(&metric, &conversion.from)?, open, found)?;
            }
            _ => {
                for name in inputs(metric.metric)? {
                    self.measured_from(self.input(&metric, &name)?, open, found)?;
                }
            }
        }
        open.pop();
        Ok(())
    }

    /// A metric that another one is made of.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
    pub fn input(&self, of: &MetricRef<'a>, name: &str) -> Result<MetricRef<'a>> {
        self.named(name).ok_or_else(|| {
            Error::not_found(format!(
                "metric \"{}\" is made of the unknown metric \"{name}\"",
                of.name
            ))
            .hint(suggest::hint(name, self.metrics.keys().copied()))
        })
    }

    /// The metric that is called so: by its name, a label or a synonym.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name; [`flywheel_base::ErrorKind::Invalid`] if
    /// several are called so.
    pub fn metric(&self, word: &str) -> Result<MetricRef<'a>> {
        if let Some(found) = self.named(word) {
            return Ok(found);
        }
        let mut found =
            self.metrics().filter(|metric| metric.words().iter().any(|w| same(w, word)));
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (Some(first), Some(second)) => Err(Error::invalid(format!(
                "\"{word}\" means metric \"{}\" and metric \"{}\"",
                first.name, second.name
            ))
            .hint("Write the metric's name.")),
            (None, _) => {
                let words: Vec<&str> = self.metrics.values().flat_map(MetricRef::words).collect();
                let hint = match suggest::nearest(word, words) {
                    Some(near) => format!("Did you mean \"{near}\"?"),
                    None => suggest::hint(word, self.metrics.keys().copied()),
                };
                Err(Error::not_found(format!("no metric is called \"{word}\"")).hint(hint))
            }
        }
    }
}

/// How deep metrics may be made of metrics.
pub const DEPTH_MAX: usize = 32;

/// The metrics that a metric names, in the order of its file.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if it has no kind, or its expression cannot be parsed.
pub fn inputs(metric: &Metric) -> Result<Vec<String>> {
    match metric.kind()? {
        MetricKind::Derived(text) => {
            let parsed = Expression::parse(text).map_err(|mistake| mistake.into_error(text))?;
            let mut names: Vec<String> = Vec::new();
            for name in parsed.names() {
                if !names.contains(&name.text()) {
                    names.push(name.text());
                }
            }
            Ok(names)
        }
        kind => Ok(kind.inputs().into_iter().map(|(_, name)| name.to_owned()).collect()),
    }
}

/// Whether two words are the same but for capitals.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// The dimension of a semantic view that is called so.
#[must_use]
pub fn dimension_called<'a>(view: &'a Semantic, word: &str) -> Option<(&'a str, &'a Dimension)> {
    let exact = view.dimensions.get_key_value(word);
    let found = exact.or_else(|| {
        view.dimensions.iter().find(|(name, dimension)| {
            let mut words =
                dimension.label.texts().chain(dimension.synonyms.iter().map(String::as_str));
            same(name, word) || words.any(|w| same(w, word))
        })
    });
    found.map(|(name, dimension)| (name.as_str(), dimension))
}

/// The entity of a semantic view that is called so.
#[must_use]
pub fn entity_called<'a>(view: &'a Semantic, word: &str) -> Option<(&'a str, &'a Entity)> {
    let exact = view.entities.get_key_value(word);
    let found = exact.or_else(|| {
        view.entities.iter().find(|(name, entity)| {
            let mut words = entity.label.texts().chain(entity.synonyms.iter().map(String::as_str));
            same(name, word) || words.any(|w| same(w, word))
        })
    });
    found.map(|(name, entity)| (name.as_str(), entity))
}

/// The value of a dimension that is called so, if its name is not the value itself.
#[must_use]
pub fn value_called<'a>(dimension: &'a Dimension, word: &str) -> Option<&'a str> {
    if dimension.values.contains_key(word) {
        return None;
    }
    let found = dimension.values.iter().find(|(_, name)| {
        let mut words = name.label.texts().chain(name.aliases.iter().map(String::as_str));
        words.any(|w| same(w, word))
    });
    found.map(|(value, _)| value.as_str())
}

#[cfg(test)]
mod tests;
