//! Tests of the tree: values, places and limits.

use flywheel_base::Rng;
use serde_json::json;

use super::*;
use crate::diagnostic::Diagnostics;
use crate::file::SourceFile;

fn tree(text: &str) -> Node {
    let mut out = Diagnostics::default();
    let node = parse(&SourceFile::new("x.yaml", text), &mut out);
    assert!(out.is_empty(), "{out}");
    node.unwrap()
}

fn mistakes(text: &str) -> String {
    let mut out = Diagnostics::default();
    let _: Option<Node> = parse(&SourceFile::new("x.yaml", text), &mut out);
    out.render()
}

#[test]
fn values_keep_the_types_people_mean() {
    let text = "a: 1\nb: 00123\nc: 1e5\nd: yes\ne: true\nf: 1.5\ng: '7'\nh: ~\ni: !!str 8\n\
                j: &x [1, 2]\nk: *x\n12: key\ntrue: key\n";
    let expected = json!({
        "a": 1, "b": "00123", "c": "1e5", "d": "yes", "e": true, "f": 1.5, "g": "7", "h": null,
        "i": "8", "j": [1, 2], "k": [1, 2], "12": "key", "true": "key"
    });
    assert_eq!(tree(text).to_json(), expected);
}

#[test]
fn places_are_counted_in_characters_from_one() {
    let root = tree("\u{FEFF}名: 值\nlist:\r\n  - 'a b'\r\n  - |\r\n    select\r\n    1\r\n");
    assert_eq!(root.get("名").unwrap().span, Span::new(1, 4, 1));
    let items = root.get("list").unwrap().items();
    assert_eq!(items[0].span, Span::new(3, 5, 5));
    assert_eq!((items[1].span.line, items[1].span.column), (5, 5));
    assert_eq!(items[1].text(), Some("select\n1\n"));
    assert_eq!(root.entry("list").unwrap().0.span, Span::new(2, 1, 4));
}

#[test]
fn json_is_yaml_and_reads_the_same() {
    let mut rng = Rng::new(11);
    for _ in 0..500 {
        let value = random(&mut rng, 4);
        let text = serde_json::to_string_pretty(&value).unwrap();
        assert_eq!(tree(&text).to_json(), value, "{text}");
    }
}

fn random(rng: &mut Rng, depth: usize) -> serde_json::Value {
    let words =
        ["", "a", "yes", "1", "数据", "a: b", "- x", "#", "\"q\"", "l1\nl2", "{{ x }}", "\t"];
    match rng.below(if depth == 0 { 5 } else { 7 }) {
        0 => serde_json::Value::Null,
        1 => rng.chance(0.5).into(),
        2 => (rng.next_u64() as i64).into(),
        3 => (rng.below(1_000) as f64 + 0.5).into(),
        4 => words[rng.below(words.len())].into(),
        5 => (0..rng.below(4)).map(|_| random(rng, depth - 1)).collect(),
        _ => (0..rng.below(4))
            .map(|index| (format!("k{index}{}", words[rng.below(3)]), random(rng, depth - 1)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

#[test]
fn depth_and_size_are_limited() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let deep = format!("{}1{}", open.repeat(5_000), close.repeat(5_000));
        let found = mistakes(&deep);
        assert!(found.contains("nested") || found.contains("recursion limit"), "{found}");
    }
    let block: String = (0..3_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(mistakes(&block).contains("levels are nested"));
    let wide = format!("[{}]", "1,".repeat(200_000));
    assert!(mistakes(&wide).contains("more than 100000 values"));
    let deep_alias: String = (1..80).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect();
    assert!(mistakes(&format!("a0: &a0 1\n{deep_alias}")).contains("levels are nested"));
}

#[test]
fn duplicate_keys_are_all_reported_and_quickly() {
    let text = "a: 1\n".repeat(40_000);
    let mut out = Diagnostics::default();
    let _: Option<Node> = parse(&SourceFile::new("x.yaml", &text), &mut out);
    assert_eq!(out.len(), 39_999);
    assert!(out.render().ends_with("more"));
}

#[test]
fn a_place_leads_to_what_begins_last_before_it() {
    let root = tree("a: 1\nb:\n  - c: x\n    d: |\n      line\n      line\n  - e\nf: {g: 1}\n");
    let way = |line, column| root.way_to(Span::new(line, column, 1)).join("/");
    for (line, column, expected) in
        [(0, 0, ""), (1, 4, "a"), (3, 5, "b/0/c"), (6, 9, "b/0/d"), (7, 5, "b/1"), (8, 8, "f/g")]
    {
        assert_eq!(way(line, column), expected, "{line}:{column}");
    }
}

#[test]
fn merge_keys_bring_what_the_mapping_does_not_say_itself() {
    let text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 9\nd: {<<: *a, '<<': text}\n";
    let expected = json!({
        "a": {"x": 1, "y": 2}, "b": {"y": 3, "z": 4}, "c": {"x": 9, "y": 2, "z": 4},
        "d": {"<<": "text", "x": 1, "y": 2}
    });
    assert_eq!(tree(text).to_json(), expected);
    assert!(mistakes("a: {<<: [1]}\n").contains("takes a mapping, or a list of mappings"));
}

#[test]
fn a_list_in_brackets_may_end_under_its_key() {
    let text = "paths: [\n  'a',\n  'b'\n]\nmore:\n  deep: {\n    x: [\n  1\n  ]\n}\nlast: [\n2]\n";
    let expected = json!({"paths": ["a", "b"], "more": {"deep": {"x": [1]}}, "last": [2]});
    assert_eq!(tree(text).to_json(), expected);
    let root = tree(text);
    assert_eq!(root.get("last").unwrap().items()[0].span, Span::new(12, 1, 1), "as it is written");
    assert!(mistakes("a: [\n1\nb: 2\n").contains("x.yaml"), "an open bracket stays a mistake");
}
