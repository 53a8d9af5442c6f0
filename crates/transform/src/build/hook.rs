//! Statements around builds: `pre_hook`, `post_hook`, `on-run-start` and `on-run-end`.
//!
//! SQL here only reads, so a statement that reads is run, and its error is the build's. What would change
//! rights, indexes or rows is not run, and the report says so: only models and syncs write tables.

use flywheel_base::Result;
use flywheel_warehouse::Session;

/// Words with which a statement begins that reads.
const READING: &[&str] = &["SELECT", "WITH", "VALUES", "FROM", "EXPLAIN", "SHOW", "DESCRIBE"];

/// How many characters of a statement a note shows.
const SHOWN_CHARS: usize = 60;

/// Runs the statements of a rendered text; returns a note for each that is not run.
pub(super) async fn run(session: &Session, word: &str, sql: &str) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for statement in statements(sql) {
        let first = statement.split(|c: char| !c.is_alphanumeric()).find(|part| !part.is_empty());
        let first = first.unwrap_or_default().to_uppercase();
        if READING.contains(&first.as_str()) {
            let query = session.query(&statement).await;
            let run = async { query?.collect().await };
            run.await
                .map_err(|error| error.context(format!("the {word} {}", short(&statement))))?;
        } else {
            notes.push(format!(
                "the {word} {} is not run: {first} changes something, and SQL here only reads",
                short(&statement)
            ));
        }
    }
    Ok(notes)
}

fn short(statement: &str) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("\"{}…\"", &line[..at]),
        None => format!("\"{line}\""),
    }
}

/// The statements of a text, without comments and without empty ones.
fn statements(sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = String::new();
    let mut quote: Option<char> = None;
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(end), c) => {
                open.push(c);
                if c == end {
                    quote = None;
                }
            }
            (None, '\'' | '"') => {
                quote = Some(c);
                open.push(c);
            }
            (None, '-') if chars.peek() == Some(&'-') => {
                while chars.next_if(|c| *c != '\n').is_some() {}
            }
            (None, '/') if chars.peek() == Some(&'*') => {
                let mut before = ' ';
                for c in chars.by_ref() {
                    if before == '*' && c == '/' {
                        break;
                    }
                    before = c;
                }
                open.push(' ');
            }
            (None, ';') => found.push(std::mem::take(&mut open)),
            (None, c) => open.push(c),
        }
    }
    found.push(open);
    found.into_iter().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes_and_comments() {
        let text = "select ';' as a; -- b; c\n /* d; */ grant x to y;\n;select \"e;\"";
        assert_eq!(statements(text), ["select ';' as a", "grant x to y", "select \"e;\""]);
        assert!(statements(" \n-- nothing").is_empty());
    }
}
