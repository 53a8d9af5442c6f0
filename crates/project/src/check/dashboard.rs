//! Dashboards: what tiles show, whether metrics have the dimensions they are grouped and filtered by, where
//! filters go.

use std::collections::BTreeSet;

use flywheel_base::suggest;
use serde_json::Value as Json;

use super::Check;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{NodeId, NodeKind};
use crate::metric::{MetricRef, Semantics, TIME_WORDS};
use crate::names;
use crate::resource::dashboard::{Dashboard, FILTERS, Show, TIME_FILTER, Tile};
use crate::resource::semantic::{Aggregate, Grain, MetricKind};
use crate::yaml::{Node, Step};

impl Check<'_> {
    pub(super) fn dashboards(&mut self) {
        let loaded = self.loaded;
        let all = Semantics::new(loaded.semantics.values().map(|read| &read.value));
        let mut vars = loaded.vars.clone();
        vars.insert(FILTERS.to_owned(), Json::String("true".to_owned()));
        for (name, read) in &loaded.dashboards {
            let id = NodeId::new(NodeKind::Dashboard, name);
            for mistake in mistakes(&read.value, &read.node, &all) {
                self.push(&read.file, mistake);
            }
            for (number, tile) in read.value.tiles.iter().enumerate() {
                for metric in tile.metrics.iter().filter_map(|word| all.metric(word).ok()) {
                    self.checked.graph.link(&NodeId::new(NodeKind::Metric, metric.name), &id);
                }
                if let Some(sql) = &tile.sql {
                    let path = [Step::Key("tiles"), Step::Item(number), Step::Key("sql")];
                    self.query_with(&id, sql, &read.file, read.node.find(&path), &vars);
                }
            }
        }
    }
}

/// Everything that can be said about a dashboard without reading the tables of its queries.
pub(crate) fn mistakes(board: &Dashboard, node: &Node, all: &Semantics<'_>) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let tiles = node.find(&[Step::Key("tiles")]);
    if board.tiles.is_empty() {
        let message = format!("dashboard \"{}\" has no tiles", board.dashboard);
        let hint = "Add one, as in `- {tile: revenue, metrics: revenue}`.";
        out.push(Diagnostic::warning(at(node, "dashboard"), message).hint(hint));
    }
    let mut seen = BTreeSet::new();
    for (tile, node) in board.tiles.iter().zip(tiles.items()) {
        if let Some(problem) = names::problem(&tile.tile) {
            let message = format!("tile \"{}\" is not a good name: it {problem}", tile.tile);
            out.push(Diagnostic::error(at(node, "tile"), message).hint(names::HINT));
        }
        if !seen.insert(tile.tile.as_str()) {
            let message = format!("tile \"{}\" is declared twice", tile.tile);
            let hint = "Rename one of them; a link to a tile has to mean one.";
            out.push(Diagnostic::error(at(node, "tile"), message).hint(hint));
        }
        contents(tile, node, all, &mut out);
        places(board, tile, node, &mut out);
    }
    dimensions(board, node, all, &mut out);
    out
}

/// A tile shows metrics, a query or a text, in a way that fits.
fn contents(tile: &Tile, node: &Node, all: &Semantics<'_>, out: &mut Vec<Diagnostic>) {
    let name = &tile.tile;
    let given: Vec<&str> = [
        (!tile.metrics.is_empty(), "metrics"),
        (tile.sql.is_some(), "sql"),
        (tile.text.texts().next().is_some(), "text"),
    ]
    .iter()
    .filter_map(|(given, word)| given.then_some(*word))
    .collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            let message = format!("tile \"{name}\" shows nothing");
            let hint = "Add metrics:, sql: or text:.";
            out.push(Diagnostic::error(at(node, "tile"), message).hint(hint));
            return;
        }
        [first, second, ..] => {
            let message = format!("tile \"{name}\" has both {first} and {second}");
            let hint = "Make a tile of each.";
            out.push(Diagnostic::error(key(node, second), message).hint(hint));
            return;
        }
    }
    let only_metrics = [
        (!tile.by.is_empty(), "by"),
        (tile.grain.is_some(), "grain"),
        (!tile.conditions.is_empty(), "where"),
        (tile.compare.is_some(), "compare"),
    ];
    if tile.metrics.is_empty() {
        for (_, word) in only_metrics.iter().filter(|(given, _)| *given) {
            let message = format!("\"{word}\" belongs to tiles of metrics");
            let hint = match tile.sql {
                Some(_) => format!("Remove `{word}`, and say it in the SQL."),
                None => format!("Remove `{word}`."),
            };
            out.push(Diagnostic::error(key(node, word), message).hint(hint));
        }
    }
    if tile.shown().is_none() {
        for (given, word) in [(tile.show.is_some(), "show"), (tile.limit.is_some(), "limit")] {
            if given {
                let message = format!("a text has no \"{word}\"");
                let hint = format!("Remove `{word}`.");
                out.push(Diagnostic::error(key(node, word), message).hint(hint));
            }
        }
    }
    if tile.sql.is_none() && !tile.filters.is_empty() {
        let message = "only a query has to say what filters mean".to_owned();
        let hint = "Remove `filters`; metrics know their dimensions.";
        out.push(Diagnostic::error(key(node, "filters"), message).hint(hint));
    }
    metrics(tile, node, all, out);
}

