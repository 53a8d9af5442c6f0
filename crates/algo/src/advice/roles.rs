//! What each table is for, what one row of it is, and what of it can be added up.

use super::{ColumnFacts, Facts, Key, Kind, Proposal, Reference, Role};

/// The score from which a table is a fact.
const FACT_MIN: f64 = 2.0;
/// Rows from which a table that refers to nothing can be a fact.
const LONE_ROWS_MIN: usize = 1_000;

/// Words of tables of things that happen.
const EVENTS: &[&str] = &[
    "sale",
    "order",
    "invoice",
    "transaction",
    "payment",
    "line",
    "item",
    "event",
    "log",
    "visit",
    "click",
    "shipment",
    "delivery",
    "inventory",
    "movement",
    "entry",
    "expense",
    "booking",
    "rating",
    "review",
    "session",
    "usage",
    "claim",
    "trade",
    "订单",
    "交易",
    "明细",
    "事实",
];
/// Words of tables of things that are.
const THINGS: &[&str] = &[
    "dim",
    "type",
    "class",
    "category",
    "status",
    "region",
    "lookup",
    "lkp",
    "calendar",
    "reference",
    "group",
    "master",
    "维度",
    "分类",
];
/// Words of tables that pair things.
const PAIRS: &[&str] = &[
    "bridge",
    "map",
    "mapping",
    "link",
    "xref",
    "assoc",
    "association",
    "closure",
    "membership",
    "rel",
];
/// Words of tables of time.
pub(super) const TIMES: &[&str] = &["time", "date", "calendar", "day"];
/// Words of days on which something became so, in tables of things.
const STATES: &[&str] = &[
    "birth",
    "birthdate",
    "hire",
    "open",
    "opened",
    "start",
    "end",
    "valid",
    "create",
    "created",
    "update",
    "updated",
    "modified",
    "remodel",
    "expire",
    "expiry",
    "join",
    "registered",
    "signup",
];

/// What speaks for a table being a fact.
struct Weighed {
    score: f64,
    reasons: Vec<String>,
    against: Vec<String>,
}

impl Weighed {
    fn add(&mut self, points: f64, reason: impl Into<String>) {
        self.score += points;
        if points > 0.0 { &mut self.reasons } else { &mut self.against }.push(reason.into());
    }
}

