//! Space: what a day of the network's mix takes on disk, with all items kept and with some, and what a year would.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use fjall::{Database, KeyspaceCreateOptions};
use skyweir_embedded::{Config, EmbeddedStore};
use skyweir_indexer::Horizons;
use skyweir_indexer::decode::v2_message;
use skyweir_loadtest::{Network, NetworkSpec};
use skyweir_types::{Action, Body, Collection, Event};
use tokio::runtime::Builder;

use crate::events::Feed;
use crate::machine::Watch;
use crate::report::{Claim, Compared, Limit, Report, number};

/// So many days are kept, more than tombstones are: a record stays for its rev as long as those.
const KEPT: u64 = 10;
/// Days until items leave as fast as they come, and the first look.
const FIRST: u64 = 2 * KEPT;
/// Days until the second look.
const LAST: u64 = 3 * KEPT;
const DAY_MS: i64 = 86_400_000;
/// Events a day at scale 1.
const EVENTS: f64 = 200_000.0;
/// Posts a day on the real network, in the mean: Bluesky, March 2026 (25 a second, 36 in the busiest hour), as it and
/// its engineers have posted. Nobody tells how many reposts come with them: the mix's share is taken.
const POSTS_A_DAY: f64 = 2.2e6;
/// The writer cuts this table behind itself, and none runs here.
const CUT: &str = "tasks";
/// Tables of which nothing stays but what is of kept items.
const OF_ITEMS: [&str; 3] = ["items", "feeds", "reposts"];
const GIB: f64 = (1_u64 << 30) as f64;

/// What a store takes at a look, and what it cost to get there from the look before.
struct Look {
    tables: BTreeMap<String, u64>,
    /// Posts that came since, and reposts.
    items: [usize; 2],
    /// Microseconds of CPU an event, of all threads.
    cpu: f64,
}

impl Look {
    fn all(&self) -> f64 {
        self.tables.values().sum::<u64>() as f64
    }

    fn of_items(&self) -> f64 {
        OF_ITEMS.iter().filter_map(|table| self.tables.get(*table)).sum::<u64>() as f64
    }
}

/// Feeds thirty days twice.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let a_day = ((EVENTS * scale) as u64).max(2_000);
    let spec = NetworkSpec {
        seed: 11,
        actors: ((a_day / 4) as u32).max(1_000),
        // some are no events of ours
        events: a_day * LAST * 11 / 10,
        events_per_second: a_day as f64 / 86_400.0,
        ..NetworkSpec::default()
    };
    report.bar(
        "space: a day of the network's mix on disk, and a year",
        &format!(
            "{LAST} times {a_day} events of ours, a day of {} accounts in the real network's mix, or some per cent \
             longer, as not all of it is ours; applied twice: all items kept, and those of {KEPT} days; bytes of tables \
             after flush and full compaction on days {FIRST} and {LAST}, without the log of tasks, which the writer cuts",
            spec.actors
        ),
    );
    let network = Network::new(spec)?;
    let [all_first, all_last] = fed(&network, &dir.join("all"), a_day, None)?;
    let [kept_first, kept_last] = fed(&network, &dir.join("kept"), a_day, Some(KEPT as i64 * DAY_MS))?;
    let stretch = ((LAST - FIRST) * a_day) as f64;
    let slope = |from: f64, to: f64| (to - from) / stretch;
    let tables = all_last.tables.keys().map(|table| {
        let of = |look: &Look| look.tables.get(table).copied().unwrap_or_default() as f64;
        let cells = vec![slope(of(&all_first), of(&all_last)), slope(of(&kept_first), of(&kept_last))];
        (table.clone(), cells)
    });
    let rows: Vec<_> = tables.filter(|(_, cells)| cells.iter().any(|bytes| bytes.abs() >= 0.05)).collect();
    report.rows(&["table", "bytes an event, all kept", "bytes an event, kept for ten days"], &rows);
    let (all, stays) =
        (slope(all_first.all(), all_last.all()), slope(kept_first.all(), kept_last.all()).max(0.0));
    report.claim(Claim {
        what: "items, feeds and links of reposts on the last day, ten days kept",
        value: kept_last.of_items(),
        unit: "bytes",
        limit: Limit::AtMost(kept_first.of_items() * 1.1),
        compared: Compared::measured("all kept", all_last.of_items()),
    });
    let [posts, reposts] = all_last.items.map(|items| items as f64);
    let day = POSTS_A_DAY * stretch / posts;
    report.note(format!(
        "computed for {} M posts a day (Bluesky, the mean of March 2026, as it has posted), with {} reposts for each as \
         in the mix, and so {} M events of the mix a day: what leaves is {} bytes an event, what stays (follows, \
         accounts, of as few as here) {}; it goes up and down with that rate, and compaction of a store at work lags \
         behind",
        number(POSTS_A_DAY / 1e6),
        number(reposts / posts),
        number(day / 1e6),
        number(all - stays),
        number(stays)
    ));
    let year = |days: f64| vec![((all - stays) * days + stays * 365.0) * day / GIB];
    report.rows(
        &["after a year", "GiB"],
        &[
            ("all kept".into(), year(365.0)),
            ("kept for 90 days".into(), year(90.0)),
            ("kept for 30 days".into(), year(30.0)),
            ("a day alone".into(), vec![all * day / GIB]),
        ],
    );
    report.rows(
        &["applying an event", "CPU µs, all threads"],
        &[
            (format!("all kept, days {FIRST} to {LAST}"), vec![all_last.cpu]),
            (format!("ten days kept, days {FIRST} to {LAST}"), vec![kept_last.cpu]),
        ],
    );
    Ok(())
}

