//! What a metric's SQL puts together, and what it then does with that.
//!
//! `SUM(orders.amount) / NULLIF(COUNT(*), 0)` is two calls and the skeleton `part_0 / part_1`. Only what our metrics
//! can say is taken: calls of one table each, and arithmetic over them. Everything else is refused with its reason, so
//! that no imported metric means something else than the one it came from.

use crate::resource::semantic::Aggregate;

/// A call of an aggregate function.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) aggregate: Aggregate,
    /// Which share of the values lies below a quantile.
    pub(super) p: Option<f64>,
    /// What is put together; none for rows.
    pub(super) of: Option<String>,
}

/// A metric's SQL taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    pub(super) calls: Vec<Call>,
    pub(super) shape: Shape,
    /// What stands where there is nothing.
    pub(super) default: Option<f64>,
}

/// What is done with the calls.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// There is one, as it is.
    One,
    /// The first divided by the second.
    Ratio,
    /// Arithmetic over `part_0`, `part_1`, …
    Derived(String),
}

/// What a part is called in a skeleton.
pub(super) fn part(at: usize) -> String {
    format!("part_{at}")
}

/// Functions of many rows, with those whose meaning we do not take over.
const FUNCTIONS: &[(&str, Option<Aggregate>)] = &[
    ("sum", Some(Aggregate::Sum)),
    ("count", Some(Aggregate::Count)),
    ("avg", Some(Aggregate::Average)),
    ("average", Some(Aggregate::Average)),
    ("mean", Some(Aggregate::Average)),
    ("min", Some(Aggregate::Min)),
    ("max", Some(Aggregate::Max)),
    ("median", Some(Aggregate::Median)),
    ("percentile_cont", Some(Aggregate::Quantile)),
    ("approx_count_distinct", None),
    ("array_agg", None),
    ("listagg", None),
    ("percentile_disc", None),
    ("stddev", None),
    ("stddev_pop", None),
    ("stddev_samp", None),
    ("string_agg", None),
    ("variance", None),
    ("var_pop", None),
    ("var_samp", None),
];

/// Takes a metric's SQL apart.
///
/// # Errors
/// Why it cannot be said in our words.
pub(super) fn parts(sql: &str) -> Result<Parts, String> {
    let mut calls: Vec<Call> = Vec::new();
    let mut skeleton = String::new();
    let mut rest = sql.trim();
    let mut default = None;
    if let Some((inner, after)) = call_of(rest, "coalesce")
        && after.trim().is_empty()
        && let [of, otherwise] = arguments(inner)?.as_slice()
        && let Ok(number) = otherwise.trim().parse::<f64>()
    {
        (rest, default) = (of.trim(), Some(number));
    }
    while let Some(first) = rest.chars().next() {
        if first == '\'' || first == '"' || first == '`' {
            let (quoted, after) = quoted(rest)?;
            skeleton.push_str(quoted);
            rest = after;
            continue;
        }
        if !(first.is_alphabetic() || first == '_') {
            skeleton.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (word, after) = word_of(rest);
        let known = FUNCTIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        let Some((name, aggregate)) = known.filter(|_| after.trim_start().starts_with('(')) else {
            skeleton.push_str(word);
            rest = after;
            continue;
        };
        let aggregate = aggregate.ok_or_else(|| format!("{name} has no measure of ours"))?;
        let (inner, after) = enclosed(after.trim_start())?;
        let (call, after) = call(aggregate, inner, after)?;
        let at = calls.iter().position(|known| *known == call).unwrap_or_else(|| {
            calls.push(call);
            calls.len() - 1
        });
        skeleton.push_str(&part(at));
        rest = after;
    }
    if calls.is_empty() {
        return Err(
            "it puts no rows together: write SUM, COUNT, AVG, MIN, MAX or MEDIAN".to_owned()
        );
    }
    let skeleton = simpler(&skeleton)?;
    let shape = match (calls.len(), unwrapped(&skeleton)) {
        (1, "part_0") => Shape::One,
        (2, text) if halves(text) => Shape::Ratio,
        (_, text) => Shape::Derived(text.to_owned()),
    };
    Ok(Parts { calls, shape, default })
}

/// A call with its arguments, and what follows it.
fn call<'t>(aggregate: Aggregate, inner: &str, after: &'t str) -> Result<(Call, &'t str), String> {
    let next = after.trim_start();
    let (word, _) = word_of(next);
    if word.eq_ignore_ascii_case("over") || word.eq_ignore_ascii_case("filter") {
        return Err(format!("{} is not taken over", word.to_uppercase()));
    }
    let inner = inner.trim();
    if FUNCTIONS.iter().any(|(name, _)| finds(inner, name)) {
        return Err("an aggregate stands within another".to_owned());
    }
    if aggregate == Aggregate::Quantile {
        let wrong =
            || "a percentile is read as PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY x)".to_owned();
        let p: f64 = inner.parse().map_err(|_| wrong())?;
        let next =
            keyword(next, "within").and_then(|next| keyword(next, "group")).ok_or_else(wrong)?;
        let (ordered, after) = enclosed(next)?;
        let of =
            keyword(ordered.trim(), "order").and_then(|of| keyword(of, "by")).ok_or_else(wrong)?;
        let last = of.rsplit(char::is_whitespace).next().unwrap_or_default();
        if last.eq_ignore_ascii_case("desc") {
            return Err(wrong());
        }
        let of = of.trim_end_matches(|c: char| c.is_whitespace());
        let of = match last.eq_ignore_ascii_case("asc") {
            true => of.get(..of.len() - last.len()).unwrap_or_default().trim_end(),
            false => of,
        };
        let call = match p == 0.5 {
            true => Call { aggregate: Aggregate::Median, p: None, of: Some(of.to_owned()) },
            false => Call { aggregate, p: Some(p), of: Some(of.to_owned()) },
        };
        return Ok((call, after));
    }
    let distinct = keyword(inner, "distinct");
    let call = match (aggregate, distinct) {
        (Aggregate::Count, Some(of)) => {
            Call { aggregate: Aggregate::CountDistinct, p: None, of: Some(of.to_owned()) }
        }
        (_, Some(_)) => return Err("DISTINCT is taken over in COUNT alone".to_owned()),
        (Aggregate::Count, None) if inner == "*" || inner.parse::<f64>().is_ok() => {
            Call { aggregate, p: None, of: None }
        }
        (aggregate, None) => {
            if arguments(inner)?.len() != 1 || inner.is_empty() {
                return Err("an aggregate takes one expression".to_owned());
            }
            Call { aggregate, p: None, of: Some(inner.to_owned()) }
        }
    };
    Ok((call, after))
}

