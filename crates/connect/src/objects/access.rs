//! Where files are and by which right they are reached: the settings of every connection of files.

use std::path::PathBuf;
use std::time::Duration;

use flywheel_base::{Error, Result, Secret, quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// How long one request may take unless the connection says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A folder of files, or a place in an object store.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct FilePlace {
    /// The folder, relative to the project; the project itself if not given.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// The place in an object store that paths are relative to, instead of `folder`: `s3://bucket/a`,
    /// `gs://bucket/a`, `az://container/a`, `abfss://container@account.dfs.core.windows.net/a` or, to
    /// read only, `https://host/a`. Without it a stream's path may be such an address as a whole.
    #[serde(default)]
    pub root: Option<String>,
    /// Where the right to read and write comes from: `keys` below (if they are given), `environment`
    /// for the variables and the machine's own identity, or `anonymous`.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// The id of the key for S3, by reference: `${env:AWS_ACCESS_KEY_ID}`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub access_key: Option<Secret>,
    /// The secret key for S3, the account's key for Azure, the service account's key (JSON) for Google,
    /// by reference: `${env:AWS_SECRET_ACCESS_KEY}`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub secret_key: Option<Secret>,
    /// The token of keys for S3 that are lent for a time, by reference.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub session_token: Option<Secret>,
    /// The account for Azure, if the address does not name it.
    #[serde(default)]
    pub account: Option<String>,
    /// The region of the bucket for S3, `us-east-1` if not given.
    #[serde(default)]
    pub region: Option<String>,
    /// The address of a store that speaks the protocol of S3 or Azure: `https://minio.example.com`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Whether the store may be reached without encryption.
    #[serde(default)]
    pub allow_http: bool,
    /// How long one request may take, `60s` if not given.
    #[serde(default)]
    pub timeout: Option<String>,
}

/// Where the right to reach a store comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Credentials {
    /// From the connection's keys.
    Keys,
    /// From the environment's variables, or from the identity of the machine.
    Environment,
    /// None is needed.
    Anonymous,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

impl FilePlace {
    /// Where the right to reach a store comes from, as far as that is settled.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the settings leave it open or contradict each other.
    pub(crate) fn right(&self, address: &str) -> Result<Credentials> {
        let keys = [&self.access_key, &self.secret_key, &self.session_token];
        let given = keys.iter().any(|key| key.is_some());
        match self.credentials {
            Some(Credentials::Environment | Credentials::Anonymous) if given => {
                Err(Error::invalid(format!(
                    "the connection to {address} has keys and says that it takes none"
                ))
                .hint("Leave out `access_key` and `secret_key`, or write `credentials: keys`."))
            }
            Some(Credentials::Keys) | None if !given => {
                Err(Error::invalid(format!("the connection has no keys for {address}")).hint(
                    "Set `access_key` and `secret_key` by reference, or write `credentials: \
                 environment` or `credentials: anonymous`.",
                ))
            }
            Some(chosen) => Ok(chosen),
            None => Ok(Credentials::Keys),
        }
    }

    /// How long one request may take.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is no duration.
    pub(crate) fn patience(&self) -> Result<Duration> {
        let Some(text) = &self.timeout else { return Ok(TIMEOUT) };
        let micros = quantity::duration_us(text).map_err(|error| error.context("`timeout`"))?;
        match u64::try_from(micros) {
            Ok(micros) if micros > 0 => Ok(Duration::from_micros(micros)),
            _ => Err(Error::invalid(format!("`timeout` is \"{text}\""))
                .hint("Write how long a request may take, such as 60s.")),
        }
    }

    /// What must not be in any message.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let all = [&self.access_key, &self.secret_key, &self.session_token];
        all.into_iter().flatten().cloned().collect()
    }
}
