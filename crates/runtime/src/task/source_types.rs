//! What the types of a stream were when its rows last reached a target of another system.
//!
//! A read that follows no log is told nothing of a column that was widened, and neither is one that begins
//! anew because its log was lost; what is noted here after each commit tells it. A crash before the note finds the target widened already, which is done once more and
//! changes nothing.

use arrow::datatypes::Schema;
use flywheel_base::Result;
use flywheel_connect::KnownTypes;
use flywheel_connect::destination::NewTargetColumns;
use flywheel_project::resource::sync::Stream;

use crate::Workspace;

/// Under which name everything about a stream on its way to another system is kept.
pub(super) fn app_of(sync: &str, stream: &Stream, to: &str) -> String {
    format!("sync/{sync}/{} → {to}", stream.stream)
}

/// The types of one stream on its way to one target.
pub(super) struct Types<'a> {
    workspace: &'a Workspace,
    app: String,
    /// Those that the target has columns for.
    known: KnownTypes,
    /// Those that are noted.
    noted: KnownTypes,
    /// Whether the target may not follow: its columns stay what they are.
    fixed: bool,
}

impl<'a> Types<'a> {
    /// Those of `app`; `rule` says whether the target follows them.
    pub(super) fn open(
        workspace: &'a Workspace,
        app: String,
        rule: NewTargetColumns,
    ) -> Result<Self> {
        let noted = workspace.store.source_types(&app)?;
        let noted = noted.as_deref().map(KnownTypes::parse).unwrap_or_default();
        let fixed = rule == NewTargetColumns::Ignore;
        Ok(Self { workspace, app, known: noted.clone(), noted, fixed })
    }

    /// The columns of `schema` that hold more than they did.
    pub(super) fn widened(&self, schema: &Schema) -> Vec<String> {
        self.known.widened(schema)
    }

    /// Takes over the types of rows that were written. A target that may not follow keeps what it was made
    /// for in mind, so that it follows as soon as it may.
    pub(super) fn learn(&mut self, schema: &Schema) {
        let widened = if self.fixed { self.known.widened(schema) } else { Vec::new() };
        let fields = schema.fields().iter().filter(|field| !widened.contains(field.name()));
        self.known.learn(&Schema::new(fields.cloned().collect::<Vec<_>>()));
    }

    /// Notes what was taken over, after the commit of its rows.
    pub(super) fn store(&mut self) -> Result<()> {
        if self.known != self.noted {
            self.workspace.store.record_source_types(&self.app, &self.known.to_string())?;
            self.noted = self.known.clone();
        }
        Ok(())
    }
}
