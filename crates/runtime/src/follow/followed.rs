//! How a sync that a server follows is doing: what its streams said, added up, and kept for whoever asks.
//!
//! ```text
//! starting ──reached──► following ──does not answer──► failing ──reached──► following
//!                           │ └── one way fails ──► partial ──reached──► following │
//!                           ├── other work, a migration ──► waiting                └── all ways fail ──► failed
//!                           └── a person ──► paused
//! ```
//! Invariant: what a stream is said to have reached is committed. Nobody decides by it where a stream goes on from: that is
//! in the commits themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use flywheel_base::{Error, ErrorKind, Result, Timestamp};
use flywheel_project::resource::sync::{LAKE, Sync};
use flywheel_project::vault::Vault;
use flywheel_project::{Project, named_files};
use flywheel_state::{FollowPause, FollowState, Store};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Beat;
use crate::run::chosen;
use crate::{Workspace, migrate};

/// Nothing was heard of a server for so long: it is gone, in microseconds.
const SILENT_US: i64 = 30_000_000;

/// What becomes of a followed sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FollowedState {
    /// No server follows it.
    #[default]
    Stopped,
    /// It is read up to now before it is followed.
    Starting,
    /// What comes is committed as it comes.
    Following,
    /// A system does not answer or a limit is used up, and it is tried again.
    Failing,
    /// Some of its ways failed with an error that no waiting mends and are set aside until they are tried again; the others
    /// go on.
    Partial,
    /// Something else works on the same tables, or a migration holds it.
    Waiting,
    /// A person has paused it.
    Paused,
    /// All of its ways failed with errors that no waiting mends; it is followed again once its files are mended or somebody
    /// resumes it.
    Failed,
}

impl FollowedState {
    /// The word in tables and the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Following => "following",
            Self::Failing => "failing",
            Self::Partial => "partial",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Failed => "failed",
        }
    }

    /// Whether it says something of a server that does it now.
    fn is_at_work(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Following | Self::Failing | Self::Partial | Self::Waiting
        )
    }
}

/// One stream on its way to one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FollowedStream {
    /// Everything that was in the source at this moment is committed.
    pub reached: Option<Timestamp>,
    /// Rows read since it is followed.
    pub rows: u64,
    /// Why it is tried again, with the number of the attempt and the moment of the next one.
    pub failing: Option<Failing>,
}

/// Why a stream is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// How often it has failed in a row.
    pub attempt: u32,
    /// When it is tried again; none if its log has stopped, which only a whole read mends.
    pub next_at: Option<Timestamp>,
    /// Why it failed.
    pub error: String,
    /// Whether it is set aside for that while others go on, as no waiting mends it.
    #[serde(default)]
    pub aside: bool,
}

/// How a followed sync is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Followed {
    /// The sync.
    pub sync: String,
    /// What becomes of it.
    pub state: FollowedState,
    /// Since when it is followed without an end.
    pub since: Option<Timestamp>,
    /// The run that follows it, or that did.
    pub run_id: Option<String>,
    /// When rows were last committed.
    pub committed_at: Option<Timestamp>,
    /// Rows read in a second, when that was last said.
    pub rows_per_second: f64,
    /// Why it waits or is paused.
    pub reason: Option<String>,
    /// Who paused it.
    pub by: Option<String>,
    /// Why it failed for good.
    pub error: Option<String>,
    /// Its streams, by their names in tasks.
    pub streams: BTreeMap<String, FollowedStream>,
}

impl Followed {
    /// The attempt that failed last and what comes of it, of the stream that has failed most often; none if none fails.
    #[must_use]
    pub fn failing(&self) -> Option<&Failing> {
        let failing = self.streams.values().filter_map(|one| one.failing.as_ref());
        failing.max_by_key(|one| one.attempt)
    }

    /// The streams that are set aside, by their names in tasks, and why.
    pub fn aside(&self) -> impl Iterator<Item = (&String, &Failing)> {
        let failing =
            self.streams.iter().filter_map(|(name, one)| Some((name, one.failing.as_ref()?)));
        failing.filter(|(_, failing)| failing.aside)
    }

