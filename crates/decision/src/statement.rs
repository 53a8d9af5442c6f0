//! The one statement that a query of a file is.

use flywheel_base::{Error, Result};

/// A query as it can stand between brackets: without the sign of its end and what only comments after it say.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if another statement follows; `what` names the query.
pub(crate) fn one_statement<'s>(what: &str, sql: &'s str) -> Result<&'s str> {
    let Some(end) = signs(sql).find(|(_, sign)| *sign == ';').map(|(at, _)| at) else {
        return Ok(sql.trim());
    };
    let (first, rest) = sql.split_at(end);
    if signs(rest).any(|(_, sign)| sign != ';' && !sign.is_whitespace()) {
        return Err(Error::invalid(format!("{what} is more than one statement"))
            .hint("Write one statement, without `;`."));
    }
    Ok(first.trim())
}

/// The signs of a query outside of comments, with their places; of a text or a quoted name only its opening quote.
fn signs(sql: &str) -> impl Iterator<Item = (usize, char)> {
    let mut place = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = sql.get(place..)?;
            let sign = rest.chars().next()?;
            let at = place;
            if rest.starts_with("--") {
                place += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            if rest.starts_with("/*") {
                place += comment(rest);
                continue;
            }
            place += match sign {
                '\'' | '"' => quoted(rest, sign, is_escaped(sql.get(..at).unwrap_or_default())),
                _ => sign.len_utf8(),
            };
            return Some((at, sign));
        }
    })
}

/// Whether what stands before a quote makes backslashes in it hide what follows them: `E'it\'s'`.
fn is_escaped(before: &str) -> bool {
    let word = before.strip_suffix(['e', 'E']);
    word.is_some_and(|word| !word.ends_with(|sign: char| sign.is_alphanumeric() || sign == '_'))
}

/// How long the text or name is that begins with this quote; a doubled quote ends one and begins the next.
fn quoted(text: &str, quote: char, escaped: bool) -> usize {
    let mut hidden = false;
    for (at, sign) in text.char_indices().skip(1) {
        if hidden {
            hidden = false;
        } else if escaped && quote == '\'' && sign == '\\' {
            hidden = true;
        } else if sign == quote {
            return at + 1;
        }
    }
    text.len()
}

/// How long the comment is that a text begins with, with those that are in it.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut place = 0;
    while let Some(rest) = text.get(place..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            place += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            place += 2;
            if depth == 0 {
                return place;
            }
        } else {
            place += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_of_the_end_and_comments_after_it_are_left_out() {
        for (sql, expected) in [
            ("select 1", "select 1"),
            (" select 1 ;\n", "select 1"),
            ("select 1; -- note", "select 1"),
            ("select 1 -- a; b\n", "select 1 -- a; b"),
            ("select 1 /* a; /* b; */ c; */ ;; /* d */", "select 1 /* a; /* b; */ c; */"),
            ("select 'a;''b', \"c;\" ; -- 再见", "select 'a;''b', \"c;\""),
            ("select '再;见' as unit_id", "select '再;见' as unit_id"),
            ("select 'open;", "select 'open;"),
            (r"select E'it\'s;' ; -- a", r"select E'it\'s;'"),
            (r"select 'a\' ; -- it's", r"select 'a\'"),
            (r"select some'a\' ;", r"select some'a\'"),
            ("", ""),
        ] {
            assert_eq!(one_statement("q", sql).unwrap(), expected, "{sql}");
        }
    }

    #[test]
    fn two_statements_are_told() {
        for sql in ["select 1; select 2", "select 1;-- a\nselect 2", "select 1; 'x'"] {
            let error = one_statement("policy \"p\": audience", sql).unwrap_err();
            assert_eq!(error.message(), "policy \"p\": audience is more than one statement");
            assert!(error.hint_text().unwrap().contains("without `;`"));
        }
    }
}
