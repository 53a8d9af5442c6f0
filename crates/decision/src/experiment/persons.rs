//! Who the units of an experiment are, and which of them got more than one variant.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use flywheel_base::{ErrorKind, Result};
use flywheel_project::resource::policy::{Choose, Experiment};
use serde::Deserialize;

use crate::choose::experiment::{salt, split_of};
use crate::context::Context;
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
) -> Result<Splits> {
    let what = format!("experiment \"{name}\": splits");
    let sql = format!(
        "select coalesce(candidates_digest, '') as split, coalesce(policy_version, '') as version,
           min(decided_at) as since
         from system.decisions where policy = '{name}' and arm = '{TREATMENT}'
         group by 1, 2 order by 3, 1, 2"
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let mut found = BTreeSet::from([present.to_owned()]);
    let mut versions = Vec::new();
    let rows = frame.ids("split")?.into_iter().zip(frame.ids("version")?);
    for ((split, version), since) in rows.zip(frame.moments("since")?) {
        if split == present {
            versions.push((since, version));
        } else if !found.contains(&split)
            && let Some(former) = former(ctx, name, &version)?
            && salt(name, &former) == salt(name, experiment)
            && split_of(name, &former) == split
        {
            found.insert(split);
        }
    }
    Ok(Splits { all: found, versions })
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
