//! Hosts that are down, or want to be left alone, and repositories that are cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use async_trait::async_trait;
use skyweir_indexer::source::{Source, SourceConfig, SourceStatus, parse};
use skyweir_indexer::{Config, CursorChoice, Indexer};
use skyweir_loadtest::{Event, Upstream};
use skyweir_store::{Hook, HookedStore, MemoryStore, Operation, Store};
use skyweir_types::Clock;
use tokio_util::sync::CancellationToken;

use super::hosted::{FOLLOW, START, did};
use super::killed::Killer;
use super::{backfill, config, has, host, live, record, saved};

fn few() -> Config {
    Config { source: SourceConfig { archive_attempts: 2, ..config().source }, ..config() }
}

/// Lets a host go down as soon as its accounts are listed.
struct Down {
    upstream: Arc<Upstream>,
    status: u16,
    is_done: AtomicBool,
}

#[async_trait]
impl Hook for Down {
    async fn before(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        if self.upstream.repository_counts().lists > 0 && !self.is_done.swap(true, SeqCst) {
            self.upstream.refuse(Some(self.status));
        }
        Ok(())
    }

    async fn after(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_starts_again_behind_its_proxy_is_waited_for() {
    for status in [502, 503, 504] {
        let upstream = Arc::new(host().await);
        upstream.push_many([record(1, FOLLOW, "k1", 1), record(2, FOLLOW, "k2", 2)]);
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let down = Down { upstream: upstream.clone(), status, is_done: AtomicBool::new(false) };
        let store = Arc::new(HookedStore::new(inner.clone(), Arc::new(down)));
        let mut work = std::pin::pin!(backfill(&upstream, few(), store));
        tokio::select! {
            done = &mut work => panic!("after {status} it is passed over: {done:?}"),
            () = upstream.refused(20) => upstream.refuse(None),
        }
        work.await.unwrap().unwrap();
        assert_eq!(has(&inner).await.len(), 2, "{status}");
    }
}

/// Goes on with the stream as it is now, and fetches nothing anew.
async fn live_without_resyncs(upstream: &Upstream, store: Arc<dyn Store>, up_to: u64) {
    let none = Config { source: SourceConfig { resync_downloads: 0, ..config().source }, ..config() };
    let source = parse(&upstream.url_firehose()).unwrap();
    let source = Source::new(source, none.source.clone(), Clock::system()).unwrap();
    let (status, stop) = (Arc::new(SourceStatus::default()), CancellationToken::new());
    let running = Indexer::new(none, store.clone(), source, CursorChoice::Live, status).run(stop.clone());
    let there = async {
        while saved(store.as_ref()).await.is_none_or(|saved| saved.position < up_to) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(running, there).0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_takes_nothing_away() {
    for is_away in [false, true] {
        let upstream = host().await;
        let follows = (0..25).map(|n| record(n as u64, FOLLOW, &format!("k{n}"), n + 1));
        let last = upstream.push_many(follows).unwrap();
        let inner = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(inner.clone());
        live(&upstream, CursorChoice::At(0), store.clone(), last).await;
        // killed in the middle of the repository
        let mut steps = 0;
        while store.view().await.unwrap().sync_marks(9).await.unwrap().is_empty() {
            let (killer, killed) = Killer::after(steps, true);
            tokio::select! {
                _ = backfill(&upstream, config(), killer.wrap(inner.clone())) => panic!("it is killed in time"),
                () = killed => steps += 1,
            }
        }
        if is_away {
            upstream.push(Event::account(&did(0), START + 60_000_000, false, Some("deactivated")));
            backfill(&upstream, config(), store.clone()).await.unwrap().unwrap();
            assert_eq!(store.view().await.unwrap().sync_marks(9).await.unwrap(), []);
        }
        // a later rev, and then nothing for longer than a resync may take
        let goes_on = live_without_resyncs(&upstream, store.clone(), upstream.last_seq() + 2);
        let told = async {
            upstream.connected(1).await;
            let later = Event::account(&did(2), START + 2 * 86_400_000_000, true, None);
            upstream.push_many([record(90, FOLLOW, "k25", 1), later]);
        };
        tokio::join!(goes_on, told);
        assert_eq!(has(&store).await.len(), 26, "away: {is_away}");
    }
}
