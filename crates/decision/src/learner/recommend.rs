//! `recommend`: which items each user wants next, with a reason beside each.

pub(crate) mod had;
pub(crate) mod listing;
mod rank;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flywheel_algo::recommend::choose::{Budget, Choice, Measure as ChosenBy, choose};
use flywheel_algo::recommend::evaluate::{Depth, Known as KnownOf, Quality, Split, evaluate};
use flywheel_algo::recommend::history::UserHistory;
use flywheel_algo::recommend::interactions::{Interaction, Interactions, Vocabulary};
use flywheel_algo::recommend::rank::{Ranker, facts};
use flywheel_algo::recommend::rules::{Placed, Similar};
use flywheel_algo::recommend::serve::{List, OwnedItems};
use flywheel_algo::recommend::{Recommender, Training, fit, load, together};
use flywheel_base::calendar::{moment_of, shown_at, time_zone};
use flywheel_base::{Error, Result, Timestamp, task};
use flywheel_project::resource::learner::{Recommend, RecommendAlgorithm, TuneMeasure};
use flywheel_warehouse::WriteMode;
use serde::Serialize;
use serde_json::{Value, json};

use self::had::{HAD, Had};
use self::listing::{Listing, Sources, Wanted, in_stock, reason};
use super::{ARTIFACT, Fitted, LearnerEntry, Measure, write_scores};
use crate::artifact::Artifacts;
use crate::context::Context;
use crate::frame::Frame;
use crate::table::ColumnType::{Integer, Moment, Number, Text};

/// The user whose list is for everybody of whom nothing is known.
pub const EVERYBODY: &str = "*";

/// Its entry.
pub(crate) const ENTRY: LearnerEntry = LearnerEntry {
    name: "recommend",
    about: "Which items each user wants next; user_id \"*\" is the list for everybody of whom nothing is known.",
    columns: &[
        ("user_id", Text, "the user, or * for everybody else"),
        ("rank", Integer, "the place in the list, from 1"),
        ("item_id", Text, "the item"),
        ("score", Number, "the larger the better, comparable within one user"),
        ("reason", Text, "why it stands there"),
        ("source", Text, "the algorithm that speaks most for it"),
        ("scored_at", Moment, "the logical moment"),
        ARTIFACT,
    ],
};

#[derive(Serialize)]
struct Row {
    user_id: String,
    rank: i64,
    item_id: String,
    score: f64,
    reason: String,
    source: String,
    scored_at: Timestamp,
    artifact: String,
}

/// Everything a fit reads.
struct Data {
    users: Vocabulary,
    items: Vocabulary,
    interactions: Interactions,
    texts: Option<Vec<String>>,
    /// The embedding of each item, empty without one.
    vectors: Option<Vec<Vec<f32>>>,
    names: Vec<String>,
    /// What happens to a ranked list, with what can be had now.
    listing: Listing,
    /// The columns that a ranker reads of each item.
    facts: Vec<Vec<f64>>,
    /// Rows that count.
    rows: usize,
    /// Rows of later than the moment of the fit, which were left out.
    later: usize,
    /// What is told of rows that are of hardly later than the fit.
    ahead: Option<String>,
}

/// Fits, judges on held-back time if asked to, and scores everybody.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Recommend,
) -> Result<(Fitted, String, u64)> {
    let data = read(ctx, name, settings).await?;
    let log = match &settings.rank {
        Some(rank) => Some(rank::read(ctx, rank).await?),
        None => None,
    };
    let artifacts = ctx.artifacts.clone();
    let now = ctx.now;
    let settings = settings.clone();
    let repeats = settings.repeats;
    let (mut fitted, lists, data, had) = task::compute(move || {
        let log = log.map(|log| (log, artifacts));
        let (fitted, lists, data) = fit_and_serve(data, log, &settings, now)?;
        let had = (!repeats).then(|| Had::of(&data.users, &data.items, &data.interactions));
        Ok((fitted, lists, data, had))
    })
    .await?;
    if let Some((had, detail)) = had.zip(fitted.detail.as_object_mut()) {
        detail.insert(HAD.to_owned(), json!(ctx.artifacts.put(had.bytes())?));
    }
    let artifact = ctx.artifacts.put(&fitted.bytes)?;
    let rows = rows(&data, &lists, now, &artifact);
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    Ok((fitted, artifact, count))
}

