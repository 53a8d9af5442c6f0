//! How alike two names are, from 0 to 1.

use std::collections::{BTreeMap, BTreeSet};

use super::normal::{are_nicknames, is_han};

/// From which Jaro–Winkler value on two words of a name can be the same word.
const WORD_MIN: f64 = 0.85;

/// From which value on two words of companies are the same word.
const COMPANY_WORD_MIN: f64 = 0.92;

/// How alike a name and its short form are.
const NICKNAME: f64 = 0.95;

/// How alike a name and its first letter are.
const INITIAL: f64 = 0.9;

/// How alike names are at most if one of them is a single word of the other.
const SINGLE_WORD_MAX: f64 = 0.8;

/// What each word costs that only one name has.
const EXTRA_WORD: f64 = 0.05;

/// Jaro–Winkler similarity of two texts, letter by letter.
///
/// # Source
/// Winkler 1990, String comparator metrics and enhanced decision rules; prefix of at most 4, weight 0.1.
#[must_use]
pub fn jaro_winkler(a: &str, b: &str) -> f64 {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let jaro = jaro(&a, &b);
    let prefix = a.iter().zip(&b).take(4).take_while(|(a, b)| a == b).count();
    jaro + prefix as f64 * 0.1 * (1.0 - jaro)
}

fn jaro(a: &[char], b: &[char]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return if a.len() == b.len() { 1.0 } else { 0.0 };
    }
    let reach = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];
    let mut from_a = Vec::new();
    for (at, letter) in a.iter().enumerate() {
        let first = at.saturating_sub(reach);
        let window = b.iter().enumerate().skip(first).take(at + reach + 1 - first);
        for (other_at, other) in window {
            if let Some(taken) = taken.get_mut(other_at).filter(|taken| !**taken && letter == other)
            {
                *taken = true;
                from_a.push(*letter);
                break;
            }
        }
    }
    let from_b = b.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(letter, _)| letter);
    let swapped = from_a.iter().zip(from_b).filter(|(a, b)| a != b).count() as f64 / 2.0;
    let common = from_a.len() as f64;
    if common == 0.0 {
        return 0.0;
    }
    (common / a.len() as f64 + common / b.len() as f64 + (common - swapped) / common) / 3.0
}

/// How alike two names of persons are: word by word in any order, with short forms and initials.
#[must_use]
pub(crate) fn names(a: &[String], b: &[String]) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.is_empty() {
        return 0.0;
    }
    if short == long {
        return 1.0;
    }
    let mut left: Vec<&String> = long.iter().collect();
    let mut sum = 0.0;
    for word in short {
        let best = left
            .iter()
            .enumerate()
            .map(|(at, other)| (name_word(word, other), at))
            .max_by(|x, y| x.0.total_cmp(&y.0).then(y.1.cmp(&x.1)));
        if let Some((score, at)) = best {
            sum += score;
            left.remove(at);
        }
    }
    let alike = sum / short.len() as f64 - EXTRA_WORD * left.len() as f64;
    if short.len() == 1 && long.len() > 1 { alike.min(SINGLE_WORD_MAX) } else { alike.max(0.0) }
}

fn name_word(a: &str, b: &str) -> f64 {
    if a == b {
        return 1.0;
    }
    if are_nicknames(a, b) {
        return NICKNAME;
    }
    if a.chars().any(is_han) {
        // a Chinese name has two or three letters, so one other letter is another person
        return 0.5 * jaro_winkler(a, b);
    }
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.chars().count() == 1 {
        return if long.starts_with(short) { INITIAL } else { 0.0 };
    }
    let alike = jaro_winkler(a, b);
    if alike < WORD_MIN { alike * 0.5 } else { alike }
}

/// How much each word says: a word that few companies have says much.
#[derive(Clone, Debug, Default)]
pub struct WordWeights {
    count: f64,
    companies: BTreeMap<String, f64>,
}

impl WordWeights {
    /// Counts in the words of one company.
    pub fn count_in(&mut self, words: &[String]) {
        self.count += 1.0;
        for word in words {
            *self.companies.entry(word.clone()).or_default() += 1.0;
        }
    }

