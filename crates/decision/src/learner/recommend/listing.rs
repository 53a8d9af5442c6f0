//! What of a ranking is shown: the one place where lists are made, for tables, SQL, HTTP and policies.
//!
//! ```text
//! may be listed? stock, only, exclude, filter, owned ─► sources ─► ranker ─► rules ─► list, each item with its reason
//! ```
//! Invariants: what may not be listed is listed by nobody, pins and fill-ups included; the same history, artifact, rules and
//! stock make the same list.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use flywheel_algo::recommend::filter::{Attribute, Filter, Texts};
use flywheel_algo::recommend::history::UserHistory;
use flywheel_algo::recommend::interactions::Vocabulary;
use flywheel_algo::recommend::rank::Ranker;
use flywheel_algo::recommend::rules::{Boost, Limit, PINNED, Placed, Rules, Said, Similar};
use flywheel_algo::recommend::serve::{Listed, OwnedItems, Request, Shortfall, found};
use flywheel_algo::recommend::{Recommender, Training};
use flywheel_base::{Error, Result, Timestamp, suggest};
use flywheel_project::resource::learner::Recommend;

use super::{CatalogueItem, Known, ranked};
use crate::context::Context;

/// The source of an item that nobody has had yet and that fills a list up.
const NEW: &str = "new";

/// By how much more is looked at each time that rules left too few.
const LOOK_FURTHER: usize = 4;

/// What happens between a ranking and a list.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// What is known of items, by column.
    attributes: BTreeMap<String, Attribute>,
    /// Columns that callers may filter by.
    open: Vec<String>,
    /// Whether each item may be listed at all, stock left aside.
    may: Vec<bool>,
    /// Rules that change the order.
    rules: Rules,
    /// Items that a user had so long ago or less are left out.
    bought_within: Option<i64>,
    repeats: bool,
    /// How many items a list has.
    pub(crate) top: usize,
}

/// What makes the ranking.
pub(crate) struct Sources<'a> {
    pub(crate) models: Vec<&'a dyn Recommender>,
    pub(crate) ranker: Option<&'a Ranker>,
    /// The columns that a ranker reads of each item.
    pub(crate) facts: &'a [Vec<f64>],
}

/// What is asked for beside the rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// How many items.
    pub(crate) count: usize,
    /// Which items can be had; all if absent.
    pub(crate) stock: Option<&'a [bool]>,
    /// Which items pass a filter; all if absent.
    pub(crate) passing: Option<&'a [bool]>,
    /// Items that are left out.
    pub(crate) excluded: &'a [u32],
    /// Whether items that nobody had fill up a list that is too short.
    pub(crate) filled_up: bool,
}

impl Wanted<'_> {
    /// So many items, without more.
    pub(crate) fn top(count: usize) -> Self {
        Self { count, stock: None, passing: None, excluded: &[], filled_up: false }
    }
}

/// A list, and why it is shorter than asked for.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) items: Vec<Placed>,
    pub(crate) shortfall: Option<Shortfall>,
}

/// The columns of items that rules and filters look at.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if a condition of the rules is none.
pub(super) fn columns(settings: &Recommend) -> Result<Vec<String>> {
    let mut columns: BTreeSet<String> = settings.attributes.iter().cloned().collect();
    if let Some(rules) = &settings.rules {
        columns.extend(rules.columns().map(str::to_owned));
        for (key, text) in rules.conditions() {
            let filter = Filter::parse(text).map_err(|e| e.context(format!("rules: {key}")))?;
            columns.extend(filter.attributes().map(str::to_owned));
        }
    }
    Ok(columns.into_iter().collect())
}

/// What can be had now by the learner's own query; none if it has none.
///
/// # Errors
/// Those of the query.
pub(crate) async fn stock(
    ctx: &Context<'_>,
    name: &str,
    settings: &Recommend,
) -> Result<Option<HashSet<String>>> {
    let Some(sql) = &settings.available else { return Ok(None) };
    let what = format!("learner \"{name}\": available");
    Ok(Some(ctx.frame(&what, sql).await?.ids("item_id")?.into_iter().collect()))
}

