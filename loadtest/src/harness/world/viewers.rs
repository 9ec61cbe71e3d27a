//! Whom the checked readers follow, in each state of the world.

use super::names::{Account, Span};
use crate::time;
use std::collections::HashMap;

#[derive(Debug, Default)]
struct Viewer {
    /// The living follow records by key.
    records: HashMap<u64, Account>,
    edges: HashMap<Account, Edge>,
    /// How many accounts it follows now.
    follows: usize,
}

/// A follow counts once, however many records say it.
#[derive(Debug, Default)]
struct Edge {
    records: u32,
    spans: Vec<Span>,
}

#[derive(Debug, Default)]
pub(super) struct Viewers {
    all: HashMap<Account, Viewer>,
    /// The viewers that ever followed an account.
    followers: HashMap<Account, Vec<Account>>,
}

impl Viewers {
    pub(super) fn new(viewers: impl IntoIterator<Item = Account>) -> Self {
        let all = viewers.into_iter().map(|viewer| (viewer, Viewer::default())).collect();
        Self { all, followers: HashMap::new() }
    }

    /// A follow record is there now, or gone (without a subject).
    pub(super) fn follow(&mut self, account: Account, rkey: &str, subject: Option<Account>, number: u64) {
        let Some(viewer) = self.all.get_mut(&account) else { return };
        let Some(key) = time::untid(rkey) else { return };
        let before = match subject {
            Some(subject) => viewer.records.insert(key, subject),
            None => viewer.records.remove(&key),
        };
        if before == subject {
            return;
        }
        if let Some(edge) = before.and_then(|before| viewer.edges.get_mut(&before)) {
            edge.records -= 1;
            if edge.records == 0 {
                edge.spans.iter_mut().for_each(|span| span.until = span.until.min(number));
                viewer.follows -= 1;
            }
        }
        if let Some(subject) = subject {
            let edge = viewer.edges.entry(subject).or_insert_with(|| {
                self.followers.entry(subject).or_default().push(account);
                Edge::default()
            });
            edge.records += 1;
            if edge.records == 1 {
                edge.spans.push(Span::since(number));
                viewer.follows += 1;
            }
        }
    }

    pub(super) fn edge(&self, viewer: Account, author: Account) -> &[Span] {
        let edge = self.all.get(&viewer).and_then(|viewer| viewer.edges.get(&author));
        edge.map_or(&[], |edge| edge.spans.as_slice())
    }

    pub(super) fn edges(&self, viewer: Account) -> impl Iterator<Item = (&Account, &[Span])> {
        let edges = self.all.get(&viewer).into_iter().flat_map(|viewer| &viewer.edges);
        edges.map(|(author, edge)| (author, edge.spans.as_slice()))
    }

    pub(super) fn followers(&self, account: Account, limit: usize) -> Vec<Account> {
        let ever = self.followers.get(&account).map_or(&[][..], Vec::as_slice);
        let now = ever.iter().filter(|viewer| {
            self.all.get(viewer).is_some_and(|viewer| {
                viewer.follows <= limit && viewer.edges.get(&account).is_some_and(|edge| edge.records > 0)
            })
        });
        now.copied().collect()
    }
}
