//! Learners: fitted from SQL into content-addressed artifacts, scored back into `learn.<name>`.
//!
//! A learner kind is one file and one line in [`LEARNERS`]. What holds after a crash: the artifact's
//! bytes are stored first, the scores are committed with the moment of the fit as their sequence, the
//! fit is recorded last; a fit that was cut off anywhere is done again with the same result.

pub(crate) mod bandit;
pub mod forecast;
pub(crate) mod hours;
pub(crate) mod lookalike;
pub(crate) mod onnx;
pub mod recommend;
pub mod score;
pub mod segment;
pub(crate) mod uplift;
pub mod value;

use flywheel_base::{Error, Result, suggest};
use flywheel_project::resource::learner::{Learner, LearnerKind};
use flywheel_project::resource::policy::Choose;
use flywheel_state::{Artifact, Pin};
use flywheel_warehouse::{Checkpoint, Lake, RowStream, Write, WriteMode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::context::{Context, due_after, location};
use crate::table::{Column, ColumnType, EvaluationRow, SystemTable};

/// One kind of learner.
#[derive(Clone, Copy, Debug)]
pub struct LearnerEntry {
    /// The key in a learner's file.
    pub name: &'static str,
    /// What it learns, in one sentence.
    pub about: &'static str,
    /// The columns of `learn.<learner>`.
    pub columns: &'static [Column],
}

/// Every kind of learner.
pub const LEARNERS: &[LearnerEntry] = &[
    recommend::ENTRY,
    segment::ENTRY,
    forecast::ENTRY,
    score::ENTRY,
    value::ENTRY,
    uplift::ENTRY,
    lookalike::ENTRY,
    hours::ENTRY,
    onnx::ENTRY,
    bandit::ENTRY,
];

/// How often a learner is fitted unless it says otherwise, in microseconds: daily.
const REFIT_DEFAULT_US: i64 = 86_400_000_000;

/// What a fit brought.
#[derive(Clone, Debug)]
pub struct Learned {
    /// The learner.
    pub learner: String,
    /// The artifact.
    pub artifact: String,
    /// Rows it was fitted on.
    pub rows_in: u64,
    /// Rows of scores.
    pub rows_out: u64,
    /// More about it.
    pub detail: Value,
}

/// A fit before it is stored.
pub(crate) struct Fitted {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows_in: u64,
    pub(crate) detail: Value,
    pub(crate) measures: Vec<Measure>,
}

/// One measure of a fit on held-back data.
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) value: Option<f64>,
    pub(crate) baseline: Option<f64>,
    pub(crate) count: usize,
}

/// The entry of a learner's kind.
fn entry(learner: &Learner) -> Result<&'static LearnerEntry> {
    Ok(match learner.kind()? {
        LearnerKind::Recommend(_) => &recommend::ENTRY,
        LearnerKind::Segment(_) => &segment::ENTRY,
        LearnerKind::Forecast(_) => &forecast::ENTRY,
        LearnerKind::Score(_) => &score::ENTRY,
        LearnerKind::Value(_) => &value::ENTRY,
        LearnerKind::Uplift(_) => &uplift::ENTRY,
        LearnerKind::Lookalike(_) => &lookalike::ENTRY,
        LearnerKind::Hours(_) => &hours::ENTRY,
        LearnerKind::Onnx(_) => &onnx::ENTRY,
        LearnerKind::Bandit(_) => &bandit::ENTRY,
    })
}

pub(crate) fn find<'a>(ctx: &'a Context<'_>, name: &str) -> Result<&'a Learner> {
    ctx.project.learners.get(name).map(|located| &**located).ok_or_else(|| {
        let known: Vec<&str> = ctx.project.learners.keys().map(String::as_str).collect();
        Error::not_found(format!("no learner \"{name}\"")).hint(suggest::hint(name, known))
    })
}

/// The fit of the learner `name` that is served: the last one, or the one it is held at. One of another kind, which had
/// the name before, is none: its artifact and what stands in `learn.<name>` until the next fit mean something else.
pub(crate) fn last_fit(ctx: &Context<'_>, name: &str) -> Result<Option<Artifact>> {
    let Some(last) = ctx.store.served_artifact(name)? else { return Ok(None) };
    let Some(located) = ctx.project.learners.get(name) else { return Ok(Some(last)) };
    let fits = entry(located)?.name == last.kind;
    Ok(fits.then_some(last))
}

/// Whether `learn.<name>` has the column: until its first fit a learner finds there what one of another kind left.
pub(crate) async fn has_column(ctx: &Context<'_>, name: &str, column: &str) -> Result<bool> {
    let table = ctx.lake.head(&location(&format!("learn/{name}"))?).await?;
    Ok(table.is_some_and(|table| table.schema.index_of(column).is_ok()))
}

