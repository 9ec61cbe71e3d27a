//! A store moved into another one, empty: who outgrows one machine goes on in a cluster and reads nothing anew.
//!
//! Records, items, edges and accounts are copied, the cursor last. Accounts keep their numbers, as they are interned in
//! that order; items get new ones in the order of the old. Tasks and timelines stay behind: a timeline is a cache of
//! the records, and a target without timelines needs no tasks.
//!
//! Each transaction saves in the target's cursor how far it is, so it may be cut off anywhere, and goes on there. As
//! long as that cursor is there the target is no store to begin with.

mod place;
mod steps;

use std::sync::Arc;

use thiserror::Error;

use self::place::{Place, Stage};
use crate::{SavedCursor, Store};

/// Whether this is the place of a move that isn't through.
#[must_use]
pub fn is_move(saved: &SavedCursor) -> bool {
    place::is_move(&saved.source)
}

/// Why a store isn't moved.
#[derive(Debug, Error)]
pub enum MoveError {
    /// Nothing was ever read into the source.
    #[error("it holds nothing yet: begin on the new store at once")]
    Nothing,
    /// The target isn't empty.
    #[error("the store to move to isn't empty: name a keyspace that holds nothing")]
    NotEmpty,
    /// The target has a part of another store, or of this one as it was before.
    #[error(
        "the store to move to has a part of {0}, which isn't what is to be moved now: drop that keyspace and begin anew"
    )]
    AnotherMove(String),
    /// A store refused.
    #[error(transparent)]
    Store(#[from] crate::Error),
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveProgress {
    /// What is copied now.
    pub stage: &'static str,
    /// How many of them are.
    pub done: u64,
    /// How many there are; `None`: nobody knows.
    pub of: Option<u64>,
    /// What was copied so far, by this run.
    pub moved: Moved,
}

impl MoveProgress {
    /// The stage that comes first.
    pub const FIRST: &str = "accounts";
}

/// How much a run copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Accounts.
    pub accounts: u64,
    /// Posts and reposts that have an item.
    pub items: u64,
    /// All other records: follows, reposts of what is gone, tombstones.
    pub records: u64,
}

/// A move under way.
pub struct Move {
    source: Arc<dyn Store>,
    target: Arc<dyn Store>,
    /// How many accounts, items or records one transaction takes.
    batch: usize,
    /// The source's own place, saved at the end.
    cursor: SavedCursor,
    actors: u32,
    /// How the moves of this source, as it stands, are called.
    name: String,
    place: Place,
    moved: Moved,
}

impl Move {
    /// Looks what there is to move, and how far that is. Nobody else may write to either store until it is through.
    ///
    /// # Errors
    /// [`MoveError`].
    pub async fn begin(
        source: Arc<dyn Store>,
        target: Arc<dyn Store>,
        batch: usize,
    ) -> Result<Self, MoveError> {
        let view = source.view().await?;
        let Some(cursor) = view.cursor().await? else { return Err(MoveError::Nothing) };
        let actors = view.actor_count().await?;
        let name = place::name(&cursor, actors, view.next_task().await?);
        drop(view);
        let (place, moved) = (Place::default(), Moved::default());
        let mut begun = Self { source, target, batch: batch.max(1), cursor, actors, name, place, moved };
        begun.place = begun.reached().await?;
        Ok(begun)
    }

    /// Copies what is left, and tells after each transaction how far it is. May be called again after an error, and
    /// goes on then.
    ///
    /// # Errors
    /// [`MoveError`].
    pub async fn run(&mut self, told: &(dyn Fn(MoveProgress) + Sync)) -> Result<Moved, MoveError> {
        self.place = self.reached().await?;
        loop {
            match self.place.stage {
                Stage::Accounts => self.accounts().await?,
                Stage::Items => self.items().await?,
                Stage::Records => self.records().await?,
                Stage::Ending => self.end().await?,
                Stage::Ended => return Ok(self.moved),
            }
            told(self.progress());
        }
    }

    /// Where the target says that it is.
    async fn reached(&self) -> Result<Place, MoveError> {
        // of a transaction whose answer was lost it is decided now whether it is committed
        drop(self.target.begin().await?);
        let view = self.target.view().await?;
        match view.cursor().await? {
            None if view.actor_count().await? == 0 => Ok(Place::default()),
            Some(saved) if is_move(&saved) => {
                Place::read(&saved, &self.name).ok_or(MoveError::AnotherMove(saved.source))
            }
            // it was through when it was cut off
            Some(saved) if saved == self.cursor && view.actor_count().await? == self.actors => Ok(Place::END),
            _ => Err(MoveError::NotEmpty),
        }
    }

    fn progress(&self) -> MoveProgress {
        let Place { stage, next, .. } = self.place;
        let (done, of) = match stage {
            Stage::Accounts | Stage::Records => (next, Some(self.actors.into())),
            Stage::Items => (self.moved.items, None),
            Stage::Ending | Stage::Ended => (self.actors.into(), Some(self.actors.into())),
        };
        MoveProgress { stage: stage.word(), done, of, moved: self.moved }
    }
}
