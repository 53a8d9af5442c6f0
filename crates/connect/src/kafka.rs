//! Kafka: what its source, its destination and the administration of topics share. The settings of
//! a connection, clients, errors that say what to do, and the read of one partition.
//!
//! librdkafka is built without its TLS, which would be OpenSSL's: a connection is in plain text, with
//! or without a login by SASL PLAIN. Everything else is refused in words when the connection is built.

mod client;
mod fail;
mod partition;
mod queue;
pub mod topics;

#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::time::Duration;

use flywheel_base::{Error, Result, Secret, quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::queue::check_topic_name;

pub(crate) use client::{Client, Cluster, Isolation, POLL, Producer, Sender, is_internal};
pub(crate) use partition::PartitionReader;

/// How long the brokers may take to answer unless the connection says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The shortest and the longest timeout that make sense.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(600));

/// How long a transaction may stay open unless the connection says otherwise.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(300);

/// The topic of checkpoints unless the connection says otherwise.
const STATE_TOPIC: &str = "flywheel-positions";

/// What names of consumer groups and transactions begin with unless the connection says otherwise.
const PREFIX: &str = "flywheel";

/// What properties of librdkafka begin with that are not for the connection to set: those of its
/// login, which hold secrets, and those that load code.
const REFUSED_PREFIXES: [&str; 5] = ["sasl.", "ssl.", "security.", "plugin.", "oauth"];

/// Properties that exactly-once reads and writes depend on, and those that have a setting here.
const REFUSED_PROPERTIES: [&str; 25] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "compression.codec",
    "compression.type",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "metadata.broker.list",
    "partitioner",
    "request.required.acks",
    "test.mock.num.brokers",
    "transaction.timeout.ms",
    "transactional.id",
];

/// A Kafka cluster.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// The brokers to ask first, `[kafka1:9092, kafka2:9092]`; the others are found through them.
    pub brokers: Vec<String>,
    /// The login, if the brokers ask for one.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// Whether the connection is encrypted. This build cannot: `true` is refused, so that nobody
    /// takes a connection for encrypted that is not.
    #[serde(default)]
    pub tls: bool,
    /// The name this program gives itself in the brokers' logs and quotas, `flywheel` if not given.
    #[serde(default)]
    pub client_id: Option<String>,
    /// What the names of consumer groups and of transactions begin with, `flywheel` if not given.
    /// With access control, this program needs the right to use both.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The compacted topic that the checkpoints of written rows are kept in, `flywheel-positions` if
    /// not given. It is made if it does not exist.
    #[serde(default)]
    pub state_topic: Option<String>,
    /// How long the brokers may take to answer, `30s` if not given.
    #[serde(default)]
    pub timeout: Option<String>,
    /// How long a write may stay open between two commits, `5m` if not given. After a crash other
    /// readers of the topic wait that long, unless the sync runs again before. The brokers have a
    /// limit of their own, `transaction.max.timeout.ms`.
    #[serde(default)]
    pub transaction_timeout: Option<String>,
    /// More properties of librdkafka, `socket.keepalive.enable: "true"`. Those of the login and those
    /// that exactly-once depends on are refused.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// A login.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// The mechanism: `plain`, the only one of this build.
    #[serde(default = "plain")]
    pub mechanism: String,
    /// The user.
    pub user: String,
    /// The password, by reference: `${env:KAFKA_PASSWORD}`.
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "String")]
    pub password: Secret,
}

