//! On whose behalf rows are read, and what of them that reader sees.
//!
//! ```text
//! rules (access/*.yaml) ─┐
//! groups (flywheel.yaml) ┼─► Reading::limit ─► Catalog with a Sight for each table seen in part
//! who reads, at which door ┘
//! ```
//! A door cannot open a session without saying on whose behalf. Tables that a rule names are seen as it
//! says. A stored table that no rule names and that was made of rows or columns which the reader does not
//! see is refused, until somebody names it or clears it; a view is read with its reader's rules. Our own
//! tables leave out what they tell of such tables.

pub mod granted;
pub(crate) mod made;
mod own;
pub mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::DataType;
use flywheel_base::{Error, ErrorKind, Result, Timestamp, suggest};
use flywheel_connect::TypedMask;
use flywheel_project::graph::glob;
use flywheel_project::resource::rule::{OtherMask, Readers, Role, Rule, RuleMask};
use flywheel_project::{NodeKind, Project};
use flywheel_state::{Grant, GrantKind};
use flywheel_warehouse::{Catalog, ColumnMask, Expression, MaskValues, Seen, Sight, TableName};
use serde::Serialize;
use serde_json::{Value, json};

use self::made::{Made, Origin, Origins};
use self::own::{Hiding, own_tables};
use crate::Workspace;
use crate::system::{audit, databases};

/// What decides about our own tables, for messages.
const TOLD_OF: &str = "the rules of the tables it tells of";
/// Views that one warning names.
const CLOSED_SHOWN_MAX: usize = 10;

/// What a reader sees of the tables of a rule that was lifted for them.
static EVERYTHING: LazyLock<Readers> = LazyLock::new(Readers::default);

/// On whose behalf rows are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// The project itself, and whoever runs commands in its folder: without rules.
    Owner,
    /// A reader.
    As(Reader),
    /// What the first would see, as far as the second may see it.
    Viewed {
        /// Whose sight it is.
        reader: Reader,
        /// Who looks.
        by: Reader,
    },
}

/// Somebody who reads, as rules know them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reader {
    /// The name of the user.
    pub user: Option<String>,
    /// The word of the role.
    pub role: Option<String>,
    /// The groups the user is in.
    pub groups: BTreeSet<String>,
    /// What is true of the user, from all these groups.
    pub attributes: BTreeMap<String, Vec<Value>>,
    /// The rules that hide nothing from the reader, because somebody approved that they asked for it.
    pub lifted: BTreeSet<String>,
    /// The words of the permissions that the reader was given in the same way, beside those of the role.
    pub permissions: BTreeSet<String>,
    /// The grants of the project that the reader was given in the same way, by name.
    pub given: BTreeSet<String>,
    /// Whether they may read the audit log, and so `system.audit`.
    pub audits: bool,
    /// Whether they may operate, and so read `system.databases`.
    pub operates: bool,
}

