//! GET over HTTP/1.0: enough for `/metrics` and `/readyz`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Status and body of a GET from `ADDR:PORT`; gives up after two seconds.
pub(crate) fn get(addr: &str, path: &str) -> Result<(u16, String)> {
    let to = addr.parse().with_context(|| format!("not an address: {addr}"))?;
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
    Ok((status, body.to_owned()))
}

/// The value of a metric, named with its labels.
pub(crate) fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let text = "# HELP a_b x\na_b_c 2\na_b 1\nx{y=\"z\"} 4\n";
        assert_eq!((metric(text, "a_b"), metric(text, "x"), metric(text, "a")), (Some(1.0), None, None));
        assert_eq!(metric(text, "x{y=\"z\"}"), Some(4.0));
    }
}
