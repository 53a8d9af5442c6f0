//! What `ALTER TABLE` does to the columns of a table.

use super::Token;

/// What stands where the name of a column would, in `ADD` and `DROP`.
const NO_COLUMNS: [&str; 13] = [
    "INDEX",
    "KEY",
    "UNIQUE",
    "PRIMARY",
    "CONSTRAINT",
    "FULLTEXT",
    "SPATIAL",
    "FOREIGN",
    "CHECK",
    "PARTITION",
    "PERIOD",
    "SYSTEM",
    "VECTOR",
];

/// What is altered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Altered {
    /// The columns, or what has nothing to do with them.
    Columns(Alter),
    /// Rows come or go with a partition or a file, and the log does not tell which.
    Rows,
    /// The name of the table.
    Name,
}

/// Columns that have other names, come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source::mysql::log) struct Alter {
    /// The old and the new name.
    pub(in crate::source::mysql::log) renamed: Vec<(String, String)>,
    /// The name, and whether a column that is there already is kept.
    pub(in crate::source::mysql::log) added: Vec<(String, bool)>,
    /// The name.
    pub(in crate::source::mysql::log) dropped: Vec<String>,
}

/// Looks at what follows the name of the table.
pub(super) fn altered(tokens: &[Token]) -> Altered {
    let mut alter = Alter::default();
    // How long to wait for others, before what is to be done.
    let waits = match tokens.first() {
        Some(first) if first.is("WAIT") => 2,
        Some(first) if first.is("NOWAIT") => 1,
        _ => 0,
    };
    for clause in clauses(tokens.get(waits..).unwrap_or_default()) {
        let Some((first, rest)) = clause.split_first() else { continue };
        let next = |keyword: &str| rest.first().is_some_and(|token| token.is(keyword));
        if first.is("RENAME") {
            if next("COLUMN") {
                rename(rest, "TO", &mut alter);
            } else if !next("INDEX") && !next("KEY") {
                return Altered::Name;
            }
        } else if first.is("CHANGE") {
            rename(rest, "", &mut alter);
        } else if first.is("ADD") {
            add(rest, &mut alter);
        } else if first.is("DROP") {
            if next("PARTITION") {
                return Altered::Rows;
            }
            alter.dropped.extend(column(rest).map(|(name, ..)| name.to_owned()));
        } else if ["TRUNCATE", "EXCHANGE", "DISCARD", "IMPORT"].iter().any(|word| first.is(word))
            || (first.is("CONVERT") && (next("PARTITION") || next("TABLE")))
        {
            return Altered::Rows;
        }
    }
    Altered::Columns(alter)
}

/// Parts at the commas that are in no parentheses.
fn clauses(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0u32;
    let at_comma = |token: &Token| {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && *token == Token::Sign(',')
    };
    tokens.split(at_comma).collect()
}

/// The column of a clause, whether `IF` stands before it, and what follows; none if the clause is
/// about something else.
fn column(mut rest: &[Token]) -> Option<(&str, bool, &[Token])> {
    let said = rest.first()?.is("COLUMN");
    if said {
        rest = rest.get(1..)?;
    }
    let kept = rest.first()?.is("IF");
    if kept {
        let exists = rest.iter().position(|token| token.is("EXISTS"))?;
        rest = rest.get(exists + 1..)?;
    }
    let first = rest.first()?;
    if !said && NO_COLUMNS.iter().any(|word| first.is(word)) {
        return None;
    }
    Some((first.text()?, kept, rest.get(1..).unwrap_or_default()))
}

fn rename(rest: &[Token], between: &str, alter: &mut Alter) {
    let Some((old, _, mut rest)) = column(rest) else { return };
    if !between.is_empty() && rest.first().is_some_and(|token| token.is(between)) {
        rest = rest.get(1..).unwrap_or_default();
    }
    let Some(new) = rest.first().and_then(Token::text) else { return };
    if old != new {
        alter.renamed.push((old.to_owned(), new.to_owned()));
    }
}

fn add(rest: &[Token], alter: &mut Alter) {
    // `COLUMN IF NOT EXISTS`, or a part of it, stands before one column or a list.
    let words = ["COLUMN", "IF", "NOT", "EXISTS"];
    let before = |token: &Token| words.iter().any(|word| token.is(word));
    let at = rest.iter().take_while(|token| before(token)).count();
    let list = match (rest.get(at), rest.last()) {
        (Some(Token::Sign('(')), Some(Token::Sign(')'))) => rest.get(at + 1..rest.len() - 1),
        _ => None,
    };
    let all_kept = list.is_some() && rest.iter().take(at).any(|token| token.is("IF"));
    let columns = match list {
        Some(list) => clauses(list),
        None => vec![rest],
    };
    let added = columns.into_iter().filter_map(column);
    alter.added.extend(added.map(|(name, kept, _)| (name.to_owned(), kept || all_kept)));
}

#[cfg(test)]
mod tests {
    use super::super::tokens;
    use super::*;

    fn check(sql: &str, renamed: &[(&str, &str)], added: &[&str], dropped: &[&str]) {
        let Altered::Columns(alter) = altered(&tokens(sql)) else { panic!("{sql}") };
        let pairs: Vec<(&str, &str)> =
            alter.renamed.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
        let names: Vec<&str> = alter.added.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((pairs.as_slice(), names.as_slice()), (renamed, added), "{sql}");
        assert_eq!(alter.dropped, dropped, "{sql}");
    }

    #[test]
    fn columns_are_told_from_keys_partitions_and_types() {
        check("ADD COLUMN a INT DEFAULT (1, 2) AFTER x, DROP b", &[], &["a"], &["b"]);
        check("ADD (a INT, KEY k (a, b), c DECIMAL(9,2))", &[], &["a", "c"], &[]);
        check("ADD COLUMN IF NOT EXISTS a ENUM('x, DROP b')", &[], &["a"], &[]);
        check("ADD IF NOT EXISTS (a INT, b INT)", &[], &["a", "b"], &[]);
        check("NOWAIT ADD a INT COMMENT \"it's, DROP b\", DROP c", &[], &["a"], &["c"]);
        check(
            "ADD UNIQUE (a), ADD PRIMARY KEY (b), DROP INDEX i, DROP FOREIGN KEY f",
            &[],
            &[],
            &[],
        );
        check("ADD COLUMN `key` INT, DROP COLUMN `index`", &[], &["key"], &["index"]);
        check("CHANGE a b BIGINT, CHANGE COLUMN IF EXISTS c c INT", &[("a", "b")], &[], &[]);
        check(
            "RENAME COLUMN a TO b, RENAME COLUMN b TO `a`, RENAME INDEX i TO j",
            &[("a", "b"), ("b", "a")],
            &[],
            &[],
        );
        check("MODIFY n BIGINT, ALTER v SET DEFAULT 'x', COMMENT = 'x'", &[], &[], &[]);
        check("CONVERT TO CHARACTER SET utf8mb4, ENGINE = InnoDB", &[], &[], &[]);
        for (sql, expected) in [
            ("RENAME TO t2", Altered::Name),
            ("ADD a INT, RENAME AS t2", Altered::Name),
            ("DROP PARTITION p0", Altered::Rows),
            ("CONVERT PARTITION p0 TO TABLE t0", Altered::Rows),
            ("EXCHANGE PARTITION p0 WITH TABLE t0", Altered::Rows),
            ("DISCARD TABLESPACE", Altered::Rows),
        ] {
            assert_eq!(altered(&tokens(sql)), expected, "{sql}");
        }
    }
}
