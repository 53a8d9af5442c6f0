//! The `catalogue:` of `flywheel.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::quantity::{Duration, Share};

/// What people say about assets, and what keeping them costs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Catalogue {
    /// What is said about assets, by name or by a pattern with `*`: `mart.*`, `raw.orders`, `learner:next_item`. What is
    /// said under a name wins over what is said under a pattern, and a longer pattern over a shorter one.
    pub assets: BTreeMap<String, AssetSettings>,
    /// What storage and work cost.
    pub prices: Prices,
    /// What all assets cost in a year, if that is known from elsewhere; the sum of their costs if absent.
    #[schemars(range(min = 0))]
    pub cost_per_year: Option<f64>,
    /// Which share of that is to be saved; the gauge of `flywheel savings` is full when it is.
    pub savings_target: Share,
    /// A table that nobody and nothing has read for so long is unused.
    pub unused_after: Duration,
    /// How old a landed table may be, if its property file does not say it.
    pub fresh_within: Duration,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            assets: BTreeMap::new(),
            prices: Prices::default(),
            cost_per_year: None,
            savings_target: Share::of(0.5),
            unused_after: Duration::days(30),
            fresh_within: Duration::days(7),
        }
    }
}

/// What people say about an asset.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssetSettings {
    /// Who answers for it.
    pub owner: Option<String>,
    /// Words by which it is found and counted.
    pub tags: Vec<String>,
    /// Other words for it.
    pub synonyms: Vec<String>,
    /// What it is, if its own file does not say it.
    pub description: Option<String>,
    /// Whether its owner stands for it.
    pub certified: Option<bool>,
    /// What it costs in a year, if that is known better than from its size and its runs.
    #[schemars(range(min = 0))]
    pub cost_per_year: Option<f64>,
    /// Columns of which a profile shows no values; those with a `mask` are among them anyway.
    pub masked: Vec<String>,
}

/// What storage and work cost.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// The currency of every cost.
    pub currency: String,
    /// One GiB for one month.
    #[schemars(range(min = 0))]
    pub storage_gib_month: f64,
    /// One hour of work: the time that syncs, builds and fits take.
    #[schemars(range(min = 0))]
    pub work_hour: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self { currency: "USD".to_owned(), storage_gib_month: 0.023, work_hour: 0.10 }
    }
}

impl Catalogue {
    /// What is said about the asset `name` of a kind, and under which keys: a table by its name, anything by
    /// `kind:name`.
    #[must_use]
    pub fn said(&self, kind: &str, name: &str) -> AssetSettings {
        let mut fitting: Vec<(&String, &AssetSettings)> =
            self.assets.iter().filter(|(pattern, _)| fits(pattern, kind, name)).collect();
        fitting.sort_by_key(|(pattern, _)| (!pattern.contains('*'), pattern.len()));
        let mut said = AssetSettings::default();
        for (_, one) in fitting {
            let one = one.clone();
            said.owner = one.owner.or(said.owner);
            said.description = one.description.or(said.description);
            said.certified = one.certified.or(said.certified);
            said.cost_per_year = one.cost_per_year.or(said.cost_per_year);
            said.tags.extend(one.tags);
            said.synonyms.extend(one.synonyms);
            said.masked.extend(one.masked);
        }
        for list in [&mut said.tags, &mut said.synonyms, &mut said.masked] {
            list.sort();
            list.dedup();
        }
        said
    }

    /// The keys of [`Catalogue::assets`] that fit none of these assets, each a kind and a name.
    pub fn idle<'a>(&'a self, assets: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a str> {
        let fits_one =
            |pattern: &String| assets.iter().any(|(kind, name)| fits(pattern, kind, name));
        self.assets.keys().filter(move |pattern| !fits_one(pattern)).map(String::as_str)
    }
}

/// Whether an asset is meant: `kind:` may stand before the pattern, and `*` for anything.
fn fits(pattern: &str, kind: &str, name: &str) -> bool {
    let pattern = match pattern.split_once(':') {
        Some((of, rest)) if of == kind => rest,
        Some(_) => return false,
        None => pattern,
    };
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_what_its_star_stands_for() {
        for (pattern, kind, name, wanted) in [
            ("raw.orders", "source", "raw.orders", true),
            ("raw.*", "source", "raw.orders", true),
            ("*.orders", "source", "raw.orders", true),
            ("*or*ers", "source", "raw.orders", true),
            ("*", "metric", "x", true),
            ("learner:*", "learner", "next", true),
            ("learner:next", "model", "next", false),
            ("raw.order", "source", "raw.orders", false),
            ("a*a", "source", "a", false),
        ] {
            assert_eq!(fits(pattern, kind, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn a_name_wins_over_a_long_pattern_and_that_over_a_short_one() {
        let of = |owner: &str, tag: &str| AssetSettings {
            owner: Some(owner.to_owned()),
            tags: vec![tag.to_owned()],
            ..AssetSettings::default()
        };
        let assets = [("*", of("all", "a")), ("mart.*", of("mart", "b")), ("mart.x", of("x", "c"))];
        let assets = assets.into_iter().map(|(name, said)| (name.to_owned(), said)).collect();
        let catalogue = Catalogue { assets, ..Catalogue::default() };
        let owner = |name: &str| catalogue.said("model", name).owner;
        assert_eq!(owner("mart.x").as_deref(), Some("x"));
        assert_eq!(owner("mart.orders_of_the_day").as_deref(), Some("mart"));
        assert_eq!(owner("raw.y").as_deref(), Some("all"));
        assert_eq!(catalogue.said("model", "mart.x").tags, ["a", "b", "c"]);
        let known = [("model", "mart.x")];
        assert_eq!(catalogue.idle(&known).count(), 0);
    }
}