impl Reader {
    /// A user with a role, in the groups that the project puts them in, by name or by what an identity provider said
    /// (`provider_groups`).
    #[must_use]
    pub fn new(
        project: &Project,
        user: Option<&str>,
        role: Option<&str>,
        provider_groups: &[String],
    ) -> Self {
        let mut reader = Self {
            user: user.map(str::to_owned),
            role: role.map(str::to_owned),
            audits: [Role::Owner, Role::Admin].iter().any(|one| role == Some(one.word())),
            operates: [Role::Owner, Role::Admin, Role::Engineer, Role::Operator]
                .iter()
                .any(|one| role == Some(one.word())),
            ..Self::default()
        };
        for (name, group) in &project.file.groups {
            let named = user.is_some_and(|user| group.users.iter().any(|one| one == user));
            if !named && !group.provider_groups.iter().any(|one| provider_groups.contains(one)) {
                continue;
            }
            reader.groups.insert(name.clone());
            for (attribute, given) in &group.attributes {
                let values = reader.attributes.entry(attribute.clone()).or_default();
                for value in given.values() {
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
            }
        }
        reader
    }

    /// The same reader, to whom what holds of these grants at `now` was given.
    #[must_use]
    pub fn with_grants(mut self, grants: &[Grant], now: Timestamp) -> Self {
        for grant in grants.iter().filter(|one| one.holds(now)) {
            let given = match grant.kind {
                GrantKind::Permission => &mut self.permissions,
                GrantKind::Rule => &mut self.lifted,
                GrantKind::Grant => &mut self.given,
            };
            given.insert(grant.what.clone());
        }
        self
    }

    /// Whether a rule hides something from them.
    #[must_use]
    pub fn is_limited_by(&self, rule: &Rule) -> bool {
        self.entry(rule).is_none_or(|readers| !readers.sees_all())
    }

    /// The reader that a text names: a user of the server or of a group, a role, or `user/role`.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::NotFound`] with the nearest name.
    pub fn named(workspace: &Workspace, text: &str) -> Result<Self> {
        let project = &workspace.project;
        let (user, role) = match text.split_once('/') {
            Some((user, role)) => (user, Some(role)),
            None => (text, None),
        };
        if let Some(role) = role
            && !Role::ALL.iter().any(|known| known.word() == role)
        {
            return Err(Error::not_found(format!("no role \"{role}\""))
                .hint(suggest::hint(role, Role::ALL.iter().map(|role| role.word()))));
        }
        let known = workspace.store.users()?;
        let known_as = known.iter().find(|one| one.name == user);
        let grouped =
            project.file.groups.values().any(|group| group.users.iter().any(|u| u == user));
        if known_as.is_some() || grouped {
            let role = role.or_else(|| known_as.map(|user| user.role.as_str()));
            let provider_groups = known_as.map(|user| user.provider_groups.as_slice());
            let reader = Self::new(project, Some(user), role, provider_groups.unwrap_or_default());
            let grants = known_as.map(|user| user.grants.as_slice()).unwrap_or_default();
            return Ok(reader.with_grants(grants, workspace.machine.now()));
        }
        if role.is_none() && Role::ALL.iter().any(|known| known.word() == text) {
            return Ok(Self::new(project, None, Some(text), &[]));
        }
        let names = known.iter().map(|user| user.name.as_str());
        let grouped = project.file.groups.values().flat_map(|group| &group.users);
        let roles = Role::ALL.iter().map(|role| role.word());
        let all: BTreeSet<&str> = names.chain(grouped.map(String::as_str)).chain(roles).collect();
        Err(Error::not_found(format!("no user or role \"{user}\""))
            .hint(suggest::hint(user, all.iter().copied())))
    }

    /// The reader's name for messages.
    #[must_use]
    pub fn title(&self) -> String {
        match (&self.user, &self.role) {
            (Some(user), _) => user.clone(),
            (None, Some(role)) => format!("the role {role}"),
            (None, None) => "nobody".to_owned(),
        }
    }

    /// What a rule shows them; nothing if no entry names them.
    fn entry<'a>(&self, rule: &'a Rule) -> Option<&'a Readers> {
        if self.lifted.contains(&rule.rule) {
            return Some(&EVERYTHING);
        }
        let (user, role) = (self.user.as_deref(), self.role.as_deref());
        rule.readers.iter().find(|readers| readers.names(user, role, &self.groups))
    }

    /// What `$name` stands for in expressions.
    fn values(&self) -> BTreeMap<String, Vec<Value>> {
        let text = |text: &Option<String>| text.iter().map(|text| json!(text)).collect::<Vec<_>>();
        let mut values = self.attributes.clone();
        values.insert("user".to_owned(), text(&self.user));
        values.insert("role".to_owned(), text(&self.role));
        values.insert("groups".to_owned(), self.groups.iter().map(|name| json!(name)).collect());
        values
    }
}

/// A rule's part in what is seen of a table.
struct Part<'a> {
    rule: &'a Rule,
    reader: &'a Reader,
    readers: Option<&'a Readers>,
}

impl Part<'_> {
    /// Whether it lets the reader see less than everything.
    fn limits(&self) -> bool {
        self.readers.is_none_or(|readers| !readers.sees_all())
    }
}

/// What of a project a reader does not see.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// What is seen of each table that is not seen as it is.
    pub sights: BTreeMap<TableName, Sight>,
    /// Tables, and views over them, whose rows and values are not all seen: what is said about all their rows is not
    /// for the reader.
    pub hidden: BTreeSet<String>,
    /// Tables of which the reader does not see how many rows there are.
    pub uncounted: BTreeSet<String>,
    /// Policies that decide by what is not seen.
    pub policies: BTreeSet<String>,
}

impl Reading {
    /// Who reads; none for the project itself.
    fn readers(&self) -> Vec<&Reader> {
        match self {
            Self::Owner => Vec::new(),
            Self::As(reader) => vec![reader],
            Self::Viewed { reader, by } => vec![reader, by],
        }
    }

    /// Whether all who read may read the audit log.
    #[must_use]
    pub fn audits(&self) -> bool {
        self.readers().iter().all(|reader| reader.audits)
    }

    /// Whether all who read may operate.
    #[must_use]
    pub fn operates(&self) -> bool {
        self.readers().iter().all(|reader| reader.operates)
    }

    /// Whether no rule and no grant of the project hides anything from any of those who read.
    #[must_use]
    pub fn sees_everything(&self, project: &Project) -> bool {
        let rules = || project.rules.values();
        self.granted(project).is_none()
            && self.readers().iter().all(|reader| !rules().any(|rule| reader.is_limited_by(rule)))
    }

