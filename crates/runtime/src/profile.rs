//! What the columns of a table hold: counts, ranges, quantiles, frequent values.
//!
//! One pass over the rows in bounded memory. Rows, missing values, ranges and means are those of all rows; different
//! values are counted exactly up to ten thousand and estimated beyond; quantiles, histograms and frequent values come
//! from a sample of at most [`SAMPLE_ROWS`] rows, which depends on the rows alone. A profile is kept with the version it
//! was made of, and made anew only when there is another one.

mod column;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use flywheel_algo::sketch::Sampler;
use flywheel_base::{Error, Result, digest};
use flywheel_project::NodeKind;
use flywheel_warehouse::{Catalog, TableName};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use self::column::Gathering;
pub(crate) use self::column::hashed;
use crate::Workspace;
use crate::access::Reading;
use crate::catalogue::{collect, moment};

/// Rows from which quantiles, histograms and frequent values are taken at most.
pub const SAMPLE_ROWS: usize = 50_000;

/// How many steps the lineage of masked columns is followed.
const MASK_STEPS_MAX: usize = 64;

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// How many rows it has.
    pub rows: u64,
    /// Rows by which quantiles, histograms and frequent values were found; all of them if it is `rows`.
    pub sample_rows: u64,
    /// Its columns.
    pub columns: Vec<ColumnProfile>,
}

/// What a column holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Rows without a value.
    pub nulls: u64,
    /// Different values.
    pub distincts: u64,
    /// Whether they were counted, not estimated.
    pub distincts_exact: bool,
    /// Whether its values are not shown.
    pub masked: bool,
    /// The smallest value.
    pub min: Option<String>,
    /// The largest value.
    pub max: Option<String>,
    /// The mean of its numbers.
    pub mean: Option<f64>,
    /// The values that 5, 25, 50, 75 and 95 % of its numbers are not above.
    pub quantiles: Vec<f64>,
    /// Equal steps from the smallest to the largest number of the sample.
    pub histogram: Vec<Step>,
    /// The most frequent values of the sample.
    pub top: Vec<Top>,
}

/// One step of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Where it begins.
    pub from: f64,
    /// Where it ends; the last one includes its end.
    pub to: f64,
    /// Rows of the sample within.
    pub rows: u64,
}

/// A frequent value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// The value.
    pub value: String,
    /// Rows of the sample that have it.
    pub rows: u64,
}

/// A profile and what it is a profile of.
#[derive(Clone, Debug, Serialize)]
pub struct Profiled {
    /// The table.
    pub table: String,
    /// The version; none for a view.
    pub version: Option<i64>,
    /// When it was made.
    #[serde(serialize_with = "moment")]
    pub profiled_at: Option<flywheel_base::Timestamp>,
    /// A digest of the rows.
    pub digest: String,
    /// Whether it was kept from before, because there is no newer version.
    pub kept: bool,
    /// What it says.
    #[serde(flatten)]
    pub profile: Profile,
}

impl Profile {
    /// Reads a kept profile.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Corrupt`] if it cannot be read.
    pub fn kept(kept: &flywheel_state::Profile) -> Result<Self> {
        serde_json::from_value(kept.detail.clone()).map_err(|error| {
            Error::corrupt(format!("the profile of \"{}\" cannot be read", kept.asset))
                .hint(format!("Make it anew: flywheel profile {} --again", kept.asset))
                .caused_by(error)
        })
    }
}

/// Profiles a table or view, unless its version has been profiled; `again` profiles it anyway. It is of all rows, whoever
/// asks for it, and takes from the quota of whoever does (`by`).
///
/// # Errors
/// [`flywheel_base::ErrorKind::NotFound`] if there is no such table; those of the query and the metadata.
pub async fn profile(
    workspace: &Workspace,
    name: &str,
    again: bool,
    by: &Reading,
) -> Result<Profiled> {
    let catalogue = Box::pin(collect(workspace)).await?;
    let asset = catalogue.asset(name)?;
    if !asset.is_table {
        return Err(Error::invalid(format!("{} is no table", asset.id()))
            .hint("Only tables and views have rows to profile."));
    }
    let masked = masked(workspace, &catalogue, asset).await?;
    if let Some(kept) = workspace.store.profile(&asset.name)?.filter(|_| !again)
        && kept.version.is_some()
        && kept.version == asset.version
    {
        let profile = Profile::kept(&kept)?;
        // What is masked since then is not shown either.
        if profile.columns.iter().all(|column| column.masked == masked.contains(&column.name)) {
            let (table, version) = (kept.asset.clone(), kept.version);
            let (profiled_at, digest) = (Some(kept.profiled_at), kept.digest);
            return Ok(Profiled { table, version, profiled_at, digest, kept: true, profile });
        }
    }
    let table = TableName::parse(&asset.name)?;
    let sql = format!("select * from {}", quoted(&table));
    let within = |catalog: &mut Catalog| {
        if let Some(allowance) = by.allowance(workspace) {
            catalog.within(Arc::new(allowance.of_steps()));
        }
        Ok(())
    };
    let session = workspace.session_beside("", &Reading::Owner, within).await?;
    let query = session.query(&sql).await?;
    let mut gathered = Gathered::new(&query.schema(), &masked);
    let mut rows = query.stream().await?;
    while let Some(batch) = rows.try_next().await? {
        gathered.add(&batch)?;
    }
    let (profile, digest) = gathered.finish();
    let detail = serde_json::to_value(&profile)
        .map_err(|error| Error::internal("a profile is no JSON").caused_by(error))?;
    let kept = flywheel_state::Profile {
        asset: asset.name.clone(),
        location: None,
        version: asset.version,
        profiled_at: workspace.now(),
        digest: digest.clone(),
        detail,
    };
    workspace.store.record_profile(&kept)?;
    let (table, version, profiled_at) = (kept.asset, kept.version, Some(kept.profiled_at));
    Ok(Profiled { table, version, profiled_at, digest, kept: false, profile })
}

