//! Writers share the tasks of a real Redis, if `SKYWEIR_TEST_REDIS` names one. Time is what the tests say: what has to
//! be idle is made so by a command.

mod consumers;
mod model;

use skyweir_store::{Counts, Sums, Task};
use skyweir_types::{ActorId, ItemId};

use self::model::{Dice, Model};
use super::*;
use crate::log::Log;

/// A log without a store, and what the store's row says of it.
struct World {
    config: Config,
    log: Log,
    row: Arc<Mutex<LogRow>>,
    consumers: u32,
}

fn on_redis(name: &str, test: impl AsyncFnOnce(World)) {
    let Ok(redis) = std::env::var("SKYWEIR_TEST_REDIS") else {
        let all = std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() != Ok("1");
        assert!(all, "SKYWEIR_TEST_REDIS names no server");
        println!("skipped: SKYWEIR_TEST_REDIS names no server");
        return;
    };
    // of one process: other checkouts have tests of the same names
    let keyspace = format!("skyweir_test_{name}_{}", std::process::id());
    let config = Config { redis, keyspace, request_timeout_ms: 20_000, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let keys = World::new(config.clone()).await.keys();
        let world = World::new(config.clone()).await;
        world.clear().await;
        test(World::new(config).await).await;
        let _: () = redis::cmd("DEL").arg(&keys).query_async(&mut world.connection().await).await.unwrap();
    });
}

fn task(n: u64) -> Task {
    Task::FanOut { item: ItemId(n) }
}

fn at(after: u32) -> Reached {
    let counts = Counts { written: u64::from(after), ..Counts::default() };
    Reached { after: ActorId(after), sums: Sums { pages: 1, followers: u64::from(after), counts } }
}

impl World {
    async fn new(config: Config) -> Self {
        let row = LogRow { kept: TaskId(1), lost_below: TaskId(0) };
        let log = Log::connect(&config, Arc::default(), Duration::ZERO, row).await.unwrap();
        Self { config, log, row: Arc::new(Mutex::new(row)), consumers: 0 }
    }

    fn keys(&self) -> [String; 2] {
        ["tasks", "pages"].map(|key| format!("{}:{key}", self.config.keyspace))
    }

    async fn connection(&self) -> ConnectionManager {
        redis_link::connect(&self.config, Duration::ZERO).await.unwrap()
    }

    async fn clear(&self) {
        let _: () =
            redis::cmd("DEL").arg(&self.keys()).query_async(&mut self.connection().await).await.unwrap();
    }

    async fn join(&mut self) -> Group {
        let row = Arc::clone(&self.row);
        let log_row = move || std::future::ready(Ok(*row.lock().unwrap())).boxed();
        self.consumers += 1;
        let name = format!("writer {}", self.consumers);
        Group::join_as(name, &self.config, Arc::default(), Box::new(log_row), TaskId(0)).await.unwrap()
    }

    /// As the indexer does: these are appended, those before them too if they are missing.
    async fn append(&self, upto: u64) {
        let kept = self.row.lock().unwrap().kept;
        let first = self.log.last().await.unwrap().next().max(kept);
        let tasks: Vec<_> = (first.0..=upto).map(task).collect();
        assert_eq!(self.log.append(first, &tasks, kept).await.unwrap(), None);
    }

    /// Redis has forgotten what was appended last, but not that it was handed out.
    async fn forget_above(&self, last: u64) {
        let mut connection = self.connection().await;
        let (key, end) = (&self.keys()[0], self.log.last().await.unwrap());
        for gone in last + 1..=end.0 {
            let _: u64 =
                redis::cmd("XDEL").arg(key).arg(id(TaskId(gone))).query_async(&mut connection).await.unwrap();
        }
        let _: () =
            redis::cmd("XSETID").arg(key).arg(id(TaskId(last))).query_async(&mut connection).await.unwrap();
    }
}

impl Group {
    /// Takes what there is now.
    async fn take_now(&self, n: usize) -> Vec<Taken> {
        loop {
            match self.step(n).await.unwrap() {
                Ok(taken) if taken.is_empty() => {}
                Ok(taken) => return taken,
                Err(_) => return Vec::new(),
            }
        }
    }

    /// The same, of what was left by others as well.
    async fn claim_now(&self, n: usize) -> Vec<Taken> {
        *self.next_claim() = Instant::now();
        self.take_now(n).await
    }

    /// A sign of life, and what is finished.
    async fn live(&self) {
        self.tell_finished().await.unwrap();
        let long_ago = Instant::now().checked_sub(self.claim).unwrap();
        self.tell_reached(&mut Told { renewed: long_ago, told: long_ago }).await.unwrap();
    }

