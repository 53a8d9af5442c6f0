//! Customer lifetime value: how likely each customer is still a customer, how often they will buy, for how much.
//!
//! The models are for customers without a contract, whose leaving nobody sees ("buy till you die"). All of
//! them see a customer as three numbers ([`History`]), and differ in how customers leave:
//!
//! | model | leaves | use it when |
//! |---|---|---|
//! | [`Model::BgNbd`] | by a coin after each repeat purchase | many repeat buyers; one-time buyers count as alive |
//! | [`Model::MbgNbd`] | by a coin after every purchase, the first too | many never come again |
//! | [`Model::ParetoNbd`] | at an own rate, at any moment | purchases say little about leaving; the most careful |
//! | [`Model::BgBb`] | by a coin at each opportunity | buying is possible at fixed moments only |
//!
//! # When not to use it
//! With contracts (leaving is known: use churn), with a strong season shorter than the horizon, for a shop younger
//! than a few purchase rhythms, where prices and frequency hang together (Gamma-Gamma takes them as independent),
//! or where a few large customers decide alone.

mod binomial;
mod choice;
mod elementary;
mod geometric;
mod history;
mod integral;
mod maximum;
mod pareto;
mod special;
mod spend;

use flywheel_base::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use choice::{Choice, Trial, choose};
use geometric::Coin;
pub use history::{Customer, History, PURCHASES_MAX, customers, opportunities};
use history::{Table, check};
use maximum::{Hill, Shape, Top};
pub use spend::Spend;

use crate::stats::Interval;
use crate::stats::normal::quantile;

/// The fewest customers that a model is fitted to.
pub const CUSTOMERS_MIN: f64 = 10.0;

/// The fewest customers with a repeat purchase that a model is fitted to.
pub const BUYERS_MIN: f64 = 5.0;

/// Different histories beyond which the right hill is sought on every n-th of them.
const SAMPLE_ROWS: usize = 5_000;

/// A model of how customers buy and leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// BG/NBD with `r`, `alpha`, `a`, `b` (Fader, Hardie & Lee 2005).
    BgNbd,
    /// MBG/NBD with `r`, `alpha`, `a`, `b` (Batislam et al. 2007; Wagner & Hoppe 2008).
    MbgNbd,
    /// Pareto/NBD with `r`, `alpha`, `s`, `beta` (Schmittlein, Morrison & Colombo 1987; Fader & Hardie 2005).
    ParetoNbd,
    /// BG/BB with `alpha`, `beta`, `gamma`, `delta` (Fader, Hardie & Shang 2010); times are opportunities.
    BgBb,
}

impl Model {
    /// Those for continuous time.
    pub const CONTINUOUS: [Self; 3] = [Self::BgNbd, Self::MbgNbd, Self::ParetoNbd];

    /// The name users write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BgNbd => "bg-nbd",
            Self::MbgNbd => "mbg-nbd",
            Self::ParetoNbd => "pareto-nbd",
            Self::BgBb => "bg-bb",
        }
    }

    /// Names of the parameters.
    fn parameters(self) -> [&'static str; 4] {
        match self {
            Self::BgNbd | Self::MbgNbd => ["r", "alpha", "a", "b"],
            Self::ParetoNbd => ["r", "alpha", "s", "beta"],
            Self::BgBb => ["alpha", "beta", "gamma", "delta"],
        }
    }

    /// Which parameters are times.
    fn times(self) -> &'static [usize] {
        match self {
            Self::BgNbd | Self::MbgNbd => &[1],
            Self::ParetoNbd => &[1, 3],
            Self::BgBb => &[],
        }
    }

    fn alive(self, history: &History, parameters: &[f64]) -> f64 {
        match self {
            Self::BgNbd => geometric::alive(history, Coin::Repeats, parameters),
            Self::MbgNbd => geometric::alive(history, Coin::All, parameters),
            Self::ParetoNbd => pareto::alive(history, parameters),
            Self::BgBb => binomial::alive(history, parameters),
        }
    }

    fn expected(self, history: &History, parameters: &[f64], horizon: f64) -> Option<f64> {
        let value = match self {
            Self::BgNbd => geometric::expected(history, Coin::Repeats, parameters, horizon)?,
            Self::MbgNbd => geometric::expected(history, Coin::All, parameters, horizon)?,
            Self::ParetoNbd => pareto::expected(history, parameters, horizon),
            Self::BgBb => binomial::expected(history, parameters, horizon),
        };
        value.is_finite().then_some(value)
    }
}

/// A fitted parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Its letter in the papers.
    pub name: String,
    /// The value of greatest likelihood.
    pub value: f64,
    /// Its standard error; `None` where the likelihood has no top to measure (see [`Fit::converged`]).
    pub error: Option<f64>,
}

