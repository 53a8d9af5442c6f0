//! The project's own tables as a source: whole tables, queries, and what changed between two versions.
//!
//! What changed is read between the version delivered last and the one readers see now, however many
//! versions lie between. The rows come in the same order each time, so a read that was cut off goes on
//! after the rows that are committed. A query has no such order: it starts anew, and says so by
//! positions of null.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use flywheel_base::{Error, Result, suggest};
use flywheel_connect::source::{ReadMode, ReadRequest, Source, StreamInfo};
use flywheel_connect::{Origin, Page, Position};
use flywheel_project::RenderContext;
use flywheel_project::resource::sync::{LakeStream, Stream};
use flywheel_warehouse::{Lake, Location, RowStream, Session, TableName};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Workspace;
use crate::task::sync::resolved;

/// A table or a query of the project's own.
pub(crate) struct LakeSource {
    lake: Lake,
    session: Session,
    /// The name for messages and for where rows come from.
    name: String,
    key: Vec<String>,
    reads: Reads,
}

enum Reads {
    /// A table at the version readers see.
    Table { location: Location, version: i64 },
    /// A view or a query.
    Query { sql: String },
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stands {
    /// The version that is delivered in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<Version>,
    /// The version on its way, and how many of its rows are delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coming: Option<(Version, u64)>,
}

/// A version of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Version {
    location: String,
    version: i64,
}

impl LakeSource {
    /// Finds what the stream reads.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] if there is no such table,
    /// [`flywheel_base::ErrorKind::Invalid`] if a query cannot be rendered.
    pub(crate) async fn open(workspace: &Workspace, stream: &Stream) -> Result<Self> {
        let options = resolved(workspace, stream, &stream.options)?;
        let options: LakeStream = serde_json::from_value(options).map_err(|error| {
            Error::invalid(format!("the options of stream \"{}\" are wrong", stream.stream))
                .caused_by(error)
        })?;
        let session = workspace.lake_session().await?;
        let (name, reads) = match (options.table, options.query) {
            (Some(table), None) => {
                let reads = table_of(workspace, &table).await?;
                (table, reads)
            }
            (None, Some(query)) => {
                (stream.stream.clone(), Reads::Query { sql: render(workspace, &query)? })
            }
            _ => {
                return Err(Error::invalid(format!(
                    "stream \"{}\" reads the lake and needs either a table or a query",
                    stream.stream
                )));
            }
        };
        Ok(Self { lake: workspace.lake.clone(), session, name, key: stream.key.clone(), reads })
    }

    async fn changes(&self, from: Option<&Position>) -> Result<(RowStream, Stands, Version, u64)> {
        let Reads::Table { location, version } = &self.reads else {
            return Err(Error::invalid(format!("\"{}\" is a view and has no versions", self.name))
                .hint("Materialize the model as a table, or use read: full."));
        };
        let now = Version { location: location.to_string(), version: *version };
        let stands = stands(from)?;
        let done = match &stands.coming {
            Some((coming, rows)) if *coming == now => *rows,
            // The table has moved on: its newest version is compared with the delivered one anew.
            _ => 0,
        };
        let base = match &stands.base {
            Some(base) => Some((Location::new(base.location.as_str())?, base.version)),
            None => None,
        };
        let old = base.as_ref().map(|(at, version)| (at, *version));
        let rows =
            self.lake.changes(old, (location, *version), &self.key).await.map_err(|error| {
                error.context(format!("what changed in {}", self.name)).hint(
                    "If the delivered version is no longer kept, deliver once with read: full.",
                )
            })?;
        Ok((rows, stands, now, done))
    }

