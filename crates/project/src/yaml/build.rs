//! From the parser's events to a tree.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{Key, Node, Style, Value, scalar};
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::file::SourceFile;

/// How many nodes a file may have once its aliases are expanded.
const NODES_MAX: usize = 100_000;

/// How deep lists and mappings may nest.
const DEPTH_MAX: usize = 64;

/// How many lines of a file may begin further left than they should.
const MOVES_MAX: usize = 100;

/// How many bytes are read again at most to find such lines; every one of them takes the file once more.
const MOVED_BYTES_MAX: usize = 4 << 20;

/// Parses a file; mistakes go to `out`. `None` if no tree could be read.
pub fn parse(file: &SourceFile, out: &mut Diagnostics) -> Option<Node> {
    let (text, moved) = moved_right(&file.text);
    let mut tree =
        Tree { file, out, open: Vec::new(), anchors: BTreeMap::new(), count: 0, root: None, moved };
    let mut parser = Parser::new_from_str(&text);
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        let outcome = match event {
            Ok((Event::DocumentStart(_), at)) => {
                documents += 1;
                match documents {
                    1 => Ok(()),
                    _ => Err(Diagnostic::error(
                        tree.place(at.start, 3),
                        "a second document starts in the same file",
                    )
                    .hint("Put each resource into a file of its own.")),
                }
            }
            Ok((event, at)) => tree.take(event, at),
            Err(error) => Err(syntax_error(file, tree.place(*error.marker(), 1), error.info())),
        };
        if let Err(diagnostic) = outcome {
            tree.out.push(file, diagnostic);
            return None;
        }
    }
    tree.root
}

/// The text with blanks before lines that our parser wants further right and others, dbt's among them, do not: those
/// of a list or mapping in brackets that are not indented more than the key it belongs to. Blanks there mean
/// nothing. With it comes how many were put before which line. A file that cannot be read so either stays as it is.
pub(super) fn moved_right(text: &str) -> (Cow<'_, str>, BTreeMap<usize, usize>) {
    let mut moved: BTreeMap<usize, usize> = BTreeMap::new();
    let mut made = Cow::Borrowed(text);
    let most = match text.contains(['[', '{']) {
        true => MOVES_MAX.min(MOVED_BYTES_MAX / text.len()),
        false => 0,
    };
    for _ in 0..most {
        let Some((line, blanks)) = too_far_left(&made) else { break };
        *moved.entry(line).or_default() += blanks;
        let mut again = String::with_capacity(made.len() + blanks);
        for (at, line) in text.split_inclusive('\n').enumerate() {
            let blanks = moved.get(&(at + 1)).copied().unwrap_or_default();
            again.extend(std::iter::repeat_n(' ', blanks));
            again.push_str(line);
        }
        made = Cow::Owned(again);
    }
    let unread = moved.is_empty() || Parser::new_from_str(&made).any(|event| event.is_err());
    match unread {
        true => (Cow::Borrowed(text), BTreeMap::new()),
        false => (made, moved),
    }
}

/// The first line that the parser refuses for where it begins, and how many blanks it lacks, or more.
fn too_far_left(text: &str) -> Option<(usize, usize)> {
    let error = Parser::new_from_str(text).find_map(Result::err)?;
    if !["invalid indentation", "invalid indentation in flow construct"].contains(&error.info()) {
        return None;
    }
    let number = error.marker().line();
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let mut above = lines.iter().take(number.saturating_sub(1)).rev();
    let before = above.find(|line| !line.trim().is_empty()).map_or(0, |line| indent(line));
    let own = indent(lines.get(number.checked_sub(1)?)?);
    Some((number, before.saturating_sub(own) + 1))
}

