//! Which columns probably hold personal data, by their names and a sample of their values.
//!
//! A proposal is for a person to judge: it has a confidence and a reason, and nothing is masked by
//! itself. Where values are at hand they decide; a checksum tells a card number from an order number.

mod kinds;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use flywheel_base::{Result, Timestamp};
use futures::StreamExt;

use super::mask;
use crate::source::{ReadRequest, Source, StreamInfo};
use kinds::{KINDS, Kind};

/// How many different values of a column are looked at.
const SAMPLE_MAX: usize = 1_000;
/// The fewest values that are evidence without a name.
const VALUES_MIN: usize = 5;
/// The share of values that must look right if the name says so.
const NAMED_SHARE_MIN: f64 = 0.4;
/// The confidence in a name alone.
const NAME_ALONE: f64 = 0.5;

/// A column that probably holds personal data.
#[derive(Clone, Debug, PartialEq)]
pub struct Detected {
    /// The column.
    pub column: String,
    /// What it holds: `email`, `phone`, `national_id`, `passport`, `iban`, `card`, `ip`, `birth_date`,
    /// `person_name` or `address`.
    pub tag: &'static str,
    /// How sure that is, from 0.5 to 1.
    pub confidence: f64,
    /// The mask to start from.
    pub mask: &'static str,
    /// The normaliser to start from, if there is one.
    pub clean: Option<String>,
    /// What speaks for it, in words without any value.
    pub reason: String,
}

/// Looks at the first rows of a stream; at the names of its columns if it has no rows.
///
/// # Errors
/// Those of the source.
pub async fn detect_stream(
    source: &dyn Source,
    stream: &StreamInfo,
    now: Timestamp,
) -> Result<Vec<Detected>> {
    let request =
        ReadRequest { page_rows: SAMPLE_MAX, ..ReadRequest::full(stream.stream.clone(), now) };
    let mut pages = source.read(&request);
    while let Some(page) = pages.next().await {
        let page = page?;
        if page.batch.num_rows() > 0 {
            return Ok(detect_columns(&page.batch));
        }
    }
    let fields = stream.schema.fields().iter();
    Ok(fields.filter_map(|field| detect(field.name(), &[])).collect())
}

/// Looks at every column of a batch that can be read as text.
#[must_use]
pub fn detect_columns(batch: &RecordBatch) -> Vec<Detected> {
    let schema = batch.schema_ref();
    let columns = schema.fields().iter().zip(batch.columns());
    columns
        .filter_map(|(field, array)| {
            let Ok(texts) = mask::texts(array) else { return detect(field.name(), &[]) };
            let values: Vec<&str> = texts.as_string::<i32>().iter().flatten().collect();
            // A column of nothing but missing values is as good as one without sample.
            detect(field.name(), if array.is_empty() { &[] } else { &values })
        })
        .collect()
}

/// Looks at one column: its name, and values that are there.
#[must_use]
pub fn detect(name: &str, values: &[&str]) -> Option<Detected> {
    let words = kinds::words(name);
    let mut sample: BTreeSet<&str> = BTreeSet::new();
    for value in values.iter().map(|value| value.trim()).filter(|value| !value.is_empty()) {
        if sample.len() == SAMPLE_MAX {
            break;
        }
        sample.insert(value);
    }
    let mut best: Option<(f64, &Kind, String)> = None;
    for kind in KINDS {
        if let Some((confidence, reason)) = evidence(kind, &words, &sample)
            && best.as_ref().is_none_or(|(most, _, _)| confidence > *most)
        {
            best = Some((confidence, kind, reason));
        }
    }
    let (confidence, kind, reason) = best?;
    Some(Detected {
        column: name.to_owned(),
        tag: kind.tag,
        confidence,
        mask: kind.mask,
        clean: (kind.clean)(&sample),
        reason,
    })
}

/// How much speaks for a kind, and what.
fn evidence(kind: &Kind, words: &[String], sample: &BTreeSet<&str>) -> Option<(f64, String)> {
    let against = kind.against.iter().any(|phrase| kinds::has(words, phrase));
    let named = !against && kind.names.iter().any(|phrase| kinds::has(words, phrase));
    if sample.is_empty() {
        return named.then(|| (NAME_ALONE, "its name; there are no values".to_owned()));
    }
    let count = sample.len() as f64;
    let share =
        |looks: fn(&str) -> bool| sample.iter().filter(|value| looks(value)).count() as f64 / count;
    let percent = |share: f64| (share * 100.0).round();
    if named {
        let share = share(kind.looks);
        return (share >= NAMED_SHARE_MIN).then(|| {
            let reason = format!("its name, and {} % of its values look so", percent(share));
            (kind.named + (0.99 - kind.named) * share, reason)
        });
    }
    let (looks, least) = kind.alone?;
    let share = share(looks);
    let enough = sample.len() >= VALUES_MIN && share >= least;
    (enough && !against && !(kind.numbers && values::is_series(sample))).then(|| {
        (
            0.9 * share.max(0.6),
            format!("{} % of its values look so; its name says nothing", percent(share)),
        )
    })
}
