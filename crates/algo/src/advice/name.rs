//! What names of tables and columns say.

use crate::search::{stem, words};

/// Words that end the name of a key.
const KEYS: &[&str] = &[
    "id", "key", "code", "no", "nr", "num", "number", "uuid", "guid", "sku", "sk", "编号", "代码",
];
/// Words of a table's name that say what it is for, not what its rows are.
const PREFIXES: &[&str] =
    &["stg", "raw", "src", "tbl", "dim", "fact", "fct", "dwd", "dws", "ods", "ads", "lkp"];
/// Words of numbers that are no quantities.
const CODES: &[&str] = &[
    "year",
    "month",
    "week",
    "day",
    "quarter",
    "hour",
    "zip",
    "postal",
    "phone",
    "fax",
    "level",
    "rank",
    "version",
    "latitude",
    "longitude",
    "flag",
    "is",
    "has",
    "年",
    "月",
];
/// Words for people who work somewhere, in columns that refer to them.
const WORKERS: &[&str] = &[
    "rep",
    "agent",
    "manager",
    "staff",
    "salesperson",
    "seller",
    "supervisor",
    "assigned",
    "assignee",
    "owner",
    "clerk",
    "operator",
    "approver",
];
/// Words for tables of such people.
const STAFF: &[&str] = &["employee", "staff", "user", "person", "worker", "agent", "员工"];
/// Words for a row above another one of the same table.
const PARENTS: &[&str] = &[
    "parent",
    "supervisor",
    "manager",
    "boss",
    "superior",
    "reports",
    "report",
    "predecessor",
    "reply",
    "上级",
];

/// A name and its words, in lower case and singular.
#[derive(Clone, Debug)]
pub(super) struct Name {
    words: Vec<String>,
    compact: String,
}

impl Name {
    /// The name of a column.
    pub(super) fn of(name: &str) -> Self {
        Self::made(words(name).iter().map(|word| stem(word)).collect())
    }

    /// The name of a table, without years and words such as `dim`.
    pub(super) fn of_table(name: &str) -> Self {
        let all: Vec<String> = words(name).iter().map(|word| stem(word)).collect();
        let said: Vec<String> = all
            .iter()
            .filter(|word| !PREFIXES.contains(&word.as_str()) && word.parse::<u64>().is_err())
            .cloned()
            .collect();
        Self::made(if said.is_empty() { all } else { said })
    }

    fn made(words: Vec<String>) -> Self {
        Self { compact: words.concat(), words }
    }

    /// The words without what separates them.
    pub(super) fn compact(&self) -> &str {
        &self.compact
    }

    /// Whether one of the words is among `these`.
    pub(super) fn has(&self, these: &[&str]) -> bool {
        self.words.iter().any(|word| these.contains(&word.as_str()))
    }

    /// Whether a word of the name, or the end of it where its words are not apart, is among `these`.
    pub(super) fn ends(&self, these: &[&str]) -> bool {
        self.words.last().is_some_and(|last| these.contains(&last.as_str()))
    }

    /// Whether it is a name that any table's key could have.
    pub(super) fn is_generic_key(&self) -> bool {
        self.words.len() == 1 && KEYS.contains(&self.compact.as_str())
    }

    /// Whether it is the name of a key: `order_id`, `orderid`, `sku`.
    pub(super) fn is_key(&self) -> bool {
        self.ends(KEYS)
            || (self.compact.len() > 4 && self.compact.is_ascii() && self.compact.ends_with("id"))
    }

    /// Whether it is the name of a number that is no quantity.
    pub(super) fn is_code(&self) -> bool {
        self.has(CODES)
    }

    /// Whether it names a person who works somewhere.
    pub(super) fn is_worker(&self) -> bool {
        self.has(WORKERS)
            || WORKERS.iter().any(|word| word.len() > 5 && self.compact.contains(word))
    }

    /// Whether a table of this name holds people who work somewhere.
    pub(super) fn is_staff(&self) -> bool {
        self.ends(STAFF)
    }

    /// Whether it names a row above.
    pub(super) fn is_parent(&self) -> bool {
        self.has(PARENTS)
            || ["parent", "supervisor", "reportsto"].iter().any(|word| self.compact.contains(word))
    }

    /// How well it names the key of a table with these words: 1 for `<table>_id`, less for the table's first word or for
    /// another key word, 0 if it does not.
    pub(super) fn names_key_of(&self, table: &Self) -> f64 {
        let head = |key: &str| self.compact.strip_suffix(key).filter(|head| !head.is_empty());
        for (place, key) in KEYS.iter().enumerate() {
            let Some(head) = head(key) else { continue };
            let sure = if place < 2 { 1.0 } else { 0.8 };
            if head == table.compact {
                return sure;
            }
            let first = table.words.first().is_some_and(|first| first == head);
            let last = table.words.last().is_some_and(|last| last == head);
            if first || last {
                return sure * 0.8;
            }
        }
        0.0
    }

    /// How well it names what the key `key` of the table `table` identifies, from 0 to 1, and why.
    pub(super) fn refers_to(
        &self,
        key: &Self,
        table: &Self,
        itself: bool,
    ) -> Option<(f64, &'static str)> {
        let specific = !key.is_generic_key();
        let of_table = self.names_key_of(table) >= 1.0;
        if of_table && !itself {
            return Some((1.0, "is called after the table"));
        }
        if specific && !itself && self.compact == key.compact {
            return Some((0.97, "has the key's name"));
        }
        if itself && self.is_parent() {
            return Some((0.85, "names a row above"));
        }
        if specific
            && key.compact.len() > 3
            && self.compact.ends_with(&key.compact)
            && self.compact != key.compact
        {
            return Some((0.88, "ends in the key's name"));
        }
        let with_id = format!("{}id", table.compact);
        if table.compact.len() > 2 && self.compact.ends_with(&with_id) && !itself {
            return Some((0.88, "ends in the table's name"));
        }
        if self.compact == table.compact && !itself {
            return Some((0.75, "has the table's name"));
        }
        if !itself && table.is_staff() && table.words.len() == 1 && self.is_worker() {
            return Some((0.65, "names a person who works there"));
        }
        None
    }
}