/// A fitted model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Which one.
    pub model: Model,
    /// Its parameters, in the order of the papers and the unit of time of the histories.
    pub parameters: Vec<Estimate>,
    /// The log-likelihood of all customers; greater is better between models of the same histories. `None` if
    /// the parameters were given, not fitted.
    pub log_likelihood: Option<f64>,
    /// The number of customers it was fitted on.
    pub customers: f64,
    /// Whether the search ended at a top. If not, the data do not hold some parameter (say, nobody ever
    /// leaves); the answers are still those of the best parameters found, without errors and intervals.
    pub converged: bool,
    /// The covariance of the logarithms of the parameters.
    covariance: Option<Vec<Vec<f64>>>,
}

impl Fit {
    /// Fits a model by maximum likelihood.
    ///
    /// # Shape
    /// One history a customer; `weights` says how many customers have this history, 1 if `None`.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] naming the first history that contradicts itself, or saying that
    /// there are fewer than [`CUSTOMERS_MIN`] customers or [`BUYERS_MIN`] with a repeat purchase.
    /// # Cost
    /// About 1,000 passes over at most 5,000 different histories and 150 over all different ones; 500 and 20 for
    /// Pareto/NBD, whose slopes and curvatures come along with its likelihood.
    /// # Source
    /// The papers named at [`Model`]; parity with lifetimes in `tests/parity/lifetime.json`.
    pub fn new(model: Model, histories: &[History], weights: Option<&[f64]>) -> Result<Self> {
        check_weights(histories.len(), weights)?;
        histories.iter().enumerate().try_for_each(|(at, history)| check(at, history))?;
        if model == Model::BgBb {
            histories.iter().enumerate().try_for_each(|(at, h)| check_opportunities(at, h))?;
        }
        let scale = scale(model, histories);
        let table = Table::new(histories, weights, scale);
        let buyers = table.rows.iter().filter(|row| row.frequency > 0.0);
        enough(table.weight, buyers.map(|row| row.weight).sum())?;
        let sample = table.sample(SAMPLE_ROWS);
        let coarse = Customers { model, table: sample.as_ref().unwrap_or(&table) };
        let whole = Customers { model, table: &table };
        let hill = maximum::climb(&coarse, &maximum::explore(&coarse, &starts()));
        let top = if sample.is_some() { maximum::climb(&whole, &hill.logs) } else { hill };
        let (parameters, covariance) =
            estimates(&top, &model.parameters(), model.times(), scale, table.weight);
        // A density of purchase moments in other units carries the unit once a purchase.
        let purchases: f64 = table.rows.iter().map(|row| row.weight * row.frequency).sum();
        Ok(Self {
            model,
            parameters,
            log_likelihood: Some(top.value * table.weight - purchases * scale.ln()),
            customers: table.weight,
            converged: top.converged,
            covariance,
        })
    }

    /// A model of known parameters, for instance published ones, without errors.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] unless they are four positive numbers.
    pub fn of(model: Model, parameters: &[f64]) -> Result<Self> {
        let names = model.parameters();
        if parameters.len() != names.len() || parameters.iter().any(|p| !p.is_finite() || *p <= 0.0)
        {
            return Err(Error::invalid(format!(
                "{} takes {}, four numbers above 0; found {parameters:?}",
                model.name(),
                names.join(", ")
            )));
        }
        let named = names.iter().zip(parameters);
        Ok(Self {
            model,
            parameters: named
                .map(|(name, value)| Estimate {
                    name: (*name).to_owned(),
                    value: *value,
                    error: None,
                })
                .collect(),
            log_likelihood: None,
            customers: 0.0,
            converged: true,
            covariance: None,
        })
    }

    /// The probability that a customer is still one.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the history contradicts itself.
    pub fn alive(&self, history: &History) -> Result<f64> {
        self.check(history)?;
        Ok(self.model.alive(history, &values(&self.parameters)))
    }

    /// The expected purchases in the next `horizon`, alive or not.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the history contradicts itself, the horizon is not above 0 and
    /// finite, or so long for this customer that no number comes out.
    pub fn expected(&self, history: &History, horizon: f64) -> Result<f64> {
        self.check(history)?;
        self.check_horizon(horizon)?;
        let value = self.model.expected(history, &values(&self.parameters), horizon);
        value.ok_or_else(|| {
            Error::invalid(format!(
                "a horizon of {horizon} is too long for a customer of age {}",
                history.age
            ))
            .hint("Ask for a horizon of at most a few times the age of the customers.")
        })
    }

    /// The expected purchases of a customer who just came, in the first `horizon` after the first purchase.
    ///
    /// # Errors
    /// As [`Self::expected`].
    pub fn expected_of_new(&self, horizon: f64) -> Result<f64> {
        self.expected(&History { frequency: 0.0, recency: 0.0, age: 0.0 }, horizon)
    }