    /// As if there had been no sign of life for a while.
    async fn age(&self) {
        let Consumer { connection, keys, name } = &self.consumer;
        let (mut connection, long) = (connection.clone(), self.claim.as_millis() as u64 + 1);
        let mut pending = redis::cmd("XPENDING");
        pending.arg(&keys.tasks).arg("writers").arg("-").arg("+").arg(10_000).arg(name);
        let pending: Vec<(String, String, u64, u64)> = pending.query_async(&mut connection).await.unwrap();
        for (task, ..) in pending {
            let mut claim = redis::cmd("XCLAIM");
            claim
                .arg(&keys.tasks)
                .arg("writers")
                .arg(name)
                .arg(0)
                .arg(task)
                .arg("IDLE")
                .arg(long)
                .arg("JUSTID");
            let _: Vec<String> = claim.query_async(&mut connection).await.unwrap();
        }
    }

    async fn done_now(&self) -> TaskId {
        self.look().await.unwrap();
        *self.done.borrow()
    }

    /// How many pages are noted.
    async fn pages(&self) -> u64 {
        let key = self.consumer.keys.tasks.replace(":tasks", ":pages");
        redis::cmd("HLEN").arg(key).query_async(&mut self.consumer.connection.clone()).await.unwrap()
    }
}

fn ids(taken: &[Taken]) -> Vec<u64> {
    taken.iter().map(|taken| taken.id.0).collect()
}

#[test]
fn two_share_the_tasks_and_none_comes_twice() {
    on_redis("share", async |mut world| {
        let (one, two) = (world.join().await, world.join().await);
        assert!(one.take_now(5).await.is_empty());
        world.append(10).await;
        assert_eq!(ids(&one.take(3).await.unwrap()), [1, 2, 3]);
        assert_eq!(ids(&two.take(3).await.unwrap()), [4, 5, 6]);
        assert_eq!(ids(&one.claim_now(9).await), [7, 8, 9, 10]);
        assert!(two.claim_now(9).await.is_empty(), "nothing is idle");
        assert_eq!((one.done_now().await, *one.next().borrow()), (TaskId(1), TaskId(11)));
        for n in [1, 3, 7, 8, 9, 10] {
            one.finish(TaskId(n));
        }
        one.live().await;
        assert_eq!(two.done_now().await, TaskId(2));
        one.finish(TaskId(2));
        one.live().await;
        assert_eq!(two.done_now().await, TaskId(4), "the other's aren't");
        (4..=6).for_each(|n| two.finish(TaskId(n)));
        two.live().await;
        assert_eq!(one.done_now().await, TaskId(11));
    });
}

#[test]
fn who_waits_gets_what_comes() {
    on_redis("wait", async |mut world| {
        let one = world.join().await;
        let (taken, ()) = futures::future::join(one.take(5), world.append(2)).await;
        assert!(!taken.unwrap().is_empty());
        // cut off while it waits it has taken nothing
        let mut rest = Box::pin(one.take(5));
        let cut_off = futures::future::select(&mut rest, Box::pin(tokio::task::yield_now())).await;
        drop(cut_off);
        drop(rest);
        world.append(3).await;
        let two = world.join().await;
        let taken = ids(&two.take(5).await.unwrap());
        assert!(taken.ends_with(&[3]), "{taken:?}");
    });
}

#[test]
fn who_gives_no_sign_of_life_loses_its_tasks_to_one_that_goes_on_behind_its_pages() {
    on_redis("claim", async |mut world| {
        let (one, two) = (world.join().await, world.join().await);
        world.append(2).await;
        assert_eq!(ids(&one.take(5).await.unwrap()), [1, 2]);
        one.reached(TaskId(1), at(30));
        one.live().await;
        one.reached(TaskId(1), at(40));
        one.age().await;
        // renewed in time it stays
        one.live().await;
        assert!(two.claim_now(5).await.is_empty());
        one.age().await;
        one.reached(TaskId(1), at(50));
        let taken = two.claim_now(5).await;
        assert_eq!(ids(&taken), [1, 2]);
        assert_eq!(taken.iter().map(|taken| taken.reached).collect::<Vec<_>>(), [Some(at(40)), None]);
        two.reached(TaskId(1), at(60));
        two.live().await;
        // what the first one says and does is late
        one.finish(TaskId(2));
        assert!(one.is_ours(TaskId(1)));
        one.live().await;
        assert!(!one.is_ours(TaskId(1)));
        assert_eq!(two.done_now().await, TaskId(1));
        two.age().await;
        assert_eq!(one.claim_now(5).await[0].reached, Some(at(60)), "where the last one was");
        assert_eq!(one.pages().await, 1);
        (1..=2).for_each(|n| one.finish(TaskId(n)));
        one.live().await;
        assert_eq!((one.done_now().await, one.pages().await), (TaskId(3), 0));
    });
}

#[test]
fn what_is_given_back_is_taken_at_once() {
    on_redis("give_back", async |mut world| {
        let (one, two) = (world.join().await, world.join().await);
        world.append(3).await;
        assert_eq!(one.take_now(5).await.len(), 3);
        one.finish(TaskId(2));
        one.give_back().await.unwrap();
        assert_eq!(ids(&two.claim_now(5).await), [1, 3]);
        // and who is gone is forgotten at once
        assert!(!two.consumers().await.contains(&one.consumer.name));
    });
}

