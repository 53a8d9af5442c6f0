//! `COPY … TO STDOUT`: what it asks for, and rows in the forms of its stream.
//!
//! A row is a message of its own. In binary form the head of the stream goes with the first row, since clients read it so.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use bytes::{BufMut, BytesMut};
use flywheel_base::{Error, ErrorKind, Result, statement};

use super::command::{Word, Words};
use super::kind::Kind;
use super::value::{Column, columns, count, set_length};

/// What a stream in binary form begins with: its sign, no flags, no more of a head.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with, where a row has the number of its columns.
const END: i16 = -1;
/// What no delimiter of texts may be, since it means something behind a backslash.
const NO_DELIMITERS: &str = "\\.abcdefghijklmnopqrstuvwxyz0123456789";

/// Rows that a client wants as a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copying {
    /// The query whose rows they are.
    pub query: String,
    /// Their form.
    pub form: CopyForm,
}

/// The form of such a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyForm {
    layout: Layout,
    delimiter: char,
    null: String,
    header: bool,
    quote: char,
    escape: char,
    quoted: Quoted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Text,
    Csv,
    Binary,
}

/// Columns whose values have quotes in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Quoted {
    Some(BTreeSet<String>),
    All,
}

/// Where a statement brings rows to, or takes them from.
pub(super) enum Way {
    /// To the client.
    Out(Copying),
    /// Into a table.
    In,
}

impl CopyForm {
    /// Whether it is the form that machines read.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.layout == Layout::Binary
    }

    /// A column whose values are to have quotes and that is not among these.
    #[must_use]
    pub fn missing(&self, names: &[&str]) -> Option<&str> {
        match &self.quoted {
            Quoted::All => None,
            Quoted::Some(columns) => {
                columns.iter().map(String::as_str).find(|column| !names.contains(column))
            }
        }
    }
}

/// What a statement asks for that begins with `COPY`; `words` are what follows.
///
/// # Errors
/// [`ErrorKind::Denied`] for a file or a program of the server, [`ErrorKind::Invalid`] for what cannot be understood.
pub(super) fn copy(mut words: Words<'_>) -> Result<Way> {
    let (query, way) = match statement::bracketed(words.0) {
        Some((query, rest)) => {
            words.0 = rest;
            (query.trim().to_owned(), words.name())
        }
        None => of_table(&mut words)?,
    };
    match way.as_deref() {
        Some("from") => return Ok(Way::In),
        Some("to") => {}
        _ => return Err(unclear("what is copied where")),
    }
    match words.next() {
        Some(word) if word.is("stdout") => {}
        _ => {
            return Err(Error::new(
                ErrorKind::Denied,
                "COPY writes no files of the server and starts no programs",
            )
            .hint("Write COPY … TO STDOUT; in psql, \\copy writes a file of yours."));
        }
    }
    Ok(Way::Out(Copying { query, form: form(words)? }))
}

/// `table [(columns)]` as a query, and the word that follows.
fn of_table(words: &mut Words<'_>) -> Result<(String, Option<String>)> {
    let all = words.0;
    let said = |rest: &str| all.get(..all.len() - rest.len()).unwrap_or_default();
    let mut table = None;
    let mut columns = "*";
    loop {
        let before = said(words.0);
        match words.next() {
            Some(word) if word.is("to") || word.is("from") => {
                let table = table.unwrap_or(before).trim();
                if table.is_empty() {
                    return Err(unclear("which table is copied"));
                }
                return Ok((format!("SELECT {columns} FROM {table}"), Some(word.text())));
            }
            Some(Word::Sign('(')) if table.is_none() => {
                let behind = all.get(before.len()..).unwrap_or_default();
                let (inner, rest) =
                    statement::bracketed(behind).ok_or_else(|| unclear("its columns"))?;
                table = Some(before);
                columns = inner;
                words.0 = rest;
            }
            Some(Word::Plain(_) | Word::Quoted(_)) if table.is_none() => {}
            _ => return Err(unclear("which table is copied")),
        }
    }
}

fn unclear(what: &str) -> Error {
    Error::invalid(format!("COPY does not say as it stands here {what}"))
        .hint("Write COPY (SELECT …) TO STDOUT WITH (FORMAT csv, HEADER).")
}

/// Options: `WITH (FORMAT csv, HEADER)`, or as before there were brackets, `CSV HEADER DELIMITER ';'`.
#[derive(Default)]
struct Said {
    layout: Option<Layout>,
    delimiter: Option<String>,
    null: Option<String>,
    header: bool,
    quote: Option<String>,
    escape: Option<String>,
    quoted: Option<Quoted>,
}

