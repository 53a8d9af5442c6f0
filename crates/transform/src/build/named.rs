//! Tests that are chosen by their own names and kinds: `flywheel test --select no_order_is_free test_type:unit`.

use std::collections::BTreeSet;

use flywheel_base::{Result, Timestamp};
use flywheel_project::Project;
use flywheel_project::graph::{Known, glob};

use super::plan::Plan;

/// dbt's selector of tests by their kinds.
const KIND: &str = "test_type:";

/// The kinds of tests.
const KINDS: &[&str] = &["generic", "singular", "data", "unit"];

impl<'a> Plan<'a> {
    /// Plans the tests that selectors name, and those of the nodes that the other selectors name, in a run that began at
    /// `moment`.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub(super) fn of_tests(
        project: &'a Project,
        select: &[String],
        exclude: &[String],
        known: &Known,
        moment: Timestamp,
    ) -> Result<Self> {
        let (named, nodes) = parted(project, select);
        let (unwanted, without) = parted(project, exclude);
        let of = |nodes: &[String]| Plan::new(project, nodes, &without, known, Some(moment));
        let mut plan = of(if named.is_empty() { nodes.as_slice() } else { &[] })?;
        if !named.is_empty() {
            // Tests of nodes are run beside those that are named themselves.
            let also = match nodes.is_empty() {
                true => BTreeSet::new(),
                false => of(&nodes)?.tests(),
            };
            plan.keep(|name, unit| also.contains(name) || chosen(project, &named, name, unit));
        }
        plan.keep(|name, unit| !chosen(project, &unwanted, name, unit));
        Ok(plan)
    }

    /// The names of its tests.
    fn tests(&self) -> BTreeSet<String> {
        let checks = self.checks.values().flatten().map(|check| check.name.clone());
        checks.chain(self.units.values().flatten().map(|unit| unit.name())).collect()
    }

    /// Leaves out tests that `keep` does not want, given their names and whether they are unit tests.
    fn keep(&mut self, keep: impl Fn(&str, bool) -> bool) {
        for checks in self.checks.values_mut() {
            checks.retain(|check| keep(&check.name, false));
        }
        self.checks.retain(|_, checks| !checks.is_empty());
        for units in self.units.values_mut() {
            units.retain(|unit| keep(&unit.name(), true));
        }
        self.units.retain(|_, units| !units.is_empty());
    }
}

/// The words that name tests, and the others, which name nodes.
fn parted(project: &Project, words: &[String]) -> (Vec<String>, Vec<String>) {
    let words = words.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned);
    words.partition(|word| names_tests(project, word))
}

/// Whether a word names tests, by their kind or by their names; a name that a node has, too, is the node's.
fn names_tests(project: &Project, word: &str) -> bool {
    if let Some(kind) = word.strip_prefix(KIND) {
        return KINDS.contains(&kind);
    }
    if word.contains(['+', '@', ',', ':', '/']) {
        return false;
    }
    if project.graph.nodes().any(|(id, _)| glob(word, &id.name)) {
        return false;
    }
    let of_models = project.model_tests().map(|test| test.name.as_str());
    let singular = project.singular_tests.keys().map(String::as_str);
    let units = project.models.values().flat_map(|model| &model.unit_tests);
    let mut names = of_models.chain(singular).chain(units.map(|unit| unit.name.as_str()));
    names.any(|name| glob(word, name))
}

/// Whether one of the words names the test.
fn chosen(project: &Project, words: &[String], name: &str, unit: bool) -> bool {
    let singular = !unit && project.singular_tests.contains_key(name);
    words.iter().any(|word| match word.strip_prefix(KIND) {
        Some("unit") => unit,
        Some("data") => !unit,
        Some("singular") => singular,
        Some("generic") => !unit && !singular,
        Some(_) => false,
        // A unit test is told with its model before its name.
        None => {
            let own = name.split_once('.').map(|(_, own)| own).filter(|_| unit);
            glob(word, name) || own.is_some_and(|own| glob(word, own))
        }
    })
}
