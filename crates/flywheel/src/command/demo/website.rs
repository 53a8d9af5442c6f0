//! What a demo's project gets when it is served: a website that its simulated customers visit.
//!
//! It is declared only then, so that the days before are the same with and without it.

use std::fs;
use std::io::Write;
use std::path::Path;

use flywheel_base::{Error, Result};
use flywheel_connect::JournalTopics;
use flywheel_connect::kafka::topics::TopicSpec;
use flywheel_runtime::Workspace;
use serde_json::json;

/// The topic of what visitors do.
pub(super) const TOPIC: &str = "visits";
/// The learner that the website asks for similar products.
pub(super) const LEARNER: &str = "next_products";
/// The policy that decides what a visitor is offered.
pub(super) const POLICY: &str = "website_offer";

/// Where events are kept, in the project's folder.
const JOURNAL: &str = ".flywheel/journal";

/// The files, by path in the project's folder.
const FILES: &[(&str, &str)] = &[
    (
        "connections/website.yaml",
        "# Where events go that the website hands in by POST /v1/events.
connection: website
type: journal
description: What simulated customers do on the shop's website.
options: {path: .flywheel/journal}
",
    ),
    (
        "topics/visits.yaml",
        "# What an event of the website looks like.
topic: visits
description: What simulated customers do on the website, one event each.
columns:
  - {name: event_id, type: text, required: true}
  # visit, view or click.
  - {name: event, type: text, required: true}
  - {name: customer_id, type: text, required: true}
  - {name: product_id, type: text}
  - {name: at, type: timestamp, required: true}
  # `simulated`: no visitor of this shop exists.
  - {name: source, type: text, required: true}
timestamp: at
",
    ),
    (
        "syncs/website.yaml",
        "sync: website
connection: website
description: What simulated customers do on the website.
streams:
  - stream: visits
    to: raw.visits
    options: {topic: visits}
    read: incremental
    write: merge
    key: [event_id]
    columns:
      - {name: event_id, type: text, required: true}
      - {name: event, type: text, required: true}
      - {name: customer_id, type: text, required: true}
      - {name: product_id, type: text}
      - {name: at, type: timestamp, required: true}
      # `simulated`: no visitor of this shop exists.
      - {name: source, type: text, required: true}
",
    ),
    (
        "policies/website_offer.yaml",
        "# What a visitor of the website is offered, decided while the page waits.
policy: website_offer
description: Three products for a simulated customer who is on the website now.

# The website asks by POST /v1/decide. A turn asks once, for one customer, and no other turn does.
every: 3650d
caps: {per_turn: 1}

audience: |
  select customer_id as unit_id, orders
  from {{ ref('customers') }}
  where orders > 0

choose:
  recommend: {learner: next_products, slots: 3, explore: 10%}

# A fifth of the visitors is offered nothing.
holdout: 20%

# Success is something in the basket. The website tells it by POST /v1/outcomes, for both arms.
outcome: {window: 1d}
",
    ),
];

/// What is added to the learner's file, whose last part is `recommend`.
const FEEDBACK: &str =
    "  # What a visitor of the website looked at a moment ago counts in the next answer.
  feedback: {topic: visits, user: customer_id, item: product_id, at: at}
";

/// Declares the website in the folder `dir` of the project, makes its topic, and reads the project anew.
///
/// # Errors
/// Those of the file system, and of the project as it is then.
pub(super) async fn declare(dir: &Path, workspace: &Workspace) -> Result<Workspace> {
    for (path, text) in FILES {
        let path = dir.join(path);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        fs::write(&path, text).map_err(|e| Error::io("write", &path, e))?;
    }
    let learner = dir.join("learners").join(format!("{LEARNER}.yaml"));
    fs::OpenOptions::new()
        .append(true)
        .open(&learner)
        .and_then(|mut file| file.write_all(FEEDBACK.as_bytes()))
        .map_err(|e| Error::io("write", &learner, e))?;
    // A sync of a topic that nobody has written to yet would find none.
    let topics = JournalTopics::of(json!({ "path": JOURNAL }), workspace.dir())?;
    let topic = TopicSpec { name: TOPIC.to_owned(), ..TopicSpec::default() };
    topics.create(&topic, workspace.now()).await?;
    workspace.reloaded().await
}
