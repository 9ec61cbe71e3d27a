//! What every stream of events must keep.

use super::*;
use crate::network::NetworkSpec;
use std::collections::{HashMap, HashSet};

fn network(seed: u64) -> Network {
    let spec =
        NetworkSpec { seed, actors: 300, mean_follows: 10.0, events: 20_000, ..NetworkSpec::default() };
    Network::new(spec).unwrap()
}

#[test]
fn the_same_spec_gives_the_same_events() {
    assert!(network(3).events().eq(network(3).events()));
    assert!(!network(3).events().eq(network(4).events()));
}

#[test]
fn follows_come_first_and_are_those_of_the_graph() {
    let network = network(3);
    let edges: usize = (0..network.actors()).map(|actor| network.followees(actor).len()).sum();
    assert_eq!(network.events().count(), edges + 20_000);
    assert!(network.events().take(edges).all(|event| event.collection() == Some(FOLLOW)));
    let first = network.followees(0).first().map(|followee| network.did(*followee));
    let Some(Event { body: Body::Commit { record: Some(record), .. }, .. }) = network.events().next() else {
        panic!("no follow");
    };
    if let Some(first) = first {
        assert_eq!(record["subject"], first);
    }
    assert_eq!(network.traffic().count(), 20_000);
}

#[test]
fn a_stream_taken_step_by_step_is_the_same() {
    let network = network(7);
    let kept: Vec<Event> = network.events().collect();
    let mut stream = network.events();
    let graph: Vec<Event> = std::iter::from_fn(|| stream.next_of_graph()).collect();
    assert_eq!(stream.accounts_begun(), network.actors());
    let traffic: Vec<Event> = (0..20_000).map(|_| stream.next_of_traffic()).collect();
    assert!(kept.iter().eq(graph.iter().chain(&traffic)));
    // what isn't kept is computed: the follows of the stream are those that are asked for
    let subjects = graph.iter().map(|event| match &event.body {
        Body::Commit { record: Some(record), .. } => record["subject"].as_str().map(str::to_owned),
        _ => None,
    });
    let asked = (0..network.actors()).flat_map(|actor| network.followees(actor));
    assert!(subjects.eq(asked.map(|followee| Some(network.did(followee)))));
}

#[test]
fn a_live_stream_goes_with_the_clock() {
    let network = network(8);
    let mut stream = network.events();
    let start = network.spec().start_us;
    assert_eq!(stream.skip_to(start + 1_000_000), start + 1_000_000);
    stream.set_pace(10.0);
    let events: Vec<Event> = (0..1_000).map(|_| stream.next_of_traffic()).collect();
    let seconds = (events[999].time_us - start - 1_000_000) as f64 / 1e6;
    assert!((85.0..115.0).contains(&seconds), "1,000 events at 10 a second took {seconds} s");
    let before = events[999].time_us;
    assert!(stream.skip_to(start) >= before, "the clock never goes back");
    let post = stream.post_of(0);
    assert_eq!((post.did.as_str(), post.collection()), (network.did(0).as_str(), Some(POST)));
    assert!(post.time_us > before && post.time_us < before + 10);
    assert!(stream.next_of_traffic().time_us > post.time_us);
}

#[test]
fn times_revs_and_keys_hold() {
    let network = network(5);
    let mut last_time = 0;
    let mut revs: HashMap<String, String> = HashMap::new();
    let mut living: HashMap<(String, String), HashSet<String>> = HashMap::new();
    let mut inactive: HashSet<String> = HashSet::new();
    for event in network.events() {
        assert!(event.time_us > last_time);
        last_time = event.time_us;
        match event.body {
            Body::Commit { rev, operation, collection, rkey, record, cid } => {
                assert!(!inactive.contains(&event.did), "an inactive account writes");
                let before = revs.insert(event.did.clone(), rev.clone());
                assert!(before.is_none_or(|before| before < rev), "revs rise");
                let keys = living.entry((event.did, collection.clone())).or_default();
                match operation {
                    Operation::Create => assert!(keys.insert(rkey.clone()), "a key twice"),
                    Operation::Update => assert!(rkey == "self" || keys.contains(&rkey)),
                    Operation::Delete => assert!(keys.remove(&rkey), "a delete without a record"),
                }
                assert!(rkey == "self" || rkey.len() == 13);
                assert_eq!(record.is_some(), operation != Operation::Delete);
                assert_eq!(cid.is_some(), record.is_some());
                if let (Some(record), Some(cid)) = (record, cid) {
                    assert_eq!(record["$type"], collection.as_str());
                    assert!(cid.starts_with("bafyrei") && cid.len() == 59, "{cid}");
                    assert_eq!(record["createdAt"].as_str().unwrap().len(), 24);
                }
            }
            Body::Account { active: true, .. } => assert!(inactive.remove(&event.did)),
            Body::Account { active: false, .. } => assert!(inactive.insert(event.did)),
            Body::Identity { .. } | Body::Sync { .. } => {}
        }
    }
}

#[test]
fn the_mix_is_about_right() {
    let network = network(6);
    let mut counts: HashMap<String, u32> = HashMap::new();
    for event in network.traffic() {
        let name = match &event.body {
            Body::Commit { operation, collection, record, .. } => {
                let record = record.as_ref();
                if record.is_some_and(|record| record.get("reply").is_some()) {
                    *counts.entry("reply".to_owned()).or_default() += 1;
                }
                if record.is_some_and(|record| record.get("embed").is_some()) {
                    *counts.entry("quote".to_owned()).or_default() += 1;
                }
                format!("{} {collection}", operation.as_str())
            }
            _ => event.kind().to_owned(),
        };
        *counts.entry(name).or_default() += 1;
    }
    let between = |name: &str, range: std::ops::Range<u32>| {
        let count = counts.get(name).copied().unwrap_or(0);
        assert!(range.contains(&count), "{name}: {count}, {counts:?}");
    };
    between("create app.bsky.feed.post", 6_400..7_600);
    between("create app.bsky.feed.repost", 5_600..6_800);
    between("create app.bsky.graph.follow", 3_800..4_500);
    between("delete app.bsky.graph.follow", 1_200..1_900);
    between("delete app.bsky.feed.post", 200..450);
    between("delete app.bsky.feed.repost", 120..330);
    between("update app.bsky.feed.post", 20..100);
    between("update app.bsky.actor.profile", 20..100);
    between("account", 10..120);
    between("identity", 10..120);
    between("reply", 2_500..4_500);
    between("quote", 400..1_000);
}
