//! The tables: one file each, with its layout, its statements and what its rows mean.
//!
//! Rows are written at the number of the transaction that writes them, as the timestamp. Those that only come and go
//! name the transactions that brought them and took them away; those that change are versions. Whatever is replaced or
//! removed is written once more, to pass some minutes later: until then views of before see it.

pub(crate) mod accounts;
pub(crate) mod dids;
pub(crate) mod enrolled;
pub(crate) mod feeds;
pub(crate) mod followers;
pub(crate) mod follows;
pub(crate) mod items;
pub(crate) mod journal;
pub(crate) mod kept;
pub(crate) mod lease;
pub(crate) mod marks;
pub(crate) mod records;
pub(crate) mod reposts;
mod schema_version;
pub(crate) mod timeline;
pub(crate) mod tombstones;
pub(crate) mod visible;

use futures::try_join;
use skyweir_store::Result;

use crate::codec::{Reader, Writer};
use crate::schema::Table;
use crate::session::Db;

/// All of them. The version comes last: if it is there, the others are.
pub(crate) const ALL: &[Table] = &[
    lease::TABLE,
    journal::TABLE,
    visible::TABLE,
    dids::DIDS,
    dids::ACTORS,
    accounts::TABLE,
    marks::TABLE,
    records::TABLE,
    tombstones::TABLE,
    tombstones::BUCKETS,
    items::TABLE,
    feeds::TABLE,
    reposts::TABLE,
    follows::TABLE,
    followers::TABLE,
    timeline::TABLE,
    enrolled::TABLE,
    kept::TABLE,
    schema_version::TABLE,
];

/// How a transaction's rows are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// The transaction's number: the timestamp.
    pub(crate) seq: i64,
    /// Seconds after which what passes is gone.
    pub(crate) ttl: i32,
}

/// When a row was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// The transaction that brought it.
    pub(crate) born: i64,
    /// The transaction that took it away.
    pub(crate) died: Option<i64>,
}

impl Life {
    /// From this transaction on.
    pub(crate) fn from(seq: i64) -> Self {
        Self { born: seq, died: None }
    }

    /// Until this transaction.
    pub(crate) fn until(self, seq: i64) -> Self {
        Self { died: Some(seq), ..self }
    }

    /// Whether it is there after this transaction.
    pub(crate) fn at(self, seq: i64) -> bool {
        self.born <= seq && self.died.is_none_or(|died| seq < died)
    }

    fn push(self, out: &mut Writer) {
        out.signed(self.born).flag(self.died.is_some());
        if let Some(died) = self.died {
            out.signed(died);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let born = reader.signed()?;
        Ok(Self { born, died: if reader.flag()? { Some(reader.signed()?) } else { None } })
    }
}

macro_rules! effects {
    ($($number:literal $name:ident($table:ident, $field:ident);)*) => {
        /// One thing that follows from a transaction: a row, or two of the same meaning.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Effect {
            $(
                #[doc = concat!("Of table `", stringify!($table), "`.")]
                $name($table::Row),
            )*
        }

        impl Effect {
            pub(crate) fn push(&self, out: &mut Writer) {
                match self {
                    $(Self::$name(row) => {
                        out.number($number);
                        row.push(out);
                    })*
                }
            }

            pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self> {
                match reader.number()? {
                    $($number => $table::Row::read(reader).map(Self::$name),)*
                    _ => Err(reader.bad()),
                }
            }
        }

        impl Tables {
            /// Writes it. Written again with the same stamp it is the same.
            pub(crate) async fn write(&self, db: &Db, effect: &Effect, stamp: Stamp) -> Result<()> {
                match effect {
                    $(Effect::$name(row) => self.$field.write(db, row, stamp).await,)*
                }
            }
        }
    };
}

effects! {
    0 Did(dids, dids);
    1 Account(accounts, accounts);
    2 Mark(marks, marks);
    3 Record(records, records);
    4 Tombstone(tombstones, tombstones);
    5 Item(items, items);
    6 Feed(feeds, feeds);
    7 Repost(reposts, reposts);
    8 Follow(follows, follows);
    9 Follower(followers, followers);
}

/// The statements of all tables of records.
pub(crate) struct Tables {
    pub(crate) dids: dids::Dids,
    pub(crate) accounts: accounts::Accounts,
    pub(crate) marks: marks::Marks,
    pub(crate) records: records::Records,
    pub(crate) tombstones: tombstones::Tombstones,
    pub(crate) items: items::Items,
    pub(crate) feeds: feeds::Feeds,
    pub(crate) reposts: reposts::Reposts,
    pub(crate) follows: follows::Follows,
    pub(crate) followers: followers::Followers,
}

impl Tables {
    pub(crate) async fn prepare(db: &Db) -> Result<Self> {
        let (dids, accounts, marks, records, tombstones) = try_join!(
            dids::Dids::prepare(db),
            accounts::Accounts::prepare(db),
            marks::Marks::prepare(db),
            records::Records::prepare(db),
            tombstones::Tombstones::prepare(db),
        )?;
        let (items, feeds, reposts, follows, followers) = try_join!(
            items::Items::prepare(db),
            feeds::Feeds::prepare(db),
            reposts::Reposts::prepare(db),
            follows::Follows::prepare(db),
            followers::Followers::prepare(db),
        )?;
        Ok(Self { dids, accounts, marks, records, tombstones, items, feeds, reposts, follows, followers })
    }
}
