//! The nouns of Skyweir: identifiers, syntax, items, positions, the draw. Pure functions only.

mod account;
mod clock;
mod draw;
mod event;
mod ids;
mod item;
mod position;

pub use account::AccountStatus;
pub use clock::Clock;
pub use draw::{DidHash, DrawKey, rate_for, rate_is_off};
pub use event::{AcrossAccounts, Action, Body, Event, Record, RecordOp};
pub use ids::{ActorId, Generation, ItemId, TaskId};
pub use item::{Collection, Item, ItemKind, RecordRef, Reference};
pub use position::{CursorError, Position, UriHash};

mod cid;
mod syntax;

pub use cid::Cid;
pub use syntax::{
    AtUri, Datetime, Did, Format, RecordKey, SyntaxError, Tid, graphemes_within, is_cid, is_did, is_handle,
    is_language, is_nsid, is_raw_cid, is_raw_cid_bytes, is_record_key, is_uri,
};
