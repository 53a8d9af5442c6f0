//! Tables in papers that tidy reads: between `<!-- tidy:NAME -->` and `<!-- /tidy:NAME -->`.

/// The rows of a marked Markdown table without its heading, each a list of cells.
pub(crate) fn rows(text: &str, name: &str) -> Option<Vec<Vec<String>>> {
    let (_, after) = text.split_once(&format!("<!-- tidy:{name} -->"))?;
    let (table, _) = after.split_once(&format!("<!-- /tidy:{name} -->"))?;
    let lines = table.lines().map(str::trim).filter(|line| line.starts_with('|'));
    Some(lines.skip(2).map(cells).collect())
}

/// The words in backticks of a cell.
pub(crate) fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_table_is_read() {
        let text = "| x |\n|---|\n| no |\n<!-- tidy:floors -->\n| floor | crate |\n|---|---|\n| 0 | `base` |\n<!-- /tidy:floors -->\n";
        assert_eq!(rows(text, "floors").unwrap(), [["0", "`base`"]]);
        assert_eq!(rows(text, "walls"), None);
        assert_eq!(words("`a`, `b` and c"), ["a", "b"]);
    }
}
