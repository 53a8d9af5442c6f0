//! What a server asks at every request: who has this token, which artifact is served.
//!
//! It is answered from memory as long as nobody has written to the database since, which SQLite says for a few
//! microseconds (`data_version`): a change by this process, by another connection or by another process is seen by the
//! next question. PostgreSQL says so by the number of writes, for one turn over the network. The connection is one of its own,
//! so that no question waits for a write to reach the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flywheel_base::Result;

use crate::engine::{self, Connection};
use crate::pins::served_of;
use crate::users::{session_of, token_by_id, token_of};
use crate::{ApiToken, Artifact, LoginSession, Store, User};

/// Answers of one kind that are kept; when there are more, all are asked for anew.
const KEPT_MAX: usize = 4_096;

/// Reads beside the writer, and remembers.
#[derive(Debug)]
pub struct Reader {
    inner: Mutex<Inner>,
    /// Where it reads, for messages.
    place: String,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    /// What the database said when the answers were read.
    version: i64,
    tokens: Answers<(ApiToken, User)>,
    by_id: Answers<ApiToken>,
    sessions: Answers<(LoginSession, User)>,
    /// The artifacts of learners that are served.
    artifacts: Answers<Artifact>,
}

/// Answers by what was asked for, also where there is nothing.
type Answers<T> = HashMap<String, Option<Arc<T>>>;

impl Store {
    /// Opens a reader of the same database.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn reader(&self) -> Result<Reader> {
        let place = self.place();
        let connection = match self.shared() {
            Some(shared) => Connection::shared(shared),
            None => {
                Connection::reading(self.path()).map_err(|error| error.of_store("open", &place))?
            }
        };
        let inner = Inner {
            connection,
            version: -1,
            tokens: HashMap::new(),
            by_id: HashMap::new(),
            sessions: HashMap::new(),
            artifacts: HashMap::new(),
        };
        Ok(Reader { inner: Mutex::new(inner), place })
    }
}

impl Reader {
    /// The token of `digest` and the user it acts for.
    ///
    /// # Errors
    /// As every method of [`Store`]: see [`Store::open`].
    pub fn token(&self, digest: &str) -> Result<Option<Arc<(ApiToken, User)>>> {
        self.ask("look up a token", digest, |inner| &mut inner.tokens, token_of)
    }

    /// The token of a public id, whoever it acts for.
    ///
    /// # Errors
    /// As [`Reader::token`].
    pub fn token_by_id(&self, id: &str) -> Result<Option<Arc<ApiToken>>> {
        self.ask("look up a token", id, |inner| &mut inner.by_id, token_by_id)
    }

    /// The session of `digest` and its user.
    ///
    /// # Errors
    /// As [`Reader::token`].
    pub fn session(&self, digest: &str) -> Result<Option<Arc<(LoginSession, User)>>> {
        self.ask("look up a session", digest, |inner| &mut inner.sessions, session_of)
    }

    /// The artifact of `learner` that is served: the one it is held at, else the newest one.
    ///
    /// # Errors
    /// As [`Reader::token`].
    pub fn served_artifact(&self, learner: &str) -> Result<Option<Arc<Artifact>>> {
        self.ask("look up an artifact", learner, |inner| &mut inner.artifacts, served_of)
    }

    fn ask<T>(
        &self,
        doing: &str,
        what: &str,
        kept: impl Fn(&mut Inner) -> &mut Answers<T>,
        look: impl FnOnce(&Connection, &str) -> engine::Result<Option<T>>,
    ) -> Result<Option<Arc<T>>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: engine::Error| error.of_store(doing, &self.place);
        // Before the answer is read: what is written in between is seen by the next question.
        let version = inner.connection.data_version().map_err(failed)?;
        if version != inner.version {
            inner.version = version;
            inner.tokens.clear();
            inner.by_id.clear();
            inner.sessions.clear();
            inner.artifacts.clear();
        }
        if let Some(known) = kept(&mut inner).get(what) {
            return Ok(known.clone());
        }
        let found = look(&inner.connection, what).map_err(failed)?.map(Arc::new);
        let kept = kept(&mut inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(what.to_owned(), found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use flywheel_base::Timestamp;
    use serde_json::Value;

    use crate::{ApiToken, Artifact, Store, User};

    #[test]
    fn an_answer_holds_until_somebody_writes_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        let reader = store.reader().unwrap();
        let now = Timestamp::from_micros(1_000);
        assert!(reader.token("d").unwrap().is_none());
        let user = User {
            name: "ada".into(),
            role: "owner".into(),
            password: None,
            disabled: false,
            provider_groups: Vec::new(),
            grants: Vec::new(),
            created_at: now,
            last_seen_at: None,
        };
        store.add_user(&user).unwrap();
        let token = ApiToken {
            id: "t".into(),
            digest: "d".into(),
            name: "n".into(),
            owner: "ada".into(),
            scopes: vec!["ingest".into()],
            created_at: now,
            expires_at: now,
            last_used_at: None,
            revoked: false,
        };
        store.add_token(&token).unwrap();
        let known = reader.token("d").unwrap().unwrap();
        assert_eq!((&known.0.name, &known.1.name), (&"n".to_owned(), &"ada".to_owned()));
        assert!(std::sync::Arc::ptr_eq(&known, &reader.token("d").unwrap().unwrap()));
        // Another connection, as that of another process.
        Store::open(store.path()).unwrap().revoke_token("t").unwrap();
        assert!(reader.token("d").unwrap().unwrap().0.revoked);
        let fit = |at: i64, digest: &str| Artifact {
            digest: digest.into(),
            learner: "l".into(),
            turn: None,
            kind: "recommend".into(),
            fitted_at: Timestamp::from_micros(at),
            detail: Value::Null,
        };
        store.record_artifact(&fit(1, "a")).unwrap();
        assert_eq!(reader.served_artifact("l").unwrap().unwrap().digest, "a");
        store.record_artifact(&fit(2, "b")).unwrap();
        assert_eq!(reader.served_artifact("l").unwrap().unwrap().digest, "b");
        assert!(reader.served_artifact("other").unwrap().is_none());
        assert!(reader.session("s").unwrap().is_none());
    }

    crate::testing::also_on_postgres!(an_answer_holds_until_somebody_writes_and_no_longer,);
}
