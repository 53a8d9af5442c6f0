//! New projects from templates: `flywheel init`.
//!
//! A new template is a folder in `templates/` and one entry in [`TEMPLATES`]; a test compares the two.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flywheel_base::{Error, Result, suggest};

use crate::names;

/// What stands for the project's name in the files of a template.
const NAME_MARK: &str = "__NAME__";

/// The template that may be written beside what is there.
const BLANK: &str = "blank";

/// What makes a folder a project.
const PROJECT_FILES: [&str; 3] = ["flywheel.yaml", crate::dbt::DBT_PROJECT_FILE, ".flywheel"];

/// A template.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// The word for `--template`.
    pub name: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    /// Paths and texts; `gitignore` becomes `.gitignore`.
    files: &'static [(&'static str, &'static str)],
}

/// The files of a template, embedded.
macro_rules! files {
    ($folder:literal, $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../templates/", $folder, "/", $path)))),+]
    };
}

/// Every template, the default first.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "retail",
        about: "A shop: orders, customers and stock; recommendations, segments, forecasts, reorders.",
        files: files!(
            "retail",
            "README.md",
            "actions/crm_messages.yaml",
            "actions/purchase_orders.yaml",
            "connections/catalog.yaml",
            "connections/orders.yaml",
            "dashboards/shop.yaml",
            "data/catalog/README.md",
            "data/orders/README.md",
            "dictionaries/response_events.yaml",
            "flywheel.yaml",
            "gitignore",
            "learners/demand.yaml",
            "learners/lifecycle.yaml",
            "learners/next_products.yaml",
            "learners/response.yaml",
            "metrics/customers.yaml",
            "metrics/orders.yaml",
            "models/mart/customers.sql",
            "models/mart/daily_sales.sql",
            "models/mart/mart.yml",
            "models/mart/message_funnel.sql",
            "models/mart/orders.sql",
            "models/mart/product_daily.sql",
            "models/mart/products.sql",
            "models/mart/sales.sql",
            "models/staging/staging.yml",
            "models/staging/stg_customers.sql",
            "models/staging/stg_order_lines.sql",
            "models/staging/stg_products.sql",
            "models/staging/stg_responses.sql",
            "models/staging/stg_stock.sql",
            "policies/next_offer.yaml",
            "policies/reorder.yaml",
            "policies/winback.yaml",
            "quality/order_lines.yaml",
            "quality/orders.yaml",
            "quality/responses.yaml",
            "queries/top_customers.yaml",
            "syncs/catalog.yaml",
            "syncs/orders.yaml",
            "tests/revenue_is_the_same_everywhere.sql",
        ),
    },
    Template {
        name: "crm",
        about: "A sales pipeline from CSV: tested models, account segments, tasks for stale deals.",
        files: files!(
            "crm",
            "README.md",
            "actions/follow_up.yaml",
            "connections/crm.yaml",
            "data/accounts.csv",
            "data/products.csv",
            "data/sales_pipeline.csv",
            "data/sales_teams.csv",
            "flywheel.yaml",
            "gitignore",
            "learners/account_segments.yaml",
            "models/marts/accounts.sql",
            "models/marts/marts.yml",
            "models/marts/open_opportunities.sql",
            "models/staging/staging.yml",
            "models/staging/stg_accounts.sql",
            "models/staging/stg_opportunities.sql",
            "models/staging/stg_products.sql",
            "models/staging/stg_sales_teams.sql",
            "policies/stale_deals.yaml",
            "syncs/crm.yaml",
            "tests/no_deal_closes_before_it_starts.sql",
        ),
    },
    Template {
        name: BLANK,
        about: "The project file and a guide to the folders; also beside data that is there.",
        files: files!("blank", "README.md", "flywheel.yaml", "gitignore"),
    },
];

/// Writes the template's files into `dir`, which is made if needed, and returns their paths. The blank template may be
/// written beside data that is there already; a README or `.gitignore` of the folder's own is kept then.
///
/// # Errors
/// [`flywheel_base::ErrorKind::Invalid`] if there is no such template, `name` is not a name, `dir` is a
/// project already, or holds anything but `.git` and a file system's `lost+found` and another template is meant; nothing is written then. The file system's own errors otherwise.
pub fn init(template: &str, dir: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let Some(template) = TEMPLATES.iter().find(|known| known.name == template) else {
        return Err(Error::invalid(format!("no template is named \"{template}\""))
            .hint(suggest::hint(template, TEMPLATES.iter().map(|known| known.name))));
    };
    if let Some(problem) = names::problem(name) {
        return Err(Error::invalid(format!(
            "\"{name}\" is not a good name for a project: it {problem}"
        ))
        .hint(names::HINT));
    }
    let beside = template.name == BLANK;
    if beside {
        refuse_project(dir)?;
    } else {
        refuse_used(dir)?;
    }
    let mut written = Vec::new();
    for (path, text) in template.files {
        let path = dir.join(if *path == "gitignore" { ".gitignore" } else { path });
        if beside && path.exists() {
            continue;
        }
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).map_err(|error| Error::io("make the folder", folder, error))?;
        fs::File::create_new(&path)
            .and_then(|mut file| file.write_all(text.replace(NAME_MARK, name).as_bytes()))
            .map_err(|error| Error::io("write", &path, error))?;
        written.push(path);
    }
    Ok(written)
}

/// A project name made from a folder's: lower-case letters, digits and underscores.
#[must_use]
pub fn name_from(folder: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = folder.chars().map(plain).collect();
    let name = name.trim_matches('_');
    if name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.to_owned()
    } else {
        format!("project_{name}").trim_end_matches('_').to_owned()
    }
}

/// Refuses a folder that has what makes a project.
fn refuse_project(dir: &Path) -> Result<()> {
    let Some(file) = PROJECT_FILES.iter().find(|file| dir.join(file).exists()) else {
        return Ok(());
    };
    Err(Error::invalid(format!("the folder {} is a project already: it has {file}", dir.display()))
        .hint("Use it as it is, or name another folder, so that nothing is overwritten."))
}

fn refuse_used(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read the folder", dir, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("read the folder", dir, error))?;
        // A file system of its own has a folder of its own.
        if entry.file_name() != ".git" && entry.file_name() != "lost+found" {
            return Err(Error::invalid(format!("the folder {} is not empty", dir.display()))
                .hint("Name a new or empty folder, so that nothing is overwritten; the template `blank` may be written beside data."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
