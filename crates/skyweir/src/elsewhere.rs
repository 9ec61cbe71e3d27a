//! The servers that the roles of this process need, and what is said of one that gives no answer. They are asked by
//! whoever needs them: nothing is asked for this alone, but by an API that has nothing to tell Redis.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Unit, describe_gauge, gauge};
use skyweir_graph::Graph;
use skyweir_scylla::Cluster;
use skyweir_store::Away;
use skyweir_types::Clock;
use tokio::time::Instant;

use crate::date::utc;
use crate::roles::Roles;

const UNREACHABLE: &str = "skyweir_unreachable_seconds";

pub(crate) fn describe() {
    describe_gauge!(
        UNREACHABLE,
        Unit::Seconds,
        "Since when a server that this process needs gives no answer (cql, redis, or graph: none of graph.remote); 0 \
         while it does"
    );
}

/// What a server is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cql,
    Redis,
    Graph,
}

impl Kind {
    /// The label of its metric.
    fn label(self) -> &'static str {
        match self {
            Self::Cql => "cql",
            Self::Redis => "redis",
            Self::Graph => "graph",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cql => "CQL (scylla.nodes)",
            Self::Redis => "Redis (scylla.redis)",
            Self::Graph => "the follower graph (graph.remote)",
        }
    }

    /// What these roles can't do without it.
    fn lacks(self, Roles { indexer, graph, writer, api }: Roles) -> Vec<&'static str> {
        let all: &[_] = match self {
            Self::Cql => &[
                (indexer, "the indexer can't commit"),
                (graph, "the graph can't page followers"),
                (writer, "the writer can't write timelines"),
                (api, "the API can't answer reads"),
            ],
            Self::Redis => &[
                (indexer, "the indexer can't commit"),
                (writer, "the writer can't take tasks"),
                (api && !writer, "reads of the API enrol no timelines"),
            ],
            Self::Graph => &[(writer, "the writer can't page followers")],
        };
        all.iter().filter(|(has, _)| *has).map(|(_, lacks)| *lacks).collect()
    }
}

/// How one is known to be away.
type AskAway = Box<dyn Fn() -> Option<Away> + Send + Sync>;

/// All that this process needs.
pub(crate) struct Elsewhere {
    servers: Vec<(Kind, AskAway)>,
    roles: Roles,
    /// It is said of one that gives no answer for as long as this.
    patience: Duration,
    clock: Clock,
}

impl Elsewhere {
    pub(crate) fn new(roles: Roles, patience: Duration, clock: Clock) -> Self {
        Self { servers: Vec::new(), roles, patience, clock }
    }

    /// With both servers of a cluster.
    pub(crate) fn on(mut self, cluster: &Cluster) -> Self {
        let (cql, redis) = (cluster.cql(), cluster.redis());
        self.needs(Kind::Cql, Box::new(move || cql.away()));
        self.needs(Kind::Redis, Box::new(move || redis.away()));
        self
    }

    /// With who serves the follower graph to the writer.
    pub(crate) fn asks(mut self, graph: Arc<Graph>) -> Self {
        self.needs(Kind::Graph, Box::new(move || graph.away()));
        self
    }

    fn needs(&mut self, kind: Kind, away: AskAway) {
        if !kind.lacks(self.roles).is_empty() {
            self.servers.push((kind, away));
        }
    }

    /// Why reads should go elsewhere; where there are none, what keeps this process from its work.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.said(|kind| !self.roles.api || kind == Kind::Cql)
    }

    /// What keeps it from the rest.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.said(|kind| self.roles.api && kind != Kind::Cql)
    }

    fn said(&self, of: impl Fn(Kind) -> bool) -> Vec<String> {
        let mut said = Vec::new();
        for (kind, away) in self.servers.iter().filter(|(kind, _)| of(*kind)) {
            if let Some(Away { since, why }) = away()
                && since.elapsed() >= self.patience
            {
                let (name, lacks) = (kind.name(), kind.lacks(self.roles).join(", "));
                let ago_ms = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
                let since = utc(self.clock.now_ms().saturating_sub(ago_ms));
                said.push(format!("{name} gives no answer since {since} UTC, so {lacks}: {why}"));
            }
        }
        said
    }

    /// Sets the gauges.
    pub(crate) fn record(&self) {
        let now = Instant::now();
        for (kind, away) in &self.servers {
            let seconds = away().map_or(0.0, |away| now.saturating_duration_since(away.since).as_secs_f64());
            gauge!(UNREACHABLE, "server" => kind.label()).set(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use skyweir_store::Reach;

    use super::*;

    /// 2026-11-24 12:00:07
    const NOW_US: i64 = 1_795_521_607_000_000;

    fn elsewhere(roles: &str) -> (Elsewhere, [Arc<Reach>; 3]) {
        let clock = Clock::manual(NOW_US);
        let mut elsewhere = Elsewhere::new(roles.parse().unwrap(), Duration::from_secs(5), clock);
        let reaches: [Arc<Reach>; 3] = Default::default();
        for (kind, reach) in [Kind::Cql, Kind::Redis, Kind::Graph].into_iter().zip(reaches.clone()) {
            elsewhere.needs(kind, Box::new(move || reach.away()));
        }
        (elsewhere, reaches)
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_no_answer_for_a_while_is_named_with_what_lacks() {
        let (elsewhere, [cql, redis, _]) = elsewhere("indexer,writer");
        cql.failed(Instant::now(), "refused");
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(elsewhere.reasons(), Vec::<String>::new());
        tokio::time::advance(Duration::from_secs(3)).await;
        redis.failed(Instant::now(), "not yet");
        let wanted = "CQL (scylla.nodes) gives no answer since 2026-11-24 12:00:00 UTC, so the indexer can't commit, \
                      the writer can't write timelines: refused";
        assert_eq!(elsewhere.reasons(), [wanted]);
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || elsewhere.record());
        let text = recorder.handle().render();
        for line in ["server=\"cql\"} 7", "server=\"redis\"} 0", "server=\"graph\"} 0"] {
            assert!(text.contains(&format!("{UNREACHABLE}{{{line}\n")), "{text}");
        }
        cql.answered();
        assert_eq!(elsewhere.reasons(), Vec::<String>::new());
    }

    /// Reasons and notes when all are away, by what they begin with.
    async fn all_away(roles: &str) -> [String; 2] {
        let (elsewhere, reaches) = elsewhere(roles);
        for reach in &reaches {
            reach.failed(Instant::now(), "gone");
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        let name = |line: &String| line.split(" (").next().unwrap().to_owned();
        [elsewhere.reasons(), elsewhere.notes()]
            .map(|said| said.iter().map(name).collect::<Vec<_>>().join(", "))
    }

    #[tokio::test(start_paused = true)]
    async fn where_reads_are_answered_only_what_they_need_is_a_reason() {
        for (roles, reasons, notes) in [
            ("indexer", "CQL, Redis", ""),
            ("graph", "CQL", ""),
            ("writer", "CQL, Redis, the follower graph", ""),
            ("api", "CQL", "Redis"),
            ("indexer,graph,writer,api", "CQL", "Redis, the follower graph"),
        ] {
            assert_eq!(all_away(roles).await, [reasons, notes], "{roles}");
        }
    }
}
