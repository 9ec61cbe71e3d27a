//! Ingest: messages decoded, and events applied durably, a CPU second.

use std::hint::black_box;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use skyweir_embedded::{Config, EmbeddedStore};
use skyweir_indexer::decode::v2_message;
use skyweir_loadtest::{Network, NetworkSpec};
use tokio::runtime::Builder;

use crate::events::Feed;
use crate::machine::{Watch, median};
use crate::report::{Claim, Compared, Limit, Report};

const ROUNDS: usize = 5;
/// CPU seconds of a round of decoding, at least.
const ROUND: f64 = 0.5;

/// Decodes the messages of a generated network, then applies what they say.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let events = ((600_000.0 * scale) as u64).max(60_000);
    let spec = NetworkSpec { actors: 100_000, events, ..NetworkSpec::default() };
    report.bar(
        "ingest of posts, reposts, follows and deletes, per CPU-second, all threads counted",
        &format!(
            "{events} events of a generated network of {} accounts in the real one's mix, as Jetstream v2 sends them; \
             recorded messages are decoded by the benchmark `decode`",
            spec.actors
        ),
    );
    let network = Network::new(spec)?;
    let messages: Vec<String> =
        (1..).zip(network.traffic()).map(|(seq, event)| event.to_jetstream_v2_json(seq)).collect();
    let bytes: usize = messages.iter().map(String::len).sum();
    let decoded = rate(&messages, |text| !v2_message(text).events.is_empty())?;
    let untyped = rate(&messages, |text| serde_json::from_slice::<Value>(text).is_ok())?;
    report.note(format!("{} bytes a message in the mean", bytes / messages.len().max(1)));
    let events: Vec<_> = messages.iter().flat_map(|text| v2_message(text.as_bytes()).events).collect();
    drop(messages);
    let store = EmbeddedStore::open(Config { data_dir: dir.to_owned(), ..Config::default() })?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let group = skyweir_indexer::Config::default().group_events;
    let (applied, took) = runtime.block_on(async {
        let mut feed = Feed::new(store).await?;
        let mut applied = 0;
        let watch = Watch::start()?;
        for events in events.chunks(group) {
            applied += feed.group(events).await?;
        }
        anyhow::Ok((applied, watch.took()?))
    })?;
    report.note(format!(
        "{} events of our collections and accounts, {applied} of which changed something, in synced commits of \
         {group}: {:.2} s, {:.2} CPU-s, flushes and compactions among them",
        events.len(),
        took.wall,
        took.cpu
    ));
    report.claim(Claim {
        what: "events applied per CPU-second, all threads counted",
        value: events.len() as f64 / took.cpu,
        unit: "events",
        limit: Limit::AtLeast(60_000.0),
        compared: Compared::published("the network's peak, events/s", 2_000.0),
    });
    report.claim(Claim {
        what: "messages decoded per CPU-second",
        value: decoded,
        unit: "messages",
        limit: Limit::AtLeast(500_000.0),
        compared: Compared::measured("the same messages parsed to serde_json::Value", untyped),
    });
    Ok(())
}

/// Messages a CPU second on one thread: the median of the rounds.
fn rate(messages: &[String], handle: impl Fn(&[u8]) -> bool) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let watch = Watch::start()?;
        let mut done = 0;
        while done == 0 || watch.took()?.cpu < ROUND {
            for message in messages {
                black_box(handle(black_box(message.as_bytes())));
            }
            done += messages.len();
        }
        rates.push(done as f64 / watch.took()?.cpu);
    }
    Ok(median(&mut rates))
}
