//! The soak: a share of the sustained rate for a long time. Memory, lag and latency have to stay flat.

mod samples;

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skyweir_store::{Deliveries as _, Store as _};
use skyweir_types::{Clock, ItemId, TaskId};
use tokio::time::Instant;

use self::samples::{Sample, tell};
use crate::Options;
use crate::celebrity::apply;
use crate::crowd::Shape;
use crate::machine::{quantile, resident};
use crate::reading::{READ_EVERY, Reading};
use crate::report::{Report, number};
use crate::rng::Rng;
use crate::served::{PAGE, Served, Setting};

/// How long the sustained rate is learned, after as long a time that doesn't count: until memtables are flushed,
/// tables compacted and timelines checkpointed as they go on to be.
const LEARN: Duration = Duration::from_secs(60);
/// A short soak learns no longer than for this share of itself.
const LEARN_SHARE: u32 = 8;
/// So many groups wait for the fan-out meanwhile.
const BEHIND: u64 = 4;
/// Posts are committed this often, those that are due together.
const TICK: Duration = Duration::from_millis(20);
/// A sample is taken this often.
const SAMPLE: Duration = Duration::from_secs(10);
/// No sample takes more of a short soak than this share.
const SAMPLES: u32 = 24;

/// Learns the sustained rate, then feeds a share of it.
pub(crate) fn run(report: &mut Report, options: &Options, dir: &Path) -> Result<()> {
    ensure!((0.05..=24.0 * 60.0).contains(&options.minutes), "--minutes goes from 0.05 to 1440");
    ensure!((0.01..=1.0).contains(&options.share), "--share goes from 0.01 to 1");
    let lasts = Duration::from_secs_f64(options.minutes * 60.0);
    let every = SAMPLE.min(lasts / SAMPLES);
    report.bar(
        "soak: a share of the sustained rate, as long as it takes to see whether memory, lag and latency stay flat",
        &format!(
            "{} minutes at {} of the rate that was sustained for {} s before, with as many posts as could be delivered and the \
             same reads; posts of small authors drawn alike, committed every {} ms, the last of each commit watched; a \
             timeline read over gRPC every {} ms; both by the clock, and timed from when they were due; a sample every {} s",
            number(options.minutes),
            number(options.share),
            number(LEARN.min(lasts / LEARN_SHARE).as_secs_f64()),
            TICK.as_millis(),
            READ_EVERY.as_millis(),
            number(every.as_secs_f64())
        ),
    );
    let mut served = Served::with(report, dir, Shape::of(options.scale), &Setting::new()?)?;
    let reading = Reading::start(&served);
    let sustained = learn(&mut served, LEARN.min(lasts / LEARN_SHARE))?;
    report.note(format!(
        "sustained: {} references/s, of which this feeds {}",
        number(sustained),
        options.share
    ));
    drop(reading.take());
    let fed = feed(&mut served, sustained * options.share, lasts, every, &reading)?;
    reading.stop()?;
    served.io.block_on(Served::caught_up(&served.handle, &served.store))?;
    served.read_back(report)?;
    tell(report, &fed, sustained * options.share)?;
    served.stop()
}

/// References a second when there is always more to deliver.
fn learn(served: &mut Served, lasts: Duration) -> Result<f64> {
    let authors = served.crowd.small_authors();
    let Served { io, crowd, feed, handle, store, .. } = served;
    let group = skyweir_indexer::Config::default().group_events;
    let mut rng = Rng::new(81);
    io.block_on(async {
        let (began, mut references) = (Instant::now(), 0_u64);
        let mut counted: Option<(Duration, u64)> = None;
        let mut done = handle.done();
        loop {
            let mut events = Vec::with_capacity(group);
            for _ in 0..group {
                let author = authors.start + rng.below(authors.end - authors.start);
                references += u64::from(crowd.followers[author as usize]);
                events.push(crowd.post(author)?);
            }
            feed.group(&events).await?;
            let next = store.next_task().borrow().0;
            done.wait_for(|done| next - done.0 <= BEHIND * group as u64).await.context("the writer ended")?;
            let took = began.elapsed();
            match counted {
                None if took >= lasts => counted = Some((took, references)),
                Some((from, then)) if took >= from + lasts => {
                    break Ok((references - then) as f64 / (took - from).as_secs_f64());
                }
                _ => {}
            }
            crowd.forget_old_items(PAGE + 1);
        }
    })
}

