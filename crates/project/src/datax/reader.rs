//! What a reader reads: tables, queries, or files.

use flywheel_base::Result;
use serde_json::{Map, Value as Json, json};

use super::address::database;
use super::job::At;
use super::sql::{Dialect, variables};
use super::{Connection, plain_name};

/// What is read.
pub(super) struct Reading<'a> {
    /// The reader, for messages.
    pub(super) at: At<'a>,
    /// The servers or folders with what is read there, in the writer's words once it is known.
    pub(super) parts: Vec<(Connection, Rows)>,
    /// Whether files are read.
    pub(super) files: bool,
    /// The column that ranges are made by, which is a key as a rule.
    pub(super) key: Option<String>,
    /// How the database quotes.
    pub(super) from: Origin,
    /// What each column is.
    pub(super) columns: Columns,
}

/// What a stream is made from.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// Its options.
    pub(super) options: Map<String, Json>,
    /// Its declared columns.
    pub(super) columns: Vec<Json>,
    /// Whether it can be read with several connections.
    pub(super) splits: bool,
}

/// The columns of a reader, by their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Columns {
    /// All that there are.
    All,
    /// These.
    Listed(Vec<Column>),
}

/// A column of a reader.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Column {
    /// A name.
    Name(String),
    /// An expression in SQL.
    Expression(String),
    /// A field of a file, counted from 0, with its type and the form of its dates.
    Field(u64, Option<&'static str>),
    /// A fixed value beside the fields of a file, which has no counterpart.
    Constant,
}

/// What the rows come from, before the names of the target are known.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// Tables of a database with a condition.
    Tables(Dialect, Vec<Vec<String>>, Option<String>),
    /// Queries of a database.
    Queries(Dialect, Vec<Vec<String>>),
    /// Files; the options are complete.
    Files,
}

/// Reads a reader.
pub(super) fn read<'a>(reader: &At<'a>) -> Result<Reading<'a>> {
    let name = reader.need("name")?;
    let parameter = reader.need("parameter")?;
    match name.text()?.as_str() {
        "mysqlreader" => tables(&parameter, "mysql", Dialect::MySql),
        "postgresqlreader" => tables(&parameter, "postgres", Dialect::Postgres),
        "txtfilereader" => files(&parameter),
        "oraclereader" | "sqlserverreader" | "db2reader" | "rdbmsreader" => Err(name.wrong(
            "is a database that is not supported here",
            "Export its tables as CSV or Parquet files and read these, or run a Singer tap of it as a \
             `singer` connection.",
        )),
        "streamreader" => Err(name.wrong(
            "makes up rows for tests of DataX, which is not supported here",
            "Read a file or a table.",
        )),
        "hdfsreader" | "odpsreader" | "hivereader" | "hbase11xreader" => Err(name.wrong(
            "reads a Hadoop cluster, which is not supported here",
            "Put its files (Parquet, CSV) into a folder or an object store and read these.",
        )),
        "ossreader" => Err(name.wrong(
            "reads an object store of Alibaba, which is not imported",
            "Make a csv connection with `root: s3://bucket/…` and the `endpoint` of the store.",
        )),
        "ftpreader" | "mongodbreader" | "otsreader" | "drdsreader" | "httpreader" => Err(name.wrong(
            "is a system that is not supported here",
            "Read it through files, a `rest` connection, or a Singer tap.",
        )),
        _ => Err(name.wrong(
            "names a reader that is not known",
            "Known are mysqlreader, postgresqlreader and txtfilereader.",
        )),
    }
}

