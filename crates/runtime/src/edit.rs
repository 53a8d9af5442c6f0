//! Statements that people send to change the lake: rows of a table, and schemas, views and tables of
//! their own. Whose table may be changed, and the record of it.
//!
//! A table has one owner. What a model, a learner or the platform writes is made from something else,
//! so a change there would be lost or would contradict what is recorded. What a sync lands belongs to
//! its source, but a person may have to erase or mend rows here and now, so that is allowed when asked
//! for. All other tables are the user's: they are made, changed, renamed and dropped by statements.
//!
//! One statement is one commit. Of each table it is kept what it was made of, so that rules about
//! those tables hold for it; it is kept before the rows are committed, so that a crash leaves a table
//! that is seen by fewer, never by more.
//!
//! Who reads by rules changes nothing that a rule lets them see in part, takes no name that a rule is
//! about, and leaves alone what a rule asks: [`Reading::allow_change`].

mod define;

use flywheel_base::{Error, Result};
use flywheel_state::{Made, MadeKind, TaskOutcome};
use flywheel_transform::refuse_ours;
use flywheel_warehouse::{
    Catalog, Edit, Edited, Location, TableName, Verb, is_definition, is_edit,
};
use serde_json::{Value, json};

pub use self::define::Defined;
use crate::access::{self, Reading};
use crate::task::sync::location_of;
use crate::{Observer, Workspace, run};

/// How a statement is taken.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// On whose behalf the statement reads.
    pub reading: &'a Reading,
    /// Who sends it, for the record.
    pub who: &'a str,
    /// Whether rows of a table that a sync lands may be changed.
    pub landed: bool,
}

/// What became of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Rows of a table were changed, or a table was made.
    Edited(Edited),
    /// Something was made, changed, renamed or removed.
    Defined(Defined),
}

impl Done {
    /// It as an object of the API and of `--output json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Edited(edited) => {
                let commit = &edited.commit;
                json!({
                    "statement": edited.verb.name(), "table": edited.table.to_string(),
                    "version": commit.version, "inserted": edited.rows_inserted(),
                    "updated": commit.rows_updated, "deleted": commit.rows_deleted,
                    "files_kept": commit.files_kept, "files_rewritten": commit.files_removed,
                    "files_written": commit.files_added,
                })
            }
            Self::Defined(defined) => json!({
                "statement": defined.statement, "name": defined.name, "changed": defined.changed,
                "version": defined.version, "dropped": defined.dropped,
            }),
        }
    }
}

/// Whether `sql` is a statement for [`statement`]: one that changes rows, or what names mean.
#[must_use]
pub fn is_change(sql: &str) -> bool {
    is_edit(sql) || is_definition(sql)
}

/// Runs one statement that changes something, and records it as a run.
///
/// # Errors
/// As [`statement`].
pub async fn edit(
    workspace: &Workspace,
    sql: &str,
    options: Options<'_>,
    observer: &dyn Observer,
) -> Result<Done> {
    // What is refused at once is no run.
    let prepared = Box::pin(prepare(workspace, sql, options)).await?;
    let recorder = run::start(workspace, observer, "sql")?;
    let (kind, name) = match &prepared {
        Prepared::Edit(edit) => ("edit", edit.table().to_string()),
        Prepared::Define(definition) => ("define", definition.name()),
    };
    let timer = recorder.started(kind, &name);
    // Boxed, so that the command's future stays small.
    let done = Box::pin(perform(workspace, prepared, sql, options)).await;
    let result = recorder.settled(timer, done, |done| {
        let rows = match done {
            Done::Edited(edited) => edited.commit.rows_written + edited.commit.rows_deleted,
            Done::Defined(_) => 0,
        };
        let outcome =
            TaskOutcome { rows_out: Some(rows), detail: done.to_json(), ..TaskOutcome::default() };
        ("succeeded".to_owned(), outcome)
    });
    recorder.finish(result.as_ref().err())?;
    result
}

/// Runs one statement that changes rows of a table or makes, changes, renames or removes a schema, view or
/// table. It is durable when this returns.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Denied`] if the table is made by a model, a learner or the platform, or landed by a
/// sync and [`Options::landed`] is not said, or seen only in part by who sends it;
/// [`flywheel_base::ErrorKind::Invalid`] and [`flywheel_base::ErrorKind::NotFound`] for what does not fit; else those of [`flywheel_warehouse::Edit::run`].
pub async fn statement(workspace: &Workspace, sql: &str, options: Options<'_>) -> Result<Done> {
    let prepared = Box::pin(prepare(workspace, sql, options)).await?;
    Box::pin(perform(workspace, prepared, sql, options)).await
}

/// A statement that may be run.
enum Prepared {
    Edit(Box<Edit>),
    Define(flywheel_warehouse::Definition),
}

async fn prepare(workspace: &Workspace, sql: &str, options: Options<'_>) -> Result<Prepared> {
    if is_definition(sql) {
        let definition = flywheel_warehouse::Definition::parse(sql)?;
        define::require_granted(workspace, &definition, options)?;
        define::refuse(workspace, &definition)?;
        return Ok(Prepared::Define(definition));
    }
    let edit = workspace.newest_session(sql, options.reading).await?.edit(sql)?;
    if let Some(granted) = options.reading.granted(&workspace.project) {
        granted.require_change(&edit.table().to_string())?;
    }
    refuse_owned(workspace, edit.table(), options.landed)?;
    if edit.verb() == Verb::Create {
        require_plain(&edit.table().schema, &edit.table().name)?;
        refuse_view(workspace, edit.table())?;
    }
    Ok(Prepared::Edit(Box::new(edit)))
}

