//! Full-text search in memory: words of Latin scripts by their stems, Chinese and Japanese by pairs of signs.
//!
//! ```text
//! text ─► tokens (order, revenue, 收入, 入额) ─► postings ─► BM25 over weighted fields × coordination × boost
//! ```
//! An index of a catalogue is small (a thousand tables with their columns have some 50,000 words), so it is made
//! anew from the declarations in milliseconds and can never be stale.
//!
//! # Source
//! Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", with fields as in BM25F.
//! Pairs of signs instead of a dictionary for Chinese: Nie, Gao, Zhang & Zhou 2000, "On the use of words and n-grams
//! for Chinese information retrieval", where both find equally well.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

/// How soon a repeated word stops counting more.
const K1: f64 = 1.2;
/// How much a long text counts less.
const B: f64 = 0.5;
/// What a word counts that only begins like the one that was asked for.
const PREFIX: f64 = 0.6;
/// What a word counts that differs by a letter or two from the one that was asked for.
const TYPO: f64 = 0.4;
/// What a single sign counts beside pairs of them.
const SIGN: f64 = 0.3;
/// The fewest letters of a word whose beginning alone is looked for.
const PREFIX_LETTERS_MIN: usize = 3;
/// The fewest letters of a word in which a typing mistake is forgiven.
const TYPO_LETTERS_MIN: usize = 4;
/// The fewest letters of a word in which two typing mistakes are forgiven.
const TYPOS_LETTERS_MIN: usize = 8;
/// How many other words may stand in for one that occurs nowhere.
const STANDINS_MAX: usize = 16;
/// How many words of a question are looked at.
const QUERY_TOKENS_MAX: usize = 64;
/// What the whole name scores more than any other match.
const NAMED: f64 = 3.0;

/// Words of a question that say nothing about what is looked for.
const STOPWORDS: &[&str] = &[
    "a", "an", "and", "are", "by", "do", "does", "find", "for", "from", "how", "i", "in", "is",
    "it", "me", "of", "on", "or", "our", "per", "show", "table", "that", "the", "there", "to",
    "we", "what", "where", "which", "who", "with", "的", "了", "在", "是", "和", "有", "哪些",
    "哪里", "哪个", "什么", "怎么", "如何", "我们", "查询", "数据", "表",
];

/// A text that can be found.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Names by which alone it is found first: `mart.orders`, `orders`, 订单.
    pub names: Vec<String>,
    /// Its texts, each with its weight.
    pub fields: Vec<(f64, String)>,
    /// By what its score is multiplied: above 1 for what is certified or much used.
    pub boost: f64,
}

/// A document that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Its place among the documents.
    pub document: usize,
    /// How well it fits; comparable within one answer only.
    pub score: f64,
}

/// What can be found.
#[derive(Clone, Debug, Default)]
pub struct Index {
    postings: BTreeMap<String, Vec<(usize, f64)>>,
    lengths: Vec<f64>,
    mean_length: f64,
    boosts: Vec<f64>,
    names: BTreeMap<String, Vec<usize>>,
}

impl Index {
    /// Makes an index; the documents' texts are taken apart beside each other.
    #[must_use]
    pub fn new(documents: &[Document]) -> Self {
        let read: Vec<Taken> = documents.par_iter().map(Taken::of).collect();
        let mut index = Self::default();
        let mut postings: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        for (at, (taken, document)) in read.into_iter().zip(documents).enumerate() {
            for name in taken.names {
                let same = index.names.entry(name).or_default();
                if same.last() != Some(&at) {
                    same.push(at);
                }
            }
            index.lengths.push(taken.counts.iter().map(|(_, count)| count).sum());
            index.boosts.push(document.boost);
            for (token, count) in taken.counts {
                postings.entry(token).or_default().push((at, count));
            }
        }
        index.postings = postings.into_iter().collect();
        let total: f64 = index.lengths.iter().sum();
        index.mean_length = total / (index.lengths.len().max(1) as f64);
        index
    }

