//! One subscriber's stream: read the log, encode, send, and mind what the client says.

use super::log::{Entry, Item, Live};
use super::query::{Filter, options_update};
use super::state::{Prepared, Shared};
use crate::{encode, firehose};
use futures::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::{CloseCode, Message, WebSocketStream};
use zstd::bulk::Compressor;

/// How many entries are taken from the log at a time.
const BATCH: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    V1 { with_seq: bool },
    V2,
    Firehose,
}

/// An accepted request for a stream.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) wire: Wire,
    pub(super) filter: Filter,
    pub(super) compress: Option<Prepared>,
    /// Where to read next.
    pub(super) position: u64,
    /// The end of the log when it came: what is live only and older is not for it.
    pub(super) joined: u64,
    /// What is sent before all.
    pub(super) first: Option<Message>,
    /// What is sent instead of all.
    pub(super) last: Option<(Message, CloseCode)>,
}

/// What an entry comes to on a wire.
enum Output {
    Nothing,
    Message(Message),
    /// The last message, then a close.
    End(Message, CloseCode),
    /// The socket is dropped without a close frame.
    Cut,
}

/// Sends until the client leaves, an error ends the stream, or the caller drops it.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    mut subscription: Subscription,
    shared: &Shared,
) -> anyhow::Result<()> {
    let dictionary = subscription.compress.take();
    let compressor = match &dictionary {
        Some(dictionary) => Some(Compressor::with_prepared_dictionary(&dictionary.0)?),
        None => None,
    };
    let mut bell = shared.listen();
    let mut session = Session { socket, subscription, compressor, messages: 0 };
    loop {
        let (batch, silent, cut_after) = {
            let state = shared.lock();
            let firehose = session.subscription.wire == Wire::Firehose;
            let log = if firehose { &state.frames } else { &state.events };
            // overtaken by the log's limit, nothing good can follow
            let Some(batch) = log.batch(session.subscription.position, BATCH) else { return Ok(()) };
            (batch, state.silent, state.cut_after)
        };
        if cut_after.is_some_and(|limit| session.messages >= limit) {
            return Ok(());
        }
        if silent {
            bell.changed().await?;
            continue;
        }
        if let Some((message, code)) = session.subscription.last.take() {
            return session.end(message, code).await;
        }
        if let Some(first) = session.subscription.first.take() {
            session.feed(first).await?;
            session.socket.flush().await?;
            continue;
        }
        // a long replay still hears the client
        let mut said = session.socket.next().now_or_never();
        if said.is_none() && batch.is_empty() {
            tokio::select! {
                changed = bell.changed() => changed?,
                message = session.socket.next() => said = Some(message),
            }
        }
        if let Some(message) = said
            && let Some(code) = hear(message.transpose()?, &mut session.subscription)
        {
            return session.end(Message::close(Some(code), ""), code).await;
        }
        match session.send(batch, cut_after).await? {
            Sent::UpTo(0) => {}
            Sent::UpTo(seq) => shared.change(|state| state.sent_seq = state.sent_seq.max(seq)),
            Sent::All => return Ok(()),
        }
    }
}

struct Session<'a, S> {
    socket: WebSocketStream<S>,
    subscription: Subscription,
    compressor: Option<Compressor<'a>>,
    /// How many messages were sent.
    messages: u64,
}

/// What a batch came to.
enum Sent {
    /// Events up to this sequence number; 0 for none.
    UpTo(u64),
    /// The stream is over.
    All,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn send(&mut self, batch: Vec<Entry>, cut_after: Option<u64>) -> anyhow::Result<Sent> {
        let mut last_seq = 0;
        for entry in batch {
            if cut_after.is_some_and(|limit| self.messages >= limit) {
                break;
            }
            let for_this = self.subscription.position >= self.subscription.joined;
            self.subscription.position += 1;
            if !matches!(entry.item, Item::Live(_)) {
                // live entries only borrow the number of the event after them
                last_seq = entry.seq;
            }
            match render(&entry, &self.subscription, for_this) {
                Output::Nothing => {}
                Output::Message(message) => self.feed(message).await?,
                Output::End(message, code) => {
                    self.end(message, code).await?;
                    return Ok(Sent::All);
                }
                Output::Cut => {
                    self.socket.flush().await?;
                    return Ok(Sent::All);
                }
            }
        }
        self.socket.flush().await?;
        Ok(Sent::UpTo(last_seq))
    }

