//! Semantic views: the table, its keys, dimensions and measures. Metrics are checked in `metric`.

mod keys;
mod metric;
mod reads;

pub(super) use reads::{Asks, place};

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, suggest};

use super::Check;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::metric::{Semantics, TIME, TIME_WORDS};
use crate::names;
use crate::resource::semantic::{Aggregate, Dimension, DimensionKind, Measure, Semantic};
use crate::yaml::{Node, Step};

impl Check<'_> {
    pub(super) fn semantics(&mut self) {
        let loaded = self.loaded;
        let all = Semantics::new(loaded.semantics.values().map(|read| &read.value));
        let before = std::mem::take(&mut self.checked.out);
        for (name, read) in &loaded.semantics {
            let span = at(&read.node, "table");
            let id = NodeId::new(NodeKind::Semantic, name);
            if let Some(table) = self.test_target(&read.file, &read.value.table, span) {
                self.checked.graph.link(&table, &id);
                // dbt tests what it is told to test, and no more.
                if !loaded.imported.contains(name) {
                    self.key_tests(read, &table);
                }
                self.checked.semantic_tables.insert(name.clone(), table);
            }
            self.semantic_names(read);
            self.entities(read, &all);
            self.dimensions(read);
            self.measures(read);
        }
        self.metrics(&all);
        self.metric_reads(&all);
        // A mistake in what is imported is told to whoever asks for the metric; builds do not read it.
        let mut found = std::mem::replace(&mut self.checked.out, before);
        let imported = loaded.semantics.iter().filter(|(name, _)| loaded.imported.contains(*name));
        let files: BTreeSet<&str> = imported.map(|(_, read)| read.file.path.as_str()).collect();
        found.soften(&files);
        self.checked.out.extend(found);
    }

    /// Names are names, and nothing is called like something else.
    fn semantic_names(&mut self, read: &Read<Semantic>) {
        let view = &read.value;
        let mut words: BTreeMap<String, String> = BTreeMap::new();
        let sections: [(&str, Vec<&String>); 4] = [
            ("entities", view.entities.keys().collect()),
            ("dimensions", view.dimensions.keys().collect()),
            ("measures", view.measures.keys().collect()),
            ("metrics", view.metrics.keys().collect()),
        ];
        for (section, keys) in sections {
            for name in keys {
                let span = key(&read.node, section, name);
                if let Some(problem) = names::problem(name) {
                    let message = format!("\"{name}\" is not a good name: it {problem}");
                    self.push(&read.file, Diagnostic::error(span, message).hint(names::HINT));
                }
                if TIME_WORDS.contains(&name.as_str()) && section != "measures" {
                    let message =
                        format!("\"{name}\" is the name of the time that measures are counted by");
                    let hint =
                        format!("Choose another name, and declare it by `{TIME}: <dimension>`.");
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                }
                if section == "measures" || section == "metrics" {
                    continue;
                }
                let labels = match section {
                    "entities" => view.entities.get(name).map(|e| (&e.label, &e.synonyms)),
                    _ => view.dimensions.get(name).map(|d| (&d.label, &d.synonyms)),
                };
                let more = labels.into_iter().flat_map(|(label, synonyms)| {
                    label.texts().chain(synonyms.iter().map(String::as_str))
                });
                let all = std::iter::once(name.as_str()).chain(more).map(str::to_lowercase);
                for word in all {
                    let other = words.insert(word.clone(), name.clone());
                    if let Some(other) = other.filter(|other| other != name) {
                        let message = format!(
                            "\"{word}\" is what both \"{other}\" and \"{name}\" are called"
                        );
                        let hint = "Call one of them otherwise, so that questions are clear.";
                        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    }
                }
            }
        }
        if view.metrics.is_empty() && view.dimensions.is_empty() && view.entities.is_empty() {
            let message = format!("semantic \"{}\" declares nothing", view.semantic);
            let hint = "Declare entities, dimensions, measures and metrics, or remove the file.";
            self.push(
                &read.file,
                Diagnostic::warning(at(&read.node, "semantic"), message).hint(hint),
            );
        }
    }

    fn entities(&mut self, read: &Read<Semantic>, all: &Semantics<'_>) {
        let view = &read.value;
        let mut primary: Option<&str> = None;
        for (name, entity) in &view.entities {
            let node = read.node.find(&[Step::Key("entities"), Step::Key(name)]);
            if entity.kind == crate::resource::semantic::EntityKind::Primary
                && let Some(other) = primary.replace(name)
            {
                let message = format!("\"{other}\" and \"{name}\" are both what a row is");
                let hint = "Declare one of them as unique, or as foreign.";
                self.push(&read.file, Diagnostic::error(at(node, "type"), message).hint(hint));
            }
            let Some(to) = &entity.to else { continue };
            let span = at(node, "to");
            if entity.kind.is_single() && to != name {
                let message = format!(
                    "entity \"{name}\" is {} and refers to another one",
                    entity.kind.word()
                );
                let hint = "Only foreign keys refer; remove `to`.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
            let keys =
                || all.views().flat_map(|view| &view.entities).filter(|(_, e)| e.kind.is_single());
            let targets = || keys().map(|(name, _)| name.as_str());
            if !targets().any(|known| known == to) {
                let message =
                    format!("entity \"{name}\" refers to \"{to}\", which no table has as a key");
                let known: Vec<&str> = targets().collect();
                let hint = suggest::hint(to, known);
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
            let width = entity.columns(name).len();
            let other = keys().find(|(known, _)| *known == to).map(|(own, e)| e.columns(own).len());
            if other.is_some_and(|other| other != width) {
                let message =
                    format!("entity \"{name}\" has {width} columns, \"{to}\" has another number");
                let hint = "List as many columns, in the same order.";
                self.push(&read.file, Diagnostic::error(at(node, "key"), message).hint(hint));
            }
        }
    }

    fn dimensions(&mut self, read: &Read<Semantic>) {
        let view = &read.value;
        for (name, dimension) in &view.dimensions {
            let node = read.node.find(&[Step::Key("dimensions"), Step::Key(name)]);
            if let Some(sql) = &dimension.expression {
                self.column_sql(&read.file, node.find(&[Step::Key("expression")]), sql);
            }
            self.dimension_kind(read, name, dimension, node);
            let mut words: BTreeMap<String, &str> = BTreeMap::new();
            for (value, names) in &dimension.values {
                let all = names.label.texts().chain(names.aliases.iter().map(String::as_str));
                for word in all.chain([value.as_str()]).map(str::to_lowercase) {
                    let other = words.insert(word.clone(), value);
                    if let Some(other) = other.filter(|other| other != value) {
                        let message = format!(
                            "\"{word}\" is what both values \"{other}\" and \"{value}\" are called"
                        );
                        let hint = "Call one of them otherwise, so that filters are clear.";
                        let span = at(node, "values");
                        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    }
                }
            }
        }
        if let Some(time) = &view.time {
            self.time_dimension(read, time, at(&read.node, "time"));
        }
    }

    fn dimension_kind(
        &mut self,
        read: &Read<Semantic>,
        name: &str,
        dimension: &Dimension,
        node: &Node,
    ) {
        if dimension.kind == DimensionKind::Time {
            if !dimension.values.is_empty() {
                let message =
                    format!("dimension \"{name}\" is a time, and its values have no names");
                let hint = "Remove values, or type: time.";
                self.push(&read.file, Diagnostic::error(at(node, "values"), message).hint(hint));
            }
            if let Some(zone) = &dimension.timezone
                && !is_zone(zone)
            {
                let message = format!("\"{zone}\" is no time zone");
                let hint = "Write a name such as Asia/Shanghai, or an offset such as +08:00.";
                self.push(&read.file, Diagnostic::error(at(node, "timezone"), message).hint(hint));
            }
            return;
        }
        for (given, word) in
            [(dimension.grain.is_some(), "grain"), (dimension.timezone.is_some(), "timezone")]
        {
            if given {
                let message = format!("dimension \"{name}\" has a {word} but is no time");
                let hint = format!("Add `type: time`, or remove {word}.");
                self.push(&read.file, Diagnostic::error(at(node, word), message).hint(hint));
            }
        }
    }

    fn measures(&mut self, read: &Read<Semantic>) {
        let view = &read.value;
        for (name, measure) in &view.measures {
            let node = read.node.find(&[Step::Key("measures"), Step::Key(name)]);
            if let Some(sql) = &measure.expression {
                self.column_sql(&read.file, node.find(&[Step::Key("expression")]), sql);
            }
            if let Some(time) = &measure.time {
                self.time_dimension(read, time, at(node, "time"));
            }
            self.quantile(read, name, measure, node);
            let Some(over_time) = &measure.over_time else { continue };
            if measure.time.is_none() && view.time.is_none() {
                let message =
                    format!("measure \"{name}\" has no time over which to take one moment");
                let hint =
                    "Name a time dimension: `time: day`, of the measure or the semantic view.";
                self.push(&read.file, Diagnostic::error(at(node, "over_time"), message).hint(hint));
            }
            for word in &over_time.per {
                let known = view.dimensions.contains_key(word) || view.entities.contains_key(word);
                if !known {
                    let message =
                        format!("\"{word}\" is no entity or dimension of \"{}\"", view.semantic);
                    let words =
                        view.dimensions.keys().chain(view.entities.keys()).map(String::as_str);
                    let hint = suggest::hint(word, words);
                    let span = node.find(&[Step::Key("over_time"), Step::Key("per")]).span;
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                }
            }
        }
    }

    /// Whether a quantile says which one it is, and nothing else says so.
    fn quantile(&mut self, read: &Read<Semantic>, name: &str, measure: &Measure, node: &Node) {
        let word = measure.aggregate.word();
        let mut told = |key: &str, message: String, hint: &str| {
            self.push(&read.file, Diagnostic::error(at(node, key), message).hint(hint));
        };
        match (measure.aggregate, measure.p) {
            (Aggregate::Quantile, None) => {
                let message = format!("measure \"{name}\" does not say which quantile it is");
                told("aggregate", message, "Add `p: 0.95` for the 95th percentile.");
            }
            (Aggregate::Quantile, Some(p)) if !(p > 0.0 && p < 1.0) => {
                let message = format!("measure \"{name}\" is the quantile {p}, which there is not");
                let hint =
                    "Write a share between 0 and 1, such as 0.95; 0 and 1 are `min` and `max`.";
                told("p", message, hint);
            }
            (Aggregate::Quantile, Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                let message =
                    format!("measure \"{name}\" has a `p`, which means nothing for {word}");
                told("p", message, "Write `aggregate: quantile`, or remove `p`.");
            }
        }
        if measure.method.is_some() && !measure.aggregate.is_quantile() {
            let message =
                format!("measure \"{name}\" has a `method`, which means nothing for {word}");
            told("method", message, "Only median and quantile have one; remove it.");
        }
    }

    fn time_dimension(&mut self, read: &Read<Semantic>, name: &str, span: Span) {
        let view = &read.value;
        let (message, hint) = match view.dimensions.get(name) {
            Some(dimension) if dimension.kind == DimensionKind::Time => return,
            Some(_) => {
                (format!("dimension \"{name}\" is no time"), "Add `type: time` to it.".to_owned())
            }
            None => (
                format!("semantic \"{}\" has no dimension \"{name}\"", view.semantic),
                suggest::hint(name, view.dimensions.keys().map(String::as_str)),
            ),
        };
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// Whether a text can stand in a query as one value of a row.
    fn column_sql(&mut self, file: &SourceFile, node: &Node, sql: &str) {
        let Some((message, hint)) = sql_problem(sql) else { return };
        self.push(file, Diagnostic::error(node.span, message).hint(hint));
    }

    /// Reports an error at a place.
    fn told(&mut self, file: &SourceFile, span: Span, error: &Error) {
        let diagnostic = Diagnostic::error(span, error.message());
        let hint = error.hint_text().map(str::to_owned);
        self.push(file, Diagnostic { hint, ..diagnostic });
    }
}

/// The place of a key in a section.
pub(super) fn key(node: &Node, section: &str, name: &str) -> Span {
    let section = node.find(&[Step::Key(section)]);
    section.entry(name).map_or(section.span, |(key, _)| key.span)
}

/// Functions that make one value of many rows.
const AGGREGATES: &[&str] = &[
    "approx_distinct",
    "approx_median",
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "count_distinct",
    "max",
    "mean",
    "median",
    "min",
    "mode",
    "percentile_cont",
    "percentile_disc",
    "quantile_cont",
    "quantile_disc",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

/// What words say is no value of one row: a query, and an aggregate, which the measure is itself. A window is one.
fn word_problem(sql: &str) -> Option<(&'static str, &'static str)> {
    let mut words: Vec<(String, bool)> = Vec::new();
    let (mut word, mut quote, mut just_read) = (String::new(), None, false);
    for c in sql.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), c) => quote = (c != open).then_some(open),
            (None, c) if c.is_alphanumeric() || c == '_' => word.extend(c.to_lowercase()),
            (None, c) => {
                if !word.is_empty() {
                    words.push((std::mem::take(&mut word), false));
                    just_read = true;
                }
                if matches!(c, '\'' | '"') {
                    quote = Some(c);
                }
                // A bracket calls the word before it, over spaces and nothing else.
                if let (true, true, Some((_, called))) = (just_read, c == '(', words.last_mut()) {
                    *called = true;
                }
                just_read &= c.is_whitespace();
            }
        }
    }
    if words.iter().any(|(word, _)| word == "select") {
        return Some((
            "an expression reads no other table",
            "Compute the column in a model, or reach the other table by an entity.",
        ));
    }
    let window = words.iter().any(|(word, _)| word == "over");
    let aggregate =
        words.iter().any(|(word, called)| *called && AGGREGATES.contains(&word.as_str()));
    (aggregate && !window).then_some((
        "an expression is of one row, and an aggregate is of many",
        "Write what is put together as `expression` and how as `aggregate`; for a dimension, compute it in a model.",
    ))
}