async fn read(ctx: &Context<'_>, name: &str, settings: &Recommend) -> Result<Data> {
    let what = format!("learner \"{name}\": interactions");
    let frame = ctx.frame(&what, &settings.interactions).await?;
    let (user_ids, item_ids, moments) =
        (frame.ids("user_id")?, frame.ids("item_id")?, moments(settings, &frame)?);
    let ahead = ahead(settings, &moments, ctx.now);
    refuse_everybody(&what, &user_ids)?;
    let weights =
        if frame.has("weight") { frame.numbers("weight")? } else { vec![Some(1.0); frame.rows()] };
    let catalogue = items(ctx, name, settings).await?;
    let stock = listing::stock(ctx, name, settings).await?;
    // What comes after the moment of the fit is not known yet: a replay over rows that landed at once learns no future.
    let rows = user_ids.iter().zip(&item_ids).zip(moments).zip(weights);
    let rows: Vec<_> = rows.filter(|((_, at), _)| *at <= ctx.now.micros()).collect();
    let later = user_ids.len() - rows.len();
    let users = Vocabulary::new(rows.iter().map(|(((user, _), _), _)| user.as_str()))?;
    let items = Vocabulary::new(
        rows.iter()
            .map(|(((_, item), _), _)| item.as_str())
            .chain(catalogue.keys().map(String::as_str)),
    )?;
    let known = |vocabulary: &Vocabulary, id: &str| {
        vocabulary
            .index(id)
            .ok_or_else(|| Error::internal("an id is missing in its own vocabulary"))
    };
    let mut events = Vec::with_capacity(rows.len());
    for (((user, item), at), weight) in rows {
        let weight = weight.unwrap_or(1.0);
        refuse_weight(&what, user, item, weight)?;
        let (user, item) = (known(&users, user)?, known(&items, item)?);
        events.push(Interaction { user, item, weight, at: Some(at) });
    }
    let rows = events.len();
    let interactions =
        Interactions::new(users.len(), items.len(), events).map_err(|e| e.context(&what))?;
    let of_item =
        |index: usize| items.id(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or_default();
    let column = |pick: &dyn Fn(Option<&CatalogueItem>, &str) -> String| -> Vec<String> {
        (0..items.len()).map(|index| pick(catalogue.get(of_item(index)), of_item(index))).collect()
    };
    let has_text = catalogue.values().any(|item| item.text.is_some());
    let texts = has_text
        .then(|| column(&|item, _| item.and_then(|item| item.text.clone()).unwrap_or_default()));
    let names = column(&|item, id| {
        item.and_then(|item| item.name.clone()).unwrap_or_else(|| id.to_owned())
    });
    let mut listing = Listing::new(settings, &items, &catalogue)?;
    if let Some(stock) = stock {
        listing.narrow(&in_stock(&items, &stock));
    }
    let vectors = catalogue.values().any(|item| !item.vector.is_empty()).then(|| {
        let of_place = |index| catalogue.get(of_item(index)).map(|item| item.vector.clone());
        (0..items.len()).map(|index| of_place(index).unwrap_or_default()).collect()
    });
    let unknown = vec![f64::NAN; features(settings).len()];
    let facts = (0..items.len())
        .map(|index| {
            catalogue.get(of_item(index)).map_or_else(|| unknown.clone(), |item| item.facts.clone())
        })
        .collect();
    Ok(Data {
        users,
        items,
        interactions,
        texts,
        vectors,
        names,
        listing,
        facts,
        rows,
        later,
        ahead,
    })
}

/// Fails if a user is called as everybody's list is: one of them would stand in the other's place.
fn refuse_everybody(what: &str, users: &[String]) -> Result<()> {
    let rows = users.iter().filter(|user| *user == EVERYBODY).count();
    if rows == 0 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what}: the user of {rows} rows is \"{EVERYBODY}\", which is the name of everybody's list"
    ))
    .hint(format!("Leave these rows out: add `where user_id <> '{EVERYBODY}'`.")))
}

/// Fails if a weight is none, with the names of its row, which the algorithms do not know.
fn refuse_weight(what: &str, user: &str, item: &str, weight: f64) -> Result<()> {
    if weight.is_finite() && weight >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what}: the row of user \"{user}\" and item \"{item}\" has weight {weight}"
    ))
    .hint("A weight is a number of at least 0: leave out returns with `where weight >= 0`."))
}

/// The columns of items that a ranker reads.
fn features(settings: &Recommend) -> &[String] {
    settings.rank.as_ref().map(|rank| rank.features.as_slice()).unwrap_or_default()
}

/// What a column that rules and filters look at says of an item.
#[derive(Debug)]
pub(crate) enum Known {
    /// A text, if there is one.
    Text(Option<String>),
    /// A number; NaN is missing.
    Number(f64),
}

pub(crate) struct CatalogueItem {
    text: Option<String>,
    /// The embedding that another model made; empty without one.
    vector: Vec<f32>,
    pub(crate) name: Option<String>,
    pub(crate) available: bool,
    /// The columns that a ranker reads; NaN is missing.
    pub(crate) facts: Vec<f64>,
    /// The columns that rules and filters look at, in the order of their names.
    known: Vec<Known>,
}

