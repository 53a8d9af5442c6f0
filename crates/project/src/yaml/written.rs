//! A file whose values were changed by a program: what did not change stays as it is written.
//!
//! ```text
//! entries of a mapping ─┬─ the same value ──────────► its lines as they were
//!                       ├─ a mapping on lines ──────► its own entries, one by one
//!                       └─ another value ───────────► written anew, with its comments
//! ```
//! The text always means the value: where lines cannot be kept, all is written anew with the comments.

use serde_json::{Map, Value as Json};

use super::comments::{carried, meaning, tree};
use super::{Key, Node, Value};
use crate::dashboard::is_block;
use crate::datax::scalar;

/// How long a list in one line may be.
const LINE_CHARS_MAX: usize = 100;

/// The text `before` with the values of `value`: keys keep their order, new ones come last.
#[must_use]
pub fn edited(before: &str, value: &Map<String, Json>) -> String {
    let means = |text: &str| meaning(text).is_some_and(|read| read.as_object() == Some(value));
    let Some(root) = tree(before) else { return anew(value) };
    let mut kept = String::new();
    let lines: Vec<&str> = before.split_inclusive('\n').collect();
    if entries(&lines, &root, value, (0, lines.len()), &mut kept).is_some() && means(&kept) {
        return kept;
    }
    let mut ordered = Map::new();
    if let Value::Map(entries) = &root.value {
        let there = entries.iter().filter_map(|(key, _)| value.get_key_value(&key.name));
        ordered.extend(there.map(|(key, value)| (key.clone(), value.clone())));
    }
    for (key, value) in value {
        if !ordered.contains_key(key) {
            ordered.insert(key.clone(), value.clone());
        }
    }
    carried(before, &anew(&ordered))
}

/// A mapping as a text of its own.
fn anew(value: &Map<String, Json>) -> String {
    let mut out = String::new();
    for (key, value) in value {
        pair(&mut out, 0, key, value);
    }
    if out.is_empty() { "{}\n".to_owned() } else { out }
}

/// Writes a mapping that stands on the lines from `from` to before `to`, counted from 0; nothing if its lines cannot be told
/// apart.
fn entries(
    lines: &[&str],
    node: &Node,
    value: &Map<String, Json>,
    (from, to): (usize, usize),
    out: &mut String,
) -> Option<()> {
    let Value::Map(entries) = &node.value else { return None };
    let (first, _) = entries.first()?;
    let indent = first.span.column.checked_sub(1)?;
    let mut starts = Vec::new();
    for (key, _) in entries {
        starts.push(line_of(lines, key, indent)?);
    }
    // Each begins on a line after that of the one before, within the lines of the whole.
    let ordered = starts.windows(2).all(|pair| matches!(pair, [one, next] if one < next));
    let within = starts.first().is_some_and(|start| *start >= from)
        && starts.last().is_some_and(|start| *start < to);
    if !ordered || !within {
        return None;
    }
    let mut heads: Vec<usize> = Vec::new();
    for (number, start) in starts.iter().enumerate() {
        let least = match number.checked_sub(1).and_then(|before| starts.get(before)) {
            Some(before) => before + 1,
            None => from,
        };
        heads.push(if number == 0 { from } else { head(lines, *start, least, indent) });
    }
    let mut written = false;
    for (number, (key, old)) in entries.iter().enumerate() {
        let (head, start) = (*heads.get(number)?, *starts.get(number)?);
        let end = heads.get(number + 1).copied().unwrap_or(to);
        let Some(new) = value.get(&key.name) else {
            // What stands above the first is said of the file.
            if number == 0 {
                push(out, lines.get(head..start)?);
            }
            continue;
        };
        written = true;
        if old.to_json() == *new {
            push(out, lines.get(head..end)?);
            continue;
        }
        push(out, lines.get(head..start)?);
        let before = out.len();
        if let (Json::Object(new), Value::Map(inner)) = (new, &old.value)
            && inner.first().is_some_and(|(first, _)| first.span.line > start + 1)
            && !new.is_empty()
        {
            push(out, lines.get(start..=start)?);
            if self::entries(lines, old, new, (start + 1, end), out).is_some() {
                continue;
            }
            out.truncate(before);
        }
        let mut made = String::new();
        pair(&mut made, indent, &key.name, new);
        out.push_str(&carried(&lines.get(start..end)?.concat(), &made));
    }
    for (key, new) in value {
        if node.get(key).is_none() {
            pair(out, indent, key, new);
            written = true;
        }
    }
    written.then_some(())
}

/// The line on which an entry begins, from 0; nothing if something else than its indentation stands before it.
fn line_of(lines: &[&str], key: &Key, indent: usize) -> Option<usize> {
    let line = key.span.line.checked_sub(1)?;
    let before = lines.get(line)?.get(..indent)?;
    (key.span.column == indent + 1 && before.bytes().all(|byte| byte == b' ')).then_some(line)
}

/// Where what is said above a line begins: comments no deeper than it, and empty lines.
fn head(lines: &[&str], start: usize, least: usize, indent: usize) -> usize {
    let mut head = start;
    while head > least {
        let above = lines.get(head - 1).copied().unwrap_or_default();
        let text = above.trim();
        let deep = above.bytes().take_while(|byte| *byte == b' ').count();
        let aside = text.starts_with('#') && deep <= indent;
        if !text.is_empty() && !aside {
            break;
        }
        head -= 1;
    }
    head
}

