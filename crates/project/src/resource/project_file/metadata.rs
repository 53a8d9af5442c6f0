//! The `metadata:` of `flywheel.yaml`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the metadata is kept: runs, turns, the outbox, users and the audit log. It is in the file `.flywheel/meta.db` if
/// nothing is said here. `flywheel metadata move` brings it from one to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// A schema of a PostgreSQL, which several machines can reach.
    #[serde(default)]
    pub postgres: Option<PostgresMetadata>,
}

/// A schema of a PostgreSQL for the metadata of one project. It is made if it is not there; its user has to own it.
/// Connections go to the server itself: a pooler between them must not give one session's connection to another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresMetadata {
    /// The schema, such as `flywheel_shop`: lower-case letters, digits and `_`. Each project needs one of its own.
    pub schema: String,
    /// The whole address, `postgres://user@host:5432/database`; instead of `host`, `port` and `database`. With a password it
    /// is written as a reference: `${secret:metadata_url}` or `${env:METADATA_URL}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The server's name or address, or the folder of its socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port, 5432 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password, by reference: `${env:PG_PASSWORD}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether the connection is encrypted. If not given, `verify-full`, and `disable` on the own machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<MetadataTls>,
    /// The certificate authorities in PEM that the server's certificate is checked with, relative to the project; those of
    /// the system if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Whether and how a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MetadataTls {
    /// It is not encrypted.
    Disable,
    /// It is encrypted; the certificate is checked only if `ca_file` is given, the name never.
    Require,
    /// It is encrypted, and the certificate has to be valid for the server's name.
    VerifyFull,
}

impl PostgresMetadata {
    /// The settings of the connection, as a connector of PostgreSQL has them; references are references still.
    #[must_use]
    pub fn settings(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut settings = match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(settings)) => settings,
            _ => serde_json::Map::new(),
        };
        settings.shift_remove("schema");
        settings
    }
}
