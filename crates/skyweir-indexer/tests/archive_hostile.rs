//! An archive that means no good: what it claims costs no memory, and what it holds back no time.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use skyweir_indexer::archive::{BlockFault, BlockReader, Damage, SegmentWalk};
use skyweir_indexer::source::{
    Ended, Frame, Source, SourceConfig, SourceStatus, StartAt, parse_archive, queue,
};
use skyweir_loadtest::{ArchiveBlock, ArchiveRow, ArchiveSegment, Event};
use skyweir_types::Clock;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const MOST: usize = 8 << 20;
const ROWS: u64 = 40;

fn segment() -> ArchiveSegment {
    let rows: Vec<_> = (1..=ROWS)
        .map(|seq| {
            ArchiveRow::of_event(seq, &Event::account("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", seq, true, None))
        })
        .collect();
    let blocks: Vec<_> = rows.chunks(10).map(|rows| ArchiveBlock::new(rows.to_vec())).collect();
    ArchiveSegment::of_blocks(&blocks).unwrap()
}

#[test]
fn a_block_has_so_many_rows_and_no_more() {
    let mut reader = BlockReader::new(MOST).unwrap();
    let mut packed = |rows: u32| {
        let mut bytes = rows.to_le_bytes().to_vec();
        // the column of numbers, which have to rise; all others are zero
        (1..=u64::from(rows)).for_each(|seq| bytes.extend(seq.to_le_bytes()));
        bytes.resize(4 + rows as usize * 34, 0);
        let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
        compressor.include_checksum(true).unwrap();
        reader.rows(&compressor.compress(&bytes).unwrap()).map(|rows| rows.len())
    };
    assert_eq!(packed(65_536), Ok(65_536));
    assert_eq!(packed(65_537), Err(BlockFault::Rows { rows: 65_537, most: 65_536 }));
}

#[test]
fn a_block_is_one_frame() {
    let segment = segment();
    let frame = &segment.bytes[segment.frames[0].clone()];
    let mut reader = BlockReader::new(MOST).unwrap();
    let mut rows = |frame: &[u8]| reader.rows(frame).map(|rows| rows.len());
    assert_eq!(rows(frame), Ok(10));
    // a second one, empty and without a checksum; one that says to be skipped; noise
    let empty = zstd::bulk::compress(b"", 3).unwrap();
    for more in [&empty[..], b"\x50\x2a\x4d\x18\x01\x00\x00\x00x", b"x", frame] {
        assert_eq!(rows(&[frame, more].concat()), Err(BlockFault::Frame), "{more:?}");
    }
    assert_eq!(rows(&frame[..frame.len() - 1]), Err(BlockFault::Frame));
}

#[test]
fn a_segment_has_so_many_blocks_and_no_more() {
    let mut bytes = segment().bytes;
    for (blocks, is_refused) in [(65_536_u32, false), (65_537, true)] {
        bytes[14..18].copy_from_slice(&blocks.to_le_bytes());
        let mut walk = SegmentWalk::new(MOST);
        walk.feed(&bytes);
        let refused = Damage::Header("it has more blocks than a segment may have");
        assert_eq!(walk.next_piece().err(), is_refused.then_some(refused));
    }
}

/// What a scripted server answers to a request for the segment.
enum Answer {
    /// This head, and this body; then it hangs up.
    Whole(String, Vec<u8>),
    /// This head, and then a byte of the body now and then, for ever.
    Drip(String, Vec<u8>),
}

/// An archive of one segment: plans are as they should be, what becomes of the segment's requests is told by number and
/// head.
struct Scripted {
    url: String,
    /// The heads of the segment's requests, in small letters.
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

type Script = Arc<dyn Fn(usize, &str) -> Answer + Send + Sync>;

impl Scripted {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (url, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::default());
        let (mut tasks, heads) = (JoinSet::new(), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (script, heads) = (script.clone(), Arc::clone(&heads));
                connections.spawn(async move { connection(socket, &script, &heads).await });
            }
        });
        Self { url, asked, _tasks: tasks }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request, and its answer. Whatever ends it: the client asks again.
