//! What changes about accounts: versions, the newest first, and beside them the greatest `sortAt` of the account's
//! items, which is nobody's version: a view may be told one that is too great.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::{AccountInfo, AccountRow, Result, SyncMark};
use skyweir_types::{AccountStatus, ActorId};

use crate::codec::{Reader, Writer, actor_column};
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::Stamp;

pub(super) const TABLE: Table = Table {
    name: "accounts",
    columns: "actor int, seq bigint, body blob, newest bigint static, PRIMARY KEY (actor, seq)",
    order: "seq DESC",
    forgets: false,
};

/// One version of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) row: AccountRow,
    pub(crate) follows: u32,
    pub(crate) followers: u32,
    /// The bucket that the next follower goes to, from 0 up, and how many have ever gone there.
    pub(crate) bucket: u32,
    pub(crate) in_bucket: u32,
    /// The transactions that wrote the marks of its follows and of its resync; 0 without one.
    pub(crate) follows_marked: i64,
    pub(crate) sync_marked: i64,
}

impl Head {
    pub(crate) fn info(&self, newest: i64) -> AccountInfo {
        AccountInfo { status: self.row.status, newest, follows: self.follows, followers: self.followers }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(match self.row.status {
            AccountStatus::Active => 0,
            AccountStatus::Hidden => 1,
            AccountStatus::Deleted => 2,
        });
        out.signed(self.row.status_us).number(self.row.gone.0).flag(self.row.sync.is_some());
        if let Some(mark) = self.row.sync {
            out.number(mark.rev.0).signed(mark.since_ms);
        }
        for number in [self.follows, self.followers, self.bucket, self.in_bucket] {
            out.number(number.into());
        }
        out.signed(self.follows_marked).signed(self.sync_marked);
        out.done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("table accounts", bytes);
        let status = match reader.number()? {
            0 => AccountStatus::Active,
            1 => AccountStatus::Hidden,
            2 => AccountStatus::Deleted,
            _ => return Err(reader.bad()),
        };
        let (status_us, gone) = (reader.signed()?, reader.tid()?);
        let sync = if reader.flag()? {
            Some(SyncMark { rev: reader.tid()?, since_ms: reader.signed()? })
        } else {
            None
        };
        let head = Self {
            row: AccountRow { status, status_us, gone, sync },
            follows: reader.small()?,
            followers: reader.small()?,
            bucket: reader.small()?,
            in_bucket: reader.small()?,
            follows_marked: reader.signed()?,
            sync_marked: reader.signed()?,
        };
        reader.end().map(|()| head)
    }
}

/// An account as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The transaction that wrote this version; 0: there is none yet.
    pub(crate) seq: i64,
    pub(crate) head: Head,
    pub(crate) newest: i64,
}

impl Stored {
    /// Of an account that nothing was written of.
    pub(crate) const NONE: Self = Self { seq: 0, head: Head::NEW, newest: i64::MIN };
}

impl Head {
    const NEW: Self = Self {
        row: AccountRow {
            status: AccountStatus::Active,
            status_us: 0,
            gone: skyweir_types::Tid::ZERO,
            sync: None,
        },
        follows: 0,
        followers: 0,
        bucket: 0,
        in_bucket: 0,
        follows_marked: 0,
        sync_marked: 0,
    };
}

/// What a transaction writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A version; `passes`: it was replaced.
    Version {
        actor: ActorId,
        seq: i64,
        head: Head,
        passes: bool,
    },
    Newest {
        actor: ActorId,
        newest: i64,
    },
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        match self {
            Self::Version { actor, seq, head, passes } => {
                out.number(if *passes { 1 } else { 0 }).actor(*actor).signed(*seq).bytes(&head.encode());
            }
            Self::Newest { actor, newest } => {
                out.number(2).actor(*actor).signed(*newest);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(match reader.number()? {
            passes @ 0..2 => Self::Version {
                actor: reader.actor()?,
                seq: reader.signed()?,
                head: Head::decode(reader.bytes()?)?,
                passes: passes == 1,
            },
            2 => Self::Newest { actor: reader.actor()?, newest: reader.signed()? },
            _ => return Err(reader.bad()),
        })
    }
}

pub(crate) struct Accounts {
    at: PreparedStatement,
    put: PreparedStatement,
    pass: PreparedStatement,
    lift: PreparedStatement,
}

impl Accounts {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        let at = "SELECT seq, body, newest FROM {ks}.accounts WHERE actor = ? AND seq <= ? LIMIT 1";
        let put = "INSERT INTO {ks}.accounts (actor, seq, body) VALUES (?, ?, ?) USING TIMESTAMP ?";
        let lift = "UPDATE {ks}.accounts USING TIMESTAMP ? SET newest = ? WHERE actor = ?";
        Ok(Self {
            at: db.prepare(Use::Read, at).await?,
            put: db.prepare(Use::Write, put).await?,
            pass: db.prepare(Use::Write, &format!("{put} AND TTL ?")).await?,
            lift: db.prepare(Use::Write, lift).await?,
        })
    }

    /// The account as the transactions up to this one left it.
    pub(crate) async fn at(&self, db: &Db, actor: ActorId, seq: i64) -> Result<Stored> {
        let row = db.first::<(i64, Vec<u8>, Option<i64>)>(&self.at, (actor_column(actor), seq)).await?;
        let Some((seq, body, newest)) = row else { return Ok(Stored::NONE) };
        Ok(Stored { seq, head: Head::decode(&body)?, newest: newest.unwrap_or(i64::MIN) })
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        match row {
            Row::Version { actor, seq, head, passes: false } => {
                db.write(&self.put, (actor_column(*actor), seq, head.encode(), stamp.seq)).await
            }
            Row::Version { actor, seq, head, passes: true } => {
                let values = (actor_column(*actor), seq, head.encode(), stamp.seq, stamp.ttl);
                db.write(&self.pass, values).await
            }
            Row::Newest { actor, newest } => {
                db.write(&self.lift, (stamp.seq, newest, actor_column(*actor))).await
            }
        }
    }
}
