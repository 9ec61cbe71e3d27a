//! Files as sources: plain and compressed, from the beginning and resumed, at full speed and paced.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skyweir_indexer::Skip;
use skyweir_indexer::source::{
    Ended, Error, Frame, SavedPosition, Source, SourceConfig, SourceStatus, StartAt, parse, queue,
};
use skyweir_loadtest::Event;
use skyweir_types::Clock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const START: u64 = 1_767_225_600_000_000;

fn line(n: u64) -> String {
    let event = Event::delete("did:plc:a", START + n * 10_000_000, "app.bsky.graph.follow", &format!("k{n}"));
    event.to_jetstream_v1_json(None).unwrap()
}

fn text(lines: u64) -> Vec<u8> {
    (1..=lines).map(|n| line(n) + "\n").collect::<String>().into_bytes()
}

async fn run(path: &Path, config: SourceConfig, start: StartAt) -> (Vec<Frame>, Result<Ended, Error>) {
    let (sender, mut receiver) = queue(&config);
    let kind = parse(&format!("file:{}", path.display())).unwrap();
    let source = Source::new(kind, config, Clock::manual(1)).unwrap();
    let mut task = JoinSet::new();
    task.spawn(source.run(start, sender, Arc::new(SourceStatus::default()), CancellationToken::new()));
    let mut frames = Vec::new();
    while let Some(frame) = receiver.recv().await {
        frames.push(frame);
    }
    (frames, task.join_next().await.unwrap().unwrap())
}

fn positions(frames: &[Frame]) -> Vec<u64> {
    frames.iter().filter_map(|frame| frame.position).collect()
}

#[tokio::test]
async fn plain_and_compressed_are_alike() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, packed) = (folder.path().join("a.jsonl"), folder.path().join("a.jsonl.zst"));
    std::fs::write(&plain, text(1_000)).unwrap();
    std::fs::write(&packed, zstd::encode_all(&text(1_000)[..], 1).unwrap()).unwrap();
    let (frames, ended) = run(&plain, SourceConfig::default(), StartAt::Live).await;
    assert_eq!(ended.unwrap(), Ended::EndOfFile);
    assert_eq!(positions(&frames), (1..=1_000).collect::<Vec<_>>());
    assert!(frames.iter().all(|frame| frame.events.len() == 1 && frame.skipped.is_empty()));
    let (other, ended) = run(&packed, SourceConfig::default(), StartAt::From(0)).await;
    assert_eq!((ended.unwrap(), other), (Ended::EndOfFile, frames));
}

#[tokio::test]
async fn it_resumes_behind_the_saved_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, text(5)).unwrap();
    let saved = StartAt::Resume(SavedPosition { position: 3, time_us: 0 });
    assert_eq!(positions(&run(&path, SourceConfig::default(), saved).await.0), [4, 5]);
    let beyond = run(&path, SourceConfig::default(), StartAt::From(9)).await;
    assert_eq!((beyond.0.len(), beyond.1.unwrap()), (0, Ended::EndOfFile));
}

#[tokio::test]
async fn broken_lines_count_as_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let mut file = std::fs::File::create(&path).unwrap();
    writeln!(file, "{}\n\n{{torn\n{}", line(1), "x".repeat(5_000)).unwrap();
    write!(file, "{}", line(5)).unwrap();
    drop(file);
    let config = SourceConfig { max_message_bytes: 2_000, ..SourceConfig::default() };
    let (frames, _) = run(&path, config, StartAt::Live).await;
    assert_eq!(positions(&frames), [1, 2, 3, 4, 5]);
    let skipped: Vec<_> = frames.iter().map(|frame| frame.skipped.first().copied()).collect();
    assert_eq!(skipped, [None, None, Some(Skip::Undecodable), Some(Skip::TooBig), None]);
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl.zst");
    assert!(matches!(run(&path, SourceConfig::default(), StartAt::Live).await.1, Err(Error::File { .. })));
    let mut bytes = zstd::encode_all(&text(50)[..], 1).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(run(&path, SourceConfig::default(), StartAt::Live).await.1, Err(Error::File { .. })));
}

async fn paced(config: SourceConfig) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, text(11)).unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(run(&path, config, StartAt::Live).await.0.len(), 11);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn at_a_rate_and_in_real_time() {
    // ten seconds lie between two events, and the paused clock jumps to whatever is due next
    let realtime = SourceConfig { file_realtime: true, ..SourceConfig::default() };
    assert_eq!(paced(realtime).await.as_secs(), 100);
    let rate = SourceConfig { file_rate: 2.0, ..SourceConfig::default() };
    assert_eq!(paced(rate).await.as_secs(), 5);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let new =
        |config| Source::new(parse("file:x").unwrap(), config, Clock::system()).map(|source| source.id());
    assert_eq!(new(SourceConfig::default()).unwrap(), "file:x");
    for config in [
        SourceConfig { queue: 0, ..SourceConfig::default() },
        SourceConfig { queue_bytes: 1, ..SourceConfig::default() },
        SourceConfig { liveness_ms: 1, ..SourceConfig::default() },
        SourceConfig { backoff_least_ms: 0, ..SourceConfig::default() },
        SourceConfig { max_message_bytes: 0, ..SourceConfig::default() },
        SourceConfig { file_rate: -1.0, ..SourceConfig::default() },
        SourceConfig { file_rate: 1.0, file_realtime: true, ..SourceConfig::default() },
        SourceConfig { user_agent: "a\nb".to_owned(), ..SourceConfig::default() },
    ] {
        assert!(matches!(new(config), Err(Error::Setting(_))));
    }
    assert!(serde_json::from_value::<SourceConfig>(json!({"quue": 1})).is_err());
}
