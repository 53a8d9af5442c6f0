//! Queries by chance over the tables of the rules' tests. None can fail for a value, so that the order in
//! which the engine evaluates conditions does not matter, and a limit stands behind a full order.

use flywheel_base::Rng;

/// The forms a query can have.
pub(super) const FORMS: &[&str] =
    &["cte", "exists", "group", "in", "join", "plain", "scalar", "set", "window"];

/// How deep queries stand in queries.
const DEPTH: usize = 2;

/// The kind of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
}

/// Something to select from: its SQL and its columns.
struct Source {
    sql: String,
    columns: Vec<(String, Kind)>,
}

/// A query and its form.
pub(in crate::session) fn query(rng: &mut Rng) -> (String, &'static str) {
    let form = FORMS[rng.below(FORMS.len())];
    let made = select(rng, form, DEPTH);
    let mut sql = made.sql;
    if rng.chance(0.3) {
        let columns: Vec<String> = (1..=made.columns.len()).map(|at| at.to_string()).collect();
        let limit = 1 + rng.below(8);
        sql = format!("select * from ({sql}) as l order by {} limit {limit}", columns.join(", "));
        if rng.chance(0.3) {
            sql.push_str(" offset 1");
        }
    }
    (sql, form)
}

fn table(rng: &mut Rng) -> Source {
    let (sql, numbers, texts): (&str, &[&str], &[&str]) = match rng.below(5) {
        0 | 1 => ("t.people", &["id", "n"], &["region", "city", "email"]),
        2 => ("t.orders", &["id", "n"], &["state"]),
        3 => ("v.rich", &["id", "n"], &["region", "city", "email"]),
        _ => ("v.deep", &["id", "n", "one"], &["region", "email"]),
    };
    let numbers = numbers.iter().map(|name| ((*name).to_owned(), Kind::Number));
    let texts = texts.iter().map(|name| ((*name).to_owned(), Kind::Text));
    Source { sql: sql.to_owned(), columns: numbers.chain(texts).collect() }
}

fn source(rng: &mut Rng, depth: usize) -> Source {
    if depth == 0 || rng.chance(0.6) {
        return table(rng);
    }
    let form = FORMS[rng.below(FORMS.len())];
    let made = select(rng, form, depth - 1);
    Source { sql: format!("({})", made.sql), columns: made.columns }
}

/// A column of a kind, with the name of its source; a literal if it has none.
fn column(rng: &mut Rng, alias: &str, of: &Source, kind: Kind) -> String {
    let fitting: Vec<&String> =
        of.columns.iter().filter(|(_, one)| *one == kind).map(|(name, _)| name).collect();
    match (fitting.is_empty(), kind) {
        (true, Kind::Number) => "3".to_owned(),
        (true, Kind::Text) => "'north'".to_owned(),
        (false, _) => format!("{alias}.{}", fitting[rng.below(fitting.len())]),
    }
}

fn number(rng: &mut Rng, alias: &str, of: &Source) -> String {
    let one = column(rng, alias, of, Kind::Number);
    match rng.below(7) {
        0 => format!("({one} + {})", rng.below(5)),
        1 => format!("coalesce({one}, 0)"),
        2 => format!("({one} * 2 - 1)"),
        3 => format!("case when {one} > 4 then {one} else -1 end"),
        4 => format!("character_length({})", column(rng, alias, of, Kind::Text)),
        _ => one,
    }
}

fn text(rng: &mut Rng, alias: &str, of: &Source) -> String {
    let one = column(rng, alias, of, Kind::Text);
    match rng.below(6) {
        0 => format!("upper({one})"),
        1 => format!("coalesce({one}, 'none')"),
        2 => format!("concat({one}, '-', {})", column(rng, alias, of, Kind::Number)),
        _ => one,
    }
}

