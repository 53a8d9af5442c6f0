//! `cargo xtask snippets`: the files shown in README and guides are a project that `check` accepts.
//!
//! A fenced block after the line `<!-- file: PATH -->` is that file of the paper's project. A file
//! that is needed but not shown stands in a comment: `<!-- file: PATH`, its text, `-->`.

use std::fs;
use std::path::Path;

use crate::binary::Flywheel;
use crate::context::Context;
use crate::tally::Tally;
use crate::{Result, process};

/// `cargo xtask snippets`.
pub(crate) const COMMAND: super::Command = super::Command {
    name: "snippets",
    arguments: "",
    about: "check that the files shown in README and guides are projects that load",
    run: |context, arguments| {
        super::no_arguments(arguments)?;
        Ok(snippets(context)?.close())
    },
};

/// What begins the name of a file.
const MARK: &str = "<!-- file: ";

/// Checks every paper that shows files.
pub(crate) fn snippets(context: &Context) -> Result<Tally> {
    let flywheel = Flywheel::build(context)?;
    let folder = context.scratch("snippets")?;
    let mut papers = vec![context.root.join("README.md")];
    for place in ["docs/guides", "docs/concepts"] {
        for entry in fs::read_dir(context.root.join(place))? {
            papers.push(entry?.path());
        }
    }
    papers.sort();
    let mut tally = Tally::default();
    for paper in papers {
        let name = paper.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let files = files(&fs::read_to_string(&paper)?)?;
        if files.is_empty() {
            continue;
        }
        let project = folder.join(&name);
        write(&project, &files)?;
        let accepted = process::succeeds(&mut flywheel.on(&project, &["check"]))?;
        tally.record(&format!("snippets: the {} files of {name}", files.len()), accepted);
    }
    Ok(tally)
}

fn write(project: &Path, files: &[(String, String)]) -> Result<()> {
    for (path, text) in files {
        let path = project.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}

/// The files of a paper: path and text.
fn files(paper: &str) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    let mut lines = paper.lines();
    while let Some(line) = lines.next() {
        let Some(mark) = line.strip_prefix(MARK) else { continue };
        let shown = mark.strip_suffix("-->");
        let path = shown.unwrap_or(mark).trim().to_owned();
        let end = if shown.is_some() { "```" } else { "-->" };
        if shown.is_some() && !lines.next().is_some_and(|fence| fence.starts_with("```")) {
            return Err(format!("{path}: no fenced block follows the mark").into());
        }
        let mut text = String::new();
        loop {
            match lines.next() {
                None => return Err(format!("{path}: the block does not end").into()),
                Some(line) if line == end => break,
                Some(line) => text.push_str(&format!("{line}\n")),
            }
        }
        files.push((path, text));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_and_hidden_files_are_found_and_other_blocks_are_not() {
        let paper = "# Title\n<!-- file: a.yaml -->\n```yaml\nname: a\n```\n```sh\nls\n```\n<!-- file: b/c.sql\nselect 1\n-->\n";
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        assert_eq!(
            files(paper).unwrap(),
            [file("a.yaml", "name: a\n"), file("b/c.sql", "select 1\n")]
        );
    }

    #[test]
    fn a_mark_without_its_block_is_refused() {
        assert!(files("<!-- file: a.yaml -->\n\ntext\n").is_err());
        assert!(files("<!-- file: a.yaml -->\n```yaml\nname: a\n").is_err());
    }
}
