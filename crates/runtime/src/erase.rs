//! Erasing a person: every copy of their rows that is within reach, history included, and keeping them out afterwards.
//!
//! ```text
//! declared keys ─ lineage ─► tables, policies ─┐
//!                                              ├─ plan: places and numbers of rows; writes nothing
//! run: keep out ─► delete ─► token for key ─► blank what was sent ─► build, fit ─► cut history ─► look again
//! ```
//! Invariants: the key is written nowhere, a token stands for it; the person is kept out before anything is deleted; every
//! step can be done again, so an erasure that was cut off is gone on with by the same command; an erasure is done only if the
//! key is found nowhere any more, and what remains is named.

mod bytes;
mod holders;
mod lake;
mod meant;
mod suppress;
mod traces;

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use flywheel_base::{Error, ErrorKind, Result, Secret, digest, entropy, suggest, task};
use flywheel_connect::Erasing;
use flywheel_decision::learner::beside as beside_fit;
use flywheel_project::resource::project_file::Materialized;
use flywheel_project::{NodeId, NodeKind};
use flywheel_state::{Erasure, ErasureStatus, TaskOutcome};
use flywheel_transform::BuildOptions;
use flywheel_warehouse::Location;
use serde::Serialize;
use serde_json::json;

use self::holders::Holders;
use self::lake::{Held, is_system, table_at};
use self::meant::{LONG_BYTES_MIN, Meant};
pub(crate) use self::suppress::Suppression;
use self::suppress::digest_of;
use crate::recorder::{Observer, Recorder};
use crate::{Workspace, run};

/// How tokens begin. Decisions whose unit begins so cannot be made again.
pub use flywheel_decision::verify::ERASED;

/// Bytes that a key has at most.
const KEY_BYTES_MAX: usize = 1_000;

/// What is always beyond reach, so that a person has to look there.
const BEYOND: [&str; 2] = [
    "the system that the rows come from: delete the person there, too",
    "backups made before: remove them, or restore none of them without erasing again",
];

/// Somewhere the person is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The table, topic or file.
    pub place: String,
    /// The columns that hold the key; none where it is looked for as a text.
    pub columns: Vec<String>,
    /// How many rows, messages or files are about the person.
    pub rows: u64,
    /// What is done about it.
    pub what: &'static str,
}

/// Something that this does not erase although it is the project's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remains {
    /// The table, topic or file.
    pub place: String,
    /// Why it stays, and what to do.
    pub why: String,
}

impl Remains {
    fn new(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.into(), why: why.into() }
    }
}

/// Where a person is, and what an erasure would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The token of an erasure that was begun before.
    pub token: Option<String>,
    /// Where the person is.
    pub places: Vec<Place>,
    /// Models that are built anew without the person.
    pub models: Vec<String>,
    /// Learners that are fitted anew without the person.
    pub learners: Vec<String>,
    /// What this does not erase.
    pub remains: Vec<Remains>,
    /// What a person has to look at.
    pub beyond: Vec<String>,
}

/// What an erasure did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// What stands in the place of the key from now on.
    pub token: String,
    /// `done`, or `incomplete` if something remains.
    pub status: &'static str,
    /// What was erased in this run.
    pub places: Vec<Place>,
    /// Models that were built anew.
    pub models: Vec<String>,
    /// Learners that were fitted anew.
    pub learners: Vec<String>,
    /// What this did not erase.
    pub remains: Vec<Remains>,
    /// What a person has to look at.
    pub beyond: Vec<String>,
}

/// Who is to be erased.
#[derive(Debug)]
pub struct Request<'a> {
    /// The person's key, as it lands.
    pub subject: &'a Secret,
    /// Why, such as the number of the person's request; never the key.
    pub reason: &'a str,
    /// Who asks, for the record.
    pub who: &'a str,
}

