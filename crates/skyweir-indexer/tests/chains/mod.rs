//! Commits that a firehose loses: the next one of the account shows it, and the account is read anew.

use std::sync::Arc;

use serde_json::json;
use skyweir_indexer::CursorChoice;
use skyweir_loadtest::{Event, Upstream};
use skyweir_store::{MemoryStore, Store};
use tokio_util::sync::CancellationToken;

use super::hosted::{FOLLOW, START, did, has, record};
use super::{host, live, live_until, running_until, saved, until};

/// Something of the first account that is none of ours.
pub(crate) fn like(second: u64) -> Event {
    let (key, record) = (format!("l{second}"), json!({"$type": "app.bsky.feed.like"}));
    Event::create(&did(0), START + second * 1_000_000, "app.bsky.feed.like", &key, record)
}

/// Three seconds of the first account of which the firehose tells nothing.
pub(crate) fn lose(upstream: &Upstream, second: u64) {
    upstream.lose(Some(&did(0)));
    upstream.push_many([
        record(second, FOLLOW, "k2", 2),
        Event::delete(&did(0), START + (second + 1) * 1_000_000, FOLLOW, "k1"),
        like(second + 2),
    ]);
    upstream.lose(None);
}

async fn marks(store: &Arc<dyn Store>) -> usize {
    store.view().await.unwrap().sync_marks(9).await.unwrap().len()
}

