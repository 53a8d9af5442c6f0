//! Constraints that hold whatever was chosen: consent, quiet hours, the contacts of all policies together, and the units
//! that no policy treats.
//!
//! Whether a unit may be decided for never depends on the arm it is in: both arms of a policy are left out alike, so that
//! its lift stays right, and a propensity is that of the choice given that the unit may be decided for. What stands against a
//! delivery is looked at again when it is due.

use std::collections::{BTreeSet, HashMap, HashSet};

use flywheel_base::calendar::quiet::QuietHours;
use flywheel_base::calendar::time_zone;
use flywheel_base::{Error, Result, Timestamp, digest, statement};
use flywheel_project::resource::policy::{Consent, Policy, QuietHours as Declared, column_of};
use flywheel_project::resource::project_file::{Contact, GlobalHoldout};
use flywheel_state::OutboxEntry;
use serde_json::{Map, Value};

use crate::context::{Context, Pending, due_after};
use crate::decide::{audience_of, list_of};
use crate::frame::Frame;
use crate::outcome::literal;
use crate::table::DecisionRow;

/// How many units are asked for by name; of more, everybody's answer is read.
const NAMED_MAX: usize = 1_000;

/// Why a unit of an audience may not be decided for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Barred {
    /// It was decided for within `caps.per_unit_every`.
    Recent,
    /// It has not agreed.
    Consent,
    /// Its time zone is not known, so neither are its quiet hours.
    Zone,
    /// All policies together have used its contacts up.
    Contact,
}

impl Barred {
    /// All of them, in the order in which they are looked at: what holds first is told.
    pub(crate) const ALL: [Self; 4] = [Self::Recent, Self::Consent, Self::Zone, Self::Contact];

    /// Its name in previews and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Recent => "per_unit_every",
            Self::Consent => "consent",
            Self::Zone => "quiet_hours",
            Self::Contact => "contact",
        }
    }

    /// What is told to whoever asks for one unit.
    pub(crate) fn refusal(self, name: &str, unit: &str) -> Error {
        match self {
            Self::Recent => Error::blocked(format!(
                "policy \"{name}\" has decided for the unit \"{unit}\" within `caps.per_unit_every`"
            )),
            Self::Consent => Error::blocked(format!(
                "policy \"{name}\" needs a consent that the unit \"{unit}\" has not given"
            ))
            .hint("See `consent` in the policy's file."),
            Self::Zone => Error::blocked(format!(
                "policy \"{name}\" has quiet hours, and the time zone of the unit \"{unit}\" is not known"
            ))
            .hint("See `quiet_hours.zone` in the policy's file."),
            Self::Contact => Error::blocked(format!(
                "the unit \"{unit}\" was decided for as often as `contact` of flywheel.yaml allows"
            )),
        }
    }
}

/// What stands against deciding for units, besides their columns, while it is being asked for.
pub(crate) struct Asked<'w> {
    consenting: Option<Pending<'w>>,
    contacts: Option<(u32, Pending<'w>)>,
}

/// What stands against deciding for units.
#[derive(Default)]
pub(crate) struct Bars {
    /// Units that were decided for too recently.
    pub(crate) recent: HashSet<String>,
    /// Units that have agreed, where a query says so.
    consenting: Option<HashSet<String>>,
    /// How often units were decided for by all policies together, and the limit.
    contacts: Option<(u32, HashMap<String, u32>)>,
}

/// What the queries are called in messages.
pub(crate) struct Names {
    consent: String,
    contact: String,
}

impl Names {
    /// Those of a policy.
    pub(crate) fn of(name: &str) -> Self {
        Self {
            consent: format!("policy \"{name}\": consent"),
            contact: format!("policy \"{name}\": contact of flywheel.yaml"),
        }
    }
}

