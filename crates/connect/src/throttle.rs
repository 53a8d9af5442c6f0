//! A limit of how fast rows are read, shared by everything that reads for one sync.
//!
//! A page is handed over at once and paid for afterwards: before the next page is read, by whichever
//! stream, the time has to pass that the pages before it are worth. So in any span of time there are as
//! many rows as the rate allows, and one page more. Whoever asks first is served first, so that no
//! stream waits for ever.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use flywheel_base::{Error, Result};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde_json::Value;

use crate::health::Health;
use crate::http::{Pace, real_pace};
use crate::page::Page;
use crate::source::{ChangesPage, ChangesRequest, Filled, Lag, ReadRequest, Source, StreamInfo};

/// Microseconds in a second.
const SECOND_US: u128 = 1_000_000;

/// How fast rows may be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Rows in a second, those set aside included.
    pub rows_per_second: Option<NonZeroU64>,
    /// Bytes in a second, as the rows lie in memory.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Bytes of one page at most, as its rows lie in memory; a read stops at a larger one.
    pub page_bytes_max: Option<usize>,
}

/// A limit that several sources share.
pub struct Throttle {
    rates: Rates,
    pace: Arc<dyn Pace>,
    /// When everything that was read so far is paid for, in microseconds since 1970.
    paid_us: Mutex<i64>,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Throttle({:?})", self.rates)
    }
}

/// What a page is worth waiting for.
#[derive(Clone, Copy, Debug, Default)]
struct Debt {
    /// When it is paid.
    until_us: i64,
    /// How long that is at most, should the clock be set back meanwhile.
    most_us: i64,
}

impl Throttle {
    /// Makes a limit, with the machine's time.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self::with_pace(rates, real_pace())
    }

    fn with_pace(rates: Rates, pace: Arc<dyn Pace>) -> Self {
        Self { rates, pace, paid_us: Mutex::new(i64::MIN) }
    }

    /// Limits a source.
    #[must_use]
    pub fn over(self: Arc<Self>, source: Box<dyn Source>) -> Box<dyn Source> {
        Box::new(Throttled { throttle: self, source })
    }

    /// Takes note of a page that was read.
    fn charge(&self, rows: u64, bytes: u64) -> Debt {
        let worth = |count: u64, rate: Option<NonZeroU64>| match rate {
            Some(rate) => (u128::from(count) * SECOND_US).div_ceil(u128::from(rate.get())),
            None => 0,
        };
        let worth =
            worth(rows, self.rates.rows_per_second).max(worth(bytes, self.rates.bytes_per_second));
        let worth = i64::try_from(worth).unwrap_or(i64::MAX);
        let now = self.pace.now().micros();
        let mut paid = self.paid_us.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(now).saturating_add(worth);
        Debt { until_us: *paid, most_us: paid.saturating_sub(now) }
    }

    /// Refuses a page that takes more memory than there is for one.
    fn admit(&self, page: &Page) -> Result<()> {
        let Some(most) = self.rates.page_bytes_max else { return Ok(()) };
        let (rows, bytes) = (page.batch.num_rows(), page.batch.get_array_memory_size());
        if bytes <= most || rows == 0 {
            return Ok(());
        }
        let place = match page.trace(rows - 1) {
            Some((file, line)) => format!("{file}:{line}"),
            None => "a page".to_owned(),
        };
        let what = match rows {
            1 => "one row takes".to_owned(),
            _ => format!("the {rows} rows up to here, which come together, take"),
        };
        Err(Error::exhausted(format!(
            "{place}: {what} {} KiB, and the sync's memory has {} KiB for a page",
            bytes.div_ceil(1 << 10),
            most >> 10
        ))
        .hint("Raise `memory` under `limits` in the sync, lower `parallelism`, or leave the large column out."))
    }

    async fn pay(&self, debt: Debt) {
        let left = debt.until_us.saturating_sub(self.pace.now().micros()).min(debt.most_us);
        if let Ok(left @ 1..) = u64::try_from(left) {
            self.pace.sleep(Duration::from_micros(left)).await;
        }
    }
}

/// A source that is limited.
struct Throttled {
    throttle: Arc<Throttle>,
    source: Box<dyn Source>,
}

impl Throttled {
    fn paced<'a, T: Send + 'a>(
        &'a self,
        pages: BoxStream<'a, Result<T>>,
        page: fn(&T) -> &Page,
    ) -> BoxStream<'a, Result<T>> {
        let throttle = &self.throttle;
        stream::unfold(Some((pages, Debt::default())), move |open| async move {
            let (mut pages, debt) = open?;
            throttle.pay(debt).await;
            let next = pages.next().await?;
            let next = next.and_then(|next| throttle.admit(page(&next)).map(|()| next));
            let debt = next.as_ref().map_or_else(
                |_| Debt::default(),
                |next| {
                    let page = page(next);
                    let rows = page.batch.num_rows() + page.rejected.len();
                    let bytes = page.batch.get_array_memory_size();
                    throttle.charge(rows as u64, bytes as u64)
                },
            );
            // After an error nothing follows.
            let open = next.is_ok().then_some((pages, debt));
            Some((next, open))
        })
        .boxed()
    }
}

