//! Small authors and readers while five fan-outs of a celebrity run: nobody may be delayed.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skyweir_embedded::EmbeddedStore;
use skyweir_store::{Deliveries as _, RecordBody, Store as _};
use skyweir_types::{ActorId, Body, Clock, Collection, Event, ItemId, RecordRef};
use skyweir_writer::Handle;
use tokio::time::Instant;

use crate::crowd::CELEBRITY;
use crate::machine::{Watch, quantile};
use crate::reading::{READ_EVERY, Reading};
use crate::report::{Claim, Compared, Limit, Report, number};
use crate::rng::Rng;
use crate::served::{Served, disturbed};

/// How many fan-outs of the celebrity are at work at any time.
const AT_ONCE: usize = 5;
/// A small author posts this often.
const POST_EVERY: Duration = Duration::from_millis(20);
/// No small author has more followers.
const SMALL: u32 = 1_000;

/// Keeps five fan-outs at work for a while; posts and reads beside them.
pub(crate) fn run(report: &mut Report, served: &mut Served, scale: f64) -> Result<()> {
    let lasts = Duration::from_secs_f64((12.0 * scale).clamp(4.0, 12.0));
    report.bar(
        "while five 2 M fan-outs run: delivery of a small author's post, and GetTimeline of 50 items over gRPC",
        &format!(
            "for {} s; the five are of one celebrity with {} followers, a new one begins when one has finished; a post \
             every {} ms by an author with at most {SMALL} followers; a read every {} ms by an account that follows \
             101, over loopback, from this same process; both by the clock, whatever those before took, and timed from \
             when they were due",
            lasts.as_secs(),
            served.crowd.followers[CELEBRITY as usize],
            POST_EVERY.as_millis(),
            READ_EVERY.as_millis()
        ),
    );
    let reading = Reading::start(served);
    let watch = Watch::start()?;
    let (mut delays, mut waits, finished) = post(served, lasts)?;
    let took = watch.took()?;
    let mut reads = reading.stop()?;
    report.note(format!(
        "{finished} fan-outs of the celebrity finished, {} small posts, {} reads; {}",
        delays.len(),
        reads.len(),
        disturbed(took.others)
    ));
    served.io.block_on(Served::caught_up(&served.handle, &served.store))?;
    served.read_back(report)?;
    report.note(format!(
        "small posts: p50 {} ms, {} ms of which until the writer began",
        number(quantile(&mut delays, 0.5)),
        number(quantile(&mut waits, 0.5))
    ));
    let mut claim = |what, value, most, compared: Compared| {
        let limit = Limit::AtMost(most);
        report.claim(Claim { what, value, unit: "ms", limit, compared });
    };
    claim(
        "delivery of a small author's post while five 2 M fan-outs run, p99",
        quantile(&mut delays, 0.99),
        50.0,
        Compared::published("Twitter, p99", 300_000.0),
    );
    for (what, quantile_name, share, most, twitter) in [
        ("GetTimeline, 50 items, over gRPC, while that runs, p50", "p50", 0.5, 0.3, 5.0),
        ("GetTimeline, 50 items, over gRPC, while that runs, p99", "p99", 0.99, 3.0, 100.0),
    ] {
        let twitter = Compared::published("Twitter", twitter).or_official(quantile_name);
        claim(what, quantile(&mut reads, share), most, twitter);
    }
    Ok(())
}

/// Milliseconds from the moment that each small post was due to its last reference, and to its fan-out's begin; and how
/// many of the celebrity's finished.
fn post(served: &mut Served, lasts: Duration) -> Result<(Vec<f64>, Vec<f64>, usize)> {
    let Served { io, crowd, feed, handle, store, .. } = served;
    let is_small = |author: &u32| (1..=SMALL).contains(&crowd.followers[*author as usize]);
    let small: Vec<u32> = (1..=crowd.shape.authors).filter(is_small).collect();
    ensure!(!small.is_empty(), "no author is small");
    let clock = Clock::system();
    let mut rng = Rng::new(11);
    let mut at_work = VecDeque::<ItemId>::new();
    let mut posted: Vec<(i64, ItemId)> = Vec::new();
    let mut finished = 0;
    io.block_on(async {
        let (start, start_us) = (Instant::now(), clock.now_micros());
        let mut due = Duration::ZERO;
        while due < lasts {
            // what the commits of before have held up is posted at once, and has waited
            tokio::time::sleep_until(start + due).await;
            let before = at_work.len();
            at_work.retain(|item| !is_finished(handle, *item));
            finished += before - at_work.len();
            while at_work.len() < AT_ONCE {
                let event = crowd.post(CELEBRITY)?;
                at_work.push_back(apply(feed, store, CELEBRITY, event).await?);
            }
            let author = small[rng.below(small.len() as u32) as usize];
            let event = crowd.post(author)?;
            posted.push((start_us + due.as_micros() as i64, apply(feed, store, author, event).await?));
            due += POST_EVERY;
        }
        Served::caught_up(handle, store).await
    })?;
    let (mut delays, mut waits) = (Vec::new(), Vec::new());
    for (due, item) in posted {
        let report = handle.delivery(item).context("the accounting forgot an item")?;
        ensure!(report.finished, "an item is still at work");
        delays.push((report.finished_us - due) as f64 / 1e3);
        waits.push((report.started_us - due) as f64 / 1e3);
    }
    Ok((delays, waits, finished))
}

fn is_finished(handle: &Handle, item: ItemId) -> bool {
    handle.delivery(item).is_some_and(|report| report.finished)
}

/// Applies one post; returns its item.
pub(crate) async fn apply(
    feed: &mut crate::events::Feed,
    store: &EmbeddedStore,
    author: u32,
    event: Event,
) -> Result<ItemId> {
    let Body::Record(op) = &event.body else { anyhow::bail!("no record") };
    let key = RecordRef { actor: ActorId(author), collection: Collection::Post, rkey: op.rkey.clone() };
    feed.group(&[event]).await?;
    let row = store.view().await?.records(&[key]).await?.remove(0).context("the post isn't there")?;
    match row.body {
        RecordBody::Post { item, .. } => Ok(item),
        _ => anyhow::bail!("no post"),
    }
}
