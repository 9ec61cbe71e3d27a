//! Followers in blocks and rows beside a set: random follows and unfollows, as many as make blocks fold, split and
//! shrink, read back in pages of all sizes, after reopenings too.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use skyweir_embedded::{Config, EmbeddedStore, check};
use skyweir_store::{RecordBody, RecordRow, Store, View};
use skyweir_types::{ActorId, Collection, Did, RecordKey, RecordRef, Tid};

const AUTHORS: u32 = 3;

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(Config { data_dir: dir.to_owned(), cache_mb: 4, memtable_mb: 1, ..Config::default() })
        .unwrap()
}

/// Runs of neighbours that follow or unfollow an author within one transaction.
#[derive(Clone, Debug)]
struct Step {
    author: u32,
    first: u32,
    stride: u32,
    count: u32,
    add: bool,
    reopen: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (0..AUTHORS, AUTHORS..9_000u32, 1..9u32, 1..900u32, prop::bool::weighted(0.6), prop::bool::weighted(0.1))
        .prop_map(|(author, first, stride, count, add, reopen)| Step {
            author,
            first,
            stride,
            count,
            add,
            reopen,
        })
}

struct World {
    store: EmbeddedStore,
    followers: Vec<BTreeSet<ActorId>>,
}

impl World {
    async fn new(dir: &Path, accounts: u32) -> Self {
        let store = open(dir);
        let mut txn = store.begin().await.unwrap();
        for n in 0..accounts {
            txn.intern(&Did::parse(&format!("did:web:a{n}.example")).unwrap()).await.unwrap();
        }
        txn.commit().await.unwrap();
        Self { store, followers: vec![BTreeSet::new(); AUTHORS as usize] }
    }

    async fn apply(&mut self, step: &Step) {
        let (author, set) = (ActorId(step.author), &mut self.followers[step.author as usize]);
        // one moment for all that an account follows
        let tid = Tid::from_parts(1_700_000_000_000_000, step.author as u16);
        let rkey = RecordKey::parse(&tid.to_string()).unwrap();
        let mut txn = self.store.begin().await.unwrap();
        for n in 0..step.count {
            let follower = ActorId(step.first + n * step.stride);
            let record = RecordRef { actor: follower, collection: Collection::Follow, rkey: rkey.clone() };
            if step.add {
                let body = RecordBody::Follow { subject: author };
                txn.put_record(&record, RecordRow { rev: Tid(1), wiped: Tid::ZERO, body }).await.unwrap();
                assert_eq!(txn.add_follow(follower, author, &rkey).await.unwrap(), set.insert(follower));
            } else {
                assert_eq!(txn.remove_follow(follower, author, &rkey).await.unwrap(), set.remove(&follower));
                txn.remove_record(&record).await.unwrap();
            }
        }
        txn.commit().await.unwrap();
    }

    async fn compare(&self, page: usize) {
        let view = self.store.view().await.unwrap();
        for (author, set) in (0..).map(ActorId).zip(&self.followers) {
            assert_eq!(all(&*view, author, page).await, set.iter().copied().collect::<Vec<_>>());
            let info = view.accounts(&[author]).await.unwrap()[0];
            assert_eq!(info.followers as usize, set.len());
        }
    }
}

async fn all(view: &dyn View, author: ActorId, n: usize) -> Vec<ActorId> {
    let mut all = Vec::new();
    loop {
        let page = view.followers(author, all.last().copied(), n).await.unwrap();
        all.extend_from_slice(&page);
        if page.len() < n {
            return all;
        }
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn followers_are_a_set(steps in prop::collection::vec(step(), 1..20), page in 1..4_000usize) {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let mut world = World::new(dir.path(), 17_000).await;
            for step in &steps {
                let before = world.store.view().await.unwrap();
                let author = ActorId(step.author);
                let wanted: Vec<_> = world.followers[step.author as usize].iter().copied().collect();
                world.apply(step).await;
                // a view from before keeps its moment, whatever is folded
                assert_eq!(all(&*before, author, page).await, wanted);
                drop(before);
                if step.reopen {
                    let World { store, followers } = world;
                    drop(store);
                    world = World { store: open(dir.path()), followers };
                }
                world.compare(page.max(50)).await;
            }
            drop(world);
            let report = check(dir.path()).unwrap();
            assert!(report.is_sound(), "{report}");
        });
    }
}

/// More rows than one transaction folds, then more blocks: the rest is folded later, and nothing is lost meanwhile.
#[test]
fn what_is_too_much_for_one_transaction_is_folded_later() {
    run(async {
        const MANY: u32 = 140_000;
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::new(dir.path(), AUTHORS + MANY).await;
        let step = |first, stride, count, add| Step {
            author: 0,
            first: AUTHORS + first,
            stride,
            count,
            add,
            reopen: false,
        };
        for n in 0..5 {
            world.apply(&step(n * 28_000, 1, 28_000, true)).await;
            world.compare(10_000).await;
        }
        // spread over all blocks
        for n in 0..3 {
            world.apply(&step(n, 23, 6_000, n % 2 == 1)).await;
            world.compare(9_999).await;
        }
        world.apply(&step(0, 2, MANY / 2, false)).await;
        for n in 0..8 {
            world.apply(&step(n, 1, 1, true)).await;
        }
        world.compare(10_000).await;
        drop(world);
        let report = check(dir.path()).unwrap();
        assert!(report.is_sound(), "{report}");
    });
}
