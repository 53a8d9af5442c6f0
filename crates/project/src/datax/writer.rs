//! Where rows go, under which names, and what a repeated run does.

use flywheel_base::Result;
use serde_json::{Map, Value as Json, json};

use super::address::database;
use super::job::At;
use super::reader::{Column, Columns, Origin, Reading, Rows, date_format};
use super::sql::{Dialect, empties};
use super::{Connection, Options, plain_name};

/// Where rows go.
pub(super) struct Writing<'a> {
    /// The writer, for messages.
    pub(super) at: At<'a>,
    /// What the sync is called.
    pub(super) name: String,
    /// The target's system.
    pub(super) connection: Connection,
    /// The stream's target.
    pub(super) target: Map<String, Json>,
    /// The parts of the reader as streams, by their order.
    pub(super) rows: Vec<Rows>,
    /// Whether the target is a file.
    pub(super) file: bool,
    /// Whether the job empties the target first.
    pub(super) empties: bool,
    /// The key that the writer names.
    pub(super) key: Vec<String>,
    /// The reader's names of the target's columns, where they are known.
    pub(super) names: Vec<(String, String)>,
}

/// What a repeated run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// All rows are replaced.
    Replace,
    /// Rows with the same key are replaced.
    Merge(Vec<String>),
    /// New files are added.
    Append,
}

/// Reads a writer and gives the reader's rows the names of its columns.
pub(super) fn write<'a>(writer: &At<'a>, reading: &Reading<'_>) -> Result<Writing<'a>> {
    let name = writer.need("name")?;
    let parameter = writer.need("parameter")?;
    match name.text()?.as_str() {
        "mysqlwriter" => table(&parameter, "mysql", Dialect::MySql, reading),
        "postgresqlwriter" => table(&parameter, "postgres", Dialect::Postgres, reading),
        "txtfilewriter" => file(&parameter, reading),
        "oraclewriter" | "sqlserverwriter" | "db2writer" | "rdbmswriter" => Err(name.wrong(
            "is a database that is not supported here",
            "Write into PostgreSQL, MySQL or files, and load these with the database's own tool.",
        )),
        "streamwriter" => Err(name.wrong(
            "prints rows for tests of DataX, which is not supported here",
            "Let the rows land in the lake and look at them with `flywheel sql`.",
        )),
        "hdfswriter" | "odpswriter" | "hbase11xwriter" => Err(name.wrong(
            "writes a Hadoop cluster, which is not supported here",
            "Write Parquet files into a folder or an object store that the cluster reads.",
        )),
        _ => Err(name.wrong(
            "names a writer that is not supported here",
            "Known are mysqlwriter, postgresqlwriter and txtfilewriter.",
        )),
    }
}

fn table<'a>(
    parameter: &At<'a>,
    kind: &'static str,
    dialect: Dialect,
    reading: &Reading<'_>,
) -> Result<Writing<'a>> {
    let connections = parameter.need("connection")?.list()?;
    let [connection] = connections.as_slice() else {
        return Err(parameter.wrong("writes several servers", "Import one job for each of them."));
    };
    let urls = connection.need("jdbcUrl")?.list()?;
    let Some(url) = urls.first() else {
        return Err(connection.wrong("has no address", "Set jdbcUrl."));
    };
    let made = database(parameter, url, kind)?;
    let tables = connection.need("table")?.list()?;
    let [table_at] = tables.as_slice() else {
        return Err(connection.wrong(
            "writes several tables in turn",
            "Write one table; tables of which each holds a share of the rows are not supported here.",
        ));
    };
    let table = table_at.text()?.trim().replace(['`', '"'], "");
    let mut cleared = false;
    for statements in ["preSql", "postSql", "session"] {
        for statement in
            parameter.key(statements).map(|at| at.list()).transpose()?.into_iter().flatten()
        {
            if statements == "preSql" && empties(&statement.text()?, &table) {
                cleared = true;
                statement.note("became `write: replace`, which swaps the table at once");
            } else {
                statement.note("was not carried over: statements of your own are not run");
            }
        }
    }
    if let Some(size) = parameter.key("batchSize") {
        size.note("was not carried over: batches follow from the rows");
    }
    let mut key = Vec::new();
    if let Some(mode) = parameter.key("writeMode") {
        let text = mode.text()?;
        let (word, rest) = text.trim().split_once('(').unwrap_or_else(|| (text.trim(), ""));
        if !["insert", "replace", "update"].contains(&word.trim().to_lowercase().as_str()) {
            return Err(mode.wrong("is no mode of a writer", "Write insert, replace or update."));
        }
        let listed = rest.trim_end_matches(')').split(',').map(str::trim);
        key =
            listed.filter(|name| !name.is_empty()).filter_map(|name| dialect.name(name)).collect();
    }
    let columns = parameter.need("column")?;
    let wanted = targets(&columns, dialect)?;
    let (rows, names) = named_rows(reading, wanted.as_deref(), &columns)?;
    let mut target = Map::new();
    target.insert("table".to_owned(), json!(table));
    let name = plain_name(table.rsplit('.').next().unwrap_or(&table));
    Ok(Writing {
        at: parameter.clone(),
        name,
        connection: made,
        target,
        rows,
        file: false,
        empties: cleared,
        key,
        names,
    })
}