/// Whether each item is among those that can be had.
pub(crate) fn in_stock(items: &Vocabulary, stock: &HashSet<String>) -> Vec<bool> {
    ids(items).map(|id| stock.contains(id)).collect()
}

fn ids(items: &Vocabulary) -> impl Iterator<Item = &str> {
    (0..u32::try_from(items.len()).unwrap_or(u32::MAX)).filter_map(move |item| items.id(item))
}

impl Listing {
    /// What the file and the items say. Likeness that is learned is put in by [`Listing::alike`].
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a rule does not fit the items, with what is wrong.
    pub(crate) fn new(
        settings: &Recommend,
        items: &Vocabulary,
        catalogue: &BTreeMap<String, CatalogueItem>,
    ) -> Result<Self> {
        let attributes: BTreeMap<String, Attribute> = columns(settings)?
            .into_iter()
            .enumerate()
            .map(|(place, name)| (name, attribute(items, catalogue, place)))
            .collect();
        let count = items.len();
        let mut may: Vec<bool> =
            ids(items).map(|id| catalogue.get(id).is_none_or(|item| item.available)).collect();
        let mut rules = Rules::default();
        let mut bought_within = None;
        if let Some(declared) = &settings.rules {
            let condition = |key: &str, text: &str| {
                Filter::parse(text)
                    .and_then(|filter| filter.passes(&attributes, count))
                    .map_err(|e| e.context(format!("rules: {key}")))
            };
            if let Some(only) = &declared.only {
                let passing = condition("only", only)?;
                may.iter_mut().zip(passing).for_each(|(may, passes)| *may = *may && passes);
            }
            for item in declared.exclude.iter().filter_map(|id| items.index(id)) {
                if let Some(may) = may.get_mut(item as usize) {
                    *may = false;
                }
            }
            for (at, boost) in declared.boost.iter().enumerate() {
                let items = condition(&format!("boost, number {}", at + 1), &boost.items)?;
                rules.boosts.push(Boost { called: boost.items.clone(), by: boost.by, items });
            }
            for (attribute, most) in &declared.at_most {
                let groups = groups(&attributes, attribute)?;
                rules.limits.push(Limit { attribute: attribute.clone(), most: *most, groups });
            }
            rules.pinned = declared.pin.iter().filter_map(|id| items.index(id)).collect();
            rules.diversity = declared.diversity.unwrap_or_default();
            if let Some(by) = declared.similar_column() {
                rules.similar = Some(Similar::Group(groups(&attributes, by)?));
            }
            rules.check()?;
            bought_within = declared.bought_within.map(|time| time.micros);
        }
        Ok(Self {
            attributes,
            open: settings.attributes.clone(),
            may,
            rules,
            bought_within,
            repeats: settings.repeats,
            top: settings.top,
        })
    }

    /// Learns the likeness that the rules ask for, if it is one that is learned.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there is nothing to learn it from.
    pub(crate) fn learn_likeness(
        &mut self,
        settings: &Recommend,
        training: &Training<'_>,
    ) -> Result<()> {
        let by = settings.rules.as_ref().and_then(|rules| rules.similar_by.as_deref());
        let similar = match by {
            Some("content") => {
                let texts = training.texts.ok_or_else(|| {
                    Error::invalid("rules: similar_by is content, and no item has a text")
                        .hint("Add a column `text` to the query `items`.")
                })?;
                Similar::content(texts)
            }
            Some("embedding") => Similar::embeddings(training),
            Some("co-occurrence") => Similar::together(training.interactions),
            _ => return Ok(()),
        };
        self.rules.similar = Some(similar.map_err(|e| e.context("rules: similar_by"))?);
        Ok(())
    }

