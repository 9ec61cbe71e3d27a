//! What needs no look-up, because no record of the account goes so far: most that come are the newest of theirs.

use skyweir_store::{RecordRow, Result};
use skyweir_types::{RecordRef, Tid};

use super::EmbeddedTxn;
use crate::codec::rkey_tid;

impl EmbeddedTxn {
    /// Whether there may be a record under this key; false when none was ever put under it or a later one.
    pub(super) fn may_be_there(&mut self, record: &RecordRef) -> Result<bool> {
        let Some(tid) = rkey_tid(&record.rkey) else { return Ok(true) };
        Ok(self.head(record.actor)?.bounds.is_none_or(|bounds| tid.micros() <= bounds.key_us))
    }

    /// Whether a post's `wiped` may be above this rev.
    pub(super) fn may_be_wiped(&mut self, post: &RecordRef, rev: Tid) -> Result<bool> {
        Ok(self.head(post.actor)?.bounds.is_none_or(|bounds| rev < bounds.wiped))
    }

    /// Keeps the bounds of an account in step with a record of it.
    pub(super) fn lift_bounds(&mut self, record: &RecordRef, row: &RecordRow) -> Result<()> {
        let mut head = self.head(record.actor)?;
        let Some(bounds) = &mut head.bounds else { return Ok(()) };
        let key_us = rkey_tid(&record.rkey).map_or(0, Tid::micros);
        if key_us > bounds.key_us || row.wiped > bounds.wiped {
            bounds.key_us = bounds.key_us.max(key_us);
            bounds.wiped = bounds.wiped.max(row.wiped);
            self.set_head(record.actor, head);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skyweir_store::{RecordBody, Txn as _};
    use skyweir_types::{ActorId, Collection, Did, RecordKey};

    use super::*;
    use crate::table::heads::Head;
    use crate::table::{Table, actors, records};
    use crate::{Config, EmbeddedStore};

    /// Past how far the row of the head of an account whose only record is old may reach.
    const LATE: u64 = 200_000_000;

    fn at(micros: u64) -> RecordRef {
        let rkey = RecordKey::parse(&Tid::from_parts(micros, 1).to_string()).unwrap();
        RecordRef { actor: ActorId(0), collection: Collection::Post, rkey }
    }

    async fn begin(store: &EmbeddedStore) -> EmbeddedTxn {
        let numbers = std::sync::Arc::clone(&store.inner.numbers).lock_owned().await;
        EmbeddedTxn::new(std::sync::Arc::clone(&store.inner), numbers)
    }

    #[tokio::test]
    async fn only_what_may_be_there_is_looked_up() {
        let dir = tempfile::tempdir().unwrap();
        let open =
            || EmbeddedStore::open(Config { data_dir: dir.path().to_owned(), ..Config::default() }).unwrap();
        let row = RecordRow { rev: Tid(9), wiped: Tid(7), body: RecordBody::Tombstone { at_ms: 1 } };
        let store = open();
        let mut txn = begin(&store).await;
        let actor = txn.intern(&Did::parse("did:web:a.example").unwrap()).await.unwrap();
        assert!(!txn.may_be_there(&at(1)).unwrap(), "a new account has nothing");
        txn.put_record(&at(50), row.clone()).await.unwrap();
        Box::new(txn).commit().await.unwrap();
        // a row past the bounds, which nothing but damage could leave there, shows who looks
        let mut batch = store.inner.db.synced_batch(1);
        batch.put(Table::Records, records::key(&at(LATE)), records::encode(&at(LATE).rkey, &row));
        batch.commit().unwrap();
        drop(store);
        let store = open();
        let mut txn = begin(&store).await;
        assert_eq!(txn.record(&at(LATE)).await.unwrap(), None);
        assert_eq!(txn.record(&at(50)).await.unwrap(), Some(row.clone()));
        let text = RecordRef { rkey: RecordKey::parse("self").unwrap(), ..at(1) };
        assert!(txn.may_be_there(&at(49)).unwrap() && txn.may_be_there(&text).unwrap());
        assert!(
            txn.is_wiped(&at(50), Tid(6)).await.unwrap() && !txn.is_wiped(&at(50), Tid(7)).await.unwrap()
        );
        assert!(!txn.is_wiped(&at(49), Tid(6)).await.unwrap(), "another post");
        drop(txn);
        // the head of an older store has no bounds
        let mut batch = store.inner.db.synced_batch(1);
        batch.put(Table::Heads, actors::number(actor), Head::default().encode());
        batch.commit().unwrap();
        drop(store);
        let store = open();
        let mut txn = begin(&store).await;
        assert_eq!(txn.record(&at(LATE)).await.unwrap(), Some(row));
        assert!(txn.is_wiped(&at(LATE), Tid(6)).await.unwrap());
    }
}
