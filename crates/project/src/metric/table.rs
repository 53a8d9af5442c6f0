//! Semantic views as tables of SQL: `metrics.<name>`.
//!
//! Which of them a query reads is found in its text, with the words that may be their columns. So what stands
//! behind a query is never told too small: a word that means something else in the query costs at most a
//! dependency that was not needed.

use std::collections::{BTreeMap, BTreeSet};

use super::{DayAttribute, Expression, MetricRef, Semantics, TIME, inputs};
use crate::resource::semantic::{Grain, Semantic};

/// The schema of the tables that semantic views are.
pub const SCHEMA: &str = "metrics";

/// What a query says of semantic views.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricReads {
    /// The views it reads as `metrics.<name>`.
    pub views: BTreeSet<String>,
    /// Every name in a query that reads one.
    pub words: BTreeSet<String>,
}

impl MetricReads {
    /// Looks for `FROM metrics.<name>` and `JOIN metrics.<name>` in SQL.
    #[must_use]
    pub fn of(sql: &str) -> Self {
        if !mentions(sql) {
            return Self::default();
        }
        let tokens = tokens(sql);
        let views: BTreeSet<String> = tokens
            .windows(4)
            .filter_map(|four| match four {
                [
                    Token::Word(before),
                    Token::Word(schema),
                    Token::Other('.'),
                    Token::Word(name),
                ] if (before == "from" || before == "join") && schema == SCHEMA => {
                    Some(name.clone())
                }
                _ => None,
            })
            .collect();
        if views.is_empty() {
            return Self::default();
        }
        let words = tokens.into_iter().filter_map(|token| match token {
            Token::Word(word) => Some(word),
            Token::Text(_) | Token::Other(_) => None,
        });
        Self { views, words: words.collect() }
    }

    /// Whether it reads no semantic view.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.views.extend(more.views);
        self.words.extend(more.words);
    }
}

/// Whether a text may read a semantic view.
#[must_use]
pub fn mentions(sql: &str) -> bool {
    sql.as_bytes().windows(SCHEMA.len()).any(|part| part.eq_ignore_ascii_case(SCHEMA.as_bytes()))
}

/// Where a text first names `metrics.<view>`: the byte, and how many.
#[must_use]
pub fn place(text: &str, view: &str) -> Option<(usize, usize)> {
    let lower = text.to_ascii_lowercase();
    let wanted = format!("{SCHEMA}.{}", view.to_ascii_lowercase());
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    let found = lower.match_indices(&wanted).map(|(at, _)| at).find(|at| {
        let before = lower.get(..*at).and_then(|text| text.chars().next_back());
        let after = lower.get(at + wanted.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(inside) && !after.is_some_and(inside)
    });
    found.map(|at| (at, wanted.len()))
}

/// What the columns of a semantic view's table mean.
#[derive(Clone, Debug, Default)]
pub struct TableColumns {
    /// What is grouped by, as a question names it, by the column: `time_month` is `time:month`.
    pub dimensions: BTreeMap<String, String>,
    /// The paths of dimensions in conditions, by the column: `customer_region` is `customer.region`.
    pub paths: BTreeMap<String, Vec<String>>,
    /// The metrics, each a column.
    pub metrics: BTreeSet<String>,
}

/// What a query reads by way of semantic views.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// The metrics it names.
    pub metrics: BTreeSet<String>,
    /// The semantic views whose tables it reads, and those that it names.
    pub views: BTreeSet<String>,
}

