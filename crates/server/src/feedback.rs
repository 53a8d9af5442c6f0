//! What users did since their recommender was fitted, in memory: it counts in the next answer.
//!
//! ```text
//! event acknowledged ─► its act is remembered ─► next question: tables' past + acts ─► list, kept until more comes
//! ```
//! Nothing is lost with it: after a restart the newest events are read from the journal again. An act is forgotten
//! after the second fit that follows it, since by then its sync has landed it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flywheel_base::{Result, Timestamp};
use flywheel_connect::journal_newest;
use flywheel_decision::feedback::{Act, Loaded, act_of};
use flywheel_project::resource::learner::Feedback;
use flywheel_runtime::{Workspace, events, feedback};
use flywheel_state::Artifact;
use serde_json::{Map, Value};

use crate::app::{App, ended};
use crate::http::recommend::Item;

/// Users of one learner whose acts are remembered; of more the oldest are forgotten.
const USERS_MAX: usize = 100_000;
/// Acts of one user that are remembered; of more the oldest are forgotten.
const ACTS_MAX: usize = 200;
/// Events that are read from the journal after a restart.
const READ_MAX: u32 = 100_000;

/// An act, of whom, and the offset of the event that told of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    learner: String,
    user: String,
    offset: i64,
    act: Act,
}

#[derive(Debug, Default)]
struct User {
    /// Each with its offset and the number of the fit it came after; by offset.
    acts: Vec<(i64, u64, Act)>,
    /// The answer that takes all of them into account.
    answer: Option<List>,
}

#[derive(Debug, Default)]
struct Learner {
    users: HashMap<String, User>,
    /// Who came first.
    order: VecDeque<String>,
    /// The newest artifact, and how many there were.
    artifact: String,
    fits: u64,
    loaded: Option<Arc<Loaded>>,
    /// Whether the journal was read.
    read: bool,
}

impl Learner {
    fn add(&mut self, told: Told) {
        if !self.users.contains_key(&told.user) {
            self.order.push_back(told.user.clone());
            if self.order.len() > USERS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.users.remove(&oldest);
            }
        }
        let user = self.users.entry(told.user).or_default();
        let Err(place) = user.acts.binary_search_by_key(&told.offset, |(offset, ..)| *offset)
        else {
            return;
        };
        user.acts.insert(place, (told.offset, self.fits, told.act));
        if user.acts.len() > ACTS_MAX {
            user.acts.remove(0);
        }
        user.answer = None;
    }

    /// Turns to a newer artifact.
    fn turn_to(&mut self, artifact: &str) {
        if self.artifact == artifact {
            return;
        }
        artifact.clone_into(&mut self.artifact);
        self.fits += 1;
        self.loaded = None;
        let fits = self.fits;
        self.users.retain(|_, user| {
            user.answer = None;
            user.acts.retain(|(_, fit, _)| fit + 2 > fits);
            !user.acts.is_empty()
        });
        self.order.retain(|user| self.users.contains_key(user));
    }
}

/// What users did since, by learner.
#[derive(Debug, Default)]
pub(crate) struct Fresh(Mutex<BTreeMap<String, Learner>>);

/// Learners that take account of a topic, with what says how.
fn listeners<'a>(
    workspace: &'a Workspace,
    topic: &'a str,
) -> impl Iterator<Item = (&'a String, &'a Feedback)> {
    let learners = workspace.project.learners.iter();
    learners.filter_map(move |(name, learner)| {
        let feedback = learner.recommend.as_ref()?.feedback.as_ref()?;
        (feedback.topic == topic).then_some((name, feedback))
    })
}

/// The acts that events of a topic tell of, their offsets counted from 0.
pub(crate) fn told(
    workspace: &Workspace,
    topic: &str,
    messages: &[Vec<u8>],
    arrived: Timestamp,
) -> Vec<Told> {
    let mut told = Vec::new();
    for (learner, feedback) in listeners(workspace, topic) {
        for (offset, message) in (0..).zip(messages) {
            // What was taken is an object.
            let Ok(event) = serde_json::from_slice(message) else { continue };
            if let Some((user, act)) = act_of(feedback, &event, arrived) {
                told.push(Told { learner: learner.clone(), user, offset, act });
            }
        }
    }
    told
}

/// A list that is shown as it is.
type List = Arc<Vec<Item>>;

impl Fresh {
    fn learners(&self) -> MutexGuard<'_, BTreeMap<String, Learner>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers acts whose events are on disk, the first of them at `first_offset`.
    pub(crate) fn remember(&self, told: Vec<Told>, first_offset: i64) {
        if told.is_empty() {
            return;
        }
        let mut learners = self.learners();
        for one in told {
            let offset = first_offset + one.offset;
            learners.entry(one.learner.clone()).or_default().add(Told { offset, ..one });
        }
    }

    /// What the user did since the fit, and the list that takes it into account, if it was made already.
    fn known(&self, learner: &str, user: &str) -> Option<(Vec<Act>, Option<List>)> {
        let learners = self.learners();
        let user = learners.get(learner)?.users.get(user)?;
        Some((user.acts.iter().map(|(.., act)| act.clone()).collect(), user.answer.clone()))
    }
}