    /// Takes the likeness that was learned with an artifact. Without one, or with one of another kind than the file asks for
    /// now, variety waits for the next fit.
    pub(crate) fn alike(&mut self, settings: &Recommend, similar: Option<Similar>) {
        let by = settings.rules.as_ref().and_then(|rules| rules.similar_by.as_deref());
        if self.rules.similar.is_none() {
            self.rules.similar = similar.filter(|similar| similar.learned_from() == by);
        }
    }

    /// Whether variety is asked for that is not learned yet.
    pub(crate) fn varies_later(&self) -> bool {
        self.rules.diversity > 0.0 && self.rules.similar.is_none()
    }

    /// The likeness to be stored, if one was learned.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Internal`] if it cannot be written.
    pub(super) fn likeness(&self) -> Result<Option<Vec<u8>>> {
        self.rules.similar.as_ref().map_or(Ok(None), Similar::to_bytes)
    }

    /// Whether each item passes a filter of a caller's.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is none, or asks for what the learner does not open to callers.
    pub(crate) fn passing(&self, filter: &str) -> Result<Vec<bool>> {
        let filter = Filter::parse(filter)?;
        if self.open.is_empty() {
            return Err(Error::invalid("this learner has no attributes to filter by").hint(
                "Name columns of its query `items` in its file: `attributes: [category, brand]`.",
            ));
        }
        let open: BTreeSet<&str> = self.open.iter().map(String::as_str).collect();
        if let Some(other) = filter.attributes().find(|name| !open.contains(name)) {
            return Err(Error::invalid(format!("there is no attribute \"{other}\" to filter by"))
                .hint(suggest::hint(other, open.iter().copied())));
        }
        filter.passes(&self.attributes, self.may.len())
    }

    /// Makes a list.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a fact of an item is nothing that a ranker takes.
    pub(crate) fn list(
        &self,
        sources: &Sources<'_>,
        history: &UserHistory,
        now: Timestamp,
        wanted: &Wanted<'_>,
    ) -> Result<Shown> {
        let may = self.may_now(wanted);
        let excluded = self.recent(history, now);
        let listable = |item: u32| {
            may.get(item as usize).copied().unwrap_or(false)
                && (self.repeats || !history.owns(item))
                && !excluded.contains(&item)
        };
        let of_item = |item: u32| sources.facts.get(item as usize).cloned().unwrap_or_default();
        let mut pool = self.rules.pool(wanted.count);
        loop {
            let request = Request {
                owned: if self.repeats { OwnedItems::Include } else { OwnedItems::Exclude },
                available: Some(&may),
                excluded: &excluded,
                ..Request::new(pool)
            };
            let (list, places) = found(&sources.models, history, &request);
            let (whole, shortfall) = (list.items.len() < pool, list.shortfall);
            let mut listed = ranked(list, sources.ranker, &sources.models, history, of_item)?.items;
            // Rules may pass over new items as well: then more of them are looked at.
            let more = whole && wanted.filled_up && fill_up(&mut listed, pool, may.len(), listable);
            let whole = whole && !more;
            let mut items = self.rules.apply(listed, wanted.count, listable);
            let enough = items.len() >= wanted.count;
            if enough || whole {
                // Only what is shown is explained.
                let shown = items.iter_mut().map(|placed| &mut placed.listed);
                places.explain(&sources.models, history, shown);
            }
            if enough {
                return Ok(Shown { items, shortfall: None });
            }
            if whole {
                let shortfall = shortfall.filter(|_| items.is_empty());
                let shortfall = shortfall.or(Some(Shortfall::Filtered));
                return Ok(Shown { items, shortfall });
            }
            pool = pool.saturating_mul(LOOK_FURTHER);
        }
    }

    /// Leaves out for good what is not in stock.
    pub(super) fn narrow(&mut self, stock: &[bool]) {
        narrow(&mut self.may, stock);
    }

