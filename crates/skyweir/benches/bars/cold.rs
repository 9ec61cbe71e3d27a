//! The cold start: from a data directory on disk to timelines that answer.

use std::path::Path;

use anyhow::{Result, ensure};
use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig};
use skyweir_store::{CachedState, Store as _, TimelineReads as _, Timelines as _};
use skyweir_types::{ActorId, DrawKey, ItemId, Reference, UriHash};
use tokio::runtime::Builder;

use crate::load;
use crate::machine::{Watch, median};
use crate::report::{Claim, Compared, Limit, Report};
use crate::rng::Rng;
use crate::served::disturbed;

const REFERENCES: usize = 100;
const ROUNDS: usize = 3;

/// Makes timelines, saves them, and opens them again.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let timelines = ((1e6 * scale) as u32).max(10_000);
    report.bar(
        "cold start with 1 M timelines of 100 references, after a clean stop",
        &format!(
            "{timelines} accounts and timelines; store and rings opened, {ROUNDS} rounds in this process; the files \
             are in the kernel's cache"
        ),
    );
    let config = Config { data_dir: dir.to_owned(), ..Config::default() };
    let rings_config = RingsConfig { cap: REFERENCES, ..RingsConfig::default() };
    let runtime = Builder::new_multi_thread().build()?;
    {
        let store = EmbeddedStore::open(config.clone())?;
        runtime.block_on(load::accounts(&store, 0..timelines))?;
        let rings = Rings::open(&store, &rings_config, DrawKey::default())?;
        runtime.block_on(async {
            for viewer in 0..timelines {
                load::enrol(&rings, viewer, &references(viewer), i64::MIN).await?;
            }
            let kept = *store.next_task().borrow();
            Ok::<_, anyhow::Error>(rings.checkpoint(kept).await?)
        })?;
    }
    let (mut walls, mut others) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let watch = Watch::start()?;
        let store = EmbeddedStore::open(config.clone())?;
        let records = watch.took()?.wall;
        let rings = Rings::open(&store, &rings_config, DrawKey::default())?;
        let took = watch.took()?;
        ensure!(rings.enrolled() == u64::from(timelines), "{} timelines came back", rings.enrolled());
        let mut rng = Rng::new(31);
        for _ in 0..100 {
            let viewer = rng.below(timelines);
            let read = runtime.block_on(rings.read(ActorId(viewer), i64::MAX, REFERENCES))?;
            let items: Vec<_> = read.entries.iter().map(|entry| entry.item).collect();
            let expected: Vec<_> = references(viewer).iter().map(|reference| reference.item).collect();
            ensure!(
                matches!(read.state, CachedState::In(_)) && items == expected,
                "a timeline came back wrong"
            );
        }
        report.note(format!(
            "{:.2} s, {records:.2} s of them for the records, {:.2} CPU-s",
            took.wall, took.cpu
        ));
        walls.push(took.wall);
        others.push(took.others);
    }
    report.note(disturbed(median(&mut others)));
    report.claim(Claim {
        what: "cold start with 1 M timelines of 100 references, after a clean stop, ready",
        value: median(&mut walls),
        unit: "s",
        limit: Limit::AtMost(5.0),
        compared: Compared::published("GraphD's load", 20.0),
    });
    Ok(())
}

/// Newest first.
fn references(viewer: u32) -> Vec<Reference> {
    let reference = |n: usize| {
        let item = u64::from(viewer) * 7 + n as u64 + 1;
        Reference { item: ItemId(item), sort_at: item as i64, uri_hash: UriHash(item), author: ActorId(0) }
    };
    (0..REFERENCES).rev().map(reference).collect()
}