    /// Text goes through the dictionary, if the subscriber asked for one: each message one complete zstd frame.
    async fn feed(&mut self, message: Message) -> anyhow::Result<()> {
        let message = match (&mut self.compressor, message.as_text()) {
            (Some(compressor), Some(text)) => Message::binary(compressor.compress(text.as_bytes())?),
            _ => message,
        };
        self.messages += 1;
        Ok(self.socket.feed(message).await?)
    }

    async fn end(&mut self, message: Message, code: CloseCode) -> anyhow::Result<()> {
        if message.is_close() {
            self.socket.send(message).await?;
        } else {
            self.feed(message).await?;
            self.socket.send(Message::close(Some(code), "")).await?;
        }
        Ok(self.socket.close().await?)
    }
}

/// Why to close, after what the client said (or did not: it left).
fn hear(said: Option<Message>, subscription: &mut Subscription) -> Option<CloseCode> {
    let Some(message) = said else { return Some(CloseCode::NORMAL_CLOSURE) };
    if message.is_ping() || message.is_pong() {
        return None;
    }
    if message.is_close() {
        return Some(CloseCode::NORMAL_CLOSURE);
    }
    match subscription.wire {
        Wire::V2 => Some(CloseCode::POLICY_VIOLATION),
        Wire::Firehose => None,
        Wire::V1 { .. } => match message.as_text().map(options_update) {
            Some(Ok(Some(filter))) => {
                subscription.filter = filter;
                None
            }
            Some(Err(_)) => Some(CloseCode::POLICY_VIOLATION),
            Some(Ok(None)) | None => None,
        },
    }
}

fn render(entry: &Entry, subscription: &Subscription, for_this: bool) -> Output {
    match &entry.item {
        Item::Event(event, since) => {
            if !subscription.filter.wants(event) {
                return Output::Nothing;
            }
            let text = match subscription.wire {
                Wire::Firehose => {
                    return Output::Message(Message::binary(
                        event.to_firehose_frame(entry.seq, since.as_deref()),
                    ));
                }
                Wire::V1 { with_seq } => event.to_jetstream_v1_json(with_seq.then_some(entry.seq)),
                Wire::V2 => Some(event.to_jetstream_v2_json(entry.seq)),
            };
            match text.filter(|text| subscription.filter.fits(text.len())) {
                Some(text) => Output::Message(Message::text(text)),
                None => Output::Nothing,
            }
        }
        Item::Frame(bytes) => Output::Message(Message::binary(bytes.to_vec())),
        Item::Live(live) if for_this => render_live(live, subscription.wire),
        Item::Live(_) => Output::Nothing,
    }
}

fn render_live(live: &Live, wire: Wire) -> Output {
    match (live, wire) {
        (Live::Text(text), _) => Output::Message(Message::text(text.clone())),
        (Live::Binary(bytes), _) => Output::Message(Message::binary(bytes.clone())),
        (Live::Info { .. }, Wire::V1 { .. }) => Output::Nothing,
        (Live::Info { name, message }, Wire::V2) => {
            Output::Message(Message::text(encode::info_v2(name, message)))
        }
        (Live::Info { name, message }, Wire::Firehose) => {
            Output::Message(Message::binary(firehose::firehose_info(name, message)))
        }
        (Live::Error { .. }, Wire::V1 { .. }) => Output::Cut,
        (Live::Error { error, message }, Wire::V2) => {
            Output::End(Message::text(encode::error_v2(error, message)), CloseCode::POLICY_VIOLATION)
        }
        (Live::Error { error, message }, Wire::Firehose) => {
            let frame = firehose::firehose_error(error, message);
            Output::End(Message::binary(frame), CloseCode::POLICY_VIOLATION)
        }
    }
}
