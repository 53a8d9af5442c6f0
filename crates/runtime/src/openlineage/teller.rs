//! What a run tells while it goes on. Nothing here fails the run: what cannot be kept is logged.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flywheel_base::{Error, Result, Timestamp};
use flywheel_connect::replace_file;
use flywheel_project::TestKind;
use flywheel_state::{Run, Task};
use flywheel_transform::{BuildReport, Event, ModelOutcome, ModelStatus, TestOutcome, TestStatus};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::event::{About, Phase, add, add_to, uuid};
use super::queue::Queue;
use super::send::Sender;
use super::{dataset, declared};
use crate::Workspace;

/// The kinds of task that are told.
const TOLD: [&str; 2] = ["sync", "learn"];

/// When models began and ended.
#[derive(Debug, Default)]
pub(crate) struct ModelTimes(Mutex<BTreeMap<String, (Timestamp, Timestamp)>>);

impl ModelTimes {
    /// Notes what happens to a model at `now`.
    pub(crate) fn note(&self, event: &Event, now: Timestamp) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { model } => {
                times.insert(model.clone(), (now, now));
            }
            Event::Finished(outcome) => {
                times.entry(outcome.name.clone()).or_insert((now, now)).1 = now;
            }
            _ => {}
        }
    }

    fn of(&self, model: &str) -> Option<(Timestamp, Timestamp)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied()
    }
}

/// Tells of one run.
pub(crate) struct Teller<'a> {
    workspace: &'a Workspace,
    /// The run as others see it.
    whole: About,
    run_id: String,
    /// The run and its tasks that have begun and not ended, each as it is told if the process dies.
    open: Mutex<BTreeMap<String, Value>>,
    sender: Arc<Sender>,
    /// Sends while the run goes on; what is under way when the run ends is given up and sent again.
    sending: Mutex<JoinSet<()>>,
}

impl<'a> Teller<'a> {
    /// The teller of a run that has begun, if anybody is to be told; runs that were cut off are told as aborted.
    pub(crate) fn of(workspace: &'a Workspace, run: &Run) -> Option<Self> {
        declared(workspace)?;
        let sender = match Sender::new(workspace) {
            Ok(sender) => Arc::new(sender),
            Err(error) => {
                tracing::warn!(error = %error.report(), "nobody is told of this run");
                return None;
            }
        };
        let mut run_facets = Map::new();
        let engine = json!({"name": "flywheel", "version": env!("CARGO_PKG_VERSION")});
        add(&mut run_facets, "processing_engine", engine);
        add(
            &mut run_facets,
            "nominalTime",
            json!({"nominalStartTime": run.logical_at.to_string()}),
        );
        let mut whole = About {
            run: uuid(&["run", &run.run_id]),
            run_facets,
            namespace: dataset::jobs(&workspace.project),
            job: run.kind.replace(' ', "-"),
            ..About::default()
        };
        add(&mut whole.job_facets, "jobType", job_type("RUN"));
        let teller = Self {
            workspace,
            whole,
            run_id: run.run_id.clone(),
            open: Mutex::default(),
            sender,
            sending: Mutex::default(),
        };
        teller.tried(teller.cut_off(run.started_at));
        teller.begin(&teller.whole, run.started_at);
        Some(teller)
    }

    /// Tells that a task begins.
    pub(crate) fn started(&self, kind: &str, name: &str, at: Timestamp) {
        if TOLD.contains(&kind) {
            self.begin(&self.task(kind, name, at), at);
        }
    }

    /// Tells that a task ended.
    pub(crate) fn ended(&self, task: &Task) {
        if !TOLD.contains(&task.kind.as_str()) {
            return;
        }
        let mut about = self.task(&task.kind, &task.name, task.started_at);
        let at = self.workspace.machine.now();
        if let Some(rows) = task.outcome.rows_out {
            for output in &mut about.outputs {
                add_to(output, "outputFacets", "outputStatistics", json!({"rowCount": rows}));
            }
        }
        if let Some(version) = task.outcome.detail.get("version").and_then(Value::as_i64) {
            for output in &mut about.outputs {
                add_to(output, "facets", "version", json!({"datasetVersion": version.to_string()}));
            }
        }
        let id = about.run.clone();
        let event = match task.status == "failed" {
            true => about.failed(task.outcome.error.as_deref()).event(Phase::Fail, at),
            false => about.event(Phase::Complete, at),
        };
        self.tried(self.sender.plain.put(&Queue::name(at), &[event]));
        self.close(&id);
    }

