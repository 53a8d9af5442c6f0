//! What people ask of policies: look at what one would decide, make one, judge a challenger, let it decide, take that
//! back, prove decisions, plan experiments.

use std::fs;
use std::path::PathBuf;

use arrow::array::{Array, Int64Array};
use flywheel_base::{Error, ErrorKind, QuotaExceeded, Result, statement, suggest};
use flywheel_decision::Context;
use flywheel_decision::challenge::{self, Challenge, Judgement};
use flywheel_decision::champion::{self, Champion, Promoted};
use flywheel_decision::conclude::{self, Concluded, Conclusion};
use flywheel_decision::decide::{self, Question};
use flywheel_decision::experiment;
use flywheel_decision::experiment::Standings;
use flywheel_decision::experiment::plan::{self, Plan};
use flywheel_decision::preview::{self, Preview};
use flywheel_decision::table::DecisionRow;
use flywheel_decision::verify::{self, Replayed, Verified};
use flywheel_project::grant::{Deed, Governed};
use flywheel_project::resource::policy::{Choose, Consent};
use flywheel_project::{Diagnostic, Draft, Severity};
use flywheel_state::PolicyState;
use flywheel_warehouse::{Seen, TableName};

use crate::access::Reading;
use crate::{Workspace, dashboard, lake_source, run};

/// Why a policy is paused that nobody let go on yet.
pub const MADE_IN_PAGES: &str = "made in the web pages; waits for approval";

/// What the policy `name` would decide if it were asked now, with its first `sample` decisions; nothing is written.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown policy, the error of [`Reading::refusal_of_policy`] for who does not see all of what
/// it reads, else those of [`preview::preview`].
pub async fn preview(
    workspace: &Workspace,
    name: &str,
    sample: usize,
    reading: &Reading,
) -> Result<Preview> {
    let policies = &workspace.project.policies;
    let policy = policies.get(name).ok_or_else(|| {
        Error::not_found(format!("no policy \"{name}\""))
            .hint(suggest::hint(name, policies.keys().map(String::as_str)))
    })?;
    // How many it would reach and leave out tells of rows that are not seen, so that there are no counts either.
    match Box::pin(reading.refusal_of_policy(workspace, name)).await? {
        None => {}
        Some(refusal)
            if refusal.kind() == ErrorKind::Denied || QuotaExceeded::of(&refusal).is_some() =>
        {
            return Err(refusal.context(format!("policy \"{name}\" cannot be shown in advance")));
        }
        // What is wrong with it may name what is hidden.
        Some(refusal) => {
            let said = format!("policy \"{name}\" cannot be asked, and why is not for you");
            return Err(Error::new(refusal.kind(), said).hint(format!(
                "Let somebody who sees all that it reads run `flywheel policy preview {name}`."
            )));
        }
    }
    let ctx = now_for(workspace, reading).await?;
    let mut found = Box::pin(preview::preview(&ctx, name, policy, sample)).await?;
    found.notes.extend(warnings_of(workspace, &policy.file));
    Ok(found)
}

/// As [`preview()`], of a text that is no file yet, or of a policy as its file shall be.
///
/// # Errors
/// [`ErrorKind::Invalid`] with every mistake of the text, the error of [`Reading::refusal_of_policy`] for who does not see
/// all of what it reads or what was decided under its name, else those of [`preview::preview`].
pub async fn preview_text(
    workspace: &Workspace,
    text: &str,
    sample: usize,
    reading: &Reading,
) -> Result<Preview> {
    let draft = Draft::of_policy(&workspace.project, text);
    let drafted = workspace.drafted_for(&draft, reading)?;
    // A count that follows from a condition tells of values, so that there are none either.
    if let Some(refusal) = Box::pin(reading.refusal_of_policy(&drafted, &draft.name)).await? {
        return Err(refusal);
    }
    if let Some(refusal) = Box::pin(refusal_of_name(workspace, &draft.name, reading)).await? {
        return Err(refusal);
    }
    let policy = drafted.project.policies.get(&draft.name).ok_or_else(|| lost(&draft))?;
    let ctx = now_for(&drafted, reading).await?;
    let mut found = Box::pin(preview::preview(&ctx, &draft.name, policy, sample)).await?;
    if !workspace.project.policies.contains_key(&draft.name) {
        found.delivery.approval = true;
    }
    found.notes.extend(warnings_of(&drafted, &draft.path));
    Ok(found)
}