pub(crate) async fn items(
    ctx: &Context<'_>,
    name: &str,
    settings: &Recommend,
) -> Result<BTreeMap<String, CatalogueItem>> {
    let Some(sql) = &settings.items else { return Ok(BTreeMap::new()) };
    let what = format!("learner \"{name}\": items");
    let frame = ctx.frame(&what, sql).await?;
    let ids = frame.ids("item_id")?;
    let column = |column: &str| {
        if frame.has(column) { frame.text(column) } else { Ok(vec![None; ids.len()]) }
    };
    let (texts, names) = (column("text")?, column("name")?);
    let available =
        if frame.has("available") { frame.flags("available")? } else { vec![None; ids.len()] };
    // Only one algorithm and one rule read them, and they are large.
    let near = settings.rules.as_ref().and_then(|rules| rules.similar_by.as_deref());
    let reads = settings.algorithm == RecommendAlgorithm::Embeddings || near == Some("embedding");
    let vectors = if reads && frame.has("embedding") {
        let vectors = frame.vectors("embedding")?;
        fitting(&what, &ids, &vectors)?;
        vectors
    } else {
        vec![Vec::new(); ids.len()]
    };
    let mut facts = vec![Vec::new(); ids.len()];
    for column in features(settings) {
        if frame.is_text(column) {
            return Err(Error::invalid(format!("{what}: column \"{column}\" is text, and a ranker reads numbers"))
                .hint(format!("Cast it in the query: `cast({column} as double)`, or make a column of 0 and 1 for each value.")));
        }
        for (row, value) in facts.iter_mut().zip(frame.numbers(column)?) {
            row.push(value.filter(|value| value.is_finite()).unwrap_or(f64::NAN));
        }
    }
    let mut known: Vec<Vec<Known>> = ids.iter().map(|_| Vec::new()).collect();
    for column in
        listing::columns(settings).map_err(|e| e.context(format!("learner \"{name}\"")))?
    {
        if frame.is_number(&column) {
            for (row, value) in known.iter_mut().zip(frame.numbers(&column)?) {
                row.push(Known::Number(
                    value.filter(|value| value.is_finite()).unwrap_or(f64::NAN),
                ));
            }
        } else {
            for (row, value) in known.iter_mut().zip(frame.text(&column)?) {
                row.push(Known::Text(value));
            }
        }
    }
    let joined = ids.into_iter().zip(texts).zip(vectors).zip(names).zip(available);
    Ok(joined
        .zip(facts)
        .zip(known)
        .map(|((((((id, text), vector), name), available), facts), known)| {
            let available = available.unwrap_or(true);
            let name = name.filter(|name| !name.trim().is_empty());
            (id, CatalogueItem { text, vector, name, available, facts, known })
        })
        .collect())
}

/// Fails with the first item whose embedding is of another width than those before, or holds what is no number.
fn fitting(what: &str, ids: &[String], vectors: &[Vec<f32>]) -> Result<()> {
    let mut given = ids.iter().zip(vectors).filter(|(_, vector)| !vector.is_empty()).peekable();
    let Some((first, width)) = given.peek().map(|(id, vector)| (*id, vector.len())) else {
        return Ok(());
    };
    for (id, vector) in given {
        if vector.len() != width {
            return Err(Error::invalid(format!(
                "{what}: the embedding of item \"{id}\" has {} numbers, that of \"{first}\" has {width}",
                vector.len()
            ))
            .hint("Bring vectors of one model, all of the same width."));
        }
        if !vector.iter().all(|number| number.is_finite()) {
            return Err(Error::invalid(format!(
                "{what}: the embedding of item \"{id}\" holds what is no number"
            ))
            .hint(
                "Leave the embedding of such an item out: it is then listed by popularity alone.",
            ));
        }
    }
    Ok(())
}

/// The fit, everybody's list last, and the data handed back.
type Served = (Fitted, Vec<Vec<Placed>>, Data);

/// The asked recommender.
#[derive(Debug)]
struct Asked {
    algorithm: &'static str,
    /// Its options; null for the defaults.
    options: Value,
}

fn fit_and_serve(
    mut data: Data,
    log: Option<(rank::Log, Artifacts)>,
    settings: &Recommend,
    now: Timestamp,
) -> Result<Served> {
    let border = settings.holdout.map(|holdout| now.plus_micros(-holdout.micros));
    let chosen = match settings.algorithm {
        RecommendAlgorithm::Auto => chosen(&data, settings, border, now)?,
        _ => None,
    };
    let asked = match &chosen {
        Some(choice) => {
            Asked { algorithm: algorithm(&choice.algorithm)?, options: choice.options.clone() }
        }
        None => {
            Asked { algorithm: algorithm_name(settings.algorithm), options: settings.options()? }
        }
    };
    let algorithm = asked.algorithm;
    let mut measures = Vec::new();
    if let Some(border) = border {
        measures = judge(&data, &asked, border)?;
    }
    if data.interactions.cell_count() == 0 {
        let bytes = stored(&data, &[], None)?;
        let mut detail = json!({"algorithm": algorithm, "evidence": "none yet"});
        if let Some((detail, notice)) = detail.as_object_mut().zip(all_later(data.later, now)) {
            detail.insert("later".to_owned(), json!(data.later));
            let notices: Vec<String> = std::iter::once(notice).chain(data.ahead.clone()).collect();
            detail.insert("notices".to_owned(), json!(notices));
        }
        let nobody = vec![Vec::new(); data.users.len() + 1];
        return Ok((Fitted { bytes, rows_in: 0, detail, measures }, nobody, data));
    }
    let mut listing = std::mem::take(&mut data.listing);
    listing.learn_likeness(settings, &training(&data.interactions, &data, Some(now.micros())))?;
    data.listing = listing;
    let training = training(&data.interactions, &data, Some(now.micros()));
    let models = models(&asked, &training)?;
    let learned = match (&settings.rank, log) {
        (Some(rank), Some((log, artifacts))) => {
            Some(rank::learn(rank, &log, &artifacts, &data, &models)?)
        }
        _ => None,
    };
    let (ranker, rank_detail) = match learned {
        Some(learned) => {
            measures.extend(learned.measures);
            (learned.ranker, Some(learned.detail))
        }
        None => (None, None),
    };
    let lists = lists(&data, &models, ranker.as_ref(), settings, now)?;
    let bytes = stored(&data, &models, ranker.as_ref())?;
    let mut detail = json!({
        "algorithm": algorithm, "options": asked.options, "users": data.users.len(),
        "items": data.items.len(), "pairs": data.interactions.cell_count(), "top": settings.top,
    });
    if let Some(object) = detail.as_object_mut() {
        if let Some(rank) = rank_detail {
            object.insert("rank".to_owned(), rank);
        }
        if settings.algorithm == RecommendAlgorithm::Auto {
            object.insert("choice".to_owned(), told(chosen.as_ref()));
        }
        if data.later > 0 {
            object.insert("later".to_owned(), json!(data.later));
        }
        let unjudged = border.and_then(|border| unjudged(&data.interactions, border));
        let notices: Vec<String> = unjudged.into_iter().chain(data.ahead.clone()).collect();
        if !notices.is_empty() {
            object.insert("notices".to_owned(), json!(notices));
        }
    }
    let rows_in = data.rows as u64;
    Ok((Fitted { bytes, rows_in, detail, measures }, lists, data))
}

