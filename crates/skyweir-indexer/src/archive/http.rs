//! Plain requests to the host of an archive or of repositories, one after the other over a connection that is kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, USER_AGENT};
use http::request::Builder;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_websockets::Connector;

use super::Damage;
use crate::decode::cut;
use crate::metrics;
use crate::source::{Error, SourceConfig, Stream, connector, open};

/// No host and query are longer.
const MOST_LOCATION: usize = 4_096;
/// No refusal says more.
const MOST_REFUSAL: usize = 64 * 1_024;
/// A server that asks for a longer pause is asked again all the same: limits of servers are of minutes, and one that
/// asks for a day by mistake would cost that day.
pub(crate) const MOST_WAIT: Duration = Duration::from_secs(600);

/// Why there is no good answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may pass: the connection broke, or the server has no time. Not before the pause that it asks for.
    Passing(String, Option<Duration>),
    /// What was asked for ends before the part that was.
    Shorter(String),
    /// What was asked for isn't there any more.
    Gone(String),
    /// What came is damaged.
    Damaged(Damage),
    /// There will never be one.
    Refused(String),
    /// Another host has it.
    Elsewhere { why: String, to: String },
    /// The host has no such repository, or doesn't show it: the protocol's own word for why.
    NoRepository { error: String, why: String },
    /// Nobody takes it.
    Unheard,
}

impl Failure {
    /// What went wrong, for who reads the log.
    pub(crate) fn why(self) -> String {
        match self {
            Self::Passing(why, _) | Self::Shorter(why) | Self::Gone(why) | Self::Refused(why) => why,
            Self::Elsewhere { why, .. } | Self::NoRepository { why, .. } => why,
            Self::Damaged(damage) => damage.to_string(),
            Self::Unheard => "nobody takes it".to_owned(),
        }
    }
}

/// One connection to a host, opened when it is needed.
pub(crate) struct Http {
    stream: Stream,
    connector: Connector,
    config: SourceConfig,
    open: Option<SendRequest<Full<Bytes>>>,
    /// Status and headers of the last answer; none when none came.
    pub(crate) last: Option<(StatusCode, HeaderMap)>,
    /// What drives the connection.
    driving: JoinSet<()>,
}

impl Http {
    pub(crate) fn new(stream: &Stream, config: &SourceConfig) -> Result<Self, Error> {
        let connector = connector(stream)?;
        let (stream, config) = (stream.clone(), config.clone());
        Ok(Self { stream, connector, config, open: None, last: None, driving: JoinSet::new() })
    }

    pub(crate) fn config(&self) -> &SourceConfig {
        &self.config
    }

    /// Asks for a method, with its query.
    pub(crate) async fn get(
        &mut self,
        call: &str,
        headers: impl FnOnce(Builder) -> Builder,
    ) -> Result<Answer, Failure> {
        self.send(call, headers(Request::get(self.path(call))), Bytes::new()).await
    }

    /// Calls a procedure.
    pub(super) async fn post(&mut self, call: &str, json: String) -> Result<Answer, Failure> {
        let request = Request::post(self.path(call)).header(CONTENT_TYPE, "application/json");
        self.send(call, request, json.into()).await
    }

    fn path(&self, call: &str) -> String {
        self.stream.path_of(call)
    }

    async fn send(&mut self, call: &str, request: Builder, body: Bytes) -> Result<Answer, Failure> {
        let request = request
            .header(HOST, self.stream.authority())
            .header(USER_AGENT, &self.config.user_agent)
            .body(Full::new(body))
            .map_err(|error| Failure::Refused(error.to_string()))?;
        let passing = |why: String| Failure::Passing(format!("{}: {why}", name(call)), None);
        let silent = || passing("no answer in time".to_owned());
        self.last = None;
        // one that is closed, or whose last answer wasn't read to its end, is of no use any more
        let mut kept = self.open.take();
        if let Some(connection) = &mut kept
            && !matches!(timeout(self.config.liveness(), connection.ready()).await, Ok(Ok(())))
        {
            kept = None;
        }
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                let opened = timeout(self.config.connect(), self.connect()).await;
                opened.map_err(|_| silent())?.map_err(passing)?
            }
        };
        let answer = timeout(self.config.liveness(), connection.send_request(request)).await;
        let answer = answer.map_err(|_| silent())?.map_err(|error| passing(error.to_string()))?;
        self.open = Some(connection);
        let (head, body) = answer.into_parts();
        let (status, headers) = (head.status, head.headers);
        self.last = Some((status, headers.clone()));
        let pace = Pace::new(&self.config);
        let answer = Answer { status, headers, body, silence: self.config.liveness(), pace };
        if status.is_success() { Ok(answer) } else { Err(answer.refusal(call).await) }
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        let transport = open(&self.stream, &self.connector).await?;
        let (connection, driver) =
            handshake(TokioIo::new(transport)).await.map_err(|error| error.to_string())?;
        // the one before has ended, or ends with this
        self.driving.shutdown().await;
        self.driving.spawn(async {
            // whatever ends it, whoever waits for an answer hears of it
            let _ = driver.await;
        });
        Ok(connection)
    }
}

