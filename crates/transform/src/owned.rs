//! Whose tables are whose: which of them statements may write, whether people send them or hooks of models do.

use flywheel_base::{Error, ErrorKind, Result};
use flywheel_project::resource::sync::Write;
use flywheel_warehouse::TableName;

use crate::World;

/// Schemas that are the platform's own, and the hint for who wants to write there.
const OURS: &[(&str, &str, &str)] = &[
    (
        "system",
        "is written by the platform alone",
        "It records what happened; use the commands that act on it, such as `flywheel quarantine` or `flywheel policy`.",
    ),
    ("learn", "is written by a learner", "Change the learner's file and run `flywheel learn`."),
    ("metrics", "is answered by semantic views", "Change the files in `metrics/`."),
    ("information_schema", "is filled by the engine", "Choose another schema."),
];

/// Refuses a schema that is the platform's own; `what` names what was asked for.
///
/// # Errors
/// [`ErrorKind::Denied`] if it is.
pub fn refuse_ours(schema: &str, what: &str) -> Result<()> {
    match OURS.iter().find(|(ours, ..)| *ours == schema) {
        None => Ok(()),
        Some((_, why, hint)) => {
            Err(Error::new(ErrorKind::Denied, format!("{what} {why}")).hint(*hint))
        }
    }
}

/// Refuses tables whose rows somebody else answers for; what a sync lands is let through if `landed`.
///
/// # Errors
/// [`ErrorKind::Denied`] if a model, a learner, a merge, a sync or the platform writes the table; the store's own.
pub fn refuse_owned(world: World<'_>, table: &TableName, landed: bool) -> Result<()> {
    let name = table.to_string();
    let denied = |what: String| Error::new(ErrorKind::Denied, format!("table \"{name}\" {what}"));
    refuse_ours(&table.schema, &format!("table \"{name}\""))?;
    let project = world.project;
    if let Some(model) = project.models.values().find(|model| model.relation() == name) {
        return Err(denied(format!("is built by the model \"{}\"", model.name)).hint(
            "The next build would undo it; change the model's SQL, or the tables it reads, and run `flywheel build`.",
        ));
    }
    if world.store.publications()?.iter().any(|published| published.name == name) {
        return Err(denied("was published by a build".to_owned())
            .hint("Change what it is built from and run `flywheel build`."));
    }
    if let Some(merge) =
        project.merges.values().find(|merge| merge.written().any(|own| own == name))
    {
        return Err(denied(format!("is made by the merge \"{}\"", merge.merge)).hint(
            "The next run would undo it; change the merge's file or what it reads and run `flywheel merge run`.",
        ));
    }
    if landed {
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
        return Err(denied(format!("is landed by the sync \"{sync}\"")).hint(format!(
            "On the command line, `flywheel sql --landed` changes its rows nevertheless; {after}."
        )));
    }
    Ok(())
}