/// The names of the target's columns; none for all.
fn targets(columns: &At<'_>, dialect: Dialect) -> Result<Option<Vec<String>>> {
    let mut found = Vec::new();
    for item in columns.list()? {
        let text = item.text()?;
        if text.trim() == "*" {
            return Ok(None);
        }
        match dialect.name(&text) {
            Some(name) => found.push(name),
            None => return Err(item.wrong("is no name of a column", "Write the column's name.")),
        }
    }
    if found.is_empty() {
        return Err(columns.wrong("is empty", "Name the columns, or write [\"*\"]."));
    }
    Ok(Some(found))
}

fn file<'a>(parameter: &At<'a>, reading: &Reading<'_>) -> Result<Writing<'a>> {
    let folder = parameter.need("path")?.text()?;
    let file_name = parameter.need("fileName")?.text()?;
    let stem = file_name.strip_suffix(".csv").or_else(|| file_name.strip_suffix(".txt"));
    let stem = stem.unwrap_or(&file_name);
    let mut target = Map::new();
    target.insert("path".to_owned(), json!(format!("{stem}.csv")));
    let delimiter = parameter.key("fieldDelimiter").map(|at| at.text()).transpose()?;
    match delimiter.as_deref() {
        None | Some(",") => {}
        Some("\t" | "\\t") => drop(target.insert("delimiter".to_owned(), json!("tab"))),
        Some(other) => drop(target.insert("delimiter".to_owned(), json!(other))),
    }
    if let Some(compress) = parameter.key("compress") {
        match compress.text()?.to_lowercase().as_str() {
            "gzip" => drop(target.insert("compression".to_owned(), json!("gzip"))),
            "zstd" => drop(target.insert("compression".to_owned(), json!("zstd"))),
            "" => {}
            _ => {
                return Err(compress
                    .wrong("is a compression that is not supported here", "Write gzip or zstd."));
            }
        }
    }
    if let Some(encoding) = parameter.key("encoding")
        && !matches!(encoding.text()?.to_lowercase().as_str(), "utf-8" | "utf8")
    {
        encoding.note("files are written in UTF-8");
    }
    if let Some(format) = parameter.key("dateFormat") {
        let text = date_format(&format.text()?);
        if text != "%Y-%m-%d" {
            format.note("dates and moments are written in ISO form");
        }
    }
    let mut header = None;
    if let Some(names) = parameter.key("header") {
        let listed: Result<Vec<String>> = names.list()?.iter().map(|name| name.text()).collect();
        header = Some((names, listed?));
    }
    if let Some(mode) = parameter.key("writeMode")
        && mode.text()? != "truncate"
    {
        mode.note("each run writes the one file anew; DataX adds files or refuses to");
    }
    let (rows, names) = match &header {
        Some((at, listed)) => named_rows(reading, Some(listed), at)?,
        None => {
            parameter.note("the file gets a header with the names of the columns");
            named_rows(reading, None, parameter)?
        }
    };
    let last = folder.rsplit('/').find(|part| !part.is_empty()).unwrap_or("files");
    let connection = Connection {
        kind: "csv",
        name: plain_name(&format!("csv_{last}")),
        options: vec![("folder", json!(folder))],
        password: false,
    };
    Ok(Writing {
        at: parameter.clone(),
        name: plain_name(stem),
        connection,
        target,
        rows,
        file: true,
        empties: true,
        key: Vec::new(),
        names,
    })
}

