//! The service in processes of their own over CQL and Redis is judged: from the beginning, and while each of them, and
//! Redis, is killed with SIGKILL and started again.
//!
//! Who is killed when comes from a seed. Each is killed twice in the middle of work: while all timelines are
//! compared, which enrols those that are read, and while accounts post, follow and delete: a writer as soon as it has a
//! task in hand, which another one has to claim then; the others as soon as the indexer has got the next of these
//! changes. Redis loses what it has written since the first timeline was enrolled, then what it has written since the
//! first of those changes.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use super::network::{Network, Row};
use super::processes::{Processes, Victim};
use super::{compare, passed, upstream};
use crate::ci::Servers;
use crate::run::{Rng, metric, skip};
use crate::{cql, redis};

const KEYSPACE: &str = "skyweir_oracle";

/// So many timelines at the most are compared before one is killed: no more than a third.
const COMPARED: usize = 10;
/// The first is killed after so many changes of the network, and another after so many more. The last ones are no posts
/// and follows, and leave nothing to lose.
const CHANGES: (usize, usize) = (2, 3);
/// How long a change may take to be seen: a start of a process, and `claim_ms`, are in it.
const FOLLOWED: &str = "60";

/// All judgements; they are passed over where there are no servers.
pub(super) fn judge(
    network: &Network,
    binary: &Path,
    temp: &Path,
    seed: u64,
    rows: &mut Vec<Row>,
) -> Result<()> {
    if let Some(why) = redis::missing() {
        return skip(&format!("the cluster isn't judged: no Redis: {why}"));
    }
    let mut servers = Servers::cql()?;
    let Some(nodes) = servers.nodes() else {
        return skip("the cluster isn't judged, for want of a CQL server");
    };
    let work = temp.join("cluster");
    fs::create_dir_all(&work)?;
    println!("cluster: seed {seed}");
    let drop_keyspace = || cql::query(&nodes[0], &format!("DROP KEYSPACE IF EXISTS {KEYSPACE}"));
    drop_keyspace()?;
    let mut processes = Processes::start(network, binary, &work, &nodes, KEYSPACE)?;
    let mut judges = Judges { network, work: &work, rng: Rng::new(seed), rows };
    judges.compare(&mut processes)?;
    judges.appview(&mut processes)?;
    drop(processes);
    drop_keyspace()?;
    servers.down()
}

struct Judges<'a> {
    network: &'a Network,
    work: &'a Path,
    rng: Rng,
    rows: &'a mut Vec<Row>,
}

impl Judges<'_> {
    /// Compares all timelines, from the beginning, then again and again, each time with one killed meanwhile.
    fn compare(&mut self, processes: &mut Processes) -> Result<()> {
        processes.mark()?;
        self.compare_calmly(processes, "from the beginning")?;
        for victim in Victim::shuffled(&mut self.rng) {
            let after = 1 + self.rng.index(COMPARED);
            self.judge(
                &compare(&processes.target()),
                &format!("compare, {victim} killed meanwhile"),
                |said| said.lines().count(),
                &[(after, victim)],
                |victim| processes.kill(victim),
            )?;
            processes.ready()?;
        }
        self.compare_calmly(processes, "after these kills")
    }

    /// An AppView whose whole data plane we are, through which users see the network change, while one after the other
    /// is killed.
    fn appview(&mut self, processes: &mut Processes) -> Result<()> {
        processes.pass_on(upstream(self.network))?;
        processes.mark()?;
        let mut order = Victim::shuffled(&mut self.rng);
        // the first changes are those that bring writers the most work
        order.sort_by_key(|victim| !victim.is_writer());
        let due = |(nth, victim)| (CHANGES.0 + nth * CHANGES.1, victim);
        let plan: Vec<_> = order.into_iter().enumerate().map(due).collect();
        let target = processes.target();
        self.judge(
            &["appview.mjs", "--alone", "--target", &target, "--timeout", FOLLOWED],
            "appview, us alone, each killed meanwhile",
            |said| said.lines().filter(|line| line.starts_with("live: ")).count(),
            &plan,
            |victim| processes.kill_at_work(victim),
        )?;
        processes.ready()?;
        had_work(processes.claimed())?;
        let metrics = processes.api_metrics()?;
        passed(&metrics)?;
        kept(&metrics)?;
        self.compare_calmly(processes, "after these kills and changes")
    }

    fn compare_calmly(&mut self, processes: &mut Processes, what: &str) -> Result<()> {
        let what = format!("compare {what}");
        self.judge(&compare(&processes.target()), &what, |_| 0, &[], |_| Ok(()))?;
        processes.ready()
    }

    /// Lets a judge run. Who is due in the plan by the `progress` of what it has said is killed.
    fn judge(
        &mut self,
        args: &[&str],
        what: &str,
        progress: impl Fn(&str) -> usize,
        plan: &[(usize, Victim)],
        mut kill: impl FnMut(Victim) -> Result<()>,
    ) -> Result<()> {
        let mut killed = 0;
        let row = self.network.judge_while(args, self.work, &format!("cluster: {what}"), |said| {
            let Some((due, victim)) = plan.get(killed) else { return Ok(()) };
            if progress(said) >= *due {
                killed += 1;
                println!("killing {victim}");
                kill(*victim)?;
            }
            Ok(())
        })?;
        let good = row.good;
        self.rows.push(row);
        ensure!(!good || killed == plan.len(), "{what}: only {killed} of {} were killed", plan.len());
        Ok(())
    }
}

/// Writers have to be killed with tasks in hand, else nobody has judged what becomes of these.
fn had_work(claimed: f64) -> Result<()> {
    println!("{claimed} tasks were claimed of writers that were killed with them in hand");
    ensure!(claimed > 0.0, "no writer had a task in hand when it was killed");
    Ok(())
}

/// Timelines have to be kept by now, else no writer was judged: merges don't need any.
fn kept(metrics: &str) -> Result<()> {
    let items =
        |source| metric(metrics, &format!("skyweir_api_items_total{{source={source:?}}}")).unwrap_or(0.0);
    let (cache, merge) = (items("cache"), items("merge"));
    println!("answered {cache} items from timelines that are kept, {merge} by merges");
    ensure!(cache > merge, "most was merged: writers kept up with nothing, or enrolled nobody");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_has_to_be_killed_at_work() {
        assert!(had_work(1.0).is_ok() && had_work(0.0).is_err());
    }

    #[test]
    fn most_items_have_to_come_from_timelines_that_are_kept() {
        let line = |source, items| format!("skyweir_api_items_total{{source={source:?}}} {items}\n");
        let of = |cache: u32, merge: u32| kept(&(line("cache", cache) + &line("merge", merge)));
        assert!(of(3, 2).is_ok());
        assert!(of(2, 2).is_err() && kept("").is_err());
    }
}
