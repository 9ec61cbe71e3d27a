//! `items.keep` from the settings to what is read: timelines end where it says, also when more is kept later.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Serve, follow, post, soon};

/// 2026-01-01
const START: u64 = 1_767_225_600_000_000;
const HOUR: u64 = 3_600_000_000;
const READER: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const AUTHOR: &str = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";

/// A follow, and a post every six hours up to this one.
fn lines(hours: u64) -> String {
    let posts = (0..=hours / 6).map(|n| post(AUTHOR, START + n * 6 * HOUR, &format!("h{}", n * 6)));
    let events = std::iter::once(follow(READER, START - HOUR, AUTHOR)).chain(posts);
    events.map(|event| event.to_jetstream_v1_json(None).unwrap() + "\n").collect()
}

/// The keys of what is on the reader's timeline, when the cache has it as well.
async fn timeline(serve: &Serve) -> Vec<String> {
    let merged = serve.timeline(READER).await;
    let cached = "skyweir_api_items_total{source=\"cache\"} ";
    let is_cached =
        |text: &str| text.lines().any(|line| line.strip_prefix(cached).is_some_and(|items| items != "0"));
    soon("a page of the cache", async {
        while !is_cached(&serve.get("/metrics").await.1) {
            assert_eq!(serve.timeline(READER).await, merged, "the same on every path");
        }
    })
    .await;
    merged.iter().map(|uri| uri.rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_end_where_the_setting_says() {
    let dir = tempfile::tempdir().unwrap();
    let (file, settings) = (dir.path().join("events.jsonl"), dir.path().join("skyweir.toml"));
    let source = format!("file:{}", file.display());
    for (data, keep, hours, wanted) in [
        ("a", "1d", 48, &["h48", "h42", "h36", "h30", "h24"][..]),
        // what has left stays away, whatever is kept from then on
        ("a", "all", 54, &["h54", "h48", "h42", "h36", "h30", "h24"]),
        ("b", "all", 54, &["h54", "h48", "h42", "h36", "h30", "h24", "h18", "h12", "h6", "h0"]),
    ] {
        std::fs::write(&file, lines(hours)).unwrap();
        std::fs::write(&settings, format!("[items]\nkeep = \"{keep}\"\n")).unwrap();
        let more = ["--config", settings.to_str().unwrap()];
        let serve = Serve::start(&dir.path().join(data), &source, &more).await;
        serve.applied(START + hours * HOUR).await;
        assert_eq!(timeline(&serve).await, wanted, "{data}, {keep}");
        serve.stop().await;
    }
}
