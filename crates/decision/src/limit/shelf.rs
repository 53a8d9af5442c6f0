//! What there is to give: units of each candidate that are left and not expired.

use std::collections::BTreeMap;

use flywheel_base::{Result, Timestamp, statement};
use flywheel_project::resource::policy::{Choose, Policy};
use serde_json::Value;

use crate::context::Context;
use crate::decide::TREATMENT;
use crate::outcome::literal;
use crate::table::DecisionRow;

/// What is left of each candidate that is limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shelf {
    left: BTreeMap<String, i64>,
}

/// What the stock's query says of one candidate.
#[derive(Clone, Debug, PartialEq)]
struct Lot {
    candidate: String,
    available: Option<f64>,
    as_of: Option<i64>,
    expires_at: Option<i64>,
}

/// What was given of a candidate at a moment.
type Given = (String, i64, i64);

impl Shelf {
    /// What is left at the moment; none if the policy's candidates are not limited.
    ///
    /// # Errors
    /// Those of the stock's SQL and of the lake.
    pub(crate) async fn load(
        ctx: &Context<'_>,
        name: &str,
        policy: &Policy,
    ) -> Result<Option<Self>> {
        let Some(stock) = &policy.stock else { return Ok(None) };
        let what = format!("policy \"{name}\": stock");
        let sql = ctx.render(stock).map_err(|e| e.context(&what))?;
        let frame = ctx.frame_of_sql(&what, statement::one(&what, &sql)?).await?;
        let rows = frame.rows();
        let moments = |column: &str| match frame.has(column) {
            true => frame.times(column),
            false => Ok(vec![None; rows]),
        };
        let ends = moments("as_of")?.into_iter().zip(moments("expires_at")?);
        let known = frame.ids("candidate")?.into_iter().zip(frame.numbers("available")?);
        let lots: Vec<Lot> = known
            .zip(ends)
            .map(|((candidate, available), (as_of, expires_at))| Lot {
                candidate,
                available,
                as_of,
                expires_at,
            })
            .collect();
        let Some(since) = lots.iter().map(|lot| lot.as_of).min() else {
            return Ok(Some(Self::default()));
        };
        let since = since.map_or_else(String::new, |since| {
            format!(" and decided_at > {}", literal(Timestamp::from_micros(since)))
        });
        let given = given(ctx, (name, policy), &what, &since).await?;
        Ok(Some(Self::of(&lots, &given, ctx.now.micros())))
    }

    /// What is left of lots after what was given.
    fn of(lots: &[Lot], given: &[Given], now: i64) -> Self {
        let mut left: BTreeMap<String, i64> = BTreeMap::new();
        // Of a candidate in several lots what was given since the oldest of them is taken off.
        let mut since: BTreeMap<&str, Option<i64>> = BTreeMap::new();
        for lot in lots {
            let available = lot.available.filter(|available| available.is_finite());
            let good = lot.expires_at.is_none_or(|expires| expires > now);
            let units = available.filter(|_| good).map_or(0, |available| available.floor() as i64);
            let sum = left.entry(lot.candidate.clone()).or_default();
            *sum = sum.saturating_add(units.max(0));
            let oldest = since.entry(&lot.candidate).or_insert(lot.as_of);
            *oldest = (*oldest).min(lot.as_of);
        }
        for (candidate, at, count) in given {
            let counts =
                since.get(candidate.as_str()).is_some_and(|since| *at > since.unwrap_or(i64::MIN));
            if let Some(units) = left.get_mut(candidate).filter(|_| counts) {
                *units = units.saturating_sub(*count);
            }
        }
        Self { left }
    }

    /// Whether a candidate can be offered; one that is not listed always can.
    pub(crate) fn has(&self, candidate: &str) -> bool {
        self.left.get(candidate).is_none_or(|left| *left > 0)
    }

