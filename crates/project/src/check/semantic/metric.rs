//! Metrics: what they are made of, and whether their conditions can be asked.

use std::collections::BTreeMap;

use flywheel_base::{Error, ErrorKind};

use super::super::Check;
use super::super::query::inside;
use super::super::sync::at;
use super::{is_time, key, parts};
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeInfo, NodeKind};
use crate::load::Read;
use crate::metric::expression::Mistake;
use crate::metric::{Expression, MetricRef, Semantics, inputs};
use crate::resource::semantic::{Certification, Grain, MetricKind, Semantic};
use crate::yaml::{Node, Step};

impl Check<'_> {
    pub(super) fn metrics(&mut self, all: &Semantics<'_>) {
        let loaded = self.loaded;
        let mut words: BTreeMap<String, (&str, String)> = BTreeMap::new();
        let mut declared: BTreeMap<&str, String> = BTreeMap::new();
        for read in loaded.semantics.values() {
            for (name, metric) in &read.value.metrics {
                let span = key(&read.node, "metrics", name);
                let place = format!("{}:{}", read.file.path, span.line);
                if let Some(other) = declared.insert(name, place.clone()) {
                    let message = format!("metric \"{name}\" is declared twice");
                    let hint = format!("Rename one of them; the other is in {other}.");
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    continue;
                }
                let found = MetricRef { name, view: &read.value, metric };
                for word in found.words().into_iter().map(str::to_lowercase) {
                    let other = words.insert(word.clone(), (name, place.clone()));
                    if let Some((other, place)) = other.filter(|(other, _)| other != name) {
                        let message = format!(
                            "\"{word}\" is what both metric \"{other}\" and metric \"{name}\" are called"
                        );
                        let hint = format!("Call one of them otherwise; the other is in {place}.");
                        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    }
                }
                self.metric(read, found, all);
            }
        }
    }

    fn metric(&mut self, read: &Read<Semantic>, metric: MetricRef<'_>, all: &Semantics<'_>) {
        let name = metric.name;
        let node = read.node.find(&[Step::Key("metrics"), Step::Key(name)]);
        let id = NodeId::new(NodeKind::Metric, name);
        let file = Some(read.file.path.clone());
        let info = NodeInfo { file, ..NodeInfo::default() };
        self.checked.graph.add(id.clone(), info);
        self.checked.graph.link(&NodeId::new(NodeKind::Semantic, &metric.view.semantic), &id);
        if metric.metric.certification == Certification::Certified && metric.owner().is_none() {
            let message = format!("metric \"{name}\" is certified, and nobody answers for it");
            let hint = "Add owner: to the metric or the semantic view.";
            self.push(
                &read.file,
                Diagnostic::warning(at(node, "certification"), message).hint(hint),
            );
        }
        let Ok(kind) = metric.metric.kind() else { return };
        if !self.metric_inputs(read, metric, kind, node, all) {
            return;
        }
        let measured = match all.measured(metric) {
            Ok(measured) => measured,
            // What a metric below is made of is reported there.
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => {
                return self.told(&read.file, node.find(&[Step::Key(kind.name())]).span, &error);
            }
        };
        self.metric_kind(read, metric, kind, node, all);
        if let Some(filter) = &metric.metric.filter {
            let node = node.find(&[Step::Key("filter")]);
            self.condition(&read.file, node, filter, &measured, all);
        }
    }

    /// Whether everything it is made of is there.
    fn metric_inputs(
        &mut self,
        read: &Read<Semantic>,
        metric: MetricRef<'_>,
        kind: MetricKind<'_>,
        node: &Node,
        all: &Semantics<'_>,
    ) -> bool {
        let mut good = true;
        let node = node.find(&[Step::Key(kind.name())]);
        if let MetricKind::Measure(measure) = kind {
            if !metric.view.measures.contains_key(measure) {
                let message =
                    format!("semantic \"{}\" has no measure \"{measure}\"", metric.view.semantic);
                let known = metric.view.measures.keys().map(String::as_str);
                let hint = flywheel_base::suggest::hint(measure, known);
                self.push(&read.file, Diagnostic::error(node.span, message).hint(hint));
                good = false;
            }
            return good;
        }
        if let MetricKind::Derived(text) = kind {
            let parsed = match Expression::parse(text) {
                Ok(parsed) => parsed,
                Err(mistake) => {
                    self.mistake(&read.file, node, text, mistake);
                    return false;
                }
            };
            if parsed.names().is_empty() {
                let message = format!("metric \"{}\" is derived from no metric", metric.name);
                let hint = "Name the metrics it is computed from, as in revenue - cost.";
                self.push(&read.file, Diagnostic::error(node.span, message).hint(hint));
                good = false;
            }
            for name in parsed.names() {
                if let Err(error) = all.input(&metric, &name.text()) {
                    let span = place(&read.file, node, text, name.at, name.length);
                    self.unknown_metric(&read.file, span, &name.text(), &error);
                    good = false;
                }
            }
        }
        for (input, name) in kind.inputs() {
            if let Err(error) = all.input(&metric, name) {
                self.unknown_metric(&read.file, at(node, input), name, &error);
                good = false;
            }
        }
        if good {
            for name in inputs(metric.metric).unwrap_or_default() {
                let from = NodeId::new(NodeKind::Metric, name);
                let to = NodeId::new(NodeKind::Metric, metric.name);
                // A circle is reported once, as one of metrics.
                if !self.checked.graph.descendants(&to).contains(&from) && from != to {
                    self.checked.graph.link(&from, &to);
                }
            }
        }
        good
    }

    /// Reports a metric that is not there, unless its file has mistakes, which are reported themselves.
    fn unknown_metric(&mut self, file: &SourceFile, span: Span, name: &str, error: &Error) {
        if !self.loaded.unread_metrics.contains(name) {
            self.told(file, span, error);
        }
    }

    /// What each kind demands besides.
    fn metric_kind(
        &mut self,
        read: &Read<Semantic>,
        metric: MetricRef<'_>,
        kind: MetricKind<'_>,
        node: &Node,
        all: &Semantics<'_>,
    ) {
        let node = node.find(&[Step::Key(kind.name())]);
        let file = &read.file;
        match kind {
            MetricKind::Cumulative(_) | MetricKind::ToDate(_) | MetricKind::Rolling(_) => {
                if let Some(inner) = window_within(metric, all) {
                    let message = format!(
                        "metric \"{}\" is a window over \"{inner}\", which is one already",
                        metric.name
                    );
                    let hint = "Make it of the metric that the other one is made of.";
                    self.push(file, Diagnostic::error(node.span, message).hint(hint));
                }
                if let MetricKind::ToDate(to_date) = kind
                    && to_date.period <= Grain::Day
                {
                    let message = format!(
                        "what there was since the {} began is the {} itself",
                        to_date.period, to_date.period
                    );
                    let hint = "Choose week, month, quarter, year, fiscal-quarter or fiscal-year.";
                    self.push(file, Diagnostic::error(at(node, "period"), message).hint(hint));
                }
                self.needs_time(read, metric, node, all);
            }
            MetricKind::Offset(_) | MetricKind::Compare(_) => {
                self.needs_time(read, metric, node, all);
            }
            MetricKind::Share(share) => {
                let made_of = all.measured(metric).unwrap_or_default();
                if let Some((part, word)) = made_of.iter().find_map(quantile) {
                    let message = format!(
                        "metric \"{}\" is a share of \"{part}\", a {word}, which is no part of the {word} of all",
                        metric.name
                    );
                    let hint = "Take the share of what can be added up or counted, or compare both by `ratio`.";
                    self.push(file, Diagnostic::error(node.span, message).hint(hint));
                }
                for (index, word) in
                    share.within.iter().enumerate().filter(|(_, word)| !is_time(word))
                {
                    let span = node.find(&[Step::Key("within"), Step::Item(index)]).span;
                    for measured in all.measured(metric).unwrap_or_default() {
                        if let Err(error) = all.path(measured.view, &parts(word)) {
                            self.told(file, span, &error);
                            break;
                        }
                    }
                }
            }
            MetricKind::Conversion(conversion) => {
                for (input, name) in kind.inputs() {
                    let Some(part) = all.named(name) else { continue };
                    let span = at(node, input);
                    if !matches!(part.metric.kind(), Ok(MetricKind::Measure(_))) {
                        let message = format!("metric \"{name}\" is not made of one measure");
                        let hint =
                            "A conversion is counted from rows: name a metric with `measure:`.";
                        self.push(file, Diagnostic::error(span, message).hint(hint));
                    }
                    if let Some((_, word)) = quantile(&part) {
                        let message = format!("metric \"{name}\" is a {word} and counts no rows");
                        let hint = "A conversion is counted: name a metric of a measure with `aggregate: count`.";
                        self.push(file, Diagnostic::error(span, message).hint(hint));
                    }
                    if !part.view.entities.contains_key(&conversion.entity) {
                        let message = format!(
                            "rows of \"{}\" have no entity \"{}\"",
                            part.view.semantic, conversion.entity
                        );
                        let known = part.view.entities.keys().map(String::as_str);
                        let hint = flywheel_base::suggest::hint(&conversion.entity, known);
                        self.push(file, Diagnostic::error(at(node, "entity"), message).hint(hint));
                    }
                    self.needs_time(read, part, node, all);
                }
            }
            MetricKind::Measure(_) | MetricKind::Ratio(_) | MetricKind::Derived(_) => {}
        }
    }

    fn needs_time(
        &mut self,
        read: &Read<Semantic>,
        metric: MetricRef<'_>,
        node: &Node,
        all: &Semantics<'_>,
    ) {
        for measured in all.measured(metric).unwrap_or_default() {
            let measure =
                measured.metric.measure.as_ref().and_then(|name| measured.view.measures.get(name));
            if measure.is_some_and(|m| m.time.is_none()) && measured.view.time.is_none() {
                let message = format!("metric \"{}\" has no time", measured.name);
                let hint = format!(
                    "Name the time dimension that rows of \"{}\" are counted by: `time: <dimension>`.",
                    measured.view.semantic
                );
                self.push(&read.file, Diagnostic::error(node.span, message).hint(hint));
            }
        }
    }

    fn condition(
        &mut self,
        file: &SourceFile,
        node: &Node,
        text: &str,
        measured: &[MetricRef<'_>],
        all: &Semantics<'_>,
    ) {
        let parsed = match Expression::parse(text) {
            Ok(parsed) => parsed,
            Err(mistake) => return self.mistake(file, node, text, mistake),
        };
        for name in parsed.names() {
            let span = place(file, node, text, name.at, name.length);
            if is_time(&name.text()) {
                let message = "a metric's filter cannot look at time";
                let hint = "Name a time dimension, or use to_date or rolling.";
                self.push(file, Diagnostic::error(span, message).hint(hint));
                continue;
            }
            for metric in measured {
                if let Err(error) = all.path(metric.view, &name.parts) {
                    self.told(file, span, &error);
                    break;
                }
            }
        }
    }

    fn mistake(&mut self, file: &SourceFile, node: &Node, text: &str, mistake: Mistake) {
        let span = place(file, node, text, mistake.at, mistake.length);
        self.push(file, Diagnostic::error(span, mistake.message).hint(mistake.hint));
    }
}

