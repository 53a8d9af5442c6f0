//! The `file` action: one file per group of deliveries, for systems that fetch files.
//!
//! The file is written beside its place, flushed to the disk and renamed, so a reader sees the old or
//! the new content, never a part. Deliveries are sorted by key and a key is there once, so delivering
//! again gives the same bytes.

mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use flywheel_base::{Error, Result, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use self::rows::Rows;
use super::{Action, ActionConfig, ActionContext, Delivery, Outcome, Report};
use crate::output::{replace_file, safe_name};

/// The largest file that deliveries are added to.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Writes deliveries into files.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileAction {
    /// The file, relative to the project, with `{policy}` and `{turn}` where their names go:
    /// `out/{policy}/{turn}.jsonl`. Of a dashboard that is sent, these are its name with those of the schedule and the
    /// task that send it (`sales.weekly`), and the moment.
    pub path: String,
    /// How deliveries are written; by the ending of the path if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<FileFormat>,
}

/// How deliveries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// One JSON object per line: `key` and `payload`.
    Jsonl,
    /// A table: `key` and a column for each member of the payloads.
    Csv,
    /// The workbook of a dashboard that a schedule sends, the newest one; decisions are not written so.
    Xlsx,
}

impl ActionConfig for FileAction {
    const ABOUT: &'static str =
        "writes deliveries into JSON Lines or CSV files, and dashboards into workbooks";

    fn build(self, ctx: &ActionContext) -> Result<Box<dyn Action>> {
        let format = match self.format {
            Some(format) => format,
            None if self.path.ends_with(".csv") => FileFormat::Csv,
            None if self.path.ends_with(".xlsx") => FileFormat::Xlsx,
            None => FileFormat::Jsonl,
        };
        let rest = self.path.replace("{policy}", "").replace("{turn}", "");
        if rest.contains(['{', '}']) || self.path.is_empty() || self.path.ends_with('/') {
            return Err(Error::invalid(format!("\"{}\" is not a path of files", self.path))
                .hint("Write a file path; only {policy} and {turn} are replaced in it."));
        }
        let base_dir = ctx.base_dir.clone();
        Ok(Box::new(Files { base_dir, path: self.path, format, writing: Arc::default() }))
    }
}

struct Files {
    base_dir: PathBuf,
    path: String,
    format: FileFormat,
    /// Two batches of one group must not read the same old content.
    writing: Arc<Mutex<()>>,
}

impl Files {
    /// The file of a group.
    fn file(&self, group: &str) -> PathBuf {
        let (policy, turn) = group.rsplit_once('/').unwrap_or((group, ""));
        let path =
            self.path.replace("{policy}", &safe_name(policy)).replace("{turn}", &safe_name(turn));
        self.base_dir.join(path)
    }
}

#[async_trait]
impl Action for Files {
    async fn deliver(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut files: BTreeMap<PathBuf, Vec<(usize, Delivery)>> = BTreeMap::new();
        for (at, delivery) in batch.iter().enumerate() {
            files.entry(self.file(&delivery.group)).or_default().push((at, delivery.clone()));
        }
        let guard = Arc::clone(&self.writing).lock_owned().await;
        let format = self.format;
        let count = batch.len();
        let base_dir = self.base_dir.clone();
        let work = task::compute(move || {
            let mut outcomes: Vec<Option<Outcome>> = vec![None; count];
            for (path, deliveries) in files {
                let (places, deliveries): (Vec<usize>, Vec<Delivery>) =
                    deliveries.into_iter().unzip();
                let written = write(&path, &deliveries, format);
                // Relative to the project, so that a project that is moved or replayed says the same.
                let shown = path.strip_prefix(&base_dir).unwrap_or(&path);
                for (place, outcome) in places.into_iter().zip(outcome(shown, &deliveries, written))
                {
                    if let Some(slot) = outcomes.get_mut(place) {
                        *slot = Some(outcome);
                    }
                }
            }
            // The lock goes with the work, so that a dropped future does not let another batch in.
            drop(guard);
            Ok(outcomes)
        });
        let undone = |reason: &str| Outcome::Retry { reason: reason.to_owned(), after: None };
        match work.await {
            Ok(outcomes) => {
                let given = |o: Option<Outcome>| o.unwrap_or_else(|| undone("not written"));
                outcomes.into_iter().map(given).collect()
            }
            Err(error) => batch.iter().map(|_| undone(&error.report())).collect(),
        }
    }

    async fn report(&self, report: &Report) -> Outcome {
        let path = self.file(&report.delivery.group);
        let shown = path.strip_prefix(&self.base_dir).unwrap_or(&path).to_owned();
        let guard = Arc::clone(&self.writing).lock_owned().await;
        let (format, report) = (self.format, report.clone());
        let work = task::compute(move || {
            let key = std::slice::from_ref(&report.delivery);
            let written = match (format, &report.attachment) {
                (FileFormat::Xlsx, Some(book)) => replace_file(&path, &book.bytes),
                (FileFormat::Xlsx, None) => Err(Error::invalid("there is no workbook to write")
                    .hint("Write `attach: workbook` in the schedule's `send`.")),
                // Figures may have moved since an attempt whose end was not noted: what it wrote stays.
                (FileFormat::Jsonl | FileFormat::Csv, _) => write(&path, key, format).map(|_| ()),
            };
            drop(guard);
            Ok(outcome(&shown, key, written.map(|()| vec![true])))
        });
        let undone = |reason: String| Outcome::Retry { reason, after: None };
        match work.await {
            Ok(outcomes) => {
                outcomes.into_iter().next().unwrap_or_else(|| undone("not written".to_owned()))
            }
            Err(error) => undone(error.report()),
        }
    }
}

/// What became of the deliveries of one file.
fn outcome(path: &Path, deliveries: &[Delivery], written: Result<Vec<bool>>) -> Vec<Outcome> {
    match written {
        Ok(fit) => fit
            .into_iter()
            .map(|fit| match fit {
                true => Outcome::Delivered { receipt: path.display().to_string() },
                false => Outcome::Rejected {
                    reason: "the same key was delivered before with another payload".to_owned(),
                },
            })
            .collect(),
        Err(error) => {
            let reason = error.report();
            let outcome = |_| match error.kind() {
                flywheel_base::ErrorKind::Invalid | flywheel_base::ErrorKind::Corrupt => {
                    Outcome::Rejected { reason: reason.clone() }
                }
                _ => Outcome::Retry { reason: reason.clone(), after: None },
            };
            deliveries.iter().map(outcome).collect()
        }
    }
}

/// Adds deliveries to a file; says of each whether its key stands for its payload.
fn write(path: &Path, deliveries: &[Delivery], format: FileFormat) -> Result<Vec<bool>> {
    let old = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("read the file", path, error)),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Err(Error::exhausted(format!("the file {} is too large", path.display()))
                .hint("Put {turn} into the path, so that every turn has a file of its own."));
        }
        Ok(_) => fs::read(path).map_err(|error| Error::io("read the file", path, error))?,
    };
    let mut rows = Rows::parse(&old, format)
        .map_err(|error| error.context(format!("the file {}", path.display())))?;
    let fit = deliveries.iter().map(|delivery| rows.add(delivery)).collect();
    let new = rows.into_bytes()?;
    if new != old || old.is_empty() {
        replace_file(path, &new)?;
    }
    Ok(fit)
}

#[cfg(test)]
mod tests;
