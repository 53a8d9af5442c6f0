//! The `odbc` source: tables, views and queries of any database with an ODBC driver, as
//! `crate::driver` says. In builds with the feature `odbc`.

use flywheel_base::{Result, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Source, SourceConfig, SourceContext};
use crate::driver::{Dialect, DriverStream, secret};

/// Bytes of a text or binary value that a row has room for, unless the connection says otherwise.
#[cfg(feature = "odbc")]
const TEXT_BYTES: usize = 32 << 10;

/// A database that is reached by ODBC.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Odbc {
    /// What the driver manager needs to find the database: `Driver={PostgreSQL Unicode};Server=db;
    /// Database=shop`, or `DSN=shop`. Take it from a secret if it holds a password.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub connection_string: Option<Secret>,
    /// The user, if `connection_string` names none.
    #[serde(default)]
    pub user: Option<String>,
    /// The password, by reference: `${env:DB_PASSWORD}`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// Which words of SQL the database has; by the name that it gives itself if not given.
    #[serde(default)]
    pub dialect: Option<Dialect>,
    /// The largest text or binary value in bytes, `32KiB` if not given: as much room is kept for each
    /// such column of each row that is fetched at once. A longer value ends the read.
    #[serde(default)]
    pub text_bytes: Option<String>,
}

impl SourceConfig for Odbc {
    type Stream = DriverStream;

    const ABOUT: &'static str = "tables and queries of any database with an ODBC driver";
    const CAPPED: bool = true;
    const IN_BUILD: bool = cfg!(feature = "odbc");

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        #[cfg(feature = "odbc")]
        {
            Ok(Box::new(self.database(&ctx.base_dir, ctx.connections.clone())?))
        }
        #[cfg(not(feature = "odbc"))]
        {
            let _ = ctx;
            Err(crate::driver::lacking("odbc"))
        }
    }
}

#[cfg(feature = "odbc")]
impl Odbc {
    /// Checks the settings; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if the address is missing or a size is none.
    pub(crate) fn database(
        self,
        _: &std::path::Path,
        connections: crate::connections::Connections,
    ) -> Result<crate::driver::Database> {
        use odbc_api::escape_attribute_value;

        use crate::driver::over_odbc::{OdbcOpen, open};

        let Some(given) = &self.connection_string else {
            return Err(flywheel_base::Error::invalid(
                "the odbc connection has no `connection_string`",
            )
            .hint(
                "Write what the driver needs: Driver={PostgreSQL Unicode};Server=db;Database=shop.",
            ));
        };
        let text_bytes = match &self.text_bytes {
            None => TEXT_BYTES,
            Some(text) => usize::try_from(flywheel_base::quantity::size_bytes(text)?)
                .unwrap_or(usize::MAX)
                .max(1),
        };
        let mut address = given.expose().trim().trim_end_matches(';').to_owned();
        for (key, value) in [
            ("UID", self.user.as_deref()),
            ("PWD", self.password.as_ref().map(|password| password.expose())),
        ] {
            if let Some(value) = value {
                address.push_str(&format!(";{key}={}", escape_attribute_value(value)));
            }
        }
        // What follows `Server`, `Database` and `DSN` names the database; nothing else is shown.
        let named = given.expose().split(';').filter_map(|part| {
            let (key, value) = part.split_once('=')?;
            let known = ["server", "database", "dsn", "host"];
            known
                .contains(&key.trim().to_ascii_lowercase().as_str())
                .then(|| value.trim().to_owned())
        });
        let name = named.collect::<Vec<_>>().join("/");
        let hidden = given.expose().split(';').filter_map(|part| {
            let (key, value) = part.split_once('=')?;
            let secret = ["pwd", "password"].contains(&key.trim().to_ascii_lowercase().as_str());
            secret.then(|| Secret::new(value.trim().to_owned()))
        });
        let hidden = hidden.chain(self.password.clone()).collect();
        let made = OdbcOpen {
            connection: Secret::new(address),
            hidden,
            name: if name.is_empty() { "by ODBC".to_owned() } else { name },
            dialect: self.dialect,
            text_bytes,
        };
        Ok(crate::driver::database(open(made), connections))
    }
}