/// Streams that yield rows under the target's names, and which of the reader's names became which.
type Named = (Vec<Rows>, Vec<(String, String)>);

fn named_rows(reading: &Reading<'_>, wanted: Option<&[String]>, at: &At<'_>) -> Result<Named> {
    if let (Columns::Listed(columns), Some(wanted)) = (&reading.columns, wanted)
        && columns.len() != wanted.len()
    {
        let what = format!("has {} columns, and the reader has {}", wanted.len(), columns.len());
        return Err(
            at.wrong(&what, "Columns are matched by their order: list as many on both sides.")
        );
    }
    match &reading.from {
        Origin::Files => files_rows(reading, wanted, at),
        Origin::Tables(dialect, tables, condition) => {
            let mut rows = Vec::new();
            let mut names = Vec::new();
            for tables in tables {
                let (made, renamed) =
                    table_rows(reading, *dialect, tables, condition.as_deref(), wanted);
                rows.push(made);
                names = renamed;
            }
            Ok((rows, names))
        }
        Origin::Queries(dialect, queries) => {
            let rows = queries.iter().map(|queries| {
                let union = queries.join(" UNION ALL ");
                query_rows(&renamed(*dialect, &union, wanted))
            });
            Ok((rows.collect(), Vec::new()))
        }
    }
}

/// A query whose columns have the target's names, by their order.
fn renamed(dialect: Dialect, query: &str, wanted: Option<&[String]>) -> String {
    let Some(wanted) = wanted else { return query.to_owned() };
    let names: Vec<String> = wanted.iter().map(|name| dialect.quoted(name)).collect();
    let names = names.join(", ");
    format!("WITH datax ({names}) AS ({query}) SELECT {names} FROM datax")
}

fn query_rows(query: &str) -> Rows {
    let mut options = Map::new();
    options.insert("query".to_owned(), json!(query));
    Rows { options, columns: Vec::new(), splits: false }
}

fn table_rows(
    reading: &Reading<'_>,
    dialect: Dialect,
    tables: &[String],
    condition: Option<&str>,
    wanted: Option<&[String]>,
) -> (Rows, Vec<(String, String)>) {
    let names: Option<Vec<String>> = match &reading.columns {
        Columns::All => None,
        Columns::Listed(columns) => columns
            .iter()
            .map(|column| match column {
                Column::Name(name) => Some(name.clone()),
                _ => None,
            })
            .collect(),
    };
    let pairs = |names: &[String]| -> Vec<(String, String)> {
        match wanted {
            Some(wanted) => names.iter().cloned().zip(wanted.iter().cloned()).collect(),
            None => names.iter().map(|name| (name.clone(), name.clone())).collect(),
        }
    };
    let plain = match (&reading.columns, &names) {
        // All columns under names of their own have to be matched by their order.
        (Columns::All, _) => wanted.is_none(),
        (Columns::Listed(_), Some(names)) => {
            let unique: std::collections::BTreeSet<&String> = names.iter().collect();
            unique.len() == names.len()
        }
        (Columns::Listed(_), None) => false,
    };
    if let ([table], true) = (tables, plain) {
        let mut options = Map::new();
        options.insert("table".to_owned(), json!(table.replace(['`', '"'], "")));
        if let Some(condition) = condition {
            options.insert("where".to_owned(), json!(condition));
        }
        let pairs = pairs(names.as_deref().unwrap_or_default());
        let columns = pairs.iter().map(|(from, to)| match from == to {
            true => json!({ "name": to }),
            false => json!({ "name": to, "from": from }),
        });
        return (Rows { options, columns: columns.collect(), splits: true }, pairs);
    }
    let listed = match &reading.columns {
        Columns::All => "*".to_owned(),
        Columns::Listed(columns) => {
            let each = columns.iter().enumerate().map(|(index, column)| {
                let text = match column {
                    Column::Name(name) => dialect.quoted(name),
                    Column::Expression(text) => text.clone(),
                    Column::Field(..) | Column::Constant => "NULL".to_owned(),
                };
                let named = wanted.and_then(|wanted| wanted.get(index));
                match named.map(|name| dialect.quoted(name)) {
                    Some(name) if matches!(column, Column::Expression(_)) => {
                        format!("{} AS {name}", without_name(&text))
                    }
                    Some(name) => format!("{text} AS {name}"),
                    None => text,
                }
            });
            each.collect::<Vec<_>>().join(", ")
        }
    };
    let filter = condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    let each = tables.iter().map(|table| format!("SELECT {listed} FROM {table}{filter}"));
    let union = each.collect::<Vec<_>>().join(" UNION ALL ");
    let query = match &reading.columns {
        Columns::All => renamed(dialect, &union, wanted),
        Columns::Listed(_) => union,
    };
    (query_rows(&query), pairs(names.as_deref().unwrap_or_default()))
}

