//! Settings made of references: what `${env:PORT}` stands for is text, whatever the setting asks for.

use schemars::Schema;
use serde_json::{Map, Number, Value};

/// How many `$ref`s may follow each other.
const REFERENCES_MAX: usize = 32;

/// Turns texts into the numbers and truth values that `schema` asks for, at any depth. Tells of each text
/// that is none of what is asked for, without the text itself: a reference may stand for a secret; and of
/// each number that is too small, too large or not whole.
pub(crate) fn fit(value: &mut Value, schema: &Schema) -> Vec<String> {
    let mut fitting = Fitting { root: schema.as_value(), wrong: Vec::new() };
    fitting.walk(value, &[schema.as_value()], "");
    fitting.wrong
}

/// The shapes that a value may have.
#[derive(Default)]
struct Shapes<'a> {
    /// Whether it may be anything.
    open: bool,
    maps: Vec<&'a Map<String, Value>>,
}

impl Shapes<'_> {
    fn ask(&self, kind: &str) -> bool {
        self.maps.iter().any(|shape| asks(shape, kind))
    }

    /// Whether texts are among them.
    fn take_text(&self) -> bool {
        let named = |shape: &&Map<String, Value>| {
            shape.get("type").is_none()
                && (shape.contains_key("const") || shape.contains_key("enum"))
        };
        self.open || self.ask("string") || self.maps.iter().any(named)
    }
}

/// Whether a shape asks for values of a kind.
fn asks(shape: &Map<String, Value>, kind: &str) -> bool {
    match shape.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|known| known == kind),
        Some(known) => known == kind,
        None => false,
    }
}

/// The whole numbers that a setting takes.
#[derive(Clone, Copy)]
struct Whole {
    least: i128,
    most: i128,
}

impl Whole {
    /// Those that a shape asks for; none if it asks for something else.
    fn of(shape: &Map<String, Value>) -> Option<Self> {
        if !asks(shape, "integer") {
            return None;
        }
        let (least, most): (i128, i128) = match shape.get("format").and_then(Value::as_str) {
            Some("int8") => (i8::MIN.into(), i8::MAX.into()),
            Some("int16") => (i16::MIN.into(), i16::MAX.into()),
            Some("int32") => (i32::MIN.into(), i32::MAX.into()),
            Some("uint8") => (0, u8::MAX.into()),
            Some("uint16") => (0, u16::MAX.into()),
            Some("uint32") => (0, u32::MAX.into()),
            Some("uint" | "uint64") => (0, u64::MAX.into()),
            _ => (i64::MIN.into(), i64::MAX.into()),
        };
        let said = |key: &str| shape.get(key).and_then(Value::as_number).and_then(whole);
        Some(Self {
            least: said("minimum").map_or(least, |said| said.max(least)),
            most: said("maximum").map_or(most, |said| said.min(most)),
        })
    }

    fn has(self, number: &Number) -> bool {
        whole(number).is_some_and(|number| (self.least..=self.most).contains(&number))
    }
}

/// A number as a whole one, if it is written as one.
fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

struct Fitting<'a> {
    root: &'a Value,
    wrong: Vec<String>,
}

