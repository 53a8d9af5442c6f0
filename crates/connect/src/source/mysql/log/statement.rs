//! What a statement in the log does to a table. It is not parsed as a whole, only looked at: a
//! statement that is taken for more than it is costs a look at the columns or a stop, never a row.

mod alter;

use std::iter::Peekable;
use std::str::Chars;

pub(super) use self::alter::Alter;
use self::alter::{Altered, altered};

/// What can stand before the word `TABLE`. A temporary table is another one, whatever its name.
const BEFORE_TABLE: [&str; 6] = ["ALTER", "CREATE", "OR", "REPLACE", "ONLINE", "IGNORE"];

/// What a statement does to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Its columns may be others.
    Columns(Alter),
    /// It has no rows any more.
    Emptied,
    /// It is another table now, or none.
    Gone,
    /// Rows change, and the log does not tell which.
    Rows,
}

/// A sign of a statement that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A word as it is written.
    Word(String),
    /// A name in quotes, which is never a keyword.
    Name(String),
    /// Any other sign.
    Sign(char),
}

impl Token {
    /// The word or name.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Name(text) => Some(text),
            Self::Sign(_) => None,
        }
    }

    /// Whether it is a keyword.
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Where a table stands: its database and its name.
type Place = (String, String);

/// What a statement, run in `database`, does to the table at `place`.
pub(super) fn effect(sql: &str, database: &str, place: &Place) -> Effect {
    let tokens = tokens(sql);
    let (wanted_database, wanted) = place;
    let texts = || tokens.iter().filter_map(Token::text);
    let named = |name: &str| texts().any(|text| text.eq_ignore_ascii_case(name));
    let has = |keyword: &str| tokens.iter().any(|token| token.is(keyword));
    let first = texts().next().unwrap_or_default().to_ascii_uppercase();
    let second = texts().nth(1).unwrap_or_default().to_ascii_uppercase();
    if first == "DROP" && matches!(second.as_str(), "DATABASE" | "SCHEMA") {
        return if named(wanted_database) { Effect::Gone } else { Effect::None };
    }
    if !named(wanted) || (database != wanted_database && !named(wanted_database)) {
        return Effect::None;
    }
    match first.as_str() {
        "TRUNCATE" => Effect::Emptied,
        // An index can be the key.
        "DROP" if second == "INDEX" => Effect::Columns(Alter::default()),
        "CREATE" if second == "UNIQUE" => Effect::Columns(Alter::default()),
        "ALTER" | "CREATE" => match subject(&tokens) {
            Some((of, name, rest)) if is_place(of.unwrap_or(database), name, place) => {
                if first == "CREATE" {
                    // The table is there, or the log would have said before that it is not.
                    let kept = has("EXISTS") && !has("REPLACE");
                    return if kept { Effect::None } else { Effect::Gone };
                }
                // From here on the log has rows of the past among those of now.
                let versioned =
                    |two: &[Token]| matches!(two, [a, b] if a.is("SYSTEM") && b.is("VERSIONING"));
                if rest.windows(2).any(versioned) {
                    return Effect::Gone;
                }
                match altered(rest) {
                    Altered::Columns(alter) => Effect::Columns(alter),
                    Altered::Rows => Effect::Emptied,
                    Altered::Name => Effect::Gone,
                }
            }
            // Partitions of another table and rows of this one change places.
            Some(_) if has("EXCHANGE") || has("CONVERT") => Effect::Emptied,
            _ => Effect::None,
        },
        "RENAME" => Effect::Gone,
        "DROP" if second == "TABLE" => Effect::Gone,
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "WITH" => Effect::Rows,
        _ => Effect::None,
    }
}

fn is_place(database: &str, name: &str, place: &Place) -> bool {
    database.eq_ignore_ascii_case(&place.0) && name.eq_ignore_ascii_case(&place.1)
}

/// The table that is made or altered, with its database if that is named, and what follows; none if
/// the statement is about something else, such as a procedure that has statements of its own.
fn subject(tokens: &[Token]) -> Option<(Option<&str>, &str, &[Token])> {
    let before = |token: &Token| BEFORE_TABLE.iter().any(|word| token.is(word));
    let at = tokens.iter().position(|token| !before(token))?;
    if !tokens.get(at)?.is("TABLE") {
        return None;
    }
    let mut rest = tokens.get(at + 1..)?;
    if rest.first()?.is("IF") {
        let exists = rest.iter().position(|token| token.is("EXISTS"))?;
        rest = rest.get(exists + 1..)?;
    }
    let name = rest.first()?.text()?;
    match rest.get(1) {
        Some(Token::Sign('.')) => {
            Some((Some(name), rest.get(2)?.text()?, rest.get(3..).unwrap_or_default()))
        }
        _ => Some((None, name, rest.get(1..).unwrap_or_default())),
    }
}

/// Whether what follows a `-` makes it the start of a comment.
fn comment_follows(rest: &Peekable<Chars<'_>>) -> bool {
    let mut next = rest.clone();
    next.next() == Some('-') && next.next().is_none_or(char::is_whitespace)
}

