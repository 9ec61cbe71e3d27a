//! Loading a whole network into an empty store, past the per-event path.

use skyweir_types::{ActorId, Did, RecordKey, Tid};

use crate::{AccountRow, Result, SyncMark};

/// What happened to the records of an account, as far as its follows go.
#[derive(Clone, Copy, Debug)]
pub enum LoadStep<'a> {
    /// A follow record was written.
    Put {
        /// Its key.
        rkey: &'a RecordKey,
        /// Rev of the commit.
        rev: Tid,
        /// Who is followed.
        subject: ActorId,
        /// Whether the account's step before is of the same commit, whose later operations count at the same rev.
        goes_on: bool,
    },
    /// A follow record was deleted.
    Delete {
        /// Its key.
        rkey: &'a RecordKey,
        /// Rev of the commit.
        rev: Tid,
        /// Stream time, milliseconds since 1970.
        at_ms: i64,
        /// As in [`LoadStep::Put`].
        goes_on: bool,
    },
    /// A record of another collection was written or deleted: its rev counts.
    Other {
        /// Rev of the commit.
        rev: Tid,
    },
    /// The account was deleted: nothing is left of its records.
    Wipe,
    /// A resync ended: living records with an older rev are deleted, as of its time, and keep their revs.
    Sweep(SyncMark),
}

/// An empty store that takes a whole network: accounts, and for each account the steps of its follows in the order of
/// their coming. What comes out is what the same operations leave one by one, of an operation whose rev isn't above the
/// record's as of all others. Whatever can't be loaded past the usual path is noted, and applied behind the load.
///
/// All of it survives the end of the process, up to a place at which it was said to be complete: whoever reads that
/// after a restart goes on there, and what came later never was.
pub trait Load: Send {
    /// The place of the last [`Load::reached`] that is durable; empty at the begin.
    fn place(&self) -> &[u8];
    /// The number of an account, a new one if need be. One DID, one number, for ever.
    ///
    /// # Errors
    /// `Limit` beyond 2^32 accounts, `Unavailable` when the disk refuses.
    fn actor(&mut self, did: &Did) -> Result<ActorId>;
    /// An account's row; the default for one never written.
    fn account(&self, actor: ActorId) -> AccountRow;
    /// Writes an account's row.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    fn set_account(&mut self, actor: ActorId, row: AccountRow) -> Result<()>;
    /// The accounts with a resync under way.
    fn sync_marks(&self) -> Vec<(ActorId, SyncMark)>;
    /// The greatest rev among all steps of an account; zero: it had none.
    fn greatest_rev(&self, actor: ActorId) -> Tid;
    /// Takes the next step.
    ///
    /// # Errors
    /// `Corrupt` for numbers that [`Load::actor`] didn't give out, `Unavailable` when the disk refuses.
    fn step(&mut self, actor: ActorId, step: LoadStep<'_>) -> Result<()>;
    /// Keeps some bytes, in the order of their coming. At most 2^32 - 1.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    fn note(&mut self, note: &[u8]) -> Result<()>;
    /// All up to here belongs together; `place` says where that is. It becomes durable when there is much of it.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    fn reached(&mut self, place: &[u8]) -> Result<()>;
    /// Makes all up to the last [`Load::reached`] durable. Nothing may have come behind it.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    fn sync(&mut self) -> Result<()>;
}

/// The notes of a [`Load`], read back.
pub trait Notes: Send {
    /// The next note, and the number to go on behind it from; `None` behind the last.
    ///
    /// # Errors
    /// `Corrupt` when they aren't what was written, `Unavailable` when the disk refuses.
    fn next(&mut self) -> Result<Option<(Vec<u8>, u64)>>;
}