fn metrics(tile: &Tile, node: &Node, all: &Semantics<'_>, out: &mut Vec<Diagnostic>) {
    let list = node.find(&[Step::Key("metrics")]);
    let mut found = Vec::new();
    for (index, word) in tile.metrics.iter().enumerate() {
        let span = list.items().get(index).map_or(list.span, |item| item.span);
        match all.metric(word) {
            Ok(metric) => found.push(metric),
            Err(error) => out.push(told(span, &error)),
        }
    }
    if found.is_empty() {
        return;
    }
    let list = node.find(&[Step::Key("by")]);
    for (index, word) in tile.by.iter().enumerate() {
        let span = list.items().get(index).map_or(list.span, |item| item.span);
        if let Some(mistake) = found.iter().find_map(|metric| unreached(metric, word, all)) {
            out.push(Diagnostic { span, ..mistake });
        }
    }
    let Some(show) = tile.shown() else { return };
    let at_show = || if tile.show.is_some() { key(node, "show") } else { at(node, "tile") };
    let (mistake, hint) = match show {
        Show::Number if !tile.by.is_empty() => {
            ("a number has no groups", "Choose `show: bar` or `table`, or remove `by`.")
        }
        Show::Line if tile.by.len() > 1 => {
            ("lines are told apart by one dimension at most", "Keep one of `by`.")
        }
        Show::Line if !tile.by.is_empty() && found.len() > 1 => {
            ("lines of several metrics have no groups", "Keep one metric, or remove `by`.")
        }
        Show::Bar if tile.by.is_empty() => {
            ("bars stand for the values of a dimension", "Add `by`, or choose `show: number`.")
        }
        Show::Bar if tile.by.len() > 1 => (
            "bars stand for the values of one dimension",
            "Keep one of `by`, or choose `show: table`.",
        ),
        Show::Pie if tile.by.len() != 1 || found.len() != 1 => {
            ("a pie shows one metric by one dimension", "Choose `show: bar` or `table`.")
        }
        Show::Pie if !found.iter().all(adds_up) => (
            "the shares of this metric do not add up to a whole",
            "Choose `show: bar`; pies are for sums and counts.",
        ),
        _ => return,
    };
    out.push(Diagnostic::error(at_show(), mistake).hint(hint));
}

/// Whether figures of the metric for parts of its rows make up the figure for all of them.
fn adds_up(metric: &MetricRef<'_>) -> bool {
    let Ok(MetricKind::Measure(name)) = metric.metric.kind() else { return false };
    let measure = metric.view.measures.get(name);
    measure.is_some_and(|one| matches!(one.aggregate, Aggregate::Sum | Aggregate::Count))
}

/// Why a metric cannot be grouped by `word`, if it cannot. The place is the caller's.
fn unreached(metric: &MetricRef<'_>, word: &str, all: &Semantics<'_>) -> Option<Diagnostic> {
    let (name, grain) = match word.split_once(':') {
        Some((name, grain)) => (name, Some(grain)),
        None => (word, None),
    };
    if let Some(grain) = grain.filter(|grain| Grain::parse(grain).is_none()) {
        let hint = suggest::hint(grain, Grain::ALL.iter().map(|grain| grain.word()));
        let message = format!("\"{grain}\" is no grain of time");
        return Some(Diagnostic::error(Span::FILE, message).hint(hint));
    }
    if TIME_WORDS.contains(&name) || Grain::parse(word).is_some() {
        return None;
    }
    let parts: Vec<String> = name.split('.').map(str::to_owned).collect();
    // What is wrong with the metric itself is said where it is declared.
    let measured = all.measured(*metric).ok()?;
    let error = measured.iter().find_map(|one| all.path(one.view, &parts).err())?;
    Some(told(Span::FILE, &error))
}