impl<'a> Semantics<'a> {
    /// The semantic view of this name.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&'a Semantic> {
        self.views.get(name).copied()
    }

    /// The columns of a semantic view's table: every metric, what the view reaches, and periods.
    #[must_use]
    pub fn table_columns(&self, view: &'a Semantic) -> TableColumns {
        let mut columns = TableColumns {
            metrics: self.metrics().map(|metric| metric.name.to_owned()).collect(),
            ..TableColumns::default()
        };
        let grains = |columns: &mut TableColumns, name: &str, path: &str| {
            for grain in Grain::ALL {
                let column = format!("{name}_{}", grain.word().replace('-', "_"));
                columns.dimensions.insert(column, format!("{path}:{}", grain.word()));
            }
        };
        grains(&mut columns, TIME, TIME);
        for path in self.reachable(view) {
            let written = path.name();
            let name = written.replace('.', "_");
            match path.is_time() {
                true => {
                    grains(&mut columns, &name, &written);
                    for day in DayAttribute::ALL.map(DayAttribute::word) {
                        let column = format!("{name}_{day}");
                        let path = format!("{written}.{day}");
                        let parts = path.split('.').map(str::to_owned).collect();
                        columns.dimensions.entry(column.clone()).or_insert(path);
                        columns.paths.entry(column).or_insert(parts);
                    }
                }
                false => {
                    columns.dimensions.entry(name.clone()).or_insert_with(|| written.clone());
                }
            }
            let parts = written.split('.').map(str::to_owned).collect();
            columns.paths.entry(name).or_insert(parts);
        }
        columns
    }

    /// What stands behind a query that reads semantic views; of those that are not there, nothing.
    #[must_use]
    pub fn behind(&self, reads: &MetricReads) -> Behind {
        let mut behind = Behind::default();
        for view in reads.views.iter().filter_map(|name| self.view(name)) {
            behind.views.insert(view.semantic.clone());
            let columns = self.table_columns(view);
            let asked: Vec<MetricRef<'a>> =
                reads.words.iter().filter_map(|word| self.named(word)).collect();
            let mut rows: Vec<&'a Semantic> = vec![view];
            for metric in &asked {
                behind.metrics.insert(metric.name.to_owned());
                self.rows_of(*metric, &mut behind.views, &mut rows);
            }
            let named = |name: &String| {
                let periods = Grain::ALL.map(|grain| grain.word().replace('-', "_"));
                let period =
                    periods.iter().any(|period| reads.words.contains(&format!("{name}_{period}")));
                period || reads.words.contains(name)
            };
            for path in columns.paths.iter().filter(|(name, _)| named(name)).map(|(_, path)| path) {
                for from in &rows {
                    self.on_the_way(from, path, &mut behind.views);
                }
            }
        }
        behind
    }

    /// Adds the views whose rows a metric counts, with those that their filters look at.
    fn rows_of(
        &self,
        metric: MetricRef<'a>,
        views: &mut BTreeSet<String>,
        rows: &mut Vec<&'a Semantic>,
    ) {
        let mut seen = BTreeSet::new();
        let mut open = vec![metric];
        // A filter holds for everything that a metric is made of.
        let mut filters: Vec<&'a str> = Vec::new();
        let mut counted: Vec<MetricRef<'a>> = Vec::new();
        while let Some(next) = open.pop() {
            if !seen.insert(next.name) {
                continue;
            }
            filters.extend(next.metric.filter.as_deref());
            if next.metric.measure.is_some() {
                counted.push(next);
            }
            let made_of = inputs(next.metric).unwrap_or_default();
            open.extend(made_of.iter().filter_map(|name| self.named(name)));
        }
        for part in counted {
            views.insert(part.view.semantic.clone());
            if rows.iter().all(|known| known.semantic != part.view.semantic) {
                rows.push(part.view);
            }
            let parsed = filters.iter().filter_map(|text| Expression::parse(text).ok());
            for expression in parsed {
                for name in expression.names() {
                    self.on_the_way(part.view, &name.parts, views);
                }
            }
            let measure = part.metric.measure.as_ref().and_then(|m| part.view.measures.get(m));
            let over_time = measure.and_then(|measure| measure.over_time.as_ref());
            for word in over_time.into_iter().flat_map(|over| &over.per) {
                self.on_the_way(part.view, std::slice::from_ref(word), views);
            }
        }
    }

    /// Adds the views on the way to a dimension.
    fn on_the_way(&self, from: &'a Semantic, parts: &[String], views: &mut BTreeSet<String>) {
        if let Ok(path) = self.path(from, parts) {
            views.extend(path.hops.iter().map(|hop| hop.view.semantic.clone()));
        }
    }
}

