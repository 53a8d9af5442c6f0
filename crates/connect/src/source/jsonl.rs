//! The `jsonl` source: text files with one JSON object per line.
//!
//! Numbers keep every digit. Nested objects and lists land as `json` text; declaring a column by its
//! path with dots (`address.city`) opens that object, and all its members become columns.

pub(crate) mod object;
mod reader;

use std::collections::BTreeSet;
use std::sync::Arc;

use encoding_rs::Encoding;
use flywheel_base::{Result, quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::reader::LinesReader;
use super::{ReadRequest, Source, SourceConfig, SourceContext};
use crate::column::{DeclaredColumn, Parsing};
use crate::files::{
    self, FileReader, FileSettings, Files, NewColumns, Resume, Sample, VisibleFile, encoding,
};
use crate::objects::FilePlace;

/// The longest line unless the stream says otherwise.
const LINE_BYTES_MAX: usize = 16 << 20;

/// The shortest limit of a line that makes sense.
const LINE_BYTES_MIN: usize = 1 << 10;

/// A folder of JSON Lines files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct JsonLines(pub FilePlace);

/// The files of one stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonLinesStream {
    /// The file, or a pattern of files: `events/*.jsonl`. Compressed files (gzip, zstd) are read, too.
    pub path: String,
    /// The form of file names that hold a date, `%Y-%m-%d.jsonl`: a file is read from its date on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<String>,
    /// The encoding, `utf-8` if not given. A byte order mark wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The form of dates if they are not ISO: `%d.%m.%Y`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
    /// The form of timestamps if they are not ISO: `%d.%m.%Y %H:%M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_format: Option<String>,
    /// What happens to a key the table does not know yet.
    #[serde(default)]
    pub new_columns: NewColumns,
    /// Whether each row carries its file and line, in the columns `_file` and `_line`.
    #[serde(default)]
    pub lineage_columns: bool,
    /// Whether bytes are written as base64, as the `jsonl` destination does it.
    #[serde(default)]
    pub base64: bool,
    /// Whether the files are logs that a program still writes and rotates. `path` then names the log and
    /// what becomes of it, `logs/app.log*`: renamed, copied and cut back, or compressed, a log is known
    /// by its content, read on where it stood, and finished before the next one. Only whole lines are
    /// taken.
    #[serde(default)]
    pub tail: bool,
    /// The longest line, `16MiB` if not given; a longer one is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_bytes_max: Option<String>,
}

impl SourceConfig for JsonLines {
    type Stream = JsonLinesStream;

    const ABOUT: &'static str = "JSON Lines files, one or many, plain or compressed";

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Files::<LinesFormat>::new(ctx, self.0)?))
    }
}

/// The settings of a stream, ready for use.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: JsonLinesStream,
    nested: BTreeSet<String>,
    encoding: Option<&'static Encoding>,
    parsing: Parsing,
    line_bytes_max: usize,
}

/// The JSON Lines format.
pub(crate) struct LinesFormat(Arc<Lines>);

impl files::Format for LinesFormat {
    type Stream = JsonLinesStream;

    const NAME: &'static str = "jsonl";
    const EXTENSIONS: &'static [&'static str] = &["jsonl", "ndjson"];
    const GROWS: bool = true;

    fn new(stream: JsonLinesStream, request: &ReadRequest) -> Result<Self> {
        Ok(Self(Arc::new(lines(stream, &request.columns)?)))
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
        LinesReader::open(&self.0, file, None)?.sample(rows, sample)
    }

    fn open(&self, file: &VisibleFile, resume: Option<Resume>) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(LinesReader::open(&self.0, file, resume)?))
    }
}

fn lines(stream: JsonLinesStream, declared: &[DeclaredColumn]) -> Result<Lines> {
    let line_bytes_max = match &stream.line_bytes_max {
        Some(text) => usize::try_from(quantity::size_bytes(text)?).unwrap_or(usize::MAX),
        None => LINE_BYTES_MAX,
    };
    let encoding = stream.encoding.as_deref().map(encoding).transpose()?;
    files::check_tail(stream.tail, encoding)?;
    Ok(Lines {
        nested: object::nested(declared),
        encoding,
        parsing: Parsing {
            date_pattern: stream.date_format.clone(),
            timestamp_pattern: stream.timestamp_format.clone(),
            base64: stream.base64,
            ..Parsing::default()
        },
        line_bytes_max: line_bytes_max.clamp(LINE_BYTES_MIN, 1 << 30),
        stream,
    })
}

/// Reads a text in memory as the `jsonl` source would read a file, for previews and for fuzzing.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if the settings are impossible or the text is one JSON list;
/// [`flywheel_base::ErrorKind::Corrupt`] if compressed bytes are damaged.
pub fn decode(
    bytes: Vec<u8>,
    stream: JsonLinesStream,
    columns: &[DeclaredColumn],
    page_rows: usize,
) -> Result<Vec<crate::Page>> {
    let memory = Memory { lines: Arc::new(lines(stream, columns)?), bytes };
    let lineage = memory.lines.stream.lineage_columns;
    files::decode(&memory, "jsonl", columns, lineage, page_rows)
}

