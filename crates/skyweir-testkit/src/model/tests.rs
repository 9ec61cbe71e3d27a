//! Each rule of the contract, by hand.

use skyweir_types::{
    AccountStatus, AcrossAccounts, Action, Body, Cid, Collection, Did, DrawKey, Event, Record, RecordKey,
    RecordOp, Tid,
};

use super::{Model, ModelHorizons, Without};

const HOUR: i64 = 3_600_000;

fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

fn cid(n: u8) -> Cid {
    Cid::from_digest([n; 32])
}

fn post_uri(name: &str, rkey: &str) -> String {
    format!("at://did:plc:{name}/app.bsky.feed.post/{rkey}")
}

/// A model and a clock that ticks a millisecond with each event; revs follow it.
struct Net {
    model: Model,
    ms: i64,
}

impl Net {
    fn new(across: AcrossAccounts) -> Self {
        let horizons = ModelHorizons { tombstones_ms: 48 * HOUR, sync_grace_ms: HOUR, keep_ms: None };
        Self { model: Model::new(across, horizons), ms: 1_000 }
    }

    fn rev(&self) -> Tid {
        Tid::from_parts(self.ms as u64, 0)
    }

    fn event(&mut self, name: &str, body: Body) {
        self.model.message(&[Event { did: did(name), time_us: self.ms * 1000, body }]);
        self.ms += 1;
    }

    fn op_at(&mut self, rev: Tid, name: &str, collection: Collection, rkey: &str, action: Action) {
        let rkey = RecordKey::parse(rkey).unwrap();
        self.event(name, Body::Record(RecordOp { rev, collection, rkey, action }));
    }

    fn post_at(&mut self, rev: Tid, name: &str, rkey: &str, created_at: i64, n: u8) {
        let record = Record::Post { created_at, is_reply: false, is_quote: false };
        self.op_at(rev, name, Collection::Post, rkey, Action::Put { cid: cid(n), record });
    }

    fn post(&mut self, name: &str, rkey: &str, created_at: i64, n: u8) {
        self.post_at(self.rev(), name, rkey, created_at, n);
    }

    fn repost_at(&mut self, rev: Tid, name: &str, rkey: &str, uri: &str, n: u8) {
        let record = Record::Repost { created_at: i64::MAX, uri: uri.to_owned(), cid: "claimed".to_owned() };
        self.op_at(rev, name, Collection::Repost, rkey, Action::Put { cid: cid(n), record });
    }

    fn repost(&mut self, name: &str, rkey: &str, uri: &str, n: u8) {
        self.repost_at(self.rev(), name, rkey, uri, n);
    }

    fn follow(&mut self, name: &str, rkey: &str, subject: &str) {
        let record = Record::Follow { subject: did(subject) };
        self.op_at(self.rev(), name, Collection::Follow, rkey, Action::Put { cid: cid(0), record });
    }

    fn delete(&mut self, name: &str, collection: Collection, rkey: &str) {
        self.op_at(self.rev(), name, collection, rkey, Action::Delete);
    }

    /// Keys of the own records of what `name` sees.
    fn sees(&self, name: &str) -> Vec<String> {
        let shown = self.model.timeline(&did(name), 1.0, &DrawKey::default(), Without::default());
        let key = |item: &super::Expected| item.own_uri().rsplit('/').next().unwrap().to_owned();
        shown.iter().map(key).collect()
    }
}

fn upstream() -> Net {
    Net::new(AcrossAccounts::Upstream)
}

#[test]
fn rule_1_a_follow_brings_the_past_and_an_unfollow_takes_it_away() {
    let mut net = upstream();
    net.post("ann", "a", 1, 1);
    net.post("eve", "own", 2, 2);
    assert_eq!(net.sees("eve"), ["own"]);
    net.follow("eve", "f", "ann");
    assert_eq!(net.sees("eve"), ["own", "a"]);
    assert!(net.sees("bob").is_empty(), "rule 10: an unknown actor sees nothing");
    net.delete("eve", Collection::Follow, "f");
    assert_eq!(net.sees("eve"), ["own"]);
}

#[test]
fn rules_3_and_4_nothing_is_merged_and_flags_are_the_posts() {
    let mut net = upstream();
    for name in ["ann", "bob"] {
        net.follow("eve", name, name);
        net.repost(name, &format!("r-{name}"), &post_uri("ann", "a"), 7);
    }
    let record = Record::Post { created_at: 5, is_reply: true, is_quote: true };
    let rev = net.rev();
    net.op_at(rev, "ann", Collection::Post, "a", Action::Put { cid: cid(1), record });
    assert_eq!(net.sees("eve"), ["r-bob", "r-ann", "a"]);
    let see = |without| net.model.timeline(&did("eve"), 1.0, &DrawKey::default(), without);
    let first = &see(Without::default())[0];
    assert_eq!((first.uri.as_str(), first.cid.as_str()), (&*post_uri("ann", "a"), &*cid(1).to_string()));
    assert_eq!((first.repost_cid.as_str(), first.is_reply), (&*cid(7).to_string(), true));
    // rule 22
    assert_eq!(see(Without { replies: true, ..Without::default() }).len(), 2);
    assert_eq!(see(Without { reposts: true, ..Without::default() }).len(), 1);
    assert_eq!(see(Without { quotes: true, ..Without::default() }).len(), 0);
}

