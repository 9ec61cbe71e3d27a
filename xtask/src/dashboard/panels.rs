//! What the dashboard shows: each panel with its queries, what is normal, and why a query may find nothing.

use super::panel::{Look, Panel, quantile, query};

/// Reads of timelines, by either interface.
const READS: &str = "@,method=~\".+/GetTimeline\"";
/// Answers that are the service's fault.
const FAILED: &str = "unavailable|internal|unknown|deadline_exceeded|resource_exhausted|data_loss";

/// How many panels stand in each column.
const DEPTH: usize = 5;

/// All panels, in the order of reading: row by row, from the stream on the left to the reader on the right.
pub(super) fn panels() -> Vec<Panel> {
    let mut panels = tiles();
    panels.push(states());
    for (title, about) in [
        ("Intake", "the stream comes in and is applied"),
        ("Fan-out", "tasks of the log become references"),
        ("Shards", "references are written to timelines"),
        ("Reads", "timelines go out"),
    ] {
        panels.push(Panel::text(title, about));
    }
    let mut columns = [intake(), fan_out(), shards(), reads()].map(IntoIterator::into_iter);
    for _ in 0..DEPTH {
        panels.extend(columns.iter_mut().filter_map(Iterator::next));
    }
    panels.push(Panel::row("Beside the way: timelines, memory, disk, what is loaded and what leaves"));
    panels.extend(beside());
    panels
}

/// The share of reads that fail, of the service of which most do. One that has never failed has no series of that.
fn failed() -> String {
    let rate =
        |labels: &str| format!("sum by (instance) (rate(skyweir_api_request_seconds_count{{{labels}}}[]))");
    let (failed, all) = (rate(&format!("{READS},code=~\"{FAILED}\"")), rate(READS));
    format!("max(({failed} or 0 * {all}) / {all})")
}

fn tiles() -> Vec<Panel> {
    vec![
        Panel::new(Look::Tile, "Up", "percentunit")
            .about("Services that answer the last scrape, as a share. Normal: 100 %.")
            .bad_below(1.0)
            .with(query("avg(up{job=\"skyweir\",@})", "up")),
        Panel::new(Look::Tile, "Stream lag", "s")
            .about("How old the newest applied event is. Normal: below 2 s; hours only while an archive is read.")
            .bad_above(60.0)
            .with(query("max(time() - skyweir_indexer_stream_time_seconds{@})", "stream")),
        Panel::new(Look::Tile, "Oldest task", "s")
            .about("How long the oldest post waits for its last follower. Normal: below 1 s.")
            .bad_above(10.0)
            .with(query("max(skyweir_writer_lag_seconds{@})", "oldest task")),
        Panel::new(Look::Tile, "Tasks waiting", "short")
            .about("Tasks in the log that are not done. Normal: tens; it rises when fan-out is behind.")
            .with(query("sum(skyweir_writer_lag_tasks{@})", "tasks")),
        Panel::new(Look::Tile, "Reads, p99", "s")
            .about("GetTimeline, all services together. Normal: below 10 ms.")
            .bad_above(0.1)
            .with(query(quantile(0.99, "skyweir_api_request_seconds", READS, ""), "p99")),
        Panel::new(Look::Tile, "Reads that fail", "percentunit")
            .about("Share of GetTimeline answers that are the service's fault, where most are. Normal: 0.")
            .bad_above(0.01)
            .with(query(failed(), "failed")),
        Panel::new(Look::Tile, "Follows known", "bool_yes_no")
            .about("Whether all follows are known. Normal: yes. No: a gap, no backfill, or an archive is being read.")
            .bad_below(1.0)
            .with(query("min(skyweir_indexer_whole{@})", "all known")),
        Panel::new(Look::Tile, "Disk free", "percentunit")
            .about("Of the disk that the data is on. Normal: above 20 %; compaction needs room.")
            .bad_below(0.2)
            .with(query("min(skyweir_disk_free_bytes{@} / skyweir_disk_size_bytes{@})", "free")),
    ]
}

