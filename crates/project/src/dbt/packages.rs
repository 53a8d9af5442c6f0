//! `packages.yml` and `dependencies.yml`: which of what they name is there.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::load::read_tree;
use crate::template::Macros;
use crate::yaml::Node;

/// Files that name packages.
const FILES: &[&str] = &["packages.yml", "dependencies.yml"];

/// Warns of packages that are neither part of the program nor in the folder of packages. Whoever uses
/// one gets an error; the warning says why.
pub(crate) fn warn_of_missing(dir: &Path, folder: &str, macros: &Macros, out: &mut Diagnostics) {
    let built_in = macros.packages();
    for name in FILES {
        if !dir.join(name).is_file() {
            continue;
        }
        // An empty file is dbt's way to say that nothing is needed.
        let mut said = Diagnostics::default();
        let Some((file, node)) = read_tree(dir, name, &mut said) else { continue };
        for item in node.get("packages").map(Node::items).unwrap_or_default() {
            let keys = ["package", "git", "local", "tarball", "name"];
            let Some(named) = keys.iter().find_map(|key| item.get(key)?.text()) else { continue };
            let bare = named.trim_end_matches('/').trim_end_matches(".git");
            let last = bare.rsplit('/').next().unwrap_or(bare).replace('-', "_");
            let known = [last.as_str(), last.trim_start_matches("dbt_")];
            let there = known.iter().any(|name| built_in.contains(name))
                || dir.join(folder).join(&last).is_dir();
            if !there {
                let message = format!("the package {named} is not there");
                let hint = format!("Run `dbt deps`, or put its folder into {folder}/.");
                out.push(&file, Diagnostic::warning(item.span, message).hint(hint));
            }
        }
    }
}