#[async_trait]
impl Source for Throttled {
    async fn check(&self) -> Result<()> {
        self.source.check().await
    }

    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        self.source.discover().await
    }

    fn read<'a>(&'a self, request: &'a ReadRequest) -> BoxStream<'a, Result<Page>> {
        self.paced(self.source.read(request), |page| page)
    }

    fn changes<'a>(&'a self, request: &'a ChangesRequest) -> BoxStream<'a, Result<ChangesPage>> {
        self.paced(self.source.changes(request), |changes| &changes.page)
    }

    async fn check_log(&self) -> Result<()> {
        self.source.check_log().await
    }

    async fn unfollowed(&self) -> Result<BTreeMap<String, String>> {
        self.source.unfollowed().await
    }

    async fn fills(&self) -> Result<BTreeMap<String, Vec<Filled>>> {
        self.source.fills().await
    }

    async fn acknowledge(&self, request: &ChangesRequest) -> Result<()> {
        self.source.acknowledge(request).await
    }

    fn hears_of_reads(&self) -> bool {
        self.source.hears_of_reads()
    }

    fn rows_per_request(&self, stream: &Value) -> Option<u64> {
        self.source.rows_per_request(stream)
    }

    fn position_tells_content(&self) -> bool {
        self.source.position_tells_content()
    }

    async fn is_as_read(&self, request: &ReadRequest) -> Result<bool> {
        self.source.is_as_read(request).await
    }

    async fn apart(
        &self,
        request: &ReadRequest,
        file: &str,
        raw: &str,
    ) -> Result<Option<Vec<(String, String)>>> {
        self.source.apart(request, file, raw).await
    }

    async fn lag(&self, request: &ChangesRequest) -> Result<Vec<Option<Lag>>> {
        self.source.lag(request).await
    }

    async fn forget(&self, name: &str) -> Result<()> {
        self.source.forget(name).await
    }

    async fn health(&self) -> Result<Option<Health>> {
        self.source.health().await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use serde_json::json;

    use super::*;
    use crate::http::fake::FakePace;
    use crate::source::contract::{Folder, now};

    fn rates(rows: Option<u64>, bytes: Option<u64>) -> Rates {
        Rates {
            rows_per_second: rows.and_then(NonZeroU64::new),
            bytes_per_second: bytes.and_then(NonZeroU64::new),
            page_bytes_max: None,
        }
    }

    /// Seconds that a number of reads take, one page of each in turn.
    async fn seconds(rates: Rates, reads: usize) -> f64 {
        let text: String = (0..10).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let folder = Folder::new(&[("a.jsonl", text.as_bytes())]);
        let pace = FakePace::new();
        let throttle = Arc::new(Throttle::with_pace(rates, Arc::<FakePace>::clone(&pace)));
        let source = || Arc::clone(&throttle).over(folder.source("jsonl"));
        let mut request = ReadRequest::full(json!({ "path": "a.jsonl" }), now());
        request.page_rows = 2;
        let sources: Vec<_> = (0..reads).map(|_| source()).collect();
        let pages = sources.iter().map(|source| source.read(&request));
        let pages: Vec<Page> = stream::select_all(pages).try_collect().await.unwrap();
        let rows: usize = pages.iter().map(|page| page.batch.num_rows()).sum();
        assert_eq!(rows, 10 * reads, "no row is lost");
        pace.slept().iter().map(Duration::as_secs_f64).sum()
    }

    #[tokio::test]
    async fn rows_come_no_faster_than_the_rate_and_all_streams_share_it() {
        assert_eq!(seconds(rates(None, None), 1).await, 0.0);
        let alone = seconds(rates(Some(4), None), 1).await;
        assert!((2.0..=2.6).contains(&alone), "10 rows, 4 a second: {alone}");
        let three = seconds(rates(Some(4), None), 3).await;
        assert!((7.0..=7.6).contains(&three), "30 rows, 4 a second: {three}");
    }

    #[tokio::test]
    async fn bytes_count_too_and_the_tighter_limit_holds() {
        let slow = seconds(rates(Some(1_000_000), Some(1)), 1).await;
        assert!(slow > 10.0, "{slow}");
        let rows = seconds(rates(Some(4), Some(1 << 40)), 1).await;
        assert!((2.0..=2.6).contains(&rows), "{rows}");
    }

    #[tokio::test]
    async fn time_in_which_nothing_was_read_is_not_saved_up() {
        let pace = FakePace::new();
        let throttle = Throttle::with_pace(rates(Some(10), None), Arc::<FakePace>::clone(&pace));
        throttle.pay(throttle.charge(10, 0)).await;
        pace.advance(Duration::from_secs(3_600));
        throttle.pay(throttle.charge(10, 0)).await;
        throttle.pay(throttle.charge(5, 0)).await;
        let slept: Vec<f64> = pace.slept().iter().map(Duration::as_secs_f64).collect();
        assert_eq!(slept, [1.0, 1.0, 0.5]);
    }

    #[tokio::test]
    async fn a_row_that_no_page_can_hold_ends_the_read_and_is_named() {
        let text = format!("{{\"n\":\"a\"}}\n{{\"n\":\"{}\"}}\n", "x".repeat(100_000));
        let folder = Folder::new(&[("a.jsonl", text.as_bytes())]);
        let rates = Rates { page_bytes_max: Some(50_000), ..Rates::default() };
        let source = Arc::new(Throttle::new(rates)).over(folder.source("jsonl"));
        let mut request = ReadRequest::full(json!({ "path": "a.jsonl" }), now());
        request.page_rows = 1;
        let mut pages = source.read(&request);
        assert!(pages.next().await.unwrap().is_ok());
        let error = pages.next().await.unwrap().unwrap_err();
        assert!(error.message().starts_with("a.jsonl:2: one row takes"), "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("memory")));
        assert!(pages.next().await.is_none());
    }
}