fn tables<'a>(parameter: &At<'a>, kind: &'static str, dialect: Dialect) -> Result<Reading<'a>> {
    let mut parts = Vec::new();
    let (mut all_tables, mut all_queries) = (Vec::new(), Vec::new());
    for connection in parameter.need("connection")?.list()? {
        let urls = connection.need("jdbcUrl")?.list()?;
        let Some(url) = urls.first() else {
            return Err(connection.wrong("has no address", "Set jdbcUrl."));
        };
        for other in urls.iter().skip(1) {
            other.note("only the first address is used; DataX tries them in turn");
        }
        let made = database(parameter, url, kind)?;
        let (mut tables, mut queries) = (Vec::new(), Vec::new());
        if let Some(listed) = connection.key("querySql") {
            for query in listed.list()? {
                queries.push(told(&query, variables(dialect.bare(&query.text()?))));
            }
            if let Some(ignored) = connection.key("table") {
                ignored.note("is not used beside querySql, as in DataX");
            }
        } else {
            for table in connection.need("table")?.list()? {
                tables.push(told(&table, variables(table.text()?.trim())));
            }
        }
        if tables.is_empty() && queries.is_empty() {
            return Err(connection.wrong("has neither table nor querySql", "Name what is read."));
        }
        parts.push((made, Rows::default()));
        all_tables.push(tables);
        all_queries.push(queries);
    }
    let with_queries = all_queries.iter().any(|queries| !queries.is_empty());
    if with_queries && all_tables.iter().any(|tables| !tables.is_empty()) {
        return Err(parameter.wrong("mixes tables and queries", "Make two jobs of it."));
    }
    let condition = match parameter.key("where") {
        Some(condition) if with_queries => {
            condition.note("is not used beside querySql, as in DataX");
            None
        }
        Some(condition) => {
            let text = condition.text()?;
            (!text.trim().is_empty()).then(|| told(&condition, variables(text.trim())))
        }
        None => None,
    };
    let columns = if with_queries {
        if let Some(ignored) = parameter.key("column") {
            ignored.note("is not used beside querySql, as in DataX");
        }
        Columns::All
    } else {
        listed(&parameter.need("column")?, dialect)?
    };
    let mut key = None;
    if let Some(split) = parameter.key("splitPk") {
        let text = split.text()?;
        key = dialect.name(&text);
        if key.is_none() && !text.trim().is_empty() {
            split.note("is no column; ranges are made by the table's own key");
        }
    }
    let from = if with_queries {
        Origin::Queries(dialect, all_queries)
    } else {
        Origin::Tables(dialect, all_tables, condition)
    };
    Ok(Reading { at: parameter.clone(), parts, files: false, key, from, columns })
}

/// The text, with a note if it has a variable.
fn told(at: &At<'_>, (text, found): (String, bool)) -> String {
    if found {
        at.note("has a variable of the job: set it in the environment before each run");
    }
    text
}

fn listed(columns: &At<'_>, dialect: Dialect) -> Result<Columns> {
    let mut found = Vec::new();
    let items = columns.list()?;
    for item in &items {
        let text = item.text()?;
        if text.trim() == "*" {
            if items.len() > 1 {
                return Err(item.wrong("stands beside other columns", "Write * alone, or names."));
            }
            return Ok(Columns::All);
        }
        found.push(match dialect.name(&text) {
            Some(name) => Column::Name(name),
            None => Column::Expression(told(item, variables(text.trim()))),
        });
    }
    if found.is_empty() {
        return Err(columns.wrong("is empty", "Name the columns, or write [\"*\"]."));
    }
    Ok(Columns::Listed(found))
}

