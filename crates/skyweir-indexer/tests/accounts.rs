//! Account events, applied: what a deletion takes, told once, twice and again.

use skyweir_indexer::{Applier, Horizons};
use skyweir_store::{MemoryStore, Store};
use skyweir_types::{
    AccountStatus, AcrossAccounts, Action, Body, Cid, Collection, Did, Event, Record, RecordKey, RecordOp,
    Tid,
};

fn ann() -> Did {
    Did::parse("did:plc:ann").unwrap()
}

fn account(time_us: i64, status: AccountStatus) -> Event {
    Event { did: ann(), time_us, body: Body::Account(status) }
}

fn post(time_us: i64, rkey: &str) -> Event {
    let record = Record::Post { created_at: 1, is_reply: false, is_quote: false };
    let op = RecordOp {
        rev: Tid::from_parts(time_us.unsigned_abs(), 0),
        collection: Collection::Post,
        rkey: RecordKey::parse(rkey).unwrap(),
        action: Action::Put { cid: Cid::from_digest([1; 32]), record },
    };
    Event { did: ann(), time_us, body: Body::Record(op) }
}

/// Applies each event as a message of its own; returns the keys of the records that are left.
async fn left(events: &[Event]) -> Vec<String> {
    let store = MemoryStore::new();
    let view = store.view().await.unwrap();
    let mut applier = Applier::load(&*view, AcrossAccounts::Upstream, Horizons::default()).await.unwrap();
    let mut txn = store.begin().await.unwrap();
    for event in events {
        applier.frame(&mut *txn, std::slice::from_ref(event), &mut Vec::new()).await.unwrap();
    }
    let actor = txn.intern(&ann()).await.unwrap();
    let records = txn.records_of(actor, None, 100).await.unwrap();
    records.into_iter().map(|(key, _)| key.rkey.to_string()).collect()
}

#[tokio::test]
async fn a_deletion_told_twice_takes_nothing_new_but_a_later_one_does() {
    let gone = account(20, AccountStatus::Deleted);
    let first = [post(10, "a"), gone.clone(), post(10, "a"), post(30, "b"), gone];
    assert_eq!(left(&first).await, ["b"]);
    let again = [
        &first[..],
        &[account(40, AccountStatus::Deleted), account(50, AccountStatus::Active), post(30, "b")],
    ];
    assert!(left(&again.concat()).await.is_empty());
}
