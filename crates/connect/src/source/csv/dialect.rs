//! Finding out how a file is written: its delimiter, its line ends, and whether it has a header.

use super::record::{Dialect, Record, Scan, scan, unescape};
use crate::column::{Kind, Parsing};

/// Records looked at.
const RECORDS_MAX: usize = 200;

/// Delimiters tried, the likelier first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Finds the delimiter that cuts the first records into equally many fields.
pub(super) fn sniff_delimiter(head: &[u8], ended: bool, dialect: &Dialect) -> u8 {
    let mut best = (0, b',');
    for delimiter in DELIMITERS {
        let counts = field_counts(head, ended, &Dialect { delimiter, ..*dialect });
        let Some(first) = counts.first().copied().filter(|first| *first > 1) else { continue };
        let equal = counts.iter().filter(|count| **count == first).count();
        // Agreement counts most; among equals the delimiter that finds more fields.
        let score = equal * 1000 / counts.len() * 1000 + first.min(999);
        if score > best.0 {
            best = (score, delimiter);
        }
    }
    best.1
}

/// Finds the sign that ends a line.
pub(super) fn sniff_terminator(head: &[u8]) -> u8 {
    if memchr::memchr(b'\n', head).is_none() && memchr::memchr(b'\r', head).is_some() {
        return b'\r';
    }
    b'\n'
}

fn field_counts(head: &[u8], ended: bool, dialect: &Dialect) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut record = Record::default();
    let mut rest = head;
    while counts.len() < RECORDS_MAX && scan(rest, ended, dialect, &mut record) == Scan::Complete {
        if !record.is_blank() {
            counts.push(record.fields.len());
        }
        rest = rest.get(record.length..).unwrap_or_default();
    }
    counts
}

/// The fields of the first records, as text.
pub(super) fn first_rows(
    head: &[u8],
    ended: bool,
    dialect: &Dialect,
    rows: usize,
) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut record = Record::default();
    let mut rest = head;
    while found.len() < rows && scan(rest, ended, dialect, &mut record) == Scan::Complete {
        if !record.is_blank() {
            found.push(texts(rest, &record, dialect));
        }
        rest = rest.get(record.length..).unwrap_or_default();
    }
    found
}

/// The fields of a record, as text.
pub(super) fn texts(data: &[u8], record: &Record, dialect: &Dialect) -> Vec<String> {
    let mut scratch = String::new();
    let texts = record.fields.iter().map(|field| {
        let text = String::from_utf8_lossy(data.get(field.start..field.end).unwrap_or_default());
        if !field.escaped {
            return text.into_owned();
        }
        unescape(&text, dialect, &mut scratch);
        scratch.clone()
    });
    texts.collect()
}

/// Whether the first row names the columns: it has a declared name, or only words where a value could be
/// a number, a date or nothing. Words that are there twice, and names that are missing, could be values;
/// numbers below them say that they are not.
pub(super) fn has_header(rows: &[Vec<String>], declared: &[&str], parsing: &Parsing) -> bool {
    let Some(first) = rows.first() else { return false };
    if first.iter().any(|field| declared.contains(&field.trim())) {
        return true;
    }
    let kind = |field: &String| Kind::of_text(field, parsing);
    let named = first.iter().all(|field| kind(field) == Kind::Text);
    let words = first.iter().all(|field| kind(field) == Kind::Text || field.trim().is_empty());
    let mut sorted: Vec<&String> = first.iter().collect();
    sorted.sort();
    sorted.dedup();
    let sure = named && sorted.len() == first.len();
    // A column that has a word above, and below it something that is none, in every row that has anything.
    let differs = |(at, name): (usize, &String)| {
        let below = rows.iter().skip(1).filter_map(|row| row.get(at)).map(kind);
        let mut below = below.filter(|kind| *kind != Kind::Empty).peekable();
        kind(name) == Kind::Text && below.peek().is_some() && below.all(|kind| kind != Kind::Text)
    };
    sure || (words && first.iter().enumerate().any(differs))
}

/// The names of the columns of a file without header: those that are declared, in their order, and
/// `column_3` for the third one where none is. A column that is declared by its place keeps it.
pub(super) fn numbered(count: usize, declared: &[&str]) -> Vec<String> {
    let by_place = |name: &str| {
        let place = name.strip_prefix("column_").and_then(|place| place.parse::<usize>().ok());
        place.is_some_and(|place| place > 0)
    };
    let name = |at: usize| {
        let place = format!("column_{}", at + 1);
        match declared.get(at) {
            Some(name) if !by_place(name) && !declared.contains(&place.as_str()) => {
                (*name).to_owned()
            }
            _ => place,
        }
    };
    (0..count).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_the_one_that_cuts_evenly() {
        for (text, expected) in [
            ("a,b\n1,2\n", b','),
            ("a;b\n1,5;2,5\n3,5;4\n", b';'),
            ("name\tnote\nAnn\thello, you\n", b'\t'),
            ("a|b|c\n1|2|3\n", b'|'),
            ("one\ntwo\n", b','),
            ("id,text\n1,\"a;b;c\"\n2,\"d;e;f\"\n", b','),
        ] {
            assert_eq!(
                sniff_delimiter(text.as_bytes(), true, &Dialect::default()),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn columns_of_a_file_without_header_are_named_in_order_or_by_their_place() {
        let names = |declared: &[&str]| numbered(3, declared).join(" ");
        assert_eq!(names(&[]), "column_1 column_2 column_3");
        assert_eq!(names(&["id", "name"]), "id name column_3");
        assert_eq!(names(&["column_2", "column_1"]), "column_1 column_2 column_3");
        assert_eq!(names(&["id", "column_3"]), "id column_2 column_3");
        assert_eq!(names(&["id", "column_1"]), "column_1 column_2 column_3");
    }

    #[test]
    fn a_header_has_words_where_values_have_numbers() {
        let header = |text: &str, declared: &[&str]| {
            let rows = first_rows(text.as_bytes(), true, &Dialect::default(), 10);
            has_header(&rows, declared, &Parsing::default())
        };
        assert!(header("id,name\n1,Ann\n", &[]));
        assert!(!header("1,Ann\n2,Bob\n", &[]));
        assert!(!header("a,a\nb,b\n", &[]));
        assert!(header("a,a,b\n1,2,x\n", &[]));
        assert!(header(",id,name\n0,1,a\n", &[]));
        assert!(header("id,name,\n1,a,\n", &[]));
        assert!(!header(",a\n,b\n1,c\n", &[]));
        assert!(!header("A1,,x\n101,5,y\nB2,,z\n", &[]));
        assert!(header("2024,2025\n1,2\n", &["2024"]));
        assert!(!header("", &[]));
    }

    #[test]
    fn columns_without_header_are_numbered() {
        assert_eq!(numbered(3, &["x"]), ["x", "column_2", "column_3"]);
    }
}
