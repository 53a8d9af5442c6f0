//! `flywheel grants`.

use clap::Args;
use flywheel_base::Result;
use flywheel_project::grant::{Deed, Governed};
use flywheel_project::resource::grant::Holders;
use flywheel_runtime::access::Reader;
use flywheel_runtime::access::granted::{self, Access as Effective, Listed};
use flywheel_runtime::{Access, Workspace};
use serde_json::json;

use super::Runs;
use crate::app::{App, Exit};
use crate::output::{Format, Grid};

/// Names of things that are written out for each kind.
const NAMES_SHOWN: usize = 12;

/// Options of `flywheel grants`.
#[derive(Debug, Args)]
pub(crate) struct Grants {
    /// Shows what somebody may see, change and run: a user, a role, or user/role
    #[arg(long = "as", value_name = "READER")]
    reader: Option<String>,
}

impl Runs for Grants {
    const ABOUT: &'static str =
        "Lists grants with who holds them, and what a user may see, change and run";

    async fn run(self, app: App) -> Result<Exit> {
        let workspace = app.open(Access::Read).await?;
        match &self.reader {
            None => list(&app, &workspace)?,
            Some(name) => {
                let reader = Reader::named(&workspace, name)?;
                show(&app, &granted::effective_of(&workspace, &reader).await?)?;
            }
        }
        Ok(Exit::Done)
    }
}

fn list(app: &App, workspace: &Workspace) -> Result<()> {
    let all = granted::listed(workspace)?;
    if app.output.format == Format::Json {
        return app.output.json(&json!(all));
    }
    if all.is_empty() {
        app.output.message("no grants are declared in grants/: nothing is closed to anybody");
        return Ok(());
    }
    let mut grid = Grid::new(&["grant", "to", "may", "users", "given", "file"]);
    for one in &all {
        grid.row(vec![
            one.grant.grant.clone(),
            holders(&one.grant.to),
            said(one),
            one.users.join(", "),
            one.given.join(", "),
            format!("{}:{}", one.file, one.line),
        ]);
    }
    app.output.grid(&grid)
}

fn holders(to: &Holders) -> String {
    let everybody = to.everybody.then(|| "everybody".to_owned());
    let roles = to.roles.iter().map(|role| format!("role {}", role.word()));
    let groups = to.groups.iter().map(|group| format!("group {group}"));
    let all = everybody.into_iter().chain(roles).chain(groups).chain(to.users.iter().cloned());
    all.collect::<Vec<_>>().join(", ")
}

/// What a grant grants, as its file says it.
fn said(one: &Listed) -> String {
    let mut all = Vec::new();
    for deed in Deed::ALL {
        for kind in Governed::ALL {
            let patterns = one.grant.things(deed).of(kind);
            if !patterns.is_empty() {
                all.push(format!("{} {} {}", deed.word(), kind.word(), patterns.join(" ")));
            }
        }
    }
    all.join("; ")
}

fn show(app: &App, access: &Effective) -> Result<()> {
    if app.output.format == Format::Json {
        return app.output.json(&json!(access));
    }
    let held = match (access.everything, access.grants.is_empty()) {
        (true, _) => "nothing is closed to them".to_owned(),
        (false, true) => "they hold no grant".to_owned(),
        (false, false) => format!("they hold {}", access.grants.join(", ")),
    };
    app.output.message(&format!("{}: {held}", access.who));
    let mut grid = Grid::new(&["kind", "closed", "see", "change", "run", "#hidden"]);
    for one in &access.kinds {
        let closed = if one.closed { "yes" } else { "" };
        grid.row(vec![
            one.kind.word().to_owned(),
            closed.to_owned(),
            names(&one.read),
            names(&one.change),
            names(&one.act),
            one.hidden.to_string(),
        ]);
    }
    for one in &access.lacking {
        let reads = one.reads.iter().map(|(kind, name)| format!("{} {name}", kind.word()));
        app.output.message(&format!(
            "warning: {} {} is granted and not seen, since it reads what is not granted: {}",
            one.kind.word(),
            one.name,
            names(&reads.collect::<Vec<_>>())
        ));
    }
    app.output.grid(&grid)
}

fn names(all: &[String]) -> String {
    let shown: Vec<&str> = all.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    match all.len().saturating_sub(NAMES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}