/// One line for each stage: since when it is behind. The limits are those of `deploy/alerts.yml`.
fn states() -> Panel {
    let commits = quantile(0.99, "skyweir_indexer_commit_seconds", "@", "");
    let slow = quantile(0.99, "skyweir_api_request_seconds", READS, "");
    Panel::new(Look::States, "Behind, where, and since when", "none")
        .about(
            "Red where a stage is over the limit of its alert. Read it from the top: a stage that is behind holds up \
             those below it. Normal: all green; the second is red while an archive is read. A hole in the line of slow \
             commits: there is none.",
        )
        .with(query("min(up{job=\"skyweir\",@}) == bool 0", "service: doesn't answer"))
        .with(query("max(time() - skyweir_indexer_stream_time_seconds{@}) > bool 60", "intake: over 60 s behind"))
        .with(query("min(rate(skyweir_indexer_messages_total{@}[])) == bool 0", "intake: nothing comes"))
        .with(query("max(increase(skyweir_indexer_commit_retries_total{@}[])) > bool 0", "apply: commits refused"))
        // without a commit it is no number, which is neither fine nor behind
        .with(query(format!("({commits} >= 0) > bool 0.25"), "apply: commits over 250 ms"))
        .with(query("max(skyweir_writer_lag_seconds{@}) > bool 10", "fan-out: over 10 s behind"))
        .with(query(format!("{slow} > bool 0.1"), "reads: p99 over 100 ms"))
        .with(query(format!("{} > bool 0.01", failed()), "reads: over 1 % fail"))
        .with(query(
            "min(skyweir_disk_free_bytes{@} / skyweir_disk_size_bytes{@}) < bool 0.2",
            "disk: below 20 % free",
        ))
}

fn intake() -> [Panel; DEPTH] {
    let seconds = "skyweir_indexer_commit_seconds";
    [
        Panel::new(Look::Lines, "Stream lag", "s")
            .about("Now minus the newest event's time. Normal: flat, below 2 s. Rising by 1 s a second: nothing comes.")
            .bad_above(60.0)
            .with(query("time() - skyweir_indexer_stream_time_seconds{@}", "{{instance}}")),
        Panel::new(Look::Lines, "Messages from upstream", "ops")
            .about("Normal: as many as the network has, never 0. The archive's and repositories' count, too.")
            .with(query("sum by (instance) (rate(skyweir_indexer_messages_total{@}[]))", "{{instance}}")),
        Panel::new(Look::Lines, "Events applied, by kind", "ops")
            .about("Normal: posts, reposts and follows by the hundred a second on the real network, lowest at night.")
            .with(query("sum by (kind) (rate(skyweir_indexer_events_total{@}[]))", "{{kind}}")),
        Panel::new(Look::Lines, "Commit of a group of events", "s")
            .about("Time to apply a group and sync it. Normal: p99 below 50 ms; more: disk or cores are short.")
            .bad_above(0.25)
            .with(query(quantile(0.5, seconds, "@", "instance"), "p50 {{instance}}"))
            .with(query(quantile(0.99, seconds, "@", "instance"), "p99 {{instance}}")),
        Panel::new(Look::Lines, "Skipped, and commits tried again", "ops")
            .about("Skipped by reason. Normal: a little of what is malformed; no commit is tried again.")
            .with(
                query("sum by (reason) (rate(skyweir_indexer_skipped_total{@}[]))", "skipped: {{reason}}")
                    .may_be_empty("the generated network has nothing malformed"),
            )
            .with(query(
                "sum by (instance) (rate(skyweir_indexer_commit_retries_total{@}[]))",
                "again: {{instance}}",
            )),
    ]
}

