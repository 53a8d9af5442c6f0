//! What happens to rows between a source and the disk: columns are selected, renamed, cleaned,
//! masked or dropped.
//!
//! ```text
//! Page ──► select, rename ──► clean ──► type ──► make columns, judge rows ──► mask ──► Page
//!                               │ a value without normal form         │ no value
//!                               └──► Page::rejected, its masked columns hidden
//! ```
//!
//! A mapping is pure: the same page gives the same page. What a mask hides is hidden in what is kept
//! of rejected rows as well, those of the source included, so that it reaches no disk and no log.

pub mod detect;
pub mod mask;
pub mod normalise;

mod apply;
mod derive;
mod form;
mod rejected;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::datatypes::Field;
use flywheel_base::{Error, Result, Secret, suggest};

pub use derive::{Evaluate, judge};
pub use detect::{Detected, detect, detect_columns, detect_stream};
pub use form::{Parameter, ParameterKind, Resolve};
pub use mask::{KEY_BYTES_MIN, MASKS, MaskEntry, TypedMask, check_mask};
pub use normalise::{NORMALISERS, NormaliserEntry, check_clean};
pub use rejected::{KeptValue, ROW_MASKED};

use crate::column::{ColumnType, DeclaredColumn};
use mask::Mask;
use normalise::Step;

/// One column of the table and how it is made of a column of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappedColumn {
    /// Its name in the table.
    pub name: String,
    /// Its name in the source, if it differs.
    pub from: Option<String>,
    /// Its type, after it was cleaned; inferred if not given.
    pub kind: Option<ColumnType>,
    /// Whether a row without a value is set aside.
    pub not_null: bool,
    /// The normalisers, in their short form: `phone(CN)`.
    pub clean: Vec<String>,
    /// The mask, in its short form: `hmac(key=${secret:pii})`.
    pub mask: Option<String>,
    /// The SQL expression that makes it, instead of a column of the source.
    pub value: Option<String>,
}

impl MappedColumn {
    /// Its name in the source.
    #[must_use]
    pub fn source_name(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.name)
    }
}

/// Which columns of the source land.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Those that are mapped, and all others as they are.
    #[default]
    All,
    /// Only those that are mapped.
    Mapped,
}

/// Everything a stream says about its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingConfig {
    /// The source's name, for the rows that are set aside.
    pub source: String,
    /// The columns.
    pub columns: Vec<MappedColumn>,
    /// Columns of the source that do not land.
    pub drop: Vec<String>,
    /// Which others land.
    pub keep: Keep,
    /// The SQL condition of the rows that land; all land if there is none.
    pub condition: Option<String>,
    /// The boolean column that marks rows that are no longer there. Rows that do not meet the condition
    /// are marked instead of left out, where the page has the column.
    pub marks: Option<String>,
}

/// A mapping that is ready for pages. Its keys can neither be printed nor serialised.
#[derive(Debug)]
pub struct Mapping {
    source: String,
    columns: Vec<Mapped>,
    drop: BTreeSet<String>,
    keep: Keep,
    computed: Vec<Computed>,
    condition: Option<String>,
    marks: Option<String>,
    engine: Option<Arc<dyn Evaluate>>,
    /// How many rows did not meet the condition so far.
    filtered: AtomicU64,
}

/// A column that is made by SQL.
#[derive(Debug)]
struct Computed {
    mapped: Mapped,
    sql: String,
}

/// A column that is ready to be made.
#[derive(Debug)]
struct Mapped {
    name: String,
    from: String,
    kind: Option<ColumnType>,
    /// Whether the source hands over text that still gets its type here.
    typed_here: bool,
    not_null: bool,
    clean: Vec<Step>,
    mask: Option<Box<dyn Mask>>,
    /// Whether it was said that the masked column had no value at all.
    warned: AtomicBool,
}

impl Mapped {
    /// Whether the column lands as the source has it.
    fn is_plain(&self) -> bool {
        self.clean.is_empty() && self.mask.is_none() && !self.typed_here
    }

    /// Whether this is the first time something is said about the column.
    fn first_warning(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }
}

impl Mapping {
    /// Builds a mapping; `resolve` turns a reference such as `${secret:pii}` into its value. The
    /// texts are given as they are written in the file: a key that was resolved before is refused.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the column, the normaliser or mask and the
    /// argument; those of `resolve`.
    pub fn new(config: &MappingConfig, resolve: Resolve<'_>) -> Result<Self> {
        if config.keep == Keep::Mapped && config.columns.is_empty() {
            return Err(Error::invalid("no column is mapped, so none would land")
                .hint("List the columns that land under columns, or keep all."));
        }
        let mut names = BTreeSet::new();
        for column in &config.columns {
            if !names.insert(column.name.as_str()) {
                return Err(Error::invalid(format!("column \"{}\" is mapped twice", column.name))
                    .hint("Give one of them another name."));
            }
        }
        let drop: BTreeSet<String> = config.drop.iter().cloned().collect();
        let (mut columns, mut computed) = (Vec::new(), Vec::new());
        for column in &config.columns {
            let mapped = mapped(column, config, &drop, resolve)
                .map_err(|error| error.context(format!("column \"{}\"", column.name)))?;
            match &column.value {
                Some(sql) => computed.push(Computed { mapped, sql: sql.clone() }),
                None => columns.push(mapped),
            }
        }
        Ok(Self {
            source: config.source.clone(),
            columns,
            drop,
            keep: config.keep,
            computed,
            condition: config.condition.clone(),
            marks: config.marks.clone(),
            engine: None,
            filtered: AtomicU64::new(0),
        })
    }

