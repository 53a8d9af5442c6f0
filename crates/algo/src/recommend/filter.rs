//! Which items may be listed, by what is known of them: `category:shoes|boots,brand!=acme,price<50`.
//!
//! ```text
//! text ─► Filter::parse ─► Filter::passes(attributes) ─► one bool an item, made once and kept by whoever serves
//! ```
//! All conditions must hold. Invariants: a text attribute is compared as it is written, a number as a number; what an item
//! does not have equals nothing, is unequal to everything, and is neither less nor more than anything.

use std::collections::{BTreeMap, HashMap};

use flywheel_base::{Error, Result, suggest};

/// The longest filter, in bytes.
pub const FILTER_BYTES_MAX: usize = 2_000;

/// The group of an item without a value.
pub const NO_GROUP: u32 = u32::MAX;

/// How filters are written, for hints.
const EXAMPLE: &str = "Write conditions with commas between them, such as category:shoes|boots,brand!=acme,price<50; \
                       a value with a comma stands in single quotes.";

/// One column of what is known of items, by item index.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// Texts.
    Texts(Texts),
    /// Numbers; NaN is missing.
    Numbers(Vec<f64>),
}

/// A text of each item: the distinct ones, and which of them an item has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    words: HashMap<String, u32>,
    of_item: Vec<u32>,
}

impl Texts {
    /// Takes one text an item, none where it has none.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = Option<String>>) -> Self {
        let mut made = Self::default();
        for value in values {
            let group = value.map_or(NO_GROUP, |value| {
                let next = made.words.len() as u32;
                *made.words.entry(value).or_insert(next)
            });
            made.of_item.push(group);
        }
        made
    }
}

impl Attribute {
    /// Which group each item is of: those of one value are of one group, those without are of [`NO_GROUP`].
    #[must_use]
    pub fn groups(&self) -> Vec<u32> {
        match self {
            Self::Texts(texts) => texts.of_item.clone(),
            Self::Numbers(numbers) => {
                let mut known: BTreeMap<u64, u32> = BTreeMap::new();
                let group = |number: &f64| {
                    if number.is_nan() {
                        return NO_GROUP;
                    }
                    let next = known.len() as u32;
                    // 0 and -0 are one value.
                    *known.entry((number + 0.0).to_bits()).or_insert(next)
                };
                numbers.iter().map(group).collect()
            }
        }
    }
}

/// Conditions that must all hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    attribute: String,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    Compared(Comparison, f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Comparison {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::More => value > bound,
            Self::AtLeast => value >= bound,
        }
    }
}

impl Filter {
    /// Reads conditions: `a:x` or `a=x`, `a!=x`, `a<1`, `a<=1`, `a>1`, `a>=1`, `a in x|y`; where a value may stand, several
    /// may with `|` between them.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the condition that is none.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the filter is longer than {FILTER_BYTES_MAX} bytes"
            ))
            .hint("Name what is wanted by an attribute that groups it."));
        }
        let conditions =
            parts(text, ',')?.into_iter().map(condition).collect::<Result<Vec<_>>>()?;
        Ok(Self { conditions })
    }

    /// The attributes it asks of, in its order.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().map(|condition| condition.attribute.as_str())
    }

    /// Whether each of `count` items passes.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] for an attribute that is not there, and where a number is compared with what
    /// is none or a text by size.
    /// # Cost
    /// O(items · conditions).
    pub fn passes(
        &self,
        attributes: &BTreeMap<String, Attribute>,
        count: usize,
    ) -> Result<Vec<bool>> {
        let mut passing = vec![true; count];
        for condition in &self.conditions {
            condition.narrow(attributes, &mut passing)?;
        }
        Ok(passing)
    }
}

