//! What must and what may be shown, state by state.

use super::*;
use crate::time;
use serde_json::json;

const VIEWER: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const AUTHOR: &str = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
const OTHER: &str = "did:plc:cccccccccccccccccccccccc";
const POST: &str = names::POST;
const REPOST: &str = names::REPOST;
const START: u64 = 1_767_225_600_000_000;

/// A world in which things happen a second apart.
struct Story {
    world: World,
    now: u64,
}

impl Story {
    fn new() -> Self {
        Self { world: World::new(Account::of(VIEWER)), now: START }
    }

    fn tell(&mut self, event: impl FnOnce(u64) -> Event) {
        self.now += 1_000_000;
        let event = event(self.now);
        self.world.note(&event);
    }

    fn follow(&mut self, key: u64, whom: &str) {
        let record = json!({"subject": whom});
        self.tell(|at| Event::create(VIEWER, at, FOLLOW, &time::tid(key, 0), record));
    }

    fn unfollow(&mut self, key: u64) {
        self.tell(|at| Event::delete(VIEWER, at, FOLLOW, &time::tid(key, 0)));
    }

    fn post(&mut self, who: &str, key: u64) {
        self.tell(|at| {
            let record = json!({"createdAt": time::rfc3339_millis(at), "text": key.to_string()});
            Event::create(who, at, POST, &time::tid(key, 0), record)
        });
    }

    fn repost(&mut self, who: &str, key: u64, of: &str) {
        let record = json!({"createdAt": "2020-01-01T00:00:00.000Z", "subject": {"uri": of}});
        self.tell(|at| Event::create(who, at, REPOST, &time::tid(key, 0), record));
    }

    /// Keys of what must be shown in all states from `first` on.
    fn must(&self, first: u64) -> Vec<u64> {
        let states = States { first, last: self.world.newest() };
        let viewer = Account::of(VIEWER).unwrap();
        let mut keys: Vec<u64> = self
            .world
            .must_show(viewer, states, None, None, false)
            .iter()
            .map(|item| item.record.key >> 10)
            .collect();
        keys.sort_unstable();
        keys
    }

    /// Why the newest version of a record may not be shown in any state from `first` on.
    fn refused(&self, who: &str, collection: &str, key: u64, first: u64) -> Option<&'static str> {
        let record = Record::new(Account::of(who).unwrap(), collection, &time::tid(key, 0)).unwrap();
        let states = States { first, last: self.world.newest() };
        let item = self.world.items.newest(record).unwrap();
        self.world.may_show(Account::of(VIEWER).unwrap(), item, states).err()
    }
}

#[test]
fn items_come_and_go_with_their_edge() {
    let mut story = Story::new();
    story.post(AUTHOR, 1);
    story.post(VIEWER, 2);
    assert_eq!(story.must(2), [2], "own items are always there");
    story.follow(10, AUTHOR);
    story.follow(11, AUTHOR);
    assert_eq!(story.must(4), [1, 2]);
    assert_eq!(story.must(2), [2], "the follow may not be applied yet");
    story.unfollow(10);
    assert_eq!(story.must(5), [1, 2], "a record is left");
    story.unfollow(11);
    assert_eq!(story.must(6), [2]);
    assert_eq!(story.refused(AUTHOR, POST, 1, 5), None, "the unfollow may not be applied yet");
    assert_eq!(story.refused(AUTHOR, POST, 1, 6), Some("its author is not followed"));
}

#[test]
fn a_posts_end_takes_its_reposts() {
    let mut story = Story::new();
    story.follow(10, OTHER);
    story.post(AUTHOR, 1);
    story.repost(OTHER, 2, &format!("at://{AUTHOR}/{POST}/{}", time::tid(1, 0)));
    assert_eq!(story.must(3), [2]);
    story.tell(|at| Event::delete(AUTHOR, at, POST, &time::tid(1, 0)));
    assert_eq!(story.must(4), [0_u64; 0]);
    assert_eq!(story.refused(OTHER, REPOST, 2, 3), None);
    assert_eq!(story.refused(OTHER, REPOST, 2, 4), Some("it was deleted or replaced before"));
    story.repost(OTHER, 3, &format!("at://{AUTHOR}/{POST}/{}", time::tid(1, 0)));
    assert_eq!(story.must(5), [3], "of a post that is gone already it is an item all the same");
}

#[test]
fn inactive_accounts_are_hidden_and_back() {
    let mut story = Story::new();
    story.follow(10, AUTHOR);
    story.post(AUTHOR, 1);
    story.tell(|at| Event::account(AUTHOR, at, false, Some("deactivated")));
    assert_eq!(story.must(3), [0_u64; 0]);
    assert_eq!(story.refused(AUTHOR, POST, 1, 3), Some("its author is inactive"));
    assert_eq!(story.refused(AUTHOR, POST, 1, 2), None);
    story.tell(|at| Event::account(AUTHOR, at, true, None));
    assert_eq!(story.must(4), [1]);
    assert_eq!(story.must(3), [0_u64; 0]);
}

#[test]
fn an_update_is_a_new_version_in_a_new_place() {
    let mut story = Story::new();
    story.post(VIEWER, 1);
    let viewer = Account::of(VIEWER).unwrap();
    let before = story.world.items.between(viewer, None, None).next().unwrap().place;
    story.tell(|at| {
        let record = json!({"createdAt": time::rfc3339_millis(at), "text": "new"});
        Event::update(VIEWER, at, POST, &time::tid(1, 0), record)
    });
    let states = States { first: 2, last: 2 };
    let shown = story.world.must_show(viewer, states, None, None, false);
    assert_eq!(shown.len(), 1);
    assert!(shown[0].place > before);
    let below = story.world.must_show(viewer, states, Some(shown[0].place), None, false);
    assert!(below.is_empty(), "a range leaves out its upper end");
    let from = story.world.must_show(viewer, states, None, Some(shown[0].place), false);
    assert_eq!(from.len(), 1, "and has its lower one");
}

#[test]
fn states_are_found_by_their_time() {
    let mut story = Story::new();
    (1..=3).for_each(|key| story.post(AUTHOR, key));
    let world = &mut story.world;
    assert_eq!(world.witnessed_by(START as f64), None);
    assert_eq!(world.witnessed_by((START + 2_500_000) as f64), Some(2));
    assert_eq!(world.witnessed_by((START + 2_500_000) as f64), None, "no news");
    assert_eq!(world.witnessed_by((START + 3_000_000) as f64), Some(3));
}
