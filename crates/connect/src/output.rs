//! What all destinations of files share: parts, the manifest that commits them, and the way back
//! after a crash.
//!
//! ```text
//! append:   rows ─► part ─► manifest lists it (the commit) ─► part gets its own name
//! replace:  rows ─► staged part (Parquet) ─► manifest: staged   … once per commit
//!           finish: staged parts ─► one new file ─► manifest lists it (the commit) ─► it gets its name
//! ```
//! Parts and manifest lie in `_flywheel` beside the files. A reader of the files sees committed rows
//! only: a crash before the manifest leaves a part that the next writer removes, a crash after it a
//! part that the next one to look gives its name. In an object store the same holds: a part is an
//! object in `_flywheel`, the manifest is written over the one that was read or not at all, and a part
//! gets its name by a copy.

mod cell;
mod json;
mod manifest;
mod pack;
mod place;
mod session;
mod store;

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use flywheel_base::{Error, Result, task};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub(crate) use cell::{Cell, Cells, date_text, decimal_text, float_text, moment_text};
pub(crate) use json::{
    JsonRows, base64_text, check_json_columns, push_json, push_text, refuse_json,
};
pub(crate) use pack::{Compression, Packed};
pub use store::replace_file;
pub(crate) use store::{Sink, create_folder, safe_name, sync_folder, try_lock};

use self::manifest::Manifest;
use self::place::{FOLDER, Place};
use self::session::Session;
use crate::blocking::SessionWriter;
use crate::column::Misfit;
use crate::destination::{
    Destination, DestinationContext, Progress, Refused, WriteMode, WriteRequest, Writer, check_mode,
};
use crate::files::{Root, Way};
use crate::objects::{FilePlace, Objects};
use crate::source::settings;

/// The write modes of every destination of files.
pub(crate) const MODES: &[WriteMode] = &[WriteMode::Append, WriteMode::Replace];

/// A format that files can be written in.
pub(crate) trait OutputFormat: Sized + Send + Sync + 'static {
    /// The settings of one target.
    type Target: DeserializeOwned + JsonSchema;

    /// The destination's name.
    const NAME: &'static str;

    /// What its files' names end in.
    const ENDINGS: &'static [&'static str];

    /// The most rows a file can have.
    const ROWS_MAX: Option<u64> = None;

    /// Makes the format from the settings of one target.
    fn new(target: Self::Target) -> Result<Self>;

    /// The path of the target's file.
    fn path(&self) -> &str;

    /// What a compressed file's name ends in.
    fn compression(&self) -> Compression {
        Compression::None
    }

    /// Says why columns cannot be written at all.
    fn check(&self, schema: &Schema) -> Result<()>;

    /// The rows that the format cannot hold as they are.
    fn refuse(&self, batch: &RecordBatch) -> Result<Vec<Refused>>;

    /// Starts a file of those columns.
    fn start(&self, sink: Sink, schema: &SchemaRef) -> Result<Box<dyn Encoder>>;
}

/// A file that is being written.
pub(crate) trait Encoder: Send {
    /// Adds rows, of which none is refused.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Writes the end.
    fn finish(self: Box<Self>) -> Result<Sink>;
}

/// A row that is refused because of one of its values.
pub(crate) fn refused(row: usize, column: &str, misfit: Misfit) -> Refused {
    let Misfit { code, reason } = misfit;
    Refused { row, column: Some(column.to_owned()), code: code.to_owned(), reason }
}

