//! The lease is given back on every way out, so that an indexer of another name needn't wait until it is over.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::Path;
use std::process::Stdio;

use common::cql::Cql;
use common::freezer::Freezer;
use common::{Serve, run, signal, soon, upstream};

/// Longer than the test: who isn't let in isn't, however slow the machine is.
const LEASE_MS: u32 = 250_000;

/// Settings of an indexer of this name.
fn settings(cql: &Cql, dir: &Path, holder: &str) -> String {
    let file = dir.join(format!("{holder}.toml"));
    cql.write_settings(&file, &format!("holder = \"{holder}\"\nlease_ms = {LEASE_MS}"));
    file.to_str().unwrap().to_owned()
}

/// How it is started, without the source.
fn args(settings: &str) -> [&str; 8] {
    ["serve", "--config", settings, "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log=off"]
}

/// A service of another name starts.
async fn starts(cql: &Cql, dir: &Path, holder: &str) {
    let upstream = upstream().await;
    let settings = settings(cql, dir, holder);
    Serve::start(dir, &upstream.url_v2(), &["--config", &settings]).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_that_fails() {
    let Some(cql) = Cql::find("lease_failed").await else { return };
    let dir = tempfile::tempdir().unwrap();
    // the first is asked when records are opened, the second when timelines are
    for key in ["tasks", "news"] {
        cql.forget_tasks().await;
        cql.spoil(key).await;
        for holder in ["first", "second"] {
            let (code, _, err) = run(&args(&settings(&cql, dir.path(), holder))).await;
            assert_eq!(code, 1);
            assert!(err.contains("WRONGTYPE"), "{holder}, {key}: {err}");
        }
    }
    cql.forget_tasks().await;
    starts(&cql, dir.path(), "third").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_that_is_stopped() {
    let Some(cql) = Cql::find("lease_stopped").await else { return };
    let dir = tempfile::tempdir().unwrap();
    // Redis is asked first by who has the lease
    let mut freezer = Freezer::before(cql.redis(), 0).await;
    let stuck = settings(&cql.through_redis(&freezer.address), dir.path(), "first");
    let mut child = common::binary().args(args(&stuck)).stderr(Stdio::null()).spawn().unwrap();
    soon("the lease", freezer.frozen()).await;
    signal(child.id().unwrap(), "TERM").await;
    let status = soon("the end", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    starts(&cql, dir.path(), "second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_part_that_fails() {
    let Some(cql) = Cql::find("lease_part").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let upstream = upstream().await;
    let first = settings(&cql, dir.path(), "first");
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &["--config", &first, "--cursor", "live"]).await;
    cql.append_nonsense().await;
    let (code, said) = serve.ended().await;
    assert_eq!(code, 1);
    assert!(said.contains("corrupt data"), "{said}");
    cql.forget_tasks().await;
    starts(&cql, dir.path(), "second").await;
}
