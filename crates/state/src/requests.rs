//! Access that was asked for, and what somebody else decided: a request that was approved is a grant until it ends.
//!
//! ```text
//! open ─► approved ─► (its time is over) │ ended by somebody
//!      ├► refused
//!      └► withdrawn
//! ```
//! Nobody decides about their own request, whoever calls.

use flywheel_base::{Error, ErrorKind, Result, Timestamp};

use crate::Store;
use crate::engine::{self, Connection, OptionalExtension, Row, params};

/// How many requests of one user may wait.
const OPEN_MAX: i64 = 20;
/// Requests that are listed at most.
const LISTED_MAX: u32 = 500;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantKind {
    /// A permission of the server, by its word.
    Permission,
    /// To see all that a rule hides, by the rule's name.
    Rule,
    /// To hold a grant of the project, by its name.
    Grant,
}

impl GrantKind {
    /// The word in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::Rule => "rule",
            Self::Grant => "grant",
        }
    }

    /// The kind of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Permission, Self::Rule, Self::Grant].into_iter().find(|kind| kind.word() == word)
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestStatus {
    /// Nobody has decided.
    Open,
    /// It is a grant, until it ends.
    Approved,
    /// It was refused.
    Refused,
    /// Who asked took it back before anybody decided.
    Withdrawn,
    /// The grant was taken back before its time.
    Ended,
}

impl RequestStatus {
    const ALL: [Self; 5] =
        [Self::Open, Self::Approved, Self::Refused, Self::Withdrawn, Self::Ended];

    /// The word in the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Withdrawn => "withdrawn",
            Self::Ended => "ended",
        }
    }
}

/// A request for access, and what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRequest {
    /// Its public id.
    pub id: String,
    /// Who asks.
    pub user: String,
    /// What kind of thing is asked for.
    pub kind: GrantKind,
    /// Which one.
    pub what: String,
    /// Why.
    pub reason: String,
    /// For how many days; for good if absent.
    pub days: Option<u16>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// What became of it.
    pub status: RequestStatus,
    /// Who decided, or took the grant back.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// What was said to who asked.
    pub answer: Option<String>,
    /// When the grant ends by itself; never if absent.
    pub until: Option<Timestamp>,
    /// Whether who asked has seen the decision.
    pub seen: bool,
}

/// Something that a user was given by an approved request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The kind of what was given.
    pub kind: GrantKind,
    /// Which one.
    pub what: String,
    /// When it ends by itself; never if absent.
    pub until: Option<Timestamp>,
}

impl Grant {
    /// Whether it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// A decision about a request.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// Who decides.
    pub by: &'a str,
    /// When.
    pub at: Timestamp,
    /// What is said to who asked.
    pub answer: Option<&'a str>,
    /// When the grant ends, if it is approved for a time.
    pub until: Option<Timestamp>,
}

/// What a user was given and what was not taken back, whatever its end.
pub(crate) fn grants_of(db: &Connection, user: &str) -> engine::Result<Vec<Grant>> {
    db.prepare_cached(
        "SELECT kind, what, until FROM access_requests WHERE user = ? AND status = 'approved' ORDER BY kind, what, until IS NOT NULL, until",
    )?
    .query_map([user], |row| {
        let until: Option<i64> = row.get(2)?;
        Ok(Grant {
            kind: kind_from(row, 0)?,
            what: row.get(1)?,
            until: until.map(Timestamp::from_micros),
        })
    })?
    .collect()
}

