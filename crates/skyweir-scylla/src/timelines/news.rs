//! News of enrolments: what a writer has changed of a timeline, for all others. A Redis stream, an entry a change.
//!
//! What is enrolled stands in CQL, and is written there first; the stream tells that it is time to know it. An entry is
//! a text in the field `news`: a word, and numbers (see [`News`]). Its id is `ERA-NUMBER`: the era is when the stream
//! was made, numbers follow on each other from 1. So whoever has read up to one sees whether anything is missing behind
//! it; what Redis has lost in a restart shows by the name that it gives itself at each start (`run_id`).

use std::str::{FromStr, SplitAsciiWhitespace};
use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::streams::StreamRangeReply;
use skyweir_store::Result;
use skyweir_types::{ActorId, DidHash, Generation};

use crate::config::Config;
use crate::error::redis as refused;
use crate::redis_link;
use crate::table::timeline::Head;

/// How many entries one command adds or reads. Redis does nothing else meanwhile.
const AT_A_TIME: usize = 1_000;

/// A script that may ask for the id of the last entry. Where there is no stream it makes an empty one: so also whoever has
/// read nothing yet sees that one is another.
macro_rules! with_last {
    ($script:literal) => {
        concat!(
            r"
local function last()
  if redis.call('EXISTS', KEYS[1]) == 0 then
    local now = redis.call('TIME')
    local era = string.format('%s%03d', now[1], math.floor(tonumber(now[2]) / 1000))
    redis.call('XADD', KEYS[1], era .. '-0', 'news', 'made')
    redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
  end
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
",
            $script
        )
    };
}

/// Adds the texts from `ARGV[2]` on, and keeps about as many entries as `ARGV[1]` says.
const ADD: &str = with_last!(
    r"
local era, number = string.match(last(), '^(%d+)-(%d+)$')
for i = 2, #ARGV do
  local id = string.format('%s-%.0f', era, tonumber(number) + i - 1)
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], id, 'news', ARGV[i])
end
"
);

/// Up to `ARGV[2]` entries behind the one of id `ARGV[1]`, with Redis' name of this run and the last id: one step, or a
/// restart between them would go unseen.
const READ: &str = with_last!(
    r"
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
return {run, last(), redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])}
"
);

/// What has changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// `filling VIEWER GENERATION RATE DID_HASH AT`: a generation takes inserts; begun at these milliseconds.
    Filling { viewer: ActorId, generation: Generation, rate: f32, did_hash: DidHash, at_ms: i64 },
    /// `published VIEWER GENERATION FLOOR RATE SINCE LEN`: it answers, and held so many references then.
    Published { viewer: ActorId, head: Head, len: u32 },
    /// `left VIEWER GENERATION`: that generation has ended, and so have those before it.
    Left { viewer: ActorId, generation: Generation },
    /// `rate VIEWER GENERATION RATE`: it keeps fewer references from now on.
    Rate { viewer: ActorId, generation: Generation, rate: f32 },
}

impl News {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Filling { viewer, generation, rate, did_hash, at_ms } => {
                format!("filling {viewer} {generation} {rate} {} {at_ms}", did_hash.0)
            }
            Self::Published { viewer, head, len } => {
                let Head { floor, rate, generation, published_at } = head;
                format!("published {viewer} {generation} {floor} {rate} {published_at} {len}")
            }
            Self::Left { viewer, generation } => format!("left {viewer} {generation}"),
            Self::Rate { viewer, generation, rate } => format!("rate {viewer} {generation} {rate}"),
        }
    }

    /// Back from [`News::text`]; `None` when it isn't one.
    fn of_text(text: &str) -> Option<Self> {
        fn next<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Option<T> {
            words.next()?.parse().ok()
        }
        let words = &mut text.split_ascii_whitespace();
        let word = words.next()?;
        let (viewer, generation) = (ActorId(next(words)?), Generation(next(words)?));
        let news = match word {
            "filling" => {
                let (rate, did_hash) = (next(words)?, DidHash(next(words)?));
                Self::Filling { viewer, generation, rate, did_hash, at_ms: next(words)? }
            }
            "published" => {
                let (floor, rate) = (next(words)?, next(words)?);
                let head = Head { floor, rate, generation, published_at: next(words)? };
                Self::Published { viewer, head, len: next(words)? }
            }
            "left" => Self::Left { viewer, generation },
            "rate" => Self::Rate { viewer, generation, rate: next(words)? },
            _ => return None,
        };
        words.next().is_none().then_some(news)
    }
}

