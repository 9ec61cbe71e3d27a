//! A network's follows from an archive into an empty directory: `skyweir backfill`, beside the bare decode loop.

mod segments;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use skyweir_embedded::{Config, EmbeddedStore};
use skyweir_indexer::archive::{BlockReader, Piece, SegmentWalk, Wanted};
use skyweir_loadtest::Network;
use skyweir_store::Store as _;
use skyweir_types::ActorId;
use tokio::time::Instant;

use self::segments::{Segment, Segments};
use crate::machine::{Watch, cpu_of, peak_of};
use crate::pages;
use crate::report::{Claim, Compared, Limit, Report, number};
use crate::tenth;

/// So many follows are decoded by the bare loop.
const DECODED: u64 = 4_000_000;
/// Bytes of a block, as the defaults have it.
const MOST: usize = 64 << 20;
/// Accounts are asked for in pages of so many.
const PAGE: u32 = 10_000;
/// Follows of the whole network.
const WHOLE: f64 = 2.4e9;
/// How often memory and CPU of the process are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Generates the archive of a tenth of the network, and reads it.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let spec = tenth::spec(scale);
    let network = Network::new(spec.clone())?;
    report.bar(
        "a tenth of the network from an archive: 4 M accounts, 240 M follows",
        &format!(
            "{spec:?}; segments in files, all that an account follows together, without deletions, updates, resyncs or \
             live rows between them; `skyweir backfill` with its defaults from an HTTP server on loopback, which has \
             its part of the cores"
        ),
    );
    let sealed = segments::generate(&network, &dir.join("archive")).context("generating the archive")?;
    report.note(format!(
        "{} accounts and {} follows in {} segments, {} bytes a follow",
        network.actors(),
        sealed.follows,
        sealed.list.len(),
        number(sealed.bytes as f64 / sealed.follows as f64)
    ));
    let (decoded, cpu) = bare_decode(&sealed)?;
    report.note(format!(
        "the bare decode loop, on one core: {} follows/s, {} CPU-s a million",
        number(decoded),
        number(cpu)
    ));
    let data = dir.join("data");
    let took = backfill(report, &data, &sealed)?;
    let follows = sealed.follows as f64;
    let rate = follows / took.wall;
    report.note(format!(
        "loaded in {:.1} s, {} CPU-s a million; all 2.4 G follows of the network at this pace: {:.1} h",
        took.wall,
        number(took.cpu * 1e6 / follows),
        WHOLE / rate / 3_600.0
    ));
    let loop_alone = Compared::measured("the bare decode loop on one core", decoded);
    report.claim(Claim {
        what: "a tenth of the network from an archive: follows loaded",
        value: rate,
        unit: "follows/s",
        limit: Limit::AtLeast(500_000.0),
        compared: loop_alone,
    });
    report.claim(Claim {
        what: "a tenth of the network from an archive: pace beside the bare decode loop",
        value: rate / decoded,
        unit: "×",
        limit: Limit::AtLeast(0.3),
        compared: "the decode loop hands its events to nobody".into(),
    });
    report.claim(Claim {
        what: "a tenth of the network from an archive: greatest resident memory",
        value: took.peak as f64 / f64::from(1 << 30),
        unit: "GiB",
        limit: Limit::AtMost(2.0),
        compared: "nothing published".into(),
    });
    is_whole(&data, sealed.follows)?;
    pages::of_the_archive(report, &data, sealed.follows as usize)
}

/// Follows a second of wall time, and CPU seconds a million, of the decode loop on one thread.
fn bare_decode(sealed: &Segments) -> Result<(f64, f64)> {
    let wanted = Wanted { after: 0, through: u64::MAX, items_since_us: i64::MIN, latest_us: i64::MAX };
    let mut reader = BlockReader::new(MOST)?;
    let (mut follows, mut wall, mut cpu) = (0_u64, 0.0, 0.0);
    for Segment { path, .. } in &sealed.list {
        let bytes = std::fs::read(path)?;
        let watch = Watch::start()?;
        let mut walk = SegmentWalk::new(MOST);
        walk.feed(&bytes);
        while let Some(piece) = walk.next_piece()? {
            if let Piece::Block { frame, .. } = piece {
                follows += wanted.of_block(&mut reader, &frame)?.events.len() as u64;
            }
        }
        walk.end()?;
        let took = watch.took()?;
        (wall, cpu) = (wall + took.wall, cpu + took.cpu);
        if follows >= DECODED {
            break;
        }
    }
    Ok((follows as f64 / wall, cpu * 1e6 / follows as f64))
}

/// What the process took.
struct Took {
    wall: f64,
    cpu: f64,
    peak: usize,
}

fn backfill(report: &mut Report, data: &Path, sealed: &Segments) -> Result<Took> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let port = runtime.block_on(segments::serve(&sealed.list))?;
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_skyweir"))
        .args(["backfill", "--from", &format!("http://127.0.0.1:{port}"), "--data-dir"])
        .arg(data)
        .stderr(Stdio::piped())
        .spawn()?;
    let said = child.stderr.take().context("the process has no log")?;
    let (sender, lines) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            if sender.send((began.elapsed().as_secs_f64(), line)).is_err() {
                return;
            }
        }
    });
    let took = watched(&mut child, began)?;
    reading.join().map_err(|_| anyhow::anyhow!("reading the log panicked"))?;
    for (at, line) in lines.iter() {
        // what it does next; how far it is, is of no use here
        if ["backfill begins", "writing the tables", "applying posts", "is complete", "rror"]
            .iter()
            .any(|word| line.contains(word))
        {
            report.note(format!("after {at:.1} s: {}", line.rsplit("  ").next().unwrap_or(&line).trim()));
        }
    }
    took.context("the backfill has failed: see its log")
}

/// What it took, once it has ended; `None` when it has failed.
fn watched(child: &mut Child, began: Instant) -> Result<Option<Took>> {
    let (mut cpu, mut peak) = (0.0, 0);
    loop {
        let ended = child.try_wait()?;
        if let Some(status) = ended {
            let wall = began.elapsed().as_secs_f64();
            return Ok(status.success().then_some(Took { wall, cpu, peak }));
        }
        // a process that is ending has nothing to tell
        if let (Ok(now_cpu), Ok(now_peak)) = (cpu_of(child.id()), peak_of(child.id())) {
            (cpu, peak) = (now_cpu, now_peak.max(peak));
        }
        std::thread::sleep(LOOK);
    }
}

/// Counts what was loaded.
fn is_whole(data: &Path, expected: u64) -> Result<()> {
    let store = EmbeddedStore::open(Config { data_dir: data.to_owned(), ..Config::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (follows, followers) = runtime.block_on(async {
        let view = store.view().await?;
        let count = view.actor_count().await?;
        let mut sums = (0_u64, 0_u64);
        for from in (0..count).step_by(PAGE as usize) {
            let actors: Vec<_> = (from..(from + PAGE).min(count)).map(ActorId).collect();
            for info in view.accounts(&actors).await? {
                sums = (sums.0 + u64::from(info.follows), sums.1 + u64::from(info.followers));
            }
        }
        anyhow::Ok(sums)
    })?;
    ensure!(follows == expected, "{follows} follows are loaded, not {expected}");
    if followers != expected {
        bail!("{followers} followers are loaded, not {expected}");
    }
    Ok(())
}
