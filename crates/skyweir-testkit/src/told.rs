//! All that readers could tell of a network without a horizon, in lines: the same of a store and of the model.

use std::collections::{BTreeMap, BTreeSet};

use skyweir_store::{FeedAsk, Merge, RecordBody, RecordRow, Result, Sampling, Store, View};
use skyweir_types::{
    AccountStatus, ActorId, Did, DidHash, DrawKey, Item, ItemKind, Position, Record, RecordRef, Tid,
};

use crate::{Expected, Model, Without};

/// More than an account of a test has of anything; one that has as much isn't told.
const ALL: usize = 10_000;

/// What there is, and what each account sees of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Living records with their revs, items, edges in both directions, counts, and states of accounts.
    pub lines: BTreeSet<String>,
    /// The whole timeline of each account that has one, newest first: the lines of its items.
    pub timelines: BTreeMap<Did, Vec<String>>,
}

impl Told {
    /// What the model says.
    #[must_use]
    pub fn by_model(model: &Model) -> Self {
        let mut told = Self::default();
        told.lines.extend(model.records().map(|(uri, rev, record)| match record {
            Record::Follow { subject } => living(&uri, rev, Some(subject)),
            _ => living(&uri, rev, None),
        }));
        for did in model.accounts() {
            let (follows, followers) = (model.follows(&did), model.followers(&did));
            told.account(&did, model.status(&did), (follows.len(), followers.len()));
            told.lines.extend(follows.iter().map(|subject| format!("{did} follows {subject}")));
            told.lines.extend(followers.iter().map(|follower| format!("{did} is followed by {follower}")));
            told.lines.extend(model.items(&did).iter().map(expected_item));
            let seen = model.timeline(&did, 1.0, &DrawKey::default(), Without::default());
            told.timeline(&did, seen.iter().map(expected_item).collect());
        }
        told
    }

    /// What a store says: its timelines are those of the merge.
    ///
    /// # Errors
    /// Whatever the store answers.
    ///
    /// # Panics
    /// An account has more of something than is asked for.
    pub async fn by_store(store: &dyn Store) -> Result<Self> {
        let (view, mut txn) = (store.view().await?, store.begin().await?);
        let actors: Vec<_> = (0..view.actor_count().await?).map(ActorId).collect();
        let dids = view.dids(&actors).await?;
        let name = |actor: ActorId| &dids[actor.0 as usize];
        let mut told = Self::default();
        for (actor, did) in actors.iter().zip(&dids) {
            let info = view.accounts(&[*actor]).await?.remove(0);
            told.account(did, info.status, (info.follows as usize, info.followers as usize));
            let follows = all(view.follows(*actor, None, ALL).await?);
            told.lines.extend(follows.iter().map(|subject| format!("{did} follows {}", name(*subject))));
            let followers = all(view.followers(*actor, None, ALL).await?);
            told.lines.extend(followers.iter().map(|other| format!("{did} is followed by {}", name(*other))));
            let records = all(txn.records_of(*actor, None, ALL).await?);
            told.lines.extend(records.iter().filter_map(|(key, row)| stored_record(key, row, &name)));
            let asks = [FeedAsk { author: *actor, after: Position::TOP }];
            let feed = all(view.feeds(&asks, ALL).await?.remove(0));
            let ids: Vec<_> = feed.iter().map(|entry| entry.item).collect();
            let items = view.items(&ids).await?.into_iter().flatten();
            told.lines.extend(items.map(|item| stored_item(did, &item)));
            told.timeline(did, merged(&*view, *actor, &name).await?);
        }
        Ok(told)
    }

    fn account(&mut self, did: &Did, status: AccountStatus, (follows, followers): (usize, usize)) {
        if status != AccountStatus::Active {
            self.lines.insert(format!("{did} is {status:?}"));
        }
        if (follows, followers) != (0, 0) {
            self.lines.insert(format!("{did} has {follows} follows and {followers} followers"));
        }
    }

    fn timeline(&mut self, did: &Did, seen: Vec<String>) {
        if !seen.is_empty() {
            self.timelines.insert(did.clone(), seen);
        }
    }

    /// All but these lines.
    #[must_use]
    pub fn without(&self, lines: &BTreeSet<String>) -> Self {
        let mut left = Self { lines: &self.lines - lines, timelines: BTreeMap::new() };
        for (did, seen) in &self.timelines {
            left.timeline(did, seen.iter().filter(|line| !lines.contains(*line)).cloned().collect());
        }
        left
    }

    /// How another differs from this one; nothing if it doesn't.
    #[must_use]
    pub fn difference(&self, found: &Self) -> Option<String> {
        let differing = |one: &Self, other: &Self| &one.lines - &other.lines;
        let (missing, wrong) = (differing(self, found), differing(found, self));
        if !missing.is_empty() || !wrong.is_empty() {
            return Some(format!("missing {missing:#?}, wrong {wrong:#?}"));
        }
        let viewers: BTreeSet<_> = self.timelines.keys().chain(found.timelines.keys()).collect();
        viewers.into_iter().find_map(|did| {
            let (wanted, found) = (self.timelines.get(did), found.timelines.get(did));
            (wanted != found).then(|| format!("{did} sees {found:#?}, not {wanted:#?}"))
        })
    }
}