impl Condition {
    fn narrow(&self, attributes: &BTreeMap<String, Attribute>, passing: &mut [bool]) -> Result<()> {
        let name = &self.attribute;
        let attribute = attributes.get(name).ok_or_else(|| {
            Error::invalid(format!("items have no attribute \"{name}\" to filter by"))
                .hint(suggest::hint(name, attributes.keys().map(String::as_str)))
        })?;
        match (attribute, &self.wanted) {
            (Attribute::Texts(texts), Wanted::OneOf(values)) => {
                let groups = known(texts, values);
                keep(passing, &texts.of_item, |group| groups.contains(group));
            }
            (Attribute::Texts(texts), Wanted::NoneOf(values)) => {
                let groups = known(texts, values);
                keep(passing, &texts.of_item, |group| !groups.contains(group));
            }
            (Attribute::Texts(_), Wanted::Compared(..)) => {
                return Err(Error::invalid(format!(
                    "attribute \"{name}\" is a text, and texts are not compared by size"
                ))
                .hint(format!("Write {name}:value or {name}!=value.")));
            }
            (Attribute::Numbers(numbers), Wanted::OneOf(values)) => {
                let values = numbers_of(name, values)?;
                keep(passing, numbers, |number| values.contains(number));
            }
            (Attribute::Numbers(numbers), Wanted::NoneOf(values)) => {
                let values = numbers_of(name, values)?;
                keep(passing, numbers, |number| !values.contains(number));
            }
            (Attribute::Numbers(numbers), Wanted::Compared(comparison, bound)) => {
                keep(passing, numbers, |number| comparison.holds(*number, *bound));
            }
        }
        Ok(())
    }
}

/// Keeps the items whose value is wanted; an item beyond the values has none.
fn keep<T>(passing: &mut [bool], values: &[T], wanted: impl Fn(&T) -> bool) {
    for (place, passes) in passing.iter_mut().enumerate() {
        *passes = *passes && values.get(place).is_some_and(&wanted);
    }
}

/// The groups of the texts that some item has.
fn known(texts: &Texts, values: &[String]) -> Vec<u32> {
    values.iter().filter_map(|value| texts.words.get(value).copied()).collect()
}

fn numbers_of(name: &str, values: &[String]) -> Result<Vec<f64>> {
    values.iter().map(|value| number(name, value)).collect()
}

fn number(name: &str, value: &str) -> Result<f64> {
    let parsed: Option<f64> = value.parse().ok().filter(|number: &f64| number.is_finite());
    parsed.ok_or_else(|| {
        Error::invalid(format!("\"{name}\" is compared with \"{value}\", which is no number"))
            .hint(format!("Write a number, such as {name}<50."))
    })
}

fn unreadable(text: &str) -> Error {
    Error::invalid(format!("\"{}\" is no condition of a filter", text.trim())).hint(EXAMPLE)
}

/// The parts of a text between separators that stand outside of quotes.
fn parts(text: &str, separator: char) -> Result<Vec<&str>> {
    let (mut parts, mut from, mut quoted) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        if letter == '\'' {
            quoted = !quoted;
        } else if letter == separator && !quoted {
            parts.push(text.get(from..at).unwrap_or_default());
            from = at + letter.len_utf8();
        }
    }
    if quoted {
        return Err(Error::invalid("the filter has a quote that does not end")
            .hint("End it; a quote within a quoted value is written twice."));
    }
    parts.push(text.get(from..).unwrap_or_default());
    Ok(parts)
}

fn condition(text: &str) -> Result<Condition> {
    let sign = text.find([':', '=', '!', '<', '>']);
    let (name, sign, rest) = match sign {
        Some(at) if !text.get(..at).is_some_and(|before| before.contains(" in ")) => {
            let (name, rest) = text.split_at(at);
            let sign = ["!=", "<=", ">=", "<", ">", "=", ":"]
                .into_iter()
                .find(|sign| rest.starts_with(sign))
                .ok_or_else(|| unreadable(text))?;
            (name, sign, rest.strip_prefix(sign).unwrap_or_default())
        }
        _ => {
            let (name, rest) = text.split_once(" in ").ok_or_else(|| unreadable(text))?;
            let rest = rest.trim();
            let inner = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
            (name, "=", inner.unwrap_or(rest))
        }
    };
    let attribute = name.trim().to_owned();
    if attribute.is_empty() || attribute.contains(['\'', '|']) {
        return Err(unreadable(text));
    }
    let values = parts(rest, '|')?.into_iter().map(unquoted).collect::<Option<Vec<_>>>();
    let values = values.ok_or_else(|| unreadable(text))?;
    let comparison = match sign {
        "<" => Comparison::Less,
        "<=" => Comparison::AtMost,
        ">" => Comparison::More,
        ">=" => Comparison::AtLeast,
        "!=" => return Ok(Condition { attribute, wanted: Wanted::NoneOf(values) }),
        _ => return Ok(Condition { attribute, wanted: Wanted::OneOf(values) }),
    };
    let [value] = values.as_slice() else { return Err(unreadable(text)) };
    let bound = number(&attribute, value)?;
    Ok(Condition { attribute, wanted: Wanted::Compared(comparison, bound) })
}

