//! Messages gathered into groups, each of which becomes one commit.

use tokio::time::Instant;

use crate::Config;
use crate::source::{Frame, FrameReceiver};

/// Messages that make up one commit.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) frames: Vec<Frame>,
    pub(crate) events: usize,
}

impl Group {
    fn push(&mut self, frame: Frame) {
        self.events += frame.events.len();
        self.frames.push(frame);
    }
}

/// Waits for a message, then takes what comes until the group closes: what is queued already, if that time has passed.
/// `None` when the source has ended. An empty group comes when the deadline for saving a cursor passes.
pub(crate) async fn next_group(
    frames: &mut FrameReceiver,
    config: &Config,
    closes: Instant,
    cursor_due: Option<Instant>,
) -> Option<Group> {
    let mut group = Group::default();
    let first = match cursor_due {
        None => frames.recv().await,
        Some(due) => match tokio::time::timeout_at(due, frames.recv()).await {
            Ok(first) => first,
            Err(_) => return Some(group),
        },
    };
    group.push(first?);
    while group.events < config.group_events && group.frames.len() < config.group_events * 10 {
        match tokio::time::timeout_at(closes, frames.recv()).await {
            Ok(Some(frame)) => group.push(frame),
            Ok(None) | Err(_) => break,
        }
    }
    Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{FrameSender, queue};

    async fn send(sender: &FrameSender, position: u64) {
        let frame = Frame { position: Some(position), time_us: 0, events: Vec::new(), skipped: Vec::new() };
        assert!(sender.send(frame).await.is_ok());
    }

    fn positions(group: Option<Group>) -> Vec<u64> {
        group
            .map(|group| group.frames.iter().filter_map(|frame| frame.position).collect())
            .unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn one_after_a_pause_waits_for_none_and_the_next_wait_for_company() {
        let config = Config::default();
        let (sender, mut frames) = queue(&config.source);
        let start = Instant::now();
        tokio::time::advance(config.group_time() * 4).await;
        send(&sender, 1).await;
        let closes = start + config.group_time();
        assert_eq!(positions(next_group(&mut frames, &config, closes, None).await), [1]);
        assert_eq!(start.elapsed(), config.group_time() * 4);

        let closes = Instant::now() + config.group_time();
        send(&sender, 2).await;
        let later = async {
            tokio::time::sleep(config.group_time() / 2).await;
            send(&sender, 3).await;
        };
        let (both, ()) = tokio::join!(next_group(&mut frames, &config, closes, None), later);
        assert_eq!(positions(both), [2, 3]);
        assert_eq!(Instant::now(), closes);
        drop(sender);
        assert!(next_group(&mut frames, &config, closes, None).await.is_none());
    }

    #[tokio::test]
    async fn what_is_queued_already_goes_along_and_a_full_group_waits_for_nothing() {
        let config = Config { group_events: 1, ..Config::default() };
        let (sender, mut frames) = queue(&config.source);
        for position in 0..25 {
            send(&sender, position).await;
        }
        let never = Instant::now() + config.group_time() * 100_000;
        let ten = positions(next_group(&mut frames, &config, never, None).await);
        assert_eq!(ten, (0..10).collect::<Vec<_>>(), "ten messages an event");
        let now = Instant::now();
        let one = Config::default();
        assert_eq!(positions(next_group(&mut frames, &one, now, None).await), (10..25).collect::<Vec<_>>());
    }
}
