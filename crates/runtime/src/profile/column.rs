//! One column on its way into a profile.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_algo::sketch::Distinct;
use flywheel_base::{Error, Result};

use super::{ColumnProfile, Step, Top};

/// Steps of a histogram.
const STEPS: usize = 10;
/// Frequent values that are kept.
const TOP_MAX: usize = 10;
/// The shares whose quantiles are kept.
const SHARES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];
/// Letters of a value that are kept in a profile.
const VALUE_CHARS_MAX: usize = 100;

/// How values are compared.
#[derive(Clone, Copy)]
enum Sort {
    Number,
    Whole,
    Text,
    None,
}

/// A value and what it is compared by.
#[derive(Clone)]
enum Rank {
    Number(f64),
    Whole(i64),
    Text,
}

/// The cells of a batch as text and by what they are compared.
pub(super) struct Cells {
    text: StringArray,
    numbers: Option<ArrayRef>,
    whole: Option<ArrayRef>,
}

impl Cells {
    /// The text of a cell; none if it is missing.
    pub(super) fn text(&self, row: usize) -> Option<&str> {
        self.text.is_valid(row).then(|| self.text.value(row))
    }

    fn number(&self, row: usize) -> Option<f64> {
        let numbers = self.numbers.as_ref().filter(|numbers| numbers.is_valid(row))?;
        Some(numbers.as_primitive::<Float64Type>().value(row)).filter(|number| number.is_finite())
    }

    fn whole(&self, row: usize) -> Option<i64> {
        let whole = self.whole.as_ref().filter(|whole| whole.is_valid(row))?;
        Some(whole.as_primitive::<Int64Type>().value(row))
    }
}

/// What was gathered of a column.
pub(super) struct Gathering {
    name: String,
    kind: DataType,
    sort: Sort,
    masked: bool,
    nulls: u64,
    distinct: Distinct,
    min: Option<(Rank, String)>,
    max: Option<(Rank, String)>,
    sum: f64,
    numbers: u64,
    sample: Vec<Option<String>>,
    figures: Vec<Option<f64>>,
}