/// A value without its quotes; none if there is no value.
fn unquoted(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('\'') {
        return inner.strip_suffix('\'').map(|inner| inner.replace("''", "'"));
    }
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> BTreeMap<String, Attribute> {
        let texts = |values: [&str; 5]| {
            let value = |value: &str| (!value.is_empty()).then(|| value.to_owned());
            Attribute::Texts(Texts::new(values.map(value)))
        };
        BTreeMap::from([
            ("category".to_owned(), texts(["shoes", "boots", "hats", "shoes", ""])),
            ("brand".to_owned(), texts(["a, b", "acme", "acme", "it's", ""])),
            ("price".to_owned(), Attribute::Numbers(vec![10.0, 50.0, 49.5, f64::NAN, 7.0])),
        ])
    }

    fn passing(text: &str) -> Vec<usize> {
        let passes = Filter::parse(text).unwrap().passes(&shop(), 5).unwrap();
        (0..5).filter(|item| passes[*item]).collect()
    }

    #[test]
    fn conditions_are_typed_and_all_must_hold() {
        assert_eq!(passing("category:shoes"), [0, 3]);
        assert_eq!(passing("category=shoes|boots"), [0, 1, 3]);
        assert_eq!(passing("category in (shoes|hats)"), [0, 2, 3]);
        assert_eq!(passing("category in boots"), [1]);
        assert_eq!(passing("category != shoes"), [1, 2, 4]);
        assert_eq!(passing("price<50"), [0, 2, 4]);
        assert_eq!(passing("price<=50, price>7"), [0, 1, 2]);
        assert_eq!(passing("price>=49.5"), [1, 2]);
        assert_eq!(passing("price=10|7"), [0, 4]);
        assert_eq!(passing("price!=10"), [1, 2, 3, 4]);
        assert_eq!(passing("brand:'a, b'"), [0]);
        assert_eq!(passing("brand:'it''s',category:shoes"), [3]);
        assert_eq!(passing("category:coats"), [0_usize; 0], "nothing has it, which is no mistake");
    }

    #[test]
    fn what_is_no_condition_is_refused_with_what_to_write() {
        for (text, said) in [
            ("", "no condition"),
            ("category", "no condition"),
            ("category:", "no condition"),
            ("category:shoes,", "no condition"),
            ("category!shoes", "no condition"),
            (":shoes", "no condition"),
            ("price<1|2", "no condition"),
            ("brand:'a", "a quote that does not end"),
            ("price<cheap", "\"cheap\", which is no number"),
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert!(error.message().contains(said), "{text}: {}", error.message());
            assert!(error.hint_text().is_some(), "{text}");
        }
        assert!(Filter::parse(&"a".repeat(FILTER_BYTES_MAX + 1)).is_err());
        for (text, said) in [
            ("colour:red", "no attribute \"colour\""),
            ("category<5", "a text"),
            ("price:cheap", "no number"),
        ] {
            let error = Filter::parse(text).unwrap().passes(&shop(), 5).unwrap_err();
            assert!(error.message().contains(said), "{text}: {}", error.message());
            assert!(error.hint_text().is_some(), "{text}");
        }
    }

    #[test]
    fn items_of_one_value_are_one_group_and_those_without_have_none() {
        let shop = shop();
        assert_eq!(shop["category"].groups(), [0, 1, 2, 0, NO_GROUP]);
        let numbers = Attribute::Numbers(vec![0.0, 1.0, -0.0, f64::NAN]);
        assert_eq!(numbers.groups(), [0, 1, 0, NO_GROUP]);
    }
}
