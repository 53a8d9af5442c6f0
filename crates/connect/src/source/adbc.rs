//! The `adbc` source: tables, views and queries of any database with an ADBC driver, as
//! `crate::driver` says. In builds with the feature `adbc`.

use std::collections::BTreeMap;

use flywheel_base::{Result, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::{Source, SourceConfig, SourceContext};
use crate::driver::{Dialect, DriverStream, secret};

/// A database that is reached by ADBC.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adbc {
    /// The driver: a shared library, relative to the project if its path begins with a dot, or the name
    /// of a manifest that the system has.
    #[serde(default)]
    pub driver: String,
    /// The function that starts the driver; as the driver's name says if not given.
    #[serde(default)]
    pub entrypoint: Option<String>,
    /// The database's address, as the driver wants it: `postgresql://db:5432/shop`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub uri: Option<Secret>,
    /// The user, if `uri` names none.
    #[serde(default)]
    pub user: Option<String>,
    /// The password, by reference: `${env:DB_PASSWORD}`.
    #[serde(default, deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// What else the driver wants to know, by its own words: `adbc.snowflake.sql.warehouse: WH`.
    #[serde(default, deserialize_with = "secrets")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub options: BTreeMap<String, Secret>,
    /// Which words of SQL the database has; by the driver's name if not given.
    #[serde(default)]
    pub dialect: Option<Dialect>,
}

fn secrets<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Secret>, D::Error> {
    let given = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(given.into_iter().map(|(key, value)| (key, Secret::new(value))).collect())
}

impl SourceConfig for Adbc {
    type Stream = DriverStream;

    const ABOUT: &'static str = "tables and queries of any database with an ADBC driver";
    const CAPPED: bool = true;
    const IN_BUILD: bool = cfg!(feature = "adbc");

    fn build(self, ctx: &SourceContext) -> Result<Box<dyn Source>> {
        #[cfg(feature = "adbc")]
        {
            Ok(Box::new(self.database(&ctx.base_dir, ctx.connections.clone())?))
        }
        #[cfg(not(feature = "adbc"))]
        {
            let _ = ctx;
            Err(crate::driver::lacking("adbc"))
        }
    }
}

/// An address with what else it takes to log in.
#[cfg(feature = "adbc")]
fn with_login(address: &Secret, login: [(&str, Option<Secret>); 2]) -> Secret {
    let mut address = address.expose().to_owned();
    for (key, value) in login {
        let Some(value) = value else { continue };
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(key);
        address.push('=');
        for byte in value.expose().bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => address.push(char::from(byte)),
                _ => address.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    Secret::new(address)
}

#[cfg(feature = "adbc")]
impl Adbc {
    /// Checks the settings; does no I/O.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if no driver is named.
    pub(crate) fn database(
        self,
        base_dir: &std::path::Path,
        connections: crate::connections::Connections,
    ) -> Result<crate::driver::Database> {
        use adbc_core::options::OptionDatabase;

        use crate::driver::over_adbc::{AdbcOpen, open};

        if self.driver.trim().is_empty() {
            return Err(flywheel_base::Error::invalid("the adbc connection has no `driver`")
                .hint("Set it to the driver's shared library, or to the name of its manifest."));
        }
        let driver = match self.driver.starts_with('.') {
            true => base_dir.join(&self.driver).display().to_string(),
            false => self.driver.clone(),
        };
        let mut hidden: Vec<Secret> = self.password.iter().cloned().collect();
        hidden.extend(self.options.values().cloned());
        hidden.extend(self.uri.iter().cloned());
        let dialect = self.dialect.unwrap_or_else(|| Dialect::named(&self.driver));
        let (mut uri, mut user, mut password) = (self.uri, self.user, self.password);
        if dialect == Dialect::Postgres
            && let Some(address) = &uri
        {
            // PostgreSQL's driver takes them in the address only.
            let login = [("user", user.take().map(Secret::new)), ("password", password.take())];
            uri = Some(with_login(address, login));
        }
        let mut options = Vec::new();
        options.extend(uri.map(|uri| (OptionDatabase::Uri, uri)));
        options.extend(user.map(|user| (OptionDatabase::Username, Secret::new(user))));
        options.extend(password.map(|password| (OptionDatabase::Password, password)));
        let others = self.options.into_iter();
        options.extend(others.map(|(key, value)| (OptionDatabase::Other(key), value)));
        let file = std::path::Path::new(&self.driver).file_stem();
        let name =
            file.map_or_else(|| self.driver.clone(), |name| name.to_string_lossy().into_owned());
        let made = AdbcOpen {
            dialect,
            driver,
            entrypoint: self.entrypoint,
            options,
            hidden,
            name: format!("by {name}"),
        };
        Ok(crate::driver::database(open(made), connections))
    }
}
