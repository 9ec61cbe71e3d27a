//! The download of one planned segment: as often as it takes, going on where it was cut.

use std::time::Duration;

use http::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::http::{Failure, Gate, Http};
use super::plan::{Mode, Planned};
use super::{BlockFault, BlockReader, Damage, Piece, SegmentWalk, Wanted};
use crate::source::{Backoff, Error, Frame, SourceConfig, Stream};

/// Why a download ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The segment isn't there any more: a new plan is needed.
    Gone(String),
    /// It can't be had.
    Failed(String),
    /// Nobody takes it.
    Unheard,
}

/// Who downloads; of use for one segment after the other.
pub(super) struct Downloader {
    pub(super) http: Http,
    gate: Gate,
    backoff: Backoff,
    attempts: u32,
    /// For how long in a row nothing may come; none: for ever.
    patience: Option<Duration>,
    /// Since when nothing comes.
    failing: Option<Instant>,
    most: usize,
    /// It is away while a block is read on a thread that may block.
    reader: Option<BlockReader>,
    /// How often in a row what came was damaged.
    damaged: u32,
}

/// Where what is downloaded goes.
pub(super) type Out = mpsc::Sender<Result<Frame, Stop>>;

impl Downloader {
    pub(super) fn new(
        stream: &Stream,
        config: &SourceConfig,
        gate: &Gate,
        patience: Option<Duration>,
        seed: u64,
    ) -> Result<Self, Error> {
        Ok(Self {
            http: Http::new(stream, config)?,
            gate: gate.clone(),
            backoff: Backoff::new(config, seed),
            attempts: config.archive_attempts,
            patience,
            failing: None,
            most: config.archive_block_bytes,
            reader: None,
            damaged: 0,
        })
    }

    /// Downloads what is planned, and hands on what is wanted of it, a frame a block.
    pub(super) async fn run(&mut self, planned: &Planned, wanted: Wanted, out: &Out) {
        self.failing = None;
        let done = match planned.mode {
            Mode::Segment => self.segment(&planned.name, wanted, out).await,
            Mode::Blocks => self.blocks(planned, wanted, out).await,
        };
        if let Err(stop) = done {
            // nobody waits for it: then nobody needs to know
            let _ = out.send(Err(stop)).await;
        }
    }

    /// It was answered: the next failure is a first one.
    pub(super) fn succeeded(&mut self) {
        self.damaged = 0;
        self.failing = None;
        self.backoff.reset();
    }

    /// What may pass is waited for, unless nothing came for too long; what came damaged is asked for again, some times.
    pub(super) async fn failed(&mut self, what: &str, failure: Failure) -> Result<(), Stop> {
        let failing = self.failing.get_or_insert_with(Instant::now).elapsed();
        let may_pass = matches!(failure, Failure::Passing(..) | Failure::Shorter(_));
        if may_pass && self.patience.is_some_and(|patience| failing >= patience) {
            let (seconds, why) = (failing.as_secs(), failure.why());
            return Err(Stop::Failed(format!(
                "nothing came of {what} for {seconds} s, at last so: {why}; it isn't waited for any longer \
                 (archive_patience_ms)"
            )));
        }
        match failure {
            Failure::Passing(why, wait) => {
                warn!(reason = %why, archive.part = what, "archive doesn't answer, asking again");
                wait.into_iter().for_each(|wait| self.gate.close(wait));
            }
            Failure::Damaged(damage) => {
                self.damaged += 1;
                if self.damaged >= self.attempts {
                    let advice = match &damage {
                        Damage::Block { fault: BlockFault::TooLarge { .. }, .. } => "raise that limit",
                        _ => "its server seems to hold it like that: its operator should know",
                    };
                    let times = self.damaged;
                    return Err(Stop::Failed(format!(
                        "{what} came damaged {times} times in a row, at last so: {damage}; {advice}"
                    )));
                }
                warn!(error = %damage, archive.part = what, "damaged download, asking again");
            }
            Failure::Gone(why) => return Err(Stop::Gone(format!("{what}: {why}"))),
            Failure::Shorter(why) => warn!(reason = %why, archive.part = what, "asking for all of it"),
            Failure::Refused(why) | Failure::Elsewhere { why, .. } | Failure::NoRepository { why, .. } => {
                return Err(Stop::Failed(format!(
                    "{why}: asking again won't help; it has to be a Jetstream v2, a relay or a PDS, which lets us in: \
                     see --from"
                )));
            }
            Failure::Unheard => return Err(Stop::Unheard),
        }
        sleep(self.backoff.pause()).await;
        self.gate.pass().await;
        Ok(())
    }

