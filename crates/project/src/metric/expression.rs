//! Conditions on dimensions and arithmetic over metrics: a small language that cannot reach tables.
//!
//! Filters come from files, command lines and programs, so they are parsed here rather than pasted
//! into SQL: names become what the caller binds them to, everything else is a literal, an operator or
//! one of [`FUNCTIONS`]. Division by zero gives null.

mod parse;
mod token;

use std::collections::BTreeSet;

use flywheel_base::{Error, Result};

/// The functions that can be called, each with the smallest and the largest number of arguments.
pub const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("abs", 1, 1),
    ("ceil", 1, 1),
    ("coalesce", 1, 16),
    ("exp", 1, 1),
    ("floor", 1, 1),
    ("greatest", 1, 16),
    ("least", 1, 16),
    ("length", 1, 1),
    ("ln", 1, 1),
    ("lower", 1, 1),
    ("nullif", 2, 2),
    ("power", 2, 2),
    ("round", 1, 2),
    ("sqrt", 1, 1),
    ("trim", 1, 1),
    ("upper", 1, 1),
];

/// A condition or an arithmetic expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A dimension or a metric, with the parts of its path and its place.
    Name(Name),
    /// A number, as it is written.
    Number(String),
    /// A text.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// `date '2024-01-31'`.
    Date(String),
    /// `timestamp '2024-01-31 12:00:00'`.
    Timestamp(String),
    /// `not x`.
    Not(Box<Expression>),
    /// `-x`.
    Negative(Box<Expression>),
    /// `x and y`, `x + y`, `x <= y`.
    Binary(Operator, Box<Expression>, Box<Expression>),
    /// `x [not] in (…)`.
    In {
        /// What is looked for.
        of: Box<Expression>,
        /// Where it is looked for.
        list: Vec<Expression>,
        /// Whether it must not be there.
        negated: bool,
    },
    /// `x [not] between y and z`.
    Between {
        /// What is looked at.
        of: Box<Expression>,
        /// The lower end.
        low: Box<Expression>,
        /// The upper end.
        high: Box<Expression>,
        /// Whether it must lie outside.
        negated: bool,
    },
    /// `x [not] like 'a%'`.
    Like {
        /// What is looked at.
        of: Box<Expression>,
        /// The pattern.
        pattern: String,
        /// Whether it must not match.
        negated: bool,
    },
    /// `x is [not] null`.
    IsNull {
        /// What is looked at.
        of: Box<Expression>,
        /// Whether there must be a value.
        negated: bool,
    },
    /// A call of one of [`FUNCTIONS`].
    Call(&'static str, Vec<Expression>),
    /// `case when x then y else z end`.
    Case(Vec<(Expression, Expression)>, Option<Box<Expression>>),
    /// A value as a text, which nobody writes: what `true` and `false` are called is compared so.
    AsText(Box<Expression>),
    /// `cast(x as double)`: a number with a fraction.
    AsNumber(Box<Expression>),
}

/// A name in an expression.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The parts between the dots.
    pub parts: Vec<String>,
    /// Where it starts, in bytes.
    pub at: usize,
    /// How long it is, in bytes.
    pub length: usize,
}

impl Name {
    /// The name as it is written.
    #[must_use]
    pub fn text(&self) -> String {
        self.parts.join(".")
    }
}

/// An operator between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `or`
    Or,
    /// `and`
    And,
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `*`
    Times,
    /// `/`
    Divide,
}

impl Operator {
    fn sql(self) -> &'static str {
        match self {
            Self::Or => "OR",
            Self::And => "AND",
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Divide => "/",
        }
    }

    /// Whether it compares two values.
    fn compares(self) -> bool {
        !matches!(
            self,
            Self::Or | Self::And | Self::Plus | Self::Minus | Self::Times | Self::Divide
        )
    }
}

/// A mistake in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// How it is mended.
    pub hint: String,
    /// Where, in bytes.
    pub at: usize,
    /// How long that is, in bytes.
    pub length: usize,
}

impl Mistake {
    /// The mistake as an error about `text`.
    #[must_use]
    pub fn into_error(self, text: &str) -> Error {
        let column = text.get(..self.at).map_or(0, |before| before.chars().count()) + 1;
        Error::invalid(format!("\"{text}\": {} at character {column}", self.message))
            .hint(self.hint)
    }
}