async fn connection(socket: TcpStream, script: &Script, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let (reader, mut writer) = socket.into_split();
    let (mut reader, mut head) = (BufReader::new(reader), String::new());
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = head.to_lowercase();
    let length: Option<usize> =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    reader.read_exact(&mut vec![0; length.unwrap_or(0)]).await?;
    let answer = if head.starts_with("post ") {
        let plan = json!({"plannedThroughSeq": ROWS, "sealedTipSeq": ROWS, "segments": [
            {"name": "seg_0", "minSeq": 1, "mode": "segment"}]});
        Answer::Whole("200 OK\r\ncontent-type: application/json".to_owned(), plan.to_string().into_bytes())
    } else {
        let number = {
            let mut asked = asked.lock().unwrap();
            asked.push(head.clone());
            asked.len() - 1
        };
        script(number, &head)
    };
    let (Answer::Whole(first, body) | Answer::Drip(first, body)) = &answer;
    let length = if first.contains("content-length") {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    writer.write_all(format!("HTTP/1.1 {first}\r\n{length}connection: close\r\n\r\n").as_bytes()).await?;
    if matches!(answer, Answer::Whole(..)) {
        return writer.write_all(body).await;
    }
    let mut turns = tokio::time::interval(Duration::from_millis(2));
    for byte in body {
        turns.tick().await;
        writer.write_all(&[*byte]).await?;
    }
    Ok(())
}

/// The rest of a segment, from where it is asked for.
fn rest(bytes: &[u8], head: &str) -> Answer {
    let from: Option<usize> =
        head.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
    match from {
        Some(from) => {
            let (last, whole) = (bytes.len() - 1, bytes.len());
            let range =
                format!("206 Partial Content\r\netag: \"one\"\r\ncontent-range: bytes {from}-{last}/{whole}");
            Answer::Whole(range, bytes[from..].to_vec())
        }
        None => Answer::Whole("200 OK\r\netag: \"one\"".to_owned(), bytes.to_vec()),
    }
}

/// Reads an archive to its end.
async fn read(url: &str, config: SourceConfig) -> Vec<Frame> {
    let (sender, mut frames) = queue(&config);
    let source = Source::new(parse_archive(url, i64::MIN).unwrap().0, config, Clock::system()).unwrap();
    let mut running = JoinSet::new();
    let status = Arc::new(SourceStatus::default());
    running.spawn(source.run(StartAt::Live, sender, status, CancellationToken::new()));
    let read = async {
        let mut found = Vec::new();
        while let Some(frame) = frames.recv().await {
            found.push(frame);
        }
        found
    };
    let found = tokio::time::timeout(Duration::from_secs(60), read).await.expect("it doesn't get on");
    assert_eq!(running.join_next().await.unwrap().unwrap().unwrap(), Ended::EndOfFile);
    found
}

fn config() -> SourceConfig {
    SourceConfig { backoff_least_ms: 1, backoff_most_ms: 5, ..SourceConfig::default() }
}

fn events(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| frame.events.len()).sum()
}

#[tokio::test]
async fn a_refusal_does_not_forget_what_has_come() {
    let bytes = segment().bytes;
    let (half, whole) = (bytes.len() / 2, bytes.len());
    let script: Script = Arc::new(move |number, head| match number {
        0 => {
            let head = format!("200 OK\r\netag: \"one\"\r\ncontent-length: {whole}");
            Answer::Whole(head, bytes[..half].to_vec())
        }
        1 => Answer::Whole("503 Service Unavailable".to_owned(), Vec::new()),
        _ => rest(&bytes, head),
    });
    let server = Scripted::start(script).await;
    assert_eq!(events(&read(&server.url, config()).await), ROWS as usize);
    let asked = server.asked();
    assert_eq!(asked.len(), 3, "{asked:#?}");
    for head in &asked[1..] {
        assert!(head.contains(&format!("range: bytes={half}-\r\n")), "{head}");
        assert!(head.contains("if-range: \"one\"\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_drip_does_not_hold_a_download_for_ever() {
    let bytes = segment().bytes;
    let whole = bytes.len();
    let script: Script = Arc::new(move |number, head| match number {
        // an hour of it
        0 => {
            let head = format!("200 OK\r\netag: \"one\"\r\ncontent-length: {}", 2_000_000);
            Answer::Drip(head, [bytes.clone(), vec![0; 2_000_000 - whole]].concat())
        }
        _ => rest(&bytes, head),
    });
    let server = Scripted::start(script).await;
    let impatient = SourceConfig { ping_ms: 1, liveness_ms: 100, archive_least_rate: 100_000, ..config() };
    assert_eq!(events(&read(&server.url, impatient).await), ROWS as usize);
    let asked = server.asked();
    assert!(asked.len() >= 2, "{asked:#?}");
}