/// The skeleton without guards against a division by zero and without casts to fractions: our division gives nothing
/// for zero, and always a fraction.
fn simpler(skeleton: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = skeleton;
    while let Some(first) = rest.chars().next() {
        if !(first.is_alphabetic() || first == '_') {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (word, after) = word_of(rest);
        let followed = after.trim_start().starts_with('(');
        if word.eq_ignore_ascii_case("nullif") && followed {
            let (inner, after) = enclosed(after.trim_start())?;
            let guarded = match arguments(inner)?.as_slice() {
                [of, zero] if zero.trim().parse::<f64>() == Ok(0.0) => simpler(of)?,
                _ => return Err("NULLIF is taken over against 0 alone".to_owned()),
            };
            out.push_str(&format!("({})", guarded.trim()));
            rest = after;
        } else if word.eq_ignore_ascii_case("cast") && followed {
            let (inner, after) = enclosed(after.trim_start())?;
            let lower = inner.to_ascii_lowercase();
            let (of, kind) = lower
                .rfind(" as ")
                .and_then(|at| Some((inner.get(..at)?, inner.get(at + 4..)?)))
                .ok_or_else(|| "a cast without a type".to_owned())?;
            let kind = kind.trim().to_ascii_lowercase();
            let fraction = ["double", "float", "real", "decimal", "numeric"];
            if !fraction.iter().any(|known| kind.starts_with(known)) {
                return Err(format!("a cast to {kind} is not taken over"));
            }
            out.push_str(&format!("({})", simpler(of)?.trim()));
            rest = after;
        } else {
            out.push_str(word);
            rest = after;
        }
    }
    Ok(out)
}

/// Whether a skeleton is the first part divided by the second.
fn halves(skeleton: &str) -> bool {
    let Some((left, right)) = skeleton.split_once('/') else { return false };
    unwrapped(left) == "part_0" && unwrapped(right) == "part_1"
}

/// A text without the parentheses around all of it.
fn unwrapped(text: &str) -> &str {
    let text = text.trim();
    match enclosed(text) {
        Ok((inner, after)) if after.trim().is_empty() => unwrapped(inner),
        _ => text,
    }
}

/// What follows a keyword that `text` begins with.
fn keyword<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (first, after) = word_of(text.trim_start());
    first.eq_ignore_ascii_case(word).then(|| after.trim_start())
}

