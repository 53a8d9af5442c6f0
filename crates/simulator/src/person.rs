//! What the shop's own system knows of a customer: nothing that could be a real person.

use flywheel_base::Rng;

use crate::vocabulary::{CITIES, FAMILY_NAMES, GIVEN_NAMES};

/// The first customer number; UCI's shop starts near it too.
pub(crate) const FIRST_ID: u32 = 10_001;

/// The share of customers who allow marketing messages.
const CONSENT_SHARE: f64 = 0.96;

/// A row of the customer table.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) city: &'static str,
    pub(crate) country: &'static str,
    pub(crate) consent: bool,
}

impl Person {
    pub(crate) fn make(seed: u64, index: usize) -> Self {
        let mut rng = Rng::stream(seed, &format!("person/{index}"));
        let id = FIRST_ID + index as u32;
        let given = GIVEN_NAMES[rng.below(GIVEN_NAMES.len())];
        let family = FAMILY_NAMES[rng.below(FAMILY_NAMES.len())];
        let weights: Vec<f64> = CITIES.iter().map(|(_, _, weight)| *weight).collect();
        let (city, country, _) = CITIES[rng.weighted(&weights).unwrap_or_default()];
        Self {
            id,
            name: format!("{given} {family}"),
            // example.com is reserved: a message can never reach anybody.
            email: format!("customer{id}@example.com"),
            city,
            country,
            consent: rng.chance(CONSENT_SHARE),
        }
    }
}
