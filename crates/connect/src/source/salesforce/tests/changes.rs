//! What a user sees of the changes of an org.

use futures::StreamExt;

use super::*;
use crate::source::replica::rows;

type Row = BTreeMap<String, String>;

/// A table that follows an object.
#[derive(Debug, Default)]
struct Copied {
    held: Vec<(bool, Row)>,
    rows: BTreeMap<String, Row>,
    position: Option<crate::page::Position>,
    /// Rows of each commit that had any.
    commits: Vec<usize>,
    rejected: usize,
}

impl Copied {
    fn take(&mut self, page: &ChangesPage) {
        self.rejected += page.page.rejected.len();
        self.held.extend(rows(&page.page.batch));
        if page.page.position.0.is_null() {
            return;
        }
        self.position = Some(page.page.position.clone());
        if !self.held.is_empty() {
            self.commits.push(self.held.len());
        }
        for (gone, row) in self.held.drain(..) {
            let id = row["Id"].clone();
            match gone {
                true => drop(self.rows.remove(&id)),
                false => drop(self.rows.insert(id, row)),
            }
        }
    }

    /// One run; it is cut off after so many pages with rows, never if after 0. Whether it came to its end.
    async fn pass(&mut self, org: &Org, request: &ReadRequest, cut: usize) -> Result<bool> {
        self.held.clear();
        let stream = ReadRequest { from: self.position.clone(), ..request.clone() };
        let request =
            ChangesRequest { name: "me".to_owned(), streams: vec![stream], follow: false };
        let (mut pages, mut seen) = (org.changes(&request), 0);
        while let Some(page) = pages.next().await {
            let page = page?;
            self.take(&page);
            seen += usize::from(page.page.batch.num_rows() > 0);
            if cut > 0 && seen == cut {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What the org has now.
async fn there(org: &Org, request: &ReadRequest) -> BTreeMap<String, Row> {
    let pages = read(org, request).await.unwrap();
    let all = pages.iter().flat_map(|page| rows(&page.batch));
    all.map(|(_, row)| (row["Id"].clone(), row)).collect()
}

fn contacts() -> ReadRequest {
    ReadRequest::full(json!({ "object": "Contact" }), now())
}

fn ids(salesforce: &FakeSalesforce) -> Vec<String> {
    salesforce.contacts.keys().cloned().collect()
}

const LATER: &str = "2024-06-01T12:00:00Z";

#[tokio::test]
async fn changes_follow_a_whole_read_and_overwrite_nothing_that_did_not_change() {
    let (pace, fake, salesforce) = many(40).await;
    let all = ids(&salesforce.lock().unwrap());
    salesforce.lock().unwrap().tell("UPDATE", &[&all[0]], "before");
    pace.advance(Duration::from_secs(3_600));
    let (org, mut copied, request) = (open(&fake, &pace, json!({})), Copied::default(), contacts());
    org.check_log().await.unwrap();
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    assert_eq!(copied.rows.len(), 36);
    assert_eq!(copied.rows, there(&org, &request).await);
    let asked_again = || {
        let asked = fake.seen();
        asked.iter().filter(|seen| seen.param("q").is_some_and(|q| q.contains(" IN "))).count()
    };
    assert_eq!(asked_again(), 0, "what changed before the whole read is in it");
    {
        let mut salesforce = salesforce.lock().unwrap();
        salesforce.change(&all[1], "Score__c", json!(9.5), LATER);
        salesforce.tell("UPDATE", &[&all[1]], "t1");
        for id in &all[2..4] {
            salesforce.change(id, "LastName", json!("both"), LATER);
        }
        salesforce.tell("UPDATE", &[&all[2], &all[3]], "t2");
        let new = salesforce.add("new", LATER);
        salesforce.tell("CREATE", &[&new], "t3");
        salesforce.change(&all[4], "IsDeleted", json!(true), LATER);
        salesforce.tell("DELETE", &[&all[4]], "t4");
        salesforce.change(&all[9], "IsDeleted", json!(false), LATER);
        salesforce.tell("UNDELETE", &[&all[9]], "t5");
        salesforce.change(&all[5], "Email", Value::Null, LATER);
        salesforce.tell("GAP_UPDATE", &[&all[5]], "t6");
        salesforce.tell("UPDATE", &[&all[6]], "t7");
        salesforce.change(&all[6], "IsDeleted", json!(true), LATER);
        salesforce.tell("GAP_DELETE", &[&all[6]], "t8");
    }
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    let expected = there(&org, &request).await;
    assert_eq!(copied.rows, expected);
    assert_eq!(expected.len(), 36);
    assert_eq!(
        (copied.rows[&all[1]]["Score__c"].as_str(), copied.rows[&all[1]]["Ext__c"].as_str()),
        ("9.5", "e0001")
    );
    assert!(asked_again() > 0);
    let (position, commits) = (copied.position.clone(), copied.commits.clone());
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    assert_eq!(copied.commits, commits, "nothing comes twice");
    assert_ne!(copied.position, position, "that nothing happened is known, too");
}

#[tokio::test]
async fn no_event_is_lost_with_a_session_an_answer_or_a_run() {
    let (pace, fake, salesforce) = many(30).await;
    let (org, mut copied, request) = (open(&fake, &pace, json!({})), Copied::default(), contacts());
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    {
        let mut salesforce = salesforce.lock().unwrap();
        for (n, id) in ids(&salesforce).iter().enumerate() {
            let gone = n % 7 == 5;
            salesforce.change(id, "LastName", json!(format!("new {n}")), LATER);
            salesforce.change(id, "IsDeleted", json!(gone), LATER);
            let change = if gone { "DELETE" } else { "UPDATE" };
            salesforce.tell(change, &[id], &format!("t{n}"));
        }
        salesforce.events.answer_events = 4;
        salesforce.events.session_connects = 3;
        salesforce.events.lose = 2;
        salesforce.events.withdrawn = 1;
    }
    let (sessions, tokens) = {
        let salesforce = salesforce.lock().unwrap();
        (salesforce.events.sessions, salesforce.tokens)
    };
    let mut runs = 0;
    while !copied.pass(&org, &request, 1).await.unwrap() {
        runs += 1;
        assert!(runs < 60, "it does not come to an end");
    }
    assert!(runs > 3);
    assert_eq!(copied.rows, there(&org, &request).await);
    let salesforce = salesforce.lock().unwrap();
    assert!(salesforce.events.sessions > sessions + runs, "sessions began anew within runs");
    assert!(salesforce.tokens > tokens, "a token that was withdrawn is renewed");
}

#[tokio::test]
async fn what_the_org_does_not_keep_is_told_as_lost() {
    let (pace, fake, salesforce) = many(20).await;
    let (org, mut copied, request) = (open(&fake, &pace, json!({})), Copied::default(), contacts());
    let all = ids(&salesforce.lock().unwrap());
    let rename = |n: usize, name: &str| {
        let mut salesforce = salesforce.lock().unwrap();
        salesforce.change(&all[n], "LastName", json!(name), LATER);
        salesforce.tell("UPDATE", &[&all[n]], name);
    };
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    rename(1, "first");
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    // A quiet object: its last event is long gone, and nothing was missed since.
    pace.advance(Duration::from_secs(40 * 3_600));
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    pace.advance(Duration::from_secs(40 * 3_600));
    rename(2, "second");
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    assert_eq!(copied.rows, there(&org, &request).await);
    // A reader that was away for too long.
    pace.advance(Duration::from_secs(80 * 3_600));
    rename(3, "third");
    let before = copied.position.clone();
    let error = copied.pass(&org, &request, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
    assert!(error.message().contains("72 hours"), "{}", error.report());
    assert_eq!(copied.position, before);
    let mut anew = Copied::default();
    assert!(anew.pass(&org, &request, 0).await.unwrap());
    assert_eq!(anew.rows, there(&org, &request).await);
    // More changes at once than the org tells one by one; the whole read after it is not held up.
    salesforce.lock().unwrap().tell("GAP_OVERFLOW", &["000000000000000AAA"], "bulk");
    let error = anew.pass(&org, &request, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
    assert!(error.message().contains("more records"), "{}", error.report());
    pace.advance(Duration::from_secs(120));
    let mut anew = Copied::default();
    assert!(anew.pass(&org, &request, 0).await.unwrap());
    assert_eq!(anew.rows, there(&org, &request).await);
}

#[tokio::test]
async fn a_transaction_is_committed_as_one() {
    for page_rows in [1_000, 2] {
        let (pace, fake, salesforce) = many(20).await;
        let (org, mut copied) = (open(&fake, &pace, json!({})), Copied::default());
        let request = ReadRequest { page_rows, ..contacts() };
        assert!(copied.pass(&org, &request, 0).await.unwrap());
        copied.commits.clear();
        {
            let mut salesforce = salesforce.lock().unwrap();
            let all = ids(&salesforce);
            for id in &all[..3] {
                salesforce.tell("UPDATE", &[id], "one");
            }
            salesforce.tell("UPDATE", &[&all[3]], "two");
            salesforce.events.answer_events = 2;
        }
        assert!(copied.pass(&org, &request, 0).await.unwrap());
        assert_eq!(copied.commits, [3, 1], "in pages of {page_rows}");
    }
}

#[tokio::test]
async fn a_pass_over_an_object_that_never_rests_comes_to_its_end() {
    let (pace, fake, salesforce) = many(10).await;
    let (org, mut copied, request) = (open(&fake, &pace, json!({})), Copied::default(), contacts());
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    {
        let mut salesforce = salesforce.lock().unwrap();
        let all = ids(&salesforce);
        salesforce.change(&all[1], "LastName", json!("new"), LATER);
        salesforce.tell("UPDATE", &[&all[1]], "t1");
        salesforce.events.restless = Some(all[2].clone());
    }
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    assert_eq!(copied.rows, there(&org, &request).await);
}

#[tokio::test]
async fn what_leaves_a_stream_is_gone_and_mistakes_are_explained() {
    let (pace, fake, salesforce) = many(20).await;
    let org = open(&fake, &pace, json!({}));
    let mut copied = Copied::default();
    let stream = json!({ "object": "Contact", "fields": ["LastName", "Score__c"], "filter": "LastName != 'gone'" });
    let mut request = ReadRequest::full(stream, now());
    let mut score = DeclaredColumn::new("Score__c", ColumnType::Float64);
    score.not_null = true;
    request.columns = vec![score];
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    let all = ids(&salesforce.lock().unwrap());
    assert!(copied.rows.contains_key(&all[1]) && copied.rows.contains_key(&all[4]));
    let rejected = copied.rejected;
    {
        let mut salesforce = salesforce.lock().unwrap();
        salesforce.change(&all[1], "LastName", json!("gone"), LATER);
        salesforce.tell("UPDATE", &[&all[1]], "t1");
        salesforce.change(&all[4], "IsDeleted", json!(true), LATER);
        salesforce.tell("DELETE", &[&all[4]], "t2");
        salesforce.change(&all[2], "Score__c", Value::Null, LATER);
        salesforce.tell("UPDATE", &[&all[2]], "t3");
    }
    assert!(copied.pass(&org, &request, 0).await.unwrap());
    assert!(!copied.rows.contains_key(&all[1]) && !copied.rows.contains_key(&all[4]));
    assert_eq!(copied.rejected, rejected + 1, "a value is needed of records that are there");

    let fails = async |stream: Value, from: Option<Value>| {
        let mut copied = Copied { position: from.map(crate::page::Position), ..Copied::default() };
        let request = ReadRequest::full(stream, now());
        copied.pass(&org, &request, 0).await.unwrap_err()
    };
    let error = fails(json!({ "object": "Lead" }), None).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("Change Data Capture"), "{}", error.report());
    let error = fails(json!({ "object": "Contact", "deleted": true }), None).await;
    assert!(error.hint_text().unwrap().contains("deleted"), "{}", error.report());
    let error = fails(json!({ "object": "Lead" }), copied.position.map(|at| at.0)).await;
    assert!(error.hint_text().unwrap().contains("--restart"), "{}", error.report());
    let other = json!({ "answer": 0, "skip": 0, "schema": [], "complete": true });
    let error = fails(json!({ "object": "Contact" }), Some(other)).await;
    assert!(error.hint_text().unwrap().contains("--restart"), "{}", error.report());
}