/// Adds lines, the last of which ends.
fn push(out: &mut String, lines: &[&str]) {
    for line in lines {
        out.push_str(line);
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
}

/// Writes a key with its value.
fn pair(out: &mut String, indent: usize, key: &str, value: &Json) {
    let space = " ".repeat(indent);
    let key = scalar(&Json::String(key.to_owned()));
    match value {
        Json::String(text) if is_block(text) => {
            let (body, mark) = match text.strip_suffix('\n') {
                Some(body) => (body, "|"),
                None => (text.as_str(), "|-"),
            };
            out.push_str(&format!("{space}{key}: {mark}\n"));
            for line in body.split('\n') {
                match line.is_empty() {
                    true => out.push('\n'),
                    false => out.push_str(&format!("{space}  {line}\n")),
                }
            }
        }
        Json::Object(fields) if !fields.is_empty() => {
            out.push_str(&format!("{space}{key}:\n"));
            for (key, value) in fields {
                pair(out, indent + 2, key, value);
            }
        }
        Json::Array(items) if !items.is_empty() => match in_a_line(items) {
            Some(line) => out.push_str(&format!("{space}{key}: {line}\n")),
            None => {
                out.push_str(&format!("{space}{key}:\n"));
                for one in items {
                    item(out, indent + 2, one);
                }
            }
        },
        other => out.push_str(&format!("{space}{key}: {}\n", scalar(other))),
    }
}

/// Writes an item of a list; its first key stands behind the dash.
fn item(out: &mut String, indent: usize, value: &Json) {
    let space = " ".repeat(indent);
    match value {
        Json::Object(fields) if !fields.is_empty() => {
            let mut lines = String::new();
            for (key, value) in fields {
                pair(&mut lines, indent + 2, key, value);
            }
            out.push_str(&format!("{space}- {}", lines.trim_start_matches(' ')));
        }
        other => out.push_str(&format!("{space}- {}\n", scalar(other))),
    }
}

/// A list of short scalars in one line.
fn in_a_line(items: &[Json]) -> Option<String> {
    let plain = |item: &Json| !item.is_object() && !item.is_array();
    if !items.iter().all(plain) {
        return None;
    }
    let items: Vec<String> = items.iter().map(scalar).collect();
    let line = format!("[{}]", items.join(", "));
    (line.chars().count() <= LINE_CHARS_MAX).then_some(line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "\
# The shop's database.
connection: shop # its name
type: postgres

# Where it is.
options:
  host: db.example.org   # the old one
  # A reader's own account.
  user: 'reader'
  schemas: [ public,  sales ]
  note: |
    # no comment
    two lines

description: \"Orders\"
";

    fn changed(change: impl FnOnce(&mut Json)) -> String {
        let mut value = meaning(FILE).unwrap();
        change(&mut value);
        let made = edited(FILE, value.as_object().unwrap());
        assert_eq!(meaning(&made).unwrap(), value, "{made}");
        made
    }

    #[test]
    fn what_did_not_change_stays_as_it_is_written() {
        assert_eq!(changed(|_| ()), FILE);
        let made = changed(|value| value["options"]["user"] = json!("writer"));
        assert_eq!(made, FILE.replace("'reader'", "writer"));
        let made = changed(|value| value["options"]["host"] = json!("10.0.0.1"));
        let expected = "host: \"10.0.0.1\"  # the old one";
        assert_eq!(made, FILE.replace("host: db.example.org   # the old one", expected));
        let made = changed(|value| value["description"] = json!("All orders"));
        assert_eq!(made, FILE.replace("\"Orders\"", "\"All orders\""));
    }

    #[test]
    fn what_is_new_comes_last_and_what_is_gone_takes_its_comments_along() {
        let made = changed(|value| value["options"]["port"] = json!(5432));
        assert_eq!(made, FILE.replace("    two lines\n", "    two lines\n  port: 5432\n"));
        let made = changed(|value| {
            value["options"].as_object_mut().unwrap().remove("user");
        });
        let gone = "  # A reader's own account.\n  user: 'reader'\n";
        assert_eq!(made, FILE.replace(gone, ""));
        let made = changed(|value| {
            value.as_object_mut().unwrap().remove("options");
        });
        assert!(made.starts_with("# The shop's database.\n") && !made.contains("Where"), "{made}");
    }

    #[test]
    fn a_text_that_has_no_lines_of_its_own_is_written_anew_with_its_comments() {
        for before in ["", "a: [", "# all\n{a: 1, b: {c: 2}}\n", "a: &x [1]\nb: *x\n"] {
            let value = json!({"b": {"d": [{"e": 1, "f": "x\ny\n"}, "g", []]}, "a": "30s"});
            let made = edited(before, value.as_object().unwrap());
            assert_eq!(meaning(&made).unwrap(), value, "{before}\n{made}");
        }
        let value = json!({"a": 3, "b": {"c": 2}});
        let made = edited("# all\n{a: 1, b: {c: 2}}\n", value.as_object().unwrap());
        assert_eq!(made, "# all\na: 3\nb:\n  c: 2\n");
    }

    #[test]
    fn whatever_a_file_looks_like_the_text_means_the_value() {
        let value = json!({
            "sql": "select 1\n\n  from x\n", "empty": {}, "none": null, "yes": true, "text": "true", "zh": "订单",
            "long": vec!["a word that is long enough"; 8], "deep": {"er": {"est": [1, 2.5, "x: y"]}},
        });
        let made = edited("", value.as_object().unwrap());
        assert_eq!(meaning(&made).unwrap(), value, "{made}");
        assert_eq!(edited(&made, value.as_object().unwrap()), made);
    }
}