    /// How many documents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The `limit` documents that fit best, best first; equal ones in the order of the documents.
    #[must_use]
    pub fn search(&self, query: &str, limit: usize) -> Vec<Hit> {
        let mut asked = tokens(query);
        asked.retain(|(token, _)| !STOPWORDS.contains(&token.as_str()));
        if asked.is_empty() {
            asked = tokens(query);
        }
        asked.sort_by(|a, b| a.0.cmp(&b.0));
        asked.dedup_by(|a, b| a.0 == b.0);
        asked.truncate(QUERY_TOKENS_MAX);
        let wanted: f64 = asked.iter().map(|(_, share)| share).sum();
        let mut scores: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        for (token, share) in &asked {
            // Each document counts the best of the words that stand for the one asked for.
            let mut best: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
            for (posted, certainty) in self.meant(token) {
                let rarity = self.rarity(posted.len());
                for (document, count) in posted {
                    let length = self.lengths.get(*document).copied().unwrap_or_default();
                    let norm =
                        K1 * (1.0 - B + B * length / self.mean_length.max(f64::MIN_POSITIVE));
                    let score = certainty * rarity * count * (K1 + 1.0) / (count + norm);
                    let entry = best.entry(*document).or_default();
                    if score > entry.0 {
                        *entry = (score, certainty);
                    }
                }
            }
            for (document, (score, certainty)) in best {
                let entry = scores.entry(document).or_default();
                entry.0 += share * score;
                entry.1 += share * certainty;
            }
        }
        let exact = self.names.get(&folded(query));
        let top = scores.values().map(|(score, _)| *score).fold(0.0, f64::max);
        let mut hits: Vec<Hit> = scores
            .into_iter()
            .map(|(document, (score, found))| {
                let boost = self.boosts.get(document).copied().unwrap_or(1.0);
                let all = if wanted > 0.0 { found / wanted } else { 0.0 };
                Hit { document, score: score * all * boost }
            })
            .collect();
        for document in exact.into_iter().flatten() {
            let boost = self.boosts.get(*document).copied().unwrap_or(1.0);
            let score = NAMED * top.max(1.0) * boost;
            match hits.iter_mut().find(|hit| hit.document == *document) {
                Some(hit) => hit.score += score,
                None => hits.push(Hit { document: *document, score }),
            }
        }
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.document.cmp(&b.document)));
        hits.truncate(limit);
        hits
    }

    /// The postings of a word, or of those that stand in for it, each with how certain it is.
    fn meant(&self, token: &str) -> Vec<(&[(usize, f64)], f64)> {
        let mut meant = Vec::new();
        if let Some(posted) = self.postings.get(token) {
            meant.push((posted.as_slice(), 1.0));
        }
        let letters = token.chars().count();
        if !token.is_ascii() || letters < PREFIX_LETTERS_MIN {
            return meant;
        }
        let begins =
            self.postings.range(token.to_owned()..).take_while(|(word, _)| word.starts_with(token));
        let begins = begins.filter(|(word, _)| word.as_str() != token).take(STANDINS_MAX);
        meant.extend(begins.map(|(_, posted)| (posted.as_slice(), PREFIX)));
        if meant.is_empty() && letters >= TYPO_LETTERS_MIN {
            let allowed = if letters >= TYPOS_LETTERS_MIN { 2 } else { 1 };
            let near = self.postings.iter().filter(|(word, _)| {
                word.is_ascii()
                    && word.len().abs_diff(token.len()) <= allowed
                    && within(token, word, allowed)
            });
            meant.extend(near.take(STANDINS_MAX).map(|(_, posted)| (posted.as_slice(), TYPO)));
        }
        meant
    }

    /// How much a word says that occurs in so many documents.
    fn rarity(&self, documents: usize) -> f64 {
        let (all, with) = (self.len() as f64, documents as f64);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }
}