/// Everything that the steps share.
struct Scope {
    meant: Meant,
    holders: Holders,
    held: Vec<Held>,
    /// Models made of rows of persons.
    models: BTreeSet<NodeId>,
    /// Learners that learn from them.
    learners: BTreeSet<String>,
}

/// Where the person is. Nothing is written.
///
/// # Errors
/// [`ErrorKind::Invalid`] if no keys are declared, for a column that a table does not have and for a key that cannot be one;
/// else those of lake, journal and metadata.
pub async fn plan(workspace: &Workspace, subject: &Secret) -> Result<Plan> {
    let scope = Box::pin(scope(workspace, subject)).await?;
    let key = scope.meant.key();
    let mut places = Vec::new();
    for held in &scope.held {
        let rows = Box::pin(lake::count(workspace, held, key)).await?;
        let what = "rows are deleted, and every older version";
        let columns = held.columns.clone();
        places.push(Place { place: held.at.to_string(), columns, rows, what });
    }
    for (place, rows) in Box::pin(traces::units(workspace, &scope.holders, key)).await? {
        let what = "the key becomes a token, what was known and sent is taken out";
        places.push(Place { place, columns: vec!["unit_id".to_owned()], rows, what });
    }
    let aside = Box::pin(traces::set_aside(workspace, &scope.meant)).await?.len() as u64;
    if aside > 0 {
        let place = "system.quarantine".to_owned();
        places.push(Place { place, columns: Vec::new(), rows: aside, what: "rows are deleted" });
    }
    let samples = Box::pin(traces::samples(workspace, &scope.meant)).await?.len() as u64;
    if samples > 0 {
        let place = "system.quality_results".to_owned();
        let columns = vec!["sample".to_owned()];
        places.push(Place { place, columns, rows: samples, what: "samples are taken out" });
    }
    for (topic, rows) in traces::messages(workspace, &scope.meant, Erasing::Count).await? {
        let place = format!("events of topic {topic}");
        places.push(Place { place, columns: Vec::new(), rows, what: "messages are blanked" });
    }
    for (place, rows) in workspace.store.mentions(key, &|text| scope.meant.in_text(text))? {
        if let Some(what) = blanked(&place) {
            places.push(Place {
                place: format!("metadata {place}"),
                columns: Vec::new(),
                rows,
                what,
            });
        }
    }
    let found = Box::pin(look(workspace, &scope, Look::Before)).await?;
    let token = known(workspace, key)?.map(|erasure| erasure.token);
    Ok(Plan {
        token,
        places,
        models: relations(workspace, &scope),
        learners: scope.learners.iter().cloned().collect(),
        remains: found.remains,
        beyond: found.beyond,
    })
}

/// Erases the person, or goes on with an erasure that was cut off.
///
/// # Errors
/// As [`plan`]; [`ErrorKind::Invalid`] without a reason or if it has the key, [`ErrorKind::Conflict`] while a turn is open or
/// somebody writes events. The person is kept out from the first step on, whatever fails later, and the same command goes on.
pub async fn erase(
    workspace: &Workspace,
    request: &Request<'_>,
    observer: &dyn Observer,
) -> Result<Erased> {
    let reason = request.reason.trim();
    let key = request.subject.expose();
    if reason.is_empty() {
        return Err(Error::invalid("no reason is given why the person is erased")
            .hint("Give the number of the request: it is kept with the erasure."));
    }
    if meant::has_word(reason, key) {
        return Err(Error::invalid("the reason has the key in it").hint(
            "It is kept for good. Give what does not name the person, such as the request's number.",
        ));
    }
    if let Some(turn) = workspace.store.open_turn()? {
        let text = format!(
            "turn {} was cut off, and would go on with what it had of the person",
            turn.turn
        );
        return Err(
            Error::new(ErrorKind::Conflict, text).hint("Complete it first with `flywheel turn`.")
        );
    }
    let scope = Box::pin(scope(workspace, request.subject)).await?;
    let erasure = begin(workspace, request, reason)?;
    let (at, object) = (workspace.machine.now(), erasure.token.as_str());
    workspace.store.audit(at, request.who, "person.erase", object, &json!({"reason": reason}))?;
    let recorder = run::start(workspace, observer, "erase")?;
    let timer = recorder.started("erase", &erasure.token);
    let result = Box::pin(steps(workspace, &scope, &erasure, &recorder, observer)).await;
    // What failed is kept with the run.
    let result = result.map_err(|error| without(error, key, &erasure.token));
    let result = recorder.settled(timer, result, |erased| {
        let rows = erased.places.iter().map(|place| place.rows).sum();
        let detail = json!({"status": erased.status, "remains": erased.remains.len()});
        let outcome = TaskOutcome { rows_out: Some(rows), detail, ..TaskOutcome::default() };
        ("succeeded".to_owned(), outcome)
    });
    recorder.finish(result.as_ref().err())?;
    let erased = result?;
    let detail =
        json!({"status": erased.status, "places": erased.places, "remains": erased.remains});
    workspace.store.audit(
        workspace.machine.now(),
        request.who,
        "person.erased",
        object,
        &detail,
    )?;
    Ok(erased)
}

