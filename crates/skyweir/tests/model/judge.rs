//! Compares what the service answers with what the model says.

use std::collections::{BTreeSet, HashMap};

use skyweir_api::{Filters, Page, PageItem, Query};
use skyweir_store::{Task, View};
use skyweir_testkit::{Expected, Model, Without};
use skyweir_types::{ActorId, Did, DrawKey, TaskId};

use crate::coverage::Coverage;
use crate::service::Service;

/// What is wrong, in words.
pub(crate) type Verdict<T = ()> = Result<T, String>;

/// A place in a timeline: (`sortAt`, CID, hash of the URI), the greatest first.
type Place = (i64, String, u64);

fn place_of(item: &Expected) -> Place {
    let (ms, cid, hash) = item.place();
    (ms, cid.to_owned(), hash)
}

/// Reads a cursor by the contract's words (rule 15), not by the service's code.
fn place_of_cursor(cursor: &str) -> Verdict<Place> {
    let parts = cursor.split_once("__").and_then(|(ms, rest)| {
        let (cid, hash) = rest.split_once('.').unwrap_or((rest, "0"));
        Some((ms.parse().ok()?, cid.to_owned(), u64::from_str_radix(hash, 16).ok()?))
    });
    parts.ok_or_else(|| format!("cursor {cursor:?} has another form"))
}

/// What tasks on their way will bring.
#[derive(Default)]
struct Pending {
    items: BTreeSet<String>,
    fills: BTreeSet<(Did, Did)>,
}

impl Pending {
    /// The tasks from `done` on.
    async fn read(view: &dyn View, done: TaskId) -> skyweir_store::Result<Self> {
        let mut pending = Self::default();
        for (_, task) in view.tasks(done, usize::MAX).await? {
            match task {
                Task::FanOut { item } => {
                    if let Some(item) = view.items(&[item]).await?.pop().flatten() {
                        let did = view.dids(&[item.author]).await?.remove(0);
                        let collection = item.collection().nsid();
                        pending.items.insert(format!("at://{did}/{collection}/{}", item.rkey));
                    }
                }
                Task::Fill { viewer, author } => {
                    let mut dids = view.dids(&[viewer, author]).await?;
                    let author = dids.pop().expect("two were asked for");
                    pending.fills.insert((dids.remove(0), author));
                }
                Task::Purge { .. } => {}
            }
        }
        Ok(pending)
    }

    fn brings(&self, viewer: &Did, item: &Expected) -> bool {
        self.items.contains(item.own_uri()) || self.fills.contains(&(viewer.clone(), item.author.clone()))
    }
}

/// A walk down a timeline, page by page.
pub(crate) struct Walk {
    viewer: Did,
    without: Without,
    cursor: String,
    /// The timeline at each rate, for as long as no event is applied.
    expected: HashMap<u32, Vec<Expected>>,
}

impl Walk {
    pub(crate) fn new(viewer: Did, without: Without) -> Self {
        Self { viewer, without, cursor: String::new(), expected: HashMap::new() }
    }

    /// The model has changed.
    pub(crate) fn forget(&mut self) {
        self.expected.clear();
    }

    /// Reads the next page and judges it; returns whether it was the last.
    pub(crate) async fn page(
        &mut self,
        service: &Service,
        model: &Model,
        reasonable_limit: u32,
        limit: i32,
        coverage: &Coverage,
    ) -> Verdict<bool> {
        let view = service.view().await.map_err(|error| error.to_string())?;
        let done = service.worker.done();
        let filters = Filters {
            exclude_replies: self.without.replies,
            exclude_reposts: self.without.reposts,
            exclude_quotes: self.without.quotes,
        };
        let query = Query { viewer: self.viewer.as_str(), limit, cursor: &self.cursor, filters };
        let page = service.page(query).await.map_err(|error| format!("no answer: {error}"))?;
        let told = |what: String| {
            let (viewer, cursor, rate) = (&self.viewer, &self.cursor, page.rate);
            let rest = format!("after {cursor:?}, limit {limit}, rate {rate}, cursor {:?}", page.cursor);
            format!("timeline of {viewer} {rest}: {what}")
        };
        check_rate(page.rate, model.follows(&self.viewer).len(), reasonable_limit).map_err(told)?;
        let most = if limit == 0 { 50 } else { limit as usize };
        if page.items.len() > most {
            return Err(told(format!("{} items", page.items.len())));
        }
        let (model_of, viewer, without) = (model, &self.viewer, self.without);
        let timeline = self
            .expected
            .entry(page.rate.to_bits())
            .or_insert_with(|| model_of.timeline(viewer, page.rate, &DrawKey::default(), without));
        let compared = compare(timeline, &self.cursor, &page);
        coverage.page(&page, compared.is_err());
        if let Err((what, missing)) = compared {
            let pending = Pending::read(&*view, done).await.map_err(|error| error.to_string())?;
            let unexcused = missing.iter().find(|item| !pending.brings(&self.viewer, item));
            match (unexcused, what) {
                (_, Some(what)) => return Err(told(both(&what, timeline, &page))),
                (Some(item), None) => return Err(told(both(&format!("misses {item:#?}"), timeline, &page))),
                (None, None) => {}
            }
        }
        self.cursor = page.cursor;
        Ok(self.cursor.is_empty())
    }
}

