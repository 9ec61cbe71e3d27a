//! As much of CQL's protocol as tells that a node answers, and runs a statement.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::run::ask;

/// Version 4, no flags, stream 0, OPTIONS, no body.
const OPTIONS: [u8; 9] = [4, 0, 0, 0, 5, 0, 0, 0, 0];
/// The same of an answer, as far as its opcode: SUPPORTED.
const SUPPORTED: [u8; 5] = [0x84, 0, 0, 0, 6];

const STARTUP: u8 = 1;
const QUERY: u8 = 7;
/// Opcodes of answers.
const ERROR: u8 = 0;
const READY: u8 = 2;
const RESULT: u8 = 8;

/// How long a statement may take: one that changes tables waits for all nodes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether OPTIONS is answered by SUPPORTED.
pub(super) fn answers(addr: SocketAddr) -> bool {
    ask(addr, &OPTIONS).is_ok_and(|head| head == SUPPORTED)
}

/// Runs a statement, over a connection of its own. What it finds is passed over.
pub(super) fn query(node: &str, statement: &str) -> Result<()> {
    let mut stream = TcpStream::connect(node)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // a map of one entry, each text with two bytes of length before it
    exchange(&mut stream, STARTUP, b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0", READY)?;
    let mut body = u32::try_from(statement.len())?.to_be_bytes().to_vec();
    body.extend_from_slice(statement.as_bytes());
    // consistency ONE, no flags
    body.extend_from_slice(&[0, 1, 0]);
    exchange(&mut stream, QUERY, &body, RESULT)
}

/// Sends a frame, and reads the one that answers it.
fn exchange(stream: &mut TcpStream, opcode: u8, body: &[u8], wanted: u8) -> Result<()> {
    let mut frame = vec![4, 0, 0, 0, opcode];
    frame.extend_from_slice(&u32::try_from(body.len())?.to_be_bytes());
    frame.extend_from_slice(body);
    stream.write_all(&frame)?;
    let mut head = [0; 9];
    stream.read_exact(&mut head).context("no answer")?;
    let [.., opcode, a, b, c, d] = head;
    let mut body = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
    stream.read_exact(&mut body).context("half an answer")?;
    match opcode {
        opcode if opcode == wanted => Ok(()),
        // a code and the length of its text come first
        ERROR => bail!("refused: {}", String::from_utf8_lossy(body.get(6..).unwrap_or_default())),
        opcode => bail!("answered by opcode {opcode}, where {wanted} was expected: a server with passwords?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::against;

    #[test]
    fn only_supported_is_an_answer() {
        let of = |sent: &[u8]| against(9, sent, answers);
        assert_eq!(of(&[0x84, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0]), (OPTIONS.to_vec(), true));
        assert!(!of(&[0x84, 0, 0, 0, 0, 0, 0, 0, 0]).1, "an ERROR frame");
        assert!(!of(b"-ERR unknown command").1);
        assert!(!of(&[0x84, 0]).1);
    }

    #[test]
    fn a_statement_is_answered_by_a_result_or_a_reason() {
        let of = |sent: &[u8]| {
            against(13, sent, |addr| {
                let mut stream = TcpStream::connect(addr).unwrap();
                exchange(&mut stream, QUERY, b"DROP", RESULT).map_err(|error| error.to_string())
            })
        };
        let (asked, done) = of(&[0x84, 0, 0, 0, RESULT, 0, 0, 0, 4, 0, 0, 0, 1]);
        assert_eq!((asked.as_slice(), done), (&b"\x04\0\0\0\x07\0\0\0\x04DROP"[..], Ok(())));
        let refused = [&[0x84, 0, 0, 0, ERROR, 0, 0, 0, 8, 0, 0, 0x20, 0, 0, 2][..], b"no"].concat();
        assert_eq!(of(&refused).1, Err("refused: no".to_owned()));
        assert!(of(&[0x84, 0, 0, 0, READY, 0, 0, 0, 0]).1.unwrap_err().contains("opcode 2"));
        assert!(of(&[0x84, 0, 0, 0, RESULT, 0, 0, 0, 4]).1.unwrap_err().contains("half an answer"));
    }
}
