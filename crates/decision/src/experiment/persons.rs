//! Who the units of an experiment are, and which of them got more than one variant.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use flywheel_base::{ErrorKind, Result};
use flywheel_project::resource::policy::{Choose, Experiment};
use serde::Deserialize;

use crate::choose::experiment::{salt, split_of};
use crate::context::{Context, Pending};
use crate::decide::TREATMENT;
use crate::verify::kept_text;

/// The person behind each unit, where something says so.
#[derive(Debug, Default)]
pub(super) struct Persons(HashMap<String, String>);

impl Persons {
    /// Reads who the units are; a unit that is listed for several persons belongs to the first by name.
    pub(super) async fn load(
        ctx: &Context<'_>,
        name: &str,
        experiment: &Experiment,
    ) -> Result<Self> {
        let Some(sql) = &experiment.identities else { return Ok(Self::default()) };
        let what = format!("experiment \"{name}\": identities");
        let frame = ctx.frame(&what, sql).await?;
        let mut known: HashMap<String, String> = HashMap::new();
        for (unit, person) in frame.ids("unit_id")?.into_iter().zip(frame.text("person")?) {
            let Some(person) = person.filter(|person| !person.is_empty()) else { continue };
            match known.get_mut(&unit) {
                Some(first) if person < *first => *first = person,
                Some(_) => {}
                None => drop(known.insert(unit, person)),
            }
        }
        Ok(Self(known))
    }

    /// The person that a unit is, or the unit itself.
    pub(super) fn of<'a>(&'a self, unit: &'a str) -> &'a str {
        self.0.get(unit).map_or(unit, String::as_str)
    }
}

/// What a policy decided as one experiment.
pub(super) struct Splits {
    /// The splits that are one experiment with the present one, which is among them.
    pub(super) all: BTreeSet<String>,
    /// The versions that decided under the present one, each after the moment of its first decision, in microseconds since
    /// the epoch (UTC); oldest first.
    pub(super) versions: Vec<(i64, String)>,
    /// When each unit of the present one was first decided for.
    pub(super) firsts: BTreeMap<String, First>,
}

/// When a unit was first decided for, in microseconds since the epoch (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    /// In the present split.
    pub(super) in_split: i64,
    /// In any split of the same salt: with other shares most units kept their variant, and its effect.
    pub(super) in_all: i64,
}

/// The first decision of a unit under a split by a version.
struct Began<'f> {
    unit: &'f str,
    split: &'f str,
    version: &'f str,
    at: i64,
}

