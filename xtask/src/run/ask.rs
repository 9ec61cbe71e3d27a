//! One question over TCP: enough to tell whether a server of any protocol answers as it should.

use std::io::{Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The first bytes of the answer; gives up after two seconds.
pub(crate) fn ask<const N: usize>(addr: SocketAddr, question: &[u8]) -> Result<[u8; N]> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&addr, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(question)?;
    let mut answer = [0; N];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Runs `asks` against a server that takes one question of this length and sends this back.
#[cfg(test)]
pub(crate) fn against<T>(length: usize, sent: &[u8], asks: impl FnOnce(SocketAddr) -> T) -> (Vec<u8>, T) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = vec![0; length];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(sent).unwrap();
            question
        });
        let said = asks(addr);
        (server.join().unwrap(), said)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_or_not() {
        let (asked, answer) = against(3, b"yes and more", |addr| ask(addr, b"so?").unwrap());
        assert_eq!((asked.as_slice(), answer), (&b"so?"[..], *b"yes"));
        let (_, short) = against(3, b"y", |addr| ask::<3>(addr, b"so?"));
        assert!(short.is_err());
    }
}
