//! Splits: one system taken apart into two, with the proof that no part has a row of the other one.
//!
//! ```text
//! scan the source (digests of keys and references) ─► place every row ─► plan
//!                                                          │
//!                 read the source again, table by table ───┴─► both parts, each table at once ─► verify
//! ```
//! Invariants: the source is only read; `plan` and `verify` write nothing into any system; nothing is
//! written before every row has a place and every reference that leads out may be emptied. What holds
//! after a crash: a table of a part is swapped in whole, together with a mark that says of which rows
//! and rules it was made, so the next run writes only what does not stand yet.

mod cleared;
mod part;
mod plan;
mod rows;
mod scan;
mod verify;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use flywheel_base::{Error, Result, digest, suggest};
use flywheel_connect::source::{ReadRequest, Source};
use flywheel_connect::{ColumnType, DeclaredColumn};
use flywheel_project::Located;
use flywheel_project::resource::split::{OnCrossing, Place, Split, SplitPart, SplitTable};
use flywheel_project::yaml::Step;
use flywheel_reconcile::record::{Pair, Side};
use flywheel_reconcile::split::{
    Crossing, Placement, Reference, Sharing, SplitRules, SplitTable as RulesOfTable,
};
use flywheel_state::{SplitPhase, SplitState};
use serde_json::{Map, Value};

pub use self::cleared::{ClearedReference, ClearedReferences, cleared};
pub use self::plan::{PlannedPart, PlannedReference, PlannedTable, SplitPlan, plan};
pub(crate) use self::rows::Content;
use self::rows::Spec;
pub use self::verify::{SplitVerified, VerifiedTable, WrongRow, verify};
pub use self::write::{Options, SplitTableWritten, run};
use crate::Workspace;

/// A split and what its steps share.
struct Splitting<'a> {
    workspace: &'a Workspace,
    declared: &'a Located<Split>,
    /// The first part is the left one.
    parts: Pair<&'a SplitPart>,
    rules: SplitRules,
    specs: Vec<Arc<Spec>>,
}

impl<'a> Splitting<'a> {
    fn named(workspace: &'a Workspace, name: &str) -> Result<Self> {
        let splits = &workspace.project.splits;
        let declared = splits.get(name).ok_or_else(|| {
            let hint = match splits.is_empty() {
                true => "The project has no splits: declare one in splits/NAME.yaml.".to_owned(),
                false => suggest::hint(name, splits.keys().map(String::as_str)),
            };
            Error::not_found(format!("no split \"{name}\"")).hint(hint)
        })?;
        let [left, right] = declared.value.parts.as_slice() else {
            return Err(Error::internal("a split that was checked has not two parts"));
        };
        let parts = Pair { left, right };
        let rules = SplitRules::new(
            declared.tables.iter().map(|table| rule(declared, table)).collect::<Result<_>>()?,
        )?;
        let specs = declared.tables.iter().map(|table| Spec::new(table, &declared.value));
        let specs = specs.map(|spec| spec.map(Arc::new)).collect::<Result<_>>()?;
        let splitting = Self { workspace, declared, parts, rules, specs };
        splitting.check_paths()?;
        Ok(splitting)
    }

