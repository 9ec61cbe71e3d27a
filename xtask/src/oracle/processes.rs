//! The roles in processes of their own, over one keyspace and a Redis: started, killed, started again.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::network::Network;
use super::{PATIENCE, still_serving};
use crate::redis::Redis;
use crate::run::{Rng, Serve, ServeSpec, free_port, get, metric, now, wait_for};

/// What is killed: processes by their name and role, and the Redis. The indexer comes first, as it makes the tables.
const PROCESSES: [(&str, &str); 5] = [
    ("indexer", "indexer"),
    ("graph", "graph"),
    ("writer", "writer"),
    ("second writer", "writer"),
    ("api", "api"),
];
const INDEXER: usize = 0;
const WRITERS: [usize; 2] = [2, 3];
const API: usize = 4;

/// How long it may take until the network changes, until the indexer has appended again what Redis has lost, and until
/// what a writer had is claimed.
const SOON: Duration = Duration::from_secs(60);
/// How long a writer may take to get a task in hand before it is killed without one: it gets every second.
const IN_HAND: Duration = Duration::from_secs(15);
/// How often it is looked whether it has one: it is done within milliseconds.
const LOOK: Duration = Duration::from_millis(1);
/// How often a writer is killed at the most because it had done its task just before, until one had some in hand.
const TRIES: u32 = 3;
/// The group that writers take tasks as.
const GROUP: &str = "writers";
const MESSAGES: &str = "skyweir_indexer_messages_total";
const GAPS_MENDED: &str = "skyweir_scylla_task_gaps_total{outcome=\"mended\"}";
const CLAIMED: &str = "skyweir_scylla_tasks_claimed_total";

/// One that can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// By its place in [`PROCESSES`].
    Process(usize),
    /// With its tail lost.
    Redis,
}

impl Victim {
    /// All of them, in an order of chance.
    pub(super) fn shuffled(rng: &mut Rng) -> Vec<Self> {
        let mut left: Vec<Self> = (0..PROCESSES.len()).map(Self::Process).chain([Self::Redis]).collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            order.push(left.swap_remove(rng.index(left.len())));
        }
        order
    }

    pub(super) fn is_writer(self) -> bool {
        matches!(self, Self::Process(place) if WRITERS.contains(&place))
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process(place) => PROCESSES[*place].0,
            Self::Redis => "Redis and its tail",
        })
    }
}

/// All of them, running.
pub(super) struct Processes {
    processes: Vec<Process>,
    redis: Redis,
    /// The stream of tasks.
    tasks: String,
    /// How many tasks writers have claimed of those that were killed at work.
    claimed: f64,
    /// What Redis had written when it was last looked: what comes later is lost with it.
    mark: u64,
}

struct Process {
    spec: ServeSpec,
    serve: Serve,
    starts: u32,
}

impl Processes {
    /// Starts a Redis of their own, and them, at the beginning of the network's firehose.
    pub(super) fn start(
        network: &Network,
        binary: &Path,
        work: &Path,
        nodes: &[String],
        keyspace: &str,
    ) -> Result<Self> {
        let redis = Redis::up(&work.join("redis"), Some(free_port(&[0])?), true)?;
        let settings = work.join("cluster.toml");
        let graph = format!("127.0.0.1:{}", free_port(&[0])?);
        fs::write(&settings, text(nodes, &redis.url(), keyspace, &graph))?;
        let mut spec = ServeSpec {
            binary: binary.to_path_buf(),
            data_dir: work.join("data"),
            source: network.firehose.clone(),
            cursor: "0".into(),
            enrol: "reads".into(),
            grpc_port: 0,
            more: Vec::new(),
            env: Vec::new(),
            log: work.join("log"),
        };
        let tasks = format!("{keyspace}:tasks");
        let mut all = Self { processes: Vec::new(), redis, tasks, claimed: 0.0, mark: 0 };
        for (place, (name, role)) in PROCESSES.iter().enumerate() {
            spec.more =
                ["--config", &settings.display().to_string(), "--roles", role].map(String::from).into();
            // the judges know it by that
            spec.grpc_port = if place == API { free_port(&[0])? } else { 0 };
            spec.log = work.join(format!("{}-1.log", name.replace(' ', "-")));
            let mut process = Process { spec: spec.clone(), serve: Serve::start(&spec)?, starts: 1 };
            if place == INDEXER {
                process.serve.addrs(PATIENCE)?;
            }
            process.spec.cursor = "auto".into();
            all.processes.push(process);
        }
        all.ready()?;
        Ok(all)
    }

