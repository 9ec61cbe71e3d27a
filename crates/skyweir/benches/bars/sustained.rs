//! Sustained deliveries: posts of many authors with a heavy tail of followers.

use anyhow::Result;

use crate::machine::Watch;
use crate::report::{Claim, Compared, Limit, Report, number};
use crate::rng::Rng;
use crate::served::{Served, disturbed};

/// References that are delivered in all, at scale 1.
const REFERENCES: f64 = 20e6;

/// Feeds posts in full groups, then waits until all are delivered.
pub(crate) fn run(report: &mut Report, served: &mut Served, scale: f64) -> Result<()> {
    let authors = served.crowd.shape.authors;
    let followers: u64 = served.crowd.followers[1..].iter().map(|n| u64::from(*n)).sum();
    let mean = followers as f64 / f64::from(authors);
    let posts = (REFERENCES * scale / mean).ceil() as usize;
    let group = skyweir_indexer::Config::default().group_events;
    report.bar(
        "sustained deliveries, heavy-tailed graph, mean fan-out 400, embedded",
        &format!(
            "{posts} posts of {authors} authors drawn alike, whose followers fall off with rank to the power 0.8, \
             {} the most, {mean:.0} in the mean, all enrolled among {} rings at their cap of {}; commits of {group} \
             posts; from the first event in hand to the last reference readable",
            served.crowd.followers[1..].iter().max().unwrap_or(&0),
            served.crowd.shape.viewers,
            served.crowd.shape.cap
        ),
    );
    let mut rng = Rng::new(21);
    let Served { io, crowd, feed, handle, store, .. } = &mut *served;
    let mut references = 0;
    let mut events = Vec::with_capacity(posts);
    for _ in 0..posts {
        let author = 1 + rng.below(authors);
        references += u64::from(crowd.followers[author as usize]);
        events.push(crowd.post(author)?);
    }
    let watch = Watch::start()?;
    let applied = io.block_on(async {
        for events in events.chunks(group) {
            feed.group(events).await?;
        }
        let applied = watch.took()?;
        Served::caught_up(handle, store).await?;
        anyhow::Ok(applied)
    })?;
    let took = watch.took()?;
    let millions = references as f64 / 1e6;
    report.note(format!(
        "{references} references in {:.2} s ({:.2} s until the last commit); {} CPU-s a million, all threads counted, \
         decoding left out; {}",
        took.wall,
        applied.wall,
        number(took.cpu / millions),
        disturbed(took.others)
    ));
    served.read_back(report)?;
    report.claim(Claim {
        what: "sustained deliveries, heavy-tailed graph, mean fan-out 400, embedded",
        value: references as f64 / took.wall,
        unit: "references/s",
        limit: Limit::AtLeast(1e6),
        compared: Compared::published("Rama, RAM only, per 2-vCPU node: 61–75 k/s", 68_000.0),
    });
    Ok(())
}
