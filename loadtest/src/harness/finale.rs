//! When all is quiet: whole timelines are compared, and they have to be exactly what was sent.

use super::check::Walk;
use super::readers::Reads;
use anyhow::Context;
use tokio::task::JoinSet;

const PAGE: i32 = 100;
/// So far down is read at the most; the far end of a mass follower's timeline is a long way.
const PAGES: usize = 200;
const PAGES_LOSSY: usize = 5;
/// Timelines that are read at a time.
const AT_ONCE: usize = 8;

/// Reads the timelines of all checked readers and judges each page; returns how many timelines that were. Nothing may
/// be sent meanwhile.
pub(super) async fn compare(reads: &Reads) -> anyhow::Result<usize> {
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let mut count = 0;
    for (at, reader) in reads.crowd.readers.iter().enumerate() {
        if reader.checked.is_none() {
            continue;
        }
        while tasks.len() >= AT_ONCE {
            tasks.join_next().await.transpose()?.transpose()?;
        }
        count += 1;
        let reads = reads.clone();
        tasks.spawn(async move { timeline(&reads, at).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(count)
}

async fn timeline(reads: &Reads, at: usize) -> anyhow::Result<()> {
    let reader = &reads.crowd.readers[at];
    let Some(account) = reader.checked else { return Ok(()) };
    let mut walk = Walk::new(account, reads.options.reasonable_limit as usize);
    let newest = reads.shared.world().newest();
    let mut cursor = String::new();
    for _ in 0..if reader.lossy { PAGES_LOSSY } else { PAGES } {
        let page = reads.client.page(&reader.did, PAGE, &cursor).await;
        let page = page.with_context(|| format!("reading the timeline of {}", reader.did))?;
        reads.judge(reader, &mut walk, newest, &page);
        if page.cursor.is_empty() {
            break;
        }
        cursor = page.cursor;
    }
    Ok(())
}
