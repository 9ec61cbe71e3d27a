//! What a commit does besides its events.

use async_trait::async_trait;
use skyweir_store::{MemoryStore, Result, Txn, View};
use skyweir_types::{AcrossAccounts, Clock, Did, Event, TaskId, Tid};
use tokio::sync::watch;

use super::*;
use crate::apply::SYNCS_MOST;
use crate::source::{Frame, parse};

fn marks(accounts: std::ops::Range<usize>) -> Group {
    let event = |account: usize| Event {
        did: Did::parse(&format!("did:plc:a{account}")).unwrap(),
        time_us: 1_000,
        body: Body::Sync { rev: Tid(9), records_follow: false },
    };
    let events: Vec<_> = accounts.map(event).collect();
    let group = Group { events: events.len(), ..Group::default() };
    Group { frames: vec![Frame { position: Some(1), time_us: 1_000, events, skipped: Vec::new() }], ..group }
}

#[tokio::test]
async fn when_marks_are_dropped_the_store_is_not_whole() {
    let (store, status, config) = (MemoryStore::new(), SourceStatus::default(), Config::default());
    let horizons = Horizons { ends_told: true, ..Horizons::default() };
    let view = store.view().await.unwrap();
    let mut applier = Applier::load(view.as_ref(), AcrossAccounts::Upstream, horizons).await.unwrap();
    let mut committer = Committer {
        config: &config,
        store: &store,
        status: &status,
        id: "a stream".to_owned(),
        pending: None,
        known: Some(true),
        gaps: 0,
        asker: None,
        is_overrun: false,
    };
    let stop = CancellationToken::new();
    let mut is_whole = Vec::new();
    // all that may wait; one more; and two more, which is no news
    for accounts in [0..SYNCS_MOST, SYNCS_MOST..SYNCS_MOST + 1, SYNCS_MOST + 1..SYNCS_MOST + 3] {
        committer.commit(&mut applier, marks(accounts), &stop).await.unwrap();
        is_whole.push((store.view().await.unwrap().is_whole().await.unwrap(), status.gaps()));
    }
    assert_eq!(is_whole, [(true, 0), (false, 1), (false, 1)]);
    assert_eq!(status.snapshot().last_gap.unwrap().reason, "LostCommits");
}

/// A store whose task log is full.
struct Full {
    inner: MemoryStore,
    /// Is cancelled by who waits for room.
    asked: CancellationToken,
}

#[async_trait]
impl Store for Full {
    async fn view(&self) -> Result<Box<dyn View>> {
        self.inner.view().await
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        self.inner.begin().await
    }

    async fn room(&self) {
        self.asked.cancel();
        std::future::pending().await
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.next_task()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        self.inner.trim_tasks(kept).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_not_held_up_by_a_full_task_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    // more than the queue holds: the source waits as well
    let did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    let account = format!(r#"{{"active":true,"did":"{did}","seq":1,"time":"2026-01-01T00:00:00.000Z"}}"#);
    let line = format!(r#"{{"did":"{did}","time_us":1,"kind":"account","account":{account}}}"#);
    std::fs::write(&path, format!("{line}\n").repeat(50)).unwrap();
    let config = Config { group_events: 5, ..Config::default() };
    let config = Config { source: source::SourceConfig { queue: 2, ..config.source }, ..config };
    let run = async |store: Arc<dyn Store>, stop| {
        let kind = parse(&format!("file:{}", path.display())).unwrap();
        let source = Source::new(kind, config.source.clone(), Clock::system()).unwrap();
        let status = Arc::new(SourceStatus::default());
        let run = Indexer::new(config.clone(), store, source, CursorChoice::Auto, status).run(stop);
        tokio::time::timeout(Duration::from_secs(600), run).await.expect("it ends").unwrap()
    };
    let (inner, asked, stop) = (MemoryStore::new(), CancellationToken::new(), CancellationToken::new());
    let full = Arc::new(Full { inner: inner.clone(), asked: asked.clone() });
    let (ended, ()) = futures::future::join(run(full, stop.clone()), async {
        asked.cancelled().await;
        stop.cancel();
    })
    .await;
    assert_eq!(ended, Ended::Stopped);
    let saved = async || inner.view().await.unwrap().cursor().await.unwrap().map(|saved| saved.position);
    assert_eq!(saved().await, None);
    assert_eq!(run(Arc::new(inner.clone()), CancellationToken::new()).await, Ended::EndOfFile);
    assert_eq!(saved().await, Some(50));
}