    /// Lets the catalog show what the reader may see, and its queries take what they may take.
    ///
    /// # Errors
    /// Those of secrets that masks need, and of the metadata.
    pub fn limit(&self, workspace: &Workspace, catalog: &mut Catalog) -> Result<()> {
        if let Some(allowance) = self.allowance(workspace) {
            catalog.within(allowance);
        }
        if !self.audits() {
            catalog.forget(&audit::name());
            catalog.forget(&crate::system::erasures::name());
        }
        if !self.operates() {
            catalog.forget(&databases::name());
        }
        for (name, sight) in self.sights(workspace, catalog)? {
            catalog.limit(&name, sight);
        }
        self.conceal(workspace, catalog)
    }

    /// As [`Reading::limit`], for a query of ours about what was granted: it finds our own tables.
    ///
    /// # Errors
    /// As [`Reading::limit`].
    pub(crate) fn limit_for_us(&self, workspace: &Workspace, catalog: &mut Catalog) -> Result<()> {
        self.limit(workspace, catalog)?;
        catalog.reveal(granted::is_ours);
        Ok(())
    }

    /// What the reader may see of each table of the catalog that is not seen as it is.
    ///
    /// # Errors
    /// As [`Reading::limit`].
    pub fn sights(
        &self,
        workspace: &Workspace,
        catalog: &Catalog,
    ) -> Result<BTreeMap<TableName, Sight>> {
        Ok(self.limits(workspace, catalog)?.sights)
    }

    /// What the reader does not see of the project's tables and of what is made of them.
    ///
    /// # Errors
    /// As [`Reading::limit`], and those of the lake.
    pub async fn limits_now(&self, workspace: &Workspace) -> Result<Limits> {
        if workspace.project.rules.is_empty() || self.readers().is_empty() {
            return Ok(Limits::default());
        }
        self.limits(workspace, &flywheel_transform::catalog(workspace.world()).await?)
    }

    /// What the reader does not see of the catalog and of what is made of it.
    ///
    /// # Errors
    /// As [`Reading::limit`].
    pub fn limits(&self, workspace: &Workspace, catalog: &Catalog) -> Result<Limits> {
        let project = &workspace.project;
        let mut limits = Limits::default();
        let readers = self.readers();
        let (Some(first), false) = (readers.first(), project.rules.is_empty()) else {
            return Ok(limits);
        };
        // Most who see everything are done here.
        let rules: Vec<&Rule> = project.rules.values().map(|rule| &rule.value).collect();
        if !parts(&rules, &readers).iter().any(Part::limits) {
            return Ok(limits);
        }
        let sights = &mut limits.sights;
        let mut origins = Origins::new();
        let made = Made::now(workspace, catalog)?;
        // What has not landed yet may wait in a topic or in the quarantine, and of what is gone others may hold the rows.
        let landing = project.sources.keys().filter_map(|name| TableName::parse(name).ok());
        let mut absent = made.gone(catalog)?;
        absent.extend(landing.filter(|name| !catalog.contains(name)));
        for (relation, rules) in ruled(project, catalog.names().chain(&absent)) {
            let parts = parts(&rules, &readers);
            if let Some(sight) = sight(workspace, &first.title(), &parts)? {
                let limiting = parts.iter().filter(|part| part.limits()).map(|part| part.rule);
                let whom: BTreeSet<&str> = limiting.clone().map(|rule| rule.ask.as_str()).collect();
                let origin = Origin {
                    rule: sight.rule.clone(),
                    ask: whom.into_iter().collect::<Vec<_>>().join(" and "),
                    rules: limiting.map(|rule| rule.rule.clone()).collect(),
                };
                origins.insert(relation.to_string(), origin);
                if catalog.contains(relation) {
                    sights.insert(relation.clone(), sight);
                }
            }
        }
        if origins.is_empty() {
            return Ok(limits);
        }
        let ours: BTreeSet<String> = own::telling()
            .map(|table| format!("system.{table}"))
            .filter(|table| !own::cleared(project, &origins, table))
            .collect();
        for name in catalog.names() {
            // A view is read with its reader's rules below.
            if sights.contains_key(name) || catalog.is_view(name) {
                continue;
            }
            let relation = name.to_string();
            let Some((because, rule, ask)) = refused(&made, &relation, &origins, &ours) else {
                continue;
            };
            let ask = format!("{} Or let the rule name or clear {relation}.", asked(&ask));
            let (reader, because) = (first.title(), Some(because));
            sights.insert(name.clone(), Sight { reader, rule, because, ask, seen: Seen::Nothing });
        }
        limits.hidden = sights.keys().map(ToString::to_string).collect();
        limits.hidden.extend(origins.keys().cloned());
        let views = catalog.names().filter(|name| catalog.is_view(name)).map(ToString::to_string);
        let over: Vec<String> =
            views.filter(|view| made.view_hides(view, catalog, &limits.hidden)).collect();
        limits.hidden.extend(over);
        let counted = |seen: &Seen| matches!(seen, Seen::Part { rows, .. } if rows.is_empty());
        let uncounted = sights.iter().filter(|(_, sight)| !counted(&sight.seen));
        limits.uncounted = uncounted.map(|(name, _)| name.to_string()).collect();
        let hiding = Hiding {
            project,
            catalog,
            made: &made,
            origins: &origins,
            hidden: &limits.hidden,
            uncounted: &limits.uncounted,
        };
        let open = hiding.open_policies();
        limits.policies =
            project.policies.keys().filter(|name| !open.contains(*name)).cloned().collect();
        for (table, seen) in own_tables(&hiding) {
            let name = TableName::new("system", table);
            if !catalog.contains(&name) || own::cleared(project, &origins, &name.to_string()) {
                continue;
            }
            let reader = first.title();
            let (rule, ask, seen) = match sights.remove(&name) {
                Some(sight) => (sight.rule, sight.ask, own::both(sight.seen, seen)),
                None => {
                    (TOLD_OF.to_owned(), "Ask whoever keeps the project's rules.".to_owned(), seen)
                }
            };
            sights.insert(name, Sight { reader, rule, because: None, ask, seen });
        }
        Ok(limits)
    }