impl Expression {
    /// Parses a text.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        parse::parse(text)
    }

    /// Every name, in the order of the text.
    #[must_use]
    pub fn names(&self) -> Vec<&Name> {
        let mut names = Vec::new();
        self.walk(&mut |expression| {
            if let Self::Name(name) = expression {
                names.push(name);
            }
        });
        names
    }

    /// The names that are compared with a moment, `timestamp '…'`, and so by more than their day.
    #[must_use]
    pub fn names_of_moments(&self) -> BTreeSet<&Name> {
        let mut names = BTreeSet::new();
        let is_moment = |expression: &Self| matches!(expression, Self::Timestamp(_));
        self.walk(&mut |expression| {
            let (name, compared) = match expression {
                Self::Binary(operator, left, right) if operator.compares() => {
                    match (left.as_ref(), right.as_ref()) {
                        (Self::Name(name), other) | (other, Self::Name(name)) => {
                            (name, is_moment(other))
                        }
                        _ => return,
                    }
                }
                Self::Between { of, low, high, .. } => match of.as_ref() {
                    Self::Name(name) => (name, is_moment(low) || is_moment(high)),
                    _ => return,
                },
                Self::In { of, list, .. } => match of.as_ref() {
                    Self::Name(name) => (name, list.iter().any(is_moment)),
                    _ => return,
                },
                _ => return,
            };
            if compared {
                names.insert(name);
            }
        });
        names
    }

    /// Replaces texts that are compared with a name: `value` gives the text that is meant.
    pub fn resolve_values(&mut self, value: &dyn Fn(&Name, &str) -> Option<String>) {
        match self {
            Self::Binary(Operator::Equal | Operator::NotEqual, left, right) => {
                equal(left, right, value);
                equal(right, left, value);
            }
            Self::Binary(operator, left, right) if operator.compares() => {
                order(left, right, value);
                order(right, left, value);
            }
            Self::Between { of, low, high, .. } => {
                order(of, low, value);
                order(of, high, value);
            }
            Self::In { of, list, .. } => {
                let mut truths = false;
                for item in list.iter_mut() {
                    if let Some(text) = meant(of, item, value) {
                        truths |= is_truth(&text);
                        *item = Self::Text(text);
                    }
                }
                if truths {
                    as_text(of);
                    list.iter_mut().for_each(truth_as_text);
                }
            }
            _ => {}
        }
        self.each_child(&mut |child| child.resolve_values(value));
    }

    /// The expression as SQL; `bind` says what a name means there.
    ///
    /// # Errors
    /// Those of `bind`.
    pub fn sql(&self, bind: &mut dyn FnMut(&Name) -> Result<String>) -> Result<String> {
        let mut out = String::new();
        self.write(&mut out, bind)?;
        Ok(out)
    }

    fn write(&self, out: &mut String, bind: &mut dyn FnMut(&Name) -> Result<String>) -> Result<()> {
        let not = |negated: bool| if negated { "NOT " } else { "" };
        match self {
            Self::Name(name) => out.push_str(&bind(name)?),
            Self::Number(number) => out.push_str(number),
            Self::Text(text) => out.push_str(&literal(text)),
            Self::Bool(value) => out.push_str(if *value { "TRUE" } else { "FALSE" }),
            Self::Null => out.push_str("NULL"),
            Self::Date(text) => {
                out.push_str("DATE ");
                out.push_str(&literal(text));
            }
            // Nanoseconds, which TIMESTAMP alone means, do not reach beyond 2262.
            Self::Timestamp(text) => {
                out.push_str(&format!("CAST({} AS TIMESTAMP(6))", literal(text)));
            }
            Self::Not(of) => wrap(out, "(NOT ", of, ")", bind)?,
            Self::Negative(of) => wrap(out, "(- ", of, ")", bind)?,
            Self::Binary(Operator::Divide, left, right) => {
                wrap(out, "(CAST(", left, " AS DOUBLE)", bind)?;
                wrap(out, " / NULLIF(CAST(", right, " AS DOUBLE), 0))", bind)?;
            }
            Self::Binary(operator, left, right) => {
                wrap(out, "(", left, "", bind)?;
                wrap(out, &format!(" {} ", operator.sql()), right, ")", bind)?;
            }
            Self::In { of, list, negated } => {
                wrap(out, "(", of, &format!(" {}IN (", not(*negated)), bind)?;
                list_of(out, list, bind)?;
                out.push_str("))");
            }
            Self::Between { of, low, high, negated } => {
                wrap(out, "(", of, &format!(" {}BETWEEN ", not(*negated)), bind)?;
                low.write(out, bind)?;
                wrap(out, " AND ", high, ")", bind)?;
            }
            Self::Like { of, pattern, negated } => {
                let end = format!(" {}LIKE {})", not(*negated), literal(pattern));
                wrap(out, "(", of, &end, bind)?;
            }
            Self::IsNull { of, negated } => {
                wrap(out, "(", of, &format!(" IS {}NULL)", not(*negated)), bind)?;
            }
            Self::Call(name, arguments) => {
                out.push_str(name);
                out.push('(');
                list_of(out, arguments, bind)?;
                out.push(')');
            }
            Self::Case(branches, otherwise) => {
                out.push_str("CASE");
                for (condition, value) in branches {
                    wrap(out, " WHEN ", condition, " THEN ", bind)?;
                    value.write(out, bind)?;
                }
                if let Some(otherwise) = otherwise {
                    wrap(out, " ELSE ", otherwise, "", bind)?;
                }
                out.push_str(" END");
            }
            Self::AsText(of) => wrap(out, "CAST(", of, " AS VARCHAR)", bind)?,
            Self::AsNumber(of) => wrap(out, "CAST(", of, " AS DOUBLE)", bind)?,
        }
        Ok(())
    }

    fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Name(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Bool(_)
            | Self::Null
            | Self::Date(_)
            | Self::Timestamp(_) => {}
            Self::Not(of)
            | Self::Negative(of)
            | Self::AsText(of)
            | Self::AsNumber(of)
            | Self::Like { of, .. }
            | Self::IsNull { of, .. } => {
                of.walk(visit);
            }
            Self::Binary(_, left, right) => {
                left.walk(visit);
                right.walk(visit);
            }
            Self::In { of, list, .. } => {
                of.walk(visit);
                list.iter().for_each(|item| item.walk(visit));
            }
            Self::Between { of, low, high, .. } => {
                [of, low, high].into_iter().for_each(|part| part.walk(visit));
            }
            Self::Call(_, arguments) => arguments.iter().for_each(|item| item.walk(visit)),
            Self::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    condition.walk(visit);
                    value.walk(visit);
                }
                if let Some(otherwise) = otherwise {
                    otherwise.walk(visit);
                }
            }
        }
    }

    fn each_child(&mut self, visit: &mut dyn FnMut(&mut Self)) {
        match self {
            Self::Name(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Bool(_)
            | Self::Null
            | Self::Date(_)
            | Self::Timestamp(_) => {}
            Self::Not(of)
            | Self::Negative(of)
            | Self::AsText(of)
            | Self::AsNumber(of)
            | Self::Like { of, .. }
            | Self::IsNull { of, .. } => {
                visit(of);
            }
            Self::Binary(_, left, right) => {
                visit(left);
                visit(right);
            }
            Self::In { of, list, .. } => {
                visit(of);
                list.iter_mut().for_each(visit);
            }
            Self::Between { of, low, high, .. } => {
                [of, low, high].into_iter().for_each(|part| visit(part));
            }
            Self::Call(_, arguments) => arguments.iter_mut().for_each(visit),
            Self::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    visit(condition);
                    visit(value);
                }
                if let Some(otherwise) = otherwise {
                    visit(otherwise);
                }
            }
        }
    }
}

