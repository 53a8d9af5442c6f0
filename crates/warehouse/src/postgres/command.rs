//! Statements that are about the session itself: settings, transactions, cursors. All others are queries.

use flywheel_base::{Error, Result, statement};

use super::copy::{Copying, Way, copy};

/// The statements of a script, one after the other.
#[must_use]
pub fn split(sql: &str) -> Vec<&str> {
    statement::all(sql)
}

/// What a statement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// An answer in rows.
    Query,
    /// Nothing.
    Empty,
    /// To begin a transaction.
    Begin,
    /// To end it; whether well.
    End(bool),
    /// To set a mark in it, or to go back to one or forget it; the word that says so.
    Mark(&'static str),
    /// To give a setting a value, or with none its usual one.
    Set {
        /// The setting, in lower case.
        name: String,
        /// The value.
        value: Option<String>,
    },
    /// To give all settings their usual values.
    Reset,
    /// The same, and to forget what was prepared.
    Discard,
    /// To say the value of a setting, in lower case, or of all.
    Show(String),
    /// To forget a prepared statement, or all.
    Deallocate(Option<String>),
    /// To open a cursor.
    Declare {
        /// Its name.
        name: String,
        /// Its query.
        query: String,
        /// Whether it outlives its transaction.
        hold: bool,
    },
    /// To read from it.
    Fetch(Fetch),
    /// To close it, or all.
    Close(Option<String>),
    /// To send rows as a stream.
    Copy(Box<Copying>),
    /// To take rows as a stream, into a table.
    CopyIn,
    /// Something that has no effect here; the word that says so.
    Ignored(&'static str),
}

/// Rows of a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Its name.
    pub name: String,
    /// How many; all if absent.
    pub count: Option<u64>,
}

impl Command {
    /// What a statement asks for.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is about the session and cannot be understood,
    /// [`flywheel_base::ErrorKind::Denied`] if it would write a file of the server.
    pub fn of(sql: &str) -> Result<Self> {
        let mut words = Words(sql);
        let Some(first) = words.next() else { return Ok(Self::Empty) };
        let Word::Plain(first) = first else { return Ok(Self::Query) };
        Ok(match first.as_str() {
            "begin" | "start" => Self::Begin,
            "commit" | "end" => Self::End(true),
            "abort" => Self::End(false),
            "rollback" => match words.any(|word| word.is("to")) {
                true => Self::Mark("ROLLBACK"),
                false => Self::End(false),
            },
            "savepoint" => Self::Mark("SAVEPOINT"),
            "release" => Self::Mark("RELEASE"),
            "set" => set(words)?,
            "reset" => {
                let name = words.name().ok_or_else(|| unclear("RESET"))?;
                if name == "all" { Self::Reset } else { Self::Set { name, value: None } }
            }
            "show" => return Ok(show(words).map_or(Self::Query, Self::Show)),
            "discard" => match words.name().as_deref() {
                Some("plans") => Self::Ignored("DISCARD PLANS"),
                Some("sequences") => Self::Ignored("DISCARD SEQUENCES"),
                Some("temp" | "temporary") => Self::Ignored("DISCARD TEMP"),
                _ => Self::Discard,
            },
            "deallocate" => {
                let mut name = words.name();
                if name.as_deref() == Some("prepare") {
                    name = words.name();
                }
                Self::Deallocate(name.filter(|name| name != "all"))
            }
            "declare" => declare(words)?,
            "fetch" => fetch(words)?,
            "close" => {
                let name = words.name().ok_or_else(|| unclear("CLOSE"))?;
                Self::Close(Some(name).filter(|name| name != "all"))
            }
            "copy" => match copy(words)? {
                Way::Out(copying) => Self::Copy(Box::new(copying)),
                Way::In => Self::CopyIn,
            },
            "listen" => Self::Ignored("LISTEN"),
            "unlisten" => Self::Ignored("UNLISTEN"),
            _ => Self::Query,
        })
    }
}

fn unclear(word: &str) -> Error {
    Error::invalid(format!("{word} is not understood as it stands here"))
}