    /// Whether each item may be listed for this question.
    fn may_now(&self, wanted: &Wanted<'_>) -> Cow<'_, [bool]> {
        let mut may = Cow::Borrowed(self.may.as_slice());
        for more in [wanted.stock, wanted.passing].into_iter().flatten() {
            narrow(may.to_mut(), more);
        }
        // Marked once: a long list would be gone through for each item.
        if !wanted.excluded.is_empty() {
            let may = may.to_mut();
            for item in wanted.excluded {
                if let Some(may) = may.get_mut(*item as usize) {
                    *may = false;
                }
            }
        }
        may
    }

    /// What a user had lately.
    fn recent(&self, history: &UserHistory, now: Timestamp) -> Vec<u32> {
        let Some(within) = self.bought_within else { return Vec::new() };
        let since = now.micros().saturating_sub(within);
        let lately = history
            .owned()
            .iter()
            .filter(|owned| owned.times.last().is_some_and(|last| *last >= since));
        lately.map(|owned| owned.item).collect()
    }
}

/// Leaves only what is in `more` too.
fn narrow(may: &mut [bool], more: &[bool]) {
    for (place, may) in may.iter_mut().enumerate() {
        *may = *may && more.get(place).copied().unwrap_or(false);
    }
}

/// Adds items that no source knows anything of to a list that all sources could not fill; whether there are more of them.
fn fill_up(
    listed: &mut Vec<Listed>,
    pool: usize,
    items: usize,
    listable: impl Fn(u32) -> bool,
) -> bool {
    let known: HashSet<u32> = listed.iter().map(|one| one.item).collect();
    let mut new = (0..u32::try_from(items).unwrap_or(u32::MAX))
        .filter(|item| !known.contains(item) && listable(*item));
    listed.extend(new.by_ref().take(pool.saturating_sub(known.len())).map(|item| Listed {
        item,
        score: 0.0,
        source: NEW.to_owned(),
        because: None,
    }));
    new.next().is_some()
}

fn groups(attributes: &BTreeMap<String, Attribute>, name: &str) -> Result<Vec<u32>> {
    let attribute = attributes.get(name);
    let attribute =
        attribute.ok_or_else(|| Error::internal(format!("column \"{name}\" was not read")))?;
    Ok(attribute.groups())
}

/// A column of all items: numbers if it holds them for every item that the catalogue has.
fn attribute(
    items: &Vocabulary,
    catalogue: &BTreeMap<String, CatalogueItem>,
    place: usize,
) -> Attribute {
    let known = |id: &str| catalogue.get(id).and_then(|item| item.known.get(place));
    let numbers = catalogue
        .values()
        .next()
        .is_some_and(|item| matches!(item.known.get(place), Some(Known::Number(_))));
    if numbers {
        let number = |id: &str| match known(id) {
            Some(Known::Number(number)) => *number,
            _ => f64::NAN,
        };
        return Attribute::Numbers(ids(items).map(number).collect());
    }
    let text = |id: &str| match known(id) {
        Some(Known::Text(text)) => text.clone(),
        _ => None,
    };
    Attribute::Texts(Texts::new(ids(items).map(text)))
}

/// Why an item stands in a list, as people read it: what the sources say, then what rules did.
pub(crate) fn reason<'a>(placed: &Placed, name: impl Fn(u32) -> &'a str) -> String {
    let listed = &placed.listed;
    let mut parts: Vec<String> = Vec::new();
    match (listed.source.as_str(), listed.because) {
        (PINNED, _) => {}
        (NEW, _) => parts.push("new: nobody has had it yet".to_owned()),
        ("repeat", _) => parts.push("bought before and due again".to_owned()),
        (_, Some(owned)) => parts.push(format!("because of {}", name(owned))),
        (source, None) if source.contains("popular") => parts.push("popular now".to_owned()),
        (source, None) => parts.push(source.to_owned()),
    }
    parts.extend(placed.said.iter().map(|said| match said {
        Said::Pinned => "pinned by rule".to_owned(),
        Said::Boosted { by, called } => format!("counts {by} times by rule ({called})"),
        Said::Varied { from } => format!("for variety before items ranked higher than its {from}"),
        Said::Limited { attribute, most } => {
            format!("moved up, as a list has at most {most} of one {attribute}")
        }
    }));
    parts.join("; ")
}

#[cfg(test)]
mod tests;
