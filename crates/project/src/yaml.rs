//! YAML as a tree whose every node knows its place.
//!
//! The dialect is YAML 1.2's core schema, narrowed where it surprises: one document a file, text
//! keys, no duplicate keys, no tags but `!!str`; merge keys (`<<`) are read. Plain scalars with leading zeros
//! (`00123`) and exponents without a dot (`1e5`) are article numbers more often than numbers and stay
//! text. Aliases are expanded under a limit.

mod build;
pub mod comments;
pub(crate) mod scalar;
pub mod written;

pub use build::parse;

use crate::diagnostic::Span;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it is written.
    pub span: Span,
    /// How a text is written.
    pub style: Style,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Anything else.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The key's text.
    pub name: String,
    /// Where it is written.
    pub span: Span,
}

/// How a scalar is written, which decides where its lines lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is, or not a scalar.
    Plain,
    /// Between quotes.
    Quoted,
    /// After `|`: line by line.
    Block,
    /// After `>`: lines are joined.
    Folded,
}

impl Node {
    /// The value under `name`, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|(_, node)| node)
    }

    /// The key and value under `name`, if this is a mapping that has it.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<(&Key, &Self)> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(key, _)| key.name == name).map(|(key, node)| (key, node))
    }

    /// The node reached by keys and list positions, or the last one on the way that exists.
    #[must_use]
    pub fn find(&self, path: &[Step<'_>]) -> &Self {
        let mut node = self;
        for step in path {
            let next = match (step, &node.value) {
                (Step::Key(name), Value::Map(_)) => node.get(name),
                (Step::Item(index), Value::List(items)) => items.get(*index),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// The items, if this is a list.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text, if this is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value without places.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => serde_json::Value::Object(
                entries.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect(),
            ),
        }
    }

    /// The keys, and numbers of items from 0, that lead to what begins last at a place or before it; nothing for a place
    /// before everything.
    #[must_use]
    pub fn way_to(&self, place: Span) -> Vec<String> {
        let (mut found, mut at) = (Vec::new(), (0, 0));
        self.walk(&mut Vec::new(), &mut |span: Span, way: &[String]| {
            let begins = (span.line, span.column);
            if begins <= (place.line, place.column) && begins >= at {
                (found, at) = (way.to_vec(), begins);
            }
        });
        found
    }

    /// Visits everything below, each with its place and the way to it.
    fn walk(&self, way: &mut Vec<String>, visit: &mut dyn FnMut(Span, &[String])) {
        match &self.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    way.push(key.name.clone());
                    visit(key.span, way.as_slice());
                    value.walk(way, visit);
                    way.pop();
                }
            }
            Value::List(items) => {
                for (number, item) in items.iter().enumerate() {
                    way.push(number.to_string());
                    visit(item.span, way.as_slice());
                    item.walk(way, visit);
                    way.pop();
                }
            }
            _ => {}
        }
    }

    /// How many nodes this is, and how deep.
    fn size(&self) -> (usize, usize) {
        let add = |(count, depth): (usize, usize), node: &Self| {
            let (inner_count, inner_depth) = node.size();
            (count + inner_count, depth.max(inner_depth + 1))
        };
        match &self.value {
            Value::List(items) => items.iter().fold((1, 1), add),
            Value::Map(entries) => entries.iter().map(|(_, node)| node).fold((1, 1), add),
            _ => (1, 1),
        }
    }
}

/// One step of a path into a tree.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Into a mapping.
    Key(&'a str),
    /// Into a list.
    Item(usize),
}

#[cfg(test)]
mod tests;
