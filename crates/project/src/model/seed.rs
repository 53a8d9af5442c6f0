//! Seeds: small tables kept as CSV files beside the models.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result, digest};

/// The largest file that is read as a seed; more is data for a sync.
const SEED_SIZE_MAX: u64 = 64 << 20;

/// How many columns a seed may have.
const COLUMNS_MAX: usize = 4_096;

/// The names of columns, and rows of values.
type Table = (Vec<String>, Vec<Vec<Option<String>>>);

/// A CSV file that becomes a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The file.
    pub file: PathBuf,
    /// The SQL types of columns, where they are not to be guessed.
    pub column_types: BTreeMap<String, String>,
    /// What separates values.
    pub delimiter: char,
}

/// The rows of a seed, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedRows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The SQL type of each column: the declared one, or the one that all values fit.
    pub types: Vec<String>,
    /// The values, column by column; an empty one is missing.
    pub values: Vec<Vec<Option<String>>>,
    /// Identifies the file's content and the types.
    pub digest: String,
}

impl Seed {
    /// Reads the file.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] with the line if a row has another number of values than
    /// the header, a quote is not closed, a column has no name or twice the same, or the file is too
    /// large or not UTF-8; the file system's own.
    pub fn read(&self) -> Result<SeedRows> {
        let shown = self.file.display();
        let mut bytes = Vec::new();
        File::open(&self.file)
            .and_then(|file| file.take(SEED_SIZE_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| Error::io("read the seed", Path::new(&self.file), error))?;
        if bytes.len() as u64 > SEED_SIZE_MAX {
            return Err(Error::invalid(format!("the seed {shown} is larger than 64 MiB"))
                .hint("Land it with a sync of a `csv` connection instead."));
        }
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::invalid(format!("the seed {shown} is not UTF-8 text"))
                .hint("Save it as UTF-8, for instance with `iconv -t UTF-8`.")
        })?;
        self.parse(&text).map_err(|error| error.context(format!("the seed {shown}")))
    }

    /// The names of the columns of a CSV text, and its rows.
    ///
    /// # Errors
    /// As [`Seed::read`].
    pub(crate) fn parse_text(text: &str, delimiter: char) -> Result<Table> {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut records = Records { text, at: 0, line: 1, delimiter };
        let Some((_, header)) = records.next_record()? else {
            return Err(Error::invalid("the file is empty")
                .hint("Write a line with the names of the columns."));
        };
        let columns: Vec<String> =
            header.into_iter().map(|name| name.unwrap_or_default().trim().to_owned()).collect();
        check_columns(&columns)?;
        let mut rows = Vec::new();
        while let Some((line, record)) = records.next_record()? {
            if record.len() != columns.len() {
                return Err(Error::invalid(format!(
                    "line {line} has {} values, the header has {}",
                    record.len(),
                    columns.len()
                ))
                .hint("Put values that contain the delimiter between double quotes."));
            }
            rows.push(record);
        }
        Ok((columns, rows))
    }

    fn parse(&self, text: &str) -> Result<SeedRows> {
        let (columns, rows) = Self::parse_text(text, self.delimiter)?;
        let mut values: Vec<Vec<Option<String>>> =
            columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            for (column, value) in values.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let declared = |name: &str| {
            let mut types = self.column_types.iter();
            types.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, sql)| sql.clone())
        };
        if let Some(name) = self
            .column_types
            .keys()
            .find(|name| !columns.iter().any(|column| column.eq_ignore_ascii_case(name)))
        {
            let known = columns.iter().map(String::as_str);
            return Err(Error::invalid(format!("column_types names no column: \"{name}\""))
                .hint(flywheel_base::suggest::hint(name, known)));
        }
        let pairs = columns.iter().zip(&values);
        let types: Vec<String> = pairs
            .map(|(name, values)| declared(name).unwrap_or_else(|| guess(values).to_owned()))
            .collect();
        let kinds = types.join(",");
        let digest = digest::hex(&[text.as_bytes(), kinds.as_bytes()]);
        Ok(SeedRows { columns, types, values, digest })
    }
}

fn check_columns(columns: &[String]) -> Result<()> {
    if columns.len() > COLUMNS_MAX {
        return Err(Error::invalid(format!("it has more than {COLUMNS_MAX} columns"))
            .hint("Check the delimiter."));
    }
    for (at, name) in columns.iter().enumerate() {
        if name.is_empty() {
            return Err(Error::invalid(format!("column {} has no name", at + 1))
                .hint("Name every column in the first line."));
        }
        if columns.iter().take(at).any(|other| other.eq_ignore_ascii_case(name)) {
            return Err(Error::invalid(format!("two columns are named \"{name}\""))
                .hint("Rename one of them."));
        }
    }
    Ok(())
}

/// CSV as RFC 4180 has it; an empty line is no record.
struct Records<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    delimiter: char,
}

