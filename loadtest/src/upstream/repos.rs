//! Plain requests to the stand-in as a relay or PDS: its accounts, and their repositories as the log of events leaves
//! them. What has left the log for being too much is in none.

use super::UpstreamConfig;
use super::http::{Answer, Head};
use super::log::Item;
use super::query::number;
use super::state::State;
use crate::dagcbor::encode_dag_cbor;
use crate::event::{Body, Event};
use crate::prng::Prng;
use crate::repository::Repository;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

const LIST: &str = "/xrpc/com.atproto.sync.listRepos";
const GET: &str = "/xrpc/com.atproto.sync.getRepo";

/// How repositories misbehave.
#[derive(Clone, Copy, Debug)]
pub struct RepositoryFaults {
    /// The same seed and the same requests have the same faults.
    pub seed: u64,
    /// After so many it serves faultlessly; blocks stay out of order for ever.
    pub faults: u64,
}

/// What was asked for of the repositories, and what went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepositoryCounts {
    /// Pages of accounts asked for.
    pub lists: u64,
    /// Repositories asked for.
    pub repositories: u64,
    /// Of those, the ones that were sent on to another host.
    pub elsewhere: u64,
    /// Answers with 429, or 500 to 504.
    pub refused: u64,
    /// Answers that ended early.
    pub cut: u64,
    /// Answers with a flipped bit.
    pub flipped: u64,
    /// Repositories said not to be there.
    pub vanished: u64,
    /// Repositories without one of their blocks.
    pub holed: u64,
    /// Repositories whose blocks were out of order.
    pub shuffled: u64,
}

/// The repositories.
#[derive(Debug, Default)]
pub(super) struct Repos {
    /// What is up to here is in them.
    through: u64,
    accounts: Vec<Account>,
    places: HashMap<String, usize>,
    chaos: Option<(Prng, u64)>,
    /// Whose repository was said not to be there: nobody has that luck twice.
    vanished: HashSet<String>,
    /// Whose repositories are refused, and with which status.
    pub(super) refuse: Option<(HashSet<String>, u16)>,
    pub(super) counts: RepositoryCounts,
}

#[derive(Debug, Default)]
struct Account {
    did: String,
    rev: String,
    /// Why it isn't active, if it isn't.
    status: Option<String>,
    records: BTreeMap<String, Vec<u8>>,
}

impl Repos {
    pub(super) fn misbehave(&mut self, faults: Option<RepositoryFaults>) {
        self.chaos = faults.map(|faults| (Prng::new(faults.seed, 0x4e90, 0), faults.faults));
    }

    fn take(&mut self, event: &Event) {
        let next = self.accounts.len();
        let place = *self.places.entry(event.did.clone()).or_insert(next);
        if place == next {
            let rev = crate::time::tid(event.time_us, 0);
            self.accounts.push(Account { did: event.did.clone(), rev, ..Account::default() });
        }
        let account = &mut self.accounts[place];
        match &event.body {
            Body::Commit { rev, collection, rkey, record, .. } => {
                account.rev.clone_from(rev);
                let key = format!("{collection}/{rkey}");
                match record {
                    Some(record) => drop(account.records.insert(key, encode_dag_cbor(record))),
                    None => drop(account.records.remove(&key)),
                }
            }
            Body::Account { active, status } => {
                let why = || status.clone().unwrap_or_else(|| "suspended".to_owned());
                account.status = (!active).then(why);
                if account.status.as_deref() == Some("deleted") {
                    account.records.clear();
                }
            }
            Body::Sync { rev } => account.rev.clone_from(rev),
            Body::Identity { .. } => {}
        }
    }

    /// What goes wrong with this request, if anything does.
    fn draw(&mut self) -> Option<(u64, u64)> {
        let (prng, left) = self.chaos.as_mut()?;
        if *left == 0 || prng.chance(0.6) {
            return None;
        }
        *left -= 1;
        Some((prng.below(6), prng.below(1_000)))
    }