    /// Gives the mapping what evaluates its SQL.
    #[must_use]
    pub fn with_engine(self, engine: Arc<dyn Evaluate>) -> Self {
        Self { engine: Some(engine), ..self }
    }

    /// How many rows did not land so far because they do not meet the condition. Those that were marked
    /// as no longer there instead are not counted: they land.
    #[must_use]
    pub fn filtered(&self) -> u64 {
        self.filtered.load(Ordering::Relaxed)
    }

    /// Whether pages go through unchanged.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        let same = |column: &Mapped| column.is_plain() && column.name == column.from;
        self.keep == Keep::All
            && self.drop.is_empty()
            && self.computed.is_empty()
            && self.condition.is_none()
            && self.columns.iter().all(same)
    }

    /// The columns as the source is to read them, for [`crate::ReadRequest::columns`]: one that is
    /// cleaned, or hidden as text, is read as text.
    #[must_use]
    pub fn declared(&self) -> Vec<DeclaredColumn> {
        let mut declared: Vec<DeclaredColumn> = Vec::new();
        for column in &self.columns {
            if declared.iter().any(|known| known.name == column.from) {
                continue;
            }
            let same: Vec<&Mapped> =
                self.columns.iter().filter(|other| other.from == column.from).collect();
            let as_text = same.iter().any(|other| {
                let hidden = other.mask.as_ref().is_some_and(|mask| mask.reads_text());
                other.typed_here || (other.kind.is_none() && hidden)
            });
            let kind = match as_text {
                true => Some(ColumnType::Text),
                false => same.iter().find_map(|other| other.kind),
            };
            if let Some(kind) = kind {
                let not_null = same.iter().any(|other| other.not_null);
                let named = DeclaredColumn::new(column.from.clone(), kind);
                declared.push(DeclaredColumn { not_null, ..named });
            }
        }
        declared
    }

    /// The mapped columns whose type is known before a row was read, as they land.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        let field = |column: &Mapped| {
            let text = column.mask.as_ref().is_some_and(|mask| !mask.keeps_type());
            let cleaned = (!column.clean.is_empty()).then_some(ColumnType::Text);
            let kind = if text { Some(ColumnType::Text) } else { column.kind.or(cleaned) };
            kind.map(|kind| Field::new(&column.name, kind.arrow(), true))
        };
        let computed = self.computed.iter().map(|computed| &computed.mapped);
        self.columns.iter().chain(computed).filter_map(field).collect()
    }

    /// The names under which the values of a column of the source land as they are.
    #[must_use]
    pub fn landing(&self, source: &str) -> Vec<String> {
        if self.of(source).next().is_none() {
            let lands = self.keep == Keep::All && !self.drop.contains(source);
            return if lands { vec![source.to_owned()] } else { Vec::new() };
        }
        self.of(source).filter(|column| column.is_plain()).map(|c| c.name.clone()).collect()
    }

    /// The mapped columns of one column of the source.
    fn of<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Mapped> {
        self.columns.iter().filter(move |column| column.from == source)
    }

    /// Whether something of a row must not be seen.
    fn hides(&self) -> bool {
        self.keep == Keep::Mapped
            || !self.drop.is_empty()
            || self.columns.iter().any(|column| column.mask.is_some())
            || self.computed.iter().any(|computed| computed.mapped.mask.is_some())
    }
}

fn mapped(
    column: &MappedColumn,
    config: &MappingConfig,
    drop: &BTreeSet<String>,
    resolve: Resolve<'_>,
) -> Result<Mapped> {
    let from = column.source_name();
    if column.value.is_some() && (column.from.is_some() || !column.clean.is_empty()) {
        return Err(Error::invalid("it is made by SQL and comes from the source")
            .hint("Remove from and clean; the expression can do what they do."));
    }
    if column.value.is_none() && drop.contains(from) {
        return Err(Error::invalid("it is mapped and dropped")
            .hint("Remove it from drop, or from columns."));
    }
    let clean = column.clean.iter().map(|text| Step::parse(text)).collect::<Result<Vec<_>>>()?;
    let mask = column.mask.as_deref().map(|text| mask::parse(text, resolve)).transpose()?;
    let same: Vec<&MappedColumn> = config
        .columns
        .iter()
        .filter(|other| other.value.is_none() && other.source_name() == from)
        .collect();
    let as_text = same.iter().any(|other| !other.clean.is_empty())
        || same.windows(2).any(|pair| pair.first().map(|c| c.kind) != pair.last().map(|c| c.kind));
    let typed_here =
        (as_text && column.kind.is_some_and(|kind| kind != ColumnType::Text)) || !clean.is_empty();
    Ok(Mapped {
        name: column.name.clone(),
        from: from.to_owned(),
        kind: column.kind,
        typed_here,
        not_null: column.not_null,
        clean,
        mask,
        warned: AtomicBool::new(false),
    })
}

/// The error of a column that the source does not have.
fn no_column(name: &str, known: &[&str]) -> Error {
    Error::invalid(format!("the source has no column \"{name}\""))
        .hint(suggest::hint(name, known.iter().copied()))
}

/// A resolver for mappings without keys: it refuses every reference.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] always.
pub fn without_secrets(_: &str) -> Result<Secret> {
    Err(Error::invalid("references cannot be resolved here").hint("Pass a resolver of secrets."))
}
