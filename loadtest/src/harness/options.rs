//! What a run is told.

use crate::network::NetworkSpec;
use anyhow::{Context, ensure};
use std::path::PathBuf;

/// The network: who is there, and who follows whom.
#[derive(Clone, Debug, clap::Args)]
pub struct NetworkOptions {
    /// How many accounts, 2 to 100 million.
    #[arg(long, default_value_t = 100_000)]
    pub actors: u32,
    /// Names the network: the same numbers give the same accounts and follows.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many celebrities.
    #[arg(long, default_value_t = 1)]
    pub celebrities: u32,
    /// The share of all accounts that follows each celebrity, 0 to 1.
    #[arg(long, default_value_t = 0.7)]
    pub celebrity_share: f64,
    /// The mean number of follows of an ordinary account, celebrities aside.
    #[arg(long, default_value_t = 60.0)]
    pub mean_follows: f64,
    /// How many accounts follow a large share of the network each.
    #[arg(long, default_value_t = 2)]
    pub mass_followers: u32,
    /// That share, 0 to 1; never more than 50,000 accounts.
    #[arg(long, default_value_t = 0.5)]
    pub mass_follow_share: f64,
    /// How many events of traffic follow the graph before the measurement; by default one an account.
    #[arg(long)]
    pub history: Option<u64>,
}

impl NetworkOptions {
    /// The spec of a network whose history ends at about this time, in microseconds since 1970.
    pub(super) fn spec(&self, now_us: u64) -> NetworkSpec {
        let history = self.history.unwrap_or(self.actors.into());
        NetworkSpec {
            seed: self.seed,
            actors: self.actors,
            mean_follows: self.mean_follows,
            mass_followers: self.mass_followers,
            mass_follow_share: self.mass_follow_share,
            celebrities: self.celebrities,
            celebrity_share: self.celebrity_share,
            start_us: now_us.saturating_sub(DAY_US),
            follows_per_second: 1e6,
            events_per_second: (history as f64 / (HISTORY_SECONDS * 0.75)).clamp(0.001, 1e6),
            events: history,
        }
    }
}

/// The network began a day ago, which leaves room for 80 thousand million follows at a million a second.
const DAY_US: u64 = 86_400_000_000;
/// The history before the measurement began so long ago, in seconds.
pub(super) const HISTORY_SECONDS: f64 = 3_600.0;

/// A load run.
#[derive(Clone, Debug, clap::Args)]
pub struct RunOptions {
    /// The network.
    #[command(flatten)]
    pub network: NetworkOptions,
    /// The `skyweir` program to start; by default the one beside this program.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["api", "admin"])]
    pub skyweir: Option<PathBuf>,
    /// A service that runs already, in one process: its gRPC address, ADDR:PORT. Start it before, on an empty folder,
    /// with --cursor 0 and as its source the URL that is printed (its port is that of --upstream-port).
    #[arg(long, value_name = "ADDR:PORT", requires = "admin")]
    pub api: Option<String>,
    /// The admin address of that service.
    #[arg(long, value_name = "ADDR:PORT", requires = "api")]
    pub admin: Option<String>,
    /// The port of the stand-in Jetstream on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub upstream_port: u16,
    /// How many events the stand-in Jetstream keeps for a reader that comes back; a kilobyte each.
    #[arg(long, default_value_t = 50_000)]
    pub retention: usize,
    /// A folder on the disk that the started service is to keep its data on; by default that of temporary files.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// A data directory that the started service is to use, which holds the accounts and follows of this very network
    /// already: the graph isn't sent then. The run changes it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["api", "admin", "data_dir"])]
    pub loaded: Option<PathBuf>,
    /// Whose timelines the started service writes: `reads` or `all`.
    #[arg(long, default_value = "reads")]
    pub enrol: String,
    /// The reasonable limit of the service.
    #[arg(long, default_value_t = 2_000)]
    pub reasonable_limit: u32,
    /// How many references a timeline of the started service keeps.
    #[arg(long, default_value_t = 800)]
    pub cap: u32,
    /// A further argument for the started service; may be repeated.
    #[arg(long = "serve-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub serve_args: Vec<String>,

