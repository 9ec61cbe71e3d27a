//! The official Postgres data plane, timed where the shared folder can run it: what reads are compared with.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::figures::Figure;
use crate::oracle;
use crate::run::now;

/// How often each account's timeline is read before anything counts, and then.
const ROUNDS: (usize, usize) = (3, 40);
const PATIENCE: Duration = Duration::from_secs(10);

/// What was measured.
pub(super) struct Official {
    /// Milliseconds of a GetTimeline, rising.
    took: Vec<f64>,
    accounts: usize,
    items: usize,
}

/// Starts the official network, reads every account's timeline again and again, one after the other. `None` without
/// the oracle.
pub(super) fn measure() -> Result<Option<Official>> {
    let Some(dir) = oracle::folder(oracle::named().as_deref())? else { return Ok(None) };
    println!("\n== the official Postgres data plane, over loopback");
    let temp = tempfile::Builder::new().prefix("skyweir-official-").tempdir()?;
    let network = oracle::Network::start(&dir, temp.path())?;
    let told: Value = serde_json::from_slice(&std::fs::read(temp.path().join("network.json"))?)?;
    let address = told["dataplane"].as_str().and_then(|url| url.strip_prefix("http://"));
    let mut client = Client::connect(address.context("the network names no data plane")?)?;
    let dids: Vec<&str> = told["actors"]
        .as_array()
        .context("no actors")?
        .iter()
        .filter_map(|actor| actor["did"].as_str())
        .collect();
    ensure!(!dids.is_empty(), "the network has no accounts");
    let (mut took, mut items) = (Vec::new(), 0);
    for round in 0..ROUNDS.0 + ROUNDS.1 {
        for did in &dids {
            let began = now();
            let shown = client.timeline(did)?;
            if round >= ROUNDS.0 {
                took.push(began.elapsed().as_secs_f64() * 1e3);
                items += shown;
            }
        }
    }
    drop(network);
    took.sort_unstable_by(f64::total_cmp);
    let items = items / took.len().max(1);
    let official = Official { took, accounts: dids.len(), items };
    println!(
        "   {}: p50 {:.2} ms, p99 {:.2} ms",
        official.words(),
        official.quantile(0.5),
        official.quantile(0.99)
    );
    Ok(Some(official))
}

impl Official {
    fn quantile(&self, share: f64) -> f64 {
        let at = (self.took.len() as f64 * share).ceil() as usize;
        self.took.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    fn words(&self) -> String {
        format!(
            "the official Postgres data plane, in the same command: GetTimeline of 50 over loopback, JSON over \
             HTTP/1.1, {} reads of its small network alone ({} accounts, {} items a page in the mean)",
            self.took.len(),
            self.accounts,
            self.items
        )
    }

    /// Takes the place of what was published.
    pub(super) fn put_into(&self, figures: &mut [Figure]) {
        for figure in figures {
            let value = match figure.compared.official.as_deref() {
                Some("p50") => self.quantile(0.5),
                Some("p99") => self.quantile(0.99),
                _ => continue,
            };
            figure.compared.what = self.words();
            figure.compared.values = vec![value];
            figure.compared.measured = true;
        }
    }
}

/// One connection that is kept, as an AppView keeps its own.
struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("the data plane at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), host: address.to_owned() })
    }

    /// Reads the first page of a timeline; how many items it has.
    fn timeline(&mut self, did: &str) -> Result<usize> {
        let body = json!({ "actorDid": did, "limit": 50 }).to_string();
        let head = format!(
            "POST /bsky.Service/GetTimeline HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all((head + &body).as_bytes())?;
        let (status, body) = answer(&mut self.stream)?;
        let page: Value = serde_json::from_slice(&body).context("the data plane's answer is not JSON")?;
        ensure!(status == 200, "the data plane answers {status}: {page}");
        Ok(page["items"].as_array().map_or(0, Vec::len))
    }
}

/// Status and body of an answer, with its length in front or in chunks.
fn answer(from: &mut impl std::io::BufRead) -> Result<(u16, Vec<u8>)> {
    let status = line(from)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
    let (mut length, mut chunked) = (None, false);
    loop {
        let header = line(from)?.to_ascii_lowercase();
        match header.split_once(':') {
            None => break,
            Some(("content-length", value)) => length = Some(value.trim().parse::<usize>()?),
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => take(from, length, &mut body)?,
        None if chunked => loop {
            let size = usize::from_str_radix(line(from)?.trim(), 16)?;
            take(from, size, &mut body)?;
            line(from)?;
            if size == 0 {
                break;
            }
        },
        None => bail!("an answer without a length"),
    }
    Ok((status, body))
}

fn line(from: &mut impl std::io::BufRead) -> Result<String> {
    let mut line = String::new();
    ensure!(from.read_line(&mut line)? > 0, "the connection was closed");
    Ok(line.trim_end().to_owned())
}

fn take(from: &mut impl std::io::BufRead, n: usize, into: &mut Vec<u8>) -> Result<()> {
    let before = into.len();
    from.take(n as u64).read_to_end(into)?;
    ensure!(into.len() == before + n, "an answer was cut short");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole() {
        let mut whole = &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1"[..];
        assert_eq!(answer(&mut whole).unwrap(), (200, b"abc".to_vec()));
        assert_eq!(whole, b"HTTP/1.1");
        let mut chunks =
            &b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"[..];
        assert_eq!(answer(&mut chunks).unwrap(), (500, b"abc".to_vec()));
        assert!(answer(&mut &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"[..]).is_err());
    }

    #[test]
    fn quantiles_are_of_what_was_read() {
        let official = Official { took: (1..=100).map(f64::from).collect(), accounts: 2, items: 7 };
        assert_eq!((official.quantile(0.5), official.quantile(0.99)), (50.0, 99.0));
    }
}