/// Lets rows of a person land again who was erased, because they are there anew and agreed; returns the token, or none if
/// they were not kept out.
///
/// # Errors
/// [`ErrorKind::NotFound`] if no such person was erased, else those of the metadata.
pub fn allow(workspace: &Workspace, subject: &Secret, who: &str) -> Result<Option<String>> {
    let Some(erasure) = known(workspace, subject.expose())? else {
        return Err(Error::not_found("nobody with this key was erased").hint(
            "See `flywheel erase status`; the key is what lands, after cleaning and masking.",
        ));
    };
    if !erasure.suppressed {
        return Ok(None);
    }
    let token = erasure.token.clone();
    workspace.store.record_erasure(&Erasure { suppressed: false, ..erasure })?;
    workspace.store.audit(workspace.machine.now(), who, "person.allow", &token, &json!({}))?;
    Ok(Some(token))
}

/// The erasure of the person, if there was one.
fn known(workspace: &Workspace, key: &str) -> Result<Option<Erasure>> {
    match workspace.store.erasure_salt()? {
        Some(salt) => workspace.store.erasure(&digest_of(&salt, key)),
        None => Ok(None),
    }
}

/// Records that the erasure is under way; from now on the person is kept out.
fn begin(workspace: &Workspace, request: &Request<'_>, reason: &str) -> Result<Erasure> {
    let salt = workspace.store.keep_erasure_salt(&entropy::token("")?)?;
    let digest = digest_of(&salt, request.subject.expose());
    let known = workspace.store.erasure(&digest)?;
    let fresh =
        || Ok::<_, Error>(format!("{ERASED}{}", digest::short(&[&entropy::bytes::<32>()?])));
    let now = workspace.now();
    let erasure = Erasure {
        token: known.as_ref().map_or_else(fresh, |known| Ok(known.token.clone()))?,
        digest,
        status: ErasureStatus::Running,
        suppressed: true,
        asked_by: request.who.to_owned(),
        reason: reason.to_owned(),
        asked_at: known.map_or(now, |known| known.asked_at),
        ended_at: None,
        detail: json!({}),
    };
    workspace.store.record_erasure(&erasure)?;
    Ok(erasure)
}

/// The error with the token in the place of the key, should a statement be told in it.
fn without(error: Error, key: &str, token: &str) -> Error {
    let said = error.report();
    if said.contains(key) { Error::new(error.kind(), said.replace(key, token)) } else { error }
}

