//! The declarative folder: resources, parsing, validation, references, schemas and templates.
//!
//! ```text
//! files ── yaml ──► trees ── validate ──► resources ── check ──► Project { resources, graph }
//!          template ► models                            │
//!                                  every mistake ──► Diagnostics
//! ```
//!
//! Nothing here reads the network, the clock or a database; the same folder gives the same project.

pub mod dashboard;
pub mod datax;
mod dbt;
pub mod diagnostic;
pub mod grant;
pub mod graph;
pub mod init;
pub mod metric;
pub mod model;
pub mod odcs;
pub mod osi;
pub mod published;
pub mod quality;
pub mod resource;
pub mod secret;
pub mod template;
pub mod validate;
pub mod vault;
pub mod yaml;

mod check;
mod draft;
mod file;
mod load;
mod manifest;
mod names;
mod project;
mod source;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, Span};
pub use draft::Draft;
pub use file::SourceFile;
pub use graph::{Graph, NodeId, NodeInfo, NodeKind};
pub use init::init;
pub use load::PROJECT_FILE;
pub use model::{
    BatchSize, Condition, CustomTest, Failures, Given, HardDeletes, IncrementalStrategy, Model,
    ModelConfig, ModelTest, OnSchemaChange, Seed, SeedRows, SingularTest, Snapshot,
    SnapshotStrategy, TestKind, Threshold, UnitRows, UnitTest, Verdict,
};
pub use project::{
    Choices, ColumnForms, ConnectorSchemas, Connectors, DbtSettings, Located, Project, QueryForms,
    QueryReads, parse_bytes, schemas,
};
pub use secret::{
    holds_secret, named_files, resolve_secret, resolve_secrets, resolve_secrets_with, veiled,
};
pub use source::{Landing, Source};
pub use template::{
    Ask, Asking, Cell, Columns, Macros, QUESTIONS_MAX, Question, Reference, RenderContext, Rows,
    RunContext, references, render_sql,
};
