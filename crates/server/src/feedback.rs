//! What users did since their recommender was fitted, in memory: it counts in the next answer.
//!
//! ```text
//! event acknowledged ─► its act is remembered ─► next question: tables' past + acts ─► list, kept until more comes
//! ```
//! Nothing is lost with it: after a restart the newest events are read from the journal again. How long an act is
//! remembered says [`Remembered`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use flywheel_base::{Result, Timestamp};
use flywheel_connect::journal_newest;
use flywheel_decision::feedback::{Act, Loaded, Question, Stock, Suggestion, act_of};
use flywheel_project::resource::learner::Feedback;
use flywheel_runtime::feedback::remembered::{Known, Remembered};
use flywheel_runtime::{Workspace, events, feedback};
use flywheel_state::Artifact;
use serde_json::{Map, Value};

use crate::app::{App, ended};
use crate::http::recommend::Item;

/// Events that are read from the journal after a restart.
const READ_MAX: u32 = 100_000;

/// How long what can be had is taken for true.
const STOCK_FOR: Duration = Duration::from_secs(30);

/// Users whose past is remembered for one artifact; of more all are read anew.
const PASTS_MAX: usize = 10_000;

/// An act, of whom, and the offset of the event that told of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    learner: String,
    user: String,
    offset: i64,
    act: Act,
}

#[derive(Debug, Default)]
struct Learner {
    acts: Remembered<List>,
    loaded: Option<Arc<Loaded>>,
    /// What the tables said of users that were asked for since the fit.
    pasts: HashMap<String, Arc<Vec<Act>>>,
    /// What can be had, and since when that is known.
    stock: Option<(Instant, Stock)>,
    /// By whose declarations it is loaded.
    workspace: Weak<Workspace>,
    /// Whether the journal was read.
    read: bool,
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
            let Told { learner, user, offset, act } = one;
            learners.entry(learner).or_default().acts.add(user, first_offset + offset, act);
        }
    }

    /// What the user did since the fit, with the list that takes it into account, if it was made already.
    fn known(&self, learner: &str, user: &str) -> Option<Known<List>> {
        self.learners().get(learner)?.acts.known(user)
    }
}

/// Turns to the newest artifact and the declarations of now, and reads the newest events if the learner takes account of
/// them and that was not done yet.
async fn ready(app: &Arc<App>, learner: &str, newest: &Artifact) -> Result<()> {
    let workspace = app.workspace();
    let settings = workspace.project.learners.get(learner).and_then(|one| one.recommend.as_ref());
    let declared = settings.and_then(|settings| settings.feedback.as_ref());
    let read = {
        let mut learners = app.fresh.learners();
        let held = learners.entry(learner.to_owned()).or_default();
        let now = Arc::downgrade(&workspace);
        let turned = held.acts.turn_to(&newest.digest);
        if turned || !held.workspace.ptr_eq(&now) {
            (held.loaded, held.workspace) = (None, now);
            held.pasts.clear();
        }
        held.read
    };
    if let Some(declared) = declared
        && !read
    {
        let (since, name, declared) = (newest.fitted_at, learner.to_owned(), declared.clone());
        app.blocking(move |app| read_journal(app, &name, &declared, since)).await?;
    }
    Ok(())
}

/// What can be had now, where the learner has a query for it.
pub(crate) async fn stock(app: &Arc<App>, learner: &str) -> Result<Option<Stock>> {
    let workspace = app.workspace();
    let settings = workspace.project.learners.get(learner).and_then(|one| one.recommend.as_ref());
    if settings.is_none_or(|settings| settings.available.is_none()) {
        return Ok(None);
    }
    {
        let learners = app.fresh.learners();
        let known = learners.get(learner).and_then(|held| held.stock.as_ref());
        if let Some((since, stock)) = known
            && since.elapsed() < STOCK_FOR
        {
            return Ok(Some(Arc::clone(stock)));
        }
    }
    let name = learner.to_owned();
    let read = app.with(move |workspace| async move { feedback::stock(&workspace, &name).await });
    let read = read.await?;
    if let Some(stock) = &read {
        let kept = (Instant::now(), Arc::clone(stock));
        app.fresh.learners().entry(learner.to_owned()).or_default().stock = Some(kept);
    }
    Ok(read)
}

