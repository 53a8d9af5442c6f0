//! Text as HTML: escaping, two languages side by side, numbers.

/// Makes a text safe inside elements and quoted attributes. Control characters, which HTML forbids,
/// become visible.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(letter),
            control if control.is_control() => safe.push('\u{FFFD}'),
            other => safe.push(other),
        }
    }
    safe
}

/// Markup in English and Chinese, of which the page shows one. Both are markup: escape data first.
pub(super) fn both(en: &str, zh: &str) -> String {
    format!(
        "<span class=\"en\" lang=\"en\">{en}</span><span class=\"zh\" lang=\"zh-CN\">{zh}</span>"
    )
}

/// A data text in English with its Chinese form, if there is one; escaped.
pub(super) fn named(name: &str, zh: Option<&str>) -> String {
    match zh {
        Some(zh) if !zh.is_empty() => both(&escape(name), &escape(zh)),
        _ => escape(name),
    }
}

/// A text of a drawing in both languages.
pub(super) fn svg_both(attributes: &str, en: &str, zh: &str) -> String {
    format!(
        "<text {attributes} class=\"en\">{}</text><text {attributes} class=\"zh\">{}</text>",
        escape(en),
        escape(zh)
    )
}

/// A whole number with thousands separators.
pub(super) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with thousands separators and `decimals` digits after the point.
pub(super) fn number(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let (integer, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let integer = integer.parse::<u64>().map_or_else(|_| integer.to_owned(), whole);
    let zero = text.chars().all(|c| c == '0' || c == '.');
    let mut made = if value < 0.0 && !zero { format!("−{integer}") } else { integer };
    if !fraction.is_empty() {
        made.push('.');
        made.push_str(fraction);
    }
    made
}

/// A share as per cent: `18.4 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0, 1))
}

/// A difference of shares in points, with its sign: `+7.4`.
pub(super) fn points(lift: f64) -> String {
    let text = number(lift * 100.0, 1);
    if lift > 0.0 && text != "0.0" { format!("+{text}") } else { text }
}

/// An optional value, or a dash.
pub(super) fn or_dash(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

/// A heading with an anchor, and what stands under it.
pub(super) fn section(id: &str, title: (&str, &str), lead: (&str, &str), body: &str) -> String {
    format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-h\"><h2 id=\"{id}-h\">{}</h2><p class=\"lead\">{}</p>{body}</section>\n",
        both(title.0, title.1),
        both(lead.0, lead.1)
    )
}

/// A column of a table: its heading in both languages, and whether it holds numbers.
pub(super) type Heading<'a> = (&'a str, &'a str, bool);

/// A table that scrolls sideways where it does not fit. Cells are markup.
pub(super) fn table(label: (&str, &str), headings: &[Heading<'_>], rows: &[Vec<String>]) -> String {
    let mut html = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{} · {}\"><table><thead><tr>",
        escape(label.0),
        escape(label.1)
    );
    for (en, zh, numeric) in headings {
        let class = if *numeric { " class=\"n\"" } else { "" };
        html.push_str(&format!("<th scope=\"col\"{class}>{}</th>", both(en, zh)));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (place, cell) in row.iter().enumerate() {
            let numeric = headings.get(place).is_some_and(|heading| heading.2);
            let class = if numeric { " class=\"n\"" } else { "" };
            html.push_str(&format!("<td{class}>{cell}</td>"));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// A wide drawing that scrolls sideways on a phone instead of shrinking beyond reading.
pub(super) fn sideways(svg: &str) -> String {
    format!("<div class=\"sideways\" tabindex=\"0\">{svg}</div>")
}

/// A cell whose text may take several lines.
pub(super) fn wrapped(markup: &str) -> String {
    format!("<span class=\"wrap\">{markup}</span>")
}

/// Something that opens on demand.
pub(super) fn details(summary: (&str, &str), body: &str) -> String {
    format!("<details><summary>{}</summary>{body}</details>", both(summary.0, summary.1))
}

/// The kind of a node of a lineage in both languages; unknown ones as they are.
pub(super) fn kind_words(kind: &str) -> String {
    let zh = match kind {
        "metric" => "指标",
        "semantic" => "语义视图",
        "model" => "模型",
        "source" => "落地表",
        "file" => "文件",
        "learner" => "学习器",
        "policy" => "策略",
        _ => return escape(kind),
    };
    both(kind, zh)
}

/// A stage of a customer's life in both languages; unknown ones as they are.
pub(super) fn stage_words(stage: &str) -> (String, String) {
    let known = match stage {
        "prospect" => ("prospect", "潜在"),
        "new" => ("new", "新客"),
        "active" => ("active", "活跃"),
        "champion" => ("champion", "核心"),
        "at-risk" => ("at risk", "有流失风险"),
        "churned" => ("churned", "已流失"),
        other => (other, other),
    };
    (known.0.to_owned(), known.1.to_owned())
}
