//! `value`: whether each customer is still one, how often they will buy, and for how much.

use flywheel_algo::lifetime::{
    Choice, Customer, Model, Spend, Value as Worth, choose, opportunities,
};
use flywheel_algo::segment::rfm::Purchase;
use flywheel_base::{Error, Result, Timestamp, task};
use flywheel_project::resource::learner::{Value, ValueModel};
use flywheel_warehouse::WriteMode;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::segment::purchases;
use super::{ARTIFACT, Fitted, LearnerEntry, Measure, write_scores};
use crate::context::Context;
use crate::table::ColumnType::{Integer, Moment, Number, Text};

/// Its entry.
pub(super) const ENTRY: LearnerEntry = LearnerEntry {
    name: "value",
    about: "Whether each customer is still one, how often they will buy, and for how much.",
    columns: &[
        ("unit_id", Text, "the customer"),
        ("alive", Number, "the probability that this is still a customer"),
        ("expected_purchases", Number, "purchases to expect in the horizon, at most one a day"),
        (
            "expected_spend",
            Number,
            "what one of them is worth on the mean; none if the data do not say",
        ),
        (
            "expected_value",
            Number,
            "what all of them are worth: the customer's value in the horizon",
        ),
        (
            "lower",
            Number,
            "lower end of how far that expectation is known; what the customer does varies more",
        ),
        ("upper", Number, "upper end"),
        ("purchases", Integer, "days with a purchase so far; with bg-bb opportunities with one"),
        ("recency_days", Number, "days since the last purchase"),
        ("age_days", Number, "days since the first purchase"),
        ("horizon_days", Number, "how far ahead this looks"),
        ("model", Text, "the model that was used"),
        ("as_of", Moment, "the logical moment"),
        ARTIFACT,
    ],
};

#[derive(Serialize)]
struct Row {
    unit_id: String,
    alive: f64,
    expected_purchases: f64,
    expected_spend: Option<f64>,
    expected_value: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    purchases: i64,
    recency_days: f64,
    age_days: f64,
    horizon_days: f64,
    model: String,
    as_of: Timestamp,
    artifact: String,
}

/// What a fit found, and what it says of each customer.
struct Made {
    choice: Choice,
    spend: Spend,
    customers: Vec<Customer>,
    worths: Vec<Worth>,
}

/// Fits how customers buy, leave and spend, and values each.
pub(super) async fn learn(
    ctx: &Context<'_>,
    name: &str,
    settings: &Value,
) -> Result<(Fitted, String, u64)> {
    let purchases = purchases(ctx, name, &settings.events).await?;
    let rows_in = purchases.len() as u64;
    let (owned, now) = (settings.clone(), ctx.now);
    let made = task::compute(move || fit(&purchases, &owned, now)).await?;
    let bytes = serde_json::to_vec(&json!({"fit": made.choice.fit, "spend": made.spend}))
        .map_err(|e| Error::internal("a model of lifetimes is no JSON").caused_by(e))?;
    let artifact = ctx.artifacts.put(&bytes)?;
    let rows = rows(&made, settings, ctx.now, &artifact);
    let count = write_scores(ctx, name, ENTRY.columns, WriteMode::Replace, &rows).await?;
    let fitted = Fitted { bytes, rows_in, detail: detail(&made), measures: measures(&made.choice) };
    Ok((fitted, artifact, count))
}

fn fit(purchases: &[Purchase], settings: &Value, now: Timestamp) -> Result<Made> {
    let models: &[Model] = match settings.model {
        ValueModel::Auto => &Model::CONTINUOUS,
        ValueModel::BgNbd => &[Model::BgNbd],
        ValueModel::MbgNbd => &[Model::MbgNbd],
        ValueModel::ParetoNbd => &[Model::ParetoNbd],
        ValueModel::BgBb => &[Model::BgBb],
    };
    // Days, or what stands for them: all that is looked at is counted in it.
    let unit = unit_days(settings);
    let held = settings.holdout.unwrap_or(settings.horizon).in_days();
    let (choice, customers) = match settings.model {
        ValueModel::BgBb => {
            let (purchases, now) = opportunities(purchases, now, unit)?;
            choose(&purchases, now, (held / unit).ceil() as i64, models)?
        }
        _ => choose(purchases, now, held.ceil() as i64, models)?,
    };
    let frequency: Vec<f64> = customers.iter().map(|c| c.history.frequency).collect();
    let spends: Vec<f64> = customers.iter().map(|c| c.spend).collect();
    let spend = Spend::fit(&frequency, &spends, None)?;
    let horizon = match settings.model {
        ValueModel::BgBb => (settings.horizon.in_days() / unit).round().max(1.0),
        _ => settings.horizon.in_days(),
    };
    let worths = choice.fit.values(&spend, &customers, horizon, settings.interval.value())?;
    Ok(Made { choice, spend, customers, worths })
}