    /// Lets the reader change, make, rename or remove what has the name `name`, or refuses it: what they see in part is not
    /// theirs to destroy, a name that a rule is about is not theirs to give, and what a rule asks is not theirs to say.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Denied`] with whom to ask; else as [`Reading::limit`].
    pub fn allow_change(
        &self,
        workspace: &Workspace,
        catalog: &Catalog,
        name: &TableName,
    ) -> Result<()> {
        let project = &workspace.project;
        if let Some(granted) = self.granted(project) {
            granted.require_change(&name.to_string())?;
        }
        let readers = self.readers();
        let (Some(first), false) = (readers.first(), project.rules.is_empty()) else {
            return Ok(());
        };
        let whole = format!("every row of table {name}, which it takes to change it");
        if let Some(sight) = self.sights(workspace, catalog)?.get(name) {
            return Err(sight.refusal(&whole));
        }
        // A rule holds for its names also before there is something, and in its place later.
        if let Some(rules) = ruled(project, [name].into_iter()).get(name)
            && let Some(sight) = sight(workspace, &first.title(), &parts(rules, &readers))?
        {
            return Err(sight.refusal(&whole));
        }
        let made = Made::now(workspace, catalog)?;
        let asking = made.rules_that_ask(&name.to_string());
        let asking = parts(&asking, &readers).into_iter().find(|part| part.limits());
        asking.map_or(Ok(()), |part| {
            let rule = &part.rule.rule;
            let denied = Error::new(
                ErrorKind::Denied,
                format!("table {name} decides what rule \"{rule}\" shows to {}", first.title()),
            );
            Err(denied.hint(asked(&part.rule.ask)))
        })
    }

    /// Why the reader may not see or make what a policy decides: it reads what they do not see as it is, or cannot be read
    /// on their behalf. None for who sees all of it.
    ///
    /// What it reads is told by the graph, and by its queries as they are planned: these name tables also without `ref`.
    ///
    /// # Errors
    /// As [`Reading::limits_now`].
    pub async fn refusal_of_policy(
        &self,
        workspace: &Workspace,
        policy: &str,
    ) -> Result<Option<Error>> {
        let readers = self.readers();
        let granted = self.granted(&workspace.project);
        let open = workspace.project.rules.is_empty() && granted.is_none();
        let (Some(first), false) = (readers.first(), open) else {
            return Ok(None);
        };
        let mut catalog = workspace.catalog().await?;
        let limits = self.limits(workspace, &catalog)?;
        let unruled =
            limits.sights.is_empty() && limits.hidden.is_empty() && limits.policies.is_empty();
        if unruled && granted.is_none() {
            return Ok(None);
        }
        for (name, sight) in &limits.sights {
            catalog.limit(name, sight.clone());
        }
        if let Some(refusal) = granted.as_ref().and_then(|granted| granted.refusal_of(policy)) {
            return Ok(Some(refusal));
        }
        self.conceal(workspace, &mut catalog)?;
        let session = workspace.lake.session(catalog)?;
        let denied = |what: String| {
            Error::new(ErrorKind::Denied, format!("{what} is not for {}", first.title()))
                .hint("Ask whoever keeps the project's rules; its files in access/ name them.")
        };
        for sql in crate::policy::queries(workspace, policy)? {
            let read = match session.query(&sql).await {
                Ok(query) => query.tables(),
                Err(error) => return Ok(Some(error.context(format!("policy \"{policy}\"")))),
            };
            let whole = |name: &TableName| {
                format!("every row and value of {name}, which policy \"{policy}\" reads,")
            };
            // A table says by which rule; a view over it does not.
            let part = read.iter().find_map(|name| Some((name, limits.sights.get(name)?)));
            if let Some((name, sight)) = part {
                return Ok(Some(sight.refusal(&whole(name))));
            }
            if let Some(name) = read.iter().find(|name| limits.hidden.contains(&name.to_string())) {
                return Ok(Some(denied(whole(name))));
            }
        }
        let by_graph = limits.policies.contains(policy);
        Ok(by_graph.then(|| denied(format!("all of what policy \"{policy}\" decides by"))))
    }

