//! A stand-in for an existing data plane: answers as the method's name says, and tells what it saw.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use skyweir_api::UpstreamHttp;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Piece = Result<Frame<Bytes>, io::Error>;

/// What is in a frame of an answer.
pub(crate) const PIECE: &[u8] = b"a piece of a message";
/// What is in each frame of a flood.
const LARGE: &[u8] = &[7; 16 << 10];

/// The stand-in; its connections are cut when it is dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    /// The heads of the calls that came.
    pub(crate) seen: mpsc::Receiver<Parts>,
    /// One for each call that was left before its end.
    pub(crate) left: mpsc::Receiver<()>,
    /// How many connections were opened.
    pub(crate) opened: Arc<AtomicUsize>,
    /// What `Waits` waits for before each of its frames.
    pub(crate) gate: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Tell {
    seen: mpsc::Sender<Parts>,
    left: mpsc::Sender<()>,
    gate: Arc<Semaphore>,
}

/// Dropped with an answer that has no end.
struct Leaving(mpsc::Sender<()>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

impl Fake {
    pub(crate) async fn start(http: UpstreamHttp) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), http).await
    }

    pub(crate) async fn at(address: SocketAddr, http: UpstreamHttp) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let ((seen, seen_by), (left, left_by)) = (mpsc::channel(1_000), mpsc::channel(1_000));
        let (opened, gate) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
        let tell = Tell { seen, left, gate: gate.clone() };
        let mut tasks = JoinSet::new();
        let count = opened.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let io = TokioIo::new(stream);
                count.fetch_add(1, Ordering::SeqCst);
                let tell = tell.clone();
                let service = service_fn(move |request| answer(request, tell.clone()));
                // a connection may end as it likes: a test looks at the other end of it
                connections.spawn(async move {
                    match http {
                        UpstreamHttp::One => {
                            let _ = http1::Builder::new().serve_connection(io, service).await;
                        }
                        UpstreamHttp::Two => {
                            let builder = http2::Builder::new(TokioExecutor::new());
                            let _ = builder.serve_connection(io, service).await;
                        }
                    }
                });
            }
        });
        Self { address, seen: seen_by, left: left_by, opened, gate, tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it, with its connections.
    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn answer(request: Request<Incoming>, tell: Tell) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let method = head.uri.path().rsplit('/').next().unwrap().to_owned();
    tell.seen.send(head).await.unwrap();
    let leaving = || Leaving(tell.left.clone());
    let data = || Ok(Frame::data(Bytes::from_static(PIECE)));
    let (pieces, receiver) = mpsc::channel::<Piece>(4);
    let grpc = |body: Body| {
        let mut answer = Response::new(body);
        let headers = answer.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/grpc+proto"));
        headers.insert("x-from", HeaderValue::from_static("upstream"));
        // without it hyper's server leaves trailers out of HTTP/1.1
        let names = "grpc-status, grpc-message, grpc-status-details-bin, x-kept";
        headers.insert("trailer", HeaderValue::from_static(names));
        answer
    };
    match method.as_str() {
        "Echo" => {
            let whole = read(body).await;
            let (first, second) = (whole.slice(..whole.len() / 2), whole.slice(whole.len() / 2..));
            for part in [first, second] {
                pieces.send(Ok(Frame::data(part))).await.unwrap();
            }
            pieces.send(trailers(&[("grpc-status", "0"), ("x-kept", "yes")])).await.unwrap();
        }
        "Fails" => {
            read(body).await;
            let said = [
                ("grpc-status", "5"),
                ("grpc-message", "none%20here"),
                ("grpc-status-details-bin", "CAUSBG5vbmU"),
            ];
            pieces.send(trailers(&said)).await.unwrap();
        }
        "GetTimeline" | "FailsAtOnce" => {
            read(body).await;
            let mut answer = grpc(Empty::new().map_err(|never| match never {}).boxed_unsync());
            answer.headers_mut().insert("grpc-status", HeaderValue::from_static("9"));
            answer.headers_mut().insert("grpc-status-details-bin", HeaderValue::from_static("CAk"));
            return Ok(answer);
        }
        "Html" => {
            let page = Full::new(Bytes::from_static(b"<h1>not here</h1>"));
            let mut answer = Response::new(page.map_err(|never| match never {}).boxed_unsync());
            *answer.status_mut() = http::StatusCode::BAD_GATEWAY;
            return Ok(answer);
        }
        "Breaks" => {
            pieces.send(data()).await.unwrap();
            pieces.send(Err(io::Error::other("on purpose"))).await.unwrap();
        }
        "Stalls" => {
            let _leaving = leaving();
            std::future::pending().await
        }
        "StallsAmid" => {
            pieces.send(data()).await.unwrap();
            let leaving = leaving();
            // the sender lives as long as the body that it belongs to
            let endless = ReceiverStream::new(receiver).map(move |piece| {
                let _kept = (&leaving, &pieces);
                piece
            });
            return Ok(grpc(StreamBody::new(endless).boxed_unsync()));
        }
        "Floods" => {
            let leaving = leaving();
            let endless = tokio_stream::iter(std::iter::repeat_with(move || {
                let _kept = &leaving;
                Ok(Frame::data(Bytes::from_static(LARGE)))
            }));
            return Ok(grpc(StreamBody::new(endless).boxed_unsync()));
        }
        "Waits" => {
            for piece in [data(), data(), trailers(&[("grpc-status", "0")])] {
                pieces.send(piece).await.unwrap();
            }
            let gate = tell.gate;
            let slow = ReceiverStream::new(receiver).then(move |piece| {
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    piece
                }
            });
            return Ok(grpc(StreamBody::new(slow).boxed_unsync()));
        }
        other => panic!("no such method: {other}"),
    }
    drop(pieces);
    Ok(grpc(StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync()))
}

/// Reads a request to its end: an answer that comes before that may close the connection.
async fn read(body: Incoming) -> Bytes {
    body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}

fn trailers(said: &[(&'static str, &'static str)]) -> Piece {
    let name = http::HeaderName::from_static;
    let trailers: HeaderMap = said.iter().map(|&(n, v)| (name(n), HeaderValue::from_static(v))).collect();
    Ok(Frame::trailers(trailers))
}

/// Remembers how calls that were passed on ended.
#[derive(Clone, Default)]
pub(crate) struct Outcomes(Arc<Mutex<Vec<String>>>);

impl Outcomes {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Outcome(Outcomes, String);

impl HistogramFn for Outcome {
    fn record(&self, _seconds: f64) {
        self.0.0.lock().unwrap().push(self.1.clone());
    }
}

impl Recorder for Outcomes {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() != "skyweir_api_passed_request_seconds" {
            return Histogram::noop();
        }
        let outcome = key.labels().find(|label| label.key() == "outcome").unwrap().value().to_owned();
        Histogram::from_arc(Arc::new(Outcome(self.clone(), outcome)))
    }
}

/// Remembers what the operator is told in the log.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("skyweir_api::upstream")
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