    /// The pace of the live traffic, in events a second, as an open loop.
    #[arg(long, default_value_t = 200.0)]
    pub events_per_second: f64,
    /// A celebrity posts every so many seconds; 0 for never.
    #[arg(long, default_value_t = 5.0)]
    pub celebrity_posts_every: f64,
    /// How many seconds of live traffic, for each step of a ladder.
    #[arg(long, default_value_t = 30.0)]
    pub duration: f64,
    /// Repeats the live phase at these multiples of the pace, rising, until something bends.
    #[arg(long, value_delimiter = ',', value_name = "FACTOR,…", num_args = 0..=1,
          default_missing_value = "1,10,100", require_equals = true)]
    pub rate_ladder: Vec<f64>,
    /// Says at the end whether memory, lag and latency were flat; what is more, it is a long --duration.
    #[arg(long, conflicts_with = "rate_ladder")]
    pub soak: bool,

    /// How many accounts read, some of them often.
    #[arg(long, default_value_t = 1_000)]
    pub readers: u32,
    /// How many first pages are read a second, as an open loop.
    #[arg(long, default_value_t = 100.0)]
    pub reads_per_second: f64,
    /// Items a page, 1 to 100.
    #[arg(long, default_value_t = 50)]
    pub page: i32,
    /// The probability that a reader asks for a further page.
    #[arg(long, default_value_t = 0.1)]
    pub deeper: f64,
    /// How many reads are under way at a time; what is due beyond that waits, and its waiting counts.
    #[arg(long, default_value_t = 256)]
    pub in_flight: usize,
    /// How many connections the readers share.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Of how many readers each page is compared with what was sent; 100 bytes a follow of theirs.
    #[arg(long, default_value_t = 500)]
    pub checked_readers: u32,

    /// How many followers of an author are asked when they see a new item.
    #[arg(long, default_value_t = 20)]
    pub sampled_followers: usize,
    /// Of how many ordinary posts one is watched until its sampled followers see it; 0 for none.
    #[arg(long, default_value_t = 50)]
    pub watch_one_in: u64,
    /// The budget of these questions, a second.
    #[arg(long, default_value_t = 500.0)]
    pub polls_per_second: f64,
    /// Who hasn't seen an item after so many seconds counts as never.
    #[arg(long, default_value_t = 30.0)]
    pub visible_timeout: f64,

    /// Reads are bent when their p99 is above this, in milliseconds.
    #[arg(long, default_value_t = 3.0)]
    pub read_p99_bar_ms: f64,
    /// Fan-out is bent when the oldest undelivered task is older than this, in seconds.
    #[arg(long, default_value_t = 1.0)]
    pub lag_bar_seconds: f64,
    /// Where all figures and their course through time are written; a plot is written beside it.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// How many items are remembered to compare pages with, 200 bytes each.
    #[arg(long, default_value_t = 8_000_000)]
    pub items_limit: usize,
    /// Applying the graph, or what a step left over, may take so many seconds without any progress.
    #[arg(long, default_value_t = 120.0)]
    pub patience: f64,
}

impl RunOptions {
    /// The pace of each live phase, in events a second.
    pub(super) fn steps(&self) -> Vec<f64> {
        if self.rate_ladder.is_empty() {
            return vec![1.0];
        }
        self.rate_ladder.clone()
    }