fn quoted(table: &TableName) -> String {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    format!("{}.{}", quote(&table.schema), quote(&table.name))
}

/// Columns of which no value is shown: those that are masked, and those made of them.
async fn masked(
    workspace: &Workspace,
    catalogue: &crate::catalogue::Catalogue,
    asset: &crate::catalogue::Asset,
) -> Result<BTreeSet<String>> {
    let said = |asset: &crate::catalogue::Asset| -> BTreeSet<String> {
        asset
            .columns
            .iter()
            .filter(|column| column.masked)
            .map(|column| column.name.clone())
            .collect()
    };
    let mut masked = said(asset);
    let declared = workspace.project.file.catalogue.said(&asset.kind, &asset.name).masked;
    masked.extend(declared);
    let anywhere: BTreeSet<(String, String)> = catalogue
        .assets
        .iter()
        .flat_map(|asset| said(asset).into_iter().map(|column| (asset.name.clone(), column)))
        .collect();
    if anywhere.is_empty() || asset.kind != NodeKind::Model.word() {
        return Ok(masked);
    }
    let sql = format!("select * from {}", quoted(&TableName::parse(&asset.name)?));
    let schema = workspace.session_for("", &Reading::Owner).await?.query(&sql).await?.schema();
    for field in schema.fields() {
        let steps = crate::run::column_lineage(workspace, &asset.name, field.name()).await?;
        let of = |step: &crate::LineageStep| {
            anywhere.contains(&(step.node.clone(), step.column.clone()))
        };
        if steps.iter().take(MASK_STEPS_MAX).any(of) {
            masked.insert(field.name().clone());
        }
    }
    Ok(masked)
}

/// Rows on their way into a profile.
struct Gathered {
    columns: Vec<Gathering>,
    sampler: Sampler,
    /// The hashes of the rows in the sample, in the order of the columns' samples.
    sampled: Vec<u64>,
    rows: u64,
    sum: u128,
}

impl Gathered {
    fn new(schema: &arrow::datatypes::SchemaRef, masked: &BTreeSet<String>) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Gathering::new(field, masked.contains(field.name())));
        Self {
            columns: columns.collect(),
            sampler: Sampler::new(SAMPLE_ROWS),
            sampled: Vec::new(),
            rows: 0,
            sum: 0,
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let cells = self
            .columns
            .iter()
            .zip(batch.columns())
            .map(|(column, array)| column.cells(array))
            .collect::<Result<Vec<_>>>()?;
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            text.clear();
            for cells in &cells {
                match cells.text(row) {
                    Some(value) => {
                        text.extend_from_slice(&(value.len() as u64).to_le_bytes());
                        text.extend_from_slice(value.as_bytes());
                    }
                    None => text.extend_from_slice(&u64::MAX.to_le_bytes()),
                }
            }
            let hash = digest::hash128(&text);
            self.rows += 1;
            self.sum = self.sum.wrapping_add(hash);
            let hash = hash as u64;
            let sample = self.sampler.keeps(hash);
            for (column, cells) in self.columns.iter_mut().zip(&cells) {
                column.add(cells, row, sample);
            }
            if sample {
                self.sampled.push(hash);
                self.thin();
            }
        }
        Ok(())
    }

    fn thin(&mut self) {
        while self.sampler.thins(self.sampled.len()) {
            let kept: Vec<bool> =
                self.sampled.iter().map(|hash| self.sampler.keeps(*hash)).collect();
            if !kept.contains(&true) {
                // All rows of the sample are alike: a few of them say as much.
                self.sampled.truncate(SAMPLE_ROWS / 2);
                self.columns.iter_mut().for_each(|column| column.truncate(SAMPLE_ROWS / 2));
                return;
            }
            let mut at = kept.iter();
            self.sampled.retain(|_| at.next().copied().unwrap_or_default());
            self.columns.iter_mut().for_each(|column| column.retain(&kept));
        }
    }

    fn finish(self) -> (Profile, String) {
        let names: Vec<String> = self.columns.iter().map(Gathering::signature).collect();
        let mut parts: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let (sum, count) = (self.sum.to_le_bytes(), self.rows.to_le_bytes());
        parts.extend([sum.as_slice(), count.as_slice()]);
        let digest = digest::short(&parts);
        let rows = self.rows;
        let columns = self.columns.into_iter().map(|column| column.finish(rows)).collect();
        (Profile { rows: self.rows, sample_rows: self.sampled.len() as u64, columns }, digest)
    }
}

#[cfg(test)]
mod tests;