    fn listed(&self, pairs: &[(String, String)], most: usize) -> Answer {
        let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| number(value));
        let (Some(limit), Some(from)) =
            (value("limit").unwrap_or(Some(500)), value("cursor").unwrap_or(Some(0)))
        else {
            return Answer::error(400, "InvalidRequest", "limit or cursor is no number");
        };
        let page = self.accounts.iter().skip(from as usize).take((limit as usize).min(most));
        let repos: Vec<Value> = page.map(Account::facts).collect();
        let end = from as usize + repos.len();
        let mut answer = json!({"repos": repos});
        if end < self.accounts.len() {
            answer["cursor"] = json!(end.to_string());
        }
        Answer::json(&answer)
    }

    fn repository(&mut self, did: &str, fault: Option<(u64, u64)>) -> Answer {
        let not_found = Answer::error(400, "RepoNotFound", "there is no such repository");
        let Some(account) = self.places.get(did).map(|place| &self.accounts[*place]) else {
            return not_found;
        };
        match account.status.as_deref() {
            None => {}
            Some("deactivated") => return Answer::error(400, "RepoDeactivated", "not now"),
            Some("takendown") => return Answer::error(400, "RepoTakendown", "not any more"),
            Some("suspended") => return Answer::error(400, "RepoSuspended", "not now"),
            Some(_) => return not_found,
        }
        let mut repository = Repository::new(did, &account.rev, &account.records);
        if let Some((prng, _)) = &mut self.chaos
            && prng.chance(0.5)
        {
            self.counts.shuffled += 1;
            for last in (1..repository.blocks.len()).rev() {
                repository.blocks.swap(last, prng.below(last as u64 + 1) as usize);
            }
        }
        if let Some((4, at)) = fault {
            self.counts.holed += 1;
            repository.blocks.remove(at as usize % repository.blocks.len());
        }
        Answer::bytes(repository.car())
    }
}

impl Account {
    fn facts(&self) -> Value {
        let head = crate::dagcbor::cid_of(self.rev.as_bytes());
        let mut facts =
            json!({"did": self.did, "head": head, "rev": self.rev, "active": self.status.is_none()});
        if let Some(status) = &self.status {
            facts["status"] = json!(status);
        }
        facts
    }
}

/// The answer to a request for accounts or repositories; `None` when it is none.
pub(super) fn answer(head: &Head, state: &mut State, config: &UpstreamConfig) -> Option<Answer> {
    let is_list = head.path == LIST;
    if !is_list && head.path != GET {
        return None;
    }
    let (log, repos) = (&state.events, &mut state.repos);
    let through = repos.through;
    for entry in log.entries().filter(|entry| entry.seq > through) {
        if let Item::Event(event, _) = &entry.item {
            repos.take(event);
            repos.through = entry.seq;
        }
    }
    let pairs = head.pairs();
    let did = pairs.iter().find(|(key, _)| key == "did").map_or("", |(_, did)| did.as_str());
    let fault = repos.draw();
    let counts = &mut repos.counts;
    let asked = if is_list { &mut counts.lists } else { &mut counts.repositories };
    *asked += 1;
    match fault {
        Some((0, share)) => {
            counts.refused += 1;
            let status = [429, 500, 502, 503, 504][share as usize % 5];
            let refused = Answer::error(status, "RateLimitExceeded", "not now");
            return Some(refused.with("retry-after", u64::from(share < 50).to_string()));
        }
        Some((1, _)) if !is_list && repos.vanished.insert(did.to_owned()) => {
            counts.vanished += 1;
            return Some(Answer::error(400, "RepoNotFound", "it is away"));
        }
        _ => {}
    }
    if let Some((_, status)) = repos.refuse.as_ref().filter(|(dids, _)| dids.contains(did)) {
        return Some(Answer::text(*status, "refused"));
    }
    let place = repos.places.get(did).copied().unwrap_or(0);
    let elsewhere = place.checked_rem(config.repositories_at.len()).filter(|_| !is_list);
    if let Some(base) = elsewhere.map(|host| &config.repositories_at[host]) {
        counts.elsewhere += 1;
        let there = format!("{base}{GET}?{}", head.query);
        return Some(Answer::text(302, "it is elsewhere").with("location", there));
    }
    let answer = if is_list { repos.listed(&pairs, config.listed) } else { repos.repository(did, fault) };
    Some(match fault {
        Some((2 | 5, share)) => {
            repos.counts.cut += 1;
            answer.cut(share)
        }
        Some((3, share)) if !is_list => {
            repos.counts.flipped += 1;
            answer.flip(share)
        }
        _ => answer,
    })
}