fn fan_out() -> [Panel; DEPTH] {
    let fan_out = "@,kind=\"fan_out\"";
    let seconds = "skyweir_writer_task_seconds";
    [
        Panel::new(Look::Lines, "Oldest task", "s")
            .about("Age of the oldest task that is not done. Normal: below 1 s, some more while a celebrity posts.")
            .bad_above(10.0)
            .with(query("skyweir_writer_lag_seconds{@}", "{{instance}}")),
        Panel::new(Look::Lines, "Tasks waiting", "short")
            .about("Tasks in the log that are not done. Normal: tens. After a start: those of before, falling.")
            .with(query("skyweir_writer_lag_tasks{@}", "{{instance}}")),
        Panel::new(Look::Lines, "Delivery", "s")
            .about("From the start of a fan-out to its last reference. Normal: p50 some ms, p99 below 1 s.")
            .with(query(quantile(0.5, seconds, fan_out, "instance"), "p50 {{instance}}"))
            .with(query(quantile(0.99, seconds, fan_out, "instance"), "p99 {{instance}}")),
        Panel::new(Look::Lines, "References, by what became of them", "ops")
            .about("Normal: mostly hibernating (nobody reads those) and written. Sampled out is the lossy part.")
            .with(query("sum by (outcome) (rate(skyweir_writer_references_total{@}[]))", "{{outcome}}")),
        Panel::new(Look::Lines, "References waiting", "short")
            .about("What the tasks that are not done have still to write, in part estimated. Normal: near 0.")
            .with(query("skyweir_writer_lag_references{@}", "{{instance}}")),
    ]
}

fn shards() -> [Panel; DEPTH] {
    let seconds = "skyweir_writer_apply_seconds";
    [
        Panel::new(Look::Lines, "Write to one shard", "s")
            .about("Retries included. Normal: p99 below 10 ms. One slow shard shows in p99.9 before it shows in p99.")
            .with(query(quantile(0.5, seconds, "@", "instance"), "p50 {{instance}}"))
            .with(query(quantile(0.99, seconds, "@", "instance"), "p99 {{instance}}"))
            .with(query(quantile(0.999, seconds, "@", "instance"), "p99.9 {{instance}}")),
        Panel::new(Look::Lines, "References a second to a shard, by quantile", "ops")
            .about("1 is the hottest shard. Normal: all near each other; /hot of the admin port has names.")
            .with(query("max by (quantile) (skyweir_writer_shard_writes_per_second{@})", "{{quantile}}")),
        Panel::new(Look::Lines, "What the hottest take", "percentunit")
            .about("Share of all writes lately. Normal: the hottest of 128 shards below 5 %.")
            .with(query("skyweir_writer_hot_shard_share_ratio{@}", "hottest shard {{instance}}"))
            .with(query("skyweir_writer_hot_timelines_share_ratio{@}", "ten timelines {{instance}}")),
        Panel::new(Look::Lines, "Full queues, and operations tried again", "ops")
            .about("Pieces that waited for a full queue of a shard; storage operations that failed. Normal: none.")
            .with(
                query("sum by (instance) (rate(skyweir_writer_shard_full_total{@}[]))", "full {{instance}}")
                    .may_be_empty("no queue fills under a small load"),
            )
            .with(
                query("sum by (operation) (rate(skyweir_writer_retries_total{@}[]))", "again: {{operation}}")
                    .may_be_empty("the store doesn't fail"),
            ),
        Panel::new(Look::Lines, "Followers read", "ops")
            .about("Followers that the graph reads in pages, for fan-outs. Normal: as many as there are references.")
            .with(query("sum by (instance) (rate(skyweir_graph_followers_total{@}[]))", "{{instance}}")),
    ]
}

