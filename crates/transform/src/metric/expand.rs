//! From metrics to formulas over leaves.

use std::collections::BTreeMap;

use flywheel_base::{Error, Result};
use flywheel_project::metric::{End, Expression, MetricRef, Semantics, TIME_WORDS};
use flywheel_project::resource::semantic::{
    Aggregate, CompareAs, Conversion, ConversionAs, Grain, MetricKind, Offset, TimeSpan,
};

use super::resolve::{By, Question, measure_of};
use super::time::{Length, shift};

/// How many leaves one question may have.
const LEAVES_MAX: usize = 400;

/// What a figure of the answer is computed from.
#[derive(Clone, Debug)]
pub(super) enum Formula {
    /// A leaf, by its position.
    Leaf(usize),
    /// One divided by another; null by zero.
    Divide(Box<Formula>, Box<Formula>),
    /// One minus another.
    Minus(Box<Formula>, Box<Formula>),
    /// An expression over named formulas.
    Derived(Expression, BTreeMap<String, Formula>),
    /// A value in place of null.
    Default(Box<Formula>, f64),
}

/// A measure with its filters and its window, for a grouping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf<'a> {
    /// The metric that is made of the measure.
    pub(super) metric: OfMeasure<'a>,
    /// The conditions that rows must fulfil, outermost first.
    pub(super) filters: Vec<&'a str>,
    pub(super) span: Span,
    /// How much earlier than the period it is shown for.
    pub(super) shift: Length,
    /// The positions of what it is grouped by in the question.
    pub(super) grouping: Vec<usize>,
    /// What must follow.
    pub(super) conversion: Option<Follow<'a>>,
}

/// A metric of one measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfMeasure<'a>(pub(super) MetricRef<'a>);

impl PartialEq for OfMeasure<'_> {
    fn eq(&self, other: &Self) -> bool {
        let measure = |metric: &MetricRef<'_>| metric.metric.measure.clone();
        self.0.view.semantic == other.0.view.semantic && measure(&self.0) == measure(&other.0)
    }
}

/// What must follow a row so that it counts.
#[derive(Clone, Debug)]
pub(super) struct Follow<'a> {
    pub(super) to: MetricRef<'a>,
    pub(super) entity: &'a str,
    pub(super) within: TimeSpan,
}

impl PartialEq for Follow<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.to.name == other.to.name && self.entity == other.entity && self.within == other.within
    }
}

/// Which rows count for a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Those of the period.
    Period,
    /// Those of the last days, weeks or months before its end.
    Rolling(TimeSpan),
    /// Those since a longer period began.
    ToDate(Grain),
    /// Those since the beginning.
    Cumulative,
}

/// A column of the answer.
pub(super) struct Shown<'a> {
    pub(super) column: String,
    pub(super) metric: MetricRef<'a>,
    /// Whether it has the metric's unit.
    pub(super) has_unit: bool,
    pub(super) formula: Formula,
}

/// Everything that is computed.
pub(super) struct Plan<'a> {
    pub(super) leaves: Vec<Leaf<'a>>,
    pub(super) shown: Vec<Shown<'a>>,
}

/// What applies to everything a metric is made of.
#[derive(Clone)]
struct Around<'a> {
    filters: Vec<&'a str>,
    span: Span,
    shift: Length,
    grouping: Vec<usize>,
}

/// Expands every metric of a question.
pub(super) fn expand<'a>(semantics: &Semantics<'a>, question: &Question<'a>) -> Result<Plan<'a>> {
    let mut expansion = Expansion { semantics, question, leaves: Vec::new(), open: Vec::new() };
    let around = Around {
        filters: Vec::new(),
        span: Span::Period,
        shift: Length::default(),
        grouping: (0..question.by.len()).collect(),
    };
    let mut shown = Vec::new();
    for metric in &question.metrics {
        let context = |error: Error| error.context(format!("metric \"{}\"", metric.name));
        let formula = expansion.metric(*metric, &around).map_err(context)?;
        let name = metric.name.to_owned();
        shown.push(Shown {
            column: name.clone(),
            metric: *metric,
            has_unit: true,
            formula: formula.clone(),
        });
        if let Some(by) = question.compare {
            let before = expansion.earlier(*metric, by, &around).map_err(context)?;
            let change = Formula::Divide(
                Box::new(Formula::Minus(Box::new(formula), Box::new(before.clone()))),
                Box::new(before.clone()),
            );
            let column = |word: &str| format!("{name}_{word}");
            shown.push(Shown {
                column: column("before"),
                metric: *metric,
                has_unit: true,
                formula: before,
            });
            shown.push(Shown {
                column: column("change"),
                metric: *metric,
                has_unit: false,
                formula: change,
            });
        }
    }
    Ok(Plan { leaves: expansion.leaves, shown })
}

