//! The cursor is saved with the events before it: after no commit does it stand ahead of what is stored.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use skyweir_indexer::source::{Source, SourceConfig, SourceStatus, parse};
use skyweir_indexer::{Config, CursorChoice, Indexer};
use skyweir_loadtest::Event;
use skyweir_store::{Hook, HookedStore, MemoryStore, Operation, Result, Store, View};
use skyweir_types::{Clock, Collection, Did, RecordKey, RecordRef};
use tokio_util::sync::CancellationToken;

const LINES: u64 = 200;

/// Looks at the store after each commit.
struct Watch {
    store: MemoryStore,
    commits: AtomicU64,
}

#[async_trait]
impl Hook for Watch {
    async fn before(&self, _: &Operation<'_>) -> Result<()> {
        Ok(())
    }

    async fn after(&self, operation: &Operation<'_>) -> Result<()> {
        if matches!(operation, Operation::Commit) {
            let view = self.store.view().await?;
            let position = view.cursor().await?.map_or(0, |cursor| cursor.position);
            assert!(applied(&*view).await >= position, "the cursor stands at {position}");
            self.commits.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// How many of the lines are stored, from the first on.
async fn applied(view: &dyn View) -> u64 {
    let Some(actor) = view.actor(&Did::parse("did:plc:a").unwrap()).await.unwrap() else { return 0 };
    let rkey = |n: u64| RecordKey::parse(&format!("k{n}")).unwrap();
    let key = |n| RecordRef { actor, collection: Collection::Follow, rkey: rkey(n) };
    let keys: Vec<_> = (1..=LINES).map(key).collect();
    view.records(&keys).await.unwrap().iter().take_while(|row| row.is_some()).count() as u64
}

#[tokio::test]
async fn it_never_stands_ahead_of_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let line = |n: u64| {
        let time_us = 1_767_225_600_000_000 + n * 1_000;
        let event = Event::delete("did:plc:a", time_us, "app.bsky.graph.follow", &format!("k{n}"));
        event.to_jetstream_v1_json(None).unwrap() + "\n"
    };
    std::fs::write(&path, (1..=LINES).map(line).collect::<String>()).unwrap();

    let store = MemoryStore::new();
    let watch = Arc::new(Watch { store: store.clone(), commits: AtomicU64::new(0) });
    let hooked = HookedStore::new(Arc::new(store.clone()), Arc::clone(&watch) as Arc<dyn Hook>);
    let config = Config { group_events: 7, ..Config::default() };
    let kind = parse(&format!("file:{}", path.display())).unwrap();
    let source = Source::new(kind, SourceConfig::default(), Clock::manual(1)).unwrap();
    let status = Arc::new(SourceStatus::default());
    let indexer = Indexer::new(config, Arc::new(hooked), source, CursorChoice::Auto, status);
    indexer.run(CancellationToken::new()).await.unwrap();

    let view = store.view().await.unwrap();
    assert_eq!(view.cursor().await.unwrap().unwrap().position, LINES);
    assert_eq!(applied(&*view).await, LINES);
    assert!(watch.commits.load(Ordering::SeqCst) > 10);
}
