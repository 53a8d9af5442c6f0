//! `dashboards/*.yaml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::semantic::{Grain, Label};
use super::sync::one_or_many;
use crate::model::OneOrMany;

/// The variable that stands for the filters of a dashboard in the SQL of a tile: `where {{ var('filters') }}`.
pub const FILTERS: &str = "filters";

/// The name by which the SQL of a tile maps the time of its dashboard.
pub const TIME_FILTER: &str = "time";

/// Columns of the grid that tiles stand in.
pub const GRID_COLUMNS: u8 = 12;

/// Figures that are looked at together: tiles on a grid, and filters that go to every one of them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dashboard {
    /// The dashboard's name.
    pub dashboard: String,
    /// What it is called on pages; its name if absent.
    #[serde(default)]
    pub title: Label,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Who may see its figures.
    #[serde(default)]
    pub readers: Readers,
    /// What can be narrowed for all tiles at once.
    #[serde(default)]
    pub filters: BoardFilters,
    /// The tiles, in their order: each goes where the next free place is, from the left and from the top.
    #[serde(default)]
    #[schemars(length(max = 60))]
    pub tiles: Vec<Tile>,
}

/// Who may see the figures of a dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Readers {
    /// Who may query: analysts, engineers, admins and owners.
    #[default]
    Query,
    /// Everybody who may see the project's states, viewers included. They see what the tiles ask, and nothing else.
    View,
}

/// What can be narrowed for all tiles at once.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoardFilters {
    /// The time that counts; without it tiles show all time.
    #[serde(default)]
    pub time: Option<TimeFilter>,
    /// Dimensions that readers may choose values of, such as `country` or `customer.segment`. A tile whose metric does
    /// not have one says that it is not narrowed by it.
    #[serde(default)]
    #[schemars(length(max = 12))]
    pub dimensions: Vec<String>,
}

/// The time that a dashboard shows until a reader chooses another one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeFilter {
    /// How many days up to now; 28 if absent.
    #[serde(default = "days_default")]
    #[schemars(range(min = 1, max = 3660))]
    pub days: u16,
    /// What figures are compared with.
    #[serde(default)]
    pub compare: Comparison,
}

fn days_default() -> u16 {
    28
}

/// What figures are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// As long a time just before.
    #[default]
    Previous,
    /// The same time a year before.
    Year,
    /// Nothing.
    None,
}

/// How a tile shows its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Show {
    /// Each metric as a large number, with its change and its course.
    Number,
    /// Lines over time, or along the first column of a query.
    Line,
    /// A bar for each value of a dimension.
    Bar,
    /// Rows and columns.
    Table,
    /// Shares of a whole, which only few values can be read from: a bar is read more exactly.
    Pie,
}

impl Show {
    /// The word in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Line => "line",
            Self::Bar => "bar",
            Self::Table => "table",
            Self::Pie => "pie",
        }
    }
}

/// A tile: metrics, a query or a text.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// The tile's name, unique in its dashboard.
    pub tile: String,
    /// What stands above it; what its metrics are called if absent.
    #[serde(default)]
    pub title: Label,
    /// A sentence about it.
    #[serde(default)]
    pub description: Option<String>,
    /// Metrics, by name.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub metrics: Vec<String>,
    /// Dimensions that the metrics are grouped by.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub by: Vec<String>,
    /// How finely time is divided; what fits the time that is shown if absent.
    #[serde(default)]
    pub grain: Option<Grain>,
    /// Conditions on dimensions, all of which have to hold, whatever the filters say.
    #[serde(default, rename = "where", deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub conditions: Vec<String>,
    /// What figures are compared with; what the filters say if absent.
    #[serde(default)]
    pub compare: Option<Comparison>,
    /// A `SELECT` over tables of the lake, models (`ref`) and `metrics.*`.
    #[serde(default)]
    pub sql: Option<String>,
    /// What the filters mean in the query: for `time` and for dimensions of the dashboard an SQL expression over the
    /// tables it reads. They apply where it says `{{ var('filters') }}`.
    #[serde(default)]
    pub filters: BTreeMap<String, String>,
    /// A text in each language: paragraphs, `#` headings, `-` lists, `**bold**`, `` `code` `` and `[links](https://…)`.
    #[serde(default)]
    pub text: Label,
    /// How figures are shown; a number if metrics are not grouped, bars if they are, a table for a query.
    #[serde(default)]
    pub show: Option<Show>,
    /// Rows at most; the largest ones of bars and pies.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u16>,
    /// How many of the 12 columns of the grid it takes; a telephone shows one tile beside the other only where there is
    /// room.
    #[serde(default)]
    #[schemars(range(min = 1, max = 12))]
    pub width: Option<u8>,
    /// How many rows of the grid it takes, 80 pixels each.
    #[serde(default)]
    #[schemars(range(min = 1, max = 12))]
    pub height: Option<u8>,
}

impl Tile {
    /// How it shows its figures; none for a text.
    #[must_use]
    pub fn shown(&self) -> Option<Show> {
        match self {
            Self { metrics, by, .. } if !metrics.is_empty() => {
                Some(self.show.unwrap_or(if by.is_empty() { Show::Number } else { Show::Bar }))
            }
            Self { sql: Some(_), .. } => Some(self.show.unwrap_or(Show::Table)),
            _ => None,
        }
    }

    /// Whether its SQL says where filters apply.
    #[must_use]
    pub fn places_filters(&self) -> bool {
        let bare: String = self
            .sql
            .as_deref()
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        ["'", "\""].iter().any(|quote| bare.contains(&format!("var({quote}{FILTERS}{quote}")))
    }
}
