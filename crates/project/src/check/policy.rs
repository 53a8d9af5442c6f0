//! Policies: whom they ask, what they choose from, where decisions go.

mod limits;
mod metrics;

use std::collections::BTreeSet;

use flywheel_base::Error;
use flywheel_base::calendar::quiet::QuietHours;
use flywheel_base::calendar::time_zone;
use serde_json::Value;

use super::Check;
use super::learner::NO_ACTION;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::file::SourceFile;
use crate::graph::{NodeId, NodeKind};
use crate::load::Read;
use crate::resource::policy::{
    Attribution, Candidate, Choose, ChooseBandit, Consent, Cost, CreditMethod, Experiment, Policy,
    Reorder, column_of,
};
use crate::resource::quantity::Duration;
use crate::yaml::{Node, Step};

/// What of a purchase proposal says how much to buy, or up to how much.
const QUANTITIES: [&str; 2] = ["order_quantity", "order_up_to"];

impl Check<'_> {
    pub(super) fn policies(&mut self) {
        let loaded = self.loaded;
        for (name, read) in &loaded.policies {
            let id = NodeId::new(NodeKind::Policy, name);
            let policy = &read.value;
            let audience = read.node.find(&[Step::Key("audience")]);
            self.query(&id, &policy.audience, &read.file, audience);
            if let Some(outcome) = &policy.outcome {
                let events = read.node.find(&[Step::Key("outcome"), Step::Key("events")]);
                if let Some(sql) = &outcome.events {
                    self.query(&id, sql, &read.file, events);
                }
                if let Some(attribution) = &outcome.attribution {
                    self.attribution(read, attribution);
                }
            }
            self.choose(&id, read);
            self.policy_action(&id, read);
            self.approve(&id, read);
            self.quiet_hours(read);
            self.budget(read);
            self.stock(&id, read);
            self.consent(&id, read);
            self.no_time(&read.file, &read.node, ("every", "1d"), policy.every);
            if let Some(outcome) = &policy.outcome {
                let node = read.node.find(&[Step::Key("outcome")]);
                self.no_time(&read.file, node, ("window", "7d"), Some(outcome.window));
            }
            if policy.holdout.value() >= 1.0 {
                let message = format!("policy \"{name}\" holds everybody out");
                let hint = "Write for example `holdout: 10%`; `paused: true` stops a policy.";
                let span = at(&read.node, "holdout");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
            if policy.outcome.is_none() && policy.holdout.value() > 0.0 {
                let message =
                    format!("policy \"{name}\" holds units out but has no outcome to compare");
                let hint = "Add outcome: with the events that count as success, so that its lift can be measured.";
                let span = at(&read.node, "holdout");
                self.push(&read.file, Diagnostic::warning(span, message).hint(hint));
            }
        }
    }

    /// Times of day, a time zone, and something that would be delivered.
    fn quiet_hours(&mut self, read: &Read<Policy>) {
        let Some(quiet) = &read.value.quiet_hours else { return };
        let node = read.node.find(&[Step::Key("quiet_hours")]);
        let mut refused = |key: &str, error: &Error| {
            let mistake = Diagnostic::error(at(node, key), error.message());
            let hint = error.hint_text().unwrap_or("Write for example zone: Asia/Shanghai.");
            self.push(&read.file, mistake.hint(hint));
        };
        if let Err(error) = QuietHours::parse(&quiet.from, &quiet.to) {
            // Either may be the one that is no time of day.
            let key = match QuietHours::parse(&quiet.from, "23:59") {
                Err(_) if quiet.from.trim() != "23:59" => "from",
                _ => "to",
            };
            refused(key, &error);
        }
        if column_of(&quiet.zone).is_none()
            && let Err(error) = time_zone(&quiet.zone)
        {
            refused("zone", &error);
        }
        self.no_time(&read.file, node, ("expires", "2d"), quiet.expires);
        if read.value.action.is_none() {
            let message = "quiet hours of a policy that delivers nothing";
            let hint = "Add `action`, or leave `quiet_hours` out.";
            self.push(&read.file, Diagnostic::warning(node.span, message).hint(hint));
        }
    }

    fn consent(&mut self, id: &NodeId, read: &Read<Policy>) {
        let Some(consent) = &read.value.consent else { return };
        let node = read.node.find(&[Step::Key("consent")]);
        match consent {
            Consent::Sql(sql) => {
                self.query(id, sql, &read.file, node.find(&[Step::Key("sql")]));
            }
            Consent::Column(column) if column.trim().is_empty() => {
                let message = "consent names no column";
                let hint =
                    "Name a column of the audience, such as `consent: {column: email_consent}`.";
                self.push(&read.file, Diagnostic::error(at(node, "column"), message).hint(hint));
            }
            Consent::Column(_) => {}
        }
    }

    /// Something that would leave, a bound that can be reached, and something to compare with it.
    fn approve(&mut self, id: &NodeId, read: &Read<Policy>) {
        let Some(approve) = &read.value.approve else { return };
        let node = read.node.find(&[Step::Key("approve")]);
        self.no_time(&read.file, node, ("within", "2d"), approve.within);
        if read.value.action.is_none() {
            let message = format!("{id} sends nothing that could be approved");
            let hint = "Add `action`, or leave `approve` out.";
            self.push(&read.file, Diagnostic::error(at(node, "action"), message).hint(hint));
        }
        match (approve.above, &approve.of) {
            (Some(above), _) if !above.is_finite() || above < 0.0 => {
                let message = "approve: above is no number of 0 or more";
                let hint = "Write for example `above: 10000`; without it everything waits.";
                let span = at(node, "above");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
            (Some(_), None) if !matches!(read.value.choose, Choose::Reorder(_)) => {
                let message = format!("{id} compares nothing with `above`");
                let hint = "Name a column of the audience or a key of the payload, such as `of: discount`.";
                let span = at(node, "above");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
            (None, Some(of)) => {
                let message = format!("\"{of}\" is compared with no bound, so everything waits");
                let hint = "Add for example `above: 10000`, or leave `of` out.";
                let span = at(node, "of");
                self.push(&read.file, Diagnostic::warning(span, message).hint(hint));
            }
            _ => {}
        }
    }

    /// Costs that decide something, and are costs.
    fn costs(&mut self, reorder: &Reorder, file: &SourceFile, node: &Node) {
        let Some(costs) = &reorder.costs else { return };
        let node = node.find(&[Step::Key("costs")]);
        let each = [
            ("holding", &costs.holding, false),
            ("shortage", &costs.shortage, false),
            ("order", &costs.order, true),
        ];
        for (key, cost, free) in each {
            let wrong = match cost {
                Some(Cost::Number(cost)) => {
                    !cost.is_finite() || *cost < 0.0 || (*cost == 0.0 && !free)
                }
                Some(Cost::Column(column)) => column.trim().is_empty(),
                None => false,
            };
            if wrong {
                let message = format!("costs: {key} is no cost");
                let least = if free { "of 0 or more" } else { "above 0" };
                let hint =
                    format!("Give a number {least}, or the name of a column of the audience.");
                self.push(file, Diagnostic::error(at(node, key), message).hint(hint));
            }
        }
        if costs.holding.is_none() {
            let message =
                "costs do not say what it costs to hold a unit, so nothing follows from them";
            let hint = "Add for example `holding: 2.5`, what one unit costs in a year.";
            self.push(file, Diagnostic::error(at(node, "holding"), message).hint(hint));
        } else if costs.shortage.is_none() && costs.order.is_none() {
            let message = "from the cost of holding alone nothing follows";
            let hint =
                "Add `shortage`, what a missing unit costs, or `order`, what an order costs.";
            self.push(file, Diagnostic::error(at(node, "holding"), message).hint(hint));
        }
        if costs.shortage.is_some() && reorder.fill_rate.is_some() {
            let message = "the service cannot follow from both `fill_rate` and `costs: shortage`";
            let hint = "Leave one of them out; `costs` may keep `holding` and `order`.";
            self.push(file, Diagnostic::error(at(node, "shortage"), message).hint(hint));
        }
    }

    /// What `flywheel.yaml` says of all policies together: actions that exist, a time, a share that leaves somebody.
    pub(super) fn contact(&mut self) {
        let loaded = self.loaded;
        let Some(read) = &loaded.project else { return };
        if let Some(contact) = &read.value.contact {
            let node = read.node.find(&[Step::Key("contact")]);
            self.no_time(&read.file, node, ("every", "7d"), Some(contact.every));
            let places = node.find(&[Step::Key("actions")]);
            if contact.actions.as_ref().is_some_and(Vec::is_empty) {
                let message = "contact lists no action, so it limits nothing";
                let hint = "Name actions, or leave `actions` out to count all of them.";
                self.push(&read.file, Diagnostic::error(places.span, message).hint(hint));
            }
            for (number, name) in contact.actions.iter().flatten().enumerate() {
                if !self.declared(NodeKind::Action, name) {
                    let message = format!("contact counts the unknown action \"{name}\"");
                    let hint = self.near(&[NodeKind::Action], name);
                    let span = places.find(&[Step::Item(number)]).span;
                    self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                }
            }
        }
        if read.value.holdout.as_ref().is_some_and(|global| global.share.value() >= 1.0) {
            let message = "the holdout of all policies holds everybody out";
            let hint = "Write for example `holdout: {share: 5%}`.";
            let span = at(read.node.find(&[Step::Key("holdout")]), "share");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
    }

    /// Each method and policy once, policies that exist, and ends that leave nothing negative between them.
    fn attribution(&mut self, read: &Read<Policy>, of: &Attribution) {
        let node = read.node.find(&[Step::Key("outcome"), Step::Key("attribution")]);
        let places = node.find(&[Step::Key("methods")]);
        if of.methods.is_empty() {
            let message = "attribution has no method, so nothing is credited";
            let hint = "Leave `methods` out for `[incremental]`, or name at least one.";
            self.push(&read.file, Diagnostic::error(places.span, message).hint(hint));
        }
        for (number, method) in of.methods.iter().enumerate() {
            if of.methods.iter().take(number).any(|earlier| earlier == method) {
                let span = places.find(&[Step::Item(number)]).span;
                let message = format!("method \"{}\" is listed twice", method.name());
                self.push(&read.file, Diagnostic::error(span, message).hint("Keep one of them."));
            }
        }
        let places = node.find(&[Step::Key("among")]);
        for (number, name) in of.among.iter().enumerate() {
            let span = places.find(&[Step::Item(number)]).span;
            if !self.loaded.policies.contains_key(name) {
                let known = self.loaded.policies.keys().map(String::as_str);
                let hint = flywheel_base::suggest::hint(name, known);
                let message = format!("attribution among the unknown policy \"{name}\"");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            } else if of.among.iter().take(number).any(|earlier| earlier == name) {
                let message = format!("policy \"{name}\" is listed twice");
                self.push(&read.file, Diagnostic::error(span, message).hint("Keep one of them."));
            }
        }
        if of.ends.value() > 0.5 {
            let message = "the first and the last moment cannot get more than 50% each";
            let hint = "Write for example `ends: 40%`, which leaves 20 % to those between.";
            let span = at(node, "ends");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
        self.no_time(&read.file, node, ("half_life", "7d"), Some(of.half_life));
        let measured = of.methods.contains(&CreditMethod::Incremental);
        if measured && read.value.holdout.value() <= 0.0 {
            let message = "what is incremental cannot be known without a holdout";
            let hint = "Add for example `holdout: 10%` to the policy, or leave `incremental` out of `methods`.";
            self.push(&read.file, Diagnostic::warning(node.span, message).hint(hint));
        }
    }

    /// A time of no length under `key`, for which the hint names an example.
    pub(super) fn no_time(
        &mut self,
        file: &SourceFile,
        node: &Node,
        (key, example): (&str, &str),
        time: Option<Duration>,
    ) {
        if time.is_some_and(|time| time.micros <= 0) {
            let message = format!("{key} is no time");
            let hint = format!("Write for example `{key}: {example}`.");
            self.push(file, Diagnostic::error(at(node, key), message).hint(hint));
        }
    }

    fn choose(&mut self, id: &NodeId, read: &Read<Policy>) {
        let choose = read.node.find(&[Step::Key("choose")]);
        match &read.value.choose {
            Choose::Candidates(candidates) => {
                let node = choose.find(&[Step::Key("candidates")]);
                self.candidates(&read.file, node, candidates);
            }
            Choose::Recommend(items) => {
                let span = at(choose.find(&[Step::Key("recommend")]), "learner");
                self.policy_learner(id, &items.learner, "recommend", &read.file, span);
            }
            Choose::Reorder(reorder) => {
                let span = at(choose.find(&[Step::Key("reorder")]), "learner");
                self.policy_learner(id, &reorder.learner, "forecast", &read.file, span);
                self.costs(reorder, &read.file, choose.find(&[Step::Key("reorder")]));
                for (key, given) in [("calibrated", reorder.calibrated), ("pooled", reorder.pooled)]
                {
                    if given && reorder.fill_rate.is_none() {
                        let span = at(choose.find(&[Step::Key("reorder")]), key);
                        let message = format!("`{key}` has no fill rate to reach");
                        let hint = format!("Add `fill_rate: 95%`, or leave `{key}` out.");
                        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                    }
                }
            }
            Choose::Bandit(bandit) => {
                let node = choose.find(&[Step::Key("bandit")]);
                self.policy_learner(id, &bandit.learner, "bandit", &read.file, at(node, "learner"));
                self.bandit_candidates(bandit, &read.file, node);
                self.canary(id, read, bandit, node);
            }
            Choose::Experiment(experiment) => {
                let node = choose.find(&[Step::Key("experiment")]);
                self.experiment(id, read, experiment, node);
            }
        }
    }

    fn candidates(&mut self, file: &SourceFile, node: &Node, candidates: &[Candidate]) {
        if candidates.is_empty() {
            let message = "a policy without candidates can choose nothing";
            let hint = "List at least one, as in `- name: reminder`.";
            self.push(file, Diagnostic::error(node.span, message).hint(hint));
        } else if candidates.iter().all(|candidate| candidate.weight <= 0.0) {
            let message = "every candidate has weight 0, so none can be chosen";
            let hint = "Give at least one a positive weight.";
            self.push(file, Diagnostic::error(node.span, message).hint(hint));
        }
        let mut seen = BTreeSet::new();
        for (candidate, node) in candidates.iter().zip(node.items()) {
            if candidate.name == NO_ACTION {
                let message = "a candidate cannot be called \"none\": the holdout's action is";
                let hint = "Name what is done, such as `no-message`.";
                self.push(file, Diagnostic::error(at(node, "name"), message).hint(hint));
            } else if !seen.insert(candidate.name.as_str()) {
                let message = format!("candidate \"{}\" is listed twice", candidate.name);
                let hint = "Rename one of them; outcomes are counted by this name.";
                self.push(file, Diagnostic::error(at(node, "name"), message).hint(hint));
            }
        }
    }

    /// Candidates are actions of the learner, each once.
    fn bandit_candidates(&mut self, bandit: &ChooseBandit, file: &SourceFile, node: &Node) {
        let Some(candidates) = &bandit.candidates else { return };
        let Some(actions) = self.bandit_actions(&bandit.learner).map(<[String]>::to_vec) else {
            return;
        };
        let mut seen = BTreeSet::new();
        let places = node.find(&[Step::Key("candidates")]).items();
        for (candidate, place) in candidates.iter().zip(places) {
            let (name, span) = (&candidate.name, at(place, "name"));
            if !actions.contains(name) {
                let message = format!("\"{name}\" is no action of learner \"{}\"", bandit.learner);
                let hint = flywheel_base::suggest::hint(name, actions.iter().map(String::as_str));
                self.push(file, Diagnostic::error(span, message).hint(hint));
            } else if !seen.insert(name.as_str()) {
                let message = format!("candidate \"{name}\" is listed twice");
                self.push(file, Diagnostic::error(span, message).hint("Keep one of them."));
            }
        }
    }

    /// Challengers are other bandits that know what the policy offers; shares rise.
    fn canary(&mut self, id: &NodeId, read: &Read<Policy>, of: &ChooseBandit, node: &Node) {
        let Some(canary) = &of.canary else { return };
        let node = node.find(&[Step::Key("canary")]);
        let shares: Vec<f64> = canary.shares.iter().map(|share| share.value()).collect();
        let inside = shares.iter().all(|share| *share > 0.0 && *share < 1.0);
        if shares.is_empty() || !inside || shares.windows(2).any(|pair| pair[0] >= pair[1]) {
            let message = "the shares of a canary must lie between 0% and 100% and rise";
            let hint = "Write for example shares: [1%, 5%, 10%, 25%, 50%].";
            let span = at(node, "shares");
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
        if !canary.gain_min.is_finite() {
            let span = at(node, "gain_min");
            let message = "gain_min is no finite number";
            let hint = "Give a gain in reward a decision, such as 0.005.";
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        }
        if read.value.outcome.is_none() {
            let message = format!("{id} has a canary but no outcome to judge it by");
            let hint = "Add outcome: with the events that count as success.";
            self.push(&read.file, Diagnostic::error(node.span, message).hint(hint));
        }
        let places = node.find(&[Step::Key("challengers")]);
        for (number, name) in canary.challengers.iter().enumerate() {
            let span = places.find(&[Step::Item(number)]).span;
            if *name == of.learner {
                let message = format!("\"{name}\" decides already, so it cannot challenge itself");
                let hint = "Name another learner with bandit: and the same policy:.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
                continue;
            }
            self.policy_learner(id, name, "bandit", &read.file, span);
            let Some(actions) = self.bandit_actions(name).map(<[String]>::to_vec) else { continue };
            let offered = of.candidates.iter().flatten().map(|candidate| &candidate.name);
            if let Some(missing) = offered.into_iter().find(|offered| !actions.contains(offered)) {
                let message = format!("challenger \"{name}\" knows no action \"{missing}\"");
                let hint =
                    "Add it to the actions of that learner, which then learns anew from the log.";
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
        }
    }

    fn experiment(&mut self, id: &NodeId, read: &Read<Policy>, of: &Experiment, node: &Node) {
        let variants = node.find(&[Step::Key("variants")]);
        self.candidates(&read.file, variants, &of.variants);
        let positive = of.variants.iter().filter(|variant| variant.weight > 0.0).count();
        if positive == 1 && of.variants.len() > 1 {
            let message = "only one variant has a weight above 0, so there is nothing to compare";
            let hint = "Give at least two variants a positive weight.";
            self.push(&read.file, Diagnostic::error(variants.span, message).hint(hint));
        }
        let control =
            of.variants.iter().find(|variant| Some(variant.name.as_str()) == of.control());
        match (control, &of.control) {
            (None, Some(control)) => {
                let message = format!("control \"{control}\" is no variant of the experiment");
                let names = of.variants.iter().map(|variant| variant.name.as_str());
                let hint = flywheel_base::suggest::hint(control, names);
                let span = at(node, "control");
                self.push(&read.file, Diagnostic::error(span, message).hint(hint));
            }
            (Some(control), _) if control.weight <= 0.0 => {
                let message = format!(
                    "control \"{}\" has weight 0, so nothing can be compared with it",
                    control.name
                );
                let hint = "Give it a positive weight, or name another control.";
                self.push(&read.file, Diagnostic::error(variants.span, message).hint(hint));
            }
            _ => {}
        }
        if read.value.outcome.is_none() {
            let message = format!("{id} is an experiment without an outcome to compare");
            let hint = "Add outcome: with the events that count as success.";
            self.push(&read.file, Diagnostic::error(node.span, message).hint(hint));
        }
        if let Some(sql) = &of.pre_period {
            let place = node.find(&[Step::Key("pre_period")]);
            self.query(id, sql, &read.file, place);
        }
        let mut seen = BTreeSet::new();
        for (number, guardrail) in of.guardrails.iter().enumerate() {
            let place = node.find(&[Step::Key("guardrails"), Step::Item(number)]);
            if !seen.insert(guardrail.name.as_str()) {
                let message = format!("guardrail \"{}\" is listed twice", guardrail.name);
                let hint = "Rename one of them; it is shown by this name.";
                self.push(&read.file, Diagnostic::error(at(place, "name"), message).hint(hint));
            }
            self.query(id, &guardrail.events, &read.file, place.find(&[Step::Key("events")]));
        }
        self.declared_metrics(id, &read.file, of, node);
    }

    fn policy_learner(
        &mut self,
        id: &NodeId,
        learner: &str,
        wanted: &str,
        file: &SourceFile,
        span: Span,
    ) {
        let loaded = self.loaded;
        if !self.declared(NodeKind::Learner, learner) {
            let message = format!("{id} asks unknown learner \"{learner}\"");
            let hint = self.learners_near(wanted, learner);
            self.push(file, Diagnostic::error(span, message).hint(hint));
            return;
        }
        self.checked.graph.link(&NodeId::new(NodeKind::Learner, learner), id);
        let found = loaded
            .learners
            .get(learner)
            .and_then(|read| Some((read.value.kind().ok()?.name(), read)));
        if let Some((found, read)) = found.filter(|(found, _)| *found != wanted) {
            let message = format!("{id} needs a {wanted} learner, \"{learner}\" is a {found} one");
            let hint = format!("It is declared in {}; name one of kind {wanted}.", read.file.path);
            self.push(file, Diagnostic::error(span, message).hint(hint));
        }
    }

    /// An order whose receiver is not told how much to buy.
    fn ordered(&mut self, id: &NodeId, read: &Read<Policy>) {
        let Policy { choose: Choose::Reorder(_), payload, .. } = &read.value else { return };
        if payload.values().any(|value| names_any(value, &QUANTITIES)) {
            return;
        }
        let message = format!("{id} sends orders that do not say how much to buy");
        let hint = "Add for example `payload: {item: $unit_id, quantity: $order_quantity}`.";
        let span = at(&read.node, "action");
        self.push(&read.file, Diagnostic::warning(span, message).hint(hint));
    }

    fn policy_action(&mut self, id: &NodeId, read: &Read<Policy>) {
        let Some(action) = &read.value.action else { return };
        if self.declared(NodeKind::Action, action) {
            self.checked.graph.link(id, &NodeId::new(NodeKind::Action, action));
            self.ordered(id, read);
            self.filled(id, read, action);
            return;
        }
        let message = format!("{id} sends to unknown action \"{action}\"");
        let hint = self.near(&[NodeKind::Action], action);
        self.push(&read.file, Diagnostic::error(at(&read.node, "action"), message).hint(hint));
    }
}

/// Whether a value of a payload stands for one of these columns, at any depth.
fn names_any(value: &Value, columns: &[&str]) -> bool {
    match value {
        Value::String(text) => column_of(text).is_some_and(|column| columns.contains(&column)),
        Value::Array(values) => values.iter().any(|one| names_any(one, columns)),
        Value::Object(fields) => fields.values().any(|one| names_any(one, columns)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
