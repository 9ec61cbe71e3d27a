//! What several tests need: the shared recordings.
#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "each test binary uses its part, and says what it leaves out"
)]

use std::path::PathBuf;

/// A file of the shared data; `None` (and a word about it) when there is none.
pub(crate) fn shared(name: &str) -> Option<Vec<u8>> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("SKYWEIR_SHARED").map_or(beside, PathBuf::from).join("data").join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            assert!(
                std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() != Ok("1"),
                "{} is missing",
                path.display()
            );
            println!("skipped: no {name}");
            None
        }
    }
}

/// The recorded frames of the firehose.
pub(crate) fn frames() -> Option<Vec<Vec<u8>>> {
    let bytes = zstd::decode_all(&shared("jetstream-v2-corpus/frames.bin.zst")?[..]).unwrap();
    let mut rest = &bytes[..];
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (frame, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    Some(frames)
}

/// The lines of a shared file of JSON.
pub(crate) fn lines(name: &str) -> Option<Vec<String>> {
    let bytes = shared(name)?;
    let bytes = if name.ends_with(".zst") { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
    Some(String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect())
}