/// An expression without the name that it gives itself: `n AS total`.
fn without_name(expression: &str) -> &str {
    let text = expression.trim();
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    let before = match text.chars().last() {
        Some(quote @ ('`' | '"')) => {
            text.strip_suffix(quote).and_then(|text| text.rsplit_once(quote)).map(|parts| parts.0)
        }
        _ => Some(text.trim_end_matches(letter)).filter(|text| text.ends_with(char::is_whitespace)),
    };
    let Some(before) = before.map(str::trim_end) else { return text };
    let end = before.len().checked_sub(2);
    let Some((rest, word)) = end.and_then(|end| before.split_at_checked(end)) else { return text };
    match word.eq_ignore_ascii_case("as") && !rest.is_empty() && !rest.ends_with(letter) {
        true => rest.trim_end(),
        false => text,
    }
}

fn files_rows(reading: &Reading<'_>, wanted: Option<&[String]>, at: &At<'_>) -> Result<Named> {
    let mut columns = Vec::new();
    match (&reading.columns, wanted) {
        (Columns::All, None) => {}
        (Columns::All, Some(wanted)) => {
            for (index, name) in wanted.iter().enumerate() {
                columns.push(json!({ "name": name, "from": format!("column_{}", index + 1) }));
            }
        }
        (Columns::Listed(listed), _) => {
            for (index, column) in listed.iter().enumerate() {
                let Column::Field(field, kind) = column else { continue };
                let from = format!("column_{}", field + 1);
                let name = wanted.and_then(|wanted| wanted.get(index)).cloned();
                let name = name.unwrap_or_else(|| from.clone());
                let mut made = Map::new();
                made.insert("name".to_owned(), json!(name));
                if name != from {
                    made.insert("from".to_owned(), json!(from));
                }
                if let Some(kind) = kind {
                    made.insert("type".to_owned(), json!(kind));
                }
                columns.push(Json::Object(made));
            }
            if columns.is_empty() {
                return Err(at.wrong("gets nothing but fixed values", "Read a field of the files."));
            }
        }
    }
    let rows =
        reading.parts.iter().map(|(_, rows)| Rows { columns: columns.clone(), ..rows.clone() });
    Ok((rows.collect(), Vec::new()))
}

/// Settles what a repeated run does.
pub(super) fn repeat(
    writing: &Writing<'_>,
    reads_files: bool,
    split: Option<&str>,
    options: &Options,
) -> Result<Repeat> {
    if !options.key.is_empty() && options.replace {
        return Err(writing.at.wrong("cannot be merged and replaced", "Give a key or --replace."));
    }
    if !options.key.is_empty() && !writing.file {
        return Ok(Repeat::Merge(options.key.clone()));
    }
    if options.replace || writing.empties {
        return Ok(Repeat::Replace);
    }
    if !writing.key.is_empty() {
        return Ok(Repeat::Merge(writing.key.clone()));
    }
    if reads_files {
        writing
            .at
            .note("files that are new or have grown are added; DataX reads all of them each time");
        return Ok(Repeat::Append);
    }
    let renamed = split.and_then(|split| {
        let known = writing.names.iter().find(|(from, _)| from == split);
        known
            .map(|(_, to)| to.clone())
            .or_else(|| writing.names.is_empty().then(|| split.to_owned()))
    });
    match renamed {
        Some(key) => {
            writing.at.note(&format!(
                "rows are merged by \"{key}\", the column that the job is split by: check that it \
                 identifies a row"
            ));
            Ok(Repeat::Merge(vec![key]))
        }
        None => Err(writing.at.wrong(
            "adds rows, and the job does not say what identifies one",
            "Import with --key and the columns that do, so that a repeated run doubles nothing, or with \
             --replace if the whole table is this job's.",
        )),
    }
}