impl<'a> Fitting<'a> {
    /// Fits a value that has one of the shapes; `path` names it.
    fn walk(&mut self, value: &mut Value, schemas: &[&'a Value], path: &str) {
        let mut shapes = Shapes::default();
        for schema in schemas {
            self.gather(schema, 0, &mut shapes);
        }
        match value {
            Value::String(text) if !shapes.take_text() => {
                let text = text.trim();
                if let Some(found) = read(text, &shapes) {
                    if let Value::Number(number) = &found {
                        self.judge(number, &shapes, path);
                    }
                    *value = found;
                    return;
                }
                let wanted = [
                    ("integer", "a whole number"),
                    ("number", "a number"),
                    ("boolean", "true or false"),
                ];
                let mut wanted = wanted.iter().filter(|(kind, _)| shapes.ask(kind));
                if let Some((_, wanted)) = wanted.next() {
                    self.wrong.push(format!("\"{path}\" is a text and not {wanted}"));
                }
            }
            Value::Number(number) => self.judge(number, &shapes, path),
            Value::Array(items) => {
                let inner: Vec<&'a Value> =
                    shapes.maps.iter().filter_map(|shape| shape.get("items")).collect();
                for (at, item) in items.iter_mut().enumerate() {
                    self.walk(item, &inner, &format!("{path}[{at}]"));
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    let inner: Vec<&'a Value> = shapes
                        .maps
                        .iter()
                        .filter_map(|shape| {
                            let named = shape.get("properties").and_then(|all| all.get(name));
                            named.or_else(|| shape.get("additionalProperties"))
                        })
                        .collect();
                    let dot = if path.is_empty() { "" } else { "." };
                    self.walk(member, &inner, &format!("{path}{dot}{name}"));
                }
            }
            _ => {}
        }
    }

    /// Tells of a number that none of the shapes takes.
    fn judge(&mut self, number: &Number, shapes: &Shapes<'_>, path: &str) {
        if shapes.open || shapes.ask("number") {
            return;
        }
        let ranges: Vec<Whole> = shapes.maps.iter().filter_map(|shape| Whole::of(shape)).collect();
        if ranges.iter().any(|range| range.has(number)) {
            return;
        }
        if let Some(Whole { least, most }) = ranges.first() {
            self.wrong.push(format!(
                "\"{path}\" is {number} and not a whole number from {least} to {most}"
            ));
        }
    }

    /// Gathers the shapes that a schema allows.
    fn gather(&self, schema: &'a Value, depth: usize, shapes: &mut Shapes<'a>) {
        let map = match schema {
            Value::Object(map) if !map.is_empty() => map,
            // Nothing is allowed, which the settings themselves say best.
            Value::Bool(false) => return,
            _ => {
                shapes.open = true;
                return;
            }
        };
        if let Some(name) = map.get("$ref").and_then(Value::as_str) {
            let name = name.strip_prefix("#/$defs/").unwrap_or(name);
            match self.root.get("$defs").and_then(|all| all.get(name)) {
                Some(target) if depth < REFERENCES_MAX => self.gather(target, depth + 1, shapes),
                _ => shapes.open = true,
            }
            return;
        }
        let mut branched = false;
        for key in ["oneOf", "anyOf", "allOf"] {
            for branch in map.get(key).and_then(Value::as_array).into_iter().flatten() {
                branched = true;
                self.gather(branch, depth + 1, shapes);
            }
        }
        let says = ["type", "const", "enum", "properties", "items"];
        if says.iter().any(|key| map.contains_key(*key)) {
            shapes.maps.push(map);
        } else if !branched {
            shapes.open = true;
        }
    }
}

/// The value that a text stands for, if it is one that is asked for.
fn read(text: &str, shapes: &Shapes<'_>) -> Option<Value> {
    if shapes.ask("integer") || shapes.ask("number") {
        let whole = text.parse::<i64>().map(Value::from);
        if let Ok(whole) = whole.or_else(|_| text.parse::<u64>().map(Value::from)) {
            return Some(whole);
        }
    }
    if shapes.ask("number")
        && let Ok(number) = text.parse::<f64>()
        && let Some(number) = Number::from_f64(number)
    {
        return Some(Value::Number(number));
    }
    if shapes.ask("boolean") {
        return match text.to_ascii_lowercase().as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::{JsonSchema, schema_for};
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::source::settings;

    /// Settings of every shape.
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        port: u16,
        #[serde(default)]
        offset: Option<i64>,
        #[serde(default)]
        share: Option<f64>,
        #[serde(default)]
        tls: bool,
        #[serde(default)]
        user: Option<String>,
        #[serde(default)]
        paging: Option<Paging>,
        #[serde(default)]
        sizes: Vec<u32>,
        #[serde(default)]
        named: BTreeMap<String, u64>,
        #[serde(default)]
        body: Option<Value>,
        #[serde(default)]
        start: Option<Start>,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(tag = "type", rename_all = "kebab-case")]
    enum Paging {
        Page { size: u32 },
        Next { next: String },
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(untagged)]
    enum Start {
        At(i64),
        Named(String),
    }

    fn full() -> Value {
        json!({
            "port": "5432", "offset": "-7", "share": "0.5", "tls": "True", "user": "007",
            "paging": {"type": "page", "size": " 50 "}, "sizes": ["1", 2], "named": {"a": "3"},
            "body": {"n": "1"}, "start": "5"
        })
    }

    #[test]
    fn texts_become_what_the_settings_ask_for() {
        let read: Settings = settings("stream", full()).unwrap();
        assert_eq!(
            (read.port, read.offset, read.share, read.tls),
            (5432, Some(-7), Some(0.5), true)
        );
        assert_eq!((read.paging, read.sizes), (Some(Paging::Page { size: 50 }), vec![1, 2]));
        assert_eq!(read.named["a"], 3);
        // A text stays one where a text is allowed.
        assert_eq!((read.user.as_deref(), read.body), (Some("007"), Some(json!({"n": "1"}))));
        assert_eq!(read.start, Some(Start::Named("5".into())));
        let other: Settings =
            settings("stream", json!({"port": 1, "paging": {"type": "next", "next": "7"}}))
                .unwrap();
        assert_eq!(other.paging, Some(Paging::Next { next: "7".into() }));
    }

    #[test]
    fn a_text_that_does_not_fit_is_named_and_not_shown() {
        for (key, text, wanted) in [
            ("port", "hush", "\"port\" is a text and not a whole number"),
            ("port", "1.5", "a whole number"),
            ("share", "hush", "\"share\" is a text and not a number"),
            ("share", "inf", "a number"),
            ("tls", "hush", "\"tls\" is a text and not true or false"),
        ] {
            let mut value = full();
            value[key] = json!(text);
            let error = settings::<Settings>("stream", value).unwrap_err();
            assert!(error.message().contains(wanted), "{key}: {error}");
            assert!(!error.message().contains("hush"), "{key}: {error}");
            assert!(error.hint_text().unwrap().contains("${env:"), "{key}: {error:?}");
        }
        let mut value = full();
        value["paging"]["size"] = json!("many");
        value["sizes"][1] = json!("few");
        let wrong = fit(&mut value, &schema_for!(Settings));
        assert_eq!(wrong.len(), 2);
        assert!(wrong.concat().contains("paging.size") && wrong.concat().contains("sizes[1]"));
        // What is wrong in another way is told by the key, as before.
        let error = settings::<Settings>("stream", json!({"port": 1, "colour": "1"})).unwrap_err();
        assert!(error.message().contains("colour"), "{error}");
    }

    #[test]
    fn a_number_out_of_range_is_told_with_its_key_and_the_range() {
        let most = u64::MAX;
        for (key, number, told) in [
            (
                "port",
                json!(70_000),
                "\"port\" is 70000 and not a whole number from 0 to 65535".into(),
            ),
            ("port", json!("70000"), "\"port\" is 70000 and".to_owned()),
            ("port", json!(-1), "\"port\" is -1 and".into()),
            ("port", json!(1.5), "\"port\" is 1.5 and not a whole number".into()),
            (
                "named",
                json!({"a": -3}),
                format!("\"named.a\" is -3 and not a whole number from 0 to {most}"),
            ),
            ("sizes", json!([1, 4_294_967_296_u64]), "\"sizes[1]\" is 4294967296 and".into()),
            ("offset", json!(1e30), "and not a whole number from -".into()),
        ] {
            let mut value = full();
            value[key] = number;
            let error = settings::<Settings>("stream", value).unwrap_err();
            assert!(error.message().contains(&told), "{key}: {error}");
            assert!(!error.message().contains("u16"), "{key}: {error}");
            assert!(error.hint_text().unwrap().contains("range"), "{key}: {error:?}");
        }
    }
}
