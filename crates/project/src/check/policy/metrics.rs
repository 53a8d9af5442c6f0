//! Metrics that an experiment declares, and who its units are.

use std::collections::BTreeSet;

use super::super::Check;
use super::super::sync::at;
use crate::diagnostic::Diagnostic;
use crate::file::SourceFile;
use crate::graph::NodeId;
use crate::resource::policy::{Experiment, Measure};
use crate::yaml::{Node, Step};

/// What the rows of an experiment call by these names themselves.
const OURS: [&str; 4] = ["outcome", "value", "outcome-before", "value-before"];

impl Check<'_> {
    /// Names that tell rows apart, queries that exist, and shares that are inside.
    pub(super) fn declared_metrics(
        &mut self,
        id: &NodeId,
        file: &SourceFile,
        of: &Experiment,
        node: &Node,
    ) {
        let guardrails = of.guardrails.iter().map(|guardrail| guardrail.name.as_str());
        let mut seen: BTreeSet<&str> = guardrails.collect();
        for (number, metric) in of.metrics.iter().enumerate() {
            let place = node.find(&[Step::Key("metrics"), Step::Item(number)]);
            let name = metric.name.as_str();
            let span = at(place, "name");
            if name.trim().is_empty() || OURS.contains(&name) {
                let message = format!("a metric cannot be called \"{name}\"");
                let hint = format!(
                    "Name what it says, such as order-value; {} are what every experiment has.",
                    OURS.join(", ")
                );
                self.push(file, Diagnostic::error(span, message).hint(hint));
            } else if !seen.insert(name) {
                let message = format!("\"{name}\" is the name of another metric or guardrail");
                let hint = "Rename one of them; it is shown by this name.";
                self.push(file, Diagnostic::error(span, message).hint(hint));
            }
            let measure = place.find(&[Step::Key("measure")]);
            match &metric.measure {
                Measure::Ratio(ratio) => {
                    let within = measure.find(&[Step::Key("ratio")]);
                    let numerator = within.find(&[Step::Key("numerator")]);
                    self.query(id, &ratio.numerator, file, numerator);
                    let denominator = within.find(&[Step::Key("denominator")]);
                    self.query(id, &ratio.denominator, file, denominator);
                }
                Measure::Quantile(quantile) => {
                    let within = measure.find(&[Step::Key("quantile")]);
                    self.query(id, &quantile.events, file, within.find(&[Step::Key("events")]));
                    let share = quantile.share.value();
                    if share <= 0.0 || share >= 1.0 {
                        let message = format!("metric \"{name}\" asks for no quantile");
                        let hint = "Write a share between 0% and 100%, such as `share: 90%`.";
                        let span = at(within, "share");
                        self.push(file, Diagnostic::error(span, message).hint(hint));
                    }
                }
            }
        }
        if let Some(sql) = &of.identities {
            self.query(id, sql, file, node.find(&[Step::Key("identities")]));
        }
    }
}