/// How many days one step of the model's time has: an opportunity, or a day.
fn unit_days(settings: &Value) -> f64 {
    match settings.model {
        ValueModel::BgBb => settings.opportunity.map_or(1.0, |opportunity| opportunity.in_days()),
        _ => 1.0,
    }
}

fn rows(made: &Made, settings: &Value, at: Timestamp, artifact: &str) -> Vec<Row> {
    let unit = unit_days(settings);
    let row = |(customer, worth): (&Customer, &Worth)| Row {
        unit_id: customer.customer.clone(),
        alive: worth.alive,
        expected_purchases: worth.purchases,
        expected_spend: worth.each,
        expected_value: worth.value,
        lower: worth.interval.map(|interval| interval.low),
        upper: worth.interval.map(|interval| interval.high),
        // A checked count: at most a million repeats and the first.
        purchases: customer.history.frequency as i64 + 1,
        recency_days: unit * (customer.history.age - customer.history.recency),
        age_days: unit * customer.history.age,
        horizon_days: settings.horizon.in_days(),
        model: made.choice.fit.model.name().to_owned(),
        as_of: at,
        artifact: artifact.to_owned(),
    };
    made.customers.iter().zip(&made.worths).map(row).collect()
}

fn detail(made: &Made) -> Json {
    let converged = made.choice.fit.converged && made.spend.converged;
    let mut detail = json!({
        "model": made.choice.fit.model.name(),
        "reason": made.choice.reason,
        "parameters": made.choice.fit.parameters,
        "log_likelihood": made.choice.fit.log_likelihood,
        "converged": converged,
        "trials": made.choice.trials,
        "customers": made.customers.len(),
        "spend": made.spend.parameters,
        "spend_correlation": made.spend.correlation,
    });
    let notices = notices(&made.choice, made.spend.converged);
    if let Some(detail) = detail.as_object_mut().filter(|_| !notices.is_empty()) {
        detail.insert("notices".to_owned(), json!(notices));
    }
    detail
}

/// What should be known before anybody believes the values.
fn notices(choice: &Choice, spend_converged: bool) -> Vec<String> {
    let mut notices = Vec::new();
    if choice.trials.is_empty() {
        notices.push(format!("no model was judged by what it foretold: {}", choice.reason));
    }
    let off = match (choice.fit.converged, spend_converged) {
        (true, true) => return notices,
        (false, true) => choice.fit.model.name(),
        (true, false) => "spend",
        (false, false) => "purchases and spend",
    };
    notices.push(format!(
        "converged: false: the data do not hold every parameter of the model of {off}; the values are those of the best \
         parameters found, without intervals"
    ));
    notices
}

/// How far the chosen model was off on purchases it had not seen, beside everybody's own past rate.
fn measures(choice: &Choice) -> Vec<Measure> {
    let chosen = choice.trials.iter().find(|trial| trial.model == choice.fit.model);
    let Some(trial) = chosen else { return Vec::new() };
    vec![
        Measure {
            name: "mae",
            value: trial.error,
            baseline: choice.naive_error,
            count: choice.judged,
        },
        Measure {
            name: "total_ratio",
            value: trial.expected.filter(|_| choice.actual > 0.0).map(|sum| sum / choice.actual),
            baseline: None,
            count: choice.judged,
        },
    ]
}

#[cfg(test)]
mod tests {
    use flywheel_project::resource::quantity::{Duration, Share};

    use super::*;

    fn settings(model: ValueModel) -> Value {
        Value {
            events: String::new(),
            horizon: Duration::days(60),
            model,
            opportunity: (model == ValueModel::BgBb).then(|| Duration::days(30)),
            holdout: None,
            interval: Share::of(0.9),
        }
    }

