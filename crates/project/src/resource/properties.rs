//! `models/**/*.yml`: dbt's property files.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

/// Descriptions and tests of models and sources, in dbt's layout.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Properties {
    /// dbt's file version, 2.
    #[serde(default)]
    pub version: Option<u32>,
    /// Properties of SQL models.
    #[serde(default)]
    pub models: Vec<ModelProperties>,
    /// Landed tables that models read through `source()`.
    #[serde(default)]
    pub sources: Vec<SourceProperties>,
}

/// Properties of one SQL model.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = allow_data_tests)]
pub struct ModelProperties {
    /// The model's name, that of its `.sql` file.
    pub name: String,
    /// What one row means.
    #[serde(default)]
    pub description: Option<String>,
    /// The same settings as `{{ config(…) }}` in the SQL, which wins.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Tests on the whole model.
    #[serde(default, alias = "data_tests")]
    pub tests: Vec<Test>,
    /// Constraints of an enforced contract on several columns.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
    /// The model's columns.
    #[serde(default)]
    pub columns: Vec<ColumnProperties>,
}

/// A schema of landed tables.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceProperties {
    /// The name in `source('name', 'table')`.
    pub name: String,
    /// The lake schema; the name if absent.
    #[serde(default)]
    pub schema: Option<String>,
    /// What the source is.
    #[serde(default)]
    pub description: Option<String>,
    /// Its tables.
    #[serde(default)]
    pub tables: Vec<SourceTable>,
}

/// How old a table's newest row may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// Beyond this age it warns.
    #[serde(default)]
    pub warn_after: Option<Age>,
    /// Beyond this age it fails.
    #[serde(default)]
    pub error_after: Option<Age>,
    /// Only rows that fulfil this SQL condition are looked at.
    #[serde(default)]
    pub filter: Option<String>,
    /// SQL over the table's columns that says when a row was loaded; the time of the table's last commit
    /// if absent.
    #[serde(default)]
    pub loaded_at_field: Option<String>,
    /// A query that gives the newest such moment, instead of the column.
    #[serde(default)]
    pub loaded_at_query: Option<String>,
}

/// An age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Age {
    /// How many periods.
    pub count: u32,
    /// Minutes, hours or days.
    pub period: AgePeriod,
}

impl Age {
    /// The age in seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        let unit = match self.period {
            AgePeriod::Minute => 60,
            AgePeriod::Hour => 3_600,
            AgePeriod::Day => 86_400,
        };
        i64::from(self.count) * unit
    }
}

/// A unit of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgePeriod {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

/// What an enforced contract demands of rows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// What is demanded.
    #[serde(rename = "type")]
    pub kind: ConstraintKind,
    /// The SQL condition of `check`, or what `foreign_key` refers to.
    #[serde(default)]
    pub expression: Option<String>,
    /// Its name in messages.
    #[serde(default)]
    pub name: Option<String>,
    /// The columns, if it is one on the whole table.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The table a `foreign_key` refers to: `ref('customers')`.
    #[serde(default)]
    pub to: Option<String>,
    /// Its columns.
    #[serde(default)]
    pub to_columns: Vec<String>,
    /// dbt's own; every constraint here is enforced or refused.
    #[serde(default)]
    pub warn_unenforced: Option<bool>,
    /// dbt's own; every constraint here is enforced or refused.
    #[serde(default)]
    pub warn_unsupported: Option<bool>,
}

/// A kind of constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintKind {
    /// No value is missing.
    NotNull,
    /// No value, or combination of values, occurs twice.
    Unique,
    /// Both.
    PrimaryKey,
    /// Every value occurs in another table.
    ForeignKey,
    /// A condition holds for every row.
    Check,
    /// SQL of one database.
    Custom,
}

/// One landed table.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = allow_data_tests)]
pub struct SourceTable {
    /// The table's name in `source('name', 'table')`.
    pub name: String,
    /// The table's name in its schema, if it is another one.
    #[serde(default)]
    pub identifier: Option<String>,
    /// How old its newest row may be; `flywheel source freshness` looks.
    #[serde(default)]
    pub freshness: Option<Freshness>,
    /// What one row means.
    #[serde(default)]
    pub description: Option<String>,
    /// Tests on the whole table.
    #[serde(default, alias = "data_tests")]
    pub tests: Vec<Test>,
    /// Its columns and their tests.
    #[serde(default)]
    pub columns: Vec<ColumnProperties>,
}

