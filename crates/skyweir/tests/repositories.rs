//! `skyweir backfill` from a host without an archive, as an operator runs it: killed, run again, and then `serve`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{Serve, binary, network, run, soon};
use skyweir_loadtest::{Body, Event, RepositoryFaults, Upstream, UpstreamConfig};

const NOTE: &str = "no backfill: only follows made since";

/// The command; a host is soon known to be quiet.
fn command(dir: &Path, from: &str) -> Vec<String> {
    let dir = dir.to_str().unwrap();
    let config = format!("{dir}.toml");
    std::fs::write(&config, "[indexer.source]\nrepo_quiet_ms = 50\n").unwrap();
    let args = ["backfill", "--config", &config, "--data-dir", dir, "--from", from, "--items-since", "all"];
    args.map(str::to_owned).to_vec()
}

/// Exit code and log.
async fn backfill(dir: &Path, from: &str) -> (i32, String) {
    let command = command(dir, from);
    let args: Vec<&str> = command.iter().map(String::as_str).collect();
    let (code, _, err) = run(&args).await;
    (code, err)
}

/// Who isn't active after these events.
fn away(events: &[Event]) -> BTreeSet<String> {
    let mut away = BTreeSet::new();
    for event in events {
        match event.body {
            Body::Account { active: false, .. } => drop(away.insert(event.did.clone())),
            Body::Account { active: true, .. } => drop(away.remove(&event.did)),
            _ => {}
        }
    }
    away
}

fn sorted(mut uris: Vec<String>) -> Vec<String> {
    uris.sort_unstable();
    uris
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_without_a_jetstream() {
    let (network, mut stream) = network(2_000);
    let before = stream.len() * 3 / 4;
    let away = away(&stream[..before]);
    assert!(!away.is_empty(), "nobody has to be read when they are back");
    for did in &away {
        let time_us = stream.last().unwrap().time_us + 1_000_000;
        stream.push(Event::account(did, time_us, true, None));
    }
    let config = UpstreamConfig { repositories: true, listed: 25, ..UpstreamConfig::default() };
    let upstream = Upstream::start(config).await.unwrap();
    let (temp, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = temp.path().join("data");
    let last = stream.last().unwrap().time_us;
    let seq = upstream.push_many(stream[..before].to_vec()).unwrap();
    // the firehose has all of that no more
    upstream.set_floor(seq - 50);
    upstream.repository_faults(Some(RepositoryFaults { seed: 3, faults: 20 }));

    let command = command(&dir, &upstream.url_http());
    let begin = || binary().args(&command).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut child = begin();
    soon("the firehose's place is asked for", upstream.accepted(1)).await;
    child.kill().await.unwrap();
    // in the middle of a page: 25 are on it, and some are asked for more than once
    let mut child = begin();
    soon("repositories are asked for", upstream.fetched(|counts| counts.repositories >= 10)).await;
    child.kill().await.unwrap();
    let counts = upstream.repository_counts();
    assert!(counts.repositories < 60, "it isn't killed in the middle: {counts:?}");

    let (code, err) = backfill(&dir, &upstream.url_http()).await;
    assert!(code == 0 && err.contains("backfill is complete"), "{err}");
    let counts = upstream.repository_counts();
    assert!(counts.lists >= 3 && counts.refused + counts.cut + counts.flipped > 0, "{counts:?}");
    let (code, out, _) = run(&["check", "--data-dir", dir.to_str().unwrap()]).await;
    assert!(code == 0 && out.ends_with("sound\n"), "{out}");

    upstream.push_many(stream[before..].to_vec());
    let serve = Serve::start(&dir, &upstream.url_firehose(), &["--cursor", "auto"]).await;
    let whole = Upstream::start(UpstreamConfig::default()).await.unwrap();
    whole.push_many(stream);
    let reference = Serve::start(other.path(), &whole.url_firehose(), &["--cursor", "0"]).await;
    for serve in [&serve, &reference] {
        // the firehose's time: a quarter of a second before, cut to milliseconds
        serve.applied((last - 250_000) / 1_000 * 1_000).await;
    }
    let text = serve.until("/readyz", |status, _| status == 200).await;
    assert!(!text.contains(NOTE), "{text}");
    for actor in 0..network.actors() {
        let did = network.did(actor);
        let expected = sorted(reference.timeline(&did).await);
        // what is dated ahead stands where its key says
        let whole = async {
            loop {
                let found = sorted(serve.timeline(&did).await);
                if expected.iter().all(|uri| found.binary_search(uri).is_ok()) {
                    return found;
                }
            }
        };
        let found = soon(format!("{did} has all"), whole).await;
        // of posts that had been deleted nothing is known to who was read later
        let is_known = |uri: &String| {
            !uri.contains("/app.bsky.feed.repost/") || !away.iter().any(|did| uri.contains(did))
        };
        let extra = found.iter().filter(|uri| expected.binary_search(uri).is_err()).find(|uri| is_known(uri));
        assert_eq!(extra, None, "{did}");
    }
    serve.stop().await;
    reference.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_anything_is_refused() {
    let upstream =
        Upstream::start(UpstreamConfig { repositories: true, ..UpstreamConfig::default() }).await.unwrap();
    upstream.refuse(Some(404));
    let dir = tempfile::tempdir().unwrap();
    let (code, err) = backfill(&dir.path().join("data"), &upstream.url_http()).await;
    assert!(code == 1 && err.contains("planSnapshot: status 404") && err.contains("see --from"), "{err}");
}
