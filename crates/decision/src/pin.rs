//! Which artifact of a learner is served: the newest one, or one that it is held at.
//!
//! What is held is what readers of `learn.<name>` see, what `predict` and `recommend` answer with, what policies decide
//! with and what is judged by reality. A held learner is not fitted: its next fit would write over what is served. Order:
//! the rows first, then the word that they are held; what is cut off in between is done again by the same command.

use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_project::resource::learner::LearnerKind;
use flywheel_state::{Artifact, Pin};
use flywheel_warehouse::{Catalog, Location, RowStream, TableName, Write, WriteMode};

use crate::context::{Context, location};
use crate::learner;

/// The most digits of a version; a longer number is the beginning of a digest.
const VERSION_DIGITS_MAX: usize = 6;

/// A learner that is held from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Pinned {
    /// The learner.
    pub learner: String,
    /// The artifact that was served until now.
    pub before: Artifact,
    /// The artifact that is served from now on.
    pub now: Artifact,
    /// How many rows were put back into `learn.<learner>`; none if they were there.
    pub rows: Option<u64>,
}

/// Holds the learner `name` at one of its artifacts: the beginning of a digest or the number of a fit, from 1, or without
/// either the one that is served.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown learner or artifact, and if its rows are no longer kept;
/// [`ErrorKind::Invalid`] if it was never fitted, or what is named does not name one artifact; else those of lake and
/// metadata.
pub async fn pin(
    ctx: &Context<'_>,
    name: &str,
    which: Option<&str>,
    reason: &str,
) -> Result<Pinned> {
    let served = served(ctx, name)?;
    let wanted = match which {
        Some(which) => chosen(name, ctx.store.artifacts_of(name, "")?, which)?,
        None => served.clone(),
    };
    hold(ctx, name, served, wanted, reason).await
}

/// Holds the learner `name` at the artifact before the one that is served.
///
/// # Errors
/// As [`pin`]; [`ErrorKind::Invalid`] if there is none before.
pub async fn roll_back(ctx: &Context<'_>, name: &str, reason: &str) -> Result<Pinned> {
    let served = served(ctx, name)?;
    let before = ctx.store.artifacts_of(name, "")?.into_iter().rev().find(|one| {
        one.kind == served.kind && one.fitted_at < served.fitted_at && one.digest != served.digest
    });
    let before = before.ok_or_else(|| {
        Error::invalid(format!("learner \"{name}\" has no artifact before {:.12}", served.digest))
            .hint("`select version, digest, fitted_at from system.artifacts` lists all of them.")
    })?;
    hold(ctx, name, served, before, reason).await
}

/// Lets the learner `name` go: it is fitted at the next turn, and what it was held at is served until then.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown learner, [`ErrorKind::Invalid`] if it is not held; else those of the metadata.
pub fn unpin(ctx: &Context<'_>, name: &str, reason: &str) -> Result<Pin> {
    learner::find(ctx, name)?;
    let pin = learner::held(ctx, name)?.ok_or_else(|| {
        Error::invalid(format!("learner \"{name}\" is not pinned")).hint(
            "`select learner, digest from system.artifacts where pinned` lists those that are.",
        )
    })?;
    let released = Pin { held: false, at: ctx.now, reason: reason.to_owned(), ..pin };
    ctx.store.record_pin(&released)?;
    Ok(released)
}

fn served(ctx: &Context<'_>, name: &str) -> Result<Artifact> {
    learner::find(ctx, name)?;
    learner::last_fit(ctx, name)?.ok_or_else(|| {
        Error::invalid(format!("learner \"{name}\" was never fitted"))
            .hint(format!("Fit it: flywheel learn {name}"))
    })
}

/// The artifact that `which` names.
fn chosen(name: &str, all: Vec<Artifact>, which: &str) -> Result<Artifact> {
    let is_version =
        which.len() <= VERSION_DIGITS_MAX && which.bytes().all(|byte| byte.is_ascii_digit());
    if is_version && let Ok(version) = which.parse::<usize>() {
        let count = all.len();
        let found = version.checked_sub(1).and_then(|place| all.into_iter().nth(place));
        return found.ok_or_else(|| {
            Error::not_found(format!("learner \"{name}\" has no version {version}"))
                .hint(format!("Give a version from 1 to {count}, or the beginning of a digest."))
        });
    }
    let mut found: Vec<Artifact> =
        all.into_iter().filter(|one| !which.is_empty() && one.digest.starts_with(which)).collect();
    let first = found.first().map(|one| one.digest.clone());
    if found.iter().any(|one| Some(&one.digest) != first.as_ref()) {
        return Err(Error::invalid(format!(
            "{} artifacts of learner \"{name}\" begin with \"{which}\"",
            found.len()
        ))
        .hint("Give more of the digest."));
    }
    // Where two fits made the same artifact, the rows of the newer one are meant.
    found.pop().ok_or_else(|| {
        Error::not_found(format!("learner \"{name}\" has no artifact \"{which}\""))
            .hint("See `flywheel sql \"select learner, version, fitted_at, digest from system.artifacts\"`.")
    })
}