/// A column's description and tests.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = allow_data_tests)]
pub struct ColumnProperties {
    /// The column's name.
    pub name: String,
    /// What it holds.
    #[serde(default)]
    pub description: Option<String>,
    /// Its SQL type, which an enforced contract demands.
    #[serde(default)]
    pub data_type: Option<String>,
    /// What an enforced contract demands of its values.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
    /// Its tests.
    #[serde(default, alias = "data_tests")]
    pub tests: Vec<Test>,
}

/// A test: a bare name, or a name with arguments.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(transform = list_tests)]
pub enum Test {
    /// `unique` or `not_null`.
    Name(TestName),
    /// `accepted_values: {values: [...]}`, `relationships: {to: ref('x'), field: id}`, or a bare test
    /// with a `severity`.
    With(BTreeMap<TestName, TestArguments>),
}

/// The generic tests.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TestName {
    /// No value occurs twice.
    Unique,
    /// No value is missing.
    NotNull,
    /// Only the listed values occur.
    AcceptedValues,
    /// Every value occurs in another model's column.
    Relationships,
    /// A test of the project or of a package, `{% test name(model) %}`; such a test may also be written
    /// under its own name.
    Custom,
}

/// Arguments of a test.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestArguments {
    /// The name of a `custom` test, such as `dbt_utils.accepted_range`.
    #[serde(default)]
    pub test: Option<String>,
    /// The arguments of a `custom` test.
    #[serde(default)]
    pub arguments: serde_json::Map<String, serde_json::Value>,
    /// The test's name in reports, if it is not to be made of what it tests.
    #[serde(default)]
    pub name: Option<String>,
    /// The values of `accepted_values`.
    #[serde(default)]
    pub values: Vec<serde_json::Value>,
    /// The other model of `relationships`: `ref('orders')` or `source('raw', 'orders')`.
    #[serde(default)]
    pub to: Option<String>,
    /// The other model's column.
    #[serde(default)]
    pub field: Option<String>,
    /// Rows that are tested: a SQL condition.
    #[serde(default, rename = "where")]
    pub condition: Option<String>,
    /// `error` stops publication, `warn` reports.
    #[serde(default)]
    pub severity: Severity,
    /// dbt's other place for `severity` and `where`, which wins.
    #[serde(default)]
    pub config: TestConfig,
}

/// dbt's `config:` of a test.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestConfig {
    /// `error` stops publication, `warn` reports.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Rows that are tested: a SQL condition.
    #[serde(default, rename = "where")]
    pub condition: Option<String>,
    /// How many failures make it fail: `>10`, `!=0`; any if absent.
    #[serde(default)]
    pub error_if: Option<String>,
    /// How many failures make it warn: `>10`, `!=0`; any if absent.
    #[serde(default)]
    pub warn_if: Option<String>,
    /// How many failures are counted at most.
    #[serde(default)]
    pub limit: Option<u64>,
    /// SQL over the failing rows that says how many failures they are: `sum(n_records)`.
    #[serde(default)]
    pub fail_calc: Option<String>,
    /// Whether failing rows are kept in a table, which the report names.
    #[serde(default)]
    pub store_failures: Option<bool>,
    /// Whether the test is run at all.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// What a failing test does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Publication stops; readers keep the last good version.
    #[default]
    Error,
    /// The failure is reported, publication goes on.
    Warn,
}

/// dbt's newer word for `tests` is accepted by the struct, so the schema has to list it too.
fn allow_data_tests(schema: &mut Schema) {
    let properties = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut);
    if let Some(properties) = properties
        && let Some(tests) = properties.get("tests").cloned()
    {
        properties.insert("data_tests".to_owned(), tests);
    }
}

/// A map with an enum for keys is derived as a map with any keys; this names the keys.
fn list_tests(schema: &mut Schema) {
    let branch = schema.get_mut("anyOf").and_then(|branches| branches.get_mut(1));
    if let Some(branch) = branch.and_then(serde_json::Value::as_object_mut) {
        let arguments = branch.remove("additionalProperties").unwrap_or_default();
        let names = ["unique", "not_null", "accepted_values", "relationships", "custom"];
        let properties: serde_json::Map<_, _> =
            names.into_iter().map(|name| (name.to_owned(), arguments.clone())).collect();
        branch.insert("properties".to_owned(), properties.into());
        branch.insert("additionalProperties".to_owned(), false.into());
        branch.insert("minProperties".to_owned(), 1.into());
        branch.insert("maxProperties".to_owned(), 1.into());
    }
}