/// A document, taken apart.
struct Taken {
    /// Its words, each once, with what they count together.
    counts: Vec<(String, f64)>,
    names: Vec<String>,
}

impl Taken {
    fn of(document: &Document) -> Self {
        let mut counts: Vec<(String, f64)> = Vec::new();
        for (weight, text) in &document.fields {
            counts.extend(tokens(text).into_iter().map(|(token, share)| (token, weight * share)));
        }
        counts.sort_by(|a, b| a.0.cmp(&b.0));
        counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        Self { counts, names: document.names.iter().map(|name| folded(name)).collect() }
    }
}

/// The words of a text, each with what it counts.
#[must_use]
pub fn tokens(text: &str) -> Vec<(String, f64)> {
    let mut tokens = Vec::new();
    for word in words(text) {
        let signs: Vec<char> = word.chars().collect();
        if !signs.first().copied().is_some_and(is_sign) {
            tokens.push((stem(&word), 1.0));
            continue;
        }
        if let [sign] = signs.as_slice() {
            tokens.push((sign.to_string(), 1.0));
            continue;
        }
        tokens.extend(signs.windows(2).map(|pair| (pair.iter().collect(), 1.0)));
        tokens.extend(signs.iter().map(|sign| (sign.to_string(), SIGN)));
    }
    tokens
}