    /// Whether one of its streams is read whole for the first time.
    #[must_use]
    pub fn reads_first(&self) -> bool {
        self.streams.values().any(|one| one.reached.is_none() && one.failing.is_none())
    }

    /// Why it is not as it should be.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.error.as_deref().or_else(|| self.failing().map(|one| one.error.as_str()))
    }

    /// Everything that was in the source at this moment is committed, of all of its streams; none while one of them has never
    /// come so far.
    #[must_use]
    pub fn reached(&self) -> Option<Timestamp> {
        self.streams.values().map(|one| one.reached).min().flatten()
    }

    /// Rows read since it is followed.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.streams.values().map(|one| one.rows).sum()
    }

    /// It begins to be followed, with streams of these names; what they had reached is still true.
    pub fn begin(&mut self, streams: &[String], now: Timestamp) {
        let fresh = |name: &String| {
            let reached = self.streams.get(name).and_then(|one| one.reached);
            (name.clone(), FollowedStream { reached, ..FollowedStream::default() })
        };
        let streams = streams.iter().map(fresh).collect();
        *self = Self {
            sync: self.sync.clone(),
            state: FollowedState::Starting,
            since: Some(now),
            committed_at: self.committed_at,
            streams,
            ..Self::default()
        };
    }

    /// It is not followed for a while, or not any more.
    pub fn rest(&mut self, state: FollowedState, reason: Option<String>) {
        self.end(state);
        self.reason = reason;
    }

    /// It ended with an error that trying again does not mend.
    pub fn fail(&mut self, error: &Error) {
        self.end(FollowedState::Failed);
        self.error = Some(error.report());
    }

    fn end(&mut self, state: FollowedState) {
        (self.state, self.rows_per_second) = (state, 0.0);
        (self.reason, self.by, self.error) = (None, None, None);
        for stream in self.streams.values_mut() {
            stream.failing = None;
        }
        if !state.is_at_work() {
            self.since = None;
        }
    }

    /// A stream said something. Whether it now stands differently, and not just further.
    pub fn hear(&mut self, stream: &str, beat: &Beat, now: Timestamp) -> bool {
        let before = (self.state, self.failing().map(|one| one.attempt));
        let one = self.streams.entry(stream.to_owned()).or_default();
        match beat {
            Beat::Reached { reached, rows, committed } => {
                one.reached = one.reached.max(Some(*reached));
                one.rows += rows;
                one.failing = None;
                if *committed {
                    self.committed_at = Some(now);
                }
            }
            Beat::Waits { attempt, wait, error } | Beat::Aside { attempt, wait, error } => {
                let wait_us = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
                let next_at = Some(now.plus_micros(wait_us));
                let aside = matches!(beat, Beat::Aside { .. });
                let (attempt, error) = (*attempt, error.clone());
                one.failing = Some(Failing { attempt, next_at, error, aside });
            }
            Beat::Stopped { error } => {
                let (next_at, error) = (None, error.clone());
                one.failing = Some(Failing { attempt: 1, next_at, error, aside: true });
            }
        }
        let mut failing = self.streams.values().filter_map(|one| one.failing.as_ref());
        self.state = if failing.clone().any(|one| !one.aside) {
            FollowedState::Failing
        } else if failing.next().is_some() {
            FollowedState::Partial
        } else if self
            .streams
            .values()
            .any(|one| one.reached.is_none_or(|at| Some(at) < self.since))
        {
            // A stream that was read before this run began has not yet been read up to now.
            FollowedState::Starting
        } else {
            FollowedState::Following
        };
        before != (self.state, self.failing().map(|one| one.attempt))
    }

    /// Keeps it for whoever asks.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn keep(&self, store: &Store, now: Timestamp) -> Result<()> {
        store.record_follow(&FollowState { sync: self.sync.clone(), at: now, detail: json!(self) })
    }

    /// What is true of it now, as far as the metadata tell.
    fn now(
        mut self,
        said_at: Option<Timestamp>,
        pause: Option<&FollowPause>,
        now: Timestamp,
    ) -> Self {
        let silent = said_at.is_none_or(|at| now.micros().saturating_sub(at.micros()) > SILENT_US);
        if self.state.is_at_work() && silent {
            self.end(FollowedState::Stopped);
        }
        // Until a server has seen that it was let go on, and until it has seen that it was paused.
        match pause {
            Some(pause) if pause.paused => {
                self.rest(FollowedState::Paused, Some(pause.reason.clone()));
                self.by = Some(pause.by.clone());
            }
            _ if self.state == FollowedState::Paused => self.end(FollowedState::Stopped),
            _ => {}
        }
        self
    }
}

