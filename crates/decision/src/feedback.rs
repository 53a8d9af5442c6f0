//! Recommendations that know what a user did since the fit.
//!
//! A fitted recommender answers for any history: what the tables say of the user, and what has come since. Nothing is
//! fitted here, and nothing is kept: who serves keeps what it needs.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_algo::recommend::Recommender;
use flywheel_algo::recommend::history::UserHistory;
use flywheel_algo::recommend::interactions::Vocabulary;
use flywheel_algo::recommend::rank::{Ranker, columns};
use flywheel_algo::recommend::serve::Shortfall;
use flywheel_base::{Error, Result, Timestamp, statement, task};
use flywheel_project::resource::learner::{Feedback, Recommend};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::learner::recommend::listing::{self, Listing, Sources, Wanted, in_stock, reason};
use crate::learner::recommend::{Restored, items, moments, restored};

/// Filters whose items are remembered for one artifact; of more all are worked out anew.
const FILTERS_MAX: usize = 256;

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
    /// What speaks most for it: `repeat`, `ease`, `popularity`, `pinned`, `new`, …
    pub source: String,
}

/// The items that can be had.
pub type Stock = Arc<HashSet<String>>;

/// What somebody asks for beside the learner's own rules.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// How many items; as many as the learner keeps if absent.
    pub count: Option<usize>,
    /// Conditions on attributes of items, such as `category:shoes,price<50`.
    pub filter: Option<String>,
    /// Items that are left out.
    pub excluded: Vec<String>,
    /// What can be had, where the learner has a query for it.
    pub stock: Option<Stock>,
    /// Whether items that nobody has had yet fill up a list that is too short.
    pub filled_up: bool,
}

/// An answer, and why it has fewer items than asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suggested {
    /// The items, best first.
    pub items: Vec<Suggestion>,
    /// Why there are fewer: `no-evidence` or `filtered`.
    pub shortfall: Option<&'static str>,
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

/// What reasons say where the likeness that the file asks for is not that of the artifact.
const VARIED_LATER: &str = "; variety from the next fit on";

/// A fitted recommender in memory.
#[derive(Debug)]
pub struct Loaded {
    items: Vocabulary,
    models: Vec<Box<dyn Recommender>>,
    names: Vec<String>,
    ranker: Option<Ranker>,
    /// The columns that a ranker reads of each item.
    facts: Vec<Vec<f64>>,
    listing: Listing,
    /// Which items pass each filter that was asked with.
    filters: Mutex<BTreeMap<String, Arc<Vec<bool>>>>,
    /// Which items are in stock, of the last stock that was asked with.
    stocked: Mutex<Option<(Stock, Arc<Vec<bool>>)>>,
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
        let Restored { items, models, ranker, similar } =
            task::compute(move || restored(&artifacts.get(&digest)?)).await?;
        let ids = || {
            (0..u32::try_from(items.len()).unwrap_or(u32::MAX)).filter_map(|item| items.id(item))
        };
        let name_of = |id: &str| catalogue.get(id).and_then(|item| item.name.clone());
        let names = ids().map(|id| name_of(id).unwrap_or_else(|| id.to_owned())).collect();
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
        let mut listing = Listing::new(settings, &items, &catalogue)?;
        listing.alike(settings, similar);
        let (filters, stocked) = (Mutex::default(), Mutex::default());
        Ok(Self { items, models, names, ranker, facts, listing, filters, stocked })
    }

    /// The best items of a user who did `past`, as the tables have it, and `fresh` since. What the tables have already
    /// counts once.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a filter is none or asks for what the learner does not open, or if a fact
    /// of an item is nothing that a ranker takes.
    /// # Cost
    /// One scoring of the catalogue; a filter and a stock are worked out once for all who ask with them.
    pub fn list(
        &self,
        past: &[Act],
        fresh: &[Act],
        now: Timestamp,
        question: &Question,
    ) -> Result<Suggested> {
        let mut history = UserHistory::empty(Some(now.micros()));
        let landed = |act: &Act| past.iter().any(|one| one.item == act.item && one.at >= act.at);
        for act in past.iter().chain(fresh.iter().filter(|act| !landed(act))) {
            // An item that came after the fit is not known to it.
            if let Some(item) = self.items.index(&act.item) {
                history.push(item, act.weight, Some(act.at.micros()));
            }
        }
        let passing = question.filter.as_deref().map(|text| self.passing(text)).transpose()?;
        let stock = question.stock.as_ref().map(|stock| self.in_stock(stock));
        let excluded: Vec<u32> =
            question.excluded.iter().filter_map(|id| self.items.index(id)).collect();
        let models: Vec<&dyn Recommender> = self.models.iter().map(AsRef::as_ref).collect();
        let sources = Sources { models, ranker: self.ranker.as_ref(), facts: &self.facts };
        let wanted = Wanted {
            count: question.count.unwrap_or(self.listing.top),
            stock: stock.as_ref().map(|stock| stock.as_slice()),
            passing: passing.as_ref().map(|passing| passing.as_slice()),
            excluded: &excluded,
            filled_up: question.filled_up,
        };
        let shown = self.listing.list(&sources, &history, now, &wanted)?;
        let name = |item: u32| self.names.get(item as usize).map_or("", String::as_str);
        let later = if self.listing.varies_later() { VARIED_LATER } else { "" };
        let items = shown.items.iter().map(|placed| Suggestion {
            item: self.items.id(placed.listed.item).unwrap_or_default().to_owned(),
            score: placed.listed.score,
            reason: reason(placed, name) + later,
            source: placed.listed.source.clone(),
        });
        let shortfall = shown.shortfall.map(|shortfall| match shortfall {
            Shortfall::NoEvidence => "no-evidence",
            Shortfall::Filtered => "filtered",
        });
        Ok(Suggested { items: items.collect(), shortfall })
    }

    fn passing(&self, text: &str) -> Result<Arc<Vec<bool>>> {
        {
            let known = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(passing) = known.get(text) {
                return Ok(Arc::clone(passing));
            }
        }
        let passing = Arc::new(self.listing.passing(text)?);
        let mut known = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= FILTERS_MAX {
            known.clear();
        }
        known.insert(text.to_owned(), Arc::clone(&passing));
        Ok(passing)
    }

    fn in_stock(&self, stock: &Stock) -> Arc<Vec<bool>> {
        {
            let known = self.stocked.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((of, have)) = known.as_ref()
                && Arc::ptr_eq(of, stock)
            {
                return Arc::clone(have);
            }
        }
        let have = Arc::new(in_stock(&self.items, stock));
        let kept = Some((Arc::clone(stock), Arc::clone(&have)));
        *self.stocked.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        have
    }
}

/// What can be had now, by the query of the learner `name`; none if it has none.
///
/// # Errors
/// Those of the query.
pub async fn stock(ctx: &Context<'_>, name: &str, settings: &Recommend) -> Result<Option<Stock>> {
    Ok(listing::stock(ctx, name, settings).await?.map(Arc::new))
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
    let acts = frame.ids("item_id")?.into_iter().zip(moments(settings, &frame)?).zip(weights);
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