/// How far ahead of UTC clocks are at most, in microseconds.
const AHEAD_MAX_US: i64 = 14 * 3_600_000_000;

/// The moments of interactions: those at which clocks of the learner's zone showed `at`, if it names one.
pub(crate) fn moments(settings: &Recommend, frame: &Frame<'_>) -> Result<Vec<i64>> {
    let mut moments = frame.moments("at")?;
    if let Some(zone) = &settings.time_zone {
        let zone = time_zone(zone)?;
        for at in &mut moments {
            *at = moment_of(Timestamp::from_micros(*at), zone).micros();
        }
    }
    Ok(moments)
}

/// A moment as `at` of interactions shows it.
pub(crate) fn shown(settings: &Recommend, at: Timestamp) -> Result<Timestamp> {
    Ok(match &settings.time_zone {
        Some(zone) => shown_at(at, time_zone(zone)?),
        None => at,
    })
}

/// What is told of interactions of later than `now` that are none of days to come: clocks ahead of UTC show hours that it has
/// not reached yet.
fn ahead(settings: &Recommend, moments: &[i64], now: Timestamp) -> Option<String> {
    let latest = moments.iter().max().filter(|latest| **latest > now.micros())?;
    let ahead = latest - now.micros();
    let count = moments.iter().filter(|at| **at > now.micros()).count();
    (settings.time_zone.is_none() && ahead <= AHEAD_MAX_US).then(|| {
        format!(
            "{count} interactions do not count yet, as they are up to {:.1} hours later than the fit; if `at` shows the \
             clocks of a place ahead of UTC, name its zone in `time_zone`",
            ahead as f64 / 3_600_000_000.0
        )
    })
}

/// What is told where nothing is learned although there are `later` rows.
fn all_later(later: usize, now: Timestamp) -> Option<String> {
    (later > 0).then(|| {
        format!(
            "there is nothing to learn from yet: {later} interactions are of later than the fit, {now}"
        )
    })
}

/// What is told where nothing happened since `border`, after which interactions were to judge the fit.
fn unjudged(interactions: &Interactions, border: Timestamp) -> Option<String> {
    let latest = interactions.latest().filter(|latest| *latest < border.micros())?;
    Some(format!(
        "nothing is held back to judge the fit by: there is no interaction since {}, the newest is of {}",
        border.date(),
        Timestamp::from_micros(latest).date()
    ))
}

