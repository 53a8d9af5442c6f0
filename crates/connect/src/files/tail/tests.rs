//! Logs as programs and logrotate leave them: nothing is read twice, nothing is lost, in order.

use std::fs::{self, OpenOptions};
use std::io::Write;

use flywheel_base::Rng;
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::page::{Page, Position};
use crate::source::contract::{Folder, cells, now};
use crate::source::{ReadRequest, SourceEntry};

/// A log and somebody who follows it.
struct Log {
    folder: Folder,
    source: &'static str,
    stream: Value,
    position: Option<Position>,
    notices: Vec<String>,
}

impl Log {
    fn new() -> Self {
        Self::of("jsonl")
    }

    fn of(source: &'static str) -> Self {
        let stream = json!({ "path": "logs/app.log*", "tail": true });
        let folder = Folder::new(&[]);
        fs::create_dir(folder.path("logs")).unwrap();
        Self { folder, source, stream, position: None, notices: Vec::new() }
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.folder.path(&format!("logs/{name}"));
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rows(&self, name: &str, rows: impl IntoIterator<Item = usize>) {
        for row in rows {
            self.append(name, &line(row));
        }
    }

    fn rename(&self, from: &str, to: &str) {
        let path = |name: &str| self.folder.path(&format!("logs/{name}"));
        fs::rename(path(from), path(to)).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        let path = |name: &str| self.folder.path(&format!("logs/{name}"));
        fs::write(path(to), fs::read(path(from)).unwrap()).unwrap();
    }

    fn truncate(&self, name: &str) {
        let path = self.folder.path(&format!("logs/{name}"));
        OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path(&format!("logs/{name}"))).unwrap();
    }

    fn gzip(&self, name: &str) -> Vec<u8> {
        let bytes = fs::read(self.folder.path(&format!("logs/{name}"))).unwrap();
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&bytes).unwrap();
        out.finish().unwrap()
    }

    /// Replaces a log by its compressed form.
    fn pack(&self, name: &str) {
        let bytes = self.gzip(name);
        let path = |name: &str| self.folder.path(&format!("logs/{name}"));
        let written = fs::metadata(path(name)).unwrap().modified().unwrap();
        let packed = format!("{name}.gz");
        fs::write(path(&packed), bytes).unwrap();
        // As gzip does it.
        OpenOptions::new().append(true).open(path(&packed)).unwrap().set_modified(written).unwrap();
        self.remove(name);
    }

    async fn pages(&self, page_rows: usize) -> Vec<Page> {
        let request = ReadRequest {
            from: self.position.clone(),
            page_rows,
            write_appends: true,
            ..ReadRequest::incremental(self.stream.clone(), now())
        };
        let source = self.folder.source_with(self.source, json!({}));
        source.read(&request).try_collect().await.unwrap_or_else(|e| panic!("{}", e.report()))
    }

    /// The rows of the pages, whose position is remembered.
    fn take(&mut self, pages: &[Page]) -> Vec<usize> {
        if let Some(last) = pages.last() {
            self.position = Some(last.position.clone());
        }
        for page in pages {
            assert!(page.rejected.is_empty(), "{:?}", page.rejected);
            self.notices.extend(page.notices.iter().map(|notice| notice.code.clone()));
        }
        cells(pages).iter().map(|row| row[0].parse().unwrap()).collect()
    }

    /// What is new.
    async fn next(&mut self) -> Vec<usize> {
        let pages = self.pages(1_000).await;
        self.take(&pages)
    }
}

fn line(row: usize) -> String {
    format!("{{\"n\":{row}}}\n")
}

#[tokio::test]
async fn only_whole_lines_are_taken_and_a_restart_goes_on_at_the_byte() {
    let mut log = Log::new();
    log.append("app.log", "{\"n\":1}\n{\"n\":2");
    assert_eq!(log.next().await, [1]);
    assert!(log.next().await.is_empty());
    log.append("app.log", "0}");
    assert!(log.next().await.is_empty());
    log.append("app.log", "\n{\"n\":3}\n");
    assert_eq!(log.next().await, [20, 3]);
    assert!(log.next().await.is_empty());
}

