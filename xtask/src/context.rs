//! Where things are: the workspace, the build folder, the real data.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::Result;

/// Beginnings of the variables that `cargo run` gives to this program and that are about it.
const ABOUT_US: &[&str] = &["CARGO_MANIFEST_", "CARGO_PKG_"];

/// Where things are.
pub(crate) struct Context {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's build folder.
    pub(crate) target: PathBuf,
    /// The folder of real data sets, where there is one.
    pub(crate) data: Option<PathBuf>,
    /// A `flywheel` to check instead of the one that is built here, such as an installed release.
    pub(crate) binary: Option<PathBuf>,
}

impl Context {
    /// Finds the workspace this program was built from, and what the environment says of the rest.
    pub(crate) fn discover() -> Result<Self> {
        // As `cargo run` says it now: a build folder that clones share can hold the program of another one.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().ok_or("xtask has no parent folder")?.to_owned();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        let data = env::var_os("FLYWHEEL_DATA").map(PathBuf::from).filter(|path| path.is_dir());
        let binary = env::var_os("FLYWHEEL_BINARY").map(PathBuf::from);
        Ok(Self { target: root.join(target), root, data, binary })
    }

    /// A cargo that works in the workspace, in the environment of one that is called by hand: build
    /// scripts such as ring's run again when a variable about the caller changes, and everything
    /// above them, the query engine too, would be compiled anew.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        for (name, _) in env::vars_os().filter(|(name, _)| is_about_us(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command
    }

    /// A folder for what a command makes, below the build folder, emptied if asked for.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join("xtask").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A real data set, or why it cannot be used.
    pub(crate) fn data_set(&self, name: &str) -> Result<PathBuf> {
        let folder = self.data.as_ref().map(|data| data.join(name));
        folder.filter(|folder| folder.is_dir()).ok_or_else(|| {
            format!(
                "the data set \"{name}\" is not here; set FLYWHEEL_DATA to the folder that holds it"
            )
            .into()
        })
    }
}

fn is_about_us(variable: &str) -> bool {
    ABOUT_US.iter().any(|start| variable.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_hears_nothing_of_its_caller() {
        for about_us in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME"] {
            assert!(is_about_us(about_us), "{about_us}");
        }
        assert!(!is_about_us("CARGO_TARGET_DIR") && !is_about_us("CARGO_HOME"));
        let command = Context::discover().unwrap().cargo();
        let kept = command.get_envs().filter(|(_, value)| value.is_some());
        assert_eq!(kept.map(|(name, _)| name).collect::<Vec<_>>(), ["CARGO_TARGET_DIR"]);
    }
}
