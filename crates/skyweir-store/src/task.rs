//! The work that an event leaves for the writer.

use skyweir_types::{ActorId, ItemId};

/// One entry of the task log. Every task may be done again: its effect is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Write an item's references to its author's followers, and to the author's own timeline.
    FanOut {
        /// The item; if it is gone by now, there is nothing to do.
        item: ItemId,
    },
    /// A follow began: bring the author's recent items into the viewer's timeline.
    Fill {
        /// Whose timeline.
        viewer: ActorId,
        /// Whose items.
        author: ActorId,
    },
    /// A follow ended: free the room that the author's items take, unless the edge is back.
    Purge {
        /// Whose timeline.
        viewer: ActorId,
        /// Whose items.
        author: ActorId,
    },
}
