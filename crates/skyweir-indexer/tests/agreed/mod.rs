//! Whether a store agrees with the model about the events of a network. They are put into the model's words here, not
//! by the code that is tested; what an archive tells, by those of decision 29: a created record is no later than its
//! key says, and an update is a deletion and a creation.
//!
//! Compaction takes away records that something later replaced or took away, and so, of an account that is deleted
//! later, the updates of its posts, by which reposts of these had lost their items. Where an archive is compacted while
//! it is read these items may be there or not, each by itself. So the model is told all events, and a second one what
//! the most thorough compaction leaves: what differs between the two is free, all else has to be as the first one says.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;
use skyweir_indexer::Horizons;
use skyweir_loadtest::{Body, Event, Operation};
use skyweir_store::Store;
use skyweir_testkit::{Model, ModelHorizons, Told};
use skyweir_types::{
    AccountStatus, AcrossAccounts, Action, Cid, Collection, Datetime, Did, Record, RecordKey, RecordOp, Tid,
};

/// What a store has to tell after some events.
pub(crate) struct Agreed {
    told: Told,
    /// Lines that may be there or not.
    free: BTreeSet<String>,
}

impl Agreed {
    /// After these events. Those whose sequence number, counted from 1, `is_archived` were read from an archive, which
    /// may have been compacted or not.
    pub(crate) fn after(events: &[Event], is_archived: impl Fn(u64) -> bool, is_compacted: bool) -> Self {
        let told = by_model(events.iter().zip(1..).map(|(event, seq)| (event, is_archived(seq))));
        let mut free = BTreeSet::new();
        if is_compacted {
            let left = survivors(events, &is_archived);
            let other = by_model(left.into_iter().map(|(event, seq)| (event, is_archived(seq))));
            free.extend(told.lines.symmetric_difference(&other.lines).cloned());
            let is_lost = |line: &String| {
                let of = events.iter().filter(|event| is_deletion(event)).map(|event| &event.did);
                line.starts_with("item ")
                    && of.into_iter().any(|did| line.contains(&format!(" of at://{did}/")))
            };
            assert!(free.iter().all(is_lost), "nothing else may differ: {free:#?}");
        }
        Self { told, free }
    }

    /// Fails unless the store tells that. Returns how many lines were free.
    pub(crate) async fn with(&self, store: &dyn Store, what: &str) -> usize {
        let found = Told::by_store(store).await.unwrap();
        if let Some(difference) = self.told.difference(&found, &self.free) {
            panic!("{what}: {difference}");
        }
        self.free.len()
    }
}

fn by_model<'e>(events: impl Iterator<Item = (&'e Event, bool)>) -> Told {
    let Horizons { tombstones_ms, sync_grace_ms, keep_ms, .. } = Horizons::default();
    let horizons = ModelHorizons { tombstones_ms, sync_grace_ms, keep_ms };
    let mut model = Model::new(AcrossAccounts::Slips, horizons);
    for (event, is_archived) in events {
        model.message(&told(event, is_archived));
        model.end_group();
    }
    Told::by_model(&model)
}

/// What is left of the events, with their sequence numbers, when the archived ones are compacted.
fn survivors(events: &[Event], is_archived: impl Fn(u64) -> bool) -> Vec<(&Event, u64)> {
    let (mut ended, mut gone) = (HashSet::new(), HashSet::new());
    let mut left = Vec::new();
    for (before, event) in events.iter().enumerate().rev() {
        let seq = before as u64 + 1;
        if !is_archived(seq) {
            left.push((event, seq));
            continue;
        }
        match &event.body {
            Body::Commit { operation, collection, rkey, .. } => {
                let key = (&event.did, collection, rkey);
                let is_over = ended.contains(&key) || gone.contains(&event.did);
                if *operation != Operation::Create {
                    ended.insert(key);
                }
                if is_over && *operation != Operation::Delete {
                    continue;
                }
            }
            _ if is_deletion(event) || matches!(event.body, Body::Sync { .. }) => {
                gone.insert(&event.did);
            }
            _ => {}
        }
        left.push((event, seq));
    }
    left.reverse();
    left
}

fn is_deletion(event: &Event) -> bool {
    matches!(&event.body, Body::Account { active: false, status: Some(status) } if status == "deleted")
}

/// An event in the model's words: none where it is none of ours, two for an update that an archive tells.
fn told(event: &Event, is_archived: bool) -> Vec<skyweir_types::Event> {
    let did = Did::parse(&event.did).unwrap();
    let mut time_us = i64::try_from(event.time_us).unwrap();
    let mut bodies = Vec::new();
    match &event.body {
        Body::Identity { .. } => {}
        Body::Account { active, status } => {
            bodies.push(skyweir_types::Body::Account(match status.as_deref() {
                _ if *active => AccountStatus::Active,
                Some("deleted") => AccountStatus::Deleted,
                _ => AccountStatus::Hidden,
            }))
        }
        Body::Sync { rev } => {
            bodies.push(skyweir_types::Body::Sync { rev: Tid::parse(rev).unwrap(), records_follow: true });
        }
        Body::Commit { rev, operation, collection, rkey, record, cid } => {
            let Some(collection) = Collection::from_nsid(collection) else { return Vec::new() };
            if is_archived
                && *operation == Operation::Create
                && let Ok(key) = Tid::parse(rkey)
            {
                time_us = time_us.min(key.micros() as i64);
            }
            let (rev, rkey) = (Tid::parse(rev).unwrap(), RecordKey::parse(rkey).unwrap());
            let put = record.as_ref().map(|record| Action::Put {
                cid: Cid::parse(cid.as_ref().unwrap()).unwrap(),
                record: content(collection, record),
            });
            let is_replaced =
                is_archived && *operation == Operation::Update && collection != Collection::Follow;
            let actions = (put.is_none() || is_replaced).then_some(Action::Delete).into_iter().chain(put);
            bodies.extend(actions.map(|action| {
                skyweir_types::Body::Record(RecordOp { rev, collection, rkey: rkey.clone(), action })
            }));
        }
    }
    bodies.into_iter().map(|body| skyweir_types::Event { did: did.clone(), time_us, body }).collect()
}

/// What a record says; the posts of these networks embed nothing and answer nobody.
fn content(collection: Collection, record: &Value) -> Record {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let created_at = Datetime::parse(&text(&record["createdAt"])).unwrap().millis();
    match collection {
        Collection::Post => Record::Post { created_at, is_reply: false, is_quote: false },
        Collection::Repost => {
            let subject = &record["subject"];
            Record::Repost { created_at, uri: text(&subject["uri"]), cid: text(&subject["cid"]) }
        }
        Collection::Follow => Record::Follow { subject: Did::parse(&text(&record["subject"])).unwrap() },
    }
}
