//! As much of HTTP/1.1 as the stand-in needs: a request's head, and plain answers.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Ten thousand DIDs in a query are half a megabyte.
const HEAD_LIMIT: usize = 1 << 20;
/// Ten thousand DIDs in a plan, too.
const BODY_LIMIT: usize = 1 << 20;

/// The head of a request, and the bytes that it was read from.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Reads up to the empty line; nothing when the peer leaves before, or sends what is no request.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut bytes = Vec::with_capacity(1_024);
        while !bytes.ends_with(b"\r\n\r\n") {
            // byte by byte would be slow without a buffer, but nothing after the head may be taken
            let byte = stream.read_u8().await.ok()?;
            bytes.push(byte);
            if bytes.len() > HEAD_LIMIT {
                return None;
            }
        }
        Self::parse(bytes)
    }

    /// Reads the body that the head announces; nothing when it isn't whole, or too large.
    pub(super) async fn body(&self, stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
        let length = self.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
        let mut body = vec![0; Some(length).filter(|length| *length <= BODY_LIMIT)?];
        stream.read_exact(&mut body).await.ok()?;
        Some(body)
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let text = std::str::from_utf8(&bytes).ok()?;
        let mut lines = text.split("\r\n");
        let mut request = lines.next()?.split(' ');
        let method = request.next()?.to_owned();
        let target = request.next()?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Self { bytes, method, path, query, headers })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn wants_upgrade(&self) -> bool {
        self.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    }

    /// The query's pairs, percent-decoded.
    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(key, value)| (percent_decode(key), percent_decode(value)))
            .collect()
    }
}

/// A plain answer to give instead of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// How much of the body is sent.
    sent: usize,
}

impl Answer {
    pub(super) fn bytes(body: Vec<u8>) -> Self {
        Self::new(200, "application/octet-stream", body)
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
    }

    /// An XRPC error.
    pub(super) fn error(status: u16, error: &str, message: &str) -> Self {
        Self::json(&serde_json::json!({"error": error, "message": message})).status(status)
    }

    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self::new(200, "application/json", value.to_string().into_bytes())
    }

    fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, content_type, headers: Vec::new(), sent: body.len(), body }
    }

    pub(super) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Ends after a share of the body, in 1,000.
    pub(super) fn cut(mut self, share: u64) -> Self {
        self.sent = self.at(share);
        self
    }

    /// Flips a bit of the body, at this share of it, in 1,000.
    pub(super) fn flip(mut self, share: u64) -> Self {
        let at = self.at(share);
        self.body.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (share % 8));
        self
    }

    fn at(&self, share: u64) -> usize {
        (self.body.len() as u64 * share / 1_000) as usize
    }

    pub(super) async fn write(&self, stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let reason =
            http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n",
            self.status,
            reason.unwrap_or("Unknown"),
            self.content_type,
            self.body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&self.body[..self.sent]).await?;
        stream.shutdown().await
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[i], hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_apart() {
        let raw = "GET /subscribe?a=x%2Ay&a=z&b HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n\r\n";
        let head = Head::parse(raw.as_bytes().to_vec()).unwrap();
        assert_eq!((head.method.as_str(), head.path.as_str()), ("GET", "/subscribe"));
        assert!(head.wants_upgrade());
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(head.pairs(), [pair("a", "x*y"), pair("a", "z"), pair("b", "")]);
        assert_eq!(percent_decode("100%"), "100%");
    }

    #[tokio::test]
    async fn nothing_after_the_head_is_taken() {
        let mut stream: &[u8] = b"GET / HTTP/1.1\r\n\r\nmore";
        Head::read(&mut stream).await.unwrap();
        assert_eq!(stream, b"more");
        assert!(Head::read(&mut stream).await.is_none());
    }
}