/// Does everything, in an order in which nothing that is made anew brings the person back.
async fn steps(
    workspace: &Workspace,
    scope: &Scope,
    erasure: &Erasure,
    recorder: &Recorder<'_>,
    observer: &dyn Observer,
) -> Result<Erased> {
    let (key, token) = (scope.meant.key(), erasure.token.as_str());
    let mut places = Vec::new();
    let mut remains = Vec::new();
    let mut note = |place: String, rows: u64, what: &'static str| {
        if rows > 0 {
            places.push(Place { place, columns: Vec::new(), rows, what });
        }
    };
    for held in &scope.held {
        match Box::pin(lake::delete(workspace, held, key)).await {
            Ok(rows) => note(held.at.to_string(), rows, "rows were deleted"),
            // A table of another program may be one that can only be read.
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Invalid) => {
                remains.push(Remains::new(held.at.as_str(), error.message()));
            }
            Err(error) => return Err(error),
        }
    }
    for (place, rows) in
        Box::pin(traces::replace_units(workspace, &scope.holders, key, token)).await?
    {
        note(place, rows, "the key became a token");
    }
    let blank = Box::pin(traces::blank_deliveries(workspace, &scope.holders, key, token)).await?;
    note("metadata outbox".to_owned(), blank.deliveries as u64, "what was sent was taken out");
    note("metadata approvals".to_owned(), blank.approvals as u64, "what was asked was taken out");
    let aside = Box::pin(traces::set_aside(workspace, &scope.meant)).await?;
    let gone = Box::pin(traces::delete_set_aside(workspace, &aside)).await?;
    note("system.quarantine".to_owned(), gone, "rows were deleted");
    let samples = Box::pin(traces::samples(workspace, &scope.meant)).await?;
    let gone = Box::pin(traces::blank_samples(workspace, &samples)).await?;
    note("system.quality_results".to_owned(), gone, "samples were taken out");
    for (topic, rows) in traces::messages(workspace, &scope.meant, Erasing::Blank).await? {
        note(format!("events of topic {topic}"), rows, "messages were blanked");
    }
    recorder.notice(format!("{token}: rows are erased; what is made of them is made anew"));
    let models = Box::pin(build(workspace, scope, observer, &mut remains)).await?;
    let learners = Box::pin(fit(workspace, scope, observer, &mut remains)).await?;
    let artifacts = cut_artifacts(workspace, scope, &learners, &mut remains)?;
    note("artifacts of learners".to_owned(), artifacts, "older fits were removed");
    Box::pin(cut(workspace, scope, &mut remains)).await?;
    workspace.store.scrub()?;
    let found = Box::pin(look(workspace, scope, Look::After)).await?;
    remains.extend(found.remains);
    remains.sort();
    remains.dedup();
    let status = if remains.is_empty() { ErasureStatus::Done } else { ErasureStatus::Incomplete };
    let detail =
        json!({"places": places, "models": models, "learners": learners, "remains": remains});
    let ended_at = Some(workspace.now());
    workspace.store.record_erasure(&Erasure { status, ended_at, detail, ..erasure.clone() })?;
    Ok(Erased {
        token: token.to_owned(),
        status: status.word(),
        places,
        models,
        learners,
        remains,
        beyond: found.beyond,
    })
}