/// Rule 24: within a tenth of `min(1, limit / follows)`.
fn check_rate(rate: f32, follows: usize, limit: u32) -> Verdict {
    let wanted = (f64::from(limit) / follows.max(1) as f64).min(1.0);
    let off = (f64::from(rate) - wanted).abs();
    if off <= 0.1 * wanted.min(f64::from(rate)) + 1e-6 {
        Ok(())
    } else {
        Err(format!("rate {rate}, but {wanted} is wanted for {follows} follows"))
    }
}

/// Compares a page with the timeline behind its cursor. What is wrong by itself, and what is missing.
fn compare<'m>(
    timeline: &'m [Expected],
    cursor: &str,
    page: &Page,
) -> Result<(), (Option<String>, Vec<&'m Expected>)> {
    let wrong = |what: String| (Some(what), Vec::new());
    let from = if cursor.is_empty() { None } else { Some(place_of_cursor(cursor).map_err(wrong)?) };
    let to = if page.cursor.is_empty() { None } else { Some(place_of_cursor(&page.cursor).map_err(wrong)?) };
    if let (Some(from), Some(to)) = (&from, &to)
        && to >= from
    {
        return Err(wrong("the cursor does not go down".into()));
    }
    let mut rest = timeline
        .iter()
        .skip_while(|item| from.as_ref().is_some_and(|from| place_of(item) >= *from))
        .peekable();
    let mut missing = Vec::new();
    for shown in &page.items {
        loop {
            let Some(next) = rest.next() else {
                return Err(wrong(format!("{shown:?} does not belong there, or its like has been missed")));
            };
            if same(next, shown) {
                if to.as_ref().is_some_and(|to| place_of(next) < *to) {
                    return Err(wrong(format!("{shown:?} comes again after the cursor")));
                }
                break;
            }
            missing.push(next);
        }
    }
    while let Some(next) = rest.next_if(|item| to.as_ref().is_none_or(|to| place_of(item) >= *to)) {
        missing.push(next);
    }
    if missing.is_empty() { Ok(()) } else { Err((None, missing)) }
}

/// The difference, then both lists.
fn both(what: &str, timeline: &[Expected], page: &Page) -> String {
    let flags =
        |reply, quote| format!("{}{}", if reply { " reply" } else { "" }, if quote { " quote" } else { "" });
    let line = |at: i64, uri: &str, cid: &str, repost: &str, flags: String| {
        format!("\n  {at} {repost} {uri} {}{flags}", &cid[cid.len().saturating_sub(6)..])
    };
    let shown = page
        .items
        .iter()
        .map(|i| line(i.sort_at, &i.uri, &i.cid, &i.repost, flags(i.is_reply, i.is_quote_post)));
    let model = timeline
        .iter()
        .map(|i| line(i.sort_at, &i.uri, &i.cid, &i.repost, flags(i.is_reply, i.is_quote_post)));
    format!(
        "{what}\nshown:{}\nthe model's whole timeline:{}",
        shown.collect::<String>(),
        model.collect::<String>()
    )
}

fn same(expected: &Expected, shown: &PageItem) -> bool {
    let Expected { uri, cid, repost, repost_cid, is_reply, is_repost, is_quote_post, sort_at, .. } = expected;
    (uri, cid, repost, repost_cid) == (&shown.uri, &shown.cid, &shown.repost, &shown.repost_cid)
        && (is_reply, is_repost, is_quote_post) == (&shown.is_reply, &shown.is_repost, &shown.is_quote_post)
        && *sort_at == shown.sort_at
}

/// The follow graph of one account: counts, both edge sets, and a living record behind each edge.
pub(crate) async fn graph(view: &dyn View, model: &Model, did: &Did) -> skyweir_store::Result<Verdict> {
    let Some(actor) = view.actor(did).await? else {
        let nobody = model.follows(did).is_empty() && model.followers(did).is_empty();
        return Ok(if nobody { Ok(()) } else { Err(format!("{did} is unknown")) });
    };
    let info = view.accounts(&[actor]).await?.remove(0);
    let follows = view.follows(actor, None, 1_000).await?;
    let followers = view.followers(actor, None, 1_000).await?;
    let (wanted, wanted_back) = (model.follows(did), model.followers(did));
    let pairs: Vec<(ActorId, ActorId)> = follows.iter().map(|subject| (actor, *subject)).collect();
    let edges = view.edges(&pairs).await?;
    let subjects = view.dids(&follows).await?;
    let back: BTreeSet<Did> = view.dids(&followers).await?.into_iter().collect();
    let same = subjects.iter().cloned().collect::<BTreeSet<_>>() == wanted
        && back == wanted_back
        && (info.follows as usize, info.followers as usize) == (wanted.len(), wanted_back.len())
        && (follows.len(), followers.len()) == (wanted.len(), wanted_back.len())
        && info.status == model.status(did);
    if !same {
        let what = format!(
            "{did}: {info:?}, follows {subjects:?} not {wanted:?}, followers {back:?} not {wanted_back:?}"
        );
        return Ok(Err(what));
    }
    for (subject, rkey) in subjects.iter().zip(edges) {
        if !rkey.as_ref().is_some_and(|rkey| model.follow_records(did, subject).contains(rkey)) {
            return Ok(Err(format!("{did} follows {subject} by {rkey:?}, which is no living record")));
        }
    }
    Ok(Ok(()))
}