/// What `algorithm: auto` comes to on all that is not held back; none if that is too little to compare on.
fn chosen(
    data: &Data,
    settings: &Recommend,
    border: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Choice>> {
    let tune = settings.tune.clone().unwrap_or_default();
    let budget = Budget {
        measure: match tune.by {
            TuneMeasure::Ndcg => ChosenBy::Ndcg,
            TuneMeasure::Recall => ChosenBy::Recall,
            TuneMeasure::HitRate => ChosenBy::HitRate,
        },
        owned: owned(settings),
        users_max: tune.users,
        rows_max: tune.rows,
        seed: tune.seed,
    };
    // What judges the fit must not have chosen it.
    let before = border.map(|border| data.interactions.between(i64::MIN, border.micros()));
    let interactions = before.as_ref().unwrap_or(&data.interactions);
    let training = training(interactions, data, Some(border.unwrap_or(now).micros()));
    let began = Instant::now();
    let limit = Duration::from_secs(tune.seconds);
    choose(&training, &budget, &|| began.elapsed() < limit)
}

fn owned(settings: &Recommend) -> OwnedItems {
    if settings.repeats { OwnedItems::Include } else { OwnedItems::Exclude }
}

/// What a choice was made from, as it is stored beside the artifact.
fn told(choice: Option<&Choice>) -> Value {
    let Some(choice) = choice else {
        return json!({"reason": "too little history to compare recommenders on"});
    };
    let round = |value: f64| (value * 1e6).round() / 1e6;
    let tried: Vec<Value> = choice
        .tried
        .iter()
        .map(|one| match (&one.quality, &one.left_out) {
            (Some(quality), _) => json!({
                "algorithm": one.algorithm, "options": one.options, "value": one.value.map(round),
                "margin": round(quality.ndcg_margin), "ndcg@10": round(quality.ndcg),
                "recall@20": round(quality.recall), "hit-rate@20": round(quality.hit_rate),
                "coverage": round(quality.coverage), "novelty": quality.novelty.map(round),
            }),
            (None, left_out) => json!({
                "algorithm": one.algorithm, "options": one.options, "left_out": left_out,
            }),
        })
        .collect();
    json!({
        "reason": choice.reason, "by": choice.measure.name(), "rows": choice.rows, "users": choice.users,
        "judged_since": Timestamp::from_micros(choice.border).to_string(), "tried": tried,
    })
}

/// The name of a recommender, for as long as the program runs.
fn algorithm(name: &str) -> Result<&'static str> {
    Ok(flywheel_algo::recommend::algorithm(name)?.name)
}

fn training<'a>(interactions: &'a Interactions, data: &'a Data, now: Option<i64>) -> Training<'a> {
    Training { interactions, texts: data.texts.as_deref(), vectors: data.vectors.as_deref(), now }
}

/// The asked algorithm, and popularity for where it has no evidence.
fn models(asked: &Asked, training: &Training<'_>) -> Result<Vec<Box<dyn Recommender>>> {
    let mut models = vec![fit(asked.algorithm, training, &asked.options)?];
    if asked.algorithm != "popularity" {
        models.push(fit("popularity", training, &Value::Null)?);
    }
    Ok(models)
}

fn stored(
    data: &Data,
    models: &[Box<dyn Recommender>],
    ranker: Option<&Ranker>,
) -> Result<Vec<u8>> {
    let models = models.iter().map(|model| model.to_bytes()).collect::<Result<Vec<_>>>()?;
    let ranker = ranker
        .map(serde_json::to_vec)
        .transpose()
        .map_err(|e| Error::internal("a ranker is no JSON").caused_by(e))?;
    // A plain frame: the names as JSON, then each model's own bytes, then the likeness of items behind a mark and the ranker
    // as JSON if there are such, each with its length before it.
    let likeness = data.listing.likeness()?;
    let likeness = likeness.map(|bytes| [&[LIKENESS][..], &bytes[..]].concat());
    let names = serde_json::to_vec(&data.items)
        .map_err(|e| Error::internal("item names are no JSON").caused_by(e))?;
    let mut bytes = Vec::new();
    for part in std::iter::once(&names).chain(&models).chain(&likeness).chain(&ranker) {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// The first byte of a likeness, which no model and no JSON begins with.
const LIKENESS: u8 = b'~';

/// What an artifact holds.
pub(crate) struct Restored {
    /// The names of the items.
    pub(crate) items: Vocabulary,
    /// The recommender, and popularity for where it has no evidence.
    pub(crate) models: Vec<Box<dyn Recommender>>,
    /// What puts their items in order, if there is one.
    pub(crate) ranker: Option<Ranker>,
    /// How alike items are, if that was learned.
    pub(crate) similar: Option<Similar>,
}

/// The item names, the models and the ranker of an artifact.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Corrupt`] if the bytes are none.
pub(crate) fn restored(bytes: &[u8]) -> Result<Restored> {
    let broken = || {
        Error::corrupt("the artifact of a recommender is not as it was written")
            .hint("Fit the learner again: `flywheel learn`.")
    };
    let mut rest = bytes;
    let mut parts = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| broken())?;
        let (part, behind) = behind.split_at_checked(length).ok_or_else(broken)?;
        parts.push(part);
        rest = behind;
    }
    let (names, models) = parts.split_first().filter(|_| rest.is_empty()).ok_or_else(broken)?;
    let items = serde_json::from_slice(names).map_err(|error| broken().caused_by(error))?;
    // A model has bytes of its own at its beginning, and never a brace.
    let (models, ranker) = match models.split_last() {
        Some((last, models)) if last.first() == Some(&b'{') => (models, Some(last)),
        _ => (models, None),
    };
    let (models, similar) = match models.split_last() {
        Some((last, models)) if last.first() == Some(&LIKENESS) => {
            (models, Some(Similar::from_bytes(last.get(1..).unwrap_or_default())?))
        }
        _ => (models, None),
    };
    let models = models.iter().map(|model| load(model)).collect::<Result<Vec<_>>>()?;
    let ranker: Option<Ranker> = ranker
        .map(|bytes| serde_json::from_slice(bytes))
        .transpose()
        .map_err(|error| broken().caused_by(error))?;
    if let Some(ranker) = &ranker {
        ranker.check().map_err(|error| broken().caused_by(error))?;
    }
    Ok(Restored { items, models, ranker, similar })
}