/// The learner that the policy `name` takes what it chooses from, if it was never fitted: until then there is nothing to
/// choose.
///
/// # Errors
/// Those of the metadata.
pub fn awaited<'a>(ctx: &'a Context<'_>, name: &str) -> Result<Option<&'a str>> {
    let learner = match ctx.project.policies.get(name).map(|policy| &policy.choose) {
        Some(Choose::Recommend(settings)) => settings.learner.as_str(),
        Some(Choose::Reorder(settings)) => settings.learner.as_str(),
        // A bandit chooses evenly before it has learned.
        _ => return Ok(None),
    };
    Ok(last_fit(ctx, learner)?.is_none().then_some(learner))
}

/// Whether the learner `name` is to be fitted now.
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] for an unknown learner, else those of what its file names.
pub fn due(ctx: &Context<'_>, name: &str) -> Result<bool> {
    is_due(ctx, name).map_err(|error| named(error, name))
}

fn is_due(ctx: &Context<'_>, name: &str) -> Result<bool> {
    let learner = find(ctx, name)?;
    let every = learner.refit.map_or(REFIT_DEFAULT_US, |refit| refit.micros);
    if held(ctx, name)?.is_some() {
        // A fit would write over what is served.
        return Ok(false);
    }
    if ctx.store.pin(name)?.is_some() {
        // What was let go is served until the next fit alone.
        return Ok(true);
    }
    let Some(last) = last_fit(ctx, name)? else { return Ok(true) };
    if ctx.store.retrain_asked(name)?.is_some_and(|at| at > last.fitted_at) {
        return Ok(true);
    }
    let declared = match learner.kind()? {
        // Its policy chooses by what the file says now.
        LearnerKind::Bandit(settings) => Some(bandit::declared(settings)?),
        // Another file is another model.
        LearnerKind::Onnx(settings) => Some(onnx::declared(ctx, settings)?),
        _ => None,
    };
    if let Some(declared) = declared
        && last.detail.get("declared").and_then(Value::as_str) != Some(declared.as_str())
    {
        return Ok(true);
    }
    Ok(ctx.now.micros() >= last.fitted_at.micros().saturating_add(due_after(every)))
}

/// What the learner `name` is held at, if it is: then it is not fitted. An artifact of another kind, which had the name
/// before, holds nothing.
///
/// # Errors
/// Those of the metadata.
pub fn held(ctx: &Context<'_>, name: &str) -> Result<Option<Pin>> {
    let Some(pin) = ctx.store.pin(name)?.filter(|pin| pin.held) else { return Ok(None) };
    Ok(last_fit(ctx, name)?.is_some().then_some(pin))
}

/// Fits the learner `name` on what readers see now and scores it.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if its SQL or options do not fit, else those of lake and metadata.
pub async fn learn(ctx: &Context<'_>, name: &str) -> Result<Learned> {
    let learner = find(ctx, name)?;
    let learned = match learner.kind()? {
        LearnerKind::Recommend(settings) => recommend::learn(ctx, name, settings).await,
        LearnerKind::Segment(settings) => segment::learn(ctx, name, settings).await,
        LearnerKind::Forecast(settings) => forecast::learn(ctx, name, settings).await,
        LearnerKind::Score(settings) => score::learn(ctx, name, settings).await,
        LearnerKind::Value(settings) => value::learn(ctx, name, settings).await,
        LearnerKind::Uplift(settings) => uplift::learn(ctx, name, settings).await,
        LearnerKind::Lookalike(settings) => lookalike::learn(ctx, name, settings).await,
        LearnerKind::Hours(settings) => hours::learn(ctx, name, settings).await,
        LearnerKind::Onnx(settings) => onnx::learn(ctx, name, settings).await,
        LearnerKind::Bandit(settings) => bandit::learn(ctx, name, settings).await,
    };
    let (fitted, artifact, rows_out) = learned.map_err(|error| named(error, name))?;
    record_measures(ctx, name, &artifact, &fitted).await?;
    let mut detail = fitted.detail;
    if let Some(object) = detail.as_object_mut() {
        object.insert("rows".to_owned(), json!(fitted.rows_in));
        let measures = fitted.measures.iter().map(|m| {
            (m.name.to_owned(), json!({"value": m.value, "baseline": m.baseline, "count": m.count}))
        });
        object.insert("measures".to_owned(), Value::Object(measures.collect()));
    }
    if let Some(pin) = ctx.store.pin(name)?
        && held(ctx, name)?.is_none()
    {
        // The artifact of a learner of another kind ends with this fit.
        ctx.store.record_pin(&Pin { held: false, ..pin })?;
    }
    ctx.store.record_artifact(&Artifact {
        digest: artifact.clone(),
        learner: name.to_owned(),
        turn: (ctx.turn > 0).then_some(ctx.turn),
        kind: entry(learner)?.name.to_owned(),
        fitted_at: ctx.now,
        detail: detail.clone(),
    })?;
    if held(ctx, name)?.is_some() {
        // Somebody has pinned it since the fit began.
        Box::pin(crate::pin::put_back(ctx, name)).await?;
    }
    Ok(Learned { learner: name.to_owned(), artifact, rows_in: fitted.rows_in, rows_out, detail })
}