#[tokio::test]
async fn a_renamed_log_is_finished_before_the_new_one() {
    let mut log = Log::new();
    log.rows("app.log", 1..3);
    assert_eq!(log.next().await, [1, 2]);
    log.rows("app.log", [3]);
    log.rename("app.log", "app.log.1");
    log.rows("app.log", [5]);
    // The program writes on into the old one until it opens the new one.
    log.rows("app.log.1", [4]);
    assert_eq!(log.next().await, [3, 4, 5]);
    log.rename("app.log.1", "app.log.2");
    log.rename("app.log", "app.log.1");
    log.rows("app.log", [6]);
    assert_eq!(log.next().await, [6]);
    assert!(log.next().await.is_empty());
}

#[tokio::test]
async fn a_log_that_is_copied_and_cut_back_is_read_once() {
    for more in [1, 50] {
        let mut log = Log::new();
        log.rows("app.log", 1..3);
        assert_eq!(log.next().await, [1, 2]);
        log.rows("app.log", [3]);
        log.copy("app.log", "app.log.1");
        log.truncate("app.log");
        // Shorter than what was read before, or longer.
        log.rows("app.log", 4..4 + more);
        assert_eq!(log.next().await, (3..4 + more).collect::<Vec<_>>());
        assert!(log.next().await.is_empty());
    }
}

#[tokio::test]
async fn a_copy_that_is_being_made_is_not_read_beside_its_log() {
    let mut log = Log::new();
    log.rows("app.log", 1..200);
    assert_eq!(log.next().await.len(), 199);
    let whole = fs::read(log.folder.path("logs/app.log")).unwrap();
    for length in [whole.len() / 2, whole.len()] {
        log.folder.write("logs/app.log.1", &whole[..length]);
        assert!(log.next().await.is_empty());
    }
    log.truncate("app.log");
    log.rows("app.log", [200]);
    assert_eq!(log.next().await, [200]);
    assert!(log.next().await.is_empty());
}

#[tokio::test]
async fn a_compressed_log_is_the_log_it_was() {
    let mut log = Log::new();
    log.rows("app.log", 1..3);
    assert_eq!(log.next().await, [1, 2]);
    log.rows("app.log", [3]);
    log.rename("app.log", "app.log.1");
    // While it is being compressed both are there.
    let packed = log.gzip("app.log.1");
    log.folder.write("logs/app.log.1.gz", &packed[..packed.len() / 2]);
    log.rows("app.log", [4]);
    assert_eq!(log.next().await, [3, 4]);
    log.folder.write("logs/app.log.1.gz", &packed);
    log.remove("app.log.1");
    assert!(log.next().await.is_empty());
    log.rename("app.log.1.gz", "app.log.2.gz");
    assert!(log.next().await.is_empty());
    // What was written last before the compression is not lost.
    log.rows("app.log", [5, 6]);
    log.rename("app.log", "app.log.1");
    log.pack("app.log.1");
    log.rows("app.log", [7]);
    assert_eq!(log.next().await, [5, 6, 7]);
    assert!(log.next().await.is_empty());
}

