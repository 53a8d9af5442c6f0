//! Results on stdout, in the asked form; messages on stderr.

use std::io::{IsTerminal, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use clap::ValueEnum;
use flywheel_base::{Error, Result};
use flywheel_warehouse::{csv_line, texts, values};
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// JSON; rows as an array of objects, decimals and moments as exact text.
    Json,
    /// CSV with a header.
    Csv,
    /// A Markdown table.
    Md,
    /// A diagram of Mermaid; of lineage only.
    Mermaid,
}

/// Where results go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Output {
    /// The asked form.
    pub(crate) format: Format,
}

/// Rows of text with a header: what every form is made from.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Grid {
    /// The columns' names.
    pub(crate) header: Vec<String>,
    /// Whether each column is aligned to the right.
    pub(crate) right: Vec<bool>,
    /// The rows; a missing value is `None`.
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

impl Grid {
    /// A grid with these columns; names that begin with `#` are numbers, aligned to the right.
    pub(crate) fn new(header: &[&str]) -> Self {
        let right = header.iter().map(|name| name.starts_with('#')).collect();
        let header = header.iter().map(|name| name.trim_start_matches('#').to_owned()).collect();
        Self { header, right, rows: Vec::new() }
    }

    /// Adds a row; an empty text is a missing value.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|cell| (!cell.is_empty()).then_some(cell)).collect());
    }

    /// The rows of query results.
    pub(crate) fn of_batches(schema: &Schema, batches: &[RecordBatch]) -> Result<Self> {
        let header = schema.fields().iter().map(|field| field.name().clone()).collect();
        let right = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        let mut rows = Vec::new();
        for batch in batches {
            texts(batch, |row| rows.push(row))?;
        }
        Ok(Self { header, right, rows })
    }
}

impl Output {
    /// Prints in `format`.
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether a person reads it.
    pub(crate) fn for_people(self) -> bool {
        self.format == Format::Table
    }

    /// Prints rows.
    pub(crate) fn grid(self, grid: &Grid) -> Result<()> {
        match self.format {
            Format::Table => self.line(&table(grid)),
            Format::Csv => self.line(&csv(grid)),
            Format::Md => self.line(&markdown(grid)),
            Format::Mermaid => Err(Error::invalid("rows cannot be drawn as a diagram")
                .hint("Use --output table, json, csv or md; `flywheel lineage` draws diagrams.")),
            Format::Json => {
                let object =
                    |row: &Vec<Option<String>>| -> serde_json::Map<String, serde_json::Value> {
                        grid.header
                            .iter()
                            .cloned()
                            .zip(row.iter().map(|cell| cell.clone().into()))
                            .collect()
                    };
                self.json(&grid.rows.iter().map(object).collect::<Vec<_>>())
            }
        }
    }

    /// Prints query results.
    pub(crate) fn batches(self, schema: &Schema, batches: &[RecordBatch]) -> Result<()> {
        if self.format != Format::Json {
            return self.grid(&Grid::of_batches(schema, batches)?);
        }
        let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        let plain = |kind: &DataType, text: String| json_cell(Some(text), kind);
        let mut objects = Vec::new();
        for batch in batches {
            values(batch, plain, |row| {
                let named = names.iter().map(|name| (*name).clone()).zip(row);
                objects.push(named.collect::<serde_json::Map<_, _>>());
            })?;
        }
        self.json(&objects)
    }

    /// Prints a value as JSON.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Error::internal("a result is no JSON").caused_by(e))?;
        self.line(&text)
    }

    /// Prints text on stdout; a reader that has gone away is no error.
    pub(crate) fn line(self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let written = out
            .write_all(text.as_bytes())
            .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|e| Error::internal("cannot write to stdout").caused_by(e)),
        }
    }

    /// Prints a message on stderr.
    #[expect(clippy::print_stderr, reason = "the one place where messages leave")]
    pub(crate) fn message(self, text: &str) {
        eprintln!("{text}");
    }

    /// Whether progress may be drawn.
    pub(crate) fn interactive(self) -> bool {
        self.for_people() && std::io::stderr().is_terminal()
    }
}