    /// The declared policies whose decisions and deliveries the reader sees; none if that holds for all there ever were.
    ///
    /// # Errors
    /// As [`Reading::limits_now`].
    pub async fn open_policies(&self, workspace: &Workspace) -> Result<Option<BTreeSet<String>>> {
        let project = &workspace.project;
        let open = self.policies_by_rules(workspace).await?;
        let Some(granted) = self.granted(project) else { return Ok(open) };
        let open = open.unwrap_or_else(|| project.policies.keys().cloned().collect());
        let shown = |name: &String| granted.shows_one(NodeKind::Policy, name);
        Ok(Some(open.into_iter().filter(shown).collect()))
    }

    async fn policies_by_rules(&self, workspace: &Workspace) -> Result<Option<BTreeSet<String>>> {
        if workspace.project.rules.is_empty() || self.readers().is_empty() {
            return Ok(None);
        }
        let limits = self.limits(workspace, &workspace.catalog().await?)?;
        let Some(sight) = limits.sights.get(&TableName::new("system", "outbox")) else {
            return Ok(None);
        };
        let none = matches!(sight.seen, Seen::Nothing);
        let open =
            workspace.project.policies.keys().filter(|name| !limits.policies.contains(*name));
        Ok(Some(open.filter(|_| !none).cloned().collect()))
    }

    /// Whether the policy decides by what the reader does not see.
    ///
    /// # Errors
    /// As [`Reading::limits_now`].
    pub async fn hides_policy(&self, workspace: &Workspace, policy: &str) -> Result<bool> {
        let granted = self.granted(&workspace.project);
        if granted.is_some_and(|granted| !granted.shows_one(NodeKind::Policy, policy)) {
            return Ok(true);
        }
        Ok(self.limits_now(workspace).await?.policies.contains(policy))
    }
}

/// What is to be kept of a table or view that a statement makes of others: all that these are made of, too.
///
/// # Errors
/// Those of the metadata.
pub(crate) fn lineage(
    workspace: &Workspace,
    catalog: &Catalog,
    of: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    match of.is_empty() {
        true => Ok(BTreeSet::new()),
        false => Ok(Made::now(workspace, catalog)?.lineage(of)),
    }
}

/// Whether something else may have been made of what has that name, or reads it on behalf of others.
///
/// # Errors
/// Those of the metadata.
pub(crate) fn is_read(workspace: &Workspace, catalog: &Catalog, name: &TableName) -> Result<bool> {
    Made::now(workspace, catalog)?.is_read(&workspace.store, &name.to_string())
}

/// What the rules let each of the readers see.
fn parts<'a>(rules: &[&'a Rule], readers: &[&'a Reader]) -> Vec<Part<'a>> {
    let of = |rule: &&'a Rule| {
        let rule = *rule;
        readers.iter().copied().map(move |reader| Part {
            rule,
            reader,
            readers: reader.entry(rule),
        })
    };
    rules.iter().flat_map(of).collect()
}

/// Why a stored table is refused, by which rule, and whom to ask; nothing if it is not.
fn refused(
    made: &Made<'_>,
    relation: &str,
    origins: &Origins,
    ours: &BTreeSet<String>,
) -> Option<(String, String, String)> {
    let all_clear = |origins: &Origins| {
        let mut rules = origins.values().flat_map(|origin| &origin.rules);
        rules.all(|rule| made.settled(relation, rule))
    };
    let (origin, because) = match made.origin_of(relation, origins) {
        Some(table) => {
            let origin = origins.get(&table)?;
            let because = format!(
                "it is made of {table}, of which {} shows a part, and no rule says what of it is shown",
                origin.rule
            );
            (origin, because)
        }
        None if made.is_orphan(relation) => {
            let (_, origin) = origins.first_key_value()?;
            let because = "nobody declares any more what it was made of, and no rule says what of it is shown";
            (origin, because.to_owned())
        }
        None => {
            let table = made.own_origin(relation, ours).filter(|_| !all_clear(origins))?;
            let (_, origin) = origins.first_key_value()?;
            let because = format!(
                "it is made of {table}, which tells of rows that are not seen, and no rule says what of it is shown"
            );
            return Some((because, TOLD_OF.to_owned(), origin.ask.clone()));
        }
    };
    Some((because, origin.rule.clone(), origin.ask.clone()))
}

fn asked(ask: &str) -> String {
    format!("Ask {}.", ask.trim_end_matches('.'))
}

/// The tables that rules are about, with their rules.
fn ruled<'a>(
    project: &'a Project,
    names: impl Iterator<Item = &'a TableName>,
) -> BTreeMap<&'a TableName, Vec<&'a Rule>> {
    let mut found: BTreeMap<&TableName, Vec<&Rule>> = BTreeMap::new();
    let tagged: BTreeMap<String, &[String]> = project
        .models
        .values()
        .map(|model| (model.relation(), model.config.tags.as_slice()))
        .collect();
    for name in names {
        let relation = name.to_string();
        let tags = tagged.get(&relation).copied().unwrap_or_default();
        for rule in project.rules.values() {
            if about(rule, &relation, tags) {
                found.entry(name).or_default().push(&rule.value);
            }
        }
    }
    found
}

