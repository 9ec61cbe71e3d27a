//! Random writes and questions about records.

use skyweir_types::{AccountStatus, ActorId, Collection, ItemId, Position, RecordRef, TaskId, Tid};

use super::super::kit::{cid, did, place, post, rkey};
use super::{ACTORS, Random};
use crate::{
    AccountRow, FeedAsk, NewItem, RecordBody, RecordRow, Result, SavedCursor, Store, SyncMark, Task, Txn,
    View,
};

/// How many record keys there are of each account and collection.
const KEYS: u64 = 6;

/// One call of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Intern(u32),
    Account(ActorId, AccountRow),
    Record(RecordRef, RecordRow),
    RemoveRecord(RecordRef),
    Item {
        author: ActorId,
        n: u64,
        sort_at: i64,
    },
    RemoveItem(ItemId),
    Horizon(i64),
    /// Reads the items from this one on, and it alone.
    Items(ItemId),
    Link(RecordRef, RecordRef, bool),
    Follow(ActorId, ActorId, u64),
    Unfollow(ActorId, ActorId, u64),
    Append(Task),
    Cursor(u64),
    /// Reads what the transaction sees of an account.
    Read(ActorId, RecordRef),
}

fn key(random: &mut Random, collection: Collection) -> RecordRef {
    place(random.actor(), collection, random.below(KEYS))
}

fn any_key(random: &mut Random) -> RecordRef {
    let collection = Collection::ALL[random.below(3) as usize];
    key(random, collection)
}

fn row(random: &mut Random) -> RecordRow {
    let body = match random.below(4) {
        0 => RecordBody::Post { item: ItemId(random.below(99)), cid: cid(random.below(9) as u8) },
        1 => {
            let subject = random.one_in(2).then(|| any_key(random));
            let item = random.one_in(2).then(|| ItemId(random.below(99)));
            RecordBody::Repost { item, cid: cid(random.below(9) as u8), subject }
        }
        2 => RecordBody::Follow { subject: random.actor() },
        _ => RecordBody::Tombstone { at_ms: random.below(50) as i64 },
    };
    RecordRow { rev: Tid(random.below(99)), wiped: Tid(random.below(3)), body }
}

fn account(random: &mut Random) -> AccountRow {
    let status = [AccountStatus::Active, AccountStatus::Hidden, AccountStatus::Deleted];
    let mark = SyncMark { rev: Tid(random.below(9)), since_ms: random.below(9) as i64 };
    AccountRow {
        status: status[random.below(3) as usize],
        status_us: random.below(9) as i64,
        gone: Tid(random.below(3)),
        sync: random.one_in(2).then_some(mark),
    }
}

impl Write {
    pub(super) fn random(random: &mut Random) -> Self {
        match random.below(20) {
            0 => Self::Intern(random.below(30) as u32),
            1 => Self::Account(random.actor(), account(random)),
            2..5 => Self::Record(any_key(random), row(random)),
            5 => Self::RemoveRecord(any_key(random)),
            6..9 => {
                let (author, n) = (random.actor(), random.below(40));
                Self::Item { author, n, sort_at: random.below(7) as i64 - 3 }
            }
            9 => match random.below(8) {
                0 => Self::Horizon(random.below(6) as i64 - 4),
                1 | 2 => Self::Items(ItemId(random.below(60))),
                _ => Self::RemoveItem(ItemId(random.below(60))),
            },
            10 | 11 => {
                let (post, repost) = (key(random, Collection::Post), key(random, Collection::Repost));
                Self::Link(post, repost, !random.one_in(3))
            }
            12..15 => Self::Follow(random.actor(), random.actor(), random.below(3)),
            15 | 16 => Self::Unfollow(random.actor(), random.actor(), random.below(3)),
            17 => Self::Append(Task::Fill { viewer: random.actor(), author: random.actor() }),
            18 => Self::Cursor(random.next()),
            _ => Self::Read(random.actor(), any_key(random)),
        }
    }

    async fn run(&self, txn: &mut dyn Txn) -> Result<String> {
        Ok(match self.clone() {
            Self::Intern(n) => txn.intern(&did(n)).await?.to_string(),
            Self::Account(actor, row) => format!("{:?}", txn.set_account(actor, row).await?),
            Self::Record(key, row) => format!("{:?}", txn.put_record(&key, row).await?),
            Self::RemoveRecord(key) => format!("{:?}", txn.remove_record(&key).await?),
            Self::Item { author, n, sort_at } => {
                // the same place again now and then
                let new = NewItem { cid: cid((n % 3) as u8), ..post(author, n % 5, sort_at) };
                txn.add_item(new).await?.to_string()
            }
            Self::RemoveItem(item) => format!("{:?}", txn.remove_item(item).await?),
            Self::Horizon(sort_at) => format!("{:?}", txn.raise_horizon(sort_at).await?),
            Self::Items(id) => format!("{:?} {:?}", txn.item(id).await?, txn.items_from(id, 5).await?),
            Self::Link(post, repost, true) => format!("{:?}", txn.link_repost(&post, &repost).await?),
            Self::Link(post, repost, false) => format!("{:?}", txn.unlink_repost(&post, &repost).await?),
            Self::Follow(a, b, n) => txn.add_follow(a, b, &rkey(n)).await?.to_string(),
            Self::Unfollow(a, b, n) => txn.remove_follow(a, b, &rkey(n)).await?.to_string(),
            Self::Append(task) => txn.append(task).await?.to_string(),
            Self::Cursor(position) => {
                let cursor = SavedCursor { source: "s".into(), position, time_us: 1 };
                format!("{:?}", txn.set_cursor(cursor).await?)
            }
            Self::Read(actor, key) => read(txn, actor, &key).await?,
        })
    }
}

