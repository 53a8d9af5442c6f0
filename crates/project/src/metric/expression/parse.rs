//! From tokens to an expression, by descent; each level of precedence is a function.

use flywheel_base::{Timestamp, suggest};

use super::token::{Kind, Token, tokens};
use super::{Expression, FUNCTIONS, Mistake, Name, Operator};

/// How deep brackets and operators may nest.
const DEPTH_MAX: usize = 64;

/// How many values a list may have.
const LIST_MAX: usize = 1_000;

/// Words with a meaning of their own, which cannot be names.
const KEYWORDS: &[&str] = &[
    "and", "or", "not", "in", "between", "like", "is", "null", "true", "false", "case", "when",
    "then", "else", "end",
];

/// What databases call numbers with a fraction.
const FRACTIONS: &[&str] =
    &["decimal", "double", "float", "float4", "float64", "float8", "number", "numeric", "real"];

/// Parses a whole text.
pub(super) fn parse(text: &str) -> Result<Expression, Mistake> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, end: text.len(), depth: 0 };
    let expression = parser.any()?;
    match parser.peek() {
        None => Ok(expression),
        Some(_) => {
            Err(parser
                .unexpected("the expression ends before this", "Join conditions by and or or."))
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    end: usize,
    depth: usize,
}

type Parsed = Result<Expression, Mistake>;

impl<'a> Parser<'a> {
    fn any(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let hint = "Divide it into several metrics.";
            return Err(self.unexpected("the expression nests too deeply", hint));
        }
        let mut left = self.all()?;
        while self.word("or") {
            left = binary(Operator::Or, left, self.all()?);
        }
        self.depth -= 1;
        Ok(left)
    }

    fn all(&mut self) -> Parsed {
        let mut left = self.negation()?;
        while self.word("and") {
            left = binary(Operator::And, left, self.negation()?);
        }
        Ok(left)
    }

    fn negation(&mut self) -> Parsed {
        let mut count = 0;
        while self.word("not") {
            count += 1;
        }
        let inner = self.comparison()?;
        Ok(if count % 2 == 1 { Expression::Not(Box::new(inner)) } else { inner })
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.sum()?;
        let operators = [
            ("=", Operator::Equal),
            ("<>", Operator::NotEqual),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            ("<", Operator::Less),
            (">=", Operator::GreaterOrEqual),
            (">", Operator::Greater),
        ];
        for (sign, operator) in operators {
            if self.sign(sign) {
                return Ok(binary(operator, left, self.sum()?));
            }
        }
        if self.word("is") {
            let negated = self.word("not");
            self.expect_word("null")?;
            return Ok(Expression::IsNull { of: Box::new(left), negated });
        }
        let negated = self.word("not");
        let of = Box::new(left);
        if self.word("in") {
            self.expect("(")?;
            let list = self.list(")")?;
            if list.is_empty() {
                let hint = "Write at least one value, as in ('app', 'web').";
                return Err(self.unexpected("the list is empty", hint));
            }
            return Ok(Expression::In { of, list, negated });
        }
        if self.word("between") {
            let low = Box::new(self.sum()?);
            self.expect_word("and")?;
            return Ok(Expression::Between { of, low, high: Box::new(self.sum()?), negated });
        }
        if self.word("like") {
            if let Some(Token { kind: Kind::Text(pattern), .. }) = self.peek() {
                self.at += 1;
                return Ok(Expression::Like { of, pattern: pattern.clone(), negated });
            }
            return Err(self.unexpected("like needs a text", "Write like 'north%'."));
        }
        if negated {
            let hint = "Write x not in (…), x not between y and z, or x not like '…'.";
            return Err(self.unexpected("not stands before nothing", hint));
        }
        Ok(*of)
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let operator = match () {
                () if self.sign("+") => Operator::Plus,
                () if self.sign("-") => Operator::Minus,
                () => return Ok(left),
            };
            left = binary(operator, left, self.product()?);
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.factor()?;
        loop {
            let operator = match () {
                () if self.sign("*") => Operator::Times,
                () if self.sign("/") => Operator::Divide,
                () => return Ok(left),
            };
            left = binary(operator, left, self.factor()?);
        }
    }

    fn factor(&mut self) -> Parsed {
        let mut count = 0;
        while self.sign("-") {
            count += 1;
        }
        let inner = self.atom()?;
        Ok(if count % 2 == 1 { Expression::Negative(Box::new(inner)) } else { inner })
    }

    fn atom(&mut self) -> Parsed {
        let Some(token) = self.peek() else {
            return Err(
                self.unexpected("something is missing at the end", "Complete the expression.")
            );
        };
        match &token.kind {
            Kind::Number(number) => {
                self.at += 1;
                Ok(Expression::Number(number.clone()))
            }
            Kind::Text(text) => {
                self.at += 1;
                Ok(Expression::Text(text.clone()))
            }
            Kind::Sign("(") => {
                self.at += 1;
                let inner = self.any()?;
                self.expect(")")?;
                Ok(inner)
            }
            Kind::Sign(_) => {
                Err(self.unexpected("a name or a value is missing", "Put one before this."))
            }
            Kind::Word(word) => self.named(&word.to_lowercase(), token),
        }
    }

    fn named(&mut self, word: &str, token: &'a Token) -> Parsed {
        match word {
            "true" | "false" => {
                self.at += 1;
                return Ok(Expression::Bool(word == "true"));
            }
            "null" => {
                self.at += 1;
                return Ok(Expression::Null);
            }
            "case" => {
                self.at += 1;
                return self.case();
            }
            _ if KEYWORDS.contains(&word) => {
                return Err(self.unexpected("a name or a value is missing", "Put one before this."));
            }
            _ => {}
        }
        let next = self.tokens.get(self.at + 1);
        if let Some(Token { kind: Kind::Text(text), .. }) = next
            && matches!(word, "date" | "timestamp")
        {
            self.at += 1;
            let made = match word {
                "date" => day(text).map(Expression::Date),
                _ => moment(text).map(Expression::Timestamp),
            };
            let Some(made) = made else {
                let hint = "Write date '2024-01-31' or timestamp '2024-01-31 12:00'.";
                return Err(self.unexpected(&format!("\"{text}\" is no {word}"), hint));
            };
            self.at += 1;
            return Ok(made);
        }
        if next.is_some_and(|next| next.kind == Kind::Sign("(")) {
            return if word == "cast" { self.cast() } else { self.call(word) };
        }
        self.name(token)
    }

    fn name(&mut self, first: &Token) -> Parsed {
        let mut parts = Vec::new();
        let mut end = first.at;
        loop {
            let Some(Token { kind: Kind::Word(word), at, length }) = self.peek() else {
                return Err(
                    self.unexpected("a name is missing after the dot", "Write entity.dimension.")
                );
            };
            parts.push(word.clone());
            end = end.max(at + length);
            self.at += 1;
            if !self.sign(".") {
                break;
            }
        }
        Ok(Expression::Name(Name { parts, at: first.at, length: end - first.at }))
    }

    fn call(&mut self, word: &str) -> Parsed {
        let Some((name, min, max)) = FUNCTIONS.iter().find(|(name, ..)| *name == word) else {
            let hint = suggest::hint(word, FUNCTIONS.iter().map(|(name, ..)| *name));
            return Err(self.unexpected(&format!("there is no function \"{word}\""), &hint));
        };
        self.at += 1;
        self.expect("(")?;
        let arguments = self.list(")")?;
        if !(*min..=*max).contains(&arguments.len()) {
            self.at = self.at.saturating_sub(1);
            let message = format!("{name} does not take {} arguments", arguments.len());
            let hint = match min == max {
                true => format!("It takes {min}."),
                false => format!("It takes {min} to {max}."),
            };
            return Err(self.unexpected(&message, &hint));
        }
        Ok(Expression::Call(name, arguments))
    }

    /// `cast(x as double)`, with any name that databases give numbers with a fraction.
    fn cast(&mut self) -> Parsed {
        self.at += 1;
        self.expect("(")?;
        let of = self.any()?;
        self.expect_word("as")?;
        let number = FRACTIONS.iter().any(|name| self.word(name));
        if !number {
            let hint = "Write cast(x as double); other types have no place in metrics.";
            return Err(self.unexpected("this is no type for cast", hint));
        }
        self.word("precision");
        // `decimal(12, 2)`: how exact it is does not matter.
        if self.sign("(") {
            self.list(")")?;
        }
        self.expect(")")?;
        Ok(Expression::AsNumber(Box::new(of)))
    }

    fn case(&mut self) -> Parsed {
        let mut branches = Vec::new();
        while self.word("when") {
            let condition = self.any()?;
            self.expect_word("then")?;
            branches.push((condition, self.any()?));
        }
        if branches.is_empty() {
            return Err(
                self.unexpected("case has no when", "Write case when x > 0 then 1 else 0 end.")
            );
        }
        let otherwise = if self.word("else") { Some(Box::new(self.any()?)) } else { None };
        self.expect_word("end")?;
        Ok(Expression::Case(branches, otherwise))
    }

    fn list(&mut self, end: &'static str) -> Result<Vec<Expression>, Mistake> {
        let mut list = Vec::new();
        if self.sign(end) {
            return Ok(list);
        }
        loop {
            list.push(self.any()?);
            if list.len() > LIST_MAX {
                let hint = "Give the values a common dimension and compare that.";
                return Err(
                    self.unexpected(&format!("the list has more than {LIST_MAX} values"), hint)
                );
            }
            if !self.sign(",") {
                self.expect(end)?;
                return Ok(list);
            }
        }
    }

    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn word(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token { kind: Kind::Word(word), .. }) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &'static str) -> bool {
        let found = self.peek().is_some_and(|token| token.kind == Kind::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Mistake> {
        if self.sign(sign) {
            return Ok(());
        }
        Err(self.unexpected(&format!("\"{sign}\" is missing"), "Check the brackets and commas."))
    }

    fn expect_word(&mut self, word: &str) -> Result<(), Mistake> {
        if self.word(word) {
            return Ok(());
        }
        Err(self.unexpected(&format!("\"{word}\" is missing"), "Complete the condition."))
    }

    /// A mistake at the next token, or at the end.
    fn unexpected(&self, message: &str, hint: &str) -> Mistake {
        let (at, length) = self.peek().map_or((self.end, 1), |token| (token.at, token.length));
        Mistake { message: message.to_owned(), hint: hint.to_owned(), at, length }
    }
}

/// A day, `2024-01-31`, if the text is one.
fn day(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    Timestamp::parse(text).ok().filter(|_| plain)?;
    Some(text.to_owned())
}

/// A moment as the engine reads it: it wants seconds, which people leave out.
fn moment(text: &str) -> Option<String> {
    let text = text.trim();
    let (day_of, time) = text.split_at_checked(10)?;
    day(day_of)?;
    let hour = |digits: &str| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
    let short = time.strip_prefix([' ', 'T']).and_then(|time| time.split_once(':'));
    let made = match short {
        Some((hours, minutes)) if hour(hours) && hour(minutes) => format!("{text}:00"),
        _ => text.to_owned(),
    };
    // PostgreSQL writes zones by the hour: `+00`.
    let zoned = made.len() > "2024-01-31 12:00:00".len();
    let by_hour = || Timestamp::parse(&format!("{made}:00")).ok().filter(|_| zoned);
    Timestamp::parse(&made).ok().or_else(by_hour)?;
    Some(made)
}

fn binary(operator: Operator, left: Expression, right: Expression) -> Expression {
    Expression::Binary(operator, Box::new(left), Box::new(right))
}
