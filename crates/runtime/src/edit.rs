//! Changing a table's rows by an SQL statement: which tables may be, and the record of it.
//!
//! A table has one owner. What a model, a learner or the platform writes is made from something else,
//! so a change there would be lost or would contradict what is recorded. What a sync lands belongs to
//! its source, but a person may have to erase or mend rows here and now, so that is allowed when asked
//! for. All other tables are the user's.

use flywheel_base::{Error, ErrorKind, Result};
use flywheel_project::resource::sync::Write;
use flywheel_state::TaskOutcome;
use flywheel_warehouse::{Edited, TableName};
use serde_json::json;

use crate::{Observer, Workspace, run};

/// How a statement is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether a table that a sync lands may be changed.
    pub landed: bool,
}

/// Runs one statement that changes rows, and records it as a run.
///
/// # Errors
/// [`ErrorKind::Denied`] if the table is made by a model, a learner or the platform, or landed by a sync
/// and [`Options::landed`] is not said; else those of [`flywheel_warehouse::Edit::run`].
pub async fn edit(
    workspace: &Workspace,
    sql: &str,
    options: Options,
    observer: &dyn Observer,
) -> Result<Edited> {
    let edit = workspace.newest_session(sql).await?.edit(sql)?;
    refuse_owned(workspace, edit.table(), options)?;
    let recorder = run::start(workspace, observer, "sql")?;
    let timer = recorder.started("edit", &edit.table().to_string());
    // Boxed, so that the command's future stays small.
    let result = recorder.settled(timer, Box::pin(edit.run()).await, |edited| {
        let commit = &edited.commit;
        let outcome = TaskOutcome {
            rows_out: Some(commit.rows_written + commit.rows_deleted),
            detail: json!({
                "statement": edited.verb.name(), "version": commit.version,
                "inserted": edited.rows_inserted(), "updated": commit.rows_updated,
                "deleted": commit.rows_deleted, "files_kept": commit.files_kept,
                "files_removed": commit.files_removed, "files_added": commit.files_added,
            }),
            ..TaskOutcome::default()
        };
        ("succeeded".to_owned(), outcome)
    });
    recorder.finish(result.as_ref().err())?;
    result
}

/// Refuses tables whose rows somebody else answers for.
fn refuse_owned(workspace: &Workspace, table: &TableName, options: Options) -> Result<()> {
    let name = table.to_string();
    let denied = |what: String| Error::new(ErrorKind::Denied, format!("table \"{name}\" {what}"));
    match table.schema.as_str() {
        "system" => {
            return Err(denied("is written by the platform alone".to_owned()).hint(
                "It records what happened; use the commands that act on it, such as `flywheel quarantine` or `flywheel policy`.",
            ));
        }
        "learn" => {
            return Err(denied("is written by a learner".to_owned())
                .hint("Change the learner's file and run `flywheel learn`."));
        }
        _ => {}
    }
    let project = &workspace.project;
    if let Some(model) = project.models.values().find(|model| model.relation() == name) {
        return Err(denied(format!("is built by the model \"{}\"", model.name)).hint(
            "The next build would undo it; change the model's SQL, or the tables it reads, and run `flywheel build`.",
        ));
    }
    if workspace.store.publications()?.iter().any(|published| published.name == name) {
        return Err(denied("was published by a build".to_owned())
            .hint("Change what it is built from and run `flywheel build`."));
    }
    if options.landed {
        return Ok(());
    }
    for (sync, declared) in project.syncs.iter().filter(|(_, sync)| sync.lands()) {
        let Some(stream) = declared.streams.iter().find(|stream| stream.table() == name) else {
            continue;
        };
        let after = match stream.write {
            Write::Replace | Write::Mirror => "its next run replaces what you change",
            _ => "its next run writes a row you change again once its source changes it",
        };
        return Err(denied(format!("is landed by the sync \"{sync}\""))
            .hint(format!("Say --landed to change it nevertheless; {after}.")));
    }
    Ok(())
}