/// Builds the models anew that are made of rows of persons, in every environment that has built them; returns those whose
/// readers moved.
async fn build(
    workspace: &Workspace,
    scope: &Scope,
    observer: &dyn Observer,
    remains: &mut Vec<Remains>,
) -> Result<Vec<String>> {
    let mut published = BTreeSet::new();
    for environment in workspace.store.environments()? {
        let name = environment.name;
        let built: BTreeSet<String> =
            workspace.store.builds_of(&name)?.into_iter().map(|build| build.name).collect();
        let models = &workspace.project.models;
        let has = |id: &&NodeId| {
            models.get(&id.name).is_some_and(|model| built.contains(&model.relation()))
        };
        let select: Vec<String> =
            scope.models.iter().filter(has).map(|id| id.name.clone()).collect();
        if select.is_empty() {
            continue;
        }
        let options = BuildOptions { select: &select, ..BuildOptions::default() };
        let report = if name == workspace.store.environment() {
            Box::pin(run::build(workspace, options, observer)).await?
        } else {
            let other = workspace.at(workspace.now())?.in_environment(&name)?;
            match Box::pin(run::build(&other, options, observer)).await {
                Ok(report) => report,
                // Its models may be made of others that are declared no more.
                Err(error) => {
                    let why = format!(
                        "it could not be built without the person ({}): mend or drop it, and run the erasure again",
                        error.message()
                    );
                    remains.push(Remains::new(format!("environment {name}"), why));
                    continue;
                }
            }
        };
        for blocked in &report.blocked {
            let why = format!(
                "it could not be built without the person in environment {name}, so its readers keep the version before: \
                 mend it, and run the erasure again"
            );
            remains.push(Remains::new(blocked, why));
        }
        published.extend(report.published);
    }
    Ok(published.into_iter().collect())
}

/// Fits the learners anew that learned from rows of persons.
async fn fit(
    workspace: &Workspace,
    scope: &Scope,
    observer: &dyn Observer,
    remains: &mut Vec<Remains>,
) -> Result<Vec<String>> {
    let names: Vec<String> = scope.learners.iter().cloned().collect();
    // Without a name those would be fitted that are due.
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let fits = Box::pin(run::learn(workspace, &names, observer)).await?;
    let learned: BTreeSet<String> = fits.learned.into_iter().map(|fit| fit.learner).collect();
    for name in names.iter().filter(|name| !learned.contains(*name)) {
        if workspace.store.newest_artifact(name)?.is_some() {
            let why = "it could not be fitted without the person, or is pinned: fit it with `flywheel learn`, and run the \
                       erasure again";
            remains.push(Remains::new(format!("learner {name}"), why));
        }
    }
    Ok(learned.into_iter().collect())
}