fn condition(rng: &mut Rng, alias: &str, of: &Source) -> String {
    const TEXTS: &[&str] =
        &["north", "south", "east", "Kiel", "Ulm", "paid", "p3@example.com", "n"];
    let literal = TEXTS[rng.below(TEXTS.len())];
    let count = rng.below(12);
    match rng.below(12) {
        0 => format!("{} = '{literal}'", column(rng, alias, of, Kind::Text)),
        1 => format!("{} <> '{literal}'", text(rng, alias, of)),
        2 => format!("{} > {count}", column(rng, alias, of, Kind::Number)),
        3 => format!("{} <= {count}", number(rng, alias, of)),
        4 => format!("{} in (1, 3, {count}, 600)", column(rng, alias, of, Kind::Number)),
        5 => format!("{} between 2 and {}", column(rng, alias, of, Kind::Number), count + 2),
        6 => format!("{} is not null", column(rng, alias, of, Kind::Text)),
        7 => format!("{} like '%{}%'", text(rng, alias, of), &literal[..1]),
        8 => format!("not ({})", condition(rng, alias, of)),
        9 => format!("({} or {})", condition(rng, alias, of), condition(rng, alias, of)),
        10 => format!("({} and {})", condition(rng, alias, of), condition(rng, alias, of)),
        _ => format!("{} >= '{literal}'", column(rng, alias, of, Kind::Text)),
    }
}

fn filter(rng: &mut Rng, alias: &str, of: &Source) -> String {
    match rng.chance(0.7) {
        true => format!(" where {}", condition(rng, alias, of)),
        false => String::new(),
    }
}

/// Expressions as columns `c0`, `c1`, … with their kinds.
fn shown(expressions: &[(String, Kind)]) -> (String, Vec<(String, Kind)>) {
    let named = expressions.iter().enumerate();
    let sql: Vec<String> = named.map(|(at, (sql, _))| format!("{sql} as c{at}")).collect();
    let kinds = expressions.iter().enumerate().map(|(at, (_, kind))| (format!("c{at}"), *kind));
    (sql.join(", "), kinds.collect())
}

fn some(rng: &mut Rng, alias: &str, of: &Source) -> Vec<(String, Kind)> {
    let count = 1 + rng.below(3);
    (0..count)
        .map(|_| match rng.chance(0.5) {
            true => (number(rng, alias, of), Kind::Number),
            false => (text(rng, alias, of), Kind::Text),
        })
        .collect()
}

fn select(rng: &mut Rng, form: &str, depth: usize) -> Source {
    let a = source(rng, depth);
    match form {
        "join" => join(rng, &a, depth),
        "group" => group(rng, &a),
        "window" => window(rng, &a),
        "set" => set(rng, &a, depth),
        "in" | "exists" | "scalar" => nested(rng, &a, form, depth),
        "cte" => cte(rng, &a),
        _ => {
            let (list, columns) = shown(&some(rng, "a", &a));
            let distinct = if rng.chance(0.2) { "distinct " } else { "" };
            let filter = filter(rng, "a", &a);
            Source { sql: format!("select {distinct}{list} from {} as a{filter}", a.sql), columns }
        }
    }
}

fn join(rng: &mut Rng, a: &Source, depth: usize) -> Source {
    let b = source(rng, depth.saturating_sub(1));
    let way = ["join", "left join", "right join", "full join"][rng.below(4)];
    let on =
        format!("{} = {}", column(rng, "a", a, Kind::Number), column(rng, "b", &b, Kind::Number));
    let mut list = some(rng, "a", a);
    list.extend(some(rng, "b", &b));
    let (list, columns) = shown(&list);
    let filter = match rng.chance(0.5) {
        true => filter(rng, "a", a),
        false => filter(rng, "b", &b),
    };
    Source {
        sql: format!("select {list} from {} as a {way} {} as b on {on}{filter}", a.sql, b.sql),
        columns,
    }
}