    fn name(&self) -> &'a str {
        &self.declared.split
    }

    fn tables(&self) -> &'a [SplitTable] {
        &self.declared.value.tables
    }

    fn spec(&self, table: usize) -> Result<&Arc<Spec>> {
        self.specs.get(table).ok_or_else(|| Error::internal("a table that is not in the split"))
    }

    fn part(&self, side: Side) -> &'a str {
        &self.parts.of(side).part
    }

    /// The file or folder of this machine that a connection is about, if it is about one.
    fn path_of(&self, connection: &str) -> Option<PathBuf> {
        let connection = self.workspace.project.connections.get(connection)?;
        let options = self.workspace.project.resolve_secrets(&connection.options).ok()?;
        let path = ["path", "folder"].iter().find_map(|key| options.get(*key)?.as_str())?;
        (!path.contains("://")).then(|| self.workspace.dir().join(path))
    }

    /// Refuses systems that are the same file or folder under two spellings.
    fn check_paths(&self) -> Result<()> {
        let place = |name: &str| -> Option<(String, PathBuf)> {
            let connector = &self.workspace.project.connections.get(name)?.connector;
            let path = self.path_of(name)?;
            // What does not exist yet cannot be another thing's second name, apart from its folder's.
            let whole = path.canonicalize().ok().or_else(|| {
                let folder = path.parent()?.canonicalize().ok()?;
                Some(folder.join(path.file_name()?))
            });
            Some((connector.clone(), whole.unwrap_or(path)))
        };
        let systems = [
            (&self.declared.connection, None),
            (&self.parts.left.connection, Some(0)),
            (&self.parts.right.connection, Some(1)),
        ];
        for (number, (name, at)) in systems.iter().enumerate() {
            let (Some(at), Some(here)) = (at, place(name)) else { continue };
            let mut before = systems.iter().take(number);
            if let Some((other, _)) = before.rfind(|(o, _)| place(o).as_ref() == Some(&here)) {
                let path = [Step::Key("parts"), Step::Item(*at), Step::Key("connection")];
                return Err(self.mistake(
                    &path,
                    format!("connections \"{other}\" and \"{name}\" are the same place"),
                    "Give each part a system of its own: another database file or folder.",
                ));
            }
        }
        Ok(())
    }

    /// The error of a declaration, at its place.
    fn mistake(
        &self,
        path: &[Step<'_>],
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Error {
        self.workspace.project.mistake(&self.declared.file, path, message, hint)
    }

    /// The same for something of a table.
    fn mistake_of(
        &self,
        table: usize,
        below: &[Step<'_>],
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Error {
        let path = [&[Step::Key("tables"), Step::Item(table)][..], below].concat();
        self.mistake(&path, message, hint)
    }

    fn source(&self) -> Result<Box<dyn Source>> {
        self.workspace.source(&self.declared.connection).map(|(_, source)| source)
    }

    /// What a table of the source is asked for.
    fn request(&self, table: &SplitTable) -> Result<ReadRequest> {
        self.request_of(table, table.options())
    }

    /// What a table of a part is asked for.
    fn part_request(&self, table: &SplitTable, side: Side) -> Result<ReadRequest> {
        let (entry, _) = self.workspace.source(&self.parts.of(side).connection)?;
        let target = table.target_of(self.part(side));
        let Value::Object(options) = crate::migrate::as_stream(entry, &target)? else {
            return Err(Error::internal("settings of a stream are no object"));
        };
        self.request_of(table, options)
    }

    fn request_of(&self, table: &SplitTable, options: Map<String, Value>) -> Result<ReadRequest> {
        let declared = |(name, kind): (&String, &String)| {
            let kind: ColumnType = kind.parse()?;
            Ok(DeclaredColumn::new(name.clone(), kind))
        };
        let columns = table.types.iter().map(declared).collect::<Result<_>>()?;
        let request = ReadRequest::full(Value::Object(options), self.workspace.now());
        Ok(ReadRequest { columns, ..request })
    }

    /// A digest of everything that decides what is written, apart from the rows.
    fn fingerprint(&self) -> Result<String> {
        let text =
            serde_json::to_string(&Split { description: None, ..self.declared.value.clone() })
                .map_err(|error| Error::internal("a split is no JSON").caused_by(error))?;
        Ok(digest::hex(&[text.as_bytes()]))
    }

    fn record(&self, phase: SplitPhase, detail: Value) -> Result<()> {
        self.workspace.store.record_split(&SplitState {
            split: self.name().to_owned(),
            phase,
            changed_at: self.workspace.now(),
            detail,
        })
    }
}

/// The rule of a table.
fn rule(split: &Split, table: &SplitTable) -> Result<RulesOfTable> {
    let side = |part: &str| match split.parts.iter().position(|known| known.part == part) {
        Some(0) => Ok(Side::Left),
        Some(1) => Ok(Side::Right),
        _ => Err(Error::internal(format!("a split that was checked has no part \"{part}\""))),
    };
    let placement = match &table.place {
        Place::Divided { .. } => Placement::Divided,
        Place::With { reference, otherwise } => {
            let at = table.references.iter().position(|known| known.column == *reference);
            let reference = at.ok_or_else(|| {
                Error::internal("a split that was checked goes with an unknown reference")
            })?;
            Placement::With { reference, otherwise: otherwise.as_deref().map(side).transpose()? }
        }
        Place::WhereNeeded { otherwise } => {
            Placement::Shared(Sharing::WhereNeeded { otherwise: side(otherwise)? })
        }
        Place::Both => Placement::Shared(Sharing::Both),
        Place::Only { part } => Placement::Shared(Sharing::Only { side: side(part)? }),
    };
    let references = table.references.iter().map(|reference| {
        let parent = split.tables.iter().position(|known| known.table == reference.to);
        let parent = parent.ok_or_else(|| {
            Error::internal("a split that was checked refers to an unknown table")
        })?;
        Ok(Reference {
            field: reference.column.clone(),
            parent,
            required: reference.required,
            crossing: match reference.crossing {
                OnCrossing::Refuse => Crossing::Refuse,
                OnCrossing::Clear => Crossing::Clear,
            },
        })
    });
    Ok(RulesOfTable {
        name: table.table.clone(),
        placement,
        references: references.collect::<Result<_>>()?,
    })
}

/// What was last noted of the split `name`: how far it is, and what its last step found.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is no such split or it has not begun.
pub fn state(workspace: &Workspace, name: &str) -> Result<SplitState> {
    let splitting = Splitting::named(workspace, name)?;
    workspace.store.split(splitting.name())?.ok_or_else(|| {
        Error::not_found(format!("split \"{name}\" has not begun"))
            .hint(format!("Run `flywheel split plan {name}`, then `flywheel split run {name}`."))
    })
}