    async fn pages_of_changes<'a>(
        &'a self,
        request: &'a ReadRequest,
    ) -> Result<BoxStream<'a, Result<Page>>> {
        let (rows, stands, now, done) = self.changes(request.from.as_ref()).await?;
        let base = stands.base;
        let (mut seen, mut row) = (0_u64, done);
        let (coming, finished) = (now.clone(), now);
        let pages = rows
            .try_filter_map(move |batch| {
                let before = seen;
                seen += batch.num_rows() as u64;
                let skip = done.saturating_sub(before).min(batch.num_rows() as u64) as usize;
                let rest = batch.slice(skip, batch.num_rows() - skip);
                async move { Ok((rest.num_rows() > 0).then_some(rest)) }
            })
            .map(move |batch| {
                let batch = batch?;
                let first = row + 1;
                row += batch.num_rows() as u64;
                let stands = Stands { base: base.clone(), coming: Some((coming.clone(), row)) };
                self.page(batch, first, position(&stands)?)
            });
        let last = Stands { base: Some(finished), coming: None };
        let end = async move { self.page(empty(), 0, position(&last)?) };
        Ok(pages.chain(stream::once(end)).boxed())
    }

    /// All rows; only the end is a position to go on from.
    async fn pages_of_all<'a>(&'a self) -> Result<BoxStream<'a, Result<Page>>> {
        let sql = match &self.reads {
            Reads::Table { .. } => {
                let (schema, table) = self.name.split_once('.').unwrap_or(("", &self.name));
                format!("select * from \"{schema}\".\"{table}\"")
            }
            Reads::Query { sql } => sql.clone(),
        };
        let what = format!("what is read of the lake as \"{}\"", self.name);
        let query = self.session.query(&sql).await.map_err(|error| error.context(&what))?;
        let rows = query.stream().await.map_err(|error| error.context(&what))?;
        let columns = RecordBatch::new_empty(query.schema());
        let last = match &self.reads {
            Reads::Table { location, version } => {
                let now = Version { location: location.to_string(), version: *version };
                position(&Stands { base: Some(now), coming: None })?
            }
            // A query that is delivered again is delivered in full.
            Reads::Query { .. } => Position(serde_json::json!({"at": "end"})),
        };
        let mut row = 0_u64;
        let pages = rows.map(move |batch| {
            let batch = batch?;
            let first = row + 1;
            row += batch.num_rows() as u64;
            self.page(batch, first, Position(Value::Null))
        });
        let end = async move { self.page(columns, 0, last) };
        Ok(pages.chain(stream::once(end)).boxed())
    }

    fn page(&self, batch: RecordBatch, line: u64, position: Position) -> Result<Page> {
        let origin = vec![Origin { row: 0, file: self.name.clone(), line }];
        Ok(Page { batch, origin, rejected: Vec::new(), notices: Vec::new(), position })
    }
}

/// A batch without columns: it only carries a position.
fn empty() -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::empty()))
}

fn position(stands: &Stands) -> Result<Position> {
    let value = serde_json::to_value(stands)
        .map_err(|error| Error::internal("a position is no JSON").caused_by(error))?;
    Ok(Position(value))
}

fn stands(from: Option<&Position>) -> Result<Stands> {
    let Some(position) = from else { return Ok(Stands { base: None, coming: None }) };
    serde_json::from_value(position.0.clone()).map_err(|error| {
        Error::corrupt("the stored position is not one of the lake")
            .caused_by(error)
            .hint("The sync was read from another connection before: give the stream another name.")
    })
}

/// The table behind a name as readers see it now.
async fn table_of(workspace: &Workspace, name: &str) -> Result<Reads> {
    let published = workspace.store.publications()?;
    if let Some(seen) = published.iter().find(|seen| seen.name == name) {
        if let (Some(location), Some(version)) = (&seen.location, seen.version) {
            return Ok(Reads::Table { location: Location::new(location.as_str())?, version });
        }
        return Ok(Reads::Query { sql: format!("select * from {name}") });
    }
    let table = TableName::parse(name)?;
    let location = crate::task::sync::location_of(&table)?;
    let held = workspace.store.holds()?.into_iter().find(|hold| hold.name == name);
    let version = match held {
        Some(hold) => hold.version,
        None => workspace.lake.head(&location).await?.map(|head| head.version),
    };
    match version {
        Some(version) => Ok(Reads::Table { location, version }),
        None => {
            let known = workspace.project.sources.keys().map(String::as_str);
            let models: Vec<String> =
                workspace.project.models.values().map(flywheel_project::Model::relation).collect();
            // That it is declared does not help whoever asks for it.
            let names = known.chain(models.iter().map(String::as_str));
            let names: Vec<&str> = names.filter(|known| known != &name).collect();
            Err(Error::not_found(format!("no table \"{name}\" in the lake")).hint(format!(
                "{} A model is there once it has been built.",
                suggest::hint(name, names)
            )))
        }
    }
}

pub(crate) fn render(workspace: &Workspace, template: &str) -> Result<String> {
    let project = &workspace.project;
    let resolve_ref = |name: &str| project.ref_relation(name);
    let resolve_source = |source: &str, table: &str| Ok(project.source_relation(source, table));
    let context = RenderContext {
        vars: &project.file.vars,
        incremental: false,
        this: String::new(),
        resolve_ref: &resolve_ref,
        resolve_source: &resolve_source,
    };
    project.render_sql(template, &context)
}

#[async_trait]
impl Source for LakeSource {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        Ok(Vec::new())
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        let opened = async move {
            match &request.mode {
                ReadMode::Full => self.pages_of_all().await,
                ReadMode::Incremental { .. } => self.pages_of_changes(request).await,
            }
        };
        stream::once(opened).try_flatten().boxed()
    }
}
