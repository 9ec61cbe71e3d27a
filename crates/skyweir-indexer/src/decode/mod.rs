//! From the bytes of one message to its events: pure functions, whatever the bytes are.

mod car;
mod cbor;
mod firehose;
mod jetstream;
mod json;
mod lexicon;
mod record;
mod straight;
mod v1;
mod v2;
mod value;

use skyweir_types::{Did, Event, Tid};

use crate::Skip;

pub(crate) use car::{cid_length, varint};
pub use cbor::{first_value, whole_value};
pub(crate) use firehose::{AHEAD_US, account_status, put};
pub use firehose::{Message, Op, firehose_frame, firehose_message};
pub use record::check_record;
pub use v1::v1_message;
pub use v2::v2_message;
pub use value::{Value, cid_text};

/// The time of a message that doesn't tell one.
pub const UNKNOWN_TIME: i64 = i64::MIN;

/// What one message comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Where upstream stands after it; `None` when the message doesn't say.
    pub position: Option<u64>,
    /// Time of the event in microseconds since 1970, or [`UNKNOWN_TIME`].
    pub time_us: i64,
    /// Its events, in order.
    pub events: Vec<Event>,
    /// What was left out.
    pub skipped: Vec<Skip>,
    /// What the server says about the stream itself.
    pub notice: Option<Notice>,
    /// Where a firehose's commit, of whatever collections, or `#sync` stands in the chain of its account. None where
    /// something of ours couldn't be read: the next one shows that it is missing.
    pub link: Option<Link>,
}

/// A link of an account's chain: each commit names the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The account.
    pub did: Did,
    /// Rev of the commit before; none where the chain begins anew, or it isn't said.
    pub since: Option<Tid>,
    /// Its own rev.
    pub rev: Tid,
    /// Whether it says itself that its account has to be read anew.
    pub is_marked: bool,
}

/// A word of the server about the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The stream ends with this.
    pub is_error: bool,
    /// Its name: `OutdatedCursor`, `ConsumerTooSlow`, …; at most 64 bytes.
    pub name: String,
    /// The server's explanation; at most 256 bytes.
    pub message: String,
}

impl Notice {
    fn error(name: &str, message: &str) -> Self {
        Self { is_error: true, name: cut(name, 64), message: cut(message, 256) }
    }

    fn info(name: &str, message: &str) -> Self {
        Self { is_error: false, ..Self::error(name, message) }
    }
}

/// At most so many bytes of a foreign text, for logs.
pub(crate) fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Decoded {
    fn of(position: Option<u64>, time_us: i64, event: Result<Option<Event>, Skip>) -> Self {
        let (events, skipped) = match event {
            Ok(event) => (Vec::from_iter(event), Vec::new()),
            Err(skip) => (Vec::new(), vec![skip]),
        };
        Self { position, time_us, events, skipped, notice: None, link: None }
    }

    pub(crate) fn skip(position: Option<u64>, time_us: i64, skip: Skip) -> Self {
        Self::of(position, time_us, Err(skip))
    }

    fn notice(notice: Notice) -> Self {
        Self { notice: Some(notice), ..Self::of(None, UNKNOWN_TIME, Ok(None)) }
    }
}