struct Expansion<'a, 'q> {
    semantics: &'q Semantics<'a>,
    question: &'q Question<'a>,
    leaves: Vec<Leaf<'a>>,
    open: Vec<&'a str>,
}

impl<'a> Expansion<'a, '_> {
    fn metric(&mut self, metric: MetricRef<'a>, around: &Around<'a>) -> Result<Formula> {
        if self.open.contains(&metric.name) {
            return Err(Error::invalid(format!("metric \"{}\" is made of itself", metric.name))
                .hint("Let it be made of a measure instead."));
        }
        self.open.push(metric.name);
        let mut around = around.clone();
        around.filters.extend(metric.metric.filter.as_deref());
        let formula = self.kind(metric, &around)?;
        self.open.pop();
        Ok(match metric.metric.default {
            Some(value) => Formula::Default(Box::new(formula), value),
            None => formula,
        })
    }

    fn kind(&mut self, metric: MetricRef<'a>, around: &Around<'a>) -> Result<Formula> {
        let semantics = self.semantics;
        match metric.metric.kind()? {
            MetricKind::Measure(_) => self.leaf(metric, around, None),
            MetricKind::Ratio(ratio) => {
                let of = self.metric(semantics.input(&metric, &ratio.of)?, around)?;
                let per = self.metric(semantics.input(&metric, &ratio.per)?, around)?;
                Ok(divide(of, per))
            }
            MetricKind::Derived(text) => {
                let parsed = Expression::parse(text).map_err(|mistake| mistake.into_error(text))?;
                let mut inputs = BTreeMap::new();
                for name in parsed.names() {
                    let name = name.text();
                    let formula = self.metric(semantics.input(&metric, &name)?, around)?;
                    inputs.insert(name, formula);
                }
                Ok(Formula::Derived(parsed, inputs))
            }
            MetricKind::Cumulative(kind) => {
                self.window(&metric, &kind.metric, Span::Cumulative, around)
            }
            MetricKind::ToDate(kind) => {
                self.window(&metric, &kind.metric, Span::ToDate(kind.period), around)
            }
            MetricKind::Rolling(kind) => {
                self.window(&metric, &kind.metric, Span::Rolling(kind.window), around)
            }
            MetricKind::Offset(kind) => {
                self.earlier(semantics.input(&metric, &kind.metric)?, kind.by, around)
            }
            MetricKind::Compare(kind) => {
                let input = semantics.input(&metric, &kind.metric)?;
                let now = self.metric(input, around)?;
                let before = self.earlier(input, kind.by, around)?;
                Ok(match kind.form {
                    CompareAs::Difference => minus(now, before),
                    CompareAs::Ratio => divide(now, before),
                    CompareAs::Change => divide(minus(now, before.clone()), before),
                })
            }
            MetricKind::Share(share) => {
                let input = semantics.input(&metric, &share.metric)?;
                let part = self.metric(input, around)?;
                let grouping = self.within(metric, &share.within, &around.grouping)?;
                let whole = self.metric(input, &Around { grouping, ..around.clone() })?;
                Ok(divide(part, whole))
            }
            MetricKind::Conversion(conversion) => self.conversion(&metric, conversion, around),
        }
    }

    fn window(
        &mut self,
        metric: &MetricRef<'a>,
        of: &str,
        span: Span,
        around: &Around<'a>,
    ) -> Result<Formula> {
        let input = self.semantics.input(metric, of)?;
        self.metric(input, &Around { span, ..around.clone() })
    }

    /// What a metric was before.
    fn earlier(
        &mut self,
        metric: MetricRef<'a>,
        by: Offset,
        around: &Around<'a>,
    ) -> Result<Formula> {
        let length = shift(by, self.question.grain, &self.question.range)?;
        let sub_day = self.question.grain.is_some_and(Grain::is_within_day);
        if length.seconds != 0 && self.question.grain.is_some() && !sub_day {
            return Err(Error::invalid(
                "a shift of hours or minutes needs periods of hours or minutes",
            )
            .hint("Group by time:hour or time:minute."));
        }
        self.metric(metric, &Around { shift: around.shift.plus(length), ..around.clone() })
    }

    fn conversion(
        &mut self,
        metric: &MetricRef<'a>,
        conversion: &'a Conversion,
        around: &Around<'a>,
    ) -> Result<Formula> {
        let from = self.semantics.input(metric, &conversion.from)?;
        let to = self.semantics.input(metric, &conversion.to)?;
        let mut around = around.clone();
        around.filters.extend(from.metric.filter.as_deref());
        let follow = Follow { to, entity: &conversion.entity, within: conversion.within };
        // What was never followed is there as well, with 0.
        let all = self.leaf(from, &around, None)?;
        let followed = self.leaf(from, &around, Some(follow))?;
        Ok(match conversion.form {
            ConversionAs::Count => followed,
            ConversionAs::Rate => divide(followed, all),
        })
    }

    fn leaf(
        &mut self,
        metric: MetricRef<'a>,
        around: &Around<'a>,
        conversion: Option<Follow<'a>>,
    ) -> Result<Formula> {
        let by_time = around.grouping.iter().any(|at| self.question.by.get(*at) == Some(&By::Time));
        if around.span != Span::Period && !by_time {
            return Err(Error::invalid(format!(
                "\"{}\" is asked for over a window, and nothing says for which periods",
                metric.name
            ))
            .hint("Group by time, as in --by time:day."));
        }
        if !around.shift.is_zero() && !by_time {
            let range = &self.question.range;
            if range.from.is_none() || range.to.is_none() {
                return Err(Error::invalid("what was before is only known for a period").hint(
                    "Group by time, as in --by time:month, or ask for a period: --during 2024-03.",
                ));
            }
        }
        if let (Span::Rolling(window), Some(grain)) = (around.span, self.question.grain)
            && Length::of(window).seconds != 0
            && !grain.is_within_day()
        {
            return Err(Error::invalid(format!(
                "a window of {window} needs periods of hours or minutes"
            ))
            .hint("Group by time:hour or time:minute."));
        }
        let leaf = Leaf {
            metric: OfMeasure(metric),
            filters: around.filters.clone(),
            span: around.span,
            shift: around.shift,
            grouping: around.grouping.clone(),
            conversion,
        };
        let known = self.leaves.iter().position(|known| *known == leaf);
        let at = known.unwrap_or(self.leaves.len());
        if known.is_none() {
            if self.leaves.len() >= LEAVES_MAX {
                return Err(Error::exhausted(format!(
                    "the question has more than {LEAVES_MAX} parts"
                ))
                .hint("Ask for fewer metrics at once."));
            }
            self.leaves.push(leaf);
        }
        let (_, measure) = measure_of(metric)?;
        let counts = matches!(measure.aggregate, Aggregate::Count | Aggregate::CountDistinct);
        let formula = Formula::Leaf(at);
        // Nothing counted is 0; nothing added up is nothing.
        Ok(if counts { Formula::Default(Box::new(formula), 0.0) } else { formula })
    }

    /// The positions of those dimensions of the question whose values have a total of their own.
    fn within(
        &self,
        metric: MetricRef<'a>,
        words: &[String],
        grouping: &[usize],
    ) -> Result<Vec<usize>> {
        let mut kept = Vec::new();
        let measured = self.semantics.measured(metric)?;
        for at in grouping {
            let Some(by) = self.question.by.get(*at) else { continue };
            let mut found = false;
            for word in words {
                found |= match by {
                    By::Time => TIME_WORDS.contains(&word.as_str()),
                    By::Dimension(group) => {
                        let parts: Vec<String> = word.split('.').map(str::to_owned).collect();
                        let Some(first) = measured.first() else { continue };
                        if TIME_WORDS.contains(&word.as_str()) {
                            continue;
                        }
                        let wanted = self.semantics.path(first.view, &parts)?;
                        let asked = self.semantics.path(first.view, &group.parts)?;
                        wanted.same_end(&asked) && same_kind(wanted.end, asked.end)
                    }
                };
            }
            if found {
                kept.push(*at);
            }
        }
        Ok(kept)
    }
}

fn same_kind(a: End<'_>, b: End<'_>) -> bool {
    matches!((a, b), (End::Dimension(..), End::Dimension(..)) | (End::Entity(..), End::Entity(..)))
}

fn divide(a: Formula, b: Formula) -> Formula {
    Formula::Divide(Box::new(a), Box::new(b))
}

fn minus(a: Formula, b: Formula) -> Formula {
    Formula::Minus(Box::new(a), Box::new(b))
}
