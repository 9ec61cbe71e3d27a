//! Several writers over one keyspace: what one changes of a timeline the others know in time, whatever is lost.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

#[path = "../common/mod.rs"]
mod common;
mod dead;
mod random;
mod server;
mod spread;
mod versions;
mod wishes;
mod world;

use std::time::Duration;

use skyweir_scylla::{Rows, RowsConfig};
use skyweir_store::{CachedState, IdleRule, TimelineReads as _, Timelines as _};
use skyweir_types::{ActorId, Clock, DrawKey, TaskId};

use crate::server::OwnRedis;
use crate::world::{
    V, apply, at_servers, begin, held, keeping_up, open, open_with, quiet, reference, retained, state,
    tell_unreadable,
};

const START_US: i64 = 1_800_000_000_000_000;
const W: ActorId = ActorId(9);

#[test]
fn what_one_enrols_the_others_write_to() {
    at_servers(async |servers| {
        let (one, other) = (open(servers, &quiet()).await, open(servers, &quiet()).await);
        let generation = begin(&one, V, 1_000).await;
        assert_eq!(retained(&one), [V]);
        assert_eq!(retained(&other), [], "nobody has told it yet");
        other.refresh().await.unwrap();
        assert_eq!(retained(&other), [V]);
        assert_eq!(apply(&other, V, reference(7)).await.written, 1);
        assert_eq!(state(&other, V).await, CachedState::Filling(generation));
        assert!(one.publish(V, generation, &[reference(5)], 2, 11).await.unwrap());
        other.refresh().await.unwrap();
        for rows in [&one, &other] {
            let (info, times) = held(rows, V).await;
            assert_eq!((info.generation, info.floor, info.since_ms, info.len), (generation, 2, 11, 2));
            assert_eq!(times, [7, 5]);
        }
        other.lower_rate(V, 0.5).await.unwrap();
        one.refresh().await.unwrap();
        // asked for nothing, it tells what it knows
        let CachedState::In(info) = one.read(V, i64::MIN, 0).await.unwrap().state else { panic!("it is in") };
        assert_eq!(info.rate, 0.5);
        assert!(other.leave(V, generation).await.unwrap());
        assert_eq!(apply(&one, V, reference(8)).await.written, 1, "harmless: it is never shown");
        // it learns so when it wants the same
        assert!(!one.leave(V, generation).await.unwrap());
        assert_eq!((retained(&one), apply(&one, V, reference(9)).await.hibernating), (vec![], 1));
        let generation = begin(&other, V, 1).await;
        one.refresh().await.unwrap();
        assert!(!one.publish(W, generation, &[], i64::MIN, 12).await.unwrap());
        assert!(other.publish(V, generation, &[], i64::MIN, 12).await.unwrap());
        assert_eq!(held(&other, V).await.1, [] as [i64; 0]);
    });
}

#[test]
fn a_floor_that_another_raises_counts_at_the_publication() {
    at_servers(async |servers| {
        let (one, other) = (open(servers, &quiet()).await, open(servers, &quiet()).await);
        let generation = begin(&one, V, 1_000).await;
        other.refresh().await.unwrap();
        other.fill(V, &[reference(8)], 6).await.unwrap();
        // nothing answers by a floor alone
        let late = open_with(servers, &quiet(), DrawKey::default(), &Clock::manual(1_000)).await;
        assert_eq!(state(&late, V).await, CachedState::Filling(generation));
        let found = [9, 7, 6, 2].map(reference);
        assert!(one.publish(V, generation, &found, i64::MIN, 1).await.unwrap());
        late.refresh().await.unwrap();
        for rows in [&one, &late, &open(servers, &quiet()).await] {
            let (info, times) = held(rows, V).await;
            assert_eq!((times, info.floor), (vec![9, 8, 7], 6));
        }
    });
}

/// Redis is started again as it was before its last news; the next one gets the number of one that was lost.
#[test]
fn what_redis_has_lost_is_found_in_the_cluster() {
    at_servers(async |servers| {
        let Some(mut redis) = OwnRedis::start() else { return };
        servers.config.redis = redis.url();
        let (one, other) = (open(servers, &quiet()).await, open(servers, &quiet()).await);
        let generation = begin(&one, V, 1_000).await;
        assert!(one.publish(V, generation, &[], i64::MIN, 1).await.unwrap());
        let kept = begin(&one, W, 1_000).await;
        assert!(one.publish(W, kept, &[reference(3)], i64::MIN, 1).await.unwrap());
        other.refresh().await.unwrap();
        redis.save();
        assert!(one.leave(V, generation).await.unwrap());
        begin(&one, ActorId(2), Clock::system().now_micros()).await;
        redis.kill();
        redis.start_again();
        for rows in [&one, &other] {
            // the connection has to come back first
            while rows.refresh().await.is_err() {}
        }
        begin(&one, ActorId(3), Clock::system().now_micros()).await;
        for rows in [&one, &other] {
            rows.refresh().await.unwrap();
            assert_eq!(retained(rows), [ActorId(2), ActorId(3), W]);
            assert_eq!(held(rows, W).await.1, [3]);
        }
    });
}