    /// Waits until all have caught up. What has ended by itself is an error.
    pub(super) fn ready(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(|process| process.serve.ready(PATIENCE))
    }

    /// The URL of the API.
    pub(super) fn target(&self) -> String {
        format!("http://127.0.0.1:{}", self.processes[API].spec.grpc_port)
    }

    /// From now on the API passes on what isn't its own.
    pub(super) fn pass_on(&mut self, upstream: [String; 4]) -> Result<()> {
        self.processes[API].spec.more.extend(upstream);
        self.kill(Victim::Process(API))?;
        self.ready()
    }

    /// What Redis writes from now on is lost when it is killed.
    pub(super) fn mark(&mut self) -> Result<()> {
        self.mark = self.redis.appended()?;
        Ok(())
    }

    /// SIGKILL, and starts it again; a process may still catch up afterwards.
    pub(super) fn kill(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Process(place) => self.processes[place].again(place),
            Victim::Redis => {
                self.redis.kill()?;
                let lost = self.redis.lose_tail(self.mark)?;
                ensure!(lost > 0, "Redis had no tail that it could lose");
                println!("Redis lost {lost} bytes");
                self.redis.start()
            }
        }
    }

    /// The same in the middle of work; waits until the others have done what follows from it.
    pub(super) fn kill_at_work(&mut self, victim: Victim) -> Result<()> {
        if let Victim::Process(place) = victim
            && victim.is_writer()
        {
            return self.kill_writer(place);
        }
        self.at_work()?;
        let mended = self.mended()?;
        self.kill(victim)?;
        if victim == Victim::Redis {
            wait_for("the indexer to append again what Redis lost", SOON, || Ok(self.mended()? > mended))?;
        }
        Ok(())
    }

    /// Waits until the indexer has got more of the firehose: so it commits that.
    fn at_work(&mut self) -> Result<()> {
        let before = self.messages()?;
        wait_for("the network's next change", SOON, || Ok(self.messages()? > before))
    }

    fn messages(&mut self) -> Result<f64> {
        metric(&self.metrics(INDEXER)?, MESSAGES).context("the indexer counts no messages")
    }

    /// How often the indexer has appended again what Redis had lost of the task log.
    fn mended(&mut self) -> Result<f64> {
        Ok(metric(&self.metrics(INDEXER)?, GAPS_MENDED).unwrap_or(0.0))
    }

    /// SIGKILL to a writer with a task in hand, if it gets one in time; waits until what it had is claimed.
    fn kill_writer(&mut self, place: usize) -> Result<()> {
        let name = PROCESSES[place].0;
        // the network changes only so often, and all are to be killed meanwhile
        let tries = if self.claimed > 0.0 { 1 } else { TRIES };
        for _ in 0..tries {
            self.processes[place].serve.ready(PATIENCE)?;
            let consumer = self.processes[place].serve.consumer()?;
            let came = self.comes_to_work(&consumer)?;
            self.processes[place].again(place)?;
            // what it has now it keeps until somebody claims it
            if self.has_in_hand(&consumer)? {
                return self.handed_on(place, &consumer);
            }
            println!("the {name} had nothing in hand as it died");
            if !came {
                break;
            }
        }
        Ok(())
    }

    /// Waits a while for a task in this consumer's hand; whether one came.
    fn comes_to_work(&self, consumer: &str) -> Result<bool> {
        let began = now();
        while began.elapsed() < IN_HAND {
            if self.has_in_hand(consumer)? {
                return Ok(true);
            }
            std::thread::sleep(LOOK);
        }
        Ok(false)
    }

    fn has_in_hand(&self, consumer: &str) -> Result<bool> {
        self.redis.is_pending(&self.tasks, GROUP, consumer)
    }

    /// Waits until somebody has claimed what the writer had that was killed just now.
    fn handed_on(&mut self, place: usize, consumer: &str) -> Result<()> {
        // it counts from nought again itself
        let before = self.claims(WRITERS.into_iter().filter(|writer| *writer != place))?;
        wait_for("a writer to claim what the dead one had", SOON, || {
            Ok(!self.has_in_hand(consumer)? && self.claims(WRITERS)? > before)
        })?;
        let claimed = self.claims(WRITERS)? - before;
        println!("the {} had tasks in hand: {claimed} were claimed", PROCESSES[place].0);
        self.claimed += claimed;
        Ok(())
    }

    /// How many tasks these have claimed since they began.
    fn claims(&mut self, writers: impl IntoIterator<Item = usize>) -> Result<f64> {
        let mut writers = writers.into_iter();
        writers.try_fold(0.0, |sum, place| Ok(sum + metric(&self.metrics(place)?, CLAIMED).unwrap_or(0.0)))
    }

    /// How many tasks were claimed of writers that were killed at work.
    pub(super) fn claimed(&self) -> f64 {
        self.claimed
    }

    /// What the API tells of itself.
    pub(super) fn api_metrics(&mut self) -> Result<String> {
        self.metrics(API)
    }

    fn metrics(&mut self, place: usize) -> Result<String> {
        let (_, admin) = self.processes[place].serve.addrs(PATIENCE)?;
        Ok(get(&admin, "/metrics")?.1)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // before its Redis, so that no log ends in complaints
        self.processes.clear();
        if let Err(error) = self.redis.kill() {
            eprintln!("error: {error:#}");
        }
    }
}