fn mended() -> [String; 1] {
    [format!("Follow k2 of {}", did(2))]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_firehose_has_lost_is_fetched() {
    let upstream = host().await;
    upstream.push_many([record(1, FOLLOW, "k1", 1), like(2)]);
    lose(&upstream, 3);
    // a commit of which nothing is ours shows it
    upstream.push(like(6));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let is_mended = async || has(&store).await == mended() && marks(&store).await == 0;
    live_until(&upstream, CursorChoice::At(0), store.clone(), is_mended).await;
    assert_eq!(upstream.repository_counts().repositories, 1);
    // told again to one who knows no chain yet, it breaks, and is known to be mended
    let last = upstream.push_many([record(7, FOLLOW, "k3", 3), like(8)]).unwrap();
    live(&upstream, CursorChoice::At(0), store.clone(), last).await;
    assert_eq!(has(&store).await, [mended()[0].clone(), format!("Follow k3 of {}", did(3))]);
    assert_eq!(upstream.repository_counts().repositories, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_the_repository_could_be_had_loses_nothing() {
    let upstream = host().await;
    upstream.push(record(1, FOLLOW, "k1", 1));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let losing = async {
        upstream.accepted(1).await;
        upstream.refuse(Some(503));
        lose(&upstream, 2);
        upstream.push(like(5))
    };
    let is_marked = async || marks(&store).await == 1;
    let stop = CancellationToken::new();
    let until = running_until(&upstream, CursorChoice::At(0), store.clone(), stop, is_marked);
    let (mut killed, last) = tokio::join!(until, losing);
    killed.shutdown().await;
    assert_eq!(has(&store).await, [format!("Follow k1 of {}", did(1))]);
    assert_eq!(saved(store.as_ref()).await.map(|saved| saved.position), Some(last));
    upstream.refuse(None);
    let is_mended = async || has(&store).await == mended() && marks(&store).await == 0;
    live_until(&upstream, CursorChoice::Auto, store.clone(), is_mended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_be_had_holds_up_no_others() {
    let upstream = host().await;
    // as many as there are downloads; the host itself is there
    upstream.refuse_repositories((1..4).map(did), 504);
    let follow = json!({"$type": FOLLOW, "createdAt": "2026-01-01T00:00:00.000Z", "subject": did(0)});
    upstream
        .push_many((1..5).map(|n| Event::create(&did(n), START + 1_000_000, FOLLOW, "k1", follow.clone())));
    let last = upstream.push_many((1..5).map(|n| Event::sync(&did(n), START + 2_000_000))).unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let others_are_read = async || {
        saved(store.as_ref()).await.is_some_and(|saved| saved.position >= last) && marks(&store).await == 3
    };
    live_until(&upstream, CursorChoice::At(0), store.clone(), others_are_read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_again_breaks_no_chain() {
    let upstream = host().await;
    let begun =
        (1..=8).map(|second| if second % 2 == 0 { like(second) } else { record(second, FOLLOW, "k1", 1) });
    let reached = upstream.push_many(begun).unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let stands = async |at: u64| saved(store.as_ref()).await.is_some_and(|saved| saved.position >= at);
    let stop = CancellationToken::new();
    let is_there = async || stands(reached).await;
    let running = running_until(&upstream, CursorChoice::At(0), store.clone(), stop, is_there).await;
    // over another connection, and by a relay that tells it as new
    upstream.replay_overlap(1);
    upstream.cut();
    upstream.accepted(2).await;
    let before = skyweir_loadtest::tid(START + 5_000_000, 0);
    let again = reached + 1;
    upstream.push_frame(again, &like(6).to_firehose_frame(again, Some(&before)));
    upstream.skip_seqs(1);
    let last = upstream.push(like(9));
    until(async || stands(last).await).await;
    assert_eq!((marks(&store).await, upstream.repository_counts().repositories), (0, 0));
    // one that is lost behind them is seen as ever
    lose(&upstream, 10);
    upstream.push(like(13));
    until(async || has(&store).await == mended()).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_read_is_fetched() {
    let upstream = host().await;
    upstream.push(record(1, FOLLOW, "k1", 1));
    upstream.lose(Some(&did(0)));
    let follow = record(2, FOLLOW, "k2", 2);
    let seq = upstream.push(follow.clone());
    upstream.lose(None);
    let mut frame = follow.to_firehose_frame(seq, Some(&skyweir_loadtest::tid(START + 1_000_000, 0)));
    let subject = frame.windows(did(2).len()).rposition(|bytes| bytes == did(2).as_bytes()).unwrap();
    frame[subject + 9] = b'x';
    upstream.push_frame(seq, &frame);
    upstream.push(like(3));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let both = [format!("Follow k1 of {}", did(1)), mended()[0].clone()];
    let is_mended = async || has(&store).await == both && marks(&store).await == 0;
    live_until(&upstream, CursorChoice::At(0), store.clone(), is_mended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_is_told_is_no_broken_chain() {
    for is_fatal in [false, true] {
        let upstream = host().await;
        upstream.push(record(1, FOLLOW, "k1", 1));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let losing = async {
            upstream.accepted(1).await;
            upstream.sent(1).await;
            lose(&upstream, 2);
            if is_fatal {
                upstream.fail("FutureCursor", "that is yet to come");
                upstream.accepted(2).await;
            } else {
                upstream.info("OutdatedCursor", "that is too long ago");
            }
            upstream.push_many([like(5), like(6)]).unwrap()
        };
        let is_there = async || saved(store.as_ref()).await.is_some_and(|saved| saved.position >= 6);
        let running = live_until(&upstream, CursorChoice::At(0), store.clone(), is_there);
        let (_, last) = tokio::join!(running, losing);
        assert_eq!((last, marks(&store).await, upstream.repository_counts().repositories), (6, 0, 0));
        assert_eq!(has(&store).await, [format!("Follow k1 of {}", did(1))]);
        assert!(!store.view().await.unwrap().is_whole().await.unwrap(), "it is for a backfill to mend");
    }
}

/// One of many accounts likes something.
fn liked(account: usize, second: u64) -> Event {
    let (who, record) = (format!("did:plc:{account:024}"), json!({"$type": "app.bsky.feed.like"}));
    Event::create(&who, START + second * 1_000_000, "app.bsky.feed.like", &format!("l{second}"), record)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_nobody_tells_is_one_if_it_is_large() {
    for (accounts, is_gap) in [(900, false), (1_100, true)] {
        let upstream = host().await;
        upstream.push_many((0..accounts).map(|account| liked(account, 1)));
        for lost in (0..accounts).map(|account| liked(account, 2)) {
            upstream.lose(Some(&lost.did));
            upstream.push(lost);
        }
        upstream.lose(None);
        let last = upstream.push_many((0..accounts).map(|account| liked(account, 3))).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        live(&upstream, CursorChoice::At(0), store.clone(), last).await;
        let view = store.view().await.unwrap();
        assert_eq!(view.is_whole().await.unwrap(), !is_gap, "of {accounts}");
        // those of before it is known are read anew, and the others have to be by a backfill
        let read = upstream.repository_counts().repositories as usize;
        let marks = view.sync_marks(2_000).await.unwrap().len();
        assert!(marks <= 999 && read <= 999 && marks + read >= 899, "{marks} marks, {read} read");
    }
}
