//! `cargo xtask torture`: kills the service at random moments, cuts its power, and compares every timeline.
//!
//! The feed and the timelines that it must lead to come from a seed (`feed`, `model`). A folder goes through several
//! kills on its way through one feed, then the feed is let finish and everything is read. In every second folder memory
//! is short, so that timelines hibernate on the way. For a power loss the service
//! runs under `shim/powerloss.c`, and after the kill the folder is brought to what a disk would hold.

mod compare;
mod disk;
mod feed;
mod journal;
mod model;
mod power;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::{Binary, Rng, Serve, ServeSpec, Table, fresh_seed, get, metric, now, skip};
use compare::Differences;
use disk::Noticed;
use model::Model;

/// How long a start or the rest of a feed may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A folder that loses its power while it is made does so this often, and gets a feed as many times shorter: the names
/// of new folders and files are at stake there.
const EARLY: u32 = 4;
const SHORTER: u32 = 10;

/// Where memory is short: a budget of 1 MiB, and a cap under which the timelines of the feed don't fit.
const SHORT: [&str; 4] = ["--memory-mb", "1", "--cap", "4000"];
/// Timelines that left for it.
const LEFT: &str = "skyweir_writer_hibernated_total{reason=\"memory\"}";

/// What to torture, and how much.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Kills by SIGKILL.
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Power losses, and as many folders that lose power while they are made.
    #[arg(long, default_value_t = 50)]
    power: u32,
    /// Where all random choices come from; a new one each time when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Kills that one folder goes through before it is compared.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    group: u32,
    /// Accounts of the feed.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..))]
    actors: u32,
    /// Events of the feed.
    #[arg(long, default_value_t = 20_000)]
    events: u32,
    /// Events a second.
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// References that a timeline keeps: few, so that they are trimmed and continued by merges.
    #[arg(long, default_value_t = 200)]
    cap: u32,
    #[command(flatten)]
    binary: Binary,
}

impl Options {
    /// The share that fits into continuous integration.
    pub(crate) fn short(binary: Binary) -> Self {
        let (group, actors, events, rate, cap) = (10, 60, 20_000, 5_000, 200);
        Self { kills: 20, power: 5, seed: None, group, actors, events, rate, cap, binary }
    }
}

/// What a kill met.
#[derive(Default)]
struct Tally {
    kills: u32,
    power: u32,
    starting: u32,
    ingesting: u32,
    idle: u32,
    compared: u32,
    /// Of these, with short memory; and how many timelines left for it.
    short: u32,
    left: f64,
    found: Differences,
    noticed: Noticed,
}

/// What a folder goes through.
#[derive(Clone, Copy, Default)]
struct Plan {
    /// Ends on the way, ...
    kills: u32,
    /// ... each with a power loss, ...
    powered: bool,
    /// ... all while the service starts.
    early: bool,
    /// Memory is short.
    short: bool,
}

struct Bench {
    options: Options,
    binary: PathBuf,
    dir: PathBuf,
    library: Option<PathBuf>,
    rng: Rng,
    tally: Tally,
    /// How long an undisturbed start takes, until it serves.
    start: Duration,
    /// How long an undisturbed feed takes from then to its end.
    ingest: Duration,
}

/// Runs it; an error when anything differs, and the folder is kept then.
pub(crate) fn run(options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(fresh_seed);
    println!("torture: seed {seed}, {} kills, {} power losses", options.kills, options.power);
    let temp = tempfile::Builder::new().prefix("skyweir-torture-").tempdir()?;
    let mut power = options.power;
    let mut library = None;
    if power > 0 {
        library = power::compile(temp.path())?;
        if library.is_none() {
            skip("no power losses without a C compiler (cc)")?;
            power = 0;
        }
    }
    let mut bench = Bench {
        options: Options { power, ..options.clone() },
        binary: options.binary.path()?,
        dir: temp.path().to_path_buf(),
        library,
        rng: Rng::new(seed),
        tally: Tally::default(),
        start: Duration::ZERO,
        ingest: Duration::ZERO,
    };
    let done = bench.all(seed);
    bench.summary(seed);
    let failed = done.is_err() || bench.tally.found.any();
    if failed {
        println!("kept for a look: {}", temp.keep().display());
        println!(
            "again: cargo xtask torture --seed {seed} --kills {} --power {}",
            options.kills, options.power
        );
    }
    done?;
    let Tally { power, noticed, .. } = &bench.tally;
    ensure!(
        *power == 0 || noticed.records > 0,
        "the journal is empty: the shim was not loaded, no power was lost"
    );
    ensure!(bench.tally.short == 0 || bench.tally.left > 0.0, "no timeline left, however short memory was");
    ensure!(!failed, "timelines differ from the model (seed {seed})");
    Ok(())
}