fn plain() -> String {
    "plain".to_owned()
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

impl Kafka {
    /// Checks the settings; does no I/O.
    pub(crate) fn cluster(&self) -> Result<Cluster> {
        let brokers: Vec<&str> = self.brokers.iter().map(|broker| broker.trim()).collect();
        if brokers.is_empty() || brokers.iter().any(|broker| !is_address(broker)) {
            return Err(Error::invalid("`brokers` is not a list of addresses, host:port")
                .hint("Write for example `brokers: [kafka1:9092, kafka2:9092]`."));
        }
        if self.tls {
            return Err(Error::invalid("this build has no TLS for Kafka")
                .hint("Use a listener in plain text within your network, or a proxy on this machine that encrypts (stunnel), and leave out `tls`."));
        }
        if let Some(sasl) = &self.sasl
            && !sasl.mechanism.eq_ignore_ascii_case("plain")
        {
            let mechanism = &sasl.mechanism;
            return Err(Error::invalid(format!("this build cannot log in by SASL {mechanism}"))
                .hint("Only `mechanism: plain` works here; SCRAM, OAUTHBEARER and GSSAPI need a build with OpenSSL or Cyrus SASL."));
        }
        for name in self.properties.keys() {
            let refused = REFUSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                || REFUSED_PROPERTIES.contains(&name.as_str())
                || name.ends_with("_cb");
            if refused {
                return Err(Error::invalid(format!("`properties` cannot set \"{name}\""))
                    .hint("It is set by this program, or has a setting of its own: `sasl`, `client_id`, `prefix`, `timeout`, `transaction_timeout`."));
            }
        }
        let state_topic = self.state_topic.as_deref().unwrap_or(STATE_TOPIC);
        check_topic_name(state_topic)?;
        let timeout = duration("timeout", self.timeout.as_deref())?.unwrap_or(TIMEOUT);
        Cluster::new(client::Settings {
            brokers: brokers.join(","),
            sasl: self.sasl.as_ref().map(|sasl| (sasl.user.clone(), sasl.password.clone())),
            client_id: self.client_id.clone().unwrap_or_else(|| PREFIX.to_owned()),
            prefix: self.prefix.clone().unwrap_or_else(|| PREFIX.to_owned()),
            state_topic: state_topic.to_owned(),
            timeout,
            transaction_timeout: duration(
                "transaction_timeout",
                self.transaction_timeout.as_deref(),
            )?
            .unwrap_or(TRANSACTION_TIMEOUT),
            properties: self.properties.clone(),
        })
    }
}

/// Whether a text is `host:port`.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let clean = !host.is_empty() && !host.contains([',', '/', ' ', '@']);
    clean && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn duration(what: &str, text: Option<&str>) -> Result<Option<Duration>> {
    let Some(text) = text else { return Ok(None) };
    let micros = quantity::duration_us(text).map_err(|error| error.context(format!("`{what}`")))?;
    let found = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    if found < TIMEOUTS.0 || found > TIMEOUTS.1.max(Duration::from_secs(900)) {
        return Err(Error::invalid(format!("`{what}` of {text} is not possible"))
            .hint("Set a duration from 100ms to 15m."));
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(connection: Value) -> Result<()> {
        crate::source::settings::<Kafka>("connection", connection)?.cluster().map(drop)
    }

    #[test]
    fn what_this_build_cannot_do_is_said_before_anything_is_sent() {
        check(json!({ "brokers": ["a:1", "b:2"] })).unwrap();
        for (connection, word) in [
            (json!({ "brokers": [] }), "host:port"),
            (json!({ "brokers": ["a"] }), "host:port"),
            (json!({ "brokers": ["a:1,b:2"] }), "host:port"),
            (json!({ "brokers": ["a:1"], "tls": true }), "no TLS"),
            (
                json!({ "brokers": ["a:1"],
                        "sasl": { "mechanism": "SCRAM-SHA-512", "user": "u", "password": "p" } }),
                "SCRAM-SHA-512",
            ),
            (json!({ "brokers": ["a:1"], "timeout": "0s" }), "timeout"),
            (json!({ "brokers": ["a:1"], "state_topic": "a b" }), "a b"),
            (
                json!({ "brokers": ["a:1"], "properties": { "sasl.password": "x" } }),
                "sasl.password",
            ),
            (
                json!({ "brokers": ["a:1"], "properties": { "plugin.library.paths": "x" } }),
                "plugin",
            ),
            (json!({ "brokers": ["a:1"], "properties": { "enable.auto.commit": "true" } }), "auto"),
            (
                json!({ "brokers": ["a:1"], "properties": { "no.such.thing": "1" } }),
                "no.such.thing",
            ),
        ] {
            let error = check(connection.clone()).unwrap_err();
            assert!(error.message().contains(word), "{connection}: {error}");
            assert!(error.hint_text().is_some(), "{connection}: {error}");
        }
    }

    #[test]
    fn a_password_shows_nowhere() {
        let text = "a canary in a coal mine";
        let kafka: Kafka = serde_json::from_value(json!({ "brokers": ["a:1"],
            "sasl": { "user": "u", "password": text } }))
        .unwrap();
        let shown = format!("{kafka:?} {:?}", kafka.cluster().unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }
}