/// An entry's place in the stream; number 0 before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    era: u64,
    number: u64,
}

impl Id {
    fn read(text: &str) -> Option<Self> {
        let (era, number) = text.split_once('-')?;
        Some(Self { era: era.parse().ok()?, number: number.parse().ok()? })
    }

    /// Whether nothing comes between this one and `next`.
    fn is_before(self, next: Self) -> bool {
        self.era == next.era && self.number + 1 == next.number
    }
}

/// Up to where somebody has read the news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    run: String,
    last: Id,
}

/// What came behind a place.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) news: Vec<News>,
    pub(super) place: Place,
    /// Nothing came behind these.
    pub(super) at_end: bool,
}

/// What Redis answers; an entry that can't be read is `None`.
struct Answer {
    run: String,
    last: Id,
    entries: Vec<Option<(Id, News)>>,
}

/// Redis was started again: what it had may be lost, and numbers given twice.
const RESTARTED: &str = "restarted";
/// Some were cut away, or lost.
const MISSING: &str = "missing";
/// One is of another version.
const UNREADABLE: &str = "unreadable";

impl Place {
    /// What an answer tells whoever stands here, or why nobody can go on from here.
    fn told(&self, answer: Answer) -> std::result::Result<Told, &'static str> {
        let Answer { run, last, entries } = answer;
        if run != self.run {
            return Err(RESTARTED);
        }
        let (mut at, mut news) = (self.last, Vec::with_capacity(entries.len()));
        for entry in entries {
            let (id, one) = entry.ok_or(UNREADABLE)?;
            if !at.is_before(id) {
                return Err(MISSING);
            }
            at = id;
            news.push(one);
        }
        let at_end = at == last;
        // none came, and yet this isn't the last one: it was cut away, or lost
        if !at_end && news.is_empty() {
            return Err(MISSING);
        }
        Ok(Told { news, place: Self { run, last: at }, at_end })
    }
}

/// The stream of one store.
#[derive(Clone)]
pub(super) struct Stream {
    connection: ConnectionManager,
    key: String,
    most: u64,
}

impl Stream {
    pub(super) async fn connect(config: &Config) -> Result<Self> {
        let connection = redis_link::connect(config, Duration::ZERO).await?;
        let (key, most) = (format!("{}:news", config.keyspace), config.timelines.news_most);
        Ok(Self { connection, key, most })
    }

    /// Adds entries, in this order. After an error some of them may be there.
    pub(super) async fn add(&self, news: &[News]) -> Result<()> {
        for some in news.chunks(AT_A_TIME) {
            let mut command = redis::cmd("EVAL");
            command.arg(ADD).arg(1).arg(&self.key).arg(self.most);
            for one in some {
                command.arg(one.text());
            }
            let added: redis::RedisResult<()> = command.query_async(&mut self.connection.clone()).await;
            added.map_err(|e| refused("telling what has become of timelines", &e))?;
        }
        Ok(())
    }

    /// Where the stream ends now.
    pub(super) async fn end(&self) -> Result<Place> {
        let Answer { run, last, .. } = self.ask("0-0", 0).await?;
        Ok(Place { run, last })
    }

