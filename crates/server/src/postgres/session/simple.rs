//! The short way of asking: a script of statements, whose rows are texts.

use flywheel_warehouse::Parameters;
use flywheel_warehouse::postgres::split;
use tokio::io::{AsyncRead, AsyncWrite};

use super::rows::describe;
use super::{Portal, Session};
use crate::postgres::frame::{Message, Stop, Wire};
use crate::postgres::refusal::Refusal;

/// Statements of one script at most.
const SCRIPT_MAX: usize = 1_000;

impl Session {
    /// Answers a script of statements, one after the other up to the first that fails.
    pub(super) async fn script<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        mut message: Message,
    ) -> Result<(), Stop> {
        let sql = message.body.text()?;
        self.portals.remove("");
        let statements = split(&sql);
        if statements.is_empty() {
            wire.put(b'I', |_| {});
            return Ok(());
        }
        if statements.len() > SCRIPT_MAX {
            let refusal =
                Refusal::new("54000", format!("a script has more than {SCRIPT_MAX} statements"));
            self.failed(wire, &refusal);
            return Ok(());
        }
        self.together = statements.len() > 1;
        for statement in statements {
            self.begin();
            match Box::pin(self.whole(wire, statement)).await {
                Ok(()) => wire.send_much().await?,
                Err(Stop::Refused(refusal)) if !refusal.fatal => {
                    self.failed(wire, &refusal);
                    break;
                }
                Err(stop) => return Err(stop),
            }
        }
        self.together = false;
        self.synced();
        Ok(())
    }

    /// Answers one statement of a script.
    async fn whole<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        sql: &str,
    ) -> Result<(), Stop> {
        let prepared = self.prepare(sql, Vec::new())?;
        let mut portal = Portal::new(prepared, Parameters::new());
        if let Some(columns) = self.columns(&mut portal).await? {
            describe(wire, &columns, &[]);
        }
        self.execute(wire, &mut portal, None).await
    }
}