fn files<'a>(parameter: &At<'a>) -> Result<Reading<'a>> {
    let mut shared = Map::new();
    let delimiter = parameter.key("fieldDelimiter").map(|at| at.text()).transpose()?;
    let delimiter = delimiter.unwrap_or_else(|| ",".to_owned());
    let delimiter = if matches!(delimiter.as_str(), "\t" | "\\t") { "tab" } else { &delimiter };
    shared.insert("delimiter".to_owned(), json!(delimiter));
    let header = parameter.key("skipHeader").map(|at| at.truth()).transpose()?.unwrap_or(false);
    // The names in a header are not used: DataX counts fields.
    shared.insert("header".to_owned(), json!(false));
    if header {
        shared.insert("skip_lines".to_owned(), json!(1));
    }
    if let Some(encoding) = parameter.key("encoding") {
        shared.insert("encoding".to_owned(), json!(encoding.text()?.to_lowercase()));
    }
    if let Some(none) = parameter.key("nullFormat") {
        shared.insert("null_values".to_owned(), json!([none.text()?, ""]));
    }
    if let Some(compress) = parameter.key("compress") {
        match compress.text()?.to_lowercase().as_str() {
            "gzip" | "zstd" | "" => {}
            _ => {
                return Err(compress.wrong(
                    "is a compression that is not supported here",
                    "Unpack the files, or pack them with gzip or zstd.",
                ));
            }
        }
    }
    let columns = fields(&parameter.need("column")?, &mut shared)?;
    let mut parts = Vec::new();
    for path in parameter.need("path")?.list()? {
        let text = told(&path, variables(path.text()?.trim()));
        let (folder, name) = text.rsplit_once('/').unwrap_or(("", &text));
        let (folder, name) = match folder.find(['*', '?']) {
            // A pattern in the folder belongs to the path.
            Some(at) => {
                let cut = folder[..at].rfind('/').unwrap_or(0);
                (&text[..cut], text[cut..].trim_start_matches('/'))
            }
            None => (folder, name),
        };
        let pattern = if name.is_empty() { "*" } else { name };
        let mut options = shared.clone();
        options.insert("path".to_owned(), json!(pattern));
        let last = folder.rsplit('/').find(|part| !part.is_empty()).unwrap_or("files");
        let folder = if folder.is_empty() { "." } else { folder };
        let connection = Connection {
            kind: "csv",
            name: plain_name(&format!("csv_{last}")),
            options: vec![("folder", json!(folder))],
            password: false,
        };
        parts.push((connection, Rows { options, ..Rows::default() }));
    }
    if parts.is_empty() {
        return Err(parameter.wrong("names no path", "Set `path` to the files."));
    }
    Ok(Reading {
        at: parameter.clone(),
        parts,
        files: true,
        key: None,
        from: Origin::Files,
        columns,
    })
}

fn fields(columns: &At<'_>, shared: &mut Map<String, Json>) -> Result<Columns> {
    let mut found = Vec::new();
    for item in columns.list()? {
        if item.json().as_str() == Some("*") {
            return Ok(Columns::All);
        }
        let kind = match item.key("type") {
            Some(at) => Some(field_type(&at)?),
            None => None,
        };
        if let Some(format) = item.key("format") {
            let text = date_format(&format.text()?);
            let before = shared.insert("timestamp_format".to_owned(), json!(text));
            if before.is_some_and(|before| before != json!(text)) {
                format.note("a stream has one form of timestamps; this one is used");
            }
        }
        match item.key("index") {
            Some(index) => found.push(Column::Field(index.whole()?, kind)),
            None if item.key("value").is_some() => {
                item.note(
                    "a fixed value is not read from a file: add it in a model or in the target",
                );
                found.push(Column::Constant);
            }
            None => {
                return Err(item.wrong("has neither index nor value", "Give the field's index."));
            }
        }
    }
    if found.is_empty() {
        return Err(columns.wrong("is empty", "Name the fields, or write [\"*\"]."));
    }
    Ok(Columns::Listed(found))
}

fn field_type(at: &At<'_>) -> Result<&'static str> {
    Ok(match at.text()?.to_lowercase().as_str() {
        "long" | "int" | "integer" | "bigint" => "int64",
        "double" | "float" => "float64",
        "boolean" | "bool" => "bool",
        "date" => "timestamp",
        "bytes" => "binary",
        "string" => "text",
        _ => {
            return Err(
                at.wrong("is no type of DataX", "Write long, double, string, boolean or date.")
            );
        }
    })
}

/// A form of dates in Java's letters, in those of strftime.
pub(super) fn date_format(java: &str) -> String {
    let pairs = [
        ("yyyy", "%Y"),
        ("MM", "%m"),
        ("dd", "%d"),
        ("HH", "%H"),
        ("mm", "%M"),
        ("ss", "%S"),
        (".SSS", "%.3f"),
        ("SSS", "%3f"),
    ];
    pairs.iter().fold(java.replace('\'', ""), |text, (from, to)| text.replace(from, to))
}