/// Gives every table its role.
pub(super) fn assign(
    tables: &[Facts<'_>],
    keys: Vec<Option<Key>>,
    references: Vec<Vec<Reference>>,
) -> Vec<Proposal> {
    let referring: Vec<Vec<usize>> = tables
        .iter()
        .enumerate()
        .map(|(to, table)| {
            let others = references.iter().enumerate().filter(|(at, _)| *at != to);
            let others =
                others.filter(|(_, list)| list.iter().any(|one| one.table == table.table.name));
            others.map(|(at, _)| at).collect()
        })
        .collect();
    let rows_of = |name: &str| {
        tables.iter().find(|table| table.table.name == name).map_or(0, |table| table.rows)
    };
    let mut proposals = Vec::with_capacity(tables.len());
    for (((table, key), references), referring) in
        tables.iter().zip(keys).zip(references).zip(&referring)
    {
        let away: Vec<&Reference> =
            references.iter().filter(|one| one.table != table.table.name).collect();
        let measures = measures(table, key.as_ref(), &references);
        let bridge = bridge(table, key.as_ref(), &away, &measures);
        let largest = away.iter().map(|one| rows_of(&one.table)).max().unwrap_or_default();
        let weighed = weigh(table, key.as_ref(), &away, &measures, referring.len(), largest);
        let (role, confidence, reasons) = match bridge {
            Some(reason) => (Role::Bridge, 0.85, vec![reason]),
            None if weighed.score >= FACT_MIN => {
                (Role::Fact, sure(weighed.score - FACT_MIN), weighed.reasons)
            }
            None => (Role::Dimension, sure(FACT_MIN - weighed.score), weighed.against),
        };
        let grain = grain(table, role, key.as_ref(), &away);
        proposals.push(Proposal {
            table: table.table.name.clone(),
            rows: table.rows,
            role,
            confidence,
            reasons,
            key,
            references,
            grain,
            measures: if role == Role::Dimension { Vec::new() } else { measures },
            attributes: Vec::new(),
            outrigger: false,
        });
    }
    let outriggers: Vec<bool> = proposals
        .iter()
        .zip(&referring)
        .map(|(proposal, referring)| {
            let role_of = |at: &usize| proposals.get(*at).map(|proposal| proposal.role);
            proposal.role == Role::Dimension
                && referring.iter().any(|at| role_of(at) == Some(Role::Dimension))
                && !referring.iter().any(|at| role_of(at) == Some(Role::Fact))
        })
        .collect();
    for (proposal, outrigger) in proposals.iter_mut().zip(outriggers) {
        proposal.outrigger = outrigger;
    }
    proposals
}

fn weigh(
    table: &Facts<'_>,
    key: Option<&Key>,
    away: &[&Reference],
    measures: &[String],
    referring: usize,
    largest: usize,
) -> Weighed {
    let mut weighed = Weighed { score: 0.0, reasons: Vec::new(), against: Vec::new() };
    let whole = super::name::Name::of(&table.table.name);
    let said_fact = whole.has(&["fact", "fct"]);
    // Names that databases fold to lower case have their words together: `invoiceline`.
    let compact = table.base.compact();
    let folded =
        |word: &str| word.len() > 4 && (compact.starts_with(word) || compact.ends_with(word));
    let event = table.base.has(EVENTS) || EVENTS.iter().any(|word| folded(word));
    if said_fact {
        weighed.add(3.0, "its name says fact");
    } else if event {
        weighed.add(1.5, "its name is that of something that happens");
    }
    if whole.has(THINGS) {
        weighed.add(-2.5, "its name is that of a kind of thing");
    }
    let happened = table.columns.iter().any(|column| {
        let moment =
            matches!(column.column.kind, Kind::Day | Kind::Moment) || column.name.ends(&["date"]);
        moment
            && !column.name.has(STATES)
            && !STATES.iter().any(|word| word.len() > 4 && column.name.compact().starts_with(word))
    });
    let by_calendar = away.iter().any(|one| super::name::Name::of_table(&one.table).has(TIMES));
    let timed = happened || by_calendar;
    if table.base.has(TIMES) && !event && !said_fact {
        weighed.add(-3.0, "it is a table of days");
    }
    if referring > 0 {
        let tables = if referring == 1 { "table refers" } else { "tables refer" };
        weighed.add(-(referring.min(2) as f64), format!("{referring} other {tables} to it"));
        if !timed && !event && !said_fact {
            weighed.add(-3.0, "nothing in it says when something happened");
        }
    }
    if away.is_empty() {
        if !(said_fact || (timed && !measures.is_empty() && table.rows >= LONE_ROWS_MIN)) {
            weighed.add(-3.0, "it refers to no other table");
        }
    } else {
        let tables = if away.len() == 1 { "table" } else { "tables" };
        weighed
            .add(away.len().min(3) as f64, format!("it refers to {} other {tables}", away.len()));
    }
    if key.is_none_or(|key| key.columns.len() > 1) && !away.is_empty() {
        weighed.add(0.5, "no single column identifies a row");
    }
    let texts = table.columns.iter().filter(|column| {
        column.column.kind == Kind::Text
            && !away.iter().any(|one| one.columns.contains(&column.column.name))
    });
    let texts = texts.count();
    if measures.len() >= texts && !measures.is_empty() {
        weighed.add(1.5, format!("it has {} figures and {texts} texts", measures.len()));
    } else if texts > measures.len() + 2 {
        weighed.add(-1.5, format!("it has {texts} texts and {} figures", measures.len()));
    }
    if timed {
        weighed.add(1.0, "it says when something happened");
    }
    if largest > 0 && table.rows >= 2 * largest {
        weighed.add(1.0, "it has many rows for one of what it refers to");
    }
    weighed
}

/// Why a table pairs things, if it does.
fn bridge(
    table: &Facts<'_>,
    key: Option<&Key>,
    away: &[&Reference],
    measures: &[String],
) -> Option<String> {
    let key = key.filter(|key| key.columns.len() > 1)?;
    let refers = |column: &String| away.iter().any(|one| one.columns.contains(column));
    let named = table.base.has(PAIRS);
    let bare = table.columns.len() == key.columns.len();
    let only_keys = key.columns.iter().all(refers);
    if only_keys && (bare || (named && measures.len() < 2)) {
        return Some(match bare {
            true => "it has nothing but references that together identify a row".to_owned(),
            false => "it pairs what it refers to, and is called so".to_owned(),
        });
    }
    None
}

fn measures(table: &Facts<'_>, key: Option<&Key>, references: &[Reference]) -> Vec<String> {
    let keyed = |column: &ColumnFacts<'_>| {
        let name = &column.column.name;
        key.is_some_and(|key| key.columns.contains(name))
            || references.iter().any(|one| one.columns.contains(name))
    };
    let measures = table
        .columns
        .iter()
        .filter(|column| column.measures() && !keyed(column) && !column.distinct.is_empty());
    measures.map(|column| column.column.name.clone()).collect()
}

fn grain(table: &Facts<'_>, role: Role, key: Option<&Key>, away: &[&Reference]) -> String {
    match (role, key) {
        (Role::Dimension, Some(key)) => format!("one row per {}", key.columns.join(", ")),
        (_, Some(key)) => {
            let of = key.columns.iter().map(|column| {
                let to =
                    away.iter().find(|one| one.columns.as_slice() == std::slice::from_ref(column));
                // Two references to one table are told apart by their columns.
                let once = |to: &&&Reference| {
                    let same = |one: &&&Reference| {
                        one.table == to.table && key.columns.iter().any(|c| one.columns.contains(c))
                    };
                    away.iter().filter(same).count() == 1
                };
                to.filter(once).map_or_else(|| column.clone(), |to| to.table.clone())
            });
            format!("one row per {}", of.collect::<Vec<_>>().join(", "))
        }
        (_, None) if away.is_empty() => {
            format!("rows of {} are not told apart by any key", table.table.name)
        }
        (_, None) => {
            let of: Vec<&str> = away.iter().map(|one| one.table.as_str()).collect();
            format!("several rows per {}; no combination of references is unique", of.join(", "))
        }
    }
}

/// How sure a role is by its distance from the other one.
fn sure(distance: f64) -> f64 {
    0.5 + 0.48 * (1.0 - (-0.5 * distance.abs()).exp())
}