#[tokio::test]
async fn logs_from_before_are_read_oldest_first() {
    let mut log = Log::new();
    for (name, row) in [("app.log.2", 1), ("app.log.1", 2), ("app.log", 3)] {
        log.rows(name, [row]);
    }
    log.pack("app.log.2");
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    for name in ["app.log.2.gz", "app.log.1", "app.log"] {
        let file = OpenOptions::new().append(true).open(log.folder.path(&format!("logs/{name}")));
        file.unwrap().set_modified(at).unwrap();
    }
    assert_eq!(log.next().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_log_that_is_gone_is_told_once_and_read_on_if_a_copy_turns_up() {
    let mut log = Log::new();
    log.rows("app.log", 1..3);
    assert_eq!(log.next().await, [1, 2]);
    log.rows("app.log", [3]);
    let packed = log.gzip("app.log");
    log.remove("app.log");
    assert!(log.next().await.is_empty());
    assert_eq!(log.notices, ["log-gone"]);
    assert!(log.next().await.is_empty());
    assert_eq!(log.notices.len(), 1);
    log.folder.write("logs/app.log-20240501.gz", &packed);
    assert_eq!(log.next().await, [3]);
    assert!(log.next().await.is_empty());
}

#[tokio::test]
async fn a_log_of_csv_has_its_header_in_every_file() {
    let mut log = Log::of("csv");
    log.append("app.log", "n,t\n1,a\n2,b");
    assert_eq!(log.next().await, [1]);
    log.append("app.log", "\n3,c\n");
    log.rename("app.log", "app.log.1");
    log.append("app.log", "n,t\n4,d\n");
    assert_eq!(log.next().await, [2, 3, 4]);
    log.pack("app.log.1");
    log.append("app.log", "5,e\n");
    assert_eq!(log.next().await, [5]);
    assert!(log.next().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let ctx = crate::SourceContext {
        base_dir: "nowhere".into(),
        now: now(),
        connections: Default::default(),
    };
    let source = SourceEntry::named("jsonl").unwrap().build(json!({}), &ctx).unwrap();
    let stream = json!({ "path": "a*", "tail": true, "encoding": "gbk" });
    let request = ReadRequest::incremental(stream, now());
    let error = source.read(&request).try_collect::<Vec<Page>>().await.unwrap_err();
    assert!(error.message().contains("GBK"), "{error}");
    let log = Log::new();
    log.folder.write("logs/app.log", b"\xff\xfe{\0}\0\n\0");
    let request = ReadRequest::incremental(log.stream.clone(), now());
    let source = log.folder.source_with("jsonl", json!({}));
    let error = source.read(&request).try_collect::<Vec<Page>>().await.unwrap_err();
    assert!(error.message().contains("UTF-16"), "{error}");
}

/// Everything that can happen to a log, in any order, with readers that crash in between.
#[tokio::test]
async fn no_order_of_writing_rotating_and_crashing_loses_or_doubles_a_line() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut log = Log::new();
        let (mut written, mut read) = (0, Vec::new());
        let mut generations = 0;
        log.rows("app.log", []);
        log.append("app.log", "");
        for _ in 0..40 {
            let lines = rng.below(4);
            match rng.below(10) {
                0..=4 => {
                    log.rows("app.log", written..written + lines);
                    written += lines;
                }
                5 | 6 => {
                    // The oldest names move up first, as logrotate does it.
                    shift(&log, &mut generations);
                    if rng.below(2) == 0 {
                        log.rename("app.log", "app.log.1");
                        log.rows("app.log.1", written..written + lines);
                        written += lines;
                        log.append("app.log", "");
                    } else {
                        log.copy("app.log", "app.log.1");
                        log.truncate("app.log");
                    }
                    generations += 1;
                    if rng.below(3) == 0 {
                        log.pack("app.log.1");
                    }
                }
                _ => {
                    let page_rows = 1 + rng.below(5);
                    let mut pages = log.pages(page_rows).await;
                    if rng.below(2) == 0 {
                        // A crash: the later pages were never committed.
                        pages.truncate(rng.below(pages.len() + 1));
                    }
                    read.extend(log.take(&pages));
                }
            }
        }
        read.extend(log.next().await);
        let expected: Vec<usize> = (0..written).collect();
        assert_eq!(read, expected, "seed {seed}");
        assert!(log.next().await.is_empty(), "seed {seed}");
    }
}

fn shift(log: &Log, generations: &mut usize) {
    for number in (1..=*generations).rev() {
        for ending in ["", ".gz"] {
            let name = format!("app.log.{number}{ending}");
            if log.folder.path(&format!("logs/{name}")).exists() {
                log.rename(&name, &format!("app.log.{}{ending}", number + 1));
            }
        }
    }
}