    /// Takes off what a decision in treatment gives.
    pub(crate) fn take(&mut self, row: &DecisionRow) {
        for candidate in given_by(&row.action, row.items.as_deref()) {
            if let Some(left) = self.left.get_mut(&candidate) {
                *left = left.saturating_sub(1);
            }
        }
    }
}

/// What a policy gave in treatment, by candidate and moment.
async fn given(
    ctx: &Context<'_>,
    (name, policy): (&str, &Policy),
    what: &str,
    since: &str,
) -> Result<Vec<Given>> {
    let condition = format!(
        "policy = '{name}' and arm = '{TREATMENT}' and decided_at <= {}{since}",
        literal(ctx.now)
    );
    if !matches!(policy.choose, Choose::Recommend(_)) {
        let sql = format!(
            "select action, decided_at, count(*) as n from system.decisions where {condition} group by action, decided_at"
        );
        let frame = ctx.frame_of_sql(what, &sql).await?;
        let counts = frame.integers("n")?.into_iter().map(Option::unwrap_or_default);
        let rows = frame.ids("action")?.into_iter().zip(frame.moments("decided_at")?);
        return Ok(rows.zip(counts).map(|((action, at), n)| (action, at, n)).collect());
    }
    let sql = format!("select action, items, decided_at from system.decisions where {condition}");
    let frame = ctx.frame_of_sql(what, &sql).await?;
    let rows = frame.ids("action")?.into_iter().zip(frame.text("items")?);
    let mut given = Vec::new();
    for ((action, items), at) in rows.zip(frame.moments("decided_at")?) {
        given.extend(given_by(&action, items.as_deref()).into_iter().map(|item| (item, at, 1)));
    }
    Ok(given)
}

/// What a decision gives: its items, or else its action.
fn given_by(action: &str, items: Option<&str>) -> Vec<String> {
    let listed: Option<Vec<Value>> = items.and_then(|items| serde_json::from_str(items).ok());
    match listed {
        None => vec![action.to_owned()],
        Some(items) => {
            let id = |item: &Value| item.get("item_id")?.as_str().map(str::to_owned);
            items.iter().filter_map(id).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lot(candidate: &str, available: f64, as_of: Option<i64>, expires_at: Option<i64>) -> Lot {
        Lot { candidate: candidate.into(), available: Some(available), as_of, expires_at }
    }

    #[test]
    fn what_was_given_since_the_stock_was_counted_is_taken_off() {
        let lots = [
            lot("counted", 5.0, Some(100), None),
            lot("allotted", 5.0, None, None),
            lot("gone", 5.0, None, Some(200)),
            lot("fresh", 2.9, None, Some(201)),
            lot("odd", f64::NAN, None, None),
        ];
        let given = |name: &str, at, n| (name.to_owned(), at, n);
        let given = [given("counted", 100, 3), given("counted", 101, 2), given("allotted", 1, 9)];
        let shelf = Shelf::of(&lots, &given, 200);
        let left = |name: &str| shelf.left.get(name).copied();
        assert_eq!((left("counted"), left("allotted")), (Some(3), Some(-4)));
        assert_eq!((left("gone"), left("fresh"), left("odd")), (Some(0), Some(2), Some(0)));
        assert!(shelf.has("counted") && !shelf.has("allotted") && !shelf.has("gone"));
        assert!(shelf.has("never listed"));
        // Two lots of one candidate, of which one is expired.
        let lots = [lot("a", 3.0, Some(5), Some(200)), lot("a", 4.0, Some(9), None)];
        let shelf = Shelf::of(&lots, &[("a".into(), 7, 1)], 200);
        assert_eq!(shelf.left.get("a"), Some(&3));
    }

    #[test]
    fn a_decision_gives_its_items_or_its_action() {
        let items = r#"[{"item_id": "i1", "score": 1}, {"item_id": "i2"}]"#;
        assert_eq!(given_by("recommend", Some(items)), ["i1", "i2"]);
        assert_eq!(given_by("coupon", None), ["coupon"]);
    }
}