/// A statement without comments, texts and spaces.
fn tokens(sql: &str) -> Vec<Token> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = sql.chars().peekable();
    let end = |word: &mut String, words: &mut Vec<Token>| {
        if !word.is_empty() {
            words.push(Token::Word(std::mem::take(word)));
        }
    };
    while let Some(letter) = rest.next() {
        match letter {
            '`' => {
                end(&mut word, &mut words);
                words.push(Token::Name(rest.by_ref().take_while(|l| *l != '`').collect()));
            }
            '/' if rest.peek() == Some(&'*') => {
                end(&mut word, &mut words);
                let mut last = ' ';
                rest.next();
                // What stands in `/*!40000 … */` is run and therefore looked at.
                if rest.peek() == Some(&'!') {
                    rest.next();
                    while rest.peek().is_some_and(char::is_ascii_digit) {
                        rest.next();
                    }
                    continue;
                }
                for letter in rest.by_ref() {
                    if last == '*' && letter == '/' {
                        break;
                    }
                    last = letter;
                }
            }
            '\'' | '"' => {
                end(&mut word, &mut words);
                let mut text = String::new();
                while let Some(other) = rest.next() {
                    match other {
                        '\\' => text.extend(rest.next()),
                        _ if other == letter => break,
                        _ => text.push(other),
                    }
                }
                // With `ANSI_QUOTES` it is a name; a text that is taken for one does no harm.
                if letter == '"' {
                    words.push(Token::Name(text));
                }
            }
            '#' => {
                end(&mut word, &mut words);
                rest.by_ref().take_while(|letter| *letter != '\n').for_each(drop);
            }
            // Two signs alone are arithmetic.
            '-' if comment_follows(&rest) => {
                end(&mut word, &mut words);
                rest.by_ref().take_while(|letter| *letter != '\n').for_each(drop);
            }
            letter if letter.is_alphanumeric() || matches!(letter, '_' | '$') => word.push(letter),
            _ => {
                end(&mut word, &mut words);
                if matches!(letter, '(' | ')' | ',' | '.') {
                    words.push(Token::Sign(letter));
                }
            }
        }
    }
    end(&mut word, &mut words);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(names: &[&str]) -> Effect {
        let added = names.iter().map(|name| ((*name).to_owned(), false)).collect();
        Effect::Columns(Alter { added, ..Alter::default() })
    }

    fn renamed(pairs: &[(&str, &str)]) -> Effect {
        let pair = |(old, new): &(&str, &str)| ((*old).to_owned(), (*new).to_owned());
        let renamed = pairs.iter().map(pair).collect();
        Effect::Columns(Alter { renamed, ..Alter::default() })
    }

    #[test]
    fn statements_have_the_effect_they_have() {
        let place = ("shop".to_owned(), "orders".to_owned());
        for (sql, expected) in [
            ("TRUNCATE orders", Effect::Emptied),
            ("truncate table `shop`.`orders`", Effect::Emptied),
            ("TRUNCATE TABLE other", Effect::None),
            ("/* job */ ALTER TABLE orders ADD COLUMN v INT", added(&["v"])),
            ("ALTER TABLE orders RENAME COLUMN a TO b", renamed(&[("a", "b")])),
            ("ALTER TABLE orders ADD v INT, RENAME TO old", Effect::Gone),
            ("ALTER TABLE orders RENAME TO old", Effect::Gone),
            ("ALTER TABLE orders TRUNCATE PARTITION p0", Effect::Emptied),
            ("ALTER TABLE orders ADD v INT, ADD SYSTEM VERSIONING", Effect::Gone),
            ("RENAME TABLE fresh TO orders", Effect::Gone),
            ("DROP TABLE IF EXISTS `orders` /* generated by server */", Effect::Gone),
            ("CREATE OR REPLACE TABLE orders (id INT)", Effect::Gone),
            ("CREATE TABLE IF NOT EXISTS orders (id INT)", Effect::None),
            ("CREATE TABLE lines (o INT REFERENCES orders (id))", Effect::None),
            ("CREATE TABLE orders_2 LIKE orders", Effect::None),
            ("ALTER TABLE lines ADD FOREIGN KEY (o) REFERENCES orders (id)", Effect::None),
            ("ALTER TABLE old EXCHANGE PARTITION p WITH TABLE orders", Effect::Emptied),
            ("DROP DATABASE shop", Effect::Gone),
            ("UPDATE orders SET v = 1", Effect::Rows),
            ("INSERT INTO log VALUES ('orders')", Effect::None),
            ("CREATE INDEX i ON orders (v)", Effect::None),
            ("CREATE UNIQUE INDEX i ON orders (v)", added(&[])),
            ("DROP INDEX `PRIMARY` ON orders", added(&[])),
            ("CREATE PROCEDURE p() BEGIN TRUNCATE TABLE orders; END", Effect::None),
            ("CREATE TEMPORARY TABLE orders (id INT)", Effect::None),
            ("ALTER ONLINE TABLE \"orders\" ADD \"v\" INT", added(&["v"])),
            ("TRUNCATE TABLE \"shop\".\"orders\"", Effect::Emptied),
            ("ALTER TABLE orders ADD v INT DEFAULT (1--1), RENAME TO old", Effect::Gone),
            ("ALTER TABLE orders WAIT 5 RENAME COLUMN a TO b", renamed(&[("a", "b")])),
            ("/*!40000 ALTER TABLE orders DISABLE KEYS */", added(&[])),
            ("ALTER TABLE orders COMMENT 'it\\'s, RENAME TO x' -- truncate", added(&[])),
        ] {
            assert_eq!(effect(sql, "shop", &place), expected, "{sql}");
        }
        assert_eq!(effect("TRUNCATE orders", "other", &place), Effect::None);
        assert_eq!(effect("TRUNCATE shop.orders", "other", &place), Effect::Emptied);
    }
}
