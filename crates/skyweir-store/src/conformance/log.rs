//! The task log and the upstream cursor.

use skyweir_types::{ActorId, ItemId, TaskId};

use super::Subject;
use crate::{SavedCursor, Shape, Store, Task};

fn task(n: u64) -> Task {
    let (viewer, author) = (ActorId(n as u32), ActorId(7));
    [Task::FanOut { item: ItemId(n) }, Task::Fill { viewer, author }, Task::Purge { viewer, author }]
        [n as usize % 3]
}

/// Appends the tasks of these numbers in one transaction.
async fn append(store: &dyn Store, numbers: std::ops::Range<u64>) {
    let mut txn = store.begin().await.unwrap();
    for n in numbers {
        assert_eq!(txn.append(task(n)).await.unwrap(), TaskId(n));
    }
    txn.commit().await.unwrap();
}

fn wanted(numbers: std::ops::Range<u64>) -> Vec<(TaskId, Task)> {
    numbers.map(|n| (TaskId(n), task(n))).collect()
}

pub(super) async fn tasks_are_numbered_in_order(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    let mut watch = store.next_task();
    assert_eq!(*watch.borrow_and_update(), TaskId(1));
    assert_eq!(store.view().await.unwrap().next_task().await.unwrap(), TaskId(1));
    let mut txn = store.begin().await.unwrap();
    txn.append(task(1)).await.unwrap();
    assert!(!watch.has_changed().unwrap());
    txn.commit().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), TaskId(2));
    append(&*store, 2..10).await;
    assert_eq!(*watch.borrow_and_update(), TaskId(10));
    let view = store.view().await.unwrap();
    assert_eq!(view.next_task().await.unwrap(), TaskId(10));
    assert_eq!(view.tasks(TaskId(0), 100).await.unwrap(), wanted(1..10));
    assert_eq!(view.tasks(TaskId(4), 3).await.unwrap(), wanted(4..7));
    assert_eq!(view.tasks(TaskId(0), usize::MAX).await.unwrap(), wanted(1..10));
    assert_eq!(view.tasks(TaskId(10), 3).await.unwrap(), []);
}

pub(super) async fn the_log_is_cut(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    append(&*store, 1..2_001).await;
    let before = store.view().await.unwrap();
    store.trim_tasks(TaskId(1_990)).await.unwrap();
    store.trim_tasks(TaskId(5)).await.unwrap();
    assert_eq!(store.view().await.unwrap().tasks(TaskId(0), 100).await.unwrap(), wanted(1_990..2_001));
    assert_eq!(before.tasks(TaskId(0), 3).await.unwrap(), wanted(1..4));
    // cut to its end, it goes on with the next number
    store.trim_tasks(TaskId(2_001)).await.unwrap();
    append(&*store, 2_001..2_003).await;
    assert_eq!(store.view().await.unwrap().tasks(TaskId(0), 100).await.unwrap(), wanted(2_001..2_003));
    drop((before, store));
    let store = subject.open(Shape::default()).await.store;
    assert_eq!(*store.next_task().borrow(), TaskId(2_003));
    store.trim_tasks(TaskId(2_003)).await.unwrap();
    drop(store);
    let store = subject.open(Shape::default()).await.store;
    append(&*store, 2_003..2_004).await;
    assert_eq!(store.view().await.unwrap().tasks(TaskId(0), 100).await.unwrap(), wanted(2_003..2_004));
}

pub(super) async fn a_cut_during_a_transaction_holds(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    append(&*store, 1..10).await;
    let mut txn = store.begin().await.unwrap();
    assert_eq!(txn.append(task(10)).await.unwrap(), TaskId(10));
    store.trim_tasks(TaskId(8)).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(store.view().await.unwrap().tasks(TaskId(0), 100).await.unwrap(), wanted(8..11));
}

pub(super) async fn the_cursor_is_the_last_one(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    assert_eq!(store.view().await.unwrap().cursor().await.unwrap(), None);
    for position in [9, 3, u64::MAX] {
        let cursor = SavedCursor { source: "wss://host.example/x".into(), position, time_us: -1 };
        let mut txn = store.begin().await.unwrap();
        txn.set_cursor(SavedCursor { position: 77, ..cursor.clone() }).await.unwrap();
        txn.set_cursor(cursor.clone()).await.unwrap();
        txn.commit().await.unwrap();
        append(&*store, 0..0).await;
        assert_eq!(store.view().await.unwrap().cursor().await.unwrap(), Some(cursor));
    }
}

pub(super) async fn wholeness_goes_with_its_transaction(subject: &dyn Subject) {
    let mut store = subject.open(Shape::default()).await.store;
    let whole = async |store: &dyn Store| store.view().await.unwrap().is_whole().await.unwrap();
    assert!(!whole(&*store).await, "nobody has said so");
    for (position, is_whole) in [(1, true), (2, false), (3, true), (4, true), (5, false)] {
        let cursor = SavedCursor { source: "file:x".into(), position, time_us: 1 };
        let (known, before) = (whole(&*store).await, store.view().await.unwrap());
        let mut dropped = store.begin().await.unwrap();
        dropped.set_whole(is_whole).await.unwrap();
        drop(dropped);
        assert_eq!(whole(&*store).await, known);
        let mut txn = store.begin().await.unwrap();
        txn.set_whole(!is_whole).await.unwrap();
        txn.set_whole(is_whole).await.unwrap();
        txn.set_cursor(cursor.clone()).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!(before.is_whole().await.unwrap(), known, "a view keeps its moment");
        // a transaction that doesn't speak of it leaves it as it is
        append(&*store, position..position + 1).await;
        drop((before, store));
        store = subject.open(Shape::default()).await.store;
        let after = store.view().await.unwrap();
        assert_eq!(
            (after.is_whole().await.unwrap(), after.cursor().await.unwrap()),
            (is_whole, Some(cursor))
        );
    }
}
