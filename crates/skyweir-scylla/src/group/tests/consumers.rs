//! Which consumers the group knows: none is forgotten that has something, and none stays for ever.

use std::collections::HashMap;

use redis::FromRedisValue as _;

use super::*;

impl Group {
    /// The names of those that Redis knows.
    pub(super) async fn consumers(&self) -> Vec<String> {
        let Consumer { connection, keys, .. } = &self.consumer;
        let mut info = redis::cmd("XINFO");
        info.arg("CONSUMERS").arg(&keys.tasks).arg("writers");
        let found: Vec<HashMap<String, redis::Value>> =
            info.query_async(&mut connection.clone()).await.unwrap();
        let name = |consumer: &HashMap<String, redis::Value>| String::from_redis_value_ref(&consumer["name"]);
        found.iter().map(|consumer| name(consumer).unwrap()).collect()
    }
}

#[test]
fn a_consumer_is_forgotten_once_it_is_idle_and_has_nothing() {
    on_redis("forgotten", async |mut world| {
        // Redis counts how long a consumer is idle, and no command makes it longer
        world.config.claim_ms = 1;
        let (has_some, looks, gone) = (world.join().await, world.join().await, world.join().await);
        world.append(3).await;
        for (group, n) in [(&has_some, 1), (&looks, 2), (&gone, 3)] {
            // what the one before has is idle soon
            *group.next_claim() = Instant::now() + Duration::from_secs(600);
            assert_eq!(ids(&group.take_now(1).await), [n]);
        }
        for (group, n) in [(&looks, 2), (&gone, 3)] {
            group.finish(TaskId(n));
            group.tell_finished().await.unwrap();
        }
        assert_eq!(looks.consumers().await.len(), 3);
        // takes nothing, so nobody but who is gone loses anything
        let forgets = async {
            while looks.consumers().await.contains(&gone.consumer.name) {
                assert!(looks.claim_now(0).await.is_empty());
            }
        };
        tokio::time::timeout(Duration::from_secs(60), forgets).await.expect("it is forgotten");
        let known = looks.consumers().await;
        assert!(known.contains(&has_some.consumer.name) && known.contains(&looks.consumer.name), "{known:?}");
        assert_eq!(looks.done_now().await, TaskId(1), "what it has isn't done");
    });
}
