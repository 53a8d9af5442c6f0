//! Comments of a file that is written anew by a program: each goes to what it was about.
//!
//! ```text
//! # about the tile            before the line of `tiles › revenue`
//! - tile: revenue  # behind   behind the line of `tiles › revenue`
//!     # deeper than what follows: after the line above
//! ```
//! A thing is found again by its keys, and by its first value where it stands in a list. What is said about a thing that
//! is gone goes to what held it, and with an item of a list that is gone.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::build::moved_right;
use super::{Node, Value, parse};
use crate::diagnostic::Diagnostics;
use crate::file::SourceFile;

/// The way to a thing: keys, and first values of items of lists.
type Way = Vec<String>;

/// Where comments stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Where {
    /// On lines of their own before the thing.
    Before(Way),
    /// On lines of their own after its line, indented as they were.
    After(Way),
    /// At the end of its line.
    Behind(Way),
    /// At the end of the file.
    Foot,
}

/// How many lines have a comment.
#[must_use]
pub fn count(text: &str) -> usize {
    found(text).map_or(0, |(comments, _)| {
        comments.values().flatten().filter(|line| !line.text.is_empty()).count()
    })
}

/// The text `after` with the comments of `before`; it means the same as without them.
#[must_use]
pub fn carried(before: &str, after: &str) -> String {
    let Some((comments, _)) = found(before) else { return after.to_owned() };
    if comments.is_empty() {
        return after.to_owned();
    }
    let Some((_, things)) = found(after) else { return after.to_owned() };
    let made = placed(after, &comments, &things);
    // Whatever a comment says, it changes nothing.
    match (meaning(&made), meaning(after)) {
        (Some(with), Some(without)) if with == without => made,
        _ => after.to_owned(),
    }
}

/// A text without mistakes as a tree.
pub(super) fn tree(text: &str) -> Option<Node> {
    let mut wrong = Diagnostics::default();
    parse(&SourceFile::new("", text), &mut wrong).filter(|_| !wrong.has_errors())
}

/// What a text without mistakes says.
pub(super) fn meaning(text: &str) -> Option<serde_json::Value> {
    tree(text).map(|node| node.to_json())
}

/// A comment, with its indentation; without text a blank line between comments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    indent: usize,
    text: String,
}

/// A thing with the line and column it begins at, both from 1.
#[derive(Clone, Debug)]
struct Thing {
    way: Way,
    line: usize,
    column: usize,
}

type Comments = BTreeMap<Where, Vec<Line>>;

/// The comments of a text and its things by line, the outermost of a line first.
fn found(text: &str) -> Option<(Comments, Vec<Thing>)> {
    let tree = tree(text)?;
    let mut things = Vec::new();
    collect(&tree, &mut Vec::new(), &mut things);
    things.sort_by_key(|thing| (thing.line, thing.way.len()));
    let texts = Texts::of(text)?;
    let mut comments = Comments::new();
    let mut block: Vec<Line> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if texts.holds(number) {
            continue;
        }
        let indent = line.chars().take_while(|c| *c == ' ').count();
        let Some(at) = comment_at(line, number, &texts) else {
            let blank = line.trim().is_empty();
            match (blank, block.is_empty()) {
                (true, true) => {}
                (true, false) => block.push(Line { indent: 0, text: String::new() }),
                (false, _) => give(&mut comments, &mut block, number, &things),
            }
            continue;
        };
        let (code, comment) = line.split_at(at);
        let comment = Line { indent, text: comment.trim_end().to_owned() };
        if code.trim().is_empty() {
            block.push(comment);
            continue;
        }
        give(&mut comments, &mut block, number, &things);
        let on = things.iter().find(|thing| thing.line == number);
        let on = on.or_else(|| things.iter().rev().find(|thing| thing.line < number));
        let place = on.map_or(Where::Foot, |thing| Where::Behind(thing.way.clone()));
        comments.entry(place).or_default().push(comment);
    }
    give(&mut comments, &mut block, usize::MAX, &things);
    Some((comments, things))
}

/// Gives comments that stand before the line `next` to what they are about.
fn give(comments: &mut Comments, block: &mut Vec<Line>, next: usize, things: &[Thing]) {
    let after = things.iter().find(|thing| thing.line >= next);
    let before = things.iter().rev().find(|thing| thing.line < next);
    for line in std::mem::take(block) {
        let deeper = |thing: &Thing| line.indent + 1 > thing.column && !line.text.is_empty();
        let place = match (after, before) {
            (Some(thing), Some(above)) if deeper(thing) => Where::After(above.way.clone()),
            (Some(thing), _) => Where::Before(thing.way.clone()),
            (None, Some(above)) if line.indent > 0 => Where::After(above.way.clone()),
            (None, _) => Where::Foot,
        };
        comments.entry(place).or_default().push(line);
    }
}

fn collect(node: &Node, way: &mut Way, things: &mut Vec<Thing>) {
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                way.push(key.name.clone());
                let (line, column) = (key.span.line, key.span.column);
                things.push(Thing { way: way.clone(), line, column });
                collect(value, way, things);
                way.pop();
            }
        }
        Value::List(items) => {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for item in items {
                let name = match &item.value {
                    Value::Map(entries) => entries.first().map(|(_, first)| first.to_json()),
                    _ => Some(item.to_json()),
                };
                let name = name.unwrap_or_default().to_string();
                let number = seen.entry(name.clone()).or_default();
                *number += 1;
                way.push(format!("{name} {number}"));
                let (line, column) = (item.span.line, item.span.column);
                // The dash stands before it.
                things.push(Thing {
                    way: way.clone(),
                    line,
                    column: column.saturating_sub(2).max(1),
                });
                collect(item, way, things);
                way.pop();
            }
        }
        _ => {}
    }
}

