//! What a commit does besides its events.

use skyweir_store::MemoryStore;
use skyweir_types::{AcrossAccounts, Did, Event, Tid};

use super::*;
use crate::apply::SYNCS_MOST;
use crate::source::Frame;

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