/// An item as it is answered.
fn item(one: Suggestion) -> Item {
    Item {
        item: one.item,
        score: Some(one.score),
        reason: Some(one.reason),
        source: Some(one.source),
    }
}

/// An answer that was made for one question.
pub(crate) struct Answered {
    pub(crate) items: Vec<Item>,
    /// How many events since the fit it takes account of.
    pub(crate) acts: usize,
    /// Whether anything is known of the user.
    pub(crate) known: bool,
    /// Why it has fewer items than asked for.
    pub(crate) shortfall: Option<&'static str>,
}

/// The list of a user for one question, made now.
pub(crate) async fn asked(
    app: &Arc<App>,
    learner: &str,
    user: &str,
    newest: &Artifact,
    question: Question,
) -> Result<Answered> {
    let declared = Arc::downgrade(&app.workspace());
    ready(app, learner, newest).await?;
    let stock = stock(app, learner).await?;
    let (loaded, past) = {
        let learners = app.fresh.learners();
        let held = learners.get(learner);
        (
            held.and_then(|held| held.loaded.clone()),
            held.and_then(|held| held.pasts.get(user).map(Arc::clone)),
        )
    };
    let acts = app.fresh.known(learner, user).map(|known| known.acts).unwrap_or_default();
    let count = acts.len();
    // Only what has to be read waits for others that read.
    let _turn = match loaded.is_some() && past.is_some() {
        true => None,
        false => Some(app.querying.acquire().await.map_err(|_| ended("answering"))?),
    };
    let (name, who, digest) = (learner.to_owned(), user.to_owned(), newest.digest.clone());
    let question = Question { stock, ..question };
    let (loaded, past, made) = app
        .with(move |workspace| async move {
            let loaded = match loaded {
                Some(loaded) => loaded,
                None => Arc::new(feedback::load(&workspace, &name, &digest).await?),
            };
            let past = match past {
                Some(past) => past,
                None => Arc::new(feedback::past(&workspace, &name, &who).await?),
            };
            let made = loaded.list(&past, &acts, workspace.now(), &question)?;
            Ok((loaded, past, made))
        })
        .await?;
    let known = count > 0 || !past.is_empty();
    let mut learners = app.fresh.learners();
    // What was made by declarations of before is not kept.
    if let Some(held) = learners.get_mut(learner)
        && held.acts.artifact() == newest.digest
        && held.workspace.ptr_eq(&declared)
    {
        held.loaded = Some(loaded);
        if held.pasts.len() >= PASTS_MAX {
            held.pasts.clear();
        }
        held.pasts.insert(user.to_owned(), past);
    }
    let items = made.items.into_iter().map(item).collect();
    Ok(Answered { items, acts: count, known, shortfall: made.shortfall })
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
    if settings.is_none_or(|settings| settings.feedback.is_none()) {
        return Ok(None);
    }
    ready(app, learner, newest).await?;
    let Some(known) = app.fresh.known(learner, user) else { return Ok(None) };
    let count = known.acts.len();
    if let Some(made) = &known.answer {
        return Ok(Some((Arc::clone(made), count)));
    }
    let question = Question { stock: stock(app, learner).await?, ..Question::default() };
    let _turn = app.querying.acquire().await.map_err(|_| ended("answering"))?;
    let loaded = app.fresh.learners().get(learner).and_then(|one| one.loaded.clone());
    let (name, who, digest) = (learner.to_owned(), user.to_owned(), newest.digest.clone());
    let acts = known.acts.clone();
    let (loaded, items) = app
        .with(move |workspace| async move {
            let loaded = match loaded {
                Some(loaded) => loaded,
                None => Arc::new(feedback::load(&workspace, &name, &digest).await?),
            };
            let past = feedback::past(&workspace, &name, &who).await?;
            let listed = loaded.list(&past, &acts, workspace.now(), &question)?;
            Ok((loaded, Arc::new(listed.items.into_iter().map(item).collect::<Vec<_>>())))
        })
        .await?;
    let mut learners = app.fresh.learners();
    if let Some(held) = learners.get_mut(learner)
        && held.acts.artifact() == newest.digest
        && held.workspace.ptr_eq(&Arc::downgrade(&workspace))
    {
        held.loaded = Some(loaded);
        held.acts.keep(user, &known, Arc::clone(&items));
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
            held.acts.add(user, message.offset, act);
        }
    }
    held.read = true;
    Ok(())
}
