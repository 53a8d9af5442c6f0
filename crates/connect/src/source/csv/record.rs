//! Splitting text into records and fields. Pure, and without a copy.

use memchr::{memchr, memchr_iter, memchr2};

/// The signs a file is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Between fields.
    pub(crate) delimiter: u8,
    /// Around a field that has signs in it.
    pub(crate) quote: Option<u8>,
    /// Before a quote within a quoted field, if quotes are not doubled.
    pub(crate) escape: Option<u8>,
    /// At the end of a record; a carriage return before a line feed belongs to it.
    pub(crate) terminator: u8,
    /// At the start of a line that is no record.
    pub(crate) comment: Option<u8>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { delimiter: b',', quote: Some(b'"'), escape: None, terminator: b'\n', comment: None }
    }
}

/// Where a field is within its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its first byte.
    pub(crate) start: usize,
    /// The byte after its last.
    pub(crate) end: usize,
    /// Whether it has escaped signs.
    pub(crate) escaped: bool,
}

/// What is wrong with the form of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A quote is never closed.
    Unclosed,
    /// Text follows a closing quote.
    TextAfterQuote,
}

/// One record, as offsets into the text it was found in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Its fields.
    pub(crate) fields: Vec<Field>,
    /// Its bytes without the end of line.
    pub(crate) content: usize,
    /// Its bytes with the end of line.
    pub(crate) length: usize,
    /// The lines it covers.
    pub(crate) lines: u64,
    /// Whether the end of the file ended it, not an end of line.
    pub(crate) open: bool,
    /// What is wrong with it.
    pub(crate) fault: Option<Fault>,
    quoted: bool,
}

impl Record {
    /// Whether it is an empty line.
    pub(crate) fn is_blank(&self) -> bool {
        self.content == 0
    }

    fn clear(&mut self) {
        self.fields.clear();
        self.content = 0;
        self.length = 0;
        self.lines = 1;
        self.open = false;
        self.fault = None;
        self.quoted = false;
    }

    fn close(&mut self, data: &[u8], end: usize, length: usize, dialect: &Dialect) {
        self.content = end;
        self.length = length;
        self.open = length == end;
        if self.quoted {
            let inside = data.get(..end).unwrap_or_default();
            self.lines += memchr_iter(dialect.terminator, inside).count() as u64;
        }
    }
}

/// What was found at the start of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// A record.
    Complete,
    /// The start of a record that goes on behind the text.
    Incomplete,
    /// Nothing; the file is at its end.
    End,
}

/// Finds the first record of `data`; `ended` says that no more text follows it.
pub(crate) fn scan(data: &[u8], ended: bool, dialect: &Dialect, record: &mut Record) -> Scan {
    record.clear();
    if data.is_empty() {
        return if ended { Scan::End } else { Scan::Incomplete };
    }
    if dialect.comment.is_some() && dialect.comment == data.first().copied() {
        return scan_comment(data, ended, dialect, record);
    }
    let mut at = 0;
    loop {
        let quoted = dialect.quote.is_some() && data.get(at).copied() == dialect.quote;
        let next = if quoted {
            record.quoted = true;
            quoted_field(data, at, ended, dialect, record)
        } else {
            plain_field(data, at, ended, dialect, record)
        };
        match next {
            Next::Field(start) => at = start,
            Next::End => return Scan::Complete,
            Next::Incomplete => return Scan::Incomplete,
        }
    }
}

enum Next {
    Field(usize),
    End,
    Incomplete,
}

fn plain_field(
    data: &[u8],
    at: usize,
    ended: bool,
    dialect: &Dialect,
    record: &mut Record,
) -> Next {
    let rest = data.get(at..).unwrap_or_default();
    let (delimiter, terminator) = (dialect.delimiter, dialect.terminator);
    let found = rest.iter().position(|byte| *byte == delimiter || *byte == terminator);
    let Some(length) = found else {
        if !ended {
            return Next::Incomplete;
        }
        record.fields.push(Field { start: at, end: data.len(), escaped: false });
        record.close(data, data.len(), data.len(), dialect);
        return Next::End;
    };
    let end = at + length;
    if rest[length] == delimiter {
        record.fields.push(Field { start: at, end, escaped: false });
        return Next::Field(end + 1);
    }
    let cut = usize::from(terminator == b'\n' && length > 0 && rest[length - 1] == b'\r');
    record.fields.push(Field { start: at, end: end - cut, escaped: false });
    record.close(data, end - cut, end + 1, dialect);
    Next::End
}

fn quoted_field(
    data: &[u8],
    at: usize,
    ended: bool,
    dialect: &Dialect,
    record: &mut Record,
) -> Next {
    let Some(quote) = dialect.quote else { return Next::End };
    let mut escaped = false;
    let mut from = at + 1;
    let close = loop {
        let rest = data.get(from..).unwrap_or_default();
        let found = match dialect.escape {
            Some(escape) => memchr2(quote, escape, rest),
            None => memchr(quote, rest),
        };
        let Some(found) = found.map(|found| from + found) else {
            return unclosed(data, at, ended, dialect, record);
        };
        let Some(next) = data.get(found + 1) else {
            if ended && data[found] == quote {
                break found;
            }
            return unclosed(data, at, ended, dialect, record);
        };
        let doubled = data[found] == quote && *next == quote;
        if doubled || data[found] != quote {
            escaped = true;
            from = found + 2;
            continue;
        }
        break found;
    };
    record.fields.push(Field { start: at + 1, end: close, escaped });
    after_quote(data, close + 1, ended, dialect, record)
}