impl Store {
    /// Keeps a request; false if the user has an open one for the same already.
    ///
    /// # Errors
    /// [`ErrorKind::Blocked`] if too many of the user's requests wait; else as every method: see [`Store::open`].
    pub fn ask_for_access(&self, request: &AccessRequest) -> Result<bool> {
        let mut waiting = 0;
        let kept = self.write("keep a request", |db| {
            waiting = db.query_row(
                "SELECT count(*) FROM access_requests WHERE user = ? AND status = 'open'",
                [&request.user],
                |row| row.get(0),
            )?;
            let same: bool = db.query_row(
                "SELECT count(*) > 0 FROM access_requests WHERE user = ? AND kind = ? AND what = ? AND status = 'open'",
                params![request.user, request.kind.word(), request.what],
                |row| row.get(0),
            )?;
            if same || waiting >= OPEN_MAX {
                return Ok(false);
            }
            db.execute(
                &format!("INSERT INTO access_requests ({REQUEST}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"),
                params![
                    request.id,
                    request.user,
                    request.kind.word(),
                    request.what,
                    request.reason,
                    request.days,
                    request.asked_at.micros(),
                    request.status.word(),
                    request.decided_by,
                    request.decided_at.map(Timestamp::micros),
                    request.answer,
                    request.until.map(Timestamp::micros),
                    request.seen
                ],
            )?;
            Ok(true)
        })?;
        if !kept && waiting >= OPEN_MAX {
            return Err(Error::blocked(format!("{waiting} requests of yours wait already"))
                .hint("Take one of them back, or ask an owner or admin to decide."));
        }
        Ok(kept)
    }

    /// Requests, newest first: those of one user, or all.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn access_requests(&self, user: Option<&str>) -> Result<Vec<AccessRequest>> {
        self.read("list requests", |db| {
            // Those that wait are never cut off by those that were decided.
            db.prepare_cached(&format!(
                "SELECT {REQUEST} FROM access_requests WHERE user = coalesce(?, user)
                 ORDER BY status = 'open' DESC, asked_at DESC, id LIMIT {LISTED_MAX}"
            ))?
            .query_map([user], request_from)?
            .collect()
        })
    }

    /// The request `id`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn access_request(&self, id: &str) -> Result<Option<AccessRequest>> {
        self.read("look up a request", |db| request_of(db, id))
    }

    /// Makes a request a grant.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown request, [`ErrorKind::Conflict`] for one that was decided already,
    /// [`ErrorKind::Denied`] if who decides is who asked.
    pub fn approve_access(&self, id: &str, verdict: Verdict<'_>) -> Result<AccessRequest> {
        self.decide(id, verdict, RequestStatus::Approved)
    }

    /// Refuses a request.
    ///
    /// # Errors
    /// As [`Store::approve_access`].
    pub fn refuse_access(&self, id: &str, verdict: Verdict<'_>) -> Result<AccessRequest> {
        self.decide(id, Verdict { until: None, ..verdict }, RequestStatus::Refused)
    }

    /// Takes back one's own open request, or ends a grant: one's own, or anybody's if `any`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown request or somebody else's, [`ErrorKind::Conflict`] if it is neither open nor a
    /// grant.
    pub fn end_access(
        &self,
        id: &str,
        by: &str,
        any: bool,
        at: Timestamp,
    ) -> Result<AccessRequest> {
        self.changed(id, |db, mut request| {
            let own = request.user == by;
            request.status = match request.status {
                RequestStatus::Open if own => RequestStatus::Withdrawn,
                RequestStatus::Approved if own || any => RequestStatus::Ended,
                _ if !own && !any => return Ok(Err(unknown(id))),
                RequestStatus::Open => {
                    return Ok(Err(Error::new(
                        ErrorKind::Conflict,
                        format!("request \"{id}\" is open"),
                    )
                    .hint("Refuse it, so that who asked learns why.")));
                }
                other => return Ok(Err(decided(id, other))),
            };
            // One's own doing is no news.
            (request.decided_by, request.decided_at) = (Some(by.to_owned()), Some(at));
            request.seen = own;
            update(db, &request)?;
            Ok(Ok(request))
        })
    }

    /// Notes that who asked has seen the decision.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown request or somebody else's.
    pub fn seen_access(&self, id: &str, user: &str) -> Result<()> {
        let found = self.write("note a request", |db| {
            db.execute(
                "UPDATE access_requests SET seen = 1 WHERE id = ? AND user = ?",
                params![id, user],
            )
        })?;
        if found == 0 { Err(unknown(id)) } else { Ok(()) }
    }

    fn decide(
        &self,
        id: &str,
        verdict: Verdict<'_>,
        status: RequestStatus,
    ) -> Result<AccessRequest> {
        self.changed(id, |db, mut request| {
            if request.user == verdict.by {
                return Ok(Err(Error::new(
                    ErrorKind::Denied,
                    "nobody decides about their own request",
                )
                .hint("Another owner or admin has to look at it.")));
            }
            if request.status != RequestStatus::Open {
                return Ok(Err(decided(id, request.status)));
            }
            request.status = status;
            request.decided_by = Some(verdict.by.to_owned());
            request.decided_at = Some(verdict.at);
            request.answer = verdict.answer.map(str::to_owned);
            request.until = verdict.until;
            request.seen = false;
            update(db, &request)?;
            Ok(Ok(request))
        })
    }

    /// Changes one request in a transaction of its own; nothing is written if `change` says no.
    fn changed(
        &self,
        id: &str,
        change: impl FnOnce(&Connection, AccessRequest) -> engine::Result<Result<AccessRequest>>,
    ) -> Result<AccessRequest> {
        self.write("decide about a request", |db| match request_of(db, id)? {
            Some(request) => change(db, request),
            None => Ok(Err(unknown(id))),
        })?
    }
}

