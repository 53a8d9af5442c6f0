//! A dashboard as a workbook: a sheet that says what was chosen and what should be known, then one for each tile.

use std::collections::BTreeMap;

use flywheel_base::{Result, task};
use flywheel_connect::{CellKind, Sheet, workbook};
use flywheel_project::resource::dashboard::{Dashboard, Tile};
use flywheel_project::resource::semantic::Label;
use serde_json::Value as Json;

use super::{Answer, AsOf, Asked, Names};
use crate::rows::{Column, Table};

/// A dashboard with what its tiles answered.
#[derive(Debug)]
pub struct Answered<'a> {
    /// The dashboard.
    pub board: &'a Dashboard,
    /// What things are called.
    pub names: Names<'a>,
    /// What was chosen.
    pub chosen: &'a Asked,
    /// Up to when figures count.
    pub as_of: AsOf,
    /// Whether the customers are simulated.
    pub simulated: bool,
    /// The tiles that show figures, in their order; without an answer what could not be answered.
    pub tiles: Vec<(&'a Tile, Option<Answer>)>,
}

/// What people call values, by column and by value.
type Called = BTreeMap<String, BTreeMap<String, String>>;

/// The bytes of a workbook (xlsx).
///
/// # Errors
/// Those of [`workbook`].
pub async fn book(answered: Answered<'_>) -> Result<Vec<u8>> {
    let sheets = sheets(answered);
    task::compute(move || workbook(&sheets)).await
}

pub(super) fn sheets(answered: Answered<'_>) -> Vec<Sheet> {
    let Answered { board, names, chosen, as_of, simulated, tiles } = answered;
    let word = |en, zh| names.word(en, zh).to_owned();
    let mut about = vec![
        vec![word("Dashboard", "看板"), names.board(board)],
        vec![word("As of", "截至"), as_of.shown],
    ];
    if simulated {
        let simulated = word("These customers are simulated", "这些客户是模拟的");
        about.push(vec![word("Note", "说明"), simulated]);
    }
    about.extend(chosen.only.iter().map(|(dimension, values)| {
        let values: Vec<String> =
            values.iter().map(|value| names.chosen(dimension, &plain(value))).collect();
        vec![dimension.clone(), values.join(", ")]
    }));
    let mut sheets = Vec::new();
    for (tile, answer) in tiles {
        let title = names.title(tile);
        let Some(Answer { question, table, course }) = answer else {
            let failed = word("could not be answered", "未能查询");
            about.push(vec![title, failed]);
            continue;
        };
        if let Some(span) = &question.span {
            about.push(vec![title.clone(), span.shown()]);
        }
        if table.truncated {
            let cut = word("only the first rows are here", "只有前面的行");
            about.push(vec![title.clone(), format!("{cut} ({})", table.row_count)]);
        }
        let called: Called = question
            .labels
            .iter()
            .map(|(column, labels)| {
                let named =
                    |(value, label): (&String, &Label)| Some((value.clone(), names.own(label)?));
                (column.clone(), labels.iter().filter_map(named).collect())
            })
            .collect();
        about.extend(question.notes.into_iter().map(|note| vec![title.clone(), note]));
        let course = course.map(|course| {
            sheet(format!("{title} {}", word("over time", "走势")), course, &Called::new())
        });
        sheets.push(sheet(title, table, &called));
        sheets.extend(course);
    }
    let columns = [word("What", "项目"), word("Value", "内容")];
    let first = Sheet {
        name: word("About", "关于"),
        columns: columns.into_iter().map(|name| (name, CellKind::Plain)).collect(),
        rows: about.into_iter().map(|row| row.into_iter().map(Json::String).collect()).collect(),
    };
    sheets.insert(0, first);
    sheets
}

/// A value as text, without the quotes of JSON.
pub(super) fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An answer as a sheet. Values stay those of the table; beside a column whose values have names stands one with these.
fn sheet(name: String, table: Table, called: &Called) -> Sheet {
    let kind = |column: &Column| match column.kind {
        "day" => CellKind::Day,
        "moment" => CellKind::Moment,
        _ => CellKind::Plain,
    };
    let mut columns = Vec::with_capacity(table.columns.len() + called.len());
    for column in &table.columns {
        columns.push((column.name.clone(), kind(column)));
        if called.contains_key(&column.name) {
            columns.push((format!("{}_label", column.name), CellKind::Plain));
        }
    }
    let of: Vec<Option<&BTreeMap<String, String>>> =
        table.columns.iter().map(|column| called.get(&column.name)).collect();
    let rows = table.rows.into_iter().map(|row| {
        let cells = row.into_iter().zip(&of).flat_map(|(value, called)| {
            let name = called.map(|called| match called.get(&plain(&value)) {
                Some(name) => Json::String(name.clone()),
                None => value.clone(),
            });
            std::iter::once(value).chain(name)
        });
        cells.collect()
    });
    Sheet { name, columns, rows: rows.collect() }
}