/// Where texts stand, in which a `#` begins no comment.
struct Texts {
    /// Lines that are wholly inside of one.
    lines: Vec<(usize, usize)>,
    /// Quoted texts: their first line and character and the ones behind, lines from 1 and characters from 0.
    quoted: Vec<((usize, usize), (usize, usize))>,
}

impl Texts {
    fn of(text: &str) -> Option<Self> {
        let (text, moved) = moved_right(text);
        let place = |at: Marker| {
            let blanks = moved.get(&at.line()).copied().unwrap_or_default();
            (at.line(), at.col().saturating_sub(blanks))
        };
        let all: Vec<&str> = text.lines().collect();
        let mut texts = Self { lines: Vec::new(), quoted: Vec::new() };
        let mut parser = Parser::new_from_str(&text);
        while let Some(event) = parser.next_event() {
            let (Event::Scalar(_, style, ..), at) = event.ok()? else { continue };
            let from = at.start.line();
            match style {
                ScalarStyle::Literal | ScalarStyle::Folded => {
                    // What follows and is indented as the first line is, or more, belongs to it.
                    let indent = |line: &&str| line.chars().take_while(|c| *c == ' ').count();
                    // It begins at its sign or at its first line.
                    let line = all.get(from.saturating_sub(1)).copied().unwrap_or_default();
                    let sign = matches!(line.chars().nth(at.start.col()), Some('|' | '>'));
                    let from = if sign { from } else { from.saturating_sub(1) };
                    let below = all.get(from..).unwrap_or_default();
                    let first = below.iter().find(|line| !line.trim().is_empty()).map(indent);
                    let own = |line: &&&str| line.trim().is_empty() || Some(indent(line)) >= first;
                    let count = below.iter().take_while(own).count();
                    texts.lines.push((from + 1, from + count));
                }
                ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                    texts.quoted.push((place(at.start), place(at.end)));
                }
                ScalarStyle::Plain => {}
            }
        }
        Some(texts)
    }

    fn holds(&self, line: usize) -> bool {
        self.lines.iter().any(|(from, to)| (*from..=*to).contains(&line))
    }

    fn quotes(&self, line: usize, column: usize) -> bool {
        self.quoted.iter().any(|(from, to)| (*from..*to).contains(&(line, column)))
    }
}

/// The byte at which the comment of a line begins.
fn comment_at(line: &str, number: usize, texts: &Texts) -> Option<usize> {
    let mut before = ' ';
    for (column, (at, c)) in line.char_indices().enumerate() {
        if c == '#' && before.is_whitespace() && !texts.quotes(number, column) {
            return Some(at);
        }
        before = c;
    }
    None
}

/// The text with the comments in it.
fn placed(text: &str, comments: &Comments, things: &[Thing]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut after: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut before: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut behind: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut foot: Vec<String> = Vec::new();
    let indent_of = |line: usize| {
        let line = lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        line.chars().take_while(|c| *c == ' ').count()
    };
    let written = |indent: usize, line: &Line| match line.text.is_empty() {
        true => String::new(),
        false => format!("{}{}", " ".repeat(indent), line.text),
    };
    for (place, said) in comments {
        let way = match place {
            Where::Before(way) | Where::After(way) | Where::Behind(way) => Some(way),
            Where::Foot => None,
        };
        let Some(thing) = way.map(|way| at_or_above(way, things)) else {
            foot.extend(said.iter().map(|line| written(0, line)));
            continue;
        };
        let Some((thing, exact)) = thing else { continue };
        match place {
            Where::Behind(_) if exact => {
                let texts = said.iter().map(|line| line.text.clone());
                behind.entry(thing.line).or_default().extend(texts);
            }
            Where::After(_) if exact => {
                let next = things.iter().find(|other| other.line > thing.line);
                let next = next.map_or(lines.len() + 1, |other| other.line);
                let said = said.iter().map(|line| written(line.indent, line));
                after.entry(next).or_default().extend(said);
            }
            _ => {
                let indent = indent_of(thing.line);
                let said = said.iter().map(|line| written(indent, line));
                before.entry(thing.line).or_default().extend(said);
            }
        }
    }
    let mut out = String::with_capacity(text.len());
    for (number, line) in (1..).zip(&lines) {
        let mut behind = behind.remove(&number).unwrap_or_default().into_iter();
        let own = behind.next();
        // Of several on one line the others go above it.
        let indent = " ".repeat(indent_of(number));
        let above = [after.remove(&number), before.remove(&number)];
        for above in above.into_iter().flatten().flatten() {
            out.push_str(&above);
            out.push('\n');
        }
        for above in behind {
            out.push_str(&format!("{indent}{above}\n"));
        }
        out.push_str(line);
        if let Some(own) = own {
            out.push_str(&format!("  {own}"));
        }
        out.push('\n');
    }
    for line in after.into_values().flatten().chain(foot) {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// The thing, or the nearest that held it; nothing of an item that is gone, and nothing of the whole file's.
fn at_or_above<'a>(way: &Way, things: &'a [Thing]) -> Option<(&'a Thing, bool)> {
    let at = |way: &[String]| things.iter().find(|thing| thing.way == way);
    if let Some(thing) = at(way) {
        return Some((thing, true));
    }
    // An item of a list of mappings is a thing of its own: what is said about it goes with it.
    (2..way.len()).rev().find_map(|length| at(way.get(..length)?)).map(|thing| (thing, false))
}

#[cfg(test)]
mod tests;
