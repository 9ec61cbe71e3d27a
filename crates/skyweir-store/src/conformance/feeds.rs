//! Items and the feeds of their authors.

use std::cmp::Reverse;

use skyweir_types::{ActorId, Item, ItemId, ItemKind, Position, UriHash};

use super::Subject;
use super::kit::{cid, intern, post, rkey};
use crate::{FeedAsk, FeedEntry, NewItem, Shape, Store};

const A: ActorId = ActorId(1);

/// Feed entries of account 1 in order, its neighbours' feeds being full too: many equal times, CIDs and times before
/// 1970 among them.
async fn crowd(store: &dyn Store) -> Vec<FeedEntry> {
    intern(store, 3).await;
    let mut wanted = Vec::new();
    let mut txn = store.begin().await.unwrap();
    for n in 0..60u64 {
        for author in [ActorId(0), A, ActorId(2)] {
            let sort_at = [-62_000_000_000_000, -1, 0, 1, 1_700_000_000_000][n as usize % 5];
            let new = NewItem { cid: cid((n / 5 % 4) as u8), ..post(author, n * 7 % 61, sort_at) };
            let position = Position::new(sort_at, &new.cid, new.uri_hash);
            let item = txn.add_item(new).await.unwrap();
            if author == A {
                wanted.push(FeedEntry { position, item });
            }
        }
    }
    txn.commit().await.unwrap();
    wanted.sort_by_key(|entry| Reverse(entry.position));
    wanted
}

pub(super) async fn a_feed_is_in_order(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    let wanted = crowd(&*store).await;
    let view = store.view().await.unwrap();
    let ask = |after| FeedAsk { author: A, after };
    let found = view.feeds(&[ask(Position::TOP)], 1_000).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&wanted));
    // strictly after: also after a place where nothing stands
    let gap = Position { uri_hash: wanted[30].position.uri_hash + 1, ..wanted[30].position };
    let asks = [ask(wanted[29].position), ask(gap), ask(Position::above_ms(-2)), ask(wanted[59].position)];
    let found = view.feeds(&asks, 20).await.unwrap();
    assert_eq!(found, [&wanted[30..50], &wanted[30..50], &wanted[48..], &[]]);
    assert_eq!(found[2].len(), 12);
}

pub(super) async fn a_feed_comes_in_pages(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    let wanted = crowd(&*store).await;
    let view = store.view().await.unwrap();
    for n in [1, 7, 59, 60] {
        let mut found: Vec<FeedEntry> = Vec::new();
        loop {
            let after = found.last().map_or(Position::TOP, |entry| entry.position);
            // an author with nothing, and the same one twice: each has its own answer
            let nobody = FeedAsk { author: ActorId(9), after };
            let asks = [nobody, FeedAsk { author: A, after }, nobody, FeedAsk { author: A, after }];
            let pages = view.feeds(&asks, n).await.unwrap();
            assert_eq!((pages.len(), pages[0].len(), pages[2].len()), (4, 0, 0));
            assert_eq!(pages[1], pages[3]);
            found.extend_from_slice(&pages[1]);
            if pages[1].len() < n {
                break;
            }
        }
        assert_eq!(found, wanted, "pages of {n}");
    }
}

pub(super) async fn items_come_and_go(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 3).await;
    let mut txn = store.begin().await.unwrap();
    let kind =
        ItemKind::Repost { uri: "at://did:web:x.example/app.bsky.feed.post/1".into(), cid: "b".into() };
    let (one, two) = (post(A, 1, 5), NewItem { kind, ..post(A, 2, -5) });
    let ids = [txn.add_item(one.clone()).await.unwrap(), txn.add_item(two.clone()).await.unwrap()];
    assert!(ids[0] < ids[1]);
    txn.commit().await.unwrap();
    let stored = |id, new: NewItem| {
        let NewItem { author, rkey, cid, sort_at, uri_hash, kind } = new;
        Some(Item { id, author, rkey, cid, sort_at, uri_hash, kind })
    };
    let asked = [ids[1], ItemId(1 << 40), ids[0], ids[1]];
    let (one, two) = (stored(ids[0], one), stored(ids[1], two));
    let view = store.view().await.unwrap();
    assert_eq!(view.items(&asked).await.unwrap(), [two.clone(), None, one.clone(), two]);
    let mut txn = store.begin().await.unwrap();
    txn.remove_item(ids[1]).await.unwrap();
    txn.remove_item(ids[1]).await.unwrap();
    txn.remove_item(ItemId(1 << 40)).await.unwrap();
    txn.commit().await.unwrap();
    let view = store.view().await.unwrap();
    assert_eq!(view.items(&asked).await.unwrap(), [None, None, one, None]);
    let feed = view.feeds(&[FeedAsk { author: A, after: Position::TOP }], 9).await.unwrap().remove(0);
    assert_eq!(feed.iter().map(|entry| entry.item).collect::<Vec<_>>(), [ids[0]]);
}

pub(super) async fn a_new_version_may_take_the_old_ones_place(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 3).await;
    let mut txn = store.begin().await.unwrap();
    let old = txn.add_item(post(A, 1, 5)).await.unwrap();
    txn.commit().await.unwrap();
    let mut txn = store.begin().await.unwrap();
    let new = txn.add_item(post(A, 1, 5)).await.unwrap();
    txn.remove_item(old).await.unwrap();
    txn.commit().await.unwrap();
    let view = store.view().await.unwrap();
    let feed = view.feeds(&[FeedAsk { author: A, after: Position::TOP }], 9).await.unwrap().remove(0);
    assert_eq!(feed.iter().map(|entry| entry.item).collect::<Vec<_>>(), [new]);
    let items = view.items(&[old, new]).await.unwrap();
    assert!(items[0].is_none() && items[1].as_ref().is_some_and(|item| item.rkey == rkey(1)));
}

pub(super) async fn the_newest_is_known(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 3).await;
    for (n, (sort_at, least)) in [(-8, -8), (-9, -8), (40, 40), (7, 40)].into_iter().enumerate() {
        let mut txn = store.begin().await.unwrap();
        let new = NewItem { uri_hash: UriHash(n as u64), ..post(A, n as u64, sort_at) };
        txn.add_item(new).await.unwrap();
        txn.commit().await.unwrap();
        let infos = store.view().await.unwrap().accounts(&[A, ActorId(2), ActorId(99)]).await.unwrap();
        assert!(infos[0].newest >= least);
        assert_eq!((infos[1].newest, infos[2].newest), (i64::MIN, i64::MIN));
    }
}
