//! Learns the weights from the past: what did each source say before purchases that then happened?

use flywheel_base::{Result, Rng};
use rayon::prelude::*;

use super::Options;
use super::features::{Row, Sources, View};
use super::logistic::{self, Example};
use crate::recommend::Training;
use crate::recommend::interactions::Interactions;
use crate::recommend::popularity::DAY_US;

/// The most users taken per border.
const USERS_MAX: usize = 3_000;
/// Items the user neither owns nor bought that are drawn per user; each stands for its share.
const NEGATIVES: usize = 150;
/// Below so many purchases after all borders nothing is learned.
const POSITIVES_MIN: usize = 200;
/// The ridge penalty on the weights of standardised features.
const PENALTY: f64 = 1.0;

/// The weights, or `None` if the data cannot teach them.
pub(super) fn learn(training: &Training<'_>, options: &Options) -> Result<Option<Vec<f64>>> {
    let data = training.interactions;
    let (Some(first), Some(last), Some(now)) = (data.earliest(), data.latest(), training.moment())
    else {
        return Ok(None);
    };
    let now = now.min(last);
    let window = (options.window_days * DAY_US) as i64;
    let mut examples = Vec::new();
    for border in 0..options.borders {
        let end = now
            .saturating_sub(window.saturating_mul(border as i64))
            .saturating_add(i64::from(border == 0));
        let start = end.saturating_sub(window);
        // A border needs at least one window of past, or its sources know nothing.
        if start.saturating_sub(first) < window {
            break;
        }
        examples.extend(at_border(data, start, end, options)?);
    }
    let positives = examples.iter().filter(|example| example.positive).count();
    Ok((positives >= POSITIVES_MIN).then(|| logistic::fit(&examples, PENALTY)))
}

/// The examples of one border: the past before `start` foretells the purchases until `end`.
fn at_border(data: &Interactions, start: i64, end: i64, options: &Options) -> Result<Vec<Example>> {
    let past = data.between(i64::MIN, start);
    let after = data.between(start, end);
    let training = Training { now: Some(start), ..Training::new(&past) };
    let sources = Sources::fit(&training, options)?;
    let mut users: Vec<usize> = (0..past.user_count())
        .filter(|user| !past.items(*user).is_empty() && !after.items(*user).is_empty())
        .collect();
    if users.len() > USERS_MAX {
        Rng::stream(options.seed, "hybrid-users").shuffle(&mut users);
        users.truncate(USERS_MAX);
        users.sort_unstable();
    }
    let examples: Vec<Vec<Example>> = users
        .into_par_iter()
        .map(|user| {
            let history = past.history(user, Some(start));
            let view = sources.view(&history);
            let mut rng = Rng::stream(options.seed, &format!("hybrid-{user}"));
            of_user(&view, &past, after.items(user), user, &mut rng)
        })
        .collect();
    Ok(examples.into_iter().flatten().collect())
}

/// All bought and all owned items of a user, and a sample of the others with their share.
fn of_user(
    view: &View<'_>,
    past: &Interactions,
    bought: &[u32],
    user: usize,
    rng: &mut Rng,
) -> Vec<Example> {
    let owned = past.items(user);
    let example = |item: u32, positive: bool, weight: f64| {
        let row: Row = view.row(item);
        Example { row, positive, weight }
    };
    let mut examples: Vec<Example> = bought
        .iter()
        .filter(|item| view.evidence(**item))
        .map(|item| example(*item, true, 1.0))
        .collect();
    let left = |item: &&u32| bought.binary_search(item).is_err();
    examples.extend(owned.iter().filter(left).map(|item| example(*item, false, 1.0)));
    let mut others: Vec<u32> = (0..past.item_count() as u32)
        .filter(|item| {
            view.evidence(*item)
                && bought.binary_search(item).is_err()
                && owned.binary_search(item).is_err()
        })
        .collect();
    let drawn = NEGATIVES.min(others.len());
    let share = others.len() as f64 / drawn.max(1) as f64;
    for place in 0..drawn {
        let other = place + rng.below(others.len() - place);
        others.swap(place, other);
    }
    examples.extend(others.iter().take(drawn).map(|item| example(*item, false, share)));
    examples
}
