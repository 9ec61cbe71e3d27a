//! What a Cassandra node is told: its yaml, its log's form, and the arguments of its JVM.

use std::path::Path;

use super::cluster::Spec;

/// The nodes talk to each other on the cluster's port plus this.
pub(super) const STORAGE: u16 = 1000;

/// What Cassandra's own settings for Java 17 export and open, without what only JMX needs: a missing one may show in
/// the middle of a statement, where the size of an object is measured.
const EXPORTS: [&str; 4] = [
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
];
const OPENS: [&str; 14] = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
];

/// The port for the nodes' own talk.
pub(super) fn storage_port(spec: &Spec) -> u16 {
    spec.port + STORAGE
}

/// The highest port that a cluster can have.
pub(super) const LAST_PORT: u16 = u16::MAX - STORAGE;

/// How long a node of tests waits for others, and a condition for its turn.
const PATIENCE: &str = "\
write_request_timeout: 20s
cas_contention_timeout: 20s
";

/// Where each node's part of the ring begins: equal parts, from the least token on.
fn tokens(nodes: u8) -> Vec<i64> {
    let ring = 1i128 << 64;
    let token = |node| i128::from(i64::MIN) + ring * i128::from(node) / i128::from(nodes);
    (0..nodes).filter_map(|node| i64::try_from(token(node)).ok()).collect()
}

