//! Learning what other processes have changed: the news up to their end, or all lines anew when some are missing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use skyweir_store::{Error, Result};
use skyweir_types::{ActorId, Generation};
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::enrolments::Enrolled;
use super::line::{Line, Visits};
use super::news::{News, Place};
use super::touches::TELL;
use super::{Inner, reads};
use crate::metrics;
use crate::table::enrolled::State;
use crate::table::timeline::Head;

/// So many generations end, are told and are out before others are: what an error leaves is less each time.
const ENDED_TOGETHER: usize = 1_000;

/// How many timelines that reads found gone are looked at together. Not a setting, as nothing depends on it: the next
/// read finds the others again.
const GONE_MOST: usize = 10_000;

/// Up to where this process knows the news.
#[derive(Default)]
pub(super) struct Learnt {
    /// How many looks have begun.
    begun: AtomicU64,
    look: Mutex<Look>,
    /// What reads found nothing of, though this process knows it.
    gone: std::sync::Mutex<HashMap<ActorId, Generation>>,
}

impl Learnt {
    /// Counts a look that begins now.
    fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn gone(&self) -> MutexGuard<'_, HashMap<ActorId, Generation>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that nothing stands of a generation any more. No read waits for what is done about it.
    pub(super) fn note_gone(&self, viewer: ActorId, generation: Generation) {
        let mut gone = self.gone();
        if gone.len() < GONE_MOST {
            gone.insert(viewer, generation);
        }
    }
}

/// Held by who looks.
#[derive(Default)]
struct Look {
    /// `None`: all lines have to be loaded first.
    place: Option<Place>,
    /// When they were loaded last, or that failed.
    loaded: Option<Instant>,
    /// The number of the last look that ended, and how.
    last: Option<(u64, Result<()>)>,
}

/// An error for everybody who waited for the same.
fn again(outcome: &Result<()>) -> Result<()> {
    match outcome {
        Ok(()) => Ok(()),
        Err(Error::Corrupt(why)) => Err(Error::Corrupt(why.clone())),
        Err(Error::Unavailable(why)) => Err(Error::Unavailable(why.clone())),
        Err(Error::Limit(why)) => Err(Error::Limit(why.clone())),
    }
}

impl Inner {
    /// Reads the news to their end. Those who ask while somebody does share the next look: one that began after they
    /// asked.
    pub(super) async fn refresh(&self) -> Result<()> {
        let asked = self.learnt.begun.load(Ordering::Acquire);
        let mut look = self.learnt.look.lock().await;
        if let Some((number, outcome)) = &look.last
            && *number > asked
        {
            return again(outcome);
        }
        let mut number = self.learnt.begin();
        let mut outcome = self.learn(&mut look.place).await;
        if outcome.is_ok() && look.place.is_none() {
            if let Some(loaded) = look.loaded {
                sleep_until(loaded + self.reload).await;
            }
            // who asked while this waited shares it
            number = self.learnt.begin();
            outcome = self.load_into(&mut look).await;
        }
        look.last = Some((number, again(&outcome)));
        outcome
    }

    /// Reads the news to their end. If that can't be, the place is gone after it.
    async fn learn(&self, place: &mut Option<Place>) -> Result<()> {
        while let Some(known) = place {
            match self.stream.read(known).await? {
                Ok(told) => {
                    told.news.iter().for_each(|news| self.lines.learn(news));
                    *known = told.place;
                    if told.at_end {
                        break;
                    }
                }
                Err(why) => {
                    tracing::warn!(
                        news.broken = why,
                        "news of enrolments can't be followed, all timelines' lines are loaded again"
                    );
                    metrics::reloaded(why);
                    *place = None;
                }
            }
        }
        Ok(())
    }

    /// Loads all lines. No news have to be read after that: of what was told before this began the rows were there. So
    /// however fast news come that can't be read, whoever asks waits for one load.
    async fn load_into(&self, look: &mut Look) -> Result<()> {
        let loaded = self.load().await;
        look.loaded = Some(Instant::now());
        look.place = Some(loaded?);
        Ok(())
    }