/// Where filters go in a query.
fn places(board: &Dashboard, tile: &Tile, node: &Node, out: &mut Vec<Diagnostic>) {
    if tile.sql.is_none() {
        return;
    }
    let known: Vec<&str> = std::iter::once(TIME_FILTER)
        .chain(board.filters.dimensions.iter().map(String::as_str))
        .collect();
    let list = node.find(&[Step::Key("filters")]);
    for (name, expression) in &tile.filters {
        let span = list.entry(name).map_or(list.span, |(key, _)| key.span);
        if !known.contains(&name.as_str()) {
            let message = format!("the dashboard has no filter \"{name}\"");
            let hint = suggest::hint(name, known.iter().copied());
            out.push(Diagnostic::error(span, message).hint(hint));
        }
        let problem = if expression.trim().is_empty() {
            Some("the expression is empty")
        } else if expression.contains("{{") || expression.contains("{%") {
            Some("templates have no place in expressions")
        } else {
            None
        };
        if let Some(message) = problem {
            let span = list.get(name).map_or(span, |node| node.span);
            let hint = "Write a column of a table that the query reads, or SQL over such columns.";
            out.push(Diagnostic::error(span, message).hint(hint));
        }
    }
    match (tile.filters.is_empty(), tile.places_filters()) {
        (false, false) => {
            let message =
                format!("the query of tile \"{}\" does not say where filters apply", tile.tile);
            let hint = "Write `where {{ var('filters') }}` in it, or remove `filters`.";
            out.push(Diagnostic::error(key(node, "filters"), message).hint(hint));
        }
        (true, true) => {
            let message =
                format!("tile \"{}\" does not say what filters mean in its query", tile.tile);
            let hint =
                "Add `filters:` with the column of each, as in `filters: {time: ordered_at}`.";
            out.push(Diagnostic::error(key(node, "sql"), message).hint(hint));
        }
        _ => {}
    }
}

/// Each dimension of the filters narrows at least one tile.
fn dimensions(board: &Dashboard, node: &Node, all: &Semantics<'_>, out: &mut Vec<Diagnostic>) {
    let list = node.find(&[Step::Key("filters"), Step::Key("dimensions")]);
    let metrics: Vec<MetricRef<'_>> = board
        .tiles
        .iter()
        .flat_map(|tile| &tile.metrics)
        .filter_map(|word| all.metric(word).ok())
        .collect();
    let mut seen = BTreeSet::new();
    for (name, item) in board.filters.dimensions.iter().zip(list.items()) {
        if name == TIME_FILTER || !seen.insert(name) {
            let message = match name == TIME_FILTER {
                true => "time is no dimension of this kind".to_owned(),
                false => format!("dimension \"{name}\" is listed twice"),
            };
            let hint = "Remove it; the time is `filters: {time: {days: 28}}`.";
            out.push(Diagnostic::error(item.span, message).hint(hint));
            continue;
        }
        let mapped = board.tiles.iter().any(|tile| tile.filters.contains_key(name));
        let reached = metrics.iter().any(|metric| unreached(metric, name, all).is_none());
        if mapped || reached || board.tiles.is_empty() {
            continue;
        }
        let message = format!("no tile can be narrowed by \"{name}\"");
        let known: BTreeSet<String> = metrics
            .iter()
            .flat_map(|metric| all.reachable(metric.view))
            .map(|path| path.name())
            .collect();
        let hint = suggest::hint(name, known.iter().map(String::as_str));
        out.push(Diagnostic::error(item.span, message).hint(hint));
    }
}

fn told(span: Span, error: &flywheel_base::Error) -> Diagnostic {
    let hint = error.hint_text().map(str::to_owned);
    Diagnostic { hint, ..Diagnostic::error(span, error.message()) }
}

/// Where a key is written, not its value.
fn key(node: &Node, name: &str) -> Span {
    node.entry(name).map_or(node.span, |(key, _)| key.span)
}
