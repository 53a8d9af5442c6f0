//! The newest fits of learners, as `predict` and `recommend` in SQL ask for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use flywheel_base::Result;
use flywheel_state::{Artifact, Reader};
use flywheel_warehouse::{Learners, Served};
use serde_json::Value;

use crate::artifact::Artifacts;
use crate::learner;

/// How many scorers are kept in memory; when there are more, all are read anew.
const KEPT_MAX: usize = 32;

/// Finds newest artifacts and keeps the scorers that were asked for.
///
/// What was fitted by another process is seen by the next statement: only a scorer whose digest is still the newest
/// one's is used again.
#[derive(Debug)]
pub struct Newest {
    reader: Reader,
    artifacts: Artifacts,
    kept: Mutex<BTreeMap<String, (String, Served)>>,
}

impl Newest {
    /// Asks `reader` which artifact is the newest, and reads its bytes from `artifacts`.
    #[must_use]
    pub fn new(reader: Reader, artifacts: Artifacts) -> Self {
        Self { reader, artifacts, kept: Mutex::default() }
    }

    fn read(&self, artifact: &Artifact) -> Result<Served> {
        if artifact.kind == learner::score::ENTRY.name {
            let bytes = self.artifacts.get(&artifact.digest)?;
            return Ok(Served::Scores(learner::score::serve::scorer(&bytes)?));
        }
        if artifact.kind == learner::onnx::ENTRY.name {
            let bytes = self.artifacts.get(&artifact.digest)?;
            return Ok(Served::Scores(learner::onnx::scorer(&bytes)?));
        }
        if artifact.kind == learner::recommend::ENTRY.name {
            let top = artifact.detail.get("top").and_then(Value::as_u64);
            return Ok(Served::Lists(top.and_then(|top| usize::try_from(top).ok())));
        }
        Ok(Served::Table(artifact.kind.clone()))
    }
}

impl Learners for Newest {
    fn served(&self, learner: &str) -> Result<Option<Served>> {
        let Some(newest) = self.reader.served_artifact(learner)? else { return Ok(None) };
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((digest, served)) = kept.get(learner)
                && *digest == newest.digest
            {
                return Ok(Some(served.clone()));
            }
        }
        let served = self
            .read(&newest)
            .map_err(|e| e.context(format!("learner \"{learner}\", artifact {}", newest.digest)))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(learner.to_owned(), (newest.digest.clone(), served.clone()));
        Ok(Some(served))
    }
}
