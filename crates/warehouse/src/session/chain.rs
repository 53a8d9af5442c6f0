//! Refuses statements so long in one piece that planning them would need more stack than a thread has.
//!
//! `a and b and c` and `x union all y union all z` are trees as deep as they are long, which the parser builds without
//! recursion, so that its own limit does not hold, and the planner then walks by recursion. What is separated by commas,
//! such as the list of `IN`, is not deep.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use flywheel_base::{Error, Result};

/// How many operators may follow each other in one expression. Some 4,000 overflow the 8 MiB of a thread.
const OPERATORS_MAX: usize = 2_000;
/// How many queries may be put together by `UNION`, `INTERSECT` and `EXCEPT`, and how many tables may be joined. Some
/// 3,000 overflow.
const PARTS_MAX: usize = 1_000;

/// What has been met within one pair of parentheses.
#[derive(Default)]
struct Level {
    operators: usize,
    parts: usize,
}

/// Checks that no chain of `sql` is too long. What cannot be read is left to the parser.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] that says which kind of chain is too long.
pub fn check_chains(sql: &str) -> Result<()> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    let mut levels = vec![Level::default()];
    for token in tokens {
        if token == Token::LParen {
            levels.push(Level::default());
        } else if token == Token::RParen && levels.len() > 1 {
            levels.pop();
            continue;
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        match token {
            Token::Comma | Token::SemiColon => level.operators = 0,
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN => {
                    (level.operators, level.parts) = (0, level.parts + 1);
                }
                Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::HAVING
                | Keyword::ON
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE => level.operators = 0,
                Keyword::AND | Keyword::OR | Keyword::XOR | Keyword::NOT | Keyword::IS => {
                    level.operators += 1;
                }
                _ => {}
            },
            Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::Period
            | Token::LParen
            | Token::RParen
            | Token::EOF => {}
            // Every other sign is an operator or as good as one.
            _ => level.operators += 1,
        }
        if level.operators > OPERATORS_MAX {
            return Err(Error::invalid(format!(
                "the statement has an expression with more than {OPERATORS_MAX} operators in a row"
            ))
            .hint("Write a list with IN instead of many conditions, or put the values into a table and join it."));
        }
        if level.parts > PARTS_MAX {
            return Err(Error::invalid(format!(
                "the statement puts more than {PARTS_MAX} queries or tables together"
            ))
            .hint("Write rows as one VALUES, or make models of parts of it."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_overflow_the_stack_is_refused_and_long_lists_are_not() {
        let many = |piece: &str| piece.repeat(20_000);
        for sql in [
            format!("select 1{}", many(" union all select 1")),
            format!("select 1 where true{}", many(" and true")),
            format!("select 1{}", many("+1")),
            format!("select 'a'{}", many("||'a'")),
            format!("select * from (select 1{} ) as a", many(" except select 1")),
            format!("select 1 from a{}", many(" join b on true")),
        ] {
            let error = check_chains(&sql).unwrap_err();
            assert!(error.hint_text().is_some(), "{}", &sql[..40]);
        }
        for sql in [
            format!("select 1 in (1{})", many(", -1")),
            format!("select case {} end", many("when a = 1 then b + 1 ")),
            format!("select 1{}", many(", a + b * c")),
            format!("values (1 + 1){}", many(", (2 + 2)")),
            format!("select 1{}", " union all select 1 + 1 where a and b".repeat(900)),
            "select 'it''s' || \"a b\" -- and so on\n from x".to_owned(),
            "select '".to_owned(),
        ] {
            check_chains(&sql).unwrap();
        }
    }
}