    /// The interval of [`Self::expected`] at a confidence level: how far the *expectation* is known, given that
    /// the model holds; what one customer does varies far more. `None` without covariance.
    ///
    /// # Errors
    /// As [`Self::expected`]; [`flywheel_base::ErrorKind::Invalid`] if the level is not between 0 and 1.
    /// # Source
    /// The delta method on the logarithm, so that the lower end stays above 0.
    pub fn interval(
        &self,
        history: &History,
        horizon: f64,
        level: f64,
    ) -> Result<Option<Interval>> {
        crate::stats::finite::open_unit("confidence level", level)?;
        let estimate = self.expected(history, horizon)?;
        Ok(self.log_error(history, horizon).map(|error| around(estimate, error, level)))
    }

    /// What a customer will bring in the next `horizon`; both models' uncertainty counts for the interval.
    ///
    /// # Errors
    /// As [`Self::interval`].
    pub fn value(
        &self,
        spend: &Spend,
        customer: &Customer,
        horizon: f64,
        level: f64,
    ) -> Result<Value> {
        crate::stats::finite::open_unit("confidence level", level)?;
        let Customer { history, spend: own, .. } = customer;
        let of = |e: Error| e.context(format!("customer \"{}\"", customer.customer));
        let purchases = self.expected(history, horizon).map_err(of)?;
        let alive = self.alive(history).map_err(of)?;
        let each = spend.expected(history.frequency, *own);
        let value = each.map(|each| purchases * each);
        let errors = self.log_error(history, horizon).zip(spend.log_error(history.frequency, *own));
        let interval = value.zip(errors).map(|(value, (a, b))| around(value, a.hypot(b), level));
        Ok(Value { alive, purchases, each, value, interval })
    }

    /// [`Self::value`] of each customer, on all cores.
    ///
    /// # Errors
    /// As [`Self::value`], naming the customer.
    pub fn values(
        &self,
        spend: &Spend,
        customers: &[Customer],
        horizon: f64,
        level: f64,
    ) -> Result<Vec<Value>> {
        customers.par_iter().map(|customer| self.value(spend, customer, horizon, level)).collect()
    }

    fn log_error(&self, history: &History, horizon: f64) -> Option<f64> {
        let value = |parameters: &[f64]| self.model.expected(history, parameters, horizon);
        log_error(&self.parameters, self.covariance.as_deref(), &value)
    }

    fn check(&self, history: &History) -> Result<()> {
        check(0, history)?;
        if self.model == Model::BgBb { check_opportunities(0, history) } else { Ok(()) }
    }

    fn check_horizon(&self, horizon: f64) -> Result<()> {
        let discrete = self.model == Model::BgBb;
        if horizon.is_finite()
            && horizon > 0.0
            && (!discrete || (horizon.fract() == 0.0 && horizon <= binomial::OPPORTUNITIES_MAX))
        {
            return Ok(());
        }
        Err(Error::invalid(format!("the horizon of {} is {horizon}", self.model.name())).hint(
            if discrete {
                "Give a whole number of opportunities, 1 to 10000."
            } else {
                "Give a length of time above 0."
            },
        ))
    }
}

/// What a customer will bring.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// The probability that this is still a customer.
    pub alive: f64,
    /// The expected purchases.
    pub purchases: f64,
    /// The expected value of each; `None` where it has no mean (see [`Spend::expected`]).
    pub each: Option<f64>,
    /// The expected value of all.
    pub value: Option<f64>,
    /// The interval of `value`; `None` where the models have no errors.
    pub interval: Option<Interval>,
}

/// The likelihood of customers by a model.
struct Customers<'a> {
    model: Model,
    table: &'a Table,
}

impl Hill for Customers<'_> {
    fn height(&self, logs: &[f64]) -> f64 {
        let parameters = exp(logs);
        match self.model {
            Model::BgNbd => geometric::likelihood(self.table, Coin::Repeats, &parameters),
            Model::MbgNbd => geometric::likelihood(self.table, Coin::All, &parameters),
            Model::ParetoNbd => pareto::likelihood(self.table, &parameters),
            Model::BgBb => binomial::likelihood(self.table, &parameters),
        }
    }

    fn shape(&self, logs: &[f64]) -> Shape {
        match self.model {
            Model::ParetoNbd => pareto::shape(self.table, &exp(logs)),
            _ => maximum::differences(&|logs| self.height(logs), logs),
        }
    }
}

/// Starts of the search, in logarithms of scaled parameters: everything 1, and two leanings.
fn starts() -> [Vec<f64>; 3] {
    [vec![0.0, 0.0, 0.0, 0.0], vec![-1.0, -1.5, -0.5, 1.0], vec![0.5, 0.0, -1.0, -1.0]]
}

