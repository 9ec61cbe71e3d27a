//! What is free in the eyes of [`super::agreed`], and that it is as a group.

use std::sync::Arc;

use serde_json::json;
use skyweir_loadtest::{Event, Upstream};
use skyweir_store::{MemoryStore, Store};
use skyweir_testkit::Told;

use super::agreed::{Agreed, Reading};
use super::backfill;
use super::network::{CID, POST, REPOST, START, config, did, small};

/// Two accounts have reposted a post, it was replaced, and then its account was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_update_takes_it_takes_together() {
    let at = |second| START + second * 1_000_000;
    let post = |text| json!({"$type": POST, "createdAt": "2026-01-01T00:00:00.000Z", "text": text});
    let repost = |who| {
        let subject = json!({"uri": format!("at://{}/{POST}/p", did(0)), "cid": CID});
        let record = json!({"$type": REPOST, "createdAt": "2026-01-01T00:00:00.000Z", "subject": subject});
        Event::create(&did(who), at(1 + who as u64), REPOST, "r", record)
    };
    let all = [
        Event::create(&did(0), at(1), POST, "p", post("one")),
        repost(1),
        repost(2),
        Event::update(&did(0), at(4), POST, "p", post("two")),
        Event::account(&did(0), at(5), false, Some("deleted")),
    ];
    let mut found = [Told::default(), Told::default()];
    for is_compacted in [false, true] {
        let upstream = Upstream::start(small()).await.unwrap();
        upstream.push_many(all.clone());
        upstream.seal();
        if is_compacted {
            upstream.compact();
        }
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        assert_eq!(backfill(&upstream, config(), store.clone()).await.unwrap(), Some(5));
        found[usize::from(is_compacted)] = Told::by_store(store.as_ref()).await.unwrap();
    }
    let judge = |before, meanwhile, found| {
        Agreed::after(&all, 5, &[Reading { seqs: 1..=5, before, meanwhile }]).judge(found)
    };
    // known, or not
    assert_eq!(judge(0, false, &found[0]), Ok([0, 0]));
    assert!(judge(0, false, &found[1]).is_err());
    assert_eq!(judge(5, false, &found[1]), Ok([0, 0]));
    assert!(judge(5, false, &found[0]).is_err());
    assert_eq!(found.each_ref().map(|found| judge(0, true, found)), [Ok([0, 2]), Ok([2, 0])]);
    let of = format!("item at://{}/", did(2));
    let one = found[1].lines.iter().filter(|line| line.starts_with(&of)).cloned().collect();
    assert!(judge(0, true, &found[1].without(&one)).unwrap_err().contains(&of), "one of them only");
}
