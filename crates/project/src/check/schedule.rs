//! Schedules: when they are due, what they run, whom they tell.

use std::collections::BTreeSet;

use flywheel_base::calendar::{Cron, Timing, time_zone};
use flywheel_base::{Error, suggest};

use super::Check;
use super::sync::at;
use crate::diagnostic::{Diagnostic, Span};
use crate::graph::NodeKind;
use crate::load::Read;
use crate::resource::dashboard::Readers;
use crate::resource::quantity::Duration;
use crate::resource::rule::Role;
use crate::resource::schedule::{Attach, Runs, Schedule, Sending, Task};
use crate::yaml::{Node, Step};

/// The types of actions that carry a dashboard to people.
const CARRIERS: [&str; 4] = ["email", "chat", "webhook", "file"];

/// The types of connections whose tables can be compared with what landed of them.
const COMPARED: [&str; 2] = ["postgres", "mysql"];

/// What a schedule or one of its tasks does.
#[derive(Clone, Copy)]
struct Work<'a> {
    run: Option<Runs>,
    select: &'a [String],
    full_refresh: bool,
    repair: bool,
    send: Option<&'a Sending>,
}

impl Check<'_> {
    pub(super) fn schedules(&mut self) {
        let loaded = self.loaded;
        for read in loaded.schedules.values() {
            self.schedule_work(read);
            self.schedule_time(read);
            self.schedule_looks(read);
            self.schedule_limits(read);
            let node = read.node.find(&[Step::Key("alert"), Step::Key("actions")]);
            self.schedule_names(read, node, &read.value.alert.actions, NodeKind::Action);
        }
    }

    fn schedule_says(&mut self, read: &Read<Schedule>, span: Span, message: String, hint: &str) {
        self.push(&read.file, Diagnostic::error(span, message).hint(hint));
    }

    /// Reports the mistake of a text at its place.
    fn schedule_error(&mut self, read: &Read<Schedule>, span: Span, error: &Error) {
        let hint = error.hint_text().unwrap_or_default();
        self.schedule_says(read, span, error.message().to_owned(), hint);
    }

    fn schedule_names(
        &mut self,
        read: &Read<Schedule>,
        node: &Node,
        names: &[String],
        kind: NodeKind,
    ) {
        for (name, item) in names.iter().zip(node.items()) {
            if !self.declared(kind, name) {
                let schedule = &read.value.schedule;
                let message =
                    format!("schedule \"{schedule}\" names unknown {} \"{name}\"", kind.word());
                let hint = self.near(&[kind], name);
                self.schedule_says(read, item.span, message, &hint);
            }
        }
    }

    fn schedule_work(&mut self, read: &Read<Schedule>) {
        let schedule = &read.value;
        let tasks = at(&read.node, "tasks");
        match (schedule.run, schedule.tasks.is_empty()) {
            (None, true) => {
                let message = format!("schedule \"{}\" runs nothing", schedule.schedule);
                let hint = "Add `run: turn`, `sync`, `build`, `learn`, `quarantine`, `dashboard`, `link`, `reconcile`, `quality` or `act`, or `tasks`.";
                self.schedule_says(read, read.node.span, message, hint);
            }
            (Some(_), false) => {
                let message = "a schedule has `run` or `tasks`, not both".to_owned();
                let hint = "Make what `run` says one of the tasks.";
                self.schedule_says(read, tasks, message, hint);
            }
            _ => {}
        }
        let work = Work {
            run: schedule.run,
            select: &schedule.select,
            full_refresh: schedule.full_refresh,
            repair: schedule.repair,
            send: schedule.send.as_ref(),
        };
        if schedule.tasks.is_empty() {
            return self.schedule_job(read, &read.node, work);
        }
        let options = schedule.full_refresh || schedule.repair || schedule.send.is_some();
        if options || !schedule.select.is_empty() {
            let message = "what is selected belongs to a task".to_owned();
            let hint =
                "Move `select`, `full_refresh`, `repair` and `send` to the task they are about.";
            self.schedule_says(read, tasks, message, hint);
        }
        let list = read.node.find(&[Step::Key("tasks")]);
        for (task, node) in schedule.tasks.iter().zip(list.items()) {
            if task.run == Some(Runs::Turn) {
                let message = "a turn is a run of its own, not a task".to_owned();
                let hint = "Make a schedule with `run: turn`; a turn does all that tasks do.";
                self.schedule_says(read, at(node, "run"), message, hint);
                continue;
            }
            if task.run.is_none() && !task.select.is_empty() {
                let message = format!("task \"{}\" selects and runs nothing", task.task);
                let hint = "Add `run`, or remove `select`.";
                self.schedule_says(read, at(node, "select"), message, hint);
                continue;
            }
            let work = Work {
                run: task.run,
                select: &task.select,
                full_refresh: task.full_refresh,
                repair: task.repair,
                send: task.send.as_ref(),
            };
            self.schedule_job(read, node, work);
        }
        self.schedule_order(read, list);
    }

    /// Whether each task comes once, and after tasks that do not come after it.
    fn schedule_order(&mut self, read: &Read<Schedule>, list: &Node) {
        let tasks = &read.value.tasks;
        let mut named: BTreeSet<&str> = BTreeSet::new();
        for (task, node) in tasks.iter().zip(list.items()) {
            if !named.insert(&task.task) {
                let message = format!("there are two tasks \"{}\"", task.task);
                self.schedule_says(read, at(node, "task"), message, "Give each its own name.");
            }
            let after = node.find(&[Step::Key("after")]);
            for (name, item) in task.after.iter().zip(after.items()) {
                if !tasks.iter().any(|other| other.task == *name) {
                    let message =
                        format!("task \"{}\" comes after unknown task \"{name}\"", task.task);
                    let hint = suggest::hint(name, tasks.iter().map(|other| other.task.as_str()));
                    self.schedule_says(read, item.span, message, &hint);
                }
            }
        }
        let left = circle(tasks);
        let first =
            tasks.iter().zip(list.items()).find(|(task, _)| left.contains(&task.task.as_str()));
        if let Some((_, node)) = first {
            let message = format!("tasks wait for each other: {}", left.join(", "));
            let hint = "Remove an `after`, so that one of them can begin.";
            self.schedule_says(read, at(node, "after"), message, hint);
        }
    }

    /// What a schedule or one of its tasks runs: `node` is its file, or its part of it.
    fn schedule_job(&mut self, read: &Read<Schedule>, whole: &Node, work: Work<'_>) {
        let Work { run, select, full_refresh, repair, send } = work;
        if send.is_some() && run != Some(Runs::Dashboard) {
            let message = "only dashboards are sent".to_owned();
            let hint = "Remove `send`, or choose `run: dashboard`.";
            self.schedule_says(read, at(whole, "send"), message, hint);
        }
        let Some(run) = run else { return };
        let node = whole.find(&[Step::Key("select")]);
        let word = run.word();
        match run {
            Runs::Turn if !select.is_empty() => {
                let message = "a turn is the whole wheel: it cannot be a part of it".to_owned();
                let hint = "Remove `select`, or choose `run: sync`, `build` or `learn`.";
                self.schedule_says(read, node.span, message, hint);
            }
            Runs::Turn => {}
            Runs::Act if !select.is_empty() => {
                let message = "all actions that are due leave, not some of them".to_owned();
                let hint = "Remove `select`; pause a policy to keep its actions back.";
                self.schedule_says(read, node.span, message, hint);
            }
            Runs::Act => {}
            Runs::Sync => self.schedule_names(read, node, select, NodeKind::Sync),
            Runs::Reconcile => self.schedule_compares(read, node, select),
            Runs::Link => self.schedule_links(read, whole, select),
            Runs::Merge => self.schedule_merges(read, whole, select),
            Runs::Learn => self.schedule_names(read, node, select, NodeKind::Learner),
            Runs::Quarantine if select.len() > 1 => {
                let message =
                    "rows are tried again for one sync, or for all if none is named".to_owned();
                self.schedule_says(read, node.span, message, "Name one sync, or none.");
            }
            Runs::Quarantine => self.schedule_names(read, node, select, NodeKind::Sync),
            Runs::Dashboard => self.schedule_sends(read, whole, select, send),
            Runs::Build | Runs::Quality => {
                let found = self.checked.graph.select(select, &[]);
                if let Err(error) = found {
                    self.schedule_error(read, node.span, &error);
                }
            }
        }
        if full_refresh && run != Runs::Build {
            let message = format!("a {word} has no full refresh");
            let hint = "Remove `full_refresh`; it belongs to `run: build`.";
            self.schedule_says(read, at(whole, "full_refresh"), message, hint);
        }
        if repair && run != Runs::Reconcile {
            let message = format!("a {word} repairs nothing");
            let hint = "Remove `repair`; it belongs to `run: reconcile`.";
            self.schedule_says(read, at(whole, "repair"), message, hint);
        }
    }

    /// Whether the tables of syncs lie in databases that they can be compared with.
    fn schedule_compares(&mut self, read: &Read<Schedule>, node: &Node, select: &[String]) {
        self.schedule_names(read, node, select, NodeKind::Sync);
        let loaded = self.loaded;
        for (name, item) in select.iter().zip(node.items()) {
            let sync = loaded.syncs.get(name).map(|sync| &sync.value);
            let connection = sync.and_then(|sync| loaded.connections.get(&sync.connection));
            let Some(connection) = connection else { continue };
            if !COMPARED.contains(&connection.value.connector.as_str()) {
                let message = format!(
                    "sync \"{name}\" cannot be compared: it is not read from PostgreSQL, MySQL or MariaDB"
                );
                let hint =
                    "Name syncs that read such a database, or none for all that can be compared.";
                self.schedule_says(read, item.span, message, hint);
            }
        }
    }

    /// Whether the links that are run are there.
    fn schedule_links(&mut self, read: &Read<Schedule>, whole: &Node, select: &[String]) {
        if self.loaded.links.is_empty() {
            let message =
                format!("schedule \"{}\" runs links, and there are none", read.value.schedule);
            let hint = "Declare one in links/NAME.yaml.";
            return self.schedule_says(read, at(whole, "run"), message, hint);
        }
        let node = whole.find(&[Step::Key("select")]);
        self.schedule_names(read, node, select, NodeKind::Link);
    }

    /// Whether the merges that are run are there.
    fn schedule_merges(&mut self, read: &Read<Schedule>, whole: &Node, select: &[String]) {
        if self.loaded.merges.is_empty() {
            let message =
                format!("schedule \"{}\" runs merges, and there are none", read.value.schedule);
            let hint = "Declare one in merges/NAME.yaml.";
            return self.schedule_says(read, at(whole, "run"), message, hint);
        }
        let node = whole.find(&[Step::Key("select")]);
        self.schedule_names(read, node, select, NodeKind::Merge);
    }

    /// Which dashboards go by which actions, and as whom their rows are read.
    fn schedule_sends(
        &mut self,
        read: &Read<Schedule>,
        whole: &Node,
        select: &[String],
        send: Option<&Sending>,
    ) {
        if select.is_empty() {
            let message = "which dashboards are sent is not said".to_owned();
            let hint = "Name them: `select: [NAME]`.";
            self.schedule_says(read, at(whole, "run"), message, hint);
        }
        let boards = whole.find(&[Step::Key("select")]);
        self.schedule_names(read, boards, select, NodeKind::Dashboard);
        let Some(send) = send.filter(|send| !send.actions.is_empty()) else {
            let message = "to whom the dashboards go is not said".to_owned();
            let hint = "Name actions: `send: {actions: [NAME]}`.";
            return self.schedule_says(read, at(whole, "run"), message, hint);
        };
        let list = whole.find(&[Step::Key("send"), Step::Key("actions")]);
        self.schedule_names(read, list, &send.actions, NodeKind::Action);
        for (names, node) in [(select, boards), (send.actions.as_slice(), list)] {
            let mut seen = BTreeSet::new();
            for (name, item) in names.iter().zip(node.items()) {
                if !seen.insert(name) {
                    let message = format!("\"{name}\" is named twice");
                    let hint = "Name it once: each action gets each dashboard once.";
                    self.schedule_says(read, item.span, message, hint);
                }
            }
        }
        for (name, item) in send.actions.iter().zip(list.items()) {
            if let Some((message, hint)) = self.cannot_carry(name, send, select.len()) {
                self.schedule_says(read, item.span, message, &hint);
            }
        }
        let Some(role) = send.role else {
            if !self.loaded.rules.is_empty() || !self.loaded.grants.is_empty() {
                let what = if self.loaded.rules.is_empty() { "grants" } else { "rules" };
                let message =
                    format!("the project has {what}, and as which role rows are read is not said");
                let hint = "Add `role`: the role of those who get it, such as `viewer`.";
                self.schedule_says(read, at(whole, "send"), message, hint);
            }
            return;
        };
        // As the server decides it for links: who reads has to be somebody who may see the figures.
        let loaded = self.loaded;
        for (name, item) in select.iter().zip(boards.items()) {
            let Some(board) = loaded.dashboards.get(name) else { continue };
            let sees = match role {
                Role::Owner | Role::Admin | Role::Engineer | Role::Analyst => true,
                Role::Operator | Role::Viewer => board.value.readers == Readers::View,
                Role::Agent => false,
            };
            if !sees {
                let message = format!(
                    "the role \"{}\" does not see the figures of dashboard \"{name}\"",
                    role.word()
                );
                let hint = "Choose a role that may query, or write `readers: view` in the dashboard's file.";
                self.schedule_says(read, item.span, message, hint);
            }
        }
    }

    /// Why an action cannot carry that many dashboards to people, and what to do about it.
    fn cannot_carry(&self, name: &str, send: &Sending, count: usize) -> Option<(String, String)> {
        let action = &self.loaded.actions.get(name)?.value;
        if !CARRIERS.contains(&action.connector.as_str()) {
            let message = format!(
                "action \"{name}\" is of type \"{}\", which carries no dashboard",
                action.connector
            );
            let hint = "Choose an action of type email, chat, webhook or file.".to_owned();
            return Some((message, hint));
        }
        if action.connector != "file" {
            return None;
        }
        let option = |key: &str| action.options.get(key).and_then(serde_json::Value::as_str);
        let path = option("path").unwrap_or_default();
        let by_name = ["csv", "xlsx"].into_iter().find(|one| path.ends_with(&format!(".{one}")));
        let format = option("format").or(by_name).unwrap_or("jsonl");
        match format {
            "csv" => Some((
                format!("action \"{name}\" writes CSV, which has no place for a dashboard"),
                "Let its `path` end in .xlsx for the workbook, or in .jsonl for its figures."
                    .to_owned(),
            )),
            "xlsx" if send.attach == Attach::None => Some((
                format!("action \"{name}\" writes the workbook, and none is made"),
                "Write `attach: workbook`, or let its `path` end in .jsonl.".to_owned(),
            )),
            "xlsx" if count > 1 && !path.contains("{policy}") => Some((
                format!("action \"{name}\" would write one workbook over the other"),
                "Put {policy} into its `path`: the dashboard's name goes there.".to_owned(),
            )),
            _ => None,
        }
    }

    fn schedule_time(&mut self, read: &Read<Schedule>) {
        let when = &read.value.when;
        let node = read.node.find(&[Step::Key("when")]);
        if let Some(text) = &when.cron
            && let Err(error) = Cron::parse(text)
        {
            self.schedule_error(read, at(node, "cron"), &error);
        }
        if let Some(name) = &when.zone {
            if let Err(error) = time_zone(name) {
                self.schedule_error(read, at(node, "zone"), &error);
            }
            if when.cron.is_none() {
                let message = "a zone belongs to a cron expression".to_owned();
                let hint = "Add `cron`, or remove `zone`; intervals do not depend on it.";
                self.schedule_says(read, at(node, "zone"), message, hint);
            }
        }
        if let Some(every) = when.every {
            if when.cron.is_some() {
                let message =
                    "a schedule has a cron expression or an interval, not both".to_owned();
                let hint = "Remove one of them, or make a schedule of each.";
                self.schedule_says(read, at(node, "every"), message, hint);
            }
            if let Err(error) = Timing::every(every.micros) {
                self.schedule_error(read, at(node, "every"), &error);
            }
        }
    }

    fn schedule_looks(&mut self, read: &Read<Schedule>) {
        let when = &read.value.when;
        let node = read.node.find(&[Step::Key("when")]);
        let known = self.relations();
        let tables = read.node.find(&[Step::Key("when"), Step::Key("tables")]);
        for (table, item) in when.tables.iter().zip(tables.items()) {
            if !known.contains(table) {
                let schedule = &read.value.schedule;
                let message = format!("schedule \"{schedule}\" looks at unknown table \"{table}\"");
                let hint = suggest::hint(table, known.iter().map(String::as_str));
                self.schedule_says(read, item.span, message, &hint);
            }
        }
        let files = read.node.find(&[Step::Key("when"), Step::Key("files")]);
        for (pattern, item) in when.files.iter().zip(files.items()) {
            let outside = pattern.split('/').any(|part| part == "..");
            if pattern.is_empty() || pattern.starts_with('/') || outside {
                let message = format!("\"{pattern}\" is not below the project's folder");
                let hint = "Write a path below it, such as inbox/*.csv.";
                self.schedule_says(read, item.span, message, hint);
            }
        }
        let lag = read.node.find(&[Step::Key("when"), Step::Key("lag")]);
        self.schedule_names(read, lag, &when.lag, NodeKind::Sync);
        if when.look.is_some() && !when.looks() {
            let message = "nothing is looked at".to_owned();
            let hint = "Remove `look`, or name `tables`, `files` or `lag`.";
            self.schedule_says(read, at(node, "look"), message, hint);
        }
        self.schedule_duration(read, node, "look", when.look);
        if let Some(secret) = &when.webhook
            && !crate::secret::is_reference(secret)
        {
            let message = "the secret of a webhook stands in a file of the project".to_owned();
            let hint = "Refer to it: ${env:NAME}, or ${file:path}.";
            self.schedule_says(read, at(node, "webhook"), message, hint);
        }
    }

    fn schedule_limits(&mut self, read: &Read<Schedule>) {
        let schedule = &read.value;
        let pools = self.loaded.project.as_ref().map(|project| &project.value.pools);
        if let Some(pool) = &schedule.pool
            && let Some(pools) = pools.filter(|pools| !pools.contains_key(pool))
        {
            let message =
                format!("schedule \"{}\" names unknown pool \"{pool}\"", schedule.schedule);
            let hint = match pools.is_empty() {
                true => format!("Declare it in flywheel.yaml: pools: {{{pool}: 2}}."),
                false => suggest::hint(pool, pools.keys().map(String::as_str)),
            };
            self.schedule_says(read, at(&read.node, "pool"), message, &hint);
        }
        self.schedule_duration(read, &read.node, "timeout", schedule.timeout);
        self.schedule_duration(read, &read.node, "deadline", schedule.deadline);
        let node = read.node.find(&[Step::Key("retry")]);
        if schedule.retry.wait > schedule.retry.wait_max {
            let message = "the wait is longer than the longest wait".to_owned();
            self.schedule_says(
                read,
                at(node, "wait"),
                message,
                "Raise `wait_max`, or lower `wait`.",
            );
        }
    }

    /// Reports a length of time that is none.
    fn schedule_duration(
        &mut self,
        read: &Read<Schedule>,
        node: &Node,
        key: &str,
        value: Option<Duration>,
    ) {
        if value.is_some_and(|value| value.micros < 1_000_000) {
            let message = format!("\"{key}\" is shorter than a second");
            self.schedule_says(read, at(node, key), message, "Write 30s, 15m, 1h or 1d.");
        }
    }

    /// The tables of the lake that have versions.
    pub(super) fn relations(&self) -> BTreeSet<String> {
        let landed = self.checked.sources.keys().cloned();
        let models = self.loaded.models.values().map(|read| read.value.relation());
        let learned = self.loaded.learners.keys().map(|name| format!("learn.{name}"));
        landed.chain(models).chain(learned).collect()
    }
}

/// Tasks that can never begin, because they wait for each other.
fn circle(tasks: &[Task]) -> Vec<&str> {
    let known: BTreeSet<&str> = tasks.iter().map(|task| task.task.as_str()).collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut left: Vec<&Task> = tasks.iter().collect();
    loop {
        let before = left.len();
        // In the order of the file, so that what is written in order takes one pass.
        left.retain(|task| {
            // Names that are unknown are told as such.
            let waits = |name: &String| known.contains(&**name) && !done.contains(&**name);
            let waits = task.after.iter().any(waits);
            if !waits {
                done.insert(&task.task);
            }
            waits
        });
        if left.len() == before {
            return left.into_iter().map(|task| task.task.as_str()).collect();
        }
    }
}