/// The text that is meant by one that is compared with a name.
fn meant(
    name: &Expression,
    text: &Expression,
    value: &dyn Fn(&Name, &str) -> Option<String>,
) -> Option<String> {
    match (name, text) {
        (Expression::Name(name), Expression::Text(text)) => value(name, text),
        _ => None,
    }
}

/// Replaces a text by what is meant where `name` is a name.
fn equal(
    name: &mut Expression,
    text: &mut Expression,
    value: &dyn Fn(&Name, &str) -> Option<String>,
) {
    let Some(found) = meant(name, text, value) else { return };
    // Whether a column has texts or truth values is not known here: as texts they are alike.
    if is_truth(&found) {
        as_text(name);
    }
    *text = Expression::Text(found);
}

/// Replaces a text by what is meant where a larger and a smaller one are told apart: numbers as numbers.
fn order(name: &Expression, text: &mut Expression, value: &dyn Fn(&Name, &str) -> Option<String>) {
    if let Some(found) = meant(name, text, value) {
        *text = match is_number(&found) {
            true => Expression::Number(found),
            false => Expression::Text(found),
        };
    }
}

fn is_truth(text: &str) -> bool {
    matches!(text, "true" | "false")
}

/// Whether a text is a number as SQL writes it, without zeros at its beginning, which codes have.
fn is_number(text: &str) -> bool {
    let bare = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = bare.split_once('.').unwrap_or((bare, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(part) && (whole == "0" || !whole.starts_with('0'))
}

fn as_text(of: &mut Expression) {
    let inner = std::mem::replace(of, Expression::Null);
    *of = Expression::AsText(Box::new(inner));
}

fn truth_as_text(item: &mut Expression) {
    if let Expression::Bool(truth) = item {
        *item = Expression::Text(truth.to_string());
    }
}

fn wrap(
    out: &mut String,
    before: &str,
    inner: &Expression,
    after: &str,
    bind: &mut dyn FnMut(&Name) -> Result<String>,
) -> Result<()> {
    out.push_str(before);
    inner.write(out, bind)?;
    out.push_str(after);
    Ok(())
}

fn list_of(
    out: &mut String,
    list: &[Expression],
    bind: &mut dyn FnMut(&Name) -> Result<String>,
) -> Result<()> {
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        item.write(out, bind)?;
    }
    Ok(())
}

/// A text as an SQL literal.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests;
