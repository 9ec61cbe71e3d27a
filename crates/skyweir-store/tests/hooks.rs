//! The fault hooks: what they hit is counted, what they refuse isn't done, what they lose is.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

use std::sync::Arc;
use std::time::Duration;

use skyweir_store::{
    Ask, Delivery, Enrolment, Error, Fault, Hook, HookedStore, HookedTimelines, MemoryStore, MemoryTimelines,
    Operation, Shape, Store, Task, Timelines,
};
use skyweir_types::{ActorId, DidHash, ItemId, Reference, TaskId, UriHash};
use tokio::sync::Semaphore;
use tokio::time::Instant;

const TASK: Task = Task::FanOut { item: ItemId(1) };

fn delivery(item: u64) -> Delivery {
    let reference = Reference { item: ItemId(item), sort_at: 5, uri_hash: UriHash(item), author: ActorId(9) };
    Delivery { reference, viewers: vec![ActorId(0)].into() }
}

async fn timelines(hook: Arc<dyn Hook>) -> (MemoryTimelines, HookedTimelines) {
    let inner = MemoryTimelines::new(&MemoryStore::new(), Shape::default());
    let enrolment = Enrolment { did_hash: DidHash(1), rate: 1.0, now_us: 1 };
    let generation = inner.begin(ActorId(0), enrolment).await.unwrap();
    inner.publish(ActorId(0), generation, &[], i64::MIN, 1).await.unwrap();
    (inner.clone(), HookedTimelines::new(Arc::new(inner), hook))
}

async fn held(timelines: &dyn Timelines) -> usize {
    timelines.read(ActorId(0), i64::MAX, 9).await.unwrap().entries.len()
}

#[tokio::test]
async fn a_commit_is_refused_or_its_answer_lost() {
    let store = MemoryStore::new();
    let append = async |store: &dyn Store| {
        let mut txn = store.begin().await.unwrap();
        txn.append(TASK).await.unwrap();
        txn.commit().await
    };
    let is_commit = |operation: &Operation<'_>| matches!(operation, Operation::Commit);
    for (fault, stored) in [(Fault::refuse(is_commit), 1), (Fault::lose_answer(is_commit), 2)] {
        let fault = Arc::new(fault.times(1));
        let hooked = HookedStore::new(Arc::new(store.clone()), fault.clone());
        let before = *store.next_task().borrow();
        assert!(matches!(append(&hooked).await, Err(Error::Unavailable(_))));
        append(&hooked).await.unwrap();
        assert_eq!((*hooked.next_task().borrow(), fault.fired()), (TaskId(before.0 + stored), 1));
    }
}

#[tokio::test]
async fn one_question_fails_and_the_others_do_not() {
    let fault = Arc::new(Fault::refuse(|operation| matches!(operation, Operation::Ask(Ask::Followers))));
    let hooked = HookedStore::new(Arc::new(MemoryStore::new()), fault.clone());
    let view = hooked.view().await.unwrap();
    view.followers(ActorId(0), None, 1).await.unwrap_err();
    assert_eq!(view.follows(ActorId(0), None, 1).await.unwrap(), []);
    assert_eq!(fault.fired(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_shard_is_slow() {
    let slow = |operation: &Operation<'_>| matches!(operation, Operation::Apply { shard: 0, .. });
    let fault = Arc::new(Fault::delay(Duration::from_millis(50), slow));
    let (inner, hooked) = timelines(fault.clone()).await;
    let begun = Instant::now();
    hooked.apply(1, &[]).await.unwrap();
    assert_eq!((begun.elapsed(), fault.fired()), (Duration::ZERO, 0));
    hooked.apply(0, &[delivery(1)]).await.unwrap();
    assert_eq!((begun.elapsed(), fault.fired(), held(&inner).await), (Duration::from_millis(50), 1, 1));
}

#[tokio::test]
async fn a_held_write_waits_for_its_ticket() {
    let tickets = Arc::new(Semaphore::new(0));
    let is_apply = |operation: &Operation<'_>| matches!(operation, Operation::Apply { .. });
    let fault = Arc::new(Fault::hold(tickets.clone(), is_apply));
    let (inner, hooked) = timelines(fault.clone()).await;
    let deliveries = [delivery(1)];
    let write = hooked.apply(0, &deliveries);
    tokio::pin!(write);
    let stuck = tokio::select! { biased; _ = &mut write => false, () = tokio::task::yield_now() => true };
    assert_eq!((stuck, fault.fired(), held(&inner).await), (true, 1, 0));
    tickets.add_permits(1);
    write.await.unwrap();
    assert_eq!((held(&inner).await, tickets.available_permits()), (1, 0));
    tickets.close();
    hooked.apply(0, &[delivery(2)]).await.unwrap_err();
    assert_eq!(held(&inner).await, 1);
}
