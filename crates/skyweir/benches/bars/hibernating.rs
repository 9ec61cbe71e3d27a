//! The first read of a hibernating timeline: the merge of a thousand feeds.

use anyhow::Result;
use tokio::time::Instant;

use crate::machine::quantile;
use crate::report::{Claim, Compared, Limit, Report};
use crate::served::{Served, must_hold, page};

/// Reads each sleeper's timeline once. The writer enrols it afterwards, beside the next reads.
pub(crate) fn run(report: &mut Report, served: &Served) -> Result<()> {
    let sleepers = served.crowd.sleepers();
    report.bar(
        "first read of a hibernating timeline, 1,000 follows: p50 / p99",
        &format!(
            "{} timelines, each read once over gRPC, one after the other, 50 items, and compared with what it must \
             hold; {} items in the feeds; enrolled by the writer meanwhile",
            sleepers.len(),
            served.crowd.items.iter().map(Vec::len).sum::<usize>()
        ),
    );
    let mut client = served.client.clone();
    let mut took = Vec::new();
    served.io.block_on(async {
        for sleeper in sleepers {
            let began = Instant::now();
            let shown = page(&mut client, sleeper).await?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
            must_hold(&served.crowd, sleeper, &shown)?;
        }
        anyhow::Ok(())
    })?;
    let compared =
        "3–17 ms p50: the official Postgres data plane for every read (measured earlier, not in this run)";
    for (what, quantile_name, share, most) in [
        ("first read of a hibernating timeline, 1,000 follows, p50", "p50", 0.5, 10.0),
        ("first read of a hibernating timeline, 1,000 follows, p99", "p99", 0.99, 50.0),
    ] {
        let value = quantile(&mut took, share);
        report.claim(Claim {
            what,
            value,
            unit: "ms",
            limit: Limit::AtMost(most),
            compared: Compared::from(compared).or_official(quantile_name),
        });
    }
    Ok(())
}
