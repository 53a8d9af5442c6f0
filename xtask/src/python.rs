//! A Python with pinned packages, for the systems we compare ourselves with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::context::Context;
use crate::{Result, process};

/// Readers of the lake's format that are not ours.
pub(crate) const LAKE_READERS: &[&str] = &[
    "duckdb==1.5.5",
    "duckdb-extension-delta==1.5.5",
    "polars==2.1.0",
    "deltalake==1.6.6",
    "pyarrow==26.0.1",
];

/// The classes that OpenLineage generates from its schemas, and a validator.
pub(crate) const LINEAGE_SCHEMAS: &[&str] = &["openlineage-python==1.54.0", "jsonschema==4.26.0"];

/// The published schema of data contracts (ODCS), and a validator.
pub(crate) const CONTRACT_SCHEMA: &[&str] =
    &["open-data-contract-standard==3.1.2", "jsonschema==4.26.0", "pyyaml==6.0.4"];

/// Other programs that copy tables, and what reads their files.
pub(crate) const COPY_PEERS: &[&str] = &[
    "dlt[deltalake,filesystem]==1.31.0",
    "sqlalchemy==2.1.9",
    "psycopg2-binary==2.9.13",
    "connectorx==0.4.6",
    "sling==1.4.10",
    "duckdb==1.5.5",
    "deltalake==1.6.6",
    "pyarrow==26.0.1",
];

/// DuckDB with the generators of TPC-H and TPC-DS and a reader of Delta tables, and sqlglot, which takes
/// queries apart and is the reader of lineage that ours is compared with.
pub(crate) const TPC_PEERS: &[&str] = &[
    "duckdb==1.5.5",
    "duckdb-extension-tpch==1.5.5",
    "duckdb-extension-tpcds==1.5.5",
    "duckdb-extension-delta==1.5.5",
    "sqlglot==30.30.0",
];

/// What asks an API by its reference.
pub(crate) const API_PEERS: &[&str] = &["schemathesis==4.32.5"];

/// Debezium, as Python calls it.
pub(crate) const CHANGE_PEERS: &[&str] = &["pydbzengine==3.6.3.0"];

/// The recommender library that ours is compared with.
pub(crate) const RECOMMENDER_PEERS: &[&str] = &["implicit==0.7.3", "numpy==2.4.6", "scipy==1.17.1"];

/// dbt with the database of its example projects.
pub(crate) const DBT_PEERS: &[&str] = &["dbt-core==1.11.16", "dbt-duckdb==1.11.1", "duckdb==1.5.5"];

/// What makes the rows of a shop such as dbt's example has.
pub(crate) const SHOP_DATA: &[&str] = &["jafgen==0.4.14", "numpy==2.4.6", "faker==40.63.0"];

/// dbt's suite for adapters, and what it tests them with.
pub(crate) const DBT_ADAPTER_SUITE: &[&str] =
    &["dbt-tests-adapter==1.20.0", "dbt-core==1.11.16", "dbt-adapters==1.24.5", "pytest==9.2.0"];

/// The forecasting library that ours is compared with.
pub(crate) const FORECAST_PEERS: &[&str] =
    &["statsforecast==2.1.1", "statsmodels==0.15.0", "numpy==2.4.6", "scipy==1.17.1"];

/// The clustering library that ours is compared with.
pub(crate) const CUSTOMER_PEERS: &[&str] = &["scikit-learn==1.9.1", "numpy==2.4.6"];

/// The libraries of online learning that ours is compared with; scikit-learn brings the digits.
pub(crate) const BANDIT_PEERS: &[&str] = &["scikit-learn==1.9.1", "numpy==2.4.6", "river==0.26.1"];

/// The Python of a virtual environment with exactly these packages, made at first use.
pub(crate) fn with_packages(context: &Context, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = context.target.join("xtask").join(format!("python-{name}"));
    let python = folder.join("bin/python");
    let stamp = folder.join("packages.txt");
    let wanted = packages.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(python);
    }
    println!("installing {} into {}", packages.join(", "), folder.display());
    make(&folder, &python, packages).map_err(|error| {
        format!(
            "{error}\nhint: this check needs python3 (on Debian also python3-venv) and a package index that pip can reach."
        )
    })?;
    fs::write(stamp, wanted)?;
    Ok(python)
}

fn make(folder: &Path, python: &Path, packages: &[&str]) -> Result<()> {
    let environment = || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).arg(folder);
        command
    };
    if !process::succeeds(&mut environment())? {
        // Debian keeps what `venv` needs in a package of its own.
        process::run(Command::new("apt-get").args(["install", "--yes", "python3-venv"]))?;
        process::run(&mut environment())?;
    }
    process::run(
        Command::new(python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(packages),
    )
}
