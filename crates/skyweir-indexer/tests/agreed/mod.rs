//! Whether a store agrees with the model about the events of a network. They are put into the model's words here, not
//! by the code that is tested; what an archive tells, by those of decision 29: a created record is no later than its
//! key says, and an update is a deletion and a creation.
//!
//! Compaction takes away records that something later replaced or took away, and so, of an account that is deleted
//! later, the updates of its posts, by which reposts of these had lost their items. What had been compacted before an
//! archive was read is known, and the model is told what was left. Where it is compacted while it is read nobody knows
//! which of these updates were there still: the model is told what the least and what the most thorough compaction
//! leave, and what differs is free. But an update takes the items of all reposts of the version that it replaces, or of
//! none: these are free as a group. All else has to be as both say.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::RangeInclusive;

use serde_json::Value;
use skyweir_indexer::Horizons;
use skyweir_loadtest::{Body, Event, Operation};
use skyweir_store::Store;
use skyweir_testkit::{Model, ModelHorizons, Told};
use skyweir_types::{
    AccountStatus, AcrossAccounts, Action, Cid, Collection, Datetime, Did, Record, RecordKey, RecordOp, Tid,
};

/// What was read from an archive.
pub(crate) struct Reading {
    /// These sequence numbers, of which 1 is the first event's.
    pub(crate) seqs: RangeInclusive<u64>,
    /// Up to this one all had been compacted before; 0: nothing had.
    pub(crate) before: u64,
    /// Whether it was compacted meanwhile.
    pub(crate) meanwhile: bool,
}

/// What a store has to tell after some events.
pub(crate) struct Agreed {
    /// With all that is free.
    most: Told,
    /// Lines that are there, all of a group, or aren't.
    groups: Vec<BTreeSet<String>>,
}

impl Agreed {
    /// After those of these events that are up to a sequence number, some of which were read from an archive.
    pub(crate) fn after(events: &[Event], up_to: u64, readings: &[Reading]) -> Self {
        let told = |is_most: bool| {
            let left = survivors(events, readings, is_most).into_iter().filter(|(_, seq)| *seq <= up_to);
            by_model(
                left.map(|(event, seq)| (event, readings.iter().any(|reading| reading.seqs.contains(&seq)))),
            )
        };
        let (least, most) = (told(false), told(true));
        assert!(least.lines.is_subset(&most.lines), "what isn't told takes nothing away");
        let mut groups = BTreeMap::<_, BTreeSet<String>>::new();
        for line in most.lines.difference(&least.lines) {
            groups.entry(taken_by(events, up_to, line)).or_default().insert(line.clone());
        }
        Self { most, groups: groups.into_values().collect() }
    }

    /// Fails unless the store tells that. Returns how many lines that were free are there, and how many aren't.
    pub(crate) async fn with(&self, store: &dyn Store, what: &str) -> [u64; 2] {
        let found = Told::by_store(store).await.unwrap();
        self.judge(&found).unwrap_or_else(|difference| panic!("{what}: {difference}"))
    }

    /// The same of what was told, or how it differs.
    pub(crate) fn judge(&self, found: &Told) -> Result<[u64; 2], String> {
        let (mut free, mut absent) = ([0, 0], BTreeSet::new());
        for group in &self.groups {
            let is_there = !group.is_disjoint(&found.lines);
            free[usize::from(!is_there)] += group.len() as u64;
            if !is_there {
                absent.extend(group.iter().cloned());
            }
        }
        self.most.without(&absent).difference(found).map_or(Ok(free), Err)
    }
}

/// The update that takes an item, if it is told: of which sequence number. The item is a repost's, and who owns the
/// post is deleted later, or nothing would be free.
fn taken_by(events: &[Event], up_to: u64, line: &str) -> u64 {
    let (own, post) = match line.split(' ').collect::<Vec<_>>()[..] {
        ["item", own, _, "at", _, "of", post] => (own, post),
        _ => panic!("nothing else may be free: {line}"),
    };
    let events = || (1..=up_to).zip(events);
    let told = |event: &Event, uri: &str, operations: &[Operation]| match &event.body {
        Body::Commit { operation, collection, rkey, .. } => {
            operations.contains(operation) && uri == format!("at://{}/{collection}/{rkey}", event.did)
        }
        _ => false,
    };
    let (reposted, _) = events()
        .filter(|(_, event)| told(event, own, &[Operation::Create, Operation::Update]))
        .last()
        .expect("somebody reposts");
    let (updated, by) = events()
        .find(|(seq, event)| *seq > reposted && told(event, post, &[Operation::Update]))
        .expect("an update takes it");
    let is_deleted = events().any(|(seq, event)| seq > updated && event.did == by.did && is_deletion(event));
    assert!(is_deleted, "nothing else may be free: {line}");
    updated
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

/// What is left of the events, with their sequence numbers, after the least or the most thorough compaction.
fn survivors<'e>(events: &'e [Event], readings: &[Reading], is_most: bool) -> Vec<(&'e Event, u64)> {
    let mut taken = HashSet::new();
    for Reading { seqs, before, meanwhile } in readings {
        let (first, last) = (*seqs.start(), if is_most && *meanwhile { *seqs.end() } else { *before });
        let (mut ended, mut gone) = (HashSet::new(), HashSet::new());
        for seq in (first..=last).rev() {
            let event = &events[seq as usize - 1];
            match &event.body {
                Body::Commit { operation, collection, rkey, .. } => {
                    let key = (&event.did, collection, rkey);
                    let is_over = ended.contains(&key) || gone.contains(&event.did);
                    if *operation != Operation::Create {
                        ended.insert(key);
                    }
                    if is_over && *operation != Operation::Delete {
                        taken.insert(seq);
                    }
                }
                _ if is_deletion(event) || matches!(event.body, Body::Sync { .. }) => {
                    gone.insert(&event.did);
                }
                _ => {}
            }
        }
    }
    events.iter().zip(1..).filter(|(_, seq)| !taken.contains(seq)).collect()
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