struct Memory {
    lines: Arc<Lines>,
    bytes: Vec<u8>,
}

impl Memory {
    fn reader(&self) -> Result<LinesReader> {
        let input = files::Input::memory(self.bytes.clone(), self.lines.encoding)?;
        LinesReader::start(&self.lines, "memory", input, 0, 1)
    }
}

impl files::InMemory for Memory {
    fn sample(&self, rows: usize, sample: &mut Sample) -> Result<()> {
        self.reader()?.sample(rows, sample)
    }

    fn open(&self) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(self.reader()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ColumnType;
    use crate::source::contract::{cells, codes, rejected_at};

    fn read(text: &str, columns: &[DeclaredColumn]) -> Vec<crate::Page> {
        decode(text.as_bytes().to_vec(), JsonLinesStream::default(), columns, 100).unwrap()
    }

    #[test]
    fn numbers_keep_their_digits_and_nested_values_their_text() {
        let pages = read(
            "{\"id\":9007199254740993,\"n\":18446744073709551616,\"o\":{\"b\": [1, 2]},\"z\":\"00123\"}\n\
             {\"id\":2,\"n\":1,\"o\":null,\"z\":\"1\"}\n",
            &[],
        );
        assert_eq!(
            cells(&pages),
            [
                ["9007199254740993", "18446744073709551616", "{\"b\": [1, 2]}", "00123"],
                ["2", "1", "∅", "1"],
            ]
        );
    }

    #[test]
    fn a_declared_path_opens_the_object() {
        let columns = [
            DeclaredColumn::new("a.city", ColumnType::Text),
            DeclaredColumn::new("price", ColumnType::Decimal { precision: 9, scale: 2 }),
        ];
        let pages =
            read("{\"a\":{\"city\":\"Rome\",\"zip\":\"00100\"},\"price\":12.5}\n", &columns);
        assert_eq!(cells(&pages), [["Rome", "00100", "12.50"]]);
        assert_eq!(pages[0].batch.schema().field(1).name(), "a.zip");
    }

    #[test]
    fn a_line_that_is_no_text_names_the_key_whose_value_it_is() {
        let bytes = b"{\"id\":1,\"name\":\"M\xfcller\",\"city\":\"\xff\"}\n\
            {\"id\":2,\"n\xfcme\":\"x\"}\n{\"id\":3,\"name\":\"\xff\n{\"id\":4,\"name\":\"ok\"}\n";
        let pages = decode(bytes.to_vec(), JsonLinesStream::default(), &[], 100).unwrap();
        assert_eq!(
            rejected_at(&pages),
            [
                (1, "invalid-utf8", Some("name")),
                (2, "invalid-utf8", None),
                (3, "invalid-utf8", None),
            ]
        );
        let reason = &pages[0].rejected[0].reason;
        assert!(reason.contains("byte 17") && reason.contains("`encoding`"), "{reason}");
        assert_eq!(cells(&pages), [["4", "ok"]]);
    }

    #[test]
    fn conflicts_duplicates_and_broken_lines_are_set_aside() {
        let good = "{\"a\":1,\"b\":\"x\"}\n".repeat(10_000);
        let bad = "{\"a\":\"1\",\"b\":\"x\"}\n{\"a\":1,\"a\":2}\n{\"a\":1\n[1]\n5\n\n{\"a\":1,\"b\":{}}\n{\"a\":1.5}\n{\"a\":3.0}";
        let pages = read(&(good + bad), &[]);
        assert_eq!(
            codes(&pages),
            [
                "type-mismatch",
                "duplicate-key",
                "invalid-json",
                "not-an-object",
                "not-an-object",
                "type-mismatch",
                "type-mismatch"
            ]
        );
        assert_eq!(cells(&pages).len(), 10_001);
        let lines: Vec<_> = pages.iter().flat_map(|p| &p.rejected).filter_map(|r| r.line).collect();
        assert_eq!(lines, [10_001, 10_002, 10_003, 10_004, 10_005, 10_007, 10_008]);
    }

    #[test]
    fn a_key_that_appears_late_becomes_a_column() {
        let text = "{\"a\":1}\n".repeat(10_500) + "{\"a\":1,\"late\":\"2024-05-01\"}\n";
        let pages = read(&text, &[]);
        assert_eq!(cells(&pages).last().unwrap(), &["1", "2024-05-01"]);
        assert_eq!(pages.last().unwrap().batch.schema().field(1).data_type().to_string(), "Date32");
    }

    #[test]
    fn one_large_list_is_explained() {
        let error = decode(b"[\n{\"a\":1}\n]".to_vec(), JsonLinesStream::default(), &[], 10);
        assert!(error.unwrap_err().hint_text().unwrap().contains("jq"));
    }
}