/// The words of a text in lower case: `OrderLine_2024` is order, line and 2024; signs stay together.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    #[derive(PartialEq, Clone, Copy)]
    enum Class {
        Lower,
        Upper,
        Digit,
        Sign,
        Other,
    }
    let class = |c: char| match c {
        c if is_sign(c) => Class::Sign,
        c if c.is_numeric() => Class::Digit,
        c if c.is_uppercase() => Class::Upper,
        c if c.is_alphabetic() => Class::Lower,
        _ => Class::Other,
    };
    let signs: Vec<(char, Class)> = text.chars().map(|sign| (sign, class(sign))).collect();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for (at, (sign, this)) in signs.iter().copied().enumerate() {
        let beside = |at: Option<usize>| {
            at.and_then(|at| signs.get(at)).map_or(Class::Other, |(_, class)| *class)
        };
        let (before, after) = (beside(at.checked_sub(1)), beside(Some(at + 1)));
        let starts = match (before, this) {
            (_, Class::Other) => true,
            (Class::Upper, Class::Lower) => false,
            // The last capital of `HTTPServer` begins a word.
            (Class::Upper, Class::Upper) => after == Class::Lower,
            (before, this) => before != this,
        };
        if starts && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if this != Class::Other {
            word.extend(sign.to_lowercase());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// An English word without the endings of plurals; other words as they are.
#[must_use]
pub fn stem(word: &str) -> String {
    if !word.is_ascii() || word.len() < 4 {
        return word.to_owned();
    }
    for (ending, instead) in
        [("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x")]
    {
        if let Some(head) = word.strip_suffix(ending) {
            return format!("{head}{instead}");
        }
    }
    match word.strip_suffix('s') {
        Some(head) if !head.ends_with(['s', 'u', 'i']) => head.to_owned(),
        _ => word.to_owned(),
    }
}

/// A name as it is compared: its words without what separates them.
fn folded(name: &str) -> String {
    let words: Vec<String> = words(name).iter().map(|word| stem(word)).collect();
    words.join(" ")
}

/// Whether a character is a sign of Chinese, Japanese or Korean, which are written without spaces.
fn is_sign(c: char) -> bool {
    matches!(c as u32, 0x3040..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7AF | 0xF900..=0xFAFF | 0x20000..=0x2FA1F)
}

/// Whether at most `allowed` letters differ: put in, left out, replaced or swapped with their neighbour.
fn within(one: &str, other: &str, allowed: usize) -> bool {
    let (one, other): (Vec<u8>, Vec<u8>) = (one.bytes().collect(), other.bytes().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut cost = at(&last, j) + usize::from(a != b);
            cost = cost.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && one.get(i - 1) == Some(b) && other.get(j - 1) == Some(a);
            if swapped {
                cost = cost.min(at(&before_last, j - 1) + 1);
            }
            row.push(cost);
        }
        if row.iter().all(|cost| *cost > allowed) {
            return false;
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().is_some_and(|cost| *cost <= allowed)
}

/// The mean reciprocal rank: of each question, one divided by the place of the first right answer, 0 without one.
#[must_use]
pub fn mean_reciprocal_rank(places: &[Option<usize>]) -> f64 {
    let each = places.iter().map(|place| place.map_or(0.0, |place| 1.0 / (place as f64 + 1.0)));
    each.sum::<f64>() / (places.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, text: &str) -> Document {
        let names = vec![name.to_owned()];
        Document { names, fields: vec![(3.0, name.to_owned()), (1.0, text.to_owned())], boost: 1.0 }
    }

    fn first(documents: &[Document], query: &str) -> Option<usize> {
        Index::new(documents).search(query, 10).first().map(|hit| hit.document)
    }

    #[test]
    fn names_are_taken_apart_and_signs_stay_together() {
        assert_eq!(words("OrderLine_2024 HTTPServer"), ["order", "line", "2024", "http", "server"]);
        assert_eq!(words("每日销售额GMV"), ["每日销售额", "gmv"]);
        let found: Vec<String> = tokens("销售额").into_iter().map(|(token, _)| token).collect();
        assert_eq!(found, ["销售", "售额", "销", "售", "额"]);
        for (word, stemmed) in [
            ("categories", "category"),
            ("orders", "order"),
            ("status", "status"),
            ("address", "address"),
            ("boxes", "box"),
        ] {
            assert_eq!(stem(word), stemmed);
        }
    }

    #[test]
    fn words_are_found_in_both_languages_by_beginnings_and_with_typing_mistakes() {
        let documents = [
            document("mart.daily_sales", "Revenue per day 每日销售额"),
            document("mart.customers", "One row per customer 客户"),
            document("raw.stock", "Inventory of each warehouse 库存"),
        ];
        for (query, wanted) in [
            ("revenue", 0),
            ("销售额", 0),
            ("每日销售", 0),
            ("customer", 1),
            ("客户", 1),
            ("custmoer", 1),
            ("inven", 2),
            ("库存", 2),
            ("which table has the warehouses", 2),
            ("DailySales", 0),
            ("存", 2),
        ] {
            assert_eq!(first(&documents, query), Some(wanted), "{query}");
        }
        assert_eq!(first(&documents, "zebra"), None);
        assert_eq!(first(&documents, ""), None);
        assert!(Index::new(&[]).search("x", 5).is_empty());
    }

    #[test]
    fn an_exact_name_comes_before_texts_that_repeat_it_and_a_boost_before_equals() {
        let mut documents = vec![
            document("mart.order_history", "orders orders orders orders, all orders ever"),
            document("orders", "x"),
            document("staging.a", "churn"),
            document("staging.b", "churn"),
        ];
        assert_eq!(first(&documents, "orders"), Some(1));
        assert_eq!(first(&documents, "churn"), Some(2));
        documents[3].boost = 1.5;
        assert_eq!(first(&documents, "churn"), Some(3));
    }

    #[test]
    fn what_has_every_word_comes_before_what_repeats_one() {
        let documents = [
            document("a", "customer customer customer customer"),
            document("b", "churn of each customer"),
            document("c", "churn churn churn"),
        ];
        assert_eq!(first(&documents, "customer churn"), Some(1));
    }

    #[test]
    fn ranks_are_averaged_as_reciprocals() {
        assert!((mean_reciprocal_rank(&[Some(0), Some(1), None]) - 0.5).abs() < 1e-12);
        assert!(
            within("abcd", "abdc", 1) && within("abcd", "abxd", 1) && !within("abcd", "dcba", 2)
        );
    }
}