fn reads() -> [Panel; DEPTH] {
    let seconds = "skyweir_api_request_seconds";
    let passed = "skyweir_api_passed_request_seconds_count";
    [
        Panel::new(Look::Lines, "GetTimeline", "s")
            .about(
                "Time to answer. Normal: p50 below 1 ms, p99 below 10 ms; more after a start, as many merge.",
            )
            .bad_above(0.1)
            .with(query(quantile(0.5, seconds, READS, "instance"), "p50 {{instance}}"))
            .with(query(quantile(0.99, seconds, READS, "instance"), "p99 {{instance}}")),
        Panel::new(Look::Lines, "Requests, by answer", "reqps")
            .about("All methods, by status code. Normal: ok, and some cancelled by clients that left.")
            .with(query(format!("sum by (code) (rate({seconds}_count{{@}}[]))"), "{{code}}")),
        Panel::new(Look::Lines, "Pages, by where they come from", "reqps")
            .about("Normal: mostly cache; merges are first reads, and pages below a timeline's end.")
            .with(query("sum by (kind) (rate(skyweir_api_pages_total{@}[]))", "{{kind}}")),
        Panel::new(Look::Lines, "Refused, and passed on", "reqps")
            .about(
                "Refused by a limit; calls handed to the data plane behind us, by outcome. Normal: ok alone.",
            )
            .with(
                query(
                    "sum by (reason) (rate(skyweir_api_refused_requests_total{@}[]))",
                    "refused: {{reason}}",
                )
                .may_be_empty("no limit is reached under a small load"),
            )
            .with(
                query(format!("sum by (outcome) (rate({passed}{{@}}[]))"), "passed: {{outcome}}")
                    .may_be_empty("there is no data plane behind"),
            ),
        Panel::new(Look::Lines, "Requests running", "short")
            .about("Normal: a few. At api.max_requests (1,024) others are refused.")
            .with(query("skyweir_api_running_requests{@}", "{{instance}}")),
    ]
}

