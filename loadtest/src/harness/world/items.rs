//! All items that were sent, version by version.

use super::names::{Account, Cid, Kind, Place, Record, Span};
use crate::time;
use serde_json::Value;
use std::collections::HashMap;

/// The index of no item.
const NONE: u32 = u32::MAX;

/// One version of a post or repost.
#[derive(Debug)]
pub(in crate::harness) struct Item {
    pub(in crate::harness) record: Record,
    pub(in crate::harness) place: Place,
    /// When it is an item.
    pub(in crate::harness) span: Span,
    /// The post of a repost.
    pub(in crate::harness) subject: Option<Record>,
    pub(in crate::harness) is_reply: bool,
    pub(in crate::harness) is_quote: bool,
    /// The version before.
    older: u32,
}

#[derive(Debug, Default)]
pub(super) struct Items {
    all: Vec<Item>,
    /// The newest version of each record.
    newest: HashMap<Record, u32>,
    /// An author's items from the bottom of a timeline up.
    by_author: HashMap<Account, Vec<u32>>,
    reposts: HashMap<Record, Vec<u32>>,
}

impl Items {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// A new version.
    pub(super) fn add(&mut self, record: Record, cid: Cid, value: &Value, time_us: u64, number: u64) {
        let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
        let witnessed = (time_us / 1_000) as i64;
        let created = time::unmillis(&text(&value["createdAt"])).unwrap_or(witnessed);
        let place = Place { sort_at: created.min(witnessed), cid };
        let subject =
            if record.kind == Kind::Repost { Record::of(&text(&value["subject"]["uri"])) } else { None };
        let index = self.all.len() as u32;
        let older = self.newest.insert(record, index).unwrap_or(NONE);
        self.all.push(Item {
            record,
            place,
            span: Span::since(number),
            subject,
            is_reply: value.get("reply").is_some(),
            is_quote: value.get("embed").is_some(),
            older,
        });
        let of_author = self.by_author.entry(record.author).or_default();
        // nearly always at the end
        let at = of_author.partition_point(|other| self.all[*other as usize].place <= place);
        of_author.insert(at, index);
        if let Some(subject) = subject {
            self.reposts.entry(subject).or_default().push(index);
        }
    }

    /// A record's current version is gone, and with a post its reposts.
    pub(super) fn end(&mut self, record: Record, number: u64) {
        let Some(index) = self.newest.get(&record) else { return };
        let gone = [*index].into_iter().chain(self.reposts.remove(&record).unwrap_or_default());
        for index in gone {
            let span = &mut self.all[index as usize].span;
            span.until = span.until.min(number);
        }
    }

    pub(super) fn knows(&self, record: Record) -> bool {
        self.newest.contains_key(&record)
    }

    pub(super) fn newest(&self, record: Record) -> Option<&Item> {
        self.newest.get(&record).map(|index| &self.all[*index as usize])
    }

    pub(super) fn version(&self, record: Record, cid: Cid) -> Option<&Item> {
        let mut versions =
            std::iter::successors(self.newest(record), |item| self.all.get(item.older as usize));
        versions.find(|item| item.place.cid == cid)
    }

    /// An author's items below one place, down to another one.
    pub(super) fn between(
        &self,
        author: Account,
        below: Option<Place>,
        down_to: Option<Place>,
    ) -> impl Iterator<Item = &Item> {
        let of_author = self.by_author.get(&author).map_or(&[][..], Vec::as_slice);
        let place = |index: &u32| self.all[*index as usize].place;
        let end = below.map_or(of_author.len(), |below| of_author.partition_point(|at| place(at) < below));
        let start = down_to.map_or(0, |down_to| of_author.partition_point(|at| place(at) < down_to));
        of_author[start.min(end)..end].iter().map(|index| &self.all[*index as usize])
    }
}