fn unclosed(data: &[u8], at: usize, ended: bool, dialect: &Dialect, record: &mut Record) -> Next {
    if !ended {
        return Next::Incomplete;
    }
    record.fault = Some(Fault::Unclosed);
    record.fields.push(Field { start: at + 1, end: data.len(), escaped: false });
    record.close(data, data.len(), data.len(), dialect);
    Next::End
}

/// Goes on behind a closing quote: blanks may follow, then the field must end.
fn after_quote(
    data: &[u8],
    at: usize,
    ended: bool,
    dialect: &Dialect,
    record: &mut Record,
) -> Next {
    let rest = data.get(at..).unwrap_or_default();
    let (delimiter, terminator) = (dialect.delimiter, dialect.terminator);
    let found = rest.iter().position(|byte| *byte == delimiter || *byte == terminator);
    if found.is_none() && !ended {
        return Next::Incomplete;
    }
    let between = rest.get(..found.unwrap_or(rest.len())).unwrap_or_default();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    if !between.iter().all(blank) && record.fault.is_none() {
        record.fault = Some(Fault::TextAfterQuote);
    }
    let end = at + between.len();
    match found {
        None => record.close(data, end, end, dialect),
        Some(found) if rest[found] == delimiter => return Next::Field(end + 1),
        Some(_) => {
            let cut = usize::from(terminator == b'\n' && between.last() == Some(&b'\r'));
            record.close(data, end - cut, end + 1, dialect);
        }
    }
    Next::End
}

fn scan_comment(data: &[u8], ended: bool, dialect: &Dialect, record: &mut Record) -> Scan {
    match memchr(dialect.terminator, data) {
        Some(end) => record.length = end + 1,
        None if ended => {
            record.length = data.len();
            record.open = true;
        }
        None => return Scan::Incomplete,
    }
    // Without content it counts as a blank line.
    Scan::Complete
}

/// Puts the text of an escaped field into `out`.
pub(crate) fn unescape(text: &str, dialect: &Dialect, out: &mut String) {
    out.clear();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let escape = dialect.escape.is_some_and(|escape| char == char::from(escape));
        let doubled = dialect.quote.is_some_and(|quote| char == char::from(quote));
        if !escape && !doubled {
            out.push(char);
            continue;
        }
        // The sign after it stands for itself; a lone one at the end stays.
        out.push(chars.next().unwrap_or(char));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, dialect: &Dialect) -> Vec<(Vec<String>, u64, Option<Fault>)> {
        let mut rows = Vec::new();
        let mut rest = text;
        let mut record = Record::default();
        let mut scratch = String::new();
        while scan(rest.as_bytes(), true, dialect, &mut record) == Scan::Complete {
            let fields = record.fields.iter().map(|field| {
                let text = &rest[field.start..field.end];
                if !field.escaped {
                    return text.to_owned();
                }
                unescape(text, dialect, &mut scratch);
                scratch.clone()
            });
            rows.push((fields.collect(), record.lines, record.fault));
            rest = &rest[record.length..];
        }
        rows
    }

    fn check(text: &str, expected: &[&[&str]]) {
        let rows = split(text, &Dialect::default());
        let fields: Vec<&[String]> = rows.iter().map(|row| row.0.as_slice()).collect();
        assert_eq!(fields, expected, "{text:?}");
    }

    #[test]
    fn records_end_at_line_ends_outside_quotes() {
        check("a,b\n1,2\n", &[&["a", "b"], &["1", "2"]]);
        check("a,b\r\n1,\r\n", &[&["a", "b"], &["1", ""]]);
        check("\"a\nb\",\"x\"\"y\"\n", &[&["a\nb", "x\"y"]]);
        check("\"a\" ,b", &[&["a", "b"]]);
        check("5\" pipe,x", &[&["5\" pipe", "x"]]);
        check(",", &[&["", ""]]);
        check("\"\",\"\"\r\n", &[&["", ""]]);
        assert_eq!(split("\"a\nb\",1\n2,3\n", &Dialect::default())[0].1, 2);
    }

    #[test]
    fn faults_are_named() {
        let fault = |text| split(text, &Dialect::default())[0].2;
        assert_eq!(fault("\"abc,1\n"), Some(Fault::Unclosed));
        assert_eq!(fault("\"abc\"d,1\n"), Some(Fault::TextAfterQuote));
    }

    #[test]
    fn other_dialects_are_read_by_the_same_scan() {
        let mysql = Dialect { delimiter: b'\t', escape: Some(b'\\'), ..Dialect::default() };
        let rows = split("\"a\\\"b\"\tc\n", &mysql);
        assert_eq!(rows[0].0, ["a\"b", "c"]);
        let old_mac = Dialect { terminator: b'\r', ..Dialect::default() };
        assert_eq!(split("a,b\r1,2\r", &old_mac).len(), 2);
        let unquoted = Dialect { quote: None, ..Dialect::default() };
        assert_eq!(split("\"a,b\n", &unquoted)[0].0, ["\"a", "b"]);
    }

    #[test]
    fn an_unfinished_record_waits_for_more_text() {
        let mut record = Record::default();
        for text in ["a,b", "\"a", "\"a\"", "\"a\nb", "a,\"b\"\""] {
            let outcome = scan(text.as_bytes(), false, &Dialect::default(), &mut record);
            assert_eq!(outcome, Scan::Incomplete, "{text}");
        }
    }
}