impl Bench {
    fn all(&mut self, seed: u64) -> Result<()> {
        self.folder(seed, Plan::default()).context("without any kill")?;
        let (start, ingest) = (self.start.as_secs_f64(), self.ingest.as_secs_f64());
        println!(
            "  undisturbed: start {start:.1} s, ingest {ingest:.1} s, {} items compared",
            self.tally.found.items
        );
        let mut folder = 0;
        for powered in [false, true] {
            let mut left = if powered { self.options.power } else { self.options.kills };
            while left > 0 && !self.tally.found.any() {
                folder += 1;
                let kills = left.min(self.options.group);
                left -= kills;
                let short = folder % 2 == 1;
                let plan = Plan { kills, powered, short, early: false };
                self.folder(seed.wrapping_add(folder), plan).with_context(|| format!("folder {folder}"))?;
                let Tally { kills, power, found, .. } = &self.tally;
                println!(
                    "  folder {folder}: {kills} kills, {power} power losses, {} items compared",
                    found.items
                );
            }
        }
        for made in 1..=self.options.power {
            // what differs is kept
            if self.tally.found.any() {
                break;
            }
            folder += 1;
            let plan = Plan { kills: EARLY, powered: true, short: false, early: true };
            let seed = seed.wrapping_add(folder);
            self.folder(seed, plan).with_context(|| format!("folder {folder}, while it is made"))?;
            println!("  folder {folder}: {made} that lost power while they were made");
        }
        Ok(())
    }

    /// One feed through one folder.
    fn folder(&mut self, seed: u64, plan: Plan) -> Result<()> {
        let Plan { kills, short, early, .. } = plan;
        let (actors, events) = (self.options.actors as usize, self.options.events);
        let events = if early { events / SHORTER } else { events } as usize;
        let feed = feed::generate(seed, actors, events);
        let path = self.dir.join("feed.jsonl");
        let lines: String = feed.iter().flat_map(|event| [event.line(), "\n".to_owned()]).collect();
        fs::write(&path, lines)?;
        let data = self.dir.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir_all(&data)?;
        let (rate, cap) = (self.options.rate.to_string(), self.options.cap.to_string());
        let usual = ["--cap", cap.as_str()];
        let more = [&["--replay-rate", rate.as_str()][..], if short { &SHORT[..] } else { &usual }].concat();
        let spec = ServeSpec {
            binary: self.binary.clone(),
            data_dir: data.clone(),
            source: format!("file:{}", path.display()),
            cursor: "auto".into(),
            enrol: "all".into(),
            grpc_port: 0,
            more: more.into_iter().map(str::to_owned).collect(),
            env: Vec::new(),
            log: self.dir.join("serve.log"),
        };
        for kill in 0..kills {
            self.kill(&spec, &data, plan).with_context(|| format!("kill {} of this folder", kill + 1))?;
        }
        let began = now();
        let mut serve = Serve::start(&spec)?;
        serve.addrs(PATIENCE)?;
        let start = began.elapsed();
        let (grpc, admin) = finish(&mut serve)?;
        if kills == 0 {
            (self.start, self.ingest) = (start, began.elapsed() - start);
        }
        let found = compare::all(&self.binary, &grpc, &Model::after(&feed), actors)
            .with_context(|| format!("reading back; the service's last words:\n{}", serve.tail()))?;
        self.tally.found.add(found);
        self.tally.compared += 1;
        let metrics = get(&admin, "/metrics")?.1;
        if short {
            self.tally.short += 1;
            self.tally.left += metric(&metrics, LEFT).unwrap_or(0.0);
        }
        if kills == 0 {
            let cached = metric(&metrics, "skyweir_api_items_total{source=\"cache\"}");
            ensure!(cached > Some(0.0), "no item came from a ring: only merges were compared");
        }
        serve.kill();
        if self.tally.found.any() { Ok(()) } else { check(&self.binary, &data) }
    }

