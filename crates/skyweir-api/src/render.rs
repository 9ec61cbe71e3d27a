//! From items to what a client sees: AT-URIs, CIDs and flags.

use skyweir_store::{Error, View};
use skyweir_types::{ActorId, Did, ItemKind};

use crate::page::{Living, PageItem};
use crate::subject::{self, Subject};
use crate::uri;

/// Writes out a page's items.
pub(crate) async fn render(view: &dyn View, mut living: Vec<Living>) -> skyweir_store::Result<Vec<PageItem>> {
    subject::resolve(view, &mut living).await?;
    let mut authors: Vec<ActorId> = living.iter().map(|entry| entry.item.author).collect();
    authors.sort_unstable();
    authors.dedup();
    let dids = view.dids(&authors).await?;
    let did = |author: &ActorId| dids.get(authors.binary_search(author).ok()?);
    let no_author = |entry: &Living| Error::Corrupt(format!("item {} has no author", entry.item.id));
    let write_out = |entry: Living| {
        let author = did(&entry.item.author).ok_or_else(|| no_author(&entry))?;
        Ok(item(entry, author))
    };
    living.into_iter().map(write_out).collect()
}

fn item(entry: Living, author: &Did) -> PageItem {
    let Living { item, subject, .. } = entry;
    let own = uri::format(author, item.collection(), &item.rkey);
    let sort_at = item.sort_at;
    match item.kind {
        ItemKind::Post { is_reply, is_quote } => PageItem {
            uri: own,
            cid: item.cid.to_string(),
            is_reply,
            is_quote_post: is_quote,
            sort_at,
            ..PageItem::default()
        },
        ItemKind::Repost { uri, cid } => {
            let repost = PageItem {
                uri,
                repost: own,
                repost_cid: item.cid.to_string(),
                is_repost: true,
                sort_at,
                ..PageItem::default()
            };
            match subject {
                Subject::Post(post) => PageItem {
                    cid: post.cid.to_string(),
                    is_reply: post.is_reply,
                    is_quote_post: post.is_quote,
                    ..repost
                },
                Subject::None | Subject::Ahead => PageItem { cid, ..repost },
            }
        }
    }
}