/// The unit that times are measured in while fitting: the greatest age.
fn scale(model: Model, histories: &[History]) -> f64 {
    let most = histories.iter().map(|history| history.age).fold(0.0, f64::max);
    if model == Model::BgBb || most <= 0.0 { 1.0 } else { most }
}

fn enough(customers: f64, buyers: f64) -> Result<()> {
    // The sum of nothing is −0.
    let customers = customers + 0.0;
    if customers < CUSTOMERS_MIN {
        return Err(Error::invalid(format!(
            "a model of lifetimes needs {CUSTOMERS_MIN} customers, found {customers}"
        ))
        .hint("Give it more history, or wait for more customers."));
    }
    if buyers < BUYERS_MIN {
        return Err(few_buyers("a model of lifetimes", buyers));
    }
    Ok(())
}

fn few_buyers(what: &str, buyers: f64) -> Error {
    let buyers = buyers + 0.0;
    Error::invalid(format!(
        "{what} needs {BUYERS_MIN} customers who bought on a second day, found {buyers}"
    ))
    .hint("Give it a longer history, or count smaller purchases, too.")
}

fn same_length(customers: usize, found: usize, what: &str) -> Result<()> {
    if customers == found {
        return Ok(());
    }
    Err(Error::invalid(format!("{found} {what} do not belong to {customers} customers")))
}

fn check_weights(customers: usize, weights: Option<&[f64]>) -> Result<()> {
    let Some(weights) = weights else { return Ok(()) };
    same_length(customers, weights.len(), "weights")?;
    match weights.iter().position(|weight| !weight.is_finite() || *weight <= 0.0) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(format!("weight is {} at position {at}", weights[at]))
            .hint("Give how many customers have this history: a number above 0.")),
    }
}

fn check_opportunities(position: usize, history: &History) -> Result<()> {
    let History { frequency, recency, age } = *history;
    if recency.fract() == 0.0
        && age.fract() == 0.0
        && age <= binomial::OPPORTUNITIES_MAX
        && frequency <= recency
    {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "customer at position {position} bought at {frequency} opportunities, last at {recency} of {age}"
    ))
    .hint("For bg-bb, count whole opportunities, at most 10000, with at most one purchase at each."))
}

fn exp(logs: &[f64]) -> Vec<f64> {
    logs.iter().map(|log| log.exp()).collect()
}

fn values(estimates: &[Estimate]) -> Vec<f64> {
    estimates.iter().map(|estimate| estimate.value).collect()
}

/// Parameters with errors, and the covariance of their logarithms.
fn estimates(
    top: &Top,
    names: &[&str],
    times: &[usize],
    scale: f64,
    weight: f64,
) -> (Vec<Estimate>, Option<Vec<Vec<f64>>>) {
    let inverse = if top.converged { maximum::inverse(&top.down) } else { None };
    let covariance = inverse.map(|rows| {
        rows.iter()
            .map(|row| row.iter().map(|v| v / weight).collect::<Vec<f64>>())
            .collect::<Vec<_>>()
    });
    let named = names.iter().zip(&top.logs).enumerate();
    let made = named.map(|(at, (name, log))| {
        let unit = if times.contains(&at) { scale } else { 1.0 };
        let value = log.exp() * unit;
        let error = covariance.as_ref().and_then(|c| c.get(at)?.get(at)).map(|v| value * v.sqrt());
        Estimate { name: (*name).to_owned(), value, error }
    });
    (made.collect(), covariance)
}

/// The standard error of the logarithm of a positive `value` of the parameters, by the delta method.
fn log_error(
    estimates: &[Estimate],
    covariance: Option<&[Vec<f64>]>,
    value: &dyn Fn(&[f64]) -> Option<f64>,
) -> Option<f64> {
    let covariance = covariance?;
    let logs: Vec<f64> = estimates.iter().map(|estimate| estimate.value.ln()).collect();
    let log = |logs: &[f64]| value(&exp(logs)).map_or(f64::NAN, f64::ln);
    let slope = maximum::slope(&log, &logs);
    let rows = covariance.iter().zip(&slope);
    let variance: f64 =
        rows.map(|(row, a)| a * row.iter().zip(&slope).map(|(c, b)| c * b).sum::<f64>()).sum();
    (variance.is_finite() && variance >= 0.0).then(|| variance.sqrt())
}

/// An interval that is symmetric on the logarithm.
fn around(estimate: f64, log_error: f64, level: f64) -> Interval {
    let factor = (quantile(0.5 + level / 2.0) * log_error).exp();
    Interval { estimate, low: estimate / factor, high: estimate * factor }
}

#[cfg(test)]
mod tests;
