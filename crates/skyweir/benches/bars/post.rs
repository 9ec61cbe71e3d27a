//! One post to all followers of a celebrity: how soon the last reference is readable, beside the bare ring loop.

use anyhow::Result;
use skyweir_store::Store as _;
use skyweir_types::ActorId;

use crate::bare::Bare;
use crate::crowd::CELEBRITY;
use crate::machine::median;
use crate::report::{Claim, Compared, Limit, Report, number};
use crate::served::{Served, disturbed};

const ROUNDS: u64 = 5;

/// Posts, waits, compares.
pub(crate) fn run(report: &mut Report, served: &mut Served) -> Result<()> {
    let followers = served.crowd.followers[CELEBRITY as usize];
    report.bar(
        "one post to 2,000,000 followers, embedded, durable: event in → last reference readable",
        &format!(
            "{followers} followers, rings at their cap of {}, {ROUNDS} rounds; from the event in hand to the writer's \
             done, with the synced commit",
            served.crowd.shape.cap
        ),
    );
    let (mut walls, mut cpu, mut others) = (Vec::new(), 0.0, Vec::new());
    for _ in 0..ROUNDS {
        let event = served.crowd.post(CELEBRITY)?;
        let took = served.deliver(event)?;
        walls.push(took.wall);
        others.push(took.others);
        cpu += took.cpu;
    }
    report.note(format!("rounds took {walls:.3?} s; {}", disturbed(median(&mut others))));
    served.read_back(report)?;
    report.claim(Claim {
        what: "one post to 2,000,000 followers, event in → last reference readable",
        value: median(&mut walls),
        unit: "s",
        limit: Limit::AtMost(1.0 * f64::from(followers) / 2e6),
        compared: Compared::published(
            "Bluesky's ideal on a cluster for 2 M; Twitter 2013: 3.5 s p50 for 1 M",
            1.2 * f64::from(followers) / 2e6,
        ),
    });
    let ours = f64::from(followers) * ROUNDS as f64 / cpu;
    let pages = served.io.block_on(pages(served))?;
    let bare = Bare::full(served.crowd.viewers(), served.crowd.shape.cap).measure(&pages, ROUNDS)?;
    report.note(format!(
        "a CPU second: {} references here, all threads counted; {} by the bare loop on one thread (64 hash maps of \
         8-byte rings at the same cap, the same pages)",
        number(ours),
        number(bare)
    ));
    report.claim(Claim {
        what: "one post to 2,000,000 followers, its references a CPU second: 0.4 of the bare ring loop's",
        value: ours,
        unit: "references/CPU-s",
        limit: Limit::AtLeast(0.4 * bare),
        compared: Compared::measured("the bare ring loop (look up, push; no log)", bare),
    });
    Ok(())
}

/// The celebrity's followers, as the fan-out reads them.
async fn pages(served: &Served) -> Result<Vec<Vec<u64>>> {
    let view = served.store.view().await?;
    let mut pages = served.graph.followers(view.into(), ActorId(CELEBRITY), None);
    let mut all = Vec::new();
    while let Some(page) = pages.next().await? {
        all.push(page.iter().map(|viewer| u64::from(viewer.0)).collect());
    }
    Ok(all)
}
