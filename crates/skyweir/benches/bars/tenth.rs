//! A tenth of the network: its accounts and follows loaded, then served.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::mpsc::sync_channel;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use skyweir_embedded::{Bulk, Config, EmbeddedStore};
use skyweir_loadtest::{Network, NetworkSpec, RunOptions};
use skyweir_store::Load as _;
use skyweir_types::{ActorId, Did, Tid};

use crate::events::rkey;
use crate::machine::Watch;
use crate::report::{Claim, Compared, Limit, Report, number};
use crate::rng::Rng;

/// How many accounts' follows are drawn at a time.
const STRETCH: u32 = 4_096;
/// Follow records are from so many microseconds before the network's first event: three years.
const PAST_US: u64 = 3 * 365 * 86_400 * 1_000_000;
/// From a record's key to its rev: at most so many microseconds.
const COMMIT_US: u32 = 40_000;

/// The network at this scale: 4 M accounts that follow 60 in the mean.
pub(crate) fn spec(scale: f64) -> NetworkSpec {
    NetworkSpec {
        seed: 7,
        actors: ((4e6 * scale) as u32).max(1_000),
        mean_follows: 60.0,
        celebrities: 5,
        celebrity_share: 0.2,
        mass_followers: 20,
        mass_follow_share: 0.05,
        ..NetworkSpec::default()
    }
}

/// Loads all accounts and follows of a network into an empty directory.
pub(crate) fn load(report: &mut Report, dir: &Path, network: &Network) -> Result<()> {
    let watch = Watch::start()?;
    let config = Config { data_dir: dir.to_owned(), ..Config::default() };
    let mut bulk = Bulk::begin(config)?;
    for actor in 0..network.actors() {
        bulk.actor(&Did::parse(&network.did(actor))?)?;
    }
    let mut follows = 0_u64;
    std::thread::scope(|scope| {
        let (send, drawn) = sync_channel(4);
        scope.spawn(move || {
            for start in (0..network.actors()).step_by(STRETCH as usize) {
                let end = (start + STRETCH).min(network.actors());
                let stretch: Vec<_> = (start..end).map(|actor| (actor, network.followees(actor))).collect();
                if send.send(stretch).is_err() {
                    // whoever took them has failed and says why
                    return;
                }
            }
        });
        for (follower, followees) in drawn.iter().flatten() {
            let mut rng = Rng::new(u64::from(follower));
            for subject in followees {
                let at = network.spec().start_us - rng.any() % PAST_US;
                let clock = (follower % 1_024) as u16;
                let rev = Tid::from_parts(at + u64::from(rng.below(COMMIT_US)), clock);
                bulk.follow(ActorId(follower), ActorId(subject), &rkey(at, clock)?, rev)?;
                follows += 1;
            }
        }
        anyhow::Ok(())
    })?;
    let drawn = watch.took()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let store = runtime.block_on(bulk.finish(&mut |_| {}))?;
    let took = watch.took()?;
    let disk = store.disk_space()?;
    drop::<EmbeddedStore>(store);
    report.note(format!(
        "{} accounts and {follows} follows loaded in {:.0} s ({:.0} s until all were drawn, sorted and on disk), {} \
         CPU-s a million, {} follows/s; {} bytes a follow on disk, all tables",
        network.actors(),
        took.wall,
        drawn.wall,
        number(took.cpu * 1e6 / follows as f64),
        number(follows as f64 / took.wall),
        number(disk as f64 / follows as f64),
    ));
    Ok(())
}

/// What the harness is told, beside the network and where things are. It climbs until something bends. Bent is a p99
/// above 10 ms in two samples running, not the default 3: the harness shares the cores with the service.
const LOAD: &str = "--reads-per-second 100 --events-per-second 200 --history 100000 --duration 120 \
                    --rate-ladder=1,10,100 --read-p99-bar-ms 10";

#[derive(Parser)]
struct Harness {
    #[command(flatten)]
    run: RunOptions,
}

/// Loads it, has it served by a process of its own, and reads as 10,000 readers do.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let spec = spec(scale);
    let network = Network::new(spec.clone())?;
    report.bar(
        "a tenth of the network, enrolled by reads: 4 M actors, 240 M follows, 10,000 readers with 100 reads/s, 200 \
         events/s",
        &format!("{spec:?}; then the load harness, against `skyweir serve`: {LOAD}"),
    );
    load(report, dir, &network).context("loading")?;
    let json = dir.with_extension("json");
    let program = Path::new(env!("CARGO_BIN_EXE_skyweir"));
    let mut args: Vec<OsString> = std::iter::once("tenth").chain(LOAD.split(' ')).map(Into::into).collect();
    let mut set =
        |flag: &str, value: &dyn AsRef<OsStr>| args.extend([flag.into(), value.as_ref().to_owned()]);
    set("--readers", &((10_000.0 * scale).max(50.0) as u32).to_string());
    set("--actors", &spec.actors.to_string());
    set("--seed", &spec.seed.to_string());
    set("--mean-follows", &spec.mean_follows.to_string());
    set("--celebrities", &spec.celebrities.to_string());
    set("--celebrity-share", &spec.celebrity_share.to_string());
    set("--mass-followers", &spec.mass_followers.to_string());
    set("--mass-follow-share", &spec.mass_follow_share.to_string());
    set("--skyweir", &program);
    set("--loaded", &dir);
    set("--json", &json);
    let options = Harness::try_parse_from(args)?.run;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let right = runtime.block_on(skyweir_loadtest::run(options))?;
    ensure!(right, "the harness isn't content: it has said why");
    let said: serde_json::Value = serde_json::from_slice(&std::fs::read(&json)?)?;
    let step = &said["steps"][0];
    let figure = |name: &str| step[name].as_f64().with_context(|| format!("the harness has no {name}"));
    for each in said["steps"].as_array().context("the harness has no steps")? {
        report.note(format!(
            "at {} events/s, of which {} were sent: reads p50 {} ms, p99 {} ms (the harness itself late by a p99 of \
             {} ms); greatest lag {} s; {} cores, {} MiB resident; what bent: {}",
            each["pace"],
            number(each["sent"]["per_second"].as_f64().unwrap_or(f64::NAN)),
            each["reads"]["p50"],
            each["reads"]["p99"],
            each["reads_late"]["p99"],
            each["lag_seconds"],
            number(each["cores"].as_f64().unwrap_or(f64::NAN)),
            number(each["resident_bytes"].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 20)),
            each["bent"]["what"].as_str().unwrap_or("nothing")
        ));
    }
    let mut claim = |what, value, unit, most, compared| {
        report.claim(Claim { what, value, unit, limit: Limit::AtMost(most), compared });
    };
    claim(
        "a tenth of the network: resident memory",
        figure("resident_bytes")? / f64::from(1 << 30),
        "GiB",
        2.0,
        Compared::published("memory advised for an open AppView of the full network, all its parts", 256.0),
    );
    claim(
        "a tenth of the network: processor",
        figure("cores")? * 100.0,
        "% of a core",
        10.0,
        Compared::published("cores advised for the same", 4_800.0),
    );
    Ok(())
}
