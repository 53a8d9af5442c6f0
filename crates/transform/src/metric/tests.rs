//! Questions and hand-written SQL with the same answer.
//!
//! A folder below `tests-data/metrics` has a `project.txt` with the files of a project and, as
//! `=== table raw.x`, queries that make its tables. Its `.cases` are questions, each followed by check
//! SQL that was written by hand, or by `!` and part of the refusal. `@key a => b ; c` before the SQL
//! makes a case of each alternative: `{key}` is the left side in the question and the right side in the SQL.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flywheel_base::{FixedClock, Timestamp};
use flywheel_project::{Connectors, Project};
use flywheel_warehouse::{Catalog, Lake, LakeOptions, Session, TableName};

use super::*;

/// How many cases there are at least; fewer means that a file is not read.
const CASES_MIN: usize = 150;

struct Case {
    file: String,
    question: String,
    check: String,
}

#[tokio::test]
async fn metrics_answer_as_hand_written_queries_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/metrics");
    let mut folders: Vec<_> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let (mut count, mut wrong) = (0, Vec::new());
    for folder in folders {
        let dir = tempfile::tempdir().unwrap();
        let (project, session) = shop(&folder, dir.path()).await;
        for case in cases(&folder) {
            count += 1;
            if let Some(difference) = difference(&project, &session, &case).await {
                wrong.push(format!("{}: {}\n{difference}", case.file, case.question));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} are wrong\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(count >= CASES_MIN, "only {count} cases");
}

/// The same two facts joined flat: what the compiler must not do.
#[tokio::test]
async fn a_flat_join_of_two_facts_is_wrong_by_a_factor() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/metrics/hospital");
    let dir = tempfile::tempdir().unwrap();
    let (project, session) = shop(&folder, dir.path()).await;
    let question = MetricQuery {
        metrics: vec!["visits".to_owned(), "stays".to_owned()],
        by: vec!["department.name".to_owned()],
        filter: Some("department.name = 'cardiology'".to_owned()),
        ..MetricQuery::default()
    };
    let compiled = compile_metrics(&project, &question).unwrap();
    let right = rows(&session, &compiled.sql).await.unwrap();
    assert_eq!(right, [["cardiology", "100", "84"]]);
    let flat = "SELECT d.name, count(v.id), count(s.id) FROM raw.departments d \
                JOIN raw.visits v ON v.department_id = d.id JOIN raw.stays s ON s.department_id = d.id \
                WHERE d.name = 'cardiology' GROUP BY d.name";
    assert_eq!(rows(&session, flat).await.unwrap(), [["cardiology", "8400", "8400"]]);
}

/// What a table does not have is told with the part that wants it, before and when somebody asks for it.
#[tokio::test]
async fn a_part_that_a_table_does_not_answer_is_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests-data/metrics/shop");
    let dir = tempfile::tempdir().unwrap();
    let (mut project, session) = shop(&folder, dir.path()).await;
    let orders = &mut project.semantics.get_mut("orders").unwrap().value;
    orders.measures.get_mut("cost").unwrap().expression = Some("costs".to_owned());
    orders.measures.get_mut("largest").unwrap().expression = Some("gone".to_owned());
    let mistakes = metric_mistakes(&project, &session).await;
    let of_orders: Vec<_> =
        mistakes.iter().filter(|mistake| mistake.semantic == "orders").collect();
    let parts: Vec<&str> = of_orders.iter().map(|mistake| mistake.part.as_str()).collect();
    assert_eq!(parts, ["measure cost", "measure largest"]);
    assert_eq!(of_orders[0].file, "metrics/orders.yaml");
    assert_eq!(of_orders[0].reason, "unknown column \"costs\"");
    let ask =
        |metric: &str| MetricQuery { metrics: vec![metric.to_owned()], ..MetricQuery::default() };
    let compiled = compile_metrics(&project, &ask("costs")).unwrap();
    let error = session.query(&compiled.sql).await.unwrap_err();
    let told = metric_error(&project, &session, &compiled.sql, error).await;
    assert_eq!(
        told.message(),
        "measure cost of semantic \"orders\" (metrics/orders.yaml): unknown column \"costs\""
    );
    // What has no mistake of its own is still asked.
    let fine = compile_metrics(&project, &ask("orders")).unwrap();
    assert_eq!(rows(&session, &fine.sql).await.unwrap(), [["109"]]);
}

