//! Nothing makes a decoder panic.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::json;
use skyweir_indexer::decode::{firehose_frame, v1_message, v2_message};
use skyweir_loadtest::Event as Sent;

const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const TIME: u64 = 1_783_175_888_000_000;

#[test]
fn noise_makes_nothing_panic() {
    let seed = 0x5ee_d001;
    let mut rng = SmallRng::seed_from_u64(seed);
    let post = json!({"$type": "app.bsky.feed.post", "createdAt": "2026-07-04T14:38:08.999Z", "text": "x"});
    let event = Sent::create(DID, TIME, "app.bsky.feed.post", "a", post);
    let mut samples = vec![
        event.to_firehose_frame(5, None),
        Sent::account(DID, TIME, false, Some("deleted")).to_firehose_frame(5, None),
        Sent::sync(DID, TIME).to_firehose_frame(5, None),
        event.to_jetstream_v2_json(5).into_bytes(),
        Sent::sync(DID, TIME).to_jetstream_v2_json(5).into_bytes(),
        event.to_jetstream_v1_json(Some(5)).unwrap().into_bytes(),
    ];
    samples.extend(common::frames().unwrap_or_default().into_iter().take(20));
    let mut left_out = 0;
    for round in 0..20_000 {
        let mut bytes = samples[rng.random_range(0..samples.len())].clone();
        match round % 4 {
            0 => bytes.truncate(rng.random_range(0..bytes.len())),
            1 => {
                for _ in 0..rng.random_range(1..8) {
                    let at = rng.random_range(0..bytes.len());
                    bytes[at] ^= 1 << rng.random_range(0..8);
                }
            }
            2 => {
                let (from, to) = (rng.random_range(0..bytes.len()), rng.random_range(0..bytes.len()));
                bytes.drain(from.min(to)..from.max(to));
            }
            _ => {
                bytes = vec![0; rng.random_range(0..200)];
                rng.fill_bytes(&mut bytes);
            }
        }
        for decode in [firehose_frame, v1_message, v2_message] {
            left_out += usize::from(!decode(&bytes).skipped.is_empty());
        }
    }
    assert!(left_out > 40_000, "seed {seed:#x}: only {left_out} were found out");
}
