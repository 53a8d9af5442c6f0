//! `flywheel call`.

use clap::Args;
use flywheel_base::{Error, Result};
use flywheel_runtime::published::{self, Piece};
use flywheel_runtime::{Access, catalogue, rows};

use super::Runs;
use crate::app::{App, Exit};
use crate::selection::InEnvironment;

/// Options of `flywheel call`.
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The published query, a file of queries/
    query: String,
    /// Values of its parameters: country=DE least=10
    #[arg(value_name = "KEY=VALUE")]
    values: Vec<String>,
    /// Shows that many rows at most; as many as the query gives at once if absent
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// Leaves out that many rows before these
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    offset: usize,
    /// Reads as a user or role of the server does, by the project's rules: a user, a role, or user/role
    #[arg(long = "as", value_name = "USER|ROLE")]
    reader: Option<String>,
    #[command(flatten)]
    environment: InEnvironment,
}

impl Runs for Call {
    const ABOUT: &'static str = "Calls a published query, as programs do at /v1/queries/NAME/rows";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = self.environment.open(&app, Access::Read).await?;
        let project = &workspace.project;
        let query = project.queries.get(&self.query);
        let query = query.ok_or_else(|| published::unknown(project, &self.query))?;
        let given = self.values.iter().map(|one| match one.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Error::invalid(format!("\"{one}\" gives no parameter a value"))
                .hint("Write the parameter's name before it: country=DE.")),
        });
        let values = published::values(query, &given.collect::<Result<Vec<_>>>()?)?;
        let reading = super::sql::reading(&workspace, self.reader.as_deref())?;
        let most = usize::try_from(query.rows_max()).unwrap_or(rows::ANSWER_ROWS_MAX);
        let piece = Piece { limit: self.limit.unwrap_or(most).min(most), offset: self.offset };
        let calling = published::call(&workspace, query, &values, &reading, piece);
        let called = Box::pin(calling).await?;
        catalogue::note_reads(&workspace, &called.tables, &catalogue::reader(), "query");
        app.output.batches(&called.schema, &called.batches)?;
        if called.more {
            let next = piece.offset.saturating_add(called.row_count());
            app.output.message(&format!("There are more rows: --offset {next} shows them."));
        }
        Ok(Exit::Done)
    }
}
