//! As much of CQL's protocol as tells that a node answers.

use std::net::SocketAddr;

use crate::run::ask;

/// Version 4, no flags, stream 0, OPTIONS, no body.
const OPTIONS: [u8; 9] = [4, 0, 0, 0, 5, 0, 0, 0, 0];
/// The same of an answer, as far as its opcode: SUPPORTED.
const SUPPORTED: [u8; 5] = [0x84, 0, 0, 0, 6];

/// Whether OPTIONS is answered by SUPPORTED.
pub(super) fn answers(addr: SocketAddr) -> bool {
    ask(addr, &OPTIONS).is_ok_and(|head| head == SUPPORTED)
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
}
