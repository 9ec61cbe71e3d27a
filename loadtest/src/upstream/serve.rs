//! Connections: from the socket to a plain answer or a stream.

use super::http::{Answer, Head};
use super::query::{self, Filter, Request, TIME_CURSOR};
use super::state::{Prepared, Shared, State};
use super::stream::{self, Subscription, Wire};
use super::{repos, xrpc};
use crate::{encode, firehose};
use ::http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tokio_websockets::{CloseCode, Message, ServerBuilder};

pub(super) const PATH_V2: &str = "/xrpc/network.bsky.jetstream.subscribeEvents";
pub(super) const PATH_V1: &str = "/subscribe";
pub(super) const PATH_FIREHOSE: &str = "/xrpc/com.atproto.sync.subscribeRepos";
const PATH_DICTIONARY: &str = "/xrpc/network.bsky.jetstream.getZstdDictionary";
const SUBPROTOCOL: &str = "xrpc.v1.json";
/// After a connection that couldn't be taken.
const PAUSE: Duration = Duration::from_millis(10);

/// Takes connections until told to stop.
pub(super) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let socket = tokio::select! {
            () = stop.cancelled() => return,
            socket = listener.accept() => socket,
        };
        // one of the tasks is this loop
        let full = tasks.len() > shared.config.connection_limit;
        let Ok((socket, _)) = socket else {
            // out of descriptors, most likely: the next try at once would be no better
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if full {
            continue;
        }
        let (shared, stop, cut) = (shared.clone(), stop.clone(), shared.lock().cut.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = cut.cancelled() => {}
                // whatever ends a connection ends it; the client is who has to notice
                _ = connection(socket, &shared) => {}
            }
        });
    }
}

async fn connection(socket: TcpStream, shared: &Arc<Shared>) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let (reader, mut writer) = socket.into_split();
    let mut reader = BufReader::new(reader);
    let Some(head) = Head::read(&mut reader).await else { return Ok(()) };
    let Some(body) = head.body(&mut reader).await else { return Ok(()) };
    if let Some(answer) = archived(&head, &body, shared) {
        return Ok(answer.write(&mut writer).await?);
    }
    // the position is taken before the handshake is answered: a client that is connected misses nothing
    let (subscription, _guard) = match open(&head, shared) {
        Ok(opened) => opened,
        Err(answer) => return Ok(answer.write(&mut writer).await?),
    };
    let mut builder = ServerBuilder::new();
    let offered = head.header("sec-websocket-protocol").unwrap_or_default();
    if subscription.wire == Wire::V2 && offered.split(',').any(|one| one.trim() == SUBPROTOCOL) {
        let name = HeaderName::from_static("sec-websocket-protocol");
        builder = builder.add_header(name, HeaderValue::from_static(SUBPROTOCOL))?;
    }
    let stream = tokio::io::join(std::io::Cursor::new(without_target(&head)).chain(reader), writer);
    let (_, socket) = builder.accept(stream).await?;
    stream::run(socket, subscription, shared).await
}

/// The answer of the archive or the repositories, if the request is for them and not refused as all are.
fn archived(head: &Head, body: &[u8], shared: &Shared) -> Option<Answer> {
    shared.change(|state| match state.refuse {
        Some(_) => None,
        None if shared.config.repositories => repos::answer(head, state, &shared.config),
        None => xrpc::answer(head, body, state),
    })
}

/// The head without its path and query: those are read already, and the handshake's parser takes no long ones.
fn without_target(head: &Head) -> Vec<u8> {
    let line = head.bytes.iter().position(|byte| *byte == b'\r').unwrap_or(0);
    [b"GET / HTTP/1.1".as_slice(), &head.bytes[line..]].concat()
}

/// Counts a subscriber out.
struct Guard(Arc<Shared>, u64);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.change(|state| state.live.remove(&self.1));
    }
}

fn open(head: &Head, shared: &Arc<Shared>) -> Result<(Subscription, Guard), Answer> {
    let opened = shared.change(|state| {
        let opened = route(head, shared, state);
        state.refused += u64::from(opened.is_err());
        opened.map(|(subscription, path)| (subscription, state.join(path, &head.query)))
    });
    opened.map(|(subscription, id)| (subscription, Guard(shared.clone(), id)))
}

fn route(head: &Head, shared: &Shared, state: &State) -> Result<(Subscription, &'static str), Answer> {
    if let Some(status) = state.refuse {
        return Err(Answer::text(status, "refused"));
    }
    if head.method != "GET" {
        return Err(Answer::text(405, "GET only"));
    }
    let pairs = head.pairs();
    if head.path == PATH_DICTIONARY {
        return Err(dictionary(&pairs, shared));
    }
    if ![PATH_V1, PATH_V2, PATH_FIREHOSE].contains(&head.path.as_str()) {
        return Err(Answer::error(404, "MethodNotImplemented", "no such path"));
    }
    if !head.wants_upgrade() {
        return Err(Answer::text(426, "upgrade to a WebSocket"));
    }
    match head.path.as_str() {
        PATH_V2 => Ok((open_v2(query::parse_v2(&pairs)?, shared, state)?, PATH_V2)),
        PATH_V1 => {
            let asked = head.header("socket-encoding").is_some_and(|value| value.contains("zstd"));
            Ok((open_v1(query::parse_v1(&pairs)?, asked, shared, state)?, PATH_V1))
        }
        _ => Ok((open_firehose(&pairs, state)?, PATH_FIREHOSE)),
    }
}