fn all<T>(found: Vec<T>) -> Vec<T> {
    assert!(found.len() < ALL, "there may be more than was asked for");
    found
}

fn living(uri: &str, rev: Tid, follows: Option<&Did>) -> String {
    match follows {
        Some(subject) => format!("record {uri} of {rev} follows {subject}"),
        None => format!("record {uri} of {rev}"),
    }
}

fn stored_record<'d>(key: &RecordRef, row: &RecordRow, name: &impl Fn(ActorId) -> &'d Did) -> Option<String> {
    let uri = format!("at://{}/{}/{}", name(key.actor), key.collection.nsid(), key.rkey);
    match row.body {
        RecordBody::Tombstone { .. } => None,
        RecordBody::Follow { subject } => Some(living(&uri, row.rev, Some(name(subject)))),
        RecordBody::Post { .. } | RecordBody::Repost { .. } => Some(living(&uri, row.rev, None)),
    }
}

fn expected_item(item: &Expected) -> String {
    let (sort_at, cid, _) = item.place();
    let of = item.is_repost.then_some(&*item.uri);
    // flags are the post's; a repost's depend on what is known of its post when it is read
    item_line(
        item.own_uri(),
        cid,
        sort_at,
        of,
        !item.is_repost && item.is_reply,
        !item.is_repost && item.is_quote_post,
    )
}

fn stored_item(author: &Did, item: &Item) -> String {
    let uri = format!("at://{author}/{}/{}", item.collection().nsid(), item.rkey);
    let (of, is_reply, is_quote) = match &item.kind {
        ItemKind::Post { is_reply, is_quote } => (None, *is_reply, *is_quote),
        ItemKind::Repost { uri, .. } => (Some(uri.as_str()), false, false),
    };
    item_line(&uri, &item.cid.to_string(), item.sort_at, of, is_reply, is_quote)
}

fn item_line(uri: &str, cid: &str, sort_at: i64, of: Option<&str>, is_reply: bool, is_quote: bool) -> String {
    let of = of.map_or(String::new(), |post| format!(" of {post}"));
    let flag = |is_set, word| if is_set { word } else { "" };
    format!("item {uri} {cid} at {sort_at}{of}{}{}", flag(is_reply, " reply"), flag(is_quote, " quote"))
}

/// What an account sees without a timeline of its own.
async fn merged<'d>(
    view: &dyn View,
    viewer: ActorId,
    name: &impl Fn(ActorId) -> &'d Did,
) -> Result<Vec<String>> {
    let sampling =
        Sampling { key: DrawKey::default(), viewer: DidHash::of(name(viewer).as_str()), rate: 1.0 };
    let mut merge = Merge::begin(view, viewer, sampling, Position::TOP).await?;
    let mut seen = Vec::new();
    while let Some(merged) = merge.next().await? {
        if view.accounts(&[merged.author]).await?[0].status != AccountStatus::Active {
            continue;
        }
        let items = view.items(&[merged.entry.item]).await?;
        seen.extend(items.into_iter().flatten().map(|item| stored_item(name(item.author), &item)));
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str], seen: &[&str]) -> Told {
        let seen = (Did::parse("did:plc:ann").unwrap(), seen.iter().map(ToString::to_string).collect());
        Told { lines: lines.iter().map(ToString::to_string).collect(), timelines: [seen].into() }
    }

    #[test]
    fn what_differs_is_told() {
        let wanted = told(&["a", "b"], &["b", "a"]);
        assert_eq!(wanted.difference(&wanted), None);
        let differs = |found: &Told| wanted.difference(found).unwrap();
        assert!(differs(&told(&["b"], &["b", "a"])).contains("missing {\n    \"a\""));
        assert!(differs(&told(&["a", "b", "c"], &["b", "a"])).contains("wrong {\n    \"c\""));
        assert!(differs(&told(&["a", "b"], &["a", "b"])).starts_with("did:plc:ann sees"));
        assert!(
            differs(&Told { timelines: BTreeMap::new(), ..wanted.clone() }).starts_with("did:plc:ann sees")
        );
    }

    #[test]
    fn what_is_left_out_is_in_no_timeline() {
        let all = told(&["a", "b", "c"], &["c", "b"]);
        let without = |lines: &[&str]| all.without(&lines.iter().map(ToString::to_string).collect());
        assert_eq!(without(&["b", "x"]), told(&["a", "c"], &["c"]));
        assert_eq!(without(&["b", "c"]), Told { timelines: BTreeMap::new(), ..told(&["a"], &[]) });
    }

    #[test]
    #[should_panic(expected = "more than was asked for")]
    fn what_may_be_cut_off_is_told_nobody() {
        all(vec![(); ALL]);
    }
}