/// The rows of a batch with a value that `check` does not take; the first such column counts.
pub(crate) fn refuse_cells(
    batch: &RecordBatch,
    check: impl Fn(&str, Cell<'_>) -> Result<(), Misfit>,
) -> Result<Vec<Refused>> {
    let mut found: Vec<Option<Refused>> = vec![None; batch.num_rows()];
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let cells = Cells::of(array).map_err(|error| column_error(field.name(), error))?;
        for (row, slot) in found.iter_mut().enumerate().filter(|(_, slot)| slot.is_none()) {
            let outcome = cells.cell(row).and_then(|cell| check(field.name(), cell));
            if let Err(misfit) = outcome {
                *slot = Some(refused(row, field.name(), misfit));
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// An error of a column as a whole.
pub(crate) fn column_error(name: &str, error: Error) -> Error {
    error
        .context(format!("the column \"{name}\""))
        .hint("Cast the column to another type, or leave it out.")
}

/// Refuses names of columns that would not read back from a header.
pub(crate) fn check_header(schema: &Schema) -> Result<()> {
    let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if let Some(name) = names.iter().find(|name| name.trim() != **name || name.is_empty()) {
        return Err(Error::invalid(format!(
            "\"{name}\" cannot be the name of a column in a header"
        ))
        .hint("Rename the column; a name is not empty and has no blanks at its ends."));
    }
    names.sort_unstable();
    match names.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
        Some([name, ..]) => Err(Error::invalid(format!("two columns have the name \"{name}\""))
            .hint("Rename one of them in the sync's mapping.")),
        _ => Ok(()),
    }
}

/// A folder that files of one format are written into.
pub(crate) struct OutputFolder<F> {
    root: Root,
    format: PhantomData<fn() -> F>,
}

impl<F: OutputFormat> OutputFolder<F> {
    /// Makes the destination of a folder or a store.
    pub(crate) fn new(ctx: &DestinationContext, place: FilePlace) -> Result<Self> {
        Ok(Self { root: Root::new(place, &ctx.base_dir)?, format: PhantomData })
    }

    fn target(&self, request: &WriteRequest) -> Result<(F, Place)> {
        let format = F::new(settings("target", request.target.clone())?)?;
        let place = place::<F>(&self.root, &format, &request.app)?;
        Ok((format, place))
    }
}

/// Where the files of a target go.
fn place<F: OutputFormat>(root: &Root, format: &F, app: &str) -> Result<Place> {
    let path = format.path();
    let wrong = |why: &str| {
        let ending = F::ENDINGS.first().copied().unwrap_or_default();
        Error::invalid(format!("the path \"{path}\" {why}"))
            .hint(format!("Write the path of one file, such as out/orders.{ending}."))
    };
    if path.contains(['*', '?', '[']) {
        return Err(wrong("is a pattern"));
    }
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() || matches!(name, "." | "..") {
        return Err(wrong("is not a file"));
    }
    let pack = format.compression().ending();
    let plain = name.strip_suffix(pack).unwrap_or(name);
    let (stem, ending) = plain.rsplit_once('.').unwrap_or((plain, ""));
    if stem.is_empty() || !F::ENDINGS.contains(&ending) {
        return Err(wrong(&format!("does not end in .{}{pack}", F::ENDINGS.join(" or ."))));
    }
    let ending = format!(".{ending}{pack}");
    match root.way(path)? {
        Way::Folder(folder) => {
            // An absolute path stays one.
            let folder = match above {
                "" if path.starts_with('/') => PathBuf::from("/"),
                above => folder.join(above),
            };
            Ok(Place::in_folder(folder, stem, &ending, app))
        }
        Way::Objects(objects, path) => {
            writable(&objects)?;
            let above = path.rsplit_once('/').map_or("", |(above, _)| above);
            Ok(Place::in_store(objects, above, stem, &ending, app))
        }
    }
}

fn writable(objects: &Objects) -> Result<()> {
    if objects.writable() {
        return Ok(());
    }
    Err(Error::invalid(format!("files of {} can only be read", objects.root()))
        .hint("Write into s3://, gs:// or az://, or into a folder."))
}

#[async_trait]
impl<F: OutputFormat> Destination for OutputFolder<F> {
    async fn check(&self) -> Result<()> {
        let root = self.root.clone();
        task::compute(move || {
            let folder = match root.folder() {
                Way::Folder(folder) => folder,
                Way::Objects(objects, _) => {
                    writable(&objects)?;
                    return objects.check_write(&format!("{FOLDER}/check"));
                }
            };
            // A folder that is not there is created; then the nearest one above it has to allow it.
            let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(&folder);
            tempfile::tempfile_in(there).map(drop).map_err(|error| {
                Error::io("write into the folder", there, error)
                    .hint("Set the connection's `folder` to a folder that can be written.")
            })
        })
        .await
    }

    async fn progress(&self, request: &WriteRequest) -> Result<Progress> {
        let (_, place) = self.target(request)?;
        let app = request.app.clone();
        task::compute(move || {
            let mut manifest = Manifest::load(&place, &app)?;
            manifest.publish(&place)?;
            Ok(manifest.progress())
        })
        .await
    }

    async fn forget_staged(&self, request: &WriteRequest) -> Result<()> {
        let (_, place) = self.target(request)?;
        let app = request.app.clone();
        task::compute(move || {
            let mut manifest = Manifest::load(&place, &app)?;
            manifest.forget_staged();
            manifest.save(&place)
        })
        .await
    }

    async fn writer(&self, request: &WriteRequest) -> Result<Box<dyn Writer>> {
        check_mode(F::NAME, MODES, request.mode)?;
        let (format, place) = self.target(request)?;
        let request = request.clone();
        SessionWriter::open(move || Session::open(Arc::new(format), place, &request)).await
    }
}

#[cfg(test)]
mod tests;