fn form(mut words: Words<'_>) -> Result<CopyForm> {
    let mut said = Said::default();
    let mut next = words.next();
    if next.as_ref().is_some_and(|word| word.is("with")) {
        next = words.next();
    }
    if next == Some(Word::Sign('(')) {
        loop {
            let name = words.name().ok_or_else(|| unclear("its options"))?;
            let (value, end) = value(&mut words)?;
            said.option(&name, value)?;
            if end {
                break;
            }
        }
        next = words.next();
    } else {
        while let Some(word) = next {
            said.older(&word, &mut words)?;
            next = words.next();
        }
    }
    match next {
        None => said.form(),
        Some(_) => Err(unclear("its options")),
    }
}

/// What stands behind the name of an option: a word, `*`, or names between brackets, `,` between them; and whether it was the last.
fn value(words: &mut Words<'_>) -> Result<(Vec<String>, bool)> {
    let (mut value, mut within) = (Vec::new(), false);
    loop {
        match words.next() {
            Some(Word::Sign('(')) if !within && value.is_empty() => within = true,
            Some(Word::Sign(')')) if within => within = false,
            Some(Word::Sign(',')) if within => {}
            Some(Word::Sign(',')) => return Ok((value, false)),
            Some(Word::Sign(')')) => return Ok((value, true)),
            Some(word @ (Word::Plain(_) | Word::Quoted(_) | Word::Text(_) | Word::Sign('*'))) => {
                value.push(word.text());
            }
            _ => return Err(unclear("its options")),
        }
    }
}

impl Said {
    fn option(&mut self, name: &str, value: Vec<String>) -> Result<()> {
        let odd = || {
            Error::invalid(format!("COPY's option {} does not fit", name.to_uppercase()))
                .hint("Write it as PostgreSQL does: WITH (FORMAT csv, HEADER, DELIMITER ';').")
        };
        match (name, value.as_slice()) {
            ("format", [word]) => {
                self.layout = Some(match word.to_ascii_lowercase().as_str() {
                    "text" => Layout::Text,
                    "csv" => Layout::Csv,
                    "binary" => Layout::Binary,
                    _ => return Err(odd()),
                });
            }
            ("header", []) => self.header = true,
            ("header", [word]) => {
                self.header = match word.to_ascii_lowercase().as_str() {
                    "true" | "on" | "1" => true,
                    "false" | "off" | "0" => false,
                    _ => return Err(odd()),
                };
            }
            ("delimiter", [text]) => self.delimiter = Some(text.clone()),
            ("null", [text]) => self.null = Some(text.clone()),
            ("quote", [text]) => self.quote = Some(text.clone()),
            ("escape", [text]) => self.escape = Some(text.clone()),
            ("force_quote", [star]) if star == "*" => self.quoted = Some(Quoted::All),
            ("force_quote", [_, ..]) => {
                self.quoted = Some(Quoted::Some(value.into_iter().collect()));
            }
            ("encoding", [name]) if is_utf8(name) => {}
            _ => return Err(odd()),
        }
        Ok(())
    }

    /// An option without brackets around all of them.
    fn older(&mut self, word: &Word, words: &mut Words<'_>) -> Result<()> {
        let Word::Plain(name) = word else { return Err(unclear("its options")) };
        match name.as_str() {
            "binary" | "csv" => self.option("format", vec![name.clone()]),
            "header" => self.option("header", Vec::new()),
            "delimiter" | "delimiters" | "null" | "quote" | "escape" | "encoding" => {
                let mut value = words.next();
                if value.as_ref().is_some_and(|word| word.is("as")) {
                    value = words.next();
                }
                match value {
                    Some(Word::Text(text)) => self.option(name.trim_end_matches('s'), vec![text]),
                    _ => Err(unclear("its options")),
                }
            }
            "force" if words.next().is_some_and(|word| word.is("quote")) => {
                let mut columns = Vec::new();
                // A list has its commas; what follows a name without one is another option.
                loop {
                    match words.next() {
                        Some(Word::Sign('*')) if columns.is_empty() => {
                            return self.option("force_quote", vec!["*".to_owned()]);
                        }
                        Some(Word::Plain(name) | Word::Quoted(name)) => columns.push(name),
                        _ => return Err(unclear("its options")),
                    }
                    let mut ahead = Words(words.0);
                    if ahead.next() != Some(Word::Sign(',')) {
                        return self.option("force_quote", columns);
                    }
                    words.0 = ahead.0;
                }
            }
            _ => Err(unclear("its options")),
        }
    }

