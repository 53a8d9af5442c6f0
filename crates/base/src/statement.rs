//! The one statement that a user's query is.
//!
//! A query that stands between brackets, or is handed on to be put there, must not have the `;` that people end a statement with.
//! Behind it there may still be comments, and within texts, quoted names and comments a `;` ends nothing. What is left may end
//! with a line comment, so whoever puts it between brackets closes them on a line of its own.

use crate::{Error, Result};

/// Whose words a query is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    /// Backslashes hide nothing but in `E'…'`, and comments can be in comments.
    Standard,
    /// Backslashes hide what follows them, `#` begins a comment, and `--` does so only before a space.
    Mysql,
}

/// A query without the sign of its end and what only comments after it say.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] if another statement follows; `what` names the query.
pub fn one<'s>(what: &str, sql: &'s str) -> Result<&'s str> {
    first(sql, Words::Standard).ok_or_else(|| {
        Error::invalid(format!("{what} is more than one statement"))
            .hint("Write one statement, without `;`.")
    })
}

/// As [`one`], for a query that somebody else reads and refuses in words of their own: if another statement seems to follow, only
/// signs at the very end are left out.
#[must_use]
pub fn bare(sql: &str) -> &str {
    loose(sql, Words::Standard)
}

/// As [`bare`], of a query for MySQL or MariaDB.
#[must_use]
pub fn bare_mysql(sql: &str) -> &str {
    loose(sql, Words::Mysql)
}

/// The statements of a script, parted by `;`; what is nothing but comments is none.
#[must_use]
pub fn all(sql: &str) -> Vec<&str> {
    let (mut begin, mut found) = (0, Vec::new());
    for (end, _) in signs(sql, Words::Standard).filter(|(_, sign)| *sign == ';') {
        found.extend(sql.get(begin..end));
        begin = end + 1;
    }
    found.extend(sql.get(begin..));
    found.retain(|one| signs(one, Words::Standard).any(|(_, sign)| !sign.is_whitespace()));
    found.into_iter().map(str::trim).collect()
}

/// What stands between the brackets that a text begins with, and what follows them; none if it begins with something else, or
/// they have no end.
#[must_use]
pub fn bracketed(sql: &str) -> Option<(&str, &str)> {
    let mut begin = None;
    let mut depth = 0_usize;
    for (at, sign) in signs(sql, Words::Standard) {
        match sign {
            '(' => {
                depth += 1;
                begin = begin.or(Some(at + 1));
            }
            ')' if depth == 1 => return Some((sql.get(begin?..at)?, sql.get(at + 1..)?)),
            ')' => depth = depth.checked_sub(1)?,
            sign if begin.is_none() && !sign.is_whitespace() => return None,
            _ => {}
        }
    }
    None
}

fn loose(sql: &str, words: Words) -> &str {
    let sql = sql.trim();
    first(sql, words).unwrap_or(sql).trim_end_matches(';').trim_end()
}

/// What comes before the sign of the end; none if more than comments come after it.
fn first(sql: &str, words: Words) -> Option<&str> {
    let Some((end, _)) = signs(sql, words).find(|(_, sign)| *sign == ';') else {
        return Some(sql.trim());
    };
    let (first, rest) = sql.split_at(end);
    let more = signs(rest, words).any(|(_, sign)| sign != ';' && !sign.is_whitespace());
    (!more).then(|| first.trim())
}

/// The signs of a query outside of comments, with their places; of a text or a quoted name only its opening quote.
fn signs(sql: &str, words: Words) -> impl Iterator<Item = (usize, char)> {
    let mut place = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = sql.get(place..)?;
            let sign = rest.chars().next()?;
            let at = place;
            if begins_line_comment(rest, words) {
                place += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            if rest.starts_with("/*") {
                place += comment(rest, words);
                continue;
            }
            place += match sign {
                '\'' | '"' | '`' => {
                    let hides = match words {
                        Words::Standard => {
                            sign == '\'' && is_escaped(sql.get(..at).unwrap_or_default())
                        }
                        Words::Mysql => sign != '`',
                    };
                    quoted(rest, sign, hides)
                }
                _ => sign.len_utf8(),
            };
            return Some((at, sign));
        }
    })
}

fn begins_line_comment(text: &str, words: Words) -> bool {
    match (words, text.strip_prefix("--")) {
        (Words::Standard, after) => after.is_some(),
        (Words::Mysql, Some(after)) => {
            after.chars().next().is_none_or(|sign| sign.is_whitespace() || sign.is_control())
        }
        (Words::Mysql, None) => text.starts_with('#'),
    }
}