/// What a transaction sees; what has a free order is sorted.
async fn read(txn: &mut dyn Txn, actor: ActorId, key: &RecordRef) -> Result<String> {
    let mut records = Vec::new();
    loop {
        let after = records.last().map(|(key, _): &(RecordRef, _)| (key.collection, key.rkey.clone()));
        let page = txn.records_of(actor, after, 4).await?;
        records.extend_from_slice(&page);
        if page.len() < 4 {
            break;
        }
    }
    records.sort_by(|a, b| a.0.cmp(&b.0));
    let post = RecordRef { collection: Collection::Post, ..key.clone() };
    let mut reposts: Vec<RecordRef> = Vec::new();
    loop {
        let page = txn.reposts_of(&post, reposts.last(), 2).await?;
        reposts.extend_from_slice(&page);
        if page.len() < 2 {
            break;
        }
    }
    reposts.sort();
    let mut tombstones = txn.tombstones_before(25, 1_000).await?;
    tombstones.sort();
    let (account, record) = (txn.account(actor).await?, txn.record(key).await?);
    let wiped = (txn.is_wiped(key, Tid(1)).await?, txn.is_wiped(key, Tid(2)).await?);
    Ok(format!("{account:?} {record:?} {wiped:?} {records:?} {reposts:?} {tombstones:?}"))
}

/// Runs a transaction and says what it answered.
pub(super) async fn transact(store: &dyn Store, writes: &[Write], commit: bool) -> String {
    let mut txn = store.begin().await.unwrap();
    let mut said = Vec::new();
    for write in writes {
        said.push(format!("{write:?}: {}", write.run(&mut *txn).await.unwrap()));
    }
    if commit {
        txn.commit().await.unwrap();
    }
    format!("{said:#?} {:?}", *store.next_task().borrow())
}

/// Asks a view everything once.
pub(super) async fn look(view: &dyn View, random: &mut Random) -> String {
    let n = 1 + random.below(12) as usize;
    let (after, after_place) = (random.actor(), Position::above_ms(random.below(7) as i64 - 3));
    let mut said = String::new();
    let mut say = |what: &str, answer: String| said += &format!("{what}: {answer}\n");
    let actors: Vec<_> = (0..ACTORS).map(ActorId).collect();
    let pairs: Vec<_> = actors.iter().flat_map(|a| actors.iter().map(|b| (*a, *b))).collect();
    let ids: Vec<_> = (0..80).map(ItemId).collect();
    let keys: Vec<_> = (0..20).map(|_| any_key(random)).collect();
    let asks: Vec<_> = actors.iter().map(|author| FeedAsk { author: *author, after: after_place }).collect();
    say("dids", format!("{:?} {:?}", view.dids(&actors).await, view.actor(&did(after.0 * 3)).await));
    say("next", format!("{:?} {:?}", view.actor_count().await, view.next_task().await));
    let infos = view.accounts(&actors).await.unwrap();
    // a store may say a newest that is too great, never one that is too small
    let tops: Vec<_> =
        actors.iter().map(|author| FeedAsk { author: *author, after: Position::TOP }).collect();
    for (info, feed) in infos.iter().zip(view.feeds(&tops, 1).await.unwrap()) {
        assert!(
            feed.iter().all(|entry| entry.position.sort_at <= info.newest),
            "{info:?} is behind {feed:?}"
        );
    }
    let infos: Vec<_> = infos.iter().map(|info| (info.status, info.follows, info.followers)).collect();
    say("accounts", format!("{infos:?}"));
    say("items", format!("{:?} {:?}", view.horizon().await, view.items(&ids).await));
    say("records", format!("{:?}", view.records(&keys).await));
    say("feeds", format!("{:?}", view.feeds(&asks, n).await));
    say("edges", format!("{:?} {:?}", view.edges(&pairs).await, view.has_edges(&pairs).await));
    for actor in &actors {
        say("mark", format!("{:?}", view.sync_mark(*actor).await));
        say("follows", format!("{:?}", view.follows(*actor, Some(after), n).await));
        say("followers", format!("{:?}", view.followers(*actor, None, n).await));
    }
    let mut high = view.high_follows(n as u32 % 4, 1_000).await.unwrap();
    high.sort_unstable();
    let mut marks = view.sync_marks(1_000).await.unwrap();
    marks.sort_by_key(|(actor, _)| *actor);
    say("high", format!("{high:?} {marks:?}"));
    say("tasks", format!("{:?} {:?}", view.tasks(TaskId(random.below(40)), n).await, view.cursor().await));
    said
}
