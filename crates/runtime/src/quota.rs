//! What readers may take of the machine, by `quotas` of `flywheel.yaml`, and who wanted more.
//!
//! ```text
//! Reading ─► Catalog::within ─► every query of the session     (memory, time, rows, places)
//! Reading ─► Reading::enter ──► a statement at a door          (waits before it takes the turn of others)
//! whoever wanted more ─► Quotas::hits ─► the audit log
//! ```
//! Who reads as somebody else, by a link or by a key, takes from their own quota: it is they who ask.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flywheel_base::{Error, QuotaExceeded, QuotaKind, Result};
use flywheel_project::Project;
use flywheel_project::resource::project_file::Quota;
use flywheel_warehouse::{Allowance, Places};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::Workspace;
use crate::access::{Reader, Reading};

/// Readers whose places are known at once; those who use none are forgotten beyond it.
const READERS_MAX: usize = 10_000;
/// What wanted more and was not noted yet; the oldest are dropped beyond it.
const HITS_MAX: usize = 1_000;

/// Somebody who wanted more than their quota.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Who.
    pub who: String,
    /// What they wanted more of.
    pub exceeded: QuotaExceeded,
}

/// The places of one reader.
#[derive(Clone, Debug)]
struct Held {
    most: u32,
    queries: Arc<Semaphore>,
    statements: Arc<Semaphore>,
}

/// Places of readers, and what is still to be noted; shared by all that serves a project.
#[derive(Debug, Default)]
pub struct Quotas {
    held: Mutex<BTreeMap<String, Held>>,
    hits: Mutex<VecDeque<Hit>>,
    waiting: Notify,
}

impl Quotas {
    /// The places of a reader, as many as their quota says now.
    fn held(&self, key: &str, most: u32) -> Held {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= READERS_MAX && !all.contains_key(key) {
            let used = |one: &Arc<Semaphore>| Arc::strong_count(one) > 1;
            all.retain(|_, held| used(&held.queries) || used(&held.statements));
        }
        if let Some(held) = all.get(key).filter(|held| held.most == most) {
            return held.clone();
        }
        let places = || Arc::new(Semaphore::new(most as usize));
        let held = Held { most, queries: places(), statements: places() };
        all.insert(key.to_owned(), held.clone());
        held
    }

    /// Keeps that somebody wanted more, until it is noted.
    pub fn hit(&self, hit: Hit) {
        {
            let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
            if hits.len() >= HITS_MAX {
                hits.pop_front();
                tracing::warn!("more quotas are exceeded than can be noted");
            }
            hits.push_back(hit);
        }
        self.waiting.notify_one();
    }

    /// What is to be noted now, oldest first; whoever takes it notes it.
    #[must_use]
    pub fn hits(&self) -> Vec<Hit> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Waits until there may be something to note.
    pub async fn wait(&self) {
        self.waiting.notified().await;
    }
}

/// What a reader may take.
#[must_use]
pub fn of(project: &Project, reader: &Reader) -> Quota {
    project.file.quotas.of(reader.user.as_deref(), reader.role.as_deref())
}

/// How long a query may work by a quota.
#[must_use]
pub fn time(quota: Quota) -> Option<Duration> {
    quota.time.map(|time| Duration::from_micros(time.micros.unsigned_abs()))
}

impl Reading {
    /// Whose quota it is: none for the project itself.
    fn payer(&self) -> Option<&Reader> {
        match self {
            Self::Owner => None,
            Self::As(reader) => Some(reader),
            Self::Viewed { by, .. } => Some(by),
        }
    }

    /// What queries on behalf of this reader may take; none if nothing is said.
    pub(crate) fn allowance(&self, workspace: &Workspace) -> Option<Arc<Allowance>> {
        let payer = self.payer()?;
        let quota = of(&workspace.project, payer);
        let Quota { memory, time: _, rows, queries, requests_per_minute: _ } = quota;
        let time = time(quota);
        if memory.is_none() && time.is_none() && rows.is_none() && queries.is_none() {
            return None;
        }
        let whose = payer.title();
        let places = queries.map(|most| {
            let held = workspace.quotas.held(&whose, most.get());
            Places { most: most.get(), free: held.queries }
        });
        let quotas = Arc::clone(&workspace.quotas);
        let told = move |exceeded: &QuotaExceeded| {
            quotas.hit(Hit { who: exceeded.whose.clone(), exceeded: exceeded.clone() });
        };
        Some(Arc::new(Allowance {
            whose,
            memory_bytes: memory.map(|memory| memory.bytes),
            time,
            rows: rows.map(std::num::NonZero::get),
            places,
            told: Arc::new(told),
        }))
    }

    /// Waits for a place among the statements of this reader, so that they wait for themselves before they keep others from
    /// asking; it is free again when this is dropped. None if their number is not limited.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Exhausted`], made of a [`QuotaExceeded`], if there is none within `wait`.
    pub async fn enter(
        &self,
        workspace: &Workspace,
        wait: Duration,
    ) -> Result<Option<OwnedSemaphorePermit>> {
        let Some(payer) = self.payer() else { return Ok(None) };
        let Some(most) = of(&workspace.project, payer).queries else { return Ok(None) };
        let whose = payer.title();
        let statements = workspace.quotas.held(&whose, most.get()).statements;
        match tokio::time::timeout(wait, statements.acquire_owned()).await {
            Ok(place) => place
                .map(Some)
                .map_err(|error| Error::internal("statements have no places").caused_by(error)),
            Err(_) => {
                let most = u64::from(most.get());
                let exceeded = QuotaExceeded { kind: QuotaKind::Queries, most, whose };
                let who = exceeded.whose.clone();
                workspace.quotas.hit(Hit { who, exceeded: exceeded.clone() });
                Err(exceeded.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_the_same_until_the_quota_is_another() {
        let quotas = Quotas::default();
        let first = quotas.held("anna", 2);
        assert!(Arc::ptr_eq(&first.queries, &quotas.held("anna", 2).queries));
        assert!(!Arc::ptr_eq(&first.queries, &quotas.held("wang", 2).queries));
        assert_eq!(quotas.held("anna", 3).queries.available_permits(), 3);
    }

    #[test]
    fn what_is_to_be_noted_is_taken_once_and_in_its_order() {
        let quotas = Quotas::default();
        for most in [1, 2] {
            let exceeded = QuotaExceeded { kind: QuotaKind::Rows, most, whose: "anna".to_owned() };
            quotas.hit(Hit { who: "anna".to_owned(), exceeded });
        }
        let most: Vec<u64> = quotas.hits().iter().map(|hit| hit.exceeded.most).collect();
        assert_eq!((most, quotas.hits().len()), (vec![1, 2], 0));
    }
}