    /// Tells others of a change that is written already, and returns when this process knows it too.
    pub(super) async fn tell(&self, news: News) -> Result<()> {
        self.stream.add(&[news]).await?;
        self.refresh().await
    }

    /// Finds out what is enrolled now, and from which place on the news tell what comes after that. What was given up
    /// leaves on the way.
    async fn load(&self) -> Result<Place> {
        // before anything is read: what changes meanwhile is told behind it
        let place = self.stream.end().await?;
        let rows = self.enrolments.all().await?;
        // after the rows: of those that are published the heads have stood before
        let mut heads = self.partitions.heads().await?;
        let (mut lines, mut over, mut left_behind) = (HashMap::new(), Vec::new(), Vec::new());
        for row in rows {
            match self.line(&mut heads, &row) {
                Some(line) => {
                    if line.is_filling() && heads.contains_key(&row.viewer) {
                        left_behind.push((row.viewer, Generation(line.generation.0 - 1)));
                    }
                    lines.insert(row.viewer, line);
                }
                None if row.state == State::Out => {}
                None => over.push((row.viewer, row.generation)),
            }
        }
        // whoever began a generation may have died before it removed the former one: that would answer, and what is
        // written to this one would change its floor
        self.db
            .each(left_behind.len(), |at| self.partitions.wipe(left_behind[at].0, left_behind[at].1))
            .await?;
        // before they are forgotten: until its rows are gone a timeline answers, and needs what is written to it
        self.end_all(&over).await?;
        self.lines.load(lines).await;
        Ok(place)
    }

    /// What is to be known of a timeline; `None` if it doesn't take references, or isn't to go on.
    fn line(&self, heads: &mut HashMap<ActorId, Head>, row: &Enrolled) -> Option<Line> {
        let Enrolled { viewer, state, generation, did_hash, visits } = *row;
        let visits = visits.unwrap_or_else(|| Visits::first(generation.0.cast_signed()));
        match state {
            State::Filling if !self.is_given_up(generation) => {
                // at which rate isn't known before it is published: all is written, and drawn again by reads
                Some(Line::filling(generation, did_hash, 1.0, visits))
            }
            State::In => {
                let head = heads.remove(&viewer).filter(|head| head.generation == generation)?;
                Some(Line {
                    floor: head.floor,
                    since_ms: Some(head.published_at),
                    // as if it were full: counted when that matters
                    len: self.full(),
                    counted: false,
                    ..Line::filling(generation, did_hash, head.rate, visits)
                })
            }
            State::Filling | State::Leaving | State::Out => None,
        }
    }

    /// How many references one is taken to hold that nobody has counted.
    fn full(&self) -> u32 {
        u32::try_from(self.lengths.cap).unwrap_or(u32::MAX)
    }

    /// Whether a generation that isn't published by now won't be: it has the time of its beginning.
    fn is_given_up(&self, generation: Generation) -> bool {
        let age_us = self.clock.now_micros().saturating_sub(generation.0.cast_signed());
        age_us >= i64::try_from(self.filling_ms).unwrap_or(i64::MAX).saturating_mul(1_000)
    }

    /// Ends generations, whoever began them, and tells others so. After an error whoever loads the lines does it again.
    pub(super) async fn end_all(&self, over: &[(ActorId, Generation)]) -> Result<()> {
        for over in over.chunks(ENDED_TOGETHER) {
            self.db.each(over.len(), |at| self.remove(over[at].0, over[at].1)).await?;
            let left = |&(viewer, generation)| News::Left { viewer, generation };
            self.stream.add(&over.iter().map(left).collect::<Vec<_>>()).await?;
            self.db.each(over.len(), |at| self.enrolments.mark(over[at].0, over[at].1, State::Out)).await?;
        }
        Ok(())
    }