fn syntax_error(file: &SourceFile, at: Span, info: &str) -> Diagnostic {
    let line = file.line(at.line).unwrap_or("");
    let indent = &line[..line.len() - line.trim_start().len()];
    let hint = if indent.contains('\t') || info.contains("tab") {
        "Indent with spaces; YAML does not allow tabs there."
    } else if info.contains("unknown anchor") {
        "An alias `*name` needs an anchor `&name` before it; quote a text that starts with `*`."
    } else if line.contains("{{") || line.contains('%') {
        "Quote a text that starts with a brace or a percent sign, or write it after `|`."
    } else {
        "Check the indentation, colons and quotes of this line and of the one above."
    };
    Diagnostic::error(at, format!("the YAML cannot be read: {info}")).hint(hint)
}

/// A list or mapping that is being read.
struct Open {
    value: Value,
    span: Span,
    anchor: usize,
    /// The key whose value comes next; `Some(None)` if it is a duplicate, whose value is dropped.
    key: Option<Option<Key>>,
    /// The keys so far and their lines.
    seen: BTreeMap<String, usize>,
    /// Whether the next value is that of a merge key.
    merging: bool,
    /// What merge keys (`<<`) bring, which stands behind the keys of the mapping itself.
    merged: Vec<(Key, Node)>,
}

impl Open {
    /// The value with what it merges: keys that it has itself win, and of two merged ones the first.
    fn whole(self) -> Value {
        let Self { value, mut seen, merged, .. } = self;
        match value {
            Value::Map(mut entries) => {
                for (key, node) in merged {
                    if let Entry::Vacant(free) = seen.entry(key.name.clone()) {
                        free.insert(key.span.line);
                        entries.push((key, node));
                    }
                }
                Value::Map(entries)
            }
            other => other,
        }
    }
}

/// The tree while it grows.
struct Tree<'a> {
    file: &'a SourceFile,
    out: &'a mut Diagnostics,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    count: usize,
    root: Option<Node>,
    /// How many characters were put before which line, for reading only.
    moved: BTreeMap<usize, usize>,
}