/// A list of the sources in the order of the ranker, if there is one.
pub(crate) fn ranked(
    mut list: List,
    ranker: Option<&Ranker>,
    models: &[&dyn Recommender],
    history: &UserHistory,
    of_item: impl Fn(u32) -> Vec<f64>,
) -> Result<List> {
    if let Some(ranker) = ranker {
        let items: Vec<u32> = list.items.iter().map(|listed| listed.item).collect();
        ranker.rank(&mut list, &facts(models, history, &items, of_item))?;
    }
    Ok(list)
}

fn lists(
    data: &Data,
    models: &[Box<dyn Recommender>],
    ranker: Option<&Ranker>,
    settings: &Recommend,
    now: Timestamp,
) -> Result<Vec<Vec<Placed>>> {
    let models: Vec<&dyn Recommender> = models.iter().map(AsRef::as_ref).collect();
    let wanted = Wanted::top(settings.top);
    let nobody = data.users.len();
    let people: Vec<usize> = (0..=nobody).collect();
    let history = |user| {
        if user == nobody {
            UserHistory::empty(Some(now.micros()))
        } else {
            data.interactions.history(user, Some(now.micros()))
        }
    };
    let lists = together::each(&models, &people, history, |models, _, history| {
        let sources = Sources { models: models.to_vec(), ranker, facts: &data.facts };
        Ok(data.listing.list(&sources, history, now, &wanted)?.items)
    });
    lists.into_iter().collect()
}

fn judge(data: &Data, asked: &Asked, border: Timestamp) -> Result<Vec<Measure>> {
    // Too little history to hold anything back is no mistake of the user: there is nothing to say yet.
    let Ok(split) = Split::new(&data.interactions, border.micros()) else { return Ok(Vec::new()) };
    let training = training(&split.train, data, Some(border.micros()));
    let judged = |asked: &Asked| -> Result<_> {
        let models = models(asked, &training)?;
        let models: Vec<&dyn Recommender> = models.iter().map(AsRef::as_ref).collect();
        evaluate(&models, &split, Depth::default())
    };
    let popularity = Asked { algorithm: "popularity", options: Value::Null };
    let (ours, popular) = (judged(asked)?, judged(&popularity)?);
    let measure = |name, value: f64, baseline: f64, count| Measure {
        name,
        value: Some(value),
        baseline: Some(baseline),
        count,
    };
    let mut measures = vec![
        measure("ndcg@10 new items", ours.new.ndcg, popular.new.ndcg, ours.new.users),
        measure("recall@20 new items", ours.new.recall, popular.new.recall, ours.new.users),
        measure("ndcg@10 all items", ours.all.ndcg, popular.all.ndcg, ours.all.users),
        measure("recall@20 all items", ours.all.recall, popular.all.recall, ours.all.users),
        measure("coverage new items", ours.new.coverage, popular.new.coverage, ours.new.users),
        measure("coverage all items", ours.all.coverage, popular.all.coverage, ours.all.users),
    ];
    let (again, before) = (ours.repeated, popular.repeated);
    if again.users > 0 {
        measures.push(measure("ndcg@10 items had before", again.ndcg, before.ndcg, again.users));
        measures.push(measure(
            "recall@20 items had before",
            again.recall,
            before.recall,
            again.users,
        ));
    }
    let novelty = |name, ours: &Quality, popular: &Quality| Measure {
        name,
        value: ours.novelty,
        baseline: popular.novelty,
        count: ours.users,
    };
    measures.push(novelty("novelty new items", &ours.new, &popular.new));
    measures.push(novelty("novelty all items", &ours.all, &popular.all));
    for (place, known) in KnownOf::ALL.into_iter().enumerate() {
        let kinds = [(ours.new_of, popular.new_of), (ours.all_of, popular.all_of)];
        for ((ours, popular), name) in kinds.into_iter().zip(of_users(known)) {
            if let (Some(ours), Some(popular)) = (ours.get(place), popular.get(place))
                && ours.users > 0
            {
                measures.push(measure(name, ours.ndcg, popular.ndcg, ours.users));
            }
        }
    }
    Ok(measures)
}

/// What the gain of lists of new items, and of all items, is called for users of whom so much is known.
fn of_users(known: KnownOf) -> [&'static str; 2] {
    match known {
        KnownOf::Little => [
            "ndcg@10 new items, users with 1 or 2 items",
            "ndcg@10 all items, users with 1 or 2 items",
        ],
        KnownOf::More => [
            "ndcg@10 new items, users with 3 to 10 items",
            "ndcg@10 all items, users with 3 to 10 items",
        ],
        KnownOf::Much => [
            "ndcg@10 new items, users with more than 10 items",
            "ndcg@10 all items, users with more than 10 items",
        ],
    }
}

