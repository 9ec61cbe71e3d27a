//! First reads: of an account that follows very many, of everybody at once after a restart, and by a crawler.

mod network;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, ensure};
use skyweir_proto::skyweir::v1::timeline_service_client::TimelineServiceClient;
use skyweir_proto::skyweir::v1::{GetTimelineRequest, GetTimelineResponse};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;

use self::network::{Network, Sizes};
use crate::events::did;
use crate::machine::quantile;
use crate::report::{Claim, Limit, Report, number};
use crate::served::PAGE;

/// As an AppView: so many tries in all, without a pause.
const TRIES: usize = 3;
/// How many clients ask for the same timeline.
const CLIENTS_EACH: usize = 4;
/// How many connections they have together.
const CONNECTIONS: usize = 16;

type Client = TimelineServiceClient<Channel>;

/// Runs all three on one network.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let sizes = Sizes::of(scale);
    report.bar(
        "first reads",
        &format!(
            "{sizes:?}; small caches; timelines are enrolled by their reads; memory for all readers, and for a quarter \
             of those that the crawler reads; each page is compared with what it must hold (of samples only the order)"
        ),
    );
    let network = Network::start(report, dir, sizes)?;
    network.io.block_on(async {
        let mut client = TimelineServiceClient::new(network.connect().await?);
        very_many_follows(report, &network, &mut client).await?;
        all_at_once(report, &network).await?;
        // the last: it leaves no memory to others
        crawler(report, &network, &mut client).await
    })?;
    network.stop()
}

/// What a read took, in milliseconds, and how many of its items came from the cache.
async fn read(network: &Network, client: &mut Client, viewer: u32) -> Result<(f64, u32)> {
    let began = Instant::now();
    let answer = client.get_timeline(request(viewer)?).await?.into_inner();
    let took = began.elapsed().as_secs_f64() * 1e3;
    must_hold(network, viewer, &answer)?;
    Ok((took, answer.from_cache))
}

fn must_hold(network: &Network, viewer: u32, answer: &GetTimelineResponse) -> Result<()> {
    let shown: Vec<i64> = answer.items.iter().map(|item| item.sort_at).collect();
    match network.must_show(viewer, PAGE) {
        Some(expected) => {
            ensure!(
                shown == expected,
                "the timeline of account {viewer} is wrong: {shown:?}, not {expected:?}"
            );
        }
        None => {
            let in_order = shown.windows(2).all(|pair| pair[0] > pair[1]);
            ensure!(
                answer.sampled && shown.len() == PAGE && in_order,
                "account {viewer} has no full sample: {shown:?}"
            );
        }
    }
    Ok(())
}

fn request(viewer: u32) -> Result<GetTimelineRequest> {
    let actor_did = did(viewer)?.as_str().to_owned();
    Ok(GetTimelineRequest { actor_did, limit: PAGE as i32, ..GetTimelineRequest::default() })
}

async fn very_many_follows(report: &mut Report, network: &Network, client: &mut Client) -> Result<()> {
    let mut took = Vec::new();
    for viewer in network.mass_followers() {
        took.push(read(network, client, viewer).await?.0);
    }
    let all: Vec<_> = took.iter().map(|ms| number(*ms)).collect();
    report.note(format!("first reads with {} follows each: {} ms", network.sizes.authors, all.join(", ")));
    report.claim(Claim {
        what: "first read with 100,000 follows (scaled), the slowest",
        value: quantile(&mut took, 1.0),
        unit: "ms",
        limit: Limit::AtMost(500.0),
        compared: "nothing published".into(),
    });
    network.enrolled(network.mass_followers()).await
}

