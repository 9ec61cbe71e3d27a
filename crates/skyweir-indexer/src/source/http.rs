//! As much of HTTP/1.1 as it takes to fetch a dictionary, and to read why an upgrade was refused.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// An answer that isn't a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Asks for a path. The connection is of no use afterwards.
pub(super) async fn get(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    authority: &str,
    path: &str,
    user_agent: &str,
    most: usize,
) -> Option<Answer> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {user_agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    answer(stream, Vec::new(), most).await
}

/// Reads an answer, of which some bytes may have been read before; `None` when it is damaged or too large.
pub(super) async fn answer(
    mut stream: impl AsyncRead + Unpin,
    mut bytes: Vec<u8>,
    most: usize,
) -> Option<Answer> {
    loop {
        if let Some(answer) = parse(&bytes, false) {
            return Some(answer);
        }
        if bytes.len() > most || stream.read_buf(&mut bytes).await.ok()? == 0 {
            return parse(&bytes, true);
        }
    }
}

fn parse(bytes: &[u8], is_all: bool) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 4..]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let body = if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        unchunk(body)?
    } else if let Some(length) = header("content-length") {
        body.get(..length.parse::<usize>().ok()?)?.to_vec()
    } else if is_all {
        body.to_vec()
    } else {
        return None;
    };
    Some(Answer { status, body })
}

/// Puts the chunks together; `None` while the last one is missing.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let chunk = rest.get(end + 2..)?;
        body.extend_from_slice(chunk.get(..size)?);
        rest = chunk.get(size.checked_add(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str, is_all: bool) -> Option<Vec<u8>> {
        parse(text.as_bytes(), is_all).map(|answer| answer.body)
    }

    #[test]
    fn bodies_of_all_kinds() {
        assert_eq!(body("HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nabc", false), Some(b"ab".to_vec()));
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc", true), None);
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nabc", false), None);
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nabc", true), Some(b"abc".to_vec()));
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n";
        assert_eq!(body(chunked, false), Some(b"abc".to_vec()));
        assert_eq!(body(&chunked[..chunked.len() - 9], false), None);
        assert_eq!(body("HTTP/1.1 x OK\r\n\r\n", true), None);
    }
}
