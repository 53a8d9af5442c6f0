//! What a policy may spend, and what there is to give.

use flywheel_base::Timestamp;
use flywheel_base::calendar::time_zone;

use super::super::Check;
use super::super::sync::at;
use crate::diagnostic::Diagnostic;
use crate::graph::NodeId;
use crate::load::Read;
use crate::resource::policy::{BudgetPeriod, Choose, Cost, Pacing, Policy};
use crate::yaml::Step;

impl Check<'_> {
    /// An amount that can be spent, a cost, and a time that has a length.
    pub(super) fn budget(&mut self, read: &Read<Policy>) {
        let Some(budget) = &read.value.budget else { return };
        let node = read.node.find(&[Step::Key("budget")]);
        let mut wrong = |key: &str, message: String, hint: &str| {
            let span = at(node, key);
            self.push(&read.file, Diagnostic::error(span, message).hint(hint));
        };
        if !budget.amount.is_finite() || budget.amount < 0.0 {
            let message = "budget: amount is no number of 0 or more".to_owned();
            wrong("amount", message, "Write for example `amount: 500`.");
        }
        let no_cost = match &budget.cost {
            Cost::Number(cost) => !cost.is_finite() || *cost < 0.0,
            Cost::Column(column) => column.trim().is_empty(),
        };
        if no_cost {
            let message = "budget: cost is no cost".to_owned();
            wrong(
                "cost",
                message,
                "Give a number of 0 or more, or the name of a column of the audience.",
            );
        }
        if let Some(Err(error)) = budget.zone.as_deref().map(time_zone) {
            let hint = error.hint_text().unwrap_or("Write for example zone: Asia/Shanghai.");
            wrong("zone", error.message().to_owned(), hint);
        }
        let mut ends = [None, None];
        let texts = [("from", &budget.from), ("until", &budget.until)];
        for ((key, text), end) in texts.into_iter().zip(&mut ends) {
            let Some(text) = text else { continue };
            if budget.per != BudgetPeriod::Campaign {
                let message = format!("budget: {key} is of a campaign alone");
                wrong(key, message, "Write `per: campaign`, or leave it out.");
                continue;
            }
            match Timestamp::parse(text) {
                Ok(moment) => *end = Some(moment),
                Err(error) => {
                    let hint = error.hint_text().unwrap_or("Write for example 2026-11-01.");
                    wrong(key, error.message().to_owned(), hint);
                }
            }
        }
        if let [Some(from), Some(until)] = ends
            && from >= until
        {
            let message = "budget: the campaign ends before it begins".to_owned();
            wrong("until", message, "Write `until` later than `from`.");
        }
        let even = budget.pacing == Pacing::Even && budget.per == BudgetPeriod::Campaign;
        if even && (budget.from.is_none() || budget.until.is_none()) {
            let message = "a campaign without `from` and `until` cannot be paced evenly".to_owned();
            wrong("pacing", message, "Add both, or write `pacing: asap`.");
        }
        if matches!(read.value.choose, Choose::Reorder(_)) {
            let message = "a purchase proposal has a budget of its own".to_owned();
            wrong(
                "amount",
                message,
                "Write `budget` inside of `choose: {reorder: …}`, which counts what each order costs.",
            );
        }
    }

    /// A query, for a choice of which something else can be offered.
    pub(super) fn stock(&mut self, id: &NodeId, read: &Read<Policy>) {
        let Some(sql) = &read.value.stock else { return };
        let node = read.node.find(&[Step::Key("stock")]);
        self.query(id, sql, &read.file, node);
        let why = match &read.value.choose {
            Choose::Candidates(_) | Choose::Recommend(_) | Choose::Bandit(_) => return,
            Choose::Experiment(_) => {
                "an experiment cannot offer another variant when one is used up: its arms would not be alike"
            }
            Choose::Reorder(_) => "a purchase proposal buys what is not there",
        };
        let hint =
            "Leave `stock` out; `choose: {candidates: …}`, a bandit and a recommender keep to it.";
        self.push(&read.file, Diagnostic::error(node.span, why).hint(hint));
    }
}