#[test]
fn rule_6_a_posts_delete_takes_the_reposts_known_so_far() {
    let mut net = upstream();
    net.post("eve", "a", 1, 1);
    net.repost("eve", "before", &post_uri("eve", "a"), 2);
    net.delete("eve", Collection::Post, "a");
    assert!(net.sees("eve").is_empty());
    net.repost("eve", "after", &post_uri("eve", "a"), 3);
    net.repost("eve", "unknown", &post_uri("eve", "b"), 4);
    net.repost("eve", "no-post", "at://did:plc:eve/app.bsky.feed.generator/x", 5);
    assert_eq!(net.sees("eve"), ["no-post", "unknown", "after"]);
    let shown = net.model.timeline(&did("eve"), 1.0, &DrawKey::default(), Without::default());
    assert!(shown.iter().all(|item| item.cid == "claimed"));
    net.delete("eve", Collection::Repost, "unknown");
    assert_eq!(net.sees("eve"), ["no-post", "after"]);
}

#[test]
fn rule_6_where_order_slips_revs_decide() {
    let mut net = Net::new(AcrossAccounts::Slips);
    net.follow("eve", "f", "ann");
    let old = net.rev();
    net.ms += 1;
    net.post("ann", "a", 1, 1);
    net.delete("ann", Collection::Post, "a");
    net.repost_at(old, "eve", "late", &post_uri("ann", "a"), 2);
    assert!(net.sees("eve").is_empty());
    let new = Tid::from_parts(net.ms as u64 + 5, 0);
    net.repost_at(new, "eve", "early", &post_uri("ann", "a"), 3);
    net.delete("ann", Collection::Post, "a");
    assert_eq!(net.sees("eve"), ["early"]);
}

#[test]
fn rule_7_an_update_replaces() {
    let mut net = upstream();
    net.follow("eve", "f", "ann");
    net.post("ann", "a", 1, 1);
    net.post("ann", "b", 2, 2);
    net.repost("ann", "r", &post_uri("ann", "a"), 3);
    net.post("ann", "a", 3, 4);
    assert_eq!(net.sees("eve"), ["a", "b"]);
    net.repost("ann", "r", &post_uri("ann", "b"), 5);
    assert_eq!(net.sees("eve"), ["r", "a", "b"]);
    net.follow("eve", "f", "bob");
    assert!(net.sees("eve").is_empty());
    assert_eq!(net.model.follows(&did("eve")), [did("bob")].into());
}

#[test]
fn the_same_record_again_changes_nothing() {
    let mut net = upstream();
    net.post("eve", "a", i64::MAX, 1);
    let before = net.model.timeline(&did("eve"), 1.0, &DrawKey::default(), Without::default());
    net.post("eve", "a", i64::MAX, 1);
    let after = net.model.timeline(&did("eve"), 1.0, &DrawKey::default(), Without::default());
    assert_eq!(before, after);
    let replayed = Tid::from_parts(1_000, 0);
    net.post_at(replayed, "eve", "a", 7, 2);
    assert_eq!(net.model.timeline(&did("eve"), 1.0, &DrawKey::default(), Without::default()), after);
}

#[test]
fn rules_8_and_21_a_follow_lasts_as_long_as_one_of_its_records() {
    let mut net = upstream();
    net.post("ann", "a", 1, 1);
    for rkey in ["f1", "f2", "f3"] {
        net.follow("eve", rkey, "ann");
    }
    assert_eq!(net.model.follows(&did("eve")).len(), 1);
    net.delete("eve", Collection::Follow, "f1");
    net.delete("eve", Collection::Follow, "f3");
    assert_eq!((net.sees("eve"), net.model.followers(&did("ann")).len()), (vec!["a".to_owned()], 1));
    net.delete("eve", Collection::Follow, "f2");
    assert!(net.sees("eve").is_empty());
}

#[test]
fn rule_9_hiding_is_reversible_and_deletion_is_not() {
    let mut net = upstream();
    net.follow("eve", "f", "ann");
    net.follow("ann", "f", "eve");
    net.post("ann", "a", 1, 1);
    let old = net.rev();
    net.event("ann", Body::Account(AccountStatus::Hidden));
    assert!(net.sees("eve").is_empty());
    net.event("ann", Body::Account(AccountStatus::Active));
    assert_eq!(net.sees("eve"), ["a"]);
    net.post_at(old, "ann", "b", 2, 2);
    net.event("ann", Body::Account(AccountStatus::Deleted));
    net.event("ann", Body::Account(AccountStatus::Active));
    assert!(net.sees("eve").is_empty() && net.model.follows(&did("ann")).is_empty());
    net.post_at(old, "ann", "a", 3, 3);
    assert!(net.sees("eve").is_empty(), "a replay of what went with the account");
    net.post("ann", "c", 4, 4);
    assert_eq!(net.sees("eve"), ["c"]);
}