impl Tree<'_> {
    fn take(&mut self, event: Event<'_>, at: saphyr_parser::Span) -> Result<(), Diagnostic> {
        let span = self.place(at.start, self.length(at));
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), span)?;
                self.count_nodes(1, span)?;
                self.add(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(Value::List(Vec::new()), anchor, tag.as_deref(), span)
            }
            Event::MappingStart(anchor, tag) => {
                self.start(Value::Map(Vec::new()), anchor, tag.as_deref(), span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let (span, anchor) = (open.span, open.anchor);
                let node = Node { value: open.whole(), span, style: Style::Plain };
                self.add(node, anchor)
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    fn place(&self, marker: Marker, length: usize) -> Span {
        let moved = self.moved.get(&marker.line()).copied().unwrap_or_default();
        let column = marker.col().saturating_sub(moved) + 1;
        Span::new(marker.line(), column, length.max(1))
    }

    /// How many characters of its first line a node takes.
    fn length(&self, at: saphyr_parser::Span) -> usize {
        if at.start.line() == at.end.line() {
            return at.end.col().saturating_sub(at.start.col());
        }
        let line = self.file.line(at.start.line()).unwrap_or("");
        line.trim_end().chars().count().saturating_sub(at.start.col())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<Node, Diagnostic> {
        let as_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if let Some(tag) = tag
            && !as_text
        {
            return Err(refused_tag(tag, span));
        }
        let (style, quoted) = match style {
            ScalarStyle::Plain => (Style::Plain, false),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (Style::Quoted, true),
            ScalarStyle::Literal => (Style::Block, true),
            ScalarStyle::Folded => (Style::Folded, true),
        };
        let value =
            if quoted || as_text { Value::Text(text.to_owned()) } else { scalar::resolve(text) };
        Ok(Node { value, span, style })
    }

    fn start(
        &mut self,
        value: Value,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Diagnostic> {
        if let Some(tag) = tag {
            return Err(refused_tag(tag, span));
        }
        if self.expects_key() {
            return Err(Diagnostic::error(span, "a key is a list or a mapping").hint(
                "A key is a word followed by a colon; quote a text that starts with a brace or bracket.",
            ));
        }
        self.count_nodes(1, span)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(Diagnostic::error(
                span,
                format!("more than {DEPTH_MAX} levels are nested"),
            )
            .hint("Nest lists and mappings less deeply."));
        }
        self.open.push(Open {
            value,
            span,
            anchor,
            key: None,
            seen: BTreeMap::new(),
            merging: false,
            merged: Vec::new(),
        });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Diagnostic> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Diagnostic::error(span, "an alias stands inside its own anchor")
                .hint("A value cannot contain itself; write it out."));
        };
        let (count, depth) = node.size();
        if self.open.len() + depth > DEPTH_MAX {
            return Err(Diagnostic::error(
                span,
                format!("more than {DEPTH_MAX} levels are nested"),
            )
            .hint("Nest aliases less deeply."));
        }
        self.count_nodes(count, span)?;
        match self.anchors.get(&anchor).cloned() {
            Some(node) => self.add(node, 0),
            None => Ok(()),
        }
    }

    fn count_nodes(&mut self, more: usize, span: Span) -> Result<(), Diagnostic> {
        self.count += more;
        if self.count <= NODES_MAX {
            return Ok(());
        }
        Err(Diagnostic::error(
            span,
            format!("the file has more than {NODES_MAX} values once its aliases are expanded"),
        )
        .hint("Split the file, and do not nest aliases in aliases."))
    }

    fn expects_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.value, Value::Map(_)) && open.key.is_none())
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(_), Some(Some(key))) if open.merging => {
                open.merging = false;
                open.merged.extend(merged(node, key.span)?);
            }
            (Value::Map(_), None) if node.style == Style::Plain && node.text() == Some("<<") => {
                open.merging = true;
                open.key = Some(Some(Key { name: "<<".to_owned(), span: node.span }));
            }
            (Value::Map(entries), Some(Some(key))) => entries.push((key, node)),
            (Value::Map(_), Some(None)) => {}
            (Value::Map(_), None) => {
                let key = key(node, self.file)?;
                if let Some(first) = open.seen.get(&key.name) {
                    let message = format!("the key \"{}\" is given twice", key.name);
                    let hint = format!("Remove one of them; the first is in line {first}.");
                    self.out.push(self.file, Diagnostic::error(key.span, message).hint(hint));
                    open.key = Some(None);
                } else {
                    open.seen.insert(key.name.clone(), key.span.line);
                    open.key = Some(Some(key));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn key(node: Node, file: &SourceFile) -> Result<Key, Diagnostic> {
    let Node { value, span, .. } = node;
    let written = || {
        let line = file.line(span.line).unwrap_or("");
        line.chars().skip(span.column - 1).take(span.length).collect::<String>()
    };
    let name = match value {
        Value::Text(text) => text,
        Value::List(_) | Value::Map(_) => {
            return Err(Diagnostic::error(span, "a key is a list or a mapping")
                .hint("A key is a word followed by a colon."));
        }
        Value::Null if written().trim().is_empty() => {
            return Err(Diagnostic::error(span, "a key is missing before the colon")
                .hint("Write `key: value`, or quote a text that starts with a colon."));
        }
        _ => written(),
    };
    Ok(Key { name, span })
}

/// The keys that the value of the merge key at `span` brings.
fn merged(node: Node, span: Span) -> Result<Vec<(Key, Node)>, Diagnostic> {
    let refused = || {
        Diagnostic::error(span, "a merge key (`<<`) takes a mapping, or a list of mappings")
            .hint("Anchor a mapping with `&name` and write `<<: *name`.")
    };
    match node.value {
        Value::Map(entries) => Ok(entries),
        Value::List(items) => {
            let mut all = Vec::new();
            for item in items {
                let Value::Map(entries) = item.value else { return Err(refused()) };
                all.extend(entries);
            }
            Ok(all)
        }
        _ => Err(refused()),
    }
}

fn refused_tag(tag: &Tag, span: Span) -> Diagnostic {
    Diagnostic::error(span, format!("the tag \"{tag}\" is not supported"))
        .hint("Remove it, or quote a text that starts with an exclamation mark.")
}