/// What the project's check warns of in a policy's file, as notes of a preview.
fn warnings_of(workspace: &Workspace, file: &str) -> Vec<String> {
    let warning = |one: &Diagnostic| {
        let hint = one.hint.as_deref().unwrap_or_default();
        format!("Line {}: {}. {hint}", one.span.line.max(1), one.message).trim_end().to_owned()
    };
    let warnings = workspace.project.warnings.of_file(file);
    warnings.iter().filter(|one| one.severity == Severity::Warning).map(warning).collect()
}

/// Why a text may not be tried or made under the name `name` on the reader's behalf: caps count what was decided under
/// that name before, so that who is left out by them tells of those decisions. None for who sees all of these.
async fn refusal_of_name(
    workspace: &Workspace,
    name: &str,
    reading: &Reading,
) -> Result<Option<Error>> {
    if workspace.project.policies.contains_key(name)
        && let Some(refusal) = Box::pin(reading.refusal_of_policy(workspace, name)).await?
    {
        return Ok(Some(refusal));
    }
    let catalog = workspace.catalog().await?;
    let limits = reading.limits(workspace, &catalog)?;
    let Some(sight) = limits.sights.get(&TableName::new("system", "decisions")) else {
        return Ok(None);
    };
    let all = decided_under(workspace, name, &Reading::Owner).await?;
    let seen = match &sight.seen {
        Seen::Part { masks, hidden, .. } if masks.is_empty() && hidden.is_empty() => {
            decided_under(workspace, name, reading).await?
        }
        // Of rows that are seen in part the rest is told, too.
        _ => 0,
    };
    Ok((all > seen)
        .then(|| sight.refusal(&format!("every decision that was made under the name \"{name}\""))))
}

/// How many decisions of the policy `name` the reader sees.
async fn decided_under(workspace: &Workspace, name: &str, reading: &Reading) -> Result<i64> {
    let name = name.replace('\'', "''");
    let sql = format!("select count(*) as decisions from system.decisions where policy = '{name}'");
    let session = workspace.session_for(&sql, reading).await?;
    let answer = session.query(&sql).await?.collect().await?;
    let count = answer.iter().find_map(|batch| {
        let counts = batch.columns().first()?.as_any().downcast_ref::<Int64Array>()?;
        (!counts.is_empty()).then(|| counts.value(0))
    });
    count.ok_or_else(|| Error::internal("counted decisions are no whole number"))
}

/// A policy that was made.
#[derive(Debug)]
pub struct Created {
    /// Its name.
    pub name: String,
    /// Its file below the project's folder.
    pub file: String,
    path: PathBuf,
    /// What was known of a policy of that name.
    before: PolicyState,
}

impl Created {
    /// Takes the file away again, and what was recorded with it.
    ///
    /// # Errors
    /// Those of the file system and of the metadata.
    pub fn undo(&self, workspace: &Workspace) -> Result<()> {
        fs::remove_file(&self.path).map_err(|e| Error::io("remove", &self.path, e))?;
        workspace.store.record_policy(&self.name, &self.before, workspace.now())
    }
}

