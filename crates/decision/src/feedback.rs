//! Recommendations that know what a user did since the fit.
//!
//! A fitted recommender answers for any history: what the tables say of the user, and what has come since. Nothing is
//! fitted here, and nothing is kept: who serves keeps what it needs.

use flywheel_algo::recommend::Recommender;
use flywheel_algo::recommend::history::UserHistory;
use flywheel_algo::recommend::interactions::Vocabulary;
use flywheel_algo::recommend::rank::{Ranker, columns};
use flywheel_algo::recommend::serve::{OwnedItems, Request, serve};
use flywheel_base::{Error, Result, Timestamp, statement, task};
use flywheel_project::resource::learner::{Feedback, Recommend};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::learner::recommend::{Restored, items, ranked, reason, restored};

/// Something that a user did.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// With which item.
    pub item: String,
    /// How much it counts.
    pub weight: f64,
    /// When.
    pub at: Timestamp,
}

/// An item of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// The item.
    pub item: String,
    /// How well it fits.
    pub score: f64,
    /// Why it stands there.
    pub reason: String,
}

/// What suits a user by all that is known now, and the artifact that said so.
#[derive(Clone, Debug, PartialEq)]
pub struct FreshList {
    /// The digest of the artifact.
    pub artifact: String,
    /// The best items, best first.
    pub items: Vec<Suggestion>,
}

/// The user and the act that an event tells of; none if it does not. An event is of the moment `arrived` unless it
/// says another one.
#[must_use]
pub fn act_of(
    feedback: &Feedback,
    event: &Map<String, Value>,
    arrived: Timestamp,
) -> Option<(String, Act)> {
    let text = |key: &str| match event.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let at = match &feedback.at {
        Some(key) => Timestamp::parse(event.get(key)?.as_str()?).ok()?,
        None => arrived,
    };
    let weight = match &feedback.weight {
        Some(key) => event.get(key)?.as_f64()?,
        None => 1.0,
    };
    Some((text(&feedback.user)?, Act { item: text(&feedback.item)?, weight, at }))
}

/// A fitted recommender in memory.
#[derive(Debug)]
pub struct Loaded {
    items: Vocabulary,
    models: Vec<Box<dyn Recommender>>,
    names: Vec<String>,
    available: Vec<bool>,
    ranker: Option<Ranker>,
    /// The columns that a ranker reads of each item.
    facts: Vec<Vec<f64>>,
    top: usize,
    repeats: bool,
}

impl Loaded {
    /// Reads the artifact `digest` of the learner `name`, and what its items are called and which can be had.
    ///
    /// # Errors
    /// Those of the artifact's file, and of the query for `items`.
    pub async fn read(
        ctx: &Context<'_>,
        name: &str,
        settings: &Recommend,
        digest: &str,
    ) -> Result<Self> {
        let catalogue = items(ctx, name, settings).await?;
        let (artifacts, digest) = (ctx.artifacts.clone(), digest.to_owned());
        let Restored { items, models, ranker } =
            task::compute(move || restored(&artifacts.get(&digest)?)).await?;
        let ids = || {
            (0..u32::try_from(items.len()).unwrap_or(u32::MAX)).filter_map(|item| items.id(item))
        };
        let name_of = |id: &str| catalogue.get(id).and_then(|item| item.name.clone());
        let names = ids().map(|id| name_of(id).unwrap_or_else(|| id.to_owned())).collect();
        let available =
            ids().map(|id| catalogue.get(id).is_none_or(|item| item.available)).collect();
        let features = settings.rank.as_ref().map(|rank| rank.features.clone()).unwrap_or_default();
        let unknown = || vec![f64::NAN; features.len()];
        let facts = ids()
            .map(|id| catalogue.get(id).map_or_else(unknown, |item| item.facts.clone()))
            .collect();
        // A ranker of other columns than the file names now waits for the next fit.
        let ranker = ranker.filter(|ranker| {
            settings.rank.is_some()
                && models
                    .first()
                    .is_some_and(|model| columns(model.as_ref(), &features) == ranker.columns())
        });
        let (top, repeats) = (settings.top, settings.repeats);
        Ok(Self { items, models, names, available, ranker, facts, top, repeats })
    }

