//! Learners: their SQL, what a bandit learns from, and options that the chosen algorithm would not read.

use std::collections::BTreeSet;

use flywheel_base::{calendar::time_zone, suggest};

use super::Check;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::resource::extension::path_problem;
use crate::resource::learner::{
    Bandit, BanditAlgorithm, Forecast, ForecastCalendar, Learner, LearnerKind, OnDrift, Onnx,
    Recommend, RecommendAlgorithm, Reward, SIMILAR, ScoreAlgorithm, Value, ValueModel,
};
use crate::resource::policy::Choose;
use crate::yaml::{Node, Step};

/// What decisions of the holdout log as their action.
pub(super) const NO_ACTION: &str = "none";

/// Columns of a forecast's query that are no groups of series.
const OF_SERIES: [&str; 3] = ["series_id", "day", "value"];
/// Levels that every hierarchy has.
const LEVELS: [&str; 2] = ["total", "series"];

impl Check<'_> {
    pub(super) fn learners(&mut self) {
        let loaded = self.loaded;
        for (name, read) in &loaded.learners {
            let id = NodeId::new(NodeKind::Learner, name);
            let Ok(kind) = read.value.kind() else { continue };
            self.amounts(name, read);
            if let LearnerKind::Recommend(recommend) = kind {
                self.foreign_options(name, recommend, read);
                self.ranked(name, recommend, read);
                self.listing(name, recommend, read);
            }
            if let LearnerKind::Bandit(bandit) = kind {
                self.bandit(name, bandit, read);
            }
            if let LearnerKind::Forecast(forecast) = kind {
                self.calendars(name, forecast, read);
                self.hierarchy(name, forecast, read);
            }
            if let LearnerKind::Value(value) = kind {
                self.opportunity(name, value, read);
            }
            let zone = match kind {
                LearnerKind::Hours(hours) => hours.time_zone.as_deref(),
                LearnerKind::Recommend(recommend) => recommend.time_zone.as_deref(),
                _ => None,
            };
            if let Some(Err(error)) = zone.map(time_zone) {
                let span = at(read.node.find(&[Step::Key(kind.name())]), "time_zone");
                let mut diagnostic = Diagnostic::error(span, error.message().to_owned());
                if let Some(hint) = error.hint_text() {
                    diagnostic = diagnostic.hint(hint);
                }
                self.push(&read.file, diagnostic);
            }
            if let LearnerKind::Onnx(onnx) = kind {
                self.onnx(name, onnx, read);
            }
            for (key, sql) in kind.queries() {
                let node = read.node.find(&[Step::Key(kind.name()), Step::Key(key)]);
                self.query(&id, sql, &read.file, node);
            }
        }
    }

    /// An answer to a drift that nobody would notice.
    fn drift(&mut self, name: &str, read: &Read<Learner>) {
        let learner = &read.value;
        let Ok(kind) = learner.kind() else { return };
        let judged = match kind {
            LearnerKind::Score(score) => score.algorithm == ScoreAlgorithm::Online,
            LearnerKind::Recommend(_) | LearnerKind::Forecast(_) | LearnerKind::Bandit(_) => true,
            _ => false,
        };
        if learner.on_drift == OnDrift::Tell || judged {
            return;
        }
        let message = format!(
            "learner \"{name}\" has on_drift, but no answer of it is judged by what happens later"
        );
        let hint = "Leave on_drift out; recommend, forecast, bandit and a score that learns row by row are judged.";
        let span = at(&read.node, "on_drift");
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// Times that are none, and intervals that cover nothing or everything.
    fn amounts(&mut self, name: &str, read: &Read<Learner>) {
        let (learner, node) = (&read.value, &read.node);
        self.no_time(&read.file, node, ("refit", "1d"), learner.refit);
        self.drift(name, read);
        let mut intervals = Vec::new();
        if let Some(forecast) = &learner.forecast {
            intervals.push((node.find(&[Step::Key("forecast")]), forecast.interval));
        }
        if let Some(value) = &learner.value {
            let node = node.find(&[Step::Key("value")]);
            self.no_time(&read.file, node, ("horizon", "90d"), Some(value.horizon));
            intervals.push((node, value.interval));
        }
        if let Some(hours) = &learner.hours {
            let node = node.find(&[Step::Key("hours")]);
            self.no_time(&read.file, node, ("half_life", "90d"), Some(hours.half_life));
        }
        for (node, interval) in intervals {
            if interval.value() <= 0.0 || interval.value() >= 1.0 {
                let message =
                    format!("learner \"{name}\" has an interval that covers nothing or everything");
                let hint = "Write for example `interval: 90%`.";
                let span = at(node, "interval");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
        }
    }

    /// A model's file that is not there or leads out of the project, and inputs that read nothing or `unit_id`.
    fn onnx(&mut self, name: &str, onnx: &Onnx, read: &Read<Learner>) {
        let node = read.node.find(&[Step::Key("onnx")]);
        let span = at(node, "model");
        if let Some(problem) = path_problem(&onnx.model) {
            let message = format!("the model \"{}\" of learner \"{name}\" {problem}", onnx.model);
            let hint = "Name a file below the project's folder, such as `models/churn.onnx`.";
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        } else if !self.loaded.dir.join(&onnx.model).is_file() {
            let message =
                format!("learner \"{name}\" reads \"{}\", which is no file here", onnx.model);
            let hint = "Put the model there, or name it from the project's folder.";
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
        let inputs = node.find(&[Step::Key("inputs")]);
        for (input, columns) in &onnx.inputs {
            let span = at(inputs, input);
            if columns.is_empty() {
                let message = format!("input \"{input}\" of learner \"{name}\" reads no column");
                let hint = "List its columns in the order in which the model was fitted.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
            if columns.iter().any(|column| column == "unit_id") {
                let message = "unit_id is whom a score is about, not something known of them";
                let hint = "Select it under another name too if the model was fitted with it.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
        }
    }

    /// Calendars that are named twice, or are the project's own without there being one.
    fn calendars(&mut self, name: &str, forecast: &Forecast, read: &Read<Learner>) {
        let places = read.node.find(&[Step::Key("forecast"), Step::Key("calendar")]).items();
        let own =
            self.loaded.project.as_ref().map(|project| !project.value.calendar.days.is_empty());
        for (at, (calendar, place)) in forecast.calendar.iter().zip(places).enumerate() {
            if forecast.calendar.iter().take(at).any(|before| before == calendar) {
                let message = format!("learner \"{name}\" names a calendar twice");
                let hint = "List each calendar once.";
                self.push(&read.file, Diagnostic::error(place.span, message).hint(hint));
            } else if *calendar == ForecastCalendar::Own && own == Some(false) {
                let message = format!(
                    "learner \"{name}\" looks at days of the project's own, and there are none"
                );
                let hint = "Declare them in flywheel.yaml: `calendar: {days: {double-eleven: {on: [\"11-11\"]}}}`.";
                self.push(&read.file, Diagnostic::error(place.span, message).hint(hint));
            }
        }
    }

    /// A model whose time is counted in opportunities without saying how long one is, and the other way round.
    fn opportunity(&mut self, name: &str, value: &Value, read: &Read<Learner>) {
        let node = read.node.find(&[Step::Key("value")]);
        let counted = value.model == ValueModel::BgBb;
        let (span, message, hint) = match value.opportunity {
            None if counted => (
                at(node, "model"),
                format!(
                    "learner \"{name}\" counts in opportunities and does not say how long one is"
                ),
                "Add `opportunity: 30d`: the time from one chance to buy to the next.",
            ),
            Some(_) if !counted => (
                at(node, "opportunity"),
                format!(
                    "learner \"{name}\" says how long an opportunity is, and its model knows none"
                ),
                "Remove it, or set `model: bg-bb`.",
            ),
            Some(long) if long.in_days() < 1.0 => (
                at(node, "opportunity"),
                format!("learner \"{name}\" has an opportunity of less than a day"),
                "Purchases of one day are one: give a day at least, such as 7d.",
            ),
            _ => return,
        };
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// Levels of a hierarchy that are none, or are named twice, and a way of adding up where nothing is above the series.
    fn hierarchy(&mut self, name: &str, forecast: &Forecast, read: &Read<Learner>) {
        let node = read.node.find(&[Step::Key("forecast")]);
        if forecast.hierarchy.is_empty() {
            if let Some((key, _)) = node.entry("reconciliation") {
                let message =
                    format!("learner \"{name}\" has a reconciliation, but no hierarchy to add up");
                let hint = "Name the columns that group the series: `hierarchy: [category]`; or remove \"reconciliation\".";
                self.push(&read.file, Diagnostic::error(key.span, message).hint(hint));
            }
            return;
        }
        let other = format!("{name}_levels");
        if self.loaded.learners.contains_key(&other)
            && let Some((key, _)) = node.entry("hierarchy")
        {
            let message = format!(
                "learner \"{name}\" writes its groups to learn.{other}, which is the table of learner \"{other}\""
            );
            self.push(
                &read.file,
                Diagnostic::error(key.span, message).hint("Rename either learner."),
            );
        }
        let places = node.find(&[Step::Key("hierarchy")]).items();
        for (at, (level, place)) in forecast.hierarchy.iter().zip(places).enumerate() {
            let (message, hint) = if forecast
                .hierarchy
                .iter()
                .take(at)
                .any(|before| before == level)
            {
                let message = format!("learner \"{name}\" has the level \"{level}\" twice");
                (message, "List each column once, the finest first.")
            } else if level.trim().is_empty() {
                let message = format!("learner \"{name}\" has a level without a name");
                (message, "Name a column of the query.")
            } else if OF_SERIES.contains(&level.as_str()) {
                let message =
                    format!("learner \"{name}\" has the level \"{level}\", which groups no series");
                (
                    message,
                    "Name columns that series share values of, such as a category; series and total are levels by themselves.",
                )
            } else if LEVELS.contains(&level.as_str()) {
                let message = format!(
                    "learner \"{name}\" has the level \"{level}\", which every hierarchy has by itself"
                );
                (
                    message,
                    "Leave it out; if a column of the query has this name, give it another one.",
                )
            } else {
                continue;
            };
            self.push(&read.file, Diagnostic::error(place.span, message).hint(hint));
        }
    }

    /// Options of an algorithm that is not the chosen one have no effect, so they are a mistake.
    fn foreign_options(&mut self, name: &str, recommend: &Recommend, read: &Read<Learner>) {
        let chosen = recommend.algorithm;
        for (key, algorithm) in recommend.given_options() {
            if algorithm == chosen {
                continue;
            }
            let entry = read.node.get("recommend").and_then(|node| node.entry(key));
            let span = entry.map_or(Span::FILE, |(key, _)| key.span);
            let (chosen, meant) = (chosen.name(), algorithm.name());
            let message =
                format!("learner \"{name}\" has options of {meant}, but its algorithm is {chosen}");
            let hint = format!("Write algorithm: {meant}, or remove \"{key}\".");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
    }

    /// What a ranker learns from: a policy that shows this learner's items, explores and has an outcome.
    fn ranked(&mut self, name: &str, recommend: &Recommend, read: &Read<Learner>) {
        let Some(rank) = &recommend.rank else { return };
        let node = read.node.find(&[Step::Key("recommend"), Step::Key("rank")]);
        let (loaded, span) = (self.loaded, at(node, "from"));
        if !self.declared(NodeKind::Policy, &rank.from) {
            let message = format!("learner \"{name}\" ranks by unknown policy \"{}\"", rank.from);
            let hint = self.near(&[NodeKind::Policy], &rank.from);
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        } else if let Some(policy) = loaded.policies.get(&rank.from) {
            let place = &policy.file.path;
            let shows = match &policy.value.choose {
                Choose::Recommend(items) if items.learner == name => Some(items),
                _ => None,
            };
            if shows.is_none() {
                let message =
                    format!("policy \"{}\" does not show items of learner \"{name}\"", rank.from);
                let hint = format!(
                    "Name a policy with `choose: {{recommend: {{learner: {name}}}}}`; this one is in {place}."
                );
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            } else if policy.value.outcome.is_none() {
                let message = format!("policy \"{}\" has no outcome to rank by", rank.from);
                let hint =
                    format!("Add outcome: with the events that count as success in {place}.");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            } else if shows.is_some_and(|items| items.explore.value() <= 0.0) {
                let message = format!(
                    "policy \"{}\" explores nothing, so nothing says what another order would bring",
                    rank.from
                );
                let hint = format!("Write explore: 10% under recommend: in {place}.");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
        }
        let mut seen = BTreeSet::new();
        let features = node.find(&[Step::Key("features")]).items();
        for (column, place) in rank.features.iter().zip(features) {
            if !seen.insert(column.as_str()) {
                let message = format!("column \"{column}\" is in the features twice");
                self.push(
                    &read.file,
                    Diagnostic::error(place.span, message).hint("Keep one of them."),
                );
            }
        }
        if !rank.features.is_empty() && recommend.items.is_none() {
            let span = at(node, "features");
            let message = format!("learner \"{name}\" ranks by columns of items, and has no items");
            let hint = "Add items: with a query for item_id and these columns.";
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
    }

    /// Rules for lists that would do nothing or have nothing to look at, and a tuning of what is not tuned.
    fn listing(&mut self, name: &str, recommend: &Recommend, read: &Read<Learner>) {
        let node = read.node.find(&[Step::Key("recommend")]);
        let key_span =
            |node: &Node, key: &str| node.entry(key).map_or(Span::FILE, |(key, _)| key.span);
        let mut wrong: Vec<(Span, String, &str)> = Vec::new();
        if recommend.tune.is_some() && recommend.algorithm != RecommendAlgorithm::Auto {
            let message = format!(
                "learner \"{name}\" has tune, but its algorithm is {}",
                recommend.algorithm.name()
            );
            wrong.push((
                key_span(node, "tune"),
                message,
                "Write algorithm: auto, or remove \"tune\".",
            ));
        }
        const NO_ITEMS: &str = "Add items: with a query for item_id and these columns.";
        let without = recommend.items.is_none();
        if without && !recommend.attributes.is_empty() {
            let message =
                format!("learner \"{name}\" has attributes of items, and no query for items");
            wrong.push((key_span(node, "attributes"), message, NO_ITEMS));
        }
        if let Some(rules) = &recommend.rules {
            let node = node.find(&[Step::Key("rules")]);
            let similar = rules.similar_by.as_deref();
            let of_items = similar.filter(|by| *by != SIMILAR[2]).map(|_| "similar_by");
            let looks = [
                of_items,
                (!rules.at_most.is_empty()).then_some("at_most"),
                rules.only.as_ref().map(|_| "only"),
                (!rules.boost.is_empty()).then_some("boost"),
            ];
            if let Some(key) = looks.into_iter().flatten().next().filter(|_| without) {
                let message =
                    format!("learner \"{name}\" has rules about items, and no query for items");
                wrong.push((key_span(node, key), message, NO_ITEMS));
            }
            let varies = rules.diversity.is_some_and(|diversity| diversity > 0.0);
            if varies && similar.is_none() {
                let message =
                    format!("learner \"{name}\" wants variety and does not say what is alike");
                let hint = "Add similar_by: category, content, embedding or co-occurrence.";
                wrong.push((key_span(node, "diversity"), message, hint));
            }
            if !varies && similar.is_some() {
                let message = format!("learner \"{name}\" has similar_by, but no diversity");
                let hint = "Add diversity: 0.3, or remove \"similar_by\".";
                wrong.push((key_span(node, "similar_by"), message, hint));
            }
            if rules.at_most.values().any(|most| *most == 0) {
                let message = format!("learner \"{name}\" lists at most 0 items of a column");
                let hint = "Write 1 at least, or leave items out by only: or exclude:.";
                wrong.push((key_span(node, "at_most"), message, hint));
            }
            if rules.bought_within.is_some() && !recommend.repeats {
                let message = format!(
                    "learner \"{name}\" has bought_within, but lists nothing that a user has already"
                );
                let hint = "Add repeats: true, or remove \"bought_within\".";
                wrong.push((key_span(node, "bought_within"), message, hint));
            }
            if let Some(item) = rules.pin.iter().find(|item| rules.exclude.contains(item)) {
                let message = format!("item \"{item}\" is pinned and excluded");
                wrong.push((key_span(node, "pin"), message, "Remove it from one of the two."));
            }
        }
        for (span, message, hint) in wrong {
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
        if let Some(rules) = &recommend.rules {
            let node = node.find(&[Step::Key("rules")]);
            self.no_time(&read.file, node, ("bought_within", "30d"), rules.bought_within);
        }
    }

    /// What a bandit learns from, and whether its options go together.
    fn bandit(&mut self, name: &str, bandit: &Bandit, read: &Read<Learner>) {
        let node = read.node.find(&[Step::Key("bandit")]);
        self.bandit_policy(name, bandit, read, node);
        let mut seen = BTreeSet::new();
        let actions = node.find(&[Step::Key("actions")]).items();
        for (action, place) in bandit.actions.iter().zip(actions) {
            if action == NO_ACTION {
                let message = "an action cannot be called \"none\": the holdout's is";
                let hint = "Name what is done, such as `no-message`.";
                self.push(&read.file, Diagnostic::error(place.span, message).hint(hint));
            } else if !seen.insert(action.as_str()) {
                let message = format!("action \"{action}\" is listed twice");
                let hint = "List each action once; rewards are learned by this name.";
                self.push(&read.file, Diagnostic::error(place.span, message).hint(hint));
            }
        }
        let mut seen = BTreeSet::new();
        let features = node.find(&[Step::Key("context")]).items();
        for (feature, place) in bandit.context.iter().zip(features) {
            let (column, span) = (&feature.column, at(place, "column"));
            if column == "unit_id" {
                let message = "unit_id is whom a decision is about, not something known of them";
                let hint = "Name a column that units share values of, such as a segment.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            } else if !seen.insert(column.as_str()) {
                let message = format!("column \"{column}\" is in the context twice");
                self.push(&read.file, Diagnostic::error(span, message).hint("Keep one of them."));
            }
        }
        self.bandit_options(name, bandit, read, node);
    }

    fn bandit_policy(&mut self, name: &str, bandit: &Bandit, read: &Read<Learner>, node: &Node) {
        let loaded = self.loaded;
        let span = at(node, "policy");
        if !self.declared(NodeKind::Policy, &bandit.policy) {
            let message =
                format!("learner \"{name}\" learns from unknown policy \"{}\"", bandit.policy);
            let hint = self.near(&[NodeKind::Policy], &bandit.policy);
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            return;
        }
        // A policy that could not be read has its own message.
        let Some(policy) = loaded.policies.get(&bandit.policy) else { return };
        let place = &policy.file.path;
        if policy.value.outcome.is_none() {
            let message =
                format!("policy \"{}\" has no outcome to learn a reward from", bandit.policy);
            let hint = format!("Add outcome: with the events that count as success in {place}.");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
        if !policy.value.choose.names_actions() {
            let message =
                format!("policy \"{}\" chooses no named actions to learn about", bandit.policy);
            let hint = format!(
                "Learn from one with candidates, bandit or experiment; this one is in {place}."
            );
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
    }

    fn bandit_options(&mut self, name: &str, bandit: &Bandit, read: &Read<Learner>, node: &Node) {
        let algorithm = bandit.algorithm.name();
        let key_span = |key: &str| node.entry(key).map_or(Span::FILE, |(key, _)| key.span);
        let mut wrong = Vec::new();
        for (key, _) in bandit.given_options().into_iter().filter(|(_, read)| !read) {
            let message = format!("learner \"{name}\" has {key}, which {algorithm} does not read");
            wrong.push((key_span(key), message, format!("Remove \"{key}\", or change algorithm.")));
        }
        if bandit.algorithm == BanditAlgorithm::BetaThompson && !bandit.context.is_empty() {
            let message =
                format!("learner \"{name}\" has a context, which {algorithm} does not read");
            let hint = "Remove context, or write algorithm: lin-thompson or logistic-thompson.";
            wrong.push((key_span("context"), message, hint.to_owned()));
        }
        if bandit.algorithm == BanditAlgorithm::EpsilonGreedy && bandit.explore.value() <= 0.0 {
            let message = format!(
                "learner \"{name}\" explores nothing, so {algorithm} would never try anything"
            );
            wrong.push((
                key_span("explore"),
                message,
                "Write explore: 5%, for example.".to_owned(),
            ));
        }
        match (bandit.reward, bandit.value_max) {
            (Reward::Value, None) => {
                let message = format!("learner \"{name}\" learns from values but not up to which");
                let hint = "Write value_max: with a value that few outcomes exceed; it counts as a reward of 1.";
                wrong.push((key_span("reward"), message, hint.to_owned()));
            }
            (Reward::Outcome, Some(_)) => {
                let message =
                    format!("learner \"{name}\" has value_max, but its reward is outcome");
                let hint = "Write reward: value, or remove value_max.";
                wrong.push((key_span("value_max"), message, hint.to_owned()));
            }
            _ => {}
        }
        for (span, message, hint) in wrong {
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
    }

    /// The actions of the bandit `learner`, if it is one.
    pub(super) fn bandit_actions(&self, learner: &str) -> Option<&[String]> {
        let read = self.loaded.learners.get(learner)?;
        match read.value.kind() {
            Ok(LearnerKind::Bandit(bandit)) => Some(&bandit.actions),
            _ => None,
        }
    }

    /// What `learner` would be, among near names of a kind.
    pub(super) fn learners_near(&self, wanted: &str, learner: &str) -> String {
        let right = self.loaded.learners.values();
        let right = right.filter(|read| read.value.kind().is_ok_and(|kind| kind.name() == wanted));
        suggest::hint(learner, right.map(|read| read.value.learner.as_str()))
    }
}
