//! The longer way of asking: statements that are prepared, bound to values, described, executed and closed, step by step.

use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes};
use flywheel_warehouse::Parameters;
use flywheel_warehouse::postgres::{Command, Form, Kind, constant, split};
use tokio::io::{AsyncRead, AsyncWrite};

use super::rows::{describe, spread};
use super::{Portal, Prepared, Session, Transaction, failed_before};
use crate::postgres::frame::{Body, Message, Stop, Wire, broken};
use crate::postgres::refusal::Refusal;

/// What a client may have prepared at once.
const PREPARED_MAX: usize = 256;
/// Portals that may be open at once.
const PORTALS_MAX: usize = 100;
/// Bytes of statements that a client may have prepared at once, and of values that its portals may hold.
const HELD_BYTES_MAX: usize = 8 << 20;

impl Session {
    /// One step of the longer way of asking: prepare, bind, describe, execute, close.
    pub(super) async fn step<S: AsyncRead + AsyncWrite + Unpin + Send>(
        &mut self,
        wire: &mut Wire<S>,
        mut message: Message,
    ) -> Result<(), Stop> {
        self.begin();
        let body = &mut message.body;
        match message.kind {
            b'P' => {
                self.parse(body)?;
                wire.put(b'1', |_| {});
            }
            b'B' => {
                let (name, statement) = (body.text()?, body.text()?);
                let forms = read_forms(body)?;
                let count = body.count()?;
                let mut values = Vec::with_capacity(count.min(1_000));
                for _ in 0..count {
                    values.push(body.value()?);
                }
                let columns = read_forms(body)?;
                Box::pin(self.bind(&name, &statement, &forms, &values, columns)).await?;
                wire.put(b'2', |_| {});
            }
            b'D' => {
                let (what, name) = (body.byte()?, body.text()?);
                match what {
                    b'S' => Box::pin(self.describe_statement(wire, &name)).await?,
                    // A cursor is a portal, too: psycopg asks what columns it has before it fetches.
                    b'P' if !self.portals.contains_key(&name)
                        && self.cursors.contains_key(&name) =>
                    {
                        if let Some(cursor) = self.cursors.get(&name) {
                            describe(wire, &cursor.columns, &[]);
                        }
                    }
                    b'P' => {
                        let mut portal = self.portal(&name)?;
                        let columns = Box::pin(self.columns(&mut portal)).await;
                        let forms = portal.forms.clone();
                        self.portals.insert(name, portal);
                        match columns? {
                            Some(columns) => {
                                describe(wire, &columns, &spread(&forms, columns.len())?);
                            }
                            None => wire.put(b'n', |_| {}),
                        }
                    }
                    _ => return Err(broken("what is described")),
                }
            }
            b'E' => {
                let (name, most) = (body.text()?, body.long()?);
                let most = usize::try_from(most).ok().filter(|most| *most > 0);
                let mut portal = self.portal(&name)?;
                let done = Box::pin(self.execute(wire, &mut portal, most)).await;
                // `DISCARD ALL` has closed this one, too.
                if portal.prepared.command != Command::Discard {
                    self.portals.insert(name, portal);
                }
                done?;
            }
            b'C' => {
                let (what, name) = (body.byte()?, body.text()?);
                match what {
                    b'S' => drop(self.prepared.remove(&name)),
                    b'P' => drop(self.portals.remove(&name)),
                    _ => return Err(broken("what is closed")),
                }
                wire.put(b'3', |_| {});
            }
            _ => return Err(broken("its kind is not known")),
        }
        Ok(())
    }