/// What the metadata tell of the sync `name`, whether or not it is followed now; what a new beginning starts from.
///
/// # Errors
/// Those of the metadata.
pub fn kept(store: &Store, name: &str) -> Result<Followed> {
    let found = store.follows()?.into_iter().find(|one| one.sync == name);
    found.map_or_else(|| Ok(Followed { sync: name.to_owned(), ..Followed::default() }), read)
}

fn read(state: FollowState) -> Result<Followed> {
    serde_json::from_value(state.detail).map_err(|error| {
        let message =
            format!("what was said of the followed sync \"{}\" cannot be read", state.sync);
        Error::corrupt(message).caused_by(error)
    })
}

/// How each sync is doing that its file says is followed, by name.
///
/// # Errors
/// Those of the metadata.
pub fn followed(workspace: &Workspace) -> Result<Vec<Followed>> {
    if !workspace.project.syncs.values().any(|sync| sync.followed) {
        return Ok(Vec::new());
    }
    let (states, pauses) = (workspace.store.follows()?, workspace.store.follow_pauses()?);
    let mut all = Vec::new();
    for (name, _) in workspace.project.syncs.iter().filter(|(_, sync)| sync.followed) {
        let state = states.iter().find(|one| one.sync == *name);
        let one = match state.cloned() {
            Some(state) => read(state)?,
            None => Followed { sync: name.clone(), ..Followed::default() },
        };
        let pause = pauses.iter().find(|one| one.sync == *name);
        all.push(one.now(state.map(|one| one.at), pause, workspace.machine.now()));
    }
    Ok(all)
}

/// The moments up to which streams are committed as far as those who followed them said, by their names in tasks.
///
/// # Errors
/// Those of the metadata.
pub(crate) fn reached(workspace: &Workspace) -> Result<BTreeMap<String, Timestamp>> {
    let mut all = BTreeMap::new();
    for state in workspace.store.follows()? {
        for (name, stream) in read(state)?.streams {
            if let Some(at) = stream.reached {
                all.insert(name, at);
            }
        }
    }
    Ok(all)
}

/// What keeps a sync from being followed now, and since when people said nothing else of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// As what it rests, and why; none if nothing keeps it.
    pub rests: Option<(FollowedState, String)>,
    /// When somebody last paused or resumed it.
    pub said_at: Option<Timestamp>,
}

/// What keeps the sync `name` from being followed: a person, or a migration.
///
/// # Errors
/// Those of the metadata.
pub fn held(workspace: &Workspace, name: &str) -> Result<Held> {
    let pause = workspace.store.follow_pauses()?.into_iter().find(|one| one.sync == name);
    let said_at = pause.as_ref().map(|one| one.at);
    let paused = pause.filter(|one| one.paused).map(|one| (FollowedState::Paused, one.reason));
    let rests = match paused {
        Some(paused) => Some(paused),
        None => migrate::stands_still(workspace, name)?.map(|why| (FollowedState::Waiting, why)),
    };
    Ok(Held { rests, said_at })
}

/// Keeps a sync from being followed until somebody lets it go on; a server stops within a second, and commits before.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown sync, [`ErrorKind::Invalid`] for one that is not followed or without a reason.
pub fn pause(workspace: &Workspace, name: &str, reason: &str, by: &str) -> Result<()> {
    check(&workspace.project, name)?;
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Error::invalid(format!(
            "no reason is given why the sync \"{name}\" is paused"
        ))
        .hint("Say why: whoever finds it paused is shown it."));
    }
    record(workspace, name, Some(reason), by)
}

