//! Pages: what a request asks for, what it gets, and where the next one begins (contract, rules 13–16).

use skyweir_types::{Cid, Item, ItemKind, Position};

use crate::Error;
use crate::subject::Subject;

/// Which items a reader doesn't want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filters {
    /// No posts that answer another. Reposts of answers stay.
    pub exclude_replies: bool,
    /// No reposts.
    pub exclude_reposts: bool,
    /// No posts that embed a record, and no reposts of those.
    pub exclude_quotes: bool,
}

/// One request for a page of a timeline, as it came in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// DID of the viewer.
    pub viewer: &'a str,
    /// 1 to 100; 0 means 50, more means 100, less is refused.
    pub limit: i32,
    /// The cursor of the page before; empty for the newest.
    pub cursor: &'a str,
    /// What to leave out.
    pub filters: Filters,
}

/// One page of a timeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Newest first.
    pub items: Vec<PageItem>,
    /// Where the next page begins; empty at the end of the timeline.
    pub cursor: String,
    /// The share of references that the timeline keeps, above 0 and at most 1.
    pub rate: f32,
    /// How many of the items came from the cache.
    pub from_cache: u32,
    /// How many came from the merge.
    pub from_merge: u32,
}

/// One post or one repost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageItem {
    /// AT-URI of the post.
    pub uri: String,
    /// CID of the post; for an unknown one that which the repost names.
    pub cid: String,
    /// AT-URI of the repost record; empty for a plain post.
    pub repost: String,
    /// CID of the repost record; empty for a plain post.
    pub repost_cid: String,
    /// The post answers another; false if it is unknown.
    pub is_reply: bool,
    /// The item is a repost.
    pub is_repost: bool,
    /// The post embeds a record; false if it is unknown.
    pub is_quote_post: bool,
    /// `min(createdAt, indexedAt)`, milliseconds since 1970.
    pub sort_at: i64,
}

/// An item that belongs to the timeline, on its way into a page.
#[derive(Clone, Debug)]
pub(crate) struct Living {
    pub(crate) item: Item,
    pub(crate) position: Position,
    /// What a repost points at.
    pub(crate) subject: Subject,
    pub(crate) cached: bool,
}

impl Living {
    pub(crate) fn new(item: Item, cached: bool) -> Self {
        Self { position: item.position(), subject: Subject::of(&item), item, cached }
    }

    /// Whether the filters let it pass. The subject has to be known for `exclude_quotes`.
    pub(crate) fn passes(&self, filters: Filters) -> bool {
        match &self.item.kind {
            ItemKind::Post { is_reply, is_quote } => {
                !(filters.exclude_replies && *is_reply || filters.exclude_quotes && *is_quote)
            }
            ItemKind::Repost { .. } => {
                let quote = matches!(&self.subject, Subject::Post(post) if post.is_quote);
                !(filters.exclude_reposts || filters.exclude_quotes && quote)
            }
        }
    }
}

/// How many entries a page holds.
pub(crate) fn page_limit(asked: i32, default: usize, most: usize) -> Result<usize, Error> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(asked) => Ok(asked.min(most)),
        Err(_) => Err(Error::Limit),
    }
}

/// Cuts what was found to the page's size. `stopped`: where the search gave up before the end, if it did.
pub(crate) fn cut(living: &mut Vec<Living>, limit: usize, stopped: Option<Position>) -> String {
    if let Some(next) = living.get(limit).map(|next| next.position) {
        living.truncate(limit);
        let last = living.last().expect("a page has room for one").position;
        last.to_cursor(next.same_pair(&last))
    } else {
        stopped.map(|place| place.to_cursor(place.uri_hash != 0)).unwrap_or_default()
    }
}

/// The place just below every item of this millisecond, which a cursor can name: the least CID there is.
pub(crate) fn end_of_ms(sort_at: i64) -> Position {
    let least = Cid::parse(&format!("bafyreia{}4", "2".repeat(50))).expect("a CID of base32's least letters");
    Position { sort_at, cid_key: least.order_key(), uri_hash: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_millisecond_is_below_every_cid() {
        for digest in [[0u8; 32], [0xff; 32], [0xd6; 32], [0x6b; 32], [0xad; 32], [0x5a; 32]] {
            let item = Position { sort_at: 7, cid_key: Cid::from_digest(digest).order_key(), uri_hash: 1 };
            assert!(end_of_ms(7) < item, "{digest:?}");
        }
        assert_eq!(Position::from_cursor(&end_of_ms(7).to_cursor(false)), Ok(end_of_ms(7)));
    }

    #[test]
    fn limits() {
        assert!(page_limit(-1, 50, 100).is_err());
        let limits = [0, 1, 100, 101, i32::MAX].map(|asked| page_limit(asked, 50, 100).unwrap());
        assert_eq!(limits, [50, 1, 100, 100, 100]);
    }
}