/// Feeds a store of its own, and looks at it twice.
fn fed(network: &Network, dir: &Path, a_day: u64, keep_ms: Option<i64>) -> Result<[Look; 2]> {
    let mut events = (1..)
        .zip(network.traffic())
        .flat_map(|(seq, event)| v2_message(event.to_jetstream_v2_json(seq).as_bytes()).events);
    let mut looks = Vec::new();
    for days in [FIRST, LAST - FIRST] {
        let (items, cpu) = feed(dir, keep_ms, &mut events, days * a_day)?;
        looks.push(Look { tables: tables(dir)?, items, cpu });
    }
    looks.try_into().map_err(|_| anyhow::anyhow!("two looks"))
}

/// Opens the store, applies so many events as the indexer does, closes it. Returns how many items came, and the
/// microseconds of CPU an event.
fn feed(
    dir: &Path,
    keep_ms: Option<i64>,
    events: &mut impl Iterator<Item = Event>,
    count: u64,
) -> Result<([usize; 2], f64)> {
    let store = EmbeddedStore::open(Config { data_dir: dir.to_owned(), ..Config::default() })?;
    let group = skyweir_indexer::Config::default().group_events;
    Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let mut feed = Feed::with(store, Horizons { keep_ms, ..Horizons::default() }).await?;
        let (mut items, mut cpu, mut left) = ([0; 2], 0.0, count as usize);
        while left > 0 {
            let stretch: Vec<Event> = events.by_ref().take(left.min(100 * group)).collect();
            ensure!(!stretch.is_empty(), "the network's traffic ends {left} events too early");
            left -= stretch.len();
            for (items, collection) in items.iter_mut().zip([Collection::Post, Collection::Repost]) {
                *items += stretch.iter().filter(|event| is_put(event, collection)).count();
            }
            let watch = Watch::start()?;
            for events in stretch.chunks(group) {
                feed.group(events).await?;
            }
            cpu += watch.took()?.cpu;
        }
        Ok((items, cpu * 1e6 / count as f64))
    })
}

fn is_put(event: &Event, collection: Collection) -> bool {
    let Body::Record(op) = &event.body else { return false };
    matches!(op.action, Action::Put { .. }) && op.collection == collection
}

/// Bytes of each table, flushed and compacted.
fn tables(dir: &Path) -> Result<BTreeMap<String, u64>> {
    let database = Database::builder(dir.join("db")).open()?;
    let mut bytes = BTreeMap::new();
    for name in database.list_keyspace_names().into_iter().filter(|name| &**name != CUT) {
        let space = database.keyspace(&name, KeyspaceCreateOptions::default)?;
        space.rotate_memtable_and_wait()?;
        space.major_compact()?;
        bytes.insert(name.to_string(), space.disk_space());
    }
    Ok(bytes)
}