    /// Tells what became of the models of a build, and of their tests.
    pub(crate) fn models(&self, report: &BuildReport, times: &ModelTimes) {
        let now = self.workspace.machine.now();
        let mut events = Vec::new();
        let done = |model: &&ModelOutcome| {
            matches!(model.status, ModelStatus::Built | ModelStatus::Failed)
                || !model.tests.is_empty()
        };
        for model in report.models.iter().filter(done) {
            let (began, ended) = times.of(&model.name).unwrap_or((now, now));
            if matches!(model.status, ModelStatus::Built | ModelStatus::Failed) {
                events.extend(self.model(model, began, ended));
            }
            events.extend(self.tests(&model.name, &model.tests, ended));
        }
        let mut others: BTreeMap<&str, Vec<TestOutcome>> = BTreeMap::new();
        for test in &report.tests {
            if let Some(subject) = &test.subject {
                others.entry(subject).or_default().push(test.clone());
            }
        }
        for (subject, tests) in others {
            events.extend(self.tests(subject, &tests, now));
        }
        if !events.is_empty() {
            self.tried(self.sender.plain.put(&Queue::name(now), &events));
        }
    }

    /// Tells how the run ended.
    pub(crate) fn run_ended(&self, run: &Run) {
        let at = run.ended_at.unwrap_or_else(|| self.workspace.machine.now());
        let event = match &run.error {
            None => self.whole.event(Phase::Complete, at),
            Some(error) => self.whole.failed(Some(error)).event(Phase::Fail, at),
        };
        self.tried(self.sender.plain.put(&Queue::name(at), &[event]));
        self.close(&self.whole.run);
    }

    /// A task of the run.
    fn task(&self, kind: &str, name: &str, at: Timestamp) -> About {
        let (inputs, outputs) = dataset::of_task(&self.workspace.project, kind, name);
        let run = uuid(&[&self.run_id, kind, name, &at.micros().to_string()]);
        let mut about = self.part(run, format!("{kind}.{name}"), kind);
        about.inputs = inputs.iter().map(dataset::Dataset::value).collect();
        about.outputs = outputs.iter().map(dataset::Dataset::value).collect();
        about
    }

    /// Something that belongs to the run.
    fn part(&self, run: String, job: String, kind: &str) -> About {
        let mut about = About {
            run,
            namespace: self.whole.namespace.clone(),
            job,
            run_facets: self.whole.run_facets.clone(),
            ..About::default()
        };
        let parent = json!({
            "run": {"runId": self.whole.run},
            "job": {"namespace": self.whole.namespace, "name": self.whole.job},
        });
        add(&mut about.run_facets, "parent", parent);
        add(&mut about.job_facets, "jobType", job_type(&kind.to_uppercase()));
        about
    }

    fn model(&self, model: &ModelOutcome, began: Timestamp, ended: Timestamp) -> Vec<Value> {
        let project = &self.workspace.project;
        let run = uuid(&[&self.run_id, "model", &model.name]);
        let mut about = self.part(run, format!("model.{}", model.name), "model");
        let declared = project.models.values().find(|one| one.relation() == model.name);
        if let Some(declared) = declared {
            let id = flywheel_project::NodeId::new(
                flywheel_project::NodeKind::Model,
                declared.name.as_str(),
            );
            let inputs = dataset::upstream(project, &id);
            about.inputs = inputs.iter().map(dataset::Dataset::value).collect();
            if let Some(description) = &declared.description {
                add(&mut about.job_facets, "documentation", json!({"description": description}));
            }
        }
        let mut output = dataset::table(project, &model.name).value();
        let start = {
            let mut start = about.clone();
            start.outputs = vec![output.clone()];
            start.event(Phase::Start, began)
        };
        if let Some(rows) = model.rows {
            add_to(&mut output, "outputFacets", "outputStatistics", json!({"rowCount": rows}));
        }
        about.outputs = vec![output];
        let end = match &model.error {
            Some(error) => about.failed(Some(&error.report)).event(Phase::Fail, ended),
            // A model whose rows were written and then found bad is not what readers see.
            None if model.status == ModelStatus::Failed => {
                about.failed(Some("a test of severity error failed")).event(Phase::Fail, ended)
            }
            None => about.event(Phase::Complete, ended),
        };
        vec![start, end]
    }