#[test]
fn a_redis_that_has_lost_all_hands_out_again_what_is_kept() {
    on_redis("lost_all", async |mut world| {
        let (one, two) = (world.join().await, world.join().await);
        world.append(9).await;
        assert_eq!(one.take_now(6).await.len(), 6);
        (1..=4).for_each(|n| one.finish(TaskId(n)));
        one.live().await;
        assert_eq!(two.done_now().await, TaskId(5));
        world.row.lock().unwrap().kept = TaskId(3);
        world.clear().await;
        one.finish(TaskId(5));
        one.live().await;
        world.append(10).await;
        let again = ids(&two.take_now(99).await);
        assert_eq!(again, (3..=10).collect::<Vec<_>>());
        assert_eq!(two.done_now().await, TaskId(5), "it doesn't fall, nor does it pass what isn't done");
        one.live().await;
        assert!(!one.is_ours(TaskId(6)));
        again.iter().for_each(|n| two.finish(TaskId(*n)));
        two.live().await;
        assert_eq!(two.done_now().await, TaskId(11));
    });
}

#[test]
fn tasks_that_are_lost_for_good_end_the_writer() {
    on_redis("lost", async |mut world| {
        let (one, two) = (world.join().await, world.join().await);
        world.append(9).await;
        one.take_now(3).await;
        world.clear().await;
        // as an indexer does that doesn't find them in its journal
        *world.row.lock().unwrap() = LogRow { kept: TaskId(1), lost_below: TaskId(7) };
        assert_eq!(world.log.append(TaskId(7), &[task(7)], TaskId(7)).await.unwrap(), None);
        assert!(two.take_now(9).await.len() == 1);
        let lost = two.look().await.unwrap_err();
        assert!(matches!(&lost, Error::Corrupt(why) if why.contains("below 7")), "{lost}");
        assert_eq!(*two.done.borrow(), TaskId(1));
        let ended = futures::future::select(Box::pin(one.run()), Box::pin(one.take(1))).await;
        assert!(matches!(ended, futures::future::Either::Left((Err(Error::Corrupt(_)), _))));
    });
}

#[test]
fn done_never_passes_what_is_not_finished() {
    on_redis("model", async |mut world| {
        for seed in 0..200 {
            world.clear().await;
            run_model(&mut world, seed).await;
        }
    });
}

async fn run_model(world: &mut World, seed: u64) {
    let (mut dice, mut model, mut last) = (Dice(seed), Model::default(), 0);
    let mut groups = vec![world.join().await, world.join().await, world.join().await];
    for step in 0..40 {
        let why = format!("seed {seed}, step {step}");
        let who = dice.below(groups.len());
        match dice.below(12) {
            0 | 1 => {
                last += 1 + dice.below(6) as u64;
                world.append(last).await;
            }
            2..=4 => model.take(who, &groups[who].claim_now(1 + dice.below(4)).await, &why),
            5..=7 => {
                let at_work = groups[who].held().news(true);
                if !at_work.is_empty() {
                    let task = at_work[dice.below(at_work.len())].0;
                    groups[who].reached(task, at(step));
                    groups[who].finish(task);
                    model.finished.insert(task);
                    if let Some(held) = model.held.get_mut(&who) {
                        held.remove(&task);
                    }
                }
            }
            8 => groups[who].live().await,
            9 => {
                // it hangs, or has died: then another one comes
                groups[who].age().await;
                model.held.remove(&who);
                if dice.below(2) == 0 {
                    groups[who] = world.join().await;
                }
            }
            10 => {
                groups[who].give_back().await.unwrap();
                groups[who] = world.join().await;
                model.held.remove(&who);
            }
            _ => {
                let gone = dice.below(4) as u64;
                world.forget_above(last.saturating_sub(gone)).await;
                // what was handed out is handed out again
                model.held.clear();
                if dice.below(2) == 0 {
                    // who claims what is gone takes it off the list of what is unacknowledged
                    groups[who].age().await;
                    model.take(who, &groups[who].claim_now(9).await, &why);
                    let done = groups[who].done_now().await;
                    assert!(done <= model.unfinished(last + 1), "{why}, forgotten: {done}");
                }
                world.append(last).await;
            }
        }
        let who = dice.below(groups.len());
        let done = groups[who].done_now().await;
        assert!(done <= model.unfinished(last + 1), "{why}: {done} is done");
    }
    // all that is left is done in the end
    for _ in 0..1_000 {
        for group in &groups {
            for taken in group.claim_now(9).await {
                group.finish(taken.id);
            }
            let at_work = group.held().news(true);
            at_work.iter().for_each(|(task, _)| group.finish(*task));
            group.live().await;
            group.age().await;
        }
        if groups[0].done_now().await.0 == last + 1 {
            assert_eq!(groups[0].pages().await, 0, "seed {seed}");
            return;
        }
    }
    panic!("seed {seed}: it stays at {}", groups[0].done_now().await);
}
