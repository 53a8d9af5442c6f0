//! The settings of a client's session: what it may set, and what it is told of the server.

use std::collections::BTreeMap;
use std::time::Duration;

use super::refusal::Refusal;

/// The version of PostgreSQL whose protocol and catalogue are spoken.
const VERSION: &str = "16.9";
/// How long a statement may take at most, and unless something else is set.
const TIME_MAX: Duration = Duration::from_secs(600);
/// Settings of a session at most.
const SETTINGS_MAX: usize = 200;
/// The longest name or value.
const TEXT_MAX: usize = 1_000;

/// What a client is told of at connecting and when it changes, by PostgreSQL's spelling.
pub(super) const TOLD: [(&str, &str); 13] = [
    ("application_name", "application_name"),
    ("client_encoding", "client_encoding"),
    ("DateStyle", "datestyle"),
    ("default_transaction_read_only", "default_transaction_read_only"),
    ("in_hot_standby", "in_hot_standby"),
    ("integer_datetimes", "integer_datetimes"),
    ("IntervalStyle", "intervalstyle"),
    ("is_superuser", "is_superuser"),
    ("server_encoding", "server_encoding"),
    ("server_version", "server_version"),
    ("session_authorization", "session_authorization"),
    ("standard_conforming_strings", "standard_conforming_strings"),
    ("TimeZone", "timezone"),
];

/// The usual values.
const USUAL: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("lc_collate", "C.UTF-8"),
    ("lc_ctype", "C.UTF-8"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("server_version", VERSION),
    ("server_version_num", "160009"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// What stays as it is; setting it to something else is refused with the reason.
const FIXED: &[(&str, &[&str], &str)] = &[
    ("client_encoding", &["utf8", "utf-8", "unicode"], "texts are UTF-8 here"),
    ("datestyle", &["iso", "iso,mdy", "iso,dmy", "iso,ymd"], "days are told as 2024-12-31 here"),
    ("standard_conforming_strings", &["on", "true", "1"], "a backslash in '…' is a backslash here"),
    ("bytea_output", &["hex"], "bytes are told in hexadecimal here"),
    ("intervalstyle", &["postgres"], "intervals have PostgreSQL's own style here"),
];

/// What tells of the server and is nobody's to set.
const OWN: [&str; 10] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "max_identifier_length",
    "max_index_keys",
    "server_encoding",
    "server_version",
    "server_version_num",
];

/// The settings of a session, by their names in lower case.
pub(super) struct Settings {
    values: BTreeMap<String, String>,
    user: String,
}

impl Settings {
    pub(super) fn new(user: &str) -> Self {
        let mut settings = Self { values: BTreeMap::new(), user: user.to_owned() };
        settings.reset();
        settings
    }

    /// Gives all settings their usual values.
    pub(super) fn reset(&mut self) {
        let usual = USUAL.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.values = usual.collect();
        self.values.insert("session_authorization".to_owned(), self.user.clone());
    }

    pub(super) fn all(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// How long a statement may take.
    pub(super) fn time(&self) -> Duration {
        let set = self.value("statement_timeout").and_then(milliseconds);
        let set = set.filter(|ms| *ms > 0).map(Duration::from_millis);
        set.map_or(TIME_MAX, |time| time.min(TIME_MAX))
    }

    /// How long a client may do nothing within a transaction; for ever if absent.
    pub(super) fn idle_in_transaction(&self) -> Option<Duration> {
        let set = self.value("idle_in_transaction_session_timeout").and_then(milliseconds);
        set.filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// Gives a setting a value, or its usual one; what the client should know about it.
    ///
    /// # Errors
    /// `42501` for another role, `55P02` for what is the server's, `22023` for a value that cannot be.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: Option<&str>,
    ) -> Result<Option<Refusal>, Refusal> {
        let usual = USUAL.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        if matches!(name, "role" | "authorization" | "session_authorization") {
            let own = value.is_none_or(|value| value == self.user || value == "none");
            return match own {
                true => Ok(None),
                false => Err(Refusal::new("42501", "nobody becomes somebody else here")
                    .hint("Connect as the other user.")),
            };
        }
        if OWN.contains(&name) {
            return Err(Refusal::new("55P02", format!("parameter \"{name}\" cannot be changed")));
        }
        let Some(value) = value.or(usual) else {
            self.values.remove(name);
            return Ok(None);
        };
        if name.len() > TEXT_MAX || value.len() > TEXT_MAX {
            return Err(Refusal::new("22023", "the setting is too long"));
        }
        if let Some((_, fitting, why)) = FIXED.iter().find(|(fixed, ..)| *fixed == name) {
            let plain = value.to_lowercase().replace([' ', '"', '\''], "");
            return match fitting.contains(&plain.as_str()) || Some(value) == usual {
                true => Ok(None),
                false => {
                    let message = format!("invalid value for parameter \"{name}\": {why}");
                    Err(Refusal::new("22023", message))
                }
            };
        }
        match name {
            "timezone" => {
                let utc = ["utc", "gmt", "etc/utc", "zulu", "default", "local"];
                let told = Refusal::new("00000", "moments are told in UTC here");
                return Ok((!utc.contains(&value.to_lowercase().as_str())).then_some(told));
            }
            "default_transaction_read_only" | "transaction_read_only" => return Ok(None),
            "statement_timeout" | "idle_in_transaction_session_timeout"
                if milliseconds(value).is_none() =>
            {
                return Err(Refusal::new("22023", format!("{name} is no time"))
                    .hint("Write it in milliseconds, or with its unit: '30s', '5min'."));
            }
            _ => {}
        }
        if self.values.len() >= SETTINGS_MAX && !self.values.contains_key(name) {
            return Err(Refusal::new("53400", "the session has too many settings"));
        }
        self.values.insert(name.to_owned(), value.to_owned());
        Ok(None)
    }
}

/// A time with or without a unit, in milliseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let one = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(one)
}
