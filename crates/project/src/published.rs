//! Published queries outside of files: where values go in their SQL, and the text of their file.

use serde_json::json;

use crate::dashboard::text;
use crate::datax::scalar;
use crate::resource::query::PublishedQuery;

/// Where an SQL text has a place for a value: its name, and where its `$` stands. Texts, quoted names and comments have none.
#[must_use]
pub fn places(sql: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    // Whether the letter before belongs to a name, of which a dollar sign is a part then.
    let mut in_name = false;
    while let Some(rest) = sql.get(at..) {
        let Some(first) = rest.chars().next() else { break };
        let skipped = match first {
            '\'' | '"' => Some(1 + until(rest.get(1..), &first.to_string())),
            '-' if rest.starts_with("--") => Some(until(Some(rest), "\n")),
            '/' if rest.starts_with("/*") => Some(2 + until(rest.get(2..), "*/")),
            '{' if rest.starts_with("{#") => Some(2 + until(rest.get(2..), "#}")),
            '$' if !in_name => {
                let name: String = rest.chars().skip(1).take_while(|c| is_part(*c)).collect();
                let after = 1 + name.len();
                if rest.get(after..).is_some_and(|rest| rest.starts_with('$')) {
                    // A text between dollar signs: `$tag$ … $tag$`.
                    let tag = format!("${name}$");
                    Some(tag.len() + until(rest.get(tag.len()..), &tag))
                } else {
                    if !name.is_empty() {
                        found.push((name, at));
                    }
                    Some(after)
                }
            }
            _ => None,
        };
        in_name = skipped.is_none() && is_part(first);
        at += skipped.unwrap_or_else(|| first.len_utf8());
    }
    found
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How far it is to what comes after `end`; to the end of the text without it.
fn until(rest: Option<&str>, end: &str) -> usize {
    let rest = rest.unwrap_or_default();
    rest.find(end).map_or(rest.len(), |found| found + end.len())
}

/// Writes a published query as its file: keys in the order of the reference, nothing that is absent, SQL of several lines as it
/// is.
#[must_use]
pub fn write(query: &PublishedQuery) -> String {
    let mut out = String::new();
    text(&mut out, 0, "query", Some(&query.query));
    text(&mut out, 0, "description", query.description.as_ref());
    text(&mut out, 0, "owner", query.owner.as_ref());
    text(&mut out, 0, "sql", Some(&query.sql));
    if !query.parameters.is_empty() {
        out.push_str("parameters:\n");
    }
    for parameter in &query.parameters {
        let mut lines = String::new();
        text(&mut lines, 2, "name", Some(&parameter.name));
        text(&mut lines, 2, "type", Some(&parameter.column_type));
        if let Some(default) = &parameter.default {
            lines.push_str(&format!("    default: {}\n", scalar(default)));
        }
        text(&mut lines, 2, "description", parameter.description.as_ref());
        // The first key stands behind the dash.
        out.push_str(&format!("  - {}", lines.strip_prefix("    ").unwrap_or(&lines)));
    }
    if let Some(rows) = query.rows {
        out.push_str(&format!("rows: {}\n", json!(rows)));
    }
    if let Some(timeout) = query.timeout {
        out.push_str(&format!("timeout: {}\n", span(timeout.micros)));
    }
    out
}

/// A length of time as people write it.
fn span(micros: i64) -> String {
    for (unit, factor) in [("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)] {
        if micros >= factor && micros % factor == 0 {
            return format!("{}{unit}", micros / factor);
        }
    }
    format!("{micros}us")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Diagnostics;
    use crate::file::SourceFile;
    use crate::yaml;

    #[test]
    fn values_go_where_a_name_stands_and_not_into_texts_names_and_comments() {
        let check = |sql: &str, expected: &[&str]| {
            let found: Vec<String> = places(sql).into_iter().map(|(name, _)| name).collect();
            assert_eq!(found, expected, "{sql}");
        };
        check("select 1", &[]);
        check("where a = $a and b>=$b_2", &["a", "b_2"]);
        check("limit $n", &["n"]);
        check("where a = '$a' and b = \"$b\" and c = 'it''s $c' and d = $d", &["d"]);
        check("-- $a\nwhere /* $b */ c = $c {# $d #}", &["c"]);
        check("select a$b, $$ $c $$, $t$ $d $t$, $e", &["e"]);
        check("select '客户', $country", &["country"]);
        check("select 'open $a", &[]);
        assert_eq!(places("a = $b"), [("b".to_owned(), 4)]);
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        let query = json!({
            "query": "top_customers", "description": "Customers: \"all\" of them", "owner": "data@shop.example",
            "sql": "select * from {{ ref('customers') }}\n\nwhere country = $country and zip = $zip\n",
            "parameters": [
                {"name": "country", "type": "text", "description": "ISO code, as in 'DE'"},
                {"name": "zip", "type": "text", "default": "00123"},
                {"name": "least", "type": "decimal(12, 2)", "default": 0},
                {"name": "yes", "type": "bool", "default": true},
            ],
            "rows": 500, "timeout": "90s",
        });
        let query: PublishedQuery = serde_json::from_value(query).unwrap();
        let written = write(&query);
        let mut out = Diagnostics::default();
        let node = yaml::parse(&SourceFile::new("q.yaml", &written), &mut out).unwrap();
        assert!(out.is_empty(), "{out}\n{written}");
        let read: PublishedQuery = serde_json::from_value(node.to_json()).unwrap();
        assert_eq!(read, query, "{written}");
        assert!(written.contains("sql: |\n  select * from"), "{written}");
        assert!(written.contains("timeout: 90s\n"), "{written}");
    }
}
