//! Which objects a pattern names.

use std::sync::Arc;

use flywheel_base::{Error, Result};
use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::{Object, Objects, wait};

/// The most objects that one pattern looks through.
const LISTED_MAX: usize = 1_000_000;

/// A `*` stays within a name, as in paths of files.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

impl Objects {
    /// Proves that the store answers and the folder can be listed.
    pub(crate) fn check(&self) -> Result<()> {
        if self.web {
            // A web server has no folders; each file says for itself whether it is there.
            return Ok(());
        }
        let folder = self.key("")?;
        let prefix = (!folder.as_ref().is_empty()).then_some(&folder);
        let first = wait(async { self.store.list(prefix).try_next().await })?;
        first.map(drop).map_err(|error| self.failing.explain("list", &self.root(), &error))
    }

    /// The objects that `pattern` names, relative to the folder; a plain name has to exist.
    pub(crate) fn find(self: &Arc<Self>, pattern: &str) -> Result<Vec<Object>> {
        if !pattern.contains(['*', '?', '[']) {
            let key = self.key(pattern)?;
            if pattern.ends_with('/') || key.as_ref().is_empty() {
                return Err(Error::invalid(format!("the path \"{pattern}\" is a folder")).hint(
                    format!(
                        "Write \"{}/*\" to read all its objects.",
                        pattern.trim_end_matches('/')
                    ),
                ));
            }
            let meta = wait(self.store.head(&key))?;
            let meta = match meta {
                Ok(meta) => meta,
                Err(error) => return Err(self.refused("read the object", &key, &error)?),
            };
            return Ok(vec![self.object(meta)]);
        }
        if self.web {
            return Err(Error::invalid(format!(
                "\"{pattern}\" is a pattern, but the names on {} cannot be listed",
                self.base
            ))
            .hint("Name each file in a stream of its own."));
        }
        let whole = match self.prefix.as_str() {
            "" => pattern.to_owned(),
            prefix => format!("{}/{pattern}", Pattern::escape(prefix)),
        };
        let glob = Pattern::new(&whole).map_err(|error| {
            Error::invalid(format!("the path \"{pattern}\" is not a valid pattern"))
                .caused_by(error)
                .hint("Use * for any text within a name, ** for any folders, ? for one character.")
        })?;
        let plain = pattern.find(['*', '?', '[']).map_or(pattern, |at| &pattern[..at]);
        let (folder, deep) = match plain.rsplit_once('/') {
            Some((folder, _)) => (folder, pattern.get(folder.len() + 1..).unwrap_or_default()),
            None => ("", pattern),
        };
        let found = self.listed(&self.key(folder)?, deep.contains('/'))?;
        let fits = |meta: &ObjectMeta| glob.matches_with(meta.location.as_ref(), MATCHING);
        Ok(found.into_iter().filter(fits).map(|meta| self.object(meta)).collect())
    }

    /// The error of a question about an object: its answer has no room for a reason, so a listing is
    /// asked for it.
    pub(super) fn refused(
        &self,
        doing: &str,
        key: &Path,
        error: &object_store::Error,
    ) -> Result<Error> {
        if !self.web
            && let Err(told) = wait(async { self.store.list(Some(key)).try_next().await })?
        {
            return Ok(self.failing.explain(doing, &self.url(key), &told));
        }
        Ok(self.failing.explain(doing, &self.url(key), error))
    }

    /// All objects below the folder whose path there has at most `depth_max` folders and that are
    /// wanted, at most `count_max` of them, with their paths relative to it.
    pub(crate) fn walk(
        self: &Arc<Self>,
        depth_max: usize,
        count_max: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, Object)>> {
        if self.web {
            return Err(Error::invalid(format!("the names on {} cannot be listed", self.base))
                .hint("Name each file in a stream of its own."));
        }
        let mut found = Vec::new();
        for meta in self.listed(&self.key("")?, true)? {
            let relative = match self.prefix.as_str() {
                "" => meta.location.to_string(),
                prefix => match meta.location.as_ref().strip_prefix(prefix) {
                    Some(rest) => rest.trim_start_matches('/').to_owned(),
                    None => continue,
                },
            };
            let hidden = relative.split('/').any(|name| name.starts_with(['.', '~']));
            if hidden || relative.matches('/').count() > depth_max || !wanted(&relative) {
                continue;
            }
            if found.len() < count_max {
                found.push((relative, self.object(meta)));
            }
        }
        Ok(found)
    }

    /// What is below a folder, page by page; without `deep` only what is directly in it.
    fn listed(&self, folder: &Path, deep: bool) -> Result<Vec<ObjectMeta>> {
        let prefix = (!folder.as_ref().is_empty()).then_some(folder);
        let url = self.url(folder);
        let too_many = || {
            Error::exhausted(format!("{url} has more than {LISTED_MAX} objects")).hint(
                "Put more of the path before the first `*`, or sort the objects into folders.",
            )
        };
        let outcome = wait(async {
            if !deep {
                return self.store.list_with_delimiter(prefix).await.map(|found| found.objects);
            }
            let mut found = Vec::new();
            let mut listing = self.store.list(prefix);
            while let Some(meta) = listing.try_next().await? {
                found.push(meta);
                if found.len() > LISTED_MAX {
                    break;
                }
            }
            Ok(found)
        })?;
        let found = outcome.map_err(|error| self.failing.explain("list", &url, &error))?;
        if found.len() > LISTED_MAX { Err(too_many()) } else { Ok(found) }
    }

    fn object(self: &Arc<Self>, meta: ObjectMeta) -> Object {
        Object::new(Arc::clone(self), meta)
    }
}
