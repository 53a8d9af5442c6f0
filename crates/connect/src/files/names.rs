//! Names of columns from a header.

/// The names of the columns in a header: trimmed, none empty, none twice.
pub(crate) fn column_names(header: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(header.len());
    for (at, field) in header.iter().enumerate() {
        let field = field.trim();
        let name = if field.is_empty() { format!("column_{}", at + 1) } else { field.to_owned() };
        names.push(unused(name, &names));
    }
    names
}

/// `name`, or `name_2`, `name_3` … if it is taken.
fn unused(name: String, taken: &[String]) -> String {
    if !taken.contains(&name) {
        return name;
    }
    let mut number = 2;
    loop {
        let candidate = format!("{name}_{number}");
        if !taken.contains(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_gets_its_own_name() {
        let header = ["a", " b ", "", "a", "a"].map(str::to_owned);
        assert_eq!(column_names(&header), ["a", "b", "column_3", "a_2", "a_3"]);
    }
}