fn group(rng: &mut Rng, a: &Source) -> Source {
    let key = match rng.chance(0.6) {
        true => (column(rng, "a", a, Kind::Text), Kind::Text),
        false => (column(rng, "a", a, Kind::Number), Kind::Number),
    };
    let value = number(rng, "a", a);
    let aggregate = match rng.below(5) {
        0 => "count(*)".to_owned(),
        1 => format!("sum({value})"),
        2 => format!("max({value})"),
        3 => format!("count(distinct {value})"),
        _ => format!("min({value}) filter (where {})", condition(rng, "a", a)),
    };
    let filter = filter(rng, "a", a);
    let having = if rng.chance(0.3) { " having count(*) > 1" } else { "" };
    let by = key.0.clone();
    let (list, columns) = shown(&[key, (aggregate, Kind::Number)]);
    Source {
        sql: format!("select {list} from {} as a{filter} group by {by}{having}", a.sql),
        columns,
    }
}

fn window(rng: &mut Rng, a: &Source) -> Source {
    let part = column(rng, "a", a, Kind::Text);
    let value = column(rng, "a", a, Kind::Number);
    let over = match rng.below(3) {
        0 => format!("count(*) over (partition by {part})"),
        1 => format!("sum({value}) over (partition by {part})"),
        _ => format!("rank() over (partition by {part} order by {value})"),
    };
    let mut list = some(rng, "a", a);
    list.push((over, Kind::Number));
    let filter = filter(rng, "a", a);
    let (list, columns) = shown(&list);
    Source { sql: format!("select {list} from {} as a{filter}", a.sql), columns }
}

fn set(rng: &mut Rng, a: &Source, depth: usize) -> Source {
    let b = source(rng, depth.saturating_sub(1));
    let way = ["union all", "union", "intersect", "except"][rng.below(4)];
    let side = |rng: &mut Rng, of: &Source| {
        let list = vec![
            (column(rng, "a", of, Kind::Number), Kind::Number),
            (text(rng, "a", of), Kind::Text),
        ];
        let filter = filter(rng, "a", of);
        let (list, columns) = shown(&list);
        (format!("select {list} from {} as a{filter}", of.sql), columns)
    };
    let (left, columns) = side(rng, a);
    let (right, _) = side(rng, &b);
    Source { sql: format!("{left} {way} {right}"), columns }
}

fn nested(rng: &mut Rng, a: &Source, form: &str, depth: usize) -> Source {
    let b = source(rng, depth.saturating_sub(1));
    let (outer, inner) = (column(rng, "a", a, Kind::Number), column(rng, "b", &b, Kind::Number));
    let not = if rng.chance(0.3) { "not " } else { "" };
    let of_b = condition(rng, "b", &b);
    let mut list = some(rng, "a", a);
    let condition = match form {
        "in" => format!(
            "{outer} {not}in (select {inner} from {} as b where {of_b} and {inner} is not null)",
            b.sql
        ),
        "exists" => {
            format!("{not}exists (select 1 from {} as b where {inner} = {outer} and {of_b})", b.sql)
        }
        _ => {
            let count = format!("(select count(*) from {} as b where {of_b})", b.sql);
            list.push((count, Kind::Number));
            let most = format!("(select max({inner}) from {} as b where {of_b})", b.sql);
            format!("{outer} < {most}")
        }
    };
    let (list, columns) = shown(&list);
    Source { sql: format!("select {list} from {} as a where {condition}", a.sql), columns }
}

fn cte(rng: &mut Rng, a: &Source) -> Source {
    let (list, columns) = shown(&some(rng, "a", a));
    let filter = filter(rng, "a", a);
    let made = Source { sql: "c".to_owned(), columns };
    let (outer, columns) = shown(&some(rng, "x", &made));
    let on = format!("{} = {}", number(rng, "x", &made), column(rng, "y", &made, Kind::Number));
    let sql = format!(
        "with c as (select {list} from {} as a{filter}) select {outer} from c as x join c as y on {on}",
        a.sql
    );
    Source { sql, columns }
}