impl Records<'_> {
    /// The next record with the line it starts on. An empty value, or `null`, is missing, as in dbt.
    fn next_record(&mut self) -> Result<Option<(usize, Vec<Option<String>>)>> {
        let mut values = Vec::new();
        let start = self.line;
        loop {
            if values.is_empty() {
                let rest = &self.text[self.at..];
                let blank = rest.len() - rest.trim_start_matches(['\r', '\n']).len();
                self.line += rest[..blank].matches('\n').count();
                self.at += blank;
                if self.at >= self.text.len() {
                    return Ok(None);
                }
            }
            let line = if values.is_empty() { self.line } else { start.max(self.line) };
            let (value, ended) = self.value(line)?;
            let missing = |text: &String| text.is_empty() || text.eq_ignore_ascii_case("null");
            values.push(value.filter(|text| !missing(text)));
            if ended {
                return Ok(Some((line, values)));
            }
        }
    }

    /// One value, and whether its record ends with it.
    fn value(&mut self, line: usize) -> Result<(Option<String>, bool)> {
        let rest = &self.text[self.at..];
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find([self.delimiter, '\n']).unwrap_or(rest.len());
            let value = rest[..end].trim_end_matches('\r');
            let value = (!value.is_empty()).then(|| value.to_owned());
            return Ok((value, self.step(end)));
        };
        let mut value = String::new();
        let mut chars = quoted.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '"' {
                value.push(c);
            } else if chars.peek().is_some_and(|(_, next)| *next == '"') {
                value.push('"');
                chars.next();
            } else {
                let after = &quoted[at + 1..];
                let end = after.find([self.delimiter, '\n']).unwrap_or(after.len());
                if !after[..end].trim_matches(['\r', ' ']).is_empty() {
                    return Err(Error::invalid(format!(
                        "line {line}: text follows a closed quote"
                    ))
                    .hint("Write a double quote inside of quotes twice."));
                }
                self.line += value.matches('\n').count();
                return Ok((Some(value), self.step(1 + at + 1 + end)));
            }
        }
        Err(Error::invalid(format!("line {line}: a quote is not closed"))
            .hint("Close it, or write a double quote inside of quotes twice."))
    }

    /// Moves behind a value and what ends it; true if that is the record's end.
    fn step(&mut self, length: usize) -> bool {
        self.at += length;
        let rest = &self.text[self.at..];
        let ended = !rest.starts_with(self.delimiter);
        if let Some(c) = rest.chars().next() {
            self.at += c.len_utf8();
            self.line += usize::from(c == '\n');
        }
        ended
    }
}

/// The narrowest SQL type that every value fits, in dbt's order. Digits with a leading zero are an
/// article number or a postcode and stay text.
fn guess(values: &[Option<String>]) -> &'static str {
    let all = |fits: fn(&str) -> bool| {
        let mut present = values.iter().flatten().peekable();
        present.peek().is_some() && present.all(|value| fits(value))
    };
    if all(is_whole) {
        "bigint"
    } else if all(is_number) {
        "double"
    } else if all(is_date) {
        "date"
    } else if all(is_time) {
        "timestamp"
    } else if all(|value| value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"))
    {
        "boolean"
    } else {
        "varchar"
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let zero = digits.len() > 1 && digits.starts_with('0');
    !zero && digits.starts_with(|c: char| c.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+');
    !(whole.len() > 1 && whole.starts_with('0'))
        && text.chars().all(plain)
        && text.parse::<f64>().is_ok()
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |digits: usize, most: u32| {
        parts.next().is_some_and(|part| {
            part.len() == digits
                && part.chars().all(|c| c.is_ascii_digit())
                && part.parse::<u32>().is_ok_and(|number| (1..=most).contains(&number))
        })
    };
    part(4, 9999) && part(2, 12) && part(2, 31) && parts.next().is_none()
}

fn is_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', ' ']) else { return is_date(text) };
    let time = time.strip_suffix('Z').unwrap_or(time);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    let mut part = |most: u32| {
        parts.next().is_some_and(|part| {
            part.len() == 2 && part.parse::<u32>().is_ok_and(|number| number <= most)
        })
    };
    is_date(date)
        && part(23)
        && part(59)
        && part(60)
        && parts.next().is_none()
        && fraction.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(types: &[(&str, &str)]) -> Seed {
        let types = types.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned()));
        Seed { file: PathBuf::from("s.csv"), column_types: types.collect(), delimiter: ',' }
    }

    #[test]
    fn types_are_those_that_every_value_fits() {
        let text = "id,price,code,day,at,ok,note,none\n1,2.5,007,2024-01-31,2024-01-31 10:00:00,true,x,\"\"\n\
            -2,3,12,2024-02-01,2024-02-01T23:59:59.5Z,FALSE,\"a, \"\"b\"\"\nc\",null\n\r\n";
        let rows = seed(&[]).parse(text).unwrap();
        assert_eq!(
            rows.types,
            ["bigint", "double", "varchar", "date", "timestamp", "boolean", "varchar", "varchar"]
        );
        assert_eq!(rows.values[6], [Some("x".to_owned()), Some("a, \"b\"\nc".to_owned())]);
        assert_eq!(rows.values[7], [None, None], "an empty value is missing");
        let forced = seed(&[("ID", "varchar")]).parse(text).unwrap();
        assert_eq!(forced.types[0], "varchar");
        assert_ne!(forced.digest, rows.digest, "another type is another table");
    }

    #[test]
    fn a_bad_seed_is_refused_with_the_line() {
        let check = |text: &str, expected: &str| {
            let error = seed(&[]).parse(text).unwrap_err();
            assert!(error.message().contains(expected), "{expected} in {error}");
            assert!(error.hint_text().is_some(), "{error}");
        };
        check("", "the file is empty");
        check("a,b\n1,2\n\n3\n", "line 4 has 1 values, the header has 2");
        check("a,b\n\"x\ny\",1\n2\n", "line 4 has 1 values");
        check("a\n\"x", "line 2: a quote is not closed");
        check("a\n\"x\"y\n", "line 2: text follows a closed quote");
        check("a,A\n", "two columns are named \"A\"");
        check("a,,c\n", "column 2 has no name");
        let error = seed(&[("pric", "int")]).parse("id,price\n1,2\n").unwrap_err();
        assert!(error.hint_text().unwrap().contains("price"), "{error}");
    }
}