    /// What comes behind a place, or why nobody can go on from there: a word for a metric's label.
    pub(super) async fn read(&self, place: &Place) -> Result<std::result::Result<Told, &'static str>> {
        let Id { era, number } = place.last;
        let answer = self.ask(&format!("{era}-{number}"), AT_A_TIME).await?;
        Ok(place.told(answer))
    }

    async fn ask(&self, after: &str, n: usize) -> Result<Answer> {
        let doing = "reading what has become of timelines";
        let mut command = redis::cmd("EVAL");
        command.arg(READ).arg(1).arg(&self.key).arg(after).arg(n);
        let answer = command.query_async(&mut self.connection.clone()).await;
        let (run, last, found): (String, String, StreamRangeReply) =
            answer.map_err(|e| refused(doing, &e))?;
        let entries = found.ids.iter().map(|entry| {
            let text = entry.get::<String>("news")?;
            Some((Id::read(&entry.id)?, News::of_text(&text)?))
        });
        Ok(Answer {
            run,
            last: Id::read(&last).unwrap_or(Id { era: 0, number: 0 }),
            entries: entries.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn news() -> impl Strategy<Value = News> {
        let of = (any::<u32>(), any::<u64>()).prop_map(|(v, g)| (ActorId(v), Generation(g)));
        let rate = 0.0..=1.0f32;
        prop_oneof![
            (of.clone(), rate.clone(), any::<u64>(), any::<i64>()).prop_map(
                |((viewer, generation), rate, hash, at_ms)| {
                    News::Filling { viewer, generation, rate, did_hash: DidHash(hash), at_ms }
                }
            ),
            (of.clone(), rate.clone(), any::<i64>(), any::<i64>(), any::<u32>()).prop_map(
                |((viewer, generation), rate, floor, published_at, len)| {
                    News::Published { viewer, head: Head { floor, rate, generation, published_at }, len }
                }
            ),
            of.clone().prop_map(|(viewer, generation)| News::Left { viewer, generation }),
            (of, rate).prop_map(|((viewer, generation), rate)| News::Rate { viewer, generation, rate }),
        ]
    }

    proptest! {
        #[test]
        fn news_are_texts(news in news()) {
            prop_assert_eq!(News::of_text(&news.text()), Some(news));
        }
    }

    #[test]
    fn what_is_no_news_is_none() {
        for bad in
            ["", "left", "left 1", "left 1 2 3", "left -1 2", "gone 1 2", "rate 1 2 x", "filling 1 2 1"]
        {
            assert_eq!(News::of_text(bad), None, "{bad}");
        }
    }

    fn answer(run: &str, last: (u64, u64), entries: &[(u64, u64)]) -> Answer {
        let id = |(era, number)| Id { era, number };
        let left = || News::Left { viewer: ActorId(1), generation: Generation(1) };
        let entry = |at: &(u64, u64)| Some((id(*at), left()));
        Answer { run: run.into(), last: id(last), entries: entries.iter().map(entry).collect() }
    }

    fn place(era: u64, number: u64) -> Place {
        Place { run: "a".into(), last: Id { era, number } }
    }

    #[test]
    fn what_follows_is_told() {
        let told =
            |place: Place, answer| place.told(answer).map(|told| (told.news.len(), told.place, told.at_end));
        assert_eq!(told(place(7, 3), answer("a", (7, 3), &[])), Ok((0, place(7, 3), true)));
        assert_eq!(told(place(7, 3), answer("a", (7, 5), &[(7, 4), (7, 5)])), Ok((2, place(7, 5), true)));
        assert_eq!(told(place(7, 3), answer("a", (7, 9), &[(7, 4)])), Ok((1, place(7, 4), false)));
        // the first ones of all
        assert_eq!(told(place(7, 0), answer("a", (7, 0), &[])), Ok((0, place(7, 0), true)));
        assert_eq!(told(place(7, 0), answer("a", (7, 1), &[(7, 1)])), Ok((1, place(7, 1), true)));
    }

    #[test]
    fn what_is_missing_shows() {
        let mut unreadable = answer("a", (7, 4), &[(7, 4)]);
        unreadable.entries[0] = None;
        for (said, why, place, answer) in [
            (RESTARTED, "nothing new", place(7, 3), answer("b", (7, 3), &[])),
            (RESTARTED, "something new", place(7, 3), answer("b", (7, 4), &[(7, 4)])),
            (MISSING, "the tail is lost", place(7, 3), answer("a", (7, 2), &[])),
            (MISSING, "all is lost", place(7, 3), answer("a", (8, 0), &[])),
            (MISSING, "made anew", place(7, 3), answer("a", (8, 1), &[(8, 1)])),
            (MISSING, "made anew where there were none", place(7, 0), answer("a", (8, 1), &[(8, 1)])),
            (MISSING, "made anew, as far", place(7, 3), answer("a", (8, 4), &[(8, 4)])),
            (MISSING, "cut away behind us", place(7, 3), answer("a", (7, 9), &[(7, 8), (7, 9)])),
            (MISSING, "cut away before the first", place(7, 0), answer("a", (7, 2), &[(7, 2)])),
            (MISSING, "one was taken out", place(7, 3), answer("a", (7, 6), &[(7, 4), (7, 6)])),
            (MISSING, "the last was taken out", place(7, 3), answer("a", (7, 4), &[])),
            (UNREADABLE, "of another version", place(7, 3), unreadable),
        ] {
            assert_eq!(place.told(answer), Err(said), "{why}");
        }
    }
}