/// `cassandra.yaml` of a node. All directories default to places in its storage directory.
pub(super) fn yaml(spec: &Spec, node: u8) -> String {
    // tests pause nodes on busy machines: the server waits as long as their requests may take
    let patience = if spec.bench { "" } else { PATIENCE };
    let token = tokens(spec.nodes)[usize::from(node) - 1];
    let (port, storage_port) = (spec.port, storage_port(spec));
    // limits of batches: ScyllaDB's, as Cassandra's refuse what is sent there. Everything else is as small as it may be
    format!(
        "\
cluster_name: skyweir
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{ seeds: \"127.0.0.1\" }}]
num_tokens: 1
initial_token: '{token}'
auto_bootstrap: false
listen_address: 127.0.0.{node}
rpc_address: 127.0.0.{node}
native_transport_port: {port}
storage_port: {storage_port}
commitlog_sync: periodic
commitlog_sync_period: 10s
commitlog_segment_size: 8MiB
commitlog_total_space: 128MiB
memtable_heap_space: 64MiB
file_cache_size: 32MiB
disk_access_mode: standard
concurrent_reads: 8
concurrent_writes: 16
auto_snapshot: false
batch_size_warn_threshold: 128KiB
batch_size_fail_threshold: 1024KiB
unlogged_batch_across_partitions_warn_threshold: 1000
{patience}"
    )
}

/// `logback.xml`: everything to standard output.
pub(super) const LOGBACK: &str = "\
<configuration>
  <appender name=\"out\" class=\"ch.qos.logback.core.ConsoleAppender\">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0}: %msg%n</pattern></encoder>
  </appender>
  <root level=\"INFO\"><appender-ref ref=\"out\"/></root>
</configuration>
";

/// The arguments of `java`, for a node that keeps everything in `dir`.
pub(super) fn arguments(spec: &Spec, dir: &Path, jars: &Path) -> Vec<String> {
    let heap = match (spec.bench, spec.nodes) {
        (true, _) => "1024m",
        (false, 1) => "512m",
        (false, _) => "256m",
    };
    let dir = dir.display();
    let mut arguments = vec![
        format!("-Xmx{heap}"),
        // it locks the first heap in memory where it may
        "-Xms64m".to_owned(),
        "-Xss256k".to_owned(),
        "-XX:+UseSerialGC".to_owned(),
        "-XX:MaxDirectMemorySize=256m".to_owned(),
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        // leaves no file in the system's temp folder
        "-XX:+PerfDisableSharedMem".to_owned(),
        // one of its libraries reports its use to its maker
        "-Dchronicle.analytics.disable=true".to_owned(),
        format!("-Djava.io.tmpdir={dir}/tmp"),
        format!("-Djna.tmpdir={dir}/tmp"),
        "-Djava.net.preferIPv4Stack=true".to_owned(),
        "-Djdk.attach.allowAttachSelf=true".to_owned(),
        "-Dio.netty.tryReflectionSetAccessible=true".to_owned(),
        "-Dcassandra-foreground=yes".to_owned(),
        format!("-Dcassandra.storagedir={dir}"),
        format!("-Dcassandra.logdir={dir}"),
        format!("-Dcassandra.config=file://{dir}/cassandra.yaml"),
        format!("-Dlogback.configurationFile=file://{dir}/logback.xml"),
        // waits that are meant for networks
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".to_owned(),
        "-Dcassandra.ring_delay_ms=1000".to_owned(),
        "-Dcassandra.superuser_setup_delay_ms=0".to_owned(),
        "-Dcassandra.shutdown_announce_in_ms=200".to_owned(),
        // the second and the third node join at once
        "-Dcassandra.consistent.rangemovement=false".to_owned(),
    ];
    if !spec.bench {
        // the first compiler alone starts in half the time
        arguments.push("-XX:TieredStopAtLevel=1".to_owned());
    }
    arguments.extend(EXPORTS.map(|export| format!("--add-exports={export}=ALL-UNNAMED")));
    arguments.extend(OPENS.map(|open| format!("--add-opens={open}=ALL-UNNAMED")));
    arguments.push("-cp".to_owned());
    arguments.push(format!("{}/*", jars.display()));
    arguments.push("org.apache.cassandra.service.CassandraDaemon".to_owned());
    arguments
}

#[cfg(test)]
mod tests {
    use super::super::cluster::EngineName;
    use super::*;

    fn spec(nodes: u8, bench: bool) -> Spec {
        Spec { engine: EngineName::Cassandra, nodes, port: 9142, bench }
    }

    #[test]
    fn tokens_part_the_ring_equally() {
        assert_eq!(tokens(1), [i64::MIN]);
        assert_eq!(tokens(3), [i64::MIN, -3_074_457_345_618_258_603, 3_074_457_345_618_258_602]);
    }

    #[test]
    fn each_node_has_its_own_address_and_token_and_the_clusters_ports() {
        let lines = |node| -> Vec<String> {
            let keys =
                ["initial_token", "listen_address", "rpc_address", "native_transport_port", "storage_port"];
            let yaml = yaml(&spec(3, false), node);
            let line = |key: &&str| yaml.lines().find(|line| line.starts_with(*key)).unwrap().to_owned();
            keys.iter().map(line).collect()
        };
        assert_eq!(
            lines(3),
            [
                "initial_token: '3074457345618258602'",
                "listen_address: 127.0.0.3",
                "rpc_address: 127.0.0.3",
                "native_transport_port: 9142",
                "storage_port: 10142"
            ]
        );
        assert_eq!(lines(1)[0], "initial_token: '-9223372036854775808'");
    }

    #[test]
    fn a_yaml_has_each_key_once_and_no_braces_too_many() {
        let (bench, yaml) = (yaml(&spec(1, true), 1), yaml(&spec(1, false), 1));
        assert_eq!(yaml.strip_prefix(bench.as_str()), Some(PATIENCE));
        let mut keys: Vec<&str> = yaml
            .lines()
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split(':').next())
            .collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
        assert!(yaml.contains("parameters: [{ seeds: \"127.0.0.1\" }]"), "{yaml}");
    }

    #[test]
    fn arguments_follow_the_clusters_size_and_purpose() {
        let of = |nodes, bench| arguments(&spec(nodes, bench), Path::new("/h/n2"), Path::new("/h/lib"));
        let has = |arguments: &[String], argument: &str| arguments.iter().any(|one| one == argument);
        let (one, three, bench) = (of(1, false), of(3, false), of(3, true));
        assert!(has(&one, "-Xmx512m") && has(&three, "-Xmx256m") && has(&bench, "-Xmx1024m"));
        assert!(has(&one, "-XX:TieredStopAtLevel=1") && !has(&bench, "-XX:TieredStopAtLevel=1"));
        assert!(has(&one, "-Dcassandra.config=file:///h/n2/cassandra.yaml"));
        assert_eq!(one[one.len() - 3..], ["-cp", "/h/lib/*", "org.apache.cassandra.service.CassandraDaemon"]);
        // everything that it writes is in its folder
        assert!(has(&one, "-Dcassandra.storagedir=/h/n2") && has(&one, "-Djava.io.tmpdir=/h/n2/tmp"));
    }
}