async fn perform(
    workspace: &Workspace,
    prepared: Prepared,
    sql: &str,
    options: Options<'_>,
) -> Result<Done> {
    let table = match prepared {
        Prepared::Define(definition) => {
            return define::run(workspace, definition, options).await.map(Done::Defined);
        }
        Prepared::Edit(edit) => edit.table().clone(),
    };
    // Others may have changed what names mean while this one waited.
    let _alone = workspace.lake.alone(&[&table]).await;
    let edit = workspace.newest_session(sql, options.reading).await?.edit(sql)?;
    let catalog = workspace.plain_catalog().await?;
    options.reading.allow_change(workspace, &catalog, &table)?;
    let version = version(workspace, &table).await?;
    let origins = Origins::before(workspace, &catalog, &edit, options).await?;
    match edit.run().await {
        Ok(edited) => {
            origins.after(workspace, &catalog, &edit)?;
            Ok(Done::Edited(edited))
        }
        Err(error) => {
            // A commit may be there although the disk complained; then it counts what it was made of.
            if self::version(workspace, &table).await? == version {
                origins.undo(workspace, &table)?;
            }
            Err(error)
        }
    }
}

/// The newest version of a table; none if there is none.
async fn version(workspace: &Workspace, table: &TableName) -> Result<Option<i64>> {
    let head = workspace.lake.head(&location_of(table)?).await?;
    Ok(head.map(|head| head.version))
}

/// What the table of an edit is made of.
struct Origins {
    /// What is kept of the table already.
    known: Option<Made>,
    /// What is kept of it now.
    made: Option<Made>,
}

impl Origins {
    /// Keeps what the table will be made of beside what it is made of.
    async fn before(
        workspace: &Workspace,
        catalog: &Catalog,
        edit: &Edit,
        options: Options<'_>,
    ) -> Result<Self> {
        let table = edit.table().to_string();
        let reads = edit.reads().await?.iter().map(ToString::to_string).collect();
        let reads = access::lineage(workspace, catalog, &reads)?;
        let known = workspace.store.made()?.into_iter().find(|made| made.name == table);
        let nothing_new = known
            .as_ref()
            .map_or(reads.is_empty(), |known| reads.is_subset(&known.reads) && !edit.replaces());
        if nothing_new && edit.verb() != Verb::Create {
            return Ok(Self { known, made: None });
        }
        let mut all = reads.clone();
        all.extend(known.iter().flat_map(|known| known.reads.iter().cloned()));
        let one = Made {
            name: table,
            kind: MadeKind::Table,
            sql: None,
            reads: all,
            made_by: known.as_ref().map_or(options.who, |known| &known.made_by).to_owned(),
            made_at: known.as_ref().map_or_else(|| workspace.now(), |known| known.made_at),
        };
        workspace.store.make(&one)?;
        Ok(Self { known, made: Some(Made { reads, ..one }) })
    }

    /// Keeps again what was kept before a statement that changed nothing.
    fn undo(self, workspace: &Workspace, table: &TableName) -> Result<()> {
        match (self.made, self.known) {
            (None, _) => Ok(()),
            (Some(_), Some(known)) => workspace.store.make(&known),
            (Some(_), None) => workspace.store.unmake(&[table.to_string()]),
        }
    }

    /// Forgets what a table that was replaced had been made of.
    fn after(self, workspace: &Workspace, catalog: &Catalog, edit: &Edit) -> Result<()> {
        let Some(made) = self.made.filter(|_| edit.replaces()) else { return Ok(()) };
        match self.known {
            Some(known) if known.reads == made.reads => Ok(()),
            _ => {
                keep_before(workspace, catalog, edit.table())?;
                workspace.store.make(&made)
            }
        }
    }
}

/// Keeps what has that name is made of for what others were made of it, before it is made of something else or gone.
fn keep_before(workspace: &Workspace, catalog: &Catalog, name: &TableName) -> Result<()> {
    let known = workspace.store.made()?.into_iter().find(|made| made.name == name.to_string());
    let reads = known.map(|known| known.reads).unwrap_or_default();
    if reads.is_empty() || !access::is_read(workspace, catalog, name)? {
        return Ok(());
    }
    workspace.store.keep_made_before(&name.to_string(), &reads)
}

/// Refuses names that are no folders of a schema and of a table in it.
fn require_plain(schema: &str, name: &str) -> Result<()> {
    let place = format!("{schema}/{name}");
    if schema.contains(['/', '.']) || name.contains('/') || Location::new(place).is_err() {
        return Err(Error::invalid(format!("\"{schema}.{name}\" cannot name something here")).hint(
            "Write schema.name, each of letters, digits, _ and -, the first a letter or digit, at most 200 bytes.",
        ));
    }
    Ok(())
}

/// Refuses a table that would take the name of a view.
fn refuse_view(workspace: &Workspace, table: &TableName) -> Result<()> {
    let name = table.to_string();
    let view = |made: &Made| made.kind == MadeKind::View && made.name == name;
    match workspace.store.made()?.iter().any(view) {
        false => Ok(()),
        true => Err(Error::invalid(format!("\"{name}\" is a view"))
            .hint(format!("Drop it first: DROP VIEW {name}."))),
    }
}

/// Refuses tables whose rows somebody else answers for.
fn refuse_owned(workspace: &Workspace, table: &TableName, landed: bool) -> Result<()> {
    flywheel_transform::refuse_owned(workspace.world(), table, landed)
}