async fn hold(
    ctx: &Context<'_>,
    name: &str,
    served: Artifact,
    wanted: Artifact,
    reason: &str,
) -> Result<Pinned> {
    if wanted.kind != served.kind {
        return Err(Error::invalid(format!(
            "artifact {:.12} of learner \"{name}\" is of kind {}, and the learner is of kind {} now",
            wanted.digest, wanted.kind, served.kind
        ))
        .hint("Pin an artifact of the learner's present kind."));
    }
    // What cannot be read cannot be served.
    ctx.artifacts
        .get(&wanted.digest)
        .map_err(|e| e.context(format!("learner \"{name}\", artifact {:.12}", wanted.digest)))?;
    let rows = if wanted.fitted_at == served.fitted_at {
        None
    } else {
        Some(Box::pin(restore_all(ctx, name, &wanted)).await?)
    };
    ctx.store.record_pin(&Pin {
        learner: name.to_owned(),
        fitted_at: wanted.fitted_at,
        held: true,
        at: ctx.now,
        reason: reason.to_owned(),
    })?;
    Ok(Pinned { learner: name.to_owned(), before: served, now: wanted, rows })
}

/// Puts the rows of the artifact back that the learner `name` is held at, after a fit that had begun before it was.
pub(crate) async fn put_back(ctx: &Context<'_>, name: &str) -> Result<()> {
    if let Some(held) = learner::last_fit(ctx, name)? {
        Box::pin(restore_all(ctx, name, &held)).await?;
    }
    Ok(())
}

/// Puts the rows that `wanted` scored back into all tables of the learner; how many its own one has.
async fn restore_all(ctx: &Context<'_>, name: &str, wanted: &Artifact) -> Result<u64> {
    if let LearnerKind::Forecast(settings) = learner::find(ctx, name)?.kind()?
        && !settings.hierarchy.is_empty()
    {
        restore(ctx, &learner::levels_of(name), wanted).await?;
    }
    restore(ctx, name, wanted).await
}

/// Puts the rows that `wanted` scored back into `learn.<table>`; how many there are.
async fn restore(ctx: &Context<'_>, table: &str, wanted: &Artifact) -> Result<u64> {
    let at = location(&format!("learn/{table}"))?;
    let version = version_of(ctx, table, wanted.fitted_at).await?;
    let version = version.ok_or_else(|| gone(table, wanted))?;
    let mut catalog = Catalog::new();
    catalog.table(&TableName::new("learn", table), at.clone(), Some(version));
    let session = ctx.lake.session(catalog)?;
    let query = session.query(&format!("select * from learn.{table}")).await?;
    let batches = query
        .collect()
        .await
        .map_err(|e| e.context(format!("learn.{table}, version {version}")))?;
    let frame = crate::frame::Frame::new("the rows to put back", batches.clone());
    if frame.rows() > 0 {
        let artifacts = frame.text("artifact")?;
        if artifacts.iter().any(|one| one.as_deref() != Some(wanted.digest.as_str())) {
            return Err(gone(table, wanted));
        }
    }
    let rows = frame.rows() as u64;
    let write = Write::new(
        WriteMode::Replace,
        RowStream::from_batches(query.schema(), batches),
        format!("restore {table}"),
    )
    .add_columns();
    ctx.lake.write(&at, write).await?;
    Ok(rows)
}

/// The version of `learn.<table>` that the fit at `moment` wrote, if it is kept.
async fn version_of(ctx: &Context<'_>, table: &str, moment: Timestamp) -> Result<Option<i64>> {
    let at = location(&format!("learn/{table}"))?;
    let app = format!("learn/{table}");
    let history = ctx.lake.history(&at).await?;
    // Sequences only grow, and the first commit with that of the fit is the fit's own.
    let (mut low, mut high) = (0, history.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        let Some(record) = history.get(middle) else { break };
        if sequence_of(ctx, &at, &app, record.version)
            .await?
            .is_none_or(|known| known < moment.micros())
        {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let Some(record) = history.get(low) else { return Ok(None) };
    let known = sequence_of(ctx, &at, &app, record.version).await?;
    Ok((known == Some(moment.micros())).then_some(record.version))
}

/// The sequence of `app` at a version; none before what is kept.
async fn sequence_of(
    ctx: &Context<'_>,
    at: &Location,
    app: &str,
    version: i64,
) -> Result<Option<i64>> {
    match ctx.lake.state_at(at, version).await {
        Ok(state) => Ok(state.checkpoints.get(app).map(|last| last.sequence)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn gone(table: &str, wanted: &Artifact) -> Error {
    Error::not_found(format!(
        "the rows of learn.{table} that artifact {:.12} scored are no longer kept",
        wanted.digest
    ))
    .hint("Pin a newer artifact; `keep_versions` in flywheel.yaml says for how long rows are kept.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn artifact(digest: &str, at: i64) -> Artifact {
        Artifact {
            digest: digest.into(),
            learner: "demand".into(),
            turn: None,
            kind: "forecast".into(),
            fitted_at: Timestamp::from_micros(at),
            detail: json!({}),
        }
    }

    #[test]
    fn an_artifact_is_named_by_version_or_by_the_beginning_of_its_digest() {
        let all = || {
            vec![artifact("12ab", 1), artifact("12cd", 2), artifact("ef00", 3), artifact("ef00", 4)]
        };
        let check = |which: &str, expected: i64| {
            let found = chosen("demand", all(), which).unwrap();
            assert_eq!(found.fitted_at, Timestamp::from_micros(expected), "{which}");
        };
        check("1", 1);
        check("2", 2);
        check("12a", 1);
        check("ef", 4);
        let refused = |which: &str, expected: &str| {
            let error = chosen("demand", all(), which).unwrap_err();
            assert!(error.message().contains(expected), "{which}: {}", error.message());
        };
        refused("5", "no version 5");
        refused("0", "no version 0");
        refused("abc", "no artifact \"abc\"");
        refused("", "no artifact \"\"");
        // Both begin so, and a version it is not.
        let both = vec![artifact("aa01", 1), artifact("aa02", 2)];
        let error = chosen("demand", both, "aa").unwrap_err();
        assert!(error.message().contains("2 artifacts"), "{}", error.message());
    }
}
