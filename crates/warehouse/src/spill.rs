//! Spill files whose bytes go to the disk while they are written.
//!
//! Left to itself, an operating system keeps what was written in memory for half a minute, or until that is a tenth of
//! the memory, and then writes gigabytes at once: whoever waits for the disk meanwhile, such as an event that
//! is to be acknowledged, waits behind them. So as soon as more than a little is spilled, each piece is handed to
//! the disk when it is full. What the query reads again still comes from memory; before it hands over a piece, it waits
//! for the one before: a disk has a queue, and whoever waits for the disk stands behind all that is in there.
//!
//! The files themselves, their limit and their removal are the engine's.

use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder};
use datafusion::execution::spill_file::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;

/// What all queries together may have spilled before pieces are handed to the disk: so much at once holds up nobody for long.
const SPARED_BYTES: u64 = 128 << 20;
/// Bytes of a piece.
const PIECE_BYTES: u64 = 1 << 20;

/// The spill files of an engine.
pub(crate) struct SpillFiles(Arc<DiskManager>);

impl SpillFiles {
    /// Those that `disk` says.
    ///
    /// # Errors
    /// Those of the folder.
    pub(crate) fn new(disk: DiskManagerBuilder) -> Result<Self> {
        Ok(Self(Arc::new(disk.build()?)))
    }
}

impl TempFileFactory for SpillFiles {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>> {
        let file = self.0.create_tmp_file(description)?;
        Ok(Arc::new(Handed { file, disk: Arc::clone(&self.0) }))
    }
}

/// A spill file whose pieces are handed to the disk.
struct Handed {
    file: Arc<dyn SpillFile>,
    disk: Arc<DiskManager>,
}

impl SpillFile for Handed {
    fn path(&self) -> Option<&Path> {
        self.file.path()
    }

    fn size(&self) -> Option<u64> {
        self.file.size()
    }

    fn read_stream(&self) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>> {
        self.file.read_stream()
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>> {
        let writer = self.file.open_writer()?;
        let path = self.file.path();
        let file = path.map(|path| std::fs::OpenOptions::new().write(true).open(path));
        let file = file.transpose().map_err(DataFusionError::IoError)?;
        let at = self.file.size().unwrap_or_default();
        let disk = Arc::clone(&self.disk);
        Ok(Box::new(Handing { writer, file, at, handed: at, under_way: at, disk }))
    }
}

/// Writes into such a file.
struct Handing {
    writer: Box<dyn SpillWriter>,
    /// The same file once more.
    file: Option<std::fs::File>,
    /// Where the next byte goes.
    at: u64,
    /// The first byte that was not handed to the disk.
    handed: u64,
    /// The first byte of the piece that was handed over last.
    under_way: u64,
    disk: Arc<DiskManager>,
}

impl Write for Handing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.at += written as u64;
        if self.at - self.handed >= PIECE_BYTES && self.disk.used_disk_space() > SPARED_BYTES {
            if let Some(file) = &self.file {
                hand_over(file, self.under_way, self.handed, Hand::Wait);
                hand_over(file, self.handed, self.at, Hand::Write);
            }
            (self.under_way, self.handed) = (self.handed, self.at);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl SpillWriter for Handing {
    fn finish(&mut self) -> Result<()> {
        self.writer.finish()
    }
}

/// What is done about bytes of a file.
#[derive(Clone, Copy)]
enum Hand {
    /// They are handed to the disk, without waiting for it.
    Write,
    /// The disk is waited for, as far as they were handed to it.
    Wait,
}

/// Hands bytes of a file to the disk, or waits for them. Where that is not to be had they go later, and an error in writing is
/// told by whoever reads them.
fn hand_over(file: &std::fs::File, from: u64, to: u64, hand: Hand) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;

        let (Ok(first), Ok(bytes)) = (i64::try_from(from), i64::try_from(to - from)) else {
            return;
        };
        // As many bytes as none would be all that follow.
        if bytes == 0 {
            return;
        }
        let flags = match hand {
            Hand::Write => libc::SYNC_FILE_RANGE_WRITE,
            Hand::Wait => libc::SYNC_FILE_RANGE_WAIT_BEFORE,
        };
        #[expect(unsafe_code, reason = "the call has no safe form; it touches no memory of ours")]
        // SAFETY: it takes four numbers, and the file is open as long as the call lasts.
        let failed = unsafe { libc::sync_file_range(file.as_raw_fd(), first, bytes, flags) };
        if failed != 0 {
            tracing::debug!("a spill file goes to the disk later");
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _unused = (file, from, to, hand);
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::disk_manager::DiskManagerMode;
    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_was_spilled_reads_back_and_is_counted_limited_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![folder.path().to_owned()]))
            .with_max_temp_directory_size(SPARED_BYTES + 8 * PIECE_BYTES);
        let files = SpillFiles::new(disk).unwrap();
        let file = files.create_temp_file("a test").unwrap();
        let mut writer = file.open_writer().unwrap();
        let block: Vec<u8> = (0..PIECE_BYTES / 4 * 3).map(|n| (n % 251) as u8).collect();
        let mut written = 0;
        // Until there is too much of it, beyond what is spared.
        let error = loop {
            match writer.write_all(&block) {
                Ok(()) => written += block.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("max_temp_directory_size"), "{error}");
        writer.finish().unwrap();
        assert!(written > SPARED_BYTES + 6 * PIECE_BYTES, "{written}");
        assert_eq!((file.size(), files.0.used_disk_space()), (Some(written), written));
        let mut read = 0;
        let mut stream = file.read_stream().unwrap();
        while let Some(bytes) = stream.try_next().await.unwrap() {
            let expected = |place: u64| (place % block.len() as u64 % 251) as u8;
            assert!((read..).zip(&bytes).all(|(place, byte)| *byte == expected(place)), "{read}");
            read += bytes.len() as u64;
        }
        assert_eq!(read, written);
        let path = file.path().unwrap().to_owned();
        drop((writer, stream, file));
        assert!(!path.exists() && files.0.used_disk_space() == 0);
    }
}
