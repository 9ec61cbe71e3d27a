//! A stream, connected again for ever.

use http::header::{SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use http::{HeaderValue, Uri};
use skyweir_types::{Clock, Collection};
use tokio::time::{sleep, timeout};
use tokio_websockets::upgrade::Error as UpgradeError;
use tokio_websockets::{ClientBuilder, Connector, Error as WsError, Limits};
use tracing::{info, warn};

use super::backoff::Backoff;
use super::chains::Chains;
use super::dictionary::{Dictionaries, Dictionary};
use super::handshake::{Tap, connector, open};
use super::http::Answer;
use super::kind::{Protocol, Stream};
use super::place::Place;
use super::session::{Over, Session};
use super::wire::Reader;
use super::{Behind, Ended, Error, FrameSender, SourceConfig, SourceStatus, StartAt};

/// What an attempt came to.
enum Attempt {
    Over(Over),
    Refused(Answer),
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    AtOnce,
    Pause,
    /// The place is gone, and the archive may have what is behind it.
    Leave,
}

/// The state that outlives a connection.
struct Client<'a> {
    stream: &'a Stream,
    archive: Option<Behind>,
    config: &'a SourceConfig,
    clock: &'a Clock,
    out: &'a FrameSender,
    status: &'a SourceStatus,
    connector: Connector,
    place: Place,
    chains: Chains,
    dictionaries: Dictionaries,
    backoff: Backoff,
}

pub(super) async fn run(
    stream: &Stream,
    archive: Option<Behind>,
    config: &SourceConfig,
    clock: &Clock,
    start: StartAt,
    out: &FrameSender,
    status: &SourceStatus,
) -> Result<Ended, Error> {
    // so that pauses, and who shares slots with whom, differ from start to start
    let seed = clock.now_micros().unsigned_abs();
    // of use only where what is lost is fetched
    let is_fetched = stream.protocol == Protocol::Firehose && config.resync_downloads > 0;
    let accounts = if is_fetched { config.chain_accounts } else { 0 };
    let mut client = Client {
        stream,
        archive,
        config,
        clock,
        out,
        status,
        connector: connector(stream)?,
        place: Place::new(stream.protocol, config, start),
        chains: Chains::new(accounts, seed),
        dictionaries: Dictionaries::default(),
        backoff: Backoff::new(config, seed),
    };
    loop {
        let attempt = client.attempt().await;
        client.status.disconnected();
        let next = match attempt {
            Attempt::Over(Over::Nobody) => return Ok(Ended::Stopped),
            Attempt::Over(over) => client.over(&over),
            Attempt::Refused(answer) => client.refused(&answer),
        };
        match next {
            Next::AtOnce => {}
            Next::Pause => sleep(client.backoff.pause()).await,
            Next::Leave => return Ok(Ended::PlaceGone),
        }
        if out.is_closed() {
            return Ok(Ended::Stopped);
        }
    }
}

