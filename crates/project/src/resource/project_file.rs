//! `flywheel.yaml`.

mod calendar;
mod catalogue;
mod contact;
mod erasure;
mod groups;
mod metadata;
mod openlineage;
mod proxies;
mod quotas;
mod sign_in;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Duration, Size};

pub use calendar::{Calendar, HolidaySet, OwnDay, OwnSpan};
pub use catalogue::{AssetSettings, Catalogue, Prices};
pub use contact::{Contact, GlobalHoldout};
pub use erasure::Erasure;
pub use groups::{Attribute, AttributeValue, Group};
pub use metadata::{Metadata, MetadataTls, PostgresMetadata};
pub use openlineage::OpenLineage;
pub use proxies::{Network, asker};
pub use quotas::{Quota, Quotas};
pub use sign_in::{CALLBACK_PATH, LocalSignIn, RoleOfOthers, SignIn, SignInRoles};

/// The project file, `flywheel.yaml`: its presence makes a folder a project.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectFile {
    /// The project's name: lower-case letters, digits and underscores.
    pub name: String,
    /// What the project is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Where tables live, relative to the project folder.
    #[serde(default = "lake_default")]
    pub lake: String,
    /// Where the metadata is kept if not in the file `.flywheel/meta.db`: in a schema of a PostgreSQL.
    #[serde(default)]
    pub metadata: Metadata,
    /// How much memory queries may take together before they spill to disk.
    #[serde(default = "memory_default")]
    pub memory: Size,
    /// For how long older versions of tables can be read with `--at` and taken back to; what only they need is removed
    /// afterwards.
    #[serde(default = "keep_versions_default")]
    pub keep_versions: Duration,
    /// How many things `flywheel serve` does to the project at once where they touch different tables, and how many tasks
    /// of one run. A turn of the whole wheel is always alone.
    #[serde(default = "workers_default")]
    pub workers: NonZeroU32,
    /// Where `flywheel serve` lets clients of PostgreSQL in, such as BI tools: `127.0.0.1:5432`. Nowhere if absent; beyond this
    /// machine it takes a certificate.
    #[serde(default)]
    pub postgres: Option<std::net::SocketAddr>,
    /// Servers that stand before `flywheel serve`, such as one with TLS, by their addresses: `[127.0.0.1, 10.0.0.0/8]`. Whom they
    /// name in `X-Forwarded-For` is who counts where tries and requests are limited by address.
    #[serde(default)]
    pub proxies: Vec<Network>,
    /// Slots that runs of several schedules share: of the schedules with `pool: crm`, no more than `crm: 2` run at once.
    #[serde(default)]
    pub pools: BTreeMap<String, NonZeroU32>,
    /// When actions leave that wait in the outbox: soon after they were decided, or with turns, schedules with `run: act` and
    /// `flywheel act` only.
    #[serde(default)]
    pub deliver: Deliver,
    /// Values for `{{ var('name') }}` in SQL.
    #[serde(default)]
    pub vars: BTreeMap<String, serde_json::Value>,
    /// Says that the data is simulated; every surface then repeats it.
    #[serde(default)]
    pub simulated: bool,
    /// How time is divided, whose holidays count, and days of the project's own.
    #[serde(default)]
    pub calendar: Calendar,
    /// What people say about assets, and what keeping them costs.
    #[serde(default)]
    pub catalogue: Catalogue,
    /// Where other tools are told of runs and of lineage, in OpenLineage's words.
    #[serde(default)]
    pub openlineage: Option<OpenLineage>,
    /// How often a unit may be addressed by all policies together.
    #[serde(default)]
    pub contact: Option<Contact>,
    /// The share of units that no policy ever treats.
    #[serde(default)]
    pub holdout: Option<GlobalHoldout>,
    /// Groups of users, whom rules in `access/` tell apart.
    #[serde(default)]
    pub groups: BTreeMap<String, Group>,
    /// What users of the server may take of the machine at most, by role and by user.
    #[serde(default)]
    pub quotas: Quotas,
    /// How a person is found who asks to be erased, and kept out afterwards.
    #[serde(default)]
    pub erasure: Erasure,
    /// Signing in with the company's identity provider.
    #[serde(default)]
    pub sign_in: Option<SignIn>,
    /// Defaults for models by folder, dbt's `models:` block: `staging: {materialized: view}`.
    #[serde(default)]
    pub models: BTreeMap<String, ModelDefaults>,
}

impl ProjectFile {
    /// The file of a project that only has dbt's.
    pub(crate) fn of_dbt(name: &str, vars: BTreeMap<String, serde_json::Value>) -> Self {
        Self {
            name: name.to_owned(),
            description: None,
            lake: lake_default(),
            metadata: Metadata::default(),
            memory: memory_default(),
            keep_versions: keep_versions_default(),
            workers: workers_default(),
            postgres: None,
            proxies: Vec::new(),
            pools: BTreeMap::new(),
            deliver: Deliver::default(),
            vars,
            simulated: false,
            calendar: Calendar::default(),
            catalogue: Catalogue::default(),
            openlineage: None,
            contact: None,
            holdout: None,
            groups: BTreeMap::new(),
            quotas: Quotas::default(),
            erasure: Erasure::default(),
            sign_in: None,
            models: BTreeMap::new(),
        }
    }
}

/// When actions leave that wait in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Deliver {
    /// While `flywheel serve` runs, soon after they were decided and when they are due again; else as with `in-turns`.
    #[default]
    AtOnce,
    /// With turns, with schedules that say `run: act`, and when somebody runs `flywheel act`.
    InTurns,
}

/// What models of one folder use unless they say otherwise.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelDefaults {
    /// How the models are stored.
    #[serde(default)]
    pub materialized: Option<Materialized>,
    /// The schema the models appear under; the folder's name if absent.
    #[serde(default)]
    pub schema: Option<String>,
    /// Tags for selection with `tag:`.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// How a model is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Materialized {
    /// The query itself, run when it is read.
    #[default]
    View,
    /// A table replaced by each build.
    Table,
    /// A table that takes only new or changed rows.
    Incremental,
    /// Not stored: it becomes a part of whatever reads it.
    Ephemeral,
    /// A table made of a CSV file of `seeds/`.
    #[serde(skip_deserializing)]
    Seed,
    /// A table that keeps every state its rows ever had.
    #[serde(skip_deserializing)]
    Snapshot,
}

impl Materialized {
    /// dbt's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Table => "table",
            Self::Incremental => "incremental",
            Self::Ephemeral => "ephemeral",
            Self::Seed => "seed",
            Self::Snapshot => "snapshot",
        }
    }
}

fn lake_default() -> String {
    ".flywheel/lake".to_owned()
}

fn workers_default() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(3)
}

fn keep_versions_default() -> Duration {
    Duration::days(30)
}

fn memory_default() -> Size {
    Size { bytes: 1 << 30 }
}