impl Process {
    fn again(&mut self, place: usize) -> Result<()> {
        let name = PROCESSES[place].0;
        still_serving(&mut self.serve).with_context(|| format!("the {name}"))?;
        self.serve.kill();
        self.starts += 1;
        self.spec.log.set_file_name(format!("{}-{}.log", name.replace(' ', "-"), self.starts));
        self.serve = Serve::start(&self.spec)?;
        Ok(())
    }
}

/// Settings of all processes. What a dead writer had is another's soon, as the judges don't wait for long.
fn text(nodes: &[String], redis: &str, keyspace: &str, graph: &str) -> String {
    let replication = nodes.len().min(3);
    format!(
        "backend = \"scylla\"\n[scylla]\nnodes = {nodes:?}\nredis = \"{redis}\"\nkeyspace = \"{keyspace}\"\n\
         replication = {replication}\nholder = \"oracle\"\nrequest_timeout_ms = 20000\nclaim_ms = 3000\n\
         [graph]\nlisten = \"{graph}\"\nremote = [\"{graph}\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_killed_once_in_an_order_of_the_seed() {
        let order = |seed| Victim::shuffled(&mut Rng::new(seed));
        for seed in 0..20 {
            for (place, (name, _)) in PROCESSES.iter().enumerate() {
                assert!(order(seed).contains(&Victim::Process(place)), "{name}");
            }
            assert!(order(seed).contains(&Victim::Redis) && order(seed).len() == PROCESSES.len() + 1);
            assert_eq!(order(seed), order(seed));
        }
        assert!((1..20).any(|seed| order(seed) != order(0)));
    }

    #[test]
    fn the_places_are_those_of_the_roles() {
        assert_eq!((PROCESSES[INDEXER].1, PROCESSES[API].1), ("indexer", "api"));
        for (place, (_, role)) in PROCESSES.iter().enumerate() {
            assert_eq!(Victim::Process(place).is_writer(), *role == "writer");
        }
    }
}
