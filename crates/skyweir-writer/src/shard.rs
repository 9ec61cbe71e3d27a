//! A shard's bounded queue: what waits for the shard, small fan-outs before large ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyweir_store::Delivery;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::places::Size;
use crate::tally::{Range, Tally};

/// One item's references for one shard, on their way.
pub(crate) struct Piece {
    pub(crate) delivery: Delivery,
    pub(crate) tally: Arc<Tally>,
    pub(crate) range: Range,
    pub(crate) size: Size,
}

/// Who comes for a piece that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Whoever is told to.
    Tell,
    /// Who was told already.
    Told,
    /// Who writes to the shard now, afterwards.
    Busy,
}

/// A shard's queue. What waits in it is paid for by permits, one a reference.
pub(crate) struct ShardQueue {
    waiting: Mutex<Waiting>,
    /// Small fan-outs have a quarter of the room for themselves, so that large ones never fill it.
    room: [Semaphore; 2],
    rooms: [usize; 2],
}

#[derive(Default)]
struct Waiting {
    pieces: [VecDeque<Piece>; 2],
    /// A write is under way.
    busy: bool,
    /// Somebody has been told to come for pieces of this size.
    listed: [bool; 2],
}

impl Waiting {
    /// Whether somebody has to be told to come for pieces of this size; notes that it is done.
    fn list(&mut self, size: Size) -> bool {
        let list = !self.busy && !self.listed[size as usize] && !self.pieces[size as usize].is_empty();
        self.listed[size as usize] |= list;
        list
    }
}

impl ShardQueue {
    pub(crate) fn new(size: usize) -> Self {
        let size = size.clamp(2, Semaphore::MAX_PERMITS);
        let small = (size / 4).max(1);
        let rooms = [small, size - small];
        Self { waiting: Mutex::default(), room: rooms.map(Semaphore::new), rooms }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many permits so many references pay: no piece is too large for an empty queue.
    fn price(&self, size: Size, references: usize) -> u32 {
        u32::try_from(references.min(self.rooms[size as usize])).unwrap_or(u32::MAX)
    }

    /// Room for a piece, if there is some now.
    pub(crate) fn try_room(&self, size: Size, references: usize) -> Option<SemaphorePermit<'_>> {
        self.room[size as usize].try_acquire_many(self.price(size, references)).ok()
    }

