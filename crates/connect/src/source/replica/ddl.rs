//! The cases of `tests-data/ddl`: what a follower of a log makes of a change of its table.
//!
//! A case is played twice. *Followed*: the log is read after every step, as by a sync that runs all
//! the time. *Late*: only at the end, when the table is another one than most of its log tells of.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use flywheel_base::Error;
use futures::{FutureExt as _, StreamExt as _};

use super::{Rows, Target, whole};
use crate::page::DELETED_COLUMN;
use crate::source::{ChangesPage, ChangesRequest, Source};

/// What stands for "no value" in the rows of a target.
const NONE: &str = "∅";

/// One case: statements and what is expected after them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Makes the table `t` with its first rows, which are read whole.
    pub(crate) table: String,
    /// Rows that change before the table does.
    before: String,
    ddl: String,
    /// Rows that change after it.
    after: String,
    /// Which rows of the target equal those of the table in every column; none says all. The others
    /// have no value in the columns that are new, and are equal in the rest.
    equal: Option<BTreeSet<String>>,
    /// Columns of the target and their types.
    columns: Option<String>,
    /// Codes of notices, in their order.
    notices: Vec<String>,
    /// Columns and codes of rows that are set aside.
    set_aside: Vec<String>,
    /// The error, and the one of a late read if that is another.
    error: Option<Fault>,
    late: Option<Fault>,
    reread: Reread,
}

/// Whether the table has to be read whole again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reread {
    #[default]
    No,
    Yes,
    /// That is refused as well, because the table is no longer one that can be followed.
    Refused,
}

/// An error: its kind, and words of the message and the hint.
#[derive(Clone, Debug)]
struct Fault {
    kind: String,
    message: String,
    hint: String,
}

impl Fault {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(" | ").map(str::to_owned);
        let mut part = || parts.next().unwrap_or_else(|| panic!("kind | message | hint: {text}"));
        Self { kind: part(), message: part(), hint: part() }
    }

    fn check(&self, error: &Error, play: &str) {
        let kind = format!("{:?}", error.kind()).to_lowercase();
        assert_eq!(kind, self.kind, "{play}: {error:?}");
        assert!(error.message().contains(&self.message), "{play}: {error:?}");
        let hint = error.hint_text().unwrap_or_default();
        assert!(!hint.is_empty() && hint.contains(&self.hint), "{play}: {error:?}");
    }
}

/// Reads a file of cases: `key: value`, values go on in lines that are indented.
pub(crate) fn cases(text: &str) -> Vec<Case> {
    let mut entries: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        if line.starts_with(' ') {
            let (_, value) = entries.last_mut().expect("a value goes on before any key");
            value.push('\n');
            value.push_str(line.trim());
            continue;
        }
        let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("no key: {line}"));
        entries.push((key.to_owned(), value.trim().to_owned()));
    }
    let mut cases: Vec<Case> = Vec::new();
    for (key, value) in entries {
        if key == "case" {
            let known = cases.iter().any(|case| case.name == value);
            assert!(!known, "two cases have the name {value}");
            cases.push(Case { name: value, ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a key stands before the first case");
        let words = |value: &str| value.split(", ").map(str::to_owned).collect::<Vec<_>>();
        match key.as_str() {
            "table" => case.table = value,
            "before" => case.before = value,
            "ddl" => case.ddl = value,
            "after" => case.after = value,
            "equal" if value == "all" => case.equal = None,
            "equal" => case.equal = Some(words(&value).into_iter().collect()),
            "columns" => case.columns = Some(value),
            "notices" => case.notices = words(&value),
            "set-aside" => case.set_aside = words(&value),
            "error" => case.error = Some(Fault::parse(&value)),
            "late" => case.late = Some(Fault::parse(&value)),
            "reread" => {
                case.reread = match value.as_str() {
                    "no" => Reread::No,
                    "yes" => Reread::Yes,
                    "refused" => Reread::Refused,
                    other => panic!("{}: reread is no, yes or refused, not {other}", case.name),
                }
            }
            other => panic!("{}: unknown word {other}", case.name),
        }
    }
    for case in &cases {
        let fails = case.error.is_some();
        assert_eq!(fails, case.reread != Reread::No, "{}: error and reread", case.name);
        assert!(!case.table.is_empty() && !case.ddl.is_empty(), "{}: incomplete", case.name);
    }
    cases
}

/// What the reads of a play gave.
#[derive(Default)]
struct Played {
    target: Target,
    columns: String,
    notices: Vec<String>,
    set_aside: Vec<String>,
    /// The keys of rows that are set aside.
    aside: BTreeSet<String>,
    error: Option<Error>,
}

impl Played {
    /// Reads until caught up or until an error, as a sync does: what came before it counts.
    async fn read(&mut self, source: &dyn Source, request: &mut ChangesRequest) {
        if self.error.is_some() {
            return;
        }
        let mut pages = source.changes(request);
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => {
                    if page.stopped.is_some() {
                        self.target.held.clear();
                    }
                    self.take(&page);
                    if let Some(error) = page.stopped {
                        self.error = Some(error);
                    }
                }
                Err(error) => self.error = Some(error),
            }
        }
        drop(pages);
        self.target.held.clear();
        request.streams[0].from.clone_from(&self.target.position);
    }

    fn take(&mut self, page: &ChangesPage) {
        self.target.apply(page);
        let schema = page.page.batch.schema();
        let fields = schema.fields().iter().filter(|field| field.name() != DELETED_COLUMN);
        let fields: Vec<String> =
            fields.map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        self.columns = fields.join(", ");
        self.notices.extend(page.page.notices.iter().map(|notice| notice.code.clone()));
        for row in &page.page.rejected {
            let column = row.column.as_deref().unwrap_or("-");
            self.set_aside.push(format!("{column} {}", row.code));
            assert!(row.reason.contains("read it whole again"), "{}", row.reason);
            let raw: serde_json::Value = serde_json::from_str(&row.raw).unwrap();
            self.aside.insert(raw["id"].to_string().trim_matches('"').to_owned());
        }
    }
}