/// The metric and the word of its aggregate, if it is a quantile.
fn quantile<'a>(metric: &MetricRef<'a>) -> Option<(&'a str, &'static str)> {
    let measure = metric.metric.measure.as_ref()?;
    let aggregate = metric.view.measures.get(measure)?.aggregate;
    aggregate.is_quantile().then(|| (metric.name, aggregate.word()))
}

/// The first metric inside a window that is a window as well.
fn window_within<'a>(metric: MetricRef<'a>, all: &Semantics<'a>) -> Option<&'a str> {
    let mut open: Vec<MetricRef<'a>> =
        inputs(metric.metric).ok()?.iter().filter_map(|name| all.named(name)).collect();
    while let Some(next) = open.pop() {
        let window = matches!(
            next.metric.kind(),
            Ok(MetricKind::Cumulative(_) | MetricKind::ToDate(_) | MetricKind::Rolling(_))
        );
        if window {
            return Some(next.name);
        }
        open.extend(inputs(next.metric).ok()?.iter().filter_map(|name| all.named(name)));
    }
    None
}

/// The place in the file of bytes of a text that stands in it.
fn place(file: &SourceFile, node: &Node, text: &str, offset: usize, length: usize) -> Span {
    inside(node, text, SourceFile::new(&file.path, text).span(offset, length))
}
