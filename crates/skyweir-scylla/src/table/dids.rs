//! The numbers of accounts, and back. One row each, written by the transaction that interned the account and never
//! changed; a view knows those below its own count.

use futures::future::try_join;
use scylla::statement::prepared::PreparedStatement;
use skyweir_store::{Error, Result};
use skyweir_types::{ActorId, Did};

use crate::codec::{Reader, Writer, actor_column, actor_of};
use crate::error::corrupt;
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::Stamp;

pub(super) const DIDS: Table =
    Table { name: "dids", columns: "did text PRIMARY KEY, actor int", order: "", forgets: false };
pub(super) const ACTORS: Table =
    Table { name: "actors", columns: "actor int PRIMARY KEY, did text", order: "", forgets: false };

/// An account as it is interned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) did: Did,
    pub(crate) actor: ActorId,
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        out.text(self.did.as_str()).actor(self.actor);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { did: reader.did()?, actor: reader.actor()? })
    }
}

pub(crate) struct Dids {
    actor: PreparedStatement,
    did: PreparedStatement,
    put_did: PreparedStatement,
    put_actor: PreparedStatement,
}

impl Dids {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        Ok(Self {
            actor: db.prepare(Use::Read, "SELECT actor FROM {ks}.dids WHERE did = ?").await?,
            did: db.prepare(Use::Read, "SELECT did FROM {ks}.actors WHERE actor = ?").await?,
            put_did: db
                .prepare(Use::Write, "INSERT INTO {ks}.dids (did, actor) VALUES (?, ?) USING TIMESTAMP ?")
                .await?,
            put_actor: db
                .prepare(Use::Write, "INSERT INTO {ks}.actors (actor, did) VALUES (?, ?) USING TIMESTAMP ?")
                .await?,
        })
    }

    pub(crate) async fn actor(&self, db: &Db, did: &Did) -> Result<Option<ActorId>> {
        let row = db.first::<(i32,)>(&self.actor, (did.as_str(),)).await?;
        row.map(|(actor,)| actor_of(actor)).transpose()
    }

    /// The DID of an account that was interned.
    pub(crate) async fn did(&self, db: &Db, actor: ActorId) -> Result<Did> {
        let missing = || corrupt(format_args!("account {actor} was never interned"));
        let (did,) = db.first::<(String,)>(&self.did, (actor_column(actor),)).await?.ok_or_else(missing)?;
        Did::parse(&did).map_err(|_| Error::Corrupt(format!("account {actor} has the DID {did:?}")))
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        let (did, actor) = (row.did.as_str(), actor_column(row.actor));
        try_join(
            db.write(&self.put_did, (did, actor, stamp.seq)),
            db.write(&self.put_actor, (actor, did, stamp.seq)),
        )
        .await?;
        Ok(())
    }
}