fn unknown(id: &str) -> Error {
    Error::not_found(format!("no request \"{id}\""))
        .hint("GET /v1/access-requests lists those that there are.")
}

fn decided(id: &str, status: RequestStatus) -> Error {
    Error::new(ErrorKind::Conflict, format!("request \"{id}\" is {} already", status.word()))
        .hint("Look at the list again; somebody may have been faster.")
}

fn update(db: &Connection, request: &AccessRequest) -> engine::Result<()> {
    db.execute(
        "UPDATE access_requests SET status = ?, decided_by = ?, decided_at = ?, answer = ?, until = ?, seen = ? WHERE id = ?",
        params![
            request.status.word(),
            request.decided_by,
            request.decided_at.map(Timestamp::micros),
            request.answer,
            request.until.map(Timestamp::micros),
            request.seen,
            request.id
        ],
    )
    .map(|_| ())
}

const REQUEST: &str = "id, user, kind, what, reason, days, asked_at, status, decided_by, decided_at, answer, until, seen";

fn request_of(db: &Connection, id: &str) -> engine::Result<Option<AccessRequest>> {
    db.prepare_cached(&format!("SELECT {REQUEST} FROM access_requests WHERE id = ?"))?
        .query_row([id], request_from)
        .optional()
}

fn strange(index: usize, word: &str) -> engine::Error {
    let error = Error::corrupt(format!("the word \"{word}\" of a request is not known"));
    engine::Error::unreadable(index, error)
}

fn kind_from(row: &Row<'_>, index: usize) -> engine::Result<GrantKind> {
    let word: String = row.get(index)?;
    GrantKind::of(&word).ok_or_else(|| strange(index, &word))
}