    /// Takes a statement, to be asked for by its name.
    fn parse(&mut self, body: &mut Body) -> Result<(), Stop> {
        let (name, sql) = (body.text()?, body.text()?);
        let given: Result<Vec<u32>, Stop> =
            (0..body.count()?).map(|_| Ok(body.long()?.cast_unsigned())).collect();
        let statements = split(&sql);
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Refusal::new("42601", message).into());
        }
        let sql = statements.first().copied().unwrap_or_default();
        let prepared = self.prepare(sql, given?)?;
        if !name.is_empty() && self.prepared.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Refusal::new("42P05", message).into());
        }
        let held: usize = self.prepared.values().map(|one| one.sql.len()).sum();
        if held + sql.len() > HELD_BYTES_MAX {
            let message = format!("prepared statements hold more than {HELD_BYTES_MAX} bytes");
            return Err(Refusal::new("53400", message).hint("Deallocate some.").into());
        }
        if !name.is_empty() && self.prepared.len() >= PREPARED_MAX {
            let message = format!("more than {PREPARED_MAX} statements are prepared");
            return Err(Refusal::new("53400", message).hint("Deallocate some.").into());
        }
        self.prepared.insert(name, prepared);
        Ok(())
    }

    /// Takes a portal out, to be put back.
    fn portal(&mut self, name: &str) -> Result<Portal, Refusal> {
        let missing = || Refusal::new("34000", format!("portal \"{name}\" does not exist"));
        self.portals.remove(name).ok_or_else(missing)
    }

    fn statement(&self, name: &str) -> Result<&Prepared, Refusal> {
        let missing =
            || Refusal::new("26000", format!("prepared statement \"{name}\" does not exist"));
        self.prepared.get(name).ok_or_else(missing)
    }

    /// The types of all values of a prepared statement.
    async fn types(&mut self, name: &str) -> Result<Vec<u32>, Refusal> {
        let Prepared { sql, command, given, types, .. } = self.statement(name)?;
        if let Some(types) = types {
            return Ok(types.clone());
        }
        let sql = match command {
            Command::Query => Arc::clone(sql),
            Command::Declare { query, .. } => query.as_str().into(),
            _ => return Ok(given.clone()),
        };
        let mut types = given.clone();
        if sql.contains('$') {
            let caller = self.caller().await?;
            self.check_places(&caller)?;
            let found = self.within(self.asking(&caller).parameters(sql)).await?;
            for (place, kind) in found {
                let number = place
                    .parse::<usize>()
                    .ok()
                    .filter(|number| (1..=usize::from(u16::MAX)).contains(number));
                let Some(number) = number else {
                    let message = format!("${place} is no parameter");
                    return Err(Refusal::new("42P02", message).hint("Write $1, $2 and so on."));
                };
                if types.len() < number {
                    types.resize(number, 0);
                }
                if let Some(told) = types.get_mut(number - 1)
                    && *told == 0
                {
                    *told = kind.unwrap_or_else(|| Kind::Text.oid());
                }
            }
        }
        for told in types.iter_mut().filter(|told| **told == 0) {
            *told = Kind::Text.oid();
        }
        if let Some(prepared) = self.prepared.get_mut(name) {
            prepared.types = Some(types.clone());
        }
        Ok(types)
    }

    async fn bind(
        &mut self,
        name: &str,
        statement: &str,
        forms: &[Form],
        values: &[Option<Bytes>],
        columns: Vec<Form>,
    ) -> Result<(), Stop> {
        // It is replaced, and must not be waited for.
        if name.is_empty() {
            self.portals.remove("");
        }
        let failed = self.transaction == Transaction::Failed;
        let types = match failed {
            true => self.statement(statement)?.given.clone(),
            false => self.types(statement).await?,
        };
        let prepared = self.statement(statement)?.clone();
        if values.len() != types.len() && !failed {
            let message = format!(
                "bind message supplies {} parameters, but the prepared statement requires {}",
                values.len(),
                types.len()
            );
            return Err(Refusal::new("08P01", message).into());
        }
        let forms = spread(forms, values.len())?;
        let mut bound = Parameters::new();
        for (at, ((value, oid), form)) in values.iter().zip(&types).zip(forms).enumerate() {
            let value = constant(*oid, form, value.as_deref())
                .map_err(|error| Refusal::from(error.context(format!("${}", at + 1))))?;
            bound.insert((at + 1).to_string(), value);
        }
        if !name.is_empty() && self.portals.contains_key(name) {
            let message = format!("portal \"{name}\" already exists");
            return Err(Refusal::new("42P03", message).into());
        }
        if !name.is_empty() && self.portals.len() >= PORTALS_MAX {
            let message = format!("more than {PORTALS_MAX} portals are open");
            return Err(Refusal::new("53400", message).hint("Close some.").into());
        }
        let bytes: usize = values.iter().flatten().map(Bytes::len).sum();
        let held: usize = self.portals.values().map(|portal| portal.bytes).sum();
        if held + bytes > HELD_BYTES_MAX {
            let message = format!("portals hold more than {HELD_BYTES_MAX} bytes of values");
            return Err(Refusal::new("53400", message).hint("Close some.").into());
        }
        let portal = Portal { bytes, forms: columns, ..Portal::new(prepared, bound) };
        self.portals.insert(name.to_owned(), portal);
        // What was counted for being described is counted for one answer.
        if let Some(prepared) = self.prepared.get_mut(statement) {
            prepared.counted = None;
        }
        Ok(())
    }

    async fn describe_statement<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        name: &str,
    ) -> Result<(), Stop> {
        if self.statement(name)?.command == Command::Query
            && self.transaction == Transaction::Failed
        {
            return Err(failed_before().into());
        }
        let types = self.types(name).await?;
        let mut values = Parameters::new();
        for (at, oid) in types.iter().enumerate() {
            values.insert(
                (at + 1).to_string(),
                constant(*oid, Form::Text, None).map_err(Refusal::from)?,
            );
        }
        let mut portal = Portal::new(self.statement(name)?.clone(), values);
        // It is counted for being described again, and then for what is asked next.
        portal.prepared.counted = None;
        let columns = self.columns(&mut portal).await?;
        let reads = portal.running.is_some();
        let count = i16::try_from(types.len()).map_err(|_| broken("it has too many values"))?;
        wire.put(b't', |out| {
            out.put_i16(count);
            types.iter().for_each(|oid| out.put_u32(*oid));
        });
        match columns {
            Some(columns) => {
                if let Some(prepared) = self.prepared.get_mut(name) {
                    prepared.counted = reads.then(Instant::now);
                    prepared.told = Some(columns.iter().map(|column| column.kind).collect());
                }
                describe(wire, &columns, &[]);
            }
            None => wire.put(b'n', |_| {}),
        }
        Ok(())
    }
}

/// Reads codes of forms.
fn read_forms(body: &mut Body) -> Result<Vec<Form>, Stop> {
    let count = body.count()?;
    let form = |body: &mut Body| {
        let code = body.short()?;
        Form::of(code).ok_or_else(|| broken("a form is not known"))
    };
    (0..count).map(|_| form(body)).collect()
}
