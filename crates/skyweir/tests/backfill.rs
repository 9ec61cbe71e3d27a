//! `skyweir backfill` as an operator runs it: from an empty directory, cut off, run again, and then `serve`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::path::Path;

use common::{Serve, binary, network, run, soon};
use skyweir_loadtest::{ArchiveFaults, Upstream, UpstreamConfig};

const NOTE: &str = "no backfill: only follows made since";

async fn upstream() -> Upstream {
    let config = UpstreamConfig { block_rows: 50, segment_blocks: 8, ..UpstreamConfig::default() };
    Upstream::start(config).await.unwrap()
}

/// Exit code and log.
async fn backfill(dir: &Path, from: &str) -> (i32, String) {
    let dir = dir.to_str().unwrap();
    let (code, out, err) =
        run(&["backfill", "--data-dir", dir, "--from", from, "--items-since", "all"]).await;
    assert_eq!(out, "");
    (code, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_begins_with_the_whole_network() {
    let (network, stream) = network(2_000);
    let (dir, other, upstream) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), upstream().await);
    let last = stream.last().unwrap().time_us;
    let archived = stream.len() * 3 / 4;
    upstream.push_many(stream[..archived].to_vec());
    upstream.seal();

    // cut off: the archive has no time at first, so it is surely not done
    upstream.refuse(Some(503));
    let mut child = binary();
    child.args(["backfill", "--from", &upstream.url_http(), "--data-dir"]).arg(dir.path());
    let mut child = child.stderr(std::process::Stdio::null()).spawn().unwrap();
    soon("a refused plan", upstream.refused(1)).await;
    child.kill().await.unwrap();
    upstream.refuse(None);

    upstream.archive_faults(Some(ArchiveFaults { seed: 3, faults: 6 }));
    let (code, err) = backfill(dir.path(), &upstream.url_http()).await;
    assert!(code == 0 && err.contains("backfill is complete"), "{err}");
    assert!(upstream.archive_counts().faults() > 0);
    let (code, out, _) = run(&["check", "--data-dir", dir.path().to_str().unwrap()]).await;
    assert!(code == 0 && out.ends_with("sound\n"), "{out}");

    upstream.push_many(stream[archived..].to_vec());
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &[]).await;
    let reference = Serve::start(other.path(), &upstream.url_v2(), &["--cursor", "1"]).await;
    for serve in [&serve, &reference] {
        serve.applied(last).await;
    }
    let text = serve.until("/readyz", |status, _| status == 200).await;
    assert!(!text.contains(NOTE), "{text}");
    for actor in 0..network.actors() {
        let did = network.did(actor);
        let (mut found, mut expected) = (serve.timeline(&did).await, reference.timeline(&did).await);
        // what is dated ahead stands where its key says, if the archive told of it
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "{did}: {} items, not {}", found.len(), expected.len());
    }
    serve.stop().await;
    reference.stop().await;

    // a directory that was begun live lacks what was before; one that is whole catches up
    let (code, err) = backfill(other.path(), &upstream.url_http()).await;
    assert!(code == 1 && err.contains("the data directory was begun with the live stream"), "{err}");
    let sealed = upstream.seal();
    let (code, err) = backfill(dir.path(), &upstream.url_http()).await;
    assert!(code == 0 && err.contains(&format!("reached={sealed}")), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (code, err) = backfill(dir.path(), "ws://127.0.0.1:1/subscribe").await;
    assert!(code == 1 && err.contains("http(s)://HOST of a Jetstream v2 has one"), "{err}");
    let (code, _, err) = run(&["backfill", "--items-since", "a week"]).await;
    assert!(code == 2 && err.contains("expected for example 7d, 36h or all"), "{err}");
}