/// Lets a sync be followed again, also one that failed for good; what of it is set aside is tried at once.
///
/// # Errors
/// [`ErrorKind::NotFound`] for an unknown sync, [`ErrorKind::Invalid`] for one that is not followed.
pub fn resume(workspace: &Workspace, name: &str, by: &str) -> Result<()> {
    check(&workspace.project, name)?;
    record(workspace, name, None, by)
}

fn record(workspace: &Workspace, name: &str, reason: Option<&str>, by: &str) -> Result<()> {
    workspace.store.record_follow_pause(&FollowPause {
        sync: name.to_owned(),
        paused: reason.is_some(),
        reason: reason.unwrap_or_default().to_owned(),
        by: by.to_owned(),
        at: workspace.machine.now(),
    })
}

fn check(project: &Project, name: &str) -> Result<()> {
    let names = chosen(&[name.to_owned()], project.syncs.keys(), "sync")?;
    if names.iter().any(|name| project.syncs.get(name).is_some_and(|sync| sync.followed)) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("the sync \"{name}\" is not followed")).hint(format!(
        "A server follows a sync whose file says `followed: true`: add it to syncs/{name}.yaml. What a schedule runs is paused \
         by `flywheel schedule pause`."
    )))
}

/// What the following of a sync depends on, as a digest: its file, its connections, and the values of what they refer to. It
/// is for memory alone, as secrets are in it.
#[must_use]
pub fn fingerprint(project: &Project, sync: &Sync) -> String {
    let mut text = json!(sync).to_string();
    let destinations = sync.destination.names().iter();
    for name in destinations.chain([&sync.connection]).filter(|name| *name != LAKE) {
        let Some(connection) = project.connections.get(name) else { continue };
        let options = match project.resolve_secrets(&connection.options) {
            Ok(options) => json!(options).to_string(),
            // One that cannot be read now may be there later.
            Err(error) => error.report(),
        };
        text.push_str(&format!("\n{name} {} {options}", connection.connector));
    }
    // Masks and settings of streams refer to values, too.
    for stream in &sync.streams {
        if let Ok(settings) = project.resolve_settings(&stream.options) {
            text.push_str(&json!(settings).to_string());
        }
        for mask in stream.columns.iter().filter_map(|column| column.mask.as_ref()) {
            if let Ok(mask) = project.resolve_secret(mask) {
                text.push_str(mask.expose());
            }
        }
    }
    flywheel_base::digest::hex(&[text.as_bytes()])
}

/// What files were when the values of a sync's references were last read from them: as long as they are as they were, so is
/// its [`fingerprint`] within one read of the declarations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTimes(Vec<(PathBuf, Option<(u64, SystemTime)>)>);

impl FileTimes {
    /// Looks at the files that the connections and the streams of a sync refer to, and at those of stored secrets; one that
    /// cannot be looked at is as one that is not there.
    #[must_use]
    pub fn of(project: &Project, sync: &Sync) -> Self {
        let mut text = json!(sync.streams).to_string();
        let destinations = sync.destination.names().iter();
        for name in destinations.chain([&sync.connection]).filter(|name| *name != LAKE) {
            if let Some(connection) = project.connections.get(name) {
                text.push_str(&json!(connection.options).to_string());
            }
        }
        let mut files: Vec<PathBuf> =
            named_files(&text).into_iter().map(|file| project.dir.join(file)).collect();
        if text.contains("secret") {
            files.push(project.dir.join(".flywheel").join("secrets.json"));
            files.push(Vault::of(&project.dir).key_file().to_owned());
        }
        let times = files.into_iter().map(|file| {
            let found = fs::metadata(&file).ok();
            let time = found.and_then(|found| Some((found.len(), found.modified().ok()?)));
            (file, time)
        });
        Self(times.collect())
    }
}

