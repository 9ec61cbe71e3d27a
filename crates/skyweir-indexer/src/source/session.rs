//! One connection, from its upgrade to its end.

use futures::{SinkExt, StreamExt};
use skyweir_types::{Body, Clock, Event};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_websockets::{Error as WsError, Message, WebSocketStream};

use super::chains::{Chains, Shows};
use super::place::Place;
use super::wire::Reader;
use super::{Frame, FrameSender, SourceConfig, SourceStatus};
use crate::Skip;
use crate::decode::{Decoded, Link, Notice, UNKNOWN_TIME};
use crate::metrics;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Over {
    /// Nobody takes the frames any more.
    Nobody,
    /// The socket failed, fell silent or was closed.
    Broken(String),
    /// A message came that the socket layer can't pass on: too large, or text that is no UTF-8.
    Unreadable(String),
    /// The server ended it with a word.
    Error(Notice),
}

/// What one connection works with.
pub(super) struct Session<'a> {
    pub(super) config: &'a SourceConfig,
    pub(super) clock: &'a Clock,
    pub(super) out: &'a FrameSender,
    pub(super) status: &'a SourceStatus,
    pub(super) place: &'a mut Place,
    pub(super) chains: &'a mut Chains,
    pub(super) reader: Reader,
    /// The cursor that was asked for.
    pub(super) asked: Option<u64>,
    /// Frames handed on.
    pub(super) frames: u64,
}

impl Session<'_> {
    /// Reads until the connection ends.
    pub(super) async fn run<S>(&mut self, mut socket: WebSocketStream<S>) -> Over
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut heard = Instant::now();
        let mut ping = interval_at(heard + self.config.ping(), self.config.ping());
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                message = socket.next() => {
                    let over = match message {
                        None => Some(Over::Broken("closed without a word".to_owned())),
                        Some(Err(error)) => Some(self.failed(&error).await),
                        Some(Ok(message)) => self.message(&message).await,
                    };
                    if let Some(over) = over {
                        return over;
                    }
                    // waiting for our own queue is no silence of theirs
                    heard = Instant::now();
                }
                _ = ping.tick() => {
                    match timeout(self.config.liveness(), socket.send(Message::ping(""))).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Over::Broken(error.to_string()),
                        Err(_) => return Over::Broken("takes no pings".to_owned()),
                    }
                }
                () = sleep_until(heard + self.config.liveness()) => {
                    return Over::Broken("silent for too long".to_owned());
                }
            }
        }
    }

    async fn failed(&mut self, error: &WsError) -> Over {
        let skip = match error {
            WsError::PayloadTooLong { .. } => Skip::TooBig,
            WsError::Protocol(tokio_websockets::proto::ProtocolError::InvalidUtf8) => Skip::Undecodable,
            _ => return Over::Broken(error.to_string()),
        };
        match self.hand_on(Decoded::skip(None, UNKNOWN_TIME, skip), self.clock.now_micros()).await {
            Some(over) => over,
            None => Over::Unreadable(error.to_string()),
        }
    }

    async fn message(&mut self, message: &Message) -> Option<Over> {
        if let Some((code, reason)) = message.as_close() {
            let reason = crate::decode::cut(reason, 128);
            return Some(Over::Broken(format!("closed with {} {reason}", u16::from(code))));
        }
        if !message.is_text() && !message.is_binary() {
            return None;
        }
        let now_us = self.clock.now_micros();
        self.status.frame(now_us);
        let mut decoded = self.reader.read(message, now_us);
        match decoded.notice.take() {
            None => self.hand_on(decoded, now_us).await,
            Some(notice) if notice.is_error => Some(Over::Error(notice)),
            Some(notice) => {
                // when we asked by time because the place was lost, that gap is counted already
                if notice.name == "OutdatedCursor" && !self.place.is_lost() {
                    self.gap(&notice.name, &notice.message);
                }
                None
            }
        }
    }

    fn gap(&self, reason: &str, message: &str) {
        self.status.gap(reason, message);
        tracing::warn!(%reason, %message, "events may be lost upstream");
    }

    /// What is to be done about commits that are missing before this one.
    fn lost(&mut self, link: Link, time_us: i64, now_us: i64) -> Option<Event> {
        self.chains.behind(self.status.gaps());
        match self.chains.follow(&link, now_us) {
            Shows::Nothing => None,
            Shows::Loss => {
                metrics::chain_broken();
                let body = Body::Sync { rev: link.rev, records_follow: false };
                Some(Event { did: link.did, time_us, body })
            }
            Shows::Gap { broken, commits } => {
                metrics::chain_broken();
                let message =
                    format!("{broken} of {commits} commits don't follow on their accounts' last ones");
                self.gap("LostCommits", &message);
                None
            }
        }
    }

    async fn hand_on(&mut self, decoded: Decoded, now_us: i64) -> Option<Over> {
        let Decoded { position, time_us, mut events, skipped, link, notice: _ } = decoded;
        if let Some(position) = position
            && self.frames == 0
            && self.place.is_another_sequence(self.asked, position)
        {
            // counted before the frame is there: its commit has to know
            let message = format!("asked for {}, got {position}", self.asked.unwrap_or_default());
            self.gap("AnotherSequence", &message);
            self.place.begin_anew();
        }
        if let Some(link) = link {
            events.extend(self.lost(link, time_us, now_us));
        }
        if self.out.send(Frame { position, time_us, events, skipped }).await.is_err() {
            return Some(Over::Nobody);
        }
        if let Some(position) = position {
            self.place.moved(position, time_us);
            self.frames += 1;
        }
        None
    }
}