    /// The form, with what is usual where nothing was said.
    fn form(self) -> Result<CopyForm> {
        let layout = self.layout.unwrap_or(Layout::Text);
        let csv = layout == Layout::Csv;
        let odd = |what: &str| {
            Err(Error::invalid(format!("COPY cannot have {what}"))
                .hint("A delimiter, a quote and an escape are one ASCII character each."))
        };
        let only_csv = self.quote.is_some() || self.escape.is_some() || self.quoted.is_some();
        if only_csv && !csv {
            return odd("QUOTE, ESCAPE or FORCE_QUOTE without FORMAT csv");
        }
        let plain = self.header || self.delimiter.is_some() || self.null.is_some();
        if plain && layout == Layout::Binary {
            return odd("HEADER, DELIMITER or NULL with FORMAT binary");
        }
        let (delimiter, null) = if csv { (",", "") } else { ("\t", "\\N") };
        let delimiter = one(self.delimiter.as_deref().unwrap_or(delimiter));
        let quote = one(self.quote.as_deref().unwrap_or("\""));
        let (Some(delimiter), Some(quote)) = (delimiter, quote) else {
            return odd("such a delimiter or quote");
        };
        let Some(escape) = self.escape.as_deref().map_or(Some(quote), one) else {
            return odd("such an escape");
        };
        let null = self.null.unwrap_or_else(|| null.to_owned());
        let clashes = match csv {
            true => delimiter == quote || null.contains(quote),
            false => NO_DELIMITERS.contains(delimiter),
        };
        if clashes || null.contains([delimiter, '\n', '\r']) {
            return odd("a delimiter, a quote or a NULL that means something else, too");
        }
        let quoted = self.quoted.unwrap_or_else(|| Quoted::Some(BTreeSet::new()));
        Ok(CopyForm { layout, delimiter, null, header: self.header, quote, escape, quoted })
    }
}

fn is_utf8(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().replace('-', "").as_str(), "utf8" | "unicode")
}

/// The one character of a text, if it parts or quotes values.
fn one(text: &str) -> Option<char> {
    let mut signs = text.chars();
    match (signs.next(), signs.next()) {
        (Some(sign), None) if sign.is_ascii() && !matches!(sign, '\n' | '\r' | '\0') => Some(sign),
        _ => None,
    }
}

/// Writes rows as such a stream.
pub struct CopyWriter {
    form: CopyForm,
    /// Whether the values of a column have quotes in any case.
    quoted: Vec<bool>,
    begun: bool,
    cell: BytesMut,
}

impl CopyWriter {
    /// One that has written nothing; `names` are those of the columns.
    #[must_use]
    pub fn new(form: CopyForm, names: &[&str]) -> Self {
        let quoted = names.iter().map(|name| match &form.quoted {
            Quoted::All => true,
            Quoted::Some(columns) => columns.contains(*name),
        });
        let quoted = quoted.collect();
        Self { form, quoted, begun: false, cell: BytesMut::new() }
    }