/// A project and its tables.
async fn shop(folder: &Path, dir: &Path) -> (Project, Session) {
    let text = fs::read_to_string(folder.join("project.txt")).unwrap();
    let clock = Arc::new(FixedClock::new(Timestamp::parse("2024-05-01").unwrap()));
    let options = LakeOptions {
        memory_bytes: 256 << 20,
        spill_dir: dir.join("spill"),
        partitions: 2,
        clock,
        exact_division: false,
    };
    let lake = Lake::open(&dir.join("lake"), options).await.unwrap();
    let empty = lake.session(Catalog::new()).unwrap();
    let mut catalog = Catalog::new();
    for section in text.split("=== ").skip(1) {
        let (name, body) = section.split_once('\n').unwrap();
        if let Some(table) = name.strip_prefix("table ") {
            let query = empty.query(body).await.unwrap();
            let batches = query.collect().await.unwrap();
            catalog.memory(&TableName::parse(table.trim()).unwrap(), query.schema(), batches);
        } else {
            let path = dir.join(name.trim());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, body).unwrap();
        }
    }
    let project = match Project::load(dir, &Connectors::default()) {
        Ok(project) => project,
        Err(mistakes) => panic!("{}", mistakes.render()),
    };
    (project, lake.session(catalog).unwrap())
}

fn cases(folder: &Path) -> Vec<Case> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "cases"));
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for block in format!("\n{}", lines.join("\n")).split("\n? ").skip(1) {
            let (question, rest) = block.split_once('\n').unwrap();
            let is_key = |line: &&str| line.starts_with('@');
            let check: Vec<&str> = rest.lines().filter(|line| !is_key(line)).collect();
            let mut made = vec![(question.to_owned(), check.join("\n").trim().to_owned())];
            for line in rest.lines().filter(is_key) {
                let (key, alternatives) = line[1..].split_once(' ').unwrap();
                let key = format!("{{{key}}}");
                let mut next = Vec::new();
                for (question, check) in &made {
                    for alternative in alternatives.split(" ; ").map(str::trim) {
                        let sides =
                            alternative.split_once(" => ").unwrap_or((alternative, alternative));
                        next.push((question.replace(&key, sides.0), check.replace(&key, sides.1)));
                    }
                }
                made = next;
            }
            all.extend(made.into_iter().map(|(question, check)| Case {
                file: file.clone(),
                question,
                check,
            }));
        }
    }
    all
}

fn question(text: &str) -> MetricQuery {
    let list = |text: &str| text.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>();
    let mut parts = text.split(" | ").map(str::trim);
    let mut query = MetricQuery { metrics: list(parts.next().unwrap()), ..MetricQuery::default() };
    for part in parts {
        let (key, value) = part.split_once(' ').unwrap_or((part, ""));
        let text = Some(value.to_owned());
        match key {
            "by" => query.by = list(value),
            "where" => query.filter = text,
            "having" => query.having = text,
            "from" => query.from = text,
            "to" => query.to = text,
            "during" => query.during = text,
            "compare" => query.compare = text,
            "order" => query.order = list(value),
            "limit" => query.limit = Some(value.parse().unwrap()),
            "fill" => query.fill = true,
            other => panic!("{other} is no part of a question"),
        }
    }
    query
}

/// What is wrong with the answer to a case, if anything.
async fn difference(project: &Project, session: &Session, case: &Case) -> Option<String> {
    let compiled = compile_metrics(project, &question(&case.question));
    if let Some(wanted) = case.check.strip_prefix("! ") {
        let said = match compiled {
            Ok(compiled) => compiled.sql,
            Err(error) => error.report(),
        };
        return (!said.contains(wanted.trim())).then(|| format!("wanted: {wanted}\ngot: {said}"));
    }
    let sql = match compiled {
        Ok(compiled) => compiled.sql,
        Err(error) => return Some(error.report()),
    };
    let (mut got, mut wanted) = match (rows(session, &sql).await, rows(session, &case.check).await)
    {
        (Ok(got), Ok(wanted)) => (got, wanted),
        (got, wanted) => return Some(format!("{:?}\n{:?}\n{sql}", got.err(), wanted.err())),
    };
    if !case.question.contains(" | order ") {
        got.sort();
        wanted.sort();
    }
    (got != wanted).then(|| format!("got {got:?}\nwanted {wanted:?}\n{sql}"))
}

async fn rows(session: &Session, sql: &str) -> Result<Vec<Vec<String>>> {
    let batches = session.query(sql).await?.collect().await?;
    Ok(batches.iter().flat_map(texts).collect())
}

/// The rows of a batch as texts that do not depend on types: figures by nine digits, midnights as dates.
fn texts(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("null");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let text = |column: &ArrayFormatter<'_>, row: usize| {
        let text = column.value(row).to_string();
        match text.parse::<f64>() {
            Ok(number) if number.fract() == 0.0 => format!("{number}"),
            Ok(number) => format!("{number:.8e}"),
            Err(_) => text.trim_end_matches("T00:00:00").to_owned(),
        }
    };
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|column| text(column, row)).collect())
        .collect()
}
