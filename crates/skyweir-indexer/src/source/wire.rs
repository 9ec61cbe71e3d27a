//! From WebSocket messages to what they say: decompression, limits, sequence.

use tokio_websockets::Message;

use super::dictionary::Dictionary;
use super::kind::Protocol;
use crate::Skip;
use crate::decode::{AHEAD_US, Decoded, UNKNOWN_TIME, firehose_frame, v1_message, v2_message};
use crate::unzip::Unzip;

/// After so many regresses in a row it was the greater number that was wrong.
const MOST_REGRESSES: u32 = 1_000;

/// Reads the messages of one connection.
pub(super) struct Reader {
    protocol: Protocol,
    unzip: Option<Unzip>,
    most: usize,
    last_seq: Option<u64>,
    /// Messages in a row that were not above it.
    regresses: u32,
}

impl Reader {
    pub(super) fn new(
        protocol: Protocol,
        dictionary: Option<&Dictionary>,
        most: usize,
    ) -> std::io::Result<Self> {
        let unzip = dictionary.map(|dictionary| Unzip::new(&dictionary.bytes, most)).transpose()?;
        Ok(Self { protocol, unzip, most, last_seq: None, regresses: 0 })
    }

    /// Reads a text or binary message. `now_us` is our clock, for what claims to come from the future.
    pub(super) fn read(&mut self, message: &Message, now_us: i64) -> Decoded {
        let mut decoded = self.decode(message);
        // a PDS's time is unchecked, a Jetstream's may be imported: it would put an item on top of all timelines for
        // ever, and set the stream's clock ahead
        let latest = now_us.saturating_add(AHEAD_US);
        if decoded.time_us > latest {
            decoded.time_us = latest;
            decoded.events.iter_mut().for_each(|event| event.time_us = latest);
            decoded.skipped.push(Skip::FutureTime);
            if self.protocol == Protocol::V1 {
                // its position is a time as well, and one in the future would ask for nothing but news
                decoded.position = u64::try_from(latest).ok();
            }
        }
        decoded
    }

    fn decode(&mut self, message: &Message) -> Decoded {
        let bytes: &[u8] = message.as_payload();
        if bytes.len() > self.most {
            return Decoded::skip(None, UNKNOWN_TIME, Skip::TooBig);
        }
        match (self.protocol, message.is_text()) {
            (Protocol::Firehose, true) => Decoded::skip(None, UNKNOWN_TIME, Skip::TextMessage),
            (Protocol::Firehose, false) => self.firehose(bytes),
            (protocol, true) => jetstream(protocol, bytes),
            (protocol, false) => match self.unzip.as_mut().map(|unzip| unzip.read(bytes)) {
                None => Decoded::skip(None, UNKNOWN_TIME, Skip::BinaryMessage),
                Some(Ok(text)) => jetstream(protocol, text),
                Some(Err(skip)) => Decoded::skip(None, UNKNOWN_TIME, skip),
            },
        }
    }

    fn firehose(&mut self, bytes: &[u8]) -> Decoded {
        let decoded = firehose_frame(bytes);
        if let Some(seq) = decoded.position {
            if self.last_seq.is_some_and(|last| seq <= last) && self.regresses < MOST_REGRESSES {
                self.regresses += 1;
                return Decoded::skip(None, UNKNOWN_TIME, Skip::SeqRegress);
            }
            self.last_seq = Some(seq);
            self.regresses = 0;
        }
        decoded
    }
}

fn jetstream(protocol: Protocol, text: &[u8]) -> Decoded {
    if protocol == Protocol::V1 { v1_message(text) } else { v2_message(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_sequence_number_does_not_silence_the_rest() {
        let mut reader = Reader::new(Protocol::Firehose, None, 1_000).unwrap();
        let mut read = |seq: u32| {
            // {"op":1,"t":"#x"} {"seq":SEQ}
            let mut frame = b"\xa2\x62op\x01\x61t\x62#x\xa1\x63seq\x1a".to_vec();
            frame.extend_from_slice(&seq.to_be_bytes());
            reader.read(&Message::binary(frame), 0).position
        };
        assert_eq!((read(5), read(4_000_000_000)), (Some(5), Some(4_000_000_000)));
        for seq in 0..MOST_REGRESSES {
            assert_eq!(read(6 + seq), None);
        }
        assert_eq!(read(7_000), Some(7_000));
        assert_eq!((read(7_000), read(7_001)), (None, Some(7_001)));
    }
}
