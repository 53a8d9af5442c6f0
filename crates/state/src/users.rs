//! Who may use the server: users, their sessions, their tokens and invitations.
//!
//! Sessions, tokens and invitations are kept as digests: who reads the file can use none of them.

use flywheel_base::{Error, ErrorKind, Result, Timestamp};

use crate::engine::{self, Connection, OptionalExtension, Row, params};
use crate::requests::grants_of;
use crate::{Grant, Store};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The role's word.
    pub role: String,
    /// The password's hash, with its salt and settings; none until the user has chosen one.
    pub password: Option<String>,
    /// Whether the user may do nothing at present.
    pub disabled: bool,
    /// The groups that an identity provider said the user is in, at the last sign-in with it.
    pub provider_groups: Vec<String>,
    /// What the user was given beside the role, ended or not; changed by requests alone.
    pub grants: Vec<Grant>,
    /// When the user was made.
    pub created_at: Timestamp,
    /// When the user was last seen.
    pub last_seen_at: Option<Timestamp>,
}

/// A session of a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSession {
    /// The digest of what the browser holds.
    pub digest: String,
    /// The user.
    pub user: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used.
    pub seen_at: Timestamp,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
}

/// A token of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its public id.
    pub id: String,
    /// The digest of the token.
    pub digest: String,
    /// What it is for.
    pub name: String,
    /// The user it acts for.
    pub owner: String,
    /// What it may do at most, by the permissions' words.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// A user, as an identity provider knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// The provider.
    pub issuer: String,
    /// The provider's own name for them.
    pub subject: String,
}

/// Somebody whom an identity provider vouches for.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// The provider's own name for them, by which alone they are known again.
    pub subject: &'a str,
    /// The name of the user who is made at the first time.
    pub name: &'a str,
    /// The role's word.
    pub role: &'a str,
    /// The provider's groups.
    pub groups: &'a [String],
}

/// What became of a visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedIn {
    /// They are this user.
    As {
        /// The user.
        name: String,
        /// Whether the user was made just now.
        made: bool,
    },
    /// They are this user, who may do nothing.
    Disabled(String),
    /// They are nobody yet, and their name is that of somebody.
    NameTaken,
    /// There would be no owner who may log in.
    NoOwner,
}

/// The session of `digest` and its user.
pub(crate) fn session_of(
    db: &Connection,
    digest: &str,
) -> engine::Result<Option<(LoginSession, User)>> {
    let session = db
        .prepare_cached(
            "SELECT digest, user, created_at, seen_at, expires_at FROM sessions WHERE digest = ?",
        )?
        .query_row([digest], session_from)
        .optional()?;
    let Some(session) = session else { return Ok(None) };
    Ok(user_named(db, &session.user)?.map(|user| (session, user)))
}

/// The token of `digest` and the user it acts for.
pub(crate) fn token_of(db: &Connection, digest: &str) -> engine::Result<Option<(ApiToken, User)>> {
    let token = db
        .prepare_cached(&format!("SELECT {TOKEN} FROM tokens WHERE digest = ?"))?
        .query_row([digest], token_from)
        .optional()?;
    let Some(token) = token else { return Ok(None) };
    Ok(user_named(db, &token.owner)?.map(|user| (token, user)))
}

/// The token of a public id.
pub(crate) fn token_by_id(db: &Connection, id: &str) -> engine::Result<Option<ApiToken>> {
    db.prepare_cached(&format!("SELECT {TOKEN} FROM tokens WHERE id = ?"))?
        .query_row([id], token_from)
        .optional()
}

/// The role that must never be without a user.
const OWNER: &str = "owner";

/// Used by every change that could take away the last owner.
fn owners_left(db: &Connection) -> engine::Result<bool> {
    db.query_row("SELECT count(*) FROM users WHERE role = ? AND disabled = 0", [OWNER], |row| {
        Ok(row.get::<_, i64>(0)? > 0)
    })
}