impl Gathering {
    pub(super) fn new(field: &Field, masked: bool) -> Self {
        let kind = field.data_type().clone();
        let sort = match &kind {
            kind if kind.is_integer() && *kind != DataType::UInt64 => Sort::Whole,
            kind if kind.is_numeric() => Sort::Number,
            DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(..)
            | DataType::Time32(_)
            | DataType::Time64(_) => Sort::Whole,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Sort::Text,
            _ => Sort::None,
        };
        Self {
            name: field.name().clone(),
            kind,
            sort,
            masked,
            nulls: 0,
            distinct: Distinct::default(),
            min: None,
            max: None,
            sum: 0.0,
            numbers: 0,
            sample: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// The column's name and type, as a digest of a table names it.
    pub(super) fn signature(&self) -> String {
        format!("{}:{}", self.name, self.kind)
    }

    /// The cells of a batch.
    pub(super) fn cells(&self, array: &ArrayRef) -> Result<Cells> {
        let broken = |error| {
            Error::internal(format!("column \"{}\" cannot be shown", self.name)).caused_by(error)
        };
        let text = match cast(array, &DataType::Utf8) {
            Ok(text) if text.null_count() == array.null_count() => text.as_string::<i32>().clone(),
            _ => {
                let options = FormatOptions::default();
                let formatter =
                    ArrayFormatter::try_new(array.as_ref(), &options).map_err(broken)?;
                (0..array.len())
                    .map(|row| array.is_valid(row).then(|| formatter.value(row).to_string()))
                    .collect()
            }
        };
        let numeric = self.kind.is_numeric();
        let numbers =
            numeric.then(|| cast(array, &DataType::Float64)).transpose().map_err(broken)?;
        let whole = match self.sort {
            // A day has no cast to 64 bits of its own.
            Sort::Whole => {
                let narrow = match self.kind {
                    DataType::Date32 | DataType::Time32(_) => {
                        cast(array, &DataType::Int32).map_err(broken)?
                    }
                    _ => ArrayRef::clone(array),
                };
                Some(cast(&narrow, &DataType::Int64).map_err(broken)?)
            }
            _ => None,
        };
        Ok(Cells { text, numbers, whole })
    }

    /// Adds a cell.
    pub(super) fn add(&mut self, cells: &Cells, row: usize, sample: bool) {
        let text = cells.text(row);
        let number = cells.number(row);
        if sample {
            self.sample.push(text.filter(|_| !self.masked).map(shortened));
            self.figures.push(number.filter(|_| !self.masked));
        }
        let Some(text) = text else {
            self.nulls += 1;
            return;
        };
        self.distinct.add(hashed(text));
        if self.masked {
            return;
        }
        if let Some(number) = number {
            self.sum += number;
            self.numbers += 1;
        }
        let rank = match self.sort {
            Sort::Number => number.map(Rank::Number),
            Sort::Whole => cells.whole(row).map(Rank::Whole),
            Sort::Text => Some(Rank::Text),
            Sort::None => None,
        };
        let Some(rank) = rank else { return };
        if self.min.as_ref().is_none_or(|least| order(&rank, text, least) == Ordering::Less) {
            self.min = Some((rank.clone(), text.to_owned()));
        }
        if self.max.as_ref().is_none_or(|most| order(&rank, text, most) == Ordering::Greater) {
            self.max = Some((rank, text.to_owned()));
        }
    }

    /// Keeps the rows of the sample that are marked.
    pub(super) fn retain(&mut self, kept: &[bool]) {
        let (mut one, mut other) = (kept.iter(), kept.iter());
        self.sample.retain(|_| one.next().copied().unwrap_or_default());
        self.figures.retain(|_| other.next().copied().unwrap_or_default());
    }

    /// Keeps the first rows of the sample.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.sample.truncate(rows);
        self.figures.truncate(rows);
    }

    /// The column's profile, of a table with `rows` rows.
    pub(super) fn finish(self, rows: u64) -> ColumnProfile {
        let mut figures: Vec<f64> = self.figures.iter().copied().flatten().collect();
        figures.sort_by(f64::total_cmp);
        let shown = |value: Option<(Rank, String)>| value.map(|(_, text)| shortened(&text));
        ColumnProfile {
            name: self.name,
            kind: self.kind.to_string().to_lowercase(),
            nulls: self.nulls,
            // An estimate may be above what is possible.
            distincts: self.distinct.count().min(rows - self.nulls),
            distincts_exact: self.distinct.is_exact(),
            masked: self.masked,
            min: shown(self.min),
            max: shown(self.max),
            mean: (self.numbers > 0).then(|| self.sum / self.numbers as f64),
            quantiles: SHARES.iter().filter_map(|share| quantile(&figures, *share)).collect(),
            histogram: histogram(&figures),
            top: top(&self.sample),
        }
    }
}

fn order(rank: &Rank, text: &str, than: &(Rank, String)) -> Ordering {
    match (rank, &than.0) {
        (Rank::Number(a), Rank::Number(b)) => a.total_cmp(b),
        (Rank::Whole(a), Rank::Whole(b)) => a.cmp(b),
        _ => text.cmp(than.1.as_str()),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A hash of 64 bits that spreads evenly: FNV-1a and the last step of SplitMix64.
pub(crate) fn hashed(text: &str) -> u64 {
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    for byte in text.as_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

/// A quantile of sorted numbers, between two of them in proportion.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * (sorted.len().checked_sub(1)? as f64);
    let low = *sorted.get(place.floor() as usize)?;
    let high = *sorted.get(place.ceil() as usize)?;
    Some(low + (high - low) * place.fract())
}

fn histogram(sorted: &[f64]) -> Vec<Step> {
    let (Some(first), Some(last)) = (sorted.first().copied(), sorted.last().copied()) else {
        return Vec::new();
    };
    let width = (last - first) / STEPS as f64;
    if !(width > 0.0 && width.is_finite()) {
        return vec![Step { from: first, to: last, rows: sorted.len() as u64 }];
    }
    let mut steps: Vec<Step> = (0..STEPS)
        .map(|at| Step {
            from: first + width * at as f64,
            to: if at + 1 == STEPS { last } else { first + width * (at + 1) as f64 },
            rows: 0,
        })
        .collect();
    for value in sorted {
        let at = (((value - first) / width) as usize).min(STEPS - 1);
        if let Some(step) = steps.get_mut(at) {
            step.rows += 1;
        }
    }
    steps
}

fn top(sample: &[Option<String>]) -> Vec<Top> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for value in sample.iter().flatten() {
        *counts.entry(value).or_default() += 1;
    }
    let mut top: Vec<(&str, u64)> = counts.into_iter().collect();
    top.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    // Values that all occur once are no frequent ones.
    top.retain(|(_, rows)| *rows > 1);
    top.truncate(TOP_MAX);
    top.into_iter().map(|(value, rows)| Top { value: value.to_owned(), rows }).collect()
}
