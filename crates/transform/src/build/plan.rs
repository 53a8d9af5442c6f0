//! What is to be built and tested, in which order.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Result, Timestamp};
use flywheel_project::graph::Known;
use flywheel_project::{Model, NodeKind, Project};

use crate::names;
use crate::order::{self, Edges};
use crate::testing::{self, Check, Unit};

/// A plan; nothing in it depends on the lake.
pub(crate) struct Plan<'a> {
    /// Every enabled model by its name in SQL, also those that are not built.
    pub(crate) models: BTreeMap<String, &'a Model>,
    /// What each of them reads.
    pub(crate) reads: Edges,
    /// The models to build.
    pub(crate) selected: BTreeSet<String>,
    /// They in waves.
    pub(crate) waves: Vec<Vec<String>>,
    /// Tests to run, by what they test.
    pub(crate) checks: BTreeMap<Option<String>, Vec<Check>>,
    /// Unit tests of the models to build.
    pub(crate) units: BTreeMap<String, Vec<Unit<'a>>>,
    /// Whether everything is built.
    pub(crate) whole: bool,
}

impl<'a> Plan<'a> {
    /// Plans a build of what is selected, and its tests in a run that began at `tests_at`; without that there are none.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for a selector that names nothing, a circle, or a
    /// template that cannot be rendered.
    pub(crate) fn new(
        project: &'a Project,
        select: &[String],
        exclude: &[String],
        known: &Known,
        tests_at: Option<Timestamp>,
    ) -> Result<Self> {
        let mut models = BTreeMap::new();
        let mut reads = Edges::new();
        for model in project.models.values().filter(|model| model.config.enabled) {
            let read = names::read_by_model(project, model).map_err(|error| {
                error.context(format!("model \"{}\" ({})", model.name, model.path))
            })?;
            reads.insert(model.relation(), read);
            models.insert(model.relation(), model);
        }
        let chosen = project.graph.select_with(select, exclude, known)?;
        let of_kind = |kind: NodeKind| chosen.iter().filter(move |node| node.kind == kind);
        let selected: BTreeSet<String> = of_kind(NodeKind::Model)
            .map(|node| names::relation(project, node))
            .filter(|name| models.contains_key(name))
            .collect();
        let mut tested = selected.clone();
        tested.extend(of_kind(NodeKind::Source).map(|node| names::relation(project, node)));
        let read = selected.iter().filter_map(|name| reads.get(name)).flatten();
        tested.extend(read.filter(|name| !models.contains_key(*name)).cloned());
        let checks = match tests_at {
            Some(moment) => testing::checks(project, moment)?,
            None => Vec::new(),
        };
        let whole = select.is_empty() && exclude.is_empty();
        let checks = relevant(checks, &tested, whole);
        let waves = order::arrange(&selected, &reads, &wishes(&checks))?;
        let mut units: BTreeMap<String, Vec<Unit<'a>>> = BTreeMap::new();
        for name in selected.iter().filter(|_| tests_at.is_some()) {
            let Some(model) = models.get(name).copied() else { continue };
            let made = model.unit_tests.iter().map(|test| Unit::new(project, model, test));
            let made: Vec<Unit<'a>> = made.collect();
            if !made.is_empty() {
                units.insert(name.clone(), made);
            }
        }
        Ok(Self { models, reads, selected, waves, checks, units, whole })
    }

    /// Leaves out tests by their names.
    pub(crate) fn leave_out(&mut self, without: &BTreeSet<String>) {
        for checks in self.checks.values_mut() {
            checks.retain(|check| !without.contains(&check.name));
        }
        self.checks.retain(|_, checks| !checks.is_empty());
    }
}

/// Tests of what is tested, by subject; a test of nothing belongs to a build of everything.
fn relevant(
    checks: Vec<Check>,
    tested: &BTreeSet<String>,
    whole: bool,
) -> BTreeMap<Option<String>, Vec<Check>> {
    let mut by_subject: BTreeMap<Option<String>, Vec<Check>> = BTreeMap::new();
    for check in checks {
        let subject = check.blames.iter().rev().find(|name| tested.contains(*name)).cloned();
        if subject.is_some() || (whole && check.blames.is_empty()) {
            by_subject.entry(subject).or_default().push(check);
        }
    }
    by_subject
}

/// What tests of a model read should be built before the model.
fn wishes(checks: &BTreeMap<Option<String>, Vec<Check>>) -> Edges {
    let mut wishes = Edges::new();
    for (subject, checks) in checks {
        if let Some(subject) = subject {
            let reads = checks.iter().flat_map(|check| check.reads.iter().cloned());
            wishes.insert(subject.clone(), reads.collect());
        }
    }
    wishes
}
