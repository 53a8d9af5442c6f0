//! What a log cannot do, and what is said then.

use super::*;

async fn fails(source: &dyn Source, request: &ChangesRequest) -> Error {
    drain(source, request).await.unwrap_err()
}

#[tokio::test]
async fn a_truncated_table_stops_after_what_came_before_and_the_others_go_on() {
    let database = Database::new(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
         INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)",
    );
    let source = database.source();
    let mut request = database.request(&["t", "u"]);
    let mut targets = [Target::default(), Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    database.run("INSERT INTO t VALUES (2); INSERT INTO u VALUES (2)");
    database.run("BEGIN; INSERT INTO t VALUES (3); TRUNCATE u; COMMIT");
    database.run("INSERT INTO u VALUES (4); INSERT INTO t VALUES (4)");
    let mut pages: Vec<ChangesPage> = Vec::new();
    let mut read = source.changes(&request);
    while let Some(page) = read.next().await {
        pages.push(page.unwrap());
    }
    drop(read);
    let notices = pages.iter().flat_map(|page| &page.page.notices);
    let codes: Vec<&str> = notices.map(|notice| notice.code.as_str()).collect();
    assert_eq!(codes, ["table-truncated"]);

    let stopped = go_on(&*source, &mut request, &mut targets).await;
    let [(1, error)] = stopped.as_slice() else { panic!("{stopped:?}") };
    assert_eq!(error.kind(), ErrorKind::Blocked);
    assert!(error.message().contains("table \"public.u\" was truncated"), "{error:?}");
    assert_eq!((targets[0].rows.len(), targets[1].rows.len()), (4, 2));
    let stood = request.streams[1].from.clone();

    // The next reads leave it as it is, and the server need not keep its log for it.
    database.run("INSERT INTO u VALUES (5); INSERT INTO t VALUES (5)");
    let stopped = go_on(&*source, &mut request, &mut targets).await;
    let [(1, again)] = stopped.as_slice() else { panic!("{stopped:?}") };
    assert_eq!((again.message(), again.hint_text()), (error.message(), error.hint_text()));
    assert_eq!((targets[0].rows.len(), targets[1].rows.len()), (5, 2));
    assert_eq!(request.streams[1].from, stood);
    source.acknowledge(&request).await.unwrap();
    let reached = lsn(request.streams[0].from.as_ref().unwrap());
    assert!(reached > lsn(stood.as_ref().unwrap()));
    assert_eq!(database.slot("confirmed_flush_lsn"), reached.to_string());

    request.streams[1].from = None;
    targets[1] = Target::default();
    catch_up(&*source, &mut request, &mut targets).await;
    database.run("INSERT INTO u VALUES (6); DELETE FROM u WHERE id = 4");
    catch_up(&*source, &mut request, &mut targets).await;
    assert_eq!(targets[0].rows, whole(&*source, "t").await);
    assert_eq!(targets[1].rows, whole(&*source, "u").await);
    assert_eq!(targets[1].rows.len(), 2);
}

#[tokio::test]
async fn tables_that_are_gone_or_lose_their_key_stop_alone_and_one_that_never_was_waits() {
    let database = Database::new(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY);
         CREATE TABLE w (id int PRIMARY KEY); INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)",
    );
    let source = database.source();
    let mut request = database.request(&["t", "u", "w"]);
    let mut targets = [Target::default(), Target::default(), Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    database.run("DROP TABLE u; ALTER TABLE w DROP CONSTRAINT w_pkey; INSERT INTO t VALUES (2)");
    request.streams.push(ReadRequest::full(json!({ "table": "x" }), now()));
    let mut targets = targets.to_vec();
    targets.push(Target::default());
    let stopped = go_on(&*source, &mut request, &mut targets).await;
    let streams: Vec<usize> = stopped.iter().map(|(stream, _)| *stream).collect();
    assert_eq!(streams, [1, 2, 3], "{stopped:?}");
    let kinds: Vec<ErrorKind> = stopped.iter().map(|(_, error)| error.kind()).collect();
    assert_eq!(kinds, [ErrorKind::NotFound, ErrorKind::Invalid, ErrorKind::NotFound]);
    assert_eq!(targets[0].rows, whole(&*source, "t").await);
    assert_eq!(request.streams[3].from, None);

    // One that comes to be is read, those that stopped stay where they are until they are read whole.
    database.run(
        "CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (7); INSERT INTO t VALUES (3);
         ALTER TABLE w ADD PRIMARY KEY (id); CREATE TABLE x (id int PRIMARY KEY);
         INSERT INTO x VALUES (8)",
    );
    let stopped = go_on(&*source, &mut request, &mut targets).await;
    let streams: Vec<usize> = stopped.iter().map(|(stream, _)| *stream).collect();
    assert_eq!(streams, [1, 2], "{stopped:?}");
    for at in [1, 2] {
        request.streams[at].from = None;
        targets[at] = Target::default();
    }
    catch_up(&*source, &mut request, &mut targets).await;
    for (target, table) in targets.iter().zip(["t", "u", "w", "x"]) {
        assert_eq!(target.rows, whole(&*source, table).await, "{table}");
    }
}

