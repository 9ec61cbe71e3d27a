//! All that a reader could tell of a store.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;

use skyweir_store::{FeedAsk, RecordBody, Store};
use skyweir_types::{ActorId, Collection, Position, RecordKey, RecordRef};

/// Records of the keys `k0`, `k1` and so on are looked for, as many.
pub(crate) const KEYS: usize = 30;

/// A line for each account, edge, living record and item.
pub(crate) async fn contents(store: &dyn Store) -> BTreeSet<String> {
    let view = store.view().await.unwrap();
    let actors: Vec<_> = (0..view.actor_count().await.unwrap()).map(ActorId).collect();
    let dids = view.dids(&actors).await.unwrap();
    let mut found = BTreeSet::new();
    for (actor, did) in actors.iter().zip(&dids) {
        let did = did.as_str();
        let info = view.accounts(&[*actor]).await.unwrap().remove(0);
        found.insert(format!("{did} ({:?}, {}, {})", info.status, info.follows, info.followers));
        for subject in view.follows(*actor, None, 1_000).await.unwrap() {
            found.insert(format!("{did} follows {}", dids[subject.0 as usize].as_str()));
        }
        for collection in Collection::ALL {
            let keys = (0..KEYS).map(|n| RecordKey::parse(&format!("k{n}")).unwrap());
            let keys: Vec<_> = keys.map(|rkey| RecordRef { actor: *actor, collection, rkey }).collect();
            for (key, row) in keys.iter().zip(view.records(&keys).await.unwrap()) {
                let has = format!("{did} has {collection:?} {}", key.rkey.as_str());
                match row.map(|row| row.body) {
                    None | Some(RecordBody::Tombstone { .. }) => false,
                    Some(RecordBody::Follow { subject }) => {
                        found.insert(format!("{has} of {}", dids[subject.0 as usize].as_str()))
                    }
                    Some(_) => found.insert(has),
                };
            }
        }
        let after = Position { sort_at: i64::MAX, cid_key: [255; 33], uri_hash: u64::MAX };
        let feed = view.feeds(&[FeedAsk { author: *actor, after }], 1_000).await.unwrap().remove(0);
        let ids: Vec<_> = feed.iter().map(|entry| entry.item).collect();
        for item in view.items(&ids).await.unwrap().into_iter().flatten() {
            let (rkey, kind) = (item.rkey.as_str(), &item.kind);
            found.insert(format!("{did} {rkey} {} {} {kind:?}", item.cid, item.sort_at));
        }
    }
    found
}
