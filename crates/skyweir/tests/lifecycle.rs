//! Starting, stopping, being killed and starting again: nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::Path;
use std::process::Stdio;

use common::disturbed::Disturbed;
use common::{Serve, binary, follow, metric, network, post, run, soon, upstream};
use skyweir_loadtest::Upstream;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Ends a service in the midst of its work, and lets another finish it.
async fn survives(signal: &str, code: i32) {
    let (disturbed, peaceful) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let more = ["--enrol", "all", "--cap", "100"];
    let service = Disturbed { dir: disturbed.path(), more: &more, events: 12_000, signal, code };
    let (serve, other, network) = service.survives(peaceful.path()).await;
    let (_, text) = serve.get("/metrics").await;
    assert!(metric(&text, "skyweir_disk_free_bytes") > Some(0.0), "{text}");
    let (status, hot) = serve.get("/hot").await;
    let hot: serde_json::Value = serde_json::from_str(&hot).unwrap();
    let hottest = &hot["timelines"][0];
    let known = (0..network.actors()).any(|actor| hottest["did"] == network.did(actor).as_str());
    assert!(status == 200 && known && hottest["enrolled_since_ms"].as_i64() > Some(0), "{hot:#}");
    assert!(hot["shards"][0]["share"].as_f64() > Some(0.0), "{hot:#}");
    serve.stop().await;
    other.stop().await;
    for dir in [disturbed.path(), peaceful.path()] {
        let (code, out, _) = run(&["check", "--data-dir", dir.to_str().unwrap()]).await;
        assert!(code == 0 && out.ends_with("sound\n"), "{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing() {
    survives("TERM", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_loses_nothing() {
    survives("KILL", -1).await;
}

/// The cursor that the newest subscriber asked for.
fn asked(upstream: &Upstream) -> Option<u64> {
    let query = upstream.subscribers().recent.last()?.query.clone();
    query.split('&').find_map(|pair| pair.strip_prefix("cursor=")?.parse().ok())
}

/// A service that is subscribed, on an empty directory without what was before.
async fn connected(dir: &Path, upstream: &Upstream, total: u64) -> Serve {
    let serve = Serve::start(dir, &upstream.url_v2(), &["--backfill", "false"]).await;
    soon("a subscriber", upstream.accepted(total)).await;
    serve
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cursor_is_saved_when_it_stops() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    let serve = connected(dir.path(), &upstream, 1).await;
    assert_eq!(asked(&upstream), None, "live, as nothing is saved");
    let start = 1_767_225_600_000_000;
    for n in 0..3_000 {
        upstream.push(post("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", start + n * 1_000, &format!("p{n}")));
    }
    serve.applied(start + 2_999_000).await;
    serve.stop().await;
    let serve = connected(dir.path(), &upstream, 2).await;
    // the last one applied: it goes on exactly there
    assert_eq!(asked(&upstream), Some(3_000));
    serve.stop().await;

    let (data, source) = (dir.path().to_str().unwrap(), upstream.url_v1());
    let (code, _, err) =
        run(&["serve", "--source", &source, "--data-dir", data, "--grpc", "127.0.0.1:0"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("skyweir: the saved cursor belongs to ws://"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_dead_at_the_start_shows_in_the_metrics() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    let serve = connected(dir.path(), &upstream, 1).await;
    let time_us = 1_767_225_600_000_000;
    upstream.push(post("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", time_us, "p"));
    serve.applied(time_us).await;
    serve.stop().await;

    let nobody = upstream.url_v2();
    drop(upstream);
    let serve = Serve::start(dir.path(), &nobody, &[]).await;
    serve.until("/readyz", |_, text| text.contains("note: upstream: not connected: ")).await;
    let (_, text) = serve.get("/metrics").await;
    let told = |name: &str| metric(&text, &format!("skyweir_indexer_{name}"));
    assert_eq!(told("stream_time_seconds"), Some(1_767_225_600.0));
    assert_eq!([told("messages_total"), told("commit_retries_total")], [Some(0.0); 2]);
    serve.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_tells_what_is_not_known() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    let mut serve = connected(dir.path(), &upstream, 1).await;
    let note = "no backfill: only follows made since this store began are known";
    let text = serve.until("/readyz", |status, _| status == 200).await;
    assert!(text.starts_with("ready\n") && text.contains(note), "{text}");
    assert_eq!(serve.get("/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(serve.get("/nothing").await.0, 404);
    let start = 1_767_225_600_000_000;
    for n in 0..2_000 {
        upstream.push(post("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", start + n * 1_000, &format!("p{n}")));
    }
    serve.applied(start + 1_999_000).await;
    serve.signal("TERM").await;
    serve.line("\"stopped\"").await;
    assert_eq!(serve.ended().await.0, 0);

    // neither the stream nor its archive has what follows
    for n in 2_000..3_000 {
        upstream.push(post("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", start + n * 1_000, &format!("p{n}")));
    }
    upstream.set_floor(2_500);
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &[]).await;
    let text = serve.until("/readyz", |_, text| text.contains("note: gap: ")).await;
    assert!(text.contains("CursorTooOld"), "{text}");
    serve.stop().await;
}

/// What a service on an empty directory says until it serves.
async fn says(source: &str, more: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = binary();
    command.args(["serve", "--log-format", "json", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(["--source", source, "--data-dir"]).arg(dir.path()).args(more);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while !said.contains("\"serving\"") {
        said += &soon("serving", lines.next_line()).await.unwrap().expect("it serves");
    }
    child.kill().await.unwrap();
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warning_of_an_unknown_past_is_in_the_log() {
    let upstream = upstream().await;
    let said = says(&upstream.url_v2(), &[]).await;
    assert!(!said.contains("no backfill"), "it begins with one: {said}");
    let said = says(&upstream.url_v2(), &["--backfill", "false"]).await;
    assert!(said.contains("\"WARN\"") && said.contains("no backfill: only follows"), "{said}");
    let said = says(&upstream.url_firehose(), &["--cursor", "0"]).await;
    assert!(!said.contains("no backfill"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    let mut serve = connected(dir.path(), &upstream, 1).await;
    // an answer that never ends: the drain waits for it
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", serve.grpc)).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(soon("health", watch.message()).await.unwrap().is_some());
    serve.signal("TERM").await;
    serve.line("\"stopping\"").await;
    let text = serve.until("/readyz", |status, _| status == 503).await;
    assert!(text.contains("reason: draining: the process is shutting down"), "{text}");
    serve.signal("TERM").await;
    let (code, said) = serve.ended().await;
    assert_eq!(code, 1);
    assert!(said.contains("SIGTERM while stopping: ended at once"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_is_printed_for_people_and_for_programs() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    let serve = connected(dir.path(), &upstream, 1).await;
    let (viewer, author) = ("did:plc:vvvvvvvvvvvvvvvvvvvvvvvv", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa");
    let start = 1_767_225_600_000_000;
    upstream.push(follow(viewer, start, author));
    for n in 1..=3 {
        upstream.push(post(author, start + n * 1_000_000, &format!("p{n}")));
    }
    serve.applied(start + 3_000_000).await;
    let (code, out, err) = run(&["timeline", viewer, "--grpc", &serve.grpc, "--limit", "2"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], format!("2026-01-01 00:00:03  post    at://{author}/app.bsky.feed.post/p3"));
    assert_eq!(lines[1], format!("2026-01-01 00:00:02  post    at://{author}/app.bsky.feed.post/p2"));
    assert!(
        lines[2].starts_with("2 items, ") && lines[2].ends_with("; there are more, --all reads them"),
        "{out}"
    );

    let (_, out, _) =
        run(&["timeline", viewer, "--grpc", &serve.grpc, "--limit", "1", "--all", "--json"]).await;
    let keys: Vec<String> = out
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["uri"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(keys, ["p3", "p2", "p1"].map(|key| format!("at://{author}/app.bsky.feed.post/{key}")));

    let (code, _, err) = run(&["timeline", "nobody", "--grpc", &serve.grpc]).await;
    assert_eq!(code, 1);
    assert!(err.starts_with("skyweir: the service answered InvalidArgument: malformed actor"), "{err}");
    let (code, out, _) = run(&["status", "--admin", &serve.admin, "--ready"]).await;
    assert!(code == 0 && out.starts_with("ready\nnote: no backfill"), "{out}");
    let (grpc, admin) = (serve.grpc.clone(), serve.admin.clone());
    serve.stop().await;
    let (code, _, err) = run(&["status", "--admin", &admin]).await;
    assert!(code == 1 && err.starts_with(&format!("skyweir: nobody answers at {admin}; does")), "{err}");
    let (code, _, err) = run(&["timeline", viewer, "--grpc", &grpc]).await;
    assert_eq!(code, 1);
    assert!(
        err.starts_with(&format!("skyweir: nobody answers at {grpc}; does `skyweir serve` run there?")),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_directory_is_checked_and_its_rings_dropped() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    let data = dir.path().join("data");
    let path = data.to_str().unwrap();
    for args in [&["check", "--data-dir", path][..], &["rings", "drop", "--data-dir", path]] {
        let (code, _, err) = run(args).await;
        assert_eq!(
            (code, err),
            (1, format!("skyweir: storage is unavailable: {path} is no data directory\n"))
        );
    }
    let (network, events) = network(500);
    let end = events.last().unwrap().time_us;
    let serve = Serve::start(&data, &upstream.url_v2(), &["--cursor", "0", "--enrol", "all"]).await;
    upstream.push_many(events);
    serve.applied(end).await;
    let wanted = serve.timeline(&network.did(3)).await;
    assert!(!wanted.is_empty());
    serve.stop().await;

    let (code, out, _) = run(&["check", "--data-dir", path]).await;
    assert!(code == 0 && out.contains(" accounts, ") && out.ends_with("sound\n"), "{out}");
    assert!(!out.contains("\n0 rings in the last checkpoint"), "{out}");
    let (code, out, _) = run(&["rings", "drop", "--data-dir", path]).await;
    let told = format!("dropped the rings of {path}; nothing is lost, they fill again as they are read\n");
    assert_eq!((code, out), (0, told));
    let (code, out, _) = run(&["check", "--data-dir", path]).await;
    assert!(code == 0 && out.contains("\n0 rings in the last checkpoint"), "{out}");
    let serve = Serve::start(&data, &upstream.url_v2(), &[]).await;
    assert_eq!(serve.timeline(&network.did(3)).await, wanted);
    serve.stop().await;
}