fn about(rule: &Rule, relation: &str, tags: &[String]) -> bool {
    // A star is for the project's tables: ours are named in full.
    let ours = relation.starts_with("system.");
    rule.tables.iter().any(|table| match ours {
        true => table == relation,
        false => glob(table, relation),
    }) || rule.tags.iter().any(|tag| tags.contains(tag))
}

/// What all parts together let a reader see; none if that is everything.
fn sight(workspace: &Workspace, reader: &str, parts: &[Part<'_>]) -> Result<Option<Sight>> {
    let limiting: Vec<&Part<'_>> = parts.iter().filter(|part| part.limits()).collect();
    let Some(first) = limiting.first() else { return Ok(None) };
    let names: BTreeSet<&str> = limiting.iter().map(|part| part.rule.rule.as_str()).collect();
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let rule = match quoted.as_slice() {
        [one] => format!("rule {one}"),
        several => format!("rules {}", several.join(" and ")),
    };
    let whom: BTreeSet<&str> = limiting.iter().map(|part| part.rule.ask.as_str()).collect();
    let whom: Vec<&str> = whom.into_iter().collect();
    let made = |seen| {
        let reader = reader.to_owned();
        Sight { reader, rule, because: None, ask: asked(&whom.join(" and ")), seen }
    };
    if limiting.iter().any(|part| part.readers.is_none_or(|readers| readers.nothing)) {
        return Ok(Some(made(Seen::Nothing)));
    }
    let (mut rows, mut hidden) = (Vec::new(), BTreeSet::new());
    let mut masks: BTreeMap<String, (&Option<RuleMask>, ColumnMask)> = BTreeMap::new();
    for part in &limiting {
        let Some(readers) = part.readers else { continue };
        let expression =
            |sql: &String| Expression { sql: sql.clone(), values: part.reader.values() };
        rows.extend(readers.rows.as_ref().map(expression));
        hidden.extend(readers.hide.iter().cloned());
        for (column, mask) in &readers.masks {
            // Of two masks nobody knows that one hides what the other does.
            let built = match masks.get(column) {
                Some((before, _)) if *before == mask && !is_sql(mask) => continue,
                Some(_) => ColumnMask::Null,
                None => build(workspace, first.rule, column, mask, &expression)?,
            };
            masks.insert(column.clone(), (mask, built));
        }
    }
    masks.retain(|column, _| !hidden.contains(column));
    let masks = masks.into_iter().map(|(column, (_, mask))| (column, mask)).collect();
    Ok(Some(made(Seen::Part { rows, masks, hidden })))
}

fn is_sql(mask: &Option<RuleMask>) -> bool {
    matches!(mask, Some(RuleMask::Other(OtherMask::Sql(_))))
}

fn build(
    workspace: &Workspace,
    rule: &Rule,
    column: &str,
    mask: &Option<RuleMask>,
    expression: &dyn Fn(&String) -> Expression,
) -> Result<ColumnMask> {
    Ok(match mask {
        None => ColumnMask::Null,
        Some(RuleMask::Form(text)) if text.trim() == "null" => ColumnMask::Null,
        Some(RuleMask::Form(text)) => {
            let resolve = |reference: &str| workspace.project.resolve_secret(reference);
            let mask = TypedMask::parse(text, &resolve).map_err(|error| {
                error.context(format!("rule \"{}\", column \"{column}\"", rule.rule))
            })?;
            ColumnMask::With(Arc::new(Typed(mask)))
        }
        Some(RuleMask::Other(OtherMask::Constant(text))) => ColumnMask::Constant(text.clone()),
        Some(RuleMask::Other(OtherMask::Sql(sql))) => ColumnMask::Sql(expression(sql)),
    })
}

/// A mask of a sync in the words of the lake.
#[derive(Debug)]
struct Typed(TypedMask);

impl MaskValues for Typed {
    fn mask(&self, column: &ArrayRef) -> Result<ArrayRef> {
        self.0.column(column)
    }

    fn check(&self, of: &DataType) -> Result<()> {
        self.0.column(&new_empty_array(of)).map(drop)
    }
}

/// A rule, with who sees what.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub rule: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whom to ask.
    pub ask: String,
    /// Where it is declared.
    pub file: String,
    /// The line.
    pub line: usize,
    /// The tables it is about, as they are now.
    pub tables: Vec<String>,
    /// Stored tables made of these that everybody reads.
    pub cleared: Vec<String>,
    /// Stored tables made of these that no rule is about: refused to who does not see all.
    pub refused: Vec<String>,
    /// Who sees what, in order.
    pub readers: Vec<Readers>,
    /// Users of the server, with the number of the entry that names them, from 1; none sees nothing.
    pub users: Vec<(String, Option<usize>)>,
    /// Users of the server who see everything, because somebody approved that they asked for it.
    pub lifted: Vec<String>,
}

