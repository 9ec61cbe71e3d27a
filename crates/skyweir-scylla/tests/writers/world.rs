//! Writers at the servers, and what is asked of them.

use skyweir_scylla::{Cluster, Config, Rows, RowsConfig};
use skyweir_store::{CachedState, Counts, Delivery, Enrolment, RingInfo, TimelineReads as _, Timelines as _};
use skyweir_types::{ActorId, Clock, DidHash, DrawKey, Generation, ItemId, Reference, TaskId, UriHash};

use crate::common::{OF_TIMELINES, Servers};

pub(crate) const V: ActorId = ActorId(4);
pub(crate) const DID: DidHash = DidHash(7);

/// Runs a test on empty servers, if there are some.
pub(crate) fn at_servers(test: impl AsyncFnOnce(&mut Servers)) {
    let Some(mut servers) = Servers::find("writers") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        servers.empty_those(|table| OF_TIMELINES.contains(&table)).await;
        test(&mut servers).await;
    });
}

/// News are read when they are asked for.
pub(crate) fn quiet() -> RowsConfig {
    let (news_ms, filling_ms) = (3_600_000, 3_600_000);
    RowsConfig { news_ms, reload_ms: 1, filling_ms, trim_over: 0, ..RowsConfig::default() }
}

/// News are read all the time.
pub(crate) fn keeping_up() -> RowsConfig {
    RowsConfig { news_ms: 1, ..quiet() }
}

pub(crate) async fn open(servers: &Servers, rows: &RowsConfig) -> Rows {
    open_with(servers, rows, DrawKey::default(), &Clock::system()).await
}

pub(crate) async fn open_with(servers: &Servers, rows: &RowsConfig, draw: DrawKey, clock: &Clock) -> Rows {
    let config = Config { timelines: rows.clone(), ..servers.config.clone() };
    let cluster = Cluster::connect(&config).await.unwrap();
    Rows::open(&cluster, draw, TaskId(1), TaskId(0), clock.clone()).await.unwrap()
}

/// Tells what only a writer of another version can read.
pub(crate) async fn tell_unreadable(servers: &Servers) {
    let add = "
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then
    local era, number = string.match(info[i + 1], '^(%d+)-(%d+)$')
    redis.call('XADD', KEYS[1], era .. '-' .. (number + 1), 'news', 'of another version')
  end
end";
    servers.redis("EVAL", &[add, "1", &format!("{}:news", servers.config.keyspace)]).await;
}

pub(crate) fn reference(n: i64) -> Reference {
    Reference { item: ItemId(n.unsigned_abs()), sort_at: n, uri_hash: UriHash(0), author: ActorId(1) }
}

pub(crate) async fn begin(rows: &Rows, viewer: ActorId, now_us: i64) -> Generation {
    rows.begin(viewer, Enrolment { did_hash: DID, rate: 1.0, now_us }).await.unwrap()
}

pub(crate) async fn apply(rows: &Rows, viewer: ActorId, reference: Reference) -> Counts {
    let delivery = Delivery { reference, viewers: vec![viewer].into() };
    rows.apply(rows.shard_of(viewer), &[delivery]).await.unwrap()[0]
}

/// Who of the first ten is enrolled, as a writer knows it.
pub(crate) fn retained(rows: &Rows) -> Vec<ActorId> {
    let mut page = (0..10).map(ActorId).collect();
    rows.retain_enrolled(&mut page);
    page
}

pub(crate) async fn state(rows: &Rows, viewer: ActorId) -> CachedState {
    rows.read(viewer, i64::MAX, 0).await.unwrap().state
}

/// What a timeline says of itself, and its times.
pub(crate) async fn held(rows: &Rows, viewer: ActorId) -> (RingInfo, Vec<i64>) {
    let cached = rows.read(viewer, i64::MAX, usize::MAX).await.unwrap();
    let CachedState::In(info) = cached.state else { panic!("{viewer} is {:?}", cached.state) };
    (info, cached.entries.iter().map(|entry| entry.sort_at).collect())
}