#[test]
fn rules_11_and_12_the_order() {
    let mut net = upstream();
    // a string's 2–7 stand below its letters, but base32 counts them above
    let (letters, digits) = (Cid::from_digest([0x00; 32]), Cid::from_digest([0x1f; 32]));
    assert!(letters.to_string() > digits.to_string());
    for (rkey, cid) in [("digits", digits), ("letters", letters)] {
        let record = Record::Post { created_at: -5, is_reply: false, is_quote: false };
        let rev = net.rev();
        net.op_at(rev, "eve", Collection::Post, rkey, Action::Put { cid, record });
    }
    net.post("eve", "future", i64::MAX, 1);
    net.post("eve", "later", i64::MAX, 2);
    assert_eq!(net.sees("eve"), ["later", "future", "letters", "digits"]);
}

#[test]
fn rule_19_following_oneself_changes_nothing() {
    let mut net = upstream();
    net.post("eve", "a", 1, 1);
    net.follow("eve", "f", "eve");
    assert_eq!(net.sees("eve"), ["a"]);
}

#[test]
fn rule_24_a_sample_never_takes_own_items_and_is_nested() {
    let mut net = upstream();
    net.follow("eve", "f", "ann");
    net.post("eve", "own", 1, 1);
    for n in 0..40 {
        net.post("ann", &format!("a{n}"), n, 2);
    }
    let see = |rate| net.model.timeline(&did("eve"), rate, &DrawKey::default(), Without::default());
    let (none, half, all) = (see(0.0), see(0.5), see(1.0));
    assert_eq!((none.len(), all.len()), (1, 41));
    assert!((8..32).contains(&half.len()) && see(0.6).len() >= half.len());
    assert!(half.iter().all(|item| see(0.6).contains(item)));
}

#[test]
fn a_resync_sweeps_what_does_not_come_again() {
    let mut net = Net::new(AcrossAccounts::Slips);
    net.post("eve", "a", 1, 1);
    net.post("eve", "b", 2, 2);
    net.follow("eve", "f", "ann");
    let rev = net.rev();
    net.event("eve", Body::Sync { rev, records_follow: true });
    net.post_at(rev, "eve", "b", 2, 2);
    assert_eq!(net.sees("eve"), ["b", "a"], "its end is not marked");
    net.post("eve", "c", 3, 3);
    assert_eq!(net.sees("eve"), ["c", "b"]);
    assert!(net.model.follows(&did("eve")).is_empty());
    // without a next rev the stream's clock ends it
    let rev = net.rev();
    net.event("eve", Body::Sync { rev, records_follow: true });
    net.ms += HOUR + 1;
    net.post("ann", "x", 1, 1);
    net.model.end_group();
    assert!(net.sees("eve").is_empty());
    // one without records sweeps nothing
    net.post("eve", "d", 4, 4);
    let rev = net.rev();
    net.event("eve", Body::Sync { rev, records_follow: false });
    net.post("eve", "e", 5, 5);
    assert_eq!(net.sees("eve"), ["e", "d"]);
}

#[test]
fn a_late_create_loses_for_as_long_as_its_delete_is_remembered() {
    let mut net = upstream();
    let rev = net.rev();
    net.ms += 1;
    net.delete("eve", Collection::Post, "a");
    net.post_at(rev, "eve", "a", 1, 1);
    assert!(net.sees("eve").is_empty());
    net.ms += 48 * HOUR + 1;
    net.post("eve", "b", 2, 2);
    net.model.end_group();
    net.post_at(rev, "eve", "a", 1, 1);
    assert_eq!(net.sees("eve"), ["b", "a"]);
}

#[test]
fn operations_of_one_message_share_its_rev() {
    let mut net = upstream();
    let rev = net.rev();
    let op = |n: u8| {
        let record = Record::Post { created_at: n.into(), is_reply: false, is_quote: false };
        let action = Action::Put { cid: cid(n), record };
        let rkey = RecordKey::parse("a").unwrap();
        let body = Body::Record(RecordOp { rev, collection: Collection::Post, rkey, action });
        Event { did: did("eve"), time_us: 1_000_000, body }
    };
    net.model.message(&[op(1), op(2)]);
    let shown = net.model.timeline(&did("eve"), 1.0, &DrawKey::default(), Without::default());
    assert_eq!(shown[0].cid, cid(2).to_string());
    net.model.message(&[op(1)]);
    assert_eq!(net.model.timeline(&did("eve"), 1.0, &DrawKey::default(), Without::default()), shown);
}