/// Asks when each unit of a policy was first decided for, under each split and by each version.
pub(super) fn ask(ctx: &Context<'_>, name: &str) -> Pending<'static> {
    let sql = format!(
        "select unit_id, candidates_digest as split, policy_version as version, min(decided_at) as since
         from system.decisions where policy = '{name}' and arm = '{TREATMENT}'
         group by 1, 2, 3"
    );
    ctx.begin("first decisions", sql)
}

/// The splits of a policy that are one experiment with the present one: those of the same salt, with
/// other shares or variants. Another salt draws anew, whatever a unit had before, so that what is left of its effect is
/// alike in all variants; leaving out who got another one then would leave those in whom it is not. What was decided
/// otherwise, such as a variant that is kept for everybody, is exposure to no variant of an experiment.
pub(super) async fn splits(
    ctx: &Context<'_>,
    name: &str,
    experiment: &Experiment,
    present: &str,
    decided: Pending<'_>,
) -> Result<Splits> {
    let frame = decided.frame().await.map_err(|e| e.context(format!("experiment \"{name}\"")))?;
    let (units, splits) = (frame.texts("unit_id")?, frame.texts_or_empty("split")?);
    let versions = frame.texts_or_empty("version")?;
    let rows = units.iter().zip(splits.iter()).zip(versions.iter()).zip(frame.moments("since")?);
    let began: Vec<Began<'_>> =
        rows.map(|(((unit, split), version), at)| Began { unit, split, version, at }).collect();
    together(&began, present, |split, version| {
        let former = former(ctx, name, version)?;
        Ok(former.is_some_and(|former| {
            salt(name, &former) == salt(name, experiment) && split_of(name, &former) == split
        }))
    })
}

/// Puts the first decisions of units together; `same` says whether a split that a version decided under is one experiment
/// with the present one.
fn together(
    began: &[Began<'_>],
    present: &str,
    same: impl Fn(&str, &str) -> Result<bool>,
) -> Result<Splits> {
    let mut since: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for one in began {
        note(&mut since, (one.split, one.version), one.at);
    }
    let mut oldest: Vec<_> = since.into_iter().map(|(of, since)| (since, of)).collect();
    oldest.sort_unstable();
    let mut all = BTreeSet::from([present.to_owned()]);
    let mut versions = Vec::new();
    for (since, (split, version)) in oldest {
        if split == present {
            versions.push((since, version.to_owned()));
        } else if !all.contains(split) && same(split, version)? {
            all.insert(split.to_owned());
        }
    }
    let mut in_split: BTreeMap<&str, i64> = BTreeMap::new();
    let mut in_all: BTreeMap<&str, i64> = BTreeMap::new();
    for one in began.iter().filter(|one| all.contains(one.split)) {
        note(&mut in_all, one.unit, one.at);
        if one.split == present {
            note(&mut in_split, one.unit, one.at);
        }
    }
    let firsts = in_split.into_iter().map(|(unit, in_split)| {
        let in_all = in_all.get(unit).copied().unwrap_or(in_split);
        (unit.to_owned(), First { in_split, in_all })
    });
    let firsts = firsts.collect();
    Ok(Splits { all, versions, firsts })
}

/// Keeps the earliest moment of each.
fn note<K: Ord>(known: &mut BTreeMap<K, i64>, key: K, at: i64) {
    let first = known.entry(key).or_insert(at);
    *first = at.min(*first);
}

/// The experiment that a version of a policy was; none if it was something else or its text is not kept or not readable.
fn former(ctx: &Context<'_>, name: &str, version: &str) -> Result<Option<Experiment>> {
    #[derive(Deserialize)]
    struct Text {
        choose: Choose,
    }
    let text = match kept_text(ctx, name, version) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(policy = name, version, error = %error, "text of a policy not readable");
            None
        }
        text => text?,
    };
    let text = text.and_then(|text| serde_json::from_slice::<Text>(&text).ok());
    Ok(text.and_then(|text| match text.choose {
        Choose::Experiment(experiment) => Some(experiment),
        _ => None,
    }))
}

/// The variants that each unit or person got, of all splits of one salt.
#[derive(Debug, Default)]
pub(super) struct Got<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Got<'a> {
    /// Notes that somebody got a variant.
    pub(super) fn add(&mut self, who: &'a str, variant: &'a str) {
        self.0.entry(who).or_default().insert(variant);
    }

    /// Whether somebody got more than one.
    pub(super) fn several(&self, who: &str) -> bool {
        self.0.get(who).is_some_and(|variants| variants.len() > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_of_one_experiment_and_first_decisions_are_found_together() {
        let began = |unit, split, version, at| Began { unit, split, version, at };
        let rows = [
            began("ann", "now", "3", 30),
            began("ann", "before", "1", 10),
            began("ann", "other", "0", 1),
            began("bob", "now", "2", 20),
            began("bob", "now", "3", 31),
            began("cleo", "before", "1", 11),
        ];
        let same = |split: &str, version: &str| {
            assert_ne!(split, "now", "the present one is not looked up");
            Ok(split == "before" && version == "1")
        };
        let found = together(&rows, "now", same).unwrap();
        assert_eq!(found.all, ["before", "now"].map(str::to_owned).into());
        assert_eq!(found.versions, [(20, "2".to_owned()), (30, "3".to_owned())]);
        let firsts: Vec<_> =
            found.firsts.iter().map(|(unit, first)| (unit.as_str(), *first)).collect();
        let first = |in_split, in_all| First { in_split, in_all };
        assert_eq!(firsts, [("ann", first(30, 10)), ("bob", first(20, 20))]);
        let none = together(&[], "now", same).unwrap();
        assert_eq!((none.all.len(), none.versions.len(), none.firsts.len()), (1, 0, 0));
    }

    #[test]
    fn whoever_is_known_by_two_names_got_the_variants_of_both() {
        let known = [("a1", "ann"), ("a2", "ann"), ("b1", "bob")];
        let known = known.map(|(unit, person)| (unit.to_owned(), person.to_owned()));
        let persons = Persons(known.into_iter().collect());
        let mut got = Got::default();
        for (unit, variant) in [("a1", "plain"), ("a2", "bold"), ("b1", "bold"), ("c", "plain")] {
            got.add(persons.of(unit), variant);
        }
        assert!(got.several("ann") && !got.several("bob") && !got.several("c"));
        assert_eq!(persons.of("c"), "c");
    }
}