/// Removes older fits that know the person, and what is stored beside all fits but those of now, whose digests tell nobody
/// apart; returns how many fits. A short key tells nobody apart in the bytes of a fit either, so all go then.
fn cut_artifacts(
    workspace: &Workspace,
    scope: &Scope,
    learned: &[String],
    remains: &mut Vec<Remains>,
) -> Result<u64> {
    let all = workspace.store.artifacts()?;
    let mut needed = BTreeSet::new();
    // The same bytes may be a fit of another learner.
    let mut beside = BTreeSet::new();
    for learner in all.iter().map(|one| one.learner.as_str()).collect::<BTreeSet<_>>() {
        let newest = workspace.store.newest_artifact(learner)?;
        let served = workspace.store.served_artifact(learner)?;
        if !scope.learners.contains(learner) || learned.iter().any(|name| name == learner) {
            beside.extend(newest.iter().filter_map(beside_fit));
        }
        needed.extend(newest.into_iter().chain(served).map(|artifact| artifact.digest));
    }
    let folder = workspace.ours().join("artifacts");
    let mut gone = 0;
    let mut seen = BTreeSet::new();
    for one in all.iter().filter(|one| scope.learners.contains(&one.learner)) {
        if let Some(address) = beside_fit(one)
            && !beside.contains(&address)
            && is_address(&address)
        {
            remove_if_there(&folder.join(&address))?;
        }
        if !is_address(&one.digest) || !seen.insert(one.digest.as_str()) {
            continue;
        }
        let path = folder.join(&one.digest);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let knows = bytes::stand_in(&bytes, scope.meant.key().as_bytes());
        if needed.contains(&one.digest) {
            if scope.meant.is_long() && knows {
                let why = "the fit that is served knows the person: let go of its pin, fit it anew, and run the erasure again";
                remains.push(Remains::new(format!("learner {}", one.learner), why));
            }
        } else if knows || !scope.meant.is_long() {
            std::fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// Whether a text is the address of an artifact, and so the name of a file of ours.
fn is_address(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Cuts the history of every table that had rows of the person, or was made of some.
async fn cut(workspace: &Workspace, scope: &Scope, remains: &mut Vec<Remains>) -> Result<()> {
    let relations: BTreeSet<String> = relations(workspace, scope).into_iter().collect();
    let held: BTreeSet<&Location> = scope.held.iter().map(|held| &held.at).collect();
    let mut ours = BTreeSet::new();
    for table in traces::own() {
        ours.insert(table.location()?);
    }
    let all = workspace.lake.locations().await?;
    let learned = |table: &str| {
        let rest = table.strip_prefix("learn.");
        let own = |rest: &str, name: &str| {
            let further = rest.strip_prefix(name);
            further.is_some_and(|further| further.is_empty() || further.starts_with('_'))
        };
        rest.is_some_and(|rest| scope.learners.iter().any(|name| own(rest, name)))
    };
    let mut locations = Vec::new();
    for at in &all {
        let table = table_at(at);
        if held.contains(at) || ours.contains(at) || relations.contains(&table) || learned(&table) {
            locations.push(at.to_string());
            remains.extend(Box::pin(lake::cut(workspace, at, &relations)).await?);
        }
    }
    Box::pin(workspace.lake.finish_removals()).await?;
    // Profiles show single values; the next ones are made without the person.
    let tables: Vec<String> = scope.holders.tables.keys().cloned().chain(relations).collect();
    workspace.store.forget_profiles(&locations, &tables)?;
    Ok(())
}

/// When the key is looked for everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Before anything was erased: what will be is no remainder.
    Before,
    /// After everything was done.
    After,
}

/// What a look found.
#[derive(Default)]
struct Found {
    remains: Vec<Remains>,
    beyond: Vec<String>,
}

/// Looks for the key everywhere, and names what an erasure does not reach.
async fn look(workspace: &Workspace, scope: &Scope, when: Look) -> Result<Found> {
    let mut found = Found::default();
    let relations: BTreeSet<String> = relations(workspace, scope).into_iter().collect();
    let held: BTreeSet<&Location> = scope.held.iter().map(|held| &held.at).collect();
    for id in &scope.models {
        let Some(model) = workspace.project.models.get(&id.name) else { continue };
        let relation = model.relation();
        let kept =
            matches!(model.config.materialized, Materialized::Incremental | Materialized::Snapshot);
        if kept && !scope.holders.tables.contains_key(&relation) {
            found.beyond.push(format!(
                "{relation}, which keeps rows from build to build and has no column that is known to hold the key: if rows of \
                 persons are in it, build it anew with `flywheel build --full-refresh --select {}`",
                id.name
            ));
        }
    }
    for at in workspace.lake.locations().await? {
        let table = table_at(&at);
        let handled = held.contains(&at)
            || relations.contains(&table)
            || table.starts_with("learn.")
            || (is_system(&table) && erased_in(&table));
        if when == Look::Before && handled {
            continue;
        }
        for (column, rows) in Box::pin(lake::mentions(workspace, &at, &scope.meant)).await? {
            let why = match when {
                Look::Before => format!(
                    "the key stands in {rows} rows of column \"{column}\", which is neither declared under `erasure.keys` nor \
                     made of a declared one"
                ),
                Look::After => {
                    format!("the key still stands in {rows} rows of column \"{column}\"")
                }
            };
            found.remains.push(Remains::new(&table, why));
        }
    }
    if when == Look::After {
        for held in &scope.held {
            let there = workspace.lake.head(&held.at).await?.is_some();
            if there && Box::pin(lake::count(workspace, held, scope.meant.key())).await? > 0 {
                let why = "rows are there again: whoever writes the table brought them back";
                found.remains.push(Remains::new(held.at.as_str(), why));
            }
        }
    }
    let key = scope.meant.key();
    for (place, rows) in workspace.store.mentions(key, &|text| scope.meant.in_text(text))? {
        let table = place.split_once('.').map(|(table, _)| table);
        if table == Some("audit") {
            // It is sealed: a changed entry would break its chain.
            found.beyond.push(format!(
                "{rows} entries of the audit log, into which somebody wrote the key; they stay as long as the log is kept"
            ));
        } else if when == Look::After || blanked(&place).is_none() {
            let why = match table {
                Some("links" | "link_audit" | "link_questions") => {
                    "a link keeps the record alike on two systems: delete it on both, and let the link run".to_owned()
                }
                _ => format!("the key stands in {rows} rows, which are kept as they were written"),
            };
            found.remains.push(Remains::new(format!("metadata {place}"), why));
        }
    }
    found.beyond.extend(BEYOND.map(str::to_owned));
    found
        .beyond
        .extend(scope.holders.outside.iter().map(|way| format!("what {way} has sent to others")));
    if !scope.meant.is_long() {
        let text = format!(
            "texts and files: a key of fewer than {LONG_BYTES_MIN} bytes tells nobody apart there, so that they were not looked into"
        );
        found.beyond.push(text);
        return Ok(found);
    }
    files(workspace, scope, when, &mut found).await?;
    Ok(found)
}

/// Names the files of the project that hold the bytes of the key.
async fn files(workspace: &Workspace, scope: &Scope, when: Look, found: &mut Found) -> Result<()> {
    let (root, needle) = (workspace.dir().to_owned(), scope.meant.key().as_bytes().to_owned());
    let lake = Path::new(&workspace.project.file.lake).to_owned();
    let in_lake = lake.clone();
    let files = task::compute(move || {
        // The database and the journal were looked into as what they are, and before an erasure the lake was as well.
        let skipped = |path: &Path| {
            path.starts_with(".flywheel/journal")
                || path.starts_with(".git")
                || path.to_string_lossy().starts_with(".flywheel/meta.db")
                || (when == Look::Before && path.starts_with(&in_lake))
        };
        bytes::files_with(&root, &needle, &skipped)
    })
    .await?;
    for file in files {
        let ours = file.starts_with(".flywheel") || file.starts_with(&lake);
        let shown = file.display().to_string();
        if !ours {
            found.beyond.push(format!("the file {shown}, in which the key stands"));
        } else if when == Look::After {
            found
                .remains
                .push(Remains::new(shown, "the bytes of the key still stand in this file"));
        }
    }
    Ok(())
}

/// What an erasure does to a column of the metadata; none if it leaves it.
fn blanked(place: &str) -> Option<&'static str> {
    match place.split_once('.').map(|(table, _)| table)? {
        "outbox" | "approvals" => Some("what is sent is taken out; what has not left is given up"),
        "profiles" => Some("the profile is made anew"),
        _ => None,
    }
}

/// Whether an erasure takes the person out of this table of our own.
fn erased_in(table: &str) -> bool {
    let name = table.strip_prefix("system.").unwrap_or(table);
    matches!(
        name,
        "decisions"
            | "outcomes"
            | "credits"
            | "reported_outcomes"
            | "exposures"
            | "lift_sums"
            | "actions"
            | "quarantine"
            | "quality_results"
    )
}

/// The tables of the models that are made of rows of persons.
fn relations(workspace: &Workspace, scope: &Scope) -> Vec<String> {
    let models = &workspace.project.models;
    scope.models.iter().filter_map(|id| Some(models.get(&id.name)?.relation())).collect()
}

/// Finds everything that has to do with the person's key, whoever the person is.
async fn scope(workspace: &Workspace, subject: &Secret) -> Result<Scope> {
    let key = subject.expose();
    if key.trim().is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
        return Err(Error::invalid("that is no key of a person").hint(format!(
            "Give the value of a declared column as it landed, at most {KEY_BYTES_MAX} bytes."
        )));
    }
    if key.starts_with(ERASED) {
        return Err(Error::invalid("that is the token of a person who was erased")
            .hint("Give the person's own key; see `flywheel erase status` for tokens."));
    }
    let declared = &workspace.project.file.erasure.keys;
    if declared.is_empty() {
        return Err(Error::invalid("the project does not say which columns hold keys of persons")
            .hint(
                "Declare them in flywheel.yaml: `erasure: {keys: {raw.customers: [customer_id]}}`.",
            ));
    }
    for (table, columns) in declared {
        let at = crate::task::sync::location_of(&flywheel_warehouse::TableName::parse(table)?)?;
        let Some(head) = workspace.lake.head(&at).await? else { continue };
        let known: Vec<&str> =
            head.schema.fields().iter().map(|field| field.name().as_str()).collect();
        if let Some(column) = columns.iter().find(|column| !known.contains(&column.as_str())) {
            return Err(Error::invalid(format!(
                "flywheel.yaml: table \"{table}\" has no column \"{column}\" that holds keys"
            ))
            .hint(suggest::hint(column, known.iter().copied())));
        }
    }
    let graph = Box::pin(crate::lineage::graph(workspace)).await?;
    let holders = Holders::find(&graph, declared);
    let held = Box::pin(lake::held(workspace, &holders)).await?;
    let mut names: BTreeSet<String> = holders.tables.values().flatten().cloned().collect();
    names.insert("unit_id".to_owned());
    for sync in workspace.project.syncs.values() {
        for stream in &sync.streams {
            let Some(columns) = declared.get(&stream.table()) else { continue };
            let made = stream.columns.iter().filter(|column| columns.contains(&column.name));
            names.extend(made.map(|column| column.source_name().to_owned()));
        }
    }
    let (models, learners) = made_of(workspace, &holders)?;
    Ok(Scope { meant: Meant::new(key, names), holders, held, models, learners })
}

/// The models and learners that are made of tables with keys, at whatever remove. What comes of decisions is not among them:
/// those are kept, with a token.
fn made_of(
    workspace: &Workspace,
    holders: &Holders,
) -> Result<(BTreeSet<NodeId>, BTreeSet<String>)> {
    let graph = &workspace.project.graph;
    let lineage = flywheel_transform::lineage(&workspace.project)?;
    let holds = |table: &Option<String>| {
        table.as_ref().is_some_and(|table| holders.tables.contains_key(table))
    };
    let start = lineage.nodes.into_iter().filter(|node| holds(&node.table));
    let mut open: VecDeque<NodeId> = start.map(|node| node.id).collect();
    let mut seen: BTreeSet<NodeId> = open.iter().cloned().collect();
    while let Some(at) = open.pop_front() {
        for next in graph.downstream(&at) {
            let passes = matches!(
                next.kind,
                NodeKind::Source | NodeKind::Model | NodeKind::Learner | NodeKind::Semantic
            );
            if passes && seen.insert(next.clone()) {
                open.push_back(next.clone());
            }
        }
    }
    let models = &workspace.project.models;
    let (mut made, mut learners) = (BTreeSet::new(), BTreeSet::new());
    for id in seen {
        match id.kind {
            NodeKind::Model if models.get(&id.name).is_some_and(|model| model.config.enabled) => {
                made.insert(id);
            }
            NodeKind::Learner => {
                learners.insert(id.name);
            }
            _ => {}
        }
    }
    Ok((made, learners))
}

#[cfg(test)]
mod tests {
    use flywheel_decision::table::TABLES;

    use super::*;

    #[test]
    fn every_table_of_units_is_among_those_that_are_erased_in() {
        for table in TABLES {
            let of_units = table.columns.iter().any(|(name, _, _)| *name == "unit_id");
            assert!(!of_units || erased_in(table.name), "system.{} has units", table.name);
        }
        assert!(erased_in("system.quarantine") && !erased_in("system.lift"));
        assert_eq!(blanked("audit.detail"), None);
    }
}