/// Every rule, with who sees what. References to secrets stay references.
///
/// # Errors
/// Those of lake and metadata.
pub async fn listed(workspace: &Workspace) -> Result<Vec<Listed>> {
    let project = &workspace.project;
    let catalog = workspace.catalog().await?;
    let made = Made::now(workspace, &catalog)?;
    let gone = made.gone(&catalog)?;
    let users = workspace.store.users()?;
    let now = workspace.machine.now();
    let tables = ruled(project, catalog.names().chain(&gone));
    let rules = project.rules.values().map(|located| {
        let rule = &located.value;
        let about: Vec<String> = tables
            .iter()
            .filter(|(_, rules)| rules.iter().any(|one| one.rule == rule.rule))
            .map(|(name, _)| name.to_string())
            .collect();
        let there = |table: &&String| !gone.iter().any(|gone| gone.to_string() == **table);
        let there: Vec<String> = about.iter().filter(there).cloned().collect();
        let of_rule = || Origin { rules: [rule.rule.clone()].into(), ..Origin::default() };
        let origins: Origins = about.iter().map(|table| (table.clone(), of_rule())).collect();
        let open = catalog.names().filter(|name| !catalog.is_view(name)).map(ToString::to_string);
        let refused = open.filter(|relation| made.origin_of(relation, &origins).is_some());
        let (mut decided, mut lifted) = (Vec::new(), Vec::new());
        for user in &users {
            let reader =
                Reader::new(project, Some(&user.name), Some(&user.role), &user.provider_groups)
                    .with_grants(&user.grants, now);
            if reader.lifted.contains(&rule.rule) {
                lifted.push(user.name.clone());
                continue;
            }
            let at = rule.readers.iter().position(|readers| {
                readers.names(reader.user.as_deref(), reader.role.as_deref(), &reader.groups)
            });
            decided.push((user.name.clone(), at.map(|at| at + 1)));
        }
        Listed {
            rule: rule.rule.clone(),
            description: rule.description.clone(),
            ask: rule.ask.clone(),
            file: located.file.clone(),
            line: located.line,
            refused: refused.collect(),
            tables: there,
            cleared: rule.cleared.clone(),
            readers: rule.readers.clone(),
            users: decided,
            lifted,
        }
    });
    Ok(rules.collect())
}

/// What is wrong with rules that only the lake knows: columns and expressions that do not fit tables.
#[derive(Clone, Debug, Serialize)]
pub struct Misfit {
    /// The rule.
    pub rule: String,
    /// Where it is declared.
    pub file: String,
    /// The line.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What mends it.
    pub hint: Option<String>,
}

/// Tries every entry of every rule on the tables it is about, without reading a row.
///
/// # Errors
/// Those of lake and metadata.
pub async fn misfits(workspace: &Workspace) -> Result<Vec<Misfit>> {
    let project = &workspace.project;
    let mut found = Vec::new();
    if project.rules.is_empty() {
        return Ok(found);
    }
    let catalog = workspace.catalog().await?;
    let whole = workspace.lake.session(catalog.clone())?;
    let tables = ruled(project, catalog.names());
    for located in project.rules.values() {
        let rule = &located.value;
        let mut says = |message: String, hint: Option<String>| {
            let (file, line) = (located.file.clone(), located.line);
            found.push(Misfit { rule: rule.rule.clone(), file, line, message, hint });
        };
        let about: Vec<&TableName> = tables
            .iter()
            .filter(|(_, rules)| rules.iter().any(|one| one.rule == rule.rule))
            .map(|(name, _)| *name)
            .collect();
        let mut columns: BTreeSet<String> = BTreeSet::new();
        let mut fitting = Vec::new();
        for name in &about {
            // What cannot be read at all is told by its own build.
            let Ok(query) = whole.query(&format!("select * from {}", quoted(name))).await else {
                continue;
            };
            columns.extend(query.schema().fields().iter().map(|field| field.name().clone()));
            fitting.push(*name);
        }
        for readers in &rule.readers {
            let named = readers.masks.keys().chain(&readers.hide);
            for column in named.filter(|column| !fitting.is_empty() && !columns.contains(*column)) {
                let tables: Vec<String> = fitting.iter().map(ToString::to_string).collect();
                says(
                    format!(
                        "no table of the rule has the column \"{column}\": {}",
                        tables.join(", ")
                    ),
                    Some(suggest::hint(column, columns.iter().map(String::as_str))),
                );
            }
            // Every attribute has a value here, so that the whole expression is planned.
            let attributes = project.file.groups.values().flat_map(|group| &group.attributes);
            let mut reader = Reader { user: Some("user".to_owned()), ..Reader::default() };
            reader.role = Some("analyst".to_owned());
            reader.groups.insert("group".to_owned());
            for (name, given) in attributes {
                let value = given.values().next().into_iter().collect();
                reader.attributes.insert(name.clone(), value);
            }
            let part = Part { rule, reader: &reader, readers: Some(readers) };
            let sight = match sight(workspace, "a reader", &[part]) {
                Ok(Some(sight)) if !readers.nothing => sight,
                Ok(_) => continue,
                Err(error) => {
                    says(error.message().to_owned(), error.hint_text().map(str::to_owned));
                    continue;
                }
            };
            for name in &fitting {
                let mut limited = catalog.clone();
                limited.limit(name, sight.clone());
                let session = workspace.lake.session(limited)?;
                if let Err(error) = session.query(&format!("select 1 from {}", quoted(name))).await
                {
                    says(error.message().to_owned(), None);
                }
            }
        }
    }
    found.dedup_by(|one, other| one.message == other.message && one.rule == other.rule);
    Ok(found)
}