/// What is wrong with SQL that shall be one value of a row, as far as brackets, quotes and words tell.
fn sql_problem(sql: &str) -> Option<(&'static str, &'static str)> {
    if sql.trim().is_empty() {
        return Some((
            "the expression is empty",
            "Write a column or SQL over columns, or remove it.",
        ));
    }
    if sql.contains("{{") || sql.contains("{%") {
        return Some((
            "templates have no place in expressions",
            "Compute the column in a model and name it here.",
        ));
    }
    let (mut depth, mut quote) = (0_i32, None);
    let mut before = ' ';
    for c in sql.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, ';') => {
                return Some(("an expression is not a statement", "Remove the semicolon."));
            }
            (None, '-') if before == '-' => {
                return Some(("an expression has no comments", "Write it into description."));
            }
            (None, '*') if before == '/' => {
                return Some(("an expression has no comments", "Write it into description."));
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
        before = c;
    }
    match (depth, quote) {
        (0, None) => word_problem(sql),
        (_, Some(_)) => Some(("a quote is not closed", "Close it.")),
        _ => Some(("the brackets do not match", "Open and close as many.")),
    }
}

fn is_zone(text: &str) -> bool {
    let offset = text.strip_prefix(['+', '-']).is_some_and(|rest| {
        rest.len() == 5
            && rest
                .chars()
                .enumerate()
                .all(|(i, c)| (i == 2) == (c == ':') && (i == 2 || c.is_ascii_digit()))
    });
    let named = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+'));
    offset || named
}

/// Whether a word means the time measures are counted by.
fn is_time(word: &str) -> bool {
    TIME_WORDS.contains(&word)
}

/// The view's way to a dimension that is written with dots.
fn parts(word: &str) -> Vec<String> {
    word.split('.').map(str::to_owned).collect()
}