/// How long to wait before the attempt after `attempt` failures in a row: twice as long each time, between the first and the
/// longest wait, and not the same for all that wait for one system.
#[must_use]
pub(super) fn backoff(
    name: &str,
    attempt: u32,
    (first, longest): (Duration, Duration),
) -> Duration {
    let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1).min(16));
    let most = first.saturating_mul(doubled).min(longest);
    let share = flywheel_base::digest::unit_interval(name, &attempt.to_string());
    most.mul_f64(0.5 + 0.5 * share)
}

#[cfg(test)]
mod tests {
    use super::super::{is_waited_for, wait_after};
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn reached(seconds: i64, rows: u64) -> Beat {
        Beat::Reached { reached: at(seconds), rows, committed: rows > 0 }
    }

    fn begun() -> Followed {
        let mut followed = Followed { sync: "shop".to_owned(), ..Followed::default() };
        followed.begin(&["shop.a".to_owned(), "shop.b".to_owned()], at(10));
        followed
    }

    #[test]
    fn a_sync_is_followed_once_all_its_streams_have_come_up_to_now() {
        let mut one = begun();
        assert_eq!(one.state, FollowedState::Starting);
        assert!(!one.hear("shop.a", &reached(11, 200), at(12)));
        assert_eq!(one.state, FollowedState::Starting);
        assert!(one.hear("shop.b", &reached(11, 0), at(12)));
        assert_eq!((one.state, one.rows()), (FollowedState::Following, 200));
        assert_eq!(one.committed_at, Some(at(12)));
        assert!(!one.hear("shop.a", &reached(20, 3), at(21)), "it stands as before, further on");
        // What an older moment says does not take anything back.
        one.hear("shop.a", &reached(15, 0), at(22));
        assert_eq!(one.streams["shop.a"].reached, Some(at(20)));
    }

    #[test]
    fn what_does_not_answer_is_told_with_its_attempt_until_it_does() {
        let mut one = begun();
        let waits = |attempt: u32| Beat::Waits {
            attempt,
            wait: Duration::from_secs(4),
            error: "no answer".to_owned(),
        };
        assert!(one.hear("shop.a", &waits(1), at(12)));
        assert!(one.hear("shop.a", &waits(2), at(20)), "each attempt is told");
        let failing = one.failing().unwrap();
        assert_eq!((failing.attempt, failing.next_at), (2, Some(at(24))));
        assert_eq!((one.state, one.trouble()), (FollowedState::Failing, Some("no answer")));
        one.hear("shop.b", &reached(30, 0), at(30));
        assert_eq!(one.state, FollowedState::Failing);
        assert!(one.hear("shop.a", &reached(31, 5), at(31)));
        assert_eq!((one.state, one.trouble()), (FollowedState::Following, None));
    }

    #[test]
    fn one_way_that_is_set_aside_is_told_while_the_others_go_on() {
        let mut one = begun();
        assert!(one.reads_first());
        one.hear("shop.a", &reached(11, 200), at(12));
        let aside =
            Beat::Aside { attempt: 1, wait: Duration::from_secs(8), error: "no table".to_owned() };
        assert!(one.hear("shop.b", &aside, at(12)));
        assert_eq!((one.state, one.trouble()), (FollowedState::Partial, Some("no table")));
        assert!(!one.reads_first(), "what is set aside is not waited for");
        assert_eq!(one.reached(), None, "one way is not complete");
        one.hear("shop.a", &reached(20, 3), at(20));
        assert_eq!(one.state, FollowedState::Partial);
        let aside: Vec<_> = one.aside().map(|(name, why)| (name.as_str(), why.next_at)).collect();
        assert_eq!(aside, [("shop.b", Some(at(20)))]);
        assert!(one.hear("shop.b", &reached(21, 9), at(21)));
        assert_eq!((one.state, one.trouble()), (FollowedState::Following, None));
    }