/// An answer whose body is yet to come.
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    silence: Duration,
    pace: Pace,
}

/// How fast an answer comes: a drip is never silent, and would hold a download for ever. Only what we wait for counts,
/// as a server can't be faster than we take it.
struct Pace {
    least: u64,
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(config: &SourceConfig) -> Self {
        let (least, window) = (config.archive_least_rate.into(), config.liveness());
        Self { least, window, waited: Duration::ZERO, bytes: 0 }
    }

    /// Takes note of some bytes, and of how long they were waited for; whether that is fast enough.
    fn keeps(&mut self, bytes: usize, waited: Duration) -> bool {
        self.bytes += bytes as u64;
        self.waited += waited;
        if self.waited < self.window {
            return true;
        }
        let is_enough = u128::from(self.bytes) * 1_000 >= u128::from(self.least) * self.waited.as_millis();
        (self.bytes, self.waited) = (0, Duration::ZERO);
        is_enough
    }
}

impl Answer {
    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let passing = |why: String| Failure::Passing(why, None);
            let began = Instant::now();
            let frame = timeout(self.silence, self.body.frame()).await;
            let frame = frame.map_err(|_| passing("the answer stopped coming".to_owned()))?;
            match frame.transpose().map_err(|error| passing(error.to_string()))? {
                None => return Ok(None),
                Some(frame) => match frame.into_data() {
                    Ok(bytes) => {
                        metrics::archive_bytes(bytes.len() as u64);
                        let is_enough = self.pace.keeps(bytes.len(), began.elapsed());
                        return is_enough
                            .then_some(Some(bytes))
                            .ok_or_else(|| passing("too slow".to_owned()));
                    }
                    // trailers say nothing here
                    Err(_) => continue,
                },
            }
        }
    }

    /// The whole body; `None` when it is longer than this.
    pub(crate) async fn whole(&mut self, most: usize) -> Result<Option<Vec<u8>>, Failure> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if whole.len() + bytes.len() > most {
                return Ok(None);
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(Some(whole))
    }

    pub(super) fn header(&self, name: http::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    async fn refusal(mut self, call: &str) -> Failure {
        #[derive(Deserialize, Default)]
        struct Body {
            #[serde(default)]
            error: String,
            #[serde(default)]
            message: String,
        }
        let body = self.whole(MOST_REFUSAL).await.ok().flatten().unwrap_or_default();
        let body: Body = serde_json::from_slice(&body).unwrap_or_default();
        let (error, message) = (cut(&body.error, 64), cut(&body.message, 256));
        let mut why = format!("{}: status {} {error} {message}", name(call), self.status.as_u16());
        let to = self.header(LOCATION).map(|to| cut(to, MOST_LOCATION));
        if let Some(to) = &to {
            why = format!("{why} (it points to {to})");
        }
        match self.status.as_u16() {
            416 => Failure::Shorter(why),
            301..=308 if to.is_some() => Failure::Elsewhere { why, to: to.unwrap_or_default() },
            // who doesn't know a method, or our HTTP, won't learn it
            501 | 505 => Failure::Refused(why),
            408 | 425 | 429 | 500.. => Failure::Passing(why, self.wait()),
            _ if matches!(error.as_str(), "SegmentNotFound" | "BlockNotFound") => Failure::Gone(why),
            _ if matches!(
                error.as_str(),
                "RepoNotFound" | "RepoTakendown" | "RepoSuspended" | "RepoDeactivated"
            ) =>
            {
                Failure::NoRepository { error, why }
            }
            _ => Failure::Refused(why),
        }
    }

    /// How long the server asks to be left alone. A date instead of seconds is as good as nothing said.
    fn wait(&self) -> Option<Duration> {
        let seconds = self.header(RETRY_AFTER)?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(MOST_WAIT))
    }
}

/// A call without its query.
fn name(call: &str) -> &str {
    call.split('?').next().unwrap_or(call)
}

/// Until when nobody asks: when a server asks one download to wait, it asks all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<Option<Instant>>>);

impl Gate {
    pub(crate) fn close(&self, wait: Duration) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Some(Instant::now() + wait));
    }

    /// Until when it is closed, if it is.
    pub(crate) fn closed(&self) -> Option<Instant> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }

    pub(crate) async fn pass(&self) {
        while let Some(until) = self.closed() {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drip_is_too_slow_and_our_own_pauses_are_not() {
        let config =
            SourceConfig { archive_least_rate: 1_000, liveness_ms: 60_000, ..SourceConfig::default() };
        let mut pace = Pace::new(&config);
        let second = Duration::from_secs(1);
        assert!((0..59).all(|_| pace.keeps(1, second)), "the window isn't over");
        assert!(!pace.keeps(1, second));
        // as slow, but for one chunk that makes up for it
        assert!((0..59).all(|_| pace.keeps(1, second)) && pace.keeps(59_941, second));
        // what is there at once costs nothing, whenever we take it
        assert!((0..1_000).all(|_| pace.keeps(1, Duration::ZERO)));
        let any = SourceConfig { archive_least_rate: 0, ..config };
        assert!(Pace::new(&any).keeps(0, 100 * second));
    }
}
