//! The layout of the metadata and its migrations, numbered by `PRAGMA user_version` in a file and by `flywheel_layout` in a
//! schema of PostgreSQL. They are written once, in SQLite's words; [`crate::engine`] says what PostgreSQL reads instead.

use rusqlite::Connection;

/// One entry per version; entry `n` brings version `n` to `n + 1`. Never edit an entry that shipped.
pub(crate) const MIGRATIONS: &[&str] = &["
CREATE TABLE runs (
  run_id TEXT PRIMARY KEY, kind TEXT NOT NULL, turn INTEGER, logical_at INTEGER NOT NULL,
  status TEXT NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER, error TEXT, detail TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE TABLE tasks (
  run_id TEXT NOT NULL REFERENCES runs(run_id), position INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  status TEXT NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER, duration_ms REAL,
  rows_in INTEGER, rows_out INTEGER, rows_rejected INTEGER, error TEXT, detail TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (run_id, position)
) STRICT;
CREATE TABLE turns (
  turn INTEGER PRIMARY KEY, logical_at INTEGER NOT NULL UNIQUE, status TEXT NOT NULL
) STRICT;
CREATE TABLE publications (
  environment TEXT NOT NULL, name TEXT NOT NULL, location TEXT, version INTEGER, view_sql TEXT,
  fingerprint TEXT NOT NULL, published_at INTEGER NOT NULL,
  PRIMARY KEY (environment, name)
) STRICT;
CREATE TABLE builds (
  name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, inputs TEXT NOT NULL, location TEXT, version INTEGER,
  view_sql TEXT, tests TEXT NOT NULL, built_at INTEGER NOT NULL
) STRICT;
CREATE TABLE artifacts (
  digest TEXT NOT NULL, learner TEXT NOT NULL, turn INTEGER, kind TEXT NOT NULL, fitted_at INTEGER NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY (learner, fitted_at)
) STRICT;
CREATE TABLE outbox (
  key TEXT PRIMARY KEY, policy TEXT NOT NULL, turn INTEGER NOT NULL, decision_id TEXT NOT NULL, action TEXT NOT NULL,
  payload TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL, due_at INTEGER NOT NULL,
  ended_at INTEGER, receipt TEXT, error TEXT, logged INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_open ON outbox (due_at) WHERE status = 'pending';
CREATE INDEX outbox_unlogged ON outbox (turn) WHERE logged = 0;
CREATE TABLE policies (
  policy TEXT PRIMARY KEY, paused INTEGER NOT NULL, reason TEXT, changed_at INTEGER NOT NULL, last_decided_at INTEGER
) STRICT;
", "
CREATE TABLE idle_positions (
  app TEXT PRIMARY KEY, sequence INTEGER NOT NULL, position TEXT NOT NULL
) STRICT;
", "
CREATE TABLE links (
  link TEXT NOT NULL, key TEXT NOT NULL, left_id TEXT, right_id TEXT, cut INTEGER NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (link, key)
) STRICT;
CREATE UNIQUE INDEX links_left ON links (link, left_id) WHERE left_id IS NOT NULL;
CREATE UNIQUE INDEX links_right ON links (link, right_id) WHERE right_id IS NOT NULL;
CREATE TABLE link_audit (
  number INTEGER PRIMARY KEY, link TEXT NOT NULL, run_id TEXT NOT NULL, at INTEGER NOT NULL, tag TEXT NOT NULL,
  record TEXT NOT NULL, id TEXT, side TEXT NOT NULL, field TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,
  rule TEXT NOT NULL, UNIQUE (link, tag, side, field)
) STRICT;
CREATE TABLE link_questions (
  link TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, record TEXT NOT NULL, detail TEXT NOT NULL,
  asked_at INTEGER NOT NULL, answer TEXT, answered_at INTEGER, open INTEGER NOT NULL, PRIMARY KEY (link, id)
) STRICT;
", "
CREATE TABLE migrations (
  sync TEXT PRIMARY KEY, phase TEXT NOT NULL, changed_at INTEGER NOT NULL, detail TEXT NOT NULL
) STRICT;
", "
CREATE TABLE splits (
  split TEXT PRIMARY KEY, phase TEXT NOT NULL, changed_at INTEGER NOT NULL, detail TEXT NOT NULL
) STRICT;
", "
CREATE TABLE promotions (
  policy TEXT NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, declared TEXT NOT NULL, learner TEXT NOT NULL,
  artifact TEXT, undoes INTEGER, reason TEXT NOT NULL, evidence TEXT NOT NULL, PRIMARY KEY (policy, number)
) STRICT;
", "
CREATE INDEX outbox_shown ON outbox (ended_at) WHERE status = 'delivered' AND logged = 1;
", "
CREATE TABLE users (
  name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT, disabled INTEGER NOT NULL, created_at INTEGER NOT NULL,
  last_seen_at INTEGER
) STRICT;
CREATE TABLE sessions (
  digest TEXT PRIMARY KEY, user TEXT NOT NULL, created_at INTEGER NOT NULL, seen_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE TABLE tokens (
  id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, name TEXT NOT NULL, owner TEXT NOT NULL, scopes TEXT NOT NULL,
  created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, last_used_at INTEGER, revoked INTEGER NOT NULL
) STRICT;
CREATE TABLE invitations (digest TEXT PRIMARY KEY, user TEXT, expires_at INTEGER NOT NULL) STRICT;
CREATE TABLE audit (
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, object TEXT NOT NULL,
  detail TEXT NOT NULL, digest TEXT NOT NULL
) STRICT;
", "
CREATE TABLE holds (
  name TEXT PRIMARY KEY, version INTEGER, reason TEXT NOT NULL, held_at INTEGER NOT NULL
) STRICT;
", "
CREATE TABLE reads (
  asset TEXT NOT NULL, reader TEXT NOT NULL, via TEXT NOT NULL, day INTEGER NOT NULL, count INTEGER NOT NULL,
  last_at INTEGER NOT NULL, PRIMARY KEY (asset, reader, via, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX reads_by_day ON reads (day);
CREATE TABLE profiles (
  asset TEXT PRIMARY KEY, location TEXT, version INTEGER, profiled_at INTEGER NOT NULL, digest TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;
CREATE TABLE retirements (
  asset TEXT PRIMARY KEY, decided_at INTEGER NOT NULL, cost_per_year REAL NOT NULL, currency TEXT NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE INDEX tasks_by_start ON tasks (started_at);
", "
ALTER TABLE outbox ADD COLUMN fence INTEGER;
ALTER TABLE outbox ADD COLUMN once INTEGER NOT NULL DEFAULT 0;
CREATE INDEX outbox_sending ON outbox (key) WHERE status = 'sending';
CREATE TABLE outbox_fence (only_row INTEGER PRIMARY KEY CHECK (only_row = 0), fence INTEGER NOT NULL) STRICT;
INSERT INTO outbox_fence (only_row, fence) VALUES (0, 0);
", "
CREATE TABLE canaries (
  policy TEXT NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, canary INTEGER NOT NULL, move TEXT NOT NULL,
  declared TEXT NOT NULL, learner TEXT NOT NULL, artifact TEXT, share REAL NOT NULL, reason TEXT NOT NULL,
  evidence TEXT NOT NULL, PRIMARY KEY (policy, number)
) STRICT;
", "
CREATE TABLE builds_of (
  environment TEXT NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL, inputs TEXT NOT NULL, location TEXT,
  version INTEGER, view_sql TEXT, tests TEXT NOT NULL, built_at INTEGER NOT NULL, sql TEXT,
  intervals TEXT, PRIMARY KEY (environment, name)
) STRICT;
INSERT INTO builds_of
  SELECT 'prod', name, fingerprint, inputs, location, version, view_sql, tests, built_at, NULL, NULL FROM builds;
DROP TABLE builds;
ALTER TABLE builds_of RENAME TO builds;
ALTER TABLE publications ADD COLUMN target TEXT NOT NULL DEFAULT '';
CREATE TABLE environments (
  environment TEXT PRIMARY KEY, made_from TEXT NOT NULL, created_at INTEGER NOT NULL, base TEXT NOT NULL
) STRICT;
CREATE TABLE environment_moves (
  number INTEGER PRIMARY KEY, environment TEXT NOT NULL, made_from TEXT NOT NULL, at INTEGER NOT NULL,
  undone INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE environment_before (
  number INTEGER NOT NULL REFERENCES environment_moves(number), kind TEXT NOT NULL, name TEXT NOT NULL,
  fingerprint TEXT NOT NULL, inputs TEXT, location TEXT, version INTEGER, view_sql TEXT, tests TEXT,
  at INTEGER NOT NULL, sql TEXT, intervals TEXT, target TEXT, PRIMARY KEY (number, kind, name)
) STRICT;
CREATE TABLE idle_tables (location TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT;
", "
CREATE TABLE schedules (
  name TEXT PRIMARY KEY, paused INTEGER NOT NULL, reason TEXT, cursor INTEGER NOT NULL, seen TEXT NOT NULL,
  failing_since INTEGER
) STRICT;
CREATE TABLE schedule_runs (
  id TEXT PRIMARY KEY, schedule TEXT NOT NULL, moment INTEGER NOT NULL, cause TEXT NOT NULL, status TEXT NOT NULL,
  attempt INTEGER NOT NULL, failures INTEGER NOT NULL, interruptions INTEGER NOT NULL, due_at INTEGER NOT NULL,
  asked_by TEXT NOT NULL, asked_at INTEGER NOT NULL, started_at INTEGER, ended_at INTEGER, lease_until INTEGER,
  stopping TEXT, run_id TEXT, goes_on_from TEXT, error_class TEXT, error TEXT, told_late INTEGER NOT NULL,
  attempts TEXT NOT NULL
) STRICT;
CREATE INDEX schedule_runs_open ON schedule_runs (moment) WHERE status IN ('waiting', 'running');
CREATE INDEX schedule_runs_newest ON schedule_runs (schedule, moment);
CREATE TABLE alerts (
  key TEXT PRIMARY KEY, kind TEXT NOT NULL, schedule TEXT NOT NULL, scheduled_run TEXT NOT NULL, action TEXT NOT NULL,
  payload TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL, made_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL, ended_at INTEGER, receipt TEXT, error TEXT
) STRICT;
CREATE INDEX alerts_open ON alerts (due_at) WHERE status = 'pending';
", "
CREATE TABLE source_types (
  app TEXT PRIMARY KEY, types TEXT NOT NULL
) STRICT;
ALTER TABLE environment_moves ADD COLUMN names TEXT;
", "
CREATE TABLE made (
  name TEXT PRIMARY KEY, kind TEXT NOT NULL, sql TEXT, reads TEXT NOT NULL, made_by TEXT NOT NULL,
  made_at INTEGER NOT NULL
) STRICT;
CREATE TABLE made_before (
  name TEXT PRIMARY KEY, reads TEXT NOT NULL
) STRICT;
", "
ALTER TABLE users ADD COLUMN provider_groups TEXT NOT NULL DEFAULT '[]';
CREATE TABLE identities (
  issuer TEXT NOT NULL, subject TEXT NOT NULL, user TEXT NOT NULL, linked_at INTEGER NOT NULL,
  PRIMARY KEY (issuer, subject)
) STRICT;
CREATE INDEX identities_of_user ON identities (user);
", "
CREATE TABLE upkeep (location TEXT PRIMARY KEY, cleared_at INTEGER NOT NULL) STRICT;
", "
CREATE TABLE access_requests (
  id TEXT PRIMARY KEY, user TEXT NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL, reason TEXT NOT NULL, days INTEGER,
  asked_at INTEGER NOT NULL, status TEXT NOT NULL, decided_by TEXT, decided_at INTEGER, answer TEXT, until INTEGER,
  seen INTEGER NOT NULL
) STRICT;
CREATE INDEX access_requests_of_user ON access_requests (user, status);
", "
ALTER TABLE outbox ADD COLUMN bundle TEXT;
CREATE INDEX tasks_by_name ON tasks (kind, name, started_at);
", "
CREATE INDEX outbox_discarded ON outbox (ended_at) WHERE status = 'discarded';
", "
CREATE INDEX audit_by_what ON audit (what, at);
", "
CREATE TABLE halt (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 0), reason TEXT NOT NULL, by_whom TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
", "
ALTER TABLE alerts ADD COLUMN alert TEXT;
ALTER TABLE alerts ADD COLUMN subject TEXT;
CREATE TABLE alert_states (
  alert TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL, passing INTEGER NOT NULL, since INTEGER NOT NULL,
  ended_at INTEGER, told_at INTEGER, times INTEGER NOT NULL, PRIMARY KEY (alert, subject)
) STRICT;
CREATE TABLE faults (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  error TEXT NOT NULL
) STRICT;
", "
CREATE TABLE pins (
  learner TEXT PRIMARY KEY, fitted_at INTEGER NOT NULL, held INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE TABLE drift (
  learner TEXT NOT NULL, measure TEXT NOT NULL, at INTEGER NOT NULL, detector TEXT NOT NULL, since INTEGER NOT NULL,
  until INTEGER NOT NULL, mean_before REAL NOT NULL, mean_after REAL NOT NULL, readings INTEGER NOT NULL,
  artifact TEXT NOT NULL, answer TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (learner, measure, until)
) STRICT;
", "
CREATE TABLE approvals (
  key TEXT PRIMARY KEY, policy TEXT NOT NULL, turn INTEGER NOT NULL, unit TEXT NOT NULL, amount REAL, of_value TEXT,
  by_other INTEGER NOT NULL, asked_at INTEGER NOT NULL, expires_at INTEGER, status TEXT NOT NULL, decided_by TEXT,
  decided_at INTEGER, reason TEXT, line TEXT, payload TEXT NOT NULL, original TEXT NOT NULL, edits TEXT NOT NULL
) STRICT;
CREATE INDEX approvals_waiting ON approvals (policy, expires_at) WHERE status = 'waiting';
CREATE TABLE policy_hands (
  policy TEXT NOT NULL, what TEXT NOT NULL, user TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (policy, what)
) STRICT;
", "
CREATE TABLE databases (
  own INTEGER NOT NULL, name TEXT NOT NULL, checked_at INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (own, name)
) STRICT;
", "
CREATE TABLE health_history (
  kind TEXT NOT NULL, name TEXT NOT NULL, day INTEGER NOT NULL, health REAL NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (kind, name, day)
) STRICT;
CREATE INDEX health_history_by_day ON health_history (day, at);
", "
CREATE TABLE follow_pauses (
  sync TEXT PRIMARY KEY, paused INTEGER NOT NULL, reason TEXT NOT NULL, by_whom TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE TABLE follow_states (sync TEXT PRIMARY KEY, at INTEGER NOT NULL, detail TEXT NOT NULL) STRICT;
", "
CREATE TABLE erasures (
  token TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, status TEXT NOT NULL, suppressed INTEGER NOT NULL,
  asked_by TEXT NOT NULL, reason TEXT NOT NULL, asked_at INTEGER NOT NULL, ended_at INTEGER, detail TEXT NOT NULL
) STRICT;
CREATE TABLE erasure_salt (only_row INTEGER PRIMARY KEY CHECK (only_row = 0), salt TEXT NOT NULL) STRICT;
"];

/// Brings a database of SQLite to the newest layout.
pub(crate) fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    for migration in MIGRATIONS.iter().skip(version) {
        connection.execute_batch(migration)?;
    }
    connection.pragma_update(None, "user_version", MIGRATIONS.len() as i64)
}

/// A table's name, and its columns with their types, in their order.
pub(crate) type Described = (String, Vec<(String, String)>);

/// The tables of the newest layout, in the order in which they were added.
pub(crate) fn tables() -> rusqlite::Result<Vec<Described>> {
    let db = Connection::open_in_memory()?;
    migrate(&db)?;
    let names: Vec<String> = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut columns = db.prepare("SELECT name, type FROM pragma_table_info(?1) ORDER BY cid")?;
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        let of = columns
            .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        tables.push((name, of));
    }
    Ok(tables)
}

/// The version of the layout this program knows.
pub(crate) fn known_version() -> i64 {
    MIGRATIONS.len() as i64
}