    async fn blocks(&mut self, planned: &Planned, wanted: Wanted, out: &Out) -> Result<(), Stop> {
        for index in planned.blocks.iter().flat_map(|range| range.first..=range.last) {
            let what = format!("block {index} of {}", planned.name);
            while let Err(failure) = self.block(&planned.name, index, wanted, out).await {
                self.failed(&what, failure).await?;
            }
        }
        Ok(())
    }

    async fn block(&mut self, name: &str, index: u64, wanted: Wanted, out: &Out) -> Result<(), Failure> {
        self.gate.pass().await;
        let call = format!("getBlock?segment={name}&blockIndex={index}");
        let frame = self.http.get(&call, |request| request).await?.whole(self.most).await?;
        let block = u32::try_from(index).unwrap_or(u32::MAX);
        let too_large = BlockFault::TooLarge { most: self.most };
        let frame = frame.ok_or(Failure::Damaged(Damage::Block { block, fault: too_large }))?;
        self.read(block, frame.into(), wanted, out).await
    }

    async fn segment(&mut self, name: &str, wanted: Wanted, out: &Out) -> Result<(), Stop> {
        let mut place = Place { walk: SegmentWalk::new(self.most), etag: None, done: 0 };
        while let Err(failure) = self.stream(name, &mut place, wanted, out).await {
            if matches!(failure, Failure::Damaged(_) | Failure::Shorter(_)) {
                place.begin_anew(self.most);
            }
            self.failed(name, failure).await?;
        }
        Ok(())
    }

    /// One request for a segment, from where the last one ended.
    async fn stream(
        &mut self,
        name: &str,
        place: &mut Place,
        wanted: Wanted,
        out: &Out,
    ) -> Result<(), Failure> {
        self.gate.pass().await;
        // kept while there is no answer: a refusal says nothing about what has come
        let (from, etag) = (place.walk.offset(), place.etag.clone());
        let mut answer = self
            .http
            .get(&format!("getSegment?name={name}"), |request| match etag.filter(|_| from > 0) {
                Some(etag) => request.header(RANGE, format!("bytes={from}-")).header(IF_RANGE, etag),
                None => request,
            })
            .await?;
        let range = answer.header(CONTENT_RANGE);
        if !range.is_some_and(|range| range.starts_with(&format!("bytes {from}-"))) {
            // all of it, perhaps in another state: compaction changes rows, not which block is which
            place.begin_anew(self.most);
            if answer.status.as_u16() == 206 {
                return Err(Failure::Passing("getSegment: another range than asked for".to_owned(), None));
            }
        }
        // a weak one doesn't promise the same bytes
        place.etag = answer.header(ETAG).filter(|etag| etag.starts_with('"')).map(str::to_owned);
        while let Some(bytes) = answer.chunk().await? {
            place.walk.feed(&bytes);
            while let Some(piece) = place.walk.next_piece().map_err(Failure::Damaged)? {
                let Piece::Block { block, frame } = piece else { continue };
                if block >= place.done {
                    self.read(block, frame, wanted, out).await?;
                    place.done = block + 1;
                }
            }
        }
        let walk = std::mem::replace(&mut place.walk, SegmentWalk::new(self.most));
        walk.end().map(drop).map_err(Failure::Damaged)
    }

    /// Reads a block and hands on what is wanted of it.
    async fn read(
        &mut self,
        block: u32,
        frame: bytes::Bytes,
        wanted: Wanted,
        out: &Out,
    ) -> Result<(), Failure> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => BlockReader::new(self.most).map_err(|error| Failure::Passing(error.to_string(), None))?,
        };
        let read = spawn_blocking(move || {
            let read = wanted.of_block(&mut reader, &frame);
            (reader, read)
        });
        let (reader, read) = match read.await {
            Ok(done) => done,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            // the runtime is shutting down
            Err(_) => return Err(Failure::Unheard),
        };
        self.reader = Some(reader);
        let frame = read.map_err(|fault| Failure::Damaged(Damage::Block { block, fault }))?;
        self.succeeded();
        let is_empty = frame.position.is_none() && frame.skipped.is_empty();
        if is_empty { Ok(()) } else { out.send(Ok(frame)).await.map_err(|_| Failure::Unheard) }
    }
}

/// How far a segment has come.
struct Place {
    walk: SegmentWalk,
    /// The state of the segment that the walk is of.
    etag: Option<String>,
    /// Blocks below this are handed on.
    done: u32,
}

impl Place {
    fn begin_anew(&mut self, most: usize) {
        (self.walk, self.etag) = (SegmentWalk::new(most), None);
    }
}
