//! What a user declares: one struct per kind of file, whose doc comments are the reference page,
//! the editor's help and the schema.
//!
//! A new kind of resource is a new file in `resource/` and one line in [`RESOURCES`].

pub mod action;
pub mod alert;
pub mod connection;
pub mod dashboard;
pub mod dictionary;
pub mod extension;
pub mod grant;
pub mod learner;
pub mod link;
pub mod merge;
pub mod policy;
pub mod project_file;
pub mod properties;
pub mod quality;
pub mod quantity;
pub mod query;
pub mod rule;
pub mod schedule;
pub mod semantic;
pub mod split;
pub mod sync;
pub mod topic;

use schemars::Schema;

use crate::graph::NodeKind;

/// One kind of resource: where its files live and what they may contain.
pub struct ResourceKind {
    /// The word in the first line of a file: `sync: orders` declares the sync "orders".
    pub name: &'static str,
    /// The folder below the project folder, empty for `flywheel.yaml` itself.
    pub folder: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    /// The JSON Schema, generated from the struct that is parsed.
    pub schema: fn() -> Schema,
}

impl ResourceKind {
    /// The kind of what its files declare, one in each, so that a file can be written anew by a program; none for
    /// `flywheel.yaml`, for property files, and for extensions, which are folders.
    #[must_use]
    pub fn declares(&self) -> Option<NodeKind> {
        let kind = NodeKind::ALL.into_iter().find(|kind| kind.word() == self.name);
        kind.filter(|kind| *kind != NodeKind::Extension)
    }
}

/// Every kind of resource, in the order of the wheel.
pub const RESOURCES: &[ResourceKind] = &[
    ResourceKind {
        name: "project",
        folder: "",
        about: "flywheel.yaml: the project's name, limits, variables and defaults.",
        schema: || schemars::schema_for!(project_file::ProjectFile),
    },
    ResourceKind {
        name: "connection",
        folder: "connections",
        about: "An outside system and how to reach it.",
        schema: || schemars::schema_for!(connection::Connection),
    },
    ResourceKind {
        name: "sync",
        folder: "syncs",
        about: "Streams of a connection that land in the lake.",
        schema: || schemars::schema_for!(sync::Sync),
    },
    ResourceKind {
        name: "topic",
        folder: "topics",
        about: "What events of a topic look like, and which other system hands them in by signed calls.",
        schema: || schemars::schema_for!(topic::Topic),
    },
    ResourceKind {
        name: "link",
        folder: "links",
        about: "Records that two systems hold and that are kept alike.",
        schema: || schemars::schema_for!(link::Link),
    },
    ResourceKind {
        name: "split",
        folder: "splits",
        about: "A system that is taken apart into two, and where its rows go.",
        schema: || schemars::schema_for!(split::Split),
    },
    ResourceKind {
        name: "merge",
        folder: "merges",
        about: "Tables of several systems that are made one, and when two of their records are the same.",
        schema: || schemars::schema_for!(merge::Merge),
    },
    ResourceKind {
        name: "models",
        folder: "models",
        about: "Properties of SQL models and sources: descriptions, columns, tests (dbt's words).",
        schema: || schemars::schema_for!(properties::Properties),
    },
    ResourceKind {
        name: "dictionary",
        folder: "dictionaries",
        about: "A data standard: the codes a column may hold, declared once and named by checks.",
        schema: || schemars::schema_for!(dictionary::Dictionary),
    },
    ResourceKind {
        name: "quality",
        folder: "quality",
        about: "What is promised about the rows of a table, in the lake or outside (ODCS's words).",
        schema: || schemars::schema_for!(quality::Quality),
    },
    ResourceKind {
        name: "semantic",
        folder: "metrics",
        about: "A semantic view: what a table's rows mean, and the metrics made of them.",
        schema: || schemars::schema_for!(semantic::Semantic),
    },
    ResourceKind {
        name: "dashboard",
        folder: "dashboards",
        about: "Figures that are looked at together: metrics, queries and texts on a grid, with filters for all.",
        schema: || schemars::schema_for!(dashboard::Dashboard),
    },
    ResourceKind {
        name: "query",
        folder: "queries",
        about: "A query that programs call by an address, with typed parameters and a key of its own.",
        schema: || schemars::schema_for!(query::PublishedQuery),
    },
    ResourceKind {
        name: "learner",
        folder: "learners",
        about: "Something to be learned: recommend, segment, forecast, score, value, uplift, lookalike, hours, onnx or bandit.",
        schema: || schemars::schema_for!(learner::Learner),
    },
    ResourceKind {
        name: "policy",
        folder: "policies",
        about: "Who gets which action when, and how its effect is measured.",
        schema: || schemars::schema_for!(policy::Policy),
    },
    ResourceKind {
        name: "action",
        folder: "actions",
        about: "A way for decisions to leave: a file or a webhook.",
        schema: || schemars::schema_for!(action::Action),
    },
    ResourceKind {
        name: "schedule",
        folder: "schedules",
        about: "What `flywheel serve` runs by itself: when, how often again, and who is told.",
        schema: || schemars::schema_for!(schedule::Schedule),
    },
    ResourceKind {
        name: "alert",
        folder: "alerts",
        about: "What somebody is told of when it happens, and when it is over.",
        schema: || schemars::schema_for!(alert::Alert),
    },
    ResourceKind {
        name: "rule",
        folder: "access",
        about: "Who sees which rows and columns of tables.",
        schema: || schemars::schema_for!(rule::Rule),
    },
    ResourceKind {
        name: "grant",
        folder: "grants",
        about: "Who may see, change or run which tables, metrics, dashboards and so on.",
        schema: || schemars::schema_for!(grant::Grant),
    },
    ResourceKind {
        name: "extension",
        folder: "extensions",
        about: "extensions/NAME/extension.yaml: pages and panels of your own, from the files of that folder.",
        schema: || schemars::schema_for!(extension::Extension),
    },
];