/// Writes the file of a new policy, which is paused until somebody lets it go on: it never decides before.
///
/// # Errors
/// [`ErrorKind::Invalid`] with every mistake of the text, [`ErrorKind::Conflict`] if its name or its file is taken, the
/// error of [`Reading::refusal_of_policy`] for who does not see all of what it reads or what was decided under its name,
/// that of [`preview::check`] if its queries do not run; else those of the file system and of the metadata. Nothing is written then.
pub async fn create(workspace: &Workspace, text: &str, reading: &Reading) -> Result<Created> {
    let draft = Draft::of_policy(&workspace.project, text);
    let name = &draft.name;
    if let Some(granted) = reading.granted(&workspace.project) {
        granted.require(Governed::Policies, name, Deed::Change)?;
    }
    if let Some(located) = workspace.project.policies.get(name) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("there is a policy \"{name}\" already, in {}", located.file),
        )
        .hint("Choose another name; nothing was written."));
    }
    let drafted = workspace.drafted_for(&draft, reading)?;
    if let Some(refusal) = Box::pin(reading.refusal_of_policy(&drafted, name)).await? {
        // It would carry what it reads to wherever its action sends it.
        return Err(refusal);
    }
    if let Some(refusal) = Box::pin(refusal_of_name(workspace, name, reading)).await? {
        return Err(refusal);
    }
    let policy = drafted.project.policies.get(name).ok_or_else(|| lost(&draft))?;
    let ctx = now(&drafted).await?;
    // Turns ask a policy for its outcomes also while it is paused: one that nobody approved must not fail there.
    Box::pin(preview::check(&ctx, name, policy)).await?;
    let before = workspace.store.policy(name)?;
    // Before there is a file that a turn could find.
    run::pause(&drafted, name, MADE_IN_PAGES)?;
    let path = workspace.dir().join(&draft.path);
    if let Err(error) = dashboard::write(&path, text, true) {
        workspace.store.record_policy(name, &before, workspace.now())?;
        return Err(error);
    }
    Ok(Created { name: draft.name, file: draft.path, path, before })
}

/// Whether turns could go on with a policy as its file shall be.
///
/// # Errors
/// Those of [`preview::check`].
pub(crate) async fn check(drafted: &Workspace, name: &str) -> Result<()> {
    let policy = drafted.project.policies.get(name);
    let policy = policy.ok_or_else(|| Error::internal("a checked policy is not there"))?;
    let ctx = now(drafted).await?;
    Box::pin(preview::check(&ctx, name, policy)).await
}

fn lost(draft: &Draft) -> Error {
    Error::internal(format!("policy \"{}\" was read and is not there", draft.name))
}

/// Every query of a policy, as it is run.
pub(crate) fn queries(workspace: &Workspace, name: &str) -> Result<Vec<String>> {
    let Some(policy) = workspace.project.policies.get(name) else { return Ok(Vec::new()) };
    let mut templates = vec![&policy.audience];
    templates.extend(policy.outcome.as_ref().and_then(|outcome| outcome.events.as_ref()));
    if let Some(Consent::Sql(sql)) = &policy.consent {
        templates.push(sql);
    }
    templates.extend(&policy.stock);
    if let Choose::Experiment(experiment) = &policy.choose {
        templates.extend(experiment.queries().into_iter().map(|(_, sql)| sql));
        templates.extend(experiment.guardrails.iter().map(|guardrail| &guardrail.events));
    }
    let query = |template: &String| -> Result<String> {
        let sql = workspace.expanded(&lake_source::render(workspace, template)?)?;
        Ok(statement::bare(&sql).to_owned())
    };
    templates.into_iter().map(query).collect()
}

/// Judges a challenger by the logged decisions of a policy.
///
/// # Errors
/// Those of [`challenge::judge`].
pub async fn judge(workspace: &Workspace, challenge: &Challenge) -> Result<Judgement> {
    challenge::judge(&context(workspace).await?, challenge).await
}

/// Lets a challenger decide for a policy from the next turn on, if there is evidence, or `despite` it for a reason.
///
/// # Errors
/// Those of [`champion::promote`].
pub async fn promote(
    workspace: &Workspace,
    challenge: &Challenge,
    despite: Option<&str>,
) -> Result<Promoted> {
    champion::promote(&context(workspace).await?, challenge, despite).await
}

/// Ends the trial of a challenger, or takes the newest promotion of a policy back; returns who decided and who decides now.
///
/// # Errors
/// Those of [`champion::take_back`].
pub async fn roll_back(
    workspace: &Workspace,
    name: &str,
    reason: &str,
) -> Result<(Champion, Champion)> {
    champion::take_back(&context(workspace).await?, name, reason)
}

