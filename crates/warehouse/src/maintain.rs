//! What a caller asks maintenance to do, and what it did.

/// What maintenance does to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintain {
    /// Whether to write many small files as few large ones.
    pub compact: bool,
    /// How many small files there must be before they are compacted.
    pub small_files_min: usize,
    /// Files below this size are small.
    pub small_file_bytes: u64,
    /// A checkpoint of the log is written once the commits since the last one have so many bytes; never if `None`. It
    /// costs about 40 ms, for which a fresh process reads a mebibyte of commits.
    pub checkpoint_bytes_min: Option<u64>,
    /// The oldest version anybody may still read; files only older versions need are deleted. `None`
    /// deletes nothing.
    pub oldest_version: Option<i64>,
    /// A log is shortened where data files were deleted, or where it has so many commits that nobody reads any more.
    pub log_commits_min: usize,
    /// Whether only to count the files that would be deleted, and to write no checkpoint.
    pub dry_run: bool,
    /// Files removed from the table more recently than this are kept, in microseconds.
    pub retention_us: i64,
}

impl Default for Maintain {
    /// Compacts from 32 files below 16 MiB on, writes a checkpoint of a long log, deletes nothing; when told the
    /// oldest version, keeps what was removed in the last seven days.
    fn default() -> Self {
        Self {
            compact: true,
            small_files_min: 32,
            small_file_bytes: 16 << 20,
            checkpoint_bytes_min: Some(1 << 20),
            oldest_version: None,
            log_commits_min: 100,
            dry_run: false,
            retention_us: 7 * 86_400_000_000,
        }
    }
}

/// What maintenance did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// The table's version afterwards.
    pub version: i64,
    /// Small files that were replaced.
    pub files_compacted: usize,
    /// Files written in their place.
    pub files_written: usize,
    /// Whether a checkpoint was written.
    pub checkpointed: bool,
    /// Data files that were deleted.
    pub files_deleted: usize,
    /// Their size in bytes.
    pub bytes_freed: u64,
    /// Files of the log that were deleted.
    pub log_files_deleted: usize,
}
