//! Every file: small, no paths of one person's machine, no loose ends without an issue.

use super::Findings;
use super::tree::{File, Tree};

/// The most bytes of a file.
const BYTES_MAX: u64 = 1 << 20;

/// Words that mark a loose end, in two parts so that this file has none.
const LOOSE_ENDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

/// Folders that exist on somebody's machine, in two parts so that this file names none.
const MACHINE_FOLDERS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/fa", "rm/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

/// Checks every file's size and text.
pub(super) fn check(tree: &Tree, findings: &mut Findings) {
    for file in &tree.files {
        if file.bytes > BYTES_MAX {
            findings.problem(format!(
                "{} has {} bytes, at most {BYTES_MAX} are allowed",
                file.path, file.bytes
            ));
        }
        if !file.path.ends_with(".lock") {
            check_lines(file, findings);
        }
    }
}

fn check_lines(file: &File, findings: &mut Findings) {
    for (number, line) in (1..).zip(file.text.lines()) {
        let place = format!("{}:{number}", file.path);
        for word in LOOSE_ENDS.iter().filter(|word| is_loose(line, word)) {
            findings
                .problem(format!("{place}: {word} without an issue; write {word}(#12) or do it"));
        }
        if let Some(folder) = MACHINE_FOLDERS.iter().find(|folder| names_folder(line, folder)) {
            findings.problem(format!("{place}: {folder} is a folder of one machine"));
        }
    }
}

/// Whether the word stands alone in the line without `(#12)` after it.
fn is_loose(line: &str, word: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let after = line.get(start + word.len()..).unwrap_or_default();
        let before = line.get(..start).unwrap_or_default();
        let alone = !before.ends_with(letter) && !after.starts_with(letter);
        let issue = after
            .strip_prefix("(#")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        alone && !issue
    })
}

/// Whether the line holds an absolute path below the folder.
fn names_folder(line: &str, folder: &str) -> bool {
    let inside_a_path = |c: char| c.is_ascii_alphanumeric() || "._-}*/".contains(c);
    line.match_indices(folder).any(|(start, _)| {
        let after = line.get(start + folder.len()..).unwrap_or_default();
        let before = line.get(..start).unwrap_or_default();
        !before.ends_with(inside_a_path)
            && after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.')
    })
}

#[cfg(test)]
mod tests {
    use super::super::problems;
    use super::super::tree::tree_of;
    use super::*;

    #[test]
    fn loose_ends_need_an_issue() {
        let word = LOOSE_ENDS.first().unwrap();
        assert!(is_loose(&format!("// {word}: later"), word));
        assert!(!is_loose(&format!("// {word}(#12): later"), word));
        assert!(!is_loose(&format!("let MY{word}S = 1;"), word));
    }

    #[test]
    fn absolute_paths_of_a_machine_are_refused() {
        let folder = MACHINE_FOLDERS.first().unwrap();
        assert!(names_folder(&format!("path = \"{folder}data\""), folder));
        assert!(!names_folder(&format!("frame{folder}data"), folder));
        let big = "x".repeat(1 + (1 << 20));
        assert_eq!(problems(check, &tree_of(&[("a.bin", &big)])).len(), 1);
    }
}
