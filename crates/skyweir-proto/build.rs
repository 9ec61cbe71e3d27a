//! Compiles `proto/` without `protoc`: protox parses, tonic generates, and the descriptors go beside the code.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let clients = protox::compile(["bsky.proto", "skyweir/v1/skyweir.proto"], [&root])?;
    let inner = protox::compile(["skyweir/graph/v1/graph.proto"], [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // reflection tells clients of theirs only
    std::fs::write(out.join("descriptors.bin"), clients.encode_to_vec())?;
    for descriptors in [clients, inner] {
        tonic_prost_build::configure().emit_rerun_if_changed(false).compile_fds(descriptors)?;
    }
    Ok(())
}