    /// The tests of a table as a run of their own, which reads it.
    fn tests(&self, table: &str, tests: &[TestOutcome], at: Timestamp) -> Vec<Value> {
        let project = &self.workspace.project;
        let assertions: Vec<Value> =
            tests.iter().filter(|test| !test.is_unit()).map(|test| self.assertion(test)).collect();
        if assertions.is_empty() {
            return Vec::new();
        }
        let run = uuid(&[&self.run_id, "test", table]);
        let mut about = self.part(run, format!("test.{table}"), "test");
        let mut input = dataset::table(project, table).value();
        about.inputs = vec![input.clone()];
        let start = about.event(Phase::Start, at);
        let body = json!({"assertions": assertions});
        add_to(&mut input, "inputFacets", "dataQualityAssertions", body);
        about.inputs = vec![input];
        let broken: Vec<&str> = tests
            .iter()
            .filter(|test| test.status == TestStatus::Failed)
            .map(|test| test.name.as_str())
            .collect();
        let end = match broken.is_empty() {
            true => about.event(Phase::Complete, at),
            false => about
                .failed(Some(&format!("tests failed: {}", broken.join(", "))))
                .event(Phase::Fail, at),
        };
        vec![start, end]
    }

    fn assertion(&self, test: &TestOutcome) -> Value {
        let declared = self.workspace.project.model_tests().find(|one| one.name == test.name);
        let kind = declared.map_or("custom_sql", |declared| match &declared.kind {
            TestKind::Unique => "unique",
            TestKind::NotNull => "not_null",
            TestKind::AcceptedValues { .. } => "accepted_values",
            TestKind::Relationships { .. } => "relationships",
            TestKind::Custom(_) => "custom_sql",
        });
        let mut assertion = json!({
            "assertion": kind, "name": test.name, "success": test.status == TestStatus::Passed,
            "severity": test.severity, "actual": test.failures.to_string(), "expected": "0",
        });
        if let (Value::Object(assertion), Some(column)) =
            (&mut assertion, declared.and_then(|declared| declared.column.as_ref()))
        {
            assertion.insert("column".to_owned(), column.as_str().into());
        }
        assertion
    }

    /// Tells a beginning, and keeps what is told if the process dies before the end.
    fn begin(&self, about: &About, at: Timestamp) {
        self.tried(self.sender.queue(&Queue::name(at), &[about.event(Phase::Start, at)]));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(about.run.clone(), about.event(Phase::Abort, at));
        self.tried(keep(&self.open_path(), &open));
        drop(open);
        self.send_beside();
    }

    fn close(&self, run: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(run);
        self.tried(keep(&self.open_path(), &open));
    }

    fn open_path(&self) -> PathBuf {
        self.sender.folder.join("open.json")
    }

    /// Tells that runs before were cut off.
    fn cut_off(&self, now: Timestamp) -> Result<()> {
        let path = self.open_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let open: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(|error| {
            Error::corrupt(format!("{} is no JSON", path.display())).caused_by(error)
        })?;
        let mut events: Vec<Value> = open.into_values().collect();
        for event in &mut events {
            if let Some(at) = event.get_mut("eventTime") {
                *at = now.to_string().into();
            }
        }
        if !events.is_empty() {
            self.sender.queue(&Queue::name(now), &events)?;
        }
        keep(&path, &BTreeMap::new())
    }

    /// Sends what waits while the run goes on, unless that is under way.
    fn send_beside(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        while sending.try_join_next().is_some() {}
        if sending.is_empty() {
            let sender = Arc::clone(&self.sender);
            sending.spawn_on(async move { sender.send(SENDING_MAX).await }, &runtime);
        }
    }

    fn tried(&self, result: Result<()>) {
        if let Err(error) = result {
            tracing::warn!(error = %error.report(), "an event of OpenLineage is not kept");
        }
    }
}

/// How long events are sent beside a run at a time.
const SENDING_MAX: Duration = Duration::from_secs(60);

fn keep(path: &std::path::Path, open: &BTreeMap<String, Value>) -> Result<()> {
    let text = serde_json::to_vec(open)
        .map_err(|error| Error::internal("events are no JSON").caused_by(error))?;
    replace_file(path, &text)
}

fn job_type(kind: &str) -> Value {
    json!({"processingType": "BATCH", "integration": "FLYWHEEL", "jobType": kind})
}
