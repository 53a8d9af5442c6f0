//! A dashboard as a message to people: its figures as text and as HTML, and all of it as JSON for programs.

use flywheel_project::resource::dashboard::{Show, TIME_FILTER, Tile};
use serde_json::{Value as Json, json};

use super::book::plain;
use super::{Answer, Answered, Names};
use crate::metrics::Described;
use crate::rows::{Column, Table};

/// Rows of a tile in a message; all of them are in the workbook.
const ROWS_SHOWN: usize = 10;
/// Rows of a tile in a message for where there is little room.
const ROWS_BRIEF: usize = 3;
/// Columns of a tile in a message.
const COLUMNS_SHOWN: usize = 8;
/// Rows of a tile for programs.
const ROWS_SENT: usize = 1_000;
/// Characters of a cell in a message.
const CELL_CHARS_MAX: usize = 200;

/// What is said of a dashboard.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The dashboard's title and the day.
    pub(super) title: String,
    /// Everything as text.
    pub(super) text: String,
    /// The same in fewer lines.
    pub(super) brief: String,
    /// The same as HTML.
    pub(super) html: String,
    /// The tiles with their rows.
    pub(super) tiles: Vec<Json>,
}

/// What is said of a tile.
struct Part {
    title: String,
    shown: Shown,
    notes: Vec<String>,
}

enum Shown {
    /// Figures with their names and what they are compared with.
    Figures(Vec<(String, String)>),
    Rows {
        header: Vec<String>,
        /// Whether a column holds numbers.
        numeric: Vec<bool>,
        rows: Vec<Vec<String>>,
        /// Whether the last rows are the ones to look at: time goes downwards.
        newest: bool,
    },
    /// Why there is nothing.
    Nothing(String),
}

/// Says what the tiles of a dashboard answered, and by which address people open it, if that is known.
pub(super) fn message(of: &Answered<'_>, link: Option<&str>) -> Message {
    let parts: Vec<Part> =
        of.tiles.iter().map(|(tile, answer)| part(of, tile, answer.as_ref())).collect();
    let title = format!("{} {}", of.names.board(of.board), of.as_of.day);
    let mut head = Vec::new();
    if of.simulated {
        head.push(of.names.word("These customers are simulated", "这些客户是模拟的").to_owned());
    }
    let text = |rows_max: usize| {
        let mut lines: Vec<String> = link.map(str::to_owned).into_iter().collect();
        lines.extend(head.iter().cloned());
        // A blank line before and after what takes several; figures stand line by line.
        let mut apart = !lines.is_empty();
        for part in &parts {
            let long = matches!(part.shown, Shown::Rows { .. });
            if apart || (long && !lines.is_empty()) {
                lines.push(String::new());
            }
            apart = long;
            as_text(part, rows_max, &of.names, &mut lines);
        }
        lines.join("\n")
    };
    let html = as_html(&title, &head, &parts, &of.names, link);
    let tiles = of.tiles.iter().map(|(tile, answer)| as_json(&of.names, tile, answer.as_ref()));
    Message { text: text(ROWS_SHOWN), brief: text(ROWS_BRIEF), html, tiles: tiles.collect(), title }
}

fn part(of: &Answered<'_>, tile: &Tile, answer: Option<&Answer>) -> Part {
    let names = &of.names;
    let mut title = names.title(tile);
    let Some(answer) = answer else {
        let why = names.word("could not be answered", "未能查询").to_owned();
        return Part { title, shown: Shown::Nothing(why), notes: Vec::new() };
    };
    let question = &answer.question;
    if question.unfiltered.iter().any(|one| one == TIME_FILTER) {
        title.push_str(names.word(" (all time)", "（全部时间）"));
    }
    let shown = match question.show {
        Show::Number if tile.metrics.is_empty() => plain_figures(names, &answer.table),
        Show::Number => figures(names, tile, answer),
        show => listed(names, tile, answer, show),
    };
    let notes = match question.span.as_ref() {
        // A line shows its time itself.
        Some(span) if question.show != Show::Line => vec![span.shown()],
        _ => Vec::new(),
    };
    Part { title, shown, notes }
}

