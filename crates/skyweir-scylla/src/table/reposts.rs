//! Which reposts point at a post, so that its end takes them along. Only transactions read them, so there are no
//! versions.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;
use skyweir_types::{Collection, RecordRef};

use crate::codec::{Reader, Writer, actor_column, collection_number, place_of};
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::Stamp;

pub(super) const TABLE: Table = Table {
    name: "reposts",
    columns: "author int, post text, actor int, rkey text, PRIMARY KEY ((author, post), actor, rkey)",
    order: "",
    forgets: false,
};

/// A note that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) post: RecordRef,
    pub(crate) repost: RecordRef,
    pub(crate) is_there: bool,
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        out.place(&self.post).place(&self.repost).flag(self.is_there);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self { post: reader.place()?, repost: reader.place()?, is_there: reader.flag()? })
    }
}

pub(crate) struct Reposts {
    page: PreparedStatement,
    put: PreparedStatement,
    remove: PreparedStatement,
}

impl Reposts {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        let page = "SELECT actor, rkey FROM {ks}.reposts \
                    WHERE author = ? AND post = ? AND (actor, rkey) > (?, ?) LIMIT ?";
        let put =
            "INSERT INTO {ks}.reposts (author, post, actor, rkey) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
        let remove = "DELETE FROM {ks}.reposts USING TIMESTAMP ? \
                      WHERE author = ? AND post = ? AND actor = ? AND rkey = ?";
        Ok(Self {
            page: db.prepare(Use::Read, page).await?,
            put: db.prepare(Use::Write, put).await?,
            remove: db.prepare(Use::Write, remove).await?,
        })
    }

    /// The reposts of a post in order, after one; at most `n`.
    pub(crate) async fn page(
        &self,
        db: &Db,
        post: &RecordRef,
        after: Option<&RecordRef>,
        n: usize,
    ) -> Result<Vec<RecordRef>> {
        let (actor, rkey) = after.map_or((-1, ""), |after| (actor_column(after.actor), after.rkey.as_str()));
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        let values = (actor_column(post.actor), post.rkey.as_str(), actor, rkey, n);
        let rows = db.all::<(i32, String)>(&self.page, values).await?;
        let repost = collection_number(Collection::Repost);
        rows.into_iter().map(|(actor, rkey)| place_of(actor, repost, &rkey)).collect()
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        let (author, post) = (actor_column(row.post.actor), row.post.rkey.as_str());
        let (actor, rkey) = (actor_column(row.repost.actor), row.repost.rkey.as_str());
        if row.is_there {
            db.write(&self.put, (author, post, actor, rkey, stamp.seq)).await
        } else {
            db.write(&self.remove, (stamp.seq, author, post, actor, rkey)).await
        }
    }
}