    /// Room for a piece; waits while there is none, in the order of asking.
    pub(crate) async fn room(&self, size: Size, references: usize) -> SemaphorePermit<'_> {
        let permit = self.room[size as usize].acquire_many(self.price(size, references)).await;
        permit.expect("the room is never closed")
    }

    /// Queues a piece in its room.
    pub(crate) fn push(&self, piece: Piece, room: SemaphorePermit<'_>) -> Pushed {
        // given back once the piece is written
        room.forget();
        piece.tally.sent();
        let size = piece.size;
        let mut waiting = self.waiting();
        waiting.pieces[size as usize].push_back(piece);
        if waiting.busy {
            Pushed::Busy
        } else if waiting.list(size) {
            Pushed::Tell
        } else {
            Pushed::Told
        }
    }

    /// For who was told to come: takes pieces of up to `most` references, at least one piece, and small ones only if
    /// they were what there was to come for. `None` while a write is under way, or when nothing is left.
    pub(crate) fn take(&self, told: Size, most: usize) -> Option<Vec<Piece>> {
        let mut waiting = self.waiting();
        waiting.listed[told as usize] = false;
        if waiting.busy {
            return None;
        }
        let mut references = 0;
        let mut taken = Vec::new();
        let sizes = if told == Size::Small { &[Size::Small][..] } else { &[Size::Small, Size::Large] };
        for size in sizes {
            let pieces = &mut waiting.pieces[*size as usize];
            while let Some(piece) = pieces.front() {
                references += piece.delivery.viewers.len();
                if !taken.is_empty() && references > most {
                    break;
                }
                taken.extend(pieces.pop_front());
            }
        }
        waiting.busy = !taken.is_empty();
        waiting.busy.then_some(taken)
    }

    /// Makes room again for what was written. Tells for which sizes somebody has to come again.
    pub(crate) fn written(&self, prices: [usize; 2]) -> [bool; 2] {
        for (room, price) in self.room.iter().zip(prices) {
            room.add_permits(price);
        }
        let mut waiting = self.waiting();
        waiting.busy = false;
        [Size::Small, Size::Large].map(|size| waiting.list(size))
    }

    /// What pieces have paid for their room, by size.
    pub(crate) fn prices(&self, pieces: impl Iterator<Item = (Size, usize)>) -> [usize; 2] {
        let mut prices = [0; 2];
        pieces.for_each(|(size, references)| prices[size as usize] += self.price(size, references) as usize);
        prices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyweir_store::Sums;
    use skyweir_types::{ActorId, ItemId, Reference, UriHash};

    fn send(queue: &ShardQueue, size: Size, references: u32) -> Option<Pushed> {
        let reference = Reference { item: ItemId(1), sort_at: 1, uri_hash: UriHash(1), author: ActorId(1) };
        let delivery = Delivery { reference, viewers: (0..references).map(ActorId).collect() };
        let room = queue.try_room(size, delivery.viewers.len())?;
        Some(queue.push(
            Piece { delivery, tally: Arc::new(Tally::new(1, Sums::default())), range: Range::Own, size },
            room,
        ))
    }

    /// Takes and writes; returns the sizes of what was taken, and who has to come again.
    fn write(queue: &ShardQueue, told: Size, most: usize) -> (Vec<usize>, [bool; 2]) {
        let taken = queue.take(told, most).unwrap_or_default();
        let pieces: Vec<_> = taken.iter().map(|piece| (piece.size, piece.delivery.viewers.len())).collect();
        let prices = queue.prices(pieces.iter().copied());
        (pieces.into_iter().map(|(_, references)| references).collect(), queue.written(prices))
    }

    #[test]
    fn a_full_queue_has_no_room_until_something_is_written_and_takes_any_piece() {
        let queue = ShardQueue::new(16);
        assert_eq!(send(&queue, Size::Large, 8), Some(Pushed::Tell));
        assert_eq!(send(&queue, Size::Large, 4), Some(Pushed::Told));
        assert_eq!(send(&queue, Size::Large, 50), None);
        assert_eq!(write(&queue, Size::Large, 9), (vec![8], [false, true]), "as many as fit into a batch");
        assert_eq!(send(&queue, Size::Large, 50), None, "four references are still there");
        assert_eq!(write(&queue, Size::Large, 9), (vec![4], [false, false]));
        assert_eq!(send(&queue, Size::Large, 50), Some(Pushed::Tell));
        assert_eq!(write(&queue, Size::Large, 9).0, [50], "larger than the queue and than a batch");
    }

    #[test]
    fn small_pieces_have_room_of_their_own_and_go_first() {
        let queue = ShardQueue::new(16);
        assert_eq!(send(&queue, Size::Large, 50), Some(Pushed::Tell));
        assert_eq!(send(&queue, Size::Small, 3), Some(Pushed::Tell));
        assert_eq!(send(&queue, Size::Small, 2), None);
        assert_eq!(write(&queue, Size::Small, 100).0, [3], "and nothing beside them");
        assert_eq!(send(&queue, Size::Small, 2), Some(Pushed::Tell));
        assert_eq!(write(&queue, Size::Large, 100).0, [2, 50]);
    }

    #[test]
    fn one_write_at_a_time() {
        let queue = ShardQueue::new(16);
        assert_eq!(send(&queue, Size::Small, 1), Some(Pushed::Tell));
        let taken = queue.take(Size::Small, 9).unwrap();
        assert_eq!(send(&queue, Size::Small, 2), Some(Pushed::Busy), "who writes comes back for it");
        assert!(queue.take(Size::Small, 9).is_none());
        let prices = queue.prices(taken.iter().map(|piece| (piece.size, piece.delivery.viewers.len())));
        assert_eq!(queue.written(prices), [true, false]);
        assert_eq!(write(&queue, Size::Small, 9), (vec![2], [false, false]));
        assert!(queue.take(Size::Small, 9).is_none(), "nothing is left");
    }
}
