//! A table as a backup takes it: all its files at one version.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;

use flywheel_base::{Error, Result, task};

use super::Lane;
use super::sweep::{Stored, relative, stored_files};
use crate::log::action::DIGEST_TAG;
use crate::log::{LOG_FOLDER, Listing, plain_path};
use crate::snapshot::Snapshot;
use crate::{Frozen, FrozenFile};

impl Lane {
    /// Every file that `version` and the kept versions before it are read from, and those of the version that are gone;
    /// none if there is no table.
    pub(crate) async fn frozen(&self, version: i64) -> Result<Option<Frozen>> {
        if self.head().await?.is_none() {
            return Ok(None);
        }
        let snapshot = self.at(Some(version)).await?;
        let mut named = self.named(&snapshot, &self.log.list().await?).await?;
        // Whose files this program cannot name, such as deletion vectors, are all taken.
        let plain = snapshot.plain();
        let changes = snapshot.waiting_files()?;
        let all = snapshot.files.iter().chain(&changes);
        let needed: BTreeSet<String> = all.map(|file| relative(&snapshot, file)).collect();
        let folder = self.around.root.join(self.location().as_str());
        let place = folder.clone();
        let stored = task::compute(move || stored_files(&place)).await?;
        let there: BTreeSet<&str> = stored.iter().map(|file| file.name.as_str()).collect();
        let gone = needed.iter().filter(|name| !there.contains(name.as_str())).cloned();
        let gone = gone.collect::<Vec<_>>();
        let mut files = log_files(&folder, version)?;
        for Stored { name, bytes, .. } in stored {
            match named.remove(&name) {
                Some(digest) => files.push(FrozenFile { name, bytes, digest }),
                None if !plain => files.push(FrozenFile { name, bytes, digest: None }),
                None => {}
            }
        }
        Ok(Some(Frozen { location: self.location().clone(), version, folder, files, gone }))
    }

    /// The data files that any kept version up to the snapshot's names, with the digests of those this program wrote.
    async fn named(
        &self,
        snapshot: &Arc<Snapshot>,
        listing: &Listing,
    ) -> Result<BTreeMap<String, Option<String>>> {
        let mut named = BTreeMap::new();
        let mut take = |snapshot: &Snapshot| {
            for file in snapshot.files.iter().chain(&snapshot.waiting_files()?) {
                named.insert(relative(snapshot, file), digest_of(file.add.tags.as_ref()));
            }
            Ok::<_, Error>(())
        };
        take(snapshot)?;
        if let Some((oldest, _)) = listing.checkpoints.range(..snapshot.version).next() {
            take(&*self.at(Some(*oldest)).await?)?;
        }
        for add in self.log.added_until(snapshot.version).await? {
            named.insert(plain_path(&add.path), digest_of(add.tags.as_ref()));
        }
        Ok(named)
    }
}

fn digest_of(tags: Option<&BTreeMap<String, Option<String>>>) -> Option<String> {
    tags?.get(DIGEST_TAG)?.clone()
}

/// The files of the log up to `version`. What points readers at the newest checkpoint is not among them: it is written
/// anew at any time, and would lead to one that the backup does not have. Without it readers list the log.
fn log_files(folder: &FilePath, version: i64) -> Result<Vec<FrozenFile>> {
    let log = folder.join(LOG_FOLDER);
    let mut files = Vec::new();
    let failed = |error| Error::io("list", &log, error);
    for entry in fs::read_dir(&log).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        // Temporary names of unfinished commits have a # behind the ending.
        let ours = name.split_once('.').is_some_and(|(digits, rest)| {
            let known = rest == "json" || rest.starts_with("checkpoint.") && !rest.contains('#');
            known && digits.parse::<i64>().is_ok_and(|number| number <= version)
        });
        if !ours {
            continue;
        }
        let bytes = entry.metadata().map_err(failed)?.len();
        files.push(FrozenFile { name: format!("{LOG_FOLDER}/{name}"), bytes, digest: None });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
