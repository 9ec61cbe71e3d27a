//! What reposts point at: the post's own CID and flags, if we know it.

use std::collections::HashMap;

use skyweir_store::{RecordBody, View};
use skyweir_types::{ActorId, Cid, Collection, Did, Item, ItemKind, RecordRef};

use crate::page::Living;
use crate::uri;

/// The post that a repost shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Not looked up yet.
    Ahead,
    /// Not a repost, or its subject isn't a post that we know.
    None,
    /// A current post.
    Post(PostFacts),
}

/// What a page tells of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PostFacts {
    pub(crate) cid: Cid,
    pub(crate) is_reply: bool,
    pub(crate) is_quote: bool,
}

impl Subject {
    pub(crate) fn of(item: &Item) -> Self {
        match item.kind {
            ItemKind::Post { .. } => Self::None,
            ItemKind::Repost { .. } => Self::Ahead,
        }
    }
}

/// Looks up the subjects of those reposts that haven't been looked up yet.
pub(crate) async fn resolve(view: &dyn View, living: &mut [Living]) -> skyweir_store::Result<()> {
    let mut actors: HashMap<Did, Option<ActorId>> = HashMap::new();
    let mut asked = Vec::new();
    let mut keys = Vec::new();
    for (index, entry) in living.iter_mut().enumerate() {
        let (Subject::Ahead, ItemKind::Repost { uri, .. }) = (&entry.subject, &entry.item.kind) else {
            continue;
        };
        entry.subject = Subject::None;
        let Some((did, Collection::Post, rkey)) = uri::parse(uri) else { continue };
        let actor = match actors.get(&did) {
            Some(actor) => *actor,
            None => {
                let actor = view.actor(&did).await?;
                actors.insert(did, actor);
                actor
            }
        };
        if let Some(actor) = actor {
            asked.push(index);
            keys.push(RecordRef { actor, collection: Collection::Post, rkey });
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let rows = view.records(&keys).await?;
    let (mut posts, mut ids) = (Vec::new(), Vec::new());
    for (index, row) in asked.into_iter().zip(rows) {
        if let Some(RecordBody::Post { item, cid }) = row.map(|row| row.body) {
            posts.push((index, cid));
            ids.push(item);
        }
    }
    for ((index, cid), item) in posts.into_iter().zip(view.items(&ids).await?) {
        // of a post that has left nothing is known, whether its record is removed already or not
        if let Some(ItemKind::Post { is_reply, is_quote }) = item.map(|item| item.kind) {
            living[index].subject = Subject::Post(PostFacts { cid, is_reply, is_quote });
        }
    }
    Ok(())
}
