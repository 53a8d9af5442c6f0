//! From characters to tokens.

use super::Mistake;

/// The longest expression, in bytes.
const TEXT_MAX: usize = 10_000;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word(String),
    /// A number.
    Number(String),
    /// A text between single quotes.
    Text(String),
    /// An operator, a bracket, a comma or a dot.
    Sign(&'static str),
}

/// A token and its place in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
    pub(super) length: usize,
}

const SIGNS: &[&str] =
    &["<>", "!=", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "(", ")", ",", "."];

/// Splits a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Mistake> {
    let fault = |message: String, hint: &str, at, length| Mistake {
        message,
        hint: hint.to_owned(),
        at,
        length,
    };
    if text.len() > TEXT_MAX {
        let message = format!("the expression is longer than {TEXT_MAX} bytes");
        return Err(fault(message, "Divide it into several metrics.", 0, 1));
    }
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let c = rest.chars().next().unwrap_or(' ');
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (kind, length) = if c.is_alphabetic() || c == '_' {
            let length = until(rest, |c| c.is_alphanumeric() || c == '_');
            (Kind::Word(rest[..length].to_owned()), length)
        } else if c.is_ascii_digit() {
            let length = until(rest, |c| c.is_ascii_digit() || c == '.');
            let number = &rest[..length];
            if number.parse::<f64>().is_err() || number.ends_with('.') {
                let message = format!("\"{number}\" is no number");
                return Err(fault(message, "Write numbers as 12 or 0.25.", at, length));
            }
            (Kind::Number(number.to_owned()), length)
        } else if c == '\'' {
            quoted(rest).ok_or_else(|| {
                let message = "a text has no end".to_owned();
                fault(
                    message,
                    "Close it with a single quote; a quote inside is written twice.",
                    at,
                    1,
                )
            })?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Kind::Sign(sign), sign.len())
        } else {
            let hint = match c {
                '"' | '“' | '”' | '‘' | '’' => "Write texts between single quotes: 'app'.",
                ';' => "Write one condition; several are joined by and.",
                _ => {
                    "Use names, numbers, 'texts', and, or, not, = <> < <= > >= + - * / and brackets."
                }
            };
            return Err(fault(format!("\"{c}\" has no meaning here"), hint, at, c.len_utf8()));
        };
        if kind == Kind::Sign("-") && rest.starts_with("--") {
            let hint = "Leave comments out; write - - for a double negation.";
            return Err(fault("comments have no place here".to_owned(), hint, at, 2));
        }
        out.push(Token { kind, at, length });
        at += length;
    }
    Ok(out)
}

fn until(text: &str, inside: impl Fn(char) -> bool) -> usize {
    text.find(|c: char| !inside(c)).unwrap_or(text.len())
}

/// A text between single quotes at the start of `rest`, and its length with the quotes.
fn quoted(rest: &str) -> Option<(Kind, usize)> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c != '\'' {
            text.push(c);
        } else if characters.next_if(|(_, next)| *next == '\'').is_some() {
            text.push('\'');
        } else {
            return Some((Kind::Text(text), at + 1));
        }
    }
    None
}