fn request_from(row: &Row<'_>) -> engine::Result<AccessRequest> {
    let status: String = row.get(7)?;
    let known = RequestStatus::ALL.into_iter().find(|one| one.word() == status);
    let moment = |index| row.get::<_, Option<i64>>(index).map(|at| at.map(Timestamp::from_micros));
    Ok(AccessRequest {
        id: row.get(0)?,
        user: row.get(1)?,
        kind: kind_from(row, 2)?,
        what: row.get(3)?,
        reason: row.get(4)?,
        days: row.get(5)?,
        asked_at: Timestamp::from_micros(row.get(6)?),
        status: known.ok_or_else(|| strange(7, &status))?,
        decided_by: row.get(8)?,
        decided_at: moment(9)?,
        answer: row.get(10)?,
        until: moment(11)?,
        seen: row.get(12)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str, user: &str, what: &str) -> AccessRequest {
        AccessRequest {
            id: id.to_owned(),
            user: user.to_owned(),
            kind: GrantKind::Permission,
            what: what.to_owned(),
            reason: "the board meets".to_owned(),
            days: Some(7),
            asked_at: Timestamp::from_micros(1),
            status: RequestStatus::Open,
            decided_by: None,
            decided_at: None,
            answer: None,
            until: None,
            seen: false,
        }
    }

    fn by(name: &str) -> Verdict<'_> {
        let (at, until) = (Timestamp::from_micros(5), Some(Timestamp::from_micros(100)));
        Verdict { by: name, at, answer: None, until }
    }

    #[test]
    fn a_request_is_decided_once_by_somebody_else_and_is_a_grant_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        assert!(store.ask_for_access(&request("r1", "lin", "query")).unwrap());
        assert!(!store.ask_for_access(&request("r2", "lin", "query")).unwrap(), "it waits already");
        let kind = |result: Result<AccessRequest>| result.unwrap_err().kind();
        assert_eq!(kind(store.approve_access("r1", by("lin"))), ErrorKind::Denied);
        assert_eq!(kind(store.refuse_access("r1", by("lin"))), ErrorKind::Denied);
        assert_eq!(kind(store.approve_access("r9", by("ada"))), ErrorKind::NotFound);
        assert_eq!(store.access_request("r1").unwrap().unwrap().status, RequestStatus::Open);
        let approved = store.approve_access("r1", by("ada")).unwrap();
        assert_eq!((approved.status, approved.seen), (RequestStatus::Approved, false));
        assert_eq!(kind(store.refuse_access("r1", by("bo"))), ErrorKind::Conflict);
        let grants = store.read("", |db| grants_of(db, "lin")).unwrap();
        assert_eq!(grants.len(), 1);
        let at = Timestamp::from_micros;
        assert!(grants[0].holds(at(99)) && !grants[0].holds(at(100)));
        store.seen_access("r1", "lin").unwrap();
        assert_eq!(store.seen_access("r1", "eve").unwrap_err().kind(), ErrorKind::NotFound);

        // Somebody else's is not there for who may not administer.
        assert_eq!(kind(store.end_access("r1", "eve", false, at(6))), ErrorKind::NotFound);
        let ended = store.end_access("r1", "ada", true, at(6)).unwrap();
        assert_eq!((ended.status, ended.seen), (RequestStatus::Ended, false));
        assert!(store.read("", |db| grants_of(db, "lin")).unwrap().is_empty());
        assert_eq!(kind(store.end_access("r1", "ada", true, at(7))), ErrorKind::Conflict);

        // The same may be asked for again; it can be taken back, and not be ended by others before it is decided.
        assert!(store.ask_for_access(&request("r3", "lin", "query")).unwrap());
        assert_eq!(kind(store.end_access("r3", "ada", true, at(8))), ErrorKind::Conflict);
        let back = store.end_access("r3", "lin", false, at(8)).unwrap();
        assert_eq!((back.status, back.seen), (RequestStatus::Withdrawn, true));
        let listed: Vec<String> =
            store.access_requests(Some("lin")).unwrap().into_iter().map(|one| one.id).collect();
        assert_eq!(listed, ["r1", "r3"]);
        assert!(store.access_requests(Some("ada")).unwrap().is_empty());
    }

    #[test]
    fn nobody_fills_the_queue_and_a_removed_user_leaves_no_grant_to_the_next_of_that_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        for number in 0..OPEN_MAX {
            let (id, what) = (format!("r{number}"), format!("w{number}"));
            assert!(store.ask_for_access(&request(&id, "lin", &what)).unwrap());
        }
        let error = store.ask_for_access(&request("more", "lin", "more")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Blocked);
        assert!(store.ask_for_access(&request("other", "ada", "w0")).unwrap());
        store.approve_access("r0", by("ada")).unwrap();
        store.invite("d", None, Timestamp::from_micros(9)).unwrap();
        store.accept("d", "ada", "hash", Timestamp::from_micros(1)).unwrap().unwrap();
        let user = crate::User {
            name: "lin".into(),
            role: "viewer".into(),
            password: None,
            disabled: false,
            provider_groups: Vec::new(),
            grants: Vec::new(),
            created_at: Timestamp::from_micros(1),
            last_seen_at: None,
        };
        assert!(store.add_user(&user).unwrap());
        assert_eq!(store.user("lin").unwrap().unwrap().grants.len(), 1);
        store.remove_user("lin").unwrap();
        assert!(store.add_user(&user).unwrap());
        assert!(store.user("lin").unwrap().unwrap().grants.is_empty());
    }

    crate::testing::also_on_postgres!(
        a_request_is_decided_once_by_somebody_else_and_is_a_grant_until_it_ends,
        nobody_fills_the_queue_and_a_removed_user_leaves_no_grant_to_the_next_of_that_name,
    );
}