    /// The best items of a user who did `past`, as the tables have it, and `fresh` since. What the tables have already
    /// counts once.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a fact of an item is nothing that a ranker takes.
    pub fn list(&self, past: &[Act], fresh: &[Act], now: Timestamp) -> Result<Vec<Suggestion>> {
        let mut history = UserHistory::empty(Some(now.micros()));
        let landed = |act: &Act| past.iter().any(|one| one.item == act.item && one.at >= act.at);
        for act in past.iter().chain(fresh.iter().filter(|act| !landed(act))) {
            // An item that came after the fit is not known to it.
            if let Some(item) = self.items.index(&act.item) {
                history.push(item, act.weight, Some(act.at.micros()));
            }
        }
        let models: Vec<&dyn Recommender> = self.models.iter().map(AsRef::as_ref).collect();
        let request = Request {
            owned: if self.repeats { OwnedItems::Include } else { OwnedItems::Exclude },
            available: Some(&self.available),
            ..Request::new(self.top)
        };
        let name = |item: u32| self.names.get(item as usize).map_or("", String::as_str);
        let of_item = |item: u32| self.facts.get(item as usize).cloned().unwrap_or_default();
        let list = serve(&models, &history, &request);
        let list = ranked(list, self.ranker.as_ref(), &models, &history, of_item)?;
        let listed = list.items.into_iter();
        let listed = listed
            .map(|listed| Suggestion {
                item: self.items.id(listed.item).unwrap_or_default().to_owned(),
                score: listed.score,
                reason: reason(&listed, name),
            })
            .collect();
        Ok(listed)
    }
}

/// What the tables say that a user did, with which the learner `name` would be fitted now.
///
/// # Errors
/// Those of the query for `interactions`.
pub async fn past(
    ctx: &Context<'_>,
    name: &str,
    settings: &Recommend,
    user: &str,
) -> Result<Vec<Act>> {
    let what = format!("learner \"{name}\": interactions");
    let interactions = ctx.render(&settings.interactions).map_err(|e| e.context(&what))?;
    let interactions = statement::one(&what, &interactions)?;
    let quoted = user.replace('\'', "''");
    let sql = format!(
        "select * from (\n{interactions}\n) as interactions where cast(user_id as varchar) = '{quoted}'"
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let weights =
        if frame.has("weight") { frame.numbers("weight")? } else { vec![None; frame.rows()] };
    let acts = frame.ids("item_id")?.into_iter().zip(frame.moments("at")?).zip(weights);
    Ok(acts
        .map(|((item, at), weight)| Act {
            item,
            weight: weight.unwrap_or(1.0),
            at: Timestamp::from_micros(at),
        })
        .collect())
}

/// The settings of a recommender.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is no such learner.
pub fn settings_of<'a>(ctx: &'a Context<'_>, name: &str) -> Result<&'a Recommend> {
    let learner = ctx.project.learners.get(name).and_then(|one| one.recommend.as_ref());
    learner.ok_or_else(|| Error::not_found(format!("no recommender \"{name}\"")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_tells_of_an_act_if_it_has_all_that_is_named() {
        let plain: Feedback = serde_json::from_value(json!({"user": "u", "item": "i"})).unwrap();
        assert_eq!(plain.topic, "events");
        let full = json!({"topic": "t", "user": "u", "item": "i", "at": "when", "weight": "w"});
        let full: Feedback = serde_json::from_value(full).unwrap();
        let now = Timestamp::from_micros(5);
        let act =
            |feedback: &Feedback, event: Value| act_of(feedback, event.as_object().unwrap(), now);
        let said = |weight: f64, at| {
            let act = Act { item: "7".to_owned(), weight, at };
            Some(("c-1".to_owned(), act))
        };
        let event = json!({"u": "c-1", "i": 7, "when": "1970-01-01T00:00:01Z", "w": 2.5});
        assert_eq!(act(&plain, event.clone()), said(1.0, now));
        assert_eq!(act(&full, event), said(2.5, Timestamp::from_micros(1_000_000)));
        for silent in [json!({"u": "c-1"}), json!({"u": null, "i": 7}), json!({"u": "", "i": 7})] {
            assert_eq!(act(&plain, silent), None);
        }
        assert_eq!(act(&full, json!({"u": "c-1", "i": 7, "when": "yesterday", "w": 1})), None);
    }
}
