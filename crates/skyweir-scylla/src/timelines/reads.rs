//! Reads of timelines, told by whoever served them to all who write: a Redis stream beside that of the news, so that many
//! reads push out none of those. Who misses a read takes a timeline for less read than it is, which the next one mends.
//!
//! An entry is a text in the field `reads`: `VIEWER AT VIEWER AT ...`, read at these milliseconds.

use std::fmt::Write as _;
use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::streams::StreamRangeReply;
use skyweir_store::Result;
use skyweir_types::ActorId;

use crate::config::Config;
use crate::error::redis as refused;
use crate::{metrics, redis_link};

/// How many reads an entry tells, up to 800 bytes. Not a setting: fewer take more room each, and more save none.
const TOGETHER: usize = 32;
/// How many entries one command reads, or are sent at a time. Not a setting: Redis does nothing else meanwhile.
const AT_A_TIME: usize = 1_000;

/// Of which timeline, and when, milliseconds.
pub(super) type Read = (ActorId, i64);

fn text(reads: &[Read]) -> String {
    let mut text = String::new();
    for (viewer, at_ms) in reads {
        let gap = if text.is_empty() { "" } else { " " };
        // writing to a text doesn't fail
        let _ = write!(text, "{gap}{viewer} {at_ms}");
    }
    text
}

/// Back from [`text`]; `None` when it isn't one.
fn of_text(text: &str) -> Option<Vec<Read>> {
    let (mut words, mut reads) = (text.split_ascii_whitespace(), Vec::with_capacity(TOGETHER));
    while let Some(viewer) = words.next() {
        reads.push((ActorId(viewer.parse().ok()?), words.next()?.parse().ok()?));
    }
    Some(reads)
}

/// The last entry that somebody has heard, by its id. `None`: all there are are to be heard.
pub(super) type Place = Option<String>;

/// What came behind a place.
#[derive(Debug, PartialEq)]
pub(super) struct Heard {
    pub(super) reads: Vec<Read>,
    pub(super) place: Place,
    /// Nothing came behind these.
    pub(super) at_end: bool,
    /// Some between the place and these are gone: cut away, or lost.
    is_broken: bool,
    unreadable: u64,
}

/// What these entries tell whoever stands there: all from that of the place on, if it is still there. If nothing is, those
/// that come have other ids than those that were lost, maybe lower ones: then all are to be heard.
fn heard(place: &Place, entries: Vec<(String, Option<Vec<Read>>)>) -> Heard {
    let at_end = entries.len() <= AT_A_TIME;
    let is_there = entries.first().is_some_and(|(first, _)| Some(first) == place.as_ref());
    let mut heard = Heard {
        reads: Vec::new(),
        place: entries.last().map(|(last, _)| last.clone()),
        at_end,
        is_broken: place.is_some() && !is_there,
        unreadable: 0,
    };
    for (_, reads) in entries.into_iter().skip(usize::from(is_there)) {
        match reads {
            Some(reads) => heard.reads.extend(reads),
            None => heard.unreadable += 1,
        }
    }
    heard
}

/// The stream of one store.
#[derive(Clone)]
pub(crate) struct Reads {
    connection: ConnectionManager,
    key: String,
    /// How many entries it keeps, about.
    most: usize,
}

impl Reads {
    pub(crate) async fn connect(config: &Config) -> Result<Self> {
        let connection = redis_link::connect(config, Duration::ZERO).await?;
        let (key, most) = (format!("{}:reads", config.keyspace), config.timelines.reads_most / TOGETHER);
        Ok(Self { connection, key, most: most.max(1) })
    }

    /// Tells some. After an error some of them may be told.
    pub(super) async fn add(&self, reads: &[Read]) -> Result<()> {
        for some in reads.chunks(TOGETHER * AT_A_TIME) {
            let mut entries = redis::pipe();
            for reads in some.chunks(TOGETHER) {
                let entry = entries.cmd("XADD").arg(&self.key).arg("MAXLEN").arg("~").arg(self.most);
                entry.arg("*").arg("reads").arg(text(reads)).ignore();
            }
            let added = entries.exec_async(&mut self.connection.clone()).await;
            added.map_err(|e| refused("telling which timelines were read", &e))?;
        }
        Ok(())
    }

    /// Where it ends now.
    pub(super) async fn end(&self) -> Result<Place> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        Ok(self.ask(&command).await?.ids.pop().map(|entry| entry.id))
    }

    /// What comes behind a place; what is missing there is counted.
    pub(super) async fn behind(&self, place: &Place) -> Result<Heard> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&self.key).arg(place.as_deref().unwrap_or("-")).arg("+");
        command.arg("COUNT").arg(AT_A_TIME + 1);
        let found = self.ask(&command).await?.ids.into_iter().map(|entry| {
            let reads = entry.get::<String>("reads").and_then(|text| of_text(&text));
            (entry.id, reads)
        });
        let heard = heard(place, found.collect());
        metrics::reads_missed("missing", u64::from(heard.is_broken));
        metrics::reads_missed("unreadable", heard.unreadable);
        Ok(heard)
    }

    async fn ask(&self, command: &redis::Cmd) -> Result<StreamRangeReply> {
        let answer = command.query_async(&mut self.connection.clone()).await;
        answer.map_err(|e| refused("reading which timelines were read", &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_texts() {
        for reads in [vec![], vec![(ActorId(1), -1)], vec![(ActorId(0), i64::MAX), (ActorId(u32::MAX), 7)]] {
            assert_eq!(of_text(&text(&reads)), Some(reads));
        }
        for bad in ["1", "x 1", "1 x", "1 2 3", "-1 2"] {
            assert_eq!(of_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_gone_before_it_was_heard_shows() {
        let entries = |ids: &[&str]| -> Vec<_> {
            ids.iter().map(|id| ((*id).to_owned(), Some(vec![(ActorId(1), 7)]))).collect()
        };
        let told = |place: Option<&str>, entries| {
            let heard = heard(&place.map(Into::into), entries);
            (heard.reads.len(), heard.place, heard.at_end, heard.is_broken)
        };
        let at = |id: &str| Some(id.to_owned());
        // the first ones of all
        assert_eq!(told(None, entries(&[])), (0, None, true, false));
        assert_eq!(told(None, entries(&["1-0", "1-1"])), (2, at("1-1"), true, false));
        // that of the place comes first
        assert_eq!(told(Some("1-1"), entries(&["1-1"])), (0, at("1-1"), true, false));
        assert_eq!(told(Some("1-1"), entries(&["1-1", "2-0", "2-1"])), (2, at("2-1"), true, false));
        assert_eq!(told(Some("1-1"), entries(&["2-0", "2-1"])), (2, at("2-1"), true, true));
        assert_eq!(told(Some("1-1"), entries(&[])), (0, None, true, true));
        let many = [at("1-1"), at("2-0")].into_iter().flatten().cycle().take(AT_A_TIME + 1);
        let many = many.map(|id| (id, None)).collect();
        let heard = heard(&at("1-1"), many);
        assert_eq!((heard.at_end, heard.unreadable), (false, AT_A_TIME as u64));
    }
}