/// Feeds so many references a second, and takes samples.
fn feed(
    served: &mut Served,
    rate: f64,
    lasts: Duration,
    every: Duration,
    reading: &Reading,
) -> Result<Vec<Sample>> {
    let authors = served.crowd.small_authors();
    let Served { io, crowd, feed, handle, store, .. } = served;
    let group = skyweir_indexer::Config::default().group_events;
    let clock = Clock::system();
    let mut rng = Rng::new(82);
    let mut watched: VecDeque<Watched> = VecDeque::new();
    let (mut delays, mut samples) = (Vec::new(), Vec::new());
    let terminal = std::io::stderr().is_terminal();
    io.block_on(async {
        let (began, began_us) = (Instant::now(), clock.now_micros());
        let (mut references, mut references_then, mut sampled) = (0_u64, 0_u64, began);
        let mut due = Duration::ZERO;
        while due < lasts {
            // after a stall step follows step, and each has waited since it was due
            tokio::time::sleep_until(began + due).await;
            let mut events = Vec::new();
            while references < (due.as_secs_f64() * rate) as u64 {
                let author = authors.start + rng.below(authors.end - authors.start);
                references += u64::from(crowd.followers[author as usize]);
                events.push((author, crowd.post(author)?));
            }
            // the last of each step is watched: it waits for all others
            if let Some((author, last)) = events.pop() {
                let others: Vec<_> = events.into_iter().map(|(_, event)| event).collect();
                for events in others.chunks(group) {
                    feed.group(events).await?;
                }
                let item = apply(feed, store, author, last).await?;
                let task = *store.next_task().borrow();
                watched.push_back(Watched { due_us: began_us + due.as_micros() as i64, item, task });
            }
            due += TICK;
            finished(handle, &clock, &mut watched, &mut delays);
            if sampled.elapsed() < every {
                continue;
            }
            let (lag, mut read) = (handle.lag(), reading.take());
            ensure!(
                !read.is_empty(),
                "no read was answered for {} s",
                number(sampled.elapsed().as_secs_f64())
            );
            if delays.is_empty() {
                // nothing has finished: the oldest has taken so long at least
                delays.extend(watched.front().map(|oldest| oldest.age(&clock)));
            }
            samples.push(Sample {
                seconds: began.elapsed().as_secs_f64(),
                resident: resident()? as f64 / f64::from(1 << 20),
                lag_tasks: lag.tasks as f64,
                lag_seconds: lag.seconds,
                delivery_p99: quantile(&mut delays, 0.99),
                read_p99: quantile(&mut read, 0.99),
                rate: (references - references_then) as f64 / sampled.elapsed().as_secs_f64(),
            });
            (references_then, sampled) = (references, Instant::now());
            delays.clear();
            crowd.forget_old_items(PAGE + 1);
            if terminal {
                let (at, all) = (began.elapsed().as_secs_f64(), lasts.as_secs_f64());
                eprint!("\r   {at:.0} of {all:.0} s, lag {} tasks ", lag.tasks);
                std::io::stderr().flush()?;
            }
        }
        if terminal {
            eprintln!();
        }
        anyhow::Ok(())
    })?;
    Ok(samples)
}

/// A post whose delivery is timed.
struct Watched {
    /// Microseconds since 1970.
    due_us: i64,
    item: ItemId,
    /// Tasks below this one are its own and older ones.
    task: TaskId,
}

impl Watched {
    /// Milliseconds since it was due.
    fn age(&self, clock: &Clock) -> f64 {
        (clock.now_micros() - self.due_us) as f64 / 1e3
    }
}

/// Adds the milliseconds of the deliveries that have finished; the others stay.
fn finished(
    handle: &skyweir_writer::Handle,
    clock: &Clock,
    watched: &mut VecDeque<Watched>,
    delays: &mut Vec<f64>,
) {
    let done = *handle.done().borrow();
    watched.retain(|post| match handle.delivery(post.item) {
        Some(report) if report.finished => {
            delays.push((report.finished_us - post.due_us) as f64 / 1e3);
            false
        }
        // the accounting keeps only the newest: this one ended since the last look
        None if done >= post.task => {
            delays.push(post.age(clock));
            false
        }
        // at work, or still in the log
        Some(_) | None => true,
    });
}