/// A cell with its JSON type: whole numbers and floats as numbers, everything else as exact text.
fn json_cell(cell: Option<String>, kind: &DataType) -> serde_json::Value {
    let Some(text) = cell else { return serde_json::Value::Null };
    let parsed = match kind {
        DataType::Boolean => text.parse::<bool>().ok().map(Into::into),
        kind if kind.is_integer() => text.parse::<i64>().ok().map(Into::into),
        kind if kind.is_floating() => {
            text.parse::<f64>().ok().filter(|x| x.is_finite()).map(Into::into)
        }
        _ => None,
    };
    parsed.unwrap_or_else(|| text.into())
}

/// How many terminal cells a character takes: two for CJK and wide symbols.
fn width(text: &str) -> usize {
    let wide = |c: char| matches!(c as u32, 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x1F300..=0x1FAFF);
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

fn table(grid: &Grid) -> String {
    let shown = |cell: &Option<String>| cell.clone().unwrap_or_default().replace(['\n', '\r'], "⏎");
    let mut widths: Vec<usize> = grid.header.iter().map(|name| width(name)).collect();
    for row in &grid.rows {
        for (size, cell) in widths.iter_mut().zip(row) {
            *size = (*size).max(width(&shown(cell)));
        }
    }
    let line = |cells: Vec<String>| {
        let mut text = String::new();
        for (index, cell) in cells.iter().enumerate() {
            let size = widths.get(index).copied().unwrap_or_default();
            let pad = " ".repeat(size.saturating_sub(width(cell)));
            let right = grid.right.get(index).copied().unwrap_or_default();
            let (before, after) = if right { (pad.as_str(), "") } else { ("", pad.as_str()) };
            text.push_str(before);
            text.push_str(cell);
            text.push_str(after);
            text.push_str("  ");
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(grid.header.clone());
    text.push_str(&line(widths.iter().map(|size| "─".repeat(*size)).collect()));
    for row in &grid.rows {
        text.push_str(&line(row.iter().map(shown).collect()));
    }
    text
}

fn csv(grid: &Grid) -> String {
    let mut text = csv_line(grid.header.iter().map(|name| Some(name.as_str()))) + "\n";
    for row in &grid.rows {
        text.push_str(&csv_line(row.iter().map(Option::as_deref)));
        text.push('\n');
    }
    text
}

fn markdown(grid: &Grid) -> String {
    let escaped = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut text = format!(
        "| {} |\n|",
        grid.header.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(" | ")
    );
    for right in &grid.right {
        text.push_str(if *right { "---:|" } else { "---|" });
    }
    text.push('\n');
    for row in &grid.rows {
        let cells: Vec<String> =
            row.iter().map(|cell| escaped(cell.as_deref().unwrap_or_default())).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        let mut grid = Grid::new(&["name", "#n"]);
        grid.rows.push(vec![Some("a,\"b\"".into()), Some("1".into())]);
        grid.rows.push(vec![None, Some("22".into())]);
        grid.rows.push(vec![Some(String::new()), None]);
        grid
    }

    #[test]
    fn csv_tells_missing_from_empty_and_quotes_what_needs_it() {
        assert_eq!(csv(&grid()), "name,n\n\"a,\"\"b\"\"\",1\n,22\n\"\",\n");
    }

    #[test]
    fn tables_align_numbers_right_and_wide_characters_by_cells() {
        let mut grid = Grid::new(&["名称", "#n"]);
        grid.row(vec!["数据飞轮".into(), "7".into()]);
        grid.row(vec!["ab".into(), "10".into()]);
        assert_eq!(table(&grid), "名称       n\n────────  ──\n数据飞轮   7\nab        10\n");
    }

    #[test]
    fn whole_numbers_beyond_2_53_stay_exact_in_json() {
        let cell = json_cell(Some("9007199254740993".into()), &DataType::Int64);
        assert_eq!(cell.to_string(), "9007199254740993");
        assert_eq!(
            json_cell(Some("0.10".into()), &DataType::Decimal128(4, 2)).to_string(),
            "\"0.10\""
        );
    }
}