    #[test]
    fn a_stream_whose_log_has_stopped_is_told_until_it_is_followed_again() {
        let mut one = begun();
        let stopped = Beat::Stopped { error: "it was truncated".to_owned() };
        assert!(one.hear("shop.b", &stopped, at(12)));
        assert!(!one.hear("shop.a", &reached(13, 5), at(13)));
        assert_eq!((one.state, one.trouble()), (FollowedState::Partial, Some("it was truncated")));
        assert!(one.aside().all(|(name, why)| name == "shop.b" && why.next_at.is_none()));
        one.begin(&["shop.a".to_owned(), "shop.b".to_owned()], at(20));
        one.hear("shop.a", &reached(21, 1), at(21));
        assert!(one.hear("shop.b", &reached(21, 9), at(21)));
        assert_eq!((one.state, one.trouble()), (FollowedState::Following, None));
    }

    #[test]
    fn what_is_set_aside_is_tried_again_after_seconds_and_later_after_an_hour() {
        let lost = Error::invalid("no such table");
        let seconds = |attempt: u32| wait_after("shop", attempt, &lost).as_secs();
        assert!((5..=10).contains(&seconds(1)), "{}", seconds(1));
        assert!((1_800..=3_600).contains(&seconds(12)), "{}", seconds(12));
    }

    #[test]
    fn a_new_beginning_forgets_errors_and_not_what_was_reached() {
        let mut one = begun();
        one.hear("shop.a", &reached(11, 200), at(12));
        one.fail(&Error::invalid("no such table"));
        assert_eq!((one.state, one.since), (FollowedState::Failed, None));
        one.begin(&["shop.a".to_owned()], at(50));
        assert_eq!((one.error.as_ref(), one.rows()), (None, 0));
        assert_eq!(one.streams.len(), 1, "streams that are gone are not told of");
        assert_eq!(one.streams["shop.a"].reached, Some(at(11)));
    }

    #[test]
    fn a_server_of_which_nothing_is_heard_follows_nothing() {
        let mut one = begun();
        one.hear("shop.a", &reached(11, 1), at(12));
        one.hear("shop.b", &reached(11, 1), at(12));
        let told = |said: i64, now: i64| one.clone().now(Some(at(said)), None, at(now)).state;
        assert_eq!(told(12, 20), FollowedState::Following);
        assert_eq!(told(12, 200), FollowedState::Stopped);
        let pause = FollowPause {
            sync: "shop".to_owned(),
            paused: true,
            reason: "the source is moved".to_owned(),
            by: "ada".to_owned(),
            at: at(13),
        };
        let paused = one.now(Some(at(12)), Some(&pause), at(14));
        assert_eq!((paused.state, paused.by.as_deref()), (FollowedState::Paused, Some("ada")));
        assert_eq!(paused.reason.as_deref(), Some("the source is moved"));
        let resumed = FollowPause { paused: false, ..pause };
        assert_eq!(paused.now(Some(at(14)), Some(&resumed), at(15)).state, FollowedState::Stopped);
    }

    #[test]
    fn waits_grow_up_to_a_minute_and_differ_between_syncs() {
        let no_answer = Error::unavailable("no answer");
        let wait = |name: &str, attempt: u32| wait_after(name, attempt, &no_answer);
        let waits: Vec<Duration> = (1..12).map(|attempt| wait("shop", attempt)).collect();
        assert!(waits[0] >= Duration::from_millis(500) && waits[0] <= Duration::from_secs(1));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(60)));
        assert!(waits[10] >= Duration::from_secs(30), "{waits:?}");
        assert_ne!(wait("shop", 3), wait("till", 3));
        assert!(wait("shop", u32::MAX) <= Duration::from_secs(60));
    }

    #[test]
    fn a_limit_that_is_used_up_is_waited_for_up_to_hours() {
        let used_up = Error::exhausted("the day's requests are used up");
        assert!(is_waited_for(&used_up) && is_waited_for(&Error::unavailable("no answer")));
        assert!(!is_waited_for(&Error::invalid("no such table")));
        let minutes = |attempt: u32| wait_after("crm", attempt, &used_up).as_secs() / 60;
        assert!((7..=15).contains(&minutes(1)), "{}", minutes(1));
        assert!((180..=360).contains(&minutes(20)), "{}", minutes(20));
    }
}
