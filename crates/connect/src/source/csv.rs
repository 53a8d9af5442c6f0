//! The `csv` source: text files with delimited fields.
//!
//! Delimiter, header and byte order mark are found out per file; columns are matched by name, so
//! files may order them differently. What cannot be decoded is set aside row by row.

mod dialect;
mod reader;
mod record;

use std::sync::Arc;

use encoding_rs::Encoding;
use flywheel_base::{Error, Result, quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::reader::CsvReader;
use super::{ReadRequest, Source, SourceConfig, SourceContext};
use crate::column::Parsing;
use crate::files::{
    self, FileReader, FileSettings, Files, NewColumns, Resume, Sample, VisibleFile, encoding,
};
use crate::objects::FilePlace;

/// The longest line unless the stream says otherwise.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The shortest limit of a line that makes sense.
const LINE_BYTES_MIN: usize = 1 << 10;

/// A folder of CSV files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Csv(pub FilePlace);

/// The files of one stream, and how they are written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in a file")]
pub struct CsvStream {
    /// The file, or a pattern of files: `orders/*.csv`. Compressed files (gzip, zstd) are read, too.
    pub path: String,
    /// The form of file names that hold a date, `%Y-%m-%d.csv`: a file is read from its date on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<String>,
    /// The sign between fields, or `tab`; found out if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// The sign around fields, `"` if not given; an empty text for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The sign before a quote within a field, if quotes are not doubled: `\`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escape: Option<String>,
    /// The sign that begins a line which is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the first row has the names of the columns: `true`, `false` or `auto`.
    #[serde(default)]
    pub header: HeaderSetting,
    /// How many lines before the header are left out.
    #[serde(default)]
    pub skip_lines: u32,
    /// The encoding: `utf-8`, `windows-1252`, `gbk`, … A byte order mark wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The texts that mean "no value" in every column. If not given, an empty text means so in every
    /// column that is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_values: Option<Vec<String>>,
    /// Whether NaN and infinities are numbers; otherwise their rows are set aside.
    #[serde(default)]
    pub allow_nan: bool,
    /// Whether `1,5` is one and a half. A point then stands between thousands, `1.234,5`; a number with one elsewhere is
    /// set aside.
    #[serde(default)]
    pub decimal_comma: bool,
    /// The form of dates if they are not ISO: `%d.%m.%Y`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
    /// The form of timestamps if they are not ISO: `%d.%m.%Y %H:%M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_format: Option<String>,
    /// What happens to a column the table does not know yet.
    #[serde(default)]
    pub new_columns: NewColumns,
    /// Whether each row carries its file and line, in the columns `_file` and `_line`.
    #[serde(default)]
    pub lineage_columns: bool,
    /// Whether the files are as the `csv` destination writes them, so that every value reads back as it
    /// was: nothing at all is no value and `""` is an empty text, bytes are base64, NaN and infinities
    /// are numbers, the first row is the header, and no row is taken for another header or for blank.
    #[serde(default)]
    pub exact: bool,
    /// Whether the files are logs that a program still writes and rotates. `path` then names the log and
    /// what becomes of it, `logs/app.log*`: renamed, copied and cut back, or compressed, a log is known
    /// by its content, read on where it stood, and finished before the next one. Only whole lines are
    /// taken; a row must not span several.
    #[serde(default)]
    pub tail: bool,
    /// The longest line or quoted field, `16MiB` if not given; a longer one is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_bytes_max: Option<String>,
}

/// Whether the first row has the names of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderSetting {
    /// It is known.
    Known(bool),
    /// It is found out.
    Word(HeaderWord),
}

/// The word for finding out whether there is a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderWord {
    /// Found out from the first rows.
    Auto,
}

impl Default for HeaderSetting {
    fn default() -> Self {
        Self::Word(HeaderWord::Auto)
    }
}

impl SourceConfig for Csv {
    type Stream = CsvStream;

    const ABOUT: &'static str = "CSV files, one or many, plain or compressed";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Files::<CsvFormat>::new(ctx, self.0)?))
    }
}

/// The settings of a stream, ready for use.
#[derive(Debug)]
pub(crate) struct Format {
    stream: CsvStream,
    declared: Vec<String>,
    delimiter: Option<u8>,
    quote: Option<u8>,
    escape: Option<u8>,
    comment: Option<u8>,
    header: HeaderSetting,
    skip_lines: u32,
    encoding: Option<&'static Encoding>,
    parsing: Parsing,
    line_bytes_max: usize,
}

/// The CSV format.
pub(crate) struct CsvFormat(Arc<Format>);

impl files::Format for CsvFormat {
    type Stream = CsvStream;