/// Each metric of a number, and what it is compared with.
fn figures(names: &Names<'_>, tile: &Tile, answer: &Answer) -> Shown {
    let table = &answer.table;
    let mut all = Vec::new();
    for metric in names.of_tile(tile) {
        let place = |name: &str| table.columns.iter().position(|column| column.name == name);
        let value = |row: &[Json], name: &str| {
            place(name).and_then(|at| row.get(at)).cloned().unwrap_or(Json::Null)
        };
        // What adds up over a window has a figure for each period; the last one counts.
        let row = match windowed(metric) {
            true => {
                let mut rows = table.rows.iter().rev();
                rows.find(|row| !value(row.as_slice(), metric.metric).is_null())
            }
            false => table.rows.first(),
        };
        let row = row.map(Vec::as_slice).unwrap_or_default();
        let mut said = figure(names, Some(metric), &value(row, metric.metric));
        if let Some(compare) = &answer.question.compare {
            let before =
                figure(names, Some(metric), &value(row, &format!("{}_before", metric.metric)));
            let change = value(row, &format!("{}_change", metric.metric));
            let change = change_of(&change).map(|change| change + names.word(", ", "，"));
            let change = change.unwrap_or_default();
            said.push_str(&match (compare == "year", names.is_zh()) {
                (true, true) => format!("（{change}去年同期 {before}）"),
                (false, true) => format!("（{change}上一时段 {before}）"),
                (true, false) => format!(" ({change}{before} a year before)"),
                (false, false) => format!(" ({change}{before} the time before)"),
            });
        }
        all.push((names.metric(metric.metric), said));
    }
    Shown::Figures(all)
}

/// The numbers of the first row of a query.
fn plain_figures(names: &Names<'_>, table: &Table) -> Shown {
    let row = table.rows.first().map(Vec::as_slice).unwrap_or_default();
    let cells = table.columns.iter().zip(row).filter(|(column, _)| is_number(column));
    let all: Vec<(String, String)> =
        cells.map(|(column, value)| (column.name.clone(), figure(names, None, value))).collect();
    match all.is_empty() {
        true => Shown::Nothing(names.word("no figure", "没有数值").to_owned()),
        false => Shown::Figures(all),
    }
}

fn listed(names: &Names<'_>, tile: &Tile, answer: &Answer, show: Show) -> Shown {
    let Answer { question, table, .. } = answer;
    if table.rows.is_empty() {
        return Shown::Nothing(names.word("nothing in this time", "该时段没有数据").to_owned());
    }
    let columns: Vec<&Column> = table.columns.iter().take(COLUMNS_SHOWN).collect();
    let metric_of = |column: &Column| {
        names.of_tile(tile).find(|metric| {
            matches!(column.name.strip_prefix(metric.metric), Some("" | "_before" | "_change"))
        })
    };
    let metrics: Vec<Option<&Described<'_>>> = columns.iter().copied().map(metric_of).collect();
    let cell = |value: &Json, column: &Column, metric: Option<&Described<'_>>| {
        let called = question.labels.get(&column.name);
        let called = called.and_then(|called| called.get(&plain(value)));
        match (called, metric) {
            (Some(label), _) => names.label(label, &plain(value)),
            (None, Some(metric))
                if column.name != metric.metric && column.name.ends_with("_change") =>
            {
                change_of(value).unwrap_or_else(|| "–".to_owned())
            }
            (None, metric) if metric.is_some() || is_number(column) => figure(names, metric, value),
            _ => text_of(names, value),
        }
    };
    let rows = table.rows.iter().map(|row| {
        let cells = row.iter().zip(&columns).zip(&metrics);
        let cells = cells.map(|((value, &column), &metric)| cell(value, column, metric));
        cells.collect::<Vec<String>>()
    });
    Shown::Rows {
        header: columns.iter().map(|column| names.column(tile, &column.name)).collect(),
        numeric: columns.iter().zip(&metrics).map(|(c, m)| m.is_some() || is_number(c)).collect(),
        rows: rows.collect(),
        newest: show == Show::Line,
    }
}

/// The rows that are shown of so many, and how many are not.
fn within(rows: &[Vec<String>], newest: bool, rows_max: usize) -> (&[Vec<String>], usize) {
    let left = rows.len().saturating_sub(rows_max);
    let range = if newest { left..rows.len() } else { 0..rows.len() - left };
    (rows.get(range).unwrap_or_default(), left)
}