fn beside() -> [Panel; 8] {
    let hibernated = "sum by (reason) (rate(skyweir_writer_hibernated_total{@}[]))";
    let seldom = |expr, legend, why| query(expr, legend).may_be_empty(why);
    let archive = "there is no archive";
    let firehose = "the source is no firehose";
    [
        Panel::new(Look::Lines, "Timelines", "short")
            .about("Enrolled ones, and those that wait to be. Normal: as many as have read lately; few wait.")
            .with(query("skyweir_writer_enrolled_timelines{@}", "enrolled {{instance}}"))
            .with(query("skyweir_writer_enrol_queue_timelines{@}", "waiting {{instance}}")),
        Panel::new(Look::Lines, "Timelines that come and leave", "ops")
            .about("Normal: published, and idle. Memory for hours: timeline.memory_mb is too small.")
            .with(query("sum by (outcome) (rate(skyweir_writer_generations_total{@}[]))", "come: {{outcome}}"))
            .with(seldom(hibernated, "leave: {{reason}}", "nobody is idle for long, and there is memory")),
        Panel::new(Look::Lines, "Memory", "bytes")
            .about("Normal: the process at timelines and caches, plus 24 bytes an account and about a GiB.")
            .with(query("skyweir_process_resident_bytes{@}", "process {{instance}}"))
            .with(query("skyweir_writer_timelines_bytes{@}", "timelines {{instance}}"))
            .with(query("skyweir_writer_timelines_budget_bytes{@}", "their budget {{instance}}"))
            .with(query("sum by (instance) (skyweir_embedded_cache_bytes{@})", "caches {{instance}}")),
        Panel::new(Look::Lines, "Disk", "bytes")
            .about("All that is on it, beside its size. Normal: a slow rise, in steps as tables are compacted.")
            .with(query("skyweir_disk_size_bytes{@} - skyweir_disk_free_bytes{@}", "taken {{instance}}"))
            .with(query("skyweir_disk_size_bytes{@}", "size {{instance}}")),
        Panel::new(Look::Lines, "Commits and checkpoints of the store", "s")
            .about("Normal: a commit's p99 below 50 ms; a checkpoint of the rings takes seconds.")
            .with(query(quantile(0.99, "skyweir_embedded_commit_seconds", "@", "instance"), "commit p99 {{instance}}"))
            .with(query(
                quantile(0.5, "skyweir_embedded_checkpoint_seconds", "@", "instance"),
                "checkpoint p50 {{instance}}",
            )),
        Panel::new(Look::Lines, "What has left, and is not removed", "s")
            .about("Only with items.keep: how far the sweep is behind. Normal: 0; days, if less than a week is kept.")
            .with(query("skyweir_indexer_sweep_behind_seconds{@}", "{{instance}}")),
        Panel::new(Look::Lines, "Repositories fetched anew", "ops")
            .about("Only on a firehose, by outcome. Normal: few; failed ones stay as they were.")
            .with(seldom("sum by (outcome) (rate(skyweir_indexer_resyncs_total{@}[]))", "{{outcome}}", firehose))
            .with(seldom(
                "sum by (instance) (rate(skyweir_indexer_broken_chains_total{@}[]))",
                "lost commits {{instance}}",
                firehose,
            )),
        Panel::new(Look::Lines, "Archive read", "percentunit")
            .about("In a backfill, or catching up after days: the share that is read. Normal: it rises to 100 %.")
            .with(seldom("skyweir_indexer_archive_share{@}", "{{instance}}", archive)),
    ]
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::{Value, json};

    use super::super::tools::is_there;
    use crate::run::skip;

    /// What promtool has to find: each state after half an hour of these series; none where there is to be no point.
    fn day(series: &[(&str, &str)], states: &[Option<u8>]) -> Value {
        let panel = super::states();
        assert_eq!(panel.queries.len(), states.len());
        let expected = |state: &Option<u8>| state.map(|value| json!({"labels": "{}", "value": value}));
        let asked = panel.queries.iter().zip(states).map(|(query, state)| {
            json!({
                "expr": query.expr.replace("$__rate_interval", "5m").replace("$instance", ".*"),
                "eval_time": "30m",
                "exp_samples": expected(state).into_iter().collect::<Vec<_>>(),
            })
        });
        let given = |(name, values): &(&str, &str)| json!({"series": name, "values": values});
        json!({
            "interval": "1m",
            "input_series": series.iter().map(given).collect::<Vec<_>>(),
            "promql_expr_test": asked.collect::<Vec<_>>(),
        })
    }

    #[test]
    fn each_state_is_fine_or_behind_as_the_day_is() {
        if !is_there("promtool") {
            skip("the dashboard's states: promtool is missing (apt-get install prometheus)").unwrap();
            return;
        }
        let up = "up{job=\"skyweir\",instance=\"a\"}";
        let messages = "skyweir_indexer_messages_total{instance=\"a\"}";
        let retries = "skyweir_indexer_commit_retries_total{instance=\"a\"}";
        let commits = "skyweir_indexer_commit_seconds_bucket{instance=\"a\",le=\"0.1\"}";
        let all_commits = "skyweir_indexer_commit_seconds_bucket{instance=\"a\",le=\"+Inf\"}";
        let read = |code| {
            format!(
                "skyweir_api_request_seconds_count{{instance=\"a\",method=\"x/GetTimeline\",code=\"{code}\"}}"
            )
        };
        let [good, bad] = [read("ok"), read("unavailable")];
        let none = None;
        let tests = [
            day(
                &[
                    (up, "1x60"),
                    (messages, "0+60x60"),
                    (retries, "0x60"),
                    (commits, "0+60x60"),
                    (all_commits, "0+60x60"),
                    (&good, "0+60x60"),
                ],
                &[Some(0), none, Some(0), Some(0), Some(0), none, none, Some(0), none],
            ),
            // a disk that is full, and not one good answer since the start
            day(
                &[
                    (up, "1x60"),
                    (messages, "9x60"),
                    (retries, "0+1x60"),
                    (commits, "9x60"),
                    (all_commits, "9x60"),
                    (&bad, "0+60x60"),
                ],
                &[Some(0), none, Some(1), Some(1), none, none, none, Some(1), none],
            ),
            day(&[(up, "0x60")], &[Some(1), none, none, none, none, none, none, none, none]),
        ];
        let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
        std::fs::write(file.path(), json!({"evaluation_interval": "1m", "tests": tests}).to_string())
            .unwrap();
        let output = Command::new("promtool").args(["test", "rules"]).arg(file.path()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{}", said.concat());
    }
}
