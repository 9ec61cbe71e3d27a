//! The dictionaries that Jetstream compresses with.

use std::sync::Arc;

use tokio_websockets::Connector;
use tracing::warn;

use super::SourceConfig;
use super::handshake::open;
use super::http;
use super::kind::{Protocol, Stream};

/// The legacy stream's, which never changes.
static V1: &[u8] = include_bytes!("../../dictionaries/jetstream_v1_legacy_subscribe.zdict");
/// No dictionary is larger.
const MOST_BYTES: usize = 4 << 20;

/// A dictionary to decompress with.
#[derive(Clone, Debug)]
pub(super) struct Dictionary {
    /// The id to ask the stream with; none for the legacy stream.
    pub(super) id: Option<u32>,
    pub(super) bytes: Arc<[u8]>,
}

/// The dictionary of one stream, asked for when it is needed.
#[derive(Debug, Default)]
pub(super) struct Dictionaries {
    known: Option<Dictionary>,
    /// How often in a row the stream refused it.
    refused: u32,
}

impl Dictionaries {
    /// The dictionary for the next connection; `None`: go on without compression.
    pub(super) async fn next(
        &mut self,
        stream: &Stream,
        connector: &Connector,
        config: &SourceConfig,
    ) -> Option<Dictionary> {
        if !config.compress || self.refused > 1 {
            return None;
        }
        match stream.protocol {
            Protocol::Firehose => None,
            Protocol::V1 => Some(Dictionary { id: None, bytes: Arc::from(V1) }),
            Protocol::V2 => {
                if self.known.is_none() {
                    let fetched =
                        tokio::time::timeout(config.connect(), fetch(stream, connector, config)).await;
                    self.known = fetched.ok().flatten();
                    if self.known.is_none() {
                        warn!("no zstd dictionary to be had, going on uncompressed");
                    }
                }
                self.known.clone()
            }
        }
    }

    /// The stream doesn't know the dictionary any more. Whether to try again at once.
    pub(super) fn refused(&mut self) -> bool {
        self.known = None;
        self.refused += 1;
        self.refused <= 2
    }

    /// The stream took it.
    pub(super) fn accepted(&mut self) {
        self.refused = 0;
    }
}

async fn fetch(stream: &Stream, connector: &Connector, config: &SourceConfig) -> Option<Dictionary> {
    let transport = open(stream, connector).await.ok()?;
    let path = stream.path.replace("subscribeEvents", "getZstdDictionary");
    let answer = http::get(transport, &stream.authority, &path, &config.user_agent, MOST_BYTES).await?;
    if answer.status != 200 {
        return None;
    }
    // the header of a structured dictionary (RFC 8878, section 5)
    let id = answer.body.strip_prefix(&[0x37, 0xa4, 0x30, 0xec])?.first_chunk::<4>()?;
    Some(Dictionary { id: Some(u32::from_le_bytes(*id)), bytes: answer.body.into() })
}