/// The word a text begins with, and what follows it.
fn word_of(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

/// Whether a text calls a function.
fn finds(text: &str, function: &str) -> bool {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            rest = quoted(rest).map_or("", |(_, after)| after);
            continue;
        }
        if !(first.is_alphanumeric() || first == '_') {
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (word, after) = word_of(rest);
        if word.eq_ignore_ascii_case(function) && after.trim_start().starts_with('(') {
            return true;
        }
        rest = after;
    }
    false
}

/// The arguments of a call of `function` that a text begins with, and what follows.
fn call_of<'t>(text: &'t str, function: &str) -> Option<(&'t str, &'t str)> {
    let (word, after) = word_of(text);
    word.eq_ignore_ascii_case(function).then(|| enclosed(after.trim_start()).ok())?
}

/// The quoted text at the start, with its quotes, and what follows.
fn quoted(text: &str) -> Result<(&str, &str), String> {
    let quote = text.chars().next().unwrap_or('\'');
    let mut from = quote.len_utf8();
    loop {
        let Some(end) = text.get(from..).and_then(|rest| rest.find(quote)) else {
            return Err(format!("a text that begins with {quote} does not end"));
        };
        let after = from + end + quote.len_utf8();
        // A quote that is doubled is one of the text.
        if !text.get(after..).is_some_and(|rest| rest.starts_with(quote)) {
            return Ok(text.split_at(after));
        }
        from = after + quote.len_utf8();
    }
}

/// What stands in the parentheses that a text begins with, and what follows them.
fn enclosed(text: &str) -> Result<(&str, &str), String> {
    let open = || "a parenthesis does not close".to_owned();
    if !text.starts_with('(') {
        return Err("a parenthesis is missing".to_owned());
    }
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let letter = rest.chars().next().ok_or_else(open)?;
        match letter {
            '\'' | '"' | '`' => {
                at += quoted(rest)?.0.len();
                continue;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        at += letter.len_utf8();
        if depth == 0 {
            let inner = text.get(1..at - 1).ok_or_else(open)?;
            return Ok((inner, text.get(at..).unwrap_or_default()));
        }
    }
    Err(open())
}

/// The arguments of a call.
fn arguments(inner: &str) -> Result<Vec<&str>, String> {
    let (mut found, mut from, mut at) = (Vec::new(), 0, 0);
    while let Some(letter) = inner.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = inner.get(at..).unwrap_or_default();
        match letter {
            '\'' | '"' | '`' => at += quoted(rest)?.0.len(),
            '(' => at += rest.len() - enclosed(rest)?.1.len(),
            ')' => return Err("a parenthesis closes that was not opened".to_owned()),
            ',' => {
                found.push(inner.get(from..at).unwrap_or_default());
                at += 1;
                from = at;
            }
            _ => at += letter.len_utf8(),
        }
    }
    found.push(inner.get(from..).unwrap_or_default());
    Ok(found)
}

/// A row expression with every `table.column` replaced: `bind` gets both names and gives the SQL.
///
/// # Errors
/// Those of `bind`, and texts that do not end.
pub(super) fn rebound(
    sql: &str,
    bind: &mut dyn FnMut(&str, &str) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (text, after) = quoted(rest)?;
            out.push_str(text);
            rest = after;
            continue;
        }
        let Some((table, after)) = name_of(rest)? else {
            // A number with a fraction is no path.
            let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
            let end = if first.is_ascii_digit() { end } else { first.len_utf8() };
            out.push_str(rest.get(..end).unwrap_or_default());
            rest = rest.get(end..).unwrap_or_default();
            continue;
        };
        let column = match after.strip_prefix('.') {
            Some(after) => name_of(after)?,
            None => None,
        };
        match column {
            Some((column, behind)) => {
                if behind.starts_with('.') {
                    return Err(format!("\"{table}.{column}.…\" is no field of a data set"));
                }
                out.push_str(&bind(&table, &column)?);
                rest = behind;
            }
            None => {
                let written = rest.len() - after.len();
                out.push_str(rest.get(..written).unwrap_or_default());
                rest = after;
            }
        }
    }
    Ok(out)
}

/// The name a text begins with, without its quotes, and what follows.
fn name_of(text: &str) -> Result<Option<(String, &str)>, String> {
    match text.chars().next() {
        Some(quote @ ('"' | '`')) => {
            let (name, after) = quoted(text)?;
            let bare =
                name.trim_matches(quote).replace(&format!("{quote}{quote}"), &quote.to_string());
            Ok(Some((bare, after)))
        }
        Some(letter) if letter.is_alphabetic() || letter == '_' => {
            let (name, after) = word_of(text);
            Ok(Some((name.to_owned(), after)))
        }
        _ => Ok(None),
    }
}
