//! Which errors are about a row, and what they say without its values.

use mysql_async::ServerError;

use crate::column::Misfit;

/// What an error says about one row; none if it is about the connection, the statement or the server.
pub(super) fn refusal(error: &ServerError) -> Option<Misfit> {
    let (code, reason) = match error.code {
        1264 | 1690 => ("out-of-range", "the value is out of the column's range"),
        1406 => ("too-long", "the value is longer than the column"),
        1048 | 1364 => ("null-value", "no value in a column that needs one"),
        1062 | 1586 => ("duplicate-key", "another row has the same value in a unique index"),
        3819 | 4025 => ("check-failed", "a CHECK constraint does not hold"),
        1216 | 1452 => ("foreign-key", "the row that a foreign key names is not there"),
        1217 | 1451 => ("foreign-key", "another row still names this one by a foreign key"),
        1366 if error.message.starts_with("Incorrect string value") => {
            ("invalid-text", "the column's character set does not have these characters")
        }
        1265 | 1292 | 1366 | 1367 | 1411 | 1525 | 3140 | 3156 | 4079 => {
            ("invalid-value", "the value is not one of the column's type")
        }
        1644 => ("refused-by-trigger", "a trigger of the table refuses the row"),
        _ if error.state.starts_with("22") || error.state.starts_with("23") => {
            ("invalid-value", "the table refuses the row")
        }
        _ => return None,
    };
    Some(Misfit::new(code, format!("{reason} (error {})", error.code)))
}

/// The column that an error names, if it is one of `columns`.
pub(super) fn column(error: &ServerError, columns: &[String]) -> Option<String> {
    if matches!(error.code, 1062 | 1586) {
        // The message quotes the value and names the index.
        return None;
    }
    let message = &error.message;
    let known =
        |name: &str| columns.iter().find(|column| column.eq_ignore_ascii_case(name)).cloned();
    // "… for column `db`.`t`.`c` at row 1", "Data too long for column 'c' at row 1",
    // "Column 'c' cannot be null", "Field 'c' doesn't have a default value"
    let start = ["column ", "Column ", "Field "].iter().find_map(|word| {
        // The last one: a value that is quoted before it may hold the same word.
        let at = message.rfind(word)?;
        message.get(at + word.len()..)
    })?;
    let quote = start.chars().next().filter(|first| matches!(first, '\'' | '`'))?;
    let words = start.split(quote).skip(1).step_by(2);
    // Only the last of `db`.`t`.`c`; a quote ends the name, so later words are of the message.
    let parts = if quote == '`' { 3 } else { 1 };
    words.take(parts).filter_map(known).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, message: &str) -> ServerError {
        ServerError { code, message: message.to_owned(), state: "22001".to_owned() }
    }

    #[test]
    fn the_column_is_found_in_what_servers_say() {
        let columns = ["name".to_owned(), "Price".to_owned()];
        for (message, expected) in [
            ("Data too long for column 'name' at row 3", Some("name")),
            ("Column 'price' cannot be null", Some("Price")),
            ("Field 'name' doesn't have a default value", Some("name")),
            ("Incorrect string value: '\\xF0' for column `shop`.`t`.`name` at row 1", Some("name")),
            (
                "Incorrect integer value: 'column 'Price'' for column `s`.`t`.`name` at row 1",
                Some("name"),
            ),
            ("Out of range value for column 'gone' at row 1", None),
            ("You have an error", None),
        ] {
            assert_eq!(column(&error(1, message), &columns).as_deref(), expected, "{message}");
        }
    }

    #[test]
    fn errors_of_the_server_are_not_of_a_row() {
        let server =
            |code, state: &str| ServerError { code, message: String::new(), state: state.into() };
        for (code, state) in [(1053, "08S01"), (1213, "40001"), (1146, "42S02"), (1114, "HY000")] {
            assert_eq!(refusal(&server(code, state)), None, "{code}");
        }
        assert_eq!(refusal(&server(1062, "23000")).unwrap().code, "duplicate-key");
    }
}