impl Store {
    /// All users, by name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn users(&self) -> Result<Vec<User>> {
        self.read("list users", |db| {
            let mut users: Vec<User> = db
                .prepare_cached(&format!("SELECT {USER} FROM users ORDER BY name"))?
                .query_map([], user_from)?
                .collect::<engine::Result<_>>()?;
            for user in &mut users {
                user.grants = grants_of(db, &user.name)?;
            }
            Ok(users)
        })
    }

    /// The user `name`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn user(&self, name: &str) -> Result<Option<User>> {
        self.read("look up a user", |db| user_named(db, name))
    }

    /// Makes a user; false if there is one of that name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn add_user(&self, user: &User) -> Result<bool> {
        self.write("make a user", |db| Ok(insert_user(db, user)? == 1))
    }

    /// Changes role and state of a user, and ends the sessions of one who is disabled; the last owner who
    /// may log in stays one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown user, [`ErrorKind::Blocked`] if no owner would be left.
    pub fn change_user(&self, name: &str, role: &str, disabled: bool) -> Result<()> {
        self.guarded("change a user", name, |db| {
            let changed = db.execute(
                "UPDATE users SET role = ?, disabled = ? WHERE name = ?",
                params![role, disabled, name],
            )?;
            if disabled {
                db.execute("DELETE FROM sessions WHERE user = ?", [name])?;
            }
            Ok(changed)
        })
    }

    /// Removes a user with sessions, tokens and invitations.
    ///
    /// # Errors
    /// As [`Store::change_user`].
    pub fn remove_user(&self, name: &str) -> Result<()> {
        self.guarded("remove a user", name, |db| {
            for table in ["sessions", "invitations", "identities", "access_requests"] {
                db.execute(&format!("DELETE FROM {table} WHERE user = ?"), [name])?;
            }
            db.execute("DELETE FROM tokens WHERE owner = ?", [name])?;
            db.execute("DELETE FROM users WHERE name = ?", [name])
        })
    }

    /// Does a change unless it leaves nobody who may do everything.
    fn guarded(
        &self,
        doing: &str,
        name: &str,
        change: impl FnOnce(&Connection) -> engine::Result<usize>,
    ) -> Result<()> {
        let (mut found, mut last) = (false, false);
        let done = self.write(doing, |db| {
            found = change(db)? == 1;
            last = found && !owners_left(db)?;
            // Nothing is kept of a change that ends in an error.
            if last { Err(engine::Error::Undone) } else { Ok(()) }
        });
        if last {
            return Err(Error::blocked(format!("\"{name}\" is the last owner who may log in"))
                .hint("Make another user an owner first."));
        }
        done?;
        if found { Ok(()) } else { Err(Error::not_found(format!("no user \"{name}\""))) }
    }

    /// Lets somebody in whom an identity provider vouches for: makes the user at the first time, and takes role and groups
    /// from the provider at each.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn sign_in(&self, visit: &Visit<'_>, now: Timestamp) -> Result<SignedIn> {
        let (mut outcome, mut locked_out) = (SignedIn::NoOwner, false);
        let done = self.write("sign somebody in", |db| {
            let known = identity_of(db, visit.issuer, visit.subject)?;
            let user = match known.as_deref() {
                Some(name) => user_named(db, name)?,
                None => None,
            };
            outcome = match user {
                Some(user) if user.disabled => SignedIn::Disabled(user.name),
                Some(user) => {
                    db.execute(
                        "UPDATE users SET role = ?, provider_groups = ?, last_seen_at = ? WHERE name = ?",
                        params![visit.role, listed(visit.groups), now.micros(), user.name],
                    )?;
                    SignedIn::As { name: user.name, made: false }
                }
                // Of whoever has that name already nothing is known but the name.
                None if is_taken(db, visit.name)? => SignedIn::NameTaken,
                None => {
                    insert_user(db, &User {
                        name: visit.name.to_owned(),
                        role: visit.role.to_owned(),
                        password: None,
                        disabled: false,
                        provider_groups: visit.groups.to_vec(),
                        grants: Vec::new(),
                        created_at: now,
                        last_seen_at: Some(now),
                    })?;
                    link(db, visit.issuer, visit.subject, visit.name, now)?;
                    SignedIn::As { name: visit.name.to_owned(), made: true }
                }
            };
            // A provider that takes away the last owner, or fills a server that nobody has set up, leaves nobody to mend it.
            locked_out = matches!(outcome, SignedIn::As { .. }) && !owners_left(db)?;
            // Nothing is kept of a change that ends in an error.
            if locked_out { Err(engine::Error::Undone) } else { Ok(()) }
        });
        if locked_out {
            return Ok(SignedIn::NoOwner);
        }
        done?;
        Ok(outcome)
    }

    /// Ends the sessions of whom a provider vouches for but who has no role any more, and forgets their groups; the user's
    /// name, if there is one.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn turn_away(&self, issuer: &str, subject: &str) -> Result<Option<String>> {
        self.write("turn somebody away", |db| {
            let name = identity_of(db, issuer, subject)?;
            if let Some(name) = &name {
                db.execute("DELETE FROM sessions WHERE user = ?", [name])?;
                db.execute("UPDATE users SET provider_groups = '[]' WHERE name = ?", [name])?;
            }
            Ok(name)
        })
    }

    /// Says that whom a provider knows as `subject` is the user `name`; false if that is somebody else already.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn link_identity(
        &self,
        (issuer, subject): (&str, &str),
        name: &str,
        now: Timestamp,
    ) -> Result<bool> {
        self.write("link a user with an identity", |db| match identity_of(db, issuer, subject)? {
            Some(known) => Ok(known == name),
            None => link(db, issuer, subject, name, now).map(|()| true),
        })
    }

    /// Who the users are at identity providers: user, issuer and subject, by user.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn identities(&self) -> Result<Vec<Identity>> {
        self.read("list identities", |db| {
            db.prepare_cached("SELECT user, issuer, subject FROM identities ORDER BY 1, 2, 3")?
                .query_map([], |row| {
                    Ok(Identity { user: row.get(0)?, issuer: row.get(1)?, subject: row.get(2)? })
                })?
                .collect()
        })
    }

    /// Sets a user's password, and ends all sessions of that user but `keep`.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn set_password(&self, name: &str, hash: &str, keep: &str) -> Result<()> {
        self.write("set a password", |db| {
            db.execute("UPDATE users SET password = ? WHERE name = ?", params![hash, name])?;
            db.execute("DELETE FROM sessions WHERE user = ? AND digest <> ?", params![name, keep])?;
            Ok(())
        })
    }

    /// Keeps an invitation by its digest: for the user who may choose a password with it, or for the first
    /// owner. Earlier ones for the same are void.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn invite(&self, digest: &str, user: Option<&str>, expires_at: Timestamp) -> Result<()> {
        self.write("invite", |db| {
            db.execute("DELETE FROM invitations WHERE user IS NOT DISTINCT FROM ?", [user])?;
            db.execute(
                "INSERT INTO invitations VALUES (?, ?, ?)",
                params![digest, user, expires_at.micros()],
            )?;
            Ok(())
        })
    }

    /// Uses an invitation up: makes the first owner `name`, or sets the invited user's password, and begins
    /// a session. Returns the user; none if the invitation is unknown, used, late or for another name.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn accept(
        &self,
        digest: &str,
        name: &str,
        hash: &str,
        now: Timestamp,
    ) -> Result<Option<User>> {
        self.write("accept an invitation", |db| {
            let invited: Option<Option<String>> = db
                .query_row(
                    "SELECT user FROM invitations WHERE digest = ? AND expires_at > ?",
                    params![digest, now.micros()],
                    |row| row.get(0),
                )
                .optional()?;
            let user = match invited {
                Some(Some(user)) if user == name => {
                    db.execute(
                        "UPDATE users SET password = ? WHERE name = ?",
                        params![hash, name],
                    )?;
                    db.execute("DELETE FROM sessions WHERE user = ?", [name])?;
                    user_named(db, name)?
                }
                // The link for the first owner is worth nothing once there is one.
                Some(None) if !owners_left(db)? => {
                    let user = User {
                        name: name.to_owned(),
                        role: OWNER.to_owned(),
                        password: Some(hash.to_owned()),
                        disabled: false,
                        provider_groups: Vec::new(),
                        grants: Vec::new(),
                        created_at: now,
                        last_seen_at: Some(now),
                    };
                    (insert_user(db, &user)? == 1).then_some(user)
                }
                _ => None,
            };
            if user.is_some() {
                db.execute("DELETE FROM invitations WHERE digest = ?", [digest])?;
            }
            Ok(user)
        })
    }

    /// Begins a session, by which its user is seen, and forgets those that have ended.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn begin_session(&self, session: &LoginSession) -> Result<()> {
        self.write("begin a session", |db| {
            db.execute(
                "DELETE FROM sessions WHERE expires_at <= ?",
                [session.created_at.micros()],
            )?;
            db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?)",
                params![
                    session.digest,
                    session.user,
                    session.created_at.micros(),
                    session.seen_at.micros(),
                    session.expires_at.micros()
                ],
            )?;
            db.execute(
                "UPDATE users SET last_seen_at = ? WHERE name = ?",
                params![session.seen_at.micros(), session.user],
            )?;
            Ok(())
        })
    }

    /// Says that a session and its user were seen.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn session_seen(&self, digest: &str, user: &str, now: Timestamp) -> Result<()> {
        self.write("note a session", |db| {
            db.execute(
                "UPDATE sessions SET seen_at = ? WHERE digest = ?",
                params![now.micros(), digest],
            )?;
            db.execute(
                "UPDATE users SET last_seen_at = ? WHERE name = ?",
                params![now.micros(), user],
            )?;
            Ok(())
        })
    }

    /// Ends a session.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn end_session(&self, digest: &str) -> Result<()> {
        self.write("end a session", |db| {
            db.execute("DELETE FROM sessions WHERE digest = ?", [digest]).map(|_| ())
        })
    }

    /// Keeps a new token.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn add_token(&self, token: &ApiToken) -> Result<()> {
        self.write("keep a token", |db| {
            db.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    token.id,
                    token.digest,
                    token.name,
                    token.owner,
                    token.scopes.join(" "),
                    token.created_at.micros(),
                    token.expires_at.micros(),
                    token.last_used_at.map(Timestamp::micros),
                    token.revoked
                ],
            )
            .map(|_| ())
        })
    }

    /// Says that a token was used.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn token_used(&self, id: &str, now: Timestamp) -> Result<()> {
        self.write("note a token", |db| {
            db.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", params![now.micros(), id])
                .map(|_| ())
        })
    }

    /// All tokens, newest first.
    ///
    /// # Errors
    /// As every method: see [`Store::open`].
    pub fn tokens(&self) -> Result<Vec<ApiToken>> {
        self.read("list tokens", |db| {
            db.prepare_cached(&format!("SELECT {TOKEN} FROM tokens ORDER BY created_at DESC, id"))?
                .query_map([], token_from)?
                .collect()
        })
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an unknown token.
    pub fn revoke_token(&self, id: &str) -> Result<()> {
        let found = self.write("take a token back", |db| {
            db.execute("UPDATE tokens SET revoked = 1 WHERE id = ?", [id])
        })?;
        if found == 0 {
            return Err(Error::new(ErrorKind::NotFound, format!("no token \"{id}\"")));
        }
        Ok(())
    }
}

