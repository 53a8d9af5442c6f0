//! Published queries: asked with the values of their parameters, and kept as files.
//!
//! ```text
//! queries/NAME.yaml ─► SQL with $places ─┐
//! what a caller gives ─► typed values ───┴─► a plan within what the caller sees ─► a piece of its rows
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use flywheel_base::{Error, ErrorKind, Result, digest, suggest};
use flywheel_project::resource::query::PublishedQuery;
use flywheel_project::yaml::comments;
use flywheel_project::{Draft, NodeId, NodeKind, Project, published};
use flywheel_transform::{published_plan, published_sql, published_value};
use flywheel_warehouse::Parameters;
use futures::StreamExt;
use serde_json::Value as Json;

use crate::access::Reading;
use crate::rows::{self, ANSWER_BYTES_MAX, Column};
use crate::{Workspace, dashboard};

/// How much of an answer is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Rows at most.
    pub limit: usize,
    /// Rows that come before.
    pub offset: usize,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Called {
    /// Its columns.
    pub schema: SchemaRef,
    /// Its rows.
    pub batches: Vec<RecordBatch>,
    /// Whether there are rows after these.
    pub more: bool,
    /// The tables that were read.
    pub tables: Vec<String>,
}

impl Called {
    /// How many rows it has.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The columns and rows, as answers to SQL have them.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for a type that has no text.
    pub fn cells(&self) -> Result<(Vec<Column>, Vec<Vec<Json>>)> {
        let mut all = Vec::new();
        for batch in &self.batches {
            rows::cells(batch, &mut all)?;
        }
        Ok((rows::columns(&self.schema), all))
    }
}

/// The error of a published query that is not there.
#[must_use]
pub fn unknown(project: &Project, name: &str) -> Error {
    let known = project.queries.keys().map(String::as_str);
    Error::not_found(format!("no published query \"{name}\"")).hint(suggest::hint(name, known))
}

/// Reads the values of parameters from what a caller gives, each a name and a text.
///
/// # Errors
/// [`ErrorKind::Invalid`] naming every parameter that is unknown, missing, given twice or has another type, and an example.
pub fn values(query: &PublishedQuery, given: &[(String, String)]) -> Result<Parameters> {
    let mut values = Parameters::new();
    let mut wrong: Vec<(String, String)> = Vec::new();
    for (at, (name, _)) in given.iter().enumerate() {
        if query.parameter(name).is_none() {
            let known: Vec<&str> = query.parameters.iter().map(|one| one.name.as_str()).collect();
            let hint = match known.is_empty() {
                true => "The query has no parameters.".to_owned(),
                false => suggest::hint(name, known),
            };
            let text = format!("\"{name}\" is no parameter of the query \"{}\"", query.query);
            wrong.push((text, hint));
        } else if given.iter().take(at).any(|(before, _)| before == name) {
            let hint = "Give it once.".to_owned();
            wrong.push((format!("the parameter \"{name}\" is given twice"), hint));
        }
    }
    for parameter in &query.parameters {
        let name = &parameter.name;
        let text = given.iter().find(|(one, _)| one == name).map(|(_, text)| text.clone());
        let Some(text) = text.or_else(|| parameter.default_text()) else {
            let text =
                format!("the parameter \"{name}\", which is {}, is missing", parameter.column_type);
            wrong.push((text, format!("Write {name}={}.", parameter.example())));
            continue;
        };
        match published_value(parameter, Some(&text)) {
            Ok(value) => {
                values.insert(name.clone(), value);
            }
            Err(error) => {
                let hint = error.hint_text().unwrap_or_default().to_owned();
                wrong.push((error.message().to_owned(), hint));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(values);
    }
    let (texts, hints): (Vec<String>, Vec<String>) = wrong.into_iter().unzip();
    Err(Error::invalid(texts.join("; ")).hint(hints.join(" ")))
}

/// Answers a published query on behalf of who reads.
///
/// # Errors
/// [`ErrorKind::NotFound`] or [`ErrorKind::Invalid`] if what the query reads is no longer there, those of reading it.
pub async fn call(
    workspace: &Workspace,
    query: &PublishedQuery,
    values: &Parameters,
    reading: &Reading,
    piece: Piece,
) -> Result<Called> {
    let sql = published_sql(&workspace.project, query)?;
    let session = workspace.session_for(&sql, reading).await?;
    let planned = session.query_with(&sql, values).await.map_err(|error| {
        error.context(format!("the published query \"{}\" cannot be answered", query.query))
    })?;
    let mut stream = planned.stream().await?;
    let (mut before, mut count, mut bytes) = (piece.offset, 0, 0);
    let (mut batches, mut more) = (Vec::new(), false);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let skipped = batch.num_rows().min(before);
        before -= skipped;
        let left = batch.num_rows() - skipped;
        let take = left.min(piece.limit - count);
        if take > 0 {
            bytes += batch.get_array_memory_size();
            count += take;
            batches.push(batch.slice(skipped, take));
        }
        if take < left || bytes > ANSWER_BYTES_MAX {
            more = true;
            break;
        }
    }
    let tables = planned.tables().iter().map(ToString::to_string).collect();
    Ok(Called { schema: planned.schema(), batches, more, tables })
}

/// Why published queries cannot be answered for who reads, by their names; those that can are left out.
///
/// # Errors
/// Those of lake and metadata.
pub async fn problems(
    workspace: &Workspace,
    names: &[String],
    reading: &Reading,
) -> Result<BTreeMap<String, String>> {
    let project = &workspace.project;
    let mut found = BTreeMap::new();
    let mut all = Vec::new();
    for name in names {
        let Some(query) = project.queries.get(name) else { continue };
        match published_sql(project, query).and_then(|sql| Ok((sql, published_plan(query)?))) {
            Ok(planned) => all.push((name, planned)),
            Err(error) => {
                found.insert(name.clone(), told(&error));
            }
        }
    }
    let texts: Vec<&str> = all.iter().map(|(_, (sql, _))| sql.as_str()).collect();
    let session = workspace.session_for(&texts.join("\n"), reading).await?;
    for (name, (sql, values)) in &all {
        if let Err(error) = session.query_with(sql, values).await {
            found.insert((*name).clone(), told(&error));
        }
    }
    Ok(found)
}

/// An error with its causes, without the hint.
fn told(error: &Error) -> String {
    let report = error.report();
    let report = report.strip_prefix("error: ").unwrap_or(&report);
    report.split("\nhint: ").next().unwrap_or(report).to_owned()
}

/// The file of a published query as it is now.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its path below the project's folder.
    pub file: String,
    /// Which text it is.
    pub version: String,
    /// How many lines of it have a comment that a page which writes the file does not keep.
    pub comments: usize,
}