    /// Writes the names of the columns, if they are wanted.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`] if they are too long for the protocol.
    pub fn head(&mut self, names: &[&str], out: &mut BytesMut) -> Result<()> {
        if !self.form.header {
            return Ok(());
        }
        let message = begin(out);
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                put(out, self.form.delimiter);
            }
            self.cell.clear();
            self.cell.put_slice(name.as_bytes());
            self.put_cell(false, names.len() == 1, out);
        }
        out.put_u8(b'\n');
        set_length(out, message, 0)
    }

    /// Writes the rows of a batch; `kinds` has the type that was told for each column.
    ///
    /// # Errors
    /// As [`super::data_rows`].
    pub fn rows(&mut self, batch: &RecordBatch, kinds: &[Kind], out: &mut BytesMut) -> Result<()> {
        let columns = columns(batch, kinds)?;
        let count = count(&columns)?;
        for row in 0..batch.num_rows() {
            let message = begin(out);
            if self.form.is_binary() {
                if !self.begun {
                    out.put_slice(HEAD);
                }
                binary(&columns, count, row, out)?;
            } else {
                self.line(&columns, row, out)?;
            }
            self.begun = true;
            set_length(out, message, 0)?;
        }
        Ok(())
    }

    /// Writes the end.
    ///
    /// # Errors
    /// None in practice: it is short.
    pub fn end(&mut self, out: &mut BytesMut) -> Result<()> {
        if !self.form.is_binary() {
            return Ok(());
        }
        let message = begin(out);
        if !self.begun {
            out.put_slice(HEAD);
        }
        self.begun = true;
        out.put_i16(END);
        set_length(out, message, 0)
    }

    fn line(&mut self, columns: &[Column], row: usize, out: &mut BytesMut) -> Result<()> {
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                put(out, self.form.delimiter);
            }
            if column.is_missing(row) {
                out.put_slice(self.form.null.as_bytes());
                continue;
            }
            self.cell.clear();
            column.text(row, &mut self.cell)?;
            let quoted = self.quoted.get(at).copied().unwrap_or_default();
            self.put_cell(quoted, columns.len() == 1, out);
        }
        out.put_u8(b'\n');
        Ok(())
    }

    /// Writes a value, so that neither its signs nor it itself is taken for something else; `alone` says that it is the line.
    fn put_cell(&self, quoted: bool, alone: bool, out: &mut BytesMut) {
        let form = &self.form;
        let is = |byte: u8, sign: char| char::from(byte) == sign;
        if form.layout == Layout::Text {
            for byte in self.cell.iter().copied() {
                let said = match byte {
                    0x08 => b'b',
                    0x0c => b'f',
                    b'\n' => b'n',
                    b'\r' => b'r',
                    b'\t' => b't',
                    0x0b => b'v',
                    byte if byte == b'\\' || (byte.is_ascii() && is(byte, form.delimiter)) => byte,
                    byte => {
                        out.put_u8(byte);
                        continue;
                    }
                };
                out.put_slice(&[b'\\', said]);
            }
            return;
        }
        let special = |byte: &u8| {
            byte.is_ascii()
                && (matches!(byte, b'\n' | b'\r')
                    || is(*byte, form.delimiter)
                    || is(*byte, form.quote))
        };
        let quoted = quoted
            || self.cell.iter().any(special)
            || self.cell[..] == *form.null.as_bytes()
            // It would end the stream.
            || (alone && self.cell[..] == *b"\\.");
        if !quoted {
            out.put_slice(&self.cell);
            return;
        }
        put(out, form.quote);
        for byte in self.cell.iter().copied() {
            if byte.is_ascii() && (is(byte, form.quote) || is(byte, form.escape)) {
                put(out, form.escape);
            }
            out.put_u8(byte);
        }
        put(out, form.quote);
    }
}

/// A row in binary form, without its message.
fn binary(columns: &[Column], count: i16, row: usize, out: &mut BytesMut) -> Result<()> {
    out.put_i16(count);
    for column in columns {
        if column.is_missing(row) {
            out.put_i32(-1);
            continue;
        }
        let place = out.len();
        out.put_i32(0);
        column.binary(row, out)?;
        set_length(out, place, 4)?;
    }
    Ok(())
}

/// Begins a message of data; the place of its length.
fn begin(out: &mut BytesMut) -> usize {
    out.put_u8(b'd');
    let place = out.len();
    out.put_i32(0);
    place
}

