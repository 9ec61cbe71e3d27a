//! Who is asked: the host itself, or, where it sends us on, the one that an account is with. Each of them says itself
//! when it is asked too often.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Uri};
use skyweir_types::Clock;
use tokio::time::Instant;

use crate::archive::http::{Answer, Failure, Gate, Http, MOST_WAIT};
use crate::source::{self, Error, SourceConfig, SourceKind, Stream};

/// How many hosts' pauses are remembered; then they are forgotten, and each may say it again.
const MOST_GATES: usize = 10_000;
/// Whoever is down is asked again after this: a proxy's host starts in less, and a dead one costs us little.
const AGAIN: Duration = Duration::from_secs(60);
/// So many connections to hosts of accounts are kept. A relay names accounts of all hosts mixed, and most of them are
/// with some seventy; with TLS a new connection for each would cost more than the account.
const MOST_KEPT: usize = 64;
/// Larger numbers of a rate limit's reset are seconds since 1970, smaller ones seconds from now.
const EPOCH: i64 = 1_000_000_000;
const REPOSITORY: &str = "/xrpc/com.atproto.sync.getRepo";

/// The pauses that hosts have asked for. Who asks one of them asks all downloads.
#[derive(Clone, Debug, Default)]
pub(super) struct Gates(Arc<Mutex<HashMap<String, (Gate, Health)>>>);

/// What a host said when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Answer,
    Nothing,
    /// That it wants to be left alone; asked at this time.
    NotNow(Instant),
}

/// How often in a row a host had no answer, and when that was last.
#[derive(Clone, Debug, Default)]
struct Health(Arc<Mutex<(u32, Option<Instant>)>>);

impl Health {
    /// Takes note of it, and tells how often in a row it had no answer by now.
    fn note(&self, said: Said) -> u32 {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *health = match said {
            Said::Answer => (0, None),
            // said to several who asked at the same time it was said once
            Said::NotNow(asked) if health.1.is_some_and(|last| asked <= last) => *health,
            Said::NotNow(_) | Said::Nothing => (health.0.saturating_add(1), Some(Instant::now())),
        };
        health.0
    }

    fn is_down(&self, attempts: u32, is_closed: bool) -> bool {
        let (failures, last) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures >= attempts && last.is_some_and(|last| is_closed || last.elapsed() < AGAIN)
    }
}

impl Gates {
    fn of(&self, authority: &str) -> (Gate, Health) {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = gates.get(authority) {
            return known.clone();
        }
        if gates.len() >= MOST_GATES {
            gates.clear();
        }
        gates.entry(authority.to_owned()).or_default().clone()
    }
}

/// Connections to hosts of accounts that nobody uses just now, the last used behind.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<VecDeque<Host>>>);

impl Kept {
    /// One to this host, if there is one.
    pub(super) fn take(&self, stream: &Stream) -> Option<Host> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.iter().rposition(|host| host.stream() == stream)?;
        kept.remove(last)
    }

    /// Keeps one; if there are too many, the one that wasn't used for the longest is closed.
    pub(super) fn keep(&self, host: Host) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.pop_front();
        }
        kept.push_back(host);
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// A connection to a host that waits when it is told to.
pub(super) struct Host {
    stream: Stream,
    http: Http,
    gate: Gate,
    health: Health,
    gates: Gates,
    clock: Clock,
    /// Until when it wants to be left alone, if its last answer was that.
    not_now: Option<Instant>,
}

impl Host {
    pub(super) fn new(
        stream: &Stream,
        config: &SourceConfig,
        gates: &Gates,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let (http, (gate, health)) = (Http::new(stream, config)?, gates.of(stream.authority()));
        let (stream, gates, clock) = (stream.clone(), gates.clone(), clock.clone());
        Ok(Self { stream, http, gate, health, gates, clock, not_now: None })
    }