    /// Refuses what can't work.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let rate = 0.001..=1e6;
        let steps = self.steps();
        ensure!(steps.iter().all(|factor| rate.contains(factor)), "--rate-ladder: 0.001 to 1e6");
        ensure!(
            steps.iter().all(|factor| rate.contains(&(factor * self.events_per_second))),
            "--events-per-second: 0.001 to 1e6"
        );
        ensure!((0.0..=1e6).contains(&self.celebrity_posts_every), "--celebrity-posts-every: 0 to 1e6");
        ensure!((0.0..=1e6).contains(&self.reads_per_second), "--reads-per-second: 0 to 1e6");
        ensure!((0.1..=1e6).contains(&self.duration), "--duration: 0.1 to 1e6");
        ensure!((0.0..=0.99).contains(&self.deeper), "--deeper: 0 to 0.99");
        ensure!((1..=100).contains(&self.page), "--page: 1 to 100");
        ensure!((1..=100_000).contains(&self.in_flight), "--in-flight: 1 to 100,000");
        ensure!((1..=1_000).contains(&self.connections), "--connections: 1 to 1,000");
        ensure!(
            (1..=self.network.actors).contains(&self.readers),
            "--readers {} of --actors {}: at least one, and no more than there are accounts",
            self.readers,
            self.network.actors
        );
        if let Some(dir) = &self.loaded {
            ensure!(dir.is_dir(), "--loaded: there is no folder {}", dir.display());
        }
        ensure!(self.checked_readers > 0, "--checked-readers: at least 1");
        ensure!((1.0..=1e6).contains(&self.polls_per_second), "--polls-per-second: 1 to 1e6");
        ensure!((0.1..=3_600.0).contains(&self.visible_timeout), "--visible-timeout: 0.1 to 3,600");
        ensure!((1.0..=1e6).contains(&self.patience), "--patience: 1 to 1e6");
        ensure!((1_000..=100_000_000).contains(&self.retention), "--retention: 1,000 to 100 million");
        ensure!((1..=1_000_000_000).contains(&self.items_limit), "--items-limit: 1 to 1,000 million");
        if let Some(json) = &self.json {
            let folder = json.parent().filter(|folder| !folder.as_os_str().is_empty());
            ensure!(
                folder.is_none_or(std::path::Path::is_dir) && !json.is_dir(),
                "--json: {} can't be written: name a file in a folder that is there",
                json.display()
            );
            ensure!(self.svg().as_ref() != Some(json), "--json: the plot will be {}", json.display());
        }
        let live: f64 = steps.iter().map(|factor| factor * self.events_per_second * self.duration).sum();
        let history = self.network.history.unwrap_or(self.network.actors.into()) as f64;
        // two thirds of the traffic are posts and reposts
        let items = (live + history) * 0.7;
        ensure!(
            items < self.items_limit as f64,
            "{items:.0} items would be sent, --items-limit keeps {}: give more of it, or a smaller --history, \
             --duration or --events-per-second",
            self.items_limit
        );
        Ok(())
    }

    /// Where the plot goes.
    pub(super) fn svg(&self) -> Option<PathBuf> {
        self.json.as_ref().map(|json| json.with_extension("svg"))
    }

    /// The program to start.
    pub(super) fn program(&self) -> anyhow::Result<PathBuf> {
        let program = match &self.skyweir {
            Some(path) => path.clone(),
            None => std::env::current_exe().context("where this program is")?.with_file_name("skyweir"),
        };
        ensure!(
            program.is_file(),
            "there is no {}: build it with `cargo build --release -p skyweir`, or name another with --skyweir",
            program.display()
        );
        Ok(program)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: RunOptions,
    }

    /// The options of a command line.
    pub(in crate::harness) fn parse(args: &[&str]) -> RunOptions {
        Line::parse_from([&["loadtest"], args].concat()).options
    }

    #[test]
    fn a_ladder_has_steps() {
        assert_eq!(parse(&[]).steps(), [1.0]);
        assert_eq!(parse(&["--rate-ladder"]).steps(), [1.0, 10.0, 100.0]);
        assert_eq!(parse(&["--rate-ladder=2,4"]).steps(), [2.0, 4.0]);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(parse(&[]).check().is_ok());
        for args in [
            &["--readers", "0"][..],
            &["--readers", "11", "--actors", "10"],
            &["--page", "101"],
            &["--deeper", "1"],
            &["--checked-readers", "0"],
            &["--celebrity-posts-every=-1"],
            &["--celebrity-posts-every", "inf"],
            &["--items-limit", "5000000000"],
            &["--loaded", "no-such-folder"],
            &["--json", "no-such-folder/run.json"],
            &["--json", "run.svg"],
            &["--events-per-second", "20000", "--rate-ladder"],
            &["--events-per-second", "100000", "--duration", "1000"],
        ] {
            assert!(parse(args).check().is_err(), "{args:?}");
        }
        assert!(Line::try_parse_from(["loadtest", "--api", "127.0.0.1:1"]).is_err(), "without --admin");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = parse(&["--skyweir", "no-such-file"]).program().unwrap_err().to_string();
        assert!(
            error.contains("no-such-file") && error.contains("cargo build --release -p skyweir"),
            "{error}"
        );
    }
}
