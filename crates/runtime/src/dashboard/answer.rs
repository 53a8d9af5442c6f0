//! What tiles show: their questions asked, by whoever may ask them.

use flywheel_base::{Error, Timestamp};
use flywheel_project::Project;
use flywheel_project::resource::dashboard::{Dashboard, Tile};
use serde_json::Value as Json;

use super::{Asked, Lines, Question, course, question};
use crate::rows::Table;

/// Rows of a tile at most: more is nothing that anybody looks at.
pub const TILE_ROWS_MAX: usize = 10_000;

/// What a tile shows.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it asked.
    pub question: Question,
    /// What was answered.
    pub table: Table,
    /// The course of a number.
    pub course: Option<Table>,
}

/// Asks what a tile asks, and for a number its course as well. `run` runs a statement on behalf of who reads.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] for a text, which asks nothing; those of [`question`] and of `run`.
pub async fn answer<E, F>(
    project: &Project,
    (board, tile): (&Dashboard, &Tile),
    chosen: &Asked,
    now: Timestamp,
    run: impl Fn(String) -> F,
) -> Result<Answer, E>
where
    E: From<Error>,
    F: Future<Output = Result<Table, E>>,
{
    let ask = |lines: Lines<'_>| question(project, board, tile, chosen, now, lines);
    let Some(mut asked) = ask(None)? else {
        let error = Error::invalid(format!("tile \"{}\" is a text and asks nothing", tile.tile));
        return Err(error.hint("Read it from the dashboard.").into());
    };
    if asked.ranks {
        let ranked = run(asked.sql.clone()).await?;
        let lines: Vec<Json> =
            ranked.rows.into_iter().filter_map(|row| row.into_iter().next()).collect();
        asked = ask(Some(&lines))?.ok_or_else(|| Error::internal("a tile lost its question"))?;
    }
    let table = run(asked.sql.clone()).await?;
    let course = match course(project, board, tile, chosen, now)? {
        Some(sql) => Some(run(sql).await?),
        None => None,
    };
    Ok(Answer { question: asked, table, course })
}