    const NAME: &'static str = "csv";
    const EXTENSIONS: &'static [&'static str] = &["csv", "tsv", "txt"];
    const GROWS: bool = true;

    fn new(stream: CsvStream, request: &ReadRequest) -> Result<Self> {
        let declared = request.columns.iter().map(|column| column.name.clone()).collect();
        Ok(Self(Arc::new(format(stream, declared)?)))
    }

    fn settings(&self) -> FileSettings {
        let stream = &self.0.stream;
        FileSettings {
            path: stream.path.clone(),
            dated: stream.dated.clone(),
            new_columns: stream.new_columns,
            lineage: stream.lineage_columns,
            tail: stream.tail,
        }
    }

    fn sample(&self, file: &VisibleFile, rows: usize, sample: &mut Sample) -> Result<()> {
        CsvReader::open(&self.0, file, None)?.sample(rows, sample)
    }

    fn open(&self, file: &VisibleFile, resume: Option<Resume>) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(CsvReader::open(&self.0, file, resume)?))
    }

    fn apart(&self, file: &VisibleFile, raw: &str) -> Result<Option<Vec<(String, String)>>> {
        Ok(Some(CsvReader::open(&self.0, file, None)?.apart(raw)))
    }
}

fn format(stream: CsvStream, declared: Vec<String>) -> Result<Format> {
    let line_bytes_max = match &stream.line_bytes_max {
        Some(text) => usize::try_from(quantity::size_bytes(text)?).unwrap_or(usize::MAX),
        None => LINE_BYTES_MAX,
    };
    let quote = match stream.quote.as_deref() {
        None => Some(b'"'),
        Some("") => None,
        Some(_) => sign("quote", stream.quote.as_deref())?,
    };
    let delimiter = sign("delimiter", stream.delimiter.as_deref())?;
    let encoding = stream.encoding.as_deref().map(encoding).transpose()?;
    files::check_tail(stream.tail, encoding)?;
    if delimiter.is_some() && delimiter == quote {
        return Err(Error::invalid("`delimiter` and `quote` are the same sign"));
    }
    Ok(Format {
        declared,
        delimiter: delimiter.or_else(|| stream.exact.then_some(b',')),
        quote,
        escape: sign("escape", stream.escape.as_deref())?,
        comment: sign("comment", stream.comment.as_deref())?,
        header: if stream.exact { HeaderSetting::Known(true) } else { stream.header },
        skip_lines: stream.skip_lines,
        encoding,
        parsing: Parsing {
            nulls: stream.null_values.clone(),
            allow_nan: stream.allow_nan || stream.exact,
            base64: stream.exact,
            decimal_comma: stream.decimal_comma,
            date_pattern: stream.date_format.clone(),
            timestamp_pattern: stream.timestamp_format.clone(),
        },
        line_bytes_max: line_bytes_max.clamp(LINE_BYTES_MIN, 1 << 30),
        stream,
    })
}

/// Reads a setting that is one ASCII sign.
pub(crate) fn sign(name: &str, text: Option<&str>) -> Result<Option<u8>> {
    match text.map(str::as_bytes) {
        None => Ok(None),
        Some(b"tab" | b"\\t") => Ok(Some(b'\t')),
        Some([sign]) if sign.is_ascii() && !matches!(sign, b'\n' | b'\r') => Ok(Some(*sign)),
        Some(_) => Err(Error::invalid(format!("`{name}` is not one ASCII sign"))
            .hint("Write one sign such as \",\", or tab.")),
    }
}

/// The rows of plain CSV that we wrote ourselves.
pub(crate) struct CsvRows<'a> {
    rest: &'a [u8],
    record: record::Record,
}

impl<'a> CsvRows<'a> {
    /// Starts at the first row.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { rest: text, record: record::Record::default() }
    }
}

impl Iterator for CsvRows<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        let dialect = record::Dialect::default();
        if record::scan(self.rest, true, &dialect, &mut self.record) == record::Scan::End {
            return None;
        }
        let texts = dialect::texts(self.rest, &self.record, &dialect);
        self.rest = self.rest.get(self.record.length..).unwrap_or_default();
        Some(texts)
    }
}

/// A field as it is written, in quotes where it needs them.
pub(crate) fn quoted(field: &str) -> std::borrow::Cow<'_, str> {
    if field.contains([',', '"', '\n', '\r']) || field.starts_with(' ') || field.ends_with(' ') {
        return format!("\"{}\"", field.replace('"', "\"\"")).into();
    }
    field.into()
}

/// Reads a text in memory as the `csv` source would read a file, for previews and for fuzzing.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the settings or the header are impossible;
/// [`flywheel_base::ErrorKind::Corrupt`] if compressed bytes are damaged.
pub fn decode(
    bytes: Vec<u8>,
    stream: CsvStream,
    columns: &[crate::DeclaredColumn],
    page_rows: usize,
) -> Result<Vec<crate::Page>> {
    let declared = columns.iter().map(|column| column.name.clone()).collect();
    let format = Arc::new(format(stream, declared)?);
    files::decode(
        &Memory { format: &format, bytes },
        "csv",
        columns,
        format.stream.lineage_columns,
        page_rows,
    )
}

struct Memory<'a> {
    format: &'a Arc<Format>,
    bytes: Vec<u8>,
}

impl Memory<'_> {
    fn reader(&self) -> Result<CsvReader> {
        let input = files::Input::memory(self.bytes.clone(), self.format.encoding)?;
        CsvReader::start(self.format, "memory", input, None)
    }
}

impl files::InMemory for Memory<'_> {
    fn sample(&self, rows: usize, sample: &mut Sample) -> Result<()> {
        self.reader()?.sample(rows, sample)
    }

    fn open(&self) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(self.reader()?))
    }
}

#[cfg(test)]
mod tests;