/// The name of a case that fails; the others are played as well.
pub(crate) async fn failure(
    case: &Case,
    late: bool,
    play: impl Future<Output = ()>,
) -> Option<String> {
    let played = AssertUnwindSafe(play).catch_unwind().await;
    played.is_err().then(|| format!("{} ({})", case.name, if late { "late" } else { "followed" }))
}

/// Plays a case; `run` runs statements, which may be none.
pub(crate) async fn play(
    case: &Case,
    late: bool,
    source: &dyn Source,
    mut request: ChangesRequest,
    run: impl Fn(&str),
) {
    let play = format!("{} ({})", case.name, if late { "late" } else { "followed" });
    println!("{play}");
    let mut played = Played::default();
    played.read(source, &mut request).await;
    assert!(played.error.is_none(), "{play}: {:?}", played.error);
    run(&case.before);
    if !late {
        played.read(source, &mut request).await;
        assert_eq!(played.target.rows, whole(source, "t").await, "{play}: before");
    }
    run(&case.ddl);
    if !late {
        played.read(source, &mut request).await;
    }
    run(&case.after);
    played.read(source, &mut request).await;
    let fault = if late { case.late.as_ref().or(case.error.as_ref()) } else { case.error.as_ref() };
    match (fault, &played.error) {
        (Some(fault), Some(error)) => fault.check(error, &play),
        (None, None) => {}
        (expected, error) => panic!("{play}: expected {expected:?}, got {error:?}"),
    }
    match case.reread {
        Reread::Refused => {
            request.streams[0].from = None;
            let mut again = Played::default();
            again.read(source, &mut request).await;
            assert!(again.error.is_some(), "{play}: the table can be read again");
        }
        Reread::Yes => {
            // The same position gives the same error, until somebody decides.
            let mut again = Played::default();
            again.read(source, &mut request).await;
            assert!(again.error.is_some(), "{play}: the error goes away by itself");
            source.forget(&request.name).await.unwrap();
            request.streams[0].from = None;
            let mut again = Played::default();
            again.read(source, &mut request).await;
            assert!(again.error.is_none(), "{play}: {:?}", again.error);
            assert_eq!(again.target.rows, whole(source, "t").await, "{play}");
        }
        Reread::No => {
            compare(case, &played, &whole(source, "t").await, &play);
            assert_eq!(played.set_aside, case.set_aside, "{play}: rows set aside");
            // A late reader is told as often as one that follows: once.
            assert_eq!(played.notices, case.notices, "{play}: notices");
            // Nor is the next read told again, whatever it begins with.
            run("INSERT INTO t (id) VALUES (9)");
            let told = played.notices.len();
            played.read(source, &mut request).await;
            assert!(played.error.is_none(), "{play}: {:?}", played.error);
            assert_eq!(played.notices.get(told..), Some([].as_slice()), "{play}: told again");
            if let Some(columns) = &case.columns {
                assert_eq!(played.columns, *columns, "{play}: columns");
            }
        }
    }
}

/// Compares the target with the table.
fn compare(case: &Case, played: &Played, table: &Rows, play: &str) {
    let rows = &played.target.rows;
    let keys = |rows: &Rows| -> BTreeSet<String> {
        rows.keys().filter(|key| !played.aside.contains(*key)).cloned().collect()
    };
    assert_eq!(keys(rows), keys(table), "{play}: keys");
    let mut holes = 0;
    for (key, row) in table.iter().filter(|(key, _)| !played.aside.contains(*key)) {
        let exact = case.equal.as_ref().is_none_or(|equal| equal.contains(key));
        for (column, value) in row {
            let found = rows[key].get(column).map_or(NONE, String::as_str);
            if !exact && found == NONE && value != NONE {
                holes += 1;
                continue;
            }
            assert_eq!(found, value, "{play}: row {key}, column {column}");
        }
    }
    // A late reader may get a value from the table that the log does not tell.
    let expected = case.equal.is_some();
    assert_eq!(holes > 0, expected, "{play}: rows that are not equal");
}