impl<'w> Asked<'w> {
    /// Asks for what stands against deciding: for the units of a list of SQL, or for all.
    pub(crate) fn ask(
        ctx: &Context<'_>,
        name: &str,
        policy: &Policy,
        names: &'w Names,
        units: Option<&str>,
    ) -> Result<Self> {
        let consenting = match &policy.consent {
            Some(Consent::Sql(sql)) => {
                let sql = consent_query(ctx, &names.consent, sql, units)?;
                Some(ctx.begin(&names.consent, sql))
            }
            Some(Consent::Column(_)) | None => None,
        };
        let contacts = contact_of(ctx, name, policy).map(|(contact, policies)| {
            let per_unit = contact.per_unit.get();
            let since = ctx.now.plus_micros(-due_after(contact.every.micros));
            let (of_units, least) = match units {
                Some(list) => (format!(" and unit_id in ({list})"), 1),
                None => (String::new(), per_unit),
            };
            let policies: Vec<String> = policies.iter().map(|one| format!("'{one}'")).collect();
            let sql = format!(
                "select unit_id, count(*) as n from system.decisions
                 where policy in ({}) and decided_at > {}{of_units}
                 group by unit_id having count(*) >= {least}",
                policies.join(", "),
                literal(since)
            );
            (per_unit, ctx.begin(&names.contact, sql))
        });
        Ok(Self { consenting, contacts })
    }

    /// Waits for the answers. `more` are decisions that no table has yet.
    pub(crate) async fn bars(
        self,
        ctx: &Context<'_>,
        (name, policy): (&str, &Policy),
        recent: HashSet<String>,
        more: &[DecisionRow],
    ) -> Result<Bars> {
        let consenting = match self.consenting {
            Some(pending) => Some(pending.frame().await?.ids("unit_id")?.into_iter().collect()),
            None => None,
        };
        let contacts = match self.contacts {
            Some((per_unit, pending)) => {
                let frame = pending.frame().await?;
                let counts = frame
                    .integers("n")?
                    .into_iter()
                    .map(|count| u32::try_from(count.unwrap_or_default()).unwrap_or(u32::MAX));
                let mut counts: HashMap<String, u32> =
                    frame.ids("unit_id")?.into_iter().zip(counts).collect();
                if let Some((_, policies)) = contact_of(ctx, name, policy) {
                    for row in more.iter().filter(|row| policies.contains(row.policy.as_str())) {
                        let count = counts.entry(row.unit_id.clone()).or_default();
                        *count = count.saturating_add(1);
                    }
                }
                Some((per_unit, counts))
            }
            None => None,
        };
        Ok(Bars { recent, consenting, contacts })
    }
}

impl Bars {
    /// What stands against deciding for each row of an audience, whose units are `ids`.
    pub(crate) fn of(
        &self,
        policy: &Policy,
        audience: &Frame<'_>,
        ids: &[String],
    ) -> Result<Vec<Option<Barred>>> {
        let agreed = match &policy.consent {
            Some(Consent::Column(column)) => Some(audience.answers(column)?),
            Some(Consent::Sql(_)) | None => None,
        };
        let zoned = match policy.quiet_hours.as_ref().and_then(|quiet| column_of(&quiet.zone)) {
            Some(column) => Some(known_zones(&audience.text(column)?)),
            None => None,
        };
        let barred = |(row, id): (usize, &String)| {
            let agreed = match (&agreed, &self.consenting) {
                (Some(flags), _) => flags.get(row).copied().flatten() == Some(true),
                (None, Some(units)) => units.contains(id),
                (None, None) => true,
            };
            let zoned = zoned.as_ref().is_none_or(|known| known.get(row) == Some(&true));
            Barred::ALL.into_iter().find(|reason| match reason {
                Barred::Recent => self.recent.contains(id),
                Barred::Consent => !agreed,
                Barred::Zone => !zoned,
                Barred::Contact => self.contacts_left(id) == Some(0),
            })
        };
        Ok(ids.iter().enumerate().map(barred).collect())
    }

    /// Whether a unit may be decided for once more, after what was counted since all were asked for.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Blocked`] if it was decided for too recently, or as often as is allowed.
    pub(crate) fn once_more(&self, name: &str, policy: &Policy, unit: &str) -> Result<()> {
        if policy.caps.per_unit_every.is_some() && self.recent.contains(unit) {
            return Err(Barred::Recent.refusal(name, unit));
        }
        if self.contacts_left(unit) == Some(0) {
            return Err(Barred::Contact.refusal(name, unit));
        }
        Ok(())
    }