fn dictionary(pairs: &[(String, String)], shared: &Shared) -> Answer {
    let not_found = Answer::error(400, "DictionaryNotFound", "no dictionary with this id");
    let Some(dictionary) = &shared.config.dictionary_v2 else { return not_found };
    match pairs.iter().find(|(key, _)| key == "id").map(|(_, id)| query::number(id)) {
        None => Answer::bytes(dictionary.bytes.clone()),
        Some(Some(id)) if id == u64::from(dictionary.id) => Answer::bytes(dictionary.bytes.clone()),
        Some(Some(id)) if id > 0 => not_found,
        Some(_) => Answer::error(400, "InvalidRequest", "id is no number above 0"),
    }
}

fn open_v2(request: Request, shared: &Shared, state: &State) -> Result<Subscription, Answer> {
    let compress = match (request.dictionary, &shared.config.dictionary_v2) {
        (None, _) => None,
        (Some(id), Some(current)) if id == current.id => shared.v2.clone(),
        (Some(_), current) => {
            let current = current.as_ref().map_or("none".to_owned(), |dictionary| dictionary.id.to_string());
            let message = format!("unknown or retired dictionary; the current one is {current}");
            return Err(Answer::error(400, "UnknownZstdDictionary", &message));
        }
    };
    let log = &state.events;
    let mut first = None;
    let position = match request.cursor {
        Some(cursor) if cursor >= TIME_CURSOR => {
            let (position, clamped) = log.position_at(cursor);
            first = clamped.then(|| encode::outdated_cursor_v2(log.seq_at(position)));
            log.back(position, state.overlap)
        }
        // 0 asks for all that there is
        Some(cursor) if cursor > 0 && cursor < log.floor_seq() => {
            let message = format!("cursor is older than the retention floor seq {}", log.floor_seq());
            return Err(Answer::error(400, "CursorTooOld", &message));
        }
        Some(cursor) if cursor < log.next_seq() => log.back(log.position(cursor), state.overlap),
        _ => log.end(),
    };
    Ok(Subscription {
        first: first.map(Message::text),
        ..subscription(Wire::V2, request.filter, compress, position, log.end())
    })
}

fn open_v1(request: Request, asked: bool, shared: &Shared, state: &State) -> Result<Subscription, Answer> {
    let compress = if request.compress || asked {
        let refused = || Answer::text(400, "this server has no dictionary");
        Some(shared.v1.clone().ok_or_else(refused)?)
    } else {
        None
    };
    let log = &state.events;
    let with_seq = shared.config.v1_seq;
    let position = match request.cursor {
        Some(cursor) if with_seq && cursor < TIME_CURSOR => {
            // too old is clamped without a word
            if cursor < log.next_seq() { log.back(log.position(cursor), state.overlap) } else { log.end() }
        }
        Some(cursor) => log.back(log.position_at(cursor).0, state.overlap),
        None => log.end(),
    };
    Ok(subscription(Wire::V1 { with_seq }, request.filter, compress, position, log.end()))
}

/// Cursors are exclusive, as on the official relay.
fn open_firehose(pairs: &[(String, String)], state: &State) -> Result<Subscription, Answer> {
    let cursor = match pairs.iter().find(|(key, _)| key == "cursor") {
        Some((_, value)) => {
            let bad = || Answer::error(400, "InvalidRequest", "cursor is no number");
            Some(query::number(value).ok_or_else(bad)?)
        }
        None => None,
    };
    let log = &state.frames;
    let (mut first, mut last) = (None, None);
    let position = match cursor {
        None => log.end(),
        Some(cursor) if cursor >= log.next_seq() => {
            last = Some(firehose::firehose_error("FutureCursor", "cursor in the future"));
            log.end()
        }
        Some(cursor) => {
            if cursor > 0 && cursor + 1 < log.floor_seq() {
                first = Some(firehose::firehose_info("OutdatedCursor", "cursor is older than the window"));
            }
            log.back(log.position(cursor + 1), state.overlap)
        }
    };
    let opened = subscription(Wire::Firehose, Filter::default(), None, position, log.end());
    let (first, last) =
        (first.map(Message::binary), last.map(|frame| (Message::binary(frame), CloseCode::POLICY_VIOLATION)));
    Ok(Subscription { first, last, ..opened })
}

fn subscription(
    wire: Wire,
    filter: Filter,
    compress: Option<Prepared>,
    position: u64,
    joined: u64,
) -> Subscription {
    Subscription { wire, filter, compress, position, joined, first: None, last: None }
}