/// `SET [SESSION | LOCAL] name {= | TO} value`, and its relatives.
fn set(mut words: Words<'_>) -> Result<Command> {
    let mut name = words.name().ok_or_else(|| unclear("SET"))?;
    if name == "session" || name == "local" {
        match words.name() {
            // `SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY`
            Some(next) if next == "characteristics" => return Ok(Command::Ignored("SET")),
            Some(next) => name = next,
            None => return Err(unclear("SET")),
        }
    }
    match name.as_str() {
        "transaction" | "constraints" => return Ok(Command::Ignored("SET")),
        "time" => {
            words.next();
            return Ok(Command::Set { name: "timezone".to_owned(), value: value(words) });
        }
        "names" => {
            return Ok(Command::Set { name: "client_encoding".to_owned(), value: value(words) });
        }
        _ => {}
    }
    match words.next() {
        Some(Word::Sign('=')) => {}
        Some(word) if word.is("to") => {}
        // `SET ROLE x`, `SET AUTHORIZATION x`
        Some(word) => {
            return Ok(Command::Set { name, value: Some(word.text()) });
        }
        None => return Err(unclear("SET")),
    }
    Ok(Command::Set { name, value: value(words) })
}

/// All that is left as one value; none if it is the usual one.
fn value(words: Words<'_>) -> Option<String> {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() && !text.ends_with([',', ' ', '-']) && !matches!(word, Word::Sign(_)) {
            text.push(' ');
        }
        text.push_str(&word.text());
    }
    (!text.is_empty() && !text.eq_ignore_ascii_case("default")).then_some(text)
}

/// The setting that is asked for; none if it is something that the engine shows.
fn show(mut words: Words<'_>) -> Option<String> {
    let name = words.name()?;
    Some(match name.as_str() {
        "tables" | "columns" | "functions" => return None,
        "transaction" => "transaction_isolation".to_owned(),
        "time" => "timezone".to_owned(),
        "session" => "session_authorization".to_owned(),
        _ => name,
    })
}

/// `DECLARE name [BINARY] [SCROLL] CURSOR [{WITH | WITHOUT} HOLD] FOR query`
fn declare(mut words: Words<'_>) -> Result<Command> {
    let name = words.name().ok_or_else(|| unclear("DECLARE"))?;
    let (mut with, mut hold) = (false, false);
    loop {
        match words.next() {
            Some(word) if word.is("binary") => {
                return Err(Error::invalid("cursors tell their rows as texts here")
                    .hint("Leave out BINARY."));
            }
            Some(word) if word.is("for") => break,
            Some(word) if word.is("hold") => hold = with,
            Some(Word::Plain(word)) => with = word == "with",
            _ => return Err(unclear("DECLARE")),
        }
    }
    Ok(Command::Declare { name, query: words.0.trim().to_owned(), hold })
}

/// `FETCH [FORWARD] [n | ALL | NEXT] [FROM | IN] name`
fn fetch(words: Words<'_>) -> Result<Command> {
    let mut count = Some(1);
    let mut name = None;
    for word in words {
        match &word {
            Word::Plain(text) => match text.as_str() {
                "forward" | "next" | "from" | "in" => {}
                "all" => count = None,
                "backward" | "prior" | "first" | "last" | "absolute" | "relative" => {
                    return Err(Error::invalid("cursors only go forward here")
                        .hint("Write FETCH FORWARD, or ask the query again."));
                }
                text => match text.parse::<u64>() {
                    Ok(number) => count = Some(number),
                    Err(_) => name = Some(text.to_owned()),
                },
            },
            Word::Quoted(text) => name = Some(text.clone()),
            _ => return Err(unclear("FETCH")),
        }
    }
    let name = name.ok_or_else(|| unclear("FETCH"))?;
    Ok(Command::Fetch(Fetch { name, count }))
}

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// In lower case.
    Plain(String),
    /// A name in quotes.
    Quoted(String),
    /// A text.
    Text(String),
    Sign(char),
}

impl Word {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Plain(text) if text == word)
    }

    pub(super) fn text(self) -> String {
        match self {
            Self::Plain(text) | Self::Quoted(text) | Self::Text(text) => text,
            Self::Sign(sign) => sign.to_string(),
        }
    }
}

/// The parts of a statement, without comments.
pub(super) struct Words<'s>(pub(super) &'s str);

