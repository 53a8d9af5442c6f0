//! What statements ask for: settings, transactions and cursors here, rows beside.

use std::sync::Arc;

use flywheel_warehouse::Parameters;
use flywheel_warehouse::postgres::{Command, Fetch};
use tokio::io::{AsyncRead, AsyncWrite};

use super::rows::text_row;
use super::{Portal, Session, Transaction, failed_before};
use crate::postgres::frame::{Stop, Wire};
use crate::postgres::refusal::Refusal;
use crate::postgres::running::{Column, Lasts, Running};
use crate::postgres::settings::TOLD;

impl Session {
    /// The columns of what a portal answers; none if it answers without rows. A query is planned for it.
    pub(super) async fn columns(
        &mut self,
        portal: &mut Portal,
    ) -> Result<Option<Vec<Column>>, Refusal> {
        match &portal.prepared.command {
            Command::Query | Command::Show(_) | Command::Fetch(_)
                if self.transaction == Transaction::Failed =>
            {
                Err(failed_before())
            }
            Command::Query => {
                if portal.running.is_none() && !portal.dropped {
                    let sql = Arc::clone(&portal.prepared.sql);
                    let counted = portal.prepared.counted.take();
                    portal.running = Some(self.start(sql, portal.values.clone(), counted).await?);
                }
                Ok(portal.running.as_ref().map(|running| running.columns.clone()))
            }
            Command::Show(name) if name == "all" => {
                Ok(Some(["name", "setting", "description"].map(Column::text).to_vec()))
            }
            Command::Show(name) => Ok(Some(vec![Column::text(name)])),
            Command::Fetch(fetch) => Ok(Some(self.cursor(fetch)?.columns.clone())),
            _ => Ok(None),
        }
    }

    pub(super) fn cursor(&mut self, fetch: &Fetch) -> Result<&mut Running, Refusal> {
        let missing = || {
            Refusal::new("34000", format!("cursor \"{}\" does not exist", fetch.name)).hint(
                "A cursor ends with its transaction, and when nobody reads it on for two minutes.",
            )
        };
        self.cursors.get_mut(&fetch.name).ok_or_else(missing)
    }

    /// Does what a portal asks for; `most` rows at most.
    pub(super) async fn execute<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        portal: &mut Portal,
        most: Option<usize>,
    ) -> Result<(), Stop> {
        let command = portal.prepared.command.clone();
        let ends = matches!(command, Command::End(_) | Command::Mark("ROLLBACK") | Command::Empty);
        if self.transaction == Transaction::Failed && !ends {
            return Err(failed_before().into());
        }
        // Who may no longer read is gone at the next statement, whatever it is.
        let caller = self.caller().await?;
        let reading = caller.reading(&self.app.workspace().project);
        match command {
            Command::Query => return Box::pin(self.rows(wire, portal, most, &reading)).await,
            Command::Fetch(fetch) => {
                return Box::pin(self.fetch(wire, portal, &fetch, &reading)).await;
            }
            Command::Copy(copying) => {
                return Box::pin(self.copy(wire, portal, &copying)).await;
            }
            Command::CopyIn => return Err(Refusal::no_copy_in().into()),
            Command::Empty => wire.put(b'I', |_| {}),
            Command::Begin => {
                if self.transaction == Transaction::None {
                    self.marks = 0;
                }
                self.transaction = Transaction::Open;
                wire.complete("BEGIN");
            }
            Command::End(well) => {
                let well = well && self.transaction != Transaction::Failed;
                self.end(well);
                wire.complete(if well { "COMMIT" } else { "ROLLBACK" });
            }
            Command::Mark(word) => {
                match word {
                    "SAVEPOINT" => self.marks += 1,
                    "RELEASE" => self.marks = self.marks.saturating_sub(1),
                    _ if self.transaction == Transaction::Failed => {
                        self.transaction = Transaction::Open;
                    }
                    _ => {}
                }
                wire.complete(word);
            }
            Command::Set { name, value } => {
                self.set(wire, &name, value.as_deref())?;
                wire.complete("SET");
            }
            Command::Show(name) => self.show(wire, &name)?,
            Command::Reset => {
                self.reset(wire);
                wire.complete("RESET");
            }
            Command::Discard => {
                self.prepared.clear();
                self.portals.clear();
                self.cursors.clear();
                self.reset(wire);
                wire.complete("DISCARD ALL");
            }
            Command::Deallocate(name) => {
                match name {
                    Some(name) => drop(self.prepared.remove(&name)),
                    None => self.prepared.clear(),
                }
                wire.complete("DEALLOCATE");
            }
            Command::Declare { name, query, hold } => {
                self.declare(name, &query, hold, portal.values.clone()).await?;
                wire.complete("DECLARE CURSOR");
            }
            Command::Close(name) => {
                match name {
                    Some(name) => drop(self.cursors.remove(&name)),
                    None => self.cursors.clear(),
                }
                wire.complete("CLOSE CURSOR");
            }
            Command::Ignored(word) => wire.complete(word),
        }
        portal.done = true;
        Ok(())
    }

    /// Opens a cursor.
    async fn declare(
        &mut self,
        name: String,
        query: &str,
        hold: bool,
        values: Parameters,
    ) -> Result<(), Refusal> {
        let outside = self.transaction == Transaction::None;
        if outside && !hold && !self.together {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(
                Refusal::new("25P01", message).hint("Send BEGIN before it, or write WITH HOLD.")
            );
        }
        if self.cursors.contains_key(&name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Refusal::new("42P03", message));
        }
        let mut running = Box::pin(self.start(query.into(), values, None)).await?;
        self.let_run(&mut running, query).await?;
        running.lasts = match (hold, outside) {
            (false, _) => Lasts::Transaction,
            (true, false) => Lasts::IfItEndsWell,
            (true, true) => Lasts::Session,
        };
        self.cursors.insert(name, running);
        Ok(())
    }

    /// Gives all settings their usual values, and tells them.
    fn reset<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<S>) {
        self.settings.reset();
        for (name, key) in TOLD {
            self.tell_setting(wire, name, key);
        }
    }

    fn set<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), Refusal> {
        if let Some(notice) = self.settings.set(name, value)? {
            wire.refuse(b'N', &notice);
        }
        if let Some((told, key)) = TOLD.iter().find(|(_, key)| *key == name) {
            self.tell_setting(wire, told, key);
        }
        Ok(())
    }

    fn show<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<S>,
        name: &str,
    ) -> Result<(), Refusal> {
        // A text is the same in both forms.
        if name == "all" {
            for (name, value) in self.settings.all() {
                text_row(wire, &[name, value, ""]);
            }
        } else {
            let value = self.settings.value(name).ok_or_else(|| {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                Refusal::new("42704", message)
            })?;
            text_row(wire, &[value]);
        }
        wire.complete("SHOW");
        Ok(())
    }
}
