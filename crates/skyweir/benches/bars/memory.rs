//! What a timeline takes in memory, empty and full.

use std::path::Path;

use anyhow::{Result, ensure};
use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig};
use skyweir_store::{Delivery, Timelines as _};
use skyweir_types::{ActorId, DrawKey, ItemId, Reference, UriHash};
use tokio::runtime::Builder;

use crate::load::enrol;
use crate::machine::resident;
use crate::report::{Claim, Compared, Limit, Report, number};

/// Makes empty timelines, then fills some of them, item by item, as the fan-out does.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let cap = RingsConfig::default().cap;
    let empty = ((1e6 * scale) as u32).max(20_000);
    let full = empty / 10;
    report.bar(
        "memory of a full timeline, embedded",
        &format!(
            "{empty} timelines, a tenth of which then take {cap} references each, item by item; growth of the \
             process's resident memory"
        ),
    );
    let runtime = Builder::new_current_thread().build()?;
    let store = EmbeddedStore::open(Config { data_dir: dir.to_owned(), ..Config::default() })?;
    let before = resident()?;
    let rings = Rings::open(&store, &RingsConfig::default(), DrawKey::default())?;
    runtime.block_on(async {
        for viewer in 0..empty {
            enrol(&rings, viewer, &[], i64::MIN).await?;
        }
        anyhow::Ok(())
    })?;
    let (with_empty, counted) = (resident()?, rings.memory());
    let an_empty = (with_empty - before) as f64 / f64::from(empty);
    report
        .note(format!("empty: {} bytes by the rings' own count", number(counted as f64 / f64::from(empty))));
    runtime.block_on(fill(&rings, full, cap))?;
    let references = f64::from(full) * cap as f64;
    let grown = resident()?.saturating_sub(with_empty) as f64;
    report.note(format!(
        "full: {} bytes a reference by the rings' own count",
        number((rings.memory() - counted) as f64 / references)
    ));
    report.claim(Claim {
        what: "memory of a full timeline, a reference, its share of the timeline itself counted",
        value: grown / references + an_empty / cap as f64,
        unit: "bytes",
        limit: Limit::AtMost(16.0),
        compared: Compared::published("Rama, 9.6 kB for 600; Twitter: 20, 16 kB for 800", 16.0),
    });
    report.claim(Claim {
        what: "memory of an empty timeline",
        value: an_empty,
        unit: "bytes",
        limit: Limit::AtMost(150.0),
        compared: "nothing published".into(),
    });
    Ok(())
}

async fn fill(rings: &Rings, viewers: u32, cap: usize) -> Result<()> {
    let mut shards: Vec<(u32, [Delivery; 1])> = rings
        .split((0..viewers).map(ActorId).collect())
        .into_iter()
        .map(|(shard, viewers)| (shard, [Delivery { reference: reference(0), viewers }]))
        .collect();
    for item in 1..=cap as u64 {
        for (shard, delivery) in &mut shards {
            delivery[0].reference = reference(item);
            let counts = rings.apply(*shard, delivery).await?;
            ensure!(counts[0].written == delivery[0].viewers.len() as u64, "a reference was not written");
        }
    }
    Ok(())
}

fn reference(n: u64) -> Reference {
    Reference { item: ItemId(n), sort_at: n as i64, uri_hash: UriHash(n), author: ActorId(u32::MAX) }
}