    /// Starts the service, kills it at a random moment, and takes the power away if asked to.
    fn kill(&mut self, spec: &ServeSpec, data: &Path, plan: Plan) -> Result<()> {
        let mut spec = spec.clone();
        let mut recording = None;
        if let (true, Some(library)) = (plan.powered, &self.library) {
            let begun = power::Recording::begin(data, &self.dir.join("side"))?;
            spec.env = begun.env(library);
            recording = Some(begun);
        }
        // from the first moment of each start on, and so that all kills of a folder spread over its whole feed
        let feed = if plan.early { Duration::ZERO } else { self.ingest * 2 / plan.kills.max(1) };
        let most = (self.start + feed).as_micros() as u64;
        let moment = Duration::from_micros(self.rng.below(most.max(1)));
        let began = now();
        let mut serve = Serve::start(&spec)?;
        std::thread::sleep(moment.saturating_sub(began.elapsed()));
        if let Some(status) = serve.ended()? {
            bail!("the service ended by itself ({status}):\n{}", serve.tail());
        }
        let met = serve.addrs_now().and_then(|(_, admin)| get(&admin, "/metrics").ok());
        match met {
            None => self.tally.starting += 1,
            Some((_, text)) if metric(&text, "skyweir_indexer_source_ended") == Some(1.0) => {
                self.tally.idle += 1
            }
            Some(_) => self.tally.ingesting += 1,
        }
        // the question above must not decide the moment
        std::thread::sleep(Duration::from_micros(self.rng.below(5_000)));
        serve.kill();
        match recording {
            None => self.tally.kills += 1,
            Some(recording) => {
                self.tally.power += 1;
                let torn = self.rng.per_mille(500);
                let noticed = recording.lose_power(&mut self.rng, torn)?;
                self.notice(noticed);
            }
        }
        Ok(())
    }

    fn notice(&mut self, new: Noticed) {
        let sum = &mut self.tally.noticed;
        sum.records += new.records;
        sum.overwrites += new.overwrites;
        sum.unseen += new.unseen;
        sum.odd += new.odd;
        sum.undone += new.undone;
        sum.bytes_cut += new.bytes_cut;
        sum.patched += new.patched;
    }

    fn summary(&self, seed: u64) {
        let Tally { kills, power, starting, ingesting, idle, compared, short, left, found, noticed } =
            &self.tally;
        println!("torture: seed {seed}");
        let mut table = Table::new(&["what", "count"]);
        let mut row = |what: &str, count: String| table.row([what.to_owned(), count]);
        row("kills", format!("{kills} and {power} power losses"));
        row("  while it met", format!("start {starting}, ingest {ingesting}, idle {idle}"));
        row("feeds compared", format!("{compared}, {} items", found.items));
        row("  with short memory", format!("{short}, {left} timelines left for it"));
        row("lost", found.lost.to_string());
        row("doubled", found.doubled.to_string());
        row("extra", found.extra.to_string());
        row("out of order", found.misordered.to_string());
        if *power > 0 {
            row("journal records", noticed.records.to_string());
            row("  overwrites", format!("{}, {} taken back", noticed.overwrites, noticed.patched));
            row("  bytes cut", noticed.bytes_cut.to_string());
            row("  names undone", noticed.undone.to_string());
            row("  past the shim", format!("{} renames, {} other calls", noticed.unseen, noticed.odd));
        }
        table.print();
        for example in &found.examples {
            println!("  {example}");
        }
        if noticed.unseen > 0 {
            println!(
                "  warning: renames by raw system calls were taken as durable (rustix without its feature use-libc)"
            );
        }
    }
}

/// Waits until the feed is read to its end and delivered: (gRPC, admin).
fn finish(serve: &mut Serve) -> Result<(String, String)> {
    let (grpc, admin) = serve.addrs(PATIENCE)?;
    serve.ready(PATIENCE)?;
    let began = now();
    let mut was_ended = false;
    loop {
        if let Some(status) = serve.ended()? {
            bail!("the service ended by itself ({status}):\n{}", serve.tail());
        }
        let text = get(&admin, "/metrics").map(|(_, text)| text).unwrap_or_default();
        let (ended, lag) =
            (metric(&text, "skyweir_indexer_source_ended"), metric(&text, "skyweir_writer_lag_tasks"));
        // a page's lag is measured first: only a later page tells what was left when the source had ended
        if was_ended && lag == Some(0.0) {
            return Ok((grpc, admin));
        }
        was_ended |= ended == Some(1.0);
        if began.elapsed() > PATIENCE {
            bail!("after {} s: source ended {ended:?}, lag {lag:?}\n{}", PATIENCE.as_secs(), serve.tail());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `skyweir check` on the folder that nobody uses any more.
fn check(binary: &Path, data: &Path) -> Result<()> {
    let mut command = std::process::Command::new(binary);
    let output = command.arg("check").arg("--data-dir").arg(data).output()?;
    let text = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "skyweir check found faults:\n{}", String::from_utf8_lossy(&text));
    Ok(())
}
