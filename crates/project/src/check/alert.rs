//! Alerts: what they tell of, and whom.

use flywheel_base::suggest;

use super::Check;
use super::query::{inside, locate};
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::NodeKind;
use crate::load::Read;
use crate::metric::Semantics;
use crate::resource::alert::{ALL, Alert};
use crate::resource::quantity::Duration;
use crate::template;
use crate::yaml::{Node, Step};

/// Conditions, for hints.
const CONDITIONS: &str =
    "policies, quality, models, lag, freshness, deliveries, drift, metric or query";
/// The shortest wait, in microseconds.
const WAIT_MIN_US: i64 = 1_000_000;

impl Check<'_> {
    pub(super) fn alerts(&mut self) {
        let loaded = self.loaded;
        for read in loaded.alerts.values() {
            self.alert_condition(read);
            self.alert_objects(read);
            self.alert_limits(read);
            self.alert_metric(read);
            self.alert_query(read);
            if read.value.send.is_empty() {
                let message = format!("alert \"{}\" is sent to nobody", read.value.alert);
                let hint = "Name actions: `send: [NAME]`.";
                self.alert_says(read, at(&read.node, "send"), message, hint);
            }
            let list = read.node.find(&[Step::Key("send")]);
            self.alert_names(read, list, &read.value.send, NodeKind::Action, false);
            for (key, value) in [("repeat", read.value.repeat), ("mute", read.value.mute)] {
                self.alert_duration(read, &read.node, key, value);
            }
        }
    }

    fn alert_says(&mut self, read: &Read<Alert>, span: Span, message: String, hint: &str) {
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// There is one condition, and each setting belongs to it.
    fn alert_condition(&mut self, read: &Read<Alert>) {
        let (name, when) = (&read.value.alert, &read.value.when);
        let node = read.node.find(&[Step::Key("when")]);
        let given = when.given();
        match given.as_slice() {
            [_] => {}
            [] => {
                let message = format!("alert \"{name}\" says not what it tells of");
                let hint = format!("Add one of {CONDITIONS} under `when`.");
                self.alert_says(read, at(&read.node, "when"), message, &hint);
            }
            [first, second, ..] => {
                let message = format!("alert \"{name}\" has both {first} and {second}");
                self.alert_says(read, at(node, second), message, "Make an alert of each.");
            }
        }
        let owned: [(bool, &str, &[&str]); 7] = [
            (!when.on.is_empty(), "on", &["policies"]),
            (when.longer_than.is_some(), "longer_than", &["lag", "freshness"]),
            (when.more_than.is_some(), "more_than", &["lag"]),
            (when.filter.is_some(), "filter", &["metric"]),
            (when.days.is_some(), "days", &["metric"]),
            (when.below.is_some(), "below", &["metric"]),
            (when.above.is_some(), "above", &["metric"]),
        ];
        for (_, key, owners) in owned.into_iter().filter(|(given, ..)| *given) {
            if !owners.iter().any(|owner| given.contains(owner)) {
                let message = format!("\"{key}\" belongs to {}", owners.join(" and "));
                let hint = format!("Remove `{key}`.");
                self.alert_says(read, at(node, key), message, &hint);
            }
        }
    }

    /// What is named is there.
    fn alert_objects(&mut self, read: &Read<Alert>) {
        let when = &read.value.when;
        let lists = [
            ("policies", &when.policies, NodeKind::Policy),
            ("quality", &when.quality, NodeKind::Quality),
            ("lag", &when.lag, NodeKind::Sync),
            ("deliveries", &when.deliveries, NodeKind::Action),
            ("drift", &when.drift, NodeKind::Learner),
        ];
        for (key, names, kind) in lists {
            let node = read.node.find(&[Step::Key("when"), Step::Key(key)]);
            self.alert_names(read, node, names, kind, true);
        }
        let known = self.relations();
        for (key, tables) in [("models", &when.models), ("freshness", &when.freshness)] {
            let node = read.node.find(&[Step::Key("when"), Step::Key(key)]);
            for (index, table) in tables.iter().enumerate() {
                if table == ALL || known.contains(table) {
                    continue;
                }
                let span = node.items().get(index).map_or(node.span, |item| item.span);
                let message =
                    format!("alert \"{}\" names unknown table \"{table}\"", read.value.alert);
                let hint = suggest::hint(table, known.iter().map(String::as_str));
                self.alert_says(read, span, message, &hint);
            }
        }
    }

    fn alert_names(
        &mut self,
        read: &Read<Alert>,
        node: &Node,
        names: &[String],
        kind: NodeKind,
        all: bool,
    ) {
        for (index, name) in names.iter().enumerate() {
            if (all && name == ALL) || self.declared(kind, name) {
                continue;
            }
            let span = node.items().get(index).map_or(node.span, |item| item.span);
            let alert = &read.value.alert;
            let message = format!("alert \"{alert}\" names unknown {} \"{name}\"", kind.word());
            let hint = self.near(&[kind], name);
            self.alert_says(read, span, message, &hint);
        }
    }

    /// What has a limit says it.
    fn alert_limits(&mut self, read: &Read<Alert>) {
        let when = &read.value.when;
        let node = read.node.find(&[Step::Key("when")]);
        if !when.lag.is_empty() && when.longer_than.is_none() && when.more_than.is_none() {
            let message = "how far a sync may be behind is not said".to_owned();
            let hint = "Add `longer_than: 2h`, or `more_than: 1000`.";
            self.alert_says(read, at(node, "lag"), message, hint);
        }
        if !when.freshness.is_empty() && when.longer_than.is_none() {
            let message = "how old a table may be is not said".to_owned();
            self.alert_says(read, at(node, "freshness"), message, "Add `longer_than: 1d`.");
        }
        self.alert_duration(read, node, "longer_than", when.longer_than);
        self.alert_duration(read, node, "every", Some(when.every));
    }

    fn alert_duration(
        &mut self,
        read: &Read<Alert>,
        node: &Node,
        key: &str,
        value: Option<Duration>,
    ) {
        if value.is_some_and(|value| value.micros < WAIT_MIN_US) {
            let message = format!("\"{key}\" is shorter than a second");
            self.alert_says(read, at(node, key), message, "Write 30s, 15m, 1h or 1d.");
        }
    }

    fn alert_metric(&mut self, read: &Read<Alert>) {
        let when = &read.value.when;
        let Some(metric) = &when.metric else { return };
        let node = read.node.find(&[Step::Key("when")]);
        let loaded = self.loaded;
        let all = Semantics::new(loaded.semantics.values().map(|read| &read.value));
        if let Err(error) = all.metric(metric) {
            let hint = error.hint_text().unwrap_or_default();
            self.alert_says(read, at(node, "metric"), error.message().to_owned(), hint);
        }
        match (when.below, when.above) {
            (None, None) => {
                let message = format!("which bound of metric \"{metric}\" is crossed is not said");
                let hint = "Add `below: 100`, `above: 1000`, or both.";
                self.alert_says(read, at(node, "metric"), message, hint);
            }
            (Some(below), Some(above)) if below > above => {
                let message = "every value is below or above these bounds".to_owned();
                let hint = "Let `below` be the smaller number, and `above` the larger one.";
                self.alert_says(read, at(node, "above"), message, hint);
            }
            _ => {}
        }
    }

    /// The query is a template, and what it refers to is there.
    fn alert_query(&mut self, read: &Read<Alert>) {
        let Some(sql) = &read.value.when.query else { return };
        let node = read.node.find(&[Step::Key("when"), Step::Key("query")]);
        if sql.trim().is_empty() {
            let hint = "Write a SELECT, for instance after `|`.";
            return self.alert_says(read, node.span, "the SQL is empty".to_owned(), hint);
        }
        let loaded = self.loaded;
        let scan = match template::scan(sql, &loaded.vars, &loaded.macros) {
            Ok(scan) => scan,
            Err(fault) => {
                let diagnostic = fault.into_diagnostic(|span| inside(node, sql, span));
                return self.push(&read.file, diagnostic);
            }
        };
        let text = SourceFile::new(&read.file.path, sql);
        for reference in &scan.references {
            let span = locate(&text, reference).map_or(node.span, |span| inside(node, sql, span));
            // A bad reference is reported; nothing depends on an alert, so there is no edge.
            let _: Option<crate::graph::NodeId> = self.resolve(reference, &read.file, span);
        }
    }
}
