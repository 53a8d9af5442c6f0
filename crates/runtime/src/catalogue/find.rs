//! Finding assets and columns by words, in English and Chinese.

use std::time::Instant;

use flywheel_algo::search::{Document, Index};
use serde::Serialize;
use tracing::debug;

use super::{Asset, Catalogue};

/// What a name counts, beside a description's 1.
const NAME: f64 = 4.0;
/// What labels and synonyms count.
const LABEL: f64 = 4.0;
/// What tags and the owner count.
const TAG: f64 = 2.0;
/// What the names of columns count for their table.
const COLUMN: f64 = 0.6;
/// What a certified asset counts more.
const CERTIFIED: f64 = 1.25;
/// What a deprecated asset counts.
const DEPRECATED: f64 = 0.5;
/// What a much used asset counts more at most.
const USED: f64 = 0.25;
/// Users beyond which more make no difference.
const USERS_MAX: f64 = 50.0;
/// What a column counts beside an asset of the same words.
const OF_A_COLUMN: f64 = 0.55;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The best places, best first.
    pub places: Vec<Place>,
    /// How many assets and columns were searched.
    pub searched: usize,
}

/// A place in the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// The asset's kind, or `column`.
    pub kind: String,
    /// The asset's name, or `schema.table.column`.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// How well it fits; comparable within one answer.
    pub score: f64,
}

/// An index over a catalogue, for any number of questions.
#[derive(Clone, Debug)]
pub struct Finder {
    places: Vec<Place>,
    index: Index,
}

impl Finder {
    /// Indexes assets and columns of the kinds `kinds`, or of all if there is none.
    #[must_use]
    pub fn new(catalogue: &Catalogue, kinds: &[String]) -> Self {
        let wanted = |kind: &str| kinds.is_empty() || kinds.iter().any(|one| one == kind);
        let mut places = Vec::new();
        let mut documents = Vec::new();
        for asset in &catalogue.assets {
            if wanted(&asset.kind) {
                documents.push(document(asset));
                let description = asset.description.clone();
                places.push(place(&asset.kind, asset.name.clone(), description, asset));
            }
            if !asset.is_table || !wanted("column") {
                continue;
            }
            for column in &asset.columns {
                let name = format!("{}.{}", asset.name, column.name);
                documents.push(Document {
                    names: vec![name.clone()],
                    fields: vec![
                        (NAME, column.name.clone()),
                        (1.0, column.description.clone().unwrap_or_default()),
                        (0.5, asset.name.clone()),
                    ],
                    boost: OF_A_COLUMN * boost(asset),
                });
                places.push(place("column", name, column.description.clone(), asset));
            }
        }
        Self { index: Index::new(&documents), places }
    }

    /// The `limit` places that fit the words best, best first.
    #[must_use]
    pub fn find(&self, words: &str, limit: usize) -> Found {
        let watch = Instant::now();
        let hits = self.index.search(words, limit);
        let search_ms = watch.elapsed().as_secs_f64() * 1_000.0;
        debug!(searched = self.places.len(), search_ms, "words looked for in the catalogue");
        let found = hits.iter().filter_map(|hit| {
            Some(Place { score: hit.score, ..self.places.get(hit.document)?.clone() })
        });
        Found { places: found.collect(), searched: self.places.len() }
    }
}

fn place(kind: &str, name: String, description: Option<String>, asset: &Asset) -> Place {
    Place { kind: kind.to_owned(), name, description, owner: asset.owner.clone(), score: 0.0 }
}

/// Looks for words once, in assets and columns of the kinds `kinds`, or of all if there is none.
#[must_use]
pub fn search(catalogue: &Catalogue, words: &str, kinds: &[String], limit: usize) -> Found {
    Finder::new(catalogue, kinds).find(words, limit)
}

fn document(asset: &Asset) -> Document {
    let last = asset.name.rsplit('.').next().unwrap_or(&asset.name);
    let mut names = vec![asset.name.clone(), last.to_owned()];
    names.extend(asset.labels.iter().cloned());
    let columns: Vec<&str> = asset.columns.iter().map(|column| column.name.as_str()).collect();
    let said: Vec<&str> =
        asset.columns.iter().filter_map(|column| column.description.as_deref()).collect();
    let tags = format!("{} {}", asset.tags.join(" "), asset.owner.as_deref().unwrap_or_default());
    Document {
        names,
        fields: vec![
            (NAME, asset.name.clone()),
            (LABEL, asset.labels.join(" ")),
            (TAG, tags),
            (1.0, asset.description.clone().unwrap_or_default()),
            (COLUMN, columns.join(" ")),
            (COLUMN, said.join(" ")),
            (1.0, asset.kind.clone()),
        ],
        boost: boost(asset),
    }
}

fn boost(asset: &Asset) -> f64 {
    let users = (asset.readers as f64 + asset.downstream.len() as f64).min(USERS_MAX);
    let used = 1.0 + USED * (1.0 + users).ln() / (1.0 + USERS_MAX).ln();
    let certified = match asset.certification.as_str() {
        "certified" => CERTIFIED,
        "deprecated" => DEPRECATED,
        _ => 1.0,
    };
    used * certified
}

#[cfg(test)]
mod tests;
