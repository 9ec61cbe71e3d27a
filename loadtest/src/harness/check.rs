//! Whether a page is right: compared with what was sent.

use super::world::{Account, Cid, Kind, Place, Record, States, World};
use skyweir_proto::skyweir::v1::{GetTimelineResponse, TimelineItem};
use std::collections::HashSet;
use std::fmt;

/// What is wrong with a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An item that was on this page or one before already.
    Doubled(String),
    /// An item that belongs above the one before it.
    Order(String),
    /// An item that must not be there, and why.
    Extra(String, &'static str),
    /// An item that must be there.
    Missing(String),
    /// An item whose fields are not those of its record.
    Fields(String, String),
    /// Sampled though the viewer follows few, or whole though it follows too many.
    Sampled(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Doubled(uri) => write!(f, "doubled: {uri}"),
            Self::Order(uri) => write!(f, "wrong order: {uri} stands below an older item"),
            Self::Extra(uri, why) => write!(f, "extra: {uri}: {why}"),
            Self::Missing(uri) => write!(f, "missing: {uri}"),
            Self::Fields(uri, what) => write!(f, "wrong fields: {uri}: {what}"),
            Self::Sampled(what) => write!(f, "sampling: {what}"),
        }
    }
}

/// Follows one reader down its timeline, page by page.
#[derive(Debug)]
pub(super) struct Walk {
    viewer: Account,
    limit: usize,
    last: Option<Place>,
    shown: HashSet<(Record, Cid)>,
}

impl Walk {
    /// A checked reader begins at the top; `limit` is the service's reasonable limit.
    pub(super) fn new(viewer: Account, limit: usize) -> Self {
        Self { viewer, limit, last: None, shown: HashSet::new() }
    }

    /// The next page, and the states that it may show.
    pub(super) fn page(&mut self, world: &World, states: States, page: &GetTimelineResponse) -> Vec<Fault> {
        let mut faults = Vec::new();
        let above = self.last;
        for item in &page.items {
            if let Err(fault) = self.item(world, states, item) {
                faults.push(fault);
            }
        }
        self.sampled(world, states, page, &mut faults);
        // an empty page with a cursor promises nothing yet
        if !page.items.is_empty() || page.cursor.is_empty() {
            let down_to = if page.cursor.is_empty() { None } else { self.last };
            self.missing(world, states, (above, down_to), page.sampled, &mut faults);
        }
        faults
    }

    fn item(&mut self, world: &World, states: States, item: &TimelineItem) -> Result<(), Fault> {
        let (own, cid) =
            if item.is_repost { (&item.repost, &item.repost_cid) } else { (&item.uri, &item.cid) };
        let extra = |why| Err(Fault::Extra(own.clone(), why));
        let (Some(record), Some(cid)) = (Record::of(own), Cid::of(cid)) else {
            return extra("no such record was sent");
        };
        let Some(known) = world.version(record, cid) else {
            return extra(if world.knows(record) {
                "no version with this CID was sent"
            } else {
                "it was never sent"
            });
        };
        let above = self.last;
        let place = known.place;
        self.last = Some(above.map_or(place, |above| above.min(place)));
        if !self.shown.insert((record, cid)) {
            return Err(Fault::Doubled(own.clone()));
        }
        if let Err(why) = world.may_show(self.viewer, known, states) {
            return extra(why);
        }
        if above.is_some_and(|above| place > above) {
            return Err(Fault::Order(own.clone()));
        }
        let wrong = |what: &str| Err(Fault::Fields(own.clone(), what.to_owned()));
        if item.sort_at != place.sort_at {
            return wrong(&format!("sort_at {} for {}", item.sort_at, place.sort_at));
        }
        match record.kind {
            Kind::Post if !item.repost.is_empty() => wrong("a post with a repost"),
            Kind::Post if item.is_reply != known.is_reply => wrong("is_reply"),
            Kind::Post if item.is_quote_post != known.is_quote => wrong("is_quote_post"),
            Kind::Repost if Record::of(&item.uri) != known.subject => wrong("another post than the repost's"),
            _ => Ok(()),
        }
    }

    fn sampled(&self, world: &World, states: States, page: &GetTimelineResponse, faults: &mut Vec<Fault>) {
        // the rate may be off by a tenth, and so may be the moment when sampling begins
        let follows = world.follow_count(self.viewer, states) as f64;
        let limit = self.limit as f64;
        if page.sampled && follows < limit * 0.9 {
            faults.push(Fault::Sampled(format!("a sample for {follows} follows, {limit} are allowed")));
        }
        if !page.sampled && follows > limit * 1.1 {
            faults.push(Fault::Sampled(format!("no sample for {follows} follows, {limit} are allowed")));
        }
    }

    fn missing(
        &self,
        world: &World,
        states: States,
        (above, down_to): (Option<Place>, Option<Place>),
        own_only: bool,
        faults: &mut Vec<Fault>,
    ) {
        for item in world.must_show(self.viewer, states, above, down_to, own_only) {
            // among equal pairs the order is free: at the page's end one may still come
            let later = down_to == Some(item.place);
            if !later && !self.shown.contains(&(item.record, item.place.cid)) {
                faults.push(Fault::Missing(item.record.to_string()));
            }
        }
    }
}