#[tokio::test]
async fn a_server_keeps_no_log_once_every_table_has_stopped() {
    let database = Database::new("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE busy (id int)");
    let source = database.source();
    let mut request = database.request(&["t"]);
    let mut targets = [Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    database.run("TRUNCATE t");
    assert_eq!(go_on(&*source, &mut request, &mut targets).await.len(), 1);
    for _ in 0..2 {
        database.run("INSERT INTO busy SELECT * FROM generate_series(1, 1000)");
        let end: Lsn = database.run("SELECT pg_current_wal_lsn()").try_into().unwrap();
        assert_eq!(go_on(&*source, &mut request, &mut targets).await.len(), 1);
        source.acknowledge(&request).await.unwrap();
        let kept: Lsn = database.slot("confirmed_flush_lsn").try_into().unwrap();
        assert!(kept >= end, "{kept} is kept, of a log up to {end}");
    }
    request.streams[0].from = None;
    targets = [Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    database.run("INSERT INTO t VALUES (1)");
    catch_up(&*source, &mut request, &mut targets).await;
    assert_eq!(targets[0].rows.len(), 1);
}

#[tokio::test]
async fn a_table_that_waits_has_its_log_while_all_others_are_read_whole() {
    let database =
        Database::new("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)");
    let source = database.source();
    let mut request = database.request(&["t", "u"]);
    let mut targets = [Target::default(), Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    database.run("INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)");
    let declared = request.streams[0].stream.clone();
    for mut wrong in [json!({ "where": "id > 5" }), json!({ "primary_key": ["idd"] })] {
        wrong["table"] = "t".into();
        request.streams[0].stream = wrong;
        request.streams[1].from = None;
        targets[1] = Target::default();
        let stopped = go_on(&*source, &mut request, &mut targets).await;
        let [(0, error)] = stopped.as_slice() else { panic!("{stopped:?}") };
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        source.acknowledge(&request).await.unwrap();
    }
    database.run("INSERT INTO t VALUES (2); DELETE FROM u");
    request.streams[0].stream = declared;
    catch_up(&*source, &mut request, &mut targets).await;
    assert_eq!(targets[0].rows.len(), 2);
    for (target, table) in targets.iter().zip(["t", "u"]) {
        assert_eq!(target.rows, whole(&*source, table).await, "{table}");
    }
}

#[tokio::test]
async fn a_transaction_that_was_handed_over_in_part_is_given_up_with_its_table() {
    let database =
        Database::new("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)");
    let source = database.source();
    let mut request = database.request(&["t", "u"]);
    request.streams.iter_mut().for_each(|stream| stream.page_rows = 3);
    let mut targets = [Target::default(), Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    let rows = "SELECT * FROM generate_series(1, 10)";
    database.run(&format!(
        "BEGIN; INSERT INTO t {rows}; INSERT INTO u {rows}; TRUNCATE t; INSERT INTO t VALUES (50);
         INSERT INTO u VALUES (50); COMMIT"
    ));
    let stopped = go_on(&*source, &mut request, &mut targets).await;
    assert!(matches!(stopped.as_slice(), [(0, _)]), "{stopped:?}");
    assert!(targets[0].rows.is_empty());
    assert_eq!(targets[1].rows, whole(&*source, "u").await);
}

#[tokio::test]
async fn a_bad_row_of_one_table_is_set_aside_and_all_tables_go_on() {
    let database = Database::new(
        "CREATE TABLE t (id int PRIMARY KEY, d date); CREATE TABLE u (id int PRIMARY KEY);
         INSERT INTO t VALUES (1, '2024-01-01'); INSERT INTO u VALUES (1)",
    );
    let source = database.source();
    let mut request = database.request(&["t", "u"]);
    let mut targets = [Target::default(), Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    database
        .run("INSERT INTO u VALUES (2); INSERT INTO t VALUES (2, 'infinity'), (3, '2024-03-03')");
    database.run("INSERT INTO u VALUES (3)");
    let pages = drain(&*source, &request).await.unwrap();
    let bad: Vec<_> = pages.iter().flat_map(|page| &page.page.rejected).collect();
    let [only] = bad.as_slice() else { panic!("{bad:?}") };
    assert_eq!((only.column.as_deref(), &*only.code), (Some("d"), "out-of-range"));
    pages.iter().for_each(|page| targets[page.stream].apply(page));
    let keys = |target: &Target| target.rows.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        (keys(&targets[0]), keys(&targets[1])),
        (vec!["1".into(), "3".into()], vec!["1".to_owned(), "2".into(), "3".into()])
    );
    for (stream, target) in request.streams.iter_mut().zip(&targets) {
        let (before, now) = (stream.from.as_ref().unwrap(), target.position.as_ref().unwrap());
        assert!(lsn(now) > lsn(before));
        stream.from.clone_from(&target.position);
    }
    let again = drain(&*source, &request).await.unwrap();
    assert!(again.iter().all(|page| page.page.batch.num_rows() + page.page.rejected.len() == 0));
}

#[tokio::test]
async fn a_slot_or_publication_that_is_gone_or_made_anew_is_noticed() {
    let database = Database::new("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let source = database.source();
    let mut request = database.request(&["t"]);
    let mut targets = [Target::default()];
    catch_up(&*source, &mut request, &mut targets).await;
    let slot = format!("flywheel_{}", database.name);
    let (make, remove) = (
        format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"),
        format!("SELECT pg_drop_replication_slot('{slot}')"),
    );
    for (sql, word) in [
        (format!("DROP PUBLICATION {slot}"), "publication"),
        (format!("CREATE PUBLICATION {slot}"), "taken out"),
        (remove.clone(), "is gone"),
        (make, "made anew"),
    ] {
        database.run(&sql);
        let error = fails(&*source, &request).await;
        assert_eq!(error.kind(), ErrorKind::Blocked, "{sql}: {error:?}");
        assert!(error.message().contains(word), "{sql}: {error:?}");
        assert!(error.hint_text().unwrap().contains("position"));
    }
    database.run(&remove);
    let error = source.acknowledge(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
    request.streams[0].from = None;
    catch_up(&*source, &mut request, &mut targets).await;
    database.run("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY)");
    assert_eq!(fails(&*source, &request).await.kind(), ErrorKind::Blocked);
}

#[tokio::test]
async fn a_publication_that_tells_less_or_did_for_a_while_is_noticed() {
    let database = Database::new(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT n, 'old' FROM generate_series(1, 9) n",
    );
    let source = database.source();
    let mut request = database.request(&["t"]);
    let publication = format!("flywheel_{}", database.name);
    for (changes, word, mends) in [
        ("SET (publish = 'insert')", "update, delete, truncate", "SET (publish ="),
        ("SET TABLE t WHERE (id > 1)", "rows or columns", "SET TABLE \"public\".\"t\""),
        ("SET TABLE t (id)", "rows or columns", "SET TABLE \"public\".\"t\""),
        ("DROP TABLE t; ADD TABLE t", "put back", "position"),
        ("SET TABLE t (id); SET TABLE t", "put back", "position"),
    ] {
        let mut targets = [Target::default()];
        request.streams[0].from = None;
        catch_up(&*source, &mut request, &mut targets).await;
        // The whole read has mended what was wrong before.
        database.run("UPDATE t SET v = v || '+' WHERE id < 5; DELETE FROM t WHERE id = 9");
        database.run("INSERT INTO t VALUES (9, 'new')");
        catch_up(&*source, &mut request, &mut targets).await;
        assert_eq!(targets[0].rows, whole(&*source, "t").await);
        for change in changes.split("; ") {
            database.run(&format!("ALTER PUBLICATION {publication} {change}"));
        }
        let error = fails(&*source, &request).await;
        assert_eq!(error.kind(), ErrorKind::Blocked, "{changes:?}: {error:?}");
        assert!(error.message().contains(word), "{changes:?}: {error:?}");
        assert!(error.hint_text().unwrap().contains(mends), "{changes:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_publication_that_told_fewer_kinds_of_changes_for_a_while_is_told_of_once() {
    let database = Database::new("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let source = database.source();
    let mut request = database.request(&["t"]);
    catch_up(&*source, &mut request, &mut [Target::default()]).await;
    let publication = format!("flywheel_{}", database.name);
    let owner = format!("owner_{}", database.name);
    database.run(&format!("CREATE ROLE {owner}"));
    let everything = "SET (publish = 'insert, update, delete, truncate')";
    for (changes, told) in [
        (vec!["SET (publish = 'insert')".to_owned(), everything.to_owned()], 1),
        (Vec::new(), 0),
        // Whoever owns it, it tells the same; what names tables is looked at apart.
        (vec![format!("OWNER TO {owner}")], 0),
        (vec!["ADD TABLES IN SCHEMA public".to_owned()], 0),
        (vec![everything.to_owned()], 1),
    ] {
        for change in &changes {
            database.run(&format!("ALTER PUBLICATION {publication} {change}"));
            database.run("INSERT INTO t SELECT count(*), 'new' FROM t");
        }
        let mut target = Target::default();
        let pages = drain(&*source, &request).await.unwrap();
        pages.iter().for_each(|page| target.apply(page));
        let notices = pages.iter().flat_map(|page| &page.page.notices);
        let codes: Vec<&str> = notices.map(|notice| notice.code.as_str()).collect();
        assert_eq!(codes, vec!["publication-altered"; told], "{changes:?}");
        if target.position.is_some() {
            request.streams[0].from = target.position;
        }
    }
}

#[tokio::test]
async fn statements_that_leave_all_changes_in_a_publication_do_not_stop_the_log() {
    let database = Database::new("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let source = database.source();
    let mut request = database.request(&["t"]);
    let publication = format!("flywheel_{}", database.name);
    let everything = "SET (publish = 'insert, update, delete, truncate')";
    // A list of columns and a schema cannot be in one publication.
    for (made, changes) in [
        ("TABLE t (v, id)", ["OWNER TO CURRENT_USER", everything, "SET TABLE t (v, id)"]),
        ("TABLE t", ["SET TABLE t", "ADD TABLES IN SCHEMA public", "DROP TABLE t"]),
    ] {
        database.run(&format!("DROP PUBLICATION IF EXISTS {publication}"));
        database.run(&format!("CREATE PUBLICATION {publication} FOR {made}"));
        let mut targets = [Target::default()];
        request.streams[0].from = None;
        catch_up(&*source, &mut request, &mut targets).await;
        for change in changes {
            database.run(&format!("ALTER PUBLICATION {publication} {change}"));
            database.run("INSERT INTO t SELECT count(*), 'new' FROM t");
            catch_up(&*source, &mut request, &mut targets).await;
            assert_eq!(targets[0].rows, whole(&*source, "t").await, "{change}");
        }
    }
    for change in ["DROP TABLES IN SCHEMA public", "ADD TABLES IN SCHEMA public"] {
        database.run(&format!("ALTER PUBLICATION {publication} {change}"));
    }
    let error = fails(&*source, &request).await;
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error:?}");
    assert!(error.message().contains("put back"), "{error:?}");
}

#[tokio::test]
async fn what_has_no_usable_log_is_refused_with_what_to_do() {
    let database = Database::new(
        "CREATE TABLE bare (id int); CREATE VIEW v AS SELECT 1 AS id;
         CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE mine (id int PRIMARY KEY, _deleted int);
         CREATE UNLOGGED TABLE fast (id int PRIMARY KEY);
         CREATE TABLE uniq (id int UNIQUE NOT NULL, v int)",
    );
    let source = database.source();
    for (stream, word, hint) in [
        (json!({ "table": "bare" }), "public.bare", "ALTER TABLE \"public\".\"bare\" REPLICA"),
        (json!({ "table": "uniq" }), "public.uniq", "REPLICA IDENTITY"),
        (json!({ "table": "t", "primary_key": ["id"], "where": "id > 1" }), "where", "where"),
        (json!({ "table": "v" }), "view", "read: full"),
        (json!({ "query": "SELECT 1" }), "query", "table"),
        (json!({ "table": "mine" }), "_deleted", "Rename"),
        (json!({ "table": "fast" }), "public.fast", "SET LOGGED"),
    ] {
        let mut request = database.request(&["t"]);
        request.streams[0].stream = stream.clone();
        let error = fails(&*source, &request).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{stream}: {error:?}");
        assert!(error.message().contains(word), "{stream}: {error:?}");
        assert!(error.hint_text().unwrap().contains(hint), "{stream}: {error:?}");
    }
    let twice = database.request(&["t", "public.t"]);
    assert!(fails(&*source, &twice).await.message().contains("two streams"));
    let mut named = database.request(&["t"]);
    named.name = "O'Hara".to_owned();
    assert!(fails(&*source, &named).await.hint_text().unwrap().contains("48"));
    assert!(SourceEntry::named("postgres").unwrap().cdc);
    assert_eq!(database.slot("count(*)"), "0");
}

#[tokio::test]
async fn a_user_without_the_right_is_told_which_one() {
    let database = Database::new("CREATE TABLE t (id int PRIMARY KEY)");
    let user = format!("reader_{}", database.name);
    database
        .run(&format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'; GRANT SELECT ON t TO {user}"));
    let mut connection = database.connection();
    connection["user"] = user.clone().into();
    connection["password"] = "secret".into();
    let reader = source(connection);
    let request = database.request(&["t"]);
    let error = fails(&*reader, &request).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.hint_text().unwrap().contains("CREATE PUBLICATION"), "{error:?}");
    // What an administrator makes is used.
    database.run(&format!("CREATE PUBLICATION flywheel_{} FOR TABLE t", database.name));
    let error = fails(&*reader, &request).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.hint_text().unwrap().contains("REPLICATION"), "{error:?}");
    database.run(&format!("ALTER ROLE {user} REPLICATION"));
    // Others write on this server, so that a page with nothing but a newer position may follow.
    let pages = drain(&*reader, &request).await.unwrap();
    assert!(pages.iter().all(|page| page.page.rejected.is_empty()) && !pages.is_empty());
}

#[tokio::test]
async fn servers_without_a_log_or_without_room_are_told_apart() {
    let server = TestServer::start_with(&["wal_level=replica"]);
    let plain = |server: &TestServer| {
        source(crate::postgres::testing::connection(server.port(), "postgres"))
    };
    let sql = "CREATE TABLE t (id int PRIMARY KEY)";
    server.psql("postgres", sql);
    let stream = ReadRequest::full(json!({ "table": "t" }), now());
    let request = ChangesRequest { name: "a".into(), streams: vec![stream], follow: false };
    let error = fails(&*plain(&server), &request).await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.hint_text().unwrap().contains("wal_level = logical"), "{error:?}");
    let before = plain(&server).check_log().await.unwrap_err();
    assert_eq!(before.hint_text(), error.hint_text(), "told before anything follows it");
    drop(server);

    let server = TestServer::start_with(&["max_replication_slots=1", "max_slot_wal_keep_size=1MB"]);
    server.psql("postgres", sql);
    server.psql("postgres", "SELECT pg_create_physical_replication_slot('other')");
    let source = plain(&server);
    let error = fails(&*source, &request).await;
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
    assert!(error.hint_text().unwrap().contains("max_replication_slots"), "{error:?}");

    // A slot that keeps more of the log than it may is given up by the server.
    server.psql("postgres", "SELECT pg_drop_replication_slot('other')");
    let mut request = request;
    catch_up(&*source, &mut request, &mut [Target::default()]).await;
    for _ in 0..4 {
        server.psql("postgres", "INSERT INTO t VALUES (0); DELETE FROM t; SELECT pg_switch_wal()");
    }
    server.psql("postgres", "CHECKPOINT");
    let error = fails(&*source, &request).await;
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error:?}");
    assert!(error.message().contains("given up"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_encrypted_as_the_rest_is() {
    let folder = tempfile::tempdir().unwrap();
    // Readable for the account of the server.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let made = TestServer::certificate(folder.path());
    let settings = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", made.certificate.display()),
        format!("ssl_key_file={}", made.key.display()),
    ];
    let server = TestServer::start_with(&settings.each_ref().map(String::as_str));
    server.psql("postgres", "CREATE TABLE t (id int PRIMARY KEY)");
    let mut connection = crate::postgres::testing::connection(server.port(), "postgres");
    connection["host"] = "localhost".into();
    connection["tls"] = "verify-full".into();
    connection["ca_file"] = json!(made.certificate);
    let encrypted = source(connection);
    let stream = ReadRequest::full(json!({ "table": "t" }), now());
    let mut request = ChangesRequest { name: "a".into(), streams: vec![stream], follow: false };
    let mut targets = [Target::default()];
    catch_up(&*encrypted, &mut request, &mut targets).await;
    request.follow = true;
    let mut pages = encrypted.changes(&request);
    server.psql("postgres", "INSERT INTO t VALUES (1)");
    targets[0].apply(&pages.next().await.unwrap().unwrap());
    assert_eq!(targets[0].rows.len(), 1);
    let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)";
    assert_eq!(server.psql("postgres", sql), "t");
}