    /// The weight of a word, greater than 0.
    #[must_use]
    pub fn of(&self, word: &str) -> f64 {
        let with = self.companies.get(word).copied().unwrap_or(0.5);
        (1.0 + self.count / with).ln()
    }
}

/// How alike two names of companies are: the weight of the words they share, misspelt ones included.
///
/// # Source
/// Soft TF-IDF after Cohen, Ravikumar & Fienberg 2003, as a Dice coefficient.
#[must_use]
pub(crate) fn companies(a: &[String], b: &[String], weights: &WordWeights) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    if a.concat() == b.concat() {
        return 1.0;
    }
    let total: f64 = a.iter().chain(b).map(|word| weights.of(word)).sum();
    let mut left: BTreeSet<&String> = b.iter().collect();
    let mut shared = 0.0;
    for word in a {
        if left.remove(word) {
            shared += 2.0 * weights.of(word);
            continue;
        }
        if word.chars().any(is_han) {
            continue;
        }
        let best = left
            .iter()
            .filter(|other| !b.contains(word) && !a.contains(**other))
            .map(|other| (jaro_winkler(word, other), *other))
            .max_by(|x, y| x.0.total_cmp(&y.0).then_with(|| y.1.cmp(x.1)));
        if let Some((alike, other)) = best.filter(|(alike, _)| *alike >= COMPANY_WORD_MIN) {
            left.remove(other);
            shared += alike * (weights.of(word) + weights.of(other));
        }
    }
    (shared / total).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::super::normal::{company_words, name_words};
    use super::*;

    #[test]
    fn jaro_winkler_gives_the_published_values() {
        for (a, b, expected) in [
            ("martha", "marhta", 0.9611),
            ("dwayne", "duane", 0.84),
            ("dixon", "dicksonx", 0.8133),
            ("jones", "johnson", 0.8324),
            ("abc", "xyz", 0.0),
            ("", "", 1.0),
            ("a", "", 0.0),
        ] {
            assert!((jaro_winkler(a, b) - expected).abs() < 1e-4, "{a} {b} {}", jaro_winkler(a, b));
            assert!((jaro_winkler(a, b) - jaro_winkler(b, a)).abs() < 1e-12);
        }
    }

    #[test]
    fn one_persons_names_are_alike_and_two_persons_are_not() {
        let alike = |a: &str, b: &str| names(&name_words(a), &name_words(b));
        for (a, b) in [
            ("William Turner", "Turner, Bill"),
            ("J. Smith", "John Smith"),
            ("Katherine Johnson", "Catherine Jonson"),
            ("王小明", "王小明 先生"),
            ("John A. Smith", "John Smith"),
        ] {
            assert!(alike(a, b) >= 0.9, "{a} {b} {}", alike(a, b));
        }
        for (a, b) in [
            ("John Smith", "Jane Smith"),
            ("张伟", "张卫"),
            ("Maria Lopez", "Carlos Lopez"),
            ("Smith", "John Smith"),
        ] {
            assert!(alike(a, b) <= 0.82, "{a} {b} {}", alike(a, b));
        }
        assert_eq!(alike("", "John"), 0.0);
    }

    #[test]
    fn rare_words_decide_whether_companies_are_alike() {
        let all = [
            "Acme Trading Ltd",
            "Global Trading Co",
            "Pacific Trading LLC",
            "Global Foods",
            "北京星辰科技有限公司",
            "北京大地科技有限公司",
            "上海星辰贸易有限公司",
            "Zathunicon",
        ];
        let mut weights = WordWeights::default();
        all.iter().for_each(|name| weights.count_in(&company_words(name)));
        let alike = |a: &str, b: &str| companies(&company_words(a), &company_words(b), &weights);
        assert!(alike("Acme Trading Ltd", "ACME Trading Limited") > 0.99);
        assert!(alike("Zathunicon", "Zathunicorn Inc") > 0.9);
        assert!(alike("Gold Drive", "Golddrive") > 0.99, "another space");
        assert!(alike("北京星辰科技有限公司", "北京星辰科技股份有限公司") > 0.99);
        assert!(alike("Acme Trading", "Pacific Trading") < 0.5);
        assert!(alike("北京星辰科技有限公司", "北京大地科技有限公司") < 0.7);
    }
}