/// The file of the published query `name`.
///
/// # Errors
/// Those of the file system; [`ErrorKind::NotFound`] if there is no such query.
pub fn kept(workspace: &Workspace, name: &str) -> Result<Kept> {
    let project = &workspace.project;
    let query = project.queries.get(name).ok_or_else(|| unknown(project, name))?;
    let (file, text) = read(workspace, name)?;
    let written = comments::carried(&text, &published::write(&query.value));
    let lost = comments::count(&text).saturating_sub(comments::count(&written));
    Ok(Kept { file, version: version(&text), comments: lost })
}

fn read(workspace: &Workspace, name: &str) -> Result<(String, String)> {
    let project = &workspace.project;
    let query = project.queries.get(name).ok_or_else(|| unknown(project, name))?;
    let path = workspace.dir().join(&query.file);
    let text = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
    Ok((query.file.clone(), text))
}

fn version(text: &str) -> String {
    digest::short(&[text.as_bytes()])
}

/// A file that was written or removed, and what was there before, so that it can be put back.
#[derive(Debug)]
pub struct Saved {
    /// Its path below the project's folder.
    pub file: String,
    path: PathBuf,
    before: Option<String>,
}

impl Saved {
    /// Puts back what was there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn undo(&self) -> Result<()> {
        match &self.before {
            Some(text) => flywheel_connect::replace_file(&self.path, text.as_bytes()),
            None => fs::remove_file(&self.path).map_err(|e| Error::io("remove", &self.path, e)),
        }
    }
}