    /// Sixty customers with rhythms of 5 to 29 days; every third went silent on day 120.
    fn purchases() -> Vec<Purchase> {
        let mut made = Vec::new();
        for who in 0..60_i64 {
            let end = if who % 3 == 0 { 120 } else { 300 };
            let days = (who % 11..end).step_by(5 + 4 * (who % 7) as usize);
            made.extend(days.map(|day| Purchase {
                customer: format!("c{who:02}"),
                at: Timestamp::from_day(day),
                value: 10.0 + (who % 5) as f64 + (day % 3) as f64,
            }));
        }
        made
    }

    #[test]
    fn silent_customers_are_worth_less_and_every_row_is_whole() {
        for model in [
            ValueModel::Auto,
            ValueModel::BgNbd,
            ValueModel::MbgNbd,
            ValueModel::ParetoNbd,
            ValueModel::BgBb,
        ] {
            let (settings, now) = (settings(model), Timestamp::from_day(300));
            let made = fit(&purchases(), &settings, now).unwrap();
            let rows = rows(&made, &settings, now, "digest");
            assert_eq!(rows.len(), 60);
            for row in &rows {
                assert!((0.0..=1.0).contains(&row.alive), "{} {}", row.unit_id, row.alive);
                let value = row.expected_value.unwrap();
                assert!(
                    (value / row.expected_purchases - row.expected_spend.unwrap()).abs() < 1e-9
                );
                assert!(row.lower.is_none_or(|lower| lower <= value));
                assert!(row.upper.is_none_or(|upper| value <= upper));
            }
            let worth = |id: &str| rows.iter().find(|row| row.unit_id == id).unwrap();
            // c21 and c07 share a rhythm of five days; only c07 still buys.
            assert!(worth("c21").alive < 0.1 && worth("c07").alive > 0.9);
            assert!(worth("c21").expected_value < worth("c07").expected_value);
            let measures = measures(&made.choice);
            assert_eq!((measures[0].name, measures[0].count), ("mae", 60));
            assert!(measures[0].value.unwrap() > 0.0 && measures[0].baseline.is_some());
        }
    }

    #[test]
    fn opportunities_are_counted_back_from_now_and_told_in_days() {
        let (settings, now) = (settings(ValueModel::BgBb), Timestamp::from_day(300));
        let made = fit(&purchases(), &settings, now).unwrap();
        let rows = rows(&made, &settings, now, "digest");
        let of = |id: &str| rows.iter().find(|row| row.unit_id == id).unwrap();
        // Bought every five days from day 7 on: in each of ten whole months, the first a chance taken too.
        let often = of("c07");
        assert_eq!((often.purchases, often.age_days, often.recency_days), (10, 270.0, 0.0));
        // Silent since day 120, six months and more ago.
        assert_eq!(of("c21").recency_days, 180.0);
        // Two months ahead are two chances: nobody buys more than twice.
        assert!(rows.iter().all(|row| row.expected_purchases <= 2.0));
        assert!(often.expected_purchases > 1.5, "{}", often.expected_purchases);
        assert!(made.choice.reason.contains("opportunities"), "{}", made.choice.reason);
    }

    #[test]
    fn data_that_end_long_before_now_judge_no_model_and_say_so() {
        let settings = settings(ValueModel::Auto);
        let made = fit(&purchases(), &settings, Timestamp::from_day(500)).unwrap();
        assert!(measures(&made.choice).is_empty(), "nothing was foretold");
        let detail = detail(&made);
        let told = detail["notices"].as_array().unwrap();
        let first = told[0].as_str().unwrap();
        assert!(first.contains("there is no purchase since 1970-10-2"), "{first}");
        let off = told.iter().any(|text| text.as_str().unwrap().contains("converged: false"));
        assert_eq!(off, detail["converged"] == json!(false), "{detail}");
        let made = fit(&purchases(), &settings, Timestamp::from_day(300)).unwrap();
        let texts = notices(&made.choice, true);
        assert_eq!(texts.len(), usize::from(!made.choice.fit.converged), "{texts:?}");
        assert_eq!(notices(&made.choice, false).len(), 1);
    }

    #[test]
    fn too_few_customers_are_an_error_that_says_how_many_are_needed() {
        let settings = settings(ValueModel::Auto);
        let few: Vec<Purchase> =
            purchases().into_iter().filter(|p| p.customer.as_str() < "c05").collect();
        let error = fit(&few, &settings, Timestamp::from_day(300)).err().unwrap();
        assert!(error.message().contains("needs 10 customers, found 5"), "{error}");
        assert!(error.hint_text().is_some());
        assert!(fit(&[], &settings, Timestamp::from_day(300)).is_err());
    }
}
