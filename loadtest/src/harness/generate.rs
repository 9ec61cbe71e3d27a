//! How fast a network is made, with nobody listening.

use super::observe::now_us;
use super::options::NetworkOptions;
use super::pump::Speed;
use super::scrape;
use super::screen::Screen;
use crate::network::Network;
use tokio::time::Instant;

/// What to make.
#[derive(Clone, Debug, clap::Args)]
pub struct GenerateOptions {
    /// The network.
    #[command(flatten)]
    pub network: NetworkOptions,
    /// How many events of the graph are made at the most; by default all.
    #[arg(long)]
    pub follows: Option<u64>,
}

/// Makes a network's events, encodes each for a Jetstream, and says how fast that was.
///
/// # Errors
/// A number of the network is out of its range.
pub fn generate(options: &GenerateOptions) -> anyhow::Result<()> {
    let screen = Screen::new();
    let start = Instant::now();
    let network = Network::new(options.network.spec(now_us()))?;
    let weights = scrape::usage("self").map_or(0.0, |usage| usage.resident);
    screen.say(format_args!(
        "{} accounts: {:.2} s, {:.1} MiB resident",
        network.actors(),
        start.elapsed().as_secs_f64(),
        weights / 1_048_576.0
    ))?;
    let mut events = network.events();
    let (mut bytes, mut count) = (0, 0);
    let start = Instant::now();
    let most = options.follows.unwrap_or(u64::MAX);
    let bar = screen.bar(network.actors().into(), "accounts");
    while count < most
        && let Some(event) = events.next_of_graph()
    {
        count += 1;
        bytes += event.to_jetstream_v2_json(count).len() as u64;
        if count % 1_000 == 0 {
            bar.set_position(events.accounts_begun().into());
        }
    }
    bar.finish_and_clear();
    let graph = Speed::since(start, count);
    let start = Instant::now();
    let bar = screen.bar(network.spec().events, "events");
    for made in 0..network.spec().events {
        bytes += events.next_of_traffic().to_jetstream_v2_json(count).len() as u64;
        if made % 1_000 == 0 {
            bar.set_position(made);
        }
    }
    bar.finish_and_clear();
    let traffic = Speed::since(start, network.spec().events);
    for (name, speed) in [("follows", graph), ("events of traffic", traffic)] {
        screen.say(format_args!(
            "{} {name}: {:.2} s, {:.0} a second",
            speed.events, speed.seconds, speed.per_second
        ))?;
    }
    let resident = scrape::usage("self").map_or(0.0, |usage| usage.resident);
    screen.say(format_args!(
        "{:.1} MiB of JSON, {:.1} MiB resident at the end",
        bytes as f64 / 1_048_576.0,
        resident / 1_048_576.0
    ))
}