    /// Another host, with the pauses that it has asked for.
    pub(super) fn other(&self, stream: &Stream) -> Result<Self, Error> {
        Self::new(stream, self.http.config(), &self.gates, &self.clock)
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Asks for a method, with its query.
    pub(super) async fn get(&mut self, call: &str) -> Result<Answer, Failure> {
        self.gate.pass().await;
        let asked = Instant::now();
        let answer = self.http.get(call, |request| request).await;
        let (status, headers) =
            self.http.last.as_ref().map_or((0, None), |(status, headers)| (status.as_u16(), Some(headers)));
        let is_limited = status == 429;
        let limit = headers.and_then(|headers| wait(headers, is_limited, self.clock.now_micros()));
        let after = match &answer {
            Err(Failure::Passing(_, after)) => after.filter(|after| !after.is_zero()),
            _ => None,
        };
        let is_not_now = is_limited || after.is_some();
        let failures = self.health.note(match &answer {
            Err(_) if is_not_now => Said::NotNow(asked),
            Ok(_) => Said::Answer,
            Err(_) if self.answered() => Said::Answer,
            Err(_) => Said::Nothing,
        });
        let named = limit.max(after).filter(|pause| !pause.is_zero());
        let pause = named.or_else(|| is_limited.then(|| unnamed(self.http.config(), failures)));
        pause.into_iter().for_each(|pause| self.gate.close(pause));
        self.not_now = pause.filter(|_| is_not_now).map(|pause| Instant::now() + pause);
        answer
    }

    /// Until when it wants to be left alone, if it does.
    pub(super) fn closed(&self) -> Option<Instant> {
        self.gate.closed()
    }

    /// Whether it had no answer so many times in a row, and that was just now, or it still wants to be left alone.
    pub(super) fn is_down(&self, attempts: u32) -> bool {
        self.health.is_down(attempts, self.closed().is_some())
    }

    /// Until when it wants to be left alone, if its last answer was that.
    pub(super) fn not_now(&self) -> Option<Instant> {
        self.not_now
    }

    /// Whether the last answer, if there was one, spoke of the request itself, not of the host's state: nor does what
    /// stands before one that is down (502, 504).
    pub(super) fn answered(&self) -> bool {
        self.http.last.as_ref().is_some_and(|(status, _)| !matches!(status.as_u16(), 429 | 502..=504))
    }

    /// Whether the host doesn't know the method.
    pub(super) fn lacks_method(&self) -> bool {
        self.http.last.as_ref().is_some_and(|(status, _)| matches!(status.as_u16(), 405 | 501))
    }
}

/// How long a host wants to be left alone, going by what it says of its rate limit.
fn wait(headers: &HeaderMap, is_refused: bool, now_us: i64) -> Option<Duration> {
    let number = |name| headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse::<i64>().ok());
    let is_used_up = is_refused || number("ratelimit-remaining") == Some(0);
    let reset = number("ratelimit-reset").filter(|_| is_used_up)?;
    let seconds = if reset < EPOCH { reset } else { reset - now_us.div_euclid(1_000_000) };
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(MOST_WAIT))
}

/// The pause of a host that wants one and doesn't say how long: longer each time that it says so again.
fn unnamed(config: &SourceConfig, failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    config.backoff_least().saturating_mul(doubled).min(config.backoff_most())
}