fn put(out: &mut BytesMut, sign: char) {
    let mut bytes = [0; 4];
    out.put_slice(sign.encode_utf8(&mut bytes).as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::super::Command;
    use super::*;

    fn asked(sql: &str) -> Copying {
        match Command::of(sql).unwrap() {
            Command::Copy(copying) => *copying,
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// What is in the messages of a stream, one after the other.
    fn stream(options: &str, texts: &[Option<&str>]) -> Vec<Vec<u8>> {
        let form = asked(&format!("copy (select 1) to stdout {options}")).form;
        let n: ArrayRef =
            Arc::new(Int32Array::from_iter_values(0..i32::try_from(texts.len()).unwrap()));
        let t: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let batch = RecordBatch::try_from_iter_with_nullable([("n", n, true), ("t", t, true)]);
        let (mut out, names) = (BytesMut::new(), ["n", "t"]);
        let mut writer = CopyWriter::new(form, &names);
        writer.head(&names, &mut out).unwrap();
        writer.rows(&batch.unwrap(), &[Kind::Int4, Kind::Text], &mut out).unwrap();
        writer.end(&mut out).unwrap();
        let mut messages = Vec::new();
        let mut rest = &out[..];
        while !rest.is_empty() {
            assert_eq!(rest[0], b'd');
            let length = i32::from_be_bytes(rest[1..5].try_into().unwrap());
            let end = usize::try_from(length).unwrap() + 1;
            messages.push(rest[5..end].to_vec());
            rest = &rest[end..];
        }
        messages
    }

    fn lines(options: &str, texts: &[Option<&str>]) -> Vec<String> {
        let messages = stream(options, texts).into_iter();
        messages.map(|message| String::from_utf8(message).unwrap()).collect()
    }

    #[test]
    fn what_is_copied_is_understood() {
        for (sql, query) in [
            ("COPY (select ')' as a) TO STDOUT", "select ')' as a"),
            ("copy\n( with a as (select 1) select * from a ) to stdout with binary", {
                "with a as (select 1) select * from a"
            }),
            ("copy marts.\"Orders\" to stdout (format csv)", "SELECT * FROM marts.\"Orders\""),
            ("COPY orders (id, \"to\") TO STDOUT CSV", "SELECT id, \"to\" FROM orders"),
        ] {
            assert_eq!(asked(sql).query, query, "{sql}");
        }
        assert!(asked("copy (select 1) to stdout with binary").form.is_binary());
        assert!(asked("copy (select 1) to stdout (FORMAT 'binary')").form.is_binary());
        assert_eq!(Command::of("copy orders from stdin").unwrap(), Command::CopyIn);
        assert_eq!(Command::of("COPY orders (a) FROM '/etc/passwd'").unwrap(), Command::CopyIn);
        for sql in ["copy orders to '/tmp/x'", "copy (select 1) to program 'sh'"] {
            assert_eq!(Command::of(sql).unwrap_err().kind(), ErrorKind::Denied, "{sql}");
        }
        for sql in [
            "copy",
            "copy (select 1 to stdout",
            "copy to stdout",
            "copy (select 1) to stdout (format xml)",
            "copy (select 1) to stdout (format csv",
            "copy (select 1) to stdout (format csv) more",
            "copy (select 1) to stdout (quote '!')",
            "copy (select 1) to stdout (format binary, header)",
            "copy (select 1) to stdout (delimiter 'ab')",
            "copy (select 1) to stdout (format csv, delimiter '\"')",
            "copy (select 1) to stdout (encoding 'latin1')",
            "copy (select 1) to stdout csv delimiter",
        ] {
            assert_eq!(Command::of(sql).unwrap_err().kind(), ErrorKind::Invalid, "{sql}");
        }
    }

    #[test]
    fn texts_tell_what_is_missing_and_hide_what_parts_them() {
        let texts = [Some("a\tb\\\n"), None, Some(""), Some("\\N"), Some("两")];
        let expected =
            ["0\ta\\tb\\\\\\n\n", "1\t\\N\n", "2\t\n", "3\t\\\\N\n", "4\t两\n"].map(str::to_owned);
        assert_eq!(lines("", &texts), expected);
        let other = lines("delimiter '|' null '-'", &[Some("a|b"), None]);
        assert_eq!(other, ["0|a\\|b\n", "1|-\n"]);
    }

    #[test]
    fn csv_has_quotes_where_they_are_needed() {
        let texts = [Some("a,\"b\""), None, Some(""), Some("a\nb"), Some("plain")];
        let expected =
            ["n,t\n", "0,\"a,\"\"b\"\"\"\n", "1,\n", "2,\"\"\n", "3,\"a\nb\"\n", "4,plain\n"];
        assert_eq!(lines("with (format csv, header)", &texts), expected);
        assert_eq!(lines("csv header", &texts), expected);
        let other = lines(
            "(format csv, delimiter ';', quote '''', escape '\\', force_quote (t), null 'none')",
            &[Some("it's"), None, Some("none"), Some("\\")],
        );
        assert_eq!(other, ["0;'it\\'s'\n", "1;none\n", "2;'none'\n", "3;'\\\\'\n"]);
        assert_eq!(lines("csv force quote *", &[Some("a")]), ["\"0\",\"a\"\n"]);
        let form = asked("copy (select 1 as a) to stdout csv force quote a, b").form;
        assert_eq!(form.missing(&["a"]), Some("b"));
    }

    #[test]
    fn the_binary_form_has_its_head_and_its_end() {
        let end = (-1_i16).to_be_bytes();
        let row = b"\0\x02\0\0\0\x04\0\0\0\0\0\0\0\x01a";
        let missing = b"\0\x02\0\0\0\x04\0\0\0\x01\xff\xff\xff\xff".to_vec();
        let expected = vec![[HEAD, &row[..]].concat(), missing, end.to_vec()];
        assert_eq!(stream("(format binary)", &[Some("a"), None]), expected);
        assert_eq!(stream("binary", &[]), vec![[HEAD, &end[..]].concat()]);
    }
}