    /// Notes that a unit was decided for once more.
    pub(crate) fn count(&mut self, unit: &str) {
        self.recent.insert(unit.to_owned());
        if let Some((_, counts)) = &mut self.contacts {
            let count = counts.entry(unit.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// How often a unit may still be decided for; none without a limit.
    fn contacts_left(&self, unit: &str) -> Option<u32> {
        let (per_unit, counts) = self.contacts.as_ref()?;
        Some(per_unit.saturating_sub(counts.get(unit).copied().unwrap_or_default()))
    }
}

/// Whether each text names a time zone.
fn known_zones(texts: &[Option<String>]) -> Vec<bool> {
    let mut known: HashMap<&str, bool> = HashMap::new();
    let mut is_zone = |name| *known.entry(name).or_insert_with_key(|name| time_zone(name).is_ok());
    texts.iter().map(|text| text.as_deref().is_some_and(&mut is_zone)).collect()
}

/// The limit on contacts that holds for a policy, and the policies whose decisions it counts.
fn contact_of<'c>(
    ctx: &'c Context<'_>,
    name: &'c str,
    policy: &Policy,
) -> Option<(&'c Contact, BTreeSet<&'c str>)> {
    let contact = ctx.project.file.contact.as_ref()?;
    if !contact.covers(policy.action.as_deref()?) {
        return None;
    }
    let counts = ctx.project.policies.iter().filter(|(_, policy)| {
        policy.action.as_deref().is_some_and(|action| contact.covers(action))
    });
    let policies = counts.map(|(name, _)| name.as_str()).chain([name]).collect();
    Some((contact, policies))
}

/// The query for everybody who has agreed, or for those of `units` who have.
fn consent_query(
    ctx: &Context<'_>,
    what: &str,
    template: &str,
    units: Option<&str>,
) -> Result<String> {
    let sql = ctx.render(template).map_err(|e| e.context(what))?;
    let sql = statement::one(what, &sql)?;
    let condition = units.map_or_else(
        || "unit_id is not null".to_owned(),
        |list| format!("cast(unit_id as varchar) in ({list})"),
    );
    Ok(format!("select distinct unit_id from (\n{sql}\n) as consent where {condition}"))
}

/// Whether what constraints ask for can be read: columns of the audience, and a query that is planned.
pub(crate) async fn check(
    ctx: &Context<'_>,
    name: &str,
    policy: &Policy,
    audience: &Frame<'_>,
) -> Result<()> {
    let quiet = policy.quiet_hours.as_ref();
    if let Some(column) = quiet.and_then(|quiet| column_of(&quiet.zone)) {
        audience.text(column)?;
    }
    match &policy.consent {
        Some(Consent::Column(column)) => audience.answers(column).map(drop),
        Some(Consent::Sql(sql)) => {
            let what = format!("policy \"{name}\": consent");
            let sql = consent_query(ctx, &what, sql, Some("''"))?;
            ctx.frame_of_sql(&what, &sql).await?.text("unit_id").map(drop)
        }
        None => Ok(()),
    }
}

/// Whether no policy treats a unit, at any moment.
pub(crate) fn held_by_all(global: &GlobalHoldout, unit: &str) -> bool {
    let salt = global.salt.as_deref().unwrap_or_default();
    digest::unit_interval(&format!("global-holdout/{salt}"), unit) < global.share.value()
}

/// When a delivery may leave that could leave at `at`: none for at once. The error says why nobody knows.
pub(crate) fn quiet_until(
    quiet: &Declared,
    features: &str,
    at: Timestamp,
) -> Result<Option<Timestamp>> {
    let hours = QuietHours::parse(&quiet.from, &quiet.to)?;
    let zone = match column_of(&quiet.zone) {
        None => time_zone(&quiet.zone)?,
        Some(column) => {
            let features: Map<String, Value> = serde_json::from_str(features).map_err(|e| {
                Error::corrupt("the features of a decision are no JSON object").caused_by(e)
            })?;
            let named = features.get(column).and_then(Value::as_str).ok_or_else(|| {
                Error::invalid(format!("the decision has no time zone in \"{column}\""))
            })?;
            time_zone(named)?
        }
    };
    Ok(hours.until(at, zone))
}

/// What stands against a delivery that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// It waits for the end of quiet hours.
    Until(Timestamp),
    /// It never leaves, for this reason.
    Never(String),
}

/// The decision behind a delivery.
struct Behind {
    unit: String,
    features: String,
    at: i64,
}

/// What stands against deliveries of one policy that are due, by their keys.
///
/// # Cost
/// Nothing for a policy without quiet hours and consent; else the decisions of their turns are read, and who agrees now.
pub(crate) async fn held(
    ctx: &Context<'_>,
    name: &str,
    policy: &Policy,
    entries: &[OutboxEntry],
) -> Result<HashMap<String, Held>> {
    let mut held = HashMap::new();
    if policy.quiet_hours.is_none() && policy.consent.is_none() {
        return Ok(held);
    }
    let decisions = behind(ctx, name, entries).await?;
    let units: BTreeSet<&str> = decisions.values().map(|one| one.unit.as_str()).collect();
    let agreed = agreed(ctx, name, policy, &units).await?;
    for entry in entries {
        let found = match decisions.get(&entry.decision_id) {
            Some(decision) => against(ctx, policy, decision, agreed.as_ref()),
            None => Some(Held::Never("not sent: its decision is not logged any more".to_owned())),
        };
        held.extend(found.map(|found| (entry.key.clone(), found)));
    }
    Ok(held)
}

fn against(
    ctx: &Context<'_>,
    policy: &Policy,
    decision: &Behind,
    agreed: Option<&HashSet<String>>,
) -> Option<Held> {
    if agreed.is_some_and(|units| !units.contains(&decision.unit)) {
        let why = "not sent: consent was withdrawn after the decision, or cannot be seen any more";
        return Some(Held::Never(why.to_owned()));
    }
    let quiet = policy.quiet_hours.as_ref()?;
    let ends = quiet.expires.map(|expires| decision.at.saturating_add(expires.micros));
    if ends.is_some_and(|ends| ctx.now.micros() >= ends) {
        return Some(Held::Never(
            "not sent: it waited for longer than `quiet_hours.expires`".to_owned(),
        ));
    }
    match quiet_until(quiet, &decision.features, ctx.now) {
        Ok(until) => until.map(Held::Until),
        Err(error) => Some(Held::Never(format!("not sent: {}", error.message()))),
    }
}

/// The decisions behind deliveries, by their ids.
async fn behind(
    ctx: &Context<'_>,
    name: &str,
    entries: &[OutboxEntry],
) -> Result<HashMap<String, Behind>> {
    let turns = entries.iter().map(|entry| entry.turn);
    let (Some(first), Some(last)) = (turns.clone().min(), turns.max()) else {
        return Ok(HashMap::new());
    };
    let wanted: HashSet<&str> = entries.iter().map(|entry| entry.decision_id.as_str()).collect();
    let what = format!("policy \"{name}\": decisions");
    let sql = format!(
        "select decision_id, unit_id, features, decided_at from system.decisions
         where policy = '{name}' and turn between {first} and {last}"
    );
    let frame = ctx.frame_of_sql(&what, &sql).await?;
    let frame = frame.only_ids("decision_id", |id| wanted.contains(id))?;
    let rows = frame.ids("decision_id")?.into_iter().zip(frame.ids("unit_id")?);
    let rows = rows.zip(frame.ids("features")?).zip(frame.moments("decided_at")?);
    Ok(rows.map(|(((id, unit), features), at)| (id, Behind { unit, features, at })).collect())
}

/// Those of these units that have agreed as of now; none if the policy asks for no consent.
async fn agreed(
    ctx: &Context<'_>,
    name: &str,
    policy: &Policy,
    units: &BTreeSet<&str>,
) -> Result<Option<HashSet<String>>> {
    let Some(consent) = &policy.consent else { return Ok(None) };
    if units.is_empty() {
        return Ok(Some(HashSet::new()));
    }
    let list = (units.len() <= NAMED_MAX).then(|| list_of(units.iter().copied()));
    let found = match consent {
        Consent::Sql(sql) => {
            let what = format!("policy \"{name}\": consent");
            let sql = consent_query(ctx, &what, sql, list.as_deref())?;
            ctx.frame_of_sql(&what, &sql).await?.ids("unit_id")?
        }
        Consent::Column(column) => {
            let what = audience_of(name);
            let audience = ctx.render(&policy.audience).map_err(|e| e.context(&what))?;
            let audience = statement::one(&what, &audience)?;
            let condition = list.map_or_else(String::new, |list| {
                format!(" where cast(unit_id as varchar) in ({list})")
            });
            let sql = format!("select * from (\n{audience}\n) as audience{condition}");
            let frame = ctx.frame_of_sql(&what, &sql).await?;
            let rows = frame.text("unit_id")?.into_iter().zip(frame.answers(column)?);
            rows.filter(|(_, agreed)| *agreed == Some(true)).filter_map(|(unit, _)| unit).collect()
        }
    };
    Ok(Some(found.into_iter().collect()))
}