impl Client<'_> {
    async fn attempt(&mut self) -> Attempt {
        let broken = |why: &str| Attempt::Over(Over::Broken(why.to_owned()));
        let dictionary = self.dictionaries.next(self.stream, &self.connector, self.config).await;
        let cursor = self.place.cursor();
        let (uri, reader) = match (
            uri(self.stream, self.config, cursor, dictionary.as_ref()),
            Reader::new(self.stream.protocol, dictionary.as_ref(), self.config.max_message_bytes),
        ) {
            (Some(uri), Ok(reader)) => (uri, reader),
            (None, _) => return broken("the URL can't be asked"),
            (_, Err(error)) => {
                self.dictionaries.refused();
                return broken(&error.to_string());
            }
        };
        // room for what the reader leaves out by itself, so that the connection survives it
        let limits = Limits::default().max_payload_len(Some(self.config.max_message_bytes.saturating_mul(4)));
        let mut builder = ClientBuilder::from_uri(uri).limits(limits);
        let mut headers = vec![(USER_AGENT, HeaderValue::from_str(&self.config.user_agent))];
        if self.stream.protocol == Protocol::V2 {
            headers.push((SEC_WEBSOCKET_PROTOCOL, Ok(HeaderValue::from_static("xrpc.v1.json"))));
        }
        for (name, value) in headers {
            builder = match value.map(|value| builder.add_header(name, value)) {
                Ok(Ok(builder)) => builder,
                _ => return broken("a header can't be sent"),
            };
        }
        let mut tap = match timeout(self.config.connect(), open(self.stream, &self.connector)).await {
            Ok(Ok(transport)) => Tap::new(transport),
            Ok(Err(why)) => return broken(&why),
            Err(_) => return broken("connecting took too long"),
        };
        let failed = match timeout(self.config.connect(), builder.connect_on(&mut tap)).await {
            Err(_) => return broken("the upgrade took too long"),
            Ok(Err(error)) => error,
            Ok(Ok((mut socket, _))) => {
                socket.get_mut().forget();
                self.dictionaries.accepted();
                self.status.connected();
                info!(
                    cursor = cursor.map(tracing::field::display),
                    zstd = dictionary.is_some(),
                    "upstream connected"
                );
                let mut session = Session {
                    config: self.config,
                    clock: self.clock,
                    out: self.out,
                    status: self.status,
                    place: &mut self.place,
                    chains: &mut self.chains,
                    reader,
                    asked: cursor,
                    frames: 0,
                };
                let over = session.run(socket).await;
                if session.frames > 0 {
                    self.backoff.reset();
                }
                return Attempt::Over(over);
            }
        };
        if !matches!(failed, WsError::Upgrade(UpgradeError::DidNotSwitchProtocols(_))) {
            return broken(&failed.to_string());
        }
        match timeout(self.config.connect(), tap.refusal()).await {
            Ok(Some(answer)) => Attempt::Refused(answer),
            _ => broken(&failed.to_string()),
        }
    }

    /// Takes note of how a connection ended.
    fn over(&mut self, over: &Over) -> Next {
        match over {
            Over::Nobody => Next::AtOnce,
            Over::Broken(why) => {
                self.failed(why);
                Next::Pause
            }
            Over::Unreadable(why) => {
                self.place.unreadable();
                self.failed(why);
                Next::Pause
            }
            Over::Error(notice) => {
                let why = format!("{} {}", notice.name, notice.message);
                self.failed(&why);
                self.lost_by(&notice.name, &notice.message)
            }
        }
    }

    fn refused(&mut self, answer: &Answer) -> Next {
        #[derive(serde::Deserialize, Default)]
        struct Body {
            #[serde(default)]
            error: String,
            #[serde(default)]
            message: String,
        }
        let body: Body = serde_json::from_slice(&answer.body).unwrap_or_default();
        let (error, message) = (crate::decode::cut(&body.error, 64), crate::decode::cut(&body.message, 256));
        self.failed(&format!("refused with status {} {error} {message}", answer.status));
        if answer.status == 400 && error == "UnknownZstdDictionary" {
            return if self.dictionaries.refused() { Next::AtOnce } else { Next::Pause };
        }
        if answer.status == 400 && self.stream.protocol == Protocol::V1 {
            // its refusals have no names; it may be one without zstd
            self.dictionaries.refused();
        }
        if answer.status == 400 { self.lost_by(&error, &message) } else { Next::Pause }
    }

    /// Perhaps the server no longer has our place, or not yet: then an event may be lost.
    fn lost_by(&mut self, error: &str, message: &str) -> Next {
        if !matches!(error, "CursorTooOld" | "FutureCursor" | "OutdatedCursor")
            || self.place.cursor().is_none()
        {
            return Next::Pause;
        }
        if error == "CursorTooOld"
            && let (Some(Behind { exhausted }), Some(position)) = (self.archive, self.place.position())
            && !self.place.is_lost()
            && exhausted != Some(position)
        {
            return Next::Leave;
        }
        if !self.place.is_lost() {
            self.status.gap(error, message);
            warn!(reason = %error, %message, "events may be lost upstream");
        }
        self.place.lost();
        Next::AtOnce
    }

    fn failed(&self, why: &str) {
        warn!(reason = %why, "upstream disconnected");
        self.status.failed(why);
    }
}

/// The address with what we ask for.
fn uri(
    stream: &Stream,
    config: &SourceConfig,
    cursor: Option<u64>,
    dictionary: Option<&Dictionary>,
) -> Option<Uri> {
    let mut query: Vec<String> = stream.query.iter().cloned().collect();
    let mut collections = |name: &str| {
        query.extend(Collection::ALL.map(|collection| format!("{name}={}", collection.nsid())));
        query.push(format!("maxMessageSizeBytes={}", config.max_message_bytes));
    };
    match stream.protocol {
        Protocol::V1 => collections("wantedCollections"),
        Protocol::V2 => collections("collections"),
        Protocol::Firehose => {}
    }
    match dictionary {
        Some(Dictionary { id: Some(id), .. }) => query.push(format!("zstdDictionary={id}")),
        Some(_) => query.push("compress=true".to_owned()),
        None => {}
    }
    query.extend(cursor.map(|cursor| format!("cursor={cursor}")));
    let scheme = if stream.tls { "wss" } else { "ws" };
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{}{}{mark}{}", stream.authority, stream.path, query.join("&")).parse().ok()
}