/// The host that a redirect of `getRepo` names. One without TLS is only believed by one without.
pub(super) fn elsewhere(location: &str, from: &Stream) -> Option<Stream> {
    let uri: Uri = location.parse().ok()?;
    let scheme = match uri.scheme_str()? {
        "https" => "wss",
        "http" if !from.is_tls() => "ws",
        _ => return None,
    };
    if uri.path() != REPOSITORY {
        return None;
    }
    let url = format!("{scheme}://{}/xrpc/com.atproto.sync.subscribeRepos", uri.authority()?);
    match source::parse(&url) {
        Ok(SourceKind::Stream(stream)) => Some(stream),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_limit_that_is_used_up_is_waited_for() {
        let asked = |remaining: &str, reset: &str, is_refused| {
            let mut headers = HeaderMap::new();
            headers.insert("ratelimit-remaining", HeaderValue::from_str(remaining).unwrap());
            headers.insert("ratelimit-reset", HeaderValue::from_str(reset).unwrap());
            wait(&headers, is_refused, 2_000_000_000_000_000).map(|wait| wait.as_secs())
        };
        assert_eq!(asked("1", "2000000007", false), None);
        assert_eq!(asked("0", "2000000007", false), Some(7));
        assert_eq!(asked("0", "7", false), Some(7));
        assert_eq!(asked("1", "7", true), Some(7));
        assert_eq!(asked("0", "1999999999", false), Some(0));
        assert_eq!(asked("0", "2999999999", false), Some(600), "nobody has to be waited for so long");
        assert_eq!(asked("0", "soon", false), None);
    }

    #[test]
    fn who_names_no_pause_gets_longer_ones() {
        let config = SourceConfig { backoff_least_ms: 100, backoff_most_ms: 350, ..SourceConfig::default() };
        let pauses = [1, 2, 3, 40].map(|failures| unnamed(&config, failures).as_millis());
        assert_eq!(pauses, [100, 200, 350, 350]);
    }

    #[test]
    fn who_never_answers_is_down_until_an_answer() {
        let (gates, attempts) = (Gates::default(), 3);
        let (_, health) = gates.of("pds");
        for failures in 0..5 {
            assert_eq!(gates.of("pds").1.is_down(attempts, false), failures >= attempts);
            health.note(Said::Nothing);
        }
        assert!(!gates.of("another").1.is_down(attempts, false));
        health.note(Said::Answer);
        assert!(!health.is_down(attempts, false));
    }

    #[tokio::test(start_paused = true)]
    async fn who_always_wants_to_be_left_alone_is_down_until_the_pause_is_over() {
        let (health, attempts) = (Health::default(), 2);
        let told = async |asked: usize| {
            let now = Instant::now();
            (0..asked).for_each(|_| _ = health.note(Said::NotNow(now)));
            tokio::time::advance(Duration::from_millis(1)).await;
        };
        told(8).await;
        assert!(!health.is_down(attempts, true), "all were asked at the same time");
        health.note(Said::Answer);
        told(8).await;
        assert!(!health.is_down(attempts, true), "there was an answer between");
        told(1).await;
        assert!(health.is_down(attempts, true));
        tokio::time::advance(AGAIN).await;
        assert!(health.is_down(attempts, true), "the pause is longer");
        assert!(!health.is_down(attempts, false), "it is asked again");
        told(1).await;
        assert!(health.is_down(attempts, true), "once is enough");
    }

    #[test]
    fn only_a_host_with_tls_is_believed() {
        let stream = |url: &str| match source::parse(url) {
            Ok(SourceKind::Stream(stream)) => stream,
            _ => panic!("{url} is a stream"),
        };
        let (tls, plain) = (
            stream("wss://relay/xrpc/com.atproto.sync.subscribeRepos"),
            stream("ws://relay/xrpc/com.atproto.sync.subscribeRepos"),
        );
        let to = |location: &str, from: &Stream| {
            elsewhere(location, from).map(|stream| stream.authority().to_owned())
        };
        let repository = "://pds.example.com:8/xrpc/com.atproto.sync.getRepo?did=did:plc:a";
        let pds = Some("pds.example.com:8".to_owned());
        assert_eq!(to(&format!("https{repository}"), &tls), pds);
        assert_eq!(to(&format!("https{repository}"), &plain), pds);
        assert_eq!(to(&format!("http{repository}"), &plain), pds);
        for location in [
            format!("http{repository}").as_str(),
            "https://pds.example.com/elsewhere",
            "https://a@b/xrpc/com.atproto.sync.getRepo",
            "/xrpc/com.atproto.sync.getRepo",
        ] {
            assert_eq!(to(location, &tls), None, "{location}");
        }
    }
}