/// The address of what is stored beside a fit and judges it, if anything is: what users had, known by digests alone.
#[must_use]
pub fn beside(fit: &Artifact) -> Option<String> {
    fit.detail.get(recommend::had::HAD).and_then(Value::as_str).map(str::to_owned)
}

/// The table with what is ahead of groups of series, for a forecast with a hierarchy.
pub(crate) fn levels_of(name: &str) -> String {
    forecast::levels_of(name)
}

/// An error that names its learner, once: those of its queries do already.
fn named(error: Error, name: &str) -> Error {
    let who = format!("learner \"{name}\"");
    if error.message().starts_with(&who) { error } else { error.context(who) }
}

/// Makes the score tables of a learner, empty, so that models and policies can read them before the first fit.
///
/// # Errors
/// Those of the lake.
pub async fn ensure_tables(lake: &Lake, name: &str, learner: &Learner) -> Result<()> {
    let kind = entry(learner)?;
    ensure(lake, name, kind.columns).await?;
    match learner.kind()? {
        LearnerKind::Segment(_) => {
            ensure(lake, &segment::moves_of(name), segment::MOVES).await?;
        }
        LearnerKind::Forecast(settings) if !settings.hierarchy.is_empty() => {
            ensure(lake, &forecast::levels_of(name), forecast::LEVEL_COLUMNS).await?;
        }
        _ => {}
    }
    Ok(())
}

async fn ensure(lake: &Lake, name: &str, columns: &'static [Column]) -> Result<()> {
    let table = SystemTable { name: "learn", about: "", columns };
    let at = location(&format!("learn/{name}"))?;
    if lake.head(&at).await?.is_none() {
        let write = Write::new(
            WriteMode::Replace,
            RowStream::empty(table.schema()),
            format!("create learn.{name}"),
        );
        lake.write(&at, write).await?;
    }
    Ok(())
}

/// Writes rows of a learner's table in one commit whose sequence is the logical moment.
pub(crate) async fn write_scores<R: Serialize>(
    ctx: &Context<'_>,
    name: &str,
    columns: &'static [Column],
    mode: WriteMode,
    rows: &[R],
) -> Result<u64> {
    let table = SystemTable { name: "learn", about: "", columns };
    let checkpoint = Checkpoint { sequence: ctx.now.micros(), position: json!({}) };
    let stream = RowStream::from_batches(table.schema(), vec![table.batch(rows)?]);
    let write = Write::new(mode, stream, format!("score {name}"))
        .checkpoint(format!("learn/{name}"), checkpoint)
        .add_columns();
    ctx.lake.write(&location(&format!("learn/{name}"))?, write).await?;
    Ok(rows.len() as u64)
}

async fn record_measures(
    ctx: &Context<'_>,
    name: &str,
    artifact: &str,
    fitted: &Fitted,
) -> Result<()> {
    if fitted.measures.is_empty() {
        return Ok(());
    }
    let row = |measure: &Measure| EvaluationRow {
        turn: ctx.turn,
        at: ctx.now,
        learner: name.to_owned(),
        artifact: artifact.to_owned(),
        against: "fit".to_owned(),
        measure: measure.name.to_owned(),
        value: measure.value.filter(|value| value.is_finite()),
        baseline: measure.baseline.filter(|value| value.is_finite()),
        count: i64::try_from(measure.count).unwrap_or(i64::MAX),
    };
    let rows: Vec<EvaluationRow> = fitted.measures.iter().map(row).collect();
    let checkpoint = Checkpoint { sequence: ctx.now.micros(), position: json!({}) };
    SystemTable::named("evaluations")?
        .append(ctx.lake, &rows, Some((format!("fit/{name}"), checkpoint)))
        .await?;
    Ok(())
}

/// Columns every score table ends with.
pub(crate) const ARTIFACT: Column =
    ("artifact", ColumnType::Text, "digest of the artifact that scored");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_learner_once() {
        let check = |message: &str, expected: &str| {
            assert_eq!(named(Error::invalid(message), "demand").message(), expected);
        };
        check("no row has a target", "learner \"demand\": no row has a target");
        check("learner \"demand\": series: no row", "learner \"demand\": series: no row");
        check(
            "learner \"demand2\" was never fitted",
            "learner \"demand\": learner \"demand2\" was never fitted",
        );
    }
}
