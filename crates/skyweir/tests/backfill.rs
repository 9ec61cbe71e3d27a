//! `skyweir backfill` as an operator runs it: from an empty directory, cut off, run again, and then `serve`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::path::Path;

use common::{Serve, binary, metric, network, run, soon};
use skyweir_loadtest::{ArchiveFaults, Network, Upstream, UpstreamConfig};
use skyweir_proto::skyweir::v1::timeline_service_client::TimelineServiceClient;
use skyweir_proto::skyweir::v1::{GetStatusRequest, GetTimelineRequest, GraphStatus};
use tokio::process::{Child, Command};

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
    stopped_in_the_middle(dir.path(), &upstream).await;

    upstream.archive_faults(Some(ArchiveFaults { seed: 3, faults: 6 }));
    let (code, err) = backfill(dir.path(), &upstream.url_http()).await;
    assert!(code == 0 && err.contains("backfill is complete"), "{err}");
    assert!(err.contains("reading the archive from=") && !err.contains("from=0 "), "{err}");
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
    agree(&network, &serve, &reference).await;
    serve.stop().await;
    reference.stop().await;

    // a directory that was begun live lacks what was before; one that is whole catches up
    let (code, err) = backfill(other.path(), &upstream.url_http()).await;
    assert!(code == 1 && err.contains("follows are missing in the data directory"), "{err}");
    let sealed = upstream.seal();
    let (code, err) = backfill(dir.path(), &upstream.url_http()).await;
    assert!(code == 0 && err.contains(&format!("reached={sealed}")), "{err}");
}

/// Has a backfill read three segments, one after the other, and then stops it: what it has read is kept.
async fn stopped_in_the_middle(dir: &Path, upstream: &Upstream) {
    let settings = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&settings, "[indexer.source]\narchive_downloads = 1\n").unwrap();
    upstream.archive_downloads(Some(3));
    let mut child = binary();
    child.args(["backfill", "--items-since", "all", "--from", &upstream.url_http(), "--data-dir"]).arg(dir);
    child.arg("--config").arg(settings.path()).stderr(std::process::Stdio::piped());
    let child = child.spawn().unwrap();
    soon("a download too many", upstream.archived(|counts| counts.refused > 0)).await;
    stopped(child).await;
    upstream.archive_downloads(None);
}

async fn stopped(child: Child) {
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
    assert!(sent.success());
    let ended = soon("the end", child.wait_with_output()).await.unwrap();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && err.contains("stopped before the end"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_within_the_first_question_has_begun_nothing() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), upstream().await);
    upstream.refuse(Some(503));
    let mut child = binary();
    child.args(["backfill", "--from", &upstream.url_http(), "--data-dir"]).arg(dir.path());
    let child = child.stderr(std::process::Stdio::piped()).spawn().unwrap();
    soon("a refused question", upstream.refused(1)).await;
    stopped(child).await;
    assert!(!dir.path().join("loading").exists());
    upstream.refuse(None);
    Serve::start(dir.path(), &upstream.url_v2(), &["--backfill", "false"]).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (code, err) = backfill(&data, "ws://127.0.0.1:1/subscribe").await;
    assert!(code == 1 && err.contains("http(s)://HOST of a Jetstream v2 has one"), "{err}");
    assert!(!data.exists(), "nothing was begun");
    let (code, _, err) = run(&["backfill", "--items-since", "a week"]).await;
    assert!(code == 2 && err.contains("expected for example 7d, 36h or all"), "{err}");
}

/// How much of the graph is known, and the share of it while it is loading.
async fn status(serve: &Serve) -> (GraphStatus, f64) {
    let mut client = TimelineServiceClient::connect(format!("http://{}", serve.grpc)).await.unwrap();
    let status = soon("the status", client.get_status(GetStatusRequest {})).await.unwrap().into_inner();
    (status.graph(), status.loaded_share)
}

/// A page: how many items, and whether it may lack some.
async fn first_page(serve: &Serve, did: &str) -> (usize, bool) {
    let mut client = TimelineServiceClient::connect(format!("http://{}", serve.grpc)).await.unwrap();
    let request = GetTimelineRequest { actor_did: did.to_owned(), ..Default::default() };
    let page = soon(did, client.get_timeline(request)).await.unwrap().into_inner();
    assert_eq!(page.from_cache, 0, "nobody is enrolled");
    (page.items.len(), page.graph_incomplete)
}