/// The list of a user that takes account of what the user did since the fit, and how many acts that were; none if
/// nothing is known of that.
pub(crate) async fn answer(
    app: &Arc<App>,
    learner: &str,
    user: &str,
    newest: &Artifact,
) -> Result<Option<(Arc<Vec<Item>>, usize)>> {
    let workspace = app.workspace();
    let settings = workspace.project.learners.get(learner).and_then(|one| one.recommend.as_ref());
    let Some(declared) = settings.and_then(|settings| settings.feedback.as_ref()) else {
        return Ok(None);
    };
    let read = {
        let mut learners = app.fresh.learners();
        let held = learners.entry(learner.to_owned()).or_default();
        held.turn_to(&newest.digest);
        held.read
    };
    if !read {
        let (since, name, declared) = (newest.fitted_at, learner.to_owned(), declared.clone());
        app.blocking(move |app| read_journal(app, &name, &declared, since)).await?;
    }
    let Some((acts, made)) = app.fresh.known(learner, user) else { return Ok(None) };
    let count = acts.len();
    if let Some(made) = made {
        return Ok(Some((made, count)));
    }
    let _turn = app.querying.acquire().await.map_err(|_| ended("answering"))?;
    let loaded = app.fresh.learners().get(learner).and_then(|one| one.loaded.clone());
    let (name, who, digest) = (learner.to_owned(), user.to_owned(), newest.digest.clone());
    let (loaded, items) = app
        .with(move |workspace| async move {
            let loaded = match loaded {
                Some(loaded) => loaded,
                None => Arc::new(feedback::load(&workspace, &name, &digest).await?),
            };
            let past = feedback::past(&workspace, &name, &who).await?;
            let listed = loaded.list(&past, &acts, workspace.now())?;
            let items = listed.into_iter().map(|one| Item {
                item: one.item,
                score: Some(one.score),
                reason: Some(one.reason),
            });
            Ok((loaded, Arc::new(items.collect::<Vec<_>>())))
        })
        .await?;
    let mut learners = app.fresh.learners();
    if let Some(held) = learners.get_mut(learner)
        && held.artifact == newest.digest
    {
        held.loaded = Some(loaded);
        // More may have come meanwhile: then the list is right for what was asked, and not kept.
        if let Some(user) = held.users.get_mut(user)
            && user.acts.len() == count
        {
            user.answer = Some(Arc::clone(&items));
        }
    }
    Ok(Some((items, count)))
}

/// Remembers the acts that the newest events tell of, as far as they came after the fit.
fn read_journal(app: &App, learner: &str, feedback: &Feedback, since: Timestamp) -> Result<()> {
    let workspace = app.workspace();
    let journal = events::journal(&workspace)?;
    let newest = journal_newest(&journal, workspace.dir(), Some(&feedback.topic), READ_MAX)?;
    let mut learners = app.fresh.learners();
    let held = learners.entry(learner.to_owned()).or_default();
    for message in newest.into_iter().filter(|message| message.at >= since) {
        let event: Option<Map<String, Value>> =
            message.text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        if let Some((user, act)) = event.and_then(|event| act_of(feedback, &event, message.at)) {
            let learner = learner.to_owned();
            held.add(Told { learner, user, offset: message.offset, act });
        }
    }
    held.read = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(user: &str, offset: i64) -> Told {
        let at = Timestamp::from_micros(offset);
        let act = Act { item: format!("i{offset}"), weight: 1.0, at };
        Told { learner: "l".to_owned(), user: user.to_owned(), offset, act }
    }

    fn offsets(learner: &Learner, user: &str) -> Vec<i64> {
        let acts = learner.users.get(user).map(|user| user.acts.iter());
        acts.into_iter().flatten().map(|(offset, ..)| *offset).collect()
    }

    #[test]
    fn an_act_counts_once_and_until_the_second_fit_after_it() {
        let mut learner = Learner::default();
        learner.turn_to("a");
        for offset in [5, 3, 5, 4] {
            learner.add(told("u", offset));
        }
        assert_eq!(offsets(&learner, "u"), [3, 4, 5]);
        learner.users.get_mut("u").unwrap().answer = Some(Arc::default());
        learner.turn_to("a");
        assert!(learner.users["u"].answer.is_some());
        learner.turn_to("b");
        assert!(learner.users["u"].answer.is_none());
        learner.add(told("u", 9));
        learner.add(told("v", 10));
        assert_eq!(offsets(&learner, "u"), [3, 4, 5, 9]);
        learner.turn_to("c");
        assert_eq!((offsets(&learner, "u"), offsets(&learner, "v")), (vec![9], vec![10]));
        learner.turn_to("d");
        assert!(learner.users.is_empty() && learner.order.is_empty());
    }

    #[test]
    fn what_is_remembered_has_limits() {
        let mut learner = Learner::default();
        for offset in 0..ACTS_MAX as i64 + 2 {
            learner.add(told("u", offset));
        }
        assert_eq!(offsets(&learner, "u").first(), Some(&2));
        for user in 0..USERS_MAX {
            learner.add(told(&user.to_string(), 1_000));
        }
        assert_eq!((learner.users.len(), learner.users.contains_key("u")), (USERS_MAX, false));
    }
}
