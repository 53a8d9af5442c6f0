//! Rows on their way to a client: whole, in parts, or as a stream.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::{BufMut, BytesMut};
use flywheel_base::Result as BaseResult;
use flywheel_runtime::access::Reading;
use flywheel_warehouse::Parameters;
use flywheel_warehouse::postgres::{CopyWriter, Copying, Fetch, Form, Kind, data_rows};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep_until;

use super::{Portal, Session};
use crate::postgres::frame::{Stop, Wire, put_text};
use crate::postgres::refusal::Refusal;
use crate::postgres::running::{Column, Piece, Running};

/// Rows of one answer at most.
const ROWS_MAX: usize = 10_000_000;
/// Rows that are written before it is looked whether they are sent.
const ROWS_AT_ONCE: usize = 256;

/// How an answer in rows ended.
enum Answer {
    Whole(usize),
    /// There may be more than was asked for.
    Part(usize),
}

impl Session {
    /// Lets a planned statement run, once it is noted.
    pub(super) async fn let_run(&self, running: &mut Running, sql: &str) -> Result<(), Refusal> {
        if running.waits() && running.reads {
            let caller = self.caller().await?;
            self.note(&caller, sql, "begun").await?;
        }
        running.go();
        Ok(())
    }

    /// Sends rows of a portal.
    pub(super) async fn rows<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        portal: &mut Portal,
        most: Option<usize>,
        reading: &Reading,
    ) -> Result<(), Stop> {
        if portal.dropped {
            return Err(Refusal::new(
                "55000",
                "the answer was dropped: nobody read it on for two minutes, or it was open for an hour",
            )
            .hint("Ask again.")
            .into());
        }
        if portal.done {
            wire.complete("SELECT 0");
            return Ok(());
        }
        self.columns(portal).await?;
        let Some(mut running) = portal.running.take() else {
            return Err(Refusal::new("XX000", "a statement has no plan").into());
        };
        if running.reading != *reading {
            return Err(changed().into());
        }
        let kinds: Vec<Kind> = running.columns.iter().map(|column| column.kind).collect();
        if portal.prepared.told.as_ref().is_some_and(|told| *told != kinds) {
            return Err(Refusal::new("0A000", "cached plan must not change result type")
                .hint("Prepare the statement again.")
                .into());
        }
        let forms = spread(&portal.forms, running.columns.len())?;
        let sql = Arc::clone(&portal.prepared.sql);
        self.let_run(&mut running, &sql).await?;
        let write = |batch: &RecordBatch, out: &mut BytesMut| data_rows(batch, &kinds, &forms, out);
        match self.send_rows(wire, &mut running, most, write).await? {
            Answer::Whole(count) => {
                portal.done = true;
                let word = sql.trim_start().get(..7).unwrap_or_default();
                if word.eq_ignore_ascii_case("explain") {
                    wire.complete("EXPLAIN");
                } else {
                    wire.complete(&format!("SELECT {count}"));
                }
            }
            Answer::Part(_) => {
                portal.running = Some(running);
                wire.put(b's', |_| {});
            }
        }
        Ok(())
    }

    /// Sends rows of a cursor.
    pub(super) async fn fetch<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        portal: &mut Portal,
        fetch: &Fetch,
        reading: &Reading,
    ) -> Result<(), Stop> {
        self.cursor(fetch)?;
        let Some(mut running) = self.cursors.remove(&fetch.name) else { return Ok(()) };
        if running.reading != *reading {
            return Err(changed().into());
        }
        let forms = spread(&portal.forms, running.columns.len())?;
        let most = fetch.count.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let kinds: Vec<Kind> = running.columns.iter().map(|column| column.kind).collect();
        let write = |batch: &RecordBatch, out: &mut BytesMut| data_rows(batch, &kinds, &forms, out);
        let count = match self.send_rows(wire, &mut running, most, write).await? {
            Answer::Whole(count) | Answer::Part(count) => count,
        };
        // A cursor stays open behind its last row.
        self.cursors.insert(fetch.name.clone(), running);
        portal.done = true;
        wire.complete(&format!("FETCH {count}"));
        Ok(())
    }

    /// Sends the rows of a query as a stream.
    pub(super) async fn copy<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        portal: &mut Portal,
        copying: &Copying,
    ) -> Result<(), Stop> {
        if portal.done {
            let message = "a portal with COPY is executed once";
            return Err(Refusal::new("55000", message).hint("Bind it again.").into());
        }
        portal.done = true;
        let sql = Arc::from(copying.query.as_str());
        let mut running = Box::pin(self.start(sql, Parameters::new(), None)).await?;
        let said = Arc::clone(&portal.prepared.sql);
        self.let_run(&mut running, &said).await?;
        let columns = running.columns.clone();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let kinds: Vec<Kind> = columns.iter().map(|column| column.kind).collect();
        let count = i16::try_from(columns.len()).map_err(|_| {
            Refusal::new("54011", "the answer has too many columns").hint("Name those you need.")
        })?;
        if let Some(missing) = copying.form.missing(&names) {
            let message = format!("FORCE_QUOTE column \"{missing}\" is not copied");
            let hint = format!("Write one of: {}.", names.join(", "));
            return Err(Refusal::new("42703", message).hint(hint).into());
        }
        let form = if copying.form.is_binary() { Form::Binary } else { Form::Text };
        wire.put(b'H', |out| {
            out.put_u8(u8::from(form == Form::Binary));
            out.put_i16(count);
            columns.iter().for_each(|_| out.put_i16(form.code()));
        });
        let mut writer = CopyWriter::new(copying.form.clone(), &names);
        writer.head(&names, &mut wire.out).map_err(Refusal::from)?;
        let write = |batch: &RecordBatch, out: &mut BytesMut| writer.rows(batch, &kinds, out);
        let (Answer::Whole(sent) | Answer::Part(sent)) =
            self.send_rows(wire, &mut running, None, write).await?;
        writer.end(&mut wire.out).map_err(Refusal::from)?;
        wire.put(b'c', |_| {});
        wire.complete(&format!("COPY {sent}"));
        Ok(())
    }

    /// Sends what is found, as it is found and as fast as it is taken; `most` rows at most, each as `write` puts them.
    async fn send_rows<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &self,
        wire: &mut Wire<S>,
        running: &mut Running,
        most: Option<usize>,
        mut write: impl FnMut(&RecordBatch, &mut BytesMut) -> BaseResult<()>,
    ) -> Result<Answer, Stop> {
        let mut sent = 0;
        loop {
            running.read_at = Instant::now();
            let room = most.unwrap_or(usize::MAX).saturating_sub(sent);
            if room == 0 {
                return Ok(Answer::Part(sent));
            }
            if running.rest.is_none() {
                running.rest = self.more(wire, running).await?;
            }
            let Some(batch) = running.rest.take() else { return Ok(Answer::Whole(sent)) };
            let count = batch.num_rows().min(ROWS_AT_ONCE).min(room);
            let whole = wire.out.len();
            if let Err(error) = write(&batch.slice(0, count), &mut wire.out) {
                // What was begun is no message.
                wire.out.truncate(whole);
                return Err(Refusal::from(error).into());
            }
            if count < batch.num_rows() {
                running.rest = Some(batch.slice(count, batch.num_rows() - count));
            }
            sent += count;
            running.sent += count;
            if running.sent > ROWS_MAX {
                return Err(Refusal::new(
                    "54000",
                    format!("an answer has more than {ROWS_MAX} rows"),
                )
                .hint("Ask for fewer, such as with LIMIT, or sum them up.")
                .into());
            }
            wire.send_much().await?;
        }
    }

    /// The next rows that are found; none at the end.
    async fn more<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        running: &mut Running,
    ) -> Result<Option<RecordBatch>, Stop> {
        if running.ended {
            return Ok(None);
        }
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(Refusal::cancelled().into()),
                // Also while there is always more to send.
                () = sleep_until(self.deadline) => {
                    let time = self.settings.time().as_millis();
                    return Err(Refusal::too_long(time).into());
                }
                piece = running.pieces.recv() => match piece {
                    Some(Piece::Rows(batch)) => return Ok(Some(batch)),
                    Some(Piece::End) => {
                        running.ended = true;
                        return Ok(None);
                    }
                    Some(Piece::Failed(error)) => {
                        running.ended = true;
                        return Err(Refusal::from(error).into());
                    }
                    None => {
                        return Err(Refusal::new("XX000", "the statement stopped unexpectedly").into());
                    }
                },
                // Who leaves wants no rows any more.
                filled = wire.fill(), if wire.has_room() => filled?,
            }
        }
    }
}