/// Whether what stands before a quote makes backslashes in it hide what follows them: `E'it\'s'`.
fn is_escaped(before: &str) -> bool {
    let word = before.strip_suffix(['e', 'E']);
    word.is_some_and(|word| !word.ends_with(|sign: char| sign.is_alphanumeric() || sign == '_'))
}

/// How long the text or name is that begins with this quote; a doubled quote ends one and begins the next.
fn quoted(text: &str, quote: char, hides: bool) -> usize {
    let mut hidden = false;
    for (at, sign) in text.char_indices().skip(1) {
        if hidden {
            hidden = false;
        } else if hides && sign == '\\' {
            hidden = true;
        } else if sign == quote {
            return at + 1;
        }
    }
    text.len()
}

/// How long the comment is that a text begins with, with those that are in it.
fn comment(text: &str, words: Words) -> usize {
    let mut depth = 0_usize;
    let mut place = 0;
    while let Some(rest) = text.get(place..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") && (depth == 0 || words == Words::Standard) {
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
    fn brackets_end_where_they_began_whatever_is_quoted_in_them() {
        for (sql, expected) in [
            (" (a) b", Some(("a", " b"))),
            ("/* ( */ (f(')', \")\") -- )\n) to", Some(("f(')', \")\") -- )\n", " to"))),
            ("(E'\\')' || (x))", Some(("E'\\')' || (x)", ""))),
            ("a (b)", None),
            ("(a", None),
            (")", None),
            ("", None),
        ] {
            assert_eq!(bracketed(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_script_is_its_statements() {
        let script = "select ';' as \"a;b\" ; -- one; two\n;/* three; */ select e'\\';'; \n";
        assert_eq!(all(script), ["select ';' as \"a;b\"", "/* three; */ select e'\\';'"]);
        assert_eq!(all(" ; ;; -- nothing"), [""; 0]);
    }

    #[test]
    fn the_sign_of_the_end_and_comments_after_it_are_left_out() {
        for (sql, expected) in [
            ("select 1", "select 1"),
            (" select 1 ;\n", "select 1"),
            ("select 1; -- note", "select 1"),
            ("select 1 -- a; b\n", "select 1 -- a; b"),
            ("select 1 /* a; /* b; */ c; */ ;; /* d */", "select 1 /* a; /* b; */ c; */"),
            ("select 'a;''b', \"c;\" ; -- 再见", "select 'a;''b', \"c;\""),
            ("select `a;b`; -- c", "select `a;b`"),
            ("select '再;见' as unit_id", "select '再;见' as unit_id"),
            ("select 'open;", "select 'open;"),
            (r"select E'it\'s;' ; -- a", r"select E'it\'s;'"),
            (r"select 'a\' ; -- it's", r"select 'a\'"),
            (r"select some'a\' ;", r"select some'a\'"),
            ("", ""),
        ] {
            assert_eq!(one("q", sql).unwrap(), expected, "{sql}");
        }
    }

    #[test]
    fn two_statements_are_told() {
        for sql in ["select 1; select 2", "select 1;-- a\nselect 2", "select 1; 'x'"] {
            let error = one("policy \"p\": audience", sql).unwrap_err();
            assert_eq!(error.message(), "policy \"p\": audience is more than one statement");
            assert!(error.hint_text().unwrap().contains("without `;`"));
        }
    }

    #[test]
    fn what_others_refuse_keeps_all_but_its_last_signs() {
        for (sql, expected) in [
            (" select 1; -- note\n", "select 1"),
            ("select 1 -- a; b", "select 1 -- a; b"),
            ("select 1; select 2; ", "select 1; select 2"),
            ("select 'a;b' ;", "select 'a;b'"),
            (";", ""),
        ] {
            assert_eq!(bare(sql), expected, "{sql}");
        }
    }

    #[test]
    fn mysql_has_words_of_its_own() {
        for (sql, expected) in [
            ("select 1; # it's a note", "select 1"),
            ("select 1; -- note", "select 1"),
            (r"select 'it\'s; 1', `a;b`; -- note", r"select 'it\'s; 1', `a;b`"),
            (r#"select "a\"; -- b";"#, r#"select "a\"; -- b""#),
            ("select 5--3; -- note", "select 5--3"),
            ("select 1 /* /* a; */; -- note", "select 1 /* /* a; */"),
            (r"select `a\`; -- it's", r"select `a\`"),
        ] {
            assert_eq!(bare_mysql(sql), expected, "{sql}");
        }
    }
}