/// Checks a published query with the whole project, plans it on behalf of who publishes, and writes its file: a new one
/// without `known`, else the one that had this version when it was read. Comments of the file stay where they were.
///
/// # Errors
/// [`ErrorKind::Invalid`] with every mistake, or if it cannot be planned; [`ErrorKind::Conflict`] if a new name is taken or the
/// file is another one by now; those of the file system.
pub async fn save(
    workspace: &Workspace,
    query: &PublishedQuery,
    known: Option<&str>,
    reading: &Reading,
) -> Result<Saved> {
    let project = &workspace.project;
    let name = &query.query;
    let before = match (project.queries.get(name), known) {
        (None, None) => None,
        (None, Some(_)) => return Err(unknown(project, name)),
        (Some(located), None) => {
            let message =
                format!("there is a published query \"{name}\" already, in {}", located.file);
            return Err(Error::new(ErrorKind::Conflict, message).hint(
                "Choose another name, or say which version you change: `If-Match` with the ETag of GET. Nothing was written.",
            ));
        }
        (Some(_), Some(known)) => {
            let (file, text) = read(workspace, name)?;
            if version(&text) != known {
                return Err(changed(&file)
                    .hint("Read it again and make the change again; nothing was written."));
            }
            Some(text)
        }
    };
    let text = comments::carried(before.as_deref().unwrap_or_default(), &published::write(query));
    let draft = Draft::of_query(project, name, &text)?;
    let drafted = workspace.drafted_for(&draft, reading)?;
    Box::pin(plan(&drafted, name, reading)).await?;
    let path = workspace.dir().join(&draft.path);
    dashboard::write(&path, &text, before.is_none())?;
    Ok(Saved { file: draft.path, path, before })
}

/// Plans a published query on behalf of who publishes.
///
/// # Errors
/// [`ErrorKind::Invalid`] if it cannot be planned, that of reading what a rule hides.
pub(crate) async fn plan(workspace: &Workspace, name: &str, reading: &Reading) -> Result<()> {
    let checked = workspace.project.queries.get(name);
    let checked = checked.ok_or_else(|| Error::internal("a checked query is not there"))?;
    let sql = published_sql(&workspace.project, checked)?;
    let session = workspace.session_for(&sql, reading).await?;
    let planned = session.query_with(&sql, &published_plan(checked)?).await;
    planned.map(drop).map_err(|error| {
        let kind = match error.kind() {
            ErrorKind::NotFound => ErrorKind::Invalid,
            kind => kind,
        };
        let refused = Error::new(kind, format!("sql: {}", told(&error)));
        refused.hint(error.hint_text().unwrap_or("Nothing was written.").to_owned())
    })?;
    // A table that is not there was told of by its name, and one that is hidden as if it was not there.
    let granted = reading.granted(&workspace.project);
    let id = NodeId::new(NodeKind::Query, name);
    if granted.is_some_and(|granted| !granted.shows_inputs(&id)) {
        return Err(Error::invalid("sql: it reads what is not there, or not for you")
            .hint("Read what you see; nothing was written."));
    }
    Ok(())
}

/// Removes the file of a published query that has this version.
///
/// # Errors
/// As [`save`].
pub fn remove(workspace: &Workspace, name: &str, known: &str) -> Result<Saved> {
    let (file, text) = read(workspace, name)?;
    if version(&text) != known {
        return Err(changed(&file).hint("Read it again; nothing was removed."));
    }
    let path = workspace.dir().join(&file);
    fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
    Ok(Saved { file, path, before: Some(text) })
}

fn changed(file: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("{file} was changed since it was read"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query() -> PublishedQuery {
        serde_json::from_value(json!({
            "query": "top", "sql": "select 1",
            "parameters": [
                {"name": "country", "type": "text"},
                {"name": "least", "type": "decimal(12, 2)", "default": 0},
            ],
        }))
        .unwrap()
    }

    fn refused(given: &[(&str, &str)]) -> (String, String) {
        let given: Vec<(String, String)> =
            given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let error = values(&query(), &given).unwrap_err();
        (error.message().to_owned(), error.hint_text().unwrap_or_default().to_owned())
    }

    #[test]
    fn every_parameter_that_is_wrong_is_named_with_its_type_and_an_example() {
        let given = [("country".to_owned(), "DE".to_owned())];
        assert_eq!(values(&query(), &given).unwrap().len(), 2, "the other one has a default");
        let (text, hint) = refused(&[]);
        assert_eq!(text, "the parameter \"country\", which is text, is missing");
        assert_eq!(hint, "Write country=abc.");
        let (text, hint) = refused(&[("contry", "DE"), ("least", "much")]);
        assert!(text.contains("\"contry\" is no parameter of the query \"top\""), "{text}");
        assert!(text.contains("\"country\", which is text, is missing"), "{text}");
        assert!(text.contains("\"least\" is no decimal(12, 2)"), "{text}");
        assert!(!text.contains("much"), "a value is nobody else's business: {text}");
        assert!(hint.contains("\"country\"") && hint.contains("least=12"), "{hint}");
        let (text, _) = refused(&[("country", "DE"), ("country", "FR")]);
        assert_eq!(text, "the parameter \"country\" is given twice");
    }
}