/// Ends an experiment: every unit that is not held out gets the variant `keep` from the next decision on.
///
/// # Errors
/// Those of [`conclude::conclude`].
pub async fn conclude(
    workspace: &Workspace,
    name: &str,
    keep: &str,
    why: Option<&str>,
    by: &str,
) -> Result<Concluded> {
    conclude::conclude(&context(workspace).await?, name, keep, why, by).await
}

/// Opens a concluded experiment again; returns what everybody got until now.
///
/// # Errors
/// Those of [`conclude::reopen`].
pub async fn reopen(
    workspace: &Workspace,
    name: &str,
    why: Option<&str>,
    by: &str,
) -> Result<Conclusion> {
    conclude::reopen(&context(workspace).await?, name, why, by)
}

/// The variant that everybody gets of the policy `name`; none if it is no experiment, or not concluded.
///
/// # Errors
/// Those of the metadata.
pub fn concluded(workspace: &Workspace, name: &str) -> Result<Option<Conclusion>> {
    match workspace.project.policies.get(name).map(|policy| &policy.choose) {
        Some(Choose::Experiment(settings)) => conclude::concluded(&workspace.store, name, settings),
        _ => Ok(None),
    }
}

/// Makes decisions of a policy again and compares them with what was logged.
///
/// # Errors
/// Those of [`verify::verify`].
pub async fn verify(workspace: &Workspace, name: &str, decision: Option<&str>) -> Result<Verified> {
    verify::verify(&context(workspace).await?, name, decision).await
}

/// Makes one decision of whichever policy again and says whether it is the one that was logged.
///
/// # Errors
/// Those of [`verify::replay`].
pub async fn replay(workspace: &Workspace, decision: &str) -> Result<Replayed> {
    verify::replay(&context(workspace).await?, decision).await
}

/// The error for a decision that is not there, or not for whoever asks.
#[must_use]
pub fn unknown_decision(decision: &str) -> Error {
    verify::unknown(None, decision)
}

/// Decides for single units now; all decisions are logged together, and each question is answered on its own.
///
/// # Errors
/// Those of lake and metadata, and per question those of [`decide::decide_each`].
pub async fn decide_each(
    workspace: &Workspace,
    questions: &[Question],
) -> Result<Vec<Result<DecisionRow>>> {
    let ctx = now(workspace).await?;
    Ok(decide::decide_each(&ctx, questions).await)
}

/// How experiments stand, and what of them could not be measured.
///
/// # Errors
/// Those of [`experiment::standing`].
pub async fn experiments(workspace: &Workspace, name: Option<&str>) -> Result<Standings> {
    experiment::standing(&context(workspace).await?, name).await
}

/// How many units an experiment needs.
///
/// # Errors
/// Those of [`plan::plan`].
pub async fn plan(
    workspace: &Workspace,
    name: &str,
    effect: Option<f64>,
    power: f64,
) -> Result<Plan> {
    plan::plan(&context(workspace).await?, name, effect, power).await
}

/// This moment, as a turn that began now would have it.
async fn now(workspace: &Workspace) -> Result<Context<'_>> {
    let turn = workspace.store.last_turn()?.map_or(0, |turn| turn.turn);
    workspace.context(turn, workspace.now()).await
}

/// As [`now()`], within what the reader may take.
async fn now_for<'a>(workspace: &'a Workspace, reading: &Reading) -> Result<Context<'a>> {
    let turn = workspace.store.last_turn()?.map_or(0, |turn| turn.turn);
    workspace.context_for(turn, workspace.now(), reading).await
}

/// The moment of the last turn: what has been joined up to then is what can be asked about.
async fn context(workspace: &Workspace) -> Result<Context<'_>> {
    let last = workspace.store.last_turn()?;
    let turn = last.map_or(0, |turn| turn.turn);
    let now = last.map_or_else(|| workspace.now(), |turn| turn.logical_at);
    workspace.context(turn, now).await
}