async fn agree(network: &Network, serve: &Serve, reference: &Serve) {
    for actor in 0..network.actors() {
        let did = network.did(actor);
        let (mut found, mut expected) = (serve.timeline(&did).await, reference.timeline(&did).await);
        // what is dated ahead stands where its key says, if the archive told of it
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "{did}: {} items, not {}", found.len(), expected.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_begins_with_the_archive_by_itself() {
    let (network, stream) = network(2_000);
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = UpstreamConfig { block_rows: 25, segment_blocks: 2, ..UpstreamConfig::default() };
    let upstream = Upstream::start(config).await.unwrap();
    let (archived, missed) = (stream.len() / 2, stream.len() * 3 / 4);
    let (last, time) = (stream.last().unwrap().time_us, stream[missed - 1].time_us);
    upstream.push_many(stream[..archived].to_vec());
    upstream.seal();
    // one after the other, so that it stands somewhere in the middle
    let settings = other.path().join("skyweir.toml");
    std::fs::write(&settings, "[indexer.source]\narchive_downloads = 1\nbackoff_most_ms = 300\n").unwrap();
    let more = ["--items-since", "all", "--config", settings.to_str().unwrap()];
    upstream.archive_downloads(Some(12));
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &more).await;
    soon("a download too many", upstream.archived(|counts| counts.refused > 0)).await;

    let read = "skyweir_indexer_archive_share";
    let text = serve.until("/metrics", |_, text| metric(text, read).is_some_and(|share| share > 0.3)).await;
    assert!(metric(&text, read) < Some(0.9), "{text}");
    assert_eq!(metric(&text, "skyweir_indexer_whole"), Some(0.0), "it is a part");
    let text = serve.until("/readyz", |status, _| status == 503).await;
    assert!(text.contains("reason: loading: ") && !text.contains(NOTE), "{text}");
    let (graph, share) = status(&serve).await;
    assert!(graph == GraphStatus::Loading && share > 0.3 && share < 0.9, "{graph:?} {share}");
    let answered = async {
        for actor in (0..network.actors()).cycle() {
            let (items, incomplete) = first_page(&serve, &network.did(actor)).await;
            assert!(incomplete);
            if items > 0 {
                return;
            }
        }
    };
    soon("items of a part of the archive", answered).await;

    // killed, it goes on where it was
    serve.signal("KILL").await;
    assert_eq!(serve.ended().await.0, -1);
    let refused = upstream.archive_counts().refused;
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &more).await;
    soon("another download too many", upstream.archived(|counts| counts.refused > refused)).await;
    let (graph, share) = status(&serve).await;
    assert!(graph == GraphStatus::Loading && share > 0.3, "{graph:?} {share}");
    upstream.archive_downloads(None);
    upstream.push_many(stream[archived..missed].to_vec());
    serve.applied(time).await;
    let text = serve.until("/readyz", |status, _| status == 200).await;
    assert!(!text.contains(NOTE) && !text.contains("gap"), "{text}");
    assert_eq!(status(&serve).await, (GraphStatus::Complete, 0.0));
    let reference = Serve::start(other.path(), &upstream.url_v2(), &["--cursor", "1"]).await;
    reference.applied(time).await;
    agree(&network, &serve, &reference).await;
    let text = serve.until("/metrics", |_, text| metric(text, "skyweir_indexer_whole") == Some(1.0)).await;
    assert_eq!(metric(&text, "skyweir_indexer_source_ended"), Some(0.0));
    serve.stop().await;

    // away for longer than the stream looks back: the archive has what was missed, for timelines that are kept as well
    upstream.push_many(stream[missed..].to_vec());
    reference.applied(last).await;
    upstream.set_floor(upstream.seal());
    let mut serve = Serve::start(dir.path(), &upstream.url_v2(), &more).await;
    serve.line("the stream no longer has our place").await;
    serve.applied(last).await;
    let text = serve.until("/readyz", |status, _| status == 200).await;
    assert!(!text.contains(NOTE) && !text.contains("gap"), "{text}");
    agree(&network, &serve, &reference).await;
    let (_, text) = serve.get("/metrics").await;
    let cached = "skyweir_api_items_total{source=\"cache\"} ";
    assert!(
        text.lines().any(|line| line.strip_prefix(cached).is_some_and(|n| n != "0")),
        "nothing was cached"
    );
    serve.stop().await;
    reference.stop().await;
}