/// Some accounts read now and then. A crawler reads everybody's timeline once: theirs have to stay, and stay fast.
async fn crawler(report: &mut Report, network: &Network, client: &mut Client) -> Result<()> {
    let regulars = network.regulars();
    for viewer in regulars.clone() {
        read(network, client, viewer).await?;
    }
    network.enrolled(regulars.clone()).await?;
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        took[0].clear();
        for viewer in regulars.clone() {
            took[0].push(read(network, client, viewer).await?.0);
        }
    }
    let began = Instant::now();
    for viewer in network.crawled() {
        read(network, client, viewer).await?;
    }
    let crawl = began.elapsed().as_secs_f64();
    ensure!(network.was_short(), "there was memory for everybody: nobody could be evicted");
    let mut evicted = 0;
    for viewer in regulars {
        let (ms, from_cache) = read(network, client, viewer).await?;
        took[1].push(ms);
        evicted += u32::from(from_cache < PAGE as u32);
    }
    let [before, after] = took.each_mut().map(|took| number(quantile(took, 0.5)));
    report.note(format!(
        "{} timelines crawled in {crawl:.1} s; the regulars' reads took {before} ms before and {after} ms after (p50)",
        network.crawled().len()
    ));
    report.claim(Claim {
        what: "timelines of regular readers that a crawler evicts",
        value: evicted.into(),
        unit: "timelines",
        limit: Limit::AtMost(0.0),
        compared: "nothing published".into(),
    });
    Ok(())
}

/// One client's reads: how long the answer took and what it was, if there was one, and how many tries were refused.
async fn insist(mut client: Client, viewer: u32) -> Result<(Option<(f64, GetTimelineResponse)>, usize)> {
    let began = Instant::now();
    for refused in 0..TRIES {
        match client.get_timeline(request(viewer)?).await {
            Ok(answer) => {
                return Ok((Some((began.elapsed().as_secs_f64() * 1e3, answer.into_inner())), refused));
            }
            Err(status) if status.code() == Code::Unavailable => {}
            Err(status) => return Err(status.into()),
        }
    }
    Ok((None, TRIES))
}

async fn all_at_once(report: &mut Report, network: &Network) -> Result<()> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(TimelineServiceClient::new(network.connect().await?));
    }
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS_EACH {
        for (at, viewer) in network.returning().enumerate() {
            let client = connections[(at + n) % CONNECTIONS].clone();
            clients.spawn(async move { anyhow::Ok((viewer, insist(client, viewer).await?)) });
        }
    }
    let asked = clients.len();
    let (mut took, mut refused) = (Vec::new(), 0);
    while let Some(client) = clients.join_next().await {
        let (viewer, (answer, tries)) = client??;
        if let Some((ms, answer)) = answer {
            must_hold(network, viewer, &answer)?;
            took.push(ms);
        }
        refused += tries;
    }
    ensure!(!took.is_empty(), "nobody was answered");
    let answered = took.len();
    let [p50, p99] = [0.5, 0.99].map(|share| number(quantile(&mut took, share)));
    network.enrolled(network.returning()).await?;
    let fills = network.publications();
    let twice = network.returning().filter(|viewer| fills.get(viewer).copied().unwrap_or(0) != 1).count();
    report.note(format!(
        "{asked} clients at once for {} hibernating timelines: {answered} answered, p50 {p50} ms, p99 {p99} ms; \
         {refused} tries refused (1,024 requests run at once; three tries without a pause)",
        network.returning().len()
    ));
    report.claim(Claim {
        what: "hibernating timelines that all readers at once fill more or less often than once",
        value: twice as f64,
        unit: "timelines",
        limit: Limit::AtMost(0.0),
        compared: "nothing published".into(),
    });
    Ok(())
}

/// How often each timeline was published.
type Publications = HashMap<u32, u32>;

/// Counts publications.
#[derive(Default)]
struct Counting(std::sync::Mutex<Publications>);

impl Counting {
    fn all(&self) -> Publications {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

#[async_trait::async_trait]
impl skyweir_store::Hook for Counting {
    async fn before(&self, _: &skyweir_store::Operation<'_>) -> skyweir_store::Result<()> {
        Ok(())
    }

    async fn after(&self, operation: &skyweir_store::Operation<'_>) -> skyweir_store::Result<()> {
        if let skyweir_store::Operation::Publish(viewer) = operation {
            let mut counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *counts.entry(viewer.0).or_default() += 1;
        }
        Ok(())
    }
}