/// Why an answer that was begun does not go on for a reader who sees something else by now.
fn changed() -> Refusal {
    Refusal::new("55000", "what this user may see has changed since the statement was planned")
        .hint("Ask again.")
}

/// A form for each of so many: none says texts, and one is for all.
pub(super) fn spread(forms: &[Form], count: usize) -> Result<Vec<Form>, Refusal> {
    match forms {
        [] => Ok(vec![Form::Text; count]),
        [one] => Ok(vec![*one; count]),
        forms if forms.len() == count => Ok(forms.to_vec()),
        forms => {
            let message = format!("{} forms are given for {count} values", forms.len());
            Err(Refusal::new("08P01", message))
        }
    }
}

/// Tells the columns of an answer.
pub(super) fn describe<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    columns: &[Column],
    forms: &[Form],
) {
    wire.put(b'T', |out| {
        out.put_i16(i16::try_from(columns.len()).unwrap_or(i16::MAX));
        for (at, column) in columns.iter().enumerate() {
            put_text(out, &column.name);
            // Which table and column it is of is not told.
            out.put_i32(0);
            out.put_i16(0);
            out.put_u32(column.kind.oid());
            out.put_i16(column.kind.size());
            out.put_i32(column.modifier);
            out.put_i16(forms.get(at).copied().unwrap_or_default().code());
        }
    });
}

/// A row of texts.
pub(super) fn text_row<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>, cells: &[&str]) {
    wire.put(b'D', |out: &mut BytesMut| {
        out.put_i16(i16::try_from(cells.len()).unwrap_or(i16::MAX));
        for cell in cells {
            out.put_i32(i32::try_from(cell.len()).unwrap_or(i32::MAX));
            out.put_slice(cell.as_bytes());
        }
    });
}
