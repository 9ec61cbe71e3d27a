//! The stub's records, and its timelines.

use super::Mischief;
use serde_json::Value;
use skyweir_proto::skyweir::v1::{GetTimelineRequest, GetTimelineResponse, TimelineItem};
use std::collections::{BTreeMap, BTreeSet};

const POST: &str = "app.bsky.feed.post";
const REPOST: &str = "app.bsky.feed.repost";
const FOLLOW: &str = "app.bsky.graph.follow";

#[derive(Default)]
pub(super) struct Timelines {
    /// The time of the newest event, in microseconds since 1970.
    pub(super) stream_us: u64,
    /// Follow records by URI: (who, whom).
    follows: BTreeMap<String, (String, String)>,
    /// Living items by the URI of their own record: (author, item).
    items: BTreeMap<String, (String, TimelineItem)>,
    inactive: BTreeSet<String>,
}

impl Timelines {
    /// Applies an event as the older wire writes it.
    pub(super) fn apply(&mut self, event: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.stream_us = event["time_us"].as_u64().unwrap();
        let did = text(&event["did"]);
        if let Some(active) = event["account"]["active"].as_bool() {
            if active {
                self.inactive.remove(&did)
            } else {
                self.inactive.insert(did)
            };
            return;
        }
        let commit = &event["commit"];
        let collection = text(&commit["collection"]);
        let uri = format!("at://{did}/{collection}/{}", text(&commit["rkey"]));
        let record = &commit["record"];
        if commit["operation"] != "create" {
            self.follows.remove(&uri);
            self.items.remove(&uri);
            self.items.retain(|_, (_, item)| !(item.is_repost && item.uri == uri));
        }
        if commit["operation"] == "delete" {
            return;
        }
        if collection == FOLLOW {
            self.follows.insert(uri, (did, text(&record["subject"])));
        } else if collection == POST || collection == REPOST {
            let witnessed = (self.stream_us / 1_000) as i64;
            let sort_at = milliseconds(&text(&record["createdAt"])).min(witnessed);
            let mut item = TimelineItem {
                uri: uri.clone(),
                cid: text(&commit["cid"]),
                sort_at,
                ..TimelineItem::default()
            };
            if collection == REPOST {
                item.is_repost = true;
                item.repost = std::mem::replace(&mut item.uri, text(&record["subject"]["uri"]));
                item.repost_cid = std::mem::replace(&mut item.cid, text(&record["subject"]["cid"]));
            }
            item.is_reply = record.get("reply").is_some();
            item.is_quote_post = record.get("embed").is_some();
            self.items.insert(uri, (did, item));
        }
    }

    /// A page, after what the mischief does to it.
    pub(super) fn page(&self, request: &GetTimelineRequest, mischief: Mischief) -> GetTimelineResponse {
        let viewer = &request.actor_did;
        let mut authors: BTreeSet<&String> =
            self.follows.values().filter(|(who, _)| who == viewer).map(|(_, whom)| whom).collect();
        authors.insert(viewer);
        let active = self.items.values().filter(|(author, _)| !self.inactive.contains(author));
        let (ours, others): (Vec<_>, Vec<_>) = active.partition(|(author, _)| authors.contains(author));
        let sorted = |items: Vec<&(String, TimelineItem)>| {
            let mut items: Vec<TimelineItem> = items.into_iter().map(|(_, item)| item.clone()).collect();
            items.sort_by_key(|item| std::cmp::Reverse(place(item)));
            items
        };
        let (mut items, others) = (sorted(ours), sorted(others));
        if let Some((sort_at, cid)) = request.cursor.split_once("__") {
            let cursor = (sort_at.parse().unwrap(), cid.to_owned());
            items.retain(|item| place(item) < cursor);
        }
        let more = items.len() > request.limit as usize;
        items.truncate(request.limit as usize);
        let last = items.last().filter(|_| more).map(place);
        let cursor = last.map_or(String::new(), |(sort_at, cid)| format!("{sort_at}__{cid}"));
        if items.len() > 4 {
            harm(&mut items, &others, mischief);
        }
        GetTimelineResponse { items, cursor, rate: 1.0, ..GetTimelineResponse::default() }
    }
}

/// Sort time and own CID.
fn place(item: &TimelineItem) -> (i64, String) {
    (item.sort_at, if item.is_repost { item.repost_cid.clone() } else { item.cid.clone() })
}

fn harm(items: &mut Vec<TimelineItem>, others: &[TimelineItem], mischief: Mischief) {
    match mischief {
        Mischief::None | Mischief::Dawdles | Mischief::Refuses => {}
        Mischief::Doubles => items.insert(2, items[1].clone()),
        Mischief::Omits => drop(items.remove(2)),
        Mischief::Swaps => items.swap(1, 2),
        Mischief::Slips => {
            let fits =
                |other: &&TimelineItem| place(other) < place(&items[0]) && place(other) > place(&items[4]);
            if let Some(other) = others.iter().find(fits) {
                let at = items.partition_point(|item| place(item) > place(other));
                items.insert(at, other.clone());
            }
        }
    }
}

/// Reads `2026-01-01T00:00:00.000Z`.
fn milliseconds(time: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| time[range].parse::<i64>().unwrap();
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (year, month) = (number(0..4), number(5..7));
    let years: i64 = (1970..year).map(|year| 365 + i64::from(leap(year))).sum();
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: i64 = lengths[..month as usize - 1].iter().sum();
    let hours = (years + months + number(8..10) - 1) * 24 + number(11..13);
    ((hours * 60 + number(14..16)) * 60 + number(17..19)) * 1_000 + number(20..23)
}
