//! `skyweir status`: asks a running service whether it is ready, for people and for a container's health check.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::cli::StatusOptions;

/// A service that hasn't answered by then is taken for dead.
const PATIENCE: Duration = Duration::from_secs(5);
/// No answer of ours is longer, in bytes.
const LONGEST: u64 = 64 << 10;

/// Prints what `/readyz` says.
pub(crate) fn command(options: &StatusOptions) -> Result<ExitCode> {
    let StatusOptions { admin, ready } = options;
    let addrs = admin.to_socket_addrs().context("--admin: expected ADDR:PORT");
    let stream = addrs.and_then(connect);
    let stream =
        stream.with_context(|| format!("nobody answers at {admin}; does `skyweir serve` run there?"))?;
    let (code, said) = ask(stream, admin).with_context(|| {
        format!("what listens at {admin} doesn't answer as the admin port of Skyweir does")
    })?;
    let is_ready = match code {
        200 => true,
        503 => false,
        _ => bail!(
            "what answers at {admin} is not the admin port of Skyweir (HTTP status {code}); name \
             that by --admin ADDR:PORT"
        ),
    };
    write!(std::io::stdout(), "{said}")?;
    Ok(if is_ready || !ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A connection to the first address that takes one; a name may have some at which nobody listens.
fn connect(addrs: impl Iterator<Item = SocketAddr>) -> Result<TcpStream> {
    let mut failed = anyhow!("the name has no address");
    for addr in addrs {
        match TcpStream::connect_timeout(&addr, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = anyhow::Error::new(error).context(addr),
        }
    }
    Err(failed)
}

/// Status and body of `/readyz`.
fn ask(mut stream: TcpStream, admin: &str) -> Result<(u16, String)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /readyz HTTP/1.0\r\nHost: {admin}\r\n\r\n").as_bytes())?;
    parse(&read(stream)?).context("it speaks no HTTP")
}

fn read(stream: impl Read) -> Result<String> {
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What `skyweir status` makes of one answer.
    fn judged(answer: &'static str, ready: bool) -> Result<ExitCode> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            assert!(asked.starts_with(b"GET /readyz HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let judged = command(&StatusOptions { admin, ready });
        answering.join().unwrap();
        judged
    }

    #[test]
    fn who_is_not_ready_runs_all_the_same() {
        let busy = "HTTP/1.0 503 Service Unavailable\r\n\r\nnot ready\nreason: x\n";
        assert_eq!(judged(busy, false).unwrap(), ExitCode::SUCCESS);
        assert_eq!(judged(busy, true).unwrap(), ExitCode::FAILURE);
        assert_eq!(judged("HTTP/1.0 200 OK\r\n\r\nready\n", true).unwrap(), ExitCode::SUCCESS);
    }

    #[test]
    fn others_are_not_taken_for_skyweir() {
        let said = judged("HTTP/1.0 404 Not Found\r\n\r\n", false).unwrap_err().to_string();
        assert!(said.contains("is not the admin port of Skyweir (HTTP status 404)"), "{said}");
        let said = format!("{:#}", judged("220 ready for mail\r\n", false).unwrap_err());
        assert!(said.contains("what listens at 127.0.0.1:") && said.ends_with("it speaks no HTTP"), "{said}");
    }

    #[test]
    fn all_addresses_of_a_name_are_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (alive, dead) = (listener.local_addr().unwrap(), SocketAddr::from(([127, 0, 0, 2], 1)));
        let stream = connect([dead, alive].into_iter()).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        let said = format!("{:#}", connect([dead].into_iter()).unwrap_err());
        assert!(said.starts_with("127.0.0.2:1: "), "{said}");
    }

    #[test]
    fn an_answer_without_an_end_is_cut() {
        let endless = std::io::repeat(b'x').take(LONGEST + 1);
        assert_eq!(read(endless).unwrap().len() as u64, LONGEST);
    }

    #[test]
    fn answers_are_read() {
        let answer = "HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\nnot ready\nreason: x\n";
        assert_eq!(parse(answer), Some((503, "not ready\nreason: x\n".to_owned())));
        assert_eq!(parse("SSH-2.0-x\r\n\r\n"), None);
    }
}
