//! Preparing values once, choosing the pairs that are worth comparing, and scoring them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    BLOCK_ROWS_MAX, EVIDENCE_MIN, Entry, MatchRules, Measure, NEIGHBOURS, Numbers, normal, similar,
};
use crate::record::value;
use similar::WordWeights;

/// How many words of a company, the rarest first, are blocking keys.
const COMPANY_KEYS: usize = 2;

/// How many letters of a word are in a blocking key.
const KEY_LETTERS: usize = 4;

/// A value in the form in which it is compared.
#[derive(Clone, Debug, PartialEq)]
enum Feature {
    Name(Vec<String>),
    Company(Vec<String>),
    Text(String),
}

/// A column of prepared values.
#[derive(Debug)]
struct Column {
    measure: Measure,
    weights: WordWeights,
    features: Vec<Option<Feature>>,
}

/// All entries, prepared for one set of rules.
#[derive(Debug)]
pub(super) struct Prepared {
    parts: Vec<(Column, f64, f64)>,
    contradiction: Option<(Column, String, f64)>,
    review: f64,
}

/// A field's value as text; `None` if it is blank or no text.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.trim().is_empty()).then(|| text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Text without regard to case, width and white space.
pub(super) fn plain(text: &str) -> Option<String> {
    let folded = normal::folded(text);
    let words: Vec<&str> = folded.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

impl Column {
    fn new(entries: &[Entry], field: &str, measure: Measure, rules: &MatchRules) -> Self {
        let mut weights = WordWeights::default();
        let feature = |entry: &Entry| {
            let text = text_of(value(&entry.fields, field))?;
            Some(match measure {
                Measure::Name => Feature::Name(
                    Some(normal::name_words(&text)).filter(|words| !words.is_empty())?,
                ),
                Measure::Company => {
                    let words = normal::company_words(&text);
                    Feature::Company(Some(words).filter(|words| !words.is_empty())?)
                }
                Measure::Domain => Feature::Text(normal::domain(&text)?),
                Measure::Email => Feature::Text(normal::email(&text)?),
                Measure::Phone => Feature::Text(normal::phone(&text, &rules.calling_code)?),
                Measure::Text => Feature::Text(plain(&text)?),
            })
        };
        let features: Vec<Option<Feature>> = entries.iter().map(feature).collect();
        for feature in features.iter().flatten() {
            if let Feature::Company(words) = feature {
                weights.count_in(words);
            }
        }
        Self { measure, weights, features }
    }

    fn of(&self, number: usize) -> Option<&Feature> {
        self.features.get(number)?.as_ref()
    }

    /// How alike two entries are in this field; `None` if one has no value.
    fn alike(&self, (a, b): Numbers) -> Option<f64> {
        Some(match (self.of(a)?, self.of(b)?) {
            (Feature::Name(a), Feature::Name(b)) => similar::names(a, b),
            (Feature::Company(a), Feature::Company(b)) => similar::companies(a, b, &self.weights),
            (a, b) => f64::from(u8::from(a == b)),
        })
    }

    /// The keys under which an entry is looked for.
    fn keys(&self, number: usize) -> Vec<String> {
        let Some(feature) = self.of(number) else { return Vec::new() };
        let start = |word: &str| word.chars().take(KEY_LETTERS).collect::<String>();
        match feature {
            Feature::Name(words) if words.len() == 1 => {
                words.iter().map(|word| start(word)).collect()
            }
            Feature::Name(words) => {
                // each word with the first letter of another one: an error in one word leaves a key
                let mut keys = BTreeSet::new();
                for (at, word) in words.iter().enumerate() {
                    keys.insert(sound(word));
                    for other in words.iter().skip(at + 1) {
                        let first = |word: &str| word.chars().take(1).collect::<String>();
                        keys.insert(format!("{}+{}", sound(word), first(other)));
                        keys.insert(format!("{}+{}", sound(other), first(word)));
                    }
                }
                keys.into_iter().collect()
            }
            Feature::Company(words) => {
                let mut rare: Vec<(f64, &String)> =
                    words.iter().map(|word| (self.weights.of(word), word)).collect();
                rare.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
                let joined = words.concat();
                let keys = rare.iter().take(COMPANY_KEYS).map(|(_, word)| start(word));
                keys.chain([start(&joined)]).collect()
            }
            Feature::Text(text) => vec![text.clone()],
        }
    }

    /// What a large block is sorted by, so that alike entries are neighbours.
    fn sort_text(&self, number: usize) -> String {
        match self.of(number) {
            Some(Feature::Name(words)) => {
                let mut words = words.clone();
                words.sort();
                words.join(" ")
            }
            Some(Feature::Company(words)) => words.concat(),
            Some(Feature::Text(text)) => text.clone(),
            None => String::new(),
        }
    }
}

/// A code that words which sound alike in English share (Soundex); other scripts keep their letters.
fn sound(word: &str) -> String {
    let mut letters = word.chars();
    let Some(first) = letters.next().filter(char::is_ascii_alphabetic) else {
        return word.chars().take(KEY_LETTERS).collect();
    };
    let code = |c: char| match c {
        'b' | 'f' | 'p' | 'v' => Some('1'),
        'c' | 'g' | 'j' | 'k' | 'q' | 's' | 'x' | 'z' => Some('2'),
        'd' | 't' => Some('3'),
        'l' => Some('4'),
        'm' | 'n' => Some('5'),
        'r' => Some('6'),
        _ => None,
    };
    let mut out = String::from(if first == 'k' { 'c' } else { first });
    let mut last = code(first);
    for letter in letters {
        let this = code(letter);
        if let Some(digit) = this.filter(|_| this != last) {
            out.push(digit);
        }
        if !matches!(letter, 'h' | 'w') {
            last = this;
        }
    }
    out.chars().take(KEY_LETTERS).collect()
}

impl Prepared {
    pub(super) fn new(entries: &[Entry], rules: &MatchRules) -> Self {
        let parts = rules.scored.iter().flat_map(|scored| &scored.parts).map(|part| {
            let column = Column::new(entries, &part.field, part.measure, rules);
            (column, part.weight, part.at_least)
        });
        let contradiction = rules.contradiction.as_ref().map(|check| {
            let column = Column::new(entries, &check.field, check.measure, rules);
            (column, check.field.clone(), check.below)
        });
        let review = rules.scored.as_ref().map_or(1.0, |scored| scored.review);
        Self { parts: parts.collect(), contradiction, review }
    }

    /// From which score on a pair can be the same.
    pub(super) fn review(&self) -> f64 {
        self.review
    }

    /// Whether a field says that the two are different, whatever the others say.
    pub(super) fn is_ruled_out(&self, pair: Numbers) -> bool {
        let rules_out = |(column, _, at_least): &(Column, f64, f64)| {
            column.alike(pair).is_some_and(|alike| alike < *at_least)
        };
        self.parts.iter().any(rules_out)
    }

    /// What speaks against joining a pair.
    pub(super) fn contradiction(&self, pair: Numbers) -> Option<String> {
        let (column, field, below) = self.contradiction.as_ref()?;
        let alike = column.alike(pair)?;
        (alike < *below).then(|| format!("{field} is alike by only {:.0} %", alike * 100.0))
    }

    /// The score of a pair; `None` if too little is known, or a field rules it out.
    pub(super) fn score(&self, pair: Numbers) -> Option<f64> {
        let (mut sum, mut known, mut total) = (0.0, 0.0, 0.0);
        for (column, weight, at_least) in &self.parts {
            total += weight;
            let Some(alike) = column.alike(pair) else { continue };
            if alike < *at_least {
                return None;
            }
            known += weight;
            sum += weight * alike;
        }
        (known > 0.0 && known >= total * EVIDENCE_MIN).then(|| sum / known)
    }

    /// The pairs that share a blocking key, each once, in order.
    pub(super) fn candidate_pairs(&self, entries: &[Entry]) -> Vec<Numbers> {
        let mut pairs = Vec::new();
        for (at, (column, _, _)) in self.parts.iter().enumerate() {
            let mut blocks: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for number in 0..entries.len() {
                for key in column.keys(number) {
                    let block = blocks.entry(key).or_default();
                    if block.last() != Some(&number) {
                        block.push(number);
                    }
                }
            }
            for block in blocks.into_values() {
                if block.len() <= BLOCK_ROWS_MAX {
                    for (at, a) in block.iter().enumerate() {
                        pairs.extend(block.iter().skip(at + 1).map(|b| (*a, *b)));
                    }
                } else {
                    self.neighbours(at, &block, &mut pairs);
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Pairs the entries of a large block with their neighbours in the order of each part.
    fn neighbours(&self, own: usize, block: &[usize], pairs: &mut Vec<Numbers>) {
        for (at, (column, _, _)) in self.parts.iter().enumerate() {
            // all entries of a block of whole values have the same value of that part
            if at == own && matches!(column.measure, Measure::Domain | Measure::Text) {
                continue;
            }
            let mut sorted: Vec<(String, usize)> =
                block.iter().map(|number| (column.sort_text(*number), *number)).collect();
            sorted.retain(|(text, _)| !text.is_empty());
            sorted.sort();
            for (place, (_, a)) in sorted.iter().enumerate() {
                let near = sorted.iter().skip(place + 1).take(NEIGHBOURS);
                pairs.extend(near.map(|(_, b)| (*a.min(b), *a.max(b))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sound;

    #[test]
    fn words_that_sound_alike_share_a_code() {
        assert_eq!(sound("robert"), "r163");
        assert_eq!(sound("rupert"), "r163");
        assert_eq!(sound("ashcraft"), "a261");
        assert_eq!(sound("katherine"), sound("catherine"));
        assert_eq!(sound("王小明"), "王小明");
    }
}