#[test]
fn who_is_behind_what_redis_keeps_finds_it_in_the_cluster() {
    at_servers(async |servers| {
        let stream = format!("{}:news", servers.config.keyspace);
        let config = RowsConfig { news_most: 10, ..quiet() };
        let (one, other) = (open(servers, &config).await, open(servers, &config).await);
        let clock = Clock::system();
        for viewer in (0..5).map(ActorId) {
            begin(&one, viewer, clock.now_micros()).await;
        }
        assert_eq!(servers.redis("XTRIM", &[&stream, "MAXLEN", "1"]).await, redis::Value::Int(4));
        other.refresh().await.unwrap();
        assert_eq!(retained(&other).len(), 5);
        // what can't be read is as good as missing
        let last = begin(&one, W, clock.now_micros()).await;
        tell_unreadable(servers).await;
        other.refresh().await.unwrap();
        assert_eq!((retained(&other).len(), state(&other, W).await), (6, CachedState::Filling(last)));
        // and it is bounded, by whole nodes of a hundred
        assert!(one.publish(W, last, &[], i64::MIN, 1).await.unwrap());
        for n in 1..300_u16 {
            one.lower_rate(W, 1.0 - f32::from(n) / 1_000.0).await.unwrap();
        }
        let redis::Value::Int(len) = servers.redis("XLEN", &[&stream]).await else { panic!("a number") };
        assert!((10..=120).contains(&len), "{len}");
    });
}

#[test]
fn what_a_dead_writer_filled_leaves_and_what_a_living_one_fills_does_not() {
    at_servers(async |servers| {
        let clock = Clock::manual(START_US);
        let dead = open_with(servers, &quiet(), DrawKey::default(), &clock).await;
        let generation = begin(&dead, V, clock.now_micros()).await;
        clock.advance_ms(600);
        let config = RowsConfig { filling_ms: 1_000, ..keeping_up() };
        let living = open_with(servers, &config, DrawKey::default(), &clock).await;
        let other = open_with(servers, &config, DrawKey::default(), &clock).await;
        let fresh = begin(&living, W, clock.now_micros()).await;
        other.refresh().await.unwrap();
        assert_eq!(state(&other, V).await, CachedState::Filling(generation), "somebody may be at it");
        assert_eq!(apply(&other, V, reference(1)).await.written, 1);
        clock.advance_ms(400);
        until(async || {
            state(&other, V).await == CachedState::Out && state(&living, V).await == CachedState::Out
        })
        .await;
        assert_eq!(state(&other, W).await, CachedState::Filling(fresh));
        assert!(living.publish(W, fresh, &[reference(2)], i64::MIN, 1).await.unwrap());
        // it only was slow
        assert!(!dead.publish(V, generation, &[reference(3)], i64::MIN, 1).await.unwrap());
        clock.advance_ms(2_000);
        let late = open_with(servers, &config, DrawKey::default(), &clock).await;
        assert_eq!((retained(&late), held(&late, W).await.1), (vec![W], vec![2]));
    });
}

/// Dead between the rows of a publication and its news.
#[test]
fn what_was_published_without_a_word_is_found() {
    at_servers(async |servers| {
        let stream = format!("{}:news", servers.config.keyspace);
        let clock = Clock::manual(START_US);
        let config = RowsConfig { filling_ms: 1_000, ..keeping_up() };
        let dead = open_with(servers, &quiet(), DrawKey::default(), &clock).await;
        let generation = begin(&dead, V, clock.now_micros()).await;
        let other = open_with(servers, &config, DrawKey::default(), &clock).await;
        let text = format!(
            "UPDATE {}.enrolled SET state = 1 WHERE viewer = {} IF EXISTS",
            servers.config.keyspace, V
        );
        servers.session().await.query_unpaged(text, ()).await.unwrap();
        let text = format!(
            "UPDATE {}.timeline USING TIMESTAMP {generation} SET floor = 0x8000000000000004, rate = 0xc07fffff, \
             generation = {generation}, published_at = 12 WHERE viewer = {V}",
            servers.config.keyspace
        );
        servers.session().await.query_unpaged(text, ()).await.unwrap();
        assert_eq!(state(&other, V).await, CachedState::Filling(generation));
        clock.advance_ms(1_000);
        until(async || matches!(state(&other, V).await, CachedState::In(_))).await;
        let (info, _) = held(&other, V).await;
        assert_eq!((info.generation, info.floor, info.rate, info.since_ms), (generation, 4, 1.0, 12));
        assert_eq!(servers.redis("XLEN", &[&stream]).await, redis::Value::Int(2));
    });
}

#[test]
fn with_another_key_of_the_draw_those_of_living_writers_leave_too() {
    at_servers(async |servers| {
        let one = open(servers, &quiet()).await;
        for viewer in [V, W] {
            let generation = begin(&one, viewer, Clock::system().now_micros()).await;
            assert!(viewer == W || one.publish(viewer, generation, &[], i64::MIN, 1).await.unwrap());
        }
        let other = open_with(servers, &quiet(), DrawKey::new(5), &Clock::system()).await;
        one.refresh().await.unwrap();
        assert_eq!((retained(&one), retained(&other)), (vec![], vec![]));
        assert_eq!(other.restored(), TaskId(1));
    });
}

#[test]
fn reads_are_told() {
    at_servers(async |servers| {
        let (one, other) = (open(servers, &keeping_up()).await, open(servers, &keeping_up()).await);
        let generation = begin(&one, V, 5_000_000).await;
        assert!(one.publish(V, generation, &[], i64::MIN, 1).await.unwrap());
        other.refresh().await.unwrap();
        let idle = async |rows: &Rows| {
            let rule = IdleRule { read_before_ms: 100_000, once_before_ms: 0 };
            rows.idle(rule, 9).await.unwrap().len()
        };
        assert_eq!((idle(&one).await, idle(&other).await), (1, 1));
        one.touch(W, 200_000);
        one.touch(V, 200_000);
        until(async || idle(&other).await == 0).await;
        assert_eq!(retained(&other), [V], "nobody is enrolled by that");
    });
}

/// Asks until it holds; a writer's own pace brings it about.
pub(crate) async fn until(holds: impl AsyncFn() -> bool) {
    let asked = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it comes about");
}
