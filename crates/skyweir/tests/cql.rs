//! The binary on a CQL server and Redis, of which `SKYWEIR_TEST_CQL` and `SKYWEIR_TEST_REDIS` name one: the same
//! timelines, and what is said when something is missing.

mod common;

use common::cql::Cql;
use common::disturbed::Disturbed;
use common::{Serve, follow, metric, post, run, soon, upstream};

/// 2026-01-01
const START: u64 = 1_767_225_600_000_000;
const READER: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const AUTHOR: &str = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_nothing_on_cql() {
    let Some(cql) = Cql::find("killed").await else { return };
    let (dir, peaceful) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = dir.path().join("skyweir.toml");
    cql.write_settings(&settings, "");
    let more = ["--config", settings.to_str().unwrap(), "--enrol", "all", "--cap", "100"];
    let service = Disturbed { dir: dir.path(), more: &more, events: 3_000, signal: "KILL", code: -1 };
    let (serve, other, network) = service.survives(peaceful.path()).await;
    let before = serve.timeline(&network.did(0)).await;
    serve.stop().await;
    other.stop().await;
    let kept: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(kept, ["skyweir.toml"], "all else is in the cluster");
    // stopped in peace it comes back with the same, and fills nothing
    let upstream = upstream().await;
    let more = [&more[..], &["--cursor", "live"]].concat();
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &more).await;
    let (_, text) = serve.get("/metrics").await;
    assert!(metric(&text, "skyweir_writer_enrolled_timelines").is_some_and(|n| n >= 60.0), "{text}");
    assert_eq!(serve.timeline(&network.did(0)).await, before);
    serve.stop().await;
}

/// Reads the reader's timeline until it comes from the cache; whether it does or not, it has so many posts.
async fn cached(serve: &Serve, posts: usize) {
    let is_cached = "skyweir_api_items_total{source=\"cache\"} ";
    soon("a page of the cache", async {
        loop {
            assert_eq!(serve.timeline(READER).await.len(), posts);
            let (_, text) = serve.get("/metrics").await;
            if text.lines().any(|line| line.strip_prefix(is_cached).is_some_and(|n| n != "0")) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_fill_again_when_tasks_are_lost() {
    let Some(cql) = Cql::find("lost").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("skyweir.toml");
    cql.write_settings(&settings, "");
    let (upstream, more) =
        (upstream().await, ["--config", settings.to_str().unwrap(), "--backfill", "false"]);
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &more).await;
    soon("a subscriber", upstream.accepted(1)).await;
    upstream.push(follow(READER, START, AUTHOR));
    upstream.push(post(AUTHOR, START + 1_000, "one"));
    serve.applied(START + 1_000).await;
    cached(&serve, 1).await;
    upstream.push(post(AUTHOR, START + 2_000, "two"));
    serve.applied(START + 2_000).await;
    serve.signal("KILL").await;
    serve.ended().await;
    // no checkpoint was made: all tasks are needed again, and of the first ones nobody knows any more
    cql.forget_tasks().await;
    for transaction in 1..cql.number("SELECT seq FROM {ks}.lease WHERE id = 0").await {
        cql.query(&format!("DELETE FROM {{ks}}.journal WHERE slot = {transaction}")).await;
    }
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &more).await;
    serve.until("/metrics", |_, text| metric(text, "skyweir_writer_enrolled_timelines") == Some(0.0)).await;
    cached(&serve, 2).await;
    serve.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_one_takes_over() {
    let Some(cql) = Cql::find("taken").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first.toml"), dir.path().join("second.toml"));
    cql.write_settings(&first, "holder = \"first\"\nlease_ms = 60000");
    cql.write_settings(&second, "holder = \"second\"");
    let upstream = upstream().await;
    let of = |settings: &std::path::Path| ["--config".to_owned(), settings.to_str().unwrap().to_owned()];
    let (first, second) = (of(&first), of(&second));
    let first = first.each_ref().map(String::as_str);
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &first).await;
    let ports = ["serve", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off"];
    let (code, _, err) = run(&[&ports[..], &second.each_ref().map(String::as_str)].concat()).await;
    assert_eq!(code, 1);
    assert!(err.contains("the indexer \"first\" may write for another"), "{err}");
    // the same name is the same machine: it is let in, and the one before ends
    let again = Serve::start(dir.path(), &upstream.url_v2(), &first).await;
    let (code, said) = serve.ended().await;
    assert_eq!(code, 1);
    assert!(said.contains("another indexer writes to this store by now"), "{said}");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_applied_by_hand_where_programs_may_not() {
    let Some(cql) = Cql::find("schema").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("skyweir.toml");
    cql.write_settings(&settings, "create = false");
    let settings = settings.to_str().unwrap();
    let ports = ["--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off"];
    let (code, _, err) = run(&[&["serve", "--config", settings][..], &ports].concat()).await;
    assert_eq!(code, 1);
    assert!(err.contains("has no tables of ours; apply what `skyweir schema` prints"), "{err}");
    let (code, out, err) = run(&["schema", "--config", settings, "--dialect", "cassandra"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    for statement in out.lines() {
        cql.query(statement.strip_suffix(';').unwrap()).await;
    }
    let (code, out, err) = run(&["schema", "--config", settings, "--apply"]).await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "keyspace skyweir_binary_schema has all tables\n", "")
    );
    let upstream = upstream().await;
    Serve::start(dir.path(), &upstream.url_v2(), &["--config", settings]).await.stop().await;
    // as a later program may leave them
    cql.query("UPDATE {ks}.schema_version SET version = 99 WHERE id = 0").await;
    let (code, _, err) = run(&[&["serve", "--config", settings][..], &ports].concat()).await;
    assert_eq!(code, 1);
    assert!(err.contains("has tables of version 99, this program those of version 1"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_servers_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("skyweir.toml");
    let settings = "backend = \"scylla\"\n[scylla]\nnodes = [\"127.0.0.1:1\"]\n";
    std::fs::write(&file, settings).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let (code, _, err) = run(&[&["serve", "--log", "off"][..], &config].concat()).await;
    assert_eq!(code, 1);
    assert!(err.contains("no CQL node of 127.0.0.1:1 answers") && err.contains("scylla.nodes"), "{err}");
    let (code, _, err) = run(&[&["backfill"][..], &config].concat()).await;
    assert_eq!(code, 1);
    assert!(err.contains("skyweir serve begins with the archive"), "{err}");
    let Some(cql) = Cql::find("apart").await else { return };
    cql.write_settings(&file, "");
    let settings = std::fs::read_to_string(&file).unwrap();
    let away = settings
        .lines()
        .map(|line| if line.starts_with("redis") { "redis = \"redis://127.0.0.1:1\"" } else { line });
    std::fs::write(&file, away.collect::<Vec<_>>().join("\n")).unwrap();
    let (code, _, err) = run(&[&["serve", "--log", "off"][..], &config].concat()).await;
    assert_eq!(code, 1);
    assert!(err.contains("Redis: connecting") && err.contains("scylla.redis"), "{err}");
}