/// What is said of the rows that are not shown.
fn rest(names: &Names<'_>, left: usize, newest: bool) -> String {
    match (names.is_zh(), newest) {
        (true, true) => format!("另有更早的 {left} 行"),
        (true, false) => format!("另有 {left} 行"),
        (false, true) => format!("{left} earlier rows"),
        (false, false) => format!("{left} more rows"),
    }
}

fn as_text(part: &Part, rows_max: usize, names: &Names<'_>, lines: &mut Vec<String>) {
    let Part { title, shown, notes } = part;
    let notes = match notes.is_empty() {
        true => String::new(),
        false => format!(" [{}]", notes.join("; ")),
    };
    match shown {
        Shown::Nothing(why) => lines.push(format!("{title}: {why}")),
        Shown::Figures(figures) => match figures.as_slice() {
            [(_, figure)] => lines.push(format!("{title}: {figure}{notes}")),
            figures => {
                lines.push(format!("{title}{notes}"));
                lines.extend(figures.iter().map(|(name, figure)| format!("  {name}: {figure}")));
            }
        },
        Shown::Rows { header, rows, newest, .. } => {
            lines.push(format!("{title}{notes}"));
            lines.push(format!("  {}", header.join(" | ")));
            let (rows, left) = within(rows, *newest, rows_max);
            lines.extend(rows.iter().map(|row| format!("  {}", row.join(" | "))));
            if left > 0 {
                lines.push(format!("  … {}", rest(names, left, *newest)));
            }
        }
    }
}

const CELL_STYLE: &str = "padding:2px 12px 2px 0;border-bottom:1px solid #ddd";

fn as_html(
    title: &str,
    head: &[String],
    parts: &[Part],
    names: &Names<'_>,
    link: Option<&str>,
) -> String {
    let mut html = format!(
        "<!doctype html><html><head><meta charset=\"utf-8\"><title>{0}</title></head>\
         <body style=\"font-family:sans-serif;color:#222\"><h1 style=\"font-size:20px\">{0}</h1>",
        escaped(title)
    );
    for line in head {
        html.push_str(&format!("<p>{}</p>", escaped(line)));
    }
    if let Some(link) = link {
        let open = names.word("Open the dashboard", "打开看板");
        html.push_str(&format!("<p><a href=\"{}\">{open}</a></p>", escaped(link)));
    }
    for part in parts {
        html.push_str(&format!(
            "<h2 style=\"font-size:15px;margin:18px 0 4px\">{}</h2>",
            escaped(&part.title)
        ));
        if !part.notes.is_empty() {
            let notes = escaped(&part.notes.join("; "));
            html.push_str(&format!("<p style=\"color:#777;font-size:12px;margin:0\">{notes}</p>"));
        }
        match &part.shown {
            Shown::Nothing(why) => html.push_str(&format!("<p>{}</p>", escaped(why))),
            Shown::Figures(figures) => {
                let alone = figures.len() == 1;
                for (name, figure) in figures {
                    let name = if alone { String::new() } else { format!("{}: ", escaped(name)) };
                    html.push_str(&format!(
                        "<p style=\"font-size:18px;margin:2px 0\">{name}<b>{}</b></p>",
                        escaped(figure)
                    ));
                }
            }
            Shown::Rows { header, numeric, rows, newest } => {
                let (rows, left) = within(rows, *newest, ROWS_SHOWN);
                html.push_str("<table style=\"border-collapse:collapse;font-size:13px\">");
                html.push_str(&html_row("th", header, numeric));
                for row in rows {
                    html.push_str(&html_row("td", row, numeric));
                }
                html.push_str("</table>");
                if left > 0 {
                    let rest = escaped(&rest(names, left, *newest));
                    html.push_str(&format!("<p style=\"color:#777\">… {rest}</p>"));
                }
            }
        }
    }
    html.push_str("</body></html>");
    html
}

fn html_row(tag: &str, cells: &[String], numeric: &[bool]) -> String {
    let cells = cells.iter().zip(numeric).map(|(cell, numeric)| {
        let side = if *numeric { "right" } else { "left" };
        format!("<{tag} style=\"{CELL_STYLE};text-align:{side}\">{}</{tag}>", escaped(cell))
    });
    format!("<tr>{}</tr>", cells.collect::<String>())
}