fn rows(data: &Data, lists: &[Vec<Placed>], now: Timestamp, artifact: &str) -> Vec<Row> {
    let name = |item: u32| data.names.get(item as usize).map_or("", String::as_str);
    let mut rows = Vec::new();
    for (user, list) in lists.iter().enumerate() {
        let user_id =
            u32::try_from(user).ok().and_then(|user| data.users.id(user)).unwrap_or(EVERYBODY);
        for (place, placed) in list.iter().enumerate() {
            let (reason, listed) = (reason(placed, name), &placed.listed);
            rows.push(Row {
                user_id: user_id.to_owned(),
                rank: i64::try_from(place).unwrap_or(i64::MAX).saturating_add(1),
                item_id: data.items.id(listed.item).unwrap_or_default().to_owned(),
                score: listed.score,
                reason,
                source: listed.source.clone(),
                scored_at: now,
                artifact: artifact.to_owned(),
            });
        }
    }
    rows
}

fn algorithm_name(algorithm: RecommendAlgorithm) -> &'static str {
    match algorithm {
        // Where there is too little to choose by, the default is as good a start as any.
        RecommendAlgorithm::Hybrid | RecommendAlgorithm::Auto => "hybrid",
        RecommendAlgorithm::UserKnn => "user-neighbours",
        RecommendAlgorithm::ItemKnn => "item-neighbours",
        RecommendAlgorithm::Nmf => "nmf",
        RecommendAlgorithm::Ease => "ease",
        RecommendAlgorithm::GfCf => "gf-cf",
        RecommendAlgorithm::Rp3Beta => "rp3beta",
        RecommendAlgorithm::Ials => "ials",
        RecommendAlgorithm::Bpr => "bpr",
        RecommendAlgorithm::Sessions => "sessions",
        RecommendAlgorithm::Embeddings => "embeddings",
        RecommendAlgorithm::Content => "content",
        RecommendAlgorithm::Popularity => "popularity",
        RecommendAlgorithm::Repeat => "repeat",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A learner as the project's file says it, everything but the algorithm being the same.
    fn declared(text: &str) -> Recommend {
        let mut file: Value = serde_json::from_str(text).unwrap();
        file["interactions"] = json!("select 1");
        serde_json::from_value(file).unwrap()
    }

    fn purchases() -> Interactions {
        let event = |place: u32| Interaction {
            user: place % 6,
            item: (place * place + place / 6) % 9,
            weight: 1.0,
            at: Some(i64::from(place)),
        };
        Interactions::new(6, 9, (0..40).map(event)).unwrap()
    }

    #[test]
    fn data_that_end_before_what_is_held_back_say_why_nothing_is_judged() {
        const DAY: i64 = 86_400_000_000;
        let event = |place: u32| Interaction {
            user: place % 6,
            item: place % 9,
            weight: 1.0,
            at: Some(i64::from(place) * DAY),
        };
        let old = Interactions::new(6, 9, (0..40).map(event)).unwrap();
        assert_eq!(unjudged(&old, Timestamp::from_day(39)), None);
        let told = unjudged(&old, Timestamp::from_day(40)).unwrap();
        assert!(told.ends_with("since 1970-02-10, the newest is of 1970-02-09"), "{told}");
        let none = Interactions::new(6, 9, Vec::new()).unwrap();
        assert_eq!(unjudged(&none, Timestamp::from_day(40)), None);
        assert_eq!(all_later(0, Timestamp::from_day(40)), None, "there is no row at all");
        let (plain, zoned) = (declared("{}"), declared(r#"{"time_zone": "Asia/Shanghai"}"#));
        let now = Timestamp::from_day(40);
        let rows = |hours: i64| [0, now.micros() + hours * 3_600_000_000];
        let told = ahead(&plain, &rows(8), now).unwrap();
        assert!(told.starts_with("1 interactions") && told.contains("up to 8.0 hours"), "{told}");
        assert_eq!(ahead(&plain, &rows(0), now), None);
        assert_eq!(ahead(&plain, &rows(30), now), None, "a replay of days to come");
        assert_eq!(ahead(&zoned, &rows(8), now), None);
        assert_eq!(shown(&zoned, now).unwrap(), now.plus_micros(8 * 3_600_000_000));
        assert_eq!(shown(&plain, now).unwrap(), now);
        let told = all_later(3, Timestamp::from_day(40)).unwrap();
        assert!(told.contains("3 interactions are of later than the fit, 1970-02-10"), "{told}");
    }

    #[test]
    fn every_algorithm_a_file_can_name_is_fitted_with_the_options_of_the_file() {
        let data = purchases();
        let texts: Vec<String> = (0..9).map(|item| format!("item number {item}")).collect();
        let vectors: Vec<Vec<f32>> = (0..9_u8).map(|item| vec![1.0, f32::from(item)]).collect();
        let training =
            Training { texts: Some(&texts), vectors: Some(&vectors), ..Training::new(&data) };
        for text in [
            r#"{"algorithm": "hybrid"}"#,
            r#"{"algorithm": "user-knn"}"#,
            r#"{"algorithm": "item-knn"}"#,
            r#"{"algorithm": "nmf"}"#,
            r#"{"algorithm": "ease"}"#,
            r#"{"algorithm": "gf-cf", "gf_cf": {"beta": 0.3, "factors": 4, "low_pass": 0.2,
                "kept_per_item": 9, "sweeps": 2, "seed": 1}}"#,
            r#"{"algorithm": "rp3beta", "rp3beta": {"alpha": 1.1, "beta": 0.4, "kept_per_item": 9}}"#,
            r#"{"algorithm": "ials", "ials": {"factors": 4, "confidence": 20, "value": "weight",
                "penalty": 2, "penalty_exponent": 1, "sweeps": 3, "steps": 2, "seed": 1}}"#,
            r#"{"algorithm": "bpr", "bpr": {"factors": 4, "learning_rate": 0.1, "penalty": 0.02, "epochs": 3, "seed": 1}}"#,
            r#"{"algorithm": "item-knn", "item_knn": {"neighbours": 5, "weighting": "cosine", "value": "occasions",
                "missing": "unknown", "shrink": 1}}"#,
            r#"{"algorithm": "user-knn", "user_knn": {"neighbours": 5, "value": "presence", "missing": "zero",
                "shrink": 0, "vote": "sum"}}"#,
            r#"{"algorithm": "sessions", "sessions": {"gap_minutes": 90, "order": "next", "kept_per_item": 9}}"#,
            r#"{"algorithm": "embeddings", "embeddings": {"half_life_days": 30}}"#,
            r#"{"algorithm": "content"}"#,
            r#"{"algorithm": "popularity"}"#,
            r#"{"algorithm": "repeat"}"#,
        ] {
            let settings = declared(text);
            let asked = Asked {
                algorithm: algorithm_name(settings.algorithm),
                options: settings.options().unwrap(),
            };
            let models = models(&asked, &training).unwrap();
            assert_eq!(models[0].algorithm(), asked.algorithm);
        }
    }

    #[test]
    fn embeddings_that_do_not_fit_together_are_refused_with_the_item() {
        let ids: Vec<String> = ["tea", "salt", "oil"].map(str::to_owned).into();
        let check = |vectors: [Vec<f32>; 3]| fitting("learner \"l\": items", &ids, &vectors);
        check([vec![], vec![1.0, 2.0], vec![0.0, 0.0]]).unwrap();
        let narrow = check([vec![1.0, 2.0], vec![], vec![1.0]]).unwrap_err().report();
        assert!(narrow.contains("\"oil\" has 1 numbers, that of \"tea\" has 2"), "{narrow}");
        let none = check([vec![1.0], vec![f32::NAN], vec![]]).unwrap_err().report();
        assert!(none.contains("item \"salt\" holds what is no number"), "{none}");
    }

    #[test]
    fn no_user_may_be_called_as_the_list_of_everybody_is() {
        let check = |users: [&str; 3]| refuse_everybody("test", &users.map(str::to_owned));
        check(["a", "b", "**"]).unwrap();
        let error = check(["a", "*", "*"]).unwrap_err().report();
        assert!(error.contains("the user of 2 rows is \"*\""), "{error}");
        assert!(error.contains("where user_id <> '*'"), "{error}");
    }

    #[test]
    fn a_weight_that_is_none_is_refused_with_the_names_of_its_row() {
        let check = |weight| refuse_weight("learner \"l\": interactions", "mo", "tea", weight);
        check(0.0).unwrap();
        check(2.5).unwrap();
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            let error = check(weight).unwrap_err().report();
            assert!(error.contains("user \"mo\" and item \"tea\" has weight"), "{error}");
        }
    }

    #[test]
    fn options_change_what_is_fitted_and_the_largest_a_file_may_name_is_one_the_algorithm_takes() {
        let data = purchases();
        let bytes = |text: &str| {
            let settings = declared(text);
            let options = settings.options().unwrap();
            fit(algorithm_name(settings.algorithm), &Training::new(&data), &options)
                .and_then(|model| model.to_bytes())
                .unwrap()
        };
        let plain = bytes(r#"{"algorithm": "gf-cf"}"#);
        assert_ne!(plain, bytes(r#"{"algorithm": "gf-cf", "gf_cf": {"beta": 0.3}}"#));
        let knn = bytes(r#"{"algorithm": "item-knn"}"#);
        assert_ne!(knn, bytes(r#"{"algorithm": "item-knn", "item_knn": {"weighting": "cosine"}}"#));
        for text in [
            r#"{"algorithm": "bpr", "bpr": {"factors": 1024, "learning_rate": 1, "penalty": 1, "epochs": 1}}"#,
            r#"{"algorithm": "sessions", "sessions": {"gap_minutes": 1e9, "kept_per_item": 10000}}"#,
            r#"{"algorithm": "gf-cf", "gf_cf": {"beta": 1, "factors": 1, "kept_per_item": 10000, "sweeps": 1}}"#,
            r#"{"algorithm": "rp3beta", "rp3beta": {"alpha": 4, "beta": 4, "kept_per_item": 10000}}"#,
            r#"{"algorithm": "ials", "ials": {"factors": 1, "penalty_exponent": 2, "sweeps": 1000, "steps": 1}}"#,
        ] {
            assert!(!bytes(text).is_empty(), "{text}");
        }
        assert_eq!(declared(r#"{"gf_cf": {}}"#).algorithm, RecommendAlgorithm::Hybrid);
    }
}