/// Views that whom a rule hides a column from cannot read, since they name it: one entry for each column, as warnings.
///
/// Views that do not name the column, such as `select *`, leave it out and are none of these.
///
/// # Errors
/// Those of lake and metadata.
/// # Cost
/// Every view is planned once, and those over a rule's tables once more for each column that it hides; no row is read.
pub async fn closed_views(workspace: &Workspace) -> Result<Vec<Misfit>> {
    let project = &workspace.project;
    let mut found = Vec::new();
    let hides = |rule: &Rule| rule.readers.iter().any(|readers| !readers.hide.is_empty());
    if !project.rules.values().any(|located| hides(&located.value)) {
        return Ok(found);
    }
    let catalog = workspace.catalog().await?;
    let whole = workspace.lake.session(catalog.clone())?;
    let mut views: Vec<(&TableName, BTreeSet<TableName>)> = Vec::new();
    let named: Vec<&TableName> = catalog.names().filter(|name| catalog.is_view(name)).collect();
    for name in named {
        // What cannot be read at all is told by its own build.
        if let Ok(query) = whole.query(&format!("select 1 from {}", quoted(name))).await {
            views.push((name, query.tables()));
        }
    }
    let tables = ruled(project, catalog.names());
    for located in project.rules.values() {
        let rule = &located.value;
        let about =
            tables.iter().filter(|(_, rules)| rules.iter().any(|one| one.rule == rule.rule));
        let about: Vec<&TableName> = about.map(|(name, _)| *name).collect();
        let over: Vec<&TableName> = views
            .iter()
            .filter(|(_, read)| about.iter().any(|name| read.contains(*name)))
            .map(|(view, _)| *view)
            .collect();
        for readers in &rule.readers {
            if readers.nothing {
                continue;
            }
            for column in &readers.hide {
                let sight = Sight {
                    reader: "a reader".to_owned(),
                    rule: format!("rule \"{}\"", rule.rule),
                    because: None,
                    ask: asked(&rule.ask),
                    seen: Seen::Part {
                        rows: Vec::new(),
                        masks: BTreeMap::new(),
                        hidden: [column.clone()].into(),
                    },
                };
                let mut limited = catalog.clone();
                for name in &about {
                    limited.limit(name, sight.clone());
                }
                let session = workspace.lake.session(limited)?;
                let mut closed = Vec::new();
                for view in &over {
                    let read = session.query(&format!("select 1 from {}", quoted(view))).await;
                    if read.is_err_and(|error| error.kind() == ErrorKind::Denied) {
                        closed.push(view.to_string());
                    }
                }
                if closed.is_empty() {
                    continue;
                }
                let more = closed.len().saturating_sub(CLOSED_SHOWN_MAX);
                closed.truncate(CLOSED_SHOWN_MAX);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let message = format!(
                    "rule \"{}\" hides the column \"{column}\" from {}, who so cannot read what names it: {}{more}",
                    rule.rule,
                    whom(readers),
                    closed.join(", ")
                );
                let hint = format!(
                    "Write masks: {{{column}: null}} in the place of hide: [{column}], and they read these without its values; or \
                     let these not name it."
                );
                let (file, line) = (located.file.clone(), located.line);
                found.push(Misfit {
                    rule: rule.rule.clone(),
                    file,
                    line,
                    message,
                    hint: Some(hint),
                });
            }
        }
    }
    Ok(found)
}

/// Whom an entry of a rule names, for messages.
fn whom(readers: &Readers) -> String {
    if readers.everybody {
        return "everybody else".to_owned();
    }
    let roles = readers.roles.iter().map(|role| format!("role {}", role.word()));
    let groups = readers.groups.iter().map(|group| format!("group {group}"));
    let named: Vec<String> = roles.chain(groups).chain(readers.users.iter().cloned()).collect();
    named.join(", ")
}

fn quoted(name: &TableName) -> String {
    let part = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    format!("{}.{}", part(&name.schema), part(&name.name))
}

#[cfg(test)]
mod tests;