    /// Tells of timelines that reads found gone: who ended one may have died before it did.
    async fn look_at_gone(&self) -> Result<()> {
        let gone = std::mem::take(&mut *self.learnt.gone());
        let mut left = Vec::new();
        for (viewer, generation) in gone {
            let has_left = match self.enrolments.row(viewer).await? {
                // about to be told, if its beginner lives
                Some((State::Filling, now)) => self.is_given_up(now),
                Some((State::In, now)) => now != generation,
                Some((State::Leaving | State::Out, _)) | None => true,
            };
            left.extend(has_left.then_some(News::Left { viewer, generation }));
        }
        self.stream.add(&left).await
    }

    /// Ends a generation, whoever began it, and tells others so. False when another has begun or it has ended already.
    pub(super) async fn end(&self, viewer: ActorId, generation: Generation) -> Result<bool> {
        let left = self.remove(viewer, generation).await?;
        // also when another process ended it: this one may not have been told
        self.tell(News::Left { viewer, generation }).await?;
        if left {
            self.enrolments.mark(viewer, generation, State::Out).await?;
        }
        Ok(left)
    }

    /// The first steps of ending a generation. Its row stays `leaving` until that is told: so whoever loads the lines
    /// finds what was removed without a word.
    async fn remove(&self, viewer: ActorId, generation: Generation) -> Result<bool> {
        let left = self.enrolments.mark(viewer, generation, State::Leaving).await?;
        // without rows and what stands beside them nothing answers; whoever has begun another generation may have died
        // before it removed this one
        self.partitions.wipe(viewer, generation).await?;
        Ok(left)
    }

    /// Looks after generations that fill for too long: who began one may have ended before it published it, or before it
    /// told so.
    async fn look_at_filling(&self) -> Result<()> {
        let filling = self.lines.filling().await;
        for (viewer, generation) in
            filling.into_iter().filter(|(_, generation)| self.is_given_up(*generation))
        {
            let head = match self.enrolments.row(viewer).await? == Some((State::In, generation)) {
                true => self.partitions.head(viewer).await?.filter(|head| head.generation == generation),
                false => None,
            };
            match head {
                // nobody has counted it
                Some(head) => self.tell(News::Published { viewer, head, len: self.full() }).await?,
                None => {
                    self.end(viewer, generation).await?;
                }
            }
        }
        Ok(())
    }

    /// Hears which timelines were read elsewhere.
    async fn hear_reads(&self, place: &mut reads::Place) -> Result<()> {
        loop {
            let heard = self.reads.behind(place).await?;
            heard.reads.iter().for_each(|(viewer, at_ms)| self.lines.touch(*viewer, *at_ms));
            *place = heard.place;
            if heard.at_end {
                return Ok(());
            }
        }
    }
}

/// Keeps up with the news also when nobody asks, for ever, and does what is due now and then. Reads are heard up to
/// this place.
pub(super) async fn upkeep(inner: Arc<Inner>, every: Duration, mut heard: reads::Place) {
    // who opened it has just looked
    let mut pace = interval_at(Instant::now() + every, every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let look = Duration::from_millis((inner.filling_ms / 4).max(1));
    let (mut told, mut looked) = (Instant::now(), Instant::now());
    let mut fails = false;
    loop {
        pace.tick().await;
        let done = async {
            inner.look_at_gone().await?;
            inner.refresh().await?;
            if told.elapsed() >= TELL {
                told = Instant::now();
                inner.touches.tell(&inner.reads).await?;
                inner.hear_reads(&mut heard).await?;
            }
            if looked.elapsed() >= look {
                looked = Instant::now();
                inner.look_at_filling().await?;
            }
            Ok::<_, Error>(())
        };
        let done = done.await;
        if let Err(error) = &done
            && !fails
        {
            tracing::warn!(%error, "news of enrolments and reads can't be read or told, trying again");
        }
        fails = done.is_err();
    }
}