/// A part of SQL that matters here.
#[derive(Debug, PartialEq)]
enum Token {
    /// A name or keyword, in small letters unless it is quoted.
    Word(String),
    /// A text, up to a doubled quote.
    Text(String),
    /// A sign.
    Other(char),
}

/// The functions that ask a learner, whose name is their first argument.
const ASKING: [&str; 2] = ["predict", "recommend"];

/// The learners that SQL asks by `predict('learner', …)` and `recommend('learner', …)`.
pub(crate) fn asked_learners(sql: &str) -> BTreeSet<String> {
    let lower = sql.to_ascii_lowercase();
    if !ASKING.iter().any(|function| lower.contains(function)) {
        return BTreeSet::new();
    }
    let asked = |three: &[Token]| match three {
        [Token::Word(function), Token::Other('('), Token::Text(learner)]
            if ASKING.contains(&function.as_str()) =>
        {
            Some(learner.clone())
        }
        _ => None,
    };
    tokens(sql).windows(3).filter_map(asked).collect()
}

/// The words, texts and signs of SQL, without comments and spaces.
fn tokens(sql: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '-' if chars.peek() == Some(&'-') => {
                chars.by_ref().find(|c| *c == '\n');
            }
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let (mut depth, mut before) = (1_usize, ' ');
                for c in chars.by_ref() {
                    match (before, c) {
                        ('/', '*') => (depth, before) = (depth + 1, ' '),
                        ('*', '/') => (depth, before) = (depth - 1, ' '),
                        _ => before = c,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '\'' => {
                // A doubled quote ends one text and begins the next.
                found.push(Token::Text(chars.by_ref().take_while(|c| *c != '\'').collect()));
            }
            '"' | '`' => {
                let name: String = chars.by_ref().take_while(|next| *next != c).collect();
                found.push(Token::Word(name));
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(next);
                }
                found.push(Token::Word(word.to_lowercase()));
            }
            c if c.is_whitespace() => {}
            c => found.push(Token::Other(c)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(sql: &str) -> Vec<String> {
        MetricReads::of(sql).views.into_iter().collect()
    }

    #[test]
    fn a_query_reads_a_view_where_it_names_it_as_a_table() {
        assert_eq!(views("select revenue from metrics.orders"), ["orders"]);
        assert_eq!(views("SELECT 1 FROM \"metrics\" . \"Orders\" o"), ["Orders"]);
        assert_eq!(
            views("with a as (select n\nfrom -- rows\n Metrics.ORDERS) select 1"),
            ["orders"]
        );
        assert_eq!(
            views("select 1 from (select v from metrics.a) x join metrics.b on true"),
            ["a", "b"]
        );
    }

    #[test]
    fn comments_texts_and_columns_name_no_view() {
        for sql in [
            "select 'from metrics.orders'",
            "select 1 -- from metrics.orders",
            "select 1 /* from /* nested */ metrics.orders */",
            "select metrics.orders from raw.metrics",
            "select 'it''s' || ' from metrics.orders'",
            "select 1 from raw.orders",
        ] {
            assert!(views(sql).is_empty(), "{sql}");
        }
    }

    #[test]
    fn a_learner_is_asked_where_a_call_names_it() {
        let asked = |sql: &str| asked_learners(sql).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(
            asked("select predict('churn', *) from recommend( 'shop', 'u', 3)"),
            "churn shop"
        );
        assert_eq!(
            asked("select PREDICT\n('churn', c.*), predict /* of */ ('value', a => 1)"),
            "churn value"
        );
        for sql in [
            "select 1 -- predict('churn', *)",
            "select 'predict(''churn'', *)'",
            "select predict, ('churn') from my_predict('churn')",
            "select predict(churn)",
        ] {
            assert_eq!(asked(sql), "", "{sql}");
        }
    }

    #[test]
    fn a_place_is_that_of_the_whole_name() {
        assert_eq!(place("from metrics.orders_all, metrics.orders", "orders"), Some((25, 14)));
        assert_eq!(place("from my_metrics.orders", "orders"), None);
    }
}
