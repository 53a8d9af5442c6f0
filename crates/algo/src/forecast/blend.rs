//! The mean of two forecasts that err differently: dynamic Theta and exponential smoothing.
//!
//! On the M3 competition the mean errs less than either, whatever the kind of series.

use flywheel_base::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Forecaster, Made, Model, Options, Spread, find, save};

/// The mean of dynamic theta and exponential smoothing.
pub const BLEND: Forecaster = Forecaster {
    name: "blend",
    about: "the mean of theta-dynamic and ets, which errs less than either",
    length_min: |options| {
        MEMBERS.iter().map(|member| (member.length_min)(options)).max().unwrap_or(1)
    },
    fit,
    load,
};

/// The fitted members; the spread is the mean of theirs, as if they erred together.
#[derive(Debug)]
struct Blend(Vec<(&'static str, Made)>);

/// A member as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    name: String,
    state: Value,
}

/// What is averaged.
const MEMBERS: [Forecaster; 2] = [super::theta::DYNAMIC, super::ets::ETS];

fn fit(values: &[f64], options: &Options) -> Result<Made> {
    let fitted = MEMBERS.into_iter().map(|m| Ok((m.name, (m.fit)(values, options)?)));
    Ok(Box::new(Blend(fitted.collect::<Result<_>>()?)))
}

fn load(state: &Value) -> Result<Made> {
    let stored: Vec<Stored> = serde_json::from_value(state.clone()).map_err(|error| {
        Error::corrupt("stored forecast state cannot be read")
            .caused_by(error)
            .hint("Fit the learner again; the stored version was written by another release.")
    })?;
    let read = stored.iter().map(|member| {
        let forecaster = find(&member.name)?;
        Ok((forecaster.name, (forecaster.load)(&member.state)?))
    });
    Ok(Box::new(Blend(read.collect::<Result<_>>()?)))
}

impl Blend {
    /// The mean of one row a member.
    fn averaged(rows: &[Vec<f64>], horizon: usize) -> Vec<f64> {
        let n = rows.len().max(1) as f64;
        (0..horizon).map(|step| rows.iter().map(|row| row[step]).sum::<f64>() / n).collect()
    }
}

impl Model for Blend {
    fn mean(&self, horizon: usize) -> Vec<f64> {
        let rows: Vec<_> = self.0.iter().map(|(_, member)| member.mean(horizon)).collect();
        Self::averaged(&rows, horizon)
    }

    fn spread(&self, horizon: usize) -> Option<Spread> {
        let spreads: Vec<Spread> =
            self.0.iter().filter_map(|(_, member)| member.spread(horizon)).collect();
        let freedom = spreads.iter().map(|spread| spread.freedom).reduce(f64::min)?;
        let rows: Vec<_> = spreads.into_iter().map(|spread| spread.deviation).collect();
        Some(Spread { deviation: Self::averaged(&rows, horizon), freedom })
    }

    fn refit(&self, values: &[f64], options: &Options) -> Option<Result<Made>> {
        let members = self.0.iter().map(|(name, member)| {
            let again = match member.refit(values, options) {
                Some(again) => again?,
                None => (find(name)?.fit)(values, options)?,
            };
            Ok((*name, again))
        });
        let members = members.collect::<Result<Vec<_>>>();
        Some(members.map(|members| Box::new(Blend(members)) as Made))
    }

    fn save(&self) -> Result<Value> {
        let stored = self
            .0
            .iter()
            .map(|(name, member)| Ok(Stored { name: (*name).to_owned(), state: member.save()? }));
        save(&stored.collect::<Result<Vec<_>>>()?)
    }
}