impl Words<'_> {
    /// The next part, if it is a name.
    pub(super) fn name(&mut self) -> Option<String> {
        match self.next()? {
            Word::Plain(text) | Word::Quoted(text) => Some(text),
            _ => None,
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }

    /// What stands between quotes, of which two are one.
    fn quoted(&mut self, quote: char) -> String {
        let (mut text, rest) = (String::new(), self.0);
        let mut signs = rest.char_indices().skip(1).peekable();
        while let Some((at, sign)) = signs.next() {
            if sign != quote {
                text.push(sign);
            } else if signs.peek().is_some_and(|(_, next)| *next == quote) {
                text.push(quote);
                signs.next();
            } else {
                self.skip(at + 1);
                return text;
            }
        }
        self.0 = "";
        text
    }

    /// What stands between quotes in which a backslash hides what follows it, as in `E'\t'`.
    fn escaped(&mut self) -> String {
        let (mut text, rest) = (String::new(), self.0);
        let mut signs = rest.char_indices().skip(1).peekable();
        while let Some((at, sign)) = signs.next() {
            match sign {
                '\\' => text.extend(signs.next().map(|(_, hidden)| match hidden {
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    'b' => '\x08',
                    'f' => '\x0c',
                    other => other,
                })),
                '\'' if signs.peek().is_some_and(|(_, next)| *next == '\'') => {
                    text.push('\'');
                    signs.next();
                }
                '\'' => {
                    self.skip(at + 1);
                    return text;
                }
                sign => text.push(sign),
            }
        }
        self.0 = "";
        text
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        loop {
            self.0 = self.0.trim_start();
            if self.0.starts_with("--") {
                let end = self.0.find('\n').unwrap_or(self.0.len());
                self.skip(end);
            } else if self.0.starts_with("/*") {
                let end = self.0.find("*/").map_or(self.0.len(), |end| end + 2);
                self.skip(end);
            } else {
                break;
            }
        }
        let sign = self.0.chars().next()?;
        let plain = |sign: char| sign.is_alphanumeric() || matches!(sign, '_' | '.');
        Some(match sign {
            '\'' => Word::Text(self.quoted(sign)),
            '"' => Word::Quoted(self.quoted(sign)),
            'e' | 'E' if self.0.get(1..2) == Some("'") => {
                self.skip(1);
                Word::Text(self.escaped())
            }
            sign if plain(sign) => {
                let end = self.0.find(|sign: char| !plain(sign)).unwrap_or(self.0.len());
                let word = self.0.get(..end).unwrap_or_default().to_lowercase();
                self.skip(end);
                Word::Plain(word)
            }
            sign => {
                self.skip(sign.len_utf8());
                Word::Sign(sign)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: Option<&str>) -> Command {
        Command::Set { name: name.to_owned(), value: value.map(str::to_owned) }
    }

    #[test]
    fn statements_about_the_session_are_told_apart() {
        let declare = |query: &str, hold| Command::Declare {
            name: "c".to_owned(),
            query: query.to_owned(),
            hold,
        };
        let fetch = |count| Command::Fetch(Fetch { name: "c".to_owned(), count });
        for (sql, expected) in [
            ("-- nothing", Command::Empty),
            ("select 1", Command::Query),
            ("(select 1)", Command::Query),
            ("BEGIN READ ONLY", Command::Begin),
            ("START TRANSACTION ISOLATION LEVEL REPEATABLE READ", Command::Begin),
            ("/* a */ commit", Command::End(true)),
            ("ROLLBACK", Command::End(false)),
            ("ROLLBACK TO SAVEPOINT s", Command::Mark("ROLLBACK")),
            ("SET extra_float_digits = 3", set("extra_float_digits", Some("3"))),
            ("set session search_path TO raw, \"Public\"", set("search_path", Some("raw,Public"))),
            ("SET TIME ZONE 'Europe/Berlin'", set("timezone", Some("Europe/Berlin"))),
            ("SET application_name TO DEFAULT", set("application_name", None)),
            ("SET application_name = E'it\\'s'", set("application_name", Some("it's"))),
            ("SET application_name = E'it''s'", set("application_name", Some("it's"))),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command::Ignored("SET")),
            ("RESET ALL", Command::Reset),
            ("DISCARD ALL", Command::Discard),
            ("DISCARD PLANS", Command::Ignored("DISCARD PLANS")),
            ("show transaction isolation level", Command::Show("transaction_isolation".to_owned())),
            ("SHOW TABLES", Command::Query),
            ("DEALLOCATE ALL", Command::Deallocate(None)),
            ("DEALLOCATE PREPARE s", Command::Deallocate(Some("s".to_owned()))),
            ("FETCH FORWARD 20 FROM \"c\"", fetch(Some(20))),
            ("fetch all in c", fetch(None)),
            ("FETCH NEXT c", fetch(Some(1))),
            ("CLOSE c", Command::Close(Some("c".to_owned()))),
            (
                "DECLARE \"c\" CURSOR WITH HOLD FOR select 'for' as x",
                declare("select 'for' as x", true),
            ),
            ("declare c cursor without hold for select 1", declare("select 1", false)),
        ] {
            assert_eq!(Command::of(sql).unwrap(), expected, "{sql}");
        }
        for sql in
            ["SET", "FETCH BACKWARD 1 FROM c", "DECLARE c BINARY CURSOR FOR select 1", "CLOSE"]
        {
            assert!(Command::of(sql).is_err(), "{sql}");
        }
    }
}
