//! The queue between a source and the application of what it hands on: bounded in frames, and in bytes.

use std::mem::size_of;
use std::sync::Arc;

use skyweir_types::{Action, Body, Event, Record};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Frame, SourceConfig};
use crate::Skip;

/// Where a source hands its frames on.
#[derive(Clone, Debug)]
pub struct FrameSender {
    frames: mpsc::Sender<(Frame, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    bytes: u32,
}

/// Where they are taken.
#[derive(Debug)]
pub struct FrameReceiver {
    frames: mpsc::Receiver<(Frame, OwnedSemaphorePermit)>,
}

/// Nobody takes the frames any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// A queue as wide as [`SourceConfig::queue`] and [`SourceConfig::queue_bytes`] say.
#[must_use]
pub fn queue(config: &SourceConfig) -> (FrameSender, FrameReceiver) {
    let (sender, frames) = mpsc::channel(config.queue);
    let room = Arc::new(Semaphore::new(config.queue_bytes as usize));
    (FrameSender { frames: sender, room, bytes: config.queue_bytes }, FrameReceiver { frames })
}

impl FrameSender {
    /// Hands a frame on as soon as there is room. One that is larger than the queue waits until the queue is empty.
    pub(crate) async fn send(&self, frame: Frame) -> Result<(), Closed> {
        let bytes = u32::try_from(frame.bytes()).unwrap_or(u32::MAX).min(self.bytes);
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(bytes) => room.map_err(|_| Closed)?,
            // what is still in there pays for itself, but nobody takes it out
            () = self.frames.closed() => return Err(Closed),
        };
        self.frames.send((frame, room)).await.map_err(|_| Closed)
    }

    /// Whether nobody takes the frames any more.
    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }
}

impl FrameReceiver {
    /// The next frame; `None` when the source has ended and all are taken.
    pub async fn recv(&mut self) -> Option<Frame> {
        self.frames.recv().await.map(|(frame, _room)| frame)
    }
}

impl Frame {
    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        let events: usize = self.events.iter().map(bytes).sum();
        size_of::<Self>() + events + self.skipped.len() * size_of::<Skip>()
    }
}

fn bytes(event: &Event) -> usize {
    let body = match &event.body {
        Body::Record(op) => {
            let record = match &op.action {
                Action::Put { record: Record::Repost { uri, cid, .. }, .. } => uri.len() + cid.len(),
                Action::Put { record: Record::Follow { subject }, .. } => subject.as_str().len(),
                _ => 0,
            };
            op.rkey.as_str().len() + record
        }
        _ => 0,
    };
    size_of::<Event>() + event.did.as_str().len() + body
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skyweir_types::{AccountStatus, Did};
    use tokio::time::timeout;

    use super::*;

    fn frame(events: usize) -> Frame {
        let did = Did::parse("did:plc:a").unwrap();
        let event = Event { did, time_us: 1, body: Body::Account(AccountStatus::Active) };
        Frame { position: Some(events as u64), time_us: 1, events: vec![event; events], skipped: Vec::new() }
    }

    async fn waits(sender: &FrameSender, events: usize) -> bool {
        timeout(Duration::from_secs(60), sender.send(frame(events))).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_bound_it_as_frames_do() {
        let queue_bytes = 2 * frame(10).bytes() as u32;
        let (sender, mut receiver) =
            queue(&SourceConfig { queue: 3, queue_bytes, ..SourceConfig::default() });
        assert!(!waits(&sender, 10).await && !waits(&sender, 10).await);
        assert!(waits(&sender, 1).await, "no bytes are left");
        assert_eq!(receiver.recv().await.and_then(|frame| frame.position), Some(10));
        assert!(!waits(&sender, 1).await && !waits(&sender, 1).await);
        assert!(waits(&sender, 0).await, "it is three frames wide");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_queue_passes_alone() {
        let (sender, mut receiver) = queue(&SourceConfig { queue_bytes: 1_024, ..SourceConfig::default() });
        assert!(!waits(&sender, 1).await);
        assert!(waits(&sender, 1_000).await, "something else is in there");
        receiver.recv().await;
        assert!(!waits(&sender, 1_000).await);
        assert!(waits(&sender, 1).await);
        drop(receiver);
        assert_eq!(timeout(Duration::from_secs(60), sender.send(frame(1))).await, Ok(Err(Closed)));
    }
}
