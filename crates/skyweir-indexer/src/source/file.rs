//! A file of Jetstream v1 lines, replayed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use skyweir_types::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Ended, Error, Frame, FrameSender, SourceConfig, SourceStatus, StartAt};
use crate::Skip;
use crate::decode::{Decoded, UNKNOWN_TIME, v1_message};

/// Lines that the reading thread hands over at a time.
const BATCH: usize = 256;
/// Batches that it is ahead of their application.
const AHEAD: usize = 4;

pub(super) async fn run(
    path: &Path,
    config: &SourceConfig,
    clock: &Clock,
    start: StartAt,
    out: &FrameSender,
    status: &SourceStatus,
) -> Result<Ended, Error> {
    let after = start.done();
    let (sender, mut batches) = mpsc::channel(AHEAD);
    let (file, most) = (path.to_owned(), config.max_message_bytes);
    let mut reading = JoinSet::new();
    reading.spawn_blocking(move || read(&file, after, most, &sender));
    status.connected();
    let mut pace = Pace::new(config);
    while let Some(batch) = batches.recv().await {
        status.frame(clock.now_micros());
        for frame in batch {
            pace.wait(frame.time_us).await;
            if out.send(frame).await.is_err() {
                return Ok(Ended::Stopped);
            }
        }
    }
    match reading.join_next().await {
        Some(Ok(Err(error))) => Err(Error::File { path: path.to_owned(), error }),
        Some(Err(failed)) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        _ => Ok(Ended::EndOfFile),
    }
}

fn read(path: &Path, after: u64, most: usize, sender: &mpsc::Sender<Vec<Frame>>) -> io::Result<()> {
    let file = File::open(path)?;
    let mut lines: Box<dyn BufRead> = if path.extension().is_some_and(|extension| extension == "zst") {
        Box::new(BufReader::with_capacity(1 << 16, zstd::stream::read::Decoder::new(file)?))
    } else {
        Box::new(BufReader::with_capacity(1 << 16, file))
    };
    let mut line = Vec::new();
    let mut batch = Vec::with_capacity(BATCH);
    for number in 1u64.. {
        let Some(skip) = next_line(&mut lines, &mut line, most)? else { break };
        if number % BATCH as u64 == 0 && sender.is_closed() {
            return Ok(());
        }
        if number <= after {
            continue;
        }
        let Decoded { time_us, events, skipped, .. } = match skip {
            Some(skip) => Decoded::skip(None, UNKNOWN_TIME, skip),
            None => v1_message(&line),
        };
        // an empty line is nothing at all
        let skipped = if line.is_empty() && skip.is_none() { Vec::new() } else { skipped };
        batch.push(Frame { position: Some(number), time_us, events, skipped });
        if batch.len() == BATCH && sender.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Ok(());
        }
    }
    // nobody takes it: the end is the same
    let _ = sender.blocking_send(batch);
    Ok(())
}

/// Reads a line without its end; nothing at the end of the file. Of a line that is too long nothing is kept.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<Option<Option<Skip>>> {
    line.clear();
    let mut too_long = false;
    loop {
        let read = lines.by_ref().take(most as u64 + 1).read_until(b'\n', line)?;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if read > most {
            too_long = true;
            line.clear();
            continue;
        } else if read == 0 && !too_long {
            return Ok(None);
        }
        return Ok(Some(too_long.then_some(Skip::TooBig)));
    }
}

/// When each line is due.
struct Pace {
    rate: f64,
    realtime: bool,
    lines: u64,
    began: Option<(Instant, i64)>,
}

impl Pace {
    fn new(config: &SourceConfig) -> Self {
        Self { rate: config.file_rate, realtime: config.file_realtime, lines: 0, began: None }
    }

    async fn wait(&mut self, time_us: i64) {
        if self.rate == 0.0 && (!self.realtime || time_us == UNKNOWN_TIME) {
            return;
        }
        let (began, first_us) = *self.began.get_or_insert_with(|| (Instant::now(), time_us));
        let due = if self.realtime {
            Some(Duration::from_micros(u64::try_from(time_us.saturating_sub(first_us)).unwrap_or(0)))
        } else {
            Duration::try_from_secs_f64(self.lines as f64 / self.rate).ok()
        };
        self.lines += 1;
        // beyond the clock's end it is never due; neither a broken time nor a tiny rate must panic
        match due.and_then(|due| began.checked_add(due)) {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_near_nothing_waits_for_ever() {
        let config = SourceConfig { file_rate: 1e-300, ..SourceConfig::default() };
        let mut pace = Pace::new(&config);
        pace.wait(1).await;
        let waited = tokio::time::timeout(Duration::from_secs(86_400), pace.wait(2)).await;
        assert!(waited.is_err(), "the second line is never due");
    }

    #[test]
    fn lines_are_bounded() {
        let mut text: &[u8] = b"ab\n\r\nabcdefghij\ncd\r\nlast";
        let mut line = Vec::new();
        let mut next = || next_line(&mut text, &mut line, 4).unwrap().map(|skip| (skip, line.clone()));
        assert_eq!(next(), Some((None, b"ab".to_vec())));
        assert_eq!(next(), Some((None, Vec::new())));
        assert_eq!(next().map(|(skip, _)| skip), Some(Some(Skip::TooBig)));
        assert_eq!(next(), Some((None, b"cd".to_vec())));
        assert_eq!(next(), Some((None, b"last".to_vec())));
        assert_eq!(next(), None);
    }
}