const USER: &str = "name, role, password, disabled, provider_groups, created_at, last_seen_at";

const TOKEN: &str =
    "id, digest, name, owner, scopes, created_at, expires_at, last_used_at, revoked";

fn identity_of(db: &Connection, issuer: &str, subject: &str) -> engine::Result<Option<String>> {
    db.prepare_cached("SELECT user FROM identities WHERE issuer = ? AND subject = ?")?
        .query_row([issuer, subject], |row| row.get(0))
        .optional()
}

fn link(
    db: &Connection,
    issuer: &str,
    subject: &str,
    user: &str,
    now: Timestamp,
) -> engine::Result<()> {
    db.execute(
        "INSERT INTO identities VALUES (?, ?, ?, ?)",
        params![issuer, subject, user, now.micros()],
    )
    .map(|_| ())
}

/// Whether a user has this name, however it is capitalised.
fn is_taken(db: &Connection, name: &str) -> engine::Result<bool> {
    let wanted = name.to_lowercase();
    let mut query = db.prepare_cached("SELECT name FROM users")?;
    let names = query.query_map([], |row| row.get::<_, String>(0))?;
    for name in names {
        if name?.to_lowercase() == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds a user unless the name is taken; how many were added.
fn insert_user(db: &Connection, user: &User) -> engine::Result<usize> {
    if is_taken(db, &user.name)? {
        return Ok(0);
    }
    db.execute(
        &format!("INSERT OR IGNORE INTO users ({USER}) VALUES (?,?,?,?,?,?,?)"),
        params![
            user.name,
            user.role,
            user.password,
            user.disabled,
            listed(&user.provider_groups),
            user.created_at.micros(),
            user.last_seen_at.map(Timestamp::micros)
        ],
    )
}

fn user_named(db: &Connection, name: &str) -> engine::Result<Option<User>> {
    let user = db
        .prepare_cached(&format!("SELECT {USER} FROM users WHERE name = ?"))?
        .query_row([name], user_from)
        .optional()?;
    let Some(mut user) = user else { return Ok(None) };
    user.grants = grants_of(db, name)?;
    Ok(Some(user))
}

fn moment(row: &Row<'_>, index: usize) -> engine::Result<Timestamp> {
    row.get(index).map(Timestamp::from_micros)
}

/// Texts as a column keeps them.
fn listed(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

fn list_from(row: &Row<'_>, index: usize) -> engine::Result<Vec<String>> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text).map_err(|error| engine::Error::unreadable(index, error))
}

fn user_from(row: &Row<'_>) -> engine::Result<User> {
    Ok(User {
        name: row.get(0)?,
        role: row.get(1)?,
        password: row.get(2)?,
        disabled: row.get(3)?,
        provider_groups: list_from(row, 4)?,
        grants: Vec::new(),
        created_at: moment(row, 5)?,
        last_seen_at: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_micros),
    })
}

fn session_from(row: &Row<'_>) -> engine::Result<LoginSession> {
    Ok(LoginSession {
        digest: row.get(0)?,
        user: row.get(1)?,
        created_at: moment(row, 2)?,
        seen_at: moment(row, 3)?,
        expires_at: moment(row, 4)?,
    })
}

fn token_from(row: &Row<'_>) -> engine::Result<ApiToken> {
    let scopes: String = row.get(4)?;
    Ok(ApiToken {
        id: row.get(0)?,
        digest: row.get(1)?,
        name: row.get(2)?,
        owner: row.get(3)?,
        scopes: scopes.split_whitespace().map(str::to_owned).collect(),
        created_at: moment(row, 5)?,
        expires_at: moment(row, 6)?,
        last_used_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros),
        revoked: row.get(8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signs `subject` in as `role`, with the name `name`.
    fn sign_in(store: &Store, subject: &str, name: &str, role: &str) -> SignedIn {
        let groups = [format!("{role}s")];
        let visit = Visit { issuer: "https://id", subject, name, role, groups: &groups };
        store.sign_in(&visit, Timestamp::from_micros(5)).unwrap()
    }

    #[test]
    fn somebody_is_known_by_the_subject_and_never_by_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        let now = Timestamp::from_micros(1);
        // Nobody but an owner comes before the owner, and nothing is kept of who tried.
        assert_eq!(sign_in(&store, "1", "lin", "viewer"), SignedIn::NoOwner);
        assert!(store.users().unwrap().is_empty() && store.identities().unwrap().is_empty());
        store.invite("d", None, Timestamp::from_micros(9)).unwrap();
        store.accept("d", "ada", "hash", now).unwrap().unwrap();

        let (lin, made) = ("lin".to_owned(), true);
        assert_eq!(sign_in(&store, "1", "lin", "viewer"), SignedIn::As { name: lin, made });
        let (lin, made) = ("lin".to_owned(), false);
        assert_eq!(sign_in(&store, "1", "renamed", "engineer"), SignedIn::As { name: lin, made });
        let user = store.user("lin").unwrap().unwrap();
        assert_eq!(
            (user.role.as_str(), user.provider_groups),
            ("engineer", vec!["engineers".to_owned()])
        );
        assert_eq!(sign_in(&store, "2", "lin", "owner"), SignedIn::NameTaken);
        assert_eq!(sign_in(&store, "2", "ada", "viewer"), SignedIn::NameTaken);
        assert_eq!(sign_in(&store, "2", "Ada", "viewer"), SignedIn::NameTaken);
        let capitals = User { name: "LIN".to_owned(), ..store.user("lin").unwrap().unwrap() };
        assert!(!store.add_user(&capitals).unwrap());
        assert_eq!(store.user("ada").unwrap().unwrap().role, "owner");

        // Who is disabled stays so, whatever the provider says.
        store.change_user("lin", "viewer", true).unwrap();
        assert_eq!(sign_in(&store, "1", "lin", "owner"), SignedIn::Disabled("lin".to_owned()));
        let user = store.user("lin").unwrap().unwrap();
        assert!(user.disabled && user.role == "viewer");

        // An admin says who is who; the last owner stays one.
        assert!(store.link_identity(("https://id", "2"), "ada", now).unwrap());
        assert!(!store.link_identity(("https://id", "2"), "lin", now).unwrap());
        assert_eq!(sign_in(&store, "2", "x", "viewer"), SignedIn::NoOwner);
        assert_eq!(store.user("ada").unwrap().unwrap().role, "owner");

        store.remove_user("lin").unwrap();
        let left: Vec<String> =
            store.identities().unwrap().into_iter().map(|one| one.user).collect();
        assert_eq!(left, ["ada"]);
    }

    #[test]
    fn who_has_no_role_any_more_has_no_session_and_no_groups() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("meta.db")).unwrap();
        sign_in(&store, "1", "lin", "owner");
        let at = Timestamp::from_micros;
        let session = LoginSession {
            digest: "s".to_owned(),
            user: "lin".to_owned(),
            created_at: at(6),
            seen_at: at(6),
            expires_at: at(9),
        };
        store.begin_session(&session).unwrap();
        // Who has just logged in was seen.
        assert_eq!(store.user("lin").unwrap().unwrap().last_seen_at, Some(at(6)));
        let reader = store.reader().unwrap();
        assert!(reader.session("s").unwrap().is_some());
        assert_eq!(store.turn_away("https://id", "1").unwrap().as_deref(), Some("lin"));
        assert!(reader.session("s").unwrap().is_none());
        assert!(store.user("lin").unwrap().unwrap().provider_groups.is_empty());
        assert_eq!(store.turn_away("https://id", "2").unwrap(), None);
    }

    crate::testing::also_on_postgres!(
        somebody_is_known_by_the_subject_and_never_by_the_name,
        who_has_no_role_any_more_has_no_session_and_no_groups,
    );
}