/// A text that is nothing but text in HTML, also within quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn as_json(names: &Names<'_>, tile: &Tile, answer: Option<&Answer>) -> Json {
    let title = names.title(tile);
    let Some(Answer { question, table, .. }) = answer else {
        return json!({"tile": tile.tile, "title": title, "answered": false});
    };
    let columns = table.columns.iter().map(|column| {
        json!({"name": column.name, "type": column.kind, "title": names.column(tile, &column.name)})
    });
    let rows: Vec<&Vec<Json>> = table.rows.iter().take(ROWS_SENT).collect();
    json!({
        "tile": tile.tile, "title": title, "answered": true, "show": question.show, "span": question.span,
        "compare": question.compare, "notes": question.notes, "unfiltered": question.unfiltered, "labels": question.labels,
        "columns": columns.collect::<Vec<_>>(), "row_count": table.row_count,
        "truncated": table.truncated || rows.len() < table.rows.len(), "rows": rows,
    })
}

/// Kinds of metrics whose figure belongs to a period.
fn windowed(metric: &Described<'_>) -> bool {
    matches!(metric.kind, "rolling" | "to_date" | "compare" | "cumulative")
}

/// Whether figures of a metric are shares of 1.
fn is_share(metric: &Described<'_>) -> bool {
    matches!(metric.kind, "share" | "conversion" | "compare")
        || matches!(metric.unit, Some("%" | "percent"))
}

fn is_number(column: &Column) -> bool {
    matches!(column.kind, "integer" | "number")
}

/// A figure as people read it.
fn figure(names: &Names<'_>, metric: Option<&Described<'_>>, value: &Json) -> String {
    if value.is_null() {
        return "–".to_owned();
    }
    let text = plain(value);
    if let Some(share) = metric.filter(|metric| is_share(metric)).and_then(|_| number(value)) {
        return format!("{}%", grouped(&format!("{:.1}", share * 100.0)));
    }
    let Some(number) = number(value) else { return text_of(names, value) };
    // Whole numbers and decimals of two digits stay digit by digit; others are rounded.
    let exact = text.split_once('.').is_none_or(|(_, digits)| digits.len() <= 2);
    let exact = exact && !text.contains(['e', 'E']);
    let rounded = if exact { text } else { format!("{number:.2}") };
    match metric.and_then(|metric| metric.unit) {
        Some(unit) => format!("{} {unit}", grouped(&rounded)),
        None => grouped(&rounded),
    }
}

fn number(value: &Json) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    number.is_finite().then_some(number)
}

/// A change of shares of 1, with its sign.
fn change_of(value: &Json) -> Option<String> {
    let change = number(value)? * 100.0;
    // What is rounded to nothing has no sign.
    let shown = format!("{change:.1}");
    let bare = shown.trim_start_matches('-');
    let sign = match bare {
        "0.0" => "±",
        _ if change > 0.0 => "+",
        _ => "-",
    };
    Some(format!("{sign}{}%", grouped(bare)))
}

/// A number in digits with a comma after each three of its whole part, and without zeros at its end.
fn grouped(text: &str) -> String {
    let (sign, bare) = text.strip_prefix('-').map_or(("", text), |bare| ("-", bare));
    let (whole, part) = bare.split_once('.').unwrap_or((bare, ""));
    let part = part.trim_end_matches('0');
    let mut out = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !part.is_empty() {
        out.push('.');
        out.push_str(part);
    }
    out
}

/// A value that is no figure, in one line.
fn text_of(names: &Names<'_>, value: &Json) -> String {
    let text = match value {
        Json::Null => names.word("(none)", "（空）").to_owned(),
        Json::Bool(true) => names.word("yes", "是").to_owned(),
        Json::Bool(false) => names.word("no", "否").to_owned(),
        // The start of a period is a day.
        Json::String(text) => text.strip_suffix("T00:00:00Z").unwrap_or(text).to_owned(),
        other => other.to_string(),
    };
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CELL_CHARS_MAX).collect();
    match text.chars().nth(CELL_CHARS_MAX) {
        Some(_) => line + "…",
        None => line,
    }
}

#[cfg(test)]
mod tests;
